//! The shipped program enters its sandbox before its first request, and the chained command is not sandboxed.
//!
//! `tests/hostile` tries what the sandbox forbids.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use eic_keys::limits;
use eic_lab::run::PROGRAM;
use eic_lab::{Fault, Instance, On, Outcome, UserKey};

/// A process's status from the kernel: names and values.
type Status = BTreeMap<String, String>;

/// The status and limits of eic-keys while it waits for its first reply, and those of its child.
fn seen_from_behind() -> (Status, Status) {
    seen(false)
}

/// The same, as root or not.
fn seen(as_root: bool) -> (Status, Status) {
    let instance = Instance::start();
    instance.imds.fault(On::any().first(1), Fault::Delay(Duration::from_millis(800)));
    let look =
        "sleep 0.4; cat /proc/$PPID/status /proc/$PPID/limits; echo; cat /proc/self/status /proc/self/limits";
    let run = instance.command(["alice", "--", "/bin/sh", "-c", look]);
    let outcome = if as_root { run.as_root() } else { run }.run();
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let (ours, theirs) = outcome.stdout.split_once("\n\n").unwrap();
    (read(ours), read(theirs))
}

fn read(text: &str) -> Status {
    let pair = |line: &str| {
        let (name, value) = line.split_once(':').or_else(|| line.split_once("  "))?;
        Some((name.trim().to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    text.lines().filter_map(pair).collect()
}

#[test]
fn the_sandbox_is_active_before_the_first_request() {
    let (ours, _) = seen_from_behind();
    for (name, value) in [
        ("Name", "eic-keys"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "1"),
        ("Max core file size", "0 0 bytes"),
        ("Max processes", "0 0 processes"),
    ] {
        assert_eq!(ours.get(name).map(String::as_str), Some(value), "{name} of {ours:?}");
    }
    for (name, most, unit) in [
        ("Max open files", limits::OPEN_FILES, "files"),
        ("Max cpu time", limits::CPU_TIME, "seconds"),
        ("Max address space", limits::ADDRESS_SPACE, "bytes"),
    ] {
        assert_eq!(ours.get(name), Some(&format!("{most} {most} {unit}")), "{name} of {ours:?}");
    }
}

/// The sets of capabilities that a process has.
const CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// As with systemd-userdbd's command, whose user is root.
#[test]
fn root_drops_its_capabilities_and_its_command_keeps_them() {
    let own = read(&std::fs::read_to_string("/proc/self/status").unwrap());
    let (ours, theirs) = seen(true);
    assert_eq!(ours.get("Uid").map(String::as_str), Some("0 0 0 0"), "{ours:?}");
    for name in CAPABILITIES {
        assert_eq!(ours.get(name).map(String::as_str), Some("0000000000000000"), "our {name}");
        assert_eq!(theirs.get(name), own.get(name), "the command's {name}");
    }
    assert_ne!(
        theirs.get("CapEff").map(String::as_str),
        Some("0000000000000000"),
        "there was something to give up"
    );
}

/// Except the bounding set, which a process without capabilities cannot change, and which gives none.
#[test]
fn other_users_have_no_capabilities() {
    let (ours, _) = seen_from_behind();
    for name in CAPABILITIES.into_iter().filter(|name| *name != "CapBnd") {
        assert_eq!(ours.get(name).map(String::as_str), Some("0000000000000000"), "our {name}");
    }
}

/// Capabilities of an ordinary user: they are in every set.
#[test]
fn ambient_capabilities_are_dropped() {
    let instance = Instance::start();
    instance.imds.fault(On::any().first(1), Fault::Delay(Duration::from_millis(800)));
    let look = "sleep 0.4; cat /proc/$PPID/status; echo; cat /proc/self/status";
    let words = ["--reuid=47100", "--inh-caps=+net_raw", "--ambient-caps=+net_raw", PROGRAM, "alice", "--"];
    let words = [&words[..], &["/bin/sh", "-c", look]].concat();
    let outcome = instance.command(words).program("/usr/bin/setpriv").as_root().run();
    let (ours, theirs) = outcome.stdout.split_once("\n\n").unwrap_or_else(|| panic!("{outcome:?}"));
    let (ours, theirs) = (read(ours), read(theirs));
    for name in CAPABILITIES.into_iter().filter(|name| *name != "CapBnd") {
        assert_eq!(ours.get(name).map(String::as_str), Some("0000000000000000"), "our {name}");
    }
    assert_eq!(theirs.get("CapAmb").map(String::as_str), Some("0000000000002000"), "the command's");
}

#[test]
fn the_chained_command_is_not_sandboxed() {
    let (_, theirs) = seen_from_behind();
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    for (name, value) in read(&own).iter().filter(|(name, _)| name.starts_with("Max")) {
        assert_eq!(theirs.get(name), Some(value), "{name}");
    }
    for (name, value) in [("NoNewPrivs", "0"), ("Seccomp", "0")] {
        assert_eq!(theirs.get(name).map(String::as_str), Some(value), "{name}");
    }
}

/// What kernels from 4.14 on may lack, as faults for strace: whole layers, or the permission to use them.
const OLDER: [&str; 8] = [
    "landlock_create_ruleset:error=ENOSYS",     // before 5.13
    "landlock_create_ruleset:error=EOPNOTSUPP", // not switched on at boot
    "landlock_add_rule:error=EINVAL",
    "landlock_restrict_self:error=EPERM",
    "seccomp:error=ENOSYS",
    "prctl:error=EINVAL",
    "prlimit64:error=EPERM",
    "capset:error=EPERM",
];

/// Runs eic-keys with these arguments. strace makes the named system calls fail.
fn with_fault(instance: &Instance, fault: &str, arguments: &[&str]) -> Outcome {
    let fault = format!("inject={fault}");
    let strace = ["-f", "-o", "/dev/null", "-e", &fault, PROGRAM];
    instance.command([&strace, arguments].concat()).program("/usr/bin/strace").as_root().run()
}

#[test]
fn a_login_works_without_each_layer() {
    for fault in OLDER {
        let (instance, key) = (Instance::start(), UserKey::ed25519());
        instance.push("alice", &key);
        let outcome = with_fault(&instance, fault, &["alice", key.fingerprint()]);
        assert_eq!((outcome.status, outcome.keys()), (Some(0), vec![key.line()]), "{fault}");
    }
}

#[test]
fn check_reports_the_active_layers() {
    let instance = Instance::start();
    for (fault, said) in [
        ("swapoff:error=EPERM", "the kernel enforces 5 of 5 layers"), // which nobody calls
        ("landlock_create_ruleset:error=ENOSYS", "the kernel enforces 3 of 5 layers"),
        ("seccomp:error=ENOSYS", "the kernel enforces 4 of 5 layers"),
        ("seccomp,landlock_create_ruleset:error=ENOSYS", "the kernel enforces 2 of 5 layers"),
    ] {
        let outcome = with_fault(&instance, fault, &["--check", "--verbose"]);
        assert!(outcome.stdout.contains(said), "{fault}: {}", outcome.stdout);
    }
}
