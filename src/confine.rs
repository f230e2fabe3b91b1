//! What the process gives up before it listens to anybody: should a reply ever get the better of it, there is little left to
//! take over.
//!
//! All is given up for good, by this process alone: a command behind `--` was started before. A kernel that lacks a layer
//! (Landlock is there from Linux 5.13, its TCP rules from 6.7) goes on without it, as a login does not depend on it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::limits;

mod shortcut;

/// What a run still needs.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// Where its TCP connections go.
    pub ports: &'a [u16],
    /// Where files lie that it will open; `None` if it has all of them open.
    pub files: Option<&'a Path>,
    /// The process that it will wait for, and may have to stop.
    pub child: Option<u32>,
}

/// One thing that was to be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What it is.
    pub name: &'static str,
    /// Whether it is given up; if not, why not.
    pub held: Result<(), String>,
}

impl Layer {
    fn new(name: &'static str, held: Result<(), impl fmt::Display>) -> Self {
        Self { name, held: held.map_err(|error| error.to_string()) }
    }
}

/// Gives up everything but `needs`, as far as this kernel can, and says what holds: for the process, which is to have one thread.
#[must_use]
pub fn confine(needs: &Needs<'_>) -> Vec<Layer> {
    let mut layers = vec![
        Layer::new("no core dump, no debugger", prctl::set_dumpable(false)),
        Layer::new("resource limits", limit()),
    ];
    layers.extend(confine_thread(needs));
    layers
}

/// As [`confine`], but only what binds the calling thread alone, and those that it starts.
#[must_use]
pub fn confine_thread(needs: &Needs<'_>) -> Vec<Layer> {
    // Who is not root is refused the rest without it. The filter comes last: it allows none of this.
    let mut layers = vec![Layer::new("no new privileges", prctl::set_no_new_privs())];
    layers.extend(landlock(needs));
    layers.push(Layer::new("system calls (seccomp)", seccomp(needs)));
    layers
}

fn limit() -> nix::Result<()> {
    for (resource, most) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_AS, limits::MEMORY),
        (Resource::RLIMIT_NOFILE, limits::DESCRIPTORS),
        (Resource::RLIMIT_CPU, limits::PROCESSOR),
    ] {
        match setrlimit(resource, most, most) {
            // Somebody has set a lower limit already.
            Ok(()) | Err(Errno::EPERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The newest Landlock that this was tried with. Later ones could forbid what nobody thought of.
const LANDLOCK: ABI = ABI::V7;

fn landlock(needs: &Needs<'_>) -> [Layer; 2] {
    const FILES: &str = "files (Landlock)";
    const NETWORK: &str = "TCP to the metadata service's port only (Landlock)";
    match restrict(needs) {
        Ok(LandlockStatus::Available { effective_abi, .. }) => {
            let network = if effective_abi < ABI::V4 { Err("this kernel can not") } else { Ok(()) };
            [Layer::new(FILES, Ok::<_, RulesetError>(())), Layer::new(NETWORK, network)]
        }
        Ok(_) => [FILES, NETWORK].map(|name| Layer::new(name, Err("this kernel has no Landlock"))),
        Err(error) => [FILES, NETWORK].map(|name| Layer::new(name, Err(&error))),
    }
}

fn restrict(needs: &Needs<'_>) -> Result<LandlockStatus, RulesetError> {
    let mut scope = Scope::from_all(LANDLOCK);
    if needs.child.is_some() {
        scope.remove(Scope::Signal);
    }
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(scope)?
        .create()?
        .no_new_privs(false);
    for port in needs.ports {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    if let Some(Ok(files)) = needs.files.map(PathFd::new) {
        rules = rules.add_rule(PathBeneath::new(files, AccessFs::ReadFile))?;
    }
    Ok(rules.restrict_self()?.landlock)
}

/// What is not listed fails with EPERM: a libc that tries something new goes on without it.
fn seccomp(needs: &Needs<'_>) -> Result<(), seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let mut rules = system_calls(needs)?;
    let (always, by_arguments): (Rules, Rules) =
        rules.clone().into_iter().partition(|(_, rules)| rules.is_empty());
    let shortcut = shortcut::decide(always.into_keys(), by_arguments.keys().copied(), refuse.clone().into());
    if shortcut.is_some() {
        rules = by_arguments;
    }
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?;
    let mut program = shortcut.unwrap_or_default();
    program.extend(BpfProgram::try_from(filter)?);
    seccompiler::apply_filter(&program)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn system_calls(needs: &Needs<'_>) -> Result<Rules, BackendError> {
    let any = [
        // descriptors
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_fcntl,
        libc::SYS_fstat,
        libc::SYS_statx,
        libc::SYS_lseek,
        // connections
        libc::SYS_connect,
        libc::SYS_getsockopt,
        libc::SYS_recvfrom,
        libc::SYS_setsockopt,
        libc::SYS_shutdown,
        // waiting
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_futex,
        libc::SYS_ppoll,
        libc::SYS_restart_syscall,
        libc::SYS_sched_yield,
        // memory
        libc::SYS_brk,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_munmap,
        // time and chance
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_gettimeofday,
        // the process, and its end
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
    ];
    let mut rules: Rules = any.into_iter().map(|number| (number, Vec::new())).collect();

    let stream = |family| {
        SeccompRule::new(vec![
            argument(0, u64::MAX, family)?,
            argument(1, 0xf, libc::SOCK_STREAM)?, // the rest are flags
            argument(2, u64::MAX, 0)?,            // TCP: Landlock's rules for ports do not bind MPTCP
        ])
    };
    rules.insert(libc::SYS_socket, vec![stream(libc::AF_INET)?, stream(libc::AF_INET6)?]);
    // Only to whom the socket is connected: the log.
    rules.insert(libc::SYS_sendto, vec![SeccompRule::new(vec![argument(4, u64::MAX, 0)?])?]);
    let no_code = vec![SeccompRule::new(vec![argument(2, bits(libc::PROT_EXEC), 0)?])?];
    rules.insert(libc::SYS_mmap, no_code.clone());
    rules.insert(libc::SYS_mprotect, no_code);
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![argument(0, u64::MAX, own)?])?]);

    if needs.files.is_some() {
        let writing = bits(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC);
        let reading =
            |index| Ok::<_, BackendError>(vec![SeccompRule::new(vec![argument(index, writing, 0)?])?]);
        rules.insert(libc::SYS_openat, reading(2)?);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, reading(1)?);
    }
    if let Some(child) = needs.child.and_then(|child| i32::try_from(child).ok()) {
        let stop = vec![argument(0, u64::MAX, child)?, argument(1, u64::MAX, libc::SIGKILL)?];
        rules.insert(libc::SYS_kill, vec![SeccompRule::new(stop)?]);
        rules.insert(libc::SYS_wait4, Vec::new());
        rules.insert(libc::SYS_waitid, Vec::new());
    }
    Ok(rules)
}

/// The bits of `mask` of the system call's argument number `index` are `value`.
fn argument(index: u8, mask: u64, value: i32) -> Result<SeccompCondition, BackendError> {
    // Pointers have 64 bits, and of an int the upper half may be anything.
    let length = if index == 4 { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompCondition::new(index, length, SeccompCmpOp::MaskedEq(mask), bits(value))
}

fn bits(value: i32) -> u64 {
    u64::from(value.unsigned_abs())
}
