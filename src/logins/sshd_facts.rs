//! What sshd's configuration says about logins.

use std::path::Path;

use crate::account::Account;
use crate::config_tree::ConfigTree;
use crate::limits;
use crate::lists;
use crate::sshd::config::is_expanded;
use crate::sshd::config::{Config, Keyword};
use crate::sshd::criteria::ConnectionSpec;
use crate::sshd::options::OWN_USER;
use crate::sshd::query::{DEFAULT_LOGIN_GRACE_TIME, Sshd, default_main_file, level_without_logins};

/// What sshd's configuration says about logins.
#[derive(Debug)]
pub(super) struct SshdFacts {
    /// `LoginGraceTime`, in seconds.
    pub(super) grace: u64,
    /// The users as which it runs eic-keys. `None` if it can be any user.
    pub(super) users: Option<Vec<u32>>,
    /// The user of the package.
    pub(super) own_user: Option<u32>,
}

impl SshdFacts {
    /// Asks sshd, and reads its files. Adds to `notes` what the reader has to know.
    pub(super) fn ask(root: &Path, notes: &mut Vec<String>) -> Self {
        let tree = ConfigTree::new(root);
        let main = default_main_file(&tree);
        let sshd = Sshd::find(&tree).map(|sshd| sshd.with_timeout(limits::CHECK_TOOL));
        let dump = sshd.as_ref().and_then(|sshd| sshd.dump(&main, &ConnectionSpec::probe()).ok());
        let value = |keyword| {
            let value = dump.as_ref()?.values(keyword).next()?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let grace = match value("logingracetime").and_then(|value| value.parse::<u64>().ok()) {
            Some(0) => limits::UNLIMITED_GRACE.as_secs(),
            Some(grace) => grace,
            None => {
                notes.push(format!(
                    "sshd could not be asked for LoginGraceTime: {DEFAULT_LOGIN_GRACE_TIME} s is assumed"
                ));
                DEFAULT_LOGIN_GRACE_TIME
            }
        };
        if let Some(level) = value("loglevel").and_then(|level| level_without_logins(&level)) {
            notes.push(format!("sshd logs no logins, because its LogLevel is {level}"));
        }
        let uid = |name: &str| Account::find(name).ok().flatten().map(|account| account.uid);
        let own_user = uid(OWN_USER);
        // Match blocks can set other users.
        let version = sshd.as_ref().and_then(|sshd| sshd.version().ok());
        let config = version.and_then(|version| Config::read(&tree, &main, version).ok());
        let settings = config.iter().flat_map(Config::settings);
        let set = settings.filter(|setting| setting.keyword == Keyword::User).map(|setting| &setting.value);
        let set = set.chain(dump.as_ref().and_then(|dump| dump.user.as_ref()));
        let names = lists::sorted_unique(set.map(|name| String::from_utf8_lossy(name).into_owned()));
        let users = (!names.iter().any(|name| is_expanded(name.as_bytes())))
            .then(|| names.iter().filter_map(|name| uid(name)).chain(own_user).collect());
        Self { grace, users, own_user }
    }
}
