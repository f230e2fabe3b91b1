//! `--disable`: what it refuses and what it leaves.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may panic")]

use std::{fs, os::unix::fs::symlink};

use super::helpers::{
    STOCK, add_process, disable, enable, enable_is_refused, refused, stock, with_systemctl,
};
use crate::systems::System;
use eic_keys::sshd::{self, EnableOptions};

#[test]
fn refuses_lines_that_were_set_by_hand() {
    let system = System::new("bookworm");
    system.write(
        "/etc/ssh/sshd_config",
        "AuthorizedKeysCommand /usr/bin/eic-keys %u %f\nAuthorizedKeysCommandUser nobody\n",
    );
    disable_is_refused(&system, "sshd_config line 1");
}

/// Runs `--disable`, which must be refused because of this line that was set by hand, and change nothing.
fn disable_is_refused(system: &System, line: &str) {
    let before = system.configuration();
    for dry_run in [true, false] {
        let reason = refused(sshd::disable, &EnableOptions { dry_run, ..system.options() });
        assert!(reason.contains(line) && reason.contains("by hand"), "not refused for \"{line}\": {reason}");
    }
    assert_eq!(before, system.configuration(), "{line}");
}

/// If the program is removed, sshd gets no keys from such a line, not even those of its chained command.
#[test]
fn refuses_while_a_line_names_eic_keys() {
    let user = "AuthorizedKeysCommandUser nobody\n";
    let line = "AuthorizedKeysCommand /usr/bin/eic-keys %u %f -- /usr/bin/keys %u\n";
    for (path, text, reason) in [
        (
            "sshd_config",
            format!("{STOCK}Match Group alice\n {line} {user}"),
            "sshd_config line 4 sets /usr/bin/eic-keys %u %f -- /usr/bin/keys %u under \"Match Group alice\"",
        ),
        (
            "sshd_config",
            format!("{STOCK}Match User bob\n Include /etc/ssh/bob\n"),
            "/etc/ssh/bob line 1 sets /usr/bin/eic-keys",
        ),
        ("sshd_config.d/50-x.conf", format!("{line}{user}"), "50-x.conf line 1 sets /usr/bin/eic-keys"),
        (
            "sshd_config.d/50-x.conf",
            format!("Match LocalPort 22\n{line}{user}"),
            "50-x.conf line 2 sets /usr/bin/eic-keys",
        ),
        // Another program runs eic-keys.
        (
            "sshd_config.d/50-x.conf",
            format!("{}{user}", line.replace("/usr/bin/eic", "/usr/bin/timeout 5 /usr/bin/eic")),
            "50-x.conf line 1 sets /usr/bin/timeout 5 /usr/bin/eic-keys",
        ),
        (
            "sshd_config.d/50-x.conf",
            format!("AuthorizedKeysCommand /bin/sh -c \"/usr/bin/eic-keys %u\"\n{user}"),
            "50-x.conf line 1 sets /bin/sh -c \"/usr/bin/eic-keys %u\"",
        ),
        (
            "sshd_config.d/50-x.conf",
            format!("Match User bob\n{}{user}", line.replace("/usr/bin/eic", "/usr/bin/timeout 5 /opt/eic")),
            "50-x.conf line 2 sets /usr/bin/timeout 5 /opt/eic-keys",
        ),
    ] {
        let system = stock();
        system.write("/etc/ssh/bob", format!("{line}{user}"));
        fs::create_dir(system.path("/opt")).unwrap();
        symlink("../usr/bin/eic-keys", system.path("/opt/eic-keys")).unwrap();
        // Alone, and together with lines of --enable.
        for beside in [false, true] {
            system.write("/etc/ssh/sshd_config", STOCK);
            let _ = fs::remove_file(system.path("/etc/ssh/sshd_config.d/50-x.conf"));
            if beside {
                enable(&system.options());
            }
            system.write(&format!("/etc/ssh/{path}"), &text);
            disable_is_refused(&system, reason);
        }
    }
}

