//! `--enable` and `--disable`: changes sshd's configuration.

use std::{
    ffi::OsStr,
    io::{ErrorKind, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    thread,
};

use super::{
    apply::{ApplyContext, InstalledSshd, apply},
    config::Values,
    diff, drop_in,
    enable_error::{EnableError, EnableRefusal},
    host_key,
    lock::Lock,
    managed_lines,
    options::{EnableOptions, OWN_USER},
    package_state,
    plan::{FileAction, Plan, Planner, UserSource, Users, lossy},
    queried_sshd::QueriedSshd,
    query::{Dump, Sshd, admin_config, main_file},
    reload::ReloadError,
    replace,
    service::{SYSTEMCTL_TIMEOUT, SshdService},
    user_lookup::{UserLookup, find_user},
    version::OpensshVersion,
};
use crate::account::is_root;
use crate::config_tree::ConfigTree;
use crate::error_text::WithCauses;
use crate::process::TrustedCommand;
use crate::safe_path;

/// The result. The output has the decisions; this has the reason for a refusal or failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnableOutcome {
    /// Done, or nothing to do. In a dry run, nothing was changed.
    Done,
    /// sshd's configuration was not changed, for this reason.
    Refused(String),
    /// A change failed, for this reason. It was undone, or the reason says what could not be undone.
    Failed(String),
}

impl EnableOutcome {
    /// A message for the user, unless done.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Done => None,
            Self::Refused(reason) => Some(format!("refused, sshd's configuration was not changed: {reason}")),
            Self::Failed(reason) => Some(format!("failed: {reason}")),
        }
    }

    /// The exit status.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused(_) => 1,
            Self::Failed(_) => 2,
        }
    }
}

/// Adds our lines to sshd's configuration. Writes decisions and, in a dry run, a unified diff to `out`.
#[must_use]
pub fn enable(options: &EnableOptions, out: &mut dyn Write) -> EnableOutcome {
    outcome(change(options, Operation::Enable, out))
}

/// Removes our lines from sshd's configuration.
#[must_use]
pub fn disable(options: &EnableOptions, out: &mut dyn Write) -> EnableOutcome {
    outcome(change(options, Operation::Disable, out))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Enable,
    Disable,
}

fn outcome(result: Result<(), EnableError>) -> EnableOutcome {
    match result {
        Ok(()) => EnableOutcome::Done,
        Err(EnableError::Refused(error)) => EnableOutcome::Refused(WithCauses(&error).to_string()),
        Err(EnableError::Failed(error)) => EnableOutcome::Failed(WithCauses(&*error).to_string()),
    }
}

/// Prints nothing before the end, so that a refusal or a rollback has only its reason as output.
// Its frame is large, and a run for sshd would touch each page of it if `main` contained it.
#[inline(never)]
fn change(options: &EnableOptions, operation: Operation, out: &mut dyn Write) -> Result<(), EnableError> {
    let mut messages = plan_and_apply(options, operation)?;
    if options.if_user_missing && !messages.is_empty() {
        // A change during this run does not trigger the unit again, so check again.
        messages.extend(plan_and_apply(options, operation)?);
    }
    for line in messages {
        print(out, &line);
    }
    if !options.dry_run && !options.if_user_missing {
        let tree = ConfigTree::new(&options.root);
        match operation {
            Operation::Enable => package_state::record_enabled(&tree),
            Operation::Disable => {
                for line in package_state::record_disabled(&tree) {
                    print(out, &line);
                }
            }
        }
    }
    Ok(())
}

