//! Each decision on each system, as files: what is there `before`, what is there `after` `--enable`, and what
//! was `said`.
//!
//! A fixture of `tests/data/sshd` is `before/` (all of `/etc/ssh` but the host keys), `judge` (the release
//! whose sshd decides, and the version it answers for), and, if there are any, `flags`, `programs` that are
//! installed, `links` (a path and where it leads) and `users` beside Debian's; `after/` where something
//! changes, and `said`. After `--disable` it is `before/` again, or `disabled/` where `before/` has our lines. With
//! `EIC_BLESS` set, `after` and `said` are written instead of compared.
//!
//! Where `EIC_SSHD_ROOTS` names roots, each sshd there decides on each fixture that it accepts: what comes of it
//! has to be as written where it is of the version that the fixture names, and `before/` again in any case.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    missing_docs,
    reason = "a test stops at the first surprise, and says what it has done"
)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::systems::{System, releases};
use eic_keys::sshd::wiring::{self, WiringOptions, WiringOutcome};

type Tree = BTreeMap<PathBuf, String>;

fn fixtures() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sshd");
    let mut names: Vec<PathBuf> = fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 25, "fixtures are missing");
    names
}

#[test]
fn every_decision_is_as_written() {
    if std::env::var_os("EIC_SSHD_ROOTS").is_some() {
        return every_sshd_decides();
    }
    let wrong: Vec<String> = fixtures()
        .iter()
        .filter_map(|fixture| {
            let judge = fs::read_to_string(fixture.join("judge")).unwrap();
            let (system, options) = judged(judge.trim());
            write(&system, &fixture.join("before"));
            let found = check(fixture, &system, options, true);
            found.err().map(|what| format!("{}: {what}", fixture.display()))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn every_sshd_decides() {
    let mut wrong = Vec::new();
    for root in releases() {
        let (mut decided, mut written, mut left_out) = (0, 0, Vec::new());
        for fixture in fixtures() {
            let system = System::new(&root);
            write(&system, &fixture.join("before"));
            let said = String::from_utf8(system.run_sshd(&["-V"]).stderr).unwrap();
            let judge = fs::read_to_string(fixture.join("judge")).unwrap();
            let as_written = judge
                .trim()
                .split_once(" as ")
                .is_some_and(|(_, version)| said.contains(&format!("OpenSSH_{version}p")));
            let name = fixture.file_name().unwrap().to_string_lossy();
            // What its own sshd refuses is decided, too.
            if !as_written && !system.run_sshd(&["-t"]).status.success() {
                left_out.push(name.into_owned());
                continue;
            }
            decided += 1;
            written += i32::from(as_written);
            if let Err(what) = check(&fixture, &system, system.options(), as_written) {
                wrong.push(format!("{root}, {name}: {what}"));
            }
        }
        eprintln!(
            "{root}: {decided} fixtures, {written} of them as written; it does not accept {left_out:?}"
        );
        assert!(decided > 0, "{root} decided on nothing");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn write(system: &System, before: &Path) {
    for (path, text) in tree(before) {
        system.write(&format!("/etc/ssh/{}", path.display()), text);
    }
}

fn check(fixture: &Path, system: &System, options: WiringOptions, as_written: bool) -> Result<(), String> {
    let flags = fs::read_to_string(fixture.join("flags")).unwrap_or_default();
    let options = WiringOptions { chain: !flags.contains("--no-chain"), ..options };
    let before = tree(&fixture.join("before"));

    let programs = fs::read_to_string(fixture.join("programs")).unwrap_or_default();
    for program in programs.lines() {
        system.write(program, "#!/bin/sh\n");
        fs::set_permissions(system.path(program), fs::Permissions::from_mode(0o755)).unwrap();
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

    // A dry run changes nothing and says the same.
    let (outcome, dry) = run(&WiringOptions { dry_run: true, ..options.clone() }, wiring::enable);
    same("a dry run changed something", &before, &now(system))?;
    let dry = dry.split("\n--- ").next().unwrap().trim_end().to_owned();
    let (enabled, said) = run(&options, wiring::enable);
    let after = now(system);
    if outcome.code() != enabled.code() {
        return Err(format!("the dry run ended with {outcome:?}, the real one with {enabled:?}"));
    }
    let dry = [("\nWould add ", "\nAdded "), ("\nWould change ", "\nChanged ")]
        .iter()
        .fold(dry, |text, (would, did)| text.replace(would, did));
    if !said.trim_end().starts_with(&dry) {
        return Err(format!("a dry run said\n{dry}\n  instead of\n{said}"));
    }
    let said = match &enabled {
        WiringOutcome::Done => said,
        WiringOutcome::Refused(reason) => format!("{said}refused: {reason}\n"),
        WiringOutcome::RolledBack(reason) => return Err(format!("rolled back: {reason}")),
    };
    if as_written {
        compare(fixture, &before, &after, &said).map_err(|what| format!("{what}\n{said}"))?;
    }

    let disabled = Some(fixture.join("disabled")).filter(|path| path.exists()).map(|path| tree(&path));

    // Twice is once.
    let (again, said) = run(&options, wiring::enable);
    same("the second time", &after, &now(system))?;
    if enabled == WiringOutcome::Done && !(again == WiringOutcome::Done && said.contains("Nothing to do")) {
        return Err(format!("the second time it said {said}{again:?}"));
    }
    if enabled == WiringOutcome::Done && before != after {
        for _ in 0..2 {
            let (outcome, said) = run(&options, wiring::disable);
            // What was set by hand has to be taken out by hand, first.
            let by_hand = before.values().any(|text| text.contains("eic-keys")) && disabled.is_none();
            if by_hand && matches!(&outcome, WiringOutcome::Refused(why) if why.contains("set by hand")) {
                same("after a refused --disable", &after, &now(system))?;
                break;
            }
            if outcome != WiringOutcome::Done {
                return Err(format!("--disable: {said}{outcome:?}"));
            }
            same("after --disable", disabled.as_ref().unwrap_or(&before), &now(system))?;
        }
    }
    let litter: Vec<String> = system
        .configuration()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.contains(".eic-keys-"))
        .collect();
    if litter.is_empty() { Ok(()) } else { Err(format!("{litter:?} are left")) }
}

fn compare(fixture: &Path, before: &Tree, after: &Tree, said: &str) -> Result<(), String> {
    let written = fixture.join("after");
    if std::env::var_os("EIC_BLESS").is_some() {
        let _ = fs::remove_dir_all(&written);
        for (path, text) in after.iter().filter(|_| before != after) {
            fs::create_dir_all(written.join(path).parent().unwrap()).unwrap();
            fs::write(written.join(path), text).unwrap();
        }
        fs::write(fixture.join("said"), said).unwrap();
        return Ok(());
    }
    let expected = if written.exists() { tree(&written) } else { before.clone() };
    same("after --enable", &expected, after)?;
    let expected = fs::read_to_string(fixture.join("said")).unwrap();
    if expected == said { Ok(()) } else { Err(format!("said\n{said}  instead of\n{expected}")) }
}

fn same(when: &str, expected: &Tree, found: &Tree) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{when}\n{found:#?}\n  instead of\n{expected:#?}")) }
}

fn run(
    options: &WiringOptions,
    wire: fn(&WiringOptions, &mut dyn std::io::Write) -> WiringOutcome,
) -> (WiringOutcome, String) {
    let mut said = Vec::new();
    let outcome = wire(options, &mut said);
    (outcome, String::from_utf8(said).unwrap())
}

fn now(system: &System) -> Tree {
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

/// A system with the sshd that a fixture names. `bullseye as 7.4` calls itself that, and before 8.2 does not
/// know Include.
fn judged(judge: &str) -> (System, WiringOptions) {
    let (release, version) =
        judge.split_once(" as ").map_or((judge, None), |(release, version)| (release, Some(version)));
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
    system.write("/tmp/sshd", script);
    fs::set_permissions(system.path("/tmp/sshd"), fs::Permissions::from_mode(0o755)).unwrap();
    let sshd = vec![system.path("/tmp/sshd").into()];
    (system, WiringOptions { sshd, ..options })
}
