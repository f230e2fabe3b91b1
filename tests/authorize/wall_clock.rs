//! The clock is wrong, or is set during a run. Each check uses the time at that moment. A key that expires during the run is not
//! printed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::arithmetic_side_effects, reason = "a test may overflow")]

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use eic_keys::authorize::{KeyQuery, RunContext};
use eic_keys::cli::{self, Command};
use eic_keys::run_log::RunLog;
use eic_keys::trust::UnixTime;
use eic_lab::{DAY, HOUR, Instance, MINUTE, UserKey, now};

/// When a run that prints a key reads the clock.
const LOOKS: [&str; 4] = ["at the record", "at the chain", "at the OCSP responses", "before printing"];
const YEAR: i64 = 365 * DAY;

thread_local! {
    /// The error of the clock at each of these, in seconds.
    static OFF: RefCell<[i64; LOOKS.len()]> = const { RefCell::new([0; LOOKS.len()]) };
    static LOOK: Cell<usize> = const { Cell::new(0) };
}

fn clock() -> UnixTime {
    let look = LOOK.replace(LOOK.get() + 1);
    let off = OFF.with_borrow(|off| off[look]);
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now() + off).unwrap()))
}

/// Runs in this thread, without the sandbox. Returns the exit status, the output, and how often the clock was read.
fn run(key: &UserKey, off: [i64; LOOKS.len()]) -> (u8, String, usize) {
    OFF.set(off);
    LOOK.set(0);
    let arguments = ["alice", key.fingerprint()].map(Into::into);
    let Ok(Command::Keys(request)) = cli::parse(arguments) else { panic!("a command line") };
    let request: KeyQuery = request;
    let root = Path::new("/");
    let (out, mut reader) = UnixStream::pair().unwrap();
    let context = RunContext { root, clock, sandbox: |_| Vec::new(), log: &RunLog::open(root) };
    let status = eic_keys::run::run(&request, &context, out);
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    (status, printed, LOOK.get())
}

/// The key expires in half an hour, so a slow machine makes no difference.
fn world() -> (Instance, UserKey) {
    let (instance, key) = (Instance::start(), UserKey::ed25519());
    let record = instance.record(&key).expires_in(30 * MINUTE).signed_by(&instance.pki().signer.key);
    instance.imds.publish_for("alice", record, Duration::from_secs(3600));
    (instance, key)
}

#[test]
fn prints_the_key_with_a_correct_clock() {
    let (_instance, key) = world();
    assert_eq!(run(&key, [0; 4]), (0, format!("{}\n", key.line()), LOOKS.len()));
}

#[test]
fn a_wrong_clock_at_one_check_refuses_what_is_not_valid_then() {
    let (instance, key) = world();
    // The error that each can have: the key's half hour, the certificates' 30 days and 11 months, the OCSP responses' hour and week.
    let fine = [-20 * YEAR..30 * MINUTE, -30 * DAY..335 * DAY, -HOUR..7 * DAY, -20 * YEAR..30 * MINUTE];
    for (look, fine) in fine.iter().enumerate() {
        for off in
            [-20 * YEAR, -YEAR, -2 * DAY, -2 * HOUR, -MINUTE, MINUTE, HOUR, 2 * DAY, 8 * DAY, YEAR, 20 * YEAR]
        {
            instance.journal.clear();
            let mut at = [0; LOOKS.len()];
            at[look] = off;
            let (_, printed, _) = run(&key, at);
            let expected = if fine.contains(&off) { format!("{}\n", key.line()) } else { String::new() };
            assert_eq!(printed, expected, "{off} s off {}: {:?}", LOOKS[look], instance.journal.eic_keys());
            assert!(!instance.journal.eic_keys().is_empty(), "a key or a reason is logged");
        }
    }
}

#[test]
fn a_clock_set_during_the_run_counts_from_then_on() {
    let (_instance, key) = world();
    for look in 0..LOOKS.len() {
        for (off, comes) in [(-2 * MINUTE, true), (HOUR, false)] {
            let mut from = [0; LOOKS.len()];
            from[look..].fill(off);
            // A key that is valid for half an hour has expired after an hour.
            assert_eq!(run(&key, from).1.is_empty(), !comes, "{off} s from the look {}", LOOKS[look]);
        }
    }
}

#[test]
fn does_not_print_a_key_that_expires_during_the_run() {
    let (instance, key) = world();
    let (status, printed, looks) = run(&key, [0, 0, 0, 30 * MINUTE]);
    assert_eq!((status, printed.as_str(), looks), (0, "", LOOKS.len()));
    let lines = instance.journal.eic_keys();
    assert!(lines.len() == 1 && lines[0].message().contains(": it expired "), "{lines:?}");
}
