//! The report as text.

use super::finder::{Login, RefusedRecord, SessionState};
use super::report::{LoginsReport, candidates};
use crate::calendar::{self, MICROS};
use crate::escape::harmless;
use crate::time_zone::TimeZone;

/// The width of a table on a terminal.
const WIDTH: usize = 100;

/// Columns of a user and of a fingerprint on a terminal. With a time, the longest address and a session of 999 days, they fill the line.
const USER: usize = 12;
const KEY: usize = 13;

/// The width to which a column is padded at most. A longer value makes only its own line longer: each other line would have as many
/// spaces.
const WIDEST: usize = 100;

/// How the text is formatted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<'a> {
    pub(super) zone: &'a TimeZone,
    /// On a terminal a login is two lines of at most [`WIDTH`] columns: the second one has the principal and the request. In a pipe it
    /// is one line with the complete values.
    pub(super) terminal: bool,
}

/// Formats the report.
pub(super) fn write(report: &LoginsReport, layout: Layout<'_>) -> String {
    let mut text = String::new();
    if !report.logins.is_empty() {
        let rows: Vec<_> = report.logins.iter().map(|login| layout.login(login)).collect();
        text.push_str(
            &layout.table(["TIME", "USER", "FROM", "SESSION", "KEY", "PRINCIPAL", "REQUEST"], &rows),
        );
    }
    let refused = report.refused.as_deref().unwrap_or_default();
    if !refused.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str("Refused records:\n");
        for refused in refused {
            layout.refused(&mut text, refused);
        }
    }
    if !text.is_empty() && layout.terminal {
        text.push('\n');
    }
    if text.is_empty() || layout.terminal || report.refused.is_some() {
        // Escaped one by one, because a long text would be cut.
        let sentences: Vec<_> = report.summary().iter().map(|sentence| harmless(sentence)).collect();
        let summary = sentences.join(" ");
        let lines = if layout.terminal { wrapped(&summary, WIDTH) } else { vec![summary] };
        text.extend([lines.join("\n").as_str(), "\n"]);
    } else {
        for note in report.missing.iter().chain(&report.notes) {
            text.extend(["# ", &harmless(note), "\n"]);
        }
    }
    text
}

type Row = [String; 7];

