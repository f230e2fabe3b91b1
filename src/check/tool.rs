//! Other programs of the target, asked with bounds on their time and output.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::Fix;
use super::fix::Word;
use crate::limits;
use crate::process::{Output, run};

/// What a program printed, whatever its status.
pub(super) fn ask(program: &str, arguments: &[&str]) -> io::Result<Output> {
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
    match manager(root) {
        Some(words) => Fix::command(words, [Word::Value(package)]),
        None => Fix::advice(format!("install the package {package} anew")),
    }
}

/// How to remove the installed package of this very name; `None` where there is none. dpkg and rpm go by the name alone, where apt-get,
/// dnf and yum would also take a package that provides it.
pub(super) fn remove(package: &str) -> Option<Fix> {
    let status = told("dpkg-query", &["--show", "--showformat=${db:Status-Status}", "--", package]);
    if status.is_some_and(|status| status == "installed") {
        return Some(Fix::command("dpkg --purge", [Word::Value(package)]));
    }
    told("rpm", &["--query", package]).map(|_| Fix::command("rpm --erase", [Word::Value(package)]))
}

/// The words that install a package anew.
fn manager(root: &Path) -> Option<&'static str> {
    [("apt-get", "apt-get install --reinstall"), ("dnf", "dnf -y reinstall"), ("yum", "yum -y reinstall")]
        .into_iter()
        .find(|(tool, _)| root.join("usr/bin").join(tool).exists())
        .map(|(_, words)| words)
}

/// Whether this is root, who alone sees some things.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
