//! sshd's configuration: `src/sshd`.

mod corpus;
mod daemon;
mod disable;
mod enable;
mod files;
mod fixtures;
mod helpers;
mod host_keys;
mod login;
mod property;
mod reload;
#[path = "../systems/mod.rs"]
mod systems;
mod users;
