//! Logins with AWS's own unmodified clients: through the laboratory's service, the real sshd, and the shipped
//! binary as its AuthorizedKeysCommand. `prepare` in this directory installs the clients.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a failed test tells what it saw")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use eic_lab::client::Desk;
use eic_lab::instance::INSTANCE;
use eic_lab::{Instance, Outcome, Service, Sshd, UserKey};

mod aged;
mod endpoint;
mod keys;
mod logins;
mod others;

/// An instance with an sshd, the service, and the environment of a developer who uses the clients.
fn world(test: impl FnOnce(&Instance, &Sshd<'_>, &Service, &Desk<'_>)) {
    let instance = Instance::start();
    let sshd = Sshd::start(&instance);
    let service = Service::start(&instance);
    let desk = Desk::new(&instance, &service);
    let tested = catch_unwind(AssertUnwindSafe(|| test(&instance, &sshd, &service, &desk)));
    if let Err(panic) = tested {
        eprintln!(
            "sshd: {:#?}\nlog: {:#?}\ncalls: {:#?}",
            sshd.log(),
            instance.journal.lines(),
            service.events()
        );
        resume_unwind(panic);
    }
}

/// Checks that a client succeeded. Returns what it printed.
#[track_caller]
fn succeeded(outcome: &Outcome) -> &str {
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    outcome.stdout.trim_end()
}

/// Pushes a key for a user of the instance with this client, `aws1` or `aws2`; the key is a line, or `file://` and a path.
fn push(desk: &Desk<'_>, client: &str, user: &str, key: &str) -> Outcome {
    let line = format!(
        "ec2-instance-connect send-ssh-public-key --instance-id {INSTANCE} --instance-os-user {user}"
    );
    desk.client(client, line.split(' ').chain(["--ssh-public-key", key])).run()
}

/// Checks that `ssh -i` is refused with the usual message.
#[track_caller]
fn stays_out(sshd: &Sshd<'_>, user: &str, key: &UserKey) {
    let outcome = sshd.ssh(user, key, "id -un");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(255), ""), "{outcome:#?}");
    assert!(outcome.stderr.contains("Permission denied (publickey)"), "{outcome:#?}");
}
