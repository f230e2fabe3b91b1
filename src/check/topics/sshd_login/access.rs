//! Which users sshd allows: `AllowUsers`, `DenyUsers`, `AllowGroups`, `DenyGroups` and `PermitRootLogin`.

use std::path::Path;

use crate::account::{Account, has_entry};
use crate::check::fault::Fault;
use crate::check::fix::Fix;
use crate::check::report::Mark;
use crate::check::runner::Answer;
use crate::check::settings::Settings;
use crate::check::topics::nsswitch::without_files;
use crate::files;
use crate::wildcard::matches;

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
    fn access_for(&self, settings: &Settings, account: &Account, root: &Path) -> Access {
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
pub(crate) fn allows(settings: &Settings, account: &Account) -> bool {
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

/// Why a list that has a group of the user in `/etc/group` does not allow the user: its line is damaged, or the name service does not
/// use that file.
fn unread_group(list: &AccessList, settings: &Settings, account: &Account, root: &Path) -> Option<Fault> {
    if !(list.groups && list.allows) {
        return None;
    }
    let text = files::system_text(root, "/etc/group");
    let shown = list.shown;
    let damaged = text.lines().zip(1_u32..).find_map(|(line, number)| {
        let (group, rest) = line.split_once(':')?;
        let has_gid = rest.split(':').nth(1).is_some_and(|gid| gid.parse::<u32>().is_ok());
        let members = rest.split(':').find(|field| field.split(',').any(|one| one == account.name))?;
        let is_listed = settings.all(list.keyword).any(|one| one == group);
        (is_listed && !has_gid).then_some((number, group, members))
    });
    if let Some((number, group, members)) = damaged {
        return Some(Fault::with_advice(
            format!(
                "{shown} has {group}, in which the name service does not find {}: line {number} of /etc/group is damaged",
                account.name
            ),
            format!(
                "correct line {number} of /etc/group: {group}:x:GID:{members} (grpck -r checks that file)"
            ),
        ));
    }
    let group = text.lines().find_map(|line| {
        let [group, _, gid, members] = line.split(':').collect::<Vec<_>>()[..] else { return None };
        let is_in = gid.parse() == Ok(account.gid) || members.split(',').any(|one| one == account.name);
        let is_listed = settings.all(list.keyword).any(|one| matches(group.as_bytes(), one.as_bytes()));
        (is_in && is_listed).then_some(group)
    })?;
    let without = ["group", "initgroups"]
        .into_iter()
        .find_map(|database| Some((database, without_files(root, database)?)));
    let (database, line) = without?;
    Some(Fault::with_advice(
        format!(
            "{shown} has {group}, a group of {} in /etc/group, but the {database} line of /etc/nsswitch.conf is \"{line}\", without files",
            account.name
        ),
        "put files before the other services in the group and initgroups lines of /etc/nsswitch.conf: group: files",
    ))
}

/// `allowed_user` of OpenSSH's `auth.c`, in the same order. USER@HOST gives only a warning, because the client is not known.
pub(super) fn access(settings: &Settings, account: &Account, root: &Path) -> Answer<()> {
    let name = &account.name;
    let mut some_clients = Vec::new();
    let mut answer = Answer::ok("", ());
    // What a block lifts for some clients does not hide what no block lifts.
    for list in &ACCESS {
        match list.access_for(settings, account, root) {
            Access::Allowed => {}
            Access::SomeClients(words) => some_clients.push(words),
            Access::Refused { note, change } => {
                answer = answer.or_worse(|| match unread_group(list, settings, account, root) {
                    None => settings.refuses(list.keyword, &note, &change),
                    Some(fault) => fault.fail(),
                });
            }
            Access::Unknown(reason) => answer = answer.or_worse(|| Answer::skip(reason)),
        }
    }
    answer.or_worse(|| root_login(settings, account)).or_worse(|| of_clients(&some_clients, name))
}

/// `PermitRootLogin`
fn root_login(settings: &Settings, account: &Account) -> Answer<()> {
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
        _ => Answer::ok("", ()),
    }
}

/// The result of the lists that allow or refuse the user for some clients.
fn of_clients(lists: &[String], name: &str) -> Answer<()> {
    if lists.is_empty() {
        return Answer::ok(format!("sshd allows {name}"), ());
    }
    let fix = "compare the client's address with that list; outside.network has the console's addresses";
    Answer::warn(lists.join("; "), Fix::advice(fix), ()).marked(Mark::SomeClients)
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
