//! sshd's units: stopped, masked, failed, waiting for a client.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::time::Duration;

use crate::world::{PID_FILE, USER, World, broken, config, failed_unit, stop_sshd, unit_of_sshd, world};

#[test]
fn sshd_is_stopped() {
    broken(|_| stop_sshd(), &[("running.daemon", "fail")], "sshd is stopped");
    world(|world| {
        let (own, other) = (fs::read(PID_FILE).unwrap(), std::process::id());
        world.instance.write(PID_FILE, format!("{other}\n"));
        assert_eq!(world.check().status("running.daemon"), "ok", "the file is wrong, and sshd runs");
        world.instance.write(PID_FILE, own);
        stop_sshd();
        world.instance.write(PID_FILE, format!("{other}\n"));
        assert_eq!(world.check().status("running.daemon"), "fail", "the number is another program's");
    });
}

/// A masked unit cannot be started.
#[test]
fn a_unit_that_is_masked() {
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        world.instance.write("/usr/lib/systemd/system/ssh.service", "[Service]\n");
        world.instance.install("/usr/bin/systemctl", b"#!/bin/sh\nexit 1\n");
        let fix = |world: &World<'_>| world.check().of("running.daemon")["fix"].as_str().unwrap().to_owned();
        assert_eq!(fix(world), "systemctl start ssh");
        fs::create_dir_all("/etc/systemd/system").unwrap();
        symlink("/dev/null", "/etc/systemd/system/ssh.service").unwrap();
        assert_eq!(fix(world), "systemctl unmask ssh && systemctl start ssh");
        let file = "/etc/systemd/system/ssh.service";
        fs::remove_file(file).unwrap();
        world.instance.write(file, "");
        let advice = |file| {
            format!(
                "remove {file}, which masks the unit, then: systemctl daemon-reload; then systemctl start ssh"
            )
        };
        assert_eq!(fix(world), advice(file));
        // The one of the administrator counts, and not the next ones.
        symlink("/dev/null", "/run/systemd/system/ssh.service").unwrap();
        world.instance.write(file, "[Service]\n");
        assert_eq!(fix(world), "systemctl start ssh");
        fs::remove_file(file).unwrap();
        assert_eq!(fix(world), "systemctl unmask --runtime ssh && systemctl start ssh");
        fs::remove_file("/run/systemd/system/ssh.service").unwrap();
        fs::create_dir_all("/usr/local/lib/systemd/system").unwrap();
        let local = "/usr/local/lib/systemd/system/ssh.service";
        symlink("/dev/null", local).unwrap();
        assert_eq!(fix(world), advice(local));
    });
}

/// A stopped sshd has no /run/sshd on Debian. The cause is that it is stopped.
#[test]
fn a_stopped_sshd_has_no_directory() {
    world(|world| {
        stop_sshd();
        fs::remove_dir("/run/sshd").unwrap();
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        assert!(!Path::new("/run/sshd").exists(), "the check changes nothing");
        world.apply(&report, "running.daemon");
        world.settled().assert_healthy();
    });
}

#[test]
fn socket_activation() {
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        let systemctl = "#!/bin/sh\ncase \"$*\" in 'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';; esac\n";
        world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
        let report = world.check();
        report.assert_exactly(&[("network.banner", "skip"), ("confinement.apparmor", "skip")]);
        assert_eq!(report.note("running.daemon"), "ssh.socket starts sshd when a client connects");
        fs::remove_dir("/run/sshd").unwrap();
        let report = world.check();
        report.assert_exactly(&[("network.banner", "skip"), ("confinement.apparmor", "skip")]);
        // What is wrong is found before the first connection.
        for (keyword, value, id) in [
            ("DenyUsers", "alice", "sshd.access"),
            ("AuthorizedKeysCommand", "none", "sshd.command"),
            ("NoSuchKeyword", "yes", "sshd.config"),
        ] {
            world.instance.write("/etc/ssh/sshd_config", config().set(keyword, value).text());
            let report = world.check();
            report.assert_exactly(&[
                ("network.banner", "skip"),
                ("confinement.apparmor", "skip"),
                (id, "fail"),
            ]);
        }
        world.instance.write("/etc/ssh/sshd_config", config().text());
        let report = world.check_with(&[USER, "--rehearse"]);
        assert_eq!(report.of("login.rehearsal")["fix"], "mkdir -m 0755 /run/sshd");
        assert_eq!(report.outcome.status, Some(0));
        assert!(!Path::new("/run/sshd").exists());
        // A container cannot mount.
        let (unshare, hidden) = ("/usr/bin/unshare", "/usr/bin/unshare-hidden");
        fs::rename(unshare, hidden).unwrap();
        let report = world.check();
        fs::rename(hidden, unshare).unwrap();
        report.assert_exactly(&[
            ("network.banner", "skip"),
            ("confinement.apparmor", "skip"),
            ("sshd.config", "skip"),
        ]);
        assert_eq!(report.of("sshd.config")["fix"], "mkdir -m 0755 /run/sshd");
    });
    // The socket unit has the port, not sshd's configuration. An inactive one has not.
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        world.instance.write("/etc/ssh/sshd_config", config().set("Port", "2222").text());
        for (state, status) in [("active", "ok"), ("inactive", "warn")] {
            let systemctl = format!(
                "#!/bin/sh\ncase \"$*\" in
                    'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';;
                    'show --property=ActiveState,Listen,'*) printf 'Listen=[::]:22 (Stream)\\nActiveState={state}\\n';;
                esac\n"
            );
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            assert_eq!(world.check().status("sshd.port"), status, "{state}");
        }
        let local = fs::read_to_string("/usr/bin/systemctl").unwrap().replace("[::]:22", "127.0.0.1:22");
        world.instance.install("/usr/bin/systemctl", local.replace("=inactive", "=active").as_bytes());
        let report = world.check();
        assert_eq!(report.status("sshd.port"), "fail");
        assert!(
            report.of("sshd.port")["fix"]
                .as_str()
                .unwrap()
                .starts_with("change ListenStream= or BindIPv6Only=")
        );
    });
    // Which addresses a socket for IPv6 has, and which are not those that clients use.
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        for (listen, bind, status) in [
            ("'Listen=[::]:22 (Stream)'", "both", "ok"),
            ("'Listen=[::]:22 (Stream)'", "default", "ok"),
            ("'Listen=[::]:22 (Stream)'", "ipv6-only", "warn"),
            ("'Listen=[::]:22 (Stream)' 'Listen=0.0.0.0:22 (Stream)'", "ipv6-only", "ok"),
            ("'Listen=[::]:22 (Stream)' 'Listen=0.0.0.0:2222 (Stream)'", "ipv6-only", "warn"),
            ("'Listen=127.0.0.1:22 (Stream)' 'Listen=0.0.0.0:2222 (Stream)'", "default", "warn"),
            ("'Listen=127.0.0.1:2222 (Stream)' 'Listen=0.0.0.0:22 (Stream)'", "default", "ok"),
            ("'Listen=10.0.0.99:22 (Stream)'", "default", "fail"),
            ("'Listen=10.0.0.99:22 (Stream)' 'Listen=0.0.0.0:22 (Stream)'", "default", "ok"),
        ] {
            let systemctl = format!(
                "#!/bin/sh\ncase \"$*\" in
                    'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';;
                    'show --property=ActiveState,Listen,'*) printf '%s\\n' {listen} ActiveState=active BindIPv6Only={bind};;
                esac\n"
            );
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            let report = world.check();
            assert_eq!(report.status("sshd.port"), status, "{listen} {bind}: {}", report.note("sshd.port"));
        }
    });
}

