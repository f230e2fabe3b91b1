//! The signer: its name, domain, and path to an anchor of the trust store. In each case one thing is wrong.
#![allow(clippy::type_complexity, reason = "a table of cases")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::arithmetic_side_effects, clippy::string_slice, reason = "a test may overflow")]

use eic_keys::ec2::{Domain, Region};
use eic_lab::cert::{oids, usage};
use eic_lab::pki::{self, PkiSpec};
use eic_lab::{
    Attribute, Cert, CertSpec, DAY, Extension, HOUR, Hash, Instance, Key, OcspSpec, Pki, Scheme, Text,
    UserKey, now,
};

use crate::common::{accepted, instance, signer_refused};

const NAME: &str = "managed-ssh-signer.us-east-1.amazonaws.com";

/// Serves a PKI, and pushes the key with a record that its signer signed.
fn adopt(instance: &Instance, key: &UserKey, pki: Pki) {
    instance.adopt(pki);
    instance.imds.unpublish("alice");
    instance.push("alice", key);
}

/// A change of the PKI, and the reason that is logged.
type Case = (&'static str, &'static str, fn(&mut PkiSpec));

#[test]
fn a_healthy_signer_is_accepted() {
    let (instance, key) = instance();
    accepted(&instance, &key, "as it is");
    let cases: &[(&str, fn(&mut PkiSpec))] = &[
        ("common name as PrintableString", |pki| pki.signer.subject[0].text = Text::Printable),
        ("common name as IA5String", |pki| pki.signer.subject[0].text = Text::Ia5),
        ("organization beside the common name", |pki| {
            pki.signer.subject.insert(0, Attribute::organization("Amazon"));
        }),
        ("no alternative name", |pki| pki.signer.alternative_names.clear()),
        ("no extended key usage", |pki| pki.signer.extended_key_usage.clear()),
        ("no key usage", |pki| pki.signer.key_usage = None),
        ("digitalSignature alone", |pki| pki.signer.key_usage = Some(usage::DIGITAL_SIGNATURE)),
        ("no basic constraints", |pki| pki.signer.basic_constraints = None),
        ("no key identifiers", |pki| pki.signer.key_identifiers = false),
        ("unknown extension", |pki| pki.signer.extensions.push(Extension::unknown(false))),
        ("permitted by name constraints", |pki| {
            pki.intermediate.name_constraints = Some((vec!["amazonaws.com"], vec![]));
        }),
        ("signer's key of 3072 bits", |pki| pki.signer.key = Key::rsa(3072)),
        ("signer's key of 4096 bits", |pki| pki.signer.key = Key::rsa(4096)),
        ("intermediate on P-256", |pki| pki.intermediate.key = Key::p256()),
        ("intermediate on P-384", |pki| pki.intermediate.key = Key::p384()),
        ("intermediate signs with SHA-384", |pki| pki.signer.scheme = Some(Scheme::RsaPkcs1(Hash::Sha384))),
        ("intermediate signs with SHA-512", |pki| pki.signer.scheme = Some(Scheme::RsaPkcs1(Hash::Sha512))),
        ("root on Ed25519", |pki| pki.root.key = Key::ed25519()),
        ("root with path length 1", |pki| pki.root.basic_constraints = Some((true, Some(1)))),
        ("root of version 1", |pki| {
            pki.root.version = 1;
            pki.root.basic_constraints = None;
            pki.root.key_usage = None;
            pki.root.key_identifiers = false;
        }),
        ("valid since now", |pki| pki.signer.not_before = now() - 1),
        ("valid for a while yet", |pki| pki.signer.not_after = now() + 60),
    ];
    for (what, change) in cases {
        adopt(&instance, &key, Pki::with(change));
        accepted(&instance, &key, what);
    }
}

