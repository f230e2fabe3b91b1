//! Whether the clock is right.

use super::board::{Answer, Board, Step};
use super::{Fix, System};
use crate::imds::Imds;

/// Seconds off, either way, that want a look; the metadata service tells its time to the second.
const NOTICEABLE: u64 = 5;
/// Seconds off, either way, that leave a pushed key half of its life.
const TOO_MUCH: u64 = 30;

/// Compares the clock with the metadata service's.
pub(super) async fn offset(board: &Board, system: &System<'_>, session: &Step<Imds>) {
    let ours = (system.clock)().as_secs();
    board
        .check("clock.offset", session, async |imds| {
            let Some(theirs) = imds.date() else {
                return Answer::skip("the metadata service did not tell its time");
            };
            judge(ours, theirs.as_secs())
        })
        .await;
}

fn judge(ours: u64, theirs: u64) -> Answer<()> {
    let fix = Fix::Command("chronyc makestep".to_owned());
    let off = ours.abs_diff(theirs);
    let which = if ours > theirs { "ahead of" } else { "behind" };
    let note = format!("the clock is {off} s {which} the metadata service's");
    match (off, ours > theirs) {
        (..NOTICEABLE, _) => Answer::ok(format!("the clock is at most {} s off", off.saturating_add(1)), ()),
        (..TOO_MUCH, _) => Answer::warn(note, fix, ()),
        (_, true) => {
            Answer::fail(format!("{note}: pushed keys expire early, or are over when they come"), fix)
        }
        (_, false) => {
            Answer::fail(format!("{note}: keys live longer than 60 s, and staples are from the future"), fix)
        }
    }
}
