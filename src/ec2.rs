//! What EC2 Instance Connect prescribes: checked types for the items that are sent to and received from IMDS.

use std::fmt;
use std::time::Duration;

use crate::escape::Escaped;

/// How long a pushed key is valid.
pub(crate) const KEY_LIFETIME: Duration = Duration::from_secs(60);

/// A user name that EC2 Instance Connect accepts.
///
/// The pattern is `InstanceOSUser` in the API's model (`SendSSHPublicKey`, EC2 Instance Connect API reference). No character of such
/// a name is special in the path of a URL, so the name needs no encoding there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName(String);

impl UserName {
    /// `None` if EC2 Instance Connect does not accept this name.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        // (^[A-Za-z_][A-Za-z0-9\@\._-]{0,30}[A-Za-z0-9\$_-]?$)|
        // (^(?=.{2,32}$)[0-9]{1,32}[A-Za-z\@\._-][A-Za-z0-9\@\._-]*[A-Za-z0-9\$_-]?$)
        let (&first, rest) = name.split_first()?;
        if name.len() > 32 {
            return None;
        }
        let body = if first.is_ascii_alphabetic() || first == b'_' {
            rest
        } else {
            let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (_, rest) = name.split_at_checked(digits).filter(|_| digits > 0)?;
            let (&letter, rest) = rest.split_first()?;
            if !matches!(letter, b'A'..=b'Z' | b'a'..=b'z' | b'@' | b'.' | b'_' | b'-') {
                return None;
            }
            rest
        };
        if let Some((&last, middle)) = body.split_last() {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'.' | b'_' | b'-');
            // In a name of 32 characters that begins with a letter or `_`, the last character must match the last class of the pattern.
            let full = name.len() == 32 && !first.is_ascii_digit();
            let ends = last == b'$' || (inner(last) && !(full && matches!(last, b'@' | b'.')));
            if !ends || !middle.iter().copied().all(inner) {
                return None;
            }
        }
        Some(Self(String::from_utf8(name.to_vec()).ok()?))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An instance ID: `i-` and 8 to 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceId(String);

