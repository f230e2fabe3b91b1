//! What PAM's files tell before a login is tried. Each row is also tried.
use crate::world::{USER, World, config, world};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const PERMIT: &str =
    "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n";

/// sshd with PAM, and these lines after those that permit everything.
fn pam(world: &World<'_>, lines: &str) {
    world.restart(&config().set("UsePAM", "yes").text());
    world.instance.write("/etc/pam.d/sshd", format!("{PERMIT}{lines}"));
}

/// The login fails, and just this check, which says so. If it prints a command, that repairs the login.
fn refuses(by: impl FnOnce(&World<'_>), id: &str, says: &str, fix: &str) {
    world(|world| {
        by(world);
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{says}");
        let report = world.check();
        report.assert_exactly(&[(id, "fail")]);
        assert!(report.note(id).contains(says), "{} says {says}", report.note(id));
        let printed = report.of(id)["fix"].as_str().unwrap();
        assert!(printed.contains(fix), "{printed}");
        if report.of(id)["fix_kind"] == "command" {
            world.apply(&report, id);
            world.check().assert_healthy();
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        }
    });
}

/// The login works, and no check says anything else.
fn lets_in(by: impl FnOnce(&World<'_>)) {
    world(|world| {
        by(world);
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_healthy();
    });
}

#[test]
fn modules_that_are_not_installed() {
    for (line, says) in [
        (
            "account required pam_gone.so\n",
            "PAM refuses the account: /etc/pam.d/sshd line 4: the module pam_gone.so is not installed",
        ),
        ("-account [default=bad success=ok user_unknown=ignore] pam_gone.so\n", "PAM refuses the account: "),
        (
            "session required pam_gone.so\n",
            "PAM opens no session: /etc/pam.d/sshd line 4: the module pam_gone.so",
        ),
        (
            "session requisite /lib/security/pam_gone.so\n",
            "the module /lib/security/pam_gone.so is not installed",
        ),
        ("session substack inner\n", "PAM opens no session: /etc/pam.d/inner line 1: the module pam_gone.so"),
        ("session required /run/pam_empty.so\n", "the module /run/pam_empty.so is no library"),
    ] {
        refuses(
            |world| {
                pam(world, line);
                world.instance.write("/etc/pam.d/inner", "session required pam_gone.so\n");
                world.instance.write("/run/pam_empty.so", "");
            },
            "sshd.pam",
            says,
            if says.ends_with("library") {
                "package that has the module's file again"
            } else {
                "install the package"
            },
        );
    }
    // A module that is there, on a line of a type that is not for it.
    for (line, says) in [
        ("session required pam_group.so\n", "line 4: the module pam_group.so has nothing for session lines"),
        (
            "account required pam_limits.so\n",
            "line 4: the module pam_limits.so has nothing for account lines",
        ),
    ] {
        refuses(|world| pam(world, line), "sshd.pam", says, "correct the type of that line");
        lets_in(|world| pam(world, &line.replace("required", "optional")));
    }
    // The auth lines count if a key is not enough.
    world(|world| {
        for (methods, status) in [
            ("publickey,keyboard-interactive", "fail"),
            ("publickey publickey,keyboard-interactive:pam", "ok"),
        ] {
            let asks =
                config().set("KbdInteractiveAuthentication", "yes").set("AuthenticationMethods", methods);
            world.restart(&asks.set("UsePAM", "yes").text());
            world.instance.write("/etc/pam.d/sshd", format!("auth required pam_gone.so\n{PERMIT}"));
            let report = world.check();
            assert_eq!(report.status("sshd.pam"), status, "{:#}", report.of("sshd.pam"));
            if status == "fail" {
                let says = "PAM refuses the authentication that AuthenticationMethods needs: /etc/pam.d/sshd line 1: the module pam_gone.so is not installed";
                assert_eq!(report.note("sshd.pam"), says);
            }
            world.instance.write(
                "/etc/pam.d/sshd",
                format!("auth sufficient pam_permit.so\nauth required pam_deny.so\n{PERMIT}"),
            );
            assert_eq!(world.check().status("sshd.pam"), "ok");
        }
    });
    for line in [
        "account optional pam_gone.so\nsession optional pam_gone.so\n",
        "-session optional pam_gone.so\n",
        "session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_gone.so\n",
        "auth required pam_gone.so\npassword required pam_gone.so\n",
        "account [success=1 default=ignore] pam_permit.so\naccount requisite pam_deny.so\naccount required pam_permit.so\n",
        "session sufficient pam_permit.so\nsession required pam_gone.so\n",
    ] {
        lets_in(|world| pam(world, line));
    }
}

#[test]
fn files_that_pam_cannot_use() {
    refuses(
        |world| pam(world, "@include common-gone\n"),
        "sshd.pam",
        "PAM cannot start: /etc/pam.d/sshd line 4: it includes common-gone, which does not exist",
        "restore the file",
    );
    refuses(
        |world| pam(world, "session include gone\n"),
        "sshd.pam",
        "PAM opens no session: /etc/pam.d/sshd line 4: it includes gone",
        "correct /etc/pam.d/sshd line 4",
    );
    refuses(
        |world| pam(world, "account requird pam_permit.so\n"),
        "sshd.pam",
        "its control is requird, which PAM does not know",
        "correct",
    );
    refuses(
        |world| {
            pam(world, "");
            world.instance.remove("/etc/pam.d/sshd");
            world.instance.remove("/etc/pam.d/other");
        },
        "sshd.pam",
        "neither /etc/pam.d/sshd nor /etc/pam.d/other exists",
        "restore",
    );
    refuses(
        |world| pam(world, "account required pam_deny.so\n"),
        "sshd.pam",
        "pam_deny refuses everybody",
        "line 4",
    );
    // After a full disk, an included file can be empty.
    let nologin =
        PERMIT.replace("account required pam_permit.so", "account required pam_nologin.so\n@include empty");
    refuses(
        |world| {
            pam(world, "");
            world.instance.write("/etc/pam.d/sshd", &nologin);
            world.instance.write("/etc/pam.d/empty", "");
            world.instance.write("/etc/pam.d/other", "");
        },
        "sshd.pam",
        "pam_nologin accepts nobody, and no other line does",
        "restore the other lines",
    );
    lets_in(|world| pam(world, "account required pam_nologin.so\n"));
    // Other services use that file, too.
    refuses(
        |world| {
            pam(world, "");
            world.instance.remove("/etc/pam.d/sshd");
            world.instance.write("/etc/pam.d/other", PERMIT.replace("pam_permit", "pam_deny"));
        },
        "sshd.pam",
        "/etc/pam.d/sshd does not exist, and PAM uses /etc/pam.d/other: ",
        "restore that file: reinstall openssh-server",
    );
    lets_in(|world| {
        pam(world, "");
        world.instance.remove("/etc/pam.d/sshd");
        world.instance.write("/etc/pam.d/other", PERMIT);
    });
    refuses(
        |world| {
            pam(world, "");
            world.sh("mv /etc/pam.d /etc/pam.d.bak; rm -f /etc/pam.conf");
        },
        "sshd.pam",
        "PAM cannot start",
        "restore that file",
    );
    // Like the files of Debian, whose pam_deny is skipped. Not that line is the reason.
    let jump = "account [success=1 default=ignore] pam_permit.so\naccount requisite pam_deny.so\naccount required pam_permit.so\n";
    let with = |line: &str| format!("{line}\n{jump}");
    refuses(
        |world| pam(world, &with("account [default=die] pam_permit.so")),
        "sshd.pam",
        "line 4: its control refuses whatever the module returns",
        "correct /etc/pam.d/sshd line 4, or remove that line",
    );
    lets_in(|world| pam(world, &with("account [success=ok default=die] pam_permit.so")));
    // The lines after it are gone, and not the line that it should skip is wrong.
    refuses(
        |world| pam(world, &jump.replace("success=1", "success=3")),
        "sshd.pam",
        "line 4: success=3 skips more lines than follow",
        "correct the number in /etc/pam.d/sshd line 4",
    );
    refuses(
        |world| {
            pam(world, "");
            world.instance.write("/etc/pam.d/sshd", PERMIT.replace("account", "# account"));
            world.instance.write("/etc/pam.d/other", "");
        },
        "sshd.pam",
        "no account line of /etc/pam.d/sshd can succeed",
        "check the account lines",
    );
}

/// Files that include themselves, and a pipe, which libpam reads until somebody writes.
#[test]
fn files_without_an_end() {
    for (line, more, says) in [
        (
            "@include sshd\n",
            "",
            "PAM cannot start: /etc/pam.d/sshd line 4: it includes sshd, and so itself, without end",
        ),
        (
            "@include more\n",
            "@include sshd\n",
            "PAM cannot start: /etc/pam.d/more line 1: it includes sshd, and so itself, without end",
        ),
        (
            "session include more\n",
            "session include more\n",
            "PAM opens no session: /etc/pam.d/more line 1: it includes more, and so itself",
        ),
    ] {
        refuses(
            |world| {
                pam(world, line);
                world.instance.write("/etc/pam.d/more", more);
            },
            "sshd.pam",
            says,
            "that line",
        );
    }
    // Twice, one after the other.
    lets_in(|world| {
        pam(world, "@include more\n@include more\nsession include more\n");
        world.instance.write("/etc/pam.d/more", "session required pam_permit.so\n");
    });
    world(|world| {
        pam(world, "@include more\n");
        world.instance.write("/etc/pam.d/more", "");
        world.instance.remove("/etc/pam.d/more");
        world.sh("mkfifo /etc/pam.d/more");
        let report = world.check();
        report.assert_exactly(&[("sshd.pam", "fail")]);
        let says =
            "PAM cannot start: /etc/pam.d/sshd line 4: it includes more, a pipe, at which PAM waits for ever";
        assert_eq!(report.note("sshd.pam"), says);
    });
}

/// A file that was edited on Windows.
#[test]
fn carriage_returns() {
    for (sshd, says) in [
        (
            PERMIT.replace('\n', "\r\n"),
            "the module pam_permit.so\\r is not installed; the line ends with a carriage return",
        ),
        (
            format!("{PERMIT}@include more\r\n"),
            "it includes more\\r, which does not exist; the line ends with",
        ),
    ] {
        refuses(
            |world| {
                pam(world, "");
                world.instance.write("/etc/pam.d/more", "session required pam_permit.so\n");
                world.instance.write("/etc/pam.d/sshd", &sshd);
            },
            "sshd.pam",
            says,
            "sed -i 's/[[:cntrl:]]$//' /etc/pam.d/sshd",
        );
    }
    lets_in(|world| pam(world, "# a comment\r\n\r\naccount required pam_permit.so debug\r\n"));
}

#[test]
fn programs_of_pam_exec() {
    refuses(
        |world| pam(world, "session required pam_exec.so quiet /run/hook open\n"),
        "sshd.pam",
        "pam_exec runs /run/hook, which does not exist",
        "install /run/hook again",
    );
    refuses(
        |world| {
            pam(world, "session required pam_exec.so /run/hook\n");
            world.instance.write("/run/hook", "#!/bin/sh\n");
            fs::set_permissions("/run/hook", Permissions::from_mode(0o644)).unwrap();
        },
        "sshd.pam",
        "pam_exec runs /run/hook, which is not executable",
        "make it executable",
    );
    lets_in(|world| pam(world, "session optional pam_exec.so /run/hook\n"));
    for (script, says, fix) in [
        (
            "#!/bin/sh\r\nexit 0\r\n",
            "/run/hook, which nobody can run: the program of its first line",
            "sed -i",
        ),
        ("exit 0\n", "it is neither a program nor a script that begins with #!", "correct the first line"),
    ] {
        let write = |world: &World<'_>, script: &str| {
            pam(world, "account required pam_exec.so quiet /run/hook\n");
            world.instance.write("/run/hook", script);
            fs::set_permissions("/run/hook", Permissions::from_mode(0o755)).unwrap();
        };
        refuses(|world| write(world, script), "sshd.pam", says, fix);
        lets_in(|world| write(world, "#!/bin/sh\nexit 0\n"));
    }
}

#[test]
fn words_of_pam_exec() {
    for (line, says) in [
        (
            "account required pam_exec.so quite /bin/true\n",
            "pam_exec runs quite, which is neither an option of it",
        ),
        ("account required pam_exec.so /etc/ssh\n", "pam_exec runs /etc/ssh, which is a directory"),
    ] {
        refuses(|world| pam(world, line), "sshd.pam", says, "");
    }
    lets_in(|world| pam(world, "account required pam_exec.so QUIET log=/run/log seteuid /bin/true quite\n"));
}

/// With `UID_MIN` 50000, alice has a number of the system's own users.
#[test]
fn numbers_of_users_of_the_system() {
    let with = |line: &'static str, change: &'static str| {
        move |world: &World<'_>| {
            pam(world, line);
            world.sh(&format!(
                "sed -i '/^UID_MIN/d; /^SYS_UID_MAX/d' /etc/login.defs; printf '{change}' >>/etc/login.defs"
            ));
        }
    };
    let line = "account required pam_usertype.so isregular\n";
    let says = "pam_usertype refuses: uid 47101 of alice is that of a user of the system, by UID_MIN 50000";
    refuses(with(line, "UID_MIN 50000\n"), "user.pam", says, "");
    refuses(with(line, "UID_MIN\\t50000\nSYS_UID_MAX 48000\n"), "user.pam", says, "");
    lets_in(with(line, "UID_MIN 50000\nSYS_UID_MAX 999\n"));
    lets_in(with(line, "UID_MIN 1000\n"));
}

