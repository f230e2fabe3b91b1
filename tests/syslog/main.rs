//! The log: which line is logged when, word for word where log filters match it. Text from records and from the metadata service does
//! no harm there.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

mod hostile;
mod places;

use eic_keys::limits;
use eic_lab::instance::TRUST_STORES;
use eic_lab::journal::Line;
use eic_lab::{Endpoint, Fault, IPV4, Instance, Key, On, RecordSpec, Status, UserKey, now};

const AUTHPRIV: u8 = 10;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFO: u8 = 6;

/// A fault of the metadata service, the record or the machine.
type Change = fn(&Instance);
/// A change of the record.
type Record = fn(RecordSpec) -> RecordSpec;

/// Replaces alice's active keys with these records.
fn publish(instance: &Instance, records: &[RecordSpec]) {
    instance.imds.unpublish("alice");
    for record in records {
        instance.publish("alice", record);
    }
    instance.journal.clear();
}

/// The lines of the log, each of the right facility and with the program's name and process.
fn lines(instance: &Instance, what: &str) -> Vec<Line> {
    let lines = instance.journal.lines();
    for line in &lines {
        let tag = line.text.split_once(": ").unwrap().0;
        let process = tag.strip_prefix("eic-keys[").and_then(|rest| rest.strip_suffix(']'));
        assert!(process.is_some_and(|number| number.parse::<u32>().is_ok()), "{what}: {line:?}");
        assert_eq!(line.facility, AUTHPRIV, "{what}: {line:?}");
    }
    lines
}

/// The line that follows the one of a provided key, and names the user.
fn names_user(line: &Line) -> bool {
    line.severity == INFO && line.message().starts_with("Provided SHA256:")
}

/// The only line of the log, of this severity, apart from the one that names the user of a provided key.
#[track_caller]
fn line(instance: &Instance, severity: u8, what: &str) -> String {
    let (users, lines): (Vec<_>, Vec<_>) = lines(instance, what).into_iter().partition(names_user);
    assert_eq!(lines.iter().map(|line| line.severity).collect::<Vec<_>>(), [severity], "{what}: {lines:?}");
    assert_eq!(users.len(), usize::from(severity == INFO), "{what}: {users:?}");
    lines[0].message().to_owned()
}

#[test]
fn logs_a_provided_key_as_aws_does() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    let caller = ", for IAM principal: arn:aws:iam::123412341234:role/myrole";
    let request = ", request-id: 1234abcd-1234-abcd-1234-1234abcd1234";
    let rows: [(&str, Record, String); 7] = [
        ("all of it", |record| record, format!("{request}{caller}")),
        ("no request", |record| record.without("Request"), caller.to_owned()),
        ("no caller", |record| record.without("Caller"), request.to_owned()),
        ("neither", |record| record.without("Request").without("Caller"), String::new()),
        ("an empty request", |record| record.set("Request", ""), caller.to_owned()),
        ("an empty caller", |record| record.set("Caller", ""), request.to_owned()),
        ("more lines", |record| record.with_line("#Region=us-east-1"), format!("{request}{caller}")),
    ];
    for (what, change, rest) in rows {
        publish(&instance, &[change(instance.record(&key))]);
        let outcome = instance.run(["alice", key.fingerprint()]);
        assert_eq!((outcome.keys(), outcome.stderr.as_str()), (vec![key.line()], ""), "{what}");
        let words = "Providing ssh key from EC2 Instance Connect with fingerprint: ";
        assert_eq!(line(&instance, INFO, what), format!("{words}{}{rest}", key.fingerprint()), "{what}");
        let lines = instance.journal.lines();
        // Under sshd it is the process that logs the login.
        let parent = std::process::id();
        let user = format!("Provided {} for alice to process {parent}", key.fingerprint());
        assert_eq!(lines[1].message(), user, "{what}");
    }
}

