//! `--check`: finds out why a user cannot log in.
//!
//! Each check has an id, and each report contains all checks. A check that cannot give a result is [`Status::Skip`];
//! one that exceeds its time limit is [`Status::Fail`]. The checks call the same functions as a login. They
//! change nothing on the system, but `login.command` runs the chained command as a login does, and a rehearsal is a login.
//!
//! A check takes the values of the checks that it depends on, and is skipped if one of them has none (see `runner`).
//! Groups of checks run concurrently.
//!
//! - `topics`: the checks. `check_id`: their names, and what each covers.
//! - `request`, `wait`: what to check, and `--wait`. `runner`: runs the checks. `fault`: what is wrong, with the
//!   fix. `fix`: commands that are safe to copy.
//! - `report`, `text`, `json`: the results.
//! - `rehearsal`: logs in with a temporary key.
//! - `settings`, `tokens`, `running_sshd`, `failed_unit`, `starting_unit`, `serving_context`, `sshd_program`: facts about sshd that several
//!   checks need. `sockets`, `interfaces`, `packet_filter`: about the network. `pam_config`, `pam_stack`, `loginuid`: about PAM. `package`: about packages.
//!   `revoked_keys`: the list of sshd.
//! - `log_tail` reads the end of the system log, for `last_attempt`: how the user's last login ended. `known_messages`: what the lines of sshd and
//!   PAM mean, there and in a rehearsal.

mod check_id;
mod failed_unit;
mod fault;
mod fix;
mod interfaces;
mod json;
mod known_messages;
mod last_attempt;
mod log_tail;
mod loginuid;
mod package;
mod packet_filter;
mod pam_config;
mod pam_stack;
mod rehearsal;
mod report;
mod request;
mod revoked_keys;
mod runner;
mod running_sshd;
mod serving_context;
mod settings;
mod sockets;
mod sshd_program;
mod starting_unit;
mod text;
mod tokens;
mod topics;
mod wait;

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tokio::time::timeout;

use crate::account::Account;
use crate::escape::Escaped;
use crate::limits;
use crate::report_output;
pub use check_id::CheckId;
use report::{CheckReport, Status};
use request::RunOptions;
pub use request::{CheckRequest, CheckTarget};
use runner::{Finding, Runner};
use topics::{
    banner, clock, command_user, confinement, install, instance, keys, login_command, metadata, network,
    outside, pam, principals, recent, running, signer, sshd, sshd_login, user,
};

/// Runs `--check` and writes the report to `out`, in colour on a terminal. Returns the exit status: 0 if nothing
/// failed, 1 if a check failed, 2 if the checks could not run.
// Its frame is large, and a run for sshd would touch each page of it if `main` contained it.
#[inline(never)]
pub fn run(request: &CheckRequest, target: &CheckTarget<'_>, out: &mut (impl Write + IsTerminal)) -> u8 {
    let report = match report(request, target) {
        Ok(report) => report,
        Err(error) => return not_run(&error, request.json, out),
    };
    let text = if request.json {
        json::write(&report)
    } else {
        // https://no-color.org
        let plain = (target.environment)("NO_COLOR").is_some_and(|set| !set.is_empty());
        text::write(&report, request.verbose, out.is_terminal() && !plain)
    };
    match report_output::write(&text, out) {
        Err(error) => not_run(&error, false, out),
        Ok(()) => u8::from(report.with(Status::Fail).next().is_some()),
    }
}

/// Reports why there is no report: as a JSON document on `out` if `json`, else on stderr. Returns the exit status.
pub fn not_run(reason: &dyn fmt::Display, json: bool, out: &mut impl Write) -> u8 {
    report_output::not_run("--check", reason, json.then_some(json::not_run), out)
}

/// Runs all checks, within [`limits::ALL_CHECKS_TIME`].
fn report(request: &CheckRequest, target: &CheckTarget<'_>) -> io::Result<CheckReport> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let runner = Runner::default();
    runtime.block_on(Box::pin(wait::for_a_push(request, target)));
    // A check without a result at the timeout is a failure.
    runtime.block_on(async {
        if let Ok((account, sshd)) =
            timeout(limits::ALL_CHECKS_TIME, Box::pin(examine(request, target, &runner))).await
        {
            // It has a time limit of its own, because it runs only on request.
            let (program, settings) = (&sshd.program, &sshd.settings);
            Box::pin(rehearsal::rehearse(&runner, request, target, program, settings, &account)).await;
        } else {
            rehearsal::skip(&runner, request).await;
        }
    });
    // A check that hangs in the file system must not delay the report.
    runtime.shutdown_background();
    let user = request.user.as_ref().map(|user| Escaped(user.as_encoded_bytes()).to_string());
    Ok(CheckReport { user, checks: runner.answers() })
}

/// Runs the checks in dependency order.
async fn examine(
    request: &CheckRequest,
    target: &CheckTarget<'_>,
    runner: &Runner,
) -> (Finding<Account>, sshd::SshdFindings) {
    let name = user::name(runner, request).await;
    let account = user::account(runner, target, &name).await;
    let sshd = sshd::examine(runner, target, &name, &account).await;
    let place = sshd.settings.get().and_then(|settings| settings.place(settings::COMMAND));
    let options = RunOptions::new(request, sshd.command.get().map(|command| &command.request), place);
    let host = instance::host(runner, target).await;
    let (imds, store) =
        tokio::join!(metadata::token(runner, &options, &host), signer::store(runner, &options, target));
    let pushed = async {
        let location = instance::location(runner, &host, &imds).await;
        let signer = signer::signer(runner, &options, target, &imds, &location, &store).await;
        let rules = keys::KeyRules { request, principals: &options.principals, settings: &sshd.settings };
        let keys = keys::keys(runner, &rules, target, &name, &imds, &location, &signer).await;
        outside::advise(runner, &location, &name).await;
        keys
    };
    let sshd_checks = async {
        let running = running::running(runner, target, &sshd.settings).await;
        tokio::join!(
            running::overridden(runner, target, &sshd, &running),
            sshd_login::login(runner, &options, target, &sshd.settings, &account, &running),
            network::network(runner, target, &sshd.settings, &running),
            confinement::confinement(runner, target, &sshd.settings, &account, &running),
        );
        running
    };
    let sshd_and_log = async {
        let (running, log) =
            tokio::join!(sshd_checks, recent::recent(runner, target, &name, &sshd, &account));
        tokio::join!(
            running::current(runner, target, &sshd, &account, &running, &log),
            banner::banner(runner, target, &sshd.settings, &running, request.rehearse),
        );
    };
    let login_checks = async {
        let mut pushed = Box::pin(pushed);
        let (keys, reachable, trusted) = tokio::join!(
            timeout(limits::LOGIN_COMMAND_KEY_WAIT, pushed.as_mut()),
            command_user::run(runner, &options, target, &sshd.user, &imds, &store),
            install::install(runner, target, &sshd.command, &sshd.settings),
        );
        let needs = login_command::Needs { account: &account, trusted: &trusted, reachable: &reachable };
        match keys {
            Ok(keys) => login_command::run(runner, target, &sshd, &needs, keys.get()).await,
            Err(_) => drop(tokio::join!(pushed, login_command::run(runner, target, &sshd, &needs, None))),
        }
    };
    tokio::join!(
        sshd_and_log,
        login_checks,
        metadata::secondary_checks(runner, &options, target, &host),
        clock::offset(runner, target, &imds),
        user::account_state(runner, target, &account, &sshd.settings),
        pam::pam(runner, target, &sshd.settings, &account),
        principals::principals(runner, &sshd.command),
    );
    (account, sshd)
}
