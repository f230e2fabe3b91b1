//! sshd's configuration, each way that it may keep a pushed key out.
use crate::world::{PID_FILE, USER, World, broken, config, world};

/// Another value for one keyword.
fn set(keyword: &str, value: &str) -> impl FnOnce(&World<'_>) + use<> {
    let text = config().set(keyword, value).text();
    move |world| world.configure(&text)
}

#[test]
fn whose_command_counts() {
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
        assert!(report.note("sshd.command").ends_with("; behind it runs /usr/bin/true"));
    });
}

#[test]
fn no_command_or_another() {
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

#[test]
fn a_command_line_that_we_do_not_understand() {
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
}

#[test]
fn who_runs_the_command() {
    // To make such a user would be no fix; --enable puts lines of its own first.
    world(|world| {
        world.configure(&config().set("AuthorizedKeysCommandUser", "nobody-here").text());
        let report = world.check();
        report.assert_exactly(&[("sshd.command_user", "fail")]);
        assert!(report.note("sshd.command_user").contains("no user nobody-here"));
        world.apply(&report, "sshd.command_user");
        world.settled().assert_healthy();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
    });
    broken(set("AuthorizedKeysCommandUser", "root"), &[("sshd.command_user", "warn")], "root runs eic-keys");
}

/// sshd expands `%u` in AuthorizedKeysCommandUser: each user asks for his own keys.
#[test]
fn the_login_itself_runs_the_command() {
    world(|world| {
        world.configure(&config().set("AuthorizedKeysCommandUser", "%u").text());
        let report = world.check();
        report.assert_healthy();
        let note = report.note("sshd.command_user");
        assert!(note.contains("is %u: for this login alice runs it, uid "), "{note}");
        let uid = world.instance.command(["-u", USER]).program("/usr/bin/id").run().stdout;
        assert!(note.ends_with(&format!("uid {}", uid.trim())), "{note}");
        // Of nobody in particular it cannot be told.
        let report = world.check_with(&[]);
        assert_eq!(report.status("sshd.command_user"), "skip");
        assert!(report.note("sshd.command_user").ends_with("name a USER"));
        // What keeps that user from the metadata service keeps the keys from it.
        let report = world.check_with(&["nobody-here"]);
        assert_eq!(report.status("sshd.command_user"), "fail");
        assert!(
            report
                .note("sshd.command_user")
                .contains("for this login nobody-here, and there is no such user")
        );
        world.configure(&config().set("AuthorizedKeysCommandUser", "%%%u").text());
        let report = world.check();
        assert!(report.note("sshd.command_user").contains("is %%%u, for this login %alice, and"));
    });
}

/// The keys of the command behind ours are logins, too.
#[test]
fn a_command_behind_ours_that_cannot_run() {
    let behind = |path: &str| set("AuthorizedKeysCommand", &format!("/usr/bin/eic-keys %u %f -- {path} %u"));
    let warns = &[("sshd.command", "warn")];
    broken(behind("/usr/bin/gone"), warns, "behind it runs /usr/bin/gone, which cannot: it is not there");
    broken(behind("/etc/passwd"), warns, "which cannot: /etc/passwd is not a program");
    broken(
        |world| {
            world.instance.install("/usr/bin/eic-lab-theirs", b"#!/bin/sh\n");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions("/usr/bin/eic-lab-theirs", mode).unwrap();
            behind("/usr/bin/eic-lab-theirs")(world);
        },
        warns,
        "which cannot: /usr/bin/eic-lab-theirs may be written by others than root",
    );
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
            let number = std::fs::read(PID_FILE).unwrap();
            world.instance.write(PID_FILE, number);
        };
        enabled();
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "warn")]);
        let note = report.note("sshd.command");
        assert!(note.contains("; /usr/bin/true is left out, as its user svc does not exist"), "{note}");
        let fix = report.of("sshd.command")["fix"].as_str().unwrap();
        assert!(fix.starts_with("make the user svc"), "{fix}");
        // A directory has it again.
        world.instance.write("/run/getent", &getent);
        let script = "#!/bin/sh\n[ \"$3\" = svc ] && echo svc:x:65534:65534::/:/bin/false && exit\nexec /run/getent \"$@\"\n";
        std::fs::set_permissions("/run/getent", std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        world.instance.install("/usr/bin/getent", script.as_bytes());
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "warn")]);
        assert!(report.note("sshd.command").contains("though its user svc exists again"));
        world.apply(&report, "sshd.command");
        let number = std::fs::read(PID_FILE).unwrap();
        world.instance.write(PID_FILE, number);
        let report = world.check();
        report.assert_healthy();
        assert!(report.note("sshd.command").ends_with("; behind it runs /usr/bin/true"));
    });
}

