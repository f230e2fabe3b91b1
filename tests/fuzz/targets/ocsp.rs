//! Any bytes as the signer's OCSP response: OpenSSL accepts what eic-keys accepts.
#![no_main]

use std::sync::LazyLock;

use eic_oracle::{Case, openssl, ours};
use libfuzzer_sys::fuzz_target;

static HEALTHY: LazyLock<Case> = LazyLock::new(|| Case::make(&[]));

fuzz_target!(|ocsp_response: &[u8]| {
    let mut case = HEALTHY.clone();
    case.ocsp_responses[0].1 = ocsp_response.to_vec();
    if let Ok(keys) = ours::accepts(&case) {
        assert_eq!(openssl::accepts(&case), Ok(keys), "{ocsp_response:?}");
    }
});
