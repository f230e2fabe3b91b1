//! argv → [`Command`]; the help text.
//!
//! All settings come from the command line, which the administrator controls. No file or environment variable is read.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, str};

use lexopt::{Arg, Parser};

use crate::authorize::KeyQuery;
use crate::check;
use crate::imds::client;
use crate::keys::Fingerprint;
use crate::limits;
use crate::sshd::wiring;

/// What `--help` prints.
pub const HELP: &str = "\
eic-keys: prints the SSH keys that were pushed for a user with EC2 Instance Connect, if they can be verified

Usage: eic-keys [OPTIONS] USER [FINGERPRINT] [-- COMMAND ARG...]
       eic-keys --check [USER [FINGERPRINT]] [--wait SECONDS] [--json] [--verbose] [OPTIONS]
       eic-keys --enable [--dry-run] [--no-chain] [--if-user-missing]
       eic-keys --disable [--dry-run]
       eic-keys --help | --version

sshd runs it; --enable writes the lines for that into sshd's configuration, --disable takes them out:
       AuthorizedKeysCommand /usr/bin/eic-keys %u %f
       AuthorizedKeysCommandUser eic-keys

Arguments:
  USER               whose keys to print (%u)
  FINGERPRINT        print this key only (%f); SHA256:...
  COMMAND ARG...     run this AuthorizedKeysCommand as well, and print its keys after ours

Options:
  --trust-store PATH   bundle or directory of trusted certificates, PEM (default: the system's)
  --timeout SECONDS    time limit of the whole run, 0.1 to 60 (default: 4.5)
  --imds ADDRESS       the metadata service's, IP or IP:PORT (default: 169.254.169.254, then fd00:ec2::254)
  --enable             have sshd run it, beside another AuthorizedKeysCommand if one is set
  --disable            undo that, to the byte
  --dry-run            ... print what would be changed, and change nothing
  --no-chain           ... refuse if another AuthorizedKeysCommand is set
  --if-user-missing    ... only if the user of sshd's line is gone, or one that it did without is back
  --check              tell why USER cannot log in, and what to do; changes nothing; root sees most
  --wait SECONDS       ... wait for a push for USER first, 1 to 600
  --json               ... as one JSON document
  --verbose            ... also show details of passing checks
  -h, --help           this text
  -V, --version        the version

Exit status:                                --enable, --disable:               --check:
  0  the job is done, with keys or without  0  done, or already so             0  nothing failed
  1  the command line is wrong              1  refused, and nothing changed    1  something failed
  2  metadata service failed, or was late   2  failed, and was put back        2  it could not run
  3  the signer is not trustworthy
  4  this system is not set up for it

Run by hand on a terminal it explains each decision; under sshd it logs only (authpriv).
";

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Print the keys of a user, for sshd.
    Authorize(KeyQuery),
    /// Find out why a user cannot log in, for an administrator.
    Check(check::CheckRequest),
    /// Configure sshd to run eic-keys.
    Enable(wiring::WiringOptions),
    /// Undo `--enable`.
    Disable(wiring::WiringOptions),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// Why the command line is wrong.
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

/// Parses the arguments, without the program name.
///
/// # Errors
/// Fails if the command line is wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut ours: Vec<OsString> = arguments.into_iter().collect();
    let mut typed = Typed {
        chained_command: ours.iter().position(|argument| argument == "--").map(|end| {
            let command = ours.split_off(end);
            command.into_iter().skip(1).collect()
        }),
        ..Typed::default()
    };
    let mut parser = Parser::from_args(ours);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') => return Ok(Command::Help),
            Arg::Short('V') => return Ok(Command::Version),
            Arg::Long("help") => return alone(parser, "--help", Command::Help),
            Arg::Long("version") => return alone(parser, "--version", Command::Version),
            Arg::Long("enable") => typed.verb(Verb::Enable)?,
            Arg::Long("disable") => typed.verb(Verb::Disable)?,
            Arg::Long("check") => typed.verb(Verb::Check)?,
            Arg::Long("dry-run") => typed.dry_run = true,
            Arg::Long("no-chain") => typed.no_chain = true,
            Arg::Long("if-user-missing") => typed.if_user_missing = true,
            Arg::Long("json") => typed.json = true,
            Arg::Long("verbose") => typed.verbose = true,
            Arg::Long("wait") => typed.wait = Some(value(&mut parser, "--wait", whole_seconds)?),
            Arg::Long("trust-store") => typed.trust_store = Some(PathBuf::from(parser.value()?)),
            Arg::Long("timeout") => typed.timeout = Some(value(&mut parser, "--timeout", seconds)?),
            Arg::Long("imds") => typed.imds = Some(value(&mut parser, "--imds", address)?),
            Arg::Value(value) if typed.user.is_none() => typed.user = Some(value),
            Arg::Value(value) if typed.fingerprint.is_none() => typed.fingerprint = Some(value),
            other => return Err(other.unexpected().into()),
        }
    }
    typed.meaning()
}

/// Returns the command of an option without a value. The rest of the command line is ignored, so `--help` always works.
fn alone(mut parser: Parser, option: &str, command: Command) -> Result<Command, UsageError> {
    match parser.optional_value() {
        None => Ok(command),
        Some(value) => Err(UsageError(format!("{option} takes no value: {}", value.to_string_lossy()))),
    }
}

