//! Checks what restricts eic-keys: its own sandbox and, as a child of sshd, SELinux, AppArmor and the settings of
//! sshd's unit.

use std::path::Path;

use super::sshd_unit::{ConfinedSshd, shown};
use crate::account::{Account, is_root};
use crate::calendar::DAY;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::log_tail;
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::running_sshd::SshdState;
use crate::check::settings::Settings;
use crate::files;
use crate::limits;
use crate::sandbox::{Allowed, enter_thread};
use crate::tool::stdout_of;

const AUDIT_LOG: &str = "var/log/audit/audit.log";

/// Runs the checks of this group.
pub(crate) async fn confinement(
    runner: &Runner,
    target: &CheckTarget<'_>,
    settings: &Finding<Settings>,
    account: &Finding<Account>,
    running: &Finding<SshdState>,
) {
    let root = || target.root.to_owned();
    let layers = runner.check_in_thread(CheckId::ConfinementLayers, (), |()| layers);
    let selinux = runner.check_in_thread(CheckId::ConfinementSelinux, (), |()| {
        let root = root();
        move || selinux(&root)
    });
    let denials = runner.check_in_thread(CheckId::ConfinementDenials, (), |()| {
        let (root, now) = (root(), (target.clock)().as_secs());
        move || denials(&root, now)
    });
    let apparmor = runner.check_in_thread(CheckId::ConfinementApparmor, running, |running| {
        let (root, running) = (root(), *running);
        move || apparmor(&root, running)
    });
    let unit = runner.check_in_thread(CheckId::ConfinementUnit, running, |running| {
        let (root, running) = (root(), *running);
        let pam = settings.get().is_some_and(|settings| settings.is("usepam", "yes"));
        let shell = account.get().and_then(|account| Some(account.shell.to_str()?.to_owned()));
        let line = settings.get().and_then(|settings| settings.dump.command.clone()).unwrap_or_default();
        let has_default_store = !String::from_utf8_lossy(&line).contains("--trust-store");
        move || {
            let shown = shown(&root, running);
            let properties = shown.as_ref().map_or("", |shown| shown.as_deref().unwrap_or_default());
            let sshd = ConfinedSshd { root: &root, running, properties, pam, has_default_store };
            let is_known = running.process.is_some() || running.waiting.is_some();
            match is_known.then(|| sshd.lacks_for_login(shell.as_deref())).flatten() {
                Some(answer) => answer,
                None => match &shown {
                    None => Answer::ok("systemd does not run on this system", ()),
                    Some(Err(error)) => Answer::skip(error.to_string()),
                    Some(Ok(_)) => sshd.unit(),
                },
            }
        }
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

fn apparmor(root: &Path, running: SshdState) -> Answer<()> {
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
