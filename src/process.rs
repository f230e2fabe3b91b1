//! Runs a program with limits on its time and output.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// The result of a program.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// The last lines of its error output, or its status if there are none.
    pub(crate) fn error_text(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let text = text.trim_end();
        let lines: Vec<_> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
        if last.is_empty() { self.status.to_string() } else { last.join("; ") }
    }
}

/// Number of lines of error output to return.
const LAST_LINES: usize = 4;

/// More than sshd or systemctl print. The rest is discarded.
const MAX_OUTPUT: u64 = 1024 * 1024;

/// Runs `words` with `arguments` in a clean environment, and kills it after `limit`.
///
/// # Errors
/// Fails if the program cannot be started or does not end in time.
pub(crate) fn run(words: &[OsString], arguments: &[&OsStr], limit: Duration) -> io::Result<Output> {
    finish(command(words, arguments)?.spawn()?, limit)
}

/// Starts `words` with `arguments` in a clean environment, to read its output while it runs. Its input is `stdin` or empty. Its error
/// output is discarded.
///
/// # Errors
/// Fails if the program cannot be started.
pub(crate) fn start(words: &[OsString], arguments: &[&OsStr], stdin: Option<File>) -> io::Result<Child> {
    let mut command = command(words, arguments)?;
    if let Some(file) = stdin {
        command.stdin(file);
    }
    command.stderr(Stdio::null()).spawn()
}

/// The user and groups that a program runs as.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The supplementary groups, as initgroups(3) sets them.
    pub(crate) groups: Vec<u32>,
}

impl Credentials {
    /// The words, in front of those of a program, that run it as this user. Only root can do this.
    ///
    /// The program gets a session of its own before it gets the user: without a controlling terminal, no process of that user
    /// can put characters into the input of root's terminal (`TIOCSTI`; CVE-2016-2779 was this fault of runuser(1)). env(1) starts
    /// it, because setpriv(1) still has root's capabilities then, and could start a program that the user cannot.
    pub(crate) fn prefix(&self) -> Vec<OsString> {
        let groups: Vec<_> = self.groups.iter().map(ToString::to_string).collect();
        let groups = if groups.is_empty() {
            "--clear-groups".to_owned()
        } else {
            format!("--groups={}", groups.join(","))
        };
        let (uid, gid) = (format!("--reuid={}", self.uid), format!("--regid={}", self.gid));
        ["setsid", "setpriv", &uid, &gid, &groups, "--", "env"].map(OsString::from).into()
    }
}

/// Like [`run`], but as another user, in the root directory. Only root can do this. Needs setsid(1) and setpriv(1).
///
/// # Errors
/// Fails if the program cannot be started as that user or does not end in time.
pub(crate) fn run_as(user: &Credentials, words: &[OsString], limit: Duration) -> io::Result<Output> {
    let mut command = command(&[user.prefix(), words.to_vec()].concat(), &[])?;
    command.current_dir("/");
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(error.kind(), "there is no setsid(1) (package util-linux)"),
        _ => error,
    })?;
    finish(child, limit)
}

fn command(words: &[OsString], arguments: &[&OsStr]) -> io::Result<Command> {
    let (program, first) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    clean_environment(&mut command)
        .args(first)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// Sets an environment that does not depend on the caller's.
pub(crate) fn clean_environment(command: &mut Command) -> &mut Command {
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C")
}

fn finish(mut child: Child, limit: Duration) -> io::Result<Output> {
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
    // A grandchild can hold the pipes open. Wait for their end only until the time limit.
    let left = limit.saturating_sub(start.elapsed());
    let take = |output: Receiver<Vec<u8>>| output.recv_timeout(left).unwrap_or_default();
    Ok(Output { status, stdout: take(stdout), stderr: take(stderr) })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // Keep the bytes that were read before an error.
            let _ = pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        let _ = sender.send(bytes);
    });
    receiver
}
