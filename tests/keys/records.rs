//! Which records of active keys give a key, and why the others do not. In each case one thing is wrong.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::string_slice, clippy::arithmetic_side_effects, reason = "a test may overflow")]

use std::collections::BTreeSet;

use crate::common::{accepted, instance, record_refused};
use eic_keys::keys::record::TYPES;
use eic_lab::instance::INSTANCE;
use eic_lab::{Hash, Instance, Key, Machine, RecordSpec, Scheme, UserKey, now};

/// Replaces alice's active keys with this text.
fn publish(instance: &Instance, text: impl Into<Vec<u8>>) {
    instance.imds.unpublish("alice");
    instance.imds.publish("alice", text);
}

fn signed(instance: &Instance, record: &RecordSpec) -> Vec<u8> {
    record.signed_by(&instance.pki().signer.key)
}

#[test]
fn accepts_every_valid_form_of_a_record() {
    let (instance, key) = instance();
    let record = instance.record(&key);
    let mut reversed = record.clone();
    reversed.lines[..4].reverse();
    for (what, record) in [
        ("as the service writes it", record.clone()),
        ("signature wrapped", RecordSpec { wrap: Some(64), ..record.clone() }),
        ("signature wrapped at 76", RecordSpec { wrap: Some(76), ..record.clone() }),
        ("no line feed at the end", RecordSpec { end: vec![], ..record.clone() }),
        ("blank lines behind", RecordSpec { end: b"\n\n\n".to_vec(), ..record.clone() }),
        ("lines in another order", reversed),
        ("no Caller", record.clone().without("Caller")),
        ("no Request", record.clone().without("Request")),
        (
            "unknown lines",
            record.clone().with_line("#Region=us-east-1").with_line("#").with_line("# a remark"),
        ),
        ("an unknown line twice", record.clone().with_line("#New=1").with_line("#New=2")),
        ("a name in another case is another name", record.clone().with_line("#TIMESTAMP=0")),
        ("bytes that are no text", record.clone().with_line(b"#New=\xff\x00\x1b[2J")),
        ("valid for long", record.clone().expires_in(86_400)),
    ] {
        publish(&instance, signed(&instance, &record));
        accepted(&instance, &key, what);
    }
    let commented = format!("{} alice@example.org", key.line());
    publish(&instance, signed(&instance, &record.key_line(&commented)));
    let outcome = instance.run(["alice", key.fingerprint()]);
    assert_eq!(
        (outcome.status, outcome.keys()),
        (Some(0), vec![commented.as_str()]),
        "a comment is signed and printed"
    );
}

#[test]
fn a_key_is_accepted_only_from_a_matching_principal() {
    const ANNA: &str = "arn:aws:sts::123412341234:assumed-role/ops/anna";
    let (instance, key) = instance();
    let run = |patterns: &[&str]| {
        instance.journal.clear();
        let options = patterns.iter().flat_map(|pattern| ["--principal", pattern]);
        let outcome = instance.run(options.chain(["alice", key.fingerprint()]));
        assert_eq!(outcome.status, Some(0), "{patterns:?}: {outcome:?}");
        outcome.keys() == [key.line()]
    };
    publish(&instance, signed(&instance, &instance.record(&key).set("Caller", ANNA)));
    let most = [&["no"; 63][..], &[ANNA]].concat();
    for accepted in [&[ANNA][..], &["*"], &["arn:aws:sts::*:assumed-role/ops/*"], &["no", ANNA], &most] {
        assert!(run(accepted), "{accepted:?}: {:?}", instance.journal.lines());
    }
    for refused in
        ["assumed-role/ops/anna", "arn:aws:sts::123412341234:assumed-role/OPS/anna", "*/ops", "arn:*?:bob"]
    {
        assert!(!run(&[refused]), "{refused}");
        let lines = instance.journal.eic_keys();
        let says = |words: &str| lines[0].message().contains(words);
        assert!(lines.len() == 1 && lines[0].severity == 5, "{lines:?}");
        assert!(says("its IAM principal matches no --principal pattern") && says(ANNA), "{lines:?}");
    }
    // Too many patterns and too long ones are usage errors.
    for patterns in [["*"; 65].as_slice(), &[&"*".repeat(2049)]] {
        let options = patterns.iter().flat_map(|pattern| ["--principal", pattern]);
        let outcome = instance.run(options.chain(["alice", key.fingerprint()]));
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
    }
    // Without a principal, a record is accepted only without patterns.
    publish(&instance, signed(&instance, &instance.record(&key).without("Caller")));
    assert!(run(&[]) && !run(&["*"]));
    assert!(instance.journal.says("it names no IAM principal"), "{:?}", instance.journal.lines());
    // The principal counts only if it is signed.
    let text = signed(&instance, &instance.record(&key).set("Caller", "arn:aws:iam::1:user/x"));
    let text = String::from_utf8(text).unwrap().replace("arn:aws:iam::1:user/x", ANNA);
    publish(&instance, text);
    assert!(!run(&[ANNA]) && instance.journal.says("it is not signed by"), "{:?}", instance.journal.lines());
}