/// Returns the messages for the user.
fn plan_and_apply(options: &EnableOptions, operation: Operation) -> Result<Vec<String>, EnableError> {
    if !options.dry_run && !is_root() {
        return Err(EnableRefusal::NotRoot.into());
    }
    let tree = &ConfigTree::new(&options.root);
    let options = &EnableOptions { main: main_file(tree, &options.main), ..options.clone() };
    let Some(sshd) = find_sshd(options, tree) else {
        return match operation {
            _ if options.if_user_missing => Ok(Vec::new()),
            Operation::Enable => Err(EnableRefusal::NoSshd.into()),
            Operation::Disable => without_sshd(options, tree, lock(options, tree)?.as_ref()),
        };
    };
    if options.if_user_missing && users(options, &sshd, tree)? == Users::Valid {
        return Ok(Vec::new());
    }
    let lock = lock(options, tree)?;
    let systemctl = TrustedCommand::of_options(&options.systemctl);
    let run = Run { options, tree, service: SshdService::new(tree, &systemctl, SYSTEMCTL_TIMEOUT), lock };
    match operation {
        Operation::Enable => run.enable(sshd),
        Operation::Disable => run.disable(sshd),
    }
}

/// Takes the lock, and removes what a killed run left behind. `None` in a dry run.
fn lock(options: &EnableOptions, tree: &ConfigTree) -> Result<Option<Lock>, EnableRefusal> {
    if options.dry_run {
        return Ok(None);
    }
    let lock = Lock::take(tree).map_err(EnableRefusal::Lock)?;
    remove_leftover_files(tree, admin_config(&options.main));
    Ok(Some(lock))
}

/// A run on a system with an sshd.
struct Run<'a> {
    options: &'a EnableOptions,
    tree: &'a ConfigTree,
    service: SshdService<'a>,
    /// `None` in a dry run.
    lock: Option<Lock>,
}

impl Run<'_> {
    /// Returns the messages for the user.
    fn enable(&self, sshd: Sshd) -> Result<Vec<String>, EnableError> {
        let Self { options, tree, service, .. } = self;
        let version = sshd.version().map_err(EnableRefusal::Query)?;
        let users = UserLookup::new(&options.root);
        let sshd = QueriedSshd::query(sshd, options, tree, service)?;
        if let Some(reason) = service.overridden(&options.main) {
            return Err(EnableRefusal::Overridden(reason).into());
        }
        let find_user = |user: &[u8]| users.find(user);
        let mut plan = planner(options, tree, &version, sshd.dump.as_ref(), &find_user)
            .enable()
            .map_err(EnableRefusal::Plan)?;
        plan.messages.extend(check_programs(options, &version, &plan.wanted, &users)?);
        plan.messages.extend(service.notes_on_others(&options.main));
        let applied = self.apply(&plan, &sshd, Operation::Enable)?;
        let hint = self.lock.is_some().then(|| "Try it: eic-keys --check USER".to_owned());
        Ok([sshd.notes, describe(options, &plan), applied, hint.into_iter().collect()].concat())
    }

    /// Returns the messages for the user.
    fn disable(&self, sshd: Sshd) -> Result<Vec<String>, EnableError> {
        let Self { options, tree, service, lock } = self;
        if let Some(place) = service.find_command_line(&options.main, &options.program) {
            let program = options.program.clone();
            return Err(EnableRefusal::OptionNamesProgram { place, program }.into());
        }
        if let Some(messages) = nothing_to_undo(options, &sshd, tree, service, lock.as_ref())? {
            return Ok(messages);
        }
        let version = sshd.version().map_err(EnableRefusal::Query)?;
        let users = UserLookup::new(&options.root);
        let sshd = QueriedSshd::query(sshd, options, tree, service)?;
        let find_user = |user: &[u8]| users.find(user);
        let plan = planner(options, tree, &version, sshd.dump.as_ref(), &find_user)
            .disable(&service.other_files(&options.main))
            .map_err(EnableRefusal::Plan)?;
        let applied = self.apply(&plan, &sshd, Operation::Disable)?;
        Ok([sshd.notes, describe(options, &plan), applied].concat())
    }

    /// Applies a plan and reloads sshd. Does nothing in a dry run. Returns the messages about the reload.
    fn apply(
        &self,
        plan: &Plan,
        sshd: &QueriedSshd,
        operation: Operation,
    ) -> Result<Vec<String>, EnableError> {
        let Self { options, tree, service, lock } = self;
        let (Some(lock), Some(before)) = (lock, &sshd.dump) else { return Ok(Vec::new()) };
        if plan.changes.is_empty() {
            return Ok(if lock.is_reload_pending() {
                vec![complete_reload(options, service, lock).map_err(EnableRefusal::Reload)?]
            } else {
                Vec::new()
            });
        }
        let not_reloadable = service.not_reloadable(&options.main).map_err(EnableRefusal::Systemctl)?;
        if operation == Operation::Disable && !not_reloadable.is_empty() {
            let daemons: Vec<_> = not_reloadable.iter().map(ToString::to_string).collect();
            return Err(EnableRefusal::NotReloadable(daemons.join("; ")).into());
        }
        let installed = InstalledSshd { sshd: &sshd.sshd, service, not_reloadable: &not_reloadable, before };
        let context = ApplyContext { main: &options.main, tree, lock, sshd: Some(installed) };
        let reloaded = apply(plan, &context)?;
        let warnings = not_reloadable.iter().map(|sshd| format!("WARNING: not reloaded: {sshd}"));
        Ok(Some(reloaded).filter(|text| !text.is_empty()).into_iter().chain(warnings).collect())
    }
}

