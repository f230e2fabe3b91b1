//! Checks the installed program, and AWS's package that it replaces.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::shell;
use super::sshd::{ConfiguredCommand, leads_here};
use crate::account::{NOBODY, describe_user};
use crate::check::check_id::CheckId;
use crate::check::fix::CommandWord;
use crate::check::fix::Fix;
use crate::check::package::{reinstall_installed_fix, remove_fix};
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::settings::{COMMAND, Settings};
use crate::check::sshd_program;
use crate::files;
use crate::limits;
use crate::safe_path::{self, Program, ProgramCheck, UntrustedProgram};
use crate::sshd::options::INSTALLED_PROGRAM;
use crate::tool::{ask, named};

/// Files of AWS's package: on Debian and Ubuntu, on Amazon Linux, and the drop-in for sshd's unit.
const AWS: [&str; 5] = [
    "usr/share/ec2-instance-connect/eic_run_authorized_keys",
    "opt/aws/bin/eic_run_authorized_keys",
    "usr/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf",
    "usr/lib/systemd/system/sshd.service.d/ec2-instance-connect.conf",
    "etc/systemd/system/ssh.service.d/ec2-instance-connect.conf",
];

/// The first user id of a person in `/etc/passwd` of Debian, Red Hat and SUSE.
const FIRST_PERSON: u32 = 1000;

/// Checks the program that sshd runs. The finding is the program, if sshd trusts its path.
pub(crate) async fn install(
    runner: &Runner,
    target: &CheckTarget<'_>,
    command: &Finding<ConfiguredCommand>,
    settings: &Finding<Settings>,
) -> Finding<Program> {
    let configured = command.get().is_some();
    let own = || std::env::current_exe().unwrap_or_else(|_| INSTALLED_PROGRAM.into());
    let program = command.get().map_or_else(own, |command| command.program.clone());
    let path = runner.check_in_thread(CheckId::InstallPath, (), |()| {
        let (root, program, settings) = (target.root.to_owned(), program.clone(), settings.get().cloned());
        move || path(&root, &program, configured, settings.as_ref())
    });
    let package = runner.check_in_thread(CheckId::InstallPackage, (), |()| {
        let program = program.clone();
        move || package(&program)
    });
    let aws = runner.check_in_thread(CheckId::InstallAws, (), |()| {
        let root = target.root.to_owned();
        move || aws(&root)
    });
    tokio::join!(path, package, aws).0
}

/// sshd refuses a program that users other than root can write to. Debian's sshd allows a group with no other member
/// than the owner.
fn path(root: &Path, program: &Path, configured: bool, settings: Option<&Settings>) -> Answer<Program> {
    let shown = program.display();
    let private = |metadata: &Metadata| is_private_group(root, metadata) && sshd_program::is_debian(root);
    match safe_path::check_unless(root, program, &private) {
        Ok(ProgramCheck::Trusted(trusted)) => {
            let note = match safe_path::check(root, program) {
                Ok(ProgramCheck::Untrusted(_)) => format!(
                    "only root's own group may write to {shown} or a directory above it, which this sshd allows"
                ),
                _ => format!("only root may write to {shown} and the directories above it"),
            };
            Answer::ok(note, trusted)
        }
        Ok(ProgramCheck::Untrusted(untrusted)) => {
            let elsewhere = Fix::advice(
                "install eic-keys as /usr/bin/eic-keys, and use that path in AuthorizedKeysCommand",
            );
            let fix = match &untrusted {
                // The path is outside the target, and its mode can be intended: /tmp, for example. --enable needs that of the package.
                _ if !configured && program != Path::new(INSTALLED_PROGRAM) => elsewhere,
                UntrustedProgram::NotAbsolute(_) => elsewhere,
                UntrustedProgram::Writable(part) | UntrustedProgram::Owner(part, _) if is_shared(part) => {
                    elsewhere
                }
                UntrustedProgram::Writable(part) | UntrustedProgram::Owner(part, _)
                    if is_of_a_home(root, part) =>
                {
                    elsewhere
                }
                UntrustedProgram::NotAProgram(_) => Fix::command("chmod 0755", [CommandWord::Path(program)]),
                UntrustedProgram::Owner(part, uid) if part.is_dir() => Fix::advice(shell::own(part, *uid)),
                UntrustedProgram::Owner(part, uid) => Fix::advice(format!(
                    "find out why {} is owned by {}, and what else is: sshd requires root; then install eic-keys again",
                    part.display(),
                    describe_user(*uid)
                )),
                UntrustedProgram::Writable(part) => Fix::command("chmod go-w", [CommandWord::Path(part)]),
            };
            Answer::fail(format!("sshd does not run {shown}: {untrusted}"), fix)
        }
        Err(error) => not_examined(root, program, &error, settings),
    }
}

/// The result if the program cannot be examined: the path in the AuthorizedKeysCommand is wrong if this program is one of the system.
fn not_examined(
    root: &Path,
    program: &Path,
    error: &io::Error,
    settings: Option<&Settings>,
) -> Answer<Program> {
    let note = format!("{}: {error}", program.display());
    let own = std::env::current_exe().ok().filter(|own| {
        own.starts_with("/usr") && own.ends_with("eic-keys") && safe_path::program(root, own).is_ok()
    });
    match (own, settings) {
        (Some(own), Some(settings)) if error.kind() == io::ErrorKind::NotFound => {
            let change = format!("write {}, where eic-keys is, in the place of that path", own.display());
            Answer::fail(note, settings.fix(COMMAND, &change))
        }
        _ => Answer::fail(note, Fix::advice("install eic-keys there")),
    }
}

