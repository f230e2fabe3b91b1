//! Runs programs with limits on their time and output.

use std::{
    error::Error,
    ffi::OsString,
    fmt,
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::safe_path::{self, Program};
use crate::seconds::Seconds;

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// It printed more than `stdout` has.
    pub(crate) is_truncated: bool,
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

/// A command that root may run: a [`Program`] and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct TrustedCommand {
    program: Program,
    arguments: Vec<OsString>,
}

impl TrustedCommand {
    pub(crate) fn new(program: impl Into<Program>) -> Self {
        Self { program: program.into(), arguments: Vec::new() }
    }

    /// A command of [`EnableOptions`](crate::sshd::EnableOptions). Without a word, it cannot be run.
    pub(crate) fn of_options(words: &[OsString]) -> Self {
        let (program, arguments) =
            words.split_first().map(|(first, rest)| (first.clone(), rest)).unwrap_or_default();
        Self { program: Program::of_options(program), arguments: arguments.to_vec() }
    }

    /// Adds arguments.
    #[must_use]
    pub(crate) fn with(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        // `Vec::extend` would be more code for each type.
        for argument in arguments {
            self.arguments.push(argument.into());
        }
        self
    }

    /// Adds another command as arguments, which this one runs.
    #[must_use]
    pub(crate) fn running(self, command: &Self) -> Self {
        self.with([command.program.word()]).with(command.arguments.iter().cloned())
    }

    /// The command that runs this one as a user. Only root can run it. Needs setsid(1) and setpriv(1).
    pub(crate) fn as_user(&self, user: &Credentials) -> Self {
        user.change().running(self)
    }

    /// Runs it in a clean environment, and kills it after `limit`.
    ///
    /// # Errors
    /// Fails if the program cannot be started or does not end in time.
    pub(crate) fn run(&self, limit: Duration) -> io::Result<Output> {
        let mut command = self.to_std();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if self.program == SETSID.into() => {
                io::Error::new(error.kind(), NoSetsid)
            }
            _ => error,
        })?;
        finish(child, limit)
    }

    /// Starts it in a clean environment, to read its output while it runs. Its input is `stdin` or empty. Its error output goes to
    /// `stderr`.
    ///
    /// # Errors
    /// Fails if the program cannot be started.
    pub(crate) fn start(&self, stdin: Option<File>, stderr: Stdio) -> io::Result<Child> {
        let mut command = self.to_std();
        command.stdin(stdin.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped()).stderr(stderr);
        command.spawn()
    }

    /// This command in the root directory, with an environment that does not depend on the caller's.
    #[expect(clippy::disallowed_methods, reason = "the program is a trusted one")]
    pub(crate) fn to_std(&self) -> Command {
        let mut command = Command::new(self.program.path());
        command.args(&self.arguments).current_dir("/");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        command
    }
}

/// The user and groups that a program runs as.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The supplementary groups, as initgroups(3) sets them.
    pub(crate) groups: Vec<u32>,
}

/// The program that starts a session.
const SETSID: &str = "setsid";

/// There is no program that starts a session.
#[derive(Debug)]
struct NoSetsid;

impl fmt::Display for NoSetsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no setsid(1) (package util-linux)")
    }
}

impl Error for NoSetsid {}

/// Whether a command was not started because there is no program that changes the user.
pub(crate) fn is_without_setsid(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<NoSetsid>)
}

/// Whether a line of error output is that of a program that changes the user, and not that of the program which is run: it is not
/// installed, or a library of it is missing.
pub(crate) fn cannot_change_user(line: &str) -> bool {
    let begins = ["setpriv: error while loading", "setsid: error while loading"];
    line.contains("execute setpriv") || begins.iter().any(|begin| line.starts_with(begin))
}

impl Credentials {
    /// The command that changes to this user and then runs another one.
    ///
    /// The program gets a session of its own before it gets the user: without a controlling terminal, no process of that user
    /// can put characters into the input of root's terminal (`TIOCSTI`; CVE-2016-2779 was this fault of runuser(1)). env(1) starts
    /// it, because setpriv(1) still has root's capabilities then, and could start a program that the user cannot.
    fn change(&self) -> TrustedCommand {
        let groups: Vec<_> = self.groups.iter().map(ToString::to_string).collect();
        let groups = if groups.is_empty() {
            "--clear-groups".to_owned()
        } else {
            format!("--groups={}", groups.join(","))
        };
        let (uid, gid) = (format!("--reuid={}", self.uid), format!("--regid={}", self.gid));
        TrustedCommand::new(SETSID).with(["setpriv", &uid, &gid, &groups, "--", "env"])
    }

