//! Settings of sshd that end or refuse a session.

use crate::world::{USER, broken, config, set, world};

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
    for command in ["/usr/bin/env AUDIT=1 /run/none", "nice -n 5 /run/none -l", "timeout 1h /run/none"] {
        let says = "ForceCommand runs /run/none, which is not a program";
        broken(set("ForceCommand", command), session, says);
    }
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
            "/usr/bin/env A=1 LANG=C /run/menu",
            "nice -n 5 /run/menu /run/none",
            "nice menu /run/none",
            "env -C /run/none /run/menu",
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
