//! The command line and the environment of the program, and its exit statuses.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

mod chained_command;
mod environment;
mod host;
mod output;
mod trust_store;
mod usage;
mod user;

use eic_lab::{Instance, Outcome, UserKey};

/// A healthy instance with a key waiting for alice.
fn instance() -> (Instance, UserKey) {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    instance.push_for_an_hour("alice", &key);
    (instance, key)
}

/// Runs a shell command in the laboratory, as root.
fn shell(instance: &Instance, script: &str) -> Outcome {
    let outcome = instance.command(["-c", script]).program("/bin/sh").as_root().run();
    assert_eq!(outcome.status, Some(0), "{script}: {}", outcome.stderr);
    outcome
}

/// Status, stdout and stderr of a run, to compare all at once.
fn result(outcome: &Outcome) -> (Option<i32>, &str, &str) {
    (outcome.status, &outcome.stdout, &outcome.stderr)
}
