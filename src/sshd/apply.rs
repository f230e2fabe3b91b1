//! Applies a plan, or restores the previous state.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::{
    config::{Config, ReadError},
    criteria::ConnectionSpec,
    lock::{Lock, LockError},
    plan::{FileAction, Plan},
    query::{Dump, QueryError, Sshd, admin_config},
    reload::{NotReloadable, ReloadError},
    replace::{self, Committed, FileError, NotRestored, temp_path},
    service::SshdService,
    staged_config::{self, IncludeNameError},
};
use crate::config_tree::ConfigTree;
use crate::error_text::WithCauses;

/// Why a plan was not applied.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// Nothing was changed.
    Refused(ChangeError),
    /// The changes were undone, or could not be.
    Failed(Box<FailedChange>),
}

/// Why a change failed.
#[derive(Debug)]
pub(super) enum ChangeError {
    File(FileError),
    /// The pending reload cannot be recorded.
    Lock(LockError),
    /// A file was changed after the plan was made.
    ChangedMeanwhile(PathBuf),
    /// The changed configuration failed its check before any file was replaced.
    Staged(CheckError),
    /// The changed configuration failed its check in its final place.
    Check(CheckError),
    Reload(ReloadError),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Lock(error) => error.fmt(f),
            Self::ChangedMeanwhile(path) => {
                write!(f, "{} was changed while this command ran: run it again", path.display())
            }
            Self::Staged(_) => f.write_str("a copy of the configuration with the change failed its check"),
            Self::Check(error) => error.fmt(f),
            Self::Reload(error) => error.fmt(f),
        }
    }
}

impl Error for ChangeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::File(error) => error.source(),
            Self::Lock(error) => error.source(),
            Self::ChangedMeanwhile(_) => None,
            Self::Staged(error) => Some(error),
            Self::Check(error) => error.source(),
            Self::Reload(error) => error.source(),
        }
    }
}

/// Why a changed configuration failed its check.
#[derive(Debug)]
pub(super) enum CheckError {
    Read(ReadError),
    /// This file cannot be included by its name.
    Name(IncludeNameError),
    /// The temporary file for the check cannot be written.
    File(FileError),
    /// sshd rejects it, or cannot be queried.
    Query(QueryError),
    /// sshd would use other values of the two keywords than planned.
    NotEffective,
    /// sshd would use another value of some other setting. The line that differs, if there is one.
    OtherSettings(Option<String>),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::Query(error) => error.fmt(f),
            Self::NotEffective => f.write_str(
                "sshd would use other values of AuthorizedKeysCommand and AuthorizedKeysCommandUser than planned",
            ),
            Self::OtherSettings(None) => f.write_str("it would change other settings of sshd too"),
            Self::OtherSettings(Some(line)) => {
                write!(f, "it would change other settings of sshd too: {line}")
            }
        }
    }
}

impl Error for CheckError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) => error.source(),
            Self::File(error) => error.source(),
            Self::Query(error) => error.source(),
            Self::Name(_) | Self::NotEffective | Self::OtherSettings(_) => None,
        }
    }
}

/// A change that failed, and the result of undoing it.
#[derive(Debug)]
pub(super) struct FailedChange {
    cause: ChangeError,
    result: Rollback,
}

/// The result of undoing a change.
#[derive(Debug)]
enum Rollback {
    Complete,
    FilesNotRestored(Vec<NotRestored>),
    /// The files were restored, but sshd was not reloaded with them.
    NotReloaded(ReloadError),
}

impl fmt::Display for FailedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = WithCauses(&self.cause);
        match &self.result {
            Rollback::Complete => write!(f, "{cause}; the previous state was restored"),
            Rollback::FilesNotRestored(errors) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                write!(f, "{cause}; NOT all files could be restored: {}", errors.join(", "))
            }
            Rollback::NotReloaded(error) => write!(
                f,
                "{cause}; the files were restored, but sshd could not be reloaded: {}; restart it",
                WithCauses(error)
            ),
        }
    }
}

impl Error for FailedChange {}

/// The inputs for applying a plan.
pub(super) struct ApplyContext<'a> {
    pub(super) main: &'a Path,
    pub(super) tree: &'a ConfigTree,
    pub(super) lock: &'a Lock,
    /// `None` if no sshd is installed.
    pub(super) sshd: Option<InstalledSshd<'a>>,
}

/// The sshd that checks the change, and the daemons to reload.
pub(super) struct InstalledSshd<'a> {
    pub(super) sshd: &'a Sshd,
    pub(super) service: &'a SshdService<'a>,
    /// The running sshds that cannot be reloaded.
    pub(super) not_reloadable: &'a [NotReloadable],
    /// The effective values before the change.
    pub(super) before: &'a Dump,
}

