//! `--check` refuses what a login refuses, and gives the same reason, because both call the same functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::arithmetic_side_effects, reason = "a test may overflow")]
#![allow(clippy::type_complexity, reason = "a table of cases")]

use eic_lab::cert::usage;
use eic_lab::pki::PkiSpec;
use eic_lab::{
    CertSpec, DAY, HOUR, Instance, Key, OcspSpec, Pki, RecordSpec, ResponderId, Status, UserKey, now,
};
use serde_json::Value;

use crate::common::instance;

/// The reason that a login logs after `prefix`, once it has printed no key.
fn reason_of_login(instance: &Instance, key: &UserKey, prefix: &str, what: &str) -> String {
    instance.journal.clear();
    let outcome = instance.run(["alice", key.fingerprint()]);
    assert_eq!(outcome.stdout, "", "{what}");
    let lines = instance.journal.eic_keys();
    assert_eq!(lines.len(), 1, "{what}: {lines:?}");
    let message = lines[0].message();
    message.strip_prefix(prefix).unwrap_or_else(|| panic!("{what}: {message}")).to_owned()
}

/// The check with this id in the report.
fn check(instance: &Instance, key: &UserKey, id: &str) -> Value {
    let outcome = instance.command(["--check", "--json", "alice", key.fingerprint()]).as_root().run();
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    report["checks"].as_array().unwrap().iter().find(|check| check["id"] == id).unwrap().clone()
}

#[track_caller]
fn same_reason_for_signer(instance: &Instance, key: &UserKey, id: &str, what: &str) {
    let reason = reason_of_login(instance, key, "No key for alice: ", what);
    let check = check(instance, key, id);
    assert_eq!((&check["status"], &check["note"]), (&"fail".into(), &reason.into()), "{what}: {id}");
}

#[test]
fn check_gives_the_reason_of_a_login_for_a_bad_certificate_chain() {
    let (instance, key) = instance();
    let cases: &[(&str, fn(&mut PkiSpec))] = &[
        ("wrong name", |pki| {
            pki.signer = CertSpec::signer("signer.us-east-1.amazonaws.com", Key::rsa2048(3));
        }),
        ("key usage", |pki| pki.signer.key_usage = Some(usage::KEY_ENCIPHERMENT)),
        ("path length", |pki| pki.root.basic_constraints = Some((true, Some(0)))),
        ("alternative name", |pki| pki.signer.alternative_names = vec!["www.example.org".to_owned()]),
        ("expired", |pki| pki.signer.not_after = now() - 1),
        ("an error that only webpki describes", |pki| pki.signer.version = 1),
        ("no path to an anchor", |pki| pki.root.not_after = now() - DAY),
    ];
    for (what, change) in cases {
        instance.adopt(Pki::with(change));
        instance.imds.unpublish("alice");
        instance.push_for_an_hour("alice", &key);
        same_reason_for_signer(&instance, &key, "signer.path", what);
    }
    instance.imds.set("managed-ssh-keys/signer-cert", "not PEM");
    same_reason_for_signer(&instance, &key, "signer.path", "not PEM");
    instance.imds.remove("managed-ssh-keys/signer-cert");
    same_reason_for_signer(&instance, &key, "signer.path", "no certificate chain");
}

#[test]
fn check_gives_the_reason_of_a_login_for_a_bad_ocsp_response() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let cases: &[(&str, &dyn Fn(&mut OcspSpec))] = &[
        ("revoked", &|response| response.answer().status = Status::Revoked(now() - DAY, None)),
        ("unknown", &|response| response.answer().status = Status::Unknown),
        ("out of date", &|response| response.answer().next_update = Some(now() - 1)),
        ("from the future", &|response| response.answer().this_update = now() + HOUR),
        ("another certificate", &|response| response.answer().id.serial[15] ^= 1),
        ("damaged signature", &|response| response.damaged = true),
        ("wrong responder", &|response| {
            response.responder = pki.root.clone();
            response.responder_id = ResponderId::Name;
        }),
    ];
    for (what, change) in cases {
        let mut response = pki.signer_ocsp();
        change(&mut response);
        instance.serve_ocsp_response(&pki.signer, &response.build());
        same_reason_for_signer(&instance, &key, "signer.ocsp", what);
    }
    instance.serve_ocsp_responses([]);
    same_reason_for_signer(&instance, &key, "signer.ocsp", "no OCSP responses");
}

#[test]
fn check_gives_the_reason_of_a_login_for_a_refused_record() {
    let (instance, key) = instance();
    let record = || instance.record(&key).expires_in(HOUR);
    let signer = instance.pki().signer.key;
    let sign = |record: RecordSpec| record.signed_by(&signer);
    for (what, id, text) in [
        ("unreadable", "keys.records", sign(record().without("Timestamp"))),
        ("another instance", "keys.records", sign(record().set("Instance", "i-0123456789abcdef1"))),
        ("expired", "keys.records", sign(record().set("Timestamp", "0"))),
        ("key type", "keys.records", sign(record().key_line(include_str!("../data/dsa.pub").trim_ascii()))),
        ("signed by another key", "keys.signatures", record().signed_by(&Key::rsa2048(4))),
    ] {
        instance.imds.unpublish("alice");
        instance.imds.publish("alice", text);
        let logged = reason_of_login(&instance, &key, "Refused a record of active keys for alice: ", what);
        let reason = logged.split(", fingerprint:").next().unwrap();
        // The seconds since the expiry go on.
        let reason = reason.split(" expired ").next().unwrap();
        let check = check(&instance, &key, id);
        assert_eq!(check["status"], "fail", "{what}: {check}");
        let detail = check["detail"].as_array().unwrap();
        assert!(
            detail.len() == 1 && detail[0].as_str().unwrap().contains(reason),
            "{what}: {reason}: {check}"
        );
    }
}
