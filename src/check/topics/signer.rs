//! Checks the signer, with the steps of `trust`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::body::Bytes;

use super::instance::InstanceLocation;
use super::metadata::failed_request;
use crate::account::{Account, describe_user};
use crate::calendar::DAY;
use crate::check::check_id::CheckId;
use crate::check::fix::CommandWord;
use crate::check::fix::Fix;
use crate::check::package::reinstall_fix;
use crate::check::report::Mark;
use crate::check::request::{CheckTarget, RunOptions};
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::error_text::WithCauses;
use crate::files;
use crate::imds::{Imds, ImdsError};
use crate::limits;
use crate::ocsp_requests::check_revocation;
use crate::path_walk::{UnsafePath, resolve, resolve_root_only};
use crate::run_error::RunError;
use crate::trust::store::{DIRECTORY, LOCATIONS};
use crate::trust::{
    ChainError, OcspError, PathWithRevocation, Signer, SignerError, SignerName, SignerPath, StoreError,
    TrustStore, UnixTime, find_path,
};

/// Days. A certificate that expires sooner gives a warning. AWS renews the signer's certificate much earlier.
const SOON: u64 = 14;

/// Checks the trust store.
pub(crate) async fn store(
    runner: &Runner,
    options: &RunOptions,
    target: &CheckTarget<'_>,
) -> Finding<Arc<TrustStore>> {
    let (root, path) = (target.root.to_owned(), options.trust_store.clone());
    runner
        .check_in_thread(CheckId::SignerStore, (), |()| {
            move || {
                let counted =
                    TrustStore::open(&root, path.as_deref()).and_then(|store| Ok((store.count()?, store)));
                let dangling = TrustStore::dangling_location(&root)
                    .filter(|_| path.is_none())
                    .map(|error| dangling_link(&error));
                match counted {
                    // The package puts a file in the place of such a link.
                    Ok((count, store)) if dangling.is_some() => Answer::warn(
                        format!(
                            "{}, and is used because {}",
                            certificate_count(store.path(), count),
                            dangling.unwrap_or_default()
                        ),
                        reinstall_fix(&root, "ca-certificates"),
                        Arc::new(store),
                    )
                    .marked(Mark::Certificates(count)),
                    Ok((count, store)) if path.is_none() && is_truncated(store.path()) => Answer::warn(
                        format!(
                            "{}, and ends within another one: the file is truncated, as after a full disk",
                            certificate_count(store.path(), count)
                        ),
                        write_again(&root),
                        Arc::new(store),
                    )
                    .marked(Mark::Certificates(count)),
                    Ok((count, store)) => only_root_can_write(certificate_count(store.path(), count), store)
                        .marked(Mark::Certificates(count)),
                    Err(error) => {
                        Answer::fail(unusable(&error), fix_for_store(&root, path.is_some(), &error))
                    }
                }
            }
        })
        .await
}

/// What is wrong with a trust store that is a link.
fn dangling_link(error: &StoreError) -> String {
    match error {
        StoreError::Unreadable(path, reason) if reason.kind() == ErrorKind::NotFound => {
            let target = fs::read_link(path).unwrap_or_default();
            format!("{} is a symbolic link to {}, which does not exist", path.display(), target.display())
        }
        _ => WithCauses(error).to_string(),
    }
}

/// Whether a file of certificates ends within one.
fn is_truncated(path: &Path) -> bool {
    let text = files::read_text(path, limits::TRUST_STORE).unwrap_or_default();
    text.rfind("-----BEGIN CERTIFICATE-----") > text.rfind("-----END CERTIFICATE-----")
}

/// The fix that writes the system's file of certificates again, from those that are installed.
fn write_again(root: &Path) -> Fix {
    if root.join("usr/sbin/update-ca-certificates").exists() {
        Fix::command("update-ca-certificates", [])
    } else if root.join("usr/bin/update-ca-trust").exists() {
        Fix::command("update-ca-trust", [])
    } else {
        reinstall_fix(root, "ca-certificates")
    }
}

/// Whether a file of certificates lacks Amazon's, which Debian's tool would write into it.
fn lacks_root(root: &Path, path: &Path) -> bool {
    const NAME: &str = "mozilla/Amazon_Root_CA_1.crt";
    let listed = files::system_text(root, "/etc/ca-certificates.conf");
    let own = files::system_text(root, &format!("/usr/share/ca-certificates/{NAME}"));
    let text = files::read_text(path, limits::TRUST_STORE).unwrap_or_default();
    // The third line from the end is part of the signature, which no other certificate has.
    own.lines().rev().nth(2).is_some_and(|line| !text.contains(line))
        && listed.lines().any(|line| line == NAME)
}

/// The fix if Amazon's root certificate is not in the trust store.
fn missing_root(root: &Path, store: &TrustStore, named: bool) -> Fix {
    if !named && (is_truncated(store.path()) || lacks_root(root, store.path())) {
        return write_again(root);
    }
    Fix::advice(
        "Amazon's root certificate is missing from the trust store: on Debian and Ubuntu, look for its name with \
         \"!\" in /etc/ca-certificates.conf, remove the \"!\", and run update-ca-certificates; if it is not \
         missing, do not trust the metadata service",
    )
}

