//! Finds PAM modules that refuse a user, from the files that they read. If this is not certain, there is no result.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::pam_time;
use super::shell::{self, Caller, NotLoaded};
use super::sssd;
use crate::account::{Account, NOBODY, has_entry};
use crate::calendar::DAY;
use crate::check::fix::{CommandWord, Fix};
use crate::check::pam_config::{Module, ModuleType, RuleKind, Stack};
use crate::check::pam_stack::ReturnValues;
use crate::config_tree::ConfigTree;
use crate::files;
use crate::limits;
use crate::sshd::query::PATHS;
use crate::time_zone::TimeZone;
use crate::tool::ask;
use crate::wildcard;

/// Why a module fails.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// One of these is its return value.
    pub(crate) returns: ReturnValues,
    pub(crate) reason: String,
    /// If it is not the line itself that has to be changed.
    pub(crate) fix: Option<Fix>,
    /// Whether it lets some clients in.
    pub(crate) is_partial: bool,
}

impl Failure {
    fn new(returns: ReturnValues, reason: String) -> Self {
        Self { returns, reason, fix: None, is_partial: false }
    }

    fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(Fix::advice(fix)), ..self }
    }
}

const DENIED: ReturnValues = &["perm_denied", "auth_err"];
const NOT_LOADED: ReturnValues = &["module_unknown"];
const ALL_DENIED: ReturnValues = &["auth_err", "acct_expired", "perm_denied", "session_err"];

/// What to do about a file that cannot be loaded.
pub(crate) const REINSTALL: &str =
    "install the package of that file or library again: dpkg -S or rpm -qf names it";

/// The directories of the modules that sshd can load.
#[derive(Debug)]
pub(crate) struct Libraries {
    directories: Vec<PathBuf>,
    sshd: Option<PathBuf>,
    /// Class, byte order and machine of sshd.
    machine: Option<Vec<u8>>,
    /// The modules that the dynamic linker cannot load, as far as it was tried, and why.
    unloadable: Vec<(PathBuf, NotLoaded)>,
}

impl Libraries {
    /// Directories with a module that every libpam brings along. On a system with libraries for several machines, only those
    /// for sshd's.
    pub(crate) fn find(root: &Path) -> Self {
        let sshd = PATHS.iter().map(|path| root.join(path.trim_start_matches('/')));
        let sshd = sshd.into_iter().find(|path| path.is_file());
        let machine = sshd.as_ref().and_then(|path| machine(path));
        let mut directories = Vec::new();
        for base in ["usr/lib", "lib", "usr/lib64", "lib64"].map(|base| root.join(base)) {
            let inside = fs::read_dir(&base).into_iter().flatten().flatten().map(|entry| entry.path());
            let places = inside.filter(|path| path.is_dir()).chain([base.clone()]);
            directories.extend(places.map(|place| place.join("security")));
        }
        let mut found = Self { directories, sshd, machine, unloadable: Vec::new() };
        let of_libpam = |directory: &PathBuf| {
            ["pam_permit.so", "pam_unix.so"].iter().any(|name| found.loads(&directory.join(name)))
        };
        found.directories = found.directories.iter().filter(|path| of_libpam(path)).cloned().collect();
        found
    }

    /// Has the dynamic linker try which modules of these stacks it cannot load.
    pub(crate) fn try_all(&mut self, root: &Path, stacks: &[&Stack]) {
        let Some(sshd) = &self.sshd else { return };
        let mut files = Vec::new();
        for rule in stacks.iter().flat_map(|stack| &stack.rules) {
            if let RuleKind::Module(module) = &rule.kind {
                files.extend(self.file(root, &module.path));
            }
        }
        // One run for all of them, as a rule.
        if shell::not_loadable(root, sshd, &files).is_none() {
            return;
        }
        for file in files {
            let reason = shell::not_loadable(root, sshd, std::slice::from_ref(&file));
            self.unloadable.extend(reason.map(|reason| (file, reason)));
        }
    }

    /// The module on which sshd's process crashes, whatever the control of its line is.
    pub(crate) fn crash(&self) -> Option<String> {
        let (file, why) = self.unloadable.iter().find(|(_, why)| why.crashes)?;
        Some(format!("sshd crashes when PAM loads the module {}: {}", file.display(), why.reason))
    }

    /// Whether sshd can load a file.
    fn loads(&self, path: &Path) -> bool {
        match (machine(path), &self.machine) {
            (Some(_), None) => true,
            (Some(machine), Some(sshd)) => machine == *sshd,
            (None, _) => false,
        }
    }

    /// Where a module can be.
    fn paths(&self, root: &Path, path: &str) -> Vec<PathBuf> {
        match path.strip_prefix('/') {
            Some(path) => vec![root.join(path)],
            None => self.directories.iter().map(|directory| directory.join(path)).collect(),
        }
    }

    /// The file of a module.
    fn file(&self, root: &Path, path: &str) -> Option<PathBuf> {
        self.paths(root, path).into_iter().find(|path| self.loads(path))
    }

