//! The checks, one file for each subject, and in parentheses the files without a check of their own:
//!
//! - The instance and its surroundings: `instance`, `metadata`, `clock`, `outside`.
//! - The pushed keys: `keys` (`accepted_keys`), `principals`, `signer`.
//! - sshd: `sshd` (`sshd_config`), `running` (`next_start`, `sshd_unit`), and the folder `sshd_login`, what its settings say about a login.
//! - What sshd runs: `install`, `login_command`, `command_user`, `confinement`.
//! - The user: `user` (`nsswitch`, `shell`), `pam` (`pam_modules`, `pam_limits`, `pam_time`, `sssd`).
//! - The network: `network` (`firewall`, `firewalld`, `fail2ban`, `hosts_access`), `banner`. The log: `recent`.

mod accepted_keys;
pub(crate) mod banner;
pub(crate) mod clock;
pub(crate) mod command_user;
pub(crate) mod confinement;
mod fail2ban;
mod firewall;
mod firewalld;
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
mod sshd_config;
pub(crate) mod sshd_login;
mod sshd_unit;
mod sssd;
pub(crate) mod user;