/// An sshd that a socket unit starts for a client: with `Accept=yes` one for each. `setting`: a line of the unit that it starts, and
/// `shown`, what systemctl shows of it.
fn waiting_socket(world: &World<'_>, accept: bool, setting: &str, shown: &str) {
    stop_sshd();
    fs::create_dir_all("/run/systemd/system").unwrap();
    let directory = "/usr/lib/systemd/system";
    world.instance.write(format!("{directory}/ssh.service"), "[Service]\nExecStart=/usr/sbin/sshd -D\n");
    let template = "[Service]\nRuntimeDirectory=sshd\nExecStart=-/usr/sbin/sshd -i\n";
    world.instance.write(format!("{directory}/ssh@.service"), template);
    let (accepts, name, instance) = if accept { ("yes", "ssh@", "eic-keys") } else { ("no", "ssh", "") };
    fs::create_dir_all(format!("/etc/systemd/system/{name}.service.d")).unwrap();
    let drop_in = format!("/etc/systemd/system/{name}.service.d/x.conf");
    world.instance.write(&drop_in, format!("[Service]\n{setting}\n"));
    let systemctl = format!(
        "#!/bin/sh\ncase \"$*\" in
            'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';;
            'show --property=Accept --value ssh.socket') echo {accepts};;
            'show --property=Id,IPAddressDeny,'*' {name}{instance}.service'|'show --property=LoadState,'*' {name}{instance}.service')
                printf '%s\\n' LoadState=loaded RootDirectory= {shown};;
            'show --property=ActiveState,Listen,'*)
                printf '%s\\n' 'Listen=0.0.0.0:22 (Stream)' 'Listen=[::]:22 (Stream)' ActiveState=active BindIPv6Only=ipv6-only;;
            *) exit 1;;
        esac\n"
    );
    world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
}

/// What such an sshd lacks is found before the first connection.
#[test]
fn a_unit_that_a_socket_starts() {
    const CAPABILITIES: &str = "cap_chown cap_dac_override cap_setgid cap_sys_chroot";
    let waits = [("network.banner", "skip"), ("confinement.apparmor", "skip")];
    for (setting, shown, says) in [
        ("LimitNPROC=1", "LimitNPROCSoft=1", "sshd is limited to 1 processes"),
        (
            "CapabilityBoundingSet=~CAP_SETUID",
            &format!("'CapabilityBoundingSet={CAPABILITIES}'"),
            "sshd lacks CAP_SETUID: it closes each connection",
        ),
        ("InaccessiblePaths=/bin/sh", "InaccessiblePaths=/bin/sh", "sshd cannot use /bin/sh"),
        ("InaccessiblePaths=/etc/ssl", "InaccessiblePaths=/etc/ssl", "sshd's unit hides /etc/ssl"),
        ("PrivateNetwork=yes", "PrivateNetwork=yes", "sshd's unit has PrivateNetwork=yes: the metadata"),
        ("SystemCallFilter=~chroot", "SystemCallFilter=~chroot", "sshd's unit refuses system calls"),
    ] {
        for accept in [false, true] {
            world(|world| {
                waiting_socket(world, accept, setting, shown);
                let report = world.check();
                report.assert_exactly(&[&waits[..], &[("confinement.unit", "fail")]].concat());
                let note = report.note("confinement.unit");
                assert!(note.starts_with(says), "{note}");
                let name = if accept { "ssh@" } else { "ssh" };
                let fix = format!(
                    "correct or remove {}= (/etc/systemd/system/{name}.service.d/x.conf line 2), then: systemctl daemon-reload",
                    setting.split('=').next().unwrap()
                );
                assert_eq!(report.of("confinement.unit")["fix"], fix);
            });
        }
    }
    // The unit cannot be started, or with an option that refuses the user.
    for (setting, shown, id, says) in [
        (
            "EnvironmentFile=/none",
            "'EnvironmentFiles=/none (ignore_errors=no)'",
            "running.daemon",
            "ssh.socket listens, but cannot start sshd: its unit ssh",
        ),
        (
            "ExecStart=\nExecStart=/usr/sbin/sshd -D -o DenyUsers=alice",
            "",
            "sshd.access",
            "DenyUsers includes alice",
        ),
    ] {
        for accept in [false, true] {
            for has_directory in [false, true] {
                world(|world| {
                    waiting_socket(world, accept, setting, shown);
                    if !has_directory {
                        fs::remove_dir("/run/sshd").unwrap();
                    }
                    let report = world.check();
                    assert_eq!(report.status(id), "fail", "{:#}", report.of(id));
                    assert!(report.note(id).starts_with(says), "{}", report.note(id));
                });
            }
        }
    }
    // Nothing that a login needs.
    let all = format!(
        "LimitNPROCSoft=64 LimitNOFILESoft=1024 LimitSTACKSoft=8388608 'CapabilityBoundingSet={CAPABILITIES} cap_setuid' \
         'InaccessiblePaths=/boot -/srv/none' TemporaryFileSystem=/srv:ro 'BindPaths=/etc:/etc:rbind /usr/bin/sh:/opt/sh' \
         'SystemCallFilter=~bpf' 'RestrictAddressFamilies=AF_UNIX AF_INET' 'EnvironmentFiles=/none (ignore_errors=yes)' \
         'EnvironmentFiles=/etc/passwd (ignore_errors=no)' 'EnvironmentFiles=/run/none (ignore_errors=no)'"
    );
    for accept in [false, true] {
        world(|world| {
            waiting_socket(world, accept, "ExecStart=\nExecStart=/usr/sbin/sshd -D -o DenyUsers=bob", &all);
            world.check().assert_exactly(&waits);
        });
    }
}

