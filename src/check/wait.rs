//! `--wait`: waits for a push before the checks run.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use hyper::body::Bytes;

use super::request::{CheckRequest, CheckTarget, RunOptions};
use super::runner::Runner;
use super::topics::{instance, sshd, user};
use crate::imds::Imds;
use crate::keys::{Selected, select};
use crate::limits::{self, Budget};
use crate::trust::UnixTime;

/// Waits until the user has a record that has not expired, but at most as long as requested. A request that fails is repeated: the
/// checks report why it fails.
pub(crate) async fn for_a_push(request: &CheckRequest, target: &CheckTarget<'_>) {
    let Some(limit) = request.wait else { return };
    // This runner only waits: its answers are not reported.
    let runner = Runner::default();
    let name = user::name(&runner, request).await;
    let account = user::account(&runner, target, &name).await;
    let sshd = sshd::examine(&runner, target, &name, &account).await;
    let options = RunOptions::new(request, sshd.command.get().map(|command| &command.request), None);
    let host = instance::host(&runner, target).await;
    let (Some(name), Some(_)) = (name.get(), host.get()) else { return };
    print_progress(&format!("waiting up to {} s for a key to be pushed for {name}", limit.as_secs()));
    let start = Instant::now();
    let mut session = None;
    while start.elapsed() < limit {
        if session.is_none() {
            // One request more than there is time for, so that the last one has its time.
            let budget =
                Budget::start(limit.saturating_sub(start.elapsed()).saturating_add(limits::REQUEST_TIME));
            session = Imds::open(&options.imds, budget).await.ok();
        }
        if let Some(imds) = &session {
            match imds.active_keys(name).await {
                Ok(text) if text.as_ref().is_some_and(|text| is_pushed(text, (target.clock)())) => {
                    print_progress(&format!("a key was pushed after {} s", start.elapsed().as_secs()));
                    return;
                }
                Ok(_) => {}
                Err(_) => session = None,
            }
        }
        tokio::time::sleep(limits::WAIT_PAUSE.min(limit.saturating_sub(start.elapsed()))).await;
    }
    print_progress("no key was pushed");
}

/// Whether a record is there that a login could use, or that is refused for another reason than its age.
fn is_pushed(text: &Bytes, now: UnixTime) -> bool {
    select(text, None).any(|record| match record {
        Selected::Offered(key) | Selected::NotOffered(key) => key.expiry() > now.as_secs(),
        Selected::Refused(_) => true,
    })
}

/// Tells a person who waits. A program reads the report.
fn print_progress(text: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let _ = writeln!(stderr, "eic-keys: {text}");
    }
}
