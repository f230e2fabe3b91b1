//! Runs the checks and collects their results.
//!
//! [`Runner::check`] runs one check, with the [`Finding`]s of the checks that it depends on. So `depends_on` in the
//! report lists the real dependencies, and a check is skipped if a dependency has no value.

use std::cell::RefCell;
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::check_id::CheckId;
use super::fix::Fix;
use super::report::{Check, LATER, Status};
use super::serving::before_restart;
use crate::escape::Escaped;
use crate::limits;

/// The result of a check, and the value for the checks that depend on it. A failed or skipped check has no value.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    status: Status,
    note: String,
    fix: Option<Fix>,
    detail: Vec<String>,
    value: Option<T>,
}

impl<T> Answer<T> {
    pub(crate) fn ok(note: impl Into<String>, value: T) -> Self {
        Self { status: Status::Ok, note: note.into(), fix: None, detail: Vec::new(), value: Some(value) }
    }

    pub(crate) fn warn(note: impl Into<String>, fix: Fix, value: T) -> Self {
        Self { status: Status::Warn, fix: Some(fix), ..Self::ok(note, value) }
    }

    /// A warning about something that the dependent checks need and cannot have.
    pub(crate) fn warn_only(note: impl Into<String>, fix: Fix) -> Self {
        Self { status: Status::Warn, ..Self::fail(note, fix) }
    }

    /// Nothing is wrong for pushed keys; the fix is for other logins.
    pub(crate) fn remark(note: impl Into<String>, fix: Fix, value: T) -> Self {
        Self { fix: Some(fix), ..Self::ok(note, value) }
    }

    pub(crate) fn fail(note: impl Into<String>, fix: Fix) -> Self {
        Self { status: Status::Fail, note: note.into(), fix: Some(fix), detail: Vec::new(), value: None }
    }

    /// The check has no result, for this reason.
    pub(crate) fn skip(note: impl Into<String>) -> Self {
        Self { status: Status::Skip, note: note.into(), fix: None, detail: Vec::new(), value: None }
    }

    /// The check has no result here. The fix says how to check elsewhere.
    pub(crate) fn elsewhere(note: impl Into<String>, fix: Fix) -> Self {
        Self { fix: Some(fix), ..Self::skip(note) }
    }

    /// A warning instead of a failure, if it is by a configuration that the running sshd has not read.
    pub(crate) fn later(self, wrong: Option<CheckId>, value: T) -> Self {
        match (wrong, self.status) {
            (Some(wrong), Status::Fail) => Self {
                status: Status::Warn,
                note: format!("{LATER}: {}", self.note),
                fix: Some(before_restart(wrong)),
                value: Some(value),
                ..self
            },
            _ => self,
        }
    }

    /// The note of a failed check.
    pub(crate) fn failure(self) -> Option<String> {
        (self.status == Status::Fail).then_some(self.note)
    }

    pub(crate) fn detail(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.detail.extend(lines);
        self
    }
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

/// The results so far.
#[derive(Debug, Default)]
pub(crate) struct Runner(RefCell<Vec<Check>>);

impl Runner {
    /// Runs one check, within its time limit, with the values of `needs`.
    pub(crate) async fn check<N: Inputs, T>(
        &self,
        id: CheckId,
        needs: N,
        ask: impl AsyncFnOnce(N::Values) -> Answer<T>,
    ) -> Finding<T> {
        let start = Instant::now();
        let depends_on = needs.ids();
        self.begin(id, &depends_on);
        let (answer, missing) = match needs.values() {
            Err(missing) => (Answer::skip(format!("needs {missing}")), Some(missing)),
            // The code for a boxed future exists once per type of value, not once per check.
            Ok(values) => (in_time(limit(id), Box::pin(ask(values))).await, None),
        };
        let Answer { status, note, fix, detail, value } = answer;
        self.put(Check {
            id,
            status,
            note,
            fix,
            detail,
            depends_on,
            needs: missing,
            duration: start.elapsed(),
        });
        Finding { id, value }
    }

    /// Records a check before it starts, so that a check that never ends is in the report.
    fn begin(&self, id: CheckId, depends_on: &[CheckId]) {
        self.put(Check { depends_on: depends_on.to_vec(), ..unanswered(id) });
    }

    /// The status of a check that has run.
    pub(crate) fn status(&self, id: CheckId) -> Option<Status> {
        self.0.borrow().iter().find(|check| check.id == id).map(|check| check.status)
    }

    /// The first check, of those that count, that says that logins work until sshd is started again.
    pub(crate) fn breaks_later(&self, counts: impl Fn(CheckId) -> bool) -> Option<CheckId> {
        let checks = self.0.borrow();
        let says = |id: &CheckId| checks.iter().any(|check| check.id == *id && check.note.starts_with(LATER));
        CheckId::ALL.into_iter().find(|id| counts(*id) && says(id))
    }

    fn put(&self, mut check: Check) {
        check.note = harmless(check.note);
        check.fix = check.fix.map(Fix::harmless);
        check.detail = check.detail.into_iter().take(limits::CHECK_DETAILS).map(harmless).collect();
        let mut checks = self.0.borrow_mut();
        checks.retain(|other| other.id != check.id);
        checks.push(check);
    }

    /// The results of all checks, in report order.
    pub(crate) fn answers(self) -> Vec<Check> {
        let mut answered = self.0.into_inner();
        let mut checks = Vec::new();
        for id in CheckId::ALL {
            let found = answered.iter().position(|check| check.id == id);
            checks.push(found.map_or_else(|| unanswered(id), |found| answered.swap_remove(found)));
        }
        checks
    }
}

fn limit(id: CheckId) -> Duration {
    match id {
        CheckId::LoginRehearsal | CheckId::LoginTerminal => limits::REHEARSAL,
        _ => limits::CHECK,
    }
}

/// Runs a check within its time limit.
async fn in_time<T>(limit: Duration, check: Pin<Box<dyn Future<Output = Answer<T>> + '_>>) -> Answer<T> {
    tokio::time::timeout(limit, check).await.unwrap_or_else(|_| {
        Answer::fail(
            format!("this check did not end within {} s", limit.as_secs()),
            Fix::advice("find out what is slow: a file system, a name service, or a busy system"),
        )
    })
}

#[allow(clippy::needless_pass_by_value, reason = "it is used with map")]
fn harmless(text: String) -> String {
    Escaped(text.as_bytes()).to_string()
}

fn unanswered(id: CheckId) -> Check {
    Check {
        id,
        status: Status::Fail,
        note: format!("this check had no result within {} s", limits::ALL_CHECKS.as_secs()),
        fix: Some(Fix::advice("fix the checks that failed before it, then check again")),
        detail: Vec::new(),
        depends_on: Vec::new(),
        needs: None,
        duration: limits::ALL_CHECKS,
    }
}

/// Runs a check that can block, in a file system or another program, without delaying the others.
pub(crate) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Answer<T> {
    in_thread(Box::new(ask)).await
}

/// The code of a task exists once per type of value, not once per check.
async fn in_thread<T: Send + 'static>(ask: Box<dyn FnOnce() -> Answer<T> + Send>) -> Answer<T> {
    tokio::task::spawn_blocking(ask).await.unwrap_or_else(|error| {
        let report = Fix::advice("report this as an error of eic-keys");
        Answer::fail(format!("this check stopped with an error: {error}"), report)
    })
}

#[cfg(test)]
mod tests {
    use super::{Answer, CheckId, Finding, Fix, Runner, Status};

    fn run(ask: impl AsyncFnOnce(&Runner)) -> Vec<super::Check> {
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
