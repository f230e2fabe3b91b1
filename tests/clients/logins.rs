//! `--logins` and CloudTrail's events: which call of the API each login belongs to, by the commands of docs/logins.md.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, net::TcpStream, path::Path, thread};

use eic_lab::client::{DEVELOPER, Desk, OPERATOR, path};
use eic_lab::instance::INSTANCE;
use eic_lab::sshd::{CONFIG, Login};
use eic_lab::{Instance, Outcome, Sshd, UserKey};
use serde_json::Value;

use super::{push, stays_out, succeeded, world};

const PORT: u16 = 2222;

/// Another sshd, which writes to the system log. It ends with the laboratory.
fn start_logging_sshd() -> Child {
    let mut sshd = Command::new("/usr/sbin/sshd");
    let sshd = sshd.args(["-D", "-f", CONFIG, "-p", &PORT.to_string()]);
    let child = sshd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", PORT)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "sshd does not listen");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

fn login<'a>(sshd: &'a Sshd<'_>, user: &str, key: &UserKey) -> Login<'a> {
    sshd.login(user).key(key).option(&format!("Port={PORT}")).option("HostKeyAlias=127.0.0.1")
}

/// Writes /var/log/auth.log, as rsyslog does where there is no journal.
fn file_the_log(instance: &Instance) {
    instance.namespace().cover("/var/log");
    instance.install("/usr/bin/journalctl", b"#!/bin/sh\nexit 1\n");
    let text: String = instance.journal.lines().iter().map(eic_lab::journal::Line::filed).collect();
    instance.write("/var/log/auth.log", text);
}

/// The commands of a section of the document: the indented lines.
fn commands(section: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logins.md");
    let document = fs::read_to_string(file).unwrap();
    let rest = document.split(&format!("\n## {section}\n")).nth(1).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with("    "));
    let lines = lines.map_while(|line| line.strip_prefix("    "));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn each_login_has_its_event_in_cloudtrail() {
    world(|instance, sshd, service, desk| {
        let mut logging = start_logging_sshd();
        let operator = Desk::of(instance, service, OPERATOR);
        let keys: Vec<UserKey> = (0..4).map(|_| UserKey::ed25519()).collect();
        let request = |outcome: Outcome| {
            let said: Value = serde_json::from_str(succeeded(&outcome)).unwrap();
            said["RequestId"].as_str().unwrap().to_owned()
        };
        // The developer's key, used twice; the operator's, used once; a key that is not used; a push that is denied.
        let twice = request(push(desk, "aws1", "alice", keys[0].line()));
        for _ in 0..2 {
            assert_eq!(succeeded(&login(sshd, "alice", &keys[0]).run("id -un")), "alice");
        }
        let once = request(push(&operator, "aws2", "bob", keys[1].line()));
        assert_eq!(succeeded(&login(sshd, "bob", &keys[1]).run("id -un")), "bob");
        request(push(desk, "aws2", "bob", keys[2].line()));
        assert_ne!(push(&operator, "aws1", "alice", keys[3].line()).status, Some(0));
        stays_out(sshd, "alice", &keys[3]);
        // A login by authorized_keys belongs to no push.
        sshd.authorize("alice", &keys[3]);
        assert_eq!(succeeded(&login(sshd, "alice", &keys[3]).run("id -un")), "alice");
        file_the_log(instance);

        let developer = service.principal(DEVELOPER).arn;
        let role = service.principal(OPERATOR).arn;
        let (logins, joined) = joined(desk, instance);
        let of = |login: &Value| {
            ["user", "address", "principal", "request", "fingerprint"]
                .map(|name| login[name].as_str().unwrap().to_owned())
        };
        let expected = [
            ["alice", "127.0.0.1", &developer, &twice, keys[0].fingerprint()],
            ["alice", "127.0.0.1", &developer, &twice, keys[0].fingerprint()],
            ["bob", "127.0.0.1", &role, &once, keys[1].fingerprint()],
        ];
        let told: Vec<_> = logins["logins"].as_array().unwrap().iter().map(of).collect();
        assert_eq!(told, expected.map(|row| row.map(str::to_owned)), "{logins:#}");
        assert_eq!((&logins["source"], &logins["trusted"]), (&"files".into(), &false.into()));
        // The time of the login differs, and is cut here.
        // CloudTrail's times have seconds: two events of one second have no order.
        let rows = |joined: &str| joined.lines().map(without_times).collect::<BTreeSet<_>>();
        let login = "login at from 127.0.0.1, ended";
        let expected = BTreeSet::from([
            format!("{developer} alice 127.0.0.1 {login} {login}"),
            format!("{role} bob 127.0.0.1 {login}"),
            format!("{developer} bob 127.0.0.1 no login"),
            format!("{role} alice 127.0.0.1 AuthException"),
        ]);
        assert_eq!((rows(&joined), joined.lines().count()), (expected, 4), "{joined}");

        // A line that somebody wrote, with a request that CloudTrail does not know.
        let log = fs::read_to_string("/var/log/auth.log").unwrap();
        instance.write("/var/log/auth.log", log.replace(&once, "12345678-1234-1234-1234-123456789abc"));
        let (_, joined) = self::joined(desk, instance);
        assert!(rows(&joined).contains(&format!("{role} bob 127.0.0.1 no login")), "{joined}");
        assert!(rows(&joined).contains(&format!("{role} bob 127.0.0.1 login without an event")), "{joined}");
        logging.kill().unwrap();
        logging.wait().unwrap();
    });
}

/// Runs the commands of the document. Returns the document of `--logins`, and the joined lines.
fn joined(desk: &Desk<'_>, instance: &Instance) -> (Value, String) {
    let commands = commands("The events in CloudTrail");
    assert!(commands.contains(INSTANCE) && commands.contains(" lookup-events "), "{commands}");
    let aws = format!("#!/bin/sh\nexec '{}' \"$@\"\n", path("aws1").display());
    instance.install("/usr/bin/aws", aws.as_bytes());
    instance.install("/usr/bin/sudo", b"#!/bin/sh\nexec \"$@\"\n");
    let script = format!("set -e\ncd /run/eic-lab\n{commands}");
    let joined = succeeded(&desk.client("sh", ["-c", &script]).run()).to_owned();
    let logins = fs::read_to_string("/run/eic-lab/logins.json").unwrap();
    (serde_json::from_str(&logins).unwrap(), joined)
}

/// A line without its times, and with blanks.
fn without_times(line: &str) -> String {
    let is_time = |word: &&str| word.starts_with("20") && word.ends_with('Z');
    line.split(['\t', ' ']).filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ")
}
