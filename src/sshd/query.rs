//! What sshd itself says: whether it accepts a configuration, and what counts in it.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{config_tree::ConfigTree, criteria::Connection, lexer::OpensshVersion};
use crate::process::{Output, run};

/// The installed sshd.
#[derive(Clone, Debug)]
pub struct Sshd {
    words: Vec<OsString>,
    patience: Duration,
    /// A host key beside those of the configuration.
    host_key: Option<PathBuf>,
}

/// Why sshd gave no answer.
#[derive(Debug)]
pub enum AskError {
    /// It could not be run.
    Run(io::Error),
    /// It refuses, in its own words.
    Refused(String),
    /// Its answer is not understood.
    Answer(&'static str),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(error) => write!(f, "sshd could not be run: {error}"),
            Self::Refused(words) => write!(f, "sshd says: {words}"),
            Self::Answer(what) => write!(f, "sshd's answer is not understood: {what}"),
        }
    }
}

impl std::error::Error for AskError {}

impl AskError {
    /// Whether all that it lacks is Debian's privilege separation directory, which is made when sshd is started first.
    pub(crate) fn lacks_directory(&self) -> bool {
        matches!(self, Self::Refused(text) if text.contains("Missing privilege separation directory: /run/sshd"))
    }

    /// Whether it found no host key that it can use. Without one it checks nothing.
    pub(crate) fn lacks_host_keys(&self) -> bool {
        matches!(self, Self::Refused(text) if text.contains("no hostkeys available"))
    }

    /// What to do on a system that runs, where sshd does not accept its configuration.
    pub(crate) fn remedy(&self) -> &'static str {
        if self.lacks_host_keys() {
            "sshd does not start without host keys. If they are missing: cloud-init or the image's own tool makes them at \
             the first boot; or run ssh-keygen -A on this instance, not in an image. If they are there: sshd -t tells \
             why it cannot use them"
        } else {
            "fix that first (sshd -t shows it)"
        }
    }
}

/// sshd answers in some 20 ms; a machine that swaps may take seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where distributions put it.
pub(crate) const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// Where SUSE has the vendor's main file, which its sshd reads where there is none in `/etc`.
const VENDORS: &str = "/usr/etc/ssh/sshd_config";

