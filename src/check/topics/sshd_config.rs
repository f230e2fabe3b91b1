//! Asks sshd for its settings (`sshd -T`), and what is wrong with its files if it does not start.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pam_modules::REINSTALL;
use super::shell::{self, WITHOUT_CR};
use super::sshd_login::refusal;
use crate::account::{Account, is_root};
use crate::check::fault::Fault;
use crate::check::fix::{CommandWord, Fix};
use crate::check::last_attempt::{LastAttempt, last_attempt};
use crate::check::log_tail;
use crate::check::runner::Answer;
use crate::check::running_sshd;
use crate::check::settings::{Settings, SettingsSource, option_words};
use crate::check::sshd_program::SshdProgram;
use crate::config_tree::ConfigTree;
use crate::error_text::WithCauses;
use crate::files::is_program_at;
use crate::sshd::command_line::SshdOption;
use crate::sshd::config::{Config, Keyword, ReadError};
use crate::sshd::config_file::ConfigFile;
use crate::sshd::criteria::ConnectionSpec;
use crate::sshd::host_key::default_host_keys;
use crate::sshd::options::OWN_USER;
use crate::sshd::query::{ADMIN_CONFIG, Dump, QueryError, Sshd, default_main_file};
use crate::sshd::version::OpensshVersion;

/// Asks sshd for its settings, with the options of the running sshd. `account`: of the user who logs in.
pub(super) fn settings(
    tree: &ConfigTree,
    SshdProgram { sshd, version }: &SshdProgram,
    connection: ConnectionSpec,
    account: Option<&Account>,
    now: u64,
) -> Answer<Settings> {
    if !is_root() {
        return Answer::skip("only root can ask sshd for its settings: it reads its host keys first");
    }
    let running = running_sshd::serving(tree);
    let process = running.as_ref().map(|running| running.process);
    let waiting = running.is_none().then(|| running_sshd::options_behind_socket(tree)).flatten();
    let (options, main) = match (&running, &waiting) {
        (Some(running), _) => (running.options.clone(), running.main.clone()),
        (None, Some(waiting)) => waiting.clone(),
        (None, None) => (Vec::new(), default_main_file(tree)),
    };
    let config = Config::read(tree, &main, version.clone());
    let query =
        Query { tree, version, main: &main, connection: &connection, config: config.as_ref(), process };
    let Asked { answer, options, lacks_directory, error } = query.ask(sshd, options);
    let has_host_keys = error.is_none();
    let rejected = match &error {
        Some(error) if error.has_foreign_directory() => {
            Some("sshd does not start with its directory /run/sshd")
        }
        Some(error) if !error.lacks_host_keys() => Some("sshd rejects its files"),
        _ => None,
    };
    let settings = answer.map(|(dump, sshd)| {
        let config = config.as_ref().ok().cloned();
        let changed_files =
            running.as_ref().map(|running| running.changed_files(tree, config.as_ref())).unwrap_or_default();
        let source = SettingsSource {
            refused_by: refused_by(tree, &connection, &changed_files, now),
            changed_files,
            options: options.into_iter().filter(|set| set.letter == 'o').map(|set| set.value).collect(),
            daemon_options: running.map(|running| running.daemon_options).unwrap_or_default(),
            reload: running_sshd::own_reload_fix(tree, process),
            restart: match waiting {
                Some(_) => Fix::command("systemctl daemon-reload", []),
                None => running_sshd::restart_fix(tree),
            },
            connection,
            config,
            sshd,
            main,
            has_directory: !lacks_directory,
            has_host_keys,
            rejected,
        };
        Settings::new(dump, source)
    });
    let (settings, error) = match (settings, error) {
        (Ok(settings), None) => return usable(tree, settings),
        (Ok(settings), Some(error)) => (Some(settings), error),
        (Err(last), error) => (None, error.unwrap_or(last)),
    };
    let fix = repair(tree, &error, config.as_ref());
    // Without the lines that sshd rejects, the files show only what it refuses by what it has read.
    let root = tree.locate(Path::new("/"));
    let is_known = |settings: &Settings| {
        error.lacks_host_keys()
            || error.has_foreign_directory()
            || refusal(settings, account, &root).is_some()
    };
    match settings.filter(is_known) {
        Some(settings) if error.has_foreign_directory() => Answer::warn(no_reload(&error), fix, settings),
        Some(settings) => {
            Answer::warn(format!("sshd runs, but cannot be started again: {error}"), fix, settings)
        }
        None => unusable(tree, &error, process, version, fix),
    }
}

