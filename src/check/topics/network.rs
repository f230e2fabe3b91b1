//! Checks what this system does with connections to sshd before sshd sees them.

use std::path::Path;

use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::packet_filter::{Filter, Restriction};
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::serving::Running;
use crate::check::settings::Settings;
use crate::check::sshd_program;
use crate::files;
use crate::limits;
use crate::tool::{ask, is_root, stdout_of};

/// Runs the checks of this group.
pub(crate) async fn network(
    runner: &Runner,
    target: &Target<'_>,
    settings: &Finding<Settings>,
    running: &Finding<Running>,
) {
    let ports: Vec<u16> = settings
        .get()
        .map(|settings| settings.all("port").filter_map(|port| port.parse().ok()).collect())
        .unwrap_or_default();
    let port =
        if ports.is_empty() || ports.contains(&22) { 22 } else { ports.first().copied().unwrap_or(22) };
    let firewall =
        runner.check(CheckId::NetworkFirewall, (), async |()| blocking(move || firewall(port)).await);
    let bans = runner.check(CheckId::NetworkFail2ban, (), async |()| blocking(fail2ban).await);
    let wrappers = runner.check(CheckId::NetworkWrappers, running, async |_| {
        let root = target.root.to_owned();
        blocking(move || wrappers(&root)).await
    });
    tokio::join!(firewall, bans, wrappers);
}

fn firewall(port: u16) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can read the rules of the firewall");
    }
    let nft = stdout_of("nft", &["--json", "list", "ruleset"]);
    let iptables = stdout_of("iptables-save", &["-t", "filter"]);
    let filters: Vec<Filter> = [
        nft.as_deref().and_then(|text| Filter::of_nftables(text, port)),
        iptables.as_deref().map(|text| Filter::of_iptables(text, port)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let Some(rule) = filters.iter().find_map(Filter::drops) else {
        return match filters.iter().find_map(Filter::restriction) {
            Some(restriction) => restricted(port, &restriction),
            None if filters.is_empty() => Answer::ok("no rules of nftables or iptables were found", ()),
            None => Answer::ok(format!("the firewall does not drop all connections to port {port}"), ()),
        };
    };
    let rules = [nft.unwrap_or_default(), iptables.unwrap_or_default()].concat();
    let fix = if rules.contains("ufw-") {
        format!("allow it: ufw allow {port}/tcp")
    } else if rules.contains("firewalld") {
        format!("allow it: firewall-cmd --permanent --add-port={port}/tcp, then firewall-cmd --reload")
    } else {
        format!(
            "accept TCP port {port} before that rule: nft list ruleset, or iptables-save, shows the rules"
        )
    };
    Answer::fail(format!("the firewall drops each connection to port {port}: {rule}"), Fix::advice(fix))
}

/// The answer if the firewall accepts the connections of some clients.
fn restricted(port: u16, restriction: &Restriction) -> Answer<()> {
    let accepted = match restriction.accepted.as_slice() {
        [] => "some addresses".to_owned(),
        accepted => accepted.join("; "),
    };
    Answer::warn(
        format!(
            "the firewall accepts connections to port {port} only from {accepted}; those of others are dropped by {}",
            restriction.rule
        ),
        Fix::advice(
            "connect from one of these addresses, or accept the client's address too: nft list ruleset, or \
             iptables-save, shows the rules",
        ),
        (),
    )
}

/// The addresses that fail2ban's jail for sshd blocks. Only its own client knows them: its rules can be of any kind.
fn fail2ban() -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can ask fail2ban");
    }
    let asked = ask("fail2ban-client", &["status", "sshd"]).ok().filter(|asked| asked.status.success());
    let Some(asked) = asked else { return Answer::ok("fail2ban does not guard sshd", ()) };
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let after = |name: &str| Some(text.split_once(name)?.1.lines().next()?.trim().to_owned());
    let banned = after("Currently banned:").and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
    if banned == 0 {
        return Answer::ok("fail2ban blocks no address from sshd", ());
    }
    Answer::warn(
        format!("fail2ban blocks {banned} addresses from sshd: a client with one of them cannot connect"),
        Fix::advice("if the client is one of them: fail2ban-client set sshd unbanip ADDRESS"),
        (),
    )
    .detail(after("Banned IP list:").unwrap_or_default().split_whitespace().map(str::to_owned))
}

