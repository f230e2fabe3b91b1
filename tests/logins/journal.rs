//! The journal: what is asked for, and which of its fields are believed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use eic_lab::{Instance, UserKey};
use serde_json::{Value, json as value};

use crate::{ANNA, BERT, accepted, document, fingerprint, json, members, notes, provided, run};

/// An entry as journalctl prints it.
fn entry(second: u64, program: &str, pid: u32, fields: &Value) -> String {
    let mut entry = value!({
        "__REALTIME_TIMESTAMP": format!("{}", 1_795_262_400_000_000 + second * 1_000_000),
        "__MONOTONIC_TIMESTAMP": format!("{}", second * 1_000_000),
        "_BOOT_ID": "0123456789abcdef0123456789abcdef",
        "SYSLOG_IDENTIFIER": program,
        "_PID": pid.to_string(),
        "_UID": "0",
    });
    entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    format!("{entry}\n")
}

fn ours(second: u64, lines: &[(u32, String)]) -> String {
    lines
        .iter()
        .map(|(pid, message)| entry(second, "eic-keys", *pid, &value!({ "MESSAGE": message })))
        .collect()
}

fn sshd(second: u64, pid: u32, message: &str) -> String {
    entry(second, "sshd", pid, &value!({ "MESSAGE": message, "_COMM": "sshd", "_EXE": "/usr/sbin/sshd" }))
}

/// A journalctl that has these entries. It notes what it is asked for, and knows no `--grep` if it is an old one.
fn instance(entries: &str, old: bool) -> Instance {
    let instance = Instance::start();
    instance.write("/etc/lab/entries", entries);
    instance.write("/etc/lab/begin", "");
    let refuse = if old { "*--grep*|*--output-fields*) exit 1 ;;" } else { "" };
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>/etc/lab/asked\ncase \"$*\" in\n\
         *_UID=0) exec cat /etc/lab/begin ;;\n{refuse}\n*--output=json*) exec cat /etc/lab/entries ;;\n*) echo 'Nov 21 00:00:00 host x: y' ;;\nesac\n"
    );
    instance.install("/usr/bin/journalctl", script.as_bytes());
    instance
}

#[test]
fn who_wrote_an_entry() {
    let keys: Vec<String> = (1..=7).map(fingerprint).collect();
    let mut log = String::new();
    for ((number, key), process) in keys[..6].iter().enumerate().zip(101..) {
        log += &ours(1, &provided(process, 10, "alice", key, &format!("r{}", number + 1), ANNA));
    }
    let login = |key: &str| accepted("alice", "192.0.2.1", key);
    log += &sshd(2, 101, &login(&keys[0]));
    // The message as bytes, because it is not printable text.
    let bytes = login(&keys[1]).into_bytes();
    log += &entry(
        2,
        "sshd-session",
        102,
        &value!({ "MESSAGE": bytes, "_EXE": "/usr/lib/openssh/sshd-session" }),
    );
    log += &entry(2, "sshd", 103, &value!({ "MESSAGE": login(&keys[2]), "_EXE": "/usr/bin/logger" }));
    log += &entry(2, "sshd", 104, &value!({ "MESSAGE": null, "_COMM": "sshd" }));
    log += &entry(2, "su", 105, &value!({ "MESSAGE": login(&keys[4]) }));
    log += "not JSON\n";
    log += &["{\"MESSAGE\":\"", &"x".repeat(300_000), "\"}\n"].concat();
    let other = entry(2, "sshd", 106, &value!({ "MESSAGE": login(&keys[5]), "_BOOT_ID": "f".repeat(32) }));
    log += &other;
    for (_, message) in provided(107, 10, "alice", &keys[6], "r8", ANNA) {
        log += &entry(1, "eic-keys", 10, &value!({ "MESSAGE": message, "_EXE": "/usr/bin/logger" }));
    }
    log += &sshd(2, 107, &login(&keys[6]));
    log += &sshd(32, 101, "pam_unix(sshd:session): session closed for user alice");
    for old in [false, true] {
        let instance = instance(&log, old);
        let report = json(&instance, &[]);
        assert_eq!(
            (&report["source"], &report["trusted"], notes(&report)),
            (&value!("journal"), &value!(true), vec![])
        );
        assert_eq!(
            members(&report, ["request", "state", "seconds"]),
            [[value!("r1"), value!("ended"), value!(30)], [value!("r2"), value!("ended"), Value::Null],],
            "the boot is another one than this"
        );
    }
}

