//! Options, the fingerprint, and usage errors.

use crate::{instance, result};
use eic_lab::{Instance, UserKey};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

#[test]
fn help_prints_the_help_text() {
    let (instance, _) = instance();
    for arguments in [&["--help"][..], &["-h"], &["alice", "--help"], &["--timeout", "2", "-h", "--unknown"]]
    {
        let outcome = instance.run(arguments);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let words = [
            "Usage: eic-keys",
            "USER",
            "FINGERPRINT",
            "COMMAND",
            "--trust-store",
            "--principal",
            "--timeout",
            "--imds",
            "Exit status",
        ];
        for word in words {
            assert!(outcome.stdout.contains(word), "{arguments:?}: {word}");
        }
    }
    assert!(instance.imds.requests().is_empty() && instance.journal.lines().is_empty());
}

#[test]
fn version_prints_the_version() {
    let (instance, _) = instance();
    for arguments in [&["--version"][..], &["-V"], &["alice", "-V"]] {
        let version = concat!("eic-keys ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(result(&instance.run(arguments)), (Some(0), version, ""), "{arguments:?}");
    }
    assert!(instance.imds.requests().is_empty() && instance.journal.lines().is_empty());
}

#[test]
fn help_and_version_fail_on_a_full_device() {
    let (instance, _) = instance();
    for option in ["--help", "--version"] {
        assert_eq!(instance.command([option]).stdout_to("/dev/full").run().status, Some(4), "{option}");
        assert_eq!(instance.command([option]).stdout_closed().run().status, Some(0), "{option}");
    }
}

/// Checks for a usage error: status 1, the reason and a reference to --help on stderr, one warning in the log, and no request.
fn is_wrong(instance: &Instance, arguments: &[OsString]) {
    instance.journal.clear();
    let outcome = instance.run(arguments);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(1), ""), "{arguments:?}");
    let said: Vec<&str> = outcome.stderr.lines().collect();
    let wrong = said[0].strip_prefix("eic-keys: ").unwrap_or_else(|| panic!("{arguments:?}: {said:?}"));
    assert!(said.len() == 2 && said[1].contains("--help"), "{arguments:?}: {said:?}");
    let lines = instance.journal.lines();
    assert_eq!(lines.len(), 1, "{arguments:?}: {lines:?}");
    assert_eq!((lines[0].facility, lines[0].severity), (10, 4), "{arguments:?}");
    assert_eq!(lines[0].message(), format!("Wrong command line: {wrong}"), "{arguments:?}");
    assert!(wrong.len() > 10 && wrong.len() <= 1100, "{arguments:?}: {wrong}");
    assert!(!wrong.chars().any(is_harmful), "{arguments:?}: {wrong:?}");
    assert!(instance.imds.requests().is_empty(), "{arguments:?}");
}

