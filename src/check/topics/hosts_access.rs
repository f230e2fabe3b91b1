//! Checks `/etc/hosts.allow` and `/etc/hosts.deny`, which an sshd with libwrap reads.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use crate::check::fix::Fix;
use crate::check::report::Mark;
use crate::check::runner::Answer;
use crate::check::sshd_program;
use crate::files;
use crate::limits;
use crate::wildcard;

/// Checks `hosts_access(5)` and `hosts_options(5)`.
pub(super) fn wrappers(root: &Path) -> Answer<()> {
    const ALLOW: &str = "/etc/hosts.allow";
    const DENY: &str = "/etc/hosts.deny";
    let mut empty = Vec::new();
    let mut read = |file: &'static str, refuses| {
        let text = files::read(&files::below(root, Path::new(file)), limits::SYSTEM_FILE).unwrap_or_default();
        // Only that of Debian is known to end there.
        let (lines, end) = whole_lines(&text, || sshd_program::is_debian(root));
        (HostsRule::read(&lines, file, refuses, &mut |clients| with_files(root, clients, &mut empty)), end)
    };
    let (mut rules, allow_end) = read(ALLOW, false);
    let (refusing, deny_end) = read(DENY, true);
    rules.extend(refusing);
    if let Some(end) = &deny_end {
        let line = format!("line {} {}, and libwrap then refuses each connection", end.number, end.why);
        rules.push(HostsRule {
            file: DENY,
            line,
            clients: "ALL".to_owned(),
            condition: String::new(),
            refuses: true,
        });
    }
    if !rules.iter().any(|rule| rule.refuses) {
        return Answer::ok("/etc/hosts.allow and /etc/hosts.deny refuse no connections to sshd", ());
    }
    if !sshd_program::has_libwrap(root) {
        return Answer::ok(
            "sshd does not read /etc/hosts.allow and /etc/hosts.deny: it is not linked with libwrap",
            (),
        );
    }
    // The first rule that matches counts.
    let last = rules.iter().position(HostsRule::is_for_all).unwrap_or(rules.len());
    let all = rules.get(last).filter(|rule| rule.refuses);
    let some = rules.get(..last).unwrap_or_default();
    let (refusing, accepting): (Vec<&HostsRule>, Vec<&HostsRule>) =
        some.iter().partition(|rule| rule.refuses);
    let clients =
        |rules: &[&HostsRule]| rules.iter().map(|rule| rule.shown_clients()).collect::<Vec<_>>().join("; ");
    let is_end = deny_end.is_some() && last.saturating_add(1) == rules.len();
    let mut unread = allow_end.as_ref().map_or_else(String::new, |end| {
        let LastLine { number, why } = end;
        format!("; line {number} of {ALLOW} {why}: libwrap reads that file only up to it")
    });
    if !empty.is_empty() {
        unread = format!("{unread}; no address is in {}", empty.join(", "));
    }
    let fix = |file: &'static str, before: &str| match (&deny_end, &allow_end) {
        (Some(end), _) if is_end => end.fix(DENY),
        (_, Some(end)) => end.fix(ALLOW),
        _ => Fix::advice(format!(
            "{before}{}",
            if file == ALLOW {
                "remove that line from /etc/hosts.allow (a # makes it a comment only as its first character), or add the clients in a line before it, as in \"sshd: 192.0.2.\""
            } else {
                "remove that line from /etc/hosts.deny (a # makes it a comment only as its first character), or add the clients to /etc/hosts.allow, as in \"sshd: 192.0.2.\", or \"sshd: ALL\""
            }
        )),
    };
    match (all, refusing.first()) {
        (Some(rule), _) if accepting.is_empty() => Answer::fail(
            format!("{} refuses all clients for sshd: {}{unread}", rule.file, rule.line),
            fix(rule.file, ""),
        ),
        (Some(rule), _) => {
            let why = if is_end { format!(": {}", rule.line) } else { String::new() };
            let except = clients(&accepting);
            Answer::warn(
                format!("{} refuses all clients for sshd, except: {except}{why}{unread}", rule.file),
                fix(rule.file, ""),
                (),
            )
            .marked(Mark::SomeClients)
        }
        (None, Some(rule)) => Answer::warn(
            format!("{} refuses clients for sshd: {}{unread}", rule.file, clients(&refusing)),
            fix(rule.file, "if the client is one of them: "),
            (),
        )
        .marked(Mark::SomeClients),
        (None, None) => Answer::ok("/etc/hosts.allow allows all clients for sshd", ()),
    }
}

