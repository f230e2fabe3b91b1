//! The service of EC2 Instance Connect, as its clients see it.
//!
//! | module | content |
//! |---|---|
//! | [`cloud`] | the account: instances, endpoints, principals |
//! | [`door`], [`call`] | the listener, on loopback only, and a received request |
//! | [`sigv4`], [`policy`] | authentication and authorization |
//! | [`connect`], [`pushed`] | SendSSHPublicKey, and what may be pushed |
//! | [`ec2`] | DescribeInstances, DescribeInstanceConnectEndpoints |
//! | [`endpoint`], [`tunnel`] | the EC2 Instance Connect Endpoint: TLS, CONNECT, WebSocket, and the bytes inside |
//! | `event`, `clock`, `cloudtrail` | CloudTrail's events, and LookupEvents |
pub mod call;
mod clock;
pub mod cloud;
mod cloudtrail;
pub mod connect;
pub mod door;
pub mod ec2;
pub mod endpoint;
mod event;
pub mod policy;
pub mod pushed;
pub mod sigv4;
mod tunnel;

use crate::http::Reply;
use crate::instance::{Instance, Publisher};
use crate::now;
use crate::pki::REGION;
use call::{Call, Unreadable};
use cloud::Cloud;
use door::Door;
use endpoint::Tls;
use event::Trail;
use policy::Principal;
use serde_json::Value;
use sigv4::{Claim, Refusal};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Where the service listens. The listeners may be in another namespace than the instance: they are on
/// loopback in any case.
#[derive(Debug)]
pub struct Listeners {
    /// The APIs, plain HTTP.
    pub api: TcpListener,
    /// A CONNECT proxy to the endpoint.
    pub proxy: TcpListener,
    /// The endpoint itself, which the clients look for at port 443 only.
    pub tunnel: Option<TcpListener>,
}

impl Listeners {
    /// In the instance's own namespace: the endpoint at 127.0.0.1:443, the rest at free ports.
    ///
    /// # Panics
    /// In a thread outside of it.
    pub fn within(instance: &Instance) -> Self {
        instance.namespace().assert_here();
        let listen = |port| {
            door::listen((Ipv4Addr::LOCALHOST, port).into()).unwrap_or_else(|message| panic!("{message}"))
        };
        Self { api: listen(0), proxy: listen(0), tunnel: Some(listen(443)) }
    }
}

/// The running service. It ends when this value is dropped.
pub struct Service {
    shared: Arc<Shared>,
    tls: Tls,
    api: SocketAddr,
    proxy: SocketAddr,
    _doors: Vec<Door>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("api", &self.api).field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

/// What the threads of all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    cloud: Mutex<Cloud>,
    trail: Trail,
    publisher: Publisher,
    /// Has one reference more for each open tunnel.
    tunnels: Arc<()>,
    /// The second of the last push, and how many there were in it.
    pushes: Mutex<(i64, u32)>,
}

impl Service {
    /// Starts it in the instance's namespace, for the account of [`Cloud::new`].
    pub fn start(instance: &Instance) -> Self {
        Self::start_with(instance, Cloud::new(), Listeners::within(instance))
    }

    /// The same for another account and other listeners.
    pub fn start_with(instance: &Instance, cloud: Cloud, listeners: Listeners) -> Self {
        instance.namespace().assert_here();
        let tls = Tls::new(cloud.endpoints.iter().map(|endpoint| endpoint.dns_name.clone()).collect());
        let shared = Arc::new(Shared {
            cloud: Mutex::new(cloud),
            trail: Trail::default(),
            publisher: instance.publisher(),
            tunnels: Arc::default(),
            pushes: Mutex::default(),
        });
        let answering = Arc::clone(&shared);
        let api = Door::open(listeners.api, move |stream, from| answer(&answering, stream, from));
        let (known, terminating) = (Arc::clone(&shared), tls.clone());
        let proxy = Door::open(listeners.proxy, move |stream, from| {
            endpoint::proxy(&known, &terminating, stream, from);
        });
        let tunnel = listeners.tunnel.map(|listener| {
            let (known, terminating) = (Arc::clone(&shared), tls.clone());
            Door::open(listener, move |stream, from| endpoint::visit(&known, &terminating, stream, from))
        });
        let (api_address, proxy_address) = (api.address, proxy.address);
        let doors = [api, proxy].into_iter().chain(tunnel).collect();
        Self { shared, tls, api: api_address, proxy: proxy_address, _doors: doors }
    }