    /// Why a module cannot be on a line of this type: it has no such function.
    pub(crate) fn lacks(&self, root: &Path, module: &Module, module_type: ModuleType) -> Option<Failure> {
        let function: &[u8] = match module_type {
            ModuleType::Auth => b"pam_sm_authenticate",
            ModuleType::Account => b"pam_sm_acct_mgmt",
            ModuleType::Session => b"pam_sm_open_session",
        };
        let bytes = self.contents(root, module)?;
        // Each module has at least one of them.
        (files::has_text(&bytes, b"pam_sm_") && !files::has_text(&bytes, function)).then(|| {
            let reason = format!("the module {} has nothing for {} lines", module.path, module_type.name());
            Failure::new(NOT_LOADED, reason)
                .with_fix("correct the type of that line (see the module's manual page), or remove it")
        })
    }

    /// Whether the file of a module contains this text.
    pub(crate) fn has(&self, root: &Path, module: &Module, text: &[u8]) -> Option<bool> {
        Some(files::has_text(&self.contents(root, module)?, text))
    }

    fn contents(&self, root: &Path, module: &Module) -> Option<Vec<u8>> {
        files::read(&self.file(root, &module.path)?, limits::SYSTEM_FILE).ok()
    }

    /// Why a module cannot be loaded.
    fn fault(&self, root: &Path, path: &str) -> Option<Failure> {
        if self.directories.is_empty() || path.contains("$ISA") {
            return None;
        }
        let failure = |what: &str| Failure::new(NOT_LOADED, format!("the module {path} {what}"));
        let again = "install the package that has the module's file again (dpkg -S or rpm -qf names it), or remove the line";
        if let Some(file) = self.file(root, path) {
            let (_, why) = self.unloadable.iter().find(|(other, _)| *other == file)?;
            return Some(failure(&format!("cannot be loaded: {}", why.reason)).with_fix(REINSTALL));
        }
        let gone = |path: &PathBuf| {
            fs::metadata(path)
                .is_err_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
        };
        let there = self.paths(root, path).into_iter().find(|path| !gone(path));
        match there {
            None => {
                let fix = "install the package with that module of PAM, or remove the line";
                Some(failure("is not installed").with_fix(fix))
            }
            Some(there) if there.is_dir() => Some(failure("is a directory").with_fix(again)),
            // Without access, nothing is known.
            Some(there) => files::read_beginning(&there, 1)
                .is_ok()
                .then(|| failure("is no library that sshd can load").with_fix(again)),
        }
    }
}

/// Class, byte order and machine in the header of a program or library.
fn machine(path: &Path) -> Option<Vec<u8>> {
    let start = files::read_beginning(path, 20).ok()?;
    start.starts_with(b"\x7fELF").then_some(())?;
    Some([start.get(4..6)?, start.get(18..20)?].concat())
}

/// Modules, and the option with which they read another file than the usual one, without which they fail.
const FILES: [(&str, &str); 4] = [
    ("pam_access.so", "accessfile"),
    ("pam_faillock.so", "conf"),
    ("pam_limits.so", "conf"),
    ("pam_localuser.so", "file"),
];

/// The options of `pam_exec` without a value.
const PAM_EXEC_OPTIONS: [&str; 6] = ["debug", "expose_authtok", "quiet", "quiet_log", "seteuid", "stdout"];

/// Why a module fails for every user.
pub(crate) fn broken(root: &Path, module: &Module, libraries: &Libraries) -> Option<Failure> {
    if let Some(failure) = libraries.fault(root, &module.path) {
        return Some(failure);
    }
    let arguments: Vec<_> = module.arguments.iter().map(String::as_str).collect();
    let option = FILES.into_iter().find(|(name, _)| *name == module.name());
    let file = option.and_then(|(_, option)| value(&arguments, option)).filter(|file| file.starts_with('/'));
    if let Some(file) = file {
        if fs::metadata(files::below(root, Path::new(file)))
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            let reason = format!("the module reads {file}, which does not exist");
            return Some(Failure::new(&["abort", "service_err"], reason));
        }
    }
    match module.name() {
        "pam_deny.so" => {
            let reason = "pam_deny refuses everybody".to_owned();
            Some(Failure::new(ALL_DENIED, reason))
        }
        // It refuses while there is a file nologin, and leaves the rest to the other modules.
        "pam_nologin.so" if !arguments.contains(&"successok") => {
            let reason = "pam_nologin accepts nobody, and no other line does".to_owned();
            let fix = "restore the other lines, and the files that they include: reinstall the packages that have them (pam-auth-update writes Debian's common files)";
            Some(Failure::new(&["ignore"], reason).with_fix(fix))
        }
        "pam_exec.so" => {
            // A command for some of PAM's functions only.
            if module.arguments.iter().any(|word| word.starts_with("type=")) {
                return None;
            }
            // The first word that is no option.
            let is_option = |word: &&String| {
                let word = word.to_ascii_lowercase();
                PAM_EXEC_OPTIONS.contains(&word.as_str()) || word.starts_with("log=")
            };
            let command = module.arguments.iter().find(|word| !is_option(word))?;
            if !command.starts_with('/') {
                let reason = format!(
                    "pam_exec runs {command}, which is neither an option of it nor the whole path of a program"
                );
                return Some(
                    Failure::new(&["system_err"], reason).with_fix("correct that word, or remove the line"),
                );
            }
            let file = root.join(command.trim_start_matches('/'));
            let again = format!("install {command} again and make it executable, or remove the line");
            let (reason, fix) = match fs::metadata(&file) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    ("which does not exist".to_owned(), Fix::advice(again))
                }
                Ok(file) if file.is_dir() => ("which is a directory".to_owned(), Fix::advice(again)),
                Ok(file) if file.is_file() && file.mode() & 0o111 == 0 => {
                    ("which is not executable".to_owned(), Fix::advice(again))
                }
                _ => {
                    let reason = shell::wrong_beginning(&file, root, Caller::Sshd)?;
                    let correct =
                        || Fix::advice("correct the first line of that script: #!/bin/sh, for example");
                    let fix = shell::without_cr(&file, &reason).unwrap_or_else(correct);
                    (format!("which nobody can run: {reason}"), fix)
                }
            };
            let reason = format!("pam_exec runs {command}, {reason}");
            Some(Failure { fix: Some(fix), ..Failure::new(&["system_err"], reason) })
        }
        "pam_wheel.so" => wheel(&arguments),
        "pam_sss.so" if !sssd::answers(root) => {
            let ignored = ["ignore_authinfo_unavail", "ignore_unknown_user"];
            if module.arguments.iter().any(|word| ignored.contains(&word.as_str())) {
                return None;
            }
            let (reason, fix) = if root.join(sssd::SOCKET).exists() {
                (
                    "pam_sss asks sssd, which does not answer it: nothing listens on /var/lib/sss/pipes/pam",
                    "start sssd; if it runs, add pam to services in /etc/sssd/sssd.conf, or start sssd-pam.socket",
                )
            } else {
                (
                    "pam_sss asks sssd, which does not run",
                    "start sssd (systemctl status sssd says why it does not run), or remove the line",
                )
            };
            Some(Failure::new(&["authinfo_unavail", "system_err"], reason.to_owned()).with_fix(fix))
        }
        _ => None,
    }
}

