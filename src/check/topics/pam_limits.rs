//! Limits of `pam_limits` with which no session can start (limits.conf(5)).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::pam_modules::files_of;
use crate::account::Account;
use crate::check::fix::Fix;
use crate::files;
use crate::limits;
use crate::procfs::threads_of;

/// The limits, the largest value with which a session cannot start, what it means, and whether that is certain. Values a little
/// larger than these are left to a rehearsal.
const TOO_LOW: [(&str, u64, &str, bool); 10] = [
    ("maxlogins", 0, "PAM allows no login", true),
    ("maxsyslogins", 0, "PAM allows no login", true),
    ("nofile", 4, "sshd cannot open a file", true),
    // sshd's own process counts, too.
    ("nproc", 1, "the shell cannot be started", true),
    // The least sshd has more.
    ("as", 5000, NO_MEMORY, true),
    ("data", 100, NO_MEMORY, true),
    ("stack", 4, NO_MEMORY, true),
    // Most have more.
    ("nofile", 14, "sshd cannot start a session", false),
    ("as", 16_000, NO_MEMORY, false),
    ("data", 800, NO_MEMORY, false),
];

const NO_MEMORY: &str = "sshd and the shell do not fit into so little memory";

/// A limit with which no session can start.
#[derive(Debug)]
pub(crate) struct LowLimit {
    /// Its line.
    place: String,
    /// Its type, item and value.
    limit: String,
    means: String,
    /// What to do with it.
    change: &'static str,
    pub(crate) is_certain: bool,
}

impl LowLimit {
    pub(crate) fn note(&self, name: &str) -> String {
        let Self { place, limit, means, .. } = self;
        let perhaps = if self.is_certain { "" } else { "perhaps " };
        format!("{perhaps}no session of {name} can start: {place} sets {limit}: {means}")
    }

    pub(crate) fn fix(&self) -> Fix {
        Fix::advice(format!("{} {} in {}, or remove that line", self.change, self.limit, self.place))
    }
}

/// Whom a line is for. The nearest to a user counts, of several the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Domain {
    /// A pattern.
    Unknown,
    Others,
    Everybody,
    /// `%`: all of them together.
    All,
    /// `%GROUP`: all users of that group together.
    AllOfGroup,
    Group,
    User,
}

/// A limit of this user with which no session can start. `knows_chroot`: the module has the item `chroot`, too.
pub(crate) fn too_low(
    root: &Path,
    user: &Account,
    arguments: &[String],
    knows_chroot: bool,
) -> Option<LowLimit> {
    // Root is exempt from what is for everybody, and needs fewer.
    if user.uid == 0 {
        return None;
    }
    let paths = match arguments.iter().find_map(|word| word.strip_prefix("conf=")) {
        Some(other) => vec![PathBuf::from(other)],
        None => files_of(root, "/etc/security/limits.conf", "/etc/security/limits.d"),
    };
    let mut lines = Vec::new();
    for path in &paths {
        let text = files::read_text(&files::below(root, path), limits::SYSTEM_FILE).unwrap_or_default();
        for (line, number) in text.lines().zip(1_usize..) {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            let [domain, rest @ ..] = words.as_slice() else { continue };
            match (domain_of(domain, user), rest) {
                (Domain::Others, _) => {}
                (Domain::Unknown, _) => return None,
                // No limit at all.
                (_, [all]) if all == "-" => return None,
                (domain, [kind, item, value]) => lines.push(Limit {
                    domain,
                    kind: kind.to_ascii_lowercase(),
                    item: item.to_ascii_lowercase(),
                    value: value.clone(),
                    place: format!("{} line {number}", path.display()),
                }),
                _ => {}
            }
        }
    }
    let mut roots = lines.iter().filter(|line| knows_chroot && line.item == "chroot").peekable();
    let first = roots.peek().copied();
    if let Some(line) = first.filter(|_| roots.all(|line| is_lost(root, &line.value))) {
        return Some(LowLimit {
            place: line.place.clone(),
            limit: format!("{} chroot {}", line.kind, line.value),
            means: "that directory does not exist".to_owned(),
            change: "correct",
            is_certain: true,
        });
    }
    let low = |item: &str, most: u64, means: &dyn Fn() -> String, is_certain: bool| {
        let of = |kinds: &[&str]| {
            let fits = |limit: &&Limit| limit.item == item && kinds.contains(&limit.kind.as_str());
            lines.iter().filter(fits).max_by_key(|limit| limit.domain)
        };
        // Those of logins have no type: the line with the first domain counts.
        let counting = if item == "maxlogins" {
            [of(&["hard", "soft", "-"]), None]
        } else {
            [of(&["hard", "-"]), of(&["soft", "-"])]
        };
        counting.into_iter().flatten().find_map(|limit| {
            let value: u64 = limit.value.parse().ok()?;
            (value <= most).then(|| LowLimit {
                place: limit.place.clone(),
                limit: format!("{} {item} {value}", limit.kind),
                means: means(),
                change: "raise",
                is_certain,
            })
        })
    };
    let found = TOO_LOW
        .into_iter()
        .find_map(|(item, most, means, is_certain)| low(item, most, &|| means.to_owned(), is_certain));
    if found.as_ref().is_some_and(|found| found.is_certain)
        || !lines.iter().any(|limit| limit.item == "nproc")
    {
        return found;
    }
    // Threads count as processes. Of the session, sshd's own process and the shell do.
    let running = threads_of(root, user.uid);
    let means = || format!("{} runs {running} processes and threads already", user.name);
    low("nproc", running.saturating_add(1), &means, true).or(found)
}