/// Its last start has not failed yet.
#[test]
fn an_sshd_that_runs_for_a_moment() {
    world(|world| {
        let pid = world.instance.command([PID_FILE]).program("/bin/cat").as_root().run().stdout;
        let pid = pid.trim();
        let journal = "'Starting ssh.service' 'ssh.service: Control process exited, code=exited, status=1/FAILURE' 'Starting ssh.service' 'Server listening on :: port 22.'";
        for (state, ends) in [
            ("ActiveState=activating SubState=start-post NRestarts=2", true),
            ("ActiveState=activating SubState=start-post NRestarts=0", false),
            // What ended it was corrected.
            ("ActiveState=active SubState=running NRestarts=2", false),
            ("ActiveState=active SubState=running NRestarts=0", false),
        ] {
            unit_of_sshd(world, &format!("{state} MainPID={pid}"), "ExecStartPost=/bin/false", journal);
            let report = world.check();
            let daemon = report.of("running.daemon");
            assert_eq!(daemon["status"] == "fail", ends, "{state}: {daemon:#}");
            let note = report.note("running.daemon");
            assert!(
                !ends
                    || note.ends_with(
                        "again and again: ssh.service: Control process exited, code=exited, status=1/FAILURE"
                    ),
                "{note}"
            );
            // Another sshd than the unit's serves the system.
            unit_of_sshd(world, &format!("{state} MainPID=1"), "ExecStartPost=/bin/false", journal);
            assert_eq!(world.check().status("running.daemon"), "ok", "{state}");
        }
        // It has been up for some time since, and was reloaded just now.
        unit_of_sshd(
            world,
            &format!("ActiveState=active SubState=running NRestarts=2 MainPID={pid}"),
            "",
            journal,
        );
        world.instance.write("/run/started", "1000");
        assert_eq!(world.check().status("running.daemon"), "ok");
    });
    // It ended between two questions to systemd.
    world(|world| {
        let ended = "ActiveState=activating SubState=auto-restart NRestarts=2 MainPID=0";
        let journal =
            "'Starting ssh.service' 'ssh.service: Main process exited, code=killed, status=25/XFSZ'";
        failed_unit(world, ended, "LimitFSIZE=1", journal);
        let active = "in\n'is-active ssh.service sshd.service') printf 'active\\ninactive\\n';; 'show --property=MainPID --value ssh.service') echo 0;;\n";
        let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap().replacen("in\n", active, 1);
        world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
        let report = world.check();
        assert_eq!(report.status("running.daemon"), "fail", "{:#}", report.of("running.daemon"));
        assert!(report.note("running.daemon").ends_with("status=25/XFSZ"));
    });
}

/// A script that starts it without exec: systemd gives up, and leaves it.
#[test]
fn an_sshd_that_a_failed_start_has_left() {
    world(|world| {
        let pid = world.instance.command([PID_FILE]).program("/bin/cat").as_root().run().stdout;
        let pid = pid.trim();
        let journal = "'Starting ssh.service' 'Server listening on :: port 22.' 'ssh.service: start operation timed out. Terminating.'";
        let settings = "ExecStart=\nExecStart=/usr/local/sbin/wrapper\nTimeoutStartSec=3\nRestart=no";
        let failed = "ActiveState=failed SubState=failed NRestarts=0 MainPID=0";
        unit_of_sshd(world, failed, settings, journal);
        // One of another unit.
        assert_eq!(world.check().status("running.daemon"), "ok");
        world.instance.write("/run/group", "0::/system.slice/ssh.service\n");
        world.sh(&format!("mount --bind /run/group /proc/{pid}/cgroup"));
        let report = world.check();
        assert_eq!(report.status("running.daemon"), "warn");
        let note = report.note("running.daemon");
        let begin =
            format!("sshd runs, process {pid}, but it is left over from a start of its unit ssh that failed");
        assert!(note.starts_with(&begin) && note.contains("a script has to run sshd with exec"), "{note}");
        assert_eq!(
            report.of("running.daemon")["fix"],
            format!(
                "remove ExecStart=/usr/local/sbin/wrapper from sshd's unit (/etc/systemd/system/ssh.service.d/x.conf line 5), with the empty \
                 ExecStart= before it, or correct it, then: kill {pid}; systemctl daemon-reload; systemctl reset-failed ssh; systemctl \
                 restart ssh"
            )
        );
        // It was started again just now, and what ended it before is corrected.
        for restarts in [0, 2] {
            let active = format!("ActiveState=active SubState=running NRestarts={restarts} MainPID={pid}");
            unit_of_sshd(world, &active, settings, journal);
            assert_eq!(world.check().status("running.daemon"), "ok", "{active}");
        }
    });
}

