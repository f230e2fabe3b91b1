//! Runs the checks and collects their results.
//!
//! [`Runner::check`] runs one check, with the [`Finding`]s of the checks whose values it needs: `depends_on` in the report. It is skipped
//! if one of them has no value. A check that runs after others can also ask how these ended ([`Runner::status`], [`Runner::breaks_later`]
//! and the like); `check::examine` has the order.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::check_id::CheckId;
use super::fix::Fix;
use super::report::{CHANGED_SINCE, CheckResult, Mark, Status};
use crate::escape::harmless;
use crate::limits;
use crate::sshd::criteria::NamedClients;

/// The result of a check, and the value for the checks that depend on it. A failed or skipped check has no value.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// In a box, because answers are moved at hundreds of places.
    verdict: Box<Verdict>,
    value: Option<T>,
}

/// The result of a check, as the report shows it.
#[derive(Debug)]
struct Verdict {
    status: Status,
    note: String,
    mark: Option<Mark>,
    fix: Option<Fix>,
    detail: Vec<String>,
    /// The name service does not answer, so that each program that asks it hangs.
    no_name_service: bool,
}

/// The beginning of a note about what breaks, if it is not known what the running sshd accepts.
const AT_LATEST: &str = "breaks at sshd's next restart at the latest";

impl Verdict {
    fn breaks(&mut self, when: &str, why: &str) {
        self.note = format!("{when}{why}: {}", self.note);
        self.mark = Some(Mark::BreaksAtRestart);
    }
}

impl Answer<()> {
    fn without_value(status: Status, note: String, fix: Option<Fix>) -> Self {
        let verdict = Verdict { status, note, mark: None, fix, detail: Vec::new(), no_name_service: false };
        Self { verdict: Box::new(verdict), value: None }
    }
}

impl<T> Answer<T> {
    fn new(status: Status, note: impl Into<String>, fix: Option<Fix>, value: Option<T>) -> Self {
        let Answer { verdict, value: _ } = Answer::without_value(status, note.into(), fix);
        Self { verdict, value }
    }

    pub(crate) fn ok(note: impl Into<String>, value: T) -> Self {
        Self::new(Status::Ok, note, None, Some(value))
    }

    pub(crate) fn warn(note: impl Into<String>, fix: Fix, value: T) -> Self {
        Self::new(Status::Warn, note, Some(fix), Some(value))
    }

    /// A warning about something that the dependent checks need and cannot have.
    pub(crate) fn warn_without_value(note: impl Into<String>, fix: Fix) -> Self {
        Self::new(Status::Warn, note, Some(fix), None)
    }

    /// Nothing is wrong for pushed keys; the fix is for other logins.
    pub(crate) fn ok_with_fix(note: impl Into<String>, fix: Fix, value: T) -> Self {
        Self::new(Status::Ok, note, Some(fix), Some(value))
    }

    pub(crate) fn fail(note: impl Into<String>, fix: Fix) -> Self {
        Self::new(Status::Fail, note, Some(fix), None)
    }

    /// The check has no result, for this reason.
    pub(crate) fn skip(note: impl Into<String>) -> Self {
        Self::new(Status::Skip, note, None, None)
    }

    /// The check has no result here. The fix says how to check elsewhere.
    pub(crate) fn skip_with_fix(note: impl Into<String>, fix: Fix) -> Self {
        Self::new(Status::Skip, note, Some(fix), None)
    }

    /// A warning instead of a failure, if it is by a configuration that the running sshd has not read.
    pub(crate) fn warn_until_restart(mut self, wrong: Option<CheckId>, value: T) -> Self {
        if let (Some(wrong), Status::Fail) = (wrong, self.verdict.status) {
            self.verdict.status = Status::Warn;
            self.verdict.fix = Some(Fix::before_restart(wrong));
            self.verdict.breaks(AT_LATEST, "");
            self.value = Some(value);
        }
        self
    }

