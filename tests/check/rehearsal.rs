//! `--rehearse`: a login as the user, and each fault that only a login shows.
use crate::world::{Report, USER, World, config, world};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DIRECTORY: &str = "/run/eic-keys-rehearsal";
const HOME: &str = "/run/home/alice";

fn rehearse(world: &World<'_>) -> Report {
    world.check_with(&[USER, "--rehearse"])
}

/// What runs in the namespaces, and all that a rehearsal could leave.
fn left(world: &World<'_>) -> (usize, bool, Vec<u16>) {
    (world.instance.namespace().id().processes().len(), Path::new(DIRECTORY).exists(), listening())
}

/// The ports of 127.0.0.1 and 0.0.0.0 on which something listens.
fn listening() -> Vec<u16> {
    let connections = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let mut ports: Vec<u16> = connections
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[3] == "0A")
        .map(|fields| u16::from_str_radix(fields[1].split_once(':').unwrap().1, 16).unwrap())
        .collect();
    ports.sort_unstable();
    ports
}

/// Breaks a healthy login, and looks for what the rehearsal says. Nothing may be left behind.
fn fails(by: impl FnOnce(&World<'_>), expected: &[(&str, &str)], says: &str, fix: &str) {
    world(|world| {
        by(world);
        let before = left(world);
        let report = rehearse(world);
        report.assert_exactly(expected);
        let id = expected.iter().find(|(id, _)| id.starts_with("login.")).unwrap().0;
        assert!(report.note(id).contains(says), "{} says {says}: {:#?}", report.note(id), report.detail(id));
        let printed = report.of(id)["fix"].as_str().unwrap();
        assert!(printed.contains(fix), "{printed}");
        assert_eq!(left(world), before);
    });
}

fn with(keyword: &str, value: &str) -> impl FnOnce(&World<'_>) + use<> {
    let text = config().set(keyword, value).text();
    move |world| world.configure(&text)
}

/// sshd with PAM, and these lines as its stack.
fn pam(lines: &str) -> impl FnOnce(&World<'_>) + use<> {
    let stack = format!("auth required pam_permit.so\n{lines}");
    move |world| {
        world.configure(&config().set("UsePAM", "yes").text());
        world.instance.write("/etc/pam.d/sshd", &stack);
        assert_eq!(fs::read_to_string("/etc/pam.d/sshd").unwrap(), stack);
    }
}

const PERMIT: &str = "account required pam_permit.so\nsession required pam_permit.so\n";

/// A start file of alice.
fn start_file(name: &str, text: &str) {
    let path = Path::new(HOME).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// systemd removes it whenever an sshd ends that it starts again and again.
#[test]
fn a_directory_that_goes_away() {
    world(|world| {
        world.sh("cp /usr/bin/ssh-keygen /run/ssh-keygen");
        let keygen = b"#!/bin/sh\nrmdir /run/sshd\nexec /run/ssh-keygen \"$@\"\n";
        world.instance.install("/usr/bin/ssh-keygen", keygen);
        let report = rehearse(world);
        // Other systems than Debian's have no such directory.
        if Path::new("/etc/debian_version").exists() {
            let note = report.note("login.rehearsal");
            assert_eq!(note, "the login was not tried: the directory /run/sshd was removed meanwhile");
            assert_eq!(report.status("login.rehearsal"), "warn");
        }
    });
}

#[test]
fn a_login_that_works() {
    world(|world| {
        let before = left(world);
        let report = rehearse(world);
        assert_eq!(report.note("login.rehearsal"), "a login as alice from 127.0.0.1 succeeds");
        assert_eq!(report.note("login.terminal"), "the shell of alice answers on a terminal");
        report.assert_healthy();
        assert_eq!(left(world), before);
        assert!(world.instance.journal.says("Rehearsal: --check --rehearse logs in as alice from 127.0.0.1"));
        assert!(!world.instance.journal.says("Providing ssh key"), "no key was provided");
        // Only on request.
        let report = world.check();
        report.assert_healthy();
        assert_eq!(report.status("login.rehearsal"), "skip");
        assert!(!report.document["summary"].as_str().unwrap().contains("login.rehearsal"));
    });
}

#[test]
fn a_login_that_works_with_pam() {
    world(|world| {
        pam(PERMIT)(world);
        rehearse(world).assert_healthy();
    });
}

#[test]
fn the_users_own_settings_count() {
    world(|world| {
        // The key of the rehearsal counts all the same, and the rest of the blocks too.
        let blocks = "Match User alice\n  AuthorizedKeysFile /nowhere\n  PermitTTY no\nMatch Address 198.51.100.0/24\n  ForceCommand no\n";
        world.configure(&(config().text() + blocks));
        let report = rehearse(world);
        let expected = &[("sshd.session", "warn"), ("sshd.match", "warn"), ("login.terminal", "warn")];
        report.assert_exactly(expected);
        let note = report.note("login.rehearsal");
        assert!(
            note.contains(
                "succeeds; unlike a real login: Match Address 198.51.100.0/24 (/etc/ssh/sshd_config line "
            ),
            "{note}"
        );
    });
}

#[test]
fn what_sshd_refuses() {
    let both = &[("user.shell", "fail"), ("login.rehearsal", "fail")];
    let shell = |shell: &'static str| {
        move |_: &World<'_>| {
            let text = fs::read_to_string("/etc/passwd").unwrap();
            let line = text.lines().find(|line| line.starts_with("alice:")).unwrap();
            fs::write("/etc/passwd", text.replace(line, &line.replace("/bin/sh", shell))).unwrap();
        }
    };
    fails(
        shell("/bin/none"),
        both,
        "a login as alice fails: sshd says: User alice not allowed because shell /bin/none does not exist",
        "usermod --shell /bin/bash alice",
    );
    fails(shell("/bin/false"), both, "its session ends with status 1", "start file");
    let session = &[("sshd.session", "fail"), ("login.rehearsal", "fail")];
    fails(with("ChrootDirectory", HOME), session, "bad ownership or modes for chroot directory", "0755");
    fails(
        with("ForceCommand", "/usr/bin/env false"),
        &[("login.rehearsal", "fail")],
        "its session ends with status 1",
        "ForceCommand is /usr/bin/env false",
    );
    fails(
        with("ForceCommand", "/usr/sbin/nologin"),
        session,
        "its last words: This account is currently not available",
        "ForceCommand is /usr/sbin/nologin: ",
    );
    fails(
        |world| {
            world.sh("mkdir -p /run/jail/bin; cp /bin/sh /run/jail/bin");
            with("ChrootDirectory", "/run/jail")(world);
        },
        session,
        "/bin/sh: No such file or directory",
        "in ChrootDirectory /run/jail",
    );
    let revoked = &[("sshd.revoked", "fail"), ("login.rehearsal", "fail")];
    fails(with("RevokedKeys", "/etc/ssh/gone"), revoked, "revoked keys file", "RevokedKeys");
}