/// Parses the value of an option. The error contains the name of the option.
fn value<T>(
    parser: &mut Parser,
    option: &str,
    read: fn(&str) -> Result<T, &'static str>,
) -> Result<T, UsageError> {
    let value = parser.value()?;
    let text = value.to_string_lossy();
    read(&text).map_err(|reason| UsageError(format!("{option} {text}: {reason}")))
}

/// The arguments as given.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each option without a value")]
struct Typed {
    verb: Option<Verb>,
    user: Option<OsString>,
    fingerprint: Option<OsString>,
    trust_store: Option<PathBuf>,
    timeout: Option<Duration>,
    imds: Option<SocketAddr>,
    dry_run: bool,
    no_chain: bool,
    if_user_missing: bool,
    json: bool,
    verbose: bool,
    wait: Option<Duration>,
    chained_command: Option<Vec<OsString>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Enable,
    Disable,
    Check,
}

impl Typed {
    fn verb(&mut self, verb: Verb) -> Result<(), UsageError> {
        match self.verb.replace(verb) {
            Some(other) if other != verb => {
                Err(UsageError("--enable, --disable and --check exclude each other".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Converts the arguments to a command. Fails if one of them does not belong to that command.
    fn meaning(self) -> Result<Command, UsageError> {
        match self.verb {
            None => self.authorize(),
            Some(Verb::Check) => self.check(),
            Some(Verb::Enable) => self.wire().map(Command::Enable),
            Some(Verb::Disable) if self.no_chain || self.if_user_missing => {
                Err(UsageError("--no-chain and --if-user-missing go with --enable".to_owned()))
            }
            Some(Verb::Disable) => self.wire().map(Command::Disable),
        }
    }

    fn authorize(self) -> Result<Command, UsageError> {
        if self.dry_run || self.no_chain || self.if_user_missing {
            return Err(UsageError(
                "--dry-run, --no-chain and --if-user-missing go with --enable".to_owned(),
            ));
        }
        if self.json || self.verbose {
            return Err(UsageError("--json and --verbose go with --check".to_owned()));
        }
        if self.wait.is_some() {
            return Err(UsageError("--wait goes with --check".to_owned()));
        }
        if self.chained_command.as_ref().is_some_and(Vec::is_empty) {
            return Err(UsageError("a command is missing behind --".to_owned()));
        }
        let fingerprint = self.fingerprint()?;
        Ok(Command::Authorize(KeyQuery {
            user: self.user.ok_or_else(|| UsageError("USER is missing (%u on sshd's line)".to_owned()))?,
            fingerprint,
            trust_store: self.trust_store,
            timeout: self.timeout.unwrap_or(limits::RUN),
            imds: self.imds.map_or_else(|| client::ADDRESSES.to_vec(), |address| vec![address]),
            chained_command: self.chained_command,
        }))
    }

    fn check(self) -> Result<Command, UsageError> {
        if self.chained_command.is_some() || self.dry_run || self.no_chain || self.if_user_missing {
            return Err(UsageError(
                "--check takes no option of --enable, and no command after --".to_owned(),
            ));
        }
        if self.wait.is_some() && self.user.is_none() {
            return Err(UsageError("--wait needs a USER for whom a key is pushed".to_owned()));
        }
        Ok(Command::Check(check::CheckRequest {
            wait: self.wait,
            fingerprint: self.fingerprint()?,
            user: self.user,
            trust_store: self.trust_store,
            timeout: self.timeout,
            imds: self.imds,
            json: self.json,
            verbose: self.verbose,
        }))
    }

    fn fingerprint(&self) -> Result<Option<Fingerprint>, UsageError> {
        let text = self.fingerprint.as_deref().unwrap_or_default();
        Fingerprint::parse(text.as_bytes()).map_err(|_| {
            UsageError("FINGERPRINT is not of the form SHA256:... (%f on sshd's line)".to_owned())
        })
    }

    fn wire(self) -> Result<wiring::WiringOptions, UsageError> {
        let for_sshd = self.trust_store.is_some() || self.timeout.is_some() || self.imds.is_some();
        let for_check = self.json || self.verbose || self.wait.is_some();
        if for_sshd || for_check || self.user.is_some() || self.chained_command.is_some() {
            return Err(UsageError(
                "--enable and --disable take --dry-run, --no-chain and --if-user-missing only".to_owned(),
            ));
        }
        let options = wiring::WiringOptions::system(self.dry_run, !self.no_chain);
        Ok(wiring::WiringOptions { if_user_missing: self.if_user_missing, ..options })
    }
}

/// For arguments that [`parse`] rejects: `Some` if they contain `--check`, with whether they contain `--json`.
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

fn whole_seconds(text: &str) -> Result<Duration, &'static str> {
    let (least, most) = limits::WAIT_RANGE;
    let time = text.parse().ok().map(Duration::from_secs);
    time.filter(|time| (least..=most).contains(time)).ok_or("not a whole number of seconds from 1 to 600")
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    let bracketed = || ip(text.strip_prefix('[')?.strip_suffix(']')?);
    let port = |ip| SocketAddr::new(ip, 80);
    ip(text).or_else(bracketed).map(port).or_else(|| text.parse().ok()).ok_or("not an address, IP or IP:PORT")
}
