//! Where the log goes: to the system log, and on a terminal also to stderr.

use crate::{Change, lines, publish};
use eic_keys::limits;
use eic_lab::journal::Line;
use eic_lab::{Fault, Instance, Logger, Machine, On, UserKey, within};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// Less than a blocked log would delay a login if each line waited for it.
const SOON: Duration = Duration::from_secs(2);

/// A login works if the log is missing, blocked or slow.
#[test]
fn prints_keys_without_a_log() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    let good = instance.record(&key);
    let mut records = vec![good.clone().expires_in(-1); limits::RECORDS - 1];
    records.push(good);
    publish(&instance, &records);
    for logger in [Logger::Absent, Logger::Dead, Logger::Stuck, Logger::Slow, Logger::Reading] {
        instance.logger(logger);
        let run = || {
            instance.journal.clear();
            instance.run(["alice"])
        };
        within(SOON, run, |outcome| {
            let result = (outcome.status, outcome.keys(), outcome.stderr.as_str());
            assert_eq!(result, (Some(0), vec![key.line()], ""), "{logger:?}");
        });
    }
    let provided = lines(&instance, "a log that reads");
    assert_eq!(provided.len(), limits::RECORDS + 1, "63 refused, one provided, and its user");
    for logger in [Logger::Absent, Logger::Dead, Logger::Stuck, Logger::Slow, Logger::Reading] {
        instance.logger(logger);
        let run = || {
            instance.journal.clear();
            instance.run(["--unknown"])
        };
        within(SOON, run, |wrong| {
            assert_eq!(wrong.status, Some(1), "{logger:?}");
            assert!(wrong.stderr.contains("--unknown"), "{logger:?}: {wrong:?}");
        });
    }
    assert_eq!(lines(&instance, "a log that reads").len(), 1, "a wrong command line");
}

/// Old daemons use one, and syslog-ng can be configured to.
#[test]
fn logs_to_a_stream_socket() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    publish(&instance, &[instance.record(&key).expires_in(-1), instance.record(&key)]);
    instance.logger(Logger::Absent);
    instance.namespace().assert_here();
    let listener = UnixListener::bind("/dev/log").unwrap();
    fs::set_permissions("/dev/log", fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(instance.run(["alice"]).keys(), [key.line()]);
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    let lines: Vec<&str> = text.split_terminator('\0').collect();
    assert!(
        matches!(lines.as_slice(), [refused, provided, user]
            if refused.starts_with("<85>eic-keys[") && refused.contains("]: Refused a record")
            && provided.starts_with("<86>eic-keys[") && provided.contains("]: Providing ssh key")
            && user.contains("]: Provided SHA256:") && user.contains(" for alice to process ")),
        "{text:?}"
    );
    // A daemon that accepts no connections, until its queue is full: a blocking connect would never return.
    rustix::net::listen(&listener, 1).unwrap();
    let waiting: Vec<_> = (0..10).map_while(|_| without_waiting(&listener)).collect();
    assert!(waiting.len() < 10);
    assert_eq!(instance.run(["alice"]).keys(), [key.line()]);
}

/// Connects to the log without waiting; `None` if its queue is full.
fn without_waiting(log: &UnixListener) -> Option<OwnedFd> {
    let path = log.local_addr().unwrap().as_pathname().unwrap().to_owned();
    let stream = rustix::net::SocketType::STREAM;
    let flags = rustix::net::SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(rustix::net::AddressFamily::UNIX, stream, flags, None).unwrap();
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    rustix::net::connect(&socket, &address).ok().map(|()| socket)
}

#[test]
fn without_a_log_the_exit_status_is_the_same() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    instance.push("alice", &key);
    instance.imds.fault(On::token(), Fault::Status(403));
    for logger in [Logger::Absent, Logger::Dead, Logger::Stuck] {
        instance.logger(logger);
        let outcome = instance.run(["alice"]);
        let result = (outcome.status, outcome.stdout.as_str(), outcome.stderr.as_str());
        assert_eq!(result, (Some(2), "", ""), "{logger:?}");
    }
}

/// On a terminal the same lines are printed, with a summary of the records. Under sshd stderr is empty.
#[test]
fn explains_on_a_terminal() {
    let key = UserKey::ed25519();
    let other = UserKey::ed25519();
    let rows: [(&str, Change, &str, &str); 6] = [
        ("a key", |_| (), "alice", "1 of 1 record"),
        ("nothing pushed", |_| (), "bob", "no key was pushed for bob in the last 60 seconds"),
        (
            "expired",
            |i| i.publish("carol", &i.record(&UserKey::ed25519()).expires_in(-1)),
            "carol",
            "0 of 1 record",
        ),
        ("failed", |i| i.imds.fault(On::token(), Fault::Status(403)), "alice", "disabled"),
        ("no instance", |i| i.machine(Machine::Other), "alice", "not an EC2 instance"),
        ("no name that the API takes", |_| (), "\u{1b}[2J\u{202e}", "does not accept the user name"),
    ];
    for (what, change, user, words) in rows {
        let instance = Instance::start();
        instance.push("alice", &key);
        change(&instance);
        let under_sshd = instance.run([user]);
        assert_eq!(under_sshd.stderr, "", "{what}");
        let logged = instance.journal.lines();
        instance.journal.clear();
        let by_hand = instance.command([user]).on_terminal().run();
        assert_eq!((by_hand.status, &by_hand.stdout), (under_sshd.status, &under_sshd.stdout), "{what}");
        let said: Vec<&str> = by_hand.stderr.split_terminator("\r\n").collect();
        let again = instance.journal.lines();
        let messages =
            |lines: &[Line]| lines.iter().map(|line| line.message().to_owned()).collect::<Vec<_>>();
        assert_eq!(again.len(), logged.len(), "{what}: the log has the same lines by hand");
        for message in messages(&again) {
            assert!(
                said.contains(&format!("eic-keys: {message}").as_str()),
                "{what}: {message} is not in {said:?}"
            );
        }
        assert!(by_hand.stderr.contains(words), "{what}: {said:?}");
        assert!(
            !said.iter().any(|line| line.chars().any(|char| char.is_control() || char == '\u{202e}')),
            "{what}: {said:?}"
        );
    }
    let instance = Instance::start();
    instance.push("alice", &key);
    let offered = instance.command(["alice", other.fingerprint()]).on_terminal().run();
    assert!(
        offered.stderr.contains(key.fingerprint()) && offered.stderr.contains("0 of 1"),
        "{}",
        offered.stderr
    );
    let logged = instance.journal.lines();
    assert!(
        matches!(logged.as_slice(), [line] if line.message().starts_with("No pushed key is offered for alice: ")),
        "{logged:?}"
    );
}
