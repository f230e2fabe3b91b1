//! Runs other programs of the target, with limits on time and output.

use std::ffi::OsStr;
use std::io;

use crate::limits;
use crate::process::{Output, run};

/// The output of a program, with any exit status.
pub(crate) fn ask(program: &str, arguments: &[&str]) -> io::Result<Output> {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    run(&[program.into()], &arguments, limits::CHECK_TOOL)
}

/// The output of a program that succeeded.
pub(crate) fn stdout_of(program: &str, arguments: &[&str]) -> Option<String> {
    let ran = ask(program, arguments).ok().filter(|ran| ran.status.success())?;
    Some(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// Whether this process runs as root. Some checks need root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
