//! Every option of `--help` is in the manual page and in the completions, and no other is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use eic_keys::check::CheckId;
use eic_keys::cli::help;

const MANUAL: &str = "packaging/eic-keys.8.scd";
const BASH: &str = "packaging/completions/eic-keys.bash";
const ZSH: &str = "packaging/completions/_eic-keys";

/// The words of a text that are options: `-x`, `--long-name`.
fn options(text: &str) -> BTreeSet<String> {
    text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '-'))
        .filter(|word| {
            let name = word.trim_start_matches('-');
            let letters = name.starts_with(|char: char| char.is_ascii_alphabetic());
            match word.len().saturating_sub(name.len()) {
                1 => letters && name.len() == 1,
                2 => letters,
                _ => false,
            }
        })
        .map(str::to_owned)
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// What bash completes after these words.
fn offered(words: &[&str]) -> BTreeSet<String> {
    const TRY: &str = r#"source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _eic_keys; printf '%s\n' "${COMPREPLY[@]}""#;
    let script = format!("{}/{BASH}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("bash")
        .args(["-eu", "-c", TRY, "bash", &script, "eic-keys"])
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_manual_has_a_paragraph_for_each_option() {
    let manual = read(MANUAL);
    // An option's own paragraph begins with it in bold. `-t` is sshd's.
    let terms = manual.lines().filter(|line| line.starts_with("*-")).collect::<Vec<_>>().join("\n");
    let synopsis = manual.lines().filter(|line| line.starts_with("*eic-keys*")).collect::<String>();
    assert_eq!(options(&terms), options(&help()));
    for option in options(&synopsis) {
        assert!(options(&help()).contains(&option), "the synopsis has {option}");
    }
}

#[test]
fn the_completions_have_each_option() {
    assert_eq!(options(&read(ZSH).replace("-s -S", "")), options(&help()));
    let mut bash = offered(&["-"]);
    for mode in ["--check", "--logins", "--enable", "--disable"] {
        bash.extend(offered(&[mode, "-"]));
    }
    assert_eq!(bash, options(&help()));
}

#[test]
fn bash_completes_what_fits_the_place() {
    assert_eq!(offered(&["--ti"]), ["--timeout".to_owned()].into());
    assert_eq!(offered(&["--enable", "-"]), options("--dry-run --no-chain --if-user-missing"));
    assert_eq!(offered(&["--logins", "-"]), options("--user --since --until --refused --json"));
    assert!(offered(&["--logins", "--user", "roo"]).contains("root"));
    assert!(offered(&["roo"]).contains("root"));
    assert!(offered(&["--trust-store", "/et"]).contains("/etc"));
    assert!(offered(&["root", "--", "/bin/s"]).contains("/bin/sh"));
    assert_eq!(offered(&["--timeout", ""]), [String::new()].into());
}

#[test]
fn every_check_is_in_the_manual() {
    let manual = read(MANUAL).replace('\\', "");
    for id in CheckId::ALL {
        let entry = format!("*{}*\n\t{}\n", id.name(), id.asks());
        assert!(manual.contains(&entry), "{entry}");
    }
}
