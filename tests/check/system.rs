//! The user, the daemon, the installation, what confines us, and the log.
use crate::world::{PID_FILE, Report, TRUST_STORE, USER, World, broken, config, world};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Changes alice's line of a file of /etc.
fn account(file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with("alice:")).unwrap();
    assert!(line.contains(from), "{line}");
    fs::write(file, text.replace(line, &line.replace(from, to))).unwrap();
}

#[test]
fn no_such_user() {
    world(|world| {
        let report = world.check_with(&["nobody-here"]);
        report.assert_exactly(&[("user.account", "fail"), ("keys.pushed", "skip")]);
        assert_eq!(report.of("user.account")["fix"], "useradd --create-home --shell /bin/bash nobody-here");
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
            world.instance.write("/etc/nsswitch.conf", format!("passwd: {passwd}\ngroup: files\n"));
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

/// The program runs as its owner, which a login survives.
#[test]
fn a_program_with_the_setuid_bit() {
    world(|world| {
        fs::set_permissions("/usr/bin/eic-keys", Permissions::from_mode(0o4755)).unwrap();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check_in_time();
        report.assert_exactly(&[("metadata.command_user", "warn")]);
        assert!(report.note("metadata.command_user").contains("has the setuid bit"));
        world.apply(&report, "metadata.command_user");
        world.check().assert_healthy();
    });
}

/// Another copy of eic-keys checks a program that is not eic-keys any more.
#[test]
fn another_file_in_place_of_the_program() {
    for content in ["#!/bin/sh\nexit 0\n", ""] {
        world(|world| {
            let program = fs::read("/usr/bin/eic-keys").unwrap();
            world.instance.install("/usr/sbin/eic-keys", &program);
            world.instance.install("/usr/bin/eic-keys", content.as_bytes());
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            let check = || {
                let outcome =
                    world.instance.command(["--check", "--json", USER]).program("/usr/sbin/eic-keys");
                crate::schema::read(&outcome.as_root().run().stdout)
            };
            let of = |document: &serde_json::Value, id: &str| {
                document["checks"].as_array().unwrap().iter().find(|check| check["id"] == id).unwrap().clone()
            };
            let document = check();
            let found = of(&document, "login.command");
            assert_eq!(found["status"], "fail", "{found:#}");
            assert_eq!(found["note"], "/usr/bin/eic-keys is not eic-keys: --version does not print its name");
            assert_eq!(of(&document, "install.aws")["status"], "ok");
            world.instance.install("/usr/bin/eic-keys", &program);
            assert_eq!(of(&check(), "login.command")["status"], "ok");
        });
    }
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

const HOME: &str = "/run/home/alice";

/// Has alice make something, as herself.
fn alice_does(world: &World<'_>, script: &str) {
    let words = ["--reuid", "47101", "--regid", "47101", "--clear-groups", "/bin/sh", "-ec", script];
    let done = world.instance.command(words).program("/usr/bin/setpriv").as_root().run();
    assert_eq!(done.status, Some(0), "{script}: {}", done.stderr);
}

/// No command of a report leads root below what is alice's, and none gives a file to anybody.
fn assert_no_command_follows_alice(report: &Report, what: &str) {
    for check in report.document["checks"].as_array().unwrap() {
        if check["fix_kind"] != "command" {
            continue;
        }
        let fix = check["fix"].as_str().unwrap();
        let owner = ["chown", "chgrp", "install -"].iter().any(|word| fix.contains(word));
        let below = fix.contains("/run/home") && !fix.starts_with("runuser -u alice -- ");
        assert!(!owner && !below && !fix.contains("/run/other"), "{what}: {check:#}");
    }
}

/// What `--check` tells root to paste acts on nothing that a user chose.
#[test]
fn roots_shell_is_not_led_by_a_users_links() {
    let bob = "install -d -o bob -m 0700 /run/home/bob/.ssh; \
               install -o bob -m 0666 /dev/null /run/home/bob/.ssh/authorized_keys";
    let other = "install -d -o bob -m 0777 /run/other; install -m 0666 /dev/null /run/other/roots";
    for (what, as_root, as_alice, says) in [
        (
            "a link to another's file",
            bob,
            "mkdir -m 0700 .ssh; ln -s /run/home/bob/.ssh/authorized_keys .ssh",
            "/run/home/alice/.ssh/authorized_keys is a symbolic link to /run/home/bob/.ssh/authorized_keys; \
             /run/home/bob is owned by bob (uid 47102)",
        ),
        (
            "a link to another's directory",
            bob,
            "ln -s /run/home/bob/.ssh .ssh",
            "/run/home/bob is owned by bob",
        ),
        (
            "a link to a directory where all write",
            other,
            "ln -s /run/other .ssh",
            "/run/other is owned by bob",
        ),
        (
            "a link to a file of root's",
            "install -m 0666 /dev/null /etc/open",
            "mkdir -m 0700 .ssh; ln -s /etc/open .ssh/authorized_keys",
            "can write to /etc/open",
        ),
        (
            "a link to a file of her own",
            "",
            "mkdir -m 0700 .ssh; install -m 0666 /dev/null mine; ln -s ../mine .ssh/authorized_keys",
            "can write to /run/home/alice/mine",
        ),
        (
            "a link on the way",
            "",
            "mkdir -m 0700 real; ln -s real .ssh; install -m 0666 /dev/null .ssh/authorized_keys",
            "can write to /run/home/alice/real/authorized_keys",
        ),
        (
            "another's file in her directory",
            "install -o bob -m 0600 /dev/null /run/home/alice/theirs",
            "mkdir -m 0700 .ssh; mv -f theirs .ssh/authorized_keys",
            "/run/home/alice/.ssh/authorized_keys is owned by bob (uid 47102)",
        ),
        (
            "root's file in her directory",
            "install -m 0666 /dev/null /run/home/alice/roots",
            "mkdir -m 0700 .ssh; mv -f roots .ssh/authorized_keys",
            "can write to /run/home/alice/.ssh/authorized_keys",
        ),
        (
            "a home where others put homes",
            "chmod 0777 /run/home",
            "chmod 0777 .",
            "can write to /run/home/alice",
        ),
        (
            "a name that no terminal shows",
            "mv /run/home/alice '/run/home/back\\slash'; \
             sed -i 's,/run/home/alice,/run/home/back\\\\slash,' /etc/passwd; mkdir /run/home/alice",
            "chmod 0777 '/run/home/back\\slash'",
            "can write to /run/home/back",
        ),
    ] {
        world(|world| {
            let done = world.instance.command(["-ec", as_root]).program("/bin/sh").as_root().run();
            assert_eq!(done.status, Some(0), "{what}: {}", done.stderr);
            alice_does(world, &format!("cd {HOME}; {as_alice}"));
            let report = world.check();
            report.assert_healthy();
            assert!(report.note("user.home").contains(says), "{what}: {}", report.note("user.home"));
            assert_eq!(report.of("user.home")["fix_kind"], "advice", "{what}: {}", report.of("user.home"));
            assert_no_command_follows_alice(&report, what);
        });
    }
}

/// What is the user's own alone is put right as that user, in whatever words it is named.
#[test]
fn a_command_on_a_users_file_runs_as_that_user() {
    world(|world| {
        alice_does(
            world,
            &format!("cd {HOME}; mkdir -m 0777 .ssh; install -m 0666 /dev/null .ssh/authorized_keys"),
        );
        for path in ["/run/home/alice/.ssh", "/run/home/alice/.ssh/authorized_keys"] {
            let report = world.check();
            assert_eq!(report.of("user.home")["fix"], format!("runuser -u alice -- chmod go-w -- {path}"));
            world.apply(&report, "user.home");
        }
        world.check().assert_healthy();
    });
    let name = "/run/home/-x it's $(kill 0) *";
    world(|world| {
        fs::rename(HOME, name).unwrap();
        account("/etc/passwd", HOME, name);
        alice_does(world, "cd /run/home/-x*; chmod 0777 .");
        let report = world.check();
        report.assert_healthy();
        world.apply(&report, "user.home");
        world.check().assert_healthy();
    });
}

/// The same for the program and for the trust store, which an administrator may have put where a user leads.
#[test]
fn no_other_command_is_led_by_a_user_either() {
    let command = |line: &'static str| {
        move |world: &World<'_>| {
            world.configure(&config().set("AuthorizedKeysCommand", line).text());
        }
    };
    let program = |what: &str, id: &str, status: &str, plant: &str, line| {
        world(|world| {
            alice_does(world, &format!("cd {HOME}; {plant}"));
            command(line)(world);
            let report = world.check();
            assert_eq!(report.status(id), status, "{what}: {}", report.of(id));
            assert_eq!(report.of(id)["fix_kind"], "advice", "{what}: {}", report.of(id));
            assert_no_command_follows_alice(&report, what);
        });
    };
    let ours = "/run/home/alice/eic-keys %u %f";
    program("a link to no program", "install.path", "fail", "ln -s /etc/passwd eic-keys", ours);
    program("a program of hers", "install.path", "fail", "cp /usr/bin/eic-keys .", ours);
    program(
        "one that all may write",
        "install.path",
        "fail",
        "cp /usr/bin/eic-keys .; chmod 0777 eic-keys",
        ours,
    );
    let store = "/usr/bin/eic-keys --trust-store /run/home/alice/store %u %f";
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    program("a link to the store", "signer.store", "warn", &format!("ln -s {bundle} store"), store);
    program("a store of hers", "signer.store", "warn", &format!("cp {bundle} store"), store);
    program(
        "one for her alone",
        "signer.command_user",
        "fail",
        &format!("install -m 0600 {bundle} store"),
        store,
    );
    program(
        "a directory with a link",
        "signer.store",
        "warn",
        &format!("mkdir store; ln -s {bundle} store/a.pem"),
        store,
    );
}

/// Nor are those that name a place of the system's, where somebody made that everybody's.
#[test]
fn no_command_below_a_directory_that_all_users_can_write_to() {
    type Break<'a> = &'a dyn Fn(&World<'_>);
    let shell = || account("/etc/passwd", "/bin/sh", "/bin/false");
    let cases: [(&str, &str, Break<'_>); 5] = [
        ("/run", "user.nologin", &|world| {
            world.configure(&config().set("UsePAM", "yes").text());
            world.instance.write("/run/nologin", "");
        }),
        ("/etc", "user.nologin", &|world| world.instance.write("/etc/nologin", "")),
        ("/run", "running.daemon", &|_| stop_sshd()),
        ("/run", "sshd.config", &|_| fs::remove_dir_all("/run/sshd").unwrap()),
        ("/usr/bin", "user.shell", &|_| shell()),
    ];
    for (directory, id, wrong) in cases {
        world(|world| {
            wrong(world);
            let report = world.check();
            assert_eq!(report.of(id)["fix_kind"], "command", "{}", report.of(id));
            let mode = fs::metadata(directory).unwrap().permissions();
            fs::set_permissions(directory, Permissions::from_mode(0o777)).unwrap();
            let report = world.check();
            assert_eq!(report.of(id)["fix_kind"], "advice", "{}", report.of(id));
            let fix = report.of(id)["fix"].as_str().unwrap();
            assert!(
                fix.contains(&format!("because users other than the owner can write to {directory}")),
                "{fix}"
            );
            fs::set_permissions(directory, mode).unwrap();
        });
    }
}

/// From the top: below a directory that others may write to, a command may be led elsewhere.
#[test]
fn a_program_below_a_writable_directory() {
    world(|world| {
        for path in ["/usr/bin", "/usr/bin/eic-keys"] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        for path in ["/usr/bin", "/usr/bin/eic-keys"] {
            let report = world.check();
            report.assert_exactly(&[("install.path", "fail")]);
            assert_eq!(report.of("install.path")["fix"], format!("chmod go-w {path}"));
            world.apply(&report, "install.path");
        }
        world.check().assert_healthy();
    });
}

/// --enable refuses a program that others may write to: the command that repairs it comes first.
#[test]
fn a_writable_program_that_is_not_enabled() {
    world(|world| {
        let text = config().text();
        let lines = text.lines().filter(|line| !line.starts_with("AuthorizedKeysCommand"));
        world.configure(&lines.fold(String::new(), |text, line| text + line + "\n"));
        fs::set_permissions("/usr/bin/eic-keys", Permissions::from_mode(0o777)).unwrap();
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "fail"), ("install.path", "fail")]);
        assert_eq!(report.of("sshd.command")["fix_kind"], "advice");
        world.apply(&report, "install.path");
        let report = world.check();
        report.assert_exactly(&[("sshd.command", "fail")]);
        world.apply(&report, "sshd.command");
        world.settled().assert_healthy();
    });
}

/// The home directory is rightly the user's: the program does not belong there.
#[test]
fn a_program_in_a_home_directory() {
    world(|world| {
        alice_does(world, &format!("cp /usr/bin/eic-keys {HOME}/eic-keys"));
        world.configure(&config().set("AuthorizedKeysCommand", &format!("{HOME}/eic-keys %u %f")).text());
        // It belongs to its user, or to root in a directory of that user, and others may write to it.
        for change in ["chmod 0755", "chmod 0777", "chown root"] {
            let words = format!("{change} {HOME}/eic-keys");
            assert!(Command::new("sh").args(["-c", &words]).status().unwrap().success());
            let report = world.check();
            assert_eq!(report.status("install.path"), "fail", "{change}");
            let fix = report.of("install.path")["fix"].to_string();
            assert!(fix.contains("use that path in AuthorizedKeysCommand"), "{change}: {fix}");
        }
    });
}

/// eic-keys runs as another user than root, who sees everything: what keeps that user from the trust store breaks every login.
#[test]
fn a_trust_store_that_the_command_user_cannot_read() {
    let mode = |path: &'static str, mode| {
        move |_: &World<'_>| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap()
    };
    let unread = &[("signer.command_user", "fail"), ("login.command", "fail")];
    broken(mode("/etc/ssl", 0o700), unread, "as eic-keys: this system has no trust store");
    broken(
        mode("/etc/ssl/certs", 0o750),
        unread,
        "as eic-keys: the trust store /etc/ssl/certs cannot be read",
    );
    broken(
        mode(TRUST_STORE, 0o600),
        unread,
        "as eic-keys: the trust store /etc/ssl/certs/ca-certificates.crt cannot be read",
    );
    // By a group that initgroups(3) gives, as sshd has it.
    world(|world| {
        let group = fs::read_to_string("/etc/group").unwrap();
        world.instance.write("/etc/group", format!("{group}readers:x:47200:eic-keys\n"));
        chown("/etc/ssl", None, Some(47_200)).unwrap();
        fs::set_permissions("/etc/ssl", Permissions::from_mode(0o750)).unwrap();
        world.check().assert_healthy();
    });
    world(|world| {
        world.instance.remove(TRUST_STORE);
        let store = "/etc/store";
        fs::create_dir(store).unwrap();
        fs::set_permissions(store, Permissions::from_mode(0o755)).unwrap();
        let pem = eic_lab::pki::bundle([&world.instance.pki().root]);
        world.instance.write("/etc/store/a.pem", &pem);
        world.instance.write("/etc/store/b.pem", &pem);
        world.configure(
            &config().set("AuthorizedKeysCommand", "/usr/bin/eic-keys --trust-store /etc/store %u %f").text(),
        );
        world.check().assert_healthy();
        fs::set_permissions("/etc/store/b.pem", Permissions::from_mode(0o600)).unwrap();
        let report = world.check();
        report.assert_exactly(&[("signer.command_user", "warn")]);
        let note = report.note("signer.command_user");
        assert!(note.contains("holds 1 certificates") && note.contains("holds 2 certificates"), "{note}");
    });
}

