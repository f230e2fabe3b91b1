//! Formats our lines in sshd's configuration, and removes them.
//!
//! They are between two markers, in a separate file or in `sshd_config`. No other line is changed: previous settings
//! stay in place and ours come first. So removing our lines restores the previous settings, even if the file was
//! edited around them.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use super::{
    config_file::{ConfigFile, Statement},
    lexer::argv_split,
    version::OpensshVersion,
};
use crate::config_tree::ConfigTree;

// Later releases read these texts in the configurations that this one wrote, and remove only what they know. So no text changes
// after a release: a new one is added, and the old one is still read.
const BEGIN: &str = "# BEGIN eic-keys";
const END: &str = "# END eic-keys";
const EXPLANATION: &str = "# EC2 Instance Connect. \"eic-keys --disable\" removes these lines.";

/// Our comments, which the next run reads: a command that is not chained, and a user that only a name service knows.
const LEFT_OUT: &str = "# Left out, as its user ";
const NO_USER: &str = " does not exist: ";
const NAME_SERVICE_USER: &str = "# A user of a name service, not of /etc/passwd: ";

/// The comment about a command that is not chained because its user does not exist.
pub(super) fn left_out_comment(command: &[u8], user: &[u8]) -> Vec<u8> {
    [LEFT_OUT.as_bytes(), user, NO_USER.as_bytes(), command].concat()
}

/// Parses that comment: the command and its user.
pub(crate) fn parse_left_out(comment: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = comment.strip_prefix(LEFT_OUT.as_bytes())?;
    let at = rest.windows(NO_USER.len()).position(|window| window == NO_USER.as_bytes())?;
    let (user, command) = rest.split_at_checked(at)?;
    Some((command.get(NO_USER.len()..)?, user))
}

/// The comment about a user from a name service, which can be unavailable for a while.
pub(super) fn name_service_comment(user: &[u8]) -> Vec<u8> {
    [NAME_SERVICE_USER.as_bytes(), user].concat()
}

/// Formats our lines, with our comments.
#[must_use]
pub(super) fn render(comments: &[Vec<u8>], command: &[u8], user: &[u8]) -> Vec<u8> {
    let user = quote(user);
    let comments: Vec<u8> =
        comments.iter().flat_map(|comment| comment.iter().copied().chain([b'\n'])).collect();
    [
        format!("{BEGIN}\n{EXPLANATION}\n").as_bytes(),
        &comments,
        b"AuthorizedKeysCommand ",
        command,
        b"\nAuthorizedKeysCommandUser ",
        &user,
        format!("\n{END}\n").as_bytes(),
    ]
    .concat()
}

/// A user name as an argument, in quotes if needed.
fn quote(user: &[u8]) -> Vec<u8> {
    if user.iter().any(u8::is_ascii_whitespace) { [b"\"", user, b"\""].concat() } else { user.to_vec() }
}

/// Whether sshd parses these lines as this command and user.
pub(super) fn reads_back(version: &OpensshVersion, lines: &[u8], command: &[u8], user: &[u8]) -> bool {
    let file = ConfigFile::new(Path::new(""), lines.to_vec());
    let read: Option<Vec<Statement>> = file
        .statements(version)
        .filter_map(|(_, statement)| statement.transpose())
        .collect::<Result<_, _>>()
        .ok();
    let Some([first, second]) = read.as_deref() else { return false };
    first.value == command && second.arguments == [user]
}

/// The command cannot be chained.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotChainable;

/// The command line for eic-keys without a chained command.
pub(super) fn own_command(program: &str) -> Vec<u8> {
    format!("{program} %u %f").into_bytes()
}

/// The command line for eic-keys with the chained command `previous`, which runs as sshd would have run it.
///
/// sshd splits the line with `argv_split` and then expands `%` in each word except the first
/// (`user_key_command_allowed2` in `auth2-pubkey.c`). So the words of `previous` are unchanged, with two exceptions for
/// its first word: a `%` in it was literal and is now doubled, and if it was the only word, `%u` is added because
/// sshd added the user name.
pub(super) fn chain(version: &OpensshVersion, ours: &[u8], previous: &[u8]) -> Result<Vec<u8>, NotChainable> {
    let words = argv_split(version, previous, false).map_err(|_| NotChainable)?;
    let first = words.first().ok_or(NotChainable)?;
    let (path, arguments) = previous.split_at_checked(first.end).ok_or(NotChainable)?;
    let mut line = [ours, b" -- "].concat();
    line.extend(double_percent(path));
    line.extend_from_slice(arguments);
    if words.len() == 1 {
        line.extend_from_slice(b" %u");
    }
    // Verify that the line splits into the words of `ours` and `previous`.
    let mut expected: Vec<Vec<u8>> = argv_split(version, ours, false)
        .map_err(|_| NotChainable)?
        .into_iter()
        .map(|word| word.text)
        .collect();
    expected.push(b"--".to_vec());
    expected.push(double_percent(&first.text));
    expected.extend(words.iter().skip(1).map(|word| word.text.clone()));
    if words.len() == 1 {
        expected.push(b"%u".to_vec());
    }
    let read = argv_split(version, &line, false).map_err(|_| NotChainable)?;
    if read.into_iter().map(|word| word.text).eq(expected) { Ok(line) } else { Err(NotChainable) }
}

