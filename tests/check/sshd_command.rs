//! AuthorizedKeysCommand and AuthorizedKeysCommandUser: whether sshd runs eic-keys for the user.

use crate::world::{PID_FILE, USER, broken, config, pid_file, set, with_unit, world};

#[test]
fn the_wired_command() {
    world(|world| {
        let report = world.check();
        let note = report.note("sshd.command");
        assert!(
            note.starts_with("/etc/ssh/sshd_config line ") && note.ends_with("has /usr/bin/eic-keys %u %f"),
            "{note}"
        );
        world.configure(
            &config().set("AuthorizedKeysCommand", "/usr/bin/eic-keys %u %f -- /usr/bin/true %u").text(),
        );
        let report = world.check();
        report.assert_healthy();
        assert!(report.note("sshd.command").ends_with("; the chained command is /usr/bin/true"));
    });
}

#[test]
fn no_command_or_another_program() {
    let command = &[("sshd.command", "fail")];
    let none = config()
        .text()
        .lines()
        .filter(|line| !line.starts_with("AuthorizedKeysCommand"))
        .fold(String::new(), |text, line| text + line + "\n");
    let theirs = config().set("AuthorizedKeysCommand", "/usr/bin/printf %%s").text();
    for (text, says) in [(none, "no AuthorizedKeysCommand"), (theirs, "/usr/bin/printf %%s")] {
        world(|world| {
            world.configure(&text);
            let report = world.check();
            report.assert_exactly(command);
            assert!(report.note("sshd.command").contains(says));
            // What it says to do wires sshd, and has sshd read that.
            world.apply(&report, "sshd.command");
            world.settled().assert_healthy();
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        });
    }
}

#[test]
fn another_command_for_this_user() {
    let theirs =
        "Match User alice\n  AuthorizedKeysCommand /usr/bin/true %u\n  AuthorizedKeysCommandUser eic-keys\n";
    world(|world| {
        world.configure(&(config().text() + theirs));
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "fail")]);
        let fix = report.of("sshd.command")["fix"].as_str().unwrap();
        assert!(fix.contains("Match User alice"), "{fix}");
        let others = world.check_with(&["bob"]);
        assert_eq!(others.status("sshd.command"), "ok", "it is for alice alone");
    });
}

/// On purpose, or because the lines are below a Match line.
#[test]
fn a_command_for_other_users() {
    world(|world| {
        let is_command = |line: &&str| line.starts_with("AuthorizedKeysCommand");
        let text = config().text();
        let (command, others): (Vec<_>, Vec<_>) = text.lines().partition(is_command);
        let text = format!("{}\nMatch User bob\n{}\n", others.join("\n"), command.join("\n"));
        world.configure(&text);
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "fail")]);
        let says = format!(
            "sshd has no AuthorizedKeysCommand for this user: /etc/ssh/sshd_config line {} sets it below \"Match User bob\" only",
            others.len() + 2
        );
        assert_eq!(report.note("sshd.command"), says);
        // It would let in everybody.
        assert_eq!(report.of("sshd.command")["fix_kind"], "advice");
        assert_eq!(world.check_with(&["bob"]).status("sshd.command"), "ok");
        // Or for some clients.
        for criteria in ["Address 10.0.0.0/8", "User alice Address 10.0.0.0/8"] {
            world.configure(&text.replace("Match User bob", &format!("Match {criteria}")));
            let report = world.check();
            assert_eq!(report.status("sshd.command"), "warn", "{criteria}");
            let note = report.note("sshd.command");
            assert!(note.ends_with(", for all but clients with the address 10.0.0.0/8"), "{note}");
            assert_eq!(report.of("sshd.command")["fix_kind"], "advice");
            assert_eq!(report.outcome.status, Some(0));
        }
    });
}