#[test]
fn files_of_modules_that_refuse_the_user() {
    for (line, says, fix) in [
        (
            "account required pam_access.so accessfile=/run/access\n",
            "PAM refuses the account of alice: /etc/pam.d/sshd line 4: pam_access refuses, by /run/access line 2: -:ALL:ALL",
            "allow alice in a line above line 2 of /run/access",
        ),
        (
            "account required pam_listfile.so onerr=succeed item=user sense=deny file=/run/denied\n",
            "/run/denied lists alice",
            "remove alice from /run/denied",
        ),
        (
            "account required pam_listfile.so onerr=fail item=user sense=allow file=/run/allowed\n",
            "/run/allowed does not list alice",
            "add alice to /run/allowed",
        ),
        (
            "account required pam_listfile.so onerr=fail item=user sense=allow file=/run/gone\n",
            "pam_listfile reads /run/gone, which does not exist",
            "create /run/gone",
        ),
        (
            "account required pam_succeed_if.so quiet user ingroup wheel\n",
            "pam_succeed_if refuses: user ingroup wheel is not true of alice",
            "user ingroup wheel",
        ),
        (
            "account required pam_succeed_if.so quiet [user ingroup admins ops]\n",
            "the condition user ingroup admins ops does not have three words",
            "write it as three words",
        ),
        ("account requisite pam_succeed_if.so uid < 10\n", "uid < 10 is not true", "uid < 10"),
        (
            "account required pam_shells.so\n",
            "/etc/shells does not list the login shell /bin/sh",
            "/etc/shells",
        ),
        (
            "session required pam_limits.so conf=/run/limits\n",
            "no session of alice can start: /run/limits line 1 sets hard nofile 3: sshd cannot open a file",
            "raise hard nofile 3",
        ),
        (
            "session required pam_limits.so conf=/run/memory\n",
            "/run/memory line 1 sets - as 3000: sshd and the shell do not fit",
            "raise - as 3000",
        ),
    ] {
        refuses(
            |world| {
                pam(world, line);
                world.instance.write("/run/access", "+:root:ALL\n-:ALL:ALL\n");
                world.instance.write("/run/denied", "bob\r\nalice\r\n");
                world.instance.write("/run/allowed", "bob\n");
                world.instance.write("/etc/shells", "/bin/bash\n");
                world.instance.write("/run/limits", "alice hard nofile 3\n");
                world.instance.write("/run/memory", "alice - AS 3000\n");
            },
            "user.pam",
            says,
            fix,
        );
    }
    for line in [
        "account required pam_access.so accessfile=/run/access\n",
        "account required pam_listfile.so onerr=fail item=user sense=allow file=/run/allowed\n",
        "account required pam_listfile.so onerr=succeed item=user sense=deny file=/run/denied\n",
        "account [success=1 default=ignore] pam_succeed_if.so user ingroup wheel\naccount required pam_permit.so\n",
        "account required pam_succeed_if.so uid >= 1000 quiet\n",
        "account required pam_shells.so\n",
        "session required pam_limits.so conf=/run/limits\n",
    ] {
        lets_in(|world| {
            pam(world, line);
            world.instance.write("/run/access", "+:alice:ALL\n-:ALL:ALL\n");
            world.instance.write("/run/denied", "bob\n");
            world.instance.write("/run/allowed", "bob\r\nalice\r\n");
            world.instance.write("/etc/shells", "/bin/sh\n");
            world.instance.write("/run/limits", "* hard nofile 3\nalice hard nofile 512\n");
        });
    }
}

