//! Checks the signer, with the steps of `trust`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hyper::body::Bytes;

use super::instance::Place;
use super::metadata::unasked;
use crate::authorize;
use crate::check::account::{Account, account_of};
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::fix::Word;
use crate::check::package::reinstall;
use crate::check::request::{RunOptions, Target};
use crate::check::runner::{Answer, Finding, Runner};
use crate::imds::Imds;
use crate::path_walk::{Danger, follow, roots_alone};
use crate::trust::chain::{SignerChain, SignerName, SignerPath};
use crate::trust::{ChainError, OcspError, Signer, SignerError, StoreError, TrustStore, UnixTime};

const DAY: u64 = 24 * 60 * 60;
/// Days. A certificate that expires sooner gives a warning. AWS renews the signer's certificate much earlier.
const SOON: u64 = 14;

/// The signer and its expected name.
pub(crate) type Proved = (Signer, SignerName);

/// Checks the trust store.
pub(crate) async fn store(runner: &Runner, options: &RunOptions, target: &Target<'_>) -> Finding<TrustStore> {
    let (root, path) = (target.root.to_owned(), options.trust_store.clone());
    runner
        .check(CheckId::SignerStore, (), async |()| {
            crate::check::runner::blocking(move || {
                let counted =
                    TrustStore::open(&root, path.as_deref()).and_then(|store| Ok((store.count()?, store)));
                match counted {
                    Ok((count, store)) => alone(held(store.path(), count), store),
                    Err(error) => Answer::fail(error.to_string(), renew(&root, path.is_some(), &error)),
                }
            })
            .await
        })
        .await
}

/// Describes the number of certificates in a trust store.
pub(crate) fn held(path: &Path, count: usize) -> String {
    format!("{} holds {count} certificates", path.display())
}

/// Whether only root can change the trust store, by sshd's rules for its command. Anyone else with write access could
/// add a trust anchor.
fn alone(note: String, store: TrustStore) -> Answer<TrustStore> {
    let files = store.files().iter().map(PathBuf::as_path);
    let danger = [store.path()].into_iter().chain(files).find_map(|path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        roots_alone(&path).err()
    });
    let Some(danger) = danger else { return Answer::ok(note, store) };
    let (what, fix) = match danger {
        Danger::Owner(part, uid) => (
            format!("{} is owned by {}", part.display(), account_of(uid)),
            Fix::advice(
                "see who changed it, and what it holds; then have root make it anew: only root may decide what is trusted",
            ),
        ),
        Danger::Writable(part) => (
            format!("others than root may write to {}", part.display()),
            Fix::command("chmod go-w", [Word::Path(&part)]),
        ),
        other => {
            (other.to_string(), Fix::advice("have the trust store where only root can change what it holds"))
        }
    };
    Answer::warn(format!("{note}, but others than root decide which: {what}"), fix, store)
}

/// The fix that makes a trust store readable for a user, or for everyone: it changes the first path component without
/// access.
pub(crate) fn readable(path: &Path, user: Option<&Account>) -> Fix {
    let by_hand = || {
        Fix::advice(format!(
            "see what keeps that user from {}: namei -l shows each step of the way",
            path.display()
        ))
    };
    let Ok(way) = follow(path, &[0]) else { return by_hand() };
    let mut parts: Vec<_> = way.path.ancestors().collect();
    parts.reverse();
    for part in parts {
        let Ok(metadata) = fs::symlink_metadata(part) else { return by_hand() };
        let (bits, words) = match (metadata.is_dir(), part == way.path) {
            (true, false) => (1, "chmod a+x"),
            (true, true) => (5, "chmod a+rx"),
            (false, _) => (4, "chmod a+r"),
        };
        let may = user.map_or(metadata.mode() & bits == bits, |user| user.may(bits, &metadata));
        if !may {
            return Fix::command(words, [Word::Path(part)]);
        }
    }
    by_hand()
}

fn renew(root: &Path, named: bool, error: &StoreError) -> Fix {
    match error {
        _ if named => Fix::advice(
            "name one that is there with --trust-store, or leave that out: then the system's counts",
        ),
        StoreError::Unreadable(path, _) => readable(path, None),
        StoreError::NotFound | StoreError::Empty(_) | StoreError::TooLarge(_) => {
            reinstall(root, "ca-certificates")
        }
    }
}

