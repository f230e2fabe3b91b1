//! What a session runs, and where: `ForceCommand`, `ChrootDirectory`, `MaxSessions`, `ChannelTimeout`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::account::{Account, describe_user};
use crate::check::fix::Fix;
use crate::check::runner::Answer;
use crate::check::settings::Settings;
use crate::check::tokens;
use crate::check::topics::shell::{self, Caller};
use crate::files::{below, is_program_at};
use crate::ownership::{self, OwnershipFault};

pub(super) fn session(settings: &Settings, account: &Account, root: &Path) -> Answer<()> {
    let chroot = chroot(settings, account);
    // What a block lifts for some clients does not hide what no block lifts.
    number(settings).or_worse(|| {
        directory(settings, account, root, chroot.as_deref())
            .if_ok(|| Some(command(settings, account, root, chroot.as_deref())))
    })
}

/// `MaxSessions`
fn number(settings: &Settings) -> Answer<()> {
    if settings.is("maxsessions", "0") {
        let note = "MaxSessions is 0: sshd opens no session";
        return settings.refuses("maxsessions", note, "set MaxSessions 10");
    }
    Answer::ok("", ())
}

/// `ChrootDirectory`
fn directory(settings: &Settings, account: &Account, root: &Path, chroot: Option<&Path>) -> Answer<()> {
    let Some(directory) = chroot else { return Answer::ok("", ()) };
    if let Some(reason) = bad_chroot(root, directory) {
        let note = format!("sshd refuses ChrootDirectory {}: {reason}", directory.display());
        let change = "have root own each directory of that path, and no other user write to it";
        return settings.refuses("chrootdirectory", &note, change);
    }
    let shell = (!is_sftp(settings)).then(|| no_shell(account, &below(root, directory))).flatten();
    let change = "install the shell and its libraries (ldd) there, set ForceCommand internal-sftp, or remove ChrootDirectory";
    match shell {
        Some(note) => settings.refuses("chrootdirectory", &note, change),
        None => Answer::ok("", ()),
    }
}

/// Whether sshd's own server for sftp is all that a session gets.
fn is_sftp(settings: &Settings) -> bool {
    settings.one("forcecommand").split_whitespace().next() == Some("internal-sftp")
}

/// `ForceCommand`, or what a session gets without it.
fn command(settings: &Settings, account: &Account, root: &Path, chroot: Option<&Path>) -> Answer<()> {
    let command = settings.one("forcecommand");
    if matches!(command, "" | "none") {
        return shell_or_command(settings, root);
    }
    if is_sftp(settings) {
        return settings.warns(
            "forcecommand",
            "ForceCommand is internal-sftp: only sftp works, without a shell",
            "remove ForceCommand if the user is to have a shell",
        );
    }
    if let Some(note) = wrong_program(command, account, root, chroot) {
        let change = "repair or install that program, or remove ForceCommand";
        return settings.refuses("forcecommand", &note, change);
    }
    if let Some(note) = lost_directory(command, account, root).filter(|_| chroot.is_none()) {
        let change = "make that a directory that the user can enter, or correct ForceCommand";
        return settings.refuses("forcecommand", &note, change);
    }
    let program = command.split_whitespace().next().unwrap_or_default();
    if chroot.is_none() && is_absent(program, account, root) {
        return settings.warns(
            "forcecommand",
            format!("ForceCommand runs {program}, which is in none of the usual directories of programs"),
            "install that program, or give its whole path",
        );
    }
    let ends = "remove ForceCommand if clients are to get a shell or run commands, or let its program run $SSH_ORIGINAL_COMMAND";
    let prints = ["echo", "printf", "cat", "true", "exit"];
    match program.rsplit('/').next().unwrap_or_default() {
        "false" | "nologin" => settings.refuses(
            "forcecommand",
            &format!("ForceCommand {command} ends each session at once"),
            ends,
        ),
        name if prints.contains(&name) => settings.warns(
            "forcecommand",
            format!("each session runs ForceCommand {command} instead of what the client asks for"),
            ends,
        ),
        // A menu or a wrapper, which the administrator wants; only a login shows whether it works.
        _ => Answer::ok(format!("each session runs ForceCommand: {command}"), ()),
    }
}

