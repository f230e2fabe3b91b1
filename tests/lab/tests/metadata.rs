//! The metadata service behaves as on an instance, seen by an HTTP client.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "a test")]
use eic_lab::http::rounds;
use eic_lab::{IPV4, IPV6, Instance, Manner, Pki, UserKey};
use reqwest::blocking::{Client, Response};
use reqwest::{Method, Version};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

mod client;
use client::client;

const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "X-aws-ec2-metadata-token";

/// Requests a path with these headers.
fn request(
    client: &Client,
    method: Method,
    address: IpAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Response {
    let request = client.request(method, format!("http://{}{path}", SocketAddr::new(address, 80)));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().unwrap()
}

fn put_token(headers: &[(&str, &str)]) -> Response {
    request(&client(), Method::PUT, IPV4.into(), "/latest/api/token", headers)
}

fn get(path: &str, token: &str) -> Response {
    request(&client(), Method::GET, IPV4.into(), &format!("/latest/meta-data/{path}"), &[(TOKEN, token)])
}

fn status(reply: &Response) -> u16 {
    reply.status().as_u16()
}

fn body(reply: Response) -> String {
    reply.text().unwrap()
}

/// A token for this number of seconds.
fn token_for(seconds: &str) -> String {
    let reply = put_token(&[(TTL, seconds)]);
    assert_eq!((status(&reply), reply.version()), (200, Version::HTTP_11));
    assert_eq!(reply.headers()[TTL], seconds);
    body(reply)
}

fn token() -> String {
    token_for("5")
}

#[test]
fn metadata_is_served_to_a_token() {
    let _instance = Instance::start_without_program();
    let token = token();
    assert_eq!(token.len(), 56);
    assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{token}");
    let reply = get("instance-id", &token);
    assert_eq!(status(&reply), 200);
    for (name, value) in [
        ("Connection", "close"),
        ("Server", "EC2ws"),
        ("Content-Type", "text/plain"),
        ("Content-Length", "19"),
    ] {
        assert_eq!(reply.headers()[name], value, "{name}");
    }
    assert_eq!(body(reply), "i-0123456789abcdef0");
    for (path, value) in [
        ("placement/region", "us-east-1"),
        ("placement/region/", "us-east-1"),
        ("placement/availability-zone", "us-east-1a"),
        ("services/domain", "amazonaws.com"),
        ("placement/", "availability-zone\nregion"),
    ] {
        assert_eq!(body(get(path, &token)), value, "{path}");
    }
}

#[test]
fn bad_requests_are_refused_as_on_an_instance() {
    let instance = Instance::start_without_program();
    for headers in [&[][..], &[(TTL, "0")], &[(TTL, "21601")], &[(TTL, "x")]] {
        assert_eq!(status(&put_token(headers)), 400, "{headers:?}");
    }
    assert_eq!(status(&put_token(&[(TTL, "21600"), ("X-Forwarded-For", "10.0.0.1")])), 403);
    let without_token = |path| status(&request(&client(), Method::GET, IPV4.into(), path, &[]));
    assert_eq!(without_token("/latest/api/token"), 405);
    assert_eq!(without_token("/latest/meta-data/instance-id"), 401);

    let unknown = get("instance-id", "no-token");
    assert_eq!((status(&unknown), body(unknown)), (401, String::new()));
    let token = token();
    let missing = get("managed-ssh-keys/active-keys/alice", &token);
    assert_eq!(status(&missing), 404);
    let page = body(missing);
    assert!(page.contains("<title>404 - Not Found</title>"), "{page}");
    instance.imds.expire_tokens();
    assert_eq!(status(&get("instance-id", &token)), 401);
    instance.imds.switch_off();
    assert_eq!(status(&put_token(&[(TTL, "5")])), 403);
}

#[test]
fn a_token_expires_after_the_requested_time() {
    let _instance = Instance::start_without_program();
    let token = token_for("3");
    assert_eq!(status(&get("instance-id", &token)), 200);
    std::thread::sleep(Duration::from_millis(3100));
    assert_eq!(status(&get("instance-id", &token)), 401);
}

#[test]
fn keys_are_published_for_their_time() {
    let instance = Instance::start_without_program();
    let (key, token) = (UserKey::ed25519(), token());
    instance.push("alice", &key);
    let record = body(get("managed-ssh-keys/active-keys/alice", &token));
    assert!(record.contains(&format!("\n{}\n", key.line())), "{record}");
    assert_eq!(body(get("managed-ssh-keys/active-keys/", &token)), "alice");
    assert_eq!(status(&get("managed-ssh-keys/active-keys/bob", &token)), 404);

    instance.imds.publish("alice", "another\n");
    let both = body(get("managed-ssh-keys/active-keys/alice/", &token));
    assert!(both.ends_with("\n\nanother\n"), "{both}");

    instance.imds.unpublish("alice");
    assert_eq!(status(&get("managed-ssh-keys/active-keys/alice", &token)), 404);
    instance.imds.publish_for("a@b", "short\n", Duration::from_secs(3));
    assert_eq!(body(get("managed-ssh-keys/active-keys/a%40b", &token)), "short\n");
    std::thread::sleep(Duration::from_millis(3050));
    assert_eq!(status(&get("managed-ssh-keys/active-keys/a@b", &token)), 404);
}

#[test]
fn the_signer_is_delivered_with_its_ocsp_responses() {
    let instance = Instance::start_without_program();
    let (pki, token) = (instance.pki(), token());
    let chain = get("managed-ssh-keys/signer-cert", &token);
    let expected: String = pki.chain().map(eic_lab::Cert::to_pem).concat();
    assert_eq!(body(chain), expected.trim_end());
    let names = body(get("managed-ssh-keys/signer-ocsp/", &token));
    assert_eq!(names.lines().count(), 2);
    let name = pki.signer.fingerprint(eic_lab::Hash::Sha1);
    assert!(names.contains(&name));
    instance.serve_ocsp_response(&pki.signer, b"other");
    assert_eq!(body(get(&format!("managed-ssh-keys/signer-ocsp/{name}"), &token)), "b3RoZXI=");
    instance.remove_ocsp_response(&pki.signer);
    assert_eq!(body(get("managed-ssh-keys/signer-ocsp", &token)).lines().count(), 1);

    let other = Pki::with(|spec| spec.signer.alternative_names.clear());
    instance.adopt(other.clone());
    assert!(body(get("managed-ssh-keys/signer-cert", &token)).starts_with(&other.signer.to_pem()));
    let trusted = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap();
    assert!(trusted.ends_with(&other.root.to_pem()));
}

#[test]
fn http_1_0_and_keep_alive_are_served() {
    let instance = Instance::start_without_program();
    let token = token();
    instance.imds.manner(Manner::Http10);
    let reply = get("instance-id", &token);
    assert_eq!((status(&reply), reply.version()), (200, Version::HTTP_10));
    instance.imds.manner(Manner::KeepAlive);
    let before = instance.imds.connections();
    let client = client();
    for _ in 0..3 {
        let path = "/latest/meta-data/instance-id";
        let reply = request(&client, Method::GET, IPV4.into(), path, &[(TOKEN, &token)]);
        assert_eq!(reply.headers()["Connection"], "keep-alive");
        assert_eq!(body(reply), "i-0123456789abcdef0");
    }
    assert_eq!(instance.imds.connections(), before + 1);
}

#[test]
fn ipv6_is_served_if_enabled() {
    let instance = Instance::start_without_program();
    instance.endpoint(IPV6.into(), eic_lab::Endpoint::Serving);
    let reply = request(&client(), Method::PUT, IPV6.into(), "/latest/api/token", &[(TTL, "5")]);
    assert_eq!(status(&reply), 200);
    assert!(instance.imds.requests()[0].from.is_ipv6());
}

#[test]
fn requests_are_recorded_and_counted_in_rounds() {
    let instance = Instance::start_without_program();
    let token = token();
    let request = &instance.imds.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str(), request.status),
        ("PUT", "/latest/api/token", 200)
    );
    assert_eq!(request.header("x-AWS-ec2-metadata-token-ttl-seconds"), Some("5"));
    assert!(request.from.ip().is_ipv4() && request.connection == 1 && request.answered.is_some());

    instance.imds.clear_requests();
    instance.imds.pace(Duration::from_millis(500));
    get("instance-id", &token);
    std::thread::scope(|scope| {
        for path in ["placement/region", "services/domain", "nothing"] {
            let token = &token;
            scope.spawn(move || get(path, token));
        }
    });
    get("instance-id", &token);
    let requests = instance.imds.requests();
    assert_eq!(requests.len(), 5);
    assert_eq!(rounds(&requests), 3);
}
