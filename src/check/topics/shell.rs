//! Whether the user can run the login shell, or another program of a session: its first line, its libraries, and the permissions on
//! the way to them.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use crate::account::{Account, describe_user, is_root};
use crate::check::fix::{CommandWord, Fix};
use crate::check::running_sshd;
use crate::config_tree::ConfigTree;
use crate::files;
use crate::limits;
use crate::process::{Output, TrustedCommand, cannot_change_user};

/// Removes a carriage return, which is a control character. The report escapes a backslash.
pub(super) const WITHOUT_CR: &str = "sed -i s/[[:cntrl:]]$//";

/// What runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Sshd,
    /// It also runs a script without a first line that begins with #!.
    LoginShell,
}

/// Why a program cannot be run.
#[derive(Clone, Debug)]
pub(super) enum CannotRun {
    /// The kernel denies it.
    Denied,
    /// It is neither a program nor a script.
    NotAProgram,
    /// The script's first line names a program that does not exist.
    NoInterpreter {
        line: String,
        /// The script was written on another system.
        has_crlf: bool,
    },
    /// The user cannot read the script.
    UnreadableScript,
    /// The kernel denies the program of the script's first line.
    InterpreterDenied(PathBuf),
    /// The program lacks a library, or this user cannot read it.
    NoLibrary { library: String, user: String },
    /// The words of the dynamic linker, or of what runs the program.
    Words(String),
}

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DENIED: &str =
            "the mode or an ACL of the file or of a directory above it, or a mount with noexec, forbids it";
        match self {
            Self::Denied => f.write_str(DENIED),
            Self::NotAProgram => f.write_str("it is neither a program nor a script that begins with #!"),
            Self::NoInterpreter { line, has_crlf } => {
                let end = if *has_crlf { "; its lines end with CR LF" } else { "" };
                write!(f, "the program of its first line, {line}, does not exist{end}")
            }
            Self::UnreadableScript => f.write_str("it is a script, which the user cannot read"),
            Self::InterpreterDenied(program) => write!(f, "it runs {}, and {DENIED}", program.display()),
            Self::NoLibrary { library, user } => {
                write!(f, "its library {library} does not exist, or {user} cannot read it")
            }
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// Why the user cannot run a file that somebody can execute.
pub(super) fn cannot_run(account: &Account, path: &Path, root: &Path, caller: Caller) -> Option<CannotRun> {
    not_executable(account, path, root, caller).or_else(|| does_not_start(account, path, "LC_ALL=C"))
}

/// Whether test(1), as the user, says no to an option such as `-x` for a file.
pub(super) fn is_denied(account: &Account, right: &str, path: &Path) -> bool {
    let words = [right.as_ref(), path.as_os_str()];
    let command = TrustedCommand::new("test").with(words).as_user(&account.credentials());
    let is_no = |ran: Output| ran.status.code() == Some(1) && ran.stderr.is_empty();
    is_root() && command.run(limits::CHECK_TOOL).is_ok_and(is_no)
}

/// Why execve(2) by the user would fail.
fn not_executable(account: &Account, path: &Path, root: &Path, caller: Caller) -> Option<CannotRun> {
    let test = |right: &str, path: &Path| is_denied(account, right, path);
    if test("-x", path) {
        return Some(CannotRun::Denied);
    }
    if let Some(reason) = wrong_beginning(path, root, caller) {
        return Some(reason);
    }
    let interpreter = interpreter(path)?;
    if test("-r", path) {
        return Some(CannotRun::UnreadableScript);
    }
    test("-x", &files::below(root, &interpreter)).then_some(CannotRun::InterpreterDenied(interpreter))
}

/// Why nobody can run a file, by its beginning.
pub(super) fn wrong_beginning(path: &Path, root: &Path, caller: Caller) -> Option<CannotRun> {
    let start = files::read_beginning(path, limits::PROGRAM_START).ok()?;
    let Some(line) = start.strip_prefix(b"#!") else {
        // The same machine, or its 32-bit variant. The kernel can be told to run other formats.
        let other_formats =
            fs::read_dir(root.join("proc/sys/fs/binfmt_misc")).is_ok_and(|files| files.count() > 2);
        let runs = start.starts_with(b"\x7fELF") || other_formats || caller == Caller::LoginShell;
        return (!runs).then_some(CannotRun::NotAProgram);
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words: Vec<_> =
        line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).collect();
    let interpreter = Path::new(OsStr::from_bytes(words.first().copied().unwrap_or_default()));
    (!files::below(root, interpreter).is_file() || has_wrong_end(interpreter, &words)).then(|| {
        let has_crlf = line.ends_with(b"\r");
        CannotRun::NoInterpreter { line: String::from_utf8_lossy(line.trim_ascii()).into_owned(), has_crlf }
    })
}

/// Whether a carriage return ends the name of the program that env(1) looks for, or the options of a shell.
fn has_wrong_end(interpreter: &Path, words: &[&[u8]]) -> bool {
    let is_env = interpreter.ends_with("env");
    let is_shell = ["sh", "dash", "bash"].iter().any(|name| interpreter.ends_with(name));
    let [_, word] = words else { return false };
    word.ends_with(b"\r") && if word.starts_with(b"-") { is_shell } else { is_env }
}

/// Why the user cannot start a program with a variable (`NAME=VALUE`). It is not run: the dynamic linker only lists its libraries.
pub(super) fn does_not_start(account: &Account, path: &Path, variable: &str) -> Option<CannotRun> {
    let program = interpreter(path).unwrap_or_else(|| path.to_owned());
    // The linker of a program with the setuid bit can ignore the variable.
    let is_plain = fs::metadata(&program).is_ok_and(|file| file.mode() & 0o6000 == 0);
    if !is_root() || !is_plain || linker(&program).is_none() {
        return None;
    }
    // Where the linker ignores the variable, this is all that a shell does.
    let command =
        account.credentials().run_program(&["LD_TRACE_LOADED_OBJECTS=1", variable], &program).ok()?;
    lacking(&command.with(["-c", "true"]), account)
}

/// Why the user cannot start a program in a session that has another root directory: the dynamic linker there lists its libraries.
pub(super) fn does_not_start_below(account: &Account, directory: &Path, path: &Path) -> Option<CannotRun> {
    let program = interpreter(&inside(directory, path)).unwrap_or_else(|| path.to_owned());
    // Root runs no program that others may have written.
    if !is_root() || account.uid == 0 {
        return None;
    }
    let linker = linker(&inside(directory, &program))?;
    let groups: Vec<_> = account.gids.iter().map(ToString::to_string).collect();
    let (user, groups) =
        (format!("--userspec=+{}:+{}", account.uid, account.gid), format!("--groups={}", groups.join(",")));
    let command = TrustedCommand::new("setsid").with(["chroot", &user, &groups]).with([directory]);
    lacking(&command.with([linker]).with(["--list"]).with([program]), account)
}

/// What the list of libraries, or the programs that start the linker, say is missing.
fn lacking(command: &TrustedCommand, account: &Account) -> Option<CannotRun> {
    let line = complaint(&command.run(limits::CHECK_TOOL).ok()?)?;
    Some(match line.strip_suffix(NOT_FOUND) {
        Some(library) => CannotRun::NoLibrary { library: library.to_owned(), user: account.name.clone() },
        None => CannotRun::Words(line),
    })
}

/// What follows a library that the dynamic linker does not find.
const NOT_FOUND: &str = " => not found";

/// The line about a library that is missing or not usable.
fn complaint(ran: &Output) -> Option<String> {
    let text = [ran.stdout.as_slice(), &ran.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim).filter(|line| !cannot_change_user(line));
    let begins = ["env: ", "setpriv: failed to execute env: ", "chroot: failed to run command "];
    let line = lines.find(|line| {
        line.ends_with(NOT_FOUND)
            || line.contains(UNLOADED)
            || line.contains(": version `") && line.contains("not found")
            || begins.iter().any(|program| line.starts_with(program))
    })?;
    Some(line.to_owned())
}

/// What the dynamic linker says before the library that it cannot load.
const UNLOADED: &str = "error while loading shared libraries: ";

/// Why the dynamic linker cannot load something.
#[derive(Debug)]
pub(super) struct NotLoaded {
    pub(super) reason: String,
    /// Whether it crashes, with the process that it is part of.
    pub(super) crashes: bool,
}

/// Why the dynamic linker cannot load a program of sshd, or these libraries into it.
pub(super) fn not_loadable(root: &Path, program: &Path, libraries: &[PathBuf]) -> Option<NotLoaded> {
    let reason = unloaded(program, libraries).filter(|_| root == Path::new("/"))?;
    // A variable of sshd's unit can name other directories of libraries.
    let process = running_sshd::serving(&ConfigTree::new(root)).map(|running| running.process);
    let environment = process.and_then(|process| {
        files::read(&root.join(format!("proc/{process}/environ")), limits::SYSTEM_FILE).ok()
    });
    let environment = environment.unwrap_or_default();
    let is_other = environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"LD_"));
    (!is_other).then_some(reason)
}

