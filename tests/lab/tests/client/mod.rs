//! An HTTP client for requests in which nothing is wrong.
//!
//! Broken requests, and replies of which every byte counts, need a socket: `faults.rs`, `tunnel.rs` and parts of `service.rs`.

use reqwest::blocking::Client;
use reqwest::redirect::Policy;
use std::time::Duration;

/// A client in the calling thread's network, without proxies and redirects.
pub(crate) fn client() -> Client {
    let builder = Client::builder().no_proxy().redirect(Policy::none()).timeout(Duration::from_secs(60));
    builder.build().unwrap()
}
