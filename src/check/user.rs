//! The user: whether sshd would let anybody in by that name at all.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::board::{Answer, Board, Step, blocking};
use super::login::Settings;
use super::tool::{ask, is_root, told};
use super::{Fix, Request, System};
use crate::imds::facts::UserName;

const DAY: u64 = 24 * 60 * 60;

/// A user of this system, as its name service tells.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<String>,
    home: PathBuf,
    shell: PathBuf,
}

impl Account {
    /// Asks `getent`, another process: a static binary must not load a name service's library.
    pub(super) fn find(name: &str) -> io::Result<Option<Self>> {
        let ran = ask("getent", &["passwd", "--", name])?;
        let text = String::from_utf8_lossy(&ran.stdout);
        let Some(account) = text.lines().find_map(Self::read).filter(|account| account.name == name) else {
            return Ok(None);
        };
        let groups = told("id", &["-Gn", "--", name]).unwrap_or_default();
        Ok(Some(Self { groups: groups.split_whitespace().map(str::to_owned).collect(), ..account }))
    }

    /// A line of passwd(5).
    fn read(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
        Some(Self {
            name: (*name).to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            groups: Vec::new(),
            home: home.into(),
            shell: if shell.is_empty() { "/bin/sh" } else { shell }.into(),
        })
    }
}

/// Whether EC2 Instance Connect takes keys for a user of that name.
pub(super) async fn name(board: &Board, request: &Request) -> Step<UserName> {
    board
        .check("user.name", (), async |()| {
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

/// Whether there is one.
pub(super) async fn account(board: &Board, name: &Step<UserName>) -> Step<Account> {
    board
        .check("user.account", name, async |name| {
            let name = name.to_string();
            blocking(move || match Account::find(&name) {
                Ok(Some(account)) => Answer::ok(format!("{name} has uid {}", account.uid), account),
                Ok(None) => Answer::fail(
                    format!("there is no user {name} on this system"),
                    Fix::command(["useradd", "--create-home", "--shell", "/bin/bash", &name]),
                ),
                Err(error) => unnamed(&error),
            })
            .await
        })
        .await
}

/// The answer where the name service gives none: then it gives none to sshd either.
pub(super) fn unnamed<T>(error: &io::Error) -> Answer<T> {
    if error.kind() == ErrorKind::NotFound {
        return Answer::skip("there is no getent to ask for users");
    }
    let fix = Fix::advice("see which name service of /etc/nsswitch.conf does not answer: getent passwd USER");
    Answer::fail(format!("getent does not tell of users: {error}"), fix)
}

/// Whether the account is one to log in with.
pub(super) async fn account_state(
    board: &Board,
    system: &System<'_>,
    account: &Step<Account>,
    settings: &Step<Settings>,
) {
    let today = (system.clock)().as_secs() / DAY;
    let expiry = board.check("user.expiry", (account, settings), async |(account, settings)| {
        let (name, pam) = (account.name.clone(), settings.is("usepam", "yes"));
        blocking(move || expiry(&name, pam, today)).await
    });
    let shell = board.check("user.shell", account, async |account| {
        let (account, root) = (account.clone(), system.root.to_owned());
        blocking(move || shell(&account, &root)).await
    });
    let home = board.check("user.home", (account, settings), async |(account, settings)| {
        let (account, root, strict) =
            (account.clone(), system.root.to_owned(), settings.is("strictmodes", "yes"));
        blocking(move || home(&account, &root, strict)).await
    });
    let nologin = board.check("user.nologin", account, async |account| nologin(account, system.root));
    tokio::join!(expiry, shell, home, nologin);
}

/// shadow(5), which only root may read.
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
            Fix::command(["chage", "--expiredate", "-1", name]),
        );
    }
    // `platform_locked_account` of OpenSSH: asked by sshd itself only where PAM is not.
    if password.starts_with('!') && !pam {
        return Answer::fail(
            format!("the account {name} is locked, and UsePAM is off: sshd lets nobody in there"),
            Fix::command(["usermod", "--password", "*", name]),
        );
    }
    Answer::ok(format!("the account {name} is neither locked nor expired"), ())
}

fn shell(account: &Account, root: &Path) -> Answer<()> {
    let shell = account.shell.display();
    let fix = || Fix::command(["usermod", "--shell", "/bin/bash", &account.name]);
    if ["nologin", "false"].iter().any(|name| account.shell.file_name() == Some(name.as_ref())) {
        return Answer::fail(format!("the login shell is {shell}, which lets nobody work"), fix());
    }
    let path = root.join(account.shell.strip_prefix("/").unwrap_or(&account.shell));
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => {
            Answer::ok(format!("the login shell is {shell}"), ())
        }
        _ => Answer::fail(format!("the login shell {shell} is no program: sshd refuses the login"), fix()),
    }
}

/// nologin(5): asked by sshd and by PAM.
fn nologin(account: &Account, root: &Path) -> Answer<()> {
    match ["/etc/nologin", "/run/nologin"]
        .into_iter()
        .find(|path| root.join(path.trim_start_matches('/')).exists())
    {
        Some(path) if account.uid != 0 => {
            Answer::fail(format!("{path} is there: only root may log in"), Fix::command(["rm", path]))
        }
        _ => Answer::ok("no nologin keeps users out", ()),
    }
}

/// `StrictModes`: sshd trusts `authorized_keys` only where nobody else may write on the way. Pushed keys do
/// not need that.
fn home(account: &Account, root: &Path, strict: bool) -> Answer<()> {
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    for path in [account.home.clone(), account.home.join(".ssh"), account.home.join(".ssh/authorized_keys")] {
        let shown = path.display().to_string();
        let metadata = match fs::metadata(below(&path)) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound && path == account.home => {
                let owner = [account.uid.to_string(), account.gid.to_string()];
                let [uid, gid] = &owner;
                return Answer::warn(
                    format!("the home {shown} is not there: a session starts in /"),
                    Fix::command(["install", "-d", "-m", "0700", "-o", uid, "-g", gid, &shown]),
                    (),
                );
            }
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Answer::skip(format!("{shown} cannot be looked at: {error}")),
        };
        let note = "for StrictModes; pushed keys work all the same";
        if strict && metadata.uid() != account.uid && metadata.uid() != 0 {
            let fix = Fix::command(["chown", &account.uid.to_string(), &shown]);
            return Answer::warn(
                format!("{shown} belongs to uid {}, which is wrong {note}", metadata.uid()),
                fix,
                (),
            );
        }
        if strict && metadata.mode() & 0o022 != 0 {
            let fix = Fix::command(["chmod", "go-w", &shown]);
            return Answer::warn(format!("others may write to {shown}, which is wrong {note}"), fix, ());
        }
    }
    Answer::ok(format!("{} is as sshd wants it", account.home.display()), ())
}