/// Sets a flag when a test ends, in whatever way.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A file of the log, as syslogd writes it.
fn log_to_file(world: &World<'_>, test: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| {
            let mut written = 0;
            while !done.load(Ordering::SeqCst) {
                let lines = world.instance.journal.lines();
                let mut file = fs::OpenOptions::new().append(true).open("/var/log/auth.log").unwrap();
                for line in &lines[written..] {
                    writeln!(file, "Nov 21 20:00:00 host {}", line.text).unwrap();
                }
                written = lines.len();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        test();
    });
}

/// The rehearsal has the configuration on disk, the running sshd another one.
#[test]
fn a_configuration_that_sshd_has_not_read() {
    for (keyword, value, id) in [
        ("DenyUsers", "alice", "sshd.access"),
        ("MaxSessions", "0", "sshd.session"),
        ("MaxAuthTries", "0", "sshd.tries"),
    ] {
        world(|world| {
            world.instance.write("/etc/ssh/sshd_config", config().set(keyword, value).text());
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{keyword}");
            let report = rehearse(world);
            assert_eq!(report.status(id), "warn", "{}", report.of(id));
            let rehearsal = report.of("login.rehearsal");
            assert_eq!(rehearsal["status"], "warn", "{rehearsal}");
            assert!(
                report.note("login.rehearsal").starts_with("breaks at sshd's next restart at the latest: ")
            );
            assert!(
                rehearsal["fix"].as_str().unwrap().starts_with(&format!("fix {id} before")),
                "{rehearsal}"
            );
            assert_eq!(report.outcome.status, Some(0));
            assert!(!report.document["summary"].as_str().unwrap().contains("and works"));
        });
    }
    // The other way round: the running sshd can refuse what the file allows.
    world(|world| {
        world.restart(&config().set("DenyUsers", "alice").text());
        world.instance.write("/etc/ssh/sshd_config", config().text());
        assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = rehearse(world);
        assert_eq!(report.status("login.rehearsal"), "ok");
        let note = report.note("login.rehearsal");
        assert!(
            note.contains("succeeds; unlike a real login: the configuration with which sshd runs"),
            "{note}"
        );
        let summary = report.document["summary"].as_str().unwrap();
        assert!(
            summary.contains(
                "A login as alice from 127.0.0.1 works with the configuration on disk, which sshd has not read."
            ),
            "{summary}"
        );
        report.assert_unknown();
    });
    // No other check reads what ForceCommand runs.
    world(|world| {
        world
            .instance
            .write("/etc/ssh/sshd_config", config().set("ForceCommand", "/usr/bin/env false").text());
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = rehearse(world);
        assert_eq!(report.status("login.rehearsal"), "warn");
        assert!(
            report.note("login.rehearsal").starts_with(
                "breaks at sshd's next restart at the latest (/etc/ssh/sshd_config was changed after sshd read it): "
            ),
            "{}",
            report.note("login.rehearsal")
        );
        assert_eq!(report.outcome.status, Some(0));
    });
    // The port has no part in a rehearsal, which fails for a reason of its own.
    world(|world| {
        world.instance.write("/etc/ssh/sshd_config", config().set("Port", "2222").text());
        start_file(".ssh/rc", "sleep 1000\n");
        assert_eq!(rehearse(world).status("login.rehearsal"), "fail");
    });
}