/// Another command or user for most clients than for some.
#[test]
fn eic_keys_for_some_clients() {
    const SOME: &str = ", for all but clients with the address 10.9.0.0/16";
    for (keyword, value, id, fix) in [
        (
            "AuthorizedKeysCommandUser",
            "nosuch",
            "sshd.command_user",
            "set AuthorizedKeysCommandUser eic-keys (",
        ),
        ("AuthorizedKeysCommand", "/usr/bin/printf %%s", "sshd.command", "if /etc/ssh/sshd_config line "),
    ] {
        let ours = config().text();
        let ours = ours.lines().find(|line| line.split(' ').next() == Some(keyword)).unwrap();
        let global = config().set(keyword, value).text();
        world(|world| {
            world.configure(&format!("{global}Match Address 10.9.0.0/16\n  {ours}\n"));
            let report = world.check();
            assert_eq!((report.status(id), report.outcome.status), ("warn", Some(0)), "{}", report.of(id));
            assert!(report.note(id).ends_with(SOME), "{}", report.note(id));
            assert_eq!(report.of(id)["fix_kind"], "advice");
            assert!(report.of(id)["fix"].as_str().unwrap().starts_with(fix), "{}", report.of(id));
            // For other users of that network, and for nobody else.
            world.configure(&format!("{global}Match User bob Address 10.9.0.0/16\n  {ours}\n"));
            assert_eq!(world.check().status(id), "fail");
        });
    }
}

/// Neither `--enable` nor a line elsewhere changes a block that turns the command off.
#[test]
fn a_block_without_a_command() {
    broken(
        |world| world.configure(&(config().text() + "Match User alice\n  AuthorizedKeysCommand none\n")),
        &[("sshd.command", "fail")],
        "turns it off): it does not ask for pushed keys",
    );
    // --enable puts its lines before this one.
    broken(
        |world| world.configure(&("AuthorizedKeysCommand none\n".to_owned() + &config().text())),
        &[("sshd.command", "fail")],
        "sshd has no AuthorizedKeysCommand (/etc/ssh/sshd_config line 1 turns it off): it does not",
    );
}

#[test]
fn a_command_line_that_eic_keys_rejects() {
    broken(
        set("AuthorizedKeysCommand", "/usr/bin/eic-keys %u %k"),
        &[("sshd.command", "fail")],
        "FINGERPRINT",
    );
    broken(
        set("AuthorizedKeysCommand", "/usr/bin/eic-keys --no-such %u"),
        &[("sshd.command", "fail")],
        "--no-such",
    );
    // Another command without "--" before it.
    for (line, expected) in [
        ("%u %f /usr/bin/true %u", "%u %f -- /usr/bin/true %u"),
        (
            "--trust-store /etc/ssl/certs/ca-certificates.crt %u %f /usr/bin/true",
            "--trust-store /etc/ssl/certs/ca-certificates.crt %u %f -- /usr/bin/true",
        ),
        ("%u %f more", "%u %f"),
    ] {
        world(|world| {
            set("AuthorizedKeysCommand", &format!("/usr/bin/eic-keys {line}"))(world);
            let report = world.check();
            report.assert_exactly(&[("sshd.command", "fail")]);
            assert_eq!(
                report.of("sshd.command")["fix"],
                format!("change it to: AuthorizedKeysCommand /usr/bin/eic-keys {expected}")
            );
        });
    }
}

/// A line that asks for the keys of another user than the one who logs in.
#[test]
fn a_line_for_another_user() {
    for line in ["%U %f", "%h %f", "bob %f", "--timeout 2 root"] {
        broken(
            set("AuthorizedKeysCommand", &format!("/usr/bin/eic-keys {line}")),
            &[("sshd.command", "fail")],
            "when alice logs in",
        );
    }
}

/// A program of the system that is given eic-keys runs it, as a rule.
#[test]
fn a_program_that_is_given_eic_keys() {
    for line in [
        "/usr/bin/env /usr/bin/eic-keys %u %f",
        "/usr/bin/nice -n 5 /usr/bin/eic-keys %u %f",
        "/bin/sh -c \"exec /usr/bin/eic-keys %u %f\"",
    ] {
        world(|world| {
            world.restart(&config().set("AuthorizedKeysCommand", line).text());
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{line}");
            let report = world.check();
            report.assert_healthy();
            assert!(
                report.note("sshd.command").contains("another program, which is given eic-keys"),
                "{line}"
            );
        });
    }
    // Other files with its name, and a program that does not exist.
    for line in ["/bin/echo /etc/eic-keys.conf", "/usr/bin/gone /usr/bin/eic-keys %u %f"] {
        world(|world| {
            world.restart(&config().set("AuthorizedKeysCommand", line).text());
            assert_eq!(world.check().status("sshd.command"), "fail", "{line}");
        });
    }
}

