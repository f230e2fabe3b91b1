//! `--enable` and `--disable` on the configurations of distributions, compared with files.
//!
//! A fixture is a directory of `tests/data/sshd`:
//!
//! - `before/`: `/etc/ssh` before `--enable`, without the host keys;
//! - `sshd`: the Debian release whose sshd is used, and optionally the version that it reports (`bullseye as 7.4`);
//! - `flags`, `programs` to install, hard `links` (a path and its target), `users` to add: optional;
//! - `after/`: `/etc/ssh` after `--enable`, if something changes;
//! - `output`: the output of `--enable`;
//! - `disabled/`: `/etc/ssh` after `--disable`, if it differs from `before/`.
//!
//! With `EIC_BLESS` set, `after` and `output` are written instead of compared.
//!
//! Where `EIC_SSHD_ROOTS` names roots, the sshd of each root is used with each fixture that it accepts. The result is
//! compared only if it has the version of the fixture; after `--disable`, `before/` must be restored in any case.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    missing_docs,
    reason = "a test may panic, and prints what it did"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::helpers::run;
use crate::systems::{System, releases};
use eic_keys::sshd::{self, EnableOptions, EnableOutcome};

type Tree = BTreeMap<PathBuf, String>;

fn fixtures() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sshd");
    let mut names: Vec<PathBuf> = fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 25, "fixtures are missing");
    names
}