/// Times, days, and lists that are not the usual ones.
#[test]
fn lines_that_refuse_in_other_words() {
    let with = |line: &'static str, text: &'static str| {
        move |world: &World<'_>| {
            pam(world, line);
            world.instance.write("/run/file", text);
            world.instance.write("/etc/login.defs", "UID_MAX 60000\nUID_MIN\t\t 1\n");
        }
    };
    let time = "account required pam_time.so conffile=/run/file\n";
    let access = "account required pam_access.so accessfile=/run/file\n";
    for (line, text, says) in [
        (
            time,
            "# all\nlogin|sshd;*;bob|alice;!Al0000-2400\n",
            "by /run/file: login|sshd;*;bob|alice;!Al0000-2400",
        ),
        (access, "+:root:LOCAL\n+:@admins:ALL\n-:ALL:ALL\n", "by /run/file line 3"),
        (
            "account required pam_access.so accessfile=/run/file fieldsep=| listsep=,\n",
            "-|bob,alice|ALL\n",
            "by /run/file line 1",
        ),
        (
            "account required pam_listfile.so item=shell sense=deny onerr=fail file=/run/file\n",
            "/bin/sh\n",
            "/run/file lists the login shell of alice",
        ),
        (
            "account required pam_succeed_if.so quiet service notin sshd:login\n",
            "",
            "service notin sshd:login",
        ),
        ("account required pam_succeed_if.so quiet user innetgr admins\n", "", "user innetgr admins"),
        ("account required pam_usertype.so issystem\n", "", "pam_usertype refuses: alice is not"),
        (
            "session required pam_env.so conffile=/run/file\n",
            "# X DEFAULT=${A\nX DEFAULT=${A} OVERRIDE=@{B\n",
            "in /run/file: X DEFAULT=${A} OVERRIDE=@{B",
        ),
    ] {
        refuses(with(line, text), "user.pam", says, "");
    }
    for (line, text) in [
        (time, "*;*;!alice;!Al0000-2400\nsshd;tty*;alice;!Al0000-2400\nsu;*;alice;!Al0000-2400\n"),
        (access, "+:@admins bob@* alice:ALL\n-:ALL:ALL\n"),
        ("account required pam_listfile.so item=shell sense=deny onerr=fail file=/run/file\n", "/bin/bash\n"),
        (
            "account required pam_usertype.so isregular\nsession required pam_env.so conffile=/run/file\n",
            "X DEFAULT=${A} OVERRIDE=@{PAM_RHOST}\n",
        ),
    ] {
        lets_in(with(line, text));
    }
    world(|world| {
        with("account required pam_succeed_if.so quiet rhost = 192.0.2.1\n", "")(world);
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        report.assert_exactly(&[("user.pam", "warn")]);
        let says = "pam_succeed_if lets alice in from some clients only, by rhost = 192.0.2.1";
        assert!(report.note("user.pam").contains(says), "{}", report.note("user.pam"));
    });
}

