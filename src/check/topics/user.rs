//! Checks whether the user's account allows logins.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::nsswitch;
use super::pam::{asks_pam, needs_pam_unix, pam_unix_counts};
use super::shell::{self, Caller};
use crate::account::{Account, describe_user, has_entry, is_root};
use crate::check::check_id::CheckId;
use crate::check::fault::Fault;
use crate::check::fix::CommandWord::{Literal, Path as File, Value};
use crate::check::fix::Fix;
use crate::check::pam_config::{self, Module, ModuleType};
use crate::check::pam_stack::{self, ReturnValues};
use crate::check::request::{CheckRequest, CheckTarget};
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::settings::Settings;
use crate::ec2::UserName;
use crate::files;
use crate::limits;
use crate::ownership::{self, OwnershipFault};
use crate::path_walk::resolve;
use crate::tool::{ask, named};

/// Checks whether EC2 Instance Connect accepts the user name.
pub(crate) async fn name(runner: &Runner, request: &CheckRequest) -> Finding<UserName> {
    runner
        .check(CheckId::UserName, (), async |()| {
            let Some(user) = &request.user else { return Answer::skip("no USER was given") };
            match UserName::parse(user.as_encoded_bytes()) {
                Some(name) => Answer::ok(format!("EC2 Instance Connect accepts the name {name}"), name),
                None => Answer::fail(
                    format!("EC2 Instance Connect does not accept the user name {}", user.to_string_lossy()),
                    Fix::advice(
                        "log in as a user whose name begins with a letter, _ or a digit, has at most 32 letters, digits and @._-, and is not a number",
                    ),
                ),
            }
        })
        .await
}

/// The result for a failed query of the name service, which sshd cannot query either.
pub(crate) fn no_name_service<T>(error: &io::Error) -> Answer<T> {
    if error.kind() == ErrorKind::NotFound {
        return Answer::skip("users cannot be looked up: getent is not installed");
    }
    let services = nsswitch::of_users_and_groups();
    let mut fix = format!(
        "find out which name service of /etc/nsswitch.conf{services} does not answer: getent passwd USER, and id USER"
    );
    if Path::new("/run/nscd/socket").exists() {
        fix = format!(
            "restart nscd, which is asked first: systemctl restart nscd; if that does not help, {fix}"
        );
    }
    let answer = Answer::fail(error.to_string(), Fix::advice(fix));
    if error.kind() == ErrorKind::TimedOut { answer.name_service_hangs() } else { answer }
}

/// Checks whether the user exists.
pub(crate) async fn account(
    runner: &Runner,
    target: &CheckTarget<'_>,
    name: &Finding<UserName>,
) -> Finding<Account> {
    runner
        .check_in_thread(CheckId::UserAccount, name, |name| {
            let (name, root) = (name.to_string(), target.root.to_owned());
            move || match Account::find(&name) {
                // Such a number means "unchanged" to setresuid(2): sshd closes the connection.
                Ok(Some(account)) if account.uid == u32::MAX || account.gid == u32::MAX => Answer::fail(
                    format!("{name} has uid {}, gid {}: {} is not valid", account.uid, account.gid, u32::MAX),
                    Fix::advice(format!(
                        "give {name} another number: usermod --uid, and groupmod --gid for the group"
                    )),
                ),
                Ok(Some(account)) => Answer::ok(format!("{name} has uid {}", account.uid), account),
                Ok(None) => not_found(&root, &name),
                Err(error) => no_name_service(&error),
            }
        })
        .await
}

