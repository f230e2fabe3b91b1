//! The text of an error with its causes.

use std::error::Error;
use std::fmt;

/// An error and its sources, as one line: `what failed: why: why that`. The text of an error never repeats that of its source.
#[derive(Debug)]
pub struct WithCauses<'a>(pub &'a dyn Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::WithCauses;
    use crate::run_error::RunError;
    use crate::trust::{ChainError, SignerError, StoreError};

    #[test]
    fn each_cause_is_printed_once() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let webpki = || ChainError::Path(webpki::Error::BadDerTime);
        for (error, text) in [
            (RunError::Output(denied()), "the keys could not be written: permission denied"),
            (
                SignerError::from(StoreError::Unreadable(PathBuf::from("/x"), denied())).into(),
                "the trust store /x cannot be read: permission denied",
            ),
            (SignerError::from(webpki()).into(), "the signer's chain is not valid: BadDerTime"),
            (SignerError::from(ChainError::NotPem).into(), "the signer's certificate chain cannot be read"),
            (
                SignerError::from(ChainError::Path(webpki::Error::UnknownIssuer)).into(),
                "the signer's chain does not lead to a certificate of this system's trust store",
            ),
        ] {
            assert_eq!(WithCauses(&error).to_string(), text);
        }
    }
}