/// Whose login it is, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Login<'a> {
    pub(crate) root: &'a Path,
    pub(crate) user: &'a Account,
    pub(crate) service: &'a str,
    pub(crate) libraries: &'a Libraries,
    pub(crate) now: u64,
}

/// Why a module refuses this user.
pub(crate) fn refuses(login: &Login<'_>, module: &Module, module_type: ModuleType) -> Option<Failure> {
    let Login { root, user, .. } = *login;
    let arguments: Vec<_> = module.arguments.iter().map(String::as_str).collect();
    match (module.name(), module_type) {
        ("pam_access.so", _) => access(root, user, &arguments),
        ("pam_listfile.so", _) => listfile(root, user, &arguments),
        ("pam_succeed_if.so", _) => succeed_if(login, &arguments),
        ("pam_shells.so", ModuleType::Account) => shells(login, module),
        ("pam_localuser.so", _) => localuser(root, user, &arguments),
        ("pam_ldap.so", ModuleType::Account) => ldap(login, module, &arguments),
        ("pam_usertype.so", _) => usertype(root, user, &arguments),
        ("pam_time.so", ModuleType::Account) => {
            let path = value(&arguments, "conffile").unwrap_or("/etc/security/time.conf");
            let now = TimeZone::system(root).local(login.now);
            let text = read(root, path)?;
            let line = pam_time::refusing_line(&text, login.service, &user.name, now, &in_netgroup)?;
            let reason = format!("pam_time refuses at this time, by {path}: {line}");
            Some(Failure::new(DENIED, reason).with_fix(format!("allow {} at this time in {path}", user.name)))
        }
        ("pam_sss.so", ModuleType::Account) => {
            if let Some(fault) = sssd::unknown(root, user, &arguments) {
                return Some(Failure { fix: Some(fault.fix), ..Failure::new(&["user_unknown"], fault.note) });
            }
            let [file, directory] = sssd::FILES;
            let fault = sssd::refusal(root, user, &arguments, &files_of(root, file, directory))?;
            Some(Failure { fix: Some(fault.fix), ..Failure::new(&["perm_denied"], fault.note) })
        }
        ("pam_env.so", ModuleType::Session) => env(root, &arguments),
        ("pam_systemd.so", ModuleType::Session) => systemd(root),
        ("pam_lastlog.so", ModuleType::Auth | ModuleType::Account) => lastlog(login, &arguments),
        _ => None,
    }
}

/// `pam_systemd`: it fails without a message if logind cannot be started. Without logind's directory, it does nothing.
fn systemd(root: &Path) -> Option<Failure> {
    let unit = |directory: &str| root.join(directory).join("systemd/system/systemd-logind.service");
    let is_masked = |path: &PathBuf| fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"));
    if !["etc", "run"].map(unit).iter().any(is_masked) || !root.join("run/systemd/seats").exists() {
        return None;
    }
    let state = ask("systemctl", &["is-active", "systemd-logind.service"]).ok()?;
    (state.stdout == b"inactive\n").then(|| {
        Failure::new(&["session_err"], "pam_systemd asks systemd-logind, which is masked".to_owned())
            .with_fix("systemctl unmask --now systemd-logind, or set that line to optional")
    })
}

/// `pam_env`: it gives up at a variable in a value whose name has no end.
fn env(root: &Path, arguments: &[&str]) -> Option<Failure> {
    let path = value(arguments, "conffile").unwrap_or("/etc/security/pam_env.conf");
    let text = read(root, path)?;
    let has_no_end = |line: &&str| {
        let last = line.rsplit_once('{').filter(|(value, _)| value.ends_with(['$', '@']));
        let ends = last.is_none_or(|(value, rest)| !value.contains("DEFAULT=") || rest.contains('}'));
        !ends && !line.contains(['#', '\\'])
    };
    let line = text.lines().find(has_no_end)?;
    let reason = format!("pam_env stops at a variable without its closing brace in {path}: {line}");
    Some(Failure::new(&["abort"], reason).with_fix(format!("add the closing brace to that line of {path}")))
}

