//! What no test can do to itself: killed at every system call that touches a file, a disk that is full, one
//! that is read-only, no rights at all.
//!
//! Started with a command, this program does what `eic-keys` would do with it, so that it can be killed in a
//! system's root directory; started without one, it is the test.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::semicolon_if_nothing_returned,
    missing_docs,
    reason = "a test stops at the first surprise, and says how far it came"
)]

#[path = "../systems/mod.rs"]
mod systems;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    process::{Command, ExitCode, Output},
};

use eic_keys::sshd::wiring::{self, WiringOptions, WiringOutcome};
use systems::System;

const USERDB: &str =
    "AuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %u\nAuthorizedKeysCommandUser root\n";

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let wire = match command.as_deref() {
        Some("--enable") => wiring::enable,
        Some("--disable") => wiring::disable,
        _ => {
            no_room_and_no_right();
            without_root();
            killed_without_host_keys();
            killed_at_every_call();
            return ExitCode::SUCCESS;
        }
    };
    let dry_run = std::env::args().any(|word| word == "--dry-run");
    let outcome = wire(&WiringOptions::system(dry_run, true), &mut std::io::stdout());
    if let WiringOutcome::Refused(reason) | WiringOutcome::RolledBack(reason) = &outcome {
        eprintln!("{reason}");
    }
    ExitCode::from(outcome.code())
}

/// A system with this program as its `eic-keys`, and what that needs to run there.
fn system(release: &'static str, main: &str) -> System {
    let system = System::new(release);
    system.write("/etc/ssh/sshd_config", main);
    system.write("/etc/ssh/sshd_config.d/20-systemd-userdb.conf", USERDB);
    let this = std::env::current_exe().unwrap();
    fs::remove_file(system.path("/usr/bin/eic-keys")).unwrap();
    fs::copy(&this, system.path("/usr/bin/eic-keys")).unwrap();
    let ldd = Command::new("ldd").arg(&this).output().unwrap();
    for word in
        String::from_utf8(ldd.stdout).unwrap().split_whitespace().filter(|word| word.starts_with("/lib"))
    {
        if !system.path(word).exists() {
            fs::copy(word, system.path(word)).unwrap();
        }
    }
    system
}

/// Calls that change what is on disk, or make sure of it, or come between two of those.
const CALLS: &str = "openat,open,link,linkat,rename,renameat,renameat2,unlink,unlinkat,fsync,fchown,fchmod,fsetxattr,write,pwrite64,ftruncate,close,flock";

fn strace(system: &System, command: &str, arguments: &[&str]) -> Output {
    Command::new("strace")
        .args(arguments)
        .arg("chroot")
        .arg(&system.root)
        .args(["/usr/bin/eic-keys", command])
        .output()
        .unwrap()
}

fn run(system: &System, command: &str) -> Output {
    Command::new("chroot").arg(&system.root).args(["/usr/bin/eic-keys", command]).output().unwrap()
}

fn succeeds(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Each file of `/etc/ssh` that sshd reads.
fn read_by_sshd(system: &System) -> BTreeMap<String, Vec<u8>> {
    let files = system.configuration().into_iter();
    files
        .filter(|(path, _)| path == "sshd_config" || (path.ends_with(".conf") && !path.contains("/.")))
        .collect()
}

/// In an image: the key that was made for the check does not outlive the next run.
fn killed_without_host_keys() {
    let system = system("trixie", "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n");
    fs::remove_file(system.path("/etc/ssh/ssh_host_ed25519_key")).unwrap();
    let keys = system.path("/run/eic-keys.check");
    let old = read_by_sshd(&system);
    let output = strace(
        &system,
        "--enable",
        &["--trace=fsync", "-o", "/dev/null", "--inject=fsync:signal=KILL:when=1"],
    );
    assert_eq!(output.status.signal(), Some(9));
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(old, read_by_sshd(&system));
    // Also where there is nothing to do.
    succeeds(&run(&system, "--disable"));
    assert!(!keys.exists());
    assert!(!system.configuration().into_iter().any(|(path, _)| path.contains(".eic-keys-")));
    let output = run(&system, "--enable");
    succeeds(&output);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("sshd has no host keys yet"), "{said}");
    assert!(!keys.exists());
    assert_ne!(old, read_by_sshd(&system));
    println!("without host keys: killed, and done by the next run");
}

