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
    apply::{ApplyError, Asked, Tools, apply},
    block,
    config_tree::{ConfigTree, MIB, read_bounded},
    daemon::{Daemon, PATIENCE},
    diff,
    host_key::{self, HostKey},
    lexer::OpensshVersion,
    lock::Lock,
    plan::{DROP_INS, Found, OWN_USER, Plan, PlanError, Situation, Users, lossy, probe},
    query::{ADMINISTRATORS, AskError, Dump, PLACES, Sshd, administrators, main_file},
    replace::{self, cause},
};
use crate::process::run;
use crate::safe_path;

/// The options, and the system to change.
#[derive(Clone, Debug)]
pub struct WiringOptions {
    /// Print the changes without making them.
    pub dry_run: bool,
    /// Chain an existing command instead of refusing.
    pub chain: bool,
    /// Do nothing unless our lines are effective and name a user that does not exist, or leave out a command whose
    /// user exists again.
    pub if_user_missing: bool,
    /// How long to wait before a missing user is looked up again.
    pub second_look: Duration,
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

impl WiringOptions {
    /// The options for this machine.
    #[must_use]
    pub fn system(dry_run: bool, chain: bool) -> Self {
        Self {
            dry_run,
            chain,
            if_user_missing: false,
            second_look: SECOND_LOOK,
            root: "/".into(),
            sshd: Vec::new(),
            keygen: Vec::new(),
            systemctl: vec!["systemctl".into()],
            config: ADMINISTRATORS.into(),
            program: "/usr/bin/eic-keys".into(),
        }
    }
}

/// The result. Decisions are in the output, reasons here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WiringOutcome {
    /// Done, or nothing to do. In a dry run, nothing was changed.
    Done,
    /// Nothing was changed, for this reason.
    Refused(String),
    /// A change failed and was undone, for this reason.
    RolledBack(String),
}

