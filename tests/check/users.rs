//! Users and groups: their lines, shells, passwords and home directories.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::world::{USER, World, account, broken, config, world};

#[test]
fn no_such_user() {
    world(|world| {
        let report = world.check_with(&["nobody-here"]);
        report.assert_exactly(&[("user.account", "fail"), ("keys.pushed", "skip")]);
        // Most often, the name is a mistake of the one who pushes the key.
        world.instance.write(
            "/etc/passwd",
            "root:x:0:0::/root:/bin/sh\nsync:x:4:65534::/bin:/bin/sync\nalice:x:47101:47101::/run/home/alice:/bin/sh\n\
             nobody:x:65534:65534::/:/bin/sh\nbot:x:1001:1001::/:/usr/sbin/nologin\n",
        );
        let report = world.check_with(&["nobody-here"]);
        let fix = "log in, and push the key, as a user that exists (alice), or create nobody-here: useradd --create-home --shell \
                   /bin/bash nobody-here";
        assert_eq!(report.of("user.account")["fix"], fix);
        assert_eq!(report.of("user.account")["fix_kind"], "advice");
        // As a person types or copies it.
        for name in ["Alice", "alice."] {
            let report = world.check_with(&[name]);
            let note = format!("there is no user {name} on this system, but alice");
            assert_eq!(report.note("user.account"), note);
            assert_eq!(report.of("user.account")["fix_kind"], "advice");
        }
    });
}

/// A local user would hide the one of the directory.
#[test]
fn a_user_of_a_directory_is_not_created() {
    let (sss, files) = ("passwd: files sss\n", "passwd: files\n");
    let sssd = "/etc/sssd/sssd.conf";
    for (switch, config, state, says, fix) in [
        (sss, sssd, "failed", "asks sss, and sssd.service is failed", "see systemctl status sssd"),
        (sss, sssd, "inactive", "asks sss, and sssd.service is inactive", "see systemctl status sssd"),
        (sss, sssd, "active", "SSSD, which the passwd line", "getent -s sss passwd carol"),
        (
            files,
            sssd,
            "active",
            "but the passwd line of /etc/nsswitch.conf is \"files\", without sss",
            "add sss to that line",
        ),
        (
            "passwd: files ldap\n",
            "/etc/nslcd.conf",
            "",
            "ldap, which the passwd line",
            "getent -s ldap passwd carol",
        ),
        (
            "passwd: files winbind\n",
            "/etc/samba/smb.conf",
            "",
            "winbind, which the passwd line",
            "getent -s winbind",
        ),
        // The default line of a distribution, without a directory.
        (sss, "/etc/other", "inactive", "there is no user carol on this system", "useradd"),
        (files, "/etc/samba/smb.conf", "", "there is no user carol on this system", "useradd"),
    ] {
        world(|world| {
            world.instance.write("/etc/nsswitch.conf", switch);
            world.instance.write(config, "");
            let systemctl = format!("#!/bin/sh\n[ \"$*\" != 'is-active sssd.service' ] || echo {state}\n");
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            let report = world.check_with(&["carol"]);
            let check = report.of("user.account");
            assert!(check["note"].as_str().unwrap().contains(says), "{check}");
            let words = check["fix"].as_str().unwrap();
            assert!(words.contains(fix) && words.contains("useradd") == (fix == "useradd"), "{check}");
        });
    }
}

#[test]
fn a_line_of_passwd_that_an_editor_damaged() {
    for (change, what, fix) in [
        ("s/^alice:/alice\\t:/", "has white space beside the name", "remove it"),
        (
            "/^alice:/{s/^/bert:x:1900:1900::\\/:\\/bin\\/sh/}",
            "has two users, without a line break",
            "divide it",
        ),
    ] {
        world(|world| {
            world.sh(&format!("sed -i '{change}' /etc/passwd"));
            let report = world.check();
            let check = report.of("user.account");
            let note = check["note"].as_str().unwrap();
            assert!(note.contains(": /etc/passwd line ") && note.ends_with(what), "{check}");
            assert_eq!(check["fix"], format!("{fix}: vipw"));
        });
    }
}

