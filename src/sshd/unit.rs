//! The units of sshd: their files, the command line with which systemd would start sshd now, and what systemctl shows.
//!
//! A running sshd keeps the options that it was started with. Sources: systemd.service(5), systemd.exec(5),
//! systemd.unit(5).

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::command_line::split_words;
use crate::config_tree::ConfigTree;
use crate::lists;

/// The units of sshd, without a suffix, and the templates for one connection.
pub(super) const UNIT_NAMES: [&str; 4] = ["ssh", "sshd", "ssh@", "sshd@"];

/// The directories of systemd units, highest priority first.
pub(crate) const UNITS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// The value of a property in what `systemctl show` printed of one unit.
pub(crate) fn property<'a>(shown: &'a str, name: &str) -> Option<&'a str> {
    shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// A command line of sshd, and the files that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartLine {
    /// The words, separated by blanks, as in the title of a process.
    pub(crate) line: String,
    /// The files of the unit, and the environment files whose variables the line has.
    pub(crate) files: Vec<PathBuf>,
}

/// The settings of the unit that determine the line.
#[derive(Default)]
struct Service {
    commands: Vec<String>,
    /// The last one of a name counts.
    variables: Vec<(String, String)>,
    environment_files: Vec<PathBuf>,
}

impl StartLine {
    /// The line of the unit `name`, without `.service`. `None` if it cannot be determined: the unit does not start sshd by one command, or
    /// the line has specifiers.
    pub(crate) fn of_unit(tree: &ConfigTree, name: &str) -> Option<Self> {
        let mut files = unit_files(tree, name);
        if files.iter().any(|file| tree.read(file).is_err()) {
            return None;
        }
        let mut service = Service::default();
        for line in service_lines(tree, &files) {
            service.read(&line);
        }
        let [command] = service.commands.as_slice() else { return None };
        for file in std::mem::take(&mut service.environment_files) {
            let lines = tree.read(&file).map(|bytes| numbered_lines(&bytes)).unwrap_or_default();
            for (_, line) in lines {
                let Some((name, value)) = line.split_once('=') else { continue };
                service.variables.push((name.trim().to_owned(), unquoted(value.trim()).to_owned()));
                if has_variable(command, name.trim()) && !files.contains(&file) {
                    files.push(file.clone());
                }
            }
        }
        let command = command.trim_start_matches(['@', '-', '+', '!']);
        let words = split_words(command);
        let words = words.iter().map(|word| service.expand(word)).collect::<Option<Vec<_>>>()?.concat();
        let is_sshd = Path::new(words.first()?).file_name() == Some("sshd".as_ref());
        is_sshd.then(|| Self { line: words.join(" "), files })
    }
}

impl Service {
    fn read(&mut self, line: &UnitLine) {
        let Some((setting, value)) = line.setting() else { return };
        match setting {
            "ExecStart" => self.commands.push(value.to_owned()),
            "Environment" => {
                let pairs = split_words(value).into_iter();
                let pairs = pairs.filter_map(|pair| {
                    pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
                });
                self.variables.extend(pairs);
            }
            "EnvironmentFile" => {
                self.environment_files.push(value.strip_prefix('-').unwrap_or(value).into());
            }
            _ => {}
        }
    }

    /// A word of the command. `$NAME` as a whole word becomes the words of its value, `${NAME}` the value.
    fn expand(&self, word: &str) -> Option<Vec<String>> {
        let value = |name: &str| {
            let last = self.variables.iter().rfind(|(other, _)| other == name);
            last.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        if let Some(name) = word.strip_prefix('$').filter(|name| !name.starts_with(['{', '$'])) {
            return Some(split_words(value(name)));
        }
        let mut parts = word.split("${");
        let mut expanded = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}')?;
            expanded.extend([value(name), rest]);
        }
        let percent = expanded.replace("%%", "");
        (!percent.contains('%')).then(|| vec![expanded.replace("%%", "%").replace("$$", "$")])
    }
}

