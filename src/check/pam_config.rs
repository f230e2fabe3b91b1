//! The PAM modules of sshd (pam.d(5)), read as libpam reads them.
//!
//! A line with an error is not skipped: libpam fails where the line is, or does not start.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::config_tree::Origin;
use crate::files;
use crate::limits;

/// The types of modules that count for a login with a key. `auth` does only if sshd requires keyboard-interactive authentication, too,
/// and `password` never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModuleType {
    Auth,
    Account,
    Session,
}

impl ModuleType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Account => "account",
            Self::Session => "session",
        }
    }
}

/// A rule of a stack, which is a line of a file.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) origin: Origin,
    /// How many substacks it is in.
    pub(crate) level: usize,
    pub(crate) kind: RuleKind,
}

#[derive(Clone, Debug)]
pub(crate) enum RuleKind {
    /// The line of a substack, whose rules follow.
    Substack,
    /// libpam refuses here, for this reason.
    Unusable(String),
    Module(Module),
}

#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// As written: a name, or an absolute path.
    pub(crate) path: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) control: Control,
}

impl Module {
    /// The name without a directory, such as `pam_unix.so`.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// What a return value of a module does to the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Ignore,
    Ok,
    Done,
    Bad,
    Die,
    Reset,
    /// Skips so many rules.
    Jump(usize),
}

/// The actions of a rule, by the names of return values.
#[derive(Clone, Debug)]
pub(crate) struct Control(Vec<(String, Action)>);

impl Control {
    fn parse(word: &str) -> Option<Self> {
        use Action::{Bad, Die, Done, Ignore, Ok};
        let of = |actions: [(&str, Action); 4]| {
            Some(Self(actions.into_iter().map(|(name, action)| (name.to_owned(), action)).collect()))
        };
        let three = |good, default| {
            [("success", good), ("new_authtok_reqd", good), ("ignore", Ignore), ("default", default)]
        };
        if let Some(list) = word.strip_prefix('[') {
            return Self::of_list(list);
        }
        match word.to_ascii_lowercase().as_str() {
            "required" => of(three(Ok, Bad)),
            "requisite" => of(three(Ok, Die)),
            "optional" => of(three(Ok, Ignore)),
            "sufficient" => of(three(Done, Ignore)),
            _ => None,
        }
    }

    /// `success=1 default=ignore`, with blanks around `=` or not.
    fn of_list(list: &str) -> Option<Self> {
        let list = list.replace('=', " = ");
        let words: Vec<_> = list.split_whitespace().collect();
        let mut actions: Vec<(String, Action)> = Vec::new();
        for pair in words.chunks(3) {
            let [name, "=", action] = pair else { return None };
            if !RETURN_VALUES.split(' ').any(|known| known == *name) {
                return None;
            }
            let action = match *action {
                "ignore" => Action::Ignore,
                "ok" => Action::Ok,
                "done" => Action::Done,
                "bad" => Action::Bad,
                "die" => Action::Die,
                "reset" => Action::Reset,
                number => Action::Jump(number.parse().ok()?),
            };
            actions.retain(|(other, _)| other != name);
            actions.push(((*name).to_owned(), action));
        }
        Some(Self(actions))
    }

    /// The action for a result.
    pub(crate) fn action(&self, result: &str) -> Action {
        let of = |name: &str| self.0.iter().find(|(result, _)| result == name);
        of(result).or_else(|| of("default")).map_or(Action::Bad, |(_, action)| *action)
    }

    /// The actions for the results of a module for a user whose password need not be changed, as `user.password` finds out.
    pub(crate) fn actions(&self) -> impl Iterator<Item = Action> {
        let possible = self.0.iter().filter(|(result, _)| result != "new_authtok_reqd");
        possible.map(|(_, action)| *action).chain([self.action("default")])
    }
}

/// The names of the results in a list of actions.
const RETURN_VALUES: &str = "success open_err symbol_err service_err system_err buf_err perm_denied auth_err cred_insufficient \
    authinfo_unavail user_unknown maxtries new_authtok_reqd acct_expired session_err cred_unavail \
    cred_expired cred_err no_module_data conv_err authtok_err authtok_recover_err authtok_lock_busy \
    authtok_disable_aging try_again ignore abort authtok_expired module_unknown bad_item conv_again \
    incomplete default";

/// The stack of one type, and what was seen on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stack {
    pub(crate) rules: Vec<Rule>,
    /// The line with which libpam does not start, and why.
    pub(crate) broken: Option<(Origin, String)>,
    /// The files in which lines end with a carriage return, which libpam takes for a part of the last word.
    pub(crate) carriage_returns: Vec<PathBuf>,
    /// Whether there is a file of the service, or of `other`.
    pub(crate) exists: bool,
    /// Whether there is a file of the service.
    pub(crate) has_own_file: bool,
    /// A file that is not known, and why.
    pub(crate) unreadable: Option<String>,
}