/// `--disable` if no file contains our lines: sshd and its unit need not work for this. `None` if there are lines to
/// remove.
fn nothing_to_undo(
    options: &EnableOptions,
    sshd: &Sshd,
    tree: &ConfigTree,
    service: &SshdService<'_>,
    lock: Option<&Lock>,
) -> Result<Option<Vec<String>>, EnableRefusal> {
    let version = sshd.version().unwrap_or_else(|_| OpensshVersion::newest());
    let planner = planner(options, tree, &version, None, &|_| Some(UserSource::Local));
    let mut messages = if planner.read(tree).is_ok() {
        let plan = planner.disable(&service.other_files(&options.main))?;
        if !plan.changes.is_empty() {
            return Ok(None);
        }
        plan.messages
    } else if planner.has_no_trace_of_ours() {
        vec!["Nothing to do: sshd's configuration has no lines of eic-keys.".to_owned()]
    } else {
        return Ok(None);
    };
    let Some(lock) = lock.filter(|lock| lock.is_reload_pending()) else { return Ok(Some(messages)) };
    // The running sshd can still use our lines, but must not be reloaded with a configuration that makes it exit.
    let accepted = sshd.accepts(&options.main).map_err(EnableRefusal::Query);
    let reloaded =
        accepted.and_then(|()| complete_reload(options, service, lock).map_err(EnableRefusal::Reload));
    messages.push(reloaded.unwrap_or_else(|error| {
        format!(
            "Note: an earlier run was interrupted before it reloaded sshd, and sshd cannot be reloaded now: {}. If sshd was started \
             or reloaded while lines of eic-keys were there, restart it.",
            WithCauses(&error)
        )
    }));
    Ok(Some(messages))
}

/// Reloads sshd after an earlier run that changed its files and was killed before it reloaded sshd.
fn complete_reload(
    options: &EnableOptions,
    service: &SshdService<'_>,
    lock: &Lock,
) -> Result<String, ReloadError> {
    let reloaded = service.reload(&options.main, &[])?;
    lock.clear_reload_pending();
    Ok(format!("An earlier run was interrupted before it reloaded sshd. {reloaded}"))
}

/// Whether our lines match the existing users. A missing user is looked up twice, because a user can be deleted and
/// created again, for example with another uid.
fn users(options: &EnableOptions, sshd: &Sshd, tree: &ConfigTree) -> Result<Users, EnableRefusal> {
    let version = sshd.version().map_err(EnableRefusal::Query)?;
    let find_user = |user: &[u8]| find_user(&options.root, user);
    let planner = planner(options, tree, &version, None, &find_user);
    let users = planner.users();
    if users != Users::Missing {
        return Ok(users);
    }
    thread::sleep(options.recheck_delay);
    Ok(planner.users())
}