#[test]
fn what_pam_refuses() {
    for (stack, says, fix) in [
        (
            "account required pam_access.so nodefgroup accessfile=/run/access\nsession required pam_permit.so\n",
            "pam_access(sshd:account): access denied for user `alice'",
            "access.conf",
        ),
        (
            "account required pam_time.so conffile=/run/time\nsession required pam_permit.so\n",
            "by PAM account configuration",
            "pam.d/sshd",
        ),
        (
            "account required pam_listfile.so onerr=fail item=user sense=deny file=/run/denied\nsession required pam_permit.so\n",
            "pam_listfile(sshd:account): Refused user alice",
            "list of users",
        ),
        (
            "account required pam_gone.so\nsession required pam_permit.so\n",
            "PAM unable to dlopen(pam_gone.so)",
            "install",
        ),
        (
            "account required pam_permit.so\nsession required pam_deny.so\n",
            "pam_open_session",
            "session lines",
        ),
    ] {
        world(|world| {
            pam(stack)(world);
            world.instance.write("/run/access", "-:ALL:ALL\n");
            world.instance.write("/run/time", "sshd;*;alice;!Al0000-2400\n");
            world.instance.write("/run/denied", "alice\n");
            log_to_file(world, || {
                let report = rehearse(world);
                assert_eq!(report.status("login.rehearsal"), "fail", "{stack}");
                let note = report.note("login.rehearsal");
                assert!(
                    note.contains(says),
                    "{stack}: {note}: {:#?}\n{:#?}",
                    report.detail("login.rehearsal"),
                    world.instance.journal.lines()
                );
                let printed = report.of("login.rehearsal")["fix"].as_str().unwrap();
                assert!(printed.contains(fix), "{note}: {printed}");
            });
        });
    }
}

/// With `loginuid-immutable`, a login from root's session cannot be rehearsed, and that is no fault of the login.
#[test]
fn a_login_uid_that_cannot_be_set() {
    world(|world| {
        pam("account required pam_permit.so\nsession required pam_deny.so\n")(world);
        let journalctl = "#!/bin/sh\ncase \"$*\" in *_PID=*) ;; *) exit 1 ;; esac\n\
            echo 'pam_loginuid(sshd:session): set_loginuid failed'\n";
        world.instance.install("/usr/bin/journalctl", journalctl.as_bytes());
        let report = rehearse(world);
        assert_eq!(report.status("login.rehearsal"), "warn");
        assert!(
            report.note("login.rehearsal").contains("pam_loginuid"),
            "{}",
            report.note("login.rehearsal")
        );
        let fix = report.of("login.rehearsal")["fix"].as_str().unwrap();
        assert_eq!(fix, "systemd-run --quiet --wait --pipe /usr/bin/eic-keys --check alice --rehearse");
    });
}

/// PAM's words from the journal, of the process of sshd only.
#[test]
fn what_pam_says_in_the_journal() {
    world(|world| {
        pam("account required pam_deny.so\nsession required pam_permit.so\n")(world);
        let journalctl = "#!/bin/sh\ncase \"$*\" in *_PID=*) ;; *) exit 1 ;; esac\n\
            for word; do case $word in _PID=*) echo \"${word#_PID=}\" >/run/asked ;; esac; done\n\
            echo 'pam_listfile(sshd:account): Refused user alice for service sshd'\n";
        world.instance.install("/usr/bin/journalctl", journalctl.as_bytes());
        let report = rehearse(world);
        let note = report.note("login.rehearsal");
        assert!(note.contains("PAM refuses the login: pam_listfile(sshd:account): Refused"), "{note}");
        let asked: u32 = fs::read_to_string("/run/asked").unwrap().trim().parse().unwrap();
        assert!(asked > 1);
    });
}

#[test]
fn an_expired_password() {
    world(|world| {
        pam("account required pam_unix.so\nsession required pam_permit.so\n")(world);
        let shadow = fs::read_to_string("/etc/shadow").unwrap();
        fs::write("/etc/shadow", shadow.replace("alice:*:19000:", "alice:*:0:")).unwrap();
        log_to_file(world, || {
            let report = rehearse(world);
            assert_eq!(report.status("login.rehearsal"), "fail");
            let note = report.note("login.rehearsal");
            assert!(
                note.contains(
                    "expired password for user alice (root enforced) (from /var/log/auth.log, to which"
                ),
                "{note}"
            );
            let fix = report.of("login.rehearsal")["fix"].as_str().unwrap();
            assert!(fix.starts_with("chage --lastday ") && fix.ends_with(" alice"), "{fix}");
            world.apply(&report, "login.rehearsal");
        });
        assert_eq!(rehearse(world).status("login.rehearsal"), "ok");
    });
}

