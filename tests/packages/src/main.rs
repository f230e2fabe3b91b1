//! The laboratory's metadata service for a whole system, to test packages.
//!
//! `eic-imds ANCHOR ADDRESS:PORT PUSH:PORT` serves at ADDRESS:PORT of the network that it is started in, and writes the anchor that
//! is to be trusted to the file ANCHOR. Keys are pushed by a line to PUSH:PORT, `USER KEYTYPE KEY [NAME=VALUE]... [forged]`, and are
//! answered with `pushed`. `NAME=VALUE` sets a metadata line of the record, like `Caller`; `forged`: the signature is by another key.
//! It ends when its standard input does.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::let_underscore_must_use,
    reason = "a part of a test: what cannot be set up must fail it, loudly and at once"
)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::thread;

use eic_lab::{IPV4, Instance, Key, RecordSpec, instance::INSTANCE, pki};

/// What comes from the system's network to the laboratory's thread, which has a network of its own.
enum Event {
    Request(TcpStream),
    Push(TcpStream),
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [anchor, imds, push] = arguments.as_slice() else {
        panic!("usage: eic-imds ANCHOR ADDRESS:PORT PUSH:PORT")
    };
    let (events, received) = mpsc::channel();
    // Bound here, in the system's network: a socket stays in the network namespace where it was made.
    listen(imds, events.clone(), Event::Request);
    listen(push, events, Event::Push);
    let anchor = anchor.clone();
    thread::spawn(move || {
        let instance = Instance::start_without_program();
        // The laboratory's thread has a file system of its own.
        std::fs::write(&anchor, pki::bundle([&instance.pki().root])).expect("the anchor can be written");
        for event in received {
            match event {
                Event::Request(client) => {
                    let server = TcpStream::connect((IPV4, 80)).expect("the laboratory serves");
                    join(&client, &server);
                }
                Event::Push(client) => answer(&instance, &client),
            }
        }
    });
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

fn listen(address: &str, events: Sender<Event>, event: fn(TcpStream) -> Event) {
    let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("cannot listen on {address}: {e}"));
    thread::spawn(move || listener.incoming().flatten().try_for_each(|stream| events.send(event(stream))));
}

/// Forwards data in both directions, until both have ended.
fn join(client: &TcpStream, server: &TcpStream) {
    for (from, to) in [(client, server), (server, client)] {
        let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

fn answer(instance: &Instance, mut client: &TcpStream) {
    let mut line = String::new();
    let _ = BufReader::new(client).read_line(&mut line);
    let words: Vec<&str> = line.split_whitespace().collect();
    if let [user, kind, key, rest @ ..] = words.as_slice() {
        let record = RecordSpec::new(INSTANCE, &format!("{kind} {key}"));
        let record = rest
            .iter()
            .filter_map(|word| word.split_once('='))
            .fold(record, |record, (name, value)| record.set(name, value));
        if rest.contains(&"forged") {
            instance.imds.publish(user, record.signed_by(&Key::rsa2048(4)));
        } else {
            instance.publish(user, &record);
        }
        let _ = client.write_all(b"pushed\n");
    }
}
