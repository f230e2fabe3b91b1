//! The disguise: network and mount namespaces of the calling thread.
//!
//! What is started from that thread afterwards, threads and programs, lives in the disguise too; the rest of the process
//! does not, so that tests run side by side. Every file that the laboratory writes is in memory and seen by nobody else:
//! when the last process has exited, nothing is left to clean up.
pub use crate::id::Id;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{chroot, fchdir, getegid, geteuid};
use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, Write};
use std::marker::PhantomData;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A local user of the disguised machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: &'static str,
    /// Its user and group number.
    pub id: u32,
    /// Its home.
    pub home: &'static str,
    shell: &'static str,
}

/// The unprivileged user that sshd runs eic-keys as.
pub const EIC_KEYS: Account =
    Account { name: "eic-keys", id: 47_100, home: "/nonexistent", shell: "/usr/sbin/nologin" };
/// A user to log in as.
pub const ALICE: Account = Account { name: "alice", id: 47_101, home: "/run/home/alice", shell: "/bin/sh" };
/// Another one.
pub const BOB: Account = Account { name: "bob", id: 47_102, home: "/run/home/bob", shell: "/bin/sh" };
/// All of them.
pub const ACCOUNTS: [Account; 3] = [EIC_KEYS, ALICE, BOB];

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread is in disguise as long as this lives. It must be dropped where it was made.
#[derive(Debug)]
pub struct Namespace {
    mine: Id,
    machine: Machine,
    has_users: bool,
    /// Directories that are the disguise's own, so that writing there touches nothing of the machine.
    own: Mutex<Vec<String>>,
    // Other threads may have a reference, but it cannot be moved to one.
    _here: PhantomData<MutexGuard<'static, ()>>,
}

/// The namespaces to which the thread returns.
#[derive(Debug)]
struct Machine {
    network: fs::File,
    mounts: fs::File,
    root: fs::File,
    directory: PathBuf,
}

