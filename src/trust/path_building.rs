//! The name of the signer, and the certification path from its certificate to a trust anchor (RFC 5280 section 6).
//!
//! webpki builds the path: signatures, validity, CA flag, path length, name constraints, extended key usage, critical extensions.
//! This module checks the rest: the single common name, the key usage bits, and the constraints in the anchor's own certificate.

use std::cell::Cell;
use std::fmt;

use pki_types::{CertificateDer, ServerName};
use webpki::{EndEntityCert, VerifiedPath};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{AnyRef, Decode, Tag, Tagged};
use x509_cert::ext::pkix::{
    BasicConstraints, CertificatePolicies, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName,
};

use super::signer_path::SignerPath;
use super::store::TrustStore;
use super::{Certificate, SignerError, UnixTime, read_pem};
use crate::ec2::{Domain, Region};
use crate::escape::Escaped;

/// id-at-commonName (RFC 5280 appendix A.1)
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// id-kp-serverAuth (RFC 5280 section 4.2.1.12)
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// The name in the signer's certificate: `managed-ssh-signer.REGION.DOMAIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerName(String);

impl SignerName {
    /// The name of the signer in this region of this partition.
    #[must_use]
    pub fn new(region: &Region, domain: Domain) -> Self {
        Self(format!("managed-ssh-signer.{region}.{domain}"))
    }
}

impl fmt::Display for SignerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why the certificate chain is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// IMDS has no certificate chain.
    Missing,
    /// It is not PEM text, or contains no certificate that can be parsed.
    NotPem,
    /// It has too many certificates.
    TooLong,
    /// No certificate has the signer's name.
    Name {
        /// The expected name.
        expected: SignerName,
        /// The common names of the first certificate. Remote text.
        found: Vec<String>,
    },
    /// A certificate is used for a purpose that its key usage does not allow.
    KeyUsage,
    /// The anchor allows fewer intermediate certificates.
    PathLength,
    /// There are alternative names or name constraints, and the alternative names do not include the signer's.
    AlternativeName(SignerName),
    /// There is no valid path to an anchor of the trust store.
    Path(webpki::Error),
}

impl ChainError {
    /// The text for the common errors of webpki.
    fn explain(error: &webpki::Error) -> Option<&'static str> {
        use webpki::Error as Path;
        Some(match error {
            Path::UnknownIssuer => {
                "the signer's chain does not lead to a certificate of this system's trust store"
            }
            Path::CertExpired { .. } => "a certificate of the signer's chain has expired",
            Path::CertNotValidYet { .. } => "a certificate of the signer's chain is not valid yet",
            Path::InvalidSignatureForPublicKey => {
                "a certificate of the signer's chain was not signed by its issuer"
            }
            Path::UnsupportedSignatureAlgorithmContext(_)
            | Path::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                "a certificate of the signer's chain is signed with an algorithm that is not accepted, such as SHA-1"
            }
            Path::CaUsedAsEndEntity => "the signer's certificate is a certification authority's",
            Path::EndEntityUsedAsCa => "an issuer of the signer's chain is not a certification authority",
            Path::PathLenConstraintViolated | Path::MaximumPathDepthExceeded => {
                "the signer's chain is longer than an issuer of it allows"
            }
            Path::NameConstraintViolation => {
                "the signer's name is outside what an issuer of its chain may certify"
            }
            Path::RequiredEkuNotFoundContext(_) => {
                "a certificate of the signer's chain does not allow server authentication (extended key usage)"
            }
            Path::UnsupportedCriticalExtension => {
                "a certificate of the signer's chain has a critical extension that is not known"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the metadata service has no signer certificate"),
            Self::NotPem => f.write_str("the signer's certificate chain cannot be read"),
            Self::TooLong => f.write_str("the signer's certificate chain is too long"),
            Self::Name { expected, found } => {
                let found = found.join(", ");
                let found = Escaped(found.as_bytes());
                write!(
                    f,
                    "the signer's certificate has the wrong common name: expected {expected}, found {found}"
                )
            }
            Self::KeyUsage => f.write_str(
                "a certificate of the signer's chain is used for what its key usage does not allow",
            ),
            Self::PathLength => f.write_str("the signer's chain is longer than its anchor allows"),
            Self::AlternativeName(name) => {
                write!(f, "the signer's certificate does not have {name} among its alternative names")
            }
            Self::Path(error) => {
                f.write_str(Self::explain(error).unwrap_or("the signer's chain is not valid"))
            }
        }
    }
}

