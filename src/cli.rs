//! argv → [`Command`]. `help` has the text of `--help`.
//!
//! All settings of a run that sshd starts come from the command line, which the administrator controls: no file or environment variable
//! has any.

mod help;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::arguments::{self, Arguments, CommandLine, Mode};
pub use crate::arguments::{UsageError, ValueKind};
use crate::authorize::KeyQuery;
use crate::check::CheckRequest;
use crate::logins::LoginsRequest;
use crate::sshd::EnableOptions;
pub use help::help;

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Print the keys of a user, for sshd.
    Keys(KeyQuery),
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
        Mode::Keys => Command::Keys(arguments.key_query()?),
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
    // `--check=x` is wrong, but asks for a report of --check.
    let is = |argument: &OsString, option: &str| {
        let rest = argument.as_bytes().strip_prefix(option.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
    };
    let has = |option: &str| {
        arguments.iter().take_while(|argument| *argument != "--").any(|argument| is(argument, option))
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

    use super::parse;

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
                "--since yesterday: not a time: 24h or 7d, a date such as 2026-11-21, or RFC 3339 such as 2026-11-21T08:00:00Z",
            ),
            ("--logins --since 1h --since 2h", "--since is given more than once"),
            ("--logins --user a --user b", "--user is given more than once"),
            ("--check alice --wait 5 --wait 6", "--wait is given more than once"),
            ("--logins --user ", "--user : not the name of a user"),
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
