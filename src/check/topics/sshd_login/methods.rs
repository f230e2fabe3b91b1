//! Whether a public key is enough to log in, and how many of them a client can offer.

use crate::check::runner::Answer;
use crate::check::settings::Settings;

pub(super) fn pubkey(settings: &Settings) -> Answer<()> {
    if settings.is("pubkeyauthentication", "yes") {
        Answer::ok("sshd accepts public keys", ())
    } else {
        settings.refuses(
            "pubkeyauthentication",
            "PubkeyAuthentication is no: sshd accepts no public keys",
            "set PubkeyAuthentication yes",
        )
    }
}

/// The methods of `AuthenticationMethods` other than keys, and the setting that enables each of them.
const METHODS: [(&str, &str); 5] = [
    ("password", "passwordauthentication"),
    ("keyboard-interactive", "kbdinteractiveauthentication"),
    ("hostbased", "hostbasedauthentication"),
    ("gssapi-with-mic", "gssapiauthentication"),
    ("none", ""),
];

/// sshd leaves out a list with a method that is disabled, and closes each connection if no list is left
/// (`auth2_setup_methods_lists` of OpenSSH's `auth2.c`). sshd.pubkey is about keys.
pub(super) fn methods(settings: &Settings) -> Answer<()> {
    let lists = settings.items("authenticationmethods", ' ');
    let name = |method: &str| method.split(':').next().unwrap_or_default().to_owned();
    let plain = |method: &str| name(method) == "publickey";
    let disabled = |method: &str| {
        let (_, setting) = *METHODS.iter().find(|(known, _)| *known == name(method))?;
        let pam = name(method) == "keyboard-interactive" && settings.is("usepam", "no");
        (pam || settings.is(setting, "no") || setting.is_empty()).then(|| name(method))
    };
    let enough = |list: &&str| *list == "any" || plain(list);
    let change = "add \"publickey\" as a list of its own to AuthenticationMethods";
    if lists.is_empty() || lists.iter().any(enough) {
        return Answer::ok("a key is enough to log in", ());
    }
    let all = lists.join(" ");
    let possible: Vec<_> =
        lists.iter().filter(|list| list.split(',').find_map(disabled).is_none()).copied().collect();
    if let (true, Some(method)) =
        (possible.is_empty(), lists.iter().find_map(|list| list.split(',').find_map(disabled)))
    {
        let note = format!("AuthenticationMethods {all} requires {method}, which sshd's settings disable");
        settings.refuses("authenticationmethods", &note, change)
    } else if possible.iter().any(|list| list.split(',').any(plain)) {
        let note =
            format!("AuthenticationMethods requires more than a key: {all}; not every client can do that");
        settings.warns("authenticationmethods", note, change)
    } else {
        let note = format!("AuthenticationMethods does not include publickey: {all}");
        settings.refuses("authenticationmethods", &note, change)
    }
}

pub(super) fn tries(settings: &Settings) -> Answer<()> {
    const FEW: u32 = 3;
    match settings.one("maxauthtries").parse::<u32>() {
        Ok(0) => settings.refuses(
            "maxauthtries",
            "MaxAuthTries is 0: sshd closes each connection before it looks at a key",
            "set MaxAuthTries 6",
        ),
        Ok(tries) if tries < FEW => settings.warns(
            "maxauthtries",
            format!("MaxAuthTries is {tries}: sshd disconnects a client whose agent offers {tries} other keys first"),
            "connect with ssh -o IdentitiesOnly=yes -i KEY, which offers only the pushed key, or set MaxAuthTries 6",
        ),
        Ok(tries) => Answer::ok(
            format!("a client can offer {tries} keys; with more in its agent: ssh -o IdentitiesOnly=yes -i KEY"),
            (),
        ),
        Err(_) => Answer::skip("sshd does not print its MaxAuthTries"),
    }
}