/// `pam_lastlog` may not be installed: what counts here is its name.
#[test]
fn a_user_who_was_away_for_too_long() {
    world(|world| {
        pam(world, "account required pam_lastlog.so inactive=35\n");
        install(world, "pam_lastlog.so");
        let size = if cfg!(target_arch = "x86_64") { 292 } else { 296 };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        for (days, refuses) in [(400, true), (34, false)] {
            let passwd = fs::read_to_string("/etc/passwd").unwrap();
            let uid = passwd.lines().find_map(|line| line.strip_prefix("alice:x:")).unwrap();
            let uid: usize = uid.split(':').next().unwrap().parse().unwrap();
            let mut file = vec![0; (uid + 1) * size];
            let last = u32::try_from(now - days * 86400).unwrap();
            file[uid * size..uid * size + 4].copy_from_slice(&last.to_le_bytes());
            world.instance.write("/var/log/lastlog", file);
            let report = world.check();
            if refuses {
                report.assert_exactly(&[("user.pam", "fail")]);
                let says = "pam_lastlog refuses: the last login of alice was 400 days ago";
                assert!(report.note("user.pam").contains(says), "{}", report.note("user.pam"));
                assert_eq!(report.of("user.pam")["fix"], "lastlog --set --user alice");
            } else {
                report.assert_healthy();
            }
        }
        // A pipe that nobody writes to has no time in it, and blocks nobody.
        world.sh("rm /var/log/lastlog; mkfifo /var/log/lastlog");
        world.check_in_time().assert_healthy();
    });
}

/// Lines of `pam_access` that refuse each client, and those that refuse some: those may be right.
#[test]
fn clients_of_pam_access() {
    let access = |text: &'static str| {
        move |world: &World<'_>| {
            pam(world, "account required pam_access.so accessfile=/run/access\n");
            world.instance.write("/run/access", text);
        }
    };
    for text in ["-:ALL:ALL EXCEPT LOCAL\n", "+:alice:LOCAL :0 tty1\n-:ALL:ALL\n"] {
        refuses(access(text), "user.pam", "pam_access refuses, by /run/access line ", "allow alice");
    }
    for text in ["-:ALL EXCEPT alice:ALL EXCEPT LOCAL\n", "-:alice:192.0.2.1 192.0.2.2\n", "-:ALL:tty1\n"] {
        lets_in(access(text));
    }
    for (text, works) in [
        ("+:alice:192.0.2.0/24\n-:ALL:ALL\n", false),
        ("-:ALL EXCEPT root:ALL EXCEPT 192.0.2.0/24\n", false),
        ("+:alice:127.0.0.0/8 192.0.2.0/24\n-:ALL:ALL\n", true),
    ] {
        world(|world| {
            access(text)(world);
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status == Some(0), works, "{text}");
            let report = world.check();
            report.assert_exactly(&[("user.pam", "warn")]);
            let says = "/etc/pam.d/sshd line 4: pam_access lets alice in from some clients only, by /run/access line 1: ";
            assert!(report.note("user.pam").starts_with(says), "{}", report.note("user.pam"));
        });
    }
}

/// Modules that refuse because of an option: a file that does not exist, or what is for su(1).
#[test]
fn options_with_which_modules_refuse() {
    for (line, id, says, fix) in [
        (
            "account required pam_access.so accessfile=/run/none\n",
            "sshd.pam",
            "the module reads /run/none, which does not exist",
            "correct /etc/pam.d/sshd line 4",
        ),
        (
            "account required pam_faillock.so conf=/run/none\n",
            "sshd.pam",
            "the module reads /run/none",
            "correct",
        ),
        (
            "account required pam_localuser.so file=/run/none\n",
            "sshd.pam",
            "the module reads /run/none",
            "correct",
        ),
        (
            "session required pam_limits.so conf=/run/none\n",
            "sshd.pam",
            "the module reads /run/none",
            "correct",
        ),
        (
            "account required pam_localuser.so file=/run/users\n",
            "user.pam",
            "pam_localuser refuses: /run/users has no line of alice",
            "correct",
        ),
    ] {
        refuses(
            |world| {
                pam(world, line);
                world.instance.write("/run/users", "bob:x:1:1::/:/bin/sh\n");
            },
            id,
            says,
            fix,
        );
    }
    for line in [
        "account required pam_access.so accessfile=/run/empty\n",
        "account required pam_faillock.so conf=/run/empty\n",
        "session required pam_limits.so conf=/run/empty\n",
        "account required pam_localuser.so\n",
        "account sufficient pam_localuser.so file=/run/empty\naccount required pam_permit.so\n",
        "account sufficient pam_localuser.so file=/run/none\naccount required pam_permit.so\n",
        "account required pam_wheel.so deny group=admins\n",
        "account required pam_wheel.so root_only group=admins\n",
    ] {
        lets_in(|world| {
            pam(world, line);
            world.instance.write("/run/empty", "");
        });
    }
}

