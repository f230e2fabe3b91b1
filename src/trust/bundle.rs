//! Finds certificates in a bundle by their subject, without decoding the others.
//!
//! A bundle has 140 certificates and a path needs one. Decoding all of them takes longer than the rest of a login. So only the base64
//! characters with the lengths of the fields before the subject are decoded.
//!
//! Certificates that are found are parsed and checked like any other. A certificate can be missed if the format of the bundle is
//! unusual, so a caller that finds no path reads the whole bundle.

use std::io::{BufRead, BufReader, Read};

use pki_types::CertificateDer;
use pki_types::pem::PemObject;

use crate::limits;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

const BUFFER: usize = 32 * 1024;

/// The certificates of a PEM text with one of the given names as subject, in their order.
pub(super) struct Search<'a, R> {
    text: BufReader<R>,
    /// DER of the contents of the names.
    names: &'a [Vec<u8>],
    section: Vec<u8>,
}

impl<'a, R: Read> Search<'a, R> {
    pub(super) fn new(text: R, names: &'a [Vec<u8>]) -> Self {
        Self { text: BufReader::with_capacity(BUFFER, text), names, section: Vec::new() }
    }

    /// Reads a certificate from its begin line to its end line. Returns the range of the base64 text, or `None` if there is no other
    /// certificate or the format is unusual.
    fn next_section(&mut self) -> Option<std::ops::Range<usize>> {
        loop {
            self.section.clear();
            if self.read_until(b'\n')? == 0 {
                return None;
            }
            if self.section.trim_ascii_end() == BEGIN {
                break;
            }
        }
        let start = self.section.len();
        // Base64 has no hyphen.
        self.read_until(b'-')?;
        let end = self.section.len().checked_sub(1)?;
        self.read_until(b'\n')?;
        (self.section.get(end..)?.trim_ascii_end() == END).then_some(start..end)
    }

    fn read_until(&mut self, byte: u8) -> Option<usize> {
        (&mut self.text).take(limits::TRUST_STORE_CERTIFICATE).read_until(byte, &mut self.section).ok()
    }
}

impl<R: Read> Iterator for Search<'_, R> {
    type Item = CertificateDer<'static>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let base64 = self.next_section()?;
            let named = self.section.get(base64).and_then(Base64::new).is_none_or(|text| {
                // If the subject cannot be read, return the certificate; the caller checks it.
                text.subject().is_none_or(|subject| self.names.iter().any(|name| subject.is(name)))
            });
            if named {
                if let Ok(certificate) = CertificateDer::from_pem_slice(&self.section) {
                    return Some(certificate);
                }
            }
        }
    }
}

/// Base64 text in lines of 64 characters (RFC 7468 section 2).
#[derive(Clone, Copy, Debug)]
struct Base64<'a>(&'a [u8]);

/// A DER element: its tag, and the range of its contents.
#[derive(Clone, Copy, Debug)]
struct Element<'a> {
    der: Base64<'a>,
    tag: u8,
    start: usize,
    end: usize,
}

/// The six bits of each character (RFC 4648 section 4), [`NOT_BASE64`] for others. A login decodes some 10,000 characters, so this is a
/// table.
#[allow(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which reports an index that is out of range"
)]
static SEXTETS: [u8; 256] = {
    let alphabet = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut sextets = [NOT_BASE64; 256];
    let mut sextet: u8 = 0;
    while sextet < 64 {
        sextets[alphabet[sextet as usize] as usize] = sextet;
        sextet += 1;
    }
    sextets
};
const NOT_BASE64: u8 = 0xff;

impl<'a> Base64<'a> {
    /// Characters per line, without the line end. It is a multiple of four, so that no group is in two lines.
    const LINE: usize = 64;

    fn new(text: &'a [u8]) -> Option<Self> {
        (text.get(Self::LINE) == Some(&b'\n')).then_some(Self(text))
    }

    /// The three bytes of a group of four characters.
    fn group(self, number: usize) -> Option<[u8; 3]> {
        let line_ends = number / (Self::LINE / 4);
        let characters: [u8; 4] =
            self.0.get(number.checked_mul(4)?.checked_add(line_ends)?..)?.first_chunk().copied()?;
        let [a, b, c, d] =
            characters.map(|character| SEXTETS.get(usize::from(character)).copied().unwrap_or(NOT_BASE64));
        ((a | b | c | d) < 64).then_some([a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d])
    }

    /// The byte at position `at`.
    fn byte(self, at: usize) -> Option<u8> {
        self.group(at / 3)?.get(at % 3).copied()
    }

