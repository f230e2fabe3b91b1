//! The rules, and the way of a packet through them.

use super::addresses::Addresses;
use super::packet::{Packet, Question};
use crate::lists;

/// A jump is followed this deep, which is the kernel's limit.
const DEEPEST: usize = 16;

/// The chains of a packet filter.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Sorted by their names: a map would be 3 KB of code.
    chains: Vec<(String, Vec<Rule>)>,
    /// The chains of the packet's hooks, and whether their policy drops.
    pub(super) hooked: Vec<(String, bool)>,
    /// The interfaces that its rules name.
    interfaces: Vec<String>,
}

/// What the text of a rule ends with that gives packets to a queue for a program.
pub(super) const QUEUE_WITHOUT_READER: &str = ", to a queue that no program reads";

/// What the text of a rule that matches a mark ends with, if nothing is known to set that mark.
pub(super) const UNSET_MARK: &str = ", for a mark that no rule sets";

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) matches: Matches,
    pub(super) verdict: Verdict,
    /// The clients' addresses that it names.
    pub(super) source: Option<String>,
    /// As the tool prints it.
    pub(super) text: String,
}

/// Whether a rule matches the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matches {
    /// `None` if that depends on the client.
    pub(super) all: Option<bool>,
    /// The same for a client whose address no rule names.
    pub(super) others: Option<bool>,
    /// It is `None` for each client because of a match that is not evaluated here, as one of the time.
    pub(super) unevaluated: bool,
}

/// Whose connection is followed through the chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    All,
    /// Those whose address no rule names.
    Others,
    /// All clients, where each rule with a match that is not evaluated is taken not to match.
    ByEvaluatedRules,
}

/// The firewall accepts some clients only, or only by rules that are not evaluated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Restriction {
    /// The addresses of clients that it may accept, or those rules.
    pub(crate) accepted: Vec<String>,
    /// The rule or policy that drops the connections of others.
    pub(crate) rule: String,
    /// The accepted ones are rules with matches that are not evaluated, not addresses.
    pub(crate) by_unevaluated: bool,
}

/// What was found on the way through the chains.
#[derive(Debug, Default)]
struct Traversal {
    /// A rule accepts some clients, so that a later drop is not for all.
    maybe_accepted: bool,
    /// The addresses of clients that a rule accepts, or the rules that are not evaluated and may accept some.
    accepted: Vec<String>,
    dropped: Vec<PartialDrop>,
}

/// A rule that may drop the connections of some clients.
#[derive(Debug)]
pub(crate) struct PartialDrop {
    /// For the report.
    pub(crate) line: String,
    /// The jail of fail2ban that has made it.
    pub(crate) jail: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
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

    /// Whether it takes the packet from conntrack; `None` if it may. Asked with [`Question::Untracked`].
    pub(crate) fn untracks(&self) -> Option<bool> {
        if self.drops().is_some() {
            return Some(true);
        }
        (!self.hooked.iter().any(|(chain, _)| self.may_drop(chain, DEEPEST))).then_some(false)
    }

    /// Adds rules to the end of a chain, which can be new.
    pub(super) fn add(&mut self, chain: String, mut rules: Vec<Rule>) {
        match self.index_of(&chain) {
            Ok(index) => {
                self.chains.get_mut(index).into_iter().for_each(|(_, known)| known.append(&mut rules));
            }
            Err(index) => self.chains.insert(index, (chain, rules)),
        }
    }

    fn rules_of(&self, chain: &str) -> &[Rule] {
        let chain = self.index_of(chain).ok().and_then(|index| self.chains.get(index));
        chain.map(|(_, rules)| rules.as_slice()).unwrap_or_default()
    }

    fn index_of(&self, chain: &str) -> Result<usize, usize> {
        self.chains.binary_search_by(|(name, _)| name.as_str().cmp(chain))
    }

    /// Whether a rule of a chain may drop it.
    fn may_drop(&self, chain: &str, left: usize) -> bool {
        let Some(left) = left.checked_sub(1) else { return true };
        let mut rules = self.rules_of(chain).iter();
        rules.any(|rule| match &rule.verdict {
            _ if rule.matches.all == Some(false) => false,
            Verdict::Jump(target) | Verdict::Goto(target) => self.may_drop(target, left),
            verdict => *verdict == Verdict::Drop,
        })
    }

