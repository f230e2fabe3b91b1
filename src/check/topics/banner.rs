//! Connects to sshd's own port, as a client does, and reads its first line. Everything between the network and sshd has
//! a part in that: rules of a firewall that `network.firewall` does not read, a network namespace, a socket unit.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, process, thread};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::firewall;
use super::sshd_login::Penalties;
use crate::account::is_root;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::interfaces::{self, AsymmetricRoute, Overlap, Replies};
use crate::check::report::Status;
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::running_sshd::SshdState;
use crate::check::settings::Settings;
use crate::check::sockets;
use crate::imds::client;
use crate::limits;
use crate::procfs::is_in_other_namespace;
use crate::seconds::Seconds;
use crate::sshd::service::{SERVICES, SOCKETS};
use crate::system_log::journal;
use crate::tool::stdout_of;

/// What answers a connection.
#[derive(Debug, PartialEq, Eq)]
enum BannerReply {
    /// An SSH server.
    Ssh,
    /// sshd, which has too many connections. Its words.
    TooManyConnections(String),
    /// sshd, which has penalties for this address (`PerSourcePenalties`). Its words.
    Penalty(String),
    /// Something whose first line is this one.
    Other(String),
    /// The connection was closed without a byte.
    Closed,
    /// The connection was accepted, but nothing was sent in time.
    Silent,
    /// No connection, for this reason.
    None(String),
}

impl BannerReply {
    /// Whether only an SSH server sends it.
    fn is_by_sshd(&self) -> bool {
        matches!(self, Self::Ssh | Self::TooManyConnections(_) | Self::Penalty(_))
    }
}

/// Checks that sshd answers. Runs after the checks of the firewall and of hosts.allow: a connection of this system may be one
/// that they refuse, and then no answer says nothing about other clients. libwrap logs a connection that it refuses, which
/// `recent.login` would read as a client's.
pub(crate) async fn banner(
    runner: &Runner,
    target: &CheckTarget<'_>,
    settings: &Finding<Settings>,
    running: &Finding<SshdState>,
    starts_sshd: bool,
) {
    let is_ok = |id| matches!(runner.status(id), Some(Status::Ok));
    let (accepts, wrapped) = (is_ok(CheckId::NetworkFirewall), !is_ok(CheckId::NetworkWrappers));
    runner
        .check_in_thread(CheckId::NetworkBanner, running, |running| {
            let (root, process, settings) =
                (target.root.to_owned(), running.process, settings.get().cloned());
            move || {
                if wrapped {
                    return Answer::skip(format!(
                        "libwrap may refuse a connection of this system, see {}",
                        CheckId::NetworkWrappers
                    ));
                }
                answers(&root, process, settings.as_ref(), starts_sshd, accepts)
            }
        })
        .await;
}

/// `starts_sshd`: whether a connection that starts sshd is wanted. `accepts`: whether the firewall
/// is not known to refuse some clients.
fn answers(
    root: &Path,
    process: Option<u32>,
    settings: Option<&Settings>,
    starts_sshd: bool,
    accepts: bool,
) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can find out where sshd listens");
    }
    let mut open = process.map(|process| sockets::listening(root, process)).unwrap_or_default();
    if open.is_empty() {
        open = sockets::of_systemd(root);
        if !open.is_empty() && process.is_none() && !starts_sshd {
            return Answer::skip("the first connection starts sshd; --rehearse connects");
        }
    }
    let tried = addresses(&open);
    let Some(first) = tried.first() else {
        return Answer::skip("the addresses that sshd listens on are not known");
    };
    let is_client = |address: &SocketAddr| {
        let penalties = settings.and_then(Penalties::of)?;
        Some(penalties.concerns_clients(address.is_ipv4()))
    };
    if tried.iter().any(|address| is_client(address) == Some(true)) {
        return Answer::skip(
            "sshd would count a connection of this system as one of its clients' (PerSourcePenalties with noauth)",
        );
    }
    if !sockets::is_here(source()) {
        return Answer::skip("lo is down or has no address 127.0.0.1: this system cannot connect to itself");
    }
    let begun = SystemTime::now();
    let reply = ask_all(&tried);
    if matches!(reply, BannerReply::Ssh) {
        return answered(root, *first);
    }
    let shown = tried.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let is_isolated = |process: &u32| !reply.is_by_sshd() && is_isolated(*process);
    if let Some(process) = process.filter(is_isolated) {
        let note = format!("sshd, process {process}, has a network of its own, which no client reaches");
        let fix = "remove PrivateNetwork= or NetworkNamespacePath= from sshd's unit (systemctl cat shows it), and restart sshd";
        return Answer::fail(note, Fix::advice(fix));
    }
    let certain = accepts && !has_network_rules(process) && !firewall::drops_own(root, first.port());
    let logged = if reply == BannerReply::Closed { fatal_since(begun) } else { None };
    not_answered(reply, &shown, first.port(), certain, logged)
}