/// The override of AWS's package is left in sshd's unit, without its user.
#[test]
fn an_override_with_a_user_that_is_gone() {
    world(|world| {
        let options =
            "-o AuthorizedKeysCommandUser=eic-lab-gone -o 'AuthorizedKeysCommand=/usr/bin/eic-keys %u %f'";
        with_unit(world, options);
        let drop_in = "/etc/systemd/system/ssh.service.d/ec2-instance-connect.conf";
        std::fs::create_dir_all("/etc/systemd/system/ssh.service.d").unwrap();
        let line = format!("/usr/sbin/sshd -D {}", options.replace('%', "%%"));
        world.instance.write(drop_in, format!("[Service]\nExecStart=\nExecStart={line}\n"));
        let report = world.check();
        assert_eq!(report.status("sshd.command_user"), "fail", "{}", report.of("sshd.command_user"));
        let user = report.of("sshd.command_user");
        assert_eq!(user["fix_kind"], "advice", "{user}");
        let fix = user["fix"].as_str().unwrap();
        assert!(fix.contains(&format!("{drop_in} line 3 has -o AuthorizedKeysCommand")), "{fix}");
        let of_line = report.of("running.override");
        assert_eq!(of_line["status"], "fail", "{of_line}");
        assert!(report.note("running.override").contains(drop_in), "{of_line}");
    });
}

/// What a script does is not known.
#[test]
fn a_script_that_runs_eic_keys() {
    world(|world| {
        world.instance.install("/usr/bin/eic-lab-wrap", b"#!/bin/sh\nexec /usr/bin/eic-keys \"$@\"\n");
        world.restart(&config().set("AuthorizedKeysCommand", "/usr/bin/eic-lab-wrap %u %f").text());
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        report.assert_healthy();
        assert!(report.note("sshd.command").contains("a script that names eic-keys"));
        // sshd's rules for programs are those for the script.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions("/usr/bin/eic-lab-wrap", mode).unwrap();
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        report.assert_exactly(&[("install.path", "fail")]);
        world.apply(&report, "install.path");
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        // One that loses the arguments.
        world.instance.install("/usr/bin/eic-lab-wrap", b"#!/bin/sh\nexec /usr/bin/eic-keys $3\n");
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check_with(&[USER, "--rehearse"]);
        assert_eq!(report.status("login.command"), "fail");
        let note = report.note("login.command");
        assert!(
            note.contains("/usr/bin/eic-lab-wrap alice SHA256:")
                && note.contains("ends with status 1: that is of the script, or of a program that it runs"),
            "{note}"
        );
        assert!(report.of("login.command")["fix"].as_str().unwrap().starts_with("run that script by hand"));
        let summary = report.document["summary"].as_str().unwrap();
        assert!(summary.starts_with("This system refuses alice's keys: "), "{summary}");
        // Without a pushed key, its status can be that of a script that knows no such key.
        world.instance.imds.unpublish(USER);
        let report = world.check_with(&[USER, "--rehearse"]);
        assert_eq!(report.status("login.command"), "warn");
        let summary = report.document["summary"].as_str().unwrap();
        assert!(
            summary
                .contains("A login as alice from 127.0.0.1 works with a key of its own, without sshd's AuthorizedKeysCommand."),
            "{summary}"
        );
        // Neither can its success be that of one that provides the key.
        world.instance.install("/usr/bin/eic-lab-wrap", b"#!/bin/sh\nexec /usr/bin/eic-keys \"$@\"\n");
        let report = world.check();
        assert_eq!((report.status("sshd.command"), report.status("login.command")), ("ok", "warn"));
        assert!(
            report
                .note("login.command")
                .ends_with("succeeds, but for a pushed key what it does is not known")
        );
    });
}

