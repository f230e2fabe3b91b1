//! `--enable` where sshd has no host keys, as in an image.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may panic")]

use std::{fs, os::unix::fs::PermissionsExt};

use super::helpers::{
    STOCK, disable, enable, enable_is_refused, remove_host_keys, stock, systemctl_calls, with_systemctl,
};
use crate::systems::System;
use eic_keys::sshd::EnableOptions;

#[test]
fn enables_in_an_image_without_host_keys() {
    for release in crate::systems::releases() {
        for main in [STOCK, "HostKey /etc/ssh/ssh_host_ed25519_key\nUsePAM yes\n", "HostKey /nonexistent\n"] {
            let system = System::new(&release);
            system.write("/etc/ssh/sshd_config", main);
            remove_host_keys(&system);
            fs::remove_dir(system.path("/run/sshd")).unwrap();
            let before = system.configuration();
            let output = enable(&system.options());
            assert!(
                output.contains("sshd has no host keys yet") && !output.contains("ssh-keygen -A"),
                "{output}"
            );
            assert_ne!(before, system.configuration());
            // The first boot generates the keys.
            let key = "/etc/ssh/ssh_host_ed25519_key";
            fs::copy(System::new(&release).path(key), system.path(key)).unwrap();
            let dump = system.run_sshd(&["-T", "-h", key]).stdout;
            assert!(String::from_utf8(dump).unwrap().contains("/usr/bin/eic-keys %u %f"), "{main}");

            fs::remove_file(system.path(key)).unwrap();
            disable(&system.options());
            assert_eq!(before, system.configuration());
            assert!(!system.path("/run/eic-keys.check").exists());
        }
    }
}

#[test]
fn a_temporary_host_key_hides_no_other_error() {
    let system = stock();
    let key = system.path("/etc/ssh/ssh_host_ed25519_key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    enable_is_refused(
        &system,
        &system.options(),
        "sshd cannot use /etc/ssh/ssh_host_ed25519_key, which exists",
    );
    system.write("/etc/ssh/sshd_config", "HostKey /etc/ssh/ssh_host_ed25519_key\nHostKey /nonexistent\n");
    enable_is_refused(
        &system,
        &system.options(),
        "sshd cannot use /etc/ssh/ssh_host_ed25519_key, which exists",
    );
    assert!(!system.path("/run/eic-keys.check").exists());

    // The tool that generates the keys replaces an empty file.
    fs::write(&key, "").unwrap();
    enable(&system.options());

    // Another error is still reported.
    let system = stock();
    remove_host_keys(&system);
    system.write("/etc/ssh/sshd_config", "AuthorizedKeysCommand /x\n");
    enable_is_refused(&system, &system.options(), "fix that first");
    assert!(!system.path("/run/eic-keys.check").exists());
}

#[test]
fn refuses_if_no_host_key_can_be_generated() {
    let system = stock();
    remove_host_keys(&system);
    let keygen = |text: &str| {
        system.install("/tmp/ssh-keygen", format!("#!/bin/sh\n{text}\n"));
        EnableOptions { keygen: vec![system.path("/tmp/ssh-keygen").into()], ..system.options() }
    };
    enable_is_refused(&system, &keygen("echo no key today >&2; exit 1"), "ssh-keygen reports: no key today");
    assert!(!system.path("/run/eic-keys.check").exists());
    // In FIPS mode, ssh-keygen does not generate Ed25519 keys.
    let root = system.root.display();
    enable(&keygen(&format!(
        "case $* in *ed25519*) echo not allowed >&2; exit 1;; *) exec chroot {root} /usr/bin/ssh-keygen \"$@\";; esac"
    )));
    disable(&system.options());

    fs::remove_file(system.path("/usr/bin/ssh-keygen")).unwrap();
    enable_is_refused(
        &system,
        &EnableOptions { keygen: Vec::new(), ..system.options() },
        "there is no ssh-keygen",
    );

    // The directory that a killed run left is replaced.
    let system = stock();
    remove_host_keys(&system);
    system.write("/run/eic-keys.check/ed25519", "x");
    enable(&system.options());
    assert!(!system.path("/run/eic-keys.check").exists());
}

#[test]
fn does_not_reload_an_sshd_without_host_keys() {
    let system = stock();
    remove_host_keys(&system);
    let options = with_systemctl(&system, "case $* in *socket*) echo inactive;; *) echo active;; esac");
    enable_is_refused(&system, &options, "would exit at a reload");
    assert!(
        !systemctl_calls(&system).iter().any(|call| call.contains("reload")),
        "{:?}",
        systemctl_calls(&system)
    );
}
