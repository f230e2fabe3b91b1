//! What is wrong, and the fix: the result of a function that several checks, or several places of one, call.

use super::fix::Fix;
use super::runner::Answer;

/// What is wrong, and the fix.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) note: String,
    pub(crate) fix: Fix,
}

impl Fault {
    pub(crate) fn new(note: impl Into<String>, fix: Fix) -> Self {
        Self { note: note.into(), fix }
    }

    /// A fault whose fix is a sentence.
    pub(crate) fn with_advice(note: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(note, Fix::advice(advice))
    }

    /// This fault, with words before its note.
    pub(crate) fn after(self, words: &str) -> Self {
        Self { note: format!("{words}: {}", self.note), ..self }
    }

    pub(crate) fn fail<T>(self) -> Answer<T> {
        Answer::fail(self.note, self.fix)
    }

    pub(crate) fn warn<T>(self, value: T) -> Answer<T> {
        Answer::warn(self.note, self.fix, value)
    }
}
