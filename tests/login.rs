//! Logins: the real ssh, the real sshd, and the shipped binary as its AuthorizedKeysCommand.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use std::time::Duration;

use eic_keys::keys::record::TYPES;
use eic_lab::sshd::{Config, Sshd};
use eic_lab::{Endpoint, Fault, IPV4, Instance, Key, Logger, On, UserKey, within};

/// The time limit of a login in another way.
const IN_TIME: Duration = Duration::from_secs(5);

/// Checks that the user can log in.
#[track_caller]
fn enters(sshd: &Sshd<'_>, user: &str, key: &UserKey) {
    let outcome = sshd.ssh(user, key, "id -un");
    assert_eq!(
        (outcome.status, outcome.stdout.trim()),
        (Some(0), user),
        "{}\n{:#?}",
        outcome.stderr,
        sshd.log()
    );
}

/// Checks that the login is refused with the usual message.
#[track_caller]
fn stays_out(sshd: &Sshd<'_>, user: &str, key: &UserKey) {
    let outcome = sshd.ssh(user, key, "id -un");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(255), ""), "{:#?}", sshd.log());
    assert!(outcome.stderr.contains("Permission denied (publickey)"), "{}", outcome.stderr);
}

#[test]
fn every_type_of_key_logs_in() {
    let instance = Instance::start();
    let sshd = Sshd::start(&instance);
    // A security key needs its token.
    let names = TYPES.iter().map(|known| known.name).filter(|name| !name.starts_with("sk-"));
    for key in names.flat_map(UserKey::of_type) {
        stays_out(&sshd, "alice", &key);
        instance.push("alice", &key);
        enters(&sshd, "alice", &key);
    }
    assert!(!sshd.log().iter().any(|line| line.contains("failed, status")), "{:#?}", sshd.log());
}

#[test]
fn each_user_logs_in_only_with_their_own_key() {
    let instance = Instance::start();
    let sshd = Sshd::start(&instance);
    let (alices, bobs) = (UserKey::ed25519(), UserKey::ed25519());
    instance.push("alice", &alices);
    instance.push("bob", &bobs);
    enters(&sshd, "alice", &alices);
    enters(&sshd, "bob", &bobs);
    stays_out(&sshd, "alice", &bobs);
    stays_out(&sshd, "bob", &alices);
}

#[test]
fn wrong_records_do_not_log_in() {
    let instance = Instance::start();
    let sshd = Sshd::start(&instance);
    let key = UserKey::ed25519();
    for (what, record) in [
        ("expired", instance.record(&key).expires_in(-1).signed_by(&instance.pki().signer.key)),
        ("forged", instance.record(&key).signed_by(&Key::rsa2048(4))),
        ("another instance's", {
            let record = instance.record(&key).set("Instance", "i-0123456789abcdef1");
            record.signed_by(&instance.pki().signer.key)
        }),
    ] {
        instance.imds.unpublish("alice");
        instance.imds.publish("alice", record);
        stays_out(&sshd, "alice", &key);
        assert!(instance.journal.says("Refused a record"), "{what}: {:?}", instance.journal.lines());
        instance.journal.clear();
    }
    // The same key in a correct record.
    instance.imds.unpublish("alice");
    instance.push("alice", &key);
    enters(&sshd, "alice", &key);
}

#[test]
fn a_login_succeeds_after_another_key_is_refused() {
    let instance = Instance::start();
    let sshd = Sshd::start(&instance);
    let (first, second, pushed) = (UserKey::ed25519(), UserKey::rsa(2048), UserKey::ed25519());
    instance.push("alice", &pushed);
    let outcome = sshd.login("alice").key(&first).key(&second).key(&pushed).run("id -un");
    assert_eq!((outcome.status, outcome.stdout.trim()), (Some(0), "alice"), "{}", outcome.stderr);
    assert_eq!(
        instance.journal.eic_keys().len(),
        6,
        "a line for each other key, and two for the pushed one, when asked about and when it signs"
    );
}

#[test]
fn the_key_that_logs_in_is_logged() {
    let instance = Instance::start();
    let sshd = Sshd::start(&instance);
    let key = UserKey::ed25519();
    instance.push("alice", &key);
    enters(&sshd, "alice", &key);
    let line = format!("Providing ssh key from EC2 Instance Connect with fingerprint: {}", key.fingerprint());
    assert!(instance.journal.says(&line), "{:?}", instance.journal.lines());
}

#[test]
fn an_option_in_a_signed_line_is_not_obeyed() {
    let instance = Instance::start();
    let sshd = Sshd::start(&instance);
    let key = UserKey::ed25519();
    instance
        .publish("alice", &instance.record(&key).key_line(format!("command=\"echo pwned\" {}", key.line())));
    stays_out(&sshd, "alice", &key);
}

