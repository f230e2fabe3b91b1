//! Random configurations: after `--enable`, sshd runs eic-keys with the previous command as its chained command;
//! after `--disable`, the bytes are the same as before.
//!
//! A generator with a fixed seed builds the configurations from pieces. `EIC_SEED` sets another seed, `EIC_CASES` the
//! number of configurations.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "a test may panic, and its arithmetic is a random number's"
)]

use std::{path::Path, time::Duration};

use super::helpers::{Operation, run};
use crate::systems::{System, releases};
use eic_keys::config_tree::ConfigTree;
use eic_keys::sshd::{
    self, EnableOutcome,
    config::Config,
    config_file::ConfigFile,
    criteria::ConnectionSpec,
    query::{Dump, Sshd},
    version::OpensshVersion,
};

/// Time limit for a query of sshd.
const TIMEOUT: Duration = Duration::from_secs(120);

/// xorshift64*, which is random enough to choose pieces.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = u32::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32).unwrap();
        usize::try_from(high).unwrap() % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const PLAIN: &[&str] = &[
    "",
    "# a comment",
    "#AuthorizedKeysCommand none",
    "   ",
    "UsePAM yes",
    "\tX11Forwarding=no\r",
    "Subsystem sftp internal-sftp",
    "AcceptEnv LANG LC_*",
    "PrintMotd \"no\"",
    "AuthorizedKeysCommandUser nobody",
    "authorizedkeyscommanduser = root",
    "# BEGIN something else",
];

const COMMANDS: &[&str] = &[
    "AuthorizedKeysCommand /opt/other",
    "AuthorizedKeysCommand /opt/other %u %k",
    "authorizedkeyscommand=/opt/other  \"a b\"\t%h ",
    "AuthorizedKeysCommand /opt/100%/other %u",
    "AuthorizedKeysCommand /opt/other %u # for the directory",
    "AuthorizedKeysCommand none",
];

const MATCHES: &[&str] = &[
    "Match User git",
    "match group admin address 10.0.0.0/8",
    "Match Address 198.51.100.0/24,!198.51.100.7",
    "Match User *,!eic-keys-probe",
    "Match LocalPort 2222 # the other door",
];

const UNDER_MATCH: &[&str] = &[
    "\tX11Forwarding no",
    "  AuthorizedKeysCommand /opt/git %u",
    "AuthorizedKeysCommandUser git",
    "# why",
    "",
];

const INCLUDES: &[&str] = &[
    "Include /etc/ssh/sshd_config.d/*.conf",
    "include sshd_config.d/*.conf /etc/ssh/more.conf",
    "Include /etc/ssh/more.conf",
];

/// The text of one file, with a line end of some kind, or none, at its end.
fn file(random: &mut Random, main: bool) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for _ in 0..random.below(7) {
        let kind = random.below(10);
        lines.push(match kind {
            0 | 1 => random.pick(COMMANDS),
            2 | 3 if main => random.pick(INCLUDES),
            _ => random.pick(PLAIN),
        });
    }
    if random.below(3) == 0 {
        for _ in 0..=random.below(2) {
            lines.push(random.pick(MATCHES));
            for _ in 0..random.below(3) {
                lines.push(random.pick(UNDER_MATCH));
            }
        }
    }
    let end = random.pick(&["\n", "\n", "\n", "", "\n\n", "\r\n"]);
    lines.join("\n") + end
}

fn system(random: &mut Random, release: &str) -> System {
    let system = System::new(release);
    // Without a user for the command, sshd would reject most of these configurations.
    let main = file(random, true);
    let user = if random.below(4) == 0 { "" } else { "AuthorizedKeysCommandUser nobody\n" };
    system.write(
        "/etc/ssh/sshd_config",
        if random.below(2) == 0 { format!("{user}{main}") } else { format!("{main}\n{user}") },
    );
    for name in ["sshd_config.d/00-a.conf", "sshd_config.d/20-b.conf", "sshd_config.d/99-c.conf", "more.conf"]
    {
        if random.below(3) == 0 {
            system.write(&format!("/etc/ssh/{name}"), file(random, false));
        }
    }
    for program in ["/opt/other", "/opt/100%/other"] {
        system.install(program, "");
    }
    system
}

/// The effective settings for a user.
fn effective(system: &System, user: &str) -> Option<Dump> {
    let connection = ConnectionSpec {
        user: Some(user.into()),
        host: Some("x".into()),
        address: Some("192.0.2.9".into()),
        local_address: Some("192.0.2.1".into()),
        local_port: Some(22),
        ..ConnectionSpec::default()
    };
    Sshd::new(&system.sshd()).with_timeout(TIMEOUT).dump("/etc/ssh/sshd_config".as_ref(), &connection).ok()
}

