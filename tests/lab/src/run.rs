//! A run of the program, with its times and memory.
use crate::namespace::{EIC_KEYS, Namespace};
use nix::fcntl::OFlag;
use nix::pty::openpty;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use wait4::Wait4;

/// Where the program is installed on the disguised machine.
pub const PROGRAM: &str = "/usr/bin/eic-keys";
/// The time limit of a run, for a busy machine: after it the run is killed, and the test fails.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// How long it took.
    pub wall: Duration,
    /// Processor time, its own and the kernel's for it.
    pub cpu: Duration,
    /// Its peak resident memory in bytes, if [`Run::with_memory`] was called.
    pub memory: Option<u64>,
}

impl Outcome {
    /// The keys that it printed, one a line.
    pub fn keys(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// Runs something up to three times, until it takes less than `time`: what is slow itself is slow each time, unlike what
/// waited on a busy machine. `right` checks each outcome, late ones too, and panics if it is wrong.
///
/// # Panics
/// If each took too long.
pub fn within(time: Duration, mut run: impl FnMut() -> Outcome, right: impl Fn(&Outcome)) {
    let mut walls = Vec::new();
    for _ in 0..3 {
        let outcome = run();
        right(&outcome);
        if outcome.wall < time {
            return;
        }
        walls.push(outcome.wall);
    }
    panic!("each took longer than {time:?}: {walls:?}");
}

/// A run that has not been started: by default as sshd would start it.
#[derive(Debug)]
#[must_use = "a run does nothing before `run`"]
pub struct Run<'a> {
    namespace: &'a Namespace,
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    as_root: bool,
    input: Option<String>,
    stdout: Stdout,
    terminal: bool,
    memory: bool,
    limit: Duration,
}

#[derive(Debug)]
enum Stdout {
    Collected,
    Closed,
    File(String),
}

impl<'a> Run<'a> {
    pub(crate) fn new<A: AsRef<OsStr>>(
        namespace: &'a Namespace,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let environment =
            [("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"), ("USER", EIC_KEYS.name), ("LOGNAME", EIC_KEYS.name)];
        Self {
            namespace,
            program: PROGRAM.into(),
            arguments: arguments.into_iter().map(|a| a.as_ref().to_owned()).collect(),
            environment: environment
                .into_iter()
                .chain([("HOME", EIC_KEYS.home), ("LANG", "C.UTF-8")])
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            as_root: !namespace.has_users(),
            input: None,
            stdout: Stdout::Collected,
            terminal: false,
            memory: false,
            limit: LIMIT,
        }
    }

    /// Runs another program than eic-keys.
    pub fn program(mut self, path: impl AsRef<OsStr>) -> Self {
        path.as_ref().clone_into(&mut self.program);
        self
    }

    /// Runs as root, instead of the unprivileged user that sshd would use.
    pub fn as_root(mut self) -> Self {
        self.as_root = true;
        self
    }

    /// Adds a variable to the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Sets its input, which is empty by default.
    pub fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// Makes input and stderr a terminal.
    pub fn on_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Makes stdout a pipe without a reader.
    pub fn stdout_closed(mut self) -> Self {
        self.stdout = Stdout::Closed;
        self
    }

    /// Redirects stdout to this file, for example `/dev/full`.
    pub fn stdout_to(mut self, path: &str) -> Self {
        self.stdout = Stdout::File(path.to_owned());
        self
    }

    /// Measures its memory. This takes time, so the run's times are not meaningful.
    pub fn with_memory(mut self) -> Self {
        self.memory = true;
        self
    }

