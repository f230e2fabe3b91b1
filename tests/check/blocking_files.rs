//! Files that block whoever opens or examines them: a pipe without a writer, a file server that does not answer.
use crate::schema;
use crate::world::{Report, TRUST_STORE, USER, World, config, log_line, world};
use std::fs;
use std::process::Command;

/// Replaces a file by a pipe that nobody writes to.
fn pipe(path: &str) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").args(["-m", "644", path]).status().unwrap().success(), "{path}");
}

/// `--check` under strace with these options.
fn traced(world: &World<'_>, options: &[&str]) -> Report {
    let words = [options, &["/usr/bin/eic-keys", "--check", "--json", USER]].concat();
    let outcome = world.instance.command(words).program("/usr/bin/strace").as_root().run();
    Report { document: schema::read(&outcome.stdout), outcome }
}

/// The checks that did not end in time.
fn late(report: &Report) -> Vec<&str> {
    let checks = report.document["checks"].as_array().unwrap().iter();
    let is_late = |note: &str| note.contains("did not end within") || note.contains("had no result");
    checks
        .filter(|check| is_late(check["note"].as_str().unwrap()))
        .map(|check| check["id"].as_str().unwrap())
        .collect()
}

#[test]
fn a_pipe_in_place_of_a_file() {
    let lists = config().set("RevokedKeys", "/etc/ssh/revoked").set("Banner", "/etc/ssh/banner");
    for path in [
        "/etc/ssh/eic_lab_host_key.pub",
        "/etc/ssh/revoked",
        "/etc/ssh/banner",
        "/etc/pam.d/sshd",
        "/etc/nologin",
        "/etc/hosts.deny",
        TRUST_STORE,
    ] {
        world(|world| {
            world.configure(&lists.text());
            world.instance.write("/etc/ssh/revoked", "");
            world.instance.write(path, "");
            pipe(path);
            let report = world.check_in_time();
            assert_eq!(late(&report), Vec::<&str>::new(), "{path}");
        });
    }
}

/// strace(1) makes each examination of one path wait, as the kernel does for a file server that does not answer.
#[test]
fn a_file_server_that_does_not_answer_delays_the_checks_of_sshd_only() {
    world(|world| {
        world.instance.write("/run/server/jail/bin/sh", "");
        world.configure(&config().set("ChrootDirectory", "/run/server/jail").text());
        let wait = "--inject=statx:delay_enter=20s";
        let statx = ["-e", "trace=statx", "--seccomp-bpf", wait];
        let report = traced(world, &[&["-f", "-o", "/dev/null", "-P", "/run/server"], &statx[..]].concat());
        let (sshd, others): (Vec<_>, Vec<_>) = late(&report).into_iter().partition(|id| {
            ["sshd.", "running.", "login.", "network.banner"].iter().any(|group| id.starts_with(group))
        });
        assert!(sshd.contains(&"sshd.session"), "{sshd:?}");
        assert_eq!(others, Vec::<&str>::new());
        let summary = report.document["summary"].as_str().unwrap();
        assert!(
            summary.contains("It is not known whether this system refuses alice's keys: this check"),
            "{summary}"
        );
    });
}

#[test]
fn what_is_known_to_fail_is_before_a_check_that_does_not_end() {
    world(|world| {
        world.instance.write("/run/server/jail/bin/sh", "");
        let config = config().set("ChrootDirectory", "/run/server/jail").set("PubkeyAuthentication", "no");
        world.configure(&config.text());
        let wait = ["-e", "trace=statx", "--seccomp-bpf", "--inject=statx:delay_enter=20s"];
        let report = traced(world, &[&["-f", "-o", "/dev/null", "-P", "/run/server"], &wait[..]].concat());
        let summary = report.document["summary"].as_str().unwrap();
        assert!(late(&report).contains(&"sshd.session"), "{summary}");
        assert!(summary.contains("This system refuses alice's keys: "), "{summary}");
        assert!(!summary.contains("not known"), "{summary}");
    });
}

/// The thread that keeps the time limits opens and examines no file from its first check on, so none can block it, but the
/// kernel's name of the program. strace without `-f` shows that thread only.
#[test]
fn the_thread_that_keeps_the_limits_uses_no_file() {
    let trace = |change: &dyn Fn(&World<'_>)| {
        world(|world| {
            change(world);
            traced(world, &["-o", "/run/trace", "-e", "trace=%file,epoll_create1"]);
            let text = fs::read_to_string("/run/trace").unwrap();
            let calls: Vec<_> = text.lines().skip_while(|line| !line.starts_with("epoll_create1")).collect();
            assert!(!calls.is_empty(), "{text}");
            let files: Vec<_> =
                calls.iter().filter(|line| line.contains('"') && !line.contains("/proc/self/exe")).collect();
            assert!(files.is_empty(), "{files:#?}");
        });
    };
    trace(&|_| {});
    // Each setting has a check that explains it and gives a fix.
    for (keyword, value) in [
        ("PubkeyAuthentication", "no"),
        ("AuthenticationMethods", "password"),
        ("DenyUsers", "alice"),
        ("PubkeyAcceptedAlgorithms", "ssh-ed25519"),
        ("KexAlgorithms", "curve25519-sha256"),
        ("MaxAuthTries", "0"),
        ("RevokedKeys", "/etc/ssh/none"),
        ("ChrootDirectory", "/nowhere"),
        ("MaxStartups", "1"),
    ] {
        let for_one = format!("Match LocalPort 22\n  {keyword} {value}\n");
        let all = config().set(keyword, value).text();
        trace(&|world| world.configure(&all));
        if !["KexAlgorithms", "MaxStartups"].contains(&keyword) {
            trace(&|world| world.configure(&(config().text() + &for_one)));
        }
    }
    trace(&|world| fs::remove_file(TRUST_STORE).unwrap_or_else(|_| world.instance.remove(TRUST_STORE)));
    trace(&|world| world.instance.remove("/etc/passwd"));
    // An attempt that was refused for a reason that has a command for the account.
    let refused = log_line(9, "sshd[7]: User alice not allowed because account is locked");
    trace(&|world| world.instance.write("/var/log/auth.log", &refused));
}
