//! `--check`: finds out why a user cannot log in.
//!
//! Each check has an id, and each report contains all checks. A check that cannot give a result is [`Status::Skip`];
//! one that exceeds its time limit is [`Status::Fail`]. The checks call the same functions as a login. They
//! change nothing on the system, but `login.command` runs the chained command as a login does, and a rehearsal is a login.
//!
//! A check takes the values of the checks that it depends on, and is skipped if one of them has none (see `runner`).
//! Independent checks run concurrently. The checks are in `topics`, the rest of this folder runs and reports them.

mod check_id;
mod fix;
pub mod json;
mod known_messages;
mod log;
mod login_log;
mod package;
mod packet_filter;
mod pam_config;
mod rehearsal;
mod report;
mod request;
mod runner;
mod serving;
mod settings;
mod sockets;
mod sshd_program;
pub mod text;
mod tokens;
mod topics;
mod wait;

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tokio::time::{error::Elapsed, timeout};

use crate::account::Account;
use crate::escape::Escaped;
use crate::limits;
pub use check_id::CheckId;
pub use fix::Fix;
pub use report::{Check, Report, Status};
use request::RunOptions;
pub use request::{CheckRequest, Target};
use runner::{Finding, Runner};
use topics::{
    banner, clock, command_user, confinement, install, instance, keys, login_command, metadata, network,
    outside, principals, recent, running, signer, sshd, sshd_login, user,
};

/// Runs `--check` and writes the report to `out`, in colour on a terminal. Returns the exit status: 0 if nothing
/// failed, 1 if a check failed, 2 if the checks could not run.
// Its frame is large, and a run for sshd would touch each page of it if `main` contained it.
#[inline(never)]
pub fn run(request: &CheckRequest, target: &Target<'_>, out: &mut (impl Write + IsTerminal)) -> u8 {
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
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => not_run(&error, false, out),
        _ if report.with(Status::Fail).next().is_some() => 1,
        _ => 0,
    }
}

/// Reports why the checks could not run: as a JSON document on `out` if `json`, else on stderr. Returns the exit
/// status.
pub fn not_run(reason: &dyn fmt::Display, json: bool, out: &mut impl Write) -> u8 {
    let reason = Escaped(reason.to_string().as_bytes()).to_string();
    let _ = if json {
        out.write_all(json::not_run(&reason).as_bytes())
    } else {
        writeln!(io::stderr(), "eic-keys: --check could not run: {reason}")
    };
    2
}

/// Runs all checks, within [`limits::ALL_CHECKS`].
fn report(request: &CheckRequest, target: &Target<'_>) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let runner = Runner::default();
    runtime.block_on(Box::pin(wait::for_a_push(request, target)));
    // A check without a result at the timeout is a failure.
    let _ = runtime.block_on(async {
        let (account, sshd) =
            timeout(limits::ALL_CHECKS, Box::pin(examine(request, target, &runner))).await?;
        // It has a time limit of its own, because it runs only on request.
        Box::pin(rehearsal::rehearse(&runner, request, target, &sshd.program, &sshd.settings, &account))
            .await;
        Ok::<(), Elapsed>(())
    });
    // A check that hangs in the file system must not delay the report.
    runtime.shutdown_background();
    let user = request.user.as_ref().map(|user| Escaped(user.as_encoded_bytes()).to_string());
    Ok(Report { user, checks: runner.answers() })
}

/// Runs the checks in dependency order.
async fn examine(
    request: &CheckRequest,
    target: &Target<'_>,
    runner: &Runner,
) -> (Finding<Account>, sshd::SshdFindings) {
    let name = user::name(runner, request).await;
    let account = user::account(runner, target, &name).await;
    let sshd = sshd::examine(runner, target, &name, &account).await;
    let options = RunOptions::new(request, sshd.command.get().map(|command| &command.request));
    let host = instance::host(runner, target).await;
    let (session, store) =
        tokio::join!(metadata::token(runner, &options, &host), signer::store(runner, &options, target));
    let pushed = async {
        let place = instance::place(runner, &host, &session).await;
        let signer = signer::signer(runner, &options, target, &session, &place, &store).await;
        let rules = keys::Rules { request, principals: &options.principals, settings: &sshd.settings };
        keys::keys(runner, &rules, target, &name, &session, &place, &signer).await;
        outside::advise(runner, &place, &name).await;
    };
    let daemon = async {
        let running = running::running(runner, target, &sshd.settings).await;
        tokio::join!(
            running::overridden(runner, target, &sshd, &running),
            sshd_login::login(runner, &options, target, &sshd.settings, &account, &running),
            network::network(runner, target, &sshd.settings, &running),
            confinement::confinement(runner, target, &running),
        );
        tokio::join!(
            running::current(runner, target, &sshd, &account, &running),
            banner::banner(runner, target, &running, request.rehearse),
        );
    };
    let command = async {
        let (reachable, trusted) = tokio::join!(
            command_user::look(runner, &options, target, &sshd.user, &session, &store),
            install::install(runner, target, &sshd.command),
        );
        login_command::run(runner, target, &sshd, &account, &trusted, &reachable).await;
    };
    tokio::join!(
        pushed,
        daemon,
        command,
        metadata::surroundings(runner, &options, target, &host),
        clock::offset(runner, target, &session),
        user::account_state(runner, target, &account, &sshd.settings),
        principals::principals(runner, &sshd.command),
        recent::recent(runner, target, &name, &sshd.user),
    );
    (account, sshd)
}
