//! The endpoint, by a WebSocket: what may be opened, what passes, and how a tunnel ends. Handshakes are written by hand, also
//! wrong ones.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

use eic_lab::client::{DEVELOPER, OPERATOR};
use eic_lab::instance::INSTANCE;
use eic_lab::service::call::Call;
use eic_lab::service::cloud::{ENDPOINT, STOPPED};
use eic_lab::service::sigv4::presign;
use eic_lab::{DAY, Instance, Service, now};
use openssl::ssl::{SslConnector, SslMethod, SslStream};
use openssl::x509::X509;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

type Tls = SslStream<TcpStream>;
type Socket = WebSocket<Tls>;

const SCOPE: (&str, &str) = ("us-east-1", "ec2-instance-connect");

/// The service, and an echo server at the instance's port 22.
fn world(test: impl FnOnce(&Service)) {
    let instance = Instance::start_without_program();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 22)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || echo(stream));
        }
    });
    test(&Service::start(&instance));
}

/// Sends everything back, and closes the connection at a Z.
fn echo(mut stream: TcpStream) {
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        if chunk[..length].contains(&b'Z') || stream.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
}

/// A correct handshake, unsigned.
fn handshake() -> Call {
    let headers = [
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    Call {
        method: "GET".to_owned(),
        path: "/openTunnel".to_owned(),
        query: format!("instanceConnectEndpointId={ENDPOINT}&remotePort=22&privateIpAddress=127.0.0.1"),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: Vec::new(),
        from: ([127, 0, 0, 1], 0).into(),
    }
}

fn signed(service: &Service, mut call: Call) -> Call {
    presign(&mut call, &service.principal(DEVELOPER), SCOPE, now(), Some(60));
    call
}

fn encrypted(service: &Service, stream: TcpStream, name: &str) -> Tls {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let authority = X509::from_pem(service.authority().as_bytes()).unwrap();
    connector.cert_store_mut().add_cert(authority).unwrap();
    connector.build().connect(name, stream).unwrap()
}

/// At port 443.
fn endpoint(service: &Service) -> Tls {
    encrypted(service, TcpStream::connect((Ipv4Addr::LOCALHOST, 443)).unwrap(), "localhost")
}

/// Sends the handshake, and reads the head of the reply.
fn head(stream: &mut Tls, call: &Call) -> String {
    let lines: Vec<String> =
        call.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = lines.concat();
    let request = format!("{} {}?{} HTTP/1.1\r\n{headers}\r\n", call.method, call.path, call.query);
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        reply.push(byte[0]);
    }
    String::from_utf8(reply).unwrap()
}

fn opened_at(mut stream: Tls, call: &Call) -> Socket {
    let reply = head(&mut stream, call);
    assert!(reply.starts_with("HTTP/1.1 101 "), "{reply}");
    // RFC 6455 section 1.3 has this answer to this key.
    assert!(reply.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{reply}");
    WebSocket::from_raw_socket(stream, Role::Client, Some(WebSocketConfig::default()))
}

fn opened(service: &Service) -> Socket {
    opened_at(endpoint(service), &signed(service, handshake()))
}

/// The next bytes that are received, this many.
fn received(socket: &mut Socket, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        match socket.read().unwrap() {
            Message::Binary(some) => bytes.extend_from_slice(&some),
            other => panic!("{other:?}"),
        }
    }
    bytes
}

/// Code and reason with which the service closes.
fn closed(socket: &mut Socket) -> (CloseCode, String) {
    loop {
        match socket.read().unwrap() {
            Message::Close(Some(frame)) => return (frame.code, frame.reason.to_string()),
            Message::Close(None) => panic!("closed without a code"),
            _ => (),
        }
    }
}

#[track_caller]
fn echoes(socket: &mut Socket, text: &[u8]) {
    socket.send(Message::binary(text.to_vec())).unwrap();
    assert!(received(socket, text.len()) == text, "{} bytes did not come back as they were", text.len());
}

#[test]
fn binary_frames_go_both_ways() {
    world(|service| {
        let mut socket = opened(service);
        echoes(&mut socket, b"hello");
        // A client whose input has ended sends empty frames without end.
        for _ in 0..1000 {
            socket.write(Message::binary(Vec::new())).unwrap();
        }
        echoes(&mut socket, &vec![7; 65_000]);
        let part = |bytes: &'static [u8], code, last| {
            Message::Frame(Frame::message(bytes, OpCode::Data(code), last))
        };
        socket.send(part(b"in ", Data::Binary, false)).unwrap();
        socket.send(part(b"parts", Data::Continue, true)).unwrap();
        assert_eq!(received(&mut socket, 8), b"in parts");
        socket.send(Message::Ping(vec![1, 2].into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong(vec![1, 2].into()));
        socket.close(None).unwrap();
        assert!(matches!(socket.read().unwrap(), Message::Close(_)));
        assert_eq!(service.events().len(), 1);
    });
}

