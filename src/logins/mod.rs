//! `--logins`: who logged in with a pushed key, and which IAM principal pushed it.
//!
//! ```text
//! time_argument  --since, --until
//! sshd_facts     sshd's grace time, and the users as which it runs eic-keys
//! source         the journal, or log files ─▶ the lines that can matter (progress: how far it is)
//! events         a line ─▶ what it says
//! finder         what eic-keys provided, what sshd accepted, what ended ─▶ logins
//! session_state  whether a login without an end in the log still runs
//! report         the result; as text: table, as a document: json
//! ```

mod events;
mod finder;
mod json;
mod progress;
mod report;
mod session_state;
mod source;
mod sshd_facts;
mod table;
mod time_argument;

use std::ffi::OsString;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::Path;

use crate::account::{describe_user, is_root};
use crate::calendar::{MICROS, rfc3339_micros, rfc3339_text};
use crate::limits;
use crate::report_output;
use crate::system_log::journal::other_user as other_user_of;
use crate::system_log::{ANYBODY_WRITES, NO_LOG};
use crate::time_zone::TimeZone;
use crate::trust::UnixTime;
pub use finder::{Found, LeftOut, Login, LoginFinder, RefusedRecord, Selection, SessionState};
pub use report::LoginsReport;
use session_state::RunningSystem;
pub use source::read_log;
use source::{LogQuery, LogSource};
use sshd_facts::SshdFacts;
use table::Layout;
pub use time_argument::TimeArgument;

/// The request, from the command line.
#[derive(Clone, Debug)]
pub struct LoginsRequest {
    /// `--user`
    pub user: Option<OsString>,
    /// `--since`
    pub since: Option<TimeArgument>,
    /// `--until`
    pub until: Option<TimeArgument>,
    /// `--refused`
    pub refused: bool,
    /// `--json`
    pub json: bool,
}

/// The system whose log is read.
#[derive(Clone, Copy, Debug)]
pub struct LoginsTarget<'a> {
    /// Its root directory: `/`.
    pub root: &'a Path,
    /// Its clock.
    pub clock: fn() -> UnixTime,
}

impl LoginsReport {
    /// The document of `--json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// The table, with the times of a time zone. One for a terminal fits its width.
    #[must_use]
    pub fn to_table(&self, zone: &TimeZone, terminal: bool) -> String {
        table::write(self, Layout { zone, terminal })
    }
}

/// Why `--logins` could not run.
#[derive(Clone, Copy, Debug)]
enum NotRun {
    NotRoot,
    NoLog,
    SinceIsLater,
}

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRoot => "only root can read the log",
            Self::SinceIsLater => "--since is later than --until",
            Self::NoLog => NO_LOG,
        })
    }
}

/// Runs `--logins` and writes the report to `out`. Returns the exit status: 0 if the log was read, with logins or without, 2 if it could
/// not be read, or not to its end.
// Its frame is large, and a run for sshd would touch each page of it if `main` contained it.
#[inline(never)]
pub fn run(request: &LoginsRequest, target: &LoginsTarget<'_>, out: &mut (impl Write + IsTerminal)) -> u8 {
    let zone = TimeZone::system(target.root);
    let report = match report(request, target, &zone) {
        Ok(report) => report,
        Err(error) => return not_run(&error, request.json, out),
    };
    let text = if request.json { report.to_json() } else { report.to_table(&zone, out.is_terminal()) };
    match report_output::write(&text, out) {
        Err(error) => not_run(&error, false, out),
        Ok(()) if report.missing.is_empty() => 0,
        Ok(()) => 2,
    }
}

/// Reports why there is no report: as a JSON document on `out` if `json`, else on stderr. Returns the exit status.
pub fn not_run(reason: &dyn fmt::Display, json: bool, out: &mut impl Write) -> u8 {
    report_output::not_run("--logins", reason, json.then_some(json::not_run), out)
}

fn report(
    request: &LoginsRequest,
    target: &LoginsTarget<'_>,
    zone: &TimeZone,
) -> Result<LoginsReport, NotRun> {
    if !is_root() {
        return Err(NotRun::NotRoot);
    }
    let now = (target.clock)().as_secs();
    let since = request.since.map(|time| time.first(now, zone));
    let until = request.until.map(|time| time.last(now, zone));
    if until.is_some_and(|until| since.is_some_and(|since| since > until)) {
        return Err(NotRun::SinceIsLater);
    }
    let user = request.user.as_ref().map(|user| user.to_string_lossy().into_owned());
    let mut notes = Vec::new();
    let sshd = SshdFacts::ask(target.root, &mut notes);
    // A login at that time can have got its key before it.
    let from = since.unwrap_or_default().wrapping_div(MICROS).saturating_sub(sshd.grace);
    let source = LogSource::find(target.root, now, from).ok_or(NotRun::NoLog)?;
    let journal = matches!(source, LogSource::Journal);
    if !journal {
        notes.push(ANYBODY_WRITES.to_owned());
    }
    let selection = Selection {
        user: user.clone(),
        since: since.unwrap_or_default(),
        until: until.unwrap_or(u64::MAX),
        refused: request.refused,
    };
    let mut finder = LoginFinder::new(selection, sshd.grace);
    let system = RunningSystem::new(target.root);
    if let Some(begin) = source.begin().filter(|begin| begin.time > from.saturating_mul(MICROS)) {
        notes.push(format!(
            "The journal begins at {}: logins before it, and shortly after it, can be missing",
            rfc3339_text(begin.time)
        ));
        if !system.is_start(&begin) {
            finder.begin(&begin);
        }
    }
    let query = LogQuery { since: from, users: sshd.users.as_deref(), zone };
    let mut other_user = None;
    let mut missing = source.read(query, &mut notes, |entry| {
        if journal && other_user.is_none() {
            other_user = other_user_of(entry, sshd.own_user);
        }
        finder.take(entry);
    });
    if let Some(uid) = other_user {
        notes.push(format!(
            "The journal has lines of eic-keys by {0}: any process of {0} can write such lines",
            describe_user(uid)
        ));
    }
    let found = finder.finish(|login| system.state(login));
    found.add_caveats(&mut missing, &mut notes);
    let Found { logins, refused, .. } = found;
    let refused = request.refused.then_some(refused);
    let trusted = journal && other_user.is_none();
    Ok(LoginsReport { journal, trusted, user, since, until, logins, refused, missing, notes })
}

impl Found {
    /// Adds why something can be missing, and what else the reader has to know.
    fn add_caveats(&self, missing: &mut Vec<String>, notes: &mut Vec<String>) {
        if let Some(LeftOut { count, until, crowded }) = self.left_out {
            notes.push(format!(
                "{count} older ones are left out: list them with --until {}",
                rfc3339_micros(until)
            ));
            missing.extend(crowded.map(|time| {
                format!(
                    "some of those at {} cannot be listed, because they are too many",
                    rfc3339_micros(time)
                )
            }));
        }
        let lines = "because the line of eic-keys that names it was lost or is too long";
        match self.unnamed {
            0 => (),
            1 => notes.push(format!("1 login has no principal, {lines}")),
            count => notes.push(format!("{count} logins have no principal, {lines}")),
        }
        if self.lost_keys {
            missing.push(format!(
                "more than {} keys were provided within LoginGraceTime: logins can be missing, and some have no principal",
                limits::PROVIDED_KEYS
            ));
        }
    }
}
