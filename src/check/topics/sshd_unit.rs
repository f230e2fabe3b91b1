//! What sshd's unit takes from sshd and its processes, so that logins or eic-keys do not work: files, system calls, capabilities, limits,
//! the network.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::check::fix::{CommandWord, Fix};
use crate::check::loginuid::{READ_ONLY_PROC, has_read_only_proc};
use crate::check::pam_config::{self, ModuleType};
use crate::check::runner::Answer;
use crate::check::running_sshd::{
    SshdState, remove_setting, restart_fix, shown_name, unit as unit_name, with_service,
};
use crate::config_tree::ConfigTree;
use crate::files;
use crate::host;
use crate::imds::client;
use crate::limits;
use crate::lists;
use crate::procfs::is_in_other_namespace;
use crate::sandbox::{calls_allowed, calls_before};
use crate::sshd::options::INSTALLED_PROGRAM;
use crate::sshd::query::ADMIN_CONFIG;
use crate::sshd::service::{SERVICES, has_systemd};
use crate::sshd::unit::property;
use crate::tool::stdout_of;
use crate::trust::store::LOCATIONS;

/// The running sshd or, before a client of its socket unit has connected, the one that the unit of a client will start.
pub(super) struct ConfinedSshd<'a> {
    pub(super) root: &'a Path,
    pub(super) running: SshdState,
    /// Of its unit, as systemctl prints them. Empty if they are not known.
    pub(super) properties: &'a str,
    /// It uses PAM.
    pub(super) pam: bool,
    /// eic-keys looks for the trust store where systems have it.
    pub(super) has_default_store: bool,
}

impl ConfinedSshd<'_> {
    /// Whether no process of it can have a capability.
    fn lacks(&self, (number, name): (u32, &str)) -> bool {
        let Some(process) = self.running.process else {
            let list = property(self.properties, "CapabilityBoundingSet");
            return list.is_some_and(|list| !list.split(' ').any(|one| one.eq_ignore_ascii_case(name)));
        };
        let bounding = status(self.root, &process.to_string(), "CapBnd");
        let bounding =
            bounding.and_then(|bounding| u64::from_str_radix(&bounding, 16).ok()?.checked_shr(number));
        bounding.is_some_and(|bits| bits & 1 == 0)
    }

    /// The file that it has at a path.
    fn locate(&self, path: &str) -> Option<PathBuf> {
        if let Some(process) = self.running.process {
            let there = self.root.join(format!("proc/{process}/root"));
            return Some(there.join(path.trim_start_matches('/')));
        }
        // systemd follows links, too.
        let real = |path: &str| fs::canonicalize(files::below(self.root, Path::new(path)));
        let path = real(path).ok()?;
        let hidden = property(self.properties, HIDING).unwrap_or_default().split_whitespace();
        let mut places = hidden.map(|entry| real(entry.trim_start_matches(['-', '+'])));
        let covers = |place: io::Result<PathBuf>| place.is_ok_and(|place| path.starts_with(place));
        (!places.any(covers)).then_some(path)
    }

    /// The advice for a running sshd or, for one that is not started again before a client connects, the one for this setting of its
    /// unit.
    fn fix(&self, setting: &str, running: &str) -> Fix {
        Fix::advice(match self.running.waiting {
            None => running.to_owned(),
            Some(unit) => remove_setting(&ConfigTree::new(self.root), unit, setting, ""),
        })
    }

    /// Whether one that waits will have no trust store. login.command finds that of a running one.
    fn lacks_store(&self) -> bool {
        self.running.waiting.is_some()
            && self.has_default_store
            && LOCATIONS.iter().all(|path| self.locate(path).is_none())
    }

    /// Whether it has a filter of system calls that PID 1 does not have. The unit may have been changed since it was started; one that
    /// waits will have what its unit sets.
    fn has_call_filter(&self) -> bool {
        // Linux has the number of filters since 5.9. In a container, PID 1 has some, too.
        let filters = |process: &str| {
            let status = |field| status(self.root, process, field);
            let number = status("Seccomp_filters").and_then(|number| number.parse::<u32>().ok());
            number.unwrap_or_else(|| u32::from(status("Seccomp").is_some_and(|mode| mode == "2")))
        };
        match self.running.process {
            Some(process) => filters(&process.to_string()) > filters("1"),
            None => self.running.waiting.is_some(),
        }
    }

    /// Whether it has another network than this process, or will have.
    fn is_isolated(&self) -> bool {
        match self.running.process {
            Some(process) => is_in_other_namespace(self.root, process, "net"),
            None => self.running.waiting.is_some(),
        }
    }
}

