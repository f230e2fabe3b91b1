//! Checks the installed program, and AWS's package that it replaces.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::sshd::{Ours, leads_here};
use crate::check::account::whose;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::fix::Word;
use crate::check::package::{reinstall, remove};
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::tool::{ask, told};
use crate::safe_path::{Distrust, distrust};

/// Files of AWS's package: on Debian and Ubuntu, on Amazon Linux, and the drop-in for sshd's unit.
const AWS: [&str; 5] = [
    "usr/share/ec2-instance-connect/eic_run_authorized_keys",
    "opt/aws/bin/eic_run_authorized_keys",
    "usr/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf",
    "usr/lib/systemd/system/sshd.service.d/ec2-instance-connect.conf",
    "etc/systemd/system/ssh.service.d/ec2-instance-connect.conf",
];

/// Checks the program that sshd runs. The finding is that sshd trusts its path.
pub(crate) async fn install(runner: &Runner, target: &Target<'_>, command: &Finding<Ours>) -> Finding<()> {
    let wired = command.get().is_some();
    let own = || std::env::current_exe().unwrap_or_else(|_| "/usr/bin/eic-keys".into());
    let program = command.get().map_or_else(own, |ours| ours.program.clone());
    let path = runner.check(CheckId::InstallPath, (), async |()| {
        let (root, program) = (target.root.to_owned(), program.clone());
        blocking(move || path(&root, &program, wired)).await
    });
    let package = runner.check(CheckId::InstallPackage, (), async |()| {
        let program = program.clone();
        blocking(move || package(&program)).await
    });
    let aws = runner.check(CheckId::InstallAws, (), async |()| aws(target.root));
    tokio::join!(path, package, aws).0
}

fn path(root: &Path, program: &Path, wired: bool) -> Answer<()> {
    let shown = program.display();
    match distrust(root, program) {
        Ok(None) => Answer::ok(format!("only root may write to {shown} and the directories above it"), ()),
        Ok(Some(distrust)) => {
            let elsewhere = Fix::advice("install eic-keys as /usr/bin/eic-keys, and run that");
            let fix = match &distrust {
                // The path is outside the target, and its mode can be intended: /tmp, for example.
                _ if !wired => elsewhere,
                Distrust::NotAbsolute(_) => elsewhere,
                Distrust::Writable(part) | Distrust::Owner(part, _) if is_shared(part) => elsewhere,
                Distrust::NotAProgram(_) => Fix::command("chmod 0755", [Word::Path(program)]),
                Distrust::Owner(part, uid) => Fix::advice(format!(
                    "see why {} is owned by {}, and what else is: sshd wants root there; then install eic-keys anew",
                    part.display(),
                    whose(*uid)
                )),
                Distrust::Writable(part) => Fix::command("chmod go-w", [Word::Path(part)]),
            };
            Answer::fail(format!("sshd does not run {shown}: {distrust}"), fix)
        }
        Err(error) => Answer::fail(format!("{shown}: {error}"), Fix::advice("install eic-keys there")),
    }
}

/// Whether this is a directory with the sticky bit, such as /tmp.
fn is_shared(part: &Path) -> bool {
    std::fs::metadata(part).is_ok_and(|metadata| metadata.is_dir() && metadata.mode() & 0o1000 != 0)
}

/// Queries dpkg or rpm for the package of the file, and verifies the file.
fn package(program: &Path) -> Answer<()> {
    let path = program.to_string_lossy().into_owned();
    let (owner, verified) = if let Some(owner) = told("dpkg-query", &["--search", "--", &path]) {
        let owner = owner.split(':').next().unwrap_or_default().to_owned();
        let verified = ask("dpkg", &["--verify", "--", &owner]);
        (owner, verified)
    } else if let Some(owner) = told("rpm", &["--query", "--file", &path]) {
        let owner = owner.lines().next().unwrap_or_default().to_owned();
        let verified = ask("rpm", &["--verify", &owner]);
        (owner, verified)
    } else {
        return Answer::ok(format!("{path} is from no package"), ());
    };
    let changed = verified
        .is_ok_and(|ran| String::from_utf8_lossy(&ran.stdout).lines().any(|line| line.ends_with(&path)));
    if changed {
        let fix = reinstall(Path::new("/"), &owner);
        Answer::warn(format!("{path} is not as the package {owner} brought it"), fix, ())
    } else {
        Answer::ok(format!("{path} is the package {owner}'s"), ())
    }
}

/// Our packages provide the name of AWS's package and the path of its command. A link to this program is not AWS's
/// command, and a package manager that removes that name would remove our package.
fn aws(root: &Path) -> Answer<()> {
    let mut found = AWS.iter().map(|path| root.join(path)).filter(|path| path.exists() && !leads_here(path));
    let Some(found) = found.next() else {
        return Answer::ok("AWS's package ec2-instance-connect is not here", ());
    };
    let shown = found.display();
    match remove("ec2-instance-connect") {
        Some(fix) => {
            Answer::warn(format!("AWS's package ec2-instance-connect is here as well: {shown}"), fix, ())
        }
        None => Answer::warn(
            format!(
                "{shown} is here, as from AWS's package ec2-instance-connect, but that package is not installed"
            ),
            Fix::advice(format!(
                "if no sshd uses {shown}, remove it; an override of sshd's unit counts until systemctl daemon-reload and a restart of sshd"
            )),
            (),
        ),
    }
}
