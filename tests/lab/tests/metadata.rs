//! The metadata service behaves as on an instance, seen by a client that knows sockets only.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "a test")]
use eic_lab::http::rounds;
use eic_lab::{IPV4, IPV6, Instance, Manner, Pki, UserKey};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

/// Sends these bytes and reads to the end.
fn exchange_with(address: IpAddr, request: &str) -> String {
    let mut stream = TcpStream::connect((address, 80)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}

fn exchange(request: &str) -> String {
    exchange_with(IPV4.into(), request)
}

fn status(reply: &str) -> &str {
    &reply[9..12]
}

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").unwrap().1
}

fn token() -> String {
    let reply = exchange("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 5\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(reply.contains("\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 5\r\n"), "{reply}");
    body(&reply).to_owned()
}

fn get(path: &str, token: &str) -> String {
    exchange(&format!("GET /latest/meta-data/{path} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"))
}

#[test]
fn a_token_opens_the_metadata() {
    let _instance = Instance::start_without_program();
    let token = token();
    assert_eq!(token.len(), 56);
    assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{token}");
    let reply = get("instance-id", &token);
    assert_eq!((status(&reply), body(&reply)), ("200", "i-0123456789abcdef0"));
    for header in ["Connection: close", "Server: EC2ws", "Content-Type: text/plain", "Content-Length: 19"] {
        assert!(reply.contains(&format!("\r\n{header}\r\n")), "{header} is not in {reply}");
    }
    for (path, value) in [
        ("placement/region", "us-east-1"),
        ("placement/region/", "us-east-1"),
        ("placement/availability-zone", "us-east-1a"),
        ("services/domain", "amazonaws.com"),
        ("placement/", "availability-zone\nregion"),
    ] {
        assert_eq!(body(&get(path, &token)), value, "{path}");
    }
}

#[test]
fn bad_requests_are_refused_as_on_an_instance() {
    let instance = Instance::start_without_program();
    let put = |headers: &str| exchange(&format!("PUT /latest/api/token HTTP/1.1\r\n{headers}\r\n"));
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds";
    for headers in
        [String::new(), format!("{ttl}: 0\r\n"), format!("{ttl}: 21601\r\n"), format!("{ttl}: x\r\n")]
    {
        assert_eq!(status(&put(&headers)), "400", "{headers}");
    }
    assert_eq!(status(&put(&format!("{ttl}: 21600\r\nX-Forwarded-For: 10.0.0.1\r\n"))), "403");
    assert_eq!(status(&exchange("GET /latest/api/token HTTP/1.1\r\n\r\n")), "405");

    let unknown = get("instance-id", "no-token");
    assert_eq!((status(&unknown), body(&unknown)), ("401", ""));
    assert_eq!(status(&exchange("GET /latest/meta-data/instance-id HTTP/1.1\r\n\r\n")), "401");
    let token = token();
    let missing = get("managed-ssh-keys/active-keys/alice", &token);
    assert_eq!(status(&missing), "404");
    assert!(body(&missing).contains("<title>404 - Not Found</title>"), "{missing}");
    instance.imds.expire_tokens();
    assert_eq!(status(&get("instance-id", &token)), "401");
    instance.imds.switch_off();
    assert_eq!(status(&put(&format!("{ttl}: 5\r\n"))), "403");
}

#[test]
fn a_token_lives_as_long_as_was_asked_for() {
    let _instance = Instance::start_without_program();
    let reply = exchange("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 3\r\n\r\n");
    let token = body(&reply);
    assert_eq!(status(&get("instance-id", token)), "200");
    std::thread::sleep(Duration::from_millis(3100));
    assert_eq!(status(&get("instance-id", token)), "401");
}

#[test]
fn keys_are_published_for_their_time() {
    let instance = Instance::start_without_program();
    let (key, token) = (UserKey::ed25519(), token());
    instance.push("alice", &key);
    let reply = get("managed-ssh-keys/active-keys/alice", &token);
    assert!(body(&reply).contains(&format!("\n{}\n", key.line())), "{reply}");
    assert_eq!(body(&get("managed-ssh-keys/active-keys/", &token)), "alice");
    assert_eq!(status(&get("managed-ssh-keys/active-keys/bob", &token)), "404");

    instance.imds.publish("alice", "another\n");
    let both = get("managed-ssh-keys/active-keys/alice/", &token);
    assert!(body(&both).ends_with("\n\nanother\n"), "{both}");

    instance.imds.unpublish("alice");
    assert_eq!(status(&get("managed-ssh-keys/active-keys/alice", &token)), "404");
    instance.imds.publish_for("a@b", "short\n", Duration::from_secs(3));
    assert_eq!(body(&get("managed-ssh-keys/active-keys/a%40b", &token)), "short\n");
    std::thread::sleep(Duration::from_millis(3050));
    assert_eq!(status(&get("managed-ssh-keys/active-keys/a@b", &token)), "404");
}

#[test]
fn the_signer_is_delivered_with_its_ocsp_responses() {
    let instance = Instance::start_without_program();
    let (pki, token) = (instance.pki(), token());
    let chain = get("managed-ssh-keys/signer-cert", &token);
    let expected: String = pki.chain().map(eic_lab::Cert::to_pem).concat();
    assert_eq!(body(&chain), expected.trim_end());
    let names = get("managed-ssh-keys/signer-ocsp/", &token);
    assert_eq!(body(&names).lines().count(), 2);
    let name = pki.signer.fingerprint(eic_lab::Hash::Sha1);
    assert!(body(&names).contains(&name));
    instance.serve_ocsp_response(&pki.signer, b"other");
    assert_eq!(body(&get(&format!("managed-ssh-keys/signer-ocsp/{name}"), &token)), "b3RoZXI=");
    instance.remove_ocsp_response(&pki.signer);
    assert_eq!(body(&get("managed-ssh-keys/signer-ocsp", &token)).lines().count(), 1);

    let other = Pki::with(|spec| spec.signer.alternative_names.clear());
    instance.adopt(other.clone());
    assert!(body(&get("managed-ssh-keys/signer-cert", &token)).starts_with(&other.signer.to_pem()));
    let trusted = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap();
    assert!(trusted.ends_with(&other.root.to_pem()));
}

#[test]
fn it_speaks_in_other_manners_too() {
    let instance = Instance::start_without_program();
    let token = token();
    instance.imds.manner(Manner::Http10);
    assert!(get("instance-id", &token).starts_with("HTTP/1.0 200 OK\r\n"));
    instance.imds.manner(Manner::KeepAlive);
    let one =
        format!("GET /latest/meta-data/instance-id HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n");
    let before = instance.imds.connections();
    let mut stream = TcpStream::connect((IPV4, 80)).unwrap();
    for _ in 0..3 {
        stream.write_all(one.as_bytes()).unwrap();
        let mut reply = [0; 4096];
        let length = stream.read(&mut reply).unwrap();
        let reply = String::from_utf8_lossy(&reply[..length]).into_owned();
        assert!(
            reply.contains("Connection: keep-alive") && reply.ends_with("i-0123456789abcdef0"),
            "{reply}"
        );
    }
    assert_eq!(instance.imds.connections(), before + 1);
}

#[test]
fn it_answers_in_ipv6_where_switched_on() {
    let instance = Instance::start_without_program();
    instance.endpoint(IPV6.into(), eic_lab::Endpoint::Serving);
    let reply = exchange_with(
        IPV6.into(),
        "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 5\r\n\r\n",
    );
    assert_eq!(status(&reply), "200");
    assert!(instance.imds.requests()[0].from.is_ipv6());
}

#[test]
fn requests_are_remembered_and_counted_in_rounds() {
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
