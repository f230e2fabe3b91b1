//! What sshd itself says: whether it accepts a configuration, and what counts in it.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    path::Path,
    time::Duration,
};

use super::{
    criteria::Connection,
    run::{Ran, run},
    source::Source,
    token::Dialect,
};

/// The installed sshd.
#[derive(Clone, Debug)]
pub struct Sshd {
    words: Vec<OsString>,
    patience: Duration,
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

    /// What to do before anything else, where sshd does not accept its configuration.
    pub(crate) fn remedy(&self) -> &'static str {
        let text = self.to_string();
        if text.contains("hostkeys") || text.contains("host key") {
            "make them (ssh-keygen -A)"
        } else {
            "mend that first (sshd -t shows it)"
        }
    }
}

/// sshd answers in some 20 ms; a machine that swaps may take seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where distributions put it.
pub(super) const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

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
        Self { words: words.to_vec(), patience: PATIENCE }
    }

    /// The system's, where distributions put it.
    #[must_use]
    pub fn find(source: &Source) -> Option<Self> {
        let path = PLACES.map(Path::new).into_iter().find(|path| source.locate(path).is_file())?;
        Some(Self::new(&[path.into()]))
    }

    /// The same, waited for no longer than this.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Its version.
    ///
    /// # Errors
    /// It cannot be run, or does not name a version.
    pub fn dialect(&self) -> Result<Dialect, AskError> {
        let ran = self.run(&["-V".as_ref()])?;
        let said = [ran.stdout, ran.stderr].concat();
        Dialect::from_version_text(&String::from_utf8_lossy(&said))
            .ok_or(AskError::Answer("no version in it"))
    }

    /// Whether it would start with a configuration (`-t`).
    ///
    /// # Errors
    /// It would not.
    pub fn accepts(&self, config: &Path) -> Result<(), AskError> {
        accepted(self.run(&["-t".as_ref(), "-f".as_ref(), config.as_os_str()])?).map(drop)
    }

    /// What counts in a configuration for a connection (`-T -C`).
    ///
    /// # Errors
    /// It does not accept the configuration, or prints none of the two keywords.
    pub fn dump(&self, config: &Path, connection: &Connection) -> Result<Dump, AskError> {
        let spec = OsString::from(connection.spec());
        let arguments: [&OsStr; 5] = ["-T".as_ref(), "-C".as_ref(), &spec, "-f".as_ref(), config.as_os_str()];
        Dump::read(&accepted(self.run(&arguments)?)?.stdout)
    }

    fn run(&self, arguments: &[&OsStr]) -> Result<Ran, AskError> {
        run(&self.words, arguments, self.patience).map_err(AskError::Run)
    }
}

fn accepted(ran: Ran) -> Result<Ran, AskError> {
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