/// Its files have an error, or another unit is missing.
#[test]
fn a_unit_that_systemd_does_not_start() {
    for (show, states, says) in [
        (
            "LoadState=bad-setting",
            "",
            "systemd cannot load its unit ssh: ssh.service: Service has more than one ExecStart= setting. Refusing.",
        ),
        (
            "LoadState=loaded Requires=sysinit.target\\ corp.service BindsTo= Requisite=",
            "Id=sysinit.target LoadState=loaded ActiveState=active '' Id=corp.service LoadState=not-found ActiveState=inactive",
            "its unit ssh needs corp.service, which does not exist",
        ),
        (
            "LoadState=loaded Requires=corp.service",
            "Id=corp.service LoadState=loaded ActiveState=failed",
            "its unit ssh needs corp.service, which has failed",
        ),
        ("LoadState=loaded Requires=corp.service", "Id=corp.service LoadState=loaded ActiveState=active", ""),
        (
            "LoadState=loaded Requires=corp.service",
            "Id=corp.service LoadState=loaded ActiveState=inactive",
            "",
        ),
        (
            "LoadState=loaded Requires=sysinit.target Requisite=corp.service",
            "Id=sysinit.target LoadState=loaded ActiveState=inactive '' Id=corp.service LoadState=loaded ActiveState=inactive",
            "its unit ssh needs corp.service, which is not active (Requisite=)",
        ),
        ("LoadState=loaded RefuseManualStart=yes", "", "its unit ssh has RefuseManualStart=yes"),
        ("LoadState=loaded RefuseManualStart=no", "", ""),
        (
            "LoadState=loaded StopWhenUnneeded=yes WantedBy= RequiredBy=",
            "",
            "its unit ssh has StopWhenUnneeded=yes, and no unit needs it",
        ),
        ("LoadState=loaded StopWhenUnneeded=yes WantedBy=multi-user.target RequiredBy=", "", ""),
        (
            "LoadState=loaded Requires=corp.slice",
            "Id=corp.slice LoadState=masked ActiveState=inactive",
            "its unit ssh needs corp.slice, which is masked",
        ),
        (
            "LoadState=loaded BindsTo=corp.device",
            "Id=corp.device LoadState=loaded ActiveState=inactive",
            "its unit ssh needs corp.device, which is not there",
        ),
    ] {
        for runs in [false, true] {
            world(|world| {
                let state = "ActiveState=inactive SubState=dead NRestarts=0";
                let journal = "'ssh.service: Service has more than one ExecStart= setting. Refusing.'";
                if runs {
                    unit_of_sshd(world, state, "", journal);
                } else {
                    failed_unit(world, state, "", journal);
                }
                let more = format!(
                    "in\n*property=LoadState,Requires*) printf '%s\\n' {show};;\n*property=Id,LoadState*) printf '%s\\n' {states};;\n\
                     *property=Id,IPAddressDeny*) exit 1;;\n"
                );
                let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap().replacen("in\n", &more, 1);
                world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
                let journalctl = format!(
                    "#!/bin/sh\ncase \"$*\" in *--unit*ssh.service) printf '%s\\n' {journal};; *) exit 1;; esac\n"
                );
                world.instance.install("/usr/bin/journalctl", journalctl.as_bytes());
                let (report, id) = (world.check(), "running.daemon");
                let note = report.note(id);
                let later = "works now, but breaks at sshd's next restart: ";
                let expected = match (runs, says) {
                    (true, says) if says.starts_with("systemd") => format!("{later}{says}"),
                    (true, _) => {
                        assert_eq!(report.status(id), "ok", "{note}");
                        return;
                    }
                    (false, "") => "sshd is stopped".to_owned(),
                    (false, says) => format!("sshd is stopped: {says}"),
                };
                assert_eq!(note, expected);
                assert_eq!(report.status(id), if runs { "warn" } else { "fail" });
                assert_eq!(report.of(id)["fix_kind"] == "command", says.is_empty());
            });
        }
    }
}

/// A copy of the package's unit, which the administrator changed.
#[test]
fn a_copy_of_a_unit_that_fails() {
    for (line, journal, says) in [
        (
            "",
            "'Starting ssh.service' 'Missing privilege separation directory: /run/sshd' 'ssh.service: Failed.'",
            "add RuntimeDirectory=sshd to the section [Service] of sshd's unit (systemctl edit ssh), then: ",
        ),
        (
            "Type=forking\n",
            "'Starting ssh.service' 'ssh.service: start operation timed out. Terminating.' 'Received signal 15; terminating.'",
            "remove Type=forking from sshd's unit (/etc/systemd/system/ssh.service line 3), then: ",
        ),
    ] {
        world(|world| {
            failed_unit(world, "ActiveState=failed SubState=failed NRestarts=5", "", journal);
            let copy = "/etc/systemd/system/ssh.service";
            let text = format!("[Service]\nExecStart=/usr/sbin/sshd -D\n{line}");
            world.instance.write(copy, text);
            let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap();
            let systemctl = systemctl
                .replace("FragmentPath=/usr/lib/systemd/system/ssh.service", &format!("FragmentPath={copy}"));
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            std::thread::sleep(Duration::from_millis(50));
            let up = fs::read_to_string("/proc/uptime").unwrap();
            let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
            world.instance.write("/run/failed", format!("{:.0}", up * 1e6 + 1e4));
            let report = world.check();
            let fix = report.of("running.daemon")["fix"].as_str().unwrap();
            assert!(fix.starts_with(says) && fix.contains("; the unit is a copy of the package's"), "{fix}");
            let note = report.note("running.daemon");
            assert!(!note.contains("signal 15"), "{note}");
        });
    }
}

