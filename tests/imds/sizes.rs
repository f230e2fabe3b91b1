//! Each reply has a maximum size: that size is accepted, one more byte is an error and is never cut off. The limits come from the
//! library, so a change of one is tested here.

use crate::world::{CHAIN, DOMAIN, ID, KEYS, NAMES, REGION, TOKEN, World, ZONE, each, expect};
use eic_keys::limits;
use eic_lab::{Fault, On};

/// How the reply gives its length, if it does.
#[derive(Clone, Copy, Debug)]
enum Form {
    Length,
    Chunks,
    UntilClose,
}
const FORMS: [Form; 3] = [Form::Length, Form::Chunks, Form::UntilClose];

/// Pads the body at `path` with line feeds to `length` bytes.
fn pad(world: &World, path: &str, length: usize, form: Form) {
    let body = [good(world, path), vec![b'\n'; length]].concat()[..length].to_vec();
    world.reset();
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
    let reply = match form {
        Form::Length => [format!("{head}Content-Length: {length}\r\n\r\n").as_bytes(), &body].concat(),
        Form::Chunks => {
            let chunks = body
                .chunks(1000)
                .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
            head.bytes().chain(chunks).chain(*b"0\r\n\r\n").collect()
        }
        Form::UntilClose => [format!("{head}\r\n").as_bytes(), &body].concat(),
    };
    world.instance.imds.fault(On::path(path), Fault::Raw(reply));
}

/// The reply of the service at a path.
fn good(world: &World, path: &str) -> Vec<u8> {
    let directory = if path == KEYS || path == world.ocsp_response { "managed-ssh-keys/" } else { "" };
    world.instance.imds.body(&format!("{directory}{path}")).unwrap()
}

#[test]
fn accepts_replies_up_to_the_limit_only() {
    let limits = [
        (KEYS, limits::ACTIVE_KEYS),
        (ID, limits::METADATA_ITEM),
        (REGION, limits::METADATA_ITEM),
        (DOMAIN, limits::METADATA_ITEM),
        (CHAIN, limits::CERTIFICATE_CHAIN),
        (NAMES, limits::OCSP_NAMES),
        ("OCSP response", limits::OCSP_RESPONSE),
    ];
    let rows: Vec<_> = limits.into_iter().flat_map(|row| FORMS.map(|form| (row, form))).collect();
    each(
        2,
        &rows,
        |((path, _), form)| format!("{path}, {form:?}"),
        |world, ((path, limit), form)| {
            let path = if *path == "OCSP response" { &world.ocsp_response } else { *path };
            pad(world, path, *limit, *form);
            world.expect_key(&world.login()).map_err(|failure| failure.of(&format!("with {limit} bytes")))?;
            pad(world, path, limit + 1, *form);
            world
                .expect_failed(&world.login(), 2)
                .map_err(|failure| failure.of(&format!("with {limit} bytes and one")))?;
            expect("times asked", &world.asked(path), &1)
        },
    );
}

#[test]
fn accepts_a_zone_up_to_the_limit_only() {
    each(
        1,
        &FORMS,
        |form| format!("{form:?}"),
        |world, form| {
            world.instance.imds.remove(REGION);
            pad(world, ZONE, limits::METADATA_ITEM, *form);
            world.expect_key(&world.login())?;
            pad(world, ZONE, limits::METADATA_ITEM + 1, *form);
            world.expect_failed(&world.login(), 2)?;
            expect("times asked", &world.asked(ZONE), &1)
        },
    );
}

/// The service does not know this token, so the next request is the last.
#[test]
fn accepts_a_token_up_to_the_limit_only() {
    let rows = [(limits::TOKEN, 2), (limits::TOKEN + 1, 1)];
    each(
        1,
        &rows,
        |(length, _)| format!("{length} bytes"),
        |world, (length, requests)| {
            world.instance.imds.fault(On::path(TOKEN), Fault::Body(vec![b'A'; *length]));
            world.expect_failed(&world.login(), 2)?;
            expect("requests", &world.instance.imds.requests().len(), requests)
        },
    );
}

/// hyper's read buffer limits the head: to something between 20 and 40 times the size of a real one.
#[test]
fn accepts_headers_up_to_the_limit_only() {
    let rows = [(6_000, true), (2 * limits::REPLY_HEAD, false)];
    each(
        1,
        &rows,
        |(length, _)| format!("{length} bytes"),
        |world, (length, good)| {
            world.instance.imds.fault(On::any(), Fault::LargeHeader(*length));
            let outcome = world.login();
            if *good { world.expect_key(&outcome) } else { world.expect_failed(&outcome, 2) }
        },
    );
}