/// As git writes it on another system.
#[test]
fn a_script_with_carriage_returns() {
    world(|world| {
        world.instance.install("/usr/bin/eic-lab-wrap", b"#!/bin/sh\r\nexec /usr/bin/eic-keys \"$@\"\r\n");
        world.restart(&config().set("AuthorizedKeysCommand", "/usr/bin/eic-lab-wrap %u %f").text());
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        report.assert_exactly(&[("login.command", "fail")]);
        let note = report.note("login.command");
        assert!(note.ends_with("/bin/sh, does not exist; its lines end with CR LF"), "{note}");
        world.apply(&report, "login.command");
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_healthy();
        // Another fault of that line.
        world.instance.install("/usr/bin/eic-lab-wrap", b"#!/bin/none\nexec /usr/bin/eic-keys \"$@\"\n");
        let report = world.check();
        report.assert_exactly(&[("login.command", "fail")]);
        assert!(report.note("login.command").contains("its first line, /bin/none, does not exist"));
        assert!(report.of("login.command")["fix"].as_str().unwrap().starts_with("correct the first line"));
    });
}

/// No command is given that would fail.
#[test]
fn enable_cannot_repair_it() {
    // Only our own line sets the user.
    world(|world| {
        let text = config().text();
        let lines = text.lines().filter(|line| !line.starts_with("AuthorizedKeysCommand"));
        world.configure(&lines.fold(String::new(), |text, line| text + line + "\n"));
        let enabled = world.instance.command(["--enable"]).as_root().run();
        assert_eq!(enabled.status, Some(0), "{}", enabled.stderr);
        let text = std::fs::read_to_string("/etc/ssh/sshd_config").unwrap();
        world.configure(&format!("AuthorizedKeysCommand /usr/bin/true %u\n{text}"));
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "fail")]);
        let fix = report.of("sshd.command")["fix"].as_str().unwrap();
        assert!(
            fix.starts_with("eic-keys --enable cannot do it: ")
                && fix.contains("add the user of that command after its line"),
            "{fix}"
        );
    });
    world(|world| {
        let text = config().text();
        let lines = text.lines().filter(|line| !line.starts_with("AuthorizedKeysCommand"));
        let text = lines.fold(String::new(), |text, line| text + line + "\n");
        world.configure(&(text + "AuthorizedKeysCommand /usr/bin/true %u\n"));
        let report = world.check();
        let enable = world.instance.command(["--enable", "--dry-run"]).as_root().run();
        assert_eq!(
            report.of("sshd.command")["fix_kind"] == "command",
            enable.status == Some(0),
            "{}",
            enable.stderr
        );
    });
}

#[test]
fn the_command_user() {
    // To make such a user would be no fix; --enable puts lines of its own first.
    world(|world| {
        world.configure(&config().set("AuthorizedKeysCommandUser", "nobody-here").text());
        let report = world.check();
        report.assert_exactly(&[("sshd.command_user", "fail")]);
        assert!(
            report.note("sshd.command_user").contains("AuthorizedKeysCommandUser nobody-here does not exist")
        );
        world.apply(&report, "sshd.command_user");
        world.settled().assert_healthy();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
    });
    broken(
        set("AuthorizedKeysCommandUser", "root"),
        &[("sshd.command_user", "warn")],
        "eic-keys runs as root",
    );
    // --enable does not change blocks, and says nothing of them.
    world(|world| {
        let block = |user: &str| {
            format!(
                "Match User alice\n  AuthorizedKeysCommand /usr/bin/eic-keys %u %f\n  AuthorizedKeysCommandUser {user}\n"
            )
        };
        let lines = config().text().lines().count();
        for user in ["nobody-here", "none"] {
            world.configure(&(config().text() + &block(user)));
            let report = world.check();
            report.assert_exactly(&[("sshd.command_user", "fail")]);
            let found = report.of("sshd.command_user");
            assert_eq!(found["fix_kind"], "advice", "{found}");
            let fix = found["fix"].as_str().unwrap();
            let says = format!(
                "set AuthorizedKeysCommandUser eic-keys (/etc/ssh/sshd_config line {}, below \"Match User alice\" in line {}), then: ",
                lines + 3,
                lines + 1
            );
            assert!(fix.starts_with(&says), "{fix}");
            assert_eq!(world.check_with(&["bob"]).status("sshd.command_user"), "ok");
        }
        world.restart(&(config().text() + &block("eic-keys")));
        world.check().assert_healthy();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
    });
    // --enable keeps the user of a command that it chains.
    world(|world| {
        let chained = "/usr/bin/eic-keys %u %f -- /bin/true %u";
        let text =
            config().set("AuthorizedKeysCommand", chained).set("AuthorizedKeysCommandUser", "root").text();
        world.restart(&text);
        let report = world.check();
        report.assert_healthy();
        let says = "eic-keys runs as root, as does the chained command /bin/true";
        assert_eq!(report.note("sshd.command_user"), says);
    });
}