/// The view of sshd's processes counts, which its unit can change.
#[test]
fn files_that_the_unit_hides() {
    for (mount, id, says) in [
        ("mount -t tmpfs -o mode=755 none /etc/ssl/certs", "signer.command_user", "as eic-keys: "),
        (
            "mount -t tmpfs -o mode=755 none /sys/devices/virtual",
            "metadata.command_user",
            "as eic-keys: neither board_asset_tag nor hypervisor/uuid in /sys identifies an EC2 instance",
        ),
    ] {
        world(|world| {
            world.restart_in_namespace(mount);
            let report = world.check();
            assert_eq!(report.status(id), "fail", "{:#}", report.of(id));
            assert!(report.note(id).starts_with(says), "{}", report.note(id));
            if id == "signer.command_user" {
                let note = report.note("login.command");
                assert_eq!(report.status("login.command"), "fail", "{note}");
                assert!(note.contains("ends with status 4"), "{note}");
            }
        });
    }
    // The user's shell.
    world(|world| {
        world.restart_in_namespace("mount --bind /dev/null /bin/sh");
        let report = world.check();
        report.assert_exactly(&[("confinement.unit", "fail")]);
        let says = "sshd cannot use /bin/sh: its unit hides it from sshd, and no login works without it";
        assert_eq!(report.note("confinement.unit"), says);
    });
}

/// sshd's line is run for the key that is pushed, which it must print.
#[test]
fn a_pushed_key_that_is_not_printed() {
    world(|world| {
        let report = world.check();
        report.assert_healthy();
        let note = report.note("login.command");
        assert!(
            note.starts_with("as eic-keys, /usr/bin/eic-keys alice SHA256:")
                && note.ends_with(" prints the pushed key"),
            "{note}"
        );
        assert!(world.instance.journal.eic_keys().is_empty(), "a check logs nothing");
        world.instance.install("/usr/sbin/eic-keys", &fs::read("/usr/bin/eic-keys").unwrap());
        let other = b"#!/bin/sh\n[ \"$1\" != --version ] || echo eic-keys 0\n";
        world.instance.install("/usr/bin/eic-keys", other);
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let outcome = world.instance.command(["--check", "--json", USER]).program("/usr/sbin/eic-keys");
        let document = crate::schema::read(&outcome.as_root().run().stdout);
        let check =
            document["checks"].as_array().unwrap().iter().find(|check| check["id"] == "login.command");
        let check = check.unwrap();
        assert_eq!(check["status"], "fail", "{check:#}");
        let note = check["note"].as_str().unwrap();
        assert!(note.ends_with("does not print the key that is pushed: sshd does not get it"), "{note}");
    });
}

/// An sshd with these limits accepts no login.
#[test]
fn limits_of_sshd() {
    for (limit, says) in [
        ("nofile=8:8", Some("sshd is limited to 8 open files: no login works with that")),
        ("nproc=1:1", Some("sshd is limited to 1 processes: no login works with that")),
        ("nofile=12:12", Some("sshd is limited to 12 open files: no login works with that")),
        // The fewest with which logins work from OpenSSH 8.4 to 10.0, and eic-keys.
        ("nofile=17:17", None),
        ("nofile=64:64", None),
    ] {
        world(|world| {
            stop_sshd();
            let arguments = [&format!("--{limit}"), "/usr/sbin/sshd"];
            let started = world.instance.command(arguments).program("/usr/bin/prlimit").as_root().run();
            assert_eq!(started.status, Some(0), "{}", started.stderr);
            world.settled();
            let works = world.sshd.ssh(USER, &world.key, "true").status == Some(0);
            assert_eq!(works, says.is_none(), "{limit}");
            let report = world.check();
            let expected = if says.is_some() { "fail" } else { "ok" };
            assert_eq!(report.status("confinement.unit"), expected, "{limit}");
            if let Some(says) = says {
                assert_eq!(report.note("confinement.unit"), says);
                let report = world.check_with(&[USER, "--rehearse"]);
                assert_eq!(report.status("login.rehearsal"), "fail");
            } else {
                report.assert_healthy();
            }
        });
    }
}

/// Root of a container can lack `CAP_SYS_RESOURCE`: its limits are lower than sshd's, and it cannot raise them.
#[test]
fn limits_of_sshd_that_cannot_be_set() {
    world(|world| {
        let arguments =
            ["--bounding-set=-sys_resource", "--inh-caps=-sys_resource", "prlimit", "--nofile=64:64"];
        let check = ["/usr/bin/eic-keys", "--check", "--json", USER];
        let ran = world
            .instance
            .command([&arguments[..], &check].concat())
            .program("/usr/bin/setpriv")
            .as_root()
            .run();
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let command = checks.iter().find(|check| check["id"] == "login.command").unwrap();
        assert_eq!(command["status"], "ok", "{command:#}");
        let detail = command["detail"].to_string();
        assert!(
            detail
                .contains("sshd has other resource limits: prlimit: failed to set the NOFILE resource limit"),
            "{detail}"
        );
    });
}

#[test]
fn a_small_stack() {
    world(|world| {
        stop_sshd();
        let arguments = ["--stack=65536:65536", "/usr/sbin/sshd"];
        let started = world.instance.command(arguments).program("/usr/bin/prlimit").as_root().run();
        assert_eq!(started.status, Some(0), "{}", started.stderr);
        assert_eq!(world.settled().status("confinement.unit"), "warn");
        let says =
            "sshd is limited to 65536 bytes of stack: a session on a terminal can end as soon as it begins";
        assert_eq!(world.check().note("confinement.unit"), says);
    });
}

/// `pam_loginuid` writes to it for each session.
#[test]
fn a_read_only_proc() {
    if !Path::new("/proc/self/loginuid").exists() {
        return;
    }
    world(|world| {
        world
            .instance
            .write("/etc/pam.d/sshd", "account required pam_permit.so\nsession required pam_loginuid.so\n");
        world.instance.write("/etc/ssh/sshd_config", config().set("UsePAM", "yes").text());
        world.restart_in_namespace("mount -o remount,bind,ro /proc");
        let report = world.check();
        report.assert_exactly(&[("confinement.unit", "fail")]);
        assert!(report.note("confinement.unit").starts_with("/proc is read-only for sshd"));
        // A rehearsal is in the same mount namespace.
        let journalctl = "#!/bin/sh\ncase \"$*\" in *_PID=*) ;; *) exit 1 ;; esac\n\
            echo 'pam_loginuid(sshd:session): set_loginuid failed'\n";
        world.instance.install("/usr/bin/journalctl", journalctl.as_bytes());
        let report = world.check_with(&[USER, "--rehearse"]);
        let note = report.note("login.rehearsal");
        assert_eq!(report.status("login.rehearsal"), "fail", "{note}");
        assert!(note.starts_with("PAM opens no session for alice: /proc is read-only"), "{note}");
    });
}

/// Another one is used then, which may lack Amazon's certificate.
#[test]
fn a_trust_store_that_is_a_link_to_nowhere() {
    for link in ["ca-certificates.crt", "/nowhere"] {
        world(|world| {
            world.sh(&format!("cp {TRUST_STORE} /etc/ssl/certs/all.pem; ln -sf {link} {TRUST_STORE}"));
            let report = world.check();
            assert_eq!(report.status("signer.store"), "warn");
            let note = report.note("signer.store");
            let why = if link == "/nowhere" {
                format!("{TRUST_STORE} is a symbolic link to /nowhere, which does not exist")
            } else {
                format!("the trust store {TRUST_STORE} cannot be read: ")
            };
            assert!(note.starts_with("/etc/ssl/certs holds ") && note.contains(&why), "{note}");
            assert_eq!(report.status("signer.command_user"), "ok");
            world.apply(&report, "signer.store");
            world.check().assert_healthy();
        });
    }
}

/// The package's tool writes it again: after a disk was full, or if other certificates were put in its place.
#[test]
fn a_trust_store_that_is_not_whole() {
    const UPDATE: &str =
        "#!/bin/sh\ncat /run/packages/ca-certificates.crt >/etc/ssl/certs/ca-certificates.crt\n";
    const LIST: &str = "/etc/ca-certificates.conf";
    world(|world| {
        world.instance.install("/usr/sbin/update-ca-certificates", UPDATE.as_bytes());
        world.sh(&format!("truncate -s 50000 {TRUST_STORE}"));
        let report = world.check();
        report.assert_exactly(&[("signer.store", "warn"), ("signer.path", "fail")]);
        assert!(report.note("signer.store").contains(", and ends within another one: the file is cut"));
        assert_eq!(report.of("signer.store")["fix"], "update-ca-certificates");
        world.apply(&report, "signer.path");
        world.check().assert_healthy();
        // Without Amazon's certificate, which the system has.
        world.instance.trust([]);
        let own = eic_lab::pki::bundle([&world.instance.pki().root]);
        world.instance.write("/usr/share/ca-certificates/mozilla/Amazon_Root_CA_1.crt", own);
        world.instance.write(LIST, "!mozilla/Amazon_Root_CA_1.crt\n");
        let report = world.check();
        report.assert_exactly(&[("signer.path", "fail")]);
        let fix = report.of("signer.path")["fix"].as_str().unwrap();
        assert!(fix.starts_with("Amazon's root certificate is missing from the trust store"), "{fix}");
        world.instance.write(LIST, "mozilla/Amazon_Root_CA_1.crt\n");
        let report = world.check();
        world.apply(&report, "signer.path");
        world.check().assert_healthy();
    });
}

/// Whoever can write to it can add an anchor.
#[test]
fn a_trust_store_that_other_users_can_change() {
    let store = &[("signer.store", "warn")];
    let mode = |path: &'static str, mode| {
        move |_: &World<'_>| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap()
    };
    broken(mode("/etc/ssl", 0o775), store, "users other than root can write to /etc/ssl");
    broken(
        mode(TRUST_STORE, 0o666),
        store,
        "users other than root can write to /etc/ssl/certs/ca-certificates.crt",
    );
    broken(|_| chown("/etc/ssl/certs", Some(47_101), None).unwrap(), store, "is owned by alice (uid 47101)");
    broken(|_| chown(TRUST_STORE, Some(47_101), None).unwrap(), store, "is owned by alice (uid 47101)");
}

#[test]
fn only_the_command_user_cannot_reach_the_metadata_service() {
    broken(
        |world| {
            // Before the table that knows the machine's own addresses, which this service has here.
            world.instance.namespace().ip("rule add lookup local priority 2\n\
                 rule add uidrange 47100-47100 prohibit priority 1\n\
                 rule del lookup local priority 0\n");
        },
        &[("metadata.command_user", "fail")],
        "as eic-keys: ",
    );
    broken(
        |_| fs::set_permissions("/usr/bin/eic-keys", Permissions::from_mode(0o700)).unwrap(),
        &[("metadata.command_user", "fail"), ("signer.command_user", "skip")],
        "could not be run as eic-keys",
    );
}

