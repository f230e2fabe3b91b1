//! Arguments, exit statuses, and what is printed where.
use crate::world::{USER, world};
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

#[test]
fn the_text_ends_with_what_is_wrong() {
    world(|world| {
        let instance = world.instance;
        let well = world.text(&[USER]);
        assert_eq!(well.status, Some(0));
        assert_eq!(
            well.stdout.lines().last(),
            Some("This system takes alice's pushed keys. Nothing is wrong here.")
        );
        assert!(!well.stdout.contains('\u{1b}'), "no colour but on a terminal");
        instance.machine(Machine::Other);
        let ill = world.text(&[USER]);
        assert_eq!(ill.status, Some(1));
        assert_eq!(
            ill.stdout.lines().last(),
            Some(
                "This system does not take alice's pushed keys: this is not an EC2 instance, by its firmware: \
                 nobody is asked for keys (instance.host)."
            )
        );
    });
}

#[test]
fn details_are_for_the_verbose() {
    world(|world| {
        let key = &world.key;
        let brief = world.text(&[USER]).stdout;
        let verbose = world.text(&[USER, "--verbose"]).stdout;
        assert!(!brief.contains(key.fingerprint()) && verbose.contains(key.fingerprint()));
        assert!(verbose.contains("builds on instance.host, metadata.token"), "{verbose}");
    });
}

#[test]
fn what_cannot_be_run() {
    world(|world| {
        let instance = world.instance;
        for (arguments, reason) in [
            (&["--check", "alice", "SHA256:short"][..], "FINGERPRINT"),
            (&["--check", "a", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", "b"], "\"b\""),
            (&["--check", "--nonsense"], "--nonsense"),
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
fn a_reader_that_goes_away() {
    world(|world| {
        let instance = world.instance;
        assert_eq!(instance.command(["--check", "alice"]).as_root().stdout_closed().run().status, Some(0));
    });
}

#[test]
fn colour_is_for_terminals() {
    world(|world| {
        let on_terminal = |variable: &str, value: &str| {
            let script = world.instance.command(["-qec", "/usr/bin/eic-keys --check alice", "/dev/null"]);
            script.program("script").as_root().env("TERM", "xterm").env(variable, value).run().stdout
        };
        for (variable, value, coloured) in [("NO_COLOR", "", true), ("NO_COLOR", "1", false)] {
            let text = on_terminal(variable, value);
            assert!(text.contains("instance.host"), "{text}");
            assert_eq!(text.contains("\u{1b}[32mok"), coloured, "{variable}={value}: {text}");
        }
    });
}
