//! Remote text in the log: it is escaped and cut, and no secret is logged.

use crate::{INFO, line, publish};
use eic_keys::limits;
use eic_lab::{Attribute, Fault, Instance, On, Pki, UserKey};

/// Nothing in it moves the cursor, forges a line or changes the text direction; no part is longer than a kilobyte.
#[track_caller]
fn assert_harmless(instance: &Instance, what: &str) {
    let mut lines = instance.journal.lines();
    lines.retain(|line| !crate::names_user(line));
    assert_eq!(lines.len(), 1, "{what}: {lines:?}");
    let text = std::str::from_utf8(&lines[0].raw).unwrap_or_else(|e| panic!("{what}: {e}"));
    let harmful = |char: char| {
        let turns = matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        char.is_control() || turns
    };
    assert!(!text.chars().any(harmful), "{what}: {text:?}");
    assert!(text.len() < 2 * limits::LOGGED_TEXT + 512, "{what}: {} bytes", text.len());
}

const HOSTILE: [(&str, &[u8]); 9] = [
    ("terminal codes", b"\x1b[2J\x1b]0;owned\x07\x1b[31m"),
    ("CR", b"alice\rNov 20 07:00:00 host sshd[1]: Accepted publickey for root"),
    ("NUL", b"a\0b"),
    ("DEL and C1", "\u{7f}\u{85}\u{9b}2J".as_bytes()),
    ("not UTF-8", b"\xff\xfe\xc3\x28\x9b2J\xf0\x9f"),
    ("directions", "\u{202e}\u{2066}\u{200f}\u{61c}".as_bytes()),
    ("separators and marks", "\u{2028}\u{2029}\u{feff}\u{200b}".as_bytes()),
    ("formats", b"%n%s%s%n"),
    ("a backslash", b"\\n\\x1b"),
];

#[test]
fn escapes_text_from_a_record() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    for (what, text) in HOSTILE {
        for name in ["Caller", "Request"] {
            let record = instance.record(&key).set(name, text);
            publish(&instance, std::slice::from_ref(&record));
            assert_eq!(
                instance.run(["alice"]).keys(),
                [key.line()],
                "{what}: it is signed, and the key is good"
            );
            assert_harmless(&instance, &format!("{what} in the {name} of a good record"));
            publish(&instance, &[record.expires_in(-1)]);
            assert_eq!(instance.run(["alice"]).stdout, "", "{what}");
            assert_harmless(&instance, &format!("{what} in the {name} of a refused record"));
        }
    }
}

#[test]
fn escapes_text_from_the_metadata_service() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    instance.push("alice", &key);
    let long = "\u{202e}é".repeat(2000);
    for (what, text) in HOSTILE {
        for path in
            ["instance-id", "placement/region", "services/domain", "signer-cert", "signer-ocsp", "api/token"]
        {
            instance.journal.clear();
            instance.imds.fault(On::path(path), Fault::Body(text.to_vec()));
            let outcome = instance.run(["alice"]);
            instance.imds.clear_faults();
            assert_eq!(outcome.stdout, "", "{what} for {path}");
            assert_harmless(&instance, &format!("{what} for {path}"));
        }
    }
    for (what, text) in
        [("terminal codes", "\u{1b}[2J"), ("directions", "\u{202e}"), ("a line", "a\nb"), ("length", &long)]
    {
        let name = text.to_owned();
        instance.adopt(Pki::with(|spec| spec.signer.subject = vec![Attribute::common_name(&name)]));
        instance.journal.clear();
        assert_eq!(instance.run(["alice"]).status, Some(3), "{what} in the signer's name");
        assert_harmless(&instance, &format!("{what} in the signer's name"));
        instance.adopt(Pki::with(|spec| spec.intermediate.subject = vec![Attribute::common_name(&name)]));
        instance.remove_ocsp_response(&instance.pki().intermediate);
        instance.journal.clear();
        assert_eq!(instance.run(["alice"]).status, Some(3), "{what} in the intermediate's name");
        assert_harmless(&instance, &format!("{what} in the intermediate's name"));
    }
}

/// It is cut at a kilobyte, between characters.
#[test]
fn cuts_long_text() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    let head = |instance: &Instance| {
        let message = line(instance, INFO, "long");
        message.split_once("for IAM principal: ").unwrap().1.to_owned()
    };
    for (text, logged) in [
        ("a".repeat(limits::LOGGED_TEXT), "a".repeat(limits::LOGGED_TEXT)),
        ("a".repeat(limits::LOGGED_TEXT + 1), "a".repeat(limits::LOGGED_TEXT)),
        ("é".repeat(1000), "é".repeat(limits::LOGGED_TEXT / 2)),
        (format!("a{}", "é".repeat(1000)), format!("a{}", "é".repeat(limits::LOGGED_TEXT / 2 - 1))),
        ("日本".repeat(1000), "日本".repeat(1000).chars().take(limits::LOGGED_TEXT / 3).collect()),
        ("\u{1f511}".repeat(1000), "\u{1f511}".repeat(limits::LOGGED_TEXT / 4)),
    ] {
        publish(&instance, &[instance.record(&key).set("Caller", &text)]);
        assert_eq!(instance.run(["alice"]).keys(), [key.line()]);
        assert_eq!(head(&instance), logged);
    }
    let escaped = "\u{1b}".repeat(1000);
    publish(&instance, &[instance.record(&key).set("Caller", &escaped).set("Request", &escaped)]);
    assert_eq!(instance.run(["alice"]).keys(), [key.line()]);
    let logged = head(&instance);
    assert!(
        logged.len() <= limits::LOGGED_TEXT && logged.ends_with('}'),
        "an escape is whole or not there: {logged}"
    );
    assert_harmless(&instance, "two long texts");
}

/// With the token, anyone could use the service.
#[test]
fn does_not_log_the_token() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    instance.push("alice", &key);
    let token = "a-secret-of-the-service";
    instance.imds.fault(On::token(), Fault::Body(token.into()));
    let outcome = instance.command(["alice"]).on_terminal().run();
    assert_eq!(outcome.status, Some(2));
    let shown = instance.imds.requests()[1].header("X-aws-ec2-metadata-token").map(str::to_owned);
    assert_eq!(shown.as_deref(), Some(token));
    assert!(!outcome.stderr.contains(token) && !instance.journal.says(token), "{}", outcome.stderr);
    instance.imds.clear_faults();
    instance.imds.fault(On::token(), Fault::Body(format!("{token}\nmore").into()));
    let outcome = instance.command(["alice"]).on_terminal().run();
    assert_eq!(outcome.status, Some(2));
    assert!(!outcome.stderr.contains(token) && !instance.journal.says(token), "{}", outcome.stderr);
}