/// A unit that sshd cannot start with: the report has the last lines of its journal and the file that changes it, and no command that
/// has just failed.
#[test]
fn a_unit_that_fails() {
    let failed = "ActiveState=failed SubState=failed NRestarts=5";
    let family = "'Server listening on 0.0.0.0 port 22.' 'Starting ssh.service - x...' 'socket: Address family not supported by protocol' \
         'ssh.service: Main process exited, code=exited, status=255/EXCEPTION' \"ssh.service: Failed with result 'exit-code'.\"";
    world(|world| {
        failed_unit(world, failed, "RestrictAddressFamilies=AF_UNIX AF_NETLINK", family);
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        assert_eq!(
            report.note("running.daemon"),
            "sshd is stopped: its unit ssh failed: socket: Address family not supported by protocol"
        );
        assert_eq!(
            report.of("running.daemon")["fix"],
            "remove RestrictAddressFamilies=AF_UNIX AF_NETLINK from sshd's unit (/etc/systemd/system/ssh.service.d/x.conf line 4), \
             then: systemctl daemon-reload; systemctl reset-failed ssh; systemctl restart ssh"
        );
        assert_eq!(report.detail("running.daemon").len(), 4, "{:#?}", report.detail("running.daemon"));
        // The file was changed after that.
        std::thread::sleep(Duration::from_millis(100));
        world.instance.write("/etc/systemd/system/ssh.service.d/x.conf", "[Service]\n");
        assert_eq!(world.check().of("running.daemon")["fix"], "systemctl start ssh");
    });
    // A socket starts it again for each client.
    world(|world| {
        let journal =
            "'Starting ssh.service' 'ssh.service: Main process exited, code=killed, status=25/XFSZ'";
        failed_unit(world, failed, "LimitFSIZE=0", journal);
        let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap().replacen(
            "in\n",
            "in 'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';; *Accept*) echo no;;\n",
            1,
        );
        world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
        let report = world.check();
        assert_eq!(report.status("running.daemon"), "warn", "{:#}", report.of("running.daemon"));
        let note = report.note("running.daemon");
        assert!(note.starts_with("ssh.socket listens, but its last start of sshd failed: "), "{note}");
    });
    // Without a file that changes it.
    world(|world| {
        failed_unit(
            world,
            failed,
            "",
            "'Starting ssh.service' 'ssh.service: Main process exited, code=killed, status=31/SYS'",
        );
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        let note = "sshd is stopped: its unit ssh failed: ssh.service: Main process exited, code=killed, status=31/SYS";
        assert_eq!(report.note("running.daemon"), note);
        assert_eq!(report.of("running.daemon")["fix_kind"], "advice");
    });
    // systemd starts it again and again, and has removed the directory meanwhile.
    world(|world| {
        let restarts = "ActiveState=activating SubState=auto-restart NRestarts=2";
        failed_unit(
            world,
            restarts,
            "LimitFSIZE=0",
            "'Starting ssh.service' 'ssh.service: Main process exited, code=killed, status=25/XFSZ'",
        );
        fs::remove_dir("/run/sshd").unwrap();
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        let note = report.note("running.daemon");
        assert!(
            note.contains("starts its unit ssh again and again") && note.ends_with("status=25/XFSZ"),
            "{note}"
        );
        assert!(report.of("running.daemon")["fix"].as_str().unwrap().starts_with("remove LimitFSIZE=0 from"));
    });
    // With another user, systemd gives it the directory.
    world(|world| {
        failed_unit(
            world,
            failed,
            "User=alice",
            "'Starting ssh.service' '/run/sshd must be owned by root and not group or world-writable.'",
        );
        chown("/run/sshd", Some(47_101), None).unwrap();
        let report = world.check();
        report.assert_exactly(&[("sshd.config", "fail"), ("running.daemon", "fail")]);
        for id in ["sshd.config", "running.daemon"] {
            let fix = report.of(id)["fix"].as_str().unwrap();
            assert!(
                fix.starts_with(
                    "remove User=alice from sshd's unit (/etc/systemd/system/ssh.service.d/x.conf line 4)"
                ),
                "{fix}"
            );
        }
    });
}