#[test]
fn what_the_journal_is_asked_for() {
    let instance = instance("", false);
    json(&instance, &["--since", "2026-11-21T12:02:00Z"]);
    instance.namespace().assert_here();
    let asked = fs::read_to_string("/etc/lab/asked").unwrap();
    let last = asked.lines().last().unwrap();
    for words in ["--since=@1795262400 ", "--grep=^Accepted |"] {
        assert!(last.contains(words), "{words}: {asked}");
    }
    // With matches of two fields, any user could make journalctl take hours.
    let names =
        ["sshd", "sshd-session", "sshd-auth", "eic-keys"].map(|name| format!("SYSLOG_IDENTIFIER={name}"));
    assert!(last.ends_with(&format!(" {}", names.join(" "))), "{asked}");
}

/// sshd can run eic-keys as a user with other processes.
#[test]
fn eic_keys_as_another_user() {
    let key = fingerprint(1);
    let log = |uid: &str| {
        let lines = provided(101, 10, "alice", &key, "r1", ANNA);
        let fields = |message: &str| value!({ "MESSAGE": message, "_UID": uid });
        let ours: String =
            lines.iter().map(|(pid, text)| entry(1, "eic-keys", *pid, &fields(text))).collect();
        ours + &sshd(2, 101, &accepted("alice", "192.0.2.1", &key))
    };
    let report = |config: &str, uid: &str| {
        let instance = instance(&log(uid), false);
        instance.write("/etc/ssh/sshd_config", config);
        json(&instance, &[])
    };
    let count = |report: &Value| report["logins"].as_array().unwrap().len();
    let nobody = "AuthorizedKeysCommand /usr/bin/eic-keys %u %f\nAuthorizedKeysCommandUser nobody\n";
    for config in [nobody.to_owned(), format!("Match User alice\n{nobody}")] {
        let named = report(&config, "65534");
        assert_eq!((count(&named), &named["trusted"]), (1, &value!(false)));
        let note = "The journal has lines of eic-keys by nobody (uid 65534): any process of nobody (uid 65534) can write such lines";
        assert_eq!(notes(&named), [note]);
        let other = report(&config, "1234");
        assert_eq!((count(&other), &other["trusted"], notes(&other)), (0, &value!(true), vec![]));
    }
    let any = report(&nobody.replace("nobody", "%u"), "1234");
    assert_eq!((count(&any), &any["trusted"]), (1, &value!(false)));
    let root = report(nobody, "0");
    assert_eq!((count(&root), &root["trusted"], notes(&root)), (1, &value!(true), vec![]));
}

/// sshd -T prints QUIET as SILENT.
#[test]
fn sshd_that_logs_no_logins() {
    for (level, is_noted) in
        [("INFO", false), ("DEBUG1", false), ("ERROR", true), ("FATAL", true), ("QUIET", true)]
    {
        let instance = instance("", false);
        // sshd does not tell its settings without them.
        fs::create_dir_all("/run/sshd").unwrap();
        instance.write("/etc/ssh/key", UserKey::ed25519().private());
        fs::set_permissions("/etc/ssh/key", Permissions::from_mode(0o600)).unwrap();
        instance.write("/etc/ssh/sshd_config", format!("HostKey /etc/ssh/key\nLogLevel {level}\n"));
        let report = json(&instance, &[]);
        let expected: &[Value] = if is_noted {
            &[value!(format!("sshd logs no logins, because its LogLevel is {level}"))]
        } else {
            &[]
        };
        assert_eq!(report["notes"].as_array().unwrap(), expected, "{level}");
    }
}

/// sshd of another user than root, of one that journald did not find out, and of none.
#[test]
fn sshd_is_roots() {
    let key = fingerprint(1);
    for (uid, count) in [(value!("0"), 1), (value!("1000"), 0), (value!(["0", "1000"]), 0), (Value::Null, 0)]
    {
        let login = value!({ "MESSAGE": accepted("alice", "192.0.2.1", &key), "_UID": uid });
        let log = ours(1, &provided(101, 10, "alice", &key, "r1", ANNA)) + &entry(2, "sshd", 101, &login);
        let report = json(&instance(&log, false), &[]);
        assert_eq!(report["logins"].as_array().unwrap().len(), count, "{uid}");
    }
}

#[test]
fn pushes_that_the_log_cannot_tell_apart() {
    let key = fingerprint(1);
    let log = [
        ours(1, &provided(101, 10, "alice", &key, "r1", ANNA)),
        ours(2, &provided(101, 11, "alice", &key, "r2", BERT)),
        sshd(3, 101, &accepted("alice", "192.0.2.1", &key)),
    ];
    let report = json(&instance(&log.concat(), false), &[]);
    let candidates = value!([{ "principal": ANNA, "request": "r1" }, { "principal": BERT, "request": "r2" }]);
    assert_eq!(
        members(&report, ["principal", "request", "candidates"]),
        [[Value::Null, Value::Null, candidates]]
    );
}