/// The stack of a service. `other` is the service of those without a stack of this type.
pub(crate) fn stack(root: &Path, service: &str, module_type: ModuleType) -> Stack {
    let mut reader = Reader { root, module_type, open: Vec::new(), stack: Stack::default() };
    let exists = reader.read(service, false, 0).is_ok();
    let rules = std::mem::take(&mut reader.stack.rules);
    let has_other = reader.read("other", false, 0).is_ok();
    let mut stack = reader.stack;
    if !rules.is_empty() {
        stack.rules = rules;
    }
    stack.exists = exists || has_other;
    stack.has_own_file = exists;
    stack
}

/// The modules of one type that sshd uses, with their arguments. Empty if there is no PAM service file.
pub(crate) fn modules(root: &Path, module_type: ModuleType) -> Vec<String> {
    let rules = stack(root, "sshd", module_type).rules;
    let words =
        |module: &Module| [vec![module.name().to_owned()], module.arguments.clone()].concat().join(" ");
    modules_of(&rules).map(words).collect()
}

/// The modules of rules.
pub(crate) fn modules_of(rules: &[Rule]) -> impl Iterator<Item = &Module> {
    rules.iter().filter_map(|rule| match &rule.kind {
        RuleKind::Module(module) => Some(module),
        RuleKind::Substack | RuleKind::Unusable(_) => None,
    })
}

struct Reader<'a> {
    root: &'a Path,
    module_type: ModuleType,
    /// The files that are being read.
    open: Vec<PathBuf>,
    stack: Stack,
}

impl Reader<'_> {
    /// Reads a file. `typed`: for a line of this type, not for `@include`. An error is what makes libpam refuse.
    fn read(&mut self, name: &str, typed: bool, level: usize) -> Result<(), &'static str> {
        let places = ["etc/pam.d", "usr/lib/pam.d", "usr/share/pam.d"];
        let mut paths = match name.strip_prefix('/') {
            Some(path) => vec![PathBuf::from(path)],
            None => places.map(|place| Path::new(place).join(name)).to_vec(),
        };
        paths.retain(|path| self.root.join(path).exists());
        let path = paths.first().ok_or("which does not exist")?;
        let file = Path::new("/").join(path);
        if self.open.contains(&file) {
            return Err("and so itself, without end");
        }
        let path = self.root.join(path);
        if self.open.len() == limits::PAM_INCLUDES {
            let reason = format!("{} is included more than {} deep", file.display(), limits::PAM_INCLUDES);
            self.stack.unreadable = Some(reason);
            return Ok(());
        }
        let text = match files::read_text(&path, limits::SYSTEM_FILE) {
            Ok(text) => text,
            Err(_)
                if !self.open.is_empty()
                    && fs::metadata(&path).is_ok_and(|file| file.file_type().is_fifo()) =>
            {
                return Err("a pipe, at which PAM waits for ever");
            }
            Err(error) => {
                self.stack.unreadable = Some(format!("{}: {error}", file.display()));
                return Ok(());
            }
        };
        if text.contains("\r\n") && !self.stack.carriage_returns.contains(&file) {
            self.stack.carriage_returns.push(file.clone());
        }
        self.open.push(file.clone());
        for (line, text) in assembled(&text) {
            self.line(&words(&text), &Origin { path: file.clone(), line }, typed, level);
        }
        self.open.pop();
        Ok(())
    }

    fn line(&mut self, words: &[String], origin: &Origin, typed: bool, level: usize) {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let wrong = |name: &str, why: &str| format!("it includes {name}, {why}");
        let [module_type, rest @ ..] = words.as_slice() else { return };
        if module_type.eq_ignore_ascii_case("@include") {
            let Some(name) = rest.first() else { return };
            let Err(why) = self.read(name, typed, level) else { return };
            if typed {
                self.push(origin, level, RuleKind::Unusable(wrong(name, why)));
            } else {
                self.stack.broken.get_or_insert_with(|| (origin.clone(), wrong(name, why)));
            }
            return;
        }
        // The hyphen is about the log only: a missing module fails all the same.
        if !module_type.strip_prefix('-').unwrap_or(module_type).eq_ignore_ascii_case(self.module_type.name())
        {
            return;
        }
        let [control, name, arguments @ ..] = rest else {
            self.push(origin, level, RuleKind::Unusable("it has no module".to_owned()));
            return;
        };
        let is_substack = control.eq_ignore_ascii_case("substack");
        if is_substack || control.eq_ignore_ascii_case("include") {
            let mut inner = level;
            if is_substack {
                self.push(origin, level, RuleKind::Substack);
                inner = level.saturating_add(1);
            }
            if let Err(why) = self.read(name, true, inner) {
                self.push(origin, level, RuleKind::Unusable(wrong(name, why)));
            }
            return;
        }
        let without_bracket = |word: &str| word.strip_prefix('[').unwrap_or(word).to_owned();
        let kind = match Control::parse(control) {
            Some(control) => RuleKind::Module(Module {
                path: (*name).to_owned(),
                arguments: arguments.iter().map(|word| without_bracket(word)).collect(),
                control,
            }),
            None => RuleKind::Unusable(format!(
                "its control is {}, which PAM does not know",
                without_bracket(control)
            )),
        };
        self.push(origin, level, kind);
    }

    fn push(&mut self, origin: &Origin, level: usize, kind: RuleKind) {
        self.stack.rules.push(Rule { origin: origin.clone(), level, kind });
    }
}

