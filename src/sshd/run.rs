//! Runs a program with bounds on its time and its output.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// What a program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Ran {
    /// The last lines of what it complained, or its status when it did not.
    pub(crate) fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let text = text.trim_end();
        let lines: Vec<_> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(COMPLAINT)..).unwrap_or_default();
        if last.is_empty() { self.status.to_string() } else { last.join("; ") }
    }
}

/// Lines of a complaint that are passed on.
const COMPLAINT: usize = 4;

/// More than sshd, or systemctl, ever prints; what is beyond is cut off.
const LARGEST_OUTPUT: u64 = 1024 * 1024;

/// Runs `words` with `arguments`, with nothing of our environment, and kills it after `limit`.
///
/// # Errors
/// It could not be started, or did not end in time.
pub(crate) fn run(words: &[OsString], arguments: &[&OsStr], limit: Duration) -> io::Result<Ran> {
    finish(command(words, arguments)?, limit)
}

/// The same as another user, without groups beside its own: for root.
///
/// # Errors
/// It could not be started so, or did not end in time.
pub(crate) fn run_as(
    (user, group): (u32, u32),
    words: &[OsString],
    arguments: &[&OsStr],
    limit: Duration,
) -> io::Result<Ran> {
    let mut command = command(words, arguments)?;
    command.uid(user).gid(group).current_dir("/");
    finish(command, limit)
}

fn command(words: &[OsString], arguments: &[&OsStr]) -> io::Result<Command> {
    let (program, first) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command
        .args(first)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

fn finish(mut command: Command, limit: Duration) -> io::Result<Ran> {
    let mut child = command.spawn()?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer in {} s", limit.as_secs()),
            ));
        }
        thread::sleep(pause);
        pause = pause.saturating_mul(2).min(Duration::from_millis(20));
    };
    // A child of the child may hold the other end of the pipes; it is not waited for longer than the child was.
    let left = limit.saturating_sub(start.elapsed());
    let take = |output: Receiver<Vec<u8>>| output.recv_timeout(left).unwrap_or_default();
    Ok(Ran { status, stdout: take(stdout), stderr: take(stderr) })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still worth having.
            let _ = pipe.by_ref().take(LARGEST_OUTPUT).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        let _ = sender.send(bytes);
    });
    receiver
}
