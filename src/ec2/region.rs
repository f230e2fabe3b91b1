//! The region of an instance, and that of a zone.

use std::fmt;

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

    pub(super) fn starts_with(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Region;

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
}