impl std::error::Error for ChainError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Path(error) if Self::explain(error).is_none() => Some(error),
            _ => None,
        }
    }
}

/// The certificate chain as received, in any order.
#[derive(Clone, Debug)]
pub struct SignerChain(Vec<Certificate>);

impl SignerChain {
    /// Parses the certificate chain from IMDS.
    ///
    /// # Errors
    /// Fails if it is not PEM text, or contains no certificate or too many.
    pub fn read(pem: &[u8]) -> Result<Self, ChainError> {
        let certificates = read_pem(pem)?;
        if certificates.is_empty() { Err(ChainError::NotPem) } else { Ok(Self(certificates)) }
    }

    /// Finds the path from the signer's certificate to an anchor of `store`.
    ///
    /// # Errors
    /// The store cannot be read, or there is no valid path at `now`.
    pub fn find_path(
        self,
        name: &SignerName,
        store: &TrustStore,
        now: UnixTime,
    ) -> Result<SignerPath, SignerError> {
        // The anchor that is nearest to the signer gives the path to take: a chain can go on behind it with a cross-signed certificate,
        // which has no OCSP response. A bundle is read until that anchor is found.
        let nearest = store.likely_anchors(&self.nearest_issuers(name), now).next();
        if let Some(Ok(path)) = nearest.map(|anchor| self.path_to_any(name, &[anchor], now)) {
            return Ok(path);
        }
        let issuers = issuers(&self.0);
        // If these anchors give no path, search the whole store and return its error.
        let likely: Vec<_> = store.likely_anchors(&issuers, now).collect();
        if let Ok(path) = self.path_to_any(name, &likely, now) {
            return Ok(path);
        }
        let anchors = store.anchors(&issuers, now)?;
        Ok(self.path_to_any(name, &anchors, now)?)
    }

    /// The names of the possible anchors of a path with at most one intermediate certificate: the issuers of the signer's certificate, and
    /// their issuers.
    fn nearest_issuers(&self, name: &SignerName) -> Vec<Vec<u8>> {
        let Some(leaf) = self.leaves(name).next() else { return Vec::new() };
        let intermediates = self.0.iter().filter(|certificate| certificate.subject() == leaf.issuer());
        issuers([leaf].into_iter().chain(intermediates))
    }

    /// The certificates with the signer's name.
    fn leaves(&self, name: &SignerName) -> impl Iterator<Item = &Certificate> {
        self.0.iter().filter(|certificate| certificate.common_names() == [name.0.as_str()])
    }

    fn path_to_any(
        &self,
        name: &SignerName,
        anchors: &[Certificate],
        now: UnixTime,
    ) -> Result<SignerPath, ChainError> {
        let mut leaves = self.leaves(name);
        let Some(first) = leaves.next() else {
            let found = self.0.first().map(Certificate::common_names).unwrap_or_default();
            return Err(ChainError::Name { expected: name.clone(), found });
        };
        // A chain can also have the certificate before its renewal.
        self.path_from(first, name, anchors, now).or_else(|error| {
            leaves.find_map(|leaf| self.path_from(leaf, name, anchors, now).ok()).ok_or(error)
        })
    }

