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
    pub(crate) question: Question,
    pub(crate) tracked: Tracked,
    /// A rule sets marks, so that it is not known which one it has. Without one, it has none: 0.
    pub(crate) may_be_marked: bool,
    /// The queues for packets that programs read, if they are known.
    pub(crate) queues: Option<&'a [u16]>,
    /// The client's address. `None`: that of any client.
    pub(crate) client: Option<Ipv4Addr>,
}

/// What is asked about the packet. A rule that does it is [`Verdict::Drop`](super::rules::Verdict::Drop).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether a rule drops it.
    #[default]
    Dropped,
    /// Whether a rule of address translation takes it from sshd.
    Translated,
    /// Whether a rule takes it from conntrack.
    Untracked,
}

/// Whether conntrack sees the packets of a connection. `None`: those of some clients, or that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracked {
    pub(crate) client: Option<bool>,
    pub(crate) reply: Option<bool>,
}

impl Default for Tracked {
    fn default() -> Self {
        Self { client: Some(true), reply: Some(true) }
    }
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
        match (self.question, self.kind) {
            (Question::Dropped, PacketKind::Reply) => &["output", "postrouting"],
            (Question::Dropped, _) => &["prerouting", "input"],
            (Question::Untracked, PacketKind::Reply) => &["output"],
            _ => &["prerouting"],
        }
    }

    /// The state that conntrack has for its connection, if it is known.
    pub(super) fn state(&self) -> Option<&'static str> {
        let Tracked { client, reply } = self.tracked;
        let (this, other) = if self.is_reply() { (reply, client) } else { (client, reply) };
        match (this?, other) {
            (false, _) => Some("untracked"),
            _ if self.is_first() => Some("new"),
            // It belongs to a connection of which conntrack has seen only one side.
            (true, Some(false)) => Some("invalid"),
            (true, _) => other.map(|_| "established"),
        }
    }

    /// Whether no program reads any of these queues.
    pub(super) fn is_queue_without_reader(&self, first: u16, last: u16) -> bool {
        self.queues.is_some_and(|queues| !queues.iter().any(|queue| (first..=last).contains(queue)))
    }

    /// Whether a limit is exceeded, or may be. That of the first packet is for other clients, too; a login has more packets after it
    /// than this: 10 at once, and 10 more each minute.
    pub(super) fn exceeds(&self, rate: u64, per: &str, burst: u64) -> Option<bool> {
        let most = match per.as_bytes().first() {
            Some(b'm') => 10,
            Some(b'h') => 600,
            Some(b'd') => 14_400,
            _ => 0,
        };
        (!self.is_first() && rate <= most && burst <= 10).then_some(true)
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
    question: Question::Dropped,
    tracked: Tracked { client: Some(true), reply: Some(true) },
    may_be_marked: false,
    queues: None,
    client: None,
};
