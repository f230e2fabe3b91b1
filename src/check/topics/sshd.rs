//! Checks whether sshd runs eic-keys: the output of `sshd -T`, and the configuration lines that set it.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::pam_modules::REINSTALL;
use super::sshd_config;
use super::user::no_name_service;
use crate::account::{Account, is_root};
use crate::arguments::{UsageError, key_query};
use crate::authorize::KeyQuery;
use crate::check::check_id::CheckId;
use crate::check::fault::Fault;
use crate::check::fix::CommandWord;
use crate::check::fix::Fix;
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::running_sshd;
use crate::check::serving_context::serving_process;
use crate::check::settings::{COMMAND, COMMAND_USER, Settings, SettingsSource};
use crate::check::sshd_program::SshdProgram;
use crate::check::tokens::{Offered, ZERO_KEY_FINGERPRINT, expand, expand_command};
use crate::config_tree::ConfigTree;
use crate::config_tree::Origin;
use crate::ec2::UserName;
use crate::error_text::WithCauses;
use crate::files::is_program_at;
use crate::limits;
use crate::process::TrustedCommand;
use crate::safe_path::{self, Program, ProgramCheck};
use crate::sshd::config::is_expanded;
use crate::sshd::config::{Config, Keyword, MatchLine, Setting};
use crate::sshd::criteria::{ConnectionSpec, NamedClients};
use crate::sshd::drop_in;
use crate::sshd::managed_lines;
use crate::sshd::options::OWN_USER;
use crate::sshd::query::{Dump, PATHS, QueryError, Sshd};
use crate::sshd::version::OpensshVersion;
use crate::tool::stdout_of;

/// The findings about sshd's configuration.
#[derive(Debug)]
pub(crate) struct SshdFindings {
    pub(crate) program: Finding<SshdProgram>,
    pub(crate) settings: Finding<Settings>,
    pub(crate) command: Finding<ConfiguredCommand>,
    /// The user that runs eic-keys.
    pub(crate) user: Finding<Account>,
}

/// The command line of eic-keys in sshd's configuration.
#[derive(Clone, Debug)]
pub(crate) struct ConfiguredCommand {
    pub(crate) program: PathBuf,
    /// The parsed command line, with placeholders for the user and the fingerprint.
    pub(crate) request: KeyQuery,
}

/// Checks the settings of sshd that apply to the user.
pub(crate) async fn examine(
    runner: &Runner,
    target: &CheckTarget<'_>,
    name: &Finding<UserName>,
    account: &Finding<Account>,
) -> SshdFindings {
    let tree = ConfigTree::new(target.root);
    let program = runner
        .check_in_thread(CheckId::SshdVersion, (), |()| {
            let tree = tree.clone();
            move || version(&tree)
        })
        .await;
    let connection = connection(name.get(), account.get());
    let settings = runner
        .check_in_thread(CheckId::SshdConfig, &program, |program| {
            let (tree, connection) = (tree.clone(), connection.clone());
            let (program, account) = (program.clone(), account.get().cloned());
            let now = (target.clock)().as_secs();
            move || sshd_config::settings(&tree, &program, connection, account.as_ref(), now)
        })
        .await;
    let command = runner
        .check_in_thread(CheckId::SshdCommand, (&program, &settings), |(program, settings)| {
            let (dump, source) = (settings.dump.clone(), settings.source.clone());
            let (account, clients) = (account.get().cloned(), settings.clients_of_block(COMMAND));
            let (tree, version) = (tree.clone(), program.version.clone());
            move || {
                let answer = command(&tree, &version, &source, &dump, account.as_ref());
                let main = dump.command.is_none().then(|| lost_drop_in(&tree, &source)).flatten();
                answer.warn_if_changed_without_value(main.as_deref()).for_clients(clients)
            }
        })
        .await;
    let user = runner
        .check_in_thread(CheckId::SshdCommandUser, (&settings, &command), |(settings, command)| {
            let settings = settings.clone();
            let login = name.get().map(ToString::to_string);
            let chained = command.request.chained_command.clone().and_then(|words| words.into_iter().next());
            move || {
                let clients = settings.clients_of_block(COMMAND_USER);
                command_user(&settings, login.as_deref(), chained.as_deref()).for_clients(clients)
            }
        })
        .await;
    SshdFindings { program, settings, command, user }
}

