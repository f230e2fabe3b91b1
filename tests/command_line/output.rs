//! Nobody reads the keys, or not to the end.

use crate::instance;
use eic_lab::{Instance, UserKey};

/// sshd stops reading at the first key that matches, which is not an error; a full disk is one.
#[test]
fn ends_if_nothing_reads_the_keys() {
    let (instance, key) = instance();
    for user in ["alice", "nobody"] {
        let outcome = instance.command([user, key.fingerprint()]).stdout_closed().run();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{user}: the pipe is closed");
    }
    instance.journal.clear();
    let outcome = instance.command(["alice", key.fingerprint()]).stdout_to("/dev/full").run();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(4), ""), "there is no room");
    let lines = instance.journal.lines();
    assert!(
        lines.len() == 1 && lines[0].severity == 4,
        "a key that did not come out is not provided: {lines:?}"
    );
    let outcome = instance.command(["nobody", key.fingerprint()]).stdout_to("/dev/full").run();
    assert_eq!(outcome.status, Some(0), "nothing to write needs no room");
    // Without standard output the first socket could become it: then the keys would go to the metadata service.
    instance.imds.clear_requests();
    let line = format!("exec /usr/bin/eic-keys alice {} <&- >&- 2>&-", key.fingerprint());
    let outcome = instance.command(["-c", &line]).program("/bin/sh").run();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), ""), "there is no standard output");
    assert_eq!(instance.imds.requests().len(), 9, "each a request, and nothing else");
}

/// sshd waits for the run, so the run does not wait for a reader that has stopped.
#[test]
fn ends_if_the_reader_stops_reading() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    let long = format!("{} {}", key.line(), "c".repeat(3000));
    let record = instance.record(&key).key_line(&long);
    for _ in 0..30 {
        instance.publish("alice", &record);
    }
    let run = |reader: &str| {
        let line = format!("{{ /usr/bin/eic-keys alice; echo $? >&2; }} | {reader}");
        instance.command(["-c", &line]).program("/bin/sh").run()
    };
    let read = run("cat");
    assert_eq!(
        (read.keys(), read.stderr.as_str()),
        (vec![long.as_str(); 30], "0\n"),
        "more than a pipe holds"
    );
    let slow = (0..3).any(|_| {
        let outcome = run("(sleep 0.1; cat)");
        let (keys, status) = (outcome.keys(), outcome.stderr.as_str());
        // The last key can be incomplete: sshd discards the output if the status is not 0.
        let whole = keys.len().saturating_sub(usize::from(status != "0\n"));
        assert!(keys.iter().take(whole).all(|key| *key == long), "another key");
        assert!(
            (keys.len(), status) == (30, "0\n") || status == "4\n",
            "{} keys, status {status}",
            keys.len()
        );
        status == "0\n"
    });
    assert!(slow, "a slow reader, who on a busy machine may be too slow");
    assert_eq!(run("sleep 5").stderr, "4\n", "keys that did not come out are no success");
}
