//! The keys: untrusted text → [`SignedKey`] (read) → [`VerifiedKey`] (proved). Of ours only the latter are printed.

pub mod blob;
pub mod fingerprint;
pub mod refusal;
pub mod verify;

pub use blob::SignedKey;
pub use fingerprint::Fingerprint;
pub use refusal::Refusal;
pub use verify::VerifiedKey;