/// Applies a plan. `Ok` describes the reload of the running sshd.
pub(super) fn apply(plan: &Plan, context: &ApplyContext<'_>) -> Result<String, ApplyError> {
    let mut temp_files = TempFiles(Vec::new());
    let staged = stage(plan, context, &mut temp_files)
        .map_err(|error| ApplyError::Refused(ChangeError::File(error)))?;
    if let Some(installed) = &context.sshd {
        check_staged(plan, context, installed, &staged, &mut temp_files)
            .map_err(|error| ApplyError::Refused(ChangeError::Staged(error)))?;
    }
    let was_pending = context.lock.is_reload_pending();
    context.lock.set_reload_pending().map_err(|error| ApplyError::Refused(ChangeError::Lock(error)))?;
    let mut committed: Vec<Committed> = Vec::new();
    match commit_and_reload(plan, context, &mut committed) {
        Ok(message) => {
            context.lock.clear_reload_pending();
            committed.iter().for_each(Committed::discard_old);
            if let Some(installed) = &context.sshd {
                installed.service.record_end_of_change();
            }
            Ok(message)
        }
        Err(error) if committed.is_empty() => {
            if !was_pending {
                context.lock.clear_reload_pending();
            }
            Err(ApplyError::Refused(error))
        }
        Err(cause) => {
            let may_have_read = matches!(&cause, ChangeError::Reload(error) if error.may_have_read);
            let result = roll_back(&committed, context, may_have_read || was_pending);
            Err(ApplyError::Failed(Box::new(FailedChange { cause, result })))
        }
    }
}

/// The files that a plan changes, with the temporary names of the new versions. `None` for a file to be removed.
type Staged = BTreeMap<PathBuf, Option<PathBuf>>;

/// Checks that the files can be replaced, and writes the new versions under temporary names.
fn stage(plan: &Plan, context: &ApplyContext<'_>, temp_files: &mut TempFiles) -> Result<Staged, FileError> {
    let locate = |path: &Path| context.tree.locate(path);
    for change in &plan.changes {
        replace::check(&locate(&change.path))?;
    }
    let mut staged = Staged::new();
    for change in &plan.changes {
        let path = locate(&change.path);
        temp_files.0.push(temp_path(&path, "new"));
        let stage = match &change.action {
            FileAction::Create { new } | FileAction::Replace { new, .. } => {
                replace::stage(&path, new, &locate(context.main))?;
                Some(temp_path(&change.path, "new"))
            }
            FileAction::Remove { .. } => None,
        };
        staged.insert(change.path.clone(), stage);
    }
    Ok(staged)
}

/// Checks the new files with sshd before they replace the old ones: that it would start with them, and that they
/// change only the intended values.
fn check_staged(
    plan: &Plan,
    context: &ApplyContext<'_>,
    installed: &InstalledSshd<'_>,
    staged: &Staged,
    temp_files: &mut TempFiles,
) -> Result<(), CheckError> {
    let version = installed.sshd.version().map_err(CheckError::Query)?;
    let config =
        |tree: &ConfigTree| Config::read(tree, context.main, version.clone()).map_err(CheckError::Read);
    let text = staged_config::main(&config(&plan.after)?, &config(context.tree)?, staged)
        .map_err(CheckError::Name)?;
    let check = temp_path(admin_config(context.main), "check");
    let path = context.tree.locate(&check);
    temp_files.0.push(path.clone());
    let written = replace::remove(&path).and_then(|()| write_private(&path, &text));
    written.map_err(|error| CheckError::File(FileError::new(&path, error)))?;
    verify(plan, installed, &check)
}

/// Checks that sshd accepts a configuration, and that only the intended values differ.
fn verify(plan: &Plan, installed: &InstalledSshd<'_>, config: &Path) -> Result<(), CheckError> {
    installed.sshd.accepts(config).map_err(CheckError::Query)?;
    let dump = installed.sshd.dump(config, &ConnectionSpec::probe()).map_err(CheckError::Query)?;
    if (&dump.command, &dump.user) != (&plan.wanted.command, &plan.wanted.user) {
        return Err(CheckError::NotEffective);
    }
    let before = &installed.before.lines;
    match dump.lines.iter().zip(before).find(|(now, then)| now != then) {
        Some((now, _)) => Err(CheckError::OtherSettings(Some(String::from_utf8_lossy(now).into_owned()))),
        None if dump.lines.len() != before.len() => Err(CheckError::OtherSettings(None)),
        None => Ok(()),
    }
}

fn commit_and_reload(
    plan: &Plan,
    context: &ApplyContext<'_>,
    committed: &mut Vec<Committed>,
) -> Result<String, ChangeError> {
    for change in &plan.changes {
        if context.tree.read(&change.path).ok().as_deref() != change.action.before() {
            return Err(ChangeError::ChangedMeanwhile(change.path.clone()));
        }
        let path = context.tree.locate(&change.path);
        let stage = change.action.after().map(|_| temp_path(&path, "new"));
        committed.push(replace::commit(&path, stage.as_deref()).map_err(ChangeError::File)?);
    }
    let Some(installed) = &context.sshd else {
        return Ok("No sshd is installed that could check the change, or has to be reloaded.".into());
    };
    verify(plan, installed, context.main).map_err(ChangeError::Check)?;
    installed.service.reload(context.main, installed.not_reloadable).map_err(ChangeError::Reload)
}

/// Undoes the changes in reverse order. Reloads sshd if it may have read the changed files.
fn roll_back(committed: &[Committed], context: &ApplyContext<'_>, may_have_read: bool) -> Rollback {
    let errors: Vec<_> = committed.iter().rev().filter_map(|change| change.undo().err()).collect();
    if !errors.is_empty() {
        return Rollback::FilesNotRestored(errors);
    }
    if let Some(installed) = context.sshd.as_ref().filter(|_| may_have_read) {
        if let Err(error) = installed.service.reload(context.main, installed.not_reloadable) {
            return Rollback::NotReloaded(error);
        }
    }
    context.lock.clear_reload_pending();
    Rollback::Complete
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Temporary files, removed on drop.
struct TempFiles(Vec<PathBuf>);

impl Drop for TempFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            // sshd does not read these files, and the next run tries again.
            let _ = replace::remove(path);
        }
    }
}
