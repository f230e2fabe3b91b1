//! Every option of `--help` is in the manual page and in the completions, and no other is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
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
    assert_eq!(options(&terms), options(&help()));
}

/// The lines of `--help` that show how to call the program, with `OPTION...` for the options that are not named.
fn usage() -> Vec<String> {
    let help = help();
    let lines = help.lines().map(|line| line.trim_start_matches("Usage:").trim());
    lines
        .filter(|line| line.starts_with("eic-keys ") && !line.starts_with("eic-keys:"))
        .map(|line| line.replace("[OPTIONS]", "[OPTION...]"))
        .collect()
}

#[test]
fn the_synopsis_is_the_usage_of_the_help_text() {
    let manual = read(MANUAL);
    let plain = |line: &str| line.trim_end_matches('+').replace(['*', '_'], "");
    let section = manual.split("# DESCRIPTION").next().unwrap();
    let synopsis: Vec<_> = section.lines().filter(|line| line.starts_with("*eic-keys*")).map(plain).collect();
    assert_eq!(synopsis, usage());
    let general = general_options(&manual);
    let named = usage().join(" ");
    assert_eq!(
        options(&format!("{general} {named} -h -V")),
        options(&help()),
        "an option is in no line of the usage"
    );
}

/// The line of the manual page with the options that OPTION stands for.
fn general_options(manual: &str) -> &str {
    manual.lines().find(|line| line.starts_with("_OPTION_ is one of")).unwrap()
}

#[test]
fn the_document_of_check_begins_with_its_usage() {
    let document = read("docs/check.md");
    let line = document.lines().find_map(|line| line.strip_prefix("    ")).unwrap();
    assert!(line.starts_with("eic-keys --check "), "{line}");
    assert!(usage().contains(&line.replace("[OPTIONS]", "[OPTION...]")), "{line}");
}

#[test]
fn the_changelog_has_each_option() {
    let (written, all) = (options(&read("CHANGELOG.md")), options(&help()));
    let missing: Vec<_> = all.difference(&written).filter(|option| option.starts_with("--")).collect();
    assert_eq!(missing, [""; 0]);
}

/// A test that it does what it says. Those of the command line are about its syntax, and those of `--help` and `--version`.
#[test]
fn each_option_is_in_a_test() {
    fn texts(path: &Path) -> String {
        if path.is_dir() {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            return entries.map(|path| texts(&path)).collect();
        }
        fs::read_to_string(path).unwrap_or_default()
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let folders = ["authorize", "check", "imds", "keys", "logins", "sshd", "trust", "packages/cases"];
    let files = ["command_line/host.rs", "command_line/trust_store.rs", "login.rs"];
    let text: String = folders.iter().chain(&files).map(|path| texts(&tests.join(path))).collect();
    let (tried, all) = (options(&text), options(&help()));
    let missing = all.difference(&tried).filter(|option| option.starts_with("--"));
    let missing: Vec<_> =
        missing.filter(|option| !["--help", "--version"].contains(&option.as_str())).collect();
    assert_eq!(missing, [""; 0]);
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
fn bash_takes_no_value_of_an_option_for_the_user() {
    let help = help();
    let rows = help.lines().filter_map(|line| line.strip_prefix("  --")?.split_once(' '));
    let with_value = rows.filter(|(_, rest)| rest.starts_with(|char: char| char.is_ascii_uppercase()));
    let mut seen = 0;
    for (name, rest) in with_value.filter(|(_, rest)| !rest.starts_with("USER")) {
        let option = format!("--{name}");
        assert!(!offered(&["--check", &option, "roo"]).contains("root"), "{option} {rest}");
        seen += 1;
    }
    assert!(seen > 5, "{help}");
}

#[test]
fn bash_completes_what_fits_the_place() {
    assert_eq!(offered(&["--ti"]), ["--timeout".to_owned()].into());
    assert_eq!(offered(&["--enable", "-"]), options("--dry-run --no-chain --if-user-missing"));
    let usage = usage().into_iter().find(|line| line.starts_with("eic-keys --check ")).unwrap();
    let mut of_check = options(&format!("{usage} {}", general_options(&read(MANUAL))));
    of_check.remove("--check");
    assert_eq!(offered(&["--check", "-"]), of_check);
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
        let entry = format!("*{}*\n\t{}\n", id.name(), id.covers());
        assert!(manual.contains(&entry), "{entry}");
    }
}
