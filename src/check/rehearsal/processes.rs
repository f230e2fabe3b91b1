//! Finds the processes of a rehearsal in `/proc`.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// A process. Its start time tells it from a later process with the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    parent: u32,
    started: u64,
    pub(super) name: String,
}

impl Process {
    fn find(pid: u32) -> Option<Self> {
        Self::read(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Parses `/proc/PID/stat` (`proc_pid_stat(5)`). The name, in parentheses, can contain any character.
    fn read(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split(' ').collect();
        Some(Self {
            pid: pid.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            name: name.to_owned(),
        })
    }

    /// Whether the process still exists.
    pub(super) fn exists(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// Kills the process, if it still exists.
    pub(super) fn kill(&self) {
        if self.exists() {
            signal(self.pid, Signal::KILL);
        }
    }
}

/// Sends a signal. A process that has ended is ignored.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// The children of a process, their children, and so on.
pub(super) fn descendants(pid: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: Vec<Process> = numbers.filter_map(Process::find).collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            if !found.contains(process) {
                parents.push(process.pid);
                found.push(process.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Process, descendants};

    #[test]
    fn a_name_with_parentheses() {
        let fields = "S 77 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        let process = Process::read(&format!("12 (a) (b) {fields}"));
        let expected = Process { pid: 12, parent: 77, started: 4242, name: "a) (b".to_owned() };
        assert_eq!(process, Some(expected));
        assert_eq!(Process::read("12 (a"), None);
    }

    #[test]
    fn children_of_children() -> std::io::Result<()> {
        let mut shell = std::process::Command::new("sh").args(["-c", "sh -c 'sleep 60; :'; :"]).spawn()?;
        let mut found = Vec::new();
        for _ in 0..500 {
            found = descendants(shell.id());
            if found.iter().any(|process| process.name == "sleep") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let names: Vec<_> = found.iter().map(|process| process.name.as_str()).collect();
        assert_eq!(names, ["sh", "sleep"]);
        shell.kill()?;
        shell.wait()?;
        for process in &found {
            assert!(process.exists());
            process.kill();
        }
        Ok(())
    }
}