/// The properties of the units. `None` without systemd.
pub(super) fn shown(root: &Path, running: SshdState) -> Option<io::Result<String>> {
    has_systemd(&ConfigTree::new(root)).then(|| {
        let properties = "--property=Id,IPAddressDeny,IPAddressAllow,PrivateNetwork,RestrictAddressFamilies,SystemCallFilter,SystemCallErrorNumber,\
                          InaccessiblePaths,TemporaryFileSystem,CapabilityBoundingSet,LimitNOFILESoft,\
                          LimitNPROCSoft,LimitSTACKSoft,LimitASSoft,LimitDATASoft";
        match running.waiting {
            Some(unit) => stdout_of("systemctl", &["show", properties, &shown_name(unit)]),
            None => stdout_of("systemctl", &["show", properties, SERVICES[0], SERVICES[1]]),
        }
    })
}

impl ConfinedSshd<'_> {
    /// What its processes lack for a login. `shell`: the user's.
    pub(super) fn lacks_for_login(&self, shell: Option<&str>) -> Option<Answer<()>> {
        let limits = ResourceLimits::of(self);
        limits
            .too_low()
            .or_else(|| hidden_file(self, shell))
            .or_else(|| not_executable(self, shell))
            .or_else(|| limits.little_memory())
            .or_else(|| read_only_proc(self))
            .or_else(|| too_few_capabilities(self))
    }
}

/// The limits on its resources: soft ones, of its process or of its unit.
struct ResourceLimits<'a> {
    sshd: &'a ConfinedSshd<'a>,
    text: String,
}

impl<'a> ResourceLimits<'a> {
    fn of(sshd: &'a ConfinedSshd<'a>) -> Self {
        let text = match sshd.running.process {
            Some(process) => {
                let file = sshd.root.join(format!("proc/{process}/limits"));
                files::read_text(&file, limits::PROC_FILE).unwrap_or_default()
            }
            None => sshd.properties.replace("Soft=", " "),
        };
        Self { sshd, text }
    }

    /// The limit of this name in `/proc/PID/limits`, or of this setting.
    fn limit(&self, name: &str, setting: &str) -> Option<u64> {
        let mut lines = self.text.lines();
        let limit = lines.find_map(|line| line.strip_prefix(name).or(line.strip_prefix(setting)))?;
        limit.split_whitespace().next()?.parse().ok()
    }

    /// The fix for a limit that is too low.
    fn fix(&self, setting: &str) -> Fix {
        let tree = ConfigTree::new(self.sshd.root);
        let unit = self.sshd.running.waiting.unwrap_or_else(|| with_service(&tree, unit_name));
        let mut fix = remove_setting(&tree, unit, setting, "");
        if let Some(process) = self.sshd.running.process {
            let restart = restart_fix(&tree);
            fix = format!(
                "{fix}; {restart}; or raise the limit of what starts sshd (DefaultLimit...= in /etc/systemd/system.conf and its drop-ins; \
                 prlimit(1) shows the limits of process {process})"
            );
        }
        Fix::advice(fix)
    }

    fn too_low(&self) -> Option<Answer<()>> {
        NEEDED.into_iter().find_map(|(name, setting, least)| {
            let soft = self.limit(name, setting).filter(|soft| *soft < least)?;
            let is_enough =
                |value: &str| value == "infinity" || value.parse().is_ok_and(|value: u64| value >= least);
            Some(Answer::fail(
                format!(
                    "sshd is limited to {soft} {}: no login works with that",
                    name.trim_start_matches("Max ")
                ),
                restart(self.sshd, setting, is_enough).unwrap_or_else(|| self.fix(setting)),
            ))
        })
    }