#[test]
fn refuses_a_certificate_whose_only_common_name_is_not_the_signers() {
    let (instance, key) = instance();
    let cases: &[(&str, fn(&mut PkiSpec))] = &[
        ("another region", |pki| pki.signer = signer("managed-ssh-signer.us-east-2.amazonaws.com")),
        ("another partition", |pki| pki.signer = signer("managed-ssh-signer.us-east-1.amazonaws.com.cn")),
        ("another service", |pki| pki.signer = signer("signer.us-east-1.amazonaws.com")),
        ("somebody's domain", |pki| {
            pki.signer = signer("managed-ssh-signer.us-east-1.amazonaws.com.example.org");
        }),
        ("a wildcard", |pki| pki.signer = signer("*.us-east-1.amazonaws.com")),
        ("upper case", |pki| pki.signer.subject = vec![Attribute::common_name(&NAME.to_uppercase())]),
        ("a dot behind", |pki| pki.signer.subject = vec![Attribute::common_name(&format!("{NAME}."))]),
        ("a NUL behind", |pki| {
            pki.signer.subject = vec![Attribute::common_name(&format!("{NAME}\0.example.org"))];
        }),
        ("a line feed behind", |pki| pki.signer.subject = vec![Attribute::common_name(&format!("{NAME}\n"))]),
        ("in the alternative name only", |pki| pki.signer.subject = vec![Attribute::organization("Amazon")]),
        ("as the organization", |pki| pki.signer.subject = vec![Attribute::organization(NAME)]),
        ("no subject at all", |pki| pki.signer.subject.clear()),
        ("a second common name behind", |pki| {
            pki.signer.subject.push(Attribute::common_name("www.example.org"));
        }),
        ("a second common name before", |pki| {
            pki.signer.subject.insert(0, Attribute::common_name("www.example.org"));
        }),
        ("the same common name twice", |pki| pki.signer.subject.push(Attribute::common_name(NAME))),
        ("as BMPString", |pki| {
            let utf16 = NAME.encode_utf16().flat_map(u16::to_be_bytes).collect();
            pki.signer.subject[0] = Attribute { oid: oids::COMMON_NAME, text: Text::Bmp, value: utf16 };
        }),
    ];
    for (what, change) in cases {
        adopt(&instance, &key, Pki::with(change));
        signer_refused(
            &instance,
            &key,
            "wrong common name: expected managed-ssh-signer.us-east-1.amazonaws.com, found",
            what,
        );
    }
}

fn signer(name: &str) -> CertSpec {
    CertSpec::signer(name, Key::rsa2048(3))
}

#[test]
fn region_and_domain_come_from_the_metadata_service() {
    let rows = [
        ("ap-southeast-7", "amazonaws.com", "aws"),
        ("mx-central-1", "amazonaws.com", "aws"),
        ("us-gov-west-1", "amazonaws.com", "aws-us-gov"),
        ("cn-north-1", "amazonaws.com.cn", "aws-cn"),
        ("us-iso-east-1", "c2s.ic.gov", "aws-iso"),
        ("us-isob-east-1", "sc2s.sgov.gov", "aws-iso-b"),
        ("eu-isoe-west-1", "cloud.adc-e.uk", "aws-iso-e"),
        ("us-isof-south-1", "csp.hci.ic.gov", "aws-iso-f"),
        ("eusc-de-east-1", "amazonaws.eu", "aws-eusc"),
    ];
    for domain in Domain::ALL {
        for partition in domain.partitions() {
            let is_of = |row: &(_, &str, &str)| (row.1, row.2) == (&domain.to_string(), partition);
            assert!(rows.iter().any(is_of), "this test has no region of {partition}, {domain}");
        }
    }
    for (region, domain, partition) in rows {
        let parsed = (Domain::parse(domain.as_bytes()).unwrap(), Region::parse(region.as_bytes()).unwrap());
        assert_eq!(parsed.0.partition(&parsed.1), partition, "{region}");
        let (instance, key) = instance();
        adopt(&instance, &key, PkiSpec::healthy(region, domain).build());
        instance.imds.set("placement/region", region);
        instance.imds.set("services/domain", domain);
        accepted(&instance, &key, region);
        instance.imds.set("placement/region", "us-east-1");
        signer_refused(&instance, &key, "wrong common name: expected managed-ssh-signer.us-east-1", region);
    }
}

