//! argv → [`Command`]; the help text.
//!
//! Everything comes from the command line, which is the administrator's: nothing is read from a file or the environment.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, str};

use lexopt::{Arg, Parser, ValueExt};

use crate::authorize::Request;
use crate::check;
use crate::imds::client;
use crate::keys::Fingerprint;
use crate::limits;

/// What `--help` prints.
pub const HELP: &str = "\
eic-keys: prints the SSH keys that EC2 Instance Connect pushed for a user and that could be proved

Usage: eic-keys [OPTIONS] USER [FINGERPRINT] [-- COMMAND ARG...]
       eic-keys --check [USER [FINGERPRINT]] [--json] [--verbose] [OPTIONS]
       eic-keys --help | --version

sshd runs it; in sshd_config:
       AuthorizedKeysCommand /usr/bin/eic-keys %u %f
       AuthorizedKeysCommandUser eic-keys

Arguments:
  USER               whom the keys are for (%u)
  FINGERPRINT        print no key but this one (%f); SHA256:...
  COMMAND ARG...     run this AuthorizedKeysCommand as well, and print its keys after ours

Options:
  --trust-store PATH   bundle or directory of trusted certificates, PEM (default: the system's)
  --timeout SECONDS    for the whole run, 0.1 to 60 (default: 4.5)
  --imds ADDRESS       of the metadata service, IP or IP:PORT (default: 169.254.169.254, then fd00:ec2::254)
  --check              tell why USER cannot log in, and what to do; changes nothing, sees most as root
  --json               ... as one JSON document
  --verbose            ... with the details of what is well, too
  -h, --help           this text
  -V, --version        the version

Exit status:                                    with --check:
  0  the job is done, with keys or without      0  nothing failed
  1  the command line is wrong                  1  something failed
  2  metadata could not be had in time          2  it could not be run
  3  the signer is not trustworthy
  4  this system is not set up for it

Run by hand on a terminal it explains each decision; under sshd it logs only (authpriv).
";

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// What sshd wants: print a user's keys.
    Authorize(Request),
    /// What an administrator wants: why does it not work?
    Check(check::Request),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// What is wrong with the command line.
#[derive(Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads the arguments, without the program's name.
///
/// # Errors
/// The command line is wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut ours: Vec<OsString> = arguments.into_iter().collect();
    let next = ours.iter().position(|argument| argument == "--").map(|end| {
        let command = ours.split_off(end);
        command.into_iter().skip(1).collect::<Vec<_>>()
    });
    if next.as_ref().is_some_and(Vec::is_empty) {
        return Err(UsageError("no command behind --".to_owned()));
    }
    let mut user = None;
    let mut fingerprint = None;
    let mut trust_store = None;
    let mut timeout = None;
    let mut imds = None;
    let (mut checks, mut json, mut verbose) = (false, false, false);
    let mut parser = Parser::from_args(ours);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Long("trust-store") => trust_store = Some(PathBuf::from(parser.value()?)),
            Arg::Long("timeout") => timeout = Some(parser.value()?.parse_with(seconds)?),
            Arg::Long("imds") => imds = Some(parser.value()?.parse_with(address)?),
            Arg::Long("check") => checks = true,
            Arg::Long("json") => json = true,
            Arg::Long("verbose") => verbose = true,
            Arg::Value(value) if user.is_none() => user = Some(value),
            Arg::Value(value) if fingerprint.is_none() => {
                fingerprint = Some(Fingerprint::parse(value.as_bytes()).map_err(|_| {
                    UsageError("FINGERPRINT is not of the form SHA256:...; sshd gives it for %f".to_owned())
                })?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let fingerprint = fingerprint.flatten();
    if checks && next.is_some() {
        return Err(UsageError("--check runs no command behind --".to_owned()));
    }
    if checks {
        let request = check::Request { user, fingerprint, trust_store, timeout, imds, json, verbose };
        return Ok(Command::Check(request));
    }
    if json || verbose {
        return Err(UsageError("--json and --verbose go with --check".to_owned()));
    }
    let user = user.ok_or_else(|| UsageError("no USER; sshd gives it for %u".to_owned()))?;
    let timeout = timeout.unwrap_or(limits::RUN);
    let imds = imds.map_or_else(|| client::ADDRESSES.to_vec(), |address| vec![address]);
    Ok(Command::Authorize(Request { user, fingerprint, trust_store, timeout, imds, next }))
}

/// Whether arguments ask for `--check`, though they are wrong besides: `Some`, and whether for JSON.
#[must_use]
pub fn asks_for_check(arguments: &[OsString]) -> Option<bool> {
    let mut ours = arguments.iter().take_while(|argument| *argument != "--");
    let json = ours.clone().any(|argument| argument == "--json");
    ours.any(|argument| argument == "--check").then_some(json)
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let (least, most) = limits::RUN_RANGE;
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|time| (least..=most).contains(time)).ok_or("not a number of seconds from 0.1 to 60")
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    let bracketed = || ip(text.strip_prefix('[')?.strip_suffix(']')?);
    let port = |ip| SocketAddr::new(ip, 80);
    ip(text).or_else(bracketed).map(port).or_else(|| text.parse().ok()).ok_or("not an address: IP or IP:PORT")
}
