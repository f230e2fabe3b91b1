//! A hierarchy like that of AWS's signer, correct unless a test changes it.
//!
//! ```text
//! signer ← intermediate (path length 0) ← root, the anchor
//!                                       ← root, cross-signed by an older root, which nobody trusts any more
//! ```
use crate::cert::{Cert, CertSpec};
use crate::key::{Hash, Key};
use crate::ocsp::OcspSpec;

/// The default region.
pub const REGION: &str = "us-east-1";
/// The default domain.
pub const DOMAIN: &str = "amazonaws.com";

/// The content of the hierarchy's certificates.
#[derive(Clone, Debug)]
pub struct PkiSpec {
    /// The root that signed `root` before `root` was an anchor itself.
    pub old_root: CertSpec,
    /// The anchor.
    pub root: CertSpec,
    /// Between anchor and signer.
    pub intermediate: CertSpec,
    /// Signs the pushed keys.
    pub signer: CertSpec,
}

impl PkiSpec {
    /// A correct hierarchy for a signer of this region and domain.
    pub fn healthy(region: &str, domain: &str) -> Self {
        Self {
            old_root: CertSpec::authority("Laboratory Old Root", Key::rsa2048(0)),
            root: CertSpec::authority("Laboratory Root CA 1", Key::rsa2048(1)),
            intermediate: CertSpec::intermediate("Laboratory RSA 2048 M01", Key::rsa2048(2)),
            signer: CertSpec::signer(&format!("managed-ssh-signer.{region}.{domain}"), Key::rsa2048(3)),
        }
    }

    /// Issues the certificates.
    pub fn build(&self) -> Pki {
        let old_root = self.old_root.self_signed();
        let root = self.root.self_signed();
        let cross_root = self.root.issued_by(&old_root);
        let intermediate = self.intermediate.issued_by(&root);
        let signer = self.signer.issued_by(&intermediate);
        Pki { old_root, root, cross_root, intermediate, signer }
    }
}

/// An issued hierarchy.
#[derive(Clone, Debug)]
pub struct Pki {
    /// The root that cross-signed `root`.
    pub old_root: Cert,
    /// The anchor, self-signed.
    pub root: Cert,
    /// The anchor's name and key, signed by the old root: the end of the delivered chain.
    pub cross_root: Cert,
    /// Between anchor and signer.
    pub intermediate: Cert,
    /// Signs the pushed keys.
    pub signer: Cert,
}

impl Pki {
    /// The correct hierarchy of [`REGION`] and [`DOMAIN`].
    pub fn healthy() -> Self {
        Self::with(|_| ())
    }

    /// The correct hierarchy with something changed before it is issued.
    pub fn with(change: impl FnOnce(&mut PkiSpec)) -> Self {
        let mut spec = PkiSpec::healthy(REGION, DOMAIN);
        change(&mut spec);
        spec.build()
    }

    /// What IMDS delivers as `signer-cert`, leaf first.
    pub fn chain(&self) -> [&Cert; 3] {
        [&self.signer, &self.intermediate, &self.cross_root]
    }

    /// The OCSP response of the signer, to be changed before it is signed.
    pub fn signer_ocsp(&self) -> OcspSpec {
        OcspSpec::good(&self.signer, &self.intermediate)
    }

    /// The OCSP response of the intermediate, to be changed before it is signed.
    pub fn intermediate_ocsp(&self) -> OcspSpec {
        OcspSpec::good(&self.intermediate, &self.root)
    }

    /// The OCSP responses of signer and intermediate, by name, as the issuers themselves sign them.
    pub fn ocsp_responses(&self, naming: Hash) -> Vec<(String, Vec<u8>)> {
        vec![
            (self.signer.fingerprint(naming), self.signer_ocsp().build()),
            (self.intermediate.fingerprint(naming), self.intermediate_ocsp().build()),
        ]
    }
}

/// Certificates as one PEM text.
pub fn bundle<'a>(certs: impl IntoIterator<Item = &'a Cert>) -> String {
    certs.into_iter().map(Cert::to_pem).collect()
}
