//! The chained command: it runs concurrently, without a shell, as sshd would run it, and its keys follow ours.

use crate::{instance, result, shell};
use eic_keys::limits;
use eic_lab::instance::TRUST_STORES;
use eic_lab::{Fault, Instance, Machine, On, Outcome, UserKey};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const OTHER: &str = "/usr/bin/other-keys";

/// Installs the other command, a shell script.
fn other(instance: &Instance, script: &str) {
    instance.install(OTHER, format!("#!/bin/sh\n{script}\n").as_bytes());
}

/// A login with a pushed key and the chained command.
fn login(instance: &Instance, key: &UserKey) -> Outcome {
    instance.run(["alice", key.fingerprint(), "--", OTHER, "alice"])
}

/// A user for whom nothing is pushed.
fn without(instance: &Instance, key: &UserKey) -> Outcome {
    instance.run(["nobody", key.fingerprint(), "--", OTHER, "nobody"])
}

#[test]
fn prints_its_keys_after_ours() {
    let (instance, key) = instance();
    let ours = format!("{}\n", key.line());
    let most = format!("head -c {} /dev/zero | tr '\\0' A", limits::CHAINED_OUTPUT);
    for (what, script, theirs) in [
        ("a key", "echo ssh-ed25519 AAAA them", "ssh-ed25519 AAAA them\n".to_owned()),
        ("no key", "true", String::new()),
        ("two keys", "echo one; echo two", "one\ntwo\n".to_owned()),
        ("half a line", "printf 'ssh-ed25519 AA'", "ssh-ed25519 AA".to_owned()),
        ("blank lines", "echo; echo", "\n\n".to_owned()),
        ("bytes", r"printf 'a\000b\033'", "a\0b\u{1b}".to_owned()),
        ("all that it may print", most.as_str(), "A".repeat(limits::CHAINED_OUTPUT)),
        ("something late", "sleep 0.3; echo late", "late\n".to_owned()),
        ("in pieces", "for i in 1 2 3; do echo $i; sleep 0.05; done", "1\n2\n3\n".to_owned()),
        ("output closed before the end", "echo key; exec >&-; sleep 0.2", "key\n".to_owned()),
    ] {
        other(&instance, script);
        let (with, without) = (login(&instance, &key), without(&instance, &key));
        assert!(result(&with) == (Some(0), &format!("{ours}{theirs}"), ""), "{what}: {:?}", with.status);
        assert!(
            result(&without) == (Some(0), theirs.as_str(), ""),
            "{what}, nothing pushed: {:?}",
            without.status
        );
    }
}

/// Our keys are printed. Its status becomes ours only if we print none. As in sshd, its output does not count.
#[test]
fn prints_our_keys_if_it_fails() {
    let (instance, key) = instance();
    let ours = format!("{}\n", key.line());
    for (what, script, status) in [
        ("status 1", "exit 1", 1),
        ("status 255", "exit 255", 255),
        ("a key, then status 7", "echo ssh-ed25519 AAAA; exit 7", 7),
        ("half a line, then status 3", "printf 'ssh-ed'; exit 3", 3),
        ("killed", "kill -KILL $$", 128 + 9),
        ("killed after a key", "echo ssh-ed25519 AAAA; kill -TERM $$", 128 + 15),
        ("too much", &format!("exec head -c {} /dev/zero", limits::CHAINED_OUTPUT + 1), 126),
    ] {
        other(&instance, script);
        instance.journal.clear();
        assert_eq!(result(&login(&instance, &key)), (Some(0), ours.as_str(), ""), "{what}");
        let lines = instance.journal.eic_keys();
        let severities: Vec<u8> = lines.iter().map(|line| line.severity).collect();
        assert_eq!(severities, [6, 6, 4], "{what}: {lines:?}");
        assert!(lines[2].message().contains("chained command"), "{what}: {lines:?}");
        let number = if status > 128 && status < 255 { status - 128 } else { status };
        let named = what == "too much" || lines[2].message().contains(&number.to_string());
        assert!(named, "{what}: {lines:?}");
        assert_eq!(result(&without(&instance, &key)), (Some(status), "", ""), "{what}, nothing pushed");
    }
}

#[test]
fn prints_our_keys_if_it_cannot_be_started() {
    let (instance, key) = instance();
    instance.write("/etc/lab/file", "#!/bin/sh\n");
    instance.install("/etc/lab/no-interpreter", b"#!/nonexistent\n");
    for program in
        ["/nonexistent/program", "/etc/lab/file", "/etc/lab/no-interpreter", "/etc", "", "other-keys-2"]
    {
        instance.journal.clear();
        let outcome = instance.run(["alice", key.fingerprint(), "--", program]);
        assert_eq!(outcome.keys(), [key.line()], "{program:?}");
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{program:?}");
        assert!(instance.journal.says("chained command"), "{program:?}: {:?}", instance.journal.lines());
        let outcome = instance.run(["nobody", "--", program]);
        assert!(matches!(outcome.status, Some(126 | 127)), "{program:?}: {:?}", outcome.status);
        assert_eq!(outcome.stdout, "", "{program:?}");
    }
}

