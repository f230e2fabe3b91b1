//! Every threat of docs/threat-model.md names its tests, and they exist.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words of a text in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_test_of(name: &str, source: &str) -> bool {
    source.contains(&format!("#[test]\nfn {name}()"))
}

#[test]
fn every_threat_names_tests_that_are_there() {
    let document = read("docs/threat-model.md");
    let mut rows = document.lines().skip_while(|line| !line.starts_with("| attacker "));
    assert!(rows.next().is_some_and(|head| head.ends_with("| tests |")), "the table of threats");
    let rows: Vec<_> = rows.skip(1).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 15, "{} threats", rows.len());
    for row in rows {
        let mut shown = quoted(row.rsplit(" | ").next().unwrap()).peekable();
        assert!(shown.peek().is_some_and(|path| path.starts_with("tests/")), "no test: {row}");
        let mut source = String::new();
        for word in shown {
            if word.starts_with("tests/") {
                source = read(word);
            } else {
                assert!(is_test_of(word, &source), "no such test: {word} of {row}");
            }
        }
    }
}

#[test]
fn what_is_no_test() {
    let source = "#[test]\nfn there() {\n    fn within() {}\n}\nfn helper() {}\n";
    assert!(is_test_of("there", source));
    assert!(!["within", "helper", "her", "gone", ""].iter().any(|name| is_test_of(name, source)));
}

#[test]
fn every_other_path_in_the_document_is_there() {
    let document = read("docs/threat-model.md");
    for path in quoted(&document).filter(|word| word.starts_with("tests/")) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{path}");
    }
}
