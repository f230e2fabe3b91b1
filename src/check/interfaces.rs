//! The network interfaces over which clients come.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::files;
use crate::limits;
use crate::lists;
use crate::tool::{ask, stdout_of};

/// The interfaces with an IPv4 route: those of devices or, if there are none, those with a default route, or all. So the
/// networks of containers, virtual machines and tunnels are left out, where no client connects to port 22.
pub(crate) fn with_outside_route(root: &Path) -> Vec<String> {
    let table = table(root);
    let mut devices = routed(&table, false);
    devices.retain(|name| has(root, name, "device"));
    if !devices.is_empty() {
        return devices;
    }
    let default = routed(&table, true);
    if !default.is_empty() {
        return default;
    }
    all(root)
}

/// All with a route, but for the networks of containers.
fn all(root: &Path) -> Vec<String> {
    let mut all = routed(&table(root), false);
    all.retain(|name| !has(root, name, "bridge"));
    all
}

fn table(root: &Path) -> String {
    files::read_text(&root.join("proc/net/route"), limits::PROC_FILE).unwrap_or_default()
}

fn has(root: &Path, name: &str, file: &str) -> bool {
    root.join("sys/class/net").join(name).join(file).exists()
}

/// An address that clients use, its interface, and the other one over which replies from it leave, unless a rule refuses them.
#[derive(Debug)]
pub(crate) struct AsymmetricRoute {
    pub(crate) address: String,
    pub(crate) interface: String,
    pub(crate) other: Option<String>,
}

/// The addresses of an interface to which clients can connect.
pub(crate) fn addresses(interface: &str) -> Vec<Ipv4Addr> {
    let words = ["-o", "-4", "address", "show", "dev", interface, "scope", "global"];
    let shown = stdout_of("ip", &words).unwrap_or_default();
    shown.lines().filter_map(|line| word_after(line, "inet")?.split('/').next()?.parse().ok()).collect()
}

/// An address whose replies to a client outside the local networks leave by another interface.
pub(crate) fn asymmetric_route(root: &Path) -> Option<AsymmetricRoute> {
    let of = |names: Vec<String>| -> Vec<(String, Ipv4Addr)> {
        let first = |name: String| addresses(&name).first().map(|address| (name, *address));
        names.into_iter().filter_map(first).collect()
    };
    let mut own = of(with_outside_route(root));
    if own.is_empty() {
        // A tunnel that has the default route, and no address.
        own = of(all(root));
    }
    own.into_iter().find_map(|(interface, address)| {
        let address = address.to_string();
        let asked = ask("ip", &["-4", "route", "get", &TEST_NET.to_string(), "from", &address]).ok()?;
        let said = String::from_utf8_lossy(&asked.stderr);
        // EACCES, EINVAL, EHOSTUNREACH: a route or rule of the type prohibit, blackhole or unreachable. Without a route, another error.
        let refusals = ["Permission denied", "Invalid argument", "No route to host"];
        if refusals.iter().any(|error| said.contains(error)) {
            return Some(AsymmetricRoute { address, interface, other: None });
        }
        let other = word_after(&String::from_utf8_lossy(&asked.stdout), "dev")?.to_owned();
        (other != interface && other != "lo").then_some(AsymmetricRoute {
            address,
            interface,
            other: Some(other),
        })
    })
}

/// An address of no system (RFC 5737).
pub(crate) const TEST_NET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The word after this one.
fn word_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.split_whitespace().skip_while(|one| *one != word).nth(1)
}

/// The interfaces of `/proc/net/route`, other than the loopback interface. `default`: only those with a default route.
fn routed(table: &str, default: bool) -> Vec<String> {
    // The first line is a heading.
    lists::sorted_unique(table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (name, destination, mask) = (*fields.first()?, *fields.get(1)?, *fields.get(7)?);
        let is_default = destination == "00000000" && mask == "00000000";
        (name != "lo" && name != "*" && (is_default || !default)).then(|| name.to_owned())
    }))
}

#[cfg(test)]
mod tests {
    use super::routed;

    #[test]
    fn interfaces_of_the_table() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     ens5\t00000000\t01001FAC\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                     ens5\t00001FAC\t00000000\t0001\t0\t0\t100\t00F0FFFF\t0\t0\t0\n\
                     docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert_eq!(routed(table, true), ["ens5"]);
        assert_eq!(routed(table, false), ["docker0", "ens5"]);
        assert_eq!(routed("", false), [""; 0]);
    }
}