#[test]
fn the_tunnel_closes_normally_when_the_instance_closes() {
    world(|service| {
        let mut socket = opened(service);
        socket.send(Message::binary(b"Z".to_vec())).unwrap();
        assert_eq!(closed(&mut socket), (CloseCode::Normal, String::new()));
    });
}

#[test]
fn a_tunnel_ends_after_its_maximum_duration() {
    world(|service| {
        let mut call = handshake();
        call.query += "&maxTunnelDuration=1";
        let started = Instant::now();
        let mut socket = opened_at(endpoint(service), &signed(service, call));
        echoes(&mut socket, b"hello");
        assert_eq!(closed(&mut socket), (CloseCode::Away, "Maximum tunnel duration reached".to_owned()));
        assert!((1.0..30.0).contains(&started.elapsed().as_secs_f64()), "{:?}", started.elapsed());
    });
}

#[test]
fn an_unreachable_port_is_reported_when_closing() {
    world(|service| {
        let private = |id: &str| {
            let mut ip = String::new();
            service.change(|cloud| ip = cloud.instance(id).unwrap().private_ip.clone());
            ip
        };
        for (host, port) in [
            (private(INSTANCE), 3389),
            (private(STOPPED), 22),
            ("192.0.2.1".to_owned(), 22),
            ("localhost".to_owned(), 22),
        ] {
            let mut call = handshake();
            call.query =
                format!("instanceConnectEndpointId={ENDPOINT}&remotePort={port}&privateIpAddress={host}");
            let mut socket = opened_at(endpoint(service), &signed(service, call));
            let expected = (CloseCode::Error, "Unable to connect to target".to_owned());
            assert_eq!(closed(&mut socket), expected, "{host}:{port}");
        }
    });
}

#[test]
fn a_wrong_frame_closes_the_tunnel() {
    world(|service| {
        let mut socket = opened(service);
        socket.send(Message::text("hello")).unwrap();
        assert_eq!(closed(&mut socket), (CloseCode::Unsupported, "Binary frames only".to_owned()));

        let mut socket = opened(service);
        socket.send(Message::binary(vec![0; (1 << 20) + 1])).unwrap();
        assert_eq!(closed(&mut socket).0, CloseCode::Size);

        let unmasked = [0x82, 0x01, b'x'];
        let reserved = [0xf2, 0x80, 0, 0, 0, 0];
        for (what, bytes) in [("not masked", &unmasked[..]), ("reserved bits", &reserved)] {
            let mut socket = opened(service);
            socket.get_mut().write_all(bytes).unwrap();
            assert_eq!(closed(&mut socket).0, CloseCode::Protocol, "{what}");
        }
    });
}

