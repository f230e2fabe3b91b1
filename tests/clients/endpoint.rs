//! AWS CLI 2's `ssh` command, directly and through an EC2 Instance Connect Endpoint, and its `open-tunnel` command.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use eic_lab::client::{Desk, path};
use eic_lab::instance::INSTANCE;
use eic_lab::service::cloud::ENDPOINT;
use eic_lab::sshd::Login;
use eic_lab::{Outcome, Sshd, UserKey};
use serde_json::Value;

use super::{push, succeeded, world};

/// `aws ec2-instance-connect ssh`, which takes its commands from its input.
fn one_click(desk: &Desk<'_>, user: &str, options: &[&str]) -> Outcome {
    let line = format!("ec2-instance-connect ssh --instance-id {INSTANCE} --os-user {user}");
    desk.client("aws2", line.split(' ').chain(options.iter().copied())).input("id -un\n").run()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["eventName"].as_str().unwrap()).collect()
}

/// A key that has been pushed for alice.
fn pushed_key(desk: &Desk<'_>) -> UserKey {
    let key = UserKey::ed25519();
    succeeded(&push(desk, "aws1", "alice", key.line()));
    key
}

#[test]
fn ec2_instance_connect_ssh_logs_in_directly() {
    world(|_, _, service, desk| {
        assert_eq!(succeeded(&one_click(desk, "alice", &["--connection-type", "direct"])), "alice");
        assert_eq!(names(&service.events()), ["DescribeInstances", "SendSSHPublicKey"]);
        let key = &service.events()[1]["requestParameters"]["SSHKey"]["publicKey"];
        assert!(key.as_str().unwrap().starts_with("ssh-ed25519 "), "{key}");
    });
}

#[test]
fn ec2_instance_connect_ssh_selects_the_connection_by_address() {
    world(|_, _, service, desk| {
        service.change(|cloud| cloud.instances[0].public_ip = Some("127.0.0.1".to_owned()));
        assert_eq!(succeeded(&one_click(desk, "bob", &[])), "bob");
        assert_eq!(names(&service.events()), ["DescribeInstances", "SendSSHPublicKey"]);
    });
}

#[test]
fn ec2_instance_connect_ssh_logs_in_through_an_endpoint_at_port_443() {
    world(|instance, _, service, desk| {
        let options = format!("endpointId={ENDPOINT},dnsName=localhost,maxTunnelDuration=900");
        let outcome = one_click(desk, "alice", &["--connection-type", "eice", "--eice-options", &options]);
        assert_eq!(succeeded(&outcome), "alice");
        let events = service.events();
        assert_eq!(names(&events), ["DescribeInstances", "SendSSHPublicKey", "OpenTunnel"]);
        assert_eq!(
            events[2]["requestParameters"],
            serde_json::json!({
                "instanceConnectEndpointId": ENDPOINT, "maxTunnelDuration": "900",
                "remotePort": "22", "privateIpAddress": "127.0.0.1",
            })
        );
        assert!(instance.journal.says("for IAM principal: arn:aws:iam::123412341234:user/developer"));
    });
}

#[test]
fn ec2_instance_connect_ssh_finds_the_endpoint_through_a_proxy() {
    world(|instance, _, service, desk| {
        // Without the proxy, the endpoint's name cannot be resolved.
        instance.write("/etc/hosts", "127.0.0.1 localhost\n");
        let line =
            format!("ec2-instance-connect ssh --instance-id {INSTANCE} --os-user bob --connection-type eice");
        let run = desk.client("aws2", line.split(' ')).input("id -un\n");
        let outcome = run.env("HTTPS_PROXY", service.proxy_url()).run();
        assert_eq!(succeeded(&outcome), "bob");
        let events = service.events();
        let expected =
            ["DescribeInstances", "DescribeInstanceConnectEndpoints", "SendSSHPublicKey", "OpenTunnel"];
        assert_eq!(names(&events), expected);
        assert_eq!(events[3]["requestParameters"]["instanceConnectEndpointId"], ENDPOINT);
    });
}

#[test]
fn ec2_instance_connect_ssh_reaches_the_endpoint_by_its_name() {
    world(|_, _, service, desk| {
        // The name resolves to the laboratory's endpoint.
        let options = format!("endpointId={ENDPOINT}");
        let outcome = one_click(desk, "alice", &["--connection-type", "eice", "--eice-options", &options]);
        assert_eq!(succeeded(&outcome), "alice");
        assert_eq!(names(&service.events()).last(), Some(&"OpenTunnel"));
    });
}

/// `open-tunnel` with these options, as a line.
fn open_tunnel(options: &str) -> String {
    format!(
        "aws2 ec2-instance-connect open-tunnel --instance-id {INSTANCE} --private-ip-address 127.0.0.1 \
         --instance-connect-endpoint-id {ENDPOINT} --instance-connect-endpoint-dns-name localhost {options}"
    )
}