impl WiringOutcome {
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
pub fn enable(options: &WiringOptions, out: &mut dyn Write) -> WiringOutcome {
    outcome(wire(options, Wish::Enable, out))
}

/// Removes our lines from sshd's configuration.
#[must_use]
pub fn disable(options: &WiringOptions, out: &mut dyn Write) -> WiringOutcome {
    outcome(wire(options, Wish::Disable, out))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Enable,
    Disable,
}

fn outcome(result: Result<(), ApplyError>) -> WiringOutcome {
    match result {
        Ok(()) => WiringOutcome::Done,
        Err(ApplyError::Refused(reason)) => WiringOutcome::Refused(reason),
        Err(ApplyError::RolledBack(reason)) => WiringOutcome::RolledBack(reason),
    }
}

impl From<PlanError> for ApplyError {
    fn from(refusal: PlanError) -> Self {
        Self::Refused(refusal.0)
    }
}

fn refused<T>(reason: impl Into<String>) -> Result<T, ApplyError> {
    Err(ApplyError::Refused(reason.into()))
}

/// Prints nothing before the end, so that a refusal or a rollback has only its reason as output.
fn wire(options: &WiringOptions, wish: Wish, out: &mut dyn Write) -> Result<(), ApplyError> {
    let mut said = decide(options, wish)?;
    if options.if_user_missing && !said.is_empty() {
        // A change during this run does not trigger the unit again, so check again.
        said.extend(decide(options, wish)?);
    }
    for line in said {
        say(out, &line);
    }
    if !options.dry_run && !options.if_user_missing {
        for line in note(&ConfigTree::new(&options.root), wish) {
            say(out, &line);
        }
    }
    Ok(())
}

/// Where the packages record the state (`deb/eic-keys.postinst`, `rpm/eic-keys.spec`).
const NOTES: &str = "/var/lib/eic-keys";

/// Records the state for the packages: after openssh-server is purged and installed again, they repeat `--enable`,
/// but not after `--disable`.
fn note(tree: &ConfigTree, wish: Wish) -> Vec<String> {
    let notes = tree.locate(Path::new(NOTES));
    if wish == Wish::Enable {
        // The directory exists if a package is installed. Packages record their own runs; this records manual ones.
        if notes.is_dir() {
            let _ = fs::File::options().append(true).create(true).open(notes.join("wired"));
        }
        return Vec::new();
    }
    let mut said = Vec::new();
    for path in ["enable", "later", "wired"].map(|name| notes.join(name)) {
        // Checked first: on a read-only file system, removing a missing file is an error.
        let removed = if fs::symlink_metadata(&path).is_ok() { fs::remove_file(&path) } else { Ok(()) };
        if let Err(error) = removed {
            said.push(format!(
                "Note: {}. While it is there, an installation of openssh-server can set sshd up again.",
                cause(&path, &error)
            ));
        }
    }
    said
}

fn decide(options: &WiringOptions, wish: Wish) -> Result<Vec<String>, ApplyError> {
    let root = rustix::process::geteuid().is_root();
    if !options.dry_run && !root {
        return refused("only root can change sshd's configuration; --dry-run shows what would be done");
    }
    let tree = ConfigTree::new(&options.root);
    let found = find(options, &tree);
    if found.is_none() && options.if_user_missing {
        return Ok(Vec::new());
    }
    if found.is_none() && wish == Wish::Enable {
        return refused(format!(
            "there is no sshd here ({}): install OpenSSH's server first",
            PLACES.join(", ")
        ));
    }
    let options = &WiringOptions { config: main_file(&tree, &options.config), ..options.clone() };
    if let Some(sshd) = found.as_ref().filter(|_| options.if_user_missing) {
        if users(options, sshd, &tree)? == Users::Fit {
            return Ok(Vec::new());
        }
    }
    let lock = if options.dry_run { None } else { Some(Lock::take(&tree).map_err(ApplyError::Refused)?) };
    if lock.is_some() {
        clear_away(&tree, administrators(&options.config));
    }
    let Some(sshd) = found else { return without_sshd(options, tree, lock.as_ref()) };

    let daemon = Daemon::new(&tree, &options.systemctl, PATIENCE);
    if wish == Wish::Disable {
        if let Some(place) = daemon.naming(&options.config, &options.program) {
            return refused(format!(
                "{place} has -o AuthorizedKeysCommand with {}: it was set by hand, so take it out by hand, then run this again",
                options.program
            ));
        }
        if let Some(said) = nothing_to_undo(options, &sshd, &tree, &daemon, lock.as_ref())? {
            return Ok(said);
        }
    }
    let version = sshd.version().map_err(|error| ApplyError::Refused(error.to_string()))?;
    // Cached, because a query to an unresponsive directory server is slow.
    let known = RefCell::new(BTreeMap::new());
    let find_user = |user: &[u8]| {
        *known.borrow_mut().entry(user.to_vec()).or_insert_with(|| find_user(&options.root, user))
    };
    let mut said = Vec::new();
    let Answered { sshd, dump, host_key } = answer(options, sshd, &tree, &daemon, root, &mut said)?;
    let situation = situation(options, &tree, &version, dump.as_ref(), &find_user);
    let plan = match wish {
        Wish::Enable => {
            if let Some(reason) = daemon.overridden(&options.config) {
                return refused(reason);
            }
            let mut plan = situation.enable()?;
            runnable(options, &version, &mut plan)?;
            plan.said.extend(daemon.others(&options.config));
            plan
        }
        Wish::Disable => situation.disable(&daemon.other_files(&options.config))?,
    };
    said.extend(shown(options, &plan));
    let (Some(lock), Some(before)) = (lock, dump) else { return Ok(said) };
    if !plan.changes.is_empty() {
        let untold = daemon.untold(&options.config).map_err(ApplyError::Refused)?;
        let reasons = untold.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if wish == Wish::Disable && !untold.is_empty() {
            return refused(format!(
                "an sshd that runs would go on with our lines, as it cannot be told of the change: {reasons}"
            ));
        }
        let asked = Some(Asked { sshd: &sshd, daemon: &daemon, untold: &untold, before: &before });
        let tools = Tools { main: &options.config, tree: &tree, lock: &lock, asked };
        let told = apply(&plan, &tools)?;
        said.extend(Some(told).filter(|told| !told.is_empty()));
        said.extend(untold.iter().map(|untold| format!("WARNING: not told of the change: {untold}")));
    } else if lock.is_unread() {
        said.push(reload_at_last(options, &daemon, &lock).map_err(ApplyError::Refused)?);
    }
    drop(host_key);
    if wish == Wish::Enable {
        said.push("Try it: eic-keys --check USER".into());
    }
    Ok(said)
}

/// `--disable` if no file contains our lines: sshd and its unit need not work for this. `None` if there are lines to
/// remove.
fn nothing_to_undo(
    options: &WiringOptions,
    sshd: &Sshd,
    tree: &ConfigTree,
    daemon: &Daemon<'_>,
    lock: Option<&Lock>,
) -> Result<Option<Vec<String>>, ApplyError> {
    let version = sshd.version().unwrap_or_else(|_| OpensshVersion::newest());
    let situation = situation(options, tree, &version, None, &|_| Some(Found::Local));
    let mut said = if situation.read(tree).is_ok() {
        let plan = situation.disable(&daemon.other_files(&options.config))?;
        if !plan.changes.is_empty() {
            return Ok(None);
        }
        plan.said
    } else if situation.shows_nothing_of_ours() {
        vec!["Nothing to do: sshd's configuration has no lines of eic-keys.".to_owned()]
    } else {
        return Ok(None);
    };
    let Some(lock) = lock.filter(|lock| lock.is_unread()) else { return Ok(Some(said)) };
    // The running sshd can still use our lines, but must not be reloaded with a configuration that makes it exit.
    let accepted = sshd.accepts(&options.config).map_err(|error| error.to_string());
    said.push(accepted.and_then(|()| reload_at_last(options, daemon, lock)).unwrap_or_else(|error| {
        format!(
            "Note: an earlier run could not tell sshd of its change, nor could this one: {error}. If sshd was started or reloaded \
             while lines of eic-keys were there, restart it."
        )
    }));
    Ok(Some(said))
}

/// Reloads sshd after an earlier run that changed its files and was killed before it reloaded sshd.
fn reload_at_last(options: &WiringOptions, daemon: &Daemon<'_>, lock: &Lock) -> Result<String, String> {
    let told = daemon.reload(&options.config, &[]).map_err(|error| error.reason)?;
    lock.set_read();
    Ok(format!("An earlier run was cut off before sshd was told. {told}"))
}

/// Whether our lines match the existing users. A missing user is looked up twice, because a user can be deleted and
/// created again, for example with another uid.
fn users(options: &WiringOptions, sshd: &Sshd, tree: &ConfigTree) -> Result<Users, ApplyError> {
    let version = sshd.version().map_err(|error| ApplyError::Refused(error.to_string()))?;
    let find_user = |user: &[u8]| find_user(&options.root, user);
    let situation = situation(options, tree, &version, None, &find_user);
    let users = situation.users();
    if users != Users::Gone {
        return Ok(users);
    }
    thread::sleep(options.second_look);
    Ok(situation.users())
}

/// Removes the files of a run that was killed. The lock is held, so no other run needs them.
fn clear_away(tree: &ConfigTree, main: &Path) {
    let ssh = main.parent().unwrap_or(main);
    for directory in [ssh, &ssh.join(DROP_INS)] {
        replace::clear_away(&tree.locate(directory));
    }
    host_key::clear_away(tree);
}

/// sshd's answer about its current configuration, and what it needed for the answer.
struct Answered {
    sshd: Sshd,
    /// `None` in a dry run in which sshd could not be queried.
    dump: Option<Dump>,
    /// Must exist while sshd is queried.
    host_key: Option<HostKey>,
}

/// Queries sshd, and provides the host key or directory that exists only after its first start.
fn answer(
    options: &WiringOptions,
    mut sshd: Sshd,
    tree: &ConfigTree,
    daemon: &Daemon<'_>,
    root: bool,
    said: &mut Vec<String>,
) -> Result<Answered, ApplyError> {
    let lacks_keys =
        |answer: &Result<Dump, AskError>| matches!(answer, Err(error) if error.lacks_host_keys());
    let lacks_directory =
        |answer: &Result<Dump, AskError>| matches!(answer, Err(error) if error.lacks_directory());
    let mut host_key = None;
    let mut answer = ask(&sshd, &options.config);
    let refusal = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
    if lacks_keys(&answer) && !options.dry_run {
        if daemon.runs(&options.config) {
            return refused(format!(
                "sshd runs, but has no host keys that it could start with again, and would end at a reload ({refusal}): \
                 restore them, or make them on this instance with ssh-keygen -A, then run this again"
            ));
        }
        let keygen = keygen(options, tree);
        let (equipped, made) =
            host_key::supply(&sshd, &keygen, &options.config, tree).map_err(ApplyError::Refused)?;
        (sshd, host_key) = (equipped, Some(made));
        answer = ask(&sshd, &options.config);
    }
    if lacks_directory(&answer) && !options.dry_run {
        // With socket activation, the unit creates this directory for each connection, and it is missing after a
        // boot. It is not removed afterwards, because an sshd that is starting could need it.
        make_directory(tree).map_err(|error| ApplyError::Refused(cause(Path::new(PRIVSEP), &error)))?;
        said.push(format!("Note: {PRIVSEP} was made; sshd does not check its configuration without it."));
        answer = ask(&sshd, &options.config);
    }
    let dump = match answer {
        Ok(dump) => dump,
        // Without root, sshd cannot read its host keys, but its configuration can be readable.
        Err(error) if options.dry_run && (!root || error.lacks_directory() || error.lacks_host_keys()) => {
            said.push(format!("Note: {error}. What follows is what its files say."));
            return Ok(Answered { sshd, dump: None, host_key });
        }
        Err(error) => return refused(broken(&error)),
    };
    if administrators(&options.config) != options.config {
        // Only SUSE's sshd reads this file. Another sshd would be queried about a file that it does not read.
        if let Err(error) = sshd.starts() {
            return refused(format!(
                "{} is missing, and this sshd does not read {} in its place: {error}",
                administrators(&options.config).display(),
                options.config.display()
            ));
        }
    }
    if let Some(key) = &host_key {
        if let Some(path) = key.covers_up(&dump, tree) {
            return refused(format!(
                "sshd cannot use {}, which is there: {refusal}; fix that first (sshd -t shows it)",
                path.display()
            ));
        }
        said.push(
            "Note: sshd has no host keys yet; its configuration was checked with a key made for that. sshd starts when \
             its own are there: cloud-init or the image's own tool makes them at the first boot."
                .into(),
        );
    }
    Ok(Answered { sshd, dump: Some(dump), host_key })
}

/// Removes our lines if sshd was removed and its configuration was not. Effective values are unknown then, and no
/// sshd can fail.
fn without_sshd(
    options: &WiringOptions,
    tree: ConfigTree,
    lock: Option<&Lock>,
) -> Result<Vec<String>, ApplyError> {
    let gone = matches!(tree.read(&options.config), Err(error) if error.kind() == ErrorKind::NotFound);
    // Drop-ins can exist without the main file.
    let tree = if gone { tree.with(&options.config, Some(Vec::new())) } else { tree };
    let plan =
        situation(options, &tree, &OpensshVersion::newest(), None, &|_| Some(Found::Local)).disable(&[])?;
    let mut said = shown(options, &plan);
    let Some(lock) = lock.filter(|_| !plan.changes.is_empty()) else { return Ok(said) };
    let tools = Tools { main: &options.config, tree: &tree, lock, asked: None };
    said.push(apply(&plan, &tools)?);
    Ok(said)
}

fn situation<'a>(
    options: &'a WiringOptions,
    tree: &'a ConfigTree,
    version: &'a OpensshVersion,
    dump: Option<&'a Dump>,
    find_user: &'a dyn Fn(&[u8]) -> Option<Found>,
) -> Situation<'a> {
    let WiringOptions { config: main, program, chain, .. } = options;
    Situation { main, tree, version, dump, program, chain: *chain, find_user }
}

