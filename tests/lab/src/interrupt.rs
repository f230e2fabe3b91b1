//! Ending early without leaving anything behind.
use crate::namespace::Id;
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, Ordering};

static ENDING: AtomicBool = AtomicBool::new(false);

/// Does not return once an interrupt has come: what happens from then on is of the cleaning up, and not worth telling.
pub fn check() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Holds interrupts back until [`clean_up`] looks after them. To be called before any thread is started; programs that
/// are started do not inherit it.
pub fn hold() {
    signals().thread_block().expect("signals can be blocked");
}

/// From now on an interrupt ends all processes in these namespaces, and then this one as if it had not been held back.
/// Everything else that the laboratory made is in memory of the namespaces, and goes with the last process.
pub fn clean_up(namespaces: Id) {
    std::thread::spawn(move || {
        let signal = signals().wait().expect("signals can be waited for");
        ENDING.store(true, Ordering::SeqCst);
        eprintln!("\neic-lab: {signal}: cleaning up");
        namespaces.kill_processes();
        // Not by `exit`: that would tidy up libraries which the other threads still use.
        signals().thread_unblock().and_then(|()| raise(signal)).expect("a signal can be raised");
        // Who was started in a script's background has it ignored.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    });
}
