//! Makes a plan true, or leaves everything as it was.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{
    ask::{Dump, Sshd},
    candidate,
    daemon::Daemon,
    effective::Config,
    plan::{Plan, probe},
    replace::{self, Done, beside},
    source::Source,
};

/// How it went wrong.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// Nothing was changed.
    Refused(String),
    /// What was changed was put back, or could not be, as it says.
    RolledBack(String),
}

/// What a plan is applied with.
pub(super) struct Tools<'a> {
    pub(super) main: &'a Path,
    pub(super) source: &'a Source,
    pub(super) sshd: &'a Sshd,
    pub(super) daemon: &'a Daemon<'a>,
    /// What counted before.
    pub(super) before: &'a Dump,
}

/// How long another run is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Keeps others out until it is dropped. The lock lies where only root can take it, or anyone could hold it.
pub(super) fn lock(source: &Source) -> Result<File, String> {
    let path = source.locate(Path::new("/run/eic-keys.lock"));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let start = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file.into()),
            Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < LOCK_PATIENCE => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(error) => {
                return Err(format!("another --enable or --disable runs ({}: {error})", path.display()));
            }
        }
    }
}

/// Applies a plan. `Ok` says what became of the running sshd.
pub(super) fn apply(plan: &Plan, tools: &Tools<'_>) -> Result<String, ApplyError> {
    let mut litter = Litter(Vec::new());
    prepare(plan, tools, &mut litter).map_err(ApplyError::Refused)?;
    let mut done: Vec<Done> = Vec::new();
    let result = make(plan, tools, &mut done);
    match result {
        Ok(said) => {
            // An old file that stays under its third name does no harm, and the next run takes it away.
            for change in &done {
                let _ = change.settle();
            }
            Ok(said)
        }
        Err(reason) if done.is_empty() => Err(ApplyError::Refused(reason)),
        Err(reason) => Err(ApplyError::RolledBack(roll_back(&done, tools, &reason))),
    }
}

/// Everything that can be found out beforehand: may the files be replaced, is there room, would sshd start
/// with them, and would they change what they are meant to and nothing else.
fn prepare(plan: &Plan, tools: &Tools<'_>, litter: &mut Litter) -> Result<(), String> {
    let locate = |path: &Path| tools.source.locate(path);
    for change in &plan.changes {
        replace::check(&locate(&change.path))?;
    }
    let mut staged = BTreeMap::new();
    for change in &plan.changes {
        let path = locate(&change.path);
        litter.0.push(beside(&path, "new"));
        let stage = match &change.after {
            Some(bytes) => {
                replace::stage(&path, bytes, &locate(tools.main))
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                Some(beside(&change.path, "new"))
            }
            None => None,
        };
        staged.insert(change.path.clone(), stage);
    }
    let dialect = || tools.sshd.dialect().map_err(|error| error.to_string());
    let config =
        |source: &Source| Config::read(source, tools.main, dialect()?).map_err(|error| error.to_string());
    let text = candidate::main(&config(&plan.after)?, &config(tools.source)?, &staged)
        .map_err(|path| format!("{} has a name that sshd cannot be asked about", path.0.display()))?;
    let check = beside(tools.main, "check");
    litter.0.push(locate(&check));
    replace::remove(&locate(&check)).map_err(|error| format!("{}: {error}", check.display()))?;
    write_private(&locate(&check), &text).map_err(|error| format!("{}: {error}", check.display()))?;
    verify(plan, tools, &check)
        .map_err(|reason| format!("the change was tried beside the files, and {reason}"))
}

/// Whether sshd accepts a configuration, and it does what was meant and nothing else.
fn verify(plan: &Plan, tools: &Tools<'_>, config: &Path) -> Result<(), String> {
    tools.sshd.accepts(config).map_err(|error| error.to_string())?;
    let dump = tools.sshd.dump(config, &probe()).map_err(|error| error.to_string())?;
    if (&dump.command, &dump.user) != (&plan.wanted.command, &plan.wanted.user) {
        return Err("sshd says that something else counts".into());
    }
    match dump.others.iter().zip(&tools.before.others).find(|(now, then)| now != then) {
        Some((now, _)) => {
            Err(format!("sshd says that it would change more: {}", String::from_utf8_lossy(now)))
        }
        None if dump.others.len() != tools.before.others.len() => {
            Err("sshd says that it would change more".into())
        }
        None => Ok(()),
    }
}

fn make(plan: &Plan, tools: &Tools<'_>, done: &mut Vec<Done>) -> Result<String, String> {
    for change in &plan.changes {
        if tools.source.read(&change.path).ok() != change.before {
            return Err(format!("{} was changed by someone else in the meantime", change.path.display()));
        }
        let path = tools.source.locate(&change.path);
        let stage = change.after.as_ref().map(|_| beside(&path, "new"));
        done.push(
            replace::commit(&path, stage.as_deref())
                .map_err(|error| format!("{}: {error}", path.display()))?,
        );
    }
    verify(plan, tools, tools.main)?;
    tools.daemon.reload()
}

/// Puts everything back, last change first, and says how that went.
fn roll_back(done: &[Done], tools: &Tools<'_>, reason: &str) -> String {
    let failed: Vec<String> =
        done.iter().rev().filter_map(|change| change.undo().err().map(|error| error.to_string())).collect();
    if !failed.is_empty() {
        return format!("{reason}; NOT everything could be put back: {}", failed.join(", "));
    }
    match tools.daemon.reload() {
        Ok(_) => format!("{reason}; everything was put back"),
        Err(error) => format!("{reason}; the files were put back, but then: {error}"),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Files that must not stay.
struct Litter(Vec<PathBuf>);

impl Drop for Litter {
    fn drop(&mut self) {
        for path in &self.0 {
            // sshd reads none of them, and the next run tries again.
            let _ = replace::remove(path);
        }
    }
}