/// `pam_usertype`: the user has one of the numbers for people.
fn usertype(root: &Path, user: &Account, arguments: &[&str]) -> Option<Failure> {
    let text = read(root, "/etc/login.defs")?;
    let number = |name: &str| {
        let mut lines = text.lines().map(str::split_whitespace);
        lines.find_map(|mut words| {
            (words.next()? == name).then(|| words.next()?.parse::<u32>().ok()).flatten()
        })
    };
    let least = number("UID_MIN")?;
    let most = number("SYS_UID_MAX").unwrap_or_else(|| least.saturating_sub(1));
    let is_system = user.uid <= 99 || user.uid == NOBODY || (user.uid <= most && user.uid < least);
    let reason = match arguments {
        ["issystem"] if !is_system => format!("{} is not a user of the system", user.name),
        ["isregular"] if is_system => {
            format!(
                "uid {} of {} is that of a user of the system, by UID_MIN {least} of /etc/login.defs",
                user.uid, user.name
            )
        }
        _ => return None,
    };
    Some(Failure::new(DENIED, format!("pam_usertype refuses: {reason}")))
}

/// `pam_lastlog`: the last login was not too many days ago.
fn lastlog(login: &Login<'_>, arguments: &[&str]) -> Option<Failure> {
    // A 32-bit time on some machines, and 288 bytes.
    const RECORD: u64 = if cfg!(target_arch = "x86_64") { 292 } else { 296 };
    let name = &login.user.name;
    let most: u64 = value(arguments, "inactive")?.parse().ok()?;
    let file = files::open(&login.root.join("var/log/lastlog")).ok().filter(|_| login.user.uid != 0)?;
    let mut time = [0; 4];
    file.read_exact_at(&mut time, u64::from(login.user.uid).wrapping_mul(RECORD)).ok()?;
    let last = u64::from(u32::from_le_bytes(time));
    let days = login.now.checked_sub(last)? / DAY;
    (last != 0 && days > most).then(|| {
        let reason = format!("pam_lastlog refuses: the last login of {name} was {days} days ago");
        let fix = Fix::command("lastlog --set --user", [CommandWord::Value(name)]);
        Failure { fix: Some(fix), ..Failure::new(&["auth_err"], reason) }
    })
}

/// Whether a user is in a netgroup. `None` if it has the user for some hosts or domains only.
fn in_netgroup(group: &str, user: &str) -> Option<bool> {
    let triples = of_getent("netgroup", group)?;
    let mut found = Some(false);
    for triple in triples.split('(').skip(1) {
        let fields: Vec<_> = triple.split(',').map(str::trim).collect();
        match fields.as_slice() {
            ["", name, ")"] if name.is_empty() || *name == user => return Some(true),
            [_, name, _] if name.is_empty() || *name == user => found = None,
            _ => {}
        }
    }
    found
}

/// What getent(1) says of a name: nothing if it does not know it.
fn of_getent(database: &str, name: &str) -> Option<String> {
    let ran = ask("getent", &[database, "--", name]).ok()?;
    let answers = matches!(ran.status.code(), Some(0 | 2));
    answers.then(|| String::from_utf8_lossy(&ran.stdout).into_owned())
}

fn value<'a>(arguments: &[&'a str], name: &str) -> Option<&'a str> {
    arguments.iter().rev().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn read(root: &Path, path: &str) -> Option<String> {
    files::read_text(&files::below(root, Path::new(path)), limits::SYSTEM_FILE).ok()
}

/// A file of `/etc/security`, and those of its directory, in the order in which a module reads them.
pub(crate) fn files_of(root: &Path, file: &str, directory: &str) -> Vec<PathBuf> {
    let pattern = format!("{directory}/*.conf");
    let more = ConfigTree::new(root).glob(pattern.as_bytes(), usize::MAX);
    [vec![PathBuf::from(file)], more].concat()
}

/// `pam_listfile`: the file has one name a line.
fn listfile(root: &Path, user: &Account, arguments: &[&str]) -> Option<Failure> {
    let (file, item) = (value(arguments, "file")?, value(arguments, "item")?);
    if value(arguments, "apply").is_some() || !matches!(item, "user" | "group" | "shell") {
        return None;
    }
    let path = files::below(root, Path::new(file.starts_with('/').then_some(file)?));
    let allow = match value(arguments, "sense")? {
        "allow" => true,
        "deny" => false,
        _ => return None,
    };
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let fails = value(arguments, "onerr") != Some("succeed");
            let fix = format!("create {file} with the {item}s, or remove the line");
            let reason = format!("pam_listfile reads {file}, which does not exist");
            return fails.then(|| Failure::new(&["service_err"], reason).with_fix(fix));
        }
        // Whatever onerr= says.
        Ok(metadata) if !metadata.is_file() => {
            let fix = format!("replace {file} by a plain file, or name the file itself in the line");
            let reason =
                format!("pam_listfile refuses a list that is no plain file, nor follows a link: {file}");
            return Some(Failure::new(&["auth_err"], reason).with_fix(fix));
        }
        Ok(metadata) => {
            if let Some(failure) = open_to_all("pam_listfile", file, &path, &metadata) {
                return Some(failure);
            }
        }
        Err(_) => return None,
    }
    let text = read(root, file)?;
    let names = |line: &str| match item {
        "user" => line == user.name,
        "group" => user.groups.iter().any(|group| group == line),
        _ => user.shell.as_os_str() == line,
    };
    // As the module, without the end of a line of Windows.
    let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    if lines.filter(|line| !line.is_empty()).any(names) == allow {
        return None;
    }
    let what = match item {
        "user" => "",
        "group" => "a group of ",
        _ => "the login shell of ",
    };
    let name = &user.name;
    let (reason, fix) = if allow {
        (format!("{file} does not list {what}{name}"), format!("add {what}{name} to {file}"))
    } else {
        (format!("{file} lists {what}{name}"), format!("remove {what}{name} from {file}"))
    };
    Some(Failure::new(DENIED, format!("pam_listfile refuses: {reason}")).with_fix(fix))
}

