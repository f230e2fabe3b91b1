//! `--enable` and `--disable`: from the command line's wish to sshd's configuration.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{ErrorKind, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    apply::{ApplyError, Asked, Tools, apply},
    ask::{AskError, Dump, PLACES, Sshd},
    block,
    daemon::{Daemon, PATIENCE},
    diff,
    lock::Lock,
    plan::{OWN_USER, Plan, Refusal, Situation, lossy, probe},
    run::run,
    source::Source,
    token::Dialect,
    trusted,
};

/// What is wished, and the system that it is wished on.
#[derive(Clone, Debug)]
pub struct Options {
    /// Print what would be done, and do nothing.
    pub dry_run: bool,
    /// Put a command that is there already behind ours, rather than refuse.
    pub chain: bool,
    /// Do nothing but where our lines count and the user that they name does not exist.
    pub if_user_missing: bool,
    /// The system's root directory.
    pub root: PathBuf,
    /// The words that run sshd; none: it is looked for.
    pub sshd: Vec<OsString>,
    /// The words that run systemctl.
    pub systemctl: Vec<OsString>,
    /// sshd's main file, as sshd names it.
    pub config: PathBuf,
    /// eic-keys, as sshd shall run it.
    pub program: String,
}

impl Options {
    /// For the machine that this runs on.
    #[must_use]
    pub fn system(dry_run: bool, chain: bool) -> Self {
        Self {
            dry_run,
            chain,
            if_user_missing: false,
            root: "/".into(),
            sshd: Vec::new(),
            systemctl: vec!["systemctl".into()],
            config: "/etc/ssh/sshd_config".into(),
            program: "/usr/bin/eic-keys".into(),
        }
    }
}

/// How it ended. What was decided is in the output; a reason is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as wished, or would be; maybe it was before.
    Done,
    /// Nothing was changed, and why.
    Refused(String),
    /// It failed half-way and was put back, and why.
    RolledBack(String),
}

impl Outcome {
    /// Why it is not done, for people.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Done => None,
            Self::Refused(reason) => Some(format!("refused, nothing was changed: {reason}")),
            Self::RolledBack(reason) => Some(format!("failed, and put back: {reason}")),
        }
    }

    /// The exit status that says so.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused(_) => 1,
            Self::RolledBack(_) => 2,
        }
    }
}

/// Wires sshd to eic-keys. Decisions, and in a dry run a unified diff, go to `out`.
#[must_use]
pub fn enable(options: &Options, out: &mut dyn Write) -> Outcome {
    outcome(wire(options, Wish::Enable, out))
}

/// Takes our lines out again.
#[must_use]
pub fn disable(options: &Options, out: &mut dyn Write) -> Outcome {
    outcome(wire(options, Wish::Disable, out))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Enable,
    Disable,
}

fn outcome(result: Result<(), ApplyError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(ApplyError::Refused(reason)) => Outcome::Refused(reason),
        Err(ApplyError::RolledBack(reason)) => Outcome::RolledBack(reason),
    }
}

impl From<Refusal> for ApplyError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.0)
    }
}

fn refused<T>(reason: impl Into<String>) -> Result<T, ApplyError> {
    Err(ApplyError::Refused(reason.into()))
}

fn wire(options: &Options, wish: Wish, out: &mut dyn Write) -> Result<(), ApplyError> {
    let root = rustix::process::geteuid().is_root();
    if !options.dry_run && !root {
        return refused("only root can change sshd's configuration; --dry-run shows what would be done");
    }
    let source = Source::new(&options.root);
    let found = find(options, &source);
    if found.is_none() && wish == Wish::Enable {
        return refused(format!(
            "there is no sshd here ({}): install OpenSSH's server first",
            PLACES.join(", ")
        ));
    }
    let lock = if options.dry_run { None } else { Some(Lock::take(&source).map_err(ApplyError::Refused)?) };
    let Some(sshd) = found else { return without_sshd(options, source, lock.as_ref(), out) };

    let dialect = sshd.dialect().map_err(|error| ApplyError::Refused(error.to_string()))?;
    let has_user = |user: &[u8]| has_user(&options.root, user);
    if options.if_user_missing && !situation(options, &source, &dialect, None, &has_user).lacks_user() {
        return Ok(());
    }
    let daemon = Daemon { source: &source, systemctl: &options.systemctl, patience: PATIENCE };
    let mut answer = ask(&sshd, &options.config);
    if matches!(&answer, Err(error) if error.lacks_directory()) && !options.dry_run {
        // Where a socket starts sshd, its unit makes this for each connection, and it is gone after a boot. It
        // stays: to take it away again could take it from an sshd that is just starting.
        make_directory(&source).map_err(|error| ApplyError::Refused(format!("{PRIVSEP}: {error}")))?;
        say(out, &format!("Note: {PRIVSEP} was made; sshd does not check its configuration without it."));
        answer = ask(&sshd, &options.config);
    }
    let dump = match answer {
        Ok(dump) => Some(dump),
        // Without root sshd cannot read its keys; its files may still be read.
        Err(error) if options.dry_run && (!root || error.lacks_directory()) => {
            say(out, &format!("Note: {error}. What follows is what its files say."));
            None
        }
        Err(error) => return refused(broken(&error)),
    };
    let situation = situation(options, &source, &dialect, dump.as_ref(), &has_user);
    let plan = match wish {
        Wish::Enable => {
            if let Some(reason) = daemon.overridden(&options.config) {
                return refused(reason);
            }
            let mut plan = situation.enable()?;
            runnable(options, &dialect, &mut plan)?;
            plan
        }
        Wish::Disable => situation.disable()?,
    };
    show(options, &plan, out);
    let (Some(lock), Some(before)) = (lock, dump) else { return Ok(()) };
    if !plan.changes.is_empty() {
        let asked = Some(Asked { sshd: &sshd, daemon: &daemon, before: &before });
        let tools = Tools { main: &options.config, source: &source, lock: &lock, asked };
        say(out, &apply(&plan, &tools)?);
    } else if lock.is_unread() {
        let told = daemon.reload().map_err(ApplyError::Refused)?;
        lock.set_read();
        say(out, &format!("An earlier run was cut off before sshd was told. {told}"));
    }
    Ok(())
}