/// sshd expands `%u` in AuthorizedKeysCommandUser: each user asks for his own keys.
#[test]
fn the_command_user_is_the_login_user() {
    world(|world| {
        world.configure(&config().set("AuthorizedKeysCommandUser", "%u").text());
        let report = world.check();
        report.assert_healthy();
        let note = report.note("sshd.command_user");
        assert!(note.contains("is %u: for this login alice, uid "), "{note}");
        let uid = world.instance.command(["-u", USER]).program("/usr/bin/id").run().stdout;
        assert!(note.ends_with(&format!("uid {}", uid.trim())), "{note}");
        // Of nobody in particular it cannot be told.
        let report = world.check_with(&[]);
        assert_eq!(report.status("sshd.command_user"), "skip");
        assert!(report.note("sshd.command_user").ends_with("check with a USER"));
        // What keeps that user from the metadata service keeps the keys from it.
        let report = world.check_with(&["nobody-here"]);
        assert_eq!(report.status("sshd.command_user"), "fail");
        assert!(
            report
                .note("sshd.command_user")
                .contains("for this login nobody-here, and that user does not exist")
        );
        world.configure(&config().set("AuthorizedKeysCommandUser", "%%%u").text());
        let report = world.check();
        assert!(report.note("sshd.command_user").contains("is %%%u, for this login %alice, and"));
    });
}

/// So are those of a command that --enable left out.
#[test]
fn a_command_that_is_left_out() {
    world(|world| {
        let theirs =
            config().set("AuthorizedKeysCommand", "/usr/bin/true").set("AuthorizedKeysCommandUser", "svc");
        world.configure(&theirs.text());
        let getent = std::fs::read("/usr/bin/getent").unwrap();
        let enabled = || {
            let enable = world.instance.command(["--enable"]).as_root().run();
            assert_eq!(enable.status, Some(0), "{}{}", enable.stdout, enable.stderr);
            let number = pid_file();
            world.instance.write(PID_FILE, number);
        };
        enabled();
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "warn")]);
        let note = report.note("sshd.command");
        assert!(note.contains("; /usr/bin/true is left out, because its user svc does not exist"), "{note}");
        let fix = report.of("sshd.command")["fix"].as_str().unwrap();
        assert!(fix.starts_with("create the user svc"), "{fix}");
        // A directory has it again.
        world.instance.write("/run/getent", &getent);
        let script = "#!/bin/sh\n[ \"$3\" = svc ] && echo svc:x:65534:65534::/:/bin/false && exit\nexec /run/getent \"$@\"\n";
        std::fs::set_permissions("/run/getent", std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        world.instance.install("/usr/bin/getent", script.as_bytes());
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "warn")]);
        assert!(report.note("sshd.command").contains("although its user svc exists again"));
        world.apply(&report, "sshd.command");
        let number = pid_file();
        world.instance.write(PID_FILE, number);
        let report = world.check();
        report.assert_healthy();
        assert!(report.note("sshd.command").ends_with("; the chained command is /usr/bin/true"));
    });
}

/// A line that chains eic-keys, or AWS's command, which it replaces.
#[test]
fn a_command_that_chains_itself() {
    let twice = ("sshd.command", "warn");
    let line = "/usr/bin/none /usr/bin/eic-keys %u %f";
    broken(
        set("AuthorizedKeysCommand", line),
        &[("sshd.command", "fail")],
        "sshd does not run it: it does not exist",
    );
    for (next, expected) in [
        ("/usr/bin/eic-keys %u", &[twice][..]),
        ("/opt/aws/bin/eic_run_authorized_keys %u %f", &[twice]),
        // AWS's package is not installed here, so timeout ends with 127.
        ("/usr/bin/timeout 5s /opt/aws/bin/curl_authorized_keys %u %f", &[twice, ("login.command", "warn")]),
    ] {
        let line = format!("/usr/bin/eic-keys %u %f -- {next}");
        broken(set("AuthorizedKeysCommand", &line), expected, "each login asks twice");
    }
}
