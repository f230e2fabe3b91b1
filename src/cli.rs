//! argv → [`Command`]; the help text.
//!
//! All settings of a run that sshd starts come from the command line, which the administrator controls: no file or environment variable
//! has any.

use std::ffi::OsString;

use crate::arguments::{self, Arguments, CommandLine, Mode};
pub use crate::arguments::{UsageError, ValueKind};
use crate::authorize::KeyQuery;
use crate::check::CheckRequest;
use crate::logins::LoginsRequest;
use crate::sshd::EnableOptions;

/// The help text before the options.
const HELP_HEAD: &str = "\
eic-keys: prints the SSH keys that were pushed for a user with EC2 Instance Connect, if they can be verified

Usage: eic-keys [OPTIONS] USER [FINGERPRINT] [-- COMMAND ARG...]
       eic-keys --check [USER [FINGERPRINT]] [--rehearse] [--wait SECONDS] [--json] [--verbose] [OPTIONS]
       eic-keys --logins [--user USER] [--since TIME] [--until TIME] [--refused] [--json]
       eic-keys --enable [--dry-run] [--no-chain] [--if-user-missing]
       eic-keys --disable [--dry-run]
       eic-keys --help | --version

sshd runs eic-keys with these lines, which --enable adds and --disable removes:
       AuthorizedKeysCommand /usr/bin/eic-keys %u %f
       AuthorizedKeysCommandUser eic-keys

Arguments:
  USER               whose keys to print (%u)
  FINGERPRINT        print this key only (%f); SHA256:...
  COMMAND ARG...     also run this AuthorizedKeysCommand, and print its keys after the pushed keys

Options:
";

/// The help text after the options of the table.
const HELP_TAIL: &str = "  -h, --help           this text
  -V, --version        the version

Exit status:                                --enable, --disable:               --check:
  0  success, with keys or without          0  done, or nothing to do          0  no check failed
  1  the command line is wrong              1  refused, nothing was changed    1  a check failed
  2  metadata service failed or timed out   2  failed, changes rolled back     2  it could not run
  3  the signer is not trusted
  4  no usable trust store, or another problem of this system
If no pushed key is printed and the chained command fails, its status counts: its own, 128 + signal, or 126.
--logins: 0 the log was read, 2 it could not be read.

Decisions are logged (syslog, authpriv). On a terminal they are also printed to standard error.
";

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    [HELP_HEAD, &arguments::help(), HELP_TAIL].concat()
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Print the keys of a user, for sshd.
    Authorize(KeyQuery),
    /// Find out why a user cannot log in, for an administrator.
    Check(CheckRequest),
    /// List the logins with pushed keys, for an administrator.
    Logins(LoginsRequest),
    /// Configure sshd to run eic-keys.
    Enable(EnableOptions),
    /// Undo `--enable`.
    Disable(EnableOptions),
    /// Print [`help`].
    Help,
    /// Print the version.
    Version,
}

/// Parses the arguments, without the program name.
///
/// # Errors
/// Fails if the command line is wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let arguments = match arguments::read(arguments)? {
        CommandLine::Help => return Ok(Command::Help),
        CommandLine::Version => return Ok(Command::Version),
        CommandLine::Arguments(arguments) => *arguments,
    };
    Ok(match arguments.mode()? {
        Mode::Keys => Command::Authorize(arguments.key_query()?),
        Mode::Check => Command::Check(check(arguments)?),
        Mode::Logins => Command::Logins(logins(arguments)),
        Mode::Enable => Command::Enable(enable(&arguments)),
        Mode::Disable => Command::Disable(enable(&arguments)),
    })
}

fn check(arguments: Arguments) -> Result<CheckRequest, UsageError> {
    let fingerprint = arguments.fingerprint()?;
    let options = arguments.options;
    let needs_user = [("rehearse", options.rehearse), ("wait", options.wait.is_some())];
    if let Some((option, _)) = needs_user.iter().find(|(_, given)| *given && arguments.user.is_none()) {
        return Err(UsageError::NeedsUser(option));
    }
    Ok(CheckRequest {
        wait: options.wait,
        rehearse: options.rehearse,
        user: arguments.user,
        fingerprint,
        trust_store: options.trust_store,
        principals: options.principals,
        timeout: options.timeout,
        imds: options.imds,
        json: options.json,
        verbose: options.verbose,
    })
}

fn logins(arguments: Arguments) -> LoginsRequest {
    let options = arguments.options;
    LoginsRequest {
        user: options.login_user,
        since: options.since,
        until: options.until,
        refused: options.refused,
        json: options.json,
    }
}

fn enable(arguments: &Arguments) -> EnableOptions {
    let options = &arguments.options;
    let system = EnableOptions::system(options.dry_run, !options.no_chain);
    EnableOptions { if_user_missing: options.if_user_missing, ..system }
}

/// A command whose report can be a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// `--check`
    Check,
    /// `--logins`
    Logins,
}

/// For arguments that [`parse`] rejects: the command that they ask for, and whether they contain `--json`.
#[must_use]
pub fn asks_for_report(arguments: &[OsString]) -> Option<(Reporter, bool)> {
    let has = |option: &str| {
        arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == option)
    };
    let reporter = match (has("--check"), has("--logins")) {
        (true, _) => Reporter::Check,
        (false, true) => Reporter::Logins,
        (false, false) => return None,
    };
    Some((reporter, has("--json")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a test may panic")]

    use super::{help, parse};
    use crate::arguments::Options;

    #[test]
    fn help_has_a_line_of_at_most_110_columns_for_each_option() {
        let help = help();
        for row in Options::ROWS {
            let line = row.to_string();
            let option = line.split_whitespace().next().unwrap_or_default();
            assert!(help.lines().any(|line| line.trim_start().starts_with(option)), "{option}");
        }
        assert!(help.lines().all(|line| line.len() <= 110 && !line.contains(['{', '}'])), "{help}");
    }

    #[test]
    fn an_option_of_another_command_is_refused() {
        for (arguments, reason) in [
            ("--dry-run alice", "--dry-run needs --enable or --disable"),
            ("--no-chain --disable", "--no-chain needs --enable"),
            ("alice --json", "--json needs --check or --logins"),
            ("--refused --check", "--refused needs --logins"),
            ("--logins --verbose", "--verbose needs --check"),
            ("--logins --check", "--enable, --disable, --check and --logins exclude each other"),
            ("--logins --timeout 2", "--timeout cannot be used with --logins"),
            ("--logins alice", "--logins takes its user from --user, and no command after --"),
            ("--logins -- /bin/true", "--logins takes its user from --user, and no command after --"),
            (
                "--logins --since yesterday",
                "--since yesterday: not a time like 24h, 7d, 2026-11-21 or 2026-11-21T08:00:00Z",
            ),
            ("--enable --verbose", "--verbose needs --check"),
            ("--enable --timeout 2", "--timeout cannot be used with --enable"),
            ("--disable --imds 127.0.0.1", "--imds cannot be used with --disable"),
            ("--check --enable", "--enable, --disable, --check and --logins exclude each other"),
            ("--check alice -- /bin/true", "--check takes no command after --"),
            ("--enable alice", "--enable and --disable take no USER, and no command after --"),
            ("--disable -- /bin/true", "--enable and --disable take no USER, and no command after --"),
            ("--timeout 61 alice", "--timeout 61: not a number of seconds from 0.1 to 60"),
        ] {
            match parse(arguments.split(' ').map(Into::into)) {
                Err(error) => assert_eq!(error.to_string(), reason),
                Ok(command) => panic!("{arguments}: {command:?}"),
            }
        }
    }
}