/// A module that refuses a file because every user can write to it.
fn open_to_all(module: &str, file: &str, path: &Path, metadata: &Metadata) -> Option<Failure> {
    (metadata.mode() & 0o002 != 0).then(|| {
        let reason = format!("{module} refuses because every user can write to {file}");
        let fix = Fix::command("chmod o-w", [CommandWord::Path(path)]);
        Failure { fix: Some(fix), ..Failure::new(&["auth_err"], reason) }
    })
}

/// `pam_shells`: the login shell is in /etc/shells.
fn shells(login: &Login<'_>, module: &Module) -> Option<Failure> {
    const FILE: &str = "/etc/shells";
    let (root, user) = (login.root, login.user);
    // Newer versions can read more files.
    if ["etc/shells.d", "usr/etc/shells", "usr/etc/shells.d"].iter().any(|path| root.join(path).exists()) {
        return None;
    }
    let path = files::below(root, Path::new(FILE));
    if let Some(failure) = open_to_all("pam_shells", FILE, &path, &fs::metadata(&path).ok()?) {
        return Some(failure);
    }
    let text = read(root, FILE)?;
    let shell = user.shell.to_string_lossy();
    if text.split('\n').any(|line| line == shell) {
        return None;
    }
    let refused = |why: &str| Failure::new(DENIED, format!("pam_shells refuses: {why}"));
    if text.split('\n').any(|line| line.trim_end() == shell) {
        // A module with that library removes what follows a name.
        if login.libraries.has(root, module, b"libeconf")? {
            return None;
        }
        let why =
            format!("in {FILE}, a space or carriage return follows {shell}, and is part of its name there");
        let fix = Fix::command("sed -i s/[[:space:]]*$//", [CommandWord::Path(&path)]);
        return Some(Failure { fix: Some(fix), ..refused(&why) });
    }
    let fix = format!("add {shell} to {FILE}, or set another one: usermod --shell");
    Some(refused(&format!("{FILE} does not list the login shell {shell}")).with_fix(fix))
}

/// `pam_ldap` of nss-pam-ldapd, which asks nslcd on a socket. Another module of that name asks the directory itself.
fn ldap(login: &Login<'_>, module: &Module, arguments: &[&str]) -> Option<Failure> {
    let least = value(arguments, "minimum_uid").map_or(Some(0), |text| text.parse::<u32>().ok())?;
    let is_asked = login.user.uid >= least && !arguments.contains(&"ignore_authinfo_unavail");
    if !is_asked || login.root.join("run/nslcd/socket").exists() {
        return None;
    }
    login.libraries.has(login.root, module, b"connection to nslcd")?.then(|| {
        Failure::new(&["authinfo_unavail"], "pam_ldap asks nslcd, which does not run".to_owned())
            .with_fix("start nslcd (systemctl status nslcd says why it does not run), or remove the line")
    })
}

/// `pam_localuser`: the user is in /etc/passwd.
fn localuser(root: &Path, user: &Account, arguments: &[&str]) -> Option<Failure> {
    let file = value(arguments, "file").unwrap_or("/etc/passwd");
    let text = read(root, file)?;
    let is_there = has_entry(&text, &user.name);
    (!is_there).then(|| {
        let reason = format!("pam_localuser refuses: {file} has no line of {}", user.name);
        Failure::new(DENIED, reason)
    })
}

/// `pam_wheel`: the user of the process is in a group. That of sshd is root: the module is for su(1).
fn wheel(arguments: &[&str]) -> Option<Failure> {
    if arguments.iter().any(|word| ["deny", "root_only"].contains(word)) {
        return None;
    }
    let group = value(arguments, "group");
    let line = of_getent("group", group.unwrap_or("wheel"))?;
    let has_root = match line.trim_end().split(':').collect::<Vec<_>>().as_slice() {
        [_, _, gid, members] => *gid == "0" || members.split(',').any(|name| name == "root"),
        // Without a group wheel, it is that of root.
        _ => group.is_none(),
    };
    (!has_root).then(|| {
        let group = group.unwrap_or("wheel");
        let reason = format!(
            "pam_wheel refuses everybody: it is for su(1), and looks for root, the user of sshd's process, in the group {group}"
        );
        let fix = format!("remove that line; if only members of {group} are to log in, set AllowGroups {group} in sshd's configuration");
        Failure::new(&["perm_denied", "auth_err", "service_err"], reason).with_fix(fix)
    })
}