#[test]
fn sshd_is_stopped() {
    broken(|_| stop_sshd(), &[("running.daemon", "fail")], "sshd is stopped");
    world(|world| {
        let (own, other) = (fs::read(PID_FILE).unwrap(), std::process::id());
        world.instance.write(PID_FILE, format!("{other}\n"));
        assert_eq!(world.check().status("running.daemon"), "ok", "the file is wrong, and sshd runs");
        world.instance.write(PID_FILE, own);
        stop_sshd();
        world.instance.write(PID_FILE, format!("{other}\n"));
        assert_eq!(world.check().status("running.daemon"), "fail", "the number is another program's");
    });
}

/// A masked unit cannot be started.
#[test]
fn a_unit_that_is_masked() {
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        world.instance.write("/usr/lib/systemd/system/ssh.service", "[Service]\n");
        world.instance.install("/usr/bin/systemctl", b"#!/bin/sh\nexit 1\n");
        let fix = |world: &World<'_>| world.check().of("running.daemon")["fix"].as_str().unwrap().to_owned();
        assert_eq!(fix(world), "systemctl start ssh");
        fs::create_dir_all("/etc/systemd/system").unwrap();
        symlink("/dev/null", "/etc/systemd/system/ssh.service").unwrap();
        assert_eq!(fix(world), "systemctl unmask ssh && systemctl start ssh");
        let file = "/etc/systemd/system/ssh.service";
        fs::remove_file(file).unwrap();
        world.instance.write(file, "");
        let advice = |file| {
            format!(
                "remove {file}, which masks the unit, then: systemctl daemon-reload; then systemctl start ssh"
            )
        };
        assert_eq!(fix(world), advice(file));
        // The one of the administrator counts, and not the next ones.
        symlink("/dev/null", "/run/systemd/system/ssh.service").unwrap();
        world.instance.write(file, "[Service]\n");
        assert_eq!(fix(world), "systemctl start ssh");
        fs::remove_file(file).unwrap();
        assert_eq!(fix(world), "systemctl unmask --runtime ssh && systemctl start ssh");
        fs::remove_file("/run/systemd/system/ssh.service").unwrap();
        fs::create_dir_all("/usr/local/lib/systemd/system").unwrap();
        let local = "/usr/local/lib/systemd/system/ssh.service";
        symlink("/dev/null", local).unwrap();
        assert_eq!(fix(world), advice(local));
    });
}

/// A stopped sshd has no /run/sshd on Debian. The cause is that it is stopped.
#[test]
fn a_stopped_sshd_has_no_directory() {
    world(|world| {
        stop_sshd();
        fs::remove_dir("/run/sshd").unwrap();
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        assert!(!Path::new("/run/sshd").exists(), "the check changes nothing");
        world.apply(&report, "running.daemon");
        world.settled().assert_healthy();
    });
}

/// Debian's sshd runs a program that root's own group can write to. The report agrees with the sshd of this system.
#[test]
fn a_program_that_roots_group_can_write_to() {
    for path in ["/usr/bin/eic-keys", "/usr/bin"] {
        world(|world| {
            fs::set_permissions(path, Permissions::from_mode(0o775)).unwrap();
            let works = world.sshd.ssh(USER, &world.key, "true").status == Some(0);
            let report = world.check();
            assert_eq!(
                report.status("install.path"),
                if works { "ok" } else { "fail" },
                "{}",
                report.of("install.path")
            );
            // Another user in that group can change the program.
            let group = fs::read_to_string("/etc/group").unwrap();
            world.instance.write("/etc/group", group.replace("root:x:0:", "root:x:0:alice"));
            let works = world.sshd.ssh(USER, &world.key, "true").status == Some(0);
            assert_eq!(world.check().status("install.path"), if works { "ok" } else { "fail" });
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        });
    }
}

/// Removing the file that it replaced changes the directory after sshd was reloaded.
#[test]
fn a_drop_in_that_enable_moved() {
    world(|world| {
        fs::create_dir_all("/etc/ssh/sshd_config.d").unwrap();
        let plain: String = config()
            .text()
            .lines()
            .filter(|line| !line.starts_with("AuthorizedKeysCommand"))
            .fold("Include /etc/ssh/sshd_config.d/*.conf\n".to_owned(), |text, line| text + line + "\n");
        world.configure(&plain);
        let run = |option: &str| {
            let done = world.instance.command([option]).as_root().run();
            assert_eq!(done.status, Some(0), "{}{}", done.stdout, done.stderr);
        };
        run("--enable");
        world.settled().assert_healthy();
        // A file that comes first has another command: --enable puts ours before it.
        let names = || {
            let names = fs::read_dir("/etc/ssh/sshd_config.d").unwrap().map(|file| file.unwrap().file_name());
            names.collect::<Vec<_>>()
        };
        let before = names();
        world.instance.write(
            "/etc/ssh/sshd_config.d/00-other.conf",
            "AuthorizedKeysCommand /usr/bin/true\nAuthorizedKeysCommandUser eic-keys\n",
        );
        run("--enable");
        assert_ne!(names(), before);
        std::thread::sleep(Duration::from_millis(300));
        let report = world.check();
        assert_eq!(report.status("running.current"), "ok", "{}", report.of("running.current"));
    });
}

/// Ends sshd, as at a shutdown.
pub(crate) fn stop_sshd() {
    let stopped = "kill $(cat /run/sshd.pid); while [ -e /run/sshd.pid ]; do sleep 0.01; done";
    let status = Command::new("timeout").args(["5", "sh", "-c", stopped]).status();
    assert!(status.unwrap().success());
}

#[test]
fn socket_activation() {
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        let systemctl = "#!/bin/sh\ncase \"$*\" in 'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';; esac\n";
        world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
        let report = world.check();
        report.assert_exactly(&[("network.banner", "skip"), ("confinement.apparmor", "skip")]);
        assert_eq!(report.note("running.daemon"), "ssh.socket starts sshd when a client connects");
        fs::remove_dir("/run/sshd").unwrap();
        let report = world.check();
        report.assert_exactly(&[("network.banner", "skip"), ("confinement.apparmor", "skip")]);
        // What is wrong is found before the first connection.
        for (keyword, value, id) in [
            ("DenyUsers", "alice", "sshd.access"),
            ("AuthorizedKeysCommand", "none", "sshd.command"),
            ("NoSuchKeyword", "yes", "sshd.config"),
        ] {
            world.instance.write("/etc/ssh/sshd_config", config().set(keyword, value).text());
            let report = world.check();
            report.assert_exactly(&[
                ("network.banner", "skip"),
                ("confinement.apparmor", "skip"),
                (id, "fail"),
            ]);
        }
        world.instance.write("/etc/ssh/sshd_config", config().text());
        let report = world.check_with(&[USER, "--rehearse"]);
        assert_eq!(report.of("login.rehearsal")["fix"], "mkdir -m 0755 /run/sshd");
        assert_eq!(report.outcome.status, Some(0));
        assert!(!Path::new("/run/sshd").exists());
        // A container cannot mount.
        let (unshare, hidden) = ("/usr/bin/unshare", "/usr/bin/unshare-hidden");
        fs::rename(unshare, hidden).unwrap();
        let report = world.check();
        fs::rename(hidden, unshare).unwrap();
        report.assert_exactly(&[
            ("network.banner", "skip"),
            ("confinement.apparmor", "skip"),
            ("sshd.config", "skip"),
        ]);
        assert_eq!(report.of("sshd.config")["fix"], "mkdir -m 0755 /run/sshd");
    });
    // The socket unit has the port, not sshd's configuration. An inactive one has not.
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        world.instance.write("/etc/ssh/sshd_config", config().set("Port", "2222").text());
        for (state, status) in [("active", "ok"), ("inactive", "warn")] {
            let systemctl = format!(
                "#!/bin/sh\ncase \"$*\" in
                    'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';;
                    'show --property=ActiveState,Listen,'*) printf 'Listen=[::]:22 (Stream)\\nActiveState={state}\\n';;
                esac\n"
            );
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            assert_eq!(world.check().status("sshd.port"), status, "{state}");
        }
        let local = fs::read_to_string("/usr/bin/systemctl").unwrap().replace("[::]:22", "127.0.0.1:22");
        world.instance.install("/usr/bin/systemctl", local.replace("=inactive", "=active").as_bytes());
        let report = world.check();
        assert_eq!(report.status("sshd.port"), "fail");
        assert!(
            report.of("sshd.port")["fix"]
                .as_str()
                .unwrap()
                .starts_with("change ListenStream= or BindIPv6Only=")
        );
    });
    // Which addresses a socket for IPv6 has, and which are not those that clients use.
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        for (listen, bind, status) in [
            ("'Listen=[::]:22 (Stream)'", "both", "ok"),
            ("'Listen=[::]:22 (Stream)'", "default", "ok"),
            ("'Listen=[::]:22 (Stream)'", "ipv6-only", "warn"),
            ("'Listen=[::]:22 (Stream)' 'Listen=0.0.0.0:22 (Stream)'", "ipv6-only", "ok"),
            ("'Listen=[::]:22 (Stream)' 'Listen=0.0.0.0:2222 (Stream)'", "ipv6-only", "warn"),
            ("'Listen=127.0.0.1:22 (Stream)' 'Listen=0.0.0.0:2222 (Stream)'", "default", "warn"),
            ("'Listen=127.0.0.1:2222 (Stream)' 'Listen=0.0.0.0:22 (Stream)'", "default", "ok"),
            ("'Listen=10.0.0.99:22 (Stream)'", "default", "fail"),
            ("'Listen=10.0.0.99:22 (Stream)' 'Listen=0.0.0.0:22 (Stream)'", "default", "ok"),
        ] {
            let systemctl = format!(
                "#!/bin/sh\ncase \"$*\" in
                    'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';;
                    'show --property=ActiveState,Listen,'*) printf '%s\\n' {listen} ActiveState=active BindIPv6Only={bind};;
                esac\n"
            );
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            let report = world.check();
            assert_eq!(report.status("sshd.port"), status, "{listen} {bind}: {}", report.note("sshd.port"));
        }
    });
}

/// An sshd that a socket unit starts for a client: with `Accept=yes` one for each. `setting`: a line of the unit that it starts, and
/// `shown`, what systemctl shows of it.
fn waiting_socket(world: &World<'_>, accept: bool, setting: &str, shown: &str) {
    stop_sshd();
    fs::create_dir_all("/run/systemd/system").unwrap();
    let directory = "/usr/lib/systemd/system";
    world.instance.write(format!("{directory}/ssh.service"), "[Service]\nExecStart=/usr/sbin/sshd -D\n");
    let template = "[Service]\nRuntimeDirectory=sshd\nExecStart=-/usr/sbin/sshd -i\n";
    world.instance.write(format!("{directory}/ssh@.service"), template);
    let (accepts, name, instance) = if accept { ("yes", "ssh@", "eic-keys") } else { ("no", "ssh", "") };
    fs::create_dir_all(format!("/etc/systemd/system/{name}.service.d")).unwrap();
    let drop_in = format!("/etc/systemd/system/{name}.service.d/x.conf");
    world.instance.write(&drop_in, format!("[Service]\n{setting}\n"));
    let systemctl = format!(
        "#!/bin/sh\ncase \"$*\" in
            'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';;
            'show --property=Accept --value ssh.socket') echo {accepts};;
            'show --property=Id,IPAddressDeny,'*' {name}{instance}.service'|'show --property=LoadState,'*' {name}{instance}.service')
                printf '%s\\n' LoadState=loaded RootDirectory= {shown};;
            'show --property=ActiveState,Listen,'*)
                printf '%s\\n' 'Listen=0.0.0.0:22 (Stream)' 'Listen=[::]:22 (Stream)' ActiveState=active BindIPv6Only=ipv6-only;;
            *) exit 1;;
        esac\n"
    );
    world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
}

/// What such an sshd lacks is found before the first connection.
#[test]
fn a_unit_that_a_socket_starts() {
    const CAPABILITIES: &str = "cap_chown cap_dac_override cap_setgid cap_sys_chroot";
    let waits = [("network.banner", "skip"), ("confinement.apparmor", "skip")];
    for (setting, shown, says) in [
        ("LimitNPROC=1", "LimitNPROCSoft=1", "sshd is limited to 1 processes"),
        (
            "CapabilityBoundingSet=~CAP_SETUID",
            &format!("'CapabilityBoundingSet={CAPABILITIES}'"),
            "sshd lacks CAP_SETUID: it closes each connection",
        ),
        ("InaccessiblePaths=/bin/sh", "InaccessiblePaths=/bin/sh", "sshd cannot use /bin/sh"),
        ("InaccessiblePaths=/etc/ssl", "InaccessiblePaths=/etc/ssl", "sshd's unit hides /etc/ssl"),
        ("PrivateNetwork=yes", "PrivateNetwork=yes", "sshd's unit has PrivateNetwork=yes: the metadata"),
        ("SystemCallFilter=~chroot", "SystemCallFilter=~chroot", "sshd's unit refuses system calls"),
    ] {
        for accept in [false, true] {
            world(|world| {
                waiting_socket(world, accept, setting, shown);
                let report = world.check();
                report.assert_exactly(&[&waits[..], &[("confinement.unit", "fail")]].concat());
                let note = report.note("confinement.unit");
                assert!(note.starts_with(says), "{note}");
                let name = if accept { "ssh@" } else { "ssh" };
                let fix = format!(
                    "correct or remove {}= (/etc/systemd/system/{name}.service.d/x.conf line 2), then: systemctl daemon-reload",
                    setting.split('=').next().unwrap()
                );
                assert_eq!(report.of("confinement.unit")["fix"], fix);
            });
        }
    }
    // The unit cannot be started, or with an option that refuses the user.
    for (setting, shown, id, says) in [
        (
            "EnvironmentFile=/none",
            "'EnvironmentFiles=/none (ignore_errors=no)'",
            "running.daemon",
            "ssh.socket listens, but cannot start sshd: its unit ssh",
        ),
        (
            "ExecStart=\nExecStart=/usr/sbin/sshd -D -o DenyUsers=alice",
            "",
            "sshd.access",
            "DenyUsers includes alice",
        ),
    ] {
        for accept in [false, true] {
            for has_directory in [false, true] {
                world(|world| {
                    waiting_socket(world, accept, setting, shown);
                    if !has_directory {
                        fs::remove_dir("/run/sshd").unwrap();
                    }
                    let report = world.check();
                    assert_eq!(report.status(id), "fail", "{:#}", report.of(id));
                    assert!(report.note(id).starts_with(says), "{}", report.note(id));
                });
            }
        }
    }
    // Nothing that a login needs.
    let all = format!(
        "LimitNPROCSoft=64 LimitNOFILESoft=1024 LimitSTACKSoft=8388608 'CapabilityBoundingSet={CAPABILITIES} cap_setuid' \
         'InaccessiblePaths=/boot -/srv/none' TemporaryFileSystem=/srv:ro 'BindPaths=/etc:/etc:rbind /usr/bin/sh:/opt/sh' \
         'SystemCallFilter=~bpf' 'RestrictAddressFamilies=AF_UNIX AF_INET' 'EnvironmentFiles=/none (ignore_errors=yes)' \
         'EnvironmentFiles=/etc/passwd (ignore_errors=no)' 'EnvironmentFiles=/run/none (ignore_errors=no)'"
    );
    for accept in [false, true] {
        world(|world| {
            waiting_socket(world, accept, "ExecStart=\nExecStart=/usr/sbin/sshd -D -o DenyUsers=bob", &all);
            world.check().assert_exactly(&waits);
        });
    }
}

