//! Reads the rules of nftables.

use serde_json::Value;

use super::addresses::Addresses;
use super::packet::{Packet, PacketKind, Question, has_length};
use super::rules::{Filter, Matches, QUEUE_WITHOUT_READER, Rule, UNSET_MARK, Verdict, any};

/// The priority of conntrack's hooks.
const CONNTRACK: i64 = -200;

impl Filter {
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
                let is_of = |table: &&Value| {
                    text(table, "family") == text(chain, "family")
                        && text(table, "name") == text(chain, "table")
                };
                let table = items.iter().filter_map(|item| item.get("table")).find(is_of);
                let flags = table.and_then(|table| table.get("flags"));
                // The rules of a table that is dormant are not used.
                let is_used = !flags.is_some_and(|flags| flags.to_string().contains("dormant"));
                if is_used && is_hooked(chain, packet) {
                    let drops = text(chain, "policy") == "drop" && packet.question == Question::Dropped;
                    filter.hooked.push((name.clone(), drops));
                }
                filter.add(name, Vec::new());
            } else if let Some(rule) = item.get("rule") {
                let name = chain_of(rule, text(rule, "chain"));
                let mut expressions = rule.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
                for expression in &mut expressions {
                    resolve(expression, rule, items, packet);
                }
                let mut parsed = nft_rules(&expressions, packet, &name);
                expressions.iter().flat_map(nft_interfaces).for_each(|name| filter.add_interface(name));
                for one in &mut parsed {
                    if let Verdict::Jump(target) | Verdict::Goto(target) = &mut one.verdict {
                        *target = chain_of(rule, target);
                    }
                }
                filter.add(name, parsed);
            }
        }
        Some(filter)
    }
}

