//! One sshd, both kinds of key: after `--enable` a pushed key and the other command's key log in, after
//! `--disable` the other's alone.
//!
//! The machine's sshd, or that of the root that `EIC_SSHD_ROOT` names (`tests/openssh`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "a test stops at the first surprise"
)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use eic_keys::sshd::wiring::{self, WiringOptions, WiringOutcome};
use eic_lab::sshd::{Config, Sshd, built, sshd_version};
use eic_lab::{Instance, Key, UserKey};

const MAIN: &str = "/etc/ssh/sshd_config";
const SYSTEMCTL: &str = "/usr/bin/eic-lab-systemctl";

/// sshd has no unit here; this stands for one: it says that it runs, and reloads it by signal, as the real
/// unit does.
fn unit(instance: &Instance) -> WiringOptions {
    instance.write("/run/systemd/system/eic-lab", "");
    systemctl(instance, "reload*) kill -HUP $pid;; show*) echo MainPID=$pid; echo CanReload=yes;;");
    WiringOptions { systemctl: vec![SYSTEMCTL.into()], ..WiringOptions::system(false, true) }
}

fn systemctl(instance: &Instance, cases: &str) {
    let script = format!(
        "#!/bin/sh\npid=$(cat /run/eic-lab/sshd.pid)\ncase $* in *socket*) echo inactive;; is-active*) echo active;; {cases} esac\n"
    );
    instance.install(SYSTEMCTL, script.as_bytes());
}