#[test]
fn a_tunnel_ends_when_its_client_disconnects() {
    world(|service| {
        service.change(|cloud| cloud.endpoints[0].connections = 1);
        // In the middle of a frame, of a TLS record, and of nothing.
        let breaks: [fn(Socket); 3] = [
            |mut socket| socket.get_mut().write_all(&[0x82, 0xfe, 0x01]).unwrap(),
            |mut socket| socket.get_mut().get_mut().write_all(&[0x17, 3, 3, 0x40]).unwrap(),
            drop,
        ];
        for give_up in breaks {
            give_up(opened(service));
            let deadline = Instant::now() + Duration::from_secs(60);
            // The next one is accepted as soon as the service has noticed.
            while !head(&mut endpoint(service), &signed(service, handshake())).starts_with("HTTP/1.1 101 ") {
                assert!(Instant::now() < deadline, "the tunnel stays");
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

#[test]
fn an_endpoint_limits_its_connections() {
    world(|service| {
        let sockets: Vec<Socket> = (0..20).map(|_| opened(service)).collect();
        let reply = head(&mut endpoint(service), &signed(service, handshake()));
        assert!(reply.starts_with("HTTP/1.1 429 "), "{reply}");
        drop(sockets);
    });
}

#[test]
fn wrong_handshakes_are_refused() {
    world(|service| {
        let developer = service.principal(DEVELOPER);
        let with = |from: &str, to: &str| {
            let mut call = handshake();
            call.query = call.query.replace(from, to);
            signed(service, call)
        };
        let without = |header: &str| {
            let mut call = handshake();
            call.headers.retain(|(name, _)| name != header);
            signed(service, call)
        };
        let presigned = |scope, at, seconds| {
            let mut call = handshake();
            presign(&mut call, &developer, scope, at, seconds);
            call
        };
        let changed = |change: &dyn Fn(&mut Call)| {
            let mut call = signed(service, handshake());
            change(&mut call);
            call
        };
        let operators = {
            let mut call = handshake();
            presign(&mut call, &service.principal(OPERATOR), SCOPE, now(), Some(60));
            call
        };
        for (what, call, status) in [
            ("another path", changed(&|call| call.path = "/".to_owned()), 404),
            ("another method", changed(&|call| call.method = "POST".to_owned()), 404),
            ("unsigned", handshake(), 403),
            ("expired", presigned(SCOPE, now() - 62, Some(60)), 403),
            ("expired, without X-Amz-Expires", presigned(SCOPE, now() - 302, None), 403),
            ("of tomorrow", presigned(SCOPE, now() + DAY, Some(60)), 403),
            (
                "for too long",
                changed(&|call| call.query = call.query.replace("Expires=60", "Expires=700000")),
                403,
            ),
            ("another region", presigned(("eu-west-1", SCOPE.1), now(), Some(60)), 403),
            ("another service", presigned(("us-east-1", "ec2"), now(), Some(60)), 403),
            (
                "another port than was signed",
                changed(&|call| call.query = call.query.replace("=22", "=3389")),
                403,
            ),
            ("another host", changed(&|call| call.headers[0].1 = "example.com".to_owned()), 403),
            ("for longer than a policy allows", operators, 403),
            ("port 80", with("remotePort=22", "remotePort=80"), 400),
            ("no port", with("&remotePort=22", ""), 400),
            ("no address", with("&privateIpAddress=127.0.0.1", ""), 400),
            ("an endpoint that is not there", with("eice-0", "eice-1"), 400),
            ("no time", with("&remotePort", "&maxTunnelDuration=0&remotePort"), 400),
            ("too much time", with("&remotePort", "&maxTunnelDuration=3601&remotePort"), 400),
            ("no number", with("&remotePort", "&maxTunnelDuration=long&remotePort"), 400),
            ("no upgrade", without("Upgrade"), 400),
            ("no connection", without("Connection"), 400),
            ("no version", without("Sec-WebSocket-Version"), 400),
            ("no key", without("Sec-WebSocket-Key"), 400),
        ] {
            let reply = head(&mut endpoint(service), &call);
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {reply}");
        }
        // The rest of the handshake was correct.
        for seconds in [Some(60), None] {
            let mut socket = opened_at(endpoint(service), &presigned(SCOPE, now(), seconds));
            echoes(&mut socket, b"hello");
        }
    });
}

#[test]
fn the_proxy_connects_to_the_endpoint_only() {
    world(|service| {
        let address = service.proxy_url().replace("http://", "");
        let name = service.endpoint_names().remove(0);
        let asked = |request: &str| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut reply = [0; 12];
            stream.read_exact(&mut reply).unwrap();
            (stream, String::from_utf8(reply.into()).unwrap())
        };
        for (request, status) in [
            ("CONNECT example.com:443 HTTP/1.1\r\n\r\n".to_owned(), 403),
            ("CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n".to_owned(), 403),
            (format!("CONNECT {name}:80 HTTP/1.1\r\n\r\n"), 403),
            (format!("CONNECT {name}:443 HTTP/1.1\r\n\r\nearly"), 403),
            (format!("GET http://{name}/ HTTP/1.1\r\n\r\n"), 405),
        ] {
            assert_eq!(asked(&request).1, format!("HTTP/1.1 {status}"), "{request}");
        }
        let (mut stream, reply) = asked(&format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n"));
        assert_eq!(reply, "HTTP/1.1 200");
        let mut rest = [0; " Connection established\r\n\r\n".len()];
        stream.read_exact(&mut rest).unwrap();
        let mut call = handshake();
        call.headers[0].1.clone_from(&name);
        let mut socket = opened_at(encrypted(service, stream, &name), &signed(service, call));
        echoes(&mut socket, b"hello");
    });
}

#[test]
fn the_service_ends_with_its_tunnels() {
    let instance = Instance::start_without_program();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 22)).unwrap();
    let service = Service::start(&instance);
    let mut socket = opened(&service);
    let (_target, _) = listener.accept().unwrap();
    let started = Instant::now();
    drop(service);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert!(socket.read().is_err());
}
