//! Whether a stack of PAM can succeed (pam.conf(5), `_pam_dispatch_aux` of libpam).
//!
//! Of most modules only a login shows the result, so that each result is possible. A stack is refused if it fails
//! whatever these return.

use std::path::Path;

use super::pam_config::{Action, Control, Module, ModuleType, Rule, RuleKind, modules_of, stack};

/// The results of a module that fails, one of which it returns.
pub(crate) type ReturnValues = &'static [&'static str];

/// What a stack with failing modules does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackOutcome {
    /// It can succeed.
    CanSucceed,
    /// It fails, whatever the other modules return. The rule because of which it does, if it is one.
    Refuses(Option<usize>),
}

/// The outcome of a stack. `failures` has the results of each rule whose module is known to fail.
pub(crate) fn outcome(rules: &[Rule], failures: &[Option<ReturnValues>]) -> StackOutcome {
    if succeeds(rules, failures, None) {
        return StackOutcome::CanSucceed;
    }
    let fails = |at: &usize| {
        failures.get(*at).is_some_and(Option::is_some)
            || rules.get(*at).is_some_and(|rule| matches!(rule.kind, RuleKind::Unusable(_)))
    };
    // Any of several can be the reason: first those whose own failure counts, unlike that of a sufficient line. pam_deny is there for the
    // failures of lines before it.
    let is_ignored = |at: &usize| match rules.get(*at).map(|rule| &rule.kind) {
        Some(RuleKind::Module(module)) => {
            let results = failures.get(*at).copied().flatten().unwrap_or_default();
            module.name() == "pam_deny.so"
                || results.iter().all(|result| module.control.action(result) == Action::Ignore)
        }
        _ => false,
    };
    let (ignored, mut failing): (Vec<_>, Vec<_>) = (0..rules.len()).filter(fails).partition(is_ignored);
    failing.extend(ignored);
    let refusing = (0..rules.len()).filter(|at| rules.get(*at).is_some_and(refuses));
    // A jump too far is always a mistake: the line before which it should end is not.
    let jumping = (0..rules.len()).filter(|at| jump_too_far(rules, *at).is_some());
    let possible = jumping.chain(failing.iter().copied()).chain(refusing);
    let alone = possible.into_iter().find(|at| succeeds(rules, failures, Some(*at)));
    StackOutcome::Refuses(alone.or_else(|| failing.first().copied()))
}

/// The module because of which a stack fails. `known`: the results of a module that fails.
pub(crate) fn refusing<'a>(
    rules: &'a [Rule],
    known: &dyn Fn(&Module) -> Option<ReturnValues>,
) -> Option<&'a Module> {
    let module = |rule: &'a Rule| match &rule.kind {
        RuleKind::Module(module) => Some(module),
        RuleKind::Substack | RuleKind::Unusable(_) => None,
    };
    let failures: Vec<_> = rules.iter().map(|rule| known(module(rule)?)).collect();
    match outcome(rules, &failures) {
        StackOutcome::Refuses(Some(at)) => module(rules.get(at)?),
        _ => None,
    }
}

/// Whether a rule refuses whatever its module returns, as `[default=die]` does.
fn refuses(rule: &Rule) -> bool {
    let is_refusal = |action| matches!(action, Action::Bad | Action::Die);
    matches!(&rule.kind, RuleKind::Module(module) if module.control.actions().all(is_refusal))
}

/// The stacks of sshd: which messages of modules can be of a refusal depends on them.
#[derive(Debug)]
pub(crate) struct SshdStacks {
    auth: Vec<Rule>,
    account: Vec<Rule>,
    session: Vec<Rule>,
}

impl SshdStacks {
    pub(crate) fn read(root: &Path) -> Self {
        let rules = |module_type| stack(root, "sshd", module_type).rules;
        Self {
            auth: rules(ModuleType::Auth),
            account: rules(ModuleType::Account),
            session: rules(ModuleType::Session),
        }
    }

