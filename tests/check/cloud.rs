//! What comes from the machine, the metadata service and the signer.
use crate::world::{TRUST_STORE, USER, World, broken, config, world};
use eic_keys::trust::store::DIRECTORY;
use eic_lab::{DAY, Endpoint, Fault, HOUR, IPV4, IPV6, Machine, On, Pki, Status, now};
use std::time::Duration;

#[test]
fn a_healthy_system() {
    world(|world| {
        let instance = world.instance;
        let key = &world.key;
        let report = world.check();
        report.assert_healthy();
        assert_eq!(report.note("instance.host"), "this is i-0123456789abcdef0, an EC2 instance on Nitro");
        assert_eq!(report.note("instance.region"), "region us-east-1, zone us-east-1a");
        assert_eq!(
            report.note("signer.path"),
            "managed-ssh-signer.us-east-1.amazonaws.com leads to Laboratory Root CA 1"
        );
        assert_eq!(report.detail("signer.validity").len(), 3);
        assert_eq!(report.detail("signer.ocsp").len(), 2);
        assert!(report.detail("keys.signatures")[0].contains(key.fingerprint()));
        assert!(instance.journal.eic_keys().is_empty(), "a check logs nothing");
    });
}

#[test]
fn a_healthy_system_on_xen() {
    world(|world| {
        let instance = world.instance;
        instance.machine(Machine::Xen);
        let report = world.check();
        report.assert_healthy();
        assert_eq!(report.note("instance.id"), "the metadata service says i-0123456789abcdef0");
    });
}

#[test]
fn not_an_ec2_instance() {
    let other = |world: &World<'_>| world.instance.machine(Machine::Other);
    broken(other, &[("instance.host", "fail")], "identifies an EC2 instance");
}

#[test]
fn metadata_of_another_instance() {
    broken(
        |world: &World<'_>| world.instance.imds.set("instance-id", "i-0fedcba9876543210"),
        &[("instance.id", "fail")],
        "i-0fedcba9876543210",
    );
    broken(
        |world: &World<'_>| world.instance.imds.remove("instance-id"),
        &[("instance.id", "fail")],
        "instance-id",
    );
}

#[test]
fn an_unknown_region_or_domain() {
    let region =
        |value: &'static str| move |world: &World<'_>| world.instance.imds.set("placement/region", value);
    broken(region("nowhere"), &[("instance.region", "fail")], "placement/region");
    broken(
        |world: &World<'_>| world.instance.imds.set("placement/availability-zone", "eu-west-1b"),
        &[("instance.region", "warn")],
        "zone eu-west-1b, which is not in it",
    );
    broken(
        |world: &World<'_>| world.instance.imds.set("services/domain", "\u{1b}[31mevil.example"),
        &[("instance.partition", "fail")],
        "\\u{1b}[31mevil.example",
    );
}

