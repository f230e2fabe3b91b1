//! Checks the rules of nftables and iptables: whether a packet filter drops connections to sshd.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::path::Path;

use super::firewalld;
use crate::account::is_root;
use crate::check::fix::Fix;
use crate::check::interfaces;
use crate::check::packet_filter::{
    self, Filter, LOOPBACK, Packet, PacketKind, PartialDrop, Question, Restriction, Tracked,
};
use crate::check::runner::Answer;
use crate::files;
use crate::limits;
use crate::tool::{ask, stdout_of};

/// What the rules of the packet filter do with connections to sshd over one interface.
#[derive(Debug)]
enum FirewallVerdict {
    Accepts,
    Restricts(Restriction),
    /// This rule forwards them to another program or system.
    Forwards(String),
    Drops(DroppedPackets),
}

/// The packets that are dropped, of all connections.
#[derive(Debug)]
struct DroppedPackets {
    /// The rule or policy that drops them.
    rule: String,
    kind: PacketKind,
    /// It would not, if no rule took packets from conntrack.
    is_untracked: bool,
}

/// The rules of this system, as nft and iptables-save print them.
#[derive(Debug, Default)]
struct Rules {
    nft: Option<String>,
    iptables: Option<String>,
    /// Those of the older interface of the kernel, which another program of that name can have made.
    legacy: Option<String>,
    /// The queues for packets that programs read, if they are known.
    queues: Option<Vec<u16>>,
    /// Why some of them are not known.
    unknown: Option<String>,
    /// It is because nft is not installed.
    lacks_nft: bool,
}

impl Rules {
    /// A tool that is not installed has made no rules, but firewalld and others make some without nft.
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
        if nft.is_none() && rules.unknown.is_none() && may_have_nftables(root, iptables.is_some()) {
            rules.unknown = Some("nft, which lists the rules of nftables, is not installed".to_owned());
            rules.lacks_nft = true;
        }
        Self { nft, iptables, legacy, queues: queues(root), ..rules }
    }

    fn filters(&self, packet: &Packet<'_>) -> Vec<Filter> {
        let nft = self.nft.as_deref().and_then(|text| Filter::of_nftables(text, packet));
        let mut filters: Vec<Filter> = nft.into_iter().collect();
        for text in [&self.iptables, &self.legacy].into_iter().flatten() {
            filters.push(Filter::of_iptables(text, packet));
        }
        filters
    }

    /// Whether rules take the packets of a connection from conntrack.
    fn tracked(&self, to_sshd: &Packet<'_>) -> Tracked {
        if !self.has(&["notrack", "NOTRACK"]) {
            return Tracked::default();
        }
        let tracked = |kind| {
            let filters = self.filters(&Packet { question: Question::Untracked, kind, ..*to_sshd });
            let untracks: Vec<_> = filters.iter().map(Filter::untracks).collect();
            packet_filter::any(&untracks).map(|untracks| !untracks)
        };
        let first = tracked(PacketKind::First);
        // Those with SYN only are taken for SYNPROXY, which makes known to conntrack what it accepts.
        let client = first.filter(|_| first == tracked(PacketKind::Later));
        Tracked { client, reply: tracked(PacketKind::Reply) }
    }

    /// Whether the rules have one of these words.
    fn has(&self, words: &[&str]) -> bool {
        let mut texts = [&self.nft, &self.iptables, &self.legacy].into_iter().flatten();
        texts.any(|text| words.iter().any(|word| text.contains(word)))
    }

    /// A client's first packet. `own`: the addresses of the interface.
    fn packet<'a>(&'a self, port: u16, interface: Option<&'a str>, own: &'a [Ipv4Addr]) -> Packet<'a> {
        let may_be_marked = self.has(&["\"mangle\":", "MARK", "TPROXY", "--map-mark"]);
        let queues = self.queues.as_deref();
        let mut packet = Packet { port, interface, own, may_be_marked, queues, ..Packet::default() };
        packet.tracked = self.tracked(&packet);
        packet
    }

    /// A network of this interface from which no client can connect, and the rule that drops its connections.
    fn dropped_network(&self, root: &Path, port: u16, name: &str) -> Option<(String, String)> {
        /// Addresses of a client in any subnet of a VPC: its first four and its last one are reserved.
        const FROM_FIRST: u32 = 5;
        const FROM_LAST: u32 = 2;
        /// The smallest subnet of a VPC.
        const LONGEST: u32 = 28;
        let own = interfaces::addresses(name);
        let packet = self.packet(port, Some(name), &own);
        let drops = |client: u32| {
            let filters = self.filters(&Packet { client: Some(client.into()), ..packet });
            filters.iter().find_map(Filter::drops)
        };
        interfaces::networks_of(root, name).into_iter().find_map(|(network, length)| {
            let last = network.to_bits() | u32::MAX.checked_shr(length)?;
            let clients = [network.to_bits().checked_add(FROM_FIRST)?, last.checked_sub(FROM_LAST)?];
            let rules: Option<Vec<_>> = clients.into_iter().map(drops).collect();
            let rule = rules.filter(|_| length <= LONGEST)?.pop()?;
            Some((format!("{network}/{length}"), rule))
        })
    }

    /// `interface`: where connections arrive and replies leave, if that is known.
    fn verdict(&self, port: u16, interface: Option<&str>) -> FirewallVerdict {
        let own = interface.map(interfaces::addresses).unwrap_or_default();
        let to_sshd = self.packet(port, interface, &own);
        for kind in [PacketKind::First, PacketKind::Later, PacketKind::Reply] {
            let filters = self.filters(&Packet { kind, ..to_sshd });
            if let Some(rule) = filters.iter().find_map(Filter::drops) {
                let tracked = self.filters(&Packet { kind, tracked: Tracked::default(), ..to_sshd });
                let is_untracked = !tracked.iter().any(|filter| filter.drops().is_some());
                return FirewallVerdict::Drops(DroppedPackets { rule, kind, is_untracked });
            }
        }
        let translated = self.filters(&Packet { question: Question::Translated, ..to_sshd });
        if let Some(rule) = translated.iter().find_map(Filter::drops) {
            return FirewallVerdict::Forwards(rule);
        }
        let filters = self.filters(&to_sshd);
        filters
            .iter()
            .find_map(Filter::restriction)
            .map_or(FirewallVerdict::Accepts, FirewallVerdict::Restricts)
    }
}

