//! Each row of a list in the program is in the document that has the list for users.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use eic_keys::ec2::Domain;
use eic_keys::keys::record::TYPES;
use eic_keys::trust::store::LOCATIONS;

/// Asserts that a document has each of these words in backquotes.
#[track_caller]
fn lists(document: &str, words: impl IntoIterator<Item = &'static str>) {
    let text = fs::read_to_string(format!("{}/{document}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for word in words {
        assert!(text.contains(&format!("`{word}`")), "{document} lacks {word}");
    }
}

#[test]
fn partitions() {
    lists("docs/operating.md", Domain::ALL.iter().flat_map(|domain| domain.partitions()));
}

#[test]
fn types_of_keys() {
    lists("docs/how-it-works.md", TYPES.iter().copied());
}

#[test]
fn locations_of_trust_stores() {
    lists("docs/operating.md", LOCATIONS.iter().copied());
}
