//! User names. The client chooses one. For a name that the API does not accept there is no key and no request.

use crate::{instance, result};
use eic_lab::{Instance, UserKey};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

#[test]
fn requests_keys_for_each_name_that_the_api_accepts() {
    let instance = Instance::start();
    let key = UserKey::ed25519();
    let longest = "a".repeat(32);
    for name in [
        "a",
        "_",
        "alice",
        "Administrator",
        "ec2-user",
        "a$",
        "1a",
        "0.",
        "12_$",
        "a-",
        "a.",
        "a@",
        "a..b",
        "user.name@corp",
        "00000000-0000-0000-0000-000000a",
        &longest,
    ] {
        instance.push(name, &key);
        instance.imds.clear_requests();
        let outcome = instance.run([name, key.fingerprint()]);
        assert_eq!(result(&outcome), (Some(0), format!("{}\n", key.line()).as_str(), ""), "{name}");
        let path = format!("/latest/meta-data/managed-ssh-keys/active-keys/{name}/");
        assert_eq!(instance.imds.paths()[1], path, "{name}");
    }
}

#[test]
fn sends_no_request_for_other_names() {
    let (instance, key) = instance();
    let too_long = "a".repeat(33);
    let far_too_long = "a".repeat(100_000);
    for name in [
        &b""[..],
        b".",
        b"..",
        b"/",
        b"alice/",
        b"/alice",
        b"../active-keys/alice",
        b"alice/../alice",
        b"bob/../../active-keys/alice",
        b"./alice",
        b"//alice",
        b"alice%2f",
        b"%61lice",
        b"alice%",
        b"alice%00",
        b"alice?",
        b"alice?a=b",
        b"alice#",
        b"alice#fragment",
        b"alice\n",
        b"alice\r\n",
        b"alice\r\nX-aws-ec2-metadata-token: x",
        b"alice HTTP/1.1\r\nHost: elsewhere\r\n\r\nGET /",
        b"\nalice",
        b" alice",
        b"alice ",
        b"alice\t",
        b"alice bob",
        b"\x1b[2J",
        b"alice\x7f",
        b"alice\xff",
        "älice".as_bytes(),
        "alice\u{202e}".as_bytes(),
        "alic\u{435}".as_bytes(),
        b"alice\\",
        b"alice;id",
        b"$(id)",
        b"`id`",
        b"alice|id",
        b"alice&",
        b"alice:bob",
        b"alice,bob",
        b"alice+bob",
        b"alice=bob",
        b"alice'",
        b"alice\"",
        b"alice*",
        b"~alice",
        b"@alice",
        b"$",
        b"a$b",
        b"a$$",
        b"1",
        b"1234567890",
        b"1$",
        b"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        too_long.as_bytes(),
        far_too_long.as_bytes(),
    ] {
        let outcome = instance.run([OsStr::from_bytes(name), OsStr::new(key.fingerprint())]);
        let name = String::from_utf8_lossy(name);
        assert_eq!(result(&outcome), (Some(0), "", ""), "{name:?}");
        assert!(instance.imds.connections() == 0 && instance.imds.requests().is_empty(), "{name:?}");
        assert!(instance.journal.lines().is_empty(), "{name:?}: {:?}", instance.journal.lines());
    }
    // After all these, the right name.
    assert_eq!(instance.run(["alice", key.fingerprint()]).keys(), [key.line()]);
}

/// It is parsed as an option: no key, no request, nothing on stdout, and no unescaped text in the log.
#[test]
fn a_name_with_a_hyphen_is_an_option() {
    let (instance, key) = instance();
    for name in ["-", "-alice", "-x", "--alice", "---", "-\u{1b}[2J", "-\nalice", "--timeout=9\n"] {
        instance.journal.clear();
        let outcome = instance.run([name, key.fingerprint()]);
        assert!(matches!(outcome.status, Some(0 | 1)), "{name:?}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{name:?}");
        assert_eq!(instance.imds.connections(), 0, "{name:?}");
        for line in instance.journal.lines() {
            assert!(!line.text.chars().any(char::is_control), "{name:?}: {line:?}");
        }
    }
}

/// Similar names of other users give no key.
#[test]
fn a_name_cannot_select_the_keys_of_another_user() {
    let (instance, key) = instance();
    for name in ["bob", "Alice", "ALICE", "alice.", "alice@", "alice$", "alic", "alicea"] {
        assert_eq!(result(&instance.run([name, key.fingerprint()])), (Some(0), "", ""), "{name}");
    }
}