/// Whether this is a directory with the sticky bit, such as /tmp.
fn is_shared(part: &Path) -> bool {
    std::fs::metadata(part).is_ok_and(|metadata| metadata.is_dir() && metadata.mode() & 0o1000 != 0)
}

/// Whether this is the home directory of a user other than root, or is in one. The user may own what is there.
fn is_of_a_home(root: &Path, part: &Path) -> bool {
    let passwd = files::system_text(root, "/etc/passwd");
    passwd.lines().any(|line| {
        let mut fields = line.split(':').skip(2);
        let (uid, home) = (fields.next().unwrap_or_default(), fields.nth(2).unwrap_or_default());
        let home = Path::new(home.trim_start_matches('/'));
        // The homes of system users, such as /bin, hold programs.
        let is_person = uid.parse::<u32>().is_ok_and(|uid| uid >= FIRST_PERSON && uid != NOBODY);
        is_person && home.components().count() > 0 && part.starts_with(root.join(home))
    })
}

/// Queries dpkg or rpm for the package of the file, and verifies the file.
fn package(program: &Path) -> Answer<()> {
    let path = program.to_string_lossy().into_owned();
    let (owner, changed) = match changed_in_package(&path) {
        Ok(Some(found)) => found,
        Ok(None) => return Answer::ok(format!("{path} does not belong to a package"), ()),
        Err(error) => return Answer::skip(error.to_string()),
    };
    if changed {
        let fix = reinstall_installed_fix(Path::new("/"), &owner);
        Answer::warn(format!("{path} was changed after the package {owner} was installed"), fix, ())
    } else {
        Answer::ok(format!("{path} is unchanged since the package {owner} was installed"), ())
    }
}

/// The package of a file, and whether the file was changed after its installation.
fn changed_in_package(path: &str) -> io::Result<Option<(String, bool)>> {
    let printed = |program: &'static str, arguments: &[&str]| match ask(program, arguments) {
        Ok(ran) => Ok(Some((ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(program, &error)),
    };
    // They fail for a file of no package, and if a file was changed.
    for (query, find, separator, tool, verify) in [
        ("dpkg-query", &["--search", "--"][..], ':', "dpkg", &["--verify", "--"][..]),
        ("rpm", &["--query", "--file"], '\n', "rpm", &["--verify"]),
    ] {
        if let Some((true, text)) = printed(query, &[find, &[path]].concat())? {
            let owner = text.split(separator).next().unwrap_or_default();
            let (_, text) = printed(tool, &[verify, &[owner]].concat())?.unwrap_or_default();
            return Ok(Some((owner.to_owned(), text.lines().any(|line| line.ends_with(path)))));
        }
    }
    Ok(None)
}

/// Our packages provide the name of AWS's package and the path of its command. A link to this program is not AWS's
/// command, and a package manager that removes that name would remove our package.
fn aws(root: &Path) -> Answer<()> {
    // The program that runs can be another copy.
    let named =
        |path: &Path| path.canonicalize().is_ok_and(|real| real.file_name() == Some("eic-keys".as_ref()));
    let is_eic_keys = |path: &Path| leads_here(path) || named(path) || is_override_with_eic_keys(path);
    let mut found = AWS.iter().map(|path| root.join(path)).filter(|path| path.exists() && !is_eic_keys(path));
    let Some(found) = found.next() else {
        return Answer::ok("AWS's package ec2-instance-connect is not installed", ());
    };
    let shown = found.display();
    match remove_fix("ec2-instance-connect") {
        Some(fix) => {
            Answer::warn(format!("AWS's package ec2-instance-connect is also installed: {shown}"), fix, ())
        }
        None => Answer::warn(
            format!("{shown} is a file of AWS's package ec2-instance-connect, which is not installed"),
            Fix::advice(format!(
                "if no sshd uses {shown}, remove it; after removing an override of sshd's unit: systemctl daemon-reload, and restart sshd"
            )),
            (),
        ),
    }
}

/// Whether this is the override of sshd's unit, and the command in it is a link to this program.
fn is_override_with_eic_keys(path: &Path) -> bool {
    let text = files::read_text(path, limits::SYSTEM_FILE).unwrap_or_default();
    let mut words = text.split([' ', '\t', '\n', '"', '\'', '=']);
    path.extension() == Some("conf".as_ref())
        && words.any(|word| {
            word.starts_with('/') && AWS.iter().any(|aws| word.ends_with(aws)) && leads_here(Path::new(word))
        })
}

/// Whether the group of a file has its owner as the only member, and is the owner's own (`secure_permissions` of
/// Debian's sshd). Files are enough here: root and its group are local.
fn is_private_group(root: &Path, metadata: &Metadata) -> bool {
    if metadata.mode() & 0o002 != 0 {
        return false;
    }
    let passwd = files::system_text(root, "/etc/passwd");
    let users: Vec<Vec<&str>> = passwd.lines().map(|line| line.split(':').collect()).collect();
    let (uid, gid) = (metadata.uid().to_string(), metadata.gid().to_string());
    let of_group: Vec<_> = users.iter().filter(|user| user.get(3) == Some(&gid.as_str())).collect();
    let owner = of_group.iter().find(|user| user.get(2) == Some(&uid.as_str())).and_then(|user| user.first());
    let group = files::system_text(root, "/etc/group");
    let mut members = group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|group| group.get(2) == Some(&gid.as_str()))
        .flat_map(|group| group.get(3).copied().unwrap_or_default().split(',').collect::<Vec<_>>())
        .filter(|member| !member.is_empty());
    owner.is_some_and(|owner| {
        of_group.iter().all(|user| user.first() == Some(owner)) && members.all(|member| member == *owner)
    })
}
