//! A writer of DER (X.690), as far as certificates and OCSP responses need it.
//!
//! Every function returns one whole element. Nothing is checked, so that a test can also write what no encoder would.
use crate::utc;
use jiff::tz::TimeZone;

/// An element: tag, definite length, content.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=0x7f => out.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let digits = &bytes[bytes.iter().position(|b| *b != 0).unwrap()..];
            out.push(0x80 | digits.len() as u8);
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(content);
    out
}

/// SEQUENCE of whole elements.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// SET of whole elements, in the order given.
pub fn set(parts: &[&[u8]]) -> Vec<u8> {
    element(0x31, &parts.concat())
}

/// `[number]` around whole elements (EXPLICIT, or IMPLICIT of a constructed type).
pub fn tagged(number: u8, content: &[u8]) -> Vec<u8> {
    element(0xa0 | number, content)
}

/// `[number]` IMPLICIT of a primitive type: the content without the type's own tag.
pub fn tagged_primitive(number: u8, content: &[u8]) -> Vec<u8> {
    element(0x80 | number, content)
}

/// INTEGER of an unsigned big-endian number.
pub fn integer(unsigned: &[u8]) -> Vec<u8> {
    let start = unsigned.iter().position(|b| *b != 0).unwrap_or(unsigned.len());
    let digits = &unsigned[start..];
    match digits.first() {
        None => element(2, &[0]),
        Some(first) if *first >= 0x80 => element(2, &[&[0], digits].concat()),
        Some(_) => element(2, digits),
    }
}

/// INTEGER of a small number.
pub fn small(number: u32) -> Vec<u8> {
    integer(&number.to_be_bytes())
}

/// BOOLEAN.
pub fn boolean(value: bool) -> Vec<u8> {
    element(1, &[if value { 0xff } else { 0 }])
}

/// ENUMERATED.
pub fn enumerated(value: u8) -> Vec<u8> {
    element(10, &[value])
}

/// NULL.
pub fn null() -> Vec<u8> {
    element(5, &[])
}

/// OCTET STRING.
pub fn octets(content: &[u8]) -> Vec<u8> {
    element(4, content)
}

/// BIT STRING of whole bytes.
pub fn bits(content: &[u8]) -> Vec<u8> {
    element(3, &[&[0], content].concat())
}

/// BIT STRING of named bits, first bit highest, without trailing zero bits as DER requires.
pub fn flags(byte: u8) -> Vec<u8> {
    match byte {
        0 => element(3, &[0]),
        _ => element(3, &[byte.trailing_zeros() as u8, byte]),
    }
}

/// OBJECT IDENTIFIER from its dotted form.
pub fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u32> = dotted.split('.').map(|arc| arc.parse().expect("a dotted OID")).collect();
    let mut content = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let groups = (1..5).take_while(|n| arc >> (7 * n) != 0).count();
        content.extend((0..=groups).rev().map(|n| {
            let more = if n == 0 { 0 } else { 0x80 };
            (arc >> (7 * n)) as u8 & 0x7f | more
        }));
    }
    element(6, &content)
}

/// GeneralizedTime, to the second, in UTC.
pub fn generalized_time(unix: i64) -> Vec<u8> {
    element(24, utc(unix).strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
}

/// The time of a certificate: UTCTime before 2050, then GeneralizedTime (RFC 5280 section 4.1.2.5).
pub fn time(unix: i64) -> Vec<u8> {
    let at = utc(unix);
    match at.to_zoned(TimeZone::UTC).year() {
        1950..2050 => element(23, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()),
        _ => generalized_time(unix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lengths_have_their_own_bytes() {
        assert_eq!(element(4, &[7; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(element(4, &[7; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(element(4, &[7; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
    }

    #[test]
    fn integers_are_minimal_and_stay_positive() {
        assert_eq!(small(0), [2, 1, 0]);
        assert_eq!(small(127), [2, 1, 127]);
        assert_eq!(small(128), [2, 2, 0, 128]);
        assert_eq!(integer(&[0, 0, 1]), [2, 1, 1]);
    }

    #[test]
    fn large_arcs_of_object_identifiers_take_several_bytes() {
        assert_eq!(oid("1.2.840.113549"), [6, 6, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
        assert_eq!(oid("2.5.29.15"), [6, 3, 0x55, 0x1d, 0x0f]);
    }

    #[test]
    fn times_change_their_form_in_2050() {
        assert_eq!(time(1_738_233_608), element(23, b"250130104008Z"));
        assert_eq!(time(951_782_400), element(23, b"000229000000Z"));
        assert_eq!(time(2_524_608_000), element(24, b"20500101000000Z"));
        assert_eq!(time(-631_152_000), element(23, b"500101000000Z"));
        assert_eq!(time(-631_152_001), element(24, b"19491231235959Z"));
        assert_eq!(generalized_time(-1), element(24, b"19691231235959Z"));
    }
}