#[test]
fn the_metadata_service_fails() {
    let token = &[("metadata.token", "fail")];
    broken(|world: &World<'_>| world.instance.imds.switch_off(), token, "403");
    broken(|world| world.instance.imds.fault(On::token(), Fault::Status(429)), token, "429");
    broken(|world| world.instance.imds.fault(On::token(), Fault::Hang), token, "did not answer in time");
    broken(
        |world: &World<'_>| world.instance.endpoint(IPV4.into(), Endpoint::Absent),
        token,
        "cannot be reached",
    );
    broken(
        |world: &World<'_>| world.instance.endpoint(IPV4.into(), Endpoint::Dropping),
        token,
        "cannot be reached",
    );
}

#[test]
fn the_fix_for_each_metadata_error() {
    for (fault, remedy) in [
        (Fault::Status(403), "--instance-id i-0123456789abcdef0 --http-endpoint enabled"),
        (Fault::Status(429), "ss -tnp dst 169.254.169.254"),
        (Fault::Hang, "--http-put-response-hop-limit 2"),
    ] {
        world(|world| {
            world.instance.imds.fault(On::token(), fault);
            let report = world.check();
            let fix = report.of("metadata.token")["fix"].as_str().unwrap();
            assert!(fix.contains(remedy), "{fix}");
        });
    }
    // A token was returned, so the limit of hops and the firewall are not at fault.
    world(|world| {
        world.instance.imds.fault(On::path("active-keys/alice"), Fault::Hang);
        let report = world.check();
        assert_eq!(report.status("keys.pushed"), "fail");
        let fix = report.of("keys.pushed")["fix"].as_str().unwrap();
        assert!(fix.contains("ss -tnp dst 169.254.169.254") && !fix.contains("hop-limit"), "{fix}");
    });
    // Nor is the service off.
    world(|world| {
        world.instance.imds.fault(On::path("active-keys/alice"), Fault::Status(403));
        let report = world.check();
        report.assert_exactly(&[("keys.pushed", "fail"), ("login.command", "fail")]);
        let (note, fix) = (report.note("keys.pushed"), report.of("keys.pushed")["fix"].as_str().unwrap());
        assert!(note.ends_with("answered 403 Forbidden"), "{note}");
        assert!(fix.starts_with("the metadata service is on, and refuses this item only"), "{fix}");
    });
}

/// The line in sshd's configuration gives another address.
#[test]
fn a_wrong_address_of_the_metadata_service() {
    world(|world| {
        let text = config().set("AuthorizedKeysCommand", "/usr/bin/eic-keys --imds 127.0.0.1:1 %u %f").text();
        world.configure(&text);
        let number = text.lines().position(|line| line.starts_with("AuthorizedKeysCommand ")).unwrap() + 1;
        let place = format!("/etc/ssh/sshd_config line {number}");
        let report = world.check();
        report.assert_exactly(&[("metadata.token", "fail"), ("metadata.ipv6", "skip")]);
        let note = report.note("metadata.token");
        assert!(
            note.starts_with(&format!("--imds gives 127.0.0.1:1 ({place}): "))
                && note.ends_with("; 169.254.169.254 answers"),
            "{note}"
        );
        assert_eq!(report.of("metadata.token")["fix"], format!("remove --imds 127.0.0.1:1 ({place})"));
        // Nothing answers at the usual address either.
        world.instance.endpoint(IPV4.into(), Endpoint::Absent);
        let report = world.check();
        let fix = report.of("metadata.token")["fix"].as_str().unwrap();
        assert!(fix.starts_with("check --imds 127.0.0.1:1"), "{fix}");
    });
}

#[test]
fn a_slow_metadata_service() {
    broken(
        |world| world.instance.imds.fault(On::token(), Fault::Delay(Duration::from_millis(550))),
        &[("metadata.token", "warn")],
        "which is slow",
    );
}

/// Each answer takes 0.7 s: a login takes four times that, and works within 4.5 s.
#[test]
fn a_slow_but_sufficient_metadata_service() {
    let slow =
        |world: &World<'_>| world.instance.imds.fault(On::any(), Fault::Delay(Duration::from_millis(700)));
    world(|world| {
        slow(world);
        let report = world.check();
        assert_eq!(report.outcome.status, Some(0), "{:#}", report.document);
        assert_eq!(report.status("metadata.token"), "warn");
        assert_eq!(report.status("keys.signatures"), "ok");
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        // Not within 2 s.
        let report = world.check_with(&["--timeout", "2", USER]);
        assert_eq!(report.status("metadata.token"), "fail");
        assert!(report.note("metadata.token").contains("too slow for a login within 2 s"));
    });
    // Not slow, but too slow for the --timeout of the AuthorizedKeysCommand.
    broken(
        |world| {
            world.instance.imds.fault(On::any(), Fault::Delay(Duration::from_millis(350)));
            let line = "/usr/bin/eic-keys --timeout 1 %u %f";
            world.restart(&config().set("AuthorizedKeysCommand", line).text());
            assert_ne!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        },
        &[("metadata.token", "fail")],
        "too slow for a login within 1 s",
    );
}

#[test]
fn over_ipv6() {
    world(|world| {
        let instance = world.instance;
        assert!(world.check().note("metadata.ipv6").starts_with("no answer over IPv6"));
        instance.endpoint(IPV6.into(), Endpoint::Serving);
        assert!(world.check().note("metadata.ipv6").starts_with("fd00:ec2::254 returned a token"));
        instance.endpoint(IPV4.into(), Endpoint::Absent);
        let report = world.check();
        report.assert_healthy();
        assert!(report.note("metadata.token").starts_with("fd00:ec2::254 returned a token"));
    });
}

#[test]
fn proxy_variables() {
    world(|world| {
        let instance = world.instance;
        let run = |name: &str, except: &str| {
            let run = instance.command(["--check"]).as_root().env("NO_PROXY", except);
            run.env(name, "http://proxy.example:3128").run()
        };
        for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
            let outcome = run(name, "localhost");
            assert_eq!(outcome.status, Some(0), "{}", outcome.stdout);
            assert!(outcome.stdout.contains("warn metadata.proxy"), "{}", outcome.stdout);
            assert!(outcome.stdout.contains(&format!("{name} is set")), "{}", outcome.stdout);
            let excepted = run(name, "localhost,169.254.169.254").stdout;
            assert!(!excepted.contains("metadata.proxy"), "{excepted}");
        }
    });
}

