//! Measures many runs of a program.

use std::time::Duration;

use eic_lab::http::rounds;
use eic_lab::{Instance, Outcome, UserKey};

/// A program that prints a user's keys.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    /// Its path on the disguised machine.
    pub(crate) path: &'static str,
    /// Its arguments; `None`: those of eic-keys.
    pub(crate) arguments: Option<Vec<String>>,
    /// What precedes these arguments.
    pub(crate) options: Vec<String>,
}

/// The requests and calls of a run, which are the same each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) requests: usize,
    /// The number of sequential rounds.
    pub(crate) rounds: usize,
    pub(crate) connections: usize,
    /// Packets in both directions.
    pub(crate) packets: u64,
    pub(crate) calls: usize,
    /// The peak of resident memory in bytes; of several processes, the largest.
    pub(crate) memory: u64,
}

/// Times of many runs, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    pub(crate) wall: Vec<Duration>,
    pub(crate) cpu: Vec<Duration>,
    /// What each run printed, escaped.
    pub(crate) printed: Vec<String>,
}

/// Runs the programs in turns, each this many times, by the program `turns`.
pub(crate) fn in_turns(instance: &Instance, programs: &[Program], key: &UserKey, runs: usize) -> Vec<Times> {
    let mut words = vec![runs.to_string()];
    for (number, program) in programs.iter().enumerate() {
        words.extend((number > 0).then(|| "--".to_owned()));
        words.push(program.path.to_owned());
        words.extend(program.words(key));
    }
    let told = instance.command(words).program(crate::TURNS).limit(Duration::from_secs(3600)).run();
    let mut times = vec![Times::default(); programs.len()];
    for line in told.stdout.lines() {
        let fields: Vec<&str> = line.splitn(5, ' ').collect();
        let number = |at: usize| fields[at].parse::<u64>().unwrap_or(u64::MAX);
        let program = usize::try_from(number(0)).unwrap_or(usize::MAX);
        assert!(program < times.len(), "{told:?}");
        let times = &mut times[program];
        // AWS's scripts fail if there is no key.
        assert!(fields[3] == "0" || fields[4].is_empty() && program >= 2, "{line}");
        times.cpu.push(Duration::from_nanos(number(1)));
        times.wall.push(Duration::from_nanos(number(2)));
        times.printed.push(fields[4].to_owned());
    }
    for times in &mut times {
        assert_eq!(times.cpu.len(), runs, "{told:?}");
        times.cpu.sort();
        times.wall.sort();
    }
    times
}

/// A percentile of the times; zero if there are none.
pub(crate) fn percentile(times: &[Duration], of_hundred: usize) -> Duration {
    let at = (times.len() * of_hundred / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

impl Program {
    /// One run.
    pub(crate) fn run(&self, instance: &Instance, key: &UserKey) -> Outcome {
        instance.command(self.words(key)).program(self.path).run()
    }

    fn words(&self, key: &UserKey) -> Vec<String> {
        let words = self.arguments.clone();
        let words = words.unwrap_or_else(|| vec!["alice".to_owned(), key.fingerprint().to_owned()]);
        self.options.iter().cloned().chain(words).collect()
    }

    /// The requests and calls of one run.
    pub(crate) fn asks(&self, instance: &Instance, key: &UserKey) -> Asked {
        let imds = &instance.imds;
        imds.pace(Duration::from_millis(20));
        imds.clear_requests();
        let before = (imds.packets(), imds.connections());
        let _ = self.run(instance, key);
        // The service's last packet comes after the run.
        std::thread::sleep(Duration::from_millis(100));
        let (packets, connections) = (imds.packets() - before.0, imds.connections() - before.1);
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
            // Unfinished calls are printed twice; signals and exits are not calls.
            calls: trace.lines().filter(|line| line.contains('(') && !line.contains(" resumed>")).count(),
            memory: memory.unwrap_or(u64::MAX),
        }
    }
}
