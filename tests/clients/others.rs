//! Clients that cannot be installed here, imitated by what they send: Teleport, and the console's client in the browser.

use eic_lab::client::{Desk, OPERATOR};
use eic_lab::instance::INSTANCE;
use eic_lab::{Instance, Outcome, Service, UserKey};

use super::{push, succeeded, world};

fn teleport(desk: &Desk<'_>, user: &str) -> Outcome {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/teleport.py");
    desk.client("python", [script, INSTANCE, user, "id -un"]).run()
}

#[track_caller]
fn assert_tunnel(instance: &Instance, service: &Service, outcome: &Outcome) {
    assert!(!outcome.stderr.contains("X-Amz-Expires") && outcome.stderr.contains("wss://"), "{outcome:#?}");
    let events = service.events();
    let [.., push, tunnel] = &events[..] else { panic!("{events:#?}") };
    let key = push["requestParameters"]["SSHKey"]["publicKey"].as_str().unwrap();
    assert!(key.starts_with("ssh-ed25519 ") && key.ends_with('\n'), "{key:?}");
    assert_eq!(tunnel["requestParameters"]["maxTunnelDuration"], "3600");
    assert_eq!(tunnel["requestParameters"]["privateIpAddress"], "ip-127-0-0-1.ec2.internal");
    assert_eq!(tunnel["eventName"], "OpenTunnel");
    let (request, who) = (push["requestID"].as_str().unwrap(), push["userIdentity"]["arn"].as_str().unwrap());
    assert!(instance.journal.says(&format!("request-id: {request}, for IAM principal: {who}")));
}

#[test]
fn teleport_opens_a_tunnel_and_logs_in() {
    world(|instance, _, service, desk| {
        let outcome = teleport(desk, "alice");
        assert_eq!(succeeded(&outcome), "alice");
        assert_tunnel(instance, service, &outcome);
    });
}

#[test]
fn teleport_logs_in_with_temporary_credentials() {
    world(|instance, _, service, _| {
        service.change(|cloud| {
            let operator = cloud.principals.iter().position(|who| who.access_key == OPERATOR).unwrap();
            // A tunnel of an hour, which the operator's own policy does not allow.
            let everything = cloud.principals[0].clone();
            cloud.principals[operator].take_policy_of(&everything);
        });
        let outcome = teleport(&Desk::of(instance, service, OPERATOR), "bob");
        assert_eq!(succeeded(&outcome), "bob");
        assert!(outcome.stderr.contains("X-Amz-Security-Token="), "{outcome:#?}");
        assert_tunnel(instance, service, &outcome);
    });
}

#[test]
fn a_policy_limits_the_duration_of_a_tunnel() {
    world(|instance, _, service, _| {
        let outcome = teleport(&Desk::of(instance, service, OPERATOR), "bob");
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(1), ""), "{outcome:#?}");
        let events = service.events();
        assert_eq!(events.last().unwrap()["errorCode"], "AccessDenied", "{events:#?}");
    });
}

#[test]
fn logins_work_with_the_key_exchanges_of_the_console() {
    world(|_, sshd, _, desk| {
        for exchange in ["ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"] {
            let key = UserKey::rsa(2048);
            succeeded(&push(desk, "aws1", "bob", key.line()));
            let login = sshd.login("bob").key(&key).option(&format!("KexAlgorithms={exchange}"));
            let outcome = login.option("LogLevel=DEBUG1").run("id -un");
            assert_eq!(succeeded(&outcome), "bob");
            assert!(outcome.stderr.contains(&format!("kex: algorithm: {exchange}")), "{}", outcome.stderr);
        }
    });
}
