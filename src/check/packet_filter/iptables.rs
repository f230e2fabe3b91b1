//! Reads the rules of iptables.

use std::iter::Peekable;

use super::addresses::Addresses;
use super::packet::{Packet, PacketKind, Question, has_length};
use super::rules::{Filter, Matches, QUEUE_WITHOUT_READER, Rule, UNSET_MARK, Verdict, any};

impl Filter {
    /// Parses the output of `iptables-save`.
    pub(crate) fn of_iptables(text: &str, packet: &Packet<'_>) -> Self {
        let tables: &[&str] = match packet.question {
            Question::Dropped => &["raw", "mangle", "filter", "security"],
            Question::Translated => &["nat"],
            Question::Untracked => &["raw"],
        };
        let hooks = packet.hooks();
        let mut filter = Self::default();
        let mut table = "";
        let in_table = |table| tables.contains(&table);
        // A message about the usual table has the name alone.
        let chain_of = |table: &str, name: &str| match table {
            "filter" | "nat" => name.to_owned(),
            _ => format!("{name} of table {table}"),
        };
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.trim();
            } else if let Some(rest) = line.strip_prefix(':').filter(|_| in_table(table)) {
                let mut words = rest.split(' ');
                let (name, policy) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let chain = chain_of(table, name);
                if hooks.iter().any(|hook| hook.eq_ignore_ascii_case(name)) {
                    let drops = policy == "DROP" && packet.question == Question::Dropped;
                    filter.hooked.push((chain.clone(), drops));
                }
                filter.add(chain, Vec::new());
            } else if let Some(rest) = line.strip_prefix("-A ").filter(|_| in_table(table)) {
                let (chain, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let mut rule = iptables_rule(rest, packet, line);
                if let Verdict::Jump(target) | Verdict::Goto(target) = &mut rule.verdict {
                    *target = chain_of(table, target);
                }
                let words: Vec<_> = rest.split(' ').collect();
                let named = words.windows(2).filter(|pair| matches!(pair.first(), Some(&"-i" | &"-o")));
                named
                    .filter_map(|pair| pair.get(1))
                    .for_each(|name| filter.add_interface((*name).to_owned()));
                filter.add(chain_of(table, chain), vec![rule]);
            }
        }
        filter
    }
}

fn iptables_rule(text: &str, packet: &Packet<'_>, line: &str) -> Rule {
    let mut line = line.to_owned();
    let (mut matches, mut verdict) = (Matches::same(Some(true)), Verdict::Continue);
    let mut source = None;
    let mut negated = false;
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        let mut argument = || words.next().unwrap_or_default();
        let one = match word {
            "!" => {
                negated = true;
                continue;
            }
            "-s" | "--source" | "--src-range" | "--match-set" | "--source-country" if !packet.is_reply() => {
                let name = argument();
                let addresses = Addresses::parse(name).map(|range| Addresses(vec![range]));
                if word == "--match-set" && !argument().starts_with("src") {
                    Matches::same(None)
                } else {
                    source = Some(name.to_owned());
                    Matches::source(addresses.as_ref(), packet)
                }
            }
            "--mac-source" | "--rcheck" | "--update" if !packet.is_reply() => {
                source =
                    Some(if word == "--mac-source" { argument() } else { "recent addresses" }.to_owned());
                Matches::source(None, packet)
            }
            "--mark" => {
                // A value, and which bits have to be equal to its.
                let value = argument().split('/').next().unwrap_or_default();
                let is_zero = value.trim_start_matches("0x").chars().all(|digit| digit == '0');
                let mark = Matches::mark(Some(is_zero != negated), packet);
                if mark.unevaluated {
                    line.push_str(UNSET_MARK);
                }
                mark
            }
            "-m" => of_module(argument()),
            "--comment" => {
                // Quoted if it contains a blank.
                let first = argument();
                if first.starts_with('"') && !(first.len() > 1 && first.ends_with('"')) {
                    words.by_ref().take_while(|word| !word.ends_with('"')).for_each(drop);
                }
                continue;
            }
            "-j" => {
                let target = argument();
                verdict = iptables_verdict(target, &words.collect::<Vec<_>>(), packet);
                if target == "NFQUEUE" && verdict == Verdict::Drop {
                    line.push_str(QUEUE_WITHOUT_READER);
                }
                break;
            }
            "-g" => {
                verdict = Verdict::Goto(argument().to_owned());
                break;
            }
            _ => Matches::same(of_option(word, &mut words, packet)),
        };
        matches = matches.and(one.negated(negated));
        negated = false;
    }
    Rule { matches, verdict, source, text: line }
}

