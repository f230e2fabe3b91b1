//! The signer and its revocation status: `src/trust`.

#[path = "../common/mod.rs"]
mod common;
mod ocsp;
mod signer;
