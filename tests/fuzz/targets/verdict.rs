//! Almost right chains, OCSP responses and records: nothing is printed unless OpenSSL agrees.
#![no_main]

use eic_oracle::{Case, openssl, ours};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let case = Case::make(bytes);
    if let Ok(keys) = ours::accepts(&case) {
        assert_eq!(openssl::accepts(&case), Ok(keys), "{:?}", case.changes);
    }
});