#[test]
fn start_files() {
    let terminal = &[("login.terminal", "fail")];
    fails(
        |_| start_file(".profile", "echo Out of order\nexit 3\n"),
        terminal,
        "its session ends by itself on a terminal, with status 3; its last words: Out of order",
        ".profile",
    );
    fails(
        |_| start_file(".profile", "sleep 1000\n"),
        terminal,
        "its session does not answer on a terminal; running: sh, sleep",
        ".profile",
    );
    // A process that a signal kills, as one with a limit on its CPU time: no start file is at fault.
    fails(
        |_| start_file(".profile", "kill -KILL $$\n"),
        terminal,
        "its session ends by itself on a terminal, with status 255",
        "/etc/security/limits.conf",
    );
    // tmux and screen end at once on the terminal of a rehearsal, and work on any other.
    for says in ["open terminal failed: terminal does not support clear", "Clear screen capability required."]
    {
        fails(
            |_| start_file(".profile", &format!("echo {says}; exec false\n")),
            &[("login.terminal", "warn")],
            &format!("(TERM=dumb): {says}"),
            "log in on a terminal",
        );
    }
    // The rehearsal does not know the answer.
    fails(
        |_| {
            start_file(
                ".profile",
                "printf 'Type YES to accept the terms: '; read -r x; [ \"$x\" = YES ] || exit 1\n",
            );
        },
        &[("login.terminal", "warn")],
        "answers a question with an empty line: Type YES to accept the terms:",
        "log in on a terminal, and answer it",
    );
    // It says why it ends, after the question.
    fails(
        |_| {
            start_file(
                ".profile",
                "printf 'One-time code: '; read -r x; [ \"$x\" = 1 ] || { echo; echo wrong code; exit 1; }\n",
            );
        },
        &[("login.terminal", "warn")],
        "answers a question with an empty line: One-time code:",
        "log in on a terminal, and answer it",
    );
    // A shell can have an empty prompt.
    for path in ["/bin/sh", "/bin/bash"] {
        world(|world| {
            shell(path);
            start_file(".profile", "PS1=\n");
            rehearse(world).assert_healthy();
        });
    }
    world(|world| {
        shell("/bin/bash");
        start_file(".profile", "exec >/dev/null 2>&1\n");
        // While a slow bash starts, the terminal itself echoes.
        let mut reports = (0..3).map(|_| rehearse(world));
        let report = reports.find(|report| report.status("login.terminal") != "ok").unwrap();
        report.assert_exactly(&[("login.terminal", "warn")]);
        let note = report.note("login.terminal");
        assert!(note.starts_with("the shell of alice prints nothing on a terminal"), "{note}");
    });
    // What it prints is shown escaped, and not all of it.
    world(|world| {
        start_file(".profile", "printf '\\033[2J%0100000d' 0; exit 3\n");
        let report = rehearse(world);
        let detail = report.detail("login.terminal").join("\n");
        assert!(
            detail.contains("\\u{1b}[2J") && !detail.contains('\u{1b}') && detail.len() < 5000,
            "{detail}"
        );
    });
}

/// A module of PAM waits in sshd's process, as `pam_systemd` does for systemd-logind.
#[test]
fn a_module_that_waits() {
    let waits = |world: &World<'_>| {
        pam(&format!("{PERMIT}session optional pam_motd.so motd=/run/motd-fifo noupdate\n"))(world);
        assert!(Command::new("mkfifo").arg("/run/motd-fifo").status().unwrap().success());
    };
    fails(
        waits,
        &[("login.rehearsal", "fail")],
        "sshd and PAM accept the key of a login as alice, but no session starts within 11 s",
        "pam_systemd waits 25 s for systemd-logind",
    );
    fails(
        |world| {
            waits(world);
            let systemctl =
                "#!/bin/sh\ncase \"$*\" in *' user@'*) echo ActiveState=activating;; *) exit 1;; esac\n";
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
        },
        &[("login.rehearsal", "fail")],
        "pam_systemd waits for user@",
        "systemctl status user@",
    );
}

/// Gives alice another shell.
fn shell(path: &str) {
    let text = fs::read_to_string("/etc/passwd").unwrap();
    let line = text.lines().find(|line| line.starts_with("alice:")).unwrap();
    fs::write("/etc/passwd", text.replace(line, &line.replace("/bin/sh", path))).unwrap();
}

/// The session ends well, and does nothing that the client asks for.
#[test]
fn a_command_that_is_not_run() {
    let warned = &[("sshd.session", "warn"), ("login.rehearsal", "warn")];
    fails(
        with("ForceCommand", "/bin/echo Use Session Manager"),
        warned,
        "ForceCommand /bin/echo Use Session Manager is run instead; it prints: Use Session Manager",
        "remove ForceCommand",
    );
    fails(
        with("ForceCommand", "/usr/bin/env echo not allowed: $SSH_ORIGINAL_COMMAND"),
        &[("login.rehearsal", "warn")],
        "it prints: not allowed: echo eic-keys-",
        "remove ForceCommand",
    );
    for line in ["[ -z \"$PS1\" ] && exit\n", "[ -n \"$PS1\" ] || exec >/dev/null 2>&1\n"] {
        fails(
            |_| {
                shell("/bin/bash");
                start_file(".bashrc", line);
            },
            &[("login.rehearsal", "warn")],
            "the output of a command does not come back: the session ends with status 0; it prints nothing",
            ".bashrc",
        );
    }
    world(|world| {
        world.instance.install("/run/menu", b"#!/bin/sh\necho This account is for SFTP only.\n");
        shell("/run/menu");
        let report = rehearse(world);
        report.assert_exactly(&[("login.rehearsal", "warn"), ("login.terminal", "fail")]);
        let note = report.note("login.terminal");
        assert!(note.ends_with("with status 0; its last words: This account is for SFTP only."), "{note}");
        for id in ["login.rehearsal", "login.terminal"] {
            let fix = report.of(id)["fix"].as_str().unwrap();
            assert!(fix.starts_with("the login shell /run/menu is a script"), "{fix}");
        }
    });
    // It is run, whatever else is printed.
    world(|world| {
        world
            .instance
            .install("/run/wrapper", b"#!/bin/sh\nset -x\nprintf Welcome\nexec $SSH_ORIGINAL_COMMAND\n");
        with("ForceCommand", "/run/wrapper")(world);
        rehearse(world).assert_healthy();
    });
}

#[test]
fn a_session_that_hangs() {
    world(|world| {
        start_file(".ssh/rc", "sleep 1000\n");
        let before = left(world);
        let report = rehearse(world);
        report.assert_exactly(&[("login.rehearsal", "fail")]);
        let note = report.note("login.rehearsal");
        assert!(note.contains("its session does not end; running: ") && note.contains("sleep"), "{note}");
        assert_eq!(left(world), before);
        let duration = report.of("login.rehearsal")["duration_ms"].as_u64().unwrap();
        assert!(duration < 15_500, "{duration} ms");
    });
}

