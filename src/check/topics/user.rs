//! Checks whether the user's account allows logins.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::check::account::{Account, whose};
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::fix::Word::{Path as File, Value};
use crate::check::request::{CheckRequest, Target};
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::settings::Settings;
use crate::check::tool::{is_root, told};
use crate::ec2::UserName;

const DAY: u64 = 24 * 60 * 60;

/// Checks whether EC2 Instance Connect accepts the user name.
pub(crate) async fn name(runner: &Runner, request: &CheckRequest) -> Finding<UserName> {
    runner
        .check(CheckId::UserName, (), async |()| {
            let Some(user) = &request.user else { return Answer::skip("no USER was named") };
            match UserName::parse(user.as_encoded_bytes()) {
                Some(name) => Answer::ok(format!("keys can be pushed for {name}"), name),
                None => Answer::fail(
                    format!("EC2 Instance Connect takes no keys for a user named {}", user.to_string_lossy()),
                    Fix::advice(
                        "log in as a user whose name consists of 1 to 32 letters, digits and @._- and is no number",
                    ),
                ),
            }
        })
        .await
}

/// The result for a failed query of the name service, which sshd cannot query either.
pub(crate) fn unnamed<T>(error: &io::Error) -> Answer<T> {
    if error.kind() == ErrorKind::NotFound {
        return Answer::skip("there is no getent to ask for users");
    }
    let fix = Fix::advice("see which name service of /etc/nsswitch.conf does not answer: getent passwd USER");
    Answer::fail(format!("getent does not tell of users: {error}"), fix)
}

/// Checks whether the user exists.
pub(crate) async fn account(runner: &Runner, name: &Finding<UserName>) -> Finding<Account> {
    runner
        .check(CheckId::UserAccount, name, async |name| {
            let name = name.to_string();
            blocking(move || match Account::find(&name) {
                Ok(Some(account)) => Answer::ok(format!("{name} has uid {}", account.uid), account),
                Ok(None) => Answer::fail(
                    format!("there is no user {name} on this system"),
                    Fix::command("useradd --create-home --shell /bin/bash", [Value(&name)]),
                ),
                Err(error) => unnamed(&error),
            })
            .await
        })
        .await
}

/// Checks expiry, shell, home directory and nologin.
pub(crate) async fn account_state(
    runner: &Runner,
    target: &Target<'_>,
    account: &Finding<Account>,
    settings: &Finding<Settings>,
) {
    let today = (target.clock)().as_secs() / DAY;
    let expiry = runner.check(CheckId::UserExpiry, (account, settings), async |(account, settings)| {
        let (name, pam) = (account.name.clone(), settings.is("usepam", "yes"));
        blocking(move || expiry(&name, pam, today)).await
    });
    let shell = runner.check(CheckId::UserShell, account, async |account| {
        let (account, root) = (account.clone(), target.root.to_owned());
        blocking(move || shell(&account, &root)).await
    });
    let home = runner.check(CheckId::UserHome, (account, settings), async |(account, settings)| {
        let (account, root, strict) =
            (account.clone(), target.root.to_owned(), settings.is("strictmodes", "yes"));
        blocking(move || home(&account, &root, strict)).await
    });
    let nologin = runner.check(CheckId::UserNologin, account, async |account| nologin(account, target.root));
    tokio::join!(expiry, shell, home, nologin);
}

/// Checks shadow(5), which only root can read.
fn expiry(name: &str, pam: bool, today: u64) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can read when accounts expire");
    }
    let Some(line) = told("getent", &["shadow", "--", name]) else {
        return Answer::ok(format!("{name} has no local password, and so no expiry"), ());
    };
    let fields: Vec<_> = line.trim_end().split(':').collect();
    let (password, expires) = (fields.get(1).unwrap_or(&""), fields.get(7).unwrap_or(&""));
    if let Some(ago) = expires.parse().ok().and_then(|day: u64| today.checked_sub(day)) {
        return Answer::fail(
            format!("the account {name} expired {ago} days ago"),
            Fix::command("chage --expiredate -1", [Value(name)]),
        );
    }
    // `platform_locked_account` of OpenSSH. sshd checks this itself only without PAM.
    if password.starts_with('!') && !pam {
        return Answer::fail(
            format!("the account {name} is locked, and UsePAM is off: sshd lets nobody in there"),
            Fix::command("usermod --password *", [Value(name)]),
        );
    }
    Answer::ok(format!("the account {name} is neither locked nor expired"), ())
}

