//! What `Match` blocks change for some clients.

use std::net::SocketAddr;
use std::path::Path;

use super::{changed_command, refusal};
use crate::account::Account;
use crate::check::report::Mark;
use crate::check::runner::Answer;
use crate::check::running_sshd::SshdState;
use crate::check::settings::Settings;
use crate::check::sockets;
use crate::limits;
use crate::sshd::criteria::{ClientCriterion, NamedClients};

/// The command that sessions run with these settings, if it is not that of the others.
fn forced_command(settings: &Settings, others: &Settings) -> Option<String> {
    let command = settings.one("forcecommand");
    let differs = command != others.one("forcecommand") && !matches!(command, "" | "none");
    differs.then(|| format!("each session runs ForceCommand {command}"))
}

/// The result for other clients. The settings of all other checks are those for a client that no such block names.
pub(super) fn blocks(
    settings: &Settings,
    account: Option<&Account>,
    root: &Path,
    running: Option<SshdState>,
) -> Answer<()> {
    let is_root = account.is_some_and(|account| account.uid == 0);
    let everywhere = refusal(&settings.without_places(), account, root);
    let of_systemd = if running.is_some() { sockets::of_systemd(root) } else { Vec::new() };
    let configured = settings.all("port").filter_map(|port| port.parse().ok());
    let ports: Vec<u16> = configured.chain(of_systemd.iter().map(SocketAddr::port)).collect();
    let refused: Vec<_> = settings
        .client_blocks()
        .into_iter()
        .take(limits::CHECK_DETAILS)
        .filter_map(|block| {
            let clients = NamedClients::of(&block.criteria);
            let reason = match &block.sample {
                Some(sample) if !sample.local_port.is_some_and(|port| ports.contains(&port)) => None,
                _ if is_for_no_address(&clients) => None,
                Some(sample) => {
                    let there = settings.of_connection(sample).ok()?;
                    refusal(&there, account, root)
                        .filter(|reason| everywhere.as_ref() != Some(reason))
                        .or_else(|| changed_command(&there, settings))
                        .or_else(|| forced_command(&there, settings))
                }
                // Without DNS, no client has a name.
                None if clients.value(ClientCriterion::Host).is_some() => None,
                None => {
                    let line =
                        block.lines.iter().find(|(keyword, value)| can_refuse(keyword, value, is_root))?;
                    Some(format!("that block sets {} {}", line.0, line.1))
                }
            }?;
            Some((block, clients, reason))
        })
        .collect();
    let Some((block, clients, reason)) = refused.first() else {
        return Answer::ok("no Match block refuses keys for some clients only", ());
    };
    let later = settings.source.changed_files.contains(&block.origin.path);
    let more = match refused.len() {
        1 => String::new(),
        count => format!("; {} more such blocks", count.saturating_sub(1)),
    };
    let note = format!("for {clients} ({}, \"Match {}\"): {reason}{more}", block.origin, block.criteria);
    let fix = settings.source.reload.after("if such clients are to log in, change that block");
    let answer = Answer::warn(note, fix, ()).marked(Mark::SomeClients);
    let answer = if later { answer.breaks_at_restart("") } else { answer };
    answer.detail(
        refused
            .iter()
            .map(|(block, _, reason)| format!("{}, \"Match {}\": {reason}", block.origin, block.criteria)),
    )
}

/// Whether clients are those that connect to one address, which this system does not have.
fn is_for_no_address(clients: &NamedClients) -> bool {
    let address = clients.value(ClientCriterion::LocalAddress).and_then(|word| word.parse().ok());
    address.is_some_and(|address| !sockets::is_of_interface(address))
}

/// Whether a line in a `Match` block can refuse a pushed key that is accepted without it.
fn can_refuse(keyword: &str, value: &str, is_root: bool) -> bool {
    match keyword {
        "pubkeyauthentication" => value.eq_ignore_ascii_case("no"),
        "refuseconnection" => value.eq_ignore_ascii_case("yes"),
        "permitrootlogin" => is_root && ["no", "forced-commands-only"].contains(&value),
        "authenticationmethods" => !value.split(' ').any(|list| matches!(list, "any" | "publickey")),
        "forcecommand" | "chrootdirectory" | "revokedkeys" => !value.eq_ignore_ascii_case("none"),
        "maxsessions" => value == "0",
        "authorizedkeyscommand" => !value.contains("eic-keys"),
        "allowusers" | "denyusers" | "allowgroups" | "denygroups" => true,
        _ => false,
    }
}