/// The decisions, the changed files and, in a dry run, the diffs.
fn shown(options: &WiringOptions, plan: &Plan) -> Vec<String> {
    let mut said = plan.said.clone();
    for change in &plan.changes {
        let (would, did) = match (&change.before, &change.after) {
            (None, _) => ("add", "Added"),
            (_, None) => ("remove", "Removed"),
            _ => ("change", "Changed"),
        };
        let path = change.path.display();
        said.push(if options.dry_run { format!("Would {would} {path}.") } else { format!("{did} {path}.") });
    }
    for change in plan.changes.iter().filter(|_| options.dry_run) {
        let diff = diff::unified(&change.path, change.before.as_deref(), change.after.as_deref());
        said.push(diff.trim_end_matches('\n').to_owned());
    }
    said
}

fn find(options: &WiringOptions, tree: &ConfigTree) -> Option<Sshd> {
    if options.sshd.is_empty() { Sshd::find(tree) } else { Some(Sshd::new(&options.sshd)) }
}

/// The command that runs ssh-keygen. Empty if it is not installed.
fn keygen(options: &WiringOptions, tree: &ConfigTree) -> Vec<OsString> {
    if !options.keygen.is_empty() {
        return options.keygen.clone();
    }
    let mut places = KEYGENS.map(Path::new).into_iter();
    places.find(|path| tree.locate(path).is_file()).map(|path| vec![path.into()]).unwrap_or_default()
}

