//! What the tests of this folder share.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::{fs, io::Write};

use crate::systems::System;
use eic_keys::sshd::{self, EnableOptions, EnableOutcome};

/// [`sshd::enable`] or [`sshd::disable`].
pub(crate) type Operation = fn(&EnableOptions, &mut dyn Write) -> EnableOutcome;

/// Runs an operation. Returns its outcome and its output.
pub(crate) fn run(operation: Operation, options: &EnableOptions) -> (EnableOutcome, String) {
    let mut output = Vec::new();
    let outcome = operation(options, &mut output);
    (outcome, String::from_utf8(output).unwrap())
}

fn succeed(operation: Operation, options: &EnableOptions) -> String {
    let (outcome, output) = run(operation, options);
    assert_eq!(outcome, EnableOutcome::Done, "{output}");
    output
}

/// Runs `--enable`, which must succeed. Returns its output.
pub(crate) fn enable(options: &EnableOptions) -> String {
    succeed(sshd::enable, options)
}

/// Runs `--disable`, which must succeed. Returns its output.
pub(crate) fn disable(options: &EnableOptions) -> String {
    succeed(sshd::disable, options)
}

/// Runs an operation, which must be refused and print nothing else. Returns the reason.
pub(crate) fn refused(operation: Operation, options: &EnableOptions) -> String {
    match run(operation, options) {
        (EnableOutcome::Refused(reason), output) => {
            assert_eq!(output, "", "{reason}");
            reason
        }
        (other, output) => panic!("{other:?}, not refused: {output}"),
    }
}

/// Runs `--enable`, which must be refused for this reason and change nothing.
pub(crate) fn enable_is_refused(system: &System, options: &EnableOptions, expected: &str) {
    let before = system.configuration();
    let reason = refused(sshd::enable, options);
    assert!(reason.contains(expected), "refused for another reason than \"{expected}\": {reason}");
    assert_eq!(before, system.configuration(), "{reason}");
}

/// Runs `--enable`, whose change must fail and be undone. Returns the reason.
pub(crate) fn enable_is_rolled_back(options: &EnableOptions) -> String {
    match run(sshd::enable, options) {
        (EnableOutcome::Failed(reason), _) => reason,
        (other, output) => panic!("{other:?}, not rolled back: {output}"),
    }
}

/// The main file of a distribution, shortened.
pub(crate) const STOCK: &str = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n";

/// The lines of systemd-userdbd.
pub(crate) const USERDB: &str =
    "AuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %u\nAuthorizedKeysCommandUser root\n";

/// A system with [`STOCK`].
pub(crate) fn stock() -> System {
    let system = System::new("bookworm");
    system.write("/etc/ssh/sshd_config", STOCK);
    system
}

/// Adds an sshd process to the system, with its command line (blanks become zeros) and its parent.
pub(crate) fn add_process(system: &System, pid: u32, line: &str, parent: u32) {
    system.write(&format!("/proc/{pid}/comm"), "sshd\n");
    // A process title keeps its blanks.
    let line = if line.starts_with("sshd: ") { line.to_owned() } else { line.replace(' ', "\0") };
    system.write(&format!("/proc/{pid}/cmdline"), line);
    system.write(&format!("/proc/{pid}/status"), format!("Name:\tsshd\nPPid:\t{parent}\n"));
}

/// Removes the host keys, as in an image.
pub(crate) fn remove_host_keys(system: &System) {
    for entry in fs::read_dir(system.path("/etc/ssh")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("ssh_host_") {
            fs::remove_file(path).unwrap();
        }
    }
    let output = system.run_sshd(&["-t"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no hostkeys available"));
}

/// A stand-in for systemctl that runs this shell text, on a system with systemd.
pub(crate) fn with_systemctl(system: &System, script: &str) -> EnableOptions {
    system.write("/run/systemd/system/x", "");
    let log = system.path("/tmp/systemctl.log");
    let script = format!("#!/bin/sh\necho \"$@\" >>{}\n{script}\n", log.display());
    system.install("/tmp/systemctl", script);
    EnableOptions { systemctl: vec![system.path("/tmp/systemctl").into()], ..system.options() }
}

/// The calls of the stand-in for systemctl, without the queries of properties.
pub(crate) fn systemctl_calls(system: &System) -> Vec<String> {
    let log = fs::read_to_string(system.path("/tmp/systemctl.log")).unwrap();
    log.lines().filter(|line| !line.starts_with("show")).map(str::to_owned).collect()
}

/// The system's sshd, with this shell text before it. `$config` is the last argument, which is the file of `-f`.
pub(crate) fn with_sshd(system: &System, script: &str) -> EnableOptions {
    let root = system.root.display();
    let script =
        format!("#!/bin/sh\nfor config; do :; done\n{script}\nexec chroot {root} /usr/sbin/sshd \"$@\"\n");
    system.install("/tmp/sshd", script);
    EnableOptions { sshd: vec![system.path("/tmp/sshd").into()], ..system.options() }
}
