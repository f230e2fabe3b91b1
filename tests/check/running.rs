//! Which sshd serves the system.
use crate::system::stop_sshd;
use crate::world::{PID_FILE, World, world};
use std::fs;

fn number(world: &World<'_>) -> u32 {
    world.sh(&format!("until [ -s {PID_FILE} ]; do sleep 0.01; done"));
    fs::read_to_string(PID_FILE).unwrap().trim().parse().unwrap()
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
                let begin =
                    format!("sshd runs, process {process}, but not as a part of its unit ssh, which failed");
                assert!(report.note("running.daemon").starts_with(&begin));
            }
            // It is of the unit.
            world.instance.write("/run/group", "0::/system.slice/ssh.service\n");
            world.sh(&format!("mount --bind /run/group /proc/{process}/cgroup"));
            assert_eq!(world.check().status("running.daemon"), "ok");
        });
    }
}
