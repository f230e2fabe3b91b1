//! `--enable`: what it refuses, prints and changes.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may panic")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use super::helpers::{
    STOCK, USERDB, disable, enable, enable_is_refused, enable_is_rolled_back, refused, run, stock, with_sshd,
    with_systemctl,
};
use crate::systems::System;
use eic_keys::sshd::{self, EnableOptions, EnableOutcome};
use rustix::fs::IFlags;

#[test]
fn refuses_a_program_or_user_that_sshd_would_not_run() {
    let system = stock();
    let program = system.path("/usr/bin/eic-keys");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o775)).unwrap();
    enable_is_refused(&system, &system.options(), "sshd would not run /usr/bin/eic-keys");
    fs::remove_file(&program).unwrap();
    enable_is_refused(&system, &system.options(), "sshd would not run /usr/bin/eic-keys");
    system.write("/usr/bin/eic-keys", "");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();

    let passwd = fs::read_to_string(system.path("/etc/passwd")).unwrap();
    system.write("/etc/passwd", passwd.replace("eic-keys:", "other:"));
    enable_is_refused(&system, &system.options(), "useradd --system");
    system.write("/etc/passwd", passwd);

    system.write("/etc/ssh/sshd_config.d/20.conf", USERDB);
    system.write("/usr/bin/userdbctl", "");
    fs::set_permissions(system.path("/usr/bin/userdbctl"), fs::Permissions::from_mode(0o777)).unwrap();
    enable_is_refused(&system, &system.options(), "sshd would not run /usr/bin/userdbctl: ");

    enable_is_refused(
        &system,
        &EnableOptions { sshd: Vec::new(), root: system.path("/etc"), ..system.options() },
        "there is no sshd here",
    );
    enable_is_refused(
        &system,
        &EnableOptions { sshd: vec!["/nonexistent".into()], ..system.options() },
        "sshd could not be run",
    );
}

#[test]
fn refuses_a_configuration_that_sshd_rejects() {
    for (text, reason) in [
        ("Nonsense yes\n", "fix that first"),
        ("Include /etc/ssh/sshd_config\n", "fix that first"),
        ("AuthorizedKeysCommand /x\n", "fix that first"),
    ] {
        let system = System::new("bookworm");
        system.write("/etc/ssh/sshd_config", text);
        enable_is_refused(&system, &system.options(), reason);
    }
}

#[test]
fn refuses_a_configuration_that_sshd_reads_differently() {
    let system = stock();
    let dump = system.run_sshd(&["-T"]).stdout;
    fs::write(system.path("/tmp/sshd.dump"), dump).unwrap();
    let script = "[ $1 = -T ] && { sed '/^auth.*command /s/ .*/ \\/x/' $0.dump; exit; }";
    enable_is_refused(&system, &with_sshd(&system, script), "does not understand is not changed");
}

#[test]
fn refuses_a_command_that_cannot_be_chained() {
    let system = System::new("bullseye");
    system.write("/etc/ssh/sshd_config", "AuthorizedKeysCommand /x \"y\nAuthorizedKeysCommandUser root\n");
    enable_is_refused(&system, &system.options(), "cannot split into words");
    let system = System::new("bookworm");
    system.write("/etc/ssh/sshd_config", "AuthorizedKeysCommand /x\nAuthorizedKeysCommandUser a\\\"b\n");
    let passwd = fs::read_to_string(system.path("/etc/passwd")).unwrap();
    system.write("/etc/passwd", passwd + "a\"b:x:980:980::/:/bin/sh\n");
    enable_is_refused(&system, &system.options(), "cannot be copied");
}

