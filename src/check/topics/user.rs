//! Checks whether the user's account allows logins.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::account::{Account, account_of};
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::fix::Word::{Literal, Path as File, Value};
use crate::check::pam_config;
use crate::check::request::{CheckRequest, Target};
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::settings::Settings;
use crate::ec2::UserName;
use crate::files;
use crate::limits;
use crate::ownership::{self, OwnershipFault};
use crate::tool::{is_root, stdout_of};

/// Checks whether EC2 Instance Connect accepts the user name.
pub(crate) async fn name(runner: &Runner, request: &CheckRequest) -> Finding<UserName> {
    runner
        .check(CheckId::UserName, (), async |()| {
            let Some(user) = &request.user else { return Answer::skip("no USER was given") };
            match UserName::parse(user.as_encoded_bytes()) {
                Some(name) => Answer::ok(format!("EC2 Instance Connect accepts the name {name}"), name),
                None => Answer::fail(
                    format!("EC2 Instance Connect does not accept the user name {}", user.to_string_lossy()),
                    Fix::advice(
                        "log in as a user whose name consists of 1 to 32 letters, digits and @._- and is not a number",
                    ),
                ),
            }
        })
        .await
}

/// The result for a failed query of the name service, which sshd cannot query either.
pub(crate) fn no_name_service<T>(error: &io::Error) -> Answer<T> {
    if error.kind() == ErrorKind::NotFound {
        return Answer::skip("users cannot be looked up: getent is not installed");
    }
    let fix =
        Fix::advice("find out which name service of /etc/nsswitch.conf does not answer: getent passwd USER");
    Answer::fail(format!("users cannot be looked up: getent: {error}"), fix)
}

/// Checks whether the user exists.
pub(crate) async fn account(
    runner: &Runner,
    target: &Target<'_>,
    name: &Finding<UserName>,
) -> Finding<Account> {
    runner
        .check(CheckId::UserAccount, name, async |name| {
            let (name, root) = (name.to_string(), target.root.to_owned());
            blocking(move || match Account::find(&name) {
                Ok(Some(account)) => Answer::ok(format!("{name} has uid {}", account.uid), account),
                Ok(None) => {
                    Answer::fail(format!("there is no user {name} on this system"), create(&root, &name))
                }
                Err(error) => no_name_service(&error),
            })
            .await
        })
        .await
}

/// The fix that creates a user. What is left of a removed user is used again: the group, and the home directory with
/// its uid.
fn create(root: &Path, name: &str) -> Fix {
    let read = |file: &str| files::read_text(&root.join(file), limits::SYSTEM_FILE).unwrap_or_default();
    let (passwd, groups) = (read("etc/passwd"), read("etc/group"));
    let has_group = groups.lines().any(|line| line.split(':').next() == Some(name));
    let home = format!("/home/{name}");
    let owner = fs::symlink_metadata(root.join(home.trim_start_matches('/'))).ok().map(|home| home.uid());
    let is_free = |uid: u32| {
        let uid = uid.to_string();
        uid != "0" && !passwd.lines().any(|line| line.split(':').nth(2) == Some(uid.as_str()))
    };
    let uid = owner.filter(|uid| is_free(*uid)).map(|uid| uid.to_string());
    if owner.is_some() && uid.is_none() {
        return Fix::advice(format!(
            "restore the line of {name} in /etc/passwd, or create the user; {home} exists, and belongs to another user"
        ));
    }
    let mut words = Vec::new();
    if let Some(uid) = &uid {
        words.extend([Literal("--uid"), Value(uid)]);
    }
    if has_group {
        words.extend([Literal("--gid"), Value(name)]);
    }
    words.push(Value(name));
    Fix::command("useradd --create-home --shell /bin/bash", words)
}

/// Checks expiry, shell, home directory and nologin.
pub(crate) async fn account_state(
    runner: &Runner,
    target: &Target<'_>,
    account: &Finding<Account>,
    settings: &Finding<Settings>,
) {
    let today = target.today();
    let expiry = runner.check(CheckId::UserExpiry, (account, settings), async |(account, settings)| {
        let (name, pam) = (account.name.clone(), settings.is("usepam", "yes"));
        let root = target.root.to_owned();
        blocking(move || expiry(&name, pam, today, &root)).await
    });
    let password = runner.check(CheckId::UserPassword, (account, settings), async |(account, settings)| {
        let (name, pam) = (account.name.clone(), settings.is("usepam", "yes"));
        let root = target.root.to_owned();
        blocking(move || password(&name, pam, today, &root)).await
    });
    let chrooted =
        settings.get().is_some_and(|settings| !matches!(settings.one("chrootdirectory"), "" | "none"));
    let shell = runner.check(CheckId::UserShell, account, async |account| {
        let (account, root) = (account.clone(), target.root.to_owned());
        blocking(move || shell(&account, &root, chrooted)).await
    });
    let home = runner.check(CheckId::UserHome, (account, settings), async |(account, settings)| {
        let (account, root, strict) =
            (account.clone(), target.root.to_owned(), settings.is("strictmodes", "yes"));
        blocking(move || home(&account, &root, strict)).await
    });
    let pam = settings.get().map(|settings| settings.is("usepam", "yes"));
    let nologin = runner.check(CheckId::UserNologin, account, async |account| {
        let (account, root) = (account.clone(), target.root.to_owned());
        blocking(move || nologin(&account, &root, pam)).await
    });
    tokio::join!(expiry, password, shell, home, nologin);
}