/// Settings that cannot be the cause are not named.
#[test]
fn the_settings_of_a_unit_that_fails() {
    let failed = "ActiveState=failed SubState=failed NRestarts=5";
    // It ran, and was killed: no setting is the cause.
    world(|world| {
        let journal = "'Starting ssh.service' 'Started ssh.service' 'Server listening on :: port 22.' 'Accepted publickey for bob' \
             'ssh.service: Main process exited, code=killed, status=9/KILL'";
        failed_unit(world, failed, "Restart=no", journal);
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        let begin =
            "sshd is stopped: its unit ssh failed: the kernel, for lack of memory, or another program killed";
        assert!(report.note("running.daemon").starts_with(begin), "{}", report.note("running.daemon"));
        assert_eq!(report.of("running.daemon")["fix"], "systemctl restart ssh");
        unit_of_sshd(world, failed, "MemoryMax=1M", journal);
        let fix = world.check().of("running.daemon")["fix"].as_str().unwrap().to_owned();
        assert!(fix.starts_with("remove MemoryMax=1M from sshd's unit ("), "{fix}");
    });
    // Of several settings, that with the path of the message.
    world(|world| {
        let settings = "ReadOnlyPaths=/etc\nInaccessiblePaths=/etc/ssl/private /root/.aws\nRestart=no";
        let journal = "'Starting ssh.service' 'ssh.service: Failed to set up mount namespacing: /root/.aws: No such file or directory' \
             'ssh.service: Failed at step NAMESPACE spawning /usr/sbin/sshd: No such file or directory'";
        failed_unit(world, failed, settings, journal);
        let fix = world.check().of("running.daemon")["fix"].as_str().unwrap().to_owned();
        let begin = "correct /root/.aws in InaccessiblePaths=/etc/ssl/private /root/.aws (/etc/systemd/system/ssh.service.d/x.conf line 5), or \
             write -/root/.aws if it need not exist, then: systemctl daemon-reload; ";
        assert!(fix.starts_with(begin), "{fix}");
    });
}

/// Adds lines to the `case` of the systemctl of a situation.
fn systemctl_says(world: &World<'_>, lines: &str) {
    let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap();
    world
        .instance
        .install("/usr/bin/systemctl", systemctl.replacen("in\n", &format!("in\n{lines}\n"), 1).as_bytes());
}

/// systemd starts it, and waits for a command of its unit or for another unit: `systemctl start` would wait, too.
#[test]
fn a_unit_that_is_being_started() {
    let id = "running.daemon";
    let command = |setting: &str, command: &str, ended: &str| {
        format!(
            "'{setting}={{ path=/bin/sh ; argv[]={command} ; ignore_errors=no ; start_time=[Sun] ; stop_time=[{ended}] ; pid=7 ; \
             code=(null) ; status=0/0 }}'"
        )
    };
    let waits = "/bin/sh -c until test -e /run/ready; do sleep 1; done";
    let unit =
        "'ExecStartPre=/bin/sh -c \"until test -e /run/ready; do sleep 1; done\"' ExecStartPre=/bin/sh";
    let unit = unit.replace("' ", "\n").replace('\'', "");
    for (state, commands, says, fix) in [
        (
            "ActiveState=activating SubState=start-pre NRestarts=0",
            [command("ExecStartPre", "/usr/sbin/sshd -t", "Sun"), command("ExecStartPre", waits, "n/a")]
                .join(" "),
            format!("its unit ssh (start-pre) waits for the end of ExecStartPre={waits}"),
            "if it does not end by itself, correct or remove ExecStartPre= (/etc/systemd/system/ssh.service.d/x.conf line 4), then: \
             systemctl daemon-reload; systemctl restart ssh",
        ),
        (
            "ActiveState=activating SubState=start NRestarts=0",
            command("ExecStart", "/srv/sshd", "n/a"),
            "systemd is still starting or stopping its unit ssh (start)".to_owned(),
            "find out what it waits for: systemctl status ssh; journalctl --unit ssh",
        ),
        (
            "ActiveState=deactivating SubState=stop-sigterm NRestarts=0",
            String::new(),
            "systemd is still starting or stopping its unit ssh (stop-sigterm)".to_owned(),
            "find out what it waits for: systemctl status ssh; journalctl --unit ssh",
        ),
    ] {
        world(|world| {
            failed_unit(world, state, &unit, "'Starting ssh.service'");
            let shown = format!("printf '%s\\n' {state} StateChangeTimestampMonotonic=1 {commands};;");
            systemctl_says(world, &format!("*ExecCondition*) {shown}"));
            let report = world.check();
            report.assert_exactly(&[(id, "fail")]);
            assert_eq!(report.note(id), format!("sshd is stopped: {says}"));
            assert_eq!(report.of(id)["fix"], fix);
            // The same unit, while its socket listens.
            systemctl_says(
                world,
                "'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';; *Accept*) echo no;;",
            );
            let report = world.check();
            assert_eq!(report.note(id), format!("ssh.socket listens, but sshd does not start: {says}"));
            let now = fs::read_to_string("/run/failed").unwrap();
            let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap();
            let systemctl = systemctl.replace("Monotonic=1 ", &format!("Monotonic={} ", now.trim()));
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            assert_eq!(world.check().status(id), "ok", "a client has just connected");
        });
    }
    for (jobs, says, fix) in [
        (
            "'9 agent-online.service start running' '12 ssh.service start waiting' '13 a.target start waiting'",
            "sshd is stopped: the start of ssh.service waits; systemd is still starting agent-online.service (systemctl list-jobs)",
            "find out why agent-online.service does not become active (systemctl status); to start sshd before that: systemctl start \
             --job-mode=ignore-dependencies ssh.service",
        ),
        (
            "'9 agent-online.service start running' '12 ssh.service stop waiting'",
            "sshd is stopped",
            "systemctl start ssh",
        ),
        (
            "'9 agent-online.service start running' '12 sshguard.service start waiting'",
            "sshd is stopped",
            "systemctl start ssh",
        ),
    ] {
        world(|world| {
            failed_unit(world, "ActiveState=inactive SubState=dead NRestarts=0", "", "'Stopped ssh.service'");
            systemctl_says(
                world,
                &format!("*ExecCondition*) echo ActiveState=inactive;; list-jobs*) printf '%s\\n' {jobs};;"),
            );
            let report = world.check();
            report.assert_exactly(&[(id, "fail")]);
            assert_eq!((report.note(id), report.of(id)["fix"].as_str()), (says, Some(fix)));
        });
    }
}

