//! Checks which key logins sshd allows for the user, from `sshd -T`.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::accepted;
use super::network;
use super::shell::{self, Caller};
use super::user::without_files;
use crate::account::{Account, describe_user, has_entry};
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::report::Mark;
use crate::check::request::{CheckTarget, RunOptions, seconds};
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::running_sshd::{self, SshdState};
use crate::check::settings::Settings;
use crate::check::sockets;
use crate::check::tokens;
use crate::config_tree::ConfigTree;
use crate::files::{self, below, is_program_at};
use crate::limits;
use crate::ownership::{self, OwnershipFault};
use crate::process::TrustedCommand;
use crate::seconds::{Seconds, decimal};
use crate::sshd::command_line::SshdOption;
use crate::sshd::criteria::clients;
use crate::wildcard::matches;

/// The key types that can be pushed (from the API), and the signature algorithms that sshd needs for them.
const PUSHED: [(&str, &[&str]); 2] =
    [("ed25519", &["ssh-ed25519"]), ("RSA", &["rsa-sha2-512", "rsa-sha2-256"])];

/// The only key exchanges that the console's browser client supports.
const EXCHANGES: &str = "ecdh-sha2-nistp256, ecdh-sha2-nistp384, ecdh-sha2-nistp521";

/// Checks the settings that can reject a valid key.
pub(crate) async fn login(
    runner: &Runner,
    options: &RunOptions,
    target: &CheckTarget<'_>,
    settings: &Finding<Settings>,
    account: &Finding<Account>,
    running: &Finding<SshdState>,
) {
    // All of them can run sshd, to find the clients that a setting concerns.
    let (root, timeout) = (target.root, options.timeout);
    let of_settings = async |id, check: fn(&Settings, &Path) -> Answer<()>| {
        runner
            .check(id, settings, async |settings| {
                let (settings, root) = (settings.clone(), root.to_owned());
                blocking(move || check(&settings, &root)).await
            })
            .await;
    };
    let of_account = async |id, check: fn(&Settings, &Account, &Path) -> Answer<()>| {
        runner
            .check(id, (settings, account), async |(settings, account)| {
                let (settings, account, root) = (settings.clone(), account.clone(), root.to_owned());
                blocking(move || check(&settings, &account, &root)).await
            })
            .await;
    };
    of_settings(CheckId::SshdPubkey, |settings, _| pubkey(settings)).await;
    of_settings(CheckId::SshdMethods, |settings, _| methods(settings)).await;
    of_account(CheckId::SshdAccess, access).await;
    of_settings(CheckId::SshdAlgorithms, |settings, _| algorithms(settings)).await;
    of_settings(CheckId::SshdExchanges, exchanges).await;
    of_settings(CheckId::SshdTries, |settings, _| tries(settings)).await;
    of_settings(CheckId::SshdRevoked, revoked).await;
    of_account(CheckId::SshdSession, session).await;
    runner
        .check(CheckId::SshdLimits, settings, async |settings| {
            let settings = settings.clone();
            blocking(move || limits_of(&settings, timeout).if_ok(|| slow_names(&settings))).await
        })
        .await;
    runner
        .check(CheckId::SshdMatch, settings, async |settings| {
            let (settings, account) = (settings.clone(), account.get().cloned());
            let (root, running) = (target.root.to_owned(), running.get().copied());
            blocking(move || blocks(&settings, account.as_ref(), &root, running)).await
        })
        .await;
    runner
        .check(CheckId::SshdPort, settings, async |settings| {
            let (settings, root, running) =
                (settings.clone(), target.root.to_owned(), running.get().copied());
            blocking(move || port(&settings, &root, running)).await
        })
        .await;
}

fn pubkey(settings: &Settings) -> Answer<()> {
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
fn methods(settings: &Settings) -> Answer<()> {
    let lists: Vec<_> = settings.all("authenticationmethods").flat_map(|line| line.split(' ')).collect();
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
        Answer::warn(note, settings.fix("authenticationmethods", change), ())
    } else {
        let note = format!("AuthenticationMethods does not include publickey: {all}");
        settings.refuses("authenticationmethods", &note, change)
    }
}

/// A list of `sshd_config(5)` that allows or denies users or groups.
struct AccessList {
    keyword: &'static str,
    shown: &'static str,
    groups: bool,
    allows: bool,
}

/// The lists in the order in which sshd goes through them.
const ACCESS: [AccessList; 4] = [
    AccessList { keyword: "denyusers", shown: "DenyUsers", groups: false, allows: false },
    AccessList { keyword: "allowusers", shown: "AllowUsers", groups: false, allows: true },
    AccessList { keyword: "denygroups", shown: "DenyGroups", groups: true, allows: false },
    AccessList { keyword: "allowgroups", shown: "AllowGroups", groups: true, allows: true },
];

/// What a list means for a user.
enum Access {
    /// sshd goes on with the next list.
    Allowed,
    /// From some clients only, or not from some, in these words.
    SomeClients(String),
    /// sshd refuses the user.
    Refused { note: String, change: String },
    /// That is not known, for this reason.
    Unknown(String),
}

impl AccessList {
    /// The client is not known here. The patterns have no negation, except in the HOST of USER@HOST.
    fn judge(&self, settings: &Settings, account: &Account, root: &Path) -> Access {
        let (name, shown) = (&account.name, self.shown);
        // One line per pattern: the name of a group can contain blanks.
        let patterns: Vec<_> = settings.all(self.keyword).collect();
        if patterns.is_empty() {
            return Access::Allowed;
        }
        if self.groups && account.groups.is_empty() {
            if account.gids.is_empty() {
                return Access::Unknown(format!("the groups of {name} are not known, and {shown} is set"));
            }
            return Access::Refused {
                note: format!("{shown} is set, and no group of {name} has a name: sshd refuses such users"),
                change: format!("create the primary group of {name}"),
            };
        }
        let named: Vec<_> =
            patterns.iter().copied().filter(|pattern| self.is_for(pattern, account)).collect();
        let hosts = named.iter().filter(|_| !self.groups).filter_map(|pattern| pattern.rsplit_once('@'));
        let hosts: Vec<_> = hosts.map(|(_, host)| host).collect();
        // Keys are pushed for a login over IPv4, as a rule.
        let everywhere =
            hosts.len() < named.len() || hosts.contains(&"*") || self.allows && hosts.contains(&"0.0.0.0/0");
        let possible: Vec<_> =
            hosts.iter().copied().filter(|host| names_a_client(host, settings.is("usedns", "yes"))).collect();
        match (self.allows, everywhere, possible.as_slice()) {
            (true, true, _) | (false, false, []) => Access::Allowed,
            (false, true, _) => self.denied(&named, account),
            (true, false, []) => self.not_allowed(&patterns, &named, account, root),
            (true, false, hosts) => {
                // Also if that is 127.0.0.1 only, from which Session Manager connects.
                Access::SomeClients(format!("{shown} allows {name} from {} only", hosts.join(", ")))
            }
            (false, false, hosts) => {
                Access::SomeClients(format!("{shown} refuses {name} from {}", hosts.join(", ")))
            }
        }
    }

