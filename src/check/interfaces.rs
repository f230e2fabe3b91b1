//! The network interfaces over which clients come.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::packet_filter::LOOPBACK;
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

/// The interfaces of a VPN, which clients can use although they are not outside.
pub(crate) fn tunnels(root: &Path) -> Vec<String> {
    /// `ARPHRD_NONE`, as of wg and tun devices, and `ARPHRD_PPP`.
    const TYPES: [&str; 2] = ["65534", "512"];
    let mut names = all(root);
    names.retain(|name| {
        let file = root.join("sys/class/net").join(name).join("type");
        files::read_text(&file, limits::PROC_FILE).is_ok_and(|text| TYPES.contains(&text.trim()))
    });
    names
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

/// An interface over which nobody outside of this system connects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InnerInterface {
    pub(crate) name: String,
    /// It is a bridge of containers or virtual machines. Else it has no carrier.
    pub(crate) is_bridge: bool,
}

impl InnerInterface {
    /// `None` if clients can connect over this interface, or that is not known.
    fn find(root: &Path, name: &str) -> Option<Self> {
        let state = root.join("sys/class/net").join(name).join("operstate");
        let state = files::read_text(&state, limits::PROC_FILE).unwrap_or_default();
        let is_bridge = is_inner_bridge(root, name);
        (is_bridge || matches!(state.trim(), "down" | "lowerlayerdown"))
            .then(|| Self { name: name.to_owned(), is_bridge })
    }

    /// That of the first of these addresses, if no other one is of an interface over which clients can connect.
    pub(crate) fn of_all(root: &Path, addresses: &[IpAddr]) -> Option<Self> {
        let outside = with_outside_route(root);
        let inner = |address: &IpAddr| {
            let shown = stdout_of("ip", &["-o", "address", "show", "to", &address.to_string()]).ok()?;
            let name = shown.lines().next()?.split_whitespace().nth(1)?.to_owned();
            // The name of one that leads to another one has that behind it, as in vlan5@eth0.
            let name = name.split('@').next().filter(|name| !outside.iter().any(|other| other == name))?;
            Self::find(root, name)
        };
        let mut found: Vec<Self> = addresses.iter().map(inner).collect::<Option<_>>()?;
        (!outside.is_empty() && !found.is_empty()).then(|| found.swap_remove(0))
    }
}

/// Whether an interface is a bridge, and all that it connects belongs to containers or virtual machines.
fn is_inner_bridge(root: &Path, name: &str) -> bool {
    let ports = root.join("sys/class/net").join(name).join("brif");
    let Ok(mut ports) = fs::read_dir(ports) else { return false };
    ports.all(|port| {
        let Ok(name) = port.map(|port| port.file_name().to_string_lossy().into_owned()) else { return false };
        let number =
            |file| files::read_text(&root.join("sys/class/net").join(&name).join(file), limits::PROC_FILE);
        // One end of a pair has the number of the other one. So has a VLAN that of its device.
        let is_pair = || number("iflink").ok() != number("ifindex").ok() && !has_lower(root, &name);
        !has(root, &name, "device") && (has(root, &name, "tun_flags") || is_pair())
    })
}

/// Whether an interface is one of another interface, as a VLAN is.
fn has_lower(root: &Path, name: &str) -> bool {
    let files = fs::read_dir(root.join("sys/class/net").join(name)).into_iter().flatten();
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("lower_"))
}

/// An address that clients use, its interface, and what is wrong with the way of its replies.
#[derive(Debug)]
pub(crate) struct AsymmetricRoute {
    pub(crate) address: String,
    pub(crate) interface: String,
    pub(crate) replies: Replies,
}

