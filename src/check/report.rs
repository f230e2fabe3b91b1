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
        self.with(Status::Skip)
            .filter(|check| check.id.group() != "outside" && check.id != CheckId::LoginRehearsal)
            .filter(grounded)
    }
}