/// Checks `hosts_access(5)` and `hosts_options(5)`.
fn wrappers(root: &Path) -> Answer<()> {
    let read = |file: &str| files::read_text(&root.join(file), limits::SYSTEM_FILE).unwrap_or_default();
    let mut rules = Rule::read(&read("etc/hosts.allow"), "/etc/hosts.allow", false);
    rules.extend(Rule::read(&read("etc/hosts.deny"), "/etc/hosts.deny", true));
    if !rules.iter().any(|rule| rule.refuses) {
        return Answer::ok("/etc/hosts.allow and /etc/hosts.deny refuse no connections to sshd", ());
    }
    if !sshd_program::has_libwrap(root) {
        return Answer::ok(
            "sshd does not read /etc/hosts.allow and /etc/hosts.deny: it is not linked with libwrap",
            (),
        );
    }
    // The first rule that matches counts.
    let last = rules.iter().position(Rule::is_for_all);
    let all = last.and_then(|at| rules.get(at)).filter(|rule| rule.refuses);
    let some = rules.get(..last.unwrap_or(rules.len())).unwrap_or_default();
    let (refusing, accepting): (Vec<&Rule>, Vec<&Rule>) = some.iter().partition(|rule| rule.refuses);
    let clients =
        |rules: &[&Rule]| rules.iter().map(|rule| rule.clients.as_str()).collect::<Vec<_>>().join("; ");
    let advice = |file: &str| {
        Fix::advice(if file == "/etc/hosts.allow" {
            "remove that line from /etc/hosts.allow, or add the clients in a line before it, as in \"sshd: 192.0.2.\""
        } else {
            "add the clients to /etc/hosts.allow, as in \"sshd: 192.0.2.\", or \"sshd: ALL\""
        })
    };
    match (all, refusing.first()) {
        (Some(rule), _) if accepting.is_empty() => Answer::fail(
            format!("{} refuses all clients for sshd: {}", rule.file, rule.line),
            advice(rule.file),
        ),
        (Some(rule), _) => Answer::warn(
            format!("{} refuses all clients for sshd, except: {}", rule.file, clients(&accepting)),
            advice(rule.file),
            (),
        ),
        (None, Some(rule)) => Answer::warn(
            format!("{} refuses clients for sshd: {}", rule.file, clients(&refusing)),
            advice(rule.file),
            (),
        ),
        (None, None) => Answer::ok("/etc/hosts.allow allows all clients for sshd", ()),
    }
}

/// A line for sshd of `/etc/hosts.allow` or `/etc/hosts.deny`.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    file: &'static str,
    line: String,
    clients: String,
    refuses: bool,
}

impl Rule {
    /// `refuses`: whether a line of this file without an option refuses its clients.
    fn read(text: &str, file: &'static str, refuses: bool) -> Vec<Self> {
        let text = text.replace("\\\n", " ");
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let rules = lines.filter_map(|line| {
            let mut fields = fields(line).into_iter();
            let (daemons, clients) = (fields.next()?, fields.next()?);
            if !is_for_sshd(daemons) {
                return None;
            }
            let refuses = fields.fold(refuses, |refuses, option| {
                let name = option.trim().split([' ', '\t', '=']).next().unwrap_or_default();
                match name.to_ascii_lowercase().as_str() {
                    // twist runs another program instead of sshd.
                    "deny" | "twist" => true,
                    "allow" => false,
                    _ => refuses,
                }
            });
            Some(Self { file, line: line.to_owned(), clients: clients.trim().to_owned(), refuses })
        });
        rules.collect()
    }

    /// Whether it is for each client.
    fn is_for_all(&self) -> bool {
        let words = || words(&self.clients);
        words().any(|word| word.eq_ignore_ascii_case("all"))
            && !words().any(|word| word.eq_ignore_ascii_case("except"))
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ' ', '\t']).filter(|word| !word.is_empty())
}

fn is_for_sshd(daemons: &str) -> bool {
    let is_sshd = |word: &str| matches!(word, "sshd" | "sshd-session" | "ALL");
    let mut words = words(daemons);
    let named = words.by_ref().take_while(|word| !word.eq_ignore_ascii_case("except")).any(is_sshd);
    // `any` ends before `EXCEPT`.
    let excepted = words.skip_while(|word| !word.eq_ignore_ascii_case("except")).skip(1).any(is_sshd);
    named && !excepted
}

/// The fields of a line: a colon separates them, except in an IPv6 address in brackets and after a backslash.
fn fields(line: &str) -> Vec<&str> {
    let (mut in_brackets, mut escaped) = (false, false);
    line.split(|character| {
        let separates = character == ':' && !in_brackets && !escaped;
        match character {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            _ => {}
        }
        escaped = character == '\\';
        separates
    })
    .collect()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Rule;

    #[test]
    fn lines_for_sshd() {
        for (text, expected) in [
            ("sshd: ALL\n", &[("ALL", true)][..]),
            (
                "# sshd: ALL\nALL : 192.0.2. \\\n  198.51.100.7 : spawn x\n",
                &[("192.0.2.    198.51.100.7", true)],
            ),
            ("in.ftpd, sshd: ALL\nvsftpd: ALL\n", &[("ALL", true)]),
            ("sshdx: ALL\n", &[]),
            ("ALL EXCEPT sshd: ALL\n", &[]),
            ("ALL EXCEPT in.ftpd: ALL\n", &[("ALL", true)]),
            ("sshd: [2001:db8::]/32 : ALLOW\n", &[("[2001:db8::]/32", false)]),
            ("sshd: ALL: severity auth.info : allow", &[("ALL", false)]),
            ("sshd: 192.0.2.: spawn echo a\\:allow", &[("192.0.2.", true)]),
        ] {
            let rules = Rule::read(text, "/etc/hosts.deny", true);
            let found: Vec<_> = rules.iter().map(|rule| (rule.clients.as_str(), rule.refuses)).collect();
            assert_eq!(found, expected, "{text}");
        }
        for (text, refuses) in [
            ("sshd: ALL", false),
            ("sshd: ALL: deny", true),
            ("sshd: ALL: DENY", true),
            ("sshd: ALL: twist /bin/echo no", true),
        ] {
            assert_eq!(Rule::read(text, "/etc/hosts.allow", false)[0].refuses, refuses, "{text}");
        }
    }
}