    /// Whether a pattern is for the user, or for a group of the user.
    fn is_for(&self, pattern: &str, account: &Account) -> bool {
        if self.groups {
            account.groups.iter().any(|group| matches(group.as_bytes(), pattern.as_bytes()))
        } else {
            let user = pattern.rsplit_once('@').map_or(pattern, |(user, _)| user);
            matches(account.name.as_bytes(), user.as_bytes())
        }
    }

    /// What the list has or lacks, and for groups which ones the user has.
    fn whom(&self, account: &Account) -> (String, String) {
        if self.groups {
            (format!("a group of {}", account.name), format!(" ({})", account.groups.join(", ")))
        } else {
            (account.name.clone(), String::new())
        }
    }

    /// A list that denies has the user, by these patterns.
    fn denied(&self, named: &[&str], account: &Account) -> Access {
        let (shown, (whom, groups)) = (self.shown, self.whom(account));
        let is_wildcard = |pattern: &&&str| {
            **pattern != account.name && !account.groups.iter().any(|group| group == **pattern)
        };
        match named.iter().find(is_wildcard) {
            Some(pattern) => Access::Refused {
                note: format!("{shown} includes {whom}{groups}, by the pattern {pattern}"),
                change: format!("remove the pattern {pattern} from {shown}"),
            },
            None => Access::Refused {
                note: format!("{shown} includes {whom}{groups}"),
                change: format!("remove {whom} from {shown}"),
            },
        }
    }

    /// A list that allows does not have the user, or only with names of clients that sshd does not look up.
    fn not_allowed(&self, patterns: &[&str], named: &[&str], account: &Account, root: &Path) -> Access {
        let (shown, (whom, groups)) = (self.shown, self.whom(account));
        if !named.is_empty() {
            return Access::Refused {
                note: format!(
                    "{shown} has {}, which matches no client: UseDNS is no, and sshd compares addresses",
                    named.join(" ")
                ),
                change: format!("add {whom} to {shown}"),
            };
        }
        let parted = parted_group(patterns, account).filter(|_| self.groups);
        let joins = joinable(patterns, &account.name, root).filter(|_| self.groups).map(|group| {
            let name = &account.name;
            format!("if {name} is to be a member of {group}: usermod -aG {group} {name}; otherwise ")
        });
        let joins = joins.unwrap_or_default();
        Access::Refused {
            note: format!(
                "{shown} does not include {whom}{groups}: {}",
                quoted(patterns, &account.name, &account.groups, parted.is_some())
            ),
            change: match parted {
                Some(group) => format!("write the name in quotes: {shown} \"{group}\""),
                None => format!("{joins}add {whom} to {shown}"),
            },
        }
    }
}

/// Whether the lists allow a user, wherever the client is. Of root, another setting decides.
pub(super) fn allows(settings: &Settings, account: &Account) -> bool {
    let allows = |list: &AccessList| {
        let mut named = settings.all(list.keyword).filter(|pattern| list.is_for(pattern, account));
        if list.allows {
            settings.one(list.keyword).is_empty()
                || named.any(|pattern| list.groups || !pattern.contains('@'))
        } else {
            named.next().is_none()
        }
    };
    account.uid != 0 && ACCESS.iter().all(allows)
}

/// A group of a list, if usermod(8) can add the user to it: both are in the files of `/etc`.
fn joinable<'a>(patterns: &[&'a str], name: &str, root: &Path) -> Option<&'a str> {
    let has = |file: &str, name: &str| {
        let text = files::system_text(root, file);
        has_entry(&text, name)
    };
    let is_plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let can = |group: &&str| is_plain(group) && !group.starts_with('-') && has("/etc/group", group);
    let found = patterns.iter().copied().find(can)?;
    (is_plain(name) && has("/etc/passwd", name)).then_some(found)
}

/// The group of `/etc/group` by which a list would allow the user, if the name service does not use that file.
fn unread_group(list: &AccessList, settings: &Settings, account: &Account, root: &Path) -> Option<String> {
    let text = files::system_text(root, "/etc/group");
    let group = text.lines().find_map(|line| {
        let [group, _, gid, members] = line.split(':').collect::<Vec<_>>()[..] else { return None };
        let is_in = gid.parse() == Ok(account.gid) || members.split(',').any(|one| one == account.name);
        let is_listed = settings.all(list.keyword).any(|one| matches(group.as_bytes(), one.as_bytes()));
        (is_in && is_listed).then_some(group)
    })?;
    let without = ["group", "initgroups"].into_iter().find_map(|database| {
        let line = without_files(root, &format!("{database}:"))?;
        Some((database, line))
    });
    let (database, line) = without.filter(|_| list.groups && list.allows)?;
    Some(format!(
        "{} has {group}, a group of {} in /etc/group, but the {database} line of /etc/nsswitch.conf is \"{line}\", without files",
        list.shown, account.name
    ))
}

/// `allowed_user` of OpenSSH's `auth.c`, in the same order. USER@HOST gives only a warning, because the client is not known.
fn access(settings: &Settings, account: &Account, root: &Path) -> Answer<()> {
    let name = &account.name;
    let mut some_clients = Vec::new();
    for list in &ACCESS {
        match list.judge(settings, account, root) {
            Access::Allowed => {}
            Access::SomeClients(words) => some_clients.push(words),
            Access::Refused { note, change } => {
                return match unread_group(list, settings, account, root) {
                    None => settings.refuses(list.keyword, &note, &change),
                    Some(note) => Answer::fail(
                        note,
                        Fix::advice(
                            "put files before the other services in the group and initgroups lines of /etc/nsswitch.conf: group: files",
                        ),
                    ),
                };
            }
            Access::Unknown(reason) => return Answer::skip(reason),
        }
    }
    let root = settings.one("permitrootlogin");
    match (account.uid, root) {
        (0, "no" | "forced-commands-only") if account.name != "root" => settings.refuses(
            "permitrootlogin",
            &format!(
                "{} has uid 0, so that sshd refuses it as root: PermitRootLogin is {root}",
                account.name
            ),
            "give the user another uid (usermod --uid), or log in as another user",
        ),
        (0, "no" | "forced-commands-only") => settings.refuses(
            "permitrootlogin",
            &format!("PermitRootLogin is {root}: sshd refuses root with a pushed key"),
            "log in as another user, or set PermitRootLogin prohibit-password",
        ),
        _ if !some_clients.is_empty() => Answer::warn(
            some_clients.join("; "),
            Fix::advice(
                "compare the client's address with that list; outside.network has the console's addresses",
            ),
            (),
        )
        .marked(Mark::SomeClients),
        _ => Answer::ok(format!("sshd allows {name}"), ()),
    }
}

