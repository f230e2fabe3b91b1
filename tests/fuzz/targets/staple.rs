//! Any bytes as the signer's staple: what proves the signer good proves it to OpenSSL too.
#![no_main]

use std::sync::LazyLock;

use eic_oracle::{Case, openssl, ours};
use libfuzzer_sys::fuzz_target;

static HEALTHY: LazyLock<Case> = LazyLock::new(|| Case::make(&[]));

fuzz_target!(|staple: &[u8]| {
    let mut case = HEALTHY.clone();
    case.staples[0].1 = staple.to_vec();
    if let Ok(keys) = ours::accepts(&case) {
        assert_eq!(openssl::accepts(&case), Ok(keys), "{staple:?}");
    }
});
