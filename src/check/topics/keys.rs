//! Checks the keys that are pushed for the user.

use std::fmt;

use hyper::body::Bytes;

use super::accepted_keys::accepted;
use super::instance::InstanceLocation;
use super::metadata::failed_request;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::report::Mark;
use crate::check::request::{CheckRequest, CheckTarget};
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::settings::Settings;
use crate::ec2::{InstanceId, UserName};
use crate::imds::Imds;
use crate::keys::record::{self, RecordError};
use crate::keys::{Fingerprint, Refusal, Selected, UnverifiedKey, select};
use crate::limits;
use crate::principal::Principals;
use crate::trust::{Signer, UnixTime};

/// What the answer depends on besides the records.
pub(crate) struct KeyRules<'a> {
    pub(crate) request: &'a CheckRequest,
    pub(crate) principals: &'a Principals,
    pub(crate) settings: &'a Finding<Settings>,
}

/// A pushed key that eic-keys would print for sshd.
#[derive(Clone, Debug)]
pub(crate) struct ValidKey {
    pub(crate) fingerprint: String,
    pub(crate) key_type: String,
    pub(crate) base64: String,
    pub(crate) expiry: u64,
}

/// Requests the user's records and validates each, as a login does. Returns the keys that sshd would get.
pub(crate) async fn keys(
    runner: &Runner,
    rules: &KeyRules<'_>,
    target: &CheckTarget<'_>,
    name: &Finding<UserName>,
    imds: &Finding<Imds>,
    location: &InstanceLocation,
    signer: &Finding<Signer>,
) -> Finding<Vec<ValidKey>> {
    let pushed = pushed(runner, rules.request, imds, name).await;
    let text = runner
        .check(CheckId::KeysRecords, (&pushed, &location.id), async |(text, id)| {
            records(text, id, rules, (target.clock)())
        })
        .await;
    let printed = runner
        .check(CheckId::KeysSignatures, (&text, &location.id, signer), async |(text, id, signer)| {
            signatures(text, id, rules, (target.clock)(), signer)
        })
        .await;
    runner
        .check_in_thread(
            CheckId::KeysAccepted,
            (&text, &location.id, rules.settings),
            |(text, id, settings)| {
                let (text, id, settings) = (text.clone(), id.clone(), settings.clone());
                let (offered, principals) = (rules.request.fingerprint.clone(), rules.principals.clone());
                let (root, now) = (target.root.to_owned(), (target.clock)());
                move || {
                    let keys = checked_records(&text, &id, offered.as_ref(), &principals, now).into_iter();
                    let keys = keys
                        .filter(|one| matches!(one.verdict, RecordVerdict::Valid))
                        .filter_map(|one| one.key);
                    match keys.collect::<Vec<_>>().as_slice() {
                        [] => Answer::skip("there is no valid key to check"),
                        keys => accepted(keys, &settings, &root),
                    }
                }
            },
        )
        .await;
    printed
}

async fn pushed(
    runner: &Runner,
    request: &CheckRequest,
    imds: &Finding<Imds>,
    name: &Finding<UserName>,
) -> Finding<Bytes> {
    runner
        .check(CheckId::KeysPushed, (imds, name), async |(imds, name)| match imds.active_keys(name).await {
            Err(error) => failed_request(&error),
            Ok(None) if request.wait.is_some() => nothing_arrived(name, request),
            Ok(None) => nothing(name, &imds.users_with_keys().await),
            Ok(Some(text)) => match record::records(&text).count() {
                0 => nothing(name, &[]),
                1 => Answer::ok(format!("1 record is pushed for {name}"), text),
                count => Answer::ok(format!("{count} records are pushed for {name}"), text),
            },
        })
        .await
}

/// The result if `--wait` waited and no key came: the push itself failed, or was for another user or instance.
fn nothing_arrived(name: &UserName, request: &CheckRequest) -> Answer<Bytes> {
    let seconds = request.wait.unwrap_or_default().as_secs();
    Answer::warn_without_value(
        format!("nothing was pushed for {name} in the {seconds} s of --wait"),
        Fix::advice(format!(
            "see whether the push succeeded, and was for {name} (--instance-os-user), for this instance and in its region"
        )),
    )
}