/// The patterns of a list that does not have the user, and the slip that explains it.
fn quoted(patterns: &[&str], name: &str, groups: &[String], parted: bool) -> String {
    /// The number of patterns to show.
    const SHOWN: usize = 8;
    let more = if patterns.len() > SHOWN { " ..." } else { "" };
    // Such a character can look like a space.
    let named = |character: char| {
        if character.is_ascii() { character.to_string() } else { format!("<U+{:04X}>", u32::from(character)) }
    };
    let others = patterns.iter().any(|pattern| !pattern.is_ascii());
    let plain = |pattern: &&str| {
        let pattern: String = pattern.chars().map(named).collect();
        if parted || others || pattern.contains(' ') { format!("\"{pattern}\"") } else { pattern }
    };
    let shown = patterns.iter().take(SHOWN).map(plain).collect::<Vec<_>>().join(" ");
    let is_known = |word: &str| word == name || groups.iter().any(|group| group == word);
    let other_case = |word: &str| {
        word.eq_ignore_ascii_case(name) || groups.iter().any(|group| word.eq_ignore_ascii_case(group))
    };
    let slip = if parted {
        "; without quotes, sshd reads the words of a name with a space as several names"
    } else if others {
        "; a character that is not ASCII is part of a name, also if it looks like a space"
    } else if patterns.contains(&name) {
        "; that is a user, and AllowGroups takes groups"
    } else if patterns.iter().copied().any(is_known) {
        "; a name there is a group, and AllowUsers takes users"
    } else if patterns.iter().any(|pattern| pattern.split(',').any(is_known)) {
        "; names are separated by spaces, not by commas"
    } else if patterns.iter().copied().any(other_case) {
        "; upper and lower case differ"
    } else {
        ""
    };
    format!("it has {shown}{more}{slip}")
}

/// A group of the user whose name has spaces, and whose words are in a list one by one.
fn parted_group<'a>(patterns: &[&str], account: &'a Account) -> Option<&'a str> {
    let is_there = |group: &&String| {
        let words: Vec<_> = group.split(' ').collect();
        words.len() > 1 && patterns.windows(words.len()).any(|part| part == words)
    };
    account.groups.iter().find(is_there).map(String::as_str)
}

/// Whether a list of hosts can match a client. Without DNS, the name of a client is its address.
fn names_a_client(hosts: &str, dns: bool) -> bool {
    let is_name = |entry: &str| entry.bytes().any(|byte| matches!(byte.to_ascii_lowercase(), b'g'..=b'z'));
    hosts.split(',').any(|entry| !entry.starts_with('!') && (dns || !is_name(entry)))
}

fn algorithms(settings: &Settings) -> Answer<()> {
    let taken = settings.accepted_algorithms();
    let refused: Vec<_> =
        PUSHED.iter().filter(|(_, names)| !names.iter().any(|name| taken.contains(name))).collect();
    let keyword = if settings.one("pubkeyacceptedalgorithms").is_empty() {
        "PubkeyAcceptedKeyTypes"
    } else {
        "PubkeyAcceptedAlgorithms"
    };
    let change = |names: &[&str]| format!("add {} to {keyword} or to the crypto policy", names.join(","));
    let lower = keyword.to_ascii_lowercase();
    match refused.as_slice() {
        [] => Answer::ok("sshd accepts both types of keys that can be pushed: ed25519 and RSA", ()),
        [(kind, names)] => Answer::warn(
            format!("sshd does not accept pushed {kind} keys"),
            settings.fix(&lower, &change(names)),
            (),
        ),
        _ => settings.refuses(
            &lower,
            "sshd accepts no type of key that can be pushed",
            &change(&["ssh-ed25519"]),
        ),
    }
}

/// Ciphers and MACs that OpenSSH's client supports without options, in all releases since 7.4.
const CIPHERS: &str = "chacha20-poly1305@openssh.com, aes128-gcm@openssh.com, aes256-gcm@openssh.com, aes128-ctr, aes192-ctr, aes256-ctr";
/// Those that need no MAC.
const AUTHENTICATED: &str = "chacha20-poly1305@openssh.com, aes128-gcm@openssh.com, aes256-gcm@openssh.com";
const MACS: &str = "umac-64-etm@openssh.com, umac-128-etm@openssh.com, hmac-sha2-256-etm@openssh.com, hmac-sha2-512-etm@openssh.com, \
                    umac-64@openssh.com, umac-128@openssh.com, hmac-sha2-256, hmac-sha2-512";