fn shell(account: &Account, root: &Path) -> Answer<()> {
    let shell = account.shell.display();
    let fix = || Fix::command("usermod --shell /bin/bash", [Value(&account.name)]);
    if ["nologin", "false"].iter().any(|name| account.shell.file_name() == Some(name.as_ref())) {
        return Answer::fail(format!("the login shell is {shell}, which does not allow logins"), fix());
    }
    let path = root.join(account.shell.strip_prefix("/").unwrap_or(&account.shell));
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => {
            Answer::ok(format!("the login shell is {shell}"), ())
        }
        _ => Answer::fail(format!("the login shell {shell} is no program: sshd refuses the login"), fix()),
    }
}

/// Checks nologin(5), which sshd and PAM also check.
fn nologin(account: &Account, root: &Path) -> Answer<()> {
    match ["/etc/nologin", "/run/nologin"]
        .into_iter()
        .find(|path| root.join(path.trim_start_matches('/')).exists())
    {
        Some(path) if account.uid != 0 => {
            let fix = Fix::command("rm", [Value(path)]);
            Answer::fail(format!("{path} is there: only root may log in"), fix)
        }
        _ => Answer::ok("no nologin keeps users out", ()),
    }
}

/// `StrictModes`: sshd uses `authorized_keys` only if no other user can write to it or to the directories above it.
/// Pushed keys do not depend on this.
///
/// The user controls these paths, including symbolic links. This check follows the links to see the files that sshd
/// sees, but gives no command that makes root follow them.
fn home(account: &Account, root: &Path, strict: bool) -> Answer<()> {
    let shown = account.home.display();
    let home = root.join(account.home.strip_prefix("/").unwrap_or(&account.home));
    let home = match fs::canonicalize(home) {
        Ok(home) => home,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Answer::warn(
                format!("the home {shown} is not there: a session starts in /"),
                Fix::advice(format!(
                    "make {shown} for {}, with mode 0700; mkhomedir_helper(8) and pam_mkhomedir(8) do that",
                    account.name
                )),
                (),
            );
        }
        Err(error) => return Answer::skip(format!("{shown} cannot be looked at: {error}")),
    };
    for name in ["", ".ssh", ".ssh/authorized_keys"] {
        let path = if name.is_empty() { home.clone() } else { home.join(name) };
        let real = match fs::canonicalize(&path) {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Answer::skip(format!("{} cannot be looked at: {error}", path.display())),
        };
        if let Some(wrong) = fault(&real, &home, account.uid).filter(|_| strict) {
            return strict_modes(account, &path, &real, wrong);
        }
    }
    Answer::ok(format!("{shown} is as sshd wants it"), ())
}

/// A file or directory that `StrictModes` rejects.
enum Fault {
    /// It is owned by this user.
    Owner(PathBuf, u32),
    /// Users other than its owner, given here, can write to it.
    Writable(PathBuf, u32),
}

/// The first file or directory that `StrictModes` rejects, from the home directory down. `safe_path` of OpenSSH's
/// `misc.c`.
fn fault(real: &Path, home: &Path, uid: u32) -> Option<Fault> {
    let above: Vec<_> = real.ancestors().collect();
    let parts = above.iter().position(|part| *part == home).map_or(above.len(), |at| at.saturating_add(1));
    above.into_iter().take(parts).rev().find_map(|part| {
        let metadata = fs::symlink_metadata(part).ok()?;
        if ![0, uid].contains(&metadata.uid()) {
            return Some(Fault::Owner(part.to_owned(), metadata.uid()));
        }
        (metadata.mode() & 0o022 != 0).then(|| Fault::Writable(part.to_owned(), metadata.uid()))
    })
}

/// `path` is the path that sshd opens, `real` the file that it leads to.
fn strict_modes(account: &Account, path: &Path, real: &Path, fault: Fault) -> Answer<()> {
    let name = &account.name;
    let link = if path == real {
        String::new()
    } else {
        format!("{} leads to {} by a symbolic link; ", path.display(), real.display())
    };
    let note = "for StrictModes; pushed keys work all the same";
    match fault {
        Fault::Owner(part, owner) => Answer::warn(
            format!(
                "{link}{} is owned by {}; sshd wants {name} or root there, {note}",
                part.display(),
                whose(owner)
            ),
            Fix::advice(format!(
                "see why, and whose the contents are: {name} may have chosen them, so do not just change the owner"
            )),
            (),
        ),
        Fault::Writable(part, owner) => {
            let fix = if !link.is_empty() {
                Fix::advice(format!("see who has to write to {}; {name} chose it", part.display()))
            } else if owner == 0 {
                Fix::command("chmod go-w --", [File(&part)])
            } else {
                Fix::as_user(account, "chmod go-w", &part)
            };
            Answer::warn(
                format!("{link}others may write to {}, which is wrong {note}", part.display()),
                fix,
                (),
            )
        }
    }
}