/// The options of its command line are in another file, and the journal may name nothing.
#[test]
fn options_with_which_sshd_ends() {
    let with = |options: &str, state: &str, journal: &str, test: &dyn Fn(&World<'_>)| {
        world(|world| {
            world.instance.write("/etc/default/ssh", format!("# no -t\nSSHD_OPTS=\"{options}\"\n"));
            let settings =
                "EnvironmentFile=-/etc/default/ssh\nExecStart=\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS";
            failed_unit(world, state, settings, journal);
            systemctl_says(world, "*property=LoadState,Requires*) echo LoadState=loaded;;");
            test(world);
        });
    };
    let id = "running.daemon";
    let state = "ActiveState=inactive SubState=dead NRestarts=0";
    for option in ["-t", "-i", "-4G", "-q -R"] {
        with(option, state, "'Stopped ssh.service'", &|world| {
            let report = world.check();
            report.assert_exactly(&[(id, "fail")]);
            let letter = option.chars().next_back().unwrap();
            let says = "with which it does not wait for clients";
            assert_eq!(
                report.note(id),
                format!("sshd is stopped: its unit ssh starts sshd with -{letter}, {says}")
            );
            let place = "/etc/default/ssh line 2";
            assert_eq!(
                report.of(id)["fix"],
                format!("remove -{letter} ({place}), then: systemctl daemon-reload; systemctl restart ssh")
            );
        });
    }
    for option in ["-o LogLevel=INFO -e -4", "-o 'ForceCommand=/srv/menu -i'"] {
        with(option, state, "'Stopped ssh.service'", &|world| {
            assert_eq!(world.check().of(id)["fix"], "systemctl start ssh", "{option}");
        });
    }
    for (option, message, usage) in [
        ("-4 -o", "/usr/sbin/sshd: option requires an argument -- 'o'", "'usage: sshd [-46DdeGiqTtV]'"),
        ("-E /var/log/none/sshd", "Couldn't open logfile /var/log/none/sshd: No such file or directory", ""),
    ] {
        let state = "ActiveState=failed SubState=failed NRestarts=5";
        with(option, state, &format!("'Starting ssh.service' \"{message}\" {usage}"), &|world| {
            let report = world.check();
            assert_eq!(report.note(id), format!("sshd is stopped: its unit ssh failed: {message}"));
            assert_eq!(
                report.of(id)["fix"],
                "correct the options of sshd (/etc/default/ssh line 2), then: systemctl daemon-reload; systemctl reset-failed ssh; \
                 systemctl restart ssh"
            );
        });
    }
}

/// systemd has started it too often in a short time. Nothing else is wrong.
#[test]
fn a_unit_that_was_started_too_often() {
    world(|world| {
        let failed = "ActiveState=failed SubState=failed Result=start-limit-hit NRestarts=0";
        let journal = "'Received signal 15; terminating.' 'ssh.service: Start request repeated too quickly.'";
        failed_unit(world, failed, "", journal);
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        assert!(
            report.note("running.daemon").ends_with("because it was started too often (StartLimitBurst=)")
        );
        assert_eq!(report.of("running.daemon")["fix"], "systemctl reset-failed ssh && systemctl start ssh");
    });
}

/// The file was corrected, and systemd counts the starts before that.
#[test]
fn a_refused_file_that_was_corrected() {
    world(|world| {
        let failed = "ActiveState=failed SubState=failed Result=exit-code NRestarts=0";
        let limit = "'ssh.service: Start request repeated too quickly.' \"ssh.service: Failed with result 'exit-code'.\"";
        let line = "/etc/ssh/sshd_config: terminating, 1 bad configuration options";
        failed_unit(world, failed, "", &format!("'Starting ssh.service' '{line}' {limit}"));
        systemctl_says(world, &format!("*=ActiveState,SubState\\ ssh) printf '%s\\n' {failed};;"));
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        assert_eq!(report.note("running.daemon"), "sshd is stopped");
        assert_eq!(report.of("running.daemon")["fix"], "systemctl reset-failed ssh && systemctl start ssh");
        // What sshd says of another file is not over.
        let other = line.replace("/etc", "/opt");
        unit_of_sshd(world, failed, "", &format!("'Starting ssh.service' '{other}' {limit}"));
        let report = world.check();
        assert!(report.note("running.daemon").ends_with(&other), "{}", report.note("running.daemon"));
    });
}

/// Without such a setting of the unit, the directory was changed by hand.
#[test]
fn a_directory_of_another_user() {
    // From 9.8, sshd looks at it only when it is started.
    let works = eic_lab::sshd::sshd_version() >= (9, 8);
    broken(
        |world| {
            chown("/run/sshd", Some(47_101), None).unwrap();
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status == Some(0), works);
        },
        if works {
            &[("sshd.config", "warn")]
        } else {
            &[("sshd.config", "fail"), ("network.banner", "fail")]
        },
        "/run/sshd must be owned by root",
    );
}

