//! The entry of an EC2 Instance Connect Endpoint: TLS, at port 443 or behind a CONNECT proxy, and the checks of a handshake.
use super::Shared;
use super::call::{Call, Unreadable};
use super::cloud::{Ec2Instance, endpoint_arn};
use super::connect::{SERVICE, not_authorized};
use super::event::{Done, uuid};
use super::policy::Principal;
use super::sigv4::Refusal;
use super::tunnel;
use crate::cert::CertSpec;
use crate::http::Reply;
use crate::instance::INSTANCE;
use crate::key::{Hash, Key};
use openssl::base64::encode_block;
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod, SslStream};
use openssl::x509::X509;
use serde_json::Value;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// The maximum duration of a tunnel in seconds, and the default.
pub const MAX_DURATION: u32 = 3600;
/// The ports that an endpoint connects to.
pub const PORTS: [u16; 2] = [22, 3389];
const ACTION: &str = "ec2-instance-connect:OpenTunnel";
/// The time limit of a connection to an instance's port.
const CONNECT: Duration = Duration::from_secs(5);

/// The endpoint's TLS, with a certificate of the laboratory's own authority.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: SslAcceptor,
    /// The authority's certificate, PEM.
    pub(crate) authority: String,
}

impl Tls {
    /// A certificate for `localhost` and these names.
    pub(crate) fn new(names: Vec<String>) -> Self {
        let authority = CertSpec::authority("Laboratory Endpoint CA", Key::p256()).self_signed();
        let mut spec = CertSpec::signer("localhost", Key::p256());
        spec.alternative_names = [vec!["localhost".to_owned()], names].concat();
        let cert = spec.issued_by(&authority);
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        let key = PKey::private_key_from_pem(cert.key.to_pem().as_bytes()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.set_certificate(&X509::from_der(&cert.der).unwrap()).unwrap();
        Self { acceptor: acceptor.build(), authority: authority.to_pem() }
    }
}

/// Serves a connection to the CONNECT proxy, which connects to endpoints by name only.
pub(crate) fn proxy(shared: &Shared, tls: &Tls, mut stream: TcpStream, from: SocketAddr) {
    let mut buffer = Vec::new();
    let Ok(call) = Call::read(&mut stream, from, &mut buffer) else { return };
    let cloud = shared.cloud.lock().unwrap().clone();
    let known = |target: &str| {
        let host = target.strip_suffix(":443");
        host.is_some_and(|host| host == "localhost" || cloud.endpoints.iter().any(|e| e.dns_name == host))
    };
    let refusal = match (call.method.as_str(), call.path.as_str()) {
        ("CONNECT", target) if known(target) && buffer.is_empty() => {
            if stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").is_ok() {
                visit(shared, tls, stream, from);
            }
            return;
        }
        ("CONNECT", target) => {
            (403, format!("{target} is no endpoint of the laboratory, and nothing else is reached"))
        }
        _ => (405, "this is a CONNECT proxy".to_owned()),
    };
    send(&mut stream, &Reply::new(refusal.0, refusal.1));
}

/// Serves a connection to an endpoint.
pub(crate) fn visit(shared: &Shared, tls: &Tls, stream: TcpStream, from: SocketAddr) {
    let Ok(mut stream) = tls.acceptor.accept(stream) else { return };
    let mut buffer = Vec::new();
    let request = uuid();
    let reply = match Call::read(&mut stream, from, &mut buffer) {
        Ok(call) => match open(shared, &call, &request) {
            Ok(opened) => {
                if stream.write_all(&switching(&call, &request)).is_ok() {
                    tunnel::run(stream, buffer, opened.target, opened.duration);
                }
                drop(opened.ticket);
                return;
            }
            Err((status, message)) => Reply::new(status, message),
        },
        Err(Unreadable::Gone) => return,
        Err(Unreadable::Malformed) => Reply::new(400, "Bad Request"),
        Err(Unreadable::TooLarge) => Reply::new(413, "Request Entity Too Large"),
    };
    send(&mut stream, &reply.with("x-amzn-RequestId", &request));
    let _ = stream.shutdown();
    let _ = stream.get_ref().shutdown(Shutdown::Write);
}

fn send(stream: &mut impl Write, reply: &Reply) {
    let head = reply.head(reply.body.len());
    let _ =
        stream.write_all(&head).and_then(|()| stream.write_all(&reply.body)).and_then(|()| stream.flush());
}

