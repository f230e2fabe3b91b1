//! The results of the checks.

use std::time::Duration;

use super::check_id::CheckId;
use super::fix::Fix;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing is wrong.
    Ok,
    /// A login can work, but something needs attention.
    Warn,
    /// No login with a pushed key can work, or the check did not end in time ([`Mark::TimedOut`]).
    Fail,
    /// The check has no result here.
    Skip,
}

impl Status {
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
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
pub(crate) struct CheckResult {
    pub(crate) id: CheckId,
    pub(crate) status: Status,
    /// One sentence with the facts.
    pub(crate) note: String,
    pub(crate) mark: Option<Mark>,
    /// The fix. Each warning and failure has one.
    pub(crate) fix: Option<Fix>,
    /// More details, one per line.
    pub(crate) detail: Vec<String>,
    /// The checks that it depends on.
    pub(crate) depends_on: Vec<CheckId>,
    /// The one of them without a value, for which this check was skipped.
    pub(crate) skipped_for: Option<CheckId>,
    pub(crate) duration: Duration,
}

/// What a result says to other checks and to the summary. Texts are those of the note, escaped like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The check did not end in time. It fails, but nothing is known.
    TimedOut,
    /// The running sshd still accepts, or may still accept, what its changed configuration refuses.
    BreaksAtRestart,
    /// sshd runs with an older configuration than that on disk.
    OlderConfiguration,
    /// Some clients are refused, by their address or port.
    SomeClients,
    /// The trust store has so many certificates.
    Certificates(usize),
    /// Some of the pushed keys are refused.
    SomeKeys,
    /// No key is pushed for the user who is asked about, but for these.
    ForOthers(String),
    /// Nobody asked for the rehearsal.
    NotRequested,
    /// The rehearsal could not log in, for this reason.
    NotTried(String),
}

/// What a note says after a file that was changed while sshd runs.
pub(crate) const CHANGED_SINCE: &str = "was changed after sshd read it";

/// The results of all checks, in the order of [`CheckId::ALL`].
#[derive(Clone, Debug)]
pub(crate) struct CheckReport {
    /// The user, if one was given.
    pub(crate) user: Option<String>,
    pub(crate) checks: Vec<CheckResult>,
}

impl CheckReport {
    pub(crate) fn with(&self, status: Status) -> impl Iterator<Item = &CheckResult> {
        self.checks.iter().filter(move |check| check.status == status)
    }

    /// The summary. It names what was not checked.
    #[must_use]
    pub(crate) fn summary(&self) -> String {
        let ids = |checks: &[&CheckResult]| {
            checks.iter().map(|check| check.id.name()).collect::<Vec<_>>().join(", ")
        };
        let keys =
            self.user.as_ref().map_or_else(|| "pushed keys".to_owned(), |user| format!("{user}'s keys"));
        let user = self.user.as_deref().unwrap_or("USER");
        // What is known is first.
        let (mut late, mut failed): (Vec<_>, Vec<_>) =
            self.with(Status::Fail).partition(|check| check.mark == Some(Mark::TimedOut));
        let refuses = if failed.is_empty() {
            "It is not known whether this system refuses"
        } else {
            "This system refuses"
        };
        if failed.is_empty() && !late.is_empty() {
            failed.push(late.remove(0));
        }
        let warned: Vec<_> = self.with(Status::Warn).collect();
        let unknown: Vec<_> = self.unknown().collect();
        let mut words = Vec::new();
        if let Some(check) = self.nothing_pushed() {
            let others = match &check.mark {
                Some(Mark::ForOthers(others)) => format!(", but for {others}"),
                _ => String::new(),
            };
            words.push(format!(
                "No key is pushed for {user} now{others}; a pushed key is valid for 60 s: push one, and check within a minute, or start --check {user} --wait 60 and then push.",
            ));
        }
        if let Some((first, others)) = failed.split_first() {
            words.push(format!("{refuses} {keys}: {} ({}).", first.note, first.id));
            if !others.is_empty() {
                words.push(format!("Also failed: {}.", ids(others)));
            }
            if !late.is_empty() {
                words.push(format!("Not finished in time: {}.", ids(&late)));
            }
        } else {
            if self.rehearsed() {
                let with = self.rehearsed_with();
                words.push(format!("A login as {user} from 127.0.0.1 works{with}."));
            }
            // It is a warning about what the checks that depend on it need, or about what the running sshd has.
            let is_doubt = |check: &&CheckResult| {
                check.mark == Some(Mark::OlderConfiguration)
                    || self.with(Status::Skip).any(|skipped| skipped.skipped_for == Some(check.id))
            };
            let doubts: Vec<_> = warned.iter().copied().filter(is_doubt).collect();
            let refuses_some = |check: &&&CheckResult| check.mark == Some(Mark::SomeKeys);
            words.push(if !doubts.is_empty() {
                format!("It is not known whether this system refuses {keys}: see {}.", ids(&doubts))
            } else if let Some(check) = warned.iter().find(refuses_some) {
                format!("This system refuses some of {keys}: {} ({}).", check.note, check.id)
            } else {
                format!("Nothing was found that would refuse {keys}.")
            });
        }
        if !warned.is_empty() {
            words.push(format!("Warnings: {}.", ids(&warned)));
        }
        if failed.is_empty() {
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
        let configuration = if self.runs_older_configuration() {
            " with the configuration on disk, which sshd has not read"
        } else {
            ""
        };
        // A rehearsal has a connection and an sshd of its own.
        let port = if is(CheckId::NetworkBanner, Status::Ok) {
            ""
        } else if is(CheckId::NetworkBanner, Status::Skip) {
            "; sshd's own port was not tried"
        } else {
            "; sshd's own port did not answer as it should"
        };
        let key = if !is(CheckId::LoginCommand, Status::Ok) {
            // sshd can get no pushed key from the AuthorizedKeysCommand, or not in time.
            " with a key of its own, without sshd's AuthorizedKeysCommand"
        } else if is(CheckId::SshdMethods, Status::Warn) {
            " with a key alone"
        } else if is(CheckId::SshdAlgorithms, Status::Warn) || is(CheckId::KeysAccepted, Status::Warn) {
            " with a key of its own, which sshd accepts"
        } else {
            ""
        };
        let comma = if configuration.is_empty() || key.is_empty() { "" } else { "," };
        format!("{configuration}{comma}{key}{port}")
    }

    /// Whether sshd runs with another configuration than that on disk.
    fn runs_older_configuration(&self) -> bool {
        self.checks.iter().any(|check| check.mark == Some(Mark::OlderConfiguration))
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
            (_, Some(CheckResult { mark: Some(Mark::NotTried(reason)), .. })) => not_run(reason),
            (_, Some(check)) if check.status == Status::Warn => format!("The rehearsal: {}.", check.note),
            (_, Some(check)) if check.mark != Some(Mark::NotRequested) => not_run(&check.note),
            _ => "PAM and the session were not tested; use --rehearse.".to_owned(),
        }
    }

