//! The files of a package repository's clients are the same in the documents, in the user data and in the tests on booted systems.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The file with each line indented.
fn indented(path: &str, spaces: usize) -> String {
    let indent = " ".repeat(spaces);
    read(path).lines().flat_map(|line| [&indent, line, "\n"].map(str::to_owned)).collect()
}

#[test]
fn the_clients_files_are_the_same_everywhere() {
    let fleet = read("docs/fleet.md");
    for (file, user_data) in
        [("packaging/eic-keys.sources", "apt.yaml"), ("packaging/eic-keys.repo", "dnf.yaml")]
    {
        assert!(fleet.contains(&indented(file, 4)), "docs/fleet.md does not show {file}");
        assert!(
            read(&format!("packaging/cloud-init/{user_data}")).contains(&indented(file, 6)),
            "packaging/cloud-init/{user_data} does not write {file}"
        );
    }
}

#[test]
fn readme_fits_on_two_pages() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 120, "README.md has {lines} lines");
}
