//! Finds the signer: certificate chain + anchors + time → [`SignerPath`], and with the OCSP responses → [`Signer`].
//!
//! Only this module reads certificates. [`store`] reads the trust anchors of the system (`bundle` finds a few in a large file), [`path_building`] finds the certification
//! path and checks the signer's name, [`ocsp`] checks that no certificate on the path is revoked, and [`signer_path`] has the order of
//! these steps, which a login and `--check` share.

mod bundle;
mod ocsp;
pub mod path_building;
mod signer_path;
pub mod store;

use std::fmt;

use pki_types::CertificateDer;
use pki_types::pem::PemObject;
use ring::digest;
use x509_cert::der::{AnyRef, Decode, Reader, SliceReader, Tag, Tagged};

pub use ocsp::{OcspError, OcspValidity};
pub use path_building::{ChainError, SignerName};
pub use pki_types::UnixTime;
pub use signer_path::{PathWithRevocation, SignerPath};
pub use store::{StoreError, TrustStore};

use crate::escape::Escaped;
use crate::limits;
use path_building::SignerChain;

/// Finds the path from the signer's certificate to an anchor of `store`. `chain` is the certificate chain that IMDS delivered, if any.
///
/// # Errors
/// There is no certificate chain, the store cannot be read, or there is no valid path at `now`.
pub fn find_path(
    chain: Option<&[u8]>,
    name: &SignerName,
    store: &TrustStore,
    now: UnixTime,
) -> Result<SignerPath, SignerError> {
    SignerChain::read(chain.ok_or(ChainError::Missing)?)?.find_path(name, store, now)
}

/// Why there is no trusted signer.
#[derive(Debug)]
pub enum SignerError {
    /// The trust store cannot be used.
    Store(StoreError),
    /// The certificate chain or the name is not valid.
    Chain(ChainError),
    /// A certificate has no valid OCSP response.
    OcspResponse {
        /// The common name of the certificate. Remote text.
        certificate: String,
        /// Why the OCSP response is not valid.
        error: OcspError,
    },
}

impl fmt::Display for SignerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Chain(error) => error.fmt(f),
            Self::OcspResponse { certificate, error } => {
                write!(f, "the OCSP response of certificate {} {error}", Escaped(certificate.as_bytes()))
            }
        }
    }
}

impl std::error::Error for SignerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            Self::Chain(error) => error.source(),
            // Its text is part of ours.
            Self::OcspResponse { .. } => None,
        }
    }
}

impl From<StoreError> for SignerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ChainError> for SignerError {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

/// A signer with verified name, path and revocation status. Only [`PathWithRevocation::signer`] creates it.
#[derive(Clone, Debug)]
pub struct Signer {
    leaf: Certificate,
}

impl Signer {
    /// Its name: the only common name of its certificate.
    #[must_use]
    pub fn name(&self) -> String {
        self.leaf.name()
    }

    /// Whether `signature` is this signer's RSA-PSS signature over `message`, with SHA-256 and a salt of 32 bytes.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.leaf.verifies(webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY, message, signature).is_ok()
    }
}

/// A parsed certificate, as bytes and as fields. Not verified.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    fields: x509_cert::Certificate,
}

impl Certificate {
    fn read(der: CertificateDer<'static>) -> Option<Self> {
        let fields = x509_cert::Certificate::from_der(&der).ok()?;
        Some(Self { der, fields })
    }

    /// The issuer's name, DER, as received.
    fn issuer(&self) -> Option<&[u8]> {
        self.field(2)
    }

    /// The subject's name, DER, as received.
    fn subject(&self) -> Option<&[u8]> {
        self.field(4)
    }

    /// A field of the certificate as received, counted from the serial number (RFC 5280 section 4.1).
    fn field(&self, number: usize) -> Option<&[u8]> {
        let certificate = elements(&self.der)?;
        let fields = elements(certificate.first()?)?;
        let version = usize::from(fields.first()?.first() == Some(&VERSION));
        fields.get(version.checked_add(number)?).copied()
    }

    fn tbs(&self) -> &x509_cert::TbsCertificate {
        &self.fields.tbs_certificate
    }

    /// Whether `now` is within the certificate's validity, including both ends (RFC 5280 section 4.1.2.5).
    fn valid_at(&self, now: UnixTime) -> bool {
        let not_before = self.tbs().validity.not_before.to_unix_duration().as_secs();
        (not_before..=self.not_after()).contains(&now.as_secs())
    }

    /// The last second of the certificate's validity, in seconds since the epoch.
    pub(crate) fn not_after(&self) -> u64 {
        self.tbs().validity.not_after.to_unix_duration().as_secs()
    }

    /// The bits of the key, as hashed in RFC 6960: the value of the BIT STRING without the count of unused bits.
    fn key_bits(&self) -> &[u8] {
        self.tbs().subject_public_key_info.subject_public_key.raw_bytes()
    }

    fn verifies(
        &self,
        algorithm: &dyn pki_types::SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), webpki::Error> {
        let spki = self.field(5).ok_or(webpki::Error::BadDer)?.into();
        webpki::RawPublicKeyEntity::try_from(&spki)?.verify_signature(algorithm, message, signature)
    }

    /// The possible names of the OCSP response for this certificate: its fingerprints with SHA-1 (in use today) and SHA-256.
    pub(crate) fn ocsp_names(&self) -> [String; 2] {
        let hex = |algorithm| base16ct::upper::encode_string(digest::digest(algorithm, &self.der).as_ref());
        [hex(&digest::SHA1_FOR_LEGACY_USE_ONLY), hex(&digest::SHA256)]
    }
}

/// The tag of the version in a certificate: `[0] EXPLICIT`
const VERSION: u8 = 0xa0;

/// The elements of a SEQUENCE as received. Signed or hashed data is never encoded again, because the bytes could differ.
fn elements(der: &[u8]) -> Option<Vec<&[u8]>> {
    let sequence = AnyRef::from_der(der).ok().filter(|any| any.tag() == Tag::Sequence)?;
    let mut reader = SliceReader::new(sequence.value()).ok()?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(reader.tlv_bytes().ok()?);
    }
    Some(elements)
}

/// Reads the certificates of a PEM text. Ignores text around them, and certificates that cannot be parsed, because a path cannot use
/// these.
///
/// # Errors
/// Fails if a section is not valid PEM or there are more certificates than [`limits::CERTIFICATES`].
fn read_pem(text: &[u8]) -> Result<Vec<Certificate>, ChainError> {
    let mut certificates = Vec::new();
    for (number, certificate) in CertificateDer::pem_slice_iter(text).enumerate() {
        if number >= limits::CERTIFICATES {
            return Err(ChainError::TooLong);
        }
        certificates.extend(Certificate::read(certificate.map_err(|_| ChainError::NotPem)?));
    }
    Ok(certificates)
}
