//! One login of a rehearsal: the system's ssh, and an sshd for its connection.
//!
//! ssh connects to a port of 127.0.0.1 on which this process listens. The connection of ssh is accepted and passed to
//! sshd. Connections of other processes are closed before a byte is read, so only ssh ever speaks to this sshd.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::processes::{descendants, exists, kill, terminate};
use crate::files;
use crate::limits;
use crate::lists;
use crate::process::{Collected, TrustedCommand};
use crate::procfs::{self, Process};
use crate::safe_path::Program;

/// The character that ends the input of a terminal. A shell ends when it reads it, but a program that reads nothing,
/// such as a start file that hangs, does not.
const END: &[u8] = b"\x04";

/// What ssh asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginKind<'a> {
    /// A command that prints this word, without a terminal.
    Command(&'a str),
    /// The login shell, with a terminal. Its history stays empty: only empty lines are typed.
    Terminal,
}

/// How a login ended.
#[derive(Debug)]
pub(super) enum LoginEnd {
    /// The session answers on its terminal. It was then closed.
    Answers,
    /// It prints nothing on its terminal, but ends with its input.
    Silent,
    /// ssh ended with this status: the session's, or 255.
    Status(i32),
    /// Neither of these happened within the time limit.
    TimedOut,
}

/// The programs of a login beside sshd.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) ssh: Program,
    pub(super) timeout: Program,
    pub(super) setsid: Program,
}

/// The result of a login.
#[derive(Debug)]
pub(super) struct LoginOutcome {
    pub(super) ending: LoginEnd,
    /// The output of the session and of ssh.
    pub(super) output: String,
    /// sshd's messages, one a line.
    pub(super) log: Vec<String>,
    /// The process of sshd, as which PAM logs.
    pub(super) sshd: u32,
    /// The programs of a session that did not end.
    pub(super) running: Vec<String>,
    /// Their command lines.
    pub(super) commands: Vec<String>,
}

/// Logs in.
///
/// # Errors
/// Fails if a program cannot be started, or if ssh does not connect.
pub(super) fn log_in(
    programs: &Programs,
    directory: &Directory,
    sshd: &TrustedCommand,
    user: &str,
    login: LoginKind<'_>,
    deadline: Instant,
) -> io::Result<LoginOutcome> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| {
        io::Error::new(error.kind(), format!("it needs the address 127.0.0.1 of the interface lo: {error}"))
    })?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let mut ssh = KillOnDrop(
        client(programs, directory, address.port(), user, login, deadline).spawn().map_err(named("ssh"))?,
    );
    let input = ssh.0.stdin.take();
    let output = Collected::new(limits::REHEARSAL_OUTPUT);
    let (open, ends) = channel::<()>();
    output.collect(ssh.0.stdout.take(), open.clone());
    output.collect(ssh.0.stderr.take(), open.clone());
    let connection = accept(&listener, address, &mut ssh.0, &output, deadline)?;
    drop(listener);
    let log = Collected::new(limits::REHEARSAL_OUTPUT);
    let mut server = KillOnDrop(serve(&programs.setsid, sshd, connection)?);
    log.collect(server.0.stderr.take(), open);
    let mut terminal = Terminal::new(input, &output, &log);
    let mut ending = match login {
        LoginKind::Command(_) => wait(&mut ssh.0, deadline, || false)?,
        LoginKind::Terminal => match wait(&mut ssh.0, deadline, || terminal.answers())? {
            LoginEnd::Status(_) if terminal.is_closed() => LoginEnd::Silent,
            ending => ending,
        },
    };
    let session = match ending {
        LoginEnd::Status(_) | LoginEnd::Silent => Vec::new(),
        LoginEnd::Answers | LoginEnd::TimedOut => session(server.0.id()),
    };
    let commands = lists::unique(session.iter().map(command_line));
    stop(&mut ssh.0);
    finish(&mut server.0, &session);
    let running = lists::unique(session.into_iter().map(|process| process.name));
    // What they said last may not be read yet. A process that stays can hold the pipes open: nothing is ever sent.
    let _: Result<(), RecvTimeoutError> = ends.recv_timeout(limits::REHEARSAL_END);
    let lines = log.text().lines().map(|line| line.trim_end().to_owned()).collect();
    if matches!(ending, LoginEnd::Silent) && terminal.has_answered() {
        ending = LoginEnd::Answers;
    }
    Ok(LoginOutcome { ending, output: output.text(), log: lines, sshd: server.0.id(), running, commands })
}

fn named(program: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{program} cannot be run: {error}"))
}

/// A child that is killed when the rehearsal ends, also after an error.
#[derive(Debug)]
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let left = descendants(self.0.id());
            let _ = self.0.kill();
            let _ = self.0.wait();
            left.iter().for_each(kill);
        }
    }
}

