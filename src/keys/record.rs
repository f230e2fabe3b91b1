//! Parses the active keys from IMDS into [`UnverifiedKey`]s.
//!
//! There is one record per key. Blank lines separate the records:
//!
//! ```text
//! #Timestamp=1738233608
//! #Instance=i-0123456789abcdef0
//! #Caller=arn:aws:iam::123412341234:role/myrole
//! #Request=1234abcd-1234-abcd-1234abcd1234
//! ssh-ed25519 AAAA...
//! <signature, base64, on one line or on several>
//! ```
//!
//! The signature is over the bytes of the `#` lines and the key line, so a record keeps them unchanged.

use std::fmt;

use base64ct::{Base64, Encoding};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::Fingerprint;
use crate::ec2::InstanceId;
use crate::limits;

/// A type of key that a record can have.
#[derive(Debug)]
pub struct KeyType {
    /// As in the key line.
    pub name: &'static str,
    /// The signature algorithms of such keys, as in sshd's settings. sshd must accept one.
    pub signatures: &'static str,
    /// What it is called, if EC2 Instance Connect's API takes keys of this type.
    pub pushed: Option<&'static str>,
}

/// The types of keys that sshd accepts.
pub const TYPES: &[KeyType] = &[
    KeyType { name: "ssh-ed25519", signatures: "ssh-ed25519", pushed: Some("ed25519") },
    KeyType { name: "ssh-rsa", signatures: "rsa-sha2-512,rsa-sha2-256", pushed: Some("RSA") },
    KeyType { name: "ecdsa-sha2-nistp256", signatures: "ecdsa-sha2-nistp256", pushed: None },
    KeyType { name: "ecdsa-sha2-nistp384", signatures: "ecdsa-sha2-nistp384", pushed: None },
    KeyType { name: "ecdsa-sha2-nistp521", signatures: "ecdsa-sha2-nistp521", pushed: None },
    KeyType { name: SK_ED25519, signatures: SK_ED25519, pushed: None },
    KeyType { name: SK_ECDSA, signatures: SK_ECDSA, pushed: None },
];

const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com";
const SK_ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

impl KeyType {
    /// Whether sshd accepts such keys, if it accepts these signature algorithms.
    pub(crate) fn is_accepted_by(&self, algorithms: &[&str]) -> bool {
        self.signatures.split(',').any(|name| algorithms.contains(&name))
    }
}

/// A record that was parsed but not verified.
#[derive(Clone, Debug)]
pub struct UnverifiedKey<'a> {
    /// The metadata lines and the key line, each with its LF: the signed bytes.
    pub(super) signed_bytes: &'a [u8],
    /// The key line without its LF.
    pub(super) line: &'a str,
    pub(super) signature: Vec<u8>,
    expiry: u64,
    instance: InstanceId,
    principal: Option<&'a [u8]>,
    request: Option<&'a [u8]>,
    fingerprint: Fingerprint,
}