#[test]
fn refuses_while_another_sshd_names_eic_keys() {
    let user = "AuthorizedKeysCommandUser nobody\n";
    for (other, reason) in [
        (
            "AuthorizedKeysCommand /usr/bin/eic-keys %u %f -- /usr/bin/keys %u\n",
            Some("/etc/ssh/other line 1 sets /usr/bin/eic-keys"),
        ),
        (
            "Match User bob\nAuthorizedKeysCommand /usr/bin/eic-keys %u\n",
            Some(
                "/etc/ssh/other line 2 sets /usr/bin/eic-keys %u under \"Match User bob\", for the sshd with process 77",
            ),
        ),
        ("AuthorizedKeysCommand /usr/bin/keys %u\n", None),
        // It includes only our drop-in, which is removed.
        ("Include /etc/ssh/sshd_config.d/*.conf\n", None),
    ] {
        for beside in [false, true] {
            let system = stock();
            system.write("/etc/ssh/other", format!("{other}{user}"));
            add_process(&system, 77, "/usr/sbin/sshd -D -f /etc/ssh/other", 1);
            add_process(&system, 78, "/usr/sbin/sshd -D", 1);
            if beside {
                enable(&system.options());
            }
            match reason {
                Some(reason) => disable_is_refused(&system, reason),
                None => drop(disable(&system.options())),
            }
        }
    }
    // A file that cannot be read is named. A file that does not exist contains nothing.
    let system = stock();
    add_process(&system, 77, "/usr/sbin/sshd -D -f /etc/ssh/other", 1);
    assert!(!disable(&system.options()).contains("process 77"));
    system.write("/etc/ssh/other", "Include /etc/ssh/other\n");
    assert!(
        disable(&system.options())
            .contains("Note: the configuration of the sshd with process 77 cannot be read")
    );

    let system = stock();
    add_process(&system, 77, "/usr/sbin/sshd -D -o AuthorizedKeysCommand=/usr/bin/eic-keys", 1);
    disable_is_refused(&system, "the command line of sshd, process 77 has -o AuthorizedKeysCommand");
    let system = stock();
    let unit = "[Service]\nExecStart=/usr/sbin/sshd -D -o \"AuthorizedKeysCommand /usr/bin/eic-keys %%u\"\n";
    system.write("/etc/systemd/system/ssh.service", unit);
    disable_is_refused(&system, "/etc/systemd/system/ssh.service line 2 has -o AuthorizedKeysCommand");
}

/// Without our lines, nothing prevents the removal of the package: not a configuration that sshd rejects or that cannot
/// be read, and not a unit that cannot be reloaded.
#[test]
fn succeeds_without_our_lines_even_if_sshd_does_not_work() {
    for text in [
        "Bogus\n",
        "AuthorizedKeysCommand \"/x\n",
        "HostKey /nonexistent\n",
        "Include /etc/ssh/sshd_config\n",
        "AuthorizedKeysCommand /usr/bin/keys %u\n",
    ] {
        for reload_pending in [false, true] {
            let system = stock();
            let failing = with_systemctl(
                &system,
                "case $* in *socket*) echo inactive;; is-active*) echo active;; *) exit 1;; esac",
            );
            if reload_pending {
                system.write("/run/eic-keys.lock", "x");
            }
            system.write("/etc/ssh/sshd_config", format!("{STOCK}{text}"));
            let before = system.configuration();
            let output = disable(&failing);
            assert!(output.contains("Nothing to do"), "{text}: {output}");
            assert_eq!(output.contains("cannot be reloaded now"), reload_pending, "{text}: {output}");
            assert_eq!(before, system.configuration());
            assert!(!system.path("/tmp/systemctl.log").exists(), "{text}");
        }
    }
    // A unit that cannot be reloaded. The reload is tried after an interrupted run, and its failure is only a note.
    let system = stock();
    let failing = with_systemctl(
        &system,
        "case $* in *socket*) echo inactive;; is-active*) echo active;; *) exit 1;; esac",
    );
    assert!(!disable(&failing).contains("Note"));
    assert!(!system.path("/tmp/systemctl.log").exists());
    system.write("/run/eic-keys.lock", "x");
    let output = disable(&failing);
    assert!(output.contains("cannot be reloaded now: "), "{output}");
    // Without a main file, and with an sshd that cannot be run.
    fs::remove_file(system.path("/etc/ssh/sshd_config")).unwrap();
    assert!(disable(&failing).contains("Nothing to do"));
    let broken = EnableOptions { sshd: vec!["false".into()], ..system.options() };
    assert!(disable(&broken).contains("Nothing to do"));

    // With our lines, it is refused.
    for (text, path) in [
        ("Bogus\n", "sshd_config"),
        ("AuthorizedKeysCommand \"/x\n", "sshd_config"),
        ("Bogus\n", "sshd_config.d/50-x.conf"),
    ] {
        let system = stock();
        enable(&system.options());
        let here = fs::read_to_string(system.path(&format!("/etc/ssh/{path}"))).unwrap_or_default();
        system.write(&format!("/etc/ssh/{path}"), here + text);
        let before = system.configuration();
        refused(sshd::disable, &system.options());
        assert_eq!(before, system.configuration());
    }
}

