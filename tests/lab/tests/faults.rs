//! Each fault really occurs. The client is a socket, because the replies are broken.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]
use eic_lab::{Endpoint, Fault, IPV4, Instance, On};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How a reply ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The connection was closed.
    Closed,
    /// The connection was reset.
    Reset,
    /// Nothing was received for a while.
    Silent,
    /// More than a megabyte was received.
    TooMuch,
}

const PATIENCE: Duration = Duration::from_secs(3);
const ENOUGH: usize = 1 << 20;

/// Requests a token, the path that needs none.
fn ask() -> (String, End) {
    let mut stream = TcpStream::connect((IPV4, 80)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 5\r\n\r\n")
        .unwrap();
    let mut reply = Vec::new();
    let mut chunk = [0; 8192];
    let end = loop {
        match stream.read(&mut chunk) {
            Ok(0) => break End::Closed,
            Ok(length) => reply.extend_from_slice(&chunk[..length]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => break End::Silent,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => break End::Reset,
            Err(e) => panic!("{e}"),
        }
        if reply.len() > ENOUGH {
            break End::TooMuch;
        }
    };
    (String::from_utf8_lossy(&reply).into_owned(), end)
}

/// Requests with one fault.
fn with(fault: Fault) -> (String, End) {
    let instance = Instance::start_without_program();
    instance.imds.fault(On::token(), fault);
    ask()
}

/// Head and body of a reply.
fn parts(reply: &str) -> (&str, &str) {
    reply.split_once("\r\n\r\n").unwrap_or((reply, ""))
}

#[track_caller]
fn expect(fault: Fault, head: &str, body: impl Fn(&str) -> bool, end: &End) {
    let name = format!("{fault:?}");
    let (reply, ended) = with(fault);
    let (head_seen, body_seen) = parts(&reply);
    let start: String = reply.chars().take(600).collect();
    assert!(head_seen.contains(head), "{name}: {head} is not in {start}");
    assert!(body(body_seen), "{name}: {start}");
    assert_eq!(&ended, end, "{name}: {start}");
}

/// The body is a token.
fn whole(body: &str) -> bool {
    body.len() == 56
}

/// The body is half a token.
fn half(body: &str) -> bool {
    body.len() == 28
}

#[test]
fn wrong_replies_are_sent() {
    for status in [401, 403, 404, 405, 429, 500, 502, 503, 504] {
        expect(Fault::Status(status), &format!("HTTP/1.1 {status} "), |b| b.contains("<html"), &End::Closed);
    }
    expect(Fault::Status(204), "HTTP/1.1 204 No Content", str::is_empty, &End::Closed);
    expect(Fault::Redirect("http://10.0.0.1/".into()), "302 Found", |b| b.contains("302"), &End::Closed);
    expect(
        Fault::Redirect("http://10.0.0.1/".into()),
        "\r\nLocation: http://10.0.0.1/",
        |_| true,
        &End::Closed,
    );
    expect(Fault::Body(b"other".to_vec()), "Content-Length: 5", |b| b == "other", &End::Closed);
    expect(Fault::empty(), "Content-Length: 0", str::is_empty, &End::Closed);
    expect(Fault::compressed(), "Content-Encoding: gzip", whole, &End::Closed);
    expect(Fault::cookie(), "Set-Cookie: session=1; Path=/", whole, &End::Closed);
    expect(Fault::Header("Server".into(), "Other".into()), "Server: Other", whole, &End::Closed);
}

#[test]
fn late_and_incomplete_replies_are_sent() {
    let started = Instant::now();
    expect(Fault::Delay(Duration::from_millis(100)), "200 OK", whole, &End::Closed);
    assert!(started.elapsed() > Duration::from_millis(100));
    expect(Fault::Hang, "", str::is_empty, &End::Silent);
    expect(Fault::HangInHead, "HTTP/1.1 200 OK", str::is_empty, &End::Silent);
    expect(Fault::HangInBody, "Content-Length: 56", half, &End::Silent);
    let pause = Duration::from_millis(1);
    for fault in [Fault::DripHead(pause), Fault::DripBody(pause)] {
        let started = Instant::now();
        expect(fault, "200 OK", whole, &End::Closed);
        assert!(started.elapsed() > Duration::from_millis(56));
    }
    // Slower than the client's time limit: it receives the first byte only.
    expect(Fault::DripHead(Duration::from_secs(20)), "H", str::is_empty, &End::Silent);
    expect(Fault::DripChunks(Duration::from_secs(20)), "chunked", |b| b == "1\r\nA\r\n", &End::Silent);
}

#[test]
fn endless_replies_are_sent() {
    expect(
        Fault::EndlessChunks,
        "Transfer-Encoding: chunked",
        |b| b.starts_with("1000\r\nAAAA"),
        &End::TooMuch,
    );
    expect(Fault::EndlessBody, "200 OK", |b| b.starts_with("AAAA"), &End::TooMuch);
    expect(Fault::EndlessLength, "Content-Length: 4611686018427387904", |b| b.len() > 1000, &End::TooMuch);
    expect(Fault::EndlessHeaders, "X-More: and more\r\nX-More: and more", str::is_empty, &End::TooMuch);
    expect(Fault::EndlessHeaderLine, "X-Long: AAAA", str::is_empty, &End::TooMuch);
    expect(Fault::EndlessStatusLine, "HTTP/1.1 200 AAAA", str::is_empty, &End::TooMuch);
    expect(Fault::Continues, "HTTP/1.1 100 Continue", |b| b.len() > 1000, &End::TooMuch);
}

#[test]
fn large_replies_are_sent() {
    expect(Fault::LargeHeader(100_000), &"A".repeat(100_000), whole, &End::Closed);
    expect(Fault::ManyHeaders(1000), "X-999: A", whole, &End::Closed);
    expect(Fault::LargeBody(100_000), "Content-Length: 100000", |b| b.len() == 100_000, &End::Closed);
    expect(Fault::LargeBodyWithoutLength(100_000), "200 OK", |b| b.len() == 100_000, &End::Closed);
}

#[test]
fn replies_with_wrong_or_other_lengths_are_sent() {
    expect(Fault::Length("57".into()), "Content-Length: 57", whole, &End::Closed);
    expect(Fault::Length("-1".into()), "Content-Length: -1", whole, &End::Closed);
    expect(Fault::TwoLengths, "Content-Length: 57\r\nContent-Length: 56", whole, &End::Closed);
    expect(Fault::LengthAndChunks, "chunked", |b| b.starts_with("38\r\n") && b.len() == 67, &End::Closed);
    expect(Fault::CutBody(10), "Content-Length: 56", |b| b.len() == 10, &End::Closed);
    expect(Fault::CutHead, "HTTP/1.1 200 OK", str::is_empty, &End::Closed);
    expect(
        Fault::Chunks(50),
        "chunked",
        |b| b.starts_with("32\r\n") && b.ends_with("0\r\n\r\n"),
        &End::Closed,
    );
    expect(Fault::BadChunk, "chunked", |b| b.starts_with("xyz\r\n"), &End::Closed);
    expect(
        Fault::CutChunks,
        "chunked",
        |b| b.starts_with("38\r\n") && !b.contains("0\r\n\r\n"),
        &End::Closed,
    );
    let (reply, _) = with(Fault::UntilClose);
    assert!(!reply.contains("Content-Length") && whole(parts(&reply).1), "{reply}");
}

#[test]
fn connections_are_broken() {
    expect(Fault::Close, "", str::is_empty, &End::Closed);
    expect(Fault::Reset, "", str::is_empty, &End::Reset);
    expect(Fault::ResetInBody, "Content-Length: 56", half, &End::Reset);
}

#[test]
fn replies_that_are_not_http_are_sent() {
    assert_eq!(with(Fault::ssh_banner()), ("SSH-2.0-OpenSSH_9.2p1\r\n".into(), End::Closed));
    assert_eq!(with(Fault::tls_alert()).0.as_bytes()[..3], [0x15, 3, 1]);
    assert_eq!(with(Fault::http2()).0.len(), 9);
    assert!(with(Fault::garbage()).0.len() >= 4096);
    let (reply, end) = with(Fault::Http09);
    assert!(whole(&reply) && end == End::Closed, "{reply}");
    expect(Fault::Http10, "HTTP/1.0 200 OK", whole, &End::Closed);
    expect(
        Fault::EarlyHints(2),
        "HTTP/1.1 103 Early Hints",
        |b| b.matches("HTTP/1.1").count() == 2,
        &End::Closed,
    );
    expect(Fault::Another, "200 OK", |b| b.ends_with("another one"), &End::Closed);
}

#[test]
fn faults_apply_to_the_selected_requests() {
    let instance = Instance::start_without_program();
    let statuses = |count| -> Vec<String> {
        (0..count).map(|_| ask().0.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    instance.imds.fault(On::token().nth(2), Fault::Status(503));
    assert_eq!(statuses(3), ["200", "503", "200"]);
    instance.imds.clear_faults();
    instance.imds.fault(On::token().first(1), Fault::Status(429));
    instance.imds.fault(On::any().from(2), Fault::Status(500));
    assert_eq!(statuses(3), ["429", "200", "500"]);
    instance.imds.clear_faults();
    for elsewhere in [On::path("instance-id"), On::within("api/token"), On::path("oken")] {
        instance.imds.fault(elsewhere, Fault::Close);
    }
    assert_eq!(statuses(1), ["200"]);
    instance.imds.fault(On::within("latest/api"), Fault::Status(502));
    assert_eq!(statuses(1), ["502"]);
}

#[test]
fn a_deaf_service_accepts_the_connection_and_never_replies() {
    let instance = Instance::start_without_program();
    instance.endpoint(IPV4.into(), Endpoint::Deaf);
    assert_eq!(ask(), (String::new(), End::Silent));
    assert_eq!(instance.imds.connections(), 0);
}

#[test]
fn an_instance_ends_with_open_connections() {
    let instance = Instance::start_without_program();
    let mut open = Vec::new();
    for fault in
        [Fault::Hang, Fault::EndlessBody, Fault::DripBody(Duration::from_secs(60)), Fault::HangInBody]
    {
        instance.imds.clear_faults();
        instance.imds.fault(On::any(), fault);
        let mut stream = TcpStream::connect((IPV4, 80)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        open.push(stream);
    }
    // A connection without a request.
    open.push(TcpStream::connect((IPV4, 80)).unwrap());
    std::thread::sleep(Duration::from_millis(50));
    let started = Instant::now();
    drop(instance);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}