/// `pam_succeed_if`: each condition of its line holds.
fn succeed_if(login: &Login<'_>, arguments: &[&str]) -> Option<Failure> {
    const FLAGS: [&str; 6] = ["debug", "quiet", "quiet_fail", "quiet_success", "audit", "use_uid"];
    let words: Vec<_> = arguments.iter().copied().filter(|word| !FLAGS.contains(word)).collect();
    let user = login.user;
    let rest = words.chunks_exact(3).remainder();
    if !rest.is_empty() {
        let rest = rest.join(" ");
        let reason = format!("pam_succeed_if refuses: the condition {rest} does not have three words");
        let fix = "write it as three words, with brackets at most around one that has a space: user ingroup [domain users]";
        return Some(Failure::new(&["service_err"], reason).with_fix(fix));
    }
    // The user of the process, not of the login.
    if arguments.contains(&"use_uid") {
        return None;
    }
    let fails = |condition: &&[&str]| holds(login, condition) == Some(false);
    let Some(condition) = words.chunks_exact(3).find(fails) else {
        let of_client = |condition: &&[&str]| matches!(condition, ["rhost", "=" | "in" | "=~" | "glob", _]);
        let condition = words.chunks_exact(3).find(of_client)?.join(" ");
        return partial("pam_succeed_if", Some(condition), user);
    };
    let condition = condition.join(" ");
    let reason = format!("pam_succeed_if refuses: {condition} is not true of {}", user.name);
    let fix = format!("change the condition {condition} of pam_succeed_if, or what it says of {}", user.name);
    Some(Failure::new(DENIED, reason).with_fix(fix))
}

/// Whether a condition holds, if that is known.
fn holds(login: &Login<'_>, condition: &[&str]) -> Option<bool> {
    let ([left, operator, right], user) = (condition, login.user) else { return None };
    let in_groups = || right.split(':').any(|name| user.groups.iter().any(|group| group == name));
    let text = match left.to_ascii_lowercase().as_str() {
        "user" | "login" | "name" => user.name.clone(),
        "uid" => user.uid.to_string(),
        "gid" => user.gid.to_string(),
        "shell" => user.shell.to_string_lossy().into_owned(),
        "home" | "dir" | "homedir" => user.home.to_string_lossy().into_owned(),
        "service" => login.service.to_owned(),
        // sshd does not set it.
        "ruser" => String::new(),
        _ => return None,
    };
    let number = || Some((text.parse::<i64>().ok()?, right.parse::<i64>().ok()?));
    let glob =
        || (!right.contains(['[', '\\'])).then(|| wildcard::matches(text.as_bytes(), right.as_bytes()));
    match operator.to_ascii_lowercase().as_str() {
        "=" => Some(text == *right),
        "!=" => Some(text != *right),
        "in" => Some(right.split(':').any(|item| item == text)),
        "notin" => Some(!right.split(':').any(|item| item == text)),
        "=~" | "glob" => glob(),
        "!~" | "noglob" => glob().map(|matches| !matches),
        "ingroup" => Some(in_groups()),
        "notingroup" => Some(!in_groups()),
        "innetgr" => in_netgroup(right, &user.name),
        "notinnetgr" => in_netgroup(right, &user.name).map(|is_in| !is_in),
        "lt" | "<" => number().map(|(left, right)| left < right),
        "le" | "<=" => number().map(|(left, right)| left <= right),
        "gt" | ">" => number().map(|(left, right)| left > right),
        "ge" | ">=" => number().map(|(left, right)| left >= right),
        "eq" => number().map(|(left, right)| left == right),
        "ne" => number().map(|(left, right)| left != right),
        _ => None,
    }
}

/// `pam_access`: the first line for the user counts. Which address a client has is not known.
fn access(root: &Path, user: &Account, arguments: &[&str]) -> Option<Failure> {
    let separators = |name, usual| -> Vec<char> { value(arguments, name).unwrap_or(usual).chars().collect() };
    let (of_fields, of_lists) = (separators("fieldsep", ":"), separators("listsep", ", \t"));
    let paths = match value(arguments, "accessfile") {
        Some(other) => vec![PathBuf::from(other)],
        None => files_of(root, "/etc/security/access.conf", "/etc/security/access.d"),
    };
    let by_group = !arguments.contains(&"nodefgroup");
    // Lines that let some clients in, and that refuse most.
    let (mut allowed, mut refused) = (None, None);
    for path in paths {
        let text = files::read_text(&files::below(root, &path), limits::SYSTEM_FILE).ok()?;
        let path = path.display();
        let (lines, last) = text.rsplit_once('\n').unwrap_or(("", text.as_str()));
        if !last.is_empty() {
            // Some versions skip a line without an end.
            return None;
        }
        for (line, number) in lines.split('\n').zip(1_usize..) {
            let fields: Vec<_> = line.trim_end().splitn(3, of_fields.as_slice()).collect();
            let [permission, users, origins] = fields.as_slice() else { continue };
            let allows = match permission.chars().next() {
                Some('+') => true,
                Some('-') => false,
                _ => continue,
            };
            let words = |list| words(list, &of_lists);
            let is_for_user = listed(&words(users), &|word| is_user(word, user, by_group));
            let place = || format!("{path} line {number}: {}", line.trim_end());
            match (both(is_for_user, from_remote(&words(origins))), allows) {
                (Some(true), true) => return partial("pam_access", refused, user),
                (Some(true), false) if allowed.is_some() => return partial("pam_access", allowed, user),
                (Some(true), false) => {
                    let reason = format!("pam_access refuses, by {}", place());
                    let is_name = !user.name.contains('@');
                    let whom = if is_name { "" } else { "a group (in parentheses) of " };
                    let fix = format!("allow {whom}{} in a line above line {number} of {path}", user.name);
                    return Some(Failure::new(DENIED, reason).with_fix(fix));
                }
                (None, _) if is_for_user.is_none() => return None,
                (None, true) => allowed = Some(place()),
                // Not that for a few clients.
                (None, false) if origins.trim_start().starts_with("ALL") => refused = Some(place()),
                _ => {}
            }
        }
    }
    partial("pam_access", refused, user)
}

