//! What the tests of the shipped binary have in common: a key that waits for alice, and what came of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(dead_code, reason = "no test needs all of it")]

use eic_lab::{Instance, UserKey};

/// A healthy instance with a key waiting for alice.
pub(crate) fn instance() -> (Instance, UserKey) {
    let instance = Instance::start();
    let key = UserKey::ed25519();
    instance.push_for_an_hour("alice", &key);
    (instance, key)
}

/// The key comes out.
#[track_caller]
pub(crate) fn accepted(instance: &Instance, key: &UserKey, what: &str) {
    let outcome = instance.run(["alice", key.fingerprint()]);
    let lines = instance.journal.lines();
    assert_eq!((outcome.status, outcome.keys()), (Some(0), vec![key.line()]), "{what}: {lines:?}");
}

/// No key comes out: the record is refused, which is no failure, and one notice says why.
#[track_caller]
pub(crate) fn record_refused(instance: &Instance, key: &UserKey, reason: &str, what: &str) {
    refused(instance, key, (0, 5), reason, what);
}

/// No key comes out: the signer is not trusted, and one warning says why.
#[track_caller]
pub(crate) fn signer_refused(instance: &Instance, key: &UserKey, reason: &str, what: &str) {
    refused(instance, key, (3, 4), reason, what);
}

#[track_caller]
fn refused(instance: &Instance, key: &UserKey, (status, severity): (i32, u8), reason: &str, what: &str) {
    instance.journal.clear();
    let outcome = instance.run(["alice", key.fingerprint()]);
    let lines = instance.journal.eic_keys();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(status), ""), "{what}: {lines:?}");
    let says = |line: &eic_lab::journal::Line| line.severity == severity && line.message().contains(reason);
    assert!(lines.len() == 1 && says(&lines[0]), "{what}: {lines:?}");
}
