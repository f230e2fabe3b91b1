//! The certification path of the signer, from the certificate chain to the verified [`Signer`].
//!
//! The steps are types, so none can be left out: [`super::find_path`] → [`SignerPath`] → [`SignerPath::with_ocsp_names`] →
//! [`SignerPath::map`], which replaces each name by the response → [`SignerPath::check_revocation`] → [`PathWithRevocation`] →
//! [`PathWithRevocation::signer`].

use super::ocsp::{self, OcspError, OcspValidity};
use super::{Certificate, Signer, SignerError, UnixTime};

/// A valid path from the signer's certificate to an anchor. `R` is what is known about the revocation of each certificate below the
/// anchor: nothing yet, the name of its OCSP response, or that response.
#[derive(Clone, Debug)]
pub struct SignerPath<R = ()> {
    /// The signer's certificate.
    leaf: PathCertificate<R>,
    /// The issuer of the signer's certificate first. The issuer of the last is the anchor.
    intermediates: Vec<PathCertificate<R>>,
    anchor: Certificate,
}

#[derive(Clone, Debug)]
struct PathCertificate<R> {
    certificate: Certificate,
    revocation: R,
}

impl SignerPath {
    pub(super) fn new(leaf: Certificate, intermediates: Vec<Certificate>, anchor: Certificate) -> Self {
        let unknown = |certificate| PathCertificate { certificate, revocation: () };
        Self { leaf: unknown(leaf), intermediates: intermediates.into_iter().map(unknown).collect(), anchor }
    }

    /// Finds the name of the OCSP response of each certificate in `list`, which has one name per line.
    ///
    /// If the list has both names of a certificate, only the SHA-1 name is used, even if that OCSP response is not valid. Trying the
    /// other could only turn a refusal into trust.
    ///
    /// # Errors
    /// Fails if a certificate has no OCSP response in the list.
    pub fn with_ocsp_names(self, list: &[u8]) -> Result<SignerPath<String>, SignerError> {
        let names: Vec<&str> = list
            .split(|byte| *byte == b'\n')
            .filter_map(|line| std::str::from_utf8(line.trim_ascii()).ok())
            .collect();
        self.try_map(|certificate, ()| {
            let listed =
                |fingerprint: &String| names.iter().find(|name| name.eq_ignore_ascii_case(fingerprint));
            match certificate.ocsp_names().iter().find_map(listed) {
                Some(name) => Ok((*name).to_owned()),
                None => Err(revocation_unknown(certificate, OcspError::Missing)),
            }
        })
    }
}

impl<R> SignerPath<R> {
    /// The certificates below the anchor, the signer's first.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.below_anchor().map(|one| &one.certificate)
    }

    /// The anchor at the end of the path.
    pub(crate) fn anchor(&self) -> &Certificate {
        &self.anchor
    }

    /// Replaces what is known about the revocation of each certificate.
    #[must_use]
    pub fn map<S>(self, mut change: impl FnMut(R) -> S) -> SignerPath<S> {
        let mut change = |PathCertificate { certificate, revocation }| PathCertificate {
            certificate,
            revocation: change(revocation),
        };
        SignerPath {
            leaf: change(self.leaf),
            intermediates: self.intermediates.into_iter().map(change).collect(),
            anchor: self.anchor,
        }
    }

    fn try_map<S, E>(
        self,
        mut change: impl FnMut(&Certificate, R) -> Result<S, E>,
    ) -> Result<SignerPath<S>, E> {
        let mut change = |PathCertificate { certificate, revocation }| {
            let revocation = change(&certificate, revocation)?;
            Ok(PathCertificate { certificate, revocation })
        };
        Ok(SignerPath {
            leaf: change(self.leaf)?,
            intermediates: self.intermediates.into_iter().map(change).collect::<Result<_, _>>()?,
            anchor: self.anchor,
        })
    }

    fn below_anchor(&self) -> impl Iterator<Item = &PathCertificate<R>> {
        [&self.leaf].into_iter().chain(&self.intermediates)
    }
}

impl<F, S, E> SignerPath<F>
where
    F: Future<Output = Result<S, E>>,
{
    /// Awaits the future of each certificate, one after the other.
    ///
    /// # Errors
    /// Returns the first error.
    pub(crate) async fn await_each(self) -> Result<SignerPath<S>, E> {
        let mut intermediates = Vec::new();
        let leaf = self.leaf.await_it().await?;
        for intermediate in self.intermediates {
            intermediates.push(intermediate.await_it().await?);
        }
        Ok(SignerPath { leaf, intermediates, anchor: self.anchor })
    }
}

impl<F, S, E> PathCertificate<F>
where
    F: Future<Output = Result<S, E>>,
{
    async fn await_it(self) -> Result<PathCertificate<S>, E> {
        Ok(PathCertificate { certificate: self.certificate, revocation: self.revocation.await? })
    }
}

impl<T: AsRef<[u8]>> SignerPath<Option<T>> {
    /// Checks the OCSP response of each certificate at `now`. `None` is a response that IMDS lists but does not have.
    #[must_use]
    pub fn check_revocation(self, now: UnixTime) -> PathWithRevocation {
        let anchor = self.anchor;
        // From the anchor down, because each certificate is checked with its issuer.
        let mut intermediates: Vec<PathCertificate<_>> = Vec::new();
        for intermediate in self.intermediates.into_iter().rev() {
            let issuer = intermediates.last().map_or(&anchor, |issuer| &issuer.certificate);
            intermediates.push(intermediate.check_revocation(issuer, now));
        }
        let issuer = intermediates.last().map_or(&anchor, |issuer| &issuer.certificate);
        let leaf = self.leaf.check_revocation(issuer, now);
        intermediates.reverse();
        PathWithRevocation(SignerPath { leaf, intermediates, anchor })
    }
}

impl<T: AsRef<[u8]>> PathCertificate<Option<T>> {
    fn check_revocation(
        self,
        issuer: &Certificate,
        now: UnixTime,
    ) -> PathCertificate<Result<OcspValidity, OcspError>> {
        let Self { certificate, revocation } = self;
        let revocation = match revocation {
            Some(response) => ocsp::check(response.as_ref(), &certificate, issuer, now),
            None => Err(OcspError::Missing),
        };
        PathCertificate { certificate, revocation }
    }
}

/// A valid path with the result of each OCSP response. [`SignerPath::check_revocation`] is the only way to make one.
#[derive(Clone, Debug)]
pub struct PathWithRevocation(SignerPath<Result<OcspValidity, OcspError>>);

impl PathWithRevocation {
    /// Each certificate below the anchor and the result of its OCSP response.
    pub(crate) fn results(&self) -> impl Iterator<Item = (&Certificate, &Result<OcspValidity, OcspError>)> {
        self.0.below_anchor().map(|one| (&one.certificate, &one.revocation))
    }

    /// The signer, if each certificate below the anchor has a valid OCSP response with the status "good".
    ///
    /// # Errors
    /// Returns the first OCSP response that is missing or not valid.
    pub fn signer(self) -> Result<Signer, SignerError> {
        let good = self
            .0
            .try_map(|certificate, result| result.map_err(|error| revocation_unknown(certificate, error)))?;
        Ok(Signer { leaf: good.leaf.certificate })
    }
}

fn revocation_unknown(certificate: &Certificate, error: OcspError) -> SignerError {
    SignerError::OcspResponse { certificate: certificate.name(), error }
}