    /// A warning instead of a failure, if it is by this file, of which the running sshd has not read the current version.
    pub(crate) fn warn_if_changed(self, file: Option<&Path>, value: T) -> Self {
        match (file, self.verdict.status) {
            (Some(_), Status::Fail) => {
                Self { value: Some(value), ..self.warn_if_changed_without_value(file) }
            }
            _ => self,
        }
    }

    /// As [`Answer::warn_if_changed`], but without a value for the dependent checks.
    pub(crate) fn warn_if_changed_without_value(mut self, file: Option<&Path>) -> Self {
        if let (Some(file), Status::Fail) = (file, self.verdict.status) {
            self.verdict.status = Status::Warn;
            self.verdict.breaks(AT_LATEST, &format!(" ({} {CHANGED_SINCE})", file.display()));
        }
        self
    }

    /// The running sshd still accepts what is wrong. `why`: empty, or in brackets after a blank.
    pub(crate) fn breaks_at_restart(mut self, why: &str) -> Self {
        self.verdict.breaks("works now, but breaks at sshd's next restart", why);
        self
    }

    /// As [`Answer::breaks_at_restart`], if it is not known what the running sshd accepts.
    pub(crate) fn breaks_at_latest(mut self, why: &str) -> Self {
        self.verdict.breaks(AT_LATEST, why);
        self
    }

    /// A warning instead of a failure, if this check says that some clients are refused: this one may be among them.
    pub(crate) fn warn_if_some_are_refused(mut self, by: Option<CheckId>) -> Self {
        if let (Some(id), Status::Fail) = (by, self.verdict.status) {
            self.verdict.status = Status::Warn;
            self.verdict.note = format!(
                "{}; {id} says that some clients are refused, and this one is 127.0.0.1",
                self.verdict.note
            );
            self.verdict.fix = Some(Fix::advice(format!("see {id}; log in from a client that is allowed")));
        }
        self
    }

    /// A warning instead of a failure, if it concerns only these clients. Without exceptions they can be all.
    pub(crate) fn for_clients(self, clients: Option<NamedClients>) -> Self {
        let some = clients.filter(NamedClients::has_exception);
        self.only_for(some.map(|clients| clients.to_string()))
    }

    /// A warning instead of a failure, if it concerns only these clients.
    pub(crate) fn only_for(mut self, clients: Option<String>) -> Self {
        if let (Some(clients), Status::Fail) = (clients, self.verdict.status) {
            self.verdict.status = Status::Warn;
            self.verdict.note = format!("{}, for {clients}", self.verdict.note);
            return self.marked(Mark::SomeClients);
        }
        self
    }

    pub(crate) fn marked(mut self, mark: Mark) -> Self {
        self.verdict.mark = Some(mark);
        self
    }

    /// The other checks that need the name service are skipped: each would take its time limit.
    pub(crate) fn name_service_hangs(mut self) -> Self {
        self.verdict.no_name_service = true;
        self
    }

    /// The other result, if this one is ok and there is another one.
    pub(crate) fn if_ok(self, other: impl FnOnce() -> Option<Self>) -> Self {
        if self.verdict.status == Status::Ok { other().unwrap_or(self) } else { self }
    }

    /// The first result that is a failure, or else the first that is not ok.
    pub(crate) fn or_worse(self, other: impl FnOnce() -> Self) -> Self {
        if self.verdict.status == Status::Fail {
            return self;
        }
        let other = other();
        let is_other = self.verdict.status == Status::Ok || other.verdict.status == Status::Fail;
        if is_other { other } else { self }
    }

    /// The note of a failed check.
    pub(crate) fn failure(self) -> Option<String> {
        (self.verdict.status == Status::Fail).then_some(self.verdict.note)
    }

    fn and_then<U>(self, change: impl FnOnce(T) -> Option<U>) -> Answer<U> {
        Answer { verdict: self.verdict, value: self.value.and_then(change) }
    }

    fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        self.and_then(|value| Some(change(value)))
    }

    pub(crate) fn detail(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.verdict.detail.extend(lines);
        self
    }
}

/// A check that runs.
struct Started {
    id: CheckId,
    depends_on: Vec<CheckId>,
    time: Instant,
    /// The check without whose value it is skipped.
    skipped_for: Option<CheckId>,
}

/// The value of a check, for the checks that depend on it.
#[derive(Debug)]
pub(crate) struct Finding<T> {
    id: CheckId,
    value: Option<T>,
}

impl<T> Finding<T> {
    /// For a check that can use the value but does not need it.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

/// The findings that a check depends on: `()`, one, or a tuple.
pub(crate) trait Inputs {
    /// The values of the findings.
    type Values;

    fn ids(&self) -> Vec<CheckId>;

    /// `Err`: the first check without a value.
    fn values(self) -> Result<Self::Values, CheckId>;
}

impl Inputs for () {
    type Values = ();

    fn ids(&self) -> Vec<CheckId> {
        Vec::new()
    }

    fn values(self) -> Result<(), CheckId> {
        Ok(())
    }
}

impl<'a, T> Inputs for &'a Finding<T> {
    type Values = &'a T;

    fn ids(&self) -> Vec<CheckId> {
        vec![self.id]
    }

    fn values(self) -> Result<&'a T, CheckId> {
        self.value.as_ref().ok_or(self.id)
    }
}

macro_rules! inputs_of_tuple {
    ($($step:ident: $type:ident),+) => {
        impl<'a, $($type),+> Inputs for ($(&'a Finding<$type>,)+) {
            type Values = ($(&'a $type,)+);

            fn ids(&self) -> Vec<CheckId> {
                let ($($step,)+) = self;
                vec![$($step.id),+]
            }

            fn values(self) -> Result<Self::Values, CheckId> {
                let ($($step,)+) = self;
                Ok(($($step.values()?,)+))
            }
        }
    };
}

inputs_of_tuple!(a: A, b: B);
inputs_of_tuple!(a: A, b: B, c: C);
inputs_of_tuple!(a: A, b: B, c: C, d: D);
inputs_of_tuple!(a: A, b: B, c: C, d: D, e: E);

/// A check while it runs.
type Asking<'a> = Pin<Box<dyn Future<Output = Answer<()>> + 'a>>;

/// The value of a check that ran in a thread. One type, so that the code that runs a check exists once.
type AnyValue = Box<dyn Any + Send>;

/// A check that can block.
type Blocking = Box<dyn FnOnce() -> Answer<AnyValue> + Send>;

/// The results so far.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    checks: RefCell<Vec<CheckResult>>,
    /// The check that found that the name service does not answer.
    no_name_service: Cell<Option<CheckId>>,
}

