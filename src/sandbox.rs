//! Sandboxes the process before it reads the first reply, so that a compromised process can do little.
//!
//! The sandbox is permanent and affects this process only: the chained command is started before. If the kernel lacks a layer
//! (Landlock needs Linux 5.13, its TCP rules 6.7), the run continues without it, because a login does not depend on it.

use std::fmt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::io;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter};

use crate::limits;

mod calls;

/// What a run still needs.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    /// Ports for its TCP connections.
    pub ports: &'a [u16],
    /// Directory of the files that it will open; `None` if all of them are open.
    pub files: Option<&'a Path>,
    /// The child process that it waits for and can kill.
    pub child: Option<u32>,
}

/// One layer of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub name: &'static str,
    /// Whether it is active; otherwise the reason.
    pub held: Result<(), String>,
}

impl Layer {
    fn new(name: &'static str, held: Result<(), impl fmt::Display>) -> Self {
        Self { name, held: held.map_err(|error| error.to_string()) }
    }
}

/// Drops all rights except `needs`, as far as the kernel supports it, and returns the state of each layer. The process must have
/// one thread.
#[must_use]
pub fn enter(needs: &Allowed<'_>) -> Vec<Layer> {
    let mut layers = vec![
        Layer::new("no core dump, no debugger", set_dumpable_behavior(DumpableBehavior::NotDumpable)),
        Layer::new("resource limits", limit()),
    ];
    layers.extend(confine_caller(needs, false));
    layers
}

/// Like [`enter`], but only with the layers for the calling thread and the threads that it starts. The thread can still exit.
#[must_use]
pub fn enter_thread(needs: &Allowed<'_>) -> Vec<Layer> {
    confine_caller(needs, true)
}

fn confine_caller(needs: &Allowed<'_>, thread: bool) -> Vec<Layer> {
    // Without `no_new_privs`, the kernel refuses the later layers to users other than root. The seccomp filter is last because it
    // forbids these calls.
    let mut layers = vec![
        Layer::new("no capabilities", drop_capabilities()),
        Layer::new("no new privileges", set_no_new_privs(true)),
    ];
    layers.extend(landlock(needs));
    layers.push(Layer::new("system calls (seccomp)", seccomp(needs, thread)));
    layers
}

/// The names of the system calls that a run makes before the filter is active, including those that install it.
#[must_use]
pub fn calls_before() -> &'static [&'static str] {
    calls::BEFORE
}

/// The names of all system calls that the filter can allow, for any run.
#[must_use]
pub fn calls_allowed() -> Vec<&'static str> {
    calls::allowed(0, Some(0), true, false).into_iter().map(|call| call.name).collect()
}

/// Drops all capabilities from all sets. Root then has only the rights of an ordinary user who owns root's files.
fn drop_capabilities() -> io::Result<()> {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // EINVAL: the kernel has no further capabilities. EPERM: the caller has none to drop. The bounding set then does not
            // matter: with `no_new_privs`, a program that the process executes gains no capabilities.
            Err(io::Errno::INVAL | io::Errno::PERM) => break,
            Err(errno) => return Err(errno),
        }
    }
    match clear_ambient_capability_set() {
        // Linux before 4.3 has no ambient set.
        Ok(()) | Err(io::Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

fn limit() -> io::Result<()> {
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Nproc, 0),
        (Resource::As, limits::MEMORY),
        (Resource::Nofile, limits::DESCRIPTORS),
        (Resource::Cpu, limits::PROCESSOR),
    ] {
        match setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }) {
            // EPERM: a lower limit is already set.
            Ok(()) | Err(io::Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The newest Landlock ABI that was tested. A later one could restrict something that a run needs.
const LANDLOCK: ABI = ABI::V7;

fn landlock(needs: &Allowed<'_>) -> [Layer; 2] {
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

fn restrict(needs: &Allowed<'_>) -> Result<LandlockStatus, RulesetError> {
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

/// A call that [`calls::allowed`] does not list fails with EPERM, so that a libc which tries a new call can continue without it.
fn seccomp(needs: &Allowed<'_>, thread: bool) -> Result<(), seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let child = needs.child.and_then(|child| i32::try_from(child).ok());
    // If a call is listed twice, the last entry applies.
    let rules = calls::allowed(own, child, needs.files.is_some(), thread)
        .iter()
        .map(|call| Ok((call.number, call.rules()?)))
        .collect::<Result<_, BackendError>>()?;
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)
}
