//! An sshd that systemd has been told to start: the command of its unit, or the other unit, that it waits for.

use std::time::Duration;

use super::failed_unit::{bounded, time_after_boot};
use super::fault::Fault;
use super::running_sshd::remove_setting;
use crate::config_tree::ConfigTree;
use crate::sshd::unit::property;
use crate::tool::stdout_of;

/// A unit that a socket starts can need this long on a busy system.
pub(crate) const SOCKET_START: Duration = Duration::from_secs(10);

/// What the start of a unit waits for, and what to do: `systemctl start` would wait for the same. `None` if systemd has not been starting
/// or stopping it for this long.
pub(crate) fn waits_for(tree: &ConfigTree, unit: &'static str, long: Duration) -> Option<Fault> {
    let properties = "--property=ActiveState,SubState,StateChangeTimestampMonotonic,ExecCondition,ExecStartPre,ExecStart,ExecStartPost,ExecStop,ExecStopPost";
    let shown = stdout_of("systemctl", &["show", properties, unit]).ok()?;
    match property(&shown, "ActiveState")? {
        "activating" | "deactivating" => {}
        _ if long.is_zero() => return waiting_job(unit),
        _ => return None,
    }
    let since = property(&shown, "StateChangeTimestampMonotonic")?
        .parse()
        .ok()
        .map(Duration::from_micros)
        .and_then(time_after_boot)?;
    if since.elapsed().unwrap_or_default() < long {
        return None;
    }
    let state = property(&shown, "SubState")?;
    // While the command after it runs, sshd may run, too.
    let running = shown.lines().filter(|line| !line.starts_with("ExecStart=")).find_map(running_command);
    Some(match running {
        Some((setting, command)) => {
            // It need not be quoted in the file as it is here.
            let word = command.split_whitespace().max_by_key(|word| word.len()).unwrap_or_default();
            let change = remove_setting(tree, unit, setting, word);
            Fault::with_advice(
                format!("its unit {unit} ({state}) waits for the end of {setting}={}", bounded(command)),
                format!("if it does not end by itself, {change}; systemctl restart {unit}"),
            )
        }
        None => Fault::with_advice(
            format!("systemd is still starting or stopping its unit {unit} ({state})"),
            format!("find out what it waits for: systemctl status {unit}; journalctl --unit {unit}"),
        ),
    })
}

/// The setting and the command of a line such as `ExecStop={ path=/bin/a ; argv[]=/bin/a b ; ignore_errors=no ; start_time=[Mon] ;
/// stop_time=[n/a] ; pid=7 ; code=(null) ; status=0/0 }`, if the command runs.
fn running_command(line: &str) -> Option<(&str, &str)> {
    let (setting, rest) = line.split_once("={ ")?;
    let (_, rest) = rest.split_once(" argv[]=")?;
    let (command, status) = rest.split_once(" ; ignore_errors=")?;
    (status.contains(" stop_time=[n/a] ") && !status.contains(" pid=0 ")).then_some((setting, command))
}

/// What the start of a unit waits for, if it waits for other units.
fn waiting_job(unit: &str) -> Option<Fault> {
    let jobs = stdout_of("systemctl", &["list-jobs", "--no-legend", "--no-pager", "--full"]).ok()?;
    let (mut own, mut other) = (None, "another unit");
    for job in jobs.lines() {
        let mut words = job.split_whitespace().skip(1);
        let (Some(name), Some("start" | "restart"), Some(state)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if state == "running" {
            other = name;
        } else if matches!(name.strip_prefix(unit), Some(".service" | ".socket")) {
            own = Some(name);
        }
    }
    let own = own?;
    Some(Fault::with_advice(
        format!("the start of {own} waits; systemd is still starting {other} (systemctl list-jobs)"),
        format!(
            "find out why {other} does not become active (systemctl status); to start sshd before that: systemctl start \
             --job-mode=ignore-dependencies {own}"
        ),
    ))
}
