//! Which sshd serves the system, and what it has read.
use crate::world::{PID_FILE, Report, USER, World, config, world};
use crate::world::{log_line, stop_sshd};
use eic_lab::sshd::CONFIG;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Gives sshd another configuration and has it read that, as `systemctl reload` does. The start of a process is rounded to seconds.
fn reload(world: &World<'_>, text: &str) -> u32 {
    let process = number(world);
    world.sh("sleep 1.1");
    world.instance.write(CONFIG, text);
    // It closes its sockets first, and opens them last.
    let socket = format!("ls -l /proc/{process}/fd | grep -o 'socket:.*' | sort | tr '\\n' ' '");
    world.sh(&format!(
        "before=$({socket}); kill -HUP {process}
         until now=$({socket}); [ \"$now\" != \"$before\" ] && grep -q ':0016 00000000:0000 0A' /proc/net/tcp; do sleep 0.01; done
         sleep 0.1"
    ));
    process
}

fn number(world: &World<'_>) -> u32 {
    world.sh(&format!("until [ -s {PID_FILE} ]; do sleep 0.01; done"));
    fs::read_to_string(PID_FILE).unwrap().trim().parse().unwrap()
}

/// A journal in which sshd says this, now.
fn journal(world: &World<'_>, process: u32, message: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let line = format!(
        r#"{{"__REALTIME_TIMESTAMP":"{now}","SYSLOG_IDENTIFIER":"sshd","_COMM":"sshd","_PID":"{process}","_UID":"0","MESSAGE":"{message}"}}"#
    );
    world.instance.write("/run/line", line + "\n");
    let script =
        format!("#!/bin/sh\ncase \"$*\" in *--boot*_PID={process}\\ *) cat /run/line ;; *) exit 1 ;; esac\n");
    world.instance.install("/usr/bin/journalctl", script.as_bytes());
    // What a test writes next is later.
    world.sh("sleep 0.02");
}

fn assert_refused(world: &World<'_>, others: &[(&str, &str)]) -> Report {
    assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
    let report = world.check();
    report.assert_exactly(&[&[("sshd.access", "fail")], others].concat());
    assert!(report.note("sshd.access").starts_with("DenyUsers includes alice"));
    report
}

const NOT_KNOWN: &[(&str, &str)] = &[("running.current", "skip")];
const LISTENS: &str = "Server listening on 0.0.0.0 port 22.";

/// Without a PID file, the time of the last reload is known only from the journal.
#[test]
fn an_sshd_without_a_pid_file() {
    let plain = config().set("PidFile", "none");
    let denies = plain.clone().set("DenyUsers", USER);
    world(|world| {
        let process = reload(world, &denies.text());
        assert_refused(world, NOT_KNOWN);
        assert_eq!(world.check_with(&[USER, "--rehearse"]).status("login.rehearsal"), "fail");
        journal(world, process, LISTENS);
        assert_refused(world, &[]);
        // What was changed after that, it has not read.
        world.instance.write(CONFIG, plain.text());
        let report = world.check();
        report.assert_exactly(&[("running.current", "warn")]);
        report.assert_unknown();
    });
    world(|world| {
        // --enable reloaded it before.
        let process = number(world);
        world.sh(&format!(
            "echo {process} $(sed 's/.*) //' /proc/{process}/stat | cut -d ' ' -f 20) >/run/eic-keys.reloaded"
        ));
        reload(world, &config().set("PidFile", "none").text());
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_exactly(NOT_KNOWN);
        journal(world, process, "Received SIGHUP; restarting.");
        world.check().assert_healthy();
        world.instance.write(CONFIG, denies.text());
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        assert_eq!((report.status("sshd.access"), report.status("running.current")), ("warn", "warn"));
    });
}

/// sshd makes a new PID file each time. What others do to that file says nothing.
#[test]
fn a_pid_file_that_is_another_or_changed() {
    let denies = config().set("DenyUsers", USER);
    world(|world| {
        let corp = denies.clone().set("PidFile", "/run/corp.pid");
        let process = reload(world, &corp.text());
        world.sh("until [ -s /run/corp.pid ]; do sleep 0.01; done; sleep 0.02");
        assert_refused(world, &[]);
        world.instance.write(CONFIG, config().set("PidFile", "/run/corp.pid").text());
        world.check().assert_exactly(&[("running.current", "warn")]);
        world.sh(&format!("kill {process}"));
    });
    world(|world| {
        reload(world, &denies.text());
        world.sh(&format!("touch -d 2020-01-01 {PID_FILE}"));
        // Its file system may not have the time when it was made.
        let has_birth = fs::metadata(PID_FILE).unwrap().created().is_ok();
        assert_refused(world, if has_birth { &[] } else { NOT_KNOWN });
        fs::remove_file(PID_FILE).unwrap();
        assert_refused(world, NOT_KNOWN);
    });
    world(|world| {
        world.restart(&denies.text());
        world.instance.write(CONFIG, config().text());
        world.sh(&format!("touch {PID_FILE}"));
        if fs::metadata(PID_FILE).unwrap().created().is_ok() {
            world.check().assert_exactly(&[("running.current", "warn")]);
        }
    });
}

