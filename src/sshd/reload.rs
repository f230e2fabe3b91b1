//! Makes every sshd that reads our lines read its configuration again.

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

/// An sshd that has to be told of a change.
struct Target {
    /// Its process, where it was found.
    listener: Option<Listener>,
    /// The service whose main process it is.
    unit: Option<Unit>,
}

/// What systemd says of a service.
struct Unit {
    name: String,
    properties: BTreeMap<String, String>,
}

/// How an sshd is told.
enum Way {
    /// By its unit's own reload.
    Reload,
    /// It was handed its socket: stopped, it is started by the socket.
    Stop(String),
    /// The same, but its sessions would end with it.
    Leave(String),
    /// By SIGHUP.
    Signal,
}

/// An sshd that cannot be told, and why.
pub(super) struct Untold {
    pid: Option<u32>,
    reason: String,
}

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Not every sshd was told.
pub(super) struct ReloadError {
    pub(super) reason: String,
    /// Whether one may have read the files as they are now.
    pub(super) told: bool,
}

/// The sshds that were told last, each by its number and its start. Gone with a boot, as they are.
const TOLD: &str = "/run/eic-keys.told";

/// How long an sshd may take to start itself anew.
const ANEW: Duration = Duration::from_secs(20);

/// What is asked of a service.
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

    /// systemd 219 to 257 name these the same; what is not said speaks against nothing.
    fn can_reload(&self) -> bool {
        self.get("CanReload") != "no" && self.get("LoadState") != "masked"
    }
}

impl Target {
    fn pid(&self) -> Option<u32> {
        self.listener.as_ref().map(|listener| listener.pid)
    }

    /// For people.
    fn name(&self) -> String {
        match (&self.listener, &self.unit) {
            (Some(listener), Some(unit)) => format!("sshd (process {}, {})", listener.pid, unit.name),
            (Some(listener), None) => format!("sshd (process {})", listener.pid),
            (None, Some(unit)) => unit.name.clone(),
            (None, None) => "sshd".into(),
        }
    }

    /// What has it read its files again, for people.
    fn remedy(&self) -> String {
        match (&self.unit, self.pid()) {
            (Some(unit), _) => format!("systemctl restart {}", unit.name),
            (None, Some(pid)) => format!("end process {pid} and start it again"),
            (None, None) => "restart it".into(),
        }
    }
}

