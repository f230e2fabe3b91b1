//! A real sshd on the disguised machine, and real ssh to log in with.
use crate::instance::Instance;
use crate::namespace::{ALICE, Account, BOB};
use crate::run::{Outcome, PROGRAM, Run};
use crate::userkey::{UserKey, write_private};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The path of its main file.
pub const CONFIG: &str = "/etc/ssh/sshd_config";
/// After this time, an event counts as missing even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The number of key files that were written so far, for all sshds.
static IDENTITIES: AtomicUsize = AtomicUsize::new(0);
const HOST_KEY: &str = "/etc/ssh/eic_lab_host_key";
const KNOWN_HOSTS: &str = "/run/eic-lab/known_hosts";

/// The lines of sshd's configuration, to be changed before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    lines: Vec<(String, String)>,
}

impl Config {
    /// eic-keys is configured as in the manual page; public keys only, no PAM, many concurrent logins.
    pub fn new() -> Self {
        let command = format!("{PROGRAM} %u %f");
        let mut lines = vec![
            ("ListenAddress", "127.0.0.1"),
            ("HostKey", HOST_KEY),
            ("PidFile", "none"),
            ("UsePAM", "no"),
            ("StrictModes", "yes"),
            ("PasswordAuthentication", "no"),
            ("KbdInteractiveAuthentication", "no"),
            ("AuthorizedKeysFile", ".ssh/authorized_keys"),
            ("AuthorizedKeysCommand", &command),
            ("AuthorizedKeysCommandUser", "eic-keys"),
            ("MaxStartups", "100"),
            ("LogLevel", "VERBOSE"),
        ];
        if sshd_version() >= (9, 8) {
            // Many tests have refused logins, which must not delay the next one.
            lines.push(("PerSourcePenalties", "no"));
        }
        Self { lines: lines.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
    }

    /// Sets the value of a keyword, or adds it.
    pub fn set(mut self, keyword: &str, value: &str) -> Self {
        self.lines.retain(|(key, _)| key != keyword);
        self.lines.push((keyword.to_owned(), value.to_owned()));
        self
    }

    /// The text of the configuration.
    pub fn text(&self) -> String {
        self.lines.iter().map(|(keyword, value)| format!("{keyword} {value}\n")).collect()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// A running sshd, on port 22 of the disguised machine. It and its sessions end when this value is dropped.
#[derive(Debug)]
pub struct Sshd<'a> {
    instance: &'a Instance,
    process: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    fn waits_for(&self, words: &str, patience: Duration) -> bool {
        let says = |lines: &[String]| lines.iter().any(|line| line.contains(words));
        let lines = self.lines.lock().unwrap();
        let (lines, _) = self.grown.wait_timeout_while(lines, patience, |lines| !says(lines)).unwrap();
        says(&lines)
    }
}

impl<'a> Sshd<'a> {
    /// Starts it with [`Config::new`].
    ///
    /// # Panics
    /// If it does not listen within ten seconds; the message has its log.
    pub fn start(instance: &'a Instance) -> Self {
        Self::start_with(instance, &Config::new())
    }

    /// Starts it with another configuration.
    pub fn start_with(instance: &'a Instance, config: &Config) -> Self {
        assert!(
            instance.namespace().has_users(),
            "sshd needs root and other users, which a user namespace lacks"
        );
        if let Some(root) = built() {
            install(instance, &root);
        }
        check_tools(&["sshd", "ssh"]).unwrap_or_else(|e| panic!("{e}"));
        let program = if built().is_some() { "/usr/sbin/sshd".into() } else { find("sshd").unwrap() };
        let host_key = UserKey::ed25519();
        instance.write(CONFIG, config.text());
        instance.write(format!("{HOST_KEY}.pub"), host_key.line());
        instance.remove(HOST_KEY);
        write_private(Path::new(HOST_KEY), host_key.private());
        instance.write(KNOWN_HOSTS, format!("127.0.0.1 {}\n", host_key.line()));
        // The chroot of sshd's unprivileged child.
        fs::create_dir_all("/run/sshd").unwrap();
        // If this process is killed, its sshd must end too.
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(["-D", "-e", "-f", CONFIG])
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run `setpriv`, of the package util-linux: {e}"));
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let log: Arc<Log> = Arc::default();
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                kept.lines.lock().unwrap().push(line);
                kept.grown.notify_all();
            }
        });
        let sshd = Self { instance, process, log, reader: Some(reader) };
        assert!(sshd.log.waits_for("Server listening", PATIENCE), "sshd does not listen: {:#?}", sshd.log());
        sshd
    }

    /// Its log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// Waits for a log line that contains this text. Returns whether there is one.
    pub fn says(&self, words: &str) -> bool {
        self.log.waits_for(words, PATIENCE)
    }

    /// Adds a key to the user's authorized_keys.
    pub fn authorize(&self, user: &str, key: &UserKey) {
        let account = account(user);
        let directory = format!("{}/.ssh", account.home);
        let file = format!("{directory}/authorized_keys");
        let before = fs::read_to_string(&file).unwrap_or_default();
        self.instance.write(&file, format!("{before}{}\n", key.line()));
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        self.instance.namespace().give(&directory, account);
        self.instance.namespace().give(&file, account);
    }

    /// A login that has not been started.
    pub fn login<'b>(&'b self, user: &str) -> Login<'b> {
        Login {
            sshd: self,
            user: user.to_owned(),
            keys: Vec::new(),
            options: Vec::new(),
            environment: Vec::new(),
            input: String::new(),
        }
    }

    /// Logs in with one key and runs a command there.
    pub fn ssh(&self, user: &str, key: &UserKey, command: &str) -> Outcome {
        self.login(user).key(key).run(command)
    }
}