/// The result if the name service does not find a user.
fn not_found(root: &Path, name: &str) -> Answer<Account> {
    if let Some(fault) = damaged_file(root, "/etc/passwd") {
        return fault.after(&format!("there is no user {name} on this system")).fail();
    }
    let passwd = files::system_text(root, "/etc/passwd");
    if !has_entry(&passwd, name) {
        // As a person types or copies it: Alice, alice., or a space at the end.
        let letters = |name: &str| {
            name.chars().filter(|one| one.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>()
        };
        if let Some(fault) = damaged_line(&passwd, name) {
            return fault.after(&format!("there is no user {name} on this system")).fail();
        }
        let similar = passwd.lines().filter_map(|line| line.split(':').next());
        let similar = similar.into_iter().find(|other| letters(other) == letters(name));
        if let Some(other) = similar {
            return Answer::fail(
                format!("there is no user {name} on this system, but {other}"),
                Fix::advice(format!(
                    "log in, and push the key, as {other}: for sshd and EC2 Instance Connect these are two names"
                )),
            );
        }
        let note = format!("there is no user {name} on this system");
        return match nsswitch::of_directory(root, name) {
            Some(fault) => fault.after(&note).fail(),
            None => Answer::fail(note, create(root, name)),
        };
    }
    if let Some(fault) = nsswitch::hidden(root, &passwd, name) {
        return fault.fail();
    }
    match nsswitch::without_files(root, "passwd") {
        Some(line) => Answer::fail(
            format!(
                "the passwd line of /etc/nsswitch.conf is \"{line}\": it does not use /etc/passwd, which has {name}"
            ),
            Fix::advice(
                "put files before the other services in the passwd line of /etc/nsswitch.conf: passwd: files",
            ),
        ),
        None => Answer::fail(
            format!("/etc/passwd has a line of {name}, but the name service does not find that user"),
            Fix::advice(format!(
                "check the line of {name} in /etc/passwd (pwck -r), and the passwd line of /etc/nsswitch.conf"
            )),
        ),
    }
}

/// A line of passwd(5) in which the name of the user has white space, or that stands behind another line without a line break.
fn damaged_line(passwd: &str, name: &str) -> Option<Fault> {
    let is_joined =
        |fields: &[&str]| fields.len() > 7 && fields.get(6).is_some_and(|shell| shell.ends_with(name));
    passwd.lines().zip(1_usize..).find_map(|(line, number)| {
        let fields: Vec<_> = line.split(':').collect();
        let (what, change) = match fields.first() {
            Some(first) if first.trim() == name => ("has white space beside the name", "remove it"),
            _ if is_joined(&fields) => ("has two users, without a line break", "divide it"),
            _ => return None,
        };
        let note = format!("/etc/passwd line {number} {what}");
        Some(Fault::with_advice(note, format!("{change}: vipw")))
    })
}

/// Why a file of all users is not whole, and the fix. A command that adds one user would begin a new file.
fn damaged_file(root: &Path, path: &str) -> Option<Fault> {
    let what = match files::read_text(&files::below(root, Path::new(path)), limits::SYSTEM_FILE) {
        Ok(text) if path == "/etc/shadow" && !text.is_empty() => return None,
        Ok(text) if text.lines().any(|line| line.starts_with("root:")) => return None,
        Ok(_) => "has no line of root".to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    // The backup is of shadow-utils.
    let fix = format!("restore {path} from a backup ({path}- is one), before you create or change a user");
    Some(Fault::with_advice(format!("{path} {what}"), fix))
}

/// The fix that creates a user. What is left of a removed user is used again: the group, and the home directory with
/// its uid.
fn create(root: &Path, name: &str) -> Fix {
    let (passwd, groups) = (files::system_text(root, "/etc/passwd"), files::system_text(root, "/etc/group"));
    let has_group = has_entry(&groups, name);
    let home = format!("/home/{name}");
    let owner = fs::symlink_metadata(files::below(root, Path::new(&home))).ok().map(|home| home.uid());
    let is_free = |uid: u32| {
        let uid = uid.to_string();
        uid != "0" && !passwd.lines().any(|line| line.split(':').nth(2) == Some(uid.as_str()))
    };
    let uid = owner.filter(|uid| is_free(*uid)).map(|uid| uid.to_string());
    if owner.is_some() && uid.is_none() {
        return Fix::advice(format!(
            "restore the line of {name} in /etc/passwd, or create the user; {home} exists, and belongs to another user"
        ));
    }
    let mut words = Vec::new();
    if let Some(uid) = &uid {
        words.extend([Literal("--uid"), Value(uid)]);
    }
    if has_group {
        words.extend([Literal("--gid"), Value(name)]);
    }
    words.push(Value(name));
    let command = Fix::command("useradd --create-home --shell /bin/bash", words);
    // What is left of a user shows that the name is right.
    let others = if owner.is_some() || has_group { Vec::new() } else { people(&passwd) };
    if others.is_empty() {
        return command;
    }
    Fix::advice(format!(
        "log in, and push the key, as a user that exists ({}), or create {name}: {}",
        others.join(", "),
        command.text()
    ))
}

/// Some of the users in passwd(5) who are people, and have a shell.
fn people(passwd: &str) -> Vec<&str> {
    const SHOWN: usize = 4;
    let is_person = |line: &&str| {
        let fields: Vec<_> = line.split(':').collect();
        let [_, _, uid, _, _, _, shell] = fields.as_slice() else { return false };
        uid.parse().is_ok_and(|uid: u32| (1000..=60_000).contains(&uid)) && shell.ends_with("sh")
    };
    let lines = passwd.lines().filter(is_person).take(SHOWN);
    lines.filter_map(|line| line.split(':').next()).collect()
}

/// Checks expiry, shell, home directory and nologin.
pub(crate) async fn account_state(
    runner: &Runner,
    target: &CheckTarget<'_>,
    account: &Finding<Account>,
    settings: &Finding<Settings>,
) {
    let today = target.today();
    let expiry = runner.check_in_thread(CheckId::UserExpiry, (account, settings), |(account, settings)| {
        let (name, pam) = (account.name.clone(), settings.is("usepam", "yes"));
        let root = target.root.to_owned();
        move || expiry(&name, pam, today, &root)
    });
    let password =
        runner.check_in_thread(CheckId::UserPassword, (account, settings), |(account, settings)| {
            let (name, pam) = (account.name.clone(), settings.is("usepam", "yes"));
            let (root, asks) = (target.root.to_owned(), asks_pam(settings));
            move || {
                let answer = password(&name, pam, today, &root);
                if pam && asks { answer.if_ok(|| no_password(&name, &root)) } else { answer }
            }
        });
    let chrooted =
        settings.get().is_some_and(|settings| !matches!(settings.one("chrootdirectory"), "" | "none"));
    let shell = runner.check_in_thread(CheckId::UserShell, account, |account| {
        let (account, root) = (account.clone(), target.root.to_owned());
        let setenv = settings.get().map(|settings| settings.all("setenv").collect::<Vec<_>>().join("\n"));
        let sources = (setenv.unwrap_or_default(), settings.get().is_some_and(|one| one.is("usepam", "yes")));
        move || shell(&account, &root, chrooted, &sources)
    });
    let home = runner.check_in_thread(CheckId::UserHome, (account, settings), |(account, settings)| {
        let (account, root, strict) =
            (account.clone(), target.root.to_owned(), settings.is("strictmodes", "yes"));
        move || home(&account, &root, strict)
    });
    let pam = settings.get().map(|settings| settings.is("usepam", "yes"));
    let nologin = runner.check_in_thread(CheckId::UserNologin, account, |account| {
        let (account, root) = (account.clone(), target.root.to_owned());
        move || nologin(&account, &root, pam)
    });
    tokio::join!(expiry, password, shell, home, nologin);
}

/// The line of a user in shadow(5), which only root can read. `None` if there is none.
fn shadow(name: &str) -> io::Result<Option<Vec<String>>> {
    let ran = ask("getent", &["shadow", "--", name]).map_err(|error| named("getent shadow", &error))?;
    let line = String::from_utf8_lossy(&ran.stdout);
    Ok(ran.status.success().then(|| line.trim_end().split(':').map(str::to_owned).collect()))
}

fn expiry(name: &str, pam: bool, today: u64, root: &Path) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can read when accounts expire");
    }
    let fields = match shadow(name) {
        Ok(Some(fields)) => fields,
        Ok(None) => return Answer::ok(format!("{name} has no local password, and so no expiry"), ()),
        Err(error) => return Answer::skip(error.to_string()),
    };
    let field = |at: usize| fields.get(at).map(String::as_str).unwrap_or_default();
    let fix = Fix::command("chage --expiredate -1", [Value(name)]).for_local_user(root, name);
    // On that day sshd allows the account (auth_shadow_acctexpired). Older versions of pam_unix do, too, newer ones refuse it
    // (check_shadow_expiry).
    match field(7).parse().ok().and_then(|day: u64| today.checked_sub(day)) {
        None => {}
        Some(0) if !pam => {}
        Some(0) if pam_unix_counts(root, EXPIRED, None) == Some(false) => {}
        Some(0) => {
            let note = format!("the account {name} expires today: newer versions of PAM refuse it already");
            return Answer::warn(note, fix, ());
        }
        Some(ago) => {
            // What usermod --expiredate 1 sets, and what systemd-userdb has for a locked record.
            let note = if field(7) == "1" {
                format!("the account {name} is locked: it expired in 1970")
            } else {
                format!("the account {name} expired {ago} days ago")
            };
            let counts = if pam { pam_unix_counts(root, EXPIRED, None) } else { Some(true) };
            return refused(counts, note, "", fix);
        }
    }
    // `platform_locked_account` of OpenSSH. sshd checks this itself only without PAM.
    if field(1).starts_with('!') && !pam {
        return Answer::fail(
            format!("the account {name} is locked, and UsePAM is no: sshd refuses locked accounts"),
            Fix::command("usermod --password *", [Value(name)]).for_local_user(root, name),
        );
    }
    Answer::ok(format!("the account {name} is neither locked nor expired"), ())
}

