//! What must not be changed is not changed: refused with the reason, every byte as before; and what fails
//! half-way is put back.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test stops at the first surprise")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
    time::Duration,
};

use crate::systems::System;
use eic_keys::sshd::wiring::{self, WiringOptions, WiringOutcome};
use rustix::fs::{IFlags, XattrFlags};

const STOCK: &str = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n";
const USERDB: &str =
    "AuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %u\nAuthorizedKeysCommandUser root\n";

fn stock() -> System {
    let system = System::new("bookworm");
    system.write("/etc/ssh/sshd_config", STOCK);
    system
}

/// `--enable`, which has to be refused with this reason and change nothing.
fn refused(system: &System, options: &WiringOptions, reason: &str) {
    let before = system.configuration();
    let mut said = Vec::new();
    match wiring::enable(options, &mut said) {
        WiringOutcome::Refused(why) => assert!(why.contains(reason), "refused for another reason: {why}"),
        other => panic!("{other:?}, not refused for \"{reason}\": {}", String::from_utf8_lossy(&said)),
    }
    assert_eq!(before, system.configuration(), "{reason}");
}

fn enabled(options: &WiringOptions) -> String {
    let mut said = Vec::new();
    let outcome = wiring::enable(options, &mut said);
    let said = String::from_utf8(said).unwrap();
    assert_eq!(outcome, WiringOutcome::Done, "{said}");
    said
}

