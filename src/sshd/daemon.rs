//! The sshd that runs: whether its command line overrides its files, and how it is made to read them again.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{run::run, source::Source};

/// sshd on a system with or without systemd.
pub(crate) struct Daemon<'a> {
    pub(crate) source: &'a Source,
    /// The words that run systemctl.
    pub(crate) systemctl: &'a [OsString],
    /// How long an answer of it may take.
    pub(crate) patience: Duration,
}

/// Debian and Ubuntu call it ssh, the others sshd; one may be an alias of the other.
pub(crate) const SERVICES: [&str; 2] = ["ssh.service", "sshd.service"];
pub(crate) const SOCKETS: [&str; 2] = ["ssh.socket", "sshd.socket"];

/// Where systemd looks for units, the strongest first.
const UNITS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Written anew whenever sshd starts, and reads its files again.
pub(crate) const PID_FILE: &str = "/run/sshd.pid";

/// A reload ends when sshd was told; the unit's own `sshd -t` comes before.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

impl Daemon<'_> {
    /// Why changes to the main file would not count for the sshd that runs, or that its unit would start, and
    /// what to do.
    pub(crate) fn overridden(&self, main: &Path) -> Option<String> {
        let mut lines: Vec<String> = self.running().map(|(_, line)| line).into_iter().collect();
        if self.booted() {
            let arguments = ["show", "--property=ExecStart"].iter().chain(&SERVICES).map(OsStr::new);
            let shown = run(self.systemctl, &arguments.collect::<Vec<_>>(), self.patience).ok();
            lines.extend(shown.map(|ran| String::from_utf8_lossy(&ran.stdout).into_owned()));
        } else {
            lines.extend(self.unit_lines().into_iter().map(|(_, _, line)| line));
        }
        let lines: Vec<String> = lines.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        if lines.iter().any(|line| sets_command(line)) {
            let place = self.unit_lines().into_iter().find(|(_, _, line)| sets_command(line));
            let (place, remedy) = match place {
                Some((path, line, _)) => (
                    format!("{} line {line} has", path.display()),
                    "take that out (AWS's package ec2-instance-connect puts one there: remove it)",
                ),
                None => (
                    "the command line of the running sshd has".into(),
                    "find what starts it so, and take that out",
                ),
            };
            return Some(format!(
                "{place} -o AuthorizedKeysCommand, which beats every file: {remedy}, \
                 then systemctl daemon-reload, restart sshd, and run --enable again"
            ));
        }
        let other = lines.iter().find_map(|line| other_config(line, main))?;
        Some(format!("sshd runs with -f {other}, not with {}", main.display()))
    }

    /// Makes the running sshd read its files again. `Ok` says what was done, or is to be done.
    pub(super) fn reload(&self) -> Result<String, String> {
        if !self.booted() {
            return Ok("No systemd runs here: sshd reads the change when it is started next, \
                       or at kill -HUP \"$(cat /run/sshd.pid)\"."
                .into());
        }
        if let Some(service) = self.first_active(&SERVICES)? {
            if let Some(socket) = self.first_active(&SOCKETS)? {
                // An sshd that was handed its socket does not get it back when it starts itself anew: it would end, sooner or
                // later, and fail connections on its way. Stopped, it leaves them to the unit's socket, which starts another
                // one; sessions live on (KillMode=process).
                let mode = self.kill_mode(service)?;
                if !matches!(mode.as_str(), "process" | "none") {
                    return Ok(format!(
                        "{service} was left alone: it has to be stopped, so that {socket} starts it with the change, but with its \
                         KillMode={mode} that would end the sessions. Run systemctl stop {service} when nobody is logged in."
                    ));
                }
                self.systemctl(&["stop", service])?;
                return Ok(format!("{service} was stopped; {socket} starts it at the next connection."));
            }
            self.systemctl(&["reload", service])?;
            // A reload that sshd did not survive has to be known now.
            return match self.first_active(&[service])? {
                Some(_) => Ok(format!("{service} was reloaded.")),
                None => Err(format!("{service} did not survive the reload")),
            };
        }
        Ok(match self.first_active(&SOCKETS)? {
            Some(socket) => {
                format!("{socket} starts sshd for each connection or at the next one: no reload is needed.")
            }
            None => "sshd does not run; it reads the change when it starts.".into(),
        })
    }

    pub(crate) fn booted(&self) -> bool {
        // sd_booted(3)
        self.source.locate(Path::new("/run/systemd/system")).is_dir()
    }

    pub(crate) fn first_active<'u>(&self, units: &[&'u str]) -> Result<Option<&'u str>, String> {
        let arguments: Vec<&OsStr> = ["is-active"].iter().chain(units).map(OsStr::new).collect();
        // Its status tells of the last unit only; its lines tell of each.
        let ran = run(self.systemctl, &arguments, self.patience)
            .map_err(|error| format!("systemctl is-active: {error}"))?;
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let active = |(_, state): &(&&str, &str)| matches!(state.trim(), "active" | "reloading");
        Ok(units.iter().zip(said.lines()).find(active).map(|(unit, _)| *unit))
    }

    /// What of a service ends when it is stopped (systemd.kill(5)).
    fn kill_mode(&self, service: &str) -> Result<String, String> {
        // Systemd of Amazon Linux 2, 219, has no --value.
        let shown = self.systemctl(&["show", "--property=KillMode", service])?;
        Ok(shown.trim().trim_start_matches("KillMode=").to_owned())
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<String, String> {
        let words: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let ran = run(self.systemctl, &words, self.patience)
            .map_err(|error| format!("systemctl {}: {error}", arguments.join(" ")))?;
        if ran.status.success() {
            Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
        } else {
            Err(format!("systemctl {}: {}", arguments.join(" "), ran.complaint()))
        }
    }

    /// The number and the command line of the sshd that wrote [`PID_FILE`]. sshd puts its arguments into its
    /// title, so blanks separate either way.
    pub(crate) fn running(&self) -> Option<(u32, String)> {
        let pid = fs::read_to_string(self.source.locate(Path::new(PID_FILE))).ok()?;
        let pid: u32 = pid.trim().parse().ok()?;
        let line = fs::read(self.source.locate(Path::new(&format!("/proc/{pid}/cmdline")))).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // The number may have gone to another program since.
        line.split(' ').take(2).any(|word| word.ends_with("sshd")).then_some((pid, line))
    }

    /// What units of sshd would run: file, line, text.
    fn unit_lines(&self) -> Vec<(PathBuf, usize, String)> {
        let mut found = Vec::new();
        for directory in UNITS {
            for unit in ["ssh", "sshd", "ssh@", "sshd@"] {
                let mut files = vec![PathBuf::from(format!("{directory}/{unit}.service"))];
                files
                    .extend(self.source.glob(format!("{directory}/{unit}.service.d/*.conf").as_bytes(), 100));
                for file in files {
                    let Ok(bytes) = self.source.read(&file) else { continue };
                    let text = String::from_utf8_lossy(&bytes).replace("\\\n", "  ");
                    let lines = text
                        .lines()
                        .enumerate()
                        .filter(|(_, line)| line.trim_start().starts_with("ExecStart"));
                    found.extend(
                        lines.map(|(at, line)| (file.clone(), at.saturating_add(1), line.to_owned())),
                    );
                }
            }
        }
        found
    }
}

