//! Writes the reports of `--check` and `--logins`, and why there is none.

use std::fmt;
use std::io::{self, Write};

use crate::escape::harmless;

/// Writes a report. A reader that ends early, such as head(1), is no error.
pub(crate) fn write(text: &str, out: &mut impl Write) -> io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Reports why `option` could not run: with the document that `json` makes of the reason on `out`, or else on stderr. Returns the exit
/// status.
pub(crate) fn not_run(
    option: &str,
    reason: &dyn fmt::Display,
    json: Option<fn(&str) -> String>,
    out: &mut impl Write,
) -> u8 {
    let reason = harmless(&reason.to_string());
    let _ = match json {
        Some(json) => out.write_all(json(&reason).as_bytes()),
        None => writeln!(io::stderr(), "eic-keys: {option} could not run: {reason}"),
    };
    2
}
