//! After 61 seconds a pushed key is refused. (First by name, so that the other tests run meanwhile.)

use std::thread::sleep;
use std::time::Duration;

use eic_lab::UserKey;
use eic_lab::instance::INSTANCE;

use super::{push, stays_out, succeeded, world};

/// A key is valid for 60 seconds.
const A_MINUTE: Duration = Duration::from_secs(61);

/// All at the same time, each on its own instance, because each waits a minute.
#[test]
fn a_minute_later_a_pushed_key_is_refused() {
    std::thread::scope(|scope| {
        for case in [pushed_by_aws_cli, published_for_too_long, pushed_by_mssh] {
            scope.spawn(case);
        }
    });
}

fn pushed_by_aws_cli() {
    world(|instance, sshd, _, desk| {
        let (first, second) = (UserKey::ed25519(), UserKey::ed25519());
        succeeded(&push(desk, "aws1", "alice", first.line()));
        succeeded(&push(desk, "aws2", "bob", second.line()));
        assert_eq!(succeeded(&sshd.ssh("alice", &first, "id -un")), "alice");
        assert_eq!(succeeded(&sshd.ssh("bob", &second, "id -un")), "bob");
        sleep(A_MINUTE);
        instance.journal.clear();
        stays_out(sshd, "alice", &first);
        stays_out(sshd, "bob", &second);
        // Nothing is published any more. This is the common case, and nothing is logged.
        let requests = instance.imds.requests();
        let (path, status) = requests.last().map(|request| (request.path.as_str(), request.status)).unwrap();
        assert!(path.contains("active-keys/bob") && status == 404, "{path}: {status}");
        assert_eq!(instance.journal.eic_keys(), []);
    });
}

fn published_for_too_long() {
    world(|instance, sshd, _, desk| {
        let key = UserKey::ed25519();
        succeeded(&push(desk, "aws1", "alice", key.line()));
        let published = instance.imds.published("alice");
        assert_eq!(succeeded(&sshd.ssh("alice", &key, "id -un")), "alice");
        sleep(A_MINUTE);
        // As if the metadata service did not remove expired keys.
        instance.imds.publish("alice", published);
        stays_out(sshd, "alice", &key);
        assert!(instance.journal.says("expired"), "{:?}", instance.journal.eic_keys());
    });
}

fn pushed_by_mssh() {
    world(|instance, sshd, _, desk| {
        // With an ssh that keeps a copy of mssh's key, which mssh removes at once.
        let spy = "#!/bin/sh\nwhile getopts o:p:i:l: option; do [ $option = i ] && cp \"$OPTARG\" /run/eic-lab/spied; done\nexec /usr/bin/ssh \"$@\"\n";
        instance.install("/run/eic-lab/bin/ssh", spy.as_bytes());
        let outcome = desk
            .says(&format!("mssh -r us-east-1 alice@{INSTANCE} whoami"))
            .env("PATH", "/run/eic-lab/bin:/usr/bin:/bin")
            .run();
        assert_eq!(succeeded(&outcome), "alice");
        let again = || {
            let line = "ssh -T -i /run/eic-lab/spied alice@127.0.0.1 id -un";
            desk.says(line).run()
        };
        assert_eq!(succeeded(&again()), "alice", "the same key, while it lasts");
        sleep(A_MINUTE);
        let late = again();
        assert_eq!((late.status, late.stdout.as_str()), (Some(255), ""), "{late:#?}");
        assert!(late.stderr.contains("Permission denied (publickey)"), "{late:#?}");
        assert!(sshd.says("Connection closed by authenticating user alice"));
    });
}
