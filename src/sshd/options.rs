//! The options of `--enable` and `--disable`, and the system that they change.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::query::ADMIN_CONFIG;

/// The default user that runs eic-keys.
pub(crate) const OWN_USER: &str = "eic-keys";

/// The options, and the system to change.
#[derive(Clone, Debug)]
pub struct EnableOptions {
    /// Print the changes without making them.
    pub dry_run: bool,
    /// Chain an existing command instead of refusing.
    pub chain: bool,
    /// Do nothing unless our lines are effective and name a user that does not exist, or leave out a command whose
    /// user exists again.
    pub if_user_missing: bool,
    /// How long to wait before a missing user is looked up again.
    pub recheck_delay: Duration,
    /// The root directory of the system.
    pub root: PathBuf,
    /// The command that runs sshd. If empty, sshd is searched for.
    pub sshd: Vec<OsString>,
    /// The command that runs ssh-keygen. If empty, ssh-keygen is searched for.
    pub keygen: Vec<OsString>,
    /// The command that runs systemctl.
    pub systemctl: Vec<OsString>,
    /// The main file of sshd.
    pub main: PathBuf,
    /// The path of eic-keys in sshd's configuration.
    pub program: String,
}

impl EnableOptions {
    /// The options for this machine.
    #[must_use]
    pub fn system(dry_run: bool, chain: bool) -> Self {
        Self {
            dry_run,
            chain,
            if_user_missing: false,
            recheck_delay: RECHECK_DELAY,
            root: "/".into(),
            sshd: Vec::new(),
            keygen: Vec::new(),
            systemctl: vec!["systemctl".into()],
            main: ADMIN_CONFIG.into(),
            program: INSTALLED_PROGRAM.into(),
        }
    }
}

/// Where the packages install eic-keys.
pub(crate) const INSTALLED_PROGRAM: &str = "/usr/bin/eic-keys";

/// Long enough for tools that delete and create a user again.
const RECHECK_DELAY: Duration = Duration::from_secs(5);
