//! Checks the system clock.

use std::path::Path;

use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner};
use crate::ec2::KEY_LIFETIME;
use crate::imds::Imds;

/// Offset in seconds, in either direction, that gives a warning. The metadata service's time has a resolution of one
/// second.
const NOTICEABLE: u64 = 5;
/// With a clock this many seconds ahead, a pushed key has expired when it arrives.
const LIFETIME: u64 = KEY_LIFETIME.as_secs();

/// Compares the system clock with the metadata service's time.
pub(crate) async fn offset(runner: &Runner, target: &CheckTarget<'_>, imds: &Finding<Imds>) {
    let here = (target.clock)().as_secs();
    runner
        .check_in_thread(CheckId::ClockOffset, imds, |imds| {
            let (there, root) = (imds.date(), target.root.to_owned());
            move || match there {
                Some(there) => compare(here, there.as_secs(), fix_for_clock(&root)),
                None => Answer::skip("the metadata service's responses have no date"),
            }
        })
        .await;
}

/// The command that sets the clock, for the installed time service.
fn fix_for_clock(root: &Path) -> Fix {
    if root.join("usr/bin/chronyc").exists() {
        Fix::command("chronyc makestep", [])
    } else {
        Fix::advice("set the clock, and synchronise it by chrony or systemd-timesyncd with 169.254.169.123")
    }
}

fn compare(here: u64, there: u64, fix: Fix) -> Answer<()> {
    let off = here.abs_diff(there);
    let which = if here > there { "ahead of" } else { "behind" };
    let note = format!("the clock is {off} s {which} the metadata service's");
    match (off, here > there) {
        (..NOTICEABLE, _) => Answer::ok(format!("the clock is at most {} s off", off.saturating_add(1)), ()),
        (LIFETIME.., true) => Answer::fail(format!("{note}: pushed keys have expired when they arrive"), fix),
        (_, true) => Answer::warn(
            format!("{note}: a pushed key is valid for only {} s", LIFETIME.saturating_sub(off)),
            fix,
            (),
        ),
        // signer.ocsp fails if OCSP responses are from the future.
        (_, false) => {
            Answer::warn(format!("{note}: pushed keys stay valid for longer than {LIFETIME} s"), fix, ())
        }
    }
}