fn exchanges(settings: &Settings, root: &Path) -> Answer<()> {
    let offers = |keyword: &str, known: &str| {
        let mut offered = settings.all(keyword).flat_map(|list| list.split(','));
        offered.any(|name| known.split(", ").any(|known| known == name))
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
        return Answer::warn(
            format!(
                "HostKeyAlgorithms allows only {types} of the host keys: OpenSSH clients since 8.8 refuse that without options"
            ),
            settings.fix(
                "hostkeyalgorithms",
                "remove HostKeyAlgorithms, or add rsa-sha2-512,rsa-sha2-256,ssh-ed25519",
            ),
            (),
        );
    }
    if let Some((keyword, shown, known)) = unusable {
        let note = format!("an OpenSSH client without options supports none of {shown}; it supports {known}");
        return Answer::warn(note, settings.fix(keyword, &format!("add one of these to {shown}")), ());
    }
    if offers("kexalgorithms", EXCHANGES) {
        Answer::ok("sshd offers a key exchange that the console's client supports", ())
    } else {
        Answer::warn(
            format!("the console's client supports none of KexAlgorithms; it supports {EXCHANGES}"),
            settings.fix("kexalgorithms", "add ecdh-sha2-nistp256 to KexAlgorithms"),
            (),
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
    let offered: Vec<_> = settings
        .all("hostkeyalgorithms")
        .flat_map(|list| list.split(','))
        .filter(|name| has_key(name) || name.contains("-cert-"))
        .collect();
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
    let algorithms: Vec<_> = settings.all("hostkeyalgorithms").flat_map(|list| list.split(',')).collect();
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

fn tries(settings: &Settings) -> Answer<()> {
    const FEW: u32 = 3;
    match settings.one("maxauthtries").parse::<u32>() {
        Ok(0) => settings.refuses(
            "maxauthtries",
            "MaxAuthTries is 0: sshd closes each connection before it looks at a key",
            "set MaxAuthTries 6",
        ),
        Ok(tries) if tries < FEW => Answer::warn(
            format!("MaxAuthTries is {tries}: sshd disconnects a client whose agent offers {tries} other keys first"),
            settings.fix(
                "maxauthtries",
                "connect with ssh -o IdentitiesOnly=yes -i KEY, which offers only the pushed key, or set MaxAuthTries 6",
            ),
            (),
        ),
        Ok(tries) => Answer::ok(
            format!("a client can offer {tries} keys; with more in its agent: ssh -o IdentitiesOnly=yes -i KEY"),
            (),
        ),
        Err(_) => Answer::skip("sshd does not print its MaxAuthTries"),
    }
}

/// sshd refuses each key if it cannot read the list of revoked keys.
fn revoked(settings: &Settings, root: &Path) -> Answer<()> {
    /// The smallest RSA key that eic-keys accepts, in bits.
    const SMALLEST: u32 = 2048;
    let list = settings.one("revokedkeys");
    let config = settings.source.config.as_ref();
    let place = config.and_then(|config| config.place("revokedkeys", &settings.source.connection));
    // sshd knows that word outside of blocks only.
    if list == "none" && place.is_some_and(|line| line.block.is_some()) && !root.join("none").exists() {
        return settings.refuses(
            "revokedkeys",
            "RevokedKeys none in a Match block is the name of a file, which does not exist, so that sshd refuses each key",
            "set RevokedKeys /dev/null in that block, or remove the line",
        );
    }
    // sshd reads it as an empty list.
    let is_null = fs::metadata(below(root, Path::new(list))).is_ok_and(|file| files::is_null_device(&file));
    if !matches!(list, "" | "none") && !is_null {
        match accepted::read(root, Path::new(list)).map(|list| accepted::fault(&list)) {
            Ok(None) => {}
            Ok(Some((what, change))) => {
                let note = format!("RevokedKeys {list} {what}, so that sshd refuses each key");
                let change = format!("{change} {list}, or remove RevokedKeys");
                return settings.refuses("revokedkeys", &note, &change);
            }
            Err(error) => {
                let note =
                    format!("RevokedKeys {list} cannot be read, so that sshd refuses each key: {error}");
                let change = format!("create {list} (it can be empty), or remove RevokedKeys");
                return settings.refuses("revokedkeys", &note, &change);
            }
        }
    }
    match settings.one("requiredrsasize").parse::<u32>() {
        Ok(size) if size > SMALLEST => Answer::warn(
            format!("RequiredRSASize is {size}: sshd refuses pushed RSA keys with fewer bits"),
            settings.fix("requiredrsasize", "push an ed25519 key, or set RequiredRSASize 2048"),
            (),
        ),
        _ if matches!(list, "" | "none") => Answer::ok("sshd has no list of revoked keys", ()),
        _ => Answer::ok(format!("sshd can read the list of revoked keys {list}"), ()),
    }
}

fn session(settings: &Settings, account: &Account, root: &Path) -> Answer<()> {
    if settings.is("maxsessions", "0") {
        return settings.refuses(
            "maxsessions",
            "MaxSessions is 0: sshd opens no session",
            "set MaxSessions 10",
        );
    }
    let command = settings.one("forcecommand");
    let forced = !matches!(command, "" | "none");
    let sftp = command.split_whitespace().next() == Some("internal-sftp");
    let chroot = chroot(settings, account);
    if let Some(directory) = &chroot {
        if let Some(reason) = bad_chroot(root, directory) {
            let note = format!("sshd refuses ChrootDirectory {}: {reason}", directory.display());
            let change = "have root own each directory of that path, and no other user write to it";
            return settings.refuses("chrootdirectory", &note, change);
        }
        if let Some(note) = no_shell(account, &below(root, directory)).filter(|_| !sftp) {
            let change = "install the shell and its libraries (ldd) there, set ForceCommand internal-sftp, or remove ChrootDirectory";
            return settings.refuses("chrootdirectory", &note, change);
        }
    }
    if sftp {
        return Answer::warn(
            "ForceCommand is internal-sftp: only sftp works, without a shell",
            settings.fix("forcecommand", "remove ForceCommand if the user is to have a shell"),
            (),
        );
    }
    if let Some(note) = wrong_program(command, account, root, chroot.as_deref()) {
        return settings.refuses(
            "forcecommand",
            &note,
            "repair or install that program, or remove ForceCommand",
        );
    }
    let program = command.split_whitespace().next().unwrap_or_default();
    if chroot.is_none() && is_absent(program, account, root) {
        return Answer::warn(
            format!("ForceCommand runs {program}, which is in none of the usual directories of programs"),
            settings.fix("forcecommand", "install that program, or give its whole path"),
            (),
        );
    }
    let ends = "remove ForceCommand if clients are to get a shell or run commands, or let its program run $SSH_ORIGINAL_COMMAND";
    let prints = ["echo", "printf", "cat", "true", "exit"];
    match program.rsplit('/').next().unwrap_or_default() {
        _ if !forced => {}
        "false" | "nologin" => {
            return settings.refuses(
                "forcecommand",
                &format!("ForceCommand {command} ends each session at once"),
                ends,
            );
        }
        name if prints.contains(&name) => {
            return Answer::warn(
                format!("each session runs ForceCommand {command} instead of what the client asks for"),
                settings.fix("forcecommand", ends),
                (),
            );
        }
        // A menu or a wrapper, which the administrator wants; only a login shows whether it works.
        _ => return Answer::ok(format!("each session runs ForceCommand: {command}"), ()),
    }
    if let Some(timeout) = short_timeout(settings.one("channeltimeout")) {
        return Answer::warn(
            format!("ChannelTimeout {timeout}: sshd closes a session in which nobody types for so long"),
            settings.fix("channeltimeout", "raise that time, or remove ChannelTimeout"),
            (),
        );
    }
    Answer::ok("sshd opens sessions", ())
}

/// The item of `ChannelTimeout` (OpenSSH 9.2 and later) that closes a session in less than a minute. Of several, the first counts.
fn short_timeout(list: &str) -> Option<&str> {
    let is_for = |item: &&str| ["*=", "session", "global="].iter().any(|begin| item.starts_with(begin));
    let item = list.split(' ').find(is_for)?;
    let seconds: u32 = item.split_once('=')?.1.trim_end_matches('s').parse().ok()?;
    (1..60).contains(&seconds).then_some(item)
}

/// Why the user has no shell in `ChrootDirectory`.
fn no_shell(account: &Account, directory: &Path) -> Option<String> {
    let shell = below(directory, &account.shell);
    if !is_program_at(&shell::inside(directory, &account.shell)) {
        return Some(format!("there is no shell {} in ChrootDirectory", shell.display()));
    }
    let reason = shell::does_not_start_below(account, directory, &account.shell)?;
    Some(format!("the shell {} in ChrootDirectory does not start: {reason}", shell.display()))
}

/// Why the program of `ForceCommand` does not run. The user's shell runs it: only words without special characters are surely a path
/// and its arguments, and only those of the home directory are known.
fn wrong_program(command: &str, account: &Account, root: &Path, chroot: Option<&Path>) -> Option<String> {
    let home = account.home.to_str()?;
    let command = command.strip_prefix("exec ").unwrap_or(command);
    // Quotes around all of it make it one word.
    let whole = ['"', '\''].into_iter().find_map(|quote| command.strip_prefix(quote)?.strip_suffix(quote));
    let words = whole.filter(|words| words.contains(' ') && !words.starts_with('/'));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.+".contains(&byte);
    if let Some(words) = words.filter(|words| words.bytes().all(|byte| is_plain(byte) || byte == b' ')) {
        return (chroot.is_none() && !is_installed(words, account, root))
            .then(|| format!("ForceCommand runs {words}, which is not a program{ONE_WORD}"));
    }
    let whole = whole.filter(|command| command.starts_with('/'));
    let program = whole.or_else(|| command.split_whitespace().next())?;
    let in_home = ["~/", "$HOME/"].iter().find_map(|start| program.strip_prefix(start));
    let path = in_home.map_or_else(|| program.to_owned(), |path| format!("{home}/{path}"));
    let is_plain = |byte: u8| is_plain(byte) || byte == b' ' && whole.is_some();
    // Another command can follow.
    if !path.starts_with('/') || !path.bytes().all(is_plain) || command.contains(['|', '&', ';']) {
        return None;
    }
    let directory = below(root, chroot.unwrap_or(Path::new("/")));
    let file = shell::inside(&directory, Path::new(&path));
    if !is_program_at(&file) {
        // A server can provide the home directory, and hide it from root, or PAM at a login.
        let is_known = in_home.is_none()
            || fs::read_dir(below(&directory, &account.home)).is_ok_and(|files| files.count() > 0)
                && fs::metadata(&file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let quotes = if path.contains(' ') { ONE_WORD } else { "" };
        return is_known
            .then(|| format!("ForceCommand runs {}, which is not a program{quotes}", file.display()));
    }
    let reason = match chroot {
        None => shell::cannot_run(account, &file, root, Caller::LoginShell),
        Some(_) => shell::does_not_start_below(account, &directory, Path::new(&path)),
    }?;
    Some(format!("{} cannot run {}, as ForceCommand says: {reason}", account.name, file.display()))
}

/// What is wrong with several words in quotes.
const ONE_WORD: &str = ": the quotes make it one word";

/// Whether the name of a program is that of a well-known one, which no shell has itself, and this system does not have it.
fn is_absent(name: &str, account: &Account, root: &Path) -> bool {
    const KNOWN: &str = "bash doas docker fish podman screen script sudo tmux zsh";
    KNOWN.split(' ').any(|known| known == name) && !is_installed(name, account, root)
}

/// Whether a program is in one of the usual directories.
fn is_installed(name: &str, account: &Account, root: &Path) -> bool {
    // The last two are in the home directory.
    const DIRECTORIES: &str = "/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin /snap/bin /opt/bin /run/current-system/sw/bin \
                               /home/linuxbrew/.linuxbrew/bin bin .local/bin";
    let has = |directory: &str| is_program_at(&shell::inside(root, &account.home.join(directory).join(name)));
    DIRECTORIES.split(' ').any(has)
}

/// `ChrootDirectory` for the user (TOKENS in `sshd_config(5)`).
fn chroot(settings: &Settings, account: &Account) -> Option<PathBuf> {
    let value = settings.one("chrootdirectory");
    let directory = tokens::expand(value.as_bytes(), |token| tokens::of_account(token, account));
    (!matches!(value, "" | "none")).then(|| directory.into())
}

/// `safely_chroot` of OpenSSH's `session.c`: root owns each directory of the path, and no other user can write to it.
fn bad_chroot(root: &Path, directory: &Path) -> Option<String> {
    if !directory.is_absolute() {
        return Some("it is not an absolute path".to_owned());
    }
    let parts: Vec<_> = directory.ancestors().collect();
    parts.into_iter().rev().find_map(|part| {
        let shown = part.display();
        match fs::metadata(below(root, part)) {
            Err(error) => Some(format!("{shown}: {error}")),
            Ok(metadata) if !metadata.is_dir() => Some(format!("{shown} is not a directory")),
            Ok(metadata) => match ownership::check(&metadata, &[0]) {
                Ok(()) => None,
                Err(OwnershipFault::Owner(uid)) => {
                    Some(format!("{shown} is owned by {}", describe_user(uid)))
                }
                Err(OwnershipFault::Writable) => Some(format!("users other than root can write to {shown}")),
            },
        }
    })
}

fn limits_of(settings: &Settings, timeout: Duration) -> Answer<()> {
    /// Fewer unauthenticated connections are used up by a scanner.
    const FEW: u32 = 3;
    let grace = settings.one("logingracetime").parse().map(Duration::from_secs).unwrap_or_default();
    if !grace.is_zero() && grace <= timeout {
        return Answer::warn(
            format!("LoginGraceTime is {} s, and eic-keys may take {} s", grace.as_secs(), seconds(timeout)),
            settings.fix("logingracetime", "set LoginGraceTime 120"),
            (),
        );
    }
    let startups = settings.one("maxstartups");
    let first = startups.split(':').next().and_then(|first| first.parse::<u32>().ok());
    if first.is_some_and(|first| first < FEW) {
        return Answer::warn(
            format!("MaxStartups is {startups}: a few clients that do not log in keep others out"),
            settings.fix("maxstartups", "set MaxStartups 10:30:100"),
            (),
        );
    }
    // Since OpenSSH 9.9.
    if settings.is("refuseconnection", "yes") {
        return settings.refuses(
            "refuseconnection",
            "RefuseConnection is yes: sshd closes each connection",
            "remove RefuseConnection",
        );
    }
    if settings.is("persourcemaxstartups", "0") {
        return settings.refuses(
            "persourcemaxstartups",
            "PerSourceMaxStartups is 0: sshd drops each connection",
            "set PerSourceMaxStartups none",
        );
    }
    let each = settings.one("persourcemaxstartups");
    if each.parse().is_ok_and(|most: u32| most < FEW) {
        return Answer::warn(
            format!(
                "PerSourceMaxStartups is {each}: a client that does not log in keeps others with its address out"
            ),
            settings.fix("persourcemaxstartups", "set PerSourceMaxStartups none"),
            (),
        );
    }
    if let Some((note, change)) = penalties(settings) {
        return Answer::warn(note, settings.fix("persourcepenalties", change), ());
    }
    Answer::ok(format!("LoginGraceTime is {} s, MaxStartups {startups}", grace.as_secs()), ())
}

/// The result if sshd looks up the names of its clients, and gets no answer.
fn slow_names(settings: &Settings) -> Option<Answer<()>> {
    if !settings.is("usedns", "yes") {
        return None;
    }
    // No system has this address (RFC 5737), so that only the name service's own answer counts.
    let asked = TrustedCommand::new("getent").with(["hosts", "192.0.2.1"]).run(limits::CLIENT_NAME);
    asked.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut).then(|| {
        Answer::warn(
            format!(
                "UseDNS is yes, and the name service has no answer for a client's address within {} s: sshd waits for it at each login",
                limits::CLIENT_NAME.as_secs()
            ),
            settings.fix("usedns", "set UseDNS no"),
            (),
        )
    })
}

/// Why these settings refuse the user a login with a pushed key. They are without places, so that each reason is a failure.
pub(super) fn refusal(settings: &Settings, account: Option<&Account>, root: &Path) -> Option<String> {
    let of_account = |account: &Account| {
        access(settings, account, root).failure().or_else(|| session(settings, account, root).failure())
    };
    let answers = [pubkey(settings), methods(settings), algorithms(settings), revoked(settings, root)];
    let mut answers = answers.into_iter().chain([limits_of(settings, Duration::ZERO)]);
    answers.find_map(Answer::failure).or_else(|| account.and_then(of_account))
}

/// The command of these settings, if it is not that of the others and does not run eic-keys.
pub(super) fn changed_command(settings: &Settings, others: &Settings) -> Option<String> {
    let command = settings.dump.command.as_deref().map_or("none".into(), String::from_utf8_lossy);
    let differs = settings.dump.command != others.dump.command;
    (differs && !command.contains("eic-keys")).then(|| format!("AuthorizedKeysCommand is {command}"))
}

/// `PerSourcePenalties` (OpenSSH 9.8 and later). `sshd -T` prints `crash:90 authfail:5 ... max:600 min:15 ... overflow:permissive`.
pub(super) struct Penalties<'a> {
    list: &'a str,
    min: Duration,
    max: Duration,
    /// `PerSourceNetBlockSize`
    networks: &'a str,
}

impl<'a> Penalties<'a> {
    /// `None` if sshd has none.
    pub(super) fn of(settings: &'a Settings) -> Option<Self> {
        let (list, networks) = (settings.one("persourcepenalties"), settings.one("persourcenetblocksize"));
        let list = Self { list, min: Duration::ZERO, max: Duration::ZERO, networks };
        Some(Self { min: list.time("min")?, max: list.time("max")?, ..list })
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.list.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))
    }

    fn time(&self, name: &str) -> Option<Duration> {
        self.value(name).and_then(decimal)
    }

    /// The length of the networks whose addresses have one penalty. `at`: 0 for IPv4, 1 for IPv6.
    fn network(&self, at: usize) -> Option<u32> {
        self.networks.split(':').nth(at)?.parse().ok()
    }

    /// Whether a connection without a login, from `source` of network.banner or from `::1`, has a penalty that others notice.
    pub(super) fn concerns_clients(&self, ipv4: bool) -> bool {
        /// That network is the half of 127.0.0.0/8.
        const OWN: u32 = 9;
        let noauth = self.time("noauth").unwrap_or_default();
        let is_shared = if ipv4 {
            self.network(0).is_some_and(|bits| bits < OWN)
        } else {
            noauth > self.min || self.network(1).is_some_and(|bits| bits < 128)
        };
        !noauth.is_zero() && is_shared
    }
}