impl Layout<'_> {
    fn login(&self, login: &Login) -> Vec<Row> {
        let session = match login.state {
            SessionState::Open => "open".to_owned(),
            SessionState::Ended(Some(ended)) => {
                duration(ended.saturating_sub(login.time).wrapping_div(MICROS))
            }
            SessionState::Ended(None) => "ended".to_owned(),
            SessionState::Unknown => "unknown".to_owned(),
        };
        let key = if self.terminal { short(&login.fingerprint, KEY) } else { login.fingerprint.clone() };
        let user = harmless(&login.client.user);
        let user = if self.terminal { short(&user, USER) } else { user };
        let head = [self.time(login.time), user, harmless(&login.client.address), session, key];
        let [time, user, from, session, key] = head;
        let value =
            |value: &Option<String>| value.as_ref().map_or_else(|| "-".to_owned(), |text| harmless(text));
        let (mut principal, mut request) = (value(&login.principal), value(&login.request));
        let several = candidates(&login.candidates);
        let several: Vec<_> = several.map(|(arn, request)| (harmless(arn), harmless(request))).collect();
        if !several.is_empty() && !self.terminal {
            if login.principal.is_none() {
                principal = format!("one of: {}", join(several.iter().map(|(arn, _)| arn)));
            }
            request = format!("one of: {}", join(several.iter().map(|(_, request)| request)));
        } else if !several.is_empty() {
            // A row for each.
            let rows = several.into_iter().enumerate().map(|(index, (arn, request))| {
                let arn = format!("{} {arn}", if index == 0 { "one of:" } else { "    or:" });
                let head = if index == 0 {
                    head_of(&time, &user, &from, &session, &key)
                } else {
                    Default::default()
                };
                let [time, user, from, session, key] = head;
                [time, user, from, session, key, arn, request]
            });
            return rows.collect();
        }
        vec![[time, user, from, session, key, principal, request]]
    }

    /// The heading and a row for each login, with columns as wide as their values.
    fn table(&self, names: [&str; 7], logins: &[Vec<Row>]) -> String {
        let rows = || logins.iter().flatten();
        let heading = names.map(str::to_owned);
        let mut widths = [0; 7];
        for row in [&heading].into_iter().chain(rows()) {
            for (width, value) in widths.iter_mut().zip(row) {
                *width = value.chars().count().min(WIDEST).max(*width);
            }
        }
        let mut text = String::new();
        for row in [&heading].into_iter().chain(rows()) {
            let cells = row.iter().zip(widths);
            if self.terminal {
                let head: Vec<_> =
                    cells.clone().take(5).map(|(value, width)| format!("{value:width$}")).collect();
                let head = head.join(" ");
                if !head.trim_end().is_empty() {
                    text.extend([head.trim_end(), "\n"]);
                }
                let [.., principal, request] = row;
                let left = WIDTH.saturating_sub(6).saturating_sub(request.chars().count());
                let principal = shorter_arn(principal, left);
                text.extend(["    ", &principal, "  ", request, "\n"]);
            } else {
                let row: Vec<_> = cells.map(|(value, width)| format!("{value:width$}")).collect();
                text.extend([row.join("  ").trim_end(), "\n"]);
            }
        }
        text
    }

    fn refused(&self, text: &mut String, refused: &RefusedRecord) {
        let push = refused.push.as_ref();
        let value = |value: Option<&String>| value.map_or_else(|| "-".to_owned(), |text| harmless(text));
        let principal = value(push.and_then(|push| push.principal.as_ref()));
        let request = value(push.and_then(|push| push.request.as_ref()));
        let key = value(push.map(|push| &push.fingerprint));
        let (time, user, reason) =
            (self.time(refused.time), harmless(&refused.user), harmless(&refused.reason));
        if self.terminal {
            text.extend([time.as_str(), " ", &short(&user, USER), " ", &short(&key, KEY), "\n"]);
            let left = WIDTH.saturating_sub(6).saturating_sub(request.chars().count());
            text.extend(["    ", &shorter_arn(&principal, left), "  ", &request, "\n"]);
            for line in wrapped(&reason, WIDTH.saturating_sub(4)) {
                text.extend(["    ", &line, "\n"]);
            }
        } else {
            text.extend([[time, user, key, principal, request, reason].join("  ").as_str(), "\n"]);
        }
    }

    /// A time on the system's clock.
    fn time(&self, micros: u64) -> String {
        let seconds = micros.wrapping_div(MICROS);
        let date = calendar::text(self.zone.local(seconds));
        if self.terminal {
            return date.replace('T', " ");
        }
        let offset = self.zone.offset(seconds);
        let (sign, offset) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
        let (hours, minutes) = (offset.wrapping_div(3600), offset.wrapping_div(60).wrapping_rem(60));
        format!("{date}{sign}{hours:02}:{minutes:02}")
    }
}

fn head_of(time: &str, user: &str, from: &str, session: &str, key: &str) -> [String; 5] {
    [time, user, from, session, key].map(str::to_owned)
}

fn join<'a>(values: impl Iterator<Item = &'a String>) -> String {
    values.map(String::as_str).collect::<Vec<_>>().join(" or ")
}

/// The beginning of a text.
fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// An ARN in at most so many columns: without what comes before the type of the principal, and then only its end, which has the name of
/// the user or session.
fn shorter_arn(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let (words, arn) = text.split_once("arn:").unwrap_or(("", text));
    let name = arn.splitn(5, ':').nth(4).unwrap_or(arn);
    let left = most.saturating_sub(words.chars().count()).saturating_sub(1);
    let skip = name.chars().count().saturating_sub(left);
    words.chars().chain(['…']).chain(name.chars().skip(skip)).collect()
}

