//! Checks what restricts eic-keys: its own sandbox and, as a child of sshd, SELinux, AppArmor and the settings of
//! sshd's unit.

use std::collections::BTreeSet;
use std::path::Path;

use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::log;
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::serving::Running;
use crate::files;
use crate::limits;
use crate::sandbox::{Allowed, calls_allowed, calls_before, enter_thread};
use crate::sshd::daemon::SERVICES;
use crate::tool::{is_root, stdout_of};

const AUDIT_LOG: &str = "var/log/audit/audit.log";

/// Runs the checks of this group.
pub(crate) async fn confinement(runner: &Runner, target: &Target<'_>, running: &Finding<Running>) {
    let root = || target.root.to_owned();
    let layers = runner.check(CheckId::ConfinementLayers, (), async |()| blocking(layers).await);
    let selinux = runner.check(CheckId::ConfinementSelinux, (), async |()| {
        let root = root();
        blocking(move || selinux(&root)).await
    });
    let denials = runner.check(CheckId::ConfinementDenials, (), async |()| {
        let root = root();
        blocking(move || denials(&root)).await
    });
    let apparmor = runner.check(CheckId::ConfinementApparmor, running, async |running| {
        let (root, running) = (root(), *running);
        blocking(move || apparmor(&root, running)).await
    });
    let unit = runner.check(CheckId::ConfinementUnit, running, async |_| {
        let root = root();
        blocking(move || unit(&root)).await
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
            let modules = stdout_of("semodule", &["--list-modules"]).unwrap_or_default();
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

fn denials(root: &Path) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can read the audit log");
    }
    let Ok(text) = log::tail(&root.join(AUDIT_LOG)) else { return Answer::ok("there is no audit log", ()) };
    let of_eic_keys = |line: &&str| line.contains("denied") && line.contains("comm=\"eic-keys\"");
    let denied: Vec<_> = text.lines().filter(of_eic_keys).map(str::to_owned).collect();
    match denied.as_slice() {
        [] => Answer::ok("the audit log has no denial of eic-keys", ()),
        [.., last] => Answer::warn(
            format!("the audit log has {} denials of eic-keys, the last: {last}", denied.len()),
            Fix::advice("find out the reason: ausearch --comm eic-keys --message avc | audit2why"),
            (),
        ),
    }
}

fn apparmor(root: &Path, running: Running) -> Answer<()> {
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

/// Settings of sshd's unit that block the metadata service, or a system call or file that eic-keys needs.
fn unit(root: &Path) -> Answer<()> {
    if !root.join("run/systemd/system").is_dir() {
        return Answer::ok("systemd does not run on this system", ());
    }
    let properties = "--property=Id,IPAddressDeny,PrivateNetwork,RestrictAddressFamilies,SystemCallFilter,SystemCallErrorNumber,InaccessiblePaths,TemporaryFileSystem";
    let Some(shown) = stdout_of("systemctl", &["show", properties, SERVICES[0], SERVICES[1]]) else {
        return Answer::skip("systemctl does not show the unit");
    };
    let confines = |line: &&str| match line.split_once('=') {
        Some(("IPAddressDeny", value)) => !value.is_empty(),
        Some(("PrivateNetwork", value)) => value == "yes",
        Some(("RestrictAddressFamilies", value)) => shuts_out(value, "AF_INET"),
        _ => false,
    };
    let hidden = shown.lines().find_map(|line| {
        let (setting, list) = line.split_once('=')?;
        matches!(setting, "InaccessiblePaths" | "TemporaryFileSystem").then_some(())?;
        Some((setting, hides(list)?))
    });
    if let Some((setting, (path, read))) = hidden {
        return Answer::warn(
            format!("sshd's unit hides {path} from its processes ({setting}=), and eic-keys needs {read}"),
            Fix::advice(format!("remove {path} from {setting}= with systemctl edit, then restart sshd")),
            (),
        );
    }
    if let Some(line) = shown.lines().find(confines) {
        return Answer::warn(
            format!("sshd's unit restricts its processes: {line}"),
            Fix::advice("allow 169.254.169.254 port 80 with systemctl edit, then restart sshd"),
            (),
        );
    }
    // One paragraph per unit.
    let refused = shown.split("\n\n").find_map(|unit| {
        let property = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let calls = refused_calls(property("SystemCallFilter")?);
        // 0, or a number above the largest errno, means that the process is killed.
        let errno = property("SystemCallErrorNumber").and_then(|number| number.parse().ok()).unwrap_or(0);
        let name = property("Id").unwrap_or("sshd's unit");
        (!calls.is_empty()).then(|| (name, calls.join(" "), (1..4096).contains(&errno)))
    });
    match refused {
        None => Answer::ok("sshd's unit denies nothing that eic-keys needs", ()),
        Some((unit, calls, goes_on)) => {
            let what = if goes_on { "are refused" } else { "kill eic-keys before it prints a key" };
            let note = format!("system calls of eic-keys {what}: SystemCallFilter= of {unit} lacks {calls}");
            let fix = format!(
                "allow them: systemctl edit {unit}, with the lines [Service] and SystemCallFilter={calls}; then restart sshd"
            );
            Answer::warn(note, Fix::advice(fix), ())
        }
    }
}

/// The system calls that eic-keys needs and a `SystemCallFilter=` list does not allow.
fn refused_calls(list: &str) -> Vec<&'static str> {
    let calls: BTreeSet<_> = calls_before().iter().copied().chain(calls_allowed()).collect();
    calls.into_iter().filter(|call| shuts_out(list, call)).collect()
}

/// The first path of a systemd.exec(5) list that hides a path that eic-keys needs, and that path.
fn hides(list: &str) -> Option<(&str, &'static str)> {
    list.split_whitespace().find_map(|entry| {
        let path = entry.trim_start_matches(['-', '+']).split(':').next()?;
        let read =
            READ.into_iter().find(|read| path.starts_with('/') && Path::new(read).starts_with(path))?;
        Some((path, read))
    })
}

/// The paths that eic-keys reads: the signs of an EC2 instance, the trust store, and its own binary.
const READ: [&str; 4] = [
    "/sys/devices/virtual/dmi/id/board_asset_tag",
    "/sys/hypervisor/uuid",
    "/etc/ssl/certs/ca-certificates.crt",
    "/usr/bin/eic-keys",
];

/// Whether a systemd.exec(5) list excludes `needed`. The list names what is allowed or, with `~`, what is denied.
///
/// systemctl shows groups as their members. A name can have a suffix with the action, such as `:EPERM`.
fn shuts_out(list: &str, needed: &str) -> bool {
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