/// The line at which libwrap stops reading a file. With a later one, hosts.deny refuses each connection that no line before it matches.
struct LastLine {
    number: usize,
    why: BadLine,
}

impl LastLine {
    fn fix(&self, file: &'static str) -> Fix {
        Fix::advice(match self.why {
            BadLine::NoNewline => format!("end that line with a newline: echo >>{file}"),
            _ => format!("divide or remove line {} of {file}", self.number),
        })
    }
}

/// Why libwrap stops at a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadLine {
    TooLong,
    Nul,
    Backslash,
    NoNewline,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "is too long",
            Self::Nul => "has a NUL byte",
            Self::Backslash => "ends with a backslash",
            Self::NoNewline => "has no newline at its end",
        })
    }
}

/// The lines as libwrap reads them. `ends`: whether it ends at one that it cannot read.
fn whole_lines(text: &[u8], ends: impl Fn() -> bool) -> (Vec<String>, Option<LastLine>) {
    /// What libwrap's buffer takes of a line and its newline.
    const LONGEST: usize = 2047;
    let (mut lines, mut line, mut number) = (Vec::new(), Vec::new(), 1);
    let mut parts = (2..).zip(text.split_inclusive(|byte| *byte == b'\n')).peekable();
    while let Some((next, part)) = parts.next() {
        line.extend_from_slice(part);
        let is_continued = line.ends_with(b"\\\n");
        if is_continued {
            line.truncate(line.len().saturating_sub(2));
            if parts.peek().is_some() {
                continue;
            }
        }
        let why = match line.last() {
            None => break,
            _ if line.len() > LONGEST => Some(BadLine::TooLong),
            _ if line.contains(&0) => Some(BadLine::Nul),
            Some(b'\n') => None,
            _ if is_continued => Some(BadLine::Backslash),
            _ => Some(BadLine::NoNewline),
        };
        if let Some(why) = why.filter(|_| ends()) {
            return (lines, Some(LastLine { number, why }));
        }
        lines.push(String::from_utf8_lossy(&line).into_owned());
        line.clear();
        number = next;
    }
    (lines, None)
}

/// A line for sshd of `/etc/hosts.allow` or `/etc/hosts.deny`.
#[derive(Debug, PartialEq, Eq)]
struct HostsRule {
    file: &'static str,
    line: String,
    clients: String,
    /// When the line is for them, as the end of a sentence. Empty: always.
    condition: String,
    refuses: bool,
}

/// The options of `hosts_options(5)` that neither accept nor refuse. They cannot follow one that does.
const OPTIONS: &str = "banners group keepalive linger nice rfc931 setenv severity spawn umask user";

impl HostsRule {
    /// `refuses`: whether a line of this file without an option refuses its clients. `all`: them and those in files that they name.
    fn read(
        lines: &[String],
        file: &'static str,
        refuses: bool,
        all: &mut dyn FnMut(&str) -> String,
    ) -> Vec<Self> {
        // With a blank before it, # is no comment.
        let lines = lines.iter().filter(|line| !line.starts_with('#')).map(|line| line.trim());
        let mut rule = |line: &str| {
            let mut fields = fields(line).into_iter();
            let (daemons, clients) = (fields.next()?, fields.next()?);
            if !is_for_sshd(daemons) {
                return None;
            }
            let clients = all(clients.trim());
            let mut condition = String::new();
            if daemons.contains('@') {
                condition = format!(", if they connect to the address in {}", daemons.trim());
            }
            let (mut refuses, mut is_last) = (refuses, false);
            for option in fields.map(str::trim) {
                let name = option.split([' ', '\t', '=']).next().unwrap_or_default().to_ascii_lowercase();
                match name.as_str() {
                    // The line ends with a colon, as a rule.
                    "" => continue,
                    // twist runs another program instead of sshd.
                    "deny" | "twist" => refuses = true,
                    "allow" => refuses = is_last,
                    "aclexec" => {
                        condition = format!("{condition} except those that a command refuses: {option}");
                    }
                    known if OPTIONS.split(' ').any(|other| other == known) => refuses |= is_last,
                    // libwrap refuses the clients of a line that it does not understand.
                    _ => (refuses, is_last) = (true, true),
                }
                is_last |= matches!(name.as_str(), "deny" | "twist" | "allow");
            }
            let rule = Self { file, line: line.to_owned(), clients, condition, refuses };
            // A client whose name leads to other addresses. A network of IPv4 of this length is one that libwrap does not know.
            let is_nobody =
                |word: &str| word == "0.0.0.0/0" || refuses && word.eq_ignore_ascii_case("paranoid");
            let is_for_none = rule.named().all(is_nobody);
            (!is_for_none).then_some(rule)
        };
        let mut rules = Vec::new();
        for line in lines {
            rules.extend(rule(line));
        }
        rules
    }

