//! Applies a plan, or restores the previous state.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    candidate,
    config_tree::ConfigTree,
    daemon::Daemon,
    effective::Config,
    lock::Lock,
    plan::{Plan, probe},
    query::{Dump, Sshd, administrators},
    reload::{ReloadError, Untold},
    replace::{self, Done, beside, cause},
};

/// Why a plan was not applied.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// Nothing was changed.
    Refused(String),
    /// The changes were undone, or could not be; the message says which.
    RolledBack(String),
}

/// The inputs for applying a plan.
pub(super) struct Tools<'a> {
    pub(super) main: &'a Path,
    pub(super) tree: &'a ConfigTree,
    pub(super) lock: &'a Lock,
    /// `None` if no sshd is installed.
    pub(super) asked: Option<Asked<'a>>,
}

/// The sshd that checks the change, and the daemon to reload.
pub(super) struct Asked<'a> {
    pub(super) sshd: &'a Sshd,
    pub(super) daemon: &'a Daemon<'a>,
    /// The running sshds that cannot be reloaded.
    pub(super) untold: &'a [Untold],
    /// The effective values before the change.
    pub(super) before: &'a Dump,
}

/// Applies a plan. `Ok` describes the reload of the running sshd.
pub(super) fn apply(plan: &Plan, tools: &Tools<'_>) -> Result<String, ApplyError> {
    let mut litter = TempFiles(Vec::new());
    let staged = stage(plan, tools, &mut litter).map_err(ApplyError::Refused)?;
    if let Some(asked) = &tools.asked {
        try_beside(plan, tools, asked, &staged, &mut litter).map_err(ApplyError::Refused)?;
    }
    let was_unread = tools.lock.is_unread();
    tools.lock.set_unread().map_err(ApplyError::Refused)?;
    let mut done: Vec<Done> = Vec::new();
    let result = make(plan, tools, &mut done);
    match result {
        Ok(said) => {
            tools.lock.set_read();
            // If this fails, the old file is harmless under its temporary name, and the next run removes it.
            for change in &done {
                let _ = change.settle();
            }
            if let Some(asked) = &tools.asked {
                asked.daemon.settled();
            }
            Ok(said)
        }
        Err(error) if done.is_empty() => {
            if !was_unread {
                tools.lock.set_read();
            }
            Err(ApplyError::Refused(error.reason))
        }
        Err(error) => {
            let tell = error.told || was_unread;
            Err(ApplyError::RolledBack(roll_back(&done, tools, &error.reason, tell)))
        }
    }
}

/// The files that a plan changes, with the temporary names of the new versions. `None` for a file to be removed.
type Staged = BTreeMap<PathBuf, Option<PathBuf>>;

/// Checks that the files can be replaced, and writes the new versions under temporary names.
fn stage(plan: &Plan, tools: &Tools<'_>, litter: &mut TempFiles) -> Result<Staged, String> {
    let locate = |path: &Path| tools.tree.locate(path);
    for change in &plan.changes {
        replace::check(&locate(&change.path))?;
    }
    let mut staged = Staged::new();
    for change in &plan.changes {
        let path = locate(&change.path);
        litter.0.push(beside(&path, "new"));
        let stage = match &change.after {
            Some(bytes) => {
                replace::stage(&path, bytes, &locate(tools.main)).map_err(|error| cause(&path, &error))?;
                Some(beside(&change.path, "new"))
            }
            None => None,
        };
        staged.insert(change.path.clone(), stage);
    }
    Ok(staged)
}

/// Checks the new files with sshd: that it would start with them, and that they change only the intended values.
fn try_beside(
    plan: &Plan,
    tools: &Tools<'_>,
    asked: &Asked<'_>,
    staged: &Staged,
    litter: &mut TempFiles,
) -> Result<(), String> {
    let locate = |path: &Path| tools.tree.locate(path);
    let version = || asked.sshd.version().map_err(|error| error.to_string());
    let config =
        |tree: &ConfigTree| Config::read(tree, tools.main, version()?).map_err(|error| error.to_string());
    let text = candidate::main(&config(&plan.after)?, &config(tools.tree)?, staged)
        .map_err(|path| format!("{} has a name that sshd cannot be asked about", path.0.display()))?;
    let check = beside(administrators(tools.main), "check");
    litter.0.push(locate(&check));
    replace::remove(&locate(&check)).map_err(|error| cause(&locate(&check), &error))?;
    write_private(&locate(&check), &text).map_err(|error| cause(&locate(&check), &error))?;
    verify(plan, asked, &check)
        .map_err(|reason| format!("the change was tried beside the files, and {reason}"))
}

/// Checks that sshd accepts a configuration, and that only the intended values differ.
fn verify(plan: &Plan, asked: &Asked<'_>, config: &Path) -> Result<(), String> {
    asked.sshd.accepts(config).map_err(|error| error.to_string())?;
    let dump = asked.sshd.dump(config, &probe()).map_err(|error| error.to_string())?;
    if (&dump.command, &dump.user) != (&plan.wanted.command, &plan.wanted.user) {
        return Err("sshd says that something else counts".into());
    }
    match dump.others.iter().zip(&asked.before.others).find(|(now, then)| now != then) {
        Some((now, _)) => {
            Err(format!("sshd says that it would change more: {}", String::from_utf8_lossy(now)))
        }
        None if dump.others.len() != asked.before.others.len() => {
            Err("sshd says that it would change more".into())
        }
        None => Ok(()),
    }
}

fn make(plan: &Plan, tools: &Tools<'_>, done: &mut Vec<Done>) -> Result<String, ReloadError> {
    commit(plan, tools, done).map_err(|reason| ReloadError { reason, told: false })?;
    let Some(asked) = &tools.asked else {
        return Ok("There is no sshd that could be asked, or told of it.".into());
    };
    asked.daemon.reload(tools.main, asked.untold)
}

fn commit(plan: &Plan, tools: &Tools<'_>, done: &mut Vec<Done>) -> Result<(), String> {
    for change in &plan.changes {
        if tools.tree.read(&change.path).ok() != change.before {
            return Err(format!("{} was changed by someone else in the meantime", change.path.display()));
        }
        let path = tools.tree.locate(&change.path);
        let stage = change.after.as_ref().map(|_| beside(&path, "new"));
        done.push(replace::commit(&path, stage.as_deref()).map_err(|error| cause(&path, &error))?);
    }
    tools.asked.as_ref().map_or(Ok(()), |asked| verify(plan, asked, tools.main))
}

/// Undoes the changes in reverse order and describes the result. `tell` is false if no sshd has read the changed
/// files: then sshd is not reloaded.
fn roll_back(done: &[Done], tools: &Tools<'_>, reason: &str, tell: bool) -> String {
    let failed: Vec<String> =
        done.iter().rev().filter_map(|change| change.undo().err().map(|error| error.to_string())).collect();
    if !failed.is_empty() {
        return format!("{reason}; NOT everything could be put back: {}", failed.join(", "));
    }
    let told =
        tools.asked.as_ref().filter(|_| tell).map(|asked| asked.daemon.reload(tools.main, asked.untold));
    if let Some(Err(error)) = told {
        return format!(
            "{reason}; the files were put back, but sshd could not be told so: {}. Restart it",
            error.reason
        );
    }
    tools.lock.set_read();
    format!("{reason}; everything was put back")
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
