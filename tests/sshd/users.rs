//! Our lines and the user that runs the commands: a user that is missing, exists again, or is expanded by sshd.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may panic")]

use std::{fs, time::Duration};

use super::helpers::{STOCK, USERDB, enable, run, stock};
use eic_keys::sshd::{self, EnableOptions, EnableOutcome};

/// A user name with `%` is expanded by sshd at each login, so it cannot be looked up before. In our lines and in lines
/// that were set by hand.
#[test]
fn a_user_that_sshd_expands_is_never_missing() {
    for (user, by_hand) in [("%u", false), ("svc-%u", false), ("%u", true), ("a%%b", true)] {
        let system = stock();
        let command =
            if by_hand { "/usr/bin/eic-keys %u %f -- /usr/bin/keys %u" } else { "/usr/bin/keys %u" };
        system.install("/usr/bin/keys", "#!/bin/sh\n");
        let lines = format!("AuthorizedKeysCommand {command}\nAuthorizedKeysCommandUser {user}\n");
        system.write("/etc/ssh/sshd_config.d/50-keys.conf", lines);
        let output = enable(&system.options());
        assert!(!output.contains("does not exist"), "{output}");
        let enabled = system.configuration();
        assert_eq!(enabled.len(), if by_hand { 2 } else { 3 }, "{user}");
        if !by_hand {
            let ours = fs::read_to_string(system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf")).unwrap();
            let expected = format!(
                "AuthorizedKeysCommand /usr/bin/eic-keys %u %f -- /usr/bin/keys %u\nAuthorizedKeysCommandUser {user}\n"
            );
            assert!(ours.contains(&expected), "{ours}");
        }
        assert_eq!(enable(&EnableOptions { if_user_missing: true, ..system.options() }), "");
        assert_eq!(enabled, system.configuration(), "{user}");
    }
}

/// The systemd path unit runs `--enable --if-user-missing`. It must not change anything while the administrator edits
/// the configuration.
#[test]
fn if_user_missing_changes_nothing_while_the_user_exists() {
    let system = stock();
    let options = EnableOptions { if_user_missing: true, recheck_delay: Duration::ZERO, ..system.options() };
    let unchanged = |when: &str| {
        let before = system.configuration();
        assert_eq!(enable(&options), "", "{when}");
        assert_eq!(before, system.configuration(), "{when}");
    };
    unchanged("not enabled");
    let other = |user: &str| {
        format!(
            "AuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %u\nAuthorizedKeysCommandUser {user}\n"
        )
    };
    system.install("/usr/bin/userdbctl", "#!/bin/sh\n");
    system.write("/etc/ssh/sshd_config", format!("{STOCK}{}", other("git")));
    unchanged("another command, not enabled");
    enable(&system.options());
    unchanged("chained");
    system.write("/etc/ssh/sshd_config", format!("{STOCK}NoSuchKeyword yes\n{}", other("git")));
    unchanged("chained, and the configuration is being edited");
    system.write("/etc/ssh/sshd_config", format!("{STOCK}{}", other("git")));

    let passwd = fs::read_to_string(system.path("/etc/passwd")).unwrap();
    system.write("/etc/passwd", passwd.replace("git:x:", "was-git:x:"));
    let output = enable(&options);
    assert!(output.contains("the user git, who does not exist: sshd never runs it"), "{output}");
    let dropin = fs::read_to_string(system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf")).unwrap();
    assert!(
        dropin
            .contains("AuthorizedKeysCommand /usr/bin/eic-keys %u %f\nAuthorizedKeysCommandUser eic-keys\n")
    );
    assert!(
        dropin.contains(
            "\n# Left out, as its user git does not exist: /usr/bin/userdbctl ssh-authorized-keys %u\n"
        ),
        "{dropin}"
    );
    unchanged("done");
    assert!(enable(&system.options()).contains("Nothing to do"));
    unchanged("done, and asked for");
}

/// The comment about the left-out command is removed then.
#[test]
fn chains_a_left_out_command_again_when_its_user_exists_again() {
    let other_command = "AuthorizedKeysCommand /usr/bin/keys %u\nAuthorizedKeysCommandUser git\n";
    let by_hand = "AuthorizedKeysCommand /usr/bin/eic-keys --timeout 3 %u %f -- /usr/bin/keys %u\nAuthorizedKeysCommandUser git\n";
    for (lines, first, if_user_missing) in [
        (other_command, "enabled with its user", true),
        (other_command, "enabled with its user", false),
        (other_command, "enabled without", true),
        (other_command, "enabled without", false),
        (by_hand, "enabled without", true),
        (by_hand, "enabled without", false),
    ] {
        let when = format!("{lines}{first} {if_user_missing}");
        let system = stock();
        let watch =
            EnableOptions { if_user_missing: true, recheck_delay: Duration::ZERO, ..system.options() };
        system.install("/usr/bin/keys", "#!/bin/sh\n");
        system.write("/etc/ssh/sshd_config.d/50-keys.conf", lines);
        enable(&system.options());
        let together = system.configuration();
        let passwd = fs::read_to_string(system.path("/etc/passwd")).unwrap();
        let remove_user = || system.write("/etc/passwd", passwd.replace("git:x:", "was-git:x:"));
        if first == "enabled without" {
            let (outcome, _) = run(sshd::disable, &system.options());
            assert_eq!(outcome == EnableOutcome::Done, lines != by_hand, "{when}: {outcome:?}");
            remove_user();
            // Lines that were set by hand are not changed.
            let before = system.configuration();
            assert_eq!(enable(&watch), "", "{when}");
            assert_eq!(before, system.configuration(), "{when}");
            enable(&system.options());
        } else {
            remove_user();
            enable(&watch);
        }
        let without = system.configuration();
        assert_ne!(together, without, "{when}");
        let ours = fs::read_to_string(system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf")).unwrap();
        assert!(ours.contains("\n# Left out, as its user git does not exist: /usr/bin/"), "{when}: {ours}");
        assert!(ours.contains("AuthorizedKeysCommandUser eic-keys\n"), "{when}: {ours}");
        // Another user is added.
        system.write("/etc/passwd", passwd.replace("git:x:", "zed:x:"));
        assert_eq!(enable(&watch), "", "{when}");
        assert_eq!(without, system.configuration(), "{when}");
        system.write("/etc/passwd", &passwd);
        let output = enable(&EnableOptions { if_user_missing, ..watch.clone() });
        assert!(output.contains("/usr/bin/keys %u"), "{when}: {output}");
        assert_eq!(together, system.configuration(), "{when}");
        assert_eq!(enable(&watch), "", "{when}");
    }
}

/// A user that is deleted and created again within the delay does not count as missing.
#[test]
fn looks_up_a_missing_user_twice() {
    let system = stock();
    system.write("/etc/ssh/sshd_config.d/20-systemd-userdb.conf", USERDB.replace("root", "git"));
    system.install("/usr/bin/userdbctl", "#!/bin/sh\n");
    enable(&system.options());
    let before = system.configuration();
    let passwd = fs::read_to_string(system.path("/etc/passwd")).unwrap();
    system.write("/etc/passwd", passwd.replace("git:x:", "was-git:x:"));
    std::thread::scope(|scope| {
        let recheck_delay = Duration::from_secs(3);
        let options = EnableOptions { if_user_missing: true, recheck_delay, ..system.options() };
        let watch = scope.spawn(move || enable(&options));
        std::thread::sleep(Duration::from_secs(1));
        system.write("/etc/passwd", &passwd);
        assert_eq!(watch.join().unwrap(), "");
    });
    assert_eq!(before, system.configuration());
}