    /// Which clients it accepts, if it drops the connection of all whose address no rule names; or the rules that may accept it, if all
    /// of them have matches that are not evaluated.
    pub(crate) fn restriction(&self) -> Option<Restriction> {
        [Clients::Others, Clients::ByEvaluatedRules].into_iter().find_map(|clients| {
            let (rule, accepted) = self.dropped(clients)?;
            let by_unevaluated = clients == Clients::ByEvaluatedRules;
            Some(Restriction { accepted: lists::sorted_unique(accepted), rule, by_unevaluated })
        })
    }

    /// Adds the rules that may drop the connections of some clients.
    pub(crate) fn drops_some(&self, rules: &mut Vec<PartialDrop>) {
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

    pub(super) fn add_interface(&mut self, name: String) {
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
        for rule in self.rules_of(chain) {
            let is_unevaluated = rule.matches.unevaluated && rule.matches.all.is_none();
            let matches = match clients {
                Clients::Others => rule.matches.others,
                Clients::ByEvaluatedRules if is_unevaluated => Some(false),
                Clients::All | Clients::ByEvaluatedRules => rule.matches.all,
            };
            if clients == Clients::ByEvaluatedRules && is_unevaluated && self.leads_to(rule, left).accepts {
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
                    let source = rule.source.as_deref();
                    let shown = source.filter(|_| !rule.text.starts_with('-')).unwrap_or_default();
                    let line = format!("drops those of some clients, or may do so: {} {shown}", rule.text);
                    // A set, or a chain for a rule for each address.
                    let jail = source.and_then(jail_of_set).or_else(|| chain.strip_prefix("f2b-"));
                    traversal.dropped.push(PartialDrop {
                        line: line.trim_end().to_owned(),
                        jail: jail.map(str::to_owned),
                    });
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
}

/// The jail of fail2ban whose set of addresses has this name.
fn jail_of_set(name: &str) -> Option<&str> {
    name.strip_prefix("@addr-set-").or_else(|| name.strip_prefix("f2b-"))
}

impl Verdict {
    /// Of a rule that drops the packet. Whether it is taken from conntrack does not matter then.
    pub(super) fn drop(packet: &Packet<'_>) -> Self {
        if packet.question == Question::Untracked { Self::Accept } else { Self::Drop }
    }
}

impl Matches {
    /// It does not depend on the client's address.
    pub(super) const fn same(result: Option<bool>) -> Self {
        Self { all: result, others: result, unevaluated: false }
    }

    /// It is not evaluated here.
    pub(super) const UNEVALUATED: Self = Self { all: None, others: None, unevaluated: true };

    /// It is about the packet's mark. `is_unset`: whether it matches the mark 0, which a packet has if nothing sets one. Not only rules
    /// do that, but programs of the kernel, too.
    pub(super) fn mark(is_unset: Option<bool>, packet: &Packet<'_>) -> Self {
        if is_unset == Some(false) && !packet.may_be_marked { Self::UNEVALUATED } else { Self::same(None) }
    }

    /// It matches the clients with these addresses; `None` if they are not known, as those of a set.
    pub(super) fn source(addresses: Option<&Addresses>, packet: &Packet<'_>) -> Self {
        let all = addresses.and_then(|addresses| addresses.has_client(packet));
        Self { all, others: all.or(Some(false)), unevaluated: false }
    }

    pub(super) fn negated(self, negated: bool) -> Self {
        let negate = |result: Option<bool>| result.map(|result| result != negated);
        Self { all: negate(self.all), others: negate(self.others), ..self }
    }

    /// Both have to match.
    pub(super) fn and(self, other: Self) -> Self {
        let and = |one, other| match (one, other) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        Self {
            all: and(self.all, other.all),
            others: and(self.others, other.others),
            unevaluated: self.unevaluated || other.unevaluated,
        }
    }
}

/// Whether one of the results is true. `None`: that is unknown.
pub(crate) fn any(results: &[Option<bool>]) -> Option<bool> {
    if results.contains(&Some(true)) {
        Some(true)
    } else if results.contains(&None) {
        None
    } else {
        Some(false)
    }
}
