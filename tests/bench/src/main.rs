//! What a run costs: the shipped binary, the floor, and AWS's scripts if REFERENCE names their directory, in turns,
//! against the same metadata service, answering at once and after 1, 5 and 20 ms.
//!
//! Fails if a number of requests, the memory or the longest run is above its bound. Other times depend on the load
//! of the machine, so they are printed beside the floor's and never fail. QUICK=1 measures only what has goals, BESIDE=FILE adds another
//! build, PRINCIPALS=1 runs of eic-keys with one and with 64 patterns for principals, LAST=1 puts the anchor at the
//! end of the trust store. With WRITE=DIR the figures go to
//! DIR/performance.tsv and a picture of them to DIR/performance.svg.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::expect_used,
    missing_docs,
    reason = "a bench"
)]

mod measure;
mod picture;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use eic_lab::instance::program;
use eic_lab::run::PROGRAM;
use eic_lab::sshd::Config;
use eic_lab::{Fault, Instance, Key, On, Sshd, UserKey};

use measure::{Program, in_turns, percentile};
use picture::{Bar, Group, draw};

/// The measured programs are on a disk, as on an instance: mapping a page of a file in memory costs more.
const DISK: &str = "/var/tmp/eic-bench";
const OURS: &str = "/var/tmp/eic-bench/eic-keys";
const FLOOR: &str = "/var/tmp/eic-bench/floor";
const TURNS: &str = "/var/tmp/eic-bench/turns";
const BESIDE: &str = "/var/tmp/eic-bench/beside";
const SCRIPTS: &str = "/usr/share/ec2-instance-connect";
const SCRIPT: &str = "/usr/share/ec2-instance-connect/eic_run_authorized_keys";
/// The latencies of the metadata service, in milliseconds.
const LATENCIES: [u64; 4] = [0, 1, 5, 20];

/// What is measured, and its goals; `None`: no goal.
struct Case {
    name: &'static str,
    requests: usize,
    rounds: usize,
    /// Processor time and wall time, as multiples of the floor's.
    floors: Option<(f64, f64)>,
    prepare: fn(&Instance, &UserKey),
    /// Whether the pushed key is offered.
    pushed: bool,
}

const CASES: [Case; 4] = [
    Case {
        name: "a login that gets its key",
        requests: 10,
        rounds: 4,
        floors: Some((2.0, 1.5)),
        prepare: publish,
        pushed: true,
    },
    Case {
        name: "nothing pushed",
        requests: 2,
        rounds: 2,
        floors: Some((1.5, 1.4)),
        prepare: |_, _| (),
        pushed: false,
    },
    Case {
        name: "another key offered",
        requests: 2,
        rounds: 2,
        floors: None,
        prepare: |instance, _| publish(instance, &UserKey::ed25519()),
        pushed: false,
    },
    Case {
        name: "50 records, one of them good",
        requests: 10,
        rounds: 4,
        floors: None,
        prepare: |instance, key| {
            let mut text = Vec::new();
            for _ in 0..49 {
                text.extend(
                    instance.record(&UserKey::ed25519()).expires_in(3600).signed_by(&Key::rsa2048(4)),
                );
                text.push(b'\n');
            }
            text.extend(instance.record(key).expires_in(3600).signed_by(&instance.pki().signer.key));
            instance.imds.publish_for("alice", text, Duration::from_secs(3600));
        },
        pushed: true,
    },
];

/// Publishes a record for longer than a slow machine takes.
fn publish(instance: &Instance, key: &UserKey) {
    let record = instance.record(key).expires_in(3600).signed_by(&instance.pki().signer.key);
    instance.imds.publish_for("alice", record, Duration::from_secs(3600));
}

/// Whether only what has goals is measured.
fn quick() -> bool {
    std::env::var_os("QUICK").is_some()
}

/// Another build of eic-keys to compare with.
fn beside() -> Option<PathBuf> {
    std::env::var_os("BESIDE").map(PathBuf::from)
}

