//! The procedure: which keys may log in as this user, now?
//!
//! The order makes it fast: for a user with an ordinary key, and for a scanner, it ends after two requests. Who signed is asked
//! only when a record with the right fingerprint, instance and time is waiting.

use std::borrow::Borrow;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::body::Bytes;

use crate::audit::{Audit, Escaped, Severity};
use crate::confine::{Layer, Needs};
use crate::host::Host;
use crate::imds::facts::UserName;
use crate::imds::{self, Connections, Imds};
use crate::keys::{Fingerprint, Refusal, SignedKey, blob};
use crate::limits::{self, Budget};
use crate::next::{Ending, Next};
use crate::output;
use crate::trust::chain::{SignerChain, SignerName};
use crate::trust::{ChainError, SignerError, StoreError, TrustStore, UnixTime};

/// The requests of the frequent cases: the token, the active keys.
const FREQUENT: usize = 2;

/// What sshd asks, as it stands on the command line.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whom the keys are for. Untrusted: anybody who connects chooses it.
    pub user: OsString,
    /// The key that the client offers; `None` where that is not known.
    pub fingerprint: Option<Fingerprint>,
    /// Where the anchors are; `None` for the system's own.
    pub trust_store: Option<PathBuf>,
    /// The whole run.
    pub timeout: Duration,
    /// Where IMDS may listen, in the order tried.
    pub imds: Vec<SocketAddr>,
    /// The AuthorizedKeysCommand that was there before us: program and arguments.
    pub next: Option<Vec<OsString>>,
}

/// The system that a run sees.
#[derive(Debug)]
pub struct System<'a> {
    /// Where its files are: `/`.
    pub root: &'a Path,
    /// Its clock.
    pub clock: fn() -> UnixTime,
    /// What takes from the process, before the first request, all but what it still needs: [`crate::confine::confine`].
    pub confine: fn(&Needs<'_>) -> Vec<Layer>,
    /// Its log.
    pub audit: &'a Audit,
}

/// Why a run failed. Without keys it ends with the status of [`Error::status`].
#[derive(Debug)]
pub enum Error {
    /// The metadata service did not answer as it should, or not in time.
    Metadata(imds::Error),
    /// The signer is not trustworthy.
    Signer(SignerError),
    /// IMDS names a domain that belongs to no partition. Remote text.
    Domain(Bytes),
    /// There is no trust store to use.
    TrustStore(StoreError),
    /// The keys could not be written.
    Output(io::Error),
    /// The system lacks what a run needs: file descriptors, say.
    Resources(io::Error),
}

impl Error {
    /// The exit status that tells sshd's log of it.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Metadata(_) => 2,
            Self::Signer(_) | Self::Domain(_) => 3,
            Self::TrustStore(_) | Self::Output(_) | Self::Resources(_) => 4,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(error) => error.fmt(f),
            Self::Signer(error) => error.fmt(f),
            Self::Domain(domain) => {
                write!(f, "the metadata service's domain is no AWS partition's: {}", Escaped(domain))
            }
            Self::TrustStore(error) => error.fmt(f),
            Self::Output(error) => write!(f, "the keys could not be written: {error}"),
            Self::Resources(error) => write!(f, "this system lacks what a run needs: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<imds::Error> for Error {
    fn from(error: imds::Error) -> Self {
        Self::Metadata(error)
    }
}

impl From<SignerError> for Error {
    fn from(error: SignerError) -> Self {
        Self::Signer(error)
    }
}

impl From<ChainError> for Error {
    fn from(error: ChainError) -> Self {
        Self::Signer(error.into())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::TrustStore(error)
    }
}

/// What became of the records that were pushed for the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    records: usize,
    printed: usize,
}