    fn little_memory(&self) -> Option<Answer<()>> {
        MEMORY.into_iter().find_map(|(name, setting, least, means)| {
            let bytes = self.limit(name, setting).filter(|bytes| *bytes < least)?;
            let what = name.trim_start_matches("Max ").trim_end_matches(" size");
            let note = format!("sshd is limited to {bytes} bytes of {what}: {means}");
            Some(Answer::warn(note, self.fix(setting), ()))
        })
    }
}

/// The result if a file that a login needs is hidden from sshd, or another one is in its place.
fn hidden_file(sshd: &ConfinedSshd<'_>, shell: Option<&str>) -> Option<Answer<()>> {
    let hides = "the setting (InaccessiblePaths=, TemporaryFileSystem=, BindPaths= and the like) from sshd's unit: systemctl cat ssh sshd; \
                 then restart sshd";
    let (path, seen) = hidden_from_sshd(sshd, shell)?;
    Some(match seen {
        Seen::Another => Answer::warn(
            format!(
                "sshd sees another {path} than the checks of this report: its unit puts that in its place"
            ),
            sshd.fix(HIDING, &format!("if that is not intended, remove {hides}")),
            (),
        ),
        Seen::Nothing => {
            let what = if path == TERMINALS { "session on a terminal" } else { "login" };
            Answer::fail(
                format!(
                    "sshd cannot use {path}: its unit hides it from sshd, and no {what} works without it"
                ),
                sshd.fix(HIDING, &format!("remove {hides}")),
            )
        }
    })
}

/// The result if a program that a login needs cannot be executed in sshd's mount namespace.
fn not_executable(sshd: &ConfinedSshd<'_>, shell: Option<&str>) -> Option<Answer<()>> {
    sshd.running.process?;
    let is_refused = |path: &&str| {
        let here = files::below(sshd.root, Path::new(path));
        sshd.locate(path).is_some_and(|there| files::is_not_executable(&there))
            && !files::is_not_executable(&here)
    };
    let path = [Some(INSTALLED_PROGRAM), shell].into_iter().flatten().find(is_refused)?;
    let tree = ConfigTree::new(sshd.root);
    let unit = with_service(&tree, unit_name);
    let fix = remove_setting(&tree, unit, "NoExecPaths", "");
    Some(Answer::fail(
        format!(
            "sshd cannot execute {path}: its unit forbids it (NoExecPaths=), and no login works without it"
        ),
        Fix::advice(format!("{fix}; {}", restart_fix(&tree))),
    ))
}

/// The result if PAM cannot write what it has to in `/proc`.
fn read_only_proc(sshd: &ConfinedSshd<'_>) -> Option<Answer<()>> {
    let process = sshd.running.process.filter(|_| sshd.pam)?;
    has_read_only_proc(sshd.root, process).then(|| {
        Answer::fail(
            "/proc is read-only for sshd: PAM opens no session (pam_loginuid cannot write /proc/self/loginuid)",
            Fix::advice(READ_ONLY_PROC),
        )
    })
}

/// With this file, sshd gets a terminal.
const TERMINALS: &str = "/dev/pts/ptmx";

/// What each account and session needs with PAM: its modules are in one of these directories.
const OF_PAM: [&str; 6] = [
    "/etc/shadow",
    "/etc/pam.d/sshd",
    "/usr/lib/x86_64-linux-gnu/security/pam_unix.so",
    "/usr/lib/aarch64-linux-gnu/security/pam_unix.so",
    "/usr/lib64/security/pam_unix.so",
    "/usr/lib/security/pam_unix.so",
];

/// What sshd has in place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// None, or an empty one, as systemd hides a file.
    Nothing,
    Another,
}

