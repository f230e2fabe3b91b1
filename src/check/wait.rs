//! `--wait`: waits for a push before the checks run.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use hyper::body::Bytes;

use super::request::{CheckRequest, RunOptions, Target};
use super::runner::Runner;
use super::topics::{instance, sshd, user};
use crate::imds::Imds;
use crate::keys::{Selected, select};
use crate::limits::{self, Budget};
use crate::trust::UnixTime;

/// Waits until a record is there for the user that has not expired, and at most the time that was asked for. What the
/// metadata service does not answer is asked again: the checks say what fails.
pub(crate) async fn for_a_push(request: &CheckRequest, target: &Target<'_>) {
    let Some(limit) = request.wait else { return };
    // The findings are those of the report, which comes later.
    let runner = Runner::default();
    let name = user::name(&runner, request).await;
    let account = user::account(&runner, target, &name).await;
    let sshd = sshd::examine(&runner, target, &name, &account).await;
    let options = RunOptions::new(request, sshd.command.get().map(|command| &command.request));
    let host = instance::host(&runner, target).await;
    let (Some(name), Some(_)) = (name.get(), host.get()) else { return };
    tell(&format!("waiting {} s for a key that is pushed for {name}", limit.as_secs()));
    let start = Instant::now();
    let mut session = None;
    while start.elapsed() < limit {
        if session.is_none() {
            // One request more than there is time for, so that the last one has its time.
            let budget = Budget::start(limit.saturating_sub(start.elapsed()).saturating_add(limits::REQUEST));
            session = Imds::open(&options.imds, budget).await.ok();
        }
        if let Some(imds) = &session {
            match imds.active_keys(name).await {
                Ok(text) if text.as_ref().is_some_and(|text| is_pushed(text, (target.clock)())) => {
                    tell(&format!("a key was pushed after {} s", start.elapsed().as_secs()));
                    return;
                }
                Ok(_) => {}
                Err(_) => session = None,
            }
        }
        tokio::time::sleep(limits::WAIT_PAUSE.min(limit.saturating_sub(start.elapsed()))).await;
    }
    tell("no key was pushed");
}

/// Whether a record is there that a login could use, or that is refused for another reason than its age.
fn is_pushed(text: &Bytes, now: UnixTime) -> bool {
    select(text, None).any(|record| match record {
        Selected::Offered(key) | Selected::NotOffered(key) => key.expiry() > now.as_secs(),
        Selected::Refused(_) => true,
    })
}

/// Tells a person who waits. A program reads the report.
fn tell(text: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let _ = writeln!(stderr, "eic-keys: {text}");
    }
}
