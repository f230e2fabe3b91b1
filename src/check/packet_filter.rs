//! What the rules of nftables or iptables do with a new connection to sshd, and with sshd's replies.
//!
//! The client's address is not known, and the interface only if it is given. So the result is certain only if no rule that
//! could accept the connection depends on them. Where only addresses decide, the result for a client whose address no rule
//! names is known as well.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::lists;

/// A jump is followed this deep, which is the kernel's limit.
const DEEPEST: usize = 16;

/// A client's ports are above these.
const SYSTEM_PORTS: u16 = 1023;

/// The interface of connections of this system to itself. Clients' packets do not arrive there.
pub(crate) const LOOPBACK: &str = "lo";

/// The packet that the rules see.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Packet<'a> {
    /// sshd's port.
    pub(crate) port: u16,
    /// Where clients' packets arrive, and replies leave.
    pub(crate) interface: Option<&'a str>,
    pub(crate) kind: PacketKind,
    /// The addresses of this system to which clients connect, if they are known.
    pub(crate) own: &'a [Ipv4Addr],
    /// The rules of address translation are asked: one that forwards the packet takes it from sshd, as one that drops it does.
    pub(crate) translated: bool,
    /// A rule takes packets from conntrack, so that it is not known which state they have.
    pub(crate) may_be_untracked: bool,
}

/// Which packet of a connection it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PacketKind {
    /// The client's first one, which has SYN alone of the flags of TCP.
    #[default]
    First,
    /// A later one of the client's.
    Later,
    /// sshd's reply.
    Reply,
}

impl Packet<'_> {
    fn is_reply(&self) -> bool {
        self.kind == PacketKind::Reply
    }

    fn is_first(&self) -> bool {
        self.kind == PacketKind::First
    }

    /// The hooks of Netfilter that it passes.
    const fn hooks(&self) -> &'static [&'static str] {
        match (self.translated, self.kind) {
            (true, _) => &["prerouting"],
            (false, PacketKind::Reply) => &["output", "postrouting"],
            (false, _) => &["prerouting", "input"],
        }
    }

    /// The state that conntrack has for its connection, if it is known.
    fn state(&self) -> Option<&'static str> {
        let state = if self.is_first() { "new" } else { "established" };
        (!self.may_be_untracked).then_some(state)
    }

    /// Whether this is the interface. A name can end with `wildcard`.
    fn is_on(&self, name: &str, wildcard: char) -> Option<bool> {
        if name == LOOPBACK {
            return Some(self.interface == Some(LOOPBACK));
        }
        let interface = self.interface?;
        Some(match name.strip_suffix(wildcard) {
            Some(start) => interface.starts_with(start),
            None => interface == name,
        })
    }

    /// Whether one of its ports, of which the client's is not known, is in a range. `destination`: the port that it is sent to.
    fn has_port(&self, destination: bool, first: u16, last: u16) -> Option<bool> {
        if destination != self.is_reply() {
            Some((first..=last).contains(&self.port))
        } else if last <= SYSTEM_PORTS {
            Some(false)
        } else {
            (first <= SYSTEM_PORTS.saturating_add(1) && last == u16::MAX).then_some(true)
        }
    }
}

/// The chains of a packet filter.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    chains: BTreeMap<String, Vec<Rule>>,
    /// The chains of the packet's hooks, and whether their policy drops.
    hooked: Vec<(String, bool)>,
    /// The interfaces that its rules name.
    interfaces: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    matches: Matches,
    verdict: Verdict,
    /// The clients' addresses that it names.
    source: Option<String>,
    /// As the tool prints it.
    text: String,
}

/// Whether a rule matches the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Matches {
    /// `None` if that depends on the client.
    all: Option<bool>,
    /// The same for a client whose address no rule names.
    others: Option<bool>,
    /// It is `None` for each client because of a match that is not evaluated here, as one of the time.
    unread: bool,
}

/// Whose connection is followed through the chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    All,
    /// Those whose address no rule names.
    Others,
    /// All, if no rule with a match that is not evaluated matches.
    Unread,
}

/// The firewall accepts some clients only, or only by rules that are not evaluated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Restriction {
    /// The addresses of clients that it may accept, or those rules.
    pub(crate) accepted: Vec<String>,
    /// The rule or policy that drops the connections of others.
    pub(crate) rule: String,
    /// They are rules.
    pub(crate) is_unread: bool,
}

/// What was found on the way through the chains.
#[derive(Debug, Default)]
struct Traversal {
    /// A rule accepts some clients, so that a later drop is not for all.
    maybe_accepted: bool,
    /// The addresses of clients that a rule accepts, or the rules that are not evaluated and may accept some.
    accepted: Vec<String>,
    /// The rules that may drop the connections of some clients.
    dropped: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// A rule that only counts or logs.
    Continue,
}

/// How a rule may end.
struct Ends {
    accepts: bool,
    drops: bool,
}

/// What the rules do with the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Accepts,
    /// For each client, by this rule or policy.
    Drops(String),
    /// The end of the chain.
    Continues,
}

impl Filter {
    /// The rule or policy that drops the connection for all clients.
    pub(crate) fn drops(&self) -> Option<String> {
        self.dropped(Clients::All).map(|(rule, _)| rule)
    }

    /// Which clients it accepts, if it drops the connection of all whose address no rule names; or the rules that may accept it, if all
    /// of them have matches that are not evaluated.
    pub(crate) fn restriction(&self) -> Option<Restriction> {
        [Clients::Others, Clients::Unread].into_iter().find_map(|clients| {
            let (rule, accepted) = self.dropped(clients)?;
            let is_unread = clients == Clients::Unread;
            Some(Restriction { accepted: lists::sorted_unique(accepted), rule, is_unread })
        })
    }

    /// Adds the rules that may drop the connections of some clients.
    pub(crate) fn drops_some(&self, rules: &mut Vec<String>) {
        let mut traversal = Traversal::default();
        for (chain, _) in &self.hooked {
            self.walk(chain, DEEPEST, Clients::All, &mut traversal);
        }
        rules.extend(traversal.dropped);
    }

