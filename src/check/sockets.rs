//! The addresses and ports that sshd listens on, or would.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use super::settings::Settings;
use crate::config_tree::ConfigTree;
use crate::files;
use crate::limits;
use crate::procfs;
use crate::sshd::service::{SOCKETS, has_systemd};
use crate::sshd::unit::property;
use crate::tool::stdout_of;

/// The addresses that a process listens on.
pub(crate) fn listening(root: &Path, process: u32) -> Vec<SocketAddr> {
    let sockets = procfs::listening(&root.join(format!("proc/{process}")));
    sockets.into_iter().map(|socket| socket.local).collect()
}

/// The addresses of the active socket units of sshd. A socket for all addresses of IPv6 can be one for those of IPv4, too.
pub(crate) fn of_systemd(root: &Path) -> Vec<SocketAddr> {
    if !has_systemd(&ConfigTree::new(root)) {
        return Vec::new();
    }
    let properties = "--property=ActiveState,Listen,BindIPv6Only";
    let shown = stdout_of("systemctl", &["show", properties, SOCKETS[0], SOCKETS[1]]).unwrap_or_default();
    let default = files::read_text(&root.join("proc/sys/net/ipv6/bindv6only"), limits::PROC_FILE);
    let default = if default.is_ok_and(|value| value.trim() == "1") { "ipv6-only" } else { "both" };
    // One paragraph per unit. An inactive unit is shown, too.
    let active = shown.split("\n\n").filter(|unit| unit.lines().any(|line| line == "ActiveState=active"));
    let mut found = Vec::new();
    for unit in active {
        let only = property(unit, "BindIPv6Only").filter(|only| *only != "default").unwrap_or(default);
        for line in unit.lines() {
            let stream = line.strip_prefix("Listen=").and_then(|line| line.strip_suffix(" (Stream)"));
            let Some(address) = stream.and_then(|stream| stream.parse::<SocketAddr>().ok()) else { continue };
            if address.is_ipv6() && address.ip().is_unspecified() && only != "ipv6-only" {
                found.push(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()));
            }
            found.push(address);
        }
    }
    found
}

/// The ports on which any process of this network namespace listens.
pub(crate) fn taken(root: &Path) -> Vec<u16> {
    let sockets = procfs::tcp_sockets(&root.join("proc")).into_iter();
    sockets.filter(|socket| socket.listens).map(|socket| socket.local.port()).collect()
}

/// An IPv4 socket that listens on a port of these addresses.
pub(crate) fn of_ipv4(root: &Path, addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let is_port = |local: &SocketAddr| addresses.iter().any(|address| address.port() == local.port());
    let sockets = procfs::tcp_sockets(&root.join("proc")).into_iter().filter(|socket| socket.listens);
    let mut addresses_of = sockets.map(|socket| socket.local);
    addresses_of.find(|local| local.is_ipv4() && is_port(local))
}

/// Whether sshd can listen on one of its addresses. `Err` says what to do.
pub(crate) fn bindable(settings: &Settings) -> Result<(), String> {
    let addresses: Vec<SocketAddr> =
        settings.all("listenaddress").filter_map(|address| address.parse().ok()).collect();
    let missing: Vec<String> =
        addresses.iter().map(SocketAddr::ip).filter(|ip| !is_here(*ip)).map(|ip| ip.to_string()).collect();
    if !addresses.is_empty() && missing.len() == addresses.len() {
        let place = settings.place("listenaddress").unwrap_or_else(|| "sshd_config".to_owned());
        return Err(format!(
            "change ListenAddress {} ({place}), which is not an address of this system",
            missing.join(" ")
        ));
    }
    Ok(())
}

/// Whether an interface has this address, or that is not known: a socket for an address of a VRF needs its device.
pub(crate) fn is_of_interface(address: IpAddr) -> bool {
    let to = address.to_string();
    is_here(address)
        || stdout_of("ip", &["-o", "address", "show", "to", &to]).map_or(true, |shown| !shown.is_empty())
}

/// Whether a socket can have this address. A UDP socket does not listen, so that nobody can connect to this one.
pub(crate) fn is_here(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::AddrNotAvailable,
    }
}
