//! Settings of sshd that can keep a pushed key out: methods, algorithms, revoked keys, limits, addresses.

use eic_lab::UserKey;
use eic_lab::sshd::CONFIG;

use crate::world::{USER, broken, config, set, world};

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
        fails(
            "ssh-keygen -q -k -f revoked other.pub; truncate -s 20 revoked",
            "/etc/ssh/revoked is truncated",
        );
        fails(
            "ssh-keygen -q -k -f revoked other.pub; truncate -s -1 revoked",
            "/etc/ssh/revoked is truncated",
        );
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
