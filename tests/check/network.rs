//! What this system does with connections before sshd sees them.
use crate::world::{PID_FILE, USER, World, broken, world};

/// Puts a program in place that prints a text.
fn prints(world: &World<'_>, path: &str, text: &str) {
    world.instance.install(path, format!("#!/bin/sh\ncat <<'END'\n{text}\nEND\n").as_bytes());
}

#[test]
fn a_firewall() {
    let fail = &[("network.firewall", "fail")];
    let rules = |text: &'static str| {
        move |world: &World<'_>| prints(world, "/usr/sbin/iptables-save", &format!("*filter\n{text}\nCOMMIT"))
    };
    broken(
        rules(":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j DROP"),
        fail,
        "drops each connection to port 22: -A INPUT -p tcp -m tcp --dport 22 -j DROP",
    );
    broken(rules(":INPUT DROP [0:0]\n:ufw-user-input - [0:0]"), fail, "the policy of chain INPUT");
    // The addresses of the metadata service and of this system are not a client's.
    broken(
        rules(
            ":INPUT DROP [0:0]\n-A INPUT -d 169.254.169.254/32 -j ACCEPT\n-A INPUT -s 127.0.0.0/8 -j ACCEPT",
        ),
        fail,
        "the policy of chain INPUT",
    );
    broken(
        |world| {
            let chain = r#"{"chain":{"family":"inet","table":"filter","name":"input","hook":"input","policy":"drop"}}"#;
            prints(world, "/usr/sbin/nft", &format!(r#"{{"nftables":[{chain}]}}"#));
        },
        fail,
        "the policy of chain inet filter input",
    );
    world(|world| {
        rules(":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT")(world);
        world.check().assert_healthy();
        // Each client's address may be one that is accepted, or not.
        rules(":INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT")(world);
        let report = world.check();
        report.assert_exactly(&[("network.firewall", "warn")]);
        assert!(
            report
                .note("network.firewall")
                .contains("to port 22 only from 10.0.0.0/8; those of others are dropped by the policy")
        );
        rules(":INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j DROP")(world);
        world.check().assert_healthy();
        rules(":INPUT DROP [0:0]\n:ufw-user-input - [0:0]")(world);
        assert_eq!(world.check().of("network.firewall")["fix"], "allow it: ufw allow 22/tcp");
        prints(world, "/usr/sbin/iptables-save", "");
        prints(world, "/usr/sbin/nft", "not JSON");
        world.check().assert_healthy();
    });
}

#[test]
fn addresses_that_fail2ban_blocks() {
    let status = |count: u32, list: &str| {
        format!(
            "Status for the jail: sshd\n|- Filter\n|  `- Total failed:\t9\n`- Actions\n   |- Currently banned:\t{count}\n   \
             `- Banned IP list:\t{list}"
        )
    };
    world(|world| {
        prints(world, "/usr/bin/fail2ban-client", &status(0, ""));
        world.check().assert_healthy();
        prints(world, "/usr/bin/fail2ban-client", &status(2, "192.0.2.7 2001:db8::7"));
        let report = world.check();
        report.assert_exactly(&[("network.fail2ban", "warn")]);
        assert!(report.note("network.fail2ban").contains("blocks 2 addresses"));
        assert_eq!(report.detail("network.fail2ban"), ["192.0.2.7", "2001:db8::7"]);
    });
}

/// Debian's sshd is linked with libwrap; this compares the report with it.
#[test]
fn hosts_that_are_denied() {
    world(|world| {
        let linked = std::fs::read("/usr/sbin/sshd").unwrap().windows(10).any(|bytes| bytes == b"libwrap.so");
        let login = || world.sshd.ssh(USER, &world.key, "true").status == Some(0);
        world.instance.write("/etc/hosts.allow", "");
        world.instance.write("/etc/hosts.deny", "sshd: ALL\n");
        let report = world.check();
        assert_eq!(login(), !linked);
        assert_eq!(report.status("network.wrappers"), if linked { "fail" } else { "ok" });
        world.instance.write("/etc/hosts.allow", "ALL: 192.0.2.\n");
        assert_eq!(login(), !linked);
        assert_eq!(world.check().status("network.wrappers"), if linked { "warn" } else { "ok" });
        for option in ["deny", "twist /bin/echo no"] {
            world.instance.write("/etc/hosts.deny", "");
            world.instance.write("/etc/hosts.allow", format!("sshd: ALL: {option}\n"));
            assert_eq!(login(), !linked, "{option}");
            let report = world.check();
            assert_eq!(report.status("network.wrappers"), if linked { "fail" } else { "ok" }, "{option}");
            assert!(
                !linked
                    || report
                        .note("network.wrappers")
                        .contains(&format!("hosts.allow refuses all clients for sshd: sshd: ALL: {option}"))
            );
        }
        world.instance.write("/etc/hosts.deny", "sshd: ALL: allow\n");
        world.instance.write("/etc/hosts.allow", "");
        assert!(login());
        world.check().assert_healthy();
        world.instance.write("/etc/hosts.deny", "sshd: ALL\n");
        world.instance.write("/etc/hosts.allow", "sshd: ALL\n");
        assert!(login());
        world.check().assert_healthy();
    });
}

/// The program and the options of sshd are right, and its port does not answer. Nothing but a connection shows that.
#[test]
fn a_port_that_does_not_answer() {
    let sh = |world: &World<'_>, script: &str| {
        let run = world.instance.command(["-ec", script]).program("/bin/sh").as_root().run();
        assert_eq!(run.status, Some(0), "{script}: {}", run.stderr);
    };
    // Replies are dropped, or connections refused.
    for (rule, says) in [("sport 22 blackhole", "no answer"), ("dport 22 prohibit", "Permission denied")] {
        world(|world| {
            sh(world, "ip rule add pref 10 lookup local; ip rule del pref 0");
            world.check().assert_healthy();
            sh(world, &format!("ip rule add pref 5 ipproto tcp {rule}"));
            let report = world.check_in_time();
            report.assert_exactly(&[("network.banner", "fail")]);
            let note = report.note("network.banner");
            assert!(note.contains(says) && note.contains("127.0.0.1:22"), "{note}");
            // A firewall that accepts some clients only can refuse this system's own connections.
            let rules = ":INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT";
            prints(world, "/usr/sbin/iptables-save", &format!("*filter\n{rules}\nCOMMIT"));
            let report = world.check_in_time();
            report.assert_exactly(&[("network.firewall", "warn"), ("network.banner", "warn")]);
        });
    }
    // PrivateNetwork=
    world(|world| {
        crate::system::stop_sshd();
        sh(
            world,
            &format!(
                "unshare --net sh -c 'ip link set lo up; /usr/sbin/sshd'; while ! [ -e {PID_FILE} ]; do sleep 0.05; done"
            ),
        );
        let report = world.check();
        report.assert_exactly(&[("network.banner", "fail")]);
        let note = report.note("network.banner");
        assert!(note.ends_with("has a network of its own, which no client reaches"), "{note}");
        crate::system::stop_sshd();
    });
    // It hangs. The sshd of a rehearsal does not.
    world(|world| {
        sh(world, &format!("kill -STOP $(cat {PID_FILE})"));
        let report = world.check_with(&[USER, "--rehearse"]);
        sh(world, &format!("kill -CONT $(cat {PID_FILE})"));
        report.assert_exactly(&[("network.banner", "warn")]);
        let summary = report.document["summary"].as_str().unwrap();
        let tried = format!(
            "A login as {USER} was tried, but not through sshd's port, which did not answer as it should"
        );
        assert!(summary.starts_with(&tried), "{summary}");
    });
}

