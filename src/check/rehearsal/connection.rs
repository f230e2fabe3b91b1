//! The one connection of a rehearsal's login: of ssh to this process, which passes it to sshd.
//!
//! ssh connects to a port of 127.0.0.1 on which this process listens. Connections of other processes are closed before a byte is read,
//! so only ssh ever speaks to this sshd.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::processes::descendants;
use crate::limits;
use crate::process::{Collected, TrustedCommand};
use crate::procfs;
use crate::safe_path::Program;

/// The home directory of ssh and sshd: no file of root's is read.
pub(super) const NO_HOME: &str = "/nonexistent";

/// Listens on a port of 127.0.0.1. Returns its address, too.
///
/// # Errors
/// Fails if there is no such address.
pub(super) fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| {
        io::Error::new(error.kind(), format!("it needs the address 127.0.0.1 of the interface lo: {error}"))
    })?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Waits for the connection of `ssh`, which prints `output`, to `address`. Closes any other.
///
/// # Errors
/// Fails if ssh ends, or does not connect before `deadline`.
pub(super) fn accept(
    listener: &TcpListener,
    address: SocketAddr,
    ssh: &mut Child,
    output: &Collected,
    deadline: Instant,
) -> io::Result<TcpStream> {
    loop {
        match listener.accept() {
            Ok((connection, peer)) if is_of(ssh.id(), peer, address) => {
                connection.set_nonblocking(false)?;
                return Ok(connection);
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if let Some(status) = ssh.try_wait()? {
                    thread::sleep(limits::REHEARSAL_PAUSE);
                    return Err(io::Error::other(format!("ssh: {status}: {}", output.text().trim_end())));
                }
                if Instant::now() >= deadline {
                    return Err(io::Error::new(ErrorKind::TimedOut, "ssh did not connect in time"));
                }
                thread::sleep(Duration::from_millis(2));
            }
            // A client that closed its connection again.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the other end of a connection, `peer`, is of this process or of a child of it.
fn is_of(process: u32, peer: SocketAddr, local: SocketAddr) -> bool {
    let sockets = procfs::tcp_sockets(Path::new("/proc/thread-self"));
    let socket = sockets.iter().find(|socket| socket.local == peer && socket.remote == local);
    let Some(inode) = socket.map(|socket| socket.inode).filter(|inode| *inode != 0) else { return false };
    let children = descendants(process).into_iter().map(|child| child.pid);
    let mut processes = [process].into_iter().chain(children);
    processes.any(|pid| procfs::open_sockets(Path::new(&format!("/proc/{pid}"))).contains(&inode))
}

/// Starts an sshd for this connection, in a session of its own, as the daemon's: without root's terminal, to which a program that PAM
/// starts for the user could add characters (see `process::Credentials`). A key that is pressed there does not reach
/// it, and it ends in order when the connection does.
pub(super) fn serve(setsid: &Program, sshd: &TrustedCommand, connection: TcpStream) -> io::Result<Child> {
    let mut command = TrustedCommand::new(setsid.clone()).running(sshd).to_std();
    command
        .env("HOME", NO_HOME)
        .stdin(OwnedFd::from(connection.try_clone()?))
        .stdout(OwnedFd::from(connection))
        .stderr(Stdio::piped());
    command.spawn().map_err(named("setsid"))
}

/// Adds the name of the program to the error.
pub(super) fn named(program: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{program} cannot be run: {error}"))
}
