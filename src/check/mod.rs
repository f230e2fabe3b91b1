//! `--check`: finds out why a user cannot log in.
//!
//! Each check has an id, and each report contains all checks. A check that cannot give a result is [`Status::Skip`];
//! one that panics or exceeds its time limit is [`Status::Fail`]. The checks call the same functions as a login. They
//! change nothing on the system.
//!
//! A check takes the values of the checks that it depends on, and is skipped if one of them has none (see `runner`).
//! Independent checks run concurrently.

mod check_id;
mod clock;
mod command_user;
mod confinement;
mod fix;
mod install;
mod instance;
pub mod json;
mod keys;
mod log;
mod login;
mod metadata;
mod outside;
mod recent;
mod runner;
mod running;
mod signer;
mod sshd;
pub mod text;
mod tool;
mod user;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use crate::authorize;
use crate::escape::Escaped;
use crate::imds::client;
use crate::keys::Fingerprint;
use crate::limits;
use crate::trust::UnixTime;
pub use check_id::CheckId;
pub use fix::Fix;
use runner::Runner;

/// The request, from the command line.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The user who cannot log in. Without one, only checks that are the same for all users run.
    pub user: Option<OsString>,
    /// The fingerprint of the offered key.
    pub fingerprint: Option<Fingerprint>,
    /// `--trust-store`, if given. The default comes from sshd's configuration.
    pub trust_store: Option<PathBuf>,
    /// `--timeout`, with the same default.
    pub timeout: Option<Duration>,
    /// `--imds`, with the same default.
    pub imds: Option<SocketAddr>,
    /// Print JSON.
    pub json: bool,
    /// Also show the details of passing checks.
    pub verbose: bool,
}

/// The options that eic-keys has under sshd.
#[derive(Clone, Debug)]
struct RunOptions {
    trust_store: Option<PathBuf>,
    timeout: Duration,
    imds: Vec<SocketAddr>,
}

impl RunOptions {
    /// Uses the options of `--check`, then those in sshd's configuration, then the defaults.
    fn new(asked: &CheckRequest, line: Option<&authorize::KeyQuery>) -> Self {
        Self {
            trust_store: asked.trust_store.clone().or_else(|| line?.trust_store.clone()),
            timeout: asked.timeout.or(line.map(|line| line.timeout)).unwrap_or(limits::RUN),
            imds: match (asked.imds, line) {
                (Some(address), _) => vec![address],
                (None, Some(line)) => line.imds.clone(),
                (None, None) => client::ADDRESSES.to_vec(),
            },
        }
    }
}

/// The system to check.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its root directory: `/`.
    pub root: &'a Path,
    /// Its clock.
    pub clock: fn() -> UnixTime,
    /// Returns the value of an environment variable.
    pub environment: fn(&str) -> Option<OsString>,
}

/// The status of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing is wrong.
    Ok,
    /// A login can work, but something needs attention.
    Warn,
    /// No login with a pushed key can work.
    Fail,
    /// The check has no result here.
    Skip,
}

impl Status {
    /// The name in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// A check and its result. All texts are safe to print: [`Escaped`] was applied.
#[derive(Clone, Debug)]
pub struct Check {
    /// The id.
    pub id: CheckId,
    /// The status.
    pub status: Status,
    /// One sentence with the facts.
    pub note: String,
    /// The fix. Each warning and failure has one.
    pub fix: Option<Fix>,
    /// More details, one per line.
    pub detail: Vec<String>,
    /// The checks that it depends on.
    pub depends_on: Vec<CheckId>,
    /// The duration.
    pub duration: Duration,
}

/// The results of all checks, in the order of [`CheckId::ALL`].
#[derive(Clone, Debug)]
pub struct Report {
    /// The user, if one was given.
    pub user: Option<String>,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// The checks with this status.
    pub fn with(&self, status: Status) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.status == status)
    }

    /// A summary: the failures or their absence, and the skipped checks.
    #[must_use]
    pub fn summary(&self) -> String {
        let ids =
            |checks: &[&Check]| checks.iter().map(|check| check.id.name()).collect::<Vec<_>>().join(", ");
        let whose = match &self.user {
            Some(user) => format!("{user}'s pushed keys"),
            None => "pushed keys".to_owned(),
        };
        let failed: Vec<_> = self.with(Status::Fail).collect();
        let warned: Vec<_> = self.with(Status::Warn).collect();
        let unseen: Vec<_> = self.unseen().collect();
        let mut words = Vec::new();
        match failed.split_first() {
            Some((first, others)) => {
                words.push(format!("This system does not take {whose}: {} ({}).", first.note, first.id));
                if !others.is_empty() {
                    words.push(format!("Failed as well: {}.", ids(others)));
                }
            }
            None if unseen.is_empty() => words.push(format!("This system takes {whose}.")),
            None => words.push(format!(
                "Nothing was found that keeps {whose} out. Not seen: {}, and what builds on that.",
                ids(&unseen)
            )),
        }
        if !warned.is_empty() {
            words.push(format!("Look at: {}.", ids(&warned)));
        } else if failed.is_empty() && unseen.is_empty() {
            words.push("Nothing is wrong here.".to_owned());
        }
        words.join(" ")
    }

    /// The checks that were skipped for their own reason, such as a missing privilege, not because of a skipped check
    /// that they depend on. Checks that no program on the instance can perform are left out.
    fn unseen(&self) -> impl Iterator<Item = &Check> {
        let grounded = |check: &&Check| {
            !check.depends_on.iter().any(|id| self.with(Status::Skip).any(|other| other.id == *id))
        };
        self.with(Status::Skip).filter(|check| check.id.group() != "outside").filter(grounded)
    }
}

