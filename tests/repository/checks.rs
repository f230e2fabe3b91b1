//! A check that can use a file or a program does so in a thread (`Runner::check_in_thread`, `blocking`), so that it cannot hold up the
//! others.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

use std::fs;
use std::path::Path;

/// The checks that wait for nothing. They judge values and the request, and use no file: add one here only if that is so.
/// `the_thread_that_keeps_the_limits_uses_no_file` (`tests/check/blocking_files.rs`) watches them.
const PURE: [&str; 9] = [
    "KeysRecords",
    "KeysSignatures",
    "LoginRehearsal",
    "LoginTerminal",
    "MetadataProxy",
    "RecentSyslog",
    "SignerValidity",
    "SshdPrincipals",
    "UserName",
];

/// The text up to the bracket that closes what `text` is in.
fn inside(text: &str) -> &str {
    let mut depth = 0;
    let end = text.find(|c| {
        depth += match c {
            '(' | '{' | '[' => 1,
            ')' | '}' | ']' => -1,
            _ => 0,
        };
        depth < 0
    });
    &text[..end.unwrap_or(text.len())]
}

/// The checks of a source whose code neither waits for the metadata service nor runs in a thread.
fn without_waiting(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("CheckId::") {
        let name = source[at + "CheckId::".len()..].split(|c: char| !c.is_alphanumeric()).next().unwrap();
        // The rest of the call of `check`.
        let call = inside(&source[at..]);
        if call.contains("async |") && !call.contains(".await") {
            found.push(name);
        }
    }
    found
}

/// The checks in a thread whose preparation, which is before the thread, names a function that uses a file.
fn preparing_with_files(source: &str) -> Vec<&str> {
    let calls = source.split("check_in_thread(").skip(1).map(inside);
    let uses_file = |call: &&str| {
        let prepare = call.split("move ||").next().unwrap();
        ["files::", "fs::", ".exists()", "Fix::command", "_fix("].iter().any(|word| prepare.contains(word))
    };
    calls.filter(uses_file).map(|call| call.split(',').next().unwrap()).collect()
}

#[test]
fn a_check_that_uses_a_file_runs_in_a_thread() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check");
    let files =
        |directory: &str| fs::read_dir(sources.join(directory)).unwrap().map(|file| file.unwrap().path());
    let texts: Vec<_> = files("topics")
        .chain(files("topics/sshd_login"))
        .chain([sources.join("rehearsal/mod.rs")])
        .filter(|path| path.is_file())
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut found: Vec<_> = texts.iter().flat_map(|text| without_waiting(text)).collect();
    found.sort_unstable();
    assert_eq!(found, PURE, "others run in check_in_thread");
    let prepare_with_files: Vec<_> = texts.iter().flat_map(|text| preparing_with_files(text)).collect();
    assert_eq!(prepare_with_files, [""; 0], "what is before `move ||` runs on the thread of the limits");
}

#[test]
fn finds_a_check_without_blocking() {
    let source = "runner.check(CheckId::A, settings, async |settings| read(settings)).await;
        runner.check(CheckId::B, (), async |()| { let a = b(); blocking(move || c(a)).await }).await;
        runner.check(CheckId::C, (), async |()| imds(x).await).await; answer(&x, CheckId::D)";
    assert_eq!(without_waiting(source), ["A"]);
}

#[test]
fn finds_a_preparation_that_uses_a_file() {
    let source =
        "runner.check_in_thread(CheckId::A, (), |()| { let root = root(); move || fs::read(&root) }).await;
        runner.check_in_thread(CheckId::B, (), |()| { let fix = reload_fix(root); move || a(fix) }).await;";
    assert_eq!(preparing_with_files(source), ["CheckId::B"]);
}