impl Runner {
    /// Runs one check, within its time limit, with the values of `needs`.
    pub(crate) async fn check<N: Inputs, T>(
        &self,
        id: CheckId,
        needs: N,
        ask: impl AsyncFnOnce(N::Values) -> Answer<T>,
    ) -> Finding<T> {
        let depends_on = needs.ids();
        let mut value = None;
        let ask: Result<Asking<'_>, CheckId> = match needs.values() {
            Err(missing) => Err(missing),
            Ok(values) => Ok(Box::pin(async {
                let answer = ask(values).await;
                answer.map(|found| value = Some(found))
            })),
        };
        self.run(id, depends_on, ask).await;
        Finding { id, value }
    }

    /// As [`Runner::check`], for a check that can block, in a file system or another program, without delaying the others.
    /// `prepare` takes from the values of `needs` what the check needs, and returns the check; it must not block.
    pub(crate) fn check_in_thread<'a, N: Inputs, T: Send + 'static, A>(
        &'a self,
        id: CheckId,
        needs: N,
        prepare: impl FnOnce(N::Values) -> A,
    ) -> Pin<Box<dyn Future<Output = Finding<T>> + 'a>>
    where
        A: FnOnce() -> Answer<T> + Send + 'static,
    {
        let depends_on = needs.ids();
        let ask = needs.values().map(|values| of_any_value(prepare(values)));
        self.run_in_thread(id, depends_on, ask)
    }

    /// Runs a check in a thread and records it. The code of this future exists once per type of value, and not once per check.
    fn run_in_thread<T: 'static>(
        &self,
        id: CheckId,
        depends_on: Vec<CheckId>,
        ask: Result<Blocking, CheckId>,
    ) -> Pin<Box<dyn Future<Output = Finding<T>> + '_>> {
        Box::pin(async move {
            let mut value = None;
            let ask = ask.map(|ask| -> Asking<'_> {
                Box::pin(async { in_thread(ask).await.map(|found| value = Some(found)) })
            });
            self.run(id, depends_on, ask).await;
            Finding { id, value: value.and_then(of_type) }
        })
    }

    /// Records a check without its value. `ask`: the check, or the one without whose value it is skipped.
    ///
    /// The code of this future exists once, and not once per check.
    fn run<'a>(
        &'a self,
        id: CheckId,
        depends_on: Vec<CheckId>,
        ask: Result<Asking<'a>, CheckId>,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move {
            if let Some(started) = self.begin(id, depends_on, ask.as_ref().err().copied()) {
                if let Ok(ask) = ask {
                    let answer = in_time(id.limit(), ask).await;
                    self.end(started, answer);
                }
            }
        })
    }

    /// Records a check before it starts, so that a check that never ends is in the report. Returns `None` if the check is skipped.
    ///
    /// This function and those that it calls exist once, and not once per check.
    fn begin(&self, id: CheckId, mut depends_on: Vec<CheckId>, missing: Option<CheckId>) -> Option<Started> {
        let hangs = self.no_name_service.get().filter(|_| id.asks_name_service());
        depends_on.extend(hangs.filter(|hangs| !depends_on.contains(hangs)));
        let started = Started { id, depends_on, time: Instant::now(), skipped_for: hangs.or(missing) };
        let reason = match (hangs, missing) {
            (Some(_), _) => "needs the name service, which does not answer".to_owned(),
            (None, Some(missing)) => format!("needs {missing}"),
            (None, None) => {
                self.put(CheckResult { depends_on: started.depends_on.clone(), ..unanswered(id) });
                return Some(started);
            }
        };
        self.end(started, Answer::skip(reason));
        None
    }

    fn end(&self, started: Started, answer: Answer<()>) {
        let Started { id, depends_on, time, skipped_for } = started;
        let Verdict { status, note, mark, fix, detail, no_name_service } = *answer.verdict;
        if no_name_service {
            self.no_name_service.set(Some(id));
        }
        self.put(CheckResult {
            id,
            status,
            note,
            mark,
            fix,
            detail,
            depends_on,
            skipped_for,
            duration: time.elapsed(),
        });
    }

    /// The status of a check that has run.
    pub(crate) fn status(&self, id: CheckId) -> Option<Status> {
        self.checks.borrow().iter().find(|check| check.id == id).map(|check| check.status)
    }

    /// The first check, of those that count, that says that logins work until sshd is started again.
    pub(crate) fn breaks_later(&self, counts: impl Fn(CheckId) -> bool) -> Option<CheckId> {
        CheckId::ALL.into_iter().find(|id| counts(*id) && self.has(*id, &Mark::BreaksAtRestart))
    }

    /// The first check that says that sshd may refuse logins after a reload.
    pub(crate) fn forbids_reload(&self) -> Option<CheckId> {
        CheckId::ALL.into_iter().find(|id| match self.status(*id) {
            Some(Status::Fail) => id.failure_forbids_reload(),
            Some(Status::Warn) => id.warning_forbids_reload(),
            _ => false,
        })
    }

    /// The first check that says that some clients are refused.
    pub(crate) fn refuses_some_clients(&self) -> Option<CheckId> {
        CheckId::ALL.into_iter().find(|id| self.refuses_some_clients_by(*id))
    }

    /// Whether this check says that some clients are refused.
    pub(crate) fn refuses_some_clients_by(&self, id: CheckId) -> bool {
        self.has(id, &Mark::SomeClients)
    }

    /// Whether sshd runs with an older configuration than that on disk.
    pub(crate) fn runs_older_configuration(&self) -> bool {
        self.has(CheckId::RunningCurrent, &Mark::OlderConfiguration)
    }

    fn has(&self, id: CheckId, mark: &Mark) -> bool {
        self.checks.borrow().iter().any(|check| check.id == id && check.mark.as_ref() == Some(mark))
    }

    fn put(&self, mut check: CheckResult) {
        check.note = harmless(&check.note);
        check.mark = check.mark.map(|mark| match mark {
            Mark::ForOthers(text) => Mark::ForOthers(harmless(&text)),
            Mark::NotTried(text) => Mark::NotTried(harmless(&text)),
            mark => mark,
        });
        check.fix = check.fix.map(Fix::harmless);
        check.detail = check.detail.iter().take(limits::CHECK_DETAILS).map(|line| harmless(line)).collect();
        let mut checks = self.checks.borrow_mut();
        checks.retain(|other| other.id != check.id);
        checks.push(check);
    }

    /// The results of all checks, in report order.
    pub(crate) fn answers(self) -> Vec<CheckResult> {
        let mut answered = self.checks.into_inner();
        let mut checks = Vec::new();
        for id in CheckId::ALL {
            let found = answered.iter().position(|check| check.id == id);
            checks.push(found.map_or_else(|| unanswered(id), |found| answered.swap_remove(found)));
        }
        checks
    }
}