/// The user is there, but no name service reads the file.
#[test]
fn a_name_service_without_files() {
    for (passwd, says, fix) in [
        (
            "foo [SUCCESS=return] bar",
            "the passwd line of /etc/nsswitch.conf is \"foo [SUCCESS=return] bar\"",
            "put files before",
        ),
        ("files", "the name service does not find that user", "pwck"),
        (
            "foo [!SUCCESS=return] files",
            "the passwd line of /etc/nsswitch.conf is \"foo [!SUCCESS=",
            "put files",
        ),
        ("foo [SUCCESS=return] files # [NOTFOUND=return]", "the name service does not find", "pwck"),
        ("compat", "/etc/passwd line 1, -alice, excludes alice", "remove line 1 of /etc/passwd"),
    ] {
        world(|world| {
            // Blanks before the colon are allowed.
            world.instance.write("/etc/nsswitch.conf", format!("passwd : {passwd}\ngroup: files\n"));
            if passwd == "compat" {
                world.sh("sed -i '1i -alice' /etc/passwd");
            } else if !fix.starts_with("put") {
                account("/etc/passwd", "alice:x:", "alice:x:x");
            }
            let report = world.check();
            assert_eq!(report.status("user.account"), "fail");
            assert!(report.note("user.account").contains(says), "{}", report.note("user.account"));
            let printed = report.of("user.account")["fix"].as_str().unwrap();
            assert!(printed.contains(fix) && !printed.contains("useradd"), "{printed}");
        });
    }
}

/// A line of /etc/passwd that is gone: the group and the home directory are used again.
#[test]
fn a_removed_passwd_line() {
    world(|world| {
        world.instance.namespace().cover("/home");
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let others =
            passwd.lines().filter(|line| !line.starts_with("alice:")).map(|line| format!("{line}\n"));
        fs::write("/etc/passwd", others.collect::<String>()).unwrap();
        let report = world.check();
        assert_eq!(
            report.of("user.account")["fix"],
            "useradd --create-home --shell /bin/bash --gid alice alice"
        );
        fs::create_dir_all("/home/alice").unwrap();
        chown("/home/alice", Some(47_101), None).unwrap();
        let report = world.check();
        assert_eq!(
            report.of("user.account")["fix"],
            "useradd --create-home --shell /bin/bash --uid 47101 --gid alice alice"
        );
        world.apply(&report, "user.account");
        // useradd locks the password. Without PAM, sshd refuses that.
        let report = world.check();
        report.assert_exactly(&[("user.expiry", "fail")]);
        world.apply(&report, "user.expiry");
        world.check().assert_healthy();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
    });
}

/// A command that creates the user would begin a new file, with that user alone.
#[test]
fn a_file_of_users_that_is_lost() {
    world(|world| {
        let text = fs::read("/etc/passwd").unwrap();
        world.instance.write("/etc/passwd-", &text);
        // Without the file, a service that creates a user begins a new one.
        for (break_it, what) in [
            ("rm /etc/passwd", "does not exist"),
            (": >/etc/passwd", "has no line of root"),
            ("grep ^eic-keys: /etc/passwd- >/etc/passwd", "has no line of root"),
        ] {
            world.sh(break_it);
            let report = world.check();
            let note = format!("there is no user alice on this system: /etc/passwd {what}");
            assert_eq!(report.note("user.account"), note);
            let fix = report.of("user.account");
            assert_eq!(fix["fix_kind"], "advice");
            let begins = "restore /etc/passwd from a backup (/etc/passwd- is one), before";
            assert!(fix["fix"].as_str().unwrap().starts_with(begins), "{fix}");
            let others = report.document["checks"].as_array().unwrap();
            assert!(!others.iter().any(|one| one["fix"].as_str().unwrap_or_default().contains("useradd")));
            fs::write("/etc/passwd", &text).unwrap();
        }
        world.check().assert_healthy();
    });
}

