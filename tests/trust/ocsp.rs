//! Revocation: each certificate below the anchor needs a valid OCSP response with the status good. In each case one thing is wrong.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::arithmetic_side_effects, clippy::string_slice, reason = "a test may overflow")]
#![allow(clippy::type_complexity, reason = "a table of cases")]

use eic_lab::cert::{name, oids, usage, wrapped};
use eic_lab::{
    Attribute, Cert, CertSpec, DAY, Extension, HOUR, Hash, Key, OcspSpec, Pki, ResponderId, Scheme, Status,
    now, ocsp,
};

use crate::common::{accepted, instance, signer_refused};

/// A responder that `issuer` certified, on one of the spare keys.
fn responder(issuer: &Cert, change: impl FnOnce(&mut CertSpec)) -> Cert {
    let mut spec = CertSpec::responder("Laboratory Responder", Key::rsa2048(4));
    change(&mut spec);
    spec.issued_by(issuer)
}

#[test]
fn a_good_ocsp_response_is_accepted() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let sha256 = |response: &mut OcspSpec| {
        response.answer().id = ocsp::CertId::of(&pki.signer, &pki.intermediate, Hash::Sha256);
    };
    let cases: &[(&str, &dyn Fn(&mut OcspSpec))] = &[
        ("as it is", &|_| ()),
        ("CertID by SHA-256", &sha256),
        ("responder by key", &|response| response.responder_id = ResponderId::Key),
        ("issuer's certificate included", &|response| response.certs = vec![pki.intermediate.clone()]),
        ("a stranger's certificate included", &|response| response.certs = vec![pki.old_root.clone()]),
        ("SHA-384", &|response| response.scheme = Some(Scheme::RsaPkcs1(Hash::Sha384))),
        ("RSA-PSS", &|response| response.scheme = Some(Scheme::RsaPss(Hash::Sha256, 32))),
        ("with a nonce", &|response| response.extensions.push(ocsp::nonce())),
        ("with an unknown extension", &|response| response.extensions.push(Extension::unknown(false))),
        ("its answer with one", &|response| response.answer().extensions.push(Extension::unknown(false))),
        ("since now", &|response| response.answer().this_update = now()),
        ("for a while yet", &|response| response.answer().next_update = Some(now() + 60)),
        ("beside another's answer", &|response| {
            let mut other = ocsp::Answer::good(&pki.intermediate, &pki.root);
            other.status = Status::Revoked(now() - DAY, None);
            response.answers.insert(0, other);
        }),
    ];
    for (what, change) in cases {
        let mut response = pki.signer_ocsp();
        change(&mut response);
        instance.serve_ocsp_response(&pki.signer, &response.build());
        accepted(&instance, &key, what);
    }
}

/// Of several answers, the one that ends first counts.
#[test]
fn the_end_of_an_ocsp_response_is_its_first() {
    for times in [[2, 30], [30, 2]] {
        let (instance, _) = instance();
        let pki = instance.pki();
        let mut response = pki.signer_ocsp();
        response.answers = times
            .map(|days| {
                let mut answer = ocsp::Answer::good(&pki.signer, &pki.intermediate);
                answer.next_update = Some(now() + days * DAY + HOUR);
                answer
            })
            .to_vec();
        instance.serve_ocsp_response(&pki.signer, &response.build());
        let report = instance.command(["--check", "--json"]).run().stdout;
        let document: serde_json::Value = serde_json::from_str(&report).unwrap();
        let mut checks = document["checks"].as_array().unwrap().iter();
        let found = checks.find(|check| check["id"] == "signer.ocsp").unwrap();
        assert!(
            found.to_string().contains("good for 49 h more")
                || found.to_string().contains("good for 48 h more"),
            "{found}"
        );
    }
}

