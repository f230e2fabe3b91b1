//! What a run costs: the shipped binary and the floor in turns, against the same metadata service, medians.
//!
//! Fails when a figure is above its goal; processor time is the one figure that a busy machine may blur, so it is printed
//! beside the floor's and never fails.
#![allow(clippy::print_stdout, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a bench")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use eic_lab::http::rounds;
use eic_lab::instance::program;
use eic_lab::{Fault, Instance, Key, On, Outcome, UserKey};

const RUNS: usize = 30;
const FLOOR: &str = "/usr/bin/floor";

/// What is measured, and the most that it may cost; `None`: no goal.
struct Case {
    name: &'static str,
    requests: Option<usize>,
    rounds: Option<usize>,
    cpu: Option<Duration>,
    prepare: fn(&Instance, &UserKey),
    /// Is the key offered the one that was pushed?
    pushed: bool,
}

const CASES: [Case; 4] = [
    Case {
        name: "a login that gets its key",
        requests: Some(10),
        rounds: Some(4),
        cpu: Some(Duration::from_millis(3)),
        prepare: |instance, key| instance.push("alice", key),
        pushed: true,
    },
    Case {
        name: "nothing pushed",
        requests: Some(2),
        rounds: Some(2),
        cpu: Some(Duration::from_micros(1500)),
        prepare: |_, _| (),
        pushed: false,
    },
    Case {
        name: "another key offered",
        requests: Some(2),
        rounds: Some(2),
        cpu: None,
        prepare: |instance, _| instance.push("alice", &UserKey::ed25519()),
        pushed: false,
    },
    Case {
        name: "50 records, one of them good",
        requests: Some(10),
        rounds: Some(4),
        cpu: None,
        prepare: |instance, key| {
            for _ in 0..49 {
                let record = instance.record(&UserKey::ed25519());
                instance.imds.publish("alice", record.signed_by(&Key::rsa2048(4)));
            }
            instance.push("alice", key);
        },
        pushed: true,
    },
];

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

fn check(outcome: &Outcome, key: &UserKey, pushed: bool) {
    let expected = if pushed { vec![key.line()] } else { vec![] };
    assert_eq!((outcome.status, outcome.keys()), (Some(0), expected), "a run that fails costs nothing");
}

/// Runs one case; whether all goals are met.
fn measure(instance: &Instance, case: &Case) -> bool {
    let key = UserKey::ed25519();
    instance.imds.unpublish("alice");
    (case.prepare)(instance, &key);
    let run = || instance.run(["alice", key.fingerprint()]);

    instance.imds.clear_requests();
    instance.imds.pace(Duration::from_millis(20));
    check(&run(), &key, case.pushed);
    instance.imds.pace(Duration::ZERO);
    let requests = instance.imds.requests();
    let (asked, in_row) = (requests.len(), rounds(&requests));
    let paths: Vec<String> = requests.iter().skip(1).map(|request| request.path.clone()).collect();
    let memory =
        instance.command(["alice", key.fingerprint()]).with_memory().run().memory.unwrap_or(u64::MAX);

    let mut ours = Vec::new();
    let mut floors = Vec::new();
    for _ in 0..RUNS {
        let outcome = run();
        check(&outcome, &key, case.pushed);
        ours.push(outcome);
        floors.push(instance.command(&paths).program(FLOOR).run());
    }
    let cpu = |runs: &[Outcome]| median(runs.iter().map(|run| run.cpu).collect());
    let wall = |runs: &[Outcome]| median(runs.iter().map(|run| run.wall).collect());
    println!(
        "{:<30} {asked:>8} {in_row:>6} {:>8} {:>8} {:>8} {:>8} {:>7}",
        case.name,
        milliseconds(cpu(&ours)),
        milliseconds(cpu(&floors)),
        milliseconds(wall(&ours)),
        milliseconds(wall(&floors)),
        memory / 1000,
    );
    if let Some(most) = case.cpu.filter(|most| cpu(&ours) > *most) {
        println!("  its goal is {} ms of processor time; is the machine busy?", milliseconds(most));
    }
    case.requests.is_none_or(|most| asked <= most)
        && case.rounds.is_none_or(|most| in_row <= most)
        && memory <= 6_000_000
}

/// The longest of a few runs against a service that fails in its worst ways.
fn worst(instance: &Instance) -> Duration {
    let key = UserKey::ed25519();
    instance.imds.unpublish("alice");
    instance.push("alice", &key);
    let slow = Fault::Delay(Duration::from_millis(950));
    let faults = [
        ("every reply after 0.95 s", On::any(), slow),
        ("no reply", On::any(), Fault::Hang),
        ("a byte now and then", On::within("meta-data"), Fault::DripBody(Duration::from_millis(100))),
        ("503, always", On::any(), Fault::Status(503)),
    ];
    let times = faults.map(|(name, on, fault)| {
        instance.imds.clear_faults();
        instance.imds.fault(on, fault);
        let outcome = instance.run(["alice", key.fingerprint()]);
        println!(
            "  {name:<28} exit {} after {:.2} s",
            outcome.status.unwrap_or(-1),
            outcome.wall.as_secs_f64()
        );
        outcome.wall
    });
    times.into_iter().max().unwrap_or_default()
}

fn main() -> ExitCode {
    let binary = program().unwrap_or_default();
    let size = std::fs::metadata(&binary).map_or(0, |file| file.len());
    let floor = std::env::current_exe().unwrap_or_default().with_file_name("floor");
    let floor = std::fs::read(PathBuf::from(&floor)).unwrap_or_default();
    let instance = Instance::start();
    instance.install(FLOOR, &floor);

    println!(
        "eic-keys, {} kB static (at most 3145), and the floor: the same requests, one by one, nothing proved",
        size / 1000
    );
    println!("medians of {RUNS} runs in turns; times in ms\n");
    println!(
        "{:<30} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8} {:>7}",
        "", "requests", "rounds", "CPU", "floor", "wall", "floor", "peak kB"
    );
    let good = CASES.iter().filter(|case| !measure(&instance, case)).count() == 0;
    println!("\nthe worst that a metadata service can do:");
    let longest = worst(&instance);
    let good = good && longest <= Duration::from_secs(5) && (1..=3_145_728).contains(&size);
    println!("\n{}", if good { "every bound holds" } else { "a bound does not hold" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
