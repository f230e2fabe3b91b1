//! The command line of sshd: its options in the arguments of a process, in a process title, or in a line of a unit.
//!
//! sshd writes its arguments to its process title, separated by blanks. Without a title, NUL separates them. A unit has quotes around a
//! word with blanks.

use std::ffi::OsString;
use std::path::Path;

/// The command line in the title of a listener. A line that is no title is returned as it is.
pub(super) fn without_title(line: &str) -> &str {
    let line = line.strip_prefix("sshd: ").unwrap_or(line);
    line.split(" [listener]").next().unwrap_or(line)
}

/// Whether a line sets AuthorizedKeysCommand.
pub(crate) fn sets_command(line: &str) -> bool {
    // This also matches AuthorizedKeysCommandUser, which would change the user of our command.
    line.to_ascii_lowercase().contains("authorizedkeyscommand")
}

/// The options of sshd that take a value, in any version.
const OPTIONS_WITH_VALUE: &str = "bCcEfghkopu";

/// Whether an option takes a value.
fn takes_value(flag: char) -> bool {
    OPTIONS_WITH_VALUE.contains(flag)
}

/// An option of sshd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshdOption {
    pub(crate) letter: char,
    /// Empty if the option takes none, or if it is missing.
    pub(crate) value: String,
}

impl SshdOption {
    /// The option and its value, as two arguments.
    pub(crate) fn words(&self) -> [OsString; 2] {
        [format!("-{}", self.letter).into(), self.value.clone().into()]
    }
}

/// An option as it is written on a command line.
struct WrittenOption {
    option: SshdOption,
    /// Whether the value is in the word of the option.
    is_attached: bool,
}

/// The options on a command line, as getopt(3) finds them: a word can contain several letters, and a value is the rest of the word or
/// the next word.
fn options_of(line: &str) -> Vec<WrittenOption> {
    let line = without_title(line);
    let is_exact = line.contains('\0');
    let words = if is_exact { line.split('\0').map(str::to_owned).collect() } else { split_words(line) };
    let mut words = words.as_slice();
    let mut found = Vec::new();
    while let Some((word, others)) = words.split_first() {
        words = others;
        let Some(letters) = word.strip_prefix('-') else { continue };
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            if !takes_value(letter) {
                let option = SshdOption { letter, value: String::new() };
                found.push(WrittenOption { option, is_attached: false });
                continue;
            }
            let is_attached = !rest.as_str().is_empty();
            let mut value = rest.as_str().to_owned();
            if let Some((next, others)) = words.split_first().filter(|_| !is_attached) {
                value.clone_from(next);
                words = others;
            }
            if letter == 'o' && !is_exact && !value.contains(char::is_whitespace) {
                let (more, others) =
                    words.split_at_checked(length_of_value(&value, words)).unwrap_or_default();
                value = [&[value], more].concat().join(" ");
                words = others;
            }
            // A unit can start sshd by a shell: sh -c "exec sshd -D".
            let inner = if letter == 'c' { options_of(&value) } else { Vec::new() };
            found.push(WrittenOption { option: SshdOption { letter, value }, is_attached });
            found.extend(inner);
            break;
        }
    }
    found
}

/// The keywords whose value is a command, which can have options.
const COMMANDS: [&str; 4] =
    ["authorizedkeyscommand", "authorizedprincipalscommand", "forcecommand", "subsystem"];

/// How many of the words after `first`, the first word of a value of `-o`, belong to that value. The words of a process title do not show
/// where it ends.
fn length_of_value(first: &str, words: &[String]) -> usize {
    let keyword = first.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let is_command = COMMANDS.contains(&keyword.as_str());
    // A value can begin with a dash: -o "Ciphers -aes128-cbc".
    let start = usize::from(!first.contains('='));
    let is_next = |at: &usize| {
        let next = words.get(at.saturating_add(1)).map(String::as_str).unwrap_or_default();
        words
            .get(*at)
            .is_none_or(|word| if is_command { is_surely_option(word, next) } else { word.starts_with('-') })
    };
    (start..words.len()).find(is_next).unwrap_or(words.len())
}

