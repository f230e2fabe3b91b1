//! Checks the system clock.

use std::path::Path;

use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner};
use crate::imds::Imds;

/// Offset in seconds, in either direction, that gives a warning. The metadata service's time has a resolution of one
/// second.
const NOTICEABLE: u64 = 5;
/// Offset in seconds, in either direction, that leaves a pushed key half of its lifetime.
const TOO_MUCH: u64 = 30;

/// Compares the system clock with the metadata service's time.
pub(crate) async fn offset(runner: &Runner, target: &Target<'_>, session: &Finding<Imds>) {
    let ours = (target.clock)().as_secs();
    runner
        .check(CheckId::ClockOffset, session, async |imds| {
            let Some(theirs) = imds.date() else {
                return Answer::skip("the metadata service did not tell its time");
            };
            judge(ours, theirs.as_secs(), correction(target.root))
        })
        .await;
}

/// The command that sets the clock, for the installed time service.
fn correction(root: &Path) -> Fix {
    if root.join("usr/bin/chronyc").exists() {
        Fix::command("chronyc makestep", [])
    } else {
        Fix::advice(
            "set the clock, and have it kept right by chrony or systemd-timesyncd from 169.254.169.123",
        )
    }
}

fn judge(ours: u64, theirs: u64, fix: Fix) -> Answer<()> {
    let off = ours.abs_diff(theirs);
    let which = if ours > theirs { "ahead of" } else { "behind" };
    let note = format!("the clock is {off} s {which} the metadata service's");
    match (off, ours > theirs) {
        (..NOTICEABLE, _) => Answer::ok(format!("the clock is at most {} s off", off.saturating_add(1)), ()),
        (..TOO_MUCH, _) => Answer::warn(note, fix, ()),
        (_, true) => {
            Answer::fail(format!("{note}: pushed keys expire early, or have expired when they arrive"), fix)
        }
        (_, false) => Answer::fail(
            format!("{note}: keys live longer than 60 s, and OCSP responses are from the future"),
            fix,
        ),
    }
}