fn killed_at_every_call() {
    let drop_in = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n";
    let too_late = format!("{USERDB}Include /etc/ssh/sshd_config.d/*.conf\n");
    std::thread::scope(|scope| {
        scope.spawn(|| ["--enable", "--disable"].map(|command| killed("trixie", drop_in, command)));
        scope.spawn(|| ["--enable", "--disable"].map(|command| killed("bookworm", &too_late, command)));
    });
}

/// Two at a time: each is one short program after another.
fn killed(release: &'static str, main: &str, command: &str) {
    let system = system(release, main);
    let before = read_by_sshd(&system);
    let trace = format!("--trace={CALLS}");
    if command == "--disable" {
        succeeds(&run(&system, "--enable"));
    }
    let old = read_by_sshd(&system);
    let log = system.path("/tmp/trace");
    succeeds(&strace(&system, command, &[&trace, "-o", log.to_str().unwrap()]));
    let new = read_by_sshd(&system);
    assert_ne!(old, new);
    let undo = if command == "--enable" { "--disable" } else { "--enable" };
    succeeds(&run(&system, undo));
    assert_eq!(old, read_by_sshd(&system));

    let points = points(&fs::read_to_string(&log).unwrap());
    reaches_the_disk(&points);
    assert!(points.len() > 40, "{} calls only", points.len());
    let (mut at_old, mut at_new, mut told) = (0, 0, 0);
    // Here it noted that sshd was told.
    let noted = points.iter().position(|(call, _)| call == "ftruncate").unwrap();
    for (at, (call, number)) in points.iter().enumerate() {
        let inject = format!("--inject={call}:signal=KILL:when={number}");
        let output = strace(&system, command, &[&format!("--trace={call}"), "-o", "/dev/null", &inject]);
        assert_eq!(output.status.signal(), Some(9), "{command} was not killed at {call} {number}");
        let found = read_by_sshd(&system);
        for (path, bytes) in &found {
            let whole = old.get(path) == Some(bytes) || new.get(path) == Some(bytes);
            assert!(whole, "killed at {call} {number}: {path} is {}", String::from_utf8_lossy(bytes));
        }
        let output = system.run_sshd(&["-t"]);
        assert!(
            output.status.success(),
            "killed at {call} {number}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if found == old {
            at_old += 1
        } else {
            at_new += 1
        }
        // What was begun can be finished, or undone.
        let finish = if number % 2 == 0 { command } else { undo };
        let finished = run(&system, finish);
        succeeds(&finished);
        let names = || system.configuration().into_iter().map(|(path, _)| path);
        let litter: Vec<_> = names().filter(|path| path.contains(".eic-keys-")).collect();
        assert!(litter.is_empty(), "killed at {call} {number}, then {finish}: {litter:?}");
        if finish == command {
            let tells =
                String::from_utf8_lossy(&finished.stdout).contains("No systemd runs here: sshd reads");
            assert!(tells || at >= noted, "killed at {call} {number}, and sshd was never told");
            told += usize::from(tells && found == new);
            assert_eq!(new, read_by_sshd(&system), "killed at {call} {number}, then {finish}");
            succeeds(&run(&system, undo));
        }
        assert_eq!(old, read_by_sshd(&system), "killed at {call} {number}");
    }
    let litter: Vec<_> =
        system.configuration().into_iter().filter(|(path, _)| path.contains("eic-keys-")).collect();
    assert!(litter.is_empty(), "{litter:?}");
    assert!(at_old > 0 && at_new > 0 && told > 0, "{at_old} before, {at_new} after, {told} told late");
    if command == "--enable" {
        assert_eq!(before, read_by_sshd(&system));
    }
    println!(
        "{release} {command}: killed at {} calls, {at_old} left the old files, {at_new} the new ones",
        points.len()
    );
}