impl Drop for Sshd<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // Sessions are sshd's children and do not end with it.
        self.instance.namespace().id().kill_processes();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// A login with the real ssh, without the machine's own configuration, keys and agents.
#[derive(Debug)]
#[must_use = "a login does nothing before `run`"]
pub struct Login<'a> {
    sshd: &'a Sshd<'a>,
    user: String,
    keys: Vec<PathBuf>,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    input: String,
}

impl Login<'_> {
    /// Offers a key, after the previous ones.
    pub fn key(mut self, key: &UserKey) -> Self {
        let number = IDENTITIES.fetch_add(1, Ordering::SeqCst);
        let path = PathBuf::from(format!("/run/eic-lab/identity-{number}"));
        write_private(&path, key.private());
        self.keys.push(path);
        self
    }

    /// One more `-o`, like `KexAlgorithms=ecdh-sha2-nistp256`.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Adds a variable to ssh's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the command's input, which is empty by default.
    pub fn input(mut self, text: &str) -> Self {
        text.clone_into(&mut self.input);
        self
    }

    /// Logs in and runs a command there. ssh's own failures are status 255.
    pub fn run(self, command: &str) -> Outcome {
        let known_hosts = format!("UserKnownHostsFile={KNOWN_HOSTS}");
        let mut arguments: Vec<&OsStr> = ["-F", "none", "-T", "-l", &self.user].map(OsStr::new).into();
        let own = self.options.iter().map(String::as_str);
        for option in own.chain([
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=none",
            &known_hosts,
            // A proxy command in Python takes seconds to start on a busy machine.
            "ConnectTimeout=60",
        ]) {
            arguments.extend([OsStr::new("-o"), OsStr::new(option)]);
        }
        for key in &self.keys {
            arguments.extend([OsStr::new("-i"), key.as_os_str()]);
        }
        arguments.extend(["127.0.0.1", command].map(OsStr::new));
        let run = Run::new(self.sshd.instance.namespace(), arguments);
        let run = run.program("ssh").as_root().input(&self.input).limit(PATIENCE);
        self.environment.iter().fold(run, |run, (name, value)| run.env(name, value)).run()
    }
}

fn account(user: &str) -> Account {
    [ALICE, BOB].into_iter().find(|a| a.name == user).expect("alice or bob")
}

/// The programs that the laboratory starts, and the packages that have them.
const TOOLS: [(&str, &str); 4] = [
    ("ip", "iproute2"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
];

/// Checks that these programs are installed.
///
/// # Errors
/// What to install if one is missing.
pub fn check_tools(tools: &[&str]) -> Result<(), String> {
    let missing = tools.iter().find(|tool| find(tool).is_none());
    missing.map_or(Ok(()), |tool| {
        let package = TOOLS.iter().find(|(known, _)| known == tool).map_or("?", |(_, package)| package);
        Err(format!("there is no `{tool}` on this machine: install the package {package}"))
    })
}

/// The path of a program, also in system directories, which an ordinary user's PATH may lack.
fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(tool))
        .find(|file| file.exists())
}

/// The root directory whose sshd is used instead of the machine's, if `EIC_SSHD_ROOT` names one (tests/openssh/prepare).
pub fn built() -> Option<PathBuf> {
    std::env::var_os("EIC_SSHD_ROOT").map(PathBuf::from)
}

/// Mounts the programs of that root over the machine's, in the disguise.
fn install(instance: &Instance, root: &Path) {
    for program in ["/usr/sbin/sshd", "/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth"] {
        if let Ok(content) = fs::read(root.join(program.trim_start_matches('/'))) {
            instance.install(program, &content);
        }
    }
}

/// Version of the sshd that [`Sshd`] runs; (0, 0) if it is unknown.
pub fn sshd_version() -> (u32, u32) {
    // Up to 9.1 there is no such option, and the version is printed above the usage.
    built().map_or_else(version, |root| told_by(&root.join("usr/sbin/sshd")))
}

/// Version of the machine's OpenSSH from `ssh -V`; (0, 0) if it is unknown.
pub fn version() -> (u32, u32) {
    told_by(Path::new("ssh"))
}

fn told_by(program: &Path) -> (u32, u32) {
    let said = Command::new(program).arg("-V").output().map(|o| o.stderr).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let number = said.split("OpenSSH_").nth(1).unwrap_or_default();
    let mut parts = number.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