    /// Whether a message of a module, or of libpam about a missing one, can be why PAM refuses a login with a key. It is not if each
    /// line of the module ignores that it fails, or is for passwords. A message of another program can.
    pub(crate) fn can_refuse(&self, message: &str) -> bool {
        let missing = ["PAM unable to dlopen(", "PAM adding faulty module: "];
        if let Some(rest) = missing.iter().find_map(|begin| message.strip_prefix(begin)) {
            let path = rest.split(')').next().unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or_default();
            let mut lines = lines(&self.account, name).chain(lines(&self.session, name)).peekable();
            return match lines.peek() {
                Some(_) => lines.any(|line| counts(&line.control, Some("module_unknown"))),
                None => self::lines(&self.auth, name).next().is_none(),
            };
        }
        let Some((name, rest)) = message.split_once("(sshd:") else { return true };
        let rules = match rest.split(')').next() {
            Some("account") => &self.account,
            Some("session") => &self.session,
            _ => return true,
        };
        let name = format!("{name}.so");
        // What pam_ldap returns then.
        let result = rest.contains("nslcd").then_some("authinfo_unavail");
        let mut lines = lines(rules, &name).peekable();
        lines.peek().is_none() || lines.any(|line| counts(&line.control, result))
    }
}

/// The lines of a module.
fn lines<'a>(rules: &'a [Rule], name: &str) -> impl Iterator<Item = &'a Module> {
    modules_of(rules).filter(move |module| module.name() == name)
}

/// Whether the failure of a module matters. `result`: with what it fails, if that is known.
fn counts(control: &Control, result: Option<&str>) -> bool {
    let is_failure = |action| !matches!(action, Action::Ok | Action::Done | Action::Ignore);
    // Otherwise its success keeps the login from what refuses it.
    !matches!(control.action("success"), Action::Ok | Action::Ignore)
        || match result {
            Some(result) => control.action(result) != Action::Ignore,
            None => control.actions().any(is_failure),
        }
}

/// The result of the rules so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Impression {
    Undefined,
    Good,
    Bad,
}

/// Whether a stack can succeed. `without`: a rule that is not taken to fail.
fn succeeds(rules: &[Rule], failures: &[Option<ReturnValues>], without: Option<usize>) -> bool {
    let mut seen: Vec<Vec<Impression>> = vec![Vec::new(); rules.len()];
    let mut left = vec![(0, Impression::Undefined)];
    while let Some((at, impression)) = left.pop() {
        let (Some(rule), Some(seen)) = (rules.get(at), seen.get_mut(at)) else {
            if impression == Impression::Good {
                return true;
            }
            continue;
        };
        if seen.contains(&impression) {
            continue;
        }
        seen.push(impression);
        let failure = failures.get(at).copied().flatten().filter(|_| without != Some(at));
        let actions: Vec<Action> = match (&rule.kind, failure) {
            (RuleKind::Substack, _) => vec![Action::Ignore],
            (RuleKind::Unusable(_), _) if without == Some(at) => vec![Action::Ok],
            (RuleKind::Module(_), None) if without == Some(at) && jump_too_far(rules, at).is_some() => {
                vec![Action::Done]
            }
            (RuleKind::Module(_), None) if without == Some(at) && refuses(rule) => vec![Action::Ok],
            (RuleKind::Unusable(_), _) => vec![Action::Bad],
            (RuleKind::Module(module), Some(results)) => {
                let action = |result: &&str| match module.control.action(result) {
                    // The stack returns that result, unless it is the one that says nothing.
                    Action::Ok | Action::Done if *result != "ignore" => Action::Bad,
                    action => action,
                };
                results.iter().map(action).collect()
            }
            (RuleKind::Module(module), None) => module.control.actions().collect(),
        };
        for action in actions {
            left.push(after(rules, at, impression, action));
            if action == Action::Reset {
                left.push((at.saturating_add(1), Impression::Undefined));
            }
        }
    }
    false
}

/// The state after an action.
fn after(rules: &[Rule], at: usize, impression: Impression, action: Action) -> (usize, Impression) {
    let next = at.saturating_add(1);
    let good = if impression == Impression::Bad { impression } else { Impression::Good };
    match action {
        Action::Ignore => (next, impression),
        Action::Done if good == Impression::Good => (end(rules, at), good),
        Action::Ok | Action::Done => (next, good),
        Action::Bad => (next, Impression::Bad),
        Action::Die => (end(rules, at), Impression::Bad),
        // To the impression at the beginning of the substack, which is not recorded here: this, or undefined.
        Action::Reset => (next, Impression::Good),
        Action::Jump(count) => {
            jump(rules, at, count).map_or((next, Impression::Bad), |next| (next, impression))
        }
    }
}

/// How many rules a module that succeeds skips, if there are fewer.
pub(crate) fn jump_too_far(rules: &[Rule], at: usize) -> Option<usize> {
    let RuleKind::Module(module) = &rules.get(at)?.kind else { return None };
    let Action::Jump(count) = module.control.action("success") else { return None };
    jump(rules, at, count).is_none().then_some(count)
}