/// A stopped sshd, whose unit is in a state of systemd, with settings in a drop-in and lines in the journal.
fn failed_unit(world: &World<'_>, state: &str, settings: &str, journal: &str) {
    stop_sshd();
    unit_of_sshd(world, state, settings, journal);
}

/// The same for an sshd that runs.
fn unit_of_sshd(world: &World<'_>, state: &str, settings: &str, journal: &str) {
    fs::create_dir_all("/run/systemd/system").unwrap();
    let unit = "/usr/lib/systemd/system/ssh.service";
    let drop_in = "/etc/systemd/system/ssh.service.d/x.conf";
    world.instance.write(unit, "[Service]\nExecStart=/usr/sbin/sshd -D\n");
    fs::create_dir_all("/etc/systemd/system/ssh.service.d").unwrap();
    world.instance.write(drop_in, format!("[Unit]\nStartLimitIntervalSec=0\n[Service]\n{settings}\n"));
    let drop_in = if settings.is_empty() { "" } else { drop_in };
    let systemctl = format!(
        "#!/bin/sh\ncase \"$*\" in
            'show --property=ActiveState --value '*) echo {};;
            *StateChangeTimestampMonotonic\\ ssh) printf '%s\\n' {state} FragmentPath={unit} DropInPaths={drop_in} ;
                echo ExecMainStartTimestampMonotonic=$(cat /run/started 2>/dev/null || cat /run/failed)
                echo StateChangeTimestampMonotonic=$(cat /run/failed);;
            *) exit 1;;
        esac\n",
        state.split(' ').next().unwrap().split('=').nth(1).unwrap()
    );
    world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
    let journalctl = format!(
        "#!/bin/sh\ncase \"$*\" in *--unit=ssh.service*) printf '%s\\n' {journal};; *) exit 1;; esac\n"
    );
    world.instance.install("/usr/bin/journalctl", journalctl.as_bytes());
    // All that sshd reads is older.
    std::thread::sleep(Duration::from_millis(50));
    let up = fs::read_to_string("/proc/uptime").unwrap();
    let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
    world.instance.write("/run/failed", format!("{:.0}", up * 1e6 + 1e4));
}

/// Its last start has not failed yet.
#[test]
fn an_sshd_that_runs_for_a_moment() {
    world(|world| {
        let pid = world.instance.command([PID_FILE]).program("/bin/cat").as_root().run().stdout;
        let pid = pid.trim();
        let journal = "'Starting ssh.service' 'ssh.service: Control process exited, code=exited, status=1/FAILURE' 'Starting ssh.service' 'Server listening on :: port 22.'";
        for (state, ends) in [
            ("ActiveState=activating SubState=start-post NRestarts=2", true),
            ("ActiveState=activating SubState=start-post NRestarts=0", false),
            ("ActiveState=active SubState=running NRestarts=2", true),
            ("ActiveState=active SubState=running NRestarts=0", false),
        ] {
            unit_of_sshd(world, &format!("{state} MainPID={pid}"), "ExecStartPost=/bin/false", journal);
            let report = world.check();
            let daemon = report.of("running.daemon");
            assert_eq!(daemon["status"] == "fail", ends, "{state}: {daemon:#}");
            let note = report.note("running.daemon");
            assert!(
                !ends
                    || note.ends_with(
                        "again and again: ssh.service: Control process exited, code=exited, status=1/FAILURE"
                    ),
                "{note}"
            );
            // Another sshd than the unit's serves the system.
            unit_of_sshd(world, &format!("{state} MainPID=1"), "ExecStartPost=/bin/false", journal);
            assert_eq!(world.check().status("running.daemon"), "ok", "{state}");
        }
        // It has been up for some time since, and was reloaded just now.
        unit_of_sshd(
            world,
            &format!("ActiveState=active SubState=running NRestarts=2 MainPID={pid}"),
            "",
            journal,
        );
        world.instance.write("/run/started", "1000");
        assert_eq!(world.check().status("running.daemon"), "ok");
    });
    // It ended between two questions to systemd.
    world(|world| {
        let ended = "ActiveState=activating SubState=auto-restart NRestarts=2 MainPID=0";
        let journal =
            "'Starting ssh.service' 'ssh.service: Main process exited, code=killed, status=25/XFSZ'";
        failed_unit(world, ended, "LimitFSIZE=1", journal);
        let active = "in\n'is-active ssh.service sshd.service') printf 'active\\ninactive\\n';; 'show --property=MainPID --value ssh.service') echo 0;;\n";
        let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap().replacen("in\n", active, 1);
        world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
        let report = world.check();
        assert_eq!(report.status("running.daemon"), "fail", "{:#}", report.of("running.daemon"));
        assert!(report.note("running.daemon").ends_with("status=25/XFSZ"));
    });
}

/// Its files have an error, or another unit is missing.
#[test]
fn a_unit_that_systemd_does_not_start() {
    for (show, states, says) in [
        (
            "LoadState=bad-setting",
            "",
            "systemd cannot load its unit ssh: ssh.service: Service has more than one ExecStart= setting. Refusing.",
        ),
        (
            "LoadState=loaded Requires=sysinit.target\\ corp.service BindsTo= Requisite=",
            "Id=sysinit.target LoadState=loaded ActiveState=active '' Id=corp.service LoadState=not-found ActiveState=inactive",
            "its unit ssh needs corp.service, which does not exist",
        ),
        (
            "LoadState=loaded Requires=corp.service",
            "Id=corp.service LoadState=loaded ActiveState=failed",
            "its unit ssh needs corp.service, which has failed",
        ),
        ("LoadState=loaded Requires=corp.service", "Id=corp.service LoadState=loaded ActiveState=active", ""),
        (
            "LoadState=loaded Requires=corp.service",
            "Id=corp.service LoadState=loaded ActiveState=inactive",
            "",
        ),
        (
            "LoadState=loaded Requires=sysinit.target Requisite=corp.service",
            "Id=sysinit.target LoadState=loaded ActiveState=inactive '' Id=corp.service LoadState=loaded ActiveState=inactive",
            "its unit ssh needs corp.service, which is not active (Requisite=)",
        ),
        ("LoadState=loaded RefuseManualStart=yes", "", "its unit ssh has RefuseManualStart=yes"),
        ("LoadState=loaded RefuseManualStart=no", "", ""),
        (
            "LoadState=loaded StopWhenUnneeded=yes WantedBy= RequiredBy=",
            "",
            "its unit ssh has StopWhenUnneeded=yes, and no unit needs it",
        ),
        ("LoadState=loaded StopWhenUnneeded=yes WantedBy=multi-user.target RequiredBy=", "", ""),
        (
            "LoadState=loaded Requires=corp.slice",
            "Id=corp.slice LoadState=masked ActiveState=inactive",
            "its unit ssh needs corp.slice, which is masked",
        ),
        (
            "LoadState=loaded BindsTo=corp.device",
            "Id=corp.device LoadState=loaded ActiveState=inactive",
            "its unit ssh needs corp.device, which is not there",
        ),
    ] {
        for runs in [false, true] {
            world(|world| {
                let state = "ActiveState=inactive SubState=dead NRestarts=0";
                let journal = "'ssh.service: Service has more than one ExecStart= setting. Refusing.'";
                if runs {
                    unit_of_sshd(world, state, "", journal);
                } else {
                    failed_unit(world, state, "", journal);
                }
                let more = format!(
                    "in\n*property=LoadState,Requires*) printf '%s\\n' {show};;\n*property=Id,LoadState*) printf '%s\\n' {states};;\n\
                     *property=Id,IPAddressDeny*) exit 1;;\n"
                );
                let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap().replacen("in\n", &more, 1);
                world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
                let journalctl = format!(
                    "#!/bin/sh\ncase \"$*\" in *--unit*ssh.service) printf '%s\\n' {journal};; *) exit 1;; esac\n"
                );
                world.instance.install("/usr/bin/journalctl", journalctl.as_bytes());
                let (report, id) = (world.check(), "running.daemon");
                let note = report.note(id);
                let later = "works now, but breaks at sshd's next restart: ";
                let expected = match (runs, says) {
                    (true, says) if says.starts_with("systemd") => format!("{later}{says}"),
                    (true, _) => {
                        assert_eq!(report.status(id), "ok", "{note}");
                        return;
                    }
                    (false, "") => "sshd is stopped".to_owned(),
                    (false, says) => format!("sshd is stopped: {says}"),
                };
                assert_eq!(note, expected);
                assert_eq!(report.status(id), if runs { "warn" } else { "fail" });
                assert_eq!(report.of(id)["fix_kind"] == "command", says.is_empty());
            });
        }
    }
}

/// A copy of the package's unit, which the administrator changed.
#[test]
fn a_copy_of_a_unit_that_fails() {
    for (line, journal, says) in [
        (
            "",
            "'Starting ssh.service' 'Missing privilege separation directory: /run/sshd' 'ssh.service: Failed.'",
            "add RuntimeDirectory=sshd to the section [Service] of sshd's unit (systemctl edit ssh), then: ",
        ),
        (
            "Type=forking\n",
            "'Starting ssh.service' 'ssh.service: start operation timed out. Terminating.' 'Received signal 15; terminating.'",
            "remove Type=forking from sshd's unit (/etc/systemd/system/ssh.service line 3), then: ",
        ),
    ] {
        world(|world| {
            failed_unit(world, "ActiveState=failed SubState=failed NRestarts=5", "", journal);
            let copy = "/etc/systemd/system/ssh.service";
            let text = format!("[Service]\nExecStart=/usr/sbin/sshd -D\n{line}");
            world.instance.write(copy, text);
            let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap();
            let systemctl = systemctl
                .replace("FragmentPath=/usr/lib/systemd/system/ssh.service", &format!("FragmentPath={copy}"));
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            std::thread::sleep(Duration::from_millis(50));
            let up = fs::read_to_string("/proc/uptime").unwrap();
            let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
            world.instance.write("/run/failed", format!("{:.0}", up * 1e6 + 1e4));
            let report = world.check();
            let fix = report.of("running.daemon")["fix"].as_str().unwrap();
            assert!(fix.starts_with(says) && fix.contains("; the unit is a copy of the package's"), "{fix}");
            let note = report.note("running.daemon");
            assert!(!note.contains("signal 15"), "{note}");
        });
    }
}

