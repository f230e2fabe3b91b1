//! The namespaces of a thread or process, and the other processes in them.
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Which namespaces a thread or a process is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    pub(crate) network: PathBuf,
    pub(crate) mounts: PathBuf,
}

impl Id {
    /// Of the calling thread.
    pub fn current() -> Self {
        Self::of("thread-self").expect("/proc is mounted")
    }

    fn of(process: &str) -> Option<Self> {
        let link = |kind| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
        Some(Self { network: link("net")?, mounts: link("mnt")? })
    }

    /// The other processes in these namespaces.
    pub fn processes(&self) -> Vec<Pid> {
        let own = Pid::this();
        fs::read_dir("/proc")
            .expect("/proc is mounted")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid::from_raw))
            .filter(|pid| *pid != own && Self::of(&pid.to_string()).as_ref() == Some(self))
            .collect()
    }

    /// Ends every other process in these namespaces, children of children too. Gives up after half a minute.
    pub fn kill_processes(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let found = self.processes();
            if found.is_empty() {
                return;
            }
            for process in found {
                let _ = kill(process, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
