//! The terminal of a rehearsal's login.

use std::io::Write;
use std::process::ChildStdin;
use std::time::Instant;

use crate::limits;
use crate::process::Collected;

/// The character that ends the input of a terminal. A shell ends when it reads it, but a program that reads nothing,
/// such as a start file that hangs, does not.
const END_OF_INPUT: &[u8] = b"\x04";

/// A terminal on which empty lines are typed.
///
/// The terminal itself echoes an empty line as CR and LF, even while a start file hangs. A shell prints its prompt.
#[derive(Debug)]
pub(super) struct Terminal<'a> {
    input: Option<ChildStdin>,
    output: &'a Collected,
    log: &'a Collected,
    start: Instant,
    /// When the output last changed.
    changed: Position,
    /// When a line was typed to which there is no answer yet. It has the length of the output before the first such line.
    typed: Option<Position>,
    /// Length of the output when the last empty line was typed.
    last: usize,
    answer_count: u32,
    tries: u32,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    /// Length of the output.
    length: usize,
    time: Instant,
}

impl<'a> Terminal<'a> {
    pub(super) fn new(input: Option<ChildStdin>, output: &'a Collected, log: &'a Collected) -> Self {
        let start = Instant::now();
        let changed = Position { length: 0, time: start };
        Self { input, output, log, start, changed, typed: None, last: 0, answer_count: 0, tries: 0 }
    }

    /// Whether the input was ended.
    pub(super) fn is_closed(&self) -> bool {
        self.tries > limits::TERMINAL_TRIES
    }

    /// Whether anything, such as an echo, came back after the last line that was typed. A shell can have an empty prompt.
    pub(super) fn has_answered(&self) -> bool {
        self.output.bytes().len() > self.last
    }

    /// Looks for an answer, and types a line if it is time. Whether there were enough answers.
    pub(super) fn poll(&mut self) -> bool {
        let output = self.output.bytes();
        let now = |length| Position { length, time: Instant::now() };
        if output.len() != self.changed.length {
            self.changed = now(output.len());
        }
        if let Some(typed) = self.typed {
            if has_text(output.get(typed.length..).unwrap_or_default()) {
                self.answer_count = self.answer_count.saturating_add(1);
                self.typed = None;
                self.tries = 0;
            }
        }
        let started = || self.log.text().contains("Starting session: ");
        let waited = self.typed.is_none_or(|typed| typed.time.elapsed() > limits::TERMINAL_ANSWER);
        let begun = self.start.elapsed() > limits::TERMINAL_START || !output.is_empty() || started();
        if self.answer_count < limits::TERMINAL_ANSWERS
            && begun
            && waited
            && self.changed.time.elapsed() > limits::TERMINAL_QUIET
        {
            if let Some(input) = &mut self.input {
                // If ssh has ended, its status says so.
                let _ =
                    input.write_all(if self.tries < limits::TERMINAL_TRIES { b"\r" } else { END_OF_INPUT });
            }
            self.tries = self.tries.saturating_add(1);
            if self.tries <= limits::TERMINAL_TRIES {
                self.last = output.len();
            }
            self.typed = Some(now(self.typed.map_or(output.len(), |typed| typed.length)));
        }
        self.answer_count >= limits::TERMINAL_ANSWERS
    }
}

/// Whether there is anything but ends of lines.
fn has_text(output: &[u8]) -> bool {
    output.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
}
