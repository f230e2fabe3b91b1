//! What a process gets from the running sshd: its mount namespace and its resource limits.

use std::path::Path;
use std::sync::OnceLock;

use super::running_sshd::with_service;
use crate::config_tree::ConfigTree;
use crate::files;
use crate::limits;
use crate::process::TrustedCommand;
use crate::procfs::is_in_other_namespace;
use crate::sshd::query::default_main_file;
use crate::sshd::service::Listener;

/// The sshd that serves this system.
pub(crate) fn serving_process(tree: &ConfigTree) -> Option<Listener> {
    with_service(tree, |service| service.serving(&default_main_file(tree)))
}

/// How to run a program as the running sshd would. By default, it is run as it is.
#[derive(Debug, Default)]
pub(super) struct ServingContext {
    /// The command that enters sshd's mount namespace, if that is another one.
    namespace: Option<TrustedCommand>,
    /// The command that sets sshd's resource limits, if they differ.
    limits: Option<TrustedCommand>,
    /// What of sshd's a program does not get, because a program of the system is missing.
    pub(super) lacking: Vec<String>,
}

impl ServingContext {
    /// The context of the sshd that serves this system.
    pub(super) fn find(tree: &ConfigTree) -> Self {
        serving_process(tree).map_or_else(Self::default, |sshd| Self::of(sshd.pid))
    }

    /// The context of this sshd.
    pub(super) fn of(process: u32) -> Self {
        let mut context = Self::default();
        let installed = |program: &str| Path::new("/usr/bin").join(program).exists();
        if is_in_other_namespace(Path::new("/"), process, "mnt") {
            if installed("nsenter") {
                let option = format!("--mount=/proc/{process}/ns/mnt");
                context.namespace = Some(TrustedCommand::new("nsenter").with([option.as_str(), "--"]));
            } else {
                context.lacking.push(
                    "sshd has a mount namespace of its own, and there is no nsenter to enter it".to_owned(),
                );
            }
        }
        let read = |process: &str| {
            let path = format!("/proc/{process}/limits");
            files::read_text(Path::new(&path), limits::PROC_FILE).unwrap_or_default()
        };
        let differing = differing_limits(&read("self"), &read(&process.to_string()));
        if !differing.is_empty() {
            if installed("prlimit") {
                let command = TrustedCommand::new("prlimit").with(differing).with(["--"]);
                match refusal(&command) {
                    Some(reason) => context.lacking.push(reason),
                    None => context.limits = Some(command),
                }
            } else {
                context
                    .lacking
                    .push("sshd has other resource limits, and there is no prlimit to set them".to_owned());
            }
        }
        context
    }

    /// Whether a command runs in another mount namespace than this process.
    pub(super) fn changes_namespace(&self) -> bool {
        self.namespace.is_some()
    }

    /// The command that runs this one there.
    pub(super) fn command(&self, command: &TrustedCommand) -> TrustedCommand {
        [&self.limits, &self.namespace]
            .into_iter()
            .flatten()
            .fold(command.clone(), |command, outer| outer.clone().running(&command))
    }
}

/// Why sshd's limits cannot be set here: root of a container can lack the capability for it. Several checks need the answer, which one
/// of them asks for.
fn refusal(prlimit: &TrustedCommand) -> Option<String> {
    static ANSWER: OnceLock<Option<String>> = OnceLock::new();
    let ask = || {
        let ran = prlimit.clone().running(&TrustedCommand::new("true")).run(limits::CHECK_TOOL).ok()?;
        let reason = ran.error_text();
        let is_refused = reason.starts_with("prlimit: failed to set ");
        is_refused.then(|| format!("sshd has other resource limits: {reason}"))
    };
    ANSWER.get_or_init(ask).clone()
}

/// The limits of `/proc/PID/limits`, and the options of prlimit(1).
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "cpu"),
    ("Max file size", "fsize"),
    ("Max data size", "data"),
    ("Max stack size", "stack"),
    ("Max core file size", "core"),
    ("Max resident set", "rss"),
    ("Max processes", "nproc"),
    ("Max open files", "nofile"),
    ("Max locked memory", "memlock"),
    ("Max address space", "as"),
    ("Max file locks", "locks"),
    ("Max pending signals", "sigpending"),
    ("Max msgqueue size", "msgqueue"),
    ("Max nice priority", "nice"),
    ("Max realtime priority", "rtprio"),
    ("Max realtime timeout", "rttime"),
];

/// The options of prlimit(1) that turn the limits `here` into those `there`.
fn differing_limits(here: &str, there: &str) -> Vec<String> {
    let value = |text: &str, name: &str| {
        let mut words = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    LIMITS
        .iter()
        .filter_map(|(name, option)| {
            let there = value(there, name)?;
            (value(here, name)? != there).then(|| format!("--{option}={}:{}", there.0, there.1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::differing_limits;

    #[test]
    fn limits_of_the_daemon() {
        let here = "Max open files            1024                 524288               files\nMax nice priority         0                    0\n";
        let there = "Max open files            64                   unlimited            files\nMax nice priority         0                    0\n";
        assert_eq!(differing_limits(here, there), ["--nofile=64:unlimited"]);
        assert_eq!(differing_limits(here, here), Vec::<String>::new());
        assert_eq!(differing_limits("", there), Vec::<String>::new());
    }
}