#[test]
fn an_expired_or_locked_account() {
    broken(|_| account("/etc/shadow", ":7:::", ":7::19000:"), &[("user.expiry", "fail")], "expired");
    broken(|_| account("/etc/shadow", ":*:", ":!:"), &[("user.expiry", "fail")], "locked");
    broken(
        |_| account("/etc/shadow", ":7:::", ":7::1:"),
        &[("user.expiry", "fail")],
        "alice is locked: it expired in 1970",
    );
    // A lock that was left, with the number of a process that does not change accounts.
    world(|world| {
        account("/etc/shadow", ":7:::", ":7::19000:");
        world.instance.write("/etc/passwd.lock", "1\0");
        world.instance.write("/etc/shadow.lock", "1\n");
        let report = world.check();
        let fix = report.of("user.expiry")["fix"].as_str().unwrap();
        assert!(
            fix.starts_with("rm -f /etc/passwd.lock /etc/shadow.lock && chage --expiredate -1 "),
            "{fix}"
        );
        world.apply(&report, "user.expiry");
        world.check().assert_healthy();
    });
}

/// A byte of another user's line is not UTF-8.
#[test]
fn a_line_of_passwd_in_an_old_encoding() {
    world(|world| {
        let text = fs::read("/etc/passwd").unwrap();
        let other = b"bob:x:47555:47555:Bob M\xfcller:/:/bin/sh\n";
        world.instance.write("/etc/passwd", [other.as_slice(), &text].concat());
        account("/etc/shadow", ":7:::", ":7::100:");
        let report = world.check();
        report.assert_exactly(&[("user.expiry", "fail")]);
        world.apply(&report, "user.expiry");
        world.check().assert_healthy();
    });
}

/// The account is valid on its last day.
#[test]
fn the_last_day_of_an_account() {
    world(|world| {
        let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86400;
        account("/etc/shadow", ":7:::", &format!(":7::{day}:"));
        world.check().assert_healthy();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.configure(&config().set("UsePAM", "yes").text());
        world.check().assert_exactly(&[("user.expiry", "warn")]);
        account("/etc/shadow", &format!(":7::{day}:"), &format!(":7::{}:", day - 1));
        world.check().assert_exactly(&[("user.expiry", "fail")]);
    });
}

/// `pam_unix` checks the age of a password at each login, also with a key.
#[test]
fn passwords_that_pam_refuses() {
    let refused = &[("user.password", "fail")];
    broken(
        |world| {
            world.configure(&config().set("UsePAM", "yes").text());
            let switch = fs::read_to_string("/etc/nsswitch.conf").unwrap();
            let others =
                switch.lines().filter(|line| !line.starts_with("shadow:")).map(|line| format!("{line}\n"));
            fs::write("/etc/nsswitch.conf", format!("{}shadow: db\n", others.collect::<String>())).unwrap();
        },
        refused,
        "/etc/shadow has a line of alice, but the name service does not find it",
    );
    // A short line, one without an end, and no file.
    for (script, says) in [
        ("sed -i s,^alice:.*,alice:!, /etc/shadow", "but the name service does not find it"),
        ("sed -i 's,^alice:.*,alice:*:19000:x:99999:7:::,' /etc/shadow", "/etc/shadow has a line of alice"),
        ("rm /etc/shadow", "/etc/shadow does not exist: PAM refuses the account of alice"),
    ] {
        broken(
            |world| {
                world.configure(&config().set("UsePAM", "yes").text());
                world.sh(script);
            },
            refused,
            says,
        );
    }
    let shadow = |from: &'static str, to: &'static str| {
        move |world: &World<'_>| {
            world.configure(&config().set("UsePAM", "yes").text());
            account("/etc/shadow", from, to);
        }
    };
    broken(shadow(":19000:0:99999:7:::", ":0:0:99999:7:::"), refused, "has to change the password");
    broken(shadow(":99999:7:::", ":90:7:::"), refused, "expired: PAM asks for a new one");
    broken(
        shadow(":99999:7:::", ":90:7:30::"),
        refused,
        "was not changed in 30 days: PAM refuses the account",
    );
    broken(
        |world| {
            world.configure(&config().set("UsePAM", "yes").text());
            let shadow = fs::read_to_string("/etc/shadow").unwrap();
            let others =
                shadow.lines().filter(|line| !line.starts_with("alice:")).map(|line| format!("{line}\n"));
            fs::write("/etc/shadow", others.collect::<String>()).unwrap();
        },
        refused,
        "has no entry in /etc/shadow",
    );
    world(|world| {
        // Without PAM, and with a locked password under PAM, a key is enough.
        account("/etc/shadow", ":19000:0:99999:", ":0:0:90:");
        world.check().assert_healthy();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        account("/etc/shadow", ":*:0:0:90:", ":!*:19000:0:99999:");
        world.configure(&config().set("UsePAM", "yes").text());
        world.check().assert_healthy();
    });
}