#[test]
fn refuses_an_unknown_domain_even_with_a_certificate_for_it() {
    for domain in ["example.org", "amazonaws.com.example.org", "amazonaws.co", "evil-amazonaws.com", ""] {
        let (instance, key) = instance();
        adopt(&instance, &key, PkiSpec::healthy("us-east-1", domain).build());
        instance.imds.set("services/domain", domain);
        signer_refused(&instance, &key, "is not the domain of a known AWS partition", domain);
    }
}

#[test]
fn refuses_an_invalid_path() {
    let (instance, key) = instance();
    let cases: &[Case] = &[
        ("signer expired", "has expired", |pki| pki.signer.not_after = now() - 1),
        ("signer not valid yet", "not valid yet", |pki| pki.signer.not_before = now() + HOUR),
        ("intermediate expired", "has expired", |pki| pki.intermediate.not_after = now() - 1),
        ("intermediate not valid yet", "not valid yet", |pki| pki.intermediate.not_before = now() + HOUR),
        ("anchor expired", "does not lead", |pki| pki.root.not_after = now() - DAY),
        ("anchor not valid yet", "does not lead", |pki| pki.root.not_before = now() + HOUR),
        ("anchor is no CA", "does not lead", |pki| pki.root.basic_constraints = Some((false, None))),
        ("anchor does not say that it is a CA", "does not lead", |pki| pki.root.basic_constraints = None),
        ("anchor may not sign certificates", "does not lead", |pki| {
            pki.root.key_usage = Some(usage::CRL_SIGN);
        }),
        ("anchor is for mail", "does not lead", |pki| {
            pki.root.extended_key_usage = vec![oids::EMAIL_PROTECTION];
        }),
        ("anchor has an unknown critical extension", "does not lead", |pki| {
            pki.root.extensions.push(Extension::unknown(true));
        }),
        ("anchor's path length", "longer than its anchor allows", |pki| {
            pki.root.basic_constraints = Some((true, Some(0)));
        }),
        ("signer is a CA", "is a certification authority's", |pki| {
            pki.signer.basic_constraints = Some((true, None));
        }),
        ("intermediate is no CA", "not a certification authority", |pki| {
            pki.intermediate.basic_constraints = Some((false, None));
        }),
        ("intermediate does not say", "not a certification authority", |pki| {
            pki.intermediate.basic_constraints = None;
        }),
        ("intermediate may not sign certificates", "key usage", |pki| {
            pki.intermediate.key_usage = Some(usage::DIGITAL_SIGNATURE | usage::CRL_SIGN);
        }),
        ("signer may not sign", "key usage", |pki| pki.signer.key_usage = Some(usage::KEY_ENCIPHERMENT)),
        ("signer for mail", "does not allow server authentication", |pki| {
            pki.signer.extended_key_usage = vec![oids::EMAIL_PROTECTION];
        }),
        ("signer for OCSP", "does not allow server authentication", |pki| {
            pki.signer.extended_key_usage = vec![oids::OCSP_SIGNING];
        }),
        ("intermediate for mail", "does not allow server authentication", |pki| {
            pki.intermediate.extended_key_usage = vec![oids::EMAIL_PROTECTION];
        }),
        ("outside the name constraints", "outside what an issuer", |pki| {
            pki.intermediate.name_constraints = Some((vec!["example.org"], vec![]));
        }),
        ("excluded by name constraints", "outside what an issuer", |pki| {
            pki.intermediate.name_constraints = Some((vec![], vec!["amazonaws.com"]));
        }),
        ("signer with a critical extension", "critical extension", |pki| {
            pki.signer.extensions.push(Extension::unknown(true));
        }),
        ("intermediate with a critical extension", "critical extension", |pki| {
            pki.intermediate.extensions.push(Extension::unknown(true));
        }),
        ("signer of version 1", "UnsupportedCertVersion", |pki| pki.signer.version = 1),
        ("signer signed with SHA-1", "algorithm that is not accepted", |pki| {
            pki.signer.scheme = Some(Scheme::RsaPkcs1(Hash::Sha1));
        }),
        ("intermediate signed with SHA-1", "algorithm that is not accepted", |pki| {
            pki.intermediate.scheme = Some(Scheme::RsaPkcs1(Hash::Sha1));
        }),
        ("intermediate's key of 1024 bits", "not signed by its issuer", |pki| {
            pki.intermediate.key = Key::rsa(1024);
        }),
        ("issuer's name is another", "does not lead", |pki| {
            pki.signer.issuer = Some(vec![Attribute::common_name("Somebody")]);
        }),
    ];
    for (what, reason, change) in cases {
        adopt(&instance, &key, Pki::with(change));
        let pki = instance.pki();
        instance.serve_chain([&pki.signer, &pki.intermediate]);
        signer_refused(&instance, &key, reason, what);
    }
}

