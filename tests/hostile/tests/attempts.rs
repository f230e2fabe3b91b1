//! What an attacker tries who has taken over the process: it works without the sandbox and fails in it.
//!
//! Needs Linux 6.7 or later, as Landlock's rules for TCP do.

use std::net::TcpListener;
use std::process::Command;

/// The attempts, and the error in the sandbox.
const ATTEMPTS: [(&str, &str); 34] = [
    ("run a program", "not permitted"),
    ("become another program", "not permitted"),
    ("split", "not permitted"),
    ("start a thread", "not permitted"),
    ("read a file", "not permitted"),
    ("list a directory", "not permitted"),
    ("write a file", "not permitted"),
    ("make a file", "not permitted"),
    ("connect to another port", "denied"),
    ("use another protocol than TCP's default", "not permitted"),
    ("listen", "not permitted"),
    ("send a datagram", "not permitted"),
    ("speak to a local service", "not permitted"),
    ("send a signal", "not permitted"),
    ("stop itself by another's name", "not permitted"),
    ("make code", "not permitted"),
    ("turn data into code", "not permitted"),
    ("take much memory", "memory allocation failed"),
    ("open many descriptors", "Too many open files"),
    ("have the kernel signal another", "not permitted"),
    ("have the kernel signal another's group", "not permitted"),
    ("have the kernel signal another, by a structure", "not permitted"),
    ("choose that signal", "not permitted"),
    ("switch it on", "not permitted"),
    ("switch it on by ioctl", "not permitted"),
    ("signal another by ioctl", "not permitted"),
    ("be signalled when the time has come", "not permitted"),
    ("copy a descriptor", "not permitted"),
    ("set an option of a connection", "not permitted"),
    ("read an option of a connection", "not permitted"),
    ("handle a signal", "not permitted"),
    ("wait on a lock", "not permitted"),
    ("share memory", "not permitted"),
    ("dump core", "not permitted"),
];

/// Two listeners at adjacent ports: the second one is the metadata service's.
fn ports() -> (TcpListener, TcpListener, u16) {
    for port in 20_000..30_000 {
        let bind = |port: u16| TcpListener::bind(("127.0.0.1", port));
        if let (Ok(other), Ok(imds)) = (bind(port), bind(port + 1)) {
            return (other, imds, port + 1);
        }
    }
    panic!("no two ports are free");
}

fn tries(mode: &str, attempt: &str, port: u16) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_eic-hostile"))
        .args([mode, &port.to_string(), attempt])
        .output()
        .expect("eic-hostile");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{mode}, {attempt}: {}, {said}", output.status);
    said
}

#[test]
fn forbidden_actions_fail_and_work_without_the_sandbox() {
    let (_other, _imds, port) = ports();
    for (attempt, refusal) in ATTEMPTS {
        assert_eq!(tries("free", attempt, port), "done", "free, {attempt}");
        for mode in ["confined", "chained"] {
            let said = tries(mode, attempt, port);
            assert!(said.contains(refusal) && !said.contains('\n'), "{mode}, {attempt}: {said}");
        }
    }
}

/// If the trust store is a directory, files may be read; everything else fails as before, or with Landlock's error.
#[test]
fn permission_to_read_files_permits_nothing_else() {
    let (_other, _imds, port) = ports();
    assert_eq!(tries("reading", "read a file", port), "done");
    for (attempt, refusal) in ATTEMPTS.into_iter().filter(|(attempt, _)| *attempt != "read a file") {
        let said = tries("reading", attempt, port);
        let refused = said.contains(refusal) || (attempt == "list a directory" && said.contains("denied"));
        assert!(refused && !said.contains('\n'), "{attempt}: {said}");
    }
}

#[test]
fn allowed_actions_still_work() {
    let (_other, _imds, port) = ports();
    for mode in ["free", "confined", "chained", "reading"] {
        assert_eq!(tries(mode, "own work", port), "done", "{mode}");
    }
    assert_eq!(tries("chained", "child", port), "done", "the chained command can be stopped");
    assert_eq!(tries("free", "thread", port), "done", "one thread of several");
}

#[test]
fn every_other_system_call_is_refused() {
    let (_other, _imds, port) = ports();
    assert_eq!(tries("confined", "every call", port), "done");
}