    fn path_from(
        &self,
        leaf: &Certificate,
        name: &SignerName,
        anchors: &[Certificate],
        now: UnixTime,
    ) -> Result<SignerPath, ChainError> {
        if !leaf.allows_usage(KeyUsage::digital_signature) {
            return Err(ChainError::KeyUsage);
        }
        let intermediates: Vec<CertificateDer<'_>> =
            self.0.iter().map(|certificate| certificate.der.clone()).collect();
        let trust_anchors: Vec<_> =
            anchors.iter().filter_map(|anchor| webpki::anchor_from_trusted_cert(&anchor.der).ok()).collect();
        let end_entity = EndEntityCert::try_from(&leaf.der).map_err(ChainError::Path)?;
        let refused = Cell::new(None);
        // After this error, webpki continues with another path.
        let check = |path: &VerifiedPath<'_>| match self.signer_path(leaf, name, path, anchors) {
            Ok(_) => Ok(()),
            Err(error) => {
                refused.set(Some(error));
                Err(webpki::Error::UnknownIssuer)
            }
        };
        let path = end_entity
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &trust_anchors,
                &intermediates,
                now,
                // The real signer has a server certificate, and a CA below the anchor can be limited to servers.
                webpki::KeyUsage::server_auth(),
                None,
                Some(&check),
            )
            .map_err(|error| refused.take().unwrap_or(ChainError::Path(error)))?;
        self.signer_path(leaf, name, &path, anchors)
    }

    /// The path that webpki found, if it also passes the checks that webpki does not make.
    fn signer_path(
        &self,
        leaf: &Certificate,
        name: &SignerName,
        path: &VerifiedPath<'_>,
        anchors: &[Certificate],
    ) -> Result<SignerPath, ChainError> {
        let mut intermediates = Vec::new();
        for intermediate in path.intermediate_certificates() {
            let der = intermediate.der();
            let intermediate = self.0.iter().find(|certificate| certificate.der == der);
            let intermediate =
                intermediate.filter(|certificate| certificate.allows_usage(KeyUsage::key_cert_sign));
            intermediates.push(intermediate.ok_or(ChainError::KeyUsage)?.clone());
        }
        let issuers = intermediates.len();
        let is_anchor = |anchor: &&Certificate| {
            webpki::anchor_from_trusted_cert(&anchor.der).is_ok_and(|same| same == *path.anchor())
                && anchor.path_length().is_none_or(|most| issuers <= usize::from(most))
        };
        let anchor = anchors.iter().find(is_anchor).ok_or(ChainError::PathLength)?.clone();
        // Name constraints apply to alternative names only (RFC 5280 section 4.2.1.10), but the common name identifies the signer.
        // If a certificate uses either, the signer's name must also be an alternative name, where the constraints apply.
        let constrained = [leaf, &anchor]
            .into_iter()
            .chain(&intermediates)
            .any(|certificate| certificate.has(NameConstraints::OID) || certificate.has(SubjectAltName::OID));
        if constrained && !is_alternative_name(path.end_entity(), name) {
            return Err(ChainError::AlternativeName(name.clone()));
        }
        Ok(SignerPath::new(leaf.clone(), intermediates, anchor))
    }
}

/// The contents of the issuers' names of certificates.
fn issuers<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> Vec<Vec<u8>> {
    certificates.into_iter().filter_map(|certificate| contents(certificate.issuer()?)).collect()
}

fn is_alternative_name(certificate: &EndEntityCert<'_>, name: &SignerName) -> bool {
    let name = ServerName::try_from(name.0.as_str());
    name.is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
}

impl Certificate {
    /// All common names of the subject. A name whose string type can encode non-ASCII text differently is returned empty.
    fn common_names(&self) -> Vec<String> {
        let attributes = self.tbs().subject.0.iter().flat_map(|rdn| rdn.0.iter());
        attributes
            .filter(|attribute| attribute.oid == COMMON_NAME)
            .map(|attribute| match attribute.value.tag() {
                Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
                    String::from_utf8_lossy(attribute.value.value()).into_owned()
                }
                _ => String::new(),
            })
            .collect()
    }

    /// The common names for display. Remote text.
    pub(crate) fn name(&self) -> String {
        self.common_names().join(", ")
    }

    /// Whether the key usage allows this: the extension is absent or has the bit (RFC 5280 section 4.2.1.3).
    pub(super) fn allows_usage(&self, bit: fn(&KeyUsage) -> bool) -> bool {
        match self.tbs().get::<KeyUsage>() {
            Ok(None) => true,
            Ok(Some((_, usage))) => bit(&usage),
            Err(_) => false,
        }
    }

    /// Whether a certificate of the trust store can be an anchor at `now`: a CA that can sign certificates of servers and has no
    /// unknown critical extension. A version 1 certificate has no extensions; it counts as a CA if its subject and issuer are equal.
    pub(super) fn can_be_anchor(&self, now: UnixTime) -> bool {
        const UNDERSTOOD: [ObjectIdentifier; 5] = [
            BasicConstraints::OID,
            KeyUsage::OID,
            ExtendedKeyUsage::OID,
            NameConstraints::OID,
            CertificatePolicies::OID, // without effect if no policy is required
        ];
        let old_root =
            self.tbs().version == x509_cert::Version::V1 && self.tbs().issuer == self.tbs().subject;
        let ca = old_root
            || matches!(self.tbs().get::<BasicConstraints>(), Ok(Some((_, constraints))) if constraints.ca);
        let servers = match self.tbs().get::<ExtendedKeyUsage>() {
            Ok(None) => true,
            Ok(Some((_, usages))) => usages.0.contains(&SERVER_AUTH),
            Err(_) => false,
        };
        let mut extensions = self.tbs().extensions.iter().flatten();
        let understood = extensions.all(|other| !other.critical || UNDERSTOOD.contains(&other.extn_id));
        self.valid_at(now) && ca && servers && understood && self.allows_usage(KeyUsage::key_cert_sign)
    }

    fn has(&self, extension: ObjectIdentifier) -> bool {
        self.tbs().extensions.iter().flatten().any(|other| other.extn_id == extension)
    }

    fn path_length(&self) -> Option<u8> {
        let (_, constraints) = self.tbs().get::<BasicConstraints>().ok()??;
        constraints.path_len_constraint
    }
}

