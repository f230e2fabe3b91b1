//! `eic-hostile free|confined|chained|reading PORT ATTEMPT`: eic-keys after an attacker has taken it over.
//!
//! Enters the sandbox for the metadata service at PORT, makes the attempt, and prints `done` or the error. With
//! `chained` it may wait for and stop its child, as with a chained command; with `reading` it may open files, as with a trust store
//! that is a directory.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::ptr;

use eic_keys::sandbox::{Allowed, enter, enter_thread};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, port, attempt] = arguments.as_slice() else { return ExitCode::from(2) };
    let port: u16 = port.parse().expect("a port");
    // What a run opens before it enters the sandbox.
    let log = UnixDatagram::pair().expect("a log");
    let bundle = File::open("/proc/self/status").expect("a trust store");
    let mut child = (mode == "chained").then(|| Command::new("sleep").arg("60").spawn().expect("a child"));
    if mode != "free" {
        let files = (mode == "reading").then_some(Path::new("/"));
        let needs = Allowed { ports: &[port], files, child: child.as_ref().map(std::process::Child::id) };
        for layer in enter(&needs) {
            if let Err(error) = layer.active {
                println!("not confined by {}: {error}", layer.name);
            }
        }
    }
    let result = match attempt.as_str() {
        "every call" => every_call(),
        "child" => child.as_mut().map_or(Ok(()), |child| child.kill().and_then(|()| child.wait()).map(drop)),
        "own work" => own_work(port, &log.0, &bundle),
        "thread" => std::thread::spawn(one_of_several).join().expect("a thread that ends"),
        attempt => forbidden(attempt, port),
    };
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
    match result {
        Ok(()) => println!("done"),
        Err(error) => println!("{error}"),
    }
    ExitCode::SUCCESS
}

/// What a run still does must work.
fn own_work(port: u16, log: &UnixDatagram, mut bundle: &File) -> io::Result<()> {
    let mut imds = TcpStream::connect(("127.0.0.1", port))?;
    imds.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    log.send(b"<86>a line")?;
    io::copy(&mut bundle, &mut io::sink())?;
    let memory = vec![1_u8; 8 * 1024 * 1024];
    if memory.iter().map(|byte| usize::from(*byte)).sum::<usize>() == memory.len() {
        Ok(())
    } else {
        Err(io::Error::other("memory"))
    }
}

/// One thread of several, as in `--check`, waits for their locks.
fn one_of_several() -> io::Result<()> {
    let held = enter_thread(&Allowed { ports: &[], files: None, child: None });
    if File::open("/etc/passwd").is_ok() {
        return Err(io::Error::other(format!("{held:?}")));
    }
    forbidden("wait on a lock", 0)
}