fn double_percent(text: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|byte| if *byte == b'%' { vec![b'%', b'%'] } else { vec![*byte] }).collect()
}

/// The words of a command line, or none if sshd could not split it.
pub(crate) fn words(version: &OpensshVersion, command: &[u8]) -> Vec<Vec<u8>> {
    let words = argv_split(version, command, false).unwrap_or_default();
    words.into_iter().map(|word| word.text).collect()
}

/// The program of a command line.
pub(crate) fn program(version: &OpensshVersion, command: &[u8]) -> Option<Vec<u8>> {
    words(version, command).into_iter().next()
}

/// The past and present names of the command in AWS's package.
const AWS: [&[u8]; 3] = [b"eic_run_authorized_keys", b"eic_curl_authorized_keys", b"curl_authorized_keys"];

/// Whether a command line runs the command of AWS's package `ec2-instance-connect`, at any path: directly, or through
/// `timeout`, as on the first images. eic-keys replaces it and requests the same keys.
pub(crate) fn runs_aws(version: &OpensshVersion, command: &[u8]) -> bool {
    is_aws_command(&words(version, command))
}

pub(super) fn is_aws_command(words: &[Vec<u8>]) -> bool {
    let name = |word: &[u8]| word.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
    let is_aws = |word: &Vec<u8>| word.starts_with(b"/") && AWS.contains(&name(word).as_slice());
    let Some(first) = words.first() else { return false };
    is_aws(first) || (name(first) == b"timeout" && words.iter().any(is_aws))
}

/// Whether one of the arguments of a command line, or a word in it, is such a one, as in `sh -c "/usr/bin/eic-keys %u"`.
pub(crate) fn has_argument(words: &[Vec<u8>], is_it: &dyn Fn(&[u8]) -> bool) -> bool {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b";&|()'\"".contains(byte);
    words.iter().skip(1).any(|word| word.split(ends).any(is_it))
}

/// Whether a command line runs `ours`.
pub(super) fn runs(version: &OpensshVersion, command: &[u8], ours: &str) -> bool {
    program(version, command).is_some_and(|program| program == ours.as_bytes())
}

/// The program of the chained command, with `%%` unescaped to `%`.
pub(crate) fn chained_program(version: &OpensshVersion, command: &[u8]) -> Option<Vec<u8>> {
    let words = argv_split(version, command, false).ok()?;
    let program = words.into_iter().skip_while(|word| word.text != b"--").nth(1)?;
    let mut plain = Vec::new();
    let mut bytes = program.text.into_iter().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            bytes.next_if_eq(&b'%');
        }
        plain.push(byte);
    }
    Some(plain)
}

/// Whether a command line chains its own program, by any path, or AWS's command that eic-keys replaces. Each login
/// would then request the keys twice.
pub(crate) fn chains_itself(version: &OpensshVersion, command: &[u8], tree: &ConfigTree) -> bool {
    let Some((first, next)) = program(version, command).zip(chained_program(version, command)) else {
        return false;
    };
    let words = words(version, command);
    let after = words.iter().position(|word| word == b"--").and_then(|at| words.get(at.saturating_add(1)..));
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    next == first || tree.same_file(path(&next), path(&first)) || after.is_some_and(is_aws_command)
}

/// The part of a command line before the chained command. It keeps the administrator's options when our lines are
/// rewritten.
pub(super) fn own_part<'a>(version: &OpensshVersion, command: &'a [u8]) -> &'a [u8] {
    let Ok(words) = argv_split(version, command, false) else { return command };
    let Some(dashes) = words.iter().position(|word| word.text == b"--") else { return command };
    let end = dashes.checked_sub(1).and_then(|before| words.get(before)).map_or(0, |word| word.end);
    command.get(..end).unwrap_or(command)
}

