//! Small copies of real systems, in which the sshd of a release runs with the configuration of a test.
//!
//! `tests/systems/prepare` makes the original roots, and is run here if they are missing. A copy has sshd, ssh-keygen,
//! their libraries (as hard links, which are only read), host keys, users and `/dev/null`. It is removed on drop.
//!
//! `EIC_SSHD_ROOTS` names other roots, separated by colons, for the tests that use each sshd: those of
//! `tests/openssh/prepare`, with an sshd that was built from source.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "shared by several tests, each of which uses a part; a test may panic"
)]

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
};

use eic_keys::sshd::EnableOptions;

/// The releases of Debian, with OpenSSH 8.4, 9.2 and 10.0.
const RELEASES: [&str; 3] = ["bullseye", "bookworm", "trixie"];

/// The releases of Debian, or the roots that `EIC_SSHD_ROOTS` names.
pub fn releases() -> Vec<String> {
    std::env::var("EIC_SSHD_ROOTS").map_or_else(
        |_| RELEASES.map(str::to_owned).into(),
        |named| named.split(':').map(str::to_owned).collect(),
    )
}

/// A copy of a system.
pub struct System {
    pub release: String,
    pub root: PathBuf,
}

impl System {
    /// A copy of a release, or of another root by its path, with nothing in `/etc/ssh` but the host keys.
    pub fn new(release: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let pristine = prepared(release);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = roots().join(format!(".test-{}-{count}", std::process::id()));
        let system = Self { release: release.to_owned(), root };
        for directory in
            ["dev", "etc/ssh/sshd_config.d", "run/sshd", "tmp", "usr/bin", "usr/sbin", "var/empty"]
        {
            fs::create_dir_all(system.path(directory)).unwrap();
        }
        run(Command::new("mknod").arg("-m666").arg(system.path("dev/null")).args(["c", "1", "3"]));
        for (path, file) in runtime(&pristine) {
            fs::create_dir_all(system.path(&path).parent().unwrap()).unwrap();
            link(&pristine.join(file.trim_start_matches('/')), &system.path(&path));
        }
        for key in ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"] {
            let name = format!("etc/ssh/{key}");
            fs::copy(pristine.join(&name), system.path(&name)).unwrap();
        }
        let passwd = fs::read_to_string(pristine.join("etc/passwd")).unwrap()
            + "alice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n\
               git:x:1002:1002::/home/git:/bin/sh\neic-keys:x:990:990::/nonexistent:/usr/sbin/nologin\n";
        fs::write(system.path("etc/passwd"), passwd).unwrap();
        let group =
            "root:x:0:\nalice:x:1000:\nbob:x:1001:\ngit:x:1002:\nadmin:x:27:alice,root\neic-keys:x:990:\n";
        fs::write(system.path("etc/group"), group).unwrap();
        fs::write(system.path("etc/nsswitch.conf"), "passwd: files\ngroup: files\n").unwrap();
        system.install("/usr/bin/eic-keys", "#!/bin/sh\n");
        system
    }

    /// The path on this machine of a path of the system.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a file of the system, and the directories to it.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    /// Writes a program of the system.
    pub fn install(&self, path: &str, text: impl AsRef<[u8]>) {
        self.write(path, text);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The words that run the system's sshd from outside.
    pub fn sshd(&self) -> Vec<std::ffi::OsString> {
        vec!["chroot".into(), self.root.clone().into(), "/usr/sbin/sshd".into()]
    }

    /// What `--enable` and `--disable` need to work on this system from outside.
    pub fn options(&self) -> EnableOptions {
        EnableOptions {
            root: self.root.clone(),
            sshd: self.sshd(),
            keygen: vec!["chroot".into(), self.root.clone().into(), "/usr/bin/ssh-keygen".into()],
            systemctl: vec!["false".into()],
            ..EnableOptions::system(false, true)
        }
    }

    /// Runs the system's sshd.
    pub fn run_sshd(&self, arguments: &[&str]) -> Output {
        let words = self.sshd();
        let (program, rest) = words.split_first().unwrap();
        Command::new(program)
            .args(rest)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap()
    }

    /// Every file under `/etc/ssh` except the keys: its path there and its bytes.
    pub fn configuration(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        collect(&self.path("etc/ssh"), &self.path("etc/ssh"), &mut found);
        found.retain(|(path, _)| !path.starts_with("ssh_host_"));
        found.sort();
        found
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("{}: {error}", self.root.display());
        }
    }
}

fn collect(top: &Path, directory: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(top, &path, found);
        } else {
            found.push((
                path.strip_prefix(top).unwrap().to_str().unwrap().to_owned(),
                fs::read(&path).unwrap(),
            ));
        }
    }
}

fn roots() -> PathBuf {
    std::env::var_os("EIC_SYSTEMS").map_or_else(|| "/var/cache/eic-keys/systems".into(), PathBuf::from)
}

/// The original root of a release, made if it is missing.
fn prepared(release: &str) -> PathBuf {
    static ONCE: Once = Once::new();
    if release.starts_with('/') {
        return release.into();
    }
    ONCE.call_once(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systems/prepare");
        let status = Command::new(script).status().unwrap();
        assert!(
            status.success(),
            "tests/systems/prepare failed: these tests need root and a Debian mirror, see above"
        );
    });
    roots().join(release)
}

/// What sshd needs to run: itself, what it executes, and the libraries that these load, now or for NSS. Each
/// by its name and by the file to which the name resolves inside the root.
fn runtime(pristine: &Path) -> Vec<(String, String)> {
    let here = |path: &str| pristine.join(path.trim_start_matches('/')).exists();
    let programs = [
        "/usr/sbin/sshd",
        "/usr/lib/openssh/sshd-session",
        "/usr/lib/openssh/sshd-auth",
        "/usr/bin/ssh-keygen",
    ];
    let mut needed: Vec<String> = programs.into_iter().filter(|path| here(path)).map(str::to_owned).collect();
    let ldd = run(Command::new("chroot").arg(pristine).arg("/usr/bin/ldd").args(&needed));
    let words = String::from_utf8(ldd.stdout).unwrap();
    needed.extend(
        words
            .split_whitespace()
            .filter(|word| word.starts_with("/lib"))
            .map(|word| word.trim_end_matches(':').to_owned()),
    );
    let nss = run(Command::new("chroot").arg(pristine).args([
        "/bin/sh",
        "-c",
        "ls /lib/*/libnss_files.so.2 2>/dev/null || :",
    ]));
    needed.extend(String::from_utf8(nss.stdout).unwrap().lines().map(str::to_owned));
    needed.sort();
    needed.dedup();
    let files = run(Command::new("chroot").arg(pristine).args(["/usr/bin/readlink", "-f"]).args(&needed));
    let files: Vec<String> = String::from_utf8(files.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(files.len(), needed.len(), "a library of {} is missing", pristine.display());
    needed.into_iter().zip(files).collect()
}

fn link(from: &Path, to: &Path) {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to).unwrap();
        }
        result => result.unwrap(),
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
