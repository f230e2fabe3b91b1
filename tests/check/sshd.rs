//! The program of sshd, and whether it accepts its configuration.

use std::time::Duration;

use eic_lab::sshd::CONFIG;

use crate::world::{PID_FILE, USER, World, broken, config, pid_file, world};

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
            // In other ways unusable.
            for (script, says) in [
                ("sed -i 's/$/\\r/' /run/host", "sed -i 's/[[:cntrl:]]$//' /run/host"),
                ("sed -i 's/[[:cntrl:]]$//; 3s/./-/g' /run/host", "sshd does not start without host keys"),
                ("truncate -s 100 /run/host", "/run/host is truncated: "),
                ("echo secret >/run/host", "/run/host is no private key: "),
                ("echo PuTTY-User-Key-File-3: x >/run/host", "/run/host has the form of PuTTY"),
                (": >/run/host", "/run/host is empty, "),
            ] {
                world.sh(script);
                let fix = world.check().of("sshd.config")["fix"].as_str().unwrap_or_default().to_owned();
                // OpenSSL reads its own form with them.
                let is_read = script.contains("\\r") && !form.is_empty();
                assert_eq!(fix.starts_with(says), !is_read, "{script}: {fix}");
            }
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

/// OpenSSL's configuration can name a provider that is not installed.
#[test]
fn an_sshd_without_random_numbers() {
    const WRAPPER: &str =
        "#!/bin/sh\n[ \"$1\" = -V ] && exec /run/sshd-real -V\necho 'PRNG is not seeded' >&2\nexit 255\n";
    world(|world| {
        world.sh("cp /usr/sbin/sshd /run/sshd-real");
        crate::world::stop_sshd();
        world.instance.install("/usr/sbin/sshd", WRAPPER.as_bytes());
        let report = world.check();
        assert_eq!(report.status("sshd.config"), "fail");
        let fix = report.of("sshd.config")["fix"].as_str().unwrap();
        assert!(fix.starts_with("OpenSSL has no source of random numbers: see which providers"), "{fix}");
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
        // No package has one that a line names.
        std::fs::remove_file("/run/sshd-session").unwrap();
        let fix = || world.check().of("sshd.config")["fix"].as_str().unwrap().to_owned();
        assert!(fix().starts_with("install openssh-server again"), "{}", fix());
        let line = "SshdSessionPath /run/sshd-session\n";
        world.instance.write("/etc/ssh/sshd_config", line.to_owned() + &config().text());
        // An older sshd does not know that keyword.
        let without = "for file; do :; done\n[ -f \"$file\" ] && sed /SshdSession/d \"$file\" >/run/plain && set -- $(echo \"$@\" | sed \
                       \"s|$file|/run/plain|\")\n";
        let wrapper = WRAPPER.replacen("/run/sshd-real", &format!("{without}/run/sshd-real"), 1);
        world.instance.install("/usr/sbin/sshd", wrapper.as_bytes());
        let says = "remove SshdSessionPath, or install that program (/etc/ssh/sshd_config line 1), then: ";
        assert!(fix().starts_with(says), "{}", fix());
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

/// sshd accepts a main file that lost its content, and runs with its defaults.
#[test]
fn a_main_file_without_lines() {
    let original = "/usr/share/openssh/sshd_config";
    for (text, says) in [("\0".repeat(3000), "has zero bytes only"), ("\n".to_owned(), "is empty")] {
        world(|world| {
            world.instance.write(original, config().text());
            world.check().assert_healthy();
            crate::world::stop_sshd();
            world.instance.write(CONFIG, &text);
            let report = world.check();
            assert_eq!(report.status("sshd.config"), "fail", "{}", report.of("sshd.config"));
            assert!(report.note("sshd.config").contains(says), "{}", report.note("sshd.config"));
            assert_eq!(report.status("user.expiry"), "skip");
            world.apply(&report, "sshd.config");
            assert_eq!(world.check().status("sshd.config"), "ok");
        });
    }
    // The running sshd has read another file.
    world(|world| {
        std::thread::sleep(Duration::from_secs(2));
        world.instance.write(CONFIG, "");
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        let report = world.check();
        assert_eq!(report.status("sshd.config"), "warn", "{}", report.of("sshd.config"));
        assert_eq!(report.outcome.status, Some(0));
    });
    // It has comments only, as an administrator can leave it, or other settings.
    for text in ["# nothing\n", "Port 22\n#\0\n"] {
        world(|world| {
            world.restart(text);
            assert_eq!(world.check().status("sshd.config"), "ok");
        });
    }
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