/// The signature is over the bytes as received. Decoding and encoding them again could give different bytes.
#[test]
fn verifies_the_signature_of_an_ocsp_response_over_the_bytes_received() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let serve = |delivered: ocsp::Rewriting, signed_as_delivered| {
        let mut response = pki.signer_ocsp();
        (response.delivered, response.signed_as_delivered) = (Some(delivered), signed_as_delivered);
        instance.serve_ocsp_response(&pki.signer, &response.build());
    };
    serve(ocsp::with_default_version, true);
    accepted(&instance, &key, "a default value written out, and signed so");
    serve(ocsp::with_default_version, false);
    signer_refused(&instance, &key, "invalid signature", "a default value written out after it was signed");
    let encodings: [(&str, ocsp::Rewriting); 2] = [
        ("a length that is too long", ocsp::with_long_length),
        ("an indefinite length", ocsp::with_indefinite_length),
    ];
    for (what, change) in encodings {
        for signed_as_delivered in [true, false] {
            serve(change, signed_as_delivered);
            signer_refused(&instance, &key, "cannot be read", what);
        }
    }
}

/// The same for the names of issuers, which are compared and hashed.
#[test]
fn compares_names_by_the_bytes_received() {
    let (instance, _) = instance();
    instance.adopt(Pki::with(|spec| {
        for issuer in [&mut spec.root, &mut spec.intermediate] {
            issuer.one_set = true;
            issuer.subject.reverse();
        }
    }));
    let key = eic_lab::UserKey::ed25519();
    instance.push_for_an_hour("alice", &key);
    accepted(&instance, &key, "a set that is not sorted as DER has it");
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
#[test]
fn a_bad_ocsp_response_is_refused() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let answer_of_another = ocsp::Answer::good(&pki.intermediate, &pki.root);
    let cases: &[(&str, &str, &dyn Fn(&mut OcspSpec))] = &[
        ("revoked", "is revoked", &|response| {
            response.answer().status = Status::Revoked(now() - DAY, Some(1));
        }),
        ("revoked without a reason", "is revoked", &|response| {
            response.answer().status = Status::Revoked(now() - DAY, None);
        }),
        ("revoked, but later", "is revoked", &|response| {
            response.answer().status = Status::Revoked(now() + DAY, Some(6));
        }),
        ("unknown", "is unknown", &|response| response.answer().status = Status::Unknown),
        ("over", "out of date", &|response| response.answer().next_update = Some(now() - 1)),
        ("long over", "out of date", &|response| response.answer().next_update = Some(now() - 30 * DAY)),
        ("without an end", "out of date", &|response| response.answer().next_update = None),
        ("from the future", "is not valid yet", &|response| response.answer().this_update = now() + HOUR),
        ("another serial", "another certificate", &|response| response.answer().id.serial[15] ^= 1),
        ("a serial of another length", "another certificate", &|response| {
            response.answer().id.serial.truncate(15);
        }),
        ("another issuer's name", "another certificate", &|response| {
            response.answer().id.issuer_name_hash[0] ^= 1;
        }),
        ("another issuer's key", "another certificate", &|response| {
            response.answer().id.issuer_key_hash[19] ^= 1;
        }),
        ("a cut hash", "another certificate", &|response| response.answer().id.issuer_key_hash.truncate(10)),
        ("an empty hash", "another certificate", &|response| response.answer().id.issuer_name_hash.clear()),
        ("CertID by SHA-384", "another certificate", &|response| {
            response.answer().id = ocsp::CertId::of(&pki.signer, &pki.intermediate, Hash::Sha384);
        }),
        ("SHA-1's hashes called SHA-256's", "another certificate", &|response| {
            response.answer().id.hash = Hash::Sha256;
        }),
        ("another certificate's answer", "another certificate", &|response| {
            response.answers = vec![answer_of_another.clone()];
        }),
        ("no answer", "another certificate", &|response| response.answers.clear()),
        ("good and revoked", "is revoked", &|response| {
            let mut second = response.answers[0].clone();
            second.status = Status::Revoked(now() - DAY, Some(1));
            response.answers.push(second);
        }),
        ("good once, good and over once", "out of date", &|response| {
            let mut second = response.answers[0].clone();
            second.next_update = Some(now() - 1);
            response.answers.push(second);
        }),
        ("signature damaged", "invalid signature", &|response| response.damaged = true),
        ("signed with SHA-1", "invalid signature", &|response| {
            response.scheme = Some(Scheme::RsaPkcs1(Hash::Sha1));
        }),
        ("signed by another key", "invalid signature", &|response| {
            response.responder_id = ResponderId::Name;
            response.responder.key = Key::rsa2048(5);
        }),
        ("signed by the anchor", "not signed by the issuer", &|response| {
            response.responder = pki.root.clone();
        }),
        ("signed by the signer itself", "not signed by the issuer", &|response| {
            response.responder = pki.signer.clone();
        }),
        ("responder's name is another", "not signed by the issuer", &|response| {
            response.responder_id = ResponderId::OtherName(name(&[Attribute::common_name("Somebody")]));
        }),
        ("responder's key is another", "not signed by the issuer", &|response| {
            response.responder_id = ResponderId::OtherKey(vec![7; 20]);
        }),
        ("try later", "error message", &|response| response.response_status = 3),
        ("unauthorized, without an answer", "error message", &|response| {
            response.response_status = 6;
            response.response_bytes = false;
        }),
        ("no such status", "cannot be read", &|response| response.response_status = 4),
        ("successful, without an answer", "cannot be read", &|response| response.response_bytes = false),
        ("another type of response", "cannot be read", &|response| response.response_type = oids::UNKNOWN),
        ("another version", "cannot be read", &|response| response.version = 2),
        ("something behind", "cannot be read", &|response| response.trailing = vec![0]),
        ("a critical extension", "critical extension", &|response| {
            response.extensions.push(Extension::unknown(true));
        }),
        ("its answer with one", "critical extension", &|response| {
            response.answer().extensions.push(Extension::unknown(true));
        }),
    ];
    for (what, reason, change) in cases {
        let mut response = pki.signer_ocsp();
        change(&mut response);
        instance.serve_ocsp_response(&pki.signer, &response.build());
        signer_refused(&instance, &key, reason, what);
    }
    instance.serve_ocsp_response(&pki.signer, &pki.signer_ocsp().build());
    accepted(&instance, &key, "the right one again");
}