/// Penalties that refuse an ordinary client: for longer than a pushed key lives, after one attempt, or for what others do.
fn penalties(settings: &Settings) -> Option<(String, &'static str)> {
    /// How long a pushed key lives, in seconds.
    const KEY: Duration = Duration::from_secs(60);
    /// Fewer addresses than a scanner has.
    const SOURCES: u32 = 1024;
    /// A network that many clients are in.
    const WIDE: u32 = 8;
    let list = Penalties::of(settings)?;
    for (name, what) in
        [("authfail", "one attempt that fails"), ("noauth", "one connection without an attempt")]
    {
        let penalty = list.time(name).unwrap_or_default().min(list.max);
        if penalty >= KEY.max(list.min) {
            let seconds = Seconds(penalty);
            return Some((
                format!(
                    "PerSourcePenalties {name}:{seconds}: after {what}, sshd refuses the client's address for {seconds} s"
                ),
                "remove PerSourcePenalties, or exempt the addresses of the clients (PerSourcePenaltyExemptList)",
            ));
        }
    }
    for (overflow, sources) in [("overflow", "max-sources4"), ("overflow6", "max-sources6")] {
        let most = list.value(sources).and_then(|number| number.parse().ok()).unwrap_or(u32::MAX);
        if list.value(overflow) == Some("deny-all") && most < SOURCES {
            return Some((
                format!(
                    "PerSourcePenalties {overflow}:deny-all {sources}:{most}: while {most} addresses have a penalty, sshd refuses all others"
                ),
                "set overflow:permissive",
            ));
        }
    }
    let network = list.network(0).filter(|bits| *bits <= WIDE)?;
    Some((
        format!("PerSourceNetBlockSize is {network}: a penalty for one client is a penalty for many others"),
        "remove PerSourceNetBlockSize",
    ))
}