fn shell_or_command(settings: &Settings, root: &Path) -> Answer<()> {
    if let Some(timeout) = short_timeout(settings.one("channeltimeout")) {
        return settings.warns(
            "channeltimeout",
            format!("ChannelTimeout {timeout}: sshd closes a session in which nobody types for so long"),
            "raise that time, or remove ChannelTimeout",
        );
    }
    if settings.is("permittty", "no") {
        return settings.warns(
            "permittty",
            "PermitTTY is no: sshd gives no terminal, which the console and ssh without a command ask for",
            "set PermitTTY yes if the user is to have a shell on a terminal",
        );
    }
    // A system without pseudoterminals of its own, such as an image that is examined, has no /dev/pts either.
    if root.join("dev/pts").is_dir() && !root.join("dev/pts/ptmx").exists() {
        return Answer::warn(
            "no devpts is mounted on /dev/pts: sshd gives no terminal, which the console and ssh without a command ask for",
            Fix::command("mount -t devpts -o gid=5,mode=620 devpts /dev/pts", []),
            (),
        );
    }
    if root.join("dev/pts/ptmx").exists() && !root.join("dev/ptmx").exists() {
        return Answer::warn(
            "/dev/ptmx does not exist: sshd gives no terminal, which the console and ssh without a command ask for",
            Fix::advice("link it to pts/ptmx, or restart the system"),
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

/// Why `cd DIRECTORY && ...`, with which `ForceCommand` begins, ends the session. A session begins in the home directory.
fn lost_directory(command: &str, account: &Account, root: &Path) -> Option<String> {
    let (directory, _) =
        command.strip_prefix("cd ")?.split_once("&&").filter(|(_, rest)| !rest.contains("||"))?;
    let directory = directory.trim().trim_start_matches("--").trim();
    let quoted = ['"', '\''].iter().find_map(|quote| directory.strip_prefix(*quote)?.strip_suffix(*quote));
    let words = quoted.unwrap_or(directory);
    let path = ["~/", "$HOME/"].iter().find_map(|start| words.strip_prefix(start)).unwrap_or(words);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.+".contains(&byte);
    if path.is_empty() || !path.bytes().all(is_plain) || quoted.is_some_and(|words| words.starts_with('~')) {
        return None;
    }
    let path = account.home.join(path);
    let file = below(root, &path);
    // As for the program of ForceCommand.
    let is_known = !path.starts_with(&account.home)
        || fs::read_dir(below(root, &account.home)).is_ok_and(|files| files.count() > 0);
    let lost = match fs::metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => "does not exist",
        Ok(found) if !found.is_dir() => "is not a directory",
        Ok(_) if shell::is_denied(account, "-x", &file) => "the user cannot enter",
        _ => return None,
    };
    is_known
        .then(|| format!("ForceCommand begins with cd {}, which {lost}: each session ends", path.display()))
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
    if let Some(program) = behind_launcher(command) {
        let file = shell::inside(&below(root, chroot.unwrap_or(Path::new("/"))), Path::new(program));
        return (!is_program_at(&file))
            .then(|| format!("ForceCommand runs {}, which is not a program", file.display()));
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

/// The path of a program that a program such as env(1) runs, if the command has no special characters.
fn behind_launcher(command: &str) -> Option<&str> {
    const LAUNCHERS: &str = "env ionice nice nohup setsid stdbuf sudo timeout";
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" /-_.+=:,@%".contains(&byte);
    let words: Vec<_> = command.split_whitespace().collect();
    let launcher = words.first()?.rsplit('/').next()?;
    if !command.bytes().all(is_plain) || !LAUNCHERS.split(' ').any(|name| name == launcher) {
        return None;
    }
    // Options, their numbers, and variables.
    let is_before = |word: &&&str| {
        word.starts_with('-') || word.contains('=') || word.starts_with(|first: char| first.is_ascii_digit())
    };
    let before = words.iter().skip(1).take_while(is_before).count();
    let program = words.get(before.saturating_add(1)).filter(|word| word.starts_with('/'))?;
    // The path can be the value of an option.
    words.get(before).filter(|word| !word.starts_with('-')).map(|_| *program)
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
