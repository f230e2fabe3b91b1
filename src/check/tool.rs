//! Runs other programs of the target, with limits on time and output.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::Fix;
use super::fix::Word;
use crate::limits;
use crate::process::{Output, run};

/// The output of a program, with any exit status.
pub(super) fn ask(program: &str, arguments: &[&str]) -> io::Result<Output> {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    run(&[program.into()], &arguments, limits::CHECK_TOOL)
}

/// The output of a program that succeeded.
pub(super) fn told(program: &str, arguments: &[&str]) -> Option<String> {
    let ran = ask(program, arguments).ok().filter(|ran| ran.status.success())?;
    Some(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// The fix that reinstalls a distribution package with the available package manager.
pub(super) fn reinstall(root: &Path, package: &str) -> Fix {
    match manager(root) {
        Some(words) => Fix::command(words, [Word::Value(package)]),
        None => Fix::advice(format!("install the package {package} anew")),
    }
}

/// The fix that removes the installed package with exactly this name. `None` if it is not installed. dpkg and rpm
/// match the name only; apt-get, dnf and yum also match packages that provide the name.
pub(super) fn remove(package: &str) -> Option<Fix> {
    let status = told("dpkg-query", &["--show", "--showformat=${db:Status-Status}", "--", package]);
    if status.is_some_and(|status| status == "installed") {
        return Some(Fix::command("dpkg --purge", [Word::Value(package)]));
    }
    told("rpm", &["--query", package]).map(|_| Fix::command("rpm --erase", [Word::Value(package)]))
}

/// The command that reinstalls a package.
fn manager(root: &Path) -> Option<&'static str> {
    [("apt-get", "apt-get install --reinstall"), ("dnf", "dnf -y reinstall"), ("yum", "yum -y reinstall")]
        .into_iter()
        .find(|(tool, _)| root.join("usr/bin").join(tool).exists())
        .map(|(_, words)| words)
}

/// Whether this process runs as root. Some checks need root.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
