//! Arguments, exit statuses, and what is printed where.
use crate::world::{USER, config, world};
use eic_lab::{Machine, Outcome};

fn not_run(outcome: &Outcome, reason: &str) {
    assert_eq!(outcome.status, Some(2));
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
}

#[test]
fn without_a_user() {
    world(|world| {
        let report = world.check_with(&[]);
        report.assert_exactly(&[("user.name", "skip")]);
        assert!(report.document["user"].is_null());
    });
}

/// Without a rehearsal, the report claims no more than was checked.
#[test]
fn the_summary_is_the_last_line() {
    world(|world| {
        let instance = world.instance;
        let healthy = world.text(&[USER]);
        assert_eq!(healthy.status, Some(0));
        assert_eq!(
            healthy.stdout.lines().last(),
            Some(
                "Nothing was found that would refuse alice's keys. PAM and the session were not tested; use --rehearse."
            )
        );
        assert!(!healthy.stdout.contains('\u{1b}'), "colour is for terminals");
        instance.imds.unpublish(USER);
        let unpushed = world.text(&[USER]);
        assert_eq!(unpushed.status, Some(0));
        let summary = unpushed.stdout.lines().last().unwrap_or_default();
        assert!(
            summary.starts_with(
                "No key is pushed for alice now; a pushed key is valid for 60 s: push one, and check within a minute, or start --check alice --wait 60 and then push. Nothing was found"
            ),
            "{summary}"
        );
        instance.machine(Machine::Other);
        let broken = world.text(&[USER]);
        assert_eq!(broken.status, Some(1));
        assert_eq!(
            broken.stdout.lines().last(),
            Some(
                "This system refuses alice's keys: neither board_asset_tag nor hypervisor/uuid in /sys identifies an \
                 EC2 instance: eic-keys requests no keys (instance.host)."
            )
        );
    });
}

/// Failures and warnings come first. Passing checks, and those that need a failed one, are counted.
#[test]
fn a_broken_system_fits_on_a_screen() {
    world(|world| {
        world.instance.trust_store("/etc/ssl/certs/ca-certificates.crt", "");
        world.instance.write("/etc/nologin", "");
        world.configure(&config().set("DenyUsers", "alice").set("MaxAuthTries", "2").text());
        let text = world.text(&[USER]).stdout;
        let rows: usize = text.lines().map(|line| line.chars().count().div_ceil(80).max(1)).sum();
        assert!(rows < 24, "{rows} rows:\n{text}");
        let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words} is in {text}"));
        assert!(
            at("FAIL signer.store") < at("FAIL user.nologin")
                && at("FAIL sshd.access") < at("warn sshd.tries")
        );
        assert!(
            at("warn sshd.tries")
                < at("checks passed, 6 skipped because a check that they depend on gave no value")
        );
        assert!(!text.contains("ok  ") && !text.contains("needs signer.store"), "{text}");
        let verbose = world.text(&[USER, "--verbose"]).stdout;
        for line in ["  ok   instance.host ", "  skip signer.path            needs signer.store"] {
            assert!(verbose.contains(line), "{verbose}");
        }
    });
}

#[test]
fn verbose_lists_all_checks_with_details() {
    world(|world| {
        let key = &world.key;
        let brief = world.text(&[USER]).stdout;
        let verbose = world.text(&[USER, "--verbose"]).stdout;
        assert!(!brief.contains(key.fingerprint()) && verbose.contains(key.fingerprint()));
        assert!(verbose.contains("depends on instance.host, metadata.token"), "{verbose}");
    });
}

#[test]
fn usage_errors() {
    world(|world| {
        let instance = world.instance;
        for (arguments, reason) in [
            (&["--check", "alice", "SHA256:short"][..], "FINGERPRINT"),
            (&["--check", "a", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", "b"], "\"b\""),
            (&["--check", "--nonsense"], "--nonsense"),
            (&["--check=alice"], "--check"),
            (&["alice", "--check="], "--check"),
            (&["--check", "--if-user-missing"], "--enable"),
            (&["--check", "alice", "--", "true"], "--"),
            (&["--check", "--wait", "5"], "USER"),
            (&["--check", "alice", "--wait"], "--wait"),
            (&["--check", "alice", "--wait", "0"], "from 1 to 600"),
            (&["--check", "alice", "--wait", "601"], "from 1 to 600"),
            (&["--check", "alice", "--wait", "1.5"], "from 1 to 600"),
        ] {
            not_run(&instance.command(arguments).as_root().run(), reason);
            let json = ["--json"].iter().chain(arguments);
            let outcome = instance.command(json).as_root().run();
            assert_eq!(outcome.status, Some(2));
            let document = crate::schema::read(&outcome.stdout);
            assert_eq!(document["result"], "not-run");
            assert!(document["summary"].as_str().unwrap().contains(reason), "{document}");
            assert_eq!(outcome.stderr, "");
        }
        let full = instance.command(["--check"]).as_root().stdout_to("/dev/full").run();
        assert_eq!(full.status, Some(2));
        assert!(instance.journal.eic_keys().is_empty());
    });
}

#[test]
fn json_verbose_and_wait_go_with_check_alone() {
    world(|world| {
        let instance = world.instance;
        assert_eq!(instance.run(["alice", "--wait", "5"]).status, Some(1));
        assert_eq!(instance.run(["--enable", "--dry-run", "--wait", "5"]).status, Some(1));
        for option in ["--json", "--verbose"] {
            assert_eq!(instance.run(["alice", option]).status, Some(1));
        }
    });
}

#[test]
fn stdout_is_closed() {
    world(|world| {
        let instance = world.instance;
        assert_eq!(instance.command(["--check", "alice"]).as_root().stdout_closed().run().status, Some(0));
    });
}

#[test]
fn colour_is_for_terminals() {
    world(|world| {
        world.instance.write("/etc/nologin", "");
        let on_terminal = |variable: &str, value: &str| {
            let script = world.instance.command(["-qc", "/usr/bin/eic-keys --check alice", "/dev/null"]);
            script.program("script").as_root().env("TERM", "xterm").env(variable, value).run().stdout
        };
        for (variable, value, coloured) in [("NO_COLOR", "", true), ("NO_COLOR", "1", false)] {
            let text = on_terminal(variable, value);
            assert!(text.contains("user.nologin"), "{text}");
            assert_eq!(text.contains("\u{1b}[1;31mFAIL"), coloured, "{variable}={value}: {text}");
        }
    });
}
