//! The report as one JSON document, described by `docs/check.schema.json`.

use serde_json::{Value, json};

use super::fix::Fix;
use super::report::{Check, Report, Status};

/// The version of the schema. It increases when a member is removed or changes its meaning. New members do not change
/// it.
pub const SCHEMA: u32 = 1;

/// Formats the report.
#[must_use]
pub fn write(report: &Report) -> String {
    let result = if report.with(Status::Fail).next().is_none() { "ok" } else { "failed" };
    let checks: Vec<_> = report.checks.iter().map(check).collect();
    document(result, report.user.as_deref(), &report.summary(), &checks)
}

/// The document for checks that could not run. `reason` is escaped text.
#[must_use]
pub fn not_run(reason: &str) -> String {
    document("not-run", None, reason, &[])
}

fn document(result: &str, user: Option<&str>, summary: &str, checks: &[Value]) -> String {
    let document = json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "result": result,
        "user": user,
        "summary": summary,
        "checks": checks,
    });
    format!("{document:#}\n")
}

fn check(check: &Check) -> Value {
    let kind = check.fix.as_ref().map(|fix| if fix.is_command() { "command" } else { "advice" });
    json!({
        "id": check.id.name(),
        "status": check.status.name(),
        "note": check.note,
        "fix": check.fix.as_ref().map(Fix::text),
        "fix_kind": kind,
        "detail": check.detail,
        "depends_on": check.depends_on.iter().map(|id| id.name()).collect::<Vec<_>>(),
        "duration_ms": u64::try_from(check.duration.as_millis()).unwrap_or(u64::MAX),
    })
}