fn forbidden(attempt: &str, port: u16) -> io::Result<()> {
    match attempt {
        "run a program" => Command::new("/bin/true").status().map(drop),
        "become another program" => {
            let (path, word) = (CString::new("/bin/echo")?, CString::new("done")?);
            let (arguments, none) = ([path.as_ptr(), word.as_ptr(), ptr::null()], [ptr::null()]);
            // SAFETY: two arrays that end in a null pointer.
            call(|| unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), none.as_ptr()) })
        }
        "split" => split(),
        "start a thread" => std::thread::Builder::new().spawn(|| ()).map(|thread| drop(thread.join())),
        "read a file" => File::open("/etc/passwd").map(drop),
        "list a directory" => fs::read_dir("/etc").map(drop),
        "write a file" => OpenOptions::new().write(true).open("/dev/null").map(drop),
        "make a file" => {
            let path = std::env::temp_dir().join(format!("eic-hostile-{}", std::process::id()));
            File::create(&path).and_then(|_| fs::remove_file(path))
        }
        "connect to another port" => TcpStream::connect(("127.0.0.1", port.wrapping_sub(1))).map(drop),
        "use another protocol than TCP's default" => (1..=262)
            .flat_map(|protocol| [(libc::AF_INET, protocol), (libc::AF_INET6, protocol)])
            // SAFETY: plain numbers.
            .map(|(family, protocol)| call(|| unsafe { libc::socket(family, libc::SOCK_STREAM, protocol) }))
            .reduce(Result::or)
            .unwrap_or(Ok(())),
        "listen" => TcpListener::bind("127.0.0.1:0").map(drop),
        "send a datagram" => UdpSocket::bind("127.0.0.1:0").map(drop),
        "speak to a local service" => UnixStream::pair().map(drop),
        "send a signal" => {
            // SAFETY: plain numbers.
            call(|| unsafe { libc::kill(libc::getppid(), 0) })
        }
        "stop itself by another's name" => {
            // SAFETY: plain numbers; signal 0 does nothing.
            call(|| unsafe {
                let parent = libc::c_long::from(libc::getppid());
                i32::try_from(libc::syscall(libc::SYS_tgkill, parent, parent, 0)).unwrap_or(-1)
            })
        }
        "make code" => {
            let access = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: new memory that nobody uses.
            let memory = unsafe { libc::mmap(ptr::null_mut(), 4096, access, kind, -1, 0) };
            if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
        }
        "turn data into code" => {
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: new memory that nobody uses.
            call(|| unsafe {
                let memory = libc::mmap(ptr::null_mut(), 4096, libc::PROT_WRITE, kind, -1, 0);
                libc::mprotect(memory, 4096, libc::PROT_READ | libc::PROT_EXEC)
            })
        }
        "take much memory" => {
            let mut memory = Vec::<u8>::new();
            memory.try_reserve_exact(100 * 1024 * 1024).map_err(io::Error::other)
        }
        "open many descriptors" => (0..200).try_for_each(|_| {
            // SAFETY: plain numbers; they go with the process.
            call(|| unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) })
        }),
        // The kernel sends the signals of a descriptor in our name: a way to signal other processes (before Linux 6.12
        // also past Landlock).
        "have the kernel signal another" => of_connection(port, |descriptor| {
            // SAFETY: plain numbers.
            call(|| unsafe { libc::fcntl(descriptor, libc::F_SETOWN, libc::getppid()) })
        }),
        "have the kernel signal another's group" => of_connection(port, |descriptor| {
            // SAFETY: plain numbers.
            call(|| unsafe { libc::fcntl(descriptor, libc::F_SETOWN, -libc::getpgid(libc::getppid())) })
        }),
        "have the kernel signal another, by a structure" => of_connection(port, |descriptor| {
            const F_SETOWN_EX: i32 = 15;
            // SAFETY: plain numbers, and a structure of two of them (F_OWNER_PID) that outlives the call.
            call(|| unsafe { libc::fcntl(descriptor, F_SETOWN_EX, &[1, libc::getppid()]) })
        }),
        "choose that signal" => of_connection(port, |descriptor| {
            const F_SETSIG: i32 = 10;
            // SAFETY: plain numbers.
            call(|| unsafe { libc::fcntl(descriptor, F_SETSIG, libc::SIGKILL) })
        }),
        "switch it on" => of_connection(port, |descriptor| {
            // SAFETY: plain numbers.
            call(|| unsafe { libc::fcntl(descriptor, libc::F_SETFL, libc::O_ASYNC) })
        }),
        "switch it on by ioctl" => of_connection(port, |descriptor| {
            // SAFETY: a number that outlives the call.
            call(|| unsafe { libc::ioctl(descriptor, libc::FIOASYNC, &1) })
        }),
        "signal another by ioctl" => of_connection(port, |descriptor| {
            const FIOSETOWN: libc::Ioctl = 0x8901;
            // SAFETY: a number that outlives the call.
            call(|| unsafe { libc::ioctl(descriptor, FIOSETOWN, &libc::getppid()) })
        }),
        "be signalled when the time has come" => {
            // SAFETY: a plain number.
            unsafe { libc::syscall(libc::SYS_timer_create, libc::CLOCK_REALTIME, 0, &mut 0_i32) };
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EPERM) { Err(error) } else { Ok(()) }
        }
        "copy a descriptor" => of_connection(port, |descriptor| {
            // SAFETY: plain numbers; the copy goes with the process.
            call(|| unsafe { libc::fcntl(descriptor, libc::F_DUPFD, 100) })
        }),
        "set an option of a connection" => of_connection(port, |descriptor| {
            // SAFETY: a number that outlives the call.
            call(|| unsafe {
                let value: *const i32 = &1;
                libc::setsockopt(descriptor, libc::SOL_SOCKET, libc::SO_KEEPALIVE, value.cast(), 4)
            })
        }),
        "read an option of a connection" => of_connection(port, |descriptor| {
            // SAFETY: two numbers that outlive the call.
            call(|| unsafe {
                let value: *mut i32 = &mut 0;
                libc::getsockopt(descriptor, libc::SOL_SOCKET, libc::SO_TYPE, value.cast(), &mut 4)
            })
        }),
        "handle a signal" => {
            // SAFETY: to ignore it needs no handler.
            let before = unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
        }
        "wait on a lock" => {
            // SAFETY: a number that outlives the call, and is not the one that is waited for: the call returns at once.
            call(|| unsafe {
                i32::try_from(libc::syscall(libc::SYS_futex, &1_i32, libc::FUTEX_WAIT, 0, ptr::null::<i32>()))
                    .unwrap_or(-1)
            })
            .or_else(|error| if error.raw_os_error() == Some(libc::EAGAIN) { Ok(()) } else { Err(error) })
        }
        "share memory" => {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            // SAFETY: new memory that nobody uses.
            let memory = unsafe { libc::mmap(ptr::null_mut(), 4096, access, kind, -1, 0) };
            if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
        }
        "dump core" => {
            // SAFETY: a plain number.
            let dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
            if dumpable == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }
        other => Err(io::Error::other(format!("what is {other}?"))),
    }
}

