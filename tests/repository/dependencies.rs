//! Licences and sources of every crate, and which are built in, from cargo's own metadata, offline.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Permissive, and compatible with Apache-2.0 OR MIT.
const LICENCES: [&str; 5] = ["Apache-2.0", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0"];
const REGISTRY: &str = "https://github.com/rust-lang/crates.io-index";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// `make audit` checks the same by cargo-deny, which takes too long to install for every run of the tests.
#[test]
fn deny_toml_has_the_same_rules() {
    let deny = include_str!("../../deny.toml");
    for line in [
        format!("targets = [{TARGET:?}]"),
        format!("allow = {LICENCES:?}"),
        format!("allow-registry = [{REGISTRY:?}]"),
        "unknown-registry = \"deny\"".to_owned(),
        "unknown-git = \"deny\"".to_owned(),
    ] {
        assert!(deny.lines().any(|known| known == line), "deny.toml has no line {line}");
    }
    let exceptions =
        ["[[licenses.exceptions]]", "[[licenses.clarify]]", "exceptions =", "allow-git =", "allow-org ="];
    assert!(
        !exceptions.iter().any(|exception| deny.contains(exception)),
        "rules that this test does not have"
    );
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", TARGET])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names and versions of what ends up in the shipped binary: normal dependencies of eic-keys, without the compiler's plug-ins and what
/// these are made of. Not from the metadata, which has the features that the whole workspace asks for, its tests among them.
fn shipped() -> BTreeSet<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package=eic-keys", "--edges=normal,no-proc-macro"])
        .args(["--target", TARGET, "--prefix=none", "--format={p}"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let words = lines.lines().map(|line| line.split(' ').map(str::to_owned));
    words.filter_map(|mut words| words.next().zip(words.next())).collect()
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().unwrap().iter()
}

/// `A OR B` is fine with one of them, `A AND B` with both; `/` is the old form of OR.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    expression.split(" AND ").all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn every_licence_is_allowed() {
    let metadata = metadata();
    for package in packages(&metadata) {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(allowed(licence), "{} {}: {licence:?}", package["name"], package["version"]);
    }
    assert!(!allowed("GPL-3.0-only") && !allowed("MIT AND GPL-3.0-only") && !allowed(""));
}

#[test]
fn everything_comes_from_the_registry_or_this_repository() {
    let metadata = metadata();
    let members = metadata["workspace_members"].as_array().unwrap();
    for package in packages(&metadata) {
        match package["source"].as_str() {
            Some(source) => assert_eq!(source, format!("registry+{REGISTRY}"), "{}", package["name"]),
            None => assert!(members.contains(&package["id"]), "{}", package["name"]),
        }
    }
}

#[test]
fn what_ships_has_each_crate_once() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, version) in shipped() {
        versions.entry(name).or_default().push(version);
    }
    for (name, versions) in &versions {
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
    assert!(versions.len() < 70, "{} crates: is each worth its place?", versions.len());
    assert!(versions.contains_key("ring") && !versions.contains_key("eic-lab"));
    // deny.toml ignores an advisory on it.
    assert!(!versions.contains_key("time"));
}

/// Names of unmaintained crates, and their advisories.
fn unmaintained() -> BTreeMap<&'static str, &'static str> {
    let list = include_str!("../data/unmaintained.txt").lines().filter(|line| !line.starts_with('#'));
    list.filter_map(|line| line.split_once(' ')).collect()
}

/// The list is as old as it says; `make audit` uses the current one.
#[test]
fn no_crate_is_known_to_be_unmaintained() {
    let unmaintained = unmaintained();
    assert!(unmaintained.len() > 100 && unmaintained.contains_key("atty"), "the list");
    for lock in [include_str!("../../Cargo.lock"), include_str!("../fuzz/Cargo.lock")] {
        let names: Vec<_> = lock.lines().filter_map(|line| line.strip_prefix("name = \"")).collect();
        assert!(names.len() > 100, "{} crates", names.len());
        for name in names {
            let advisory = unmaintained.get(name.trim_end_matches('"'));
            assert_eq!(advisory, None, "{name}");
        }
    }
}

/// The packages of a Cargo.lock: each with all that is written of it.
fn locked(lock: &str) -> impl Iterator<Item = &str> {
    lock.split("[[package]]\n").skip(1).map(str::trim)
}

/// The fuzz targets are a workspace of their own: cargo compares its lock file with our dependencies only when they are built.
#[test]
fn the_fuzz_targets_are_built_with_the_crates_that_ship() {
    let (lock, fuzz) = (include_str!("../../Cargo.lock"), include_str!("../fuzz/Cargo.lock"));
    let how = "cargo metadata --manifest-path tests/fuzz/Cargo.toml corrects tests/fuzz/Cargo.lock";
    let own = |lock| locked(lock).find(|package| package.starts_with("name = \"eic-keys\"\n"));
    let dependencies = own(lock).unwrap().replace(" \"eic-lab\",\n", "");
    assert_eq!(own(fuzz), Some(dependencies.as_str()), "{how}");
    for (name, version) in shipped() {
        let start = format!("name = \"{name}\"\nversion = \"{}\"", version.trim_start_matches('v'));
        assert!(locked(lock).any(|package| package.starts_with(&start)), "{name} {version}");
        assert!(locked(fuzz).any(|package| package.starts_with(&start)), "{name} {version}: {how}");
    }
}

const DOCUMENT: &str = include_str!("../../docs/dependencies.md");

/// The names in the table of a section of docs/dependencies.md; the first section has the page's heading.
fn explained(heading: &str) -> BTreeSet<String> {
    let start = DOCUMENT.find(&format!("{heading}\n")).unwrap();
    let section = DOCUMENT[start..].lines().skip(1).take_while(|line| !line.starts_with("## "));
    section
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split(" |").next())
        .flat_map(|names| names.split(", "))
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

/// The direct dependencies of a package; of a test's package with those of its own tests.
fn direct(metadata: &Value, package: &str, tests: bool) -> BTreeSet<String> {
    let package = packages(metadata).find(|known| known["name"] == package).unwrap();
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    dependencies
        .filter(|dependency| tests || dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn each_direct_dependency_has_a_reason_in_the_document() {
    let metadata = metadata();
    let shipped = direct(&metadata, "eic-keys", false);
    assert_eq!(explained("# Dependencies"), shipped);
    let tests = ["eic-lab", "eic-oracle", "eic-bench", "eic-imds"];
    let used = tests.iter().flat_map(|package| direct(&metadata, package, true));
    let added: BTreeSet<String> =
        used.filter(|name| !shipped.contains(name) && !name.starts_with("eic-")).collect();
    assert_eq!(explained("## What the tests add"), added);
}

#[test]
fn the_document_states_how_many_crates_ship() {
    let number = shipped().len();
    assert!(
        DOCUMENT.contains(&format!("\n{number} crates, including eic-keys itself,")),
        "it is {number} now"
    );
}
