//! What the rules of nftables or iptables do with a new connection to sshd.
//!
//! The client's address and interface are not known. So the result is certain only if no rule that could accept the
//! connection depends on them.

use std::collections::BTreeMap;

use serde_json::Value;

/// A jump is followed this deep, which is the kernel's limit.
const DEEPEST: usize = 16;

/// The chains of a packet filter.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    chains: BTreeMap<String, Vec<Rule>>,
    /// The chains for incoming packets, and whether their policy drops.
    input: Vec<(String, bool)>,
}

#[derive(Debug)]
struct Rule {
    /// Whether it matches the connection; `None` if that depends on the client.
    matches: Option<bool>,
    verdict: Verdict,
    /// As the tool prints it.
    text: String,
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
        self.input.iter().find_map(|(chain, policy_drops)| {
            let mut maybe_accepted = false;
            match self.walk(chain, DEEPEST, &mut maybe_accepted) {
                Outcome::Drops(rule) => Some(rule),
                Outcome::Continues if *policy_drops && !maybe_accepted => {
                    Some(format!("the policy of chain {chain}"))
                }
                Outcome::Accepts | Outcome::Continues => None,
            }
        })
    }

    /// `maybe_accepted`: a rule accepts some clients, so that a later drop is not for all.
    fn walk(&self, chain: &str, left: usize, maybe_accepted: &mut bool) -> Outcome {
        let Some(left) = left.checked_sub(1) else {
            *maybe_accepted = true;
            return Outcome::Continues;
        };
        for rule in self.chains.get(chain).into_iter().flatten() {
            let Some(matches) = rule.matches else {
                self.maybe(rule, left, maybe_accepted);
                continue;
            };
            if !matches {
                continue;
            }
            match &rule.verdict {
                Verdict::Accept => return Outcome::Accepts,
                Verdict::Drop if *maybe_accepted => return Outcome::Accepts,
                Verdict::Drop => return Outcome::Drops(rule.text.clone()),
                Verdict::Return => return Outcome::Continues,
                Verdict::Jump(target) => match self.walk(target, left, maybe_accepted) {
                    Outcome::Continues => {}
                    end => return end,
                },
                Verdict::Goto(target) => return self.walk(target, left, maybe_accepted),
                Verdict::Continue => {}
            }
        }
        Outcome::Continues
    }

    /// A rule that matches some clients. It accepts them, or saves them from a later rule of its chain.
    fn maybe(&self, rule: &Rule, left: usize, maybe_accepted: &mut bool) {
        let accepts = match &rule.verdict {
            Verdict::Accept | Verdict::Return => true,
            Verdict::Jump(target) | Verdict::Goto(target) => {
                let mut inner = false;
                let outcome = self.walk(target, left, &mut inner);
                inner || outcome == Outcome::Accepts
            }
            Verdict::Drop | Verdict::Continue => false,
        };
        *maybe_accepted |= accepts;
    }

    /// Parses the output of `nft --json list ruleset`, for a connection to `port` over IPv4. `None` if it is something
    /// else.
    pub(crate) fn of_nftables(text: &str, port: u16) -> Option<Self> {
        let document: Value = serde_json::from_str(text).ok()?;
        let mut filter = Self::default();
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let chain_of = |value: &Value, name: &str| {
            format!("{} {} {}", text(value, "family"), text(value, "table"), name)
        };
        for item in document.get("nftables")?.as_array()? {
            if let Some(chain) = item.get("chain") {
                let name = chain_of(chain, &text(chain, "name"));
                let is_input =
                    text(chain, "hook") == "input" && matches!(text(chain, "family").as_str(), "ip" | "inet");
                if is_input {
                    filter.input.push((name.clone(), text(chain, "policy") == "drop"));
                }
                filter.chains.entry(name).or_default();
            } else if let Some(rule) = item.get("rule") {
                let name = chain_of(rule, &text(rule, "chain"));
                let expressions = rule.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
                let mut parsed = nft_rule(&expressions, port, &name);
                if let Verdict::Jump(target) | Verdict::Goto(target) = &mut parsed.verdict {
                    *target = chain_of(rule, target);
                }
                filter.chains.entry(name).or_default().push(parsed);
            }
        }
        Some(filter)
    }

    /// Parses the output of `iptables-save -t filter`.
    pub(crate) fn of_iptables(text: &str, port: u16) -> Self {
        let mut filter = Self::default();
        let mut in_filter = false;
        for line in text.lines() {
            if let Some(table) = line.strip_prefix('*') {
                in_filter = table.trim() == "filter";
            } else if let Some(rest) = line.strip_prefix(':').filter(|_| in_filter) {
                let mut words = rest.split(' ');
                let (name, policy) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                filter.chains.entry(name.to_owned()).or_default();
                if name == "INPUT" {
                    filter.input.push((name.to_owned(), policy == "DROP"));
                }
            } else if let Some(rest) = line.strip_prefix("-A ").filter(|_| in_filter) {
                let (chain, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let rule = iptables_rule(rest, port, line);
                filter.chains.entry(chain.to_owned()).or_default().push(rule);
            }
        }
        filter
    }
}