const REFUSED: &str = "sshd[7]: User alice from 192.0.2.1 not allowed because listed in DenyUsers";

/// sshd's own words count more than the times of its files.
#[test]
fn a_refusal_by_what_the_files_have() {
    world(|world| {
        let denies = config().set("DenyUsers", USER).text();
        world.instance.write(CONFIG, &denies);
        world.instance.write("/var/log/auth.log", log_line(3, REFUSED));
        let later = world.check();
        assert_eq!(later.status("sshd.access"), "warn", "a refusal before the change");
        world.sh("sleep 1.1");
        world.instance.write("/var/log/auth.log", log_line(0, REFUSED));
        let report = world.check_with(&[USER, "--rehearse"]);
        for id in ["sshd.access", "login.rehearsal"] {
            assert_eq!(report.status(id), "fail", "{:#}", report.of(id));
        }
        assert_eq!(report.outcome.status, Some(1));
        // Another reason says nothing about this one.
        let other = "sshd[7]: User alice from 192.0.2.1 not allowed because not listed in AllowUsers";
        world.instance.write("/var/log/auth.log", log_line(0, other));
        assert_eq!(world.check().status("sshd.access"), "warn");
    });
}

/// A file with an older time took the place of another one, and sshd was not reloaded.
#[test]
fn a_refusal_by_what_the_files_do_not_have() {
    let has_read = "sshd has not read its current configuration, which allows the user: ";
    let types =
        "sshd[7]: userauth_pubkey: signature algorithm ssh-ed25519 not in PubkeyAcceptedAlgorithms [preauth]";
    let closed = "sshd[7]: Connection closed by authenticating user alice 192.0.2.1 port 5 [preauth]";
    let both = [("running.current", "warn"), ("recent.login", "warn")];
    let only_log = &both[1..];
    for (keyword, value, lines) in [
        ("DenyUsers", USER, vec![REFUSED]),
        ("PubkeyAcceptedAlgorithms", "ecdsa-sha2-nistp256", vec![types, closed]),
    ] {
        world(|world| {
            let keyword =
                if keyword.starts_with("Pubkey") && is_old() { "PubkeyAcceptedKeyTypes" } else { keyword };
            let refuses = || {
                world.sh("sleep 1.1");
                let text: String = lines.iter().map(|line| log_line(0, line)).collect();
                world.instance.write("/var/log/auth.log", text);
            };
            let older = "cp -p /etc/ssh/sshd_config /run/older; touch -d '1 hour ago' /run/older";
            world.sh(older);
            world.restart(&config().set(keyword, value).text());
            world.sh("cp -p /run/older /etc/ssh/sshd_config");
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            refuses();
            let report = world.check();
            report.assert_exactly(&both);
            report.assert_unknown();
            assert!(
                report.note("running.current").starts_with(has_read),
                "{}",
                report.note("running.current")
            );
            let fix = report.of("recent.login")["fix"].as_str().unwrap();
            assert!(fix.starts_with("the files of sshd allow it now, so have sshd read them: "), "{fix}");
            let report = world.check_with(&[USER, "--rehearse"]);
            let summary = report.document["summary"].as_str().unwrap();
            assert!(
                summary.contains("works with the configuration on disk, which sshd has not read"),
                "{summary}"
            );
            // It reads them, and what it logged is over.
            world.apply(&report, "running.current");
            world.sh("sleep 0.3");
            world.settled().assert_exactly(only_log);
        });
    }
    // Some clients are refused. Another sshd can have refused this one.
    world(|world| {
        let refuses = || {
            world.sh("sleep 1.1");
            world.instance.write("/var/log/auth.log", log_line(0, REFUSED));
        };
        refuses();
        assert_eq!(world.check().status("running.current"), "warn");
        let second =
            "Port 2222\nPidFile /run/second.pid\nHostKey /etc/ssh/eic_lab_host_key\nDenyUsers alice\n";
        world.instance.write("/etc/ssh/second", second);
        world.sh("/usr/sbin/sshd -f /etc/ssh/second; until [ -s /run/second.pid ]; do sleep 0.05; done");
        world.check().assert_exactly(only_log);
        world.sh("kill $(cat /run/second.pid)");
        world.configure(&format!("{}Match Address 192.0.2.1\nDenyUsers alice\n", config().text()));
        refuses();
        let report = world.check();
        assert_eq!(report.status("running.current"), "ok");
        let fix = report.of("recent.login")["fix"].as_str().unwrap();
        assert!(fix.starts_with("remove the user from DenyUsers"), "{fix}");
    });
}

fn is_old() -> bool {
    let version = std::process::Command::new("ssh").arg("-V").output().unwrap().stderr;
    ["OpenSSH_7", "OpenSSH_8.0", "OpenSSH_8.4"]
        .iter()
        .any(|old| String::from_utf8_lossy(&version).starts_with(old))
}

