//! Which login used which pushed key.
//!
//! A process of sshd asks eic-keys for the keys of a user, up to twice in a connection, and logs the key that it accepts. A login is
//! listed if eic-keys provided that key for that user to that process, within sshd's grace time before it. If several IAM principals
//! pushed the key, the log cannot tell which one logged in: none is named, and all are candidates.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use super::lines::{Client, Event, Push, event};
use crate::limits;
use crate::system_log::Entry;

/// A login with a pushed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Microseconds since 1970.
    pub(super) time: u64,
    pub(super) client: Client,
    pub(super) fingerprint: String,
    pub(super) principal: Option<String>,
    pub(super) request: Option<String>,
    /// The pushes that can be its own, if there are several.
    pub(super) candidates: Vec<Rc<Push>>,
    pub(super) state: State,
    /// The process of sshd.
    pub(super) process: Process,
}

/// Whether a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It still runs.
    Open,
    /// With the time, if the log has it.
    Ended(Option<u64>),
    /// The log does not tell.
    Unknown,
}

/// A process that wrote a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) pid: String,
    /// The boot ID. `None` in a file.
    pub(super) boot: Option<String>,
    /// Microseconds from the start of the system to the line. `None` in a file.
    pub(super) monotonic: Option<u64>,
}

/// A record that eic-keys refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Microseconds since 1970.
    pub(super) time: u64,
    pub(super) user: String,
    pub(super) push: Option<Push>,
    pub(super) reason: String,
}

/// What to list.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Only logins of this user.
    pub user: Option<String>,
    /// Only logins since this time, in seconds since 1970.
    pub since: u64,
    /// Only logins until this time, in seconds since 1970: that second is included.
    pub until: u64,
    /// Refused records as well.
    pub refused: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self { user: None, since: 0, until: u64::MAX, refused: false }
    }
}

impl Selection {
    fn includes(&self, user: &str, time: u64) -> bool {
        (self.since..=self.until).contains(&time.wrapping_div(1_000_000))
            && self.user.as_deref().is_none_or(|only| only == user)
    }
}

/// A key that eic-keys provided.
#[derive(Debug)]
struct Provided {
    push: Rc<Push>,
    time: Time,
    /// The process of eic-keys.
    pid: String,
}

/// The boot, a process and a fingerprint: of a run of eic-keys before the line that names the user.
type Run = (Option<String>, String, String);

/// The boot, the process of sshd, the user and a fingerprint: of a login that can follow.
type Use = (Option<String>, String, String, String);

/// What eic-keys provided for one use, oldest first.
#[derive(Debug, Default)]
struct Pushes {
    keys: Vec<Provided>,
    /// There were more than [`PUSHES`], so that another principal can have pushed the key.
    incomplete: bool,
}

/// The number of keys for one use: two runs. In a log file, more of them were forged.
const PUSHES: usize = 2 * limits::RECORDS;

impl Pushes {
    fn add(&mut self, key: Provided) {
        if self.keys.len() < PUSHES {
            self.keys.push(key);
            return;
        }
        self.incomplete = true;
        // Each principal is a candidate, whoever pushed the key often.
        if self.keys.iter().all(|known| known.push.principal != key.push.principal) {
            self.keys.pop();
            self.keys.push(key);
        }
    }

    /// Removes those that were provided earlier than the grace time before `time`.
    fn expire(&mut self, time: &Time, grace: u64) {
        self.keys.retain(|key| key.time.distance(time) <= grace);
        self.incomplete &= !self.keys.is_empty();
    }
}

/// When a line was written, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Time {
    /// Since 1970.
    real: u64,
    /// Since the start of the system.
    monotonic: Option<u64>,
}

impl Time {
    /// The time between two lines of the same boot.
    fn distance(self, other: &Self) -> u64 {
        match (self.monotonic, other.monotonic) {
            (Some(one), Some(two)) => one.abs_diff(two),
            _ => self.real.abs_diff(other.real),
        }
    }
}

/// A connection: the boot and the process of sshd.
type Connection = (Option<String>, String);

/// The boot, and the address and port of the client.
type Peer = (Option<String>, String, u16);