/// A line that chains eic-keys, or AWS's command, which it replaces.
#[test]
fn a_command_that_chains_itself() {
    for next in [
        "/usr/bin/eic-keys %u",
        "/opt/aws/bin/eic_run_authorized_keys %u %f",
        "/usr/bin/timeout 5s /opt/aws/bin/curl_authorized_keys %u %f",
    ] {
        broken(
            set("AuthorizedKeysCommand", &format!("/usr/bin/eic-keys %u %f -- {next}")),
            &[("sshd.command", "warn")],
            "each login asks twice",
        );
    }
}

#[test]
fn a_configuration_that_sshd_refuses() {
    broken(set("NoSuchKeyword", "yes"), &[("sshd.config", "fail")], "NoSuchKeyword");
    broken(|_| std::fs::remove_dir("/run/sshd").unwrap(), &[("sshd.config", "fail")], "/run/sshd");
    world(|world| {
        world.configure(&config().set("HostKey", "/nonexistent").text());
        let report = world.check();
        assert_eq!(report.status("sshd.config"), "fail");
        assert!(report.note("sshd.config").contains("no hostkeys available"));
        // In an image, keys would be the same for all that is started from it.
        let fix = report.of("sshd.config")["fix"].as_str().unwrap();
        assert!(fix.contains("ssh-keygen -A on this instance, not in an image"), "{fix}");
        assert_eq!(report.of("sshd.config")["fix_kind"], "advice");
    });
}

#[test]
fn what_keeps_keys_out() {
    broken(set("PubkeyAuthentication", "no"), &[("sshd.pubkey", "fail")], "PubkeyAuthentication is off");
    broken(
        |world| {
            let text =
                config().set("AuthenticationMethods", "password").set("PasswordAuthentication", "yes").text();
            world.configure(&text);
        },
        &[("sshd.methods", "fail")],
        "no use for keys",
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
    broken(set("PubkeyAcceptedAlgorithms", "ecdsa-sha2-nistp256"), &[("sshd.algorithms", "fail")], "neither");
    broken(set("PubkeyAcceptedAlgorithms", "rsa-sha2-512"), &[("sshd.algorithms", "warn")], "ed25519");
    broken(
        set("KexAlgorithms", "sntrup761x25519-sha512@openssh.com,curve25519-sha256"),
        &[("sshd.exchanges", "warn")],
        "the console's client knows none",
    );
    for known in ["ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"] {
        world(|world| {
            set("KexAlgorithms", known)(world);
            world.check().assert_healthy();
        });
    }
    broken(set("MaxAuthTries", "2"), &[("sshd.tries", "warn")], "MaxAuthTries is 2");
    broken(set("Port", "2222"), &[("sshd.port", "warn")], "2222, not on port 22");
    broken(set("ListenAddress", "127.0.0.1"), &[("sshd.port", "warn")], "nobody reaches it from outside");
}

#[test]
fn who_may_log_in() {
    let access = &[("sshd.access", "fail")];
    broken(set("AllowUsers", "bob carol"), access, "AllowUsers does not name alice");
    broken(set("DenyUsers", "a*"), access, "DenyUsers names alice");
    broken(set("DenyUsers", "a*@*"), access, "DenyUsers names alice");
    broken(set("AllowGroups", "wheel"), access, "AllowGroups does not name alice");
    broken(set("DenyGroups", "alice"), access, "DenyGroups names alice");
    let depends = &[("sshd.access", "warn")];
    broken(
        set("DenyUsers", "bob a*@192.0.2.*"),
        depends,
        "DenyUsers has a*@192.0.2.*: it depends on where alice comes from",
    );
    broken(set("AllowUsers", "bob alice@192.0.2.*"), depends, "AllowUsers has alice@192.0.2.*: it depends");
    world(|world| {
        for allowed in ["alice", "al?ce", "bob alice@*"] {
            world.configure(&config().set("AllowUsers", allowed).text());
            world.check().assert_healthy();
        }
    });
}

#[test]
fn root_may_not_log_in() {
    world(|world| {
        world.instance.push("root", &world.key);
        for (value, status) in [("no", "fail"), ("forced-commands-only", "fail"), ("prohibit-password", "ok")]
        {
            world.configure(&config().set("PermitRootLogin", value).text());
            assert_eq!(world.check_with(&["root"]).status("sshd.access"), status, "{value}");
            assert_eq!(world.check_with(&[USER]).status("sshd.access"), "ok");
        }
    });
}

#[test]
fn no_sshd() {
    let gone = |_: &World<'_>| std::fs::remove_file("/usr/sbin/sshd").unwrap();
    broken(gone, &[("sshd.version", "fail")], "no sshd on this system");
}