/// A unit that sshd cannot start with: the report has the last lines of its journal and the file that changes it, and no command that
/// has just failed.
#[test]
fn a_unit_that_fails() {
    let failed = "ActiveState=failed SubState=failed NRestarts=5";
    let family = "'Server listening on 0.0.0.0 port 22.' 'Starting ssh.service - x...' 'socket: Address family not supported by protocol' \
         'ssh.service: Main process exited, code=exited, status=255/EXCEPTION' \"ssh.service: Failed with result 'exit-code'.\"";
    world(|world| {
        failed_unit(world, failed, "RestrictAddressFamilies=AF_UNIX AF_NETLINK", family);
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        assert_eq!(
            report.note("running.daemon"),
            "sshd is stopped: its unit ssh failed: socket: Address family not supported by protocol"
        );
        assert_eq!(
            report.of("running.daemon")["fix"],
            "remove RestrictAddressFamilies=AF_UNIX AF_NETLINK from sshd's unit (/etc/systemd/system/ssh.service.d/x.conf line 4), \
             then: systemctl daemon-reload; systemctl reset-failed ssh; systemctl restart ssh"
        );
        assert_eq!(report.detail("running.daemon").len(), 4, "{:#?}", report.detail("running.daemon"));
        // The file was changed after that.
        std::thread::sleep(Duration::from_millis(100));
        world.instance.write("/etc/systemd/system/ssh.service.d/x.conf", "[Service]\n");
        assert_eq!(world.check().of("running.daemon")["fix"], "systemctl start ssh");
    });
    // A socket starts it again for each client.
    world(|world| {
        let journal =
            "'Starting ssh.service' 'ssh.service: Main process exited, code=killed, status=25/XFSZ'";
        failed_unit(world, failed, "LimitFSIZE=0", journal);
        let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap().replacen(
            "in\n",
            "in 'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';; *Accept*) echo no;;\n",
            1,
        );
        world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
        let report = world.check();
        assert_eq!(report.status("running.daemon"), "warn", "{:#}", report.of("running.daemon"));
        let note = report.note("running.daemon");
        assert!(note.starts_with("ssh.socket listens, but its last start of sshd failed: "), "{note}");
    });
    // Without a file that changes it.
    world(|world| {
        failed_unit(
            world,
            failed,
            "",
            "'Starting ssh.service' 'ssh.service: Main process exited, code=killed, status=31/SYS'",
        );
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        let note = "sshd is stopped: its unit ssh failed: ssh.service: Main process exited, code=killed, status=31/SYS";
        assert_eq!(report.note("running.daemon"), note);
        assert_eq!(report.of("running.daemon")["fix_kind"], "advice");
    });
    // systemd starts it again and again, and has removed the directory meanwhile.
    world(|world| {
        let restarts = "ActiveState=activating SubState=auto-restart NRestarts=2";
        failed_unit(
            world,
            restarts,
            "LimitFSIZE=0",
            "'Starting ssh.service' 'ssh.service: Main process exited, code=killed, status=25/XFSZ'",
        );
        fs::remove_dir("/run/sshd").unwrap();
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        let note = report.note("running.daemon");
        assert!(
            note.contains("starts its unit ssh again and again") && note.ends_with("status=25/XFSZ"),
            "{note}"
        );
        assert!(report.of("running.daemon")["fix"].as_str().unwrap().starts_with("remove LimitFSIZE=0 from"));
    });
    // With another user, systemd gives it the directory.
    world(|world| {
        failed_unit(
            world,
            failed,
            "User=alice",
            "'Starting ssh.service' '/run/sshd must be owned by root and not group or world-writable.'",
        );
        chown("/run/sshd", Some(47_101), None).unwrap();
        let report = world.check();
        report.assert_exactly(&[("sshd.config", "fail"), ("running.daemon", "fail")]);
        for id in ["sshd.config", "running.daemon"] {
            let fix = report.of(id)["fix"].as_str().unwrap();
            assert!(
                fix.starts_with(
                    "remove User=alice from sshd's unit (/etc/systemd/system/ssh.service.d/x.conf line 4)"
                ),
                "{fix}"
            );
        }
    });
}

/// Adds lines to the `case` of the systemctl of a situation.
fn systemctl_says(world: &World<'_>, lines: &str) {
    let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap();
    world
        .instance
        .install("/usr/bin/systemctl", systemctl.replacen("in\n", &format!("in\n{lines}\n"), 1).as_bytes());
}

/// systemd starts it, and waits for a command of its unit or for another unit: `systemctl start` would wait, too.
#[test]
fn a_unit_that_is_being_started() {
    let id = "running.daemon";
    let command = |setting: &str, command: &str, ended: &str| {
        format!(
            "'{setting}={{ path=/bin/sh ; argv[]={command} ; ignore_errors=no ; start_time=[Sun] ; stop_time=[{ended}] ; pid=7 ; \
             code=(null) ; status=0/0 }}'"
        )
    };
    let waits = "/bin/sh -c until test -e /run/ready; do sleep 1; done";
    let unit =
        "'ExecStartPre=/bin/sh -c \"until test -e /run/ready; do sleep 1; done\"' ExecStartPre=/bin/sh";
    let unit = unit.replace("' ", "\n").replace('\'', "");
    for (state, commands, says, fix) in [
        (
            "ActiveState=activating SubState=start-pre NRestarts=0",
            [command("ExecStartPre", "/usr/sbin/sshd -t", "Sun"), command("ExecStartPre", waits, "n/a")]
                .join(" "),
            format!("its unit ssh (start-pre) waits for the end of ExecStartPre={waits}"),
            "if it does not end by itself, correct or remove ExecStartPre= (/etc/systemd/system/ssh.service.d/x.conf line 4), then: \
             systemctl daemon-reload; systemctl restart ssh",
        ),
        (
            "ActiveState=activating SubState=start NRestarts=0",
            command("ExecStart", "/srv/sshd", "n/a"),
            "systemd is still starting or stopping its unit ssh (start)".to_owned(),
            "find out what it waits for: systemctl status ssh; journalctl --unit ssh",
        ),
        (
            "ActiveState=deactivating SubState=stop-sigterm NRestarts=0",
            String::new(),
            "systemd is still starting or stopping its unit ssh (stop-sigterm)".to_owned(),
            "find out what it waits for: systemctl status ssh; journalctl --unit ssh",
        ),
    ] {
        world(|world| {
            failed_unit(world, state, &unit, "'Starting ssh.service'");
            let shown = format!("printf '%s\\n' {state} StateChangeTimestampMonotonic=1 {commands};;");
            systemctl_says(world, &format!("*ExecCondition*) {shown}"));
            let report = world.check();
            report.assert_exactly(&[(id, "fail")]);
            assert_eq!(report.note(id), format!("sshd is stopped: {says}"));
            assert_eq!(report.of(id)["fix"], fix);
            // The same unit, while its socket listens.
            systemctl_says(
                world,
                "'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';; *Accept*) echo no;;",
            );
            let report = world.check();
            assert_eq!(report.note(id), format!("ssh.socket listens, but sshd does not start: {says}"));
            let now = fs::read_to_string("/run/failed").unwrap();
            let systemctl = fs::read_to_string("/usr/bin/systemctl").unwrap();
            let systemctl = systemctl.replace("Monotonic=1 ", &format!("Monotonic={} ", now.trim()));
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            assert_eq!(world.check().status(id), "ok", "a client has just connected");
        });
    }
    for (jobs, says, fix) in [
        (
            "'9 agent-online.service start running' '12 ssh.service start waiting' '13 a.target start waiting'",
            "sshd is stopped: the start of ssh.service waits; systemd is still starting agent-online.service (systemctl list-jobs)",
            "find out why agent-online.service does not become active (systemctl status); to start sshd before that: systemctl start \
             --job-mode=ignore-dependencies ssh.service",
        ),
        (
            "'9 agent-online.service start running' '12 ssh.service stop waiting'",
            "sshd is stopped",
            "systemctl start ssh",
        ),
        (
            "'9 agent-online.service start running' '12 sshguard.service start waiting'",
            "sshd is stopped",
            "systemctl start ssh",
        ),
    ] {
        world(|world| {
            failed_unit(world, "ActiveState=inactive SubState=dead NRestarts=0", "", "'Stopped ssh.service'");
            systemctl_says(
                world,
                &format!("*ExecCondition*) echo ActiveState=inactive;; list-jobs*) printf '%s\\n' {jobs};;"),
            );
            let report = world.check();
            report.assert_exactly(&[(id, "fail")]);
            assert_eq!((report.note(id), report.of(id)["fix"].as_str()), (says, Some(fix)));
        });
    }
}

/// The options of its command line are in another file, and the journal may name nothing.
#[test]
fn options_with_which_sshd_ends() {
    let with = |options: &str, state: &str, journal: &str, test: &dyn Fn(&World<'_>)| {
        world(|world| {
            world.instance.write("/etc/default/ssh", format!("# no -t\nSSHD_OPTS=\"{options}\"\n"));
            let settings =
                "EnvironmentFile=-/etc/default/ssh\nExecStart=\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS";
            failed_unit(world, state, settings, journal);
            systemctl_says(world, "*property=LoadState,Requires*) echo LoadState=loaded;;");
            test(world);
        });
    };
    let id = "running.daemon";
    let state = "ActiveState=inactive SubState=dead NRestarts=0";
    for option in ["-t", "-i", "-4G", "-q -R"] {
        with(option, state, "'Stopped ssh.service'", &|world| {
            let report = world.check();
            report.assert_exactly(&[(id, "fail")]);
            let letter = option.chars().next_back().unwrap();
            let says = "with which it does not wait for clients";
            assert_eq!(
                report.note(id),
                format!("sshd is stopped: its unit ssh starts sshd with -{letter}, {says}")
            );
            let place = "/etc/default/ssh line 2";
            assert_eq!(
                report.of(id)["fix"],
                format!("remove -{letter} ({place}), then: systemctl daemon-reload; systemctl restart ssh")
            );
        });
    }
    for option in ["-o LogLevel=INFO -e -4", "-o 'ForceCommand=/srv/menu -i'"] {
        with(option, state, "'Stopped ssh.service'", &|world| {
            assert_eq!(world.check().of(id)["fix"], "systemctl start ssh", "{option}");
        });
    }
    for (option, message, usage) in [
        ("-4 -o", "/usr/sbin/sshd: option requires an argument -- 'o'", "'usage: sshd [-46DdeGiqTtV]'"),
        ("-E /var/log/none/sshd", "Couldn't open logfile /var/log/none/sshd: No such file or directory", ""),
    ] {
        let state = "ActiveState=failed SubState=failed NRestarts=5";
        with(option, state, &format!("'Starting ssh.service' \"{message}\" {usage}"), &|world| {
            let report = world.check();
            assert_eq!(report.note(id), format!("sshd is stopped: its unit ssh failed: {message}"));
            assert_eq!(
                report.of(id)["fix"],
                "correct the options of sshd (/etc/default/ssh line 2), then: systemctl daemon-reload; systemctl reset-failed ssh; \
                 systemctl restart ssh"
            );
        });
    }
}

/// systemd has started it too often in a short time. Nothing else is wrong.
#[test]
fn a_unit_that_was_started_too_often() {
    world(|world| {
        let failed = "ActiveState=failed SubState=failed Result=start-limit-hit NRestarts=0";
        let journal = "'Received signal 15; terminating.' 'ssh.service: Start request repeated too quickly.'";
        failed_unit(world, failed, "", journal);
        let report = world.check();
        report.assert_exactly(&[("running.daemon", "fail")]);
        assert!(
            report.note("running.daemon").ends_with("because it was started too often (StartLimitBurst=)")
        );
        assert_eq!(report.of("running.daemon")["fix"], "systemctl reset-failed ssh && systemctl start ssh");
    });
}

/// Without such a setting of the unit, the directory was changed by hand.
#[test]
fn a_directory_of_another_user() {
    // From 9.8, sshd looks at it only when it is started.
    let works = eic_lab::sshd::sshd_version() >= (9, 8);
    broken(
        |world| {
            chown("/run/sshd", Some(47_101), None).unwrap();
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status == Some(0), works);
        },
        if works {
            &[("sshd.config", "warn")]
        } else {
            &[("sshd.config", "fail"), ("network.banner", "fail")]
        },
        "/run/sshd must be owned by root",
    );
}

/// `systemctl start` succeeds, and does nothing.
#[test]
fn a_unit_whose_condition_is_not_met() {
    let lines = |result: &str| {
        format!(
            "ConditionResult={result}\nConditionTimestampMonotonic=77\nAssertResult=yes\nAssertTimestampMonotonic=77"
        )
    };
    let file = "/etc/ssh/sshd_not_to_be_run";
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        // It is active after its start, if the file does not exist.
        let systemctl = format!(
            "#!/bin/sh\ncase \"$*\" in\n*ConditionResult*) cat <<'END'\n{}\nEND\n;;\n'start sshd'|'start ssh') [ -e {file} ] || \
             /usr/sbin/sshd;;\n*) exit 1;;\nesac\n",
            lines("no")
        );
        world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
        let report = world.check();
        assert_eq!(report.status("running.daemon"), "fail");
        let note = report.note("running.daemon");
        assert!(note.ends_with("because a Condition...= setting of it is not met"), "{note}");
        // Of several, the one that is not met.
        let lines = "[Unit]\nConditionPathExists=!/none\nConditionPathExists=/etc\nConditionPathExists=/etc/ssh/ready\n";
        for unit in ["ssh", "sshd"] {
            let directory = format!("/etc/systemd/system/{unit}.service.d");
            fs::create_dir_all(&directory).unwrap();
            world.instance.write(format!("{directory}/o.conf"), lines);
        }
        let report = world.check();
        let note = report.note("running.daemon");
        assert!(
            note.contains("because ConditionPathExists=/etc/ssh/ready (/etc/systemd/system/ssh")
                && note.ends_with(".service.d/o.conf line 4) is not met"),
            "{note}"
        );
        world.instance.write(file, "");
        let report = world.check();
        assert!(report.note("running.daemon").ends_with(&format!("is not started while {file} exists")));
        world.apply(&report, "running.daemon");
        assert!(!Path::new(file).exists());
        assert_eq!(world.settled().status("running.daemon"), "ok");
    });
}