/// The main file, if it no longer includes the drop-in with our lines, and the running sshd has not read that change.
fn lost_drop_in(tree: &ConfigTree, source: &SettingsSource) -> Option<PathBuf> {
    let main = source.changed_files.iter().find(|file| **file == source.main)?;
    let ours = drop_in::all_ours(tree, main);
    let is_lost = |file: &&PathBuf| {
        let included =
            source.config.iter().flat_map(Config::files).any(|other| other.path() == file.as_path());
        let text = tree.read(file).unwrap_or_default();
        let has_line = String::from_utf8_lossy(&text)
            .lines()
            .any(|line| line.trim().starts_with("AuthorizedKeysCommand "));
        let (drop_in, changed) =
            (running_sshd::changed_at(&tree.locate(file)), running_sshd::changed_at(&tree.locate(main)));
        !included && has_line && drop_in < changed
    };
    ours.iter().find(is_lost).map(|_| main.clone())
}

/// A connection by the user from an arbitrary address. Blocks with `Match Address` do not apply to it.
fn connection(name: Option<&UserName>, account: Option<&Account>) -> ConnectionSpec {
    let Some(name) = name else { return ConnectionSpec::probe() };
    let groups = account.map(|account| account.groups.clone()).unwrap_or_default();
    ConnectionSpec { user: Some(name.to_string()), groups, ..ConnectionSpec::probe() }
}

fn version(tree: &ConfigTree) -> Answer<SshdProgram> {
    let install = || {
        Fix::advice(
            "install OpenSSH's server: apt-get install --reinstall openssh-server, or dnf reinstall (or install) openssh-server",
        )
    };
    // The running sshd serves clients without its program. One that was given another name has that name in /proc.
    let is_lost = !PATHS.iter().any(|path| is_program_at(&tree.locate(Path::new(path))));
    let is_named = || running_sshd::with_service(tree, |service| service.pid_file_owner().is_some());
    if is_lost && (is_named() || serving_process(tree).is_some()) {
        let note = "the program of the running sshd is missing, or not executable";
        return Answer::warn_without_value(note, install()).breaks_at_latest("");
    }
    let Some(sshd) = Sshd::find(tree) else {
        return Answer::fail("there is no sshd on this system", install());
    };
    let sshd = sshd.with_timeout(limits::CHECK_TOOL);
    match sshd.version() {
        Ok(version) => Answer::ok(version.release().to_owned(), SshdProgram { sshd, version }),
        Err(error @ QueryError::Rejected(_)) => {
            Answer::fail(WithCauses(&error).to_string(), Fix::advice(REINSTALL))
        }
        Err(error) => Answer::fail(
            WithCauses(&error).to_string(),
            Fix::advice("install the package openssh-server again"),
        ),
    }
}

/// The result if there is no AuthorizedKeysCommand.
fn no_command(version: &OpensshVersion, source: &SettingsSource) -> Answer<ConfiguredCommand> {
    let setting = origin(source, b"none");
    let line = setting.as_ref().map(|setting| format!(" ({} turns it off)", setting.origin));
    let none = format!(
        "sshd has no AuthorizedKeysCommand{}: it does not ask for pushed keys",
        line.unwrap_or_default()
    );
    match setting.and_then(|setting| Some((setting.origin, setting.block?))) {
        Some((line, block)) => Answer::fail(
            none,
            Fix::advice(format!(
                "remove the line {line} from the block {block} in line {}, then reload sshd; --enable does not change blocks",
                block.origin.line
            )),
        ),
        None => match of_other_logins(version, source) {
            // For clients with these addresses.
            Some(other) if other.is_for_clients => {
                let fix = format!(
                    "if that is not intended, move the lines ({}) above the first Match line, then reload sshd",
                    other.command
                );
                Answer::fail(none, Fix::advice(fix)).only_for(Some(other.clients()))
            }
            Some(OtherBlock { command, line, .. }) => Answer::fail(
                format!(
                    "sshd has no AuthorizedKeysCommand for this user: {command} sets it below {line} only"
                ),
                Fix::advice(format!(
                    "if it was meant for all users, move the lines above the first Match line; or else change {line} ({}) so that it applies to \
                     this user; then reload sshd",
                    line.origin
                )),
            ),
            None => Answer::fail(none, enable()),
        },
    }
}

