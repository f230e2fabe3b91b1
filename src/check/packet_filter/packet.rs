//! The packet that the rules see.

use std::net::Ipv4Addr;

/// A client's ports are above these.
const SYSTEM_PORTS: u16 = 1023;

/// The interface of connections of this system to itself. Clients' packets do not arrive there.
pub(crate) const LOOPBACK: &str = "lo";

/// The packet that the rules see.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Packet<'a> {
    /// sshd's port.
    pub(crate) port: u16,
    /// Where clients' packets arrive, and replies leave.
    pub(crate) interface: Option<&'a str>,
    pub(crate) kind: PacketKind,
    /// The addresses of this system to which clients connect, if they are known.
    pub(crate) own: &'a [Ipv4Addr],
    /// The rules of address translation are asked: one that forwards the packet takes it from sshd, as one that drops it does.
    pub(crate) translated: bool,
    /// A rule takes packets from conntrack, so that it is not known which state they have.
    pub(crate) may_be_untracked: bool,
    /// A rule sets marks, so that it is not known which one it has. Without one, it has none: 0.
    pub(crate) may_be_marked: bool,
}

/// Which packet of a connection it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PacketKind {
    /// The client's first one, which has SYN alone of the flags of TCP.
    #[default]
    First,
    /// A later one of the client's.
    Later,
    /// sshd's reply.
    Reply,
}

impl Packet<'_> {
    pub(super) fn is_reply(&self) -> bool {
        self.kind == PacketKind::Reply
    }

    pub(super) fn is_first(&self) -> bool {
        self.kind == PacketKind::First
    }

    /// The hooks of Netfilter that it passes.
    pub(super) const fn hooks(&self) -> &'static [&'static str] {
        match (self.translated, self.kind) {
            (true, _) => &["prerouting"],
            (false, PacketKind::Reply) => &["output", "postrouting"],
            (false, _) => &["prerouting", "input"],
        }
    }

    /// The state that conntrack has for its connection, if it is known.
    pub(super) fn state(&self) -> Option<&'static str> {
        let state = if self.is_first() { "new" } else { "established" };
        (!self.may_be_untracked).then_some(state)
    }

    /// Whether this is the interface. A name can end with `wildcard`.
    pub(super) fn is_on(&self, name: &str, wildcard: char) -> Option<bool> {
        if name == LOOPBACK {
            return Some(self.interface == Some(LOOPBACK));
        }
        let interface = self.interface?;
        Some(match name.strip_suffix(wildcard) {
            Some(start) => interface.starts_with(start),
            None => interface == name,
        })
    }

    /// Whether one of its ports, of which the client's is not known, is in a range. `destination`: the port that it is sent to.
    pub(super) fn has_port(&self, destination: bool, first: u16, last: u16) -> Option<bool> {
        if destination != self.is_reply() {
            Some((first..=last).contains(&self.port))
        } else if last <= SYSTEM_PORTS {
            Some(false)
        } else {
            (first <= SYSTEM_PORTS.saturating_add(1) && last == u16::MAX).then_some(true)
        }
    }
}

/// Whether the length of the first packet of a connection is in a range: two headers, of which that of TCP has options.
pub(super) fn has_length(first: u16, last: u16) -> Option<bool> {
    if first <= 40 && last >= 80 {
        return Some(true);
    }
    (last < 40 || first > 80).then_some(false)
}

/// A client's first packet, for the tests of the parsers.
#[cfg(test)]
pub(super) const TO_SSH: Packet<'_> = Packet {
    port: 22,
    interface: None,
    kind: PacketKind::First,
    own: &[],
    translated: false,
    may_be_untracked: false,
    may_be_marked: false,
};