/// The real ssh with `open-tunnel` as `ProxyCommand`.
fn through_tunnel<'a>(
    sshd: &'a Sshd<'_>,
    desk: &Desk<'_>,
    user: &str,
    key: &UserKey,
    options: &str,
) -> Login<'a> {
    let command = open_tunnel(options).replacen("aws2", path("aws2").to_str().unwrap(), 1);
    let login = sshd.login(user).key(key).option(&format!("ProxyCommand={command}"));
    desk.environment().iter().fold(login, |login, (name, value)| login.env(name, value))
}

#[test]
fn open_tunnel_works_as_proxy_command() {
    world(|_, sshd, service, desk| {
        let key = pushed_key(desk);
        assert_eq!(succeeded(&through_tunnel(sshd, desk, "alice", &key, "").run("id -un")), "alice");
        assert_eq!(names(&service.events()), ["SendSSHPublicKey", "OpenTunnel"]);
    });
}

#[test]
fn large_transfers_pass_the_tunnel_both_ways() {
    world(|instance, sshd, _, desk| {
        let key = pushed_key(desk);
        // More than any buffer on the way holds: 3 MB there, and back.
        let text = (0..300_000).map(|number| format!("{number:09}\n")).collect::<Vec<_>>().concat();
        instance.write("/run/home/alice/text", &text);
        let login = through_tunnel(sshd, desk, "alice", &key, "").input(&text);
        let outcome = login.run("cmp - text && cat text");
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        assert!(outcome.stdout == text, "{} bytes came back", outcome.stdout.len());
    });
}

#[test]
fn open_tunnel_works_as_local_listener() {
    world(|_, sshd, _, desk| {
        let key = pushed_key(desk);
        let program = path("aws2");
        let line = open_tunnel("--local-port 2222");
        let words = line.split_whitespace().skip(1);
        let mut listener = Command::new(program)
            .args(words)
            .env_clear()
            .envs(desk.environment().iter().map(|(name, value)| (name, value)))
            .env("PATH", "/usr/bin:/bin")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpListener::bind("127.0.0.1:2222").is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        for _ in 0..2 {
            let login = sshd.login("alice").key(&key).option("Port=2222").option("HostKeyAlias=127.0.0.1");
            let outcome = login.run("id -un");
            let ended = listener.try_wait().unwrap();
            assert_eq!((outcome.stdout.trim(), ended), ("alice", None), "{outcome:#?}");
        }
        listener.kill().unwrap();
        listener.wait().unwrap();
    });
}

#[test]
fn open_tunnel_ends_after_its_maximum_duration() {
    world(|_, sshd, _, desk| {
        let key = pushed_key(desk);
        let login = through_tunnel(sshd, desk, "alice", &key, "--max-tunnel-duration 20");
        let outcome = login.run("id -un; sleep 100");
        assert_eq!((outcome.status, outcome.stdout.trim()), (Some(255), "alice"), "{outcome:#?}");
        assert!(outcome.wall < Duration::from_secs(95), "{outcome:#?}");
        assert!(outcome.stderr.contains("Maximum tunnel duration reached"), "{outcome:#?}");
    });
}

#[test]
fn the_client_shows_the_error_of_the_endpoint() {
    world(|_, _, service, desk| {
        // Nobody listens at port 3389 of the instance.
        let outcome = desk.says(&open_tunnel("--remote-port 3389")).run();
        assert_ne!(outcome.status, Some(0), "{outcome:#?}");
        assert!(outcome.stderr.contains("Unable to connect to target"), "{outcome:#?}");
        let outcome = desk.says(&open_tunnel("--remote-port 80")).run();
        assert_ne!(outcome.status, Some(0), "{outcome:#?}");
        assert!(outcome.stderr.contains("remotePort must be 22 or 3389"), "{outcome:#?}");
        let outcome = desk.says(&open_tunnel("")).env("AWS_SECRET_ACCESS_KEY", "wrong").run();
        assert!(outcome.stderr.contains("does not match the signature"), "{outcome:#?}");
        assert_eq!(names(&service.events()), ["OpenTunnel", "OpenTunnel"], "a wrong signature is nobody's");
    });
}

#[test]
fn keys_are_judged_the_same_through_the_tunnel() {
    world(|_, sshd, _, desk| {
        let (key, other) = (pushed_key(desk), UserKey::ed25519());
        for (user, key) in [("alice", &other), ("bob", &key)] {
            let outcome = through_tunnel(sshd, desk, user, key, "").run("id -un");
            assert_eq!(outcome.status, Some(255), "{outcome:#?}");
            assert!(outcome.stderr.contains("Permission denied (publickey)"), "{outcome:#?}");
        }
        assert_eq!(succeeded(&through_tunnel(sshd, desk, "alice", &key, "").run("id -un")), "alice");
    });
}
