//! Limits of connections and of the time for a login, and the penalties of clients.

use std::io;
use std::time::Duration;

use crate::check::request::seconds;
use crate::check::runner::Answer;
use crate::check::settings::Settings;
use crate::ec2::KEY_LIFETIME;
use crate::limits;
use crate::process::TrustedCommand;
use crate::seconds::{Seconds, decimal};

pub(super) fn limits_of(settings: &Settings, timeout: Duration) -> Answer<()> {
    /// Fewer unauthenticated connections are used up by a scanner.
    const FEW: u32 = 3;
    // Since OpenSSH 9.9.
    if settings.is("refuseconnection", "yes") {
        return settings.refuses(
            "refuseconnection",
            "RefuseConnection is yes: sshd closes each connection",
            "remove RefuseConnection",
        );
    }
    if settings.is("persourcemaxstartups", "0") {
        return settings.refuses(
            "persourcemaxstartups",
            "PerSourceMaxStartups is 0: sshd drops each connection",
            "set PerSourceMaxStartups none",
        );
    }
    let grace = settings.one("logingracetime").parse().map(Duration::from_secs).unwrap_or_default();
    if !grace.is_zero() && grace <= timeout {
        return settings.warns(
            "logingracetime",
            format!("LoginGraceTime is {} s, and eic-keys may take {} s", grace.as_secs(), seconds(timeout)),
            "set LoginGraceTime 120",
        );
    }
    let startups = settings.one("maxstartups");
    let first = startups.split(':').next().and_then(|first| first.parse::<u32>().ok());
    if first.is_some_and(|first| first < FEW) {
        return settings.warns(
            "maxstartups",
            format!("MaxStartups is {startups}: a few clients that do not log in keep others out"),
            "set MaxStartups 10:30:100",
        );
    }
    let each = settings.one("persourcemaxstartups");
    if each.parse().is_ok_and(|most: u32| most < FEW) {
        return settings.warns(
            "persourcemaxstartups",
            format!(
                "PerSourceMaxStartups is {each}: a client that does not log in keeps others with its address out"
            ),
            "set PerSourceMaxStartups none",
        );
    }
    if let Some(answer) = penalties(settings) {
        return answer;
    }
    Answer::ok(format!("LoginGraceTime is {} s, MaxStartups {startups}", grace.as_secs()), ())
}

/// The result if sshd looks up the names of its clients, and gets no answer.
pub(super) fn slow_names(settings: &Settings) -> Option<Answer<()>> {
    if !settings.is("usedns", "yes") {
        return None;
    }
    // No system has this address (RFC 5737), so that only the name service's own answer counts.
    let asked = TrustedCommand::new("getent").with(["hosts", "192.0.2.1"]).run(limits::CLIENT_NAME);
    asked.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut).then(|| {
        Answer::warn(
            format!(
                "UseDNS is yes, and the name service has no answer for a client's address within {} s: sshd waits for it at each login",
                limits::CLIENT_NAME.as_secs()
            ),
            settings.fix("usedns", "set UseDNS no"),
            (),
        )
    })
}

/// `PerSourcePenalties` (OpenSSH 9.8 and later). `sshd -T` prints `crash:90 authfail:5 ... max:600 min:15 ... overflow:permissive`.
pub(crate) struct Penalties<'a> {
    list: &'a str,
    min: Duration,
    max: Duration,
    /// `PerSourceNetBlockSize`
    networks: &'a str,
}

impl<'a> Penalties<'a> {
    /// `None` if sshd has none.
    pub(crate) fn of(settings: &'a Settings) -> Option<Self> {
        let (list, networks) = (settings.one("persourcepenalties"), settings.one("persourcenetblocksize"));
        let list = Self { list, min: Duration::ZERO, max: Duration::ZERO, networks };
        Some(Self { min: list.time("min")?, max: list.time("max")?, ..list })
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.list.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))
    }

    fn time(&self, name: &str) -> Option<Duration> {
        self.value(name).and_then(decimal)
    }

    /// The length of the networks whose addresses have one penalty. `at`: 0 for IPv4, 1 for IPv6.
    fn network(&self, at: usize) -> Option<u32> {
        self.networks.split(':').nth(at)?.parse().ok()
    }

    /// Whether a connection without a login, from `source` of network.banner or from `::1`, has a penalty that others notice.
    pub(crate) fn concerns_clients(&self, ipv4: bool) -> bool {
        /// That network is the half of 127.0.0.0/8.
        const OWN: u32 = 9;
        let noauth = self.time("noauth").unwrap_or_default();
        let is_shared = if ipv4 {
            self.network(0).is_some_and(|bits| bits < OWN)
        } else {
            noauth > self.min || self.network(1).is_some_and(|bits| bits < 128)
        };
        !noauth.is_zero() && is_shared
    }
}

