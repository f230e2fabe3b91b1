//! Queries sshd: whether it accepts a configuration, and the effective values.

use std::{
    error::Error,
    ffi::{OsStr, OsString},
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{criteria::ConnectionSpec, version::OpensshVersion};
use crate::config_tree::ConfigTree;
use crate::process::{Output, TrustedCommand};

/// The installed sshd.
#[derive(Clone, Debug)]
pub struct Sshd {
    command: TrustedCommand,
    timeout: Duration,
    /// The options that change the configuration of the running sshd.
    options: Vec<OsString>,
    /// A host key in addition to the configured ones.
    host_key: Option<PathBuf>,
}

/// Why a query failed.
#[derive(Debug)]
pub enum QueryError {
    /// sshd could not be run.
    Run(io::Error),
    /// sshd did not end in time, or would not: it waits for something.
    TimedOut(io::Error),
    /// sshd rejected the configuration, with this message.
    Rejected(String),
    /// The output could not be parsed.
    Output(&'static str),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(_) => f.write_str("sshd could not be run"),
            Self::TimedOut(_) => f.write_str("sshd does not end"),
            Self::Rejected(message) => write!(f, "sshd reports: {message}"),
            Self::Output(reason) => write!(f, "the output of sshd could not be parsed: {reason}"),
        }
    }
}

impl Error for QueryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Run(error) | Self::TimedOut(error) => Some(error),
            Self::Rejected(_) | Self::Output(_) => None,
        }
    }
}

impl QueryError {
    /// Whether sshd rejected the configuration with these words.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Rejected(text) if text.contains(words))
    }

    /// Whether only Debian's privilege separation directory is missing, which is created when sshd first starts.
    pub(crate) fn lacks_directory(&self) -> bool {
        self.says("Missing privilege separation directory: /run/sshd")
    }

    /// Whether sshd found no usable host key. It checks nothing without one.
    pub(crate) fn lacks_host_keys(&self) -> bool {
        self.says("no hostkeys available")
    }

    /// Whether users other than root can change that directory.
    pub(crate) fn has_foreign_directory(&self) -> bool {
        self.says("/run/sshd must be owned by root")
    }

    /// Whether sshd's own user is missing, as which the process of each connection begins.
    pub(crate) fn lacks_own_user(&self) -> bool {
        self.says("Privilege separation user")
    }

    /// The file and the number of a line that sshd's message names: `/etc/ssh/sshd_config: line 3: ...`, or without that colon.
    pub(crate) fn line(&self) -> Option<(&Path, usize)> {
        let Self::Rejected(text) = self else { return None };
        text.split("; ").find_map(|message| {
            let (file, rest) = message.split_once(" line ")?;
            let number = rest.split(':').next()?.parse().ok()?;
            file.starts_with('/').then(|| (Path::new(file.trim_end_matches(':')), number))
        })
    }

    /// The fix if sshd rejects its configuration on a running system.
    pub(crate) fn fix(&self) -> &'static str {
        if self.lacks_host_keys() {
            "sshd does not start without host keys. If they are missing: cloud-init or the image's own tool generates them \
             at the first boot; or run ssh-keygen -A on this instance, not in an image. If they exist: sshd -t shows \
             why it cannot use them"
        } else if self.lacks_own_user() {
            "if /etc/passwd has a line of the user sshd, correct the passwd line of /etc/nsswitch.conf: passwd: files; otherwise reinstall \
             openssh-server, which creates that user"
        } else if self.says("PRNG is not seeded") {
            "OpenSSL has no source of random numbers: see which providers its configuration activates (openssl list -providers; \
             /etc/ssl/openssl.cnf, /etc/pki/tls/openssl.cnf), and install or remove the one that is missing"
        } else if matches!(self, Self::Run(_)) {
            "find out why sshd cannot be run (sshd -t)"
        } else if matches!(self, Self::TimedOut(_)) {
            "find out what sshd waits for (sshd -t), such as a FIFO that an Include line leads to, and remove it"
        } else {
            "fix that first (sshd -t shows it)"
        }
    }
}

/// A query takes about 20 ms. A machine that swaps can need seconds.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The paths of sshd in distributions.
pub(crate) const PATHS: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// The administrator's main file, the first path that sshd tries. It need not exist. Files in its directory are read and changed.
pub(crate) const ADMIN_CONFIG: &str = "/etc/ssh/sshd_config";

/// The vendor's main file on SUSE, whose sshd reads it if the administrator's does not exist. It is never changed.
const VENDOR_CONFIG: &str = "/usr/etc/ssh/sshd_config";

