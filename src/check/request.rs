//! What to check, and where.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::authorize;
use crate::calendar::DAY;
use crate::imds::client;
use crate::keys::Fingerprint;
use crate::limits;
use crate::principal::Principals;
use crate::seconds::Seconds;
use crate::trust::UnixTime;

/// The request, from the command line.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The user who cannot log in. Without one, only checks that are the same for all users run.
    pub(crate) user: Option<OsString>,
    /// The fingerprint of the offered key.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// `--trust-store`, if given. The default comes from sshd's configuration.
    pub(crate) trust_store: Option<PathBuf>,
    /// `--principal`, with the same default.
    pub(crate) principals: Principals,
    /// `--timeout`, with the same default.
    pub(crate) timeout: Option<Duration>,
    /// `--imds`, with the same default.
    pub(crate) imds: Option<SocketAddr>,
    /// Also log in as the user.
    pub(crate) rehearse: bool,
    /// `--wait`: wait so long for a push.
    pub(crate) wait: Option<Duration>,
    pub(crate) json: bool,
    pub(crate) verbose: bool,
}

/// The options that eic-keys has under sshd.
#[derive(Clone, Debug)]
pub(crate) struct RunOptions {
    pub(crate) trust_store: Option<PathBuf>,
    pub(crate) principals: Principals,
    pub(crate) timeout: Duration,
    pub(crate) imds: Vec<SocketAddr>,
    /// What sets another address of the metadata service.
    pub(crate) imds_from: Option<String>,
}

impl RunOptions {
    /// Uses the options of `--check`, then those in sshd's configuration, then the defaults.
    /// `configured`: the AuthorizedKeysCommand of sshd's configuration. `place`: where it is set.
    pub(crate) fn new(
        asked: &CheckRequest,
        configured: Option<&authorize::KeyQuery>,
        place: Option<String>,
    ) -> Self {
        let sets_imds = configured.is_some_and(|query| query.imds != client::ADDRESSES);
        Self {
            imds_from: match asked.imds {
                Some(_) => Some("this command".to_owned()),
                None if sets_imds => Some(place.unwrap_or_else(|| "sshd's AuthorizedKeysCommand".to_owned())),
                None => None,
            },
            trust_store: asked.trust_store.clone().or_else(|| configured?.trust_store.clone()),
            principals: match configured {
                Some(query) if asked.principals == Principals::default() => query.principals.clone(),
                _ => asked.principals.clone(),
            },
            timeout: asked.timeout.or(configured.map(|query| query.timeout)).unwrap_or(limits::RUN_TIME),
            imds: match (asked.imds, configured) {
                (Some(address), _) => vec![address],
                (None, Some(query)) => query.imds.clone(),
                (None, None) => client::ADDRESSES.to_vec(),
            },
        }
    }
}

/// A time limit for a message or a command line.
pub(crate) fn seconds(limit: Duration) -> String {
    Seconds(limit).to_string()
}

/// The system to check.
#[derive(Clone, Copy, Debug)]
pub struct CheckTarget<'a> {
    /// Its root directory: `/`.
    pub root: &'a Path,
    /// Its clock.
    pub clock: fn() -> UnixTime,
    /// Returns the value of an environment variable.
    pub environment: fn(&str) -> Option<OsString>,
}

impl CheckTarget<'_> {
    /// Days since 1970-01-01.
    pub(crate) fn today(&self) -> u64 {
        (self.clock)().as_secs() / DAY
    }
}