/// The result of lines that let some clients in, and refuse the others.
fn partial(module: &str, line: Option<String>, user: &Account) -> Option<Failure> {
    let line = line?;
    let reason = format!("{module} lets {} in from some clients only, by {line}", user.name);
    let fix = "compare the client's address with that list; outside.network has the console's addresses";
    Some(Failure { is_partial: true, ..Failure::new(DENIED, reason).with_fix(fix) })
}

/// Logical and, of what can be unknown.
fn both(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn words<'a>(list: &'a str, separators: &[char]) -> Vec<&'a str> {
    list.split(separators).filter(|word| !word.is_empty()).collect()
}

/// Whether a list of `pam_access` has an item that matches; what follows EXCEPT is excluded.
fn listed(words: &[&str], matches: &dyn Fn(&str) -> Option<bool>) -> Option<bool> {
    let at = words.iter().position(|word| word.eq_ignore_ascii_case("EXCEPT"));
    let (own, rest) = words.split_at(at.unwrap_or(words.len()));
    let mut found = Some(false);
    for word in own {
        match matches(word) {
            Some(true) => {
                found = Some(true);
                break;
            }
            None => found = None,
            Some(false) => {}
        }
    }
    match rest {
        [_, rest @ ..] => both(found, listed(rest, matches).map(|excluded| !excluded)),
        [] => found,
    }
}

fn is_user(word: &str, user: &Account, by_group: bool) -> Option<bool> {
    let in_group = |name: &str| user.groups.iter().any(|group| group == name);
    // A name with this character is read as USER@HOST.
    if word.eq_ignore_ascii_case("ALL") || word == user.name && !word.contains('@') {
        return Some(true);
    }
    if let Some(group) = word.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return Some(in_group(group));
    }
    match word.split_once('@') {
        Some(("", group)) => return in_netgroup(group, &user.name),
        Some((name, host)) => return both(is_user(name, user, by_group), is_host(host)),
        None => {}
    }
    // Other letters, or the number.
    if word.eq_ignore_ascii_case(&user.name) || word == user.uid.to_string() {
        return None;
    }
    Some(by_group && in_group(word))
}

/// Whether a short name is that of this system. `None` if it can be another one for it.
fn is_host(name: &str) -> Option<bool> {
    let is_short = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (is_short && of_getent("ahosts", name)?.is_empty()).then_some(false)
}

