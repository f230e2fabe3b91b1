//! Which requests a run sends, and in which order.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use std::time::Duration;

use crate::common::{accepted, instance};
use eic_lab::http::rounds;
use eic_lab::{Instance, Key, UserKey};

const TOKEN: &str = "PUT /latest/api/token";
const ACTIVE_KEYS: &str = "GET /latest/meta-data/managed-ssh-keys/active-keys/alice/";

fn asked(instance: &Instance) -> Vec<String> {
    instance.imds.requests().iter().map(|request| format!("{} {}", request.method, request.path)).collect()
}

#[test]
fn without_pushed_keys_sends_two_requests_and_logs_nothing() {
    let instance = Instance::start();
    let outcome = instance.run(["alice", UserKey::ed25519().fingerprint()]);
    assert_eq!((outcome.status, outcome.stdout.as_str(), outcome.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(asked(&instance), [TOKEN, ACTIVE_KEYS]);
    assert!(instance.journal.lines().is_empty(), "{:?}", instance.journal.lines());
}

/// The service drops packets over 1,024 per second, including those for DNS and NTP, and a scanner offers many keys.
#[test]
fn without_pushed_keys_uses_fourteen_packets() {
    let instance = Instance::start();
    let key = UserKey::ed25519();
    let packets = || {
        let before = instance.imds.packets();
        assert_eq!(instance.run(["alice", key.fingerprint()]).status, Some(0));
        // The last packet of the service arrives after the run.
        std::thread::sleep(Duration::from_millis(100));
        instance.imds.packets() - before
    };
    // On a busy machine an acknowledgement can need a packet of its own, after 40 ms.
    let runs: Vec<u64> = (0..5).map(|_| packets()).collect();
    assert!(runs.iter().any(|packets| *packets <= 14), "{runs:?}");
}

#[test]
fn for_another_key_sends_two_requests_and_logs_one_line() {
    let (instance, pushed) = instance();
    let offered = UserKey::ed25519();
    let outcome = instance.run(["alice", offered.fingerprint()]);
    assert_eq!((outcome.status, outcome.stdout.as_str(), outcome.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(asked(&instance), [TOKEN, ACTIVE_KEYS]);
    let says = format!(
        "No pushed key is offered for alice: the client offers {}, and {} is pushed",
        offered.fingerprint(),
        pushed.fingerprint()
    );
    assert!(instance.journal.says(&says), "{:?}", instance.journal.lines());
    assert_eq!(instance.journal.lines().len(), 1);
}

#[test]
fn a_login_sends_nine_requests_in_four_rounds() {
    let (instance, key) = instance();
    instance.imds.pace(Duration::from_millis(300));
    accepted(&instance, &key, "a login");
    let mut asked = asked(&instance);
    assert_eq!(asked[..2], [TOKEN, ACTIVE_KEYS]);
    asked[2..].sort();
    let pki = instance.pki();
    let ocsp_response = |cert: &eic_lab::Cert| {
        format!(
            "GET /latest/meta-data/managed-ssh-keys/signer-ocsp/{}",
            cert.fingerprint(eic_lab::Hash::Sha1)
        )
    };
    let mut rest = vec![
        "GET /latest/meta-data/instance-id/".to_owned(),
        "GET /latest/meta-data/managed-ssh-keys/signer-cert/".to_owned(),
        "GET /latest/meta-data/managed-ssh-keys/signer-ocsp/".to_owned(),
        "GET /latest/meta-data/placement/region/".to_owned(),
        "GET /latest/meta-data/services/domain/".to_owned(),
        ocsp_response(&pki.signer),
        ocsp_response(&pki.intermediate),
    ];
    rest.sort();
    assert_eq!(asked[2..], rest);
    assert_eq!(rounds(&instance.imds.requests()), 4);
    let document = include_str!("../../docs/threat-model.md");
    assert!(document.contains(&format!("it sends {} requests", asked.len())), "docs/threat-model.md");
}

#[test]
fn fifty_records_need_no_more_requests() {
    let (instance, key) = instance();
    for _ in 0..49 {
        let record = instance.record(&UserKey::ed25519());
        instance.imds.publish("alice", record.signed_by(&Key::rsa2048(4)));
    }
    accepted(&instance, &key, "one of fifty");
    assert_eq!(asked(&instance).len(), 9);
}

#[test]
fn requests_the_signer_only_for_a_record_that_can_be_valid() {
    let (instance, key) = instance();
    for (what, record) in [
        ("expired", instance.record(&key).expires_in(-1)),
        ("another instance's", instance.record(&key).set("Instance", "i-0123456789abcdef1")),
        ("damaged", instance.record(&key).without("Timestamp")),
    ] {
        instance.imds.unpublish("alice");
        instance.imds.clear_requests();
        instance.publish("alice", &record);
        assert_eq!(instance.run(["alice", key.fingerprint()]).stdout, "", "{what}");
        assert_eq!(asked(&instance), [TOKEN, ACTIVE_KEYS], "{what}");
    }
}

#[test]
fn twenty_concurrent_runs_print_their_keys() {
    let (instance, key) = instance();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| accepted(&instance, &key, "side by side"));
        }
    });
    assert_eq!(asked(&instance).len(), 20 * 9);
}
