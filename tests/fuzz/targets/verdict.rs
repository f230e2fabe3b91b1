//! Almost right chains, OCSP responses and records: nothing is printed unless OpenSSL and x509-parser agree.
#![no_main]

use eic_oracle::{Case, openssl, ours, x509_parser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let case = Case::make(bytes);
    if let Ok(keys) = ours::accepts(&case) {
        assert_eq!(openssl::accepts(&case), Ok(keys), "{:?}", case.changes);
        assert_eq!(x509_parser::accepts(&case), Ok(()), "{:?}", case.changes);
    }
});
