//! The program, the packages and the drop-ins of the installation.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;
use std::time::Duration;

use crate::world::{HOME, TRUST_STORE, USER, World, alice_does, broken, config, says, world};

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