/// Does the whole job: our keys to `out`, then those of the command behind `--`. Gives the exit status.
pub fn run<W: Write + AsFd>(request: &Request, system: &System<'_>, mut out: W) -> u8 {
    let audit = system.audit;
    let next = request.next.as_deref().map(|command| Next::start(system.root, command));
    let child = next.as_ref().and_then(|next| next.as_ref().ok()).map(Next::id);
    let ours = block_on(authorize(request, system, child, &mut out));
    let user = Escaped(request.user.as_bytes());
    match &ours {
        Ok(Outcome { records: 0, .. }) => {}
        Ok(Outcome { records, printed }) => {
            audit.explain(&format!("{printed} of {records} records pushed for {user} gave a key"));
        }
        Err(error) => audit.log(Severity::Warning, &format!("No key for {user}: {error}")),
    }
    let status = match &ours {
        Ok(_) => 0,
        Err(error) => error.status(),
    };
    let printed = ours.as_ref().is_ok_and(|outcome| outcome.printed > 0);
    match next {
        None => status,
        // What is on the pipe already may be half a key: sshd has to drop it all.
        Some(_) if matches!(ours, Err(Error::Output(_))) => status,
        Some(next) => match next.and_then(|mut next| next.finish(&out)) {
            Ok(Ending::Unwanted) => 0,
            Ok(Ending::Keys(keys)) => match output::bytes(&keys, &mut out) {
                Ok(()) if printed || !keys.is_empty() => 0,
                Ok(()) => status,
                Err(error) => {
                    let error = Error::Output(error);
                    audit.log(Severity::Warning, &format!("No key for {user}: {error}"));
                    error.status()
                }
            },
            Err(failure) => {
                audit.log(Severity::Warning, &format!("The command behind -- {failure}"));
                if printed { 0 } else { failure.status() }
            }
        },
    }
}

fn block_on(run: impl Future<Output = Result<Outcome, Error>>) -> Result<Outcome, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Resources)?
        .block_on(run)
}

/// From the question to the keys on `out`.
async fn authorize(
    request: &Request,
    system: &System<'_>,
    child: Option<u32>,
    out: &mut (impl Write + AsFd),
) -> Result<Outcome, Error> {
    let audit = system.audit;
    let mut outcome = Outcome::default();
    let Some(user) = UserName::parse(request.user.as_bytes()) else {
        let user = Escaped(request.user.as_bytes());
        audit.explain(&format!("EC2 Instance Connect takes no keys for a user named {user}"));
        return Ok(outcome);
    };
    let firmware = match Host::identify(system.root) {
        Host::Nitro(id) => Some(id),
        Host::Xen => None,
        Host::NotEc2 => {
            audit.log(Severity::Notice, "This is not an EC2 instance: nobody was asked for keys");
            return Ok(outcome);
        }
    };
    // They are there when the sandbox is. Nothing that comes over them is looked at before.
    let connections = Connections::begin(&request.imds, FREQUENT);
    let store = TrustStore::open(system.root, request.trust_store.as_deref());
    confine(request, system, child, &store);

    let imds = Imds::open_over(connections, &request.imds, Budget::start(request.timeout)).await?;
    let text = imds.active_keys(&user).await?.unwrap_or_default();
    let offered = offered(&text, request.fingerprint.as_ref(), &user, audit, &mut outcome);
    if outcome.records == 0 {
        audit.explain(&format!("no key was pushed for {user} in the last 60 seconds"));
    }
    if offered.is_empty() {
        return Ok(outcome);
    }
    let id = match &firmware {
        Some(id) => id.clone(),
        None => imds.instance_id().await?,
    };
    let waiting = retain(offered, &user, audit, |key| key.still_for(&id, (system.clock)()));
    if waiting.is_empty() {
        return Ok(outcome);
    }

    let same_instance = async { if firmware.is_some() { imds.instance_id().await } else { Ok(id.clone()) } };
    let (told, region, domain, chain, list) = tokio::try_join!(
        same_instance,
        imds.region(),
        imds.domain(),
        imds.signer_chain(),
        imds.staple_names(),
    )?;
    let waiting = retain(waiting, &user, audit, |_| {
        if told == id { Ok(()) } else { Err(Refusal::ForeignService(told.clone())) }
    });
    if waiting.is_empty() {
        return Ok(outcome);
    }
    let name = SignerName::new(&region, domain.map_err(Error::Domain)?);
    let chain = SignerChain::read(&chain.ok_or(SignerError::NoChain)?)?;
    let path = chain.path(&name, &store?, (system.clock)())??;
    let list = list.unwrap_or_default();
    let staples = staples(&imds, path.staple_names(&list)?).await?;
    let signer = path.prove(&staples, (system.clock)())?;

    let mut verified = Vec::new();
    for key in waiting {
        let named = describe(&key);
        match key.verify(&signer) {
            Ok(key) => verified.push(key),
            Err(_) => refuse(audit, &user, &Refusal::Forged(name.clone()), &named),
        }
    }
    // The requests took their time; a key that ran out meanwhile is not given.
    let verified = retain(verified, &user, audit, |key| key.still_for(&id, (system.clock)()));
    output::keys(&verified, out).map_err(Error::Output)?;
    for key in &verified {
        audit.log(Severity::Info, &provided(key));
    }
    outcome.printed = verified.len();
    Ok(outcome)
}