/// Whether an option matches the packet. `words`: what follows it.
fn of_option<'a>(
    word: &str,
    words: &mut Peekable<impl Iterator<Item = &'a str>>,
    packet: &Packet<'_>,
) -> Option<bool> {
    let mut argument = || words.next().unwrap_or_default();
    match word {
        "-p" | "--protocol" => Some(matches!(argument(), "tcp" | "6" | "all")),
        "--dport" | "--sport" => in_range(argument(), packet, word == "--dport"),
        "--dports" | "--sports" => {
            let is = |part| in_range(part, packet, word == "--dports");
            let results: Vec<_> = argument().split(',').map(is).collect();
            any(&results)
        }
        // They are about what sends the packet, which is this system, or about the client, which it is sent to.
        "--match-set" | "--dst-type" | "--pkt-type" if packet.is_reply() => {
            argument();
            None
        }
        "-s" | "--source" | "--src-range" | "-d" | "--destination" | "--dst-range" => {
            let is_own = word.trim_start_matches('-').starts_with('d') != packet.is_reply();
            Addresses::parse(argument()).and_then(|range| {
                let addresses = Addresses(vec![range]);
                if is_own { addresses.has_own(packet) } else { addresses.has_client(packet) }
            })
        }
        "--length" if packet.is_first() => {
            let text = argument();
            let (first, last) = text.split_once(':').unwrap_or((text, text));
            first.parse().ok().zip(last.parse().ok()).and_then(|(first, last)| has_length(first, last))
        }
        "--ctstatus" => {
            let is_later = |status| matches!(status, "EXPECTED" | "SEEN_REPLY" | "ASSURED" | "CONFIRMED");
            let all = argument().split(',').all(is_later);
            (all && packet.is_first()).then_some(false)
        }
        // The connection itself is one of them.
        "--connlimit-above" | "--connlimit-upto" => {
            (argument() == "0").then_some(word == "--connlimit-above")
        }
        "--connlimit-mask" => {
            argument();
            Some(true)
        }
        "--connlimit-saddr" | "--connlimit-daddr" => Some(true),
        "--limit" => {
            let (rate, per) = argument().split_once('/').unwrap_or_default();
            let burst = if words.next_if_eq(&"--limit-burst").is_some() { words.next() } else { Some("5") };
            let number = |text: &str| text.parse().unwrap_or(u64::MAX);
            packet.exceeds(number(rate), per, number(burst.unwrap_or_default())).map(|exceeds| !exceeds)
        }
        // sshd's sockets are root's.
        "--uid-owner" | "--gid-owner" => {
            let first = argument().split('-').next().unwrap_or_default();
            packet.is_reply().then_some(first == "0" || first == "root")
        }
        "--socket-exists" => packet.is_reply().then_some(true),
        "--ctdir" => Some((argument() == "REPLY") == packet.is_reply()),
        // That of the client's first packet.
        "--ctorigdstport" => in_range(argument(), &Packet { kind: PacketKind::First, ..*packet }, true),
        "--tcp-flags" if !packet.is_reply() => {
            let mask = argument();
            has_flags(packet, mask, argument())
        }
        "--dst-type" => Some(argument().split(',').any(|name| name == "LOCAL" || name == "UNICAST")),
        "--pkt-type" => Some(matches!(argument(), "host" | "unicast")),
        "-i" | "-o" => packet.is_on(argument(), '+'),
        "--state" | "--ctstate" => {
            let states = argument();
            packet.state().map(|state| states.split(',').any(|one| one.eq_ignore_ascii_case(state)))
        }
        _ => None,
    }
}

fn iptables_verdict(target: &str, options: &[&str], packet: &Packet<'_>) -> Verdict {
    match target {
        "NFQUEUE" if is_queue_without_reader(options, packet) => Verdict::drop(packet),
        // A program, or a part of the kernel, decides.
        "ACCEPT" | "NFQUEUE" | "SYNPROXY" | "TPROXY" => Verdict::Accept,
        "DROP" | "REJECT" => Verdict::drop(packet),
        "DNAT" | "REDIRECT" if packet.question == Question::Translated => Verdict::Drop,
        "CT" | "NOTRACK" => {
            let untracks = target == "NOTRACK" || options.contains(&"--notrack");
            if untracks && packet.question == Question::Untracked { Verdict::Drop } else { Verdict::Continue }
        }
        "RETURN" => Verdict::Return,
        "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "AUDIT" => Verdict::Continue,
        target => Verdict::Jump(target.to_owned()),
    }
}