#[test]
fn accepts_a_record_until_the_second_of_its_expiry() {
    let (instance, key) = instance();
    // A run that ended before the expiry must print the key. A slow machine can make it end later: then try again with more time.
    for seconds in [1, 2, 4, 8, 16, 32] {
        let expiry = now() + seconds;
        publish(&instance, signed(&instance, &instance.record(&key).set("Timestamp", expiry.to_string())));
        let outcome = instance.run(["alice", key.fingerprint()]);
        assert!(outcome.keys().iter().all(|printed| *printed == key.line()), "{outcome:?}");
        if now() < expiry {
            let lines = instance.journal.lines();
            assert_eq!(
                (outcome.status, outcome.keys()),
                (Some(0), vec![key.line()]),
                "{seconds} s: {lines:?}"
            );
            return;
        }
    }
    panic!("no run ended within 32 seconds");
}

#[test]
fn a_key_of_each_type_is_accepted() {
    let (instance, _) = instance();
    for known in TYPES {
        for key in UserKey::of_type(known.name) {
            publish(&instance, signed(&instance, &instance.record(&key)));
            accepted(&instance, &key, key.line());
        }
    }
}

#[test]
fn refuses_a_key_line_that_is_not_a_plain_public_key() {
    let (instance, key) = instance();
    let rsa = UserKey::rsa(2048);
    let certificate = key.line().replace("ssh-ed25519 ", "ssh-ed25519-cert-v01@openssh.com ");
    let flipped = |at: usize| {
        let mut line = key.line().to_owned();
        let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
        line.replace_range(at..=at, other);
        line
    };
    for (what, line, reason) in [
        ("options before it", format!("command=\"id\" {}", key.line()), "single public key without options"),
        ("an option before it", format!("restrict {}", key.line()), "single public key without options"),
        ("an authority", format!("cert-authority {}", key.line()), "single public key without options"),
        ("a certificate", certificate, "single public key without options"),
        ("type of another", format!("ssh-rsa {}", key.blob()), "single public key without options"),
        ("blob of another", format!("ssh-ed25519 {}", rsa.blob()), "single public key without options"),
        ("type unknown to all", format!("ssh-foo {}", key.blob()), "single public key without options"),
        ("no blob", "ssh-ed25519".to_owned(), "single public key without options"),
        ("blob cut", key.line()[..key.line().len() - 4].to_owned(), "single public key without options"),
        ("blob longer", format!("{}AAAA", key.line()), "single public key without options"),
        ("type inside the blob damaged", flipped(18), "single public key without options"),
        ("a blank before it", format!(" {}", key.line()), "single public key without options"),
        ("two blanks between", key.line().replace(' ', "  "), "single public key without options"),
        ("a tab between", key.line().replace(' ', "\t"), "single public key without options"),
        ("a carriage return behind", format!("{}\r", key.line()), "single public key without options"),
        ("a NUL in the comment", format!("{} a\0b", key.line()), "single public key without options"),
        (
            "an escape in the comment",
            format!("{} a\x1b[2Jb", key.line()),
            "single public key without options",
        ),
        ("RSA of 1024 bits", UserKey::rsa(1024).line().to_owned(), "2048"),
        ("DSA", DSA.to_owned(), "not accept keys of its type"),
    ] {
        publish(&instance, signed(&instance, &instance.record(&key).key_line(line)));
        // Without a fingerprint, because these keys have none or a different one.
        instance.journal.clear();
        let outcome = instance.run(["alice"]);
        let lines = instance.journal.eic_keys();
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), ""), "{what}: {lines:?}");
        assert!(lines.len() == 1 && lines[0].severity == 5, "{what}: {lines:?}");
        assert!(lines[0].message().contains(reason), "{what}: {lines:?}");
        assert_eq!(instance.imds.paths().iter().filter(|path| path.contains("signer")).count(), 0, "{what}");
    }
}