    /// The interfaces that its rules name.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.interfaces.iter().map(String::as_str)
    }

    fn add_interface(&mut self, name: String) {
        if !self.interfaces.contains(&name) {
            self.interfaces.push(name);
        }
    }

    fn dropped(&self, clients: Clients) -> Option<(String, Vec<String>)> {
        self.hooked.iter().find_map(|(chain, policy_drops)| {
            let mut traversal = Traversal::default();
            match self.walk(chain, DEEPEST, clients, &mut traversal) {
                Outcome::Drops(rule) => Some((rule, traversal.accepted)),
                Outcome::Continues if *policy_drops && !traversal.maybe_accepted => {
                    Some((format!("the policy of chain {chain}"), traversal.accepted))
                }
                Outcome::Accepts | Outcome::Continues => None,
            }
        })
    }

    fn walk(&self, chain: &str, left: usize, clients: Clients, traversal: &mut Traversal) -> Outcome {
        let Some(left) = left.checked_sub(1) else {
            traversal.maybe_accepted = true;
            return Outcome::Continues;
        };
        for rule in self.chains.get(chain).into_iter().flatten() {
            let is_unread = rule.matches.unread && rule.matches.all.is_none();
            let matches = match clients {
                Clients::Others => rule.matches.others,
                Clients::Unread if is_unread => Some(false),
                Clients::All | Clients::Unread => rule.matches.all,
            };
            if clients == Clients::Unread && is_unread && self.leads_to(rule, left).accepts {
                traversal.accepted.push(rule.text.clone());
            }
            if let (Clients::Others, Some(source)) = (clients, &rule.source) {
                // It drops all but these clients, or accepts these.
                let accepts = match matches {
                    Some(true) => rule.verdict == Verdict::Drop,
                    Some(false) => rule.matches.all.is_none() && self.leads_to(rule, left).accepts,
                    None => false,
                };
                if accepts {
                    traversal.accepted.push(source.clone());
                }
            }
            let Some(matches) = matches else {
                // It accepts some clients, or saves them from a later rule of its chain.
                let Ends { accepts, drops } = self.leads_to(rule, left);
                traversal.maybe_accepted |= accepts;
                if drops {
                    let source = rule.source.as_deref().filter(|_| !rule.text.starts_with('-'));
                    let line = format!(
                        "drops those of some clients, or may do so: {} {}",
                        rule.text,
                        source.unwrap_or_default()
                    );
                    traversal.dropped.push(line.trim_end().to_owned());
                }
                continue;
            };
            if !matches {
                continue;
            }
            match &rule.verdict {
                Verdict::Accept => return Outcome::Accepts,
                Verdict::Drop if traversal.maybe_accepted => return Outcome::Accepts,
                Verdict::Drop => return Outcome::Drops(rule.text.clone()),
                Verdict::Return => return Outcome::Continues,
                Verdict::Jump(target) => match self.walk(target, left, clients, traversal) {
                    Outcome::Continues => {}
                    end => return end,
                },
                Verdict::Goto(target) => return self.walk(target, left, clients, traversal),
                Verdict::Continue => {}
            }
        }
        Outcome::Continues
    }

    /// How a rule may end for the clients that it matches.
    fn leads_to(&self, rule: &Rule, left: usize) -> Ends {
        match &rule.verdict {
            Verdict::Accept | Verdict::Return => Ends { accepts: true, drops: false },
            Verdict::Drop => Ends { accepts: false, drops: true },
            Verdict::Jump(target) | Verdict::Goto(target) => {
                let mut traversal = Traversal::default();
                let outcome = self.walk(target, left, Clients::All, &mut traversal);
                Ends {
                    accepts: traversal.maybe_accepted || outcome == Outcome::Accepts,
                    drops: matches!(outcome, Outcome::Drops(_)),
                }
            }
            Verdict::Continue => Ends { accepts: false, drops: false },
        }
    }

    /// Parses the output of `nft --json list ruleset`, for a packet over IPv4. `None` if it is something else.
    pub(crate) fn of_nftables(printed: &str, packet: &Packet<'_>) -> Option<Self> {
        let document: Value = serde_json::from_str(printed).ok()?;
        let mut filter = Self::default();
        let chain_of = |value: &Value, name: &str| {
            format!("{} {} {}", text(value, "family"), text(value, "table"), name)
        };
        let items = document.get("nftables")?.as_array()?;
        for item in items {
            if let Some(chain) = item.get("chain") {
                let name = chain_of(chain, text(chain, "name"));
                // A chain for address translation drops nothing, and can change the port.
                let is_hooked = packet.hooks().contains(&text(chain, "hook"))
                    && matches!(text(chain, "family"), "ip" | "inet")
                    && (text(chain, "type") == "nat") == packet.translated;
                let is_early = !packet.is_reply()
                    && !packet.translated
                    && text(chain, "hook") == "ingress"
                    && packet.interface.is_some_and(|interface| is_on_device(chain, interface));
                if is_hooked || is_early {
                    filter.hooked.push((name.clone(), text(chain, "policy") == "drop"));
                }
                filter.chains.entry(name).or_default();
            } else if let Some(rule) = item.get("rule") {
                let name = chain_of(rule, text(rule, "chain"));
                let mut expressions = rule.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
                for expression in &mut expressions {
                    resolve(expression, rule, items);
                }
                let mut parsed = nft_rules(&expressions, packet, &name);
                expressions.iter().flat_map(nft_interfaces).for_each(|name| filter.add_interface(name));
                for one in &mut parsed {
                    if let Verdict::Jump(target) | Verdict::Goto(target) = &mut one.verdict {
                        *target = chain_of(rule, target);
                    }
                }
                filter.chains.entry(name).or_default().extend(parsed);
            }
        }
        Some(filter)
    }

    /// Parses the output of `iptables-save`.
    pub(crate) fn of_iptables(text: &str, packet: &Packet<'_>) -> Self {
        let tables: &[&str] =
            if packet.translated { &["nat"] } else { &["raw", "mangle", "filter", "security"] };
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
                    filter.hooked.push((chain.clone(), policy == "DROP"));
                }
                filter.chains.entry(chain).or_default();
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
                filter.chains.entry(chain_of(table, chain)).or_default().push(rule);
            }
        }
        filter
    }
}

impl Matches {
    /// It does not depend on the client's address.
    const fn same(result: Option<bool>) -> Self {
        Self { all: result, others: result, unread: false }
    }

    /// It is not evaluated here.
    const UNREAD: Self = Self { all: None, others: None, unread: true };

    /// It matches the clients with these addresses; `None` if they are not known, as those of a set.
    fn source(addresses: Option<&Addresses>) -> Self {
        let all = addresses.and_then(Addresses::has_client);
        Self { all, others: all.or(Some(false)), unread: false }
    }

    fn negated(self, negated: bool) -> Self {
        let negate = |result: Option<bool>| result.map(|result| result != negated);
        Self { all: negate(self.all), others: negate(self.others), ..self }
    }

    /// Both have to match.
    fn and(self, other: Self) -> Self {
        let and = |one, other| match (one, other) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        Self {
            all: and(self.all, other.all),
            others: and(self.others, other.others),
            unread: self.unread || other.unread,
        }
    }
}

/// The text of a member of a value in JSON. Empty if there is none.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The text of a member of a member.
fn part<'a>(value: &'a Value, outer: &str, inner: &str) -> &'a str {
    value.get(outer).map(|value| text(value, inner)).unwrap_or_default()
}

/// The elements of `{"set": […]}` or of a list, or a value alone.
fn elements(value: &Value) -> &[Value] {
    match value.get("set").unwrap_or(value) {
        Value::Array(elements) => elements,
        one => std::slice::from_ref(one),
    }
}

