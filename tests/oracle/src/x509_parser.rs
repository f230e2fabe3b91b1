//! The opinion of x509-parser, which reads DER by code of its own, on the certificates of a case.
//!
//! x509-parser reads certificates and verifies their signatures. The search for a path and the rules of RFC 5280 are written here.
//! OCSP responses and records are not looked at, so this accepts more than the others do.

use x509_parser::prelude::{
    ASN1Time, AttributeTypeAndValue, FromDer, GeneralName, GeneralSubtree, ParsedExtension, X509Certificate,
    X509Version,
};
use x509_parser::public_key::PublicKey;

use crate::case::{Case, SIGNER};

/// The largest number of certificates below the anchor: six intermediates and the signer.
const MAX_PATH: usize = 7;

/// Whether a path leads from the signer to an anchor.
///
/// # Errors
/// Why none does; of several paths, the reason for the last one.
pub fn accepts(case: &Case) -> Result<(), String> {
    let delivered: Vec<_> = case.chain.iter().filter_map(|cert| read(&cert.der).ok()).collect();
    let anchors: Vec<_> = case.anchors.iter().filter_map(|cert| read(&cert.der).ok()).collect();
    let signer = delivered.iter().find(|cert| is_named(cert)).ok_or("no certificate of the signer's name")?;
    let search = Search { delivered: &delivered, anchors: &anchors, now: time(case.now)? };
    search.is_signer(signer)?;
    search.leads_to_an_anchor(&[signer])
}

fn read(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], cert)) => Ok(cert),
        Ok(_) => Err("data after the certificate".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn time(unix: u64) -> Result<ASN1Time, String> {
    ASN1Time::from_timestamp(i64::try_from(unix).unwrap()).map_err(text)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Exactly one common name, the signer's.
fn is_named(cert: &X509Certificate<'_>) -> bool {
    let names: Vec<_> = cert.subject().iter_common_name().map(AttributeTypeAndValue::as_str).collect();
    matches!(names.as_slice(), [Ok(SIGNER)])
}

/// A root of version 1, which has no extensions and hence no CA flag.
fn is_old_root(cert: &X509Certificate<'_>) -> bool {
    cert.version() == X509Version::V1 && cert.subject().as_raw() == cert.issuer().as_raw()
}

fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

struct Search<'a> {
    delivered: &'a [X509Certificate<'a>],
    anchors: &'a [X509Certificate<'a>],
    now: ASN1Time,
}

impl<'a> Search<'a> {
    /// `path` goes from the signer to the certificate whose issuer is looked for.
    fn leads_to_an_anchor(&self, path: &[&'a X509Certificate<'a>]) -> Result<(), String> {
        let cert = *path.last().unwrap();
        let mut refusal = Err("no issuer".to_owned());
        let issued = |issuer: &&X509Certificate<'_>| issuer.subject().as_raw() == cert.issuer().as_raw();
        for anchor in self.anchors.iter().filter(issued) {
            refusal = self.issues(anchor, path);
            if refusal.is_ok() {
                return refusal;
            }
        }
        if path.len() == MAX_PATH {
            return refusal;
        }
        for issuer in self.delivered.iter().filter(issued) {
            if path.contains(&issuer) {
                continue;
            }
            refusal = self.issues(issuer, path);
            if refusal.is_ok() {
                refusal = self.leads_to_an_anchor(&[path, &[issuer]].concat());
            }
            if refusal.is_ok() {
                return refusal;
            }
        }
        refusal
    }

    /// The rules for every certificate.
    fn is_current(&self, cert: &X509Certificate<'_>) -> Result<(), String> {
        require(cert.validity().is_valid_at(self.now), "not valid now")?;
        require(cert.version() == X509Version::V3 || is_old_root(cert), "not version 3")?;
        for extension in cert.extensions() {
            let is_known = match extension.parsed_extension() {
                ParsedExtension::UnsupportedExtension { .. } => false,
                ParsedExtension::ParseError { error } => return Err(error.to_string()),
                _ => true,
            };
            require(is_known || !extension.critical, "an unknown critical extension")?;
        }
        let usage = cert.extended_key_usage().map_err(text)?;
        require(usage.is_none_or(|usage| usage.value.server_auth), "not for TLS servers")?;
        if let PublicKey::RSA(key) = cert.public_key().parsed().map_err(text)? {
            require((2048..=8192).contains(&key.key_size()), "the size of its RSA key")?;
        }
        Ok(())
    }

    fn is_signer(&self, cert: &X509Certificate<'_>) -> Result<(), String> {
        self.is_current(cert)?;
        require(!cert.is_ca(), "the signer is a certification authority")?;
        let usage = cert.key_usage().map_err(text)?;
        require(usage.is_none_or(|usage| usage.value.digital_signature()), "not for digital signatures")
    }

    /// The rules for the issuer of the last certificate of `path`.
    fn issues(&self, issuer: &X509Certificate<'_>, path: &[&X509Certificate<'_>]) -> Result<(), String> {
        self.is_current(issuer)?;
        let constraints = issuer.basic_constraints().map_err(text)?.map(|extension| extension.value);
        let is_ca = is_old_root(issuer) || constraints.is_some_and(|constraints| constraints.ca);
        require(is_ca, "the issuer has no CA flag")?;
        let intermediates = u32::try_from(path.len() - 1).unwrap();
        let longest = constraints.and_then(|constraints| constraints.path_len_constraint);
        require(longest.is_none_or(|longest| intermediates <= longest), "too long for its issuer")?;
        let usage = issuer.key_usage().map_err(text)?;
        require(usage.is_none_or(|usage| usage.value.key_cert_sign()), "the issuer is not for certificates")?;
        if let Some(names) = issuer.name_constraints().map_err(text)? {
            let (permitted, excluded) = (&names.value.permitted_subtrees, &names.value.excluded_subtrees);
            for name in alternative_names(path[0])? {
                let is_below = |trees: &[GeneralSubtree<'_>]| trees.iter().any(|tree| contains(tree, name));
                let is_permitted = permitted.as_deref().is_none_or(is_below);
                require(is_permitted && !excluded.as_deref().is_some_and(is_below), "a constrained name")?;
            }
        }
        let cert = path.last().unwrap();
        cert.verify_signature(Some(issuer.public_key()))
            .map_err(|_| "the signature of a certificate".to_owned())
    }
}

/// The DNS names of a certificate.
fn alternative_names<'a>(cert: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, String> {
    let names = cert.subject_alternative_name().map_err(text)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    Ok(names.collect())
}

/// Is the name that of the subtree, or below it?
fn contains(tree: &GeneralSubtree<'_>, name: &str) -> bool {
    match &tree.base {
        GeneralName::DNSName(base) => {
            name.strip_suffix(base).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        }
        _ => false,
    }
}
