//! What the AuthorizedKeysCommandUser can use: the trust store, the metadata service, files that sshd's unit hides.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use crate::world::{TRUST_STORE, USER, World, broken, config, world};

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
        // The other process is given the same directory by another name.
        let relative = "../".repeat(30) + "etc/store";
        let report = world.check_with(&["alice", "--trust-store", &relative]);
        assert_eq!(report.status("signer.command_user"), "ok", "{}", report.note("signer.command_user"));
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

/// The AuthorizedKeysCommand is run for the key that is pushed, which it must print.
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
        assert!(report.note("signer.store").contains(", and ends within another one: the file is truncated"));
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

/// A program that runs as another user has no controlling terminal: it could put commands into the input of root's (`TIOCSTI`).
#[test]
fn the_command_user_has_no_terminal_of_root() {
    world(|world| {
        let real = fs::read("/usr/bin/setpriv").unwrap();
        world.instance.install("/run/setpriv", &real);
        world.instance.install(
            "/usr/bin/setpriv",
            b"#!/bin/sh\necho \"$$ $(ps -o sid= -o tty= -p $$)\" >>/run/sessions\nexec /run/setpriv \"$@\"\n",
        );
        world.check().assert_healthy();
        let sessions = fs::read_to_string("/run/sessions").unwrap();
        assert!(sessions.lines().count() >= 2, "two checks run a program as the command's user: {sessions}");
        for line in sessions.lines() {
            let [process, session, terminal] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            assert_eq!(
                (process, terminal),
                (session, "?"),
                "it leads a session of its own, without a terminal"
            );
        }
    });
}

/// sshd changes the user itself. What keeps the program from doing so that the checks use is no failure of a login.
#[test]
fn a_program_that_changes_the_user_and_cannot() {
    let missing = "echo 'setpriv: error while loading shared libraries: libcap-ng.so.0: cannot open shared object file' >&2; exit 127";
    let unchanged = "not tried as eic-keys: setsid or setpriv (util-linux) cannot be run";
    for (script, says) in [
        (missing, unchanged),
        (
            "case $* in *--check*) sleep 20 ;; *) exec /run/setpriv \"$@\" ;; esac",
            "not tried as eic-keys: the other checks take too long",
        ),
    ] {
        world(|world| {
            let real = fs::read("/usr/bin/setpriv").unwrap();
            world.instance.install("/run/setpriv", &real);
            world.instance.install("/usr/bin/setpriv", format!("#!/bin/sh\n{script}\n").as_bytes());
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
            let report = world.check();
            assert_eq!(report.note("metadata.command_user"), says);
            assert_eq!(report.note("signer.command_user"), says);
            assert_eq!(report.outcome.status, Some(0), "nothing fails: {}", report.outcome.stdout);
        });
    }
    world(|world| {
        world.instance.remove("/usr/bin/setsid");
        let report = world.check();
        assert_eq!(report.note("metadata.command_user"), unchanged);
        assert_eq!(report.outcome.status, Some(0), "nothing fails: {}", report.outcome.stdout);
    });
}
