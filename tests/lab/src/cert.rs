//! Certificates whose every field a test can change, written out as RFC 5280 has them.
use crate::key::{Hash, Key, Scheme};
use crate::{DAY, der, now};
use openssl::base64::encode_block;

/// Key usage bits (RFC 5280 section 4.2.1.3), to be joined with `|`.
pub mod usage {
    /// May sign data.
    pub const DIGITAL_SIGNATURE: u8 = 0x80;
    /// May encrypt keys.
    pub const KEY_ENCIPHERMENT: u8 = 0x20;
    /// May sign certificates.
    pub const CERTIFICATE_SIGN: u8 = 0x04;
    /// May sign revocation lists.
    pub const CRL_SIGN: u8 = 0x02;
}

/// Object identifiers that tests use.
pub mod oids {
    /// Attribute: commonName.
    pub const COMMON_NAME: &str = "2.5.4.3";
    /// Attribute: organizationName.
    pub const ORGANIZATION: &str = "2.5.4.10";
    /// Extended key usage: TLS server.
    pub const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
    /// Extended key usage: TLS client.
    pub const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";
    /// Extended key usage: e-mail.
    pub const EMAIL_PROTECTION: &str = "1.3.6.1.5.5.7.3.4";
    /// Extended key usage: OCSP responder (RFC 6960 section 4.2.2.2).
    pub const OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";
    /// Extension of a responder's certificate: not to be checked for revocation (RFC 6960 section 4.2.2.2.1).
    pub const OCSP_NO_CHECK: &str = "1.3.6.1.5.5.7.48.1.5";
    /// An unknown identifier (RFC 5612's example enterprise).
    pub const UNKNOWN: &str = "1.3.6.1.4.1.32473.1";
}

/// ASN.1 string types of a name's values, by their tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// UTF8String, what is written by default.
    Utf8 = 0x0c,
    /// PrintableString.
    Printable = 0x13,
    /// TeletexString.
    Teletex = 0x14,
    /// IA5String.
    Ia5 = 0x16,
    /// UniversalString: the value must be UTF-32BE.
    Universal = 0x1c,
    /// BMPString: the value must be UTF-16BE.
    Bmp = 0x1e,
}

/// One attribute of a name, in a set of its own.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Its type, see [`oids`].
    pub oid: &'static str,
    /// The string type of its value.
    pub text: Text,
    /// Its value.
    pub value: Vec<u8>,
}

impl Attribute {
    /// A common name, as UTF8String.
    pub fn common_name(value: &str) -> Self {
        Self { oid: oids::COMMON_NAME, text: Text::Utf8, value: value.into() }
    }

    /// An organization, as UTF8String.
    pub fn organization(value: &str) -> Self {
        Self { oid: oids::ORGANIZATION, text: Text::Utf8, value: value.into() }
    }
}

/// The DER of a name whose attributes are one set, in this order; DER would sort them.
pub fn name_of_one_set(attributes: &[Attribute]) -> Vec<u8> {
    let attributes: Vec<Vec<u8>> = attributes
        .iter()
        .map(|a| der::sequence(&[&der::oid(a.oid), &der::element(a.text as u8, &a.value)]))
        .collect();
    der::sequence(&[&der::set(&attributes.iter().map(Vec::as_slice).collect::<Vec<_>>())])
}

