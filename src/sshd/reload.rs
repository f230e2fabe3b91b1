//! Makes each running sshd that reads our lines read its configuration again.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt, fs,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::{
    daemon::{Daemon, Listener, PID_FILE, SERVICES, SOCKETS, other_config, takes_value},
    effective::Config,
    lexer::OpensshVersion,
    placement::drop_ins,
    query::administrators,
};
use crate::process::run;
use crate::safe_path;

/// An sshd to reload.
struct Target {
    /// Its process, if found.
    listener: Option<Listener>,
    /// The service whose main process it is.
    unit: Option<Unit>,
}

/// A service and its properties from systemctl.
struct Unit {
    name: String,
    properties: BTreeMap<String, String>,
}

/// How to reload an sshd.
enum Way {
    /// With the reload of its unit.
    Reload,
    /// By stopping it: the sshd got its socket from this socket unit, which starts it again.
    Stop(String),
    /// Not at all: stopping it would end its sessions.
    Leave(String),
    /// With SIGHUP.
    Signal,
}

/// How an administrator makes a listening sshd read its files again.
pub(crate) enum ReloadCommand {
    /// By the reload of this unit.
    Unit(String),
    /// By the reload of sshd's own unit.
    OwnUnit,
    /// By SIGHUP.
    Signal,
}

/// An sshd that cannot be reloaded, and the reason.
pub(super) struct Untold {
    pid: Option<u32>,
    reason: String,
}

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Why not every sshd was reloaded.
pub(super) struct ReloadError {
    pub(super) reason: String,
    /// Whether an sshd can have read the changed files.
    pub(super) told: bool,
}

/// The sshds of the last reload, by pid and start time. A boot removes the file and the processes.
const TOLD: &str = "/run/eic-keys.told";

/// Time limit for an sshd to restart itself.
const ANEW: Duration = Duration::from_secs(20);

/// The properties of a service to query.
const PROPERTIES: [&str; 7] = [
    "--property=Id",
    "--property=LoadState",
    "--property=ActiveState",
    "--property=CanReload",
    "--property=MainPID",
    "--property=KillMode",
    "--property=TriggeredBy",
];

impl Unit {
    fn get(&self, name: &str) -> &str {
        self.properties.get(name).map_or("", String::as_str)
    }

    /// Whether a process is the main process of this service.
    fn is_main(&self, pid: u32) -> bool {
        self.get("MainPID").parse().is_ok_and(|main: u32| main == pid)
    }

    /// systemd 219 to 257 use these names. A missing property does not prevent a reload.
    fn can_reload(&self) -> bool {
        self.get("CanReload") != "no" && self.get("LoadState") != "masked"
    }
}

impl Target {
    fn pid(&self) -> Option<u32> {
        self.listener.as_ref().map(|listener| listener.pid)
    }

    /// The name in messages.
    fn name(&self) -> String {
        match (&self.listener, &self.unit) {
            (Some(listener), Some(unit)) => format!("sshd (process {}, {})", listener.pid, unit.name),
            (Some(listener), None) => format!("sshd (process {})", listener.pid),
            (None, Some(unit)) => unit.name.clone(),
            (None, None) => "sshd".into(),
        }
    }

    /// The fix in messages: how to make it read its files again.
    fn remedy(&self) -> String {
        match (&self.unit, self.pid()) {
            (Some(unit), _) => format!("systemctl restart {}", unit.name),
            (None, Some(pid)) => format!("end process {pid} and start it again"),
            (None, None) => "restart it".into(),
        }
    }
}