/// Whether the packet filter drops the connections of this system itself, whatever it does with those of clients.
pub(super) fn drops_own(root: &Path, port: u16) -> bool {
    matches!(Rules::find(root).verdict(port, Some(LOOPBACK)), FirewallVerdict::Drops(_))
}

/// Whether a rule redirects connections from one port of this system to another one.
pub(super) fn redirects(root: &Path, from: u16, to: u16) -> bool {
    let rules = Rules::find(root);
    let end = format!(" --dport {from} -j REDIRECT --to-ports {to}");
    let is_it = |line: &str| line.starts_with("-A PREROUTING ") && line.ends_with(&end);
    rules.nft.is_some_and(|text| packet_filter::nft_redirects(&text, from, to))
        || rules.iptables.or(rules.legacy).is_some_and(|text| text.lines().any(is_it))
}

/// The jails of fail2ban that block connections to the port, by the names of their sets and chains.
pub(super) fn jails(root: &Path, port: u16) -> Vec<String> {
    let jails = partial_drops(&Rules::find(root).filters(&Packet { port, ..Packet::default() }));
    jails.into_iter().filter_map(|rule| rule.jail).collect()
}

/// The rules that may drop the connections of some clients.
fn partial_drops(filters: &[Filter]) -> Vec<PartialDrop> {
    let mut rules = Vec::new();
    for filter in filters {
        filter.drops_some(&mut rules);
    }
    rules
}

