//! The system calls of a run: those that it makes before the filter, and those that the filter lets through.
//!
//! Where each comes from: `tests/sandbox_calls.rs` traces the shipped binary (glibc, `x86_64`) in every way that a run goes, and fails
//! if it makes a call that is not here, or if one stands here that none of them makes. What differs with musl and on aarch64
//! was read, not traced: in musl 1.2.5, which waits by `epoll_pwait`, grows its heap by `mprotect`, opens files by `open`, asks for
//! their length by `fstat` (the standard library calls `statx` with glibc only) and aborts by `tkill`; and from the kernel's table for
//! aarch64, which has no `poll`, `open`, `stat`, `dup2` or `epoll_wait`. Run `tests/sandbox_calls.rs` where such a build is made. Of several
//! calls for the same there is the one that this build makes.
//!
//! Not here, as nothing fails for want of it: `madvise` (musl's `free` does not look at the result), `fcntl` (musl's `open`
//! does not either), `getrandom` (the one hasher's keys are drawn before, by tokio's runtime), `sched_yield` and the waiting of
//! `futex` (there is one thread).

use std::ffi::c_long;

use nix::libc;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// A call that the filter lets through, if its arguments are as one of the forms says.
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) number: c_long,
    forms: Vec<Form>,
}

/// What the arguments must be; nothing, if it is empty.
type Form = Vec<Argument>;

/// The bits of `mask` of the argument number `index` are `value`.
struct Argument {
    index: u8,
    mask: u64,
    value: u64,
    length: SeccompCmpArgLen,
}

impl Call {
    fn any(name: &'static str, number: c_long) -> Self {
        Self::only(name, number, [])
    }

    fn only(name: &'static str, number: c_long, forms: impl IntoIterator<Item = Form>) -> Self {
        Self { name, number, forms: forms.into_iter().collect() }
    }

    /// The same for the filter.
    pub(super) fn rules(&self) -> Result<Vec<SeccompRule>, BackendError> {
        let condition = |argument: &Argument| {
            let compare = SeccompCmpOp::MaskedEq(argument.mask);
            SeccompCondition::new(argument.index, argument.length.clone(), compare, argument.value)
        };
        let rule = |form: &Form| SeccompRule::new(form.iter().map(condition).collect::<Result<_, _>>()?);
        self.forms.iter().map(rule).collect()
    }
}

/// An argument that is an `int`: the kernel does not look at the upper half.
fn int(index: u8, value: i32) -> Argument {
    flags(index, !0, value)
}

/// Of an argument that is an `int`, these bits.
fn flags(index: u8, mask: i32, value: i32) -> Argument {
    Argument { index, mask: bits(mask), value: bits(value), length: SeccompCmpArgLen::Dword }
}

/// An argument that is a null pointer.
fn null(index: u8) -> Argument {
    Argument { index, mask: u64::MAX, value: 0, length: SeccompCmpArgLen::Qword }
}

fn bits(value: i32) -> u64 {
    u64::from(u32::from_ne_bytes(value.to_ne_bytes()))
}