/// The setting by which sshd refused the user, by its log, after these files were changed. sshd had
/// read the changed files by then.
fn refused_by(
    tree: &ConfigTree,
    connection: &ConnectionSpec,
    files: &[PathBuf],
    now: u64,
) -> Option<&'static str> {
    let changed = files.iter().filter_map(|file| running_sshd::changed_at(&tree.locate(file))).max()?;
    let log = log_tail::read(&tree.locate(Path::new("/")), &[], now)?;
    let LastAttempt::Refused(refused) = last_attempt(&log.lines, connection.user.as_deref()?, now) else {
        return None;
    };
    let end = refused.time(now)?.checked_add(Duration::from_secs(1))?;
    refused.known.setting.filter(|_| end > changed)
}

/// The number of errors after which sshd is not asked again.
const MOST_ERRORS: usize = 8;

/// What sshd is asked: its settings for a connection, from these files.
struct Query<'a> {
    tree: &'a ConfigTree,
    version: &'a OpensshVersion,
    main: &'a Path,
    connection: &'a ConnectionSpec,
    config: Result<&'a Config, &'a ReadError>,
    /// The sshd that serves clients.
    process: Option<u32>,
}

/// What sshd answered.
struct Asked {
    /// The settings, and the sshd that has them.
    answer: Result<(Dump, Sshd), QueryError>,
    /// The options with which it was asked.
    options: Vec<SshdOption>,
    /// It was asked with a directory of its own, which systemd creates.
    lacks_directory: bool,
    /// The first error in spite of which it was asked again.
    error: Option<QueryError>,
}

impl Query<'_> {
    /// Asks sshd, and again without the cause of each error.
    fn ask(&self, sshd: &Sshd, mut options: Vec<SshdOption>) -> Asked {
        let (mut lacks_directory, mut error, mut asked) = (false, None, sshd.clone());
        let mut answer = match self.config.err().and_then(|error| waiting_file(self.tree, error)) {
            Some(path) => {
                let reason = format!("it waits for {}, which is not a file", path.display());
                Err(QueryError::TimedOut(io::Error::other(reason)))
            }
            None => self.dump(&asked, &mut options),
        };
        for _ in 0..MOST_ERRORS {
            let Err(last) = &answer else { break };
            let Some(next) = self.without_cause(&asked, last) else { break };
            asked = next;
            let Err(last) = std::mem::replace(&mut answer, self.dump(&asked, &mut options)) else { break };
            if last.lacks_directory() {
                lacks_directory = true;
            } else {
                error.get_or_insert(last);
            }
        }
        Asked { answer, options, lacks_directory, error }
    }

    /// Asks once. The process title has no quotes, and the running sshd accepted its options: if it seems otherwise, they were not parsed
    /// as they are, and are removed.
    fn dump(&self, sshd: &Sshd, options: &mut Vec<SshdOption>) -> Result<(Dump, Sshd), QueryError> {
        let ask = |options: &[SshdOption]| {
            let sshd = sshd.clone().with_options(option_words(options));
            sshd.accepts(self.main)?;
            Ok((sshd.dump(self.main, self.connection)?, sshd))
        };
        let answer = ask(options);
        let is_rejected = matches!(&answer, Err(QueryError::Rejected(_) | QueryError::Output(_)));
        let without = (is_rejected && !options.is_empty()).then(|| ask(&[])).filter(Result::is_ok);
        if without.is_some() {
            options.clear();
        }
        without.unwrap_or(answer)
    }

    /// An sshd that can be asked in spite of an error: with what it lacks, or without a line that it rejects.
    fn without_cause(&self, sshd: &Sshd, error: &QueryError) -> Option<Sshd> {
        if error.lacks_directory() {
            // systemd creates the directory when it starts sshd.
            return (self.process.is_none() || running_sshd::is_being_started(self.tree))
                .then(|| sshd.with_own_directory())?;
        }
        // Only a running sshd can have settings that its files do not show.
        self.process?;
        if error.has_foreign_directory() {
            return self.version.keeps_host_keys().then(|| sshd.with_own_directory())?;
        }
        if error.lacks_host_keys() {
            return self.version.keeps_host_keys().then(|| sshd.with_own_host_key())?;
        }
        let (path, number) = error.line()?;
        let file = self.config.ok()?.files().find(|file| file.path() == path)?;
        let line = file.lines().nth(number.checked_sub(1)?)?.trim_ascii_start().to_ascii_lowercase();
        // The running sshd can have such a line as it was meant.
        let decides = ["match", "include", "allow", "deny", "auth", "pubkey", "permit", "force", "chroot"];
        (!decides.iter().any(|begin| line.starts_with(begin.as_bytes())))
            .then(|| sshd.without_line(path, number))?
    }
}