/// Penalties that refuse an ordinary client: for longer than a pushed key is valid, after one attempt, or for what others do.
fn penalties(settings: &Settings) -> Option<Answer<()>> {
    /// Fewer addresses than a scanner has.
    const SOURCES: u32 = 1024;
    /// A network that many clients are in.
    const WIDE: u32 = 8;
    let warns = |note: String, change| Some(settings.warns("persourcepenalties", note, change));
    let list = Penalties::of(settings)?;
    for (name, what) in
        [("authfail", "one attempt that fails"), ("noauth", "one connection without an attempt")]
    {
        let penalty = list.time(name).unwrap_or_default().min(list.max);
        if penalty >= KEY_LIFETIME.max(list.min) {
            let seconds = Seconds(penalty);
            return warns(
                format!(
                    "PerSourcePenalties {name}:{seconds}: after {what}, sshd refuses the client's address for {seconds} s"
                ),
                "remove PerSourcePenalties, or exempt the addresses of the clients (PerSourcePenaltyExemptList)",
            );
        }
    }
    for (overflow, sources) in [("overflow", "max-sources4"), ("overflow6", "max-sources6")] {
        let most = list.value(sources).and_then(|number| number.parse().ok()).unwrap_or(u32::MAX);
        if list.value(overflow) == Some("deny-all") && most < SOURCES {
            return warns(
                format!(
                    "PerSourcePenalties {overflow}:deny-all {sources}:{most}: while {most} addresses have a penalty, sshd refuses all others"
                ),
                "set overflow:permissive",
            );
        }
    }
    let network = list.network(0).filter(|bits| *bits <= WIDE)?;
    warns(
        format!("PerSourceNetBlockSize is {network}: a penalty for one client is a penalty for many others"),
        "remove PerSourceNetBlockSize",
    )
}

#[cfg(test)]
mod tests {
    use super::{Duration, Penalties, Settings, limits_of};
    use crate::check::fix::Fix;
    use crate::check::settings::SettingsSource;
    use crate::config_tree::ConfigTree;
    use crate::sshd::config::Config;
    use crate::sshd::criteria::ConnectionSpec;
    use crate::sshd::query::{Dump, Sshd};
    use crate::sshd::version::OpensshVersion;

    /// Settings with these lines of `sshd -T`.
    fn settings(lines: &str) -> Settings {
        let lines = lines.lines().map(|line| line.as_bytes().to_vec()).collect();
        let dump = Dump { command: None, user: None, lines };
        let source = SettingsSource {
            connection: ConnectionSpec::probe(),
            config: None,
            options: Vec::new(),
            daemon_options: Vec::new(),
            changed_files: Vec::new(),
            refused_by: None,
            reload: Fix::command("systemctl reload ssh", []),
            restart: Fix::command("systemctl restart ssh", []),
            sshd: Sshd::new(&[]),
            main: "/etc/ssh/sshd_config".into(),
            has_directory: true,
            has_host_keys: true,
            rejected: None,
        };
        Settings::new(dump, source)
    }

