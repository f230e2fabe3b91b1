//! What the process gives up before it listens to anybody: should a reply ever get the better of it, there is little left to
//! take over.
//!
//! All is given up for good, by this process alone: a command behind `--` was started before. A kernel that lacks a layer
//! (Landlock is there from Linux 5.13, its TCP rules from 6.7) goes on without it, as a login does not depend on it.

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
use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities,
};
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter};

use crate::limits;

mod calls;

/// What a run still needs.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
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
pub fn enter(needs: &Allowed<'_>) -> Vec<Layer> {
    let mut layers = vec![
        Layer::new("no core dump, no debugger", prctl::set_dumpable(false)),
        Layer::new("resource limits", limit()),
    ];
    layers.extend(confine_caller(needs, false));
    layers
}

/// As [`sandbox`], but only what binds the calling thread alone, and those that it starts. It may still end.
#[must_use]
pub fn enter_thread(needs: &Allowed<'_>) -> Vec<Layer> {
    confine_caller(needs, true)
}

fn confine_caller(needs: &Allowed<'_>, thread: bool) -> Vec<Layer> {
    // Who is not root is refused the rest without the second. The filter comes last: it allows none of this.
    let mut layers = vec![
        Layer::new("no capabilities", drop_capabilities()),
        Layer::new("no new privileges", prctl::set_no_new_privs()),
    ];
    layers.extend(landlock(needs));
    layers.push(Layer::new("system calls (seccomp)", seccomp(needs, thread)));
    layers
}

/// The system calls that a run makes before the filter, by their names; those of the filter itself, too.
#[must_use]
pub fn calls_before() -> &'static [&'static str] {
    calls::BEFORE
}

/// The system calls that the filter lets through, by their names: all that a run may need, whatever it is asked for.
#[must_use]
pub fn calls_allowed() -> Vec<&'static str> {
    calls::allowed(0, Some(0), true, false).into_iter().map(|call| call.name).collect()
}

/// All of them, out of every set: root may do no more than anybody whose files are root's.
fn drop_capabilities() -> io::Result<()> {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The kernel knows no more of them; or the caller may not, and has none to lose there: what the set bounds, programs
            // that it executes, gain nothing without new privileges.
            Err(io::Errno::INVAL | io::Errno::PERM) => break,
            Err(errno) => return Err(errno),
        }
    }
    match clear_ambient_capability_set() {
        // Linux before 4.3 has no such set.
        Ok(()) | Err(io::Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
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

/// What [`calls::allowed`] does not list fails with EPERM: a libc that tries something new goes on without it.
fn seccomp(needs: &Allowed<'_>, thread: bool) -> Result<(), seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let child = needs.child.and_then(|child| i32::try_from(child).ok());
    // Of one that is there twice the last counts.
    let rules = calls::allowed(own, child, needs.files.is_some(), thread)
        .iter()
        .map(|call| Ok((call.number, call.rules()?)))
        .collect::<Result<_, BackendError>>()?;
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)
}
