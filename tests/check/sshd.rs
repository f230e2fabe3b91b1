//! sshd's configuration, each way that it may keep a pushed key out.
use crate::world::{PID_FILE, USER, World, broken, config, world};
use eic_lab::UserKey;
use eic_lab::sshd::CONFIG;
use std::time::{Duration, Instant};

/// The content of sshd's PID file. sshd removes it, and writes it again, when it reads its configuration.
fn pid_file() -> Vec<u8> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match std::fs::read(PID_FILE) {
            Ok(number) if !number.is_empty() => return number,
            read => assert!(Instant::now() < end, "{read:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Another value for one keyword.
fn set(keyword: &str, value: &str) -> impl FnOnce(&World<'_>) + use<> {
    let text = config().set(keyword, value).text();
    move |world| world.configure(&text)
}

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
            report.assert_exactly(&[("sshd.command", "warn")]);
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
        report.assert_exactly(&[("sshd.command", "warn")]);
        assert!(report.note("sshd.command").contains("a script that names eic-keys"));
        // sshd's rules for programs are those for the script.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions("/usr/bin/eic-lab-wrap", mode).unwrap();
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "warn"), ("install.path", "fail")]);
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
        report.assert_exactly(&[("sshd.command", "warn"), ("login.command", "fail")]);
        let note = report.note("login.command");
        assert!(note.ends_with("/bin/sh, does not exist; its lines end with CR LF"), "{note}");
        world.apply(&report, "login.command");
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_exactly(&[("sshd.command", "warn")]);
        // Another fault of that line.
        world.instance.install("/usr/bin/eic-lab-wrap", b"#!/bin/none\nexec /usr/bin/eic-keys \"$@\"\n");
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "warn"), ("login.command", "fail")]);
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

/// A program that runs as another user has no controlling terminal: it could put commands into the input of root's (`TIOCSTI`).
#[test]
fn the_command_user_has_no_terminal_of_root() {
    world(|world| {
        let real = std::fs::read("/usr/bin/setpriv").unwrap();
        world.instance.install("/run/setpriv", &real);
        world.instance.install(
            "/usr/bin/setpriv",
            b"#!/bin/sh\necho \"$$ $(ps -o sid= -o tty= -p $$)\" >>/run/sessions\nexec /run/setpriv \"$@\"\n",
        );
        world.check().assert_healthy();
        let sessions = std::fs::read_to_string("/run/sessions").unwrap();
        assert!(sessions.lines().count() >= 2, "two checks run a program as the command's user: {sessions}");
        for line in sessions.lines() {
            let [process, session, terminal] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            assert_eq!(
                (process, terminal),
                (session, "?"),
                "it leads a session of its own, without a terminal"
            );
        }
    });
}

