//! A scanner: clients that offer six unknown keys on each connection, one connection after another. `make scan`.
//!
//! Prints how many of the packets that IMDS lets through in a second (1,024) each configuration of sshd costs. CLIENTS (8) of
//! them at once, SECONDS (10) for each configuration; `EIC_SSHD_ROOT` selects another sshd than the machine's. `PerSourcePenalties`
//! exists from OpenSSH 9.8 on.
#![allow(
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench"
)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eic_lab::sshd::{Config, sshd_version};
use eic_lab::{Instance, Sshd, UserKey};

/// Settings of sshd and their values.
type Settings = &'static [(&'static str, &'static str)];

/// OpenSSH's defaults, and what the documents recommend, one by one and together.
const DEFAULT: Settings = &[("MaxStartups", "10:30:100")];
const TRIES: Settings = &[("MaxStartups", "10:30:100"), ("MaxAuthTries", "3")];
const STARTUPS: Settings = &[("MaxStartups", "10:30:100"), ("PerSourceMaxStartups", "2")];
const PENALTIES: Settings = &[("MaxStartups", "10:30:100"), ("PerSourcePenalties", "yes")];
const BOTH: Settings = &[("MaxStartups", "10:30:100"), ("MaxAuthTries", "3"), ("PerSourceMaxStartups", "2")];
const ALL: Settings = &[
    ("MaxStartups", "10:30:100"),
    ("MaxAuthTries", "3"),
    ("PerSourceMaxStartups", "2"),
    ("PerSourcePenalties", "yes"),
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() {
    let (clients, seconds) = (number("CLIENTS", 8), Duration::from_secs(number("SECONDS", 10)));
    let instance = Instance::start();
    let keys: Vec<UserKey> = (0..6).map(|_| UserKey::ed25519()).collect();

    // The packets of an offered key, without those of ssh.
    let before = instance.imds.packets();
    for key in &keys {
        assert_eq!(instance.run(["alice", key.fingerprint()]).status, Some(0));
    }
    thread::sleep(Duration::from_millis(100));
    let each = (instance.imds.packets() - before) as f64 / keys.len() as f64;
    let (major, minor) = sshd_version();
    println!(
        "OpenSSH {major}.{minor}, {clients} clients with six keys each; {each:.1} IMDS packets an offered key\n"
    );
    println!("{:<62} {:>13} {:>8} {:>12}", "", "connections/s", "keys/s", "IMDS packets/s");
    for (name, settings) in [
        ("nothing set, before OpenSSH 9.8", DEFAULT),
        ("MaxAuthTries 3", TRIES),
        ("PerSourceMaxStartups 2", STARTUPS),
        ("MaxAuthTries 3, PerSourceMaxStartups 2", BOTH),
        ("PerSourcePenalties yes, as from OpenSSH 9.8 on", PENALTIES),
        ("MaxAuthTries 3, PerSourceMaxStartups 2, PerSourcePenalties yes", ALL),
    ] {
        if sshd_version() < (9, 8) && settings.contains(&("PerSourcePenalties", "yes")) {
            continue;
        }
        let config =
            settings.iter().fold(Config::new(), |config, (keyword, value)| config.set(keyword, value));
        let sshd = Sshd::start_with(&instance, &config);
        instance.imds.clear_requests();
        let connections = AtomicU32::new(0);
        let begin = Instant::now();
        thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    while begin.elapsed() < seconds {
                        let login = keys.iter().fold(sshd.login("alice"), eic_lab::sshd::Login::key);
                        assert_ne!(login.run("true").status, Some(0), "nobody knows these keys");
                        connections.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let took = begin.elapsed().as_secs_f64();
        // A token, and the active keys.
        let offered = instance.imds.requests().len() as f64 / 2.0;
        println!(
            "{name:<62} {:>13.1} {:>8.1} {:>12.0}",
            f64::from(connections.load(Ordering::Relaxed)) / took,
            offered / took,
            offered * each / took
        );
    }
}