/// A program that PAM runs before the session.
#[test]
fn a_program_of_pam_that_hangs() {
    world(|world| {
        pam(&format!("{PERMIT}session required pam_exec.so /run/hang\n"))(world);
        world.instance.install("/run/hang", b"#!/bin/sh\nsleep 1000\n:\n");
        let before = left(world);
        log_to_file(world, || {
            let report = rehearse(world);
            report.assert_exactly(&[("login.rehearsal", "fail")]);
            assert_eq!(
                report.note("login.rehearsal"),
                "sshd accepts the key of a login as alice, but no session starts within 11 s; running: /bin/sh /run/hang, sleep 1000"
            );
            let fix = report.of("login.rehearsal")["fix"].as_str().unwrap();
            assert!(fix.contains("pam_exec"), "{fix}");
        });
        assert_eq!(left(world), before);
    });
}

#[test]
fn no_terminals() {
    fails(
        |_| assert!(Command::new("umount").args(["-l", "/dev/pts"]).status().unwrap().success()),
        &[("sshd.session", "warn"), ("login.terminal", "fail")],
        "a login as alice fails: ",
        "/dev/pts",
    );
    world(|world| {
        world.sh("umount -l /dev/pts");
        let report = world.check();
        report.assert_exactly(&[("sshd.session", "warn")]);
        world.sh(report.of("sshd.session")["fix"].as_str().unwrap());
        rehearse(world).assert_healthy();
    });
    // The name by which the C library opens them.
    fails(
        |_| fs::remove_file("/dev/ptmx").unwrap(),
        &[("sshd.session", "warn"), ("login.terminal", "fail")],
        "a login as alice fails: ",
        "/dev/p",
    );
}