#[test]
fn enable_and_disable_match_the_fixtures() {
    if std::env::var_os("EIC_SSHD_ROOTS").is_some() {
        return run_with_each_sshd();
    }
    let wrong: Vec<String> = fixtures()
        .iter()
        .filter_map(|fixture| {
            let sshd = fs::read_to_string(fixture.join("sshd")).unwrap();
            let (system, options) = system_of(sshd.trim());
            write(&system, &fixture.join("before"));
            let found = check(fixture, &system, options, true);
            found.err().map(|error| format!("{}: {error}", fixture.display()))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn run_with_each_sshd() {
    let mut wrong = Vec::new();
    for root in releases() {
        let (mut used, mut compared, mut rejected) = (0, 0, Vec::new());
        for fixture in fixtures() {
            let system = System::new(&root);
            write(&system, &fixture.join("before"));
            let version_text = String::from_utf8(system.run_sshd(&["-V"]).stderr).unwrap();
            let sshd = fs::read_to_string(fixture.join("sshd")).unwrap();
            let same_version = sshd
                .trim()
                .split_once(" as ")
                .is_some_and(|(_, version)| version_text.contains(&format!("OpenSSH_{version}p")));
            let name = fixture.file_name().unwrap().to_string_lossy();
            // A configuration that the fixture's own version rejects is used too.
            if !same_version && !system.run_sshd(&["-t"]).status.success() {
                rejected.push(name.into_owned());
                continue;
            }
            used += 1;
            compared += i32::from(same_version);
            if let Err(error) = check(&fixture, &system, system.options(), same_version) {
                wrong.push(format!("{root}, {name}: {error}"));
            }
        }
        eprintln!("{root}: {used} fixtures, {compared} of them compared; its sshd rejects {rejected:?}");
        assert!(used > 0, "{root}: no fixture was used");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn write(system: &System, before: &Path) {
    for (path, text) in tree(before) {
        system.write(&format!("/etc/ssh/{}", path.display()), text);
    }
}

fn check(fixture: &Path, system: &System, options: EnableOptions, same_version: bool) -> Result<(), String> {
    let flags = fs::read_to_string(fixture.join("flags")).unwrap_or_default();
    let options = EnableOptions { chain: !flags.contains("--no-chain"), ..options };
    let before = tree(&fixture.join("before"));

    let programs = fs::read_to_string(fixture.join("programs")).unwrap_or_default();
    for program in programs.lines() {
        system.install(program, "#!/bin/sh\n");
    }

    let links = fs::read_to_string(fixture.join("links")).unwrap_or_default();
    for (path, to) in links.lines().map(|line| line.split_once(' ').unwrap()) {
        fs::create_dir_all(system.path(path).parent().unwrap()).unwrap();
        fs::hard_link(system.path(to), system.path(path)).unwrap();
    }
    let users = fs::read_to_string(fixture.join("users")).unwrap_or_default();
    let passwd = fs::read_to_string(system.path("etc/passwd")).unwrap();
    let passwd = users.lines().fold(passwd, |text, user| text + user + ":x:980:980::/:/bin/false\n");
    system.write("etc/passwd", passwd);

    // A dry run changes nothing and has the same output.
    let dry_run = EnableOptions { dry_run: true, ..options.clone() };
    let (outcome, dry) = run(sshd::enable, &dry_run);
    same("after a dry run", &before, &configuration(system))?;
    let dry = dry.split("\n--- ").next().unwrap().trim_end().to_owned();
    let (enabled, output) = run(sshd::enable, &options);
    let after = configuration(system);
    if outcome.code() != enabled.code() {
        return Err(format!("the dry run ended with {outcome:?}, the real one with {enabled:?}"));
    }
    let dry = [("\nWould add ", "\nAdded "), ("\nWould change ", "\nChanged ")]
        .iter()
        .fold(dry, |text, (would, did)| text.replace(would, did));
    if !output.trim_end().starts_with(&dry) {
        return Err(format!("the dry run printed\n{dry}\n  instead of\n{output}"));
    }
    let output = match &enabled {
        EnableOutcome::Done => output,
        EnableOutcome::Refused(reason) => format!("{output}refused: {reason}\n"),
        EnableOutcome::Failed(reason) => return Err(format!("rolled back: {reason}")),
    };
    if same_version {
        compare(fixture, &before, &after, &output).map_err(|error| format!("{error}\n{output}"))?;
    }

    let disabled = Some(fixture.join("disabled")).filter(|path| path.exists()).map(|path| tree(&path));

    // The second time, there is nothing to do.
    let (again, output) = run(sshd::enable, &options);
    same("the second time", &after, &configuration(system))?;
    if enabled == EnableOutcome::Done && !(again == EnableOutcome::Done && output.contains("Nothing to do")) {
        return Err(format!("the second time, it printed {output}{again:?}"));
    }
    if enabled == EnableOutcome::Done && before != after {
        for _ in 0..2 {
            let (outcome, output) = run(sshd::disable, &options);
            // Lines that were set by hand must be removed by hand first.
            let by_hand = before.values().any(|text| text.contains("eic-keys")) && disabled.is_none();
            if by_hand && matches!(&outcome, EnableOutcome::Refused(why) if why.contains("set by hand")) {
                same("after a refused --disable", &after, &configuration(system))?;
                break;
            }
            if outcome != EnableOutcome::Done {
                return Err(format!("--disable: {output}{outcome:?}"));
            }
            same("after --disable", disabled.as_ref().unwrap_or(&before), &configuration(system))?;
        }
    }
    let temp_files: Vec<String> = system
        .configuration()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.contains(".eic-keys-"))
        .collect();
    if temp_files.is_empty() { Ok(()) } else { Err(format!("{temp_files:?} were not removed")) }
}

fn compare(fixture: &Path, before: &Tree, after: &Tree, output: &str) -> Result<(), String> {
    let expected_tree = fixture.join("after");
    if std::env::var_os("EIC_BLESS").is_some() {
        let _ = fs::remove_dir_all(&expected_tree);
        for (path, text) in after.iter().filter(|_| before != after) {
            fs::create_dir_all(expected_tree.join(path).parent().unwrap()).unwrap();
            fs::write(expected_tree.join(path), text).unwrap();
        }
        fs::write(fixture.join("output"), output).unwrap();
        return Ok(());
    }
    let expected = if expected_tree.exists() { tree(&expected_tree) } else { before.clone() };
    same("after --enable", &expected, after)?;
    let expected = fs::read_to_string(fixture.join("output")).unwrap();
    if expected == output { Ok(()) } else { Err(format!("printed\n{output}  instead of\n{expected}")) }
}

fn same(when: &str, expected: &Tree, found: &Tree) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{when}\n{found:#?}\n  instead of\n{expected:#?}")) }
}

fn configuration(system: &System) -> Tree {
    system
        .configuration()
        .into_iter()
        .map(|(path, bytes)| (path.into(), String::from_utf8(bytes).unwrap()))
        .collect()
}

fn tree(top: &Path) -> Tree {
    let mut found = Tree::new();
    let mut left = vec![top.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(top).unwrap().to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// A system with the sshd of a fixture. `bullseye as 7.4` reports version 7.4, and rejects Include, which exists since
/// 8.2.
fn system_of(sshd: &str) -> (System, EnableOptions) {
    let (release, version) =
        sshd.split_once(" as ").map_or((sshd, None), |(release, version)| (release, Some(version)));
    let system = System::new(release);
    let options = system.options();
    let Some(version) = version else { return (system, options) };
    let root = system.root.display();
    let no_include = r#"
for config; do :; done
if grep -qi '^[[:space:]]*include' "$root/$config"; then
    echo "$config: Bad configuration option: Include" >&2
    exit 255
fi"#;
    let no_include = if ["7.4", "8.0"].contains(&version) { no_include } else { "" };
    let script = format!(
        "#!/bin/sh\nroot={root}\nif [ \"$1\" = -V ]; then echo 'OpenSSH_{version}p1, OpenSSL' >&2; exit; fi{no_include}\nexec chroot $root /usr/sbin/sshd \"$@\"\n"
    );
    system.install("/tmp/sshd", script);
    let sshd = vec![system.path("/tmp/sshd").into()];
    (system, EnableOptions { sshd, ..options })
}