    /// Sets another limit than [`LIMIT`].
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it.
    ///
    /// # Panics
    /// If it cannot be started, or has not exited after the limit.
    pub fn run(self) -> Outcome {
        let (mut command, stderr) = self.command();
        let started = Instant::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", Path::new(&self.program).display()));
        // Drops the parent's copies of the child's ends: otherwise reading would not end.
        drop(command);
        let out = collect(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
        let err = collect(stderr.or_else(|| child.stderr.take().map(|pipe| Box::new(pipe) as _)));

        let group = Pid::from_raw(-i32::try_from(child.id()).unwrap());
        let (ended, end) = channel::<()>();
        let limit = self.limit;
        let watchdog = std::thread::spawn(move || {
            let late =
                end.recv_timeout(limit).is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout);
            if late {
                let _ = kill(group, Signal::SIGKILL);
            }
            late
        });
        let memory = self.memory.then(|| peak_memory(Pid::from_raw(-group.as_raw())));
        let usage = child.wait4().unwrap();
        let wall = started.elapsed();
        // A process that inherited the pipes and keeps them open is late too.
        let rest = limit.saturating_sub(wall) + Duration::from_millis(500);
        let (stdout, stderr) = (out.recv_timeout(rest), err.recv_timeout(rest));
        drop(ended);
        let late = watchdog.join().unwrap();
        assert!(
            !late && stdout.is_ok() && stderr.is_ok(),
            "{:?} was still there after {limit:?}",
            self.arguments
        );
        Outcome {
            status: usage.status.code(),
            signal: usage.status.signal(),
            stdout: stdout.unwrap(),
            stderr: stderr.unwrap(),
            wall,
            cpu: usage.rusage.utime + usage.rusage.stime,
            memory: memory.flatten(),
        }
    }

    fn command(&self) -> (Command, Option<Box<dyn Read + Send>>) {
        self.namespace.assert_here();
        let mut command = Command::new(&self.program);
        if self.memory {
            command = Command::new("/bin/sh");
            command.args(["-c", r#"kill -STOP $$; exec "$0" "$@""#]).arg(&self.program);
        }
        command.args(&self.arguments).env_clear().envs(self.environment.iter().cloned()).process_group(0);
        command.current_dir("/");
        if !self.as_root {
            command.uid(EIC_KEYS.id).gid(EIC_KEYS.id);
        }
        match &self.stdout {
            Stdout::Collected => command.stdout(Stdio::piped()),
            Stdout::File(path) => command.stdout(OpenOptions::new().write(true).open(path).unwrap()),
            Stdout::Closed => {
                let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
                drop(reader);
                command.stdout(writer)
            }
        };
        if !self.terminal {
            let input = self.input.as_ref().map_or_else(Stdio::null, |text| in_memory(text).into());
            command.stdin(input).stderr(Stdio::piped());
            return (command, None);
        }
        let terminal = openpty(None, None).expect("a terminal");
        let slave: OwnedFd = terminal.slave;
        command.stdin(slave.try_clone().unwrap()).stderr(slave);
        (command, Some(Box::new(File::from(terminal.master))))
    }
}

/// A text as an anonymous file.
fn in_memory(text: &str) -> File {
    let mut file = File::from(memfd_create("input", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

/// The peak of a program's resident memory, read at its exit; `None` if it was killed before.
///
/// A child's resource usage is not suitable: it includes the memory of the parent that it was forked from. So the program,
/// which a shell delays, is traced up to its exit, where its memory can still be read.
fn peak_memory(process: Pid) -> Option<u64> {
    let stopped = waitpid(process, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    ptrace::seize(process, ptrace::Options::PTRACE_O_TRACEEXIT).unwrap();
    kill(process, Signal::SIGCONT).unwrap();
    loop {
        let signal = match waitpid(process, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::PtraceEvent(_, _, nix::libc::PTRACE_EVENT_EXIT) => break,
            WaitStatus::Stopped(_, signal) if signal != Signal::SIGTRAP => Some(signal),
            WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..) => None,
            ended => panic!("ended unseen: {ended:?}"),
        };
        ptrace::cont(process, signal).unwrap();
    }
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let _ = ptrace::detach(process, None);
    kilobytes.map(|kb| kb * 1024)
}

/// Reads to the end in a thread. A terminal ends with an error (EIO).
fn collect(source: Option<Box<dyn Read + Send>>) -> Receiver<String> {
    let (done, text) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            let _ = source.read_to_end(&mut bytes);
        }
        let _ = done.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}
