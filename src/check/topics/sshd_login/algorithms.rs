//! The types of keys that sshd accepts, its key exchanges and its host keys.

use std::path::Path;

use crate::check::runner::Answer;
use crate::check::settings::Settings;
use crate::files::{self, below};
use crate::keys::record::TYPES;
use crate::limits;
use crate::sshd::config::{PUBKEY_ACCEPTED_ALGORITHMS, PUBKEY_ACCEPTED_KEY_TYPES};

/// The only key exchanges that the console's browser client supports.
const EXCHANGES: &str = "ecdh-sha2-nistp256, ecdh-sha2-nistp384, ecdh-sha2-nistp521";

pub(super) fn algorithms(settings: &Settings) -> Answer<()> {
    let taken = settings.accepted_algorithms();
    let (mut accepted, mut refused, mut missing) = (Vec::new(), Vec::new(), None);
    for known in TYPES {
        let Some(name) = known.pushed else { continue };
        if known.is_accepted_by(&taken) {
            accepted.push(name);
        } else {
            refused.push(name);
            missing = missing.or(Some(known.signatures));
        }
    }
    let Some(missing) = missing else {
        let names = accepted.join(", ");
        return Answer::ok(format!("sshd accepts every type of key that can be pushed: {names}"), ());
    };
    let has_old_name = settings.dump.values(PUBKEY_ACCEPTED_KEY_TYPES).next().is_some();
    let keyword = if has_old_name { "PubkeyAcceptedKeyTypes" } else { "PubkeyAcceptedAlgorithms" };
    let change = format!("add {missing} to {keyword} or to the crypto policy");
    if accepted.is_empty() {
        return settings.refuses(
            PUBKEY_ACCEPTED_ALGORITHMS,
            "sshd accepts no type of key that can be pushed",
            &change,
        );
    }
    settings.warns(
        PUBKEY_ACCEPTED_ALGORITHMS,
        format!("sshd does not accept pushed {} keys", refused.join(", ")),
        &change,
    )
}

/// Ciphers and MACs that OpenSSH's client supports without options, in all releases since 7.4.
const CIPHERS: &str = "chacha20-poly1305@openssh.com, aes128-gcm@openssh.com, aes256-gcm@openssh.com, aes128-ctr, aes192-ctr, aes256-ctr";
/// Those that need no MAC.
const AUTHENTICATED: &str = "chacha20-poly1305@openssh.com, aes128-gcm@openssh.com, aes256-gcm@openssh.com";
const MACS: &str = "umac-64-etm@openssh.com, umac-128-etm@openssh.com, hmac-sha2-256-etm@openssh.com, hmac-sha2-512-etm@openssh.com, \
                    umac-64@openssh.com, umac-128@openssh.com, hmac-sha2-256, hmac-sha2-512";

pub(super) fn exchanges(settings: &Settings, root: &Path) -> Answer<()> {
    let offers = |keyword: &str, known: &str| {
        settings.items(keyword, ',').iter().any(|name| known.split(", ").any(|known| known == *name))
    };
    if let Some(types) = host_keys_without_algorithm(settings, root) {
        return settings.refuses(
            "hostkeyalgorithms",
            &format!("HostKeyAlgorithms allows none of the host keys ({types}): sshd closes each connection"),
            "remove HostKeyAlgorithms, or generate a host key of such a type",
        );
    }
    let unusable = if !offers("ciphers", CIPHERS) {
        Some(("ciphers", "Ciphers", CIPHERS))
    } else if !offers("ciphers", AUTHENTICATED) && !offers("macs", MACS) {
        Some(("macs", "MACs", MACS))
    } else {
        None
    };
    if let Some(types) = old_host_keys_only(settings, root) {
        return settings.warns(
            "hostkeyalgorithms",
            format!(
                "HostKeyAlgorithms allows only {types} of the host keys: OpenSSH clients since 8.8 refuse that without options"
            ),
            "remove HostKeyAlgorithms, or add rsa-sha2-512,rsa-sha2-256,ssh-ed25519",
        );
    }
    if let Some((keyword, shown, known)) = unusable {
        let note = format!("an OpenSSH client without options supports none of {shown}; it supports {known}");
        return settings.warns(keyword, note, &format!("add one of these to {shown}"));
    }
    if offers("kexalgorithms", EXCHANGES) {
        Answer::ok("sshd offers a key exchange that the console's client supports", ())
    } else {
        settings.warns(
            "kexalgorithms",
            format!("the console's client supports none of KexAlgorithms; it supports {EXCHANGES}"),
            "add ecdh-sha2-nistp256 to KexAlgorithms",
        )
    }
}

/// The algorithms of host keys, with SHA-1, that OpenSSH's client no longer supports without options.
const OLD_HOST_KEYS: [&str; 4] =
    ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com", "ssh-dss-cert-v01@openssh.com"];

/// The algorithms that sshd can offer, if all of them are old ones. A key of an unknown type counts as usable.
fn old_host_keys_only(settings: &Settings, root: &Path) -> Option<String> {
    let types: Option<Vec<_>> = settings.all("hostkey").map(|key| host_key_type(root, key)).collect();
    let has_key = |name: &str| {
        let family = if name.starts_with("rsa-sha2-") { "ssh-rsa" } else { name };
        types.as_ref().is_none_or(|types| types.iter().any(|kind| kind == family))
    };
    let mut offered = settings.items("hostkeyalgorithms", ',');
    offered.retain(|name| has_key(name) || name.contains("-cert-"));
    let old = |name: &&str| OLD_HOST_KEYS.contains(name);
    let is_old = offered.iter().all(old) && matches!(settings.one("hostkeyagent"), "" | "none");
    (!offered.is_empty() && is_old).then(|| offered.join(","))
}

/// The type of a host key, from its public key.
fn host_key_type(root: &Path, key: &str) -> Option<String> {
    let file = below(root, Path::new(&format!("{key}.pub")));
    let line = files::read_text(&file, limits::SYSTEM_FILE).ok()?;
    Some(line.split(' ').next()?.to_owned())
}

/// The types of the host keys, if `HostKeyAlgorithms` allows none of them. `None` also if the type of a key is not known.
fn host_keys_without_algorithm(settings: &Settings, root: &Path) -> Option<String> {
    let algorithms = settings.items("hostkeyalgorithms", ',');
    if algorithms.is_empty() || !matches!(settings.one("hostkeyagent"), "" | "none") {
        return None;
    }
    let keys = settings.all("hostkey").filter(|key| below(root, Path::new(key)).is_file());
    let types = keys.map(|key| host_key_type(root, key));
    let types = types.collect::<Option<Vec<_>>>()?;
    let is_allowed = |kind: &String| {
        algorithms
            .iter()
            .any(|name| name == kind || kind == "ssh-rsa" && matches!(*name, "rsa-sha2-512" | "rsa-sha2-256"))
    };
    (!types.is_empty() && !types.iter().any(is_allowed)).then(|| types.join(", "))
}