impl Daemon<'_> {
    /// The sshds that read our lines and cannot be reloaded. Queried before any change.
    pub(super) fn untold(&self, main: &Path) -> Result<Vec<Untold>, String> {
        let mut untold = Vec::new();
        for target in self.targets(main)? {
            if let Err(reason) = self.way(&target) {
                let reason = format!("{} {reason}; {}", target.name(), target.remedy());
                untold.push(Untold { pid: target.pid(), reason });
            }
        }
        Ok(untold)
    }

    /// Reloads each running sshd that reads our lines, except those in `untold`. `Ok` describes what was done, or
    /// remains to be done.
    pub(super) fn reload(&self, main: &Path, untold: &[Untold]) -> Result<String, ReloadError> {
        let nobody = |reason| ReloadError { reason, told: false };
        let targets = self.targets(main).map_err(nobody)?;
        let mut said: Vec<String> = Vec::new();
        let mut told = false;
        let mut heard: Vec<u32> = Vec::new();
        for target in targets {
            if untold.iter().any(|other| other.pid == target.pid()) {
                continue;
            }
            let before = target.pid().and_then(|pid| self.image(pid));
            match self.tell(&target, main, before.as_deref()) {
                Ok(line) => said.push(line),
                Err(reason) => {
                    let unmoved = before.is_some() && before == target.pid().and_then(|pid| self.image(pid));
                    return Err(ReloadError { reason, told: told || !unmoved });
                }
            }
            told = true;
            heard.extend(target.pid());
        }
        self.note_told(&heard);
        if said.is_empty() && untold.is_empty() {
            said.push(self.nobody().map_err(nobody)?);
        }
        Ok(said.join("\n"))
    }

    /// Records for `--check` which sshds have read the current files. Some have no PID file, and no other record
    /// exists.
    fn note_told(&self, pids: &[u32]) {
        let line = |pid: &u32| self.birth(*pid).map(|ticks| format!("{pid} {ticks}\n"));
        let text: String = pids.iter().filter_map(line).collect();
        // If this fails, `--check` knows less.
        let _ = fs::write(self.tree.locate(Path::new(TOLD)), text);
    }

    /// The sshds that read our lines, each with the time when it last read its files, if known.
    pub(crate) fn reading(&self, main: &Path) -> Vec<(u32, Option<SystemTime>)> {
        let (ours, others) = self.find_listeners(main);
        let others = others.into_iter().filter(|other| self.reads_ours(other, main) == Some(true));
        ours.into_iter().chain(others).map(|listener| (listener.pid, self.read_at(listener.pid))).collect()
    }

    /// When an sshd last read its files, if known: when it wrote its PID file, when `--enable` reloaded it, or else when
    /// it was started.
    pub(crate) fn read_at(&self, pid: u32) -> Option<SystemTime> {
        let written = |path: &str| fs::metadata(self.tree.locate(Path::new(path))).ok()?.modified().ok();
        let ticks = self.birth(pid)?;
        let told = self.tree.read(Path::new(TOLD)).unwrap_or_default();
        let told = String::from_utf8_lossy(&told).lines().any(|line| line == format!("{pid} {ticks}"));
        let told = if told { written(TOLD) } else { None };
        let named = self.running().filter(|(named, _)| *named == pid).and_then(|_| written(PID_FILE));
        if let Some(read) = told.max(named) {
            return Some(read);
        }
        let system = self.tree.read(Path::new("/proc/stat")).ok()?;
        let boot = String::from_utf8_lossy(&system)
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.parse().ok())?;
        // The boot time is in seconds, the start time in 1/100 s on all architectures (proc(5), USER_HZ).
        let start = Duration::from_secs(boot).checked_add(Duration::from_millis(ticks.checked_mul(10)?))?;
        SystemTime::UNIX_EPOCH.checked_add(start)?.checked_add(Duration::from_secs(1))
    }

    /// Records that a change of the sshds of the last reload is complete. Removing the old files changes their directory
    /// after sshd has read the new ones.
    pub(super) fn settled(&self) {
        let path = self.tree.locate(Path::new(TOLD));
        let _ = fs::read(&path).and_then(|text| fs::write(&path, text));
    }

    /// The start time of a process in ticks since the boot. Together with the pid, it identifies the process.
    fn birth(&self, pid: u32) -> Option<u64> {
        let stat = self.proc(pid, "stat")?;
        // The program name, in parentheses, can contain any character.
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(19)?.parse().ok()
    }

    /// How a listening sshd is reloaded.
    pub(crate) fn reload_command(&self, pid: u32) -> ReloadCommand {
        match self.main_unit(pid).ok().flatten() {
            Some(unit) if unit.can_reload() => ReloadCommand::Unit(unit.name),
            None if self.first_active(&SERVICES).ok().flatten().is_some() => ReloadCommand::OwnUnit,
            _ => ReloadCommand::Signal,
        }
    }

    /// The service whose main process this is. Another process of a service is not reloaded with it, such as an sshd that a
    /// session started.
    fn main_unit(&self, pid: u32) -> Result<Option<Unit>, String> {
        let Some(name) = self.service_of(pid) else { return Ok(None) };
        Ok(Some(self.unit(&name)?).filter(|unit| unit.is_main(pid)))
    }

    fn nobody(&self) -> Result<String, String> {
        if !self.booted() {
            return Ok("No systemd runs here: sshd reads the change when it is started next, \
                       or at kill -HUP \"$(cat /run/sshd.pid)\"."
                .into());
        }
        Ok(match self.first_active(&SOCKETS)? {
            Some(socket) => {
                format!("{socket} starts sshd for each connection or at the next one: no reload is needed.")
            }
            None => "sshd does not run; it reads the change when it starts.".into(),
        })
    }

    /// Not cached: an sshd can have started since.
    fn targets(&self, main: &Path) -> Result<Vec<Target>, String> {
        let (ours, others) = self.find_listeners(main);
        let others = others.into_iter().filter(|other| self.reads_ours(other, main) != Some(false));
        let booted = self.booted();
        let service = if booted { self.first_active(&SERVICES)? } else { None };
        let service = match service {
            Some(name) => Some(self.unit(name)?),
            None => None,
        };
        let mut found: Vec<Target> = Vec::new();
        for listener in ours.into_iter().chain(others) {
            let unit = if booted { self.main_unit(listener.pid)? } else { None };
            found.push(Target { listener: Some(listener), unit });
        }
        let Some(service) = service else { return Ok(found) };
        match found.iter_mut().find(|target| target.pid().is_some_and(|pid| service.is_main(pid))) {
            Some(target) => {
                target.unit.get_or_insert(service);
            }
            None => found.push(Target { listener: None, unit: Some(service) }),
        }
        Ok(found)
    }

    /// How an sshd can be reloaded, or why it cannot.
    fn way(&self, target: &Target) -> Result<Way, String> {
        if let Some(unit) = &target.unit {
            // An sshd that got its socket from systemd loses it when it restarts itself: it would exit sooner or
            // later, and until then connections would fail. If it is stopped, the socket unit starts another sshd.
            // Sessions continue (KillMode=process).
            if let Some(socket) = self.active_socket(unit)? {
                let stays = matches!(unit.get("KillMode"), "process" | "none");
                return Ok(if stays { Way::Stop(socket) } else { Way::Leave(socket) });
            }
        }
        if let Some(listener) = &target.listener {
            self.accepts(listener)?;
        }
        match (&target.unit, &target.listener) {
            (Some(unit), _) if unit.can_reload() => Ok(Way::Reload),
            (_, Some(listener)) if !Path::new(program(&listener.line)).is_absolute() => {
                Err("was not started by an absolute path, so that it ends at a reload".into())
            }
            (_, Some(_)) => Ok(Way::Signal),
            (_, None) => Err("has no ExecReload=, or is masked, and its process was not found".into()),
        }
    }

    /// `before` is the image of its process.
    fn tell(&self, target: &Target, main: &Path, before: Option<&[u8]>) -> Result<String, String> {
        let way = self.way(target).map_err(|reason| format!("{} {reason}", target.name()))?;
        let unit = target.unit.as_ref().map_or("", |unit| unit.name.as_str());
        match way {
            Way::Leave(socket) => {
                let mode = target.unit.as_ref().map_or("", |unit| unit.get("KillMode"));
                return Ok(format!(
                    "{unit} was left alone: it has to be stopped, so that {socket} starts it with the change, but with its \
                     KillMode={mode} that would end the sessions. Run systemctl stop {unit} when nobody is logged in."
                ));
            }
            Way::Stop(socket) => {
                self.systemctl(&["stop", unit])?;
                return Ok(format!("{unit} was stopped; {socket} starts it at the next connection."));
            }
            Way::Reload => {
                self.systemctl(&["reload", unit])?;
                self.began_anew(target, main, before)?;
                // Detect an sshd that exited at the reload.
                return match self.first_active(&[unit])? {
                    Some(_) => Ok(format!("{unit} was reloaded.")),
                    None => Err(format!("{unit} did not survive the reload")),
                };
            }
            Way::Signal => {}
        }
        let Some(listener) = &target.listener else { return Err("sshd was not found".into()) };
        if !self.is_here() {
            return Ok(format!(
                "{} reads the change when it is started next, or at kill -HUP {}.",
                target.name(),
                listener.pid
            ));
        }
        self.hang_up(listener.pid).map_err(|error| format!("{}: {error}", target.name()))?;
        self.began_anew(target, main, before)?;
        Ok(format!("{} was sent SIGHUP and has read its configuration again.", target.name()))
    }

    /// Waits until sshd has restarted itself and listens.
    fn began_anew(&self, target: &Target, main: &Path, before: Option<&[u8]>) -> Result<(), String> {
        let (Some(listener), Some(before)) = (&target.listener, before) else { return Ok(()) };
        if !self.is_here() {
            return Ok(());
        }
        // Without address randomization, the new image can look like the old one.
        let random =
            fs::read("/proc/sys/kernel/randomize_va_space").is_ok_and(|level| !level.starts_with(b"0"));
        let start = Instant::now();
        loop {
            match self.image(listener.pid) {
                Some(now) if (now != before || !random) && self.listens(listener.pid) => return Ok(()),
                // Without -D, sshd can continue in a child process.
                None if self.successor(listener, main) => return Ok(()),
                _ => {}
            }
            if start.elapsed() > ANEW {
                let gone = self.image(listener.pid).is_none();
                let what =
                    if gone { "did not survive the reload" } else { "did not read its configuration again" };
                return Err(format!("{} {what}", target.name()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn successor(&self, gone: &Listener, main: &Path) -> bool {
        let (ours, others) = self.find_listeners(main);
        ours.iter().chain(&others).any(|listener| {
            listener.pid != gone.pid
                && command(&listener.line) == command(&gone.line)
                && self.listens(listener.pid)
        })
    }

    /// Identifies the image of a process: exec(2) changes the addresses.
    fn image(&self, pid: u32) -> Option<Vec<u8>> {
        let image = fs::read(self.tree.locate(Path::new(&format!("/proc/{pid}/auxv")))).ok()?;
        (!image.is_empty()).then_some(image)
    }

    /// Whether a process has a listening TCP socket.
    fn listens(&self, pid: u32) -> bool {
        let listening: Vec<String> = ["tcp", "tcp6"]
            .into_iter()
            .filter_map(|name| self.proc(pid, &format!("net/{name}")))
            .flat_map(|table| {
                let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
                let rows = rows.filter(|row| row.get(3) == Some(&"0A"));
                rows.filter_map(|row| row.get(9).map(|inode| format!("socket:[{inode}]"))).collect::<Vec<_>>()
            })
            .collect();
        let files = fs::read_dir(self.tree.locate(Path::new(&format!("/proc/{pid}/fd"))));
        files.into_iter().flatten().flatten().any(|file| {
            fs::read_link(file.path())
                .is_ok_and(|to| listening.iter().any(|socket| to.as_os_str() == socket.as_str()))
        })
    }

    /// Sends SIGHUP through a pidfd, because the pid can be reused after the check.
    fn hang_up(&self, pid: u32) -> Result<(), String> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no process")?;
        let process = pidfd_open(number, PidfdFlags::empty());
        if self.listener(pid).is_none() {
            return Err("it ended meanwhile".into());
        }
        match process {
            Ok(process) => pidfd_send_signal(process, Signal::HUP),
            // Linux before 5.3.
            Err(rustix::io::Errno::NOSYS) => kill_process(number, Signal::HUP),
            Err(error) => Err(error),
        }
        .map_err(|error| error.to_string())
    }

    /// Whether an sshd would start with its current configuration and its original options.
    fn accepts(&self, listener: &Listener) -> Result<(), String> {
        if !self.is_here() {
            return Ok(());
        }
        let program = Path::new(program(&listener.line));
        if !program.is_absolute() {
            return Ok(());
        }
        safe_path::program(Path::new("/"), program)
            .map_err(|error| format!("would start {} anew: {error}", program.display()))?;
        let arguments = tested(&listener.line);
        let words: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
        let ran = run(&[program.into()], &words, self.patience).map_err(|error| error.to_string())?;
        if ran.status.success() {
            return Ok(());
        }
        let shown = arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        Err(format!(
            "would not start with its configuration: {} {shown} says: {}",
            program.display(),
            ran.complaint()
        ))
    }

    /// Whether an sshd with another main file includes ours. `None` if that file cannot be read.
    pub(super) fn reads_ours(&self, other: &Listener, main: &Path) -> Option<bool> {
        let file = other_config(&other.line, main)?;
        let ours: Vec<_> = drop_ins(administrators(main).parent().unwrap_or(main)).collect();
        // Drop-ins that do not exist, or no longer exist, count too.
        let tree = ours.iter().fold(self.tree.clone(), |tree, path| tree.with(path, Some(Vec::new())));
        let config = Config::read(&tree, Path::new(&file), OpensshVersion::newest()).ok()?;
        Some(config.files().any(|file| file.path() == main || ours.iter().any(|path| path == file.path())))
    }

    /// The service of the control group of a process.
    fn service_of(&self, pid: u32) -> Option<String> {
        let groups = self.proc(pid, "cgroup")?;
        let paths = groups.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            matches!(controllers, "" | "name=systemd").then_some(path)
        });
        let mut paths = paths.filter(|path| !path.contains("/user.slice/"));
        paths.find_map(|path| path.rsplit('/').find(|part| part.ends_with(".service")).map(str::to_owned))
    }

    fn unit(&self, name: &str) -> Result<Unit, String> {
        let arguments: Vec<&str> = ["show"].into_iter().chain(PROPERTIES).chain([name]).collect();
        let shown = self.systemctl(&arguments)?;
        let properties: BTreeMap<String, String> = shown
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let name = properties.get("Id").filter(|id| !id.is_empty()).map_or(name, String::as_str).to_owned();
        Ok(Unit { name, properties })
    }

    /// The active socket unit that passes connections to a service.
    fn active_socket(&self, unit: &Unit) -> Result<Option<String>, String> {
        if SERVICES.contains(&unit.name.as_str()) {
            return Ok(self.first_active(&SOCKETS)?.map(str::to_owned));
        }
        let sockets: Vec<&str> =
            unit.get("TriggeredBy").split_whitespace().filter(|name| name.ends_with(".socket")).collect();
        if sockets.is_empty() {
            return Ok(None);
        }
        Ok(self.first_active(&sockets)?.map(str::to_owned))
    }
}

/// The command line of a listener, without the prefix and suffix of newer versions.
fn command(line: &str) -> &str {
    let line = line.strip_prefix("sshd: ").unwrap_or(line);
    line.split(" [listener]").next().unwrap_or(line).trim_end()
}

fn program(line: &str) -> &str {
    command(line).split(' ').next().unwrap_or_default()
}

/// The arguments with which sshd tests the configuration that it was started with.
fn tested(line: &str) -> Vec<OsString> {
    let options = options(line).into_iter().flat_map(|(flag, value)| [format!("-{flag}"), value]);
    ["-t".to_owned()].into_iter().chain(options).map(OsString::from).collect()
}

/// The options of a listener that change its configuration. The process title has no quotes, so a value of `-o` ends
/// at the next option.
pub(crate) fn options(line: &str) -> Vec<(char, String)> {
    let mut found = Vec::new();
    let mut words = command(line).split_whitespace().skip(1).peekable();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-') else { continue };
        let Some((flag, at)) =
            letters.char_indices().find_map(|(at, flag)| takes_value(flag).then_some((flag, at)))
        else {
            continue;
        };
        let mut value = letters.get(at.saturating_add(1)..).unwrap_or_default().to_owned();
        if value.is_empty() {
            words.next().unwrap_or_default().clone_into(&mut value);
        }
        while let Some(more) = words.next_if(|more| flag == 'o' && !more.starts_with('-')) {
            value.push(' ');
            value.push_str(more);
        }
        if matches!(flag, 'c' | 'f' | 'h' | 'o' | 'p') {
            found.push((flag, value));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_tested_with_its_options() {
        for (line, expected) in [
            ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", "-t"),
            ("/usr/sbin/sshd -D -p 2222 -o PidFile=none ", "-t|-p|2222|-o|PidFile=none"),
            ("/usr/sbin/sshd -Df /x -E /log -e -4", "-t|-f|/x"),
            ("/usr/sbin/sshd -f/x -C user=a -h /key", "-t|-f|/x|-h|/key"),
            (
                "sshd: /usr/sbin/sshd -D -o AuthorizedKeysCommand /a %u -p 22 [listener] 0 of 1 startups",
                "-t|-o|AuthorizedKeysCommand /a %u|-p|22",
            ),
        ] {
            let words: Vec<_> = tested(line).iter().map(|word| word.to_string_lossy().into_owned()).collect();
            assert_eq!(words.join("|"), expected, "{line}");
        }
        assert_eq!(program("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"), "/usr/sbin/sshd");
        assert_eq!(program("sshd -D"), "sshd");
    }
}