/// What the filter lets through of a process with this id.
///
/// `child` is the process that it waits for, and may stop; `files` is whether it opens files; `thread` whether it is a thread
/// that ends before the process.
pub(super) fn allowed(own: i32, child: Option<i32>, files: bool, thread: bool) -> Vec<Call> {
    use Call as C;
    let stream = |family| vec![int(0, family), flags(1, 0xf, libc::SOCK_STREAM), int(2, 0)];
    let no_code = |index| flags(index, libc::PROT_EXEC, 0);
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let mut calls = vec![
        // Descriptors. The trust store, the pipe of the command behind `--`, tokio's wake-up.
        C::any("read", libc::SYS_read),
        // A request; keys, the log, the terminal, tokio's wake-up.
        C::any("write", libc::SYS_write),
        C::any("close", libc::SYS_close),
        // The length of a file of the trust store, and its beginning.
        #[cfg(not(target_env = "musl"))]
        C::any("statx", libc::SYS_statx),
        #[cfg(target_env = "musl")]
        C::any("fstat", libc::SYS_fstat),
        C::any("lseek", libc::SYS_lseek),
        // Connections. TCP, the default protocol only: Landlock's rules for ports do not bind MPTCP.
        C::only("socket", libc::SYS_socket, [stream(libc::AF_INET), stream(libc::AF_INET6)]),
        C::any("connect", libc::SYS_connect),
        // What became of it.
        C::only("getsockopt", libc::SYS_getsockopt, [vec![int(1, libc::SOL_SOCKET), int(2, libc::SO_ERROR)]]),
        C::only("recvfrom", libc::SYS_recvfrom, [vec![null(4)]]),
        // A log that is a stream. Only to whom the socket is connected.
        C::only("sendto", libc::SYS_sendto, [vec![null(4)]]),
        // Waiting: for connections and time; for the reader of the keys, and for the command behind `--`.
        C::any("epoll_ctl", libc::SYS_epoll_ctl),
        #[cfg(all(target_arch = "x86_64", not(target_env = "musl")))]
        C::any("epoll_wait", libc::SYS_epoll_wait),
        #[cfg(not(all(target_arch = "x86_64", not(target_env = "musl"))))]
        C::any("epoll_pwait", libc::SYS_epoll_pwait),
        #[cfg(target_arch = "x86_64")]
        C::any("poll", libc::SYS_poll),
        #[cfg(not(target_arch = "x86_64"))]
        C::any("ppoll", libc::SYS_ppoll),
        // The kernel's own, where a process waits in poll, is stopped, and goes on.
        C::any("restart_syscall", libc::SYS_restart_syscall),
        // Memory.
        C::any("brk", libc::SYS_brk),
        C::only("mmap", libc::SYS_mmap, [vec![no_code(2), flags(3, libc::MAP_SHARED | private, private)]]),
        C::only("mremap", libc::SYS_mremap, [vec![int(3, libc::MREMAP_MAYMOVE)]]),
        C::any("munmap", libc::SYS_munmap),
        #[cfg(target_env = "musl")]
        C::only("mprotect", libc::SYS_mprotect, [vec![no_code(2)]]),
        // Time, where the vDSO does not know it: the clock of Xen.
        C::any("clock_gettime", libc::SYS_clock_gettime),
        // The end: tokio wakes whoever waits for the runtime; the standard library takes its signal stack away.
        C::only("futex", libc::SYS_futex, [vec![int(1, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG)]]),
        C::any("sigaltstack", libc::SYS_sigaltstack),
        C::any("exit_group", libc::SYS_exit_group),
        // A line of the log bears the process's id.
        C::any("getpid", libc::SYS_getpid),
        // A panic, or memory that is not to be had, ends in abort(3): without these it would not end.
        C::any("gettid", libc::SYS_gettid),
        C::any("rt_sigprocmask", libc::SYS_rt_sigprocmask),
        C::only("tgkill", libc::SYS_tgkill, [vec![int(0, own), int(2, libc::SIGABRT)]]),
        #[cfg(target_env = "musl")]
        C::only("tkill", libc::SYS_tkill, [vec![int(0, own), int(1, libc::SIGABRT)]]),
        // A fault of the processor's: the standard library looks whether the stack was too small, and lets the next one end us.
        C::only(
            "rt_sigaction",
            libc::SYS_rt_sigaction,
            [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS].map(|signal| vec![int(0, signal)]),
        ),
        C::any("rt_sigreturn", libc::SYS_rt_sigreturn),
    ];
    if files {
        let writing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
        calls.push(C::only("openat", libc::SYS_openat, [vec![flags(2, writing, 0)]]));
        #[cfg(all(target_arch = "x86_64", target_env = "musl"))]
        calls.push(C::only("open", libc::SYS_open, [vec![flags(1, writing, 0)]]));
    }
    if let Some(child) = child {
        calls.extend([
            C::only("kill", libc::SYS_kill, [vec![int(0, child), int(1, libc::SIGKILL)]]),
            C::only("wait4", libc::SYS_wait4, [vec![int(0, child)]]),
        ]);
    }
    if thread {
        // A thread has a heap of its own, waits for locks, gives its stack back, and tells who waits for it.
        calls.extend([
            C::any("futex", libc::SYS_futex),
            C::any("exit", libc::SYS_exit),
            C::any("madvise", libc::SYS_madvise),
            #[cfg(not(target_env = "musl"))]
            C::only("mprotect", libc::SYS_mprotect, [vec![no_code(2)]]),
        ]);
    }
    calls
}

/// What a run calls before the filter, and what it needs for the command behind `--`, by the names that systemd has for them.
pub(super) const BEFORE: &[&str] = &[
    // The beginning: libc's, and the standard library's.
    "execve",
    #[cfg(target_arch = "x86_64")]
    "arch_prctl",
    "brk",
    "mmap",
    "set_tid_address",
    #[cfg(not(target_env = "musl"))]
    "mprotect",
    #[cfg(not(target_env = "musl"))]
    "set_robust_list",
    #[cfg(not(target_env = "musl"))]
    "rseq",
    #[cfg(not(target_env = "musl"))]
    "getrandom",
    #[cfg(all(target_arch = "x86_64", not(target_env = "musl")))]
    "readlink",
    #[cfg(all(target_arch = "aarch64", not(target_env = "musl")))]
    "readlinkat",
    #[cfg(target_arch = "x86_64")]
    "poll",
    #[cfg(not(target_arch = "x86_64"))]
    "ppoll",
    "rt_sigaction",
    "sigaltstack",
    #[cfg(not(target_env = "musl"))]
    "sched_getaffinity",
    "gettid",
    // The log; whether a person looks on.
    "socket",
    "connect",
    "setsockopt",
    "ioctl",
    // The command behind `--`.
    "pipe2",
    #[cfg(not(target_env = "musl"))]
    "clone3",
    #[cfg(target_env = "musl")]
    "clone",
    "rt_sigprocmask",
    "munmap",
    #[cfg(target_arch = "x86_64")]
    "dup2",
    #[cfg(not(target_arch = "x86_64"))]
    "dup3",
    // tokio.
    "epoll_create1",
    "epoll_ctl",
    "eventfd2",
    "fcntl",
    // Firmware, trust store.
    #[cfg(not(all(target_arch = "x86_64", target_env = "musl")))]
    "openat",
    #[cfg(all(target_arch = "x86_64", target_env = "musl"))]
    "open",
    #[cfg(not(target_env = "musl"))]
    "statx",
    #[cfg(all(target_arch = "x86_64", target_env = "musl"))]
    "stat",
    #[cfg(not(all(target_arch = "x86_64", target_env = "musl")))]
    "newfstatat",
    "fstat", // in the place of newfstatat, from glibc 2.39 on; musl's
    "read",
    "close",
    "getdents64",
    // The sandbox.
    "prctl",
    "prlimit64",
    "capset",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
    "getpid",
    "seccomp",
];