const SLOW: &str = "find out what is slow: a file system, a name service, or a busy system";

/// Runs a check within its time limit.
async fn in_time(limit: Duration, check: Asking<'_>) -> Answer<()> {
    tokio::time::timeout(limit, check).await.unwrap_or_else(|_| {
        Answer::fail(format!("this check did not end within {} s", limit.as_secs()), Fix::advice(SLOW))
            .marked(Mark::TimedOut)
    })
}

fn unanswered(id: CheckId) -> CheckResult {
    CheckResult {
        id,
        status: Status::Fail,
        note: format!("this check had no result within {} s", limits::ALL_CHECKS_TIME.as_secs()),
        fix: Some(Fix::advice(SLOW)),
        detail: Vec::new(),
        mark: Some(Mark::TimedOut),
        depends_on: Vec::new(),
        skipped_for: None,
        duration: limits::ALL_CHECKS_TIME,
    }
}

/// The part of a check that can block, if the check waits for the metadata service before. See [`Runner::check_in_thread`].
pub(crate) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Answer<T> {
    in_thread(of_any_value(ask)).await.and_then(of_type)
}

fn of_any_value<T: Send + 'static>(ask: impl FnOnce() -> Answer<T> + Send + 'static) -> Blocking {
    Box::new(move || {
        ask().map(|value| {
            let value: AnyValue = Box::new(value);
            value
        })
    })
}

fn of_type<T: 'static>(value: AnyValue) -> Option<T> {
    value.downcast().ok().map(|value| *value)
}

async fn in_thread(ask: Blocking) -> Answer<AnyValue> {
    let ask = || {
        let mut answer = ask();
        answer.verdict.fix = answer.verdict.fix.map(Fix::or_advice_if_etc_is_read_only);
        answer
    };
    tokio::task::spawn_blocking(ask).await.unwrap_or_else(|error| {
        let report = Fix::advice("this is a bug in eic-keys: report it");
        Answer::fail(format!("this check stopped with an error: {error}"), report)
    })
}