/// The main file that sshd reads if it is given `main`.
pub(super) fn main_file(tree: &ConfigTree, main: &Path) -> PathBuf {
    let missing = |path: &Path| {
        fs::symlink_metadata(tree.locate(path)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let vendor = Path::new(VENDOR_CONFIG);
    if missing(main) && !missing(vendor) { vendor.to_owned() } else { main.to_owned() }
}

/// The main file that sshd reads without `-f`.
pub(crate) fn default_main_file(tree: &ConfigTree) -> PathBuf {
    main_file(tree, Path::new(ADMIN_CONFIG))
}

/// The main file to change if sshd reads `main`.
pub(super) fn admin_config(main: &Path) -> &Path {
    if main == Path::new(VENDOR_CONFIG) { Path::new(ADMIN_CONFIG) } else { main }
}

/// The script that runs sshd with a privilege separation directory. systemd can have created one meanwhile: it is a link then.
const OWN_DIRECTORY: &str = "mount --rbind /run /mnt && mount -t tmpfs -o mode=0755 tmpfs /run && ln -s /mnt/* /run && \
                             rm -f /run/sshd && mkdir -m 0755 /run/sshd && exec \"$0\" \"$@\"";

/// The script that runs sshd with a host key. FIPS mode does not accept ed25519.
const OWN_HOST_KEY: &str =
    "mount -t tmpfs tmpfs /mnt && ssh-keygen -q -t ecdsa -N '' -f /mnt/key && exec \"$0\" \"$@\" -h /mnt/key";

/// The script that runs sshd without a line of a file: its arguments are the number, the file, and the command.
const WITHOUT_LINE: &str = "mount -t tmpfs tmpfs /mnt && sed \"$0s/^/#/\" \"$1\" >/mnt/file && mount --bind /mnt/file \"$1\" && shift && exec \"$@\"";

/// The output of `sshd -T`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// `AuthorizedKeysCommand`; `none` is `None`
    pub command: Option<Vec<u8>>,
    /// `AuthorizedKeysCommandUser`; `none` is `None`
    pub user: Option<Vec<u8>>,
    /// All other lines, as printed.
    pub lines: Vec<Vec<u8>>,
}

impl Sshd {
    /// An sshd with this command: its path, or a wrapper and its path.
    #[must_use]
    pub fn new(words: &[OsString]) -> Self {
        Self::of(TrustedCommand::of_options(words))
    }

    fn of(command: TrustedCommand) -> Self {
        Self { command, timeout: QUERY_TIMEOUT, options: Vec::new(), host_key: None }
    }

    /// The sshd of a system, from the usual paths.
    #[must_use]
    pub(crate) fn find(tree: &ConfigTree) -> Option<Self> {
        let path = PATHS.into_iter().find(|path| tree.locate(Path::new(path)).is_file())?;
        Some(Self::of(TrustedCommand::new(path)))
    }

    /// This sshd with an empty privilege separation directory. What `/run` has stays visible, because name services have their
    /// sockets there.
    pub(crate) fn with_own_directory(&self) -> Option<Self> {
        self.in_namespace(OWN_DIRECTORY, &[])
    }

    /// This sshd with a host key.
    pub(crate) fn with_own_host_key(&self) -> Option<Self> {
        self.in_namespace(OWN_HOST_KEY, &[])
    }

    /// This sshd, for which a line of its configuration is a comment.
    pub(crate) fn without_line(&self, file: &Path, line: usize) -> Option<Self> {
        self.in_namespace(WITHOUT_LINE, &[&line.to_string(), file.to_str()?])
    }

    /// This sshd, run by a script in a mount namespace of its own: the system is not changed. `None` if that is not possible:
    /// mounting can be forbidden, in a container for example.
    fn in_namespace(&self, script: &str, arguments: &[&str]) -> Option<Self> {
        let wrapper =
            TrustedCommand::new("unshare").with(["--mount", "/bin/sh", "-c", script]).with(arguments);
        let there = Self { command: wrapper.running(&self.command), ..self.clone() };
        there.version().is_ok().then_some(there)
    }

    /// Sets the time limit of a query.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Adds options to each query.
    #[must_use]
    pub(crate) fn with_options(self, options: Vec<OsString>) -> Self {
        Self { options, ..self }
    }

    /// Adds a host key (`-h`) to each query.
    #[must_use]
    pub(super) fn with_host_key(self, path: &Path) -> Self {
        Self { host_key: Some(path.to_owned()), ..self }
    }

    /// The version.
    ///
    /// # Errors
    /// sshd cannot be run, or prints no version.
    pub(crate) fn version(&self) -> Result<OpensshVersion, QueryError> {
        let output = self.run(&["-V".as_ref()])?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        OpensshVersion::from_version_text(&text).ok_or_else(|| {
            let unloaded = text.lines().find(|line| line.contains("error while loading shared libraries"));
            match unloaded {
                Some(line) => QueryError::Rejected(line.to_owned()),
                None => QueryError::Output("it contains no version"),
            }
        })
    }

    /// Checks that sshd would start with a configuration (`-t`).
    ///
    /// # Errors
    /// sshd would not start.
    pub(crate) fn accepts(&self, config: &Path) -> Result<(), QueryError> {
        accept(self.query(&["-t".as_ref(), "-f".as_ref(), config.as_os_str()])?).map(drop)
    }

    /// Checks that sshd would start with its default configuration.
    ///
    /// # Errors
    /// sshd would not start.
    pub(super) fn accepts_default(&self) -> Result<(), QueryError> {
        accept(self.query(&["-t".as_ref()])?).map(drop)
    }

    /// The effective values of a configuration for a connection (`-T -C`).
    ///
    /// # Errors
    /// sshd rejects the configuration, or prints neither keyword.
    pub fn dump(&self, config: &Path, connection: &ConnectionSpec) -> Result<Dump, QueryError> {
        let spec = OsString::from(connection.spec());
        let arguments: [&OsStr; 5] = ["-T".as_ref(), "-C".as_ref(), &spec, "-f".as_ref(), config.as_os_str()];
        Dump::read(&accept(self.query(&arguments)?)?.stdout)
    }

    /// Runs a query that needs a configuration, and therefore a host key.
    fn query(&self, arguments: &[&OsStr]) -> Result<Output, QueryError> {
        let key = self.host_key.iter().flat_map(|path| ["-h".as_ref(), path.as_os_str()]);
        let options = self.options.iter().map(OsString::as_os_str);
        // The configuration is the last argument.
        self.run(&arguments.split_first().map_or_else(Vec::new, |(first, rest)| {
            [*first].into_iter().chain(key).chain(options).chain(rest.iter().copied()).collect()
        }))
    }

    fn run(&self, arguments: &[&OsStr]) -> Result<Output, QueryError> {
        self.command.clone().with(arguments).run(self.timeout).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => QueryError::TimedOut(error),
            _ => QueryError::Run(error),
        })
    }
}

