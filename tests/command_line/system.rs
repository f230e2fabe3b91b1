//! The system: not an instance, a hostile environment, no reader of the keys.

use crate::{instance, result, shell};
use eic_lab::{Instance, Machine, Pki, UserKey, pki};

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

/// The environment has no effect on trust, output or libraries.
#[test]
fn ignores_hostile_environment_variables() {
    let (instance, key) = instance();
    instance.write("/etc/lab/empty.pem", "");
    instance.write("/etc/lab/evil.so", "not even a library");
    for (name, value) in [
        ("SSL_CERT_FILE", "/etc/lab/empty.pem"),
        ("SSL_CERT_DIR", "/etc/lab"),
        ("HOME", "/etc/lab/empty.pem"),
        ("HOME", ""),
        ("PATH", ""),
        ("USER", "../root"),
        ("LOGNAME", "\u{1b}[2J"),
        ("LANG", "xx_XX.nothing"),
        ("LC_ALL", "../../../etc/lab"),
        ("RUST_LOG", "trace"),
        ("RUST_BACKTRACE", "full"),
        ("RUST_MIN_STACK", "1"),
        ("TOKIO_WORKER_THREADS", "0"),
        ("LD_PRELOAD", "/etc/lab/evil.so"),
        ("LD_LIBRARY_PATH", "/etc/lab"),
        ("LD_AUDIT", "/etc/lab/evil.so"),
        ("LD_DEBUG", "all"),
        ("GLIBC_TUNABLES", "glibc.malloc.check=3"),
        ("MALLOC_ARENA_MAX", "-1"),
        ("GCONV_PATH", "/etc/lab"),
        ("TZ", "/etc/lab/empty.pem"),
        ("TMPDIR", "/nonexistent"),
        ("EIC_KEYS_IMDS", "127.0.0.1"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", "eu-west-1"),
    ] {
        let outcome = instance.command(["alice", key.fingerprint()]).env(name, value).run();
        assert_eq!(result(&outcome), (Some(0), format!("{}\n", key.line()).as_str(), ""), "{name}={value}");
    }
    let nothing = instance
        .command(["-i", "/usr/bin/eic-keys", "alice", key.fingerprint()])
        .program("/usr/bin/env")
        .run();
    assert_eq!(nothing.keys(), [key.line()], "without any environment");
}

/// The environment cannot add an anchor.
#[test]
fn takes_no_anchor_from_the_environment() {
    let (instance, key) = instance();
    instance.write("/etc/lab/anchors.pem", pki::bundle([&instance.pki().root]));
    instance.trust([&Pki::with(|spec| spec.root = spec.old_root.clone()).root]);
    for (name, value) in [("SSL_CERT_FILE", "/etc/lab/anchors.pem"), ("SSL_CERT_DIR", "/etc/lab")] {
        let outcome = instance.command(["alice", key.fingerprint()]).env(name, value).run();
        assert_eq!(result(&outcome), (Some(3), "", ""), "{name}");
    }
    let option = ["--trust-store", "/etc/lab/anchors.pem", "alice", key.fingerprint()];
    assert_eq!(instance.run(option).keys(), [key.line()], "the command line may");
}

/// sshd stops reading at the first key that matches, which is not an error; a full disk is one.
#[test]
fn ends_if_nothing_reads_the_keys() {
    let (instance, key) = instance();
    for user in ["alice", "nobody"] {
        let outcome = instance.command([user, key.fingerprint()]).stdout_closed().run();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{user}: the pipe is closed");
    }
    instance.journal.clear();
    let outcome = instance.command(["alice", key.fingerprint()]).stdout_to("/dev/full").run();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(4), ""), "there is no room");
    let lines = instance.journal.lines();
    assert!(
        lines.len() == 1 && lines[0].severity == 4,
        "a key that did not come out is not provided: {lines:?}"
    );
    let outcome = instance.command(["nobody", key.fingerprint()]).stdout_to("/dev/full").run();
    assert_eq!(outcome.status, Some(0), "nothing to write needs no room");
    // Without standard output the first socket could become it: then the keys would go to the metadata service.
    instance.imds.clear_requests();
    let line = format!("exec /usr/bin/eic-keys alice {} <&- >&- 2>&-", key.fingerprint());
    let outcome = instance.command(["-c", &line]).program("/bin/sh").run();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), ""), "there is no standard output");
    assert_eq!(instance.imds.requests().len(), 9, "each a request, and nothing else");
}

/// sshd waits for the run, so the run does not wait for a reader that has stopped.
#[test]
fn ends_if_the_reader_stops_reading() {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    let long = format!("{} {}", key.line(), "c".repeat(3000));
    let record = instance.record(&key).key_line(&long);
    for _ in 0..30 {
        instance.publish("alice", &record);
    }
    let run = |reader: &str| {
        let line = format!("{{ /usr/bin/eic-keys alice; echo $? >&2; }} | {reader}");
        instance.command(["-c", &line]).program("/bin/sh").run()
    };
    let read = run("cat");
    assert_eq!(
        (read.keys(), read.stderr.as_str()),
        (vec![long.as_str(); 30], "0\n"),
        "more than a pipe holds"
    );
    let slow = (0..3).any(|_| {
        let outcome = run("(sleep 0.1; cat)");
        let (keys, status) = (outcome.keys(), outcome.stderr.as_str());
        // The last key can be incomplete: sshd discards the output if the status is not 0.
        let whole = keys.len().saturating_sub(usize::from(status != "0\n"));
        assert!(keys.iter().take(whole).all(|key| *key == long), "another key");
        assert!(
            (keys.len(), status) == (30, "0\n") || status == "4\n",
            "{} keys, status {status}",
            keys.len()
        );
        status == "0\n"
    });
    assert!(slow, "a slow reader, who on a busy machine may be too slow");
    assert_eq!(run("sleep 5").stderr, "4\n", "keys that did not come out are no success");
}

/// It works as any AuthorizedKeysCommandUser.
#[test]
fn works_as_any_user() {
    let instance = Instance::start();
    let key = UserKey::ed25519();
    instance.push("alice", &key);
    assert_eq!(instance.command(["alice", key.fingerprint()]).as_root().run().keys(), [key.line()], "root");
    assert_eq!(instance.command(["alice", key.fingerprint()]).run().keys(), [key.line()], "eic-keys");
}
