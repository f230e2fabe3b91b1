//! What to do about a warning or a failure: a command or a sentence.
//!
//! Root pastes these commands into a shell. They are built in one place, by two rules: only root can redirect a path
//! in a command, unless the command runs as the owner of that path; and the shell and the terminal reproduce each
//! word unchanged. If a command cannot meet both rules, the fix is a sentence.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fmt, fs};

use super::check_id::CheckId;
use crate::account::{Account, entries, stale_locks};
use crate::error_text::WithCauses;
use crate::escape::harmless;
use crate::files;
use crate::path_walk::{UnsafePath, resolve};

/// What to do about a warning or a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fix {
    text: String,
    kind: FixKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FixKind {
    /// A command for root's shell.
    Command { writes_etc: bool },
    /// A sentence.
    Advice,
}

/// The tools that change files of /etc which are not among their arguments.
const WRITERS: [&str; 13] = [
    "apt-get",
    "chage",
    "dnf",
    "dpkg",
    "eic-keys",
    "pwconv",
    "rpm",
    "update-ca-certificates",
    "update-ca-trust",
    "useradd",
    "usermod",
    "yum",
    "zypper",
];

/// A word of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CommandWord<'a> {
    /// A word from the source of this program.
    Literal(&'static str),
    /// A name or number from elsewhere. A value that looks like an option is rejected.
    Value(&'a str),
    /// A file. The command contains its path with symbolic links resolved.
    Path(&'a Path),
}

use CommandWord::{Literal, Value};

impl Fix {
    /// A command for root's shell: `words`, then `more`. A sentence if the command would be unsafe.
    pub(crate) fn command<'a>(words: &'static str, more: impl IntoIterator<Item = CommandWord<'a>>) -> Self {
        Self::of_root(words, more.into_iter().collect())
    }

    /// The code of [`Self::command`] exists once, and not once per type of list.
    fn of_root<'a>(words: &'static str, more: Vec<CommandWord<'a>>) -> Self {
        let mut all: Vec<CommandWord<'a>> = words.split(' ').map(Literal).collect();
        all.extend(more);
        Self::from_words(&all, &|path| resolve(path, &[0]).map(|way| way.path))
    }

    /// A command and then another one, joined with `&&`; a sentence if one of them is a sentence.
    pub(crate) fn then(self, next: Self) -> Self {
        use FixKind::Command;
        let Self { text, kind } = next;
        match (self.kind, kind) {
            (Command { writes_etc: one }, Command { writes_etc: other }) => {
                Self::command_text(format!("{self} && {text}"), one || other)
            }
            _ => Self::advice(format!("{self}; then {text}")),
        }
    }

    /// A sentence, and then this command or sentence.
    pub(crate) fn after(&self, first: &str) -> Self {
        Self::advice(format!("{first}, then: {self}"))
    }

    /// This command, which changes the user's line in passwd(5) or shadow(5). A sentence if the user has several lines, of
    /// which the first counts, or none: the tools then refuse.
    pub(crate) fn for_local_user(self, root: &Path, name: &str) -> Self {
        let lines = |file: &str| {
            let text = files::system_text(root, &format!("/etc/{file}"));
            entries(&text, name).count()
        };
        if let Some(file) = ["passwd", "shadow"].into_iter().find(|file| lines(file) > 1) {
            return Self::advice(format!(
                "/etc/{file} has several lines of {name}, of which the first counts: remove the wrong ones (vipw), then check again"
            ));
        }
        if lines("passwd") == 0 {
            return Self::advice(format!(
                "{name} is not in /etc/passwd: change the account in the name service that has it (/etc/nsswitch.conf), or with its tools"
            ));
        }
        let left: Vec<_> = stale_locks(root).map(Value).collect();
        if left.is_empty() {
            return self;
        }
        // -f, because the command of another check can have removed them.
        Self::command("rm -f", left).then(self)
    }

    /// A command on a user's file, which runs as that user: `words`, then `path`. A sentence if someone other than
    /// that user and root can redirect the path, or if the user does not own the file.
    pub(crate) fn as_user(account: &Account, words: &'static str, path: &Path) -> Self {
        let mut all = vec![Literal("runuser"), Literal("-u"), Value(&account.name), Literal("--")];
        all.extend(words.split(' ').map(Literal));
        all.extend([Literal("--"), CommandWord::Path(path)]);
        Self::from_words(&all, &|path| {
            let resolved = resolve(path, &[0, account.uid])?;
            match &resolved.last {
                Some(last) if last.uid() != account.uid => Err(UnsafePath::Owner(resolved.path, last.uid())),
                _ => Ok(resolved.path),
            }
        })
    }

    /// Joins the words, quoted for a shell.
    fn from_words(
        words: &[CommandWord<'_>],
        resolve: &dyn Fn(&Path) -> Result<std::path::PathBuf, UnsafePath>,
    ) -> Self {
        let mut written = Vec::new();
        let mut writes_etc = match words {
            // It removes a link of /etc, and with --runtime one of /run.
            [Literal("systemctl"), Literal("unmask"), Value(_), ..] => true,
            [Literal(tool), ..] => WRITERS.contains(tool),
            _ => false,
        };
        for word in words {
            let word = match *word {
                CommandWord::Path(path) => match resolve(path) {
                    Ok(real) => real.into_os_string(),
                    Err(cause) => return Self::unsafe_path(path, &cause),
                },
                Literal(word) | Value(word) if word.starts_with('/') => match resolve(Path::new(word)) {
                    Ok(_) => word.into(),
                    Err(cause) => return Self::unsafe_path(Path::new(word), &cause),
                },
                Value(word) if word.is_empty() || word.starts_with('-') => {
                    return Self::unquotable(word.as_ref());
                }
                Literal(word) | Value(word) => word.into(),
            };
            writes_etc |= Path::new(&word).starts_with("/etc");
            match quoted(&word) {
                Some(word) => written.push(word),
                None => return Self::unquotable(&word),
            }
        }
        Self::command_text(written.join(" "), writes_etc)
    }

    /// A command, if the report shows all of it: a truncated command is a different command.
    fn command_text(text: String, writes_etc: bool) -> Self {
        let kind = FixKind::Command { writes_etc };
        if harmless(&text) == text { Self { text, kind } } else { Self::unquotable(text.as_ref()) }
    }

    fn unsafe_path(path: &Path, cause: &UnsafePath) -> Self {
        let is_sticky = |path: &Path| fs::metadata(path).is_ok_and(|file| file.mode() & 0o1000 != 0);
        let first = match cause {
            UnsafePath::Writable(directory) if directory != path && !is_sticky(directory) => {
                format!(
                    "first take the permission to write to {} from its group and others, then check again",
                    directory.display()
                )
            }
            _ => "fix this by hand, with care".to_owned(),
        };
        let path = path.display();
        let cause = WithCauses(cause);
        Self::advice(format!(
            "{first}: a command by root on {path} could change another file, because {cause}"
        ))
    }

    fn unquotable(word: &OsStr) -> Self {
        Self::advice(format!(
            "fix this by hand: no command is given, because of the name {}",
            word.to_string_lossy()
        ))
    }

    /// A sentence in place of a command that changes files of /etc, if that is mounted read-only.
    pub(crate) fn or_advice_if_etc_is_read_only(self) -> Self {
        if self.kind != (FixKind::Command { writes_etc: true }) || !files::is_read_only(Path::new("/etc")) {
            return self;
        }
        Self::advice(format!(
            "/etc is mounted read-only: make the change in the image, or mount it read-write (mount(8), remount), and then: {self}"
        ))
    }

    /// A sentence.
    #[must_use]
    pub(crate) fn advice(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: FixKind::Advice }
    }

    /// For a configuration that sshd has not read, and that may refuse the login. `wrong`: the check that says so.
    pub(crate) fn before_restart(wrong: CheckId) -> Self {
        Self::advice(format!(
            "fix {wrong} before sshd is reloaded or restarted: the changed configuration may refuse the login"
        ))
    }

    /// Whether this is a command for root's shell.
    #[must_use]
    pub(crate) fn is_command(&self) -> bool {
        matches!(self.kind, FixKind::Command { .. })
    }

    /// The command or sentence.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// This fix, with unsafe characters escaped.
    pub(crate) fn harmless(self) -> Self {
        Self { text: harmless(&self.text), ..self }
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A word quoted for a shell. `None` if a terminal cannot show it unchanged.
fn quoted(word: &OsStr) -> Option<String> {
    let word = word.to_str()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if harmless(word) != word {
        None
    } else if !word.is_empty() && word.bytes().all(plain) {
        Some(word.to_owned())
    } else {
        // Without a backslash, because the report escapes backslashes.
        Some(format!("'{}'", word.replace('\'', "'\"'\"'")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::path::{Path, PathBuf};

    use super::{CommandWord, Fix, FixKind, WRITERS, quoted};

    #[test]
    fn a_word_is_quoted_for_the_shell() {
        for (word, expected) in [
            ("go-w", Some("go-w")),
            ("/a b", Some("'/a b'")),
            ("", Some("''")),
            ("*", Some("'*'")),
            ("~root", Some("'~root'")),
            ("$(reboot)", Some("'$(reboot)'")),
            ("it's", Some("'it'\"'\"'s'")),
            ("a;b", Some("'a;b'")),
            ("two\nlines", None),
            ("back\\slash", None),
            ("\u{202e}", None),
        ] {
            assert_eq!(quoted(word.as_ref()).as_deref(), expected, "{word:?}");
        }
    }

    #[test]
    fn a_value_is_no_option() {
        let fix = |value| Fix::command("useradd", [CommandWord::Value(value)]);
        assert_eq!(fix("alice").text(), "useradd alice");
        assert!(fix("alice").is_command());
        for value in ["", "-r", "--root=/tmp", "a\nb", "/tmp/x"] {
            assert!(!fix(value).is_command(), "{value:?}");
        }
    }

    #[test]
    fn a_command_that_would_be_cut_is_a_sentence() {
        let long = "a".repeat(2000);
        assert!(!Fix::command("useradd", [CommandWord::Value(&long)]).is_command());
    }

    #[test]
    fn a_path_that_only_root_can_redirect() {
        let fix = |path| Fix::command("chmod a+r", [CommandWord::Path(Path::new(path))]);
        assert_eq!(fix("/etc/passwd").text(), "chmod a+r /etc/passwd");
        for path in
            ["etc/passwd", "/etc/../etc/passwd", "/tmp/x", "/etc/none/x", "/etc/passwd/x", "/dev/shm/x"]
        {
            assert!(!fix(path).is_command(), "{path}: {}", fix(path).text());
        }
        assert!(!Fix::command("rm /tmp/x", []).is_command(), "nor is one that stands in the program");
    }

    #[test]
    fn what_builds_on_a_sentence_is_one() {
        let (good, bad) = (Fix::command("true", []), Fix::advice("no"));
        assert_eq!(good.clone().then(good.clone()).text(), "true && true");
        assert_eq!(good.clone().then(bad.clone()), Fix::advice(format!("true; then {}", bad.text())));
        assert_eq!(bad.clone().then(good.clone()), Fix::advice(format!("{}; then true", bad.text())));
    }

    /// A new tool asks its author whether it changes /etc.
    #[test]
    fn commands_that_write_etc() {
        const OTHERS: [&str; 16] = [
            "aws",
            "chmod",
            "chronyc",
            "cp",
            "faillock",
            "kill",
            "lastlog",
            "mkdir",
            "mount",
            "pam_tally2",
            "rm",
            "rmdir",
            "sed",
            "shutdown",
            "systemctl",
            "systemd-run",
        ];
        let mut tools = Vec::new();
        for (_, text) in sources() {
            for begin in ["Fix::command(", "FixCommand::WithUser(", "FixCommand::ForLocalUser("] {
                let words = text.split(begin).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
                tools.extend(words.filter_map(|words| Some(words.split([' ', '"']).next()?.to_owned())));
            }
        }
        assert!(tools.len() > 50, "{tools:?}");
        for tool in tools {
            let tool = tool.as_str();
            assert!(WRITERS.contains(&tool) || OTHERS.contains(&tool), "does {tool} change /etc?");
        }
        let writes = |fix: Fix| fix.kind == FixKind::Command { writes_etc: true };
        let command = |words| Fix::command(words, []);
        assert!(writes(command("chmod 0644 /etc/passwd")));
        assert!(writes(command("pwconv").then(command("true"))));
        assert!(writes(command("true").then(command("eic-keys --enable"))));
        assert!(!writes(command("chmod 0644 /usr")));
        assert!(!writes(command("systemctl restart ssh")));
        let unmask = |words| Fix::command(words, [CommandWord::Value("ssh")]);
        assert!(writes(unmask("systemctl unmask")) && !writes(unmask("systemctl unmask --runtime")));
        assert!(!writes(command("pwconv").after("first")));
    }

    #[test]
    fn a_command_for_a_user_with_one_line() {
        let root = std::env::temp_dir().join(format!("eic-keys-fix-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        let fix = |passwd: &str, shadow: &str| {
            std::fs::write(root.join("etc/passwd"), passwd).unwrap();
            std::fs::write(root.join("etc/shadow"), shadow).unwrap();
            Fix::command("chage --expiredate -1", [CommandWord::Value("alice")])
                .for_local_user(&root, "alice")
        };
        assert!(fix("alice:x\nalicia:x\n", "alice:*\n").is_command());
        assert!(fix("alice:x\nalice:y\n", "").text().starts_with("/etc/passwd has several lines of alice"));
        assert!(fix("alice:x\n", "alice:!\nalice:*\n").text().starts_with("/etc/shadow has several lines"));
        assert!(fix("bob:x\n", "").text().starts_with("alice is not in /etc/passwd"));
        std::fs::remove_dir_all(root).unwrap();
    }

    /// The fields of [`Fix`] are private to this module. Only this module builds commands, and no command changes an
    /// owner.
    #[test]
    fn there_is_one_way_to_make_a_command() {
        let made = |(_, text): &&(PathBuf, String)| text.contains("FixKind::Command {");
        let sources = sources();
        let making: Vec<_> = sources.iter().filter(made).map(|(path, _)| path).collect();
        assert!(matches!(making.as_slice(), [one] if one.ends_with("check/fix.rs")), "{making:?}");
        for (path, text) in &sources {
            let mut words = text.split(|char: char| !char.is_ascii_alphanumeric());
            assert!(!words.any(|word| matches!(word, "chown" | "chgrp")), "{}", path.display());
        }
    }

    /// A sentence must not contain a command with a path from a variable.
    #[test]
    fn no_sentence_is_a_command_on_a_path() {
        const TOOLS: [&str; 12] = [
            "chmod",
            "chattr",
            "chcon",
            "restorecon",
            "setfacl",
            "rm",
            "mv",
            "cp",
            "ln",
            "mkdir",
            "touch",
            "cat",
        ];
        for (path, text) in sources() {
            // The name of a manual page is allowed.
            for line in
                text.lines().filter(|line| !line.contains("(1)") && line.contains('"') && line.contains('{'))
            {
                let words = line.split(|char: char| !char.is_ascii_alphanumeric()).collect::<Vec<_>>();
                assert!(!TOOLS.iter().any(|tool| words.contains(tool)), "{}: {line}", path.display());
            }
        }
    }

    /// The sources that build fixes, without tests and comments.
    fn sources() -> Vec<(PathBuf, String)> {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        ["check", "sshd"].iter().flat_map(|folder| below(&src.join(folder))).map(product).collect()
    }

    fn below(folder: &Path) -> Vec<PathBuf> {
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        paths.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
    }

    fn product(path: PathBuf) -> (PathBuf, String) {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        (path, lines.join("\n"))
    }
}
