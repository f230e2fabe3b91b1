//! Checks which key logins sshd allows for the user, from `sshd -T`.

use std::collections::BTreeSet;

use crate::check::account::Account;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::settings::Settings;
use crate::wildcard::matches;

/// The key types that can be pushed (from the API), and the signature algorithms that sshd needs for them.
const PUSHED: [(&str, &[&str]); 2] =
    [("ed25519", &["ssh-ed25519"]), ("RSA", &["rsa-sha2-512", "rsa-sha2-256"])];

/// The only key exchanges that the console's browser client supports.
const EXCHANGES: [&str; 3] = ["ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"];

/// Checks the settings that can reject a valid key.
pub(crate) async fn login(runner: &Runner, settings: &Finding<Settings>, account: &Finding<Account>) {
    runner.check(CheckId::SshdPubkey, settings, async |settings| pubkey(settings)).await;
    runner.check(CheckId::SshdMethods, settings, async |settings| methods(settings)).await;
    runner
        .check(CheckId::SshdAccess, (settings, account), async |(settings, account)| {
            access(settings, account)
        })
        .await;
    runner.check(CheckId::SshdAlgorithms, settings, async |settings| algorithms(settings)).await;
    runner.check(CheckId::SshdExchanges, settings, async |settings| exchanges(settings)).await;
    runner.check(CheckId::SshdTries, settings, async |settings| tries(settings)).await;
    runner.check(CheckId::SshdPort, settings, async |settings| port(settings)).await;
}

fn pubkey(settings: &Settings) -> Answer<()> {
    if settings.is("pubkeyauthentication", "yes") {
        Answer::ok("public keys are taken", ())
    } else {
        Answer::fail(
            "PubkeyAuthentication is off: sshd takes no keys at all",
            Fix::advice("set PubkeyAuthentication yes"),
        )
    }
}

fn methods(settings: &Settings) -> Answer<()> {
    let lists: Vec<_> = settings.all("authenticationmethods").flat_map(|line| line.split(' ')).collect();
    let plain = |method: &str| method.split(':').next().unwrap_or_default() == "publickey";
    let enough = |list: &&str| *list == "any" || plain(list);
    let fix = Fix::advice("add \"publickey\" as a list of its own to AuthenticationMethods");
    if lists.is_empty() || lists.iter().any(enough) {
        Answer::ok("a key is enough to log in", ())
    } else if lists.iter().any(|list| list.split(',').any(plain)) {
        let note = format!(
            "AuthenticationMethods wants more than a key: {}; not every client can give it",
            lists.join(" ")
        );
        Answer::warn(note, fix, ())
    } else {
        Answer::fail(format!("AuthenticationMethods has no use for keys: {}", lists.join(" ")), fix)
    }
}

/// `allowed_user` of OpenSSH's `auth.c`, in the same order. The client is not known here, so USER@HOST gives only a
/// warning.
fn access(settings: &Settings, account: &Account) -> Answer<()> {
    let user = |pattern: &str| {
        let pattern = pattern.rsplit_once('@').map_or(pattern, |(user, _)| user);
        matches(account.name.as_bytes(), pattern.as_bytes())
    };
    let group =
        |pattern: &str| account.groups.iter().any(|group| matches(group.as_bytes(), pattern.as_bytes()));
    let from_anywhere = |pattern: &str| pattern.rsplit_once('@').is_none_or(|(_, host)| host == "*");
    let name = &account.name;
    let mut some_clients = None;
    for (keyword, shown, groups, allows) in [
        ("denyusers", "DenyUsers", false, false),
        ("allowusers", "AllowUsers", false, true),
        ("denygroups", "DenyGroups", true, false),
        ("allowgroups", "AllowGroups", true, true),
    ] {
        let patterns: Vec<_> = settings.all(keyword).flat_map(|line| line.split(' ')).collect();
        let named: Vec<_> =
            patterns.iter().copied().filter(|one| if groups { group(one) } else { user(one) }).collect();
        let everywhere = named.iter().any(|one| groups || from_anywhere(one));
        if allows && named.is_empty() && !patterns.is_empty() {
            let fix = Fix::advice(format!("add {name}, or a group of theirs, to {shown}"));
            return Answer::fail(format!("{shown} does not name {name}"), fix);
        }
        if !allows && everywhere {
            let fix = Fix::advice(format!("take {name} out of {shown}"));
            return Answer::fail(format!("{shown} names {name}"), fix);
        }
        if !named.is_empty() && !everywhere {
            some_clients.get_or_insert_with(|| format!("{shown} has {}", named.join(" ")));
        }
    }
    let root = settings.one("permitrootlogin");
    match (account.uid, root) {
        (0, "no") => Answer::fail(
            "PermitRootLogin is no",
            Fix::advice("log in as another user, or set PermitRootLogin prohibit-password"),
        ),
        (0, "forced-commands-only") => Answer::fail(
            "PermitRootLogin is forced-commands-only, and pushed keys have no command",
            Fix::advice("log in as another user, or set PermitRootLogin prohibit-password"),
        ),
        _ => match some_clients {
            Some(list) => Answer::warn(
                format!("{list}: it depends on where {name} comes from"),
                Fix::advice(
                    "see whether the client's address is among these; the console's come from outside.network",
                ),
                (),
            ),
            None => Answer::ok(format!("sshd lets {name} in"), ()),
        },
    }
}