/// Such a socket takes connections, but cannot start sshd. With `Accept=yes`, it starts another unit.
#[test]
fn a_socket_of_a_unit_that_is_masked() {
    world(|world| {
        stop_sshd();
        fs::create_dir_all("/run/systemd/system").unwrap();
        fs::create_dir_all("/etc/systemd/system").unwrap();
        world.instance.write("/usr/lib/systemd/system/ssh.service", "[Service]\n");
        symlink("/dev/null", "/etc/systemd/system/ssh.service").unwrap();
        world.instance.write("/usr/lib/systemd/system/ssh@.service", "[Service]\nRuntimeDirectory=sshd\n");
        for (accept, status) in [("no", "fail"), ("yes", "ok")] {
            let systemctl = format!(
                "#!/bin/sh\ncase \"$*\" in
                    'is-active ssh.socket sshd.socket') printf 'active\\ninactive\\n';;
                    'show --property=Accept --value ssh.socket') echo {accept};;
                    'show --property=ActiveState,Listen,'*) printf 'Listen=[::]:22 (Stream)\\nActiveState=active\\n';;
                esac\n"
            );
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            let report = world.check();
            assert_eq!(report.status("running.daemon"), status, "{accept}");
            assert_eq!(report.status("network.banner"), "skip", "it would start sshd");
            if status == "fail" {
                assert_eq!(report.of("running.daemon")["fix"], "systemctl unmask ssh && systemctl start ssh");
            } else {
                let note = report.note("network.banner");
                assert_eq!(note, "the first connection starts sshd; --rehearse connects");
                world.instance.remove("/usr/lib/systemd/system/ssh@.service");
                let report = world.check();
                let note = report.note("running.daemon");
                assert_eq!(
                    note,
                    "ssh.socket has Accept=yes, and cannot start sshd: ssh@.service does not exist"
                );
                assert_eq!(
                    report.of("running.daemon")["fix"],
                    "systemctl stop ssh.socket && systemctl start ssh"
                );
            }
        }
    });
}

#[test]
fn sshd_has_not_read_its_configuration() {
    world(|world| {
        world.instance.write("/etc/ssh/sshd_config", config().set("MaxAuthTries", "5").text());
        let report = world.check();
        report.assert_exactly(&[("running.current", "warn")]);
        world.apply(&report, "running.current");
        world.settled().assert_healthy();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        fs::create_dir_all("/etc/ssh/sshd_config.d").unwrap();
        world.instance.write("/etc/ssh/sshd_config.d/gone.conf", "");
        world.instance.remove("/etc/ssh/sshd_config.d/gone.conf");
        assert_eq!(world.check().status("running.current"), "warn", "a file of it may be gone");
    });
    // A time in the future does not tell when the file was changed.
    world(|world| {
        let touch = "touch -d '+2 days' /etc/ssh/sshd_config; sleep 0.02";
        stop_sshd();
        world.start_sshd(&format!("{touch}; /usr/sbin/sshd"));
        world.check().assert_healthy();
        stop_sshd();
        world.instance.write("/etc/ssh/sshd_config", config().set("AllowUsers", "bob").text());
        world.start_sshd(&format!("{touch}; /usr/sbin/sshd"));
        world.check().assert_exactly(&[("sshd.access", "fail")]);
        world.instance.write("/etc/ssh/sshd_config", config().text());
        world.sh(touch);
        assert_eq!(world.check().status("running.current"), "warn");
    });
    // The mode and the owner are not what sshd reads. A file that was moved is.
    world(|world| {
        world.sh("cp -p /etc/ssh/sshd_config /run/older; chmod 600 /etc/ssh/sshd_config; chgrp 12 /etc/ssh/sshd_config",
        );
        world.check().assert_healthy();
        world.restart(&config().set("AllowUsers", "bob").text());
        world.sh("touch -d '1 hour ago' /etc/ssh/sshd_config; chmod 600 /etc/ssh/sshd_config");
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        world.check().assert_exactly(&[("sshd.access", "fail")]);
        world.sh("mv /run/older /etc/ssh/new; mv /etc/ssh/new /etc/ssh/sshd_config");
        assert_eq!(world.check().status("running.current"), "warn");
    });
}

#[test]
fn an_override_on_the_command_line() {
    broken(
        |world| {
            world.instance.write(
                "/usr/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf",
                "[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D -o \"AuthorizedKeysCommand /x %%u %%f\"\n",
            );
        },
        // The sshd that runs was not started with it.
        &[("running.override", "warn"), ("install.aws", "warn")],
        "works now, but breaks at sshd's next restart: /usr/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf line 3 has -o AuthorizedKeysCommand",
    );
}

#[test]
fn a_program_that_sshd_does_not_trust() {
    let path = &[("install.path", "fail")];
    let mode = |path: &'static str, mode| {
        move |_: &World<'_>| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap()
    };
    broken(mode("/usr/bin/eic-keys", 0o777), path, "users other than root can write to /usr/bin/eic-keys");
    broken(mode("/usr/bin", 0o777), path, "users other than root can write to /usr/bin");
    broken(|_| chown("/usr/bin/eic-keys", Some(47_101), None).unwrap(), path, "is owned by uid 47101");
    world(|world| {
        let report = world.breaks(
            |_| chown("/usr/bin", Some(47_101), None).unwrap(),
            path,
            "/usr/bin is owned by uid 47101",
        );
        let fix = report.of("install.path")["fix"].as_str().unwrap();
        assert!(
            fix.starts_with("make root the owner of /usr/bin, with mode 0755") && !fix.contains("install"),
            "{fix}"
        );
    });
    world(|world| {
        let other = config().set("AuthorizedKeysCommand", "/usr/local/bin/eic-keys %u %f").text();
        let report =
            world.breaks(|world| world.configure(&other), path, "/usr/local/bin/eic-keys: No such file");
        let fix = report.of("install.path")["fix"].as_str().unwrap();
        assert!(
            fix.starts_with("write /usr/bin/eic-keys, where eic-keys is, in the place of that path (/etc/ssh/sshd_config line "),
            "{fix}"
        );
    });
}

#[test]
fn a_changed_program() {
    let package = |world: &World<'_>, sum: &str| {
        world.instance.namespace().cover("/var/lib");
        dpkg_has(world, "eic-keys", &["/usr/bin/eic-keys"], sum);
        says(
            world,
            "/usr/bin/apt-cache",
            "  eic-keys | 1 | https://repository.example stable/main amd64 Packages",
        );
    };
    let sum = |world: &World<'_>| {
        world.instance.command(["/usr/bin/eic-keys"]).program("/usr/bin/md5sum").run().stdout[..32].to_owned()
    };
    broken(
        |world| {
            package(world, &sum(world));
            let mut program = fs::OpenOptions::new().append(true).open("/usr/bin/eic-keys").unwrap();
            program.write_all(b"more").unwrap();
        },
        &[("install.package", "warn")],
        "was changed after the package eic-keys was installed",
    );
    world(|world| {
        package(world, &sum(world));
        let report = world.check();
        report.assert_healthy();
        assert_eq!(
            report.note("install.package"),
            "/usr/bin/eic-keys is unchanged since the package eic-keys was installed"
        );
    });
}

/// A package that dpkg has, with these files; `sum` is said to be the first one's.
fn dpkg_has(world: &World<'_>, package: &str, files: &[&str], sum: &str) {
    let status = fs::read_to_string("/var/lib/dpkg/status").unwrap();
    let entry = format!(
        "Package: {package}\nStatus: install ok installed\nMaintainer: none\nArchitecture: all\nVersion: 1\nDescription: x\n\n"
    );
    world.instance.write("/var/lib/dpkg/status", format!("{status}\n{entry}"));
    world.instance.write(format!("/var/lib/dpkg/info/{package}.list"), files.join("\n") + "\n");
    let path = files[0].trim_start_matches('/');
    world.instance.write(format!("/var/lib/dpkg/info/{package}.md5sums"), format!("{sum}  {path}\n"));
}

const AWS: &str = "/usr/share/ec2-instance-connect/eic_run_authorized_keys";

#[test]
fn the_package_of_aws() {
    broken(
        |world| world.instance.write(AWS, ""),
        &[("install.aws", "warn")],
        "a file of AWS's package ec2-instance-connect, which is not installed",
    );
    broken(
        |world| {
            world.instance.namespace().cover("/var/lib");
            world.instance.write(AWS, "");
            dpkg_has(world, "ec2-instance-connect", &[AWS], "0");
        },
        &[("install.aws", "warn")],
        "is also installed",
    );
}

/// Our own package brings that path, and answers to that name: to remove "it" would remove ours.
#[test]
fn a_link_to_eic_keys_is_not_the_package_of_aws() {
    world(|world| {
        fs::create_dir_all("/usr/share/ec2-instance-connect").unwrap();
        symlink("../../bin/eic-keys", AWS).unwrap();
        let report = world.check();
        report.assert_healthy();
        assert_eq!(report.status("install.aws"), "ok");
    });
}

/// By exact name: apt-get, dnf and yum would also remove what provides that name.
#[test]
fn the_fix_removes_only_the_package_of_aws() {
    world(|world| {
        world.instance.namespace().cover("/var/lib");
        world.instance.write(AWS, "");
        let fix = |world: &World<'_>| world.check().of("install.aws")["fix"].as_str().unwrap().to_owned();
        assert!(fix(world).starts_with("if no sshd uses"), "{}", fix(world));
        world.instance.install("/usr/bin/rpm", b"#!/bin/sh\n[ \"$*\" = '--query ec2-instance-connect' ]\n");
        assert_eq!(fix(world), "rpm --erase ec2-instance-connect");
        dpkg_has(world, "ec2-instance-connect", &[AWS], "0");
        assert_eq!(fix(world), "dpkg --purge ec2-instance-connect");
    });
}

/// Amazon Linux 2 has yum, the later ones and RHEL have dnf.
#[test]
fn the_fix_uses_the_installed_package_manager() {
    world(|world| {
        world.instance.namespace().cover("/var/lib");
        dpkg_has(world, "eic-keys", &["/usr/bin/eic-keys"], &"0".repeat(32));
        let fix = |world: &World<'_>| world.check().of("install.package")["fix"].as_str().unwrap().to_owned();
        let from_file =
            "install the package eic-keys again, from the file or repository that it was installed from";
        // apt-get can download only what a repository has.
        says(world, "/usr/bin/apt-cache", "");
        assert_eq!(fix(world), from_file);
        says(
            world,
            "/usr/bin/apt-cache",
            "  eic-keys | 1 | https://repository.example stable/main amd64 Packages",
        );
        assert_eq!(fix(world), "apt-get install --reinstall eic-keys");
        world.instance.remove("/usr/bin/apt-get");
        let store = |world: &World<'_>| world.check().of("signer.store")["fix"].as_str().unwrap().to_owned();
        world.instance.trust_store(TRUST_STORE, "");
        for tool in ["yum", "dnf"] {
            world.instance.install(&format!("/usr/bin/{tool}"), b"#!/bin/sh\nexit 1\n");
        }
        assert_eq!(fix(world), from_file);
        assert_eq!(store(world), "dnf -y reinstall ca-certificates");
        world.instance.remove("/usr/bin/dnf");
        assert_eq!(store(world), "yum -y reinstall ca-certificates");
        world.instance.remove("/usr/bin/yum");
        assert_eq!(store(world), "install the package ca-certificates again");
    });
}

/// Puts a program in the place of one of the system's that prints this.
fn says(world: &World<'_>, path: &str, text: &str) {
    world.instance.install(path, format!("#!/bin/sh\ncat <<'END'\n{text}\nEND\n").as_bytes());
}

#[test]
fn layers_of_the_sandbox() {
    world(|world| {
        let report = world.check();
        report.assert_healthy();
        // As many as tests/hostile finds to hold, on a kernel that has all of them.
        assert_eq!(report.note("confinement.layers"), "the kernel enforces 5 of 5 layers of the sandbox");
    });
}

/// A line of the audit log, of some time ago.
fn denial(ago: Duration) -> String {
    let time = SystemTime::now().checked_sub(ago).unwrap().duration_since(UNIX_EPOCH).unwrap();
    format!(
        "type=AVC msg=audit({}.123:3): avc:  denied  {{ name_connect }} for  pid=1 comm=\"eic-keys\" dest=80\n",
        time.as_secs()
    )
}

/// The policy can have been changed since.
#[test]
fn an_old_denial() {
    world(|world| {
        world.instance.write("/var/log/audit/audit.log", denial(Duration::from_secs(25 * 3600)));
        world.check().assert_healthy();
    });
}

#[test]
fn selinux() {
    let enforcing = |world: &World<'_>, modules: &str| {
        world.instance.write("/sys/fs/selinux/enforce", "1");
        says(world, "/usr/sbin/semodule", modules);
    };
    broken(
        |world| enforcing(world, "abrt\nssh\n"),
        &[("confinement.selinux", "warn")],
        "without a policy module",
    );
    world(|world| {
        enforcing(world, "abrt\neic_keys\nssh");
        world.check().assert_healthy();
        world.instance.write("/sys/fs/selinux/enforce", "0");
        assert!(world.check().note("confinement.selinux").contains("permissive"));
    });
    broken(
        |world| {
            world.instance.write("/var/log/audit/audit.log", denial(Duration::from_secs(3600)));
        },
        &[("confinement.denials", "warn")],
        "name_connect",
    );
}

#[test]
fn an_apparmor_profile() {
    broken(
        |world| {
            world.instance.write("/run/profile", "/usr/sbin/sshd (enforce)\n");
            let mount = "for file in apparmor/current current; do f=/proc/$(cat /run/sshd.pid)/attr/$file; \
                         if [ -e $f ]; then mount --bind /run/profile $f; fi; done";
            let mounted = world.instance.command(["-c", mount]).program("/bin/sh").as_root().run();
            assert_eq!(mounted.status, Some(0), "{}", mounted.stderr);
        },
        &[("confinement.apparmor", "warn")],
        "/usr/sbin/sshd (enforce)",
    );
}

