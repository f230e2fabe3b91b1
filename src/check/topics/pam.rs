//! Checks PAM's files for modules that refuse a login with a key. Most modules are taken to succeed: a rehearsal finds what only
//! a login shows.

use std::io::ErrorKind;
use std::path::Path;

use super::pam_limits;
use super::pam_modules::{Failure, Libraries, Login, REINSTALL, broken, refuses};
use super::shell::WITHOUT_CR;
use crate::account::Account;
use crate::check::check_id::CheckId;
use crate::check::fault::Fault;
use crate::check::fix::{CommandWord, Fix};
use crate::check::pam_config::{Module, ModuleType, Rule, RuleKind, Stack, modules_of, stack};
use crate::check::pam_stack::{ReturnValues, StackOutcome, jump_too_far, outcome, refusing};
use crate::check::report::Mark;
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::settings::Settings;
use crate::config_tree::Origin;
use crate::limits;
use crate::process::TrustedCommand;

/// Checks PAM's files for sshd, and for the user.
pub(crate) async fn pam(
    runner: &Runner,
    target: &CheckTarget<'_>,
    settings: &Finding<Settings>,
    account: &Finding<Account>,
) {
    let service = |settings: &Settings| {
        let name = settings.one("pamservicename");
        let name = if name.is_empty() { "sshd" } else { name };
        settings.is("usepam", "yes").then(|| name.to_owned())
    };
    let unused = "UsePAM is no: sshd does not use PAM";
    let files = runner
        .check_in_thread(CheckId::SshdPam, settings, |settings| {
            let (root, service) = (target.root.to_owned(), service(settings));
            let asks = asks_pam(settings);
            move || match service {
                Some(service) => files(&root, &service, asks),
                None => Answer::ok(unused, Stacks::default()),
            }
        })
        .await;
    runner
        .check_in_thread(CheckId::UserPam, (account, settings, &files), |(account, settings, stacks)| {
            let service = service(settings);
            let (root, account, stacks) = (target.root.to_owned(), account.clone(), stacks.clone());
            let now = (target.clock)().as_secs();
            move || {
                let Some(service) = service else { return Answer::ok(unused, ()) };
                let libraries = &Libraries::find(&root);
                user(&Login { root: &root, user: &account, service: &service, libraries, now }, &stacks)
            }
        })
        .await;
}

/// Whether each list of methods has one by which PAM authenticates the user.
pub(super) fn asks_pam(settings: &Settings) -> bool {
    let lists = settings.items("authenticationmethods", ' ');
    let by_pam = |list: &&str| {
        list.split(',').any(|method| method.starts_with("keyboard-interactive") || method == "password")
    };
    !lists.is_empty() && lists.iter().all(by_pam)
}

/// The stacks of a login with a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stacks {
    auth: Option<Stack>,
    account: Stack,
    session: Stack,
}

impl Stacks {
    /// Each with what its refusal means.
    fn all(&self) -> impl Iterator<Item = (&Stack, ModuleType, &'static str)> {
        let auth = self.auth.iter();
        let auth = auth.map(|stack| {
            (stack, ModuleType::Auth, "PAM refuses the authentication that AuthenticationMethods needs")
        });
        auth.chain([
            (&self.account, ModuleType::Account, "PAM refuses the account"),
            (&self.session, ModuleType::Session, "PAM opens no session"),
        ])
    }
}

/// What to do without the file of the service.
const RESTORE: &str =
    "restore that file: reinstall openssh-server with its configuration files (dpkg: --force-confmiss)";

