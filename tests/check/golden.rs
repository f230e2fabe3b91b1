//! `docs/check.md` shows what the program says. With `EIC_KEYS_BLESS=1` the test writes there what it says
//! now.
use crate::world::{USER, World, world};
use eic_keys::check::CheckId;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// Compares what stands between two markers of the document.
fn is_in_the_document(name: &str, text: &str) {
    // Outside of any laboratory: its files are not the repository's.
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/check.md");
    let document = fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(&format!("<!-- {name} -->\n")).unwrap();
    let (there, after) = rest.split_once(&format!("<!-- /{name} -->")).unwrap();
    if there == text {
        return;
    }
    assert!(
        std::env::var_os("EIC_KEYS_BLESS").is_some(),
        "docs/check.md has\n{there}but it is\n{text}(EIC_KEYS_BLESS=1 writes it there)"
    );
    fs::write(path, format!("{before}<!-- {name} -->\n{text}<!-- /{name} -->{after}")).unwrap();
}

/// Indented, and without what differs from run to run.
fn steady(world: &World<'_>, text: &str) -> String {
    let mut steady = String::new();
    for line in text.lines() {
        let line = line.replace(world.key.fingerprint(), "SHA256:...");
        let line = [
            ("within ", "3"),
            // The metadata service tells its time to the second, and a second may just have ended.
            ("the clock is at most ", "1"),
            ("the clock is ", "70"),
            ("process ", "714"),
            ("signer.validity        ", "334"),
            ("holds ", "145"),
            ("the kernel enforces ", "5"),
            ("OpenSSH_", "9.2p1"),
        ]
        .into_iter()
        .fold(line, |line, (before, value)| number_after(&line, before, value));
        writeln!(steady, "{}", format!("    {line}").trim_end()).unwrap();
    }
    steady
}

/// Puts `value` in the place of the number that stands after `before`, up to the next blank or comma.
fn number_after(line: &str, before: &str, value: &str) -> String {
    let Some((head, tail)) = line.split_once(before) else { return line.to_owned() };
    if !tail.starts_with(|first: char| first.is_ascii_digit()) {
        return line.to_owned();
    }
    let end = tail.find([' ', ',']).unwrap_or(tail.len());
    format!("{head}{before}{value}{}", &tail[end..])
}

#[test]
fn the_document_is_current() {
    let mut table = "| id | checks |\n|---|---|\n".to_owned();
    for id in CheckId::ALL {
        writeln!(table, "| `{}` | {} |", id.name(), id.covers()).unwrap();
    }
    is_in_the_document("checks", &table);

    let (mut healthy, mut broken) = (String::new(), String::new());
    world(|world| {
        healthy = steady(world, &world.text(&[USER]).stdout);
        world.instance.trust_store("/etc/ssl/certs/ca-certificates.crt", "");
        world.instance.imds.clock_ahead(-70);
        world.instance.write("/usr/share/ec2-instance-connect/eic_run_authorized_keys", "");
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        world.instance.write(
            "/etc/passwd",
            passwd.replace("/run/home/alice:/bin/sh", "/run/home/alice:/usr/sbin/nologin"),
        );
        broken = steady(world, &world.text(&[USER]).stdout);
    });
    is_in_the_document("healthy", &healthy);
    is_in_the_document("broken", &broken);
}
