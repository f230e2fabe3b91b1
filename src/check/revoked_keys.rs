//! sshd's list of revoked keys: a line for each key, or OpenSSH's binary format (`PROTOCOL.krl`).

use std::io;
use std::path::Path;

use base64ct::{Base64, Encoding};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use crate::files;
use crate::keys::UnverifiedKey;
use crate::limits;

/// How a binary list begins.
const KRL: &[u8] = b"SSHKRL\n\0";

/// The beginning of a list.
#[derive(Debug)]
pub(crate) struct RevokedKeys(Vec<u8>);

/// Why sshd cannot read a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnreadableList {
    /// It ends within an entry.
    Truncated,
    /// The line with this number is not a public key.
    Line(usize),
}

impl RevokedKeys {
    pub(crate) fn read(root: &Path, path: &Path) -> io::Result<Self> {
        files::read_beginning(&files::below(root, path), limits::REVOKED_KEYS).map(Self)
    }

    /// Whether it has this key.
    pub(crate) fn has(&self, key: &UnverifiedKey<'_>) -> bool {
        let Self(list) = self;
        if list.starts_with(KRL) {
            in_krl(list, &key.blob()).unwrap_or(false)
        } else {
            in_text(list, key.base64())
        }
    }

    /// What sshd cannot read in it.
    pub(crate) fn unreadable(&self) -> Option<UnreadableList> {
        let Self(list) = self;
        // A longer list was not read to its end.
        let is_whole = u64::try_from(list.len()).is_ok_and(|length| length < limits::REVOKED_KEYS);
        if list.starts_with(KRL) {
            // All of it is read to look for a key.
            let is_truncated = is_whole && in_krl(list, &[]).is_none();
            return is_truncated.then_some(UnreadableList::Truncated);
        }
        let lines = if is_whole { Some(list.len()) } else { list.iter().rposition(|byte| *byte == b'\n') };
        let lines = list.get(..lines.unwrap_or_default()).unwrap_or_default();
        let line = lines.split(|byte| *byte == b'\n').position(|line| !is_key(line))?;
        Some(UnreadableList::Line(line.saturating_add(1)))
    }
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

/// Takes a string (RFC 4251, section 5).
pub(crate) fn string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test may panic")]

    use std::path::Path;

    use super::{RevokedKeys, UnreadableList, in_krl, in_text, string};
    use crate::limits;

    #[test]
    fn strings() {
        let mut bytes = &b"\0\0\0\x02ab\0\0\0\x01"[..];
        assert_eq!(string(&mut bytes), Some(&b"ab"[..]));
        assert_eq!(string(&mut bytes), None);
    }

    #[test]
    fn lists_that_sshd_cannot_read() {
        for (list, expected) in [
            (&b"# none\n\n"[..], None),
            (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAAA== x\n", None),
            (b"\nssh-ed25519 AAAA\n", Some(UnreadableList::Line(2))),
            (b"SSHKRL\n\0", Some(UnreadableList::Truncated)),
        ] {
            assert_eq!(RevokedKeys(list.to_vec()).unreadable(), expected);
        }
    }

    #[test]
    fn the_longest_list() {
        let most = usize::try_from(limits::REVOKED_KEYS).unwrap();
        let root = std::env::temp_dir().join(format!("eic-keys-revoked-{}", std::process::id()));
        let list = |length: usize, end: &str| {
            let text = format!("{}\n{end}", "#".repeat(length - end.len() - 1));
            std::fs::write(&root, text).unwrap();
            RevokedKeys::read(Path::new("/"), &root).unwrap()
        };
        let has = |length| in_text(&list(length, "ssh-ed25519 AAAA").0, "AAAA");
        assert_eq!([has(most), has(most + 1)], [true, false]);
        // The last line of what was read can be cut, if it is not the end of the list.
        let unreadable = |length| list(length, "ssh-ed25519 A").unreadable();
        assert_eq!([unreadable(most - 1), unreadable(most)], [Some(UnreadableList::Line(2)), None]);
        std::fs::remove_file(root).unwrap();
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
