//! The report as text.

use std::fmt::Write;

use super::report::{CheckReport, CheckResult, Status};

/// Width of the id column, with the trailing blanks.
const ID: usize = 22;

/// Detail lines of a failure or warning without `verbose`, so that the failures of a broken system fit on one screen.
const DETAILS: usize = 3;

/// Formats the report: failures, warnings, checks that could not be performed, and a summary. Other checks are only
/// counted. `verbose` lists all checks by group, with their details.
#[must_use]
pub(crate) fn write(report: &CheckReport, verbose: bool, colour: bool) -> String {
    let mut text = String::new();
    let _ = if verbose { all(&mut text, report, colour) } else { brief(&mut text, report, colour) };
    let _ = writeln!(text, "\n{}", report.summary());
    text
}

fn all(text: &mut String, report: &CheckReport, colour: bool) -> std::fmt::Result {
    let mut group = "";
    for check in &report.checks {
        if check.id.group() != group {
            group = check.id.group();
            writeln!(text, "{group}")?;
        }
        line(text, check, colour)?;
        let inputs: Vec<_> = check.depends_on.iter().map(|id| id.name()).collect();
        let inputs =
            if inputs.is_empty() { String::new() } else { format!("; depends on {}", inputs.join(", ")) };
        writeln!(text, "       # {}{inputs}; {} ms", check.id.covers(), check.duration.as_millis())?;
        details(text, check, usize::MAX)?;
        fix(text, check)?;
    }
    Ok(())
}

fn brief(text: &mut String, report: &CheckReport, colour: bool) -> std::fmt::Result {
    for status in [Status::Fail, Status::Warn] {
        for check in report.with(status) {
            line(text, check, colour)?;
            details(text, check, DETAILS)?;
            fix(text, check)?;
        }
    }
    for check in report.unknown() {
        line(text, check, colour)?;
        fix(text, check)?;
    }
    let outside: Vec<_> =
        report.checks.iter().filter(|check| !check.id.is_local()).map(|check| check.id.name()).collect();
    let passed = report.with(Status::Ok).count();
    let skipped = report.with(Status::Skip).filter(|check| check.skipped_for.is_some()).count();
    let skipped = if skipped > 0 {
        format!(", {skipped} skipped because a check that they depend on gave no value")
    } else {
        String::new()
    };
    writeln!(
        text,
        "  {passed} checks passed{skipped}. --verbose lists them, and commands for what\n  \
         cannot be checked on the instance: {}",
        outside.join(", ")
    )
}

fn line(text: &mut String, check: &CheckResult, colour: bool) -> std::fmt::Result {
    writeln!(text, "  {} {:<ID$} {}", painted(check.status, colour), check.id, check.note)
}

fn details(text: &mut String, check: &CheckResult, most: usize) -> std::fmt::Result {
    for detail in check.detail.iter().take(most) {
        writeln!(text, "         {detail}")?;
    }
    match check.detail.len().saturating_sub(most) {
        0 => Ok(()),
        more => writeln!(text, "         and {more} more: --verbose"),
    }
}

fn fix(text: &mut String, check: &CheckResult) -> std::fmt::Result {
    match &check.fix {
        Some(fix) => writeln!(text, "       {} {}", if fix.is_command() { '$' } else { '>' }, fix.text()),
        None => Ok(()),
    }
}

/// Colours the status with SGR sequences (ECMA-48): bold red, yellow, green, faint.
fn painted(status: Status, colour: bool) -> String {
    let (sgr, word) = match status {
        Status::Ok => ("32", "ok  "),
        Status::Warn => ("33", "warn"),
        Status::Fail => ("1;31", "FAIL"),
        Status::Skip => ("2", "skip"),
    };
    if colour { format!("\u{1b}[{sgr}m{word}\u{1b}[m") } else { word.to_owned() }
}
