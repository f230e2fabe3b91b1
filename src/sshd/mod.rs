//! sshd's configuration: read as sshd reads it, changed so that it asks eic-keys, and put back.
//!
//! - `token`, `pattern`, `config`, `criteria`, `source`, `effective`: the reader. It says *where* something is set. What *counts* is
//!   sshd's own word, and the two have to agree before anything is changed.

pub mod config;
pub mod criteria;
pub mod effective;
mod pattern;
pub mod source;
pub mod token;
