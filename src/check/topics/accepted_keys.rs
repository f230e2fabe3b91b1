//! Checks whether sshd refuses the pushed keys themselves: by their type, their size, or a list of revoked keys.

use std::path::Path;

use crate::check::report::Mark;
use crate::check::revoked_keys::{RevokedKeys, string};
use crate::check::runner::Answer;
use crate::check::settings::Settings;
use crate::keys::UnverifiedKey;
use crate::keys::record::{TYPES, bits};
use crate::sshd::config::PUBKEY_ACCEPTED_ALGORITHMS;

/// Whether sshd accepts these keys, which eic-keys would provide.
pub(super) fn accepted(keys: &[UnverifiedKey<'_>], settings: &Settings, root: &Path) -> Answer<()> {
    let list = settings.one("revokedkeys");
    // sshd.revoked reports a list that cannot be read.
    let revoked = match list {
        "" | "none" => None,
        path => RevokedKeys::read(root, Path::new(path)).ok(),
    };
    let mut refused = Vec::new();
    for key in keys {
        refused.extend(refusal(key, settings, revoked.as_ref()).map(|refusal| (key, refusal)));
    }
    // The last one was pushed last.
    let Some((key, (keyword, reason, change))) = refused.last() else {
        return Answer::ok("sshd accepts the type and size of the pushed keys, and none is revoked", ());
    };
    let note = format!("the pushed key {} {}: {reason}", key.key_type(), key.fingerprint());
    // What sshd has not read yet refuses no key now.
    if refused.len() == keys.len() || settings.changed_file(keyword).is_some() {
        return settings.refuses(keyword, &note, change);
    }
    let note = format!("sshd refuses {} of {} pushed keys; the last: {note}", refused.len(), keys.len());
    let fix = settings.fix(keyword, &format!("offer another of the pushed keys, or {change}"));
    Answer::warn(note, fix, ()).marked(Mark::SomeKeys)
}

/// The keyword that refuses a key, the reason, and what to change.
fn refusal(
    key: &UnverifiedKey<'_>,
    settings: &Settings,
    revoked: Option<&RevokedKeys>,
) -> Option<(&'static str, String, &'static str)> {
    let key_type = TYPES.iter().find(|known| known.name == key.key_type())?;
    let accepted = settings.accepted_algorithms();
    if !accepted.is_empty() && !key_type.is_accepted_by(&accepted) {
        let note = format!("sshd accepts no signatures of this type ({})", key_type.signatures);
        return Some((PUBKEY_ACCEPTED_ALGORITHMS, note, "push a key of another type, or add that algorithm"));
    }
    let blob = key.blob();
    let required = settings.one("requiredrsasize").parse().unwrap_or(0);
    if let Some(bits) = rsa_bits(&blob).filter(|bits| *bits < required) {
        let note = format!("it has {bits} bits, and RequiredRSASize is {required}");
        return Some((
            "requiredrsasize",
            note,
            "push a larger key or an ed25519 key, or set a smaller RequiredRSASize",
        ));
    }
    let list = settings.one("revokedkeys");
    revoked
        .is_some_and(|list| list.has(key))
        .then(|| ("revokedkeys", format!("it is on the list of revoked keys {list}"), "push another key"))
}

/// The number of bits of an RSA key.
fn rsa_bits(mut blob: &[u8]) -> Option<u32> {
    let (kind, _exponent) = (string(&mut blob)?, string(&mut blob)?);
    let modulus = string(&mut blob).filter(|_| kind == b"ssh-rsa")?;
    Some(bits(modulus.strip_prefix(&[0]).unwrap_or(modulus)))
}

#[cfg(test)]
mod tests {
    use super::rsa_bits;

    #[test]
    fn sizes() {
        assert_eq!(rsa_bits(b"\0\0\0\x07ssh-rsa\0\0\0\x01\x03\0\0\0\x02\x40\x01"), Some(15));
        assert_eq!(rsa_bits(b"\0\0\0\x0bssh-ed25519\0\0\0\0"), None);
    }
}
