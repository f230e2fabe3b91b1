//! The results of the checks.

use std::time::Duration;

use super::check_id::CheckId;
use super::fix::Fix;

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
    /// The one of them without a value, for which this check was skipped.
    pub needs: Option<CheckId>,
    /// The duration.
    pub duration: Duration,
}

/// How a note begins if the running sshd still accepts what its changed configuration refuses.
pub(crate) const LATER: &str = "works now, but breaks at sshd's next restart";

/// The note of a rehearsal that nobody asked for.
pub(crate) const NOT_REQUESTED: &str = "--rehearse was not given";

/// How the note of a rehearsal begins that could not log in. The reason follows.
pub(crate) const NOT_TRIED: &str = "the login was not tried: ";

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

    /// The summary. It names what was not checked.
    #[must_use]
    pub fn summary(&self) -> String {
        let ids =
            |checks: &[&Check]| checks.iter().map(|check| check.id.name()).collect::<Vec<_>>().join(", ");
        let keys =
            self.user.as_ref().map_or_else(|| "pushed keys".to_owned(), |user| format!("{user}'s keys"));
        let user = self.user.as_deref().unwrap_or("USER");
        let failed: Vec<_> = self.with(Status::Fail).collect();
        let warned: Vec<_> = self.with(Status::Warn).collect();
        let unknown: Vec<_> = self.unknown().collect();
        let mut words = Vec::new();
        if self.nothing_pushed() {
            words.push(format!(
                "No key is pushed for {user} now; keys live 60 s. Push, then check within a minute."
            ));
        }
        match failed.split_first() {
            Some((first, others)) => {
                words.push(format!("This system refuses {keys}: {} ({}).", first.note, first.id));
                if !others.is_empty() {
                    words.push(format!("Also failed: {}.", ids(others)));
                }
            }
            None if self.rehearsed() => {
                words.push(format!(
                    "A login as {user} was tried{}, and works. Nothing was found that would refuse {keys}.",
                    self.rehearsed_with()
                ));
            }
            None => words.push(format!("Nothing was found that would refuse {keys}.")),
        }
        if !warned.is_empty() {
            words.push(format!("Warnings: {}.", ids(&warned)));
        }
        if failed.is_empty() {
            // A warning without a value for the checks that depend on it.
            let without: Vec<_> = warned
                .iter()
                .copied()
                .filter(|check| self.with(Status::Skip).any(|skipped| skipped.needs == Some(check.id)))
                .collect();
            if !without.is_empty() {
                words.push(format!("Not checked: what depends on {}.", ids(&without)));
            }
            if !unknown.is_empty() {
                words.push(format!("Not checked: {}, and what depends on them.", ids(&unknown)));
            }
            if !self.rehearsed() {
                words.push(self.not_rehearsed());
            }
        }
        words.join(" ")
    }

    /// What the rehearsal did not try, as the end of a sentence.
    fn rehearsed_with(&self) -> String {
        let is = |id: CheckId, status: Status| self.with(status).any(|check| check.id == id);
        // A rehearsal has a connection and an sshd of its own.
        let port = if is(CheckId::NetworkBanner, Status::Ok) {
            ""
        } else if is(CheckId::NetworkBanner, Status::Skip) {
            ", but not through sshd's port"
        } else {
            ", but not through sshd's port, which did not answer as it should"
        };
        let key = if !is(CheckId::LoginCommand, Status::Ok) {
            // sshd can get no pushed key by its line, or not in time.
            " with a key of its own, without sshd's AuthorizedKeysCommand"
        } else if is(CheckId::SshdMethods, Status::Warn) {
            " with a key alone"
        } else if is(CheckId::SshdAlgorithms, Status::Warn) {
            " with a key of a type that sshd accepts"
        } else {
            ""
        };
        format!("{key}{port}")
    }

    /// Why nothing is known of PAM and the session, or what is.
    fn not_rehearsed(&self) -> String {
        let not_run = |reason: &str| {
            format!("PAM and the session were not tried: the rehearsal did not run, {reason}.")
        };
        let rehearsal = self.checks.iter().find(|check| check.id == CheckId::LoginRehearsal);
        match (&self.user, rehearsal) {
            (None, _) => {
                "No user was given: --check USER checks the account, sshd's rules for it and its keys."
                    .to_owned()
            }
            (_, Some(check)) if check.status == Status::Warn => match check.note.strip_prefix(NOT_TRIED) {
                Some(reason) => not_run(reason),
                None => format!("The rehearsal: {}.", check.note),
            },
            (_, Some(check)) if check.note != NOT_REQUESTED => not_run(&check.note),
            _ => "PAM and the session were not tested; use --rehearse.".to_owned(),
        }
    }

    /// The skipped checks that have a reason of their own, such as a missing privilege. Left out are checks without a
    /// value to check, checks that no program on the instance can perform, the checks of a user if none was given, and
    /// the keys if none is pushed: the summary says that by itself.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &Check> {
        self.with(Status::Skip).filter(|check| {
            check.needs.is_none()
                && check.id.group() != "outside"
                && check.id != CheckId::KeysPushed
                && check.id != CheckId::LoginRehearsal
                && !(self.user.is_none() && check.id == CheckId::UserName)
        })
    }

    /// Whether the metadata service was asked, and has no key of the user.
    fn nothing_pushed(&self) -> bool {
        self.with(Status::Skip).any(|check| check.id == CheckId::KeysPushed && check.needs.is_none())
    }

    /// Whether a login was tried, and worked.
    fn rehearsed(&self) -> bool {
        self.with(Status::Ok).any(|check| check.id == CheckId::LoginRehearsal)
    }
}
