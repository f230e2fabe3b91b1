//! The procedure that finds the keys that can log in as a user now.
//!
//! The order of the steps keeps the frequent cases fast: for a user with an ordinary key, and for a scanner, the run ends after two
//! requests. The signer is requested only if a record with the right fingerprint, instance and time exists.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use crate::ec2::{Domain, InstanceId, UserName};
use crate::escape::Escaped;
use crate::host::Host;
use crate::imds::{Connections, Imds};
use crate::key_output;
use crate::keys::{AuthorizedKey, Fingerprint, Refusal, Selected, UnverifiedKey, select};
use crate::limits::{self, Budget};
use crate::log_lines::{NOT_EC2, describe, not_pushed, provided, provided_for, refuse};
use crate::ocsp_requests::check_revocation;
use crate::principal::Principals;
use crate::run_error::RunError;
use crate::run_log::RunLog;
use crate::sandbox::{Allowed, Layer};
use crate::syslog::Severity;
use crate::trust::{SignerError, SignerName, StoreError, TrustStore, UnixTime, find_path};

/// Number of requests of each run: the token and the active keys.
const FIRST_REQUESTS: usize = 2;

/// The query from the command line.
#[derive(Clone, Debug)]
pub struct KeyQuery {
    /// The user to find keys for. Untrusted: a client chooses which of the existing users it is.
    pub user: OsString,
    /// The key that the client offers; `None` if unknown.
    pub fingerprint: Option<Fingerprint>,
    /// The path of the trust store; `None` for the system's.
    pub trust_store: Option<PathBuf>,
    /// The IAM principals whose keys are accepted.
    pub principals: Principals,
    /// Time limit of the whole run.
    pub timeout: Duration,
    /// Addresses of IMDS, in the order to try.
    pub imds: Vec<SocketAddr>,
    /// The chained command: program and arguments.
    pub chained_command: Option<Vec<OsString>>,
}

/// The system that a run works on.
#[derive(Debug)]
pub struct RunContext<'a> {
    /// Root of its file system: `/`.
    pub root: &'a Path,
    /// Its clock.
    pub clock: fn() -> UnixTime,
    /// Drops all rights that the process no longer needs, before the first request: [`crate::sandbox::enter`].
    pub sandbox: fn(&Allowed<'_>) -> Vec<Layer>,
    /// Its log.
    pub log: &'a RunLog,
}

/// Number of records pushed for the user, and of keys printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) records: usize,
    pub(crate) printed: usize,
}

/// Finds, verifies and prints the keys. `child` is the chained command.
pub(crate) async fn authorize(
    query: &KeyQuery,
    context: &RunContext<'_>,
    child: Option<u32>,
    out: &mut (impl Write + AsFd),
) -> Result<Counts, RunError> {
    let log = context.log;
    let mut counts = Counts::default();
    let Some(user) = UserName::parse(query.user.as_bytes()) else {
        let user = Escaped(query.user.as_bytes());
        log.to_terminal(&format!("EC2 Instance Connect does not accept the user name {user}"));
        return Ok(counts);
    };
    let firmware = match Host::identify(context.root) {
        Host::Nitro(id) => Some(id),
        Host::Xen => None,
        Host::NotEc2 => {
            log.write(Severity::Notice, NOT_EC2);
            return Ok(counts);
        }
    };
    // Start connections before the sandbox. No data is read from them until the sandbox is active.
    let connections = Connections::begin(&query.imds, FIRST_REQUESTS);
    let store = TrustStore::open(context.root, query.trust_store.as_deref());
    let parent = parent_id();
    enter_sandbox(query, context, child, &store);

    let imds = Imds::open_over(connections, &query.imds, Budget::start(query.timeout)).await?;
    let text = imds.active_keys(&user).await?.unwrap_or_default();
    let records = select_offered(&text, query.fingerprint.as_ref(), &user, log, &mut counts);
    if counts.records == 0 {
        log.to_terminal(&format!("no key was pushed for {user} in the last 60 seconds"));
    }
    if records.is_empty() {
        return Ok(counts);
    }
    let id = match &firmware {
        Some(id) => id.clone(),
        None => imds.instance_id().await?,
    };
    let valid =
        retain(records, &user, log, |key| key.check_conditions(&id, &query.principals, (context.clock)()));
    if valid.is_empty() {
        return Ok(counts);
    }

    let in_firmware = firmware.is_some();
    let verification =
        KeyVerification { query, context, imds: &imds, user: &user, instance: &id, in_firmware, store };
    let authorized = boxed(|| verification.run(valid)).await?;
    key_output::keys(&authorized, out).map_err(RunError::Output)?;
    for key in &authorized {
        log.write(Severity::Info, &provided(key));
        log.write(Severity::Info, &provided_for(key, &user, parent));
    }
    counts.printed = authorized.len();
    Ok(counts)
}