#[test]
fn logs_a_line_for_each_key() {
    let instance = Instance::start();
    let keys = [UserKey::ed25519(), UserKey::rsa(2048), UserKey::generate("ecdsa", 256)];
    let [first, second, third] = keys.each_ref().map(|key| instance.record(key));
    publish(&instance, &[first, second.clone().expires_in(-5), second, third]);
    assert_eq!(instance.run(["alice"]).keys(), keys.each_ref().map(UserKey::line));
    let lines = lines(&instance, "three keys and an expired record");
    let notices: Vec<_> = lines.iter().filter(|line| line.severity == NOTICE).collect();
    assert!(notices.len() == 1 && notices[0].message().contains("expired"), "{lines:?}");
    let provided: Vec<_> = lines.iter().filter(|line| line.severity == INFO && !names_user(line)).collect();
    assert_eq!(provided.len(), 3, "{lines:?}");
    for (key, line) in keys.iter().zip(provided) {
        assert!(line.message().contains(key.fingerprint()), "{line:?}");
    }
}

/// A refused record is not a failure of the run: status 0, and a notice with the reason and the user.
#[test]
fn logs_the_reason_for_a_refused_record() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    let rows: [(&str, Record, &str); 13] = [
        ("expired", |record| record.expires_in(-1), "expired 1 s ago"),
        (
            "for another instance",
            |record| record.set("Instance", "i-0fedcba9876543210"),
            "i-0fedcba9876543210",
        ),
        ("no Timestamp", |record| record.without("Timestamp"), "no Timestamp"),
        ("no Instance", |record| record.without("Instance"), "no Instance"),
        ("a Timestamp in words", |record| record.set("Timestamp", "tomorrow"), "Timestamp"),
        ("an Instance that is none", |record| record.set("Instance", "mine"), "Instance"),
        ("Caller twice", |record| record.with_line("#Caller=me"), "Caller"),
        ("options", |record| keyed(record, |line| format!("command=\"id\" {line}")), "key line"),
        ("no key", without_key, "key line"),
        ("a key that is none", |record| record.key_line("ssh-ed25519 AAAA"), "key line"),
        ("a small key", |record| record.key_line(UserKey::rsa(1024).line()), "2048"),
        ("a DSA key", |record| record.key_line(include_str!("../data/dsa.pub").trim_end()), "type"),
        (
            "a signature of another kind",
            |record| RecordSpec { scheme: eic_lab::Scheme::RsaPkcs1(eic_lab::Hash::Sha256), ..record },
            "not signed by",
        ),
    ];
    for (what, change, reason) in rows {
        publish(&instance, &[change(instance.record(&key))]);
        let outcome = instance.run(["alice"]);
        assert_eq!(
            (outcome.status, outcome.stdout.as_str(), outcome.stderr.as_str()),
            (Some(0), "", ""),
            "{what}"
        );
        let message = line(&instance, NOTICE, what);
        assert!(message.contains(reason) && message.contains("alice"), "{what}: {message}");
    }
    instance.imds.unpublish("alice");
    instance.imds.publish("alice", instance.record(&key).signed_by(&Key::rsa2048(4)));
    instance.journal.clear();
    assert_eq!(instance.run(["alice"]).stdout, "", "forged");
    let message = line(&instance, NOTICE, "forged");
    assert!(message.contains("not signed by") && message.contains(key.fingerprint()), "{message}");
    publish(&instance, &[instance.record(&key)]);
    assert_eq!(instance.run(["alice"]).keys(), [key.line()], "the right one beside them");
}

/// The signature is where the key should be.
fn without_key(mut record: RecordSpec) -> RecordSpec {
    record.lines.pop();
    record
}

fn keyed(record: RecordSpec, change: impl FnOnce(&str) -> String) -> RecordSpec {
    let line = change(std::str::from_utf8(record.lines.last().unwrap()).unwrap());
    record.key_line(line)
}

/// All records over the limit are refused in one line.
#[test]
fn logs_too_many_records_once() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    publish(&instance, &vec![instance.record(&key); limits::RECORDS]);
    assert_eq!(instance.run(["alice"]).keys().len(), limits::RECORDS);
    assert!(lines(&instance, "all").iter().all(|line| line.severity == INFO));
    publish(&instance, &vec![instance.record(&key); limits::RECORDS + 20]);
    assert_eq!(instance.run(["alice"]).keys().len(), limits::RECORDS);
    let lines = lines(&instance, "too many");
    assert_eq!(lines.iter().filter(|line| line.severity == NOTICE).count(), 1, "{lines:?}");
    assert_eq!(lines.len(), 2 * limits::RECORDS + 1);
}