/// What `pam_unix` returns for an account that expired.
const EXPIRED: ReturnValues = &["acct_expired"];

/// The answer about what `pam_unix` refuses, and whether that counts.
fn refused(counts: Option<bool>, note: String, consequence: &str, fix: Fix) -> Answer<()> {
    match counts {
        Some(true) => Answer::fail(note + consequence, fix),
        None => Answer::warn(
            format!("{note}{consequence}, unless another account line of PAM lets it in"),
            fix,
            (),
        ),
        Some(false) => Answer::ok(format!("{note}, but PAM's account lines do not depend on that"), ()),
    }
}

/// What `pam_unix` checks of the password before it allows the account, also for a login with a key. Without PAM, sshd
/// checks this only for logins with a password.
fn password(name: &str, pam: bool, today: u64, root: &Path) -> Answer<()> {
    if !pam {
        return Answer::ok("UsePAM is no: sshd checks no password for a key", ());
    }
    if !is_root() {
        return Answer::skip("only root can read when passwords expire");
    }
    let fields = match shadow(name) {
        Ok(Some(fields)) => fields,
        Ok(None) => return no_shadow(name, root),
        Err(error) => return Answer::skip(error.to_string()),
    };
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let (Some(changed), max, inactive) = (number(2), number(4), number(6)) else {
        return Answer::ok(format!("the password of {name} does not expire"), ());
    };
    let age = today.saturating_sub(changed);
    let must_change: ReturnValues = &["new_authtok_reqd"];
    let (result, note, then) = match (max, inactive) {
        _ if changed == 0 => (
            must_change,
            format!("{name} has to change the password"),
            ": PAM asks for the old one, also after a login with a key",
        ),
        (Some(max), Some(inactive)) if age > max.saturating_add(inactive) && age > inactive => (
            &["authtok_expired"][..],
            format!("the password of {name} expired, and was not changed in {inactive} days"),
            ": PAM refuses the account",
        ),
        (Some(max), _) if age > max => (
            must_change,
            format!("the password of {name} expired"),
            ": PAM asks for a new one, also after a login with a key",
        ),
        _ => return Answer::ok(format!("the password of {name} has not expired"), ()),
    };
    let fix = if changed == 0 {
        Fix::command("chage --lastday", [Value(&today.to_string()), Value(name)])
    } else {
        Fix::command("chage --maxdays -1 --inactive -1", [Value(name)])
    };
    let fix = fix.for_local_user(root, name);
    refused(pam_unix_counts(root, result, Some("no_pass_expiry")), note, then, fix)
}