/// A file without our lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stripped {
    pub(super) rest: Vec<u8>,
    pub(super) comments: Vec<Vec<u8>>,
    /// Numbers of the lines between our markers that are not ours. They stay in the file.
    pub(super) foreign: Vec<usize>,
}

/// Removes our lines from a file. `None` if there are none. If a marker is missing, removes only lines that are
/// certainly ours.
pub(super) fn strip(version: &OpensshVersion, bytes: &[u8], ours: &str) -> Option<Stripped> {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let kinds: Vec<LineKind> = lines.iter().map(|line| kind(version, line, ours)).collect();
    let mut removed = vec![false; lines.len()];
    let mut foreign = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        match kind {
            LineKind::Begin => {
                let after = kinds.iter().enumerate().skip(at.saturating_add(1));
                let end = after.clone().find(|(_, kind)| matches!(kind, LineKind::Begin | LineKind::End));
                let end = match end {
                    Some((end, LineKind::End)) => end,
                    // No end marker: up to the last line that is ours.
                    _ => after.take_while(|(_, kind)| kind.is_ours()).last().map_or(at, |(last, _)| last),
                };
                mark(&kinds, at, end, &mut removed, &mut foreign);
            }
            // No begin marker, or the line would be marked already: back to the first line that is ours.
            LineKind::End if !removed.get(at).copied().unwrap_or(false) => {
                let before = kinds.iter().enumerate().take(at).rev();
                let start =
                    before.take_while(|(_, kind)| kind.is_ours()).last().map_or(at, |(first, _)| first);
                mark(&kinds, start, at, &mut removed, &mut foreign);
            }
            _ => {}
        }
    }
    if !removed.contains(&true) {
        return None;
    }
    let comments = lines
        .iter()
        .zip(&kinds)
        .zip(&removed)
        .filter(|((_, kind), removed)| **removed && **kind == LineKind::Comment);
    let comments = comments.map(|((line, _), _)| line.trim_ascii().to_vec()).collect();
    let left = lines.iter().zip(&removed).filter(|(_, removed)| !**removed);
    Some(Stripped { rest: left.flat_map(|(line, _)| line.iter().copied()).collect(), comments, foreign })
}

/// Our comments in a file.
pub(crate) fn comments(version: &OpensshVersion, bytes: &[u8], ours: &str) -> Vec<Vec<u8>> {
    strip(version, bytes, ours).map(|stripped| stripped.comments).unwrap_or_default()
}

/// Marks our lines from `start` to `end` for removal.
fn mark(kinds: &[LineKind], start: usize, end: usize, removed: &mut [bool], foreign: &mut Vec<usize>) {
    let within = |at: usize| (start..=end).contains(&at);
    // A user line without our command belongs to a command that someone else set.
    let with_command = kinds.iter().enumerate().any(|(at, kind)| within(at) && *kind == LineKind::Command);
    for (at, (kind, removed)) in kinds.iter().zip(removed).enumerate() {
        if !within(at) {
            continue;
        }
        match kind {
            LineKind::Empty => {}
            LineKind::Other => foreign.push(at.saturating_add(1)),
            LineKind::User if !with_command => foreign.push(at.saturating_add(1)),
            _ => *removed = true,
        }
    }
}

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineKind {
    Begin,
    End,
    Explanation,
    Comment,
    Command,
    User,
    /// It stays where it is.
    Empty,
    Other,
}

impl LineKind {
    fn is_ours(self) -> bool {
        matches!(self, Self::Explanation | Self::Comment | Self::Command | Self::User)
    }
}

