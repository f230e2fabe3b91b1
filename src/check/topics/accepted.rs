//! Checks whether sshd refuses the pushed keys themselves: by their type, their size, or a list of revoked keys.

use std::io;
use std::path::Path;

use base64ct::{Base64, Encoding};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use crate::check::fix::Fix;
use crate::check::runner::Answer;
use crate::check::settings::Settings;
use crate::files;
use crate::keys::{UnverifiedKey, record};
use crate::limits;
use crate::sshd::config::KEY_TYPES;

/// How a list of revoked keys in OpenSSH's binary format begins (`PROTOCOL.krl`).
const KRL: &[u8] = b"SSHKRL\n\0";

/// Whether sshd accepts these keys, which eic-keys would provide.
pub(super) fn accepted(keys: &[UnverifiedKey<'_>], settings: &Settings, root: &Path) -> Answer<()> {
    let list = settings.one("revokedkeys");
    // sshd.revoked reports a list that cannot be read.
    let revoked = match list {
        "" | "none" => None,
        path => read(root, Path::new(path)).ok(),
    };
    let mut refused = Vec::new();
    for key in keys {
        refused.extend(refusal(key, settings, revoked.as_deref()).map(|refusal| (key, refusal)));
    }
    let Some((key, (keyword, reason, change))) = refused.first() else {
        return Answer::ok("sshd accepts the type and size of the pushed keys, and none is revoked", ());
    };
    let note = format!("the pushed key {} {}: {reason}", key.key_type(), key.fingerprint());
    if refused.len() == keys.len() {
        settings.refuses(keyword, &note, change)
    } else {
        Answer::warn(note, Fix::advice("offer another of the pushed keys"), ())
    }
}

/// The keyword that refuses a key, the reason, and what to change.
fn refusal(
    key: &UnverifiedKey<'_>,
    settings: &Settings,
    revoked: Option<&[u8]>,
) -> Option<(&'static str, String, &'static str)> {
    let algorithms = match key.key_type() {
        "ssh-rsa" => &["rsa-sha2-512", "rsa-sha2-256"][..],
        other => &[other],
    };
    let accepted = settings.accepted_algorithms();
    if !accepted.is_empty() && !algorithms.iter().any(|name| accepted.contains(name)) {
        let note = format!("sshd accepts no signatures of this type ({})", algorithms.join(", "));
        return Some((KEY_TYPES, note, "push a key of another type, or add that algorithm"));
    }
    let blob = key.blob();
    let required = settings.one("requiredrsasize").parse().unwrap_or(0);
    if let Some(bits) = rsa_bits(&blob).filter(|bits| *bits < required) {
        let note = format!("it has {bits} bits, and RequiredRSASize is {required}");
        return Some(("requiredrsasize", note, "push a larger key or an ed25519 key"));
    }
    let list = settings.one("revokedkeys");
    let is_revoked = |text: &[u8]| {
        if text.starts_with(KRL) { in_krl(text, &blob).unwrap_or(false) } else { in_text(text, key.base64()) }
    };
    revoked
        .is_some_and(is_revoked)
        .then(|| ("revokedkeys", format!("it is on the list of revoked keys {list}"), "push another key"))
}

/// The beginning of a list of revoked keys.
pub(super) fn read(root: &Path, path: &Path) -> io::Result<Vec<u8>> {
    files::read_beginning(&files::below(root, path), limits::REVOKED_KEYS)
}

/// What sshd cannot read in a list of revoked keys, and what to do with the list.
pub(super) fn fault(list: &[u8]) -> Option<(String, &'static str)> {
    // A longer list was not read to its end.
    let is_whole = u64::try_from(list.len()).is_ok_and(|length| length < limits::REVOKED_KEYS);
    if list.starts_with(KRL) {
        // All of it is read to look for a key.
        let is_cut = is_whole && in_krl(list, &[]).is_none();
        return is_cut.then(|| ("is cut off".to_owned(), "generate it again with ssh-keygen -k:"));
    }
    let lines = if is_whole { Some(list.len()) } else { list.iter().rposition(|byte| *byte == b'\n') };
    let lines = list.get(..lines.unwrap_or_default()).unwrap_or_default();
    let line = lines.split(|byte| *byte == b'\n').position(|line| !is_key(line))?;
    Some((format!("line {} is not a public key", line.saturating_add(1)), "remove that line from"))
}

/// Whether a line of a list can be a key, or has none.
fn is_key(line: &[u8]) -> bool {
    let mut words = words(line);
    match (words.next(), words.next()) {
        (None, _) => true,
        (Some(first), _) if first.starts_with(b"#") => true,
        // The names of all types of keys have a hyphen.
        (Some(first), second) => {
            first.first().is_some_and(u8::is_ascii_alphabetic)
                && first.contains(&b'-')
                && second.is_some_and(|blob| is_whole_key(blob).is_some())
        }
    }
}

/// Whether the blob of a key is whole: but for a certificate's, it consists of strings, and the first one is its type.
fn is_whole_key(base64: &[u8]) -> Option<()> {
    let blob = Base64::decode_vec(std::str::from_utf8(base64).ok()?).ok()?;
    let mut blob = blob.as_slice();
    let kind = String::from_utf8_lossy(string(&mut blob)?);
    if !kind.contains("-cert-") && !kind.contains("xmss") {
        string(&mut blob)?;
        while !blob.is_empty() {
            string(&mut blob)?;
        }
    }
    Some(())
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Whether a list with one key line per key has this key.
fn in_text(list: &[u8], base64: &str) -> bool {
    list.split(|byte| *byte == b'\n').any(|line| {
        let mut words = words(line).take_while(|word| !word.starts_with(b"#"));
        words.nth(1) == Some(base64.as_bytes())
    })
}

/// Whether a binary list has this key: by its blob or by a digest of it. `None` if the list is cut.
fn in_krl(mut list: &[u8], blob: &[u8]) -> Option<bool> {
    /// The magic, the versions, the date and the flags.
    const HEADER: usize = 8 + 4 + 8 + 8 + 8;
    const EXPLICIT_KEY: u8 = 2;
    const FINGERPRINT_SHA1: u8 = 3;
    const SIGNATURE: u8 = 4;
    const FINGERPRINT_SHA256: u8 = 5;
    list = list.get(HEADER..)?;
    let (_reserved, _comment) = (string(&mut list)?, string(&mut list)?);
    while let Some((section, rest)) = list.split_first() {
        list = rest;
        let mut entries = string(&mut list)?;
        let entry = match *section {
            EXPLICIT_KEY => blob.to_vec(),
            FINGERPRINT_SHA1 => digest(&SHA1_FOR_LEGACY_USE_ONLY, blob).as_ref().to_vec(),
            FINGERPRINT_SHA256 => digest(&SHA256, blob).as_ref().to_vec(),
            SIGNATURE => break,
            _ => continue,
        };
        while !entries.is_empty() {
            if string(&mut entries)? == entry {
                return Some(true);
            }
        }
    }
    Some(false)
}

/// The number of bits of an RSA key.
fn rsa_bits(mut blob: &[u8]) -> Option<u32> {
    let (kind, _exponent) = (string(&mut blob)?, string(&mut blob)?);
    let modulus = string(&mut blob).filter(|_| kind == b"ssh-rsa")?;
    Some(record::bits(modulus.strip_prefix(&[0]).unwrap_or(modulus)))
}

/// Takes a string (RFC 4251, section 5).
fn string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::{in_krl, in_text, rsa_bits, string};

    #[test]
    fn strings_and_sizes() {
        let mut bytes = &b"\0\0\0\x02ab\0\0\0\x01"[..];
        assert_eq!(string(&mut bytes), Some(&b"ab"[..]));
        assert_eq!(string(&mut bytes), None);
        assert_eq!(rsa_bits(b"\0\0\0\x07ssh-rsa\0\0\0\x01\x03\0\0\0\x02\x40\x01"), Some(15));
        assert_eq!(rsa_bits(b"\0\0\0\x0bssh-ed25519\0\0\0\0"), None);
    }

    #[test]
    fn a_line_of_a_list() {
        let list = b"# ssh-ed25519 AAAA\n  ssh-ed25519 BBBB lost\n\nssh-rsa CCCC";
        for (key, expected) in [("AAAA", false), ("BBBB", true), ("CCCC", true), ("lost", false)] {
            assert_eq!(in_text(list, key), expected, "{key}");
        }
    }

    #[test]
    fn a_binary_list_that_is_cut() {
        let mut list = b"SSHKRL\n\0".to_vec();
        assert_eq!(in_krl(&list, b"k"), None);
        list.extend([0; 28 + 8]);
        assert_eq!(in_krl(&list, b"k"), Some(false));
        list.extend(b"\x02\0\0\0\x05\0\0\0\x01k");
        assert_eq!(in_krl(&list, b"k"), Some(true));
        assert_eq!(in_krl(&list, b"o"), Some(false));
        list.extend(b"\x02\0\0\0\x05");
        assert_eq!(in_krl(&list, b"o"), None);
    }
}
