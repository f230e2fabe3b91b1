//! A world in which every check is ok, and what a report says in it.
use eic_keys::check::CheckId;
use eic_lab::sshd::{CONFIG, Config, Sshd};
use eic_lab::{Instance, Outcome, UserKey};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Who logs in.
pub(crate) const USER: &str = "alice";

/// The longest that a check may take, on any system.
const MOST: Duration = Duration::from_secs(10);

/// Where sshd writes its number.
pub(crate) const PID_FILE: &str = "/run/sshd.pid";

/// The system's.
pub(crate) const TRUST_STORE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// As much of apt-get as the fixes ask for, without a network.
const APT: &str = r#"#!/bin/sh -e
case "$*" in
    'install --reinstall ca-certificates') mkdir -p /etc/ssl/certs; cp --remove-destination /run/packages/ca-certificates.crt /etc/ssl/certs ;;
    'install --reinstall eic-keys') cat /run/packages/eic-keys >/usr/bin/eic-keys ;;
    'purge ec2-instance-connect') rm -r /usr/share/ec2-instance-connect ;;
    *) echo "unexpected: $*" >&2; exit 100 ;;
esac
"#;

/// A report, valid by the schema.
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    pub(crate) document: Value,
}

/// An instance with sshd, where all is well and a key is pushed for [`USER`].
pub(crate) struct World<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) sshd: Sshd<'a>,
    pub(crate) key: UserKey,
}

/// sshd's configuration in it.
pub(crate) fn config() -> Config {
    Config::new().set("PidFile", PID_FILE).set("ListenAddress", "0.0.0.0")
}

