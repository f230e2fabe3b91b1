//! The instance metadata service, the only network service that this program uses.

pub(crate) mod client;
mod http;

pub use client::{Error, ErrorKind, Imds};
pub use http::Connections;
