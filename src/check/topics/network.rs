//! Checks what this system does with connections to sshd before sshd sees them.

use std::path::Path;

use super::running::Running;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::packet_filter::{Filter, Restriction};
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::settings::Settings;
use crate::check::sshd_program;
use crate::files;
use crate::limits;
use crate::tool::{ask, is_root, stdout_of};

/// Runs the checks of this group.
pub(crate) async fn network(
    runner: &Runner,
    target: &Target<'_>,
    settings: &Finding<Settings>,
    running: &Finding<Running>,
) {
    let ports: Vec<u16> = settings
        .get()
        .map(|settings| settings.all("port").filter_map(|port| port.parse().ok()).collect())
        .unwrap_or_default();
    let port =
        if ports.is_empty() || ports.contains(&22) { 22 } else { ports.first().copied().unwrap_or(22) };
    let firewall =
        runner.check(CheckId::NetworkFirewall, (), async |()| blocking(move || firewall(port)).await);
    let bans = runner.check(CheckId::NetworkFail2ban, (), async |()| blocking(fail2ban).await);
    let wrappers = runner.check(CheckId::NetworkWrappers, running, async |_| {
        let root = target.root.to_owned();
        blocking(move || wrappers(&root)).await
    });
    tokio::join!(firewall, bans, wrappers);
}

fn firewall(port: u16) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can read the rules of the firewall");
    }
    let nft = stdout_of("nft", &["--json", "list", "ruleset"]);
    let iptables = stdout_of("iptables-save", &["-t", "filter"]);
    let filters: Vec<Filter> = [
        nft.as_deref().and_then(|text| Filter::of_nftables(text, port)),
        iptables.as_deref().map(|text| Filter::of_iptables(text, port)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let Some(rule) = filters.iter().find_map(Filter::drops) else {
        return match filters.iter().find_map(Filter::restriction) {
            Some(restriction) => restricted(port, &restriction),
            None if filters.is_empty() => Answer::ok("no rules of nftables or iptables were found", ()),
            None => Answer::ok(format!("the firewall does not drop all connections to port {port}"), ()),
        };
    };
    let rules = [nft.unwrap_or_default(), iptables.unwrap_or_default()].concat();
    let fix = if rules.contains("ufw-") {
        format!("allow it: ufw allow {port}/tcp")
    } else if rules.contains("firewalld") {
        format!("allow it: firewall-cmd --permanent --add-port={port}/tcp, then firewall-cmd --reload")
    } else {
        format!(
            "accept TCP port {port} before that rule: nft list ruleset, or iptables-save, shows the rules"
        )
    };
    Answer::fail(format!("the firewall drops each connection to port {port}: {rule}"), Fix::advice(fix))
}

/// The answer if the firewall accepts the connections of some clients.
fn restricted(port: u16, restriction: &Restriction) -> Answer<()> {
    let accepted = match restriction.accepted.as_slice() {
        [] => "some addresses".to_owned(),
        accepted => accepted.join("; "),
    };
    Answer::warn(
        format!(
            "the firewall accepts connections to port {port} only from {accepted}; those of others are dropped by {}",
            restriction.rule
        ),
        Fix::advice(
            "connect from one of these addresses, or accept the client's address too: nft list ruleset, or \
             iptables-save, shows the rules",
        ),
        (),
    )
}

/// The addresses that fail2ban's jail for sshd blocks. Only its own client knows them: its rules can be of any kind.
fn fail2ban() -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can ask fail2ban");
    }
    let asked = ask("fail2ban-client", &["status", "sshd"]).ok().filter(|asked| asked.status.success());
    let Some(asked) = asked else { return Answer::ok("fail2ban does not guard sshd", ()) };
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let after = |name: &str| Some(text.split_once(name)?.1.lines().next()?.trim().to_owned());
    let banned = after("Currently banned:").and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
    if banned == 0 {
        return Answer::ok("fail2ban blocks no address from sshd", ());
    }
    Answer::warn(
        format!("fail2ban blocks {banned} addresses from sshd: a client with one of them cannot connect"),
        Fix::advice("if the client is one of them: fail2ban-client set sshd unbanip ADDRESS"),
        (),
    )
    .detail(after("Banned IP list:").unwrap_or_default().split_whitespace().map(str::to_owned))
}

/// Checks `hosts_access(5)`.
fn wrappers(root: &Path) -> Answer<()> {
    let read = |file: &str| files::read_text(&root.join(file), limits::SYSTEM_FILE).unwrap_or_default();
    let (denied, allowed) = (clients(&read("etc/hosts.deny")), clients(&read("etc/hosts.allow")));
    if denied.is_empty() {
        return Answer::ok("/etc/hosts.deny does not name sshd", ());
    }
    if !sshd_program::has_libwrap(root) {
        return Answer::ok("sshd does not read /etc/hosts.deny: it is not linked with libwrap", ());
    }
    let all = |lists: &[String]| lists.iter().any(|list| list.trim().eq_ignore_ascii_case("all"));
    if all(&allowed) {
        return Answer::ok("/etc/hosts.allow allows all clients for sshd", ());
    }
    let fix = Fix::advice("add the clients to /etc/hosts.allow, as in \"sshd: 192.0.2.\", or \"sshd: ALL\"");
    match (all(&denied), allowed.first()) {
        (true, None) => Answer::fail("/etc/hosts.deny refuses all clients for sshd", fix),
        (true, Some(list)) => {
            Answer::warn(format!("/etc/hosts.deny refuses all clients for sshd, except: {list}"), fix, ())
        }
        (false, _) => {
            Answer::warn(format!("/etc/hosts.deny refuses clients for sshd: {}", denied.join("; ")), fix, ())
        }
    }
}

/// The client lists of the lines for sshd.
fn clients(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let lists = lines.filter_map(|line| {
        let (daemons, rest) = line.split_once(':')?;
        let mut daemons = daemons.split([',', ' ', '\t']);
        let clients = rest.split(':').next().unwrap_or_default().trim();
        daemons.any(|daemon| matches!(daemon, "sshd" | "sshd-session" | "ALL")).then(|| clients.to_owned())
    });
    lists.collect()
}

#[cfg(test)]
mod tests {
    use super::clients;

    #[test]
    fn lines_for_sshd() {
        for (text, expected) in [
            ("sshd: ALL\n", &["ALL"][..]),
            ("# sshd: ALL\nALL : 192.0.2. \\\n  198.51.100.7 : spawn x\n", &["192.0.2.    198.51.100.7"]),
            ("in.ftpd, sshd: ALL\nvsftpd: ALL\n", &["ALL"]),
            ("sshdx: ALL\n", &[]),
        ] {
            assert_eq!(clients(text), expected, "{text}");
        }
    }
}