/// The paths of ssh-keygen in distributions and in builds from source.
const KEYGENS: [&str; 2] = ["/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen"];

/// Debian's privilege separation directory. In other distributions a package contains it.
const PRIVSEP: &str = "/run/sshd";

/// Creates it as systemd does for `RuntimeDirectory=sshd`.
fn make_directory(tree: &ConfigTree) -> std::io::Result<()> {
    let path = tree.locate(Path::new(PRIVSEP));
    fs::create_dir(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
}

/// Queries the effective values, after checking that sshd accepts its current configuration.
fn ask(sshd: &Sshd, config: &Path) -> Result<Dump, AskError> {
    sshd.accepts(config)?;
    sshd.dump(config, &probe())
}

fn broken(error: &AskError) -> String {
    format!("sshd does not accept its configuration as it is now: {error}; {}", error.remedy())
}

/// Checks that sshd can run the planned command: our program, as an existing user, with the chained command.
fn runnable(options: &WiringOptions, version: &OpensshVersion, plan: &mut Plan) -> Result<(), ApplyError> {
    if let Err(error) = safe_path::program(&options.root, Path::new(&options.program)) {
        return refused(format!("sshd would not run {}: {error}", options.program));
    }
    let user = plan.wanted.user.as_deref().unwrap_or_default();
    if user == OWN_USER.as_bytes() && find_user(&options.root, user).is_none() {
        return refused(format!(
            "there is no user {OWN_USER}. Make it: \
             useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin {OWN_USER}"
        ));
    }
    let Some(theirs) = plan.wanted.command.as_deref().and_then(|line| block::behind(version, line)) else {
        return Ok(());
    };
    match safe_path::program(&options.root, Path::new(OsStr::from_bytes(&theirs))) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            plan.said
                .push(format!("Note: {} is not there: its part will fail, as it does now.", lossy(&theirs)));
            Ok(())
        }
        Err(error) => refused(format!(
            "sshd would not run {} itself: {error}. Behind eic-keys it must not run either: let root own it and root alone write to it, \
             or take out the lines that set it, then run --enable again",
            lossy(&theirs)
        )),
        Ok(()) => Ok(()),
    }
}

