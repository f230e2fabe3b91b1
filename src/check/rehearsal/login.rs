//! One login of a rehearsal: the system's ssh, and an sshd for its [`super::connection`].

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use super::connection::{NO_HOME, accept, listen, named, serve};
use super::directory::Directory;
use super::processes::{descendants, exists, kill, terminate};
use super::terminal::Terminal;
use crate::files;
use crate::limits;
use crate::lists;
use crate::process::{Collected, TrustedCommand};
use crate::procfs::Process;
use crate::safe_path::Program;

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
    let (listener, address) = listen()?;
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
        LoginKind::Terminal => match wait(&mut ssh.0, deadline, || terminal.poll())? {
            LoginEnd::Status(_) if terminal.is_closed() => LoginEnd::Silent,
            ending => ending,
        },
    };
    let session = match ending {
        LoginEnd::Status(_) | LoginEnd::Silent => Vec::new(),
        LoginEnd::Answers | LoginEnd::TimedOut => session_processes(server.0.id()),
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

/// Waits until ssh ends, or the session answers, or the time is over.
fn wait(ssh: &mut Child, deadline: Instant, mut poll: impl FnMut() -> bool) -> io::Result<LoginEnd> {
    loop {
        if let Some(status) = ssh.try_wait()? {
            // timeout(1) ends with 124 if it ended the command.
            return Ok(status
                .code()
                .filter(|code| *code != 124)
                .map_or(LoginEnd::TimedOut, LoginEnd::Status));
        }
        if poll() {
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
fn session_processes(sshd: u32) -> Vec<Process> {
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
    if !wait_for_exit(ssh) {
        let left = descendants(ssh.id());
        let _ = ssh.kill();
        let _ = ssh.wait();
        left.iter().for_each(kill);
    }
}

/// Waits for sshd, which ends with its connection and closes PAM's session, and ends what is left of the session.
fn finish(sshd: &mut Child, session: &[Process]) {
    if !wait_for_exit(sshd) {
        session.iter().for_each(kill);
        if !wait_for_exit(sshd) {
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

/// Waits for a child, but not long. Whether it has ended by itself.
fn wait_for_exit(child: &mut Child) -> bool {
    let start = Instant::now();
    while start.elapsed() < limits::REHEARSAL_END {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        thread::sleep(limits::REHEARSAL_PAUSE);
    }
    false
}
