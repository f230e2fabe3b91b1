//! A run that sshd starts: eic-keys' own keys, then those of the chained command.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use crate::authorize::{Counts, KeyQuery, RunContext, authorize};
use crate::chained_command::{ChainedCommand, ChainedOutput};
use crate::error_text::WithCauses;
use crate::escape::Escaped;
use crate::key_output;
use crate::log_lines::{chained_failed, failed};
use crate::run_error::RunError;
use crate::syslog::Severity;

/// Does the whole job: writes the verified keys to `out`, then those of the chained command. Returns the exit status.
pub fn run<W: Write + AsFd>(query: &KeyQuery, context: &RunContext<'_>, mut out: W) -> u8 {
    let log = context.log;
    let chained =
        query.chained_command.as_deref().map(|command| ChainedCommand::start(context.root, command));
    let child = chained.as_ref().and_then(|chained| chained.as_ref().ok()).map(ChainedCommand::id);
    let ours = on_new_runtime(authorize(query, context, child, &mut out));
    let user = Escaped(query.user.as_bytes());
    match &ours {
        Ok(Counts { records: 0, .. }) => {}
        Ok(Counts { records, printed }) => {
            log.to_terminal(&format!("{printed} of {records} records pushed for {user} gave a key"));
        }
        Err(error) => log.write(Severity::Warning, &failed(user, &WithCauses(error))),
    }
    let chained = match chained {
        // The pipe can contain part of a key. Only an exit status other than 0 makes sshd discard it.
        _ if matches!(ours, Err(RunError::Output(_))) => Chained::None,
        None => Chained::None,
        Some(chained) => match chained.and_then(|mut chained| chained.finish(&out)) {
            Ok(ChainedOutput::ReaderClosed) => Chained::ReaderClosed,
            Ok(ChainedOutput::Keys(keys)) => match key_output::bytes(&keys, &mut out) {
                Ok(()) => Chained::Printed { any: !keys.is_empty() },
                Err(error) => {
                    let error = RunError::Output(error);
                    log.write(Severity::Warning, &failed(user, &WithCauses(&error)));
                    Chained::NotPrinted(error.status().code())
                }
            },
            Err(failure) => {
                log.write(Severity::Warning, &chained_failed(&WithCauses(&failure)));
                Chained::Failed(failure.status())
            }
        },
    };
    exit_status(ours.map(|counts| counts.printed).map_err(|error| error.status().code()), &chained)
}

enum Chained {
    /// There is none, or its keys are not read.
    None,
    /// sshd closed the output: it has found its key.
    ReaderClosed,
    /// Its keys were printed, if there were any.
    Printed { any: bool },
    /// Its keys could not be printed: the run ends with this status.
    NotPrinted(u8),
    /// It failed with this status.
    Failed(u8),
}

/// The exit status of a run: sshd uses the printed keys only if it is 0. `ours` is the number of our printed keys, or our exit status.
fn exit_status(ours: Result<usize, u8>, chained: &Chained) -> u8 {
    let status = ours.err().unwrap_or(0);
    let printed = ours.is_ok_and(|printed| printed > 0);
    match *chained {
        Chained::None => status,
        Chained::ReaderClosed => 0,
        Chained::Printed { any } => {
            if printed || any {
                0
            } else {
                status
            }
        }
        Chained::Failed(failure) => {
            if printed {
                0
            } else {
                failure
            }
        }
        Chained::NotPrinted(status) => status,
    }
}

/// Runs it to its end.
fn on_new_runtime(run: impl Future<Output = Result<Counts, RunError>>) -> Result<Counts, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?
        .block_on(run)
}

#[cfg(test)]
mod tests {
    use super::{Chained, exit_status};

    #[test]
    fn the_status_lets_sshd_use_every_printed_key() {
        for (ours, chained, expected) in [
            (Ok(1), Chained::None, 0),
            (Ok(0), Chained::None, 0),
            (Err(3), Chained::None, 3),
            (Err(2), Chained::ReaderClosed, 0),
            (Ok(1), Chained::Printed { any: false }, 0),
            (Ok(0), Chained::Printed { any: false }, 0),
            (Err(2), Chained::Printed { any: true }, 0),
            (Err(2), Chained::Printed { any: false }, 2),
            (Ok(1), Chained::Failed(126), 0),
            (Ok(0), Chained::Failed(126), 126),
            (Err(2), Chained::Failed(7), 7),
            (Ok(1), Chained::NotPrinted(4), 4),
        ] {
            assert_eq!(exit_status(ours, &chained), expected, "{ours:?}");
        }
    }
}