/// Whether no program reads the queue of a rule, and the packet is dropped then.
fn is_queue_without_reader(options: &[&str], packet: &Packet<'_>) -> bool {
    let mut pairs = options.iter().zip(options.iter().skip(1));
    let queues = pairs.find(|(option, _)| matches!(**option, "--queue-num" | "--queue-balance"));
    let (first, last) =
        queues.map_or(("0", "0"), |(_, value)| value.split_once(':').unwrap_or((value, value)));
    let numbers = first.parse().ok().zip(last.parse().ok());
    !options.contains(&"--queue-bypass")
        && numbers.is_some_and(|(first, last)| packet.is_queue_without_reader(first, last))
}

/// Whether a client's packet has these flags of those in a mask.
fn has_flags(packet: &Packet<'_>, mask: &str, flags: &str) -> Option<bool> {
    if packet.is_first() {
        let has_syn = mask.split(',').any(|flag| flag == "SYN");
        return Some(flags == if has_syn { "SYN" } else { "NONE" });
    }
    // A later packet can have others.
    (flags == "SYN").then_some(false)
}

/// What is known of a match by its module alone.
fn of_module(name: &str) -> Matches {
    match name {
        // These match nothing by themselves: their options are evaluated.
        "tcp" | "state" | "conntrack" | "multiport" | "comment" | "iprange" | "set" | "addrtype" | "mac"
        | "pkttype" | "geoip" | "length" | "mark" | "connmark" | "limit" | "connlimit" | "owner" => {
            Matches::same(Some(true))
        }
        // A limit lets a client in, as a rule. The route to the client decides.
        "recent" | "hashlimit" | "quota" | "policy" | "rpfilter" | "socket" | "physdev" | "devgroup"
        | "nfacct" => Matches::same(None),
        _ => Matches::UNEVALUATED,
    }
}