/// Runs an operation, and repeats it if sshd did not answer in time, as on a busy machine.
fn run_patiently(operation: Operation, system: &System) -> (EnableOutcome, String) {
    let mut tries = 3;
    loop {
        let (outcome, output) = run(operation, &system.options());
        tries -= 1;
        if tries == 0 || !outcome.reason().is_some_and(|reason| reason.contains("no answer in")) {
            return (outcome, output);
        }
    }
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn disable_after_enable_restores_the_same_bytes() {
    let mut random = Random(number("EIC_SEED", 4));
    let releases = releases();
    let (mut enabled, mut chained, mut refused) = (0, 0, 0);
    for case in 0..number("EIC_CASES", 25) {
        for release in &releases {
            let system = system(&mut random, release);
            let before = system.configuration();
            let context = || {
                format!(
                    "case {case}, {release}: {:#?}",
                    before
                        .iter()
                        .map(|(path, text)| (path, String::from_utf8_lossy(text)))
                        .collect::<Vec<_>>()
                )
            };
            let then = effective(&system, "eic-keys-probe");
            let (outcome, output) = run_patiently(sshd::enable, &system);
            if let EnableOutcome::Refused(reason) = &outcome {
                assert_eq!(before, system.configuration(), "{reason}\n{}", context());
                let expected =
                    ["does not accept", "applies to every connection"].iter().any(|why| reason.contains(why));
                assert!(expected, "refused: {reason}\n{}", context());
                refused += 1;
                continue;
            }
            assert_eq!(outcome, EnableOutcome::Done, "{output}\n{}", context());
            let (then, now) = (then.unwrap(), effective(&system, "eic-keys-probe").unwrap());
            let (command, user) = (
                String::from_utf8(now.command.unwrap()).unwrap(),
                String::from_utf8(now.user.unwrap()).unwrap(),
            );
            match then.command {
                None => assert_eq!(
                    (command.as_str(), user.as_str()),
                    ("/usr/bin/eic-keys %u %f", "eic-keys"),
                    "{}",
                    context()
                ),
                Some(other) => {
                    let other = String::from_utf8(other).unwrap();
                    let appended = if other == "/opt/other" { " %u" } else { "" };
                    let other = other.replace("100%", "100%%");
                    assert_eq!(
                        command,
                        format!("/usr/bin/eic-keys %u %f -- {other}{appended}"),
                        "{}",
                        context()
                    );
                    assert_eq!(user.into_bytes(), then.user.unwrap(), "{}", context());
                    chained += 1;
                }
            }
            assert_eq!(then.lines, now.lines, "{}", context());
            enabled += 1;

            let (outcome, output) = run_patiently(sshd::disable, &system);
            assert_eq!(outcome, EnableOutcome::Done, "{output}\n{}", context());
            assert_eq!(before, system.configuration(), "{}", context());
        }
    }
    // Before 8.2, sshd rejects every configuration with an Include.
    let enough = if std::env::var_os("EIC_SSHD_ROOTS").is_some() {
        enabled > 0
    } else {
        enabled > refused && chained * 4 > enabled
    };
    assert!(enough, "{enabled} enabled, {chained} of them chained, {refused} refused");
}

#[test]
fn any_bytes_are_read_and_kept() {
    let mut random = Random(number("EIC_SEED", 4));
    let pieces: &[&[u8]] = &[
        b"Match",
        b"Include",
        b"AuthorizedKeysCommand",
        b"AuthorizedKeysCommandUser",
        b" ",
        b" ",
        b"\t",
        b"\n",
        b"\n",
        b"\r",
        b"\"",
        b"'",
        b"\\",
        b"#",
        b"=",
        b"!",
        b"*",
        b",",
        b"[",
        b"]",
        b"/",
        b"user",
        b"all",
        b"address",
        b"10.0.0.0/8",
        b"::/0",
        b"localport",
        b"/x",
        b"m",
        b"\xff",
        b"\xc3\xa4",
        b"\x0c",
        b"\0",
    ];
    let main = Path::new("/etc/ssh/sshd_config");
    let mut read = 0;
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..random.below(24)).flat_map(|_| random.pick(pieces).to_vec()).collect();
        let file = ConfigFile::new(main, bytes.clone());
        assert_eq!(file.lines().collect::<Vec<_>>().concat(), bytes);
        // No other file exists, except /x, which includes a file.
        let source = ConfigTree::new(Path::new("/nonexistent"))
            .with(main, Some(bytes))
            .with(Path::new("/x"), Some(b"Include m\n".to_vec()));
        for version in ["OpenSSH_7.4", "OpenSSH_8.2", "OpenSSH_9.2", "OpenSSH_9.9p1", "OpenSSH_10.0"] {
            let openssh = OpensshVersion::from_version_text(version).unwrap();
            if let Ok(config) = Config::read(&source, main, openssh) {
                let someone = ConnectionSpec {
                    user: Some("m".into()),
                    address: Some("10.1.1.1".into()),
                    ..ConnectionSpec::default()
                };
                // Before 8.4, an invalid address is rejected only if there is an address to compare.
                let may_fail = matches!(version, "OpenSSH_7.4" | "OpenSSH_8.2");
                assert!(
                    config.effective(Some(&someone)).is_ok() || may_fail,
                    "{version}: it could be read, but its settings could not"
                );
                read += 1;
            }
        }
    }
    assert!(read > 10_000, "only {read} were configurations");
}