/// Where a user was found: in a local file, as for users of packages, or in a name service.
fn find_user(root: &Path, user: &[u8]) -> Option<Found> {
    // Image-based systems use the second path.
    let local = ["etc/passwd", "usr/lib/passwd"].iter().any(|path| {
        let text = read_bounded(&root.join(path), LARGEST_PASSWD).unwrap_or_default();
        text.split(|byte| *byte == b'\n').any(|line| line.split(|byte| *byte == b':').next() == Some(user))
    });
    if local {
        return Some(Found::Local);
    }
    // In a separate process, because a static binary must not load a name service library. It works only for the
    // running system.
    (root == Path::new("/") && named_by_service(user)).then_some(Found::Served)
}

/// Whether a name service knows a user. Also true if it does not answer in time.
fn named_by_service(user: &[u8]) -> bool {
    let arguments = ["passwd".as_ref(), "--".as_ref(), OsStr::from_bytes(user)];
    match run(&["getent".into()], &arguments, NAME_SERVICE_PATIENCE) {
        Ok(ran) => ran.status.success() && ran.stdout.starts_with(&[user, b":"].concat()),
        Err(error) => error.kind() == ErrorKind::TimedOut,
    }
}

/// Maximum size of `/etc/passwd`, enough for some hundred thousand users. For a larger file, `getent` is used.
const LARGEST_PASSWD: u64 = 16 * MIB;

/// An unresponsive directory server must not block an installation.
const NAME_SERVICE_PATIENCE: Duration = Duration::from_secs(10);

/// Long enough for tools that delete and create a user again.
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// Continues if the reader of the output is gone.
fn say(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}");
}