/// Makes one for a test.
pub(crate) fn world(test: impl FnOnce(&World<'_>)) {
    let instance = Instance::start();
    // The machine's own log and journal are no part of it.
    instance.install("/usr/bin/journalctl", b"#!/bin/sh\nexit 1\n");
    instance.namespace().cover("/var/log");
    instance.remove("/var/log/secure");
    instance.write("/var/log/auth.log", "");
    instance.write("/run/packages/ca-certificates.crt", fs::read(TRUST_STORE).unwrap());
    instance.write("/run/packages/eic-keys", fs::read("/usr/bin/eic-keys").unwrap());
    instance.install("/usr/bin/apt-get", APT.as_bytes());
    instance.install("/usr/bin/chronyc", b"#!/bin/sh\nexit 1\n");
    let sshd = Sshd::start_with(&instance, &config());
    let key = UserKey::ed25519();
    instance.push_for_an_hour(USER, &key);
    let world = World { instance: &instance, sshd, key };
    // It listens before it writes that file.
    world.sshd_has_started();
    test(&world);
}

impl World<'_> {
    /// What `--check --json` says of [`USER`], asked by root.
    pub(crate) fn check(&self) -> Report {
        self.check_with(&[USER])
    }

    /// The same; asked again where a busy machine made it take longer than any check may.
    pub(crate) fn check_in_time(&self) -> Report {
        let mut report = self.check();
        for _ in 0..2 {
            if report.outcome.wall >= MOST {
                report = self.check();
            }
        }
        assert!(report.outcome.wall < MOST, "{:?}", report.outcome.wall);
        report
    }

    /// The same with other arguments.
    pub(crate) fn check_with(&self, arguments: &[&str]) -> Report {
        let outcome = self.run(&[&["--json"], arguments].concat());
        let document = super::schema::read(&outcome.stdout);
        let ids: Vec<_> = document["checks"].as_array().unwrap().iter().map(|check| &check["id"]).collect();
        assert_eq!(ids, CheckId::ALL.map(CheckId::name), "every check, in its order");
        assert_eq!(outcome.stderr, "");
        Report { outcome, document }
    }

    /// What it says to people.
    pub(crate) fn text(&self, arguments: &[&str]) -> Outcome {
        self.run(arguments)
    }

    /// Asks, and again where a busy machine made an answer late: the metadata service's, as it may be by order of the test, or a
    /// check's.
    fn run(&self, arguments: &[&str]) -> Outcome {
        let run = || self.instance.command(["--check"].iter().chain(arguments)).as_root().run();
        let mut outcome = run();
        for _ in 0..2 {
            if [
                "which is slow",
                "did not end within",
                "had no result",
                "gets no answer within",
                "dpkg-query: no answer",
            ]
            .iter()
            .any(|late| outcome.stdout.contains(late))
            {
                outcome = run();
            }
        }
        outcome
    }

    /// Gives sshd another configuration, and has it read that.
    pub(crate) fn configure(&self, text: &str) {
        self.instance.write(CONFIG, text);
        // As sshd does whenever it reads its files.
        // One that reads its configuration again has none for a moment.
        let number = || {
            let read = fs::read(PID_FILE);
            read.inspect_err(|_| std::thread::sleep(Duration::from_millis(50))).ok()
        };
        let number = (0..200).find_map(|_| number()).unwrap();
        self.instance.write(PID_FILE, number);
    }

    /// Gives sshd another configuration, and starts it again.
    pub(crate) fn restart(&self, text: &str) {
        stop_sshd();
        self.instance.write(CONFIG, text);
        self.start_sshd("/usr/sbin/sshd");
    }

    /// Runs a script that starts sshd.
    pub(crate) fn start_sshd(&self, script: &str) {
        self.sh(script);
        self.sshd_has_started();
    }

    /// Waits until sshd has written its PID file, whose time says when it read its configuration, and until what a test writes
    /// next has a later time: the kernel's times of files are up to 10 ms apart.
    fn sshd_has_started(&self) {
        self.sh(&format!("until [ -s {PID_FILE} ]; do sleep 0.01; done; sleep 0.02"));
    }

    /// Runs a script of sh as root.
    pub(crate) fn sh(&self, script: &str) {
        let run = self.instance.command(["-ec", script]).program("/bin/sh").as_root().run();
        assert_eq!(run.status, Some(0), "{script}: {}", run.stderr);
    }

    /// Starts sshd again, in a mount namespace of its own that a script changes. No login works there.
    pub(crate) fn restart_in_namespace(&self, script: &str) {
        stop_sshd();
        let start = format!("{script} && exec /usr/sbin/sshd");
        let arguments = ["--mount", "/bin/sh", "-c", &start];
        let started = self.instance.command(arguments).program("/usr/bin/unshare").as_root().run();
        assert_eq!(started.status, Some(0), "{}", started.stderr);
        self.settled();
        assert_ne!(self.sshd.ssh(USER, &self.key, "true").status, Some(0));
    }

    /// Runs the command that a check says to run.
    pub(crate) fn apply(&self, report: &Report, id: &str) {
        assert_eq!(report.of(id)["fix_kind"], "command");
        let fix = report.of(id)["fix"].as_str().unwrap();
        let fixed = self.instance.command(["-c", fix]).program("/bin/sh").as_root().run();
        assert_eq!(fixed.status, Some(0), "{fix}: {}{}", fixed.stdout, fixed.stderr);
    }

    /// What it says once sshd, which was told to read its configuration, has done so.
    pub(crate) fn settled(&self) -> Report {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let report = self.check();
            if report.status("running.current") == "ok" {
                return report;
            }
            assert!(Instant::now() < deadline, "sshd does not come back: {:#?}", self.sshd.log());
        }
    }

    /// Breaks it, and looks for just this; then for what the first says. Where that says a command to run,
    /// runs it, and all is well.
    pub(crate) fn breaks(&self, by: impl FnOnce(&Self), expected: &[(&str, &str)], says: &str) -> Report {
        by(self);
        let report = self.check();
        report.assert_exactly(expected);
        let first = expected[0].0;
        let note = report.note(first);
        assert!(note.contains(says), "{note} says {says}");
        if report.of(first)["fix_kind"] == "command" && !first.starts_with("clock.") {
            self.apply(&report, first);
            self.check().assert_healthy();
        }
        report
    }
}

