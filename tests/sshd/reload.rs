//! The reload of sshd after a change.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may panic")]

use super::helpers::{
    STOCK, disable, enable, enable_is_refused, enable_is_rolled_back, refused, stock, systemctl_calls,
    with_systemctl,
};
use crate::systems::System;
use eic_keys::sshd;

#[test]
fn reloads_the_active_unit() {
    let system = stock();
    let output = enable(&with_systemctl(
        &system,
        "case $* in *socket*) echo inactive;; *\\ *\\ *) echo inactive; echo active;; *) echo active;; esac",
    ));
    assert!(output.contains("sshd.service was reloaded."), "{output}");
    assert_eq!(
        systemctl_calls(&system),
        [
            // Before the change, to find out whether it can be reloaded.
            "is-active ssh.service sshd.service",
            "is-active ssh.socket sshd.socket",
            "is-active ssh.service sshd.service",
            "is-active ssh.socket sshd.socket",
            "reload sshd.service",
            "is-active sshd.service"
        ]
    );

    // An sshd that got its socket from systemd would exit at a reload.
    let system = stock();
    let output = enable(&with_systemctl(&system, "[ $1 = show ] && echo KillMode=process || echo active"));
    assert!(output.contains("ssh.service was stopped; ssh.socket starts it"), "{output}");
    assert_eq!(systemctl_calls(&system).last().map(String::as_str), Some("stop ssh.service"));

    // With this KillMode, a stop would end the sessions.
    let system = stock();
    let output =
        enable(&with_systemctl(&system, "[ $1 = show ] && echo KillMode=control-group || echo active"));
    assert!(
        output.contains("ssh.service was not reloaded") && output.contains("KillMode=control-group"),
        "{output}"
    );
    assert!(
        !systemctl_calls(&system).iter().any(|call| call.contains("stop")),
        "{:?}",
        systemctl_calls(&system)
    );

    let system = stock();
    let output = enable(&with_systemctl(
        &system,
        "[ \"$*\" = 'is-active ssh.socket sshd.socket' ] && echo active || echo inactive",
    ));
    assert!(output.contains("no reload is needed"), "{output}");
    assert!(
        !systemctl_calls(&system).iter().any(|call| call.contains("load ")),
        "{:?}",
        systemctl_calls(&system)
    );

    let system = stock();
    let output = enable(&with_systemctl(&system, "echo inactive; echo inactive; false"));
    assert!(output.contains("sshd does not run"), "{output}");
}

#[test]
fn disable_refuses_and_enable_warns_if_a_unit_cannot_be_reloaded() {
    for show in ["CanReload=no", "LoadState=masked"] {
        let script = format!(
            "case $* in *socket*) echo inactive;; show*) echo {show};; reload*) exit 1;; *) echo active;; esac"
        );
        // An sshd that has not read our lines keeps its old settings.
        let system = stock();
        let before = system.configuration();
        let options = with_systemctl(&system, &script);
        let output = enable(&options);
        assert!(
            output.contains("WARNING: not reloaded: ssh.service has no ExecReload=, or is masked")
                && output.contains("systemctl restart ssh.service"),
            "{output}"
        );
        // An sshd that may have read our lines would run a program that is going to be removed.
        let after = system.configuration();
        let reason = refused(sshd::disable, &options);
        assert!(
            reason.contains("would keep the lines of eic-keys")
                && reason.contains("systemctl restart ssh.service"),
            "{reason}"
        );
        assert_eq!(after, system.configuration());
        let stopped = with_systemctl(&system, "echo inactive; echo inactive");
        disable(&stopped);
        assert_eq!(before, system.configuration());
        // Without our lines, there is nothing to reload.
        disable(&with_systemctl(&system, &script));
    }
}

#[test]
fn restores_the_files_if_the_reload_fails() {
    for (script, expected) in [
        (
            "[ \"$3\" = sshd.socket ] && exit 3; [ $1 = reload ] && echo 'Job failed.' >&2 && exit 1; echo active",
            "the files were restored, but sshd could not be reloaded: systemctl reload ssh.service: Job failed.",
        ),
        // The reload succeeds, but the service is not active afterwards.
        (
            "[ \"$3\" = sshd.socket ] && exit 3; [ $1 = reload ] && touch \"$0.reloaded\"; [ $1 = is-active ] && [ -e \"$0.reloaded\" ] && echo failed || echo active",
            "ssh.service exited at the reload; the previous state was restored",
        ),
    ] {
        for main in [STOCK, "UsePAM yes\n"] {
            let system = System::new("trixie");
            system.write("/etc/ssh/sshd_config", main);
            let before = system.configuration();
            let reason = enable_is_rolled_back(&with_systemctl(&system, script));
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(before, system.configuration());
        }
    }
}

#[test]
fn completes_the_reload_of_an_interrupted_run() {
    let system = stock();
    let options = with_systemctl(&system, "case $* in *socket*) echo inactive;; *) echo active;; esac");
    enable(&options);
    let reloads = || systemctl_calls(&system).iter().filter(|call| *call == "reload ssh.service").count();
    assert_eq!(reloads(), 1);
    assert!(!enable(&options).contains("was interrupted"));
    assert_eq!(reloads(), 1);
    // The lock file of a run that was killed before the reload (tests/sshd/disasters.rs).
    system.write("/run/eic-keys.lock", "x");
    let output = enable(&options);
    assert!(
        output.contains("Nothing to do")
            && output.contains("interrupted before it reloaded sshd. ssh.service was reloaded."),
        "{output}"
    );
    assert_eq!(reloads(), 2);
    assert!(!enable(&options).contains("was interrupted"));

    // If the reload fails, the next run tries again.
    system.write("/run/eic-keys.lock", "x");
    let failing = with_systemctl(
        &system,
        "case $* in *socket*) echo inactive;; reload*) exit 1;; *) echo active;; esac",
    );
    enable_is_refused(&system, &failing, "systemctl reload ssh.service");
    assert!(
        enable(&with_systemctl(&system, "case $* in *socket*) echo inactive;; *) echo active;; esac"))
            .contains("was interrupted")
    );
}
