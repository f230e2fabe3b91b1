//! What to check, and where.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::authorize;
use crate::imds::client;
use crate::keys::Fingerprint;
use crate::limits;
use crate::principal::Principals;
use crate::trust::UnixTime;

/// The request, from the command line.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The user who cannot log in. Without one, only checks that are the same for all users run.
    pub user: Option<OsString>,
    /// The fingerprint of the offered key.
    pub fingerprint: Option<Fingerprint>,
    /// `--trust-store`, if given. The default comes from sshd's configuration.
    pub trust_store: Option<PathBuf>,
    /// `--principal`, with the same default.
    pub principals: Principals,
    /// `--timeout`, with the same default.
    pub timeout: Option<Duration>,
    /// `--imds`, with the same default.
    pub imds: Option<SocketAddr>,
    /// Also log in as the user.
    pub rehearse: bool,
    /// `--wait`: wait so long for a push.
    pub wait: Option<Duration>,
    /// Print JSON.
    pub json: bool,
    /// Also show the details of passing checks.
    pub verbose: bool,
}

/// The options that eic-keys has under sshd.
#[derive(Clone, Debug)]
pub(crate) struct RunOptions {
    pub(crate) trust_store: Option<PathBuf>,
    pub(crate) principals: Principals,
    pub(crate) timeout: Duration,
    pub(crate) imds: Vec<SocketAddr>,
}

impl RunOptions {
    /// Uses the options of `--check`, then those in sshd's configuration, then the defaults.
    pub(crate) fn new(asked: &CheckRequest, line: Option<&authorize::KeyQuery>) -> Self {
        Self {
            trust_store: asked.trust_store.clone().or_else(|| line?.trust_store.clone()),
            principals: match line {
                Some(line) if asked.principals == Principals::default() => line.principals.clone(),
                _ => asked.principals.clone(),
            },
            timeout: asked.timeout.or(line.map(|line| line.timeout)).unwrap_or(limits::RUN),
            imds: match (asked.imds, line) {
                (Some(address), _) => vec![address],
                (None, Some(line)) => line.imds.clone(),
                (None, None) => client::ADDRESSES.to_vec(),
            },
        }
    }
}

/// A time limit in seconds, with one decimal place if it has one.
pub(crate) fn seconds(limit: Duration) -> String {
    match (limit.as_secs(), limit.subsec_millis() / 100) {
        (seconds, 0) => seconds.to_string(),
        (seconds, tenths) => format!("{seconds}.{tenths}"),
    }
}

/// Seconds of a day.
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// The system to check.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its root directory: `/`.
    pub root: &'a Path,
    /// Its clock.
    pub clock: fn() -> UnixTime,
    /// Returns the value of an environment variable.
    pub environment: fn(&str) -> Option<OsString>,
}

impl Target<'_> {
    /// Days since 1970-01-01.
    pub(crate) fn today(&self) -> u64 {
        (self.clock)().as_secs() / DAY
    }
}