impl Namespace {
    /// Moves the calling thread into the disguise.
    ///
    /// # Panics
    /// Without the right to do so (root, or root of a user namespace), and in a thread that is already in a disguise.
    pub fn enter() -> Self {
        assert!(
            geteuid().is_root(),
            "the laboratory needs namespaces of its own: run it as root, or `unshare --user --map-root-user --net --mount` it"
        );
        assert!(!INSIDE.replace(true), "this thread has an instance already: drop that one first");
        let open = |path| fs::File::open(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let machine = Machine {
            network: open("/proc/thread-self/ns/net"),
            mounts: open("/proc/thread-self/ns/mnt"),
            root: open("/"),
            directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        };
        let outside = Id::current();
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .unwrap_or_else(|e| panic!("cannot make network and mount namespaces: {e}"));
        let mine = Id::current();
        assert!(mine.network != outside.network && mine.mounts != outside.mounts, "still outside");
        let namespace =
            Self { mine, machine, has_users: has_users(), own: Mutex::default(), _here: PhantomData };
        namespace.dress_up();
        namespace
    }

    /// The ids of these namespaces.
    pub fn id(&self) -> &Id {
        &self.mine
    }

    /// Can files and processes belong to other users than root here? Not in a user namespace of one user.
    pub fn has_users(&self) -> bool {
        self.has_users
    }

    /// Writes a file with mode 0644, owned by root, and creates its directories.
    ///
    /// # Panics
    /// If the path does not belong to the disguise.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.own(path.as_ref());
        fs::create_dir_all(path.parent().unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        // An existing file may be a link to the machine's own, or not writable.
        self.remove(path);
        fs::write(path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Removes a file, if it exists.
    ///
    /// # Panics
    /// If the path does not belong to the disguise.
    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = self.own(path.as_ref());
        match fs::remove_file(path) {
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                panic!("{}: {e}", path.display())
            }
            _ => (),
        }
    }

    /// Changes the owner of a file or directory, if there are other users.
    pub fn give(&self, path: impl AsRef<Path>, to: Account) {
        if self.has_users {
            chown(self.own(path.as_ref()), Some(to.id), Some(to.id)).unwrap();
        }
    }

    /// Mounts a writable copy over a directory of the machine, if there is none yet.
    pub fn cover(&self, directory: &str) {
        let mut own = self.own.lock().unwrap();
        if own.iter().any(|own| own == directory) {
            return;
        }
        own.push(directory.to_owned());
        let name = directory.trim_start_matches('/').replace('/', "-");
        let store = |kind| {
            let path = format!("/run/eic-lab/{name}.{kind}");
            fs::create_dir_all(&path).unwrap();
            path
        };
        if !self.has_users {
            // The directory above belongs to its creator: to the machine's root, which a user namespace does not map, unless
            // the namespace's own root creates it.
            own_directories(
                Path::new(directory),
                Path::new(&store("upper")),
                if directory == "/etc" { 8 } else { 1 },
            );
        }
        let options = format!("lowerdir={directory},upperdir={},workdir={}", store("upper"), store("work"));
        attach(Some("overlay"), directory, Some("overlay"), MsFlags::empty(), Some(&options));
    }

    /// Runs `ip` with these lines, the words of its command line.
    ///
    /// # Panics
    /// If one of them fails.
    pub fn ip(&self, lines: &str) {
        self.assert_here();
        let mut child = Command::new("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run `ip`, of the package iproute2: {e}"));
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "ip: {lines}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Waits until packets to an address that was added arrive: for IPv6 the kernel adds the route in the background.
    pub fn await_address(&self, address: IpAddr) {
        self.assert_here();
        let deadline = Instant::now() + Duration::from_secs(60);
        let arrives = || {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_read_timeout(Some(Duration::from_millis(5)))?;
            socket.send_to(b"?", socket.local_addr()?)?;
            socket.recv(&mut [0])
        };
        while arrives().is_err() {
            assert!(Instant::now() < deadline, "{address} does not come to life");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Panics in a thread outside the disguise, where nothing may listen, write or be started.
    ///
    /// # Panics
    /// In such a thread.
    pub fn assert_here(&self) {
        assert!(Id::current() == self.mine, "the laboratory acts within its own namespaces only");
    }

    fn own<'a>(&self, path: &'a Path) -> &'a Path {
        self.assert_here();
        let plain = !path.components().any(|part| part.as_os_str() == "..");
        let inside = self.own.lock().unwrap().iter().any(|own| path.starts_with(own));
        assert!(plain && inside, "{} is the machine's, not the laboratory's", path.display());
        path
    }

    fn dress_up(&self) {
        attach(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None);
        self.cover_with_memory("/run");
        fs::create_dir("/run/eic-lab").unwrap();
        fs::set_permissions("/run/eic-lab", fs::Permissions::from_mode(0o700)).unwrap();
        self.cover("/etc");
        self.cover("/usr");
        self.cover_with_memory("/sys");
        devices();
        self.own.lock().unwrap().push("/dev".to_owned());
        self.add_accounts();
        self.ip("link set lo up\n");
    }

    fn cover_with_memory(&self, directory: &str) {
        memory(directory);
        self.own.lock().unwrap().push(directory.to_owned());
    }

    fn add_accounts(&self) {
        let add = |file: &str, line: &dyn Fn(&Account) -> String| {
            let before = fs::read_to_string(file).unwrap_or_default();
            let known = |line: &&str| !ACCOUNTS.iter().any(|a| line.split(':').next() == Some(a.name));
            let kept = before.lines().filter(known).map(str::to_owned);
            let text: String = kept.chain(ACCOUNTS.iter().map(line)).map(|line| line + "\n").collect();
            self.write(file, text);
        };
        add("/etc/passwd", &|a| format!("{0}:x:{1}:{1}::{2}:{3}", a.name, a.id, a.home, a.shell));
        add("/etc/group", &|a| format!("{}:x:{}:", a.name, a.id));
        // The machine's own password hashes are not copied.
        let shadow: String = ACCOUNTS.iter().map(|a| format!("{}:*:19000:0:99999:7:::\n", a.name)).collect();
        self.write("/etc/shadow", shadow);
        fs::set_permissions("/etc/shadow", fs::Permissions::from_mode(0o600)).unwrap();
        for account in [ALICE, BOB] {
            fs::create_dir_all(account.home).unwrap();
            self.give(account.home, account);
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.mine.kill_processes();
        // A thread that shares its root and working directory with others cannot change its mount namespace.
        let back = unshare(CloneFlags::CLONE_FS)
            .and_then(|()| setns(&self.machine.network, CloneFlags::CLONE_NEWNET))
            .and_then(|()| setns(&self.machine.mounts, CloneFlags::CLONE_NEWNS))
            .and_then(|()| fchdir(&self.machine.root))
            .and_then(|()| chroot("."));
        match back {
            Ok(()) => {
                let _ = std::env::set_current_dir(&self.machine.directory);
                INSIDE.set(false);
            }
            // The root of a user namespace cannot return to the machine's namespaces: its thread ends in the disguise.
            Err(e) => {
                assert!(!self.has_users || std::thread::panicking(), "cannot leave the namespaces: {e}");
            }
        }
    }
}

/// Makes an ordinary user root of a user namespace, where everything except sshd works. Does nothing for root.
///
/// Call this before any thread is started: the kernel allows it only to processes with one thread.
///
/// # Errors
/// If the system does not allow it; the text states what to do.
pub fn become_root() -> Result<(), String> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return Ok(());
    }
    let forbidden = |why: String| {
        format!(
            "this system does not let ordinary users make namespaces ({why}): run it as root, or allow it with \
             `sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0`"
        )
    };
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|e| forbidden(e.to_string()))?;
    for (file, line) in [
        ("uid_map", format!("0 {user} 1")),
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("0 {group} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), line)
            .map_err(|e| forbidden(format!("/proc/self/{file}: {e}")))?;
    }
    // AppArmor allows a user namespace but no rights in it.
    let tried = Command::new("unshare")
        .args(["--net", "--mount", "mount", "-t", "tmpfs", "none", "/run"])
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| format!("cannot run `unshare`, of the package util-linux: {e}"))?;
    let why = || String::from_utf8_lossy(&tried.stderr).trim().to_owned();
    if tried.status.success() { Ok(()) } else { Err(forbidden(why())) }
}

