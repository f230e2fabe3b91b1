//! Runs a program with limits on its time and output.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{RecvTimeoutError, channel},
    },
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
const MAX_OUTPUT: usize = 1024 * 1024;

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
    let start = Instant::now();
    let (stdout, stderr) = (Collected::new(MAX_OUTPUT), Collected::new(MAX_OUTPUT));
    let (open, ends) = channel::<()>();
    stdout.collect(child.stdout.take(), open.clone());
    stderr.collect(child.stderr.take(), open);
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
    // A grandchild can hold the pipes open. Wait for the end of both only until the time limit: nothing is ever sent.
    let _: Result<(), RecvTimeoutError> = ends.recv_timeout(limit.saturating_sub(start.elapsed()));
    Ok(Output { status, stdout: stdout.bytes(), stderr: stderr.bytes() })
}

/// The output of a program, as far as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    most: usize,
}

impl Collected {
    /// Nothing yet. Of the output, only the first `most` bytes are kept.
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: Arc::default(), most }
    }

    /// Reads a pipe to its end in another thread, and then drops `open`.
    pub(crate) fn collect(&self, pipe: Option<impl Read + Send + 'static>, open: impl Send + 'static) {
        let Some(mut pipe) = pipe else { return };
        let collected = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => collected.add(buffer.get(..length).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            drop(open);
        });
    }

    fn add(&self, bytes: &[u8]) {
        if let Ok(mut kept) = self.bytes.lock() {
            let room = self.most.saturating_sub(kept.len());
            kept.extend(bytes.iter().take(room));
        }
    }

    /// What was read so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().map(|kept| kept.clone()).unwrap_or_default()
    }

    /// The same as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}
