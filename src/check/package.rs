//! Fixes that install and remove packages of the distribution.

use std::path::Path;

use super::fix::{Fix, Word};
use super::tool::told;

/// The fix that reinstalls a distribution package with the available package manager.
pub(crate) fn reinstall(root: &Path, package: &str) -> Fix {
    match manager(root) {
        Some(words) => Fix::command(words, [Word::Value(package)]),
        None => Fix::advice(format!("install the package {package} anew")),
    }
}

/// The fix that removes the installed package with exactly this name. `None` if it is not installed. dpkg and rpm
/// match the name only; apt-get, dnf and yum also match packages that provide the name.
pub(crate) fn remove(package: &str) -> Option<Fix> {
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
