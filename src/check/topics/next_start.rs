//! Compares the options of the running sshd with those that its unit would start it with now: `SSHD_OPTS` in
//! `/etc/default/ssh`, `OPTIONS` in `/etc/sysconfig/sshd`, drop-ins of the unit. What they change works until sshd is started
//! again.

use std::path::{Path, PathBuf};

use super::sshd_login::{changed_command, refusal, unreachable_port};
use crate::account::Account;
use crate::check::failed_unit::time_after_boot;
use crate::check::running_sshd::{changed_at, unit, with_service};
use crate::check::settings::Settings;
use crate::config_tree::ConfigTree;
use crate::error_text::WithCauses;
use crate::procfs::Process;
use crate::sshd::command_line::{config_options, other_config};
use crate::sshd::query::default_main_file;
use crate::sshd::service::Listener;
use crate::sshd::unit::StartLine;
use crate::tool::stdout_of;

/// Options that sshd will have when it is started again.
pub(crate) struct StartOptions {
    /// The file that was changed, if its time tells.
    pub(crate) file: Option<PathBuf>,
    /// The unit, without `.service`.
    pub(crate) unit: &'static str,
    /// Why sshd then refuses the user, if it accepts the user now.
    pub(crate) refusal: Option<String>,
}

/// The difference between the options of the running sshd and those of its unit. `None` if nothing changes.
pub(crate) fn change(
    tree: &ConfigTree,
    settings: &Settings,
    account: Option<&Account>,
    root: &Path,
    process: u32,
) -> Option<StartOptions> {
    let default = default_main_file(tree);
    let (unit, running) = with_service(tree, |service| {
        let Listener { pid: serving, line } = service.serving(&default).filter(|_| service.has_systemd())?;
        let unit = unit(service);
        let started = stdout_of("systemctl", &["show", "--property=MainPID", "--value", unit]).ok()?;
        (serving == process && started.trim() == process.to_string()).then_some((unit, line))
    })?;
    let next = StartLine::of_unit(tree, unit)?;
    let options = config_options(&next.line);
    if options == config_options(&running) {
        return None;
    }
    let file = other_config(&next.line, &default).map_or(default, PathBuf::from);
    let refusal = match settings.with_options(&options, &file) {
        Err(error) => Some(WithCauses(&error).to_string()),
        Ok(then) if then.dump == settings.dump => return None,
        Ok(then) => {
            let now = settings.without_places();
            unless_now(refusal(&then, account, root), refusal(&now, account, root).as_ref())
                .or_else(|| changed_command(&then, settings))
                .or_else(|| unless_now(unreachable_port(&then), unreachable_port(&now).as_ref()))
        }
    };
    let now = &settings.source.main;
    let refusal = refusal.map(|reason| {
        if file == *now {
            return reason;
        }
        format!("sshd then reads {} and not {}: {reason}", file.display(), now.display())
    });
    let start = Process::read(&tree.locate(Path::new(&format!("/proc/{process}"))))
        .and_then(|process| time_after_boot(process.since_boot()));
    // A restored file has its old time, and a setting of the unit that has no part in the line can be newer.
    let is_newer = |file: &PathBuf| {
        let bytes = tree.read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let has_part = !text.contains('[') || text.contains("ExecStart") || text.contains("Environment");
        has_part && changed_at(&tree.locate(file)) > start
    };
    let file = next.files.into_iter().rfind(is_newer);
    Some(StartOptions { file, unit, refusal })
}

/// A reason for refusing the user, unless it is the reason now.
fn unless_now(then: Option<String>, now: Option<&String>) -> Option<String> {
    then.filter(|then| Some(then) != now)
}
