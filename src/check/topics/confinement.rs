//! Checks what restricts eic-keys: its own sandbox and, as a child of sshd, SELinux, AppArmor and the settings of
//! sshd's unit.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::account::{Account, is_root};
use crate::calendar::DAY;
use crate::check::check_id::CheckId;
use crate::check::fix::{CommandWord, Fix};
use crate::check::log_tail;
use crate::check::loginuid::{READ_ONLY_PROC, has_read_only_proc};
use crate::check::pam_config::{self, ModuleType};
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::running_sshd::{RunningSshd, remove_setting, shown_name, unit as unit_name, with_daemon};
use crate::check::settings::Settings;
use crate::files;
use crate::host;
use crate::limits;
use crate::lists;
use crate::procfs::is_in_other_namespace;
use crate::sandbox::{Allowed, calls_allowed, calls_before, enter_thread};
use crate::sshd::config_tree::ConfigTree;
use crate::sshd::daemon::{SERVICES, has_systemd};
use crate::sshd::options::INSTALLED_PROGRAM;
use crate::sshd::query::ADMIN_CONFIG;
use crate::tool::{property, stdout_of};
use crate::trust::store::LOCATIONS;

const AUDIT_LOG: &str = "var/log/audit/audit.log";

/// Runs the checks of this group.
pub(crate) async fn confinement(
    runner: &Runner,
    target: &CheckTarget<'_>,
    settings: &Finding<Settings>,
    account: &Finding<Account>,
    running: &Finding<RunningSshd>,
) {
    let root = || target.root.to_owned();
    let layers = runner.check(CheckId::ConfinementLayers, (), async |()| blocking(layers).await);
    let selinux = runner.check(CheckId::ConfinementSelinux, (), async |()| {
        let root = root();
        blocking(move || selinux(&root)).await
    });
    let denials = runner.check(CheckId::ConfinementDenials, (), async |()| {
        let (root, now) = (root(), (target.clock)().as_secs());
        blocking(move || denials(&root, now)).await
    });
    let apparmor = runner.check(CheckId::ConfinementApparmor, running, async |running| {
        let (root, running) = (root(), *running);
        blocking(move || apparmor(&root, running)).await
    });
    let unit = runner.check(CheckId::ConfinementUnit, running, async |running| {
        let (root, running) = (root(), *running);
        let pam = settings.get().is_some_and(|settings| settings.is("usepam", "yes"));
        let shell = account.get().and_then(|account| Some(account.shell.to_str()?.to_owned()));
        let line = settings.get().and_then(|settings| settings.dump.command.clone()).unwrap_or_default();
        let has_default_store = !String::from_utf8_lossy(&line).contains("--trust-store");
        blocking(move || {
            let shown = shown(&root, running);
            let properties = shown.as_ref().map_or("", |shown| shown.as_deref().unwrap_or_default());
            let sshd = ConfinedSshd { root: &root, running, properties, pam, has_default_store };
            let is_known = running.process.is_some() || running.waiting.is_some();
            let too_little = || {
                is_known.then_some(())?;
                too_little(&sshd, shell.as_deref()).or_else(|| too_few_capabilities(&sshd))
            };
            match too_little() {
                Some(answer) => answer,
                None => match &shown {
                    None => Answer::ok("systemd does not run on this system", ()),
                    Some(Err(error)) => Answer::skip(error.to_string()),
                    Some(Ok(_)) => unit(&sshd),
                },
            }
        })
        .await
    });
    tokio::join!(layers, selinux, denials, apparmor, unit);
}

/// Tries the sandbox in a separate thread, which ends afterwards.
fn layers() -> Answer<()> {
    let needs = Allowed { ports: &[], files: None, child: None };
    let Ok(layers) = std::thread::scope(|scope| scope.spawn(|| enter_thread(&needs)).join()) else {
        return Answer::skip("the sandbox could not be tested");
    };
    let lines = layers.iter().map(|layer| match &layer.active {
        Ok(()) => format!("{}: enforced", layer.name),
        Err(error) => format!("{}: {error}", layer.name),
    });
    let held = layers.iter().filter(|layer| layer.active.is_ok()).count();
    // Not a failure: an older kernel lacks some layers, and logins work without them.
    Answer::ok(format!("the kernel enforces {held} of {} layers of the sandbox", layers.len()), ())
        .detail(lines)
}