/// The last error with which sshd ended a connection since then, by the journal.
fn fatal_since(begun: SystemTime) -> Option<String> {
    let seconds = begun.duration_since(UNIX_EPOCH).ok()?.as_secs();
    // sshd logs before it closes the connection, and the journal is written later.
    thread::sleep(limits::BANNER_PAUSE);
    let options = ["--output=cat", "--no-pager", "--quiet"].map(str::to_owned);
    // Any user can write lines with sshd's name.
    let [_, of_sshd] = journal::matches(&[]);
    let words = [&options[..], &[format!("--since=@{seconds}")], &of_sshd].concat();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let text = stdout_of("journalctl", &words).ok()?;
    let line = text.lines().rfind(|line| line.starts_with("fatal: "))?;
    Some(line.chars().take(SHOWN).collect())
}

/// Characters of a line to show.
const SHOWN: usize = 200;

/// The result if sshd answers at this address: the replies to clients can still get lost.
fn answered(root: &Path, address: SocketAddr) -> Answer<()> {
    let Some(AsymmetricRoute { address: own, interface, replies }) = interfaces::asymmetric_route(root)
    else {
        return overlapping(root, address);
    };
    let how = match replies {
        Replies::Refused => {
            "are refused by a route or a rule (prohibit, blackhole or unreachable)".to_owned()
        }
        Replies::LeaveBy(other) => format!("leave by {other}"),
        Replies::HaveNoRoute => {
            let note = format!(
                "sshd answers on {address}, but this system has no route to any other one: clients of {own} ({interface}) get no reply"
            );
            let fix = format!(
                "set up {interface} and its routes again, as with netplan apply, networkctl reconfigure {interface}, nmcli device \
                 reapply {interface} or ifup; ip route shows the result"
            );
            return Answer::fail(note, Fix::advice(fix));
        }
    };
    Answer::warn(
        format!(
            "sshd answers on {address}, but replies from {own} ({interface}) to clients outside its network {how}"
        ),
        Fix::advice(format!(
            "if clients get no answer, let replies from {own} leave by {interface}: ip rule and ip route show table all have \
             the rule of a VPN, or need one for this address"
        )),
        (),
    )
}

/// The result if sshd answers, and replies to clients outside of this system's network leave as they should.
fn overlapping(root: &Path, address: SocketAddr) -> Answer<()> {
    let Some(Overlap { bridge, network, interface }) = interfaces::overlap(root) else {
        return Answer::ok(format!("sshd answers on {address}"), ());
    };
    Answer::warn(
        format!(
            "sshd answers on {address}, but replies to clients in {network} go to {bridge}, a network of containers or virtual machines \
             that overlaps the network of {interface}"
        ),
        Fix::advice(format!(
            "give the network of {bridge} other addresses than the VPC has (Docker: bip and default-address-pools in \
             /etc/docker/daemon.json), and make it again"
        )),
        (),
    )
}

/// The result for another reply than that of an SSH server. `certain`: other clients get the same one. `logged`: what sshd logged about it.
fn not_answered(
    reply: BannerReply,
    shown: &str,
    port: u16,
    certain: bool,
    logged: Option<String>,
) -> Answer<()> {
    let log = "see what sshd logged about it: journalctl -t sshd -t sshd-session -t sshd-auth -n 20";
    // sshd runs, and the program that it starts for a connection is of another version, or is missing.
    let is_mixed = logged.as_ref().is_some_and(|line| line.contains("rexec"));
    let rules = "find what keeps connections from it: nft list ruleset (the hooks prerouting, output and ingress, and nat, too), \
                 iptables-save and iptables-legacy-save, systemctl cat of sshd's unit and socket";
    let other = format!(
        "find the program that answers, and the rule that leads there: ss -tlnp, nft list ruleset; sshd listens on port {port}"
    );
    let (note, fix, fails) = match reply {
        BannerReply::Ssh => return Answer::ok(format!("sshd answers on {shown}"), ()),
        BannerReply::Penalty(line) => {
            return Answer::ok(format!("sshd answers on {shown}, but this system has to wait: {line}"), ());
        }
        BannerReply::TooManyConnections(line) => (
            format!("sshd takes no more connections now: {line}"),
            "end unused connections, or set MaxStartups higher".to_owned(),
            false,
        ),
        BannerReply::Other(line) => {
            (format!("what answers on {shown} is not an SSH server; it sent: {line}"), other, false)
        }
        BannerReply::Closed => (
            format!(
                "sshd closes a connection to {shown} and sends nothing{}",
                logged.map(|line| format!("; it logs: {line}")).unwrap_or_default()
            ),
            if is_mixed {
                "restart sshd, which is of another version than the program that it starts for a connection; if that does not help, install \
                 OpenSSH's server again"
            } else {
                log
            }
            .to_owned(),
            certain,
        ),
        BannerReply::Silent => (
            format!("a connection to {shown} gets no answer within {} s", Seconds(limits::BANNER_TIME)),
            log.to_owned(),
            false,
        ),
        BannerReply::None(reason) => (
            format!("sshd listens, but does not get a connection to {shown}: {reason}"),
            rules.to_owned(),
            certain,
        ),
    };
    if fails {
        Answer::fail(note, Fix::advice(fix))
    } else {
        Answer::warn(format!("{note}; other clients may get another answer"), Fix::advice(fix), ())
    }
}

