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
//! What a run gets from outside is touched by one module each, and by no other: the arguments by [`cli`], the machine's identity by
//! [`host`], the network by [`imds`], key text by [`keys`], certificates and the trust store by [`trust`], the log by [`audit`],
//! the command behind `--` by [`next`], what sshd reads by [`output`], sshd's configuration by [`sshd`] (`--enable`, `--disable`).
//! [`limits`] bounds what a run takes, and [`confine`] takes from the process what it does not need. [`check`] asks all of them why a
//! user cannot log in (`--check`).

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
mod safe_path;
pub mod sshd;
pub mod trust;
