//! Failures of the system: each system call once, memory, descriptors, and a signal at each system call. (Closed and full pipes are in
//! `tests/command_line`.)
//! In all cases sshd gets the right key or none, in time, and a run without a key reports an error.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use eic_lab::run::PROGRAM;
use eic_lab::{Instance, Outcome, UserKey};

/// No run may take longer.
const IN_TIME: Duration = Duration::from_secs(5);

/// An instance with a key pushed for alice that is valid for an hour.
fn world() -> (Instance, UserKey) {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    instance.push_for_an_hour("alice", &key);
    (instance, key)
}

/// The right key, or none and a reason: a status, a signal, or a line in the log. (Who is ended after the key was printed has
/// printed the right one; sshd drops it.)
fn check(instance: &Instance, key: &UserKey, outcome: &Outcome) -> Result<(), String> {
    let right = outcome.stdout == format!("{}\n", key.line());
    let said = outcome.status != Some(0) || !instance.journal.eic_keys().is_empty();
    let in_time = outcome.wall < IN_TIME;
    if in_time && (right || (outcome.stdout.is_empty() && said)) {
        Ok(())
    } else {
        Err(format!("{outcome:?}, logged {:?}", instance.journal.eic_keys()))
    }
}

/// Runs all `rows` in several instances concurrently. Fails with the rows that failed; returns how many printed the key.
fn each<T: Sync>(rows: &[T], run: impl Fn(&Instance, &UserKey, &T) -> (String, Outcome) + Sync) -> usize {
    let (next, printed, failures) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let (instance, key) = world();
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let once = || {
                        instance.journal.clear();
                        run(&instance, &key, row)
                    };
                    // On a busy machine a run can be late. It is tried again, unless it printed a wrong key.
                    let harmless = ["", &format!("{}\n", key.line())];
                    let (mut name, mut outcome) = once();
                    for _ in 0..2 {
                        if outcome.wall >= IN_TIME && harmless.contains(&outcome.stdout.as_str()) {
                            (name, outcome) = once();
                        }
                    }
                    if let Err(why) = check(&instance, &key, &outcome) {
                        failures.lock().unwrap().push(format!("{name}: {why}"));
                    }
                    printed.fetch_add(usize::from(!outcome.stdout.is_empty()), Ordering::SeqCst);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));
    printed.into_inner()
}

/// Runs under strace with these options.
fn traced(instance: &Instance, key: &UserKey, options: &[&str]) -> Outcome {
    let command = [options, &[PROGRAM, "alice", key.fingerprint()]].concat();
    instance.command(command).program("/usr/bin/strace").run()
}

/// The system calls of a login, and how often each is made.
fn calls() -> BTreeMap<String, usize> {
    let (instance, key) = world();
    let outcome = traced(&instance, &key, &[]);
    assert_eq!(outcome.keys(), [key.line()], "{outcome:?}");
    let mut calls = BTreeMap::new();
    for line in outcome.stderr.lines() {
        let name: String = line.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if line[name.len()..].starts_with('(') {
            *calls.entry(name).or_insert(0) += 1;
        }
    }
    // strace makes the first one, and the last one cannot fail.
    calls.retain(|name, _| !["execve", "exit_group"].contains(&name.as_str()));
    calls
}

/// Each system call of a login, each time that it is made, with each of `faults` (syntax of strace).
fn matrix(faults: &[&str]) -> usize {
    let mut rows = Vec::new();
    for (name, times) in calls() {
        for time in 1..=times {
            rows.extend(faults.iter().map(|fault| format!("inject={name}:{fault}:when={time}")));
        }
    }
    assert!(rows.len() > 50 * faults.len(), "a login has more calls than {}", rows.len());
    let printed = each(&rows, |instance, key, row| {
        (row.clone(), traced(instance, key, &["-o", "/dev/null", "-e", row]))
    });
    assert!(printed > 0 && printed < rows.len(), "{printed} of {}", rows.len());
    printed
}

#[test]
fn each_failing_system_call_prints_the_key_or_nothing() {
    matrix(&["error=ENOMEM", "error=EIO"]);
}

#[test]
fn a_signal_at_any_system_call_prints_the_key_or_nothing() {
    matrix(&["signal=SIGTERM"]);
}

#[test]
fn slow_system_calls_do_not_prevent_a_login() {
    let calls: Vec<_> = calls().into_keys().collect();
    let printed = each(&calls, |instance, key, name| {
        let late = format!("inject={name}:delay_enter=2000");
        (late.clone(), traced(instance, key, &["-o", "/dev/null", "-e", &late]))
    });
    assert_eq!(printed, calls.len(), "two milliseconds a call harm nobody");
}

/// Runs with decreasing limits, set by `ulimit`.
fn limited(option: &str, steps: impl Iterator<Item = usize>) {
    let rows: Vec<_> = steps.collect();
    let printed = each(&rows, |instance, key, most| {
        let script = format!("ulimit {option} {most}; exec {PROGRAM} \"$@\"");
        let command = ["-c", &script, "sh", "alice", key.fingerprint()];
        (format!("ulimit {option} {most}"), instance.command(command).program("/bin/sh").run())
    });
    assert!(
        printed > 0 && printed < rows.len(),
        "some of the steps leave enough: {printed} of {}",
        rows.len()
    );
}

#[test]
fn little_memory_prints_the_key_or_nothing() {
    limited("-v", (1500..12_000).step_by(250));
}

#[test]
fn few_descriptors_print_the_key_or_nothing() {
    limited("-n", 4..40);
}

/// If sshd has waited too long, it ends the process group with a signal.
#[test]
fn a_signal_to_the_process_group_leaves_no_process() {
    let (instance, key) = world();
    let script = format!(
        "trap : TERM; {PROGRAM} nobody {} -- /bin/sleep 60 & sleep 0.3; kill -TERM 0; wait $!; echo $?",
        key.fingerprint()
    );
    // `sleep` holds stderr open. The run fails if a process still does.
    let outcome = instance.command(["-c", &script]).program("/bin/sh").run();
    assert_eq!(outcome.stdout.trim(), "143", "{outcome:?}");
    assert!(outcome.wall < Duration::from_secs(30), "{outcome:?}");
}