/// A file that a login needs, and that is not the same in sshd's mount namespace.
fn hidden_from_sshd<'a>(sshd: &ConfinedSshd<'_>, shell: Option<&'a str>) -> Option<(&'a str, Seen)> {
    let (root, runs) = (sshd.root, sshd.running.process.is_some());
    // Without root, nothing is known.
    fs::metadata(sshd.locate("/")?).ok()?;
    let seen = |path: &'a str| {
        let here = fs::metadata(root.join(path.trim_start_matches('/'))).ok()?;
        let there = sshd.locate(path).map_or_else(|| Err(ErrorKind::NotFound.into()), fs::metadata);
        let seen = match there {
            Err(_) if path == LIMITS && !(runs && needs_limits_file(root)) => None,
            // With an empty file, which systemd puts in its place, nothing is limited.
            Ok(there) if path == LIMITS && there.len() == 0 => None,
            // The running sshd has read it.
            Err(_) if path == ADMIN_CONFIG && runs => None,
            Err(error) => (error.kind() == ErrorKind::NotFound).then_some(Seen::Nothing),
            Ok(there) if here.len() > 0 && there.len() == 0 => Some(Seen::Nothing),
            Ok(there) => {
                let is_same = (here.dev(), here.ino()) == (there.dev(), there.ino());
                (path != TERMINALS && !is_same).then_some(Seen::Another)
            }
        };
        Some((path, seen?))
    };
    let of_pam: &[&str] = if sshd.pam { &OF_PAM } else { &[] };
    let limits = (sshd.pam && has_pam_limits(root)).then_some(LIMITS);
    let files = ["/etc/passwd", ADMIN_CONFIG].iter().chain(of_pam).chain(&[TERMINALS]).copied().chain(limits);
    // login.command runs it where a running sshd does.
    let files = files.chain((!runs).then_some(INSTALLED_PROGRAM));
    files.chain(shell.filter(|shell| shell.starts_with('/'))).find_map(seen)
}

/// The file of `pam_limits`.
const LIMITS: &str = "/etc/security/limits.conf";

/// Whether `pam_limits` refuses a session without its file, as it does before Linux-PAM 1.5.3. Its message is another since.
fn needs_limits_file(root: &Path) -> bool {
    const BEFORE: &[u8] = b"cannot read settings from %s: %m";
    let has_message = |path: &str| {
        let module = files::below(root, Path::new(&path.replace("pam_unix", "pam_limits")));
        let bytes = files::read(&module, limits::SYSTEM_FILE).unwrap_or_default();
        files::has_text(&bytes, BEFORE)
    };
    OF_PAM.iter().any(|path| path.ends_with("pam_unix.so") && has_message(path))
}

fn has_pam_limits(root: &Path) -> bool {
    pam_config::modules(root, ModuleType::Session).iter().any(|module| module.starts_with("pam_limits.so"))
}

/// Limits of a process, their settings of systemd, and how many a login with a pushed key needs with any sshd: with one process fewer
/// (OpenSSH 9.2), or one file fewer, which eic-keys needs, it fails. sshd needs up to 16 files (8.4 with PAM) or 17 (10.0).
const NEEDED: [(&str, &str, u64); 2] =
    [("Max open files", "LimitNOFILE", 13), ("Max processes", "LimitNPROC", 4)];

/// Limits on memory with which a login may fail, their settings, what a login needs, and what happens with less. What the kernel allows
/// for the arguments of a program does not depend on the stack (execve(2)). The program of a connection with its libraries has 15 MiB of
/// addresses and 1.3 MiB of data (OpenSSH 9.2 on Debian), or more.
const MEMORY: [(&str, &str, u64, &str); 3] = [
    ("Max stack size", "LimitSTACK", 128 << 10, "a session on a terminal can end as soon as it begins"),
    ("Max address space", "LimitAS", (20 << 20) + 1, NO_MEMORY),
    ("Max data size", "LimitDATA", (1 << 20) + 1, NO_MEMORY),
];

const NO_MEMORY: &str =
    "as a rule, its program for a connection does not fit into that, so that each connection is closed";

impl ConfinedSshd<'_> {
    /// The settings of its unit that block the metadata service, or a system call or file that eic-keys needs.
    pub(super) fn unit(&self) -> Answer<()> {
        let refuses = || {
            hides_needed_path(self)
                .or_else(|| has_no_network(self))
                .or_else(|| refuses_calls_of_login(self))
                .or_else(|| restricts_network(self))
                .or_else(|| refuses_own_calls(self))
        };
        refuses().unwrap_or_else(|| Answer::ok("sshd's unit denies nothing that eic-keys needs", ()))
    }
}

