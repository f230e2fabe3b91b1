//! The report as one JSON document, described by `docs/logins.schema.json`.

use std::fmt::Write;

use serde_json::{Value, json};

use super::finder::{Login, RefusedRecord, SessionState};
use super::report::LoginsReport;
use crate::calendar::{MICROS, rfc3339_text};
use crate::escape::is_plain;
use crate::log_lines::Push;

/// The version of the schema. It increases when a member is removed or changes its meaning. New members do not change it.
const SCHEMA: u32 = 1;

/// Formats the report. Each login is a line.
pub(super) fn write(report: &LoginsReport) -> String {
    let head = json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "result": if report.missing.is_empty() { "ok" } else { "partial" },
        "summary": report.summary().join(" "),
        "source": if report.journal { "journal" } else { "files" },
        "trusted": report.trusted,
        "since": report.since.map(rfc3339_text),
        "until": report.until.map(rfc3339_text),
        "user": report.user,
        "notes": report.missing.iter().chain(&report.notes).collect::<Vec<_>>(),
    });
    let logins = ("logins", report.logins.iter().map(login).collect());
    let refused = report.refused.iter().map(|list| ("refused", list.iter().map(refused).collect()));
    document(&head, [logins].into_iter().chain(refused))
}

/// The document if the log could not be read.
pub(super) fn not_run(reason: &str) -> String {
    let head = json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "result": "not-run",
        "summary": reason,
        "source": null,
        "trusted": null,
        "since": null,
        "until": null,
        "user": null,
        "notes": [],
    });
    document(&head, [("logins", Vec::new())])
}

/// Appends lists to a document, one line for each item: a document of all logins as values would need several times the memory.
fn document<'a>(head: &Value, lists: impl IntoIterator<Item = (&'a str, Vec<String>)>) -> String {
    let mut text = format!("{head:#}");
    text.truncate(text.strip_suffix("\n}").unwrap_or(&text).len());
    for (name, items) in lists {
        let items = items.join(",\n    ");
        let items = if items.is_empty() { items } else { format!("\n    {items}\n  ") };
        text.extend([",\n  \"", name, "\": [", &items, "]"]);
    }
    text.push_str("\n}\n");
    escape(text)
}

/// Escapes the characters that a terminal can interpret, or that change how text is shown. `serde_json` escapes only those below U+0020.
/// They are only within strings.
fn escape(text: String) -> String {
    let is_plain = |char: char| char == '\n' || is_plain(char);
    // Nearly always true, and faster by bytes than by characters.
    if text.bytes().all(|byte| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic()) {
        return text;
    }
    if text.chars().all(is_plain) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if is_plain(char) {
            escaped.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

fn login(login: &Login) -> String {
    let (state, ended) = match login.state {
        SessionState::Open => ("open", None),
        SessionState::Ended(ended) => ("ended", ended),
        SessionState::Unknown => ("unknown", None),
    };
    json!({
        "time": rfc3339_text(login.time),
        "user": login.client.user,
        "address": login.client.address,
        "port": login.client.port,
        "principal": login.principal,
        "request": login.request,
        "fingerprint": login.fingerprint,
        "candidates": login.candidates.iter().map(|push| candidate(push)).collect::<Vec<_>>(),
        "state": state,
        "ended": ended.map(rfc3339_text),
        "seconds": ended.map(|ended| ended.saturating_sub(login.time).wrapping_div(MICROS)),
    })
    .to_string()
}

fn candidate(push: &Push) -> Value {
    json!({ "principal": push.principal, "request": push.request })
}

fn refused(refused: &RefusedRecord) -> String {
    let push = refused.push.as_ref();
    json!({
        "time": rfc3339_text(refused.time),
        "user": refused.user,
        "principal": push.and_then(|push| push.principal.as_ref()),
        "request": push.and_then(|push| push.request.as_ref()),
        "fingerprint": push.map(|push| &push.fingerprint),
        "reason": refused.reason,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::{Value, json};

    use super::{document, is_plain};

    #[test]
    fn a_terminal_gets_no_control_character() {
        let head = json!({ "a": "\u{1b}[2J\u{7f}\u{80}\u{9b}2J\n\u{a0}é\u{202e}\u{200b}\u{e0041}" });
        let text = document(&head, []);
        assert!(text.chars().all(|char| char == '\n' || is_plain(char)), "{text}");
        assert!(text.contains("\\u202e\\u200b\\udb40\\udc41"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), head);
    }

    #[test]
    fn a_document_with_lists() {
        let head = json!({ "a": "}", "b": { "c": {} } });
        let lists = [("none", vec![]), ("two", vec!["1".to_owned(), "{}".to_owned()])];
        let read: Value = serde_json::from_str(&document(&head, lists)).unwrap();
        assert_eq!(read, json!({ "a": "}", "b": { "c": {} }, "none": [], "two": [1, {}] }));
    }
}