/// The command that sessions run with these settings, if it is not that of the others.
fn forced_command(settings: &Settings, others: &Settings) -> Option<String> {
    let command = settings.one("forcecommand");
    let differs = command != others.one("forcecommand") && !matches!(command, "" | "none");
    differs.then(|| format!("each session runs ForceCommand {command}"))
}

/// The result for other clients. The settings of all other checks are those for a client that no such block names.
fn blocks(
    settings: &Settings,
    account: Option<&Account>,
    root: &Path,
    running: Option<SshdState>,
) -> Answer<()> {
    let is_root = account.is_some_and(|account| account.uid == 0);
    let everywhere = refusal(&settings.without_places(), account, root);
    let of_systemd = if running.is_some() { sockets::of_systemd(root) } else { Vec::new() };
    let configured = settings.all("port").filter_map(|port| port.parse().ok());
    let ports: Vec<u16> = configured.chain(of_systemd.iter().map(SocketAddr::port)).collect();
    let refused: Vec<_> = settings
        .client_blocks()
        .into_iter()
        .take(limits::CHECK_DETAILS)
        .filter_map(|block| {
            let reason = match &block.sample {
                Some(sample) if !sample.local_port.is_some_and(|port| ports.contains(&port)) => None,
                _ if is_for_no_address(&block.criteria) => None,
                Some(sample) => {
                    let there = settings.of_connection(sample).ok()?;
                    refusal(&there, account, root)
                        .filter(|reason| everywhere.as_ref() != Some(reason))
                        .or_else(|| changed_command(&there, settings))
                        .or_else(|| forced_command(&there, settings))
                }
                // Without DNS, no client has a name.
                None if block.criteria.to_ascii_lowercase().contains("host") => None,
                None => {
                    let line =
                        block.lines.iter().find(|(keyword, value)| can_refuse(keyword, value, is_root))?;
                    Some(format!("that block sets {} {}", line.0, line.1))
                }
            }?;
            Some((block, reason))
        })
        .collect();
    let Some((block, reason)) = refused.first() else {
        return Answer::ok("no Match block refuses keys for some clients only", ());
    };
    let later = settings.source.unread.contains(&block.origin.path);
    let more = match refused.len() {
        1 => String::new(),
        count => format!("; {} more such blocks", count.saturating_sub(1)),
    };
    let note = format!(
        "for {} ({}, \"Match {}\"): {reason}{more}",
        clients(&block.criteria),
        block.origin,
        block.criteria
    );
    let fix = format!("if such clients are to log in, change that block, then: {}", settings.source.reload);
    let answer = Answer::warn(note, Fix::advice(fix), ()).marked(Mark::SomeClients);
    let answer = if later { answer.breaks_at_restart("") } else { answer };
    answer.detail(
        refused
            .iter()
            .map(|(block, reason)| format!("{}, \"Match {}\": {reason}", block.origin, block.criteria)),
    )
}