/// The result if sshd accepts its configuration.
fn usable(tree: &ConfigTree, settings: Settings) -> Answer<Settings> {
    if let Some(fault) = lost_main_file(tree, &settings) {
        let changed = settings.source.changed_files.iter().find(|file| **file == settings.source.main);
        return fault.fail().warn_if_changed_without_value(changed.map(PathBuf::as_path));
    }
    // sshd-session since OpenSSH 9.8, sshd-auth since 10.0.
    for keyword in ["SshdSessionPath", "SshdAuthPath"] {
        let name = keyword.to_ascii_lowercase();
        let program = settings.one(&name);
        if !program.starts_with('/') {
            continue;
        }
        let file = tree.locate(Path::new(program));
        let closes = |what: &str, fix| {
            Answer::fail(format!("sshd closes each connection: its program {program} {what}"), fix)
        };
        if !is_program_at(&file) {
            let fix = match settings.place(&name) {
                Some(_) => settings.fix(&name, &format!("remove {keyword}, or install that program")),
                None => Fix::advice(
                    "install openssh-server again: apt-get install --reinstall openssh-server, or dnf reinstall openssh-server",
                ),
            };
            return closes("is missing, or not executable", fix);
        }
        if let Some(why) = shell::not_loadable(&tree.locate(Path::new("/")), &file, &[]) {
            return closes(&format!("cannot be loaded: {}", why.reason), Fix::advice(REINSTALL));
        }
    }
    match open_to_all(tree, &settings) {
        None => Answer::ok(format!("sshd accepts {}", settings.source.main.display()), settings),
        Some(path) => Answer::warn(
            format!("every user can write to {}, and can get root's rights by it", path.display()),
            Fix::command("chmod o-w", [CommandWord::Path(&path)]),
            settings,
        ),
    }
}

/// The main file, if it has lost all its lines. sshd takes zero bytes for an empty line.
fn lost_main_file(tree: &ConfigTree, settings: &Settings) -> Option<Fault> {
    let main = &settings.source.main;
    if settings.dump.command.is_some() || main != Path::new(ADMIN_CONFIG) {
        return None;
    }
    let bytes = tree.read(main).ok()?;
    let is_blank = bytes.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace());
    let what = if bytes.contains(&0) { "has zero bytes only, as after a crash" } else { "is empty" };
    is_blank.then(|| {
        Fault::new(
            format!("{} {what}: sshd takes its defaults for all settings", main.display()),
            main_file(tree),
        )
    })
}

/// A file of the configuration, or its directory, to which every user can write.
fn open_to_all(tree: &ConfigTree, settings: &Settings) -> Option<PathBuf> {
    let files = settings.source.config.iter().flat_map(Config::files).map(ConfigFile::path);
    let mut paths = files.flat_map(|file| [file.parent().unwrap_or(file), file]);
    let is_open = |path: &&Path| {
        let metadata = std::fs::metadata(tree.locate(path));
        // A link to /dev/null turns a file off.
        metadata.is_ok_and(|metadata| metadata.mode() & 0o002 != 0 && !metadata.file_type().is_char_device())
    };
    paths.find(is_open).map(Path::to_owned)
}

/// The result if sshd would not start. `process`: the one that serves clients.
fn unusable(
    tree: &ConfigTree,
    error: &QueryError,
    process: Option<u32>,
    version: &OpensshVersion,
    fix: Fix,
) -> Answer<Settings> {
    if error.lacks_directory() {
        let fix = running_sshd::create_directory_fix();
        return match (process.is_some(), running_sshd::socket_waits(tree)) {
            (true, _) if running_sshd::is_being_started(tree) => {
                Answer::skip("sshd is being started, and cannot be asked for its settings")
            }
            (true, _) => Answer::fail("the directory /run/sshd is missing: sshd closes each connection", fix),
            // A directory in a mount namespace was not possible either.
            (false, true) => {
                Answer::skip_with_fix("sshd has not been started yet: its socket waits for a connection", fix)
            }
            (false, false) => Answer::skip("sshd is stopped, and cannot be asked for its settings"),
        };
    }
    let note = WithCauses(error).to_string();
    // Before 9.8, the process of a connection began with all that a start does.
    let each_connection = error.has_foreign_directory() || error.lacks_host_keys();
    if process.is_none() || error.lacks_own_user() || each_connection && !version.keeps_host_keys() {
        return Answer::fail(note, fix);
    }
    if error.has_foreign_directory() {
        return Answer::warn_without_value(no_reload(error), fix);
    }
    let fix = Fix::advice([fix.text(), ", then reload sshd"].concat());
    Answer::warn_without_value(note, fix).breaks_at_latest(" (what the running sshd has read cannot be seen)")
}

