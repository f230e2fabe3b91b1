//! Sandboxes the process before it reads the first reply, so that a compromised process can do little.
//!
//! The sandbox is permanent and affects this process only: the chained command is started before. If the kernel lacks a layer
//! (Landlock needs Linux 5.13, its TCP rules 6.7), the run continues without it, because a login does not depend on it. `calls` has the
//! system calls of a run, and `filter` makes the seccomp filter of them.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::limits;
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

mod calls;
mod filter;

/// What a run still needs after it enters the sandbox.
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
#[derive(Debug)]
pub struct Layer {
    /// Its name.
    pub name: &'static str,
    /// Whether it is active; otherwise the reason.
    pub active: Result<(), LayerError>,
}

impl Layer {
    fn new(name: &'static str, active: Result<(), impl Into<LayerError>>) -> Self {
        Self { name, active: active.map_err(Into::into) }
    }
}

/// Why a layer is not active. The texts of the errors of both crates contain their causes.
#[derive(Debug)]
pub enum LayerError {
    /// The kernel has no Landlock.
    NoLandlock,
    /// The Landlock of the kernel has no rules for TCP.
    NoTcpRules,
    /// Landlock failed. Two layers share the error.
    Landlock(Arc<RulesetError>),
    /// The filter could not be built or installed.
    Seccomp(seccompiler::Error),
    /// A system call failed.
    System(std::io::Error),
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLandlock => f.write_str("this kernel has no Landlock"),
            Self::NoTcpRules => f.write_str("Landlock of this kernel has no rules for TCP"),
            Self::Landlock(error) => error.fmt(f),
            Self::Seccomp(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl Error for LayerError {}

impl From<seccompiler::Error> for LayerError {
    fn from(error: seccompiler::Error) -> Self {
        Self::Seccomp(error)
    }
}

impl From<io::Errno> for LayerError {
    fn from(error: io::Errno) -> Self {
        Self::System(error.into())
    }
}

/// Drops all rights except `allowed`, as far as the kernel supports it, and returns the state of each layer. The process must have
/// one thread.
#[must_use]
pub fn enter(allowed: &Allowed<'_>) -> Vec<Layer> {
    let mut layers = vec![
        Layer::new("no core dump, no debugger", set_dumpable_behavior(DumpableBehavior::NotDumpable)),
        Layer::new("resource limits", limit()),
    ];
    layers.extend(enter_layers(allowed, false));
    layers
}

/// Like [`enter`], but only with the layers for the calling thread and the threads that it starts. The thread can still exit.
#[must_use]
pub fn enter_thread(allowed: &Allowed<'_>) -> Vec<Layer> {
    enter_layers(allowed, true)
}

fn enter_layers(allowed: &Allowed<'_>, thread: bool) -> Vec<Layer> {
    // Without `no_new_privs`, the kernel refuses the later layers to users other than root. The seccomp filter is last because it
    // forbids these calls.
    let mut layers = vec![
        Layer::new("no capabilities", drop_capabilities()),
        Layer::new("no new privileges", set_no_new_privs(true)),
    ];
    layers.extend(landlock(allowed));
    layers.push(Layer::new("system calls (seccomp)", seccomp(allowed, thread)));
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
        (Resource::As, limits::ADDRESS_SPACE),
        (Resource::Nofile, limits::OPEN_FILES),
        (Resource::Cpu, limits::CPU_TIME),
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

fn landlock(allowed: &Allowed<'_>) -> [Layer; 2] {
    const FILES: &str = "files (Landlock)";
    const NETWORK: &str = "TCP to the metadata service's port only (Landlock)";
    match restrict(allowed) {
        Ok(LandlockStatus::Available { effective_abi, .. }) => {
            let network = if effective_abi < ABI::V4 { Err(LayerError::NoTcpRules) } else { Ok(()) };
            [Layer { name: FILES, active: Ok(()) }, Layer { name: NETWORK, active: network }]
        }
        Ok(_) => [FILES, NETWORK].map(|name| Layer { name, active: Err(LayerError::NoLandlock) }),
        Err(error) => {
            let error = Arc::new(error);
            [FILES, NETWORK].map(|name| Layer { name, active: Err(LayerError::Landlock(Arc::clone(&error))) })
        }
    }
}

fn restrict(allowed: &Allowed<'_>) -> Result<LandlockStatus, RulesetError> {
    let mut scope = Scope::from_all(LANDLOCK);
    if allowed.child.is_some() {
        scope.remove(Scope::Signal);
    }
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(scope)?
        .create()?
        .no_new_privs(false);
    for port in allowed.ports {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    if let Some(Ok(files)) = allowed.files.map(PathFd::new) {
        rules = rules.add_rule(PathBeneath::new(files, AccessFs::ReadFile))?;
    }
    Ok(rules.restrict_self()?.landlock)
}

fn seccomp(allowed: &Allowed<'_>, thread: bool) -> Result<(), seccompiler::Error> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let child = allowed.child.and_then(|child| i32::try_from(child).ok());
    let calls = calls::allowed(own, child, allowed.files.is_some(), thread);
    seccompiler::apply_filter(&filter::program(&calls, filter::PART)?)
}