/// `1:02:03`, or with days.
fn duration(seconds: u64) -> String {
    let (minutes, seconds) = (seconds.wrapping_div(60), seconds.wrapping_rem(60));
    let (hours, minutes) = (minutes.wrapping_div(60), minutes.wrapping_rem(60));
    match (hours.wrapping_div(24), hours.wrapping_rem(24)) {
        (0, hours) => format!("{hours}:{minutes:02}:{seconds:02}"),
        (days, hours) => format!("{days}d {hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Lines of at most so many columns, broken at blanks where there are any.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let chars: Vec<char> = word.chars().collect();
        for (index, part) in chars.chunks(most.max(1)).enumerate() {
            let part: String = part.iter().collect();
            let length = |line: &String| line.chars().count();
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(&part),
                Some(line)
                    if index == 0 && length(line).saturating_add(length(&part)).saturating_add(1) <= most =>
                {
                    line.extend([" ", &part]);
                }
                _ => lines.push(part),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Layout, WIDTH, duration, shorter_arn, write};
    use std::rc::Rc;

    use crate::log_lines::Push;
    use crate::logins::finder::{Login, ProcessId, RefusedRecord, SessionState};
    use crate::logins::report::LoginsReport;
    use crate::system_log::accepted::Client;
    use crate::time_zone::TimeZone;

    const REQUEST: &str = "20dca9a5-35be-48eb-b381-0272d0e2976c";
    const ADDRESS: &str = "2001:db8:1111:2222:3333:4444:5555:6666";

    fn push(principal: &str) -> Push {
        Push {
            fingerprint: format!("SHA256:{}", "k".repeat(43)),
            request: Some(REQUEST.to_owned()),
            principal: Some(principal.to_owned()),
        }
    }

    fn login(push: Push, candidates: Vec<Rc<Push>>) -> Login {
        let Push { fingerprint, request, principal } = push;
        Login {
            time: 1_795_262_400_000_000,
            client: Client { user: "u".repeat(40), address: ADDRESS.to_owned(), port: 5 },
            fingerprint,
            principal: principal.filter(|_| candidates.is_empty()),
            request: request.filter(|_| candidates.is_empty()),
            candidates,
            state: SessionState::Ended(Some(1_795_262_400_000_000 + 86_400_000_000_000 - 1_000_000)),
            process: ProcessId::default(),
        }
    }

    #[test]
    fn a_terminal_has_enough_columns() {
        let long = format!("arn:aws:sts::123412341234:assumed-role/{}/anna@example.com", "Admin".repeat(20));
        let hostile = "\u{1b}[2J\u{202e}evil";
        let logins = vec![
            login(push(&long), Vec::new()),
            login(push("arn:aws:iam::1:user/bert"), Vec::new()),
            login(push(""), vec![push(&long).into(), push("arn:aws:iam::1:user/bert").into()]),
            login(push(hostile), Vec::new()),
        ];
        let reason = format!("{hostile} {}", "a long reason ".repeat(20));
        let refused = RefusedRecord { time: 0, user: "alice".to_owned(), push: Some(push(&long)), reason };
        let (journal, trusted, user, since, until) = (true, true, None, None, None);
        let (missing, notes) = (Vec::new(), Vec::new());
        let report = LoginsReport {
            journal,
            trusted,
            user,
            since,
            until,
            logins,
            refused: Some(vec![refused]),
            missing,
            notes,
        };
        let zone = TimeZone::fixed(3600);
        let text = write(&report, Layout { zone: &zone, terminal: true });
        for line in text.lines() {
            assert!(
                line.chars().count() <= WIDTH && !line.contains(['\u{1b}', '\u{202e}']),
                "{line:?} in {text}"
            );
        }
        for words in [
            "2026-11-21 13:00:00",
            ADDRESS,
            "/anna@example.com",
            REQUEST,
            "one of: ",
            "    or: ",
            "999d 23:59:59",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let piped = write(&report, Layout { zone: &zone, terminal: false });
        for words in ["2026-11-21T13:00:00+01:00", &long, &"k".repeat(43), &"u".repeat(40), "one of: "] {
            assert!(piped.contains(words), "{words}: {piped}");
        }
    }

    #[test]
    fn a_long_value_makes_only_its_own_line_long() {
        let arn = format!("arn:aws:iam::1:user/{}", "a".repeat(70_000));
        let logins = vec![login(push(&arn), Vec::new()), login(push("arn:aws:iam::1:user/bert"), Vec::new())];
        let report = LoginsReport { logins, ..LoginsReport::default() };
        let text = report.to_table(&TimeZone::utc(), false);
        let lengths: Vec<_> = text.lines().map(str::len).collect();
        assert!(lengths.iter().filter(|length| **length > 1000).count() == 1, "{lengths:?}");
    }

    #[test]
    fn a_shorter_arn_has_the_name() {
        let arn = "arn:aws:sts::123412341234:assumed-role/ops/anna";
        assert_eq!(shorter_arn(arn, 50), arn);
        assert_eq!(shorter_arn(arn, 30), "…assumed-role/ops/anna");
        assert_eq!(shorter_arn(arn, 10), "…/ops/anna");
        assert_eq!(shorter_arn("not one, but long", 10), "… but long");
        assert_eq!(duration(3_661), "1:01:01");
    }
}