/// Whether the packet passes a chain.
fn is_hooked(chain: &Value, packet: &Packet<'_>) -> bool {
    let hook = text(chain, "hook");
    let device_hook = if packet.is_reply() { "egress" } else { "ingress" };
    if hook == device_hook && packet.question == Question::Dropped {
        return packet.interface.is_some_and(|interface| is_on_device(chain, interface));
    }
    let is_before_conntrack =
        || chain.get("prio").and_then(Value::as_i64).is_some_and(|priority| priority < CONNTRACK);
    packet.hooks().contains(&hook)
        && matches!(text(chain, "family"), "ip" | "inet")
        // A chain for address translation drops nothing, and can change the port.
        && (text(chain, "type") == "nat") == (packet.question == Question::Translated)
        && (packet.question != Question::Untracked || is_before_conntrack())
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
/// those for clients that knock: they count for one client only.
fn resolve(expression: &mut Value, rule: &Value, items: &[Value], packet: &Packet<'_>) {
    let (outer, inner) =
        if expression.get("match").is_some() { ("match", "right") } else { ("vmap", "data") };
    let Some(value) = expression.get_mut(outer).and_then(|one| one.get_mut(inner)) else { return };
    let Some(name) = value.as_str().and_then(|name| name.strip_prefix('@')) else { return };
    let mut sets = items.iter().filter_map(|item| item.get("set").or_else(|| item.get("map")));
    let found = sets.find(|set| {
        text(set, "name") == name && ["family", "table"].iter().all(|key| text(set, key) == text(rule, key))
    });
    let kind = |set: &Value| set.get("type").map(Value::to_string).unwrap_or_default();
    if let Some(set) = found.filter(|set| packet.client.is_some() || !kind(set).contains("addr")) {
        *value = set.get("elem").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
    }
}

impl Addresses {
    /// As nftables has them in JSON.
    fn of_nftables(value: &Value) -> Option<Self> {
        let address = |element| Self::parse(&nft_address(element)?);
        elements(value).iter().map(address).collect::<Option<_>>().map(Self)
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
        if let Some(known) = nft_verdict(name, value, packet) {
            verdict = known;
            continue;
        }
        match name.as_str() {
            "match" => {
                let one = nft_match(value, packet);
                matches = matches.and(one);
                if one.unevaluated && value.get("left").is_some_and(is_mark) {
                    text.push_str(UNSET_MARK);
                }
                if is_source(value.get("left")) {
                    source = value.get("right").and_then(nft_source);
                }
            }
            "notrack" if packet.question == Question::Untracked => {
                verdict = Verdict::Drop;
                break;
            }
            "counter" | "log" | "comment" | "notrack" | "mangle" => {}
            "dnat" | "redirect" if packet.question == Question::Translated => {
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
            "queue" if is_queue_without_reader(value, packet) => {
                verdict = Verdict::drop(packet);
                text.push_str(QUEUE_WITHOUT_READER);
            }
            "queue" | "synproxy" | "tproxy" => {
                (matches, verdict) = (matches.and(Matches::same(None)), Verdict::Accept);
            }
            "xt" if matches!(self::text(value, "name"), "NFQUEUE" | "SYNPROXY" | "TPROXY") => {
                (matches, verdict) = (matches.and(Matches::same(None)), Verdict::Accept);
            }
            "ct count" => {
                // The connection itself is one of them.
                let is_none = value.get("val").is_some_and(|most| most == 0);
                matches = matches.and(Matches::same(is_none.then(|| is_over(value))));
            }
            "limit" if value.get("rate_unit").is_none() => {
                let number = |name| value.get(name).and_then(Value::as_u64).unwrap_or(u64::MAX);
                let exceeds = packet.exceeds(number("rate"), self::text(value, "per"), number("burst"));
                matches = matches.and(Matches::same(exceeds.map(|exceeds| exceeds == is_over(value))));
            }
            // Limits, sets that the rule changes, modules of iptables.
            _ => matches = matches.and(Matches::same(None)),
        }
    }
    vec![Rule { matches, verdict, source, text }]
}

/// Whether a limit is for what exceeds it.
fn is_over(limit: &Value) -> bool {
    limit.get("inv").is_some_and(|over| over == true)
}

/// Whether no program reads the queue of a rule, and the packet is dropped then.
fn is_queue_without_reader(queue: &Value, packet: &Packet<'_>) -> bool {
    let bypasses = queue.get("flags").is_some_and(|flags| flags.to_string().contains("bypass"));
    let numbers = queue.get("num").map_or(Some((0, 0)), ports);
    !bypasses && numbers.is_some_and(|(first, last)| packet.is_queue_without_reader(first, last))
}

fn nft_verdict(name: &str, value: &Value, packet: &Packet<'_>) -> Option<Verdict> {
    let target = || text(value, "target").to_owned();
    Some(match name {
        "accept" => Verdict::Accept,
        "drop" | "reject" => Verdict::drop(packet),
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
        Some(Rule { matches, verdict: nft_verdict(name, target, packet)?, source, text: text.to_owned() })
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
        return Matches::source(None, packet).negated(negated);
    }
    if is_mark(left) {
        let is_unset = |one: &Value| ports(one).map(|(first, _)| first == 0).or(one.as_u64().map(|_| false));
        let result = contains(right, &is_unset).filter(|_| is_equality);
        return Matches::mark(result.map(|result| result != negated), packet);
    }
    if is_source(Some(left)) && !packet.is_reply() {
        let addresses = Addresses::of_nftables(right).filter(|_| is_equality);
        return Matches::source(addresses.as_ref(), packet).negated(negated);
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
                None => return Matches::UNEVALUATED,
                result => result,
            }
        }
        _ if !is_equality => return Matches::UNEVALUATED,
        ("ip", "protocol", ..) | (_, _, "l4proto", _) | (_, _, _, "protocol") => {
            contains(right, &|one| Some(one == "tcp" || one == 6))
        }
        ("ip", "version", ..) => contains(right, &|one| Some(one == 4)),
        // Of a packet without options, as almost all are.
        ("ip", "hdrlength", ..) => contains(right, &|one| Some(one == 5)),
        ("ether", "type", ..) | (_, _, "protocol", _) => contains(right, &|one| Some(one == "ip")),
        // Of a client's packet, its source address was matched above.
        ("ip", field @ ("daddr" | "saddr"), ..) => {
            let is_own = (field == "saddr") == packet.is_reply();
            Addresses::of_nftables(right).and_then(|addresses| {
                if is_own { addresses.has_own(packet) } else { addresses.has_client(packet) }
            })
        }
        (_, _, "pkttype", _) if packet.is_reply() => None,
        (_, _, "pkttype", _) => contains(right, &|one| Some(one == "host" || one == "unicast")),
        // sshd's sockets are root's.
        (_, _, "skuid" | "skgid", _) if packet.is_reply() => contains(right, &|one| Some(is_root(one))),
        (_, _, "skuid" | "skgid", _) => None,
        (_, _, "nfproto", _) | (_, _, _, "l3proto") => contains(right, &|one| Some(one == "ipv4")),
        (_, _, "iifname" | "iif", _) if !packet.is_reply() => contains(right, &on_interface),
        (_, _, "oifname" | "oif", _) if packet.is_reply() => contains(right, &on_interface),
        (_, _, "iiftype", _) if !packet.is_reply() && packet.interface.is_some() => {
            contains(right, &|one| Some(one == "ether" || one == 1))
        }
        // A connection that another system forwards here, by address translation.
        (_, _, _, "status") if packet.is_first() => Some(false),
        (_, _, _, "status") => contains(right, &|one| (one == "dnat" || one == "snat").then_some(false)),
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
        // The interface, or the route to the client, decides.
        (_, _, "iif" | "oif" | "iifname" | "oifname" | "iiftype" | "iifgroup" | "iifkind", _)
        | (_, _, _, "zone") => None,
        _ if left.get("fib").is_some() => None,
        _ => return Matches::UNEVALUATED.negated(negated),
    };
    Matches::same(result).negated(negated)
}

/// Whether this is the mark of the packet, or of its connection, or some bits of it.
fn is_mark(left: &Value) -> bool {
    let left = left.get("&").and_then(|parts| parts.get(0)).unwrap_or(left);
    ["meta", "ct"].iter().any(|kind| part(left, kind, "key") == "mark")
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
    let unevaluated = elements.iter().any(|one| one.unevaluated);
    Matches { all: any(|one| one.all), others: any(|one| one.others), unevaluated }
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

/// Whether a user, group or range of them contains that of root.
fn is_root(value: &Value) -> bool {
    let first = value.get("range").and_then(|range| range.get(0)).unwrap_or(value);
    first == 0 || first == "root"
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

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Filter, Packet, PacketKind, Question};
    use crate::check::packet_filter::packet::{TO_SSH, Tracked};

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
            ("output", "drop", input(&[&meta("skuid", r#"{"set":[33,100]}"#), accept]), true, true),
            (
                "output",
                "drop",
                input(&[&meta("skuid", r#"{"set":[{"range":[0,99]},1000]}"#), accept]),
                true,
                false,
            ),
            ("output", "accept", input(&[&meta("skgid", r#""root""#), drop]), true, true),
            (
                "input",
                "accept",
                input(&[&matching(r#"{"ct":{"key":"l3proto"}}"#, r#""ipv4""#), drop]),
                false,
                true,
            ),
            (
                "input",
                "accept",
                input(&[&matching(r#"{"ct":{"key":"protocol"}}"#, r#""udp""#), drop]),
                false,
                false,
            ),
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
    fn one_client() {
        let drop = r#"{"drop":null}"#;
        let from =
            r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@bad"}}"#;
        let set = r#",{"set":{"family":"inet","name":"bad","table":"filter","type":"ipv4_addr",
            "elem":[{"prefix":{"addr":"10.0.0.0","len":8}},"192.0.2.1"]}}"#;
        let rules = ruleset("accept", &[set, &input(&[from, drop])].concat());
        let is_dropped = |client: Option<Ipv4Addr>| {
            Filter::of_nftables(&rules, &Packet { client, ..TO_SSH }).unwrap().drops().is_some()
        };
        assert!(is_dropped(Some(Ipv4Addr::new(10, 77, 0, 5))));
        assert!(is_dropped(Some(Ipv4Addr::new(192, 0, 2, 1))));
        assert!(!is_dropped(Some(Ipv4Addr::new(192, 0, 2, 2))));
        // Any client.
        assert!(!is_dropped(None));
    }

    #[test]
    fn own_addresses() {
        let (one, other) = (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 78, 0, 1));
        let matching = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"10.77.0.1"}},{"drop":null}"#;
        for (own, drops) in [(one, true), (other, false)] {
            let packet = Packet { own: &[own], ..TO_SSH };
            let filter = Filter::of_nftables(&ruleset("accept", &rule("input", matching)), &packet).unwrap();
            assert_eq!(filter.drops().is_some(), drops);
        }
    }

    /// Rules that accept the first packet of a connection only, or that a stateless firewall has.
    #[test]
    fn later_packets() {
        let later = Packet { kind: PacketKind::Later, ..TO_SSH };
        let untracked = Packet { tracked: Tracked { client: None, reply: None }, ..TO_SSH };
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

    /// Rules that let a few packets through, or none, and queues for programs.
    #[test]
    fn limits_and_queues() {
        let ssh = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}}"#;
        let (accept, drop) = (r#"{"accept":null}"#, r#"{"drop":null}"#);
        let count = |count: &str| format!(r#"{{"ct count":{{"val":{count}}}}}"#);
        let limit = |limit: &str| format!(r#"{{"limit":{{"rate":{limit}}}}}"#);
        let status = |status: &str| {
            format!(r#"{{"match":{{"op":"in","left":{{"ct":{{"key":"status"}}}},"right":"{status}"}}}}"#)
        };
        let queue = |queue: &str| format!(r#"{{"queue":{queue}}}"#);
        for (policy, rules, first, later) in [
            ("accept", input(&[ssh, &count(r#"0,"inv":true"#), drop]), true, true),
            ("accept", input(&[ssh, &count(r#"3,"inv":true"#), drop]), false, false),
            ("drop", input(&[ssh, &count("0"), accept]), true, true),
            ("drop", input(&[ssh, &count("3"), accept]), false, false),
            ("drop", input(&[ssh, &limit(r#"3,"burst":5,"per":"minute""#), accept]), false, true),
            ("drop", input(&[ssh, &limit(r#"3,"burst":5,"per":"second""#), accept]), false, false),
            (
                "drop",
                input(&[ssh, &limit(r#"3,"burst":0,"per":"hour","rate_unit":"mbytes""#), accept]),
                false,
                false,
            ),
            ("accept", input(&[ssh, &limit(r#"3,"burst":5,"per":"minute","inv":true"#), drop]), false, true),
            ("drop", input(&[ssh, &status("assured"), accept]), true, false),
            ("drop", input(&[ssh, &status("dnat"), accept]), true, true),
            ("accept", input(&[ssh, &queue("null")]), true, true),
            ("accept", input(&[ssh, &queue(r#"{"num":{"range":[3,7]}}"#)]), true, true),
            ("accept", input(&[ssh, &queue(r#"{"num":3,"flags":"bypass"}"#)]), false, false),
            ("drop", input(&[ssh, &queue(r#"{"num":2}"#)]), false, false),
            ("drop", input(&[ssh, r#"{"xt":{"type":"target","name":"NFQUEUE"}}"#]), false, false),
            ("drop", input(&[ssh, r#"{"synproxy":{"mss":1460,"wscale":7}}"#]), false, false),
        ] {
            let found = [PacketKind::First, PacketKind::Later].map(|kind| {
                let packet = Packet { kind, queues: Some(&[1, 2]), ..TO_SSH };
                Filter::of_nftables(&ruleset(policy, &rules), &packet).unwrap().drops().is_some()
            });
            assert_eq!(found, [first, later], "{policy} {rules}");
        }
        let dormant =
            ruleset("drop", "").replacen(r#""name":"filter""#, r#""name":"filter","flags":"dormant""#, 1);
        assert!(Filter::of_nftables(&ruleset("drop", ""), &TO_SSH).unwrap().drops().is_some());
        assert_eq!(Filter::of_nftables(&dormant, &TO_SSH).unwrap().drops(), None);
    }

    #[test]
    fn what_is_taken_from_conntrack() {
        let ssh = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}}"#;
        let from = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"192.0.2.1"}}"#;
        let (notrack, accept, drop) = (r#"{"notrack":null}"#, r#"{"accept":null}"#, r#"{"drop":null}"#);
        for (priority, rules, untracks) in [
            (-300, input(&[ssh, notrack]), Some(true)),
            (-300, input(&[ssh, notrack, accept]), Some(true)),
            // conntrack has seen it.
            (-100, input(&[ssh, notrack]), Some(false)),
            (-300, input(&[&ssh.replace("22", "53"), notrack]), Some(false)),
            (-300, input(&[from, notrack]), None),
            (-300, [input(&[from, accept]), input(&[ssh, notrack])].concat(), None),
            (-300, [input(&[ssh, drop]), input(&[&ssh.replace("22", "53"), notrack])].concat(), Some(false)),
        ] {
            let text = ruleset("drop", &rules).replace(r#""hook":"input""#, r#""hook":"prerouting""#);
            let text = text.replace(r#""prio":0"#, &format!(r#""prio":{priority}"#));
            let packet = Packet { question: Question::Untracked, ..TO_SSH };
            let found = Filter::of_nftables(&text, &packet).unwrap();
            assert_eq!(found.untracks(), untracks, "{priority} {rules}");
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
        let bits = matching(r#"{"&":[{"ct":{"key":"mark"}},255]}"#, "7");
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
        for (policy, rules, drops, unevaluated) in [
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
            // Nothing sets a mark.
            ("drop", input(&[&mark, &ssh, accept]), false, true),
            ("drop", input(&[&mark.replace("==", "!="), &ssh, accept]), false, false),
            ("drop", input(&[&mark.replace("meta", "ct").replace('7', "0"), &ssh, accept]), false, false),
            ("drop", input(&[&bits, &ssh, accept]), false, true),
            ("drop", input(&[&bits.replace("\"right\":7", "\"right\":0"), &ssh, accept]), false, false),
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
            let found =
                (filter.drops().is_some(), filter.restriction().is_some_and(|found| found.by_unevaluated));
            assert_eq!(found, (drops, unevaluated), "{policy} {rules}");
        }
        // Another rule sets marks.
        let packet = Packet { may_be_marked: true, ..TO_SSH };
        let filter = Filter::of_nftables(&ruleset("drop", &input(&[&mark, &ssh, accept])), &packet).unwrap();
        assert_eq!(filter.restriction(), None);
    }

    /// Rules of address translation.
    #[test]
    fn what_is_forwarded() {
        let packet = Packet { interface: Some("eth0"), question: Question::Translated, ..TO_SSH };
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
