//! A run uses at most six megabytes, whatever the service sends.

use crate::world::{CHAIN, DOMAIN, KEYS, NAMES, TOKEN, USER, World, each};
use eic_keys::limits;
use eic_lab::{Fault, Hash, Key, On, UserKey, pki};
use std::time::Duration;

const MOST: u64 = 6_000_000;

/// What is wrong with the replies.
type Row = (&'static str, fn(&World));

fn check(rows: &[Row]) {
    each(
        2,
        rows,
        |(name, _)| (*name).to_owned(),
        |world, (_, prepare)| {
            // The row before can have filled the instance to its limits.
            world.instance.adopt(world.instance.pki());
            prepare(world);
            // Without a fingerprint every record is read completely.
            let memory = world.instance.command([USER]).with_memory().run().memory.unwrap();
            if memory <= MOST { Ok(()) } else { Err(format!("held {memory} bytes").into()) }
        },
    );
}

#[test]
fn good_and_bad_replies_need_little_memory() {
    check(&[
        ("a login", |_| ()),
        ("silent", |world| world.instance.imds.fault(On::path(TOKEN), Fault::Hang)),
        ("a token without end", |world| world.instance.imds.fault(On::path(TOKEN), Fault::EndlessBody)),
        ("keys without end", |world| world.instance.imds.fault(On::path(KEYS), Fault::EndlessBody)),
        ("keys in chunks without end", |world| {
            world.instance.imds.fault(On::path(KEYS), Fault::EndlessChunks);
        }),
        ("keys of 2^62 bytes", |world| world.instance.imds.fault(On::path(KEYS), Fault::EndlessLength)),
        ("everything without end", |world| {
            for path in world.paths().iter().filter(|path| ![TOKEN, KEYS].contains(path)) {
                world.instance.imds.fault(On::path(path), Fault::EndlessBody);
            }
        }),
        ("headers without end", |world| world.instance.imds.fault(On::any(), Fault::EndlessHeaders)),
        ("a header without end", |world| world.instance.imds.fault(On::any(), Fault::EndlessHeaderLine)),
        ("80 headers to each", |world| world.instance.imds.fault(On::any(), Fault::ManyHeaders(80))),
        ("100 Continue without end", |world| world.instance.imds.fault(On::path(KEYS), Fault::Continues)),
        ("chunks of a byte", |world| world.instance.imds.fault(On::any(), Fault::Chunks(1))),
    ]);
}

/// Publishes this text, cut to the limit, as the active keys of the user.
fn publish(world: &World, text: impl Into<Vec<u8>>) {
    let mut text = text.into();
    assert!(text.len() > limits::ACTIVE_KEYS / 2);
    world.instance.imds.unpublish(USER);
    text.truncate(limits::ACTIVE_KEYS);
    world.instance.imds.publish_for(USER, text, Duration::from_secs(3600));
}

/// As many valid records as fit.
fn records(world: &World, key: &UserKey, lines: usize) -> Vec<u8> {
    let comment = "c".repeat(3000);
    let mut record = world.instance.record(key).expires_in(3600);
    record = record.key_line(format!("{} {comment}", key.line()));
    for number in 0..lines {
        record = record.with_line(format!("#X{number}="));
    }
    let record = [record.signed_by(&world.instance.pki().signer.key), b"\n".to_vec()].concat();
    record.repeat(limits::ACTIVE_KEYS / record.len())
}

#[test]
fn the_most_keys_need_little_memory() {
    check(&[
        ("good records", |world| publish(world, records(world, &UserKey::rsa(4096), 0))),
        ("good records in chunks of a byte", |world| {
            let mut reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for byte in records(world, &UserKey::rsa(4096), 0) {
                reply.extend_from_slice(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']);
            }
            world.instance.imds.fault(On::path(KEYS), Fault::Raw([&reply[..], b"0\r\n\r\n"].concat()));
        }),
        ("records of many lines", |world| publish(world, records(world, &UserKey::ed25519(), 1000))),
        ("a line a byte", |world| publish(world, b"a\n".repeat(limits::ACTIVE_KEYS / 2))),
        ("a record a byte", |world| publish(world, b"a\n\n".repeat(limits::ACTIVE_KEYS / 3))),
        ("metadata only", |world| publish(world, b"#\n".repeat(limits::ACTIVE_KEYS / 2))),
        ("one line", |world| publish(world, vec![b'A'; limits::ACTIVE_KEYS])),
        ("one caller", |world| {
            let record =
                world.instance.record(&world.key).set("Caller", "\u{1b}".repeat(limits::ACTIVE_KEYS - 2000));
            publish(world, record.signed_by(&world.instance.pki().signer.key));
        }),
        ("one signature", |world| {
            let record = world.instance.record(&world.key);
            publish(world, record.with_signature(&vec![1; limits::ACTIVE_KEYS / 4 * 3 - 2000]));
        }),
    ]);
}

#[test]
fn the_largest_chain_and_ocsp_responses_need_little_memory() {
    check(&[
        ("a chain of sixteen", |world| {
            let pki = world.instance.pki();
            let others = (0..limits::CERTIFICATES - 3).map(|_| &pki.old_root);
            world.instance.serve_chain(pki.chain().into_iter().chain(others));
        }),
        ("the largest chain", |world| {
            let pki = world.instance.pki();
            let chain = pki::bundle(pki.chain());
            let rest = "A".repeat(63).into_bytes();
            let rest = [b"-----BEGIN CERTIFICATE-----\n", &[rest, b"\n".to_vec()].concat().repeat(1024)[..]]
                .concat();
            let room = limits::CERTIFICATE_CHAIN - chain.len() - 30;
            let text = [chain.as_bytes(), &rest[..room / 64 * 64], b"\n-----END CERTIFICATE-----\n"].concat();
            world.instance.imds.set(CHAIN, text);
        }),
        ("the largest lists and OCSP responses", |world| {
            let pki = world.instance.pki();
            let names =
                [&pki.signer, &pki.intermediate].map(|cert| cert.fingerprint(Hash::Sha1)).join("\n") + "\n";
            world.instance.imds.fault(On::path(NAMES), Fault::Body(names.repeat(49).into()));
            world.instance.imds.fault(On::within(NAMES), Fault::Body(vec![b'A'; limits::OCSP_RESPONSE]));
        }),
        ("an OCSP response of nested sequences", |world| {
            let nested = [0x30, 0x80].repeat(limits::OCSP_RESPONSE * 3 / 8 - 2);
            world.instance.serve_ocsp_response(&world.instance.pki().signer, &nested);
        }),
        ("the largest domain", |world| {
            world.instance.imds.fault(On::path(DOMAIN), Fault::Body(vec![0x1b; limits::METADATA_ITEM]));
        }),
        ("a signer of 4096 bits", |world| {
            world.instance.adopt(eic_lab::Pki::with(|spec| spec.signer.key = Key::rsa(4096)));
        }),
    ]);
}