/// Whether a word is an option of sshd and not of a command in a value before it: its own value is one of sshd's.
fn is_surely_option(word: &str, next: &str) -> bool {
    let Some(letters) = word.strip_prefix('-') else { return false };
    let mut rest = letters.chars();
    let letter = rest.next();
    let value = if rest.as_str().is_empty() { next } else { rest.as_str() };
    match letter {
        Some('o') => true,
        Some('c' | 'E' | 'f' | 'h') => value.starts_with('/'),
        Some('p') => value.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

/// Whether a command line has an option with one of the letters.
pub(crate) fn has_option(line: &str, letters: &str) -> bool {
    options_of(line).iter().any(|written| letters.contains(written.option.letter))
}

/// The options with one of the letters.
fn options_with(line: &str, letters: &str) -> Vec<SshdOption> {
    let options = options_of(line).into_iter().map(|written| written.option);
    options.filter(|option| letters.contains(option.letter)).collect()
}

/// The options of a daemon that change its configuration.
pub(crate) fn config_options(line: &str) -> Vec<SshdOption> {
    options_with(line, "cfhop")
}

/// The options of a daemon for its sockets and its log.
pub(crate) fn daemon_options(line: &str) -> Vec<SshdOption> {
    options_with(line, "pE46")
}

/// The options of a daemon that also count for one connection, each as one word. Ports, log files and the like are of the
/// daemon only.
pub(crate) fn connection_options(line: &str) -> Vec<String> {
    let options = options_with(line, "cfghou46").into_iter();
    options.map(|SshdOption { letter, value }| format!("-{letter}{value}")).collect()
}

/// The value of the last `-f`, which is the one that counts, if it is not the main file. A value in the word of the option must be a
/// path, because units also run other programs.
pub(crate) fn other_config(line: &str, main: &Path) -> Option<String> {
    let is_file = |WrittenOption { option, is_attached }: &WrittenOption| {
        option.letter == 'f' && !option.value.is_empty() && (!is_attached || option.value.starts_with('/'))
    };
    let mut files = options_of(line).into_iter().filter(is_file).map(|written| written.option.value);
    files.next_back().filter(|file| Path::new(file) != main)
}

/// The words of a line of a unit, without quotes (systemd.syntax(7)).
pub(super) fn split_words(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' | '\'' if quote.is_none_or(|open| open == character) => {
                quote = if quote.is_none() { Some(character) } else { None };
                word.get_or_insert_default();
            }
            blank if blank.is_whitespace() && quote.is_none() => found.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    found.extend(word);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_another_main_file() {
        let main = Path::new("/etc/ssh/sshd_config");
        assert_eq!(other_config("/usr/sbin/sshd -D -f /x", main), Some("/x".into()));
        assert_eq!(other_config("/usr/sbin/sshd -D -f/x", main), Some("/x".into()));
        assert_eq!(other_config("/usr/sbin/sshd -D -f /etc/ssh/sshd_config", main), None);
        assert_eq!(other_config("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", main), None);
    }

    #[test]
    fn reads_several_options_in_one_word() {
        let main = Path::new("/etc/ssh/sshd_config");
        for line in [
            "sshd -Df /x",
            "sshd -Df/x",
            "sshd -D4ef /x",
            "sshd -Dp 22 -ef \"/x\"",
            "sshd -De -E/log -f '/x'",
            "sshd -f /etc/ssh/sshd_config -f /x",
            "sshd -f /y -f /x",
        ] {
            assert_eq!(other_config(line, main), Some("/x".into()), "{line}");
        }
        for line in [
            "sshd -De",
            "sshd -Df /etc/ssh/sshd_config",
            "sshd -oBanner=-f/x",
            "sshd -E -f /x",
            "sshd -f /x -f /etc/ssh/sshd_config",
            "tool -force",
            "sshd -",
        ] {
            assert_eq!(other_config(line, main), None, "{line}");
        }
        let letters =
            |line| options_of(line).into_iter().map(|written| written.option.letter).collect::<String>();
        assert_eq!(letters("/usr/sbin/sshd -Ddp 22 -o t=i -4"), "Ddpo4");
        assert_eq!(letters("/usr/sbin/sshd -Dt -f /i"), "Dtf");
    }

    #[test]
    fn options_for_one_connection() {
        for (line, expected) in [
            ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", &[][..]),
            ("/usr/sbin/sshd -D -e -f /x -p 2222 -E /log", &["-f/x"]),
            ("/usr/sbin/sshd -Df/x -u0", &["-f/x", "-u0"]),
            (
                "sshd: /usr/sbin/sshd -D -o AuthorizedKeysCommand /x %u %f -o UsePAM=no -h /k [listener] 0 of 1-2",
                &["-oAuthorizedKeysCommand /x %u %f", "-oUsePAM=no", "-h/k"],
            ),
            ("/usr/sbin/sshd -oUsePAM no", &["-oUsePAM no"]),
            ("/usr/sbin/sshd -f", &["-f"]),
            ("", &[]),
        ] {
            assert_eq!(connection_options(line), expected, "{line}");
        }
    }

    #[test]
    fn splits_a_line_of_a_unit() {
        let words = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        for (line, expected) in [
            ("A=1", "A=1"),
            ("A=1 B=2\tC=3", "A=1|B=2|C=3"),
            (r#""A=-f /x" B=2 'C=a "b" c'"#, r#"A=-f /x|B=2|C=a "b" c"#),
            (r#"A="1 2" B='3 4'"#, "A=1 2|B=3 4"),
            (r"A=1\ 2 B=3", "A=1 2|B=3"),
            (r#""A=it's" B="#, "A=it's|B="),
            (r#"A=1 "B=2"#, "A=1|B=2"),
        ] {
            assert_eq!(split_words(line), words(expected), "{line}");
        }
        assert_eq!(split_words(" "), Vec::<String>::new());
    }

    #[test]
    fn recognizes_the_override_of_aws() {
        let line = r#"ExecStart=/usr/sbin/sshd -D -o "AuthorizedKeysCommand /usr/share/ec2-instance-connect/eic_run_authorized_keys %%u %%f""#;
        assert!(sets_command(line));
        assert!(!sets_command("ExecStart=/usr/sbin/sshd -D $SSHD_OPTS"));
    }

    #[test]
    fn an_option_of_a_command_in_a_value_is_not_an_option_of_sshd() {
        let main = Path::new("/etc/ssh/sshd_config");
        for (value, more) in [
            ("Subsystem sftp internal-sftp -f AUTHPRIV -l INFO", ""),
            ("ForceCommand internal-sftp -R", ""),
            ("AuthorizedKeysCommand /usr/bin/eic-keys --timeout 3 %u %f", ""),
            ("Ciphers -aes128-cbc", ""),
            ("forcecommand=/x -i -t", " -o UsePAM=no"),
            ("ForceCommand internal-sftp -p denied -f AUTH", " -p 2222"),
        ] {
            let title = format!("sshd: /usr/sbin/sshd -D -o {value}{more} [listener] 0 of 10-100 startups");
            let unit = format!("ExecStart=/usr/sbin/sshd -D -o \"{value}\"{more}");
            let process = format!("/usr/sbin/sshd\0-D\0-o\0{value}{}", more.replace(' ', "\0"));
            for line in [&title, &unit, &process] {
                assert_eq!(other_config(line, main), None, "{line}");
                assert!(!has_option(line, "iRtTGV"), "{line}");
                assert_eq!(options_with(line, "o").first().map(|option| option.value.as_str()), Some(value));
                assert_eq!(has_option(line, "p"), more.starts_with(" -p"), "{line}");
            }
        }
        // Without quotes, words of a process are words.
        assert!(has_option("/usr/sbin/sshd\0-oForceCommand=/x\0-R", "R"));
        let shell = "ExecStart=/bin/sh -c 'exec /usr/sbin/sshd -D -f /x'";
        assert_eq!(other_config(shell, main), Some("/x".into()));
    }
}
