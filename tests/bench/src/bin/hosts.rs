//! `eic-keys --check --json` on HOSTS (300) instances, JOBS (8) at a time, and `packaging/fleet/table.jq` on the reports. Two of seven hosts
//! are healthy, and each of the others has one of five faults. `make hosts`.
//!
//! Fails if a row of the table is wrong. How long a host takes depends on the machine, which runs the metadata service and sshd as well. It
//! is printed and never fails.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eic_lab::instance::TRUST_STORES;
use eic_lab::sshd::{CONFIG, Config};
use eic_lab::{Instance, Machine, Sshd};

/// What is wrong with a host.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    NotAnInstance,
    NoAnchor,
    ClosedTrustStore,
    NoPublicKeys,
    NoCommand,
}
use Fault::{ClosedTrustStore, NoAnchor, NoCommand, NoPublicKeys, NotAnInstance};

const FAULTS: [Fault; 7] =
    [Fault::None, NotAnInstance, NoAnchor, Fault::None, ClosedTrustStore, NoPublicKeys, NoCommand];

impl Fault {
    /// The check that fails first. `None` if the host is healthy.
    fn check(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            NotAnInstance => Some("instance.host"),
            NoAnchor => Some("signer.path"),
            ClosedTrustStore => Some("signer.command_user"),
            NoPublicKeys => Some("sshd.pubkey"),
            NoCommand => Some("sshd.command"),
        }
    }

    fn plant(self, instance: &Instance, config: Config) -> Config {
        match self {
            Self::None => {}
            NotAnInstance => instance.machine(Machine::Other),
            NoAnchor => instance.trust([]),
            ClosedTrustStore => {
                let mode = fs::Permissions::from_mode(0o600);
                fs::set_permissions(TRUST_STORES[0].1, mode).expect("the trust store is the laboratory's");
            }
            NoPublicKeys => return config.set("PubkeyAuthentication", "no"),
            NoCommand => return config.set("AuthorizedKeysCommand", "none"),
        }
        config
    }
}

/// The times and the peak memory of the program on a host.
struct Measure {
    wall: Duration,
    cpu: Duration,
    memory: u64,
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn host(number: usize) -> String {
    format!("i-{number:017x}")
}

/// Starts a host, runs the program, and keeps its report.
fn run(number: usize, directory: &Path) -> Measure {
    let instance = Instance::start();
    // The machine's own log and journal are no part of it.
    instance.install("/usr/bin/journalctl", b"#!/bin/sh\nexit 1\n");
    instance.namespace().cover("/var/log");
    instance.write("/var/log/auth.log", "");
    let fault = FAULTS[number % FAULTS.len()];
    let config = Config::new().set("PidFile", "/run/sshd.pid").set("ListenAddress", "0.0.0.0");
    let config = fault.plant(&instance, config);
    instance.write(CONFIG, config.text());
    let _sshd = Sshd::start_with(&instance, &config);
    let check = || instance.command(["--check", "--json"]).as_root();
    // Memory is measured at every tenth host, in a run of its own.
    let memory = if number % 10 == 0 { check().with_memory().run().memory.unwrap_or(0) } else { 0 };
    let outcome = check().run();
    fs::write(directory.join(host(number)).with_extension("json"), &outcome.stdout).expect("there is space");
    Measure { wall: outcome.wall, cpu: outcome.cpu, memory }
}

fn percentile(sorted: &[Duration], of_hundred: usize) -> f64 {
    let at = (sorted.len() * of_hundred / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

fn table(directory: &Path, hosts: usize) -> String {
    let files = (0..hosts).map(|number| directory.join(host(number)).with_extension("json"));
    let jq = Command::new("jq").args(["-rn", "-f", "packaging/fleet/table.jq"]).args(files).output();
    let jq = jq.expect("jq is installed");
    assert!(jq.status.success(), "{}", String::from_utf8_lossy(&jq.stderr));
    String::from_utf8(jq.stdout).expect("text")
}

fn main() -> ExitCode {
    let (hosts, jobs) = (number("HOSTS", 300), number("JOBS", 8));
    let directory = PathBuf::from(std::env::var("OUT").unwrap_or_else(|_| "target/hosts".into()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("the directory can be made");
    let directory = directory.canonicalize().expect("it is there");
    let next = AtomicUsize::new(0);
    let measures = Mutex::new(Vec::new());
    let begin = Instant::now();
    // Each host has namespaces of its own, and so a thread of its own.
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= hosts {
                        return;
                    }
                    let directory = directory.clone();
                    let measure =
                        thread::spawn(move || run(number, &directory)).join().expect("it does not panic");
                    measures.lock().expect("no worker panics").push(measure);
                }
            });
        }
    });
    let took = begin.elapsed();
    let table = table(&directory, hosts);
    report(&measures.into_inner().expect("no worker panics"), took);
    compare(&table, hosts)
}

fn report(measures: &[Measure], took: Duration) {
    let sorted = |of: fn(&Measure) -> Duration| {
        let mut times: Vec<_> = measures.iter().map(of).collect();
        times.sort();
        times
    };
    println!("{} hosts in {:.0} s, with the laboratory's own work", measures.len(), took.as_secs_f64());
    for (name, times) in [("time", sorted(|one| one.wall)), ("processor time", sorted(|one| one.cpu))] {
        println!(
            "{name:<15} p50 {:>6.0} ms   p90 {:>6.0} ms   most {:>6.0} ms",
            percentile(&times, 50),
            percentile(&times, 90),
            percentile(&times, 100)
        );
    }
    let memory = measures.iter().map(|one| one.memory).max().unwrap_or_default();
    println!("peak memory     {:.1} MiB", memory as f64 / 1_048_576.0);
}

fn compare(table: &str, hosts: usize) -> ExitCode {
    let rows: BTreeMap<&str, Vec<&str>> =
        table.lines().map(|line| line.split('\t').collect::<Vec<_>>()).map(|row| (row[0], row)).collect();
    let mut wrong = 0;
    for number in 0..hosts {
        let (name, fault) = (host(number), FAULTS[number % FAULTS.len()]);
        let result = if fault.check().is_some() { "failed" } else { "ok" };
        let right = rows.get(name.as_str()).is_some_and(|row| {
            row.len() == 4
                && row[1] == result
                && fault.check().is_none_or(|check| row[3].contains(&format!("({check})")))
        });
        if !right {
            wrong += 1;
            println!("{name} ({fault:?}): {:?}", rows.get(name.as_str()));
        }
    }
    println!("{} rows, {wrong} of them wrong", table.lines().count());
    if wrong == 0 && table.lines().count() == hosts { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
