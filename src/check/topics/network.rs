//! Checks what this system does with connections to sshd before sshd sees them.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::path::Path;

use crate::account::is_root;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::interfaces;
use crate::check::packet_filter::{self, Filter, LOOPBACK, Packet, PacketKind, Restriction};
use crate::check::report::Mark;
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::running_sshd::SshdState;
use crate::check::settings::Settings;
use crate::check::sshd_program;
use crate::files;
use crate::limits;
use crate::tool::{ask, named, stdout_of};
use crate::wildcard;

/// Runs the checks of this group.
pub(crate) async fn network(
    runner: &Runner,
    target: &CheckTarget<'_>,
    settings: &Finding<Settings>,
    running: &Finding<SshdState>,
) {
    let ports: Vec<u16> = settings
        .get()
        .map(|settings| settings.all("port").filter_map(|port| port.parse().ok()).collect())
        .unwrap_or_default();
    let port =
        if ports.is_empty() || ports.contains(&22) { 22 } else { ports.first().copied().unwrap_or(22) };
    let firewall = runner.check(CheckId::NetworkFirewall, (), async |()| {
        let root = target.root.to_owned();
        blocking(move || firewall(&root, port)).await
    });
    let bans = runner.check(CheckId::NetworkFail2ban, (), async |()| blocking(fail2ban).await);
    let wrappers = runner.check(CheckId::NetworkWrappers, running, async |_| {
        let root = target.root.to_owned();
        blocking(move || wrappers(&root)).await
    });
    tokio::join!(firewall, bans, wrappers);
}

/// What the rules of the packet filter do with connections to sshd over one interface.
#[derive(Debug)]
enum Judged {
    Accepts,
    Restricts(Restriction),
    /// This rule forwards them to another program or system.
    Forwards(String),
    /// It drops these packets of all connections, by this rule.
    Drops {
        rule: String,
        kind: PacketKind,
    },
}

/// The rules of this system, as nft and iptables-save print them.
#[derive(Debug, Default)]
struct Rules {
    nft: Option<String>,
    iptables: Option<String>,
    /// Those of the older interface of the kernel, which another program of that name can have made.
    legacy: Option<String>,
    /// Why some of them are not known.
    unknown: Option<String>,
}

impl Rules {
    /// A tool that is not installed has made no rules.
    fn find(root: &Path) -> Self {
        let mut rules = Self::default();
        let mut add = |printed: io::Result<String>| match printed {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                rules.unknown = Some(error.to_string());
                None
            }
        };
        let nft = add(stdout_of("nft", &["--json", "list", "ruleset"]));
        let iptables = add(stdout_of("iptables-save", &[]));
        let tables = fs::read(root.join("proc/net/ip_tables_names")).unwrap_or_default();
        let legacy = if tables.is_empty() { None } else { add(stdout_of("iptables-legacy-save", &[])) };
        if nft.as_deref().is_some_and(|text| !packet_filter::is_nftables(text)) {
            rules.unknown = Some("nft: its output is not a list of rules".to_owned());
        }
        Self { nft, iptables, legacy, ..rules }
    }

    fn filters(&self, packet: &Packet<'_>) -> Vec<Filter> {
        let nft = self.nft.as_deref().and_then(|text| Filter::of_nftables(text, packet));
        let mut filters: Vec<Filter> = nft.into_iter().collect();
        for text in [&self.iptables, &self.legacy].into_iter().flatten() {
            filters.push(Filter::of_iptables(text, packet));
        }
        filters
    }

    /// `interface`: where connections arrive and replies leave, if that is known.
    fn judge(&self, port: u16, interface: Option<&str>) -> Judged {
        let own = interface.map(interfaces::addresses).unwrap_or_default();
        let texts = [&self.nft, &self.iptables, &self.legacy].into_iter().flatten();
        let may_be_untracked =
            texts.into_iter().any(|text| ["notrack", "NOTRACK"].iter().any(|word| text.contains(word)));
        let to_sshd = Packet { port, interface, own: &own, may_be_untracked, ..Packet::default() };
        for kind in [PacketKind::First, PacketKind::Later, PacketKind::Reply] {
            let filters = self.filters(&Packet { kind, ..to_sshd });
            if let Some(rule) = filters.iter().find_map(Filter::drops) {
                return Judged::Drops { rule, kind };
            }
        }
        let translated = self.filters(&Packet { translated: true, ..to_sshd });
        if let Some(rule) = translated.iter().find_map(Filter::drops) {
            return Judged::Forwards(rule);
        }
        let filters = self.filters(&to_sshd);
        filters.iter().find_map(Filter::restriction).map_or(Judged::Accepts, Judged::Restricts)
    }
}

