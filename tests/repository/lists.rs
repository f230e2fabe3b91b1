//! Each row of a list in the program is in the document that has the list for users.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use eic_keys::ec2::Domain;
use eic_keys::keys::record::TYPES;
use eic_keys::trust::store::{DIRECTORY, LOCATIONS};
use eic_lab::UserKey;
use eic_lab::instance::{TRUST_STORE_DIRECTORY, TRUST_STORES};
use eic_lab::service::pushed::check_key;

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
    lists("docs/how-it-works.md", TYPES.iter().map(|known| known.name));
}

#[test]
fn types_of_keys_that_can_be_pushed() {
    let read = |path: &str| fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let names: Vec<_> = TYPES.iter().filter_map(|known| known.pushed).collect();
    assert!(read("docs/differences.md").contains(&format!("The API takes {} today", names.join(" and "))));
    let laboratory = read("docs/laboratory.md");
    let row = laboratory.lines().find(|line| line.starts_with("| SendSSHPublicKey |")).unwrap();
    for known in TYPES {
        let accepts = UserKey::of_type(known.name).iter().any(|key| check_key(key.line()).is_ok());
        assert_eq!(accepts, known.pushed.is_some(), "the laboratory's SendSSHPublicKey, {}", known.name);
        assert!(known.pushed.is_none_or(|name| row.contains(name)), "docs/laboratory.md: {}", known.name);
    }
}

#[test]
fn locations_of_trust_stores() {
    lists("docs/operating.md", LOCATIONS.iter().copied());
}

/// Else a test without a trust store depends on the machine that it runs on.
#[test]
fn the_laboratory_removes_each_trust_store() {
    assert_eq!(DIRECTORY, TRUST_STORE_DIRECTORY);
    for path in LOCATIONS {
        let is_removed = *path == DIRECTORY || TRUST_STORES.iter().any(|(_, file)| file == path);
        assert!(is_removed, "tests/lab/src/instance.rs lacks {path}");
    }
}

#[test]
fn the_files_that_contributing_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let names = document.split('`').skip(1).step_by(2);
    let is_path = |name: &&str| {
        ["src", "tests", "docs", "packaging"].iter().any(|start| {
            name.strip_prefix(start).is_some_and(|rest| rest.starts_with('/') && !rest.contains(' '))
        })
    };
    let paths: Vec<_> = names.filter(is_path).collect();
    assert!(paths.len() > 50, "{paths:?}");
    for path in paths {
        assert!(root.join(path).exists(), "CONTRIBUTING.md names {path}");
    }
}

/// A test or a constant that CONTRIBUTING.md names is there.
#[test]
fn the_names_in_contributing_are_there() {
    fn texts(path: &Path) -> String {
        if path.is_dir() {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            return entries.map(|path| texts(&path)).collect();
        }
        let is_source = path.extension().is_some_and(|extension| extension == "rs" || extension == "cil");
        if is_source { fs::read_to_string(path).unwrap() } else { String::new() }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source: String =
        ["src", "tests", "packaging/selinux"].iter().map(|folder| texts(&root.join(folder))).collect();
    let document = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let section = document.split("\n## ").find(|part| part.starts_with("Adding ")).unwrap();
    let names: Vec<_> = section
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.len() > 4 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c)))
        .map(|name| name.rsplit("::").next().unwrap())
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(source.contains(name), "CONTRIBUTING.md names {name}");
    }
}
