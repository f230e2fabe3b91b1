//! Ending early, with everything cleaned up.
use crate::namespace::Id;
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, Ordering};

static ENDING: AtomicBool = AtomicBool::new(false);

/// Does not return after an interrupt: what fails from then on is due to the cleaning up and is not reported.
pub fn check() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Blocks interrupts until [`clean_up`] handles them. Call this before any thread is started; programs that
/// are started do not inherit it.
pub fn hold() {
    signals().thread_block().expect("signals can be blocked");
}

/// From now on an interrupt ends all processes in these namespaces, and then this one as if it had not been blocked.
/// Everything else that the laboratory made is in memory of the namespaces, and ends with the last process.
pub fn clean_up(namespaces: Id) {
    std::thread::spawn(move || {
        let signal = signals().wait().expect("signals can be waited for");
        ENDING.store(true, Ordering::SeqCst);
        eprintln!("\neic-lab: {signal}: cleaning up");
        namespaces.kill_processes();
        // Not by `exit`, which would end libraries that other threads still use.
        signals().thread_unblock().and_then(|()| raise(signal)).expect("a signal can be raised");
        // In a process that a script started in the background, it is ignored.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    });
}
