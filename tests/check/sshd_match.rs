//! `Match` blocks for some clients.

use crate::world::{USER, World, broken, config, world};

/// Whether a block applies to the client is not known: the report names the block.
#[test]
fn blocks_for_some_clients() {
    let with = |text: &'static str| move |world: &World<'_>| world.configure(&(config().text() + text));
    for (text, says) in [
        (
            "Match Address 192.0.2.128/25\n  PubkeyAuthentication no\n",
            "for clients with the address 192.0.2.128/25 (/etc/ssh/sshd_config line",
        ),
        (
            "Match Address 10.0.0.0/8\n  AllowUsers bob\n",
            "\"Match Address 10.0.0.0/8\"): AllowUsers does not include alice",
        ),
        (
            "Match LocalAddress 127.0.0.1\n  AuthenticationMethods password\n",
            "for clients that connect to the address 127.0.0.1",
        ),
        ("Match Address 10.*,!10.1.*\n  PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256\n", "no type of key"),
        ("Match Address ::/0\n  AuthorizedKeysCommand none\n", "AuthorizedKeysCommand is none"),
        (
            "Match Address 2001:db8::/32\n  ForceCommand /bin/false\n",
            "ForceCommand /bin/false ends each session",
        ),
        (
            "UseDNS yes\nMatch User alice Host *.example\n  MaxSessions 0\n",
            "for clients with the name *.example",
        ),
        // No address to ask sshd for is found, and the name of a user is no criterion.
        (
            "Match User alice,hostmaster Address *9.*.8*7.6\n  PubkeyAuthentication no\n",
            "for clients with the address *9.*.8*7.6",
        ),
    ] {
        broken(with(text), &[("sshd.match", "warn")], says);
    }
    // Blocks that apply to no client, and blocks that refuse nothing.
    for text in [
        "Match LocalPort 2222\n  PubkeyAuthentication no\n",
        "Match LocalAddress 10.0.0.1\n  PubkeyAuthentication no\n",
        "Match Host *.example\n  PubkeyAuthentication no\n",
        "Match Address 10.0.0.0/8\n  AllowUsers bob alice\n  ForceCommand none\n",
        "Match Address 10.0.0.0/8\n  PubkeyAuthentication yes\n  AuthenticationMethods publickey password\n",
    ] {
        world(|world| {
            with(text)(world);
            world.check().assert_healthy();
        });
    }
    world(|world| {
        with(
            "Match Address 10.0.0.0/8\n  PasswordAuthentication yes\nMatch User bob Address 10.0.0.0/8\n  PubkeyAuthentication no\n",
        )(world);
        world.check().assert_healthy();
        // Refused in general, and allowed for some.
        world.configure(
            &(config().set("PubkeyAuthentication", "no").text()
                + "Match Address 10.0.0.0/8\n  PubkeyAuthentication yes\n"),
        );
        let report = world.check();
        report.assert_exactly(&[("sshd.pubkey", "warn")]);
        assert!(
            report.note("sshd.pubkey").ends_with("for all but clients with the address 10.0.0.0/8"),
            "{}",
            report.note("sshd.pubkey")
        );
        // What that block says makes no difference; nor does one for the only port.
        for block in ["Match Address 10.0.0.0/8", "Match LocalPort 22"] {
            world.configure(
                &(config().set("PubkeyAuthentication", "no").text()
                    + block
                    + "\n  PubkeyAuthentication no\n"),
            );
            world.check().assert_exactly(&[("sshd.pubkey", "fail")]);
        }
        world.configure(&(config().text() + "Match Address *,!10.0.0.0/8\n  PubkeyAuthentication no\n"));
        let report = world.check();
        report.assert_exactly(&[("sshd.pubkey", "warn")]);
        assert!(report.note("sshd.pubkey").ends_with("for clients with the address *,!10.0.0.0/8"));
    });
}

/// A block for all clients but some that leaves out the command, or its user.
#[test]
fn no_command_for_most_clients() {
    world(|world| {
        for (id, line) in [
            ("sshd.command", "AuthorizedKeysCommand none"),
            ("sshd.command", "AuthorizedKeysCommand /bin/true"),
            ("sshd.command_user", "AuthorizedKeysCommandUser nosuch"),
        ] {
            let under = |criteria: &str| format!("{}Match {criteria}\n  {line}\n", config().text());
            for (criteria, works, status) in
                [("Address *,!127.0.0.0/8", true, "warn"), ("Address *", false, "fail")]
            {
                world.restart(&under(criteria));
                let case = format!("{criteria} {line}");
                assert_eq!(world.sshd.ssh(USER, &world.key, "true").status == Some(0), works, "{case}");
                let report = world.check();
                assert_eq!(report.status(id), status, "{case}");
                let note = report.note(id);
                assert_eq!(
                    note.ends_with(&format!(
                        ", for clients with the {}",
                        criteria.replace("Address", "address")
                    )),
                    works,
                    "{note}"
                );
            }
        }
    });
}

/// A keyword by its older name, in such a block.
#[test]
fn types_of_keys_for_most_clients() {
    world(|world| {
        for keyword in ["PubkeyAcceptedKeyTypes", "PubkeyAcceptedAlgorithms"] {
            let line = format!("{keyword} rsa-sha2-512\n");
            world.restart(&format!("{}Match Address *,!127.0.0.0/8\n  {line}", config().text()));
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0), "{line}");
            let report = world.check();
            report.assert_exactly(&[("keys.accepted", "warn"), ("sshd.algorithms", "warn")]);
            let note = report.note("keys.accepted");
            assert!(note.ends_with(", for clients with the address *,!127.0.0.0/8"), "{note}");
            let note = report.note("sshd.algorithms");
            assert!(note.ends_with(", for clients with the address *,!127.0.0.0/8"), "{note}");
            let fix = report.of("sshd.algorithms")["fix"].as_str().unwrap();
            assert!(fix.contains("below \"Match Address *,!127.0.0.0/8\" in line"), "{fix}");
            world.restart(&format!(
                "{}{line}Match Address 10.0.0.0/8\n  {keyword} +ssh-ed25519\n",
                config().text()
            ));
            let report = world.check();
            for id in ["keys.accepted", "sshd.algorithms"] {
                let note = report.note(id);
                assert!(note.ends_with(", for all but clients with the address 10.0.0.0/8"), "{note}");
            }
            world.restart(&format!("{}{line}", config().text()));
            assert_eq!(world.check().status("keys.accepted"), "fail", "{line}");
        }
    });
}
