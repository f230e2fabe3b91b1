//! Checks whether sshd would run a program. A [`Program`] is one that root may run.

use std::{
    error::Error,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crate::files::below;
use crate::files::is_program;
use crate::ownership::{self, OwnershipFault};

/// Why sshd would not run a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UntrustedProgram {
    NotAbsolute(PathBuf),
    /// It is not an executable file.
    NotAProgram(PathBuf),
    /// It, or a directory above it, belongs to this user.
    Owner(PathBuf, u32),
    /// It, or a directory above it, is writable by group or others.
    Writable(PathBuf),
}

impl fmt::Display for UntrustedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAbsolute(path) => write!(f, "{} is not an absolute path", path.display()),
            Self::NotAProgram(path) => write!(f, "{} is not a program", path.display()),
            Self::Owner(part, uid) => write!(f, "{} is owned by uid {uid}, not by root", part.display()),
            Self::Writable(part) => write!(f, "users other than root can write to {}", part.display()),
        }
    }
}

impl Error for UntrustedProgram {}

/// The result of [`check`].
#[derive(Debug)]
pub(crate) enum ProgramCheck {
    /// sshd would run it.
    Trusted(Program),
    /// Why sshd would not run it.
    Untrusted(UntrustedProgram),
}

/// A program that root may run, which only this module makes: a path from `/proc` or from a configuration after [`program`] has checked
/// that only root can change it, or a program that the source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program(PathBuf);

/// A program that the source names, by its path or by a name that is looked up in the directories of the system.
impl From<&'static str> for Program {
    fn from(program: &'static str) -> Self {
        Self(program.into())
    }
}

impl Program {
    /// This program.
    ///
    /// # Errors
    /// Fails if its path is not known.
    pub(crate) fn own() -> io::Result<Self> {
        std::env::current_exe().map(Self)
    }

    /// A program of [`EnableOptions`](crate::sshd::EnableOptions): the tests have programs of their own. The command line has no such
    /// option.
    pub(crate) fn of_options(program: OsString) -> Self {
        Self(program.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Its path as the first word of a command.
    pub(crate) fn word(&self) -> OsString {
        self.0.clone().into_os_string()
    }
}

/// Checks a program as sshd checks `AuthorizedKeysCommand` (`safe_path` in OpenSSH's `misc.c`): the program and every directory
/// above it, up to `root`, must belong to root and be writable by root only. As in sshd, the directories are those of the file that
/// symbolic links lead to. Whoever can replace a link on the way can choose another program, but only one that passes this check.
///
/// # Errors
/// `NotFound` if the program does not exist, otherwise the reason why sshd would not run it.
pub(crate) fn program(root: &Path, path: &Path) -> io::Result<Program> {
    match check(root, path)? {
        ProgramCheck::Trusted(program) => Ok(program),
        ProgramCheck::Untrusted(reason) => Err(io::Error::new(io::ErrorKind::PermissionDenied, reason)),
    }
}

/// Like [`program`], but returns the reason as a value.
///
/// # Errors
/// Fails if the program cannot be examined; `NotFound` if it does not exist.
pub(crate) fn check(root: &Path, path: &Path) -> io::Result<ProgramCheck> {
    check_unless(root, path, &|_| false)
}

/// Like [`check`], but also accepts what `tolerated` accepts of files that users other than root can write to.
///
/// # Errors
/// Fails if the program cannot be examined; `NotFound` if it does not exist.
pub(crate) fn check_unless(
    root: &Path,
    path: &Path,
    tolerated: &dyn Fn(&fs::Metadata) -> bool,
) -> io::Result<ProgramCheck> {
    let untrusted = |reason| Ok(ProgramCheck::Untrusted(reason));
    if !path.is_absolute() {
        return untrusted(UntrustedProgram::NotAbsolute(path.to_owned()));
    }
    let root = fs::canonicalize(root)?;
    let file = fs::canonicalize(below(&root, path))?;
    let metadata = fs::metadata(&file)?;
    if !is_program(&metadata) {
        return untrusted(UntrustedProgram::NotAProgram(path.to_owned()));
    }
    // Start at the root directory: if others can write to a directory, the checks below it prove nothing.
    let parts: Vec<_> = file.ancestors().take_while(|part| part.starts_with(&root)).collect();
    for part in parts.into_iter().rev() {
        let metadata = fs::metadata(part)?;
        match ownership::check(&metadata, &[0]) {
            Err(OwnershipFault::Owner(uid)) => {
                return untrusted(UntrustedProgram::Owner(part.to_owned(), uid));
            }
            Err(OwnershipFault::Writable) if !tolerated(&metadata) => {
                return untrusted(UntrustedProgram::Writable(part.to_owned()));
            }
            _ => {}
        }
    }
    Ok(ProgramCheck::Trusted(Program(path.to_owned())))
}
