//! The addresses that sshd listens on, and whether clients use them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::check::fix::Fix;
use crate::check::interfaces::InnerInterface;
use crate::check::runner::Answer;
use crate::check::running_sshd::{self, SshdState};
use crate::check::settings::Settings;
use crate::check::sockets;
use crate::check::topics::firewall;
use crate::config_tree::ConfigTree;
use crate::sshd::command_line::SshdOption;

/// Compares the sockets of the running sshd with what clients use, and then its configuration: sshd uses that when it
/// is started again, unless it gets its sockets from systemd.
pub(super) fn port(settings: &Settings, root: &Path, running: Option<SshdState>) -> Answer<()> {
    let process = running.and_then(|running| running.process);
    let from_systemd = if running.is_some() { sockets::of_systemd(root) } else { Vec::new() };
    let mut open = process.map(|process| sockets::listening(root, process)).unwrap_or_default();
    // A process does not show that its socket of systemd for IPv6 accepts IPv4, too.
    let only_ipv6 = open.is_empty() || is_ipv6_only(&from_systemd);
    if open.is_empty() {
        open.clone_from(&from_systemd);
    }
    let (reload, restart) = (&settings.source.reload, &settings.source.restart);
    let bindable = sockets::bindable(settings);
    if let (true, Err(change)) = (open.is_empty(), &bindable) {
        return Answer::fail(
            "sshd cannot start: no ListenAddress is an address of this system",
            Fix::advice(change),
        );
    }
    if let Some(note) = nobodys(&from_systemd) {
        return Answer::fail(note, Fix::advice(SOCKET_UNIT));
    }
    let configured = configured(settings);
    let now = if open.is_empty() { &configured } else { &open };
    if now.is_empty() {
        return Answer::skip("the addresses that sshd listens on are not known");
    }
    // The configuration asks for more than the sockets that are open.
    let is_less =
        from_systemd.is_empty() && unreachable(&configured, only_ipv6).is_none() && is_ipv6_only(now);
    if let Some(other) = is_less.then(|| sockets::of_ipv4(root, now)).flatten() {
        return Answer::fail(
            format!(
                "another program listens on {other}: clients reach it over IPv4, and not sshd, which listens on IPv6 only"
            ),
            restart.after("stop the other program (ss -tlnp shows it)"),
        );
    }
    if let Some(Unreachable { note, change }) = unreachable(now, only_ipv6) {
        let mut outside = now.iter().filter(|address| !address.ip().is_loopback());
        let is_usual = now.iter().any(|address| address.port() == 22);
        if !is_usual && outside.any(|address| firewall::redirects(root, 22, address.port())) {
            return Answer::ok(format!("{}, to which the firewall redirects port 22", listens_on(now)), ());
        }
        let fix = match on_command_line(settings, now) {
            _ if !from_systemd.is_empty() => Fix::advice(SOCKET_UNIT),
            Some(SshdOption { letter, value }) => Fix::advice(format!(
                "remove {} from sshd's command line ({}), then: {restart}; or give the client the port (aws ec2-instance-connect ssh --ssh-port)",
                format!("-{letter} {value}").trim_end(),
                running_sshd::place_of_option(&ConfigTree::new(root), *letter)
            )),
            None if is_less => restart.after(
                "find out what keeps sshd from IPv4, such as RestrictAddressFamilies= of its unit, remove it",
            ),
            None => reload.after(change),
        };
        return if now.iter().all(|address| address.ip().is_loopback()) {
            Answer::fail(note, fix)
        } else {
            Answer::warn(note, fix, ())
        };
    }
    if let Some(inner) = only_inner(now, root) {
        let fix = if from_systemd.is_empty() {
            reload.after("remove ListenAddress, or set ListenAddress 0.0.0.0")
        } else {
            Fix::advice(SOCKET_UNIT)
        };
        let why = if inner.is_bridge {
            "connects only containers or virtual machines of this system"
        } else {
            "has no carrier or is down"
        };
        let note = format!(
            "{} only: {} {why}, so that clients from outside cannot connect",
            listens_on(now),
            inner.name
        );
        return Answer::warn(note, fix, ());
    }
    match (unreachable(&configured, only_ipv6), bindable) {
        _ if !from_systemd.is_empty() => {}
        (Some(Unreachable { note, change }), _) => {
            return Answer::warn(note, Fix::advice(change), ()).breaks_at_restart("");
        }
        (None, Err(change)) => {
            return Answer::warn(&change, Fix::advice(&change), ()).breaks_at_restart("");
        }
        (None, Ok(())) => {}
    }
    Answer::ok(listens_on(now), ())
}