/// What sshd expands names no user whose lack could be told, in our lines and in those set by hand.
#[test]
fn a_user_that_sshd_expands_is_never_missing() {
    for (user, by_hand) in [("%u", false), ("svc-%u", false), ("%u", true), ("a%%b", true)] {
        let system = stock();
        let command =
            if by_hand { "/usr/bin/eic-keys %u %f -- /usr/bin/keys %u" } else { "/usr/bin/keys %u" };
        system.write("/usr/bin/keys", "#!/bin/sh\n");
        fs::set_permissions(system.path("/usr/bin/keys"), fs::Permissions::from_mode(0o755)).unwrap();
        let lines = format!("AuthorizedKeysCommand {command}\nAuthorizedKeysCommandUser {user}\n");
        system.write("/etc/ssh/sshd_config.d/50-keys.conf", lines);
        let said = enabled(&system.options());
        assert!(!said.contains("does not exist"), "{said}");
        let wired = system.configuration();
        assert_eq!(wired.len(), if by_hand { 2 } else { 3 }, "{user}");
        if !by_hand {
            let ours = fs::read_to_string(system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf")).unwrap();
            let expected = format!(
                "AuthorizedKeysCommand /usr/bin/eic-keys %u %f -- /usr/bin/keys %u\nAuthorizedKeysCommandUser {user}\n"
            );
            assert!(ours.contains(&expected), "{ours}");
        }
        assert_eq!(enabled(&WiringOptions { if_user_missing: true, ..system.options() }), "");
        assert_eq!(wired, system.configuration(), "{user}");
    }
}

/// What the path unit runs acts on a missing user alone: whatever else an administrator is about to change stays as it is.
#[test]
fn only_if_the_user_is_missing() {
    let system = stock();
    let options = WiringOptions { if_user_missing: true, second_look: Duration::ZERO, ..system.options() };
    let unchanged = |when: &str| {
        let before = system.configuration();
        assert_eq!(enabled(&options), "", "{when}");
        assert_eq!(before, system.configuration(), "{when}");
    };
    unchanged("not wired");
    let other = |user: &str| {
        format!(
            "AuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %u\nAuthorizedKeysCommandUser {user}\n"
        )
    };
    system.write("/usr/bin/userdbctl", "#!/bin/sh\n");
    fs::set_permissions(system.path("/usr/bin/userdbctl"), fs::Permissions::from_mode(0o755)).unwrap();
    system.write("/etc/ssh/sshd_config", format!("{STOCK}{}", other("git")));
    unchanged("another command, not wired");
    enabled(&system.options());
    unchanged("chained");
    system.write("/etc/ssh/sshd_config", format!("{STOCK}NoSuchKeyword yes\n{}", other("git")));
    unchanged("chained, and the configuration is being edited");
    system.write("/etc/ssh/sshd_config", format!("{STOCK}{}", other("git")));

    let passwd = fs::read_to_string(system.path("/etc/passwd")).unwrap();
    system.write("/etc/passwd", passwd.replace("git:x:", "was-git:x:"));
    let said = enabled(&options);
    assert!(said.contains("the user git, who does not exist: sshd never runs it"), "{said}");
    let dropin = fs::read_to_string(system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf")).unwrap();
    assert!(
        dropin
            .contains("AuthorizedKeysCommand /usr/bin/eic-keys %u %f\nAuthorizedKeysCommandUser eic-keys\n")
    );
    assert!(
        dropin.contains(
            "\n# Left out, as its user git does not exist: /usr/bin/userdbctl ssh-authorized-keys %u\n"
        ),
        "{dropin}"
    );
    unchanged("done");
    assert!(enabled(&system.options()).contains("Nothing to do"));
    unchanged("done, and asked for");
}

/// What was left out comes back with its user, and takes no comment with it.
#[test]
fn a_command_comes_back_with_its_user() {
    let theirs = "AuthorizedKeysCommand /usr/bin/keys %u\nAuthorizedKeysCommandUser git\n";
    let by_hand = "AuthorizedKeysCommand /usr/bin/eic-keys --timeout 3 %u %f -- /usr/bin/keys %u\nAuthorizedKeysCommandUser git\n";
    for (lines, first, if_user_missing) in [
        (theirs, "wired with its user", true),
        (theirs, "wired with its user", false),
        (theirs, "wired without", true),
        (theirs, "wired without", false),
        (by_hand, "wired without", true),
        (by_hand, "wired without", false),
    ] {
        let when = format!("{lines}{first} {if_user_missing}");
        let system = stock();
        let watch = WiringOptions { if_user_missing: true, second_look: Duration::ZERO, ..system.options() };
        system.write("/usr/bin/keys", "#!/bin/sh\n");
        fs::set_permissions(system.path("/usr/bin/keys"), fs::Permissions::from_mode(0o755)).unwrap();
        system.write("/etc/ssh/sshd_config.d/50-keys.conf", lines);
        enabled(&system.options());
        let together = system.configuration();
        let passwd = fs::read_to_string(system.path("/etc/passwd")).unwrap();
        let gone = || system.write("/etc/passwd", passwd.replace("git:x:", "was-git:x:"));
        if first == "wired without" {
            assert_eq!(
                wiring::disable(&system.options(), &mut Vec::new()).code(),
                u8::from(lines == by_hand)
            );
            gone();
            // Lines that were set by hand are the administrator's to change.
            let before = system.configuration();
            assert_eq!(enabled(&watch), "", "{when}");
            assert_eq!(before, system.configuration(), "{when}");
            enabled(&system.options());
        } else {
            gone();
            enabled(&watch);
        }
        let without = system.configuration();
        assert_ne!(together, without, "{when}");
        let ours = fs::read_to_string(system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf")).unwrap();
        assert!(ours.contains("\n# Left out, as its user git does not exist: /usr/bin/"), "{when}: {ours}");
        assert!(ours.contains("AuthorizedKeysCommandUser eic-keys\n"), "{when}: {ours}");
        // Another user is added.
        system.write("/etc/passwd", passwd.replace("git:x:", "zed:x:"));
        assert_eq!(enabled(&watch), "", "{when}");
        assert_eq!(without, system.configuration(), "{when}");
        system.write("/etc/passwd", &passwd);
        let said = enabled(&WiringOptions { if_user_missing, ..watch.clone() });
        assert!(said.contains("/usr/bin/keys %u"), "{when}: {said}");
        assert_eq!(together, system.configuration(), "{when}");
        assert_eq!(enabled(&watch), "", "{when}");
    }
}

/// A user that is deleted and made again within the second look was never gone.
#[test]
fn a_user_is_looked_for_twice() {
    let system = stock();
    system.write("/etc/ssh/sshd_config.d/20-systemd-userdb.conf", USERDB.replace("root", "git"));
    system.write("/usr/bin/userdbctl", "#!/bin/sh\n");
    fs::set_permissions(system.path("/usr/bin/userdbctl"), fs::Permissions::from_mode(0o755)).unwrap();
    enabled(&system.options());
    let before = system.configuration();
    let passwd = fs::read_to_string(system.path("/etc/passwd")).unwrap();
    system.write("/etc/passwd", passwd.replace("git:x:", "was-git:x:"));
    std::thread::scope(|scope| {
        let second_look = Duration::from_secs(3);
        let options = WiringOptions { if_user_missing: true, second_look, ..system.options() };
        let watch = scope.spawn(move || enabled(&options));
        std::thread::sleep(Duration::from_secs(1));
        system.write("/etc/passwd", &passwd);
        assert_eq!(watch.join().unwrap(), "");
    });
    assert_eq!(before, system.configuration());
}

#[test]
fn files_that_are_not_what_they_seem() {
    let system = System::new("bookworm");
    system.write("/etc/ssh/real", "UsePAM yes\n");
    symlink("real", system.path("/etc/ssh/sshd_config")).unwrap();
    refused(&system, &system.options(), "is a symbolic link to real");

    fs::remove_file(system.path("/etc/ssh/sshd_config")).unwrap();
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    let main = system.path("/etc/ssh/sshd_config");
    fs::set_permissions(&main, fs::Permissions::from_mode(0o664)).unwrap();
    refused(&system, &system.options(), "may be written by others");
    fs::set_permissions(&main, fs::Permissions::from_mode(0o644)).unwrap();
    chown(&main, Some(1000), None).unwrap();
    refused(&system, &system.options(), "belongs to user 1000");
    chown(&main, Some(0), None).unwrap();

    fs::set_permissions(system.path("/etc/ssh"), fs::Permissions::from_mode(0o777)).unwrap();
    refused(&system, &system.options(), "may be written by others");
    fs::set_permissions(system.path("/etc/ssh"), fs::Permissions::from_mode(0o755)).unwrap();

    let file = fs::File::open(&main).unwrap();
    let flags = rustix::fs::ioctl_getflags(&file).unwrap();
    rustix::fs::ioctl_setflags(&file, flags | IFlags::IMMUTABLE).unwrap();
    refused(
        &system,
        &system.options(),
        "/etc/ssh/sshd_config is immutable, which root can change with chattr(1)",
    );
    rustix::fs::ioctl_setflags(&file, flags).unwrap();

    // A directory that takes no new names.
    let system = stock();
    let directory = fs::File::open(system.path("/etc/ssh/sshd_config.d")).unwrap();
    let flags = rustix::fs::ioctl_getflags(&directory).unwrap();
    for (flag, reason) in [
        (IFlags::IMMUTABLE, "/etc/ssh/sshd_config.d is immutable, which root can change with chattr(1)"),
        (IFlags::APPEND, "/etc/ssh/sshd_config.d is append-only, which root can change with chattr(1)"),
    ] {
        rustix::fs::ioctl_setflags(&directory, flags | flag).unwrap();
        let refused = std::panic::catch_unwind(|| refused(&system, &system.options(), reason));
        rustix::fs::ioctl_setflags(&directory, flags).unwrap();
        refused.unwrap();
    }
    enabled(&system.options());
}

#[test]
fn what_sshd_could_not_run() {
    let system = stock();
    let program = system.path("/usr/bin/eic-keys");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o775)).unwrap();
    refused(&system, &system.options(), "sshd would not run /usr/bin/eic-keys");
    fs::remove_file(&program).unwrap();
    refused(&system, &system.options(), "sshd would not run /usr/bin/eic-keys");
    system.write("/usr/bin/eic-keys", "");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();

    let passwd = fs::read_to_string(system.path("/etc/passwd")).unwrap();
    system.write("/etc/passwd", passwd.replace("eic-keys:", "other:"));
    refused(&system, &system.options(), "useradd --system");
    system.write("/etc/passwd", passwd);

    system.write("/etc/ssh/sshd_config.d/20.conf", USERDB);
    system.write("/usr/bin/userdbctl", "");
    fs::set_permissions(system.path("/usr/bin/userdbctl"), fs::Permissions::from_mode(0o777)).unwrap();
    refused(&system, &system.options(), "sshd would not run /usr/bin/userdbctl itself");

    refused(
        &system,
        &WiringOptions { sshd: Vec::new(), root: system.path("/etc"), ..system.options() },
        "there is no sshd here",
    );
    refused(
        &system,
        &WiringOptions { sshd: vec!["/nonexistent".into()], ..system.options() },
        "sshd could not be run",
    );
}

#[test]
fn a_configuration_that_was_broken_before() {
    for (text, reason) in [
        ("Nonsense yes\n", "fix that first"),
        ("Include /etc/ssh/sshd_config\n", "fix that first"),
        ("AuthorizedKeysCommand /x\n", "fix that first"),
    ] {
        let system = System::new("bookworm");
        system.write("/etc/ssh/sshd_config", text);
        refused(&system, &system.options(), reason);
    }
}

/// Takes the host keys away, as images are shipped.
fn without_host_keys(system: &System) {
    for entry in fs::read_dir(system.path("/etc/ssh")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("ssh_host_") {
            fs::remove_file(path).unwrap();
        }
    }
    let output = system.run_sshd(&["-t"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no hostkeys available"));
}

#[test]
fn an_image_without_host_keys_is_wired() {
    for release in crate::systems::releases() {
        for main in [STOCK, "HostKey /etc/ssh/ssh_host_ed25519_key\nUsePAM yes\n", "HostKey /nonexistent\n"] {
            let system = System::new(&release);
            system.write("/etc/ssh/sshd_config", main);
            without_host_keys(&system);
            fs::remove_dir(system.path("/run/sshd")).unwrap();
            let before = system.configuration();
            let said = enabled(&system.options());
            assert!(said.contains("sshd has no host keys yet") && !said.contains("ssh-keygen -A"), "{said}");
            assert_ne!(before, system.configuration());
            // The first boot makes them.
            let key = "/etc/ssh/ssh_host_ed25519_key";
            fs::copy(System::new(&release).path(key), system.path(key)).unwrap();
            let dump = system.run_sshd(&["-T", "-h", key]).stdout;
            assert!(String::from_utf8(dump).unwrap().contains("/usr/bin/eic-keys %u %f"), "{main}");

            fs::remove_file(system.path(key)).unwrap();
            assert_eq!(wiring::disable(&system.options(), &mut Vec::new()), WiringOutcome::Done);
            assert_eq!(before, system.configuration());
            assert!(!system.path("/run/eic-keys.check").exists());
        }
    }
}

#[test]
fn only_the_lack_of_host_keys_is_covered_up() {
    let system = stock();
    let key = system.path("/etc/ssh/ssh_host_ed25519_key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&system, &system.options(), "sshd cannot use /etc/ssh/ssh_host_ed25519_key, which is there");
    system.write("/etc/ssh/sshd_config", "HostKey /etc/ssh/ssh_host_ed25519_key\nHostKey /nonexistent\n");
    refused(&system, &system.options(), "sshd cannot use /etc/ssh/ssh_host_ed25519_key, which is there");
    assert!(!system.path("/run/eic-keys.check").exists());

    // Whatever makes keys takes an empty file for none.
    fs::write(&key, "").unwrap();
    enabled(&system.options());

    // Another fault remains one.
    let system = stock();
    without_host_keys(&system);
    system.write("/etc/ssh/sshd_config", "AuthorizedKeysCommand /x\n");
    refused(&system, &system.options(), "fix that first");
    assert!(!system.path("/run/eic-keys.check").exists());
}

#[test]
fn without_host_keys_and_without_the_means_to_make_one() {
    let system = stock();
    without_host_keys(&system);
    let keygen = |text: &str| {
        system.write("/tmp/ssh-keygen", format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(system.path("/tmp/ssh-keygen"), fs::Permissions::from_mode(0o755)).unwrap();
        WiringOptions { keygen: vec![system.path("/tmp/ssh-keygen").into()], ..system.options() }
    };
    refused(&system, &keygen("echo no key today >&2; exit 1"), "ssh-keygen says: no key today");
    assert!(!system.path("/run/eic-keys.check").exists());
    // FIPS mode.
    let root = system.root.display();
    enabled(&keygen(&format!(
        "case $* in *ed25519*) echo not allowed >&2; exit 1;; *) exec chroot {root} /usr/bin/ssh-keygen \"$@\";; esac"
    )));
    assert_eq!(wiring::disable(&system.options(), &mut Vec::new()), WiringOutcome::Done);

    fs::remove_file(system.path("/usr/bin/ssh-keygen")).unwrap();
    refused(&system, &WiringOptions { keygen: Vec::new(), ..system.options() }, "there is no ssh-keygen");

    // What a killed run left is no obstacle, nor is it followed.
    let system = stock();
    without_host_keys(&system);
    system.write("/run/eic-keys.check/ed25519", "x");
    enabled(&system.options());
    assert!(!system.path("/run/eic-keys.check").exists());
}

#[test]
fn an_sshd_that_lost_its_host_keys_is_not_reloaded() {
    let system = stock();
    without_host_keys(&system);
    let options = with_systemctl(&system, "case $* in *socket*) echo inactive;; *) echo active;; esac");
    refused(&system, &options, "would end at a reload");
    assert!(!calls(&system).iter().any(|call| call.contains("reload")), "{:?}", calls(&system));
}

#[test]
fn what_it_did_is_said_after_it_was_done() {
    // A refusal has its reason only.
    let system = stock();
    system.write("/etc/ssh/sshd_config.d/20-systemd-userdb.conf", USERDB);
    system.write("/usr/bin/userdbctl", "");
    fs::set_permissions(system.path("/usr/bin/userdbctl"), fs::Permissions::from_mode(0o777)).unwrap();
    let mut said = Vec::new();
    assert!(matches!(wiring::enable(&system.options(), &mut said), WiringOutcome::Refused(_)));
    assert_eq!(String::from_utf8(said).unwrap(), "");
    // So has what was put back.
    let system = stock();
    let failing = "[ \"$3\" = sshd.socket ] && exit 3; [ $1 = reload ] && exit 1; echo active";
    let mut said = Vec::new();
    let outcome = wiring::enable(&with_systemctl(&system, failing), &mut said);
    assert!(matches!(outcome, WiringOutcome::RolledBack(_)), "{outcome:?}");
    assert_eq!(String::from_utf8(said).unwrap(), "");

    let mut said = Vec::new();
    let dry_run = WiringOptions { dry_run: true, ..system.options() };
    assert_eq!(wiring::enable(&dry_run, &mut said), WiringOutcome::Done);
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("Would add /etc/ssh/sshd_config.d/10-eic-keys.conf.\n"), "{said}");
    assert!(!said.contains("Added") && !said.contains("Try it"), "{said}");
    let said = enabled(&system.options());
    assert!(said.contains("Added /etc/ssh/sshd_config.d/10-eic-keys.conf.\n"), "{said}");
    assert!(said.ends_with("\nTry it: eic-keys --check USER\n"), "{said}");
}

#[test]
fn a_directory_that_a_socket_would_have_made_is_made() {
    let system = stock();
    fs::remove_dir(system.path("/run/sshd")).unwrap();
    let options = WiringOptions { dry_run: true, ..system.options() };
    let mut said = Vec::new();
    assert_eq!(wiring::enable(&options, &mut said), WiringOutcome::Done);
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains("What follows is what its files say") && said.contains("10-eic-keys.conf"),
        "{said}"
    );
    assert!(!system.path("/run/sshd").exists());

    let said = enabled(&system.options());
    assert!(said.contains("/run/sshd was made"), "{said}");
    assert_eq!(fs::metadata(system.path("/run/sshd")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn a_command_that_cannot_be_put_behind_ours() {
    let system = System::new("bullseye");
    system.write("/etc/ssh/sshd_config", "AuthorizedKeysCommand /x \"y\nAuthorizedKeysCommandUser root\n");
    refused(&system, &system.options(), "cannot cut into words");
    let system = System::new("bookworm");
    system.write("/etc/ssh/sshd_config", "AuthorizedKeysCommand /x\nAuthorizedKeysCommandUser a\\\"b\n");
    let passwd = fs::read_to_string(system.path("/etc/passwd")).unwrap();
    system.write("/etc/passwd", passwd + "a\"b:x:980:980::/:/bin/sh\n");
    refused(&system, &system.options(), "cannot be written again");
}

#[test]
fn a_file_included_under_match_belongs_to_it() {
    let system = System::new("trixie");
    system.write("/etc/ssh/sshd_config", "UsePAM yes\nMatch all\nInclude /etc/ssh/more.conf\n");
    system.write("/etc/ssh/more.conf", USERDB);
    refused(&system, &system.options(), "stands under \"Match all\" (/etc/ssh/sshd_config line 2)");
    system.write("/etc/ssh/sshd_config", "UsePAM yes\nMatch User git\nInclude /etc/ssh/more.conf\n");
    let said = enabled(&system.options());
    assert!(
        said.contains("Note: /etc/ssh/more.conf line 1 sets") && said.contains("under \"Match User git\""),
        "{said}"
    );
}

#[test]
fn a_file_of_that_name_is_not_ours_to_replace() {
    let system = stock();
    system.write("/etc/ssh/sshd_config.d/10-eic-keys.conf", "PrintMotd no\n");
    enabled(&system.options());
    assert_eq!(fs::read(system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf")).unwrap(), b"PrintMotd no\n");
    assert!(system.path("/etc/ssh/sshd_config.d/05-eic-keys.conf").exists());
}

#[test]
fn the_running_daemon_overrides_its_files() {
    let system = stock();
    let unit = "/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf";
    system.write(
        unit,
        "[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS -o \"AuthorizedKeysCommand \
         /usr/share/ec2-instance-connect/eic_run_authorized_keys %%u %%f\" -o \"AuthorizedKeysCommandUser ec2-instance-connect\"\n",
    );
    refused(&system, &system.options(), "ec2-instance-connect.conf line 3 has -o AuthorizedKeysCommand");
    // Where systemd runs, it is its word that counts.
    system.write("/run/systemd/system/x", "");
    let options = with_systemctl(
        &system,
        "case $1 in show) echo ExecStart={ argv[]=/usr/sbin/sshd -D ; };; is-active) echo active;; esac",
    );
    enabled(&options);
    let options = with_systemctl(
        &system,
        "echo 'ExecStart={ argv[]=/usr/sbin/sshd -D -o AuthorizedKeysCommand /x ; }'",
    );
    refused(&system, &options, "has -o AuthorizedKeysCommand");
    let options =
        with_systemctl(&system, "echo 'ExecStart={ argv[]=/usr/sbin/sshd -D -f /etc/ssh/other ; }'");
    refused(&system, &options, "sshd runs with -f /etc/ssh/other");

    let system = stock();
    system.write("/run/sshd.pid", "77\n");
    system.write("/proc/77/cmdline", "sshd: /usr/sbin/sshd -D -o AuthorizedKeysCommandUser=x [listener]\0");
    refused(&system, &system.options(), "the command line of the running sshd");
    system.write("/proc/77/cmdline", "/usr/bin/editor\0AuthorizedKeysCommand\0");
    enabled(&system.options());
}

/// A process of the system: its command line, with blanks for zeros, and what started it.
fn process(system: &System, pid: u32, line: &str, parent: u32) {
    system.write(&format!("/proc/{pid}/comm"), "sshd\n");
    system.write(&format!("/proc/{pid}/cmdline"), line.replace(' ', "\0"));
    system.write(&format!("/proc/{pid}/status"), format!("Name:\tsshd\nPPid:\t{parent}\n"));
}

#[test]
fn a_daemon_that_reads_another_file() {
    let other = "/usr/sbin/sshd -D -f /etc/ssh/other";
    let system = stock();
    process(&system, 77, other, 1);
    let reason =
        "the only sshd that runs, process 77 with -f /etc/ssh/other, does not read /etc/ssh/sshd_config";
    refused(&system, &system.options(), reason);
    // The title that newer versions give themselves.
    system.write("/proc/77/cmdline", format!("sshd: {other} [listener] 0 of 10-100 startups\0"));
    refused(&system, &system.options(), reason);
    // WiringOptions in one word.
    process(&system, 77, "/usr/sbin/sshd -Def /etc/ssh/other", 1);
    refused(&system, &system.options(), reason);
    process(&system, 77, other, 1);
    // Its unit has no process yet.
    let socket = with_systemctl(&system, "case $* in *socket*) echo active;; *) echo inactive;; esac");
    assert!(enabled(&socket).contains("Note: another sshd runs, process 77 with -f /etc/ssh/other"));

    // Ours beside it: the second is named, whichever wrote the file with its number.
    for owner in ["77", "78"] {
        let system = stock();
        process(&system, 77, other, 1);
        process(&system, 78, "/usr/sbin/sshd -D", 1);
        system.write("/run/sshd.pid", format!("{owner}\n"));
        let said = enabled(&system.options());
        assert!(said.contains("Note: another sshd runs, process 77 with -f /etc/ssh/other"), "{said}");
    }

    // Neither a session nor the child that becomes one is a daemon.
    let system = stock();
    process(&system, 77, "sshd: alice@pts/0 -f /etc/ssh/other", 1);
    process(&system, 78, "/usr/sbin/sshd -i -f /etc/ssh/other", 1);
    process(&system, 79, "/usr/sbin/sshd -D -f /etc/ssh/other -R", 1);
    process(&system, 82, "/usr/sbin/sshd -Dt -f /etc/ssh/other", 1);
    process(&system, 80, other, 81);
    system.write("/proc/81/comm", "sshd\n");
    assert!(!enabled(&system.options()).contains("another sshd"));
}

#[test]
fn a_daemon_of_a_container_is_not_ours() {
    let other = "/usr/sbin/sshd -D -f /etc/ssh/other";
    let inside = |link: &str, to: &str| {
        let system = stock();
        process(&system, 77, other, 1);
        system.write("/proc/self/ns/x", "");
        system.write("/proc/77/ns/x", "");
        symlink("pid:[1]", system.path("/proc/self/ns/pid")).unwrap();
        symlink(to, system.path(link)).unwrap();
        system
    };
    let system = inside("/proc/77/ns/pid", "pid:[2]");
    assert!(!enabled(&system.options()).contains("another sshd"));
    let system = inside("/proc/77/root", "/nonexistent");
    refused(&system, &system.options(), "the only sshd that runs");
    let system = inside("/proc/77/root", "/usr");
    assert!(!enabled(&system.options()).contains("another sshd"));
    let system = inside("/proc/77/root", "../..");
    refused(&system, &system.options(), "the only sshd that runs");
}

#[test]
fn variables_of_the_unit_override_the_files() {
    let unit = "[Service]\nEnvironmentFile=-/etc/default/ssh\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n";
    for (text, reason) in [
        (
            "# x\nSSHD_OPTS=-o AuthorizedKeysCommand=/x",
            "/etc/default/ssh line 2 has -o AuthorizedKeysCommand",
        ),
        ("SSHD_OPTS=\"-oAuthorizedKeysCommand=/x\"", "/etc/default/ssh line 1 has -o AuthorizedKeysCommand"),
        ("SSHD_OPTS='-f /etc/ssh/other'", "sshd runs with -f /etc/ssh/other (/etc/default/ssh line 1)"),
        ("SSHD_OPTS=-f\\\n /etc/ssh/other", "sshd runs with -f /etc/ssh/other (/etc/default/ssh line 1)"),
    ] {
        let system = stock();
        system.write("/lib/systemd/system/ssh.service", unit);
        system.write("/etc/default/ssh", format!("{text}\n"));
        refused(&system, &system.options(), reason);
        // systemctl shows the variable's name only.
        let shown = "case $1 in show) echo 'ExecStart={ argv[]=/usr/sbin/sshd -D $SSHD_OPTS ; }';; *) echo inactive;; esac";
        refused(&system, &with_systemctl(&system, shown), reason);
    }
    let system = stock();
    system.write("/usr/lib/systemd/system/sshd.service", "[Service]\nEnvironment=\"OPTIONS=-oAuthorizedKeysCommand=/x\"\nExecStart=/usr/sbin/sshd -D ${OPTIONS}\n");
    refused(
        &system,
        &system.options(),
        "/usr/lib/systemd/system/sshd.service line 2 has -o AuthorizedKeysCommand",
    );

    // Each assignment of a line counts, with quotes and without.
    for line in [
        "Environment=A=1 OPTIONS=-oAuthorizedKeysCommand=/x",
        "Environment=\"A=1 2\" \"OPTIONS=-o AuthorizedKeysCommand=/x\" B=3",
        "Environment = 'OPTIONS=-4 -o \"AuthorizedKeysCommand /x\"'",
    ] {
        let system = stock();
        let unit = format!("[Service]\n{line}\nExecStart=/usr/sbin/sshd -D $OPTIONS\n");
        system.write("/usr/lib/systemd/system/sshd.service", unit);
        refused(&system, &system.options(), "sshd.service line 2 has -o AuthorizedKeysCommand");
    }
    let system = stock();
    let unit = "[Service]\nEnvironment=\"A=x\" \"OTHER=-f /x\"\nExecStart=/usr/sbin/sshd -D $A\n";
    system.write("/usr/lib/systemd/system/sshd.service", unit);
    enabled(&system.options());

    // What no unit uses does not count, nor does a comment.
    let system = stock();
    system.write("/lib/systemd/system/ssh.service", unit);
    system.write("/etc/default/ssh", "#SSHD_OPTS=-o AuthorizedKeysCommand=/x\nOTHER=-f /x\nSSHD_OPTS=-4\n");
    enabled(&system.options());
}

/// What must not be read to its end, in the place of a file: a pipe that nobody writes to, a device, and a file that is too large.
fn in_place_of(system: &System, path: &str, kind: &str, text: &str, most: u64) {
    let path = system.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let words: &[&str] = match kind {
        "pipe" => &["p"],
        "device" => &["c", "1", "5"],
        _ => {
            fs::write(&path, text).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_len(most.saturating_add(1)).unwrap();
            return;
        }
    };
    assert!(Command::new("mknod").arg(&path).args(words).status().unwrap().success());
}

#[test]
fn what_is_read_is_bounded() {
    let mib = 1024 * 1024;
    for kind in ["pipe", "device", "large"] {
        // An environment file.
        let system = stock();
        let unit = "[Service]\nEnvironmentFile=-/etc/default/ssh\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n";
        system.write("/lib/systemd/system/ssh.service", unit);
        in_place_of(&system, "/etc/default/ssh", kind, "SSHD_OPTS=-f /x\n", mib);
        enabled(&system.options());
        // The number of the sshd that runs.
        let system = stock();
        in_place_of(&system, "/run/sshd.pid", kind, "77", mib);
        enabled(&system.options());
        // The users, where image-based systems have them.
        let system = stock();
        let users = fs::read_to_string(system.path("/etc/passwd")).unwrap();
        let others: Vec<&str> = users.lines().filter(|line| !line.starts_with("eic-keys:")).collect();
        system.write("/etc/passwd", others.join("\n") + "\n");
        let user = "eic-keys:x:990:990::/:/usr/sbin/nologin\n";
        in_place_of(&system, "/usr/lib/passwd", kind, user, 16 * mib);
        refused(&system, &system.options(), "there is no user eic-keys");
        fs::remove_file(system.path("/usr/lib/passwd")).unwrap();
        system.write("/usr/lib/passwd", user);
        enabled(&system.options());
    }
}

/// The packages set sshd up again where openssh-server is purged and comes back, if these notes tell them to.
#[test]
fn the_packages_are_told() {
    let noted = |system: &System, name: &str| system.path(&format!("/var/lib/eic-keys/{name}")).exists();
    let disabled = |options: &WiringOptions| {
        let mut said = Vec::new();
        assert_eq!(wiring::disable(options, &mut said), WiringOutcome::Done);
        String::from_utf8(said).unwrap()
    };
    let system = stock();
    enabled(&system.options());
    assert!(!system.path("/var/lib/eic-keys").exists(), "no package is there");
    for name in ["enable", "later", "user"] {
        system.write(&format!("/var/lib/eic-keys/{name}"), "");
    }
    enabled(&WiringOptions { if_user_missing: true, ..system.options() });
    enabled(&WiringOptions { dry_run: true, ..system.options() });
    assert!(!noted(&system, "wired"));
    enabled(&system.options());
    assert!(noted(&system, "wired"));
    disabled(&WiringOptions { dry_run: true, ..system.options() });
    assert!(noted(&system, "wired") && noted(&system, "enable") && noted(&system, "later"));
    // What is refused has not been undone.
    let config = system.configuration();
    system.write("/etc/ssh/sshd_config", "Nonsense yes\n");
    assert!(matches!(wiring::disable(&system.options(), &mut Vec::new()), WiringOutcome::Refused(_)));
    assert!(noted(&system, "wired") && noted(&system, "enable") && noted(&system, "later"));
    for (path, bytes) in config {
        system.write(&format!("/etc/ssh/{path}"), bytes);
    }
    disabled(&system.options());
    assert!(!noted(&system, "wired") && !noted(&system, "enable") && !noted(&system, "later"));
    assert!(noted(&system, "user"), "which is about the user alone");
    // There is nothing to do for sshd, and the note goes all the same; if it cannot go, that is said.
    system.write("/var/lib/eic-keys/wired", "");
    disabled(&system.options());
    assert!(!noted(&system, "wired"));
    system.write("/var/lib/eic-keys/wired/x", "");
    assert!(disabled(&system.options()).contains("an installation of openssh-server can set sshd up again"));
}

#[test]
fn the_main_file_of_the_vendor() {
    let vendors = "/usr/etc/ssh/sshd_config";
    let text =
        "Include /etc/ssh/sshd_config.d/*.conf\nInclude /usr/etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n";
    // SUSE's sshd looks there by itself.
    let suse = |system: &System| {
        with_sshd(system, &format!("case $* in *-f*|-V) ;; *) set -- \"$@\" -f {vendors};; esac"))
    };
    let system = System::new("trixie");
    system.write(vendors, text);
    // It may be on a file system that is read-only.
    let directory = fs::File::open(system.path("/usr/etc/ssh")).unwrap();
    let flags = rustix::fs::ioctl_getflags(&directory).unwrap();
    rustix::fs::ioctl_setflags(&directory, flags | IFlags::IMMUTABLE).unwrap();
    let before = system.configuration();
    let mut said = Vec::new();
    let outcome = wiring::enable(&suse(&system), &mut said);
    let dump = system.run_sshd(&["-T", "-f", vendors]).stdout;
    let names: Vec<String> = system.configuration().into_iter().map(|(path, _)| path).collect();
    let disabled = wiring::disable(&suse(&system), &mut Vec::new());
    rustix::fs::ioctl_setflags(&directory, flags).unwrap();
    assert_eq!(outcome, WiringOutcome::Done, "{}", String::from_utf8_lossy(&said));
    assert!(String::from_utf8(dump).unwrap().contains("/usr/bin/eic-keys %u %f"));
    assert_eq!(names, ["sshd_config.d/10-eic-keys.conf"]);
    assert_eq!(disabled, WiringOutcome::Done);
    assert_eq!(before, system.configuration());
    assert_eq!(fs::read_to_string(system.path(vendors)).unwrap(), text);

    // Another sshd does not.
    refused(&system, &system.options(), "this sshd does not read /usr/etc/ssh/sshd_config in its place");

    // No drop-in would count.
    system.write(vendors, "UsePAM yes\n");
    refused(&system, &suse(&system), "copy /usr/etc/ssh/sshd_config to /etc/ssh/sshd_config");
    assert_eq!(fs::read_to_string(system.path(vendors)).unwrap(), "UsePAM yes\n");

    // The administrator's own file comes before it.
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    enabled(&system.options());
    assert!(fs::read_to_string(system.path("/etc/ssh/sshd_config")).unwrap().contains("eic-keys"));
}

/// A stand-in for systemctl that runs this shell text, on a system where systemd runs.
fn with_systemctl(system: &System, script: &str) -> WiringOptions {
    system.write("/run/systemd/system/x", "");
    let log = system.path("/tmp/systemctl.log");
    let script = format!("#!/bin/sh\necho \"$@\" >>{}\n{script}\n", log.display());
    system.write("/tmp/systemctl", script);
    fs::set_permissions(system.path("/tmp/systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    WiringOptions { systemctl: vec![system.path("/tmp/systemctl").into()], ..system.options() }
}

fn calls(system: &System) -> Vec<String> {
    let log = fs::read_to_string(system.path("/tmp/systemctl.log")).unwrap();
    log.lines().filter(|line| !line.starts_with("show")).map(str::to_owned).collect()
}

#[test]
fn the_unit_that_runs_is_reloaded() {
    let system = stock();
    let said = enabled(&with_systemctl(
        &system,
        "case $* in *socket*) echo inactive;; *\\ *\\ *) echo inactive; echo active;; *) echo active;; esac",
    ));
    assert!(said.contains("sshd.service was reloaded."), "{said}");
    assert_eq!(
        calls(&system),
        [
            // Before anything is changed: can it be told?
            "is-active ssh.service sshd.service",
            "is-active ssh.socket sshd.socket",
            "is-active ssh.service sshd.service",
            "is-active ssh.socket sshd.socket",
            "reload sshd.service",
            "is-active sshd.service"
        ]
    );

    // An sshd that was handed its socket would not survive a reload.
    let system = stock();
    let said = enabled(&with_systemctl(&system, "[ $1 = show ] && echo KillMode=process || echo active"));
    assert!(said.contains("ssh.service was stopped; ssh.socket starts it"), "{said}");
    assert_eq!(calls(&system).last().map(String::as_str), Some("stop ssh.service"));

    // The sessions would go with it.
    let system = stock();
    let said =
        enabled(&with_systemctl(&system, "[ $1 = show ] && echo KillMode=control-group || echo active"));
    assert!(said.contains("ssh.service was left alone") && said.contains("KillMode=control-group"), "{said}");
    assert!(!calls(&system).iter().any(|call| call.contains("stop")), "{:?}", calls(&system));

    let system = stock();
    let said = enabled(&with_systemctl(
        &system,
        "[ \"$*\" = 'is-active ssh.socket sshd.socket' ] && echo active || echo inactive",
    ));
    assert!(said.contains("no reload is needed"), "{said}");
    assert!(!calls(&system).iter().any(|call| call.contains("load ")), "{:?}", calls(&system));

    let system = stock();
    let said = enabled(&with_systemctl(&system, "echo inactive; echo inactive; false"));
    assert!(said.contains("sshd does not run"), "{said}");
}

#[test]
fn a_unit_that_cannot_be_reloaded() {
    for show in ["CanReload=no", "LoadState=masked"] {
        let script = format!(
            "case $* in *socket*) echo inactive;; show*) echo {show};; reload*) exit 1;; *) echo active;; esac"
        );
        // Lines that nobody reads yet do no harm.
        let system = stock();
        let before = system.configuration();
        let options = with_systemctl(&system, &script);
        let said = enabled(&options);
        assert!(
            said.contains("WARNING: not told of the change: ssh.service has no ExecReload=, or is masked")
                && said.contains("systemctl restart ssh.service"),
            "{said}"
        );
        // Lines that it may have read must not lead to a program that is gone.
        let after = system.configuration();
        let outcome = wiring::disable(&options, &mut Vec::new());
        let WiringOutcome::Refused(reason) = outcome else { panic!("{outcome:?}") };
        assert!(
            reason.contains("would go on with our lines") && reason.contains("systemctl restart ssh.service"),
            "{reason}"
        );
        assert_eq!(after, system.configuration());
        let stopped = with_systemctl(&system, "echo inactive; echo inactive");
        assert_eq!(wiring::disable(&stopped, &mut Vec::new()), WiringOutcome::Done);
        assert_eq!(before, system.configuration());
        // Nothing of ours is there: there is nothing to refuse.
        assert_eq!(wiring::disable(&with_systemctl(&system, &script), &mut Vec::new()), WiringOutcome::Done);
    }
}

#[test]
fn a_reload_that_fails_is_undone() {
    for script in [
        "[ \"$3\" = sshd.socket ] && exit 3; [ $1 = reload ] && echo 'Job failed.' >&2 && exit 1; echo active",
        // It says that all went well, but then sshd is gone.
        "[ \"$3\" = sshd.socket ] && exit 3; [ $1 = reload ] && touch \"$0.reloaded\"; [ $1 = is-active ] && [ -e \"$0.reloaded\" ] && echo failed || echo active",
    ] {
        for main in [STOCK, "UsePAM yes\n"] {
            let system = System::new("trixie");
            system.write("/etc/ssh/sshd_config", main);
            let before = system.configuration();
            let outcome = wiring::enable(&with_systemctl(&system, script), &mut Vec::new());
            let WiringOutcome::RolledBack(reason) = outcome else { panic!("{outcome:?}") };
            assert!(reason.contains("put back"), "{reason}");
            assert_eq!(before, system.configuration());
        }
    }
}

/// The system's sshd, but for this shell text before it, which sees the arguments and the file of `-f` as
/// `$config`.
fn with_sshd(system: &System, script: &str) -> WiringOptions {
    let root = system.root.display();
    let script =
        format!("#!/bin/sh\nfor config; do :; done\n{script}\nexec chroot {root} /usr/sbin/sshd \"$@\"\n");
    system.write("/tmp/sshd", script);
    fs::set_permissions(system.path("/tmp/sshd"), fs::Permissions::from_mode(0o755)).unwrap();
    WiringOptions { sshd: vec![system.path("/tmp/sshd").into()], ..system.options() }
}

#[test]
fn sshd_is_asked_before_and_after() {
    let check = "*.sshd_config.eic-keys-check) ";
    for (script, reason) in [
        (
            "[ $1 = -t ] && { echo no >&2; exit 1; };;",
            "the change was tried beside the files, and sshd says: no",
        ),
        ("[ $1 = -T ] && exec sed '/^auth.*command /s/ .*/ \\/x/' $0.dump;;", "something else counts"),
        ("[ $1 = -T ] && { sed '/^port/s/22/23/' $0.dump; exit; };;", "it would change more: port 23"),
        ("[ $1 = -T ] && { sed '/^port/d' $0.dump; exit; };;", "it would change more"),
    ] {
        let system = stock();
        let reference = stock();
        enabled(&reference.options());
        let spec = "user=eic-keys-probe,host=eic-keys.invalid,addr=192.0.2.1,laddr=192.0.2.2,lport=22";
        fs::write(system.path("/tmp/sshd.dump"), reference.run_sshd(&["-T", "-C", spec]).stdout).unwrap();
        refused(&system, &with_sshd(&system, &format!("case $config in {check}{script} esac")), reason);
    }
    for main in [STOCK, "UsePAM yes\n"] {
        let system = System::new("bookworm");
        system.write("/etc/ssh/sshd_config", main);
        let before = system.configuration();
        // The candidate passes, the same in its place does not.
        let script =
            "case $config in *-check) touch $0.seen;; *) [ -e $0.seen ] && { echo no >&2; exit 1; };; esac";
        let outcome = wiring::enable(&with_sshd(&system, script), &mut Vec::new());
        let WiringOutcome::RolledBack(reason) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("sshd says: no; everything was put back"), "{reason}");
        assert_eq!(before, system.configuration());
    }
}

#[test]
fn what_the_reader_and_sshd_see_differently_is_left_alone() {
    let system = stock();
    let dump = system.run_sshd(&["-T"]).stdout;
    fs::write(system.path("/tmp/sshd.dump"), dump).unwrap();
    let script = "[ $1 = -T ] && { sed '/^auth.*command /s/ .*/ \\/x/' $0.dump; exit; }";
    refused(&system, &with_sshd(&system, script), "nothing is changed that is not understood");
}

#[test]
fn a_file_that_changes_meanwhile_is_left_alone() {
    let system = System::new("bookworm");
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    let main = system.path("/etc/ssh/sshd_config");
    let script = format!("case $config in *-check) echo UsePAM no >{};; esac", main.display());
    let outcome = wiring::enable(&with_sshd(&system, &script), &mut Vec::new());
    assert!(
        matches!(&outcome, WiringOutcome::Refused(why) if why.contains("changed by someone else")),
        "{outcome:?}"
    );
    assert_eq!(fs::read_to_string(&main).unwrap(), "UsePAM no\n");
}

#[test]
fn a_replaced_file_keeps_its_attributes() {
    let system = System::new("bookworm");
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    let main = system.path("/etc/ssh/sshd_config");
    fs::set_permissions(&main, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&main, Some(0), Some(27)).unwrap();
    // user::rw-, user:1000:r--, group::r--, mask::r--, other::---
    let acl: Vec<u8> =
        [(1_u16, 6_u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
            .iter()
            .flat_map(|(tag, rights, id)| {
                [&tag.to_le_bytes()[..], &rights.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
            })
            .collect();
    let attributes: [(&str, &[u8]); 3] = [
        ("system.posix_acl_access", &[&2_u32.to_le_bytes()[..], &acl].concat()),
        ("security.selinux", b"system_u:object_r:etc_t:s0\0"),
        ("user.note", b"kept"),
    ];
    for (name, value) in attributes {
        rustix::fs::setxattr(&main, name, value, XattrFlags::empty()).unwrap();
    }
    let then = fs::metadata(&main).unwrap();
    enabled(&system.options());
    let now = fs::metadata(&main).unwrap();
    assert_ne!(then.ino(), now.ino(), "it was replaced, not written to");
    assert_eq!((then.mode(), then.uid(), then.gid()), (now.mode(), now.uid(), now.gid()));
    for (name, value) in attributes {
        let mut found = [0; 256];
        let length = rustix::fs::getxattr(&main, name, &mut found).unwrap();
        assert_eq!(found.get(..length), Some(value), "{name}");
    }
    assert_eq!(now.nlink(), 1, "no other name is left");
}

#[test]
fn only_one_at_a_time() {
    let system = stock();
    let path = system.path("/run/eic-keys.lock");
    let file = fs::File::create(&path).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    refused(&system, &system.options(), "another --enable or --disable runs");
    drop(file);
    fs::remove_file(&path).unwrap();
    symlink("/tmp/elsewhere", &path).unwrap();
    refused(&system, &system.options(), "eic-keys.lock");
}

#[test]
fn disable_refuses_what_was_set_by_hand() {
    let system = System::new("bookworm");
    system.write(
        "/etc/ssh/sshd_config",
        "AuthorizedKeysCommand /usr/bin/eic-keys %u %f\nAuthorizedKeysCommandUser nobody\n",
    );
    let before = system.configuration();
    let outcome = wiring::disable(&system.options(), &mut Vec::new());
    assert!(
        matches!(&outcome, WiringOutcome::Refused(why) if why.contains("sshd_config line 1") && why.contains("by hand")),
        "{outcome:?}"
    );
    assert_eq!(before, system.configuration());
}

/// `--disable`, which has to be refused with this reason and change nothing.
fn disable_refused(system: &System, reason: &str) {
    let before = system.configuration();
    for dry_run in [true, false] {
        let outcome = wiring::disable(&WiringOptions { dry_run, ..system.options() }, &mut Vec::new());
        assert!(
            matches!(&outcome, WiringOutcome::Refused(why) if why.contains(reason) && why.contains("by hand")),
            "{outcome:?}, not {reason}"
        );
    }
    assert_eq!(before, system.configuration(), "{reason}");
}

fn disabled(options: &WiringOptions) -> String {
    let mut said = Vec::new();
    let outcome = wiring::disable(options, &mut said);
    let said = String::from_utf8(said).unwrap();
    assert_eq!(outcome, WiringOutcome::Done, "{said}");
    said
}

/// Wherever a line names the program, the keys of what is behind it go with the program.
#[test]
fn disable_refuses_while_a_line_names_the_program() {
    let user = "AuthorizedKeysCommandUser nobody\n";
    let line = "AuthorizedKeysCommand /usr/bin/eic-keys %u %f -- /usr/bin/keys %u\n";
    for (path, text, reason) in [
        (
            "sshd_config",
            format!("{STOCK}Match Group alice\n {line} {user}"),
            "sshd_config line 4 sets /usr/bin/eic-keys %u %f -- /usr/bin/keys %u under \"Match Group alice\"",
        ),
        (
            "sshd_config",
            format!("{STOCK}Match User bob\n Include /etc/ssh/bob\n"),
            "/etc/ssh/bob line 1 sets /usr/bin/eic-keys",
        ),
        ("sshd_config.d/50-x.conf", format!("{line}{user}"), "50-x.conf line 1 sets /usr/bin/eic-keys"),
        (
            "sshd_config.d/50-x.conf",
            format!("Match LocalPort 22\n{line}{user}"),
            "50-x.conf line 2 sets /usr/bin/eic-keys",
        ),
        // Run by another program.
        (
            "sshd_config.d/50-x.conf",
            format!("{}{user}", line.replace("/usr/bin/eic", "/usr/bin/timeout 5 /usr/bin/eic")),
            "50-x.conf line 1 sets /usr/bin/timeout 5 /usr/bin/eic-keys",
        ),
        (
            "sshd_config.d/50-x.conf",
            format!("Match User bob\n{}{user}", line.replace("/usr/bin/eic", "/usr/bin/timeout 5 /opt/eic")),
            "50-x.conf line 2 sets /usr/bin/timeout 5 /opt/eic-keys",
        ),
    ] {
        let system = stock();
        system.write("/etc/ssh/bob", format!("{line}{user}"));
        fs::create_dir(system.path("/opt")).unwrap();
        symlink("../usr/bin/eic-keys", system.path("/opt/eic-keys")).unwrap();
        // Alone, and beside lines of --enable.
        for beside in [false, true] {
            system.write("/etc/ssh/sshd_config", STOCK);
            let _ = fs::remove_file(system.path("/etc/ssh/sshd_config.d/50-x.conf"));
            if beside {
                enabled(&system.options());
            }
            system.write(&format!("/etc/ssh/{path}"), &text);
            disable_refused(&system, reason);
        }
    }
}

#[test]
fn disable_refuses_while_another_daemon_names_the_program() {
    let user = "AuthorizedKeysCommandUser nobody\n";
    for (other, reason) in [
        (
            "AuthorizedKeysCommand /usr/bin/eic-keys %u %f -- /usr/bin/keys %u\n",
            Some("/etc/ssh/other line 1 sets /usr/bin/eic-keys"),
        ),
        (
            "Match User bob\nAuthorizedKeysCommand /usr/bin/eic-keys %u\n",
            Some(
                "/etc/ssh/other line 2 sets /usr/bin/eic-keys %u under \"Match User bob\", for the sshd of process 77",
            ),
        ),
        ("AuthorizedKeysCommand /usr/bin/keys %u\n", None),
        // What it includes of ours goes with ours.
        ("Include /etc/ssh/sshd_config.d/*.conf\n", None),
    ] {
        for beside in [false, true] {
            let system = stock();
            system.write("/etc/ssh/other", format!("{other}{user}"));
            process(&system, 77, "/usr/sbin/sshd -D -f /etc/ssh/other", 1);
            process(&system, 78, "/usr/sbin/sshd -D", 1);
            if beside {
                enabled(&system.options());
            }
            match reason {
                Some(reason) => disable_refused(&system, reason),
                None => drop(disabled(&system.options())),
            }
        }
    }
    // What cannot be read is named; a file that is gone holds nothing.
    let system = stock();
    process(&system, 77, "/usr/sbin/sshd -D -f /etc/ssh/other", 1);
    assert!(!disabled(&system.options()).contains("process 77"));
    system.write("/etc/ssh/other", "Include /etc/ssh/other\n");
    assert!(disabled(&system.options()).contains("Note: what the sshd of process 77 reads cannot be read"));

    let system = stock();
    process(&system, 77, "/usr/sbin/sshd -D -o AuthorizedKeysCommand=/usr/bin/eic-keys", 1);
    disable_refused(&system, "the command line of sshd, process 77 has -o AuthorizedKeysCommand");
    let system = stock();
    let unit = "[Service]\nExecStart=/usr/sbin/sshd -D -o \"AuthorizedKeysCommand /usr/bin/eic-keys %%u\"\n";
    system.write("/etc/systemd/system/ssh.service", unit);
    disable_refused(&system, "/etc/systemd/system/ssh.service line 2 has -o AuthorizedKeysCommand");
}

/// Where nothing of ours is, nothing keeps the package from going: neither a configuration that sshd refuses or the reader cannot
/// read, nor a unit that cannot be reloaded.
#[test]
fn disable_of_nothing_needs_nobody() {
    for text in [
        "Bogus\n",
        "AuthorizedKeysCommand \"/x\n",
        "HostKey /nonexistent\n",
        "Include /etc/ssh/sshd_config\n",
        "AuthorizedKeysCommand /usr/bin/keys %u\n",
    ] {
        for owed in [false, true] {
            let system = stock();
            let failing = with_systemctl(
                &system,
                "case $* in *socket*) echo inactive;; is-active*) echo active;; *) exit 1;; esac",
            );
            if owed {
                system.write("/run/eic-keys.lock", "x");
            }
            system.write("/etc/ssh/sshd_config", format!("{STOCK}{text}"));
            let before = system.configuration();
            let said = disabled(&failing);
            assert!(said.contains("Nothing to do"), "{text}: {said}");
            assert_eq!(said.contains("nor could this one"), owed, "{text}: {said}");
            assert_eq!(before, system.configuration());
            assert!(!system.path("/tmp/systemctl.log").exists(), "{text}");
        }
    }
    // A unit that cannot be reloaded, where sshd accepts its files: tried where a run was cut off, and no reason to fail.
    let system = stock();
    let failing = with_systemctl(
        &system,
        "case $* in *socket*) echo inactive;; is-active*) echo active;; *) exit 1;; esac",
    );
    assert!(!disabled(&failing).contains("Note"));
    assert!(!system.path("/tmp/systemctl.log").exists());
    system.write("/run/eic-keys.lock", "x");
    let said = disabled(&failing);
    assert!(said.contains("nor could this one: "), "{said}");
    // Without a main file, and without an sshd that runs.
    fs::remove_file(system.path("/etc/ssh/sshd_config")).unwrap();
    assert!(disabled(&failing).contains("Nothing to do"));
    let broken = WiringOptions { sshd: vec!["false".into()], ..system.options() };
    assert!(disabled(&broken).contains("Nothing to do"));

    // Lines of ours are no nothing.
    for (text, path) in [
        ("Bogus\n", "sshd_config"),
        ("AuthorizedKeysCommand \"/x\n", "sshd_config"),
        ("Bogus\n", "sshd_config.d/50-x.conf"),
    ] {
        let system = stock();
        enabled(&system.options());
        let here = fs::read_to_string(system.path(&format!("/etc/ssh/{path}"))).unwrap_or_default();
        system.write(&format!("/etc/ssh/{path}"), here + text);
        let before = system.configuration();
        assert_eq!(wiring::disable(&system.options(), &mut Vec::new()).code(), 1, "{text}");
        assert_eq!(before, system.configuration());
    }
}

/// A second name of the file would go on leading to the old one.
#[test]
fn a_file_with_two_names() {
    let system = System::new("bookworm");
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    assert!(!enabled(&system.options()).contains("hard link"));
    fs::hard_link(system.path("/etc/ssh/sshd_config"), system.path("/etc/ssh/sshd_config.bak")).unwrap();
    let said = disabled(&system.options());
    assert!(
        said.contains(
            "Note: /etc/ssh/sshd_config has another name, by a hard link. /etc/ssh/sshd_config is replaced"
        ),
        "{said}"
    );
    fs::remove_file(system.path("/etc/ssh/sshd_config.bak")).unwrap();
    fs::hard_link(system.path("/etc/ssh/sshd_config"), system.path("/etc/ssh/sshd_config.bak")).unwrap();
    let said = enabled(&system.options());
    assert!(said.contains("Note: /etc/ssh/sshd_config has another name, by a hard link"), "{said}");
}

#[test]
fn disable_where_sshd_is_gone() {
    for main in [STOCK, "UsePAM yes\nMatch User bob\n  PasswordAuthentication no"] {
        let system = System::new("trixie");
        system.write("/etc/ssh/sshd_config", main);
        let before = system.configuration();
        enabled(&system.options());
        let wired = system.configuration();
        fs::remove_file(system.path("/usr/sbin/sshd")).unwrap();
        let options = WiringOptions { sshd: Vec::new(), ..system.options() };
        let disabled = |options: &WiringOptions| {
            let mut said = Vec::new();
            assert_eq!(wiring::disable(options, &mut said), WiringOutcome::Done);
            String::from_utf8(said).unwrap()
        };
        let said = disabled(&WiringOptions { dry_run: true, ..options.clone() });
        assert!(said.contains("\n-AuthorizedKeysCommand /usr/bin/eic-keys %u %f\n"), "{said}");
        assert_eq!(wired, system.configuration());
        let said = disabled(&options);
        assert!(said.contains("There is no sshd that could be asked"), "{said}");
        assert_eq!(before, system.configuration());
        assert!(disabled(&options).contains("Nothing to do"));
        refused(&system, &options, "there is no sshd here");
    }

    // Its main file went with it.
    let system = stock();
    enabled(&system.options());
    fs::remove_file(system.path("/usr/sbin/sshd")).unwrap();
    fs::remove_file(system.path("/etc/ssh/sshd_config")).unwrap();
    let options = WiringOptions { sshd: Vec::new(), ..system.options() };
    assert_eq!(wiring::disable(&options, &mut Vec::new()), WiringOutcome::Done);
    assert_eq!(system.configuration(), []);
}

#[test]
fn what_sshd_was_not_told_it_is_told_by_the_next_run() {
    let system = stock();
    let options = with_systemctl(&system, "case $* in *socket*) echo inactive;; *) echo active;; esac");
    enabled(&options);
    let told = || calls(&system).iter().filter(|call| *call == "reload ssh.service").count();
    assert_eq!(told(), 1);
    assert!(!enabled(&options).contains("cut off"));
    assert_eq!(told(), 1);
    // As a run leaves it that is killed in between (tests/sshd/disasters.rs).
    system.write("/run/eic-keys.lock", "x");
    let said = enabled(&options);
    assert!(
        said.contains("Nothing to do")
            && said.contains("cut off before sshd was told. ssh.service was reloaded."),
        "{said}"
    );
    assert_eq!(told(), 2);
    assert!(!enabled(&options).contains("cut off"));

    // Not even now: it is owed further on.
    system.write("/run/eic-keys.lock", "x");
    let failing = with_systemctl(
        &system,
        "case $* in *socket*) echo inactive;; reload*) exit 1;; *) echo active;; esac",
    );
    refused(&system, &failing, "systemctl reload ssh.service");
    assert!(
        enabled(&with_systemctl(&system, "case $* in *socket*) echo inactive;; *) echo active;; esac"))
            .contains("cut off")
    );
}

#[test]
fn disable_after_edits_around_and_inside() {
    let system = stock();
    enabled(&system.options());
    let drop_in = "/etc/ssh/sshd_config.d/10-eic-keys.conf";
    let ours = fs::read_to_string(system.path(drop_in)).unwrap();
    system.write(drop_in, ours.replace("%u %f\n", "--timeout 3 %u %f\nMaxSessions 5\n"));
    system.write("/etc/ssh/sshd_config", format!("Port 2222\n{STOCK}\n"));
    let mut said = Vec::new();
    assert_eq!(wiring::disable(&system.options(), &mut said), WiringOutcome::Done);
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains("10-eic-keys.conf line 4 stands between our lines and is not ours: it stays"),
        "{said}"
    );
    let expected = [
        ("sshd_config".to_owned(), format!("Port 2222\n{STOCK}\n").into_bytes()),
        ("sshd_config.d/10-eic-keys.conf".to_owned(), b"MaxSessions 5\n".to_vec()),
    ];
    assert_eq!(system.configuration(), expected);

    // The administrator no longer includes the drop-ins: ours goes all the same.
    let system = stock();
    enabled(&system.options());
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    assert_eq!(wiring::disable(&system.options(), &mut Vec::new()), WiringOutcome::Done);
    assert!(!system.path(drop_in).exists());
}

#[test]
fn enable_again_follows_what_changed_behind_it() {
    let system = stock();
    system.write("/etc/ssh/sshd_config.d/20-systemd-userdb.conf", USERDB);
    enabled(&system.options());
    let drop_in = system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf");
    let ours = fs::read_to_string(&drop_in).unwrap();
    assert!(
        ours.contains(
            "eic-keys %u %f -- /usr/bin/userdbctl ssh-authorized-keys %u\nAuthorizedKeysCommandUser root\n"
        ),
        "{ours}"
    );

    // Its package is removed, and an option was given to ours.
    fs::write(&drop_in, ours.replace("eic-keys %u", "eic-keys --timeout 3 %u")).unwrap();
    fs::remove_file(system.path("/etc/ssh/sshd_config.d/20-systemd-userdb.conf")).unwrap();
    enabled(&system.options());
    let ours = fs::read_to_string(&drop_in).unwrap();
    assert!(ours.contains("eic-keys --timeout 3 %u %f\nAuthorizedKeysCommandUser eic-keys\n"), "{ours}");

    // Another comes that would be read first.
    system.write(
        "/etc/ssh/sshd_config.d/05-first.conf",
        "AuthorizedKeysCommand /usr/bin/first\nAuthorizedKeysCommandUser root\n",
    );
    enabled(&system.options());
    assert!(!drop_in.exists());
    let ours = fs::read_to_string(system.path("/etc/ssh/sshd_config.d/05-eic-keys.conf")).unwrap();
    assert!(ours.contains("eic-keys --timeout 3 %u %f -- /usr/bin/first %u\n"), "{ours}");
    let names: Vec<String> = system.configuration().into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, ["sshd_config", "sshd_config.d/05-eic-keys.conf", "sshd_config.d/05-first.conf"]);
}

#[test]
fn a_dry_run_shows_a_diff() {
    let system = stock();
    let mut said = Vec::new();
    let options = WiringOptions { dry_run: true, ..system.options() };
    assert_eq!(wiring::enable(&options, &mut said), WiringOutcome::Done);
    let said = String::from_utf8(said).unwrap();
    let expected =
        "--- /dev/null\n+++ /etc/ssh/sshd_config.d/10-eic-keys.conf\n@@ -0,0 +1,5 @@\n+# BEGIN eic-keys\n";
    assert!(said.contains(expected), "{said}");
    assert!(!Path::new(&system.path("/run/eic-keys.lock")).exists());
}
