//! `--enable` and `--disable`: changes sshd's configuration.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    io::{ErrorKind, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{
    apply::{ApplyContext, InstalledSshd, apply},
    config_tree::ConfigTree,
    criteria::Connection,
    daemon::{Daemon, TIMEOUT},
    diff, drop_in,
    enable_error::{EnableError, EnableRefusal},
    host_key::{self, HostKey},
    lexer::OpensshVersion,
    lock::Lock,
    managed_lines,
    plan::{Action, OWN_USER, Plan, Planner, UserSource, Users, lossy},
    query::{ADMIN_CONFIG, Dump, QueryError, Sshd, admin_config, main_file},
    reload::ReloadError,
    replace::{self, FileError},
};
use crate::error_text::WithCauses;
use crate::files;
use crate::limits;
use crate::process::run;
use crate::safe_path;

/// The options, and the system to change.
#[derive(Clone, Debug)]
pub struct EnableOptions {
    /// Print the changes without making them.
    pub dry_run: bool,
    /// Chain an existing command instead of refusing.
    pub chain: bool,
    /// Do nothing unless our lines are effective and name a user that does not exist, or leave out a command whose
    /// user exists again.
    pub if_user_missing: bool,
    /// How long to wait before a missing user is looked up again.
    pub recheck_delay: Duration,
    /// The root directory of the system.
    pub root: PathBuf,
    /// The command that runs sshd. If empty, sshd is searched for.
    pub sshd: Vec<OsString>,
    /// The command that runs ssh-keygen. If empty, ssh-keygen is searched for.
    pub keygen: Vec<OsString>,
    /// The command that runs systemctl.
    pub systemctl: Vec<OsString>,
    /// The main file of sshd.
    pub config: PathBuf,
    /// The path of eic-keys in sshd's configuration.
    pub program: String,
}

impl EnableOptions {
    /// The options for this machine.
    #[must_use]
    pub fn system(dry_run: bool, chain: bool) -> Self {
        Self {
            dry_run,
            chain,
            if_user_missing: false,
            recheck_delay: RECHECK_DELAY,
            root: "/".into(),
            sshd: Vec::new(),
            keygen: Vec::new(),
            systemctl: vec!["systemctl".into()],
            config: ADMIN_CONFIG.into(),
            program: "/usr/bin/eic-keys".into(),
        }
    }
}

/// The result. Decisions are in the output, reasons here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnableOutcome {
    /// Done, or nothing to do. In a dry run, nothing was changed.
    Done,
    /// Nothing was changed, for this reason.
    Refused(String),
    /// A change failed and was undone, for this reason.
    RolledBack(String),
}

impl EnableOutcome {
    /// A message for the user, unless done.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Done => None,
            Self::Refused(reason) => Some(format!("refused, nothing was changed: {reason}")),
            Self::RolledBack(reason) => Some(format!("failed: {reason}")),
        }
    }

    /// The exit status.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused(_) => 1,
            Self::RolledBack(_) => 2,
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
        Err(EnableError::RolledBack(error)) => EnableOutcome::RolledBack(WithCauses(&*error).to_string()),
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
        for line in record_for_packages(&ConfigTree::new(&options.root), operation) {
            print(out, &line);
        }
    }
    Ok(())
}

/// Where the packages record the state (`packaging/deb/eic-keys.postinst`, `packaging/rpm/eic-keys.spec`).
const STATE_DIRECTORY: &str = "/var/lib/eic-keys";

/// Records the state for the packages: after openssh-server is purged and installed again, they repeat `--enable`,
/// but not after `--disable`.
fn record_for_packages(tree: &ConfigTree, operation: Operation) -> Vec<String> {
    let state = tree.locate(Path::new(STATE_DIRECTORY));
    if operation == Operation::Enable {
        // The directory exists if a package is installed. Packages record their own runs; this records manual ones.
        if state.is_dir() {
            let _ = fs::File::options().append(true).create(true).open(state.join("enabled"));
        }
        return Vec::new();
    }
    let mut messages = Vec::new();
    for path in ["enable", "later", "enabled"].map(|name| state.join(name)) {
        // Checked first: on a read-only file system, removing a missing file is an error.
        let removed = if fs::symlink_metadata(&path).is_ok() { fs::remove_file(&path) } else { Ok(()) };
        if let Err(error) = removed {
            messages.push(format!(
                "Note: {}. While this file exists, an installation of openssh-server can run --enable again.",
                WithCauses(&FileError::new(&path, error))
            ));
        }
    }
    messages
}