#[test]
fn a_responder_authorised_by_the_issuer_is_accepted() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let cases: &[(&str, &dyn Fn(&mut CertSpec))] = &[
        ("as it is", &|_| ()),
        ("without nocheck", &|spec| spec.extensions.clear()),
        ("without key usage", &|spec| spec.key_usage = None),
        ("for servers as well", &|spec| spec.extended_key_usage.push(oids::SERVER_AUTH)),
        ("on P-256", &|spec| spec.key = Key::p256()),
        ("on P-384", &|spec| spec.key = Key::p384()),
        ("on Ed25519", &|spec| spec.key = Key::ed25519()),
    ];
    for (what, change) in cases {
        let responder = responder(&pki.intermediate, change);
        let mut response = pki.signer_ocsp().signed_by(&responder);
        instance.serve_ocsp_response(&pki.signer, &response.build());
        accepted(&instance, &key, what);
        response.responder_id = ResponderId::Key;
        instance.serve_ocsp_response(&pki.signer, &response.build());
        accepted(&instance, &key, &format!("{what}, by key"));
        response.certs = vec![pki.old_root.clone(), responder.clone(), pki.intermediate.clone()];
        instance.serve_ocsp_response(&pki.signer, &response.build());
        accepted(&instance, &key, &format!("{what}, among others"));
    }
    let of_the_root = responder(&pki.root, |_| ());
    instance.serve_ocsp_response(&pki.intermediate, &pki.intermediate_ocsp().signed_by(&of_the_root).build());
    accepted(&instance, &key, "the anchor's, for the intermediate");
}

