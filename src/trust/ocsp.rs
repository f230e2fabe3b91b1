//! OCSP responses: each proves that one certificate is not revoked (RFC 6960).

use std::fmt;

use base64ct::{Base64, Encoding};
use pki_types::{CertificateDer, UnixTime};
use ring::digest;
use webpki::EndEntityCert;
use x509_cert::der::asn1::{BitString, ObjectIdentifier};
use x509_cert::der::{AnyRef, Decode, Tag, TagNumber, Tagged};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::KeyUsage;
use x509_ocsp::{
    CertId, CertStatus, OcspResponse, OcspResponseStatus, ResponderId, ResponseData, SingleResponse,
};

use super::{Certificate, elements};

/// id-pkix-ocsp-basic (RFC 6960 section 4.2.1)
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
/// id-sha1 and id-sha256, the supported hash algorithms of a CertID
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// The tag of `certs`: `[0] EXPLICIT`
const CERTIFICATES: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
/// id-kp-OCSPSigning (RFC 6960 section 4.2.2.2), the contents of the OBJECT IDENTIFIER
const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];

/// Why an OCSP response is not valid. Each text ends a sentence that begins with "the OCSP response of certificate ...".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcspError {
    /// IMDS has none.
    Missing,
    /// It is not a DER OCSP response in base64.
    Malformed,
    /// It is an error message of the responder.
    NotSuccessful,
    /// It has an unknown critical extension.
    CriticalExtension,
    /// It is for another certificate or another issuer.
    OtherCertificate,
    /// The certificate is revoked.
    Revoked,
    /// The responder does not know the certificate.
    Unknown,
    /// Its `thisUpdate` is in the future.
    NotYetValid,
    /// It has no `nextUpdate`, or that time has passed.
    Stale,
    /// It is signed neither by the issuer nor by a responder that the issuer certified for OCSP signing.
    Responder,
    /// The signature is not valid, or its algorithm is not trusted.
    Signature,
}

impl fmt::Display for OcspError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing",
            Self::Malformed => "cannot be read",
            Self::NotSuccessful => "is an error message",
            Self::CriticalExtension => "has a critical extension that is not known",
            Self::OtherCertificate => "is for another certificate",
            Self::Revoked => "says that the certificate is revoked",
            Self::Unknown => "says that the certificate is unknown",
            Self::NotYetValid => "is not valid yet (thisUpdate is in the future)",
            Self::Stale => "is out of date",
            Self::Responder => "is not signed by the issuer or a responder that it authorised",
            Self::Signature => "has an invalid signature",
        })
    }
}

impl std::error::Error for OcspError {}

/// The validity of an OCSP response, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OcspValidity {
    /// Time of the status (`thisUpdate`).
    pub this_update: u64,
    /// End of validity (`nextUpdate`).
    pub next_update: u64,
}

/// Checks that `ocsp_response` (base64, with or without line breaks) proves `certificate` of `issuer` to be good at `now`.
pub(super) fn check(
    ocsp_response: &[u8],
    certificate: &Certificate,
    issuer: &Certificate,
    now: UnixTime,
) -> Result<OcspValidity, OcspError> {
    let response = decode(ocsp_response)?;
    let data = &response.data;
    if has_critical(data.response_extensions.as_ref()) {
        return Err(OcspError::CriticalExtension);
    }
    check_signature(&response, issuer, now)?;
    let mut about = data.responses.iter().filter(|single| is_about(&single.cert_id, certificate, issuer));
    let first = about.next().ok_or(OcspError::OtherCertificate)?;
    let mut validity = check_status(first, now)?;
    // All other statuses of this certificate in the response must also be good.
    for single in about {
        let other = check_status(single, now)?;
        validity = if other.next_update < validity.next_update { other } else { validity };
    }
    Ok(validity)
}

/// A parsed `BasicOCSPResponse` (RFC 6960 section 4.2.1), with the signed parts as received.
struct Response {
    data: ResponseData,
    /// DER of `tbsResponseData`.
    signed_bytes: Vec<u8>,
    /// `signatureAlgorithm`, without tag and length.
    algorithm: Vec<u8>,
    signature: BitString,
    /// `certs`
    certificates: Vec<Certificate>,
}

impl Response {
    /// The parts are decoded one by one: x509-ocsp's `BasicOcspResponse` would decode each certificate a second time, and with code
    /// that only it needs.
    fn read(der: &[u8]) -> Option<Self> {
        let parts = elements(der)?;
        let [signed, algorithm, signature, certificates @ ..] = parts.as_slice() else { return None };
        let content = |der, tag| Some(AnyRef::from_der(der).ok().filter(|any| any.tag() == tag)?.value());
        let certificates = match certificates {
            [] => Vec::new(),
            [tagged] => elements(content(tagged, CERTIFICATES)?)?,
            _ => return None,
        };
        let read = |der: &[u8]| Certificate::read(CertificateDer::from(der.to_vec()));
        Some(Self {
            data: ResponseData::from_der(signed).ok()?,
            signed_bytes: signed.to_vec(),
            algorithm: content(algorithm, Tag::Sequence)?.to_vec(),
            signature: BitString::from_der(signature).ok()?,
            certificates: certificates.into_iter().map(read).collect::<Option<_>>()?,
        })
    }
}