/// Whether the packet filter drops the connections of this system itself, whatever it does with those of clients.
pub(super) fn drops_own(root: &Path, port: u16) -> bool {
    matches!(Rules::find(root).judge(port, Some(LOOPBACK)), Judged::Drops { .. })
}

/// Whether a rule redirects connections from one port of this system to another one.
pub(super) fn redirects(root: &Path, from: u16, to: u16) -> bool {
    let rules = Rules::find(root);
    let end = format!(" --dport {from} -j REDIRECT --to-ports {to}");
    let is_it = |line: &str| line.starts_with("-A PREROUTING ") && line.ends_with(&end);
    rules.nft.is_some_and(|text| packet_filter::nft_redirects(&text, from, to))
        || rules.iptables.or(rules.legacy).is_some_and(|text| text.lines().any(is_it))
}

fn firewall(root: &Path, port: u16) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can read the rules of the firewall");
    }
    let rules = Rules::find(root);
    let any = rules.filters(&Packet { port, ..Packet::default() });
    if let Judged::Drops { rule, kind } = rules.judge(port, None) {
        return Answer::fail(dropped(port, kind, "", &rule), accept(port, kind, &rules));
    }
    let interfaces = interfaces::outside(root);
    let judged: Vec<(&str, Judged)> =
        interfaces.iter().map(|name| (name.as_str(), rules.judge(port, Some(name)))).collect();
    let drops = |judged: &Judged| matches!(judged, Judged::Drops { .. });
    if let Some((name, Judged::Drops { rule, kind })) = judged.iter().find(|(_, judged)| drops(judged)) {
        let mut note = dropped(port, *kind, &format!(" on {name}"), rule);
        let missing = any.iter().flat_map(Filter::interfaces).find(|name| is_missing(root, name));
        if let Some(missing) = missing {
            note = format!("{note}; a rule names the interface {missing}, which this system does not have");
        }
        let fix = accept(port, *kind, &rules);
        if judged.iter().all(|(_, judged)| drops(judged)) {
            return Answer::fail(note, fix);
        }
        return Answer::warn(format!("{note}; another interface accepts them"), fix, ());
    }
    let forwards = |(name, judged): &(&str, Judged)| match judged {
        Judged::Forwards(rule) => Some(format!(
            "the firewall forwards connections to port {port} on {name} to another program or system: {rule}"
        )),
        _ => None,
    };
    if let Some(note) = judged.iter().find_map(forwards) {
        let fix = "if clients do not get this system's sshd, remove that rule, or the container that has published the port: nft list ruleset, \
                   or iptables-save, shows the rules";
        return Answer::warn(note, Fix::advice(fix), ());
    }
    let mut judged: Vec<_> = judged.into_iter().map(|(_, judged)| judged).collect();
    if judged.is_empty() {
        judged.push(rules.judge(port, None));
    }
    for judged in &judged {
        if let Judged::Restricts(restriction) = judged {
            return restricted(port, restriction);
        }
    }
    let mut some = Vec::new();
    for filter in &any {
        filter.drops_some(&mut some);
    }
    some.truncate(limits::CHECK_DETAILS);
    match rules.unknown {
        Some(reason) => Answer::skip(format!("not all rules of the firewall are known: {reason}")),
        None if any.is_empty() => Answer::ok("no rules of nftables or iptables were found", ()),
        None => {
            let note = format!("the firewall does not drop all IPv4 connections to port {port}");
            Answer::ok(note, ()).detail(some)
        }
    }
}

fn dropped(port: u16, kind: PacketKind, place: &str, rule: &str) -> String {
    let what = match kind {
        PacketKind::First => "each connection to",
        PacketKind::Later => "all but the first packet of each connection to",
        PacketKind::Reply => "sshd's replies from",
    };
    format!("the firewall drops {what} port {port}{place}: {rule}")
}

