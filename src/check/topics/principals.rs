//! Checks the patterns of `--principal`.
//!
//! Source: IAM User Guide, "IAM identifiers" and "Principal" element: the ARNs of principals that make requests.

use super::sshd::ConfiguredCommand;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::runner::{Answer, Finding, Runner};
use crate::ec2::Domain;

/// Checks that each pattern can match an IAM principal.
pub(crate) async fn principals(runner: &Runner, command: &Finding<ConfiguredCommand>) {
    runner
        .check(CheckId::SshdPrincipals, command, async |command| {
            let patterns = command.request.principals.patterns();
            let patterns: Vec<_> = patterns.map(|one| String::from_utf8_lossy(one).into_owned()).collect();
            answer(&patterns)
        })
        .await;
}

fn answer(patterns: &[String]) -> Answer<()> {
    let faulty: Vec<_> = patterns.iter().filter_map(|one| Some((one, fault(one)?))).collect();
    let detail = patterns.iter().map(|one| match fault(one) {
        None => one.clone(),
        Some(fault) => format!("{one}: {}", fault.reason),
    });
    match (faulty.as_slice(), patterns) {
        ([], []) => {
            Answer::ok("keys pushed by every IAM principal are accepted: there is no --principal", ())
        }
        ([], [one]) => Answer::ok(format!("only keys pushed by {one} are accepted"), ()),
        ([], _) => Answer::ok(
            format!("only keys pushed by {} patterns of principals are accepted", patterns.len()),
            (),
        )
        .detail(detail),
        ([(pattern, first), ..], _) => Answer::warn(
            format!("no IAM principal matches --principal {pattern}: {}", first.reason),
            Fix::advice(format!("in the AuthorizedKeysCommand, set --principal '{}'", first.instead)),
            (),
        )
        .detail(detail),
    }
}

/// Why a pattern matches no principal, and the pattern that was probably meant.
#[derive(Debug, PartialEq, Eq)]
struct PatternFault {
    reason: &'static str,
    instead: String,
}

/// An example for a user.
const USER: &str = "arn:aws:iam::ACCOUNT:user/NAME";