#[test]
fn refused_records() {
    let key = fingerprint(1);
    let refused = format!(
        "Refused a record of active keys for alice: it expired 1 s ago, fingerprint: {key}, request-id: r1, for IAM principal: {ANNA}"
    );
    let unreadable = "Refused a record of active keys for alice: it has no Timestamp".to_owned();
    let instance = instance(&ours(1, &[(10, refused), (10, unreadable)]), false);
    let report = json(&instance, &["--refused"]);
    assert_eq!(
        report["refused"],
        value!([
            { "time": "2026-11-21T12:00:01Z", "user": "alice", "principal": ANNA, "request": "r1", "fingerprint": key, "reason": "it expired 1 s ago" },
            { "time": "2026-11-21T12:00:01Z", "user": "alice", "principal": null, "request": null, "fingerprint": null, "reason": "it has no Timestamp" },
        ])
    );
    assert!(json(&instance, &[]).get("refused").is_none());
}

/// What was read before an error is listed, and the exit status tells.
#[test]
fn a_journal_that_cannot_be_read_to_its_end() {
    let key = fingerprint(1);
    let log = [
        ours(1, &provided(101, 10, "alice", &key, "r1", ANNA)),
        sshd(2, 101, &accepted("alice", "192.0.2.1", &key)),
    ];
    let instance = instance(&log.concat(), false);
    let script = "#!/bin/sh\ncase \"$*\" in *_UID=0) ;; *--output=json*) cat /etc/lab/entries; exit 1 ;; *) echo x ;; esac\n";
    instance.install("/usr/bin/journalctl", script.as_bytes());
    let outcome = run(&instance, &["--json"]);
    let report = document(&outcome);
    assert_eq!(
        (outcome.status, &report["result"], notes(&report)),
        (Some(2), &value!("partial"), vec!["journalctl failed"])
    );
    assert_eq!(members(&report, ["request"]), [[value!("r1")]]);
}

/// journalctl succeeds although it ignores a damaged file, and says so.
#[test]
fn a_damaged_file_of_the_journal() {
    let key = fingerprint(1);
    let log = [
        ours(1, &provided(101, 10, "alice", &key, "r1", ANNA)),
        sshd(2, 101, &accepted("alice", "192.0.2.1", &key)),
    ];
    let instance = instance(&log.concat(), false);
    let script = "#!/bin/sh\ncase \"$*\" in *_UID=0) exit ;; *--output=json*) cat /etc/lab/entries ;; *) echo x ;; esac\n\
         echo 'Journal file /x is truncated, ignoring file.' >&2\n";
    instance.install("/usr/bin/journalctl", script.as_bytes());
    let outcome = run(&instance, &["--json"]);
    let report = document(&outcome);
    assert_eq!(
        (outcome.status, &report["result"], notes(&report)),
        (Some(2), &value!("partial"), vec!["journalctl: Journal file /x is truncated, ignoring file"])
    );
    assert_eq!(members(&report, ["request"]), [[value!("r1")]]);
}

/// `journalctl --vacuum-time` removes the oldest files: of the two pushes of a key, only one can be left.
#[test]
fn a_journal_that_begins_later() {
    let log: String = [(1100, 101, 10, "r1"), (1120, 102, 11, "r2")]
        .into_iter()
        .zip([fingerprint(1), fingerprint(2)])
        .map(|((second, process, pid, request), key)| {
            ours(second, &provided(process, pid, "alice", &key, request, ANNA))
                + &sshd(second + 1, process, &accepted("alice", "192.0.2.1", &key))
        })
        .collect();
    let report = |begin: u64, since: &[&str]| {
        let instance = instance(&log, false);
        instance.write("/etc/lab/begin", entry(begin, "systemd", 1, &value!({ "MESSAGE": "x" })) + &log);
        json(&instance, since)
    };
    let read = |report: &Value| {
        let notes: Vec<_> = notes(report).into_iter().map(str::to_owned).collect();
        (members(report, ["principal", "candidates"]), notes)
    };
    let note = |time: &str| {
        vec![format!("The journal begins at {time}: logins before it, and shortly after it, can be missing")]
    };
    let named = || [value!(ANNA), value!([])];
    let unsure = [Value::Null, value!([{ "principal": ANNA, "request": "r1" }])];
    // LoginGraceTime is 120 s.
    assert_eq!(read(&report(1000, &[])), (vec![unsure, named()], note("2026-11-21T12:16:40Z")));
    let since = ["--since", "2026-11-21T12:18:41Z"];
    assert_eq!(read(&report(1000, &since)), (vec![named()], vec![]), "it has all of these");
    // Nothing is missing since the start of the system.
    assert_eq!(read(&report(50, &[])), (vec![named(), named()], note("2026-11-21T12:00:50Z")));
}
