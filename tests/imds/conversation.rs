//! What is sent: IMDSv2 and nothing else. No proxy, redirect, cookie or decompression.

use crate::world::{CHAIN, DOMAIN, ID, KEYS, NAMES, REGION, TOKEN, USER, World, each, expect};
use eic_lab::{Endpoint, Fault, IPV6, Machine, On, http};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const SESSION: &str = "x-aws-ec2-metadata-token";

#[test]
fn requests_are_version_2_and_bare() {
    let world = World::new();
    world.expect_key(&world.login()).unwrap();
    let requests = world.instance.imds.requests();
    assert_eq!(requests.len(), 9);
    let session = requests[1].header(SESSION).unwrap();
    for (number, request) in requests.iter().enumerate() {
        let path = &request.path;
        let (method, own) = if number == 0 { ("PUT", (TTL, "5")) } else { ("GET", (SESSION, session)) };
        assert_eq!(request.method, method, "{path}");
        let mut headers: Vec<(String, &str)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
            // A PUT without a body can have this header.
            .filter(|header| *header != ("content-length".to_owned(), "0"))
            .collect();
        headers.sort();
        assert_eq!(headers, [("host".to_owned(), "169.254.169.254"), (own.0.to_owned(), own.1)], "{path}");
        assert!(request.raw.is_ascii() && request.raw.ends_with(b"\r\n\r\n"), "{path}");
    }
    let connections: BTreeSet<usize> = requests.iter().map(|request| request.connection).collect();
    assert_eq!(connections.len(), 9, "a connection each, for the service closes it after one");
}

#[test]
fn on_xen_requests_the_instance_id_before_reading_records() {
    let world = World::new();
    world.instance.machine(Machine::Xen);
    world.instance.imds.pace(Duration::from_millis(300));
    world.expect_key(&world.login()).unwrap();
    let requests = world.instance.imds.requests();
    assert!(requests.len() == 9 && requests[2].path.ends_with("/instance-id/"), "{requests:?}");
    assert_eq!(http::rounds(&requests), 5, "{requests:?}");
}

/// A stolen token is useless after the run.
#[test]
fn requests_a_token_for_the_time_of_the_run() {
    let rows: [(&[&str], &str); 6] = [
        (&[], "5"),
        (&["--timeout", "0.5"], "1"),
        (&["--timeout", "1"], "1"),
        (&["--timeout", "2"], "2"),
        (&["--timeout", "2.9"], "3"),
        (&["--timeout", "60"], "60"),
    ];
    each(
        1,
        &rows,
        |(options, _)| format!("{options:?}"),
        |world, (options, seconds)| {
            world.expect_key(&world.login_with(options))?;
            expect("TTL", &world.instance.imds.requests()[0].header(TTL), &Some(*seconds))
        },
    );
}

/// A token that the service does not know: the first request fails with 401 and is not repeated.
#[test]
fn sends_the_token_with_each_request() {
    let odd = "~!#$%&'*+-.^_`|/=:;<>()[]{}?@,\"\\";
    let rows = [("token", "token"), (odd, odd), ("token\n", "token")];
    each(
        1,
        &rows,
        |(given, _)| format!("{given:?}"),
        |world, (given, shown)| {
            world.instance.imds.fault(On::path(TOKEN), Fault::Body((*given).into()));
            world.expect_failed(&world.login(), 2)?;
            expect("token", &world.instance.imds.requests()[1].header(SESSION), &Some(*shown))?;
            expect("requests", &world.instance.imds.requests().len(), &2)
        },
    );
}

#[test]
fn refuses_a_token_that_would_add_a_header() {
    let rows = [
        ("a header behind it", &b"token\r\nX-Injected: 1"[..]),
        ("LF in it", b"tok\nen"),
        ("CR in it", b"tok\ren"),
        ("a space in it", b"tok en"),
        ("NUL", b"tok\0en"),
        ("a letter beyond ASCII", "tokën".as_bytes()),
        ("DEL", b"tok\x7fen"),
        ("escape", b"\x1b[2J"),
        ("nothing", b""),
    ];
    each(
        1,
        &rows,
        |(name, _)| (*name).to_owned(),
        |world, (_, token)| {
            world.instance.imds.fault(On::path(TOKEN), Fault::Body(token.to_vec()));
            world.expect_failed(&world.login(), 2)?;
            expect(
                "requests",
                &world.instance.imds.paths().as_slice(),
                &&["/latest/api/token".to_owned()][..],
            )
        },
    );
}

/// A proxy would get the token, and could forge replies.
#[test]
fn uses_no_proxy() {
    let world = World::new();
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 3128)).unwrap();
    proxy.set_nonblocking(true).unwrap();
    for name in
        ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "REQUEST_METHOD"]
    {
        for value in ["http://127.0.0.1:3128", "127.0.0.1:3128", "socks5://127.0.0.1:3128"] {
            let outcome = world
                .instance
                .command([USER, world.key.fingerprint()])
                .env(name, value)
                .env("no_proxy", "")
                .env("NO_PROXY", "")
                .run();
            world.expect_key(&outcome).unwrap_or_else(|why| panic!("{name}={value}: {why:?}"));
            let asked = proxy.accept().map_err(|error| error.kind());
            assert_eq!(
                asked.err(),
                Some(std::io::ErrorKind::WouldBlock),
                "{name}={value}: the proxy was asked"
            );
        }
    }
}

/// The target would send a good reply; only the first request is redirected.
#[test]
fn follows_no_redirect() {
    let statuses = [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ];
    let rows: Vec<_> = statuses
        .into_iter()
        .flat_map(|status| [TOKEN, KEYS, ID, REGION, DOMAIN, CHAIN, NAMES].map(|path| (status, path)))
        .collect();
    each(
        2,
        &rows,
        |(status, path)| format!("{status} at {path}"),
        |world, (status, path)| {
            world.instance.endpoint(IPV6.into(), Endpoint::Serving);
            world.expect_key(&world.login())?;
            let whole = world
                .instance
                .imds
                .paths()
                .into_iter()
                .find(|asked| asked.trim_end_matches('/').ends_with(path));
            let place = format!("http://[fd00:ec2::254]{}", whole.unwrap());
            world.reset();
            let reply = format!(
                "HTTP/1.1 {status}\r\nLocation: {place}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            world.instance.imds.fault(On::path(path).first(1), Fault::Raw(reply.into()));
            world.expect_failed(&world.login(), 2)?;
            expect("times asked", &world.asked(path), &1)
        },
    );
}

#[test]
fn sends_no_cookie() {
    let world = World::new();
    world.instance.imds.fault(On::any(), Fault::cookie());
    world.expect_key(&world.login()).unwrap();
    let requests = world.instance.imds.requests();
    assert!(requests.len() == 9 && requests.iter().all(|request| request.header("Cookie").is_none()));
}

#[test]
fn decompresses_nothing() {
    let rows = [("gzip", "gzip", &["-c"][..]), ("x-gzip", "gzip", &["-9", "-c"])];
    each(
        1,
        &rows,
        |(name, ..)| (*name).to_owned(),
        |world, (encoding, program, arguments)| {
            let region = packed(program, arguments, b"us-east-1");
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                region.len()
            );
            world.instance.imds.fault(On::path(REGION), Fault::Raw([head.into_bytes(), region].concat()));
            world.expect_failed(&world.login(), 2)?;
            expect("times asked", &world.asked(REGION), &1)
        },
    );
}

fn packed(program: &str, arguments: &[&str], text: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "{program}");
    output.stdout
}
