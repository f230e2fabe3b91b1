//! The library behind `eic-keys`: sshd's AuthorizedKeysCommand for EC2 Instance Connect.
//!
//! The way of the data, which [`authorize`] follows step by step:
//!
//! ```text
//! sshd ──argv──▶ cli ─▶ authorize ───────────────────────────────────────────────▶ output ─▶ sshd
//!                         │ host        is this an instance? (two files, no network)
//!                         │ imds        token → active-keys/USER      404: done, silently
//!                         │ keys/blob   text → SignedKey…             drop: other fingerprint, other instance, expired
//!                         │             nothing left: done
//!                         │ imds        side by side: instance-id, region, domain, signer-cert, staple names → staples
//!                         │ trust       chain + staples + anchors + time → Signer
//!                         │ keys/verify SignedKey + Signer → VerifiedKey
//!                         ▼ audit       a line a decision
//! ```
//!
//! Who touches what comes from outside, and nobody else does: [`cli`] the arguments, [`host`] the machine's identity,
//! [`imds`] the network, [`keys`] key text, [`trust`] certificates and the trust store, [`audit`] the log, [`next`] the
//! command behind `--`, [`output`] what sshd reads, [`sshd`] its configuration (`--enable`, `--disable`). [`limits`] bounds them
//! all, and [`confine`] takes from the process what it does not need. [`check`] asks all of them why a user cannot log in (`--check`).

pub mod audit;
pub mod authorize;
pub mod check;
pub mod cli;
pub mod confine;
mod files;
pub mod host;
pub mod imds;
pub mod keys;
pub mod limits;
pub mod next;
pub mod output;
pub mod sshd;
pub mod trust;