/// The result if PAM is to ask for a password, and the user has none.
fn no_password(name: &str, root: &Path) -> Option<Answer<()>> {
    let fields = shadow(name).ok().flatten()?;
    let is_locked = fields.get(1).is_some_and(|hash| hash.starts_with(['!', '*']));
    (is_locked && needs_pam_unix(root)).then(|| {
        Answer::fail(
            format!(
                "AuthenticationMethods requires PAM, whose auth lines require a password, and {name} has none"
            ),
            Fix::advice(format!("set a password for {name}, or change AuthenticationMethods")),
        )
    })
}

/// The answer about a user without a line in shadow(5).
fn no_shadow(name: &str, root: &Path) -> Answer<()> {
    let passwd = files::system_text(root, "/etc/passwd");
    let has_shadow = passwd.lines().any(|line| line.split(':').take(2).eq([name, "x"]));
    let shadow = files::system_text(root, "/etc/shadow");
    let is_there = has_entry(&shadow, name);
    let Fault { note, fix } = if is_there {
        let fix = if nsswitch::without_files(root, "shadow").is_some() {
            "put files before the other services in the shadow line of /etc/nsswitch.conf: shadow: files"
        } else {
            "correct that line (shadow(5)): pwck -r names lines that are not valid"
        };
        let note = format!("/etc/shadow has a line of {name}, but the name service does not find it");
        Fault::with_advice(note, fix)
    } else if !has_shadow {
        return Answer::ok(format!("{name} has no local password, and so no expiry"), ());
    } else {
        let none = || Fault::new(format!("{name} has no entry in /etc/shadow"), Fix::command("pwconv", []));
        damaged_file(root, "/etc/shadow").unwrap_or_else(none)
    };
    let counts = pam_unix_counts(root, &["authinfo_unavail"], Some("broken_shadow"));
    refused(counts, note, &format!(": PAM refuses the account of {name}"), fix)
}