    /// The element at position `at` (X.690 section 8.1), if its length has at most two bytes.
    fn element(self, at: usize) -> Option<Element<'a>> {
        let group = at / 3;
        let groups = [self.group(group)?, self.group(group.checked_add(1)?)?];
        let [tag, first, high, low] = groups.as_flattened().get(at % 3..)?.first_chunk().copied()?;
        let (octets, length) = match first {
            0..=0x7f => (0, u16::from(first)),
            0x81 => (1, u16::from(high)),
            0x82 => (2, u16::from_be_bytes([high, low])),
            // Certificates have no indefinite length (0x80).
            _ => return None,
        };
        let start = at.checked_add(2)?.checked_add(octets)?;
        Some(Element { der: self, tag, start, end: start.checked_add(length.into())? })
    }

    /// The subject of the certificate (RFC 5280 section 4.1).
    fn subject(self) -> Option<Element<'a>> {
        const SEQUENCE: u8 = 0x30;
        const VERSION: u8 = 0xa0;
        const INTEGER: u8 = 0x02;
        let certificate = self.element(0)?.with(SEQUENCE)?;
        let tbs = self.element(certificate.start)?.with(SEQUENCE)?;
        let mut field = self.element(tbs.start)?;
        if field.tag == VERSION {
            field = self.element(field.end)?;
        }
        field.with(INTEGER)?;
        // signature algorithm, issuer, validity, subject
        for _ in 0..4 {
            field = self.element(field.end)?.with(SEQUENCE)?;
        }
        Some(field)
    }
}

impl Element<'_> {
    fn with(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }

    /// Whether the contents of the element are `contents`.
    fn is(self, contents: &[u8]) -> bool {
        self.end.checked_sub(self.start) == Some(contents.len())
            && (self.start..self.end).zip(contents).all(|(at, byte)| self.der.byte(at) == Some(*byte))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;

    use pki_types::CertificateDer;
    use pki_types::pem::PemObject;

    use super::{Base64, Search};
    use crate::limits;

    /// Certificates of Debian's trust store with all the kinds of fields that it has: serial numbers, signatures, times, names and keys of
    /// different lengths.
    const BUNDLE: &str = include_str!("../../tests/data/trust-store.pem");

    /// The trust store of this machine, if it has one.
    const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

    fn all(text: &[u8]) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(text).filter_map(Result::ok).collect()
    }

    fn found(text: &[u8], names: &[Vec<u8>]) -> Vec<CertificateDer<'static>> {
        Search::new(text, names).collect()
    }

    #[test]
    fn each_certificate_is_found_by_its_subject_and_no_other() {
        let system = fs::read(SYSTEM).ok();
        for text in [BUNDLE.into()].into_iter().chain(system) {
            let certificates = all(&text);
            let subject =
                |der: &CertificateDer<'_>| webpki::anchor_from_trusted_cert(der).unwrap().subject.to_vec();
            let subjects: Vec<_> = certificates.iter().map(subject).collect();
            for name in &subjects {
                let same = subjects.iter().zip(&certificates).filter(|(other, _)| *other == name);
                let expected: Vec<_> = same.map(|(_, certificate)| certificate.clone()).collect();
                assert_eq!(found(&text, std::slice::from_ref(name)), expected);
            }
            assert_eq!(found(&text, &subjects), certificates);
            assert_eq!(found(&text, &[b"nobody".to_vec()]), []);
            assert_eq!(found(&text, &[]), []);
        }
    }

    #[test]
    fn text_between_certificates_does_not_count() {
        let certificates = all(BUNDLE.as_bytes());
        let name = [webpki::anchor_from_trusted_cert(certificates.get(9).unwrap()).unwrap().subject.to_vec()];
        let commented = BUNDLE.replace("-----BEGIN", "# A comment - G2\n\n-----BEGIN");
        assert_eq!(found(commented.as_bytes(), &name).first(), certificates.get(9));
    }

    #[test]
    fn a_certificate_with_other_lines_is_left_to_the_caller() {
        let certificates = all(BUNDLE.as_bytes());
        let one = BUNDLE.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        let (head, tail) = one.split_at(100);
        // Found although its subject is not one of the names.
        for odd in [one.replace('\n', "\r\n"), format!("{head}\n{tail}")] {
            assert_eq!(
                found(odd.as_bytes(), &[b"nobody".to_vec()]),
                certificates.first().cloned().into_iter().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn damage_ends_the_search() {
        let text = BUNDLE.as_bytes().to_vec();
        let nobody = [b"nobody".to_vec()];
        let begin = b"-----BEGIN CERTIFICATE-----\n".to_vec();
        let endless = vec![b'A'; usize::try_from(limits::TRUST_STORE_CERTIFICATE).unwrap() * 2];
        for damaged in [
            begin.clone(),
            [begin.clone(), text.clone()].concat(),
            [begin.clone(), endless.clone(), text.clone()].concat(),
            [endless, text.clone()].concat(),
            [begin, b"Proc-Type: 4,ENCRYPTED\n".to_vec(), text].concat(),
        ] {
            assert_eq!(found(&damaged, &nobody), []);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_subject() {
        for text in [
            "",
            "\n",
            "MIID\n",
            "AAAA\nAAAA\n",
            "MIIDgzCCA\n=",
            "/////////////////////\n/////////////////////\n",
        ] {
            assert!(Base64::new(text.as_bytes()).and_then(Base64::subject).is_none(), "{text:?}");
        }
    }
}