/// What to do about a rule that drops connections, or replies.
fn accept(port: u16, kind: PacketKind, rules: &Rules) -> Fix {
    let contain =
        |name: &str| [&rules.nft, &rules.iptables].into_iter().flatten().any(|text| text.contains(name));
    let ufw_is_gone = |text: &String| text.contains("ufw-") && !text.contains("-j ufw-");
    Fix::advice(if kind == PacketKind::First && rules.iptables.as_ref().is_some_and(ufw_is_gone) {
        "the rules of ufw were removed, but not its policy: /usr/lib/ufw/ufw-init flush-all, then ufw reload"
            .to_owned()
    } else if kind == PacketKind::Later {
        "accept the other packets before that rule, in the hook input: ct state established,related accept"
            .to_owned()
    } else if kind == PacketKind::Reply {
        format!(
            "accept the replies before that rule, in the hook output: ct state established,related accept, or tcp sport {port} accept"
        )
    } else if contain("ufw-") {
        format!("allow it: ufw allow {port}/tcp")
    } else if contain("firewalld") {
        format!("allow it: firewall-cmd --permanent --add-port={port}/tcp, then firewall-cmd --reload")
    } else {
        format!(
            "accept TCP port {port} before that rule: nft list ruleset, or iptables-save, shows the rules"
        )
    })
}

/// Whether this system has no interface with this name. A name in a rule can have a wildcard at its end.
fn is_missing(root: &Path, name: &str) -> bool {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    // Clients never come over the loopback, which each system has.
    is_name && name != LOOPBACK && !root.join("sys/class/net").join(name).exists()
}

/// The answer if the firewall accepts the connections of some clients, or may do so.
fn restricted(port: u16, restriction: &Restriction) -> Answer<()> {
    let accepted = match restriction.accepted.as_slice() {
        [] => "some addresses".to_owned(),
        accepted => accepted.join("; "),
    };
    let rule = &restriction.rule;
    let (note, fix) = if restriction.is_unread {
        (
            format!(
                "drops connections to port {port} by {rule}, unless these rules, which are not evaluated here, accept them: {accepted}"
            ),
            "see whether one of them matches the client's packets now",
        )
    } else {
        (
            format!(
                "accepts connections to port {port} only from {accepted}; those of others are dropped by {rule}"
            ),
            "connect from one of these addresses, or accept the client's address too",
        )
    };
    let fix = format!("{fix}: nft list ruleset, or iptables-save, shows the rules");
    Answer::warn(format!("the firewall {note}"), Fix::advice(fix), ())
}

/// The output of a program that succeeded. `None` if it fails or is not installed.
fn printed(program: &'static str, arguments: &[&str]) -> io::Result<Option<String>> {
    match ask(program, arguments) {
        Ok(ran) => Ok(ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(program, &error)),
    }
}

