//! The library of `eic-keys`, an AuthorizedKeysCommand of sshd for EC2 Instance Connect.
//!
//! A run that sshd starts, in the order in which [`run`] and [`authorize`] call the modules:
//!
//! ```text
//! sshd ──argv──▶ cli ─▶ run ─▶ authorize ────────────────────────────────────▶ key_output ─▶ sshd
//!                         │ chained_command runs side by side, if there is one; its keys come last
//!                         │ host                 is this an instance? (two files, no network)
//!                         │ trust/store          open the trust store
//!                         │ sandbox              drop all other rights
//!                         │ imds                 token → active-keys/USER      404: done, silently
//!                         │ keys/select          text → UnverifiedKey…         drop: unreadable, other fingerprint
//!                         │ keys/conditions      drop: other instance, principal, expired
//!                         │                      nothing left: done
//!                         │ imds                 side by side: instance-id, region, domain, signer-cert, OCSP response names
//!                         │ trust/path_building  certificate chain + anchors + time → SignerPath
//!                         │ ocsp_requests        SignerPath + OCSP responses + time → Signer
//!                         │ keys/conditions      UnverifiedKey + Signer + time → AuthorizedKey
//!                         ▼ run_log         one line per decision
//! ```
//!
//! Names: [`ec2`] has the checked types of what EC2 Instance Connect prescribes, such as user names and regions, and for how long a pushed key
//! is valid. [`principal`] matches `--principal`.
//!
//! Each input and output belongs to one module: the arguments to [`arguments`] and [`cli`], the identity of the machine to [`host`], the network to
//! [`imds`], key text to [`keys`], certificates and the trust store to [`trust`], the log to [`run_log`] and [`syslog`], the chained command to
//! [`chained_command`], and the output to sshd to [`key_output`]. [`limits`] has the limits of a run, [`exit_status`] and [`run_error`] how it
//! ends, and [`log_lines`] the words that it logs.
//!
//! The other commands are for administrators, and one module each:
//!
//! - [`sshd`]: `--enable` and `--disable` change the configuration of sshd. The other two read it with this module.
//! - [`check`]: `--check` finds out why a user cannot log in. It calls the functions of a login from `keys/select` to `keys/conditions`, so a
//!   rule that refuses a key at a login refuses it there, too.
//! - [`logins`]: `--logins` reads in the log ([`system_log`]) who logged in with a pushed key.
//!
//! What they share:
//!
//! - Programs of the system: [`process`] runs them with limits; root runs only a [`process::TrustedCommand`]. [`tool`] is the
//!   short form for `--check` and `--logins`.
//! - Files: [`files`] reads them with a limit and without blocking; [`safe_path`] (programs) and [`path_walk`] (other files) check who can
//!   change a path, by the rule in [`ownership`]. [`config_tree`] reads configuration files, with patterns ([`glob`]) in their names.
//! - The log: [`system_log`] reads what [`syslog`] and sshd wrote.
//! - Reports: [`report_output`] writes those of `--check` and `--logins`.
//! - Facts of the system: [`account`], [`procfs`], [`time_zone`]. Dates: [`calendar`]. Durations as text: [`seconds`].
//! - Text: [`escape`] makes remote text harmless, [`error_text`] adds the causes to an error, [`wildcard`] matches sshd's patterns.
//! - [`lists`]: short lists in order, with little code.

// Root starts only a program that was checked: `process::TrustedCommand`.
#![warn(clippy::disallowed_methods)]

mod account;
mod arguments;
pub mod authorize;
mod calendar;
mod chained_command;
pub mod check;
pub mod cli;
pub mod config_tree;
pub mod ec2;
pub mod error_text;
pub mod escape;
pub mod exit_status;
mod files;
mod glob;
mod host;
pub mod imds;
mod key_output;
pub mod keys;
pub mod limits;
mod lists;
pub mod log_lines;
pub mod logins;
mod ocsp_requests;
mod ownership;
mod path_walk;
pub mod principal;
mod process;
mod procfs;
mod report_output;
pub mod run;
mod run_error;
pub mod run_log;
mod safe_path;
pub mod sandbox;
mod seconds;
pub mod sshd;
pub mod syslog;
pub mod system_log;
pub mod time_zone;
mod tool;
pub mod trust;
mod wildcard;
