//! A run that sshd starts: eic-keys' own keys, then those of the chained command.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use crate::authorize::{Counts, KeyQuery, RunContext, authorize};
use crate::chained_command::{ChainedCommand, Ending};
use crate::error_text::WithCauses;
use crate::escape::Escaped;
use crate::log_lines::{CHAINED, NO_KEY};
use crate::output;
use crate::run_error::RunError;
use crate::syslog::Severity;

/// Does the whole job: writes the verified keys to `out`, then those of the chained command. Returns the exit status.
pub fn run<W: Write + AsFd>(request: &KeyQuery, context: &RunContext<'_>, mut out: W) -> u8 {
    let syslog = context.syslog;
    let chained =
        request.chained_command.as_deref().map(|command| ChainedCommand::start(context.root, command));
    let child = chained.as_ref().and_then(|chained| chained.as_ref().ok()).map(ChainedCommand::id);
    let ours = block_on(authorize(request, context, child, &mut out));
    let user = Escaped(request.user.as_bytes());
    match &ours {
        Ok(Counts { records: 0, .. }) => {}
        Ok(Counts { records, printed }) => {
            syslog.explain(&format!("{printed} of {records} records pushed for {user} gave a key"));
        }
        Err(error) => syslog.log(Severity::Warning, &format!("{NO_KEY}{user}: {}", WithCauses(error))),
    }
    let status = match &ours {
        Ok(_) => 0,
        Err(error) => error.status().code(),
    };
    let printed = ours.as_ref().is_ok_and(|counts| counts.printed > 0);
    match chained {
        None => status,
        // The pipe can contain part of a key. Only an exit status other than 0 makes sshd discard it.
        Some(_) if matches!(ours, Err(RunError::Output(_))) => status,
        Some(chained) => match chained.and_then(|mut chained| chained.finish(&out)) {
            Ok(Ending::ReaderClosed) => 0,
            Ok(Ending::Keys(keys)) => match output::bytes(&keys, &mut out) {
                Ok(()) if printed || !keys.is_empty() => 0,
                Ok(()) => status,
                Err(error) => {
                    let error = RunError::Output(error);
                    syslog.log(Severity::Warning, &format!("{NO_KEY}{user}: {}", WithCauses(&error)));
                    error.status().code()
                }
            },
            Err(failure) => {
                syslog.log(Severity::Warning, &format!("{CHAINED}{}", WithCauses(&failure)));
                if printed { 0 } else { failure.status() }
            }
        },
    }
}

fn block_on(run: impl Future<Output = Result<Counts, RunError>>) -> Result<Counts, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Resources)?
        .block_on(run)
}