/// Are there other users than root here, and is root the machine's? Neither is so in a user namespace of one user.
fn has_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").expect("/proc is mounted");
    let covered = map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        numbers.len() == 3 && (numbers[0]..numbers[0] + numbers[2]).contains(&ALICE.id.into())
    });
    covered && fs::metadata("/").is_ok_and(|root| root.uid() == 0)
}

/// Makes directories of the same names, so many levels deep.
fn own_directories(like: &Path, at: &Path, depth: usize) {
    for entry in fs::read_dir(like).into_iter().flatten().flatten() {
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let own = at.join(entry.file_name());
            fs::create_dir_all(&own).unwrap();
            own_directories(&entry.path(), &own, depth - 1);
        }
    }
}

/// A private /dev: the few devices that programs need, terminals of its own, and room for a log socket.
fn devices() {
    // Built elsewhere and then moved, because the real devices must be visible while they are bound.
    let aside = "/run/eic-lab/dev";
    fs::create_dir(aside).unwrap();
    memory(aside);
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let target = format!("{aside}/{name}");
        fs::File::create(&target).unwrap();
        attach(Some(&format!("/dev/{name}")), &target, None, MsFlags::MS_BIND, None);
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, format!("{aside}/{name}")).unwrap();
    }
    fs::create_dir(format!("{aside}/shm")).unwrap();
    fs::set_permissions(format!("{aside}/shm"), fs::Permissions::from_mode(0o1777)).unwrap();
    let terminals = format!("{aside}/pts");
    fs::create_dir(&terminals).unwrap();
    let options = "newinstance,ptmxmode=0666,mode=0620";
    attach(Some("devpts"), &terminals, Some("devpts"), MsFlags::empty(), Some(options));
    attach(Some(aside), "/dev", None, MsFlags::MS_MOVE, None);
}

fn memory(target: &str) {
    attach(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), Some("mode=755"));
}

fn attach(source: Option<&str>, target: &str, kind: Option<&str>, flags: MsFlags, options: Option<&str>) {
    mount(source, target, kind, flags, options)
        .unwrap_or_else(|e| panic!("cannot mount {} on {target}: {e}", kind.or(source).unwrap_or("private")));
}