/// The summary of a report begins with this: it is the usual case.
fn nothing(name: &UserName, others: &[UserName]) -> Answer<Bytes> {
    let others: Vec<_> =
        others.iter().map(ToString::to_string).filter(|other| *other != name.to_string()).collect();
    let note = format!("no key is pushed for {name} now");
    match others.join(", ") {
        others if others.is_empty() => Answer::skip(note),
        others => Answer::skip(format!("{note}, but for {others}")).marked(Mark::ForOthers(others)),
    }
}

/// A record with the verdict of a login, as far as it does not need the signer.
struct Record<'a> {
    key: Option<UnverifiedKey<'a>>,
    verdict: RecordVerdict,
}

enum RecordVerdict {
    Valid,
    /// The key is not the offered key. This is not an error.
    NotOffered,
    Refused(Refusal),
}

impl fmt::Display for RecordVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => f.write_str("valid, if it is signed"),
            Self::NotOffered => f.write_str("it is not the offered key"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

fn checked_records<'a>(
    text: &'a [u8],
    id: &InstanceId,
    offered: Option<&Fingerprint>,
    principals: &Principals,
    now: UnixTime,
) -> Vec<Record<'a>> {
    let records = select(text, offered).map(|selected| match selected {
        Selected::Offered(key) => {
            let verdict = key
                .check_conditions(id, principals, now)
                .map_or_else(RecordVerdict::Refused, |()| RecordVerdict::Valid);
            Record { key: Some(key), verdict }
        }
        Selected::NotOffered(key) => Record { key: Some(key), verdict: RecordVerdict::NotOffered },
        Selected::Refused(reason) => Record { key: None, verdict: RecordVerdict::Refused(reason) },
    });
    records.collect()
}

/// Describes a record in one line: the key and the verdict.
fn line(key: Option<&UnverifiedKey<'_>>, verdict: &str, now: UnixTime) -> String {
    let Some(key) = key else { return verdict.to_owned() };
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or(b"-")).into_owned();
    format!(
        "{} {}, {} s left, principal {}, request {}: {verdict}",
        key.key_type(),
        key.fingerprint(),
        key.expiry().saturating_sub(now.as_secs()),
        text(key.principal()),
        text(key.request()),
    )
}

fn records(text: &Bytes, id: &InstanceId, rules: &KeyRules<'_>, now: UnixTime) -> Answer<Bytes> {
    let records = checked_records(text, id, rules.request.fingerprint.as_ref(), rules.principals, now);
    let refused = records.iter().filter(|one| matches!(one.verdict, RecordVerdict::Refused(_))).count();
    let others = records.iter().filter(|one| matches!(one.verdict, RecordVerdict::NotOffered)).count();
    let detail: Vec<_> =
        records.iter().map(|one| line(one.key.as_ref(), &one.verdict.to_string(), now)).collect();
    let answer = if others > 0 && others == records.len() {
        let fix = Fix::advice("offer only the pushed key: ssh -o IdentitiesOnly=yes -i KEY");
        Answer::fail(format!("the offered key is none of the {others} pushed keys"), fix)
    } else {
        let refusals: Vec<_> = records
            .iter()
            .filter_map(|one| match &one.verdict {
                RecordVerdict::Refused(refusal) => Some(refusal),
                _ => None,
            })
            .collect();
        let counted = records.len().saturating_sub(others);
        let has_expired = |refusal: &&Refusal| matches!(refusal, Refusal::Expired(_));
        match refusals.as_slice() {
            [refusal] if counted == 1 => Answer::fail(only_key(refusal), fix_for_refusal(refusal)),
            // The last one was pushed last.
            [.., last] if refused == counted => {
                let note = format!("all {counted} pushed keys are refused; the last: {last}");
                Answer::fail(note, fix_for_refusal(last))
            }
            // Keys of earlier pushes.
            [_, ..] if refusals.iter().all(has_expired) => {
                let valid = counted.saturating_sub(refused);
                Answer::ok(
                    format!(
                        "{valid} of {counted} keys are valid, if the signer signed them; the others have expired"
                    ),
                    text.clone(),
                )
            }
            refusals => {
                // The last record was pushed last. Those that have expired were pushed earlier.
                let last = match records.last().map(|one| &one.verdict) {
                    Some(RecordVerdict::Refused(last)) => Some(last),
                    _ => refusals.iter().copied().rfind(|refusal| !has_expired(refusal)),
                };
                match last {
                    None => summed_up(counted, refused, text, GOOD_OR_NOT),
                    Some(last) => {
                        let are = if refused == 1 { "is" } else { "are" };
                        let note = format!("{refused} of {counted} keys {are} refused; the last: {last}");
                        Answer::warn(note, fix_for_refusal(last), text.clone()).marked(Mark::SomeKeys)
                    }
                }
            }
        }
    };
    answer.detail(detail)
}