#[test]
fn it_cannot_be_tried() {
    world(|world| {
        let nothing = world.instance.command(["--check", "--rehearse"]).as_root().run();
        assert_eq!(nothing.status, Some(2));
        assert!(nothing.stderr.contains("--rehearse needs a USER"), "{}", nothing.stderr);
        for other in [&["--rehearse", USER][..], &["--enable", "--rehearse"]] {
            let outcome = world.instance.command(other).as_root().run();
            assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(1), ""), "{other:?}");
        }
        // Not by another user.
        let outcome = world.instance.command(["--check", "--json", USER, "--rehearse"]).run();
        let document = crate::schema::read(&outcome.stdout);
        let checks = document["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["id"] == "login.rehearsal").unwrap();
        assert_eq!((&check["status"], &check["note"]), (&"skip".into(), &"needs sshd.config".into()));
        // Not while another one runs.
        fs::create_dir(DIRECTORY).unwrap();
        let mut other = Command::new("flock").args(["-n", DIRECTORY, "sleep", "1000"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let report = rehearse(world);
        assert_eq!(report.status("login.rehearsal"), "warn");
        assert_eq!(report.note("login.rehearsal"), "the login was not tried: another rehearsal is running");
        assert_eq!(report.status("login.terminal"), "skip");
        other.kill().unwrap();
        other.wait().unwrap();
        world.instance.namespace().id().processes().len();
    });
    world(|world| {
        world.instance.remove("/usr/bin/ssh");
        let report = rehearse(world);
        report.assert_exactly(&[("login.rehearsal", "warn"), ("login.terminal", "skip")]);
        assert_eq!(report.note("login.rehearsal"), "the login was not tried: there is no ssh");
    });
}

/// What could not be tried, and what was tried with limits, is not claimed.
#[test]
fn the_summary_of_a_rehearsal() {
    // sshd runs with an older configuration.
    world(|world| {
        world.configure(&(config().text() + "Nonsense yes\n"));
        let report = rehearse(world);
        assert_eq!(report.outcome.status, Some(0));
        let summary = report.document["summary"].as_str().unwrap();
        assert!(
            summary.contains("It is not known whether this system refuses alice's keys: see sshd.config.")
                && summary.ends_with(
                    "PAM and the session were not tried: the rehearsal did not run, needs sshd.config."
                ),
            "{summary}"
        );
    });
    // Another method, and a type of key that is not the usual one.
    for (lines, with) in [
        (config().set("AuthenticationMethods", "publickey,publickey"), "with a key alone"),
        (
            config().set("PubkeyAcceptedAlgorithms", "rsa-sha2-512"),
            "with a key of its own, which sshd accepts",
        ),
    ] {
        world(|world| {
            world.configure(&lines.text());
            world.instance.imds.unpublish(USER);
            let summary = rehearse(world).document["summary"].as_str().unwrap().to_owned();
            assert!(summary.contains(&format!("A login as alice from 127.0.0.1 works {with}.")), "{summary}");
        });
    }
}

/// Both verdicts about a setting that permits sftp only are warnings.
#[test]
fn sftp_only() {
    world(|world| {
        with("ForceCommand", "internal-sftp -l INFO")(world);
        let report = rehearse(world);
        report.assert_exactly(&[("sshd.session", "warn"), ("login.rehearsal", "warn")]);
        assert_eq!(report.note("login.rehearsal"), "a login as alice from 127.0.0.1 succeeds, for sftp only");
        let summary = report.document["summary"].as_str().unwrap();
        assert!(
            summary.ends_with("The rehearsal: a login as alice from 127.0.0.1 succeeds, for sftp only."),
            "{summary}"
        );
    });
}

/// No space for the key: in blocks, and in inodes.
#[test]
fn a_full_run_directory() {
    for options in ["size=4096", "nr_inodes=3"] {
        world(|world| {
            fs::create_dir(DIRECTORY).unwrap();
            let options = ["-t", "tmpfs", "-o", options, "none", DIRECTORY];
            assert!(Command::new("mount").args(options).status().unwrap().success());
            // A rehearsal removes only files.
            fs::create_dir(format!("{DIRECTORY}/full")).unwrap();
            fs::write(format!("{DIRECTORY}/full/x"), "x").unwrap();
            let report = rehearse(world);
            report.assert_exactly(&[("login.rehearsal", "warn"), ("login.terminal", "skip")]);
            let note = report.note("login.rehearsal");
            assert!(note.starts_with("the login was not tried: ssh-keygen: "), "{note}");
            let fix = report.of("login.rehearsal")["fix"].as_str().unwrap();
            assert!(fix.starts_with("free space or inodes in /run"), "{fix}");
            let summary = report.document["summary"].as_str().unwrap();
            assert!(
                summary.contains("PAM and the session were not tried: the rehearsal did not run, ssh-keygen"),
                "{summary}"
            );
            assert!(Command::new("umount").args(["-l", DIRECTORY]).status().unwrap().success());
        });
    }
}

/// The words of ssh, and no advice about PAM, if sshd did not accept the key.
#[test]
fn what_ssh_says() {
    for (text, says, fix) in [
        (
            config().set("Ciphers", "aes256-ctr").set("MACs", "hmac-md5").text(),
            "Unable to negotiate with 127.0.0.1 port",
            "MACs",
        ),
        (config().set("MaxAuthTries", "0").text(), "authentication attempts exceeded", "set MaxAuthTries 6"),
        (
            config().set("PubkeyAuthentication", "no").text(),
            "sshd refuses a login as alice; ssh says: ",
            "it did not accept the key",
        ),
    ] {
        world(|world| {
            world.configure(&text);
            let report = rehearse(world);
            assert_eq!(report.status("login.rehearsal"), "fail");
            let (note, printed) =
                (report.note("login.rehearsal"), report.of("login.rehearsal")["fix"].as_str().unwrap());
            assert!(note.contains(says), "{note}: {:#?}", report.detail("login.rehearsal"));
            assert!(printed.contains(fix) && !printed.contains("pam.d"), "{printed}");
        });
    }
}

/// The client of a rehearsal is 127.0.0.1, and libwrap knows it by that address.
#[test]
fn what_libwrap_refuses() {
    if !fs::read("/usr/sbin/sshd").unwrap().windows(10).any(|bytes| bytes == b"libwrap.so") {
        return;
    }
    world(|world| {
        world.instance.write("/etc/hosts.allow", "");
        world.instance.write("/etc/hosts.deny", "sshd: ALL EXCEPT 192.0.2.\n");
        let report = rehearse(world);
        // A connection of its own would be refused, and logged as if it were a client's.
        report.assert_exactly(&[
            ("network.wrappers", "warn"),
            ("network.banner", "skip"),
            ("login.rehearsal", "warn"),
            ("login.terminal", "skip"),
        ]);
        let note = report.note("login.rehearsal");
        assert!(note.contains("sshd says: Connection refused by tcp wrapper"), "{note}");
        assert!(
            note.ends_with(
                "; network.wrappers says that some clients are refused, and this one is 127.0.0.1"
            ),
            "{note}"
        );
    });
}

/// sshd starts with the settings for no user, and takes keys from this one.
#[test]
fn keys_for_some_users_only() {
    for (user, expected) in
        [("alice", &[][..]), ("bob", &[("sshd.pubkey", "fail"), ("login.rehearsal", "fail")])]
    {
        world(|world| {
            let text = config().set("PubkeyAuthentication", "no").text();
            world.configure(&format!("{text}Match User {user}\nPubkeyAuthentication yes\n"));
            rehearse(world).assert_exactly(expected);
        });
    }
}

/// A client waits for a program that has the session's output, and has the output of its command.
#[test]
fn a_program_in_the_background_of_a_session() {
    world(|world| {
        start_file(".ssh/rc", "sleep 25 &\n");
        let report = rehearse(world);
        report.assert_exactly(&[("login.rehearsal", "warn"), ("login.terminal", "skip")]);
        let note = report.note("login.rehearsal");
        assert!(note.contains("runs a command, but its session does not end within"), "{note}");
        let fix = report.of("login.rehearsal")["fix"].as_str().unwrap();
        assert!(fix.contains("leaves a program in the background"), "{fix}");
    });
    // Its command does not run.
    world(|world| {
        start_file(".ssh/rc", "sleep 25\n");
        assert_eq!(rehearse(world).status("login.rehearsal"), "fail");
    });
}

/// A rule that refuses the client of a rehearsal, 127.0.0.1, says nothing about others.
#[test]
fn what_refuses_its_client_only() {
    let configured = |more: &str| {
        let text = format!("{}{more}\n", config().text());
        move |world: &World<'_>| world.configure(&text)
    };
    for more in [
        "AllowUsers root alice@10.9.9.*",
        "DenyUsers *@127.0.0.1",
        "Match Address *,!10.0.0.0/8\nDenyUsers *",
    ] {
        world(|world| {
            configured(more)(world);
            let report = rehearse(world);
            report.assert_exactly(&[
                ("sshd.access", "warn"),
                ("login.rehearsal", "warn"),
                ("login.terminal", "skip"),
            ]);
            let says = "; sshd.access says that some clients are refused, and this one is 127.0.0.1";
            let note = report.note("login.rehearsal");
            assert!(note.ends_with(says), "{note}");
            let summary = report.document["summary"].as_str().unwrap();
            assert!(!summary.contains("This system refuses"), "{summary}");
            // What keeps every session from starting is a failure all the same.
            configured(
                &more
                    .replace("127.0.0.1", "192.0.2.1")
                    .replace("10.9.9.*", "127.0.0.1")
                    .replace(",!10.0.0.0/8", ",!127.0.0.0/8"),
            )(world);
            world.sh("sed -i '/^alice:/s,/bin/sh$,/bin/false,' /etc/passwd");
            assert_eq!(rehearse(world).status("login.rehearsal"), "fail");
        });
    }
    world(|world| {
        pam("account required pam_access.so nodefgroup\nsession required pam_permit.so\n")(world);
        world.instance.write("/etc/security/access.conf", "+:alice:10.9.9.0/24\n-:ALL:ALL\n");
        let expected = &[("user.pam", "warn"), ("login.rehearsal", "warn"), ("login.terminal", "skip")];
        rehearse(world).assert_exactly(expected);
    });
}

/// Settings of a session that a block lifts for other clients.
#[test]
fn a_session_that_its_client_does_not_get() {
    let text = config().set("MaxSessions", "0").set("ChrootDirectory", "/none").text();
    let lifted = "Match Address 10.9.0.0/16\n  MaxSessions 10\n  ChrootDirectory none\n";
    world(|world| {
        world.configure(&format!("{text}{lifted}"));
        let report = rehearse(world);
        report.assert_exactly(&[
            ("sshd.session", "warn"),
            ("login.rehearsal", "warn"),
            ("login.terminal", "skip"),
        ]);
        let says = "; sshd.session says that some clients are refused, and this one is 127.0.0.1";
        let note = report.note("login.rehearsal");
        assert!(note.ends_with(says), "{note}");
        // For this one, too.
        world.configure(&format!("{text}{}", lifted.replace("10.9.0.0/16", "127.0.0.0/8")));
        rehearse(world).assert_exactly(&[("sshd.session", "warn")]);
        // One of them is for all clients.
        world.configure(&format!("{text}{}", lifted.replace("  ChrootDirectory none\n", "")));
        let report = rehearse(world);
        assert_eq!((report.status("sshd.session"), report.status("login.rehearsal")), ("fail", "fail"));
        let note = report.note("sshd.session");
        assert!(note.starts_with("sshd refuses ChrootDirectory /none: "), "{note}");
    });
}

/// Killed at any time, it leaves its directory, which the next rehearsal removes.
#[test]
fn a_rehearsal_that_is_killed() {
    world(|world| {
        let before = left(world);
        for pause in [0, 100, 300, 600] {
            let mut run = Command::new("/usr/bin/eic-keys")
                .args(["--check", USER, "--rehearse"])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let start = Instant::now();
            while !Path::new(DIRECTORY).exists() {
                assert!(start.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(2));
            }
            std::thread::sleep(Duration::from_millis(pause));
            run.kill().unwrap();
            run.wait().unwrap();
        }
        rehearse(world).assert_healthy();
        let start = Instant::now();
        while left(world) != before {
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}, before {before:?}", left(world));
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// What another local user can do meanwhile: nothing that the running sshd does not allow.
#[test]
fn other_users_gain_nothing() {
    world(|world| {
        let (done, connected) = (AtomicBool::new(false), std::sync::Mutex::new(0));
        let before = listening();
        std::thread::scope(|scope| {
            let ended = Done(&done);
            scope.spawn(|| {
                // Connects to each port that was not there before, faster than ssh can.
                while !done.load(Ordering::SeqCst) {
                    for port in listening().into_iter().filter(|port| !before.contains(port)) {
                        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
                            continue;
                        };
                        *connected.lock().unwrap() += 1;
                        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                        let mut byte = [0];
                        assert!(!matches!(stream.read(&mut byte), Ok(1)), "sshd speaks to another client");
                    }
                }
            });
            // The files of a rehearsal, looked at while it runs.
            start_file(
                ".profile",
                "(ls /run/eic-keys-rehearsal; cat /run/eic-keys-rehearsal/key; id -u) >seen 2>&1\n",
            );
            let report = rehearse(world);
            drop(ended);
            report.assert_healthy();
        });
        let seen = fs::read_to_string(format!("{HOME}/seen")).unwrap();
        assert_eq!(seen.matches("Permission denied").count(), 2, "{seen}");
        assert!(seen.contains("47101") && !seen.contains("PRIVATE"), "{seen}");
        assert!(*connected.lock().unwrap() > 0, "the other client was never fast enough to be tested");
        // The names are known in advance; only root can create them.
        let plant = ["--reuid", "47102", "--regid", "47102", "--clear-groups", "ln", "-s", "/etc", DIRECTORY];
        let planted = world.instance.command(plant).program("/usr/bin/setpriv").as_root().run();
        assert_ne!(planted.status, Some(0));
        // Where others can, nothing is done.
        fs::set_permissions("/run", Permissions::from_mode(0o777)).unwrap();
        let report = rehearse(world);
        assert_eq!(report.status("login.rehearsal"), "warn");
        assert!(report.note("login.rehearsal").contains("users other than the owner can write to /run"));
        fs::set_permissions("/run", Permissions::from_mode(0o755)).unwrap();
        assert_eq!(fs::metadata("/run").unwrap().uid(), 0);
    });
}

/// sshd's own limits count for its command, and root's shell has others.
#[test]
fn the_line_runs_with_the_limits_of_sshd() {
    world(|world| {
        let pid = fs::read_to_string("/run/sshd.pid").unwrap();
        let limit = |files: &str| {
            let status = Command::new("prlimit").args(["--pid", pid.trim(), files]).status().unwrap();
            assert!(status.success());
        };
        limit("--nofile=6:4096");
        let report = world.check();
        let limited = &[("network.banner", "fail"), ("confinement.unit", "fail"), ("login.command", "fail")];
        report.assert_exactly(limited);
        let note = report.note("login.command");
        assert!(note.starts_with("as eic-keys, /usr/bin/eic-keys alice SHA256:"), "{note}");
        limit("--nofile=256:4096");
        world.check().assert_healthy();
        assert!(!world.instance.journal.says("Providing ssh key"));
    });
}

/// Runs a script as root.
fn root_runs(world: &World<'_>, script: &str) {
    let ran = world.instance.command(["-e", "-c", script]).program("/bin/sh").as_root().run();
    assert_eq!(ran.status, Some(0), "{script}: {}{}", ran.stdout, ran.stderr);
}

/// A program that a user can change is not run by root, although root's sshd was started from it.
#[test]
fn a_program_of_sshd_that_a_user_can_change() {
    world(|world| {
        crate::world::stop_sshd();
        root_runs(
            world,
            "mkdir /run/app; cp /usr/sbin/sshd /run/app/sshd; chown alice /run/app; rm -f /run/sshd.pid; /run/app/sshd; \
             while ! [ -e /run/sshd.pid ]; do sleep 0.05; done; rm /run/app/sshd",
        );
        world.instance.write("/run/app/sshd", "#!/bin/sh\necho \"$*\" >>/run/ran\n");
        fs::set_permissions("/run/app/sshd", Permissions::from_mode(0o755)).unwrap();
        let report = rehearse(world);
        assert_eq!(report.status("login.rehearsal"), "warn");
        let note = report.note("login.rehearsal");
        let expected = "root must not run the program of sshd: /run/app is owned by uid 47101, not by root";
        assert_eq!(note, format!("the login was not tried: {expected}"));
        // The running sshd itself starts it for each connection, as it would for a client's.
        let ran = fs::read_to_string("/run/ran").unwrap_or_default();
        assert!(ran.lines().all(|arguments| arguments.ends_with("-R")), "{ran}");
    });
}

/// A stale PID file can have the number of a container's sshd, with the program and the options of another system.
#[test]
fn a_pid_file_with_the_number_of_another_systems_sshd() {
    world(|world| {
        root_runs(
            world,
            "mkdir /run/container; mount -t tmpfs none /run/container; cd /run/container; mkdir -p run/sshd; \
             for part in usr etc dev proc; do mkdir $part; mount --rbind /$part $part; done; \
             for link in bin sbin lib lib64; do ln -s usr/$link $link; done; \
             chroot . /usr/sbin/sshd -p 2222 -o PidFile=/run/other.pid -o DenyUsers=alice; \
             while ! [ -e run/other.pid ]; do sleep 0.05; done; cat run/other.pid >/run/sshd.pid",
        );
        let report = rehearse(world);
        assert_eq!(
            report.note("login.rehearsal"),
            "a login as alice from 127.0.0.1 succeeds",
            "{:#?}",
            report.detail("login.rehearsal")
        );
    });
}

/// OpenSSH built from source.
#[test]
fn a_client_in_usr_local() {
    world(|world| {
        root_runs(world, "mkdir -p /run/local/bin; cp /usr/bin/ssh /usr/bin/ssh-keygen /run/local/bin");
        root_runs(world, "mount --bind /run/local /usr/local");
        world.instance.remove("/usr/bin/ssh");
        world.instance.remove("/usr/bin/ssh-keygen");
        let report = rehearse(world);
        assert_eq!(report.note("login.rehearsal"), "a login as alice from 127.0.0.1 succeeds");
        fs::set_permissions("/usr/local/bin", Permissions::from_mode(0o777)).unwrap();
        let report = rehearse(world);
        let note = report.note("login.rehearsal");
        assert!(note.contains("users other than root can write to /usr/local/bin"), "{note}");
    });
}

/// The session of a process, from the text of its `stat`.
fn session_of(stat: &str) -> u32 {
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(3).unwrap().parse().unwrap()
}

/// As of the daemon's: what PAM runs as the user has no terminal of root's.
#[test]
fn its_sshd_has_a_session_of_its_own() {
    world(|world| {
        pam(&format!("{PERMIT}session required pam_exec.so /run/pam-session\n"))(world);
        world.instance.install("/run/pam-session", b"#!/bin/sh\ncat /proc/$PPID/stat >/run/stat\n");
        rehearse(world).assert_healthy();
        let ours = session_of(&fs::read_to_string("/proc/self/stat").unwrap());
        assert_ne!(session_of(&fs::read_to_string("/run/stat").unwrap()), ours);
    });
}

/// A name does not save a process of the user.
#[test]
fn a_process_with_the_name_of_sshd() {
    world(|world| {
        let before = left(world);
        start_file(".profile", "/run/home/alice/sshd-session 1000 >/dev/null 2>&1 &\n");
        fs::copy("/usr/bin/sleep", format!("{HOME}/sshd-session")).unwrap();
        rehearse(world).assert_healthy();
        // It was killed, and init takes it soon.
        let start = Instant::now();
        while left(world) != before {
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}, before {before:?}", left(world));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}
