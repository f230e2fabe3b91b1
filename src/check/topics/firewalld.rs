//! What firewalld says of connections to sshd. It makes rules of nftables without nft, so that no other program may list them.

use std::path::Path;

use crate::check::fault::Fault;
use crate::check::fix::Fix;
use crate::files;
use crate::limits;
use crate::tool::stdout_of;

/// The zone that refuses connections to a port of each of these interfaces. `None` if there is none, or it is not certain.
pub(super) fn refusal(root: &Path, port: u16, interfaces: &[String]) -> Option<Fault> {
    let settings = files::system_text(root, "/etc/firewalld/firewalld.conf");
    if settings.lines().any(|line| line.trim() == "FirewallBackend=iptables") {
        return None;
    }
    let (active, policies) = (ask("--get-active-zones")?, ask("--get-active-policies")?);
    let (active, policies) = (items(&active), items(&policies));
    // Zones of addresses, and policies for this system, can accept what a zone of an interface refuses.
    let is_own = |item: &Item<'_>| item.of == "allow-host-ipv6" || item.key != "egress-zones";
    if active.iter().any(|item| item.key == "sources" && !item.value.is_empty())
        || policies.iter().any(|item| !is_own(item) && item.value.contains("HOST"))
    {
        return None;
    }
    if stdout_of("firewall-cmd", &["--direct", "--get-all-rules"]).ok()?.contains("ACCEPT") {
        return None;
    }
    let mut found = None;
    for interface in interfaces {
        let has_it = |item: &&Item<'_>| {
            item.key == "interfaces" && item.value.split_whitespace().any(|name| name == interface)
        };
        let zone = match active.iter().find(has_it) {
            Some(item) => item.of.to_owned(),
            None => ask("--get-default-zone")?.trim().to_owned(),
        };
        if found.as_ref().is_some_and(|(_, other)| *other == zone) {
            continue;
        }
        if !refuses(&zone, port)? {
            return None;
        }
        found.get_or_insert((interface, zone));
    }
    let (interface, zone) = found?;
    let note = format!(
        "firewalld refuses connections to port {port} on {interface}: no service, port or rich rule of its zone {zone} accepts them from everywhere"
    );
    let fix = format!(
        "allow it: firewall-cmd --permanent --zone={zone} --add-port={port}/tcp, then firewall-cmd --reload"
    );
    Some(Fault::new(note, Fix::advice(fix)))
}

fn ask(option: &str) -> Option<String> {
    stdout_of("firewall-cmd", &[option]).ok()
}

/// A line `KEY: VALUE` of firewall-cmd.
struct Item<'a> {
    /// The zone, policy or service that it is about.
    of: &'a str,
    key: &'a str,
    value: &'a str,
}

fn items(text: &str) -> Vec<Item<'_>> {
    let (mut found, mut of) = (Vec::new(), "");
    for line in text.lines() {
        if !line.starts_with([' ', '\t']) {
            of = line.split_whitespace().next().unwrap_or_default();
        } else if let Some((key, value)) = line.split_once(':') {
            found.push(Item { of, key: key.trim(), value: value.trim() });
        }
    }
    found
}

/// Whether a zone refuses connections to a port. `None` if that is not known.
fn refuses(zone: &str, port: u16) -> Option<bool> {
    let zone = stdout_of("firewall-cmd", &[&format!("--zone={zone}"), "--list-all"]).ok()?;
    let (services, is_refused) = refuses_without_services(&zone, port)?;
    if !is_refused || services.len() > limits::CHECK_DETAILS {
        return Some(false);
    }
    for service in services {
        let ports = ask(&format!("--info-service={service}"))?;
        let accepts = |item: &Item<'_>| match item.key {
            "ports" => includes(item.value, port),
            "includes" | "protocols" | "source-ports" => !item.value.is_empty(),
            _ => false,
        };
        if items(&ports).iter().any(accepts) {
            return Some(false);
        }
    }
    Some(true)
}

/// The services of a zone, and whether it refuses a port unless one of them is for it.
fn refuses_without_services(zone: &str, port: u16) -> Option<(Vec<&str>, bool)> {
    let items = items(zone);
    let of = |key| items.iter().find(|item| item.key == key).map(|item| item.value);
    let is_default = ["default", "DROP", "%%REJECT%%", "REJECT"].contains(&of("target")?);
    let is_empty = ["sources", "protocols", "source-ports", "forward-ports"]
        .iter()
        .all(|name| of(name).is_none_or(str::is_empty));
    let (_, rich) = zone.split_once("rich rules:")?;
    // One without an address is for all clients.
    let is_for_all = |rule: &str| rule.contains("accept") && !rule.contains(" source address=\"");
    let is_refused = is_default
        && is_empty
        && !zone.contains("toport=")
        && !includes(of("ports")?, port)
        && !rich.lines().any(|rule| is_for_all(rule) || rule.contains("/0\""));
    Some((of("services")?.split_whitespace().collect(), is_refused))
}

/// Whether a list as `22/tcp 8000-8100/tcp` has this port.
fn includes(ports: &str, port: u16) -> bool {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
    };
    let mut ports = ports.split_whitespace().filter_map(|item| item.strip_suffix("/tcp"));
    ports.any(|item| range(item).is_none_or(|range| range.contains(&port)))
}
