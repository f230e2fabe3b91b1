//! Which login used which pushed key.
//!
//! sshd asks eic-keys for the keys of a user, up to twice in a connection, and logs the key that it accepts. A login is listed if
//! eic-keys provided that key for that user within sshd's grace time before it. If several IAM principals pushed the key in that time,
//! the log cannot tell which one logged in: none is named, and all are candidates.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::lines::{Client, Event, Push};
use crate::limits;
use crate::system_log::Entry;

/// A login with a pushed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// Microseconds since 1970.
    pub(super) time: u64,
    pub(super) client: Client,
    pub(super) fingerprint: String,
    pub(super) principal: Option<String>,
    pub(super) request: Option<String>,
    /// The pushes that can be its own, if there are several.
    pub(super) candidates: Vec<Push>,
    pub(super) state: State,
    /// The process of sshd.
    pub(super) process: Process,
}

/// Whether a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// With the time, if the log has it.
    Ended(Option<u64>),
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
pub(super) struct Refused {
    /// Microseconds since 1970.
    pub(super) time: u64,
    pub(super) user: String,
    pub(super) push: Option<Push>,
    pub(super) reason: String,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// Only logins of this user.
    pub(super) user: Option<String>,
    /// Only logins since this time, in microseconds since 1970.
    pub(super) since: u64,
    /// Refused records as well.
    pub(super) refused: bool,
}

impl Selection {
    fn includes(&self, user: &str, time: u64) -> bool {
        time >= self.since && self.user.as_deref().is_none_or(|only| only == user)
    }
}

/// A key that eic-keys provided.
#[derive(Debug)]
struct Provided {
    push: Push,
    /// `None` before the line that names the user.
    user: Option<String>,
    time: Time,
    pid: String,
}

/// When a line was written.
#[derive(Clone, Debug)]
struct Time {
    /// Microseconds since 1970.
    real: u64,
    /// Microseconds since the start of the system, and the boot ID.
    monotonic: Option<(u64, String)>,
}

impl Time {
    fn of(entry: &Entry) -> Option<Self> {
        let monotonic = entry.monotonic.zip(entry.boot.clone());
        Some(Self { real: entry.time?, monotonic })
    }

    /// Microseconds between two lines. `None` if the system was started between them.
    fn distance(&self, other: &Self) -> Option<u64> {
        match (&self.monotonic, &other.monotonic) {
            (Some((one, boot)), Some((two, same))) => (boot == same).then(|| one.abs_diff(*two)),
            _ => Some(self.real.abs_diff(other.real)),
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
pub(super) struct Sessions {
    selection: Selection,
    /// sshd's `LoginGraceTime` in microseconds.
    grace: u64,
    /// By fingerprint.
    provided: HashMap<String, Vec<Provided>>,
    /// The number of these.
    kept: usize,
    /// The number at which those beyond the grace time are removed.
    sweep_at: usize,
    /// Connections whose key was accepted, and that need another method.
    partial: HashMap<Connection, (Client, String)>,
    logins: VecDeque<Login>,
    /// The number of logins that were removed from the front of `logins`.
    removed: u64,
    /// The logins without an end, by their numbers.
    open: HashMap<Connection, u64>,
    /// The same by client: another process of the connection logs some ends.
    clients: HashMap<Peer, Connection>,
    refused: VecDeque<Refused>,
    /// The number of other things that exceeded a limit.
    left_out: u64,
}

/// The result.
#[derive(Debug)]
pub(super) struct Found {
    /// Oldest first.
    pub(super) logins: Vec<Login>,
    /// Oldest first.
    pub(super) refused: Vec<Refused>,
    /// The number of older logins and records that exceeded [`limits::LOGINS`].
    pub(super) left_out: u64,
}

impl Sessions {
    /// `grace` is in seconds.
    pub(super) fn new(selection: Selection, grace: u64) -> Self {
        Self {
            selection,
            grace: grace.saturating_mul(1_000_000),
            provided: HashMap::new(),
            kept: 0,
            sweep_at: SWEEP,
            partial: HashMap::new(),
            logins: VecDeque::new(),
            removed: 0,
            open: HashMap::new(),
            clients: HashMap::new(),
            refused: VecDeque::new(),
            left_out: 0,
        }
    }

    /// Takes the next line of the log.
    pub(super) fn take(&mut self, entry: &Entry, event: Event) {
        let Some(time) = Time::of(entry) else { return };
        let connection = (entry.boot.clone(), entry.pid.clone());
        match event {
            Event::Provided(push) => self.provide(push, time, entry),
            Event::ProvidedFor { fingerprint, user } => {
                for provided in self.provided.get_mut(&fingerprint).into_iter().flatten() {
                    let is_same = provided.pid == entry.pid && provided.time.distance(&time).is_some();
                    if is_same && provided.user.is_none() {
                        provided.user = Some(user.clone());
                    }
                }
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
            let grace = self.grace;
            for keys in self.provided.values_mut() {
                keys.retain(|key| key.time.distance(&time).is_some_and(|age| age <= grace));
            }
            self.provided.retain(|_, keys| !keys.is_empty());
            self.kept = self.provided.values().map(Vec::len).sum();
            if self.kept >= limits::PROVIDED_KEYS {
                self.left_out = self.left_out.saturating_add(u64::try_from(self.kept).unwrap_or(u64::MAX));
                self.provided.clear();
                self.kept = 0;
            }
            self.sweep_at = self.kept.saturating_mul(2).saturating_add(SWEEP);
        }
        self.kept = self.kept.saturating_add(1);
        let key = Provided { user: None, time, pid: entry.pid.clone(), push };
        self.provided.entry(key.push.fingerprint.clone()).or_default().push(key);
    }

    fn refuse(&mut self, user: String, reason: String, push: Option<Push>, time: u64) {
        if !self.selection.refused || !self.selection.includes(&user, time) {
            return;
        }
        if self.refused.len() >= limits::LOGINS {
            self.refused.pop_front();
            self.left_out = self.left_out.saturating_add(1);
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
        let mut pushes = Vec::new();
        let mut last_run = "";
        for provided in self.provided.get(&fingerprint).into_iter().flatten() {
            if provided.user.as_ref() == Some(&client.user)
                && provided.time.distance(time).is_some_and(|age| age <= self.grace)
            {
                pushes.push(provided);
                last_run = &provided.pid;
            }
        }
        if pushes.is_empty() {
            return;
        }
        let principals: BTreeSet<_> = pushes.iter().map(|provided| &provided.push.principal).collect();
        let one_principal = principals.len() == 1;
        // One principal can have pushed the key several times. What the last run provided is what sshd had.
        let mut candidates: Vec<Push> = Vec::new();
        for provided in pushes.iter().filter(|provided| !one_principal || provided.pid == last_run) {
            if !candidates.contains(&provided.push) {
                candidates.push(provided.push.clone());
            }
        }
        let first = pushes.first().map(|provided| provided.push.clone()).unwrap_or_default();
        let principal = first.principal.filter(|_| one_principal);
        let request = match candidates.as_slice() {
            [only] => only.request.clone(),
            _ => None,
        };
        if candidates.len() == 1 {
            candidates.clear();
        }
        let process =
            Process { pid: entry.pid.clone(), boot: entry.boot.clone(), monotonic: entry.monotonic };
        if self.logins.len() >= limits::LOGINS {
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
            self.close(connection, &login);
        }
    }

    /// The logins of the log. `running` tells about the process of a login that has no end in the log.
    pub(super) fn finish(self, running: impl Fn(&Login) -> State) -> Found {
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
        Found { logins, refused, left_out: self.left_out.saturating_add(self.removed) }
    }
}