/// Describes the number of certificates in a trust store.
pub(crate) fn certificate_count(path: &Path, count: usize) -> String {
    format!("{} holds {count} certificates", path.display())
}

/// Whether only root can change the trust store, by sshd's rules for its command. Anyone else with write access could
/// add a trust anchor.
fn only_root_can_write(note: String, store: TrustStore) -> Answer<Arc<TrustStore>> {
    let store = Arc::new(store);
    let files = store.files().iter().map(PathBuf::as_path);
    let cause = [store.path()].into_iter().chain(files).find_map(|path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        resolve_root_only(&path).err()
    });
    let Some(cause) = cause else { return Answer::ok(note, store) };
    let (what, fix) = match cause {
        UnsafePath::Owner(part, uid) => (
            format!("{} is owned by {}", part.display(), describe_user(uid)),
            Fix::advice(
                "find out who changed it and what it contains; then have root create it again: only root may decide what is trusted",
            ),
        ),
        UnsafePath::Writable(part) => (
            format!("users other than root can write to {}", part.display()),
            Fix::command("chmod go-w", [CommandWord::Path(&part)]),
        ),
        other => (
            WithCauses(&other).to_string(),
            Fix::advice("move the trust store to a place that only root can change"),
        ),
    };
    Answer::warn(format!("{note}, but not only root can change them: {what}"), fix, store)
}

/// The fix that makes a trust store readable for a user, or for everyone: it changes the first path component without
/// access.
pub(crate) fn readable(path: &Path, user: Option<&Account>) -> Fix {
    let by_hand = || {
        Fix::advice(format!(
            "find out why that user cannot read {}: namei(1) shows each directory, and the unit of sshd can hide it (systemctl(1), cat)",
            path.display()
        ))
    };
    let Ok(resolved) = resolve(path, &[0]) else { return by_hand() };
    let mut parts: Vec<_> = resolved.path.ancestors().collect();
    parts.reverse();
    for part in parts {
        let Ok(metadata) = fs::symlink_metadata(part) else { return by_hand() };
        let (bits, words) = match (metadata.is_dir(), part == resolved.path) {
            (true, false) => (1, "chmod a+x"),
            (true, true) => (5, "chmod a+rx"),
            (false, _) => (4, "chmod a+r"),
        };
        let may = user.map_or(metadata.mode() & bits == bits, |user| user.may(bits, &metadata));
        if !may {
            return Fix::command(words, [CommandWord::Path(part)]);
        }
    }
    by_hand()
}

fn fix_for_store(root: &Path, named: bool, error: &StoreError) -> Fix {
    match error {
        _ if named => {
            Fix::advice("set --trust-store to an existing one, or remove the option to use the system's")
        }
        StoreError::Unreadable(path, _) if is_link_to_no_file(path) => {
            // The link itself, not what it leads to.
            Fix::command("rm", [CommandWord::Value(&path.to_string_lossy())])
                .then(reinstall_fix(root, "ca-certificates"))
        }
        StoreError::Unreadable(path, _) => readable(path, None),
        // A container's bind mount of a missing file creates one. No package replaces it.
        StoreError::Empty(path) if is_empty_directory(path) => {
            Fix::command("rmdir", [CommandWord::Path(path)]).then(reinstall_fix(root, "ca-certificates"))
        }
        StoreError::NotFound | StoreError::Empty(_) | StoreError::TooLarge(_) => {
            reinstall_fix(root, "ca-certificates")
        }
    }
}

/// Whether a path is a link to something that is no file, such as /dev/null.
fn is_link_to_no_file(path: &Path) -> bool {
    let leads = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    leads && fs::symlink_metadata(path).is_ok_and(|link| link.is_symlink())
}