/// Returns the messages for the user.
fn plan_and_apply(options: &EnableOptions, operation: Operation) -> Result<Vec<String>, EnableError> {
    let root = rustix::process::geteuid().is_root();
    if !options.dry_run && !root {
        return Err(EnableRefusal::NotRoot.into());
    }
    let tree = ConfigTree::new(&options.root);
    let installed = find_sshd(options, &tree);
    if installed.is_none() && options.if_user_missing {
        return Ok(Vec::new());
    }
    if installed.is_none() && operation == Operation::Enable {
        return Err(EnableRefusal::NoSshd.into());
    }
    let options = &EnableOptions { config: main_file(&tree, &options.config), ..options.clone() };
    if let Some(sshd) = installed.as_ref().filter(|_| options.if_user_missing) {
        if users(options, sshd, &tree)? == Users::Valid {
            return Ok(Vec::new());
        }
    }
    let lock = if options.dry_run { None } else { Some(Lock::take(&tree).map_err(EnableRefusal::Lock)?) };
    if lock.is_some() {
        remove_leftover_files(&tree, admin_config(&options.config));
    }
    let Some(sshd) = installed else { return without_sshd(options, tree, lock.as_ref()) };

    let daemon = Daemon::new(&tree, &options.systemctl, TIMEOUT);
    if operation == Operation::Disable {
        if let Some(place) = daemon.find_command_line(&options.config, &options.program) {
            let program = options.program.clone();
            return Err(EnableRefusal::OptionNamesProgram { place, program }.into());
        }
        if let Some(messages) = nothing_to_undo(options, &sshd, &tree, &daemon, lock.as_ref())? {
            return Ok(messages);
        }
    }
    let version = sshd.version().map_err(EnableRefusal::Query)?;
    // Cached, because a query to an unresponsive directory server is slow.
    let known = RefCell::new(BTreeMap::new());
    let find_user = |user: &[u8]| {
        *known.borrow_mut().entry(user.to_vec()).or_insert_with(|| find_user(&options.root, user))
    };
    let mut messages = Vec::new();
    let QueriedSshd { sshd, dump, host_key } =
        query_sshd(options, sshd, &tree, &daemon, root, &mut messages)?;
    let planner = planner(options, &tree, &version, dump.as_ref(), &find_user);
    let plan = match operation {
        Operation::Enable => {
            if let Some(reason) = daemon.overridden(&options.config) {
                return Err(EnableRefusal::Overridden(reason).into());
            }
            let mut plan = planner.enable().map_err(EnableRefusal::Plan)?;
            check_programs(options, &version, &mut plan)?;
            plan.messages.extend(daemon.notes_on_others(&options.config));
            plan
        }
        Operation::Disable => {
            planner.disable(&daemon.other_files(&options.config)).map_err(EnableRefusal::Plan)?
        }
    };
    messages.extend(describe(options, &plan));
    let (Some(lock), Some(before)) = (lock, dump) else { return Ok(messages) };
    if !plan.changes.is_empty() {
        let not_reloadable = daemon.not_reloadable(&options.config).map_err(EnableRefusal::Systemctl)?;
        if operation == Operation::Disable && !not_reloadable.is_empty() {
            let daemons: Vec<_> = not_reloadable.iter().map(ToString::to_string).collect();
            return Err(EnableRefusal::NotReloadable(daemons.join("; ")).into());
        }
        let installed =
            InstalledSshd { sshd: &sshd, daemon: &daemon, not_reloadable: &not_reloadable, before: &before };
        let context = ApplyContext { main: &options.config, tree: &tree, lock: &lock, sshd: Some(installed) };
        let reloaded = apply(&plan, &context)?;
        messages.extend(Some(reloaded).filter(|text| !text.is_empty()));
        messages.extend(not_reloadable.iter().map(|sshd| format!("WARNING: not reloaded: {sshd}")));
    } else if lock.is_reload_pending() {
        messages.push(complete_reload(options, &daemon, &lock).map_err(EnableRefusal::Reload)?);
    }
    drop(host_key);
    if operation == Operation::Enable {
        messages.push("Try it: eic-keys --check USER".into());
    }
    Ok(messages)
}

