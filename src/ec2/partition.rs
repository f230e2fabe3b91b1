//! The AWS partitions: their domains, and their names in ARNs.

use std::fmt;

use super::region::Region;
use crate::escape::Escaped;

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
        let here = self.partitions.iter().find(|(prefix, _)| region.starts_with(prefix));
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
    use super::Domain;

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