/// The addresses that rules or routes block although fail2ban does not answer for them, what blocks them, and how to remove one. The
/// first tool that does not answer ends the search, because each takes its time limit.
fn left_behind() -> io::Result<Option<(Vec<String>, &'static str, &'static str)>> {
    type Source = (fn(&str) -> Vec<String>, &'static str, &'static [&'static str]);
    let of_fail2ban = "rules of fail2ban block";
    let listed = "the command that is listed with it";
    let table = "nft delete element inet f2b-table addr-set-sshd { ADDRESS }";
    let sshguard = "nft delete element ip sshguard attackers { ADDRESS }";
    let sources: [(Source, _, _); 4] = [
        ((addresses_of_sets, "nft", &["--json", "list", "table", "inet", "f2b-table"]), of_fail2ban, table),
        (
            (addresses_of_sets, "nft", &["--json", "list", "table", "ip", "sshguard"]),
            "sshguard blocks",
            sshguard,
        ),
        ((rules_of_jail, "iptables-save", &[]), "rules of fail2ban or sshguard block", listed),
        ((routes_to_nowhere, "ip", &["-4", "route", "show"]), "routes to nowhere block", listed),
    ];
    for ((read, tool, arguments), what, remove) in sources {
        let banned = printed(tool, arguments)?.as_deref().map(read).unwrap_or_default();
        if !banned.is_empty() {
            return Ok(Some((banned, what, remove)));
        }
    }
    Ok(None)
}

/// The addresses that fail2ban's jail for sshd blocks. Only its own client knows them: its rules can be of any kind.
fn fail2ban() -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can ask fail2ban");
    }
    let asked = match printed("fail2ban-client", &["status", "sshd"]) {
        Ok(asked) => asked,
        Err(error) => return Answer::skip(error.to_string()),
    };
    let Some(text) = asked else {
        let (banned, what, remove) = match left_behind() {
            Ok(Some(found)) => found,
            Ok(None) => return Answer::ok("fail2ban does not guard sshd", ()),
            Err(error) => return Answer::skip(error.to_string()),
        };
        return Answer::warn(
            blocked(what, &banned),
            Fix::advice(format!(
                "if the client is one of them: fail2ban-client set sshd unbanip ADDRESS or, if fail2ban does not run, {remove}"
            )),
            (),
        )
        .detail(banned);
    };
    let after = |name: &str| Some(text.split_once(name)?.1.lines().next()?.trim().to_owned());
    let banned: Vec<_> =
        after("Banned IP list:").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    if banned.is_empty() {
        return Answer::ok("fail2ban blocks no address from sshd", ());
    }
    Answer::warn(
        blocked("fail2ban blocks", &banned),
        Fix::advice("if the client is one of them: fail2ban-client set sshd unbanip ADDRESS"),
        (),
    )
    .detail(banned)
}

/// A note about blocked addresses, each of which begins an item of the list.
fn blocked(what: &str, list: &[String]) -> String {
    /// Addresses to name.
    const SHOWN: usize = 3;
    let address = |item: &String| item.split(": ").next().unwrap_or_default().to_owned();
    let shown = list.iter().take(SHOWN).map(address).collect::<Vec<_>>().join(", ");
    let more = if list.len() > SHOWN { ", ..." } else { "" };
    match list.len() {
        1 => format!("{what} the address {shown} from sshd: a client with it cannot connect"),
        count => format!(
            "{what} {count} addresses from sshd ({shown}{more}): a client with one of them cannot connect"
        ),
    }
}

/// The elements of the sets of fail2ban for sshd, or of sshguard, in the output of `nft --json`.
fn addresses_of_sets(text: &str) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let items = document.get("nftables").and_then(serde_json::Value::as_array).into_iter().flatten();
    let sets = items.filter_map(|item| item.get("set"));
    let of_sshd = sets.filter(|set| {
        let name = set.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
        name.starts_with("addr") && name.contains("ssh") || name == "attackers"
    });
    let elements = of_sshd.filter_map(|set| set.get("elem")?.as_array()).flatten();
    elements
        .map(|element| packet_filter::nft_address(element).unwrap_or_else(|| element.to_string()))
        .collect()
}

/// The rules of the chain of fail2ban for sshd, or of sshguard, in the output of iptables-save: the address, and the command that removes the rule.
fn rules_of_jail(text: &str) -> Vec<String> {
    let rules = text.lines().filter_map(|line| {
        let of_sshd = |rule: &&str| rule.starts_with("f2b-ssh") || rule.starts_with("sshguard ");
        let rule = line.strip_prefix("-A ").filter(of_sshd)?;
        let (address, _) = rule.split_once(" -s ")?.1.split_once(' ')?;
        Some(format!("{}: iptables -D {rule}", address.trim_end_matches("/32")))
    });
    rules.collect()
}

/// The routes that drop the replies to an address, as fail2ban can set them: the address, and the command that removes the route.
fn routes_to_nowhere(text: &str) -> Vec<String> {
    let routes = text.lines().filter_map(|line| {
        let (kind, rest) = line.trim().split_once(' ')?;
        let address: Ipv4Addr = rest.split(' ').next()?.parse().ok()?;
        matches!(kind, "blackhole" | "unreachable" | "prohibit")
            .then(|| format!("{address}: ip route delete {kind} {address}"))
    });
    routes.collect()
}

