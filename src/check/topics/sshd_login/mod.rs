//! Checks which key logins sshd allows for the user, from `sshd -T`.
//!
//! - `methods`: public keys, `AuthenticationMethods`, `MaxAuthTries`. `algorithms`: types of keys, key exchanges, host keys. `revoked`:
//!   `RevokedKeys`. `access`: `AllowUsers` and its like, `PermitRootLogin`.
//! - `session`: `ForceCommand`, `ChrootDirectory`, `MaxSessions`. `connections`: limits of connections, and penalties.
//! - `match_blocks`: what differs for some clients. `port`: the addresses that sshd listens on.
//!
//! [`refusal`] asks most of them about other settings: those of another client, or of the next start.

mod access;
mod algorithms;
mod connections;
mod match_blocks;
mod methods;
mod port;
mod revoked;
mod session;

use std::path::Path;
use std::time::Duration;

use crate::account::Account;
use crate::check::check_id::CheckId;
use crate::check::request::{CheckTarget, RunOptions};
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::running_sshd::SshdState;
use crate::check::settings::Settings;
use access::access;
pub(super) use access::allows;
use algorithms::{algorithms, exchanges};
pub(super) use connections::Penalties;
use connections::{limits_of, slow_names};
use match_blocks::blocks;
use methods::{methods, pubkey, tries};
use port::port;
pub(super) use port::unreachable_port;
use revoked::revoked;
use session::session;

/// Checks the settings that can reject a valid key.
pub(crate) async fn login(
    runner: &Runner,
    options: &RunOptions,
    target: &CheckTarget<'_>,
    settings: &Finding<Settings>,
    account: &Finding<Account>,
    running: &Finding<SshdState>,
) {
    // All of them can run sshd, to find the clients that a setting concerns.
    let (root, timeout) = (target.root, options.timeout);
    let of_settings = async |id, check: fn(&Settings, &Path) -> Answer<()>| {
        runner
            .check_in_thread(id, settings, |settings| {
                let (settings, root) = (settings.clone(), root.to_owned());
                move || check(&settings, &root)
            })
            .await;
    };
    let of_account = async |id, check: fn(&Settings, &Account, &Path) -> Answer<()>| {
        runner
            .check_in_thread(id, (settings, account), |(settings, account)| {
                let (settings, account, root) = (settings.clone(), account.clone(), root.to_owned());
                move || check(&settings, &account, &root)
            })
            .await;
    };
    of_settings(CheckId::SshdPubkey, |settings, _| pubkey(settings)).await;
    of_settings(CheckId::SshdMethods, |settings, _| methods(settings)).await;
    of_account(CheckId::SshdAccess, access).await;
    of_settings(CheckId::SshdAlgorithms, |settings, _| algorithms(settings)).await;
    of_settings(CheckId::SshdExchanges, exchanges).await;
    of_settings(CheckId::SshdTries, |settings, _| tries(settings)).await;
    of_settings(CheckId::SshdRevoked, revoked).await;
    of_account(CheckId::SshdSession, session).await;
    runner
        .check_in_thread(CheckId::SshdLimits, settings, |settings| {
            let settings = settings.clone();
            move || limits_of(&settings, timeout).if_ok(|| slow_names(&settings))
        })
        .await;
    runner
        .check_in_thread(CheckId::SshdMatch, settings, |settings| {
            let (settings, account) = (settings.clone(), account.get().cloned());
            let (root, running) = (target.root.to_owned(), running.get().copied());
            move || blocks(&settings, account.as_ref(), &root, running)
        })
        .await;
    runner
        .check_in_thread(CheckId::SshdPort, settings, |settings| {
            let (settings, root, running) =
                (settings.clone(), target.root.to_owned(), running.get().copied());
            move || port(&settings, &root, running)
        })
        .await;
}

/// Why these settings refuse the user a login with a pushed key. They are without places, so that each reason is a failure.
pub(super) fn refusal(settings: &Settings, account: Option<&Account>, root: &Path) -> Option<String> {
    let of_account = |account: &Account| {
        access(settings, account, root).failure().or_else(|| session(settings, account, root).failure())
    };
    let answers = [pubkey(settings), methods(settings), algorithms(settings), revoked(settings, root)];
    let mut answers = answers.into_iter().chain([limits_of(settings, Duration::ZERO)]);
    answers.find_map(Answer::failure).or_else(|| account.and_then(of_account))
}

/// The command of these settings, if it is not that of the others and does not run eic-keys.
pub(super) fn changed_command(settings: &Settings, others: &Settings) -> Option<String> {
    let command = settings.dump.command.as_deref().map_or("none".into(), String::from_utf8_lossy);
    let differs = settings.dump.command != others.dump.command;
    (differs && !command.contains("eic-keys")).then(|| format!("AuthorizedKeysCommand is {command}"))
}
