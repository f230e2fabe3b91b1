//! The real sshd and the real ssh of the laboratory, with a script instead of eic-keys.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]
use eic_lab::namespace::Id;
use eic_lab::sshd::Config;
use eic_lab::{Instance, Sshd, UserKey};
use std::time::{Duration, Instant};

/// An instance with a script instead of eic-keys.
fn instance(script: &str) -> Instance {
    let instance = Instance::start_without_program();
    instance.install("/usr/bin/eic-keys", format!("#!/bin/sh\n{script}\n").as_bytes());
    instance
}

#[test]
fn the_keys_that_the_command_prints_log_in() {
    let key = UserKey::ed25519();
    let instance =
        instance(&format!("[ $1 = alice ] && [ $2 = {} ] && echo '{}'", key.fingerprint(), key.line()));
    let sshd = Sshd::start(&instance);
    let login = sshd.ssh("alice", &key, "id -un; pwd; echo said >&2");
    assert_eq!(login.status, Some(0), "{}\n{:#?}", login.stderr, sshd.log());
    assert_eq!((login.stdout.as_str(), login.stderr.as_str()), ("alice\n/run/home/alice\n", "said\n"));
    assert_eq!(sshd.ssh("alice", &key, "exit 7").status, Some(7));

    let other = sshd.ssh("bob", &key, "id -un");
    assert_eq!((other.status, other.stdout.as_str()), (Some(255), ""));
    assert!(other.stderr.contains("Permission denied (publickey)"), "{}", other.stderr);
    let other = sshd.ssh("alice", &UserKey::ed25519(), "id -un");
    assert_eq!((other.status, other.stdout.as_str()), (Some(255), ""));
}

#[test]
fn the_command_runs_as_its_user_with_only_its_arguments() {
    let instance = instance("{ id -un; echo $#; echo $1; env; } | logger -u /dev/log -d -t eic-keys");
    let sshd = Sshd::start(&instance);
    let key = UserKey::ed25519();
    assert_eq!(sshd.ssh("alice", &key, "true").status, Some(255));
    for words in ["eic-keys", "2", "alice", "USER=eic-keys"] {
        assert!(instance.journal.lines().iter().any(|line| line.message() == words), "{words}");
    }
    assert!(!instance.journal.says("SSH_"));
}

#[test]
fn a_failing_command_is_logged_and_authorized_keys_still_count() {
    let instance = instance("exit 22");
    let sshd = Sshd::start(&instance);
    let key = UserKey::ed25519();
    sshd.authorize("alice", &key);
    let login = sshd.ssh("alice", &key, "id -un");
    assert_eq!(login.stdout, "alice\n", "{}\n{:#?}", login.stderr, sshd.log());
    assert_eq!(sshd.ssh("bob", &key, "id -un").status, Some(255));
    assert!(sshd.says("AuthorizedKeysCommand /usr/bin/eic-keys bob SHA256:"));
    assert!(sshd.says("failed, status 22"));
}

#[test]
fn keys_are_offered_in_order() {
    let (first, second) = (UserKey::ed25519(), UserKey::rsa(3072));
    let log = "echo asked for $2 | logger -u /dev/log -d -t eic-keys";
    let instance = instance(&format!("{log}; [ $2 = {} ] && echo '{}'", second.fingerprint(), second.line()));
    let sshd = Sshd::start(&instance);
    let login = sshd.login("alice").key(&first).key(&second).run("id -un");
    assert_eq!(login.stdout, "alice\n", "{}", login.stderr);
    let asked: Vec<String> = instance.journal.eic_keys().iter().map(|l| l.message().to_owned()).collect();
    assert_eq!(asked[0], format!("asked for {}", first.fingerprint()));
    assert_eq!(asked.last().unwrap(), &format!("asked for {}", second.fingerprint()));
}

#[test]
fn ssh_and_sshd_accept_every_key_type() {
    let instance = instance("");
    let sshd = Sshd::start(&instance);
    let keys = [
        UserKey::ed25519(),
        UserKey::rsa(2048),
        UserKey::rsa(4096),
        UserKey::generate("ecdsa", 256),
        UserKey::generate("ecdsa", 384),
        UserKey::generate("ecdsa", 521),
    ];
    for key in keys {
        assert_eq!(sshd.ssh("alice", &key, "id -un").status, Some(255), "{}", key.line());
        sshd.authorize("alice", &key);
        assert_eq!(sshd.ssh("alice", &key, "id -un").stdout, "alice\n", "{}", key.line());
    }
}

#[test]
fn ssh_keygen_reads_security_keys() {
    let instance = Instance::start_without_program();
    for key in [UserKey::sk_ed25519(), UserKey::sk_ecdsa()] {
        instance.write("/run/key.pub", key.line());
        let shown = instance.command(["-l", "-f", "/run/key.pub"]).program("ssh-keygen").run();
        assert!(shown.stdout.contains(key.fingerprint()), "{}{}", shown.stdout, shown.stderr);
        assert!(shown.stdout.contains("-SK)"), "{}", shown.stdout);
    }
}

#[test]
fn the_configuration_can_be_changed() {
    let instance = instance("");
    let sshd = Sshd::start_with(&instance, &Config::new().set("AllowUsers", "bob"));
    let key = UserKey::ed25519();
    for user in ["alice", "bob"] {
        sshd.authorize(user, &key);
    }
    assert_eq!(sshd.ssh("alice", &key, "id -un").status, Some(255));
    assert_eq!(sshd.ssh("bob", &key, "id -un").stdout, "bob\n");
    let kex =
        sshd.login("bob").key(&key).option("KexAlgorithms=ecdh-sha2-nistp384").option("LogLevel=DEBUG1");
    assert!(kex.run("true").stderr.contains("kex: algorithm: ecdh-sha2-nistp384"));
}

#[test]
fn many_users_log_in_at_the_same_time() {
    let instance = instance("sleep 0.3");
    let sshd = Sshd::start(&instance);
    let key = UserKey::ed25519();
    sshd.authorize("alice", &key);
    std::thread::scope(|scope| {
        let logins: Vec<_> = (0..12).map(|_| scope.spawn(|| sshd.ssh("alice", &key, "id -un"))).collect();
        for login in logins {
            let login = login.join().unwrap();
            assert_eq!(login.stdout, "alice\n", "{}", login.stderr);
        }
    });
}

#[test]
fn sessions_end_with_sshd() {
    let instance = instance("");
    let sshd = Sshd::start(&instance);
    let key = UserKey::ed25519();
    sshd.authorize("alice", &key);
    let login = sshd.ssh("alice", &key, "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo started");
    assert_eq!(login.stdout, "started\n");
    let inside = Id::current();
    assert!(!inside.processes().is_empty());
    let started = Instant::now();
    drop(sshd);
    assert!(inside.processes().is_empty(), "{:?}", inside.processes());
    assert!(started.elapsed() < Duration::from_secs(60), "nobody waits for the sleeper");
}
