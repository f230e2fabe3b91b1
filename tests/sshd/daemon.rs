//! The running sshd and its unit, whose options can override the files.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may panic")]

use std::os::unix::fs::symlink;

use super::helpers::{add_process, enable, enable_is_refused, stock, with_systemctl};

#[test]
fn refuses_if_the_command_line_of_sshd_overrides_its_files() {
    let system = stock();
    let unit = "/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf";
    system.write(
        unit,
        "[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS -o \"AuthorizedKeysCommand \
         /usr/share/ec2-instance-connect/eic_run_authorized_keys %%u %%f\" -o \"AuthorizedKeysCommandUser ec2-instance-connect\"\n",
    );
    enable_is_refused(
        &system,
        &system.options(),
        "ec2-instance-connect.conf line 3 has -o AuthorizedKeysCommand",
    );
    // With systemd, the command line that systemctl shows is checked, not the file.
    system.write("/run/systemd/system/x", "");
    let options = with_systemctl(
        &system,
        "case $1 in show) echo ExecStart={ argv[]=/usr/sbin/sshd -D ; };; is-active) echo active;; esac",
    );
    enable(&options);
    let options = with_systemctl(
        &system,
        "echo 'ExecStart={ argv[]=/usr/sbin/sshd -D -o AuthorizedKeysCommand /x ; }'",
    );
    enable_is_refused(&system, &options, "has -o AuthorizedKeysCommand");
    let options =
        with_systemctl(&system, "echo 'ExecStart={ argv[]=/usr/sbin/sshd -D -f /etc/ssh/other ; }'");
    enable_is_refused(&system, &options, "sshd runs with -f /etc/ssh/other");

    let system = stock();
    system.write("/run/sshd.pid", "77\n");
    system.write("/proc/77/cmdline", "sshd: /usr/sbin/sshd -D -o AuthorizedKeysCommandUser=x [listener]\0");
    enable_is_refused(&system, &system.options(), "the command line of the running sshd");
    system.write("/proc/77/cmdline", "/usr/bin/editor\0AuthorizedKeysCommand\0");
    enable(&system.options());
}

/// As systemd reads them: an empty value removes those before it, and a file hides that of the same name in another directory.
#[test]
fn settings_of_a_unit_that_do_not_count() {
    let wrong = "ExecStart=/usr/sbin/sshd -D -oAuthorizedKeysCommand=/x";
    let right = "ExecStart=/usr/sbin/sshd -D $D";
    let vendor = "/lib/systemd/system/ssh.service";
    for (path, text) in [
        (
            "/etc/systemd/system/ssh.service.d/10-ours.conf",
            format!("[Service]\nExecStart=\nEnvironment=\n{right}\n"),
        ),
        ("/etc/systemd/system/ssh.service", format!("[Service]\n{right}\n")),
        (vendor, format!("[Unit]\n{wrong}\n[Service]\n{right}\n")),
    ] {
        let system = stock();
        let environment = "Environment=D=-f/other";
        system.write(vendor, format!("[Service]\n{environment}\n{wrong}\n"));
        enable_is_refused(&system, &system.options(), "ssh.service line 3 has -o AuthorizedKeysCommand");
        system.write(path, text);
        enable(&system.options());
    }
}

#[test]
fn refuses_if_the_only_sshd_has_another_main_file() {
    let other = "/usr/sbin/sshd -D -f /etc/ssh/other";
    let system = stock();
    add_process(&system, 77, other, 1);
    let reason =
        "the only running sshd, process 77 with -f /etc/ssh/other, does not read /etc/ssh/sshd_config";
    enable_is_refused(&system, &system.options(), reason);
    // The process title of newer versions.
    system.write("/proc/77/cmdline", format!("sshd: {other} [listener] 0 of 10-100 startups\0"));
    enable_is_refused(&system, &system.options(), reason);
    // Several options in one word.
    add_process(&system, 77, "/usr/sbin/sshd -Def /etc/ssh/other", 1);
    enable_is_refused(&system, &system.options(), reason);
    add_process(&system, 77, other, 1);
    // The socket unit of the main sshd waits for the first connection.
    let socket = with_systemctl(&system, "case $* in *socket*) echo active;; *) echo inactive;; esac");
    assert!(enable(&socket).contains("Note: another sshd is running, process 77 with -f /etc/ssh/other"));

    // With an sshd that reads the main file, the other one is only named, whichever wrote the PID file.
    for owner in ["77", "78"] {
        let system = stock();
        add_process(&system, 77, other, 1);
        add_process(&system, 78, "/usr/sbin/sshd -D", 1);
        system.write("/run/sshd.pid", format!("{owner}\n"));
        let output = enable(&system.options());
        assert!(
            output.contains("Note: another sshd is running, process 77 with -f /etc/ssh/other"),
            "{output}"
        );
    }

    // Sessions, their parents before they change their title, and sshd -i, -R and -t do not listen.
    let system = stock();
    add_process(&system, 77, "sshd: alice@pts/0 -f /etc/ssh/other", 1);
    add_process(&system, 78, "/usr/sbin/sshd -i -f /etc/ssh/other", 1);
    add_process(&system, 79, "/usr/sbin/sshd -D -f /etc/ssh/other -R", 1);
    add_process(&system, 82, "/usr/sbin/sshd -Dt -f /etc/ssh/other", 1);
    add_process(&system, 80, other, 81);
    system.write("/proc/81/comm", "sshd\n");
    assert!(!enable(&system.options()).contains("another sshd"));
}