/// The interface of the addresses, if clients from outside connect over none of theirs.
fn only_inner(addresses: &[SocketAddr], root: &Path) -> Option<InnerInterface> {
    let mut ips: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
    ips.retain(|ip| !ip.is_loopback());
    if ips.iter().any(IpAddr::is_unspecified) { None } else { InnerInterface::of_all(root, &ips) }
}

fn listens_on(addresses: &[SocketAddr]) -> String {
    format!("sshd listens on {}", shown(addresses))
}

/// What to do about the addresses of a socket unit.
const SOCKET_UNIT: &str = "change ListenStream= or BindIPv6Only= of the socket unit (systemctl cat ssh.socket sshd.socket shows it; an empty \
                           ListenStream= before it removes the others), then: systemctl daemon-reload, and restart that unit";

/// The note if systemd listens, as it can with `FreeBind=`, on addresses that no interface has.
fn nobodys(sockets: &[SocketAddr]) -> Option<String> {
    let is_here = |socket: &SocketAddr| socket.ip().is_unspecified() || sockets::is_of_interface(socket.ip());
    (!sockets.is_empty() && !sockets.iter().any(is_here))
        .then(|| format!("systemd listens for sshd on {}: no interface has that address", shown(sockets)))
}

/// The option of sshd's command line that overrides Port, or the address family.
fn on_command_line<'a>(settings: &'a Settings, addresses: &[SocketAddr]) -> Option<&'a SshdOption> {
    let is_port = addresses.iter().all(|address| address.port() != 22);
    let mut options = settings.source.daemon_options.iter();
    let wrong = if is_port { 'p' } else { '6' };
    options.find(|option| option.letter == wrong)
}

fn configured(settings: &Settings) -> Vec<SocketAddr> {
    settings.all("listenaddress").filter_map(|address| address.parse().ok()).collect()
}

/// Why clients could not connect to an sshd with these settings.
pub(crate) fn unreachable_port(settings: &Settings) -> Option<String> {
    let note = unreachable(&configured(settings), true).map(|addresses| addresses.note);
    note.or_else(|| sockets::bindable(settings).err())
}

fn is_ipv6_only(addresses: &[SocketAddr]) -> bool {
    addresses.iter().all(SocketAddr::is_ipv6)
}

fn shown(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Addresses that clients may not reach.
struct Unreachable {
    note: String,
    /// What to change.
    change: &'static str,
}

/// Why clients may not reach these addresses. `only_ipv6`: a socket for IPv6 accepts no IPv4.
fn unreachable(addresses: &[SocketAddr], only_ipv6: bool) -> Option<Unreachable> {
    let mut from_outside = addresses.to_vec();
    from_outside.retain(|address| !address.ip().is_loopback());
    let mut usual = from_outside.clone();
    usual.retain(|address| address.port() == 22);
    if addresses.is_empty() {
        None
    } else if from_outside.is_empty() {
        Some(Unreachable {
            note: format!("sshd listens on {} only: clients cannot connect from outside", shown(addresses)),
            change: "remove ListenAddress, or set ListenAddress 0.0.0.0 (or connect through Session Manager: AWS-StartSSHSession)",
        })
    } else if usual.is_empty() {
        let shown = shown(&from_outside);
        Some(Unreachable {
            note: format!("sshd listens on {shown}, not on port 22, which the console and endpoints use"),
            change: "give the client the port (aws ec2-instance-connect ssh --ssh-port), or set Port 22 too",
        })
    } else if only_ipv6 && is_ipv6_only(&usual) {
        Some(Unreachable {
            note: format!("sshd listens on IPv6 only: {}", shown(&usual)),
            change: "set ListenAddress 0.0.0.0 too, and remove AddressFamily inet6, if it is set",
        })
    } else {
        None
    }
}