pub(super) fn firewall(root: &Path, port: u16) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can read the rules of the firewall");
    }
    let rules = Rules::find(root);
    let any = rules.filters(&Packet { port, ..Packet::default() });
    if let FirewallVerdict::Drops(packets) = rules.verdict(port, None) {
        return Answer::fail(dropped(port, &packets, ""), accept(port, &packets, &rules));
    }
    let interfaces = interfaces::with_outside_route(root);
    let verdicts: Vec<(&str, FirewallVerdict)> =
        interfaces.iter().map(|name| (name.as_str(), rules.verdict(port, Some(name)))).collect();
    let drops = |verdict: &FirewallVerdict| matches!(verdict, FirewallVerdict::Drops(_));
    if let Some((name, FirewallVerdict::Drops(packets))) = verdicts.iter().find(|(_, verdict)| drops(verdict))
    {
        let mut note = dropped(port, packets, &format!(" on {name}"));
        let missing = any.iter().flat_map(Filter::interfaces).find(|name| is_missing(root, name));
        if let Some(missing) = missing {
            note = format!("{note}; a rule names the interface {missing}, which this system does not have");
        }
        let fix = accept(port, packets, &rules);
        let mut tunnels = interfaces::tunnels(root).into_iter();
        let tunnel = tunnels.find(|name| !drops(&rules.verdict(port, Some(name))));
        let other = match &tunnel {
            Some(tunnel) => tunnel,
            None if verdicts.iter().all(|(_, verdict)| drops(verdict)) => return Answer::fail(note, fix),
            None => "another interface",
        };
        return Answer::warn(format!("{note}; {other} accepts them"), fix, ());
    }
    let forwards = |(name, verdict): &(&str, FirewallVerdict)| match verdict {
        FirewallVerdict::Forwards(rule) => Some(format!(
            "the firewall forwards connections to port {port} on {name} to another program or system: {rule}"
        )),
        _ => None,
    };
    if let Some(note) = verdicts.iter().find_map(forwards) {
        let fix = "if clients do not get this system's sshd, remove that rule, or the container that has published the port: nft list ruleset, \
                   or iptables-save, shows the rules";
        return Answer::warn(note, Fix::advice(fix), ());
    }
    let mut verdicts: Vec<_> = verdicts.into_iter().map(|(_, verdict)| verdict).collect();
    if verdicts.is_empty() {
        verdicts.push(rules.verdict(port, None));
    }
    for verdict in &verdicts {
        if let FirewallVerdict::Restricts(restriction) = verdict {
            return restricted(port, restriction);
        }
    }
    if let Some(answer) = full_table(root) {
        return answer;
    }
    let some = partial_drops(&any);
    let own = |name: &String| rules.dropped_network(root, port, name);
    if let Some((network, rule)) = interfaces.iter().filter(|_| !some.is_empty()).find_map(own) {
        let note = format!(
            "the firewall drops connections to port {port} from this system's own network, {network}: {rule}"
        );
        let fix = "if clients are in that network, as an EC2 Instance Connect Endpoint is, accept it before that rule: nft list ruleset, or \
                   iptables-save, shows the rules";
        return Answer::warn(note, Fix::advice(fix), ());
    }
    let some = some.into_iter().map(|rule| rule.line).take(limits::CHECK_DETAILS);
    match rules.unknown {
        Some(reason) => {
            let by_firewalld = || firewalld::refusal(root, port, &interfaces);
            if let Some(fault) = rules.lacks_nft.then(by_firewalld).flatten() {
                return fault.warn(());
            }
            let note = format!("not all rules of the firewall are known: {reason}");
            let fix = "install the package nftables, and check again; if firewalld runs, firewall-cmd --list-all-zones shows what it accepts";
            if rules.lacks_nft { Answer::skip_with_fix(note, Fix::advice(fix)) } else { Answer::skip(note) }
        }
        None if any.is_empty() => Answer::ok("no rules of nftables or iptables were found", ()),
        None => {
            let note = format!("the firewall does not drop all IPv4 connections to port {port}");
            Answer::ok(note, ()).detail(some)
        }
    }
}

/// Whether rules of nftables can exist that no installed program lists.
fn may_have_nftables(root: &Path, has_iptables: bool) -> bool {
    let is_used = || {
        let users = files::read_text(&root.join("sys/module/nf_tables/refcnt"), limits::PROC_FILE);
        users.is_ok_and(|users| users.trim().parse::<u32>().is_ok_and(|users| users > 0))
    };
    let state = ask("systemctl", &["is-active", "firewalld.service"]);
    state.is_ok_and(|state| state.stdout == b"active\n") || (!has_iptables && is_used())
}

/// The queues for packets (`NFQUEUE`) that programs read.
fn queues(root: &Path) -> Option<Vec<u16>> {
    let netfilter = root.join("proc/net/netfilter");
    match files::read_text(&netfilter.join("nfnetlink_queue"), limits::PROC_FILE) {
        Ok(text) => text.lines().map(|line| line.split_whitespace().next()?.parse().ok()).collect(),
        // Without the module for it, no program can read one.
        Err(error) if error.kind() == ErrorKind::NotFound && netfilter.exists() => Some(Vec::new()),
        Err(_) => None,
    }
}

/// Whether conntrack has no place for another connection.
fn full_table(root: &Path) -> Option<Answer<()>> {
    let number = |name: &str| -> Option<u64> {
        let file = root.join("proc/sys/net/netfilter").join(name);
        files::read_text(&file, limits::PROC_FILE).ok()?.trim().parse().ok()
    };
    let (count, most) = (number("nf_conntrack_count")?, number("nf_conntrack_max")?);
    (most > 0 && count >= most).then(|| {
        let note = format!("conntrack has {count} connections, and nf_conntrack_max is {most}: the kernel drops new ones");
        let fix = "set net.netfilter.nf_conntrack_max higher (sysctl -w, and in /etc/sysctl.d), or find what opens them: conntrack -L";
        Answer::warn(note, Fix::advice(fix), ())
    })
}

