//! `eic-keys`: argv → command → exit status, nothing else.
fn main() {}