#[test]
fn the_clock_is_wrong() {
    let off = |seconds| move |world: &World<'_>| world.instance.imds.clock_ahead(seconds);
    broken(off(10), &[("clock.offset", "warn")], "behind the metadata service's");
    broken(off(-10), &[("clock.offset", "warn")], "ahead of the metadata service's");
    broken(off(-45), &[("clock.offset", "warn")], "a pushed key is valid for only 15 s");
    broken(off(300), &[("clock.offset", "warn")], "longer than 60 s");
    broken(off(HOUR), &[("clock.offset", "warn")], "longer than 60 s");
    broken(off(-HOUR), &[("clock.offset", "fail")], "have expired when they arrive");
    world(|world| {
        off(10)(world);
        assert_eq!(world.check().of("clock.offset")["fix"], "chronyc makestep");
        world.instance.remove("/usr/bin/chronyc");
        assert_eq!(world.check().of("clock.offset")["fix_kind"], "advice");
    });
    world(|world| {
        let instance = world.instance;
        instance.imds.fault(On::token(), Fault::Header("Date".to_owned(), "yesterday".to_owned()));
        assert_eq!(world.check().status("clock.offset"), "skip");
    });
}

#[test]
fn no_trust_store() {
    let gone = |world: &World<'_>| world.instance.remove_trust_stores();
    broken(gone, &[("signer.store", "fail")], "no trust store");
    let empty = |world: &World<'_>| world.instance.trust_store("/etc/ssl/certs/ca-certificates.crt", "");
    broken(empty, &[("signer.store", "fail")], "contains no certificate");
    // What no package replaces: a directory, as a bind mount of a missing file creates it, and a link to no file.
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let found = |create: &dyn Fn(), says: &str, fix: &str| {
        world(|world| {
            empty(world);
            world.instance.remove(bundle);
            create();
            let report = world.check();
            report.assert_exactly(&[("signer.store", "fail")]);
            assert!(report.note("signer.store").contains(says), "{}", report.note("signer.store"));
            let printed = report.of("signer.store")["fix"].as_str().unwrap();
            assert!(printed.starts_with(fix), "{printed}");
        });
    };
    found(
        &|| std::fs::create_dir(bundle).unwrap(),
        "is an empty directory, not a file",
        &format!("rmdir {bundle} && "),
    );
    // A directory in the place of a directory.
    broken(
        |world: &World<'_>| {
            world.instance.remove_trust_stores();
            std::fs::create_dir(DIRECTORY).unwrap();
        },
        &[("signer.store", "fail")],
        "/etc/ssl/certs contains no certificate",
    );
    found(
        &|| std::os::unix::fs::symlink("/dev/null", bundle).unwrap(),
        "cannot be read",
        &format!("rm {bundle} && "),
    );
}