/// `pam_wheel` looks for root, whose process sshd is, and not for the user who logs in.
#[test]
fn a_module_that_is_for_su() {
    let with = |line: &'static str, members: &'static str| {
        move |world: &World<'_>| {
            pam(world, line);
            let groups = fs::read_to_string("/etc/group").unwrap();
            world.instance.write("/etc/group", format!("{groups}admins:x:47201:{members}\n"));
        }
    };
    for (line, members) in [
        ("account required pam_wheel.so use_uid group=admins\n", "alice"),
        ("account required pam_wheel.so group=admins trust\n", "alice"),
        ("account requisite pam_wheel.so group=none\n", "root"),
    ] {
        let says = "PAM refuses the account: /etc/pam.d/sshd line 4: pam_wheel refuses everybody: it is for su(1), and looks for root";
        refuses(with(line, members), "sshd.pam", says, "to log in, set AllowGroups ");
    }
    lets_in(with("account required pam_wheel.so use_uid group=admins\n", "bob,root"));
    let first = "account sufficient pam_wheel.so group=admins\naccount required pam_permit.so\n";
    lets_in(with(first, "alice"));
}

/// A home directory that PAM is to create where nobody can write.
#[test]
fn a_home_that_pam_cannot_create() {
    let with = |line: &'static str, options: &'static str| {
        move |world: &World<'_>| {
            pam(world, line);
            let mount = format!("mkdir /run/data; mount -t tmpfs -o {options},mode=755 none /run/data");
            world.sh(&format!("{mount}; sed -i s,/run/home/alice,/run/data/alice, /etc/passwd"));
        }
    };
    let says = "the home directory /run/data/alice does not exist, and PAM cannot create it: /run/data is on a file system that is mounted read-only";
    let required = "session required pam_mkhomedir.so\n";
    refuses(with(required, "ro"), "user.home", says, "mount it read-write");
    lets_in(with(required, "rw"));
    world(|world| {
        with("session optional pam_mkhomedir.so\n", "ro")(world);
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_exactly(&[("user.home", "warn")]);
    });
}

/// Limits from which a session cannot start.
#[test]
fn limits_of_pam_limits() {
    for limit in [
        "alice hard maxlogins 0",
        "%alice - maxlogins 0",
        "alice - maxsyslogins 0",
        "alice hard nofile 4",
        "alice hard nproc 0",
        "alice hard as 1024",
        "1: hard maxlogins 0",
        "@1: hard maxlogins 0",
        "* - nproc 1",
        "alice hard data 16",
        "alice - stack 4",
    ] {
        refuses(
            |world| {
                pam(world, "session required pam_limits.so conf=/run/limits\n");
                world.instance.write("/run/limits", format!("{limit}\n"));
            },
            "user.pam",
            limit.split_once(' ').unwrap().1,
            "/run/limits line 1",
        );
    }
    for limit in [
        "alice - nproc 64",
        "alice hard data 65536",
        "alice hard stack 8192",
        "1: hard maxlogins 2\n* hard maxlogins 0",
        ":1 hard maxlogins 0",
        "1:2 hard maxlogins 0",
    ] {
        lets_in(|world| {
            pam(world, "session required pam_limits.so conf=/run/limits\n");
            world.instance.write("/run/limits", format!("{limit}\n"));
        });
    }
}

/// Debian's module can change the root directory.
#[test]
fn a_root_directory_of_pam_limits() {
    if !fs::exists("/etc/debian_version").unwrap() {
        return;
    }
    let with = |lines: &'static str| {
        move |world: &World<'_>| {
            pam(world, "session required pam_limits.so conf=/run/limits\n");
            world.instance.write("/run/limits", lines);
        }
    };
    refuses(
        with("alice - chroot /srv/none\n"),
        "user.pam",
        "no session of alice can start: /run/limits line 1 sets - chroot /srv/none: that directory does not exist",
        "correct - chroot /srv/none in /run/limits line 1, or remove that line",
    );
    lets_in(with("alice - chroot /\nbob - chroot /srv/none\n"));
}

/// What PAM's words in the log say after an attempt, where no file tells.
#[test]
fn what_recent_login_says() {
    for (line, says) in [
        (
            "session required pam_exec.so /bin/false\n",
            "PAM opens no session: pam_exec(sshd:session): /bin/false failed: exit code 1",
        ),
        (
            "session optional pam_gone.so\nsession required pam_exec.so /bin/false\n",
            "PAM opens no session: pam_exec(sshd:session): /bin/false failed",
        ),
        ("session required pam_gone.so\n", "PAM opens no session: PAM unable to dlopen(pam_gone.so)"),
        ("account required pam_gone.so\n", "PAM refuses the account: PAM unable to dlopen(pam_gone.so)"),
        (
            "session optional pam_gone.so\naccount required pam_exec.so /bin/false\n",
            "PAM refuses the account: pam_exec(sshd:account): /bin/false failed",
        ),
        (
            "session required pam_exec.so /run/hook\n",
            "pam_exec(sshd:session): /run/hook failed: exit code 127",
        ),
        ("session required pam_limits.so conf=/run/limits\n", "the limit of open files is too low"),
    ] {
        world(|world| {
            pam(world, line);
            world.instance.write("/run/limits", "alice hard nofile 6\n");
            world.instance.install("/run/hook", b"#!/bin/sh\nno-such-program\n");
            let before = world.instance.journal.lines().len();
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{line}");
            std::thread::sleep(std::time::Duration::from_millis(500));
            let lines = world.instance.journal.lines();
            let text: String =
                lines[before..].iter().map(|line| crate::world::log_line(5, &line.text)).collect();
            world.instance.write("/var/log/auth.log", text);
            let report = world.check();
            assert_eq!(report.status("recent.login"), "warn", "{line}: {lines:#?}");
            assert!(report.note("recent.login").contains(says), "{line}: {}", report.note("recent.login"));
            let fix = report.of("recent.login")["fix"].as_str().unwrap();
            let names_it = fix.contains("that script runs a program that is not installed");
            assert_eq!(names_it, says.ends_with("127"), "{fix}");
        });
    }
}

