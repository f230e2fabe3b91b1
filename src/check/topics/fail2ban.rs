//! Checks which addresses fail2ban or sshguard blocks, and which rules and routes one of them left behind.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::path::Path;

use super::firewall;
use crate::account::is_root;
use crate::check::fix::Fix;
use crate::check::packet_filter;
use crate::check::runner::Answer;
use crate::tool::{ask, named};

/// The output of a program that succeeded. `None` if it fails or is not installed.
fn printed(program: &'static str, arguments: &[&str]) -> io::Result<Option<String>> {
    match ask(program, arguments) {
        Ok(ran) => Ok(ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(program, &error)),
    }
}

/// Addresses that rules or routes block although fail2ban does not answer for them.
struct LeftBehind {
    addresses: Vec<String>,
    /// What blocks them.
    what: &'static str,
    /// How to remove one.
    remove: &'static str,
}

/// The first of them. The first tool that does not answer ends the search, because each takes its time limit.
fn left_behind() -> io::Result<Option<LeftBehind>> {
    type Source = (fn(&str) -> Vec<String>, &'static str, &'static [&'static str]);
    let listed = "fail2ban-client set sshd unbanip ADDRESS or, if fail2ban does not run, the command that is listed with it";
    let sources: [(Source, _, _); 5] = [
        (
            (addresses_of_sets, "nft", &["--json", "list", "table", "inet", "f2b-table"]),
            "rules of fail2ban block",
            "fail2ban-client set sshd unbanip ADDRESS or, if fail2ban does not run, nft delete element inet f2b-table addr-set-sshd { ADDRESS }",
        ),
        (
            (addresses_of_sets, "nft", &["--json", "list", "table", "ip", "sshguard"]),
            "sshguard blocks",
            "nft delete element ip sshguard attackers { ADDRESS }",
        ),
        (
            (decisions_of_crowdsec, "nft", &["--json", "list", "table", "ip", "crowdsec"]),
            "CrowdSec blocks",
            "cscli decisions delete --ip ADDRESS",
        ),
        ((rules_of_jail, "iptables-save", &[]), "rules of fail2ban or sshguard block", listed),
        ((routes_to_nowhere, "ip", &["-4", "route", "show"]), "routes to nowhere block", listed),
    ];
    for ((read, tool, arguments), what, remove) in sources {
        let addresses = printed(tool, arguments)?.as_deref().map(read).unwrap_or_default();
        if !addresses.is_empty() {
            return Ok(Some(LeftBehind { addresses, what, remove }));
        }
    }
    Ok(None)
}

/// The addresses of clients that fail2ban keeps from sshd: those of the jail for sshd, of which only its own client knows them, because its rules
/// can be of any kind, and those of other jails whose rules are for sshd's port, too, as those for all ports.
pub(super) fn fail2ban(root: &Path, port: u16) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can ask fail2ban");
    }
    let jails = match jails(root, port) {
        Ok(jails) => jails,
        Err(error) => return Answer::skip(error.to_string()),
    };
    let mut banned: Vec<String> = Vec::new();
    for jail in &jails {
        match printed("fail2ban-client", &["status", jail]) {
            Ok(text) => add_banned(&mut banned, jail, &text.unwrap_or_default()),
            Err(error) => return Answer::skip(error.to_string()),
        }
    }
    if banned.is_empty() && !jails.iter().any(|jail| is_of_sshd(jail)) {
        return match left_behind() {
            Ok(Some(LeftBehind { addresses, what, remove })) => {
                let fix = Fix::advice(format!("if the client is one of them: {remove}"));
                Answer::warn(blocked(what, &addresses), fix, ()).detail(addresses)
            }
            Ok(None) => Answer::ok("fail2ban does not guard sshd", ()),
            Err(error) => Answer::skip(error.to_string()),
        };
    }
    if banned.is_empty() {
        return Answer::ok("fail2ban blocks no client of sshd", ());
    }
    Answer::warn(
        blocked("fail2ban blocks", &banned),
        Fix::advice("if the client is one of them: fail2ban-client unban ADDRESS"),
        (),
    )
    .detail(banned)
}

/// Whether a jail is for sshd, by its name.
fn is_of_sshd(jail: &str) -> bool {
    jail.contains("ssh")
}