    /// The clients, and when the line is for them.
    fn shown_clients(&self) -> String {
        format!("{}{}", self.clients, self.condition)
    }

    /// The clients, without those after EXCEPT.
    fn named(&self) -> impl Iterator<Item = &str> {
        words(&self.clients).take_while(|word| !word.eq_ignore_ascii_case("except"))
    }

    /// Whether it is for each client.
    fn is_for_all(&self) -> bool {
        let words = || words(&self.clients);
        self.condition.is_empty()
            && words().any(|word| word == "*" || word.eq_ignore_ascii_case("all"))
            && !words().any(|word| word.eq_ignore_ascii_case("except"))
    }
}

/// The clients, where those in a file are in the place of its name (`/etc/ssh/clients`). `empty`: the files without one, or that do
/// not exist.
fn with_files(root: &Path, clients: &str, empty: &mut Vec<String>) -> String {
    if !words(clients).any(|word| word.starts_with('/')) {
        return clients.to_owned();
    }
    let mut list = String::new();
    for word in words(clients) {
        let read = || files::read_text(&files::below(root, Path::new(word)), limits::SYSTEM_FILE);
        let text = match word.starts_with('/').then(read) {
            Some(Ok(text)) => text,
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => String::new(),
            _ => word.to_owned(),
        };
        if text.trim().is_empty() {
            empty.push(word.to_owned());
        }
        for found in text.split_whitespace() {
            list = format!("{list} {found}");
        }
    }
    // Nobody is excepted.
    let end = if list.to_ascii_lowercase().ends_with(" except") { list.rfind(' ') } else { None };
    list.truncate(end.unwrap_or(list.len()));
    list.trim().to_owned()
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ' ', '\t', '\r']).filter(|word| !word.is_empty())
}

fn is_for_sshd(daemons: &str) -> bool {
    // Behind @ is an address of this system. sshd-session has this name, too.
    let is_sshd = |word: &str| {
        let name = word.split('@').next().unwrap_or_default().to_ascii_lowercase();
        name == "all" || wildcard::matches(b"sshd", name.as_bytes())
    };
    let mut words = words(daemons);
    let named = words.by_ref().take_while(|word| !word.eq_ignore_ascii_case("except")).any(is_sshd);
    // `any` ends before `EXCEPT`.
    let excepted = words.skip_while(|word| !word.eq_ignore_ascii_case("except")).skip(1).any(is_sshd);
    named && !excepted
}

