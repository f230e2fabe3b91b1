//! The instance metadata service, the only network service that this program uses.

pub(crate) mod client;
mod http;

pub use client::{Imds, ImdsError, ImdsErrorKind};
pub use http::Connections;
