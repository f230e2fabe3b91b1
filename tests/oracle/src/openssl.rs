//! The verdict of OpenSSL, by its own path building, OCSP and RSA-PSS.

use eic_lab::Cert;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspResponse, OcspResponseStatus};
use openssl::pkey::{PKey, Public};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509StoreContext};

use crate::case::{Case, SIGNER};

/// The key lines with a valid signer, valid OCSP responses and valid signatures.
///
/// # Errors
/// Why there is none.
pub fn accepts(case: &Case) -> Result<Vec<String>, String> {
    let delivered: Vec<X509> = case.chain.iter().filter_map(|cert| X509::from_der(&cert.der).ok()).collect();
    let signer = delivered.iter().find(|cert| is_named(cert)).ok_or("no certificate of the signer's name")?;
    let key = signer.public_key().map_err(text)?;
    let keys = signed(&case.record, &key)?;
    let mut refusal = Err("no anchor".to_owned());
    let attempts: Vec<_> = std::iter::once(delivered.clone()).chain(without_a_twin(&delivered)).collect();
    for anchor in &case.anchors {
        for delivered in &attempts {
            refusal = current(case, anchor, signer, delivered);
            if refusal.is_ok() {
                return Ok(keys);
            }
        }
    }
    refusal.map(|()| keys)
}

/// The certificates without one of those that share a subject: each choice.
///
/// OpenSSL chooses one of several issuers with the same name, and fails if that one is damaged. Delivered certificates are not
/// trusted, so a path that it finds without one of them is as valid as any.
fn without_a_twin(delivered: &[X509]) -> impl Iterator<Item = Vec<X509>> {
    let subject = |cert: &X509| cert.subject_name().to_der().ok();
    let is_twin =
        move |cert: &X509| delivered.iter().filter(|other| subject(other) == subject(cert)).count() > 1;
    let twins = (0..delivered.len()).filter(move |at| is_twin(&delivered[*at]));
    twins.map(|at| {
        let others = delivered.iter().enumerate().filter(|(other, _)| *other != at);
        others.map(|(_, cert)| cert.clone()).collect()
    })
}

/// A path to this anchor, and an OCSP response for each certificate below it.
///
/// OpenSSL chooses one anchor before it knows whether its key fits, so it gets one at a time.
fn current(case: &Case, anchor: &Cert, signer: &X509, delivered: &[X509]) -> Result<(), String> {
    for pair in path(case, anchor, signer, delivered)?.windows(2) {
        let (cert, issuer) = (&pair[0], &pair[1]);
        let sha1 = cert.digest(MessageDigest::sha1()).map_err(text)?;
        let name: String = sha1.iter().map(|byte| format!("{byte:02X}")).collect();
        let ocsp_response =
            case.ocsp_responses.iter().find(|(known, _)| *known == name).ok_or("no OCSP response")?;
        good(&ocsp_response.1, cert, issuer)?;
    }
    Ok(())
}

fn text(error: ErrorStack) -> String {
    error.to_string()
}

/// Exactly one common name, the signer's.
fn is_named(cert: &X509) -> bool {
    let mut names = cert.subject_name().entries_by_nid(Nid::COMMONNAME);
    let first = names.next().is_some_and(|name| name.data().as_slice() == SIGNER.as_bytes());
    first && names.next().is_none()
}

/// From the signer to this anchor, which may be any certificate.
fn path(case: &Case, anchor: &Cert, signer: &X509, delivered: &[X509]) -> Result<Vec<X509>, String> {
    let mut builder = X509StoreBuilder::new().map_err(text)?;
    builder.add_cert(X509::from_der(&anchor.der).map_err(text)?).map_err(text)?;
    let mut parameters = X509VerifyParam::new().map_err(text)?;
    parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::TRUSTED_FIRST).map_err(text)?;
    parameters.set_purpose(X509PurposeId::SSL_SERVER).map_err(text)?;
    // 112 bits: RSA of 2048 bits, and no SHA-1 in a signature.
    parameters.set_auth_level(2);
    parameters.set_time(i64::try_from(case.now).unwrap());
    builder.set_param(&parameters).map_err(text)?;
    let mut untrusted = Stack::new().map_err(text)?;
    for cert in delivered {
        untrusted.push(cert.clone()).map_err(text)?;
    }
    let mut context = X509StoreContext::new().map_err(text)?;
    context
        .init(&builder.build(), signer, &untrusted, |context| {
            if context.verify_cert()? {
                let chain = context.chain().map(|chain| chain.iter().map(ToOwned::to_owned).collect());
                return Ok(Ok(chain.unwrap_or_default()));
            }
            Ok(Err(context.error().error_string().to_owned()))
        })
        .map_err(text)?
}

/// Checks that the OCSP response says that this certificate is good now, and is signed by the issuer or its responder.
fn good(ocsp_response: &[u8], cert: &X509, issuer: &X509) -> Result<(), String> {
    let response = OcspResponse::from_der(ocsp_response).map_err(text)?;
    if response.status() != OcspResponseStatus::SUCCESSFUL {
        return Err("an error message".to_owned());
    }
    let basic = response.basic().map_err(text)?;
    let mut certs = Stack::new().map_err(text)?;
    certs.push(issuer.clone()).map_err(text)?;
    basic.verify(&certs, &*trusting(issuer)?, OcspFlag::empty()).map_err(text)?;
    for digest in [MessageDigest::sha1(), MessageDigest::sha256()] {
        let id = OcspCertId::from_cert(digest, cert, issuer).map_err(text)?;
        if let Some(status) = basic.find_status(&id) {
            if status.status != OcspCertStatus::GOOD {
                return Err("revoked or unknown".to_owned());
            }
            return status.check_validity(0, None).map_err(text);
        }
    }
    Err("about another certificate".to_owned())
}

fn trusting(issuer: &X509) -> Result<X509Store, String> {
    let mut builder = X509StoreBuilder::new().map_err(text)?;
    builder.add_cert(issuer.clone()).map_err(text)?;
    builder.set_flags(X509VerifyFlags::PARTIAL_CHAIN).map_err(text)?;
    Ok(builder.build())
}

/// The key lines of records that this key signed. The reader is simple, because the records are the laboratory's own.
fn signed(text: &[u8], key: &PKey<Public>) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let mut keys = Vec::new();
    for record in text.split("\n\n") {
        let end = record.find("\nssh-").ok_or("no key")? + 1;
        let length = record[end..].find('\n').ok_or("no signature")? + 1;
        let (message, signature) = record.split_at(end + length);
        let signature: String = signature.split_whitespace().collect();
        let signature = openssl::base64::decode_block(&signature).map_err(self::text)?;
        if verify(message.as_bytes(), &signature, key) != Ok(true) {
            return Err("a record's signature does not hold".to_owned());
        }
        keys.push(record[end..end + length].trim_end().to_owned());
    }
    Ok(keys)
}

fn verify(message: &[u8], signature: &[u8], key: &PKey<Public>) -> Result<bool, String> {
    let mut verifier = Verifier::new(MessageDigest::sha256(), key).map_err(text)?;
    verifier.set_rsa_padding(Padding::PKCS1_PSS).map_err(text)?;
    verifier.set_rsa_mgf1_md(MessageDigest::sha256()).map_err(text)?;
    verifier.set_rsa_pss_saltlen(RsaPssSaltlen::custom(32)).map_err(text)?;
    verifier.update(message).map_err(text)?;
    verifier.verify(signature).map_err(text)
}
