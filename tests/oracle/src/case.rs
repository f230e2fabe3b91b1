//! What an instance would receive: a chain, OCSP responses, a record; and what it trusts.

use eic_lab::pki::{DOMAIN, REGION, bundle};
use eic_lab::{Cert, CertSpec, Hash, Key, OcspSpec, RecordSpec, Scheme, now};

use crate::change::{CHANGES, Change};

/// The instance of every case.
pub const INSTANCE: &str = "i-0123456789abcdef0";
/// The name that the signer must have.
pub const SIGNER: &str = "managed-ssh-signer.us-east-1.amazonaws.com";
/// The key of every record.
pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

/// The certificates before they are issued, from the anchor down; each is issued by the one before it.
#[derive(Debug)]
pub struct Draft {
    /// The anchor, intermediates, and last the signer.
    pub path: Vec<CertSpec>,
    /// The certificate that cross-signed the anchor, which nobody trusts.
    pub old_root: CertSpec,
}

/// A case, ready to be judged.
#[derive(Clone, Debug)]
pub struct Case {
    /// The issued certificates of [`Draft::path`].
    pub path: Vec<Cert>,
    /// What IMDS delivers as the chain.
    pub chain: Vec<Cert>,
    /// The trust store.
    pub anchors: Vec<Cert>,
    /// OCSP responses, of the signer first, then up the path: name and DER.
    pub ocsp_responses: Vec<(String, Vec<u8>)>,
    /// The active-keys text.
    pub record: Vec<u8>,
    /// When it is judged, in seconds since the epoch.
    pub now: u64,
    /// What was changed.
    pub changes: Vec<&'static str>,
}

impl Case {
    /// A correct case with the changes that the bytes select, two bytes each: which change, and its details.
    pub fn make(bytes: &[u8]) -> Self {
        let changes: Vec<_> = bytes
            .chunks_exact(2)
            .take(6)
            .filter_map(|pair| Some((CHANGES.get(usize::from(pair[0]) % (CHANGES.len() + 1))?, pair[1])))
            .collect();
        let mut draft = Draft {
            path: vec![
                CertSpec::authority("Laboratory Root CA 1", Key::rsa2048(1)),
                CertSpec::intermediate("Laboratory RSA 2048 M01", Key::rsa2048(2)),
                CertSpec::signer(&format!("managed-ssh-signer.{REGION}.{DOMAIN}"), Key::rsa2048(3)),
            ],
            old_root: CertSpec::authority("Laboratory Old Root", Key::rsa2048(0)),
        };
        for (spec, serial) in draft.path.iter_mut().zip(1..) {
            spec.serial = vec![serial]; // so that an OCSP response stays one of this signer
        }
        for ((_, change), how) in &changes {
            if let Change::Draft(change) = change {
                change(&mut draft, *how);
            }
        }
        for at in 0..draft.path.len() {
            // Of two issuers with the same name OpenSSL tries one, which the key identifiers select.
            draft.path[at].key_identifiers |= changes.iter().any(|((name, _), _)| *name == "same names");
            if !is_rsa(&draft.path[at.saturating_sub(1)].key) {
                draft.path[at].scheme = None; // the changes' schemes are for RSA
            }
        }
        let mut path = vec![draft.path[0].self_signed()];
        for spec in &draft.path[1..] {
            path.push(spec.issued_by(path.last().unwrap()));
        }
        draft.path[0].scheme = None;
        let cross_root = draft.path[0].issued_by(&draft.old_root.self_signed());
        let chain = path[1..].iter().rev().cloned().chain([cross_root]).collect();
        let mut case = Self {
            chain,
            anchors: vec![path[0].clone()],
            ocsp_responses: Vec::new(),
            record: Vec::new(),
            now: u64::try_from(now()).unwrap(),
            changes: changes.iter().map(|((name, _), _)| *name).collect(),
            path,
        };
        case.ocsp_responses = case.sign_ocsp_responses(&changes);
        let mut record = RecordSpec::new(INSTANCE, KEY);
        let mut key = case.path.last().unwrap().key.clone();
        for ((_, change), how) in &changes {
            match change {
                Change::Record(change) => record = change(record, &mut key, *how),
                Change::Case(change) => change(&mut case, *how),
                Change::Draft(_) | Change::OcspResponse(_) => {}
            }
        }
        if !is_rsa(&key) {
            record.scheme = key.scheme();
        }
        case.record = [record.signed_by(&key), std::mem::take(&mut case.record)].concat();
        case
    }

    /// A good OCSP response, with the changes, for each certificate below the anchor. An odd `how` changes the intermediate's.
    fn sign_ocsp_responses(&self, changes: &[(&(&'static str, Change), u8)]) -> Vec<(String, Vec<u8>)> {
        let pairs = self.path.windows(2).rev().enumerate();
        pairs
            .map(|(number, pair)| {
                let (issuer, cert) = (&pair[0], &pair[1]);
                let mut ocsp_response = OcspSpec::good(cert, issuer);
                for ((_, change), how) in changes {
                    if let Change::OcspResponse(change) = change {
                        if usize::from(how % 2) == number && !ocsp_response.answers.is_empty() {
                            change(&mut ocsp_response, cert, issuer, how / 2);
                        }
                    }
                }
                if !is_rsa(&ocsp_response.responder.key) {
                    ocsp_response.scheme = None;
                }
                (cert.fingerprint(Hash::Sha1), ocsp_response.build())
            })
            .collect()
    }

    /// The chain as IMDS delivers it.
    pub fn chain_pem(&self) -> String {
        bundle(&self.chain)
    }

    /// The trust store.
    pub fn anchors_pem(&self) -> String {
        bundle(&self.anchors)
    }
}

fn is_rsa(key: &Key) -> bool {
    matches!(key.scheme(), Scheme::RsaPkcs1(_))
}
