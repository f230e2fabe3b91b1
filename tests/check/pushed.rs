//! What is pushed, and what would become of it: the same that becomes of it when sshd asks.
use crate::world::{USER, World, broken, world};
use eic_lab::{Fault, Instance, Key, On, UserKey};
use std::thread;
use std::time::{Duration, Instant};

/// Publishes one record beside the good one, and looks for its reason in the check's lines, and in its note if the record
/// was refused before its signature was looked at.
fn beside_a_good_one(publish: impl FnOnce(&Instance, &UserKey), id: &str, says: &str) {
    world(|world| {
        let instance = world.instance;
        let good = &world.key;
        let key = UserKey::ed25519();
        publish(instance, &key);
        let report = world.check();
        report.assert_exactly(&[(id, "warn")]);
        assert!(report.detail(id).iter().any(|line| line.contains(says)), "{:?}", report.detail(id));
        let note = report.note(id);
        assert!(
            id != "keys.records" || note == format!("1 of 2 keys is refused; the last: {says}"),
            "{note}"
        );
        let given = report.detail("keys.signatures");
        let given: Vec<_> = given.iter().filter(|line| line.ends_with("would be printed for sshd")).collect();
        assert!(matches!(given.as_slice(), [line] if line.contains(good.fingerprint())), "{given:?}");
        assert_eq!(instance.run([USER]).keys(), [good.line()], "sshd is given just that");
    });
}

#[test]
fn nothing_is_pushed() {
    world(|world| {
        world.instance.imds.unpublish(USER);
        let report = world.check();
        report.assert_exactly(&[("keys.pushed", "skip")]);
        assert_eq!(report.note("keys.pushed"), "no key is pushed for alice now");
        // The push was for another user.
        world.instance.push("bob", &world.key);
        let report = world.check();
        report.assert_exactly(&[("keys.pushed", "skip")]);
        assert_eq!(report.note("keys.pushed"), "no key is pushed for alice now, but for bob");
        let summary = report.document["summary"].as_str().unwrap();
        assert!(
            summary
                .starts_with("No key is pushed for alice now, but for bob; a pushed key is valid for 60 s:"),
            "{summary}"
        );
    });
}

#[test]
fn a_push_is_waited_for() {
    world(|world| {
        let instance = world.instance;
        instance.imds.unpublish(USER);
        // None comes.
        let start = Instant::now();
        let report = world.check_with(&[USER, "--wait", "2"]);
        report.assert_exactly(&[
            ("keys.pushed", "warn"),
            ("keys.records", "skip"),
            ("keys.signatures", "skip"),
            ("keys.accepted", "skip"),
        ]);
        assert_eq!(report.note("keys.pushed"), "nothing was pushed for alice in the 2 s of --wait");
        assert!(start.elapsed() >= Duration::from_secs(2));
        // One is there that has expired, then one comes.
        let key = UserKey::ed25519();
        instance.publish(USER, &instance.record(&key).expires_in(-5));
        let good = UserKey::ed25519();
        let record = instance.record(&good);
        let start = Instant::now();
        let report = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_secs(3));
                instance.imds.unpublish(USER);
                instance.publish(USER, &record);
            });
            world.check_with(&[USER, "--wait", "300"])
        });
        report.assert_healthy();
        assert_eq!(report.note("keys.signatures"), "1 of 1 keys would be printed for sshd");
        assert!(report.detail("keys.records").iter().all(|line| line.contains(good.fingerprint())));
        assert!((Duration::from_secs(3)..Duration::from_secs(100)).contains(&start.elapsed()));
        // One that is there already is checked at once, whatever is wrong with it.
        instance.imds.unpublish(USER);
        instance.publish(USER, &record.set("Instance", "i-0fedcba9876543210"));
        let report = world.check_with(&[USER, "--wait", "300"]);
        assert_eq!(report.status("keys.records"), "fail");
    });
}

#[test]
fn details_of_a_record() {
    world(|world| {
        let key = &world.key;
        let report = world.check();
        let lines = report.detail("keys.records");
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        for part in [
            &format!("ssh-ed25519 {}", key.fingerprint()),
            "s left",
            "principal arn:aws:iam::123412341234:role/myrole",
            "request 1234abcd-1234-abcd-1234-1234abcd1234",
        ] {
            assert!(line.contains(part), "{line} says {part}");
        }
    });
}