/// `asks`: whether PAM authenticates the user, too.
fn files(root: &Path, service: &str, asks: bool) -> Answer<Stacks> {
    let stack = |module_type| stack(root, service, module_type);
    let auth = stack(ModuleType::Auth);
    let stacks = Stacks {
        auth: asks.then(|| auth.clone()),
        account: stack(ModuleType::Account),
        session: stack(ModuleType::Session),
    };
    // Before /etc/pam.d, there was /etc/pam.conf.
    if !root.join("etc/pam.d").is_dir() && root.join("etc/pam.conf").exists() {
        return Answer::skip("PAM's files for sshd cannot be read");
    }
    if let Some(reason) = stacks.all().find_map(|(stack, ..)| stack.unreadable.as_ref()) {
        return Answer::skip(format!("PAM's files for sshd cannot be read: {reason}"));
    }
    let service_file = format!("/etc/pam.d/{service}");
    if !stacks.account.exists {
        return Answer::fail(
            format!("PAM cannot start: neither {service_file} nor /etc/pam.d/other exists"),
            Fix::advice(RESTORE),
        );
    }
    if let Some((origin, reason)) = &stacks.account.broken {
        let fix = carriage_returns(&stacks.account, reason).unwrap_or_else(|| {
            Fix::advice(format!("restore the file that {origin} includes, or remove that line"))
        });
        return Answer::fail(format!("PAM cannot start: {origin}: {reason}{}", cr_note(reason)), fix);
    }
    let mut libraries = Libraries::find(root);
    // libpam loads the modules of all types.
    libraries.try_all(root, &[&auth, &stacks.account, &stacks.session]);
    if let Some(note) = libraries.crash() {
        return Answer::fail(note, Fix::advice(REINSTALL));
    }
    for (stack, module_type, what) in stacks.all() {
        let known = |module: &Module| {
            broken(root, module, &libraries).or_else(|| libraries.lacks(root, module, module_type))
        };
        let failures = failures(stack, known);
        if let Some(fault) = refusal(stack, failures, what, &service_file, module_type) {
            // Other services that lack a file need what `other` refuses.
            if !stack.has_own_file {
                let before = format!("{service_file} does not exist, and PAM uses /etc/pam.d/other");
                return Fault { fix: Fix::advice(RESTORE), ..fault.after(&before) }.fail();
            }
            return fault.fail();
        }
    }
    let uses_logind = modules_of(&stacks.session.rules).any(|module| module.name() == "pam_systemd.so");
    if uses_logind && root.join("run/dbus/system_bus_socket").exists() {
        if let Some((who, fix)) = hangs() {
            return Answer::warn(
                format!("{who} does not answer: each login waits for it, 25 s as a rule (pam_systemd)"),
                fix,
                stacks,
            );
        }
    }
    Answer::ok(format!("PAM can use {service_file} and its modules"), stacks)
}

/// The service that does not answer `pam_systemd`, and the fix.
fn hangs() -> Option<(&'static str, Fix)> {
    let asked = |name: &str, path: &str| {
        let call = ["call", name, path, "org.freedesktop.DBus.Peer", "Ping"];
        let ran = TrustedCommand::new("busctl").with(call).run(limits::BUS_ANSWER);
        ran.is_err_and(|error| error.kind() == ErrorKind::TimedOut)
    };
    if !asked("org.freedesktop.login1", "/org/freedesktop/login1") {
        return None;
    }
    Some(if asked("org.freedesktop.DBus", "/org/freedesktop/DBus") {
        let fix =
            "find out why dbus hangs: systemctl status dbus; after a restart of dbus, restart the system";
        ("the system bus (dbus)", Fix::advice(fix))
    } else {
        ("systemd-logind", Fix::command("systemctl restart systemd-logind", []))
    })
}

fn user(login: &Login<'_>, stacks: &Stacks) -> Answer<()> {
    let (root, account) = (login.root, login.user);
    let refused = |by_some: bool| {
        stacks.all().find_map(|(stack, module_type, what)| {
            let known = |module: &Module| {
                broken(root, module, login.libraries)
                    .or_else(|| refuses(login, module, module_type))
                    .filter(|failure| by_some || !failure.is_partial)
            };
            let what = format!("{what} of {}", account.name);
            refusal(stack, failures(stack, known), &what, "/etc/pam.d/sshd", module_type)
        })
    };
    if let Some(fault) = refused(false) {
        return fault.fail();
    }
    let limits = modules_of(&stacks.session.rules).find(|module| module.name() == "pam_limits.so");
    let low = limits.and_then(|module| {
        // Debian's can change the root directory.
        let knows_chroot = login.libraries.has(root, module, b"chroot").unwrap_or(false);
        pam_limits::too_low(root, account, &module.arguments, knows_chroot)
    });
    if let Some(low) = low.as_ref().filter(|low| low.is_certain) {
        return Answer::fail(low.note(&account.name), low.fix());
    }
    if let Some(fault) = refused(true) {
        return fault.warn(()).marked(Mark::SomeClients);
    }
    if let Some(low) = &low {
        return Answer::warn(low.note(&account.name), low.fix(), ());
    }
    Answer::ok(format!("no file of PAM's modules that is read here refuses {}", account.name), ())
}

/// The modules of other services that may know an account.
const OTHERS: [&str; 4] = ["pam_sss.so", "pam_ldap.so", "pam_winbind.so", "pam_krb5.so"];