fn wire(sshd: &Sshd<'_>, options: &WiringOptions, how: fn(&WiringOptions, &mut dyn Write) -> WiringOutcome) {
    let listening = || sshd.log().iter().filter(|line| line.contains("Server listening")).count();
    let before = listening();
    let mut said = Vec::new();
    let outcome = how(options, &mut said);
    let said = String::from_utf8(said).unwrap();
    assert_eq!(outcome, WiringOutcome::Done, "{said}");
    assert!(said.contains("ssh.service was reloaded"), "{said}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while listening() == before {
        assert!(Instant::now() < deadline, "sshd did not come back: {:#?}", sshd.log());
        thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn check(sshd: &Sshd<'_>, key: &UserKey, enters: bool) {
    let outcome = sshd.ssh("alice", key, "id -un");
    assert_eq!(outcome.stdout.trim() == "alice", enters, "{}\n{:#?}", outcome.stderr, sshd.log());
}

#[test]
fn both_kinds_of_key_through_one_sshd() {
    let instance = Instance::start();
    let (pushed, theirs) = (UserKey::ed25519(), UserKey::ed25519());
    // Without arguments it is given the user's name by sshd; behind ours it must be, too.
    let script = format!("#!/bin/sh\n[ \"$*\" = alice ] && echo '{}'\n", theirs.line());
    instance.install("/usr/bin/eic-lab-theirs", script.as_bytes());
    let options = unit(&instance);
    let config = Config::new()
        .set("PidFile", "/run/eic-lab/sshd.pid")
        .set("AuthorizedKeysCommand", "/usr/bin/eic-lab-theirs")
        .set("AuthorizedKeysCommandUser", "nobody");
    let sshd = Sshd::start_with(&instance, &config);
    let before = fs::read(MAIN).unwrap();
    instance.push("alice", &pushed);
    check(&sshd, &theirs, true);
    check(&sshd, &pushed, false);

    wire(&sshd, &options, wiring::enable);
    check(&sshd, &pushed, true);
    check(&sshd, &theirs, true);

    wire(&sshd, &options, wiring::disable);
    check(&sshd, &theirs, true);
    check(&sshd, &pushed, false);
    assert_eq!(before, fs::read(MAIN).unwrap());
}

/// sshd expands `%u` in AuthorizedKeysCommandUser: the user that logs in runs both.
#[test]
fn behind_ours_as_the_user_that_logs_in() {
    let instance = Instance::start();
    let (pushed, theirs) = (UserKey::ed25519(), UserKey::ed25519());
    let script = format!("#!/bin/sh\n[ \"$*\" = \"$(id -un)\" ] && echo '{}'\n", theirs.line());
    instance.install("/usr/bin/eic-lab-theirs", script.as_bytes());
    let options = unit(&instance);
    let config = Config::new()
        .set("PidFile", "/run/eic-lab/sshd.pid")
        .set("AuthorizedKeysCommand", "/usr/bin/eic-lab-theirs %u")
        .set("AuthorizedKeysCommandUser", "%u");
    let sshd = Sshd::start_with(&instance, &config);
    let before = fs::read(MAIN).unwrap();
    instance.push("alice", &pushed);
    check(&sshd, &theirs, true);
    wire(&sshd, &options, wiring::enable);
    check(&sshd, &pushed, true);
    check(&sshd, &theirs, true);
    wire(&sshd, &options, wiring::disable);
    check(&sshd, &theirs, true);
    check(&sshd, &pushed, false);
    assert_eq!(before, fs::read(MAIN).unwrap());
}

/// A directory that does not answer for a while: its user is as absent to sshd as one that was deleted, but comes back by itself. Nothing
/// is dropped meanwhile; what was left out when the directory was away is chained when it is back.
#[test]
fn the_user_of_a_name_service_is_away() {
    let instance = Instance::start();
    let answers = |status: &str| {
        let script = format!(
            "#!/bin/sh\n[ \"$*\" = 'passwd -- svc' ] || exit 2\n{status}\necho 'svc:x:4242:4242::/:/bin/false'\n"
        );
        instance.install("/usr/bin/getent", script.as_bytes());
    };
    instance.install("/usr/bin/eic-lab-theirs", b"#!/bin/sh\n");
    let options = unit(&instance);
    let watch = WiringOptions { if_user_missing: true, recheck_delay: Duration::ZERO, ..options.clone() };
    let config = Config::new()
        .set("PidFile", "/run/eic-lab/sshd.pid")
        .set("AuthorizedKeysCommand", "/usr/bin/eic-lab-theirs %u")
        .set("AuthorizedKeysCommandUser", "svc");
    let sshd = Sshd::start_with(&instance, &config);
    let unchanged = || {
        let before = fs::read(MAIN).unwrap();
        let mut said = Vec::new();
        assert_eq!(wiring::enable(&watch, &mut said), WiringOutcome::Done);
        assert_eq!((String::from_utf8(said).unwrap(), fs::read(MAIN).unwrap()), (String::new(), before));
    };
    answers("");
    wire(&sshd, &options, wiring::enable);
    let together = fs::read_to_string(MAIN).unwrap();
    assert!(together.contains("\n# A user of a name service, not of /etc/passwd: svc\n"), "{together}");
    unchanged();
    answers("exit 2");
    unchanged();
    // An administrator who asks for it is told, and gets it.
    wire(&sshd, &options, wiring::enable);
    let without = fs::read_to_string(MAIN).unwrap();
    assert!(
        without.contains("\n# Left out, as its user svc does not exist: /usr/bin/eic-lab-theirs %u\n"),
        "{without}"
    );
    unchanged();
    answers("");
    wire(&sshd, &watch, wiring::enable);
    assert_eq!(together, fs::read_to_string(MAIN).unwrap());
    // No answer is no proof.
    answers("exec sleep 30");
    let mut said = Vec::new();
    assert_eq!(wiring::enable(&options, &mut said), WiringOutcome::Done);
    assert_eq!(together, fs::read_to_string(MAIN).unwrap(), "{}", String::from_utf8_lossy(&said));
}

/// Without OpenSSL, sshd has Ed25519 keys only.
fn has_rsa() -> bool {
    let Some(root) = built() else { return true };
    let said = Command::new(root.join("usr/sbin/sshd")).arg("-V").output().unwrap().stderr;
    !String::from_utf8(said).unwrap().contains("without OpenSSL")
}

/// What the sshd that runs calls itself.
fn banner() -> String {
    let mut said = [0; 64];
    let read = TcpStream::connect("127.0.0.1:22").unwrap().read(&mut said).unwrap();
    String::from_utf8_lossy(&said[..read]).trim().to_owned()
}

#[test]
fn each_kind_of_pushed_key_and_nothing_else() {
    let instance = Instance::start();
    let options = unit(&instance);
    let config = Config::new()
        .set("PidFile", "/run/eic-lab/sshd.pid")
        .set("AuthorizedKeysCommand", "none")
        .set("AuthorizedKeysCommandUser", "nobody");
    let sshd = Sshd::start_with(&instance, &config);
    let (major, minor) = sshd_version();
    let banner = banner();
    assert!(banner.starts_with(&format!("SSH-2.0-OpenSSH_{major}.{minor}")), "{major}.{minor}: {banner}");
    eprintln!("{banner}");
    let before = fs::read(MAIN).unwrap();
    wire(&sshd, &options, wiring::enable);
    let mut keys = vec![UserKey::ed25519()];
    if has_rsa() {
        keys.push(UserKey::rsa(2048));
    }
    for key in &keys {
        check(&sshd, key, false);
        instance.push("alice", key);
        check(&sshd, key, true);
        assert!(sshd.ssh("bob", key, "id -un").stdout.is_empty(), "alice's key, for bob");
    }
    let forged = UserKey::ed25519();
    instance.imds.publish("alice", instance.record(&forged).signed_by(&Key::rsa2048(4)));
    check(&sshd, &forged, false);
    wire(&sshd, &options, wiring::disable);
    check(&sshd, &keys[0], false);
    assert_eq!(before, fs::read(MAIN).unwrap());
}

#[test]
fn only_a_daemon_with_another_file_runs() {
    let instance = Instance::start();
    let options = unit(&instance);
    let config = Config::new().set("PidFile", "/run/eic-lab/sshd.pid");
    let sshd = Sshd::start_with(&instance, &config);
    // To sshd's unit, another file is the main one.
    let main = "/etc/ssh/main_config";
    fs::copy(MAIN, main).unwrap();
    let options = WiringOptions { config: main.into(), ..options };
    let before = fs::read(main).unwrap();
    let mut said = Vec::new();
    let outcome = wiring::enable(&options, &mut said);
    let WiringOutcome::Refused(reason) = &outcome else { panic!("{outcome:?}") };
    assert!(
        reason.starts_with("the only running sshd, process ")
            && reason.contains(&format!(" with -f {MAIN}, does not read {main}")),
        "{reason}"
    );
    assert_eq!(said, b"");
    assert_eq!(before, fs::read(main).unwrap());
    drop(sshd);

    // Without it nothing speaks against the main file.
    let options = WiringOptions { dry_run: true, ..options };
    let outcome = wiring::enable(&options, &mut said);
    assert_eq!(outcome, WiringOutcome::Done, "{outcome:?}");
}

#[test]
fn where_nothing_was_set_a_pushed_key_logs_in() {
    let instance = Instance::start();
    let pushed = UserKey::ed25519();
    let options = unit(&instance);
    let config = Config::new()
        .set("PidFile", "/run/eic-lab/sshd.pid")
        .set("AuthorizedKeysCommand", "none")
        .set("AuthorizedKeysCommandUser", "nobody");
    let sshd = Sshd::start_with(&instance, &config);
    instance.push("alice", &pushed);
    check(&sshd, &pushed, false);
    wire(&sshd, &options, wiring::enable);
    check(&sshd, &pushed, true);
    wire(&sshd, &options, wiring::disable);
    check(&sshd, &pushed, false);
}

/// Another sshd beside the first, until the laboratory ends.
fn another(arguments: &[&str], port: u16) {
    let quiet = Stdio::null;
    let mut sshd = Command::new("/usr/sbin/sshd");
    let sshd = sshd.args(arguments).args(["-p", &port.to_string()]);
    drop(sshd.stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{arguments:?}: it does not listen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// On which of these ports a key lets alice in.
fn entered(sshd: &Sshd<'_>, key: &UserKey, ports: &[u16]) -> Vec<u16> {
    let enters = |port: &u16| {
        let login = sshd.login("alice").key(key).option(&format!("Port={port}"));
        login.option("HostKeyAlias=127.0.0.1").run("id -un").stdout.trim() == "alice"
    };
    ports.iter().copied().filter(enters).collect()
}

const SECOND: &str = "/etc/ssh/second_config";

/// However many there are, with whatever options, and without systemd: none goes on with what is no longer there.
#[test]
fn every_sshd_that_reads_our_lines_is_told() {
    let instance = Instance::start();
    let (pushed, theirs) = (UserKey::ed25519(), UserKey::ed25519());
    let script = format!("#!/bin/sh\n[ \"$*\" = alice ] && echo '{}'\n", theirs.line());
    instance.install("/usr/bin/eic-lab-theirs", script.as_bytes());
    let options = WiringOptions::system(false, true);
    let config = Config::new();
    let sshd = Sshd::start_with(&instance, &config);
    let text = config.text();
    let rest = text.lines().filter(|line| !line.starts_with("AuthorizedKeysCommand"));
    let rest: String = rest.flat_map(|line| [line, "\n"]).collect();
    let main = format!("Include /etc/ssh/sshd_config.d/*.conf\n{rest}");
    instance.write(MAIN, &main);
    instance.write(SECOND, &main);
    instance.write("/etc/ssh/third_config", format!("Include {MAIN}\n"));
    instance.write("/etc/ssh/apart_config", &rest);
    instance.write(
        "/etc/ssh/sshd_config.d/50-theirs.conf",
        "AuthorizedKeysCommand /usr/bin/eic-lab-theirs %u\nAuthorizedKeysCommandUser nobody\n",
    );
    another(&["-D", "-o", "PidFile=none"], 2222);
    another(&["-D", "-f", SECOND], 2223);
    another(&["-Df/etc/ssh/third_config", "-oLogLevel INFO"], 2224);
    // Not a child of the one that started it.
    another(&["-o", "PidFile=none"], 2225);
    another(&["-D", "-f", "/etc/ssh/apart_config"], 2226);
    let ports = [22, 2222, 2223, 2224, 2225];
    instance.push("alice", &pushed);
    assert_eq!(entered(&sshd, &theirs, &ports), ports[1..], "the first has not read the second file yet");

    let said = |how: fn(&WiringOptions, &mut dyn Write) -> WiringOutcome| {
        let mut said = Vec::new();
        let outcome = how(&options, &mut said);
        (outcome, String::from_utf8(said).unwrap())
    };
    let (outcome, text) = said(wiring::enable);
    assert_eq!(outcome, WiringOutcome::Done, "{text}");
    assert_eq!(text.matches("was sent SIGHUP and has read its configuration again").count(), 5, "{text}");
    assert_eq!(text.matches("another sshd is running").count(), 1, "{text}");
    assert!(!text.contains("WARNING"), "{text}");
    assert_eq!(entered(&sshd, &pushed, &ports), ports);
    assert_eq!(entered(&sshd, &theirs, &ports), ports);

    // It would end at a signal, and go on with our lines without one.
    instance.write(SECOND, format!("Bogus\n{main}"));
    let (outcome, _) = said(wiring::disable);
    let WiringOutcome::Refused(reason) = &outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("would keep the lines of eic-keys") && reason.contains(SECOND), "{reason}");
    assert_eq!(entered(&sshd, &pushed, &ports), ports);
    instance.write(SECOND, &main);

    let (outcome, text) = said(wiring::disable);
    assert_eq!(outcome, WiringOutcome::Done, "{text}");
    assert_eq!(entered(&sshd, &theirs, &ports), ports);
    assert_eq!(entered(&sshd, &pushed, &ports), [0; 0]);

    // What cannot be told goes on as before, and is named.
    instance.write(SECOND, format!("Bogus\n{main}"));
    let (outcome, text) = said(wiring::enable);
    assert_eq!(outcome, WiringOutcome::Done, "{text}");
    assert!(text.contains("WARNING: not reloaded: sshd (process ") && text.contains(SECOND), "{text}");
    assert_eq!(entered(&sshd, &pushed, &ports), [22, 2222, 2224, 2225]);
    assert_eq!(entered(&sshd, &theirs, &ports), ports);
}

/// `--enable` or `--disable`.
type Way = fn(&WiringOptions, &mut dyn Write) -> WiringOutcome;

#[test]
fn a_unit_that_cannot_be_reloaded_is_told_by_signal() {
    for show in ["CanReload=no", "LoadState=masked"] {
        let instance = Instance::start();
        let pushed = UserKey::ed25519();
        let options = unit(&instance);
        systemctl(&instance, &format!("reload*) exit 1;; show*) echo MainPID=$pid; echo {show};;"));
        let config =
            Config::new().set("PidFile", "/run/eic-lab/sshd.pid").set("AuthorizedKeysCommand", "none");
        let sshd = Sshd::start_with(&instance, &config);
        instance.push("alice", &pushed);
        let ways: [(Way, bool); 2] = [(wiring::enable, true), (wiring::disable, false)];
        for (how, enters) in ways {
            let mut said = Vec::new();
            assert_eq!(how(&options, &mut said), WiringOutcome::Done);
            let said = String::from_utf8(said).unwrap();
            assert!(said.contains(", ssh.service) was sent SIGHUP"), "{said}");
            check(&sshd, &pushed, enters);
        }
    }
}

/// Any user can start a process of that name, with any words: it is no daemon, and keeps nobody from installing or removing.
#[test]
fn a_users_process_named_sshd_is_no_daemon() {
    let instance = Instance::start();
    let options = unit(&instance);
    let config = Config::new().set("PidFile", "/run/eic-lab/sshd.pid").set("AuthorizedKeysCommand", "none");
    let sshd = Sshd::start_with(&instance, &config);
    // dash takes any words behind its command; it keeps its name.
    fs::create_dir_all("/run/eic-lab-user").unwrap();
    fs::copy("/bin/sh", "/run/eic-lab-user/sshd").unwrap();
    let start = |words: &[&str]| {
        let mut process = Command::new("/run/eic-lab-user/sshd");
        let process = process.args(["-c", "read word", "sshd"]).args(words).uid(65534).stdin(Stdio::piped());
        process.spawn().unwrap()
    };
    let mut processes =
        [start(&["-o", "AuthorizedKeysCommand=/usr/bin/eic-keys"]), start(&["-f", "/etc/ssh/other_config"])];
    for process in &processes {
        let name = || fs::read_to_string(format!("/proc/{}/comm", process.id())).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while name() != "sshd\n" {
            assert!(Instant::now() < deadline, "{}", name());
            thread::sleep(Duration::from_millis(5));
        }
    }
    wire(&sshd, &options, wiring::enable);
    wire(&sshd, &options, wiring::disable);
    for process in &mut processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
