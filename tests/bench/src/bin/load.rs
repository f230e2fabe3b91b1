//! A real sshd under load: RATE logins a second for SECONDS, half with a key in `authorized_keys`, a quarter with a pushed key,
//! a quarter refused; IMDS throttles in the middle third, first by 429 and then by dropped
//! packets. `make load`.
//!
//! Fails if a valid login fails that does not need IMDS, or needs it while IMDS works. How long logins take depends on
//! the machine, which runs both ends of each. It is printed and never fails.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::expect_used,
    reason = "a bench"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eic_lab::{Fault, Instance, On, Sshd, UserKey};

/// The maximum delay of the start of a login: with more, the machine is too slow for this rate.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A key in the user's `authorized_keys`; OpenSSH 8.0 and older run eic-keys first.
    Own,
    /// A pushed key.
    Pushed,
    /// An unknown key.
    Unknown,
}
use Kind::{Own, Pushed, Unknown};

/// A login that was tried.
struct Login {
    kind: Kind,
    started: Duration,
    took: Duration,
    /// How long after its time it started.
    late: Duration,
    status: Option<i32>,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn percentile(times: &[Duration], of_hundred: usize) -> f64 {
    let at = (times.len() * of_hundred / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

fn main() -> ExitCode {
    let (rate, seconds, workers) = (number("RATE", 50), number("SECONDS", 60), number("WORKERS", 96));
    let instance = Instance::start();
    let (own, pushed, unknown) = (UserKey::ed25519(), UserKey::ed25519(), UserKey::ed25519());
    let record = instance.record(&pushed).expires_in(86_400).signed_by(&instance.pki().signer.key);
    instance.imds.publish_for("bob", record, Duration::from_secs(86_400));
    let sshd = Sshd::start(&instance);
    sshd.authorize("alice", &own);

    // The packets of a login that gets its key, without those of ssh.
    instance.imds.clear_requests();
    let before = instance.imds.packets();
    let alone = instance.run(["bob", pushed.fingerprint()]);
    assert_eq!(alone.keys(), [pushed.line()], "{alone:?}");
    let each = (instance.imds.packets() - before) as f64 / instance.imds.requests().len() as f64;

    let total = rate * seconds;
    let step = Duration::from_secs(seconds) / u32::try_from(total).expect("fewer logins");
    let throttled = (Duration::from_secs(seconds) / 3, Duration::from_secs(seconds) * 2 / 3);
    let next = AtomicU32::new(0);
    let logins = Mutex::new(Vec::new());
    instance.imds.clear_requests();
    let begin = Instant::now();
    let all = u32::try_from(total).expect("fewer logins");
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(throttled.0);
            instance.imds.fault(On::within("active-keys"), Fault::Status(429));
            thread::sleep(((throttled.0 + throttled.1) / 2).saturating_sub(begin.elapsed()));
            instance.imds.clear_faults();
            // This has the effect of a dropped packet.
            instance.imds.fault(On::within("active-keys"), Fault::Hang);
            thread::sleep(throttled.1.saturating_sub(begin.elapsed()));
            instance.imds.clear_faults();
        });
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= all {
                        return;
                    }
                    let due = step * number;
                    thread::sleep(due.saturating_sub(begin.elapsed()));
                    let kind = [Own, Pushed, Own, Unknown][number as usize % 4];
                    let (user, key) = match kind {
                        Own => ("alice", &own),
                        Pushed => ("bob", &pushed),
                        Unknown => ("alice", &unknown),
                    };
                    let started = begin.elapsed();
                    let outcome = sshd.ssh(user, key, "true");
                    let login = Login {
                        kind,
                        started,
                        took: begin.elapsed().saturating_sub(started),
                        late: started.saturating_sub(due),
                        status: outcome.status,
                    };
                    logins.lock().expect("no worker panics").push(login);
                }
            });
        }
    });
    let took = begin.elapsed();
    report(
        &logins.into_inner().expect("no worker panics"),
        throttled,
        took,
        instance.imds.requests().len() as f64 * each,
    )
}

fn report(logins: &[Login], throttled: (Duration, Duration), took: Duration, packets: f64) -> ExitCode {
    let is_throttled =
        |login: &Login| login.started + login.took >= throttled.0 && login.started < throttled.1;
    println!("{} logins in {:.1} s\n", logins.len(), took.as_secs_f64());
    println!(
        "{:<34} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8}",
        "", "logins", "failed", "p50 ms", "p90 ms", "p99 ms", "most ms"
    );
    let mut good = true;
    for (kind, name) in [(Own, "the user's own key"), (Pushed, "a pushed key"), (Unknown, "an unknown key")] {
        for (throttle, when) in [(false, ""), (true, ", IMDS throttling")] {
            let mut times = Vec::new();
            let mut wrong = 0;
            for login in logins.iter().filter(|login| login.kind == kind && is_throttled(login) == throttle) {
                times.push(login.took);
                wrong += usize::from((login.status == Some(0)) == (kind == Unknown));
            }
            times.sort();
            println!(
                "{:<34} {:>6} {wrong:>6} {:>8.0} {:>8.0} {:>8.0} {:>8.0}",
                format!("{name}{when}"),
                times.len(),
                percentile(&times, 50),
                percentile(&times, 90),
                percentile(&times, 99),
                percentile(&times, 100),
            );
            // A pushed key may be refused while IMDS throttles.
            good &= wrong == 0 || (kind == Pushed && throttle);
        }
    }
    let late = logins.iter().map(|login| login.late).max().unwrap_or_default();
    let a_second = packets / took.as_secs_f64();
    println!(
        "\nIMDS packets: {a_second:.0} a second, both ways (1,024 are let through, DNS and time included)"
    );
    println!("the latest login began {:.2} s after its time", late.as_secs_f64());
    if late > PATIENCE {
        println!("this machine does not make that many logins: the figures say what it does at its limit");
    }
    println!("{}", if good { "no good login failed" } else { "a good login failed" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
