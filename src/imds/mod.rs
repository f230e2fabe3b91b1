//! The instance metadata service, the only network service that this program uses. `client` has a method for each item, and `http` sends
//! the requests.

pub(crate) mod client;
mod http;

pub use client::{Imds, ImdsError, ImdsErrorKind};
pub use http::Connections;