/// Whether a path leads nowhere.
fn is_lost(root: &Path, path: &str) -> bool {
    let found = fs::metadata(files::below(root, Path::new(path)));
    path.starts_with('/')
        && !path.contains('%')
        && found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// A line of a file.
struct Limit {
    domain: Domain,
    kind: String,
    item: String,
    value: String,
    place: String,
}

fn domain_of(domain: &str, user: &Account) -> Domain {
    let in_group = |name: &str| user.groups.iter().any(|group| group == name);
    match domain.strip_prefix('@') {
        _ if domain == "*" => Domain::Everybody,
        _ if domain == "%" => Domain::All,
        _ if domain == user.name => Domain::User,
        _ if domain.contains('*') => Domain::Unknown,
        _ if domain.starts_with('%') => match domain.trim_start_matches('%') {
            group if group.contains(':') => Domain::Unknown,
            group if in_group(group) => Domain::AllOfGroup,
            _ => Domain::Others,
        },
        None if domain.contains(':') => of_range(in_range(domain, user.uid, &[]), Domain::User),
        Some(groups) if groups.contains(':') => {
            of_range(in_range(groups, user.gid, &user.gids), Domain::Group)
        }
        Some(group) if in_group(group) => Domain::Group,
        _ => Domain::Others,
    }
}

/// The domain of a line for a range, if the user is in it: `own`.
const fn of_range(has_user: Option<bool>, own: Domain) -> Domain {
    match has_user {
        Some(true) => own,
        Some(false) => Domain::Others,
        None => Domain::Unknown,
    }
}

/// Whether a range has this number: `MIN:`, `MIN:MAX`, or `:NUMBER`, where one of `more` is enough.
fn in_range(range: &str, number: u32, more: &[u32]) -> Option<bool> {
    let (min, max) = range.split_once(':')?;
    let max = if max.is_empty() { u32::MAX } else { max.parse().ok()? };
    if min.is_empty() {
        return Some(number == max || more.contains(&max));
    }
    Some((min.parse().ok()?..=max).contains(&number))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs;

    use super::{Account, too_low};

    fn found(text: &str) -> Option<String> {
        found_with(text, &[])
    }

    /// While these users run a process of so many threads each.
    fn found_with(text: &str, processes: &[(u32, u32)]) -> Option<String> {
        let name = format!("eic-keys-limits-{}-{:?}", std::process::id(), std::thread::current().id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(root.join("etc/security/limits.d")).unwrap();
        fs::write(root.join("etc/security/limits.d/x.conf"), text).unwrap();
        for ((uid, threads), number) in processes.iter().zip(2..) {
            let process = root.join(format!("proc/{number}"));
            fs::create_dir_all(&process).unwrap();
            let status = format!("Name:\tx\nUid:\t{uid}\t0\t0\t0\nThreads:\t{threads}\n");
            fs::write(process.join("status"), status).unwrap();
        }
        let alice = Account {
            name: "alice".to_owned(),
            uid: 1000,
            gid: 1000,
            groups: vec!["staff".to_owned()],
            gids: vec![1000],
            home: "/".into(),
            shell: "/bin/sh".into(),
        };
        let found = too_low(&root, &alice, &[], true);
        let found =
            found.map(|low| if low.is_certain { low.limit } else { format!("perhaps {}", low.limit) });
        fs::remove_dir_all(root).unwrap();
        found
    }

    #[test]
    fn as_many_processes_as_the_limit() {
        let processes = [(1000, 1), (1000, 9), (1001, 50), (0, 100)];
        for (text, expected) in [
            ("alice hard nproc 10\n", Some("hard nproc 10")),
            ("* soft nproc 11\nalice hard nproc 100\n", Some("soft nproc 11")),
            ("alice hard nproc 12\n", None),
            ("bob hard nproc 2\n", None),
            ("alice hard nofile 64\n", None),
            ("alice hard nproc 3\nalice hard nproc unlimited\n", None),
        ] {
            assert_eq!(found_with(text, &processes).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn limits_that_are_too_low() {
        for (text, expected) in [
            ("alice hard maxlogins 0\n", Some("hard maxlogins 0")),
            ("# alice hard maxlogins 0\n", None),
            ("* - maxlogins 10\n", None),
            ("* hard maxlogins 0\nalice hard maxlogins 3\n", None),
            ("alice hard maxlogins 3\n* hard maxlogins 0\n", None),
            ("@staff hard maxlogins -1\n* - maxlogins 0\n", None),
            ("@staff soft maxlogins 10\n* - maxlogins 0\n", None),
            ("@staff hard maxlogins 0\n* - maxlogins 10\n", Some("hard maxlogins 0")),
            ("@staff - nproc 0\n", Some("- nproc 0")),
            ("@other - nproc 0\n", None),
            ("bob hard nofile 3\n", None),
            ("alice soft nofile 3\nalice hard nofile 1024\n", Some("soft nofile 3")),
            ("alice hard nofile 3\nalice hard nofile 1024\n", None),
            ("alice hard as 1000\n", Some("hard as 1000")),
            ("alice hard as unlimited\n", None),
            ("@staff - as 10000\n", Some("perhaps - as 10000")),
            ("@staff - as 10000\n* hard data 100\n", Some("hard data 100")),
            ("alice hard as 65536\n", None),
            ("alice soft data 400\n", Some("perhaps soft data 400")),
            ("alice hard core 0\n", None),
            ("alice -\nalice hard nofile 3\n", None),
            ("1000: hard nofile 1024\n* hard nofile 3\n", None),
            ("1000: hard maxlogins 0\n", Some("hard maxlogins 0")),
            ("500:1000 hard maxlogins 0\n", Some("hard maxlogins 0")),
            (":1000 hard maxlogins 0\n", Some("hard maxlogins 0")),
            ("1001: hard maxlogins 0\n", None),
            ("500:999 hard maxlogins 0\n", None),
            (":1001 hard maxlogins 0\n", None),
            ("@1000: hard maxlogins 0\n", Some("hard maxlogins 0")),
            ("@:1000 hard maxlogins 0\nalice hard maxlogins 2\n", None),
            ("@1001: hard maxlogins 0\n", None),
            ("x: hard maxlogins 3\n* hard maxlogins 0\n", None),
            ("%staff hard maxlogins 0\n", Some("hard maxlogins 0")),
            ("%other hard maxlogins 0\n", None),
            ("%users - maxlogins 0\n0: - nofile 2\n", Some("- nofile 2")),
            ("alice HARD NPROC 0\n", Some("hard nproc 0")),
            ("% - maxlogins 0\n", Some("- maxlogins 0")),
            ("% - maxlogins 0\n%staff - maxlogins 8\n", None),
            ("% - maxlogins 8\n* - maxlogins 0\n", None),
            ("%:1000 - maxlogins 3\n* hard maxlogins 0\n", None),
            ("* - nproc 1\n", Some("- nproc 1")),
            ("* - nproc 2\n", None),
            ("alice hard data 1\n", Some("hard data 1")),
            ("alice soft data 65536\n", None),
            ("alice - stack 1\n", Some("- stack 1")),
            ("alice - stack 8192\n", None),
            ("alice - chroot /srv/none\n", Some("- chroot /srv/none")),
            ("alice - chroot /etc\n", None),
            ("alice - chroot /srv/none\n* - chroot /etc\n", None),
            ("bob - chroot /srv/none\n", None),
            ("alice - chroot srv/%u\n", None),
            // A short login ends before the kernel looks.
            ("alice - cpu 0\n", None),
        ] {
            assert_eq!(found(text).as_deref(), expected, "{text}");
        }
    }
}
