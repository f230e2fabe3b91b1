//! OCSP responses whose every field a test can change, written out as RFC 6960 section 4.2.1 has them.
use crate::cert::{Cert, Extension};
use crate::key::{Hash, Scheme};
use crate::{DAY, HOUR, der, now};

/// Which certificate an answer is about (RFC 6960's CertID).
#[derive(Clone, Debug)]
pub struct CertId {
    /// The digest of the two hashes.
    pub hash: Hash,
    /// Digest of the issuer's name.
    pub issuer_name_hash: Vec<u8>,
    /// Digest of the issuer's key.
    pub issuer_key_hash: Vec<u8>,
    /// Serial number, unsigned.
    pub serial: Vec<u8>,
}

impl CertId {
    /// The right one for a certificate of this issuer.
    pub fn of(cert: &Cert, issuer: &Cert, hash: Hash) -> Self {
        Self {
            hash,
            issuer_name_hash: hash.of(&issuer.subject),
            issuer_key_hash: hash.of(&issuer.key.public_bits()),
            serial: cert.serial.clone(),
        }
    }

    fn to_der(&self) -> Vec<u8> {
        der::sequence(&[
            &self.hash.identifier(),
            &der::octets(&self.issuer_name_hash),
            &der::octets(&self.issuer_key_hash),
            &der::integer(&self.serial),
        ])
    }
}

/// The status of a certificate in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not revoked.
    Good,
    /// Revoked at this time, for this reason if there is one.
    Revoked(i64, Option<u8>),
    /// The responder does not know it.
    Unknown,
}

/// One answer (RFC 6960's SingleResponse).
#[derive(Clone, Debug)]
pub struct Answer {
    /// The certificate that it is about.
    pub id: CertId,
    /// The status of the certificate.
    pub status: Status,
    /// thisUpdate, in seconds since the epoch.
    pub this_update: i64,
    /// nextUpdate; `None` leaves it out.
    pub next_update: Option<i64>,
    /// Extensions of this answer.
    pub extensions: Vec<Extension>,
}

impl Answer {
    /// Good, since an hour ago, for a week, with the usual CertID by SHA-1.
    pub fn good(cert: &Cert, issuer: &Cert) -> Self {
        Self {
            id: CertId::of(cert, issuer, Hash::Sha1),
            status: Status::Good,
            this_update: now() - HOUR,
            next_update: Some(now() + 7 * DAY),
            extensions: Vec::new(),
        }
    }

    fn to_der(&self) -> Vec<u8> {
        let status = match self.status {
            Status::Good => der::tagged_primitive(0, &[]),
            Status::Revoked(at, reason) => {
                let reason = reason.map_or_else(Vec::new, |r| der::tagged(0, &der::enumerated(r)));
                der::tagged(1, &[der::generalized_time(at), reason].concat())
            }
            Status::Unknown => der::tagged_primitive(2, &[]),
        };
        let next = self.next_update.map_or_else(Vec::new, |at| der::tagged(0, &der::generalized_time(at)));
        der::sequence(&[
            &self.id.to_der(),
            &status,
            &der::generalized_time(self.this_update),
            &next,
            &extensions(1, &self.extensions),
        ])
    }
}

/// How a response names its responder.
#[derive(Clone, Debug)]
pub enum ResponderId {
    /// By the name of the signing certificate.
    Name,
    /// By the SHA-1 of the signing certificate's key.
    Key,
    /// By this DER of a name.
    OtherName(Vec<u8>),
    /// By this digest.
    OtherKey(Vec<u8>),
}

/// A tbsResponseData in another encoding.
pub type Rewriting = fn(&[u8]) -> Vec<u8>;

/// The content of an OCSP response.
#[derive(Clone, Debug)]
pub struct OcspSpec {
    /// responseStatus: 0 successful, 1 malformedRequest, 2 internalError, 3 tryLater, 5 sigRequired, 6 unauthorized.
    pub response_status: u8,
    /// The type of the response; its bytes follow.
    pub response_type: &'static str,
    /// Whether there are response bytes.
    pub response_bytes: bool,
    /// Version, 1 by default, which DER leaves out.
    pub version: u8,
    /// Who signs: the issuer itself or a responder.
    pub responder: Cert,
    /// How the response names it.
    pub responder_id: ResponderId,
    /// When it was signed.
    pub produced_at: i64,
    /// The answers.
    pub answers: Vec<Answer>,
    /// Extensions of the whole response.
    pub extensions: Vec<Extension>,
    /// How it is signed; `None`: the default of the responder's key.
    pub scheme: Option<Scheme>,
    /// Certificates that come with it.
    pub certs: Vec<Cert>,
    /// What is delivered in place of tbsResponseData.
    pub delivered: Option<Rewriting>,
    /// Whether the signature is over the delivered bytes; otherwise over the DER.
    pub signed_as_delivered: bool,
    /// Whether a bit of the signature is flipped.
    pub damaged: bool,
    /// Bytes after the response.
    pub trailing: Vec<u8>,
}