fn hides_needed_path(sshd: &ConfinedSshd<'_>) -> Option<Answer<()>> {
    let (setting, (path, read)) = sshd.properties.lines().find_map(|line| {
        let (setting, list) = line.split_once('=')?;
        matches!(setting, "InaccessiblePaths" | "TemporaryFileSystem").then_some(())?;
        Some((setting, hidden_path(sshd.root, list)?))
    })?;
    let note = format!("sshd's unit hides {path} from its processes ({setting}=), and eic-keys needs {read}");
    let fix = format!("remove {path} from {setting}= with systemctl edit, then restart sshd");
    let fix = sshd.fix(setting, &fix);
    Some(if sshd.lacks_store() { Answer::fail(note, fix) } else { Answer::warn(note, fix, ()) })
}

fn has_no_network(sshd: &ConfinedSshd<'_>) -> Option<Answer<()>> {
    let is_set = || sshd.properties.lines().any(|line| line == "PrivateNetwork=yes");
    (sshd.is_isolated() && is_set()).then(|| {
        // systemd gives a waiting one its clients.
        let clients = if sshd.running.process.is_some() { "clients and " } else { "" };
        Answer::fail(
            format!("sshd's unit has PrivateNetwork=yes: {clients}the metadata service cannot be reached"),
            sshd.fix("PrivateNetwork", "remove PrivateNetwork= with systemctl edit, then restart sshd"),
        )
    })
}

fn refuses_calls_of_login(sshd: &ConfinedSshd<'_>) -> Option<Answer<()>> {
    let filters = || sshd.properties.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let lacks = |call: &&&str| filters().any(|list| excludes(list, call));
    let of_session: &[&str] = if sshd.pam && has_pam_limits(sshd.root) { &LIMITS_CALLS } else { &[] };
    let calls: Vec<_> = SSHD_CALLS.iter().chain(of_session).filter(lacks).copied().collect();
    (!calls.is_empty() && sshd.has_call_filter()).then(|| {
        let calls = calls.join(" ");
        let fix = format!(
            "allow them with systemctl edit, with the lines [Service] and SystemCallFilter={calls}; then restart sshd"
        );
        Answer::fail(
            format!("sshd's unit refuses system calls that each login needs: SystemCallFilter= lacks {calls}"),
            sshd.fix("SystemCallFilter", &fix),
        )
    })
}

fn restricts_network(sshd: &ConfinedSshd<'_>) -> Option<Answer<()>> {
    // One paragraph per unit.
    let line = sshd.properties.split("\n\n").find_map(|unit| {
        let denies = |list: &str| {
            let allowed = property(unit, "IPAddressAllow").unwrap_or_default();
            // All clients, or the metadata service.
            list.split(' ').any(|network| network.ends_with("/0")) && !allowed.contains("/0")
                || has_metadata_service(list) && !has_metadata_service(allowed)
        };
        unit.lines().find(|line| match line.split_once('=') {
            Some(("IPAddressDeny", value)) => denies(value),
            Some(("PrivateNetwork", value)) => value == "yes",
            Some(("RestrictAddressFamilies", value)) => excludes(value, "AF_INET"),
            _ => false,
        })
    })?;
    let is_filtered = line.starts_with("RestrictAddressFamilies") && sshd.has_call_filter();
    Some(if is_filtered && !has_ipv6(sshd.root) {
        Answer::fail(
            format!("sshd's unit keeps eic-keys from the metadata service: {line} lacks AF_INET"),
            sshd.fix(
                "RestrictAddressFamilies",
                "add AF_INET to RestrictAddressFamilies= (systemctl cat ssh sshd shows the file), or remove the line, then: \
                 systemctl daemon-reload, and restart sshd",
            ),
        )
    } else {
        Answer::warn(
            format!("sshd's unit restricts its processes: {line}"),
            Fix::advice(
                "allow 169.254.169.254 port 80 and the clients with systemctl edit, then restart sshd",
            ),
            (),
        )
    })
}