/// systemctl says that sshd's own unit is enabled, and in this state.
fn with_systemd(world: &World<'_>, state: &str) {
    fs::create_dir_all("/run/systemd/system").unwrap();
    world.instance.write("/usr/lib/systemd/system/ssh.service", "[Service]\nExecStart=/usr/sbin/sshd -D\n");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in
            'is-enabled ssh.service sshd.service') printf 'enabled\\nalias\\n' ;;
            'show --property=ActiveState,SubState ssh') echo ActiveState={state} ;;
            *) exit 1 ;;
        esac\n"
    );
    world.instance.install("/usr/bin/systemctl", script.as_bytes());
}

/// The sshd of another unit, for administrators, that writes the PID file last.
#[test]
fn another_sshd_with_the_pid_file() {
    world(|world| {
        let process = number(world);
        let lines = "Port 2222\nHostKey /etc/ssh/eic_lab_host_key\nUsePAM no\nAllowUsers root\nAuthorizedKeysFile none\n";
        world.instance.write("/etc/ssh/second", format!("PidFile {PID_FILE}\n{lines}"));
        world.instance.write("/run/group", "0::/system.slice/admin.service\n");
        world.sh(&format!(
            "/usr/sbin/sshd -f /etc/ssh/second; until ! grep -qx {process} {PID_FILE} && [ -s {PID_FILE} ]; do sleep 0.01; done
             mount --bind /run/group /proc/$(cat {PID_FILE})/cgroup"
        ));
        let report = world.check();
        report.assert_healthy();
        assert_eq!(report.note("running.daemon"), format!("sshd runs, process {process}"));
        // The other one alone is not the system's, if that has a unit which is enabled.
        // The one that ends removes the file.
        world.sh(&format!(
            "cp {PID_FILE} /run/pid; kill {process}; while [ -e {PID_FILE} ]; do sleep 0.01; done"
        ));
        assert_eq!(world.check().status("sshd.access"), "fail");
        with_systemd(world, "inactive");
        for script in ["true", "cp /run/pid /run/sshd.pid"] {
            world.sh(script);
            let report = world.check();
            assert_eq!(report.note("running.daemon"), "sshd is stopped");
            assert_eq!(report.of("running.daemon")["fix"], "systemctl start ssh");
            assert_eq!(report.status("sshd.access"), "ok", "{:#}", report.of("sshd.access"));
        }
        world.sh("kill $(cat /run/pid)");
    });
}

/// What systemd has not read yet does not count before the next start.
#[test]
fn a_unit_that_systemd_has_not_read() {
    world(|world| {
        with_systemd(world, "active");
        let shown = "'show --property=NeedDaemonReload --value ssh') echo";
        for (answer, fix) in [("no", None), ("yes", Some("systemctl daemon-reload"))] {
            let text = fs::read_to_string("/usr/bin/systemctl").unwrap();
            let text = text.replacen("in\n", &format!("in\n{shown} {answer} ;;\n"), 1);
            world.instance.install("/usr/bin/systemctl", text.as_bytes());
            let report = world.check();
            assert_eq!(report.status("running.daemon"), "ok");
            assert_eq!(report.of("running.daemon")["fix"].as_str(), fix);
            let note = report.note("running.daemon");
            assert_eq!(note.contains("has not read the files of its unit ssh"), fix.is_some(), "{note}");
        }
    });
}

/// The port is taken by an sshd that somebody started by hand.
#[test]
fn an_sshd_that_is_not_of_its_unit() {
    for (state, is_wrong) in [("failed", true), ("inactive", false), ("active", false)] {
        world(|world| {
            stop_sshd();
            world.start_sshd("/usr/sbin/sshd");
            let process = number(world);
            with_systemd(world, state);
            let report = world.check();
            let status = if is_wrong { "warn" } else { "ok" };
            assert_eq!(report.status("running.daemon"), status, "{:#}", report.of("running.daemon"));
            if is_wrong {
                let fix = format!("kill {process} && systemctl restart ssh");
                assert_eq!(report.of("running.daemon")["fix"], fix);
                let begin = format!(
                    "sshd runs, process {process}, but it is not part of its unit ssh, whose last start failed"
                );
                assert!(report.note("running.daemon").starts_with(&begin));
            }
            // It is of the unit, which the service manager has given up.
            world.instance.write("/run/group", "0::/system.slice/ssh.service\n");
            world.sh(&format!("mount --bind /run/group /proc/{process}/cgroup"));
            let report = world.check();
            assert_eq!(report.status("running.daemon"), status, "{:#}", report.of("running.daemon"));
            let begin = format!(
                "sshd runs, process {process}, but it is left over from an earlier start of its unit ssh, and the last start failed"
            );
            assert!(!is_wrong || report.note("running.daemon").starts_with(&begin));
        });
    }
}
