//! The keys: untrusted text → [`SignedKey`] (parsed) → [`VerifiedKey`] (signed by the signer) → [`AuthorizedKey`] (valid here and now).
//! Only authorized keys are printed.

mod fingerprint;
mod judge;
pub mod record;
mod refusal;
mod validity;
mod verify;

pub use fingerprint::{Fingerprint, NotAFingerprint};
pub(crate) use judge::{Judged, judge};
pub use record::SignedKey;
pub use refusal::Refusal;
pub(crate) use validity::AuthorizedKey;
pub use verify::VerifiedKey;