/// The linker only lists them: nothing of them is run.
fn unloaded(program: &Path, libraries: &[PathBuf]) -> Option<NotLoaded> {
    let linker = linker(program)?;
    let mut preload = "LD_PRELOAD=".to_owned();
    for path in libraries {
        preload.push_str(path.to_str()?);
        preload.push(':');
    }
    let words = ["LD_DEBUG=files", &preload, linker.to_str()?, "--list", program.to_str()?];
    let ran = TrustedCommand::new("env").with(words).run(limits::CHECK_TOOL).ok()?;
    let crashes = matches!(ran.status.signal(), Some(libc::SIGBUS | libc::SIGSEGV));
    let reason = if crashes {
        // The last one that it began to load.
        let errors = String::from_utf8_lossy(&ran.stderr);
        format!("{} is damaged", errors.rsplit_once("file=")?.1.split(' ').next()?)
    } else {
        let line = complaint(&ran)?;
        match line.strip_suffix(NOT_FOUND) {
            Some(library) => format!("its library {library} does not exist"),
            None => line.split_once(UNLOADED).map_or(line.as_str(), |(_, rest)| rest).to_owned(),
        }
    };
    Some(NotLoaded { reason, crashes })
}

/// The file that a path leads to where this directory is the root directory.
pub(super) fn inside(directory: &Path, path: &Path) -> PathBuf {
    let there = files::below(directory, path);
    match fs::read_link(&there) {
        Ok(target) if target.is_absolute() => files::below(directory, &target),
        _ => there,
    }
}