impl OcspSpec {
    /// Good, signed by the issuer itself, no certificates included.
    pub fn good(cert: &Cert, issuer: &Cert) -> Self {
        Self {
            response_status: 0,
            response_type: "1.3.6.1.5.5.7.48.1.1",
            response_bytes: true,
            version: 1,
            responder: issuer.clone(),
            responder_id: ResponderId::Key,
            produced_at: now() - HOUR,
            answers: vec![Answer::good(cert, issuer)],
            extensions: Vec::new(),
            scheme: None,
            certs: Vec::new(),
            delivered: None,
            signed_as_delivered: false,
            damaged: false,
            trailing: Vec::new(),
        }
    }

    /// The same, signed by a responder whose certificate comes with it.
    pub fn signed_by(mut self, responder: &Cert) -> Self {
        self.responder = responder.clone();
        self.certs = vec![responder.clone()];
        self
    }

    /// The first answer, to be changed.
    pub fn answer(&mut self) -> &mut Answer {
        &mut self.answers[0]
    }

    /// The OCSP response, DER.
    pub fn build(&self) -> Vec<u8> {
        let status = der::enumerated(self.response_status);
        let bytes = if self.response_bytes {
            let response =
                der::sequence(&[&der::oid(self.response_type), &der::octets(&self.basic_response())]);
            der::tagged(0, &response)
        } else {
            Vec::new()
        };
        [der::sequence(&[&status, &bytes]), self.trailing.clone()].concat()
    }

    fn basic_response(&self) -> Vec<u8> {
        let version = match self.version {
            1 => Vec::new(),
            other => der::tagged(0, &der::small(u32::from(other) - 1)),
        };
        let responder_id = match &self.responder_id {
            ResponderId::Name => der::tagged(1, &self.responder.subject),
            ResponderId::OtherName(name) => der::tagged(1, name),
            ResponderId::Key => {
                der::tagged(2, &der::octets(&Hash::Sha1.of(&self.responder.key.public_bits())))
            }
            ResponderId::OtherKey(hash) => der::tagged(2, &der::octets(hash)),
        };
        let answers: Vec<u8> = self.answers.iter().flat_map(Answer::to_der).collect();
        let data = der::sequence(&[
            &version,
            &responder_id,
            &der::generalized_time(self.produced_at),
            &der::sequence(&[&answers]),
            &extensions(1, &self.extensions),
        ]);
        let scheme = self.scheme.unwrap_or_else(|| self.responder.key.scheme());
        let delivered = self.delivered.map_or_else(|| data.clone(), |change| change(&data));
        let signed = if self.signed_as_delivered { &delivered } else { &data };
        let mut signature = scheme.sign(&self.responder.key, signed);
        if self.damaged {
            *signature.last_mut().unwrap() ^= 1;
        }
        let certs: Vec<u8> = self.certs.iter().flat_map(|cert| cert.der.clone()).collect();
        let certs = match certs.as_slice() {
            [] => Vec::new(),
            some => der::tagged(0, &der::sequence(&[some])),
        };
        der::sequence(&[&delivered, &scheme.identifier(), &der::bits(&signature), &certs])
    }
}

/// A tbsResponseData with its version, 1, written out; DER leaves a default value out.
pub fn with_default_version(data: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::tagged(0, &der::small(0)), content(data)])
}

/// A tbsResponseData whose length has one byte more than necessary, as BER allows.
pub fn with_long_length(data: &[u8]) -> Vec<u8> {
    let content = content(data);
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x30, 0x84], length.as_slice(), content].concat()
}

/// A tbsResponseData of indefinite length, as BER allows.
pub fn with_indefinite_length(data: &[u8]) -> Vec<u8> {
    [&[0x30, 0x80], content(data), &[0, 0]].concat()
}

/// The content of an element.
fn content(element: &[u8]) -> &[u8] {
    let more = if element[1] < 0x80 { 0 } else { usize::from(element[1] & 0x7f) };
    &element[2 + more..]
}

/// The nonce that a client would have asked for (RFC 8954).
pub fn nonce() -> Extension {
    Extension { oid: "1.3.6.1.5.5.7.48.1.2", critical: false, value: der::octets(&[0x5a; 32]) }
}

fn extensions(number: u8, list: &[Extension]) -> Vec<u8> {
    match list.iter().flat_map(Extension::to_der).collect::<Vec<u8>>().as_slice() {
        [] => Vec::new(),
        some => der::tagged(number, &der::sequence(&[some])),
    }
}