#[test]
fn an_untrusted_signer() {
    let path = &[("signer.path", "fail")];
    broken(
        |world: &World<'_>| world.instance.trust([]),
        path,
        "does not lead to a certificate of this system's trust store",
    );
    world(|world| {
        world.instance.trust([]);
        let fix = world.check().of("signer.path")["fix"].as_str().unwrap().to_owned();
        assert!(
            fix.contains("Amazon's root certificate is missing") && fix.contains("/etc/ca-certificates.conf")
        );
    });
    broken(
        |world: &World<'_>| world.instance.imds.remove("managed-ssh-keys/signer-cert"),
        path,
        "no signer certificate",
    );
    broken(
        |world: &World<'_>| world.instance.imds.set("placement/region", "us-east-2"),
        &[("instance.region", "warn"), ("signer.path", "fail")],
        "us-east-1a, which is not in it",
    );
    broken(
        |world: &World<'_>| world.instance.adopt(Pki::with(|spec| spec.signer.not_after = now() - DAY)),
        path,
        "has expired",
    );
    // The clock is wrong more often than the signer.
    world(|world| {
        world.instance.adopt(Pki::with(|spec| spec.signer.not_after = now() - DAY));
        let report = world.check();
        let fix = report.of("signer.path")["fix"].as_str().unwrap();
        assert!(fix.starts_with("check the clock: see clock.offset; if it is right, do not trust"), "{fix}");
    });
}

#[test]
fn a_signer_that_expires_soon() {
    world(|world| {
        let instance = world.instance;
        let key = &world.key;
        instance.adopt(Pki::with(|spec| spec.intermediate.not_after = now() + 13 * DAY + HOUR));
        instance.push(USER, key);
        let report = world.check();
        assert_eq!(report.status("signer.validity"), "warn");
        assert_eq!(report.note("signer.validity"), "earliest expiry: Laboratory RSA 2048 M01, in 13 days");
    });
    // The root certificate, which is in the trust store.
    world(|world| {
        let instance = world.instance;
        instance.adopt(Pki::with(|spec| spec.root.not_after = now() + 3 * DAY + HOUR));
        instance.push(USER, &world.key);
        let report = world.check();
        report.assert_exactly(&[("signer.validity", "warn")]);
        let note = report.note("signer.validity");
        assert!(
            note.starts_with("earliest expiry: Laboratory Root") && note.ends_with(", in 3 days"),
            "{note}"
        );
        let fix = report.of("signer.validity")["fix"].as_str().unwrap();
        assert!(fix.contains("ca-certificates"), "{fix}");
    });
}

#[test]
fn bad_ocsp_responses() {
    let ocsp_responses = &[("signer.ocsp", "fail")];
    broken(
        |world: &World<'_>| world.instance.remove_ocsp_response(&world.instance.pki().intermediate),
        ocsp_responses,
        "is missing",
    );
    let revoked = |world: &World<'_>| {
        let instance = world.instance;
        let pki = instance.pki();
        let mut ocsp_response = pki.signer_ocsp();
        ocsp_response.answer().status = Status::Revoked(now() - DAY, Some(1));
        instance.serve_ocsp_response(&pki.signer, &ocsp_response.build());
    };
    broken(revoked, ocsp_responses, "says that the certificate is revoked");
}