/// Whether an empty directory is in the place of a file of certificates.
fn is_empty_directory(path: &Path) -> bool {
    let mut files = LOCATIONS.iter().filter(|location| **location != DIRECTORY);
    let is_of_file = files.any(|location| path.ends_with(location.trim_start_matches('/')));
    let real = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    is_of_file && real && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// What is wrong with the trust store.
fn unusable(error: &StoreError) -> String {
    match error {
        StoreError::Empty(path) if is_empty_directory(path) => {
            format!("the trust store {} is an empty directory, not a file", path.display())
        }
        _ => WithCauses(error).to_string(),
    }
}

/// Verifies the signer.
pub(crate) async fn signer(
    runner: &Runner,
    options: &RunOptions,
    target: &CheckTarget<'_>,
    imds: &Finding<Imds>,
    location: &InstanceLocation,
    store: &Finding<Arc<TrustStore>>,
) -> Finding<Signer> {
    let needs = (imds, &location.region, &location.domain, store);
    let path = runner
        .check(CheckId::SignerPath, needs, async |(imds, region, domain, store)| {
            let name = SignerName::new(region, *domain);
            let chain = imds.signer_chain().await;
            let (store, root, clock) = (Arc::clone(store), target.root.to_owned(), target.clock);
            let named = options.trust_store.is_some();
            // It reads certificates of the trust store.
            blocking(move || match verified_path(chain, &name, &store, clock()) {
                Ok(path) => Answer::ok(format!("{name} leads to {}", path.anchor().name()), path),
                // A removed root certificate is much more likely than a wrong signer.
                Err(
                    error @ RunError::Signer(SignerError::Chain(ChainError::Path(
                        webpki::Error::UnknownIssuer,
                    ))),
                ) => Answer::fail(WithCauses(&error).to_string(), missing_root(&root, &store, named)),
                Err(error) => failed(&error, |error| fix_for_store(&root, named, error)),
            })
            .await
        })
        .await;
    runner.check(CheckId::SignerValidity, &path, async |path| validity(path, (target.clock)())).await;
    runner
        .check(CheckId::SignerOcsp, (imds, &path), async |(imds, path)| {
            revocation(imds, path, target.clock).await
        })
        .await
}

fn verified_path(
    chain: Result<Option<Bytes>, ImdsError>,
    name: &SignerName,
    store: &TrustStore,
    now: UnixTime,
) -> Result<SignerPath, RunError> {
    Ok(find_path(chain?.as_deref(), name, store, now)?)
}

fn validity(path: &SignerPath, now: UnixTime) -> Answer<()> {
    let left = |until: u64| until.saturating_sub(now.as_secs()) / DAY;
    let anchor = (left(path.anchor().not_after()), path.anchor().name());
    let days: Vec<_> = path.certificates().map(|one| (left(one.not_after()), one.name())).collect();
    let detail = days.iter().map(|(days, name)| format!("{name}: {days} days left"));
    let detail: Vec<_> =
        detail.chain([format!("{}: {} days left, the anchor", anchor.1, anchor.0)]).collect();
    let first = days.iter().min().filter(|first| first.0 <= anchor.0).unwrap_or(&anchor);
    let (days, name) = first;
    let note = format!("earliest expiry: {name}, in {days} days");
    let answer = if *days < SOON {
        let fix = if *first == anchor {
            "update the trust store: the package ca-certificates"
        } else {
            "AWS renews them; if this persists, find out what answers requests to the metadata service, and ask AWS"
        };
        Answer::warn(note, Fix::advice(fix), ())
    } else {
        Answer::ok(note, ())
    };
    answer.detail(detail)
}

async fn revocation(imds: &Imds, path: &SignerPath, clock: fn() -> UnixTime) -> Answer<Signer> {
    let checked = match request_ocsp_responses(imds, path, clock).await {
        Ok(checked) => checked,
        Err(error) => return failed(&error, |_| distrust()),
    };
    let now = clock().as_secs();
    let hours = |from: u64, to: u64| to.saturating_sub(from) / 3600;
    let detail: Vec<_> = checked
        .results()
        .map(|(certificate, result)| match result {
            Ok(fresh) => format!(
                "{}: good, {} h old, good for {} h more",
                certificate.name(),
                hours(fresh.this_update, now),
                hours(now, fresh.next_update),
            ),
            Err(error) => format!("{}: its OCSP response {error}", certificate.name()),
        })
        .collect();
    let answer = match checked.signer() {
        Ok(signer) => Answer::ok(
            format!("each of {} certificates has an OCSP response with the status good", detail.len()),
            signer,
        ),
        Err(error @ SignerError::OcspResponse { error: OcspError::Stale | OcspError::NotYetValid, .. }) => {
            Answer::fail(
                error.to_string(),
                Fix::advice("check the clock; OCSP responses are renewed every few hours"),
            )
        }
        Err(error) => Answer::fail(WithCauses(&error).to_string(), distrust()),
    };
    answer.detail(detail)
}

async fn request_ocsp_responses(
    imds: &Imds,
    path: &SignerPath,
    clock: fn() -> UnixTime,
) -> Result<PathWithRevocation, RunError> {
    let list = imds.ocsp_names().await?;
    check_revocation(imds, path.clone(), list.as_deref(), clock).await
}

/// The answer for an error that a login would also have. `fix_for_store` is the fix for a trust store that cannot be used.
fn failed<T>(error: &RunError, fix_for_store: impl FnOnce(&StoreError) -> Fix) -> Answer<T> {
    match error {
        RunError::Metadata(error) => failed_request(error),
        RunError::Signer(SignerError::Store(store)) => {
            Answer::fail(WithCauses(error).to_string(), fix_for_store(store))
        }
        RunError::Signer(SignerError::Chain(ChainError::Path(
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. },
        ))) => {
            let fix = Fix::advice(format!(
                "check the clock: see {}; if it is right, {DISTRUST}",
                CheckId::ClockOffset
            ));
            Answer::fail(WithCauses(error).to_string(), fix)
        }
        _ => Answer::fail(WithCauses(error).to_string(), distrust()),
    }
}

const DISTRUST: &str =
    "do not trust pushed keys: something else may answer in place of the metadata service; ask AWS";

fn distrust() -> Fix {
    Fix::advice(DISTRUST)
}