/// The main file that sshd reads: the administrator's, or else the vendor's if there is one.
pub(crate) fn main_file(tree: &ConfigTree, main: &Path) -> PathBuf {
    let gone = |path: &Path| {
        fs::symlink_metadata(tree.locate(path)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let vendors = Path::new(VENDORS);
    if gone(main) && !gone(vendors) { vendors.to_owned() } else { main.to_owned() }
}

/// Where the administrator has, or would have, the main file: what is beside it is read and changed, while what
/// belongs to the vendor is never changed.
pub(super) fn administrators(main: &Path) -> &Path {
    if main == Path::new(VENDORS) { Path::new(ADMINISTRATORS) } else { main }
}

/// Where sshd looks for its main file first.
const ADMINISTRATORS: &str = "/etc/ssh/sshd_config";

/// What `sshd -T` printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// `AuthorizedKeysCommand`; `none` is `None`
    pub command: Option<Vec<u8>>,
    /// `AuthorizedKeysCommandUser`; `none` is `None`
    pub user: Option<Vec<u8>>,
    /// Every other line, as printed.
    pub others: Vec<Vec<u8>>,
}

impl Sshd {
    /// An sshd that is run by these words: its path, or a wrapper and its path.
    #[must_use]
    pub fn new(words: &[OsString]) -> Self {
        Self { words: words.to_vec(), patience: PATIENCE, host_key: None }
    }

    /// The system's, where distributions put it.
    #[must_use]
    pub fn find(tree: &ConfigTree) -> Option<Self> {
        let path = PLACES.map(Path::new).into_iter().find(|path| tree.locate(path).is_file())?;
        Some(Self::new(&[path.into()]))
    }

    /// The same, waited for no longer than this.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, asked with one more host key (`-h`).
    #[must_use]
    pub(super) fn with_host_key(self, path: &Path) -> Self {
        Self { host_key: Some(path.to_owned()), ..self }
    }

    /// Its version.
    ///
    /// # Errors
    /// It cannot be run, or does not name a version.
    pub fn version(&self) -> Result<OpensshVersion, AskError> {
        let ran = self.run(&["-V".as_ref()])?;
        let said = [ran.stdout, ran.stderr].concat();
        OpensshVersion::from_version_text(&String::from_utf8_lossy(&said))
            .ok_or(AskError::Answer("no version in it"))
    }

    /// Whether it would start with a configuration (`-t`).
    ///
    /// # Errors
    /// It would not.
    pub fn accepts(&self, config: &Path) -> Result<(), AskError> {
        accepted(self.ask(&["-t".as_ref(), "-f".as_ref(), config.as_os_str()])?).map(drop)
    }

    /// Whether it would start with the configuration that it finds by itself.
    ///
    /// # Errors
    /// It would not.
    pub(super) fn starts(&self) -> Result<(), AskError> {
        accepted(self.ask(&["-t".as_ref()])?).map(drop)
    }

    /// What counts in a configuration for a connection (`-T -C`).
    ///
    /// # Errors
    /// It does not accept the configuration, or prints none of the two keywords.
    pub fn dump(&self, config: &Path, connection: &Connection) -> Result<Dump, AskError> {
        let spec = OsString::from(connection.spec());
        let arguments: [&OsStr; 5] = ["-T".as_ref(), "-C".as_ref(), &spec, "-f".as_ref(), config.as_os_str()];
        Dump::read(&accepted(self.ask(&arguments)?)?.stdout)
    }

    /// Asks about a configuration, for which sshd wants a host key.
    fn ask(&self, arguments: &[&OsStr]) -> Result<Output, AskError> {
        let key = self.host_key.iter().flat_map(|path| ["-h".as_ref(), path.as_os_str()]);
        // The configuration stays the last word.
        self.run(&arguments.split_first().map_or_else(Vec::new, |(first, rest)| {
            [*first].into_iter().chain(key).chain(rest.iter().copied()).collect()
        }))
    }

    fn run(&self, arguments: &[&OsStr]) -> Result<Output, AskError> {
        run(&self.words, arguments, self.patience).map_err(AskError::Run)
    }
}

fn accepted(ran: Output) -> Result<Output, AskError> {
    if ran.status.success() { Ok(ran) } else { Err(AskError::Refused(ran.complaint())) }
}

impl Dump {
    /// Reads what `sshd -T` printed. Keywords come in small letters up to 10.4, as in the manual since.
    fn read(output: &[u8]) -> Result<Self, AskError> {
        let (mut command, mut user, mut others) = (None, None, Vec::new());
        for line in output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
            let (keyword, value) = line.split_at_checked(space).unwrap_or_default();
            let value = || value.get(1..).unwrap_or_default().to_vec();
            match keyword.to_ascii_lowercase().as_slice() {
                b"authorizedkeyscommand" => command = Some(value()),
                b"authorizedkeyscommanduser" => user = Some(value()),
                _ => others.push(line.to_vec()),
            }
        }
        // 7.4 prints nothing of these two where they are not set; what it prints always tells that this is its answer.
        let whole = others.iter().any(|line| line.to_ascii_lowercase().starts_with(b"pubkeyauthentication "));
        if !whole && (command.is_none() || user.is_none()) {
            return Err(AskError::Answer("no AuthorizedKeysCommand in what -T prints"));
        }
        Ok(Self { command: command.and_then(unless_none), user: user.and_then(unless_none), others })
    }
}

/// sshd's `none`, which is as good as not set.
pub(super) fn unless_none(value: Vec<u8>) -> Option<Vec<u8>> {
    (!value.eq_ignore_ascii_case(b"none")).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_dump_are_read() {
        for output in [
            "port 22\nauthorizedkeyscommand /a %u\nauthorizedkeyscommanduser none\n",
            "port 22\nAuthorizedKeysCommand /a %u\nAuthorizedKeysCommandUser none\n",
        ] {
            let dump = Dump::read(output.as_bytes()).ok();
            let expected =
                Dump { command: Some(b"/a %u".to_vec()), user: None, others: vec![b"port 22".to_vec()] };
            assert_eq!(dump, Some(expected));
        }
        assert!(matches!(Dump::read(b"port 22\n"), Err(AskError::Answer(_))));
    }

    #[test]
    fn what_7_4_does_not_print_is_not_set() {
        let line = b"PubkeyAuthentication yes".to_vec();
        let dump = Dump::read(b"PubkeyAuthentication yes\n").ok();
        assert_eq!(dump, Some(Dump { command: None, user: None, others: vec![line] }));
    }
}