#[test]
fn nologin_files() {
    broken(|world| world.instance.write("/etc/nologin", ""), &[("user.nologin", "fail")], "/etc/nologin");
    let shutdown = |world: &World<'_>| {
        world.instance.write("/run/nologin", "System is going down.\n");
        world.instance.write("/run/systemd/shutdown/scheduled", "");
        world.configure(&config().set("UsePAM", "yes").text());
    };
    world(|world| {
        shutdown(world);
        let report = world.check();
        report.assert_exactly(&[("user.nologin", "fail")]);
        assert!(report.note("user.nologin").ends_with("; it says: System is going down."));
        assert_eq!(report.of("user.nologin")["fix"], "shutdown -c");
    });
    // pam_nologin looks for this one.
    world(|world| {
        world.instance.write("/run/nologin", "");
        world.check().assert_healthy();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.configure(&config().set("UsePAM", "yes").text());
        let report = world.check();
        report.assert_exactly(&[("user.nologin", "fail")]);
        world.apply(&report, "user.nologin");
        world.check().assert_healthy();
    });
    world(|world| {
        world.instance.write("/etc/nologin", "");
        assert_eq!(world.check_with(&["root"]).status("user.nologin"), "ok");
    });
    // Whatever it is, sshd looks only whether it exists.
    for make in [
        "mkdir /etc/nologin",
        "mkfifo /etc/nologin",
        "ln -s /etc /etc/nologin",
        "ln -s /dev/null /etc/nologin",
    ] {
        broken(|world| world.sh(make), &[("user.nologin", "fail")], "/etc/nologin exists");
    }
    // The module looks for this one only.
    world(|world| {
        world.configure(&config().set("UsePAM", "yes").text());
        let service = fs::read_to_string("/etc/pam.d/sshd").unwrap();
        let module = "account required pam_nologin.so file=/etc/maintenance\n";
        let others = service.lines().filter(|line| !line.contains("pam_nologin.so"));
        let text = others.fold(String::new(), |text, line| text + line + "\n");
        world.instance.write("/etc/pam.d/sshd", format!("{module}{text}"));
        world.instance.write("/run/nologin", "");
        world.check().assert_healthy();
        world.instance.write("/etc/maintenance", "");
        let report = world.check();
        report.assert_exactly(&[("user.nologin", "fail")]);
        assert!(report.note("user.nologin").starts_with("/etc/maintenance exists"));
        world.apply(&report, "user.nologin");
        world.check().assert_healthy();
    });
}

/// What the module returns can be ignored.
#[test]
fn a_nologin_file_that_pam_ignores() {
    for (control, works) in
        [("[default=ignore]", true), ("optional", true), ("[success=ok ignore=ignore default=bad]", false)]
    {
        world(|world| {
            world.configure(&config().set("UsePAM", "yes").text());
            let service = fs::read_to_string("/etc/pam.d/sshd").unwrap();
            let others = service.lines().filter(|line| !line.contains("pam_nologin.so"));
            let text = others.fold(String::new(), |text, line| text + line + "\n");
            let module = format!("account {control} pam_nologin.so\n");
            world.instance.write("/etc/pam.d/sshd", format!("{module}{text}"));
            world.instance.write("/etc/nologin", "");
            let report = world.check();
            if works {
                report.assert_healthy();
            } else {
                report.assert_exactly(&[("user.nologin", "fail")]);
            }
        });
    }
}

#[test]
fn a_shell_that_refuses_logins() {
    for (shell, says) in [
        ("/usr/sbin/nologin", "does not allow logins"),
        ("/bin/false", "does not allow logins"),
        ("/bin/cat", "the login shell is /bin/cat, which is no shell"),
        ("/bin/none", "the login shell /bin/none does not exist: sshd"),
        ("/etc/passwd", "the login shell /etc/passwd is not a program: sshd"),
    ] {
        broken(|_| account("/etc/passwd", "/bin/sh", shell), &[("user.shell", "fail")], says);
    }
    // As after the removal of a package that has several.
    broken(
        |_| {
            symlink("/etc/alternatives/zsh", "/usr/bin/zsh").unwrap();
            symlink("/bin/zsh5", "/etc/alternatives/zsh").unwrap();
            account("/etc/passwd", "/bin/sh", "/usr/bin/zsh");
        },
        &[("user.shell", "fail")],
        "the login shell /usr/bin/zsh is a symbolic link to /usr/bin/zsh5, which does not exist: sshd",
    );
}

