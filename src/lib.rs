//! The library of `eic-keys`, an AuthorizedKeysCommand of sshd for EC2 Instance Connect.
//!
//! Data flow, in the order in which [`authorize`] calls the modules:
//!
//! ```text
//! sshd ──argv──▶ cli ─▶ authorize ───────────────────────────────────────────────▶ output ─▶ sshd
//!                         │ host            is this an instance? (two files, no network)
//!                         │ trust/store     open the trust store
//!                         │ sandbox         drop all other rights
//!                         │ imds            token → active-keys/USER      404: done, silently
//!                         │ keys/select      text → SignedKey…             drop: unreadable, other fingerprint
//!                         │ keys/validity                                 drop: other instance, principal, expired
//!                         │                 nothing left: done
//!                         │ imds            side by side: instance-id, region, domain, signer-cert, OCSP response names
//!                         │ trust/path      certificate chain + anchors + time → SignerPath
//!                         │ revocation      SignerPath + OCSP responses + time → Signer
//!                         │ keys/validity   SignedKey + Signer + time → AuthorizedKey
//!                         ▼ syslog          one line per decision
//! ```
//!
//! Each input and output belongs to one module: the arguments to [`arguments`] and [`cli`], the identity of the machine to [`host`], the network to
//! [`imds`], key text to [`keys`], certificates and the trust store to [`trust`], the log to [`syslog`], the chained command to
//! [`chained_command`], the output to sshd to [`output`], and the configuration of sshd to [`sshd`] (`--enable`, `--disable`).
//! [`limits`] has the limits of a run. [`sandbox`] drops the rights that the process does not need. [`check`] calls the other
//! modules to find out why a user cannot log in (`--check`): the same functions from `keys/select` to `keys/validity`, so a rule that
//! refuses a key at a login refuses it there, too. [`logins`] reads in the log who logged in with a pushed key (`--logins`).

mod account;
mod arguments;
pub mod authorize;
mod chained_command;
pub mod check;
pub mod cli;
pub mod ec2;
pub mod error_text;
pub mod escape;
pub mod exit_status;
mod files;
mod host;
pub mod imds;
pub mod keys;
pub mod limits;
pub mod log_lines;
pub mod logins;
mod output;
mod ownership;
mod path_walk;
pub mod principal;
mod process;
mod procfs;
mod revocation;
pub mod run;
mod run_error;
mod safe_path;
pub mod sandbox;
pub mod sshd;
pub mod syslog;
pub mod system_log;
pub mod time_zone;
mod tool;
pub mod trust;
mod wildcard;
