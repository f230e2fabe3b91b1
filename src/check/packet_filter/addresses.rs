//! The addresses that a rule names.

use std::net::Ipv4Addr;

use super::packet::Packet;

/// Ranges of IPv4 addresses.
pub(super) struct Addresses(pub(super) Vec<(u32, u32)>);

impl Addresses {
    /// Neither a client nor sshd has one of these: loopback, link-local (the metadata service), multicast, broadcast.
    const NOT_USED: [(Ipv4Addr, u32); 3] = [
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(224, 0, 0, 0), 3),
    ];

    fn prefix(address: Ipv4Addr, length: u32) -> Option<(u32, u32)> {
        let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
        (length <= 32).then(|| (address.to_bits() & !hosts, address.to_bits() | hosts))
    }

    /// An address, `ADDRESS/LENGTH`, `ADDRESS/MASK` or `FIRST-LAST`.
    pub(super) fn parse(text: &str) -> Option<(u32, u32)> {
        if let Some((first, last)) = text.split_once('-') {
            let bits = |text: &str| text.parse().ok().map(Ipv4Addr::to_bits);
            return Some((bits(first)?, bits(last)?));
        }
        let Some((address, length)) = text.split_once('/') else {
            return Self::prefix(text.parse().ok()?, 32);
        };
        let length = match length.parse::<Ipv4Addr>() {
            Ok(mask) if mask.to_bits().leading_ones() == mask.to_bits().count_ones() => {
                mask.to_bits().leading_ones()
            }
            Ok(_) => return None,
            Err(_) => length.parse().ok()?,
        };
        Self::prefix(address.parse().ok()?, length)
    }

    /// Whether sshd's address is one of them; `None` if it may be.
    pub(super) fn has_own(&self, packet: &Packet<'_>) -> Option<bool> {
        match packet.own.iter().filter(|address| self.has(**address)).count() {
            _ if packet.own.is_empty() => self.has_any(),
            0 => Some(false),
            count => (count == packet.own.len()).then_some(true),
        }
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&address.to_bits()))
    }

    /// Whether the client's address is one of them; `None` if it may be.
    pub(super) fn has_client(&self, packet: &Packet<'_>) -> Option<bool> {
        packet.client.map_or_else(|| self.has_any(), |client| Some(self.has(client)))
    }

    /// Whether the address of a client, or of sshd, is one of them; `None` if it may be.
    fn has_any(&self) -> Option<bool> {
        let not_used = |&(first, last): &(u32, u32)| {
            Self::NOT_USED.iter().any(|(address, length)| {
                Self::prefix(*address, *length).is_some_and(|(from, to)| from <= first && last <= to)
            })
        };
        if self.0.contains(&(0, u32::MAX)) {
            Some(true)
        } else if self.0.iter().all(not_used) {
            Some(false)
        } else {
            None
        }
    }
}
