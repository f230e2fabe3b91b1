//! Changes that make a case wrong, or only unusual. Each change takes a number for its details.

use eic_lab::cert::{Attribute, Extension, Text, oids, usage};
use eic_lab::ocsp::{Answer, CertId, ResponderId, Status, nonce};
use eic_lab::{Cert, CertSpec, DAY, HOUR, Hash, Key, MINUTE, OcspSpec, RecordSpec, Scheme, der, now};

use crate::case::{Case, Draft, SIGNER};

/// What a change applies to.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Certificates before they are issued.
    Draft(fn(&mut Draft, u8)),
    /// An OCSP response of this certificate and issuer before it is signed.
    OcspResponse(fn(&mut OcspSpec, &Cert, &Cert, u8)),
    /// The delivered and the trusted certificates, and the OCSP responses.
    Case(fn(&mut Case, u8)),
    /// A record before it is signed, and the key that signs it.
    Record(fn(RecordSpec, &mut Key, u8) -> RecordSpec),
}
use Change::{Case as Told, Draft as Issued, OcspResponse, Record};

/// Times so far from now that a slow machine does not reach them while a case is judged.
const OFFSETS: [i64; 8] =
    [-20 * 365 * DAY, -2 * DAY, -2 * HOUR, -2 * MINUTE, 2 * MINUTE, 2 * HOUR, 2 * DAY, 20 * 365 * DAY];

fn time(how: u8) -> i64 {
    now() + pick(&OFFSETS, how)
}

fn pick<T: Copy>(from: &[T], how: u8) -> T {
    from[usize::from(how) % from.len()]
}

/// The certificate that `how` selects, and the rest of `how` for details.
fn any(draft: &mut Draft, how: u8) -> (&mut CertSpec, u8) {
    let count = draft.path.len();
    let (at, rest) = (usize::from(how) % count, how / u8::try_from(count).unwrap());
    (&mut draft.path[at], rest)
}

fn signer(draft: &mut Draft) -> &mut CertSpec {
    draft.path.last_mut().unwrap()
}

const USAGES: [&str; 5] =
    [oids::SERVER_AUTH, oids::CLIENT_AUTH, oids::EMAIL_PROTECTION, oids::OCSP_SIGNING, oids::UNKNOWN];