/// This number of patterns, of which only the last one matches the principal of the records.
fn principals(patterns: usize) -> Vec<String> {
    let others =
        (1..patterns).map(|number| format!("arn:aws:sts::123412341234:assumed-role/team-{number}/*"));
    let patterns = others.chain(["arn:aws:iam::123412341234:role/my*".to_owned()]);
    patterns.flat_map(|pattern| ["--principal".to_owned(), pattern]).collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Median, and the tenth and ninetieth percentile.
fn spread(times: &[Duration]) -> (f64, f64, f64) {
    let at = |of_hundred| milliseconds(percentile(times, of_hundred));
    (at(50), at(10), at(90))
}

/// Prints the ratio of our time to the floor's, by medians and by minima.
fn compare(what: &str, ours: &[Duration], floor: &[Duration], goal: f64) {
    let times =
        |of_hundred| percentile(ours, of_hundred).as_secs_f64() / percentile(floor, of_hundred).as_secs_f64();
    println!(
        "  {:.2} times the floor's {what} (goal {goal}); by the least of each {:.2}",
        times(50),
        times(0)
    );
}

/// The results beside the printed table.
struct Report {
    table: String,
    groups: Vec<Group>,
    good: bool,
}

/// Runs one case.
fn measure(instance: &Instance, case: &Case, scripts: bool, runs: usize, report: &mut Report) {
    let key = UserKey::ed25519();
    instance.imds.unpublish("alice");
    (case.prepare)(instance, &key);
    let ours = Program { name: "eic-keys", path: OURS, arguments: None, options: Vec::new() };
    let asked = ours.asks(instance, &key);
    instance.imds.clear_requests();
    let _ = ours.run(instance, &key);
    let paths = instance.imds.paths().into_iter().skip(1).collect();
    let floor = Program { name: "floor", path: FLOOR, arguments: Some(paths), options: Vec::new() };
    let mut programs = vec![ours, floor];
    if beside().is_some() {
        programs.push(Program { name: "beside", path: BESIDE, arguments: None, options: Vec::new() });
    }
    if std::env::var_os("PRINCIPALS").is_some() {
        for (name, patterns) in [("1 pattern", 1), ("64 patterns", 64)] {
            programs.push(Program { name, path: OURS, arguments: None, options: principals(patterns) });
        }
    }
    if scripts {
        programs.push(Program { name: "scripts", path: SCRIPT, arguments: None, options: Vec::new() });
    }
    report.good &=
        asked.requests <= case.requests && asked.rounds <= case.rounds && asked.memory <= 6_000_000;

    println!("\n{}", case.name);
    println!(
        "  {:<10} {:>8} {:>7} {:>11} {:>8} {:>7} {:>8}",
        "", "requests", "rounds", "connections", "packets", "calls", "peak MB"
    );
    for program in &programs {
        let asked = program.asks(instance, &key);
        println!(
            "  {:<10} {:>8} {:>7} {:>11} {:>8} {:>7} {:>8.1}",
            program.name,
            asked.requests,
            asked.rounds,
            asked.connections,
            asked.packets,
            asked.calls,
            asked.memory as f64 / 1e6
        );
    }
    println!("  {:<10} {:>8} {:>24} {:>26}", "", "IMDS ms", "CPU ms (p10 to p90)", "wall ms (p10 to p90)");
    for latency in if quick() { &LATENCIES[..1] } else { &LATENCIES[..] } {
        let latency = *latency;
        instance.imds.pace(Duration::from_millis(latency));
        let times = in_turns(instance, &programs, &key, runs);
        for (program, times) in programs.iter().zip(&times) {
            let expected = if case.pushed && program.name != "floor" {
                format!("{}\n", key.line())
            } else {
                String::new()
            };
            assert!(
                times.printed.iter().all(|printed| *printed == expected.escape_debug().to_string()),
                "a run that fails costs nothing: {} {:?}",
                program.name,
                times.printed
            );
        }
        let mut group = Group { name: format!("{}, IMDS takes {latency} ms", case.name), bars: Vec::new() };
        for (program, times) in programs.iter().zip(&times) {
            let ((cpu, cpu_low, cpu_high), (wall, low, high)) = (spread(&times.cpu), spread(&times.wall));
            println!(
                "  {:<10} {latency:>8} {cpu:>8.2} ({cpu_low:.2} to {cpu_high:.2}) {wall:>10.2} ({low:.2} to {high:.2})",
                program.name
            );
            let _ = writeln!(
                report.table,
                "{}\t{latency}\t{}\t{cpu:.3}\t{cpu_low:.3}\t{cpu_high:.3}\t{wall:.3}\t{low:.3}\t{high:.3}",
                case.name, program.name
            );
            group.bars.push(Bar { name: program.name, middle: wall, low, high });
        }
        report.groups.push(group);
        if let (0, Some((cpu, wall))) = (latency, case.floors) {
            compare("processor time", &times[0].cpu, &times[1].cpu, cpu);
            compare("wall time", &times[0].wall, &times[1].wall, wall);
        }
    }
    instance.imds.pace(Duration::ZERO);
}

/// The longest of a few runs against a service with the worst faults.
fn worst(instance: &Instance) -> Duration {
    let key = UserKey::ed25519();
    instance.imds.unpublish("alice");
    publish(instance, &key);
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
        let (status, seconds) = (outcome.status.unwrap_or(-1), outcome.wall.as_secs_f64());
        println!("  {name:<28} exit {status} after {seconds:.2} s");
        outcome.wall
    });
    times.into_iter().max().unwrap_or_default()
}