/// Whether PAM refuses an account because `pam_unix` without an option returns this. `None`: unless another service knows it.
pub(super) fn pam_unix_counts(root: &Path, results: ReturnValues, without: Option<&str>) -> Option<bool> {
    let rules = stack(root, "sshd", ModuleType::Account).rules;
    let libraries = Libraries::find(root);
    let counts = |alone: bool| {
        let known = |module: &Module| match module.name() {
            "pam_unix.so" => {
                (!module.arguments.iter().any(|word| Some(word.as_str()) == without)).then_some(results)
            }
            name if alone && OTHERS.contains(&name) => Some(&["user_unknown"][..]),
            _ => broken(root, module, &libraries).map(|failure| failure.returns),
        };
        refusing(&rules, &known).is_some_and(|module| module.name() == "pam_unix.so")
    };
    if counts(false) { Some(true) } else { (!counts(true)).then_some(false) }
}

/// Whether PAM authenticates no user if `pam_unix` does not.
pub(super) fn needs_pam_unix(root: &Path) -> bool {
    let rules = stack(root, "sshd", ModuleType::Auth).rules;
    let libraries = Libraries::find(root);
    let known = |module: &Module| match module.name() {
        "pam_unix.so" => Some(&["auth_err"][..]),
        _ => broken(root, module, &libraries).map(|failure| failure.returns),
    };
    refusing(&rules, &known).is_some_and(|module| module.name() == "pam_unix.so")
}

/// What is known to fail, for each rule.
fn failures(stack: &Stack, known: impl Fn(&Module) -> Option<Failure>) -> Vec<Option<Failure>> {
    let failure = |rule: &Rule| match &rule.kind {
        RuleKind::Module(module) => known(module),
        RuleKind::Substack | RuleKind::Unusable(_) => None,
    };
    stack.rules.iter().map(failure).collect()
}

/// Why a stack fails whatever the other modules return, and the fix.
fn refusal(
    stack: &Stack,
    failures: Vec<Option<Failure>>,
    what: &str,
    file: &str,
    module_type: ModuleType,
) -> Option<Fault> {
    let returns: Vec<_> = failures.iter().map(|failure| Some(failure.as_ref()?.returns)).collect();
    let StackOutcome::Refuses(at) = outcome(&stack.rules, &returns) else { return None };
    let too_far = at.and_then(|at| jump_too_far(&stack.rules, at));
    let rule = at.and_then(|at| Some((stack.rules.get(at)?, failures.into_iter().nth(at)?)));
    let Some((rule, failure)) = rule else {
        return Some(Fault::with_advice(
            format!("{what}: no {} line of {file} can succeed", module_type.name()),
            format!(
                "check the {} lines of {file}, and of /etc/pam.d/other if it has none",
                module_type.name()
            ),
        ));
    };
    let origin = &rule.origin;
    let (reason, fix) = match (&rule.kind, failure) {
        (_, Some(failure)) if failure.is_partial => {
            return Some(Fault::new(format!("{origin}: {}", failure.reason), failure.fix?));
        }
        (RuleKind::Unusable(reason), _) => (reason.clone(), None),
        (_, Some(failure)) => (failure.reason, failure.fix),
        _ if too_far.is_some() => {
            let count = too_far.unwrap_or_default();
            let fix = format!(
                "correct the number in {origin}, or restore the lines after it (pam-auth-update writes Debian's common files)"
            );
            (format!("success={count} skips more lines than follow"), Some(Fix::advice(fix)))
        }
        _ => ("its control refuses whatever the module returns".to_owned(), None),
    };
    let fix = carriage_returns(stack, &reason).or(fix).unwrap_or_else(|| by_hand(origin));
    Some(Fault::new(format!("{what}: {origin}: {reason}{}", cr_note(&reason)), fix))
}

fn by_hand(origin: &Origin) -> Fix {
    Fix::advice(format!("correct {origin}, or remove that line"))
}

/// Whether a reason names a word that ends with a carriage return.
fn has_cr(reason: &str) -> bool {
    reason.contains('\r')
}

fn cr_note(reason: &str) -> &'static str {
    if has_cr(reason) { "; the line ends with a carriage return (CR LF)" } else { "" }
}

/// The fix for lines that end with CR and LF.
fn carriage_returns(stack: &Stack, reason: &str) -> Option<Fix> {
    let files = &stack.carriage_returns;
    let words = files.iter().map(|file| CommandWord::Path(file));
    (has_cr(reason) && !files.is_empty()).then(|| Fix::command(WITHOUT_CR, words))
}