/// The program of the first line of a script.
fn interpreter(shell: &Path) -> Option<PathBuf> {
    let start = files::read_beginning(shell, limits::PROGRAM_START).ok()?;
    let text = String::from_utf8_lossy(start.strip_prefix(b"#!")?).into_owned();
    text.lines().next()?.split_whitespace().next().map(PathBuf::from)
}

/// The dynamic linker of a program: its path is near the beginning.
fn linker(program: &Path) -> Option<PathBuf> {
    let start =
        files::read_beginning(program, BEGINNING).ok().filter(|start| start.starts_with(b"\x7fELF"))?;
    let names = |text: &&[u8]| {
        let names = |name: &[u8]| files::has_text(text, name);
        names(b"/ld-linux") || names(b"/ld64.so") || names(b"/ld.so")
    };
    // A note can be right before it.
    let path = start.split(|byte| *byte == 0).find(names)?;
    let begin = path.windows(4).position(|part| part == b"/lib" || part == b"/usr").unwrap_or_default();
    Some(OsStr::from_bytes(path.get(begin..)?).into())
}

/// The program headers and the path of the linker are in the first page.
const BEGINNING: u64 = 4096;

/// The places of the system's libraries. Their directories for one machine are below the first two.
const LIBRARIES: [&str; 4] = ["/usr/lib", "/lib", "/usr/lib64", "/lib64"];

