//! Almost right signers, OCSP responses and records, made from a few bytes, and three opinions on each: ours, OpenSSL's and that of
//! x509-parser, which covers the certificates only.
//!
//! [`Case::make`] turns bytes into a correct hierarchy with a few [`change`]s. [`ours::accepts`], [`openssl::accepts`] and
//! [`x509_parser::accepts`] judge it independently. The differential test here and the fuzz target `verdict` compare them for thousands
//! of cases: we must accept nothing that another one refuses.
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
pub mod x509_parser;

pub use case::Case;
