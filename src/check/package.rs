//! Fixes that install and remove packages of the distribution.

use std::path::Path;

use super::fix::{CommandWord, Fix};
use crate::tool::stdout_of;

/// A package manager that can install a package again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PackageManager {
    Apt,
    Dnf,
    Yum,
    Zypper,
}

impl PackageManager {
    fn find(root: &Path) -> Option<Self> {
        let tools =
            [("apt-get", Self::Apt), ("dnf", Self::Dnf), ("yum", Self::Yum), ("zypper", Self::Zypper)];
        let installed = |tool: &str| root.join("usr/bin").join(tool).exists();
        tools.into_iter().find(|(tool, _)| installed(tool)).map(|(_, manager)| manager)
    }

    /// The command, without the package.
    fn reinstall(self) -> &'static str {
        match self {
            Self::Apt => "apt-get install --reinstall",
            Self::Dnf => "dnf -y reinstall",
            Self::Yum => "yum -y reinstall",
            Self::Zypper => "zypper --non-interactive install --force",
        }
    }
}

/// The fix that reinstalls a distribution package with the available package manager.
pub(crate) fn reinstall_fix(root: &Path, package: &str) -> Fix {
    match PackageManager::find(root) {
        Some(manager) => Fix::command(manager.reinstall(), [CommandWord::Value(package)]),
        None => Fix::advice(format!("install the package {package} again")),
    }
}

/// The fix that installs a package again that may have been installed from a file: then a package manager cannot download it.
pub(crate) fn reinstall_installed_fix(root: &Path, package: &str) -> Fix {
    let by_file = || {
        Fix::advice(format!(
            "install the package {package} again, from the file or repository that it was installed from"
        ))
    };
    match PackageManager::find(root) {
        Some(PackageManager::Apt) => {
            let version = stdout_of("dpkg-query", &["--show", "--showformat=${Version}", "--", package]);
            let offered = stdout_of("apt-cache", &["madison", "--", package]).unwrap_or_default();
            let is_offered = version.is_ok_and(|version| {
                offered
                    .lines()
                    .any(|line| line.split('|').nth(1).is_some_and(|other| other.trim() == version))
            });
            if is_offered { reinstall_fix(root, package) } else { by_file() }
        }
        _ => by_file(),
    }
}

/// The fix that removes the installed package with exactly this name. `None` if it is not installed. dpkg and rpm
/// match the name only; apt-get, dnf and yum also match packages that provide the name.
pub(crate) fn remove_fix(package: &str) -> Option<Fix> {
    let status = stdout_of("dpkg-query", &["--show", "--showformat=${db:Status-Status}", "--", package]);
    if status.is_ok_and(|status| status == "installed") {
        return Some(Fix::command("dpkg --purge", [CommandWord::Value(package)]));
    }
    stdout_of("rpm", &["--query", package])
        .ok()
        .map(|_| Fix::command("rpm --erase", [CommandWord::Value(package)]))
}
