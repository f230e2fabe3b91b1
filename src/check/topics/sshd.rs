//! Checks whether sshd runs eic-keys: the output of `sshd -T`, and the configuration lines that set it.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::user::unnamed;
use crate::arguments::{UsageError, key_query};
use crate::authorize::KeyQuery;
use crate::check::account::Account;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::fix::Word;
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::running;
use crate::check::settings::{Settings, main};
use crate::check::tool::is_root;
use crate::ec2::UserName;
use crate::error_text::WithCauses;
use crate::limits;
use crate::safe_path;
use crate::sshd::block;
use crate::sshd::config_tree::ConfigTree;
use crate::sshd::criteria::Connection;
use crate::sshd::effective::{Config, Setting};
use crate::sshd::lexer::OpensshVersion;
use crate::sshd::plan::{OWN_USER, is_expanded};
use crate::sshd::query::{Dump, Sshd};

/// The findings about sshd's configuration.
#[derive(Debug)]
pub(crate) struct Wiring {
    pub(crate) sshd: Finding<(Sshd, OpensshVersion)>,
    pub(crate) settings: Finding<Settings>,
    pub(crate) command: Finding<Ours>,
    /// The user that runs eic-keys.
    pub(crate) user: Finding<Account>,
}

/// The command line of eic-keys in sshd's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    pub(crate) program: PathBuf,
    /// The parsed command line, with placeholders for the user and the fingerprint.
    pub(crate) request: KeyQuery,
}

/// Checks the settings of sshd that apply to the user.
pub(crate) async fn wiring(
    runner: &Runner,
    target: &Target<'_>,
    name: &Finding<UserName>,
    account: &Finding<Account>,
) -> Wiring {
    let tree = ConfigTree::new(target.root);
    let sshd = runner
        .check(CheckId::SshdVersion, (), async |()| {
            let tree = tree.clone();
            blocking(move || version(&tree)).await
        })
        .await;
    let connection = connection(name.get(), account.get());
    let settings = runner
        .check(CheckId::SshdConfig, &sshd, async |(sshd, _)| {
            let (tree, sshd, connection) = (tree.clone(), sshd.clone(), connection.clone());
            blocking(move || dump(&tree, &sshd, &connection)).await
        })
        .await;
    let command = runner
        .check(CheckId::SshdCommand, (&sshd, &settings), async |((_, version), settings)| {
            let (tree, connection) = (tree.clone(), connection.clone());
            let (version, dump) = (version.clone(), settings.dump.clone());
            blocking(move || command(&tree, &version, &connection, &dump)).await
        })
        .await;
    let user = runner
        .check(CheckId::SshdCommandUser, (&settings, &command), async |(settings, _)| {
            let user = settings.dump.user.clone();
            let login = name.get().map(ToString::to_string);
            blocking(move || command_user(user.as_deref(), login.as_deref())).await
        })
        .await;
    Wiring { sshd, settings, command, user }
}

/// A connection by the user from an arbitrary address. Blocks with `Match Address` do not apply to it.
fn connection(name: Option<&UserName>, account: Option<&Account>) -> Connection {
    let Some(name) = name else { return Connection::probe() };
    let groups = account.map(|account| account.groups.clone()).unwrap_or_default();
    Connection { user: Some(name.to_string()), groups, ..Connection::probe() }
}

fn version(tree: &ConfigTree) -> Answer<(Sshd, OpensshVersion)> {
    let Some(sshd) = Sshd::find(tree) else {
        return Answer::fail(
            "there is no sshd on this system",
            Fix::advice(
                "install OpenSSH's server: apt-get install openssh-server, or dnf install openssh-server",
            ),
        );
    };
    let sshd = sshd.with_timeout(limits::CHECK_TOOL);
    match sshd.version() {
        Ok(version) => Answer::ok(version.release().to_owned(), (sshd, version)),
        Err(error) => {
            Answer::fail(WithCauses(&error).to_string(), Fix::advice("install OpenSSH's server anew"))
        }
    }
}

fn dump(tree: &ConfigTree, sshd: &Sshd, connection: &Connection) -> Answer<Settings> {
    if !is_root() {
        return Answer::skip("only root can ask sshd for its settings: it reads its host keys first");
    }
    let main = main(tree);
    match sshd.accepts(&main).and_then(|()| sshd.dump(&main, connection)) {
        Ok(dump) => Answer::ok(format!("sshd accepts {}", main.display()), Settings::new(dump)),
        Err(error) if error.lacks_directory() => {
            let fix = Fix::command("mkdir -m 0755 /run/sshd", []);
            if running::waits(tree) {
                return Answer::elsewhere(
                    "sshd tells nothing before somebody connected: there is no /run/sshd",
                    fix,
                );
            }
            Answer::fail(WithCauses(&error).to_string(), fix)
        }
        Err(error) => Answer::fail(WithCauses(&error).to_string(), Fix::advice(error.fix())),
    }
}

