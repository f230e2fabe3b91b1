//! `eic-lab serve`: clients of the machine itself, outside of the disguise, log in through its loopback.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

use eic_lab::client;
use eic_lab::instance::INSTANCE;
use eic_lab::service::cloud::ENDPOINT;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// A directory for this test.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Gives the calling thread a loopback of its own, so that no port is taken.
fn own_loopback() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
}

fn serve(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eic-lab"));
    command.arg("serve").args(arguments).stdin(Stdio::null());
    command
}

/// `eic-lab serve`, which is ended with its test, even if that fails.
struct Serve {
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Serve {
    /// Starts it, and reads its output until it is ready.
    fn start(directory: &Path) -> Self {
        let mut child = serve(&[directory.to_str().unwrap()]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut started = Self { child, lines: Box::new(lines) };
        assert!(started.lines.any(|line| line.contains("up to Ctrl-C")), "it does not begin");
        started
    }

    fn terminate(&mut self) -> ExitStatus {
        // After wait(), another process can have the id.
        if self.child.try_wait().unwrap().is_none() {
            kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// Runs a line in a shell as the instructions say; `$lab` is the directory.
fn person(directory: &Path, line: &str) -> Output {
    let path = format!("{}:/usr/bin:/bin", client::path("aws1").parent().unwrap().display());
    Command::new("timeout")
        .args(["60", "sh", "-euc", &format!(". ./environment\n{line}")])
        .current_dir(directory)
        .env_clear()
        .env("PATH", path)
        .env("ssh", "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile=known_hosts")
        .output()
        .unwrap()
}

#[track_caller]
fn assert_says(output: &Output, text: &str) {
    assert!(output.status.success(), "{output:#?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), text, "{output:#?}");
}

/// What `serve` has written, once it has printed this number of pushes and tunnels: it looks for new ones a few times a second.
#[track_caller]
fn told_events(place: &Path, each: usize) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(place.join("events.json")).unwrap();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let events: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let named = |name: &str| events.iter().filter(|event| event["eventName"] == name).count();
        let told = (named("SendSSHPublicKey"), named("OpenTunnel"));
        if told == (each, each) {
            return events;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{told:?} after {:?}: {text}", start.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn each_client_logs_in_from_this_machine() {
    own_loopback();
    let place = directory("serve");
    let mut serve = Serve::start(&place);
    let push = format!(
        "ssh-keygen -q -t ed25519 -N '' -f key && aws1 ec2-instance-connect send-ssh-public-key --output text \
         --instance-id {INSTANCE} --instance-os-user alice --ssh-public-key file://key.pub --query Success"
    );
    assert_says(&person(&place, &push), "True");
    assert_says(&person(&place, "$ssh -i key -p 4582 alice@127.0.0.1 id -un"), "alice");
    let mssh = format!(
        "mssh -r us-east-1 -z us-east-1a -t {INSTANCE} -o UserKnownHostsFile=known_hosts -p 4582 bob@127.0.0.1 whoami"
    );
    assert_says(&person(&place, &mssh), "bob");
    let tunnel = format!("aws2 ec2-instance-connect open-tunnel --instance-id {INSTANCE}");
    let proxy = "export HTTPS_PROXY=http://127.0.0.1:4581\n";
    assert_says(
        &person(&place, &format!("{proxy}$ssh -i key -o ProxyCommand='{tunnel}' alice@127.0.0.1 id -un")),
        "alice",
    );
    let by_name = "--private-ip-address 127.0.0.1 --instance-connect-endpoint-dns-name localhost";
    let tunnel = format!("{tunnel} {by_name} --instance-connect-endpoint-id {ENDPOINT}");
    assert_says(
        &person(&place, &format!("$ssh -i key -o ProxyCommand='{tunnel}' alice@127.0.0.1 id -un")),
        "alice",
    );

    // What it printed: each push, and the log line with the push's request-id.
    let events = told_events(&place, 2);
    assert_eq!(serve.terminate().signal(), Some(15));
    let told: Vec<String> = serve.lines.by_ref().collect();
    for event in events.iter().filter(|event| event["eventName"] == "SendSSHPublicKey") {
        let request = event["requestID"].as_str().unwrap();
        let with = |start: &str| told.iter().any(|line| line.starts_with(start) && line.contains(request));
        assert!(with("call   SendSSHPublicKey") && with("log    info: Providing ssh key"), "{told:#?}");
    }
}

#[test]
fn it_listens_only_on_loopback() {
    let place = directory("serve-elsewhere");
    for address in ["0.0.0.0", "::", "192.0.2.1", "169.254.169.254"] {
        let refused = serve(&["--listen", address, place.to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{address}: {said}");
        assert!(
            said.contains(&format!("{address} is not loopback, and the laboratory listens nowhere else")),
            "{said}"
        );
    }
}

#[test]
fn errors_are_reported() {
    own_loopback();
    let place = directory("serve-refusals");
    let policy = place.join("policy.json");
    fs::write(&policy, "{\"Principals\": [], \"Principal\": []}").unwrap();
    let (place, policy) = (place.to_str().unwrap(), policy.to_str().unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:4581").unwrap();
    for (arguments, says) in [
        (&[][..], "say in which directory"),
        (&["--port", "65535", place], "--port: 1 to 65533"),
        (&["--listen", "here", place], "--listen needs an address"),
        (&["--loud", place], "there is no option --loud"),
        (&[place, place], "one argument too many"),
        (&["--policy", "/nonexistent", place], "/nonexistent: No such file"),
        (&["--policy", policy, place], "the file has Principal, which is not known here"),
        (&[place], "cannot listen on 127.0.0.1:4581"),
    ] {
        let refused = serve(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    drop(taken);
}