/// `pam_systemd` waits for systemd-logind.
#[test]
fn a_login_manager_that_hangs() {
    world(|world| {
        pam(world, "session optional pam_systemd.so\n");
        world.instance.write("/run/dbus/system_bus_socket", "");
        world.instance.install("/usr/bin/busctl", b"#!/bin/sh\nexit 0\n");
        world.check().assert_healthy();
        // No bus at all: it does not wait.
        world.instance.install("/usr/bin/busctl", b"#!/bin/sh\nexit 1\n");
        world.check().assert_healthy();
        let hangs = b"#!/bin/sh\ncase \"$*\" in *login1*) sleep 100 ;; esac\n";
        world.instance.install("/usr/bin/busctl", hangs);
        let report = world.check();
        report.assert_exactly(&[("sshd.pam", "warn")]);
        let note = report.note("sshd.pam");
        assert!(note.starts_with("systemd-logind does not answer: each login waits"), "{note}");
        assert_eq!(report.of("sshd.pam")["fix"], "systemctl restart systemd-logind");
        world.instance.install("/usr/bin/busctl", b"#!/bin/sh\nsleep 100\n");
        assert!(world.check().note("sshd.pam").starts_with("the system bus (dbus) does not answer"));
    });
}

/// Installs a module: what counts here is its name.
fn install(world: &World<'_>, name: &str) {
    install_with(world, name, b"");
}

/// A module that refuses, with a text at the end of its file.
fn install_with(world: &World<'_>, name: &str, text: &[u8]) {
    let place =
        ["/usr/lib/x86_64-linux-gnu/security", "/usr/lib/aarch64-linux-gnu/security", "/usr/lib64/security"];
    let place = place.into_iter().find(|place| Path::new(place).join("pam_permit.so").exists()).unwrap();
    let path = format!("{place}/{name}");
    if Path::new(&path).exists() {
        return;
    }
    let module = fs::read(format!("{place}/pam_deny.so")).unwrap();
    world.instance.install(&path, &[&module, text].concat());
}

/// sssd is not installed, or does not run.
#[test]
fn a_module_that_asks_sssd() {
    if Path::new("/var/lib/sss/pipes/pam").exists() {
        return;
    }
    refuses(
        |world| {
            install(world, "pam_sss.so");
            pam(world, "account required pam_sss.so\n");
        },
        "sshd.pam",
        "pam_sss asks sssd, which does not run",
        "start sssd",
    );
    lets_in(|world| {
        install(world, "pam_sss.so");
        pam(
            world,
            "account sufficient pam_permit.so\naccount [default=bad success=ok user_unknown=ignore] pam_sss.so\n",
        );
    });
}

/// sssd runs, but does not serve PAM: nobody listens on a socket that is left.
#[test]
fn a_module_that_sssd_does_not_answer() {
    const SOCKET: &str = "/var/lib/sss/pipes/pam";
    let listen = |world: &World<'_>| {
        install(world, "pam_sss.so");
        pam(world, "account required pam_sss.so\n");
        world.sh("mount -t tmpfs tmpfs /var/lib; mkdir -p /var/lib/sss/pipes");
        UnixListener::bind(SOCKET).unwrap()
    };
    refuses(
        |world| drop(listen(world)),
        "sshd.pam",
        "pam_sss asks sssd, which does not answer it: nothing listens on /var/lib/sss/pipes/pam",
        "add pam to services",
    );
    world(|world| {
        let _listener = listen(world);
        world.check().assert_healthy();
        // SSSD is asked for users, and does not know a local one.
        world.instance.write("/etc/nsswitch.conf", "passwd: files sss\ngroup: files sss\nshadow: files\n");
        let report = world.check();
        report.assert_exactly(&[("user.pam", "fail")]);
        let note = report.note("user.pam");
        assert!(
            note.ends_with("pam_sss does not know alice: /etc/passwd has that user, and SSSD has not"),
            "{note}"
        );
        let controls = [
            "[default=bad success=ok user_unknown=ignore] pam_sss.so",
            "required pam_sss.so ignore_unknown_user",
        ];
        for line in controls {
            pam(world, &format!("account required pam_permit.so\naccount {line}\n"));
            world.check().assert_healthy();
        }
    });
}

/// logind is masked, and a session needs it.
#[test]
fn a_module_that_asks_logind() {
    let masked = |world: &World<'_>, control: &str, state: &str| {
        install(world, "pam_systemd.so");
        let systemctl = format!("#!/bin/sh\ncase $1 in is-active) echo {state}; exit 3;; *) exit 1;; esac\n");
        world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
        world.sh("mkdir -p /run/systemd/seats /etc/systemd/system; ln -s /dev/null /etc/systemd/system/systemd-logind.service");
        pam(world, &format!("account required pam_permit.so\nsession {control} pam_systemd.so\n"));
    };
    refuses(
        |world| masked(world, "required", "inactive"),
        "user.pam",
        "pam_systemd asks systemd-logind, which is masked",
        "unmask",
    );
    for (control, state) in [("optional", "inactive"), ("required", "active")] {
        world(|world| {
            masked(world, control, state);
            assert_ne!(world.check().status("user.pam"), "fail", "{control} {state}");
        });
    }
}

/// A sufficient line that does not succeed is not why a later one refuses.
#[test]
fn the_line_that_refuses_is_named() {
    refuses(
        |world| {
            let text = "account required pam_unix.so\naccount sufficient pam_succeed_if.so uid < 500 quiet\n\
                        account [default=bad success=ok user_unknown=ignore] pam_gone.so\naccount required pam_permit.so\n";
            pam(world, text);
        },
        "user.pam",
        "pam_gone.so",
        "install the package",
    );
    // There it is the condition.
    refuses(
        |world| {
            pam(
                world,
                "account sufficient pam_succeed_if.so uid < 500 quiet\naccount required pam_deny.so\n",
            );
        },
        "user.pam",
        "uid < 500",
        "condition",
    );
}

/// nslcd is stopped.
#[test]
fn a_module_that_asks_nslcd() {
    let stopped = |world: &World<'_>, line: &str| {
        install_with(world, "pam_ldap.so", b"error opening connection to nslcd: %s\0");
        pam(world, line);
    };
    refuses(
        |world| stopped(world, "account required pam_ldap.so minimum_uid=1000\n"),
        "user.pam",
        "pam_ldap asks nslcd, which does not run",
        "start nslcd",
    );
    // That of libpam-ldap asks the directory itself.
    world(|world| {
        install_with(world, "pam_ldap.so", b"/etc/pam_ldap.conf\0");
        pam(world, "account required pam_ldap.so\n");
        world.check().assert_healthy();
    });
    for ignored in [
        "account required pam_permit.so\naccount [success=ok authinfo_unavail=ignore auth_err=ignore acct_expired=ignore perm_denied=ignore default=bad] pam_ldap.so\n",
        "account sufficient pam_permit.so\naccount required pam_ldap.so\n",
    ] {
        lets_in(|world| stopped(world, ignored));
    }
}

