//! Tools that do not answer, and a report for a user other than root.

use std::fs;

use crate::world::{USER, world};

/// Such a tool has not said that all is well, nor that anything is wrong.
#[test]
fn tools_that_do_not_answer() {
    let (firewall, bans) = ("network.firewall", "network.fail2ban");
    let (module, package, expiry) = ("confinement.selinux", "install.package", "user.expiry");
    let late = "no answer in 2 s";
    let long = "its output is too long";
    for (does, reason, expected) in [
        ("exec sleep 60", late, &[firewall, bans, module, package, expiry][..]),
        ("yes | head --bytes=2000000", long, &[firewall, bans, module, package, expiry]),
        ("kill -KILL $$", "signal: 9 (SIGKILL)", &[firewall, bans, module, package, expiry]),
        // No rules of fail2ban, no package, no line in shadow(5).
        ("echo broken >&2; exit 3", "broken", &[firewall, module]),
    ] {
        world(|world| {
            world.instance.write("/sys/fs/selinux/enforce", "1");
            let script = format!("#!/bin/sh\n{does}\n");
            for tool in
                ["sbin/nft", "sbin/iptables-save", "sbin/semodule", "bin/fail2ban-client", "bin/dpkg-query"]
            {
                world.instance.install(&format!("/usr/{tool}"), script.as_bytes());
            }
            world.instance.install("/usr/bin/getent.real", &fs::read("/usr/bin/getent").unwrap());
            let getent = format!("#!/bin/sh\n[ $1 = shadow ] || exec getent.real \"$@\"\n{does}\n");
            world.instance.install("/usr/bin/getent", getent.as_bytes());
            let report = world.check_in_time();
            let skipped: Vec<_> = expected.iter().map(|id| (*id, "skip")).collect();
            report.assert_exactly(&skipped);
            for id in expected {
                assert!(report.note(id).ends_with(reason), "{id}: {}", report.note(id));
            }
        });
    }
}

#[test]
fn programs_that_hang() {
    world(|world| {
        fs::create_dir_all("/run/systemd/system").unwrap();
        for program in ["/usr/bin/getent", "/usr/bin/systemctl", "/usr/bin/journalctl", "/usr/bin/dpkg-query"]
        {
            world.instance.install(program, b"#!/bin/sh\nexec sleep 60\n");
        }
        let report = world.check_in_time();
        assert_eq!(report.note("user.account"), "users cannot be looked up: getent: no answer in 2 s");
        assert_eq!(report.status("user.account"), "fail");
        // They would hang, too.
        let says = "needs the name service, which does not answer";
        for id in ["sshd.config", "sshd.command_user", "network.banner", "login.command", "recent.sshd"] {
            assert_eq!((report.status(id), report.note(id)), ("skip", says), "{id}");
        }
        for id in ["keys.signatures", "confinement.layers", "confinement.denials"] {
            assert_eq!(report.status(id), "ok", "{id}: it asks no name service");
        }
        let duration = report.document["checks"].as_array().unwrap().iter();
        let slow = duration.filter(|check| check["duration_ms"].as_u64().unwrap() > 1_900).count();
        assert_eq!(slow, 1, "user.account alone takes its time limit");
        let sshd = fs::read("/usr/sbin/sshd").unwrap();
        world.instance.install("/usr/sbin/sshd", b"#!/bin/sh\nexec sleep 60\n");
        let report = world.check_in_time();
        assert_eq!(report.note("sshd.version"), "sshd does not end: no answer in 2 s");
        assert_eq!(report.status("keys.signatures"), "ok", "the others have their answers");
        world.instance.install("/usr/sbin/sshd", &sshd);
    });
}

#[test]
fn without_root() {
    world(|world| {
        let outcome = world.instance.command(["--check", "--json", USER]).run();
        let document = crate::schema::read(&outcome.stdout);
        assert_eq!(outcome.status, Some(0), "{document:#}");
        let of =
            |id: &str| document["checks"].as_array().unwrap().iter().find(|check| check["id"] == id).unwrap();
        assert_eq!(of("keys.signatures")["status"], "ok", "what sshd does, this user can do");
        for id in ["sshd.config", "recent.sshd", "confinement.denials"] {
            let check = of(id);
            assert_eq!(check["status"], "skip", "{check}");
            assert!(check["note"].as_str().unwrap().contains("only root"), "{check}");
        }
        let summary = document["summary"].as_str().unwrap();
        assert!(summary.contains("Not checked: sshd.config, "), "{summary}");
    });
}