/// After so many more keys, those beyond the grace time are removed.
const SWEEP: usize = 1024;

/// Finds the logins in the lines of a log, which are read in its order.
#[derive(Debug)]
pub struct Sessions {
    selection: Selection,
    /// sshd's `LoginGraceTime` in microseconds.
    grace: u64,
    /// Of runs whose user is not known yet.
    runs: HashMap<Run, Pushes>,
    provided: HashMap<Use, Pushes>,
    /// The number of the keys in both.
    kept: usize,
    /// The number at which those beyond the grace time are removed.
    sweep_at: usize,
    /// Connections whose key was accepted, and that need another method.
    partial: HashMap<Connection, (Client, String)>,
    logins: VecDeque<Login>,
    /// The number of their candidates.
    candidates: usize,
    /// The number of logins that were removed from the front of `logins`.
    removed: u64,
    /// The logins without an end, by their numbers.
    open: HashMap<Connection, u64>,
    /// The same by client: another process of the connection logs some ends.
    clients: HashMap<Peer, Connection>,
    refused: VecDeque<Refused>,
    /// The number of refused records that were removed.
    removed_refused: u64,
    /// Keys were removed that a login could use.
    lost: Option<(Option<String>, Time)>,
}

/// The result.
#[derive(Debug)]
pub struct Found {
    /// Oldest first.
    pub logins: Vec<Login>,
    /// Oldest first.
    pub refused: Vec<Refused>,
    /// The number of older logins and records that exceeded a limit, and the time in microseconds until which they are.
    pub left_out: Option<(u64, u64)>,
    /// There were more keys than [`limits::PROVIDED_KEYS`], so that logins can be missing.
    pub lost_keys: bool,
}

impl Sessions {
    /// `grace` is in seconds.
    #[must_use]
    pub fn new(selection: Selection, grace: u64) -> Self {
        Self {
            selection,
            grace: grace.saturating_mul(1_000_000),
            runs: HashMap::new(),
            provided: HashMap::new(),
            kept: 0,
            sweep_at: SWEEP,
            partial: HashMap::new(),
            logins: VecDeque::new(),
            candidates: 0,
            removed: 0,
            open: HashMap::new(),
            clients: HashMap::new(),
            refused: VecDeque::new(),
            removed_refused: 0,
            lost: None,
        }
    }

    /// Takes the next line of the log.
    pub fn take(&mut self, entry: &Entry) {
        let (Some(event), Some(real)) = (event(entry), entry.time) else { return };
        let time = Time { real, monotonic: entry.monotonic };
        let connection = (entry.boot.clone(), entry.pid.clone());
        match event {
            Event::Provided(push) => self.provide(push, time, entry),
            Event::ProvidedFor { fingerprint, user, sshd } => {
                let run = (entry.boot.clone(), entry.pid.clone(), fingerprint.clone());
                let Some(run) = self.runs.remove(&run) else { return };
                let used = self.provided.entry((entry.boot.clone(), sshd, user, fingerprint)).or_default();
                used.expire(&time, self.grace);
                used.incomplete |= run.incomplete;
                run.keys.into_iter().for_each(|key| used.add(key));
            }
            Event::Refused { user, reason, push } => self.refuse(user, reason, push, time.real),
            Event::Accepted { client, fingerprint } => {
                self.accept(connection, client, fingerprint, &time, entry);
            }
            Event::Partial { client, fingerprint } => {
                self.abandon(&connection);
                if self.partial.len() < limits::LOGINS {
                    self.partial.insert(connection, (client, fingerprint));
                }
            }
            Event::AcceptedOther(client) => match self.partial.remove(&connection) {
                Some((same, fingerprint)) if same == client => {
                    self.accept(connection, client, fingerprint, &time, entry);
                }
                _ => self.abandon(&connection),
            },
            Event::Closed { user } => self.end(&connection, time.real, |client| client.user == user),
            Event::Disconnected { user, address, port } => {
                if let Some(connection) = self.clients.get(&(entry.boot.clone(), address, port)).cloned() {
                    let is_client = |client: &Client| user.is_none_or(|user| user == client.user);
                    self.end(&connection, time.real, is_client);
                }
            }
        }
    }