/// Whether a list of networks, as systemctl shows it, has the address of the metadata service.
fn has_metadata_service(list: &str) -> bool {
    const ADDRESS: u32 = client::IPV4.to_bits();
    let has = |network: &str| {
        let (address, bits) = network.split_once('/')?;
        let (address, bits) = (address.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
        let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or_default();
        Some(address.to_bits() & mask == ADDRESS & mask)
    };
    list.split(' ').any(|network| has(network) == Some(true))
}

fn refuses_own_calls(sshd: &ConfinedSshd<'_>) -> Option<Answer<()>> {
    // One paragraph per unit.
    sshd.properties.split("\n\n").find_map(|unit| {
        let property = |name: &str| property(unit, name);
        let calls = refused_calls(property("SystemCallFilter")?);
        if calls.is_empty() {
            return None;
        }
        // 0, or a number above the largest errno, means that the process is killed.
        let errno = property("SystemCallErrorNumber").and_then(|number| number.parse().ok()).unwrap_or(0);
        let returns_errno = (1..4096).contains(&errno);
        let (name, calls) = (property("Id").unwrap_or("sshd's unit"), calls.join(" "));
        let what = if returns_errno { "are refused" } else { "kill eic-keys before it prints a key" };
        let note = format!("system calls of eic-keys {what}: SystemCallFilter= of {name} lacks {calls}");
        let fix = Fix::advice(format!(
            "allow them: systemctl edit {name}, with the lines [Service] and SystemCallFilter={calls}; then restart sshd"
        ));
        Some(if !returns_errno && sshd.has_call_filter() {
            Answer::fail(note, fix)
        } else {
            Answer::warn(note, fix, ())
        })
    })
}

/// The setting of a unit that hides files.
const HIDING: &str = "InaccessiblePaths";

/// The setting of a unit for its capabilities.
const CAPABILITIES: &str = "CapabilityBoundingSet";

/// System calls of sshd in each login: it confines and drops the privileges of a process (`privsep_preauth_child`,
/// `permanently_set_uid`).
const SSHD_CALLS: [&str; 5] = ["chroot", "prlimit64", "setgroups", "setresgid", "setresuid"];

/// System calls of `pam_limits` in each session, whatever its limits are.
const LIMITS_CALLS: [&str; 1] = ["setpriority"];

/// Capabilities of sshd in each login, by their number.
const SSHD_CAPABILITIES: [(u32, &str); 3] = [(6, "CAP_SETGID"), (7, "CAP_SETUID"), (18, "CAP_SYS_CHROOT")];

/// Each of these is enough to read a file without permissions.
const FILE_CAPABILITIES: [(u32, &str); 2] = [(1, "CAP_DAC_OVERRIDE"), (2, "CAP_DAC_READ_SEARCH")];

/// The capability to give a terminal to the user (`pty_setowner`).
const TERMINAL_CAPABILITY: (u32, &str) = (0, "CAP_CHOWN");

/// The result if sshd's processes lack a capability.
fn too_few_capabilities(sshd: &ConfinedSshd<'_>) -> Option<Answer<()>> {
    let (lacking, note) = lacks_capability(sshd)?;
    let fix = "give sshd the capabilities that its unit takes away: see CapabilityBoundingSet= in systemctl cat ssh sshd; then restart sshd";
    let gives = |value: &str| {
        let has = |name: &&str| value.split(' ').any(|one| one.eq_ignore_ascii_case(name));
        lacking.iter().all(has)
    };
    let fix = restart(sshd, CAPABILITIES, gives).unwrap_or_else(|| sshd.fix(CAPABILITIES, fix));
    Some(Answer::fail(note, fix))
}

/// The capabilities that no process of this sshd can have, and what that means.
fn lacks_capability(sshd: &ConfinedSshd<'_>) -> Option<(Vec<&'static str>, String)> {
    let lacking: Vec<_> =
        SSHD_CAPABILITIES.into_iter().filter(|one| sshd.lacks(*one)).map(|(_, name)| name).collect();
    if !lacking.is_empty() {
        let note = format!("sshd lacks {}: it closes each connection", lacking.join(", "));
        return Some((lacking, note));
    }
    // RHEL gives the file the mode 0000.
    let unreadable = || {
        let shadow = fs::metadata(sshd.root.join("etc/shadow"));
        shadow.is_ok_and(|shadow| shadow.permissions().mode() & 0o400 == 0)
    };
    if sshd.pam && FILE_CAPABILITIES.into_iter().all(|one| sshd.lacks(one)) && unreadable() {
        let names = FILE_CAPABILITIES.map(|(_, name)| name);
        let note = format!(
            "sshd lacks {}, and cannot read /etc/shadow, which has a mode without permissions: PAM refuses each account",
            names.join(" and ")
        );
        return Some((names.to_vec(), note));
    }
    let (_, name) = TERMINAL_CAPABILITY;
    let note = || (vec![name], format!("sshd lacks {name}: it closes each session on a terminal"));
    sshd.lacks(TERMINAL_CAPABILITY).then(note)
}

/// The command that starts a running sshd again, if its unit no longer has the setting with which it was started.
fn restart(sshd: &ConfinedSshd<'_>, setting: &'static str, is_enough: impl Fn(&str) -> bool) -> Option<Fix> {
    let process = sshd.running.process?;
    let tree = ConfigTree::new(sshd.root);
    let unit = with_service(&tree, |service| service.has_systemd().then(|| unit_name(service)))?;
    let shown = stdout_of("systemctl", &["show", "--property=MainPID", "--property", setting, unit]).ok()?;
    (property(&shown, "MainPID")?.parse() == Ok(process) && is_enough(property(&shown, setting)?))
        .then(|| Fix::command("systemctl restart", [CommandWord::Literal(unit)]))
}

/// A field of `/proc/PID/status`.
fn status(root: &Path, process: &str, field: &str) -> Option<String> {
    let text = files::read_text(&root.join(format!("proc/{process}/status")), limits::PROC_FILE).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Whether the system has an IPv6 address over which the metadata service can be asked: one with global scope.
fn has_ipv6(root: &Path) -> bool {
    let table = files::read_text(&root.join("proc/net/if_inet6"), limits::PROC_FILE).unwrap_or_default();
    table.lines().any(|line| line.split_whitespace().nth(3) == Some("00"))
}

/// The system calls that eic-keys needs and a `SystemCallFilter=` list does not allow.
fn refused_calls(list: &str) -> Vec<String> {
    let calls = calls_before().iter().copied().chain(calls_allowed());
    lists::sorted_unique(calls.filter(|call| excludes(list, call)).map(str::to_owned))
}

/// The first path of a systemd.exec(5) list that hides a path that eic-keys needs, and that path.
///
/// It needs the files that identify an instance, the trust store, and its own binary.
fn hidden_path<'a>(root: &Path, list: &'a str) -> Option<(&'a str, &'static str)> {
    let store = LOCATIONS.iter().find(|path| files::below(root, Path::new(path)).exists());
    let needed: Vec<_> = host::FILES.into_iter().chain(store.copied()).chain([INSTALLED_PROGRAM]).collect();
    list.split_whitespace().find_map(|entry| {
        let path = entry.trim_start_matches(['-', '+']).split(':').next()?;
        let read = needed.iter().find(|read| path.starts_with('/') && Path::new(read).starts_with(path))?;
        Some((path, *read))
    })
}

/// Whether a systemd.exec(5) list excludes `needed`. The list names what is allowed or, with `~`, what is denied.
///
/// systemctl shows groups as their members. A name can have a suffix with the action, such as `:EPERM`.
fn excludes(list: &str, needed: &str) -> bool {
    let (denies, list) = list.strip_prefix('~').map_or((false, list), |list| (true, list));
    let named = |word: &str| word.split(':').next() == Some(needed);
    !list.is_empty() && list.split(' ').any(named) == denies
}

#[cfg(test)]
mod tests {
    use super::{calls_allowed, calls_before, refused_calls};

    #[test]
    fn each_call_of_a_run_is_looked_for() {
        let all: Vec<_> = calls_before().iter().copied().chain(calls_allowed()).collect();
        for call in
            ["landlock_create_ruleset", "seccomp", "prlimit64", "capset", "prctl", "connect", "recvfrom"]
        {
            assert!(all.contains(&call), "{call}");
        }
        for call in &all {
            assert_eq!(refused_calls(&format!("~bpf {call}")), [*call]);
            assert_eq!(refused_calls(&format!("~{call}:EPERM")), [*call]);
            let others: Vec<_> = all.iter().copied().filter(|other| other != call).collect();
            assert_eq!(refused_calls(&others.join(" ")), [*call]);
        }
        for nothing in ["", "~", "~bpf ptrace", &all.join(" ")] {
            assert_eq!(refused_calls(nothing), [""; 0], "{nothing}");
        }
    }
}
