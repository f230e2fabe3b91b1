//! The demonstration: a pushed key logs in, and other keys do not. Each step is printed with its time.
use crate::instance::{INSTANCE, Instance, program};
use crate::interrupt;
use crate::key::Key;
use crate::pki::REGION;
use crate::record::RecordSpec;
use crate::sshd::{self, Sshd};
use crate::userkey::UserKey;
use std::time::Instant;

/// Runs the demonstration on stdout; `begun` is called as soon as there is something to clean up. Returns whether all
/// steps had the expected result.
///
/// # Errors
/// What is missing on this machine, and how to install it.
pub fn run(begun: impl FnOnce(&Instance)) -> Result<bool, String> {
    let program = program()?;
    sshd::check_tools(&["ip", "ssh-keygen"])?;
    println!("EC2 Instance Connect on this machine, without AWS\n");
    let mut tour = Tour { begun: Instant::now(), last: Instant::now(), pushed: 0, passed: 0, failed: 0 };
    let instance = Instance::start_with(&program);
    begun(&instance);
    tour.done(&format!("this machine is dressed up as {INSTANCE}, an EC2 instance in {REGION}"));
    detail("in namespaces of its own: nothing of the machine is touched, nothing listens outside");

    if instance.namespace().has_users() {
        sshd::check_tools(&["ssh", "sshd"])?;
        let sshd = Sshd::start(&instance);
        let (major, minor) = sshd::version();
        tour.done(&format!(
            "sshd (OpenSSH {major}.{minor}) listens there, and asks `eic-keys %u %f` for keys"
        ));
        tour.visit(&instance, &|user, keys| log_in(&sshd, user, keys));
    } else {
        detail("Without root there are no other users, and so no sshd to log in with: eic-keys is asked");
        detail("directly, as sshd would ask it. Run this as root to see real logins.");
        tour.visit(&instance, &|user, keys| ask(&instance, user, keys));
    }

    println!("\nWhat eic-keys wrote to the system log (authpriv):");
    if instance.namespace().has_users() {
        println!(
            "(A key that lets in is there twice: sshd asks when it is offered, and again when it signs.)"
        );
    }
    println!();
    for line in instance.journal.eic_keys() {
        println!("  {:8}{}", line.severity_name(), line.text);
    }
    Ok(tour.verdict())
}

/// Whether a login succeeded, and what shows it.
type Seen = (bool, String);
/// Tries keys, in this order, for a user.
type Try<'a> = &'a dyn Fn(&str, &[&UserKey]) -> Seen;
/// A change to a record before it is signed.
type Change<'a> = &'a dyn Fn(RecordSpec) -> RecordSpec;

/// With the real ssh.
fn log_in(sshd: &Sshd, user: &str, keys: &[&UserKey]) -> Seen {
    let login = keys.iter().fold(sshd.login(user), |login, key| login.key(key)).run("id -un");
    let said = if login.stdout.is_empty() { &login.stderr } else { &login.stdout };
    let said = said.trim_end().lines().last().unwrap_or("nothing");
    let came_in = login.status == Some(0) && login.stdout.trim_end() == user;
    (came_in, format!("ssh {user}@127.0.0.1 id -un  →  {said}"))
}

/// As sshd does: once for each offered key, up to the first one that is accepted.
fn ask(instance: &Instance, user: &str, keys: &[&UserKey]) -> Seen {
    for key in keys {
        let run = instance.run([user, key.fingerprint()]);
        let command = format!("eic-keys {user} {}", key.fingerprint());
        if run.status != Some(0) {
            return (false, format!("{command}  →  status {:?}", run.status));
        }
        if run.keys() == [key.line()] {
            return (true, format!("{command}  →  that key"));
        }
    }
    (false, format!("eic-keys {user} {}  →  no key", keys[0].fingerprint()))
}

struct Tour {
    begun: Instant,
    last: Instant,
    pushed: usize,
    passed: usize,
    failed: usize,
}

impl Tour {
    fn visit(&mut self, instance: &Instance, attempt: Try) {
        let (signer, forger) = (instance.pki().signer.key, Key::rsa2048(4));
        let unchanged: Change = &|record| record;

        println!("\nA key that was pushed lets its user in:\n");
        let key = UserKey::ed25519();
        self.done(&format!("a fresh ed25519 key, {}", key.fingerprint()));
        self.expect(false, "before it is pushed", attempt("alice", &[&key]));
        let request = self.push(instance, "alice", &key, unchanged, &signer);
        self.done(&format!("pushed for alice ({request}): signed, and published for 60 seconds"));
        self.expect(true, "now", attempt("alice", &[&key]));
        let other = UserKey::ed25519();
        self.expect(true, "with another key offered first", attempt("alice", &[&other, &key]));

        println!("\nNothing else does:\n");
        let bad: [(&str, Change, &Key); 3] = [
            ("pushed more than 60 seconds ago", &|record| record.expires_in(-1), &signer),
            ("forged: signed by another key", unchanged, &forger),
            ("pushed for another instance", &|record| record.set("Instance", "i-0fedcba9876543210"), &signer),
        ];
        for (what, change, by) in bad {
            let key = UserKey::ed25519();
            let request = self.push(instance, "alice", &key, change, by);
            self.expect(false, &format!("{what} ({request})"), attempt("alice", &[&key]));
        }
        let key = UserKey::ed25519();
        let request = self.push(instance, "bob", &key, unchanged, &signer);
        self.expect(
            false,
            &format!("pushed for bob ({request}), tried for alice"),
            attempt("alice", &[&key]),
        );
        self.expect(true, &format!("pushed for bob ({request}), tried for bob"), attempt("bob", &[&key]));
    }

    /// Publishes a record with a unique request id, by which its log line is found.
    fn push(&mut self, instance: &Instance, user: &str, key: &UserKey, change: Change, by: &Key) -> String {
        self.pushed += 1;
        let request = format!("request-{}", self.pushed);
        let record = change(instance.record(key).set("Request", &request));
        instance.imds.publish(user, record.signed_by(by));
        request
    }

    fn done(&mut self, what: &str) {
        self.step(true, what);
    }

    fn expect(&mut self, to_come_in: bool, what: &str, (came_in, seen): Seen) {
        let verdict = if came_in { "let in" } else { "refused" };
        self.step(came_in == to_come_in, &format!("{what}: {verdict}"));
        detail(&seen);
    }

    fn step(&mut self, right: bool, text: &str) {
        interrupt::check();
        *(if right { &mut self.passed } else { &mut self.failed }) += 1;
        println!("  {} {:5} ms  {text}", if right { '✓' } else { '✗' }, self.last.elapsed().as_millis());
        self.last = Instant::now();
    }

    fn verdict(&self) -> bool {
        let well = self.failed == 0;
        let words = if well { "All went as it should" } else { "NOT all went as it should" };
        let all = self.passed + self.failed;
        println!(
            "\n{words}: {} of {all} steps, in {:.1} s.",
            self.passed,
            self.begun.elapsed().as_secs_f64()
        );
        well
    }
}

/// A line of output below a step.
fn detail(text: &str) {
    println!("              {text}");
}
