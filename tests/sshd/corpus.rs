//! Compares the effective settings that eic-keys reads with those that `sshd -T -C` prints, for each configuration and
//! connection, with three releases of OpenSSH or those that `EIC_SSHD_ROOTS` names.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::semicolon_if_nothing_returned,
    clippy::print_stderr,
    missing_docs,
    reason = "a test may panic, and prints what sshd rejects"
)]

use std::path::Path;

use crate::systems::{System, releases};
use eic_keys::config_tree::ConfigTree;
use eic_keys::sshd::{
    config::{Config, Effective},
    criteria::ConnectionSpec,
    version::OpensshVersion,
};

/// A configuration: its name, and its files under `/etc/ssh`.
type Case = (&'static str, &'static [(&'static str, &'static str)]);

/// In each, `AuthorizedKeysCommandUser` has to be set globally where the command is: sshd refuses it otherwise.
const CASES: &[Case] = &[
    ("empty", &[("sshd_config", "")]),
    ("no newline at the end", &[("sshd_config", "AuthorizedKeysCommandUser x\nAuthorizedKeysCommand /a")]),
    (
        "first wins",
        &[(
            "sshd_config",
            "AuthorizedKeysCommand /a\nAuthorizedKeysCommand /b\nAuthorizedKeysCommandUser x\nAuthorizedKeysCommandUser y\n",
        )],
    ),
    (
        "none is a value",
        &[(
            "sshd_config",
            "AuthorizedKeysCommand none\nAuthorizedKeysCommand /b\nAuthorizedKeysCommandUser x\n",
        )],
    ),
    (
        "NONE is a value",
        &[(
            "sshd_config",
            "AuthorizedKeysCommand NONE\nAuthorizedKeysCommand /b\nAuthorizedKeysCommandUser x\n",
        )],
    ),
    (
        "spelling",
        &[("sshd_config", "\t aUTHORIZEDkEYScOMMAND=/a %u  \t\r\n  AuthorizedKeysCommandUser = x\t\n")],
    ),
    ("two equals signs", &[("sshd_config", "AuthorizedKeysCommandUser x\nAuthorizedKeysCommand = = /a\n")]),
    (
        "equals sign without blanks, then one",
        &[("sshd_config", "AuthorizedKeysCommandUser=x\nAuthorizedKeysCommand= =/a\n")],
    ),
    ("quoted keyword", &[("sshd_config", "\"AuthorizedKeysCommand\" /a\n\"AuthorizedKeysCommandUser\"x\n")]),
    (
        "quote in a keyword",
        &[("sshd_config", "Authorized\"KeysCommand\" /a\nAuthorizedKeysCommandUser \"x\"\n")],
    ),
    (
        "half a quote before the keyword",
        &[(
            "sshd_config",
            "\"AuthorizedKeysCommand /a\nAuthorizedKeysCommandUser x\nAuthorizedKeysCommand /b\n",
        )],
    ),
    (
        "quotes in the command",
        &[("sshd_config", "AuthorizedKeysCommand /a \"b c\" 'd e' f\\ g\nAuthorizedKeysCommandUser x\n")],
    ),
    (
        "half a quote in the command",
        &[("sshd_config", "AuthorizedKeysCommand /a \"b\nAuthorizedKeysCommandUser x\n")],
    ),
    (
        "hash behind the command",
        &[("sshd_config", "AuthorizedKeysCommand /a %u # why\nAuthorizedKeysCommandUser x # who\n")],
    ),
    (
        "hash in the command",
        &[("sshd_config", "AuthorizedKeysCommand /a#b %u#c\nAuthorizedKeysCommandUser x\n")],
    ),
    (
        "hash behind a quote",
        &[("sshd_config", "AuthorizedKeysCommand /a \"#b\"\nAuthorizedKeysCommandUser \"x#y\"\n")],
    ),
    ("comments only", &[("sshd_config", "#AuthorizedKeysCommand /a\n  # AuthorizedKeysCommandUser x\n")]),
    (
        "form feed and carriage return",
        &[("sshd_config", "AuthorizedKeysCommand /a\u{c}\r\nAuthorizedKeysCommandUser x\r\n\r\n")],
    ),
    ("two users", &[("sshd_config", "AuthorizedKeysCommand /a\nAuthorizedKeysCommandUser x y\n")]),
    ("not absolute", &[("sshd_config", "AuthorizedKeysCommand a\nAuthorizedKeysCommandUser x\n")]),
    ("quoted command", &[("sshd_config", "AuthorizedKeysCommand \"/a b\" c\nAuthorizedKeysCommandUser x\n")]),
    ("no user", &[("sshd_config", "AuthorizedKeysCommand /a\n")]),
    ("unknown keyword", &[("sshd_config", "Nonsense /a\n")]),
    (
        "drop-ins first",
        &[
            (
                "sshd_config",
                "Include /etc/ssh/sshd_config.d/*.conf\nAuthorizedKeysCommand /main\nAuthorizedKeysCommandUser main\n",
            ),
            ("sshd_config.d/20-b.conf", "AuthorizedKeysCommand /b\nAuthorizedKeysCommandUser b\n"),
            ("sshd_config.d/10-a.conf", "AuthorizedKeysCommandUser a\n"),
            ("sshd_config.d/.05-hidden.conf", "AuthorizedKeysCommand /hidden\n"),
            ("sshd_config.d/00-old.conf.dpkg-old", "AuthorizedKeysCommand /old\n"),
        ],
    ),
    (
        "drop-ins last",
        &[
            (
                "sshd_config",
                "AuthorizedKeysCommand /main\nAuthorizedKeysCommandUser main\nInclude sshd_config.d/*.conf\n",
            ),
            ("sshd_config.d/10-a.conf", "AuthorizedKeysCommand /a\nAuthorizedKeysCommandUser a\n"),
        ],
    ),
    (
        "order of names is the order of bytes",
        &[
            ("sshd_config", "Include sshd_config.d/*.conf\n"),
            ("sshd_config.d/Z.conf", "AuthorizedKeysCommand /Z\nAuthorizedKeysCommandUser x\n"),
            ("sshd_config.d/a.conf", "AuthorizedKeysCommand /a\n"),
            ("sshd_config.d/1.conf", "AuthorizedKeysCommandUser one\n"),
        ],
    ),
    (
        "several arguments of Include",
        &[
            (
                "sshd_config",
                "Include sshd_config.d/b.conf \"/etc/ssh/sshd_config.d/a b.conf\" sshd_config.d/missing* # none\n",
            ),
            ("sshd_config.d/b.conf", "AuthorizedKeysCommand /b\n"),
            ("sshd_config.d/a b.conf", "AuthorizedKeysCommand /ab\nAuthorizedKeysCommandUser ab\n"),
        ],
    ),
    (
        "Include with an equals sign",
        &[
            ("sshd_config", "Include=sshd_config.d/b.conf\n"),
            ("sshd_config.d/b.conf", "AuthorizedKeysCommand /b\nAuthorizedKeysCommandUser b\n"),
        ],
    ),
    (
        "globs",
        &[
            ("sshd_config", "Include /etc/ssh/sshd_config.d/[!a]?.co*f\nInclude /etc/ssh/*.d/a1.conf\n"),
            ("sshd_config.d/a1.conf", "AuthorizedKeysCommand /a1\nAuthorizedKeysCommandUser a1\n"),
            ("sshd_config.d/b1.conf", "AuthorizedKeysCommand /b1\n"),
        ],
    ),
    (
        "Include of a missing file",
        &[(
            "sshd_config",
            "Include /etc/ssh/nothing\nAuthorizedKeysCommand /a\nAuthorizedKeysCommandUser x\n",
        )],
    ),
    (
        "Include of a directory",
        &[(
            "sshd_config",
            "Include /etc/ssh/sshd_config.d\nAuthorizedKeysCommand /a\nAuthorizedKeysCommandUser x\n",
        )],
    ),
    (
        "nested and relative to /etc/ssh",
        &[
            ("sshd_config", "Include sshd_config.d/*.conf\n"),
            (
                "sshd_config.d/10.conf",
                "Include more/*.conf\nAuthorizedKeysCommand /ten\nAuthorizedKeysCommandUser ten\n",
            ),
            ("more/1.conf", "AuthorizedKeysCommand /more\n"),
            ("sshd_config.d/more/1.conf", "AuthorizedKeysCommand /wrong\n"),
        ],
    ),
    ("includes itself", &[("sshd_config", "Include /etc/ssh/sshd_config\n")]),
    (
        "included twice",
        &[
            (
                "sshd_config",
                "AuthorizedKeysCommandUser x\nMatch User bob\nInclude a.conf\nMatch User alice\nInclude a.conf\n",
            ),
            ("a.conf", "AuthorizedKeysCommand /a\n"),
        ],
    ),
    (
        "Match user",
        &[(
            "sshd_config",
            "AuthorizedKeysCommand /a\nAuthorizedKeysCommandUser x\nMatch User alice,git\nAuthorizedKeysCommand /m\nMatch User git\nAuthorizedKeysCommand /second\nAuthorizedKeysCommandUser git\n",
        )],
    ),
    (
        "Match negated",
        &[(
            "sshd_config",
            "AuthorizedKeysCommandUser x\nMatch User *,!root\nAuthorizedKeysCommand /m\nMatch User !alice\nAuthorizedKeysCommand /never\n",
        )],
    ),
    (
        "Match group",
        &[(
            "sshd_config",
            "AuthorizedKeysCommandUser x\nMatch Group admin,!root\nAuthorizedKeysCommand /m\n",
        )],
    ),
    (
        "Match all",
        &[(
            "sshd_config",
            "AuthorizedKeysCommandUser x\nMatch User bob\nAuthorizedKeysCommand /bob\nMatch all\nAuthorizedKeysCommand /all\nAuthorizedKeysCommandUser all\n",
        )],
    ),
    (
        "Match all after a global one",
        &[(
            "sshd_config",
            "AuthorizedKeysCommand /g\nAuthorizedKeysCommandUser x\nMatch all\nAuthorizedKeysCommand /all\n",
        )],
    ),
    (
        "Match all puts it back to none",
        &[(
            "sshd_config",
            "AuthorizedKeysCommand /g\nAuthorizedKeysCommandUser x\nMatch User alice\nAuthorizedKeysCommand none\n",
        )],
    ),
    (
        "Match address",
        &[(
            "sshd_config",
            "AuthorizedKeysCommandUser x\nMatch Address 192.0.2.0/24,!192.0.2.128/25\nAuthorizedKeysCommand /net\nMatch Address 2001:db8::/32\nAuthorizedKeysCommand /six\nMatch Address 198.51.*\nAuthorizedKeysCommand /glob\n",
        )],
    ),
    (
        "Match address with host bits",
        &[("sshd_config", "Match Address 192.0.2.1/24\nAuthorizedKeysCommandUser x\n")],
    ),
    (
        "Match host and more",
        &[(
            "sshd_config",
            "AuthorizedKeysCommandUser x\nMatch Host *.Example.org User alice\nAuthorizedKeysCommand /host\nMatch LocalPort 2222\nAuthorizedKeysCommand /port\nMatch LocalAddress 203.0.113.0/24\nAuthorizedKeysCommand /laddr\n",
        )],
    ),
    (
        "Match with equals signs",
        &[(
            "sshd_config",
            "AuthorizedKeysCommandUser x\nMatch User=alice\nAuthorizedKeysCommand /a\nMatch User = bob\nAuthorizedKeysCommand /b\n",
        )],
    ),
    (
        "Match with quotes",
        &[(
            "sshd_config",
            "AuthorizedKeysCommandUser x\nMatch \"User\" \"alice,bob\"\nAuthorizedKeysCommand /a\n",
        )],
    ),
    (
        "Match with single quotes",
        &[("sshd_config", "AuthorizedKeysCommandUser x\nMatch User 'alice'\nAuthorizedKeysCommand /a\n")],
    ),
    (
        "Match with a comment",
        &[(
            "sshd_config",
            "AuthorizedKeysCommandUser x\nMatch User alice # her\nAuthorizedKeysCommand /a\nMatch all # the rest\nAuthorizedKeysCommand /b\n",
        )],
    ),
    (
        "Match spelling",
        &[(
            "sshd_config",
            "AuthorizedKeysCommandUser x\n  mATCH uSER alice\n  AuthorizedKeysCommand /a\nMATCH ALL\nAuthorizedKeysCommand /b\n",
        )],
    ),
    (
        "Match version",
        &[(
            "sshd_config",
            "AuthorizedKeysCommandUser x\nMatch version OpenSSH_10.*\nAuthorizedKeysCommand /a\n",
        )],
    ),
    (
        "Match invalid-user",
        &[("sshd_config", "AuthorizedKeysCommandUser x\nMatch invalid-user\nAuthorizedKeysCommand /a\n")],
    ),
    (
        "Match rdomain",
        &[("sshd_config", "AuthorizedKeysCommandUser x\nMatch RDomain *\nAuthorizedKeysCommand /a\n")],
    ),
    (
        "Match of an unknown criterion",
        &[("sshd_config", "AuthorizedKeysCommandUser x\nMatch Nonsense a\nAuthorizedKeysCommand /a\n")],
    ),
    ("Match without a criterion", &[("sshd_config", "Match #\nAuthorizedKeysCommandUser x\n")]),
    ("Match all beside another", &[("sshd_config", "Match all User alice\nAuthorizedKeysCommandUser x\n")]),
    (
        "a Match in a drop-in ends with it",
        &[
            (
                "sshd_config",
                "Include sshd_config.d/*.conf\nAuthorizedKeysCommand /main\nAuthorizedKeysCommandUser x\n",
            ),
            ("sshd_config.d/10.conf", "Match User alice\nAuthorizedKeysCommand /ten\n"),
            (
                "sshd_config.d/20.conf",
                "AuthorizedKeysCommandUser twenty\nMatch all\nAuthorizedKeysCommandUser all\n",
            ),
        ],
    ),
    (
        "Include under Match",
        &[
            (
                "sshd_config",
                "AuthorizedKeysCommandUser x\nMatch User alice\nInclude a.conf\nMatch User bob\nInclude b.conf\n",
            ),
            ("a.conf", "AuthorizedKeysCommand /a\n"),
            (
                "b.conf",
                "AuthorizedKeysCommandUser b\nMatch Group admin\nAuthorizedKeysCommand /never\nMatch User bob\nAuthorizedKeysCommand /b\n",
            ),
        ],
    ),
    (
        "Include under Match all",
        &[
            ("sshd_config", "AuthorizedKeysCommandUser x\nMatch all\nInclude a.conf\n"),
            ("a.conf", "AuthorizedKeysCommand /a\nMatch User bob\nAuthorizedKeysCommand /bob\n"),
        ],
    ),
    (
        "gitlab",
        &[(
            "sshd_config",
            "Match User git\n  AuthorizedKeysCommand /opt/gitlab/embedded/service/gitlab-shell/bin/gitlab-shell-authorized-keys-check git %u %k\n  AuthorizedKeysCommandUser git\nMatch all\n",
        )],
    ),
    (
        "systemd-userdbd",
        &[
            ("sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n"),
            (
                "sshd_config.d/20-systemd-userdb.conf",
                "AuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %u\nAuthorizedKeysCommandUser root\n",
            ),
        ],
    ),
];