/// A variable of each session leads the shell to libraries that it cannot use.
#[test]
fn libraries_of_an_agent() {
    let env = "account required pam_permit.so\nsession required pam_env.so\nsession required pam_permit.so\n";
    let set = "LD_LIBRARY_PATH=/run/agent";
    let sshd = |world: &World<'_>| world.restart(&config().set("SetEnv", set).text());
    let pam = |world: &World<'_>| {
        world.restart(&config().set("UsePAM", "yes").text());
        world.instance.write("/etc/pam.d/sshd", env);
        world.instance.write("/etc/environment", format!("{set}\n"));
    };
    for (by, says) in [
        (&sshd as &dyn Fn(&World<'_>), "with LD_LIBRARY_PATH=/run/agent of SetEnv of sshd: "),
        (&pam, "with LD_LIBRARY_PATH=/run/agent of /etc/environment: "),
    ] {
        world(|world| {
            by(world);
            world.sh("mkdir /run/agent");
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            world.check().assert_healthy();
            world.sh(": >/run/agent/libc.so.6");
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            let report = world.check();
            report.assert_exactly(&[("user.shell", "fail")]);
            let note = report.note("user.shell");
            assert!(note.contains(says) && note.contains("libc.so.6: file too short"), "{note}");
            assert!(report.of("user.shell")["fix"].as_str().unwrap().starts_with("remove LD_LIBRARY_PATH"));
        });
    }
}

/// `pam_env` does not replace a variable in /etc/environment.
#[test]
fn a_path_without_the_usual_programs() {
    for (pam, line, works) in [
        ("yes", "export PATH=\"$PATH:/opt/app/bin\" # ours", false),
        ("no", "PATH=$PATH:/opt/app/bin", true),
        ("yes", "PATH=/opt/app/bin\nPATH=\"/usr/local/bin:/usr/bin/:$HOME/bin\"", true),
    ] {
        world(|world| {
            world.restart(&config().set("UsePAM", pam).text());
            let stack = "account required pam_permit.so\nsession required pam_env.so\n";
            world.instance.write("/etc/pam.d/sshd", stack);
            world.instance.write("/etc/environment", format!("{line}\n"));
            assert_eq!(world.sshd.ssh(USER, &world.key, "ls /").status == Some(0), works, "{line}");
            let report = world.check();
            if works {
                report.assert_healthy();
            } else {
                report.assert_exactly(&[("user.shell", "warn")]);
                let says =
                    "does not find the usual programs: PATH is $PATH:/opt/app/bin, by /etc/environment";
                assert!(report.note("user.shell").ends_with(says), "{}", report.note("user.shell"));
            }
        });
    }
}

/// A shell for git: on a terminal it only says so.
#[test]
fn a_shell_for_some_commands() {
    let shell = |world: &World<'_>| {
        account("/etc/passwd", "/bin/sh", "/usr/bin/git-shell");
        world.instance.install("/usr/bin/git-shell", b"#!/bin/sh\nexit 128\n");
    };
    broken(shell, &[("user.shell", "warn")], "/usr/bin/git-shell, which runs only some commands");
    world(|world| {
        shell(world);
        world.sh("mkdir /run/home/alice/git-shell-commands");
        world.check().assert_healthy();
    });
}

/// A session starts in /, as without a home directory.
#[test]
fn a_home_that_the_user_cannot_enter() {
    for script in ["chown root: /run/home/alice; chmod 0700 /run/home/alice", "chmod 0700 /run/home"] {
        let says = "alice cannot enter the home directory /run/home/alice: a session starts in /";
        broken(|world| world.sh(script), &[("user.home", "warn")], says);
    }
    world(|world| {
        world.sh("chmod 0711 /run/home; chmod 0700 /run/home/alice");
        world.check().assert_healthy();
    });
}