/// Puts the elements of a named set or map in place of its name. Those with addresses can change at any time, as those of fail2ban, and
/// those for clients that knock.
fn resolve(expression: &mut Value, rule: &Value, items: &[Value]) {
    let (outer, inner) =
        if expression.get("match").is_some() { ("match", "right") } else { ("vmap", "data") };
    let Some(value) = expression.get_mut(outer).and_then(|one| one.get_mut(inner)) else { return };
    let Some(name) = value.as_str().and_then(|name| name.strip_prefix('@')) else { return };
    let mut sets = items.iter().filter_map(|item| item.get("set").or_else(|| item.get("map")));
    let found = sets.find(|set| {
        text(set, "name") == name && ["family", "table"].iter().all(|key| text(set, key) == text(rule, key))
    });
    let kind = |set: &Value| set.get("type").map(Value::to_string).unwrap_or_default();
    if let Some(set) = found.filter(|set| !kind(set).contains("addr")) {
        *value = set.get("elem").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
    }
}

/// Ranges of IPv4 addresses.
struct Addresses(Vec<(u32, u32)>);

impl Addresses {
    /// Neither a client nor sshd has one of these: loopback, link-local (the metadata service), multicast, broadcast.
    const NOT_USED: [(Ipv4Addr, u32); 3] = [
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(224, 0, 0, 0), 3),
    ];

    fn prefix(address: Ipv4Addr, length: u32) -> Option<(u32, u32)> {
        let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
        (length <= 32).then(|| (address.to_bits() & !hosts, address.to_bits() | hosts))
    }

    /// An address, `ADDRESS/LENGTH`, `ADDRESS/MASK` or `FIRST-LAST`.
    fn parse(text: &str) -> Option<(u32, u32)> {
        if let Some((first, last)) = text.split_once('-') {
            let bits = |text: &str| text.parse().ok().map(Ipv4Addr::to_bits);
            return Some((bits(first)?, bits(last)?));
        }
        let Some((address, length)) = text.split_once('/') else {
            return Self::prefix(text.parse().ok()?, 32);
        };
        let length = match length.parse::<Ipv4Addr>() {
            Ok(mask) if mask.to_bits().leading_ones() == mask.to_bits().count_ones() => {
                mask.to_bits().leading_ones()
            }
            Ok(_) => return None,
            Err(_) => length.parse().ok()?,
        };
        Self::prefix(address.parse().ok()?, length)
    }

    /// As nftables has them in JSON.
    fn of_nftables(value: &Value) -> Option<Self> {
        let address = |element| Self::parse(&nft_address(element)?);
        elements(value).iter().map(address).collect::<Option<_>>().map(Self)
    }

    /// Whether sshd's address is one of them; `None` if it may be.
    fn has_own(&self, packet: &Packet<'_>) -> Option<bool> {
        let has = |address: &Ipv4Addr| {
            let bits = address.to_bits();
            self.0.iter().any(|&(first, last)| (first..=last).contains(&bits))
        };
        match packet.own.iter().filter(|address| has(address)).count() {
            _ if packet.own.is_empty() => self.has_client(),
            0 => Some(false),
            count => (count == packet.own.len()).then_some(true),
        }
    }

    /// Whether the address of a client, or of sshd, is one of them; `None` if it may be.
    fn has_client(&self) -> Option<bool> {
        let not_used = |&(first, last): &(u32, u32)| {
            Self::NOT_USED.iter().any(|(address, length)| {
                Self::prefix(*address, *length).is_some_and(|(from, to)| from <= first && last <= to)
            })
        };
        if self.0.contains(&(0, u32::MAX)) {
            Some(true)
        } else if self.0.iter().all(not_used) {
            Some(false)
        } else {
            None
        }
    }
}

/// Whether this is output of `nft --json`.
pub(crate) fn is_nftables(text: &str) -> bool {
    let document: Option<Value> = serde_json::from_str(text).ok();
    document.is_some_and(|document| document.get("nftables").is_some_and(Value::is_array))
}

/// Whether a rule of nftables redirects connections from one port of this system to another one.
pub(crate) fn nft_redirects(text: &str, from: u16, to: u16) -> bool {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let items = document.get("nftables").and_then(Value::as_array).into_iter().flatten();
    let mut rules = items.filter_map(|item| item.get("rule")?.get("expr")?.as_array());
    let is = |part: &Value, kind: &str, name: &str, port: u16| {
        part.get(kind).is_some_and(|part| part.get(name).is_some_and(|found| *found == port))
    };
    rules.any(|parts| {
        parts.iter().any(|part| is(part, "match", "right", from))
            && parts.iter().any(|part| is(part, "redirect", "port", to))
    })
}

/// An address of nftables' JSON in text.
pub(crate) fn nft_address(value: &Value) -> Option<String> {
    if let Some(prefix) = value.get("prefix") {
        return Some(format!("{}/{}", prefix.get("addr")?.as_str()?, prefix.get("len")?.as_u64()?));
    }
    if let Some(range) = value.get("range") {
        return Some(format!("{}-{}", range.get(0)?.as_str()?, range.get(1)?.as_str()?));
    }
    value_of(value).as_str().map(str::to_owned)
}

/// Whether a chain of the ingress hook is for this interface.
fn is_on_device(chain: &Value, interface: &str) -> bool {
    match chain.get("dev") {
        Some(Value::Array(devices)) => devices.iter().any(|device| device == interface),
        Some(device) => device == interface,
        // nft 1.0.6 does not print it.
        None => true,
    }
}

