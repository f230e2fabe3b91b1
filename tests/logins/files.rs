//! Log files: their formats, rotation, and lines that any user can have written.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use eic_keys::limits;
use eic_lab::Instance;
use serde_json::{Value, json as value};

use crate::{ANNA, BERT, accepted, document, fingerprint, json, members, notes, provided, run};

/// Lines of a file: of sshd with this program name, of eic-keys, at this time.
fn lines(time: &str, sshd: &str, lines: &[(u32, String)]) -> String {
    let line = |(pid, message): &(u32, String)| {
        let program =
            if message.starts_with("Provid") || message.starts_with("Refused") { "eic-keys" } else { sshd };
        format!("{time} ip-10-0-0-1 {program}[{pid}]: {message}\n")
    };
    lines.iter().map(line).collect()
}

/// A login that lasted no time.
fn login(time: &str, sshd: &str, number: u32, user: &str, principal: &str) -> String {
    let key = fingerprint(number);
    let mut all =
        provided(number + 2_000_000, number + 1_000_000, user, &key, &format!("r{number}"), principal)
            .to_vec();
    all.push((number + 2_000_000, accepted(user, "192.0.2.1", &key)));
    all.push((
        number + 2_000_000,
        format!("pam_unix(sshd:session): session opened for user {user}(uid=1000) by (uid=0)"),
    ));
    all.push((number + 2_000_000, format!("pam_unix(sshd:session): session closed for user {user}")));
    lines(time, sshd, &all)
}

fn instance(log: &str) -> Instance {
    let instance = Instance::start();
    instance.namespace().cover("/var/log");
    instance.remove("/var/log/secure");
    instance.remove("/usr/bin/journalctl");
    instance.write("/var/log/auth.log", log);
    instance
}

/// On a terminal, a line shows how much of a log was read that takes longer than a second, and is removed at the end.
#[test]
fn a_large_log_shows_its_progress() {
    let instance = instance(&login("Jan  1 00:00:01", "sshd", 1, "ec2-user", ANNA));
    let on_terminal = || instance.command(["--logins"]).as_root().env("TERM", "xterm").on_terminal().run();
    let small = on_terminal();
    assert_eq!((small.status, small.stderr.as_str()), (Some(0), ""));
    instance.namespace().assert_here();
    let file = fs::File::create("/var/log/auth.log.1").unwrap();
    // 24 GiB take less than the second after which progress is shown, on a fast machine.
    file.set_len(96 << 30).unwrap();
    let large = on_terminal();
    assert_eq!((large.status, &large.stdout), (small.status, &small.stdout));
    let erase = "\r\u{1b}[K";
    let shown: Vec<_> = large.stderr.split(erase).collect();
    let ["", lines @ .., ""] = shown.as_slice() else { panic!("{large:?}") };
    let percent =
        |line: &&str| line.strip_prefix("reading the log: ")?.strip_suffix(" %")?.parse::<u8>().ok();
    let percents: Option<Vec<_>> = lines.iter().map(percent).collect();
    assert!(
        percents.is_some_and(|all| !all.is_empty() && all.is_sorted() && all.iter().all(|one| *one <= 100)),
        "{large:?}"
    );
    // Not in a file or a pipe.
    document(&run(&instance, &["--json"]));
}