/// A run that fails logs one warning with the reason and the user.
#[test]
fn logs_why_a_run_fails() {
    let key = UserKey::ed25519();
    let rows: [(&str, Change, i32, &str); 14] = [
        ("nobody there", |i| i.endpoint(IPV4.into(), Endpoint::Absent), 2, "cannot be reached"),
        ("refused", |i| i.endpoint(IPV4.into(), Endpoint::Refusing), 2, "cannot be reached"),
        ("silent", |i| i.imds.fault(On::token(), Fault::Hang), 2, "did not answer in time"),
        ("switched off", |i| i.imds.switch_off(), 2, "disabled"),
        ("throttled", |i| i.imds.fault(On::any(), Fault::Status(429)), 2, "too many requests"),
        ("in trouble", |i| i.imds.fault(On::path("alice"), Fault::Status(503)), 2, "503"),
        ("too much", |i| i.imds.fault(On::path("signer-cert"), Fault::EndlessBody), 2, "signer-cert"),
        ("no region", |i| i.imds.set("placement/region", "here"), 2, "placement/region"),
        ("another domain", |i| i.imds.set("services/domain", "evil.example"), 3, "evil.example"),
        (
            "another signer",
            |i| i.imds.set("placement/region", "eu-west-1"),
            3,
            "managed-ssh-signer.eu-west-1.amazonaws.com",
        ),
        ("no chain", |i| i.imds.remove("managed-ssh-keys/signer-cert"), 3, "no signer certificate"),
        ("not trusted", |i| i.trust([]), 3, "trust store"),
        ("no OCSP response", |i| i.remove_ocsp_response(&i.pki().signer), 3, "OCSP response"),
        ("no trust store", |i| i.trust_store(TRUST_STORES[0].1, ""), 4, TRUST_STORES[0].1),
    ];
    for (what, change, status, reason) in rows {
        let instance = Instance::start();
        instance.push("alice", &key);
        change(&instance);
        let outcome = instance.run(["alice", key.fingerprint()]);
        let result = (outcome.status, outcome.stdout.as_str(), outcome.stderr.as_str());
        assert_eq!(result, (Some(status), "", ""), "{what}");
        let message = line(&instance, WARNING, what);
        assert!(message.contains(reason) && message.contains("alice"), "{what}: {message}");
    }
}

#[test]
fn logs_a_revoked_signer() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    instance.push("alice", &key);
    let mut ocsp_response = instance.pki().signer_ocsp();
    ocsp_response.answer().status = Status::Revoked(now() - 3600, Some(1));
    instance.serve_ocsp_response(&instance.pki().signer, &ocsp_response.build());
    assert_eq!(instance.run(["alice"]).status, Some(3));
    let message = line(&instance, WARNING, "revoked");
    assert!(message.contains("revoked") && message.contains("managed-ssh-signer"), "{message}");
}

/// What happens all the time is not logged.
#[test]
fn logs_nothing_in_the_frequent_cases() {
    let (instance, key, other) = (Instance::start(), UserKey::ed25519(), UserKey::ed25519());
    instance.push("alice", &key);
    let expired = instance.record(&other).expires_in(-10);
    instance.publish("alice", &expired);
    let third = UserKey::ed25519();
    for (what, arguments) in [
        ("nothing is pushed", ["bob", key.fingerprint()]),
        ("nothing is pushed, no fingerprint", ["bob", ""]),
        ("a name that the API never takes", ["../alice", key.fingerprint()]),
    ] {
        let outcome = instance.run(arguments);
        let result = (outcome.status, outcome.stdout.as_str(), outcome.stderr.as_str());
        assert_eq!(result, (Some(0), "", ""), "{what}");
        assert!(instance.journal.lines().is_empty(), "{what}: {:?}", instance.journal.lines());
    }
    // The only case of these in which a person pushed a key and then cannot log in.
    assert_eq!(instance.run(["alice", third.fingerprint()]).status, Some(0));
    let logged = lines(&instance, "another key is offered");
    assert!(
        matches!(logged.as_slice(), [line] if line.severity == INFO
            && line.message().starts_with("No pushed key is offered for alice: ")),
        "{logged:?}"
    );
    instance.imds.publish("carol", "");
    assert_eq!(instance.run(["carol"]).status, Some(0), "an empty text");
    assert_eq!(instance.journal.lines().len(), logged.len());
}
