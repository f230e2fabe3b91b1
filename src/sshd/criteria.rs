//! Evaluates `Match` lines. Source: `match_cfg_line` of OpenSSH's `servconf.c`.

use std::{error::Error, fmt};

use super::{
    pattern::{ListMatch, ends_of_network, match_addresses, match_list},
    version::OpensshVersion,
};

/// A connection to match, as for `sshd -T -C`. A value of `None` matches no criterion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionSpec {
    /// `user=`
    pub user: Option<String>,
    /// The groups of `user`.
    pub groups: Vec<String>,
    /// `host=`, the name of the client
    pub host: Option<String>,
    /// `addr=`, the address of the client
    pub address: Option<String>,
    /// `laddr=`, the local address
    pub local_address: Option<String>,
    /// `lport=`, the local port
    pub local_port: Option<u16>,
    /// `rdomain=`, the routing domain
    pub routing_domain: Option<String>,
}

impl ConnectionSpec {
    /// A connection that only a `Match` block for everyone matches: a user that does not exist, from a network that is
    /// reserved for documentation (RFC 5737).
    pub(crate) fn probe() -> Self {
        Self {
            user: Some("eic-keys-probe".into()),
            groups: Vec::new(),
            host: Some("eic-keys.invalid".into()),
            address: Some("192.0.2.1".into()),
            local_address: Some("192.0.2.2".into()),
            local_port: Some(22),
            routing_domain: None,
        }
    }

    /// The argument for `sshd -T -C`. Versions before 8.4 require user, host and address if a
    /// `Match` line uses them.
    #[must_use]
    pub(super) fn spec(&self) -> String {
        let port = self.local_port.map(|port| port.to_string());
        let parts = [
            ("user", &self.user),
            ("host", &self.host),
            ("addr", &self.address),
            ("laddr", &self.local_address),
            ("lport", &port),
            ("rdomain", &self.routing_domain),
        ];
        let parts =
            parts.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")));
        parts.collect::<Vec<_>>().join(",")
    }
}

/// Why sshd would reject a `Match` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadMatch {
    /// There is no criterion.
    Empty,
    /// `all` with another criterion.
    AllWithOther,
    /// A criterion that this version does not support.
    Unknown(String),
    /// A criterion with a missing or invalid value.
    Value(String),
}

impl fmt::Display for BadMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a Match without a criterion"),
            Self::AllWithOther => f.write_str("\"all\" with another criterion of Match"),
            Self::Unknown(name) => {
                write!(f, "the criterion \"{name}\" of Match, which this version does not support")
            }
            Self::Value(name) => {
                write!(f, "the criterion \"{name}\" of Match has no value or an invalid one")
            }
        }
    }
}

impl Error for BadMatch {}

/// Whether a `Match` line applies to a connection. Without a connection, as in sshd's first pass, the line is checked
/// and only these criteria apply: `all`, a `version` that matches, and `invalid-user` in 9.9p1.
pub(super) fn applies(
    version: &OpensshVersion,
    arguments: &[Vec<u8>],
    connection: Option<&ConnectionSpec>,
) -> Result<bool, BadMatch> {
    let mut words = arguments.iter().map(Vec::as_slice);
    let mut result = true;
    let mut criteria = 0_usize;
    while let Some(word) = words.next().filter(|word| !word.starts_with(b"#")) {
        criteria = criteria.saturating_add(1);
        let (name, inline) = split_criterion(version, word);
        if name == "all" {
            return match words.next() {
                Some(more) if !more.is_empty() && !more.starts_with(b"#") => Err(BadMatch::AllWithOther),
                _ if criteria > 1 => Err(BadMatch::AllWithOther),
                _ => Ok(true),
            };
        }
        if name == "invalid-user" && version.has_invalid_user() {
            // The connections here have a valid user.
            result &= connection.is_none() && version.invalid_user_applies_in_first_pass();
            continue;
        }
        let value = inline.or_else(|| words.next()).unwrap_or_default();
        if value.is_empty() || value.starts_with(b"#") {
            return Err(BadMatch::Value(name));
        }
        result &= criterion_matches(version, &name, value, connection)?;
    }
    if criteria == 0 { Err(BadMatch::Empty) } else { Ok(result) }
}

/// A criterion that depends on the client and its connection, not on the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientCriterion {
    Address,
    Host,
    LocalAddress,
    LocalPort,
    RoutingDomain,
}

