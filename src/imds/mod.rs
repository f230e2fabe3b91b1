//! The instance metadata service: the only thing that this program talks to over a network.

pub mod client;
mod date;
mod http;

pub use client::{Error, Imds, Trouble};
pub use http::Connections;