#[test]
fn a_responder_not_authorised_by_the_issuer_is_refused() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let issuer = &pki.intermediate;
    let cases: &[(&str, Cert)] = &[
        ("not for OCSP", responder(issuer, |spec| spec.extended_key_usage = vec![oids::SERVER_AUTH])),
        ("for nothing said", responder(issuer, |spec| spec.extended_key_usage.clear())),
        ("for any usage", responder(issuer, |spec| spec.extended_key_usage = vec!["2.5.29.37.0"])),
        ("may not sign data", responder(issuer, |spec| spec.key_usage = Some(usage::KEY_ENCIPHERMENT))),
        ("expired", responder(issuer, |spec| spec.not_after = now() - 1)),
        ("not valid yet", responder(issuer, |spec| spec.not_before = now() + HOUR)),
        ("is a CA", responder(issuer, |spec| spec.basic_constraints = Some((true, None)))),
        (
            "with a critical extension",
            responder(issuer, |spec| spec.extensions.push(Extension::unknown(true))),
        ),
        ("signed with SHA-1", responder(issuer, |spec| spec.scheme = Some(Scheme::RsaPkcs1(Hash::Sha1)))),
        ("the anchor's", responder(&pki.root, |_| ())),
        ("a stranger's", responder(&pki.old_root, |_| ())),
        ("the signer's", responder(&pki.signer, |_| ())),
        ("its own", CertSpec::responder("Laboratory Responder", Key::rsa2048(4)).self_signed()),
        ("the issuer's by name only", {
            let spec = CertSpec::responder("Laboratory Responder", Key::rsa2048(4));
            spec.sign(&issuer.subject, &Key::rsa2048(5))
        }),
        ("damaged", responder(issuer, |_| ()).damaged()),
    ];
    for (what, responder) in cases {
        instance.serve_ocsp_response(&pki.signer, &pki.signer_ocsp().signed_by(responder).build());
        signer_refused(&instance, &key, "not signed by the issuer or a responder that it authorised", what);
    }
    let good = responder(issuer, |_| ());
    let response = pki.signer_ocsp().signed_by(&good);
    let cases: &[(&str, &str, OcspSpec)] = &[
        ("not included", "not signed by the issuer", OcspSpec { certs: vec![], ..response.clone() }),
        (
            "another included",
            "not signed by the issuer",
            OcspSpec { certs: vec![pki.signer.clone()], ..response.clone() },
        ),
        ("signature damaged", "invalid signature", OcspSpec { damaged: true, ..response.clone() }),
        ("signed by another key", "invalid signature", {
            let mut other = OcspSpec { responder_id: ResponderId::Name, ..response.clone() };
            other.responder.key = Key::rsa2048(5);
            other
        }),
    ];
    for (what, reason, response) in cases {
        instance.serve_ocsp_response(&pki.signer, &response.build());
        signer_refused(&instance, &key, reason, what);
    }
    instance.serve_ocsp_response(&pki.signer, &response.build());
    accepted(&instance, &key, "the right one");
}

#[test]
fn every_certificate_below_the_anchor_needs_an_ocsp_response() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let (signers, intermediates) = (pki.signer_ocsp().build(), pki.intermediate_ocsp().build());
    instance.remove_ocsp_response(&pki.signer);
    signer_refused(
        &instance,
        &key,
        "managed-ssh-signer.us-east-1.amazonaws.com is missing",
        "no OCSP response for the signer",
    );
    instance.serve_ocsp_response(&pki.signer, &intermediates);
    signer_refused(&instance, &key, "not signed by the issuer", "the intermediate's for the signer");
    instance.serve_ocsp_response(&pki.signer, &signers);
    instance.remove_ocsp_response(&pki.intermediate);
    signer_refused(
        &instance,
        &key,
        "Laboratory RSA 2048 M01 is missing",
        "no OCSP response for the intermediate",
    );
    instance.serve_ocsp_response(&pki.intermediate, &signers);
    signer_refused(&instance, &key, "not signed by the issuer", "the signer's for the intermediate");
    let mut revoked = pki.intermediate_ocsp();
    revoked.answer().status = Status::Revoked(now() - DAY, Some(2));
    instance.serve_ocsp_response(&pki.intermediate, &revoked.build());
    signer_refused(&instance, &key, "is revoked", "the intermediate was revoked");
    instance.serve_ocsp_response(&pki.intermediate, &intermediates);
    accepted(&instance, &key, "both");
    instance.serve_ocsp_responses([]);
    signer_refused(&instance, &key, "is missing", "no OCSP responses at all");
}