/// Why a record cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// There is no key line.
    NoKey,
    /// There is no `#` line before the key line.
    NoMetadata,
    /// A metadata line occurs twice.
    Repeated(&'static str),
    /// A required metadata line is missing.
    Missing(&'static str),
    /// `Timestamp` is not a whole number of seconds since the epoch.
    Timestamp,
    /// `Instance` is not an instance ID.
    Instance,
    /// The key line is not a single public key: it has options or a certificate, or its blob has another type.
    Key,
    /// The size of the RSA key is outside [`limits::RSA_BITS`].
    RsaSize,
    /// sshd does not accept keys of this type, or accepts them only with a certificate.
    KeyType,
    /// The signature is missing, too long or not base64.
    Signature,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("it has no key line"),
            Self::NoMetadata => f.write_str("it has no metadata lines"),
            Self::Repeated(name) => write!(f, "it has more than one {name}"),
            Self::Missing(name) => write!(f, "it has no {name}"),
            Self::Timestamp => f.write_str("its Timestamp is not a number of seconds"),
            Self::Instance => f.write_str("its Instance is not an instance id"),
            Self::Key => f.write_str("its key line is not a single public key without options"),
            Self::RsaSize => {
                let (least, most) = (limits::RSA_BITS.start(), limits::RSA_BITS.end());
                write!(f, "its RSA key size is outside {least}-{most} bits")
            }
            Self::KeyType => f.write_str("sshd does not accept keys of its type"),
            Self::Signature => f.write_str("its signature is missing, too long or not base64"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Parses all records of `text` in their order. An invalid record does not affect the others.
pub fn records(text: &[u8]) -> impl Iterator<Item = Result<UnverifiedKey<'_>, RecordError>> {
    Blocks(text).map(UnverifiedKey::read)
}

impl<'a> UnverifiedKey<'a> {
    fn read(block: &'a [u8]) -> Result<Self, RecordError> {
        let mut rest = block;
        let mut metadata = Metadata::default();
        let mut line = next_line(&mut rest);
        if !line.starts_with(b"#") {
            return Err(RecordError::NoMetadata);
        }
        while line.starts_with(b"#") {
            metadata.read(line)?;
            line = next_line(&mut rest);
        }
        if line.is_empty() {
            return Err(RecordError::NoKey);
        }
        let signed_bytes = block.get(..block.len().saturating_sub(rest.len())).unwrap_or_default();
        if !signed_bytes.ends_with(b"\n") {
            return Err(RecordError::Signature);
        }
        let line = std::str::from_utf8(line).map_err(|_| RecordError::Key)?;
        let key = public_key(line)?;
        let expiry = metadata.timestamp.ok_or(RecordError::Missing("Timestamp"))?;
        let instance = metadata.instance.ok_or(RecordError::Missing("Instance"))?;
        Ok(Self {
            signed_bytes,
            line,
            signature: signature(rest)?,
            expiry: seconds(expiry).ok_or(RecordError::Timestamp)?,
            instance: InstanceId::parse(instance).ok_or(RecordError::Instance)?,
            principal: metadata.caller,
            request: metadata.request,
            fingerprint: Fingerprint::of(&key).ok_or(RecordError::Key)?,
        })
    }

    /// The expiry time, in seconds since the epoch. The key is valid while the current time is less than this.
    #[must_use]
    pub fn expiry(&self) -> u64 {
        self.expiry
    }

    /// The instance that the key was pushed to.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// The IAM principal that pushed the key. Remote text.
    #[must_use]
    pub fn principal(&self) -> Option<&'a [u8]> {
        self.principal
    }

    /// The ID of the API request that pushed the key. Remote text.
    #[must_use]
    pub fn request(&self) -> Option<&'a [u8]> {
        self.request
    }

    /// The type of the key, as in the key line, for example `ssh-ed25519`.
    #[must_use]
    pub(crate) fn key_type(&self) -> &'a str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The key as in the key line, in base64.
    #[must_use]
    pub(crate) fn base64(&self) -> &'a str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The key's blob (RFC 4253, section 6.6).
    #[must_use]
    pub(crate) fn blob(&self) -> Vec<u8> {
        Base64::decode_vec(self.base64()).unwrap_or_default()
    }

    /// The key's fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// The metadata lines that the program uses. Others are only part of the signed bytes.
#[derive(Default)]
struct Metadata<'a> {
    timestamp: Option<&'a [u8]>,
    instance: Option<&'a [u8]>,
    caller: Option<&'a [u8]>,
    request: Option<&'a [u8]>,
}

impl<'a> Metadata<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), RecordError> {
        for (name, slot) in [
            ("Timestamp", &mut self.timestamp),
            ("Instance", &mut self.instance),
            ("Caller", &mut self.caller),
            ("Request", &mut self.request),
        ] {
            let value = line.strip_prefix(b"#").and_then(|line| line.strip_prefix(name.as_bytes()));
            if let Some(value) = value.and_then(|value| value.strip_prefix(b"=")) {
                if slot.replace(value).is_some() {
                    return Err(RecordError::Repeated(name));
                }
            }
        }
        Ok(())
    }
}

/// Splits the text into blocks, one for each possible record. A block ends at a blank line, or at a `#` line after other lines: there
/// the blank line before the next record is missing.
struct Blocks<'a>(&'a [u8]);