/// The interfaces that an expression names.
fn nft_interfaces(expression: &Value) -> Vec<String> {
    let names = || {
        let matched = expression.get("match")?;
        matches!(part(matched.get("left")?, "meta", "key"), "iif" | "iifname" | "oif" | "oifname")
            .then_some(())?;
        Some(elements(matched.get("right")?).iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    names().unwrap_or_default()
}

/// The parts of a rule: one for each element of a verdict map.
fn nft_rules(expressions: &[Value], packet: &Packet<'_>, chain: &str) -> Vec<Rule> {
    let (mut matches, mut verdict) = (Matches::same(Some(true)), Verdict::Continue);
    let mut source = None;
    let mut text = format!("a rule of chain {chain}");
    for expression in expressions {
        let Some((name, value)) = expression.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        if let Some(known) = nft_verdict(name, value) {
            verdict = known;
            continue;
        }
        match name.as_str() {
            "match" => {
                matches = matches.and(nft_match(value, packet));
                if is_source(value.get("left")) {
                    source = value.get("right").and_then(nft_source);
                }
            }
            "counter" | "log" | "comment" | "notrack" | "mangle" => {}
            "dnat" | "redirect" if packet.translated => {
                verdict = Verdict::Drop;
                if let Some(address) = value.get("addr").and_then(Value::as_str) {
                    text = format!("{text}, to {address}");
                }
            }
            "vmap" => {
                if let Some(rules) = nft_verdict_map(value, packet, matches, &text) {
                    return rules;
                }
                (matches, verdict) = (matches.and(Matches::same(None)), Verdict::Accept);
            }
            "queue" => (matches, verdict) = (matches.and(Matches::same(None)), Verdict::Accept),
            // Limits, sets that the rule changes, modules of iptables.
            _ => matches = matches.and(Matches::same(None)),
        }
    }
    vec![Rule { matches, verdict, source, text }]
}

fn nft_verdict(name: &str, value: &Value) -> Option<Verdict> {
    let target = || text(value, "target").to_owned();
    Some(match name {
        "accept" => Verdict::Accept,
        "drop" | "reject" => Verdict::Drop,
        "return" => Verdict::Return,
        "continue" => Verdict::Continue,
        "jump" => Verdict::Jump(target()),
        "goto" => Verdict::Goto(target()),
        _ => return None,
    })
}

/// A rule for each element; `None` if they are not known.
fn nft_verdict_map(map: &Value, packet: &Packet<'_>, matches: Matches, text: &str) -> Option<Vec<Rule>> {
    let key = map.get("key")?;
    let element = |element: &Value| {
        let (value, verdict) = (element.get(0)?, element.get(1)?);
        let (name, target) = verdict.as_object()?.iter().next()?;
        let one = serde_json::json!({"op": "==", "left": key, "right": value});
        let source = is_source(Some(key)).then(|| nft_source(value)).flatten();
        let matches = matches.and(nft_match(&one, packet));
        Some(Rule { matches, verdict: nft_verdict(name, target)?, source, text: text.to_owned() })
    };
    elements(map.get("data")?).iter().map(element).collect()
}

/// Whether a match is for the client's IPv4 address.
fn is_source(left: Option<&Value>) -> bool {
    left.is_some_and(|left| {
        part(left, "payload", "protocol") == "ip" && part(left, "payload", "field") == "saddr"
    })
}

/// The addresses of a match in text.
fn nft_source(right: &Value) -> Option<String> {
    let all: Option<Vec<_>> = elements(right).iter().map(nft_address).collect();
    all.map(|all| all.join(", "))
}

/// Whether a match of nftables is true for the connection.
fn nft_match(value: &Value, packet: &Packet<'_>) -> Matches {
    let (Some(left), Some(right)) = (value.get("left"), value.get("right")) else {
        return Matches::same(None);
    };
    let op = text(value, "op");
    let (negated, is_equality) = (op == "!=", matches!(op, "==" | "!=" | "in"));
    let (protocol, field) = (part(left, "payload", "protocol"), part(left, "payload", "field"));
    if let (Some(fields), true) = (left.get("concat").and_then(Value::as_array), is_equality) {
        return nft_concatenations(fields, right, packet).negated(negated);
    }
    if let (Some(has_syn), true, false) = (flags_with_syn(left), is_equality, packet.is_reply()) {
        let is = |one: &Value| match packet.kind {
            PacketKind::First => Some(if has_syn { one == "syn" } else { one == 0 }),
            // It can have others.
            _ => (has_syn && one == "syn").then_some(false),
        };
        return Matches::same(contains(right, &is)).negated(negated);
    }
    if (protocol, field, packet.is_reply()) == ("ether", "saddr", false) {
        // Of a neighbour, which the rule names as another one names addresses.
        return Matches::source(None).negated(negated);
    }
    if is_source(Some(left)) && !packet.is_reply() {
        let addresses = Addresses::of_nftables(right).filter(|_| is_equality);
        return Matches::source(addresses.as_ref()).negated(negated);
    }
    let on_interface = |one: &Value| one.as_str().and_then(|name| packet.is_on(name, '*'));
    let result = match (protocol, field, part(left, "meta", "key"), part(left, "ct", "key")) {
        ("tcp" | "th", field @ ("dport" | "sport"), ..) => {
            let destination = field == "dport";
            match range_of(op, right) {
                Some((first, last)) => packet.has_port(destination, first, last),
                None if is_equality => contains(right, &|one| number_is(one, packet, destination)),
                None => None,
            }
        }
        // Another protocol, whatever the value.
        ("udp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "ip6", ..) => {
            return Matches::same(Some(false));
        }
        ("ip", "length", ..) | (_, _, "length", _) if packet.is_first() => {
            let range = range_of(op, right).or_else(|| ports(right).filter(|_| is_equality));
            match range.and_then(|(first, last)| has_length(first, last)) {
                None => return Matches::UNREAD,
                result => result,
            }
        }
        _ if !is_equality => return Matches::UNREAD,
        ("ip", "protocol", ..) | (_, _, "l4proto", _) => {
            contains(right, &|one| Some(one == "tcp" || one == 6))
        }
        ("ip", "version", ..) => contains(right, &|one| Some(one == 4)),
        // Of a packet without options, as almost all are.
        ("ip", "hdrlength", ..) => contains(right, &|one| Some(one == 5)),
        ("ether", "type", ..) | (_, _, "protocol", _) => contains(right, &|one| Some(one == "ip")),
        // Of a client's packet, its source address was matched above.
        ("ip", field @ ("daddr" | "saddr"), ..) => {
            let is_own = (field == "saddr") == packet.is_reply();
            Addresses::of_nftables(right)
                .and_then(|addresses| if is_own { addresses.has_own(packet) } else { addresses.has_client() })
        }
        (_, _, "pkttype", _) if packet.is_reply() => None,
        (_, _, "pkttype", _) => contains(right, &|one| Some(one == "host" || one == "unicast")),
        (_, _, "nfproto", _) => contains(right, &|one| Some(one == "ipv4")),
        (_, _, "iifname" | "iif", _) if !packet.is_reply() => contains(right, &on_interface),
        (_, _, "oifname" | "oif", _) if packet.is_reply() => contains(right, &on_interface),
        (_, _, "iiftype", _) if !packet.is_reply() && packet.interface.is_some() => {
            contains(right, &|one| Some(one == "ether" || one == 1))
        }
        // A connection that another system forwards here, by address translation.
        (_, _, _, "status") => Some(false),
        (_, _, _, "state") => packet.state().and_then(|state| contains(right, &|one| Some(one == state))),
        (_, _, _, "proto-dst") if part(left, "ct", "dir") == "original" => {
            contains(right, &|one| number_is(one, &Packet { kind: PacketKind::First, ..*packet }, true))
        }
        (_, _, _, "direction") => {
            contains(right, &|one| Some(one == if packet.is_reply() { "reply" } else { "original" }))
        }
        _ if is_type_of_destination(left) && !packet.is_reply() => {
            contains(right, &|one| Some(one == "local"))
        }
        // Other rules set the marks; the interface, or the route to the client, decides.
        (_, _, "mark" | "iif" | "oif" | "iifname" | "oifname" | "iiftype" | "iifgroup" | "iifkind", _)
        | (_, _, _, "mark" | "zone") => None,
        _ if left.get("fib").is_some() => None,
        _ => return Matches::UNREAD.negated(negated),
    };
    Matches::same(result).negated(negated)
}

/// Whether this is about the type of the address that the packet is sent to, which is one of this system.
fn is_type_of_destination(left: &Value) -> bool {
    let Some(fib) = left.get("fib") else { return false };
    let has = |name: &str, word: &str| {
        let value = fib.get(name).filter(|value| value.get(1).is_none());
        value.is_some_and(|value| value.get(0).unwrap_or(value) == word)
    };
    has("result", "type") && has("flags", "daddr")
}

/// Whether the length of the first packet of a connection is in a range: two headers, of which that of TCP has options.
fn has_length(first: u16, last: u16) -> Option<bool> {
    if first <= 40 && last >= 80 {
        return Some(true);
    }
    (last < 40 || first > 80).then_some(false)
}

/// Whether a match of several fields, such as `ip saddr . tcp dport`, is true for one of its elements.
fn nft_concatenations(fields: &[Value], right: &Value, packet: &Packet<'_>) -> Matches {
    let one = |element: &Value| {
        let values = value_of(element).get("concat")?.as_array()?;
        let both = fields.iter().zip(values);
        let both = both.map(|(left, right)| {
            nft_match(&serde_json::json!({"op": "==", "left": left, "right": right}), packet)
        });
        Some(both.fold(Matches::same(Some(true)), Matches::and))
    };
    let elements: Option<Vec<_>> = elements(right).iter().map(one).collect();
    let Some(elements) = elements else { return Matches::same(None) };
    let any = |is: fn(&Matches) -> Option<bool>| any(&elements.iter().map(is).collect::<Vec<_>>());
    let unread = elements.iter().any(|one| one.unread);
    Matches { all: any(|one| one.all), others: any(|one| one.others), unread }
}

/// Whether SYN is among the flags of TCP that a match is about, if it is: a client's first packet has SYN alone.
fn flags_with_syn(left: &Value) -> Option<bool> {
    let is = |value| part(value, "payload", "field") == "flags";
    if is(left) {
        return Some(true);
    }
    let parts = left.get("&")?;
    (is(parts.get(0)?)).then_some(parts.get(1)?.to_string().contains("\"syn\""))
}

/// Whether one of the elements of a value is true: the value alone, `{"set": […]}` or a list.
fn contains(value: &Value, is: &dyn Fn(&Value) -> Option<bool>) -> Option<bool> {
    let is = |one| match value_of(one) {
        // A named set.
        Value::String(name) if name.starts_with('@') => None,
        one => is(one),
    };
    let results: Vec<_> = elements(value).iter().map(is).collect();
    any(&results)
}

/// The value of an element of a set, which can have a comment or a counter.
fn value_of(element: &Value) -> &Value {
    element.get("elem").and_then(|element| element.get("val")).unwrap_or(element)
}

/// Whether one of the results is true. `None`: that is unknown.
fn any(results: &[Option<bool>]) -> Option<bool> {
    if results.contains(&Some(true)) {
        Some(true)
    } else if results.contains(&None) {
        None
    } else {
        Some(false)
    }
}

/// Whether a number or range contains the packet's port.
fn number_is(value: &Value, packet: &Packet<'_>, destination: bool) -> Option<bool> {
    let (first, last) = ports(value)?;
    packet.has_port(destination, first, last)
}

/// A range, or a number alone.
fn ports(value: &Value) -> Option<(u16, u16)> {
    Some(match value.get("range") {
        Some(range) => (port_of(range.get(0)?)?, port_of(range.get(1)?)?),
        None => (port_of(value)?, port_of(value)?),
    })
}

fn port_of(value: &Value) -> Option<u16> {
    match value {
        Value::String(name) if name == "ssh" => Some(22),
        one => one.as_u64().and_then(|number| u16::try_from(number).ok()),
    }
}

/// The ports that an operator selects. `None` if there are none, or if it is another operator.
fn range_of(op: &str, right: &Value) -> Option<(u16, u16)> {
    let port = port_of(right)?;
    Some(match op {
        "<" => (0, port.checked_sub(1)?),
        "<=" => (0, port),
        ">" => (port.checked_add(1)?, u16::MAX),
        ">=" => (port, u16::MAX),
        _ => return None,
    })
}

fn iptables_rule(text: &str, packet: &Packet<'_>, line: &str) -> Rule {
    let (mut matches, mut verdict) = (Matches::same(Some(true)), Verdict::Continue);
    let mut source = None;
    let mut negated = false;
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        let mut argument = || words.next().unwrap_or_default();
        let result = match word {
            "!" => {
                negated = true;
                continue;
            }
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
            "-s" | "--source" | "--src-range" | "--match-set" | "--source-country" if !packet.is_reply() => {
                let name = argument();
                let addresses = Addresses::parse(name).map(|range| Addresses(vec![range]));
                if word == "--match-set" && !argument().starts_with("src") {
                    None
                } else {
                    source = Some(name.to_owned());
                    matches = matches.and(Matches::source(addresses.as_ref()).negated(negated));
                    negated = false;
                    continue;
                }
            }
            "-s" | "--source" | "--src-range" | "-d" | "--destination" | "--dst-range" => {
                let is_own = word.trim_start_matches('-').starts_with('d') != packet.is_reply();
                Addresses::parse(argument()).and_then(|range| {
                    let addresses = Addresses(vec![range]);
                    if is_own { addresses.has_own(packet) } else { addresses.has_client() }
                })
            }
            "--mac-source" | "--rcheck" | "--update" if !packet.is_reply() => {
                source =
                    Some(if word == "--mac-source" { argument() } else { "recent addresses" }.to_owned());
                matches = matches.and(Matches::source(None).negated(negated));
                negated = false;
                continue;
            }
            "--length" if packet.is_first() => {
                let text = argument();
                let (first, last) = text.split_once(':').unwrap_or((text, text));
                first.parse().ok().zip(last.parse().ok()).and_then(|(first, last)| has_length(first, last))
            }
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
            "-m" => {
                matches = matches.and(of_module(argument()));
                continue;
            }
            "--comment" => {
                // Quoted if it contains a blank.
                let first = argument();
                if first.starts_with('"') && !(first.len() > 1 && first.ends_with('"')) {
                    words.by_ref().take_while(|word| !word.ends_with('"')).for_each(drop);
                }
                continue;
            }
            "-j" => {
                verdict = match argument() {
                    "ACCEPT" | "NFQUEUE" => Verdict::Accept,
                    "DROP" | "REJECT" => Verdict::Drop,
                    "DNAT" | "REDIRECT" if packet.translated => Verdict::Drop,
                    "RETURN" => Verdict::Return,
                    "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "AUDIT" => Verdict::Continue,
                    target => Verdict::Jump(target.to_owned()),
                };
                // What follows are options of the target.
                break;
            }
            "-g" => {
                verdict = Verdict::Goto(argument().to_owned());
                break;
            }
            _ => None,
        };
        matches = matches.and(Matches::same(result).negated(negated));
        negated = false;
    }
    Rule { matches, verdict, source, text: line.to_owned() }
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
        | "pkttype" | "geoip" | "length" => Matches::same(Some(true)),
        // A limit lets a client in, as a rule. Other rules set the marks, and the route to the client decides.
        "recent" | "limit" | "hashlimit" | "connlimit" | "quota" | "mark" | "connmark" | "policy"
        | "rpfilter" | "socket" | "physdev" | "devgroup" | "nfacct" => Matches::same(None),
        _ => Matches::UNREAD,
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
    use super::{Filter, Ipv4Addr, Packet, PacketKind};

    const TO_SSH: Packet<'_> = Packet {
        port: 22,
        interface: None,
        kind: PacketKind::First,
        own: &[],
        translated: false,
        may_be_untracked: false,
    };

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
    fn which_clients_nftables_accepts() {
        let saddr = |op: &str, right: &str| {
            format!(
                r#"{{"match":{{"op":"{op}","left":{{"payload":{{"protocol":"ip","field":"saddr"}}}},"right":{right}}}}}"#
            )
        };
        let office = r#"{"prefix":{"addr":"10.0.0.0","len":8}}"#;
        let ssh = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}}"#;
        let (accept, drop) = (r#"{"accept":null}"#, r#"{"drop":null}"#);
        let restriction = |policy: &str, rules: &str| {
            Filter::of_nftables(&ruleset(policy, rules), &TO_SSH)
                .unwrap()
                .restriction()
                .map(|found| found.accepted)
        };
        for (policy, rules, accepted) in [
            ("drop", input(&[&saddr("==", office), ssh, accept]), Some("10.0.0.0/8")),
            ("accept", input(&[&saddr("!=", office), ssh, drop]), Some("10.0.0.0/8")),
            ("drop", input(&[&saddr("==", r#""@office""#), ssh, accept]), Some("@office")),
            (
                "drop",
                input(&[&saddr("==", r#"{"set":["192.0.2.1",{"range":["10.0.0.1","10.0.0.9"]}]}"#), accept]),
                Some("192.0.2.1, 10.0.0.1-10.0.0.9"),
            ),
            ("accept", input(&[&saddr("==", office), ssh, drop]), None),
            ("accept", input(&[&saddr("==", office).replace(r#""ip""#, r#""ether""#), ssh, drop]), None),
            ("accept", input(&[&saddr("==", r#""@banned""#), drop]), None),
            ("drop", [input(&[&saddr("==", office), accept]), input(&[ssh, accept])].concat(), None),
        ] {
            let accepted = accepted.map(|one| vec![one.to_owned()]);
            assert_eq!(restriction(policy, &rules), accepted, "{policy} {rules}");
        }
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

    /// A rule of the chain of the hook input.
    fn input(expressions: &[&str]) -> String {
        rule("input", &expressions.join(","))
    }

    fn ruleset(policy: &str, rules: &str) -> String {
        format!(
            r#"{{"nftables":[{{"metainfo":{{}}}},{{"table":{{"family":"inet","name":"filter"}}}},
            {{"chain":{{"family":"inet","table":"filter","name":"input","type":"filter","hook":"input","prio":0,"policy":"{policy}"}}}},
            {{"chain":{{"family":"inet","table":"filter","name":"ssh"}}}}{rules}]}}"#
        )
    }

    fn nftables(policy: &str, rules: &str) -> Option<String> {
        Filter::of_nftables(&ruleset(policy, rules), &TO_SSH).and_then(|filter| filter.drops())
    }

    fn rule(chain: &str, expressions: &str) -> String {
        format!(
            r#",{{"rule":{{"family":"inet","table":"filter","chain":"{chain}","handle":1,"expr":[{expressions}]}}}}"#
        )
    }

    #[test]
    fn what_nftables_drops() {
        let dport = |right: &str| {
            format!(
                r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{right}}}}}"#
            )
        };
        let ssh = dport("22");
        let order = |op: &str, port: &str| dport(port).replace("==", op);
        let state =
            r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}}"#;
        let lo = r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"lo"}}"#;
        let from = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"192.0.2.1"}}"#;
        let (accept, drop) = (r#"{"accept":null}"#, r#"{"drop":null}"#);
        let status = r#"{"match":{"op":"in","left":{"ct":{"key":"status"}},"right":"dnat"}}"#;
        let to_metadata = from.replace("saddr", "daddr").replace("192.0.2.1", "169.254.169.254");
        let state_map = r#"{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["established",{"accept":null}],["invalid",{"drop":null}]]}}}"#;
        let port_map = |port: &str| {
            format!(
                r#"{{"vmap":{{"key":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"data":{{"set":[[{port},{{"accept":null}}]]}}}}}}"#
            )
        };
        let (jump, reject) =
            (r#"{"jump":{"target":"ssh"}}"#, r#"{"reject":{"type":"icmpx","expr":"admin-prohibited"}}"#);
        for (policy, rules, drops) in [
            ("accept", String::new(), false),
            ("drop", String::new(), true),
            ("drop", input(&[&ssh, r#"{"counter":{"packets":0,"bytes":0}}"#, accept]), false),
            ("drop", input(&[&dport(r#"{"set":[80,{"range":[20,30]}]}"#), accept]), false),
            ("drop", input(&[&dport(r#"{"set":[80,443]}"#), accept]), true),
            ("drop", input(&[&dport(r#""@ports""#), accept]), false),
            ("drop", input(&[&order("<", "1024"), accept]), false),
            ("drop", input(&[&order("<", "22"), accept]), true),
            ("drop", input(&[&order("<=", "22"), accept]), false),
            ("accept", input(&[&order(">", "22"), drop]), false),
            ("accept", input(&[&order(">", "21"), drop]), true),
            ("accept", input(&[&order(">=", "22"), drop]), true),
            ("accept", input(&[&order("<", "1024").replace("tcp", "udp"), drop]), false),
            ("accept", input(&[&order("<", "\"@ports\""), drop]), false),
            ("drop", input(&[&state.replace("\"in\"", "\"<\""), accept]), false),
            ("drop", [input(&[state, accept]), input(&[lo, accept])].concat(), true),
            ("drop", input(&[from, &ssh, accept]), false),
            ("accept", input(&[&ssh, drop]), true),
            ("accept", input(&[&ssh, r#"{"reject":{"type":"tcp reset"}}"#]), true),
            ("accept", input(&[from, &ssh, drop]), false),
            // As of firewalld.
            ("accept", [input(&[status, accept]), input(&[jump]), input(&[reject])].concat(), true),
            (
                "accept",
                [
                    input(&[status, accept]),
                    input(&[jump]),
                    input(&[reject]),
                    rule("ssh", &format!("{ssh},{accept}")),
                ]
                .concat(),
                false,
            ),
            ("accept", [input(&[&ssh, accept]), input(&[drop])].concat(), false),
            (
                "accept",
                [input(&[r#"{"jump":{"target":"ssh"}}"#]), rule("ssh", &format!("{ssh},{drop}"))].concat(),
                true,
            ),
            (
                "drop",
                input(&[
                    r#"{"vmap":{"key":{"payload":{"protocol":"tcp","field":"dport"}},"data":{"set":[[22,{"accept":null}]]}}}"#,
                ]),
                false,
            ),
            ("drop", [input(&[&to_metadata, accept]), input(&[state_map, accept])].concat(), true),
            ("drop", [input(&[state_map]), input(&[&ssh, accept])].concat(), false),
            ("drop", input(&[port_map("80").as_str()]), true),
            ("drop", input(&[port_map("22").as_str()]), false),
            ("drop", input(&[r#"{"vmap":{"key":{"meta":{"key":"iifname"}},"data":"@zones"}}"#]), false),
            (
                "accept",
                input(&[
                    r#"{"match":{"op":"!=","left":{"payload":{"protocol":"icmp","field":"type"}},"right":"echo-request"}}"#,
                    drop,
                ]),
                false,
            ),
            ("accept", input(&[&ssh, r#"{"limit":{"rate":4,"per":"minute"}}"#, drop]), false),
            ("accept", input(&[&ssh, r#"{"xt":{"type":"match","name":"recent"}}"#, drop]), false),
        ] {
            assert_eq!(nftables(policy, &rules).is_some(), drops, "{policy} {rules}");
        }
        assert!(Filter::of_nftables("", &TO_SSH).is_none());
    }

    #[test]
    fn flags_and_several_fields() {
        let ssh = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}}"#;
        let (accept, drop) = (r#"{"accept":null}"#, r#"{"drop":null}"#);
        let mask = r#"{"&":[{"payload":{"protocol":"tcp","field":"flags"}},["fin","syn","rst","ack"]]}"#;
        let flags =
            |op: &str, right: &str| format!(r#"{{"match":{{"op":"{op}","left":{mask},"right":{right}}}}}"#);
        let plain_flags =
            flags("in", "\"syn\"").replace(mask, r#"{"payload":{"protocol":"tcp","field":"flags"}}"#);
        let concat = |set: &str| {
            let fields = r#"[{"payload":{"protocol":"ip","field":"saddr"}},{"payload":{"protocol":"tcp","field":"dport"}}]"#;
            format!(r#"{{"match":{{"op":"==","left":{{"concat":{fields}}},"right":{{"set":{set}}}}}}}"#)
        };
        for (policy, rules, drops) in [
            // The flags of a client's first packet.
            ("drop", [input(&[&flags("==", "\"syn\""), ssh, accept])].concat(), false),
            ("drop", [input(&[&flags("!=", "\"syn\""), accept])].concat(), true),
            ("drop", [input(&[&flags("==", "\"ack\""), accept])].concat(), true),
            ("drop", [input(&[&plain_flags, accept])].concat(), false),
            ("accept", [input(&[&flags("==", "\"syn\""), ssh, drop])].concat(), true),
            // Several fields.
            (
                "drop",
                input(&[
                    &concat("[{\"concat\":[\"192.0.2.1\",443]},{\"concat\":[\"192.0.2.2\",80]}]"),
                    accept,
                ]),
                true,
            ),
            (
                "drop",
                input(&[
                    &concat("[{\"concat\":[\"192.0.2.1\",443]},{\"concat\":[\"192.0.2.2\",22]}]"),
                    accept,
                ]),
                false,
            ),
            ("drop", input(&[&concat("\"@clients\""), accept]), false),
        ] {
            assert_eq!(nftables(policy, &rules).is_some(), drops, "{policy} {rules}");
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

    #[test]
    fn chains_of_an_interface() {
        let matching =
            |left: &str, right: &str| format!(r#"{{"match":{{"op":"==","left":{left},"right":{right}}}}}"#);
        let meta = |key: &str, name: &str| matching(&format!(r#"{{"meta":{{"key":"{key}"}}}}"#), name);
        let tcp = |field: &str, right: &str| {
            matching(&format!(r#"{{"payload":{{"protocol":"tcp","field":"{field}"}}}}"#), right)
        };
        let state =
            r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}}"#;
        let (accept, drop) = (r#"{"accept":null}"#, r#"{"drop":null}"#);
        let own = meta("iifname", r#""eth0""#);
        let (ssh, other) = (tcp("dport", "22"), meta("iifname", r#""ens5""#));
        let out = [meta("oifname", r#""lo""#), meta("oif", r#""eth0""#)];
        let ports = tcp("dport", r#"{"set":[53,80,443]}"#);
        let input_hook = |hook: &str, policy: &str, rules: &str| {
            ruleset(policy, rules).replace(r#""hook":"input""#, &format!(r#""hook":"{hook}""#))
        };
        let all = matching(r#"{"meta":{"key":"iifname"}}"#, r#""e*""#);
        for (hook, policy, rules, reply, drops) in [
            ("input", "accept", input(&[&own, &ssh, drop]), false, true),
            ("input", "accept", input(&[&all, &ssh, drop]), false, true),
            ("input", "accept", input(&[&meta("iiftype", r#""ether""#), &ssh, drop]), false, true),
            ("input", "accept", input(&[&meta("iiftype", "1"), &ssh, drop]), false, true),
            ("input", "accept", input(&[&meta("iiftype", r#""loopback""#), &ssh, drop]), false, false),
            ("input", "accept", input(&[&other, &ssh, drop]), false, false),
            ("input", "drop", input(&[&other, &ssh, accept]), false, true),
            ("input", "drop", input(&[&own, &ssh, accept]), false, false),
            ("prerouting", "accept", input(&[&ssh, drop]), false, true),
            ("prerouting", "accept", input(&[&ssh, drop]), true, false),
            ("output", "accept", input(&[&tcp("sport", "22"), drop]), true, true),
            ("output", "drop", [input(&[&out[0], accept]), input(&[&ports, accept])].concat(), true, true),
            ("output", "drop", [input(&[state, accept]), input(&[&ports, accept])].concat(), true, false),
            ("output", "drop", input(&[&out[1], accept]), true, false),
            ("output", "drop", input(&[&tcp("sport", "22"), accept]), true, false),
            ("forward", "drop", String::new(), false, false),
        ] {
            let kind = if reply { PacketKind::Reply } else { PacketKind::First };
            let packet = Packet { interface: Some("eth0"), kind, ..TO_SSH };
            let filter = Filter::of_nftables(&input_hook(hook, policy, &rules), &packet).unwrap();
            assert_eq!(filter.drops().is_some(), drops, "{hook} {policy} {rules}");
        }
        let early = input_hook("ingress", "accept", &input(&[&ssh, drop]))
            .replace(r#""prio":0"#, r#""prio":0,"dev":"eth0""#);
        for (interface, drops) in [("eth0", true), ("eth1", false)] {
            let packet = Packet { interface: Some(interface), ..TO_SSH };
            assert_eq!(Filter::of_nftables(&early, &packet).unwrap().drops().is_some(), drops);
        }
        // nft 1.0.6 does not print the device.
        let unknown = early.replace(r#","dev":"eth0""#, "");
        let packet = Packet { interface: Some("eth0"), ..TO_SSH };
        assert!(Filter::of_nftables(&unknown, &packet).unwrap().drops().is_some());
        let nat = input_hook("prerouting", "drop", "").replace(r#""type":"filter""#, r#""type":"nat""#);
        assert_eq!(Filter::of_nftables(&nat, &TO_SSH).unwrap().drops(), None);
        let named = Filter::of_nftables(&ruleset("drop", &input(&[&other, &ssh, accept])), &TO_SSH).unwrap();
        assert_eq!(named.interfaces().collect::<Vec<_>>(), ["ens5"]);
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
        let matching = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"10.77.0.1"}},{"drop":null}"#;
        for (own, drops) in [(one, true), (other, false)] {
            let packet = Packet { own: &[own], ..TO_SSH };
            let filter = Filter::of_nftables(&ruleset("accept", &rule("input", matching)), &packet).unwrap();
            assert_eq!(filter.drops().is_some(), drops);
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
        let untracked = Packet { may_be_untracked: true, ..TO_SSH };
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
        let state = |states: &str| {
            format!(r#"{{"match":{{"op":"in","left":{{"ct":{{"key":"state"}}}},"right":{states}}}}}"#)
        };
        let (new, rest) = (state(r#""new""#), state(r#"["established","related","untracked"]"#));
        let ssh = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}}"#;
        let accept = r#"{"accept":null}"#;
        for (rules, first, others) in [
            (input(&[ssh, accept]), false, false),
            (input(&[ssh, &new, accept]), false, true),
            ([input(&[&rest, accept]), input(&[ssh, &new, accept])].concat(), false, false),
            (input(&[&rest, accept]), true, false),
        ] {
            let text = ruleset("drop", &rules);
            let drops = |packet| Filter::of_nftables(&text, packet).unwrap().drops().is_some();
            assert_eq!((drops(&TO_SSH), drops(&later)), (first, others), "{rules}");
            assert!(!drops(&untracked), "{rules}");
        }
    }

    /// Matches that are the same for each client, and those that are not evaluated.
    #[test]
    fn other_matches_of_nftables() {
        let matching =
            |left: &str, right: &str| format!(r#"{{"match":{{"op":"==","left":{left},"right":{right}}}}}"#);
        let ssh = matching(r#"{"payload":{"protocol":"tcp","field":"dport"}}"#, "22");
        let (accept, drop) = (r#"{"accept":null}"#, r#"{"drop":null}"#);
        let local = matching(r#"{"fib":{"result":"type","flags":["daddr"]}}"#, r#""local""#);
        let original = matching(r#"{"ct":{"key":"direction"}}"#, r#""original""#);
        let port = matching(r#"{"ct":{"key":"proto-dst","dir":"original"}}"#, "22");
        let version = matching(r#"{"payload":{"protocol":"ip","field":"version"}}"#, "4");
        let header = matching(r#"{"payload":{"protocol":"ip","field":"hdrlength"}}"#, "5");
        let length = |range: &str| {
            matching(r#"{"payload":{"protocol":"ip","field":"length"}}"#, &format!(r#"{{"range":{range}}}"#))
        };
        let hour = matching(r#"{"meta":{"key":"hour"}}"#, r#"{"range":["08:00","09:00"]}"#);
        let mark = matching(r#"{"meta":{"key":"mark"}}"#, "7");
        let rpf = matching(r#"{"fib":{"result":"oif","flags":["saddr","iif"]}}"#, "true");
        let map = |port: &str, verdict: &str| {
            let key =
                r#"{"concat":[{"meta":{"key":"iifname"}},{"payload":{"protocol":"tcp","field":"dport"}}]}"#;
            format!(
                r#"{{"vmap":{{"key":{key},"data":{{"set":[[{{"concat":["eth0",{port}]}},{verdict}]]}}}}}}"#
            )
        };
        let set = |elements: &str| {
            format!(
                r#",{{"set":{{"family":"inet","table":"filter","name":"ports","type":"inet_service"{elements}}}}}"#
            )
        };
        let of_set = input(&[&ssh.replace("22", r#""@ports""#), accept]);
        for (policy, rules, drops, unread) in [
            ("accept", input(&[&local, &ssh, drop]), true, false),
            ("drop", input(&[&local.replace("==", "!="), &ssh, accept]), true, false),
            ("accept", input(&[&original, &ssh, drop]), true, false),
            ("accept", input(&[&port, drop]), true, false),
            ("accept", input(&[&version, &header, &ssh, drop]), true, false),
            ("accept", input(&[&length("[20,1500]"), &ssh, drop]), true, false),
            ("accept", input(&[&length("[100,1500]"), &ssh, drop]), false, false),
            ("drop", input(&[&length("[60,1500]"), &ssh, accept]), false, true),
            ("drop", input(&[&hour, &ssh, accept]), false, true),
            ("drop", input(&[&hour.replace("==", "!="), &ssh, accept]), false, true),
            ("drop", [input(&[&hour, &ssh, accept]), input(&[&ssh, accept])].concat(), false, false),
            ("accept", input(&[&hour, &ssh, drop]), false, false),
            ("drop", input(&[&mark, &ssh, accept]), false, false),
            ("drop", input(&[&rpf, accept]), false, false),
            ("accept", input(&[&map("22", drop)]), true, false),
            ("accept", input(&[&map("80", drop)]), false, false),
            ("drop", input(&[&map("22", accept)]), false, false),
            // Named sets.
            ("drop", [set(r#","elem":[80,22]"#), of_set.clone()].concat(), false, false),
            (
                "drop",
                [set(r#","elem":[80,{"elem":{"val":443,"comment":"x"}}]"#), of_set.clone()].concat(),
                true,
                false,
            ),
            ("drop", [of_set.clone(), set(r#","elem":[{"range":[20,30]}]"#)].concat(), false, false),
            ("drop", [set(""), of_set].concat(), true, false),
        ] {
            let packet = Packet { interface: Some("eth0"), ..TO_SSH };
            let filter = Filter::of_nftables(&ruleset(policy, &rules), &packet).unwrap();
            let found = (filter.drops().is_some(), filter.restriction().is_some_and(|found| found.is_unread));
            assert_eq!(found, (drops, unread), "{policy} {rules}");
        }
    }

    #[test]
    fn other_matches_of_iptables() {
        let ssh = "-p tcp -m tcp --dport 22";
        let drop = ":INPUT DROP [0:0]\n-A INPUT";
        let open = ":INPUT ACCEPT [0:0]\n-A INPUT";
        for (rules, drops, unread, restricted) in [
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
            (format!("{drop} {ssh} -m mark --mark 0x7 -j ACCEPT"), false, false, false),
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
            let restriction = filter.restriction().map(|found| found.is_unread);
            assert_eq!(filter.drops().is_some(), drops, "{rules}");
            assert_eq!(restriction, (drops || unread || restricted).then_some(unread), "{rules}");
        }
    }

    /// Rules of address translation.
    #[test]
    fn what_is_forwarded() {
        let packet = Packet { interface: Some("eth0"), translated: true, ..TO_SSH };
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
        let port = |port: u16| {
            let expressions = format!(
                r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{port}}}}},{{"dnat":{{"addr":"172.17.0.2","port":22}}}}"#
            );
            let text = ruleset("accept", &rule("input", &expressions));
            let text = text.replace(r#""hook":"input""#, r#""hook":"prerouting""#);
            text.replace(r#""type":"filter""#, r#""type":"nat""#)
        };
        let found = |port: String, packet: &Packet<'_>| Filter::of_nftables(&port, packet).unwrap().drops();
        assert_eq!(
            found(port(22), &packet).as_deref(),
            Some("a rule of chain inet filter input, to 172.17.0.2")
        );
        assert_eq!(found(port(80), &packet), None);
        assert_eq!(found(port(22), &TO_SSH), None);
    }
}