const GOOD_OR_NOT: [&str; 2] = ["are valid, if the signer signed them", "are refused"];

/// Why the only pushed key is refused.
fn only_key(refusal: &Refusal) -> String {
    match refusal {
        Refusal::OtherInstance(id) => format!("the pushed key is for instance {id}, not this one"),
        other => format!("the pushed key is refused: {other}"),
    }
}

fn fix_for_refusal(refusal: &Refusal) -> Fix {
    match refusal {
        Refusal::OtherPrincipal | Refusal::NoPrincipal => Fix::advice(
            "push the key as an IAM principal that --principal in the AuthorizedKeysCommand names, or add a pattern for the principal \
             that pushed it (--verbose shows it)",
        ),
        Refusal::Unreadable(RecordError::RsaSize | RecordError::KeyType) => Fix::advice(format!(
            "push an Ed25519 key, or an RSA key of {} bits or more",
            limits::RSA_BITS.start()
        )),
        _ => push_again(),
    }
}

fn push_again() -> Fix {
    Fix::advice("push the key again, and log in or check within 60 s")
}

fn signatures(
    text: &Bytes,
    id: &InstanceId,
    rules: &KeyRules<'_>,
    now: UnixTime,
    signer: &Signer,
) -> Answer<Vec<ValidKey>> {
    let (mut refused, mut detail, mut valid) = (0_usize, Vec::new(), Vec::new());
    for one in checked_records(text, id, rules.request.fingerprint.as_ref(), rules.principals, now) {
        let Record { key: Some(key), verdict: RecordVerdict::Valid } = one else { continue };
        let verdict = key.clone().verify_and_check(signer, id, rules.principals, now).map_or_else(
            |reason| {
                refused = refused.saturating_add(1);
                reason.to_string()
            },
            |_| {
                valid.push(ValidKey {
                    fingerprint: key.fingerprint().to_string(),
                    key_type: key.key_type().to_owned(),
                    base64: key.base64().to_owned(),
                    expiry: key.expiry(),
                });
                "would be printed for sshd".to_owned()
            },
        );
        detail.push(line(Some(&key), &verdict, now));
    }
    summed_up(detail.len(), refused, &valid, ["would be printed for sshd", "were not signed by the signer"])
        .detail(detail)
}

fn summed_up<T: Clone>(count: usize, refused: usize, value: &T, [good, bad]: [&str; 2]) -> Answer<T> {
    let note = format!("{refused} of {count} keys {bad}");
    match (count, refused) {
        (0, _) => Answer::skip("there is no valid key to check"),
        (_, 0) => Answer::ok(format!("{count} of {count} keys {good}"), value.clone()),
        _ if refused == count => Answer::fail(note, push_again()),
        _ => Answer::warn(note, push_again(), value.clone()).marked(Mark::SomeKeys),
    }
}