/// What the verification of keys needs besides them.
struct KeyVerification<'a> {
    query: &'a KeyQuery,
    context: &'a RunContext<'a>,
    imds: &'a Imds,
    user: &'a UserName,
    /// The instance that the keys are for.
    instance: &'a InstanceId,
    /// Whether that is the one in the firmware. On Xen, it is from the metadata service.
    in_firmware: bool,
    store: Result<TrustStore, StoreError>,
}

impl KeyVerification<'_> {
    /// Requests the signer, and verifies the keys with it.
    async fn run(self, valid: Vec<UnverifiedKey<'_>>) -> Result<Vec<AuthorizedKey<'_>>, RunError> {
        let Self { query, context: RunContext { clock, log, .. }, imds, user, instance, .. } = self;
        // The id in the firmware is compared with that of the metadata service.
        let reported_id =
            async { if self.in_firmware { imds.instance_id().await } else { Ok(instance.clone()) } };
        let (reported_id, region, domain, chain, ocsp_names) = tokio::try_join!(
            reported_id,
            imds.region(),
            imds.domain(),
            imds.signer_chain(),
            imds.ocsp_names(),
        )?;
        let valid = retain(valid, user, log, |_| {
            if reported_id == *instance { Ok(()) } else { Err(Refusal::OtherService(reported_id.clone())) }
        });
        let mut authorized = Vec::new();
        if valid.is_empty() {
            return Ok(authorized);
        }
        let name = SignerName::new(&region, Domain::parse(&domain)?);
        let path = find_path(chain.as_deref(), &name, &self.store.map_err(SignerError::Store)?, clock())?;
        let signer = check_revocation(imds, path, ocsp_names.as_deref(), *clock).await?.signer()?;
        for key in valid {
            let description = describe(&key);
            // Check the time again: a key can expire during the requests.
            match key.verify_and_check(&signer, instance, &query.principals, clock()) {
                Ok(key) => authorized.push(key),
                Err(reason) => refuse(log, user, &reason, Some(&description)),
            }
        }
        Ok(authorized)
    }
}

/// Boxes the future of steps that most runs do not reach, so that these runs do not touch its memory.
#[inline(never)]
fn boxed<'a, F: Future + 'a>(steps: impl FnOnce() -> F) -> Pin<Box<dyn Future<Output = F::Output> + 'a>> {
    Box::pin(steps())
}

/// Limits the process to what the rest of its job needs.
fn enter_sandbox(
    query: &KeyQuery,
    context: &RunContext<'_>,
    child: Option<u32>,
    store: &Result<TrustStore, StoreError>,
) {
    let ports: Vec<u16> = query.imds.iter().map(SocketAddr::port).collect();
    let opens_files = store.as_ref().is_ok_and(TrustStore::opens_files);
    // A directory of links can point anywhere.
    let files = opens_files.then_some(context.root);
    for layer in (context.sandbox)(&Allowed { ports: &ports, files, child }) {
        if let Err(error) = layer.active {
            context.log.to_terminal(&format!("this process is not confined by {}: {error}", layer.name));
        }
    }
}

/// Returns the readable records of `text` whose key is the one that the client offers.
fn select_offered<'a>(
    text: &'a [u8],
    fingerprint: Option<&Fingerprint>,
    user: &UserName,
    log: &RunLog,
    counts: &mut Counts,
) -> Vec<UnverifiedKey<'a>> {
    let (mut records, mut others) = (Vec::new(), Vec::new());
    for record in select(text, fingerprint) {
        counts.records = counts.records.saturating_add(1).min(limits::RECORDS);
        match record {
            Selected::Offered(key) => records.push(key),
            Selected::Refused(reason) => refuse(log, user, &reason, None),
            Selected::NotOffered(key) => {
                log.to_terminal(&format!(
                    "the key {} was pushed for {user}, but is not the one offered",
                    key.fingerprint()
                ));
                others.push(key);
            }
        }
    }
    // A client offers its keys one after the other. If none of them is the pushed one, --check tells it from this line.
    if let (true, false, Some(fingerprint)) = (records.is_empty(), others.is_empty(), fingerprint) {
        log.to_syslog(Severity::Info, &not_pushed(user, fingerprint, &others));
    }
    records
}

/// Keeps the keys that pass `check`, and logs the reason for each other key.
fn retain<'a>(
    mut keys: Vec<UnverifiedKey<'a>>,
    user: &UserName,
    log: &RunLog,
    check: impl Fn(&UnverifiedKey<'a>) -> Result<(), Refusal>,
) -> Vec<UnverifiedKey<'a>> {
    keys.retain(|key| {
        check(key).inspect_err(|reason| refuse(log, user, reason, Some(&describe(key)))).is_ok()
    });
    keys
}