/// The addresses to try: one that sshd listens on, and for a wildcard the loopback address, and then
/// the system's own, which a firewall may accept although it drops the other.
fn addresses(open: &[SocketAddr]) -> Vec<SocketAddr> {
    let usual = |address: &&SocketAddr| address.port() == 22;
    let Some(port) = open.iter().find(usual).or_else(|| open.first()).map(SocketAddr::port) else {
        return Vec::new();
    };
    let ips = || open.iter().filter(|address| address.port() == port).map(SocketAddr::ip);
    let tried: Vec<IpAddr> = if ips().any(|ip| ip == Ipv4Addr::UNSPECIFIED) {
        [Some(Ipv4Addr::LOCALHOST.into()), own()].into_iter().flatten().collect()
    } else if ips().any(|ip| ip == Ipv6Addr::UNSPECIFIED) {
        // A socket for IPv6 can accept IPv4.
        vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
    } else {
        ips().take(2).collect()
    };
    tried.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

/// The address from which this system sends to others or, without a route to them, to the metadata service. Nothing is sent.
fn own() -> Option<IpAddr> {
    let to = |address: Ipv4Addr| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((address, 80)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    to(interfaces::TEST_NET).or_else(|| to(client::IPV4))
}

/// Asks all addresses at the same time: sshd's reply from one of them, or another one.
fn ask_all(addresses: &[SocketAddr]) -> BannerReply {
    let replies: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = addresses.iter().map(|address| scope.spawn(|| ask(*address))).collect();
        asked.into_iter().filter_map(|one| one.join().ok()).collect()
    });
    let mut other = BannerReply::Silent;
    for reply in replies {
        if reply.is_by_sshd() {
            return reply;
        }
        other = reply;
    }
    other
}

/// Where connections over IPv4 come from: an address of lo that no other process uses. sshd gives an address from which a connection
/// tries no login a penalty (`child_reap` of OpenSSH's `sshd.c`), whatever is sent: a client has to wait for it, and 127.0.0.1 is one.
fn source() -> IpAddr {
    /// Another half of lo's network than that of 127.0.0.1: the penalty is for a whole network with `PerSourceNetBlockSize`.
    const FIRST: u32 = Ipv4Addr::new(127, 128, 0, 0).to_bits();
    // Not the same one each time: fail2ban can count it. Numbers of processes have at most 22 bits.
    Ipv4Addr::from_bits(FIRST | process::id() & 0x3f_ffff).into()
}

/// Connects to an address.
fn connected(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv4() {
        bind(&socket, &SocketAddr::new(source(), 0))?;
    }
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    match connect(&socket, &address) {
        Err(Errno::INPROGRESS) => return Err(ErrorKind::TimedOut.into()),
        result => result?,
    }
    Ok(socket.into())
}