/// No tool can write there.
#[test]
fn a_read_only_etc() {
    world(|world| {
        account("/etc/shadow", ":7:::", ":7::19000:");
        world.sh("mount --bind /etc /etc; mount -o remount,bind,ro /etc");
        let report = world.check();
        report.assert_exactly(&[("user.expiry", "fail")]);
        let fix = report.of("user.expiry")["fix"].as_str().unwrap();
        assert!(
            fix.starts_with("/etc is mounted read-only: make the change in the image, or mount it"),
            "{fix}"
        );
        assert_eq!(report.of("user.expiry")["fix_kind"], "advice");
        world.sh("mount -o remount,bind,rw /etc");
        assert_eq!(world.check().of("user.expiry")["fix"], "chage --expiredate -1 alice");
    });
}

/// Its file can be executed, and it does not start.
#[test]
fn a_shell_that_does_not_start() {
    let shell = &[("user.shell", "fail")];
    // A library that is not there, in a copy of a shell that needs one.
    world(|world| {
        let bytes = fs::read("/bin/bash").unwrap();
        let (name, other) = (b"libtinfo.so.6", b"libtinfo.so.9");
        let Some(at) = bytes.windows(name.len()).position(|part| part == name) else { return };
        let bytes = [&bytes[..at], other, &bytes[at + name.len()..]].concat();
        world.instance.install("/usr/bin/eic-lab-shell", &bytes);
        account("/etc/passwd", "/bin/sh", "/usr/bin/eic-lab-shell");
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        report.assert_exactly(shell);
        let note = report.note("user.shell");
        assert!(note.contains("libtinfo.so.9"), "{note}");
        world.apply(&report, "user.shell");
        world.check().assert_healthy();
    });
    // The system's own, whose mode keeps others out.
    world(|world| {
        world.instance.install("/usr/bin/eic-lab-shell", &fs::read("/bin/sh").unwrap());
        fs::set_permissions("/usr/bin/eic-lab-shell", Permissions::from_mode(0o700)).unwrap();
        account("/etc/passwd", "/bin/sh", "/usr/bin/eic-lab-shell");
        let report = world.check();
        report.assert_exactly(shell);
        assert_eq!(report.of("user.shell")["fix"], "chmod 0755 /usr/bin/eic-lab-shell");
        world.apply(&report, "user.shell");
        world.check().assert_healthy();
    });
    // It is not run.
    world(|world| {
        world.instance.install("/usr/bin/eic-lab-shell", b"#!/bin/sh\n: >/tmp/eic-lab-shell-ran\n");
        account("/etc/passwd", "/bin/sh", "/usr/bin/eic-lab-shell");
        world.check().assert_healthy();
        assert!(!Path::new("/tmp/eic-lab-shell-ran").exists());
    });
}

/// What keeps alice from every shell is named, and another shell is no fix.
#[test]
fn what_every_shell_needs() {
    for (script, fix) in [
        ("chmod 0700 $(readlink -f /lib64/ld-linux-x86-64.so.2)", "chmod 0755 /usr/lib/"),
        ("chmod 0750 /usr/lib", "chmod 0755 /usr/lib"),
    ] {
        world(|world| {
            // It has a library besides that of C.
            account("/etc/passwd", "/bin/sh", "/bin/bash");
            world.sh(script);
            let report = world.check();
            assert_eq!(report.status("user.shell"), "fail", "{script}");
            let printed = report.of("user.shell")["fix"].as_str().unwrap();
            assert!(printed.starts_with(fix), "{script}: {printed}");
            world.apply(&report, "user.shell");
            world.check().assert_healthy();
        });
    }
    // A directory of another user.
    world(|world| {
        account("/etc/passwd", "/bin/sh", "/bin/bash");
        world.sh("chmod 0750 /usr/lib");
        chown("/usr/lib", Some(47_199), Some(47_199)).unwrap();
        let report = world.check();
        assert_eq!(report.status("user.shell"), "fail");
        let fix = report.of("user.shell")["fix"].as_str().unwrap();
        assert!(fix.starts_with("make root the owner of /usr/lib, with mode 0755, and find out"), "{fix}");
        chown("/usr/lib", Some(0), Some(0)).unwrap();
        world.sh("chmod 0755 /usr/lib");
        world.check().assert_healthy();
    });
    // There is no other shell.
    world(|world| {
        account("/etc/passwd", "/bin/sh", "/usr/bin/eic-lab-shell");
        world.instance.install("/usr/bin/eic-lab-shell", b"#!/bin/none\n");
        world.instance.install("/usr/bin/bash", b"#!/bin/none\n");
        let fix = |world: &World<'_>| world.check().of("user.shell")["fix"].as_str().unwrap().to_owned();
        assert_eq!(fix(world), "usermod --shell /bin/sh alice");
        fs::remove_file("/usr/bin/bash").unwrap();
        assert_eq!(fix(world), "usermod --shell /bin/sh alice");
    });
}

