//! A run ends in time whatever happens: one second for each request; 4.5 s, or the value of `--timeout`, for the run.

use crate::world::{KEYS, REGION, TOKEN, Tried, World, each, expect, expect_time};
use eic_lab::{Endpoint, Fault, IPV4, IPV6, Machine, On};
use std::time::Duration;

/// The outcome of a run, with its time in seconds.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The key is printed, between these times.
    Key(f64, f64),
    /// No key; the run ends at this time.
    Fails(f64),
}
use End::{Fails, Key};

/// The fault, the options, and the outcome.
type Row = (&'static str, fn(&World), &'static [&'static str], End);

fn check(rows: &[Row]) {
    each(4, rows, |(name, ..)| (*name).to_owned(), ends);
}

fn ends(world: &World, (_, prepare, options, end): &Row) -> Tried {
    prepare(world);
    let outcome = world.login_with(options);
    match end {
        Key(least, most) => {
            world.expect_key(&outcome)?;
            expect_time(&outcome, *least, *most)
        }
        Fails(at) => {
            world.expect_failed(&outcome, 2)?;
            expect_time(&outcome, at - 0.05, at + 0.5)
        }
    }
}

/// Delays every reply until just before the time limit.
fn slow(world: &World) {
    world.instance.imds.pace(Duration::from_millis(930));
}

fn silent(world: &World) {
    world.instance.imds.fault(On::any(), Fault::Hang);
}

#[test]
fn a_run_ends_within_its_time_limit() {
    check(&[
        ("four rounds of a second", slow, &[], Key(3.72, 5.0)),
        ("five rounds: Xen", |world| (slow(world), world.instance.machine(Machine::Xen)).0, &[], Fails(4.5)),
        (
            "five rounds: the zone",
            |world| (slow(world), world.instance.imds.remove(REGION)).0,
            &[],
            Fails(4.5),
        ),
        (
            "five rounds, and time for them",
            |world| (slow(world), world.instance.imds.remove(REGION)).0,
            &["--timeout", "6"],
            Key(4.65, 6.0),
        ),
        (
            "each request refused a second long, once",
            |world| {
                slow(world);
                for path in world.paths() {
                    world.instance.imds.fault(On::path(path).first(1), Fault::Status(503));
                }
            },
            &[],
            Fails(4.5),
        ),
        (
            "a second for IPv4, then four rounds",
            |world| {
                slow(world);
                world.instance.endpoint(IPV4.into(), Endpoint::Dropping);
                world.instance.endpoint(IPV6.into(), Endpoint::Serving);
            },
            &[],
            Fails(4.5),
        ),
        ("a second is a second with more time", silent, &["--timeout", "60"], Fails(1.0)),
        (
            "slow, then silent",
            |world| {
                slow(world);
                world.instance.imds.fault(On::path(KEYS), Fault::Hang);
            },
            &[],
            Fails(1.93),
        ),
    ]);
}

#[test]
fn timeout_sets_the_time_limit() {
    check(&[
        ("a tenth of a second", silent, &["--timeout=0.1"], Fails(0.1)),
        ("half a second", silent, &["--timeout", "0.5"], Fails(0.5)),
        ("two seconds", slow, &["--timeout", "2"], Fails(2.0)),
        ("four seconds", slow, &["--timeout", "4"], Key(3.72, 4.5)),
        (
            "no second left for IPv6",
            |world| {
                world.instance.endpoint(IPV4.into(), Endpoint::Dropping);
                world.instance.endpoint(IPV6.into(), Endpoint::Serving);
            },
            &["--timeout", "1"],
            Fails(1.0),
        ),
    ]);
}

#[test]
fn does_not_retry_without_time_for_it() {
    let rows = [("0.1", 1), ("1", 2)];
    each(
        1,
        &rows,
        |(timeout, _)| format!("--timeout {timeout}"),
        |world, (timeout, tries)| {
            world.instance.imds.fault(On::path(TOKEN), Fault::Status(503));
            world.expect_failed(&world.login_with(&["--timeout", timeout]), 2)?;
            expect("times asked", &world.asked(TOKEN), tries)?;
            // The reason is the reply, not the missing time for a retry.
            expect("the answer logged", &world.instance.journal.says("503"), &true)
        },
    );
}
