//! Any bytes as the metadata service's reply, through a socket: the client ends in time with an answer or an error.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use eic_keys::ec2::UserName;
use eic_keys::imds::Imds;
use eic_keys::limits::{ACTIVE_KEYS, Budget};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

/// A service that gives a token, and the current input for all other paths.
struct Service {
    address: SocketAddr,
    reply: Arc<Mutex<Vec<u8>>>,
    runtime: Runtime,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let reply = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&reply);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let reply = if request[..length].starts_with(b"PUT") {
                    TOKEN.to_vec()
                } else {
                    told.lock().unwrap().clone()
                };
                let _ = stream.write_all(&reply);
                let _ = stream.shutdown(Shutdown::Write);
            }
        });
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { address, reply, runtime }
    }
}

const TOKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ntoken";

static SERVICE: LazyLock<Service> = LazyLock::new(Service::start);

fuzz_target!(|reply: &[u8]| {
    let user = UserName::parse(b"alice").unwrap();
    *SERVICE.reply.lock().unwrap() = reply.to_vec();
    // Too short for a second attempt, which takes a tenth of a second.
    let budget = Budget::start(Duration::from_millis(90));
    let started = Instant::now();
    let keys = SERVICE.runtime.block_on(async {
        let imds = Imds::open(&[SERVICE.address], budget).await.ok()?;
        imds.active_keys(&user).await.ok()?
    });
    if let Some(keys) = keys {
        assert!(keys.len() <= ACTIVE_KEYS && keys.len() <= reply.len());
    }
    // Generous, because the machine may be busy: a client without a time limit would not end at all.
    assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
});
