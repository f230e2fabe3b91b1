//! sshd's configuration: read as sshd reads it, changed so that it asks eic-keys, and put back.
//!
//! - `token`, `pattern`, `config`, `criteria`, `source`, `effective`: the reader. It says *where* something is
//!   set. What *counts* is sshd's own word, and the two have to agree before anything is changed.
//! - `ask`, `host_key`, `daemon`: the installed sshd, what it needs to answer, and the running one.
//! - `tell`: every sshd that runs is made to read its files again.
//! - `block`, `plan`, `place`: our lines, and the decision where they go. Nothing here writes.
//! - `candidate`, `replace`, `lock`, `apply`: the decision made true, or everything as it was.
//! - `wiring`: `--enable` and `--disable`.

mod apply;
pub mod ask;
pub(crate) mod block;
mod candidate;
pub mod config;
pub mod criteria;
pub(crate) mod daemon;
mod diff;
pub mod effective;
mod host_key;
mod lock;
pub(crate) mod pattern;
mod place;
pub(crate) mod plan;
mod replace;
pub(crate) mod run;
pub mod source;
mod tell;
pub mod token;
pub mod trusted;
pub mod wiring;
