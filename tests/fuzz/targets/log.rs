//! Any bytes as a log file, and its lines as those of journalctl: reading ends, and what `--logins` prints has no control character but
//! the end of a line.
#![no_main]

use std::path::Path;

use eic_keys::logins::{LoginsReport, Selection, LoginFinder, SessionState, read_log};
use eic_keys::system_log::file::Clock;
use eic_keys::system_log::journal;
use eic_keys::time_zone::TimeZone;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let zone = TimeZone::system(Path::new("/nonexistent"));
    let sessions = || LoginFinder::new(Selection { refused: true, ..Selection::default() }, 120);
    let mut file = sessions();
    let mut count = 0;
    let clock = Clock { last: 1_800_000_000, zone: &zone };
    read_log(bytes, clock, |read| count += read, |entry| file.take(entry)).unwrap();
    assert_eq!(count, bytes.len() as u64);
    let mut entries = sessions();
    for entry in bytes.split(|byte| *byte == b'\n').filter_map(journal::entry) {
        entries.take(&entry);
    }
    for sessions in [file, entries] {
        let found = sessions.finish(|_| SessionState::Unknown);
        let report = LoginsReport { logins: found.logins, refused: Some(found.refused), ..LoginsReport::default() };
        for text in [report.to_json(), report.to_table(&zone, true), report.to_table(&zone, false)] {
            assert!(text.chars().all(|char| char == '\n' || !char.is_control()), "{text:?}");
        }
    }
});
