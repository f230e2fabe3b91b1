//! Licences and sources of everything that is built in, from cargo's own metadata, offline.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Permissive, and compatible with Apache-2.0 OR MIT.
const LICENCES: [&str; 6] = ["Apache-2.0", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0", "Zlib"];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Ids of the packages that end up in the shipped binary: normal dependencies of eic-keys, without the compiler's plug-ins.
fn shipped(metadata: &Value) -> BTreeSet<&str> {
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let plug_in = |package: &&Value| package["targets"][0]["kind"][0] == "proc-macro";
    let plug_ins: BTreeSet<&str> =
        packages(metadata).filter(plug_in).map(|package| package["id"].as_str().unwrap()).collect();
    let root = metadata["resolve"]["root"].as_str().unwrap();
    let mut found = BTreeSet::new();
    let mut todo = vec![root];
    while let Some(id) = todo.pop() {
        if plug_ins.contains(id) || !found.insert(id) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            if dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null()) {
                todo.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    found
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
            Some(source) => assert_eq!(source, REGISTRY, "{}", package["name"]),
            None => assert!(members.contains(&package["id"]), "{}", package["name"]),
        }
    }
}

#[test]
fn what_ships_has_each_crate_once() {
    let metadata = metadata();
    let shipped = shipped(&metadata);
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages(&metadata).filter(|package| shipped.contains(package["id"].as_str().unwrap())) {
        versions
            .entry(package["name"].as_str().unwrap())
            .or_default()
            .push(package["version"].as_str().unwrap());
    }
    for (name, versions) in &versions {
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
    assert!(versions.len() < 70, "{} crates: is each worth its place?", versions.len());
    assert!(versions.contains_key("ring") && !versions.contains_key("eic-lab"));
}

/// Names, and the advisory that says so.
fn unmaintained() -> BTreeMap<&'static str, &'static str> {
    let list = include_str!("data/unmaintained.txt").lines().filter(|line| !line.starts_with('#'));
    list.filter_map(|line| line.split_once(' ')).collect()
}

/// What the list does not know yet `cargo audit` tells where there is a network.
#[test]
fn nothing_is_known_to_be_unmaintained() {
    let unmaintained = unmaintained();
    assert!(unmaintained.len() > 100 && unmaintained.contains_key("atty"), "the list");
    for lock in [include_str!("../Cargo.lock"), include_str!("fuzz/Cargo.lock")] {
        let names: Vec<_> = lock.lines().filter_map(|line| line.strip_prefix("name = \"")).collect();
        assert!(names.len() > 100, "{} crates", names.len());
        for name in names {
            let advisory = unmaintained.get(name.trim_end_matches('"'));
            assert_eq!(advisory, None, "{name}");
        }
    }
}

/// The names that the table of docs/dependencies.md gives a reason for.
fn explained() -> BTreeSet<String> {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split(" |").next())
        .flat_map(|names| names.split(", "))
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

const DOCUMENT: &str = include_str!("../docs/dependencies.md");

#[test]
fn each_direct_dependency_has_a_reason_in_the_document() {
    let metadata = metadata();
    let ours = packages(&metadata).find(|package| package["name"] == "eic-keys").unwrap();
    let direct: BTreeSet<String> = ours["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(explained(), direct);
}

#[test]
fn the_document_tells_how_many_crates_ship() {
    let metadata = metadata();
    let number = shipped(&metadata).len();
    assert!(DOCUMENT.contains(&format!("\n{number} crates, ours included")), "it is {number} now");
}