/// Takes our lines out where sshd is gone and its configuration stayed. Nobody can say what counts then; nobody is there to break.
fn without_sshd(
    options: &Options,
    source: Source,
    lock: Option<&Lock>,
    out: &mut dyn Write,
) -> Result<(), ApplyError> {
    let gone = matches!(source.read(&options.config), Err(error) if error.kind() == ErrorKind::NotFound);
    // Drop-ins may have stayed without it.
    let source = if gone { source.with(&options.config, Some(Vec::new())) } else { source };
    let plan = situation(options, &source, &Dialect::newest(), None, &|_| true).disable()?;
    show(options, &plan, out);
    let Some(lock) = lock.filter(|_| !plan.changes.is_empty()) else { return Ok(()) };
    let tools = Tools { main: &options.config, source: &source, lock, asked: None };
    say(out, &apply(&plan, &tools)?);
    Ok(())
}

fn situation<'a>(
    options: &'a Options,
    source: &'a Source,
    dialect: &'a Dialect,
    dump: Option<&'a Dump>,
    has_user: &'a dyn Fn(&[u8]) -> bool,
) -> Situation<'a> {
    let Options { config: main, program, chain, .. } = options;
    Situation { main, source, dialect, dump, program, chain: *chain, has_user }
}

/// What is decided, and in a dry run the files' diffs.
fn show(options: &Options, plan: &Plan, out: &mut dyn Write) {
    for line in &plan.said {
        say(out, line);
    }
    for change in plan.changes.iter().filter(|_| options.dry_run) {
        let diff = diff::unified(&change.path, change.before.as_deref(), change.after.as_deref());
        say(out, diff.trim_end_matches('\n'));
    }
}

fn find(options: &Options, source: &Source) -> Option<Sshd> {
    if options.sshd.is_empty() { Sshd::find(source) } else { Some(Sshd::new(&options.sshd)) }
}

/// Debian's privilege separation directory. Others are part of a package and always there.
const PRIVSEP: &str = "/run/sshd";

/// As systemd makes it for `RuntimeDirectory=sshd`.
fn make_directory(source: &Source) -> std::io::Result<()> {
    let path = source.locate(Path::new(PRIVSEP));
    fs::create_dir(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
}

/// sshd has to accept its configuration as it is; then it says what counts.
fn ask(sshd: &Sshd, config: &Path) -> Result<Dump, AskError> {
    sshd.accepts(config)?;
    sshd.dump(config, &probe())
}

fn broken(error: &AskError) -> String {
    format!("sshd does not accept its configuration as it is now: {error}; {}", error.remedy())
}

/// Whether sshd can run what the plan has it run: our program, as a user that there is, and behind it theirs.
fn runnable(options: &Options, dialect: &Dialect, plan: &mut Plan) -> Result<(), ApplyError> {
    if let Err(error) = trusted::program(&options.root, Path::new(&options.program)) {
        return refused(format!("sshd would not run {}: {error}", options.program));
    }
    let user = plan.wanted.user.as_deref().unwrap_or_default();
    if user == OWN_USER.as_bytes() && !has_user(&options.root, user) {
        return refused(format!(
            "there is no user {OWN_USER}. Make it: \
             useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin {OWN_USER}"
        ));
    }
    let Some(theirs) = plan.wanted.command.as_deref().and_then(|line| block::behind(dialect, line)) else {
        return Ok(());
    };
    match trusted::program(&options.root, Path::new(OsStr::from_bytes(&theirs))) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            plan.said
                .push(format!("Note: {} is not there: its part will fail, as it does now.", lossy(&theirs)));
            Ok(())
        }
        Err(error) => refused(format!(
            "sshd would not run {} itself: {error}. Behind eic-keys it must not run either",
            lossy(&theirs)
        )),
        Ok(()) => Ok(()),
    }
}

/// Whether there is a user of this name: a local one, as packages make theirs, or one that a name service knows.
fn has_user(root: &Path, user: &[u8]) -> bool {
    // The second is where image-based systems keep theirs.
    let local = ["etc/passwd", "usr/lib/passwd"].iter().any(|path| {
        let text = fs::read(root.join(path)).unwrap_or_default();
        text.split(|byte| *byte == b'\n').any(|line| line.split(|byte| *byte == b':').next() == Some(user))
    });
    // Another process: a static binary must not load a name service's library. It speaks of the running system alone.
    local || root == Path::new("/") && named_by_service(user)
}

fn named_by_service(user: &[u8]) -> bool {
    let arguments = ["passwd".as_ref(), "--".as_ref(), OsStr::from_bytes(user)];
    let ran = run(&["getent".into()], &arguments, NAME_SERVICE_PATIENCE);
    ran.is_ok_and(|ran| ran.status.success() && ran.stdout.starts_with(&[user, b":"].concat()))
}

/// A directory server that does not answer must not hold up an installation.
const NAME_SERVICE_PATIENCE: Duration = Duration::from_secs(10);

/// A reader that went away is no reason to stop half-way.
fn say(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}");
}
