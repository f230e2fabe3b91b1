//! The keys: untrusted text → [`UnverifiedKey`] (parsed) → [`VerifiedKey`] (signed by the signer) → [`AuthorizedKey`] (valid here and now).
//! Only authorized keys are printed.

mod fingerprint;
pub mod record;
mod refusal;
mod select;
mod validity;
mod verify;

pub use fingerprint::{Fingerprint, NotAFingerprint};
pub use record::UnverifiedKey;
pub use refusal::Refusal;
pub(crate) use select::{Selected, select};
pub(crate) use validity::AuthorizedKey;
pub use verify::VerifiedKey;