/// The fix for a script of another system.
pub(super) fn without_cr(script: &Path, reason: &CannotRun) -> Option<Fix> {
    matches!(reason, CannotRun::NoInterpreter { has_crlf: true, .. })
        .then(|| Fix::command(WITHOUT_CR, [CommandWord::Path(script)]))
}

/// The fix for a shell, its dynamic linker, a library or a directory of the system whose mode keeps others out.
pub(super) fn repair(shell: &Path, reason: &CannotRun) -> Option<Fix> {
    if let Some(fix) = without_cr(shell, reason) {
        return Some(fix);
    }
    let mut programs = vec![shell.to_owned()];
    programs.extend(interpreter(shell));
    programs.extend(programs.last().and_then(|program| linker(program)));
    let mut paths = Vec::new();
    let places = LIBRARIES.iter().flat_map(|base| {
        let inside = fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
        let machine = |path: &PathBuf| path.to_string_lossy().contains("-linux-") && path.is_dir();
        inside.filter(machine).chain([PathBuf::from(base)]).collect::<Vec<_>>()
    });
    let library = match reason {
        CannotRun::NoLibrary { library, .. } => Some(library.as_str()),
        CannotRun::Words(words) => words.split([' ', ':']).find(|word| word.contains(".so")),
        _ => None,
    };
    for place in places {
        paths.extend(library.map(|name| place.join(name)));
        paths.push(place);
    }
    let closed = |path: &PathBuf, is_program| closed(&fs::canonicalize(path).ok()?, is_program);
    let program = programs.iter().find_map(|path| closed(path, true));
    program.or_else(|| paths.iter().find_map(|path| closed(path, false)))
}

/// What to do with a directory of the system that belongs to another user.
pub(super) fn own(directory: &Path, uid: u32) -> String {
    format!(
        "make root the owner of {}, with mode 0755, and find out what else {} owns",
        directory.display(),
        describe_user(uid)
    )
}

/// The fix for the first part of a path that other users cannot use, if it is root's and below a directory of the system.
fn closed(path: &Path, is_program: bool) -> Option<Fix> {
    let parts: Vec<_> = path.ancestors().collect();
    let part = parts.into_iter().rev().find(|part| {
        let Ok(file) = fs::metadata(part) else { return false };
        let needed = if file.is_dir() || is_program { 0o001 } else { 0o004 };
        file.mode() & needed == 0
    })?;
    let file = fs::metadata(part).ok()?;
    let is_systems = ["/usr", "/lib", "/lib64", "/bin", "/sbin"].iter().any(|base| part.starts_with(base));
    if !is_systems && part != Path::new("/") || part.starts_with("/usr/local") {
        return None;
    }
    if file.uid() != 0 {
        return file.is_dir().then(|| Fix::advice(own(part, file.uid())));
    }
    Some(if file.is_dir() || file.mode() & 0o100 != 0 {
        Fix::command("chmod 0755", [CommandWord::Path(part)])
    } else {
        Fix::command("chmod 0644", [CommandWord::Path(part)])
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use super::{Caller, CannotRun, wrong_beginning};
    use crate::limits;

    #[test]
    fn the_longest_name_of_an_interpreter() {
        let most = usize::try_from(limits::PROGRAM_START).unwrap();
        let root = std::env::temp_dir().join(format!("eic-keys-script-{}", std::process::id()));
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::write(root.join("bin/sh"), "").unwrap();
        let script = root.join("script");
        let wrong = |length: usize| {
            let slashes = "/".repeat(length - "#!bin/sh".len());
            std::fs::write(&script, format!("#!{slashes}bin/sh\n")).unwrap();
            wrong_beginning(&script, &root, Caller::Sshd)
        };
        let (longest, longer) = (wrong(most), wrong(most + 1));
        std::fs::remove_dir_all(&root).unwrap();
        assert!(longest.is_none(), "{longest:?}");
        assert!(matches!(longer, Some(CannotRun::NoInterpreter { .. })), "{longer:?}");
    }
}