/// `--disable` if no file contains our lines: sshd and its unit need not work for this. `None` if there are lines to
/// remove.
fn nothing_to_undo(
    options: &EnableOptions,
    sshd: &Sshd,
    tree: &ConfigTree,
    daemon: &Daemon<'_>,
    lock: Option<&Lock>,
) -> Result<Option<Vec<String>>, EnableRefusal> {
    let version = sshd.version().unwrap_or_else(|_| OpensshVersion::newest());
    let planner = planner(options, tree, &version, None, &|_| Some(UserSource::Local));
    let mut messages = if planner.read(tree).is_ok() {
        let plan = planner.disable(&daemon.other_files(&options.config))?;
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
    let accepted = sshd.accepts(&options.config).map_err(EnableRefusal::Query);
    let reloaded =
        accepted.and_then(|()| complete_reload(options, daemon, lock).map_err(EnableRefusal::Reload));
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
fn complete_reload(options: &EnableOptions, daemon: &Daemon<'_>, lock: &Lock) -> Result<String, ReloadError> {
    let reloaded = daemon.reload(&options.config, &[])?;
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

/// The current settings of sshd, and what was needed to query them.
struct QueriedSshd {
    sshd: Sshd,
    /// `None` in a dry run in which sshd could not be queried.
    dump: Option<Dump>,
    /// Must exist while sshd is queried.
    host_key: Option<HostKey>,
}

/// Queries sshd, and provides the host key or directory that exists only after its first start.
fn query_sshd(
    options: &EnableOptions,
    mut sshd: Sshd,
    tree: &ConfigTree,
    daemon: &Daemon<'_>,
    root: bool,
    messages: &mut Vec<String>,
) -> Result<QueriedSshd, EnableRefusal> {
    let mut settings = query_settings(&sshd, &options.config);
    // The temporary key, and why it is needed.
    let mut host_key = None;
    match settings {
        Err(error) if error.lacks_host_keys() && !options.dry_run => {
            if daemon.is_running(&options.config) {
                return Err(EnableRefusal::LostHostKeys(error));
            }
            let keygen = find_keygen(options, tree);
            let (with_key, key) =
                host_key::add(&sshd, &keygen, &options.config, tree).map_err(EnableRefusal::HostKey)?;
            sshd = with_key;
            host_key = Some((key, error));
            settings = query_settings(&sshd, &options.config);
        }
        other => settings = other,
    }
    if settings.as_ref().is_err_and(QueryError::lacks_directory) && !options.dry_run {
        // With socket activation, the unit creates this directory for each connection, and it is missing after a
        // boot. It is not removed afterwards, because an sshd that is starting could need it.
        create_privsep_directory(tree)
            .map_err(|error| EnableRefusal::Directory(FileError::new(Path::new(PRIVSEP), error)))?;
        messages
            .push(format!("Note: {PRIVSEP} was created; sshd does not check its configuration without it."));
        settings = query_settings(&sshd, &options.config);
    }
    let dump = match settings {
        Ok(dump) => dump,
        // Without root, sshd cannot read its host keys, but its configuration can be readable.
        Err(error) if options.dry_run && (!root || error.lacks_directory() || error.lacks_host_keys()) => {
            messages.push(format!("Note: {}. The following is from its files alone.", WithCauses(&error)));
            return Ok(QueriedSshd { sshd, dump: None, host_key: None });
        }
        Err(error) => return Err(EnableRefusal::NotAccepted(error)),
    };
    if admin_config(&options.config) != options.config {
        // Only SUSE's sshd reads this file. Another sshd would be queried about a file that it does not read.
        sshd.accepts_default()
            .map_err(|error| EnableRefusal::VendorFileNotRead(options.config.clone(), error))?;
    }
    let Some((key, error)) = host_key else {
        return Ok(QueriedSshd { sshd, dump: Some(dump), host_key: None });
    };
    if let Some(path) = key.unusable_key(&dump, tree) {
        return Err(EnableRefusal::UnusableHostKey(path, error));
    }
    messages.push(
        "Note: sshd has no host keys yet; its configuration was checked with a temporary key. sshd starts when its own keys exist: \
         cloud-init or the image's own tool generates them at the first boot."
            .into(),
    );
    Ok(QueriedSshd { sshd, dump: Some(dump), host_key: Some(key) })
}

/// Removes our lines if sshd was removed and its configuration was not. Effective values are unknown then, and no
/// sshd can fail.
fn without_sshd(
    options: &EnableOptions,
    tree: ConfigTree,
    lock: Option<&Lock>,
) -> Result<Vec<String>, EnableError> {
    let missing = matches!(tree.read(&options.config), Err(error) if error.kind() == ErrorKind::NotFound);
    // Drop-ins can exist without the main file.
    let tree = if missing { tree.with(&options.config, Some(Vec::new())) } else { tree };
    let version = OpensshVersion::newest();
    let planner = planner(options, &tree, &version, None, &|_| Some(UserSource::Local));
    let plan = planner.disable(&[]).map_err(EnableRefusal::Plan)?;
    let mut messages = describe(options, &plan);
    let Some(lock) = lock.filter(|_| !plan.changes.is_empty()) else { return Ok(messages) };
    let context = ApplyContext { main: &options.config, tree: &tree, lock, sshd: None };
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
    let EnableOptions { config: main, program, chain, .. } = options;
    Planner { main, tree, version, dump, program, chain: *chain, find_user }
}

/// The decisions, the changed files and, in a dry run, the diffs.
fn describe(options: &EnableOptions, plan: &Plan) -> Vec<String> {
    let mut messages = plan.messages.clone();
    for change in &plan.changes {
        let (would, did) = match &change.action {
            Action::Create { .. } => ("add", "Added"),
            Action::Replace { .. } => ("change", "Changed"),
            Action::Remove { .. } => ("remove", "Removed"),
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

/// The command that runs ssh-keygen. Empty if it is not installed.
fn find_keygen(options: &EnableOptions, tree: &ConfigTree) -> Vec<OsString> {
    if !options.keygen.is_empty() {
        return options.keygen.clone();
    }
    let mut paths = KEYGENS.map(Path::new).into_iter();
    paths.find(|path| tree.locate(path).is_file()).map(|path| vec![path.into()]).unwrap_or_default()
}

/// The paths of ssh-keygen in distributions and in builds from source.
const KEYGENS: [&str; 2] = ["/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen"];

/// Debian's privilege separation directory. In other distributions a package contains it.
const PRIVSEP: &str = "/run/sshd";

/// Creates it as systemd does for `RuntimeDirectory=sshd`.
fn create_privsep_directory(tree: &ConfigTree) -> std::io::Result<()> {
    let path = tree.locate(Path::new(PRIVSEP));
    fs::create_dir(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
}

/// Queries the effective values, after checking that sshd accepts its current configuration.
fn query_settings(sshd: &Sshd, config: &Path) -> Result<Dump, QueryError> {
    sshd.accepts(config)?;
    sshd.dump(config, &Connection::probe())
}

/// Checks that sshd can run the planned command: our program, as an existing user, with the chained command.
fn check_programs(
    options: &EnableOptions,
    version: &OpensshVersion,
    plan: &mut Plan,
) -> Result<(), EnableRefusal> {
    safe_path::program(&options.root, Path::new(&options.program))
        .map_err(|error| EnableRefusal::Program(options.program.clone(), error))?;
    let user = plan.wanted.user.as_deref().unwrap_or_default();
    if user == OWN_USER.as_bytes() && find_user(&options.root, user).is_none() {
        return Err(EnableRefusal::NoUser);
    }
    let command = plan.wanted.command.as_deref();
    let Some(chained) = command.and_then(|line| managed_lines::chained_program(version, line)) else {
        return Ok(());
    };
    match safe_path::program(&options.root, Path::new(OsStr::from_bytes(&chained))) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            plan.messages.push(format!(
                "Note: {} does not exist: the chained command fails, as it does now.",
                lossy(&chained)
            ));
            Ok(())
        }
        Err(error) => Err(EnableRefusal::ChainedProgram(lossy(&chained), error)),
        Ok(_) => Ok(()),
    }
}

/// Where a user was found: in a local file, as for users of packages, or in a name service. For a file that is too large, `getent`
/// is used.
fn find_user(root: &Path, user: &[u8]) -> Option<UserSource> {
    // Image-based systems use the second path.
    let local = ["etc/passwd", "usr/lib/passwd"].iter().any(|path| {
        let text = files::read(&root.join(path), limits::SYSTEM_FILE).unwrap_or_default();
        text.split(|byte| *byte == b'\n').any(|line| line.split(|byte| *byte == b':').next() == Some(user))
    });
    if local {
        return Some(UserSource::Local);
    }
    // In a separate process, because a static binary must not load a name service library. It works only for the
    // running system.
    (root == Path::new("/") && is_in_name_service(user)).then_some(UserSource::NameService)
}

/// Whether a name service knows a user. Also true if it does not answer in time.
fn is_in_name_service(user: &[u8]) -> bool {
    let arguments = ["passwd".as_ref(), "--".as_ref(), OsStr::from_bytes(user)];
    match run(&["getent".into()], &arguments, NAME_SERVICE_TIMEOUT) {
        Ok(output) => output.status.success() && output.stdout.starts_with(&[user, b":"].concat()),
        Err(error) => error.kind() == ErrorKind::TimedOut,
    }
}

/// An unresponsive directory server must not block an installation.
const NAME_SERVICE_TIMEOUT: Duration = Duration::from_secs(10);

/// Long enough for tools that delete and create a user again.
const RECHECK_DELAY: Duration = Duration::from_secs(5);

/// Continues if the reader of the output is gone.
fn print(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}");
}
