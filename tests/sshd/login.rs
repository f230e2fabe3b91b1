//! Logins through a real sshd: after `--enable`, with pushed keys and with the keys of the other command; after
//! `--disable`, with the latter only.
//!
//! The sshd of this machine, or that of the root that `EIC_SSHD_ROOT` names (`tests/openssh`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "a test may panic"
)]

use std::{
    fs,
    io::Read,
    net::TcpStream,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::helpers::{Operation, disable, enable, refused, run};
use eic_keys::sshd::{self, EnableOptions, EnableOutcome};
use eic_lab::run::PROGRAM;
use eic_lab::sshd::{Config, Sshd, built, sshd_version};
use eic_lab::{Instance, Key, UserKey};

const MAIN: &str = "/etc/ssh/sshd_config";
const SYSTEMCTL: &str = "/usr/bin/eic-lab-systemctl";

/// The command that sshd runs before `--enable`.
const OTHER_COMMAND: &str = "/usr/bin/eic-lab-other";

/// Installs [`OTHER_COMMAND`], which prints a key if its only argument is this word of the shell.
fn install_other_command(instance: &Instance, key: &UserKey, argument: &str) {
    let script = format!("#!/bin/sh\n[ \"$*\" = {argument} ] && echo '{}'\n", key.line());
    instance.install(OTHER_COMMAND, script.as_bytes());
}

/// The configuration of an sshd with a PID file and this command.
fn config(command: &str, user: &str) -> Config {
    Config::new()
        .set("PidFile", "/run/eic-lab/sshd.pid")
        .set("AuthorizedKeysCommand", command)
        .set("AuthorizedKeysCommandUser", user)
}

/// Options with a stand-in for systemctl: ssh.service is active, and its reload sends SIGHUP, as that of the real unit.
fn with_unit(instance: &Instance) -> EnableOptions {
    instance.write("/run/systemd/system/eic-lab", "");
    install_systemctl(instance, "reload*) kill -HUP $pid;; show*) echo MainPID=$pid; echo CanReload=yes;;");
    EnableOptions { systemctl: vec![SYSTEMCTL.into()], ..EnableOptions::system(false, true) }
}

/// Installs the stand-in for systemctl, with these cases of a shell's `case`.
fn install_systemctl(instance: &Instance, cases: &str) {
    let script = format!(
        "#!/bin/sh\npid=$(cat /run/eic-lab/sshd.pid)\ncase $* in *socket*) echo inactive;; is-active*) echo active;; {cases} esac\n"
    );
    instance.install(SYSTEMCTL, script.as_bytes());
}

/// Runs an operation, which must succeed and reload the unit, and waits until sshd listens again.
fn run_and_reload(sshd: &Sshd<'_>, options: &EnableOptions, operation: Operation) {
    let starts = || sshd.log().iter().filter(|line| line.contains("Server listening")).count();
    let before = starts();
    let (outcome, output) = run(operation, options);
    assert_eq!(outcome, EnableOutcome::Done, "{output}");
    assert!(output.contains("ssh.service was reloaded"), "{output}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while starts() == before {
        assert!(Instant::now() < deadline, "sshd does not listen again: {:#?}", sshd.log());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Checks whether alice can log in with a key.
#[track_caller]
fn check(sshd: &Sshd<'_>, key: &UserKey, logs_in: bool) {
    let outcome = sshd.ssh("alice", key, "id -un");
    assert_eq!(outcome.stdout.trim() == "alice", logs_in, "{}\n{:#?}", outcome.stderr, sshd.log());
}

#[test]
fn pushed_keys_and_keys_of_the_chained_command_log_in() {
    let instance = Instance::start();
    let (pushed, other) = (UserKey::ed25519(), UserKey::ed25519());
    // sshd gives the name of the user to a command without arguments. So does eic-keys.
    install_other_command(&instance, &other, "alice");
    let options = with_unit(&instance);
    let sshd = Sshd::start_with(&instance, &config(OTHER_COMMAND, "nobody"));
    let before = fs::read(MAIN).unwrap();
    instance.push("alice", &pushed);
    check(&sshd, &other, true);
    check(&sshd, &pushed, false);

    run_and_reload(&sshd, &options, sshd::enable);
    check(&sshd, &pushed, true);
    check(&sshd, &other, true);

    run_and_reload(&sshd, &options, sshd::disable);
    check(&sshd, &other, true);
    check(&sshd, &pushed, false);
    assert_eq!(before, fs::read(MAIN).unwrap());
}

/// sshd expands `%u` in AuthorizedKeysCommandUser: the user that logs in runs both commands.
#[test]
fn chains_a_command_that_runs_as_the_user_who_logs_in() {
    let instance = Instance::start();
    let (pushed, other) = (UserKey::ed25519(), UserKey::ed25519());
    install_other_command(&instance, &other, "\"$(id -un)\"");
    let options = with_unit(&instance);
    let sshd = Sshd::start_with(&instance, &config(&format!("{OTHER_COMMAND} %u"), "%u"));
    let before = fs::read(MAIN).unwrap();
    instance.push("alice", &pushed);
    check(&sshd, &other, true);
    run_and_reload(&sshd, &options, sshd::enable);
    check(&sshd, &pushed, true);
    check(&sshd, &other, true);
    run_and_reload(&sshd, &options, sshd::disable);
    check(&sshd, &other, true);
    check(&sshd, &pushed, false);
    assert_eq!(before, fs::read(MAIN).unwrap());
}

/// While a name service is unavailable, sshd does not find its users. `--if-user-missing` changes nothing then, because
/// the users come back. A command that `--enable` left out meanwhile is chained again afterwards.
#[test]
fn keeps_a_command_whose_user_is_in_an_unavailable_name_service() {
    let instance = Instance::start();
    let install_getent = |status: &str| {
        let script = format!(
            "#!/bin/sh\n[ \"$*\" = 'passwd -- svc' ] || exit 2\n{status}\necho 'svc:x:4242:4242::/:/bin/false'\n"
        );
        instance.install("/usr/bin/getent", script.as_bytes());
    };
    instance.install(OTHER_COMMAND, b"#!/bin/sh\n");
    let options = with_unit(&instance);
    let watch = EnableOptions { if_user_missing: true, recheck_delay: Duration::ZERO, ..options.clone() };
    let sshd = Sshd::start_with(&instance, &config(&format!("{OTHER_COMMAND} %u"), "svc"));
    let unchanged = || {
        let before = fs::read(MAIN).unwrap();
        assert_eq!(enable(&watch), "");
        assert_eq!(fs::read(MAIN).unwrap(), before);
    };
    install_getent("");
    run_and_reload(&sshd, &options, sshd::enable);
    let together = fs::read_to_string(MAIN).unwrap();
    assert!(together.contains("\n# A user of a name service, not of /etc/passwd: svc\n"), "{together}");
    unchanged();
    install_getent("exit 2");
    unchanged();
    // Without --if-user-missing, the command is left out.
    run_and_reload(&sshd, &options, sshd::enable);
    let without = fs::read_to_string(MAIN).unwrap();
    assert!(
        without.contains("\n# Left out, as its user svc does not exist: /usr/bin/eic-lab-other %u\n"),
        "{without}"
    );
    unchanged();
    install_getent("");
    run_and_reload(&sshd, &watch, sshd::enable);
    assert_eq!(together, fs::read_to_string(MAIN).unwrap());
    // A user counts as existing if the name service does not answer in time.
    install_getent("exec sleep 30");
    let output = enable(&options);
    assert_eq!(together, fs::read_to_string(MAIN).unwrap(), "{output}");
}

/// Without OpenSSL, sshd has Ed25519 keys only.
fn has_rsa() -> bool {
    let Some(root) = built() else { return true };
    let version = Command::new(root.join("usr/sbin/sshd")).arg("-V").output().unwrap().stderr;
    !String::from_utf8(version).unwrap().contains("without OpenSSL")
}

/// The version that the running sshd sends.
fn banner() -> String {
    let mut banner = [0; 64];
    let read = TcpStream::connect("127.0.0.1:22").unwrap().read(&mut banner).unwrap();
    String::from_utf8_lossy(&banner[..read]).trim().to_owned()
}

#[test]
fn only_keys_that_were_pushed_for_the_user_log_in() {
    let instance = Instance::start();
    let options = with_unit(&instance);
    let sshd = Sshd::start_with(&instance, &config("none", "nobody"));
    let (major, minor) = sshd_version();
    let banner = banner();
    assert!(banner.starts_with(&format!("SSH-2.0-OpenSSH_{major}.{minor}")), "{major}.{minor}: {banner}");
    eprintln!("{banner}");
    let before = fs::read(MAIN).unwrap();
    run_and_reload(&sshd, &options, sshd::enable);
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
    run_and_reload(&sshd, &options, sshd::disable);
    check(&sshd, &keys[0], false);
    assert_eq!(before, fs::read(MAIN).unwrap());
}

#[test]
fn refuses_if_the_only_sshd_has_another_main_file() {
    let instance = Instance::start();
    let options = with_unit(&instance);
    let sshd = Sshd::start_with(&instance, &Config::new().set("PidFile", "/run/eic-lab/sshd.pid"));
    // The running sshd has -f MAIN, which is not the main file here.
    let main = "/etc/ssh/main_config";
    fs::copy(MAIN, main).unwrap();
    let options = EnableOptions { main: main.into(), ..options };
    let before = fs::read(main).unwrap();
    let reason = refused(sshd::enable, &options);
    assert!(
        reason.starts_with("the only running sshd, process ")
            && reason.contains(&format!(" with -f {MAIN}, does not read {main}")),
        "{reason}"
    );
    assert_eq!(before, fs::read(main).unwrap());
    drop(sshd);

    // Without that sshd, it is not refused.
    enable(&EnableOptions { dry_run: true, ..options });
}

#[test]
fn a_pushed_key_logs_in_without_another_command() {
    let instance = Instance::start();
    let pushed = UserKey::ed25519();
    let options = with_unit(&instance);
    let sshd = Sshd::start_with(&instance, &config("none", "nobody"));
    instance.push("alice", &pushed);
    check(&sshd, &pushed, false);
    run_and_reload(&sshd, &options, sshd::enable);
    check(&sshd, &pushed, true);
    run_and_reload(&sshd, &options, sshd::disable);
    check(&sshd, &pushed, false);
}

/// Each user has the patterns of the first line that applies to it, before and after `--enable`.
#[test]
fn users_have_the_principals_of_their_match_block() {
    const ANNA: &str = "arn:aws:sts::123412341234:assumed-role/ops/anna";
    const ROOT: &str = "arn:aws:sts::123412341234:assumed-role/admin/rita";
    let instance = Instance::start();
    let command = |pattern: &str| format!("{PROGRAM} --principal {pattern} %u %f");
    let ops = command("arn:aws:sts::123412341234:assumed-role/ops/*");
    let admin = command("arn:aws:sts::123412341234:assumed-role/admin/*");
    let block = format!("User bob\nAuthorizedKeysCommand {admin}\nAuthorizedKeysCommandUser eic-keys");
    let options = with_unit(&instance);
    let sshd = Sshd::start_with(&instance, &config(&ops, "eic-keys").set("Match", &block));
    let before = fs::read(MAIN).unwrap();
    for when in ["before --enable", "after --enable"] {
        for (user, caller, logs_in) in
            [("alice", ANNA, true), ("alice", ROOT, false), ("bob", ANNA, false), ("bob", ROOT, true)]
        {
            let key = UserKey::ed25519();
            instance.publish(user, &instance.record(&key).set("Caller", caller));
            let outcome = sshd.ssh(user, &key, "id -un");
            assert_eq!(outcome.stdout.trim() == user, logs_in, "{when}: {user} {caller}: {}", outcome.stderr);
        }
        let output = enable(&options);
        assert_eq!(fs::read(MAIN).unwrap(), before, "{output}");
    }
}

/// Starts another sshd, which runs until the laboratory ends.
fn start_another(arguments: &[&str], port: u16) {
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

/// The ports on which alice can log in with a key.
fn ports_with_login(sshd: &Sshd<'_>, key: &UserKey, ports: &[u16]) -> Vec<u16> {
    let logs_in = |port: &u16| {
        let login = sshd.login("alice").key(key).option(&format!("Port={port}"));
        login.option("HostKeyAlias=127.0.0.1").run("id -un").stdout.trim() == "alice"
    };
    ports.iter().copied().filter(logs_in).collect()
}

const SECOND: &str = "/etc/ssh/second_config";

/// Several sshds with various options, without systemd.
#[test]
fn every_sshd_that_reads_our_lines_is_reloaded() {
    let instance = Instance::start();
    let (pushed, other) = (UserKey::ed25519(), UserKey::ed25519());
    install_other_command(&instance, &other, "alice");
    let options = EnableOptions::system(false, true);
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
        "/etc/ssh/sshd_config.d/50-other.conf",
        format!("AuthorizedKeysCommand {OTHER_COMMAND} %u\nAuthorizedKeysCommandUser nobody\n"),
    );
    start_another(&["-D", "-o", "PidFile=none"], 2222);
    start_another(&["-D", "-f", SECOND], 2223);
    start_another(&["-Df/etc/ssh/third_config", "-oLogLevel INFO"], 2224);
    // Without -D, it continues in a child process.
    start_another(&["-o", "PidFile=none"], 2225);
    start_another(&["-D", "-f", "/etc/ssh/apart_config"], 2226);
    let ports = [22, 2222, 2223, 2224, 2225];
    instance.push("alice", &pushed);
    assert_eq!(
        ports_with_login(&sshd, &other, &ports),
        ports[1..],
        "the first sshd has not read the drop-in yet"
    );

    let output = enable(&options);
    assert_eq!(output.matches("was sent SIGHUP and has read its configuration again").count(), 5, "{output}");
    assert_eq!(output.matches("another sshd is running").count(), 1, "{output}");
    assert!(!output.contains("WARNING"), "{output}");
    assert_eq!(ports_with_login(&sshd, &pushed, &ports), ports);
    assert_eq!(ports_with_login(&sshd, &other, &ports), ports);

    // This sshd would exit at SIGHUP, and keep our lines without it.
    instance.write(SECOND, format!("Bogus\n{main}"));
    let reason = refused(sshd::disable, &options);
    assert!(reason.contains("would keep the lines of eic-keys") && reason.contains(SECOND), "{reason}");
    assert_eq!(ports_with_login(&sshd, &pushed, &ports), ports);
    instance.write(SECOND, &main);

    disable(&options);
    assert_eq!(ports_with_login(&sshd, &other, &ports), ports);
    assert_eq!(ports_with_login(&sshd, &pushed, &ports), [0; 0]);

    // --enable names an sshd that cannot be reloaded, which keeps its old settings.
    instance.write(SECOND, format!("Bogus\n{main}"));
    let output = enable(&options);
    assert!(output.contains("WARNING: not reloaded: sshd (process ") && output.contains(SECOND), "{output}");
    assert_eq!(ports_with_login(&sshd, &pushed, &ports), [22, 2222, 2224, 2225]);
    assert_eq!(ports_with_login(&sshd, &other, &ports), ports);
}

#[test]
fn sends_sighup_if_the_unit_cannot_be_reloaded() {
    for show in ["CanReload=no", "LoadState=masked"] {
        let instance = Instance::start();
        let pushed = UserKey::ed25519();
        let options = with_unit(&instance);
        install_systemctl(&instance, &format!("reload*) exit 1;; show*) echo MainPID=$pid; echo {show};;"));
        let config =
            Config::new().set("PidFile", "/run/eic-lab/sshd.pid").set("AuthorizedKeysCommand", "none");
        let sshd = Sshd::start_with(&instance, &config);
        instance.push("alice", &pushed);
        let signalled = ", ssh.service) was sent SIGHUP";
        let output = enable(&options);
        assert!(output.contains(signalled), "{output}");
        check(&sshd, &pushed, true);
        let output = disable(&options);
        assert!(output.contains(signalled), "{output}");
        check(&sshd, &pushed, false);
    }
}

/// Any user can start a process with the name sshd and any arguments. It must not prevent `--enable` and `--disable`.
#[test]
fn ignores_a_process_named_sshd_of_another_user() {
    let instance = Instance::start();
    let options = with_unit(&instance);
    let config = Config::new().set("PidFile", "/run/eic-lab/sshd.pid").set("AuthorizedKeysCommand", "none");
    let sshd = Sshd::start_with(&instance, &config);
    // A shell with the file name sshd, which ignores the arguments after its command.
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
    run_and_reload(&sshd, &options, sshd::enable);
    run_and_reload(&sshd, &options, sshd::disable);
    for process in &mut processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
