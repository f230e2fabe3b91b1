//! Any text as active keys: each record that is read has the fields of the text, and there is no other.
#![no_main]

use eic_keys::keys::record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let within = |part: &[u8]| part.is_empty() || text.windows(part.len()).any(|window| window == part);
    for record in record::records(text).flatten().take(64) {
        assert!(within(record.instance().to_string().as_bytes()));
        assert!(within(record.principal().unwrap_or_default()) && within(record.request().unwrap_or_default()));
        assert!(record.expiry() <= 99_999_999_999);
        assert_eq!(record.fingerprint().to_string().len(), "SHA256:".len() + 43);
    }
});