fn selinux(root: &Path) -> Answer<()> {
    match files::read(&root.join("sys/fs/selinux/enforce"), limits::PROC_FILE).as_deref() {
        Err(_) => Answer::ok("SELinux is off", ()),
        Ok(b"0") => Answer::ok("SELinux is permissive: it logs denials and enforces none", ()),
        Ok(_) if !is_root() => {
            Answer::skip("SELinux is enforcing, and only root can list the modules of its policy")
        }
        Ok(_) => {
            let modules = match stdout_of("semodule", &["--list-modules"]) {
                Ok(modules) => modules,
                Err(error) => {
                    return Answer::skip(format!(
                        "SELinux is enforcing, and its modules are unknown: {error}"
                    ));
                }
            };
            if modules
                .lines()
                .any(|line| matches!(line.split_whitespace().next(), Some("eic-keys" | "eic_keys")))
            {
                return Answer::ok("SELinux is enforcing, with the policy module of eic-keys", ());
            }
            Answer::warn(
                "SELinux is enforcing without a policy module for eic-keys, and may deny it the network",
                Fix::advice("install the package eic-keys-selinux, which contains the module"),
                (),
            )
        }
    }
}

fn denials(root: &Path, now: u64) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can read the audit log");
    }
    let Ok(text) = log_tail::tail(&root.join(AUDIT_LOG)) else {
        return Answer::ok("there is no audit log", ());
    };
    // After a change of the policy, the older lines stay.
    let is_recent = |line: &str| {
        let time =
            line.split_once("audit(").and_then(|(_, rest)| rest.split(['.', ':']).next()?.parse().ok());
        time.is_none_or(|time: u64| now.saturating_sub(time) < DAY)
    };
    let of_eic_keys =
        |line: &&str| line.contains("denied") && line.contains("comm=\"eic-keys\"") && is_recent(line);
    let denied: Vec<_> = text.lines().filter(of_eic_keys).map(str::to_owned).collect();
    match denied.as_slice() {
        [] => Answer::ok("the audit log has no denial of eic-keys in the last 24 h", ()),
        [.., last] => Answer::warn(
            format!(
                "the audit log has {} denials of eic-keys in the last 24 h, the last: {last}",
                denied.len()
            ),
            Fix::advice("find out the reason: ausearch --comm eic-keys --message avc | audit2why"),
            (),
        ),
    }
}

fn apparmor(root: &Path, running: RunningSshd) -> Answer<()> {
    let Some(process) = running.process else { return Answer::skip("no sshd runs until a client connects") };
    let attributes = root.join(format!("proc/{process}/attr"));
    let profile = ["apparmor/current", "current"]
        .into_iter()
        .find_map(|name| files::read(&attributes.join(name), limits::PROC_FILE).ok());
    let profile =
        String::from_utf8_lossy(&profile.unwrap_or_default()).trim_end_matches(['\n', '\0']).to_owned();
    if profile.ends_with("(enforce)") {
        let fix = Fix::advice(
            "in sshd's profile, allow it to execute eic-keys (ix) and to use the network (network inet stream)",
        );
        return Answer::warn(format!("AppArmor confines sshd and its children: {profile}"), fix, ());
    }
    Answer::ok("AppArmor does not confine sshd", ())
}

/// The running sshd or, before a client of its socket unit has connected, the one that the unit of a client will start.
struct ConfinedSshd<'a> {
    root: &'a Path,
    running: RunningSshd,
    /// Of its unit, as systemctl prints them. Empty if they are not known.
    properties: &'a str,
    /// It uses PAM.
    pam: bool,
    /// eic-keys looks for the trust store where systems have it.
    has_default_store: bool,
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

    /// Whether it has a filter of system calls that PID 1 does not have, and whether it has another network than this process. What it
    /// will have is what its unit sets.
    fn confined(&self) -> (bool, bool) {
        match self.running.process {
            Some(process) => confined(self.root, process),
            None => (self.running.waiting.is_some(), self.running.waiting.is_some()),
        }
    }
}

/// The properties of the units. `None` without systemd.
fn shown(root: &Path, running: RunningSshd) -> Option<io::Result<String>> {
    has_systemd(&ConfigTree::new(root)).then(|| {
        let properties = "--property=Id,IPAddressDeny,PrivateNetwork,RestrictAddressFamilies,SystemCallFilter,SystemCallErrorNumber,\
                          InaccessiblePaths,TemporaryFileSystem,CapabilityBoundingSet,LimitNOFILESoft,\
                          LimitNPROCSoft,LimitSTACKSoft";
        match running.waiting {
            Some(unit) => stdout_of("systemctl", &["show", properties, &shown_name(unit)]),
            None => stdout_of("systemctl", &["show", properties, SERVICES[0], SERVICES[1]]),
        }
    })
}