/// The system's ssh, without any configuration and agent. timeout(1) ends it, and so the connection and sshd, if this
/// process is killed.
fn client(
    programs: &Programs,
    directory: &Directory,
    port: u16,
    user: &str,
    login: LoginKind<'_>,
    deadline: Instant,
) -> Command {
    // Later than this process, which ends the session first.
    let left = deadline.saturating_duration_since(Instant::now()).as_secs().saturating_add(3);
    let mut command = TrustedCommand::new(programs.timeout.clone())
        .with(["--foreground", "--kill-after=1", &left.to_string()])
        .running(&TrustedCommand::new(programs.ssh.clone()))
        .to_std();
    command
        .args(["-F", "none", "-a", "-x", "-p", &port.to_string(), "-l", user, "-i"])
        .arg(directory.private_key());
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey",
        // sshd's end of the connection is not in question: this process listens on the port.
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "GlobalKnownHostsFile=/dev/null",
        "ControlPath=none",
        "LogLevel=ERROR",
    ] {
        command.args(["-o", option]);
    }
    command.arg(if login == LoginKind::Terminal { "-tt" } else { "-T" }).arg(Ipv4Addr::LOCALHOST.to_string());
    match login {
        LoginKind::Command(word) => command.arg(format!("echo {word}")).stdin(Stdio::null()),
        LoginKind::Terminal => command.stdin(Stdio::piped()),
    };
    // On such a terminal, shells do not query the terminal's properties.
    command.env("HOME", NO_HOME).env("TERM", "dumb").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The home directory of both programs: no file of root's is read.
const NO_HOME: &str = "/nonexistent";

