//! `src/sandbox/calls.rs` lists every system call of every kind of run, and no other.
//!
//! The filter refuses unlisted calls (`tests/hostile`), and a missing one could prevent a login: so none that the
//! shipped binary makes may be refused. A listed call that is never made would only help an attacker.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "a test may panic"
)]
#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "the method itself is not general enough: it has a lifetime"
)]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use eic_keys::sandbox::{calls_allowed, calls_before};
use eic_lab::run::{PROGRAM, Run};
use eic_lab::{Endpoint, Fault, IPV4, IPV6, Instance, Logger, Machine, On, UserKey};

/// Allowed, but not visible here.
const UNSEEN: [&str; 1] = [
    "clock_gettime", // this machine's clock is in the vDSO
];

/// One of these is made before the filter; which one depends on glibc.
const ONE_OF: [&str; 2] = ["fstat", "newfstatat"];

/// What strace saw: before the filter and after it.
#[derive(Debug, Default)]
struct Seen {
    before: BTreeSet<String>,
    after: BTreeSet<String>,
    /// What the filter refused.
    refused: BTreeSet<String>,
}

impl Seen {
    /// Reads the output of `strace -f`: a process and a call a line. A child's calls count until it executes another program.
    fn read(&mut self, text: &str) {
        let mut main = None;
        let (mut confined, mut others) = (false, BTreeSet::new());
        for line in text.lines() {
            let (process, line) = line.split_once(' ').unwrap();
            let line = line.trim_start();
            let ours = process == *main.get_or_insert(process);
            if ours && confined && line.contains(" EPERM ") {
                self.refused.insert(line.to_owned());
            }
            let length = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
            let call = &line[..length];
            if !line[length..].starts_with('(') || (!ours && others.contains(process)) {
                continue;
            }
            if !ours && call == "execve" {
                others.insert(process);
            }
            if ours && confined { &mut self.after } else { &mut self.before }.insert(call.to_owned());
            confined |= ours && call == "seccomp" && line.contains("SECCOMP_SET_MODE_FILTER");
        }
        assert!(confined, "no filter in {text}");
    }

    /// Runs eic-keys with these arguments on an instance that `prepare` has changed.
    fn run(&mut self, arguments: &[&str], prepare: impl Fn(&Instance, &UserKey)) {
        self.run_as(&[], arguments, prepare, |run| run);
    }