/// The jails of fail2ban that block connections to sshd. None if it does not run.
fn jails(root: &Path, port: u16) -> io::Result<Vec<String>> {
    let Some(text) = printed("fail2ban-client", &["status"])? else { return Ok(Vec::new()) };
    let mut jails: Vec<_> =
        after(&text, "Jail list:").split(',').map(|jail| jail.trim().to_owned()).collect();
    if !jails.iter().all(|jail| is_of_sshd(jail)) {
        let of_port = firewall::jails(root, port);
        jails.retain(|jail| is_of_sshd(jail) || of_port.contains(jail));
    }
    Ok(jails)
}

/// Adds the addresses that are in the status of a jail and not yet in the list, with its name, if that is not fail2ban's own for sshd.
fn add_banned(banned: &mut Vec<String>, jail: &str, status: &str) {
    for address in after(status, "Banned IP list:").split_whitespace() {
        if !banned.iter().any(|other| address_of(other) == address) {
            banned.push(if jail == "sshd" { address.to_owned() } else { format!("{address}: jail {jail}") });
        }
    }
}

/// The rest of the line in which a name is.
fn after<'a>(text: &'a str, name: &str) -> &'a str {
    text.split_once(name).and_then(|(_, rest)| rest.lines().next()).unwrap_or_default().trim()
}

/// The address with which an item of a list begins. One of IPv6 has no colon before a blank.
fn address_of(item: &str) -> &str {
    item.split(": ").next().unwrap_or_default()
}

/// A note about blocked addresses, each of which begins an item of the list.
fn blocked(what: &str, list: &[String]) -> String {
    /// Addresses to name.
    const SHOWN: usize = 3;
    let shown = list.iter().take(SHOWN).map(|item| address_of(item)).collect::<Vec<_>>().join(", ");
    let more = if list.len() > SHOWN { ", ..." } else { "" };
    match list.len() {
        1 => format!("{what} the address {shown}: a client with it cannot connect to sshd"),
        count => format!(
            "{what} {count} addresses ({shown}{more}): a client with one of them cannot connect to sshd"
        ),
    }
}

/// The elements of the sets of fail2ban for sshd, or of sshguard, in the output of `nft --json`.
fn addresses_of_sets(text: &str) -> Vec<String> {
    elements(text, &|name| name.starts_with("addr") && name.contains("ssh") || name == "attackers")
}

/// Those of the set of `CrowdSec` for what this system itself decided. Its other sets have the lists of a community.
fn decisions_of_crowdsec(text: &str) -> Vec<String> {
    let origins = ["crowdsec-blacklists-cscli", "crowdsec-blacklists-crowdsec"];
    elements(text, &|name| origins.contains(&name))
}

/// The elements of the sets with such a name.
fn elements(text: &str, is_it: &dyn Fn(&str) -> bool) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let items = document.get("nftables").and_then(serde_json::Value::as_array).into_iter().flatten();
    let sets = items.filter_map(|item| item.get("set"));
    let found =
        sets.filter(|set| is_it(set.get("name").and_then(serde_json::Value::as_str).unwrap_or_default()));
    let elements = found.filter_map(|set| set.get("elem")?.as_array()).flatten();
    elements
        .map(|element| packet_filter::nft_address(element).unwrap_or_else(|| element.to_string()))
        .collect()
}

/// The rules of the chain of fail2ban for sshd, or of sshguard, in the output of iptables-save: the address, and the command that removes the rule.
fn rules_of_jail(text: &str) -> Vec<String> {
    let rules = text.lines().filter_map(|line| {
        let of_sshd = |rule: &&str| rule.starts_with("f2b-ssh") || rule.starts_with("sshguard ");
        let rule = line.strip_prefix("-A ").filter(of_sshd)?;
        let (address, _) = rule.split_once(" -s ")?.1.split_once(' ')?;
        Some(format!("{}: iptables -D {rule}", address.trim_end_matches("/32")))
    });
    rules.collect()
}

/// The routes that drop the replies to an address, as fail2ban can set them: the address, and the command that removes the route.
/// No client has a link-local address, as the metadata service has.
fn routes_to_nowhere(text: &str) -> Vec<String> {
    let routes = text.lines().filter_map(|line| {
        let (kind, rest) = line.trim().split_once(' ')?;
        let address: Ipv4Addr = rest.split(' ').next()?.parse().ok()?;
        (matches!(kind, "blackhole" | "unreachable" | "prohibit") && !address.is_link_local())
            .then(|| format!("{address}: ip route delete {kind} {address}"))
    });
    routes.collect()
}