#[test]
fn patterns_for_principals() {
    let line = |pattern: &str| {
        config()
            .set("AuthorizedKeysCommand", &format!("/usr/bin/eic-keys --principal {pattern} %u %f"))
            .text()
    };
    world(|world| {
        world.configure(&line("arn:aws:iam::*"));
        world.check().assert_healthy();
        world.configure(&line("arn:aws:iam::123412341234:user/nobody"));
        let report = world.check();
        report.assert_exactly(&[("keys.records", "fail")]);
        assert!(report.of("keys.records").to_string().contains("matches no --principal pattern"));
        world.configure(&line("arn:aws:iam::123412341234:role/ops"));
        let report = world.check();
        report.assert_exactly(&[("keys.records", "fail"), ("sshd.principals", "warn")]);
        let fix = report.of("sshd.principals")["fix"].as_str().unwrap();
        assert!(fix.contains("--principal 'arn:aws:sts::123412341234:assumed-role/ops/*'"), "{fix}");
    });
}

#[test]
fn a_trust_store_given_by_option() {
    world(|world| {
        let report = world.check_with(&["alice", "--trust-store", "/etc/nowhere.pem"]);
        report.assert_exactly(&[("signer.store", "fail")]);
        assert!(report.note("signer.store").contains("/etc/nowhere.pem"));
        world.configure(
            &config()
                .set("AuthorizedKeysCommand", "/usr/bin/eic-keys --trust-store /etc/there.pem %u %f")
                .text(),
        );
        let report = world.check();
        report.assert_exactly(&[("signer.store", "fail")]);
        assert!(
            report.note("signer.store").contains("/etc/there.pem"),
            "what the AuthorizedKeysCommand says counts"
        );
        world.instance.write("/etc/there.pem", std::fs::read(TRUST_STORE).unwrap());
        world.check().assert_healthy();
    });
}

/// What nobody on the instance can tell is told with the command that can, for this very instance and user.
#[test]
fn checks_outside_the_instance() {
    world(|world| {
        let report = world.check();
        for (id, words) in [
            (
                "outside.network",
                &["--region us-east-1 ", "=com.amazonaws.us-east-1.ec2-instance-connect,"][..],
            ),
            ("outside.network", &["com.amazonaws.us-east-1.ipv6.ec2-instance-connect"]),
            (
                "outside.permission",
                &[
                    "ec2-instance-connect:SendSSHPublicKey",
                    "arn:aws:ec2:us-east-1:ACCOUNT:instance/i-0123456789abcdef0",
                ],
            ),
            (
                "outside.permission",
                &["ContextKeyName=ec2:osuser,ContextKeyType=string,ContextKeyValues=alice"],
            ),
            (
                "outside.region",
                &["--region us-east-1 --instance-id i-0123456789abcdef0 --instance-os-user alice "],
            ),
        ] {
            let check = report.of(id);
            assert_eq!(
                (&check["status"], &check["fix_kind"]),
                (&"skip".into(), &"command".into()),
                "{check}"
            );
            let fix = check["fix"].as_str().unwrap();
            assert!(fix.starts_with("aws ") && words.iter().all(|word| fix.contains(word)), "{fix}");
        }
    });
}

#[test]
fn a_healthy_system_takes_at_most_two_seconds() {
    world(|world| {
        // Other tests want the processor as well: the best of some runs.
        let best = (0..5).map(|_| world.check().outcome.wall).min().unwrap();
        assert!(best < Duration::from_secs(2), "{best:?}");
    });
}

#[test]
fn it_ends_in_time_whatever_the_metadata_service_does() {
    let drip = Duration::from_millis(100);
    for fault in [
        Fault::Hang,
        Fault::DripBody(drip),
        Fault::DripHead(drip),
        Fault::EndlessBody,
        Fault::Reset,
        Fault::garbage(),
    ] {
        for on in [On::any(), On::any().from(2)] {
            world(|world| {
                world.instance.imds.fault(on, fault.clone());
                assert_eq!(world.check_in_time().outcome.status, Some(1), "{fault:?}");
            });
        }
    }
    world(|world| {
        for address in [IPV4.into(), IPV6.into()] {
            world.instance.endpoint(address, Endpoint::Dropping);
        }
        world.check_in_time().assert_exactly(&[("metadata.token", "fail")]);
    });
}
