//! What each reply means: 404 for each item, malformed items, and a region that is only known from the zone.

use crate::world::{CHAIN, DOMAIN, ID, KEYS, NAMES, REGION, TOKEN, Tried, World, ZONE, each, expect};
use eic_lab::{Fault, Machine, On, Pki};

/// The outcome of a run.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The key is printed.
    Key,
    /// No output and no log, status 0.
    Nothing,
    /// The record is refused, status 0.
    Refused,
    /// The run fails with this status.
    Fails(i32),
}
use End::{Fails, Key, Nothing, Refused};

fn ends(world: &World, end: End) -> Tried {
    let outcome = world.login();
    match end {
        Key => world.expect_key(&outcome),
        Nothing => world.expect_nothing(&outcome),
        Refused => world.expect_refused(&outcome),
        Fails(status) => world.expect_failed(&outcome, status),
    }
}

/// 404 is a valid reply: the request is not repeated.
#[test]
fn handles_each_item_that_is_not_found() {
    let rows = [
        (TOKEN, Fails(2)),
        (KEYS, Nothing),
        (ID, Fails(2)),
        (REGION, Key),
        (ZONE, Key),
        (DOMAIN, Fails(2)),
        (CHAIN, Fails(3)),
        (NAMES, Fails(3)),
        ("the signer's OCSP response", Fails(3)),
    ];
    each(
        1,
        &rows,
        |(path, _)| (*path).to_owned(),
        |world, (path, end)| {
            let path = if *path == "the signer's OCSP response" { &world.ocsp_response } else { *path };
            world.instance.imds.fault(On::path(path), Fault::Status(404));
            ends(world, *end)?;
            expect("times asked", &world.asked(path), &usize::from(path != ZONE))
        },
    );
}

/// Bodies of items, valid and malformed.
#[test]
fn refuses_malformed_items() {
    let rows: [(&str, &[u8], End); 42] = [
        (ID, b"i-0123456789abcdef0", Key),
        (ID, b"i-0123456789abcdef0\n", Key),
        (ID, b"", Fails(2)),
        (ID, b"\n", Fails(2)),
        (ID, b"i-", Fails(2)),
        (ID, b"i-0123456", Fails(2)),
        (ID, b"i-0123456789abcdefg", Fails(2)),
        (ID, b"i-0123456789ABCDEF0", Fails(2)),
        (ID, b" i-0123456789abcdef0", Fails(2)),
        (ID, b"i-0123456789abcdef0\ni-0123456789abcdef0", Fails(2)),
        (ID, b"i-0123456789abcdef\xff", Fails(2)),
        (ID, b"i-0123456789abcdef0123456789abcdef0", Fails(2)),
        (ID, b"i-0123456789abcdef1", Refused),
        (REGION, b"us-east-1", Key),
        (REGION, b"us-east-1\n", Key),
        (REGION, b"", Fails(2)),
        (REGION, b"us", Fails(2)),
        (REGION, b"us-east", Fails(2)),
        (REGION, b"us-east-1a", Fails(2)),
        (REGION, b"US-EAST-1", Fails(2)),
        (REGION, b"us-east-1/", Fails(2)),
        (REGION, b"us-east-1.evil.example", Fails(2)),
        (REGION, b"us-east-1\nus-east-2", Fails(2)),
        (REGION, b"us-e\0st-1", Fails(2)),
        (REGION, b"*", Fails(2)),
        (REGION, b"\xff\xfe", Fails(2)),
        (REGION, b"us-east-2", Fails(3)),
        (DOMAIN, b"amazonaws.com", Key),
        (DOMAIN, b"amazonaws.com\n", Key),
        (DOMAIN, b"", Fails(3)),
        (DOMAIN, b"amazonaws", Fails(3)),
        (DOMAIN, b"amazonaws.com.", Fails(3)),
        (DOMAIN, b".amazonaws.com", Fails(3)),
        (DOMAIN, b"AMAZONAWS.COM", Fails(3)),
        (DOMAIN, b"evil.example", Fails(3)),
        (DOMAIN, b"amazonaws.com.evil.example", Fails(3)),
        (DOMAIN, b"evil.amazonaws.com", Fails(3)),
        (DOMAIN, b"amazonaws.com\0", Fails(3)),
        (DOMAIN, b"\x1b[2J", Fails(3)),
        (DOMAIN, b"amazonaws.com.cn", Fails(3)),
        (CHAIN, b"", Fails(3)),
        (KEYS, b"", Nothing),
    ];
    let name =
        |(path, body, _): &(&str, &[u8], End)| format!("{path} is {:?}", String::from_utf8_lossy(body));
    each(2, &rows, name, |world, (path, body, end)| {
        world.instance.imds.fault(On::path(path), Fault::Body(body.to_vec()));
        ends(world, *end)?;
        expect("times asked", &world.asked(path), &1)
    });
}