/// Runs `--check` and writes the report to `out`, in colour on a terminal. Returns the exit status: 0 if nothing
/// failed, 1 if a check failed, 2 if the checks could not run.
pub fn run(request: &CheckRequest, target: &Target<'_>, out: &mut (impl Write + IsTerminal)) -> u8 {
    let report = match report(request, target) {
        Ok(report) => report,
        Err(error) => return not_run(&error, request.json, out),
    };
    let text = if request.json {
        json::write(&report)
    } else {
        // https://no-color.org
        let plain = (target.environment)("NO_COLOR").is_some_and(|set| !set.is_empty());
        text::write(&report, request.verbose, out.is_terminal() && !plain)
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => not_run(&error, false, out),
        _ if report.with(Status::Fail).next().is_some() => 1,
        _ => 0,
    }
}

/// Reports why the checks could not run: as a JSON document on `out` if `json`, else on stderr. Returns the exit
/// status.
pub fn not_run(reason: &dyn fmt::Display, json: bool, out: &mut impl Write) -> u8 {
    let reason = Escaped(reason.to_string().as_bytes()).to_string();
    let _ = if json {
        out.write_all(json::not_run(&reason).as_bytes())
    } else {
        writeln!(io::stderr(), "eic-keys: --check could not run: {reason}")
    };
    2
}

/// Runs all checks, within [`limits::CHECKS`].
fn report(request: &CheckRequest, target: &Target<'_>) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let runner = Runner::default();
    // A check without a result at the timeout is a failure.
    let _ = runtime
        .block_on(async { timeout(limits::CHECKS, Box::pin(examine(request, target, &runner))).await });
    // A check that hangs in the file system must not delay the report.
    runtime.shutdown_background();
    let user = request.user.as_ref().map(|user| Escaped(user.as_encoded_bytes()).to_string());
    Ok(Report { user, checks: runner.answers() })
}

/// Runs the checks in dependency order.
async fn examine(request: &CheckRequest, target: &Target<'_>, runner: &Runner) {
    let name = user::name(runner, request).await;
    let account = user::account(runner, &name).await;
    let wiring = sshd::wiring(runner, target, &name, &account).await;
    let options = RunOptions::new(request, wiring.command.get().map(|command| &command.request));
    let host = instance::host(runner, target).await;
    let (session, store) =
        tokio::join!(metadata::token(runner, &options, &host), signer::store(runner, &options, target));
    let pushed = async {
        let place = instance::place(runner, &host, &session).await;
        let signer = signer::signer(runner, &options, target, &session, &place, &store).await;
        keys::keys(runner, request, target, &name, &session, &place, &signer).await;
        outside::advise(runner, &place, &name).await;
    };
    let daemon = async {
        let running = running::running(runner, target, &wiring.sshd).await;
        confinement::confinement(runner, target, &running).await;
    };
    tokio::join!(
        pushed,
        daemon,
        metadata::surroundings(runner, &options, target, &host),
        command_user::look(runner, &options, target, &wiring.user, &session, &store),
        clock::offset(runner, target, &session),
        user::account_state(runner, target, &account, &wiring.settings),
        login::login(runner, &wiring.settings, &account),
        install::install(runner, target, &wiring.command),
        recent::recent(runner, target, &name, &wiring.user),
    );
}