/// In a world of its own.
pub(crate) fn broken(by: impl FnOnce(&World<'_>), expected: &[(&str, &str)], says: &str) {
    world(|world| drop(world.breaks(by, expected, says)));
}

impl Report {
    /// One check of it.
    pub(crate) fn of(&self, id: &str) -> &Value {
        let check = self.document["checks"].as_array().unwrap().iter().find(|check| check["id"] == id);
        check.unwrap_or_else(|| panic!("no {id}"))
    }

    /// How it came out.
    pub(crate) fn status(&self, id: &str) -> &str {
        self.of(id)["status"].as_str().unwrap()
    }

    /// What it says.
    pub(crate) fn note(&self, id: &str) -> &str {
        self.of(id)["note"].as_str().unwrap()
    }

    /// The same at length.
    pub(crate) fn detail(&self, id: &str) -> Vec<&str> {
        self.of(id)["detail"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
    }

    /// Checks that nothing is wrong.
    pub(crate) fn assert_healthy(&self) {
        self.assert_exactly(&[]);
        assert_eq!(self.outcome.status, Some(0));
        assert_eq!(self.document["result"], "ok");
    }

    /// Checks that just these came out so, all that builds on a failed one is skipped, and everything else is
    /// ok.
    pub(crate) fn assert_exactly(&self, expected: &[(&str, &str)]) {
        let checks = self.document["checks"].as_array().unwrap();
        let unable = self.without_ground(expected);
        let not_requested = self.note("login.rehearsal") == "--rehearse was not given";
        for check in checks {
            let (id, status) = (check["id"].as_str().unwrap(), check["status"].as_str().unwrap());
            let should = match expected.iter().find(|(one, _)| *one == id) {
                Some((_, status)) => status,
                None if unable.contains(id) || id.starts_with("outside.") => "skip",
                None if not_requested && ["login.rehearsal", "login.terminal"].contains(&id) => "skip",
                None => "ok",
            };
            assert_eq!(status, should, "{id}: {check:#}");
            let wrong = ["warn", "fail"].contains(&status);
            assert!(!wrong || check["fix"].is_string(), "{id} says what to do");
        }
        let failed = expected.iter().any(|(_, status)| *status == "fail");
        assert_eq!(self.outcome.status, Some(i32::from(failed)));
        assert_eq!(self.document["result"], if failed { "failed" } else { "ok" });
        let summary = self.document["summary"].as_str().unwrap();
        for (id, status) in expected {
            assert!(*status == "skip" || summary.contains(id), "{summary} names {id}");
        }
    }

    /// Checks that the summary claims nothing about the running sshd.
    pub(crate) fn assert_unknown(&self) {
        let summary = self.document["summary"].as_str().unwrap();
        let is_unknown = summary.contains("It is not known whether this system refuses alice's keys: see ");
        assert!(is_unknown && !summary.contains("Nothing was found"), "{summary}");
    }

    /// Those that did not come out, and all that builds on them.
    fn without_ground<'a>(&'a self, expected: &[(&'a str, &str)]) -> BTreeSet<&'a str> {
        let failed = expected.iter().filter(|(_, status)| ["fail", "skip"].contains(status));
        let mut unable: BTreeSet<&str> = failed.map(|(id, _)| *id).collect();
        loop {
            let before = unable.len();
            for check in self.document["checks"].as_array().unwrap() {
                let mut ground = check["depends_on"].as_array().unwrap().iter();
                if ground.any(|id| unable.contains(id.as_str().unwrap())) {
                    unable.insert(check["id"].as_str().unwrap());
                }
            }
            if unable.len() == before {
                return unable;
            }
        }
    }
}

/// Ends sshd, as at a shutdown.
pub(crate) fn stop_sshd() {
    // It removes the file before it ends.
    let stopped = "pid=$(cat /run/sshd.pid); kill $pid
        while [ -e /run/sshd.pid ] || grep -qs '^State:.[^Z]' /proc/$pid/status; do sleep 0.01; done";
    let status = Command::new("timeout").args(["5", "sh", "-c", stopped]).status();
    assert!(status.unwrap().success());
}

/// A system with systemd, whose unit started sshd with these options.
pub(crate) fn with_unit(world: &World<'_>, options: &str) {
    stop_sshd();
    fs::create_dir_all("/run/systemd/system").unwrap();
    world.instance.write(
        "/usr/lib/systemd/system/ssh.service",
        "[Service]\nEnvironmentFile=-/etc/default/ssh\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n",
    );
    world.instance.write("/etc/default/ssh", format!("SSHD_OPTS=\"{options}\"\n"));
    let systemctl = "#!/bin/sh\ncase \"$*\" in\n'show --property=MainPID --value ssh') cat /run/sshd.pid ;;\n'show --property=ExecStart '*) cat /run/loaded ;;\n\
         'daemon-reload' | 'restart ssh') echo \"$*\" >>/run/restarted ;;\nesac\n";
    world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
    world.start_sshd(&format!("/usr/sbin/sshd {options}"));
}

/// Another value for one keyword.
pub(crate) fn set(keyword: &str, value: &str) -> impl FnOnce(&World<'_>) + use<> {
    let text = config().set(keyword, value).text();
    move |world| world.configure(&text)
}

/// The content of sshd's PID file. sshd removes it, and writes it again, when it reads its configuration.
pub(crate) fn pid_file() -> Vec<u8> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match fs::read(PID_FILE) {
            Ok(number) if !number.is_empty() => return number,
            read => assert!(Instant::now() < end, "{read:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A line of a log file, written so many seconds ago.
pub(crate) fn log_line(seconds: u64, text: &str) -> String {
    let time = Command::new("date").args(["-Is", "-d", &format!("{seconds} seconds ago")]).output().unwrap();
    format!("{} host {text}\n", String::from_utf8(time.stdout).unwrap().trim_end())
}

/// Changes alice's line of a file of /etc.
pub(crate) fn account(file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with("alice:")).unwrap();
    assert!(line.contains(from), "{line}");
    fs::write(file, text.replace(line, &line.replace(from, to))).unwrap();
}

pub(crate) const HOME: &str = "/run/home/alice";

/// Has alice make something, as herself.
pub(crate) fn alice_does(world: &World<'_>, script: &str) {
    let words = ["--reuid", "47101", "--regid", "47101", "--clear-groups", "/bin/sh", "-ec", script];
    let done = world.instance.command(words).program("/usr/bin/setpriv").as_root().run();
    assert_eq!(done.status, Some(0), "{script}: {}", done.stderr);
}

/// Puts a program in the place of one of the system's that prints this.
pub(crate) fn says(world: &World<'_>, path: &str, text: &str) {
    world.instance.install(path, format!("#!/bin/sh\ncat <<'END'\n{text}\nEND\n").as_bytes());
}

/// A line of the audit log, of some time ago.
pub(crate) fn denial(ago: Duration) -> String {
    let time = SystemTime::now().checked_sub(ago).unwrap().duration_since(UNIX_EPOCH).unwrap();
    format!(
        "type=AVC msg=audit({}.123:3): avc:  denied  {{ name_connect }} for  pid=1 comm=\"eic-keys\" dest=80\n",
        time.as_secs()
    )
}

/// A stopped sshd, whose unit is in a state of systemd, with settings in a drop-in and lines in the journal.
pub(crate) fn failed_unit(world: &World<'_>, state: &str, settings: &str, journal: &str) {
    stop_sshd();
    unit_of_sshd(world, state, settings, journal);
}

/// The same for an sshd that runs.
pub(crate) fn unit_of_sshd(world: &World<'_>, state: &str, settings: &str, journal: &str) {
    fs::create_dir_all("/run/systemd/system").unwrap();
    let unit = "/usr/lib/systemd/system/ssh.service";
    let drop_in = "/etc/systemd/system/ssh.service.d/x.conf";
    world.instance.write(unit, "[Service]\nExecStart=/usr/sbin/sshd -D\n");
    fs::create_dir_all("/etc/systemd/system/ssh.service.d").unwrap();
    world.instance.write(drop_in, format!("[Unit]\nStartLimitIntervalSec=0\n[Service]\n{settings}\n"));
    let drop_in = if settings.is_empty() { "" } else { drop_in };
    let systemctl = format!(
        "#!/bin/sh\ncase \"$*\" in
            'show --property=ActiveState --value '*) echo {};;
            *StateChangeTimestampMonotonic\\ ssh) printf '%s\\n' {state} FragmentPath={unit} DropInPaths={drop_in} ;
                echo ExecMainStartTimestampMonotonic=$(cat /run/started 2>/dev/null || cat /run/failed)
                echo StateChangeTimestampMonotonic=$(cat /run/failed);;
            *) exit 1;;
        esac\n",
        state.split(' ').next().unwrap().split('=').nth(1).unwrap()
    );
    world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
    let journalctl = format!(
        "#!/bin/sh\ncase \"$*\" in *--unit=ssh.service*) printf '%s\\n' {journal};; *) exit 1;; esac\n"
    );
    world.instance.install("/usr/bin/journalctl", journalctl.as_bytes());
    // All that sshd reads is older.
    std::thread::sleep(Duration::from_millis(50));
    let up = fs::read_to_string("/proc/uptime").unwrap();
    let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
    world.instance.write("/run/failed", format!("{:.0}", up * 1e6 + 1e4));
}