impl Daemon<'_> {
    /// The sshds that read our lines and could not be told of a change to them. Found out before anything is changed.
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

    /// Makes each running sshd that reads our lines read its files again, but for those that are known not to hear of it.
    /// `Ok` says what was done, or is to be done.
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
            match self.tell(&target, main) {
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

    /// Notes for `--check` who has read the files as they are now. Not every sshd has a PID file, and none tells otherwise.
    fn note_told(&self, pids: &[u32]) {
        let line = |pid: &u32| self.birth(*pid).map(|ticks| format!("{pid} {ticks}\n"));
        let text: String = pids.iter().filter_map(line).collect();
        // Without it `--check` is less sure.
        let _ = fs::write(self.tree.locate(Path::new(TOLD)), text);
    }

    /// The sshds that read our lines: each with the time since when it has read its files, as far as that can be told.
    pub(crate) fn reading(&self, main: &Path) -> Vec<(u32, Option<SystemTime>)> {
        let (ours, others) = self.find_listeners(main);
        let others = others.into_iter().filter(|other| self.reads_ours(other, main) == Some(true));
        let readers = ours.into_iter().chain(others).filter(|listener| self.is_sshd(listener.pid));
        readers.map(|listener| (listener.pid, self.read_at(listener.pid))).collect()
    }

    fn read_at(&self, pid: u32) -> Option<SystemTime> {
        let written = |path: &str| fs::metadata(self.tree.locate(Path::new(path))).ok()?.modified().ok();
        let ticks = self.birth(pid)?;
        let system = self.tree.read(Path::new("/proc/stat")).ok()?;
        let boot = String::from_utf8_lossy(&system)
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.parse().ok())?;
        // The boot is told in whole seconds, the rest in hundredths on each architecture (proc(5), USER_HZ).
        let start = Duration::from_secs(boot).checked_add(Duration::from_millis(ticks.checked_mul(10)?))?;
        let start = SystemTime::UNIX_EPOCH.checked_add(start)?.checked_add(Duration::from_secs(1));
        let told = self.tree.read(Path::new(TOLD)).unwrap_or_default();
        let told = String::from_utf8_lossy(&told).lines().any(|line| line == format!("{pid} {ticks}"));
        let told = if told { written(TOLD) } else { None };
        let named = self.running().filter(|(named, _)| *named == pid).and_then(|_| written(PID_FILE));
        [start, told, named].into_iter().flatten().max()
    }

    /// When a process was started, in ticks since the boot: with its number, its name for good.
    fn birth(&self, pid: u32) -> Option<u64> {
        let stat = self.proc(pid, "stat")?;
        // The name of the program, in parentheses, may hold anything.
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(19)?.parse().ok()
    }

    /// The command by which an administrator makes a process that waits for connections read its files again; `None`: sshd's
    /// own unit is reloaded.
    pub(crate) fn reload_command(&self, pid: u32) -> Option<Vec<String>> {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let is_main = |unit: &Unit| unit.get("MainPID").parse().is_ok_and(|main: u32| main == pid);
        let unit = self.service_of(pid).and_then(|name| self.unit(&name).ok()).filter(is_main);
        match unit {
            Some(unit) if unit.can_reload() => words(&["systemctl", "reload", &unit.name]),
            None if self.first_active(&SERVICES).ok().flatten().is_some() => None,
            _ => words(&["kill", "-HUP", &pid.to_string()]),
        }
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

    /// Looked for each time: sshd may have been started since.
    fn targets(&self, main: &Path) -> Result<Vec<Target>, String> {
        let (ours, others) = self.find_listeners(main);
        let others = others.into_iter().filter(|other| self.reads_ours(other, main) != Some(false));
        let listeners = ours.into_iter().chain(others).filter(|listener| self.is_sshd(listener.pid));
        let booted = self.booted();
        let service = if booted { self.first_active(&SERVICES)? } else { None };
        let service = match service {
            Some(name) => Some(self.unit(name)?),
            None => None,
        };
        let mut found: Vec<Target> = Vec::new();
        for listener in listeners {
            let main_process =
                |unit: &Unit| unit.get("MainPID").parse().is_ok_and(|pid: u32| pid == listener.pid);
            let mut unit = None;
            if let Some(name) = self.service_of(listener.pid).filter(|_| booted) {
                // A process that a session or another service started is not that service's to reload.
                unit = Some(self.unit(&name)?).filter(main_process);
            }
            found.push(Target { listener: Some(listener), unit });
        }
        let Some(service) = service else { return Ok(found) };
        let main_process = service.get("MainPID").parse().ok();
        match found.iter_mut().find(|target| target.pid() == main_process && main_process.is_some()) {
            Some(target) => {
                target.unit.get_or_insert(service);
            }
            None => found.push(Target { listener: None, unit: Some(service) }),
        }
        Ok(found)
    }

    /// How an sshd can be told, or why it cannot.
    fn way(&self, target: &Target) -> Result<Way, String> {
        if let Some(unit) = &target.unit {
            // An sshd that was handed its socket does not get it back when it starts itself anew: it would end, sooner or
            // later, and fail connections on its way. Stopped, it leaves them to the unit's socket, which starts another
            // one; sessions live on (KillMode=process).
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

    fn tell(&self, target: &Target, main: &Path) -> Result<String, String> {
        let way = self.way(target).map_err(|reason| format!("{} {reason}", target.name()))?;
        let unit = target.unit.as_ref().map_or("", |unit| unit.name.as_str());
        let before = target.pid().and_then(|pid| self.image(pid));
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
                // A reload that sshd did not survive has to be known now.
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

    /// Waits until sshd has started itself anew, and listens.
    fn began_anew(&self, target: &Target, main: &Path, before: Option<Vec<u8>>) -> Result<(), String> {
        let (Some(listener), Some(before)) = (&target.listener, before) else { return Ok(()) };
        if !self.is_here() {
            return Ok(());
        }
        // Without it, the new image looks like the old one.
        let random =
            fs::read("/proc/sys/kernel/randomize_va_space").is_ok_and(|level| !level.starts_with(b"0"));
        let start = Instant::now();
        loop {
            match self.image(listener.pid) {
                Some(now) if (now != before || !random) && self.listens(listener.pid) => return Ok(()),
                // Without -D it may have left the name to a child.
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

    /// What tells one image of a process from the next: exec(2) puts everything elsewhere.
    fn image(&self, pid: u32) -> Option<Vec<u8>> {
        let image = fs::read(self.tree.locate(Path::new(&format!("/proc/{pid}/auxv")))).ok()?;
        (!image.is_empty()).then_some(image)
    }

    /// Whether a process has a TCP socket that listens.
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

    /// The number may go to another process between the look and the signal: a descriptor stays with its process.
    fn hang_up(&self, pid: u32) -> Result<(), String> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no process")?;
        let process = pidfd_open(number, PidfdFlags::empty());
        if self.listener(pid).is_none() || !self.is_sshd(pid) {
            return Err("it ended meanwhile".into());
        }
        match process {
            Ok(process) => pidfd_send_signal(process, Signal::HUP),
            // Before Linux 5.3.
            Err(rustix::io::Errno::NOSYS) => kill_process(number, Signal::HUP),
            Err(error) => Err(error),
        }
        .map_err(|error| error.to_string())
    }

    /// Whether the system is the one that this runs on, whose processes can be sent signals.
    fn is_here(&self) -> bool {
        self.tree.locate(Path::new("/")) == Path::new("/")
    }

    /// Whether a process that is called so is root's and runs a program of that name. Anybody can call his own so.
    fn is_sshd(&self, pid: u32) -> bool {
        if !self.is_here() {
            return true;
        }
        let status = self.proc(pid, "status").unwrap_or_default();
        let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        users.split_whitespace().all(|user| user == "0") && name.trim_end_matches(" (deleted)") == "sshd"
    }

    /// Whether an sshd would start with its configuration as it is now, and the options that it was started with.
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

    /// Whether an sshd with a file of its own reads ours by `Include`; `None` where that file cannot be read.
    pub(super) fn reads_ours(&self, other: &Listener, main: &Path) -> Option<bool> {
        let file = other_config(&other.line, main)?;
        let ours: Vec<_> = drop_ins(administrators(main).parent().unwrap_or(main)).collect();
        // They count although they may be gone, or not there yet.
        let tree = ours.iter().fold(self.tree.clone(), |tree, path| tree.with(path, Some(Vec::new())));
        let config = Config::read(&tree, Path::new(&file), OpensshVersion::newest()).ok()?;
        Some(config.files().any(|file| file.path() == main || ours.iter().any(|path| path == file.path())))
    }

    /// The service whose control group a process is in.
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

    /// The socket that hands a service its connections, if it does.
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

/// The command line of a listener, without what newer versions put around it.
fn command(line: &str) -> &str {
    let line = line.strip_prefix("sshd: ").unwrap_or(line);
    line.split(" [listener]").next().unwrap_or(line).trim_end()
}

fn program(line: &str) -> &str {
    command(line).split(' ').next().unwrap_or_default()
}

/// What has sshd test the configuration that it was started with. Its title has no quotes: a value of `-o` ends where the next
/// option begins.
fn tested(line: &str) -> Vec<OsString> {
    let mut arguments: Vec<String> = vec!["-t".into()];
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
            arguments.extend([format!("-{flag}"), value]);
        }
    }
    arguments.into_iter().map(OsString::from).collect()
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