fn command(
    tree: &ConfigTree,
    version: &OpensshVersion,
    connection: &Connection,
    dump: &Dump,
) -> Answer<Ours> {
    let enable = || Fix::command("eic-keys --enable", []);
    let Some(line) = &dump.command else {
        return Answer::fail("sshd has no AuthorizedKeysCommand: it does not ask for pushed keys", enable());
    };
    let setting = origin(tree, version, connection, line);
    let shown = String::from_utf8_lossy(line);
    let origin = setting.as_ref().map_or_else(|| "sshd".to_owned(), |setting| setting.origin.to_string());
    let words = block::words(version, line);
    let program = PathBuf::from(OsStr::from_bytes(words.first().map(Vec::as_slice).unwrap_or_default()));
    if !is_ours(&program) {
        let fix = match setting.and_then(|setting| setting.block) {
            Some((at, criteria)) => Fix::advice(format!(
                "in the block \"Match {criteria}\" ({at}) put before it: /usr/bin/eic-keys %u %f --"
            )),
            None => enable(),
        };
        return Answer::fail(format!("{origin} has another AuthorizedKeysCommand than ours: {shown}"), fix);
    }
    let request = match understood(&words) {
        Ok(request) => request,
        Err(reason) => {
            return Answer::fail(
                format!("{origin} has {shown}, which eic-keys does not understand: {reason}"),
                Fix::advice(format!("make it: AuthorizedKeysCommand {} %u %f", program.display())),
            );
        }
    };
    if block::chains_itself(version, line, tree) {
        return Answer::warn(
            format!(
                "{origin} has {shown}: what follows \"--\" is eic-keys again, or AWS's command that it replaces, so each login asks twice"
            ),
            Fix::advice(format!(
                "take \"--\" and what follows it off that line ({origin}); --enable does so for lines of its own"
            )),
            Ours { program, request },
        );
    }
    if let Some((note, fix)) = setting.as_ref().and_then(|setting| left_out(tree, version, setting)) {
        return Answer::warn(format!("{origin} has {shown}; {note}"), fix, Ours { program, request });
    }
    let Some(behind) = block::chained_program(version, line) else {
        return Answer::ok(format!("{origin} has {shown}"), Ours { program, request });
    };
    let note = format!("{origin} has {shown}; behind it runs {}", String::from_utf8_lossy(&behind));
    match unable(tree, Path::new(OsStr::from_bytes(&behind))) {
        None => Answer::ok(note, Ours { program, request }),
        Some(reason) => Answer::warn(
            format!("{note}, which cannot: {reason}; the keys that it knows are not found"),
            Fix::advice(
                "repair that command, or install it again; if it is not wanted any more, take out the lines that set it, and run \
                 eic-keys --enable",
            ),
            Ours { program, request },
        ),
    }
}

/// The command that our lines leave out, and the fix.
fn left_out(tree: &ConfigTree, version: &OpensshVersion, setting: &Setting) -> Option<(String, Fix)> {
    let bytes = tree.read(&setting.origin.path).ok()?;
    let program = block::program(version, &setting.value)?;
    let remarks = block::remarks(version, &bytes, std::str::from_utf8(&program).ok()?);
    let (command, user) = remarks.iter().find_map(|remark| block::parse_left_out(remark))?;
    // Our own lines, set by hand under a user that does not exist, lose no key.
    if block::program(version, command).is_some_and(|program| is_ours(Path::new(OsStr::from_bytes(&program))))
    {
        return None;
    }
    let (command, user) = (String::from_utf8_lossy(command), String::from_utf8_lossy(user));
    let enable = || Fix::command("eic-keys --enable", []);
    Some(if matches!(Account::find(&user), Ok(Some(_))) {
        (format!("{command} is left out, though its user {user} exists again"), enable())
    } else {
        let fix = format!(
            "make the user {user}, or take out the lines that set that command; then run eic-keys --enable"
        );
        (
            format!(
                "{command} is left out, as its user {user} does not exist: the keys that it knows are not found"
            ),
            Fix::advice(fix),
        )
    })
}