/// The region is that of the zone only if IMDS has no region, as before 2020.
#[test]
fn takes_the_region_from_the_zone_without_a_region() {
    let rows = [
        ("us-east-1a", "us-east-1", Key),
        ("us-east-1f\n", "us-east-1", Key),
        ("us-west-2-lax-1a", "us-west-2", Key),
        ("us-east-1-wl1-bos-wlz-1", "us-east-1", Key),
        ("us-gov-west-1a", "us-gov-west-1", Key),
        ("eusc-de-east-1a", "eusc-de-east-1", Key),
        ("us-isof-south-1a", "us-isof-south-1", Key),
        ("us-east-1a", "us-west-2", Fails(3)),
        ("us-west-2-lax-1a", "us-east-1", Fails(3)),
        ("", "us-east-1", Fails(2)),
        ("us-east", "us-east-1", Fails(2)),
        ("1a", "us-east-1", Fails(2)),
        ("/us-east-1a", "us-east-1", Fails(2)),
        ("US-EAST-1A", "us-east-1", Fails(2)),
        ("us.east-1a", "us-east-1", Fails(2)),
    ];
    let name = |(zone, region, _): &(&str, &str, End)| format!("{zone:?} and a signer for {region}");
    each(2, &rows, name, |world, (zone, region, end)| {
        world.instance.adopt(signer(region, "amazonaws.com"));
        world.instance.imds.remove(REGION);
        world.instance.imds.set(ZONE, *zone);
        ends(world, *end)?;
        expect("times that the zone was asked for", &world.asked(ZONE), &1)
    });
}

#[test]
fn fails_without_region_and_zone() {
    let world = World::new();
    world.instance.imds.remove(REGION);
    world.instance.imds.remove(ZONE);
    ends(&world, Fails(2)).unwrap();
    assert!(world.instance.journal.says(ZONE));
}

/// If there is a region, the zone does not matter.
#[test]
fn does_not_request_the_zone_if_there_is_a_region() {
    let world = World::new();
    world.instance.imds.set(ZONE, "eu-west-1a");
    ends(&world, Key).unwrap();
    assert_eq!(world.asked(ZONE), 0);
}

/// On Nitro, firmware and service must have the same ID. On Xen only the service has it.
#[test]
fn refuses_keys_from_the_service_of_another_instance() {
    let rows = [(Machine::Nitro, Refused), (Machine::Xen, Refused)];
    each(
        1,
        &rows,
        |row| format!("{row:?}"),
        |world, (machine, end)| {
            world.instance.machine(*machine);
            world.instance.imds.set(ID, "i-0123456789abcdef0");
            ends(world, Key)?;
            world.reset();
            world.instance.imds.set(ID, "i-0fedcba9876543210");
            ends(world, *end)
        },
    );
}

fn signer(region: &str, domain: &str) -> Pki {
    eic_lab::PkiSpec::healthy(region, domain).build()
}