/// Checks `hosts_access(5)` and `hosts_options(5)`.
fn wrappers(root: &Path) -> Answer<()> {
    const ALLOW: &str = "/etc/hosts.allow";
    const DENY: &str = "/etc/hosts.deny";
    let read = |file: &'static str, refuses| {
        let text = files::read(&files::below(root, Path::new(file)), limits::SYSTEM_FILE).unwrap_or_default();
        // Only that of Debian is known to end there.
        let (lines, end) = whole_lines(&text, || sshd_program::is_debian(root));
        (HostsRule::read(&lines, file, refuses), end)
    };
    let (mut rules, allow_end) = read(ALLOW, false);
    let (refusing, deny_end) = read(DENY, true);
    rules.extend(refusing);
    if let Some(end) = &deny_end {
        let line = format!("line {} {}, and libwrap then refuses each connection", end.number, end.why);
        rules.push(HostsRule { file: DENY, line, clients: "ALL".to_owned(), refuses: true });
    }
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
    let last = rules.iter().position(HostsRule::is_for_all).unwrap_or(rules.len());
    let all = rules.get(last).filter(|rule| rule.refuses);
    let some = rules.get(..last).unwrap_or_default();
    let (refusing, accepting): (Vec<&HostsRule>, Vec<&HostsRule>) =
        some.iter().partition(|rule| rule.refuses);
    let clients =
        |rules: &[&HostsRule]| rules.iter().map(|rule| rule.clients.as_str()).collect::<Vec<_>>().join("; ");
    let is_end = deny_end.is_some() && last.saturating_add(1) == rules.len();
    let unread = allow_end.as_ref().map_or_else(String::new, |end| {
        let LastLine { number, why } = end;
        format!("; line {number} of {ALLOW} {why}: libwrap reads that file only up to it")
    });
    let fix = |file: &'static str, before: &str| match (&deny_end, &allow_end) {
        (Some(end), _) if is_end => end.fix(DENY),
        (_, Some(end)) => end.fix(ALLOW),
        _ => Fix::advice(format!(
            "{before}{}",
            if file == ALLOW {
                "remove that line from /etc/hosts.allow (a # makes it a comment only as its first character), or add the clients in a line before it, as in \"sshd: 192.0.2.\""
            } else {
                "remove that line from /etc/hosts.deny (a # makes it a comment only as its first character), or add the clients to /etc/hosts.allow, as in \"sshd: 192.0.2.\", or \"sshd: ALL\""
            }
        )),
    };
    match (all, refusing.first()) {
        (Some(rule), _) if accepting.is_empty() => Answer::fail(
            format!("{} refuses all clients for sshd: {}{unread}", rule.file, rule.line),
            fix(rule.file, ""),
        ),
        (Some(rule), _) => {
            let why = if is_end { format!(": {}", rule.line) } else { String::new() };
            let except = clients(&accepting);
            Answer::warn(
                format!("{} refuses all clients for sshd, except: {except}{why}{unread}", rule.file),
                fix(rule.file, ""),
                (),
            )
            .marked(Mark::SomeClients)
        }
        (None, Some(rule)) => Answer::warn(
            format!("{} refuses clients for sshd: {}{unread}", rule.file, clients(&refusing)),
            fix(rule.file, "if the client is one of them: "),
            (),
        )
        .marked(Mark::SomeClients),
        (None, None) => Answer::ok("/etc/hosts.allow allows all clients for sshd", ()),
    }
}

/// The line at which libwrap stops to read a file. With a later one, hosts.deny refuses each connection that no line before it matches.
struct LastLine {
    number: usize,
    why: &'static str,
}

impl LastLine {
    const NO_NEWLINE: &str = "has no newline at its end";

    fn fix(&self, file: &'static str) -> Fix {
        Fix::advice(if self.why == Self::NO_NEWLINE {
            format!("end that line with a newline: echo >>{file}")
        } else {
            format!("divide or remove line {} of {file}", self.number)
        })
    }
}

