//! Ending early without leaving anything behind.
use crate::namespace::Id;
use nix::sys::signal::{SigSet, Signal};

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Holds interrupts back until [`clean_up`] looks after them. To be called before any thread is started; programs that
/// are started do not inherit it.
pub fn hold() {
    signals().thread_block().expect("signals can be blocked");
}

/// From now on an interrupt ends all processes in these namespaces, and then this one with status 130. Everything else
/// that the laboratory made is in memory of the namespaces, and goes with the last process.
pub fn clean_up(namespaces: Id) {
    std::thread::spawn(move || {
        let signal = signals().wait().expect("signals can be waited for");
        eprintln!("\neic-lab: {signal}: cleaning up");
        namespaces.kill_processes();
        std::process::exit(130);
    });
}