/// From here on the process can do little else than what is left of its job.
fn confine(
    request: &Request,
    system: &System<'_>,
    child: Option<u32>,
    store: &Result<TrustStore, StoreError>,
) {
    let ports: Vec<u16> = request.imds.iter().map(SocketAddr::port).collect();
    let opens_files = store.as_ref().is_ok_and(TrustStore::opens_files);
    // A directory of links may lead anywhere.
    let files = opens_files.then_some(system.root);
    for layer in (system.confine)(&Needs { ports: &ports, files, child }) {
        if let Err(error) = layer.held {
            system.audit.explain(&format!("this process is not confined by {}: {error}", layer.name));
        }
    }
}

/// The records of `text` that can be read and are for the key that the client offers.
fn offered<'a>(
    text: &'a [u8],
    fingerprint: Option<&Fingerprint>,
    user: &UserName,
    audit: &Audit,
    outcome: &mut Outcome,
) -> Vec<SignedKey<'a>> {
    let mut records = blob::records(text);
    let mut offered = Vec::new();
    for record in records.by_ref().take(limits::RECORDS) {
        outcome.records = outcome.records.saturating_add(1);
        match record {
            Err(damage) => refuse(audit, user, &Refusal::Damaged(damage), ""),
            Ok(key) if fingerprint.is_none_or(|fingerprint| fingerprint == key.fingerprint()) => {
                offered.push(key);
            }
            // An everyday thing: a client offers one key after the other.
            Ok(key) => audit.explain(&format!(
                "the key {} was pushed for {user}, but is not the one offered",
                key.fingerprint()
            )),
        }
    }
    if records.next().is_some() {
        refuse(audit, user, &Refusal::TooMany(limits::RECORDS), "");
    }
    offered
}

/// Keeps the keys that pass `check`, and logs why the others do not.
fn retain<'a, K: Borrow<SignedKey<'a>>>(
    mut keys: Vec<K>,
    user: &UserName,
    audit: &Audit,
    check: impl Fn(&SignedKey<'a>) -> Result<(), Refusal>,
) -> Vec<K> {
    keys.retain(|key| {
        check(key.borrow()).inspect_err(|reason| refuse(audit, user, reason, &describe(key.borrow()))).is_ok()
    });
    keys
}

/// The staples of those names, asked for side by side, in their order.
pub(crate) async fn staples(imds: &Imds, names: Vec<&str>) -> Result<Vec<Option<Bytes>>, Error> {
    let asked: Vec<_> = names
        .into_iter()
        .map(|name| {
            let (imds, name) = (imds.clone(), name.to_owned());
            tokio::spawn(async move { imds.staple(&name).await })
        })
        .collect();
    let mut staples = Vec::new();
    for staple in asked {
        staples.push(staple.await.map_err(|error| Error::Resources(error.into()))??);
    }
    Ok(staples)
}

fn refuse(audit: &Audit, user: &UserName, reason: &Refusal, key: &str) {
    audit.log(Severity::Notice, &format!("Refused a record of active keys for {user}: {reason}{key}"));
}

/// Which key it is, in the words of the success line.
fn describe(key: &SignedKey<'_>) -> String {
    let field = |name, value: Option<&[u8]>| match value {
        Some(value) if !value.is_empty() => format!(", {name}: {}", Escaped(value)),
        _ => String::new(),
    };
    let request = field("request-id", key.request());
    let caller = field("for IAM principal", key.caller());
    format!(", fingerprint: {}{request}{caller}", key.fingerprint())
}

/// The reference's success line, which people's log filters match.
fn provided(key: &SignedKey<'_>) -> String {
    format!("Providing ssh key from EC2 Instance Connect with{}", describe(key).trim_start_matches(','))
}