#[test]
fn finds_ocsp_responses_by_the_fingerprint_of_the_certificate() {
    let (instance, key) = instance();
    let pki = instance.pki();
    instance.serve_ocsp_responses(pki.ocsp_responses(Hash::Sha256));
    accepted(&instance, &key, "by SHA-256");
    instance.serve_ocsp_responses(
        pki.ocsp_responses(Hash::Sha1).into_iter().chain(pki.ocsp_responses(Hash::Sha256)),
    );
    accepted(&instance, &key, "by both");
    for (what, bad) in [("revoked", Status::Revoked(now() - DAY, Some(1))), ("unknown", Status::Unknown)] {
        let mut response = pki.signer_ocsp();
        response.answer().status = bad;
        instance.serve_ocsp_response(&pki.signer, &response.build());
        signer_refused(
            &instance,
            &key,
            "signer.us-east-1.amazonaws.com says that",
            &format!("{what} by SHA-1"),
        );
    }
    instance.serve_ocsp_responses(
        pki.ocsp_responses(Hash::Sha1).into_iter().map(|(name, der)| (name.to_lowercase(), der)),
    );
    accepted(&instance, &key, "in lower case");
    instance.serve_ocsp_responses(pki.ocsp_responses(Hash::Sha384));
    signer_refused(&instance, &key, "is missing", "by SHA-384");
    instance.serve_ocsp_responses(
        pki.ocsp_responses(Hash::Sha1).into_iter().map(|(name, der)| (format!("{name}0"), der)),
    );
    signer_refused(&instance, &key, "is missing", "with a digit more");
}

#[test]
fn the_base64_of_an_ocsp_response() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let path = format!("managed-ssh-keys/signer-ocsp/{}", pki.signer.fingerprint(Hash::Sha1));
    let der = pki.signer_ocsp().build();
    let one_line = wrapped(&der, 100_000).trim_end().to_owned();
    for (what, text) in [
        ("on one line", one_line.clone()),
        ("wrapped at 64", wrapped(&der, 64)),
        ("wrapped at 76, CRLF", wrapped(&der, 76).replace('\n', "\r\n")),
    ] {
        instance.imds.set(&path, text);
        accepted(&instance, &key, what);
    }
    for (what, text) in [
        ("empty", String::new()),
        ("a character less", one_line[..one_line.len() - 1].to_owned()),
        ("cut", one_line[..one_line.len() / 8 * 4].to_owned()),
        ("a strange character", one_line.replacen('A', "*", 1)),
        ("a blank", one_line.replacen('A', " A", 1)),
        ("DER of something else", wrapped(&pki.signer.der, 64)),
    ] {
        instance.imds.set(&path, text);
        signer_refused(&instance, &key, "cannot be read", what);
    }
    instance.imds.set(&path, der);
    signer_refused(&instance, &key, "cannot be read", "bare DER");
}

#[test]
fn refuses_an_ocsp_response_by_another_authority_of_the_same_name() {
    let (instance, key) = instance();
    let pki = instance.pki();
    // Another authority with the same names and serial number, but other keys.
    let other = Pki::with(|spec| {
        spec.intermediate.key = Key::rsa2048(4);
        spec.signer.serial.clone_from(&pki.signer.serial);
    });
    let response = OcspSpec { responder_id: ResponderId::Name, ..other.signer_ocsp() };
    instance.serve_ocsp_response(&pki.signer, &response.build());
    signer_refused(&instance, &key, "invalid signature", "by another authority of that name");
}