/// The fields of a line: a colon separates them, except in an IPv6 address in brackets and after a backslash.
fn fields(line: &str) -> Vec<&str> {
    let (mut in_brackets, mut escaped) = (false, false);
    line.split(|character| {
        let separates = character == ':' && !in_brackets && !escaped;
        match character {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            _ => {}
        }
        escaped = character == '\\';
        separates
    })
    .collect()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{BadLine, HostsRule, whole_lines};

    fn read(text: &str, file: &'static str, refuses: bool) -> Vec<HostsRule> {
        HostsRule::read(&whole_lines(text.as_bytes(), || false).0, file, refuses, &mut str::to_owned)
    }

    #[test]
    fn lines_that_libwrap_reads() {
        let long = |length| format!("#{}\n", "x".repeat(length));
        for (text, read, end) in [
            ("", 0, None),
            ("# x\n\nsshd: ALL\n", 3, None),
            ("# x", 0, Some((1, BadLine::NoNewline))),
            ("sshd: 10.\n\n192.0.2.1", 2, Some((3, BadLine::NoNewline))),
            ("a\\\nb\n# x\\\n", 1, Some((3, BadLine::Backslash))),
            ("\\\n", 0, None),
            (&long(2045), 1, None),
            (&long(2046), 0, Some((1, BadLine::TooLong))),
            (&format!("a\\\n{}", long(2044)), 1, None),
            (&format!("\na\\\n{}", long(2045)), 1, Some((2, BadLine::TooLong))),
            ("\u{feff}# x\na\0b\n", 1, Some((2, BadLine::Nul))),
        ] {
            let (lines, found) = whole_lines(text.as_bytes(), || true);
            assert_eq!((lines.len(), found.map(|end| (end.number, end.why))), (read, end), "{text}");
        }
    }

    #[test]
    fn lines_for_sshd() {
        for (text, expected) in [
            ("sshd: ALL\n", &[("ALL", true)][..]),
            (
                "# sshd: ALL\nALL : 192.0.2. \\\n  198.51.100.7 : spawn x\n",
                &[("192.0.2.   198.51.100.7", true)],
            ),
            ("in.ftpd, sshd: ALL\nvsftpd: ALL\n", &[("ALL", true)]),
            ("sshdx: ALL\nsshd-session: ALL\nftpd EXCEPT x: ALL\n", &[]),
            (
                "SSHD: all\nAll except Sshd: ALL\nssh*@10.0.0.1: *\r\n",
                &[("all", true), ("*, if they connect to the address in ssh*@10.0.0.1", true)],
            ),
            ("sshd: AL\\\nL\n", &[("ALL", true)]),
            ("sshd: 0.0.0.0/0\nsshd:\n", &[]),
            ("#ALL: ALL\n  # ALL: 192.0.2. : DENY\n", &[("192.0.2.", true)]),
            ("ALL EXCEPT sshd: ALL\n", &[]),
            ("ALL EXCEPT in.ftpd: ALL\n", &[("ALL", true)]),
            ("sshd: [2001:db8::]/32 : ALLOW\n", &[("[2001:db8::]/32", false)]),
            ("sshd: ALL: severity auth.info : allow", &[("ALL", false)]),
            ("sshd: 192.0.2.: spawn echo a\\:allow", &[("192.0.2.", true)]),
            ("ALL: PARANOID\nsshd: paranoid EXCEPT 10.\n", &[]),
            ("ALL: PARANOID, 10.\n", &[("PARANOID, 10.", true)]),
            ("ALL EXCEPT sshd@10.0.0.1: ALL\n", &[]),
            ("sshd@10.0.0.1: ALL\n", &[("ALL, if they connect to the address in sshd@10.0.0.1", true)]),
        ] {
            let rules = read(text, "/etc/hosts.deny", true);
            let found: Vec<_> = rules.iter().map(|rule| (rule.shown_clients(), rule.refuses)).collect();
            let expected: Vec<_> =
                expected.iter().map(|(clients, refuses)| ((*clients).to_owned(), *refuses)).collect();
            assert_eq!(found, expected, "{text}");
        }
        for (text, refuses) in [
            ("sshd: ALL", false),
            ("sshd: ALL: deny", true),
            ("sshd: ALL: DENY", true),
            ("sshd: ALL: twist /bin/echo no", true),
            ("sshd: ALL:", false),
            ("sshd: ALL: Severity = auth.info: spawn /bin/true", false),
            ("sshd: ALL: severity auth.info: allow", false),
            ("sshd: ALL: nosuch", true),
            ("sshd: ALL: nosuch: allow", true),
            ("sshd: ALL: allow: nosuch", true),
            ("sshd: ALL: allow: severity auth.info", true),
        ] {
            assert_eq!(read(text, "/etc/hosts.allow", false)[0].refuses, refuses, "{text}");
        }
    }
}