/// What makes our part fail, and the exit status.
type Failure = (&'static str, fn(&Instance), i32);

/// A login with its keys works, and the log has the reason why ours fail.
#[test]
fn prints_its_keys_if_ours_fail() {
    let (instance, key) = instance();
    other(&instance, "echo ssh-ed25519 AAAA them");
    let fails: [Failure; 3] = [
        ("the service is silent", |instance| instance.imds.fault(On::any(), Fault::Hang), 2),
        ("the region is another", |instance| instance.imds.set("placement/region", "eu-west-1"), 3),
        ("the trust store is empty", |instance| instance.trust_store(TRUST_STORES[0].1, ""), 4),
    ];
    for (what, fail, status) in fails {
        instance.imds.clear_faults();
        instance.journal.clear();
        fail(&instance);
        assert_eq!(result(&login(&instance, &key)), (Some(0), "ssh-ed25519 AAAA them\n", ""), "{what}");
        let lines = instance.journal.eic_keys();
        assert!(lines.len() == 1 && lines[0].severity == 4, "{what}: {lines:?}");
        let alone = instance.run(["alice", key.fingerprint()]);
        assert_eq!(result(&alone), (Some(status), "", ""), "{what}, alone");
    }
}

#[test]
fn runs_it_even_without_work_of_our_own() {
    let (instance, key) = instance();
    other(&instance, "echo theirs");
    let odd = instance.run(["../alice", key.fingerprint(), "--", OTHER]);
    assert_eq!(result(&odd), (Some(0), "theirs\n", ""), "a name that the API never takes");
    instance.machine(Machine::Other);
    assert_eq!(result(&login(&instance, &key)), (Some(0), "theirs\n", ""), "no instance");
    assert!(instance.imds.requests().is_empty());
}

#[test]
fn does_not_run_it_if_the_command_line_is_wrong() {
    let (instance, _) = instance();
    other(&instance, "echo theirs");
    assert_eq!(instance.run(["--unknown", "alice", "--", OTHER]).stdout, "");
}

/// It starts with the run, not after it: the service does not reply for a second.
#[test]
fn starts_it_before_the_first_request() {
    let (instance, key) = instance();
    other(&instance, "date +%s%N");
    instance.imds.fault(On::token(), Fault::Hang);
    let start = |_| {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let outcome = login(&instance, &key);
        assert_eq!((outcome.status, outcome.keys().len()), (Some(0), 1));
        Duration::from_nanos(outcome.keys()[0].parse().unwrap()).saturating_sub(before)
    };
    // Other tests use the processor, too: take the best of several runs.
    let best = (0..3).map(start).min().unwrap();
    assert!(best < Duration::from_millis(800), "it started after {best:?}");
}

#[test]
fn runs_it_without_a_shell() {
    let (instance, key) = instance();
    let arguments = [
        "$(id)",
        "`id`",
        "*",
        "; id",
        "&& id",
        "|id",
        ">/run/x",
        "'",
        "\"",
        "\\n",
        "",
        " a  b ",
        "--",
        "--timeout",
        "%u",
        "~",
        "$HOME",
    ];
    instance.install(OTHER, b"#!/bin/sh\nfor a in \"$@\"; do printf '<%s>\\n' \"$a\"; done\n");
    let outcome = instance.run([&["alice", key.fingerprint(), "--", OTHER][..], &arguments].concat());
    let expected: Vec<String> = arguments.iter().map(|argument| format!("<{argument}>")).collect();
    assert_eq!(outcome.keys()[1..], expected);
}

/// Bit of signal 13 in the masks of `/proc/PID/status`.
const SIGPIPE: u32 = 1 << 12;

/// Everything is as if sshd had started it.
#[test]
fn it_has_the_environment_that_sshd_set() {
    let (instance, key) = instance();
    let ask = |program: &str, arguments: &[&str]| {
        let alone = instance.command(arguments).program(program).run();
        assert_eq!(alone.status, Some(0), "{program}");
        let beside = instance.run([&["alice", key.fingerprint(), "--", program][..], arguments].concat());
        let ours = format!("{}\n", key.line());
        let beside = beside.stdout.strip_prefix(&ours).unwrap().to_owned();
        assert_eq!(beside, alone.stdout, "{program} {arguments:?}");
        beside
    };
    let environment = ask("/usr/bin/env", &[]);
    assert!(environment.contains("LOGNAME=eic-keys\n") && environment.lines().count() == 5, "{environment}");
    assert!(ask("/usr/bin/id", &[]).contains("(eic-keys)"));
    assert_eq!(ask("/bin/pwd", &[]), "/\n");
    ask("/bin/sh", &["-c", "umask; ulimit -a"]);
    // Blocked and ignored signals, without 32 and 33, which the C library reserves. What the test was started with is ignored
    // in both runs, SIGHUP under nohup for example; SIGPIPE, which eic-keys itself ignores, is not.
    let masks =
        ask("/bin/sh", &["-c", "sed -n 's/^Sig[BI].*\\(.\\{8\\}\\)$/\\1/p' /proc/self/status | tr 8 0"]);
    for mask in masks.lines() {
        assert_eq!(u32::from_str_radix(mask, 16).unwrap() & SIGPIPE, 0, "{masks}");
    }
    // It inherits none of our descriptors.
    ask("/bin/sh", &["-c", "cd /proc/$$/fd && echo *"]);
}

/// sshd has read enough and closed the pipe: both end soon.
#[test]
fn both_end_if_the_reader_is_gone() {
    let (instance, key) = instance();
    other(&instance, "exec sleep 1000");
    let line = format!("/usr/bin/eic-keys alice {} -- {OTHER} | head -n 1", key.fingerprint());
    let started = Instant::now();
    let outcome = instance.command(["-c", &line]).program("/bin/sh").run();
    assert_eq!(outcome.keys(), [key.line()], "ours is there before it has ended");
    assert!(started.elapsed() < Duration::from_secs(30));
    assert!(instance.namespace().id().processes().is_empty(), "something is left");

    let nobody = instance.command(["nobody", "--", OTHER]).stdout_closed().run();
    assert_eq!(nobody.status, Some(0));
    assert!(nobody.wall < Duration::from_secs(30) && instance.namespace().id().processes().is_empty());
}

/// A run as root has dropped `CAP_KILL`. It cannot stop a command that changed its user, and must not wait for it.
#[test]
fn does_not_wait_for_a_command_that_it_cannot_stop() {
    let (instance, _) = instance();
    other(&instance, "exec 2>&-; exec setpriv --reuid=47101 sleep 5");
    // Time for the command to change its user.
    instance.imds.fault(On::any(), Fault::Delay(Duration::from_millis(500)));
    let outcome = instance.command(["nobody", "--", OTHER]).as_root().stdout_closed().run();
    assert_eq!(outcome.status, Some(0));
    assert!(outcome.wall < Duration::from_secs(4), "{outcome:?}");
}

/// Keys that cannot be written are an error, whether ours or its.
#[test]
fn reports_a_full_device() {
    let (instance, _) = instance();
    other(&instance, "echo theirs");
    let outcome = instance.command(["nobody", "--", OTHER]).stdout_to("/dev/full").run();
    assert_eq!(outcome.status, Some(4), "its key has no room");
    let outcome = instance.command(["alice", "--", OTHER]).stdout_to("/dev/full").run();
    assert_eq!(outcome.status, Some(4), "ours has no room");
}

/// sshd checks only the program of its own line, so the chained command is checked here by the same rules.
#[test]
fn runs_it_only_if_sshd_would() {
    let (instance, key) = instance();
    other(&instance, "echo theirs");
    let mine = || format!("{}\n", key.line());
    assert_eq!(
        result(&login(&instance, &key)),
        (Some(0), format!("{}theirs\n", mine()).as_str(), ""),
        "as it is"
    );
    for (what, command, change, undo) in [
        ("not an absolute path", "other-keys", "true", "true"),
        ("others may write it", OTHER, "chmod o+w /usr/bin/other-keys", "chmod o-w /usr/bin/other-keys"),
        ("a group may", OTHER, "chmod g+w /usr/bin/other-keys", "chmod g-w /usr/bin/other-keys"),
        ("others may write its directory", OTHER, "chmod o+w /usr/bin", "chmod o-w /usr/bin"),
        ("it is somebody's", OTHER, "chown alice /usr/bin/other-keys", "chown root /usr/bin/other-keys"),
        ("it is no program", OTHER, "chmod a-x /usr/bin/other-keys", "chmod a+x /usr/bin/other-keys"),
    ] {
        shell(&instance, change);
        let outcome = instance.run(["alice", key.fingerprint(), "--", command]);
        assert_eq!(result(&outcome), (Some(0), mine().as_str(), ""), "{what}");
        let outcome = instance.run(["nobody", key.fingerprint(), "--", command]);
        assert_eq!(result(&outcome), (Some(126), "", ""), "{what}, and none of ours");
        assert!(instance.journal.says("The chained command could not be run"), "{what}");
        shell(&instance, undo);
    }
}