/// Why eic-keys would not run the chained command. The rules are sshd's.
fn unable(tree: &ConfigTree, program: &Path) -> Option<String> {
    match safe_path::distrust(&tree.locate(Path::new("/")), program) {
        Ok(None) => None,
        Ok(Some(reason)) => Some(reason.to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => Some("it is not there".to_owned()),
        // Without access, the user cannot find out.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(error) => Some(error.to_string()),
    }
}

/// The line that sets the effective command, if our parser finds the same value as sshd.
fn origin(
    tree: &ConfigTree,
    version: &OpensshVersion,
    connection: &Connection,
    line: &[u8],
) -> Option<Setting> {
    let config = Config::read(tree, &main(tree), version.clone()).ok()?;
    config.effective(Some(connection)).ok()?.command.filter(|setting| setting.value == line)
}

/// Whether a path leads to the running program, or has its name.
fn is_ours(program: &Path) -> bool {
    program.file_name() == Some("eic-keys".as_ref()) || leads_here(program)
}

/// Whether a path leads to the running program, through symbolic or hard links.
pub(crate) fn leads_here(program: &Path) -> bool {
    ConfigTree::new(Path::new("/")).same_file(program, Path::new("/proc/self/exe"))
}

/// Whether eic-keys accepts its command line, after sshd expands the user and the fingerprint.
fn understood(words: &[Vec<u8>]) -> Result<KeyQuery, UsageError> {
    let expanded = words.iter().skip(1).map(|word| match word.as_slice() {
        b"%u" => "user".into(),
        b"%f" => "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into(),
        other => OsStr::from_bytes(other).to_owned(),
    });
    // sshd adds the user's name if there are no arguments.
    let mut expanded: Vec<_> = expanded.collect();
    if expanded.is_empty() {
        expanded.push("user".into());
    }
    key_query(expanded)
}

/// The value of `AuthorizedKeysCommandUser` for a login, with `%u` and `%%` expanded. `None` if it depends on the
/// login and no user was given.
fn expanded(user: &str, login: Option<&str>) -> Option<String> {
    let mut parts = user.split("%%").map(|part| match login {
        Some(login) => Some(part.replace("%u", login)),
        None => (!part.contains("%u")).then(|| part.to_owned()),
    });
    parts.try_fold(None::<String>, |whole, part| {
        let part = part?;
        Some(Some(whole.map_or_else(|| part.clone(), |whole| format!("{whole}%{part}"))))
    })?
}

fn command_user(user: Option<&[u8]>, login: Option<&str>) -> Answer<Account> {
    let Some(user) = user else {
        let fix = Fix::advice(format!("set AuthorizedKeysCommandUser {OWN_USER}"));
        return Answer::fail("there is no AuthorizedKeysCommandUser: sshd runs no command without", fix);
    };
    let written = String::from_utf8_lossy(user).into_owned();
    let Some(name) = expanded(&written, login) else {
        return Answer::skip(format!(
            "AuthorizedKeysCommandUser is {written}: the user that logs in runs eic-keys; name a USER"
        ));
    };
    if is_expanded(user) {
        return match Account::find(&name) {
            Err(error) => unnamed(&error),
            Ok(None) => Answer::fail(
                format!(
                    "AuthorizedKeysCommandUser is {written}, for this login {name}, and there is no such user: sshd runs nothing"
                ),
                Fix::advice(format!("make the user {name}, if there is to be one")),
            ),
            Ok(Some(account)) => Answer::ok(
                format!(
                    "AuthorizedKeysCommandUser is {written}: for this login {name} runs it, uid {}",
                    account.uid
                ),
                account,
            ),
        };
    }
    match Account::find(&name) {
        Err(error) => unnamed(&error),
        Ok(None) if name != OWN_USER => Answer::fail(
            format!(
                "there is no user {name}, as whom sshd is to run eic-keys: it runs nothing, and no pushed key works"
            ),
            Fix::command("eic-keys --enable", []),
        ),
        Ok(None) => Answer::fail(
            format!("there is no user {name}, who is to run eic-keys"),
            Fix::command(
                "useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin",
                [Word::Value(&name)],
            ),
        ),
        Ok(Some(account)) if account.uid == 0 => Answer::warn(
            "root runs eic-keys, which needs no rights at all",
            Fix::advice(format!("set AuthorizedKeysCommandUser {OWN_USER}")),
            account,
        ),
        Ok(Some(account)) => Answer::ok(format!("{name} runs it, uid {}", account.uid), account),
    }
}