/// Why sessions lack the shell's libraries or the usual programs, by a variable. The sources of variables: those that sshd sets, one a
/// line, and whether PAM is used.
fn variables(
    account: &Account,
    path: &Path,
    root: &Path,
    (setenv, pam): &(String, bool),
) -> Option<Answer<()>> {
    const FILE: &str = "/etc/environment";
    let modules = pam_config::modules(root, ModuleType::Session);
    let is_read = *pam && modules.iter().any(|module| module.starts_with("pam_env.so"));
    let text = if is_read { files::system_text(root, FILE) } else { String::new() };
    let libraries = other_libraries(account, path, setenv, &text, FILE);
    libraries.or_else(|| {
        no_programs(if setenv.lines().any(|line| line.starts_with("PATH=")) { "" } else { &text }, FILE)
    })
}

/// The result if a file of variables has a `PATH` without the usual programs. `pam_env` takes `$PATH` there as it is.
fn no_programs(text: &str, file: &str) -> Option<Answer<()>> {
    let mut lines = text.lines().map(|line| line.trim().trim_start_matches("export "));
    let value = lines
        .rfind(|line| line.starts_with("PATH="))?
        .strip_prefix("PATH=")?
        .split('#')
        .next()?
        .trim()
        .trim_matches(['"', '\'']);
    let has_programs = value.split(':').any(|part| matches!(part.trim_end_matches('/'), "/usr/bin" | "/bin"));
    (!has_programs && !value.ends_with('\\')).then(|| {
        let note = format!("a command that a client asks for does not find the usual programs: PATH is {value}, by {file}");
        let fix = format!("write each directory into PATH in {file}, with /usr/bin and /bin: variables are not replaced there");
        Answer::warn(note, Fix::advice(fix), ())
    })
}

/// The result if a variable keeps the shell from its libraries. `text`: of a file of variables.
fn other_libraries(
    account: &Account,
    path: &Path,
    setenv: &str,
    text: &str,
    file: &str,
) -> Option<Answer<()>> {
    [(setenv, "SetEnv of sshd"), (text, file)].into_iter().find_map(|(text, place)| {
        let variable = text.lines().find(|line| line.starts_with("LD_LIBRARY_PATH="))?;
        let reason = shell::does_not_start(account, path, variable)?;
        let (name, shell) = (&account.name, account.shell.display());
        let note = format!("{name} cannot run the login shell {shell} with {variable} of {place}: {reason}");
        Some(Answer::fail(note, Fix::advice(format!("remove LD_LIBRARY_PATH from {place}"))))
    })
}