#[test]
fn name_constraints_apply_to_the_common_name() {
    let (instance, key) = instance();
    // In RFC 5280 they apply to alternative names only. An authority limited to example.org must not be able to certify a signer.
    let cases: &[(&str, fn(&mut PkiSpec))] = &[
        ("constrained, no alternative name", |pki| {
            pki.intermediate.name_constraints = Some((vec!["example.org"], vec![]));
            pki.signer.alternative_names.clear();
        }),
        ("constrained, an alternative name that is permitted", |pki| {
            pki.intermediate.name_constraints = Some((vec!["example.org"], vec![]));
            pki.signer.alternative_names = vec!["www.example.org".to_owned()];
        }),
        ("excluded, no alternative name", |pki| {
            pki.intermediate.name_constraints = Some((vec![], vec!["amazonaws.com"]));
            pki.signer.alternative_names.clear();
        }),
        ("constrained anchor, no alternative name", |pki| {
            pki.root.name_constraints = Some((vec!["example.org"], vec![]));
            pki.signer.alternative_names.clear();
        }),
        ("another alternative name, no constraint", |pki| {
            pki.signer.alternative_names = vec!["www.example.org".to_owned()];
        }),
    ];
    for (what, change) in cases {
        adopt(&instance, &key, Pki::with(change));
        signer_refused(&instance, &key, "among its alternative names", what);
    }
    adopt(&instance, &key, Pki::with(|pki| pki.signer.alternative_names.push("www.example.org".to_owned())));
    accepted(&instance, &key, "beside another");
}

#[test]
fn refuses_a_certificate_with_an_invalid_signature() {
    let (instance, key) = instance();
    let pki = instance.pki();
    accepted(&instance, &key, "whole");
    instance.serve_chain([&pki.signer.damaged(), &pki.intermediate]);
    signer_refused(&instance, &key, "not signed by its issuer", "signer's certificate damaged");
    instance.serve_chain([&pki.signer, &pki.intermediate.damaged()]);
    signer_refused(&instance, &key, "not signed by its issuer", "intermediate damaged");
    // The intermediate's name, and another key.
    let other = CertSpec::intermediate("Laboratory RSA 2048 M01", Key::rsa2048(4)).issued_by(&pki.root);
    instance.serve_chain([&pki.signer, &other]);
    signer_refused(&instance, &key, "not signed by its issuer", "intermediate of the same name");
}