/// The DER of a name.
pub fn name(attributes: &[Attribute]) -> Vec<u8> {
    let sets: Vec<Vec<u8>> = attributes
        .iter()
        .map(|a| der::set(&[&der::sequence(&[&der::oid(a.oid), &der::element(a.text as u8, &a.value)])]))
        .collect();
    der::sequence(&sets.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// An extension that [`CertSpec`] has no field for.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its type.
    pub oid: &'static str,
    /// Whether a reader that does not know it must refuse the certificate.
    pub critical: bool,
    /// Its value: the DER inside the octet string.
    pub value: Vec<u8>,
}

impl Extension {
    /// An unknown extension.
    pub fn unknown(critical: bool) -> Self {
        Self { oid: oids::UNKNOWN, critical, value: der::null() }
    }

    /// Its DER.
    pub fn to_der(&self) -> Vec<u8> {
        let critical = if self.critical { der::boolean(true) } else { Vec::new() };
        der::sequence(&[&der::oid(self.oid), &critical, &der::octets(&self.value)])
    }
}

/// The content of a certificate.
#[derive(Clone, Debug)]
pub struct CertSpec {
    /// The subject's name.
    pub subject: Vec<Attribute>,
    /// Whether that is one unsorted set of attributes.
    pub one_set: bool,
    /// The issuer's name, if it is not the subject of the issuer.
    pub issuer: Option<Vec<Attribute>>,
    /// The key that is certified.
    pub key: Key,
    /// The serial number, unsigned.
    pub serial: Vec<u8>,
    /// 1, 2 or 3. Extensions are written with any version.
    pub version: u8,
    /// Valid from, in seconds since the epoch.
    pub not_before: i64,
    /// Valid to and including, in seconds since the epoch.
    pub not_after: i64,
    /// CA flag and path length; `None` leaves the extension out.
    pub basic_constraints: Option<(bool, Option<u8>)>,
    /// Bits of [`usage`]; `None` leaves the extension out.
    pub key_usage: Option<u8>,
    /// OIDs of extended key usages; none leave the extension out.
    pub extended_key_usage: Vec<&'static str>,
    /// DNS names; none leave the extension out.
    pub alternative_names: Vec<String>,
    /// Permitted and excluded DNS subtrees; `None` leaves the extension out.
    pub name_constraints: Option<(Vec<&'static str>, Vec<&'static str>)>,
    /// Whether there are subject and authority key identifiers.
    pub key_identifiers: bool,
    /// Further extensions, after the others.
    pub extensions: Vec<Extension>,
    /// How the issuer signs; `None`: the default of its key.
    pub scheme: Option<Scheme>,
}

impl CertSpec {
    /// A certificate authority, path length unbounded, valid from five years ago for twenty years.
    pub fn authority(common_name: &str, key: Key) -> Self {
        Self {
            subject: vec![Attribute::organization("Laboratory"), Attribute::common_name(common_name)],
            one_set: false,
            issuer: None,
            key,
            serial: random_serial(),
            version: 3,
            not_before: now() - 5 * 365 * DAY,
            not_after: now() + 15 * 365 * DAY,
            basic_constraints: Some((true, None)),
            key_usage: Some(usage::DIGITAL_SIGNATURE | usage::CERTIFICATE_SIGN | usage::CRL_SIGN),
            extended_key_usage: Vec::new(),
            alternative_names: Vec::new(),
            name_constraints: None,
            key_identifiers: true,
            extensions: Vec::new(),
            scheme: None,
        }
    }

    /// A certificate authority like AWS's intermediate one: path length 0, TLS usages.
    pub fn intermediate(common_name: &str, key: Key) -> Self {
        Self {
            basic_constraints: Some((true, Some(0))),
            extended_key_usage: vec![oids::SERVER_AUTH, oids::CLIENT_AUTH],
            ..Self::authority(common_name, key)
        }
    }

    /// An end entity like AWS's signer: its name is subject and alternative name, TLS usages, valid for a year.
    pub fn signer(host_name: &str, key: Key) -> Self {
        Self {
            subject: vec![Attribute::common_name(host_name)],
            not_before: now() - 30 * DAY,
            not_after: now() + 335 * DAY,
            basic_constraints: Some((false, None)),
            key_usage: Some(usage::DIGITAL_SIGNATURE | usage::KEY_ENCIPHERMENT),
            extended_key_usage: vec![oids::SERVER_AUTH, oids::CLIENT_AUTH],
            alternative_names: vec![host_name.to_owned()],
            ..Self::authority(host_name, key)
        }
    }

    /// An OCSP responder, as RFC 6960 section 4.2.2.2 has it.
    pub fn responder(common_name: &str, key: Key) -> Self {
        Self {
            key_usage: Some(usage::DIGITAL_SIGNATURE),
            extended_key_usage: vec![oids::OCSP_SIGNING],
            alternative_names: Vec::new(),
            extensions: vec![Extension { oid: oids::OCSP_NO_CHECK, critical: false, value: der::null() }],
            ..Self::signer(common_name, key)
        }
    }

    fn name(&self) -> Vec<u8> {
        if self.one_set { name_of_one_set(&self.subject) } else { name(&self.subject) }
    }

    /// The certificate, signed by its own key.
    pub fn self_signed(&self) -> Cert {
        let name = self.name();
        self.sign(&name, &self.key)
    }

    /// The certificate, signed by an issuer, which need not be a certificate authority.
    pub fn issued_by(&self, issuer: &Cert) -> Cert {
        self.sign(&issuer.subject, &issuer.key)
    }

    /// The certificate, with this issuer name (unless the spec has another) and signed by this key.
    pub fn sign(&self, issuer_name: &[u8], issuer_key: &Key) -> Cert {
        let issuer_name = self.issuer.as_ref().map_or_else(|| issuer_name.to_vec(), |own| name(own));
        let subject = self.name();
        let scheme = self.scheme.unwrap_or_else(|| issuer_key.scheme());
        let version = match self.version {
            1 => Vec::new(),
            other => der::tagged(0, &der::small(u32::from(other) - 1)),
        };
        let extensions: Vec<u8> =
            self.all_extensions(issuer_key).iter().flat_map(Extension::to_der).collect();
        let extensions = match extensions.as_slice() {
            [] => Vec::new(),
            some => der::tagged(3, &der::sequence(&[some])),
        };
        let to_be_signed = der::sequence(&[
            &version,
            &der::integer(&self.serial),
            &scheme.identifier(),
            &issuer_name,
            &der::sequence(&[&der::time(self.not_before), &der::time(self.not_after)]),
            &subject,
            &self.key.public_info(),
            &extensions,
        ]);
        let signature = scheme.sign(issuer_key, &to_be_signed);
        let der = der::sequence(&[&to_be_signed, &scheme.identifier(), &der::bits(&signature)]);
        Cert { der, subject, serial: self.serial.clone(), key: self.key.clone() }
    }

    fn all_extensions(&self, issuer_key: &Key) -> Vec<Extension> {
        let mut all = Vec::new();
        let mut add = |oid, critical, value| all.push(Extension { oid, critical, value });
        if let Some((authority, path_length)) = self.basic_constraints {
            let authority = if authority { der::boolean(true) } else { Vec::new() };
            let length = path_length.map_or_else(Vec::new, |n| der::small(n.into()));
            add("2.5.29.19", true, der::sequence(&[&authority, &length]));
        }
        if let Some(bits) = self.key_usage {
            add("2.5.29.15", true, der::flags(bits));
        }
        if !self.extended_key_usage.is_empty() {
            let usages: Vec<u8> = self.extended_key_usage.iter().flat_map(|oid| der::oid(oid)).collect();
            add("2.5.29.37", false, der::sequence(&[&usages]));
        }
        if !self.alternative_names.is_empty() {
            let names = self.alternative_names.iter().flat_map(|n| der::tagged_primitive(2, n.as_bytes()));
            add("2.5.29.17", false, der::sequence(&[&names.collect::<Vec<u8>>()]));
        }
        if let Some((permitted, excluded)) = &self.name_constraints {
            let subtrees = |number, names: &[&str]| match names {
                [] => Vec::new(),
                some => {
                    let each = |n: &&str| der::sequence(&[&der::tagged_primitive(2, n.as_bytes())]);
                    der::tagged(number, &some.iter().flat_map(each).collect::<Vec<u8>>())
                }
            };
            add("2.5.29.30", true, der::sequence(&[&subtrees(0, permitted), &subtrees(1, excluded)]));
        }
        if self.key_identifiers {
            let identifier = |key: &Key| Hash::Sha1.of(&key.public_bits());
            add("2.5.29.14", false, der::octets(&identifier(&self.key)));
            let authority = der::tagged_primitive(0, &identifier(issuer_key));
            add("2.5.29.35", false, der::sequence(&[&authority]));
        }
        all.extend(self.extensions.iter().cloned());
        all
    }
}

/// A certificate that was made here, with the private key that belongs to it.
#[derive(Clone, Debug)]
pub struct Cert {
    /// The certificate itself.
    pub der: Vec<u8>,
    /// The DER of its subject's name.
    pub subject: Vec<u8>,
    /// Its serial number, unsigned.
    pub serial: Vec<u8>,
    /// The certified key.
    pub key: Key,
}

impl Cert {
    /// The certificate as PEM.
    pub fn to_pem(&self) -> String {
        pem(&self.der)
    }

    /// Its fingerprint, upper-case hex: the name of its OCSP response.
    pub fn fingerprint(&self, hash: Hash) -> String {
        hash.of(&self.der).iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// The same certificate with its signature broken by one bit.
    pub fn damaged(&self) -> Self {
        let mut damaged = self.clone();
        *damaged.der.last_mut().unwrap() ^= 1;
        damaged
    }
}

/// Some DER as a PEM certificate, in lines of 64 characters.
pub fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", wrapped(der, 64))
}

/// Base64 in lines of this length, each ended by LF.
pub fn wrapped(bytes: &[u8], width: usize) -> String {
    let text = encode_block(bytes);
    text.as_bytes().chunks(width).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
}

/// A random serial number of 16 bytes.
fn random_serial() -> Vec<u8> {
    let mut serial = vec![0; 16];
    openssl::rand::rand_bytes(&mut serial).unwrap();
    serial[0] |= 0x40;
    serial[0] &= 0x7f;
    serial
}
