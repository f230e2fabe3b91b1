//! What `--logins` reports.

use std::rc::Rc;

use super::finder::{Login, RefusedRecord};
use crate::log_lines::Push;

/// The result of reading a log.
#[derive(Debug, Default)]
pub struct LoginsReport {
    /// `true` for the journal.
    pub journal: bool,
    /// Whether only sshd and eic-keys can have written the lines.
    pub trusted: bool,
    /// `--user`
    pub user: Option<String>,
    /// `--since`, in microseconds since 1970.
    pub since: Option<u64>,
    /// `--until`, in microseconds since 1970.
    pub until: Option<u64>,
    /// Oldest first.
    pub logins: Vec<Login>,
    /// With `--refused`; oldest first.
    pub refused: Option<Vec<RefusedRecord>>,
    /// What could not be read, so that logins can be missing.
    pub missing: Vec<String>,
    /// What else the reader has to know.
    pub notes: Vec<String>,
}

impl LoginsReport {
    /// The result in one or more sentences.
    pub(super) fn summary(&self) -> Vec<String> {
        let logins = count(self.logins.len(), "No", "login with a pushed key", "logins with a pushed key");
        let refused = self
            .refused
            .as_ref()
            .map(|refused| format!(", {}", count(refused.len(), "no", "refused record", "refused records")));
        let source = if self.journal { "the journal" } else { "log files" };
        let user = self.user.as_ref().map(|user| format!(" of {user}")).unwrap_or_default();
        let first = format!("{logins}{user}{} in {source}.", refused.unwrap_or_default());
        let rest = self.missing.iter().chain(&self.notes).map(|note| format!("{note}."));
        [first].into_iter().chain(rest).collect()
    }
}

fn count(number: usize, none: &str, one: &str, many: &str) -> String {
    match number {
        0 => format!("{none} {one}"),
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

/// The words for a login whose principal or request is not known.
pub(super) fn candidates(pushes: &[Rc<Push>]) -> impl Iterator<Item = (&str, &str)> {
    pushes
        .iter()
        .map(|push| (push.principal.as_deref().unwrap_or("-"), push.request.as_deref().unwrap_or("-")))
}