#[cfg(test)]
mod tests {
    use super::{Answer, CheckId, Finding, Fix, Mark, Runner, Status};
    use crate::limits;

    fn run(ask: impl AsyncFnOnce(&Runner)) -> Vec<super::CheckResult> {
        let runner = Runner::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(ask(&runner));
        }
        runner.answers()
    }

    #[test]
    fn each_check_is_in_the_report() {
        let checks = run(async |_| ());
        let ids: Vec<_> = checks.iter().map(|check| check.id).collect();
        assert_eq!(ids, CheckId::ALL);
        assert!(checks.iter().all(|check| check.status == Status::Fail && check.fix.is_some()));
    }

    #[test]
    fn the_most_details() {
        for lines in [limits::CHECK_DETAILS, limits::CHECK_DETAILS.saturating_add(1)] {
            let checks = run(async |runner| {
                let answer = || Answer::ok("yes", ()).detail((0..lines).map(|line| line.to_string()));
                runner.check(CheckId::InstanceHost, (), async |()| answer()).await;
            });
            let shown = checks.iter().find(|check| check.id == CheckId::InstanceHost);
            assert_eq!(shown.map(|check| check.detail.len()), Some(limits::CHECK_DETAILS), "{lines}");
        }
    }

    #[test]
    fn a_check_without_its_dependency_is_skipped() {
        let checks = run(async |runner| {
            let failed: Finding<u8> = runner
                .check(CheckId::InstanceHost, (), async |()| Answer::fail("no", Fix::advice("do")))
                .await;
            let fine = runner.check(CheckId::MetadataToken, (), async |()| Answer::ok("yes", 1_u8)).await;
            let skipped: Finding<u8> = runner
                .check(CheckId::InstanceId, (&fine, &failed), async |(one, _)| Answer::ok("never", *one))
                .await;
            runner.check(CheckId::InstanceRegion, &skipped, async |_| Answer::ok("never", ())).await;
        });
        let of = |id: CheckId| checks.iter().find(|check| check.id == id).cloned();
        let id = of(CheckId::InstanceId).map(|check| (check.status, check.note, check.depends_on));
        let note = "needs instance.host".to_owned();
        assert_eq!(id, Some((Status::Skip, note, vec![CheckId::MetadataToken, CheckId::InstanceHost])));
        assert_eq!(of(CheckId::InstanceRegion).map(|check| check.status), Some(Status::Skip));
    }

    #[test]
    fn what_a_result_says_to_others_is_not_read_from_its_words() {
        let words = "works now, but breaks at sshd's next restart: was changed after sshd read it";
        for (mark, later, is_older) in [
            (None, false, false),
            (Some(Mark::BreaksAtRestart), true, false),
            (Some(Mark::OlderConfiguration), false, true),
        ] {
            run(async |runner| {
                let mut answer = Answer::warn(words, Fix::advice("x"), ());
                answer.verdict.mark = mark;
                runner.check(CheckId::RunningCurrent, (), async |()| answer).await;
                assert_eq!(runner.breaks_later(|_| true).is_some(), later);
                assert_eq!(runner.runs_older_configuration(), is_older);
            });
        }
    }

    #[test]
    fn texts_are_escaped() {
        let evil = "\u{1b}[2J\n\u{202e}\0";
        let checks = run(async |runner| {
            let answer = || Answer::warn(evil, Fix::advice(evil), ()).detail([evil.to_owned()]);
            runner.check(CheckId::InstanceHost, (), async |()| answer()).await;
        });
        let first = checks.first().map(|check| {
            [
                vec![check.note.clone()],
                check.detail.clone(),
                check.fix.iter().map(|fix| fix.text().to_owned()).collect(),
            ]
            .concat()
        });
        assert_eq!(first, Some(vec!["\\u{1b}[2J\\n\\u{202e}\\u{0}".to_owned(); 3]));
    }
}
