//! Options of sshd's command line, and other sshds.

use eic_lab::sshd::CONFIG;

use crate::world::{USER, config, stop_sshd, with_unit, world};

/// The options of sshd's command line count as they do for sshd.
#[test]
fn options_of_the_running_sshd() {
    world(|world| {
        stop_sshd();
        let start = |options: &str| world.start_sshd(&format!("/usr/sbin/sshd {options}"));
        start("-o PubkeyAuthentication=no -o 'MaxAuthTries 2'");
        let report = world.check();
        report.assert_exactly(&[("sshd.pubkey", "fail"), ("sshd.tries", "warn")]);
        let fix = report.of("sshd.pubkey")["fix"].as_str().unwrap();
        assert!(fix.starts_with("set PubkeyAuthentication yes (sshd's command line), then: "), "{fix}");
        stop_sshd();
        // Its title has no quotes: -3des-cbc looks like an option.
        start("-o 'Ciphers -3des-cbc'");
        world.check().assert_healthy();
        stop_sshd();
        // As with the override of AWS's package, whose command is a link to eic-keys.
        std::fs::create_dir_all("/usr/share/ec2-instance-connect").unwrap();
        let link = "/usr/share/ec2-instance-connect/eic_run_authorized_keys";
        std::os::unix::fs::symlink("../../bin/eic-keys", link).unwrap();
        world.instance.write(
            "/usr/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf",
            format!("[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D -o \"AuthorizedKeysCommand {link} %%u %%f\"\n"),
        );
        start(&format!("-o 'AuthorizedKeysCommand {link} %u %f' -o 'AuthorizedKeysCommandUser eic-keys'"));
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_healthy();
    });
}

/// sshd keeps the options that it was started with. Others in the files of its unit count at its next start.
#[test]
fn options_that_sshd_is_not_started_with_yet() {
    world(|world| {
        with_unit(world, "-o MaxAuthTries=7");
        world.check().assert_healthy();
        let current = &[("running.current", "warn")];
        for (options, says) in [
            ("-o PubkeyAuthentication=no", "PubkeyAuthentication is no"),
            ("-o AllowUsers=bob", "AllowUsers does not include alice"),
            ("-o 'DenyUsers bob alice'", "DenyUsers includes alice"),
            ("-p 2222", "sshd listens on 0.0.0.0:2222, not on port 22"),
            ("-o NoSuchKeyword=1", "NoSuchKeyword"),
        ] {
            world.instance.write("/etc/default/ssh", format!("SSHD_OPTS=\"{options}\"\n"));
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{options}");
            let report = world.check();
            report.assert_exactly(current);
            let note = report.note("running.current");
            let begins = "works now, but breaks at sshd's next restart (/etc/default/ssh was changed after sshd was started): ";
            assert!(note.starts_with(begins) && note.contains(says), "{options}: {note}");
            assert_eq!(report.of("running.current")["fix_kind"], "advice");
        }
        // Harmless ones, and none.
        for options in ["-o MaxAuthTries=5", ""] {
            world.instance.write("/etc/default/ssh", format!("SSHD_OPTS={options}\n"));
            let report = world.check();
            report.assert_exactly(current);
            assert_eq!(
                report.of("running.current")["fix"],
                "systemctl daemon-reload && systemctl restart ssh"
            );
        }
        // The same in other words, and options that change nothing.
        for options in ["'-o MaxAuthTries=7'", "\"-e -oMaxAuthTries=7\"", "\"-o maxauthtries=7\""] {
            world.instance.write("/etc/default/ssh", format!("SSHD_OPTS={options}\n"));
            world.check().assert_healthy();
        }
    });
    // A restored file has an old time; the newer file sets something else.
    world(|world| {
        with_unit(world, "-o MaxAuthTries=7");
        let drop_in = "/etc/systemd/system/ssh.service.d/limit.conf";
        world.sh("mkdir -p /etc/systemd/system/ssh.service.d");
        world.instance.write(drop_in, "[Service]\nLimitNOFILE=9999\n");
        world.instance.write("/etc/default/ssh", "SSHD_OPTS=\"-o MaxAuthTries=5\"\n");
        let report = world.check();
        assert!(
            report.note("running.current").starts_with("/etc/default/ssh was changed after sshd was started")
        );
        world.sh("touch -d '1 year ago' /etc/default/ssh /etc/default");
        let report = world.check();
        assert_eq!(
            report.note("running.current"),
            "sshd's unit ssh was changed after sshd was started: sshd still runs with other options"
        );
    });
    // A drop-in of the unit.
    world(|world| {
        with_unit(world, "-o MaxAuthTries=7");
        let drop_in = "/etc/systemd/system/ssh.service.d/override.conf";
        std::fs::create_dir_all("/etc/systemd/system/ssh.service.d").unwrap();
        for (options, says) in [
            ("-o UsePAM=no -o DenyUsers=alice", "DenyUsers includes alice"),
            ("-f /etc/ssh/other", "sshd then reads /etc/ssh/other and not /etc/ssh/sshd_config"),
            ("-o AuthorizedKeysCommand=none", "AuthorizedKeysCommand is none"),
        ] {
            let line = format!("/usr/sbin/sshd -D {options}");
            world.instance.write(drop_in, format!("[Service]\nExecStart=\nExecStart={line}\n"));
            let report = world.check();
            report.assert_exactly(&[("running.current", "warn")]);
            let note = report.note("running.current");
            let begins = "works now, but breaks at sshd's next restart (/etc/systemd/system/ssh.service.d/override.conf was";
            assert!(note.starts_with(begins) && note.contains(says), "{note}");
        }
        // systemd has read it.
        world
            .instance
            .write("/run/loaded", "ExecStart={ argv[]=/usr/sbin/sshd -D -o AuthorizedKeysCommand=none }\n");
        let report = world.check();
        report.assert_exactly(&[("running.override", "warn"), ("running.current", "warn")]);
        let note = report.note("running.override");
        assert!(note.starts_with("works now, but breaks at sshd's next restart: "), "{note}");
    });
}