/// How long a whole login by ssh takes, in turns of ten, without an AuthorizedKeysCommand, with eic-keys and with AWS's scripts.
fn logins(instance: &Instance, scripts: bool, runs: usize) {
    let (own, pushed) = (UserKey::ed25519(), UserKey::ed25519());
    instance.imds.unpublish("alice");
    publish(instance, &pushed);
    let script = format!("{SCRIPT} %u %f");
    let ours = format!("{PROGRAM} %u %f");
    let ways = [
        ("the user's own key, no AuthorizedKeysCommand", "none", &own),
        ("the user's own key, beside eic-keys", &ours, &own),
        ("a pushed key, eic-keys", &ours, &pushed),
        ("the user's own key, beside AWS's scripts", &script, &own),
        ("a pushed key, AWS's scripts", &script, &pushed),
    ];
    let mut times = vec![Vec::new(); if scripts { 5 } else { 3 }];
    for _ in 0..runs.div_ceil(10) {
        for ((_, command, key), times) in ways.iter().zip(&mut times) {
            let user = if *command == "none" { "root" } else { "eic-keys" };
            let config =
                Config::new().set("AuthorizedKeysCommand", command).set("AuthorizedKeysCommandUser", user);
            let sshd = Sshd::start_with(instance, &config);
            sshd.authorize("alice", &own);
            for _ in 0..10 {
                let outcome = sshd.ssh("alice", key, "true");
                assert_eq!(outcome.status, Some(0), "{outcome:?} {:#?}", sshd.log());
                times.push(outcome.wall);
            }
        }
    }
    println!("\na whole login by ssh, IMDS answering at once; ms (p10 to p90)");
    for ((name, ..), times) in ways.iter().zip(&mut times) {
        times.sort();
        let (wall, low, high) = spread(times);
        println!("  {name:<46} {wall:>8.0} ({low:.0} to {high:.0})");
    }
}