fn algorithms(settings: &Settings) -> Answer<()> {
    let lists = ["pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"]
        .into_iter()
        .flat_map(|name| settings.all(name));
    let taken: BTreeSet<_> = lists.flat_map(|list| list.split(',')).collect();
    let refused: Vec<_> =
        PUSHED.iter().filter(|(_, names)| !names.iter().any(|name| taken.contains(name))).collect();
    let advice = |names: &[&str]| {
        Fix::advice(format!(
            "add {} to PubkeyAcceptedAlgorithms (before OpenSSH 8.5: PubkeyAcceptedKeyTypes), or to the policy",
            names.join(",")
        ))
    };
    match refused.as_slice() {
        [] => Answer::ok("keys of either type that can be pushed are taken: ed25519 and RSA", ()),
        [(kind, names)] => Answer::warn(format!("pushed {kind} keys are not taken"), advice(names), ()),
        _ => Answer::fail("neither type of key that can be pushed is taken", advice(&["ssh-ed25519"])),
    }
}

fn exchanges(settings: &Settings) -> Answer<()> {
    let offered = || settings.all("kexalgorithms").flat_map(|list| list.split(','));
    if offered().any(|name| EXCHANGES.contains(&name)) {
        Answer::ok("there is a key exchange that the console's client knows", ())
    } else {
        Answer::warn(
            format!("the console's client knows none of KexAlgorithms; it knows {}", EXCHANGES.join(", ")),
            Fix::advice("add ecdh-sha2-nistp256 to KexAlgorithms"),
            (),
        )
    }
}

fn tries(settings: &Settings) -> Answer<()> {
    const FEW: u32 = 3;
    match settings.one("maxauthtries").parse::<u32>() {
        Ok(tries) if tries < FEW => Answer::warn(
            format!("MaxAuthTries is {tries}: an agent that offers other keys first uses them up"),
            Fix::advice(
                "set MaxAuthTries 6, or offer the pushed key alone: ssh -o IdentitiesOnly=yes -i KEY",
            ),
            (),
        ),
        Ok(tries) => Answer::ok(format!("a client may offer {tries} keys"), ()),
        Err(_) => Answer::skip("sshd does not tell its MaxAuthTries"),
    }
}

fn port(settings: &Settings) -> Answer<()> {
    let addresses: Vec<_> = settings.all("listenaddress").collect();
    let ports: Vec<_> = settings.all("port").collect();
    let local = |address: &&str| address.starts_with("127.") || address.starts_with("[::1]");
    if !addresses.is_empty() && addresses.iter().all(local) {
        return Answer::warn(
            format!("sshd listens on {} only: nobody reaches it from outside", addresses.join(", ")),
            Fix::advice("set ListenAddress 0.0.0.0, or take it out"),
            (),
        );
    }
    let on_22 = |address: &&str| address.rsplit_once(':').is_some_and(|(_, port)| port == "22");
    if addresses.iter().any(on_22) || (addresses.is_empty() && ports.contains(&"22")) {
        Answer::ok("sshd listens on port 22", ())
    } else {
        Answer::warn(
            format!("sshd listens on {}, not on port 22, which console and endpoints use", ports.join(", ")),
            Fix::advice(
                "set Port 22 as well, or name the port to the client: aws ec2-instance-connect ssh --ssh-port",
            ),
            (),
        )
    }
}