/// The tool that runs the command here, which a login does not need.
#[test]
fn env_that_the_user_cannot_run() {
    world(|world| {
        fs::set_permissions("/usr/bin/env", Permissions::from_mode(0o750)).unwrap();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        assert_eq!(report.status("login.command"), "skip", "{:#}", report.of("login.command"));
        assert!(report.note("login.command").ends_with(" cannot run env"));
        assert_eq!(report.outcome.status, Some(0));
    });
}

/// It exists, some user may execute it, and alice cannot.
#[test]
fn a_shell_that_cannot_be_run() {
    for (text, mode, says) in [
        ("#!/bin/sh\nexec /bin/sh \"$@\"\n", 0o700, "the mode or an ACL"),
        ("#!/bin/none\n", 0o755, "the program of its first line, /bin/none, does not exist"),
        ("#!/bin/sh\r\n", 0o755, "/bin/sh, does not exist; its lines end with CR LF"),
        ("#!/etc/passwd\n", 0o755, "it runs /etc/passwd, and the mode"),
    ] {
        world(|world| {
            world.instance.write("/usr/bin/eic-lab-shell", text);
            fs::set_permissions("/usr/bin/eic-lab-shell", Permissions::from_mode(mode)).unwrap();
            account("/etc/passwd", "/bin/sh", "/usr/bin/eic-lab-shell");
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{text}");
            let report = world.check();
            report.assert_exactly(&[("user.shell", "fail")]);
            let note = report.note("user.shell");
            assert!(
                note.starts_with("alice cannot run the login shell /usr/bin/eic-lab-shell: ")
                    && note.contains(says),
                "{note}"
            );
            let report = world.check_with(&[USER, "--rehearse"]);
            let fix = report.of("login.rehearsal")["fix"].as_str().unwrap();
            assert!(
                report.note("login.rehearsal").contains(": /usr/bin/eic-lab-shell: ")
                    && fix.starts_with("the login shell cannot be run"),
                "{:#}",
                report.of("login.rehearsal")
            );
            world.apply(&report, "user.shell");
            world.check().assert_healthy();
        });
    }
    // Without #! the kernel runs it only if it is told how.
    world(|world| {
        world.instance.install("/usr/bin/eic-lab-shell", b"\x01garbage");
        account("/etc/passwd", "/bin/sh", "/usr/bin/eic-lab-shell");
        if fs::read_dir("/proc/sys/fs/binfmt_misc").is_ok_and(|files| files.count() > 2) {
            return;
        }
        world.check().assert_exactly(&[("user.shell", "fail")]);
    });
    // A script is a shell like any other.
    world(|world| {
        world.instance.install("/usr/bin/eic-lab-shell", b"#! /bin/sh -e\nexec /bin/sh \"$@\"\n");
        account("/etc/passwd", "/bin/sh", "/usr/bin/eic-lab-shell");
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check_with(&[USER, "--rehearse"]).assert_healthy();
    });
}

/// This number means no user: sshd cannot become it.
#[test]
fn a_uid_that_is_not_valid() {
    world(|world| {
        let uid = fs::read_to_string("/etc/passwd").unwrap();
        let uid = uid
            .lines()
            .find(|line| line.starts_with("alice:"))
            .unwrap()
            .split(':')
            .nth(2)
            .unwrap()
            .to_owned();
        account("/etc/passwd", &format!(":{uid}:"), ":4294967295:");
        let report = world.check();
        report.assert_exactly(&[("user.account", "fail")]);
        assert!(
            report.note("user.account").ends_with("4294967295 is not valid"),
            "{}",
            report.note("user.account")
        );
    });
}

