//! Access keys and their IAM policies, with the conditions of EC2 Instance Connect.
//!
//! Unknown elements are refused when the file is read: an ignored condition would allow too much.
use serde_json::{Map, Value};
use std::net::IpAddr;

/// The file that the laboratory starts with: three principals.
pub const DEFAULT: &str = include_str!("../../policy.json");

/// A principal with an access key.
#[derive(Clone, Debug)]
pub struct Principal {
    /// `AKIA...`, or `ASIA...` with a session token.
    pub access_key: String,
    /// The secret access key.
    pub secret: String,
    /// The session token, which must be sent if there is one.
    pub token: Option<String>,
    /// `arn:aws:iam::ACCOUNT:user/NAME` or `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    pub arn: String,
    statements: Vec<Statement>,
}

#[derive(Clone, Debug)]
struct Statement {
    allow: bool,
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
struct Condition {
    operator: Operator,
    key: String,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    StringEquals,
    StringNotEquals,
    StringLike,
    IpAddress,
    NotIpAddress,
    NumericEquals,
    NumericLessThanEquals,
}

/// The condition keys that requests of this service have.
const KEYS: [&str; 5] = [
    "ec2:osuser",
    "aws:SourceIp",
    "ec2-instance-connect:remotePort",
    "ec2-instance-connect:privateIpAddress",
    "ec2-instance-connect:maxTunnelDuration",
];

/// The values of a request for conditions: key and value.
pub type Context<'a> = [(&'a str, String)];

/// Why an action is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No statement allows it.
    Implicitly,
    /// A statement denies it.
    Explicitly,
}

/// Reads a policy file.
///
/// # Errors
/// What is unknown or wrong in it.
pub fn read(text: &str) -> Result<Vec<Principal>, String> {
    let file: Value = serde_json::from_str(text).map_err(|e| format!("it is not JSON: {e}"))?;
    let file = members(&file, "the file", &["Principals"])?;
    let principals: Vec<Principal> =
        list(file.get("Principals"), "Principals")?.iter().map(principal).collect::<Result<_, _>>()?;
    let mut keys: Vec<&str> = principals.iter().map(|p| p.access_key.as_str()).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(format!("the access key {} is there twice", two[0])),
        None => Ok(principals),
    }
}

impl Principal {
    /// Whether it may call this action on this resource.
    ///
    /// # Errors
    /// Which kind of denial, if not.
    pub fn may(&self, action: &str, resource: &str, context: &Context) -> Result<(), Denied> {
        let fits = |s: &&Statement| s.fits(action, resource, context);
        if self.statements.iter().filter(|s| !s.allow).any(|s| fits(&s)) {
            return Err(Denied::Explicitly);
        }
        let allowed = self.statements.iter().filter(|s| s.allow).any(|s| fits(&s));
        if allowed { Ok(()) } else { Err(Denied::Implicitly) }
    }

    /// Replaces its policy by that of another principal.
    pub fn take_policy_of(&mut self, other: &Self) {
        self.statements.clone_from(&other.statements);
    }

    /// The account of its ARN.
    pub fn account(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or_default()
    }
}

impl Statement {
    fn fits(&self, action: &str, resource: &str, context: &Context) -> bool {
        // Actions are compared without regard to case, resources with.
        self.actions.iter().any(|pattern| like(&pattern.to_lowercase(), &action.to_lowercase()))
            && self.resources.iter().any(|pattern| like(pattern, resource))
            && self.conditions.iter().all(|condition| condition.holds(context))
    }
}

impl Condition {
    /// A key that the request does not have matches negated operators only.
    fn holds(&self, context: &Context) -> bool {
        let Some((_, value)) = context.iter().find(|(key, _)| key.eq_ignore_ascii_case(&self.key)) else {
            return matches!(self.operator, Operator::StringNotEquals | Operator::NotIpAddress);
        };
        let any = |fits: &dyn Fn(&str) -> bool| self.values.iter().any(|pattern| fits(pattern));
        let number = |text: &str| text.parse::<i64>().ok();
        match self.operator {
            Operator::StringEquals => any(&|pattern| pattern == value),
            Operator::StringNotEquals => !any(&|pattern| pattern == value),
            Operator::StringLike => any(&|pattern| like(pattern, value)),
            Operator::IpAddress => any(&|pattern| is_within(value, pattern) == Some(true)),
            Operator::NotIpAddress => !any(&|pattern| is_within(value, pattern) == Some(true)),
            Operator::NumericEquals => any(&|pattern| number(pattern) == number(value)),
            Operator::NumericLessThanEquals => {
                any(&|pattern| number(value).zip(number(pattern)).is_some_and(|(a, b)| a <= b))
            }
        }
    }
}

