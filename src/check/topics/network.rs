//! Checks what this system does with connections to sshd before sshd sees them.

use super::fail2ban::fail2ban;
use super::firewall::firewall;
use super::hosts_access::wrappers;
use crate::check::check_id::CheckId;
use crate::check::request::CheckTarget;
use crate::check::runner::{Finding, Runner, blocking};
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
    let firewall = runner.check(CheckId::NetworkFirewall, (), async |()| {
        let root = target.root.to_owned();
        blocking(move || firewall(&root, port)).await
    });
    let bans = runner.check(CheckId::NetworkFail2ban, (), async |()| {
        let root = target.root.to_owned();
        blocking(move || fail2ban(&root, port)).await
    });
    let wrappers = runner.check(CheckId::NetworkWrappers, running, async |_| {
        let root = target.root.to_owned();
        blocking(move || wrappers(&root)).await
    });
    tokio::join!(firewall, bans, wrappers);
}