/// A file from another system: the carriage return belongs to the shell.
#[test]
fn a_carriage_return_after_the_shell() {
    world(|world| {
        account("/etc/passwd", "/bin/sh", "/bin/sh\r");
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        report.assert_exactly(&[("user.shell", "fail")]);
        assert!(
            report.note("user.shell").contains("/bin/sh\\r does not exist"),
            "{}",
            report.note("user.shell")
        );
    });
}

/// usermod refuses to change one of two lines.
#[test]
fn two_lines_of_a_user() {
    world(|world| {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let line = passwd.lines().find(|line| line.starts_with("alice:")).unwrap();
        let first = line.replace("/bin/sh", "/usr/sbin/nologin");
        fs::write("/etc/passwd", format!("{first}\n{passwd}")).unwrap();
        let report = world.check();
        assert_eq!(report.status("user.shell"), "fail");
        let fix = report.of("user.shell")["fix"].as_str().unwrap();
        assert!(
            fix.starts_with("/etc/passwd has several lines of alice, of which the first counts"),
            "{fix}"
        );
    });
}

#[test]
fn a_home_that_strict_modes_refuses() {
    let home = "/run/home/alice";
    let mode = |path: String, mode| {
        move |_: &World<'_>| {
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
    };
    // Pushed keys do not depend on it: the report has the fix, and no warning.
    let remark = |by: &dyn Fn(&World<'_>), says: &str| {
        world(|world| {
            by(world);
            let report = world.check();
            report.assert_healthy();
            assert!(report.note("user.home").contains(says), "{}", report.note("user.home"));
            assert!(report.of("user.home")["fix"].is_string());
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        });
    };
    remark(
        &mode(home.to_owned(), 0o777),
        "can write to /run/home/alice: StrictModes refuses authorized_keys",
    );
    remark(&mode(format!("{home}/.ssh"), 0o775), "can write to /run/home/alice/.ssh:");
    remark(
        &|_| chown(home, Some(47_102), None).unwrap(),
        "is owned by bob (uid 47102), not by alice or root",
    );
    broken(
        |_| fs::remove_dir_all(home).unwrap(),
        &[("user.home", "warn")],
        "does not exist: a session starts in /",
    );
    broken(
        |_| {
            fs::remove_dir_all(home).unwrap();
            fs::write(home, "").unwrap();
        },
        &[("user.home", "warn")],
        "is not a directory: a session starts in /",
    );
    world(|world| {
        fs::create_dir_all(format!("{home}/.ssh")).unwrap();
        let report = world.check();
        assert_eq!(report.note("user.home"), "StrictModes accepts /run/home/alice");
        fs::remove_dir_all(home).unwrap();
        let session = fs::read_to_string("/etc/pam.d/sshd").unwrap();
        world.instance.write("/etc/pam.d/sshd", format!("{session}session optional pam_mkhomedir.so\n"));
        world.check().assert_healthy();
    });
    world(|world| {
        fs::set_permissions(home, Permissions::from_mode(0o777)).unwrap();
        world.configure(&config().set("StrictModes", "no").text());
        world.check().assert_healthy();
    });
}

/// The user's line is in /etc/passwd, but sshd asks each name service for the groups.
#[test]
fn groups_that_no_name_service_tells() {
    world(|world| {
        world
            .instance
            .write("/etc/nsswitch.conf", "passwd: files ldap # x\ngroup: files ldap\nhosts: files\n");
        world.instance.install("/usr/bin/id", b"#!/bin/sh\nexec sleep 60\n");
        let report = world.check_in_time();
        let words = format!("the groups of {USER} cannot be looked up: id -G {USER}: no answer in 2 s");
        assert_eq!(report.note("user.account"), words);
        assert_eq!(report.status("user.account"), "fail");
        let fix = report.of("user.account")["fix"].as_str().unwrap();
        assert!(fix.contains("(passwd: files ldap; group: files ldap) does not answer"), "{fix}");
        let mut failed = report.document["checks"].as_array().unwrap().iter();
        assert!(failed.all(|check| check["status"] != "fail" || check["id"] == "user.account"));
        assert_eq!(report.note("login.rehearsal"), "--rehearse was not given");
    });
}
