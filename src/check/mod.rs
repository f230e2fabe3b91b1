//! `--check`: why can this user not log in?
//!
//! Every question has an id, and its answer is in every report: [`Status::Skip`] where it could not be told,
//! and [`Status::Fail`] where the check itself broke. What the main job decides is asked of the very
//! functions that decide it there. Nothing on the system is changed.
//!
//! A check names those that it builds on and gets what they found; where one of them found nothing, it is
//! skipped (see `runner`). Checks that do not build on each other run side by side.

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
use crate::imds::client;
use crate::keys::Fingerprint;
use crate::limits;
use crate::syslog::Escaped;
use crate::trust::UnixTime;
pub use check_id::CheckId;
pub use fix::Fix;
use runner::Runner;

/// What is asked, as it stands on the command line.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// Who cannot log in; without one, only what is the same for all is looked at.
    pub user: Option<OsString>,
    /// The key that is offered.
    pub fingerprint: Option<Fingerprint>,
    /// `--trust-store`, where it was given; else what sshd's line says counts.
    pub trust_store: Option<PathBuf>,
    /// `--timeout`, likewise.
    pub timeout: Option<Duration>,
    /// `--imds`, likewise.
    pub imds: Option<SocketAddr>,
    /// Answer in JSON.
    pub json: bool,
    /// Also show the details of passing checks.
    pub verbose: bool,
}

/// What a run that sshd starts goes by.
#[derive(Clone, Debug)]
struct RunOptions {
    trust_store: Option<PathBuf>,
    timeout: Duration,
    imds: Vec<SocketAddr>,
}

impl RunOptions {
    /// Those given to `--check`, then those of sshd's line, then what counts without any.
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

/// The system that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Where its files are: `/`.
    pub root: &'a Path,
    /// Its clock.
    pub clock: fn() -> UnixTime,
    /// A variable of the environment, by name.
    pub environment: fn(&str) -> Option<OsString>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Ok,
    /// A login may work, but something wants a look.
    Warn,
    /// No login with a pushed key can work like this.
    Fail,
    /// It could not be told from here.
    Skip,
}

impl Status {
    /// As it stands in a report.
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

/// One question with its answer. The texts are harmless: [`Escaped`], whatever went into them.
#[derive(Clone, Debug)]
pub struct Check {
    /// Which check it is.
    pub id: CheckId,
    /// How it came out.
    pub status: Status,
    /// One sentence with the facts.
    pub note: String,
    /// What to do; with every warning and failure.
    pub fix: Option<Fix>,
    /// The same at more length, a line each.
    pub detail: Vec<String>,
    /// The checks that it builds on.
    pub depends_on: Vec<CheckId>,
    /// How long it took.
    pub duration: Duration,
}

/// Every answer, in the order of [`CheckId::ALL`].
#[derive(Clone, Debug)]
pub struct Report {
    /// Whom it was asked for.
    pub user: Option<String>,
    /// The answers.
    pub checks: Vec<Check>,
}

impl Report {
    /// The answers that came out so.
    pub fn with(&self, status: Status) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.status == status)
    }

    /// In words: what is wrong, or that nothing is, and what could not be seen.
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

    /// The checks that were skipped for a reason of their own, such as a right that is missing, and not because a check
    /// that they build on was; without those that nobody on the instance can answer.
    fn unseen(&self) -> impl Iterator<Item = &Check> {
        let grounded = |check: &&Check| {
            !check.depends_on.iter().any(|id| self.with(Status::Skip).any(|other| other.id == *id))
        };
        self.with(Status::Skip).filter(|check| check.id.group() != "outside").filter(grounded)
    }
}

/// Does the whole job: the report to `out`, in colour on a terminal. Gives the exit status: 0 where nothing
/// failed, 1 where something did, 2 where it could not run.
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

/// Says why nothing could be asked: on `out` in one document, where that was wanted, else on stderr. Gives
/// the exit status.
pub fn not_run(reason: &dyn fmt::Display, json: bool, out: &mut impl Write) -> u8 {
    let reason = Escaped(reason.to_string().as_bytes()).to_string();
    let _ = if json {
        out.write_all(json::not_run(&reason).as_bytes())
    } else {
        writeln!(io::stderr(), "eic-keys: --check could not run: {reason}")
    };
    2
}

/// Answers every question, within [`limits::CHECKS`].
fn report(request: &CheckRequest, target: &Target<'_>) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let runner = Runner::default();
    // What has no answer by then is a failure of its own.
    let _ = runtime
        .block_on(async { timeout(limits::CHECKS, Box::pin(examine(request, target, &runner))).await });
    // A check that hangs in the file system must not keep the report back.
    runtime.shutdown_background();
    let user = request.user.as_ref().map(|user| Escaped(user.as_encoded_bytes()).to_string());
    Ok(Report { user, checks: runner.answers() })
}

/// Who builds on whom.
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