fn decode(ocsp_response: &[u8]) -> Result<Response, OcspError> {
    let base64: Vec<u8> =
        ocsp_response.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let base64 = std::str::from_utf8(&base64).map_err(|_| OcspError::Malformed)?;
    let der = Base64::decode_vec(base64).map_err(|_| OcspError::Malformed)?;
    let response = OcspResponse::from_der(&der).map_err(|_| OcspError::Malformed)?;
    if response.response_status != OcspResponseStatus::Successful {
        return Err(OcspError::NotSuccessful);
    }
    let bytes =
        response.response_bytes.filter(|bytes| bytes.response_type == BASIC).ok_or(OcspError::Malformed)?;
    Response::read(bytes.response.as_bytes()).ok_or(OcspError::Malformed)
}

/// RFC 6960 section 4.1.1: hashes of the issuer's name, as in the certificate, and of the issuer's key.
fn is_about(id: &CertId, certificate: &Certificate, issuer: &Certificate) -> bool {
    let algorithm = match id.hash_algorithm.oid {
        SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        SHA256 => &digest::SHA256,
        _ => return false,
    };
    let is_hash = |hash: &[u8], of: &[u8]| digest::digest(algorithm, of).as_ref() == hash;
    certificate.issuer().is_some_and(|name| is_hash(id.issuer_name_hash.as_bytes(), name))
        && is_hash(id.issuer_key_hash.as_bytes(), issuer.key_bits())
        && id.serial_number == certificate.tbs().serial_number
}

fn check_status(single: &SingleResponse, now: UnixTime) -> Result<OcspValidity, OcspError> {
    match single.cert_status {
        CertStatus::Good(_) => {}
        CertStatus::Revoked(_) => return Err(OcspError::Revoked),
        CertStatus::Unknown(_) => return Err(OcspError::Unknown),
    }
    if has_critical(single.single_extensions.as_ref()) {
        return Err(OcspError::CriticalExtension);
    }
    let this_update = single.this_update.0.to_unix_duration().as_secs();
    if this_update > now.as_secs() {
        return Err(OcspError::NotYetValid);
    }
    match single.next_update.map(|next| next.0.to_unix_duration().as_secs()) {
        Some(next_update) if now.as_secs() < next_update => Ok(OcspValidity { this_update, next_update }),
        _ => Err(OcspError::Stale),
    }
}

/// RFC 6960 section 4.2.2.2: signed by the issuer, or by a responder that the same issuer certified for OCSP signing.
fn check_signature(response: &Response, issuer: &Certificate, now: UnixTime) -> Result<(), OcspError> {
    let responder = &response.data.responder_id;
    if is_responder(responder, issuer) && signed_by(response, issuer).is_ok() {
        return Ok(());
    }
    let mut error = if is_responder(responder, issuer) { OcspError::Signature } else { OcspError::Responder };
    for delivered in &response.certificates {
        if is_responder(responder, delivered) && is_certified(delivered, issuer, now) {
            match signed_by(response, delivered) {
                Ok(()) => return Ok(()),
                Err(signature) => error = signature,
            }
        }
    }
    Err(error)
}

fn is_responder(id: &ResponderId, certificate: &Certificate) -> bool {
    match id {
        ResponderId::ByName(name) => *name == certificate.tbs().subject,
        // RFC 6960 section 4.2.1: KeyHash is always SHA-1.
        ResponderId::ByKey(hash) => {
            digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate.key_bits()).as_ref()
                == hash.as_bytes()
        }
    }
}

/// A responder's own revocation is not checked (RFC 6960 section 4.2.2.2.1; docs/threat-model.md).
fn is_certified(responder: &Certificate, issuer: &Certificate, now: UnixTime) -> bool {
    let Ok(anchor) = webpki::anchor_from_trusted_cert(&issuer.der) else { return false };
    let usage = webpki::KeyUsage::required(OCSP_SIGNING);
    responder.allows_usage(KeyUsage::digital_signature)
        && EndEntityCert::try_from(&responder.der).is_ok_and(|certificate| {
            certificate
                .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], &[], now, usage, None, None)
                .is_ok()
        })
}

fn signed_by(response: &Response, signer: &Certificate) -> Result<(), OcspError> {
    let signature = response.signature.as_bytes().ok_or(OcspError::Malformed)?;
    // One identifier can match several algorithms: ECDSA with SHA-256 has two curves. The key decides.
    let mut candidates = webpki::ALL_VERIFICATION_ALGS
        .iter()
        .filter(|known| known.signature_alg_id().as_ref() == response.algorithm);
    if candidates.any(|known| signer.verifies(*known, &response.signed_bytes, signature).is_ok()) {
        Ok(())
    } else {
        Err(OcspError::Signature)
    }
}

fn has_critical(extensions: Option<&Extensions>) -> bool {
    extensions.is_some_and(|extensions| extensions.iter().any(|extension| extension.critical))
}
