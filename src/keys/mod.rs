//! The keys: untrusted text → [`SignedKey`] (parsed) → [`VerifiedKey`] (signed by the signer) → [`AuthorizedKey`] (valid here and now).
//! Only authorized keys are printed.

pub mod fingerprint;
pub mod judge;
pub mod record;
pub mod refusal;
pub mod validity;
pub mod verify;

pub use fingerprint::Fingerprint;
pub use judge::{Judged, judge};
pub use record::SignedKey;
pub use refusal::Refusal;
pub use validity::AuthorizedKey;
pub use verify::VerifiedKey;
