//! `--logins` of the shipped binary, with logs as sshd of several releases, PAM and eic-keys write them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

mod files;
mod journal;
#[allow(dead_code, reason = "the document of --check is not read here")]
#[path = "../check/schema.rs"]
mod schema;

use eic_lab::{Instance, Outcome};
use serde_json::Value;

pub(crate) const ANNA: &str = "arn:aws:sts::123412341234:assumed-role/ops/anna";
pub(crate) const BERT: &str = "arn:aws:iam::123412341234:user/developers/bert";

/// A fingerprint that is this one's alone.
pub(crate) fn fingerprint(number: u32) -> String {
    format!("SHA256:{number:0>42}8")
}

/// What eic-keys logs when it provides a key to a process of sshd: `PID` and message of each line.
pub(crate) fn provided(
    sshd: u32,
    pid: u32,
    user: &str,
    key: &str,
    request: &str,
    principal: &str,
) -> [(u32, String); 2] {
    let words = "Providing ssh key from EC2 Instance Connect with";
    [
        (pid, format!("{words} fingerprint: {key}, request-id: {request}, for IAM principal: {principal}")),
        (pid, format!("Provided {key} for {user} to process {sshd}")),
    ]
}

/// sshd's line of a login.
pub(crate) fn accepted(user: &str, address: &str, key: &str) -> String {
    format!("Accepted publickey for {user} from {address} port 50022 ssh2: ED25519 {key}")
}

pub(crate) fn run(instance: &Instance, arguments: &[&str]) -> Outcome {
    instance.command([&["--logins"], arguments].concat()).as_root().run()
}

/// The document of `--json`, which the schema allows.
pub(crate) fn document(outcome: &Outcome) -> Value {
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let schema = serde_json::from_str(include_str!("../../docs/logins.schema.json")).unwrap();
    schema::validate(&schema, &document, "document").unwrap_or_else(|e| panic!("{e} in {}", outcome.stdout));
    document
}

/// The document of a run that read the whole log.
#[track_caller]
pub(crate) fn json(instance: &Instance, arguments: &[&str]) -> Value {
    let outcome = run(instance, &[&["--json"], arguments].concat());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let document = document(&outcome);
    assert_eq!(document["result"], "ok");
    document
}

/// These members of each login.
pub(crate) fn members<const N: usize>(document: &Value, names: [&str; N]) -> Vec<[Value; N]> {
    let logins = document["logins"].as_array().unwrap();
    logins.iter().map(|login| names.map(|name| login[name].clone())).collect()
}

/// What the report says, apart from that the laboratory has no host keys: sshd does not tell its settings without them.
pub(crate) fn notes(document: &Value) -> Vec<&str> {
    let notes = document["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap());
    notes.filter(|note| !note.contains("LoginGraceTime")).collect()
}