/// What `pam_unix` says of an expired account or password counts if the account lines ask it, and do not ignore it.
#[test]
fn what_pam_unix_refuses_counts() {
    const AGED: &str = ":19000:0:90:7:30::";
    const EXPIRED: &str = ":19000:0:99999:7::19000:";
    const RESET: &str = ":0:0:99999:7:::";
    // Those of Debian, without and with pam_sss or pam_ldap, and those of RHEL.
    let debian = "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\n\
        account required pam_permit.so\n";
    let or_ldap = "account [success=2 new_authtok_reqd=done default=ignore] pam_unix.so\n\
        account [success=1 default=ignore] pam_ldap.so\naccount requisite pam_deny.so\naccount required pam_permit.so\n";
    let rhel =
        "account required pam_unix.so\naccount sufficient pam_localuser.so\naccount required pam_permit.so\n";
    let ages = "account [success=1 new_authtok_reqd=1 default=ignore] pam_unix.so\naccount requisite pam_deny.so\n\
        account required pam_permit.so\n";
    let with = |lines: &'static str, shadow: &'static str| {
        move |world: &World<'_>| {
            pam(world, "");
            world.instance.write("/etc/pam.d/sshd", format!("{lines}{}", PERMIT.replace("account", "#")));
            world.sh(&format!("sed -i 's,^alice:.*,alice:*{shadow},' /etc/shadow"));
        }
    };
    for (lines, shadow, id) in [
        (debian, AGED, "user.password"),
        (debian, EXPIRED, "user.expiry"),
        (rhel, RESET, "user.password"),
        ("account required pam_unix.so no_pass_expiry\n", EXPIRED, "user.expiry"),
        ("account [default=ok] pam_unix.so\n", AGED, "user.password"),
    ] {
        refuses(with(lines, shadow), id, "alice", "chage");
    }
    for (lines, shadow) in [
        ("account sufficient pam_localuser.so\naccount required pam_unix.so\n", AGED),
        ("account required pam_permit.so\n", EXPIRED),
        ("account required pam_unix.so no_pass_expiry\n", RESET),
        (ages, RESET),
    ] {
        lets_in(with(lines, shadow));
    }
    // Only the service knows.
    world(|world| {
        with(or_ldap, EXPIRED)(world);
        install(world, "pam_ldap.so");
        world.check().assert_exactly(&[("user.expiry", "warn")]);
    });
    let without_line = |lines: &'static str| {
        move |world: &World<'_>| {
            with(lines, RESET)(world);
            world.sh("sed -i /^alice:/d /etc/shadow; sed -i s,^alice:[^:]*,alice:x, /etc/passwd");
        }
    };
    refuses(without_line(rhel), "user.password", "alice has no entry in /etc/shadow", "pwconv");
    lets_in(without_line("account required pam_unix.so broken_shadow\n"));
}

/// PAM's files as authselect writes them on RHEL: the lines of sshd, password-auth and postlogin that are for an account or a session.
mod rhel {
    use super::{config, lets_in, refuses};
    use crate::world::World;

    const SSHD: &str = "#%PAM-1.0\nauth substack password-auth\nauth include postlogin\n\
        account required pam_sepermit.so\naccount required pam_nologin.so\naccount include password-auth\n\
        password include password-auth\n\
        session required pam_selinux.so close\nsession required pam_selinux.so open env_params\n\
        session required pam_namespace.so\nsession optional pam_keyinit.so force revoke\nsession optional pam_motd.so\n\
        session include password-auth\nsession include postlogin\n";
    const PASSWORD_AUTH: &str = "auth sufficient pam_sss.so forward_pass\nauth required pam_deny.so\n\n\
        account required pam_unix.so\naccount sufficient pam_localuser.so\naccount sufficient pam_usertype.so issystem\n\
        account [default=bad success=ok user_unknown=ignore] pam_sss.so\naccount required pam_permit.so\n\n\
        password required pam_deny.so\n\n\
        session optional pam_keyinit.so revoke\nsession required pam_limits.so\n-session optional pam_systemd.so\n\
        session [success=1 default=ignore] pam_succeed_if.so service in crond quiet use_uid\n\
        session required pam_unix.so\nsession optional pam_sss.so\n";
    const POSTLOGIN: &str = "session optional pam_umask.so silent\n\
        session [success=1 default=ignore] pam_succeed_if.so service !~ gdm* service !~ su* quiet\n\
        session [default=1] pam_lastlog.so nowtmp showfailed\nsession optional pam_lastlog.so silent noupdate showfailed\n";

    fn with(world: &World<'_>, password_auth: &str) {
        world.restart(&config().set("UsePAM", "yes").text());
        world.instance.write("/etc/pam.d/sshd", SSHD);
        world.instance.write("/etc/pam.d/postlogin", POSTLOGIN);
        world.instance.write("/etc/pam.d/password-auth", password_auth);
        let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
        if !shadow.lines().any(|line| line.starts_with("alice:")) {
            world.instance.write("/etc/shadow", format!("{shadow}alice:*:19000:0:99999:7:::\n"));
        }
    }

    #[test]
    fn files_as_they_are() {
        lets_in(|world| with(world, PASSWORD_AUTH));
        // authselect enable-feature with-pamaccess, with-faillock, with-mkhomedir
        let more = format!(
            "account required pam_access.so\naccount required pam_faillock.so\n{PASSWORD_AUTH}session optional pam_oddjob_mkhomedir.so\n"
        );
        lets_in(|world| with(world, &more));
        // RHEL 7
        let old = "account required pam_unix.so broken_shadow\naccount sufficient pam_localuser.so\n\
            account sufficient pam_succeed_if.so uid < 1000 quiet\naccount required pam_permit.so\n\
            session required pam_limits.so\nsession required pam_unix.so\n";
        lets_in(|world| with(world, old));
    }

