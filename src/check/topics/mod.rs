//! The checks, one file for each subject, and what several of them need: `accepted`, `next_start`, `pam_limits`, `pam_modules`, `pam_time`,
//! `shell`. `sshd_login`, what sshd's settings say about a login, is a folder.

mod accepted;
pub(crate) mod banner;
pub(crate) mod clock;
pub(crate) mod command_user;
pub(crate) mod confinement;
mod fail2ban;
mod firewall;
mod hosts_access;
pub(crate) mod install;
pub(crate) mod instance;
pub(crate) mod keys;
pub(crate) mod login_command;
pub(crate) mod metadata;
pub(crate) mod network;
mod next_start;
mod nsswitch;
pub(crate) mod outside;
pub(crate) mod pam;
mod pam_limits;
mod pam_modules;
mod pam_time;
pub(crate) mod principals;
pub(crate) mod recent;
pub(crate) mod running;
mod shell;
pub(crate) mod signer;
pub(crate) mod sshd;
pub(crate) mod sshd_login;
mod sshd_unit;
mod sssd;
pub(crate) mod user;