/// A DSA key of 1024 bits, made with ssh-keygen.
const DSA: &str = include_str!("../data/dsa.pub").trim_ascii();

#[test]
fn refuses_wrong_metadata_lines() {
    let (instance, key) = instance();
    let record = || instance.record(&key);
    let expiry = now() + 60;
    for (what, record, reason) in [
        ("no Timestamp", record().without("Timestamp"), "no Timestamp"),
        ("no Instance", record().without("Instance"), "no Instance"),
        ("Timestamp twice", record().with_line(format!("#Timestamp={expiry}")), "more than one Timestamp"),
        ("Instance twice", record().with_line(format!("#Instance={INSTANCE}")), "more than one Instance"),
        ("Caller twice", record().with_line("#Caller=me"), "more than one Caller"),
        ("Request twice", record().with_line("#Request=1"), "more than one Request"),
        ("Timestamp empty", record().set("Timestamp", ""), "not a number of seconds"),
        ("Timestamp negative", record().set("Timestamp", "-1"), "not a number of seconds"),
        ("Timestamp with a sign", record().set("Timestamp", format!("+{expiry}")), "not a number of seconds"),
        (
            "Timestamp with a blank",
            record().set("Timestamp", format!(" {expiry}")),
            "not a number of seconds",
        ),
        (
            "Timestamp with a fraction",
            record().set("Timestamp", format!("{expiry}.5")),
            "not a number of seconds",
        ),
        ("Timestamp in hex", record().set("Timestamp", "0xffffffff"), "not a number of seconds"),
        ("Timestamp too large", record().set("Timestamp", "100000000000"), "not a number of seconds"),
        (
            "Timestamp beyond 64 bits",
            record().set("Timestamp", "18446744073709551616"),
            "not a number of seconds",
        ),
        ("Timestamp with CR", record().set("Timestamp", format!("{expiry}\r")), "not a number of seconds"),
        ("Timestamp in words", record().set("Timestamp", "tomorrow"), "not a number of seconds"),
        ("Instance empty", record().set("Instance", ""), "not an instance id"),
        ("Instance no id", record().set("Instance", "mine"), "not an instance id"),
        ("Instance in upper case", record().set("Instance", INSTANCE.to_uppercase()), "not an instance id"),
        ("Instance with a blank", record().set("Instance", format!("{INSTANCE} ")), "not an instance id"),
    ] {
        publish(&instance, signed(&instance, &record));
        record_refused(&instance, &key, reason, what);
    }
}

#[test]
fn refuses_expired_records_and_records_for_other_instances() {
    let (instance, key) = instance();
    for (what, record, reason) in [
        (
            "another instance",
            instance.record(&key).set("Instance", "i-0123456789abcdef1"),
            "for another instance",
        ),
        (
            "a longer id",
            instance.record(&key).set("Instance", format!("{INSTANCE}0")),
            "for another instance",
        ),
        ("expired just now", instance.record(&key).expires_in(0), "s ago"),
        ("expired a second ago", instance.record(&key).expires_in(-1), "s ago"),
        ("expired long ago", instance.record(&key).set("Timestamp", "0"), "s ago"),
    ] {
        publish(&instance, signed(&instance, &record));
        instance.imds.clear_requests();
        record_refused(&instance, &key, reason, what);
        assert_eq!(
            instance.imds.paths().len(),
            2,
            "{what}: nothing more is asked: {:?}",
            instance.imds.paths()
        );
    }
}

#[test]
fn on_xen_the_metadata_service_identifies_the_instance() {
    let (instance, key) = instance();
    instance.machine(Machine::Xen);
    accepted(&instance, &key, "this instance");
    publish(&instance, signed(&instance, &instance.record(&key).set("Instance", "i-0123456789abcdef1")));
    instance.imds.clear_requests();
    record_refused(&instance, &key, "for another instance", "another");
    assert!(!instance.imds.paths().iter().any(|path| path.contains("signer")), "{:?}", instance.imds.paths());
}

