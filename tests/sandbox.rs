//! The shipped program confines itself before its first request, and the command behind `--` is as free as it was.
//!
//! What cannot be done any more is tried in `tests/hostile`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use eic_lab::run::PROGRAM;
use eic_lab::{Fault, Instance, On, Outcome, UserKey};

/// What the kernel says of a process, a name and what stands behind it.
type Status = BTreeMap<String, String>;

/// The status and limits of eic-keys while it waits for the answer to its first request, and of its child.
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
fn before_the_first_request() {
    let (ours, _) = seen_from_behind();
    for (name, value) in [
        ("Name", "eic-keys"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "1"),
        ("Max core file size", "0 0 bytes"),
        ("Max processes", "0 0 processes"),
        ("Max open files", "128 128 files"),
        ("Max cpu time", "10 10 seconds"),
        ("Max address space", "67108864 67108864 bytes"),
    ] {
        assert_eq!(ours.get(name).map(String::as_str), Some(value), "{name} of {ours:?}");
    }
}

/// The sets of capabilities that a process has.
const CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// As beside systemd-userdbd's command, whose user is root.
#[test]
fn root_gives_its_capabilities_up_and_its_command_keeps_them() {
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

/// Of what it has without any rights: the bounding set, which nobody without rights can change, and which gives none.
#[test]
fn who_is_not_root_has_none() {
    let (ours, _) = seen_from_behind();
    for name in CAPABILITIES.into_iter().filter(|name| *name != "CapBnd") {
        assert_eq!(ours.get(name).map(String::as_str), Some("0000000000000000"), "our {name}");
    }
}

/// Capabilities that come from elsewhere than root: they are in every set, and no uid gives them.
#[test]
fn ambient_capabilities_are_given_up_too() {
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
fn the_command_behind_keeps_what_it_had() {
    let (_, theirs) = seen_from_behind();
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    for (name, value) in read(&own).iter().filter(|(name, _)| name.starts_with("Max")) {
        assert_eq!(theirs.get(name), Some(value), "{name}");
    }
    for (name, value) in [("NoNewPrivs", "0"), ("Seccomp", "0")] {
        assert_eq!(theirs.get(name).map(String::as_str), Some(value), "{name}");
    }
}

/// What kernels from 4.14 on lack, in strace's words: whole layers, or the leave to use them.
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

/// eic-keys with these arguments, and each of the system calls that strace's words name going wrong.
fn with_fault(instance: &Instance, fault: &str, arguments: &[&str]) -> Outcome {
    let fault = format!("inject={fault}");
    let strace = ["-f", "-o", "/dev/null", "-e", &fault, PROGRAM];
    instance.command([&strace, arguments].concat()).program("/usr/bin/strace").as_root().run()
}

#[test]
fn an_older_kernel_goes_on_without() {
    for fault in OLDER {
        let (instance, key) = (Instance::start(), UserKey::ed25519());
        instance.push("alice", &key);
        let outcome = with_fault(&instance, fault, &["alice", key.fingerprint()]);
        assert_eq!((outcome.status, outcome.keys()), (Some(0), vec![key.line()]), "{fault}");
    }
}

#[test]
fn the_check_says_which_layers_hold() {
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