/// A Match block with eic-keys that does not apply to the connection.
struct OtherBlock {
    /// The line that sets eic-keys.
    command: Origin,
    line: MatchLine,
    /// It applies to other clients of the same user.
    is_for_clients: bool,
}

impl OtherBlock {
    /// The clients without eic-keys.
    fn clients(&self) -> String {
        format!("all but {}", NamedClients::of(&self.line.criteria))
    }
}

/// The first block with eic-keys, if none applies.
fn of_other_logins(version: &OpensshVersion, source: &SettingsSource) -> Option<OtherBlock> {
    let config = source.config.as_ref()?;
    let runs_eic_keys = |setting: &&Setting| {
        let program = managed_lines::program(version, &setting.value).unwrap_or_default();
        setting.keyword == Keyword::Command && is_eic_keys(Path::new(OsStr::from_bytes(&program)))
    };
    let setting = config.settings().iter().find(runs_eic_keys)?;
    let line = setting.block.clone()?;
    let blocks = config.client_blocks(&source.connection, false);
    let is_for_clients = blocks.iter().any(|block| block.origin == line.origin);
    Some(OtherBlock { command: setting.origin.clone(), line, is_for_clients })
}

fn command(
    tree: &ConfigTree,
    version: &OpensshVersion,
    source: &SettingsSource,
    dump: &Dump,
    account: Option<&Account>,
) -> Answer<ConfiguredCommand> {
    let Some(line) = &dump.command else { return no_command(version, source) };
    let setting = origin(source, line);
    let shown = String::from_utf8_lossy(line);
    let origin = setting.as_ref().map_or_else(|| "sshd".to_owned(), |setting| setting.origin.to_string());
    let words = managed_lines::words(version, line);
    let program = PathBuf::from(OsStr::from_bytes(words.first().map(Vec::as_slice).unwrap_or_default()));
    if !is_eic_keys(&program) {
        let is_in_block = setting.as_ref().is_some_and(|setting| setting.block.is_some());
        let others = of_other_logins(version, source).filter(|other| other.is_for_clients && !is_in_block);
        return not_eic_keys(tree, &origin, &shown, program, &words, setting, others);
    }
    let request = match parsed(&words) {
        Ok(request) => request,
        Err(reason) => {
            return Answer::fail(
                format!("{origin} has {shown}, which eic-keys rejects: {reason}"),
                Fix::advice(format!(
                    "change it to: AuthorizedKeysCommand {}",
                    with_dashes(&words).unwrap_or_else(|| format!("{} %u %f", program.display()))
                )),
            );
        }
    };
    if let Some((asked, name)) = account.and_then(|account| other_user(&words, account)) {
        return Answer::fail(
            format!(
                "{origin} has {shown}, which asks for the keys of {} when {name} logs in",
                asked.to_string_lossy()
            ),
            Fix::advice(format!("change it to: AuthorizedKeysCommand {} %u %f", program.display())),
        );
    }
    if managed_lines::chains_itself(version, line, tree) {
        return Answer::warn(
            format!(
                "{origin} has {shown}: the command after \"--\" is eic-keys again, or AWS's command that it replaces, so that each login asks twice"
            ),
            Fix::advice(format!(
                "remove \"--\" and what follows it from that line ({origin}); in the lines that --enable wrote, --enable does that"
            )),
            ConfiguredCommand { program, request },
        );
    }
    if let Some(Fault { note, fix }) = setting.as_ref().and_then(|setting| left_out(tree, version, setting)) {
        let note = format!("{origin} has {shown}; {note}");
        return Answer::warn(note, fix, ConfiguredCommand { program, request });
    }
    let configured = ConfiguredCommand { program, request };
    match managed_lines::chained_program(version, line) {
        None => Answer::ok(format!("{origin} has {shown}"), configured),
        Some(chained) => {
            let note =
                format!("{origin} has {shown}; the chained command is {}", String::from_utf8_lossy(&chained));
            match not_runnable(tree, Path::new(OsStr::from_bytes(&chained))) {
                None => Answer::ok(note, configured),
                Some(reason) => Answer::warn(
                    format!("{note}, which cannot run: {reason}; its keys are not found"),
                    Fix::advice(
                        "repair that command or install it again; if it is no longer needed, remove the lines that set it, and run \
                         eic-keys --enable",
                    ),
                    configured,
                ),
            }
        }
    }
}