/// The connections for which the values are compared.
fn connections() -> Vec<(String, ConnectionSpec)> {
    let connection = |user: &str, groups: &[&str], host: &str, address: &str, local: &str, port: u16| {
        let spec = format!("user={user},host={host},addr={address},laddr={local},lport={port}");
        let connection = ConnectionSpec {
            user: Some(user.into()),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            host: Some(host.into()),
            address: Some(address.into()),
            local_address: Some(local.into()),
            local_port: Some(port),
            routing_domain: None,
        };
        (spec, connection)
    };
    vec![
        connection("alice", &["alice", "admin"], "client.example.org", "192.0.2.7", "192.0.2.1", 22),
        connection("bob", &["bob"], "UNKNOWN", "192.0.2.200", "203.0.113.9", 22),
        connection("git", &["git"], "x", "2001:db8::5", "2001:db8::1", 2222),
        connection("root", &["root", "admin"], "x", "198.51.100.1", "192.0.2.1", 22),
        connection("nobody-at-all", &[], "x", "10.0.0.1", "192.0.2.1", 22),
        (
            "user=alice".into(),
            ConnectionSpec {
                user: Some("alice".into()),
                groups: vec!["alice".into(), "admin".into()],
                ..ConnectionSpec::default()
            },
        ),
    ]
}