/// What the running sshd has counts.
#[test]
fn an_sshd_without_a_capability() {
    for capability in ["sys_chroot", "setgid"] {
        world(|world| {
            stop_sshd();
            let drop = format!("-{capability}");
            let arguments = ["--bounding-set", &drop, "--inh-caps", &drop, "/usr/sbin/sshd"];
            let started = world.instance.command(arguments).program("/usr/bin/setpriv").as_root().run();
            assert_eq!(started.status, Some(0), "{}", started.stderr);
            world.settled();
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            let report = world.check();
            assert_eq!(report.status("confinement.unit"), "fail");
            let says = format!("sshd lacks CAP_{}: it closes each connection", capability.to_uppercase());
            assert_eq!(report.note("confinement.unit"), says);
            assert_eq!(report.of("confinement.unit")["fix_kind"], "advice");
            // The unit was repaired, and sshd was not started again.
            fs::create_dir_all("/run/systemd/system").unwrap();
            let systemctl = "#!/bin/sh\ncase \"$*\" in\n*MainPID*CapabilityBoundingSet*) echo MainPID=$(cat /run/sshd.pid); cat /run/set ;;\nesac\n";
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            for (set, kind) in [("cap_chown", "advice"), ("cap_setgid cap_sys_chroot", "command")] {
                world.instance.write("/run/set", format!("CapabilityBoundingSet={set}\n"));
                let report = world.check();
                assert_eq!(report.of("confinement.unit")["fix_kind"], kind);
                let fix = report.of("confinement.unit")["fix"].as_str().unwrap();
                assert_eq!(fix.starts_with("systemctl restart ssh"), kind == "command", "{fix}");
            }
        });
    }
}

/// What RHEL's mode of the file needs.
#[test]
fn an_sshd_that_cannot_read_shadow() {
    for (mode, works) in [(0o600, true), (0o000, false)] {
        world(|world| {
            world.instance.write(
                "/etc/pam.d/sshd",
                "auth required pam_permit.so\naccount required pam_unix.so\nsession required pam_permit.so\n",
            );
            world.instance.write("/etc/ssh/sshd_config", config().set("UsePAM", "yes").text());
            fs::set_permissions("/etc/shadow", Permissions::from_mode(mode)).unwrap();
            stop_sshd();
            let drop = "-dac_override,-dac_read_search";
            let arguments = ["--bounding-set", drop, "--inh-caps", drop, "/usr/sbin/sshd"];
            let started = world.instance.command(arguments).program("/usr/bin/setpriv").as_root().run();
            assert_eq!(started.status, Some(0), "{}", started.stderr);
            world.settled();
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status == Some(0), works, "{mode:o}");
            let report = world.check();
            let expected = if works { "ok" } else { "fail" };
            assert_eq!(report.status("confinement.unit"), expected, "{:#}", report.of("confinement.unit"));
            assert_eq!(report.note("confinement.unit").contains("cannot read /etc/shadow"), !works);
        });
    }
}

/// Files of each login that sshd's unit hides.
#[test]
fn an_sshd_that_does_not_see_a_file() {
    for (script, status, says) in [
        ("mount --bind /dev/null /etc/shadow", "fail", "sshd cannot use /etc/shadow"),
        ("mount -t tmpfs none /etc/pam.d", "fail", "sshd cannot use /etc/pam.d/sshd"),
        (
            "mount -t tmpfs none \"$(find /usr/lib /usr/lib64 -name pam_unix.so -printf '%h\n' | head -n 1)\"",
            "fail",
            "sshd cannot use /usr/lib",
        ),
        (
            "grep -v ^alice /etc/passwd >/run/other; mount --bind /run/other /etc/passwd",
            "warn",
            "sshd sees another /etc/passwd",
        ),
        (
            "sed '1i DenyUsers alice' /etc/ssh/sshd_config >/run/other; mount --bind /run/other /etc/ssh/sshd_config",
            "warn",
            "sshd sees another /etc/ssh/sshd_config",
        ),
    ] {
        world(|world| {
            world.instance.write(
                "/etc/pam.d/sshd",
                "auth required pam_permit.so\naccount required pam_unix.so\nsession required pam_permit.so\n",
            );
            world.instance.write("/etc/ssh/sshd_config", config().set("UsePAM", "yes").text());
            world.restart_in_namespace(script);
            let report = world.check();
            report.assert_exactly(&[("confinement.unit", status)]);
            assert!(report.note("confinement.unit").starts_with(says), "{}", report.note("confinement.unit"));
        });
    }
}

/// Another file of limits than the one that `user.pam` reads. Without `pam_limits`, nothing reads it.
#[test]
fn an_sshd_that_sees_other_limits() {
    let hides = "sshd cannot use /etc/security/limits.conf";
    for (session, mount, expected) in [
        (
            "pam_limits.so",
            "--bind /run/other /etc/security/limits.conf",
            Some(("warn", "sshd sees another /etc/security/limits.conf")),
        ),
        // An empty one is enough.
        ("pam_limits.so", "--bind /dev/null /etc/security/limits.conf", None),
        // None, for pam_limits before 1.5.3.
        ("pam_limits.so", "-t tmpfs none /etc/security", Some(("fail", hides))),
        ("pam_permit.so", "--bind /run/other /etc/security/limits.conf", None),
    ] {
        world(|world| {
            let pam = "auth required pam_permit.so\naccount required pam_permit.so\nsession required";
            world.instance.write("/etc/pam.d/sshd", format!("{pam} {session}\n"));
            world.instance.write("/etc/security/limits.conf", "* soft core 0\n");
            world.instance.write("/run/other", "* - nofile 3\n");
            world.instance.write("/etc/ssh/sshd_config", config().set("UsePAM", "yes").text());
            stop_sshd();
            let start = format!("mount {mount} && exec /usr/sbin/sshd");
            let arguments = ["--mount", "/bin/sh", "-c", &start];
            let started = world.instance.command(arguments).program("/usr/bin/unshare").as_root().run();
            assert_eq!(started.status, Some(0), "{}", started.stderr);
            world.settled();
            let (report, id) = (world.check(), "confinement.unit");
            let works = world.sshd.ssh(USER, &world.key, "true").status == Some(0);
            let expected = expected.filter(|(status, _)| !works || *status != "fail");
            assert!(works || expected.is_some(), "{mount}");
            let (status, says) = expected.unwrap_or(("ok", ""));
            assert_eq!(report.status(id), status, "{:#}", report.of(id));
            assert!(report.note(id).starts_with(says), "{}", report.note(id));
        });
    }
}

/// A command runs; a session on a terminal does not.
#[test]
fn an_sshd_that_cannot_give_away_a_terminal() {
    let on_terminal = |world: &World<'_>| {
        world.instance.write("/run/key", world.key.private());
        let login = format!(
            "chmod 600 /run/key; exec ssh -tt -F none -i /run/key -o BatchMode=yes -o StrictHostKeyChecking=no -o \
             UserKnownHostsFile=/dev/null -l {USER} 127.0.0.1 true"
        );
        world.instance.command(["-c", &login]).program("/bin/sh").as_root().run().status
    };
    world(|world| {
        assert_eq!(on_terminal(world), Some(0));
        stop_sshd();
        let arguments = ["--bounding-set", "-chown", "--inh-caps", "-chown", "/usr/sbin/sshd"];
        let started = world.instance.command(arguments).program("/usr/bin/setpriv").as_root().run();
        assert_eq!(started.status, Some(0), "{}", started.stderr);
        world.settled();
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        assert_ne!(on_terminal(world), Some(0));
        let report = world.check();
        report.assert_exactly(&[("confinement.unit", "fail")]);
        let says = "sshd lacks CAP_CHOWN: it closes each session on a terminal";
        assert_eq!(report.note("confinement.unit"), says);
    });
}

#[test]
fn a_unit_that_restricts_sshd() {
    let with = |line: &'static str| {
        move |world: &World<'_>| {
            fs::create_dir_all("/run/systemd/system").unwrap();
            says(world, "/usr/bin/systemctl", line);
        }
    };
    let unit = &[("confinement.unit", "warn")];
    broken(with("IPAddressDeny=169.254.0.0/16"), unit, "IPAddressDeny=169.254.0.0/16");
    for denied in [
        "IPAddressDeny=0.0.0.0/0 ::/0",
        "IPAddressDeny=0.0.0.0/0 ::/0\nIPAddressAllow=169.254.169.254/32",
        "IPAddressDeny=10.0.0.0/8 169.254.169.254/32\nIPAddressAllow=169.254.0.0/17",
        "Id=ssh.service\nIPAddressAllow=0.0.0.0/0\n\nId=sshd.service\nIPAddressDeny=169.254.0.0/16",
    ] {
        broken(with(denied), unit, "sshd's unit restricts its processes: IPAddressDeny=");
    }
    for harmless in [
        "IPAddressDeny=203.0.113.0/24 2001:db8::/32",
        "IPAddressDeny=169.254.0.0/16\nIPAddressAllow=169.254.169.254/32",
        "IPAddressDeny=0.0.0.0/0 ::/0\nIPAddressAllow=0.0.0.0/0",
    ] {
        world(|world| {
            with(harmless)(world);
            world.check().assert_healthy();
        });
    }
    broken(with("PrivateNetwork=yes"), unit, "PrivateNetwork=yes");
    broken(with("RestrictAddressFamilies=AF_UNIX"), unit, "AF_UNIX");
    broken(
        with("Id=ssh.service\nSystemCallFilter=~bpf connect\nSystemCallErrorNumber=0"),
        unit,
        "kill eic-keys before it prints a key: SystemCallFilter= of ssh.service lacks connect",
    );
    broken(
        with(
            "Id=ssh.service\nSystemCallFilter=\n\nId=sshd.service\nSystemCallFilter=~seccomp capset:EPERM landlock_create_ruleset",
        ),
        unit,
        "of sshd.service lacks capset landlock_create_ruleset seccomp",
    );
    // As of systemd 247.
    broken(with("SystemCallFilter=~prlimit64\nSystemCallErrorNumber=2147483646"), unit, "kill eic-keys");
    broken(
        with("SystemCallFilter=~prlimit64\nSystemCallErrorNumber=1"),
        unit,
        "are refused: SystemCallFilter=",
    );
    for (line, says) in [
        (
            "InaccessiblePaths=/sys",
            "hides /sys from its processes (InaccessiblePaths=), and eic-keys needs /sys/",
        ),
        ("InaccessiblePaths=/srv -/sys/devices/virtual", "hides /sys/devices/virtual from"),
        ("InaccessiblePaths=/etc/ssl", "and eic-keys needs /etc/ssl/certs/"),
        ("TemporaryFileSystem=/usr/bin:ro", "hides /usr/bin from its processes (TemporaryFileSystem=)"),
    ] {
        broken(with(line), unit, says);
    }
    world(|world| {
        let open = "IPAddressDeny=\nPrivateNetwork=no\nRestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\nSystemCallFilter=~\n\
                    InaccessiblePaths=/sys/kernel /etc/ssl/private -/x\nTemporaryFileSystem=";
        with(open)(world);
        world.check().assert_healthy();
    });
}

/// A line of a log file, written so many seconds ago.
pub(crate) fn log_line(seconds: u64, text: &str) -> String {
    let time = Command::new("date").args(["-Is", "-d", &format!("{seconds} seconds ago")]).output().unwrap();
    format!("{} host {text}\n", String::from_utf8(time.stdout).unwrap().trim_end())
}

#[test]
fn what_the_log_tells() {
    // In the format of RFC 3164, which Debian had until version 12.
    let line = |text: &str| format!("Nov 20 08:00:00 host {text}\n");
    let failed = line("sshd[7]: AuthorizedKeysCommand /usr/bin/eic-keys alice SHA256:x failed, status 2");
    let given = line("eic-keys[8]: Providing ssh key from EC2 Instance Connect with fingerprint: SHA256:x");
    let reason =
        "eic-keys[8]: No key for alice: latest/api/token: the metadata service did not answer in time";
    let refused = line(reason);
    let write = |text: &str| {
        let text = text.to_owned();
        move |world: &World<'_>| world.instance.write("/var/log/auth.log", text)
    };
    let recent = &[("recent.sshd", "warn")];
    broken(
        write(&[given.clone(), failed.clone()].concat()),
        recent,
        "failed once, last with status 2: the metadata service failed, or did not answer in time",
    );
    let error = failed.replace(": Auth", ": error: Auth");
    broken(write(&[failed.clone(), error].concat()), recent, "failed 2 times, last with status 2");
    world(|world| {
        write(&[failed, refused, given.clone()].concat())(world);
        let report = world.check();
        report.assert_healthy();
        assert_eq!(report.detail("recent.syslog").len(), 2);
        for id in ["recent.sshd", "recent.login", "recent.syslog"] {
            let hearsay = "(from /var/log/auth.log, to which any local user, and a client of some services, can write such lines)";
            assert!(report.note(id).contains(hearsay), "{}", report.note(id));
        }
        world.instance.write(
            "/var/log/auth.log",
            line("sshd[7]: error: Unsafe AuthorizedKeysCommand \"/x\": \\033[2J"),
        );
        let report = world.check();
        report.assert_exactly(recent);
        assert!(report.note("recent.sshd").contains("\\u{1b}[2J"), "sshd's escapes, in ours");

        // A refusal of the last hour.
        for (age, text, status) in [
            (3500, reason, "warn"),
            (3700, reason, "ok"),
            (1, "eic-keys[8]: No key for bob: latest/api/token: late", "ok"),
            (1, "eic-keys[8]: Refused a record of active keys for alice: it expired 3 s ago", "warn"),
            // Somebody typed it: sshd's line is right.
            (1, "eic-keys[8]: Wrong command line: --x", "ok"),
            (1, "vsftpd: pam_unix(vsftpd:auth): ruser=x eic-keys[8]: Wrong command line: --x", "ok"),
            (1, "sshd[8]: No key for alice: x", "ok"),
        ] {
            write(&log_line(age, text))(world);
            let report = world.check();
            assert_eq!(report.status("recent.syslog"), status, "{text}: {}", report.note("recent.syslog"));
        }
        write(&[log_line(9, reason), given.clone()].concat())(world);
        world.check().assert_healthy();
    });
    // A run that gave a key, and whose chained command then failed: the login works.
    world(|world| {
        for status in ["exit status: 1", "exit status: 127", "signal: 9 (SIGKILL)"] {
            let chained =
                |run: u8| log_line(1, &format!("eic-keys[{run}]: The chained command failed: {status}"));
            write(&[given.clone(), chained(8)].concat())(world);
            world.check().assert_healthy();
            write(&[given.clone(), chained(9)].concat())(world);
            world.check().assert_exactly(&[("recent.syslog", "warn")]);
        }
    });
    // Sshd's line is wrong.
    world(|world| {
        world.configure(&config().set("AuthorizedKeysCommand", "/usr/bin/eic-keys --x %u %f").text());
        write(&log_line(1, "eic-keys[8]: Wrong command line: --x"))(world);
        assert_eq!(world.check().status("recent.syslog"), "warn");
    });
}