/// eic-keys would run itself, and ask twice. What such a program does besides is not known, so its line stays in effect.
#[test]
fn does_not_chain_a_command_that_runs_eic_keys() {
    let user = "AuthorizedKeysCommandUser nobody\n";
    let others =
        ["/usr/bin/timeout 5 /usr/bin/eic-keys %u %f", "/usr/bin/run -c \"exec /usr/bin/eic-keys %u\""];
    for command in others {
        let system = stock();
        system.install("/usr/bin/timeout", "");
        system.install("/usr/bin/run", "");
        system.write("/etc/ssh/sshd_config.d/20.conf", format!("AuthorizedKeysCommand {command}\n{user}"));
        let reason =
            format!("20.conf line 1 sets AuthorizedKeysCommand to {command}, which gives eic-keys to");
        enable_is_refused(&system, &system.options(), &reason);
    }
    // sshd never runs these.
    for (command, by) in [
        ("/usr/bin/none /usr/bin/eic-keys %u %f", user),
        ("/usr/bin/run -c \"/usr/bin/eic-keys %u\"", "AuthorizedKeysCommandUser gone\n"),
    ] {
        let system = stock();
        system.write("/etc/ssh/sshd_config.d/20.conf", format!("AuthorizedKeysCommand {command}\n{by}"));
        let output = enable(&system.options());
        assert!(
            output.contains(" The line stays, and the lines of eic-keys are placed before it."),
            "{output}"
        );
        let ours = fs::read_to_string(system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf")).unwrap();
        assert!(ours.contains("\nAuthorizedKeysCommand /usr/bin/eic-keys %u %f\n"), "{ours}");
        assert!(enable(&system.options()).starts_with("Nothing to do: "));
    }
    // The name of a user, and other arguments.
    for command in ["/usr/bin/run -c \"keys eic-keys\"", "/bin/sh /usr/bin/eic-keys2 %u"] {
        let system = stock();
        system.write("/etc/ssh/sshd_config.d/20.conf", format!("AuthorizedKeysCommand {command}\n{user}"));
        let output = enable(&system.options());
        assert!(output.contains("eic-keys chains the command"), "{output}");
    }
}

#[test]
fn a_file_included_under_match_belongs_to_the_block() {
    let system = System::new("trixie");
    system.write("/etc/ssh/sshd_config", "UsePAM yes\nMatch all\nInclude /etc/ssh/more.conf\n");
    system.write("/etc/ssh/more.conf", USERDB);
    enable_is_refused(&system, &system.options(), "is set under \"Match all\" (/etc/ssh/sshd_config line 2)");
    system.write("/etc/ssh/sshd_config", "UsePAM yes\nMatch User git\nInclude /etc/ssh/more.conf\n");
    let output = enable(&system.options());
    assert!(
        output.contains("Note: /etc/ssh/more.conf line 1 sets")
            && output.contains("under \"Match User git\""),
        "{output}"
    );
}

#[test]
fn does_not_replace_a_foreign_file_with_the_name_of_the_drop_in() {
    let system = stock();
    system.write("/etc/ssh/sshd_config.d/10-eic-keys.conf", "PrintMotd no\n");
    enable(&system.options());
    assert_eq!(fs::read(system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf")).unwrap(), b"PrintMotd no\n");
    assert!(system.path("/etc/ssh/sshd_config.d/05-eic-keys.conf").exists());
}

#[test]
fn does_not_change_the_main_file_of_the_vendor() {
    let vendor = "/usr/etc/ssh/sshd_config";
    let text =
        "Include /etc/ssh/sshd_config.d/*.conf\nInclude /usr/etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n";
    // SUSE's sshd reads the vendor's file without -f.
    let suse = |system: &System| {
        with_sshd(system, &format!("case $* in *-f*|-V) ;; *) set -- \"$@\" -f {vendor};; esac"))
    };
    let system = System::new("trixie");
    system.write(vendor, text);
    // The vendor's file can be on a read-only file system.
    let directory = fs::File::open(system.path("/usr/etc/ssh")).unwrap();
    let flags = rustix::fs::ioctl_getflags(&directory).unwrap();
    rustix::fs::ioctl_setflags(&directory, flags | IFlags::IMMUTABLE).unwrap();
    let before = system.configuration();
    let (enabled, output) = run(sshd::enable, &suse(&system));
    let dump = system.run_sshd(&["-T", "-f", vendor]).stdout;
    let names: Vec<String> = system.configuration().into_iter().map(|(path, _)| path).collect();
    let (disabled, _) = run(sshd::disable, &suse(&system));
    rustix::fs::ioctl_setflags(&directory, flags).unwrap();
    assert_eq!(enabled, EnableOutcome::Done, "{output}");
    assert!(String::from_utf8(dump).unwrap().contains("/usr/bin/eic-keys %u %f"));
    assert_eq!(names, ["sshd_config.d/10-eic-keys.conf"]);
    assert_eq!(disabled, EnableOutcome::Done);
    assert_eq!(before, system.configuration());
    assert_eq!(fs::read_to_string(system.path(vendor)).unwrap(), text);

    // Another sshd does not read it.
    enable_is_refused(
        &system,
        &system.options(),
        "this sshd does not read /usr/etc/ssh/sshd_config in its place",
    );

    // Without an Include, no drop-in would be read.
    system.write(vendor, "UsePAM yes\n");
    enable_is_refused(&system, &suse(&system), "copy /usr/etc/ssh/sshd_config to /etc/ssh/sshd_config");
    assert_eq!(fs::read_to_string(system.path(vendor)).unwrap(), "UsePAM yes\n");

    // The administrator's file replaces the vendor's.
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    enable(&system.options());
    assert!(fs::read_to_string(system.path("/etc/ssh/sshd_config")).unwrap().contains("eic-keys"));
}

#[test]
fn creates_the_privilege_separation_directory() {
    let system = stock();
    fs::remove_dir(system.path("/run/sshd")).unwrap();
    let options = EnableOptions { dry_run: true, ..system.options() };
    let output = enable(&options);
    assert!(
        output.contains("The following is from its files alone") && output.contains("10-eic-keys.conf"),
        "{output}"
    );
    assert!(!system.path("/run/sshd").exists());

    let output = enable(&system.options());
    assert!(output.contains("/run/sshd was created"), "{output}");
    assert_eq!(fs::metadata(system.path("/run/sshd")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn checks_the_change_with_sshd_before_and_after() {
    let check = "*.sshd_config.eic-keys-check) ";
    for (script, reason) in [
        (
            "[ $1 = -t ] && { echo no >&2; exit 1; };;",
            "a copy of the configuration with the change failed its check: sshd reports: no",
        ),
        (
            "[ $1 = -T ] && exec sed '/^auth.*command /s/ .*/ \\/x/' $0.dump;;",
            "sshd would use other values of AuthorizedKeysCommand",
        ),
        (
            "[ $1 = -T ] && { sed '/^port/s/22/23/' $0.dump; exit; };;",
            "it would change other settings of sshd too: port 23",
        ),
        ("[ $1 = -T ] && { sed '/^port/d' $0.dump; exit; };;", "it would change other settings of sshd too"),
    ] {
        let system = stock();
        let reference = stock();
        enable(&reference.options());
        let spec = "user=eic-keys-probe,host=eic-keys.invalid,addr=192.0.2.1,laddr=192.0.2.2,lport=22";
        fs::write(system.path("/tmp/sshd.dump"), reference.run_sshd(&["-T", "-C", spec]).stdout).unwrap();
        enable_is_refused(
            &system,
            &with_sshd(&system, &format!("case $config in {check}{script} esac")),
            reason,
        );
    }
    for main in [STOCK, "UsePAM yes\n"] {
        let system = System::new("bookworm");
        system.write("/etc/ssh/sshd_config", main);
        let before = system.configuration();
        // sshd accepts the copy, and rejects the same configuration in its final place.
        let script =
            "case $config in *-check) touch $0.seen;; *) [ -e $0.seen ] && { echo no >&2; exit 1; };; esac";
        let reason = enable_is_rolled_back(&with_sshd(&system, script));
        assert!(reason.contains("sshd reports: no; the previous state was restored"), "{reason}");
        assert_eq!(before, system.configuration());
    }
}

#[test]
fn follows_changes_of_the_other_command() {
    let system = stock();
    system.write("/etc/ssh/sshd_config.d/20-systemd-userdb.conf", USERDB);
    enable(&system.options());
    let drop_in = system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf");
    let ours = fs::read_to_string(&drop_in).unwrap();
    assert!(
        ours.contains(
            "eic-keys %u %f -- /usr/bin/userdbctl ssh-authorized-keys %u\nAuthorizedKeysCommandUser root\n"
        ),
        "{ours}"
    );

    // The other command was removed, and our command has an option.
    fs::write(&drop_in, ours.replace("eic-keys %u", "eic-keys --timeout 3 %u")).unwrap();
    fs::remove_file(system.path("/etc/ssh/sshd_config.d/20-systemd-userdb.conf")).unwrap();
    enable(&system.options());
    let ours = fs::read_to_string(&drop_in).unwrap();
    assert!(ours.contains("eic-keys --timeout 3 %u %f\nAuthorizedKeysCommandUser eic-keys\n"), "{ours}");

    // Another command is added in a file that would be read first.
    system.write(
        "/etc/ssh/sshd_config.d/05-first.conf",
        "AuthorizedKeysCommand /usr/bin/first\nAuthorizedKeysCommandUser root\n",
    );
    enable(&system.options());
    assert!(!drop_in.exists());
    let ours = fs::read_to_string(system.path("/etc/ssh/sshd_config.d/05-eic-keys.conf")).unwrap();
    assert!(ours.contains("eic-keys --timeout 3 %u %f -- /usr/bin/first %u\n"), "{ours}");
    let names: Vec<String> = system.configuration().into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, ["sshd_config", "sshd_config.d/05-eic-keys.conf", "sshd_config.d/05-first.conf"]);
}

/// `--principal` limits who can log in: `--enable` must neither lose an option nor change a pattern.
#[test]
fn keeps_the_principals_of_the_line() {
    const PRINCIPALS: &str = "--principal arn:aws:iam::123412341234:user/ops/* --principal \"arn:aws:sts::123412341234:assumed-role/ops/?*\"";
    let system = stock();
    enable(&system.options());
    let drop_in = system.path("/etc/ssh/sshd_config.d/10-eic-keys.conf");
    let ours = fs::read_to_string(&drop_in).unwrap();
    let limited = ours.replace("eic-keys %u", &format!("eic-keys {PRINCIPALS} %u"));
    assert_ne!(ours, limited);
    fs::write(&drop_in, &limited).unwrap();
    let counts = |command: &str, when: &str| {
        let dump = String::from_utf8(system.run_sshd(&["-T", "-C", "user=git"]).stdout).unwrap();
        let line = dump.lines().find_map(|line| line.strip_prefix("authorizedkeyscommand ")).unwrap();
        assert_eq!(line, command, "{when}");
    };
    let command = format!("/usr/bin/eic-keys {PRINCIPALS} %u %f");

    // sshd dumps the line as it is written, with its quotes.
    counts(&command, "edited");
    let output = enable(&system.options());
    assert!(output.contains("Nothing to do"), "{output}");
    assert_eq!(fs::read_to_string(&drop_in).unwrap(), limited);
    assert_eq!(enable(&EnableOptions { if_user_missing: true, ..system.options() }), "");
    assert_eq!(fs::read_to_string(&drop_in).unwrap(), limited);

    // Another command is added in a file that is read later.
    let other = "/etc/ssh/sshd_config.d/20-systemd-userdb.conf";
    system.install("/usr/bin/userdbctl", "#!/bin/sh\n");
    system.write(other, USERDB);
    enable(&system.options());
    counts(&format!("{command} -- /usr/bin/userdbctl ssh-authorized-keys %u"), "another command");

    // It is removed.
    fs::remove_file(system.path(other)).unwrap();
    enable(&system.options());
    counts(&command, "another command is removed");

    // Another command is added in a file that is read first: the lines move.
    let first = "/etc/ssh/sshd_config.d/05-first.conf";
    system.install("/usr/bin/first", "#!/bin/sh\n");
    system.write(first, "AuthorizedKeysCommand /usr/bin/first\nAuthorizedKeysCommandUser root\n");
    enable(&system.options());
    assert!(!drop_in.exists());
    counts(&format!("{command} -- /usr/bin/first %u"), "moved");

    // A line that was set by hand is not changed.
    let system = stock();
    let by_hand = format!("AuthorizedKeysCommand {command}\nAuthorizedKeysCommandUser eic-keys\n");
    system.write("/etc/ssh/sshd_config.d/50-hand.conf", &by_hand);
    let before = system.configuration();
    assert!(enable(&system.options()).contains("by hand"));
    assert_eq!(before, system.configuration());
}

#[test]
fn prints_messages_only_after_success() {
    // A refusal prints only its reason.
    let system = stock();
    system.write("/etc/ssh/sshd_config.d/20-systemd-userdb.conf", USERDB);
    system.write("/usr/bin/userdbctl", "");
    fs::set_permissions(system.path("/usr/bin/userdbctl"), fs::Permissions::from_mode(0o777)).unwrap();
    refused(sshd::enable, &system.options());
    // So does a rollback.
    let system = stock();
    let failing = "[ \"$3\" = sshd.socket ] && exit 3; [ $1 = reload ] && exit 1; echo active";
    let (outcome, output) = run(sshd::enable, &with_systemctl(&system, failing));
    assert!(matches!(outcome, EnableOutcome::Failed(_)), "{outcome:?}");
    assert_eq!(output, "");

    let output = enable(&EnableOptions { dry_run: true, ..system.options() });
    assert!(output.contains("Would add /etc/ssh/sshd_config.d/10-eic-keys.conf.\n"), "{output}");
    assert!(!output.contains("Added") && !output.contains("Try it"), "{output}");
    let output = enable(&system.options());
    assert!(output.contains("Added /etc/ssh/sshd_config.d/10-eic-keys.conf.\n"), "{output}");
    assert!(output.ends_with("\nTry it: eic-keys --check USER\n"), "{output}");
}

#[test]
fn a_dry_run_prints_a_diff() {
    let system = stock();
    let output = enable(&EnableOptions { dry_run: true, ..system.options() });
    let expected =
        "--- /dev/null\n+++ /etc/ssh/sshd_config.d/10-eic-keys.conf\n@@ -0,0 +1,5 @@\n+# BEGIN eic-keys\n";
    assert!(output.contains(expected), "{output}");
    assert!(!Path::new(&system.path("/run/eic-keys.lock")).exists());
}

/// `/run` of an image that is being built is part of the image.
#[test]
fn leaves_no_file_in_run_if_no_sshd_runs() {
    let system = stock();
    let names = || {
        let entries = fs::read_dir(system.path("/run")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("eic-keys")).collect::<Vec<_>>()
    };
    enable(&system.options());
    assert_eq!(names(), Vec::<String>::new());
    disable(&system.options());
    assert_eq!(names(), Vec::<String>::new());
}

/// If openssh-server is purged and installed again, the packages run `--enable` again if these files exist.
#[test]
fn records_the_state_for_the_packages() {
    let is_recorded =
        |system: &System, name: &str| system.path(&format!("/var/lib/eic-keys/{name}")).exists();
    let system = stock();
    enable(&system.options());
    assert!(!system.path("/var/lib/eic-keys").exists(), "no package is there");
    for name in ["enable", "later", "user"] {
        system.write(&format!("/var/lib/eic-keys/{name}"), "");
    }
    enable(&EnableOptions { if_user_missing: true, ..system.options() });
    enable(&EnableOptions { dry_run: true, ..system.options() });
    assert!(!is_recorded(&system, "enabled"));
    enable(&system.options());
    assert!(is_recorded(&system, "enabled"));
    disable(&EnableOptions { dry_run: true, ..system.options() });
    assert!(
        is_recorded(&system, "enabled") && is_recorded(&system, "enable") && is_recorded(&system, "later")
    );
    // After a refused --disable, the files remain.
    let config = system.configuration();
    system.write("/etc/ssh/sshd_config", "Nonsense yes\n");
    refused(sshd::disable, &system.options());
    assert!(
        is_recorded(&system, "enabled") && is_recorded(&system, "enable") && is_recorded(&system, "later")
    );
    for (path, bytes) in config {
        system.write(&format!("/etc/ssh/{path}"), bytes);
    }
    disable(&system.options());
    assert!(
        !is_recorded(&system, "enabled") && !is_recorded(&system, "enable") && !is_recorded(&system, "later")
    );
    assert!(is_recorded(&system, "user"), "this file is about the user");
    // The file is removed even if there is nothing to disable. If it cannot be removed, the output says so.
    system.write("/var/lib/eic-keys/enabled", "");
    disable(&system.options());
    assert!(!is_recorded(&system, "enabled"));
    system.write("/var/lib/eic-keys/enabled/x", "");
    assert!(disable(&system.options()).contains("an installation of openssh-server can run --enable again"));
}
