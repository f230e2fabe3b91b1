//! Reads and changes sshd's configuration.
//!
//! - `lexer`, `pattern`, `config`, `criteria`, `config_tree`, `effective`: parse the configuration and find *where*
//!   each value is set. sshd itself reports the effective value, and both must agree before a change.
//! - `query`, `host_key`, `daemon`, `unit`: query the installed sshd, with a host key if it has none, and inspect the
//!   running one and the unit that starts it.
//! - `reload`: makes each running sshd read its files again.
//! - `managed_lines`, `drop_in`, `plan`, `placement`: format our lines and decide where they go. These modules write nothing.
//! - `candidate`, `replace`, `lock`, `apply`: apply the change, or restore the previous state.
//! - `enable`, `enable_error`: `--enable` and `--disable`, and why they fail.

mod apply;
mod candidate;
pub mod config;
pub mod config_tree;
pub mod criteria;
pub(crate) mod daemon;
mod diff;
mod drop_in;
pub mod effective;
mod enable;
mod enable_error;
mod host_key;
pub mod lexer;
mod lock;
pub(crate) mod managed_lines;
pub(crate) mod pattern;
mod placement;
pub(crate) mod plan;
pub mod query;
pub(crate) mod reload;
mod replace;
pub(crate) mod unit;

pub use enable::{EnableOptions, EnableOutcome, disable, enable};