/// The lines that docs/sshd-configuration.md shows: the first value that sshd reads counts.
#[test]
fn each_match_block_can_have_its_own_principals() {
    const OPS: &str = "arn:aws:sts::123412341234:assumed-role/ops/anna";
    let instance = Instance::start();
    let line = |pattern: &str| format!("/usr/bin/eic-keys --principal {pattern} %u %f");
    let block = format!(
        "User bob\n  AuthorizedKeysCommand {}\n  AuthorizedKeysCommandUser eic-keys",
        line("arn:aws:sts::123412341234:assumed-role/ops/*")
    );
    let config = Config::new().set("AuthorizedKeysCommand", &line("arn:aws:*"));
    let sshd = Sshd::start_with(&instance, &config.set("Match", &block));
    let (ops, developer) = (UserKey::ed25519(), UserKey::ed25519());
    for user in ["alice", "bob"] {
        instance.publish(user, &instance.record(&ops).set("Caller", OPS));
        let caller = "arn:aws:iam::123412341234:user/developer";
        instance.publish(user, &instance.record(&developer).set("Caller", caller));
    }
    enters(&sshd, "alice", &ops);
    enters(&sshd, "alice", &developer);
    enters(&sshd, "bob", &ops);
    stays_out(&sshd, "bob", &developer);
    assert!(instance.journal.says("its IAM principal matches no --principal pattern"));
}

#[test]
fn twenty_simultaneous_logins_succeed() {
    let instance = Instance::start();
    let sshd = Sshd::start(&instance);
    let key = UserKey::ed25519();
    instance.push("alice", &key);
    instance.push("bob", &key);
    std::thread::scope(|scope| {
        for number in 0..20 {
            let (sshd, key) = (&sshd, &key);
            scope.spawn(move || enters(sshd, if number % 2 == 0 { "alice" } else { "bob" }, key));
        }
    });
    assert!(!sshd.log().iter().any(|line| line.contains("failed, status")), "{:#?}", sshd.log());
}

#[test]
fn an_ordinary_key_logs_in_despite_any_fault_of_imds() {
    let instance = Instance::start();
    let sshd = Sshd::start(&instance);
    let key = UserKey::ed25519();
    sshd.authorize("alice", &key);
    let enters_in_time = |what: &str| {
        let ssh = || sshd.ssh("alice", &key, "id -un");
        within(IN_TIME, ssh, |outcome| {
            let result = (outcome.status, outcome.stdout.trim());
            assert_eq!(result, (Some(0), "alice"), "{what}: {}", outcome.stderr);
        });
    };
    enters_in_time("all is well");
    for (what, fault) in [("hangs", Fault::Hang), ("drips", Fault::DripHead(Duration::from_millis(300)))] {
        instance.imds.clear_faults();
        instance.imds.fault(On::any(), fault);
        enters_in_time(what);
    }
    for endpoint in [Endpoint::Refusing, Endpoint::Dropping, Endpoint::Deaf, Endpoint::Absent] {
        instance.endpoint(IPV4.into(), endpoint);
        enters_in_time(&format!("{endpoint:?}"));
    }
}

#[test]
fn a_blocked_log_does_not_delay_a_login() {
    let instance = Instance::start();
    let sshd = Sshd::start(&instance);
    let key = UserKey::ed25519();
    instance.push("alice", &key);
    instance.command(["alice"]).run();
    instance.logger(Logger::Stuck);
    // sshd logs to its stderr here: otherwise it would block.
    let ssh = || sshd.ssh("alice", &key, "id -un");
    within(IN_TIME, ssh, |outcome| {
        assert_eq!((outcome.status, outcome.stdout.trim()), (Some(0), "alice"), "{}", outcome.stderr);
    });
}

#[test]
fn md5_fingerprints_give_no_key() {
    let instance = Instance::start();
    let sshd = Sshd::start_with(&instance, &Config::new().set("FingerprintHash", "md5"));
    let (key, other) = (UserKey::ed25519(), UserKey::ed25519());
    instance.push("alice", &key);
    enters(&sshd, "alice", &key);
    stays_out(&sshd, "alice", &other);
}

#[test]
fn keys_of_both_commands_log_in() {
    let instance = Instance::start();
    let (pushed, theirs, nobodys) = (UserKey::ed25519(), UserKey::ed25519(), UserKey::ed25519());
    instance.install(
        "/usr/bin/other-keys",
        format!("#!/bin/sh\n[ \"$1\" = alice ] && echo '{}'\n", theirs.line()).as_bytes(),
    );
    let line = "/usr/bin/eic-keys %u %f -- /usr/bin/other-keys %u";
    let sshd = Sshd::start_with(&instance, &Config::new().set("AuthorizedKeysCommand", line));
    instance.push("alice", &pushed);
    enters(&sshd, "alice", &pushed);
    enters(&sshd, "alice", &theirs);
    stays_out(&sshd, "alice", &nobodys);
    stays_out(&sshd, "bob", &theirs);
}