#[test]
fn takes_anchors_only_from_the_trust_store() {
    let (instance, key) = instance();
    let pki = instance.pki();
    instance.trust([]);
    signer_refused(&instance, &key, "does not lead", "the anchor is not in the store");
    instance.serve_chain([&pki.signer, &pki.intermediate, &pki.root]);
    signer_refused(&instance, &key, "does not lead", "delivered and self-signed, it still is none");
    instance.trust([&pki.root]);
    accepted(&instance, &key, "in the store, and delivered as well");
    // The same name with another key in the store.
    let other =
        CertSpec { key: Key::rsa2048(4), ..PkiSpec::healthy(pki::REGION, pki::DOMAIN).root }.self_signed();
    instance.trust([&other]);
    signer_refused(&instance, &key, "not signed by its issuer", "an anchor of the same name");
    instance.trust([&other, &pki.root]);
    accepted(&instance, &key, "both");
    // A trusted self-signed certificate of a server is not a CA.
    let self_signed = pki_signed_by_a_servers_certificate(&instance);
    instance.trust([&self_signed]);
    signer_refused(&instance, &key, "does not lead", "anchored at a server's certificate");
}

/// Serves a signer whose issuer is a trusted certificate that is not a CA, and returns that certificate.
fn pki_signed_by_a_servers_certificate(instance: &Instance) -> Cert {
    let server = CertSpec::signer("www.example.org", Key::rsa2048(4)).self_signed();
    let signer = signer(NAME).issued_by(&server);
    instance.serve_chain([&signer]);
    instance
        .serve_ocsp_responses([(signer.fingerprint(Hash::Sha1), OcspSpec::good(&signer, &server).build())]);
    server
}

#[test]
fn an_intermediate_certificate_can_be_the_anchor() {
    let (instance, key) = instance();
    let pki = instance.pki();
    instance.trust([&pki.intermediate]);
    instance.serve_ocsp_responses([(pki.signer.fingerprint(Hash::Sha1), pki.signer_ocsp().build())]);
    accepted(&instance, &key, "then only the signer needs an OCSP response");
    instance.serve_chain([&pki.signer]);
    accepted(&instance, &key, "nor anybody else's certificate");
    adopt(
        &instance,
        &key,
        Pki::with(|pki| {
            let old = &mut pki.intermediate;
            (old.version, old.basic_constraints, old.key_usage, old.key_identifiers) = (1, None, None, false);
            old.extended_key_usage.clear();
        }),
    );
    instance.trust([&instance.pki().intermediate]);
    signer_refused(&instance, &key, "UnsupportedCertVersion", "of version 1, which only a root may be");
}

#[test]
fn accepts_a_chain_in_any_order_and_with_other_certificates() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let stranger = CertSpec::authority("Stranger", Key::rsa2048(4)).self_signed();
    let mut expired = signer(NAME);
    expired.not_after = now() - 1;
    let expired = expired.issued_by(&pki.intermediate);
    for (what, chain) in [
        ("alone with its issuer", vec![&pki.signer, &pki.intermediate]),
        ("after the one before its renewal", vec![&expired, &pki.signer, &pki.intermediate]),
        ("backwards", vec![&pki.cross_root, &pki.intermediate, &pki.signer]),
        ("twice", vec![&pki.signer, &pki.intermediate, &pki.signer, &pki.intermediate]),
        ("with a stranger", vec![&stranger, &pki.signer, &stranger, &pki.intermediate]),
        ("with the old root", vec![&pki.signer, &pki.intermediate, &pki.cross_root, &pki.old_root]),
    ] {
        instance.serve_chain(chain);
        accepted(&instance, &key, what);
    }
    instance.serve_chain([&pki.signer]);
    signer_refused(&instance, &key, "does not lead", "without the intermediate");
    instance.serve_chain([&pki.intermediate, &pki.cross_root]);
    signer_refused(&instance, &key, "wrong common name", "without the signer");
}

#[test]
fn takes_the_path_to_the_nearest_anchor_in_any_order_of_the_store() {
    let (instance, key) = instance();
    let pki = instance.pki();
    // The other path leads over the cross-signed root, which has no OCSP response.
    instance.serve_chain([&pki.signer, &pki.intermediate, &pki.cross_root]);
    instance.trust([&pki.old_root, &pki.root]);
    accepted(&instance, &key, "the old root first");
    instance.trust([&pki.root, &pki.old_root]);
    accepted(&instance, &key, "the old root last");
}

