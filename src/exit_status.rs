//! The exit statuses of a run. sshd logs one that is not 0.

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// The job is done, with or without keys.
    Success,
    /// The command line is wrong.
    Usage,
    /// The metadata service failed, or did not answer in time.
    Metadata,
    /// The signer is not trusted.
    Signer,
    /// This system lacks something, or the keys could not be written.
    System,
}

impl ExitStatus {
    const ALL: [Self; 5] = [Self::Success, Self::Usage, Self::Metadata, Self::Signer, Self::System];

    /// The status for exit(3).
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Usage => 1,
            Self::Metadata => 2,
            Self::Signer => 3,
            Self::System => 4,
        }
    }

    /// The status with this code, if eic-keys has one.
    #[must_use]
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// What it means, as the end of a sentence.
    #[must_use]
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Success => "the run succeeded",
            Self::Usage => "its command line in sshd_config is wrong",
            Self::Metadata => "the metadata service failed, or did not answer in time",
            Self::Signer => "the signer is not trusted",
            Self::System => "no usable trust store, or another problem of this system",
        }
    }
}
