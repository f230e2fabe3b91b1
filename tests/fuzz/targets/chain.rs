//! Any text as the signer's chain: only AWS's real one, read on 2025-01-30, has a path to the system's anchors at that time.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use eic_keys::ec2::{Domain, Region};
use eic_keys::trust::path_building::SignerChain;
use eic_keys::trust::{SignerError, SignerName, TrustStore, UnixTime};
use libfuzzer_sys::fuzz_target;
use openssl::base64::encode_block;
use openssl::x509::X509;

const REAL: &[u8] = include_bytes!("../../data/signer-chain-us-east-1.pem");

static NAME: LazyLock<SignerName> = LazyLock::new(|| {
    SignerName::new(&Region::parse(b"us-east-1").unwrap(), Domain::parse(b"amazonaws.com").unwrap())
});
/// The real signer's certificate, as PEM writes it on one line.
static SIGNER: LazyLock<String> =
    LazyLock::new(|| encode_block(&X509::from_pem(REAL).unwrap().to_der().unwrap()));
static STORE: LazyLock<TrustStore> = LazyLock::new(|| {
    TrustStore::open(Path::new("/"), Some(Path::new("/etc/ssl/certs/Amazon_Root_CA_1.pem"))).unwrap()
});

fuzz_target!(|text: &[u8]| {
    let Ok(chain) = SignerChain::read(text) else { return };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_738_233_600));
    let path = chain.find_path(&NAME, &STORE, now);
    assert!(!matches!(path, Err(SignerError::Store(_))), "the store can be read");
    if path.is_ok() {
        // Whatever is around it, the signer is the real one, to the byte. (OpenSSL is not
        // compared: its lines end at LF, and ours also at CR.)
        let line: Vec<u8> =
            text.iter().copied().filter(|byte| !matches!(byte, b'\t'..=b'\r' | b' ')).collect();
        assert!(line.windows(SIGNER.len()).any(|part| part == SIGNER.as_bytes()));
    }
});