#[test]
fn refuses_the_metadata_service_of_another_instance() {
    let (instance, key) = instance();
    instance.imds.set("instance-id", "i-0123456789abcdef1");
    record_refused(
        &instance,
        &key,
        "the metadata service belongs to another instance",
        "another's service, this one's record",
    );
}

#[test]
fn refuses_a_signature_by_another_key_or_over_other_bytes() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let record = instance.record(&key);
    let scheme = |scheme| RecordSpec { scheme, ..record.clone() };
    let over = |bytes: Vec<u8>| record.with_signature(&record.scheme.sign(&pki.signer.key, &bytes));
    let bytes = record.signed_bytes();
    let trimmed = bytes.trim_ascii_end().to_vec();
    let crlf = String::from_utf8(bytes.clone()).unwrap().replace('\n', "\r\n").into_bytes();
    let key_only = format!("{}\n", key.line()).into_bytes();
    let mut damaged = record.scheme.sign(&pki.signer.key, &bytes);
    damaged[100] ^= 1;
    for (what, text) in [
        ("another's key", record.signed_by(&Key::rsa2048(4))),
        ("the intermediate's key", record.signed_by(&pki.intermediate.key)),
        ("a key of another size", record.signed_by(&Key::rsa(4096))),
        (
            "an EC key",
            RecordSpec { scheme: Scheme::Ecdsa(Hash::Sha256), ..record.clone() }.signed_by(&Key::p256()),
        ),
        ("no salt", signed(&instance, &scheme(Scheme::RsaPss(Hash::Sha256, 0)))),
        ("a salt of 20 bytes", signed(&instance, &scheme(Scheme::RsaPss(Hash::Sha256, 20)))),
        ("the longest salt", signed(&instance, &scheme(Scheme::RsaPss(Hash::Sha256, 222)))),
        ("SHA-384", signed(&instance, &scheme(Scheme::RsaPss(Hash::Sha384, 48)))),
        ("SHA-512", signed(&instance, &scheme(Scheme::RsaPss(Hash::Sha512, 32)))),
        ("PKCS#1 v1.5", signed(&instance, &scheme(Scheme::RsaPkcs1(Hash::Sha256)))),
        ("a bit of it flipped", record.with_signature(&damaged)),
        ("a byte less", record.with_signature(&damaged[1..])),
        ("a byte more", record.with_signature(&[&[0], damaged.as_slice()].concat())),
        ("one byte", record.with_signature(&[1])),
        ("over the text without its last line feed", over(trimmed)),
        ("over the text with CRLF", over(crlf)),
        ("over the key alone", over(key_only)),
        ("over nothing", over(vec![])),
    ] {
        publish(&instance, text);
        record_refused(
            &instance,
            &key,
            "it is not signed by managed-ssh-signer.us-east-1.amazonaws.com",
            what,
        );
    }
    for (what, change) in [
        ("another Timestamp", record.clone().expires_in(61)),
        ("another Request", record.clone().set("Request", "2")),
        ("another Caller", record.clone().set("Caller", "arn:aws:iam::1:root")),
        ("a line more", record.clone().with_line("#New=1")),
        ("a line less", record.clone().without("Request")),
        ("a comment more", record.clone().key_line(format!("{} me", key.line()))),
        ("lines in another order", {
            let mut other = record.clone();
            other.lines.swap(2, 3);
            other
        }),
    ] {
        publish(&instance, change.with_signature(&record.scheme.sign(&pki.signer.key, &bytes)));
        record_refused(&instance, &key, "it is not signed by", what);
    }
    let other = UserKey::ed25519();
    publish(
        &instance,
        record.clone().key_line(other.line()).with_signature(&record.scheme.sign(&pki.signer.key, &bytes)),
    );
    record_refused(&instance, &other, "it is not signed by", "another key");
}