/// Whether a port or range `A:B` contains the packet's port.
fn in_range(text: &str, packet: &Packet<'_>, destination: bool) -> Option<bool> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    packet.has_port(destination, first.parse().ok()?, last.parse().ok()?)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Filter, Packet, PacketKind, Question};
    use crate::check::packet_filter::packet::{TO_SSH, Tracked};

    fn iptables(rules: &str) -> Option<String> {
        Filter::of_iptables(&format!("*filter\n{rules}\nCOMMIT\n"), &TO_SSH).drops()
    }

    fn iptables_accepts(rules: &str) -> Option<Vec<String>> {
        Some(Filter::of_iptables(&format!("*filter\n{rules}\nCOMMIT\n"), &TO_SSH).restriction()?.accepted)
    }

    #[test]
    fn which_clients_iptables_accepts() {
        let accept = ":INPUT ACCEPT [0:0]\n-A INPUT ";
        let drop = ":INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT ";
        let ssh = "-p tcp -m tcp --dport 22 -j";
        // The packets of connections that are open.
        let not_syn = "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN";
        for (rules, accepted) in [
            (format!("{accept}! -s 10.0.0.0/8 {ssh} DROP"), Some(&["10.0.0.0/8"][..])),
            (format!("{drop}-s 10.0.0.0/8 {ssh} ACCEPT"), Some(&["10.0.0.0/8"])),
            (
                format!("{drop}-s 192.0.2.1/32 {ssh} ACCEPT\n-A INPUT -s 10.0.0.0/8 {ssh} ACCEPT"),
                Some(&["10.0.0.0/8", "192.0.2.1/32"]),
            ),
            (format!("{accept}-s 10.0.0.0/8 {ssh} ACCEPT\n-A INPUT {ssh} DROP"), Some(&["10.0.0.0/8"])),
            (format!("{drop}-m set --match-set office src {ssh} ACCEPT"), Some(&["office"])),
            (
                format!("{drop}-m mac --mac-source 02:00:00:00:00:01 {ssh} ACCEPT"),
                Some(&["02:00:00:00:00:01"]),
            ),
            (
                format!("{drop}-s 10.0.0.0/8 {ssh} ACCEPT\n-A INPUT {not_syn} -j ACCEPT"),
                Some(&["10.0.0.0/8"]),
            ),
            (format!("{accept}-m set ! --match-set office src {ssh} DROP"), Some(&["office"])),
            (
                format!("{drop}-m iprange --src-range 10.0.0.1-10.0.0.9 {ssh} ACCEPT"),
                Some(&["10.0.0.1-10.0.0.9"]),
            ),
            (
                format!("{drop}-s 10.0.0.0/8 -j office\n:office - [0:0]\n-A office {ssh} ACCEPT"),
                Some(&["10.0.0.0/8"]),
            ),
            // Others are accepted, or may be.
            (format!("{accept}-s 10.0.0.0/8 {ssh} DROP"), None),
            (format!("{accept}-m set --match-set f2b-sshd src {ssh} REJECT"), None),
            (format!("{accept}! -s 10.0.0.0/8 -p tcp -m tcp --dport 80 -j DROP"), None),
            (format!("{drop}-s 10.0.0.0/8 {ssh} ACCEPT\n-A INPUT {ssh} ACCEPT"), None),
            (format!("{drop}-s 10.0.0.0/8 {ssh} ACCEPT\n-A INPUT -i eth0 {ssh} ACCEPT"), None),
            (format!("{drop}-s 0.0.0.0/0 {ssh} ACCEPT"), None),
            (format!("{drop}-s 10.0.0.0/8 -j ACCEPT\n-A INPUT -m limit --limit 5/min {ssh} ACCEPT"), None),
            (format!("{accept}! -s 10.0.0.0/8 -m limit --limit 5/min {ssh} DROP"), None),
        ] {
            let found = iptables_accepts(&rules);
            assert_eq!(
                found.as_deref(),
                accepted.map(|all| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>()).as_deref(),
                "{rules}"
            );
            assert_eq!(iptables(&rules), None, "{rules}");
        }
    }

    /// A packet of a client never has such an address, so a rule that accepts one accepts no SSH.
    #[test]
    fn addresses_that_no_client_and_no_sshd_has() {
        for options in [
            "-d 169.254.169.254/32",
            "-s 169.254.169.254/32",
            "-s 127.0.0.0/8",
            "-s 127.0.0.0/255.0.0.0",
            "-d 224.0.0.251/32",
            "-d 255.255.255.255/32",
            "-m pkttype --pkt-type multicast",
            "-m addrtype --dst-type BROADCAST",
        ] {
            assert!(
                iptables(&format!(":INPUT DROP [0:0]\n-A INPUT {options} -j ACCEPT")).is_some(),
                "{options}"
            );
        }
        // As of ufw, closed and open.
        let ufw = |user: &str| {
            iptables(&format!(
                ":INPUT DROP [0:0]\n:not-local - [0:0]\n:user - [0:0]\n-A INPUT -j not-local\n-A INPUT -j user\n-A not-local -m \
                 addrtype --dst-type LOCAL -j RETURN\n-A not-local -j DROP\n{user}"
            ))
        };
        assert!(ufw("").is_some());
        assert!(ufw("-A user -p tcp -m tcp --dport 22 -j ACCEPT").is_none());
    }

    #[test]
    fn what_iptables_drops() {
        for (rules, drops) in [
            (":INPUT ACCEPT [0:0]", false),
            (":INPUT DROP [0:0]", true),
            (":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", false),
            (":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT", true),
            (":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", true),
            (":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", false),
            (":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --tcp-flags FIN,RST FIN -j DROP", false),
            (":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --tcp-flags SYN,RST SYN,RST -j DROP", false),
            (
                ":INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                true,
            ),
            (":INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT", false),
            (":INPUT DROP [0:0]\n-A INPUT -p tcp -m multiport --dports 80,20:25 -j ACCEPT", false),
            (":INPUT DROP [0:0]\n-A INPUT -p tcp -m multiport --dports 80,unknown -j ACCEPT", false),
            (":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j DROP", true),
            (
                ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j REJECT --reject-with icmp-port-unreachable",
                true,
            ),
            (":INPUT ACCEPT [0:0]\n-A INPUT -p udp -m udp --dport 22 -j DROP", false),
            (":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp ! --dport 22 -j DROP", false),
            (":INPUT ACCEPT [0:0]\n-A INPUT -s 192.0.2.7/32 -p tcp -m tcp --dport 22 -j DROP", false),
            (
                ":INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment \"a b\" -p tcp -m tcp --dport 22 -j DROP",
                true,
            ),
            (
                ":INPUT DROP [0:0]\n:ssh - [0:0]\n-A INPUT -p tcp -j ssh\n-A ssh -p tcp -m tcp --dport 22 -j ACCEPT",
                false,
            ),
            (":INPUT ACCEPT [0:0]\n:ssh - [0:0]\n-A INPUT -p tcp -j ssh\n-A ssh -j DROP", true),
            (
                ":INPUT ACCEPT [0:0]\n:ssh - [0:0]\n-A INPUT -j ssh\n-A ssh -s 10.0.0.0/8 -j RETURN\n-A ssh -j DROP",
                false,
            ),
            (
                ":INPUT ACCEPT [0:0]\n:f2b - [0:0]\n-A INPUT -p tcp -m multiport --dports 22 -j f2b\n-A f2b -s 1.2.3.4/32 -j REJECT\n-A f2b -j RETURN",
                false,
            ),
            (":FORWARD DROP [0:0]\n:INPUT ACCEPT [0:0]", false),
            (":INPUT ACCEPT [0:0]\n-A INPUT -j INPUT", false),
        ] {
            assert_eq!(iptables(rules).is_some(), drops, "{rules}");
        }
    }

    /// Rules by interface, and those for replies, with the interface that clients use.
    #[test]
    fn rules_of_an_interface() {
        let established = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
        let input = ":INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT ";
        let output = ":OUTPUT DROP [0:0]\n-A OUTPUT -o lo -j ACCEPT\n-A OUTPUT ";
        let ports = "-p tcp -m multiport --dports 80,443,53 -j ACCEPT";
        let ssh = "-p tcp -m tcp --dport 22 -j";
        for (rules, reply, drops) in [
            (format!(":INPUT ACCEPT [0:0]\n-A INPUT -i eth0 {ssh} DROP"), false, true),
            (format!(":INPUT ACCEPT [0:0]\n-A INPUT -i eth1 {ssh} DROP"), false, false),
            (format!(":INPUT ACCEPT [0:0]\n-A INPUT ! -i eth1 {ssh} DROP"), false, true),
            (format!(":INPUT ACCEPT [0:0]\n-A INPUT -i eth+ {ssh} DROP"), false, true),
            (format!("{input}{established}\n-A INPUT -i ens5 {ssh} ACCEPT"), false, true),
            (format!("{input}{established}\n-A INPUT -i eth0 {ssh} ACCEPT"), false, false),
            (format!("{output}{ports}"), true, true),
            (format!("{output}{ports}\n-A OUTPUT {established}"), true, false),
            (format!("{output}{ports}\n-A OUTPUT -p tcp -m tcp --sport 22 -j ACCEPT"), true, false),
            (format!("{output}{ports}\n-A OUTPUT -p tcp -m tcp --dport 1024:65535 -j ACCEPT"), true, false),
            (format!("{output}{ports}\n-A OUTPUT -d 10.0.0.0/8 -j ACCEPT"), true, false),
            (format!("{output}{ports}\n-A OUTPUT -m owner --uid-owner 0 -j ACCEPT"), true, false),
            (format!("{output}{ports}\n-A OUTPUT -m owner --uid-owner 0-99 -j ACCEPT"), true, false),
            (format!("{output}{ports}\n-A OUTPUT -m owner --socket-exists -j ACCEPT"), true, false),
            (format!("{output}{ports}\n-A OUTPUT -m owner --uid-owner 33 -j ACCEPT"), true, true),
            (format!("{output}{ports}\n-A OUTPUT -m owner ! --gid-owner 0 -j ACCEPT"), true, true),
            (format!("{output}{ports}\n-A OUTPUT -m set --match-set office dst -j ACCEPT"), true, false),
            (format!("{output}{ports}\n-A OUTPUT -o eth0 -j ACCEPT"), true, false),
            (format!("{output}{ports}\n-A OUTPUT -o eth1 -j ACCEPT"), true, true),
            (format!("{output}{ports}"), false, false),
            (":OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m tcp --dport 25 -j DROP".to_owned(), true, false),
        ] {
            let kind = if reply { PacketKind::Reply } else { PacketKind::First };
            let packet = Packet { interface: Some("eth0"), kind, ..TO_SSH };
            let filter = Filter::of_iptables(&format!("*filter\n{rules}\nCOMMIT\n"), &packet);
            assert_eq!(filter.drops().is_some(), drops, "{rules}");
        }
    }

    /// Rules for the address to which clients connect.
    #[test]
    fn own_addresses() {
        let (one, other) = (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 78, 0, 1));
        for (rule, own, drops) in [
            ("-d 10.77.0.1/32", &[one][..], true),
            ("-d 10.77.0.0/16", &[one], true),
            ("-d 10.77.0.1/32", &[other], false),
            ("-d 10.77.0.1/32", &[one, other], false),
            ("-d 10.77.0.1/32", &[], false),
            ("! -d 10.77.0.1/32", &[one], false),
            ("! -d 10.77.0.1/32", &[other], true),
            ("-s 10.77.0.1/32", &[one], false),
        ] {
            let text =
                format!("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {rule} -p tcp -m tcp --dport 22 -j DROP\n");
            let packet = Packet { own, ..TO_SSH };
            assert_eq!(Filter::of_iptables(&text, &packet).drops().is_some(), drops, "{rule} {own:?}");
        }
    }

    #[test]
    fn tables_of_iptables() {
        let ssh = "-p tcp -m tcp --dport 22 -j";
        let usual = "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
        let reply = Packet { kind: PacketKind::Reply, ..TO_SSH };
        for (table, rules, packet, drops) in [
            ("raw", format!(":PREROUTING ACCEPT [0:0]\n-A PREROUTING {ssh} DROP"), TO_SSH, true),
            ("raw", format!(":PREROUTING ACCEPT [0:0]\n-A PREROUTING {ssh} CT --notrack"), TO_SSH, false),
            ("raw", format!(":OUTPUT ACCEPT [0:0]\n-A OUTPUT {ssh} DROP"), TO_SSH, false),
            ("mangle", format!(":INPUT ACCEPT [0:0]\n-A INPUT {ssh} DROP"), TO_SSH, true),
            ("mangle", format!(":FORWARD ACCEPT [0:0]\n-A FORWARD {ssh} DROP"), TO_SSH, false),
            (
                "mangle",
                format!(":INPUT ACCEPT [0:0]\n:own - [0:0]\n-A INPUT -j own\n-A own {ssh} DROP"),
                TO_SSH,
                true,
            ),
            ("mangle", ":POSTROUTING DROP [0:0]".to_owned(), reply, true),
            ("mangle", ":POSTROUTING DROP [0:0]".to_owned(), TO_SSH, false),
            ("security", ":INPUT DROP [0:0]".to_owned(), TO_SSH, true),
            ("nat", format!(":PREROUTING ACCEPT [0:0]\n-A PREROUTING {ssh} DROP"), TO_SSH, false),
        ] {
            let text = format!("*{table}\n{rules}\nCOMMIT\n{usual}");
            let found = Filter::of_iptables(&text, &packet).drops();
            assert_eq!(found.is_some(), drops, "{text}: {found:?}");
        }
        // A chain of another table with the same name is another chain.
        let own = ":INPUT ACCEPT [0:0]\n:own - [0:0]\n-A INPUT -j own";
        let text = format!("*mangle\n{own}\nCOMMIT\n*nat\n:own - [0:0]\n-A own {ssh} DROP\nCOMMIT\n");
        assert_eq!(Filter::of_iptables(&text, &TO_SSH).drops(), None);
        let text = "*mangle\n:INPUT DROP [0:0]\nCOMMIT\n";
        let policy = Filter::of_iptables(text, &TO_SSH).drops();
        assert_eq!(policy.as_deref(), Some("the policy of chain INPUT of table mangle"));
    }

    /// Rules that accept the first packet of a connection only, or that a stateless firewall has.
    #[test]
    fn later_packets() {
        let later = Packet { kind: PacketKind::Later, ..TO_SSH };
        for (rules, first, others) in [
            (":INPUT DROP\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", false, false),
            (":INPUT DROP\n-A INPUT -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT", false, true),
            (
                ":INPUT DROP\n-A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT",
                false,
                false,
            ),
            (
                ":INPUT DROP\n-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n\
                 -A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT",
                false,
                false,
            ),
            (
                ":INPUT ACCEPT\n-A INPUT -p tcp --dport 22 --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT\n-A INPUT -j REJECT",
                false,
                true,
            ),
            // A packet without flags, or a broken one.
            (":INPUT ACCEPT\n-A INPUT -p tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP", false, false),
            (":INPUT ACCEPT\n-A INPUT -m conntrack --ctstate INVALID -j DROP", false, false),
            (
                ":INPUT ACCEPT\n-A INPUT -m conntrack --ctstate INVALID,ESTABLISHED -j DROP\n\
                 -A INPUT -p tcp --dport 22 -j ACCEPT",
                false,
                true,
            ),
        ] {
            let text = format!("*filter\n{rules}\nCOMMIT\n");
            let drops = |packet| Filter::of_iptables(&text, packet).drops().is_some();
            assert_eq!((drops(&TO_SSH), drops(&later)), (first, others), "{rules}");
        }
    }

    #[test]
    fn what_is_taken_from_conntrack() {
        let ssh = "-A PREROUTING -p tcp -m tcp --dport 22 -j";
        let reply = "-A OUTPUT -p tcp -m tcp --sport 22 -j CT --notrack";
        for (rules, client, replies) in [
            (format!("{ssh} CT --notrack"), Some(true), Some(false)),
            (format!("{ssh} NOTRACK\n{reply}"), Some(true), Some(true)),
            (format!(":x - [0:0]\n{ssh} x\n-A x -j CT --notrack"), Some(true), Some(false)),
            (format!("{ssh} CT --helper ftp"), Some(false), Some(false)),
            (format!("{ssh} DROP\n-A PREROUTING -p udp -j CT --notrack"), Some(false), Some(false)),
            ("-A PREROUTING -s 10.0.0.0/8 -j CT --notrack".to_owned(), None, Some(false)),
            (format!("-A PREROUTING -s 10.0.0.0/8 -j ACCEPT\n{ssh} CT --notrack"), None, Some(false)),
        ] {
            let text = format!(
                "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{rules}\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n"
            );
            for (kind, untracks) in [(PacketKind::First, client), (PacketKind::Reply, replies)] {
                let packet = Packet { question: Question::Untracked, kind, ..TO_SSH };
                assert_eq!(Filter::of_iptables(&text, &packet).untracks(), untracks, "{rules} {kind:?}");
            }
        }
    }

    /// The state of packets of connections that conntrack does not see, or of which it sees one direction.
    #[test]
    fn untracked_packets() {
        let input = ":INPUT DROP\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -m state --state";
        let (new, untracked) = (format!("{input} NEW -j ACCEPT"), format!("{input} UNTRACKED -j ACCEPT"));
        let output = ":OUTPUT ACCEPT\n-A OUTPUT -m conntrack --ctstate INVALID -j DROP".to_owned();
        let (yes, no) = (Some(true), Some(false));
        for (rules, client, reply, drops) in [
            (&new, yes, yes, [false, false, false]),
            (&new, no, no, [true, true, false]),
            (&new, yes, no, [false, true, false]),
            (&untracked, no, no, [false, false, false]),
            (&untracked, yes, yes, [true, false, false]),
            (&new, None, None, [false, false, false]),
            (&output, no, yes, [false, false, true]),
            (&output, no, no, [false, false, false]),
            (&output, None, yes, [false, false, false]),
        ] {
            let text = format!("*filter\n{rules}\nCOMMIT\n");
            let found = [PacketKind::First, PacketKind::Later, PacketKind::Reply].map(|kind| {
                let packet = Packet { kind, tracked: Tracked { client, reply }, ..TO_SSH };
                Filter::of_iptables(&text, &packet).drops().is_some()
            });
            assert_eq!(found, drops, "{rules} {client:?} {reply:?}");
        }
    }

    /// Rules that let a few packets through, or none, and queues for programs.
    #[test]
    fn limits_and_queues() {
        let ssh = "-p tcp -m tcp --dport 22";
        let drop = ":INPUT DROP [0:0]\n-A INPUT";
        let open = ":INPUT ACCEPT [0:0]\n-A INPUT";
        for (rules, first, later) in [
            (
                format!(
                    "{open} {ssh} -m connlimit --connlimit-above 0 --connlimit-mask 32 --connlimit-saddr -j DROP"
                ),
                true,
                true,
            ),
            (
                format!(
                    "{open} {ssh} -m connlimit --connlimit-above 5 --connlimit-mask 32 --connlimit-saddr -j DROP"
                ),
                false,
                false,
            ),
            (
                format!(
                    "{drop} {ssh} -m connlimit --connlimit-upto 0 --connlimit-mask 0 --connlimit-daddr -j ACCEPT"
                ),
                true,
                true,
            ),
            (
                format!(
                    "{drop} {ssh} -m connlimit --connlimit-upto 3 --connlimit-mask 32 --connlimit-saddr -j ACCEPT"
                ),
                false,
                false,
            ),
            (format!("{drop} {ssh} -m limit --limit 3/min -j ACCEPT"), false, true),
            (format!("{drop} {ssh} -m limit --limit 3/hour --limit-burst 9 -j ACCEPT"), false, true),
            (format!("{drop} {ssh} -m limit --limit 3/min --limit-burst 200 -j ACCEPT"), false, false),
            (format!("{drop} {ssh} -m limit --limit 20/sec -j ACCEPT"), false, false),
            (
                format!(
                    "{drop} {ssh} -m limit --limit 3/min -j ACCEPT\n-A INPUT -m state --state ESTABLISHED -j ACCEPT"
                ),
                false,
                false,
            ),
            (format!("{drop} {ssh} -m conntrack --ctstatus SEEN_REPLY,ASSURED -j ACCEPT"), true, false),
            (format!("{drop} {ssh} -m conntrack --ctstatus DNAT -j ACCEPT"), false, false),
            (format!("{open} -j NFQUEUE --queue-num 3"), true, true),
            (format!("{open} -j NFQUEUE --queue-balance 3:7"), true, true),
            (format!("{open} -j NFQUEUE --queue-balance 0:3"), false, false),
            (format!("{open} -j NFQUEUE --queue-num 3 --queue-bypass"), false, false),
            (format!("{drop} -j NFQUEUE --queue-num 2"), false, false),
            (format!("{drop} {ssh} -j SYNPROXY --sack-perm --wscale 7"), false, false),
        ] {
            let found = [PacketKind::First, PacketKind::Later].map(|kind| {
                let packet = Packet { kind, queues: Some(&[1, 2]), ..TO_SSH };
                Filter::of_iptables(&format!("*filter\n{rules}\nCOMMIT\n"), &packet).drops().is_some()
            });
            assert_eq!(found, [first, later], "{rules}");
            let unknown = Filter::of_iptables(&format!("*filter\n{rules}\nCOMMIT\n"), &TO_SSH);
            assert!(!rules.contains("QUEUE") || unknown.drops().is_none(), "{rules}");
        }
    }

    #[test]
    fn other_matches_of_iptables() {
        let ssh = "-p tcp -m tcp --dport 22";
        let drop = ":INPUT DROP [0:0]\n-A INPUT";
        let open = ":INPUT ACCEPT [0:0]\n-A INPUT";
        for (rules, drops, unevaluated, restricted) in [
            (
                format!("{drop} {ssh} -m time --timestart 08:00:00 --timestop 09:00:00 -j ACCEPT"),
                false,
                true,
                false,
            ),
            (
                format!("{drop} -m string --string x --algo bm -j x\n:x - [0:0]\n-A x {ssh} -j ACCEPT"),
                false,
                true,
                false,
            ),
            (format!("{drop} {ssh} -m limit --limit 5/min -j ACCEPT"), false, false, false),
            (
                format!("{drop} {ssh} -m hashlimit --hashlimit-upto 5/min --hashlimit-name x -j ACCEPT"),
                false,
                false,
                false,
            ),
            (format!("{drop} {ssh} -m connlimit --connlimit-upto 5 -j ACCEPT"), false, false, false),
            // Nothing sets a mark.
            (format!("{drop} {ssh} -m mark --mark 0x7 -j ACCEPT"), false, true, false),
            (format!("{drop} {ssh} -m connmark --mark 0x7/0xff -j ACCEPT"), false, true, false),
            (format!("{drop} {ssh} -m mark ! --mark 0x7 -j ACCEPT"), false, false, false),
            (format!("{drop} {ssh} -m mark --mark 0x0/0x1 -j ACCEPT"), false, false, false),
            (format!("{drop} {ssh} -m mark ! --mark 0x0/0x1 -j ACCEPT"), false, true, false),
            (format!("{drop} {ssh} -m set --match-set ports dst -j ACCEPT"), false, false, false),
            (format!("{open} -m rpfilter --validmark -j RETURN\n-A INPUT -j DROP"), false, false, false),
            (
                format!("{drop} {ssh} -m recent --rcheck --seconds 30 --name KNOCK --rsource -j ACCEPT"),
                false,
                false,
                true,
            ),
            (format!("{drop} {ssh} -m geoip --source-country DE -j ACCEPT"), false, false, true),
            (
                format!("{open} {ssh} -m recent --update --seconds 30 --hitcount 6 --rsource -j DROP"),
                false,
                false,
                false,
            ),
            (
                format!("{open} {ssh} -m conntrack --ctorigdstport 22 --ctdir ORIGINAL -j DROP"),
                true,
                false,
                false,
            ),
            (format!("{open} -m length --length 0:1500 {ssh} -j DROP"), true, false, false),
            (format!("{open} -m length ! --length 0:1500 {ssh} -j DROP"), false, false, false),
        ] {
            let filter = Filter::of_iptables(&format!("*filter\n{rules}\nCOMMIT\n"), &TO_SSH);
            let restriction = filter.restriction().map(|found| found.by_unevaluated);
            assert_eq!(filter.drops().is_some(), drops, "{rules}");
            assert_eq!(restriction, (drops || unevaluated || restricted).then_some(unevaluated), "{rules}");
        }
    }

    /// Rules of address translation.
    #[test]
    fn what_is_forwarded() {
        let packet = Packet { interface: Some("eth0"), question: Question::Translated, ..TO_SSH };
        for (rules, forwards) in [
            ("-A PREROUTING -i eth0 -p tcp -m tcp --dport 22 -j DNAT --to-destination 172.17.0.2:22", true),
            ("-A PREROUTING -p tcp -m tcp --dport 22 -j REDIRECT --to-ports 2222", true),
            (
                ":DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A DOCKER -i docker0 -j RETURN\n\
                 -A DOCKER ! -i docker0 -p tcp -m tcp --dport 22 -j DNAT --to-destination 172.17.0.2:22",
                true,
            ),
            ("-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:22", false),
            ("-A PREROUTING -i eth1 -p tcp -m tcp --dport 22 -j REDIRECT --to-ports 2222", false),
            ("-A OUTPUT -p tcp -m tcp --dport 22 -j DNAT --to-destination 172.17.0.2:22", false),
        ] {
            let text = format!("*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{rules}\nCOMMIT\n");
            assert_eq!(Filter::of_iptables(&text, &packet).drops().is_some(), forwards, "{rules}");
            assert_eq!(Filter::of_iptables(&text, &TO_SSH).drops(), None, "{rules}");
        }
    }
}
