//! Why `--enable` and `--disable` fail.

use std::{error::Error, fmt, io, path::PathBuf};

use super::{
    apply::{ApplyError, ChangeError, FailedChange},
    host_key::HostKeyError,
    lock::LockError,
    options::OWN_USER,
    plan::PlanError,
    query::{PATHS, QueryError, admin_config},
    reload::ReloadError,
    replace::FileError,
    service::SystemctlError,
};
use crate::error_text::WithCauses;

/// Why a run failed.
#[derive(Debug)]
pub(super) enum EnableError {
    /// sshd's configuration was not changed.
    Refused(EnableRefusal),
    /// A change failed and was undone, or could not be.
    Failed(Box<FailedChange>),
}

impl From<EnableRefusal> for EnableError {
    fn from(refusal: EnableRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ApplyError> for EnableError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Refused(error) => Self::Refused(EnableRefusal::FileChange(error)),
            ApplyError::Failed(error) => Self::Failed(error),
        }
    }
}

/// Why sshd's configuration was not changed.
#[derive(Debug)]
pub(super) enum EnableRefusal {
    NotRoot,
    NoSshd,
    /// Another run holds the lock, or it cannot be taken.
    Lock(LockError),
    /// The command line of an sshd or of a unit, at this place, has `-o AuthorizedKeysCommand` with this program.
    OptionNamesProgram {
        place: String,
        program: String,
    },
    /// Changes of the files would have no effect, for this reason.
    Overridden(String),
    Plan(PlanError),
    Query(QueryError),
    /// sshd does not accept its current configuration.
    NotAccepted(QueryError),
    /// sshd is running and has no usable host key.
    LostHostKeys(QueryError),
    /// sshd has no host key, and no temporary one can be generated.
    HostKey(HostKeyError),
    /// This host key exists, and sshd cannot use it.
    UnusableHostKey(PathBuf, QueryError),
    /// The privilege separation directory cannot be created.
    Directory(FileError),
    /// This main file is the vendor's, and sshd does not read it.
    VendorFileNotRead(PathBuf, QueryError),
    /// sshd would not run eic-keys.
    Program(String, io::Error),
    /// The user that runs eic-keys does not exist.
    NoUser,
    /// sshd would not run the command to be chained.
    ChainedProgram(String, io::Error),
    /// These running sshds would keep our lines.
    NotReloadable(String),
    Systemctl(SystemctlError),
    /// A file cannot be changed, or the changed configuration failed its check.
    FileChange(ChangeError),
    /// The reload that an earlier run left undone failed.
    Reload(ReloadError),
}

impl From<PlanError> for EnableRefusal {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl fmt::Display for EnableRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRoot => {
                f.write_str("only root can change sshd's configuration; --dry-run shows what would be done")
            }
            Self::NoSshd => {
                write!(f, "there is no sshd here ({}): install OpenSSH's server first", PATHS.join(", "))
            }
            Self::Lock(error) => error.fmt(f),
            Self::OptionNamesProgram { place, program } => write!(
                f,
                "{place} has -o AuthorizedKeysCommand with {program}: it was set by hand, so remove it by hand, then run \
                 --disable again"
            ),
            Self::Overridden(reason) => f.write_str(reason),
            Self::Plan(error) => error.fmt(f),
            Self::Query(error) => error.fmt(f),
            Self::NotAccepted(error) => write!(
                f,
                "sshd does not accept its current configuration: {}; {}",
                WithCauses(error),
                error.fix()
            ),
            Self::LostHostKeys(error) => write!(
                f,
                "sshd is running, but has no host keys to start with again, and would exit at a reload ({}): restore them, or \
                 generate them on this instance with ssh-keygen -A, then run this again",
                WithCauses(error)
            ),
            Self::HostKey(_) => {
                f.write_str("sshd has no host keys yet, and no key could be generated for the check")
            }
            Self::UnusableHostKey(path, error) => write!(
                f,
                "sshd cannot use {}, which exists: {}; fix that first (sshd -t shows it)",
                path.display(),
                WithCauses(error)
            ),
            Self::Directory(error) => error.fmt(f),
            Self::VendorFileNotRead(main, _) => write!(
                f,
                "{} is missing, and this sshd does not read {} in its place",
                admin_config(main).display(),
                main.display()
            ),
            Self::Program(program, _) => write!(f, "sshd would not run {program}"),
            Self::NoUser => write!(
                f,
                "there is no user {OWN_USER}. Create it: \
                 useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin {OWN_USER}"
            ),
            Self::ChainedProgram(program, error) => write!(
                f,
                "sshd would not run {program}: {}. eic-keys does not chain it either: make root its owner and its only writer, or \
                 remove the lines that set it, then run --enable again",
                WithCauses(error)
            ),
            Self::NotReloadable(daemons) => write!(
                f,
                "a running sshd would keep the lines of eic-keys, because it cannot be reloaded: {daemons}"
            ),
            Self::Systemctl(error) => error.fmt(f),
            Self::FileChange(error) => error.fmt(f),
            Self::Reload(error) => error.fmt(f),
        }
    }
}

impl Error for EnableRefusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Lock(error) => error.source(),
            Self::Plan(error) => error.source(),
            Self::Query(error) => error.source(),
            Self::HostKey(error) => Some(error),
            Self::Directory(error) => error.source(),
            Self::VendorFileNotRead(_, error) => Some(error),
            Self::Program(_, error) => Some(error),
            Self::Systemctl(error) => error.source(),
            Self::FileChange(error) => error.source(),
            Self::Reload(error) => error.source(),
            // These have no cause, or their text contains it.
            Self::NotAccepted(_)
            | Self::LostHostKeys(_)
            | Self::UnusableHostKey(..)
            | Self::ChainedProgram(..)
            | Self::NotRoot
            | Self::NoSshd
            | Self::OptionNamesProgram { .. }
            | Self::Overridden(_)
            | Self::NoUser
            | Self::NotReloadable(_) => None,
        }
    }
}
