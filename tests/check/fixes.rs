//! The printed commands: only root can redirect a path in them, unless they run as that user.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::world::{HOME, Report, World, account, alice_does, config, stop_sshd, world};

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
