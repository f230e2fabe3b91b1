//! The instance metadata service, version 2, as it behaves on an instance.
use crate::fault::{Fault, On, plain};
use crate::http::{Connection, Reply, Request, Stop, decoded};
use crate::namespace::Namespace;
use crate::now;
use nix::sys::socket::{self, Backlog};
use openssl::base64::encode_block;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a pushed key is published.
pub const PUBLISHED: Duration = Duration::from_secs(60);

/// What a client finds at an address of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The service.
    Serving,
    /// The address exists but nothing listens: connection refused.
    Refusing,
    /// Connections are accepted but never read from.
    Deaf,
    /// Packets to it are dropped, because the queue of a listener is full. Connecting never completes.
    Dropping,
    /// The address does not exist, and there is no route to it.
    Absent,
}

/// The protocol of replies without a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// `Connection: close` on every reply, as in every capture.
    #[default]
    Closing,
    /// Connections stay open for the next request.
    KeepAlive,
    /// `HTTP/1.0 200 OK`, and closed.
    Http10,
}

/// The service. A clone is the same service.
#[derive(Clone, Debug)]
pub struct Imds {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    stop: Arc<Stop>,
    connections: AtomicUsize,
    open: Mutex<HashMap<usize, Arc<TcpStream>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    listeners: Mutex<HashMap<IpAddr, Listener>>,
}

#[derive(Debug, Default)]
struct State {
    /// Path below `/latest/meta-data/` → body.
    metadata: BTreeMap<String, Vec<u8>>,
    published: BTreeMap<String, Vec<Published>>,
    tokens: HashMap<String, Instant>,
    switched_off: bool,
    manner: Manner,
    pace: Option<Duration>,
    /// Seconds that its clock is ahead of the machine's.
    ahead: i64,
    faults: Vec<(On, Fault)>,
    requests: Vec<Request>,
}

#[derive(Debug)]
struct Published {
    record: Vec<u8>,
    until: Instant,
}

const KEYS: &str = "managed-ssh-keys/active-keys";
const ROOT: &str = "/latest/meta-data";

impl Imds {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// Sets the body of a category below `/latest/meta-data/`.
    pub fn set(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.state(|s| s.metadata.insert(path.trim_matches('/').to_owned(), body.into()));
    }

    /// Removes a category and all below it: 404.
    pub fn remove(&self, path: &str) {
        let (path, below) = (path.trim_matches('/'), format!("{}/", path.trim_matches('/')));
        self.state(|s| s.metadata.retain(|key, _| key != path && !key.starts_with(&below)));
    }

    /// Publishes a record for a user for 60 seconds, after the existing ones.
    pub fn publish(&self, user: &str, record: impl Into<Vec<u8>>) {
        self.publish_for(user, record, PUBLISHED);
    }

    /// The same for another time.
    pub fn publish_for(&self, user: &str, record: impl Into<Vec<u8>>, time: Duration) {
        let published = Published { record: record.into(), until: Instant::now() + time };
        self.state(|s| s.published.entry(user.to_owned()).or_default().push(published));
    }

    /// What is published for a user, as it is served.
    pub fn published(&self, user: &str) -> Vec<u8> {
        self.body(&format!("{KEYS}/{user}")).unwrap_or_default()
    }

    /// The body that is served at a path below `/latest/meta-data/`; `None` for 404.
    pub fn body(&self, path: &str) -> Option<Vec<u8>> {
        self.state(|s| s.lookup(&format!("{ROOT}/{path}")))
    }

    /// Removes all records of a user.
    pub fn unpublish(&self, user: &str) {
        self.state(|s| s.published.remove(user));
    }

    /// Adds a fault. If two apply to a request, the first one is used.
    pub fn fault(&self, on: On, fault: Fault) {
        self.state(|s| s.faults.push((on, fault)));
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.state(|s| s.faults.clear());
    }

    /// Delays every reply by this time, which makes [`crate::http::rounds`] exact.
    pub fn pace(&self, time: Duration) {
        self.state(|s| s.pace = Some(time));
    }

