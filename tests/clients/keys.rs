//! Keys pushed with `aws ec2-instance-connect send-ssh-public-key`, and logins with `mssh`.

use eic_lab::client::{Desk, ELSEWHERE, OPERATOR};
use eic_lab::instance::INSTANCE;
use eic_lab::{Instance, UserKey};

use super::{push, stays_out, succeeded, world};

fn pushed_by_hand(client: &str) {
    world(|instance, sshd, service, desk| {
        for key in [UserKey::ed25519(), UserKey::rsa(2048), UserKey::rsa(4096)] {
            stays_out(sshd, "alice", &key);
            let answer = push(desk, client, "alice", key.line());
            let said: serde_json::Value = serde_json::from_str(succeeded(&answer)).unwrap();
            assert_eq!(said["Success"], true, "{said}");
            assert_eq!(succeeded(&sshd.ssh("alice", &key, "id -un")), "alice");
            stays_out(sshd, "bob", &key);

            let event = service.events().pop().unwrap();
            assert_eq!(
                (&event["eventName"], &event["requestID"]),
                (&"SendSSHPublicKey".into(), &said["RequestId"])
            );
            assert_logged(instance, &event, &key);
        }
    });
}

/// The line that eic-keys logs has the request and the principal of the event.
#[track_caller]
fn assert_logged(instance: &Instance, event: &serde_json::Value, key: &UserKey) {
    let line = format!(
        "Providing ssh key from EC2 Instance Connect with fingerprint: {}, request-id: {}, for IAM principal: {}",
        key.fingerprint(),
        event["requestID"].as_str().unwrap(),
        event["userIdentity"]["arn"].as_str().unwrap()
    );
    assert!(instance.journal.says(&line), "{line}\n{:#?}", instance.journal.lines());
}

#[test]
fn aws_cli_1_pushes_a_key() {
    pushed_by_hand("aws1");
}

#[test]
fn aws_cli_2_pushes_a_key() {
    pushed_by_hand("aws2");
}

#[test]
fn a_key_file_with_comment_and_newline_is_pushed() {
    world(|instance, sshd, _, desk| {
        let key = UserKey::ed25519();
        instance.write("/run/home/root/key.pub", format!("{} somebody@somewhere\n", key.line()));
        for client in ["aws1", "aws2"] {
            succeeded(&push(desk, client, "alice", "file:///run/home/root/key.pub"));
            assert_eq!(succeeded(&sshd.ssh("alice", &key, "id -un")), "alice", "{client}");
            instance.imds.unpublish("alice");
        }
    });
}

#[test]
fn mssh_looks_the_instance_up_and_logs_in() {
    world(|instance, _, service, desk| {
        let outcome = desk.says(&format!("mssh -r us-east-1 alice@{INSTANCE} whoami")).run();
        assert_eq!(succeeded(&outcome), "alice");
        let events = service.events();
        let names: Vec<_> = events.iter().map(|event| &event["eventName"]).collect();
        assert_eq!(names, ["DescribeInstances", "SendSSHPublicKey"]);
        let key = events[1]["requestParameters"]["SSHKey"]["publicKey"].as_str().unwrap();
        assert!(key.starts_with("ssh-rsa "), "{key}");
        assert!(instance.journal.says(events[1]["requestID"].as_str().unwrap()));
    });
}

#[test]
fn mssh_logs_in_without_a_lookup() {
    world(|_, _, service, desk| {
        let line = format!("mssh -r us-east-1 -z us-east-1a -t {INSTANCE} -p 22 bob@127.0.0.1 whoami");
        assert_eq!(succeeded(&desk.says(&line).run()), "bob");
        let events = service.events();
        assert_eq!(events.len(), 1, "{events:#?}");
        assert_eq!(events[0]["requestParameters"]["availabilityZone"], "us-east-1a");
    });
}

#[test]
fn several_keys_and_users_log_in_at_once() {
    world(|_, sshd, _, desk| {
        let keys: Vec<(&str, UserKey)> =
            ["alice", "bob", "alice", "bob"].map(|user| (user, UserKey::ed25519())).into();
        for (user, key) in &keys {
            succeeded(&push(desk, "aws1", user, key.line()));
        }
        std::thread::scope(|scope| {
            for (user, key) in &keys {
                scope.spawn(move || assert_eq!(succeeded(&sshd.ssh(user, key, "id -un")), *user));
            }
        });
    });
}

#[test]
fn the_policy_decides_who_may_push_for_whom_and_from_where() {
    world(|instance, sshd, service, _| {
        let key = UserKey::ed25519();
        let denied = |access_key: &str, user: &str| {
            let outcome = push(&Desk::of(instance, service, access_key), "aws1", user, key.line());
            assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(255), ""), "{outcome:#?}");
            assert!(outcome.stderr.contains("An error occurred (AuthException)"), "{outcome:#?}");
            assert!(outcome.stderr.contains("is not authorized to perform"), "{outcome:#?}");
        };
        denied(OPERATOR, "alice");
        denied(ELSEWHERE, "alice");
        assert_eq!(service.events().last().unwrap()["errorCode"], "AuthException");
        stays_out(sshd, "alice", &key);
        succeeded(&push(&Desk::of(instance, service, OPERATOR), "aws1", "bob", key.line()));
        assert_eq!(succeeded(&sshd.ssh("bob", &key, "id -un")), "bob");
        let role = "arn:aws:sts::123412341234:assumed-role/operators/bob";
        assert!(instance.journal.says(&format!("for IAM principal: {role}")));
    });
}