/// Removes the files of a run that was killed. The lock is held, so no other run needs them.
fn remove_leftover_files(tree: &ConfigTree, main: &Path) {
    let ssh = main.parent().unwrap_or(main);
    for directory in [ssh, &ssh.join(drop_in::DIRECTORY)] {
        replace::remove_temp_files(&tree.locate(directory));
    }
    host_key::remove_leftover(tree);
}

/// Removes our lines if sshd was removed and its configuration was not. Effective values are unknown then, and no
/// sshd can fail.
fn without_sshd(
    options: &EnableOptions,
    tree: &ConfigTree,
    lock: Option<&Lock>,
) -> Result<Vec<String>, EnableError> {
    let missing = matches!(tree.read(&options.main), Err(error) if error.kind() == ErrorKind::NotFound);
    // Drop-ins can exist without the main file.
    let tree = if missing { tree.with(&options.main, Some(Vec::new())) } else { tree.clone() };
    let version = OpensshVersion::newest();
    let planner = planner(options, &tree, &version, None, &|_| Some(UserSource::Local));
    let plan = planner.disable(&[]).map_err(EnableRefusal::Plan)?;
    let mut messages = describe(options, &plan);
    let Some(lock) = lock.filter(|_| !plan.changes.is_empty()) else { return Ok(messages) };
    let context = ApplyContext { main: &options.main, tree: &tree, lock, sshd: None };
    messages.push(apply(&plan, &context)?);
    Ok(messages)
}

fn planner<'a>(
    options: &'a EnableOptions,
    tree: &'a ConfigTree,
    version: &'a OpensshVersion,
    dump: Option<&'a Dump>,
    find_user: &'a dyn Fn(&[u8]) -> Option<UserSource>,
) -> Planner<'a> {
    let EnableOptions { main, program, chain, .. } = options;
    Planner { main, tree, version, dump, program, chain: *chain, find_user }
}

/// The decisions, the changed files and, in a dry run, the diffs.
fn describe(options: &EnableOptions, plan: &Plan) -> Vec<String> {
    let mut messages = plan.messages.clone();
    for change in &plan.changes {
        let (would, did) = match &change.action {
            FileAction::Create { .. } => ("add", "Added"),
            FileAction::Replace { .. } => ("change", "Changed"),
            FileAction::Remove { .. } => ("remove", "Removed"),
        };
        let path = change.path.display();
        messages.push(if options.dry_run {
            format!("Would {would} {path}.")
        } else {
            format!("{did} {path}.")
        });
    }
    for change in plan.changes.iter().filter(|_| options.dry_run) {
        let diff = diff::unified(&change.path, change.action.before(), change.action.after());
        messages.push(diff.trim_end_matches('\n').to_owned());
    }
    messages
}

fn find_sshd(options: &EnableOptions, tree: &ConfigTree) -> Option<Sshd> {
    if options.sshd.is_empty() { Sshd::find(tree) } else { Some(Sshd::new(&options.sshd)) }
}

/// Checks that sshd can run the planned command: our program, as an existing user, with the chained command. Returns a note if the
/// program of the chained command does not exist.
fn check_programs(
    options: &EnableOptions,
    version: &OpensshVersion,
    wanted: &Values,
    users: &UserLookup,
) -> Result<Option<String>, EnableRefusal> {
    safe_path::program(&options.root, Path::new(&options.program))
        .map_err(|error| EnableRefusal::Program(options.program.clone(), error))?;
    let user = wanted.user.as_deref().unwrap_or_default();
    if user == OWN_USER.as_bytes() && users.find(user).is_none() {
        return Err(EnableRefusal::NoUser);
    }
    let command = wanted.command.as_deref();
    let Some(chained) = command.and_then(|line| managed_lines::chained_program(version, line)) else {
        return Ok(None);
    };
    match safe_path::program(&options.root, Path::new(OsStr::from_bytes(&chained))) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(format!(
            "Note: {} does not exist: the chained command fails, as it does now.",
            lossy(&chained)
        ))),
        Err(error) => Err(EnableRefusal::ChainedProgram(lossy(&chained), error)),
        Ok(_) => Ok(None),
    }
}

/// Continues if the reader of the output is gone.
fn print(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}");
}
