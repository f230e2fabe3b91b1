//! Every fault at every request of a login. After a harmless one the key is printed; all others end the run with status 2, no key and
//! a reason. The service counts the requests: after broken connections, 429 and 5xx there is one retry, otherwise none.

use crate::world::{MOST, Tried, World, each, expect, expect_time};
use eic_lab::{Endpoint, Fault, IPV6, Manner, On};
use std::time::Duration;

/// The effect of a fault that affects a request each time.
#[derive(Clone, Copy, Debug)]
enum Effect {
    /// None: the reply is good.
    Harmless,
    /// The run fails without a retry.
    Fails,
    /// The run fails after one retry.
    FailsTwice,
}
use Effect::{Fails, FailsTwice, Harmless};

type Row = (&'static str, Fault, Effect);

/// A row at one of the requests, by its number.
type Case = (usize, Row);

/// The requests of a login, in the order of [`World::paths`].
const REQUESTS: [&str; 8] = ["token", "keys", "id", "region", "domain", "chain", "names", "OCSP response"];

fn everywhere(rows: &[Row]) -> Vec<Case> {
    rows.iter().flat_map(|row| (0..REQUESTS.len()).map(|request| (request, row.clone()))).collect()
}

fn name((request, (name, ..)): &Case) -> String {
    format!("{name} at the {}", REQUESTS[*request])
}

/// One request always fails, at both addresses; IPv6 must not be tried.
fn check(world: &World, (request, (_, fault, effect)): &Case, least: f64) -> Tried {
    let path = world.paths()[*request];
    world.instance.endpoint(IPV6.into(), Endpoint::Serving);
    world.instance.imds.fault(On::path(path), fault.clone());
    let outcome = world.login();
    let tries = match effect {
        Harmless => world.expect_key(&outcome).map(|()| 1)?,
        Fails => world.expect_failed(&outcome, 2).map(|()| 1)?,
        FailsTwice => world.expect_failed(&outcome, 2).map(|()| 2)?,
    };
    // If nothing waits, there is no time for a retry only on a busy machine.
    let late = |outcome| least == 0.0 && world.late(outcome);
    expect("times asked", &world.asked(path), &tries).map_err(|failure| failure.late_if(late(&outcome)))?;
    let elsewhere = world.instance.imds.requests().iter().any(|request| request.from.is_ipv6());
    expect("asked by IPv6", &elsewhere, &false)?;
    expect_time(&outcome, least, MOST)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn accepts_unusual_but_valid_replies() {
    let rows = [
        ("HTTP/1.0", Fault::Http10, Harmless),
        ("chunks of a byte", Fault::Chunks(1), Harmless),
        ("chunks of 1000 bytes", Fault::Chunks(1000), Harmless),
        ("no length, the end ends it", Fault::UntilClose, Harmless),
        ("a length and chunks, which count (RFC 9112 section 6.3)", Fault::LengthAndChunks, Harmless),
        ("three early hints", Fault::EarlyHints(3), Harmless),
        ("a second reply behind it", Fault::Another, Harmless),
        ("a header of 4 KB", Fault::LargeHeader(4000), Harmless),
        ("80 headers more", Fault::ManyHeaders(80), Harmless),
        ("a cookie", Fault::cookie(), Harmless),
        ("a third of a second late", Fault::Delay(ms(333)), Harmless),
        ("its head a byte a millisecond", Fault::DripHead(ms(1)), Harmless),
    ];
    each(4, &everywhere(&rows), name, |world, case| check(world, case, 0.0));
}

#[test]
fn accepts_each_way_to_send_a_reply() {
    each(
        1,
        &[Manner::Closing, Manner::KeepAlive, Manner::Http10],
        |manner| format!("{manner:?}"),
        |world, manner| {
            world.instance.imds.manner(*manner);
            world.expect_key(&world.login())
        },
    );
}

#[test]
fn fails_on_other_statuses() {
    let once = [
        "101", "201", "202", "204", "206", "300", "301", "304", "400", "401", "403", "405", "410", "418",
        "999",
    ];
    let twice = ["429", "500", "501", "502", "503", "504", "599"];
    let row = |effect| move |name: &'static str| (name, Fault::Status(name.parse().unwrap()), effect);
    let rows: Vec<Row> =
        once.into_iter().map(row(Fails)).chain(twice.into_iter().map(row(FailsTwice))).collect();
    each(2, &everywhere(&rows), name, |world, case| check(world, case, 0.0));
}

#[test]
fn fails_on_broken_connections() {
    let rows = [
        ("closed without a reply", Fault::Close, FailsTwice),
        ("reset without a reply", Fault::Reset, FailsTwice),
        ("reset in the body", Fault::ResetInBody, FailsTwice),
        ("half a head", Fault::CutHead, FailsTwice),
        ("a length and no body", Fault::CutBody(0), FailsTwice),
        ("a length and five bytes of the body", Fault::CutBody(5), FailsTwice),
        ("chunks without the last", Fault::CutChunks, FailsTwice),
    ];
    each(2, &everywhere(&rows), name, |world, case| check(world, case, 0.0));
}

#[test]
fn fails_on_replies_that_are_not_http() {
    let rows = [
        ("a chunk's size that is no number", Fault::BadChunk, FailsTwice),
        ("a length that is too large", Fault::Length("1000000".into()), FailsTwice),
        ("a negative length", Fault::Length("-1".into()), FailsTwice),
        ("a length in words", Fault::Length("ten".into()), FailsTwice),
        ("a length beyond all numbers", Fault::Length("9".repeat(30)), FailsTwice),
        ("two lengths", Fault::TwoLengths, FailsTwice),
        ("a body without a head", Fault::Http09, FailsTwice),
        ("nonsense", Fault::garbage(), FailsTwice),
        ("an SSH server", Fault::ssh_banner(), FailsTwice),
        ("a TLS server", Fault::tls_alert(), FailsTwice),
        ("an HTTP/2 server", Fault::http2(), FailsTwice),
        ("HTTP/3.0", Fault::Raw(b"HTTP/3.0 200 OK\r\nContent-Length: 1\r\n\r\nx".to_vec()), FailsTwice),
        ("no status", Fault::Raw(b"HTTP/1.1 OK\r\nContent-Length: 1\r\n\r\nx".to_vec()), FailsTwice),
        (
            "NUL in the head",
            Fault::Raw(b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 1\r\n\r\nx".to_vec()),
            FailsTwice,
        ),
    ];
    each(2, &everywhere(&rows), name, |world, case| check(world, case, 0.0));
}

#[test]
fn fails_on_replies_that_are_too_large() {
    let rows = [
        ("chunks without end", Fault::EndlessChunks, Fails),
        ("a body without end", Fault::EndlessBody, Fails),
        ("a length of 2^62", Fault::EndlessLength, Fails),
        ("a megabyte", Fault::LargeBody(1 << 20), Fails),
        ("a megabyte, length not told", Fault::LargeBodyWithoutLength(1 << 20), Fails),
        ("headers without end", Fault::EndlessHeaders, FailsTwice),
        ("a header without end", Fault::EndlessHeaderLine, FailsTwice),
        ("a status line without end", Fault::EndlessStatusLine, FailsTwice),
        ("a header of 16 KB", Fault::LargeHeader(16_384), FailsTwice),
        ("1000 headers", Fault::ManyHeaders(1000), FailsTwice),
    ];
    each(2, &everywhere(&rows), name, |world, case| check(world, case, 0.0));
}

/// A request that times out takes a second and is not repeated.
#[test]
fn fails_on_replies_that_are_too_slow() {
    let rows = [
        ("a second and a half late", Fault::Delay(ms(1500)), Fails),
        ("silent", Fault::Hang, Fails),
        ("silent in the head", Fault::HangInHead, Fails),
        ("silent in the body", Fault::HangInBody, Fails),
        ("its head a byte in 200 ms", Fault::DripHead(ms(200)), Fails),
        ("its body a byte in 200 ms", Fault::DripBody(ms(200)), Fails),
        ("chunks of a byte in 50 ms, without end", Fault::DripChunks(ms(50)), Fails),
    ];
    each(12, &everywhere(&rows), name, |world, case| check(world, case, 0.9));
}

/// The client receives data all the time.
#[test]
fn fails_on_endless_100_continue() {
    let rows = [("100 Continue without end", Fault::Continues, Fails)];
    each(2, &everywhere(&rows), name, |world, case| check(world, case, 0.0));
}

/// A request that fails once and is repeated only costs time.
#[test]
fn retries_what_fails_once() {
    let rows = [
        ("429", Fault::Status(429), Harmless),
        ("500", Fault::Status(500), Harmless),
        ("503", Fault::Status(503), Harmless),
        ("closed", Fault::Close, Harmless),
        ("reset", Fault::Reset, Harmless),
        ("reset in the body", Fault::ResetInBody, Harmless),
        ("half a head", Fault::CutHead, Harmless),
        ("half a body", Fault::CutBody(5), Harmless),
        ("nonsense", Fault::garbage(), Harmless),
    ];
    each(2, &everywhere(&rows), name, |world, (request, (_, fault, _))| {
        let path = world.paths()[*request];
        world.instance.imds.fault(On::path(path).first(1), fault.clone());
        let outcome = world.login();
        world.expect_key(&outcome)?;
        expect("times asked", &world.asked(path), &2)?;
        expect_time(&outcome, 0.0, MOST)
    });
}

#[test]
fn retries_each_request_that_fails_once() {
    let rows = [("503", Fault::Status(503)), ("closed", Fault::Close)];
    each(
        1,
        &rows,
        |(name, _)| (*name).to_owned(),
        |world, (_, fault)| {
            for path in world.paths() {
                world.instance.imds.fault(On::path(path).first(1), fault.clone());
            }
            let outcome = world.login();
            world.expect_key(&outcome)?;
            expect("times asked", &world.paths().map(|path| world.asked(path)), &[2; 8])?;
            expect_time(&outcome, 0.0, MOST)
        },
    );
}