    /// The same with these options of strace and further changes.
    fn run_as(
        &mut self,
        options: &[&str],
        arguments: &[&str],
        prepare: impl Fn(&Instance, &UserKey),
        change: impl Fn(Run<'_>) -> Run<'_>,
    ) {
        const TRACE: &str = "/run/trace";
        let (instance, key) = (Instance::start(), UserKey::ed25519());
        instance.push("alice", &key);
        prepare(&instance, &key);
        instance.write(TRACE, "");
        fs::set_permissions(TRACE, Permissions::from_mode(0o666)).unwrap();
        let words = [&["-f", "-o", TRACE], options, &[PROGRAM], arguments].concat();
        change(instance.command(words).program("/usr/bin/strace")).run();
        self.read(&fs::read_to_string(TRACE).unwrap());
    }
}

fn healthy(_: &Instance, _: &UserKey) {}

/// A log socket of type stream.
fn stream(instance: &Instance, _: &UserKey) {
    instance.logger(Logger::Absent);
    let log = UnixListener::bind("/dev/log").unwrap();
    fs::set_permissions("/dev/log", Permissions::from_mode(0o666)).unwrap();
    std::thread::spawn(move || log.accept().unwrap().0.read_to_end(&mut Vec::new()).unwrap());
}

/// All kinds of runs.
fn seen() -> Seen {
    let mut seen = Seen::default();
    let plain = ["alice"];
    seen.run(&plain, healthy);
    seen.run(&["bob"], healthy);
    seen.run_as(&[], &plain, healthy, |run| run.as_root());
    seen.run_as(&[], &plain, healthy, |run| run.on_terminal());
    seen.run_as(&[], &plain, healthy, |run| run.stdout_closed());
    seen.run_as(&[], &plain, healthy, |run| run.stdout_to("/dev/full"));
    seen.run(&plain, |instance, _| instance.machine(Machine::Xen));
    for logger in [Logger::Stuck, Logger::Dead, Logger::Absent] {
        seen.run(&plain, |instance, _| instance.logger(logger));
    }
    seen.run(&plain, stream);
    // Trust stores.
    seen.run(&["alice", "--trust-store", "/run/store"], |instance, _| {
        fs::create_dir("/run/store").unwrap();
        instance.write("/run/store/ours.pem", fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap());
        instance.write("/run/store/private.pem", "");
        fs::set_permissions("/run/store/private.pem", Permissions::from_mode(0o600)).unwrap();
    });
    seen.run(&["alice", "--trust-store", "/run/none"], healthy);
    seen.run(&plain, |instance, _| instance.remove_trust_stores());
    // The metadata service: its addresses and faults.
    for endpoint in [Endpoint::Absent, Endpoint::Refusing, Endpoint::Dropping] {
        seen.run(&plain, |instance, _| {
            instance.endpoint(IPV4.into(), endpoint);
            instance.endpoint(IPV6.into(), Endpoint::Serving);
        });
    }
    seen.run(&plain, |instance, _| instance.endpoint(IPV4.into(), Endpoint::Refusing));
    for fault in [
        Fault::Hang,
        Fault::HangInBody,
        Fault::Status(500),
        Fault::Status(429),
        Fault::Redirect("/".to_owned()),
        Fault::EndlessBody,
        Fault::EndlessChunks,
        Fault::DripBody(Duration::from_millis(20)),
    ] {
        seen.run(&plain, |instance, _| instance.imds.fault(On::path("alice"), fault.clone()));
    }
    seen.run(&plain, |instance, key| (0..60).for_each(|_| instance.push("alice", key)));
    // The chained command.
    seen.run(&["alice", "--", "/bin/echo", "key"], healthy);
    seen.run(&["bob", "--", "/bin/false"], healthy);
    seen.run(&["bob", "--", "/bin/none"], healthy);
    seen.run(&["bob", "--", "/usr/bin/yes"], healthy);
    seen.run(&["bob", "--", "/bin/sh", "-c", "exec >&-; sleep 0.3"], healthy);
    // It stops eic-keys in poll(2), which continues as restart_syscall.
    let stop = "exec >&-; kill -STOP $PPID; sleep 0.1; kill -CONT $PPID; sleep 0.1";
    seen.run(&["bob", "--", "/bin/sh", "-c", &format!("sleep 0.5; {stop}")], healthy);
    seen.run_as(&[], &["alice", "--", "/bin/sleep", "60"], healthy, |run| run.stdout_closed());
    // What ends a run: no memory, and a processor exception.
    let no_memory = ["-e", "inject=brk:retval=0:when=6+", "-e", "inject=mmap,mremap:error=ENOMEM:when=2+"];
    seen.run_as(&no_memory, &plain, |i, key| (0..60).for_each(|_| i.push("alice", key)), |run| run);
    seen.run_as(&["-e", "inject=recvfrom:signal=SIGSEGV:when=1"], &plain, healthy, |run| run);
    seen
}

#[test]
fn the_filter_lists_exactly_the_system_calls_that_are_made() {
    let seen = seen();
    assert!(seen.refused.is_empty(), "refused: {:#?}", seen.refused);
    let (before, allowed): (BTreeSet<_>, BTreeSet<_>) = (
        calls_before().iter().map(ToString::to_string).collect(),
        calls_allowed().iter().map(ToString::to_string).collect(),
    );
    let unseen = UNSEEN.map(str::to_owned).into();
    assert_eq!(&seen.after | &unseen, allowed, "after the filter: made, or not to be seen, and allowed");
    let one_of = ONE_OF.map(str::to_owned).into();
    assert!(!seen.before.is_disjoint(&one_of), "{:?}", seen.before);
    assert_eq!(&seen.before | &one_of, before, "before the filter: made, and named");
}