/// Connects, and reads until the line with the protocol version (RFC 4253, section 4.2). Nothing is sent.
fn ask(address: SocketAddr) -> BannerReply {
    let start = Instant::now();
    let left = || limits::BANNER_TIME.saturating_sub(start.elapsed()).max(limits::BANNER_LEAST);
    let mut connection = loop {
        match connected(address, limits::BANNER_CONNECTION.min(left())) {
            Ok(connection) => break connection,
            // An sshd that reads its configuration again does not listen for a moment.
            Err(error)
                if error.kind() == ErrorKind::ConnectionRefused
                    && start.elapsed() < limits::BANNER_RELOAD =>
            {
                thread::sleep(limits::BANNER_PAUSE);
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                return BannerReply::None("no answer".to_owned());
            }
            Err(error) => return BannerReply::None(error.to_string()),
        }
    };
    let mut received = Vec::new();
    let mut buffer = [0; 256];
    let ended = loop {
        if is_ssh(&received) {
            return BannerReply::Ssh;
        }
        let over = start.elapsed() >= limits::BANNER_TIME || received.len() > limits::BANNER_LENGTH;
        if over || connection.set_read_timeout(Some(left())).is_err() {
            break false;
        }
        match connection.read(&mut buffer) {
            Ok(0) => break true,
            Ok(count) => received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break true,
        }
    };
    let text = String::from_utf8_lossy(&received);
    let line = text.lines().next().unwrap_or_default().chars().take(80).collect::<String>();
    // What sshd sends before it closes a connection that it does not take.
    if line.starts_with("Exceeded MaxStartups") {
        BannerReply::TooManyConnections(line)
    } else if line.starts_with("Not allowed at this time") {
        BannerReply::Penalty(line)
    } else if !line.is_empty() {
        BannerReply::Other(line)
    } else if ended {
        BannerReply::Closed
    } else {
        BannerReply::Silent
    }
}

/// Whether a line names the version of the protocol.
fn is_ssh(received: &[u8]) -> bool {
    received
        .split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-"))
}

/// Whether a process is in another network namespace than this one, without an interface to the outside.
fn is_isolated(process: u32) -> bool {
    let read = |file: &str| fs::read_to_string(format!("/proc/{process}/net/{file}"));
    let (Ok(routes), inet6) = (read("route"), read("if_inet6").unwrap_or_default()) else { return false };
    // The routes of the loopback interface are in another table. The first line is a heading.
    let outside = routes.lines().skip(1).any(|line| !line.is_empty())
        || inet6.lines().any(|line| !line.ends_with(" lo"));
    !outside && is_in_other_namespace(Path::new("/"), process, "net")
}

/// Whether sshd may be meant for some interfaces or clients only: a VRF, or what its unit or socket sets.
fn has_network_rules(process: Option<u32>) -> bool {
    let group = process.and_then(|process| fs::read_to_string(format!("/proc/{process}/cgroup")).ok());
    if group.is_some_and(|group| group.contains("/vrf/")) {
        return true;
    }
    let properties = "--property=BindToDevice,IPAddressDeny,RestrictNetworkInterfaces,IPIngressFilterPath";
    let shown = stdout_of(
        "systemctl",
        &["show", properties, SERVICES[0], SERVICES[1], SOCKETS[0], SOCKETS[1], "system.slice"],
    );
    shown
        .unwrap_or_default()
        .lines()
        // An empty list of what is refused is shown as "~".
        .any(|line| line.split_once('=').is_some_and(|(_, value)| !matches!(value, "" | "~")))
}

#[cfg(test)]
mod tests {
    use super::{BannerReply, addresses, is_ssh, not_answered};

    #[test]
    fn the_address_to_try() {
        let first = |open: &[&str]| {
            let open: Vec<_> = open.iter().filter_map(|address| address.parse().ok()).collect();
            addresses(&open).first().map(ToString::to_string)
        };
        let is =
            |open: &[&str], expected: Option<&str>| assert_eq!(first(open).as_deref(), expected, "{open:?}");
        is(&[], None);
        is(&["0.0.0.0:22", "[::]:22"], Some("127.0.0.1:22"));
        is(&["[::]:22"], Some("[::1]:22"));
        is(&["0.0.0.0:2222"], Some("127.0.0.1:2222"));
        is(&["127.0.0.1:2222", "192.0.2.1:22"], Some("192.0.2.1:22"));
    }

    #[test]
    fn a_connection_that_sshd_closes() {
        let closed = "sshd closes a connection to 127.0.0.1:22 and sends nothing";
        let note = |logged: Option<&str>| {
            not_answered(BannerReply::Closed, "127.0.0.1:22", 22, true, logged.map(str::to_owned)).failure()
        };
        assert_eq!(note(None).as_deref(), Some(closed));
        let error = "fatal: rexec version mismatch";
        assert_eq!(note(Some(error)), Some(format!("{closed}; it logs: {error}")));
    }

    #[test]
    fn lines_of_a_server() {
        assert!(is_ssh(b"SSH-2.0-OpenSSH_9.2\r\n"));
        assert!(is_ssh(b"Welcome\r\nSSH-2.0-x\r\n"));
        assert!(is_ssh(b"SSH-1.99-x\r\n"));
        for other in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n", b"SSH-1.5-x\r\n", b"a SSH-2.0-x"] {
            assert!(!is_ssh(other), "{other:?}");
        }
    }
}
