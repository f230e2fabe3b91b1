//! Checks what this system does with connections to sshd before sshd sees them.

use super::fail2ban::fail2ban;
use super::firewall::firewall;
use super::hosts_access::wrappers;
use crate::check::check_id::CheckId;
use crate::check::request::CheckTarget;
use crate::check::runner::{Finding, Runner};
use crate::check::running_sshd::SshdState;
use crate::check::settings::Settings;

/// Runs the checks of this group.
pub(crate) async fn network(
    runner: &Runner,
    target: &CheckTarget<'_>,
    settings: &Finding<Settings>,
    running: &Finding<SshdState>,
) {
    let ports: Vec<u16> = settings
        .get()
        .map(|settings| settings.all("port").filter_map(|port| port.parse().ok()).collect())
        .unwrap_or_default();
    let port =
        if ports.is_empty() || ports.contains(&22) { 22 } else { ports.first().copied().unwrap_or(22) };
    let firewall = runner.check_in_thread(CheckId::NetworkFirewall, (), |()| {
        let root = target.root.to_owned();
        move || firewall(&root, port)
    });
    let bans = runner.check_in_thread(CheckId::NetworkFail2ban, (), |()| {
        let root = target.root.to_owned();
        move || fail2ban(&root, port)
    });
    let wrappers = runner.check_in_thread(CheckId::NetworkWrappers, running, |_| {
        let root = target.root.to_owned();
        move || wrappers(&root)
    });
    tokio::join!(firewall, bans, wrappers);
}