/// What takes a name was brought to the disk before, and the directory is after each change of names that
/// counts.
fn reaches_the_disk(points: &[(String, usize)]) {
    let calls: Vec<&str> = points
        .iter()
        .map(|(call, _)| call.as_str())
        .filter(|call| ["fsync", "rename", "unlink", "link"].contains(call))
        .collect();
    let renames: Vec<usize> = (0..calls.len()).filter(|at| calls.get(*at) == Some(&"rename")).collect();
    for at in &renames {
        assert!(calls.iter().take(*at).any(|call| *call == "fsync"), "nothing was synced before {calls:?}");
        assert_eq!(calls.get(at + 1), Some(&"fsync"), "the directory was not: {calls:?}");
    }
    assert!(calls.contains(&"fsync"), "{calls:?}");
}

/// Each call after the lock was taken, as its name and how many of that name there were.
fn points(log: &str) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found = Vec::new();
    let mut locked = false;
    for line in log.lines() {
        let Some((call, _)) = line.split_once('(') else { continue };
        let count = counts.entry(call).or_default();
        *count += 1;
        locked |= call == "flock";
        if locked {
            found.push((call.to_owned(), *count));
        }
    }
    found
}

fn no_room_and_no_right() {
    let main = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n";
    for (options, fill, reason) in [
        (
            "size=8k",
            "dd if=/dev/zero of=fill bs=4k 2>/dev/null || :",
            "no space is left on the file system of",
        ),
        ("size=64k", "mount -o remount,ro .", "is on a file system that is mounted read-only"),
    ] {
        let system = system("bookworm", main);
        let before = system.configuration();
        let directory = system.path("/etc/ssh/sshd_config.d");
        // The mount is this command's own, and gone with it.
        let script = format!(
            "set -e; cp 20-systemd-userdb.conf ../../../tmp/; mount -t tmpfs -o {options},mode=755 none .; cd .; cd \"$1\"
             cp ../../../tmp/20-systemd-userdb.conf .; {fill}; status=0
             chroot \"$2\" /usr/bin/eic-keys --enable || status=$?
             [ -z \"$(ls -A | grep eic-keys)\" ] || exit 99; exit $status"
        );
        let arguments = [
            OsStr::new("-m"),
            "sh".as_ref(),
            "-c".as_ref(),
            script.as_ref(),
            "sh".as_ref(),
            directory.as_ref(),
            system.root.as_ref(),
        ];
        let output = Command::new("unshare").args(arguments).current_dir(&directory).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{options}: {said}{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert!(said.contains(reason), "{options}: {said}");
        assert_eq!(before, system.configuration());
        println!("refused: {}", said.trim_end());
    }
}

fn without_root() {
    let system = system("trixie", "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n");
    let before = system.configuration();
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg("--userspec=65534:65534").arg(&system.root).arg("/usr/bin/eic-keys").args(arguments);
        command.output().unwrap()
    };
    let output = nobody(&["--enable"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("only root"));

    let output = nobody(&["--enable", "--dry-run"]);
    succeeds(&output);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("The following is from its files alone."), "{said}");
    assert!(
        said.contains(
            "\n+AuthorizedKeysCommand /usr/bin/eic-keys %u %f -- /usr/bin/userdbctl ssh-authorized-keys %u\n"
        ),
        "{said}"
    );

    let main = system.path("/etc/ssh/sshd_config");
    fs::set_permissions(&main, fs::Permissions::from_mode(0o600)).unwrap();
    let output = nobody(&["--enable", "--dry-run"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("/etc/ssh/sshd_config: Permission denied"), "{said}");
    assert_eq!(before, system.configuration());
    println!("without root: a dry run reads what it can");
}