/// Whether criteria name one address of this system that it does not have.
fn is_for_no_address(criteria: &str) -> bool {
    let mut words = criteria.split([' ', '\t', '=', '"']).filter(|word| !word.is_empty());
    words.find(|word| word.eq_ignore_ascii_case("localaddress"));
    let address = words.next().and_then(|word| word.parse().ok());
    address.is_some_and(|address| !sockets::is_of_interface(address))
}

/// Whether a line in a `Match` block can refuse a pushed key that is accepted without it.
fn can_refuse(keyword: &str, value: &str, is_root: bool) -> bool {
    match keyword {
        "pubkeyauthentication" => value.eq_ignore_ascii_case("no"),
        "refuseconnection" => value.eq_ignore_ascii_case("yes"),
        "permitrootlogin" => is_root && ["no", "forced-commands-only"].contains(&value),
        "authenticationmethods" => !value.split(' ').any(|list| matches!(list, "any" | "publickey")),
        "forcecommand" | "chrootdirectory" | "revokedkeys" => !value.eq_ignore_ascii_case("none"),
        "maxsessions" => value == "0",
        "authorizedkeyscommand" => !value.contains("eic-keys"),
        "allowusers" | "denyusers" | "allowgroups" | "denygroups" => true,
        _ => false,
    }
}

/// Compares the sockets of the running sshd with what clients use, and then its configuration: sshd uses that when it
/// is started again, unless it gets its sockets from systemd.
fn port(settings: &Settings, root: &Path, running: Option<SshdState>) -> Answer<()> {
    let process = running.and_then(|running| running.process);
    let from_systemd = if running.is_some() { sockets::of_systemd(root) } else { Vec::new() };
    let mut open = process.map(|process| sockets::listening(root, process)).unwrap_or_default();
    // A process does not show that its socket of systemd for IPv6 accepts IPv4, too.
    let only_ipv6 = open.is_empty() || is_ipv6_only(&from_systemd);
    if open.is_empty() {
        open.clone_from(&from_systemd);
    }
    let reload = &settings.source.reload;
    let bindable = sockets::bindable(settings);
    if let (true, Err(change)) = (open.is_empty(), &bindable) {
        return Answer::fail(
            "sshd cannot start: no ListenAddress is an address of this system",
            Fix::advice(change),
        );
    }
    if let Some(note) = nobodys(&from_systemd) {
        return Answer::fail(note, Fix::advice(SOCKET_UNIT));
    }
    let configured = configured(settings);
    let now = if open.is_empty() { &configured } else { &open };
    if now.is_empty() {
        return Answer::skip("the addresses that sshd listens on are not known");
    }
    // The configuration asks for more than the sockets that are open.
    let is_less =
        from_systemd.is_empty() && unreachable(&configured, only_ipv6).is_none() && is_ipv6_only(now);
    if let Some(other) = is_less.then(|| sockets::of_ipv4(root, now)).flatten() {
        return Answer::fail(
            format!(
                "another program listens on {other}: clients reach it over IPv4, and not sshd, which listens on IPv6 only"
            ),
            Fix::advice(format!(
                "stop the other program (ss -tlnp shows it), then: {}",
                settings.source.restart
            )),
        );
    }
    if let Some((note, change)) = unreachable(now, only_ipv6) {
        let mut outside = now.iter().filter(|address| !address.ip().is_loopback());
        let is_usual = now.iter().any(|address| address.port() == 22);
        if !is_usual && outside.any(|address| network::redirects(root, 22, address.port())) {
            return Answer::ok(format!("{}, to which the firewall redirects port 22", listens_on(now)), ());
        }
        let fix = match of_command_line(settings, now, root) {
            _ if !from_systemd.is_empty() => SOCKET_UNIT.to_owned(),
            Some((option, place)) => format!(
                "remove {option} from sshd's command line ({place}), then: {}; or give the client the port (aws ec2-instance-connect \
                 ssh --ssh-port)",
                settings.source.restart
            ),
            None if is_less => format!(
                "find out what keeps sshd from IPv4, such as RestrictAddressFamilies= of its unit, remove it, then: {}",
                settings.source.restart
            ),
            None => format!("{change}, then: {reload}"),
        };
        return if now.iter().all(|address| address.ip().is_loopback()) {
            Answer::fail(note, Fix::advice(fix))
        } else {
            Answer::warn(note, Fix::advice(fix), ())
        };
    }
    match (unreachable(&configured, only_ipv6), bindable) {
        _ if !from_systemd.is_empty() => {}
        (Some((note, change)), _) => {
            return Answer::warn(note, Fix::advice(change), ()).breaks_at_restart("");
        }
        (None, Err(change)) => {
            return Answer::warn(&change, Fix::advice(&change), ()).breaks_at_restart("");
        }
        (None, Ok(())) => {}
    }
    Answer::ok(listens_on(now), ())
}

fn listens_on(addresses: &[SocketAddr]) -> String {
    format!("sshd listens on {}", shown(addresses))
}

/// What to do about the addresses of a socket unit.
const SOCKET_UNIT: &str = "change ListenStream= or BindIPv6Only= of the socket unit (systemctl cat ssh.socket sshd.socket shows it; an empty \
                           ListenStream= before it removes the others), then: systemctl daemon-reload, and restart that unit";

/// The note if systemd listens, as it can with `FreeBind=`, on addresses that no interface has.
fn nobodys(sockets: &[SocketAddr]) -> Option<String> {
    let is_here = |socket: &SocketAddr| socket.ip().is_unspecified() || sockets::is_of_interface(socket.ip());
    (!sockets.is_empty() && !sockets.iter().any(is_here))
        .then(|| format!("systemd listens for sshd on {}: no interface has that address", shown(sockets)))
}

/// The option of sshd's command line that overrides Port, or the address family, and where it is set.
fn of_command_line(settings: &Settings, addresses: &[SocketAddr], root: &Path) -> Option<(String, String)> {
    let is_port = addresses.iter().all(|address| address.port() != 22);
    let mut options = settings.source.daemon_options.iter();
    let wrong = if is_port { 'p' } else { '6' };
    let SshdOption { letter, value } = options.find(|option| option.letter == wrong)?;
    let option = format!("-{letter} {value}").trim_end().to_owned();
    Some((option, running_sshd::place_of_option(&ConfigTree::new(root), *letter)))
}

fn configured(settings: &Settings) -> Vec<SocketAddr> {
    settings.all("listenaddress").filter_map(|address| address.parse().ok()).collect()
}

/// Why clients could not connect to an sshd with these settings.
pub(super) fn unreachable_port(settings: &Settings) -> Option<String> {
    let note = unreachable(&configured(settings), true).map(|(note, _)| note);
    note.or_else(|| sockets::bindable(settings).err())
}

fn is_ipv6_only(addresses: &[SocketAddr]) -> bool {
    addresses.iter().all(SocketAddr::is_ipv6)
}

