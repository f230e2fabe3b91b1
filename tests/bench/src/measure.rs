//! One program, many runs: what each costs.

use std::fs;
use std::time::Duration;

use eic_lab::http::rounds;
use eic_lab::{Instance, Outcome, UserKey};

/// A program that is asked for a user's keys.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// As it stands in the tables.
    pub(crate) name: &'static str,
    /// Where it is on the disguised machine.
    pub(crate) path: &'static str,
    /// What it is asked; `None`: the paths that eic-keys asked for.
    pub(crate) arguments: Option<Vec<String>>,
}

/// What a run asks, which is the same each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) requests: usize,
    /// How many of them one after the other.
    pub(crate) rounds: usize,
    pub(crate) connections: usize,
    /// Both ways.
    pub(crate) packets: u64,
    pub(crate) calls: usize,
    /// The peak of resident memory, in bytes; the biggest process where there are several.
    pub(crate) memory: u64,
}

/// Times of many runs, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    pub(crate) wall: Vec<Duration>,
    pub(crate) cpu: Vec<Duration>,
}

impl Times {
    /// Adds a run.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        for (times, time) in [(&mut self.wall, outcome.wall), (&mut self.cpu, outcome.cpu)] {
            let at = times.partition_point(|other| *other < time);
            times.insert(at, time);
        }
    }
}

/// So many of a hundred times are at most this; of none, none.
pub(crate) fn percentile(times: &[Duration], of_hundred: usize) -> Duration {
    let at = (times.len() * of_hundred / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

/// Packets that have gone over the disguise's loopback, which carries IMDS alone.
fn packets() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|packets| packets.parse().ok()).unwrap_or(0)
}

impl Program {
    /// One run.
    pub(crate) fn run(&self, instance: &Instance, key: &UserKey) -> Outcome {
        instance.command(self.words(key)).program(self.path).run()
    }

    fn words(&self, key: &UserKey) -> Vec<String> {
        self.arguments.clone().unwrap_or_else(|| vec!["alice".to_owned(), key.fingerprint().to_owned()])
    }

    /// What one run asks.
    pub(crate) fn asks(&self, instance: &Instance, key: &UserKey) -> Asked {
        let imds = &instance.imds;
        imds.pace(Duration::from_millis(20));
        imds.clear_requests();
        let before = (packets(), imds.connections());
        let _ = self.run(instance, key);
        let (packets, connections) = (packets() - before.0, imds.connections() - before.1);
        let requests = imds.requests();
        imds.pace(Duration::ZERO);
        let mut traced = vec!["-f".to_owned(), self.path.to_owned()];
        traced.extend(self.words(key));
        let trace = instance.command(traced).program("/usr/bin/strace").run().stderr;
        let memory = instance.command(self.words(key)).program(self.path).with_memory().run().memory;
        Asked {
            requests: requests.len(),
            rounds: rounds(&requests),
            connections,
            packets,
            // Unfinished calls are told twice; neither signals nor ends are calls.
            calls: trace.lines().filter(|line| line.contains('(') && !line.contains(" resumed>")).count(),
            memory: memory.unwrap_or(u64::MAX),
        }
    }
}
