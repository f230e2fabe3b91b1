//! The report as text.

use std::fmt::Write;

use super::report::{Check, Report, Status};

/// Width of the id column, with the trailing blanks.
const ID: usize = 22;

/// Formats the report: groups, one line per check, fixes, and a summary. `verbose` adds the details of each check.
#[must_use]
pub fn write(report: &Report, verbose: bool, colour: bool) -> String {
    let mut text = String::new();
    let mut group = "";
    for check in &report.checks {
        if check.id.group() != group {
            group = check.id.group();
            let _ = writeln!(text, "{group}");
        }
        let _ = line(&mut text, check, verbose, colour);
    }
    let _ = writeln!(text, "\n{}", report.summary());
    text
}

fn line(text: &mut String, check: &Check, verbose: bool, colour: bool) -> std::fmt::Result {
    let status = painted(check.status, colour);
    writeln!(text, "  {status} {:<ID$} {}", check.id, check.note)?;
    let wrong = matches!(check.status, Status::Warn | Status::Fail);
    if verbose {
        let inputs: Vec<_> = check.depends_on.iter().map(|id| id.name()).collect();
        let ground =
            if inputs.is_empty() { String::new() } else { format!("; builds on {}", inputs.join(", ")) };
        writeln!(text, "       # {}{ground}; {} ms", check.id.asks(), check.duration.as_millis())?;
    }
    if verbose || wrong {
        for detail in &check.detail {
            writeln!(text, "         {detail}")?;
        }
    }
    if let Some(fix) = &check.fix {
        writeln!(text, "       {} {}", if fix.is_command() { '$' } else { '>' }, fix.text())?;
    }
    Ok(())
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
