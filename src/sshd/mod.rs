//! Reads and changes sshd's configuration.
//!
//! - `version`: what differs between releases of OpenSSH.
//! - `lexer`, `pattern`, `config_file`, `criteria`, `config`: parse the configuration and find *where*
//!   each value is set. sshd itself reports the effective value, and both must agree before a change.
//! - `query`, `host_key`, `service`, `unit`, `command_line`: query the installed sshd, with a host key if it has none, and inspect the
//!   running one, the unit that starts it, and its options.
//! - `reload`: makes each running sshd read its files again. `last_read`: when it last did.
//! - `managed_lines`, `drop_in`, `plan`, `placement`: format our lines and decide where they go. These modules write nothing.
//! - `staged_config`, `replace`, `lock`, `apply`: apply the change, or restore the previous state. `diff`: shows it.
//! - `enable`: `--enable` and `--disable`, from the lock to the reload. `options`: what they change, and where. `queried_sshd`,
//!   `user_lookup`, `package_state`, `enable_error`: their steps, and why they fail.

mod apply;
pub(crate) mod command_line;
pub mod config;
pub mod config_file;
pub mod criteria;
mod diff;
pub(crate) mod drop_in;
mod enable;
mod enable_error;
pub(crate) mod host_key;
pub(crate) mod last_read;
pub mod lexer;
mod lock;
pub(crate) mod managed_lines;
pub(crate) mod options;
mod package_state;
pub(crate) mod pattern;
mod placement;
pub(crate) mod plan;
mod queried_sshd;
pub mod query;
pub(crate) mod reload;
mod replace;
pub(crate) mod service;
mod staged_config;
pub(crate) mod unit;
mod user_lookup;
pub mod version;

pub use enable::{EnableOutcome, disable, enable};
pub use options::EnableOptions;