fn level(rules: &[Rule], at: usize) -> Option<usize> {
    rules.get(at).map(|rule| rule.level)
}

/// The rule after the substack of this one, or the end.
fn end(rules: &[Rule], at: usize) -> usize {
    let own = level(rules, at).unwrap_or_default();
    let rest = rules.iter().enumerate().skip(at);
    if own == 0 {
        return rules.len();
    }
    rest.into_iter().find(|(_, rule)| rule.level < own).map_or(rules.len(), |(at, _)| at)
}

/// The rule after `count` others of the same substack, each with the substack that it begins. `None` if there are fewer, and
/// for a jump of none, which libpam takes for an error.
fn jump(rules: &[Rule], at: usize, count: usize) -> Option<usize> {
    let own = level(rules, at)?;
    let mut at = at;
    for _ in 0..count {
        at = at.saturating_add(1);
        level(rules, at).filter(|level| *level >= own)?;
        while level(rules, at.saturating_add(1)).is_some_and(|level| level > own) {
            at = at.saturating_add(1);
        }
    }
    (count > 0).then(|| at.saturating_add(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs;

    use super::{ReturnValues, SshdStacks, StackOutcome, outcome};
    use crate::check::pam_config::{ModuleType, RuleKind, stack};

    const PERMIT: &str = "account required pam_permit.so\n";

    /// What becomes of the account stack of these files, where `pam_deny` and `pam_gone` fail.
    fn account(files: &[(&str, &str)]) -> &'static str {
        let root = std::env::temp_dir().join(format!("eic-keys-stack-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("etc/pam.d")).unwrap();
        for (name, text) in files {
            fs::write(root.join("etc/pam.d").join(name), text).unwrap();
        }
        let stack = stack(&root, "sshd", ModuleType::Account);
        fs::remove_dir_all(&root).unwrap();
        let failures: Vec<Option<ReturnValues>> = stack
            .rules
            .iter()
            .map(|rule| match &rule.kind {
                RuleKind::Module(module) => match module.name() {
                    "pam_deny.so" => Some(&["auth_err"][..]),
                    name if name.starts_with("pam_gone.so") || name.ends_with('\r') => {
                        Some(&["module_unknown"][..])
                    }
                    _ => None,
                },
                _ => None,
            })
            .collect();
        match outcome(&stack.rules, &failures) {
            _ if stack.broken.is_some() || !stack.exists => "does not start",
            StackOutcome::CanSucceed => "open",
            StackOutcome::Refuses(_) => "refuses",
        }
    }

    #[test]
    fn messages_that_can_be_of_a_refusal() {
        let root = std::env::temp_dir().join(format!("eic-keys-refusers-{}", std::process::id()));
        fs::create_dir_all(root.join("etc/pam.d")).unwrap();
        let text = "auth required pam_tally2.so\naccount required pam_time.so\n\
                    account [success=ok ignore=ignore authinfo_unavail=ignore default=bad] pam_ldap.so\n\
                    account [success=1 default=ignore] pam_sss.so\naccount requisite pam_deny.so\n\
                    session [success=ok default=ignore] pam_ldap.so\nsession optional pam_exec.so /x\n\
                    session required pam_mount.so\nsession optional pam_lastlog.so\nsession required /opt/pam_gone.so\n";
        fs::write(root.join("etc/pam.d/sshd"), text).unwrap();
        let stacks = SshdStacks::read(&root);
        fs::remove_dir_all(&root).unwrap();
        for (message, expected) in [
            ("PAM unable to dlopen(pam_tally2.so): /lib/security/pam_tally2.so: cannot open shared", false),
            ("PAM adding faulty module: pam_lastlog.so", false),
            ("PAM unable to dlopen(/opt/pam_gone.so): no such file", true),
            ("PAM adding faulty module: pam_other.so", true),
            ("pam_ldap(sshd:session): error opening connection to nslcd: No such file", false),
            ("pam_ldap(sshd:account): error opening connection to nslcd: No such file", false),
            ("pam_ldap(sshd:account): Access denied; user=alice", true),
            ("pam_exec(sshd:session): /x failed: exit code 1", false),
            ("pam_mount(sshd:session): error", true),
            ("pam_time(sshd:account): x", true),
            ("pam_sss(sshd:account): Access denied for user alice: 6", true),
            ("pam_other(sshd:account): x", true),
            ("Accepted publickey for alice", true),
        ] {
            assert_eq!(stacks.can_refuse(message), expected, "{message}");
        }
    }

    /// As libpam 1.5.2 does, with `pam_permit` for all other modules.
    #[test]
    fn stacks_that_libpam_ran() {
        for (line, expected) in [
            ("", "open"),
            ("account required pam_gone.so", "refuses"),
            // The hyphen is about the log only.
            ("-account required pam_gone.so", "refuses"),
            ("account optional pam_gone.so", "open"),
            ("account sufficient pam_gone.so", "open"),
            ("account [default=ignore] pam_gone.so", "open"),
            ("account [success=ok] pam_gone.so", "refuses"),
            ("account [success=ok ignore=ignore module_unknown=ignore default=bad] pam_gone.so", "open"),
            ("auth required pam_gone.so", "open"),
            ("@include none", "does not start"),
            ("@include s\r", "does not start"),
            ("account include none", "refuses"),
            ("account substack none", "refuses"),
            ("auth include none", "open"),
            ("account required", "refuses"),
            ("account", "refuses"),
            ("acount required pam_permit.so", "open"),
            ("sshd account required pam_permit.so", "open"),
            ("account requird pam_permit.so", "refuses"),
            ("auth requird pam_permit.so", "open"),
            ("account [success=foo] pam_permit.so", "refuses"),
            ("account [sucess=ok default=ignore] pam_permit.so", "refuses"),
            ("account [ success = ok default = ignore ] pam_deny.so", "open"),
            ("account required \\\n pam_deny.so", "refuses"),
            ("account required pam_permit.so # \r", "open"),
            ("# x\r\n\r", "open"),
            ("account required pam_permit.so\r", "refuses"),
            ("account required pam_permit.so debug\r", "open"),
            ("ACCOUNT Required pam_deny.so", "refuses"),
            ("account required pam_deny.so\naccount sufficient pam_permit.so", "refuses"),
            ("account substack die", "refuses"),
            ("account [default=die] pam_deny.so", "refuses"),
            ("account [default=ok] pam_deny.so", "refuses"),
            ("account [auth_err=done default=ignore] pam_deny.so", "refuses"),
        ] {
            let text = format!("{PERMIT}{line}\n");
            let files = [("sshd", text.as_str()), ("s", PERMIT), ("die", "account requisite pam_deny.so\n")];
            assert_eq!(account(&files), expected, "{line}");
        }
        for (text, expected) in [
            ("account optional pam_gone.so\n", "refuses"),
            ("account [success=1 default=ignore] pam_x.so\naccount requisite pam_deny.so\n", "refuses"),
            (
                "account [success=1 default=ignore] pam_x.so\naccount requisite pam_deny.so\naccount required pam_permit.so\n",
                "open",
            ),
            // Debian's common-account with another line behind it.
            (
                "account [success=1 new_authtok_reqd=done default=ignore] pam_x.so\naccount requisite pam_deny.so\n\
                 account required pam_permit.so\naccount required pam_gone.so\n",
                "refuses",
            ),
            ("account [success=done default=ignore] pam_x.so\naccount required pam_gone.so\n", "open"),
            ("account [success=5 default=bad] pam_x.so\n", "refuses"),
            ("account [success=0 default=ignore] pam_x.so\n", "refuses"),
            ("account sufficient pam_x.so\naccount required pam_deny.so\n", "open"),
            ("@include enough\naccount required pam_deny.so\n", "open"),
            ("account include enough\naccount required pam_deny.so\n", "open"),
            ("account substack enough\naccount required pam_deny.so\n", "refuses"),
            ("account substack enough\n", "open"),
            (
                "account [success=1 default=ignore] pam_x.so\naccount substack die\naccount required pam_permit.so\n",
                "open",
            ),
            (
                "account required pam_deny.so\naccount [success=reset default=ignore] pam_x.so\naccount required pam_permit.so\n",
                "open",
            ),
            ("\u{feff}account required pam_permit.so\n", "refuses"),
        ] {
            let files = [
                ("sshd", text),
                ("enough", "account sufficient pam_x.so\naccount required pam_deny.so\n"),
                ("die", "account requisite pam_deny.so\n"),
            ];
            assert_eq!(account(&files), expected, "{text}");
        }
        assert_eq!(account(&[("sshd", ""), ("other", PERMIT)]), "open");
        assert_eq!(account(&[("other", PERMIT)]), "open");
        assert_eq!(account(&[("sshd", PERMIT), ("other", "account required pam_gone.so\n")]), "open");
        assert_eq!(account(&[("sshd", PERMIT), ("other", "@include none\n")]), "does not start");
        assert_eq!(account(&[]), "does not start");
    }
}
