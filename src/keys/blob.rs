//! The active-keys text, as IMDS gives it → [`SignedKey`]s.
//!
//! One record a key, records separated by blank lines:
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
//! What is signed are the bytes of the `#` lines and of the key line, so a record keeps them as they came.

use std::fmt;

use base64ct::{Base64, Encoding};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::Fingerprint;
use crate::imds::facts::InstanceId;
use crate::limits;

/// A record that has been read, but not proved.
#[derive(Clone, Debug)]
pub struct SignedKey<'a> {
    /// The metadata lines and the key line, each with its LF: what the signature is over.
    pub(super) signed: &'a [u8],
    /// The key line without its LF.
    pub(super) line: &'a str,
    pub(super) signature: Vec<u8>,
    expiry: u64,
    instance: InstanceId,
    caller: Option<&'a [u8]>,
    request: Option<&'a [u8]>,
    fingerprint: Fingerprint,
}

/// Why a record was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// There is no key line.
    NoKey,
    /// There is no `#` line before the key.
    NoMetadata,
    /// A metadata line that may occur once occurs again.
    Repeated(&'static str),
    /// A metadata line that must be there is not.
    Missing(&'static str),
    /// `Timestamp` is not a whole number of seconds since the epoch.
    Timestamp,
    /// `Instance` is not an instance's id.
    Instance,
    /// The key line is something else than one bare public key: options before it, a certificate, a blob of another type.
    Key,
    /// RSA with fewer than 2,048 bits, or more than the 16,384 that sshd takes.
    RsaSize,
    /// A type that sshd does not take, or not without a certificate.
    KeyType,
    /// There is no signature, or it is not base64, or it is too long.
    Signature,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("it has no key line"),
            Self::NoMetadata => f.write_str("it has no metadata lines"),
            Self::Repeated(name) => write!(f, "its {name} is there twice"),
            Self::Missing(name) => write!(f, "it has no {name}"),
            Self::Timestamp => f.write_str("its Timestamp is not a number of seconds"),
            Self::Instance => f.write_str("its Instance is not an instance id"),
            Self::Key => f.write_str("its key line is not one bare public key"),
            Self::RsaSize => f.write_str("its RSA key has not between 2048 and 16384 bits"),
            Self::KeyType => f.write_str("its key is of a type that sshd does not take"),
            Self::Signature => f.write_str("its signature is missing or not base64"),
        }
    }
}

/// Reads every record of `text`, in the order delivered. Each stands alone: a damaged one hides no other.
pub fn records(text: &[u8]) -> impl Iterator<Item = Result<SignedKey<'_>, Damage>> {
    Blocks(text).map(SignedKey::read)
}

impl<'a> SignedKey<'a> {
    fn read(block: &'a [u8]) -> Result<Self, Damage> {
        let mut rest = block;
        let mut metadata = Metadata::default();
        let mut line = next_line(&mut rest);
        if !line.starts_with(b"#") {
            return Err(Damage::NoMetadata);
        }
        while line.starts_with(b"#") {
            metadata.read(line)?;
            line = next_line(&mut rest);
        }
        if line.is_empty() {
            return Err(Damage::NoKey);
        }
        let signed = block.get(..block.len().saturating_sub(rest.len())).unwrap_or_default();
        if !signed.ends_with(b"\n") {
            return Err(Damage::Signature);
        }
        let line = std::str::from_utf8(line).map_err(|_| Damage::Key)?;
        let key = public_key(line)?;
        let expiry = metadata.timestamp.ok_or(Damage::Missing("Timestamp"))?;
        let instance = metadata.instance.ok_or(Damage::Missing("Instance"))?;
        Ok(Self {
            signed,
            line,
            signature: signature(rest)?,
            expiry: seconds(expiry).ok_or(Damage::Timestamp)?,
            instance: InstanceId::parse(instance).ok_or(Damage::Instance)?,
            caller: metadata.caller,
            request: metadata.request,
            fingerprint: Fingerprint::of(&key),
        })
    }

    /// When the key ceases to be valid: it is while this is greater than the time. Seconds since the epoch.
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
    pub fn caller(&self) -> Option<&'a [u8]> {
        self.caller
    }

    /// The id of the API request that pushed the key. Remote text.
    #[must_use]
    pub fn request(&self) -> Option<&'a [u8]> {
        self.request
    }

    /// The key's fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// The metadata lines that mean something to us. Others are signed like these, and that is all.
#[derive(Default)]
struct Metadata<'a> {
    timestamp: Option<&'a [u8]>,
    instance: Option<&'a [u8]>,
    caller: Option<&'a [u8]>,
    request: Option<&'a [u8]>,
}

impl<'a> Metadata<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), Damage> {
        for (name, slot) in [
            ("Timestamp", &mut self.timestamp),
            ("Instance", &mut self.instance),
            ("Caller", &mut self.caller),
            ("Request", &mut self.request),
        ] {
            let value = line.strip_prefix(b"#").and_then(|line| line.strip_prefix(name.as_bytes()));
            if let Some(value) = value.and_then(|value| value.strip_prefix(b"=")) {
                if slot.replace(value).is_some() {
                    return Err(Damage::Repeated(name));
                }
            }
        }
        Ok(())
    }
}

/// Blocks of lines that may be a record: ended by a blank line, or by a `#` line after others, which begins the next
/// record where the blank line between the two was lost.
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

/// The next line without its LF; `text` is what comes after it.
fn next_line<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let mut parts = text.splitn(2, |byte| *byte == b'\n');
    let line = parts.next().unwrap_or_default();
    *text = parts.next().unwrap_or_default();
    line
}

fn seconds(text: &[u8]) -> Option<u64> {
    // Eleven digits reach the year 5138.
    let digits = (1..=11).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// Reads a key line as sshd would read it in `authorized_keys`, and takes less than sshd: type and blob as they are
/// written canonically, then at most a comment.
fn public_key(line: &str) -> Result<PublicKey, Damage> {
    if line.chars().any(char::is_control) {
        return Err(Damage::Key);
    }
    let key = PublicKey::from_openssh(line).map_err(|_| Damage::Key)?;
    match key.key_data() {
        KeyData::Rsa(rsa) => {
            let modulus = rsa.n.as_positive_bytes().unwrap_or_default();
            let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
            let bits =
                u32::try_from(modulus.len()).unwrap_or(u32::MAX).saturating_mul(8).saturating_sub(unused);
            if !(2048..=16384).contains(&bits) {
                return Err(Damage::RsaSize);
            }
        }
        KeyData::Ecdsa(_) | KeyData::Ed25519(_) | KeyData::SkEcdsaSha2NistP256(_) | KeyData::SkEd25519(_) => {
        }
        _ => return Err(Damage::KeyType),
    }
    // What is printed must be what was looked at: writing the key again gives the same text.
    let canonical = PublicKey::from(key.key_data().clone()).to_openssh().map_err(|_| Damage::Key)?;
    match line.strip_prefix(&canonical) {
        Some(comment) if comment.is_empty() || comment.starts_with(' ') => Ok(key),
        _ => Err(Damage::Key),
    }
}

fn signature(lines: &[u8]) -> Result<Vec<u8>, Damage> {
    let base64: Vec<u8> = lines.iter().copied().filter(|byte| *byte != b'\n').collect();
    let base64 = std::str::from_utf8(&base64).map_err(|_| Damage::Signature)?;
    let signature = Base64::decode_vec(base64).map_err(|_| Damage::Signature)?;
    if signature.is_empty() || signature.len() > limits::SIGNATURE {
        Err(Damage::Signature)
    } else {
        Ok(signature)
    }
}