/// The user whose keys the command asks for at a login of the account, and the account, if it is another one.
fn other_user<'a>(words: &[Vec<u8>], account: &'a Account) -> Option<(OsString, &'a str)> {
    let words: Vec<_> =
        words.iter().skip(1).map(|word| expand_command(word, account, Offered::NONE)).collect();
    let asked = if words.is_empty() { None } else { key_query(words).ok() }?;
    (asked.user != *account.name).then_some((asked.user, account.name.as_str()))
}

/// The result for a command that is not eic-keys: a script can run it. `others`: the block in which it is, for some clients.
fn not_eic_keys(
    tree: &ConfigTree,
    origin: &str,
    shown: &str,
    program: PathBuf,
    words: &[Vec<u8>],
    setting: Option<Setting>,
    others: Option<OtherBlock>,
) -> Answer<ConfiguredCommand> {
    let is_script = is_wrapper(tree, &program);
    if is_script || names_eic_keys(words) && not_runnable(tree, &program).is_none() {
        // As a rule it passes its arguments on. login.command runs it.
        let request = parsed(words).or_else(|_| parsed(&[]));
        let what = if is_script {
            "a script that names eic-keys"
        } else {
            "another program, which is given eic-keys"
        };
        let note = format!("{origin} has {shown}, {what}");
        return match request {
            Ok(request) => Answer::ok(note, ConfiguredCommand { program, request }),
            Err(_) => Answer::warn_without_value(format!("{note}: {NOT_KNOWN}"), Fix::advice(USE_CHAIN)),
        };
    }
    let fix = match (setting.and_then(|setting| setting.block), &others) {
        (Some(block), _) => {
            let place = if names_eic_keys(words) {
                "in the place of that command"
            } else {
                "and \"--\" before that command"
            };
            let origin = block.origin.clone();
            Fix::advice(format!(
                "in the block {block} ({origin}), put /usr/bin/eic-keys %u %f {place}, then reload sshd"
            ))
        }
        (None, Some(other)) => Fix::advice(format!(
            "if {} is not intended to be for these clients only, run eic-keys --enable",
            other.command
        )),
        (None, None) => enable(),
    };
    let reason = not_runnable(tree, &program).map(|reason| format!("; sshd does not run it: {reason}"));
    let answer = Answer::fail(
        format!(
            "{origin} has an AuthorizedKeysCommand that does not run eic-keys: {shown}{}",
            reason.unwrap_or_default()
        ),
        fix,
    );
    answer.only_for(others.map(|other| other.clients()))
}

/// Of a script that runs eic-keys.
pub(super) const NOT_KNOWN: &str = "what it does is not known";
pub(super) const USE_CHAIN: &str =
    "set AuthorizedKeysCommand to /usr/bin/eic-keys %u %f, with the other command behind \"--\"";

/// The fix that puts our lines into sshd's configuration, or what prevents it.
fn enable() -> Fix {
    let program = Program::own().ok().filter(|_| is_root());
    let ran = program.and_then(|program| {
        TrustedCommand::new(program).with(["--enable", "--dry-run"]).run(limits::CHECK_TOOL).ok()
    });
    match ran {
        Some(ran) if !ran.status.success() => {
            Fix::advice(format!("eic-keys --enable cannot do it: {}", ran.error_text()))
        }
        _ => Fix::command("eic-keys --enable", []),
    }
}

