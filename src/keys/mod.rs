//! The keys: untrusted text → [`UnverifiedKey`] (parsed) → [`VerifiedKey`] (signed by the signer) → [`AuthorizedKey`] (valid here and now).
//! Only authorized keys are printed.
//!
//! `record` parses, `select` and `conditions` decide, and `verify` checks the signature. `refusal` has the reasons, `fingerprint` the names of keys.

mod conditions;
mod fingerprint;
pub mod record;
mod refusal;
mod select;
mod verify;

pub(crate) use conditions::AuthorizedKey;
pub use fingerprint::{Fingerprint, NotAFingerprint};
pub use record::UnverifiedKey;
pub use refusal::Refusal;
pub(crate) use select::{Selected, select};
pub use verify::VerifiedKey;