#[test]
fn refuses_a_missing_or_malformed_signature() {
    let (instance, key) = instance();
    let text = String::from_utf8(signed(&instance, &instance.record(&key))).unwrap();
    let at = text.find(key.line()).unwrap() + key.line().len() + 1;
    let (head, signature) = text.split_at(at);
    let signature = signature.trim_end();
    for (what, signature) in [
        ("none", String::new()),
        ("no base64", signature.replacen('=', "!", 1)),
        ("a blank inside", format!("{} {}", &signature[..8], &signature[8..])),
        ("a character less", signature[1..].to_owned()),
        ("CR behind", format!("{signature}\r")),
        ("longer than any", signature.trim_end_matches('=').repeat(8)),
        ("another key line", format!("{}\n{signature}", key.line())),
    ] {
        publish(&instance, format!("{head}{signature}\n"));
        record_refused(&instance, &key, "its signature is missing, too long or not base64", what);
    }
}

#[test]
fn a_bad_record_does_not_affect_the_next_one() {
    let (instance, key) = instance();
    let good = signed(&instance, &instance.record(&key));
    let forged = instance.record(&key).signed_by(&Key::rsa2048(4));
    let unsigned = instance.record(&key).signed_bytes();
    for (what, before, between) in [
        ("after garbage", b"garbage".to_vec(), "\n\n"),
        ("after garbage, no blank line between", b"garbage".to_vec(), "\n"),
        ("after bytes that are no text", b"#Timestamp=\xff\xfe\x00\x01".to_vec(), "\n\n"),
        ("after a forged one", forged, "\n"),
        ("after one without a signature", unsigned.clone(), "\n"),
        ("after one without a signature, no blank line between", unsigned, ""),
        ("after one that is cut", good[..good.len() / 2].to_vec(), "\n\n"),
        ("after metadata alone", b"#Timestamp=1\n#Instance=i-0123456789abcdef0".to_vec(), "\n\n"),
        ("after a very long line", vec![b'a'; 100_000], "\n"),
        ("after a long unknown line", [b"#".to_vec(), vec![b'b'; 100_000]].concat(), "\n\n"),
    ] {
        publish(&instance, [before, between.into(), good.clone()].concat());
        instance.journal.clear();
        let outcome = instance.run(["alice", key.fingerprint()]);
        let lines = instance.journal.eic_keys();
        assert_eq!((outcome.status, outcome.keys()), (Some(0), vec![key.line()]), "{what}: {lines:?}");
        assert_eq!(
            lines.iter().filter(|line| line.severity == 5).count(),
            1,
            "{what}: one refusal is logged: {lines:?}"
        );
        assert_eq!(
            lines.iter().filter(|line| line.message().starts_with("Providing")).count(),
            1,
            "{what}: one key is logged: {lines:?}"
        );
    }
}

#[test]
fn prints_several_keys_in_the_order_of_the_records() {
    let (instance, first) = instance();
    let keys = [UserKey::rsa(2048), UserKey::ed25519(), UserKey::generate("ecdsa", 256)];
    for key in &keys {
        instance.push("alice", key);
    }
    let all: Vec<&str> = std::iter::once(&first).chain(&keys).map(UserKey::line).collect();
    assert_eq!(instance.run(["alice"]).keys(), all);
    assert_eq!(instance.run(["alice", ""]).keys(), all, "an empty fingerprint is none");
    for key in &keys {
        assert_eq!(instance.run(["alice", key.fingerprint()]).keys(), [key.line()]);
    }
}

#[test]
fn prints_only_the_keys_of_the_user() {
    let (instance, key) = instance();
    let bobs = UserKey::ed25519();
    instance.push("bob", &bobs);
    assert_eq!(instance.run(["alice"]).keys(), [key.line()]);
    assert_eq!(instance.run(["bob"]).keys(), [bobs.line()]);
    let outcome = instance.run(["bob", key.fingerprint()]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), ""));
}

#[test]
fn reads_only_the_first_64_records() {
    let (instance, key) = instance();
    let publish_after = |others: usize| {
        instance.imds.unpublish("alice");
        for _ in 0..others {
            instance.imds.publish("alice", "garbage\n");
        }
        instance.push("alice", &key);
        instance.journal.clear();
        instance.run(["alice", key.fingerprint()])
    };
    assert_eq!(publish_after(63).keys(), [key.line()], "the 64th");
    let outcome = publish_after(64);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), ""), "the 65th");
    let lines = instance.journal.eic_keys();
    assert!(instance.journal.says("only the first 64 records are read"), "{lines:?}");
    let reasons: BTreeSet<_> = lines.iter().map(|line| line.message().to_owned()).collect();
    assert_eq!((lines.len(), reasons.len()), (65, 2), "{reasons:?}");
}
