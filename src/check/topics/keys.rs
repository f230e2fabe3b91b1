//! Checks the keys that are pushed for the user.

use std::fmt;

use hyper::body::Bytes;

use super::instance::Place;
use super::metadata::unasked;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner};
use crate::ec2::{InstanceId, UserName};
use crate::imds::Imds;
use crate::keys::{Fingerprint, Judged, Refusal, SignedKey, judge, record};
use crate::principal::Principals;
use crate::trust::{Signer, UnixTime};

/// Requests the user's records and validates each, as a login does.
pub(crate) async fn keys(
    runner: &Runner,
    offered: Option<&Fingerprint>,
    principals: &Principals,
    target: &Target<'_>,
    name: &Finding<UserName>,
    session: &Finding<Imds>,
    place: &Place,
    signer: &Finding<Signer>,
) {
    let pushed = pushed(runner, session, name).await;
    let rules = Rules { offered, principals };
    let text = runner
        .check(CheckId::KeysRecords, (&pushed, &place.id), async |(text, id)| {
            records(text, id, &rules, (target.clock)())
        })
        .await;
    runner
        .check(CheckId::KeysSignatures, (&text, &place.id, signer), async |(text, id, signer)| {
            signatures(text, id, &rules, (target.clock)(), signer)
        })
        .await;
}

async fn pushed(runner: &Runner, session: &Finding<Imds>, name: &Finding<UserName>) -> Finding<Bytes> {
    runner
        .check(CheckId::KeysPushed, (session, name), async |(imds, name)| {
            match imds.active_keys(name).await {
                Err(error) => unasked(&error),
                Ok(None) => {
                    Answer::ok(format!("nothing was pushed for {name} in the last 60 s"), Bytes::new())
                }
                Ok(Some(text)) => match record::records(&text).count() {
                    1 => Answer::ok(format!("one record is there for {name}"), text),
                    count => Answer::ok(format!("{count} records are there for {name}"), text),
                },
            }
        })
        .await
}

/// A record with the verdict of a login, as far as it does not need the signer.
struct Record<'a> {
    key: Option<SignedKey<'a>>,
    verdict: Verdict,
}

enum Verdict {
    Valid,
    /// The key is not the offered key. This is not an error.
    NotOffered,
    Refused(Refusal),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => f.write_str("valid, if it is signed"),
            Self::NotOffered => f.write_str("it is not the key that is offered"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

/// What the login depends on besides the records.
struct Rules<'a> {
    /// The fingerprint of the offered key, if known.
    offered: Option<&'a Fingerprint>,
    principals: &'a Principals,
}

fn judged<'a>(text: &'a [u8], id: &InstanceId, rules: &Rules<'_>, now: UnixTime) -> Vec<Record<'a>> {
    let judged = judge(text, rules.offered).map(|judged| match judged {
        Judged::Offered(key) => {
            let verdict = key
                .check_validity(id, rules.principals, now)
                .map_or_else(Verdict::Refused, |()| Verdict::Valid);
            Record { key: Some(key), verdict }
        }
        Judged::NotOffered(key) => Record { key: Some(key), verdict: Verdict::NotOffered },
        Judged::Refused(reason) => Record { key: None, verdict: Verdict::Refused(reason) },
    });
    judged.collect()
}

/// Describes a record in one line: the key and the verdict.
fn line(key: Option<&SignedKey<'_>>, verdict: &str, now: UnixTime) -> String {
    let Some(key) = key else { return verdict.to_owned() };
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or(b"-")).into_owned();
    format!(
        "{} {}, {} s left, caller {}, request {}: {verdict}",
        key.key_type(),
        key.fingerprint(),
        key.expiry().saturating_sub(now.as_secs()),
        text(key.caller()),
        text(key.request()),
    )
}

fn records(text: &Bytes, id: &InstanceId, rules: &Rules<'_>, now: UnixTime) -> Answer<Bytes> {
    let judged = judged(text, id, rules, now);
    let refused = judged.iter().filter(|one| matches!(one.verdict, Verdict::Refused(_))).count();
    let others = judged.iter().filter(|one| matches!(one.verdict, Verdict::NotOffered)).count();
    let detail: Vec<_> =
        judged.iter().map(|one| line(one.key.as_ref(), &one.verdict.to_string(), now)).collect();
    let answer = if others > 0 && others == judged.len() {
        let fix = Fix::advice(
            "offer the key that was pushed, and no others before it: ssh -o IdentitiesOnly=yes -i KEY",
        );
        Answer::fail(format!("the key that is offered is not among the {others} pushed"), fix)
    } else {
        let words = ["may be given to sshd if the signer signed them", "are refused"];
        summed_up(judged.len().saturating_sub(others), refused, text, words)
    };
    answer.detail(detail)
}

fn signatures(
    text: &Bytes,
    id: &InstanceId,
    rules: &Rules<'_>,
    now: UnixTime,
    signer: &Signer,
) -> Answer<Bytes> {
    let (mut refused, mut detail) = (0_usize, Vec::new());
    for one in judged(text, id, rules, now) {
        let Record { key: Some(key), verdict: Verdict::Valid } = one else { continue };
        let verdict = key.clone().authorize(signer, id, rules.principals, now).map_or_else(
            |reason| {
                refused = refused.saturating_add(1);
                reason.to_string()
            },
            |_| "would be given to sshd".to_owned(),
        );
        detail.push(line(Some(&key), &verdict, now));
    }
    summed_up(detail.len(), refused, text, ["would be given to sshd", "were not signed by the signer"])
        .detail(detail)
}

fn summed_up(count: usize, refused: usize, text: &Bytes, [good, bad]: [&str; 2]) -> Answer<Bytes> {
    let note = format!("{refused} of {count} keys {bad}");
    let again = || Fix::advice("push the key anew, and log in or check within 60 s");
    match (count, refused) {
        (0, _) => Answer::ok("no key to look at: push one, and check within 60 s", text.clone()),
        (_, 0) => Answer::ok(format!("{count} of {count} keys {good}"), text.clone()),
        _ if refused == count => Answer::fail(note, again()),
        _ => Answer::warn(note, again(), text.clone()),
    }
}