#[test]
fn refused_records() {
    // The key of an earlier push.
    world(|world| {
        let instance = world.instance;
        instance.publish(USER, &instance.record(&UserKey::ed25519()).expires_in(-5));
        let report = world.check();
        report.assert_healthy();
        assert_eq!(
            report.note("keys.records"),
            "1 of 2 keys are valid, if the signer signed them; the others have expired"
        );
        assert!(report.detail("keys.records").iter().any(|line| line.contains("it expired")));
    });
    beside_a_good_one(
        |instance, key| instance.publish(USER, &instance.record(key).set("Instance", "i-0fedcba9876543210")),
        "keys.records",
        "it is for another instance, i-0fedcba9876543210",
    );
    beside_a_good_one(
        |instance, key| instance.publish(USER, &instance.record(key).without("Timestamp")),
        "keys.records",
        "it has no Timestamp",
    );
    // A key that AWS takes and that no push again would change.
    world(|world| {
        world.instance.publish(USER, &world.instance.record(&UserKey::rsa(1024)));
        let report = world.check();
        report.assert_exactly(&[("keys.records", "warn")]);
        let note = report.note("keys.records");
        assert_eq!(note, "1 of 2 keys is refused; the last: its RSA key size is outside 2048-16384 bits");
        assert_eq!(
            report.of("keys.records")["fix"],
            "push an Ed25519 key, or an RSA key of 2048 bits or more"
        );
    });
    beside_a_good_one(
        |instance, key| instance.imds.publish(USER, instance.record(key).signed_by(&Key::rsa2048(4))),
        "keys.signatures",
        "it is not signed by managed-ssh-signer.us-east-1.amazonaws.com",
    );
}

#[test]
fn records_cannot_be_fetched() {
    let answer = |fault: Fault| {
        move |world: &World<'_>| {
            world.instance.imds.fault(On::within("managed-ssh-keys/active-keys"), fault);
        }
    };
    let fails = &[("keys.pushed", "fail"), ("login.command", "fail")];
    broken(answer(Fault::Status(500)), fails, "500");
    broken(answer(Fault::LargeBody(1024 * 1024)), fails, "sent more than");
}

#[test]
fn the_only_record_is_refused() {
    world(|world| {
        let (instance, key) = (world.instance, &world.key);
        instance.imds.unpublish(USER);
        instance.publish(USER, &instance.record(key).expires_in(-5));
        let report = world.check();
        report.assert_exactly(&[("keys.records", "fail")]);
        assert!(report.note("keys.records").starts_with("the pushed key is refused: it expired"));
        instance.imds.unpublish(USER);
        instance.publish(USER, &instance.record(key).set("Instance", "i-0fedcba9876543210"));
        assert_eq!(
            world.check().note("keys.records"),
            "the pushed key is for instance i-0fedcba9876543210, not this one"
        );
        instance.imds.unpublish(USER);
        instance.imds.publish(USER, instance.record(key).signed_by(&Key::rsa2048(4)));
        world.check().assert_exactly(&[("keys.signatures", "fail")]);
    });
}

/// The note has the reason of the last record, and its fix.
#[test]
fn all_records_are_refused() {
    world(|world| {
        let line = "/usr/bin/eic-keys --principal arn:aws:sts::999999999999:assumed-role/other/* %u %f";
        world.configure(&crate::world::config().set("AuthorizedKeysCommand", line).text());
        world.instance.push(USER, &UserKey::ed25519());
        let report = world.check();
        report.assert_exactly(&[("keys.records", "fail")]);
        assert_eq!(
            report.note("keys.records"),
            "all 2 pushed keys are refused; the last: its IAM principal matches no --principal pattern"
        );
        let fix = report.of("keys.records")["fix"].as_str().unwrap();
        assert!(
            fix.starts_with(
                "push the key as an IAM principal that --principal in the AuthorizedKeysCommand names"
            ),
            "{fix}"
        );
    });
}