/// The time format and the program names of each release.
#[test]
fn each_release_of_openssh_and_of_rsyslog() {
    let day = |text: &str| Command::new("date").args(["-u", text]).output().unwrap().stdout;
    let year = String::from_utf8(day("+%Y")).unwrap().trim_end().to_owned();
    let log = [
        // Traditional times are in local time.
        login("Jan  1 00:00:01", "sshd", 1, "ec2-user", ANNA),
        login(&format!("{year}-01-01T01:00:02.123456+01:00"), "sshd-session", 2, "admin", BERT),
        login(&format!("{year}-01-01T00:00:03Z"), "sshd-auth", 3, "admin", BERT),
    ];
    let instance = instance(&log.concat());
    instance.write("/etc/localtime", "");
    let report = json(&instance, &[]);
    assert_eq!((&report["source"], &report["trusted"]), (&value!("files"), &value!(false)));
    assert!(
        report["summary"]
            .as_str()
            .unwrap()
            .contains("Any local user, and a client of some services, can have such lines written")
    );
    assert_eq!(
        members(&report, ["time", "user", "principal", "request", "state", "seconds"]),
        [
            [
                value!(format!("{year}-01-01T00:00:01Z")),
                value!("ec2-user"),
                value!(ANNA),
                value!("r1"),
                value!("ended"),
                value!(0)
            ],
            [
                value!(format!("{year}-01-01T00:00:02.123456Z")),
                value!("admin"),
                value!(BERT),
                value!("r2"),
                value!("ended"),
                value!(0)
            ],
            [
                value!(format!("{year}-01-01T00:00:03Z")),
                value!("admin"),
                value!(BERT),
                value!("r3"),
                value!("ended"),
                value!(0)
            ],
        ]
    );
    let of = |arguments: &[&str]| members(&json(&instance, arguments), ["request"]).concat();
    assert_eq!(of(&["--user", "ec2-user"]), ["r1"]);
    assert_eq!(of(&["--user", "nobody"]), [Value::Null; 0]);
    assert_eq!(of(&["--since", &format!("{year}-01-01T00:00:03Z")]), ["r3"]);
    assert_eq!(of(&["--since", &format!("{year}-01-01")]).len(), 3);
    assert_eq!(of(&["--until", &format!("{year}-01-01T00:00:02Z")]), ["r1", "r2"]);
    assert_eq!(of(&["--until", &format!("{year}-01-01")]), [Value::Null; 0]);
}

/// A login that spans a rotation, and times without a year in old files.
#[test]
fn rotated_files() {
    let instance = instance("");
    let put = |name: &str, text: &str, day: &str, tool: Option<&str>| {
        instance.write(format!("/var/log/{name}"), "");
        instance.namespace().assert_here();
        let bytes = match tool {
            None => text.as_bytes().to_vec(),
            Some(tool) => {
                let mut child =
                    Command::new(tool).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
                child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
                child.wait_with_output().unwrap().stdout
            }
        };
        fs::write(format!("/var/log/{name}"), bytes).unwrap();
        let file = fs::OpenOptions::new().write(true).open(format!("/var/log/{name}")).unwrap();
        let seconds = Command::new("date").args(["-d", day, "+%s"]).output().unwrap().stdout;
        let seconds: u64 = String::from_utf8(seconds).unwrap().trim().parse().unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    };
    let key = fingerprint(9);
    let before = lines("Mar  1 23:59:59", "sshd", &provided(1_000_009, 5, "alice", &key, "r9", ANNA));
    let after = lines("Mar  2 00:00:00", "sshd", &[(1_000_009, accepted("alice", "192.0.2.1", &key))]);
    put("auth.log.3.xz", &login("Dec 31 23:00:00", "sshd", 1, "alice", ANNA), "2024-01-01 UTC", Some("xz"));
    put("auth.log.2.gz", &login("Feb  1 00:00:00", "sshd", 2, "alice", ANNA), "2024-02-02 UTC", Some("gzip"));
    put("auth.log.1", &before, "2024-03-02 UTC", None);
    put("auth.log", &after, "2024-03-03 UTC", None);
    put("auth.log.old", &login("Feb  1 00:00:00", "sshd", 3, "alice", ANNA), "2024-02-02 UTC", None);
    instance.write("/etc/localtime", "");
    let report = json(&instance, &[]);
    assert_eq!(
        members(&report, ["time", "request"]),
        [
            [value!("2023-12-31T23:00:00Z"), value!("r1")],
            [value!("2024-02-01T00:00:00Z"), value!("r2")],
            [value!("2024-03-02T00:00:00Z"), value!("r9")],
        ]
    );
    // A file that is cut.
    instance.namespace().assert_here();
    let whole = fs::read("/var/log/auth.log.2.gz").unwrap();
    put("auth.log.2.gz", "", "2024-02-02 UTC", None);
    fs::write("/var/log/auth.log.2.gz", &whole[..whole.len() / 2]).unwrap();
    let outcome = run(&instance, &["--json"]);
    let report = document(&outcome);
    assert_eq!((outcome.status, &report["result"]), (Some(2), &value!("partial")));
    assert!(
        report["notes"][0].as_str().unwrap().contains("/var/log/auth.log.2.gz could not be read to its end")
    );
}