    fn provide(&mut self, push: Push, time: Time, entry: &Entry) {
        if self.kept >= self.sweep_at {
            self.sweep(time, entry.boot.as_ref());
        }
        self.kept = self.kept.saturating_add(1);
        let run = (entry.boot.clone(), entry.pid.clone(), push.fingerprint.clone());
        self.runs.entry(run).or_default().add(Provided { push: Rc::new(push), time, pid: entry.pid.clone() });
    }

    /// Removes what no login can use any more.
    fn sweep(&mut self, time: Time, boot: Option<&String>) {
        let grace = self.grace;
        let can_be_used = |its_boot: &Option<String>, pushes: &mut Pushes| {
            pushes.expire(&time, grace);
            its_boot.as_ref() == boot && !pushes.keys.is_empty()
        };
        self.runs.retain(|(its_boot, ..), pushes| can_be_used(its_boot, pushes));
        self.provided.retain(|(its_boot, ..), pushes| can_be_used(its_boot, pushes));
        self.kept = self.runs.values().chain(self.provided.values()).map(|pushes| pushes.keys.len()).sum();
        if self.kept >= limits::PROVIDED_KEYS {
            self.lost = Some((boot.cloned(), time));
            self.runs.clear();
            self.provided.clear();
            self.kept = 0;
        }
        self.sweep_at = self.kept.saturating_mul(2).saturating_add(SWEEP);
    }

    fn refuse(&mut self, user: String, reason: String, push: Option<Push>, time: u64) {
        if !self.selection.refused || !self.selection.includes(&user, time) {
            return;
        }
        if self.refused.len() >= limits::LOGINS {
            self.refused.pop_front();
            self.removed_refused = self.removed_refused.saturating_add(1);
        }
        self.refused.push_back(Refused { time, user, push, reason });
    }

    fn accept(
        &mut self,
        connection: Connection,
        client: Client,
        fingerprint: String,
        time: &Time,
        entry: &Entry,
    ) {
        self.abandon(&connection);
        if !self.selection.includes(&client.user, time.real) {
            return;
        }
        let used = (entry.boot.clone(), entry.pid.clone(), client.user.clone(), fingerprint.clone());
        let Some(pushes) = self.provided.get_mut(&used) else { return };
        pushes.expire(time, self.grace);
        let Some(last) = pushes.keys.last() else { return };
        let principals: BTreeSet<_> = pushes.keys.iter().map(|key| &key.push.principal).collect();
        // Another principal's push can be among those that were removed.
        let some_removed = self
            .lost
            .as_ref()
            .is_some_and(|(boot, at)| *boot == entry.boot && at.distance(time) <= self.grace);
        let one_principal = principals.len() == 1 && !pushes.incomplete && !some_removed;
        let principal = last.push.principal.clone().filter(|_| one_principal);
        // One principal can have pushed the key several times. What the last run provided is what sshd had.
        let mut candidates: Vec<Rc<Push>> = Vec::new();
        for key in pushes.keys.iter().filter(|key| !one_principal || key.pid == last.pid) {
            if !candidates.contains(&key.push) {
                candidates.push(Rc::clone(&key.push));
            }
        }
        let request = match candidates.as_slice() {
            [only] if one_principal => {
                let request = only.request.clone();
                candidates.clear();
                request
            }
            _ => None,
        };
        let process =
            Process { pid: entry.pid.clone(), boot: entry.boot.clone(), monotonic: entry.monotonic };
        self.candidates = self.candidates.saturating_add(candidates.len());
        while self.logins.len() >= limits::LOGINS || self.candidates > limits::CANDIDATES {
            self.forget_oldest();
        }
        let number = self.removed.saturating_add(u64::try_from(self.logins.len()).unwrap_or(u64::MAX));
        let peer = (entry.boot.clone(), client.address.clone(), client.port);
        self.clients.insert(peer, connection.clone());
        self.open.insert(connection, number);
        let state = State::Unknown;
        let login =
            Login { time: time.real, client, fingerprint, principal, request, candidates, state, process };
        self.logins.push_back(login);
    }

