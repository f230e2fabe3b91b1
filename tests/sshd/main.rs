//! sshd's configuration: `src/sshd`.

mod corpus;
mod fixtures;
mod login;
mod property;
mod refusals;
#[path = "../systems/mod.rs"]
mod systems;