    #[test]
    fn files_that_refuse() {
        for (file, says) in [
            ("password-auth", "PAM refuses the account: /etc/pam.d/sshd line 6: it includes password-auth"),
            ("postlogin", "PAM opens no session: /etc/pam.d/sshd line 14: it includes postlogin"),
        ] {
            let gone = |world: &World<'_>| {
                with(world, PASSWORD_AUTH);
                world.instance.remove(format!("/etc/pam.d/{file}"));
            };
            refuses(gone, "sshd.pam", says, "correct /etc/pam.d/sshd");
        }
        // sssd was removed, and local users are not exempt.
        let not_exempt = PASSWORD_AUTH.replace(
            "account sufficient pam_localuser.so\naccount sufficient pam_usertype.so issystem\n",
            "",
        );
        refuses(
            |world| with(world, &not_exempt),
            "sshd.pam",
            "PAM refuses the account: /etc/pam.d/password-auth line 5: the module pam_sss.so is not installed",
            "install the package",
        );
        refuses(
            |world| {
                with(world, &format!("account required pam_access.so\n{PASSWORD_AUTH}"));
                world.instance.write("/etc/security/access.conf", "+:root (wheel):ALL\n-:ALL:ALL\n");
            },
            "user.pam",
            "pam_access refuses, by /etc/security/access.conf line 2",
            "allow alice",
        );
        refuses(
            |world| {
                with(world, PASSWORD_AUTH);
                world.instance.write("/etc/security/limits.conf", "alice hard nofile 4\n");
            },
            "user.pam",
            "hard nofile 4",
            "/etc/security/limits.conf line 1",
        );
        // Only one group, as simple_allow_groups of sssd does.
        refuses(
            |world| {
                let line = "account required pam_succeed_if.so user ingroup wheel\n";
                with(world, &format!("{line}{PASSWORD_AUTH}"));
            },
            "user.pam",
            "user ingroup wheel",
            "pam_succeed_if",
        );
    }
}

/// Modules that are there, but cannot be loaded: a library of them is missing, the file is cut, or a directory.
#[test]
fn modules_that_cannot_be_loaded() {
    // The copy needs a library with another name.
    let copy = "f=$(find /usr/lib /usr/lib64 -path '*/security/pam_permit.so' | head -n 1)";
    for (script, says, fix) in [
        (
            "sed 's/libpam\\.so\\.0/libpaz.so.0/g' \"$f\" >/run/pam_own.so",
            "line 4: the module /run/pam_own.so cannot be loaded: ",
            "install the package of that file or library again",
        ),
        (
            "head -c 6000 \"$f\" >/run/pam_own.so",
            "sshd crashes when PAM loads the module /run/pam_own.so: /run/pam_own.so is damaged",
            "install the package of that file or library again",
        ),
        (
            "mkdir /run/pam_own.so",
            "the module /run/pam_own.so is a directory",
            "install the package that has",
        ),
    ] {
        refuses(
            |world| {
                pam(world, "session required /run/pam_own.so\n");
                world.sh(&format!("{copy}; {script}"));
            },
            "sshd.pam",
            says,
            fix,
        );
    }
    lets_in(|world| {
        pam(world, "session required /run/pam_own.so\nsession optional /run/pam_other.so\n");
        let other = "sed 's/libpam\\.so\\.0/libpaz.so.0/g' \"$f\" >/run/pam_other.so";
        world.sh(&format!("{copy}; cp \"$f\" /run/pam_own.so; {other}"));
    });
    // That crashes sshd although it is optional.
    refuses(
        |world| {
            pam(world, "auth optional /run/pam_own.so\n");
            world.sh(&format!("{copy}; head -c 6000 \"$f\" >/run/pam_own.so"));
        },
        "sshd.pam",
        "sshd crashes when PAM loads the module",
        "again",
    );
}

/// Lists that a module refuses because of what they are, and not of whom they have.
#[test]
fn lists_that_modules_do_not_take() {
    const LIST: &str =
        "account required pam_listfile.so onerr=fail item=user sense=allow file=/run/allowed\n";
    const SHELLS: &str = "account required pam_shells.so\n";
    for (line, script, says, fix) in [
        (LIST, "chmod o+w /run/allowed", "every user can write to /run/allowed", "chmod o-w /run/allowed"),
        (LIST, "mv /run/allowed /run/list; ln -s list /run/allowed", "no plain file", "replace /run/allowed"),
        (SHELLS, "chmod o+w /etc/shells", "every user can write to /etc/shells", "chmod o-w /etc/shells"),
        (
            SHELLS,
            "printf '/bin/sh\\r\\n' >/etc/shells",
            "a space or carriage return follows /bin/sh",
            "sed -i",
        ),
        (SHELLS, "echo '/bin/sh ' >/etc/shells", "a space or carriage return follows /bin/sh", "sed -i"),
    ] {
        let write = |world: &World<'_>| {
            pam(world, line);
            world.instance.write("/run/allowed", "alice\n");
            world.instance.write("/etc/shells", "/bin/sh\n");
        };
        refuses(
            |world| {
                write(world);
                world.sh(script);
            },
            "user.pam",
            says,
            fix,
        );
        lets_in(write);
    }
}

/// A second factor that nobody can give: the user has no password.
#[test]
fn a_password_that_does_not_exist() {
    const DEBIAN: &str = "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\n\
        auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n";
    world(|world| {
        let methods = "publickey,keyboard-interactive";
        let asks = config().set("UsePAM", "yes").set("KbdInteractiveAuthentication", "yes");
        world.restart(&asks.set("AuthenticationMethods", methods).text());
        let needs = &[("user.password", "fail"), ("sshd.methods", "warn")];
        let given = &[("sshd.methods", "warn")];
        for (lines, hash, expected) in [
            (DEBIAN.to_owned(), "*", &needs[..]),
            (DEBIAN.to_owned(), "!$6$a$b", needs),
            (DEBIAN.to_owned(), "$6$a$b", given),
            (PERMIT.to_owned(), "*", given),
            (DEBIAN.replace("auth requisite", "auth sufficient pam_ldap.so\nauth requisite"), "*", given),
        ] {
            world.instance.write("/etc/pam.d/sshd", &lines);
            install(world, "pam_ldap.so");
            world.sh(&format!("sed -i 's,^alice:[^:]*,alice:{hash},' /etc/shadow"));
            let report = world.check();
            report.assert_exactly(expected);
            let says = "requires PAM, whose auth lines require a password, and alice has none";
            assert!(expected == given || report.note("user.password").ends_with(says));
        }
    });
}