/// The lines as libwrap reads them. `ends`: whether it ends at one that it cannot read.
fn whole_lines(text: &[u8], ends: impl Fn() -> bool) -> (Vec<String>, Option<LastLine>) {
    /// What libwrap's buffer takes of a line and its newline.
    const LONGEST: usize = 2047;
    let (mut lines, mut line, mut number) = (Vec::new(), Vec::new(), 1);
    let mut parts = (2..).zip(text.split_inclusive(|byte| *byte == b'\n')).peekable();
    while let Some((next, part)) = parts.next() {
        line.extend_from_slice(part);
        let is_continued = line.ends_with(b"\\\n");
        if is_continued {
            line.truncate(line.len().saturating_sub(2));
            if parts.peek().is_some() {
                continue;
            }
        }
        let why = match line.last() {
            None => break,
            _ if line.len() > LONGEST => "is too long",
            _ if line.contains(&0) => "has a NUL byte",
            Some(b'\n') => "",
            _ if is_continued => "ends with a backslash",
            _ => LastLine::NO_NEWLINE,
        };
        if !why.is_empty() && ends() {
            return (lines, Some(LastLine { number, why }));
        }
        lines.push(String::from_utf8_lossy(&line).into_owned());
        line.clear();
        number = next;
    }
    (lines, None)
}

/// A line for sshd of `/etc/hosts.allow` or `/etc/hosts.deny`.
#[derive(Debug, PartialEq, Eq)]
struct HostsRule {
    file: &'static str,
    line: String,
    clients: String,
    refuses: bool,
}

/// The options of `hosts_options(5)` that neither accept nor refuse. They cannot follow one that does.
const OPTIONS: &str = "banners group keepalive linger nice rfc931 setenv severity spawn umask user";

impl HostsRule {
    /// `refuses`: whether a line of this file without an option refuses its clients.
    fn read(lines: &[String], file: &'static str, refuses: bool) -> Vec<Self> {
        // With a blank before it, # is no comment.
        let lines = lines.iter().filter(|line| !line.starts_with('#')).map(|line| line.trim());
        let rule = |line: &str| {
            let mut fields = fields(line).into_iter();
            let (daemons, clients) = (fields.next()?, fields.next()?);
            if !is_for_sshd(daemons) {
                return None;
            }
            // With EXCEPT, a line is not for all clients.
            let mut clients = clients.trim().to_owned();
            if daemons.contains('@') {
                clients = format!("{clients} except by other addresses than of {}", daemons.trim());
            }
            let (mut refuses, mut is_last) = (refuses, false);
            for option in fields.map(str::trim) {
                let name = option.split([' ', '\t', '=']).next().unwrap_or_default().to_ascii_lowercase();
                match name.as_str() {
                    // The line ends with a colon, as a rule.
                    "" => continue,
                    // twist runs another program instead of sshd.
                    "deny" | "twist" => refuses = true,
                    "allow" => refuses = is_last,
                    "aclexec" => clients = format!("{clients} except those that a command refuses: {option}"),
                    known if OPTIONS.split(' ').any(|other| other == known) => refuses |= is_last,
                    // libwrap refuses the clients of a line that it does not understand.
                    _ => (refuses, is_last) = (true, true),
                }
                is_last |= matches!(name.as_str(), "deny" | "twist" | "allow");
            }
            let rule = Self { file, line: line.to_owned(), clients, refuses };
            // A client whose name leads to other addresses. A network of IPv4 of this length is one that libwrap does not know.
            let is_nobody =
                |word: &str| word == "0.0.0.0/0" || refuses && word.eq_ignore_ascii_case("paranoid");
            let is_for_none = rule.named().all(is_nobody);
            (!is_for_none).then_some(rule)
        };
        let mut rules = Vec::new();
        for line in lines {
            rules.extend(rule(line));
        }
        rules
    }

    /// The clients, without those after EXCEPT.
    fn named(&self) -> impl Iterator<Item = &str> {
        words(&self.clients).take_while(|word| !word.eq_ignore_ascii_case("except"))
    }

    /// Whether it is for each client.
    fn is_for_all(&self) -> bool {
        let words = || words(&self.clients);
        words().any(|word| word == "*" || word.eq_ignore_ascii_case("all"))
            && !words().any(|word| word.eq_ignore_ascii_case("except"))
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ' ', '\t', '\r']).filter(|word| !word.is_empty())
}