    fn forget_oldest(&mut self) {
        if let Some(login) = self.logins.pop_front() {
            let Login { process: Process { boot, pid, .. }, .. } = &login;
            let connection = (boot.clone(), pid.clone());
            if self.open.get(&connection) == Some(&self.removed) {
                self.close(&connection, &login);
            }
            self.candidates = self.candidates.saturating_sub(login.candidates.len());
            self.removed = self.removed.saturating_add(1);
        }
    }

    fn close(&mut self, connection: &Connection, login: &Login) {
        self.open.remove(connection);
        let peer = (login.process.boot.clone(), login.client.address.clone(), login.client.port);
        if self.clients.get(&peer) == Some(connection) {
            self.clients.remove(&peer);
        }
    }

    /// Another connection has the number of this process, so that the login before it has ended.
    fn abandon(&mut self, connection: &Connection) {
        self.partial.remove(connection);
        self.ended(connection, None, |_| true);
    }

    fn end(&mut self, connection: &Connection, time: u64, is_client: impl FnOnce(&Client) -> bool) {
        self.ended(connection, Some(time), is_client);
    }

    fn ended(&mut self, connection: &Connection, time: Option<u64>, is_client: impl FnOnce(&Client) -> bool) {
        let Some(number) = self.open.get(connection).copied() else { return };
        let index = number.checked_sub(self.removed).and_then(|index| usize::try_from(index).ok());
        let Some(login) = index.and_then(|index| self.logins.get_mut(index)) else { return };
        if is_client(&login.client) {
            login.state = State::Ended(time);
            let login = login.clone();
            if time.is_some() {
                // A later process with this number has nothing of this one's.
                let (boot, sshd) = connection.clone();
                self.provided.remove(&(boot, sshd, login.client.user.clone(), login.fingerprint.clone()));
            }
            self.close(connection, &login);
        }
    }