/// Whether a text matches a pattern with `*` for any characters and `?` for one.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .any(|at| like(&pattern[1..], &text[at..])),
        Some(first) => text.chars().next().is_some_and(|c| {
            (first == '?' || first == c) && like(&pattern[first.len_utf8()..], &text[c.len_utf8()..])
        }),
    }
}

/// Whether an address is within `ADDRESS/BITS`; `None` if either is malformed.
fn is_within(address: &str, network: &str) -> Option<bool> {
    let (base, bits) = network.split_once('/').map_or((network, None), |(base, bits)| (base, Some(bits)));
    let (address, base): (IpAddr, IpAddr) = (address.parse().ok()?, base.parse().ok()?);
    let width = if base.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(width), str::parse).ok().filter(|bits| *bits <= width)?;
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let prefix = |address| number(address).checked_shr(width - bits).unwrap_or(0);
    Some(address.is_ipv4() == base.is_ipv4() && prefix(address) == prefix(base))
}

fn principal(value: &Value) -> Result<Principal, String> {
    let names = ["AccessKeyId", "SecretAccessKey", "SessionToken", "Arn", "Policy"];
    let fields = members(value, "a principal", &names)?;
    let field = |name: &str| text(fields.get(name), name);
    let policy = fields.get("Policy").ok_or("a principal has no Policy")?;
    let policy = members(policy, "a policy", &["Version", "Statement"])?;
    if policy.get("Version").and_then(Value::as_str) != Some("2012-10-17") {
        return Err("a policy's Version must be \"2012-10-17\"".to_owned());
    }
    Ok(Principal {
        access_key: field("AccessKeyId")?,
        secret: field("SecretAccessKey")?,
        token: fields.get("SessionToken").map(|_| field("SessionToken")).transpose()?,
        arn: field("Arn")?,
        statements: list(policy.get("Statement"), "Statement")?
            .iter()
            .map(statement)
            .collect::<Result<_, _>>()?,
    })
}

fn statement(value: &Value) -> Result<Statement, String> {
    let fields = members(value, "a statement", &["Sid", "Effect", "Action", "Resource", "Condition"])?;
    let allow = match text(fields.get("Effect"), "Effect")?.as_str() {
        "Allow" => true,
        "Deny" => false,
        other => return Err(format!("Effect is Allow or Deny, not {other}")),
    };
    let mut conditions = Vec::new();
    for (operator, keys) in fields.get("Condition").and_then(Value::as_object).into_iter().flatten() {
        let keys = keys.as_object().ok_or_else(|| format!("{operator} must hold condition keys"))?;
        for (key, values) in keys {
            conditions.push(condition(operator, key, values)?);
        }
    }
    Ok(Statement {
        allow,
        actions: texts(fields.get("Action"), "Action")?,
        resources: texts(fields.get("Resource"), "Resource")?,
        conditions,
    })
}

fn condition(operator: &str, key: &str, values: &Value) -> Result<Condition, String> {
    let known = match operator {
        "StringEquals" => Operator::StringEquals,
        "StringNotEquals" => Operator::StringNotEquals,
        "StringLike" => Operator::StringLike,
        "IpAddress" => Operator::IpAddress,
        "NotIpAddress" => Operator::NotIpAddress,
        "NumericEquals" => Operator::NumericEquals,
        "NumericLessThanEquals" => Operator::NumericLessThanEquals,
        _ => return Err(format!("the condition operator {operator} is not known here")),
    };
    if !KEYS.iter().any(|known| known.eq_ignore_ascii_case(key)) {
        return Err(format!("the condition key {key} is not known here"));
    }
    let values = texts(Some(values), key)?;
    for value in &values {
        let (is_number, is_network) = (value.parse::<i64>().is_ok(), is_within("::1", value).is_some());
        let fits = match known {
            Operator::IpAddress | Operator::NotIpAddress => is_network,
            Operator::NumericEquals | Operator::NumericLessThanEquals => is_number,
            _ => true,
        };
        if !fits {
            return Err(format!("{value} is nothing that {operator} can compare with"));
        }
    }
    Ok(Condition { operator: known, key: key.to_owned(), values })
}

fn members<'a>(value: &'a Value, what: &str, known: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let fields = value.as_object().ok_or_else(|| format!("{what} must be an object"))?;
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("{what} has {name}, which is not known here")),
        None => Ok(fields),
    }
}