    /// Where the APIs are: what `AWS_ENDPOINT_URL` takes.
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The address of the APIs.
    pub fn address(&self) -> SocketAddr {
        self.api
    }

    /// Where the CONNECT proxy is: what `HTTPS_PROXY` takes.
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.proxy)
    }

    /// The certificate of the authority behind the endpoint, PEM: what `SSL_CERT_FILE` shall hold.
    pub fn authority(&self) -> &str {
        &self.tls.authority
    }

    /// The names that the endpoints are known by, all at port 443.
    pub fn endpoint_names(&self) -> Vec<String> {
        let cloud = self.shared.cloud.lock().unwrap();
        cloud.endpoints.iter().map(|endpoint| endpoint.dns_name.clone()).collect()
    }

    /// The environment in which AWS's clients use only this service, as the principal with this access key.
    ///
    /// # Panics
    /// If there is no such principal.
    pub fn environment(&self, access_key: &str) -> Vec<(&'static str, String)> {
        let who = self.principal(access_key);
        let token = who.token.map(|token| ("AWS_SESSION_TOKEN", token));
        [
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_ACCESS_KEY_ID", who.access_key),
            ("AWS_SECRET_ACCESS_KEY", who.secret),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            // The configuration of the machine's user for the real AWS must not be used.
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
            ("AWS_PAGER", String::new()),
        ]
        .into_iter()
        .chain(token)
        .collect()
    }

    /// The principal with this access key, its secret too.
    ///
    /// # Panics
    /// If there is none.
    pub fn principal(&self, access_key: &str) -> Principal {
        let cloud = self.shared.cloud.lock().unwrap();
        cloud.principals.iter().find(|p| p.access_key == access_key).expect("a principal").clone()
    }

    /// Changes the account.
    pub fn change(&self, change: impl FnOnce(&mut Cloud)) {
        change(&mut self.shared.cloud.lock().unwrap());
    }

    /// CloudTrail's events, in order. A call with a wrong signature has none.
    pub fn events(&self) -> Vec<Value> {
        self.shared.trail.all()
    }
}

impl Shared {
    /// The principal that signed this call.
    fn authenticate(&self, call: &Call, service: &str) -> Result<Principal, Refusal> {
        let claim = Claim::of(call)?;
        let cloud = self.cloud.lock().unwrap();
        let known = |p: &&Principal| p.access_key == claim.access_key && p.token == claim.token;
        let who = cloud.principals.iter().find(known).cloned().ok_or(Refusal::UnknownKey)?;
        drop(cloud);
        claim.verify(call, &who.secret, (REGION, service), now())?;
        Ok(who)
    }

    /// Whether one more push is allowed in this second.
    fn may_push(&self) -> bool {
        let most = self.cloud.lock().unwrap().pushes_per_second;
        let mut pushes = self.pushes.lock().unwrap();
        let second = now();
        if pushes.0 != second {
            *pushes = (second, 0);
        }
        let room = pushes.1 < most;
        pushes.1 += u32::from(room);
        room
    }
}

/// Serves a connection to the APIs: one request, one reply.
fn answer(shared: &Shared, mut stream: TcpStream, from: SocketAddr) {
    let request = event::uuid();
    let reply = match Call::read(&mut stream, from, &mut Vec::new()) {
        Ok(call) => dispatch(shared, &call, &request),
        Err(Unreadable::Gone) => return,
        Err(Unreadable::Malformed) => connect::unreadable(400, "the request cannot be read"),
        Err(Unreadable::TooLarge) => {
            let message = format!("HTTP content length exceeded {} bytes.", call::MAX_BODY);
            connect::unreadable(413, &message)
        }
    };
    let reply = reply.with("x-amzn-RequestId", &request).with("Server", "Server");
    let sent = stream.write_all(&[reply.head(reply.body.len()), reply.body.clone()].concat());
    // What the client still sends must be read: otherwise closing resets the connection, and the client loses the reply.
    if sent.is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
        let _ = std::io::copy(&mut stream.take(2 * call::MAX_BODY as u64), &mut std::io::sink());
    }
}

fn dispatch(shared: &Shared, call: &Call, request: &str) -> Reply {
    let is_form =
        call.header("Content-Type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/") if call.header("X-Amz-Target").is_none() && is_form => {
            ec2::answer(shared, call, request)
        }
        ("POST", "/") if cloudtrail::is_meant(call) => cloudtrail::answer(shared, call),
        ("POST", "/") => connect::answer(shared, call, request),
        _ => connect::unreadable(404, "there is nothing but POST / here"),
    }
}
