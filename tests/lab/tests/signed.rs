//! OpenSSL's programs accept what the laboratory signs correctly, and refuse what it signs wrongly.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
use eic_lab::cert::{oids, usage};
use eic_lab::ocsp::{CertId, nonce};
use eic_lab::pki::bundle;
use eic_lab::{
    Attribute, Cert, CertSpec, DAY, Extension, HOUR, Hash, Key, OcspSpec, Pki, RecordSpec, ResponderId,
    Scheme, Status, Text, UserKey, now,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A new directory for each call, below cargo's.
fn directory(name: &str) -> PathBuf {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{call}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Runs `openssl` in a directory. Returns whether it succeeded, and its output.
fn openssl(directory: &Path, arguments: &str) -> (bool, String) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Whether `openssl verify` accepts this leaf, with these intermediates and anchor.
fn verifies(name: &str, leaf: &Cert, between: &[&Cert], anchor: &Cert) -> Result<(), String> {
    let directory = directory(name);
    fs::write(directory.join("leaf.pem"), leaf.to_pem()).unwrap();
    fs::write(directory.join("between.pem"), bundle(between.iter().copied())).unwrap();
    fs::write(directory.join("anchor.pem"), anchor.to_pem()).unwrap();
    let strict = "verify -x509_strict -purpose sslserver -partial_chain -no-CApath -no-CAstore";
    let untrusted = if between.is_empty() { "" } else { "-untrusted between.pem " };
    let (well, said) = openssl(&directory, &format!("{strict} -CAfile anchor.pem {untrusted}leaf.pem"));
    if well { Ok(()) } else { Err(said) }
}

#[track_caller]
fn assert_refused(name: &str, pki: &Pki, reason: &str) {
    let refused = verifies(name, &pki.signer, &[&pki.intermediate], &pki.root).unwrap_err();
    assert!(refused.contains(reason), "{refused}");
}

#[test]
fn openssl_verifies_the_correct_hierarchy() {
    let pki = Pki::healthy();
    verifies("healthy", &pki.signer, &[&pki.intermediate], &pki.root).unwrap();
    // Also with the cross-signed root, if the old root is the anchor.
    verifies("crossed", &pki.signer, &[&pki.intermediate, &pki.cross_root], &pki.old_root).unwrap();
    let directory = directory("text");
    fs::write(directory.join("leaf.pem"), pki.signer.to_pem()).unwrap();
    let (_, text) = openssl(&directory, "x509 -in leaf.pem -noout -text -nameopt RFC2253");
    for part in [
        "Version: 3 (0x2)",
        "Subject: CN=managed-ssh-signer.us-east-1.amazonaws.com",
        "Issuer: CN=Laboratory RSA 2048 M01,O=Laboratory",
        "DNS:managed-ssh-signer.us-east-1.amazonaws.com",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "Digital Signature, Key Encipherment",
        "CA:FALSE",
        "(2048 bit)",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let (_, fingerprint) = openssl(&directory, "x509 -in leaf.pem -noout -fingerprint -sha1");
    assert!(fingerprint.replace(':', "").contains(&pki.signer.fingerprint(Hash::Sha1)), "{fingerprint}");
}

#[test]
fn openssl_refuses_each_wrong_field() {
    let expired = Pki::with(|spec| spec.signer.not_after = now() - HOUR);
    assert_refused("expired", &expired, "certificate has expired");
    let early = Pki::with(|spec| spec.intermediate.not_before = now() + HOUR);
    assert_refused("early", &early, "not yet valid");
    let no_authority = Pki::with(|spec| spec.intermediate.basic_constraints = Some((false, None)));
    assert_refused("no-authority", &no_authority, "invalid CA certificate");
    let no_signing = Pki::with(|spec| spec.intermediate.key_usage = Some(usage::DIGITAL_SIGNATURE));
    assert_refused("no-signing", &no_signing, "error 79");
    let mail = Pki::with(|spec| spec.signer.extended_key_usage = vec![oids::EMAIL_PROTECTION]);
    assert_refused("mail", &mail, "unsuitable certificate purpose");
    let critical = Pki::with(|spec| spec.signer.extensions = vec![Extension::unknown(true)]);
    assert_refused("critical", &critical, "unhandled critical extension");
    let constrained =
        Pki::with(|spec| spec.intermediate.name_constraints = Some((vec!["example.com"], vec![])));
    assert_refused("constrained", &constrained, "permitted subtree violation");
    let other_issuer = Pki::with(|spec| spec.signer.issuer = Some(vec![Attribute::common_name("Nobody")]));
    assert_refused("other-issuer", &other_issuer, "unable to get local issuer certificate");
    let version = Pki::with(|spec| spec.signer.version = 1);
    assert_refused("version", &version, "at least X509v3");

    let mut damaged = Pki::healthy();
    damaged.signer = damaged.signer.damaged();
    assert_refused("damaged", &damaged, "signature failure");
    let harmless = Pki::with(|spec| spec.signer.extensions = vec![Extension::unknown(false)]);
    verifies("harmless", &harmless.signer, &[&harmless.intermediate], &harmless.root).unwrap();
}

#[test]
fn any_path_length_and_depth_can_be_made() {
    let pki = Pki::healthy();
    let below = CertSpec::intermediate("Below", Key::p256()).issued_by(&pki.intermediate);
    let leaf = CertSpec::signer("deep.example", Key::ed25519()).issued_by(&below);
    let refused = verifies("too-deep", &leaf, &[&below, &pki.intermediate], &pki.root).unwrap_err();
    assert!(refused.contains("path length constraint exceeded"), "{refused}");

    let mut above = pki.root.clone();
    let mut chain = Vec::new();
    for depth in 0..6 {
        let spec = CertSpec::authority(&format!("Level {depth}"), Key::p256());
        above = spec.issued_by(&above);
        chain.push(above.clone());
    }
    let leaf = CertSpec::signer("deep.example", Key::p384()).issued_by(&above);
    verifies("deep", &leaf, &chain.iter().collect::<Vec<_>>(), &pki.root).unwrap();
}

#[test]
fn every_kind_of_key_and_signature_can_be_made() {
    let keys = [
        ("rsa3072", Key::rsa(3072), vec![Scheme::RsaPkcs1(Hash::Sha512), Scheme::RsaPss(Hash::Sha384, 48)]),
        ("rsa4096", Key::rsa(4096), vec![Scheme::RsaPkcs1(Hash::Sha384), Scheme::RsaPss(Hash::Sha256, 32)]),
        ("p256", Key::p256(), vec![Scheme::Ecdsa(Hash::Sha256), Scheme::Ecdsa(Hash::Sha512)]),
        ("p384", Key::p384(), vec![Scheme::Ecdsa(Hash::Sha384)]),
        ("ed25519", Key::ed25519(), vec![Scheme::Ed25519]),
    ];
    for (name, key, schemes) in keys {
        let authority = CertSpec::authority(name, key).self_signed();
        for scheme in schemes {
            let spec = CertSpec { scheme: Some(scheme), ..CertSpec::signer("kind.example", Key::p256()) };
            verifies(name, &spec.issued_by(&authority), &[], &authority)
                .unwrap_or_else(|said| panic!("{name} {scheme:?}: {said}"));
        }
    }
}

#[test]
fn every_kind_of_name_can_be_made() {
    let directory = directory("names");
    let name = |text, value: &[u8]| Attribute { oid: oids::COMMON_NAME, text, value: value.into() };
    let subject = vec![
        Attribute::common_name("first"),
        name(Text::Printable, b"second"),
        name(Text::Teletex, b"third"),
        name(Text::Ia5, b"fourth"),
        name(Text::Bmp, b"\0f\0i\0f\0t\0h"),
        name(Text::Universal, b"\0\0\0s\0\0\0i\0\0\0x"),
    ];
    let cert = CertSpec { subject, ..CertSpec::signer("x", Key::p256()) }.self_signed();
    fs::write(directory.join("cert.pem"), cert.to_pem()).unwrap();
    let (_, text) = openssl(&directory, "x509 -in cert.pem -noout -subject -nameopt RFC2253,show_type");
    for part in ["UTF8STRING:first", "PRINTABLESTRING:second", "T61STRING:third", "IA5STRING:fourth"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    for part in ["BMPSTRING:fifth", "UNIVERSALSTRING:six"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

/// Verifies an OCSP response with `openssl ocsp`, which has the issuer and trusts the root.
fn respond(name: &str, pki: &Pki, ocsp_response: &[u8]) -> (bool, String) {
    let directory = directory(name);
    fs::write(directory.join("ocsp.der"), ocsp_response).unwrap();
    fs::write(directory.join("issuer.pem"), pki.intermediate.to_pem()).unwrap();
    fs::write(directory.join("signer.pem"), pki.signer.to_pem()).unwrap();
    fs::write(directory.join("root.pem"), bundle([&pki.root, &pki.intermediate])).unwrap();
    openssl(
        &directory,
        "ocsp -respin ocsp.der -issuer issuer.pem -cert signer.pem -CAfile root.pem -verify_other issuer.pem \
         -no_nonce -resp_text",
    )
}

#[test]
fn a_good_ocsp_response_is_accepted() {
    let pki = Pki::healthy();
    let (well, said) = respond("ocsp", &pki, &pki.signer_ocsp().build());
    assert!(well && said.contains("Response verify OK") && said.contains("signer.pem: good"), "{said}");

    let responder = CertSpec::responder("Laboratory Responder", Key::rsa2048(4)).issued_by(&pki.intermediate);
    let mut delegated = pki.signer_ocsp().signed_by(&responder);
    delegated.responder_id = ResponderId::Name;
    let (well, said) = respond("delegated", &pki, &delegated.build());
    assert!(well && said.contains("Response verify OK") && said.contains("signer.pem: good"), "{said}");
    assert!(said.contains("CN = Laboratory Responder"), "{said}");

    let mut extended = pki.signer_ocsp();
    extended.extensions = vec![nonce()];
    extended.answer().extensions = vec![Extension::unknown(false)];
    extended.scheme = Some(Scheme::RsaPss(Hash::Sha256, 32));
    let (well, said) = respond("extended", &pki, &extended.build());
    assert!(well && said.contains("Response verify OK") && said.contains("OCSP Nonce"), "{said}");
}

#[test]
fn openssl_refuses_each_wrong_ocsp_response() {
    let pki = Pki::healthy();
    let case = |name: &str, change: &dyn Fn(&mut OcspSpec), expected: &str| {
        let mut ocsp_response = pki.signer_ocsp();
        change(&mut ocsp_response);
        let (_, said) = respond(name, &pki, &ocsp_response.build());
        assert!(said.contains(expected), "{name}: {expected} is not in {said}");
    };
    case("revoked", &|s| s.answer().status = Status::Revoked(now() - DAY, Some(1)), "Reason: keyCompromise");
    case("unknown", &|s| s.answer().status = Status::Unknown, "signer.pem: unknown");
    case("stale", &|s| s.answer().next_update = Some(now() - HOUR), "status expired");
    case("future", &|s| s.answer().this_update = now() + HOUR, "status not yet valid");
    case("other-serial", &|s| s.answer().id.serial = vec![1], "ERROR: No Status found");
    case("other-issuer", &|s| s.answer().id.issuer_key_hash = vec![0; 20], "ERROR: No Status found");
    case("damaged", &|s| s.damaged = true, "Response Verify Failure");
    case("refusing", &|s| (s.response_status, s.response_bytes) = (6, false), "unauthorized (6)");
    case("other-type", &|s| s.response_type = oids::UNKNOWN, "unknown response type");
    case("version", &|s| s.version = 3, "Version: 3 (0x2)");
    case("no-next", &|s| s.answer().next_update = None, "signer.pem: good");
    case("other-key", &|s| s.responder_id = ResponderId::OtherKey(vec![7; 20]), "Response Verify Failure");
    case("sha256", &|s| s.answer().id = CertId::of(&pki.signer, &pki.intermediate, Hash::Sha256), "sha256");
    case(
        "no-usage",
        &|s| {
            let plain =
                CertSpec { extended_key_usage: vec![], ..CertSpec::responder("No Usage", Key::p256()) };
            *s = s.clone().signed_by(&plain.issued_by(&pki.intermediate));
        },
        "missing ocspsigning usage",
    );
    case(
        "other-authority",
        &|s| *s = s.clone().signed_by(&CertSpec::responder("Stranger", Key::p256()).issued_by(&pki.old_root)),
        "Response Verify Failure",
    );
    let mut long = pki.signer_ocsp();
    long.trailing = vec![0; 3];
    let plain = pki.signer_ocsp().build().len();
    assert_eq!(long.build().len(), plain + 3);
}

/// Whether `openssl dgst` accepts the record's signature.
fn record_holds(name: &str, record: &[u8], key: &Key) -> (bool, String) {
    let directory = directory(name);
    let text = String::from_utf8(record.to_vec()).unwrap();
    let (metadata, rest) = text.split_once("\nssh-").unwrap();
    let (key_line, signature) = rest.split_once('\n').unwrap();
    let signature = signature.trim();
    fs::write(directory.join("lines"), format!("{metadata}\nssh-{key_line}\n")).unwrap();
    fs::write(directory.join("base64"), format!("{signature}\n")).unwrap();
    fs::write(directory.join("key.pem"), key.public_pem()).unwrap();
    // A line of base64 can be longer than the decoder's 76 characters.
    let long = if signature.contains('\n') { "" } else { " -A" };
    let (decoded, said) = openssl(&directory, &format!("base64 -d -in base64 -out signature{long}"));
    assert!(decoded, "{said}");
    openssl(
        &directory,
        "dgst -sha256 -verify key.pem -signature signature -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 \
         lines",
    )
}

#[test]
fn records_are_signed_as_the_service_signs() {
    let (signer, key) = (Key::rsa2048(3), UserKey::ed25519());
    let record = RecordSpec::new("i-0123456789abcdef0", key.line());
    assert!(record_holds("record", &record.signed_by(&signer), &signer).0);
    let wrapped = RecordSpec { wrap: Some(76), end: vec![], ..record.clone() };
    assert!(record_holds("wrapped", &wrapped.signed_by(&signer), &signer).0);
    assert!(!record_holds("forged", &record.signed_by(&Key::rsa2048(4)), &signer).0);
    for scheme in [
        Scheme::RsaPss(Hash::Sha256, 20),
        Scheme::RsaPss(Hash::Sha256, 0),
        Scheme::RsaPss(Hash::Sha512, 32),
        Scheme::RsaPkcs1(Hash::Sha256),
    ] {
        let other = RecordSpec { scheme, ..record.clone() }.signed_by(&signer);
        assert!(!record_holds("scheme", &other, &signer).0, "{scheme:?}");
    }
}

#[test]
fn records_contain_what_was_set() {
    let record = RecordSpec::new("i-1", "ssh-ed25519 AAAA")
        .set("Instance", "i-2")
        .set("Source", "10.0.0.1")
        .without("Caller")
        .with_line("#Odd")
        .key_line("ssh-rsa BBBB");
    let text = String::from_utf8(record.set("Timestamp", "7").with_signature(b"signature")).unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    let request = "#Request=1234abcd-1234-abcd-1234-1234abcd1234";
    let expected = [
        "#Timestamp=7",
        "#Instance=i-2",
        request,
        "#Source=10.0.0.1",
        "#Odd",
        "ssh-rsa BBBB",
        "c2lnbmF0dXJl",
        "",
    ];
    assert_eq!(lines, expected);
}