fn dropped(port: u16, packets: &DroppedPackets, place: &str) -> String {
    let DroppedPackets { rule, kind, is_untracked } = packets;
    let what = match kind {
        PacketKind::First => "each connection to",
        PacketKind::Later => "all but the first packet of each connection to",
        PacketKind::Reply => "sshd's replies from",
    };
    let why = if *is_untracked {
        "; because of notrack, packets have the state untracked, or invalid if conntrack sees those of one direction only"
    } else {
        ""
    };
    format!("the firewall drops {what} port {port}{place}: {rule}{why}")
}

/// What to do about a rule that drops connections, or replies.
fn accept(port: u16, packets: &DroppedPackets, rules: &Rules) -> Fix {
    let kind = packets.kind;
    let contain =
        |name: &str| [&rules.nft, &rules.iptables].into_iter().flatten().any(|text| text.contains(name));
    let ufw_is_gone = |text: &String| text.contains("ufw-") && !text.contains("-j ufw-");
    Fix::advice(if packets.is_untracked {
        "remove notrack (CT --notrack), or use it for the packets of both directions, and accept ct state untracked before that rule"
            .to_owned()
    } else if kind == PacketKind::First && rules.iptables.as_ref().is_some_and(ufw_is_gone) {
        "the rules of ufw were removed, but not its policy: /usr/lib/ufw/ufw-init flush-all, then ufw reload"
            .to_owned()
    } else if kind == PacketKind::Later {
        "accept the other packets before that rule, in the hook input: ct state established,related accept"
            .to_owned()
    } else if kind == PacketKind::Reply {
        format!(
            "accept the replies before that rule, in the hook output: ct state established,related accept, or tcp sport {port} accept"
        )
    } else if contain("firewalld_policy_drop") {
        // The table of its panic mode, beside which its other rules do not count.
        "end firewalld's panic mode: firewall-cmd --panic-off".to_owned()
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
    // In a container, /sys can be that of another network.
    let text = files::read_text(&root.join("proc/net/dev"), limits::PROC_FILE).unwrap_or_default();
    let has = |line: &str| line.trim_start().split(':').next() == Some(name);
    is_name && name != LOOPBACK && !text.lines().any(has) && !root.join("sys/class/net").join(name).exists()
}

/// The answer if the firewall accepts the connections of some clients, or may do so.
fn restricted(port: u16, restriction: &Restriction) -> Answer<()> {
    let accepted = match restriction.accepted.as_slice() {
        [] => "some addresses".to_owned(),
        accepted => accepted.join("; "),
    };
    let rule = &restriction.rule;
    let (note, fix) = if restriction.by_unevaluated {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{full_table, is_missing, queues};
    use std::fs;

    #[test]
    fn interfaces_of_another_network_in_sys() {
        let root = std::env::temp_dir().join(format!("eic-keys-interfaces-{}", std::process::id()));
        fs::create_dir_all(root.join("proc/net")).unwrap();
        fs::create_dir_all(root.join("sys/class/net/eth0")).unwrap();
        fs::write(root.join("proc/net/dev"), "Inter-|\n face |bytes\n    lo: 0\n  eth9: 96\n").unwrap();
        let found = ["eth0", "eth9", "eth8", "ens*"].map(|name| is_missing(&root, name));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [false, false, true, false]);
    }

    #[test]
    fn files_of_netfilter() {
        let root = std::env::temp_dir().join(format!("eic-keys-firewall-{}", std::process::id()));
        let (files, settings) = (root.join("proc/net/netfilter"), root.join("proc/sys/net/netfilter"));
        assert_eq!(queues(&root), None);
        assert!(full_table(&root).is_none());
        fs::create_dir_all(&files).unwrap();
        fs::create_dir_all(&settings).unwrap();
        assert_eq!(queues(&root), Some(Vec::new()));
        let readers = "    0   1234     0 2 65531     0     0        0  1\n  300   1234     0 2 65531     0     0        0  1\n";
        fs::write(files.join("nfnetlink_queue"), readers).unwrap();
        assert_eq!(queues(&root), Some(vec![0, 300]));
        for (count, most, is_full) in
            [("65536\n", "65536\n", true), ("65535\n", "65536\n", false), ("9\n", "0\n", false)]
        {
            fs::write(settings.join("nf_conntrack_count"), count).unwrap();
            fs::write(settings.join("nf_conntrack_max"), most).unwrap();
            assert_eq!(full_table(&root).is_some(), is_full, "{count} of {most}");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
