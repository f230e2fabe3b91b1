//! Almost right signers, OCSP responses and records, made from a few bytes, and two opinions on each: OpenSSL's and ours.
//!
//! [`Case::make`] turns bytes into a healthy hierarchy with a few [`change`]s; [`openssl::accepts`] and [`ours::accepts`]
//! judge it, knowing nothing of each other. What counts is that we accept nothing that OpenSSL would refuse. The differential
//! test here and the fuzz target `verdict` ask both of thousands of cases.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::format_collect,
    clippy::needless_pass_by_value,
    clippy::string_slice,
    reason = "a test's library: what cannot be made must fail the test"
)]

pub mod case;
pub mod change;
pub mod openssl;
pub mod ours;

pub use case::Case;