/// The reply that opens the WebSocket (RFC 6455 section 4.2.2).
fn switching(call: &Call, request: &str) -> Vec<u8> {
    let key = call.header("Sec-WebSocket-Key").unwrap_or_default();
    let accept = Hash::Sha1.of(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    let accept = encode_block(&accept);
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
    format!("{head}\r\nSec-WebSocket-Accept: {accept}\r\nx-amzn-RequestId: {request}\r\n\r\n").into_bytes()
}

/// A tunnel that may be opened.
struct Opened {
    /// Held while the tunnel exists.
    ticket: Arc<()>,
    /// The connection to the instance's port, or `None` if there is none.
    target: Option<TcpStream>,
    duration: Duration,
}

/// Status and message.
type Failure = (u16, String);

fn open(shared: &Shared, call: &Call, request: &str) -> Result<Opened, Failure> {
    if (call.method.as_str(), call.path.as_str()) != ("GET", "/openTunnel") {
        return Err((404, "Not Found".to_owned()));
    }
    let who = shared.authenticate(call, SERVICE).map_err(refused)?;
    let asked = Asked::read(call);
    let opened = asked.as_ref().map_err(Clone::clone).and_then(|asked| asked.open(shared, &who, call));
    let names = ["instanceConnectEndpointId", "maxTunnelDuration", "remotePort", "privateIpAddress"];
    let parameters = names.map(|name| (name.to_owned(), call.parameter(name).into()));
    let error = opened.as_ref().err().map(|(status, message)| {
        let code = match status {
            403 => "AccessDenied",
            429 => "LimitExceeded",
            _ => "InvalidParameter",
        };
        (code, message.as_str())
    });
    let done = Done {
        service: SERVICE,
        name: "OpenTunnel",
        request,
        parameters: Value::Object(parameters.into_iter().collect()),
        response: Value::Null,
        read_only: false,
        error,
    };
    shared.trail.add(&who, call, &done);
    opened
}

/// A client's request.
struct Asked {
    endpoint: String,
    host: String,
    port: u16,
    duration: u32,
}

impl Asked {
    fn read(call: &Call) -> Result<Self, Failure> {
        let need = |name: &str| {
            call.parameter(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| wrong(&format!("{name} is missing")))
        };
        let lists = |name: &str, word: &str| {
            let value = call.header(name).unwrap_or_default();
            value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word))
        };
        let key = openssl::base64::decode_block(call.header("Sec-WebSocket-Key").unwrap_or_default());
        if !lists("Upgrade", "websocket")
            || !lists("Connection", "Upgrade")
            || call.header("Sec-WebSocket-Version") != Some("13")
            || !key.is_ok_and(|key| key.len() == 16)
        {
            return Err(wrong("this is no WebSocket handshake"));
        }
        let port = need("remotePort")?;
        let port = port.parse().ok().filter(|port| PORTS.contains(port));
        let duration = match call.parameter("maxTunnelDuration") {
            None => Some(MAX_DURATION),
            Some(text) => text.parse().ok().filter(|seconds| (1..=MAX_DURATION).contains(seconds)),
        };
        Ok(Self {
            endpoint: need("instanceConnectEndpointId")?,
            host: need("privateIpAddress")?,
            port: port.ok_or_else(|| wrong("remotePort must be 22 or 3389"))?,
            duration: duration.ok_or_else(|| wrong("maxTunnelDuration must be from 1 to 3600"))?,
        })
    }

    fn open(&self, shared: &Shared, who: &Principal, call: &Call) -> Result<Opened, Failure> {
        let cloud = shared.cloud.lock().unwrap().clone();
        let endpoint = cloud.endpoints.iter().find(|endpoint| endpoint.id == self.endpoint);
        let endpoint = endpoint.ok_or_else(|| wrong("the endpoint does not exist"))?;
        let context = [
            ("aws:SourceIp", call.from.ip().to_string()),
            ("ec2-instance-connect:remotePort", self.port.to_string()),
            ("ec2-instance-connect:privateIpAddress", self.host.clone()),
            ("ec2-instance-connect:maxTunnelDuration", self.duration.to_string()),
        ];
        let resource = endpoint_arn(&endpoint.id);
        who.may(ACTION, &resource, &context)
            .map_err(|denied| (403, not_authorized(who, ACTION, &resource, denied)))?;
        let behind = |i: &&Ec2Instance| {
            i.vpc == endpoint.vpc && (i.private_ip == self.host || i.private_name == self.host)
        };
        let ticket = Arc::clone(&shared.tunnels);
        // One more reference is the endpoint's own.
        if Arc::strong_count(&ticket) - 1 > endpoint.connections {
            return Err((429, format!("the endpoint carries {} connections already", endpoint.connections)));
        }
        Ok(Opened {
            ticket,
            target: cloud.instances.iter().find(behind).and_then(|instance| reach(instance, self.port)),
            duration: Duration::from_secs(self.duration.into()),
        })
    }
}

/// The ports of this machine's instance are on the loopback of its namespace; the other instances do not answer.
fn reach(instance: &Ec2Instance, port: u16) -> Option<TcpStream> {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let here = instance.id == INSTANCE;
    here.then(|| TcpStream::connect_timeout(&address, CONNECT).ok()).flatten()
}

fn wrong(what: &str) -> Failure {
    (400, format!("Invalid request: {what}"))
}

fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Missing => (403, "Missing Authentication Token".to_owned()),
        Refusal::Incomplete(what) | Refusal::Scope(what) | Refusal::Time(what) => (403, what),
        Refusal::UnknownKey => (403, "The security token included in the request is invalid.".to_owned()),
        Refusal::Mismatch => {
            (403, "The request signature we calculated does not match the signature you provided.".to_owned())
        }
    }
}

/// A connection inside TLS.
pub(crate) type Stream = SslStream<TcpStream>;