fn sets_command(line: &str) -> bool {
    // AuthorizedKeysCommandUser alone changes who runs it, which is as bad.
    line.to_ascii_lowercase().contains("authorizedkeyscommand")
}

/// The value of `-f`, if it is another file.
fn other_config(line: &str, main: &Path) -> Option<String> {
    let mut words = line.split(' ').map(|word| word.trim_matches(|c| matches!(c, '"' | '\'' | ';')));
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("-f") {
            Some("") => words.next()?,
            Some(value) if value.starts_with('/') => value,
            _ => continue,
        };
        if Path::new(value) != main {
            return Some(value.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_is_seen() {
        let main = Path::new("/etc/ssh/sshd_config");
        assert_eq!(other_config("/usr/sbin/sshd -D -f /x", main), Some("/x".into()));
        assert_eq!(other_config("/usr/sbin/sshd -D -f/x", main), Some("/x".into()));
        assert_eq!(other_config("/usr/sbin/sshd -D -f /etc/ssh/sshd_config", main), None);
        assert_eq!(other_config("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", main), None);
    }

    #[test]
    fn the_override_of_aws_is_seen() {
        let line = r#"ExecStart=/usr/sbin/sshd -D -o "AuthorizedKeysCommand /usr/share/ec2-instance-connect/eic_run_authorized_keys %%u %%f""#;
        assert!(sets_command(line));
        assert!(!sets_command("ExecStart=/usr/sbin/sshd -D $SSHD_OPTS"));
    }
}