/// In a `ChrootDirectory`, sshd does not look at the shell before it changes the root directory: sshd.session does.
fn shell(account: &Account, root: &Path, chrooted: bool, sources: &(String, bool)) -> Answer<()> {
    let shell = account.shell.display();
    let fix = || set_shell(account, root);
    let refusing = "nologin false true sync halt shutdown";
    let is_one_of =
        |names: &str| names.split(' ').any(|name| account.shell.file_name() == Some(name.as_ref()));
    if is_one_of(refusing) {
        return Answer::fail(format!("the login shell is {shell}, which does not allow logins"), fix());
    }
    if chrooted {
        return Answer::ok(format!("the login shell is {shell}, in ChrootDirectory"), ());
    }
    let path = files::below(root, &account.shell);
    let others = "cat echo less ls more passwd perl su sudo";
    match fs::metadata(&path) {
        Ok(metadata) if files::is_program(&metadata) && is_one_of(others) => {
            let note = format!("the login shell is {shell}, which is no shell");
            Answer::fail(note, fix())
        }
        Ok(metadata)
            if files::is_program(&metadata)
                && is_one_of("git-shell rssh scponly")
                && !files::below(root, &account.home).join("git-shell-commands").is_dir() =>
        {
            let note = format!(
                "the login shell is {shell}, which runs only some commands, and nothing on a terminal"
            );
            Answer::warn(note, fix(), ())
        }
        Ok(metadata) if files::is_program(&metadata) => {
            match shell::cannot_run(account, &path, root, Caller::Sshd) {
                None => variables(account, &path, root, sources)
                    .unwrap_or_else(|| Answer::ok(format!("the login shell is {shell}"), ())),
                Some(reason) => Answer::fail(
                    format!("{} cannot run the login shell {shell}: {reason}", account.name),
                    shell::repair(&path, &reason).unwrap_or_else(fix),
                ),
            }
        }
        found => {
            let is_lost = found.is_err_and(|error| error.kind() == ErrorKind::NotFound);
            let is_link = fs::symlink_metadata(&path).is_ok();
            let target = resolve(&path, &[0]).ok().filter(|_| is_link);
            let what = match target {
                _ if !is_lost => "is not a program".to_owned(),
                Some(way) => format!("is a symbolic link to {}, which does not exist", way.path.display()),
                None => "does not exist".to_owned(),
            };
            Answer::fail(format!("the login shell {shell} {what}: sshd refuses the login"), fix())
        }
    }
}

/// The fix that sets another login shell than the one that the user has.
fn set_shell(account: &Account, root: &Path) -> Fix {
    let real = |path: &Path| fs::canonicalize(files::below(root, path)).ok();
    let own = real(&account.shell);
    let is_other = |path: &Path| account.shell != path && (own.is_none() || real(path) != own);
    // What keeps the user from one shell, such as the mode of a directory, can keep the user from all of them.
    let runs = |path: &Path| {
        let file = files::below(root, path);
        files::is_program_at(&file) && shell::cannot_run(account, &file, root, Caller::Sshd).is_none()
    };
    let commands = [("/bin/bash", "usermod --shell /bin/bash"), ("/bin/sh", "usermod --shell /bin/sh")];
    let found = commands.into_iter().find(|(path, _)| is_other(Path::new(path)) && runs(Path::new(path)));
    match found {
        Some((_, words)) => {
            Fix::command(words, [Value(account.name.as_str())]).for_local_user(root, &account.name)
        }
        None => Fix::advice(
            "repair that shell: check the modes and owners of the directories above it and of its libraries, and their ACLs (getfacl), \
             or install its package again",
        ),
    }
}

/// How much of the text of nologin(5) is shown, in bytes.
const NOLOGIN_SHOWN: u64 = 200;

/// What `pam_nologin` returns if the file exists.
const NOLOGIN_RESULT: ReturnValues = &["auth_err"];

