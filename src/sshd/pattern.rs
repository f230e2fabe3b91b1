//! The patterns in sshd's configuration: `Match` lists and addresses.
//!
//! Sources: OpenSSH's `match.c` (`match_pattern`, `match_pattern_list`), `addrmatch.c` (`addr_match_list`).

use std::net::IpAddr;

use crate::wildcard::matches;

/// The result of a comma-separated list for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListMatch {
    /// An entry with `!` matched, which excludes the value.
    Negated,
    /// No entry matched.
    No,
    /// An entry matched, and no entry with `!` did.
    Yes,
}

/// The longest list entry that OpenSSH accepts. With a longer entry, the whole list matches nothing.
const LONGEST_ENTRY: usize = 1022;

/// `match_pattern_list`, with `lowercase` for host names.
pub(super) fn match_list(text: &[u8], patterns: &[u8], lowercase: bool) -> ListMatch {
    let mut verdict = ListMatch::No;
    if patterns.is_empty() {
        return verdict;
    }
    // In OpenSSH, a trailing comma does not start another entry.
    let patterns = patterns.strip_suffix(b",").unwrap_or(patterns);
    for entry in patterns.split(|byte| *byte == b',') {
        let (negated, entry) = match entry {
            [b'!', rest @ ..] => (true, rest),
            _ => (false, entry),
        };
        if entry.len() > LONGEST_ENTRY {
            return ListMatch::No;
        }
        let lowered = if lowercase { entry.to_ascii_lowercase() } else { entry.to_vec() };
        if matches(text, &lowered) {
            if negated {
                return ListMatch::Negated;
            }
            verdict = ListMatch::Yes;
        }
    }
    verdict
}

/// An address list that sshd rejects.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadAddressList;

/// `addr_match_list`: networks in CIDR notation, or patterns for the text of the address. Without an address, only
/// checks the list.
pub(super) fn match_addresses(address: Option<&[u8]>, patterns: &[u8]) -> Result<ListMatch, BadAddressList> {
    let text = address.unwrap_or_default();
    let parsed: Option<IpAddr> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    if address.is_some() && parsed.is_none() {
        return Ok(ListMatch::No);
    }
    let mut verdict = ListMatch::No;
    for entry in patterns.split(|byte| *byte == b',') {
        let (negated, entry) = match entry {
            [b'!', rest @ ..] => (true, rest),
            _ => (false, entry),
        };
        if entry.is_empty() {
            return Err(BadAddressList);
        }
        let found = match network(entry)? {
            Some((net, length)) => parsed.is_some_and(|address| within(address, net, length)),
            None => parsed.is_some() && matches(text, entry),
        };
        if found && negated {
            return Ok(ListMatch::Negated);
        }
        if found {
            verdict = ListMatch::Yes;
        }
    }
    Ok(verdict)
}

/// `addr_pton_cidr`: `None` for text that is not an address, an error for an invalid mask or nonzero host bits.
fn network(entry: &[u8]) -> Result<Option<(IpAddr, u32)>, BadAddressList> {
    let Ok(text) = std::str::from_utf8(entry) else { return Ok(None) };
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => match length.parse::<u32>() {
            Ok(length) => (address, Some(length)),
            Err(_) => return Ok(None),
        },
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else { return Ok(None) };
    let (bits, width) = bits(address);
    let length = length.unwrap_or(width);
    let host_bits = width.checked_sub(length).ok_or(BadAddressList)?;
    let host = bits & !(u128::MAX.checked_shl(host_bits).unwrap_or(0));
    if host == 0 { Ok(Some((address, length))) } else { Err(BadAddressList) }
}

/// The first and the last address of a network in CIDR notation, or of one address.
pub(super) fn ends_of_network(entry: &str) -> Option<(IpAddr, IpAddr)> {
    let (first, length) = network(entry.as_bytes()).ok()??;
    let hosts =
        |width: u32| u128::MAX.checked_shr(128_u32.saturating_sub(width.saturating_sub(length))).unwrap_or(0);
    let last = match first {
        IpAddr::V4(address) => {
            IpAddr::V4((address.to_bits() | u32::try_from(hosts(32)).unwrap_or_default()).into())
        }
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() | hosts(128)).into()),
    };
    Some((first, last))
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn within(address: IpAddr, net: IpAddr, length: u32) -> bool {
    let ((address, width), (net, net_width)) = (bits(address), bits(net));
    let host_bits = width.saturating_sub(length);
    let cut = |value: u128| value.checked_shr(host_bits).unwrap_or(0);
    width == net_width && cut(address) == cut(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negated_entry_excludes_a_value() {
        assert_eq!(match_list(b"root", b"*,!root", false), ListMatch::Negated);
        assert_eq!(match_list(b"bob", b"*,!root", false), ListMatch::Yes);
        assert_eq!(match_list(b"bob", b"!root", false), ListMatch::No);
        assert_eq!(match_list(b"bob", b"Bob", false), ListMatch::No);
        assert_eq!(match_list(b"host.example", b"*.EXAMPLE", true), ListMatch::Yes);
        assert_eq!(match_list(b"", b"a,", false), ListMatch::No);
    }

    #[test]
    fn matches_networks() {
        assert_eq!(match_addresses(Some(b"10.1.2.3"), b"10.0.0.0/8"), Ok(ListMatch::Yes));
        assert_eq!(match_addresses(Some(b"10.1.2.3"), b"!10.1.0.0/16,10.0.0.0/8"), Ok(ListMatch::Negated));
        assert_eq!(match_addresses(Some(b"10.1.2.3"), b"10.1.*"), Ok(ListMatch::Yes));
        assert_eq!(match_addresses(Some(b"fd00::1"), b"fd00::/8"), Ok(ListMatch::Yes));
        assert_eq!(match_addresses(Some(b"fd00::1"), b"0.0.0.0/0"), Ok(ListMatch::No));
        assert_eq!(match_addresses(None, b"10.0.0.1/8"), Err(BadAddressList));
        assert_eq!(match_addresses(None, b"10.0.0.0/33"), Err(BadAddressList));
        assert_eq!(match_addresses(None, b"10.0.0.0/8,"), Err(BadAddressList));
    }
}
