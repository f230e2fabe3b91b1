//! Why a run fails.

use std::fmt;
use std::io;

use crate::ec2::UnknownDomain;
use crate::exit_status::ExitStatus;
use crate::imds::ImdsError;
use crate::trust::SignerError;

/// Why a run failed. If it prints no keys, its exit status is [`RunError::status`].
#[derive(Debug)]
pub(crate) enum RunError {
    /// The metadata service did not answer correctly or in time.
    Metadata(ImdsError),
    /// There is no trusted signer.
    Signer(SignerError),
    /// The metadata service returned a domain that belongs to no partition.
    Domain(UnknownDomain),
    /// The keys could not be written.
    Output(io::Error),
    /// The runtime for the requests could not be started, or ended one of them.
    Runtime(io::Error),
}

impl RunError {
    /// The exit status of a run that fails with it.
    #[must_use]
    pub(crate) fn status(&self) -> ExitStatus {
        match self {
            Self::Metadata(_) => ExitStatus::Metadata,
            Self::Signer(SignerError::Chain(_) | SignerError::OcspResponse { .. }) | Self::Domain(_) => {
                ExitStatus::Signer
            }
            Self::Signer(SignerError::Store(_)) | Self::Output(_) | Self::Runtime(_) => ExitStatus::System,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(error) => error.fmt(f),
            Self::Signer(error) => error.fmt(f),
            Self::Domain(error) => error.fmt(f),
            Self::Output(_) => f.write_str("the keys could not be written"),
            Self::Runtime(_) => f.write_str("the requests could not be started, or were ended"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Metadata(error) => error.source(),
            Self::Signer(error) => error.source(),
            Self::Domain(error) => error.source(),
            Self::Output(error) | Self::Runtime(error) => Some(error),
        }
    }
}

impl From<ImdsError> for RunError {
    fn from(error: ImdsError) -> Self {
        Self::Metadata(error)
    }
}

impl From<SignerError> for RunError {
    fn from(error: SignerError) -> Self {
        Self::Signer(error)
    }
}

impl From<UnknownDomain> for RunError {
    fn from(error: UnknownDomain) -> Self {
        Self::Domain(error)
    }
}