/// Checks nologin(5). With PAM, `pam_nologin` looks for both files or for that of `file=`; without it, sshd looks for one.
fn nologin(account: &Account, root: &Path, pam: Option<bool>) -> Answer<()> {
    let here = |path: &str| files::below(root, Path::new(path));
    let exists = |path: &str| here(path).exists().then(|| path.to_owned());
    let usual = || ["/etc/nologin", "/run/nologin"].into_iter().find_map(exists);
    let of_module = |module: &Module| {
        let file = module.arguments.iter().find_map(|word| word.strip_prefix("file="));
        let file = file.map_or_else(usual, exists);
        file.filter(|_| module.name() == "pam_nologin.so")
    };
    let nologin_file = match pam {
        Some(false) => exists("/etc/nologin"),
        Some(true) => {
            let rules = pam_config::stack(root, "sshd", ModuleType::Account).rules;
            // A rule can ignore what the module returns.
            let known = |module: &Module| of_module(module).map(|_| NOLOGIN_RESULT);
            pam_stack::refusing(&rules, &known).and_then(of_module)
        }
        None => usual(),
    };
    match &nologin_file {
        Some(path) if account.uid != 0 => {
            let scheduled = path == "/run/nologin" && root.join("run/systemd/shutdown/scheduled").exists();
            // A link is removed as a file is.
            let is_directory = fs::symlink_metadata(here(path)).is_ok_and(|file| file.is_dir());
            let mut remove = Fix::command("rm", [Value(path)]);
            if is_directory {
                remove = Fix::command("rmdir", [Value(path)]);
            }
            let fix = if scheduled { Fix::command("shutdown -c", []) } else { remove };
            let text = files::read_beginning(&here(path), NOLOGIN_SHOWN);
            let text = String::from_utf8_lossy(&text.unwrap_or_default()).trim().replace('\n', " ");
            let says = if text.is_empty() { String::new() } else { format!("; it says: {text}") };
            Answer::fail(format!("{path} exists: only root can log in{says}"), fix)
        }
        _ => Answer::ok("no nologin file refuses users", ()),
    }
}

/// `StrictModes`: sshd uses `authorized_keys` only if no other user can write to it or to the directories above it.
/// Pushed keys do not depend on this.
///
/// The user controls these paths, including symbolic links. This check follows the links to see the files that sshd
/// sees, but gives no command that makes root follow them.
fn home(account: &Account, root: &Path, strict: bool) -> Answer<()> {
    let shown = account.home.display();
    let home = files::below(root, &account.home);
    let home = match fs::canonicalize(home) {
        Ok(home) if home.is_dir() => match closed(account, &home, root) {
            None => home,
            Some(fault) => return fault.warn(()),
        },
        Ok(_) => {
            return Answer::warn(
                format!("the home directory {shown} is not a directory: a session starts in /"),
                Fix::advice(format!("correct the home directory of {}: usermod --home", account.name)),
                (),
            );
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let rules = pam_config::stack(root, "sshd", ModuleType::Session).rules;
            let makes_home = |module: &Module| module.name().contains("mkhomedir");
            if pam_config::modules_of(&rules).any(makes_home) {
                if let Some(above) = read_only_above(&files::below(root, &account.home)) {
                    let note = format!(
                        "the home directory {shown} does not exist, and PAM cannot create it: {} is on a file system that is mounted read-only",
                        above.display()
                    );
                    let fix = Fix::advice(
                        "find out why (findmnt, journalctl -k), and mount it read-write, or create the home directory elsewhere",
                    );
                    let known = |module: &Module| makes_home(module).then_some(&["perm_denied"][..]);
                    let refuses = pam_stack::refusing(&rules, &known).is_some();
                    return if refuses { Answer::fail(note, fix) } else { Answer::warn(note, fix, ()) };
                }
                return Answer::ok(
                    format!("the home directory {shown} does not exist: PAM creates it at a login"),
                    (),
                );
            }
            return Answer::warn(
                format!("the home directory {shown} does not exist: a session starts in /"),
                Fix::advice(format!(
                    "create {shown} for {}, with mode 0700; mkhomedir_helper(8) and pam_mkhomedir(8) do that",
                    account.name
                )),
                (),
            );
        }
        Err(error) => return Answer::skip(format!("{shown} cannot be read: {error}")),
    };
    for name in ["", ".ssh", ".ssh/authorized_keys"] {
        let path = if name.is_empty() { home.clone() } else { home.join(name) };
        let real = match fs::canonicalize(&path) {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Answer::skip(format!("{} cannot be read: {error}", path.display())),
        };
        if let Some(wrong) = fault(&real, &home, account.uid).filter(|_| strict) {
            return strict_modes(account, &path, &real, wrong);
        }
    }
    Answer::ok(format!("StrictModes accepts {shown}"), ())
}