impl InstanceId {
    /// `None` if the text is not an instance ID.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.strip_prefix(b"i-")?;
        let hex = digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !hex || !(8..=32).contains(&digits.len()) {
            return None;
        }
        Some(Self(String::from_utf8(text.to_vec()).ok()?))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A region name, such as `us-east-1`, `us-gov-west-1` or `eusc-de-east-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

impl Region {
    /// `None` unless the text is two or more lower-case words and a number of one or two digits, joined by `-`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 32)?;
        let (words, number) = text.rsplit_once('-')?;
        let digits = matches!(number.len(), 1 | 2) && number.bytes().all(|byte| byte.is_ascii_digit());
        let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        if !digits || words.split('-').count() < 2 || !words.split('-').all(word) {
            return None;
        }
        Some(Self(text.to_owned()))
    }

    /// The region of a zone: the name of the zone up to and including its first number.
    ///
    /// A letter or further words follow the number. This is also true for Local and Wavelength Zones: `us-west-2-lax-1a`,
    /// `us-east-1-wl1-bos-wlz-1`.
    #[must_use]
    pub(crate) fn of_zone(zone: &[u8]) -> Option<Self> {
        let start = zone.iter().position(u8::is_ascii_digit)?;
        let digits = zone.iter().skip(start).take_while(|byte| byte.is_ascii_digit()).count();
        let (region, rest) = zone.split_at_checked(start.checked_add(digits)?)?;
        let name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        match rest {
            [b'a'..=b'z'] => Self::parse(region),
            [b'-', words @ ..] if !words.is_empty() && words.iter().all(name) => Self::parse(region),
            _ => None,
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The DNS suffix of an AWS partition, always one of [`Domain::ALL`].
///
/// On a misconfigured network an attacker can answer instead of IMDS. The fixed list prevents a certificate for the attacker's own
/// domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    suffix: &'static str,
    /// Region prefixes and the partition of each. The first match applies.
    partitions: &'static [(&'static str, &'static str)],
}

impl Domain {
    /// The suffixes of all partitions (AWS SDK's `partitions.json`).
    pub const ALL: &[Self] = &[
        Self::new("amazonaws.com", &[("us-gov-", "aws-us-gov"), ("", "aws")]),
        Self::new("amazonaws.com.cn", &[("", "aws-cn")]),
        Self::new("c2s.ic.gov", &[("", "aws-iso")]),
        Self::new("sc2s.sgov.gov", &[("", "aws-iso-b")]),
        Self::new("cloud.adc-e.uk", &[("", "aws-iso-e")]),
        Self::new("csp.hci.ic.gov", &[("", "aws-iso-f")]),
        Self::new("amazonaws.eu", &[("", "aws-eusc")]),
    ];

    const fn new(suffix: &'static str, partitions: &'static [(&'static str, &'static str)]) -> Self {
        Self { suffix, partitions }
    }

    /// The partition of this domain and `region`, as in ARNs.
    #[must_use]
    pub fn partition(self, region: &Region) -> &'static str {
        let here = self.partitions.iter().find(|(prefix, _)| region.0.starts_with(prefix));
        here.map(|(_, partition)| *partition).unwrap_or_default()
    }

    /// The names of its partitions, as in ARNs.
    pub fn partitions(self) -> impl Iterator<Item = &'static str> {
        self.partitions.iter().map(|(_, partition)| *partition)
    }

    /// Parses the domain from IMDS. White space at its end is ignored.
    ///
    /// # Errors
    /// Fails if the text is not the suffix of a partition.
    pub fn parse(text: &[u8]) -> Result<Self, UnknownDomain> {
        let suffix = text.trim_ascii_end();
        let known = Self::ALL.iter().find(|domain| domain.suffix.as_bytes() == suffix);
        known.copied().ok_or_else(|| UnknownDomain(text.to_vec()))
    }
}

/// This text from IMDS is not the domain of a known partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDomain(Vec<u8>);

impl fmt::Display for UnknownDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = Escaped(&self.0);
        write!(f, "the metadata service's domain is not the domain of a known AWS partition: {domain}")
    }
}

impl std::error::Error for UnknownDomain {}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::{Domain, InstanceId, Region, UserName};

    #[test]
    fn user_names_are_those_that_the_api_takes() {
        let longest = "a".repeat(32);
        for name in [
            "a",
            "_",
            "ec2-user",
            "Ubuntu",
            "a.b",
            "a@b.c",
            "host$",
            "a-",
            "a.",
            "a@",
            "a..b",
            "1a",
            "0.",
            "12_$",
            &longest,
            "1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.",
        ] {
            assert!(UserName::parse(name.as_bytes()).is_some(), "{name}");
        }
        let too_long = "a".repeat(33);
        for name in [
            "",
            "-a",
            ".a",
            "@a",
            "$",
            "1",
            "123",
            "1$",
            "a$b",
            "a$$",
            "a/b",
            "..",
            "../a",
            "a%2e",
            "a?b",
            "a#b",
            "a b",
            "a\r",
            "a\n",
            "a\0",
            "a\\b",
            "ä",
            "aä",
            &too_long,
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@",
        ] {
            assert!(UserName::parse(name.as_bytes()).is_none(), "{name:?}");
        }
    }

    #[test]
    fn instance_ids() {
        for id in ["i-01234567", "i-0123456789abcdef0", "i-0123456789abcdef0123456789abcdef"] {
            assert!(InstanceId::parse(id.as_bytes()).is_some(), "{id}");
        }
        for id in [
            "",
            "i-",
            "i-0123456",
            "i-0123456789abcdef0123456789abcdef0",
            "i-0123456G",
            "I-01234567",
            "i-0123456A",
            "i-01234567\n",
        ] {
            assert!(InstanceId::parse(id.as_bytes()).is_none(), "{id:?}");
        }
    }

    #[test]
    fn regions() {
        for region in [
            "us-east-1",
            "ap-southeast-7",
            "mx-central-1",
            "us-gov-west-1",
            "us-isob-east-1",
            "eusc-de-east-1",
            "xx-new-12",
        ] {
            assert!(Region::parse(region.as_bytes()).is_some(), "{region}");
        }
        for region in [
            "",
            "us",
            "us-1",
            "us-east",
            "us-east-",
            "us-east-1a",
            "us-east-123",
            "-us-east-1",
            "us--east-1",
            "US-east-1",
            "us-east-1\n",
            "us-east-1.evil",
            "us/east-1",
            "us-east-1-",
            "us-east-1-2",
            "abcdefghijklmnop-abcdefghijklmnop-1",
        ] {
            assert!(Region::parse(region.as_bytes()).is_none(), "{region:?}");
        }
    }

    #[test]
    fn a_zones_region() {
        for (zone, region) in [
            ("us-east-1f", "us-east-1"),
            ("us-west-2-lax-1a", "us-west-2"),
            ("us-east-1-wl1-bos-wlz-1", "us-east-1"),
            ("us-gov-west-1a", "us-gov-west-1"),
            ("eusc-de-east-1a", "eusc-de-east-1"),
            ("us-isof-south-1a", "us-isof-south-1"),
        ] {
            assert_eq!(Region::of_zone(zone.as_bytes()), Region::parse(region.as_bytes()), "{zone}");
        }
        for zone in [
            "",
            "us-east",
            "1",
            "us.east-1a",
            "/../us-east-1a",
            "us-east-1",
            "us-east-1-",
            "us-east-1ab",
            "us-east-1a/..",
            "us-east-1-A",
        ] {
            assert!(Region::of_zone(zone.as_bytes()).is_none(), "{zone:?}");
        }
    }

    #[test]
    fn partitions() {
        for (domain, region, partition) in [
            ("amazonaws.com", "us-east-1", "aws"),
            ("amazonaws.com", "us-gov-west-1", "aws-us-gov"),
            ("amazonaws.com.cn", "cn-north-1", "aws-cn"),
            ("amazonaws.eu", "eusc-de-east-1", "aws-eusc"),
        ] {
            let found = Domain::parse(domain.as_bytes()).ok().zip(Region::parse(region.as_bytes()));
            assert_eq!(found.map(|(domain, region)| domain.partition(&region)), Some(partition), "{region}");
        }
    }

    #[test]
    fn domains() {
        assert!(Domain::parse(b"amazonaws.com").is_ok());
        assert!(Domain::parse(b"csp.hci.ic.gov\n").is_ok());
        for domain in [
            "",
            "evil.example",
            "amazonaws.com.evil.example",
            "amazonaws.com.",
            "AMAZONAWS.COM",
            "amazonaws.co",
        ] {
            assert!(Domain::parse(domain.as_bytes()).is_err(), "{domain:?}");
        }
    }
}
