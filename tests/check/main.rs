//! `--check` in the laboratory, with the shipped binary: each check fails when just that is broken, and says
//! what to do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod blocking_files;
mod cloud;
mod command_line;
mod command_user;
mod confinement;
mod fixes;
mod golden;
mod hangs;
mod install;
mod login_command;
mod network;
mod pam;
mod pushed;
mod recent;
mod rehearsal;
mod running;
mod schema;
mod sshd;
mod sshd_access;
mod sshd_command;
mod sshd_command_line;
mod sshd_login;
mod sshd_match;

mod sshd_session;
mod units;
mod users;
mod world;
