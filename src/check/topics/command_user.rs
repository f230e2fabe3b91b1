//! Checks as the user that sshd runs eic-keys as. A firewall rule that matches the uid, or a directory without access
//! for that user, has no effect on root. One child process, `eic-keys --check`, covers all of these checks.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::shell::{self, CannotRun};
use super::signer::readable;
use crate::account::{Account, is_root};
use crate::check::check_id::CheckId;
use crate::check::fix::{CommandWord, Fix};
use crate::check::request::{CheckTarget, RunOptions, seconds};
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::serving_context::ServingContext;
use crate::config_tree::ConfigTree;
use crate::imds::Imds;
use crate::limits;
use crate::process::{self, TrustedCommand, cannot_change_user, is_without_setsid};
use crate::safe_path::Program;
use crate::trust::TrustStore;

/// What that user can access.
#[derive(Clone, Debug)]
enum View {
    /// The user is root: the other checks cover it.
    Root,
    /// Only root can run the check as another user.
    Denied,
    /// The program has the setuid bit: it would run as its owner, and not as that user.
    SetUid,
    /// The program could not be run, and the reason.
    Broken(String),
    /// It did not run, for a reason that sshd does not have.
    NotTried(&'static str),
    /// The report of the child process.
    Report(serde_json::Value),
}

/// Runs the checks as that user.
pub(crate) async fn run(
    runner: &Runner,
    options: &RunOptions,
    target: &CheckTarget<'_>,
    user: &Finding<Account>,
    imds: &Finding<Imds>,
    store: &Finding<Arc<TrustStore>>,
) -> Finding<()> {
    let view = match user.get() {
        Some(user) if user.uid == 0 => View::Root,
        Some(user) if is_root() => {
            let (user, options, root) = (user.clone(), options.clone(), target.root.to_owned());
            tokio::task::spawn_blocking(move || view(&user, &options, &root))
                .await
                .unwrap_or_else(|error| View::Broken(error.to_string()))
        }
        _ => View::Denied,
    };
    let reachable = runner
        .check_in_thread(CheckId::MetadataCommandUser, (user, imds), |(user, _)| {
            let (user, view) = (user.clone(), view.clone());
            move || metadata(&user, &view)
        })
        .await;
    runner
        .check_in_thread(CheckId::SignerCommandUser, (user, store), |(user, store)| {
            let (user, view, store) = (user.clone(), view.clone(), Arc::clone(store));
            let root = target.root.to_owned();
            move || trust_store(&user, &view, &store, &root)
        })
        .await;
    reachable
}

fn view(user: &Account, options: &RunOptions, root: &Path) -> View {
    let program = match Program::own() {
        Ok(program) => program,
        Err(error) => return View::Broken(error.to_string()),
    };
    if fs::metadata(program.path()).is_ok_and(|metadata| metadata.mode() & 0o4000 != 0) {
        return View::SetUid;
    }
    // The patterns decide about keys: it has none to check.
    let RunOptions { timeout, imds, trust_store, principals: _, imds_from: _ } = options;
    let mut command = TrustedCommand::new(program).with(["--check", "--json", "--timeout"]);
    command = command.with([seconds(*timeout)]);
    if let [address] = imds.as_slice() {
        command = command.with(["--imds".to_owned(), address.to_string()]);
    }
    if let Some(path) = trust_store {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        command = command.with(["--trust-store".into(), path.into_os_string()]);
    }
    let command = command.as_user(&user.credentials());
    let unchanged = || View::NotTried("setsid or setpriv (util-linux) cannot be run");
    let report = |ran: io::Result<process::Output>| match ran {
        // Another check of it hangs, such as one that asks a system bus that does not answer.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            View::NotTried("the other checks take too long")
        }
        Err(error) if is_without_setsid(&error) => unchanged(),
        Err(error) => View::Broken(error.to_string()),
        Ok(ran) => match serde_json::from_slice(&ran.stdout) {
            Ok(report) => View::Report(report),
            Err(_) if cannot_change_user(&ran.error_text()) => unchanged(),
            Err(_) => View::Broken(ran.error_text()),
        },
    };
    // What sshd's unit hides from its processes. This program can be a file that it hides, which is not in question.
    let context = ServingContext::find(&ConfigTree::new(root));
    let started = Instant::now();
    if context.changes_namespace() {
        if let view @ View::Report(_) = report(context.command(&command).run(limits::COMMAND_USER_TIME)) {
            return view;
        }
    }
    report(command.run(limits::COMMAND_USER_TIME.saturating_sub(started.elapsed())))
}

/// One check in a report.
struct ReportedCheck<'a> {
    status: &'a str,
    note: &'a str,
    certificates: Option<usize>,
}

