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
//!                         │ imds        side by side: instance-id, region, domain, signer-cert, OCSP response names → OCSP responses
//!                         │ trust       chain + OCSP responses + anchors + time → Signer
//!                         │ keys/verify SignedKey + Signer → VerifiedKey
//!                         ▼ syslog       a line a decision
//! ```
//!
//! What a run gets from outside is touched by one module each, and by no other: the arguments by [`cli`], the machine's identity by
//! [`host`], the network by [`imds`], key text by [`keys`], certificates and the trust store by [`trust`], the log by [`syslog`],
//! the command behind `--` by [`chained_command`], what sshd reads by [`output`], sshd's configuration by [`sshd`] (`--enable`, `--disable`).
//! [`limits`] bounds what a run takes, and [`sandbox`] takes from the process what it does not need. [`check`] asks all of them why a
//! user cannot log in (`--check`).

pub mod authorize;
pub mod chained_command;
pub mod check;
pub mod cli;
pub mod ec2;
mod files;
pub mod host;
pub mod imds;
pub mod keys;
pub mod limits;
pub mod output;
mod path_walk;
mod process;
mod safe_path;
pub mod sandbox;
pub mod sshd;
pub mod syslog;
pub mod trust;