fn accept(output: Output) -> Result<Output, QueryError> {
    if output.status.success() { Ok(output) } else { Err(QueryError::Rejected(output.error_text())) }
}

/// sshd's `LoginGraceTime` if no line sets it, in seconds.
pub(crate) const DEFAULT_LOGIN_GRACE_TIME: u64 = 120;

/// The `LogLevel` of sshd, if sshd logs no logins at this level. `sshd -T` prints the level that QUIET sets by its internal name.
pub(crate) fn level_without_logins(level: &str) -> Option<&'static str> {
    [("SILENT", "QUIET"), ("QUIET", "QUIET"), ("FATAL", "FATAL"), ("ERROR", "ERROR")]
        .into_iter()
        .find_map(|(printed, name)| (printed == level).then_some(name))
}

impl Dump {
    /// Parses the output of `sshd -T`. Keywords are in lower case up to 10.4, and then as in the manual.
    fn read(output: &[u8]) -> Result<Self, QueryError> {
        let (mut command, mut user, mut lines) = (None, None, Vec::new());
        for line in output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
            let (keyword, value) = line.split_at_checked(space).unwrap_or_default();
            let value = || value.get(1..).unwrap_or_default().to_vec();
            match keyword.to_ascii_lowercase().as_slice() {
                b"authorizedkeyscommand" => command = Some(value()),
                b"authorizedkeyscommanduser" => user = Some(value()),
                _ => lines.push(line.to_vec()),
            }
        }
        // 7.4 omits both keywords if they are not set. Another line that is always printed shows that the output is
        // complete.
        let complete =
            lines.iter().any(|line| line.to_ascii_lowercase().starts_with(b"pubkeyauthentication "));
        if !complete && (command.is_none() || user.is_none()) {
            return Err(QueryError::Output("it contains no AuthorizedKeysCommand"));
        }
        Ok(Self { command: command.and_then(unless_none), user: user.and_then(unless_none), lines })
    }

    /// The keywords, as printed, and values of the other lines.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| {
            let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
            let (keyword, value) = line.split_at_checked(space).unwrap_or_default();
            (keyword, value.get(1..).unwrap_or_default())
        })
    }

    /// The values of a keyword among them.
    pub(crate) fn values(&self, keyword: &str) -> impl Iterator<Item = &[u8]> {
        let is_it = |name: &[u8]| name.eq_ignore_ascii_case(keyword.as_bytes());
        self.settings().filter(move |(name, _)| is_it(name)).map(|(_, value)| value)
    }
}

/// Treats sshd's `none` as not set.
pub(super) fn unless_none(value: Vec<u8>) -> Option<Vec<u8>> {
    (!value.eq_ignore_ascii_case(b"none")).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_dump_in_both_cases() {
        for output in [
            "port 22\nauthorizedkeyscommand /a %u\nauthorizedkeyscommanduser none\n",
            "port 22\nAuthorizedKeysCommand /a %u\nAuthorizedKeysCommandUser none\n",
        ] {
            let dump = Dump::read(output.as_bytes()).ok();
            let expected =
                Dump { command: Some(b"/a %u".to_vec()), user: None, lines: vec![b"port 22".to_vec()] };
            assert_eq!(dump, Some(expected));
        }
        assert!(matches!(Dump::read(b"port 22\n"), Err(QueryError::Output(_))));
    }

    #[test]
    fn a_keyword_that_7_4_omits_is_not_set() {
        let line = b"PubkeyAuthentication yes".to_vec();
        let dump = Dump::read(b"PubkeyAuthentication yes\n").ok();
        assert_eq!(dump, Some(Dump { command: None, user: None, lines: vec![line] }));
    }
}
