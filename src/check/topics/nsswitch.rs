//! Where the name service looks for a user (nsswitch.conf(5)), and why it does not find one.

use std::fs;
use std::path::Path;

use crate::check::fault::Fault;
use crate::files;
use crate::tool::ask;

/// The lines of nsswitch.conf(5): each database, and its services with the actions between them.
fn databases(root: &Path) -> Vec<(String, String)> {
    let read = |line: &str| {
        let (database, services) = line.split('#').next()?.split_once(':')?;
        let services: Vec<_> = services.split_whitespace().collect();
        Some((database.trim().to_owned(), services.join(" ")))
    };
    files::system_text(root, "/etc/nsswitch.conf").lines().filter_map(read).collect()
}

/// The services of a database.
fn services(root: &Path, database: &str) -> Option<String> {
    databases(root).into_iter().find_map(|(name, services)| (name == database).then_some(services))
}

/// Whether users are looked up with this service, too.
pub(super) fn has_users_of(root: &Path, service: &str) -> bool {
    services(root, "passwd").is_some_and(|line| has(&line, service))
}

fn has(line: &str, service: &str) -> bool {
    line.split(' ').any(|word| word == service)
}

/// Whether a service uses the files of /etc.
fn is_files(service: &str) -> bool {
    matches!(service, "files" | "compat")
}

/// The services of a database, if they do not use the files of /etc.
pub(super) fn without_files(root: &Path, database: &str) -> Option<String> {
    services(root, database).filter(|line| !line.split(' ').any(is_files))
}

/// The name services of users and groups, for a message.
pub(super) fn of_users_and_groups() -> String {
    let mut lines = databases(Path::new("/"));
    lines.retain(|(database, _)| matches!(database.as_str(), "passwd" | "group" | "initgroups"));
    let lines: Vec<_> = lines.iter().map(|(database, services)| format!("{database}: {services}")).collect();
    if lines.is_empty() { String::new() } else { format!(" ({})", lines.join("; ")) }
}

/// Why the name service does not come to the line that /etc/passwd has of a user.
pub(super) fn hidden(root: &Path, passwd: &str, name: &str) -> Option<Fault> {
    let line = services(root, "passwd")?;
    let before: Vec<_> = line.split_whitespace().take_while(|word| !is_files(word)).collect();
    let action = |word: &&str| word.trim_matches(['[', ']']).to_ascii_lowercase();
    let ends =
        before.iter().map(action).any(|action| action.ends_with("=return") && action != "success=return");
    if ends && line.split_whitespace().any(is_files) {
        return Some(Fault::with_advice(
            format!(
                "/etc/passwd has a line of {name}, but is not asked: the passwd line of /etc/nsswitch.conf is \"{line}\", which can end before files"
            ),
            "put files before the other services in that line of /etc/nsswitch.conf: passwd: files",
        ));
    }
    let is_excluded =
        |line: &str| line.strip_prefix('-').is_some_and(|rest| rest.split(':').next() == Some(name));
    let number = passwd.lines().position(is_excluded).filter(|_| line.contains("compat"))?.saturating_add(1);
    Some(Fault::with_advice(
        format!("/etc/passwd line {number}, -{name}, excludes {name}: /etc/nsswitch.conf has passwd: {line}"),
        format!("remove line {number} of /etc/passwd if {name} is to log in: vipw"),
    ))
}

/// Why a user is not found who can be in a directory. A local user of the same name would hide that one. `None` if no directory is
/// configured.
pub(super) fn of_directory(root: &Path, name: &str) -> Option<Fault> {
    let exists = |path: &str| fs::exists(files::below(root, Path::new(path))).is_ok_and(|exists| exists);
    let line = services(root, "passwd").unwrap_or_default();
    let asks = |service: &str| has(&line, service);
    let hint = format!("create a local user only if the directory has no {name}");
    if exists("/etc/sssd/sssd.conf") {
        if !asks("sss") {
            return Some(Fault::with_advice(
                format!(
                    "/etc/sssd/sssd.conf exists, but the passwd line of /etc/nsswitch.conf is \"{line}\", without sss"
                ),
                format!("add sss to that line if {name} is in SSSD's directory; {hint}"),
            ));
        }
        let state = ask("systemctl", &["is-active", "sssd.service"]).ok();
        let state = state.map(|state| String::from_utf8_lossy(&state.stdout).trim().to_owned());
        return Some(match state.as_deref() {
            Some(state @ ("inactive" | "failed" | "activating" | "deactivating")) => Fault::with_advice(
                format!("the passwd line of /etc/nsswitch.conf asks sss, and sssd.service is {state}"),
                format!("see systemctl status sssd, and start it; {hint}"),
            ),
            _ => Fault::with_advice(
                "SSSD, which the passwd line of /etc/nsswitch.conf asks, does not find one".to_owned(),
                format!(
                    "find out whether SSSD's directory has that user, and whether use_fully_qualified_names, min_id or a filter in /etc/sssd/sssd.conf \
                     hides it: getent -s sss passwd {name}; {hint}"
                ),
            ),
        });
    }
    let is_configured = |(service, file): &(&'static str, &str)| asks(service) && exists(file);
    let (service, _) =
        [("ldap", "/etc/nslcd.conf"), ("ldap", "/etc/ldap.conf"), ("winbind", "/etc/samba/smb.conf")]
            .into_iter()
            .find(is_configured)?;
    Some(Fault::with_advice(
        format!("{service}, which the passwd line of /etc/nsswitch.conf asks, does not find one"),
        format!(
            "find out whether its directory has that user, and whether it answers: getent -s {service} passwd {name}; {hint}"
        ),
    ))
}