/// What happens to replies to clients outside the local networks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Replies {
    /// They leave over another interface.
    LeaveBy(String),
    /// A rule or route refuses them.
    Refused,
    /// There is no route at all, not even to the local networks.
    HaveNoRoute,
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
    if routed(&table(root), false).is_empty() && has_no_route() {
        let (interface, address) = of(devices(root)).into_iter().next()?;
        return Some(AsymmetricRoute {
            address: address.to_string(),
            interface,
            replies: Replies::HaveNoRoute,
        });
    }
    let mut own = of(with_outside_route(root));
    if own.is_empty() {
        // A tunnel that has the default route, and no address.
        own = of(all(root));
    }
    own.into_iter().find_map(|(interface, address)| {
        let address = address.to_string();
        let asked = |client: Ipv4Addr| {
            let asked = ask("ip", &["-4", "route", "get", &client.to_string(), "from", &address]).ok()?;
            let said = String::from_utf8_lossy(&asked.stderr);
            // EACCES, EINVAL, EHOSTUNREACH: a route or rule of the type prohibit, blackhole or unreachable. Without a route, another error.
            let refusals = ["Permission denied", "Invalid argument", "No route to host"];
            let is_refused = refusals.iter().any(|error| said.contains(error));
            Some((asked, is_refused))
        };
        // Some systems refuse the addresses of no system.
        let (asked, is_refused) =
            asked(TEST_NET).filter(|(_, is_refused)| !is_refused).or_else(|| asked(PUBLIC))?;
        if is_refused {
            return Some(AsymmetricRoute { address, interface, replies: Replies::Refused });
        }
        let other = word_after(&String::from_utf8_lossy(&asked.stdout), "dev")?.to_owned();
        let is_other = other != interface && other != LOOPBACK;
        is_other.then_some(AsymmetricRoute { address, interface, replies: Replies::LeaveBy(other) })
    })
}

/// A network of containers or virtual machines that overlaps one over which clients come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    pub(crate) bridge: String,
    pub(crate) network: String,
    /// The interface of the other network.
    pub(crate) interface: String,
}

/// The first network of a bridge that takes replies to clients in this system's own network.
pub(crate) fn overlap(root: &Path) -> Option<Overlap> {
    // In a container, /sys can be that of another network.
    let shown = stdout_of("ip", &["-o", "link", "show", "type", "bridge"]).ok()?;
    let networks = networks(&table(root));
    let outside = with_outside_route(root);
    let is_inner = |name: &String| !outside.contains(name) && shown.contains(&format!(": {name}: "));
    for bridge in networks.iter().filter(|network| is_inner(&network.interface)) {
        for own in &networks {
            if outside.contains(&own.interface) && bridge.takes_from(own) {
                return Some(Overlap {
                    bridge: bridge.interface.clone(),
                    network: format!("{}/{}", Ipv4Addr::from(bridge.address), bridge.mask.leading_ones()),
                    interface: own.interface.clone(),
                });
            }
        }
    }
    None
}

/// A network that is reached over an interface without a gateway.
#[derive(Debug)]
struct Network {
    interface: String,
    address: u32,
    mask: u32,
    metric: u32,
}

impl Network {
    /// Whether replies to addresses of the other network leave by this one. If it is the wider one, those to its other addresses
    /// do, which are of the same VPC.
    fn takes_from(&self, own: &Self) -> bool {
        /// EC2 delegates prefixes of this length to an interface. Those are for containers.
        const DELEGATED: u32 = 28;
        let both = self.mask & own.mask;
        let is_chosen = self.mask != own.mask || self.metric < own.metric;
        self.address & both == own.address & both && is_chosen && self.mask.leading_ones() < DELEGATED
    }
}

/// The networks that are reached over an interface without a gateway, and the lengths of their prefixes.
pub(crate) fn networks_of(root: &Path, interface: &str) -> Vec<(Ipv4Addr, u32)> {
    let mut networks = networks(&table(root));
    networks.retain(|network| network.interface == interface);
    networks.iter().map(|network| (network.address.into(), network.mask.leading_ones())).collect()
}