impl<'a> Iterator for Blocks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some(rest) = self.0.strip_prefix(b"\n") {
            self.0 = rest;
        }
        let start = self.0;
        let mut rest = start;
        let mut past_metadata = false;
        while !rest.is_empty() {
            let before = rest;
            let line = next_line(&mut rest);
            let metadata = line.starts_with(b"#");
            if line.is_empty() || (metadata && past_metadata) {
                rest = before;
                break;
            }
            past_metadata |= !metadata;
        }
        self.0 = rest;
        start.get(..start.len().saturating_sub(rest.len())).filter(|block| !block.is_empty())
    }
}

/// Returns the next line without its LF, and sets `text` to the rest.
fn next_line<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let mut parts = text.splitn(2, |byte| *byte == b'\n');
    let line = parts.next().unwrap_or_default();
    *text = parts.next().unwrap_or_default();
    line
}

fn seconds(text: &[u8]) -> Option<u64> {
    // Eleven digits are enough until the year 5138.
    let digits = (1..=11).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// Parses a key line like sshd in `authorized_keys`, but more strictly: the type and the blob in canonical form, and optionally a
/// comment.
fn public_key(line: &str) -> Result<PublicKey, RecordError> {
    if line.len() > limits::KEY_LINE || line.chars().any(char::is_control) {
        return Err(RecordError::Key);
    }
    let key = PublicKey::from_openssh(line).map_err(|_| RecordError::Key)?;
    let algorithm = key.algorithm();
    if !TYPES.iter().any(|known| known.name == algorithm.as_str()) {
        return Err(RecordError::KeyType);
    }
    if let KeyData::Rsa(rsa) = key.key_data() {
        let modulus = rsa.n.as_positive_bytes().unwrap_or_default();
        if !limits::RSA_BITS.contains(&bits(modulus)) {
            return Err(RecordError::RsaSize);
        }
    }
    // The printed line must be what was checked: encoding the key again must give the same text.
    let canonical = PublicKey::from(key.key_data().clone()).to_openssh().map_err(|_| RecordError::Key)?;
    match line.strip_prefix(&canonical) {
        Some(comment) if comment.is_empty() || comment.starts_with(' ') => Ok(key),
        _ => Err(RecordError::Key),
    }
}

/// The number of bits of a modulus, whose first byte is not 0.
pub(crate) fn bits(modulus: &[u8]) -> u32 {
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(modulus.len()).unwrap_or(u32::MAX).saturating_mul(8).saturating_sub(unused)
}

fn signature(lines: &[u8]) -> Result<Vec<u8>, RecordError> {
    let base64: Vec<u8> = lines.iter().copied().filter(|byte| *byte != b'\n').collect();
    let base64 = std::str::from_utf8(&base64).map_err(|_| RecordError::Signature)?;
    let signature = Base64::decode_vec(base64).map_err(|_| RecordError::Signature)?;
    if signature.is_empty() || signature.len() > limits::SIGNATURE {
        Err(RecordError::Signature)
    } else {
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test may panic"
    )]

    use base64ct::{Base64, Encoding};

    use super::{RecordError, UnverifiedKey, records};
    use crate::limits;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const METADATA: &str = "#Timestamp=1738233608\n#Instance=i-0123456789abcdef0\n#Caller=arn:aws:iam::1:role/a\n#Request=1234\n";

    fn record() -> String {
        format!("{METADATA}{KEY}\nc2lnbmF0dXJl\n")
    }

    fn read(text: &str) -> Vec<Result<UnverifiedKey<'_>, RecordError>> {
        records(text.as_bytes()).collect()
    }

    fn error(text: &str) -> RecordError {
        let mut read = read(text);
        assert_eq!(read.len(), 1, "{text}");
        read.remove(0).unwrap_err()
    }

    #[test]
    fn a_record_is_read_with_the_bytes_that_were_signed() {
        let text = record();
        let key = read(&text).remove(0).unwrap();
        assert_eq!(key.signed_bytes, format!("{METADATA}{KEY}\n").as_bytes());
        assert_eq!(key.line, KEY);
        assert_eq!(key.signature, b"signature");
        assert_eq!(key.expiry(), 1_738_233_608);
        assert_eq!(key.instance().to_string(), "i-0123456789abcdef0");
        assert_eq!(key.principal(), Some(&b"arn:aws:iam::1:role/a"[..]));
        assert_eq!(key.request(), Some(&b"1234"[..]));
        assert_eq!(key.fingerprint().to_string(), "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ");
    }

    #[test]
    fn what_a_record_may_look_like() {
        let ordinary = record();
        for text in [
            ordinary.trim_end().to_owned(),
            ordinary.replace("c2lnbmF0dXJl", "c2ln\nbmF0\ndXJl"),
            ordinary.replace("#Caller=arn:aws:iam::1:role/a\n", "").replace("#Request=1234\n", ""),
            ordinary.replace("#Request=1234\n", "#Request=1234\n#Unknown=1\n#Unknown=2\n#\n# a word\n"),
            format!(
                "#Request=1234\n#Instance=i-0123456789abcdef0\n#Timestamp=1738233608\n{KEY}\nc2lnbmF0dXJl"
            ),
            ordinary.replace(KEY, &format!("{KEY} me@example")),
            format!("\n\n{ordinary}\n\n"),
        ] {
            let read = read(&text);
            assert!(
                matches!(read.as_slice(), [Ok(key)] if key.signature == b"signature"),
                "{text}: {read:?}"
            );
        }
    }

    #[test]
    fn what_is_refused() {
        let ordinary = record();
        for (from, to, expected) in [
            ("#Timestamp=1738233608\n", "", RecordError::Missing("Timestamp")),
            ("#Timestamp=1738233608\n", "#timestamp=1738233608\n", RecordError::Missing("Timestamp")),
            ("#Instance=i-0123456789abcdef0\n", "", RecordError::Missing("Instance")),
            ("#Request=1234\n", "#Request=1234\n#Timestamp=1738233608\n", RecordError::Repeated("Timestamp")),
            (
                "#Request=1234\n",
                "#Request=1234\n#Instance=i-0123456789abcdef0\n",
                RecordError::Repeated("Instance"),
            ),
            ("#Request=1234\n", "#Request=1234\n#Caller=me\n", RecordError::Repeated("Caller")),
            ("#Request=1234\n", "#Request=1234\n#Request=1234\n", RecordError::Repeated("Request")),
            ("=1738233608", "=", RecordError::Timestamp),
            ("=1738233608", "=-1738233608", RecordError::Timestamp),
            ("=1738233608", "=+1738233608", RecordError::Timestamp),
            ("=1738233608", "=1738233608.0", RecordError::Timestamp),
            ("=1738233608", "=1738233608 ", RecordError::Timestamp),
            ("=1738233608", "=1738233608\r", RecordError::Timestamp),
            ("=1738233608", "=0x67", RecordError::Timestamp),
            ("=1738233608", "=999999999999", RecordError::Timestamp),
            ("=1738233608", "=18446744073709551617", RecordError::Timestamp),
            ("=i-0123456789abcdef0", "=i-0123456789abcdeg0", RecordError::Instance),
            ("=i-0123456789abcdef0", "= i-0123456789abcdef0", RecordError::Instance),
            (METADATA, "", RecordError::NoMetadata),
            (
                KEY,
                "command=\"true\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
                RecordError::Key,
            ),
            (
                KEY,
                " ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
                RecordError::Key,
            ),
            (
                KEY,
                "ssh-ed25519  AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
                RecordError::Key,
            ),
            (
                KEY,
                "ssh-ed25519\tAAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
                RecordError::Key,
            ),
            (
                KEY,
                "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
                RecordError::Key,
            ),
            (
                KEY,
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqt",
                RecordError::Key,
            ),
            (
                KEY,
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqtiAAAA",
                RecordError::Key,
            ),
            (KEY, "ssh-ed25519", RecordError::Key),
            (KEY, &format!("{KEY}\r"), RecordError::Key),
            (KEY, &format!("{KEY} com\0ment"), RecordError::Key),
            (KEY, &format!("{KEY} com\u{85}ment"), RecordError::Key),
            ("\nc2lnbmF0dXJl\n", "", RecordError::Signature),
            ("c2lnbmF0dXJl\n", "", RecordError::Signature),
            ("c2lnbmF0dXJl", "c2lnbmF0dXJ", RecordError::Signature),
            ("c2lnbmF0dXJl", "c2lnbmF0dXJl ", RecordError::Signature),
            ("c2lnbmF0dXJl", "c2ln bmF0dXJl", RecordError::Signature),
            ("c2lnbmF0dXJl", "c2lnbmF0dXJl\r", RecordError::Signature),
            ("c2lnbmF0dXJl", "c2lnbmF0dXJlc2ln!", RecordError::Signature),
            ("c2lnbmF0dXJl", &"c2ln".repeat(400), RecordError::Signature),
        ] {
            let text = ordinary.replacen(from, to, 1);
            assert_ne!(text, ordinary, "{from}");
            assert_eq!(error(&text), expected, "{text:?}");
        }
        assert_eq!(error(METADATA), RecordError::NoKey);
    }

    #[test]
    fn the_longest_key_line_and_signature() {
        let key_line = |length: usize| format!("{KEY} {}", "c".repeat(length.saturating_sub(KEY.len() + 1)));
        let signature = |length| Base64::encode_string(&vec![1; length]);
        let text = |key: &str, signature: &str| format!("{METADATA}{key}\n{signature}\n");
        let longest = text(&key_line(limits::KEY_LINE), &signature(limits::SIGNATURE));
        assert!(read(&longest).remove(0).is_ok());
        assert_eq!(error(&text(&key_line(limits::KEY_LINE + 1), "c2ln")), RecordError::Key);
        assert_eq!(error(&text(KEY, &signature(limits::SIGNATURE + 1))), RecordError::Signature);
    }

    #[test]
    fn the_smallest_and_the_largest_rsa_key() {
        let sized = |bits: u32| {
            let mut modulus = vec![0; usize::try_from(bits.div_ceil(8)).unwrap()];
            modulus[0] = 1 << ((bits - 1) % 8);
            // A sign bit in the first byte needs another one before it.
            let sign = if modulus[0] == 0x80 { &[0][..] } else { &[] };
            let parts = [&b"ssh-rsa"[..], &[1, 0, 1], &[sign, &modulus].concat()];
            let string = |part: &[u8]| [&u32::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
            let blob = Base64::encode_string(&parts.map(string).concat());
            read(&format!("{METADATA}ssh-rsa {blob}\nc2ln\n")).remove(0).map(|_| ())
        };
        let (least, most) = limits::RSA_BITS.into_inner();
        for (bits, expected) in [
            (least - 1, Err(RecordError::RsaSize)),
            (least, Ok(())),
            (most, Ok(())),
            (most + 1, Err(RecordError::RsaSize)),
        ] {
            assert_eq!(sized(bits), expected, "{bits}");
        }
    }

    #[test]
    fn a_damaged_record_hides_no_other() {
        let good = record();
        let unsigned = format!("{METADATA}{KEY}\n");
        for (text, expected) in [
            (format!("{good}\n{good}"), vec![true, true]),
            (format!("{good}{good}"), vec![true, true]),
            (format!("{unsigned}\n{good}"), vec![false, true]),
            (format!("{unsigned}{good}"), vec![false, true]),
            (format!("garbage\n{good}"), vec![false, true]),
            (format!("\u{0}\u{1}\n\n{good}\n#Timestamp=1"), vec![false, true, false]),
            (format!("{METADATA}\n{KEY}\nc2lnbmF0dXJl\n\n{good}"), vec![false, false, true]),
        ] {
            let read: Vec<bool> = read(&text).iter().map(Result::is_ok).collect();
            assert_eq!(read, expected, "{text:?}");
        }
        let mut bytes = b"#Timestamp=\xff\xfe\n\xff\n\n".to_vec();
        bytes.extend_from_slice(good.as_bytes());
        assert_eq!(records(&bytes).map(|record| record.is_ok()).collect::<Vec<_>>(), [false, true]);
    }
}
