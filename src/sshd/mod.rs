//! sshd's configuration: read as sshd reads it, changed so that it asks eic-keys, and put back.
//!
//! - `lexer`, `pattern`, `config`, `criteria`, `config_tree`, `effective`: the reader. It says *where* something is
//!   set. What *counts* is sshd's own word, and the two have to agree before anything is changed.
//! - `query`, `host_key`, `daemon`: the installed sshd, what it needs to answer, and the running one.
//! - `reload`: every sshd that runs is made to read its files again.
//! - `block`, `plan`, `placement`: our lines, and the decision where they go. Nothing here writes.
//! - `candidate`, `replace`, `lock`, `apply`: the decision made true, or everything as it was.
//! - `wiring`: `--enable` and `--disable`.

mod apply;
pub(crate) mod block;
mod candidate;
pub mod config;
pub mod config_tree;
pub mod criteria;
pub(crate) mod daemon;
mod diff;
pub mod effective;
mod host_key;
pub mod lexer;
mod lock;
pub(crate) mod pattern;
mod placement;
pub(crate) mod plan;
pub mod query;
mod reload;
mod replace;
pub mod wiring;
