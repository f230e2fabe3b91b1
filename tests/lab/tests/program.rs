//! The laboratory as a program: what it prints, how it ends, and that it leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test"
)]
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The demo with a script instead of eic-keys.
fn demo(name: &str, script: &str) -> (Command, PathBuf) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(directory.join("tmp")).unwrap();
    let program = directory.join("eic-keys");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = lab();
    command.arg("demo").env("EIC_KEYS_BIN", program).env("TMPDIR", directory.join("tmp"));
    (command, directory)
}

fn lab() -> Command {
    Command::new(env!("CARGO_BIN_EXE_eic-lab"))
}

/// Whether a process with these arguments is running.
fn is_running(arguments: &str) -> bool {
    let wanted = arguments.replace(' ', "\0") + "\0";
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
}

fn waits_until(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    condition()
}

#[test]
fn help_is_printed_and_wrong_arguments_are_refused() {
    let help = lab().arg("--help").output().unwrap();
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("Usage: eic-lab demo"));
    let nonsense = lab().arg("nonsense").output().unwrap();
    assert_eq!(nonsense.status.code(), Some(2));
    assert!(nonsense.stdout.is_empty() && String::from_utf8_lossy(&nonsense.stderr).contains("Usage:"));
}

#[test]
fn the_demo_fails_if_no_key_logs_in() {
    let (mut command, directory) = demo("nobody", "exit 0");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains('✗') && said.contains("NOT all went as it should"), "{said}");
    assert!(said.contains("  ✓") && said.contains("refused"), "{said}");
    assert_eq!(fs::read_dir(directory.join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_missing_program_is_reported_with_a_fix() {
    let output = lab().arg("demo").env("EIC_KEYS_BIN", "/nonexistent/eic-keys").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/eic-keys"));
    let output =
        lab().arg("demo").env_remove("EIC_KEYS_BIN").env("CARGO_TARGET_DIR", "/nonexistent").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("make build"));
}

#[test]
fn a_missing_tool_is_reported_with_its_package() {
    let (mut command, _) = demo("tool", "exit 0");
    let output = command.env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("install the package openssh-client"), "{said}");
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    for (number, signal) in [Signal::SIGINT, Signal::SIGTERM].into_iter().enumerate() {
        // A unique argument of sleep identifies the process.
        let sleep = format!("sleep 1{number}{}", std::process::id());
        let (mut command, directory) = demo(&format!("interrupt-{number}"), &format!("exec {sleep}"));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(waits_until(|| is_running(&sleep)), "the demo runs the program");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(signal as i32), "{said}");
        assert_eq!(said, format!("\neic-lab: {signal}: cleaning up\n"));
        assert!(!is_running(&sleep), "the program is gone");
        assert_eq!(fs::read_dir(directory.join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn sigkill_leaves_no_sshd_behind() {
    let sleep = format!("sleep 12{}", std::process::id());
    let (mut command, _) = demo("killed", &format!("exec {sleep}"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let sshd = |stat: &str| {
        let parent = format!(") S {} ", child.id());
        stat.contains("(sshd)") && stat.contains(&parent)
    };
    let running = |wanted: &dyn Fn(&str) -> bool| -> Vec<PathBuf> {
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        processes
            .filter(|path| fs::read_to_string(path.join("stat")).is_ok_and(|stat| wanted(&stat)))
            .collect()
    };
    assert!(waits_until(|| is_running(&sleep)), "the demo runs the program");
    let listener = running(&sshd);
    assert_eq!(listener.len(), 1, "{listener:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(waits_until(|| !listener.iter().any(|path| path.exists())), "sshd is gone");
    // A login in progress is not ended with sshd's listener, but by its own time limit. Do not wait for it.
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if line.trim_end_matches('\0').replace('\0', " ") == sleep {
            let id = entry.file_name().to_string_lossy().parse().unwrap();
            kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
        }
    }
}

/// Some systems forbid it: by sysctl, by AppArmor, or in a container.
fn ordinary_users_make_namespaces() -> bool {
    Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args([
            "unshare",
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            "mount",
            "-t",
            "tmpfs",
            "none",
            "/run",
        ])
        .current_dir("/")
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn without_root_the_demo_runs_the_program_or_reports_why_not() {
    // Another user of the machine must be able to reach the program and the script.
    let (_, directory) = demo("ordinary", "exit 0");
    let place = std::env::temp_dir().join(format!("eic-lab-ordinary-{}", std::process::id()));
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    // cp writes it: a child of another test could inherit a descriptor of ours that is open for writing, and then it cannot be run.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_eic-lab"))
        .arg(directory.join("eic-keys"))
        .arg(&place)
        .status();
    assert!(copied.unwrap().success());
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(place.join("eic-lab"))
        .arg("demo")
        .env("EIC_KEYS_BIN", place.join("eic-keys"))
        .current_dir("/")
        .output();
    fs::remove_dir_all(&place).unwrap();
    let output = output.unwrap();
    let (said, missing) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !ordinary_users_make_namespaces() {
        // Then it reports that it cannot run.
        assert_eq!((output.status.code(), said.as_ref()), (Some(2), ""), "{missing}");
        assert!(missing.contains("does not let ordinary users make namespaces"), "{missing}");
        assert!(missing.contains("run it as root"), "{missing}");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{said}{missing}");
    assert!(said.contains("Without root") && said.contains("eic-keys alice SHA256:"), "{said}");
}