    /// The logins of the log. `running` tells about the process of a login that has no end in the log.
    pub fn finish(self, running: impl Fn(&Login) -> State) -> Found {
        let mut logins = Vec::from(self.logins);
        for login in &mut logins {
            if login.state == State::Unknown {
                login.state = running(login);
            }
        }
        // The lines of a file are in their order, unless the clock was set back.
        logins.sort_by_key(|login| login.time);
        let mut refused = Vec::from(self.refused);
        refused.sort_by_key(|refused| refused.time);
        // Older than the first of each list that something was removed from.
        let first_login = logins.first().filter(|_| self.removed > 0).map(|login| login.time);
        let first_refused = refused.first().filter(|_| self.removed_refused > 0).map(|refused| refused.time);
        let count = self.removed.saturating_add(self.removed_refused);
        let left_out = first_login.max(first_refused).map(|oldest| (count, oldest));
        Found { logins, refused, left_out, lost_keys: self.lost.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, Login, PUSHES, Selection, Sessions, State};
    use crate::limits;
    use crate::system_log::Entry;

    const KEY: &str = "SHA256:l7S43MrBPCBjXSsRirNHeJ1ORrzDpsL5ffbwKfpkmdc";
    const OTHER: &str = "SHA256:AAAAAAABPCBjXSsRirNHeJ1ORrzDpsL5ffbwKfpkmdc";

    /// Lines of a log: second, process and message.
    struct Log(Vec<(u64, u32, String)>);

    impl Log {
        fn new() -> Self {
            Self(Vec::new())
        }

        fn line(mut self, second: u64, pid: u32, message: &str) -> Self {
            self.0.push((second, pid, message.to_owned()));
            self
        }

        /// A run of eic-keys for the sshd with process 7.
        fn run(self, second: u64, pid: u32, user: &str, key: &str, pushes: &[(&str, &str)]) -> Self {
            self.run_for(7, second, pid, user, key, pushes)
        }

        fn run_for(
            mut self,
            sshd: u32,
            second: u64,
            pid: u32,
            user: &str,
            key: &str,
            pushes: &[(&str, &str)],
        ) -> Self {
            for (principal, request) in pushes {
                self = self.line(
                    second,
                    pid,
                    &format!(
                        "Providing ssh key from EC2 Instance Connect with fingerprint: {key}, request-id: {request}, for IAM principal: {principal}"
                    ),
                );
            }
            for _ in pushes {
                self = self.line(second, pid, &format!("Provided {key} for {user} to process {sshd}"));
            }
            self
        }

        fn accepted(self, second: u64, pid: u32, user: &str, key: &str) -> Self {
            let port = pid.saturating_add(1000);
            self.line(
                second,
                pid,
                &format!("Accepted publickey for {user} from 192.0.2.1 port {port} ssh2: ED25519 {key}"),
            )
        }

        fn entries(&self, boot: Option<&str>) -> Vec<Entry> {
            let entry = |(second, pid, message): &(u64, u32, String)| {
                let ours = message.starts_with("Provid") || message.starts_with("Refused");
                let micros = second.saturating_mul(1_000_000);
                Entry {
                    uid: None,
                    time: Some(micros),
                    monotonic: boot.map(|_| micros),
                    boot: boot.map(str::to_owned),
                    program: if ours { "eic-keys" } else { "sshd" }.to_owned(),
                    pid: pid.to_string(),
                    message: message.clone(),
                }
            };
            self.0.iter().map(entry).collect()
        }

        fn read(&self, selection: Selection) -> Found {
            found(&self.entries(None), selection)
        }

        fn logins(&self) -> Vec<Login> {
            self.read(Selection::default()).logins
        }
    }

    fn found(entries: &[Entry], selection: Selection) -> Found {
        let mut sessions = Sessions::new(selection, 120);
        for entry in entries {
            sessions.take(entry);
        }
        sessions.finish(|_| State::Open)
    }

    fn names(login: &Login) -> (Option<&str>, Option<&str>, usize) {
        (login.principal.as_deref(), login.request.as_deref(), login.candidates.len())
    }

    #[test]
    fn a_login_with_a_pushed_key() {
        // sshd asks when the key is offered, and again when it signs.
        let log = Log::new()
            .run(10, 20, "alice", KEY, &[("anna", "r1")])
            .run(11, 21, "alice", KEY, &[("anna", "r1")])
            .accepted(11, 7, "alice", KEY)
            .line(71, 7, "pam_unix(sshd:session): session closed for user alice");
        let logins = log.logins();
        assert_eq!(logins.iter().map(names).collect::<Vec<_>>(), [(Some("anna"), Some("r1"), 0)]);
        assert_eq!(
            logins.first().map(|login| (login.time, login.state)),
            Some((11_000_000, State::Ended(Some(71_000_000))))
        );
    }

    #[test]
    fn a_login_that_is_not_listed() {
        for (what, log) in [
            ("no push", Log::new().accepted(11, 7, "alice", KEY)),
            (
                "another key",
                Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]).accepted(11, 7, "alice", OTHER),
            ),
            (
                "the same key in authorized_keys of another user",
                Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]).accepted(11, 7, "bob", KEY),
            ),
            (
                "beyond the grace time",
                Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]).accepted(131, 7, "alice", KEY),
            ),
            (
                "provided later",
                Log::new().accepted(10, 7, "alice", KEY).run(11, 20, "alice", KEY, &[("anna", "r1")]),
            ),
            (
                "another connection, as with authorized_keys after the push has expired",
                Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]).accepted(11, 8, "alice", KEY),
            ),
            (
                "no user is known",
                Log::new()
                    .line(
                        10,
                        20,
                        &format!("Providing ssh key from EC2 Instance Connect with fingerprint: {KEY}"),
                    )
                    .line(10, 21, &format!("Provided {KEY} for alice to process 7"))
                    .accepted(11, 7, "alice", KEY),
            ),
            (
                "a repetition, which has no words of its own",
                Log::new()
                    .line(
                        10,
                        20,
                        &format!("message repeated 2 times: [ Provided {KEY} for alice to process 7]"),
                    )
                    .accepted(11, 7, "alice", KEY),
            ),
        ] {
            assert_eq!(log.logins(), [], "{what}");
        }
        let last = Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]).accepted(130, 7, "alice", KEY);
        assert_eq!(last.logins().len(), 1, "the end of the grace time");
    }

    #[test]
    fn several_pushes_of_one_key() {
        let runs = |first: &[(&str, &str)], second: &[(&str, &str)]| {
            let log = Log::new().run(10, 20, "alice", KEY, first).run(11, 21, "alice", KEY, second);
            log.accepted(11, 7, "alice", KEY).logins()
        };
        for (first, second, expected) in [
            // Two principals: the log cannot tell whose login it is, whatever the order.
            (&[("anna", "r1")][..], &[("bert", "r2")][..], (None, None, 2)),
            (&[("anna", "r1"), ("bert", "r2")], &[("bert", "r2")], (None, None, 2)),
            (&[], &[("bert", "r2"), ("anna", "r1")], (None, None, 2)),
            // One principal: the last run has what sshd used.
            (&[("anna", "r1")], &[("anna", "r2")], (Some("anna"), Some("r2"), 0)),
            (&[("anna", "r1")], &[("anna", "r1"), ("anna", "r2")], (Some("anna"), None, 2)),
            (&[("anna", "r1")], &[("anna", "r1"), ("anna", "r1")], (Some("anna"), Some("r1"), 0)),
        ] {
            let logins = runs(first, second);
            assert_eq!(logins.iter().map(names).collect::<Vec<_>>(), [expected], "{first:?} {second:?}");
        }
        // Of another user, and of another boot.
        let log = Log::new().run(10, 20, "bob", KEY, &[("bert", "r2")]).run(
            11,
            21,
            "alice",
            KEY,
            &[("anna", "r1")],
        );
        let logins = log.accepted(11, 7, "alice", KEY).logins();
        assert_eq!(logins.iter().map(names).collect::<Vec<_>>(), [(Some("anna"), Some("r1"), 0)]);
    }

    #[test]
    fn two_logins_at_the_same_time() {
        let log = Log::new()
            .run(10, 20, "alice", KEY, &[("anna", "r1")])
            .run_for(8, 10, 21, "alice", OTHER, &[("bert", "r2")])
            .accepted(11, 8, "alice", OTHER)
            .accepted(11, 7, "alice", KEY)
            .line(20, 9, "Disconnected from user alice 192.0.2.1 port 1008")
            .line(30, 7, "pam_unix(sshd:session): session closed for user bob");
        let logins = log.logins();
        let found: Vec<_> = logins.iter().map(|login| (names(login), login.state)).collect();
        assert_eq!(
            found,
            [
                ((Some("bert"), Some("r2"), 0), State::Ended(Some(20_000_000))),
                ((Some("anna"), Some("r1"), 0), State::Open),
            ]
        );
    }

    #[test]
    fn a_process_number_that_is_used_again() {
        let log = Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]).accepted(11, 7, "alice", KEY);
        let again = log.accepted(5000, 7, "bob", OTHER).line(
            5001,
            7,
            "pam_unix(sshd:session): session closed for user bob",
        );
        assert_eq!(again.logins().first().map(|login| login.state), Some(State::Ended(None)));
    }

    #[test]
    fn keys_end_with_the_session() {
        // Another connection gets the number of the process, and the key is in authorized_keys.
        let log = Log::new()
            .run(10, 20, "alice", KEY, &[("anna", "r1")])
            .accepted(11, 7, "alice", KEY)
            .line(12, 7, "pam_unix(sshd:session): session closed for user alice")
            .accepted(20, 7, "alice", KEY);
        assert_eq!(log.logins().len(), 1);
    }

    #[test]
    fn a_key_and_another_method() {
        let partial = format!("Partial publickey for alice from 192.0.2.1 port 5 ssh2: ED25519 {KEY}");
        let log = |second: &str| {
            let log = Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]).line(10, 7, &partial);
            log.line(30, 7, second).logins().len()
        };
        assert_eq!(log("Accepted keyboard-interactive/pam for alice from 192.0.2.1 port 5 ssh2"), 1);
        assert_eq!(log("Accepted keyboard-interactive/pam for bob from 192.0.2.1 port 5 ssh2"), 0);
        assert_eq!(log("Accepted keyboard-interactive/pam for alice from 192.0.2.1 port 6 ssh2"), 0);
    }

    #[test]
    fn boots_and_clocks() {
        let run = Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]).entries(Some("one"));
        let login = |boot| Log::new().accepted(11, 7, "alice", KEY).entries(Some(boot));
        let count = |entries: Vec<Entry>| found(&entries, Selection::default()).logins.len();
        assert_eq!(count([run.clone(), login("one")].concat()), 1);
        assert_eq!(count([run.clone(), login("two")].concat()), 0, "the system was started between them");
        // The clock was set by an hour between the lines.
        let set =
            login("one").into_iter().map(|entry| Entry { time: Some(3_600_000_000), ..entry }).collect();
        assert_eq!(count([run, set].concat()), 1);
    }

    #[test]
    fn what_is_selected() {
        let log = Log::new()
            .run(10, 20, "alice", KEY, &[("anna", "r1")])
            .accepted(11, 7, "alice", KEY)
            .run_for(8, 20, 21, "bob", KEY, &[("anna", "r2")])
            .accepted(21, 8, "bob", KEY)
            .line(22, 23, "Refused a record of active keys for bob: it expired 1 s ago");
        let between = |user: Option<&str>, since, until, refused| {
            let found = log.read(Selection { user: user.map(str::to_owned), since, refused, until });
            (found.logins.len(), found.refused.len())
        };
        let count = |user, since, refused| between(user, since, u64::MAX, refused);
        assert_eq!(count(None, 0, false), (2, 0));
        assert_eq!(count(None, 0, true), (2, 1));
        assert_eq!(count(Some("bob"), 0, true), (1, 1));
        assert_eq!(count(Some("alice"), 0, true), (1, 0));
        assert_eq!(count(Some("ali"), 0, true), (0, 0));
        assert_eq!(count(None, 11, true), (2, 1));
        assert_eq!(count(None, 12, true), (1, 1));
        assert_eq!(between(None, 0, 10, true), (0, 0));
        assert_eq!(between(None, 0, 11, true), (1, 0));
        assert_eq!(between(None, 12, 22, true), (1, 1));
    }

    #[test]
    fn the_newest_logins_of_a_large_log() {
        let mut log = Log::new();
        let most = u32::try_from(limits::LOGINS).unwrap_or_default();
        for pid in 100..most.saturating_add(103) {
            log = log.run_for(pid, 10, 20, "alice", KEY, &[("anna", "r1")]).line(
                11,
                pid,
                &format!("Accepted publickey for alice from 192.0.2.1 port 5 ssh2: ED25519 {KEY}"),
            );
        }
        let last = most.saturating_add(102);
        let found = log
            .line(60, last, "pam_unix(sshd:session): session closed for user alice")
            .read(Selection::default());
        assert_eq!((found.logins.len(), found.left_out), (limits::LOGINS, Some((3, 11_000_000))));
        assert_eq!(found.logins.last().map(|login| login.state), Some(State::Ended(Some(60_000_000))));
        assert_eq!(found.logins.first().map(|login| login.process.pid.as_str()), Some("103"));
    }

    #[test]
    fn forged_keys_before_a_login() {
        // Nothing tells which of too many are forged, so no principal is named.
        let forged = |count: usize| {
            let pushes: Vec<_> = (0..count).map(|number| format!("f{number}")).collect();
            let pushes: Vec<_> = pushes.iter().map(|request| ("bert", request.as_str())).collect();
            let mut log = Log::new();
            for (pid, run) in (1000..).zip(pushes.chunks(limits::RECORDS)) {
                log = log.run(10, pid, "alice", KEY, run);
            }
            let logins =
                log.run(10, 20, "alice", KEY, &[("bert", "r")]).accepted(11, 7, "alice", KEY).logins();
            logins
                .iter()
                .map(names)
                .map(|(arn, request, count)| (arn.is_some(), request.is_some(), count))
                .collect::<Vec<_>>()
        };
        assert_eq!(forged(PUSHES.saturating_sub(1)), [(true, true, 0)]);
        assert_eq!(forged(PUSHES), [(false, false, PUSHES)]);
        assert_eq!(forged(10_000), [(false, false, PUSHES)]);
        // What was forged earlier than the grace time before a login does not count.
        let mut log = Log::new();
        for pid in 1000..1003 {
            let pushes = [("bert", "f"); limits::RECORDS];
            log = log.run(10, pid, "alice", KEY, &pushes);
        }
        let log = log.run(200, 20, "alice", KEY, &[("anna", "r")]).accepted(201, 7, "alice", KEY);
        assert_eq!(log.logins().iter().map(names).collect::<Vec<_>>(), [(Some("anna"), Some("r"), 0)]);
    }

    #[test]
    fn keys_that_were_forgotten_name_no_principal() {
        let mut sessions = Sessions::new(Selection::default(), 120);
        let flood = |sessions: &mut Sessions| {
            let most = u32::try_from(limits::PROVIDED_KEYS).unwrap_or_default();
            for pid in 1000..most.saturating_mul(3) {
                let log = Log::new().run_for(pid, 10, pid, "bob", OTHER, &[("eve", "f")]);
                log.entries(None).iter().for_each(|entry| sessions.take(entry));
            }
        };
        let take = |sessions: &mut Sessions, log: Log| {
            log.entries(None).iter().for_each(|entry| sessions.take(entry));
        };
        take(&mut sessions, Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]));
        flood(&mut sessions);
        take(
            &mut sessions,
            Log::new().run(10, 21, "alice", KEY, &[("bert", "r2")]).accepted(11, 7, "alice", KEY),
        );
        // Beyond the grace time, nothing that was forgotten counts.
        take(
            &mut sessions,
            Log::new().run(200, 22, "alice", KEY, &[("bert", "r3")]).accepted(201, 7, "alice", KEY),
        );
        let found = sessions.finish(|_| State::Open);
        assert!(found.lost_keys);
        let named: Vec<_> = found.logins.iter().map(|login| login.principal.as_deref()).collect();
        assert_eq!(named, [None, Some("bert")]);
    }

    #[test]
    fn many_pushes_of_one_principal_do_not_hide_another() {
        let pushes = [("bert", "b"); 64];
        let mut log = Log::new();
        for pid in 1000..1003 {
            log = log.run(10, pid, "alice", KEY, &pushes);
        }
        let logins = log.run(10, 20, "alice", KEY, &[("anna", "r")]).accepted(11, 7, "alice", KEY).logins();
        let candidates: Vec<_> = logins.iter().flat_map(|login| &login.candidates).collect();
        assert!(candidates.iter().any(|push| push.principal.as_deref() == Some("anna")), "{candidates:?}");
        assert_eq!(logins.first().and_then(|login| login.principal.as_deref()), None);
    }

    #[test]
    fn a_message_that_neither_program_writes() {
        let name = |length: usize| "u".repeat(length);
        let logins = |user: &str| {
            let log = Log::new().run(10, 20, user, KEY, &[("anna", "r")]).accepted(11, 7, user, KEY);
            log.logins().len()
        };
        assert_eq!(logins(&name(limits::LOGGED)), 1);
        assert_eq!(logins(&name(limits::LOG_MESSAGE)), 0);
    }

    #[test]
    fn the_candidates_of_many_logins() {
        let requests: Vec<_> = (0..limits::RECORDS).map(|number| format!("r{number}")).collect();
        let pushes: Vec<_> = requests.iter().map(|request| ("anna", request.as_str())).collect();
        let mut sessions = Sessions::new(Selection::default(), 120);
        let most = limits::CANDIDATES.div_ceil(limits::RECORDS);
        for pid in (100..).take(most) {
            let second = u64::from(pid).saturating_mul(1000);
            let log = Log::new()
                .run_for(pid, second, 20, "alice", KEY, &pushes)
                .accepted(second, pid, "alice", KEY);
            log.entries(None).iter().for_each(|entry| sessions.take(entry));
        }
        let found = sessions.finish(|_| State::Open);
        let candidates: usize = found.logins.iter().map(|login| login.candidates.len()).sum();
        assert!(candidates <= limits::CANDIDATES, "{candidates}");
        let left_out = found.left_out.map(|(count, _)| count);
        assert_eq!((found.logins.len(), left_out), (most.saturating_sub(1), Some(1)));
    }
}