/// The words of a line with "--" before another command, if that is all that it lacks.
fn with_dashes(words: &[Vec<u8>]) -> Option<String> {
    let is_option = |word: &[u8]| word.starts_with(b"-");
    let behind = (2..words.len()).filter(|at| {
        let (before, word) = (words.get(at.saturating_sub(1)), words.get(*at));
        word.is_some_and(|word| word.starts_with(b"/")) && before.is_some_and(|before| !is_option(before))
    });
    let lines = behind.map(|at| {
        let (ours, command) = words.split_at(at);
        [ours, &[b"--".to_vec()], command].concat()
    });
    let line = lines.into_iter().find(|line| parsed(line).is_ok())?;
    let words: Vec<_> = line.iter().map(|word| String::from_utf8_lossy(word)).collect();
    // A word with a blank needs quotes.
    (!words.iter().any(|word| word.contains([' ', '"', '\'']))).then(|| words.join(" "))
}

/// Whether a program is a script that names eic-keys.
fn is_wrapper(tree: &ConfigTree, program: &Path) -> bool {
    let text = tree.read(program).unwrap_or_default();
    text.starts_with(b"#!") && String::from_utf8_lossy(&text).contains("eic-keys")
}

/// Whether the arguments of another program name eic-keys, as those of env or of a shell: `sh -c "/usr/bin/eic-keys %u %f"`.
fn names_eic_keys(words: &[Vec<u8>]) -> bool {
    managed_lines::has_argument(words, &|part| part == b"eic-keys" || part.ends_with(b"/eic-keys"))
}

/// The command that our lines leave out, and the fix.
fn left_out(tree: &ConfigTree, version: &OpensshVersion, setting: &Setting) -> Option<Fault> {
    let bytes = tree.read(&setting.origin.path).ok()?;
    let program = managed_lines::program(version, &setting.value)?;
    let comments = managed_lines::comments(version, &bytes, std::str::from_utf8(&program).ok()?);
    let (command, user) = comments.iter().find_map(|comment| managed_lines::parse_left_out(comment))?;
    // Our own lines, set by hand under a user that does not exist, lose no key.
    if managed_lines::program(version, command)
        .is_some_and(|program| is_eic_keys(Path::new(OsStr::from_bytes(&program))))
    {
        return None;
    }
    let (command, user) = (String::from_utf8_lossy(command), String::from_utf8_lossy(user));
    Some(if matches!(Account::find(&user), Ok(Some(_))) {
        Fault::new(format!("{command} is left out, although its user {user} exists again"), enable())
    } else {
        let fix = format!(
            "create the user {user}, or remove the lines that set that command; then run eic-keys --enable"
        );
        Fault::with_advice(
            format!("{command} is left out, because its user {user} does not exist: its keys are not found"),
            fix,
        )
    })
}

