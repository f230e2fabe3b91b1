//! A laboratory that replaces AWS on one machine, so that the shipped `eic-keys` is tested unchanged.
//!
//! An [`Instance`] disguises this machine as an EC2 instance: the calling thread moves into network and mount
//! namespaces of its own, where the metadata service answers at 169.254.169.254, the two files that identify an instance
//! are the laboratory's, as are users and trust store, and the system log is collected. A test starts one, changes one
//! thing, runs the program or logs in through a real sshd, and checks the result:
//!
//! ```no_run
//! use eic_lab::{Instance, UserKey};
//! let instance = Instance::start();
//! let key = UserKey::ed25519();
//! instance.push("alice", &key);
//! let outcome = instance.run(["alice", key.fingerprint()]);
//! assert_eq!(outcome.stdout, format!("{}\n", key.line()));
//! ```
//!
//! | module | content |
//! |---|---|
//! | [`instance`] | the state that a test starts with, and the methods to change it |
//! | [`namespace`] | the disguise: namespaces, mounts, users, addresses |
//! | [`imds`], [`http`], [`fault`] | the metadata service, its requests and replies, and their faults |
//! | [`cert`], [`pki`], [`ocsp`], [`record`] | what AWS signs: certificates, their hierarchy, OCSP responses, pushed keys |
//! | [`key`], [`der`] | signing keys and the DER that is signed |
//! | [`userkey`], [`sshd`] | the keys of users, a real sshd and a real ssh |
//! | [`run`], [`journal`] | a run of the program with its times and memory, and the collected system log |
//! | [`service`] | the APIs and the endpoint that AWS's clients use |
//! | [`client`] | AWS's own clients, to run in the disguise |
//! | [`demo`], [`serve`], [`interrupt`] | `eic-lab demo`, `eic-lab serve`, and how they are interrupted |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::doc_markdown,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test laboratory: what cannot be set up must fail the test, loudly and at once"
)]

pub mod cert;
pub mod client;
pub mod demo;
pub mod der;
pub mod fault;
pub mod http;
mod id;
pub mod imds;
pub mod instance;
pub mod interrupt;
pub mod journal;
pub mod key;
pub mod namespace;
pub mod ocsp;
pub mod pki;
pub mod record;
pub mod run;
pub mod serve;
pub mod service;
pub mod sshd;
pub mod userkey;

pub use cert::{Attribute, Cert, CertSpec, Extension, Text};
pub use fault::{Fault, On};
pub use imds::{Endpoint, Manner};
pub use instance::{IPV4, IPV6, Instance, Machine};
pub use journal::Logger;
pub use key::{Hash, Key, Scheme};
pub use ocsp::{OcspSpec, ResponderId, Status};
pub use pki::{Pki, PkiSpec};
pub use record::RecordSpec;
pub use run::{Outcome, within};
pub use service::Service;
pub use sshd::Sshd;
pub use userkey::UserKey;

use jiff::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds in a minute.
pub const MINUTE: i64 = 60;
/// Seconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Seconds in a day.
pub const DAY: i64 = 24 * HOUR;

/// The time, in whole seconds since the epoch.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970").as_secs() as i64
}

/// Seconds since the epoch as a date and time in UTC.
pub(crate) fn utc(unix: i64) -> Timestamp {
    Timestamp::from_second(unix).expect("a time in the years -9999 to 9999")
}