/// DER of a name without the outer tag and length, the form in which webpki compares names.
fn contents(name: &[u8]) -> Option<Vec<u8>> {
    Some(AnyRef::from_der(name).ok()?.value().to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

    use std::path::Path;
    use std::time::Duration;

    use super::{Certificate, ChainError, SignerChain, SignerError, SignerName, SignerPath};
    use crate::ec2::{Domain, Region};
    use crate::trust::{TrustStore, UnixTime};

    /// The certificate chain of an instance, read on 2025-01-30. The certificates are public.
    const REAL: &[u8] = include_bytes!("../../tests/data/signer-chain-us-east-1.pem");
    /// Roots of Debian's trust store.
    const STORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trust-store.pem");
    const DAY_IT_WAS_READ: Duration = Duration::from_secs(1_738_233_600);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    fn path(pem: &[u8], region: &str, at: Duration) -> Result<SignerPath, ChainError> {
        let name = SignerName::new(
            &Region::parse(region.as_bytes()).unwrap(),
            Domain::parse(b"amazonaws.com").unwrap(),
        );
        let store = TrustStore::open(Path::new("/"), Some(Path::new(STORE))).unwrap();
        SignerChain::read(pem)?.find_path(&name, &store, UnixTime::since_unix_epoch(at)).map_err(|error| {
            match error {
                SignerError::Chain(error) => error,
                error => panic!("{error}"),
            }
        })
    }

    fn reversed() -> Vec<u8> {
        let text = std::str::from_utf8(REAL).unwrap();
        let blocks: Vec<_> = text.split_inclusive("-----END CERTIFICATE-----\n").collect();
        blocks.into_iter().rev().collect::<String>().into_bytes()
    }

    #[test]
    fn the_real_chain_leads_to_the_anchor_of_the_trust_store() {
        for pem in [REAL.to_vec(), reversed()] {
            let path = path(&pem, "us-east-1", DAY_IT_WAS_READ).unwrap();
            let names: Vec<_> = path.certificates().flat_map(Certificate::common_names).collect();
            assert_eq!(names, ["managed-ssh-signer.us-east-1.amazonaws.com", "Amazon RSA 2048 M01"]);
            assert_eq!(path.anchor().common_names(), ["Amazon Root CA 1"]);
            assert_eq!(
                path.anchor().tbs().issuer,
                path.anchor().tbs().subject,
                "that of the trust store, not the one delivered"
            );
        }
    }

    #[test]
    fn the_real_chain_is_not_valid_a_year_later_nor_earlier() {
        let expired = path(REAL, "us-east-1", DAY_IT_WAS_READ + YEAR).unwrap_err();
        assert!(matches!(expired, ChainError::Path(webpki::Error::CertExpired { .. })), "{expired}");
        let early = path(REAL, "us-east-1", DAY_IT_WAS_READ.saturating_sub(YEAR)).unwrap_err();
        assert!(matches!(early, ChainError::Path(webpki::Error::CertNotValidYet { .. })), "{early}");
    }

    #[test]
    fn the_real_chain_is_for_its_region_only() {
        let other = path(REAL, "us-east-2", DAY_IT_WAS_READ).unwrap_err();
        assert!(matches!(other, ChainError::Name { .. }), "{other}");
    }

    #[test]
    fn without_its_intermediate_it_leads_nowhere() {
        let text = std::str::from_utf8(REAL).unwrap();
        let leaf = text.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        let alone = path(leaf.as_bytes(), "us-east-1", DAY_IT_WAS_READ).unwrap_err();
        assert_eq!(alone, ChainError::Path(webpki::Error::UnknownIssuer));
    }

    #[test]
    fn what_is_no_chain() {
        assert_eq!(SignerChain::read(b"").unwrap_err(), ChainError::NotPem);
        assert_eq!(SignerChain::read(b"-----BEGIN CERTIFICATE-----\n!\n").unwrap_err(), ChainError::NotPem);
        assert_eq!(SignerChain::read(&REAL.repeat(5)).unwrap_err(), ChainError::TooLong);
    }
}
