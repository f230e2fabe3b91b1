//! Whether SSSD refuses a user by its own rules, for `pam_sss`: `access_provider` in sssd.conf(5), and sssd-simple(5).

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::nsswitch;
use crate::account::{Account, has_entry};
use crate::check::fault::Fault;
use crate::check::running_sshd::changed_at;
use crate::config_tree::Origin;
use crate::files;
use crate::limits;
use crate::tool::ask;

/// The socket on which sssd answers `pam_sss`.
pub(super) const SOCKET: &str = "var/lib/sss/pipes/pam";

/// Whether sssd may answer `pam_sss`. Older versions have another socket for root.
pub(super) fn answers(root: &Path) -> bool {
    let is_dead = |path: &str| match fs::metadata(root.join(path)) {
        Ok(metadata) if metadata.file_type().is_socket() => is_refused(&root.join(path)) == Some(true),
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    root.join(SOCKET).exists() && ![SOCKET, "var/lib/sss/pipes/private/pam"].into_iter().all(is_dead)
}

/// Whether the kernel refuses a connection to a socket.
fn is_refused(path: &Path) -> Option<bool> {
    // A full queue is no reason to wait.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    let address = SocketAddrUnix::new(path).ok()?;
    Some(connect(&socket, &address) == Err(Errno::CONNREFUSED))
}

/// Its files: the main one, and those of a directory.
pub(super) const FILES: [&str; 2] = ["/etc/sssd/sssd.conf", "/etc/sssd/conf.d"];

/// A setting of SSSD.
struct Setting {
    section: String,
    name: String,
    value: String,
    origin: Origin,
}

/// Why `pam_sss` does not know a user of /etc/passwd: SSSD as a source of users does not, either.
pub(super) fn unknown(root: &Path, user: &Account, arguments: &[&str]) -> Option<Fault> {
    /// The exit status of getent for a name that is not found.
    const NOT_FOUND: i32 = 2;
    let is_ignored = |word: &&str| *word == "ignore_unknown_user" || word.starts_with("domains=");
    let is_local = has_entry(&files::system_text(root, "/etc/passwd"), &user.name);
    if !is_local || arguments.iter().any(is_ignored) || !nsswitch::has_users_of(root, "sss") {
        return None;
    }
    let asked = ask("getent", &["--service=sss", "passwd", "--", &user.name]).ok()?;
    (asked.status.code() == Some(NOT_FOUND)).then(|| {
        Fault::with_advice(
            format!("pam_sss does not know {}: /etc/passwd has that user, and SSSD has not", user.name),
            "let that line ignore users that SSSD does not know, [default=bad success=ok user_unknown=ignore] in place of its control, or \
             add account sufficient pam_localuser.so before it",
        )
    })
}

/// Why SSSD refuses a user of its directory. `files`: those that it reads.
pub(super) fn refusal(root: &Path, user: &Account, arguments: &[&str], files: &[PathBuf]) -> Option<Fault> {
    // It knows no local user. A line can be for some domains only.
    let passwd = files::system_text(root, "/etc/passwd");
    if has_entry(&passwd, &user.name) || arguments.iter().any(|word| word.starts_with("domains=")) {
        return None;
    }
    let settings = settings(root, files)?;
    let (Setting { name, origin, .. }, what) = refusing(&settings, user)?;
    let reason = format!("SSSD refuses {}: {name} ({origin}) {what}", user.name);
    let fix = format!("change {name} ({origin}), then: systemctl restart sssd");
    Some(Fault::with_advice(reason, fix))
}

/// The setting that refuses a user, and what it does.
fn refusing<'a>(settings: &'a [Setting], user: &Account) -> Option<(&'a Setting, &'static str)> {
    // Of several domains, it is not known whose the user is.
    let domain = settings.iter().rfind(|one| one.section == "sssd" && one.name == "domains")?.value.as_str();
    if domain.contains(',') || settings.iter().any(|one| one.name == "enabled") {
        return None;
    }
    let set = |name: &str| {
        let of_domain =
            |one: &&Setting| one.section.strip_prefix("domain/") == Some(domain) && one.name == name;
        settings.iter().rfind(of_domain).filter(|one| !one.value.is_empty())
    };
    let provider = set("access_provider")?;
    if provider.value == "deny" {
        return Some((provider, "refuses everybody"));
    }
    // A group without a name can be one of a list, but for the user's own one: its directory has none then.
    let groups = ["simple_deny_groups", "simple_allow_groups"];
    let has_unnamed = user.groups.len() < user.gids.len() && user.gids.len() > 1;
    let is_uncertain = has_unnamed && groups.into_iter().any(|name| set(name).is_some());
    if provider.value != "simple" || is_uncertain {
        return None;
    }
    let has = |list: &Setting, is: fn(&str, &str) -> bool| {
        let names =
            if list.name.ends_with("users") { std::slice::from_ref(&user.name) } else { &user.groups };
        list.value.split(',').any(|item| names.iter().any(|name| is(item.trim(), name)))
    };
    let both = |[users, groups]: [&str; 2]| [set(users), set(groups)].into_iter().flatten();
    if let Some(list) =
        both(["simple_deny_users", "simple_deny_groups"]).find(|list| has(list, |item, name| item == name))
    {
        return Some((list, "lists the user or a group of it"));
    }
    let mut allowed = both(["simple_allow_users", "simple_allow_groups"]).peekable();
    let first = *allowed.peek()?;
    (!allowed.any(|list| has(list, is_same)))
        .then_some((first, "does not list the user, and no other list allows it or a group of it"))
}

