//! Runs programs in turns and prints what each run cost. It is small and has one thread, so that starting a child copies little and
//! the child's processor time is the child's own.
//!
//! Usage: `turns ROUNDS PROGRAM [ARG...] [-- PROGRAM [ARG...]]...`. Prints a line for each run: number of the program, processor
//! time and wall time in nanoseconds, exit status (-1 for a signal), what it printed with its newlines escaped.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "a bench"
)]

use std::fmt::Write;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use wait4::Wait4;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().and_then(|rounds| rounds.parse().ok()).expect("a number of rounds");
    let arguments: Vec<String> = arguments.collect();
    let programs: Vec<&[String]> = arguments.split(|argument| argument == "--").collect();
    let mut lines = String::new();
    for round in 0..rounds {
        // The order of the programs changes too.
        for turn in 0..programs.len() {
            let number = (round + turn) % programs.len();
            let Some((program, arguments)) = programs.get(number).and_then(|words| words.split_first())
            else {
                continue;
            };
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
            let started = Instant::now();
            let mut child = command.spawn().expect("the program starts");
            let mut printed = String::new();
            child.stdout.take().expect("a pipe").read_to_string(&mut printed).expect("text");
            let usage = child.wait4().expect("it ends");
            let wall = started.elapsed();
            let cpu = usage.rusage.utime + usage.rusage.stime;
            let _ = writeln!(
                lines,
                "{number} {} {} {} {}",
                cpu.as_nanos(),
                wall.as_nanos(),
                usage.status.code().unwrap_or(-1),
                printed.escape_debug()
            );
        }
    }
    print!("{lines}");
}