/// A command that changes a line of passwd(5) or shadow(5). A sentence if a user has several: the first one counts, and the tools
/// refuse to change it.
fn unless_repeated(root: &Path, name: &str, command: Fix) -> Fix {
    let repeated = ["passwd", "shadow"].into_iter().find(|file| {
        let text = files::read_text(&root.join("etc").join(file), limits::SYSTEM_FILE).unwrap_or_default();
        text.lines().filter(|line| line.split(':').next() == Some(name)).count() > 1
    });
    match repeated {
        Some(file) => Fix::advice(format!(
            "/etc/{file} has several lines of {name}, of which the first counts: remove the wrong ones (vipw), then check again"
        )),
        None => command,
    }
}

/// The line of a user in shadow(5), which only root can read.
fn shadow(name: &str) -> Option<Vec<String>> {
    let line = stdout_of("getent", &["shadow", "--", name])?;
    Some(line.trim_end().split(':').map(str::to_owned).collect())
}

fn expiry(name: &str, pam: bool, today: u64, root: &Path) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can read when accounts expire");
    }
    let Some(fields) = shadow(name) else {
        return Answer::ok(format!("{name} has no local password, and so no expiry"), ());
    };
    let field = |at: usize| fields.get(at).map(String::as_str).unwrap_or_default();
    let fix = unless_repeated(root, name, Fix::command("chage --expiredate -1", [Value(name)]));
    // On that day sshd allows the account (auth_shadow_acctexpired). Older versions of pam_unix do, too, newer ones refuse it
    // (check_shadow_expiry).
    match field(7).parse().ok().and_then(|day: u64| today.checked_sub(day)) {
        Some(0) if pam => {
            let note = format!("the account {name} expires today: newer versions of PAM refuse it already");
            return Answer::warn(note, fix, ());
        }
        None | Some(0) => {}
        Some(ago) => return Answer::fail(format!("the account {name} expired {ago} days ago"), fix),
    }
    // `platform_locked_account` of OpenSSH. sshd checks this itself only without PAM.
    if field(1).starts_with('!') && !pam {
        return Answer::fail(
            format!("the account {name} is locked, and UsePAM is no: sshd refuses locked accounts"),
            unless_repeated(root, name, Fix::command("usermod --password *", [Value(name)])),
        );
    }
    Answer::ok(format!("the account {name} is neither locked nor expired"), ())
}

/// Whether a PAM module checks the age of a password for a login with a key.
fn checks_age(module: &str) -> bool {
    module.starts_with("pam_unix.so") && !module.contains("no_pass_expiry")
}

/// What `pam_unix` checks of the password before it allows the account, also for a login with a key. Without PAM, sshd
/// checks this only for logins with a password.
fn password(name: &str, pam: bool, today: u64, root: &Path) -> Answer<()> {
    if !pam {
        return Answer::ok("UsePAM is no: sshd checks no password for a key", ());
    }
    if !is_root() {
        return Answer::skip("only root can read when passwords expire");
    }
    if !pam_config::modules(root, "account").iter().any(|module| checks_age(module)) {
        return Answer::ok(
            "PAM does not check the password's age: pam_unix is not among its account modules",
            (),
        );
    }
    let Some(fields) = shadow(name) else {
        let passwd = files::read_text(&root.join("etc/passwd"), limits::SYSTEM_FILE).unwrap_or_default();
        let has_shadow = passwd.lines().any(|line| line.split(':').take(2).eq([name, "x"]));
        return if has_shadow {
            Answer::fail(
                format!("{name} has no entry in /etc/shadow: PAM refuses the account"),
                Fix::command("pwconv", []),
            )
        } else {
            Answer::ok(format!("{name} has no local password, and so no expiry"), ())
        };
    };
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let (Some(changed), max, inactive) = (number(2), number(4), number(6)) else {
        return Answer::ok(format!("the password of {name} does not expire"), ());
    };
    let never =
        || unless_repeated(root, name, Fix::command("chage --maxdays -1 --inactive -1", [Value(name)]));
    if changed == 0 {
        return Answer::fail(
            format!(
                "{name} has to change the password: PAM asks for the old one, also after a login with a key"
            ),
            unless_repeated(
                root,
                name,
                Fix::command("chage --lastday", [Value(&today.to_string()), Value(name)]),
            ),
        );
    }
    let age = today.saturating_sub(changed);
    match (max, inactive) {
        (Some(max), Some(inactive)) if age > max.saturating_add(inactive) && age > inactive => Answer::fail(
            format!(
                "the password of {name} expired, and was not changed in {inactive} days: PAM refuses the account"
            ),
            never(),
        ),
        (Some(max), _) if age > max => Answer::fail(
            format!("the password of {name} expired: PAM asks for a new one, also after a login with a key"),
            never(),
        ),
        _ => Answer::ok(format!("the password of {name} has not expired"), ()),
    }
}