/// Whether an item of a list can mean this user or group: the case, a domain and spaces can be written otherwise.
fn is_same(item: &str, name: &str) -> bool {
    let base = |name: &str| {
        let name = name.rsplit('\\').next().unwrap_or_default();
        name.split('@').next().unwrap_or_default().replace(' ', "_")
    };
    base(item).eq_ignore_ascii_case(&base(name))
}

/// The settings with which SSSD runs. `None` if that is not certain.
fn settings(root: &Path, files: &[PathBuf]) -> Option<Vec<Setting>> {
    let started = fs::metadata(root.join(SOCKET)).ok()?.modified().ok()?;
    let mut found = Vec::new();
    for path in files {
        let file = files::below(root, path);
        // It has not read a newer file. Of those of the directory, some versions leave out one that a group can read.
        let unread = if path.ends_with("sssd.conf") { 0o037 } else { 0o077 };
        if changed_at(&file)? > started || fs::metadata(&file).ok()?.mode() & unread != 0 {
            return None;
        }
        parse(&files::read_text(&file, limits::SYSTEM_FILE).ok()?, path, &mut found);
    }
    Some(found)
}

fn parse(text: &str, path: &Path, found: &mut Vec<Setting>) {
    let mut section = "";
    for (line, number) in text.lines().zip(1_usize..) {
        let continues = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some(last) = found.last_mut().filter(|_| continues) {
            last.value.push_str(line);
        } else if let Some((name, value)) = line.split_once('=') {
            found.push(Setting {
                section: section.to_owned(),
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
                origin: Origin { path: path.to_owned(), line: number },
            });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::{Account, FILES, SOCKET, refusal};

    /// Why carol, of a directory, is refused.
    fn refused(of_domain: &str, snippet: Option<&str>, change: &str) -> Option<String> {
        let name = format!("eic-keys-sssd-{}-{:?}", std::process::id(), std::thread::current().id());
        let root = std::env::temp_dir().join(name);
        for directory in ["etc/sssd/conf.d", "var/lib/sss/pipes"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        let text =
            format!("[sssd]\ndomains = directory\n[domain/directory]\nid_provider = ldap\n{of_domain}\n");
        let file = root.join("etc/sssd/sssd.conf");
        let socket = root.join(SOCKET);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        if let Some(snippet) = snippet {
            let file = root.join("etc/sssd/conf.d/10-access.conf");
            fs::write(&file, snippet).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&socket, "").unwrap();
        match change {
            "domains" => {
                let text = fs::read_to_string(&file).unwrap().replace("= directory", "= directory, other");
                fs::write(&file, text).unwrap();
                std::thread::sleep(Duration::from_millis(20));
                fs::write(&socket, "x").unwrap();
            }
            "local" => fs::write(root.join("etc/passwd"), "carol:x:7001:7001::/:/bin/sh\n").unwrap(),
            "newer" => {
                std::thread::sleep(Duration::from_millis(20));
                fs::write(&file, fs::read(&file).unwrap()).unwrap();
            }
            "stopped" => fs::remove_file(&socket).unwrap(),
            _ => {}
        }
        let carol = Account {
            name: "carol".to_owned(),
            uid: 7001,
            gid: 7001,
            groups: if change == "alone" {
                Vec::new()
            } else {
                vec!["ops".to_owned(), "linux admins".to_owned()]
            },
            gids: match change {
                "unnamed" => vec![7001, 7002, 7003],
                "alone" => vec![7001],
                _ => vec![7001, 7002],
            },
            home: "/".into(),
            shell: "/bin/sh".into(),
        };
        let arguments = if change == "other" { &["domains=other"][..] } else { &[] };
        let snippets = snippet.map(|_| "/etc/sssd/conf.d/10-access.conf");
        let files: Vec<_> = [FILES[0]].into_iter().chain(snippets).map(Into::into).collect();
        let fault = refusal(&root, &carol, arguments, &files);
        fs::remove_dir_all(root).unwrap();
        fault.map(|fault| fault.note)
    }

    #[test]
    fn rules_of_sssd() {
        const NEITHER: &str = "does not list the user, and no other list allows it or a group of it";
        for (lines, expected) in [
            ("", None),
            ("access_provider = permit", None),
            ("access_provider = ldap\nldap_access_filter = (uid=none)", None),
            (
                "access_provider = deny",
                Some("SSSD refuses carol: access_provider (/etc/sssd/sssd.conf line 5) refuses everybody"),
            ),
            ("access_provider = simple", None),
            ("access_provider = simple\nsimple_allow_users =", None),
            ("simple_allow_users = dora", None),
            ("access_provider = simple\nsimple_allow_users = dora, emil", Some(NEITHER)),
            ("access_provider = simple\nsimple_allow_users = dora,\n  carol, emil", None),
            (
                "access_provider = simple\n# simple_allow_users = carol\nsimple_allow_groups = wheel",
                Some(NEITHER),
            ),
            ("access_provider = simple\nsimple_allow_users = dora\nsimple_allow_groups = ops", None),
            ("access_provider = simple\nsimple_allow_groups = Linux_Admins@directory", None),
            ("access_provider = simple\nsimple_allow_users = CORP\\Carol", None),
            (
                "access_provider = simple\nsimple_deny_groups = none, ops",
                Some("simple_deny_groups (/etc/sssd/sssd.conf line 6) lists the user or a group of it"),
            ),
            (
                "access_provider = simple\nsimple_allow_users = carol\nsimple_deny_users = carol",
                Some("lists the user or a group of it"),
            ),
            ("access_provider = simple\nsimple_deny_users = Carol", None),
            ("[domain/other]\naccess_provider = deny", None),
            ("enabled = false\naccess_provider = deny", None),
        ] {
            let found = refused(lines, None, "");
            assert_eq!(found.is_some(), expected.is_some(), "{lines}: {found:?}");
            assert!(found.unwrap_or_default().ends_with(expected.unwrap_or_default()), "{lines}");
        }
        let snippet = "[domain/directory]\naccess_provider = simple\nsimple_allow_groups = wheel\n";
        let found = refused("access_provider = permit", Some(snippet), "").unwrap();
        assert!(found.contains("simple_allow_groups (/etc/sssd/conf.d/10-access.conf line 3) "), "{found}");
        // A group of the user has no name.
        for (list, is_refused) in
            [("simple_allow_users = dora", true), ("simple_allow_groups = wheel", false)]
        {
            let lines = format!("access_provider = simple\n{list}");
            assert_eq!(refused(&lines, None, "unnamed").is_some(), is_refused, "{list}");
        }
        // The user is in no other group than one that the directory does not have.
        let lines = "access_provider = simple\nsimple_allow_groups = wheel";
        assert!(refused(lines, None, "alone").unwrap().ends_with(NEITHER));
        for change in ["domains", "local", "newer", "stopped", "other"] {
            assert_eq!(refused("access_provider = deny", None, change), None, "{change}");
        }
    }
}