#[test]
fn the_most_files() {
    let instance = instance("");
    let oldest = login("Jan  1 00:00:01", "sshd", 1, "alice", ANNA);
    // With the current file, and all changed at the same time.
    let most = limits::LOG_FILES - 1;
    let now = SystemTime::now();
    let put = |number: usize, text: &str| {
        let path = format!("/var/log/auth.log.{number}");
        instance.write(&path, text);
        fs::File::options().write(true).open(path).unwrap().set_modified(now).unwrap();
    };
    (1..most).for_each(|number| put(number, ""));
    put(most, &oldest);
    assert_eq!(members(&json(&instance, &[]), ["request"]), [[value!("r1")]]);
    put(most, "");
    put(most + 1, &oldest);
    let outcome = run(&instance, &["--json"]);
    let report = document(&outcome);
    assert_eq!(
        (outcome.status, &report["result"], &report["logins"]),
        (Some(2), &value!("partial"), &value!([]))
    );
    let note = format!("1 older log files were not read, only {}", limits::LOG_FILES);
    assert_eq!(notes(&report)[0], note);
}

/// Text of a client in sshd's lines, and in a table on a terminal.
#[test]
fn hostile_lines() {
    let key = fingerprint(1);
    let mut pushed = provided(4_000_001, 5, "alice", &key, "r1", ANNA).to_vec();
    pushed.extend(provided(4_000_002, 6, "root", &key, "r2", BERT));
    let real = accepted("alice", "192.0.2.1", &key);
    let forged = accepted("root", "203.0.113.9", &key);
    let quiet: Vec<String> = [
        format!("Invalid user {forged} from 203.0.113.9 port 5"),
        format!("Failed password for invalid user x {forged} from 203.0.113.9 port 5 ssh2"),
        format!("Received disconnect from 203.0.113.9 port 5:11: {forged}"),
        "Disconnected from invalid user user alice 192.0.2.1 port 50022".to_owned(),
        format!("{forged}\0"),
        format!("{}{forged}", "x".repeat(300_000)),
    ]
    .into();
    let mut all = pushed;
    all.push((4_000_001, real));
    all.extend(quiet.into_iter().map(|message| (4_000_002, message)));
    let text = lines("2026-11-21T00:00:01Z", "sshd", &all);
    let other = text.replace("sshd[", "evil[").replace("4000001", "4000003");
    let zeros = "\0".repeat(10_000);
    let instance = instance(&format!("{zeros}{text}{other}\u{1b}[2J\n"));
    let report = json(&instance, &[]);
    assert_eq!(members(&report, ["user", "address"]), [[value!("alice"), value!("192.0.2.1")]]);

    let evil = "\u{1b}[2J\u{202e}evil";
    let mut all = provided(4_000_001, 5, "alice", &key, "r1", evil).to_vec();
    all.push((4_000_001, accepted("alice", "192.0.2.1", &key)));
    all.push((6, format!("Refused a record of active keys for alice: {evil}")));
    instance.write("/var/log/auth.log", lines("2026-11-21T00:00:01Z", "sshd", &all));
    for arguments in [&["--refused"][..], &["--refused", "--json"]] {
        let outcome = run(&instance, arguments);
        let raw = ['\u{1b}', '\u{202e}'];
        assert!(outcome.stdout.contains("evil") && !outcome.stdout.contains(raw), "{outcome:?}");
    }
    assert_eq!(json(&instance, &[])["logins"][0]["principal"], evil);
}

/// The client of a program that logs without a number chooses text of its lines: here a name for FTP.
#[test]
fn a_tag_within_a_message() {
    let key = fingerprint(1);
    let mut all = provided(4_000_001, 5, "root", &key, "r1", BERT).to_vec();
    all.push((4_000_001, accepted("root", "203.0.113.9", &key)));
    all.push((6, "Refused a record of active keys for root: it expired 1 s ago".to_owned()));
    let instance = instance("");
    for time in ["2026-11-21T00:00:01Z", "Nov 21 00:00:01"] {
        let text = lines(time, "sshd", &all);
        let forged = text.replace(" ip-10-0-0-1 ", " ip-10-0-0-1 vsftpd: pam_unix(vsftpd:auth): ruser=x ");
        for (text, count) in [(text, 1), (forged, 0)] {
            instance.write("/var/log/auth.log", text);
            let report = json(&instance, &["--refused"]);
            let counts = ["logins", "refused"].map(|list| report[list].as_array().unwrap().len());
            assert_eq!(counts, [count; 2], "{time}");
        }
    }
}

/// Each note is complete, however many there are.
#[test]
fn many_notes() {
    let instance = instance("");
    for number in 1..=20 {
        instance.write(format!("/var/log/auth.log.{number}.gz"), "this is not a compressed file");
    }
    let outcome = run(&instance, &[]);
    assert_eq!(outcome.status, Some(2));
    assert_eq!(outcome.stdout.matches("could not be read to its end").count(), 20, "{}", outcome.stdout);
    assert!(outcome.stdout.contains("Any local user, and"), "{}", outcome.stdout);
}

