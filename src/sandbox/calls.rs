//! The system calls of a run: those before the filter is active, and those that the filter allows.
//!
//! `tests/sandbox_calls.rs` traces the release binary (glibc, `x86_64`) in all kinds of runs. It fails if the binary makes a call that
//! is not listed, or if a listed call is never made. If there are several calls for the same purpose, only the one that this build
//! makes is listed. The calls for musl and aarch64 come from reading sources, not from traces; run the test on such builds:
//!
//! - musl 1.2.5 waits with `epoll_pwait`, grows its heap with `mprotect`, opens files with `open`, gets their length with `fstat` (the
//!   standard library calls `statx` with glibc only) and aborts with `tkill`.
//! - aarch64 has no `poll`, `open`, `stat`, `dup2` and `epoll_wait` in the kernel's table.
//!
//! These calls are not listed because nothing fails without them: `madvise` (musl's `free` ignores the result), `fcntl` (so does
//! musl's `open`), `getrandom` (tokio's runtime gets the keys of the only hasher earlier), `sched_yield` and the wait operations of
//! `futex` (there is one thread).

use std::ffi::c_long;

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// A system call that the filter allows if its arguments match one of the forms.
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) number: c_long,
    pub(super) forms: Vec<Form>,
}

/// Conditions on the arguments. An empty form allows all arguments.
pub(super) type Form = Vec<Argument>;

/// In argument number `index`, the bits of `mask` must equal `value`.
pub(super) struct Argument {
    pub(super) index: u8,
    pub(super) mask: u64,
    pub(super) value: u64,
    length: SeccompCmpArgLen,
}

impl Call {
    fn any(name: &'static str, number: c_long) -> Self {
        Self::only(name, number, [])
    }

    fn only(name: &'static str, number: c_long, forms: impl IntoIterator<Item = Form>) -> Self {
        Self { name, number, forms: forms.into_iter().collect() }
    }

    /// Converts the forms to seccomp rules.
    pub(super) fn rules(&self) -> Result<Vec<SeccompRule>, BackendError> {
        let condition = |argument: &Argument| {
            let compare = SeccompCmpOp::MaskedEq(argument.mask);
            SeccompCondition::new(argument.index, argument.length.clone(), compare, argument.value)
        };
        let rule = |form: &Form| SeccompRule::new(form.iter().map(condition).collect::<Result<_, _>>()?);
        self.forms.iter().map(rule).collect()
    }
}

/// An argument of type `int`. The kernel ignores the upper half of the register.
fn int(index: u8, value: i32) -> Argument {
    flags(index, !0, value)
}

/// Some bits of an argument of type `int`.
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

/// The calls that the filter allows for the process with ID `own`.
///
/// `child` is the process that it can wait for and kill. `files` is whether it opens files. `thread` is whether the filter is for a
/// thread that ends before the process.
pub(super) fn allowed(own: i32, child: Option<i32>, files: bool, thread: bool) -> Vec<Call> {
    use Call as C;
    let stream = |family| vec![int(0, family), flags(1, 0xf, libc::SOCK_STREAM), int(2, 0)];
    let no_code = |index| flags(index, libc::PROT_EXEC, 0);
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let mut calls = vec![
        // Descriptors: the trust store, the pipe of the chained command, tokio's wake-up.
        C::any("read", libc::SYS_read),
        // Requests, keys, the log, the terminal, tokio's wake-up.
        C::any("write", libc::SYS_write),
        C::any("close", libc::SYS_close),
        // The length and the start of a trust store file.
        #[cfg(not(target_env = "musl"))]
        C::any("statx", libc::SYS_statx),
        #[cfg(target_env = "musl")]
        C::any("fstat", libc::SYS_fstat),
        C::any("lseek", libc::SYS_lseek),
        // Connections. Only TCP, the default protocol: Landlock's port rules do not apply to MPTCP.
        C::only("socket", libc::SYS_socket, [stream(libc::AF_INET), stream(libc::AF_INET6)]),
        C::any("connect", libc::SYS_connect),
        // The result of a connection.
        C::only("getsockopt", libc::SYS_getsockopt, [vec![int(1, libc::SOL_SOCKET), int(2, libc::SO_ERROR)]]),
        C::only("recvfrom", libc::SYS_recvfrom, [vec![null(4)]]),
        // A stream log. Only to the connected peer.
        C::only("sendto", libc::SYS_sendto, [vec![null(4)]]),
        // Waiting: for connections and timers, for the reader of the keys, and for the chained command.
        C::any("epoll_ctl", libc::SYS_epoll_ctl),
        #[cfg(all(target_arch = "x86_64", not(target_env = "musl")))]
        C::any("epoll_wait", libc::SYS_epoll_wait),
        #[cfg(not(all(target_arch = "x86_64", not(target_env = "musl"))))]
        C::any("epoll_pwait", libc::SYS_epoll_pwait),
        C::any("ppoll", libc::SYS_ppoll),
        // Memory.
        C::any("brk", libc::SYS_brk),
        C::only("mmap", libc::SYS_mmap, [vec![no_code(2), flags(3, libc::MAP_SHARED | private, private)]]),
        C::only("mremap", libc::SYS_mremap, [vec![int(3, libc::MREMAP_MAYMOVE)]]),
        C::any("munmap", libc::SYS_munmap),
        #[cfg(target_env = "musl")]
        C::only("mprotect", libc::SYS_mprotect, [vec![no_code(2)]]),
        // Time, if the vDSO does not support the clock source (Xen).
        C::any("clock_gettime", libc::SYS_clock_gettime),
        // Exit: tokio wakes threads that wait for the runtime; the standard library removes its signal stack.
        C::only("futex", libc::SYS_futex, [vec![int(1, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG)]]),
        C::any("sigaltstack", libc::SYS_sigaltstack),
        C::any("exit_group", libc::SYS_exit_group),
        // Log lines contain the process ID.
        C::any("getpid", libc::SYS_getpid),
        // A panic or a failed allocation ends in abort(3), which needs these calls.
        C::any("gettid", libc::SYS_gettid),
        C::any("rt_sigprocmask", libc::SYS_rt_sigprocmask),
        C::only("tgkill", libc::SYS_tgkill, [vec![int(0, own), int(2, libc::SIGABRT)]]),
        #[cfg(target_env = "musl")]
        C::only("tkill", libc::SYS_tkill, [vec![int(0, own), int(1, libc::SIGABRT)]]),
        // SIGSEGV, SIGBUS: the standard library checks for a stack overflow, or restores the default action for the next fault.
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
        // A thread has its own heap, waits for locks, frees its stack, and wakes the thread that joins it.
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

/// The system calls of a run before the filter, and those that the chained command needs, by the names that systemd uses.
pub(super) const BEFORE: &[&str] = &[
    // Start of libc and the standard library.
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
    // The log; whether stderr is a terminal.
    "socket",
    "connect",
    "setsockopt",
    "ioctl",
    // The chained command.
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
    "fstat", // instead of newfstatat: glibc 2.39 and later, musl
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
    "getppid",
    "seccomp",
];