fn is_for_sshd(daemons: &str) -> bool {
    // Behind @ is an address of this system. sshd-session has this name, too.
    let is_sshd = |word: &str| {
        let name = word.split('@').next().unwrap_or_default().to_ascii_lowercase();
        name == "all" || wildcard::matches(b"sshd", name.as_bytes())
    };
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
    use super::{HostsRule, whole_lines};

    fn read(text: &str, file: &'static str, refuses: bool) -> Vec<HostsRule> {
        HostsRule::read(&whole_lines(text.as_bytes(), || false).0, file, refuses)
    }

    #[test]
    fn lines_that_libwrap_reads() {
        let long = |length| format!("#{}\n", "x".repeat(length));
        for (text, read, end) in [
            ("", 0, None),
            ("# x\n\nsshd: ALL\n", 3, None),
            ("# x", 0, Some((1, "has no newline at its end"))),
            ("sshd: 10.\n\n192.0.2.1", 2, Some((3, "has no newline at its end"))),
            ("a\\\nb\n# x\\\n", 1, Some((3, "ends with a backslash"))),
            ("\\\n", 0, None),
            (&long(2045), 1, None),
            (&long(2046), 0, Some((1, "is too long"))),
            (&format!("a\\\n{}", long(2044)), 1, None),
            (&format!("\na\\\n{}", long(2045)), 1, Some((2, "is too long"))),
            ("\u{feff}# x\na\0b\n", 1, Some((2, "has a NUL byte"))),
        ] {
            let (lines, found) = whole_lines(text.as_bytes(), || true);
            assert_eq!((lines.len(), found.map(|end| (end.number, end.why))), (read, end), "{text}");
        }
    }

    #[test]
    fn lines_for_sshd() {
        for (text, expected) in [
            ("sshd: ALL\n", &[("ALL", true)][..]),
            (
                "# sshd: ALL\nALL : 192.0.2. \\\n  198.51.100.7 : spawn x\n",
                &[("192.0.2.   198.51.100.7", true)],
            ),
            ("in.ftpd, sshd: ALL\nvsftpd: ALL\n", &[("ALL", true)]),
            ("sshdx: ALL\nsshd-session: ALL\nftpd EXCEPT x: ALL\n", &[]),
            (
                "SSHD: all\nAll except Sshd: ALL\nssh*@10.0.0.1: *\r\n",
                &[("all", true), ("* except by other addresses than of ssh*@10.0.0.1", true)],
            ),
            ("sshd: AL\\\nL\n", &[("ALL", true)]),
            ("sshd: 0.0.0.0/0\nsshd:\n", &[]),
            ("#ALL: ALL\n  # ALL: 192.0.2. : DENY\n", &[("192.0.2.", true)]),
            ("ALL EXCEPT sshd: ALL\n", &[]),
            ("ALL EXCEPT in.ftpd: ALL\n", &[("ALL", true)]),
            ("sshd: [2001:db8::]/32 : ALLOW\n", &[("[2001:db8::]/32", false)]),
            ("sshd: ALL: severity auth.info : allow", &[("ALL", false)]),
            ("sshd: 192.0.2.: spawn echo a\\:allow", &[("192.0.2.", true)]),
            ("ALL: PARANOID\nsshd: paranoid EXCEPT 10.\n", &[]),
            ("ALL: PARANOID, 10.\n", &[("PARANOID, 10.", true)]),
            ("ALL EXCEPT sshd@10.0.0.1: ALL\n", &[]),
            ("sshd@10.0.0.1: ALL\n", &[("ALL except by other addresses than of sshd@10.0.0.1", true)]),
        ] {
            let rules = read(text, "/etc/hosts.deny", true);
            let found: Vec<_> = rules.iter().map(|rule| (rule.clients.as_str(), rule.refuses)).collect();
            assert_eq!(found, expected, "{text}");
        }
        for (text, refuses) in [
            ("sshd: ALL", false),
            ("sshd: ALL: deny", true),
            ("sshd: ALL: DENY", true),
            ("sshd: ALL: twist /bin/echo no", true),
            ("sshd: ALL:", false),
            ("sshd: ALL: Severity = auth.info: spawn /bin/true", false),
            ("sshd: ALL: severity auth.info: allow", false),
            ("sshd: ALL: nosuch", true),
            ("sshd: ALL: nosuch: allow", true),
            ("sshd: ALL: allow: nosuch", true),
            ("sshd: ALL: allow: severity auth.info", true),
        ] {
            assert_eq!(read(text, "/etc/hosts.allow", false)[0].refuses, refuses, "{text}");
        }
    }
}