/// The note if the running sshd does not need to read its directory again.
fn no_reload(error: &QueryError) -> String {
    format!("a reload of sshd fails until sshd is restarted: {}", WithCauses(error))
}

/// What to do about an error of sshd.
fn repair(tree: &ConfigTree, error: &QueryError, config: Result<&Config, &ReadError>) -> Fix {
    if error.lacks_host_keys() {
        host_keys(tree, config.ok(), error)
    } else if error.has_foreign_directory() {
        foreign_directory(tree)
    } else if config.is_err_and(|error| is_main_file_gone(tree, error)) {
        main_file(tree)
    } else {
        Fix::advice(wrong_file(tree, config, error).unwrap_or_else(|| error.fix().to_owned()))
    }
}

fn is_main_file_gone(tree: &ConfigTree, error: &ReadError) -> bool {
    let ReadError::Unreadable(path, error) = error else { return false };
    let is_link = || tree.locate(path).is_symlink();
    path == Path::new(ADMIN_CONFIG) && error.kind() == ErrorKind::NotFound && !is_link()
}

/// The fix if there is no main file.
fn main_file(tree: &ConfigTree) -> Fix {
    // Debian's package has the original, which it gives to ucf(1).
    if tree.locate(Path::new("/usr/share/openssh/sshd_config")).is_file() {
        return Fix::command("cp /usr/share/openssh/sshd_config /etc/ssh/sshd_config", []);
    }
    Fix::advice(
        "restore that file from a backup, or from the package openssh-server: dnf reinstall openssh-server",
    )
}

/// The file of the configuration for which sshd would wait: a FIFO or a device.
fn waiting_file<'a>(tree: &ConfigTree, error: &'a ReadError) -> Option<&'a Path> {
    let ReadError::Unreadable(path, _) = error else { return None };
    let kind = std::fs::metadata(tree.locate(path)).ok()?.file_type();
    (!kind.is_file() && !kind.is_socket()).then_some(path)
}

/// What to change in a file that sshd rejects, where its message does not say that.
fn wrong_file(tree: &ConfigTree, config: Result<&Config, &ReadError>, error: &QueryError) -> Option<String> {
    let config = match config {
        Ok(config) => config,
        Err(ReadError::Unreadable(path, error)) if error.kind() == ErrorKind::NotFound => {
            let target = std::fs::read_link(tree.locate(path)).ok()?;
            return Some(format!(
                "{} is a link to {}, which does not exist: create that file, or remove the link",
                path.display(),
                target.display()
            ));
        }
        Err(error @ ReadError::TooDeep(_)) => {
            return Some(format!("remove the Include that leads back to its own file: {error}"));
        }
        Err(_) => return None,
    };
    if error.says("AuthorizedKeysCommand set without") {
        let set = config.settings().iter().find(|setting| setting.keyword == Keyword::Command)?;
        return Some(format!("add AuthorizedKeysCommandUser ({OWN_USER} for eic-keys) below {}", set.origin));
    }
    if error.says("Disabled method") {
        let (line, _) = config.paths("authenticationmethods").into_iter().next()?;
        return Some(format!(
            "add \"publickey\" as a list of its own to AuthenticationMethods ({line}), or enable what that line requires"
        ));
    }
    if error.says("within a Match block") {
        return Some(MATCH_BLOCK.to_owned());
    }
    // No keyword begins so.
    let has_mark = |file: &&ConfigFile| file.lines().next().is_some_and(|line| line.first() > Some(&0x7f));
    let path = config.files().find(has_mark)?.path().display();
    Some(format!("remove the byte order mark from the beginning of {path} (save it as UTF-8 without BOM)"))
}

/// What to do if a line is in a block by mistake.
const MATCH_BLOCK: &str = "a Match line holds for all lines below it: move the one above that line, with its block, to the end of the file, or \
                           end the block with a line \"Match all\"";

/// The fix if users other than root can change Debian's privilege separation directory.
fn foreign_directory(tree: &ConfigTree) -> Fix {
    // systemd gives it to the user of the unit at each start.
    let unit = running_sshd::with_service(tree, running_sshd::unit);
    match running_sshd::setting_of_unit(tree, unit, "User", "") {
        Some(line) => Fix::advice(format!(
            "remove {} from sshd's unit ({}): sshd must be started as root; then: systemctl daemon-reload; {}",
            line.text,
            line.place(),
            running_sshd::restart_fix(tree)
        )),
        None => Fix::advice(format!(
            "make root the owner of /run/sshd, with the mode 0755; systemd does that when it starts the unit: {}",
            running_sshd::restart_fix(tree)
        )),
    }
}