/// sshd refuses a pushed key by its type, its size, or a list of revoked keys. A login shows that.
#[test]
fn keys_that_sshd_refuses() {
    fn run(world: &World<'_>, command: &str) {
        let ran = world.instance.command(["-ec", command]).program("/bin/sh").as_root().run();
        assert_eq!(ran.status, Some(0), "{command}: {}{}", ran.stdout, ran.stderr);
    }
    let refused = |world: &World<'_>, key: &UserKey, others: &[(&str, &str)], says: &str| {
        assert_ne!(world.sshd.ssh(USER, key, "true").status, Some(0), "{says}");
        let report = world.check();
        report.assert_exactly(&[&[("keys.accepted", "fail")], others].concat());
        let note = report.note("keys.accepted");
        assert!(note.starts_with("the pushed key ssh-") && note.contains(key.fingerprint()), "{note}");
        assert!(note.contains(says), "{note}");
    };
    world(|world| {
        let config = crate::world::config().set("RevokedKeys", "/etc/ssh/revoked").text();
        let (key, other) = (&world.key, UserKey::ed25519());
        world.instance.write("/run/key.pub", format!("{}\n", key.line()));
        world.instance.write("/run/other.pub", format!("{}\n", other.line()));
        run(
            world,
            "printf 'sha256: %s\n' \"$(cat /run/key.pub)\" >/run/sha256; printf 'sha1: %s\n' \"$(cat /run/key.pub)\" >/run/sha1",
        );
        // Others' keys, in each form.
        for list in
            ["cat /run/other.pub >/etc/ssh/revoked", "ssh-keygen -q -k -f /etc/ssh/revoked /run/other.pub"]
        {
            run(world, list);
            world.restart(&config);
            assert_eq!(world.sshd.ssh(USER, key, "true").status, Some(0));
            world.check().assert_healthy();
        }
        for list in [
            "cat /run/other.pub /run/key.pub >/etc/ssh/revoked",
            "ssh-keygen -q -k -f /etc/ssh/revoked /run/other.pub /run/key.pub",
            "ssh-keygen -q -k -f /etc/ssh/revoked /run/other.pub /run/sha256",
            "ssh-keygen -q -k -f /etc/ssh/revoked -z 7 /run/sha1 /run/other.pub",
        ] {
            run(world, list);
            world.restart(&config);
            refused(world, key, &[], "it is on the list of revoked keys /etc/ssh/revoked");
        }
        // Another one is accepted.
        world.instance.push_for_an_hour(USER, &other);
        run(world, "cat /run/key.pub >/etc/ssh/revoked");
        let report = world.check();
        report.assert_exactly(&[("keys.accepted", "warn")]);
        let note = report.note("keys.accepted");
        assert!(
            note.starts_with("sshd refuses 1 of 2 pushed keys; the last: the pushed key ssh-ed25519 "),
            "{note}"
        );
        let fix = report.of("keys.accepted")["fix"].as_str().unwrap();
        assert!(fix.starts_with("offer another of the pushed keys, or push another key (/"), "{fix}");
        let summary = report.document["summary"].as_str().unwrap();
        let says = format!("This system refuses some of alice's keys: {note} (keys.accepted). ");
        assert!(summary.starts_with(&says) && !summary.contains("Nothing was found"), "{summary}");
    });
    world(|world| {
        world.restart(&crate::world::config().set("PubkeyAcceptedAlgorithms", "rsa-sha2-512").text());
        refused(
            world,
            &world.key,
            &[("sshd.algorithms", "warn")],
            "sshd accepts no signatures of this type (ssh-ed25519)",
        );
    });
    world(|world| {
        let key = UserKey::rsa(2048);
        world.instance.imds.unpublish(USER);
        world.instance.push_for_an_hour(USER, &key);
        world.check().assert_healthy();
        world.restart(&crate::world::config().set("RequiredRSASize", "3072").text());
        refused(world, &key, &[("sshd.revoked", "warn")], "it has 2048 bits, and RequiredRSASize is 3072");
        world.restart(&crate::world::config().set("PubkeyAcceptedAlgorithms", "ssh-ed25519").text());
        refused(world, &key, &[("sshd.algorithms", "warn")], "(rsa-sha2-512,rsa-sha2-256)");
    });
}

#[test]
fn an_offered_key() {
    world(|world| {
        let instance = world.instance;
        let key = &world.key;
        let (pushed, other) = (UserKey::ed25519(), UserKey::ed25519());
        instance.push(USER, &pushed);
        for offered in [key, &pushed] {
            let report = world.check_with(&[USER, offered.fingerprint()]);
            report.assert_healthy();
            assert!(report.detail("keys.signatures")[0].contains(offered.fingerprint()));
        }
        let report = world.check_with(&[USER, other.fingerprint()]);
        report.assert_exactly(&[("keys.records", "fail")]);
        assert_eq!(report.note("keys.records"), "the offered key is none of the 2 pushed keys");
    });
}

#[test]
fn hostile_values_come_out_harmless() {
    world(|world| {
        let instance = world.instance;
        let key = UserKey::ed25519();
        let caller = "arn\u{1b}]0;owned\u{7}\u{202e}\r\u{9b}31m";
        instance.publish(USER, &instance.record(&key).set("Caller", caller));
        let outputs = [world.check().outcome.stdout, world.text(&[USER, "--verbose"]).stdout];
        for output in outputs {
            assert!(output.contains("]0;owned"), "{output}");
            assert!(output.chars().all(|char| char == '\n' || !char.is_control()), "{output:?}");
            assert!(!output.contains('\u{202e}'), "{output:?}");
        }
    });
}

#[test]
fn a_user_name_that_is_not_valid() {
    world(|world| {
        let instance = world.instance;
        for name in ["../../api/token", "a b", "\u{1b}[2J", "123"] {
            let report = world.check_with(&["--", name][1..]);
            assert_eq!(report.status("user.name"), "fail");
            assert_eq!(report.status("keys.pushed"), "skip");
        }
        assert!(instance.imds.paths().iter().all(|path| !path.contains("active-keys")));
    });
}
