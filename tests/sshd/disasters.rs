//! `--enable` and `--disable`: killed at every system call that changes a file, on a full or read-only file system,
//! and without root.
//!
//! This needs another process. With a command, this program does what `eic-keys` would do, in the root directory of a
//! small system; without a command, it is the test.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::semicolon_if_nothing_returned,
    missing_docs,
    reason = "a test may panic, and prints how far it came"
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

use eic_keys::sshd::{self, EnableOptions, EnableOutcome};
use systems::System;

const USERDB: &str =
    "AuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %u\nAuthorizedKeysCommandUser root\n";

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let operation = match command.as_deref() {
        Some("--enable") => sshd::enable,
        Some("--disable") => sshd::disable,
        _ => {
            full_and_read_only_file_systems();
            without_root();
            killed_with_a_temporary_host_key();
            killed_at_every_call();
            return ExitCode::SUCCESS;
        }
    };
    let dry_run = std::env::args().any(|word| word == "--dry-run");
    let outcome = operation(&EnableOptions::system(dry_run, true), &mut std::io::stdout());
    if let EnableOutcome::Refused(reason) | EnableOutcome::Failed(reason) = &outcome {
        eprintln!("{reason}");
    }
    ExitCode::from(outcome.code())
}

/// A system with this program as its `eic-keys`, and with its libraries.
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

/// The calls that change or sync files, and calls between them.
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

/// In an image, the next run removes the temporary host key of a killed run.
fn killed_with_a_temporary_host_key() {
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
    // Even a run with nothing to do.
    succeeds(&run(&system, "--disable"));
    assert!(!keys.exists());
    assert!(!system.configuration().into_iter().any(|(path, _)| path.contains(".eic-keys-")));
    let output = run(&system, "--enable");
    succeeds(&output);
    let message = String::from_utf8(output.stdout).unwrap();
    assert!(message.contains("sshd has no host keys yet"), "{message}");
    assert!(!keys.exists());
    assert_ne!(old, read_by_sshd(&system));
    println!("without host keys: killed, and completed by the next run");
}

fn killed_at_every_call() {
    let drop_in = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n";
    let set_before_include = format!("{USERDB}Include /etc/ssh/sshd_config.d/*.conf\n");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ["--enable", "--disable"].map(|command| killed_at_each_call_of("trixie", drop_in, command))
        });
        scope.spawn(|| {
            ["--enable", "--disable"]
                .map(|command| killed_at_each_call_of("bookworm", &set_before_include, command))
        });
    });
}

/// Kills the command at each call in turn, and checks that the next run completes or undoes it.
fn killed_at_each_call_of(release: &'static str, main: &str, command: &str) {
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
    check_syncs(&points);
    assert!(points.len() > 40, "{} calls only", points.len());
    let (mut at_old, mut at_new, mut reloaded_late) = (0, 0, 0);
    // The call that records the reload in the lock file.
    let recorded = points.iter().position(|(call, _)| call == "ftruncate").unwrap();
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
        // The next run completes the change, or undoes it.
        let finish = if number % 2 == 0 { command } else { undo };
        let finished = run(&system, finish);
        succeeds(&finished);
        let names = || system.configuration().into_iter().map(|(path, _)| path);
        let temp_files: Vec<_> = names().filter(|path| path.contains(".eic-keys-")).collect();
        assert!(temp_files.is_empty(), "killed at {call} {number}, then {finish}: {temp_files:?}");
        if finish == command {
            let reloads =
                String::from_utf8_lossy(&finished.stdout).contains("systemd is not running: sshd reads");
            assert!(reloads || at >= recorded, "killed at {call} {number}, and sshd was not reloaded");
            reloaded_late += usize::from(reloads && found == new);
            assert_eq!(new, read_by_sshd(&system), "killed at {call} {number}, then {finish}");
            succeeds(&run(&system, undo));
        }
        assert_eq!(old, read_by_sshd(&system), "killed at {call} {number}");
    }
    let temp_files: Vec<_> =
        system.configuration().into_iter().filter(|(path, _)| path.contains("eic-keys-")).collect();
    assert!(temp_files.is_empty(), "{temp_files:?}");
    assert!(
        at_old > 0 && at_new > 0 && reloaded_late > 0,
        "{at_old} before, {at_new} after, {reloaded_late} reloaded by the next run"
    );
    if command == "--enable" {
        assert_eq!(before, read_by_sshd(&system));
    }
    println!(
        "{release} {command}: killed at {} calls, {at_old} left the old files, {at_new} the new ones",
        points.len()
    );
}

/// Checks that a file is synced before it is renamed, and its directory afterwards.
fn check_syncs(points: &[(String, usize)]) {
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

/// The calls after the lock was taken: each name, and its number among the calls of that name.
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

fn full_and_read_only_file_systems() {
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
        // The mount is in a mount namespace of this command.
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
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{options}: {message}{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert!(message.contains(reason), "{options}: {message}");
        assert_eq!(before, system.configuration());
        println!("refused: {}", message.trim_end());
    }
}

fn without_root() {
    let system = system("trixie", "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n");
    let before = system.configuration();
    let run_as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg("--userspec=65534:65534").arg(&system.root).arg("/usr/bin/eic-keys").args(arguments);
        command.output().unwrap()
    };
    let output = run_as_nobody(&["--enable"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("only root"));

    let output = run_as_nobody(&["--enable", "--dry-run"]);
    succeeds(&output);
    let message = String::from_utf8(output.stdout).unwrap();
    assert!(message.contains("The following is from its files alone."), "{message}");
    assert!(
        message.contains(
            "\n+AuthorizedKeysCommand /usr/bin/eic-keys %u %f -- /usr/bin/userdbctl ssh-authorized-keys %u\n"
        ),
        "{message}"
    );

    let main = system.path("/etc/ssh/sshd_config");
    fs::set_permissions(&main, fs::Permissions::from_mode(0o600)).unwrap();
    let output = run_as_nobody(&["--enable", "--dry-run"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("/etc/ssh/sshd_config: Permission denied"), "{message}");
    assert_eq!(before, system.configuration());
    println!("without root: a dry run reads what it can");
}