/// The fix if sshd has no usable host key. It refuses a private key that users other than root can read.
fn host_keys(tree: &ConfigTree, config: Option<&Config>, error: &QueryError) -> Fix {
    let set = config.map(|config| config.paths("hostkey")).unwrap_or_default();
    let is_public = |key: &Path| key.extension().is_some_and(|end| end == "pub");
    let public = set.iter().find(|(_, key)| is_public(key)).map(|(line, _)| line.to_string());
    let first_line = set.first().map(|(line, _)| line.to_string());
    let keys: Vec<_> = set.into_iter().map(|(_, key)| key).collect();
    let keys = if keys.is_empty() { default_host_keys(tree) } else { keys };
    let is_open = |key: &&PathBuf| {
        let metadata = std::fs::metadata(tree.locate(key));
        !is_public(key) && metadata.is_ok_and(|metadata| metadata.mode() & 0o077 != 0)
    };
    // All of them: with one, sshd starts, and has no longer the key that clients know.
    let open: Vec<_> = keys.iter().filter(is_open).collect();
    if !open.is_empty() {
        return Fix::command("chmod 0600", open.into_iter().map(|key| CommandWord::Path(key)));
    }
    let locked = keys.iter().find(|key| has_passphrase(&tree.read(key).unwrap_or_default()));
    if let Some(key) = locked {
        return running_sshd::restart_fix(tree).after(&format!(
            "{} has a passphrase, without which sshd cannot use it: remove the passphrase (ssh-keygen -p), or generate another key",
            key.display()
        ));
    }
    let private: Vec<_> = keys.iter().filter(|key| !is_public(key)).collect();
    if let Some(fix) = damaged_keys(tree, &private) {
        return fix;
    }
    let is_missing = |key: &PathBuf| !tree.locate(key).exists();
    if let (Some(line), Some(key)) = (first_line, keys.first().filter(|_| keys.iter().all(is_missing))) {
        if !default_host_keys(tree).is_empty() {
            return running_sshd::restart_fix(tree).after(&format!(
                "remove HostKey {} ({line}), which does not exist, so that sshd uses the keys that it has",
                key.display()
            ));
        }
    }
    let Some(line) = public else { return Fix::advice(error.fix()) };
    // Without an agent, sshd needs the private key.
    let agent = config.and_then(|config| config.paths("hostkeyagent").pop());
    let agent = agent.map(|(line, _)| format!("start the agent that {line} names, or ")).unwrap_or_default();
    let first = format!("{agent}let HostKey ({line}) name the private key, without .pub");
    running_sshd::restart_fix(tree).after(&first)
}

/// The fix if sshd cannot read its private keys.
fn damaged_keys(tree: &ConfigTree, keys: &[&PathBuf]) -> Option<Fix> {
    let texts = || keys.iter().filter_map(|key| Some((key, tree.read(key).ok()?)));
    let with_cr = texts().filter(|(_, text)| text.windows(2).any(|end| end == b"\r\n"));
    let with_cr: Vec<_> = with_cr.map(|(key, _)| CommandWord::Path(key)).collect();
    if !with_cr.is_empty() {
        return Some(Fix::command(WITHOUT_CR, with_cr));
    }
    let (key, fault) = texts().find_map(|(key, text)| {
        let text = String::from_utf8_lossy(&text);
        let fault = match text.trim() {
            "" => "is empty, as after a start on a full disk",
            text if text.starts_with("PuTTY-User-Key-File") => {
                "has the form of PuTTY, which sshd does not read"
            }
            text if !text.starts_with("-----BEGIN ") => "is no private key",
            text if !text.contains("-----END ") => "is truncated",
            _ => return None,
        };
        Some((key, fault))
    })?;
    Some(running_sshd::restart_fix(tree).after(&format!(
        "{} {fault}: restore it, or remove it and let ssh-keygen -A generate the missing keys (on this instance, not in an image)",
        key.display()
    )))
}

/// Whether a private key is encrypted, in OpenSSH's own form or in others.
fn has_passphrase(key: &[u8]) -> bool {
    /// What `openssh-key-v1` and a NUL are in base64.
    const BEGIN: &str = "b3BlbnNzaC1rZXktdjEA";
    /// The cipher `none`, after its length, without the last bits.
    const PLAIN: &str = "AAAABG5vbm";
    let text = String::from_utf8_lossy(key);
    let cipher = text.split_once(BEGIN).map(|(_, cipher)| cipher);
    cipher.map_or_else(|| text.contains("ENCRYPTED"), |cipher| !cipher.starts_with(PLAIN))
}