/// Both have to match.
fn and(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn nft_rule(expressions: &[Value], port: u16, chain: &str) -> Rule {
    let (mut matches, mut verdict) = (Some(true), Verdict::Continue);
    for expression in expressions {
        let Some((name, value)) = expression.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let target = || value.get("target").and_then(Value::as_str).unwrap_or_default().to_owned();
        match name.as_str() {
            "accept" => verdict = Verdict::Accept,
            "drop" | "reject" => verdict = Verdict::Drop,
            "return" => verdict = Verdict::Return,
            "jump" => verdict = Verdict::Jump(target()),
            "goto" => verdict = Verdict::Goto(target()),
            "match" => matches = and(matches, nft_match(value, port)),
            "counter" | "log" | "comment" | "notrack" => {}
            // Limits, sets of addresses, verdict maps, modules of iptables: they can match and accept.
            "vmap" | "queue" => (matches, verdict) = (and(matches, None), Verdict::Accept),
            _ => matches = and(matches, None),
        }
    }
    Rule { matches, verdict, text: format!("a rule of chain {chain}") }
}

/// Whether a match of nftables is true for the connection.
fn nft_match(value: &Value, port: u16) -> Option<bool> {
    let (left, right) = (value.get("left")?, value.get("right")?);
    let negated = value.get("op").and_then(Value::as_str) == Some("!=");
    let key = |name: &str, key: &str| left.get(name).and_then(|left| left.get(key)).and_then(Value::as_str);
    let result =
        match (key("payload", "protocol"), key("payload", "field"), key("meta", "key"), key("ct", "key")) {
            (Some("tcp" | "th"), Some("dport"), ..) => contains(right, &|one| number_is(one, port)),
            (Some("udp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "ip6"), ..) => Some(false),
            (Some("ip"), Some("protocol"), ..) | (_, _, Some("l4proto"), _) => {
                contains(right, &|one| Some(one == "tcp" || one == 6))
            }
            (_, _, Some("nfproto"), _) => contains(right, &|one| Some(one == "ipv4")),
            (_, _, Some("iifname" | "iif"), _) => contains(right, &|one| (one == "lo").then_some(false)),
            // A connection that another system forwards here, by address translation.
            (_, _, _, Some("status")) => Some(false),
            (_, _, _, Some("state")) => contains(right, &|one| Some(one == "new")),
            _ => None,
        };
    result.map(|result| result != negated)
}

/// Whether one of the elements of a value is true: the value alone, `{"set": […]}` or a list.
fn contains(value: &Value, is: &dyn Fn(&Value) -> Option<bool>) -> Option<bool> {
    let elements = value.get("set").unwrap_or(value);
    match elements {
        Value::Array(elements) => {
            let results: Vec<_> = elements.iter().map(is).collect();
            any(&results)
        }
        // A named set.
        Value::String(name) if name.starts_with('@') => None,
        one => is(one),
    }
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

/// Whether a number or range contains the port.
fn number_is(value: &Value, port: u16) -> Option<bool> {
    if let Some(range) = value.get("range").and_then(Value::as_array) {
        let bound = |at: usize| range.get(at).and_then(Value::as_u64);
        return Some((bound(0)?..=bound(1)?).contains(&port.into()));
    }
    match value {
        Value::Number(number) => Some(number.as_u64() == Some(port.into())),
        Value::String(name) if name == "ssh" => Some(port == 22),
        _ => None,
    }
}

fn iptables_rule(text: &str, port: u16, line: &str) -> Rule {
    let (mut matches, mut verdict) = (Some(true), Verdict::Continue);
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
            "--dport" => in_range(argument(), port),
            "--dports" => {
                let results: Vec<_> = argument().split(',').map(|part| in_range(part, port)).collect();
                any(&results)
            }
            "-i" => (argument() == "lo").then_some(false),
            "--state" | "--ctstate" => Some(argument().split(',').any(|state| state == "NEW")),
            // The options of a module tell what it matches.
            "-m" => match argument() {
                "tcp" | "state" | "conntrack" | "multiport" | "comment" => continue,
                _ => None,
            },
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
        matches = and(matches, result.map(|result| result != negated));
        negated = false;
    }
    Rule { matches, verdict, text: line.to_owned() }
}

/// Whether a port or range `A:B` contains the port.
fn in_range(text: &str, port: u16) -> Option<bool> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    Some((first.parse().ok()?..=last.parse().ok()?).contains(&port))
}

#[cfg(test)]
mod tests {
    use super::Filter;

    fn iptables(rules: &str) -> Option<String> {
        Filter::of_iptables(&format!("*filter\n{rules}\nCOMMIT\n"), 22).drops()
    }

    #[test]
    fn what_iptables_drops() {
        for (rules, drops) in [
            (":INPUT ACCEPT [0:0]", false),
            (":INPUT DROP [0:0]", true),
            (":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", false),
            (":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT", true),
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

    fn nftables(policy: &str, rules: &str) -> Option<String> {
        let text = format!(
            r#"{{"nftables":[{{"metainfo":{{}}}},{{"table":{{"family":"inet","name":"filter"}}}},
            {{"chain":{{"family":"inet","table":"filter","name":"input","type":"filter","hook":"input","prio":0,"policy":"{policy}"}}}},
            {{"chain":{{"family":"inet","table":"filter","name":"ssh"}}}}{rules}]}}"#
        );
        Filter::of_nftables(&text, 22).and_then(|filter| filter.drops())
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
        let state =
            r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}}"#;
        let lo = r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"lo"}}"#;
        let from = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"192.0.2.1"}}"#;
        let (accept, drop) = (r#"{"accept":null}"#, r#"{"drop":null}"#);
        let status = r#"{"match":{"op":"in","left":{"ct":{"key":"status"}},"right":"dnat"}}"#;
        let (jump, reject) =
            (r#"{"jump":{"target":"ssh"}}"#, r#"{"reject":{"type":"icmpx","expr":"admin-prohibited"}}"#);
        let input = |expressions: &[&str]| rule("input", &expressions.join(","));
        for (policy, rules, drops) in [
            ("accept", String::new(), false),
            ("drop", String::new(), true),
            ("drop", input(&[&ssh, r#"{"counter":{"packets":0,"bytes":0}}"#, accept]), false),
            ("drop", input(&[&dport(r#"{"set":[80,{"range":[20,30]}]}"#), accept]), false),
            ("drop", input(&[&dport(r#"{"set":[80,443]}"#), accept]), true),
            ("drop", input(&[&dport(r#""@ports""#), accept]), false),
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
            ("accept", input(&[&ssh, r#"{"limit":{"rate":4,"per":"minute"}}"#, drop]), false),
            ("accept", input(&[&ssh, r#"{"xt":{"type":"match","name":"recent"}}"#, drop]), false),
        ] {
            assert_eq!(nftables(policy, &rules).is_some(), drops, "{policy} {rules}");
        }
        assert!(Filter::of_nftables("", 22).is_none());
    }
}
