//! The AuthorizedKeysCommand as sshd runs it, with the chained command.

use crate::world::{USER, broken, config, set, world};

/// The keys of the command behind ours are logins, too.
#[test]
fn a_chained_command_that_cannot_run() {
    let behind = |path: &str| set("AuthorizedKeysCommand", &format!("/usr/bin/eic-keys %u %f -- {path} %u"));
    let warns = &[("sshd.command", "warn")];
    broken(
        behind("/usr/bin/gone"),
        warns,
        "the chained command is /usr/bin/gone, which cannot run: it does not exist",
    );
    broken(behind("/etc/passwd"), warns, "which cannot run: /etc/passwd is not a program");
    broken(
        |world| {
            world.instance.install("/usr/bin/eic-lab-theirs", b"#!/bin/sh\n");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions("/usr/bin/eic-lab-theirs", mode).unwrap();
            behind("/usr/bin/eic-lab-theirs")(world);
        },
        warns,
        "which cannot run: users other than root can write to /usr/bin/eic-lab-theirs",
    );
}

/// sshd waits for the end of the command behind ours.
#[test]
fn a_chained_command_that_hangs() {
    world(|world| {
        world.instance.install("/usr/bin/eic-lab-slow", b"#!/bin/sh\nexec sleep 30\n");
        set("AuthorizedKeysCommand", "/usr/bin/eic-keys %u %f -- /usr/bin/eic-lab-slow %u")(world);
        let report = world.check();
        report.assert_exactly(&[("login.command", "warn")]);
        let note = report.note("login.command");
        assert!(
            note.contains("the chained command does not end within 4.8 s: /usr/bin/eic-lab-slow alice;"),
            "{note}"
        );
    });
}

/// A chained command that cannot run is named before anybody logs in. One that fails can have no keys for this user.
#[test]
fn a_chained_command_that_fails() {
    for (script, warns, says) in [
        (
            "#!/usr/bin/none\n",
            &[("login.command", "warn")][..],
            "the chained command cannot run: /usr/bin/eic-lab-theirs alice: exit status: 127",
        ),
        ("#!/bin/sh\nkill -KILL $$\n", &[("login.command", "warn")], "alice: signal: 9"),
        (
            "#!/bin/sh\necho no directory >&2; exit 3\n",
            &[],
            "the chained command ends with exit status: 3, so that it provides no keys: /usr/bin/eic-lab-theirs alice: no directory",
        ),
        (
            "#!/bin/sh\nexec cat /etc/shadow\n",
            &[("login.command", "warn")],
            "refused access, and provides no keys: /usr/bin/eic-lab-theirs alice: exit status: 1: cat: /etc/shadow: Permission denied",
        ),
    ] {
        world(|world| {
            world.instance.install("/usr/bin/eic-lab-theirs", script.as_bytes());
            let line = "/usr/bin/eic-keys %u %f -- /usr/bin/eic-lab-theirs %u";
            world.restart(&config().set("AuthorizedKeysCommand", line).text());
            let report = world.check();
            report.assert_exactly(warns);
            let note = report.note("login.command");
            assert!(note.contains(says), "{note}");
            // A pushed key is accepted all the same.
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        });
    }
}

/// A login refuses a chained command that users other than root can change, so `--check` must not run it either.
#[test]
fn a_chained_command_that_others_can_change_is_not_run() {
    world(|world| {
        world.instance.install("/usr/bin/eic-lab-theirs", b"#!/bin/sh\ntouch /run/eic-lab-ran\n");
        let line = "/usr/bin/eic-keys %u %f -- /usr/bin/eic-lab-theirs %u";
        let config = config().set("AuthorizedKeysCommand", line).set("AuthorizedKeysCommandUser", "root");
        world.restart(&config.text());
        let ran = || std::fs::remove_file("/run/eic-lab-ran").is_ok();
        world.check();
        assert!(ran(), "a command that only root can change is run");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions("/usr/bin/eic-lab-theirs", mode).unwrap();
        let report = world.check();
        assert!(report.note("sshd.command").contains("users other than root can write to"));
        assert!(!ran(), "root ran a command that users other than root can change");
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        assert!(!ran(), "a login ran it");
    });
}

/// sshd waits for the chained command, and closes the connection after `LoginGraceTime`.
#[test]
fn a_login_that_takes_too_long() {
    let with = |grace: &str| {
        let line = "/usr/bin/eic-keys %u %f -- /bin/sleep 2";
        config().set("AuthorizedKeysCommand", line).set("LoginGraceTime", grace).text()
    };
    world(|world| {
        let limits = ("sshd.limits", "warn");
        for (grace, expected, works) in [("1", "fail", false), ("3", "warn", false), ("60", "ok", true)] {
            world.restart(&with(grace));
            let login = world.sshd.ssh(USER, &world.key, "true");
            assert_eq!(login.status == Some(0), works, "{grace}: {}", login.stderr);
            let report = world.check();
            match expected {
                "ok" => report.assert_healthy(),
                _ => report.assert_exactly(&[limits, ("login.command", expected)]),
            }
            if expected != "ok" {
                let note = report.note("login.command");
                let says = format!("closes the connection after LoginGraceTime {grace} s");
                assert!(
                    note.contains("with the chained command /bin/sleep 2 takes 2") && note.contains(&says),
                    "{note}"
                );
            }
        }
    });
}
