//! The keys: untrusted text → [`SignedKey`] (parsed) → [`VerifiedKey`] (verified). Only verified keys are printed.

pub mod fingerprint;
pub mod record;
pub mod refusal;
pub mod verify;

pub use fingerprint::Fingerprint;
pub use record::SignedKey;
pub use refusal::Refusal;
pub use verify::VerifiedKey;