/// Verifies the signer.
pub(crate) async fn signer(
    runner: &Runner,
    options: &RunOptions,
    target: &Target<'_>,
    session: &Finding<Imds>,
    place: &Place,
    store: &Finding<TrustStore>,
) -> Finding<Proved> {
    let needs = (session, &place.region, &place.domain, store);
    let path = runner
        .check(CheckId::SignerPath, needs, async |(imds, region, domain, store)| {
            let name = SignerName::new(region, *domain);
            match find_path(imds, &name, store, (target.clock)()).await {
                Ok(path) => Answer::ok(format!("{name} leads to {}", path.anchor().name()), (path, name)),
                Err(authorize::Error::TrustStore(error)) => {
                    Answer::fail(error.to_string(), renew(target.root, options.trust_store.is_some(), &error))
                }
                Err(authorize::Error::Metadata(error)) => unasked(&error),
                // A removed root certificate is much more likely than a wrong signer.
                Err(
                    error @ authorize::Error::Signer(SignerError::Chain(ChainError::Path(
                        webpki::Error::UnknownIssuer,
                    ))),
                ) => Answer::fail(
                    error.to_string(),
                    Fix::advice(
                        "Amazon's root certificate is missing from the trust store: on Debian and Ubuntu, look for its \
                         name with \"!\" in /etc/ca-certificates.conf, remove the \"!\", and run \
                         update-ca-certificates; if it is not missing, do not trust the metadata service",
                    ),
                ),
                Err(error) => Answer::fail(error.to_string(), distrust()),
            }
        })
        .await;
    runner.check(CheckId::SignerValidity, &path, async |(path, _)| validity(path, (target.clock)())).await;
    runner
        .check(CheckId::SignerOcsp, (session, &path), async |(imds, (path, name))| {
            ocsp_responses(imds, path, name, (target.clock)()).await
        })
        .await
}

async fn find_path(
    imds: &Imds,
    name: &SignerName,
    store: &TrustStore,
    now: UnixTime,
) -> Result<SignerPath, authorize::Error> {
    let chain = imds.signer_chain().await?.ok_or(SignerError::NoChain)?;
    Ok(SignerChain::read(&chain)?.path(name, store, now)?)
}

fn validity(path: &SignerPath, now: UnixTime) -> Answer<()> {
    let left = |until: u64| until.saturating_sub(now.as_secs()) / DAY;
    let days: Vec<_> = path.certificates().map(|one| (left(one.not_after()), one.name())).collect();
    let detail = days.iter().map(|(days, name)| format!("{name}: {days} days left"));
    let detail: Vec<_> = detail
        .chain([format!(
            "{}: {} days left, the anchor",
            path.anchor().name(),
            left(path.anchor().not_after())
        )])
        .collect();
    let Some((days, name)) = days.iter().min() else { return Answer::skip("there is no certificate") };
    let note = format!("earliest expiry: {name}, in {days} days");
    let answer = if *days < SOON {
        let fix = Fix::advice(
            "AWS renews them: if this stays so, find out who answers for the metadata service, and ask AWS",
        );
        Answer::warn(note, fix, ())
    } else {
        Answer::ok(note, ())
    };
    answer.detail(detail)
}

async fn ocsp_responses(imds: &Imds, path: &SignerPath, name: &SignerName, now: UnixTime) -> Answer<Proved> {
    let ocsp_responses = match fetch(imds, path).await {
        Ok(ocsp_responses) => ocsp_responses,
        Err(authorize::Error::Metadata(error)) => return unasked(&error),
        Err(error) => return Answer::fail(error.to_string(), distrust()),
    };
    let hours = |from: u64, to: u64| to.saturating_sub(from) / 3600;
    let detail: Vec<_> = path
        .revocations(&ocsp_responses, now)
        .map(|(certificate, result)| match result {
            Ok(fresh) => format!(
                "{}: good, {} h old, good for {} h more",
                certificate.name(),
                hours(fresh.this_update, now.as_secs()),
                hours(now.as_secs(), fresh.next_update),
            ),
            Err(error) => format!("{}: its OCSP response {error}", certificate.name()),
        })
        .collect();
    let answer = match path.clone().prove(&ocsp_responses, now) {
        Ok(signer) => Answer::ok(
            format!("each of {} certificates has an OCSP response that proves it good", ocsp_responses.len()),
            (signer, name.clone()),
        ),
        Err(error @ SignerError::OcspResponse { error: OcspError::Stale | OcspError::NotYetValid, .. }) => {
            Answer::fail(
                error.to_string(),
                Fix::advice("see that the clock is right; OCSP responses come anew every few hours"),
            )
        }
        Err(error) => Answer::fail(error.to_string(), distrust()),
    };
    answer.detail(detail)
}

async fn fetch(imds: &Imds, path: &SignerPath) -> Result<Vec<Option<Bytes>>, authorize::Error> {
    let list = imds.ocsp_names().await?.unwrap_or_default();
    authorize::ocsp_responses(imds, path.ocsp_names(&list)?).await
}

fn distrust() -> Fix {
    Fix::advice(
        "do not trust pushed keys: something else may answer in place of the metadata service; ask AWS",
    )
}
