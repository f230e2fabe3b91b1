//! What the tests of the shipped binary have in common: a key that was pushed for alice, and the result of a run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(dead_code, reason = "no test needs all of it")]

use eic_lab::{Instance, UserKey};

/// An instance, and a key that was pushed for alice.
pub(crate) fn instance() -> (Instance, UserKey) {
    let instance = Instance::start();
    let key = UserKey::ed25519();
    instance.push_for_an_hour("alice", &key);
    (instance, key)
}

/// Checks that the key is printed.
#[track_caller]
pub(crate) fn accepted(instance: &Instance, key: &UserKey, what: &str) {
    let outcome = instance.run(["alice", key.fingerprint()]);
    let lines = instance.journal.lines();
    assert_eq!((outcome.status, outcome.keys()), (Some(0), vec![key.line()]), "{what}: {lines:?}");
}

/// Checks that no key is printed: the record is refused with status 0 and one notice with the reason.
#[track_caller]
pub(crate) fn record_refused(instance: &Instance, key: &UserKey, reason: &str, what: &str) {
    refused(instance, key, (0, 5), reason, what);
}

/// Checks that no key is printed: the signer is not trusted, and there is one warning with the reason.
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