#[test]
fn removes_our_lines_after_sshd_was_removed() {
    for main in [STOCK, "UsePAM yes\nMatch User bob\n  PasswordAuthentication no"] {
        let system = System::new("trixie");
        system.write("/etc/ssh/sshd_config", main);
        let before = system.configuration();
        enable(&system.options());
        let enabled = system.configuration();
        fs::remove_file(system.path("/usr/sbin/sshd")).unwrap();
        let options = EnableOptions { sshd: Vec::new(), ..system.options() };
        let output = disable(&EnableOptions { dry_run: true, ..options.clone() });
        assert!(output.contains("\n-AuthorizedKeysCommand /usr/bin/eic-keys %u %f\n"), "{output}");
        assert_eq!(enabled, system.configuration());
        let output = disable(&options);
        assert!(output.contains("No sshd is installed"), "{output}");
        assert_eq!(before, system.configuration());
        assert!(disable(&options).contains("Nothing to do"));
        enable_is_refused(&system, &options, "there is no sshd here");
    }

    // The main file was removed with sshd.
    let system = stock();
    enable(&system.options());
    fs::remove_file(system.path("/usr/sbin/sshd")).unwrap();
    fs::remove_file(system.path("/etc/ssh/sshd_config")).unwrap();
    let options = EnableOptions { sshd: Vec::new(), ..system.options() };
    disable(&options);
    assert_eq!(system.configuration(), []);
}

#[test]
fn leaves_edits_around_and_between_our_lines() {
    let system = stock();
    enable(&system.options());
    let drop_in = "/etc/ssh/sshd_config.d/10-eic-keys.conf";
    let ours = fs::read_to_string(system.path(drop_in)).unwrap();
    system.write(drop_in, ours.replace("%u %f\n", "--timeout 3 %u %f\nMaxSessions 5\n"));
    system.write("/etc/ssh/sshd_config", format!("Port 2222\n{STOCK}\n"));
    let output = disable(&system.options());
    assert!(
        output.contains(
            "10-eic-keys.conf line 4 is between the lines of eic-keys, but is not one of them: it stays"
        ),
        "{output}"
    );
    let expected = [
        ("sshd_config".to_owned(), format!("Port 2222\n{STOCK}\n").into_bytes()),
        ("sshd_config.d/10-eic-keys.conf".to_owned(), b"MaxSessions 5\n".to_vec()),
    ];
    assert_eq!(system.configuration(), expected);

    // Our drop-in is removed even if the main file no longer includes it.
    let system = stock();
    enable(&system.options());
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    disable(&system.options());
    assert!(!system.path(drop_in).exists());
}

/// An administrator removed one of the two comments: our lines are removed, and nothing else.
#[test]
fn removes_our_lines_if_a_marker_is_missing() {
    for marker in ["# BEGIN eic-keys\n", "# END eic-keys\n"] {
        let system = stock();
        enable(&system.options());
        let drop_in = "/etc/ssh/sshd_config.d/10-eic-keys.conf";
        let ours = fs::read_to_string(system.path(drop_in)).unwrap();
        assert!(ours.contains(marker), "{ours}");
        system.write(drop_in, ours.replace(marker, "") + "MaxSessions 5\n");
        disable(&system.options());
        let rest = fs::read_to_string(system.path(drop_in)).unwrap();
        assert_eq!(rest, "MaxSessions 5\n", "without {marker}");
    }
}
