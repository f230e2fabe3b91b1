//! Runs other programs of the target, with limits on time and output.

use std::io;

use crate::limits;
use crate::process::{Output, TrustedCommand};

/// The complete output of a program, with any exit status.
///
/// # Errors
/// Fails if the program is not installed ([`NotFound`](io::ErrorKind::NotFound)), does not end in time, is killed, or prints too much.
pub(crate) fn ask(program: &'static str, arguments: &[&str]) -> io::Result<Output> {
    let ran = TrustedCommand::new(program).with(arguments).run(limits::CHECK_TOOL)?;
    if ran.is_truncated {
        return Err(io::Error::other("its output is too long"));
    }
    if ran.status.code().is_none() {
        return Err(io::Error::other(ran.status.to_string()));
    }
    Ok(ran)
}

/// The output of a program that succeeded.
///
/// # Errors
/// Fails as [`ask`] does, and if the program fails. The text names the program.
pub(crate) fn stdout_of(program: &'static str, arguments: &[&str]) -> io::Result<String> {
    let ran = ask(program, arguments).map_err(|error| named(program, &error))?;
    if !ran.status.success() {
        return Err(named(program, &io::Error::other(ran.error_text())));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// The error with the name of its program.
pub(crate) fn named(program: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{program}: {error}"))
}