/// What the processes of sshd lack for a login. `shell`: the user's.
fn too_little(sshd: &ConfinedSshd<'_>, shell: Option<&str>) -> Option<Answer<()>> {
    let ConfinedSshd { root, pam, .. } = *sshd;
    let starts = sshd.running.process.map_or_else(String::new, |process| {
        format!(", or the limit of what starts sshd (DefaultLimit...= in /etc/systemd/system.conf and its drop-ins; prlimit(1) shows the limits of process {process})")
    });
    // Soft limits, of a process or of a unit.
    let text = match sshd.running.process {
        Some(process) => {
            files::read_text(&root.join(format!("proc/{process}/limits")), limits::PROC_FILE).ok()?
        }
        None => sshd.properties.replace("Soft=", " "),
    };
    let limit = |name: &str, setting: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name).or(line.strip_prefix(setting)));
        line?.split_whitespace().next()?.parse().ok()
    };
    for (name, setting, least) in NEEDED {
        if let Some(soft) = limit(name, setting).filter(|soft| *soft < least) {
            let fix =
                format!("remove {setting}= from sshd's unit and its drop-ins{starts}; then restart sshd");
            let is_enough =
                |value: &str| value == "infinity" || value.parse().is_ok_and(|value: u64| value >= least);
            return Some(Answer::fail(
                format!(
                    "sshd is limited to {soft} {}: no login works with that",
                    name.trim_start_matches("Max ")
                ),
                restart(sshd, setting, is_enough).unwrap_or_else(|| sshd.fix(setting, &fix)),
            ));
        }
    }
    let hides = "the setting (InaccessiblePaths=, TemporaryFileSystem=, BindPaths= and the like) from sshd's unit: systemctl cat ssh sshd; \
                 then restart sshd";
    let hidden = hidden_from_sshd(sshd, shell);
    if let Some((path, Seen::Another)) = hidden {
        return Some(Answer::warn(
            format!(
                "sshd sees another {path} than the checks of this report: its unit puts that in its place"
            ),
            sshd.fix(HIDING, &format!("if that is not intended, remove {hides}")),
            (),
        ));
    }
    if let Some((path, Seen::Nothing)) = hidden {
        let what = if path == TERMINALS { "session on a terminal" } else { "login" };
        return Some(Answer::fail(
            format!("sshd cannot use {path}: its unit hides it from sshd, and no {what} works without it"),
            sshd.fix(HIDING, &format!("remove {hides}")),
        ));
    }
    if let Some(stack) = limit("Max stack size", "LimitSTACK").filter(|stack| *stack < LEAST_STACK) {
        return Some(Answer::warn(
            format!(
                "sshd is limited to {stack} bytes of stack: a session on a terminal can end as soon as it begins"
            ),
            sshd.fix(
                "LimitSTACK",
                &format!("remove LimitSTACK= from sshd's unit and its drop-ins{starts}; then restart sshd"),
            ),
            (),
        ));
    }
    if pam && sshd.running.process.is_some_and(|process| has_read_only_proc(root, process)) {
        return Some(Answer::fail(
            "/proc is read-only for sshd: PAM opens no session (pam_loginuid cannot write /proc/self/loginuid)",
            Fix::advice(READ_ONLY_PROC),
        ));
    }
    None
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
    let limits = (sshd.pam && has_pam_limits(root)).then_some("/etc/security/limits.conf");
    let files = ["/etc/passwd", ADMIN_CONFIG].iter().chain(of_pam).chain(&[TERMINALS]).copied().chain(limits);
    // login.command runs it where a running sshd does.
    let files = files.chain((!runs).then_some(INSTALLED_PROGRAM));
    files.chain(shell.filter(|shell| shell.starts_with('/'))).find_map(seen)
}

fn has_pam_limits(root: &Path) -> bool {
    pam_config::modules(root, ModuleType::Session).iter().any(|module| module.starts_with("pam_limits.so"))
}

/// Limits of a process, their settings of systemd, and how many a login with a pushed key needs with any sshd: with one process fewer
/// (OpenSSH 9.2), or one file fewer, which eic-keys needs, it fails. sshd needs up to 16 files (8.4 with PAM) or 17 (10.0).
const NEEDED: [(&str, &str, u64); 2] =
    [("Max open files", "LimitNOFILE", 13), ("Max processes", "LimitNPROC", 4)];

/// What the kernel allows for the arguments of a program with any limit (execve(2)).
const LEAST_STACK: u64 = 128 * 1024;