/// Waits for the connection of ssh. Closes any other.
fn accept(
    listener: &TcpListener,
    address: SocketAddr,
    ssh: &mut Child,
    output: &Collected,
    deadline: Instant,
) -> io::Result<TcpStream> {
    loop {
        match listener.accept() {
            Ok((connection, peer)) if is_of(ssh.id(), peer, address) => {
                connection.set_nonblocking(false)?;
                return Ok(connection);
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if let Some(status) = ssh.try_wait()? {
                    thread::sleep(limits::REHEARSAL_PAUSE);
                    return Err(io::Error::other(format!("ssh: {status}: {}", output.text().trim_end())));
                }
                if Instant::now() >= deadline {
                    return Err(io::Error::new(ErrorKind::TimedOut, "ssh did not connect in time"));
                }
                thread::sleep(Duration::from_millis(2));
            }
            // A client that closed its connection again.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a connection is one of this process or of a child of it.
fn is_of(process: u32, peer: SocketAddr, local: SocketAddr) -> bool {
    let sockets = procfs::tcp_sockets(Path::new("/proc/thread-self"));
    let socket = sockets.iter().find(|socket| socket.local == peer && socket.remote == local);
    let Some(inode) = socket.map(|socket| socket.inode).filter(|inode| *inode != 0) else { return false };
    let children = descendants(process).into_iter().map(|child| child.pid);
    let mut processes = [process].into_iter().chain(children);
    processes.any(|pid| procfs::open_sockets(Path::new(&format!("/proc/{pid}"))).contains(&inode))
}

/// An sshd for this connection, in a session of its own, as the daemon's: without root's terminal, to which a program that PAM
/// starts for the user could add characters (see `process::Credentials`). A key that is pressed there does not reach
/// it, and it ends in order when the connection does.
fn serve(setsid: &Program, sshd: &TrustedCommand, connection: TcpStream) -> io::Result<Child> {
    let mut command = TrustedCommand::new(setsid.clone()).running(sshd).to_std();
    command
        .env("HOME", NO_HOME)
        .stdin(OwnedFd::from(connection.try_clone()?))
        .stdout(OwnedFd::from(connection))
        .stderr(Stdio::piped());
    command.spawn().map_err(named("setsid"))
}

/// Waits until ssh ends, or the session answers, or the time is over.
fn wait(ssh: &mut Child, deadline: Instant, mut answers: impl FnMut() -> bool) -> io::Result<LoginEnd> {
    loop {
        if let Some(status) = ssh.try_wait()? {
            // timeout(1) ends with 124 if it ended the command.
            return Ok(status
                .code()
                .filter(|code| *code != 124)
                .map_or(LoginEnd::TimedOut, LoginEnd::Status));
        }
        if answers() {
            return Ok(LoginEnd::Answers);
        }
        if Instant::now() >= deadline {
            return Ok(LoginEnd::TimedOut);
        }
        thread::sleep(limits::REHEARSAL_PAUSE);
    }
}

/// The processes of USER's session. sshd's own are in the session that `serve` made. A process of USER's can have their name,
/// but not enter that session.
fn session(sshd: u32) -> Vec<Process> {
    let mut processes = descendants(sshd);
    processes.retain(|process| process.session != sshd || !process.name.starts_with("sshd"));
    processes
}

/// The program of a process with its arguments.
fn command_line(process: &Process) -> String {
    let path = format!("/proc/{}/cmdline", process.pid);
    let words = files::read_beginning(Path::new(&path), limits::COMMAND_SHOWN).unwrap_or_default();
    let text = String::from_utf8_lossy(&words).replace('\0', " ");
    if text.trim().is_empty() { process.name.clone() } else { text.trim().to_owned() }
}

/// Ends ssh, and so the connection.
fn stop(ssh: &mut Child) {
    if !matches!(ssh.try_wait(), Ok(None)) {
        return;
    }
    // timeout(1) passes it on.
    terminate(ssh.id());
    if !ends(ssh) {
        let left = descendants(ssh.id());
        let _ = ssh.kill();
        let _ = ssh.wait();
        left.iter().for_each(kill);
    }
}

/// Waits for sshd, which ends with its connection and closes PAM's session, and ends what is left of the session.
fn finish(sshd: &mut Child, session: &[Process]) {
    if !ends(sshd) {
        session.iter().for_each(kill);
        if !ends(sshd) {
            let left = descendants(sshd.id());
            let _ = sshd.kill();
            let _ = sshd.wait();
            left.iter().for_each(kill);
        }
    }
    let start = Instant::now();
    while session.iter().any(exists) && start.elapsed() < limits::REHEARSAL_END {
        thread::sleep(limits::REHEARSAL_PAUSE);
    }
    session.iter().for_each(kill);
}

/// Whether a child ends by itself.
fn ends(child: &mut Child) -> bool {
    let start = Instant::now();
    while start.elapsed() < limits::REHEARSAL_END {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        thread::sleep(limits::REHEARSAL_PAUSE);
    }
    false
}

/// A terminal on which empty lines are typed.
///
/// The terminal itself echoes an empty line as CR and LF, even while a start file hangs. A shell prints its prompt.
#[derive(Debug)]
struct Terminal<'a> {
    input: Option<ChildStdin>,
    output: &'a Collected,
    log: &'a Collected,
    start: Instant,
    /// Length of the output, and when it last changed.
    length: (usize, Instant),
    /// Length of the output when a line was typed to which there is no answer yet, and when that was.
    typed: Option<(usize, Instant)>,
    /// Length of the output when the last empty line was typed.
    last: usize,
    answers: u32,
    tries: u32,
}

impl<'a> Terminal<'a> {
    fn new(input: Option<ChildStdin>, output: &'a Collected, log: &'a Collected) -> Self {
        let now = Instant::now();
        Self { input, output, log, start: now, length: (0, now), typed: None, last: 0, answers: 0, tries: 0 }
    }

    /// Whether the input was ended.
    fn is_closed(&self) -> bool {
        self.tries > limits::TERMINAL_TRIES
    }

    /// Whether anything, such as an echo, came back after the last line that was typed. A shell can have an empty prompt.
    fn has_answered(&self) -> bool {
        self.output.bytes().len() > self.last
    }

    /// Types, and looks for the answer. Whether there were enough of them.
    fn answers(&mut self) -> bool {
        let output = self.output.bytes();
        if output.len() != self.length.0 {
            self.length = (output.len(), Instant::now());
        }
        if let Some((at, _)) = self.typed {
            if has_text(output.get(at..).unwrap_or_default()) {
                self.answers = self.answers.saturating_add(1);
                self.typed = None;
                self.tries = 0;
            }
        }
        let started = || self.log.text().contains("Starting session: ");
        let waited = self.typed.is_none_or(|(_, when)| when.elapsed() > limits::TERMINAL_ANSWER);
        let begun = self.start.elapsed() > limits::TERMINAL_START || !output.is_empty() || started();
        if self.answers < limits::TERMINAL_ANSWERS
            && begun
            && waited
            && self.length.1.elapsed() > limits::TERMINAL_QUIET
        {
            if let Some(input) = &mut self.input {
                // If ssh has ended, its status says so.
                let _ = input.write_all(if self.tries < limits::TERMINAL_TRIES { b"\r" } else { END });
            }
            self.tries = self.tries.saturating_add(1);
            let at = self.typed.map_or(output.len(), |(at, _)| at);
            if self.tries <= limits::TERMINAL_TRIES {
                self.last = output.len();
            }
            self.typed = Some((at, Instant::now()));
        }
        self.answers >= limits::TERMINAL_ANSWERS
    }
}

/// Whether there is anything but ends of lines.
fn has_text(output: &[u8]) -> bool {
    output.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
}
