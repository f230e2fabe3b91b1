//! Keys that sign certificates, OCSP responses and records, and the ways to sign with them.
use crate::der;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer};
use std::sync::OnceLock;

/// A private key. Cheap to clone, and two clones are the same key.
#[derive(Clone)]
pub struct Key(PKey<Private>);

/// The 2048-bit test keys, so that no test waits for prime numbers. They protect nothing.
const RSA_2048: [&str; 6] = [
    include_str!("../keys/rsa-2048-0.pem"),
    include_str!("../keys/rsa-2048-1.pem"),
    include_str!("../keys/rsa-2048-2.pem"),
    include_str!("../keys/rsa-2048-3.pem"),
    include_str!("../keys/rsa-2048-4.pem"),
    include_str!("../keys/rsa-2048-5.pem"),
];

impl Key {
    /// The 2048-bit test key with this number, 0 to 5. The default [`crate::Pki`] uses 0 (old root), 1 (root), 2 (intermediate)
    /// and 3 (signer); 4 and 5 are for tests, such as a responder's or a forger's.
    pub fn rsa2048(number: usize) -> Self {
        static KEYS: [OnceLock<Key>; 6] = [const { OnceLock::new() }; 6];
        KEYS[number].get_or_init(|| Self::from_pem(RSA_2048[number])).clone()
    }

    /// The one test key of another size: 1024, 3072 or 4096 bits.
    pub fn rsa(bits: u32) -> Self {
        Self::from_pem(match bits {
            1024 => include_str!("../keys/rsa-1024-0.pem"),
            3072 => include_str!("../keys/rsa-3072-0.pem"),
            4096 => include_str!("../keys/rsa-4096-0.pem"),
            other => panic!("no test key of {other} bits: 1024, 3072 or 4096"),
        })
    }

    /// A fresh key on NIST's P-256.
    pub fn p256() -> Self {
        Self::on_curve(Nid::X9_62_PRIME256V1)
    }

    /// A fresh key on NIST's P-384.
    pub fn p384() -> Self {
        Self::on_curve(Nid::SECP384R1)
    }

    /// A fresh Ed25519 key.
    pub fn ed25519() -> Self {
        Self(PKey::generate_ed25519().unwrap())
    }

    fn on_curve(curve: Nid) -> Self {
        let group = EcGroup::from_curve_name(curve).unwrap();
        Self(PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap())
    }

    fn from_pem(pem: &str) -> Self {
        Self(PKey::private_key_from_pem(pem.as_bytes()).unwrap())
    }

    /// The private key as PEM (PKCS#8).
    pub fn to_pem(&self) -> String {
        String::from_utf8(self.0.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    /// The public key as PEM.
    pub fn public_pem(&self) -> String {
        String::from_utf8(self.0.public_key_to_pem().unwrap()).unwrap()
    }

    /// The public key as SubjectPublicKeyInfo, DER.
    pub fn public_info(&self) -> Vec<u8> {
        self.0.public_key_to_der().unwrap()
    }

    /// The content of the subjectPublicKey bit string: what OCSP hashes as "issuer key" and X.509 as key identifier.
    pub fn public_bits(&self) -> Vec<u8> {
        let info = self.public_info();
        let (_, body, _) = split(&info);
        let (_, _, after_algorithm) = split(body);
        let (_, bits, _) = split(after_algorithm);
        bits[1..].to_vec()
    }

    /// The default signature scheme of this key: SHA-256, or SHA-384 on P-384.
    pub fn scheme(&self) -> Scheme {
        match (self.0.ec_key(), self.0.id()) {
            (Ok(ec), _) if ec.group().curve_name() == Some(Nid::SECP384R1) => Scheme::Ecdsa(Hash::Sha384),
            (Ok(_), _) => Scheme::Ecdsa(Hash::Sha256),
            (Err(_), openssl::pkey::Id::ED25519) => Scheme::Ed25519,
            _ => Scheme::RsaPkcs1(Hash::Sha256),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?}, {} bits)", self.0.id(), self.0.bits())
    }
}

/// The first element of DER that this crate or OpenSSL wrote: tag, content, and the bytes after it.
fn split(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let (length, header) = match der[1] {
        short @ 0..=0x7f => (usize::from(short), 2),
        long => {
            let digits = usize::from(long & 0x7f);
            (der[2..2 + digits].iter().fold(0, |n, b| n << 8 | usize::from(*b)), 2 + digits)
        }
    };
    (der[0], &der[header..header + length], &der[header + length..])
}

/// A digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// 20 bytes, broken for signatures.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl Hash {
    /// The digest of some bytes.
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        openssl::hash::hash(self.digest(), bytes).unwrap().to_vec()
    }

    /// The AlgorithmIdentifier of the digest itself.
    pub fn identifier(self) -> Vec<u8> {
        let oid = match self {
            Self::Sha1 => "1.3.14.3.2.26",
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
        };
        der::sequence(&[&der::oid(oid), &der::null()])
    }

    fn digest(self) -> MessageDigest {
        match self {
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }
}

/// A way to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RSA, PKCS#1 v1.5.
    RsaPkcs1(Hash),
    /// RSA-PSS with MGF1 of the same digest and a salt of this length.
    RsaPss(Hash, u8),
    /// ECDSA, DER encoded.
    Ecdsa(Hash),
    /// Ed25519.
    Ed25519,
}

impl Scheme {
    /// The signature over a message.
    pub fn sign(self, key: &Key, message: &[u8]) -> Vec<u8> {
        let mut signer = match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash, _) | Self::Ecdsa(hash) => {
                Signer::new(hash.digest(), &key.0).unwrap()
            }
            Self::Ed25519 => Signer::new_without_digest(&key.0).unwrap(),
        };
        if let Self::RsaPss(hash, salt) = self {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_mgf1_md(hash.digest()).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt.into())).unwrap();
        }
        signer.sign_oneshot_to_vec(message).unwrap()
    }

    /// The AlgorithmIdentifier that says how it was signed (RFC 4055, 5758, 8410).
    pub fn identifier(self) -> Vec<u8> {
        let plain = |oid| der::sequence(&[&der::oid(oid)]);
        let with_null = |oid| der::sequence(&[&der::oid(oid), &der::null()]);
        match self {
            Self::RsaPkcs1(Hash::Sha1) => with_null("1.2.840.113549.1.1.5"),
            Self::RsaPkcs1(Hash::Sha256) => with_null("1.2.840.113549.1.1.11"),
            Self::RsaPkcs1(Hash::Sha384) => with_null("1.2.840.113549.1.1.12"),
            Self::RsaPkcs1(Hash::Sha512) => with_null("1.2.840.113549.1.1.13"),
            Self::RsaPss(hash, salt) => {
                let mask = der::sequence(&[&der::oid("1.2.840.113549.1.1.8"), &hash.identifier()]);
                let parameters = der::sequence(&[
                    &der::tagged(0, &hash.identifier()),
                    &der::tagged(1, &mask),
                    &der::tagged(2, &der::small(salt.into())),
                ]);
                der::sequence(&[&der::oid("1.2.840.113549.1.1.10"), &parameters])
            }
            Self::Ecdsa(Hash::Sha1) => plain("1.2.840.10045.4.1"),
            Self::Ecdsa(Hash::Sha256) => plain("1.2.840.10045.4.3.2"),
            Self::Ecdsa(Hash::Sha384) => plain("1.2.840.10045.4.3.3"),
            Self::Ecdsa(Hash::Sha512) => plain("1.2.840.10045.4.3.4"),
            Self::Ed25519 => plain("1.3.101.112"),
        }
    }
}
