//! Times at which `pam_time` refuses a user (time.conf(5)).

use crate::calendar::DAY;

/// The days of a week, and those of work, the others, and all.
const DAYS: &str = "sumotuwethfrsawkwdal";

/// The line of a file that does not let the user in at a local time.
pub(super) fn refusing_line(
    text: &str,
    service: &str,
    user: &str,
    now: u64,
    in_netgroup: &dyn Fn(&str, &str) -> Option<bool>,
) -> Option<String> {
    let text = text.replace("\\\n", "");
    text.lines().map(|line| line.split('#').next().unwrap_or_default()).find_map(|line| {
        let fields: Vec<_> = line.split(';').map(str::trim).collect();
        let [services, terminals, users, times] = fields.as_slice() else { return None };
        // sshd has no terminal at this point, and says this instead.
        let is = |field: &str, name: &str| holds(field, &|token| is_same(name, token));
        let is_user = match users.strip_prefix('@') {
            Some(group) => in_netgroup(group, user)?,
            None => is(users, user),
        };
        let is_here = is(services, service) && is(terminals, "ssh") && is_user;
        (is_here && !holds(times, &|token| has_time(token, now))).then(|| line.to_owned())
    })
}

/// Whether a list with `&`, `|` and `!` is true, from its left to its right. One with an error is false.
fn holds(list: &str, agrees: &dyn Fn(&str) -> bool) -> bool {
    let is_word = |char: char| char.is_ascii_alphanumeric() || "*_-./:".contains(char);
    let (mut result, mut and, mut not, mut expects_word) = (false, false, false, true);
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches(|char| !is_word(char) && !"&|!".contains(char));
        let Some(first) = rest.chars().next() else { return result };
        let word = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
        let (token, after) = rest.split_at(word.max(1));
        match (first, expects_word) {
            ('!', true) => not = !not,
            ('&' | '|', false) => {
                (and, not, expects_word) = (first == '&', false, true);
            }
            _ if word == 0 || !expects_word => return false,
            _ => {
                let value = not != agrees(token);
                result = if and { result && value } else { result || value };
                expects_word = false;
            }
        }
        rest = after;
    }
}

fn is_same(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        Some((begin, end)) => name.starts_with(begin) && name.ends_with(end),
        None => name == pattern,
    }
}

/// Whether a local time is in a range, such as `Wk0800-1800`. A day that is given twice is not meant.
fn has_time(range: &str, now: u64) -> bool {
    let (mut days, mut rest) = (0_u32, range);
    while rest.starts_with(|char: char| char.is_ascii_alphabetic()) {
        let Some((name, after)) = rest.split_at_checked(2) else { return false };
        days ^= match DAYS.find(&name.to_ascii_lowercase()) {
            Some(14) => 0b011_1110,
            Some(16) => 0b100_0001,
            Some(18) => 0b111_1111,
            Some(at) if at % 2 == 0 => 1 << (at / 2),
            _ => return false,
        };
        rest = after;
    }
    if days == 0 {
        return false;
    }
    let number = |digits: &str| digits.parse::<u64>().ok().filter(|_| digits.len() <= 4);
    let limits = rest.split_once('-').and_then(|(start, end)| Some((number(start)?, number(end)?)));
    let Some((start, end)) = limits else { return true };
    // 1970 began on a Thursday.
    let day = |before: u64| (now / DAY).wrapping_add(4).wrapping_sub(before) % 7;
    let is_marked = |before| days & (1 << day(before)) != 0;
    let minute = now % DAY / 60;
    // As a clock shows it.
    let clock = (minute / 60).wrapping_mul(40).wrapping_add(minute);
    if start < end {
        is_marked(0) && (start..end).contains(&clock)
    } else {
        is_marked(0) && clock >= start || is_marked(1) && clock <= end
    }
}

#[cfg(test)]
mod tests {
    use super::{has_time, holds, is_same};
    use crate::calendar::DAY;

    /// Of alice, at 10:30 of a Thursday.
    #[test]
    fn lists_as_pam_time_reads_them() {
        for (list, expected) in [
            ("alice", true),
            ("*", true),
            ("al*e", true),
            ("al*x", false),
            ("!root", true),
            ("! alice", false),
            ("bob|alice", true),
            ("bob | alice", true),
            ("!bob & !alice", false),
            // From the left to the right.
            ("alice | bob & carol", false),
            ("!!alice", true),
            ("", false),
            ("alice bob", false),
            ("bob &", false),
            ("& alice", false),
        ] {
            assert_eq!(holds(list, &|token| is_same("alice", token)), expected, "{list}");
        }
        let now = 10 * 3600 + 30 * 60;
        for (list, expected) in [
            ("Al0000-2400", true),
            ("!Al0000-2400", false),
            ("th1030-1031", true),
            ("Th1031-1032", false),
            ("Wk0900-1700", true),
            ("Wd0000-2400", false),
            ("Wd0000-2400 | Al0900-1100", true),
            ("!Wd0000-2400 & Al0900-1100", true),
            ("WkTh0000-2400", false),
            ("ThTh0000-2400", false),
            ("We2200-1100", true),
            ("We2200-1000", false),
            ("Th1000-0600", true),
            ("Xx0000-2400", false),
            ("Al", true),
            ("0000-2400", false),
        ] {
            assert_eq!(holds(list, &|token| has_time(token, now)), expected, "{list}");
        }
        assert!(has_time("Sa2200-0600", 3 * DAY));
        assert!(has_time("Wk0000-2400", 4 * DAY));
    }
}