/// Every change, by its name.
pub const CHANGES: [(&str, Change); 49] = [
    (
        "not before",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.not_before = time(how);
        }),
    ),
    (
        "not after",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.not_after = time(how);
        }),
    ),
    (
        "CA flag",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.basic_constraints =
                pick(&[None, Some((false, None)), Some((true, None)), Some((true, Some(0)))], how);
        }),
    ),
    (
        "path length",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.basic_constraints = Some((true, Some(how % 4)));
        }),
    ),
    (
        "one more intermediate",
        Issued(|draft, how| {
            let mut more =
                CertSpec::intermediate(&format!("Laboratory Sub {}", draft.path.len()), Key::rsa2048(4));
            more.basic_constraints = Some((true, pick(&[None, Some(0), Some(1)], how)));
            let before = draft.path.len() - 1;
            draft.path.insert(before, more);
            // An intermediate whose path length allows it.
            if how >= 128 {
                draft.path[1].basic_constraints = Some((true, None));
            }
        }),
    ),
    (
        "many intermediates",
        Issued(|draft, how| {
            draft.path[1].basic_constraints = Some((true, None));
            for number in 0..how % 8 {
                let mut more = CertSpec::intermediate(
                    &format!("Laboratory Deep {}", draft.path.len()),
                    Key::rsa2048(usize::from(number % 2) + 4),
                );
                more.basic_constraints = Some((true, None));
                let before = draft.path.len() - 1;
                draft.path.insert(before, more);
            }
        }),
    ),
    (
        "key usage",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.key_usage = pick(
                &[
                    None,
                    Some(usage::DIGITAL_SIGNATURE),
                    Some(usage::CERTIFICATE_SIGN),
                    Some(usage::KEY_ENCIPHERMENT),
                    Some(usage::CRL_SIGN),
                    Some(usage::DIGITAL_SIGNATURE | usage::CERTIFICATE_SIGN),
                ],
                how,
            );
        }),
    ),
    (
        "extended key usage",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.extended_key_usage = USAGES
                .iter()
                .enumerate()
                .filter(|(bit, _)| how >> bit & 1 == 1)
                .map(|(_, oid)| *oid)
                .collect();
        }),
    ),
    (
        "unknown extension",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.extensions.push(Extension::unknown(how % 2 == 1));
        }),
    ),
    (
        "name constraints",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            let (permitted, excluded): (&[&str], &[&str]) = pick(
                &[
                    (&["amazonaws.com"][..], &[][..]),
                    (&["example.org"], &[]),
                    (&[], &["amazonaws.com"]),
                    (&[], &["example.org"]),
                    (&["us-east-1.amazonaws.com"], &["example.org"]),
                ],
                how,
            );
            cert.name_constraints = Some((permitted.to_vec(), excluded.to_vec()));
        }),
    ),
    (
        "signature of a certificate",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.scheme = Some(pick(
                &[
                    Scheme::RsaPkcs1(Hash::Sha1),
                    Scheme::RsaPkcs1(Hash::Sha384),
                    Scheme::RsaPkcs1(Hash::Sha512),
                    Scheme::RsaPss(Hash::Sha256, 32),
                    Scheme::RsaPss(Hash::Sha256, 20),
                    Scheme::RsaPss(Hash::Sha384, 48),
                ],
                how,
            ));
        }),
    ),
    (
        "RSA key",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.key = Key::rsa(pick(&[1024, 3072, 4096], how));
        }),
    ),
    (
        "key on a curve",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.key = if how % 2 == 0 { Key::p256() } else { Key::p384() };
        }),
    ),
    ("Ed25519 key", Issued(|draft, how| any(draft, how).0.key = Key::ed25519())),
    ("no key identifiers", Issued(|draft, how| any(draft, how).0.key_identifiers = false)),
    (
        "version",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.version = how % 3 + 1;
            if how >= 3 && cert.version == 1 {
                cert.basic_constraints = None;
                cert.key_usage = None;
                cert.extended_key_usage.clear();
                cert.alternative_names.clear();
                cert.key_identifiers = false;
            }
        }),
    ),
    (
        "issuer's name",
        Issued(|draft, how| {
            any(draft, how).0.issuer = Some(vec![Attribute::common_name("Somebody")]);
        }),
    ),
    (
        "same names",
        Issued(|draft, how| {
            let name = draft.path[0].subject.clone();
            let (cert, _) = any(draft, how);
            cert.subject = name;
        }),
    ),
    (
        "string type of a name",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            for attribute in &mut cert.subject {
                attribute.text =
                    pick(&[Text::Printable, Text::Ia5, Text::Teletex, Text::Bmp, Text::Utf8], how);
                if attribute.text == Text::Bmp {
                    attribute.value = attribute.value.iter().flat_map(|byte| [0, *byte]).collect();
                }
            }
        }),
    ),
    (
        "serial number",
        Issued(|draft, how| {
            let (cert, how) = any(draft, how);
            cert.serial =
                pick(&[&[0][..], &[1], &[0, 0x80], &[0xff; 19], &[0x7f; 20], &[0x7f; 40]], how).to_vec();
        }),
    ),
    (
        "signer's name",
        Issued(|draft, how| {
            let name = pick(
                &[
                    "managed-ssh-signer.us-east-2.amazonaws.com",
                    "Managed-ssh-signer.us-east-1.amazonaws.com",
                    "managed-ssh-signer.us-east-1.amazonaws.com ",
                    "*.us-east-1.amazonaws.com",
                    "",
                ],
                how,
            );
            signer(draft).subject = vec![Attribute::common_name(name)];
        }),
    ),
    (
        "two common names",
        Issued(|draft, how| {
            let other = Attribute::common_name(pick(&["example.org", SIGNER], how));
            let at = usize::from(how / 2 % 2);
            signer(draft).subject.insert(at, other);
        }),
    ),
    (
        "more in the signer's name",
        Issued(|draft, _| {
            signer(draft).subject.push(Attribute::organization("Laboratory"));
        }),
    ),
    (
        "alternative names",
        Issued(|draft, how| {
            signer(draft).alternative_names =
                pick(&[&[][..], &["example.org"], &["example.org", SIGNER]], how)
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect();
        }),
    ),
    (
        "chain in another order",
        Told(|case, how| {
            let count = case.chain.len();
            case.chain.rotate_left(usize::from(how) % count);
            if how >= 128 {
                case.chain.reverse();
            }
        }),
    ),
    (
        "a certificate missing",
        Told(|case, how| {
            let at = usize::from(how) % case.chain.len();
            case.chain.remove(at);
            if case.chain.is_empty() {
                case.chain = case.anchors.clone();
            }
        }),
    ),
    (
        "a certificate twice",
        Told(|case, how| {
            let again = case.chain[usize::from(how) % case.chain.len()].clone();
            case.chain.push(again);
        }),
    ),
    (
        "a damaged certificate",
        Told(|case, how| {
            let at = usize::from(how) % case.chain.len();
            case.chain[at] = case.chain[at].damaged();
        }),
    ),
    ("the anchor delivered", Told(|case, _| case.chain.extend(case.anchors.clone()))),
    (
        "no anchor",
        Told(|case, _| {
            case.anchors = vec![CertSpec::authority("Somebody Root", Key::rsa2048(5)).self_signed()];
        }),
    ),
    (
        "another anchor of that name",
        Told(|case, how| {
            let mut other = CertSpec::authority("Laboratory Root CA 1", Key::rsa2048(5));
            other.key_identifiers = how % 2 == 0;
            let at = usize::from(how / 2) % 2 * case.anchors.len();
            case.anchors.insert(at, other.self_signed());
        }),
    ),
    (
        "the intermediate is an anchor",
        Told(|case, how| {
            let intermediate = case.path[1].clone();
            if how % 2 == 0 { case.anchors = vec![intermediate] } else { case.anchors.push(intermediate) }
        }),
    ),
    ("the signer is an anchor", Told(|case, _| case.anchors = vec![case.path.last().unwrap().clone()])),
    (
        "OCSP response: status",
        OcspResponse(|ocsp_response, _, _, how| {
            ocsp_response.answer().status = pick(
                &[
                    Status::Revoked(now() - DAY, None),
                    Status::Revoked(now() - DAY, Some(1)),
                    Status::Revoked(now() + DAY, Some(6)),
                    Status::Unknown,
                ],
                how,
            );
        }),
    ),
    (
        "OCSP response: this update",
        OcspResponse(|ocsp_response, _, _, how| ocsp_response.answer().this_update = time(how)),
    ),
    (
        "OCSP response: next update",
        OcspResponse(|ocsp_response, _, _, how| {
            ocsp_response.answer().next_update = if how % 9 == 8 { None } else { Some(time(how % 9)) };
        }),
    ),
    (
        "OCSP response: produced at",
        OcspResponse(|ocsp_response, _, _, how| ocsp_response.produced_at = time(how)),
    ),
    (
        "OCSP response: certificate",
        OcspResponse(|ocsp_response, cert, issuer, how| {
            // In all answers: OpenSSL refuses an OCSP response whose answers are of several issuers, and we look at ours only.
            for answer in &mut ocsp_response.answers {
                let id = &mut answer.id;
                match how % 7 {
                    0 => id.serial = vec![1],
                    1 => id.issuer_name_hash = Hash::Sha1.of(b"somebody"),
                    2 => id.issuer_key_hash = Hash::Sha1.of(b"somebody"),
                    3 => *id = CertId::of(cert, issuer, Hash::Sha256),
                    4 => *id = CertId::of(cert, issuer, Hash::Sha384),
                    5 => *id = CertId::of(issuer, issuer, Hash::Sha1),
                    _ => id.hash = Hash::Sha256,
                }
            }
        }),
    ),
    (
        "OCSP response: several answers",
        OcspResponse(|ocsp_response, cert, issuer, how| {
            let mut other = Answer::good(cert, issuer);
            match how % 4 {
                0 => other.id.serial = vec![1],
                1 => other.status = Status::Revoked(now() - DAY, None),
                2 => other.id = CertId::of(cert, issuer, Hash::Sha256),
                _ => other.next_update = Some(now() - HOUR),
            }
            let at = usize::from(how / 4 % 2) * ocsp_response.answers.len();
            ocsp_response.answers.insert(at, other);
        }),
    ),
    (
        "OCSP response: responder",
        OcspResponse(|ocsp_response, _, issuer, how| {
            let mut responder = CertSpec::responder("Laboratory OCSP", Key::rsa2048(5));
            match how % 10 {
                1 => responder.extended_key_usage.clear(),
                2 => responder.extended_key_usage = vec![oids::SERVER_AUTH],
                3 => responder.not_after = now() - 2 * HOUR,
                4 => responder.not_before = now() + 2 * HOUR,
                5 => responder.key_usage = Some(usage::KEY_ENCIPHERMENT),
                6 => responder.key_usage = None,
                7 => responder.extensions.push(Extension::unknown(true)),
                8 => responder.key = Key::p256(),
                9 => responder.extensions.clear(),
                _ => {}
            }
            let responder = if how >= 64 { responder.self_signed() } else { responder.issued_by(issuer) };
            *ocsp_response = ocsp_response.clone().signed_by(&responder);
        }),
    ),
    (
        "OCSP response: responder by its name",
        OcspResponse(|ocsp_response, _, _, how| {
            ocsp_response.responder_id = match how % 3 {
                0 => ResponderId::Name,
                1 => ResponderId::OtherName(eic_lab::cert::name(&[Attribute::common_name("Somebody")])),
                _ => ResponderId::OtherKey(Hash::Sha1.of(b"somebody")),
            };
        }),
    ),
    (
        "OCSP response: signature",
        OcspResponse(|ocsp_response, _, _, how| match how % 5 {
            0 => ocsp_response.damaged = true,
            1 => ocsp_response.scheme = Some(Scheme::RsaPkcs1(Hash::Sha1)),
            2 => ocsp_response.scheme = Some(Scheme::RsaPkcs1(Hash::Sha512)),
            3 => ocsp_response.scheme = Some(Scheme::RsaPss(Hash::Sha256, 32)),
            _ => ocsp_response.responder.key = Key::rsa2048(5),
        }),
    ),
    (
        "OCSP response: extension",
        OcspResponse(|ocsp_response, _, _, how| match how % 5 {
            0 => ocsp_response.extensions.push(Extension::unknown(false)),
            1 => ocsp_response.extensions.push(Extension::unknown(true)),
            2 => ocsp_response.answer().extensions.push(Extension::unknown(false)),
            3 => ocsp_response.answer().extensions.push(Extension::unknown(true)),
            _ => ocsp_response.extensions.push(nonce()),
        }),
    ),
    (
        "OCSP response: form",
        OcspResponse(|ocsp_response, _, _, how| match how % 6 {
            0 => ocsp_response.response_status = how / 6 % 7,
            1 => ocsp_response.response_type = oids::UNKNOWN,
            2 => ocsp_response.response_bytes = false,
            3 => ocsp_response.version = 2,
            4 => ocsp_response.trailing = der::null(),
            _ => ocsp_response.answers.clear(),
        }),
    ),
    (
        "OCSP responses exchanged",
        Told(|case, _| {
            if let [first, .., last] = case.ocsp_responses.as_mut_slice() {
                std::mem::swap(&mut first.1, &mut last.1);
            }
        }),
    ),
    (
        "an OCSP response missing",
        Told(|case, how| {
            if !case.ocsp_responses.is_empty() {
                case.ocsp_responses.remove(usize::from(how) % case.ocsp_responses.len());
            }
        }),
    ),
    (
        "a bit of an OCSP response",
        Told(|case, how| {
            // Another change may have removed all of them.
            let at = usize::from(how) % case.ocsp_responses.len().max(1);
            if let Some((_, ocsp_response)) = case.ocsp_responses.get_mut(at) {
                // Distributed over the whole response.
                let byte = usize::from(how) * ocsp_response.len() / 256;
                ocsp_response[byte] ^= 1 << (how % 8);
            }
        }),
    ),
    (
        "record: signature",
        Record(|mut record, key, how| {
            match how % 6 {
                0 => *key = Key::rsa2048(4),
                1 => record.scheme = Scheme::RsaPkcs1(Hash::Sha256),
                2 => record.scheme = Scheme::RsaPss(Hash::Sha256, 20),
                3 => record.scheme = Scheme::RsaPss(Hash::Sha384, 32),
                4 => record.scheme = Scheme::RsaPss(Hash::Sha256, 64),
                _ => record.wrap = Some(64),
            }
            record
        }),
    ),
    (
        "record: a line",
        Record(|record, _, how| match how % 5 {
            0 => record.with_line("#Unknown=1"),
            1 => record.set("Caller", "somebody"),
            2 => record.with_line("#Timestamp=99999999999"),
            3 => record.set("Request", "1234").without("Request"), // may be gone already
            _ => record.key_line(format!("{} somebody", crate::case::KEY)),
        }),
    ),
];