impl ClientCriterion {
    /// The criterion with this name.
    fn named(name: &str) -> Option<Self> {
        let names = [
            ("address", Self::Address),
            ("host", Self::Host),
            ("localaddress", Self::LocalAddress),
            ("localport", Self::LocalPort),
            ("rdomain", Self::RoutingDomain),
        ];
        names.into_iter().find(|(other, _)| name.eq_ignore_ascii_case(other)).map(|(_, criterion)| criterion)
    }
}

/// The clients that criteria of a `Match` line name: "clients with the address 10.0.0.0/8".
#[derive(Clone, Debug)]
pub(crate) struct NamedClients(Vec<(ClientCriterion, String)>);

impl NamedClients {
    pub(crate) fn of(criteria: &str) -> Self {
        let mut words = criteria.split([' ', '\t', '=', '"']).filter(|word| !word.is_empty());
        let mut named = Vec::new();
        while let Some(word) = words.next() {
            if let Some(criterion) = ClientCriterion::named(word) {
                named.push((criterion, words.next().unwrap_or_default().to_owned()));
            }
        }
        Self(named)
    }

    /// Whether the criteria name no client.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value of a criterion.
    pub(crate) fn value(&self, criterion: ClientCriterion) -> Option<&str> {
        self.0.iter().find(|(other, _)| *other == criterion).map(|(_, value)| value.as_str())
    }

    /// Whether a list of them excludes clients.
    pub(crate) fn has_exception(&self) -> bool {
        self.0.iter().any(|(_, value)| value.contains('!'))
    }

    /// The port, if nothing else of the client is named.
    pub(crate) fn only_port(&self) -> Option<u16> {
        match self.0.as_slice() {
            [(ClientCriterion::LocalPort, port)] => port.parse().ok(),
            _ => None,
        }
    }
}

impl fmt::Display for NamedClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "clients";
        for (criterion, value) in &self.0 {
            let text = match criterion {
                ClientCriterion::Address => "with the address",
                ClientCriterion::Host => "with the name",
                ClientCriterion::LocalAddress => "that connect to the address",
                ClientCriterion::LocalPort => "that connect to port",
                ClientCriterion::RoutingDomain => "of the routing domain",
            };
            write!(f, "{before} {text} {value}")?;
            before = " and";
        }
        Ok(())
    }
}

/// Whether a `Match` line does not apply to a connection, and would if the client connected otherwise.
pub(super) fn depends_on_client(
    version: &OpensshVersion,
    arguments: &[Vec<u8>],
    connection: &ConnectionSpec,
) -> bool {
    if applies(version, arguments, Some(connection)).unwrap_or(true) {
        return false;
    }
    let mut others: Vec<Vec<u8>> = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let (name, inline) = split_criterion(version, word);
        let has_value = !matches!(name.as_str(), "all" | "invalid-user");
        let value = if inline.is_none() && has_value { words.next() } else { None };
        if ClientCriterion::named(&name).is_none() {
            others.push(word.clone());
            others.extend(value.cloned());
        }
    }
    others.is_empty() || applies(version, &others, Some(connection)).unwrap_or(false)
}

/// A connection that a `Match` line applies to, and that differs from `connection` by the client only. Without `dns`, the name of
/// a client is its address (`UseDNS`). `None` if none is found.
pub(super) fn sample(
    version: &OpensshVersion,
    arguments: &[Vec<u8>],
    connection: &ConnectionSpec,
    dns: bool,
) -> Option<ConnectionSpec> {
    let mut samples = vec![connection.clone()];
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let (name, inline) = split_criterion(version, word);
        let Some(criterion) = ClientCriterion::named(&name) else { continue };
        let value = inline.or_else(|| words.next().map(Vec::as_slice)).unwrap_or_default();
        let value = String::from_utf8_lossy(value).into_owned();
        let of_entries =
            |examples: fn(&str) -> Vec<String>| value.split(',').flat_map(examples).collect::<Vec<_>>();
        let texts = match criterion {
            ClientCriterion::Address | ClientCriterion::LocalAddress => of_entries(addresses),
            ClientCriterion::Host if !dns => of_entries(addresses),
            _ => of_entries(|entry| vec![entry.replace(['*', '?'], "1")]),
        };
        samples = samples
            .iter()
            .flat_map(|sample| {
                texts.iter().map(|text| {
                    let mut sample = sample.clone();
                    match criterion {
                        ClientCriterion::LocalAddress => sample.local_address = Some(text.clone()),
                        ClientCriterion::LocalPort => sample.local_port = text.parse().ok(),
                        ClientCriterion::RoutingDomain => sample.routing_domain = Some(text.clone()),
                        ClientCriterion::Host if dns => sample.host = Some(text.clone()),
                        ClientCriterion::Address | ClientCriterion::Host => {
                            sample.address = Some(text.clone());
                        }
                    }
                    if !dns {
                        sample.host.clone_from(&sample.address);
                    }
                    sample
                })
            })
            .take(MAX_SAMPLES)
            .collect();
    }
    samples.into_iter().find(|sample| applies(version, arguments, Some(sample)) == Ok(true))
}