/// The lines of a unit or environment file, with continuation lines joined, without comments.
pub(super) fn numbered_lines(bytes: &[u8]) -> Vec<(usize, String)> {
    let text = String::from_utf8_lossy(bytes);
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (at, line) in text.lines().enumerate() {
        let (part, more) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match found.last_mut().filter(|_| continues) {
            Some((_, start)) => {
                start.push(' ');
                start.push_str(part);
            }
            None => found.push((at.saturating_add(1), part.trim_start().to_owned())),
        }
        continues = more;
    }
    found.retain(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']));
    found
}

/// A line of a unit or environment file.
#[derive(Clone, Debug)]
pub(crate) struct UnitLine {
    pub(super) file: PathBuf,
    pub(super) number: usize,
    pub(crate) text: String,
}

impl UnitLine {
    /// The name and the value of a setting.
    pub(crate) fn setting(&self) -> Option<(&str, &str)> {
        let (name, value) = self.text.split_once('=')?;
        Some((name.trim_end(), value.trim()))
    }

    /// `/path line 7`
    pub(crate) fn place(&self) -> String {
        format!("{} line {}", self.file.display(), self.number)
    }
}

/// The settings in the section `[Service]` of a file, also those without a value.
pub(crate) fn settings_of(tree: &ConfigTree, file: &Path) -> Vec<UnitLine> {
    settings_in(tree, file, "[Service]")
}

/// The settings in a section of a file, also those without a value.
pub(crate) fn settings_in(tree: &ConfigTree, file: &Path, section: &str) -> Vec<UnitLine> {
    let mut in_section = false;
    let lines = numbered_lines(&tree.read(file).unwrap_or_default()).into_iter();
    let lines = lines.map(|(number, text)| UnitLine { file: file.to_owned(), number, text });
    let of_section = lines.filter(|line| {
        if line.text.starts_with('[') {
            in_section = line.text.trim_end() == section;
        }
        in_section && line.setting().is_some()
    });
    of_section.collect()
}

/// The settings in the section `[Service]` of a unit that count. An empty value removes those of that name before it.
pub(crate) fn service_lines(tree: &ConfigTree, files: &[PathBuf]) -> Vec<UnitLine> {
    let mut found: Vec<UnitLine> = Vec::new();
    for line in files.iter().flat_map(|file| settings_of(tree, file)) {
        match line.setting() {
            None => {}
            Some((name, "")) => {
                found.retain(|other| other.setting().is_none_or(|(other, _)| other != name));
            }
            Some(_) => found.push(line),
        }
    }
    found
}

/// Whether a command has a variable, as a word or in braces.
pub(super) fn has_variable(command: &str, name: &str) -> bool {
    let mut words = command.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    !name.is_empty()
        && (command.contains(&format!("${{{name}}}"))
            || words.any(|word| word.strip_prefix('$') == Some(name)))
}

/// The files of a unit: the one with its name, and then its drop-ins. A file hides those with the same name in the directories after it.
pub(crate) fn unit_files(tree: &ConfigTree, name: &str) -> Vec<PathBuf> {
    let file = format!("{name}.service");
    let is_alias = |other: &str| {
        let link = |directory| fs::read_link(tree.locate(Path::new(&format!("{directory}/{other}.service"))));
        UNITS
            .iter()
            .any(|directory| link(*directory).is_ok_and(|target| target.file_name() == Some(file.as_ref())))
    };
    let names = UNIT_NAMES.into_iter().filter(|other| *other == name || is_alias(other));
    let names: Vec<_> = names.collect();
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for directory in UNITS.iter().rev() {
        for name in &names {
            let found = tree.glob(format!("{directory}/{name}.service.d/*.conf").as_bytes(), 100);
            for path in found {
                drop_ins.retain(|other| other.file_name() != path.file_name());
                lists::insert(&mut drop_ins, path, |one, other| one.file_name().cmp(&other.file_name()));
            }
        }
    }
    let mut all = UNITS.iter().map(|directory| PathBuf::from(format!("{directory}/{file}")));
    let first = all.find(|path| tree.locate(path).is_file());
    first.into_iter().chain(drop_ins).collect()
}

/// A value of an environment file, without the quotes around all of it.
fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_unit() {
        let root = std::env::temp_dir().join(format!("eic-keys-unit-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let tree = ConfigTree::new(&root);
        let line = || StartLine::of_unit(&tree, "ssh");
        assert_eq!(line(), None);
        let service = "usr/lib/systemd/system/ssh.service";
        write(
            service,
            "[Unit]\nExecStart=/no\n[Service]\nEnvironmentFile=-/etc/default/ssh\n\
             ExecStartPre=/usr/sbin/sshd -t\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n",
        );
        assert_eq!(line().unwrap().line, "/usr/sbin/sshd -D");
        for (value, expected) in [
            ("", ""),
            ("-4", " -4"),
            ("\"-4 -p 2222\"", " -4 -p 2222"),
            ("'-o \"AllowUsers a b\" -e'", " -o AllowUsers a b -e"),
            ("-o UsePAM=no  # no comment", " -o UsePAM=no # no comment"),
        ] {
            write("etc/default/ssh", &format!("# SSHD_OPTS=-x\nSSHD_OPTS={value}\nOTHER=1\n"));
            assert_eq!(line().unwrap().line, format!("/usr/sbin/sshd -D{expected}"), "{value}");
        }
        let last = line().unwrap().files.pop().unwrap();
        assert_eq!(last, Path::new("/etc/default/ssh"));
        // A drop-in of /etc, one that it hides, and one of an alias.
        let override_ = "systemd/system/ssh.service.d/a.conf";
        write(
            &format!("etc/{override_}"),
            "[Service]\nExecStart=\nExecStart=-/usr/sbin/sshd -D -o A=%%u ${X}1\n",
        );
        write(&format!("usr/lib/{override_}"), "[Service]\nExecStart=/never\n");
        assert_eq!(line().unwrap().line, "/usr/sbin/sshd -D -o A=%u 1");
        write("etc/systemd/system/sshd.service.d/b.conf", "[Service]\nEnvironment='X=1 2' Y=3\n");
        assert_eq!(line().unwrap().line, "/usr/sbin/sshd -D -o A=%u 1");
        std::os::unix::fs::symlink(
            "/lib/systemd/system/ssh.service",
            root.join("etc/systemd/system/sshd.service"),
        )
        .unwrap();
        assert_eq!(line().unwrap().line, "/usr/sbin/sshd -D -o A=%u 1 21");
        // Not known.
        for command in ["/bin/sh -c sshd", "/usr/sbin/sshd -D %i", "/usr/sbin/sshd\nExecStart=/usr/sbin/sshd"]
        {
            write(service, &format!("[Service]\nExecStart={command}\n"));
            fs::remove_dir_all(root.join("etc/systemd")).unwrap_or_default();
            assert_eq!(line(), None, "{command}");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