fn shown(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why clients may not reach these addresses, and what to change. `only_ipv6`: a socket for IPv6 accepts no IPv4.
fn unreachable(addresses: &[SocketAddr], only_ipv6: bool) -> Option<(String, &'static str)> {
    let mut from_outside = addresses.to_vec();
    from_outside.retain(|address| !address.ip().is_loopback());
    let mut usual = from_outside.clone();
    usual.retain(|address| address.port() == 22);
    if addresses.is_empty() {
        None
    } else if from_outside.is_empty() {
        Some((
            format!("sshd listens on {} only: clients cannot connect from outside", shown(addresses)),
            "remove ListenAddress, or set ListenAddress 0.0.0.0 (or connect through Session Manager: AWS-StartSSHSession)",
        ))
    } else if usual.is_empty() {
        let shown = shown(&from_outside);
        Some((
            format!("sshd listens on {shown}, not on port 22, which the console and endpoints use"),
            "give the client the port (aws ec2-instance-connect ssh --ssh-port), or set Port 22 too",
        ))
    } else if only_ipv6 && is_ipv6_only(&usual) {
        Some((
            format!("sshd listens on IPv6 only: {}", shown(&usual)),
            "set ListenAddress 0.0.0.0 too, and remove AddressFamily inet6, if it is set",
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Penalties, Settings, limits_of};
    use crate::check::settings::SettingsSource;
    use crate::config_tree::ConfigTree;
    use crate::sshd::config::Config;
    use crate::sshd::criteria::ConnectionSpec;
    use crate::sshd::lexer::OpensshVersion;
    use crate::sshd::query::{Dump, Sshd};

    /// Settings with these lines of `sshd -T`.
    fn settings(lines: &str) -> Settings {
        let others = lines.lines().map(|line| line.as_bytes().to_vec()).collect();
        let dump = Dump { command: None, user: None, others };
        let source = SettingsSource {
            connection: ConnectionSpec::probe(),
            config: None,
            options: Vec::new(),
            daemon_options: Vec::new(),
            unread: Vec::new(),
            refused_by: None,
            reload: "systemctl reload ssh".to_owned(),
            restart: "systemctl restart ssh".to_owned(),
            sshd: Sshd::new(&[]),
            main: "/etc/ssh/sshd_config".into(),
            has_directory: true,
            has_host_keys: true,
            is_accepted: true,
        };
        Settings::new(dump, source)
    }

    /// sshd joins the penalties of its command line and of a file.
    #[test]
    #[allow(clippy::unwrap_used, reason = "a test may panic")]
    fn penalties_of_a_file_beside_the_command_line() {
        let root = std::env::temp_dir().join(format!("eic-keys-penalties-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc/ssh")).unwrap();
        let place = |text: &str| {
            std::fs::write(root.join("etc/ssh/sshd_config"), text).unwrap();
            let (tree, main) = (ConfigTree::new(&root), "/etc/ssh/sshd_config".as_ref());
            let version = OpensshVersion::from_version_text("OpenSSH_10.0").unwrap();
            let mut settings = settings("persourcepenalties authfail:60 max:600 min:1");
            settings.source.config = Config::read(&tree, main, version).ok();
            settings.source.options = vec!["PerSourcePenalties=no".to_owned()];
            settings.fix("persourcepenalties", "remove it").text().to_owned()
        };
        let (file, line) = (place("PerSourcePenalties authfail:60 min:1\n"), place("Port 22\n"));
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(file, "remove it (/etc/ssh/sshd_config line 1), then: systemctl reload ssh");
        assert_eq!(line, "remove it (sshd's command line), then: systemctl restart ssh");
    }

    #[test]
    fn settings_of_newer_versions() {
        for (line, fails) in [
            ("refuseconnection yes", true),
            ("refuseconnection no", false),
            ("persourcemaxstartups 0", true),
            ("persourcemaxstartups none", false),
        ] {
            let answer = limits_of(&settings(line), Duration::from_secs(4));
            assert_eq!(format!("{answer:?}").contains("status: Fail"), fails, "{line}");
        }
    }

    /// Penalties of one connection without a login, from an address that no client has.
    #[test]
    fn penalties_of_this_systems_own_connection() {
        let usual = "crash:90 authfail:5 noauth:1 max:600 min:15";
        for (list, networks, ipv4, ipv6) in [
            (usual, "32:128", false, false),
            (usual, "16:64", false, true),
            (usual, "8:128", true, false),
            ("noauth:600.000000 max:600.000000 min:0.000000", "32:128", false, true),
            ("noauth:0 max:600 min:0", "0:0", false, false),
            ("no", "0:0", false, false),
        ] {
            let settings = settings(&format!("persourcepenalties {list}\npersourcenetblocksize {networks}"));
            let concerns = |ipv4| Penalties::of(&settings).is_some_and(|list| list.concerns_clients(ipv4));
            assert_eq!((concerns(true), concerns(false)), (ipv4, ipv6), "{list} {networks}");
        }
    }

    /// The lines are those of 9.9 and 10.0, whose numbers differ in form.
    #[test]
    fn penalties_that_refuse_ordinary_clients() {
        let defaults = "persourcepenalties crash:90 authfail:5 noauth:1 grace-exceeded:10 refuseconnection:10 max:600 min:15 \
                        max-sources4:65536 max-sources6:65536 overflow:permissive overflow6:permissive";
        for (change, says) in [
            (("", ""), None),
            (("crash:90 authfail:5 noauth:1", "crash:90.000000 authfail:5.000000 noauth:1.000000"), None),
            (("persourcepenalties crash:90", "persourcepenalties no"), None),
            (("authfail:5", "authfail:3600.000000"), Some("authfail:600: after one attempt that fails")),
            (("authfail:5", "authfail:30"), None),
            (("noauth:1", "noauth:60"), Some("noauth:60: after one connection without an attempt")),
            (("min:15", "min:0"), None),
            (
                (
                    "max-sources4:65536 max-sources6:65536 overflow:permissive",
                    "max-sources4:10 max-sources6:65536 overflow:deny-all",
                ),
                Some("while 10 addresses have a penalty"),
            ),
            (("overflow:permissive", "overflow:deny-all"), None),
        ] {
            let line = if change.1 == "persourcepenalties no" {
                change.1.to_owned()
            } else {
                defaults.replacen(change.0, change.1, 1)
            };
            let answer = format!("{:?}", limits_of(&settings(&line), Duration::from_secs(4)));
            match says {
                None => assert!(answer.contains("status: Ok"), "{line}: {answer}"),
                Some(says) => {
                    assert!(answer.contains("status: Warn") && answer.contains(says), "{line}: {answer}");
                }
            }
        }
        let wide = settings(&format!("{defaults}\npersourcenetblocksize 0:0"));
        assert!(
            format!("{:?}", limits_of(&wide, Duration::from_secs(4))).contains("PerSourceNetBlockSize is 0")
        );
        let plain = settings(&format!("{defaults}\npersourcenetblocksize 32:128"));
        assert!(format!("{:?}", limits_of(&plain, Duration::from_secs(4))).contains("status: Ok"));
    }
}
