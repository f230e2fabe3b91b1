//! The addresses that are tried: IPv4, then IPv6 if that cannot be reached; or only that of `--imds`.

use crate::world::{MOST, TOKEN, Tried, USER, World, each, expect, expect_time};
use eic_lab::{Endpoint, Fault, IPV4, IPV6, On};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use Endpoint::{Absent, Deaf, Dropping, Refusing, Serving};

/// The address that replies to a login.
#[derive(Clone, Copy, Debug)]
enum By {
    Ipv4,
    Ipv6,
    Nobody,
}

fn answered(world: &World, by: By, options: &[&str]) -> Tried {
    let outcome = world.login_with(options);
    let requests = world.instance.imds.requests();
    let from = |ipv6: bool| requests.iter().filter(|request| request.from.is_ipv6() == ipv6).count();
    match by {
        By::Ipv4 | By::Ipv6 => world.expect_key(&outcome)?,
        By::Nobody => world.expect_failed(&outcome, 2)?,
    }
    let ipv6 = matches!(by, By::Ipv6);
    expect("asked by the other address", &from(!ipv6), &0)?;
    expect("asked at all", &(from(ipv6) > 0), &!matches!(by, By::Nobody))?;
    // RFC 9110 section 7.2: an IPv6 address in brackets, and no port if it is the default.
    let host = if ipv6 { "[fd00:ec2::254]" } else { "169.254.169.254" };
    for request in &requests {
        expect("host", &request.header("host"), &Some(host))?;
    }
    expect_time(&outcome, 0.0, MOST)
}

#[test]
fn ipv4_then_ipv6() {
    let rows = [
        (Serving, Absent, By::Ipv4),
        (Serving, Serving, By::Ipv4),
        (Absent, Serving, By::Ipv6),
        (Refusing, Serving, By::Ipv6),
        (Dropping, Serving, By::Ipv6),
        // It accepted the connection, so it can be reached.
        (Deaf, Serving, By::Nobody),
        (Absent, Absent, By::Nobody),
        (Refusing, Refusing, By::Nobody),
        (Absent, Dropping, By::Nobody),
        (Dropping, Dropping, By::Nobody),
        (Dropping, Deaf, By::Nobody),
    ];
    let name = |(ipv4, ipv6, _): &(Endpoint, Endpoint, By)| format!("IPv4 {ipv4:?}, IPv6 {ipv6:?}");
    each(4, &rows, name, |world, (ipv4, ipv6, by)| {
        world.instance.endpoint(IPV4.into(), *ipv4);
        world.instance.endpoint(IPV6.into(), *ipv6);
        answered(world, *by, &[])
    });
}

/// After a bad reply from the first address, the second is not tried.
#[test]
fn does_not_try_the_next_address_after_a_bad_reply() {
    let rows = [
        ("switched off", Fault::Status(403), 1),
        ("in trouble", Fault::Status(503), 2),
        ("not found", Fault::Status(404), 1),
        ("closed", Fault::Close, 2),
        ("reset", Fault::Reset, 2),
        ("silent", Fault::Hang, 1),
        ("nonsense", Fault::garbage(), 2),
        ("no token", Fault::empty(), 1),
        ("too much", Fault::EndlessBody, 1),
    ];
    each(
        2,
        &rows,
        |(name, ..)| (*name).to_owned(),
        |world, (_, fault, tries)| {
            world.instance.endpoint(IPV6.into(), Serving);
            // IPv6 would send a good reply.
            world.instance.imds.fault(On::path(TOKEN).first(*tries), fault.clone());
            world.expect_failed(&world.login(), 2)?;
            expect("requests", &world.instance.imds.requests().len(), tries)
        },
    );
}

#[test]
fn imds_sets_the_address() {
    let rows = [
        ("169.254.169.254", By::Ipv4),
        ("169.254.169.254:80", By::Ipv4),
        ("fd00:ec2::254", By::Ipv6),
        ("FD00:0ec2:0::254", By::Ipv6),
        ("[fd00:ec2::254]", By::Ipv6),
        ("[fd00:ec2::254]:80", By::Ipv6),
        ("169.254.169.254:81", By::Nobody),
        ("127.0.0.1", By::Nobody),
        ("::1", By::Nobody),
    ];
    each(
        1,
        &rows,
        |(address, _)| (*address).to_owned(),
        |world, (address, by)| {
            world.instance.endpoint(IPV6.into(), Serving);
            answered(world, *by, &["--imds", address])?;
            world.reset();
            answered(world, *by, &[&format!("--imds={address}")])
        },
    );
}

/// Only the given address is tried.
#[test]
fn imds_is_the_only_address_tried() {
    let rows = [("169.254.169.254", Refusing, Serving), ("fd00:ec2::254", Serving, Refusing)];
    each(
        1,
        &rows,
        |(address, ..)| (*address).to_owned(),
        |world, (address, ipv4, ipv6)| {
            world.instance.endpoint(IPV4.into(), *ipv4);
            world.instance.endpoint(IPV6.into(), *ipv6);
            answered(world, By::Nobody, &["--imds", address])
        },
    );
}

#[test]
fn imds_sets_the_port() {
    let world = World::new();
    for address in ["127.0.0.1:8080", "[::1]:8080"] {
        let listener = TcpListener::bind(address).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).unwrap();
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let outcome = world.instance.run(["--imds", address, USER]);
        world.expect_failed(&outcome, 2).unwrap();
        world.instance.journal.clear();
        let asked = server.join().unwrap();
        assert!(asked.starts_with("PUT /latest/api/token HTTP/1.1\r\n"), "{asked}");
        // RFC 9110 section 7.2: with the port, because it is not the default.
        assert!(asked.to_ascii_lowercase().contains(&format!("\r\nhost: {address}\r\n")), "{asked}");
    }
}