/// Whether a list of origins has each client, or none. Those of sshd are remote, and no terminals.
fn from_remote(list: &[&str]) -> Option<bool> {
    listed(list, &|word| match word.to_ascii_lowercase().as_str() {
        "all" => Some(true),
        "local" => Some(false),
        // The services are those of the example in access.conf(5).
        word => {
            let is_local =
                word.starts_with("tty") || word.starts_with(':') || matches!(word, "cron" | "crond");
            match word {
                _ if is_local => Some(false),
                "ssh" | "sshd" => is_host(word),
                _ => None,
            }
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Account, Failure, Libraries, Login, access, holds, is_user};

    fn alice() -> Account {
        Account {
            name: "alice".to_owned(),
            uid: 1000,
            gid: 1000,
            groups: vec!["alice".to_owned(), "admins".to_owned()],
            gids: vec![1000, 27],
            home: "/home/alice".into(),
            shell: "/bin/bash".into(),
        }
    }

    /// Whether a file of `pam_access` refuses alice from everywhere, or from some clients.
    fn result(text: &str, arguments: &[&str]) -> &'static str {
        let name = format!("eic-keys-access-{}-{:?}", std::process::id(), std::thread::current().id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(root.join("etc/security")).unwrap();
        fs::write(root.join("etc/security/access.conf"), text).unwrap();
        let failure: Option<Failure> = access(&root, &alice(), arguments);
        fs::remove_dir_all(root).unwrap();
        failure.map_or("open", |failure| if failure.is_partial { "some" } else { "refuses" })
    }

    #[test]
    fn lines_of_pam_access() {
        for (text, expected) in [
            ("", "open"),
            ("#-:ALL:ALL\n", "open"),
            ("-:ALL:ALL\n", "refuses"),
            ("- : alice : ALL\n", "refuses"),
            ("-:bob:ALL\n", "open"),
            ("+:alice:ALL\n-:ALL:ALL\n", "open"),
            ("+:root bob:ALL\n-:ALL:ALL\n", "refuses"),
            ("+ : (admins) : ALL\n- : ALL : ALL\n", "open"),
            ("+:admins:ALL\n-:ALL:ALL\n", "open"),
            ("+:(wheel):ALL\n-:ALL:ALL\n", "refuses"),
            ("-:ALL EXCEPT root (wheel):ALL\n", "refuses"),
            ("-:ALL EXCEPT root alice:ALL\n", "open"),
            ("-:ALL EXCEPT (admins) EXCEPT alice:ALL\n", "refuses"),
            // For some clients, or perhaps.
            ("+:alice:10.0.0.0/8\n-:ALL:ALL\n", "some"),
            ("+:alice:10.0.0.0/8\n+:(admins):ALL\n-:ALL:ALL\n", "open"),
            ("+:bob:10.0.0.0/8\n-:ALL:ALL\n", "refuses"),
            ("-:alice:ALL EXCEPT 10.0.0.0/8\n", "some"),
            ("-:ALL EXCEPT root:ALL EXCEPT 10.0.0.0/8 LOCAL\n+:ALL:ALL\n", "some"),
            ("-:alice:ALL EXCEPT 10.0.0.0/8\n-:ALL:ALL\n", "refuses"),
            ("-:alice:ALL EXCEPT 10.0.0.0/8\n+:alice:10.0.0.0/9\n-:ALL:ALL\n", "some"),
            ("-:alice:ALL EXCEPT 10.0.0.0/8\n+:alice:10.0.0.0/9\n", "some"),
            ("+:alice:LOCAL\n-:ALL:ALL\n", "refuses"),
            ("+:alice:cron crond :0 tty1 tty2\n-:alice:ALL\n", "refuses"),
            ("+:alice:build1\n-:alice:ALL\n", "some"),
            ("+:alice::0 tty1 tty2\n-:alice:ALL\n", "refuses"),
            ("-:ALL EXCEPT root:LOCAL\n", "open"),
            ("-:ALL EXCEPT root:tty1\n", "open"),
            ("-:alice:10.0.0.0/8\n", "open"),
            ("-:ALL:ALL EXCEPT LOCAL\n", "refuses"),
            ("-:ALL EXCEPT alice:ALL EXCEPT LOCAL\n", "open"),
            ("+:bob@bastion:ALL\n-:ALL:ALL\n", "refuses"),
            ("+:alice@a.example:ALL\n-:ALL:ALL\n", "open"),
            ("+:1000:ALL\n-:ALL:ALL\n", "open"),
            ("+:Alice:ALL\n-:ALL:ALL\n", "open"),
            ("-:alice:192.0.2.1\n-:ALL:ALL\n", "refuses"),
            ("+:root alice:ALL\r\n-:ALL:ALL\r\n", "open"),
            ("-:ALL EXCEPT root:ALL\r\n", "refuses"),
            ("+:alice:10.0.0.1\r\n-:ALL EXCEPT root:ALL\r\n", "some"),
            ("-:ALL:ALL", "open"),
        ] {
            assert_eq!(result(text, &[]), expected, "{text}");
        }
        assert_eq!(result("+:admins:ALL\n-:ALL:ALL\n", &["nodefgroup"]), "refuses");
        for (text, option, expected) in [
            ("-:ALL:ALL\n", "fieldsep=|", "open"),
            ("-|ALL|ALL\n", "fieldsep=|", "refuses"),
            ("+|alice|ALL\n-|ALL|ALL\n", "fieldsep=|", "open"),
            ("-:bob,alice:ALL\n", "listsep=,", "refuses"),
            ("-:bob, alice:ALL\n", "listsep=,", "open"),
            ("- : ALL : ALL\n", "listsep=,", "open"),
        ] {
            assert_eq!(result(text, &[option]), expected, "{text}");
        }
    }

    #[test]
    fn pam_access_takes_a_name_with_a_domain_for_a_host() {
        let user = Account { name: "bob@corp.example".to_owned(), ..alice() };
        let refused = |word: &str| is_user(word, &user, true);
        for (word, expected) in [
            ("bob@corp.example", Some(false)),
            ("ALL", Some(true)),
            ("(admins)", Some(true)),
            ("admins", Some(true)),
        ] {
            assert_eq!(refused(word), expected, "{word}");
        }
    }

    #[test]
    fn conditions_of_pam_succeed_if() {
        for (condition, expected) in [
            ("user ingroup admins", Some(true)),
            ("user ingroup wheel:sudo", Some(false)),
            ("user notingroup admins", Some(false)),
            ("uid >= 1000", Some(true)),
            ("uid < 10", Some(false)),
            ("uid ne 1000", Some(false)),
            ("user = bob", Some(false)),
            ("user in bob:alice", Some(true)),
            ("shell notin /bin/sh:/bin/bash", Some(false)),
            ("service in crond", Some(false)),
            ("service notin sshd:login", Some(false)),
            ("service !~ gdm*", Some(true)),
            ("login =~ b*", Some(false)),
            ("user glob al*", Some(true)),
            ("user =~ [b]*", None),
            ("ruser = alice", Some(false)),
            ("rhost = 10.0.0.1", None),
            ("tty = ssh", None),
        ] {
            let words: Vec<_> = condition.split(' ').collect();
            let user = &alice();
            let root = Path::new("/");
            let libraries = &Libraries::find(root);
            let login = Login { root, user, service: "sshd", libraries, now: 0 };
            assert_eq!(holds(&login, &words), expected, "{condition}");
        }
    }
}
