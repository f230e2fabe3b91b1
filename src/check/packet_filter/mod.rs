//! What the rules of nftables or iptables do with a new connection to sshd, and with sshd's replies.
//!
//! The client's address is not known, and the interface only if it is given. So the result is certain only if no rule that
//! could accept the connection depends on them. Where only addresses decide, the result for a client whose address no rule
//! names is known as well.
//!
//! - `packet`, `addresses`: the packet that the rules see.
//! - `rules`: the rules, and the way of the packet through them.
//! - `nftables`, `iptables`: read the rules as the tools print them.

mod addresses;
mod iptables;
mod nftables;
mod packet;
mod rules;

pub(crate) use nftables::{is_nftables, nft_address, nft_redirects};
pub(crate) use packet::{LOOPBACK, Packet, PacketKind, Question, Tracked};
pub(crate) use rules::{Filter, PartialDrop, Restriction, any};