/// The nearest directory above a path that exists, if it is on a file system that is mounted read-only.
fn read_only_above(path: &Path) -> Option<&Path> {
    let above = path.ancestors().skip(1).find(|part| part.exists())?;
    files::is_read_only(above).then_some(above)
}

/// Why the user cannot enter the home directory, unless PAM may change it at a login.
fn closed(account: &Account, home: &Path, root: &Path) -> Option<Fault> {
    let changes =
        |module: &String| ["mount", "crypt", "zfs", "systemd_home"].iter().any(|name| module.contains(name));
    if pam_config::modules(root, ModuleType::Session).iter().any(changes)
        || !shell::is_denied(account, "-x", home)
    {
        return None;
    }
    let above: Vec<_> = home.ancestors().skip(1).collect();
    let is_closed =
        |part: &&&Path| fs::metadata(part).is_ok_and(|file| !account.may(1, &file) && file.uid() == 0);
    let note = format!(
        "{} cannot enter the home directory {}: a session starts in /",
        account.name,
        account.home.display()
    );
    let owner = || fs::metadata(home).map(|home| describe_user(home.uid())).unwrap_or_default();
    Some(match above.iter().rev().find(is_closed) {
        Some(part) => Fault::new(note, Fix::command("chmod a+x", [File(part)])),
        None => Fault::with_advice(
            note,
            format!(
                "{} owns it: compare its owner and mode, and its ACL (getfacl), with those of other home directories",
                owner()
            ),
        ),
    })
}

/// A file or directory that `StrictModes` rejects.
enum ModeFault {
    /// It is owned by this user.
    Owner(PathBuf, u32),
    /// Users other than its owner, given here, can write to it.
    Writable(PathBuf, u32),
}

/// The first file or directory that `StrictModes` rejects, from the home directory down. `safe_path` of OpenSSH's
/// `misc.c`.
fn fault(real: &Path, home: &Path, uid: u32) -> Option<ModeFault> {
    let above: Vec<_> = real.ancestors().collect();
    let parts = above.iter().position(|part| *part == home).map_or(above.len(), |at| at.saturating_add(1));
    above.into_iter().take(parts).rev().find_map(|part| {
        let metadata = fs::symlink_metadata(part).ok()?;
        match ownership::check(&metadata, &[0, uid]) {
            Ok(()) => None,
            Err(OwnershipFault::Owner(owner)) => Some(ModeFault::Owner(part.to_owned(), owner)),
            Err(OwnershipFault::Writable) => Some(ModeFault::Writable(part.to_owned(), metadata.uid())),
        }
    })
}

/// `path` is the path that sshd opens, `real` the file that it leads to.
fn strict_modes(account: &Account, path: &Path, real: &Path, fault: ModeFault) -> Answer<()> {
    let name = &account.name;
    let link = if path == real {
        String::new()
    } else {
        format!("{} is a symbolic link to {}; ", path.display(), real.display())
    };
    let note = "StrictModes refuses authorized_keys, but not pushed keys";
    match fault {
        ModeFault::Owner(part, owner) => Answer::ok_with_fix(
            format!(
                "{link}{} is owned by {}, not by {name} or root: {note}",
                part.display(),
                describe_user(owner)
            ),
            Fix::advice(format!(
                "find out why, and who wrote the contents: {name} may have chosen them, so do not only change the owner"
            )),
            (),
        ),
        ModeFault::Writable(part, owner) => {
            let fix = if !link.is_empty() {
                Fix::advice(format!("find out who has to write to {}; {name} chose it", part.display()))
            } else if owner == 0 {
                Fix::command("chmod go-w --", [File(&part)])
            } else {
                Fix::as_user(account, "chmod go-w", &part)
            };
            Answer::ok_with_fix(
                format!("{link}users other than the owner can write to {}: {note}", part.display()),
                fix,
                (),
            )
        }
    }
}
