//! Writes the initial corpus of each target: correct inputs, to be mutated.

use std::fs;
use std::path::Path;

use eic_lab::{DAY, Hash, OcspSpec, cert::CertSpec, key::Key};
use eic_oracle::Case;

const REPLIES: [(&str, &[u8]); 6] = [
    (
        "whole",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\nkeys",
    ),
    (
        "chunks",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nke\r\n2;x=y\r\nys\r\n0\r\nX: y\r\n\r\n",
    ),
    ("to-the-end", b"HTTP/1.0 200 OK\r\n\r\nkeys"),
    ("not-found", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    ("hints", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nk"),
    ("moved", b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"),
];

const COMMAND_LINES: [(&str, &[u8]); 5] = [
    ("sshd", b"alice\0SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"),
    ("options", b"--timeout=2.5\0--imds\0[fd00:ec2::254]:80\0--trust-store\0/etc/ssl/certs\0alice"),
    ("chained", b"alice\0\0--\0/usr/bin/sss_ssh_authorizedkeys\0alice\0--\0x"),
    ("md5", b"alice\0MD5:d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e"),
    ("enable", b"--enable\0--dry-run\0--no-chain"),
];

const CONFIGURATIONS: [(&str, &[u8]); 3] = [
    ("debian", b"\x03Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n# AuthorizedKeysCommand none\nSubsystem sftp /usr/lib/openssh/sftp-server\n"),
    ("match", b"\x04AuthorizedKeysCommand /usr/bin/x %u \"a b\" 'c' # no\nMatch User alice,!bob Address 192.0.2.0/24\n  AuthorizedKeysCommandUser=nobody\r\nMatch all\n"),
    ("old", b"\x00AuthorizedKeysCommand = \"/usr/bin/x y\" z\nPort 22 # x\n\tmatch host *.example.org\n"),
];

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let directory = corpus.join(target);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), bytes).unwrap();
    };
    let case = Case::make(&[]);
    write("records", "one", &case.record);
    write("records", "two", &[&case.record[..], b"\n", &case.record].concat());
    write("chain", "real", include_bytes!("../../data/signer-chain-us-east-1.pem"));
    write("chain", "laboratory", case.chain_pem().as_bytes());
    let (signer, intermediate) = (&case.path[2], &case.path[1]);
    let forever = |mut response: OcspSpec| {
        // 2025-01-30, and 9999-12-31.
        (response.produced_at, response.answer().this_update) = (1_738_233_600, 1_738_233_600);
        response.answer().next_update = Some(253_402_214_400);
        response.build()
    };
    write("ocsp", "issuer", &forever(OcspSpec::good(signer, intermediate)));
    let mut responder = CertSpec::responder("Laboratory OCSP", Key::rsa2048(5));
    responder.not_after += 20 * 365 * DAY;
    let responder = responder.issued_by(intermediate);
    write("ocsp", "responder", &forever(OcspSpec::good(signer, intermediate).signed_by(&responder)));
    let mut sha256 = OcspSpec::good(signer, intermediate);
    sha256.answer().id = eic_lab::ocsp::CertId::of(signer, intermediate, Hash::Sha256);
    write("ocsp", "sha256", &forever(sha256));
    for (target, seeds) in
        [("http", &REPLIES[..]), ("command_line", &COMMAND_LINES), ("sshd_config", &CONFIGURATIONS)]
    {
        for (name, bytes) in seeds {
            write(target, name, bytes);
        }
    }
    for (number, _) in (0_u8..).zip(eic_oracle::change::CHANGES) {
        write("verdict", &format!("change-{number:02}"), &[number, 77]);
    }
}