/// The lines with their numbers, without comments; those that end with a backslash are joined with the next one.
fn assembled(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (line, number) in text.split('\n').zip(1_usize..) {
        let line = line.split('#').next().unwrap_or_default().trim_end_matches([' ', '\t']);
        let (line, goes_on) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        match lines.last_mut().filter(|_| open) {
            Some((_, before)) => {
                before.push(' ');
                before.push_str(line);
            }
            None => lines.push((number, line.to_owned())),
        }
        open = goes_on;
    }
    lines
}

/// The words of a line. One in brackets can contain blanks, and keeps its first bracket.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start_matches([' ', '\t']);
    while !rest.is_empty() {
        let mut word = String::new();
        let mut escaped = false;
        let bracket = rest.starts_with('[');
        let mut end = rest.len();
        for (at, char) in rest.char_indices() {
            let ends = if bracket { char == ']' && !escaped } else { matches!(char, ' ' | '\t') };
            if ends {
                end = at;
                break;
            }
            if bracket && char == ']' {
                word.pop();
            }
            escaped = char == '\\';
            word.push(char);
        }
        words.push(word);
        let after = rest.get(end..).unwrap_or_default();
        let after = if bracket { after.strip_prefix(']').unwrap_or(after) } else { after };
        rest = after.trim_start_matches([' ', '\t']);
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use std::fs;

    use super::{ModuleType, modules, stack, words};
    use crate::limits;

    #[test]
    fn included_files_are_read() {
        let root = std::env::temp_dir().join(format!("eic-keys-pam-{}", std::process::id()));
        fs::create_dir_all(root.join("etc/pam.d")).unwrap();
        let files = [
            (
                "sshd",
                "# account required pam_no.so\nauth required pam_a.so\n@include common\naccount include password-auth\n",
            ),
            (
                "common",
                "-account [success=1 new_authtok_reqd=done] /lib/security/pam_unix.so x\n@include common\n",
            ),
            ("password-auth", "account\trequired\tpam_access.so\n"),
        ];
        for (name, text) in files {
            fs::write(root.join("etc/pam.d").join(name), text).unwrap();
        }
        let mut found = modules(&root, ModuleType::Account);
        found.dedup();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, ["pam_unix.so x", "pam_access.so"]);
    }

    #[test]
    fn the_deepest_includes() {
        let root = std::env::temp_dir().join(format!("eic-keys-pam-deep-{}", std::process::id()));
        let directory = root.join("etc/pam.d");
        fs::create_dir_all(&directory).unwrap();
        // What is read of files of which each includes the next one.
        let read = |files: usize| {
            for number in 1..files {
                fs::write(directory.join(number.to_string()), format!("@include {}\n", number + 1)).unwrap();
            }
            fs::write(directory.join(files.to_string()), "account required pam_last.so\n").unwrap();
            let stack = stack(&root, "1", ModuleType::Account);
            (stack.rules.len(), stack.unreadable)
        };
        let most = limits::PAM_INCLUDES;
        let (deepest, deeper) = (read(most), read(most + 1));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(deepest, (1, None));
        assert_eq!(deeper, (0, Some(format!("/etc/pam.d/{} is included more than {most} deep", most + 1))));
    }

    #[test]
    fn words_in_brackets() {
        assert_eq!(
            words("account  [a=1 b=ok]\tpam_x.so [y \\] z] w\r"),
            ["account", "[a=1 b=ok", "pam_x.so", "[y ] z", "w\r"]
        );
        assert_eq!(words(" \t"), Vec::<String>::new());
        assert_eq!(words("[a"), ["[a"]);
    }
}
