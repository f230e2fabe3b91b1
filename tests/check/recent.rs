//! What the log and the journal say.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::world::{World, broken, config, log_line, with_unit, world};

/// The fingerprint of a key.
fn fingerprint(letter: char) -> String {
    format!("SHA256:{}", letter.to_string().repeat(43))
}

/// What eic-keys logs when it provides that key.
fn given(letter: char) -> String {
    format!("Providing ssh key from EC2 Instance Connect with fingerprint: {}", fingerprint(letter))
}

#[test]
fn what_the_log_tells() {
    // In the format of RFC 3164, which Debian had until version 12.
    let line = |text: &str| format!("Nov 20 08:00:00 host {text}\n");
    let failed = line("sshd[7]: AuthorizedKeysCommand /usr/bin/eic-keys alice SHA256:x failed, status 2");
    let given = line(&format!("eic-keys[8]: {}", given('x')));
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
            // Somebody typed it: the AuthorizedKeysCommand is right.
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
        let given = &format!("eic-keys[9]: {}", given('b'));
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
        // As many lines as are read: there can be more.
        let line = fs::read_to_string("/run/line").unwrap();
        let older = |seconds: u64| line.replace(&now.to_string(), &now.saturating_sub(seconds).to_string());
        for (count, age, more) in [(2000, 720, true), (1999, 720, false), (2000, 3700, false)] {
            world.instance.write("/run/lines", older(age).repeat(count));
            world.instance.install(
                "/usr/bin/journalctl",
                b"#!/bin/sh\ncase \"$*\" in *=eic-keys*) ;; *--reverse*) cat /run/lines ;; *) echo x ;; esac\n",
            );
            let note = world.check().note("recent.sshd").to_owned();
            let words = " (the log has more lines than are read: the oldest one is from ";
            assert_eq!(note.contains(words), more, "{count}, {age}: {note}");
        }
        let script = line.replace("/usr/bin/eic-keys", "/usr/bin/keys");
        world.instance.write("/run/lines", script);
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
        log(47_101, "/run/sshd-session", "sshd", complaint);
        log(0, "logger", "sshd", &format!("{complaint}0"));
        let report = world.check();
        report.assert_healthy();
        assert_eq!(report.note("recent.sshd"), "sshd logged no error about its AuthorizedKeysCommand");
        log(0, "/run/sshd-session", "sshd-session", &format!("{complaint}1"));
        world.check().assert_exactly(&[("recent.sshd", "warn")]);
        log(47_101, "/run/eic-keys", "eic-keys", &given('f'));
        let report = world.check();
        report.assert_exactly(&[("recent.sshd", "warn")]);
        // A run as another user, before AuthorizedKeysCommandUser was changed: sshd has accepted that key.
        let [key, other] = ['k', 'o'].map(fingerprint);
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
        log(47_100, "/run/eic-keys", "eic-keys", &given('t'));
        let report = world.check();
        report.assert_healthy();
        assert_eq!(report.note("recent.syslog"), format!("the last message of eic-keys: {}", given('t')));
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