    /// The command that runs a program of the user's choice as this user, with these variables (`NAME=VALUE`). Root's program must be
    /// one that only root can change.
    ///
    /// # Errors
    /// Fails if the user is root, and other users can change the program or it cannot be examined.
    pub(crate) fn run_program(&self, variables: &[&str], program: &Path) -> io::Result<TrustedCommand> {
        if self.uid == 0 {
            safe_path::program(Path::new("/"), program)?;
        }
        Ok(self.change().with(variables).with([program]))
    }
}

fn finish(mut child: Child, limit: Duration) -> io::Result<Output> {
    let start = Instant::now();
    // One byte more tells that there is more.
    let (stdout, stderr) = (Collected::new(MAX_OUTPUT.saturating_add(1)), Collected::new(MAX_OUTPUT));
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
            let reason = format!("no answer in {} s", Seconds(limit));
            return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
        }
        thread::sleep(pause);
        pause = pause.saturating_mul(2).min(Duration::from_millis(20));
    };
    // A grandchild can hold the pipes open. Wait for the end of both only until the time limit: nothing is ever sent.
    let _: Result<(), RecvTimeoutError> = ends.recv_timeout(limit.saturating_sub(start.elapsed()));
    let (stdout, stderr) = (stdout.bytes(), stderr.bytes());
    Ok(Output { status, is_truncated: stdout.len() > MAX_OUTPUT, stdout, stderr })
}

/// A program whose output is read while it runs.
#[derive(Debug)]
pub(crate) struct PipedProgram {
    child: Child,
    output: ChildStdout,
}

impl PipedProgram {
    pub(crate) fn new(mut child: Child) -> io::Result<Self> {
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, output })
    }

    /// Reads the output, and kills the program if that fails. `left` is the time to wait for the next bytes. Returns whether the program
    /// succeeded.
    ///
    /// # Errors
    /// Fails if reading fails, with [`io::ErrorKind::TimedOut`] if no time is left.
    pub(crate) fn read<Left: Fn() -> Duration>(
        self,
        left: Left,
        read: impl FnOnce(TimeoutReader<Left>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let Self { mut child, output } = self;
        let result = read(TimeoutReader { pipe: output, left });
        if result.is_err() {
            let _ = child.kill();
        }
        let status = child.wait()?;
        result.map(|()| status.success())
    }
}

/// A pipe that fails if nothing comes in time.
pub(crate) struct TimeoutReader<Left> {
    pipe: ChildStdout,
    left: Left,
}

impl<Left: Fn() -> Duration> Read for TimeoutReader<Left> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = (self.left)();
        let limit = Timespec::try_from(left).ok();
        let mut pipe = [PollFd::from_borrowed_fd(self.pipe.as_fd(), PollFlags::IN)];
        if left.is_zero() || poll(&mut pipe, limit.as_ref())? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.pipe.read(buffer)
    }
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

    /// What was read so far, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn output_is_not_lost_to_a_process_that_keeps_it_open() {
        let start = Instant::now();
        let shell = TrustedCommand::new("sh").with(["-c", "echo said; sleep 30 & exit 3"]);
        let output = shell.run(Duration::from_millis(500)).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), b"said\n".as_slice()));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed() {
        let sleep = TrustedCommand::new("sleep").with(["30"]).run(Duration::from_millis(500));
        let error = sleep.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (io::ErrorKind::TimedOut, "no answer in 0.5 s".to_owned())
        );
    }

    #[test]
    fn the_most_output_of_a_rehearsal() {
        let most = crate::limits::REHEARSAL_OUTPUT;
        for length in [most.saturating_sub(1), most, most.saturating_add(1)] {
            let (output, (open, ends)) = (Collected::new(most), channel::<()>());
            output.collect(Some(io::Cursor::new(vec![b'x'; length])), open);
            assert!(ends.recv().is_err());
            assert_eq!(output.bytes().len(), length.min(most));
        }
    }

    #[test]
    fn a_command_is_composed_from_the_outside_in() {
        let inner = TrustedCommand::new("sh").with(["-c", "echo $A; pwd"]);
        let outer = TrustedCommand::new("env").with(["A=1"]).running(&inner);
        let output = outer.run(Duration::from_secs(10)).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n/\n");
    }

    #[test]
    fn root_starts_no_program_that_others_can_change() {
        use std::os::unix::fs::PermissionsExt;
        // Every user can write to that directory.
        let program = std::env::temp_dir().join(format!("eic-keys-process-{}", std::process::id()));
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let user = |uid| Credentials { uid, gid: uid, groups: Vec::new() };
        assert!(user(0).run_program(&[], &program).is_err());
        assert!(user(65534).run_program(&[], &program).is_ok());
        assert!(user(0).run_program(&[], Path::new("/bin/sh")).is_ok());
        std::fs::remove_file(&program).unwrap();
    }
}