/// The rows of `/proc/net/route` without a gateway.
fn networks(table: &str) -> Vec<Network> {
    let row = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // Addresses are in the byte order of the network, printed as numbers of this system.
        let number = |index: usize| {
            Some(u32::from_be_bytes(u32::from_str_radix(fields.get(index)?, 16).ok()?.to_ne_bytes()))
        };
        let (address, gateway, mask) = (number(1)?, number(2)?, number(7)?);
        let metric = fields.get(6)?.parse().ok()?;
        let interface = (*fields.first()?).to_owned();
        (gateway == 0 && mask != 0).then_some(Network { interface, address, mask, metric })
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// Whether no table of routes has one to another system.
fn has_no_route() -> bool {
    let is_none = |family| {
        let shown = stdout_of("ip", &[family, "route", "show", "table", "all"]);
        // Those of another kind have its name first, as the addresses of this system have the word local.
        let leads_out = |line: &str| {
            let is_route = line.starts_with("default")
                || line.split([' ', '/']).next().is_some_and(|word| word.parse::<IpAddr>().is_ok());
            is_route && !line.starts_with("fe80::") && word_after(line, "dev") != Some(LOOPBACK)
        };
        shown.is_ok_and(|shown| !shown.lines().any(leads_out))
    };
    is_none("-4") && is_none("-6")
}

/// All interfaces but the loopback interface and the networks of containers.
fn devices(root: &Path) -> Vec<String> {
    let found = fs::read_dir(root.join("sys/class/net")).into_iter().flatten().flatten();
    let mut names = lists::sorted_unique(found.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.retain(|name| name != LOOPBACK && !has(root, name, "bridge"));
    names
}

/// An address of no system (RFC 5737).
pub(crate) const TEST_NET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// An address from which EC2's console connects to instances of us-east-1 (`EC2_INSTANCE_CONNECT` in AWS's ip-ranges.json). Nothing is
/// sent to it.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(18, 206, 107, 24);

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
    use std::fs;

    use super::{is_inner_bridge, networks, routed, tunnels};

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

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test may panic")]
    fn networks_that_overlap() {
        let row = |(network, mask, metric): (&str, &str, u32)| {
            let hex = |text: &str| {
                let address: std::net::Ipv4Addr = text.parse().unwrap();
                format!("{:08X}", u32::from_ne_bytes(address.octets()))
            };
            let (network, mask) = (hex(network), hex(mask));
            let table = format!("Iface\nbr0\t{network}\t00000000\t0001\t0\t0\t{metric}\t{mask}\t0\t0\t0\n");
            networks(&table).remove(0)
        };
        let own = ("10.9.8.0", "255.255.254.0", 100);
        for (other, takes) in [
            (("10.9.8.0", "255.255.255.0", 0), true),
            (("10.9.9.128", "255.255.255.128", 0), true),
            (("10.9.0.0", "255.255.0.0", 0), true),
            (("10.9.8.0", "255.255.254.0", 0), true),
            // The route of the interface counts.
            (("10.9.8.0", "255.255.254.0", 100), false),
            // A prefix that EC2 delegated.
            (("10.9.9.16", "255.255.255.240", 0), false),
            (("10.9.10.0", "255.255.254.0", 0), false),
            (("172.17.0.0", "255.255.0.0", 0), false),
        ] {
            assert_eq!(row(other).takes_from(&row(own)), takes, "{other:?}");
        }
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test may panic")]
    fn kinds_of_interfaces() {
        let root = std::env::temp_dir().join(format!("eic-keys-interfaces-{}", std::process::id()));
        let class = root.join("sys/class/net");
        let make = |name: &str, files: &[(&str, &str)]| {
            fs::create_dir_all(class.join(name)).unwrap();
            for (file, text) in files {
                fs::write(class.join(name).join(file), text).unwrap();
            }
        };
        make("ens5", &[("type", "1\n"), ("device", "")]);
        make("wg0", &[("type", "65534\n")]);
        make("wg1", &[("type", "65534\n")]);
        make("ppp0", &[("type", "512\n")]);
        make("cali0", &[("type", "1\n")]);
        fs::create_dir_all(root.join("proc/net")).unwrap();
        let route = |name| format!("{name}\t0000080A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
        let table = format!("Iface\n{}", ["ens5", "wg0", "ppp0", "cali0"].map(route).concat());
        fs::write(root.join("proc/net/route"), table).unwrap();
        assert_eq!(tunnels(&root), ["ppp0", "wg0"]);
        make("veth", &[("iflink", "7\n"), ("ifindex", "8\n")]);
        make("tap", &[("iflink", "9\n"), ("ifindex", "9\n"), ("tun_flags", "0x1002\n")]);
        make("vlan", &[("iflink", "2\n"), ("ifindex", "10\n"), ("lower_ens5", "")]);
        make("vxlan", &[("iflink", "11\n"), ("ifindex", "11\n")]);
        assert!(!is_inner_bridge(&root, "br0"));
        fs::create_dir_all(class.join("br0/brif")).unwrap();
        assert!(is_inner_bridge(&root, "br0"));
        for (port, is_inner) in
            [("veth", true), ("tap", true), ("vlan", false), ("vxlan", false), ("ens5", false)]
        {
            let port = class.join("br0/brif").join(port);
            fs::write(&port, "").unwrap();
            assert_eq!(is_inner_bridge(&root, "br0"), is_inner, "{}", port.display());
            fs::remove_file(&port).unwrap();
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