/// Maximum number of connections to try for one `Match` line.
const MAX_SAMPLES: usize = 100;

/// Addresses that an entry of a list matches: the first and the last of a network, or one that has the form of a pattern.
fn addresses(entry: &str) -> Vec<String> {
    if let Some((first, last)) = ends_of_network(entry) {
        return vec![first.to_string(), last.to_string()];
    }
    // The first star, and the others. Two numbers, because other entries can exclude one.
    let fills = |number: &str| ["N", "N.N", "N.N.N", "N.N.N.N", "N::N"].map(|fill| fill.replace('N', number));
    let plain = entry.replace('?', "1");
    let texts = ["1", "202"].into_iter().flat_map(|number| {
        let plain = &plain;
        fills(number).into_iter().flat_map(move |first| {
            let plain = plain.replacen('*', &first, 1);
            fills(number).map(|fill| plain.replace('*', &fill))
        })
    });
    let mut texts: Vec<_> = texts.filter(|text| text.parse::<std::net::IpAddr>().is_ok()).collect();
    texts.dedup();
    texts
}

/// The name of a criterion in lower case, and its value if written as `name=value`.
fn split_criterion<'a>(version: &OpensshVersion, word: &'a [u8]) -> (String, Option<&'a [u8]>) {
    let name = |text: &[u8]| String::from_utf8_lossy(text).to_ascii_lowercase();
    let sign = word.iter().position(|byte| *byte == b'=').filter(|_| version.match_splits_like_argv());
    match sign.and_then(|at| word.split_at_checked(at)) {
        Some((left, right)) => (name(left), right.get(1..)),
        None => (name(word), None),
    }
}

fn criterion_matches(
    version: &OpensshVersion,
    name: &str,
    value: &[u8],
    connection: Option<&ConnectionSpec>,
) -> Result<bool, BadMatch> {
    let matches = |text: &Option<String>, lowercase| {
        text.as_ref().is_some_and(|text| {
            let text = if lowercase { text.to_ascii_lowercase() } else { text.clone() };
            match_list(text.as_bytes(), value, lowercase) == ListMatch::Yes
        })
    };
    let address = |text: Option<&String>| {
        if text.is_none() && !version.checks_addresses_in_first_pass() {
            return Ok(false);
        }
        match_addresses(text.map(String::as_bytes), value)
            .map(|verdict| verdict == ListMatch::Yes)
            .map_err(|_| BadMatch::Value(name.to_owned()))
    };
    let none = ConnectionSpec::default();
    let connection = connection.unwrap_or(&none);
    match name {
        "user" => Ok(matches(&connection.user, false)),
        "group" => Ok(in_groups(&connection.groups, value)),
        "host" => Ok(matches(&connection.host, true)),
        "address" => address(connection.address.as_ref()),
        "localaddress" => address(connection.local_address.as_ref()),
        "localport" => {
            let port = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<u16>().ok())
                .filter(|port| *port > 0);
            let port = port.ok_or_else(|| BadMatch::Value(name.to_owned()))?;
            Ok(connection.local_port == Some(port))
        }
        "rdomain" => Ok(matches(&connection.routing_domain, false)),
        "version" => match version.match_version() {
            Some(release) => Ok(match_list(release.as_bytes(), value, false) == ListMatch::Yes),
            None => Err(BadMatch::Unknown(name.to_owned())),
        },
        _ => Err(BadMatch::Unknown(name.to_owned())),
    }
}