/// Puts the laboratory's anchor where Debian's bundle has Amazon Root CA 1: eic-keys reads a bundle until it has found the anchor.
fn place_anchor(instance: &Instance) {
    const AMAZON_ROOT_CA_1: usize = 9;
    let bundle = std::fs::read_to_string(eic_lab::instance::TRUST_STORES[0].1).expect("the trust store");
    let mut certificates: Vec<&str> = bundle.split_inclusive("-----END CERTIFICATE-----\n").collect();
    let anchor = certificates.pop().expect("the laboratory's anchor is the last");
    certificates.insert(AMAZON_ROOT_CA_1, anchor);
    instance.trust_store(eic_lab::instance::TRUST_STORES[0].1, certificates.concat());
}

/// Installs AWS's scripts where their package has them. They run curl, openssl and ssh-keygen.
fn install_scripts(instance: &Instance, directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            instance.install(&format!("{SCRIPTS}/{}", name.to_string_lossy()), &std::fs::read(&path)?);
        }
    }
    // They look for the anchor by its file name, as Debian's ca-certificates links it.
    let anchor = eic_lab::pki::bundle([&instance.pki().root]);
    instance.write("/etc/ssl/certs/Laboratory_Root_CA_1.pem", anchor);
    Ok(())
}

/// Copies the programs to the disk, where every user can run them.
fn on_disk() -> std::io::Result<()> {
    std::fs::create_dir_all(DISK)?;
    let built = std::env::current_exe()?;
    let ours = program().map_err(std::io::Error::other)?;
    for (from, to) in [
        (Some(ours), OURS),
        (Some(built.with_file_name("floor")), FLOOR),
        (Some(built.with_file_name("turns")), TURNS),
        (beside(), BESIDE),
    ] {
        if let Some(from) = from {
            std::fs::copy(from, to)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let size = std::fs::metadata(program().unwrap_or_default()).map_or(0, |file| file.len());
    if let Err(error) = on_disk() {
        println!("{DISK}: {error}");
        return ExitCode::FAILURE;
    }
    let runs = std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(30);
    let reference = std::env::var_os("REFERENCE").map(PathBuf::from);
    // Resolved before this thread enters the disguise.
    let out = std::env::var_os("WRITE").and_then(|out| PathBuf::from(out).canonicalize().ok());
    let mut report = Report { table: String::new(), groups: Vec::new(), good: true };
    {
        let instance = Instance::start();
        if std::env::var_os("LAST").is_none() {
            place_anchor(&instance);
        }
        if let Some(directory) = &reference {
            if let Err(error) = install_scripts(&instance, directory) {
                println!("{}: {error}", directory.display());
                return ExitCode::FAILURE;
            }
        }
        println!("eic-keys, {:.2} MB static", size as f64 / 1e6);
        println!(
            "the floor: C, static; the same requests, one by one, nothing proved; {runs} runs of each in turns"
        );
        for case in if quick() { &CASES[..2] } else { &CASES[..] } {
            measure(&instance, case, reference.is_some(), runs, &mut report);
        }
        if !quick() || reference.is_some() {
            logins(&instance, reference.is_some(), runs);
        }
        if !quick() {
            println!("\nthe worst that a metadata service can do:");
            report.good &= worst(&instance) <= Duration::from_secs(5);
        }
    }
    if let Some(out) = out {
        let head = "case\tIMDS ms\tprogram\tCPU ms\tp10\tp90\twall ms\tp10\tp90\n";
        let shown: Vec<_> = report.groups.drain(..).take(2 * LATENCIES.len()).collect();
        let picture = draw("Wall time of a run: median, p10 to p90", &shown);
        let written = std::fs::write(out.join("performance.tsv"), format!("{head}{}", report.table))
            .and_then(|()| std::fs::write(out.join("performance.svg"), picture));
        if let Err(error) = written {
            println!("{}: {error}", out.display());
            return ExitCode::FAILURE;
        }
    }
    let _ = std::fs::remove_dir_all(DISK);
    println!(
        "\n{}",
        if report.good {
            "every bound holds (requests, memory, the longest run)"
        } else {
            "a bound does not hold"
        }
    );
    if report.good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