#[test]
fn accepts_a_path_through_the_cross_signed_root() {
    let (instance, key) = instance();
    let pki = instance.pki();
    instance.trust([&pki.old_root]);
    signer_refused(
        &instance,
        &key,
        "OCSP response",
        "the cross-signed root is below the anchor now, and has no OCSP response",
    );
    let ocsp_response = OcspSpec::good(&pki.cross_root, &pki.old_root).build();
    instance.serve_ocsp_response(&pki.cross_root, &ocsp_response);
    accepted(&instance, &key, "with one");
}

#[test]
fn refuses_a_path_that_is_too_long() {
    let (instance, key) = instance();
    for (depth, good) in [(2, true), (4, true), (8, false)] {
        let root = CertSpec::authority("Deep Root", Key::rsa2048(1)).self_signed();
        let mut chain = vec![];
        let mut ocsp_responses = vec![];
        let mut issuer = root.clone();
        for level in 0..depth {
            let next = CertSpec::authority(&format!("Deep {level}"), Key::rsa2048(2)).issued_by(&issuer);
            ocsp_responses.push((next.fingerprint(Hash::Sha1), OcspSpec::good(&next, &issuer).build()));
            chain.push(next.clone());
            issuer = next;
        }
        let leaf = signer(NAME).issued_by(&issuer);
        ocsp_responses.push((leaf.fingerprint(Hash::Sha1), OcspSpec::good(&leaf, &issuer).build()));
        chain.insert(0, leaf);
        instance.serve_chain(&chain);
        instance.serve_ocsp_responses(ocsp_responses);
        instance.trust([&root]);
        if good {
            accepted(&instance, &key, &format!("{depth} below the root"));
        } else {
            signer_refused(&instance, &key, "longer than an issuer", &format!("{depth} below the root"));
        }
    }
}

#[test]
fn refuses_a_malformed_chain() {
    let (instance, key) = instance();
    let pki = instance.pki();
    let good = pki::bundle(pki.chain());
    let put = |text: &[u8]| instance.imds.set("managed-ssh-keys/signer-cert", text);
    for (what, text, reason) in [
        ("nothing", String::new(), "cannot be read"),
        ("no PEM", "hello".to_owned(), "cannot be read"),
        ("no base64", good.replacen("MII", "M!I", 1), "cannot be read"),
        (
            "no certificate",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            "cannot be read",
        ),
        (
            "the end is missing",
            pki.signer.to_pem().replace("-----END CERTIFICATE-----\n", ""),
            "cannot be read",
        ),
        ("a key instead", pki.signer.key.to_pem(), "cannot be read"),
        ("more than a chain has", good.repeat(6), "too long"),
    ] {
        put(text.as_bytes());
        signer_refused(&instance, &key, reason, what);
    }
    instance.imds.remove("managed-ssh-keys/signer-cert");
    signer_refused(&instance, &key, "has no signer certificate", "404");
    for (what, text) in [
        ("CRLF", good.replace('\n', "\r\n")),
        ("text between", format!("subject=a\n{}", good.replace("-----BEGIN", "some text\n-----BEGIN"))),
        ("with a line feed at the end", good.clone()),
        ("a block of something else", format!("{}{good}", pki.signer.key.public_pem())),
    ] {
        put(text.as_bytes());
        accepted(&instance, &key, what);
    }
}

#[test]
fn without_a_trust_store_the_exit_status_is_4() {
    let (instance, key) = instance();
    instance.remove_trust_stores();
    let outcome = instance.run(["alice", key.fingerprint()]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(4), ""));
    assert!(instance.journal.says("this system has no trust store"), "{:?}", instance.journal.lines());
}