/// `ga_match_pattern_list`: one group that matches a negated entry excludes the user.
fn in_groups(groups: &[String], value: &[u8]) -> bool {
    let mut found = false;
    for group in groups {
        match match_list(group.as_bytes(), value, false) {
            ListMatch::Negated => return false,
            ListMatch::Yes => found = true,
            ListMatch::No => {}
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::sshd::config_file::Statement;

    fn matches(version: &str, line: &str) -> Result<bool, BadMatch> {
        let version = OpensshVersion::from_version_text(version).unwrap();
        let statement = Statement::read(&version, line.as_bytes()).unwrap().unwrap();
        let alice = ConnectionSpec {
            user: Some("alice".into()),
            groups: vec!["alice".into(), "admin".into()],
            host: Some("Client.Example".into()),
            address: Some("192.0.2.7".into()),
            local_port: Some(22),
            ..ConnectionSpec::default()
        };
        applies(&version, &statement.arguments, Some(&alice))
    }

    #[test]
    fn all_criteria_must_match() {
        for version in ["OpenSSH_8.4", "OpenSSH_9.2", "OpenSSH_10.0"] {
            for (line, expected) in [
                ("Match all", true),
                ("match USER alice", true),
                ("Match User bob,a*", true),
                ("Match User *,!alice", false),
                ("Match User alice Address 192.0.2.0/24", true),
                ("Match User alice Address 10.0.0.0/8", false),
                ("Match Group admin", true),
                ("Match Group admin,!alice", false),
                ("Match Host *.example", true),
                ("Match LocalPort 22 User alice", true),
                ("Match LocalAddress *", false),
                ("Match User=alice", true),
                ("Match \"User\" \"alice\"", true),
            ] {
                assert_eq!(matches(version, line), Ok(expected), "{version} {line}");
            }
        }
    }

    #[test]
    fn blocks_for_some_clients() {
        let version = OpensshVersion::from_version_text("OpenSSH_9.2").unwrap();
        let alice = ConnectionSpec {
            user: Some("alice".into()),
            address: Some("192.0.2.1".into()),
            local_port: Some(22),
            ..ConnectionSpec::default()
        };
        for (line, expected) in [
            ("Match Address 10.0.0.0/8", true),
            ("Match User alice LocalPort 2222", true),
            ("Match User bob Address 10.0.0.0/8", false),
            ("Match Address 192.0.2.0/24", false),
            ("Match User bob", false),
            ("Match all", false),
        ] {
            let statement = Statement::read(&version, line.as_bytes()).unwrap().unwrap();
            assert_eq!(depends_on_client(&version, &statement.arguments, &alice), expected, "{line}");
        }
    }

    #[test]
    fn a_client_of_a_block() {
        let version = OpensshVersion::from_version_text("OpenSSH_9.2").unwrap();
        for (line, dns, expected) in [
            ("Match Address 10.0.0.0/8", false, Some("host=10.0.0.0,addr=10.0.0.0,laddr=192.0.2.2,lport=22")),
            (
                "Match Address !10.0.0.0/24,10.0.0.0/8",
                false,
                Some("host=10.255.255.255,addr=10.255.255.255,laddr=192.0.2.2,lport=22"),
            ),
            (
                "Match User alice Address 10.*",
                true,
                Some("host=eic-keys.invalid,addr=10.1.1.1,laddr=192.0.2.2,lport=22"),
            ),
            (
                "Match Address 2001:db8::/32",
                true,
                Some("host=eic-keys.invalid,addr=2001:db8::,laddr=192.0.2.2,lport=22"),
            ),
            (
                "Match LocalPort 2222",
                true,
                Some("host=eic-keys.invalid,addr=192.0.2.1,laddr=192.0.2.2,lport=2222"),
            ),
            (
                "Match Host *.example.com",
                true,
                Some("host=1.example.com,addr=192.0.2.1,laddr=192.0.2.2,lport=22"),
            ),
            ("Match Host *.example.com", false, None),
            ("Match Host 10.0.0.?", false, Some("host=10.0.0.1,addr=10.0.0.1,laddr=192.0.2.2,lport=22")),
            ("Match Host 10.*.*", false, Some("host=10.1.1.1,addr=10.1.1.1,laddr=192.0.2.2,lport=22")),
            ("Match User bob Address 10.0.0.0/8", false, None),
            ("Match Address !10.0.0.0/8", false, None),
        ] {
            let statement = Statement::read(&version, line.as_bytes()).unwrap().unwrap();
            let alice = ConnectionSpec { user: Some("alice".into()), ..ConnectionSpec::probe() };
            let found = sample(&version, &statement.arguments, &alice, dns).map(|sample| sample.spec());
            assert_eq!(found, expected.map(|rest| format!("user=alice,{rest}")), "{line}");
        }
    }

    #[test]
    fn clients_that_criteria_name() {
        for (criteria, text, has_exception, only_port) in [
            ("Address 10.0.0.0/8", "clients with the address 10.0.0.0/8", false, None),
            ("User alice\tlocalport=2222", "clients that connect to port 2222", false, Some(2222)),
            ("\"Host\" *.example,!a.example", "clients with the name *.example,!a.example", true, None),
            (
                "LocalPort 22 User al!ce localaddress=10.0.0.1",
                "clients that connect to port 22 and that connect to the address 10.0.0.1",
                false,
                None,
            ),
        ] {
            let clients = NamedClients::of(criteria);
            assert!(!clients.is_empty(), "{criteria}");
            assert_eq!(clients.to_string(), text);
            assert_eq!(
                (clients.has_exception(), clients.only_port()),
                (has_exception, only_port),
                "{criteria}"
            );
        }
        for criteria in ["User alice", "User hostmaster", "all"] {
            assert!(NamedClients::of(criteria).is_empty(), "{criteria}");
        }
        let clients = NamedClients::of("LocalAddress 10.0.0.1 localaddress 10.0.0.2");
        assert_eq!(clients.value(ClientCriterion::LocalAddress), Some("10.0.0.1"));
        assert_eq!(clients.value(ClientCriterion::Host), None);
    }

    #[test]
    fn rejects_what_sshd_rejects() {
        assert_eq!(matches("OpenSSH_8.4", "Match User alice all"), Err(BadMatch::AllWithOther));
        assert_eq!(matches("OpenSSH_8.4", "Match all User alice"), Err(BadMatch::AllWithOther));
        assert_eq!(matches("OpenSSH_9.2", "Match User"), Err(BadMatch::Value("user".into())));
        assert_eq!(matches("OpenSSH_9.2", "Match version 9*"), Err(BadMatch::Unknown("version".into())));
        assert_eq!(matches("OpenSSH_9.2", "Match # all"), Err(BadMatch::Empty));
        assert_eq!(
            matches("OpenSSH_9.2", "Match Address 10.0.0.1/8"),
            Err(BadMatch::Value("address".into()))
        );
    }

    fn first_pass(version: &str, line: &str) -> Result<bool, BadMatch> {
        let version = OpensshVersion::from_version_text(version).unwrap();
        let statement = Statement::read(&version, line.as_bytes()).unwrap().unwrap();
        applies(&version, &statement.arguments, None)
    }

    #[test]
    fn invalid_user_matches_everyone_in_the_first_pass_of_9_9p1() {
        for (version, expected) in [
            ("OpenSSH_9.9p1, OpenSSL 3.2.2", true),
            ("OpenSSH_9.9p1 Ubuntu-3ubuntu3, OpenSSL 3.4.1", true),
            ("OpenSSH_9.9p2, OpenSSL 3.2.2", false),
            ("OpenSSH_10.0p1, OpenSSL 3.2.2", false),
        ] {
            assert_eq!(first_pass(version, "Match invalid-user"), Ok(expected), "{version}");
            assert_eq!(first_pass(version, "Match invalid-user User alice"), Ok(false), "{version}");
            assert_eq!(matches(version, "Match invalid-user"), Ok(false), "{version}");
        }
        let unknown = Err(BadMatch::Value("invalid-user".into()));
        assert_eq!(first_pass("OpenSSH_9.8p1", "Match invalid-user"), unknown);
    }

    #[test]
    fn addresses_are_checked_in_the_first_pass_since_8_4() {
        for keyword in ["Address", "LocalAddress"] {
            let line = format!("Match {keyword} 192.0.2.1/24");
            let refused = Err(BadMatch::Value(keyword.to_ascii_lowercase()));
            for old in ["OpenSSH_7.4p1", "OpenSSH_8.0p1", "OpenSSH_8.2p1", "OpenSSH_8.3p1"] {
                assert_eq!(first_pass(old, &line), Ok(false), "{old}");
            }
            assert_eq!(first_pass("OpenSSH_8.4p1", &line), refused);
        }
        // With an address to compare, all versions reject it.
        let refused = Err(BadMatch::Value("address".into()));
        assert_eq!(matches("OpenSSH_8.2p1", "Match Address 192.0.2.1/24"), refused);
    }
}