fn kind(version: &OpensshVersion, line: &[u8], ours: &str) -> LineKind {
    let text = line.trim_ascii();
    for (kind, words) in
        [(LineKind::Begin, BEGIN), (LineKind::End, END), (LineKind::Explanation, EXPLANATION)]
    {
        if text == words.as_bytes() {
            return kind;
        }
    }
    if parse_left_out(text).is_some() || text.starts_with(NAME_SERVICE_USER.as_bytes()) {
        return LineKind::Comment;
    }
    match Statement::read(version, line) {
        Ok(Some(statement)) if statement.keyword == "authorizedkeyscommand" => {
            if runs(version, &statement.value, ours) { LineKind::Command } else { LineKind::Other }
        }
        Ok(Some(statement)) if statement.keyword == "authorizedkeyscommanduser" => LineKind::User,
        Ok(None) if line.trim_ascii().is_empty() => LineKind::Empty,
        _ => LineKind::Other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const OURS: &str = "/usr/bin/eic-keys";

    fn openssh(version: &str) -> OpensshVersion {
        OpensshVersion::from_version_text(version).unwrap()
    }

    fn chain_text(version: &str, previous: &str) -> Result<String, NotChainable> {
        chain(&openssh(version), &own_command(OURS), previous.as_bytes())
            .map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn the_words_of_the_chained_command_are_unchanged() {
        for version in ["OpenSSH_8.4", "OpenSSH_9.2"] {
            for (previous, expected) in [
                ("/x %u", "/usr/bin/eic-keys %u %f -- /x %u"),
                ("/x", "/usr/bin/eic-keys %u %f -- /x %u"),
                ("/x  \"a b\" %%", "/usr/bin/eic-keys %u %f -- /x  \"a b\" %%"),
                ("/100%/x %h", "/usr/bin/eic-keys %u %f -- /100%%/x %h"),
            ] {
                assert_eq!(chain_text(version, previous).as_deref(), Ok(expected), "{version} {previous}");
            }
        }
        assert_eq!(chain_text("OpenSSH_9.2", "/x#y # z").unwrap(), "/usr/bin/eic-keys %u %f -- /x#y # z");
        assert_eq!(chain_text("OpenSSH_9.2", "/x \"y"), Err(NotChainable));
        assert_eq!(
            chain_text("OpenSSH_9.2", "/x\\"),
            Err(NotChainable),
            "the blank before %u would be escaped"
        );
        assert_eq!(chain_text("OpenSSH_9.2", ""), Err(NotChainable));
    }

    #[test]
    fn recognizes_the_command_of_aws_by_its_name() {
        let new = openssh("OpenSSH_9.2");
        for (command, expected) in [
            ("/opt/aws/bin/eic_run_authorized_keys %u %f", true),
            ("/usr/share/ec2-instance-connect/eic_run_authorized_keys %u %f", true),
            ("/usr/bin/timeout 5s /opt/aws/bin/curl_authorized_keys %u %f", true),
            ("/usr/local/bin/both /opt/aws/bin/eic_run_authorized_keys %u", false),
            ("/usr/bin/timeout 5s /usr/bin/other %u", false),
            ("/opt/aws/bin/eic_run_authorized_keys.sh", false),
            ("", false),
        ] {
            assert_eq!(runs_aws(&new, command.as_bytes()), expected, "{command}");
        }
    }

    #[test]
    fn own_part_ends_before_the_chained_command() {
        let new = openssh("OpenSSH_9.2");
        assert_eq!(
            own_part(&new, b"/usr/bin/eic-keys --timeout 3 %u %f -- /x -- y"),
            b"/usr/bin/eic-keys --timeout 3 %u %f"
        );
        assert_eq!(own_part(&new, b"/usr/bin/eic-keys %u %f"), b"/usr/bin/eic-keys %u %f");
    }

    #[test]
    fn rendered_lines_are_read_back() {
        let new = openssh("OpenSSH_9.2");
        for (user, expected) in [
            ("eic-keys", true),
            ("a b", true),
            ("DOM\\user", true),
            ("a\"b", false),
            ("a#b", true),
            ("#", false),
        ] {
            let lines = render(&[], b"/x %u", user.as_bytes());
            assert_eq!(reads_back(&new, &lines, b"/x %u", user.as_bytes()), expected, "{user}");
        }
        let old = openssh("OpenSSH_8.4");
        assert!(!reads_back(&old, &render(&[], b"/x %u", b"a=b"), b"/x %u", b"a=b"));
    }

    #[test]
    fn strip_leaves_all_other_bytes() {
        let new = openssh("OpenSSH_9.2");
        let block = String::from_utf8(render(&[], b"/usr/bin/eic-keys %u %f", b"eic-keys")).unwrap();
        for (before, after) in [("", ""), ("Port 22\n", "\n\nMatch all"), ("\r\n", "x"), ("", "\n")] {
            let stripped = strip(&new, format!("{before}{block}{after}").as_bytes(), OURS).unwrap();
            assert_eq!(stripped.rest, format!("{before}{after}").as_bytes());
            assert!(stripped.foreign.is_empty());
        }
        assert_eq!(strip(&new, b"Port 22\n", OURS), None);
        assert_eq!(
            strip(&new, b"AuthorizedKeysCommand /usr/bin/eic-keys %u\n", OURS),
            None,
            "without a marker it is not ours"
        );
    }

    #[test]
    fn strip_removes_our_comments_only_between_the_markers() {
        let new = openssh("OpenSSH_9.2");
        let comments = [left_out_comment(b"/x does not exist: %u", b"a b"), name_service_comment(b"c")];
        assert_eq!(
            parse_left_out(&comments[0]),
            Some((b"/x does not exist: %u".as_slice(), b"a b".as_slice()))
        );
        assert_eq!(parse_left_out(&comments[1]), None);
        let lines = render(&comments, b"/usr/bin/eic-keys %u %f", b"eic-keys");
        assert!(reads_back(&new, &lines, b"/usr/bin/eic-keys %u %f", b"eic-keys"));
        let stripped = strip(&new, &[b"Port 22\n", lines.as_slice(), b"# end\n"].concat(), OURS).unwrap();
        assert_eq!(
            stripped,
            Stripped { rest: b"Port 22\n# end\n".to_vec(), comments: comments.into(), foreign: Vec::new() }
        );
        // Outside our lines, the comments are not ours.
        let elsewhere = [lines.as_slice(), &left_out_comment(b"/x", b"y"), b"\n"].concat();
        let stripped = strip(&new, &elsewhere, OURS).unwrap();
        assert_eq!(
            (stripped.rest, stripped.comments.len()),
            ([left_out_comment(b"/x", b"y"), b"\n".to_vec()].concat(), 2)
        );
    }

    #[test]
    fn strip_leaves_foreign_lines_between_the_markers() {
        let new = openssh("OpenSSH_9.2");
        let text = "# BEGIN eic-keys\nPort 2222\nAuthorizedKeysCommand /usr/bin/eic-keys --timeout 3 %u %f\n\n\
                    AuthorizedKeysCommandUser other\n# mine\n# END eic-keys\n";
        let stripped = strip(&new, text.as_bytes(), OURS).unwrap();
        assert_eq!(stripped.rest, b"Port 2222\n\n# mine\n");
        assert_eq!(stripped.foreign, [2, 6]);
        let text = "# BEGIN eic-keys\nAuthorizedKeysCommand /other\nAuthorizedKeysCommandUser other\n# END eic-keys\n";
        assert_eq!(
            strip(&new, text.as_bytes(), OURS).unwrap().rest,
            b"AuthorizedKeysCommand /other\nAuthorizedKeysCommandUser other\n"
        );
    }

    #[test]
    fn strip_removes_only_our_lines_if_a_marker_is_missing() {
        let new = openssh("OpenSSH_9.2");
        let block = String::from_utf8(render(&[], b"/usr/bin/eic-keys %u %f", b"eic-keys")).unwrap();
        let no_end = block.replace("# END eic-keys\n", "") + "Port 22\n";
        assert_eq!(strip(&new, no_end.as_bytes(), OURS).unwrap().rest, b"Port 22\n");
        let no_begin = format!("Port 22\n{}", block.replace("# BEGIN eic-keys\n", ""));
        assert_eq!(strip(&new, no_begin.as_bytes(), OURS).unwrap().rest, b"Port 22\n");
        let two = format!("{block}Port 22\n{block}");
        assert_eq!(strip(&new, two.as_bytes(), OURS).unwrap().rest, b"Port 22\n");
    }

    #[test]
    fn recognizes_a_line_that_chains_itself() {
        let tree = ConfigTree::new(Path::new("/nonexistent"));
        let version = OpensshVersion::newest();
        for (line, expected) in [
            ("/usr/bin/eic-keys %u %f", false),
            ("/usr/bin/eic-keys %u %f -- /usr/bin/eic-keys %u", true),
            ("/opt/keys --timeout 2 %u %f -- /opt/keys", true),
            ("/usr/bin/eic-keys %u %f -- /usr/local/bin/eic-keys %u", false),
            ("/usr/bin/eic-keys %u %f -- /opt/aws/bin/eic_run_authorized_keys %u %f", true),
            ("/usr/bin/eic-keys %u %f -- /usr/bin/timeout 5s /opt/aws/bin/curl_authorized_keys %u", true),
            ("/usr/bin/eic-keys %u %f -- /usr/bin/sss_ssh_authorizedkeys %u", false),
            ("/usr/bin/eic-keys %u %f --", false),
        ] {
            assert_eq!(chains_itself(&version, line.as_bytes(), &tree), expected, "{line}");
        }
    }
}