/// Why eic-keys would not run the chained command. The rules are sshd's.
pub(super) fn not_runnable(tree: &ConfigTree, program: &Path) -> Option<String> {
    match safe_path::check(&tree.locate(Path::new("/")), program) {
        Ok(ProgramCheck::Trusted(_)) => None,
        Ok(ProgramCheck::Untrusted(reason)) => Some(reason.to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => Some("it does not exist".to_owned()),
        // Without access, the user cannot find out.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(error) => Some(error.to_string()),
    }
}

/// The line that sets the effective command, if our parser finds the same value as sshd.
fn origin(source: &SettingsSource, line: &[u8]) -> Option<Setting> {
    let effective = source.config.as_ref()?.effective(Some(&source.connection)).ok()?;
    effective.command.filter(|setting| setting.value == line)
}

/// Whether a path leads to the running program, or has its name.
pub(super) fn is_eic_keys(program: &Path) -> bool {
    program.file_name() == Some("eic-keys".as_ref()) || leads_here(program)
}

/// Whether a path leads to the running program, through symbolic or hard links.
pub(crate) fn leads_here(program: &Path) -> bool {
    ConfigTree::new(Path::new("/")).same_file(program, Path::new("/proc/self/exe"))
}

/// Whether eic-keys accepts its command line, after sshd expands the user and the fingerprint.
fn parsed(words: &[Vec<u8>]) -> Result<KeyQuery, UsageError> {
    let expanded = words.iter().skip(1).map(|word| match word.as_slice() {
        b"%u" => "user".into(),
        b"%f" => ZERO_KEY_FINGERPRINT.into(),
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
    let unknown = Cell::new(false);
    let expanded = expand(user.as_bytes(), |token| {
        unknown.set(unknown.get() || token == 'u' && login.is_none());
        login.filter(|_| token == 'u').map(Into::into)
    });
    (!unknown.get()).then(|| expanded.to_string_lossy().into_owned())
}

/// The fix that creates the system user. A group with its name can be left over, or shared.
fn create_user(name: &str) -> Fix {
    let group = stdout_of("getent", &["group", "--", name]).is_ok();
    let words = "useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin";
    if group {
        Fix::command(
            words,
            [CommandWord::Literal("--gid"), CommandWord::Value(name), CommandWord::Value(name)],
        )
    } else {
        Fix::command(words, [CommandWord::Value(name)])
    }
}

fn command_user(settings: &Settings, login: Option<&str>, chained: Option<&OsStr>) -> Answer<Account> {
    let set_own = || settings.fix(COMMAND_USER, &format!("set AuthorizedKeysCommandUser {OWN_USER}"));
    let Some(user) = settings.dump.user.as_deref() else {
        let fix = set_own();
        return Answer::fail("AuthorizedKeysCommandUser is not set: sshd does not run the command", fix);
    };
    let written = String::from_utf8_lossy(user).into_owned();
    let Some(name) = expanded(&written, login) else {
        return Answer::skip(format!(
            "AuthorizedKeysCommandUser is {written}, the user who logs in: check with a USER"
        ));
    };
    if is_expanded(user) {
        return match Account::find(&name) {
            Err(error) => no_name_service(&error),
            Ok(None) => Answer::fail(
                format!(
                    "AuthorizedKeysCommandUser is {written}, for this login {name}, and that user does not exist: sshd does not run the command"
                ),
                Fix::advice(format!("create the user {name}, or log in as another user")),
            ),
            Ok(Some(account)) => Answer::ok(
                format!("AuthorizedKeysCommandUser is {written}: for this login {name}, uid {}", account.uid),
                account,
            ),
        };
    }
    match Account::find(&name) {
        Err(error) => no_name_service(&error),
        Ok(None) if name != OWN_USER => {
            let others = settings.all_but_some(COMMAND_USER);
            // --enable does not change blocks, and what it writes is for all clients.
            let fix =
                if settings.command_user_is_in_block() || others.is_some() { set_own() } else { enable() };
            let note =
                format!("the AuthorizedKeysCommandUser {name} does not exist: sshd does not run the command");
            Answer::fail(note, fix).only_for(others)
        }
        Ok(None) => Answer::fail(
            format!("the AuthorizedKeysCommandUser {name} does not exist: sshd does not run the command"),
            create_user(&name),
        ),
        // --enable keeps the user of the command that it chains, which can need privileges.
        Ok(Some(account)) if account.uid == 0 && chained.is_some() => {
            let program = chained.unwrap_or_default().to_string_lossy().into_owned();
            Answer::ok_with_fix(
                format!("eic-keys runs as root, as does the chained command {program}"),
                Fix::advice(format!(
                    "if {program} provides its keys as {OWN_USER}, too, set AuthorizedKeysCommandUser {OWN_USER}; to try it: setpriv \
                     --reuid={OWN_USER} --regid={OWN_USER} --clear-groups -- {program} and its arguments"
                )),
                account,
            )
        }
        Ok(Some(account)) if account.uid == 0 => {
            Answer::warn("eic-keys runs as root, and needs no privileges", set_own(), account)
        }
        Ok(Some(account)) => Answer::ok(format!("eic-keys runs as {name}, uid {}", account.uid), account),
    }
}