/// `systemctl start` succeeds, and does nothing.
#[test]
fn a_unit_whose_condition_is_not_met() {
    let lines = |result: &str| {
        format!(
            "ConditionResult={result}\nConditionTimestampMonotonic=77\nAssertResult=yes\nAssertTimestampMonotonic=77"
        )
    };
    let file = "/etc/ssh/sshd_not_to_be_run";
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        // It is active after its start, if the file does not exist.
        let systemctl = format!(
            "#!/bin/sh\ncase \"$*\" in\n*ConditionResult*) cat <<'END'\n{}\nEND\n;;\n'start sshd'|'start ssh') [ -e {file} ] || \
             /usr/sbin/sshd;;\n*) exit 1;;\nesac\n",
            lines("no")
        );
        world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
        let report = world.check();
        assert_eq!(report.status("running.daemon"), "fail");
        let note = report.note("running.daemon");
        assert!(note.ends_with("because a Condition...= setting of it is not met"), "{note}");
        // Of several, the one that is not met.
        let lines = "[Unit]\nConditionPathExists=!/none\nConditionPathExists=/etc\nConditionPathExists=/etc/ssh/ready\n";
        for unit in ["ssh", "sshd"] {
            let directory = format!("/etc/systemd/system/{unit}.service.d");
            fs::create_dir_all(&directory).unwrap();
            world.instance.write(format!("{directory}/o.conf"), lines);
        }
        let report = world.check();
        let note = report.note("running.daemon");
        assert!(
            note.contains("because ConditionPathExists=/etc/ssh/ready (/etc/systemd/system/ssh")
                && note.ends_with(".service.d/o.conf line 4) is not met"),
            "{note}"
        );
        world.instance.write(file, "");
        let report = world.check();
        assert!(report.note("running.daemon").ends_with(&format!("is not started while {file} exists")));
        world.apply(&report, "running.daemon");
        assert!(!Path::new(file).exists());
        assert_eq!(world.settled().status("running.daemon"), "ok");
    });
}

/// Such a socket takes connections, but cannot start sshd. With `Accept=yes`, it starts another unit.
#[test]
fn a_socket_of_a_unit_that_is_masked() {
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        fs::create_dir_all("/etc/systemd/system").unwrap();
        world.instance.write("/usr/lib/systemd/system/ssh.service", "[Service]\n");
        symlink("/dev/null", "/etc/systemd/system/ssh.service").unwrap();
        world.instance.write("/usr/lib/systemd/system/ssh@.service", "[Service]\nRuntimeDirectory=sshd\n");
        for (accept, status) in [("no", "fail"), ("yes", "ok")] {
            let systemctl = format!(
                "#!/bin/sh\ncase \"$*\" in
                    'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';;
                    'show --property=Accept --value ssh.socket') echo {accept};;
                    'show --property=ActiveState,Listen,'*) printf 'Listen=[::]:22 (Stream)\\nActiveState=active\\n';;
                esac\n"
            );
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            let report = world.check();
            assert_eq!(report.status("running.daemon"), status, "{accept}");
            assert_eq!(report.status("network.banner"), "skip", "it would start sshd");
            if status == "fail" {
                assert_eq!(report.of("running.daemon")["fix"], "systemctl unmask ssh && systemctl start ssh");
            } else {
                let note = report.note("network.banner");
                assert_eq!(note, "the first connection starts sshd; --rehearse connects");
                world.instance.remove("/usr/lib/systemd/system/ssh@.service");
                let report = world.check();
                let note = report.note("running.daemon");
                assert_eq!(
                    note,
                    "ssh.socket has Accept=yes, and cannot start sshd: ssh@.service does not exist"
                );
                assert_eq!(
                    report.of("running.daemon")["fix"],
                    "systemctl stop ssh.socket && systemctl start ssh"
                );
            }
        }
    });
}

#[test]
fn sshd_has_not_read_its_configuration() {
    world(|world| {
        world.instance.write("/etc/ssh/sshd_config", config().set("MaxAuthTries", "5").text());
        let report = world.check();
        report.assert_exactly(&[("running.current", "warn")]);
        world.apply(&report, "running.current");
        world.settled().assert_healthy();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        fs::create_dir_all("/etc/ssh/sshd_config.d").unwrap();
        world.instance.write("/etc/ssh/sshd_config.d/gone.conf", "");
        world.instance.remove("/etc/ssh/sshd_config.d/gone.conf");
        assert_eq!(world.check().status("running.current"), "warn", "a file of it may be gone");
    });
    // A time in the future does not tell when the file was changed.
    world(|world| {
        let touch = "touch -d '+2 days' /etc/ssh/sshd_config; sleep 0.02";
        stop_sshd();
        world.start_sshd(&format!("{touch}; /usr/sbin/sshd"));
        world.check().assert_healthy();
        stop_sshd();
        world.instance.write("/etc/ssh/sshd_config", config().set("AllowUsers", "bob").text());
        world.start_sshd(&format!("{touch}; /usr/sbin/sshd"));
        world.check().assert_exactly(&[("sshd.access", "fail")]);
        world.instance.write("/etc/ssh/sshd_config", config().text());
        world.sh(touch);
        assert_eq!(world.check().status("running.current"), "warn");
    });
    // The mode and the owner are not what sshd reads. A file that was moved is.
    world(|world| {
        world.sh("cp -p /etc/ssh/sshd_config /run/older; chmod 600 /etc/ssh/sshd_config; chgrp 12 /etc/ssh/sshd_config",
        );
        world.check().assert_healthy();
        world.restart(&config().set("AllowUsers", "bob").text());
        world.sh("touch -d '1 hour ago' /etc/ssh/sshd_config; chmod 600 /etc/ssh/sshd_config");
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_exactly(&[("sshd.access", "fail")]);
        world.sh("mv /run/older /etc/ssh/new; mv /etc/ssh/new /etc/ssh/sshd_config");
        assert_eq!(world.check().status("running.current"), "warn");
    });
}

#[test]
fn an_override_on_the_command_line() {
    broken(
        |world| {
            world.instance.write(
                "/usr/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf",
                "[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D -o \"AuthorizedKeysCommand /x %%u %%f\"\n",
            );
        },
        // The sshd that runs was not started with it.
        &[("running.override", "warn"), ("install.aws", "warn")],
        "works now, but breaks at sshd's next restart: /usr/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf line 3 has -o AuthorizedKeysCommand",
    );
}