/// The client has the wrong key, and eic-keys knows which one it should have.
#[test]
fn another_key_than_the_pushed_one() {
    world(|world| {
        let line = "eic-keys[8]: No pushed key is offered for alice: the client offers SHA256:a, and SHA256:b is pushed";
        let ended =
            "sshd-session[7]: Connection closed by authenticating user alice 192.0.2.1 port 5 [preauth]";
        let written = |lines: &[(u64, &str)]| {
            let text: String = lines.iter().map(|(age, line)| log_line(*age, line)).collect();
            world.instance.write("/var/log/auth.log", text);
            world.check()
        };
        let report = written(&[(31, line), (30, ended)]);
        report.assert_exactly(&[("recent.login", "warn")]);
        let note = report.note("recent.login");
        assert!(
            note.contains(
                "no key that the client offered is pushed: the client offers SHA256:a, and SHA256:b is pushed"
            ),
            "{note}"
        );
        let accepted =
            "sshd-session[7]: Accepted publickey for alice from 192.0.2.1 port 5 ssh2: ED25519 SHA256:b";
        let given = "eic-keys[9]: Providing ssh key from EC2 Instance Connect with fingerprint: SHA256:b";
        // The pushed key was the second; the line is of another attempt, or of another user.
        for lines in [
            &[(31, line), (30, given), (29, accepted)][..],
            &[(31, line), (30, given), (29, ended)],
            &[(600, line), (30, ended)],
            &[(31, &line.replace("for alice", "for alice-2")), (30, ended)],
            // A run of --check for no key.
            &[
                (31, &line.replace("SHA256:a", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU")),
                (30, ended),
            ],
            &[(30, ended)],
        ] {
            written(lines).assert_healthy();
        }
    });
}

/// The lines are from sshd 8.4, 9.2 and 10.0, and from PAM.
#[test]
fn what_sshd_and_pam_say_about_a_login() {
    world(|world| {
        let written = |age: u64, lines: &[&str]| {
            let text: String = lines.iter().map(|line| log_line(age, line)).collect();
            world.instance.write("/var/log/auth.log", text);
            world.check()
        };
        let denied = [
            "sshd[7]: pam_access(sshd:account): access denied for user `alice' from `192.0.2.1'",
            "sshd[7]: fatal: Access denied for user alice by PAM account configuration [preauth]",
        ];
        let login = [
            "sshd-session[9]: Accepted publickey for alice from 192.0.2.1 port 5 ssh2: ED25519 SHA256:x",
            "sshd-session[9]: pam_unix(sshd:session): session opened for user alice(uid=1000) by alice(uid=0)",
        ];
        let report = written(600, &denied);
        report.assert_exactly(&[("recent.login", "warn")]);
        let note = report.note("recent.login");
        assert!(note.starts_with("10 min ago: PAM refuses the account: pam_access, by"), "{note}");
        assert!(
            report.of("recent.login")["fix"]
                .as_str()
                .unwrap()
                .contains("this warning ends with the next login of")
        );
        let detail = report.detail("recent.login");
        assert!(
            matches!(detail.as_slice(), [last, first]
            if last.contains("fatal: Access denied") && first.contains("pam_access")),
            "{detail:?}"
        );
        written(3700, &denied).assert_healthy();
        let report = written(60, &[denied, login].concat());
        report.assert_healthy();
        assert!(
            report.note("recent.login").starts_with("alice logged in "),
            "{}",
            report.note("recent.login")
        );
        written(60, &[login, denied].concat()).assert_exactly(&[("recent.login", "warn")]);
        // The client chooses the user name.
        let report = written(
            60,
            &[
                "sshd[7]: Invalid user fatal: Access denied for user alice by PAM account configuration from ::1 port 5",
            ],
        );
        report.assert_healthy();
        assert!(report.note("recent.login").starts_with("sshd logged no attempt of alice"));
    });
}

/// A login works, although other users cannot open /dev/null.
#[test]
fn a_null_device_that_is_closed() {
    world(|world| {
        world.instance.write("/run/null", "");
        fs::set_permissions("/run/null", Permissions::from_mode(0o600)).unwrap();
        assert!(Command::new("mount").args(["--bind", "/run/null", "/dev/null"]).status().unwrap().success());
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        assert_eq!(report.outcome.status, Some(0), "{:#}", report.document);
        let status = report.status("metadata.command_user");
        assert!(
            status == "ok"
                || status == "warn" && report.note("metadata.command_user").starts_with("/dev/null"),
            "{:#}",
            report.of("metadata.command_user")
        );
        assert!(Command::new("umount").args(["-l", "/dev/null"]).status().unwrap().success());
    });
}

/// Any user can write lines with the name of sshd: so many that journalctl needs longer than a check has, and far longer if one call asks
/// for the lines of several users with different names.
#[test]
fn a_journal_full_of_a_users_lines() {
    world(|world| {
        let complaint = "error: AuthorizedKeysCommand /usr/bin/eic-keys alice SHA256:x failed, status 2";
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        world.instance.write(
            "/run/line",
            format!(
                r#"{{"__REALTIME_TIMESTAMP":"{now}000000","SYSLOG_IDENTIFIER":"sshd","_PID":"7","_UID":"0","MESSAGE":"{complaint}"}}"#
            ) + "\n",
        );
        for (end, more) in [("exit 0", false), ("exec sleep 60", true)] {
            let journalctl = format!(
                "#!/bin/sh\ncase \"$*\" in *' + '*) exec sleep 60 ;; *=eic-keys*) ;; *--reverse*) cat /run/line; {end} ;; *) echo x ;; esac\n"
            );
            world.instance.install("/usr/bin/journalctl", journalctl.as_bytes());
            let report = world.check_in_time();
            let (status, note) = (report.status("recent.sshd"), report.note("recent.sshd"));
            assert_eq!(status, "warn", "{end}: {note}");
            let words = " (the journal has more lines than could be read in 2 s)";
            assert_eq!(note.contains(words), more, "{note}");
            assert!(note.contains("last with status 2: the metadata service failed"), "{note}");
        }
        let script = fs::read_to_string("/run/line").unwrap().replace("/usr/bin/eic-keys", "/usr/bin/keys");
        world.instance.write("/run/line", script);
        let note = world.check().note("recent.sshd").to_owned();
        assert!(note.contains("last with status 2: that is of the script, or of a program"), "{note}");
    });
}

/// With a real journald, which has from the kernel who wrote a line: `logger -t eic-keys` is nobody's word.
#[test]
fn what_the_journal_tells() {
    let journalctl = fs::read("/usr/bin/journalctl").unwrap();
    world(|world| {
        world.instance.install("/usr/bin/journalctl", &journalctl);
        let run = |script: &str| {
            let done = world.instance.command(["-ec", script]).program("/bin/sh").as_root().run();
            assert_eq!(done.status, Some(0), "{script}: {}", done.stderr);
        };
        run("mkdir -p /run/log/journal /run/systemd/journal /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; cp /usr/bin/logger /run/sshd-session; cp /usr/bin/logger /run/eic-keys; chmod 0755 /run/sshd-session /run/eic-keys
             setsid /lib/systemd/systemd-journald >/run/journald.log 2>&1 & \
             while ! [ -S /run/systemd/journal/dev-log ]; do sleep 0.05; done");
        let log = |uid: u32, program: &str, tag: &str, text: &str| {
            // As sshd does, it lives on: journald asks for the sender's name after it got the line.
            run(&format!(
                "(echo '{text}'; sleep 0.5) | setpriv --reuid {uid} --regid {uid} --clear-groups \
                 {program} --id -u /run/systemd/journal/dev-log -t {tag}
                 for try in 1 2 3 4 5 6 7 8 9; do
                     journalctl --quiet --no-pager SYSLOG_IDENTIFIER={tag} | grep -qF '{text}' && exit; sleep 0.2
                 done; cat /run/journald.log >&2; exit 1"
            ));
        };
        let complaint = "error: AuthorizedKeysCommand /usr/bin/eic-keys alice SHA256:x failed, status 2";
        let given = "Providing ssh key from EC2 Instance Connect with fingerprint: SHA256:";
        log(47_101, "/run/sshd-session", "sshd", complaint);
        log(0, "logger", "sshd", &format!("{complaint}0"));
        let report = world.check();
        report.assert_healthy();
        assert_eq!(report.note("recent.sshd"), "sshd logged no error about its AuthorizedKeysCommand");
        log(0, "/run/sshd-session", "sshd-session", &format!("{complaint}1"));
        world.check().assert_exactly(&[("recent.sshd", "warn")]);
        log(47_101, "/run/eic-keys", "eic-keys", &format!("{given}forged"));
        let report = world.check();
        report.assert_exactly(&[("recent.sshd", "warn")]);
        // A run as another user, before AuthorizedKeysCommandUser was changed: sshd has accepted that key.
        let [key, other] = ["k", "o"].map(|letter| format!("SHA256:{}", letter.repeat(43)));
        let accepted = format!("Accepted publickey for alice from 192.0.2.1 port 5 ssh2: ED25519 {key}");
        log(0, "/run/sshd-session", "sshd-session", &accepted);
        log(47_101, "/run/eic-keys", "eic-keys", &format!("Provided {key} for alice to process 1"));
        world.check().assert_exactly(&[("recent.sshd", "warn")]);
        run(
            "journalctl --quiet --output=json SYSLOG_IDENTIFIER=sshd-session --lines 1 | grep -o '\"_PID\":\"[0-9]*' | grep -o '[0-9]*$' >/run/accepted",
        );
        let process = fs::read_to_string("/run/accepted").unwrap();
        log(
            47_101,
            "/run/eic-keys",
            "eic-keys",
            &format!("Provided {other} for alice to process {}", process.trim()),
        );
        world.check().assert_exactly(&[("recent.sshd", "warn")]);
        log(
            47_101,
            "/run/eic-keys",
            "eic-keys",
            &format!("Provided {key} for alice to process {}", process.trim()),
        );
        world.check().assert_healthy();
        log(0, "/run/sshd-session", "sshd-session", &format!("{complaint}2"));
        world.check().assert_exactly(&[("recent.sshd", "warn")]);
        assert_eq!(report.note("recent.syslog"), "eic-keys logged nothing about alice");
        log(47_100, "/run/eic-keys", "eic-keys", &format!("{given}true"));
        let report = world.check();
        report.assert_healthy();
        assert_eq!(report.note("recent.syslog"), format!("the last message of eic-keys: {given}true"));
        // The last attempt of alice, by her own word and by sshd's.
        let refused =
            |from: u8| format!("User alice from 192.0.2.{from} not allowed because listed in DenyUsers");
        log(47_101, "/run/sshd-session", "sshd", &refused(1));
        log(0, "logger", "sshd", &refused(2));
        // A setuid program that alice starts by the name of sshd.
        run("mkdir -p /run/alice; ln -sf /usr/bin/logger /run/alice/sshd");
        log(0, "/run/alice/sshd", "sshd", &refused(3));
        world.check().assert_healthy();
        log(0, "/run/sshd-session", "sshd", &refused(4));
        // No file of sshd has that.
        world.check().assert_exactly(&[("running.current", "warn"), ("recent.login", "warn")]);
        // All processes of alice can write what eic-keys as alice writes.
        world.configure(&config().set("AuthorizedKeysCommandUser", "alice").text());
        let report = world.check();
        for id in ["recent.sshd", "recent.login", "recent.syslog"] {
            let others = "(any process of alice (uid 47101) can write lines of eic-keys)";
            assert!(report.note(id).contains(others), "{}", report.note(id));
        }
    });
}

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
        assert_eq!(report.status("keys.signatures"), "ok", "the others have their answers");
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