/// The newest are listed, and the output has the option that lists the others.
#[test]
fn more_logins_than_are_listed() {
    let time = |number: u32| {
        let second = number / 10;
        format!("2026-11-21T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
    };
    let log: String = (0..20_013).map(|number| login(&time(number), "sshd", number, "alice", ANNA)).collect();
    let instance = instance(&log);
    let report = json(&instance, &[]);
    assert_eq!(report["logins"].as_array().unwrap().len(), 20_000);
    let until = time(13).replace('Z', ".000000Z");
    let note = format!("13 older ones are left out: list them with --until {until}");
    assert!(report["notes"].as_array().unwrap().contains(&value!(note)), "{}", report["notes"]);
    let requests = members(&json(&instance, &["--until", &until]), ["request"]).concat();
    let expected: Vec<_> = (0..20).map(|number| format!("r{number}")).collect();
    assert_eq!(requests, expected);
}

/// The output does not lead to the same logins again, and says which cannot be listed.
#[test]
fn more_logins_in_one_second_than_are_listed() {
    let mut log = login("2026-11-21T00:00:00Z", "sshd", 0, "alice", ANNA);
    log.extend((1..=20_013).map(|number| login("2026-11-21T00:00:01Z", "sshd", number, "alice", ANNA)));
    let instance = instance(&log);
    let outcome = run(&instance, &["--json"]);
    let report = document(&outcome);
    assert_eq!((outcome.status, report["logins"].as_array().unwrap().len()), (Some(2), 20_000));
    let until = "2026-11-21T00:00:00.999999Z";
    for note in [
        &format!("14 older ones are left out: list them with --until {until}"),
        "some of those at 2026-11-21T00:00:01.000000Z cannot be listed, because they are too many",
    ] {
        assert!(report["notes"].as_array().unwrap().contains(&value!(note)), "{}", report["notes"]);
    }
    assert_eq!(members(&json(&instance, &["--until", until]), ["request"]), [[value!("r0")]]);
}

#[test]
fn times_within_a_second() {
    let log = [(1, "1.700000"), (2, "2"), (3, "2.500000")].map(|(number, second)| {
        login(&format!("2026-11-21T00:00:0{second}Z"), "sshd", number, "alice", ANNA)
    });
    let instance = instance(&log.concat());
    let times = |arguments: &[&str]| {
        let times = members(&json(&instance, arguments), ["time"]).concat();
        times.iter().map(|time| time.as_str().unwrap().split_at(18).1.to_owned()).collect::<Vec<_>>()
    };
    for (option, time, expected) in [
        ("--since", "01Z", &["1.700000Z", "2Z", "2.500000Z"][..]),
        ("--since", "01.7Z", &["1.700000Z", "2Z", "2.500000Z"]),
        ("--since", "01.700001Z", &["2Z", "2.500000Z"]),
        ("--until", "01Z", &["1.700000Z"]),
        ("--until", "01.699Z", &[]),
        // A time without a fraction is the whole second, as the table shows times.
        ("--until", "02Z", &["1.700000Z", "2Z", "2.500000Z"]),
        ("--until", "02.0Z", &["1.700000Z", "2Z"]),
    ] {
        assert_eq!(times(&[option, &format!("2026-11-21T00:00:{time}")]), expected, "{option} {time}");
    }
}

/// Lines that were lost or changed do not make a login disappear.
#[test]
fn a_login_whose_lines_are_not_complete() {
    let key = fingerprint(1);
    let mut all = provided(4_000_001, 5, "alice", &key, "r1", ANNA).to_vec();
    all.push((4_000_001, accepted("alice", "192.0.2.1", &key)));
    let whole = lines("2026-11-21T00:00:01Z", "sshd", &all);
    let instance = instance(&whole.replace('\n', "\r\n"));
    assert_eq!(members(&json(&instance, &[]), ["principal", "request"]), [[ANNA, "r1"]], "ends of lines");
    let long = whole.replace(ANNA, &"a".repeat(3_000));
    let (_, lost) = whole.split_once('\n').unwrap();
    for log in [long.as_str(), lost] {
        instance.write("/var/log/auth.log", log);
        let report = json(&instance, &[]);
        assert_eq!(members(&report, ["principal", "request"]), [[Value::Null, Value::Null]]);
        let note =
            "1 login has no principal, because the line of eic-keys that names it was lost or is too long";
        assert!(notes(&report).contains(&note), "{report}");
    }
}

/// Only sshd and eic-keys write these lines, and never without a name.
#[test]
fn lines_without_names() {
    let key = fingerprint(1);
    let mut all = provided(4_000_001, 5, "", &key, "", "").to_vec();
    all.extend(provided(4_000_001, 5, "alice", &key, "", ""));
    all.push((4_000_001, accepted("", "192.0.2.1", &key)));
    all.push((6, "Refused a record of active keys for : it expired 1 s ago".to_owned()));
    all.push((6, format!("Refused a record of active keys for alice: , fingerprint: {key}")));
    all.push((4_000_001, accepted("alice", "192.0.2.1", &key)));
    let report = json(&instance(&lines("2026-11-21T00:00:01Z", "sshd", &all)), &["--refused"]);
    assert_eq!(
        members(&report, ["user", "principal", "request"]),
        [[value!("alice"), Value::Null, Value::Null]]
    );
    assert_eq!(report["refused"], value!([]));
}

/// A file that cannot be read is named, and the exit status tells.
#[test]
fn files_that_are_skipped() {
    let instance = instance(&login("2026-11-21T00:00:01Z", "sshd", 1, "alice", ANNA));
    instance.namespace().assert_here();
    fs::create_dir("/var/log/auth.log.1").unwrap();
    std::os::unix::fs::symlink("/nonexistent", "/var/log/auth.log.2").unwrap();
    std::os::unix::fs::symlink("auth.log.3", "/var/log/auth.log.3").unwrap();
    std::os::unix::fs::symlink("/dev/zero", "/var/log/auth.log.4").unwrap();
    assert!(Command::new("mkfifo").arg("/var/log/auth.log.5").status().unwrap().success());
    let outcome = run(&instance, &["--json"]);
    let report = document(&outcome);
    assert_eq!((outcome.status, &report["result"]), (Some(2), &value!("partial")));
    assert_eq!(members(&report, ["request"]), [["r1"]]);
    for number in 1..=5 {
        let name = format!("/var/log/auth.log.{number} could not be read: ");
        assert!(notes(&report).iter().any(|note| note.starts_with(&name)), "{name}: {report}");
    }
    // Only such files.
    instance.remove("/var/log/auth.log");
    let outcome = run(&instance, &["--json"]);
    assert_eq!((outcome.status, &document(&outcome)["result"]), (Some(2), &value!("partial")));
}

/// Whichever of the two files the syslog daemon writes; and the same lines in several files.
#[test]
fn a_login_in_several_files() {
    let log = login("2026-11-21T00:00:01Z", "sshd", 1, "alice", ANNA);
    let instance = instance("");
    instance.write("/var/log/secure", &log);
    let listed = |instance: &Instance| members(&json(instance, &[]), ["request", "state"]);
    assert_eq!(listed(&instance), [["r1", "ended"]], "auth.log is empty");
    for name in ["auth.log", "auth.log.1", "secure-20261121"] {
        instance.write(format!("/var/log/{name}"), &log);
    }
    instance.namespace().assert_here();
    assert!(Command::new("gzip").arg("--keep").arg("/var/log/auth.log.1").status().unwrap().success());
    assert_eq!(listed(&instance), [["r1", "ended"]]);
    instance.write("/var/log/secure", login("2026-11-21T00:00:02Z", "sshd", 2, "alice", ANNA));
    assert_eq!(listed(&instance), [["r1", "ended"], ["r2", "ended"]]);
}

/// A file that was restored without its time.
#[test]
fn a_file_without_a_time() {
    let instance = instance(&login("Jan  1 00:00:01", "sshd", 1, "alice", ANNA));
    instance.write("/etc/localtime", "");
    instance.namespace().assert_here();
    fs::File::options()
        .write(true)
        .open("/var/log/auth.log")
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    for arguments in [&[][..], &["--since", "530w"]] {
        let report = json(&instance, arguments);
        assert_eq!(members(&report, ["request"]), [["r1"]], "{arguments:?}");
        let note = "/var/log/auth.log has no modification time";
        assert!(notes(&report).iter().any(|line| line.starts_with(note)), "{report}");
    }
}

/// The number of a process that has ended can be that of a user's, which can have any name.
#[test]
fn a_session_that_is_open_is_roots() {
    let instance = instance("");
    instance.namespace().assert_here();
    fs::copy("/bin/sleep", "/var/log/sshd").unwrap();
    for (user, state) in [(0, "open"), (65534, "ended")] {
        let mut sshd = Command::new("/var/log/sshd").arg("60").uid(user).spawn().unwrap();
        let key = fingerprint(1);
        let mut all = provided(sshd.id(), 5, "alice", &key, "r1", ANNA).to_vec();
        all.push((sshd.id(), accepted("alice", "192.0.2.1", &key)));
        let now = Command::new("date").args(["-u", "-d", "2 seconds", "+%FT%TZ"]).output().unwrap().stdout;
        instance.write("/var/log/auth.log", lines(String::from_utf8(now).unwrap().trim(), "sshd", &all));
        let report = json(&instance, &[]);
        sshd.kill().unwrap();
        sshd.wait().unwrap();
        assert_eq!(members(&report, ["state"]), [[state]], "{user}");
    }
}

#[test]
fn wrong_times_and_names() {
    let instance = instance("");
    for (arguments, reason) in [
        (&["--since", "2026-11-22", "--until", "2026-11-21"][..], "--since is later than --until"),
        (&["--until", "2h", "--since", "1h"], "--since is later than --until"),
        (&["--since", "1h", "--since", "2h"], "--since is given more than once"),
        (&["--user", ""], "--user : not the name of a user"),
        (&["--since", "2026-11-21T00:00:00+99:99"], "or RFC 3339 such as"),
        (&["--since", "2026-02-29"], "a date such as"),
    ] {
        let outcome = run(&instance, &[&["--json"], arguments].concat());
        let report = document(&outcome);
        assert_eq!((outcome.status, &report["result"]), (Some(2), &value!("not-run")), "{arguments:?}");
        assert!(report["summary"].as_str().unwrap().contains(reason), "{report}");
    }
}

#[test]
fn the_table() {
    let long =
        format!("arn:aws:sts::123412341234:assumed-role/{}/anna@example.com", "Administrator".repeat(4));
    let request = "20dca9a5-35be-48eb-b381-0272d0e2976c";
    let key = fingerprint(1);
    let mut all = provided(4_000_001, 5, "alice", &key, request, &long).to_vec();
    let address = "2001:db8:1111:2222:3333:4444:5555:6666";
    all.push((4_000_001, accepted("alice", address, &key)));
    let twice = fingerprint(2);
    all.extend(provided(4_000_002, 6, "bob", &twice, request, ANNA));
    all.extend(provided(4_000_002, 7, "bob", &twice, request, BERT));
    all.push((4_000_002, accepted("bob", "192.0.2.1", &twice)));
    let instance = instance(&lines("2026-11-21T00:00:01Z", "sshd", &all));
    instance.write("/etc/localtime", "");
    let piped = run(&instance, &[]);
    assert_eq!(piped.status, Some(0));
    let rows: Vec<&str> = piped.stdout.lines().collect();
    assert_eq!(rows.len(), 5, "a heading, a line for each login, two notes: {}", piped.stdout);
    for word in ["2026-11-21T00:00:01+00:00", "alice", address, "ended", &key, &long, request] {
        assert!(rows[1].contains(word), "{word}: {}", rows[1]);
    }
    assert!(rows[2].contains(&format!("one of: {ANNA} or {BERT}")), "{}", rows[2]);
    assert!(rows[4].starts_with("# Any local user"), "{}", rows[4]);
}

#[test]
fn nothing_to_list() {
    let instance = instance("");
    let empty = run(&instance, &[]);
    assert_eq!(empty.status, Some(0));
    assert!(empty.stdout.starts_with("No login with a pushed key in log files."), "{}", empty.stdout);
    assert_eq!(json(&instance, &["--refused"])["refused"], value!([]));
    let user = instance.command(["--logins", "--json"]).run();
    assert_eq!((user.status, &document(&user)["summary"]), (Some(2), &value!("only root can read the log")));
    let wrong = run(&instance, &["--json", "--since", "yesterday"]);
    assert_eq!((wrong.status, &document(&wrong)["result"]), (Some(2), &value!("not-run")));
    instance.remove("/var/log/auth.log");
    let none = run(&instance, &[]);
    assert_eq!((none.status, none.stdout.as_str()), (Some(2), ""));
    assert!(none.stderr.contains("there is no log to read"), "{}", none.stderr);
}