/// Such a file is not read: the checks end, and have the result for a file that does not exist.
#[test]
fn system_files_that_cannot_be_read_to_their_end() {
    let without_end =
        ["/etc/hosts.deny", "/etc/hosts.allow", "/etc/pam.d/sshd", "/usr/lib/openssh/sshd-session"];
    world(|world| {
        for path in without_end {
            world.instance.write(path, "");
            std::fs::remove_file(path).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }
        // sshd itself reads the files of libwrap, and then gives no client an answer.
        let linked = std::fs::read("/usr/sbin/sshd").unwrap().windows(10).any(|bytes| bytes == b"libwrap.so");
        let expected: &[_] = if linked { &[("network.banner", "warn")] } else { &[] };
        world.check_in_time().assert_exactly(expected);
        for path in without_end {
            std::fs::remove_file(path).unwrap();
            std::fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
        }
        world.check_in_time().assert_exactly(expected);
    });
}

/// What a program printed counts, even if something that it started keeps its outputs open; and that takes its time limit once.
#[test]
fn a_program_that_leaves_another_one_behind() {
    world(|world| {
        let rules = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\nCOMMIT";
        let script = format!("#!/bin/sh\nsleep 20 &\ncat <<'END'\n{rules}\nEND\n");
        world.instance.install("/usr/sbin/iptables-save", script.as_bytes());
        let report = world.check_in_time();
        assert_eq!(report.status("network.firewall"), "fail", "{}", report.note("network.firewall"));
        let duration = report.of("network.firewall")["duration_ms"].as_u64().unwrap();
        assert!(duration < 3_500, "{duration} ms");
    });
}