/// Whether it could move the cursor, forge a line, or change the text direction.
fn is_harmful(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[test]
fn refuses_wrong_command_lines() {
    let (instance, key) = instance();
    let fingerprint = key.fingerprint();
    for arguments in [
        &[][..],
        &["--timeout", "2"],
        &["alice", fingerprint, "more"],
        &["alice", "alice"],
        &["--unknown", "alice"],
        &["alice", fingerprint, "--unknown"],
        &["-x", "alice"],
        &["-t", "2", "alice"],
        &["--timeout"],
        &["alice", "--timeout"],
        &["alice", "--imds"],
        &["alice", "--trust-store"],
        &["alice", "--principal"],
        &["alice", "--principal", ""],
        &["alice", "--principal="],
        &["--enable", "--principal", "*"],
        &["--"],
        &["alice", "--"],
        &["--", "/bin/true"],
        &["--help=me"],
        &["alice", "--help="],
        &["--version=2"],
        &["--enable=yes"],
        &["--if-user-missing"],
        &["--if-user-missing", "alice"],
        &["alice", "--if-user-missing"],
        &["--disable", "--if-user-missing"],
        &["--if-user-missing", "--disable"],
        &["--disable", "--dry-run", "--if-user-missing"],
        &["--enable", "--if-user-missing=yes"],
        &["--enable", "--if-user-missing", "alice"],
    ] {
        is_wrong(&instance, &arguments.iter().map(OsString::from).collect::<Vec<_>>());
    }
}

#[test]
fn refuses_values_out_of_range() {
    let (instance, key) = instance();
    let timeouts =
        ["", "0", "0.09", "60.1", "61", "-1", "1e9", "nan", "inf", "-inf", "2s", "two", " 2", "2,5", "0x2"];
    let addresses = [
        "",
        "localhost",
        "169.254.169",
        "169.254.169.254:",
        "169.254.169.254:port",
        "169.254.169.254:65536",
        "169.254.169.254/32",
        "http://169.254.169.254",
        "169.254.169.254.",
        "[fd00:ec2::254",
        "fd00:ec2::254]:80",
        "fd00:ec2:::254",
    ];
    let rows = timeouts.map(|value| ("--timeout", value));
    for (option, value) in rows.into_iter().chain(addresses.map(|value| ("--imds", value))) {
        is_wrong(&instance, &[option, value, "alice", key.fingerprint()].map(OsString::from));
        is_wrong(&instance, &[&format!("{option}={value}"), "alice", key.fingerprint()].map(OsString::from));
        assert!(instance.journal.says(&format!("{option} {value}: not a")), "{option}={value}");
    }
}

#[test]
fn refuses_wrong_fingerprints() {
    let (instance, key) = instance();
    let right = key.fingerprint();
    let base64 = right.strip_prefix("SHA256:").unwrap();
    for wrong in [
        base64,
        "SHA256:",
        &right[..49],
        &format!("{right}="),
        &format!("{right}A"),
        &format!(" {right}"),
        &format!("{right}\n"),
        &format!("sha256:{base64}"),
        &format!("SHA1:{}", &base64[..27]),
        &format!("SHA512:{base64}"),
        &format!("SHA256:{}-", &base64[..42]),
        &format!("SHA256:{}é", &base64[..41]),
        "MD5:",
        "MD5:d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42",
        "MD5:d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:xx",
        "d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e",
        "%f",
        key.line(),
    ] {
        is_wrong(&instance, &["alice", wrong].map(OsString::from));
    }
}

/// An attacker can choose the arguments: in the log and on a terminal they are escaped and cut.
#[test]
fn escapes_what_is_wrong_in_messages() {
    let (instance, _) = instance();
    for wrong in [
        &b"--\x1b[2J\x1b]0;title\x07"[..],
        b"--line\nNov 20 07:00:00 host sshd[1]: Accepted publickey for root",
        b"--carriage\rreturn",
        b"--not\xff\xfeUTF-8",
        "--bidi\u{202e}\u{2066}\u{200b}\u{85}".as_bytes(),
        b"--percent%n%s",
        &b"--long".repeat(2000),
        &"-é".repeat(5000).into_bytes(),
    ] {
        is_wrong(&instance, &[OsStr::from_bytes(wrong).to_owned(), "alice".into()]);
        is_wrong(&instance, &["alice".into(), OsStr::from_bytes(wrong).to_owned()]);
    }
}

#[test]
fn accepts_valid_command_lines() {
    let (instance, key) = instance();
    let fingerprint = key.fingerprint();
    let md5 = "MD5:d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e";
    for arguments in [
        &["alice", fingerprint][..],
        &["alice"],
        &["alice", ""],
        &["alice", md5],
        &["--timeout", "2", "alice", fingerprint],
        &["--timeout=2", "alice", fingerprint],
        &["--timeout=2.5", "alice", fingerprint],
        &["--timeout=60", "alice", fingerprint],
        &["alice", "--timeout", "2", fingerprint],
        &["alice", fingerprint, "--timeout", "2"],
        &["--imds=169.254.169.254", "--timeout=2", "alice", fingerprint],
    ] {
        let expected = format!("{}\n", key.line());
        assert_eq!(result(&instance.run(arguments)), (Some(0), expected.as_str(), ""), "{arguments:?}");
    }
}

#[test]
fn the_last_of_repeated_options_counts() {
    let (instance, key) = instance();
    for (options, seconds) in [(["--timeout=0.2", "--timeout=3"], "3"), (["--timeout=3", "--timeout=7"], "7")]
    {
        instance.imds.clear_requests();
        let outcome = instance.run([&options[..], &["alice", key.fingerprint()]].concat());
        assert_eq!(outcome.keys(), [key.line()], "{options:?}");
        let ttl =
            instance.imds.requests()[0].header("X-aws-ec2-metadata-token-ttl-seconds").map(str::to_owned);
        assert_eq!(ttl.as_deref(), Some(seconds), "{options:?}");
    }
}

/// sshd's line counts by its last; a report by people has none to override.
#[test]
fn a_report_is_asked_for_once() {
    let (instance, _) = instance();
    for option in ["--timeout", "--imds", "--trust-store"] {
        let value = if option == "--imds" { "127.0.0.1" } else { "9" };
        let outcome = instance.command(["--check", option, value, option, value]).run();
        assert_eq!(outcome.status, Some(2), "{option}");
        let says = format!("{option} is given more than once");
        assert!(outcome.stderr.contains(&says), "{}", outcome.stderr);
    }
    let outcome = instance.command(["--check", "--principal", "a", "--principal", "b"]).run();
    assert_ne!(outcome.status, Some(2), "{}", outcome.stderr);
}

#[test]
fn prints_only_the_key_with_the_fingerprint() {
    let (instance, first) = instance();
    let second = UserKey::ed25519();
    instance.push("alice", &second);
    for (fingerprint, keys) in [
        (first.fingerprint(), vec![first.line()]),
        (second.fingerprint(), vec![second.line()]),
        (UserKey::ed25519().fingerprint(), vec![]),
        ("", vec![first.line(), second.line()]),
        ("MD5:d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e", vec![first.line(), second.line()]),
    ] {
        let outcome = instance.run(["alice", fingerprint]);
        assert_eq!((outcome.status, outcome.keys()), (Some(0), keys), "{fingerprint}");
    }
}