/// A process of a user with the name sshd, whose number a stale PID file has, tells root's sshd nothing.
#[test]
fn options_of_another_users_process() {
    world(|world| {
        stop_sshd();
        let start = "mkdir -p /run/other; cp /usr/bin/sleep /run/other/sshd; \
             setpriv --reuid 47101 --regid 47101 --clear-groups bash -c \
             'exec -a \"/usr/sbin/sshd -o PubkeyAuthentication=no\" /run/other/sshd 60' >/dev/null 2>&1 & echo $! >/run/sshd.pid; sleep 0.5";
        let started = world.instance.command(["-ec", start]).program("/bin/bash").as_root().run();
        assert_eq!(started.status, Some(0), "{}", started.stderr);
        assert_eq!(world.check().status("sshd.pubkey"), "ok");
    });
}

/// A reload does not change the options of the command line.
#[test]
fn an_option_that_refuses_keys() {
    world(|world| {
        with_unit(world, "-o PubkeyAuthentication=no");
        let report = world.check();
        report.assert_exactly(&[("sshd.pubkey", "fail")]);
        let fix = report.of("sshd.pubkey")["fix"].as_str().unwrap();
        let expected = "set PubkeyAuthentication yes (sshd's command line), then: systemctl restart ssh";
        assert_eq!(fix, expected);
    });
    // The older name of a keyword.
    world(|world| {
        with_unit(world, "-o PubkeyAcceptedKeyTypes=ecdsa-sha2-nistp256");
        let report = world.check();
        let both = ["sshd.algorithms", "keys.accepted"];
        report.assert_exactly(&both.map(|id| (id, "fail")));
        for id in both {
            let fix = report.of(id)["fix"].as_str().unwrap();
            assert!(fix.ends_with(" (sshd's command line), then: systemctl restart ssh"), "{fix}");
        }
    });
}

/// A port or an address family of the command line is in no file of the configuration.
#[test]
fn sockets_of_the_command_line() {
    for (option, says) in [("-p 2222", "sshd listens on 0.0.0.0:2222"), ("-6", "sshd listens on IPv6 only")] {
        world(|world| {
            let text = config().set("ListenAddress", "").text();
            let text: String = text
                .split_inclusive('\n')
                .filter(|line| !line.starts_with("ListenAddress") || option != "-6")
                .collect();
            world.instance.write(CONFIG, text.replace("ListenAddress \n", "ListenAddress 0.0.0.0\n"));
            with_unit(world, option);
            let report = world.check();
            report.assert_exactly(&[("sshd.port", "warn")]);
            assert!(report.note("sshd.port").starts_with(says), "{}", report.note("sshd.port"));
            let fix = report.of("sshd.port")["fix"].as_str().unwrap();
            let begins = format!(
                "remove {option} from sshd's command line (/etc/default/ssh line 1), then: systemctl restart ssh"
            );
            assert!(fix.starts_with(&begins), "{fix}");
        });
    }
}

