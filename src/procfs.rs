//! Reads processes and TCP sockets from `/proc` (proc(5)).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::files;
use crate::limits;

/// A TCP socket of `proc_net_tcp(5)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TcpSocket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) listens: bool,
    /// Zero for a socket that no process has open.
    pub(crate) inode: u64,
}

impl TcpSocket {
    /// Parses a line. `None` for the heading.
    fn parse(line: &str) -> Option<Self> {
        const LISTEN: &str = "0A";
        let fields: Vec<_> = line.split_whitespace().collect();
        Some(Self {
            local: address(fields.get(1)?)?,
            remote: address(fields.get(2)?)?,
            listens: fields.get(3) == Some(&LISTEN),
            inode: fields.get(9)?.parse().ok()?,
        })
    }
}

/// `0100007F:0016`: each word of the address is in the byte order of the machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes())),
        32 => {
            let mut bytes = Vec::new();
            for at in [0, 8, 16, 24] {
                let word = address.get(at..)?.get(..8)?;
                bytes.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

/// The TCP sockets of a network namespace. `process` is the directory of a process or thread in it, or `/proc`.
pub(crate) fn tcp_sockets(process: &Path) -> Vec<TcpSocket> {
    let tables = ["net/tcp", "net/tcp6"].into_iter().filter_map(|table| text(&process.join(table)));
    tables.flat_map(|table| table.lines().filter_map(TcpSocket::parse).collect::<Vec<_>>()).collect()
}

/// The inodes of the sockets that a process has open. Only root can read those of other users.
pub(crate) fn open_sockets(process: &Path) -> Vec<u64> {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

/// The TCP sockets that a process listens on, in its network namespace.
pub(crate) fn listening(process: &Path) -> Vec<TcpSocket> {
    let open = open_sockets(process);
    let mut sockets = tcp_sockets(process);
    sockets.retain(|socket| socket.listens && open.contains(&socket.inode));
    sockets
}

/// When the system was started, in whole seconds since 1970. `proc` is the directory `/proc`.
pub(crate) fn boot_time(proc: &Path) -> Option<Duration> {
    let stat = text(&proc.join("stat"))?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// A process. Its start time tells it from a later process with the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// A signal stopped it, such as SIGSTOP.
    pub(crate) is_stopped: bool,
    /// The process that began its session, by setsid(2).
    pub(crate) session: u32,
    /// In ticks since the boot, see [`Process::since_boot`].
    pub(crate) started: u64,
    pub(crate) name: String,
}

impl Process {
    /// Reads a process from its directory.
    pub(crate) fn read(process: &Path) -> Option<Self> {
        Self::parse(&text(&process.join("stat"))?)
    }

    /// The time from the boot to its start. A tick is 1/100 s on all architectures that EC2 has (`USER_HZ`).
    pub(crate) fn since_boot(&self) -> Duration {
        Duration::from_millis(self.started.saturating_mul(10))
    }

    /// Parses `proc_pid_stat(5)`. The name, in parentheses, can contain any character.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split(' ').collect();
        Some(Self {
            pid: pid.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            is_stopped: *fields.first()? == "T",
            session: fields.get(3)?.parse().ok()?,
            started: fields.get(19)?.trim_end().parse().ok()?,
            name: name.to_owned(),
        })
    }
}

/// A field of `proc_pid_status(5)`. `process`: the directory of the process.
pub(crate) fn status(process: &Path, field: &str) -> Option<String> {
    let status = text(&process.join("status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// The real user of a process.
pub(crate) fn real_user(process: &Path) -> Option<u32> {
    status(process, "Uid")?.split_whitespace().next()?.parse().ok()
}

/// The numbers of the processes in `/proc`, or of as many as are examined.
pub(crate) fn processes(proc: &Path) -> impl Iterator<Item = u32> {
    /// The kernel's default limit is 32768, and higher only on large machines.
    const MAX_PROCESSES: usize = 100_000;
    let entries = fs::read_dir(proc).into_iter().flatten().flatten().take(MAX_PROCESSES);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The number of threads that a user runs, which its limit of processes counts. Those of other user namespaces are left out.
pub(crate) fn threads_of(root: &Path, uid: u32) -> u64 {
    let proc = root.join("proc");
    let mut found = 0_u64;
    for pid in processes(&proc) {
        let process = proc.join(pid.to_string());
        if real_user(&process) == Some(uid) && !is_in_other_namespace(root, pid, "user") {
            let threads = status(&process, "Threads").and_then(|threads| threads.parse().ok());
            found = found.saturating_add(threads.unwrap_or_default());
        }
    }
    found
}

/// Sends a signal to a process if, after it cannot be mistaken for a later one with its number, `is_it` says that it is the one
/// that is meant.
///
/// # Errors
/// `SRCH` if it has ended or is not the one that is meant.
pub(crate) fn send_signal(pid: u32, signal: Signal, is_it: impl FnOnce() -> bool) -> Result<(), Errno> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let process = pidfd_open(number, PidfdFlags::empty());
    if !is_it() {
        return Err(Errno::SRCH);
    }
    match process {
        Ok(process) => pidfd_send_signal(process, signal),
        // Linux before 5.3.
        Err(Errno::NOSYS) => kill_process(number, signal),
        Err(error) => Err(error),
    }
}

/// The first bytes of a file. Sockets that listen are first in their table.
fn text(path: &Path) -> Option<String> {
    let bytes = files::read_beginning(path, limits::PROC_FILE).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a process is in another namespace of this kind (`mnt`, `net`, `pid`: the names in `/proc/PID/ns`) than this process.
pub(crate) fn is_in_other_namespace(root: &Path, process: u32, kind: &str) -> bool {
    let namespace = |process: &str| fs::read_link(root.join(format!("proc/{process}/ns/{kind}"))).ok();
    namespace("self").zip(namespace(&process.to_string())).is_some_and(|(here, there)| here != there)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests")]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;

    use rustix::io::Errno;
    use rustix::process::Signal;

    use super::{Process, TcpSocket, listening, send_signal};

    #[cfg(target_endian = "little")]
    #[test]
    fn addresses_of_the_kernel() {
        let rest = "00000000:00000000 00:00000000 00000000     0        0 4711 1";
        for (local, remote, expected) in [
            ("0100007F:0016", "00000000:0000", "127.0.0.1:22"),
            ("00000000:08AE", "00000000:0000", "0.0.0.0:2222"),
            ("00000000000000000000000000000000:0016", "00000000000000000000000000000000:0000", "[::]:22"),
            (
                "B80D0120000000000000000001000000:0016",
                "00000000000000000000000000000000:0000",
                "[2001:db8::1]:22",
            ),
        ] {
            let socket = TcpSocket::parse(&format!("   0: {local} {remote} 0A {rest}"));
            let found = socket.map(|socket| (socket.local.to_string(), socket.listens, socket.inode));
            assert_eq!(found, Some((expected.to_owned(), true, 4711)));
        }
        let connected = TcpSocket::parse(&format!("   1: 0100007F:9C40 0100007F:0016 01 {rest}"));
        let connected = connected.map(|socket| (socket.local.port(), socket.remote.port(), socket.listens));
        assert_eq!(connected, Some((40000, 22, false)));
        assert_eq!(TcpSocket::parse("  sl  local_address rem_address   st tx_queue rx_queue"), None);
    }

    #[test]
    fn the_sockets_of_this_process() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let is_here = || listening(Path::new("/proc/self")).iter().any(|socket| socket.local == address);
        assert!(is_here());
        drop(listener);
        assert!(!is_here());
        Ok(())
    }

    #[test]
    fn a_name_with_parentheses() {
        let fields = "S 77 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        let process = Process::parse(&format!("12 (a) (b) {fields}"));
        let expected = Process {
            pid: 12,
            parent: 77,
            is_stopped: false,
            session: 1,
            started: 4242,
            name: "a) (b".to_owned(),
        };
        assert_eq!(process, Some(expected));
        assert_eq!(Process::parse("12 (a"), None);
    }

    #[test]
    fn only_the_process_that_is_meant_gets_a_signal() -> std::io::Result<()> {
        let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
        assert_eq!(send_signal(child.id(), Signal::KILL, || false), Err(Errno::SRCH));
        assert!(child.try_wait()?.is_none());
        assert_eq!(send_signal(child.id(), Signal::KILL, || true), Ok(()));
        assert!(!child.wait()?.success());
        // Another process can get the number only now.
        assert_eq!(send_signal(child.id(), Signal::KILL, || true), Err(Errno::SRCH));
        Ok(())
    }
}