/// In a `ChrootDirectory`, sshd does not look at the shell before it changes the root directory: sshd.session does.
fn shell(account: &Account, root: &Path, chrooted: bool) -> Answer<()> {
    let shell = account.shell.display();
    let fix = || {
        let command = Fix::command("usermod --shell /bin/bash", [Value(&account.name)]);
        unless_repeated(root, &account.name, command)
    };
    let refusing = ["nologin", "false", "true", "sync", "halt", "shutdown"];
    if refusing.iter().any(|name| account.shell.file_name() == Some(name.as_ref())) {
        return Answer::fail(format!("the login shell is {shell}, which does not allow logins"), fix());
    }
    if chrooted {
        return Answer::ok(format!("the login shell is {shell}, in ChrootDirectory"), ());
    }
    let path = root.join(account.shell.strip_prefix("/").unwrap_or(&account.shell));
    match fs::metadata(path) {
        Ok(metadata) if ownership::is_program(&metadata) => {
            Answer::ok(format!("the login shell is {shell}"), ())
        }
        _ => Answer::fail(format!("the login shell {shell} is not a program: sshd refuses the login"), fix()),
    }
}

/// Checks nologin(5). With PAM, `pam_nologin` looks for both files; without it, sshd looks for one.
fn nologin(account: &Account, root: &Path, pam: Option<bool>) -> Answer<()> {
    let files: &[&str] = match pam {
        Some(false) => &["/etc/nologin"],
        Some(true)
            if !pam_config::modules(root, "account")
                .iter()
                .any(|module| module.starts_with("pam_nologin.so")) =>
        {
            &[]
        }
        _ => &["/etc/nologin", "/run/nologin"],
    };
    match files.iter().find(|path| root.join(path.trim_start_matches('/')).exists()) {
        Some(path) if account.uid != 0 => {
            let fix = Fix::command("rm", [Value(path)]);
            Answer::fail(format!("{path} exists: only root can log in"), fix)
        }
        _ => Answer::ok("no nologin file refuses users", ()),
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
            let makes_home = |module: &String| module.contains("mkhomedir");
            if pam_config::modules(root, "session").iter().any(makes_home) {
                return Answer::ok(
                    format!("the home directory {shown} does not exist: PAM creates it at a login"),
                    (),
                );
            }
            return Answer::warn(
                format!("the home directory {shown} does not exist: a session starts in /"),
                Fix::advice(format!(
                    "create {shown} for {}, with mode 0700; mkhomedir_helper(8) and pam_mkhomedir(8) do that",
                    account.name
                )),
                (),
            );
        }
        Err(error) => return Answer::skip(format!("{shown} cannot be read: {error}")),
    };
    for name in ["", ".ssh", ".ssh/authorized_keys"] {
        let path = if name.is_empty() { home.clone() } else { home.join(name) };
        let real = match fs::canonicalize(&path) {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Answer::skip(format!("{} cannot be read: {error}", path.display())),
        };
        if let Some(wrong) = fault(&real, &home, account.uid).filter(|_| strict) {
            return strict_modes(account, &path, &real, wrong);
        }
    }
    Answer::ok(format!("StrictModes accepts {shown}"), ())
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
        match ownership::check(&metadata, &[0, uid]) {
            Ok(()) => None,
            Err(OwnershipFault::Owner(owner)) => Some(Fault::Owner(part.to_owned(), owner)),
            Err(OwnershipFault::Writable) => Some(Fault::Writable(part.to_owned(), metadata.uid())),
        }
    })
}

/// `path` is the path that sshd opens, `real` the file that it leads to.
fn strict_modes(account: &Account, path: &Path, real: &Path, fault: Fault) -> Answer<()> {
    let name = &account.name;
    let link = if path == real {
        String::new()
    } else {
        format!("{} is a symbolic link to {}; ", path.display(), real.display())
    };
    let note = "StrictModes refuses authorized_keys, but not pushed keys";
    match fault {
        Fault::Owner(part, owner) => Answer::remark(
            format!(
                "{link}{} is owned by {}, not by {name} or root: {note}",
                part.display(),
                account_of(owner)
            ),
            Fix::advice(format!(
                "find out why, and who wrote the contents: {name} may have chosen them, so do not only change the owner"
            )),
            (),
        ),
        Fault::Writable(part, owner) => {
            let fix = if !link.is_empty() {
                Fix::advice(format!("find out who has to write to {}; {name} chose it", part.display()))
            } else if owner == 0 {
                Fix::command("chmod go-w --", [File(&part)])
            } else {
                Fix::as_user(account, "chmod go-w", &part)
            };
            Answer::remark(
                format!("{link}users other than the owner can write to {}: {note}", part.display()),
                fix,
                (),
            )
        }
    }
}