/// The two values as `sshd -T` prints them.
fn printed(effective: &Effective) -> (String, String) {
    let text = |bytes: Option<&[u8]>| {
        bytes.map_or("none".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    (
        text(effective.command.as_ref().map(|setting| setting.value.as_slice())),
        text(effective.user.as_ref().map(|setting| setting.value.as_slice())),
    )
}

fn dumped(output: &str) -> (String, String) {
    let value = |keyword: &str| {
        // Not `lines`: a carriage return at the end of a value counts.
        let mut lines = output.split('\n').filter_map(|line| line.split_once(' '));
        // 7.4 does not print keywords that are not set.
        lines
            .find(|(name, _)| name.eq_ignore_ascii_case(keyword))
            .map_or("none".into(), |(_, value)| value.to_owned())
    };
    (value("authorizedkeyscommand"), value("authorizedkeyscommanduser"))
}

/// The cases that every release rejects, so that there is nothing to compare.
const REJECTED: [&str; 12] = [
    "two equals signs",
    "equals sign without blanks, then one",
    "two users",
    "not absolute",
    "quoted command",
    "no user",
    "unknown keyword",
    "includes itself",
    "Match address with host bits",
    "Match of an unknown criterion",
    "Match without a criterion",
    "Match all beside another",
];

#[test]
fn reads_the_same_values_as_sshd() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    let mut accepted = vec![0; CASES.len()];
    let releases = releases();
    for release in &releases {
        let mut equal = 0;
        for (number, (name, files)) in CASES.iter().enumerate() {
            let system = System::new(release);
            for (path, text) in *files {
                system.write(&format!("/etc/ssh/{path}"), text);
            }
            let version = String::from_utf8(system.run_sshd(&["-V"]).stderr).unwrap();
            let openssh = OpensshVersion::from_version_text(&version).unwrap();
            let read =
                Config::read(&ConfigTree::new(&system.root), Path::new("/etc/ssh/sshd_config"), openssh);
            for (spec, connection) in connections() {
                let output = system.run_sshd(&["-T", "-C", &spec]);
                if !output.status.success() {
                    continue;
                }
                accepted[number] += 1;
                let expected = dumped(&String::from_utf8(output.stdout).unwrap());
                match read.as_ref().map(|config| printed(&config.effective(Some(&connection)).unwrap())) {
                    Ok(found) if found == expected => equal += 1,
                    found => wrong
                        .push(format!("{release}, {name}, {spec}:\n  sshd {expected:?}\n  read {found:?}")),
                }
            }
            if accepted[number] == 0 {
                let output = system.run_sshd(&["-T"]);
                eprintln!(
                    "{release} rejects \"{name}\": {}",
                    String::from_utf8_lossy(&output.stderr).trim_end()
                );
            }
        }
        eprintln!("{release}: {equal} comparisons");
        compared += equal;
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 125 * releases.len(), "only {compared} comparisons");
    let unseen: Vec<_> =
        CASES.iter().zip(&accepted).filter(|(_, times)| **times == 0).map(|((name, _), _)| *name).collect();
    // Releases of EIC_SSHD_ROOTS can reject other cases.
    assert!(
        std::env::var_os("EIC_SSHD_ROOTS").is_some() || unseen == REJECTED,
        "no release accepts {unseen:?}"
    );
}
