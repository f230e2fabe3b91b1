//! The floor: asks what eic-keys asks for these arguments, one request after the other, proves nothing and prints nothing.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "a yardstick, not a product"
)]

use std::io::{Read, Write};
use std::net::TcpStream;

fn ask(request: &str) -> String {
    let mut stream = TcpStream::connect("169.254.169.254:80").expect("the laboratory's metadata service");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    reply
}

fn main() {
    let token = ask(
        "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token-ttl-seconds: 5\r\n\r\n",
    );
    let token = token.lines().last().unwrap_or_default();
    for path in std::env::args().skip(1) {
        ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"
        ));
    }
}
