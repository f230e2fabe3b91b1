//! Other programs of the system, asked with bounds on their time and output.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::Fix;
use crate::limits;
use crate::sshd::run::{Ran, run};

/// What a program printed, whatever its status.
pub(super) fn ask(program: &str, arguments: &[&str]) -> io::Result<Ran> {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    run(&[program.into()], &arguments, limits::CHECK_TOOL)
}

/// What a program printed, if it succeeded.
pub(super) fn told(program: &str, arguments: &[&str]) -> Option<String> {
    let ran = ask(program, arguments).ok().filter(|ran| ran.status.success())?;
    Some(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// How to install a package of the distribution anew: with the tool that is there.
pub(super) fn reinstall(root: &Path, package: &str) -> Fix {
    let words = match ["usr/bin/apt-get", "usr/bin/dnf", "usr/bin/yum"]
        .iter()
        .find(|tool| root.join(tool).exists())
    {
        Some(&"usr/bin/apt-get") => ["apt-get", "install", "--reinstall", package],
        Some(&"usr/bin/dnf") => ["dnf", "-y", "reinstall", package],
        Some(_) => ["yum", "-y", "reinstall", package],
        None => return Fix::advice(format!("install the package {package} anew")),
    };
    Fix::command(words)
}

/// Whether this is root, who alone sees some things.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
