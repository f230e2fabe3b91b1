//! The addresses and ports that sshd listens on, or would.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use super::settings::Settings;
use crate::sshd::daemon::SOCKETS;
use crate::tool::stdout_of;

/// The TCP sockets that a process listens on, in its network namespace. Only root can read this.
pub(crate) fn listening(root: &Path, process: u32) -> Vec<SocketAddr> {
    let process = root.join(format!("proc/{process}"));
    let links = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let links = links.filter_map(|file| fs::read_link(file.path()).ok());
    let open: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    ["net/tcp", "net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(process.join(table)).ok())
        .flat_map(|table| table.lines().filter_map(row).collect::<Vec<_>>())
        .filter(|(_, inode)| open.contains(&format!("socket:[{inode}]")))
        .map(|(address, _)| address)
        .collect()
}

/// The addresses of the active socket units of sshd.
pub(crate) fn of_systemd(root: &Path) -> Vec<SocketAddr> {
    // sd_booted(3)
    if !root.join("run/systemd/system").is_dir() {
        return Vec::new();
    }
    let shown = stdout_of("systemctl", &["show", "--property=ActiveState,Listen", SOCKETS[0], SOCKETS[1]]);
    let shown = shown.unwrap_or_default();
    // One paragraph per unit. An inactive unit is shown, too.
    let active = shown.split("\n\n").filter(|unit| unit.lines().any(|line| line == "ActiveState=active"));
    let streams = active.flat_map(str::lines);
    let streams = streams.filter_map(|line| line.strip_prefix("Listen=")?.strip_suffix(" (Stream)"));
    streams.filter_map(|address| address.parse().ok()).collect()
}

/// The ports on which any process of this network namespace listens.
pub(crate) fn taken(root: &Path) -> Vec<u16> {
    let tables = ["proc/net/tcp", "proc/net/tcp6"].into_iter();
    let tables = tables.filter_map(|table| fs::read_to_string(root.join(table)).ok());
    tables
        .flat_map(|table| {
            table.lines().filter_map(row).map(|(address, _)| address.port()).collect::<Vec<_>>()
        })
        .collect()
}

/// A listening socket of `proc_net_tcp(5)`: its address and its inode.
fn row(line: &str) -> Option<(SocketAddr, String)> {
    const LISTEN: &str = "0A";
    let fields: Vec<_> = line.split_whitespace().collect();
    if fields.get(3) != Some(&LISTEN) {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes())),
        32 => {
            let mut bytes = Vec::new();
            for at in [0, 8, 16, 24] {
                let word = address.get(at..)?.get(..8)?;
                bytes.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
        }
        _ => return None,
    };
    Some((SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?), (*fields.get(9)?).to_owned()))
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

/// Whether a socket can have this address. A UDP socket does not listen, so that nobody can connect to this one.
pub(crate) fn is_here(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::AddrNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use super::row;

    #[cfg(target_endian = "little")]
    #[test]
    fn addresses_of_the_kernel() {
        let rest = "00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1";
        for (address, expected) in [
            ("0100007F:0016", "127.0.0.1:22"),
            ("00000000:08AE", "0.0.0.0:2222"),
            ("00000000000000000000000000000000:0016", "[::]:22"),
            ("B80D0120000000000000000001000000:0016", "[2001:db8::1]:22"),
        ] {
            let line = format!("  0: {address} {rest}");
            let found = row(&line).map(|(address, inode)| (address.to_string(), inode));
            assert_eq!(found, Some((expected.to_owned(), "4711".to_owned())));
        }
        assert_eq!(row("  0: 0100007F:0016 0100007F:9000 01 0 0 0 0 0 4711 1"), None);
        assert_eq!(row("  sl  local_address rem_address   st"), None);
    }
}
