//! The report as one JSON document, described by `docs/check.schema.json`.

use serde_json::{Value, json};

use super::fix::Fix;
use super::report::{CheckReport, CheckResult, Mark, Status};

/// The version of the schema. It increases when a member is removed or changes its meaning. New members do not change
/// it.
pub(crate) const SCHEMA: u32 = 1;

#[must_use]
pub(crate) fn write(report: &CheckReport) -> String {
    let result = if report.with(Status::Fail).next().is_none() { "ok" } else { "failed" };
    let checks: Vec<_> = report.checks.iter().map(check).collect();
    document(result, report.user.as_deref(), &report.summary(), &checks)
}

/// The document for checks that could not run. `reason` is escaped text.
#[must_use]
pub(crate) fn not_run(reason: &str) -> String {
    document("not-run", None, reason, &[])
}

/// Formats the members, the checks last: a document that was cut off, as AWS Systems Manager does, still has the result and the summary.
fn document(result: &str, user: Option<&str>, summary: &str, checks: &[Value]) -> String {
    let first = [
        ("schema", json!(SCHEMA)),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("result", json!(result)),
        ("user", json!(user)),
        ("summary", json!(summary)),
    ];
    let first: Vec<_> = first.iter().map(|(name, value)| format!("  \"{name}\": {value},\n")).collect();
    let checks = format!("{:#}", json!(checks)).replace('\n', "\n  ");
    format!("{{\n{}  \"checks\": {checks}\n}}\n", first.concat())
}

fn check(check: &CheckResult) -> Value {
    let kind = check.fix.as_ref().map(|fix| if fix.is_command() { "command" } else { "advice" });
    let mut value = json!({
        "id": check.id.name(),
        "status": check.status.name(),
        "note": check.note,
        "fix": check.fix.as_ref().map(Fix::text),
        "fix_kind": kind,
        "detail": check.detail,
        "depends_on": check.depends_on.iter().map(|id| id.name()).collect::<Vec<_>>(),
        "duration_ms": u64::try_from(check.duration.as_millis()).unwrap_or(u64::MAX),
    });
    if let (Some(Mark::Certificates(count)), Value::Object(members)) = (&check.mark, &mut value) {
        members.insert("certificates".to_owned(), json!(count));
    }
    value
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_checks_come_last() {
        let checks = [json!({ "id": "a.b", "note": "\"summary\"\n" }), json!({ "id": "c.d" })];
        let text = document("failed", Some("al\"ice"), "two\nlines", &checks);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["user"], "al\"ice");
        assert_eq!(read["summary"], "two\nlines");
        assert_eq!(read["checks"], json!(checks));
        assert_eq!(read.as_object().unwrap().len(), 6);
        let (first, _) = text.split_once("\"checks\"").unwrap();
        for member in ["schema", "version", "result", "user", "summary"] {
            assert!(first.contains(&format!("\n  \"{member}\": ")), "{member} is in {first}");
        }
        assert_eq!(text.lines().count(), 16);
    }

    #[test]
    fn a_document_without_checks_is_valid() {
        let read: Value = serde_json::from_str(&not_run("the reason")).unwrap();
        assert_eq!(read["result"], "not-run");
        assert_eq!(read["checks"], json!([]));
    }
}