fn list<'a>(value: Option<&'a Value>, what: &str) -> Result<&'a [Value], String> {
    value.and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| format!("{what} must be a list"))
}

fn text(value: Option<&Value>, what: &str) -> Result<String, String> {
    value
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| format!("{what} must be a text"))
}

/// One text or number, or a list of them.
fn texts(value: Option<&Value>, what: &str) -> Result<Vec<String>, String> {
    let single = |value: &Value| match value {
        Value::Number(number) => Ok(number.to_string()),
        other => text(Some(other), what),
    };
    match value {
        Some(Value::Array(values)) => values.iter().map(single).collect(),
        Some(value) => single(value).map(|text| vec![text]),
        None => Err(format!("{what} is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(statements: &str) -> Result<Principal, String> {
        let text = format!(
            r#"{{"Principals": [{{"AccessKeyId": "A", "SecretAccessKey": "S", "Arn": "arn:aws:iam::1:user/u",
                "Policy": {{"Version": "2012-10-17", "Statement": [{statements}]}}}}]}}"#
        );
        read(&text).map(|mut principals| principals.remove(0))
    }

    fn pushes(principal: &Principal, user: &str, from: &str) -> Result<(), Denied> {
        let context = [("ec2:osuser", user.to_owned()), ("aws:SourceIp", from.to_owned())];
        principal.may("ec2-instance-connect:SendSSHPublicKey", "arn:aws:ec2:r:1:instance/i-1", &context)
    }

    #[test]
    fn all_conditions_must_hold_and_deny_overrides_allow() {
        let who = with(
            r#"{"Effect": "Allow", "Action": "ec2-instance-connect:Send*", "Resource": "*/i-1",
                "Condition": {"StringEquals": {"ec2:osuser": ["alice", "bob"]},
                              "IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]}}},
               {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.7"}}}"#,
        )
        .unwrap();
        assert_eq!(pushes(&who, "alice", "192.0.2.1"), Ok(()));
        assert_eq!(pushes(&who, "bob", "2001:db8::1"), Ok(()));
        assert_eq!(pushes(&who, "root", "192.0.2.1"), Err(Denied::Implicitly));
        assert_eq!(pushes(&who, "alice", "192.0.3.1"), Err(Denied::Implicitly));
        assert_eq!(pushes(&who, "alice", "192.0.2.7"), Err(Denied::Explicitly));
        let other = who.may("ec2:DescribeInstances", "*", &[]);
        assert_eq!(other, Err(Denied::Implicitly));
    }

    #[test]
    fn a_missing_condition_key_matches_only_negations() {
        let of = |operator: &str| {
            let condition = format!(r#"{{"{operator}": {{"ec2:osuser": "alice"}}}}"#);
            with(&format!(
                r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {condition}}}"#
            ))
            .unwrap()
        };
        assert_eq!(of("StringEquals").may("a:b", "c", &[]), Err(Denied::Implicitly));
        assert_eq!(of("StringNotEquals").may("a:b", "c", &[]), Ok(()));
        assert_eq!(of("StringLike").may("a:b", "c", &[("ec2:osuser", "alice".to_owned())]), Ok(()));
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let who = with(
            r#"{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition":
                {"NumericLessThanEquals": {"ec2-instance-connect:maxTunnelDuration": 900}}}"#,
        )
        .unwrap();
        let opens = |seconds: &str| {
            who.may("x:OpenTunnel", "c", &[("ec2-instance-connect:maxTunnelDuration", seconds.to_owned())])
        };
        assert_eq!((opens("90"), opens("900")), (Ok(()), Ok(())));
        assert_eq!(opens("3600"), Err(Denied::Implicitly));
    }

    #[test]
    fn unknown_policy_elements_are_refused() {
        let fine = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#;
        assert!(with(fine).is_ok());
        for (wrong, says) in [
            (fine.replace("Allow", "allow"), "Effect"),
            (fine.replace("\"Action\"", "\"NotAction\""), "NotAction"),
            (fine.replace("\"Resource\": \"*\"", "\"Resource\": {}"), "Resource"),
            (fine.replace('}', r#", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}"#), "Bool"),
            (fine.replace('}', r#", "Condition": {"StringEquals": {"aws:username": "x"}}}"#), "aws:username"),
            (
                fine.replace('}', r#", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}}"#),
                "10.0.0.0/33",
            ),
        ] {
            let refused = with(&wrong).unwrap_err();
            assert!(refused.contains(says), "{wrong}: {refused}");
        }
        assert!(read("nonsense").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn the_default_policy_is_valid() {
        assert_eq!(read(DEFAULT).unwrap().len(), 3);
    }
}
