//! Files that must not be read or replaced, and what a replaced file keeps.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may panic")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    process::Command,
};

use super::helpers::{disable, enable, enable_is_refused, refused, stock, with_sshd};
use crate::systems::System;
use eic_keys::sshd;
use rustix::fs::{IFlags, XattrFlags};

#[test]
fn refuses_links_and_files_that_others_can_change() {
    let system = System::new("bookworm");
    system.write("/etc/ssh/real", "UsePAM yes\n");
    symlink("real", system.path("/etc/ssh/sshd_config")).unwrap();
    enable_is_refused(&system, &system.options(), "is a symbolic link to real");

    fs::remove_file(system.path("/etc/ssh/sshd_config")).unwrap();
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    let main = system.path("/etc/ssh/sshd_config");
    fs::set_permissions(&main, fs::Permissions::from_mode(0o664)).unwrap();
    enable_is_refused(&system, &system.options(), "users other than root can write to");
    fs::set_permissions(&main, fs::Permissions::from_mode(0o644)).unwrap();
    chown(&main, Some(1000), None).unwrap();
    enable_is_refused(&system, &system.options(), "belongs to user 1000");
    chown(&main, Some(0), None).unwrap();

    fs::set_permissions(system.path("/etc/ssh"), fs::Permissions::from_mode(0o777)).unwrap();
    enable_is_refused(&system, &system.options(), "users other than root can write to");
    fs::set_permissions(system.path("/etc/ssh"), fs::Permissions::from_mode(0o755)).unwrap();

    let file = fs::File::open(&main).unwrap();
    let flags = rustix::fs::ioctl_getflags(&file).unwrap();
    rustix::fs::ioctl_setflags(&file, flags | IFlags::IMMUTABLE).unwrap();
    enable_is_refused(
        &system,
        &system.options(),
        "/etc/ssh/sshd_config is immutable, which root can change with chattr(1)",
    );
    rustix::fs::ioctl_setflags(&file, flags).unwrap();

    // A directory in which no file can be created.
    let system = stock();
    let directory = fs::File::open(system.path("/etc/ssh/sshd_config.d")).unwrap();
    let flags = rustix::fs::ioctl_getflags(&directory).unwrap();
    for (flag, reason) in [
        (IFlags::IMMUTABLE, "/etc/ssh/sshd_config.d is immutable, which root can change with chattr(1)"),
        (IFlags::APPEND, "/etc/ssh/sshd_config.d is append-only, which root can change with chattr(1)"),
    ] {
        rustix::fs::ioctl_setflags(&directory, flags | flag).unwrap();
        let result = std::panic::catch_unwind(|| enable_is_refused(&system, &system.options(), reason));
        rustix::fs::ioctl_setflags(&directory, flags).unwrap();
        result.unwrap();
    }
    enable(&system.options());
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
    enable(&system.options());
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

/// The other name of a hard-linked file keeps the old content.
#[test]
fn notes_that_a_replaced_file_has_hard_links() {
    let system = System::new("bookworm");
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    assert!(!enable(&system.options()).contains("hard link"));
    fs::hard_link(system.path("/etc/ssh/sshd_config"), system.path("/etc/ssh/sshd_config.bak")).unwrap();
    let output = disable(&system.options());
    assert!(
        output.contains(
            "Note: /etc/ssh/sshd_config has another name, by a hard link. /etc/ssh/sshd_config is replaced"
        ),
        "{output}"
    );
    fs::remove_file(system.path("/etc/ssh/sshd_config.bak")).unwrap();
    fs::hard_link(system.path("/etc/ssh/sshd_config"), system.path("/etc/ssh/sshd_config.bak")).unwrap();
    let output = enable(&system.options());
    assert!(output.contains("Note: /etc/ssh/sshd_config has another name, by a hard link"), "{output}");
}

#[test]
fn does_not_replace_a_file_that_changed_during_the_run() {
    let system = System::new("bookworm");
    system.write("/etc/ssh/sshd_config", "UsePAM yes\n");
    let main = system.path("/etc/ssh/sshd_config");
    let script = format!("case $config in *-check) echo UsePAM no >{};; esac", main.display());
    let reason = refused(sshd::enable, &with_sshd(&system, &script));
    assert!(reason.contains("was changed while this command ran: run it again"), "{reason}");
    assert_eq!(fs::read_to_string(&main).unwrap(), "UsePAM no\n");
}

#[test]
fn refuses_while_another_run_holds_the_lock() {
    let system = stock();
    let path = system.path("/run/eic-keys.lock");
    let file = fs::File::create(&path).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    enable_is_refused(&system, &system.options(), "another --enable or --disable is running");
    drop(file);
    fs::remove_file(&path).unwrap();
    symlink("/tmp/elsewhere", &path).unwrap();
    enable_is_refused(&system, &system.options(), "eic-keys.lock");
}

/// Creates, at the path of a file, what must not be read to its end: a pipe without a writer, a device, or a file that
/// is larger than `most`.
fn replace_with(system: &System, path: &str, kind: &str, text: &str, most: u64) {
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
fn does_not_read_pipes_devices_and_large_files() {
    let mib = 1024 * 1024;
    for kind in ["pipe", "device", "large"] {
        // An environment file.
        let system = stock();
        let unit = "[Service]\nEnvironmentFile=-/etc/default/ssh\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n";
        system.write("/lib/systemd/system/ssh.service", unit);
        replace_with(&system, "/etc/default/ssh", kind, "SSHD_OPTS=-f /x\n", mib);
        enable(&system.options());
        // The PID file of sshd.
        let system = stock();
        replace_with(&system, "/run/sshd.pid", kind, "77", mib);
        enable(&system.options());
        // The user database of image-based systems.
        let system = stock();
        let users = fs::read_to_string(system.path("/etc/passwd")).unwrap();
        let others: Vec<&str> = users.lines().filter(|line| !line.starts_with("eic-keys:")).collect();
        system.write("/etc/passwd", others.join("\n") + "\n");
        let user = "eic-keys:x:990:990::/:/usr/sbin/nologin\n";
        replace_with(&system, "/usr/lib/passwd", kind, user, 16 * mib);
        enable_is_refused(&system, &system.options(), "there is no user eic-keys");
        fs::remove_file(system.path("/usr/lib/passwd")).unwrap();
        system.write("/usr/lib/passwd", user);
        enable(&system.options());
    }
}