    /// sshd joins the penalties of its command line and of a file.
    #[test]
    #[allow(clippy::unwrap_used, reason = "a test may panic")]
    fn penalties_of_a_file_beside_the_command_line() {
        let root = std::env::temp_dir().join(format!("eic-keys-penalties-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc/ssh")).unwrap();
        let place = |text: &str| {
            std::fs::write(root.join("etc/ssh/sshd_config"), text).unwrap();
            let (tree, main) = (ConfigTree::new(&root), "/etc/ssh/sshd_config".as_ref());
            let version = OpensshVersion::from_version_text("OpenSSH_10.0").unwrap();
            let mut settings = settings("persourcepenalties authfail:60 max:600 min:1");
            settings.source.config = Config::read(&tree, main, version).ok();
            settings.source.options = vec!["PerSourcePenalties=no".to_owned()];
            settings.fix("persourcepenalties", "remove it").text().to_owned()
        };
        let (file, line) = (place("PerSourcePenalties authfail:60 min:1\n"), place("Port 22\n"));
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(file, "remove it (/etc/ssh/sshd_config line 1), then: systemctl reload ssh");
        assert_eq!(line, "remove it (sshd's command line), then: systemctl restart ssh");
    }

    #[test]
    fn settings_of_newer_versions() {
        for (line, fails) in [
            ("refuseconnection yes", true),
            ("refuseconnection no", false),
            ("persourcemaxstartups 0", true),
            ("persourcemaxstartups none", false),
        ] {
            let answer = limits_of(&settings(line), Duration::from_secs(4));
            assert_eq!(format!("{answer:?}").contains("status: Fail"), fails, "{line}");
        }
    }

    /// Penalties of one connection without a login, from an address that no client has.
    #[test]
    fn penalties_of_this_systems_own_connection() {
        let usual = "crash:90 authfail:5 noauth:1 max:600 min:15";
        for (list, networks, ipv4, ipv6) in [
            (usual, "32:128", false, false),
            (usual, "16:64", false, true),
            (usual, "8:128", true, false),
            ("noauth:600.000000 max:600.000000 min:0.000000", "32:128", false, true),
            ("noauth:0 max:600 min:0", "0:0", false, false),
            ("no", "0:0", false, false),
        ] {
            let settings = settings(&format!("persourcepenalties {list}\npersourcenetblocksize {networks}"));
            let concerns = |ipv4| Penalties::of(&settings).is_some_and(|list| list.concerns_clients(ipv4));
            assert_eq!((concerns(true), concerns(false)), (ipv4, ipv6), "{list} {networks}");
        }
    }

    /// The lines are those of 9.9 and 10.0, whose numbers differ in form.
    #[test]
    fn penalties_that_refuse_ordinary_clients() {
        let defaults = "persourcepenalties crash:90 authfail:5 noauth:1 grace-exceeded:10 refuseconnection:10 max:600 min:15 \
                        max-sources4:65536 max-sources6:65536 overflow:permissive overflow6:permissive";
        for (change, says) in [
            (("", ""), None),
            (("crash:90 authfail:5 noauth:1", "crash:90.000000 authfail:5.000000 noauth:1.000000"), None),
            (("persourcepenalties crash:90", "persourcepenalties no"), None),
            (("authfail:5", "authfail:3600.000000"), Some("authfail:600: after one attempt that fails")),
            (("authfail:5", "authfail:30"), None),
            (("noauth:1", "noauth:60"), Some("noauth:60: after one connection without an attempt")),
            (("min:15", "min:0"), None),
            (
                (
                    "max-sources4:65536 max-sources6:65536 overflow:permissive",
                    "max-sources4:10 max-sources6:65536 overflow:deny-all",
                ),
                Some("while 10 addresses have a penalty"),
            ),
            (("overflow:permissive", "overflow:deny-all"), None),
        ] {
            let line = if change.1 == "persourcepenalties no" {
                change.1.to_owned()
            } else {
                defaults.replacen(change.0, change.1, 1)
            };
            let answer = format!("{:?}", limits_of(&settings(&line), Duration::from_secs(4)));
            match says {
                None => assert!(answer.contains("status: Ok"), "{line}: {answer}"),
                Some(says) => {
                    assert!(answer.contains("status: Warn") && answer.contains(says), "{line}: {answer}");
                }
            }
        }
        let wide = settings(&format!("{defaults}\npersourcenetblocksize 0:0"));
        assert!(
            format!("{:?}", limits_of(&wide, Duration::from_secs(4))).contains("PerSourceNetBlockSize is 0")
        );
        let plain = settings(&format!("{defaults}\npersourcenetblocksize 32:128"));
        assert!(format!("{:?}", limits_of(&plain, Duration::from_secs(4))).contains("status: Ok"));
    }
}
