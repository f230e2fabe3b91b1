//! The keys: untrusted text → [`SignedKey`] (read) → [`VerifiedKey`] (proved). Of ours only the latter are printed.

pub mod fingerprint;
pub mod record;
pub mod refusal;
pub mod verify;

pub use fingerprint::Fingerprint;
pub use record::SignedKey;
pub use refusal::Refusal;
pub use verify::VerifiedKey;
