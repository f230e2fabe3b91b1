//! Checks as the user that sshd runs eic-keys as. A firewall rule that matches the uid, or a directory without access
//! for that user, has no effect on root. One child process, `eic-keys --check`, covers all of these checks.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use super::signer::readable;
use crate::account::Account;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::request::{RunOptions, Target, seconds};
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::imds::Imds;
use crate::limits;
use crate::process::run_as;
use crate::tool::is_root;
use crate::trust::TrustStore;

/// What that user can access.
#[derive(Clone, Debug)]
enum View {
    /// The user is root: the other checks cover it.
    Root,
    /// Only root can run the check as another user.
    Denied,
    /// The program could not be run, and the reason.
    Broken(String),
    /// The report of the child process.
    Report(serde_json::Value),
}

/// Runs the checks as that user.
pub(crate) async fn look(
    runner: &Runner,
    options: &RunOptions,
    target: &Target<'_>,
    user: &Finding<Account>,
    session: &Finding<Imds>,
    store: &Finding<Arc<TrustStore>>,
) -> Finding<()> {
    let view = match user.get() {
        Some(user) if user.uid == 0 => View::Root,
        Some(user) if is_root() => {
            let (user, options) = (user.clone(), options.clone());
            tokio::task::spawn_blocking(move || view(&user, &options))
                .await
                .unwrap_or_else(|error| View::Broken(error.to_string()))
        }
        _ => View::Denied,
    };
    let reachable = runner
        .check(CheckId::MetadataCommandUser, (user, session), async |(user, _)| {
            let (user, view) = (user.clone(), view.clone());
            blocking(move || metadata(&user, &view)).await
        })
        .await;
    runner
        .check(CheckId::SignerCommandUser, (user, store), async |(user, store)| {
            let (user, view, store) = (user.clone(), view.clone(), Arc::clone(store));
            let root = target.root.to_owned();
            blocking(move || trust_store(&user, &view, &store, &root)).await
        })
        .await;
    reachable
}

fn view(user: &Account, options: &RunOptions) -> View {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return View::Broken(error.to_string()),
    };
    let mut words: Vec<OsString> = vec![program.into(), "--check".into(), "--json".into()];
    words.extend(["--timeout".into(), seconds(options.timeout).into()]);
    if let [address] = options.imds.as_slice() {
        words.extend(["--imds".into(), address.to_string().into()]);
    }
    if let Some(path) = &options.trust_store {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        words.extend(["--trust-store".into(), path.into()]);
    }
    match run_as(&user.credentials(), &words, limits::COMMAND_USER) {
        Err(error) => View::Broken(error.to_string()),
        Ok(ran) => {
            serde_json::from_slice(&ran.stdout).map_or_else(|_| View::Broken(ran.error_text()), View::Report)
        }
    }
}

/// The status and note of one check in a report.
fn answer(report: &serde_json::Value, id: CheckId) -> Option<(String, String)> {
    let text = |check: &serde_json::Value, member: &str| Some(check.get(member)?.as_str()?.to_owned());
    let mut checks = report.get("checks")?.as_array()?.iter();
    let check = checks.find(|check| text(check, "id").as_deref() == Some(id.name()))?;
    Some((text(check, "status")?, text(check, "note")?))
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
        return Answer::warn_only(note, fix);
    }
    Answer::fail(
        format!("eic-keys could not be run as {}: {reason}", user.name),
        Fix::advice("install eic-keys where all users can run it"),
    )
}

fn metadata(user: &Account, view: &View) -> Answer<()> {
    let name = &user.name;
    let report = match view {
        View::Root => return Answer::ok("eic-keys runs as root: metadata.token has the result", ()),
        View::Denied => return Answer::skip("only root can test as another user"),
        View::Broken(reason) => return broken(user, reason),
        View::Report(report) => report,
    };
    match answer(report, CheckId::MetadataToken) {
        None => broken(user, "its report has no metadata.token"),
        Some((status, note)) if matches!(status.as_str(), "ok" | "warn") => {
            Answer::ok(format!("as {name}: {note}"), ())
        }
        Some((_, note)) => Answer::fail(
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
        View::Broken(_) => return Answer::skip(format!("eic-keys could not be run as {name}")),
        View::Report(report) => report,
    };
    let seen = store.count().map(|count| super::signer::held(store.path(), count)).unwrap_or_default();
    match answer(report, CheckId::SignerStore) {
        None => Answer::skip(format!("the report as {name} has no signer.store")),
        Some((status, note)) if matches!(status.as_str(), "ok" | "warn") && note.starts_with(&seen) => {
            Answer::ok(format!("as {name}: {seen}"), ())
        }
        Some((status, note)) if matches!(status.as_str(), "ok" | "warn") => Answer::warn(
            format!("as {name}: {note}; as root: {seen}"),
            Fix::advice(format!("make all certificates of {} readable for {name}", store.path().display())),
            (),
        ),
        Some((_, note)) => {
            Answer::fail(format!("as {name}: {note}"), readable(&root.join(store.path()), Some(user)))
        }
    }
}