/// sshd changes the user itself. What keeps the program from doing so that the checks use is no failure of a login.
#[test]
fn a_program_that_changes_the_user_and_cannot() {
    let missing = "echo 'setpriv: error while loading shared libraries: libcap-ng.so.0: cannot open shared object file' >&2; exit 127";
    let unchanged = "not tried as eic-keys: setsid or setpriv (util-linux) cannot be run";
    for (script, says) in [
        (missing, unchanged),
        (
            "case $* in *--check*) sleep 20 ;; *) exec /run/setpriv \"$@\" ;; esac",
            "not tried as eic-keys: the other checks take too long",
        ),
    ] {
        world(|world| {
            let real = std::fs::read("/usr/bin/setpriv").unwrap();
            world.instance.install("/run/setpriv", &real);
            world.instance.install("/usr/bin/setpriv", format!("#!/bin/sh\n{script}\n").as_bytes());
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            let report = world.check();
            assert_eq!(report.note("metadata.command_user"), says);
            assert_eq!(report.note("signer.command_user"), says);
            assert_eq!(report.outcome.status, Some(0), "nothing fails: {}", report.outcome.stdout);
        });
    }
    world(|world| {
        world.instance.remove("/usr/bin/setsid");
        let report = world.check();
        assert_eq!(report.note("metadata.command_user"), unchanged);
        assert_eq!(report.outcome.status, Some(0), "nothing fails: {}", report.outcome.stdout);
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

/// The keys of the command behind ours are logins, too.
#[test]
fn a_chained_command_that_cannot_run() {
    let behind = |path: &str| set("AuthorizedKeysCommand", &format!("/usr/bin/eic-keys %u %f -- {path} %u"));
    let warns = &[("sshd.command", "warn")];
    broken(
        behind("/usr/bin/gone"),
        warns,
        "the chained command is /usr/bin/gone, which cannot run: it does not exist",
    );
    broken(behind("/etc/passwd"), warns, "which cannot run: /etc/passwd is not a program");
    broken(
        |world| {
            world.instance.install("/usr/bin/eic-lab-theirs", b"#!/bin/sh\n");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions("/usr/bin/eic-lab-theirs", mode).unwrap();
            behind("/usr/bin/eic-lab-theirs")(world);
        },
        warns,
        "which cannot run: users other than root can write to /usr/bin/eic-lab-theirs",
    );
}

/// sshd waits for the end of the command behind ours.
#[test]
fn a_chained_command_that_hangs() {
    world(|world| {
        world.instance.install("/usr/bin/eic-lab-slow", b"#!/bin/sh\nexec sleep 30\n");
        set("AuthorizedKeysCommand", "/usr/bin/eic-keys %u %f -- /usr/bin/eic-lab-slow %u")(world);
        let report = world.check();
        report.assert_exactly(&[("login.command", "warn")]);
        let note = report.note("login.command");
        assert!(
            note.contains("the chained command does not end within 4.8 s: /usr/bin/eic-lab-slow alice;"),
            "{note}"
        );
    });
}

/// A chained command that cannot run is named before anybody logs in. One that fails can have no keys for this user.
#[test]
fn a_chained_command_that_fails() {
    for (script, warns, says) in [
        (
            "#!/usr/bin/none\n",
            &[("login.command", "warn")][..],
            "the chained command cannot run: /usr/bin/eic-lab-theirs alice: exit status: 127",
        ),
        ("#!/bin/sh\nkill -KILL $$\n", &[("login.command", "warn")], "alice: signal: 9"),
        (
            "#!/bin/sh\necho no directory >&2; exit 3\n",
            &[],
            "the chained command ends with exit status: 3, so that it provides no keys: /usr/bin/eic-lab-theirs alice: no directory",
        ),
        (
            "#!/bin/sh\nexec cat /etc/shadow\n",
            &[("login.command", "warn")],
            "refused access, and provides no keys: /usr/bin/eic-lab-theirs alice: exit status: 1: cat: /etc/shadow: Permission denied",
        ),
    ] {
        world(|world| {
            world.instance.install("/usr/bin/eic-lab-theirs", script.as_bytes());
            let line = "/usr/bin/eic-keys %u %f -- /usr/bin/eic-lab-theirs %u";
            world.restart(&config().set("AuthorizedKeysCommand", line).text());
            let report = world.check();
            report.assert_exactly(warns);
            let note = report.note("login.command");
            assert!(note.contains(says), "{note}");
            // A pushed key is accepted all the same.
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        });
    }
}

/// A login refuses a chained command that users other than root can change, so `--check` must not run it either.
#[test]
fn a_chained_command_that_others_can_change_is_not_run() {
    world(|world| {
        world.instance.install("/usr/bin/eic-lab-theirs", b"#!/bin/sh\ntouch /run/eic-lab-ran\n");
        let line = "/usr/bin/eic-keys %u %f -- /usr/bin/eic-lab-theirs %u";
        let config = config().set("AuthorizedKeysCommand", line).set("AuthorizedKeysCommandUser", "root");
        world.restart(&config.text());
        let ran = || std::fs::remove_file("/run/eic-lab-ran").is_ok();
        world.check();
        assert!(ran(), "a command that only root can change is run");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions("/usr/bin/eic-lab-theirs", mode).unwrap();
        let report = world.check();
        assert!(report.note("sshd.command").contains("users other than root can write to"));
        assert!(!ran(), "root ran a command that users other than root can change");
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        assert!(!ran(), "a login ran it");
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

/// How sshd.config begins if sshd rejects the files of an sshd that runs.
const UNKNOWN: &str =
    "breaks at sshd's next restart at the latest (what the running sshd has read cannot be seen): ";

#[test]
fn a_configuration_that_sshd_refuses() {
    world(|world| {
        crate::world::stop_sshd();
        world.instance.write("/etc/ssh/sshd_config", config().set("NoSuchKeyword", "yes").text());
        let report = world.check();
        report.assert_exactly(&[("sshd.config", "fail"), ("running.daemon", "fail")]);
        assert!(report.note("sshd.config").contains("NoSuchKeyword"));
        assert_eq!(
            report.note("running.daemon"),
            "sshd is stopped, and would not start: fix sshd.config first"
        );
    });
    // What sshd reports names no file, or nothing that can be seen there.
    for (file, text, says) in [
        (
            "/etc/ssh/loop",
            "Include /etc/ssh/loop\n",
            "remove the Include that leads back to its own file: /etc/ssh/loop line 1: ",
        ),
        (
            "/etc/ssh/marked",
            "\u{feff}# A comment\n",
            "remove the byte order mark from the beginning of /etc/ssh/marked",
        ),
    ] {
        world(|world| {
            world.instance.write(file, text);
            let main = format!("{}Include {file}\n", config().text());
            world.instance.write("/etc/ssh/sshd_config", main);
            let report = world.check();
            assert_eq!(report.status("sshd.config"), "warn");
            assert!(report.note("sshd.config").starts_with(UNKNOWN));
            let fix = report.of("sshd.config")["fix"].as_str().unwrap();
            assert!(fix.starts_with(says), "{fix}");
        });
    }
    // ls shows the file.
    world(|world| {
        world.sh("ln -s /srv/config/eic.conf /etc/ssh/10-eic.conf");
        world
            .instance
            .write("/etc/ssh/sshd_config", format!("{}Include /etc/ssh/10-*.conf\n", config().text()));
        let fix = world.check().of("sshd.config")["fix"].as_str().unwrap().to_owned();
        let says = "/etc/ssh/10-eic.conf is a link to /srv/config/eic.conf, which does not exist: ";
        assert!(fix.starts_with(says), "{fix}");
    });
    // Neither the Match line nor the line without its other half is in the message.
    let text = config().text();
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("AuthorizedKeysCommandUser"));
    let without_user: String = lines.collect();
    let command =
        without_user.lines().position(|line| line.starts_with("AuthorizedKeysCommand ")).unwrap() + 1;
    for (text, says) in [
        (
            format!("Match User bob\n  X11Forwarding no\nMatch User carol\nUsePAM yes\n{text}"),
            "a Match line holds for all lines below it: ".to_owned(),
        ),
        (
            without_user,
            format!(
                "add AuthorizedKeysCommandUser (eic-keys for eic-keys) below /etc/ssh/sshd_config line {command}"
            ),
        ),
    ] {
        world(|world| {
            world.instance.write("/etc/ssh/sshd_config", &text);
            let fix = world.check().of("sshd.config")["fix"].as_str().unwrap().to_owned();
            assert!(fix.starts_with(&says) && fix.ends_with(", then reload sshd"), "{fix}");
        });
    }
    // The process for a connection ends at once.
    let expected = &[("sshd.config", "fail"), ("network.banner", "fail")];
    broken(|_| std::fs::remove_dir("/run/sshd").unwrap(), expected, "/run/sshd");
}

#[test]
fn host_keys_that_sshd_cannot_use() {
    world(|world| {
        for kind in ["ecdsa", "ed25519", "rsa"].map(|kind| format!("/etc/ssh/ssh_host_{kind}_key")) {
            if std::fs::exists(&kind).unwrap() {
                world.instance.remove(&kind);
            }
        }
        world.configure(&config().set("HostKey", "/nonexistent").text());
        let report = world.check();
        assert_eq!(report.status("sshd.config"), "fail");
        assert!(report.note("sshd.config").contains("no hostkeys available"));
        // In an image, keys would be the same for all that is started from it.
        let fix = report.of("sshd.config")["fix"].as_str().unwrap();
        assert!(fix.contains("ssh-keygen -A on this instance, not in an image"), "{fix}");
        assert_eq!(report.of("sshd.config")["fix_kind"], "advice");
        // Without the line, sshd has keys.
        world.sh("ssh-keygen -q -t ecdsa -N '' -f /run/new; cp /run/new /etc/ssh/ssh_host_ecdsa_key");
        let fix = world.check().of("sshd.config")["fix"].as_str().unwrap().to_owned();
        assert!(fix.starts_with("remove HostKey /nonexistent (/etc/ssh/sshd_config line "), "{fix}");
        world.instance.remove("/etc/ssh/ssh_host_ecdsa_key");
        // A key that sshd cannot decrypt, in both forms.
        for form in ["-Z aes256-ctr", "-m PEM"] {
            world.sh(&format!("rm -f /run/host; ssh-keygen -q -t ecdsa -N secret {form} -f /run/host"));
            world.configure(&config().set("HostKey", "/run/host").text());
            let fix = world.check().of("sshd.config")["fix"].as_str().unwrap().to_owned();
            assert!(
                fix.starts_with("/run/host has a passphrase, without which sshd cannot use it: "),
                "{fix}"
            );
        }
        for form in ["", "-m PEM"] {
            world.sh(&format!("rm -f /run/host; ssh-keygen -q -t ecdsa -N '' {form} -f /run/host"));
            world.configure(&config().set("HostKey", "/run/host").text());
            assert_eq!(world.check().status("sshd.config"), "ok");
            // In another way unusable.
            world.sh("truncate -s 100 /run/host");
            let fix = world.check().of("sshd.config")["fix"].as_str().unwrap().to_owned();
            assert!(fix.starts_with("sshd does not start without host keys"), "{fix}");
        }
        // A public key, which sshd uses with an agent only.
        let key = "/etc/ssh/eic_lab_host_key";
        let public = std::fs::read(format!("{key}.pub")).unwrap_or_else(|_| b"ssh-ed25519 AAAA\n".to_vec());
        world.instance.write("/run/host.pub", public);
        let text = config().set("HostKey", "/run/host.pub").text();
        let line = text.lines().position(|line| line.starts_with("HostKey ")).unwrap() + 1;
        let fix = format!(
            "let HostKey (/etc/ssh/sshd_config line {line}) name the private key, without .pub, then: restart sshd"
        );
        world.configure(&text);
        assert_eq!(world.check().of("sshd.config")["fix"], fix);
        world.configure(&format!("{text}HostKeyAgent /run/none\n"));
        let last = text.lines().count() + 1;
        let start = format!("start the agent that /etc/ssh/sshd_config line {last} names, or {fix}");
        assert_eq!(world.check().of("sshd.config")["fix"], start);
    });
}

#[test]
fn settings_that_refuse_keys() {
    broken(set("PubkeyAuthentication", "no"), &[("sshd.pubkey", "fail")], "PubkeyAuthentication is no");
    broken(
        |world| {
            let text =
                config().set("AuthenticationMethods", "password").set("PasswordAuthentication", "yes").text();
            world.configure(&text);
        },
        &[("sshd.methods", "fail")],
        "does not include publickey",
    );
    broken(
        |world| {
            let text = config()
                .set("AuthenticationMethods", "publickey,password")
                .set("PasswordAuthentication", "yes");
            world.configure(&text.text());
        },
        &[("sshd.methods", "warn")],
        "publickey,password",
    );
    // sshd leaves out a list with a disabled method, and closes each connection if none is left.
    for (list, method) in [
        ("publickey,password", "password"),
        ("publickey,keyboard-interactive:pam", "keyboard-interactive"),
        ("hostbased,publickey", "hostbased"),
        ("publickey,gssapi-with-mic publickey,password", "gssapi-with-mic"),
    ] {
        world(|world| {
            // Outside of a Match block, sshd would not start.
            let block = format!("Match User alice\nAuthenticationMethods {list}\n");
            world.restart(&(config().text() + &block));
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{list}");
            let report = world.check();
            report.assert_exactly(&[("sshd.methods", "fail")]);
            let note =
                format!("AuthenticationMethods {list} requires {method}, which sshd's settings disable");
            assert_eq!(report.note("sshd.methods"), note);
        });
    }
    world(|world| {
        let lists = "publickey,password publickey,publickey";
        world.restart(
            &config().set("AuthenticationMethods", lists).set("PasswordAuthentication", "no").text(),
        );
        world.check().assert_exactly(&[("sshd.methods", "warn")]);
    });
    broken(
        set("PubkeyAcceptedAlgorithms", "ecdsa-sha2-nistp256"),
        &[("sshd.algorithms", "fail"), ("keys.accepted", "fail")],
        "no type of key",
    );
    broken(
        set("PubkeyAcceptedAlgorithms", "rsa-sha2-512"),
        &[("sshd.algorithms", "warn"), ("keys.accepted", "fail")],
        "ed25519",
    );
    broken(
        set("KexAlgorithms", "sntrup761x25519-sha512@openssh.com,curve25519-sha256"),
        &[("sshd.exchanges", "warn")],
        "the console's client supports none",
    );
    for known in ["ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"] {
        world(|world| {
            set("KexAlgorithms", known)(world);
            world.check().assert_healthy();
        });
    }
    let exchanges = &[("sshd.exchanges", "warn")];
    broken(set("Ciphers", "aes128-cbc"), exchanges, "supports none of Ciphers; it supports chacha20");
    broken(
        |world| world.configure(&config().set("Ciphers", "aes256-ctr").set("MACs", "hmac-md5").text()),
        exchanges,
        "supports none of MACs; it supports umac-64",
    );
    world(|world| {
        world.restart(&config().set("Ciphers", "aes256-gcm@openssh.com").set("MACs", "hmac-md5").text());
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_healthy();
    });
    broken(set("MaxAuthTries", "2"), &[("sshd.tries", "warn")], "MaxAuthTries is 2");
    world(|world| {
        world.restart(&config().set("MaxAuthTries", "0").text());
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        report.assert_exactly(&[("sshd.tries", "fail")]);
        let fix = report.of("sshd.tries")["fix"].as_str().unwrap();
        assert!(fix.starts_with("set MaxAuthTries 6 ("), "{fix}");
    });
    let port = &[("sshd.port", "warn")];
    let later = "works now, but breaks at sshd's next restart: sshd listens on";
    broken(set("Port", "2222"), port, &format!("{later} 0.0.0.0:2222, not on port 22"));
    broken(set("ListenAddress", "127.0.0.1"), port, &format!("{later} 127.0.0.1:22 only"));
    world(|world| {
        world.instance.write("/etc/ssh/sshd_config", config().set("Port", "2222").text());
        crate::world::stop_sshd();
        let started = world.instance.command(["-e"]).program("/usr/sbin/sshd").as_root().run();
        assert_eq!(started.status, Some(0), "{}", started.stderr);
        world.settled().assert_exactly(port);
        world.check_with(&[USER]);
    });
}

/// Name servers that do not answer.
#[test]
fn names_of_clients() {
    world(|world| {
        world.instance.write(CONFIG, config().set("UseDNS", "yes").text());
        world.check_with(&[USER]).assert_exactly(&[("running.current", "warn")]);
        let getent = std::fs::read("/usr/bin/getent").unwrap();
        world.instance.install("/run/getent", &getent);
        let script = "#!/bin/sh\n[ $1 != hosts ] || exec sleep 60\nexec /run/getent \"$@\"\n";
        world.instance.install("/usr/bin/getent", script.as_bytes());
        let report = world.check();
        assert_eq!(report.status("sshd.limits"), "warn");
        let note = report.note("sshd.limits");
        assert!(note.starts_with("UseDNS is yes, and the name service has no answer"), "{note}");
        let fix = report.of("sshd.limits")["fix"].as_str().unwrap();
        assert!(fix.starts_with("set UseDNS no ("), "{fix}");
    });
}

/// Nobody but this system itself can connect.
#[test]
fn listens_on_the_loopback_address() {
    world(|world| {
        world.restart(&config().set("ListenAddress", "127.0.0.1").text());
        let report = world.check();
        report.assert_exactly(&[("sshd.port", "fail")]);
        assert!(report.note("sshd.port").starts_with("sshd listens on 127.0.0.1:22 only"));
        // And over IPv6 from anywhere.
        let text = config().set("ListenAddress", "127.0.0.1").text();
        world.restart(&format!("{text}ListenAddress ::\n"));
        let report = world.check();
        report.assert_exactly(&[("sshd.port", "warn")]);
        let fix = report.of("sshd.port")["fix"].as_str().unwrap();
        assert!(
            fix.starts_with("set ListenAddress 0.0.0.0 too, and remove AddressFamily inet6, if "),
            "{fix}"
        );
    });
}

#[test]
fn allowed_and_denied_users() {
    let access = &[("sshd.access", "fail")];
    broken(set("AllowUsers", "bob carol"), access, "AllowUsers does not include alice: it has bob carol");
    // The usual slips.
    broken(
        set("AllowUsers", "bob,alice"),
        access,
        "it has bob,alice; names are separated by spaces, not by commas",
    );
    broken(set("AllowUsers", "Alice"), access, "it has Alice; upper and lower case differ");
    broken(
        set("AllowUsers", "alice\u{a0}bob"),
        access,
        "it has \"alice<U+00A0>bob\"; a character that is not ASCII",
    );
    broken(set("AllowGroups", "wheel,alice"), access, "names are separated by spaces");
    broken(set("AllowUsers", "a1 a2 a3 a4 a5 a6 a7 a8 a9"), access, "it has a1 a2 a3 a4 a5 a6 a7 a8 ...");
    world(|world| {
        set("DenyUsers", "!alice *")(world);
        let report = world.check();
        report.assert_exactly(access);
        assert_eq!(report.note("sshd.access"), "DenyUsers includes alice, by the pattern *");
        let fix = report.of("sshd.access")["fix"].as_str().unwrap();
        assert!(fix.starts_with("remove the pattern * from DenyUsers ("), "{fix}");
    });
    broken(set("DenyUsers", "a*"), access, "DenyUsers includes alice");
    broken(set("DenyUsers", "a*@*"), access, "DenyUsers includes alice");
    broken(set("AllowGroups", "wheel"), access, "AllowGroups does not include a group of alice");
    broken(set("DenyGroups", "alice"), access, "DenyGroups includes a group of alice");
    let depends = &[("sshd.access", "warn")];
    // Session Manager connects from this system itself.
    broken(set("AllowUsers", "alice@127.0.0.1"), depends, "AllowUsers allows alice from 127.0.0.1 only");
    broken(set("AllowUsers", "alice@127.0.0.1 alice@10.*"), depends, "alice from 127.0.0.1, 10.* only");
    broken(set("DenyUsers", "bob a*@192.0.2.*"), depends, "DenyUsers refuses alice from 192.0.2.*");
    broken(set("AllowUsers", "bob alice@192.0.2.*"), depends, "AllowUsers allows alice from 192.0.2.* only");
    world(|world| {
        for allowed in ["alice", "al?ce", "bob alice@*", "alice@0.0.0.0/0"] {
            world.configure(&config().set("AllowUsers", allowed).text());
            world.check().assert_healthy();
        }
    });
    // Without UseDNS, the name of a client is its address.
    broken(
        set("AllowUsers", "alice@*.example.com bob"),
        access,
        "AllowUsers has alice@*.example.com, which matches no client: UseDNS is no",
    );
    broken(set("AllowUsers", "alice@!10.0.0.1"), access, "matches no client");
    broken(
        |world| {
            let text = config().set("AllowUsers", "alice@*.example.com").set("UseDNS", "yes").text();
            world.configure(&text);
        },
        depends,
        "AllowUsers allows alice from *.example.com only",
    );
    world(|world| {
        set("DenyUsers", "alice@*.example.com")(world);
        world.check().assert_healthy();
    });
}

/// Adds a line to /etc/group, and a list to sshd's configuration. Whether a login works then, and what sshd.access says.
fn groups(world: &World<'_>, line: &str, list: &str) -> (bool, String) {
    let group = std::fs::read_to_string("/etc/group").unwrap();
    world.instance.write("/etc/group", group + line);
    world.restart(&(config().text() + list + "\n"));
    let works = world.sshd.ssh(USER, &world.key, "true").status == Some(0);
    let report = world.check();
    assert_eq!(report.status("sshd.access"), if works { "ok" } else { "fail" }, "{line} {list}");
    (works, report.note("sshd.access").to_owned())
}

#[test]
fn a_group_that_is_damaged_and_a_list_that_is_lifted() {
    // A field of its line is lost; that of another group does not count.
    world(|world| {
        let (works, note) = groups(world, "other:x:alice\nadmins:x:bob,alice\n", "AllowGroups none admins");
        assert!(!works);
        let says = "AllowGroups has admins, in which the name service does not find alice: line ";
        assert!(note.starts_with(says) && note.ends_with(" of /etc/group is damaged"), "{note}");
        let report = world.check();
        let fix = report.of("sshd.access")["fix"].as_str().unwrap();
        assert!(fix.contains(": admins:x:GID:bob,alice (grpck -r"), "{fix}");
        let group = std::fs::read_to_string("/etc/group").unwrap();
        world.instance.write("/etc/group", group.replace("admins:x:", "admins:x:47500:"));
        assert!(groups(world, "", "AllowGroups admins").0);
        assert!(groups(world, "", "AllowGroups alice").0);
    });
    // What a block lifts does not hide another list.
    world(|world| {
        let lists = "DenyUsers alice\nAllowGroups none\nMatch Address 10.0.0.0/8\nDenyUsers bob";
        let (works, note) = groups(world, "", lists);
        assert!(!works && note.starts_with("AllowGroups does not include a group of alice"), "{note}");
    });
}

/// sshd looks at the names of the primary group and of the supplementary ones. A group without a name is left out.
#[test]
fn groups_of_the_user() {
    for (line, list, works) in [
        ("staff:x:47500:bob,alice\n", "AllowGroups staff", true),
        ("staff:x:47500:bob,alice\n", "DenyGroups st*", false),
        ("staff:x:47500:bob\n", "AllowGroups staff", false),
        ("staff:x:47500:alice\n", "AllowGroups !staff", false),
        ("domain users:x:47500:alice\n", "AllowGroups \"domain users\"", true),
        ("domain users:x:47500:alice\n", "AllowGroups domain users", false),
        ("domain users:x:47500:alice\n", "DenyGroups users", true),
    ] {
        world(|world| assert_eq!(groups(world, line, list).0, works, "{line} {list}"));
    }
    // The list for users has a group, and the other way round.
    world(|world| {
        let (works, note) = groups(world, "staff:x:47500:alice\n", "AllowUsers staff");
        assert!(!works);
        assert!(
            note.ends_with("it has staff; a name there is a group, and AllowUsers takes users"),
            "{note}"
        );
        let group = std::fs::read_to_string("/etc/group").unwrap();
        world.instance.write("/etc/group", group.replace("alice:x:", "people:x:"));
        let (works, note) = groups(world, "", "AllowGroups alice");
        assert!(!works);
        assert!(note.ends_with("it has alice; that is a user, and AllowGroups takes groups"), "{note}");
    });
    // Words that the reader takes for one name.
    world(|world| {
        let (_, note) = groups(world, "domain users:x:47500:alice\n", "AllowGroups domain users");
        assert!(note.contains("it has \"domain\" \"users\"; without quotes, sshd reads the words"), "{note}");
        let report = world.check();
        let fix = report.of("sshd.access")["fix"].as_str().unwrap();
        assert!(fix.starts_with("write the name in quotes: AllowGroups \"domain users\""), "{fix}");
    });
    // The group exists: the user can be added to it.
    world(|world| {
        assert!(!groups(world, "staff:x:47500:bob\n", "AllowGroups gone staff").0);
        let report = world.check();
        let fix = report.of("sshd.access")["fix"].as_str().unwrap();
        assert!(
            fix.starts_with("if alice is to be a member of staff: usermod -aG staff alice; otherwise add a group of alice to AllowGroups ("),
            "{fix}"
        );
        assert!(!groups(world, "", "AllowGroups gone").0);
        let report = world.check();
        let fix = report.of("sshd.access")["fix"].as_str().unwrap();
        assert!(fix.starts_with("add a group of alice to AllowGroups ("), "{fix}");
    });
    // The name service does not use the file.
    for database in ["group", "initgroups"] {
        world(|world| {
            assert!(groups(world, "staff:x:47500:alice\n", "AllowGroups staff").0);
            let line = if database == "group" { "group: foo\n" } else { "group: files\ninitgroups: foo\n" };
            world.instance.write("/etc/nsswitch.conf", format!("passwd: files\n{line}"));
            let (works, note) = groups(world, "", "AllowGroups staff");
            assert!(!works);
            assert_eq!(
                note,
                format!(
                    "AllowGroups has staff, a group of alice in /etc/group, but the {database} line of /etc/nsswitch.conf is \"foo\", without files"
                )
            );
            let report = world.check();
            let fix = report.of("sshd.access")["fix"].as_str().unwrap();
            assert!(fix.starts_with("put files before the other services"), "{fix}");
        });
    }
    // The line of the primary group is gone.
    world(|world| {
        let group = std::fs::read_to_string("/etc/group").unwrap();
        let others = group.lines().filter(|line| !line.starts_with("alice:")).map(|line| format!("{line}\n"));
        world.instance.write("/etc/group", others.collect::<String>());
        assert!(groups(world, "staff:x:47500:alice\n", "AllowGroups staff").0);
        assert!(!groups(world, "", "DenyGroups staff").0);
        let group = std::fs::read_to_string("/etc/group").unwrap().replace("staff:x:47500:alice\n", "");
        world.instance.write("/etc/group", group);
        let (works, note) = groups(world, "", "DenyGroups bob");
        assert!(!works);
        assert_eq!(note, "DenyGroups is set, and no group of alice has a name: sshd refuses such users");
    });
}

#[test]
fn permit_root_login() {
    world(|world| {
        world.instance.push("root", &world.key);
        for (value, status) in [("no", "fail"), ("forced-commands-only", "fail"), ("prohibit-password", "ok")]
        {
            world.configure(&config().set("PermitRootLogin", value).text());
            assert_eq!(world.check_with(&["root"]).status("sshd.access"), status, "{value}");
            assert_eq!(world.check_with(&[USER]).status("sshd.access"), "ok");
        }
        // Another name for root.
        world.configure(&config().set("PermitRootLogin", "no").text());
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        world.instance.write("/etc/passwd", passwd.replace("alice:x:47101:", "alice:x:0:"));
        let says = "alice has uid 0, so that sshd refuses it as root: PermitRootLogin is no";
        assert_eq!(world.check().note("sshd.access"), says);
    });
}

#[test]
fn a_library_of_sshd_is_missing() {
    world(|world| {
        let says = "/usr/sbin/sshd: error while loading shared libraries: libwrap.so.0: cannot open shared object file";
        world
            .instance
            .install("/usr/sbin/sshd", format!("#!/bin/sh\necho '{says}' >&2\nexit 127\n").as_bytes());
        let report = world.check();
        assert_eq!(report.status("sshd.version"), "fail");
        assert_eq!(report.note("sshd.version"), format!("sshd reports: {says}"));
    });
}

/// Each connection needs sshd's own user.
#[test]
fn no_privilege_separation_user() {
    world(|world| {
        let text = std::fs::read_to_string("/etc/passwd").unwrap();
        let others = text.lines().filter(|line| !line.starts_with("sshd:")).map(|line| format!("{line}\n"));
        std::fs::write("/etc/passwd", others.collect::<String>()).unwrap();
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        assert_eq!(report.status("sshd.config"), "fail");
        assert!(report.note("sshd.config").contains("Privilege separation user sshd does not exist"));
        assert!(report.of("sshd.config")["fix"].as_str().unwrap().contains("nsswitch.conf"));
    });
}

/// The login works until sshd reads the changed file. A reload would refuse it, so that none is advised.
#[test]
fn what_breaks_at_the_next_restart() {
    let cases = [
        ("AllowUsers", "bob", "sshd.access", "AllowUsers does not include alice"),
        ("PubkeyAuthentication", "no", "sshd.pubkey", "PubkeyAuthentication is no"),
        ("RevokedKeys", "/etc/ssh/gone", "sshd.revoked", "RevokedKeys /etc/ssh/gone cannot be read"),
        ("NoSuchKeyword", "yes", "sshd.config", "NoSuchKeyword"),
        ("Port", "2222", "sshd.port", "sshd listens on 0.0.0.0:2222"),
        ("ListenAddress", "127.0.0.1", "sshd.port", "sshd listens on 127.0.0.1:22 only"),
        ("ListenAddress", "203.0.113.7", "sshd.port", "ListenAddress 203.0.113.7"),
        ("MaxAuthTries", "0", "sshd.tries", "MaxAuthTries is 0"),
    ];
    for (keyword, value, id, says) in cases {
        world(|world| {
            world.instance.write("/etc/ssh/sshd_config", config().set(keyword, value).text());
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{keyword}");
            let report = world.check();
            assert_eq!(report.status(id), "warn", "{}", report.of(id));
            let note = report.note(id);
            // Its port is known.
            let begin = match id {
                "sshd.port" => "works now, but breaks at sshd's next restart",
                "sshd.config" => UNKNOWN,
                _ => "breaks at sshd's next restart at the latest (/etc/ssh/sshd_config was changed",
            };
            assert!(note.starts_with(begin) && note.contains(says), "{note}");
            assert_eq!(report.outcome.status, Some(0));
            report.assert_unknown();
            let current = report.of("running.current");
            assert!(
                id == "sshd.config"
                    || current["fix"].as_str().unwrap().starts_with(&format!("fix {id} before"))
            );
            assert_ne!(current["fix_kind"], "command");
        });
    }
    // The key command: the running sshd has the one before.
    world(|world| {
        let other = config().set("AuthorizedKeysCommand", "/bin/true").text();
        world.instance.write("/etc/ssh/sshd_config", other);
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        assert_eq!(report.status("running.current"), "warn");
        assert_ne!(report.of("running.current")["fix_kind"], "command");
    });
    // A host key: before 9.8, the process of each connection reads it again.
    world(|world| {
        std::fs::rename("/etc/ssh/eic_lab_host_key", "/etc/ssh/gone").unwrap();
        let works = world.sshd.ssh(USER, &world.key, "true").status == Some(0);
        assert_eq!(world.check().status("sshd.config"), if works { "warn" } else { "fail" });
    });
}

/// A reload of sshd fails by an error in its files, and the running sshd keeps what it has.
#[test]
fn an_error_in_files_that_sshd_has_not_read() {
    let text = format!("Include /etc/ssh/extra/*.conf\n{}", config().text());
    let with = |read: &'static [(&str, &str)], now: &'static [(&str, &str)], test: &dyn Fn(&World<'_>)| {
        world(|world| {
            world.sh("mkdir -p /etc/ssh/extra");
            let write = |files: &[(&str, &str)]| {
                for (name, text) in files {
                    world.instance.write(format!("/etc/ssh/extra/{name}"), text);
                }
            };
            write(read);
            world.restart(&text);
            write(now);
            test(world);
        });
    };
    // What refused is corrected, but the file has an error. So may have what accepted.
    for (before, after) in [
        ("AllowUsers bob\n", "AllowUsers bob alice\nPasswordAuthentcation no\n"),
        ("AllowUsers alice\n", "AllowUsers bob alice \"x\n"),
        ("AllowUsers alice\n", "PasswordAuthentcation no\n"),
        ("AllowUsers alice\n", "AllowUsers bob\nPasswordAuthentcation no\n"),
    ] {
        let (before, after) = (vec![("50-a.conf", before)], vec![("50-a.conf", after)]);
        with(before.leak(), after.leak(), &|world| {
            let report = world.check();
            assert_eq!(report.status("sshd.config"), "warn", "{}", report.of("sshd.config"));
            assert!(report.note("sshd.config").starts_with(UNKNOWN), "{}", report.note("sshd.config"));
            assert_eq!(report.outcome.status, Some(0));
            report.assert_unknown();
        });
    }
    // A line that it has read refuses.
    for refusal in ["AllowUsers bob\n", "PubkeyAuthentication no\n"] {
        let read = vec![("50-a.conf", refusal)];
        let errors =
            "PasswordAuthentcation no\nX11Forwarding maybe\nNosuch 1\nNosuch 2\nNosuch 3\nNosuch 4\n";
        let now = vec![("60-b.conf", errors)];
        with(read.leak(), now.leak(), &|world| {
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            let report = world.check_with(&["--rehearse", USER]);
            assert_eq!(report.status("sshd.config"), "warn", "{}", report.of("sshd.config"));
            let note = report.note("sshd.config");
            let begin = "sshd runs, but cannot be started again: sshd reports: /etc/ssh/extra/60-b.conf";
            assert!(note.starts_with(begin), "{note}");
            let id = if refusal.starts_with("Allow") { "sshd.access" } else { "sshd.pubkey" };
            assert_eq!(report.status(id), "fail", "{}", report.of(id));
            let fix = report.of(id)["fix"].as_str().unwrap();
            assert!(fix.contains("(/etc/ssh/extra/50-a.conf line 1), then: "), "{fix}");
            assert_eq!(report.note("login.rehearsal"), "sshd rejects its files");
            assert_eq!(report.outcome.status, Some(1));
        });
    }
}

/// Since 9.8, the running sshd keeps its host keys; its settings can be read without them.
#[test]
fn the_settings_of_an_sshd_without_host_keys() {
    for (lines, expected) in [
        ("", &[("sshd.config", "warn")][..]),
        ("AllowUsers bob\n", &[("sshd.config", "warn"), ("sshd.access", "fail")]),
    ] {
        world(|world| {
            world.restart(&format!("{lines}{}", config().text()));
            world.sh("cp -p /usr/sbin/sshd /usr/sbin/sshd.real");
            let program = "#!/bin/sh\nif [ \"$1\" = -V ]; then echo OpenSSH_9.8p1 >&2; exit 0; fi\nexec /usr/sbin/sshd.real \"$@\"\n";
            world.instance.install("/usr/sbin/sshd", program.as_bytes());
            std::fs::rename("/etc/ssh/eic_lab_host_key", "/etc/ssh/gone").unwrap();
            let report = world.check();
            for (id, status) in expected {
                assert_eq!(report.status(id), *status, "{}", report.of(id));
            }
            let note = report.note("sshd.config");
            assert!(
                note.starts_with("sshd runs, but cannot be started again: ") && note.contains("no hostkeys"),
                "{note}"
            );
            assert_eq!(report.status("sshd.session"), "ok");
            assert!(!std::path::Path::new("/mnt/key").exists());
            let rehearsal = world.check_with(&["--rehearse", USER]);
            let status = if lines.is_empty() { "ok" } else { "fail" };
            assert_eq!(rehearsal.status("login.rehearsal"), status, "{}", rehearsal.of("login.rehearsal"));
        });
    }
}

/// Since 9.8, sshd looks at its directory only when it is started: its settings are known.
#[test]
fn the_settings_of_an_sshd_whose_directory_is_open() {
    for (lines, expected) in [
        ("", &[("sshd.config", "warn"), ("sshd.access", "ok"), ("sshd.command", "ok")][..]),
        ("AllowUsers bob\n", &[("sshd.config", "warn"), ("sshd.access", "fail")]),
    ] {
        world(|world| {
            world.restart(&format!("{lines}{}", config().text()));
            world.sh("cp -p /usr/sbin/sshd /usr/sbin/sshd.real; chmod 0777 /run/sshd");
            let program = "#!/bin/sh\nif [ \"$1\" = -V ]; then echo OpenSSH_9.8p1 >&2; exit 0; fi\nexec /usr/sbin/sshd.real \"$@\"\n";
            world.instance.install("/usr/sbin/sshd", program.as_bytes());
            let report = world.check_with(&["--rehearse", USER]);
            for (id, status) in expected {
                assert_eq!(report.status(id), *status, "{}", report.of(id));
            }
            let note = report.note("sshd.config");
            assert!(note.starts_with("a reload of sshd fails until sshd is restarted: "), "{note}");
            let rehearsal = report.note("login.rehearsal");
            assert_eq!(rehearsal, "sshd does not start with its directory /run/sshd");
            // The directory of the system is as it was.
            world.sh("[ \"$(stat -c %a /run/sshd)\" = 777 ]");
        });
    }
}

/// sshd does not start without its main file, and does not say how to get one.
#[test]
fn a_main_file_that_is_gone() {
    let original = "/usr/share/openssh/sshd_config";
    world(|world| {
        crate::world::stop_sshd();
        std::fs::remove_file(CONFIG).unwrap();
        let _ = std::fs::remove_file(original);
        let report = world.check();
        assert_eq!(report.status("sshd.config"), "fail");
        let fix = report.of("sshd.config")["fix"].as_str().unwrap();
        assert!(fix.starts_with("restore that file from a backup, or from the package"), "{fix}");
        world.instance.write(original, config().text());
        world.apply(&world.check(), "sshd.config");
        assert_eq!(world.check().status("sshd.config"), "ok");
    });
}

/// sshd does not start, and its message names no line.
#[test]
fn methods_that_are_turned_off() {
    world(|world| {
        let text = config()
            .set("AuthenticationMethods", "publickey,keyboard-interactive:pam")
            .set("KbdInteractiveAuthentication", "no")
            .text();
        crate::world::stop_sshd();
        world.instance.write(CONFIG, &text);
        let line = text.lines().position(|line| line.starts_with("AuthenticationMethods ")).unwrap() + 1;
        let report = world.check();
        assert_eq!(report.status("sshd.config"), "fail", "{}", report.of("sshd.config"));
        let fix = report.of("sshd.config")["fix"].as_str().unwrap();
        assert!(fix.contains(&format!("AuthenticationMethods (/etc/ssh/sshd_config line {line})")), "{fix}");
        world.instance.write(CONFIG, text.replace("publickey,", "publickey publickey,"));
        assert_eq!(world.check().status("sshd.config"), "ok");
    });
}

/// sshd is not asked: it would wait, too.
#[test]
fn a_configuration_that_sshd_waits_for() {
    world(|world| {
        let drop_in = "/etc/ssh/extra/50-pipe.conf";
        let text = format!("{}Include /etc/ssh/extra/*.conf\n", config().text());
        world.sh("mkdir -p /etc/ssh/extra");
        world.configure(&text);
        // What sshd takes for an empty file.
        for make in ["mkdir", "ln -s /dev/null"] {
            world.sh(&format!("{make} {drop_in}"));
            world.configure(&text);
            world.check().assert_healthy();
            world.sh(&format!("rm -rf {drop_in}"));
        }
        for make in ["mkfifo", "ln -s /dev/tty"] {
            world.sh(&format!("{make} {drop_in}"));
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            let report = world.check();
            let config = report.of("sshd.config");
            assert_eq!(config["status"], "warn", "{config}");
            let says = format!("{UNKNOWN}sshd does not end: it waits for {drop_in}, which is not a file");
            assert_eq!(report.note("sshd.config"), says);
            assert!(config["duration_ms"].as_u64().unwrap() < 1_900, "{config}");
            world.sh(&format!("rm {drop_in}"));
            world.check().assert_healthy();
        }
        crate::world::stop_sshd();
        world.sh(&format!("mkfifo {drop_in}"));
        let report = world.check();
        report.assert_exactly(&[("sshd.config", "fail"), ("running.daemon", "fail")]);
    });
}

/// The running sshd serves clients without the file that it was started from.
#[test]
fn a_program_of_sshd_that_is_gone() {
    for (lose, back) in [
        ("mv /usr/sbin/sshd /run/sshd.away", "mv /run/sshd.away /usr/sbin/sshd"),
        ("cp -p /usr/sbin/sshd /run/copy; rm /usr/sbin/sshd", "mv /run/copy /usr/sbin/sshd"),
        ("chmod a-x /usr/sbin/sshd", "chmod a+x /usr/sbin/sshd"),
    ] {
        world(|world| {
            world.sh(lose);
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{lose}");
            let report = world.check();
            assert_eq!(report.status("sshd.version"), "warn", "{lose}");
            let says = "breaks at sshd's next restart at the latest: the program of the running sshd is missing, or not executable";
            assert_eq!(report.note("sshd.version"), says);
            assert_eq!(report.document["result"], "ok", "{lose}");
            report.assert_unknown();
            crate::world::stop_sshd();
            assert_eq!(world.check().status("sshd.version"), "fail");
            world.sh(back);
        });
    }
}

/// sshd starts, and closes each connection.
#[test]
fn host_keys_that_the_algorithms_do_not_allow() {
    world(|world| {
        let key = "/etc/ssh/eic_lab_host_key";
        let public = world.instance.command(["-y", "-f", key]).program("/usr/bin/ssh-keygen").as_root().run();
        world.instance.write(format!("{key}.pub"), &public.stdout);
        let kind = public.stdout.split(' ').next().unwrap();
        let other = if kind == "ssh-ed25519" { "rsa-sha2-512" } else { "ssh-ed25519" };
        world.restart(&config().set("HostKeyAlgorithms", other).text());
        let works = world.sshd.ssh(USER, &world.key, "true").status == Some(0);
        let report = world.check();
        assert_eq!(report.status("sshd.exchanges"), if works { "ok" } else { "fail" });
        assert!(works || report.note("sshd.exchanges").contains(&format!("none of the host keys ({kind})")));
        world.restart(&config().set("HostKeyAlgorithms", &format!("{other},{kind}")).text());
        world.check().assert_healthy();
    });
}

/// Clients since OpenSSH 8.8 refuse signatures with SHA-1.
#[test]
fn host_keys_for_old_clients_only() {
    world(|world| {
        let key = "/etc/ssh/old_host_key";
        let words = ["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", key];
        assert_eq!(
            world.instance.command(words).program("/usr/bin/ssh-keygen").as_root().run().status,
            Some(0)
        );
        let text = config().set("HostKeyAlgorithms", "ssh-rsa").text();
        world.restart(&format!("HostKey {key}\n{text}"));
        let report = world.check();
        report.assert_exactly(&[("sshd.exchanges", "warn")]);
        assert!(
            report.note("sshd.exchanges").contains("allows only ssh-rsa"),
            "{}",
            report.note("sshd.exchanges")
        );
        let text = config().set("HostKeyAlgorithms", "ssh-rsa,rsa-sha2-256").text();
        world.restart(&format!("HostKey {key}\n{text}"));
        world.check().assert_healthy();
    });
}

#[test]
fn a_configuration_that_every_user_can_change() {
    world(|world| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions("/etc/ssh/sshd_config", mode).unwrap();
        // sshd reads it again: a changed mode is a change.
        world.instance.write(PID_FILE, pid_file());
        let report = world.check();
        report.assert_exactly(&[("sshd.config", "warn")]);
        assert_eq!(report.of("sshd.config")["fix"], "chmod o-w /etc/ssh/sshd_config");
    });
}

/// The line that includes our drop-in is gone, and sshd has not read that.
#[test]
fn a_drop_in_that_is_no_longer_included() {
    world(|world| {
        let text = config().text();
        let (ours, rest): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("AuthorizedKeysCommand"));
        let (drop_in, rest) = (ours.join("\n") + "\n", rest.join("\n") + "\n");
        world.instance.write("/etc/ssh/sshd_config.d/10-eic-keys.conf", &drop_in);
        world.restart(&format!("Include /etc/ssh/sshd_config.d/*.conf\n{rest}"));
        world.check().assert_healthy();
        std::thread::sleep(Duration::from_secs(2));
        world.instance.write("/etc/ssh/sshd_config", &rest);
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        assert_eq!(report.status("sshd.command"), "warn", "{}", report.of("sshd.command"));
        let note = report.note("sshd.command");
        assert!(
            note.starts_with("breaks at sshd's next restart at the latest (/etc/ssh/sshd_config was changed"),
            "{note}"
        );
        assert_eq!(report.outcome.status, Some(0));
        world.apply(&report, "sshd.command");
        world.settled().assert_healthy();
    });
}

/// sshd refuses a private key that other users can read.
#[test]
fn a_host_key_that_others_can_read() {
    world(|world| {
        let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions("/etc/ssh/eic_lab_host_key", mode(0o777)).unwrap();
        let report = world.check();
        assert_eq!(report.of("sshd.config")["fix"], "chmod 0600 /etc/ssh/eic_lab_host_key");
        // As after "chmod -R 777 /etc/ssh".
        std::fs::set_permissions("/etc/ssh", mode(0o777)).unwrap();
        let fix = world.check().of("sshd.config")["fix"].as_str().unwrap().to_owned();
        let first = "first take the permission to write to /etc/ssh from its group and others, then check again: a command by root on \
             /etc/ssh/eic_lab_host_key could change another file";
        assert!(fix.starts_with(first), "{fix}");
        // All users can create files in a directory like /tmp.
        std::fs::set_permissions("/etc/ssh", mode(0o1777)).unwrap();
        let fix = world.check().of("sshd.config")["fix"].as_str().unwrap().to_owned();
        assert!(fix.starts_with("fix this by hand, with care"), "{fix}");
        std::fs::set_permissions("/etc/ssh", mode(0o755)).unwrap();
        // With one of several, clients would no longer find the key that they know.
        let (text, second) =
            (std::fs::read_to_string("/etc/ssh/sshd_config").unwrap(), "/etc/ssh/second_host_key");
        std::fs::copy("/etc/ssh/eic_lab_host_key", second).unwrap();
        world.configure(&format!("{text}HostKey {second}\n"));
        std::fs::set_permissions(second, mode(0o644)).unwrap();
        let fix = world.check().of("sshd.config")["fix"].as_str().unwrap().to_owned();
        assert_eq!(fix, format!("chmod 0600 /etc/ssh/eic_lab_host_key {second}"));
        world.configure(&text);
        world.apply(&report, "sshd.config");
        world.check().assert_healthy();
    });
}

/// The fix names the file, the line and the reload.
#[test]
fn the_fix_names_file_and_line() {
    world(|world| {
        world.configure(&(config().text() + "PubkeyAuthentication no\n"));
        let report = world.check();
        report.assert_exactly(&[("sshd.pubkey", "fail")]);
        let line = config().text().lines().count() + 1;
        let fix = report.of("sshd.pubkey")["fix"].as_str().unwrap();
        let expected =
            format!("set PubkeyAuthentication yes (/etc/ssh/sshd_config line {line}), then: kill -HUP ");
        assert!(fix.starts_with(&expected), "{fix}");
        world.configure(&(config().text() + "Match User alice\n  PubkeyAuthentication no\n"));
        let fix = world.check().of("sshd.pubkey")["fix"].as_str().unwrap().to_owned();
        assert!(
            fix.contains(&format!("line {}, below \"Match User alice\" in line {line}", line + 1)),
            "{fix}"
        );
    });
}

/// Neither `--enable` nor a line elsewhere changes a block that turns the command off.
#[test]
fn a_block_without_a_command() {
    broken(
        |world| world.configure(&(config().text() + "Match User alice\n  AuthorizedKeysCommand none\n")),
        &[("sshd.command", "fail")],
        "sshd has no AuthorizedKeysCommand: it does not ask for pushed keys: /etc/ssh/sshd_config line",
    );
}

/// What a block says about some clients cannot be judged: the report names the block.
#[test]
fn blocks_for_some_clients() {
    let with = |text: &'static str| move |world: &World<'_>| world.configure(&(config().text() + text));
    for (text, says) in [
        (
            "Match Address 192.0.2.128/25\n  PubkeyAuthentication no\n",
            "for clients with the address 192.0.2.128/25 (/etc/ssh/sshd_config line",
        ),
        (
            "Match Address 10.0.0.0/8\n  AllowUsers bob\n",
            "\"Match Address 10.0.0.0/8\"): AllowUsers does not include alice",
        ),
        (
            "Match LocalAddress 127.0.0.1\n  AuthenticationMethods password\n",
            "for clients that connect to the address 127.0.0.1",
        ),
        ("Match Address 10.*,!10.1.*\n  PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256\n", "no type of key"),
        ("Match Address ::/0\n  AuthorizedKeysCommand none\n", "AuthorizedKeysCommand is none"),
        (
            "Match Address 2001:db8::/32\n  ForceCommand /bin/false\n",
            "ForceCommand /bin/false ends each session",
        ),
        (
            "UseDNS yes\nMatch User alice Host *.example\n  MaxSessions 0\n",
            "for clients with the name *.example",
        ),
        // No address to ask sshd for is found, and the name of a user is no criterion.
        (
            "Match User alice,hostmaster Address *9.*.8*7.6\n  PubkeyAuthentication no\n",
            "for clients with the address *9.*.8*7.6",
        ),
    ] {
        broken(with(text), &[("sshd.match", "warn")], says);
    }
    // Blocks that apply to no client, and blocks that refuse nothing.
    for text in [
        "Match LocalPort 2222\n  PubkeyAuthentication no\n",
        "Match LocalAddress 10.0.0.1\n  PubkeyAuthentication no\n",
        "Match Host *.example\n  PubkeyAuthentication no\n",
        "Match Address 10.0.0.0/8\n  AllowUsers bob alice\n  ForceCommand none\n",
        "Match Address 10.0.0.0/8\n  PubkeyAuthentication yes\n  AuthenticationMethods publickey password\n",
    ] {
        world(|world| {
            with(text)(world);
            world.check().assert_healthy();
        });
    }
    world(|world| {
        with(
            "Match Address 10.0.0.0/8\n  PasswordAuthentication yes\nMatch User bob Address 10.0.0.0/8\n  PubkeyAuthentication no\n",
        )(world);
        world.check().assert_healthy();
        // Refused in general, and allowed for some.
        world.configure(
            &(config().set("PubkeyAuthentication", "no").text()
                + "Match Address 10.0.0.0/8\n  PubkeyAuthentication yes\n"),
        );
        let report = world.check();
        report.assert_exactly(&[("sshd.pubkey", "warn")]);
        assert!(
            report.note("sshd.pubkey").ends_with("for all but clients with the address 10.0.0.0/8"),
            "{}",
            report.note("sshd.pubkey")
        );
        // What that block says makes no difference; nor does one for the only port.
        for block in ["Match Address 10.0.0.0/8", "Match LocalPort 22"] {
            world.configure(
                &(config().set("PubkeyAuthentication", "no").text()
                    + block
                    + "\n  PubkeyAuthentication no\n"),
            );
            world.check().assert_exactly(&[("sshd.pubkey", "fail")]);
        }
        world.configure(&(config().text() + "Match Address *,!10.0.0.0/8\n  PubkeyAuthentication no\n"));
        let report = world.check();
        report.assert_exactly(&[("sshd.pubkey", "warn")]);
        assert!(report.note("sshd.pubkey").ends_with("for clients with the address *,!10.0.0.0/8"));
    });
}

/// A block for all clients but some that leaves out the command, or its user.
#[test]
fn no_command_for_most_clients() {
    world(|world| {
        for (id, line) in [
            ("sshd.command", "AuthorizedKeysCommand none"),
            ("sshd.command", "AuthorizedKeysCommand /bin/true"),
            ("sshd.command_user", "AuthorizedKeysCommandUser nosuch"),
        ] {
            let under = |criteria: &str| format!("{}Match {criteria}\n  {line}\n", config().text());
            for (criteria, works, status) in
                [("Address *,!127.0.0.0/8", true, "warn"), ("Address *", false, "fail")]
            {
                world.restart(&under(criteria));
                let case = format!("{criteria} {line}");
                assert_eq!(world.sshd.ssh(USER, &world.key, "true").status == Some(0), works, "{case}");
                let report = world.check();
                assert_eq!(report.status(id), status, "{case}");
                let note = report.note(id);
                assert_eq!(
                    note.ends_with(&format!(
                        ", for clients with the {}",
                        criteria.replace("Address", "address")
                    )),
                    works,
                    "{note}"
                );
            }
        }
    });
}

/// A keyword by its older name, in such a block.
#[test]
fn types_of_keys_for_most_clients() {
    world(|world| {
        for keyword in ["PubkeyAcceptedKeyTypes", "PubkeyAcceptedAlgorithms"] {
            let line = format!("{keyword} rsa-sha2-512\n");
            world.restart(&format!("{}Match Address *,!127.0.0.0/8\n  {line}", config().text()));
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{line}");
            let report = world.check();
            report.assert_exactly(&[("keys.accepted", "warn"), ("sshd.algorithms", "warn")]);
            let note = report.note("keys.accepted");
            assert!(note.ends_with(", for clients with the address *,!127.0.0.0/8"), "{note}");
            let note = report.note("sshd.algorithms");
            assert!(note.ends_with(", for clients with the address *,!127.0.0.0/8"), "{note}");
            let fix = report.of("sshd.algorithms")["fix"].as_str().unwrap();
            assert!(fix.contains("below \"Match Address *,!127.0.0.0/8\" in line"), "{fix}");
            world.restart(&format!(
                "{}{line}Match Address 10.0.0.0/8\n  {keyword} +ssh-ed25519\n",
                config().text()
            ));
            let report = world.check();
            for id in ["keys.accepted", "sshd.algorithms"] {
                let note = report.note(id);
                assert!(note.ends_with(", for all but clients with the address 10.0.0.0/8"), "{note}");
            }
            world.restart(&format!("{}{line}", config().text()));
            assert_eq!(world.check().status("keys.accepted"), "fail", "{line}");
        }
    });
}

#[test]
fn revoked_keys() {
    let revoked = &[("sshd.revoked", "fail")];
    world(|world| {
        set("RevokedKeys", "/etc/ssh/gone")(world);
        let report = world.check();
        report.assert_exactly(revoked);
        std::fs::write("/etc/ssh/gone", "").unwrap();
        world.check().assert_healthy();
    });
    // sshd cannot read a list with a line that is not a key; with a login in tests/packages/cases/faults_sshd.
    world(|world| {
        let list = format!("# Lost.\n\n{}\ngarbage\n", UserKey::ed25519().line());
        world.instance.write("/etc/ssh/revoked", &list);
        set("RevokedKeys", "/etc/ssh/revoked")(world);
        let report = world.check();
        report.assert_exactly(revoked);
        assert!(report.note("sshd.revoked").contains("line 4 is not a public key"));
        world.instance.write("/etc/ssh/revoked", list.replace("garbage\n", ""));
        world.check().assert_healthy();
    });
    // A list that lost its end, in both formats; and one whose last line has no end.
    world(|world| {
        world.instance.write("/etc/ssh/other.pub", UserKey::ed25519().line());
        let fails = |script: &str, says: &str| {
            world.sh(&format!("cd /etc/ssh; {script}"));
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{script}");
            let report = world.check();
            report.assert_exactly(revoked);
            let note = report.note("sshd.revoked");
            assert!(note.contains(says), "{note}");
        };
        world.restart(&config().set("RevokedKeys", "/etc/ssh/revoked").text());
        fails("ssh-keygen -q -k -f revoked other.pub; truncate -s 20 revoked", "/etc/ssh/revoked is cut off");
        fails("ssh-keygen -q -k -f revoked other.pub; truncate -s -1 revoked", "/etc/ssh/revoked is cut off");
        fails("cp other.pub revoked; truncate -s -30 revoked", "line 1 is not a public key");
        fails(
            "echo >>other.pub; cp other.pub revoked; printf garbage >>revoked",
            "line 2 is not a public key",
        );
        for script in [
            "ssh-keygen -q -k -f revoked other.pub",
            "ssh-keygen -q -k -f revoked",
            "{ ssh-keygen -q -t rsa -b 2048 -N '' -f rsa; ssh-keygen -q -t ecdsa -N '' -f ecdsa; cat rsa.pub ecdsa.pub other.pub; } >revoked",
            "ssh-keygen -q -s rsa -I id ecdsa.pub; { sed 's/$/\\r/' ecdsa-cert.pub; printf %s \"$(cat other.pub)\"; } >revoked",
        ] {
            world.sh(&format!("cd /etc/ssh; {script}"));
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{script}");
            world.check().assert_healthy();
        }
    });
    broken(set("RevokedKeys", "/etc/ssh"), revoked, "cannot be read");
    // sshd reads it as an empty list.
    world(|world| {
        world.restart(&config().set("RevokedKeys", "/dev/null").text());
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_healthy();
    });
    broken(set("RequiredRSASize", "4096"), &[("sshd.revoked", "warn")], "RSA keys with fewer bits");
    // In a block, sshd reads the word as the name of a file.
    world(|world| {
        for (list, works) in [("none", false), ("/dev/null", true)] {
            let global = config().set("RevokedKeys", "none").text();
            world.restart(&format!("{global}Match User alice\n  RevokedKeys {list}\n"));
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status == Some(0), works, "{list}");
            let report = world.check();
            report.assert_exactly(if works { &[] } else { revoked });
            assert!(works || report.note("sshd.revoked").starts_with("RevokedKeys none in a Match block"));
        }
    });
}

#[test]
fn settings_that_refuse_a_session() {
    let session = &[("sshd.session", "fail")];
    broken(set("MaxSessions", "0"), session, "MaxSessions is 0");
    broken(
        set("ForceCommand", "/usr/bin/gone --x"),
        session,
        "ForceCommand runs /usr/bin/gone, which is not a program",
    );
    broken(
        |world| {
            let _ = std::fs::remove_file("/usr/bin/tmux");
            set("ForceCommand", "tmux new -A")(world);
        },
        &[("sshd.session", "warn")],
        "ForceCommand runs tmux, which is in none of the usual directories of programs",
    );
    // Quotes make it one word.
    broken(
        set("ForceCommand", "\"/bin/sh -l\""),
        session,
        "ForceCommand runs /bin/sh -l, which is not a program: the quotes make it one word",
    );
    broken(
        set("ForceCommand", "'/usr/bin/gone'"),
        session,
        "ForceCommand runs /usr/bin/gone, which is not a program",
    );
    broken(set("ForceCommand", "internal-sftp"), &[("sshd.session", "warn")], "only sftp works");
    broken(set("PermitTTY", "no"), &[("sshd.session", "warn")], "sshd gives no terminal");
    broken(set("ChrootDirectory", "/run/home/%u"), session, "/run/home/alice is owned by alice");
    broken(set("ChrootDirectory", "/run/gone"), session, "/run/gone: No such file");
    broken(
        |world| {
            std::fs::create_dir_all("/run/jail").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o775);
            std::fs::set_permissions("/run/jail", mode).unwrap();
            set("ChrootDirectory", "/run/jail")(world);
        },
        session,
        "users other than root can write to /run/jail",
    );
    broken(
        |world| {
            std::fs::create_dir_all("/run/jail").unwrap();
            set("ChrootDirectory", "/run/jail")(world);
        },
        session,
        "there is no shell /run/jail/bin/sh",
    );
    for command in ["/bin/true", "echo Use another way in: $SSH_ORIGINAL_COMMAND"] {
        let says = format!("each session runs ForceCommand {command} instead of what the client asks for");
        broken(set("ForceCommand", command), &[("sshd.session", "warn")], &says);
    }
    for command in ["/bin/false", "/usr/sbin/nologin"] {
        let says = format!("ForceCommand {command} ends each session at once");
        broken(set("ForceCommand", command), session, &says);
    }
    broken(
        set("ForceCommand", "\"sh -l\""),
        session,
        "ForceCommand runs sh -l, which is not a program: the quotes make it one word",
    );
    // What the program of a menu does is not known.
    world(|world| {
        world.instance.install("/usr/local/bin/a menu", b"#!/bin/sh\nread -r choice\n");
        world.instance.install("/run/menu", b"#!/bin/sh\nread -r choice\n");
        world.instance.install("/usr/local/bin/tmux", b"#!/bin/sh\nexec /bin/sh\n");
        world.instance.install("/run/a menu", b"#!/bin/sh\nread -r choice\n");
        // The user's shell reads the line: its first word need not be a path.
        for command in [
            "/run/menu",
            "/usr/bin/env HOME=/ /run/menu",
            "eval \"$SSH_ORIGINAL_COMMAND\"",
            "/bin/true; exec $SHELL -c \"$SSH_ORIGINAL_COMMAND\"",
            "/bin/true&&/run/menu",
            "/run/men*",
            "\"/run/menu\"",
            "'/run/menu' -l",
            "\"/run/a menu\"",
            "\"/run/menu\" \"-l\"",
            "\"menu\" \"-l\"",
            "\"a menu\"",
            "\"$SHELL -l\"",
            "exec '/run/menu'",
            "menu -l",
            "tmux new -A",
        ] {
            set("ForceCommand", command)(world);
            world.check().assert_healthy();
        }
        set("ChrootDirectory", "/")(world);
        world.check().assert_healthy();
    });
}

/// The directory of `cd DIRECTORY && ...`, without which what follows is not run.
#[test]
fn a_forced_command_in_a_directory() {
    let session = &[("sshd.session", "fail")];
    let command = |directory: &str| format!("cd {directory} && exec sh -c \"$SSH_ORIGINAL_COMMAND\"");
    for (directory, says) in [
        ("/run/app", "ForceCommand begins with cd /run/app, which does not exist: each session ends"),
        ("\"/run/app\"", "cd /run/app, which does not exist"),
        ("~/app", "cd /run/home/alice/app, which does not exist"),
        ("app", "cd /run/home/alice/app, which does not exist"),
        ("/run/file", "cd /run/file, which is not a directory"),
        ("/run/closed", "cd /run/closed, which the user cannot enter"),
    ] {
        world(|world| {
            world.sh("touch /run/home/alice/.profile; mkdir -m 0700 /run/closed");
            world.instance.write("/run/file", "");
            world.restart(&config().set("ForceCommand", &command(directory)).text());
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{directory}");
            world.breaks(|_| (), session, says);
            world.sh("rm /run/file; chmod 0755 /run/closed; mkdir -p /run/app /run/file /run/home/alice/app");
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{directory}");
            world.check().assert_healthy();
        });
    }
    world(|world| {
        for command in
            ["cd /run/app; exec sh", "cd /run/app && ./a || ./b", "cd \"$APP\" && ./a", "cd ~bob/a && b"]
        {
            world.configure(&config().set("ForceCommand", command).text());
            world.check().assert_healthy();
        }
    });
}

/// The user's shell starts the program of `ForceCommand`, and only a login shows that it cannot.
#[test]
fn a_forced_program_that_the_user_cannot_run() {
    const RUNS: &str = "exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"";
    world(|world| {
        let wrap = |first: &str, mode: &str| {
            world.instance.install("/run/force/wrap", format!("{first}\n{RUNS}\n").as_bytes());
            world.sh(&format!("chmod 0755 /run/force; chmod {mode} /run/force/wrap"));
        };
        world.sh("mkdir -p /run/home/alice; chown alice /run/home/alice; touch /run/home/alice/file");
        world.restart(&config().set("ForceCommand", "/run/force/wrap").text());
        let works = || {
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            world.check().assert_healthy();
        };
        let fails = |says: &str| {
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{says}");
            let report = world.check();
            report.assert_exactly(&[("sshd.session", "fail")]);
            let note = report.note("sshd.session");
            assert!(note.contains(says), "{note} says {says}");
        };
        for first in ["#!/bin/sh", "#!/usr/bin/env sh", "# sh runs it, too"] {
            wrap(first, "0755");
            works();
        }
        let missing =
            "alice cannot run /run/force/wrap, as ForceCommand says: the program of its first line, ";
        for (first, says) in [
            ("#!/opt/none/python3", "/opt/none/python3, does not exist"),
            ("#!/bin/sh\r", "/bin/sh, does not exist; its lines end with CR LF"),
            ("#!/usr/bin/env sh\r", "/usr/bin/env sh, does not exist; its lines end with CR LF"),
            ("#!/bin/sh -e\r", "/bin/sh -e, does not exist; its lines end with CR LF"),
        ] {
            wrap(first, "0755");
            fails(&format!("{missing}{says}"));
        }
        wrap("#!/bin/sh", "0700");
        fails("the mode or an ACL of the file");
        wrap("#!/bin/sh", "0711");
        fails("it is a script, which the user cannot read");
        wrap("#!/bin/sh", "0755");
        world.sh("chmod 0700 /run/force");
        fails("the mode or an ACL of the file or of a directory above it");
        wrap("#!/bin/sh", "0755");
        for command in ["~/wrap", "$HOME/wrap", "exec /run/force/none"] {
            world.restart(&config().set("ForceCommand", command).text());
            fails("which is not a program");
        }
        world.sh("cp /run/force/wrap /run/home/alice/wrap");
        for command in ["~/wrap", "exec /run/force/wrap", &format!("/run/force/none || {RUNS}")] {
            world.restart(&config().set("ForceCommand", command).text());
            works();
        }
    });
}

/// A directory with a shell, and without the shell's libraries.
#[test]
fn a_chroot_without_libraries() {
    world(|world| {
        world.sh("mkdir -p /run/jail/bin /run/jail/home; cp /bin/sh /run/jail/bin/lab-sh; ln -s /bin/lab-sh /run/jail/bin/sh");
        world.restart(&config().set("ChrootDirectory", "/run/jail").text());
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        report.assert_exactly(&[("sshd.session", "fail")]);
        let note = report.note("sshd.session");
        assert!(note.contains("the shell /run/jail/bin/sh in ChrootDirectory does not start: "), "{note}");
        let fix = report.of("sshd.session")["fix"].as_str().unwrap();
        assert!(fix.starts_with("install the shell and its libraries (ldd) there"), "{fix}");
        // The linker is there, and a library is not.
        let copy = "for file in $(ldd /bin/sh | grep -o '/[^ ]*'); do install -D $file /run/jail$file; done";
        world.sh(&format!("{copy}; rm /run/jail/lib/*/libc.so.6"));
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        report.assert_exactly(&[("sshd.session", "fail")]);
        let note = report.note("sshd.session");
        assert!(note.contains("libc.so.6"), "{note}");
        world.sh(copy);
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_healthy();
        // sftp needs no shell.
        world.sh("rm -r /run/jail/bin");
        world.restart(
            &config().set("ChrootDirectory", "/run/jail").set("ForceCommand", "internal-sftp").text(),
        );
        world.check().assert_exactly(&[("sshd.session", "warn")]);
    });
}

/// sshd waits for the chained command, and closes the connection after `LoginGraceTime`.
#[test]
fn a_login_that_takes_too_long() {
    let with = |grace: &str| {
        let line = "/usr/bin/eic-keys %u %f -- /bin/sleep 2";
        config().set("AuthorizedKeysCommand", line).set("LoginGraceTime", grace).text()
    };
    world(|world| {
        let limits = ("sshd.limits", "warn");
        for (grace, expected, works) in [("1", "fail", false), ("3", "warn", false), ("60", "ok", true)] {
            world.restart(&with(grace));
            let login = world.sshd.ssh(USER, &world.key, "true");
            assert_eq!(login.status == Some(0), works, "{grace}: {}", login.stderr);
            let report = world.check();
            match expected {
                "ok" => report.assert_healthy(),
                _ => report.assert_exactly(&[limits, ("login.command", expected)]),
            }
            if expected != "ok" {
                let note = report.note("login.command");
                let says = format!("closes the connection after LoginGraceTime {grace} s");
                assert!(
                    note.contains("with the chained command /bin/sleep 2 takes 2") && note.contains(&says),
                    "{note}"
                );
            }
        }
    });
}

#[test]
fn time_and_connections() {
    let limits = &[("sshd.limits", "warn")];
    broken(set("LoginGraceTime", "4"), limits, "LoginGraceTime is 4 s");
    broken(set("MaxStartups", "1"), limits, "MaxStartups is 1");
    broken(
        set("PerSourceMaxStartups", "1"),
        limits,
        "PerSourceMaxStartups is 1: a client that does not log in",
    );
    world(|world| {
        set("LoginGraceTime", "0")(world);
        world.check().assert_healthy();
    });
}

/// The sockets of the running sshd count, not its configuration.
#[test]
fn addresses_that_sshd_listens_on() {
    world(|world| {
        let report = world.check();
        assert_eq!(report.note("sshd.port"), "sshd listens on 0.0.0.0:22");
        // An address that the system no longer has.
        set("ListenAddress", "203.0.113.7")(world);
        let report = world.check();
        report.assert_exactly(&[("sshd.port", "warn")]);
        let note = report.note("sshd.port");
        assert!(
            note.starts_with(
                "works now, but breaks at sshd's next restart: change ListenAddress 203.0.113.7 ("
            ),
            "{note}"
        );
        crate::world::stop_sshd();
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail"), ("sshd.port", "fail")]);
        let note = report.note("running.daemon");
        assert!(
            note.starts_with("sshd is stopped, and would not start: change ListenAddress 203.0.113.7 ("),
            "{note}"
        );
        assert_eq!(report.of("running.daemon")["fix_kind"], "advice");
        // A socket for IPv6 only.
        world.instance.write("/etc/ssh/sshd_config", config().set("ListenAddress", "::").text());
        assert!(world.check().note("sshd.port").starts_with("sshd listens on IPv6 only: [::]:22"));
        // Another program has its port.
        world.instance.write("/etc/ssh/sshd_config", config().text());
        let other = std::net::TcpListener::bind("0.0.0.0:22").unwrap();
        let report = world.check();
        assert!(report.note("running.daemon").contains("stop the other program that listens on port 22"));
        drop(other);
    });
}

/// A process of a user with the name sshd, whose number a stale PID file has, tells root's sshd nothing.
#[test]
fn options_of_another_users_process() {
    world(|world| {
        crate::world::stop_sshd();
        let start = "mkdir -p /run/other; cp /usr/bin/sleep /run/other/sshd; \
             setpriv --reuid 47101 --regid 47101 --clear-groups bash -c \
             'exec -a \"/usr/sbin/sshd -o PubkeyAuthentication=no\" /run/other/sshd 60' >/dev/null 2>&1 & echo $! >/run/sshd.pid; sleep 0.5";
        let started = world.instance.command(["-ec", start]).program("/bin/bash").as_root().run();
        assert_eq!(started.status, Some(0), "{}", started.stderr);
        assert_eq!(world.check().status("sshd.pubkey"), "ok");
    });
}

/// The options of sshd's command line count as they do for sshd.
#[test]
fn options_of_the_running_sshd() {
    world(|world| {
        crate::world::stop_sshd();
        let start = |options: &str| world.start_sshd(&format!("/usr/sbin/sshd {options}"));
        start("-o PubkeyAuthentication=no -o 'MaxAuthTries 2'");
        let report = world.check();
        report.assert_exactly(&[("sshd.pubkey", "fail"), ("sshd.tries", "warn")]);
        let fix = report.of("sshd.pubkey")["fix"].as_str().unwrap();
        assert!(fix.starts_with("set PubkeyAuthentication yes (sshd's command line), then: "), "{fix}");
        crate::world::stop_sshd();
        // Its title has no quotes: -3des-cbc looks like an option.
        start("-o 'Ciphers -3des-cbc'");
        world.check().assert_healthy();
        crate::world::stop_sshd();
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

#[test]
fn no_sshd() {
    let gone = |_: &World<'_>| {
        crate::world::stop_sshd();
        std::fs::remove_file("/usr/sbin/sshd").unwrap();
    };
    broken(gone, &[("sshd.version", "fail"), ("running.daemon", "fail")], "no sshd on this system");
    // No command can start it.
    world(|world| {
        gone(world);
        world.instance.install("/usr/bin/systemctl", b"#!/bin/sh\nexit 1\n");
        world.sh("mkdir -p /run/systemd/system /etc/systemd/system; ln -sf /dev/null /etc/systemd/system/sshd.service; rm -f /usr/lib/systemd/system/ssh.service");
        let report = world.check();
        assert_eq!(
            report.note("running.daemon"),
            "sshd is stopped, and its unit sshd is masked, and would not start: fix sshd.version first"
        );
        assert_eq!(
            report.of("running.daemon")["fix"],
            "fix sshd.version first, then: systemctl unmask sshd && systemctl start sshd"
        );
    });
}

/// A system with systemd, whose unit started sshd with these options.
fn with_unit(world: &World<'_>, options: &str) {
    crate::world::stop_sshd();
    std::fs::create_dir_all("/run/systemd/system").unwrap();
    world.instance.write(
        "/usr/lib/systemd/system/ssh.service",
        "[Service]\nEnvironmentFile=-/etc/default/ssh\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n",
    );
    world.instance.write("/etc/default/ssh", format!("SSHD_OPTS=\"{options}\"\n"));
    let systemctl = "#!/bin/sh\ncase \"$*\" in\n'show --property=MainPID --value ssh') cat /run/sshd.pid ;;\n'show --property=ExecStart '*) cat /run/loaded ;;\n\
         'daemon-reload' | 'restart ssh') echo \"$*\" >>/run/restarted ;;\nesac\n";
    world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
    world.start_sshd(&format!("/usr/sbin/sshd {options}"));
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
            "sshd's unit ssh was changed after sshd was started, which has other options"
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

/// Where the log has no line of sshd, nothing is known of the last logins.
#[test]
fn a_log_that_has_no_lines_of_sshd() {
    let skipped = &[("recent.login", "skip")];
    world(|world| {
        with_unit(world, "-E /var/log/sshd.log");
        let report = world.check();
        report.assert_exactly(skipped);
        assert_eq!(
            report.note("recent.login"),
            "sshd logs to /var/log/sshd.log (-E), and not to the system's log"
        );
    });
    for (keyword, value, says) in [
        ("LogLevel", "QUIET", "sshd does not log a login that it refuses: LogLevel is QUIET"),
        (
            "SyslogFacility",
            "LOCAL3",
            "sshd logs with SyslogFacility LOCAL3, and /var/log/auth.log may not have its lines",
        ),
    ] {
        world(|world| {
            world.configure(&config().set(keyword, value).text());
            let report = world.check();
            report.assert_exactly(skipped);
            assert_eq!(report.note("recent.login"), says);
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

/// A library of the program that newer versions run for each connection.
#[test]
fn a_program_of_sshd_without_a_library() {
    const WRAPPER: &str = r#"#!/bin/sh
/run/sshd-real "$@" || exit
case " $* " in *" -T "*) echo sshdsessionpath /run/sshd-session ;; esac
"#;
    world(|world| {
        world.sh("cp /usr/sbin/sshd /run/sshd-real; cp /usr/bin/ssh /run/sshd-session");
        world.instance.install("/usr/sbin/sshd", WRAPPER.as_bytes());
        assert_eq!(world.check().status("sshd.config"), "ok");
        world.sh("sed 's/libcrypto\\.so/libcryptz.so/g' /usr/bin/ssh >/run/sshd-session");
        let report = world.check();
        assert_eq!(report.status("sshd.config"), "fail");
        let note = report.note("sshd.config");
        let says = "sshd closes each connection: its program /run/sshd-session cannot be loaded: ";
        assert!(note.starts_with(says) && note.contains("libcryptz.so"), "{note}");
        assert!(report.of("sshd.config")["fix"].as_str().unwrap().starts_with("install the package of that"));
        world.sh("head -c 20000 /usr/bin/ssh >/run/sshd-session");
        let note = world.check().note("sshd.config").to_owned();
        assert!(note.contains("/run/sshd-session is "), "{note}");
    });
}

/// Sessions that end while nobody types.
#[test]
fn sessions_that_end_too_soon() {
    if eic_lab::sshd::sshd_version() < (9, 2) {
        return;
    }
    for (list, says) in [
        ("*=1s", "ChannelTimeout *=1s: sshd closes a session"),
        ("agent-connection=5m session*=30", "ChannelTimeout session*=30: "),
    ] {
        broken(set("ChannelTimeout", list), &[("sshd.session", "warn")], says);
    }
    world(|world| {
        for list in
            ["none", "session=10m *=5s", "x11-connection=5s agent-connection=5s", "session=0", "*=1m30s"]
        {
            set("ChannelTimeout", list)(world);
            world.check().assert_healthy();
        }
    });
}