    /// The skipped checks that have a reason of their own, such as a missing privilege. Left out are checks without a
    /// value to check, checks that no program on the instance can perform, the checks of a user if none was given, and
    /// the keys if none is pushed: the summary says that by itself.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &CheckResult> {
        self.with(Status::Skip).filter(|check| {
            check.skipped_for.is_none()
                && check.id.is_local()
                && check.id != CheckId::KeysPushed
                && check.id != CheckId::LoginRehearsal
                && !(self.user.is_none() && check.id == CheckId::UserName)
        })
    }

    /// Whether the metadata service was asked, and has no key of the user.
    fn nothing_pushed(&self) -> Option<&CheckResult> {
        self.with(Status::Skip).find(|check| check.id == CheckId::KeysPushed && check.skipped_for.is_none())
    }

    /// Whether a login was tried, and worked.
    fn rehearsed(&self) -> bool {
        self.with(Status::Ok).any(|check| check.id == CheckId::LoginRehearsal)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Status::{Fail, Ok, Skip, Warn};
    use super::{CheckId, CheckReport, CheckResult, Mark, Status};

    /// The summary of a report on alice in which every check is ok, but for these. The note of each is its ID.
    fn summary(others: &[(CheckId, Status, Option<Mark>)]) -> String {
        report(Some("alice"), others).summary()
    }

    fn report(user: Option<&str>, others: &[(CheckId, Status, Option<Mark>)]) -> CheckReport {
        let check = |id: &CheckId| {
            let other = others.iter().find(|(other, ..)| other == id);
            let (status, mark) = other.map_or((Ok, None), |(_, status, mark)| (*status, mark.clone()));
            CheckResult {
                id: *id,
                status,
                note: id.name().to_owned(),
                mark,
                fix: None,
                detail: Vec::new(),
                depends_on: Vec::new(),
                skipped_for: None,
                duration: Duration::ZERO,
            }
        };
        CheckReport { user: user.map(str::to_owned), checks: CheckId::ALL.iter().map(check).collect() }
    }

    const NO_REHEARSAL: (CheckId, Status, Option<Mark>) =
        (CheckId::LoginRehearsal, Skip, Some(Mark::NotRequested));
    const NOTHING: &str = "Nothing was found that would refuse alice's keys.";

    #[test]
    fn what_failed_is_first() {
        let late = Some(Mark::TimedOut);
        let refuses = "This system refuses alice's keys: ";
        for (others, expected) in [
            (vec![(CheckId::SshdConfig, Fail, None)], format!("{refuses}sshd.config (sshd.config).")),
            (
                vec![
                    (CheckId::ClockOffset, Fail, late.clone()),
                    (CheckId::SshdConfig, Fail, None),
                    (CheckId::UserShell, Fail, None),
                    (CheckId::UserPam, Warn, None),
                    (CheckId::UserPassword, Skip, None),
                ],
                format!(
                    "{refuses}user.shell (user.shell). Also failed: sshd.config. Not finished in time: clock.offset. \
                     Warnings: user.pam."
                ),
            ),
            (
                vec![(CheckId::ClockOffset, Fail, late.clone()), (CheckId::UserShell, Fail, late)],
                "It is not known whether this system refuses alice's keys: clock.offset (clock.offset). Not finished in \
                 time: user.shell."
                    .to_owned(),
            ),
        ] {
            assert_eq!(summary(&others), expected);
        }
    }

    #[test]
    fn what_is_not_certain() {
        let not_tested = "PAM and the session were not tested; use --rehearse.";
        let not_known = "It is not known whether this system refuses alice's keys: see running.current. Warnings: \
                         running.current.";
        let some = "This system refuses some of alice's keys: keys.accepted (keys.accepted). Warnings: keys.accepted.";
        for (other, expected) in [
            (NO_REHEARSAL, NOTHING.to_owned()),
            ((CheckId::UserPam, Warn, None), format!("{NOTHING} Warnings: user.pam.")),
            ((CheckId::RunningCurrent, Warn, Some(Mark::OlderConfiguration)), not_known.to_owned()),
            ((CheckId::KeysAccepted, Warn, Some(Mark::SomeKeys)), some.to_owned()),
            (
                (CheckId::UserPassword, Skip, None),
                format!("{NOTHING} Not checked: user.password, and what depends on them."),
            ),
        ] {
            assert_eq!(summary(&[other, NO_REHEARSAL]), format!("{expected} {not_tested}"));
        }
        // A warning about what another check needs.
        let mut doubt = report(
            Some("alice"),
            &[(CheckId::SshdConfig, Warn, None), (CheckId::SshdCommand, Skip, None), NO_REHEARSAL],
        );
        for check in doubt.checks.iter_mut().filter(|check| check.id == CheckId::SshdCommand) {
            check.skipped_for = Some(CheckId::SshdConfig);
        }
        let not_known = "It is not known whether this system refuses alice's keys: see sshd.config. Warnings: sshd.config.";
        assert_eq!(doubt.summary(), format!("{not_known} {not_tested}"));
    }

    #[test]
    fn a_key_must_be_pushed() {
        for (mark, expected) in [
            (None, "No key is pushed for alice now; "),
            (Some(Mark::ForOthers("bob".to_owned())), "No key is pushed for alice now, but for bob; "),
        ] {
            let found = summary(&[(CheckId::KeysPushed, Skip, mark), NO_REHEARSAL]);
            assert!(found.starts_with(expected) && found.contains(NOTHING), "{found}");
        }
    }

    #[test]
    fn a_rehearsal_that_worked() {
        let older = (CheckId::RunningCurrent, Warn, Some(Mark::OlderConfiguration));
        for (others, expected) in [
            (vec![], "."),
            (vec![(CheckId::NetworkBanner, Skip, None)], "; sshd's own port was not tried."),
            (vec![(CheckId::NetworkBanner, Warn, None)], "; sshd's own port did not answer as it should."),
            (
                vec![(CheckId::LoginCommand, Warn, None)],
                " with a key of its own, without sshd's AuthorizedKeysCommand.",
            ),
            (vec![(CheckId::SshdMethods, Warn, None)], " with a key alone."),
            (vec![(CheckId::SshdAlgorithms, Warn, None)], " with a key of its own, which sshd accepts."),
            (vec![older.clone()], " with the configuration on disk, which sshd has not read."),
            (
                vec![older, (CheckId::KeysAccepted, Warn, None)],
                " with the configuration on disk, which sshd has not read, with a key of its own, which sshd accepts.",
            ),
        ] {
            let found = summary(&others);
            assert!(
                found.starts_with(&format!("A login as alice from 127.0.0.1 works{expected} ")),
                "{found}"
            );
            assert!(!found.contains("PAM"), "{found}");
        }
    }

    #[test]
    fn why_there_was_no_rehearsal() {
        let not_run = "PAM and the session were not tried: the rehearsal did not run, ";
        let reason = Mark::NotTried("ssh is missing".to_owned());
        for (status, mark, expected) in [
            (Skip, Some(reason), format!("{not_run}ssh is missing.")),
            (Skip, None, format!("{not_run}login.rehearsal.")),
            (Warn, None, "Warnings: login.rehearsal. The rehearsal: login.rehearsal.".to_owned()),
        ] {
            assert_eq!(summary(&[(CheckId::LoginRehearsal, status, mark)]), format!("{NOTHING} {expected}"));
        }
        let for_all = "Nothing was found that would refuse pushed keys. No user was given: --check USER checks the \
                       account, sshd's rules for it and its keys.";
        assert_eq!(report(None, &[NO_REHEARSAL]).summary(), for_all);
    }
}