#[test]
fn ignores_an_sshd_in_a_container() {
    let other = "/usr/sbin/sshd -D -f /etc/ssh/other";
    let inside = |link: &str, to: &str| {
        let system = stock();
        add_process(&system, 77, other, 1);
        system.write("/proc/self/ns/x", "");
        system.write("/proc/77/ns/x", "");
        symlink("pid:[1]", system.path("/proc/self/ns/pid")).unwrap();
        symlink(to, system.path(link)).unwrap();
        system
    };
    let system = inside("/proc/77/ns/pid", "pid:[2]");
    assert!(!enable(&system.options()).contains("another sshd"));
    let system = inside("/proc/77/root", "/nonexistent");
    enable_is_refused(&system, &system.options(), "the only running sshd");
    let system = inside("/proc/77/root", "/usr");
    assert!(!enable(&system.options()).contains("another sshd"));
    let system = inside("/proc/77/root", "../..");
    enable_is_refused(&system, &system.options(), "the only running sshd");
}

#[test]
fn refuses_if_a_variable_of_the_unit_overrides_the_files() {
    let unit = "[Service]\nEnvironmentFile=-/etc/default/ssh\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n";
    for (text, reason) in [
        (
            "# x\nSSHD_OPTS=-o AuthorizedKeysCommand=/x",
            "/etc/default/ssh line 2 has -o AuthorizedKeysCommand",
        ),
        ("SSHD_OPTS=\"-oAuthorizedKeysCommand=/x\"", "/etc/default/ssh line 1 has -o AuthorizedKeysCommand"),
        ("SSHD_OPTS='-f /etc/ssh/other'", "sshd runs with -f /etc/ssh/other (/etc/default/ssh line 1)"),
        ("SSHD_OPTS=-f\\\n /etc/ssh/other", "sshd runs with -f /etc/ssh/other (/etc/default/ssh line 1)"),
    ] {
        let system = stock();
        system.write("/lib/systemd/system/ssh.service", unit);
        system.write("/etc/default/ssh", format!("{text}\n"));
        enable_is_refused(&system, &system.options(), reason);
        // systemctl shows only the name of the variable.
        let shown = "case $1 in show) echo 'ExecStart={ argv[]=/usr/sbin/sshd -D $SSHD_OPTS ; }';; *) echo inactive;; esac";
        enable_is_refused(&system, &with_systemctl(&system, shown), reason);
    }
    let system = stock();
    system.write("/usr/lib/systemd/system/sshd.service", "[Service]\nEnvironment=\"OPTIONS=-oAuthorizedKeysCommand=/x\"\nExecStart=/usr/sbin/sshd -D ${OPTIONS}\n");
    enable_is_refused(
        &system,
        &system.options(),
        "/usr/lib/systemd/system/sshd.service line 2 has -o AuthorizedKeysCommand",
    );

    // All assignments of a line are read, with and without quotes.
    for line in [
        "Environment=A=1 OPTIONS=-oAuthorizedKeysCommand=/x",
        "Environment=\"A=1 2\" \"OPTIONS=-o AuthorizedKeysCommand=/x\" B=3",
        "Environment = 'OPTIONS=-4 -o \"AuthorizedKeysCommand /x\"'",
    ] {
        let system = stock();
        let unit = format!("[Service]\n{line}\nExecStart=/usr/sbin/sshd -D $OPTIONS\n");
        system.write("/usr/lib/systemd/system/sshd.service", unit);
        enable_is_refused(&system, &system.options(), "sshd.service line 2 has -o AuthorizedKeysCommand");
    }
    let system = stock();
    let unit = "[Service]\nEnvironment=\"A=x\" \"OTHER=-f /x\"\nExecStart=/usr/sbin/sshd -D $A\n";
    system.write("/usr/lib/systemd/system/sshd.service", unit);
    enable(&system.options());

    // Variables that no unit uses, and comments, are ignored.
    let system = stock();
    system.write("/lib/systemd/system/ssh.service", unit);
    system.write("/etc/default/ssh", "#SSHD_OPTS=-o AuthorizedKeysCommand=/x\nOTHER=-f /x\nSSHD_OPTS=-4\n");
    enable(&system.options());
}
