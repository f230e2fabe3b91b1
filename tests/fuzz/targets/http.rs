//! Any bytes as the metadata service's reply, through a socket: the client ends in time with an answer or an error.
#![no_main]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use eic_keys::imds::Imds;
use eic_keys::imds::facts::UserName;
use eic_keys::limits::{ACTIVE_KEYS, Budget};
use libfuzzer_sys::fuzz_target;

/// A service that gives a token, and then the bytes that it was handed.
struct Service {
    address: SocketAddr,
    replies: SyncSender<Vec<u8>>,
    runtime: tokio::runtime::Runtime,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (replies, handed) = sync_channel::<Vec<u8>>(2);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), Ok(reply)) = (stream, handed.recv()) else { return };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(&reply);
                let _ = stream.shutdown(Shutdown::Write);
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { address, replies, runtime }
    }
}

thread_local! {
    static SERVICE: RefCell<Service> = RefCell::new(Service::start());
}

fuzz_target!(|reply: &[u8]| {
    SERVICE.with_borrow(|service| {
        let user = UserName::parse(b"alice").unwrap();
        // Too short for a second try, which costs a tenth of a second.
        let budget = Budget::start(Duration::from_millis(90));
        let started = Instant::now();
        let token = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ntoken";
        service.replies.send(token.to_vec()).unwrap();
        let keys = service.runtime.block_on(async {
            let imds = Imds::open(&[service.address], budget).await.ok()?;
            service.replies.send(reply.to_vec()).unwrap();
            imds.active_keys(&user).await.ok()?
        });
        if let Some(keys) = keys {
            assert!(keys.len() <= ACTIVE_KEYS && keys.len() <= reply.len());
        }
        assert!(started.elapsed() < Duration::from_secs(2), "took {:?}", started.elapsed());
    });
});
