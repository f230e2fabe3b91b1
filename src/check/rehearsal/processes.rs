//! Finds the processes of a rehearsal in `/proc`.

use std::path::Path;

use rustix::process::Signal;

use crate::procfs::{Process, processes, send_signal};

fn find(pid: u32) -> Option<Process> {
    Process::read(Path::new(&format!("/proc/{pid}")))
}

/// Whether a process still exists.
pub(super) fn exists(process: &Process) -> bool {
    find(process.pid).is_some_and(|now| now.started == process.started)
}

/// Kills a process, if it still exists.
pub(super) fn kill(process: &Process) {
    let _ = send_signal(process.pid, Signal::KILL, || exists(process));
}

/// Asks a child that was not waited for to end: its number is not used again until then.
pub(super) fn terminate(child: u32) {
    let _ = send_signal(child, Signal::TERM, || true);
}

/// The children of a process, their children, and so on.
pub(super) fn descendants(pid: u32) -> Vec<Process> {
    let all: Vec<Process> = processes(Path::new("/proc")).filter_map(find).collect();
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
#[allow(clippy::disallowed_methods, reason = "tests")]
mod tests {
    use super::{descendants, exists, kill};

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
            assert!(exists(process));
            kill(process);
        }
        Ok(())
    }
}