/// Makes the attempt with a connection to the metadata service, as a run has one.
fn of_connection(port: u16, attempt: impl FnOnce(i32) -> io::Result<()>) -> io::Result<()> {
    let connection = TcpStream::connect(("127.0.0.1", port))?;
    attempt(connection.as_raw_fd())
}

fn split() -> io::Result<()> {
    // SAFETY: the child does nothing but end.
    let process = unsafe { libc::fork() };
    if process == 0 {
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    call(|| process)
}

fn call(make: impl FnOnce() -> i32) -> io::Result<()> {
    if make() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes every system call with null arguments, except those that are allowed with such arguments (for glibc): all must be refused.
///
/// The exceptions are listed here and not taken from the filter, so that a call that it newly allows is noticed.
fn every_call() -> io::Result<()> {
    let allowed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_statx,
        libc::SYS_lseek,
        libc::SYS_connect,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_epoll_ctl,
        libc::SYS_restart_syscall,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_clock_gettime,
        libc::SYS_exit_group,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        #[cfg(not(target_arch = "x86_64"))]
        libc::SYS_epoll_pwait,
        #[cfg(not(target_arch = "x86_64"))]
        libc::SYS_ppoll,
        // uretprobe and uprobe: the kernel's own, which no filter sees. It kills a process that makes them itself.
        #[cfg(target_arch = "x86_64")]
        335,
        #[cfg(target_arch = "x86_64")]
        336,
    ];
    // The last one is the number of an x32 call, if there are such.
    for number in (0..1000).chain([0x4000_0000 + 59]).filter(|number| !allowed.contains(number)) {
        // SAFETY: the filter refuses it before the kernel looks at an argument; that is what is tried.
        let result = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
        let error = io::Error::last_os_error();
        if result != -1 || error.raw_os_error() != Some(libc::EPERM) {
            return Err(io::Error::other(format!("call {number} gave {result}: {error}")));
        }
    }
    Ok(())
}