/// Looks for a fault in the fields before the first wildcard, which can match any number of fields.
fn fault(pattern: &str) -> Option<PatternFault> {
    let (literal, open) = match pattern.find(['*', '?']) {
        Some(at) => (pattern.get(..at).unwrap_or_default(), true),
        None => (pattern, false),
    };
    let mut fields: Vec<_> = literal.splitn(6, ':').collect();
    // The field with the wildcard is known only in part.
    let begun = if open { fields.pop() } else { None };
    let other = |reason| Some(PatternFault { reason, instead: USER.to_owned() });
    let wrong =
        |index: usize, right: &dyn Fn(&str) -> bool| fields.get(index).is_some_and(|field| !right(field));
    let none_of = |index: usize, known: &[&str]| {
        wrong(index, &|field| known.contains(&field))
            || (fields.len() == index
                && begun.is_some_and(|text| !known.iter().any(|one| one.starts_with(text))))
    };
    if none_of(0, &["arn"]) {
        return other("it does not begin with arn:");
    }
    let partitions: Vec<_> = Domain::ALL.iter().flat_map(|domain| domain.partitions()).collect();
    if none_of(1, &partitions) {
        return other("its second field is not a known partition, such as aws");
    }
    if none_of(2, &["iam", "sts"]) {
        return other("its third field is neither iam nor sts");
    }
    if wrong(3, &str::is_empty) {
        return other("its fourth field is not empty: IAM has no regions");
    }
    if wrong(4, &|field| field.len() == 12 && field.bytes().all(|byte| byte.is_ascii_digit())) {
        return other("its fifth field is not an account ID of 12 digits");
    }
    let (service, account) = (fields.get(2).copied(), fields.get(4).copied());
    let resource = fields.get(5).copied().or(begun.filter(|_| fields.len() == 5));
    let (Some(service), Some(account), Some(resource)) = (service, account, resource) else {
        return if open { None } else { other("it has fewer than six fields") };
    };
    let partition = fields.get(1).copied().unwrap_or("aws");
    let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
    // Without a slash, the wildcard may complete the kind.
    let complete = resource.contains('/') || !open;
    let session = |role: &str| format!("arn:{partition}:sts::{account}:assumed-role/{role}/*");
    match (service, kind) {
        _ if !complete => None,
        ("iam", "user") if open || !name.is_empty() => None,
        ("iam", "root") if resource == "root" => None,
        ("iam", "role") => Some(PatternFault {
            reason: "a principal with a role makes requests as a session of the role, assumed-role/ROLE/SESSION",
            // The ARN of a session does not contain the path of the role.
            instead: session(match name.rsplit('/').next() {
                Some(role) if !role.is_empty() => role,
                _ => "*",
            }),
        }),
        ("sts", "assumed-role") if !open && name.split('/').count() < 2 => Some(PatternFault {
            reason: "the ARN of a session ends with the name of the session",
            instead: session(if name.is_empty() { "*" } else { name }),
        }),
        ("sts", "assumed-role" | "federated-user") => None,
        _ => other("it names no user, session of a role or federated user"),
    }
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn a_pattern_that_can_match_a_principal_has_no_fault() {
        for pattern in [
            "*",
            "?rn:aws:iam::123412341234:role/a",
            "a*",
            "arn:*",
            "arn:aws:iam::123412341234:user/anna",
            "arn:aws-cn:iam::123412341234:user/ops/*",
            "arn:aws:iam::123412341234:*",
            "arn:aws:iam::123412341234:u*",
            "arn:aws:iam::123412341234:root",
            "arn:aws:iam::1234*:user/anna",
            "arn:aws-eusc:iam::123412341234:user/anna",
            "arn:aws-*:iam::123412341234:user/anna",
            "arn:aws:s*",
            "arn:aws:*:role/ops",
            "arn:aws:sts::123412341234:assumed-role/ops/anna",
            "arn:aws:sts::123412341234:assumed-role/ops/*",
            "arn:aws:sts::123412341234:assumed-role/ops*",
            "arn:aws:sts::123412341234:federated-user/anna",
        ] {
            assert_eq!(fault(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_can_match_no_principal_has_one() {
        for (pattern, reason, instead) in [
            ("anna", "arn:", "user/NAME"),
            ("user/*", "arn:", "user/NAME"),
            ("x*", "arn:", "user/NAME"),
            ("ARN:aws:iam::123412341234:user/anna", "arn:", "user/NAME"),
            ("arn:amazon:iam::123412341234:user/anna", "partition", "user/NAME"),
            ("arn:aws-gov:iam::123412341234:user/anna", "partition", "user/NAME"),
            ("arn:aws-gov*:user/anna", "partition", "user/NAME"),
            ("arn:aws:ec2*", "iam nor sts", "user/NAME"),
            ("arn:aws:ec2::123412341234:user/anna", "iam nor sts", "user/NAME"),
            ("arn:aws:iam:us-east-1:123412341234:user/anna", "regions", "user/NAME"),
            ("arn:aws:iam::1234:user/*", "12 digits", "user/NAME"),
            ("arn:aws:iam::123412341234", "six fields", "user/NAME"),
            ("arn:aws:iam::123412341234:user", "no user", "user/NAME"),
            ("arn:aws:iam::123412341234:user/", "no user", "user/NAME"),
            ("arn:aws:iam::123412341234:group/ops", "no user", "user/NAME"),
            ("arn:aws:iam::123412341234:instance-profile/*", "no user", "user/NAME"),
            ("arn:aws:sts::123412341234:role/ops", "no user", "user/NAME"),
            ("arn:aws:iam::123412341234:role/ops", "session", "arn:aws:sts::123412341234:assumed-role/ops/*"),
            (
                "arn:aws:iam::123412341234:role/a/b/ops",
                "session",
                "arn:aws:sts::123412341234:assumed-role/ops/*",
            ),
            (
                "arn:aws-us-gov:iam::123412341234:role/*",
                "session",
                "arn:aws-us-gov:sts::123412341234:assumed-role/*/*",
            ),
            (
                "arn:aws:sts::123412341234:assumed-role/ops",
                "ends with",
                "arn:aws:sts::123412341234:assumed-role/ops/*",
            ),
        ] {
            let fault = fault(pattern);
            let expected = |fault: &super::PatternFault| {
                fault.reason.contains(reason) && fault.instead.ends_with(instead)
            };
            assert!(fault.as_ref().is_some_and(expected), "{pattern}: {fault:?}");
        }
    }
}