/// sshd reads the file of its last -f, and what that includes.
#[test]
fn another_main_file() {
    let lines = config().text();
    let bare: String =
        lines.split_inclusive('\n').filter(|line| !line.starts_with("AuthorizedKeysCommand")).collect();
    for (options, other, included) in [
        ("-f /etc/ssh/other", lines.as_str(), ""),
        ("-f /etc/ssh/sshd_config -f /etc/ssh/other", "Include /etc/ssh/third\n", lines.as_str()),
    ] {
        world(|world| {
            world.instance.write("/etc/ssh/other", other);
            world.instance.write("/etc/ssh/third", included);
            world.instance.write(CONFIG, &bare);
            with_unit(world, options);
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            let report = world.check();
            report.assert_healthy();
            assert_eq!(
                report.note("running.override"),
                "sshd runs with -f /etc/ssh/other: its settings are those of this file"
            );
            world.check_with(&[USER, "--rehearse"]).assert_healthy();
            // The next start reads the other one.
            world.instance.write("/etc/default/ssh", "SSHD_OPTS=\n");
            let report = world.check();
            report.assert_exactly(&[("running.current", "warn")]);
            let note = report.note("running.current");
            assert!(note.contains("sshd then reads /etc/ssh/sshd_config and not /etc/ssh/other: "), "{note}");
        });
    }
    // That file has none.
    world(|world| {
        world.instance.write("/etc/ssh/other", &bare);
        with_unit(world, "-f /etc/ssh/other");
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        assert_eq!(report.status("sshd.command"), "fail");
        let fix = report.of("sshd.command")["fix"].as_str().unwrap();
        assert!(
            fix.contains("add AuthorizedKeysCommand and AuthorizedKeysCommandUser to that file by hand"),
            "{fix}"
        );
    });
}

/// An sshd beside the one of this system.
#[test]
fn another_sshd_without_the_command() {
    world(|world| {
        let own = |command: &str, address: &str| {
            let lines = "PidFile /run/second.pid\nHostKey /etc/ssh/eic_lab_host_key\nUsePAM no\n";
            world.instance.write("/etc/ssh/second", format!("{lines}ListenAddress {address}\n{command}\n"));
        };
        // Clients use both.
        let run = "ip link add two0 type veth peer name two1; ip addr add 10.77.0.1/24 dev two0; ip addr add 10.77.0.2/24 dev two0
             ip link set two0 up; ip link set two1 up";
        world.sh(run);
        world.restart(&config().set("ListenAddress", "10.77.0.1").text());
        own("AuthorizedKeysCommand none", "10.77.0.2");
        let shell = |script: &str| {
            let ran = world.instance.command(["-c", script]).program("/bin/sh").as_root().run();
            assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        };
        shell("/usr/sbin/sshd -f /etc/ssh/second; while ! [ -e /run/second.pid ]; do sleep 0.05; done");
        let report = world.check();
        report.assert_exactly(&[("running.override", "warn")]);
        let note = report.note("running.override");
        assert!(
            note.starts_with("another sshd, process ")
                && note.ends_with(" with -f /etc/ssh/second on port 22, takes no pushed keys"),
            "{note}"
        );
        own("AuthorizedKeysCommand /usr/bin/eic-keys %u %f\nAuthorizedKeysCommandUser eic-keys", "10.77.0.2");
        world.check().assert_healthy();
        let end = "kill $(cat /run/second.pid); while [ -e /run/second.pid ]; do sleep 0.05; done";
        shell(end);
        // One for administrators.
        own("AuthorizedKeysCommand none", "10.77.0.2:2222");
        shell("/usr/sbin/sshd -f /etc/ssh/second; while ! [ -e /run/second.pid ]; do sleep 0.05; done");
        let report = world.check();
        report.assert_healthy();
        assert!(report.note("running.override").ends_with(" on port 2222, takes no pushed keys"));
        shell(end);
    });
}