/// Settings of sshd's unit that block the metadata service, or a system call or file that eic-keys needs.
fn unit(sshd: &ConfinedSshd<'_>) -> Answer<()> {
    let ConfinedSshd { root, properties: shown, pam, .. } = *sshd;
    let confines = |line: &&str| match line.split_once('=') {
        Some(("IPAddressDeny", value)) => !value.is_empty(),
        Some(("PrivateNetwork", value)) => value == "yes",
        Some(("RestrictAddressFamilies", value)) => excludes(value, "AF_INET"),
        _ => false,
    };
    let hidden = shown.lines().find_map(|line| {
        let (setting, list) = line.split_once('=')?;
        matches!(setting, "InaccessiblePaths" | "TemporaryFileSystem").then_some(())?;
        Some((setting, hidden_path(root, list)?))
    });
    if let Some((setting, (path, read))) = hidden {
        let note =
            format!("sshd's unit hides {path} from its processes ({setting}=), and eic-keys needs {read}");
        let fix = format!("remove {path} from {setting}= with systemctl edit, then restart sshd");
        let fix = sshd.fix(setting, &fix);
        return if sshd.lacks_store() { Answer::fail(note, fix) } else { Answer::warn(note, fix, ()) };
    }
    // What the running sshd has, because the unit may have been changed since it was started.
    let (filtered, isolated) = sshd.confined();
    if isolated && shown.lines().any(|line| line == "PrivateNetwork=yes") {
        // systemd gives a waiting one its clients.
        let clients = if sshd.running.process.is_some() { "clients and " } else { "" };
        return Answer::fail(
            format!("sshd's unit has PrivateNetwork=yes: {clients}the metadata service cannot be reached"),
            sshd.fix("PrivateNetwork", "remove PrivateNetwork= with systemctl edit, then restart sshd"),
        );
    }
    let filters = || shown.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let lacks = |call: &&&str| filters().any(|list| excludes(list, call));
    let of_session: &[&str] = if pam && has_pam_limits(root) { &LIMITS_CALLS } else { &[] };
    let calls: Vec<_> = SSHD_CALLS.iter().chain(of_session).filter(lacks).copied().collect();
    if filtered && !calls.is_empty() {
        let calls = calls.join(" ");
        return Answer::fail(
            format!(
                "sshd's unit refuses system calls that each login needs: SystemCallFilter= lacks {calls}"
            ),
            sshd.fix("SystemCallFilter",
                &format!(
                    "allow them with systemctl edit, with the lines [Service] and SystemCallFilter={calls}; then restart sshd"
                ),
            ),
        );
    }
    if let Some(line) = shown.lines().find(confines) {
        if filtered && line.starts_with("RestrictAddressFamilies") && !has_ipv6(root) {
            return Answer::fail(
                format!("sshd's unit keeps eic-keys from the metadata service: {line} lacks AF_INET"),
                sshd.fix("RestrictAddressFamilies",
                    "add AF_INET to RestrictAddressFamilies= (systemctl cat ssh sshd shows the file), or remove the line, then: \
                     systemctl daemon-reload, and restart sshd",
                ),
            );
        }
        return Answer::warn(
            format!("sshd's unit restricts its processes: {line}"),
            Fix::advice("allow 169.254.169.254 port 80 with systemctl edit, then restart sshd"),
            (),
        );
    }
    // One paragraph per unit.
    let refused = shown.split("\n\n").find_map(|unit| {
        let property = |name: &str| property(unit, name);
        let calls = refused_calls(property("SystemCallFilter")?);
        // 0, or a number above the largest errno, means that the process is killed.
        let errno = property("SystemCallErrorNumber").and_then(|number| number.parse().ok()).unwrap_or(0);
        let name = property("Id").unwrap_or("sshd's unit");
        (!calls.is_empty()).then(|| (name, calls.join(" "), (1..4096).contains(&errno)))
    });
    match refused {
        None => Answer::ok("sshd's unit denies nothing that eic-keys needs", ()),
        Some((unit, calls, returns_errno)) => {
            let what = if returns_errno { "are refused" } else { "kill eic-keys before it prints a key" };
            let note = format!("system calls of eic-keys {what}: SystemCallFilter= of {unit} lacks {calls}");
            let fix = format!(
                "allow them: systemctl edit {unit}, with the lines [Service] and SystemCallFilter={calls}; then restart sshd"
            );
            if filtered && !returns_errno {
                return Answer::fail(note, Fix::advice(fix));
            }
            Answer::warn(note, Fix::advice(fix), ())
        }
    }
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
    let unit = with_daemon(&tree, |daemon| daemon.has_systemd().then(|| unit_name(daemon)))?;
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

/// Whether a process has a filter of system calls that PID 1 does not have, and whether it has another network than this
/// process.
fn confined(root: &Path, process: u32) -> (bool, bool) {
    // Linux has the number of filters since 5.9. In a container, PID 1 has some, too.
    let filters = |process: &str| {
        let number = status(root, process, "Seccomp_filters").and_then(|number| number.parse::<u32>().ok());
        number.unwrap_or_else(|| u32::from(status(root, process, "Seccomp").is_some_and(|mode| mode == "2")))
    };
    let isolated = is_in_other_namespace(root, process, "net");
    (filters(&process.to_string()) > filters("1"), isolated)
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
