//! The service's listener: a thread for each connection, on loopback only.
use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Idle connections are closed after this time, except tunnels.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Listens on a loopback address, in the namespace of the calling thread.
///
/// # Errors
/// For any other address, and if it is in use.
pub fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    if !address.ip().is_loopback() {
        return Err(format!("{} is not loopback, and the laboratory listens nowhere else", address.ip()));
    }
    TcpListener::bind(address).map_err(|e| format!("cannot listen on {address}: {e}"))
}

/// A listener. It and its connections are closed when this value is dropped.
#[derive(Debug)]
pub struct Door {
    /// Its address.
    pub address: SocketAddr,
    listener: TcpListener,
    accepting: Option<JoinHandle<()>>,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug, Default)]
struct Inside {
    closed: bool,
    count: usize,
    streams: HashMap<usize, TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Door {
    /// Accepts connections, each in its own thread.
    pub fn open(
        listener: TcpListener,
        serve: impl Fn(TcpStream, SocketAddr) + Clone + Send + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let inside: Arc<Mutex<Inside>> = Arc::default();
        let (incoming, visitors) = (listener.try_clone().unwrap(), Arc::clone(&inside));
        let accepting = std::thread::spawn(move || {
            while let Ok((stream, from)) = incoming.accept() {
                let serve = serve.clone();
                enter(&visitors, stream, from, serve);
            }
        });
        Self { address, listener, accepting: Some(accepting), inside }
    }
}

fn enter(
    visitors: &Arc<Mutex<Inside>>,
    stream: TcpStream,
    from: SocketAddr,
    serve: impl Fn(TcpStream, SocketAddr) + Send + 'static,
) {
    let Ok(handle) = stream.try_clone() else { return };
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let mut inside = visitors.lock().unwrap();
    if inside.closed {
        return;
    }
    inside.count += 1;
    let number = inside.count;
    inside.streams.insert(number, handle);
    inside.threads.retain(|thread| !thread.is_finished());
    let mine = Arc::clone(visitors);
    inside.threads.push(std::thread::spawn(move || {
        serve(stream, from);
        // The last handle of the stream is dropped here, so that the client sees its end.
        mine.lock().unwrap().streams.remove(&number);
    }));
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        let threads = {
            let mut inside = self.inside.lock().unwrap();
            inside.closed = true;
            inside.streams.values().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
            std::mem::take(&mut inside.threads)
        };
        for thread in threads {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_accepted() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "169.254.169.254:0", "[2001:db8::1]:0"] {
            let refused = listen(address.parse().unwrap()).unwrap_err();
            assert!(refused.contains("is not loopback"), "{address}: {refused}");
        }
        assert!(listen("127.0.0.1:0".parse().unwrap()).is_ok());
    }
}
