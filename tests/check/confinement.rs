//! What confines sshd: limits, SELinux, AppArmor, capabilities, the settings of its unit.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::world::{USER, World, broken, config, denial, says, stop_sshd, unit_of_sshd, world};

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
        // Three checks run programs with these limits, and one asks whether they can be set.
        world.sh("mkdir /run/real; cp /usr/bin/prlimit /run/real");
        let prlimit = "#!/bin/sh\ncase \"$*\" in *' -- true') echo x >>/run/asked ;; esac\nexec /run/real/prlimit \"$@\"\n";
        world.instance.install("/usr/bin/prlimit", prlimit.as_bytes());
        let check = ["/usr/bin/eic-keys", "--check", "--json", "--rehearse", USER];
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
        assert_eq!(fs::read_to_string("/run/asked").unwrap(), "x\n");
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

/// The program that newer versions run for a connection is larger than the one that waits.
#[test]
fn little_memory() {
    for (limit, setting, says) in [
        (
            "as=20971520",
            "LimitAS=20M",
            Some("sshd is limited to 20971520 bytes of address space: as a rule, "),
        ),
        ("data=1048576", "LimitDATA=1M", Some("sshd is limited to 1048576 bytes of data: as a rule, ")),
        ("as=268435456", "LimitAS=256M", None),
    ] {
        world(|world| {
            unit_of_sshd(world, "ActiveState=active SubState=running", setting, "x");
            world.sh(&format!("prlimit --pid $(cat /run/sshd.pid) --{limit}:"));
            let report = world.check();
            assert_eq!(report.status("confinement.unit") == "warn", says.is_some(), "{limit}");
            let Some(says) = says else { return };
            let note = report.note("confinement.unit");
            assert!(note.starts_with(says), "{note}");
            let (name, _) = setting.split_once('=').unwrap();
            let expected = format!(
                "correct or remove {name}= (/etc/systemd/system/ssh.service.d/x.conf line 4), then: systemctl daemon-reload; systemctl \
                 restart ssh; or "
            );
            let fix = report.of("confinement.unit")["fix"].as_str().unwrap();
            assert!(fix.starts_with(&expected), "{fix}");
        });
    }
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

#[test]
fn layers_of_the_sandbox() {
    world(|world| {
        let report = world.check();
        report.assert_healthy();
        // As many as tests/hostile finds to hold, on a kernel that has all of them.
        assert_eq!(report.note("confinement.layers"), "the kernel enforces 5 of 5 layers of the sandbox");
    });
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

/// Programs that sshd's unit forbids to execute.
#[test]
fn an_sshd_that_cannot_execute_a_program() {
    let remount = |path: &str| format!("mount --bind {path} {path} && mount -o remount,bind,noexec {path}");
    for (path, says) in
        [("/run", None), ("/usr/bin/eic-keys", Some(": Permission denied")), ("/usr/bin", Some(" namespace"))]
    {
        world(|world| {
            let Some(says) = says else {
                stop_sshd();
                let script = format!("unshare --mount /bin/sh -c '{} && exec /usr/sbin/sshd'", remount(path));
                world.start_sshd(&script);
                return world.check().assert_healthy();
            };
            // A rehearsal then has a program that sets this limit.
            world.restart_in_namespace(&format!("prlimit --pid $$ --nofile=1000:1000 && {}", remount(path)));
            let report = world.check_with(&[USER, "--rehearse"]);
            assert_eq!(
                report.note("confinement.unit"),
                "sshd cannot execute /usr/bin/eic-keys: its unit forbids it (NoExecPaths=), and no login works without it"
            );
            assert_eq!(report.status("login.command"), "fail");
            assert!(report.note("login.command").ends_with(says), "{}", report.note("login.command"));
            if path == "/usr/bin" {
                let note = report.note("login.rehearsal");
                assert_eq!(
                    note,
                    "the login was not tried: no program can be executed in sshd's mount namespace"
                );
                assert_eq!(report.of("login.rehearsal")["fix"], "see confinement.unit");
            }
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