    /// Sets its clock, and the dates of its replies, this many seconds ahead of the machine's.
    pub fn clock_ahead(&self, seconds: i64) {
        self.state(|s| s.ahead = seconds);
    }

    /// Sets the protocol of replies without a fault.
    pub fn manner(&self, manner: Manner) {
        self.state(|s| s.manner = manner);
    }

    /// Disables the service, as an instance's owner can: 403 for every request.
    pub fn switch_off(&self) {
        self.state(|s| s.switched_off = true);
    }

    /// Makes all tokens invalid: 401.
    pub fn expire_tokens(&self) {
        self.state(|s| s.tokens.clear());
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.state(|s| s.requests.clone())
    }

    /// The paths asked for so far, in the order of arrival.
    pub fn paths(&self) -> Vec<String> {
        self.state(|s| s.requests.iter().map(|r| r.path.clone()).collect())
    }

    /// Discards the requests so far.
    pub fn clear_requests(&self) {
        self.state(|s| s.requests.clear());
    }

    /// The number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The number of packets on the disguise's loopback so far, in both directions: only the service's, unless there is an sshd.
    ///
    /// # Panics
    /// If the kernel does not report it.
    pub fn packets(&self) -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).expect("a loopback")
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.shared.state.lock().unwrap())
    }

    /// Changes what is at an address, which must be one of the disguise's own.
    pub(crate) fn listen(&self, namespace: &Namespace, ip: IpAddr, endpoint: Endpoint) {
        namespace.assert_here();
        let mut listeners = self.shared.listeners.lock().unwrap();
        listeners.remove(&ip);
        let address = SocketAddr::new(ip, 80);
        let listener = match endpoint {
            Endpoint::Absent | Endpoint::Refusing => return,
            Endpoint::Serving => Listener::serving(address, self.clone()),
            Endpoint::Deaf => Listener::deaf(address),
            Endpoint::Dropping => Listener::dropping(address),
        };
        listeners.insert(ip, listener);
    }

    /// Ends every thread and connection.
    pub(crate) fn close(&self) {
        self.shared.stop.stop();
        self.shared.listeners.lock().unwrap().clear();
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in std::mem::take(&mut *self.shared.threads.lock().unwrap()) {
            let _ = thread.join();
        }
    }

    fn accept(&self, stream: TcpStream, from: SocketAddr) {
        let number = self.shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let stream = Arc::new(stream);
        let _ = stream.set_nodelay(true);
        self.shared.open.lock().unwrap().insert(number, Arc::clone(&stream));
        let mut connection = Connection::new(number, stream, from, Arc::clone(&self.shared.stop));
        let service = self.clone();
        let thread = std::thread::spawn(move || {
            while let Some(request) = connection.read() {
                if !matches!(service.serve(request, &mut connection), Ok(true)) {
                    break;
                }
            }
            // The connection is closed when the last owner of the stream is dropped.
            service.shared.open.lock().unwrap().remove(&number);
        });
        let mut threads = self.shared.threads.lock().unwrap();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }

    /// Answers a request. Returns whether another may follow on the connection.
    fn serve(&self, mut request: Request, connection: &mut Connection) -> std::io::Result<bool> {
        let (reply, fault, pace, manner, index) = self.state(|s| {
            let reply = s.answer(&request).dated(now() + s.ahead);
            request.status = reply.status;
            let fault = s.faults.iter().find(|(on, _)| on.applies_to(&request.path)).map(|(_, f)| f.clone());
            s.requests.push(request);
            (reply, fault, s.pace, s.manner, s.requests.len() - 1)
        });
        let reply = match manner {
            Manner::Closing => reply,
            Manner::KeepAlive => reply.with("Connection", "keep-alive"),
            Manner::Http10 => Reply { version: "HTTP/1.0", ..reply },
        };
        let held = pace.map_or(Ok(()), |time| connection.wait(time));
        // Set before the reply is sent, because the client's next request could come before this thread continues.
        self.state(|s| {
            if let Some(request) = s.requests.get_mut(index) {
                request.answered = Some(Instant::now());
            }
        });
        let result = held.and_then(|()| match fault {
            None => plain(&reply, connection),
            Some(fault) => fault.write(reply, connection),
        });
        let stays = manner == Manner::KeepAlive && matches!(result, Ok(true));
        if result.is_ok() && !stays {
            connection.finish();
        }
        result.map(|_| stays)
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        if self.switched_off || request.header("X-Forwarded-For").is_some() {
            return Reply::error(403);
        }
        if request.path.trim_end_matches('/') == "/latest/api/token" {
            return self.token(request);
        }
        let token = request.header("X-aws-ec2-metadata-token").unwrap_or_default();
        if self.tokens.get(token).is_none_or(|until| *until <= Instant::now()) {
            return Reply::new(401, "");
        }
        if request.method != "GET" && request.method != "HEAD" {
            return Reply::error(405);
        }
        let reply =
            self.lookup(&request.path).map_or_else(|| Reply::error(404), |body| Reply::new(200, body));
        if request.method == "HEAD" { Reply { body: Vec::new(), ..reply } } else { reply }
    }

    fn token(&mut self, request: &Request) -> Reply {
        const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
        if request.method != "PUT" {
            return Reply::error(405).with("Allow", "OPTIONS, PUT");
        }
        let seconds = request.header(TTL).and_then(|value| value.parse::<u64>().ok());
        let Some(seconds @ 1..=21_600) = seconds else { return Reply::error(400) };
        let mut random = [0; 42];
        openssl::rand::rand_bytes(&mut random).unwrap();
        let token = encode_block(&random).replace('+', "-").replace('/', "_");
        self.tokens.insert(token.clone(), Instant::now() + Duration::from_secs(seconds));
        Reply::new(200, token).with("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", &seconds.to_string())
    }

    fn lookup(&mut self, path: &str) -> Option<Vec<u8>> {
        self.published.values_mut().for_each(|records| records.retain(|r| r.until > Instant::now()));
        self.published.retain(|_, records| !records.is_empty());
        let path = decoded(path.strip_prefix(ROOT)?);
        let path = path.trim_matches('/');
        if let Some(body) = self.metadata.get(path) {
            return Some(body.clone());
        }
        if let Some(records) = path.strip_prefix(KEYS).and_then(|user| self.published.get(user.get(1..)?)) {
            let blocks: Vec<&[u8]> = records.iter().map(|r| r.record.as_slice()).collect();
            return Some(blocks.join(&b'\n'));
        }
        let users = self.published.keys().map(|user| format!("{KEYS}/{user}"));
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut names: Vec<String> = Vec::new();
        for key in self.metadata.keys().cloned().chain(users) {
            if let Some(rest) = key.strip_prefix(&prefix) {
                let name =
                    rest.split_once('/').map_or(rest.to_owned(), |(directory, _)| format!("{directory}/"));
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        if names.is_empty() { None } else { Some(names.join("\n").into_bytes()) }
    }
}

/// What listens at an address.
#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    thread: Option<JoinHandle<()>>,
    _queue: Vec<TcpStream>,
}

impl Listener {
    fn serving(address: SocketAddr, service: Imds) -> Self {
        let listener = bind(address);
        let socket = listener.try_clone().unwrap().into();
        let thread = std::thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept() {
                service.accept(stream, from);
            }
        });
        Self { socket, thread: Some(thread), _queue: Vec::new() }
    }

    /// The kernel takes connections for a listener that never accepts them.
    fn deaf(address: SocketAddr) -> Self {
        Self { socket: bind(address).into(), thread: None, _queue: Vec::new() }
    }

    /// The kernel drops the packets of new connections while the listener's queue is full.
    fn dropping(address: SocketAddr) -> Self {
        let socket: OwnedFd = bind(address).into();
        socket::listen(&socket, Backlog::new(0).unwrap()).unwrap();
        let patience = Duration::from_millis(20);
        let queue = std::iter::from_fn(|| TcpStream::connect_timeout(&address, patience).ok()).collect();
        Self { socket, thread: None, _queue: queue }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = socket::shutdown(self.socket.as_raw_fd(), socket::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).unwrap_or_else(|e| panic!("cannot listen on {address}: {e}"))
}