impl<'a> ReportedCheck<'a> {
    fn find(report: &'a serde_json::Value, id: CheckId) -> Option<Self> {
        let mut checks = report.get("checks")?.as_array()?.iter();
        let check = checks.find(|check| check.get("id").is_some_and(|other| other == id.name()))?;
        let text = |member| check.get(member)?.as_str();
        let certificates = check.get("certificates").and_then(serde_json::Value::as_u64);
        let certificates = certificates.and_then(|count| count.try_into().ok());
        Some(Self { status: text("status")?, note: text("note")?, certificates })
    }

    /// Whether the check did not fail.
    fn is_well(&self) -> bool {
        matches!(self.status, "ok" | "warn")
    }
}

fn broken(user: &Account, reason: &str) -> Answer<()> {
    let null = fs::metadata("/dev/null").ok();
    if null.as_ref().is_none_or(|null| !null.file_type().is_char_device() || null.mode() & 0o666 != 0o666) {
        let fix = if null.is_some_and(|null| null.file_type().is_char_device()) {
            Fix::command("chmod 0666 /dev/null", [])
        } else {
            Fix::advice("remove the file and create the device again: mknod -m 666 /dev/null c 1 3")
        };
        let note = format!(
            "/dev/null is not a device that all users can open: eic-keys was not run as {}",
            user.name
        );
        return Answer::warn_without_value(note, fix);
    }
    let program = std::env::current_exe().unwrap_or_default();
    let closed = fs::metadata(&program).is_ok_and(|metadata| metadata.mode() & 0o555 != 0o555);
    let fix = if closed {
        Fix::command("chmod 0755", [CommandWord::Path(&program)])
    } else {
        shell::repair(&program, &CannotRun::Words(reason.to_owned())).unwrap_or_else(|| Fix::advice(
            "let all users run eic-keys: check the mode of each directory above it, ACLs (getfacl), and mounts with noexec",
        ))
    };
    Answer::fail(format!("eic-keys could not be run as {}: {reason}", user.name), fix)
}

fn metadata(user: &Account, view: &View) -> Answer<()> {
    let name = &user.name;
    let report = match view {
        View::Root => return Answer::ok("eic-keys runs as root: metadata.token has the result", ()),
        View::Denied => return Answer::skip("only root can test as another user"),
        View::NotTried(reason) => return Answer::skip(format!("not tried as {name}: {reason}")),
        View::Broken(reason) => return broken(user, reason),
        View::SetUid => {
            let program = std::env::current_exe().unwrap_or_default();
            let note =
                format!("{} has the setuid bit: it runs as its owner, not as {name}", program.display());
            return Answer::warn(note, Fix::command("chmod 0755", [CommandWord::Path(&program)]), ());
        }
        View::Report(report) => report,
    };
    match ReportedCheck::find(report, CheckId::MetadataToken) {
        None => broken(user, "its report has no metadata.token"),
        Some(check) if check.is_well() => Answer::ok(format!("as {name}: {}", check.note), ()),
        // sshd's unit hides the signs of an instance.
        Some(ReportedCheck { status: "skip", .. }) => {
            let host = ReportedCheck::find(report, CheckId::InstanceHost);
            let note = host.map(|check| check.note).unwrap_or_default();
            Answer::fail(
                format!("as {name}: {note}"),
                Fix::advice(
                    "sshd's unit can hide files from its processes: see confinement.unit, and systemctl cat ssh sshd",
                ),
            )
        }
        Some(ReportedCheck { note, .. }) => Answer::fail(
            format!("as {name}: {note}"),
            Fix::advice(format!(
                "permit connections of {name}: nft list ruleset and ip rule show rules that match a user"
            )),
        ),
    }
}

fn trust_store(user: &Account, view: &View, store: &TrustStore, root: &Path) -> Answer<()> {
    let name = &user.name;
    let report = match view {
        View::Root => return Answer::ok("eic-keys runs as root: signer.store has the result", ()),
        View::Denied => return Answer::skip("only root can test as another user"),
        View::SetUid => return Answer::ok("eic-keys runs as its owner: signer.store has the result", ()),
        View::Broken(_) => return Answer::skip(format!("eic-keys could not be run as {name}")),
        View::NotTried(reason) => return Answer::skip(format!("not tried as {name}: {reason}")),
        View::Report(report) => report,
    };
    let count = store.count().ok();
    let seen = count.map(|count| super::signer::certificate_count(store.path(), count)).unwrap_or_default();
    match ReportedCheck::find(report, CheckId::SignerStore) {
        None => Answer::skip(format!("the report as {name} has no signer.store")),
        Some(check) if check.is_well() && check.certificates == count => {
            Answer::ok(format!("as {name}: {seen}"), ())
        }
        Some(check) if check.is_well() => Answer::warn(
            format!("as {name}: {}; as root: {seen}", check.note),
            Fix::advice(format!("make all certificates of {} readable for {name}", store.path().display())),
            (),
        ),
        Some(ReportedCheck { note, .. }) => {
            Answer::fail(format!("as {name}: {note}"), readable(&root.join(store.path()), Some(user)))
        }
    }
}
