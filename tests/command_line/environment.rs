//! What a run is started with: a hostile environment, any user.

use crate::{instance, result};
use eic_lab::{Instance, Pki, UserKey, pki};

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

/// It works as any AuthorizedKeysCommandUser.
#[test]
fn works_as_any_user() {
    let instance = Instance::start();
    let key = UserKey::ed25519();
    instance.push("alice", &key);
    assert_eq!(instance.command(["alice", key.fingerprint()]).as_root().run().keys(), [key.line()], "root");
    assert_eq!(instance.command(["alice", key.fingerprint()]).run().keys(), [key.line()], "eic-keys");
}
