//! The machine: an EC2 instance, or not.

use crate::{instance, result, shell};
use eic_lab::{Instance, Machine};

const ASSET_TAG: &str = "/sys/devices/virtual/dmi/id/board_asset_tag";
const HYPERVISOR: &str = "/sys/hypervisor/uuid";

/// Sets the two files that identify the machine.
fn files(instance: &Instance, asset_tag: Option<&str>, hypervisor: Option<&str>) {
    for (path, content) in [(ASSET_TAG, asset_tag), (HYPERVISOR, hypervisor)] {
        instance.remove(path);
        if let Some(content) = content {
            instance.write(path, content);
        }
    }
}

#[test]
fn prints_the_key_on_each_kind_of_instance() {
    let (instance, key) = instance();
    let id = "i-0123456789abcdef0\n";
    let uuid = "ec2e1916-9099-7caf-fd21-012345abcdef\n";
    for (machine, asset_tag, hypervisor) in [
        ("Nitro", Some(id), None),
        ("Nitro without a newline", Some(id.trim_end()), None),
        ("Xen", None, Some(uuid)),
        ("Xen in capitals", None, Some("EC2E1916-9099-7CAF-FD21-012345ABCDEF")),
        ("Xen with a board", Some("Not Specified\n"), Some(uuid)),
        ("both", Some(id), Some(uuid)),
        ("Nitro under a hypervisor of its own", Some(id), Some("45e12aec-0000-0000-0000-000000000000\n")),
    ] {
        files(&instance, asset_tag, hypervisor);
        let outcome = instance.run(["alice", key.fingerprint()]);
        assert_eq!((outcome.status, outcome.keys()), (Some(0), vec![key.line()]), "{machine}");
    }
}

#[test]
fn sends_no_request_on_other_machines() {
    let (instance, key) = instance();
    let check = |machine: &str| {
        instance.journal.clear();
        assert_eq!(result(&instance.run(["alice", key.fingerprint()])), (Some(0), "", ""), "{machine}");
        assert_eq!(instance.imds.connections(), 0, "{machine}");
        let lines = instance.journal.lines();
        assert_eq!(lines.len(), 1, "{machine}: {lines:?}");
        assert_eq!((lines[0].facility, lines[0].severity), (10, 5), "{machine}");
        assert!(lines[0].message().contains("not an EC2 instance"), "{machine}: {lines:?}");
    };
    for (machine, asset_tag, hypervisor) in [
        ("neither file", None, None),
        ("another board", Some("Not Specified\n"), None),
        ("an empty tag", Some(""), None),
        ("a tag that is no id", Some("i-xyz\n"), None),
        ("a tag that is no id to its end", Some("i-0123456789abcdef0 or so\n"), None),
        ("a tag that is too long", Some("i-0123456789abcdef0123456789abcdef0123456789abcdef0\n"), None),
        ("two tags", Some("i-0123456789abcdef0\ni-0123456789abcdef0\n"), None),
        ("another Xen", None, Some("45e12aec-9099-7caf-fd21-012345abcdef\n")),
        ("a short id", None, Some("ec")),
        ("ec2 elsewhere in it", None, Some("00ec2916-9099-7caf-fd21-012345abcdef\n")),
    ] {
        files(&instance, asset_tag, hypervisor);
        check(machine);
    }
    files(&instance, None, None);
    shell(
        &instance,
        &format!("mkfifo -m 0644 {ASSET_TAG} && mkdir -p /sys/hypervisor && mkfifo -m 0644 {HYPERVISOR}"),
    );
    check("pipes that nobody writes to");
    shell(&instance, &format!("rm {ASSET_TAG} {HYPERVISOR} && mkdir {ASSET_TAG} {HYPERVISOR}"));
    check("directories");
}

#[test]
fn refuses_keys_for_another_instance_id() {
    let (instance, key) = instance();
    files(&instance, Some("i-0fedcba9876543210\n"), None);
    assert_eq!(instance.run(["alice", key.fingerprint()]).stdout, "");
    assert!(instance.journal.says("another instance"));
    instance.machine(Machine::Nitro);
    assert_eq!(instance.run(["alice", key.fingerprint()]).keys(), [key.line()]);
}
