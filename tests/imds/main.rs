//! The program and the metadata service: which requests it sends, which replies it accepts, and that it ends in time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test may panic"
)]

mod addresses;
mod answers;
mod conversation;
mod faults;
mod memory;
mod sizes;
mod time_limit;
mod world;
