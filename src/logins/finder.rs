//! Which login used which pushed key.
//!
//! A process of sshd asks eic-keys for the keys of a user, up to twice in a connection, and logs the key that it accepts. A login is
//! listed if eic-keys provided that key for that user to that process, within sshd's grace time before it. If several IAM principals
//! pushed the key, the log cannot tell which one logged in: none is named, and all are candidates.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::rc::Rc;

use super::events::{Event, event};
use crate::calendar::MICROS;
use crate::limits;
use crate::log_lines::{OwnLine, Push};
use crate::system_log::Entry;
use crate::system_log::accepted::Client;
use crate::system_log::journal::Moment;

/// A login with a pushed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Microseconds since 1970.
    pub(super) time: u64,
    pub(super) client: Client<String>,
    pub(super) fingerprint: String,
    pub(super) principal: Option<String>,
    pub(super) request: Option<String>,
    /// The pushes that can be its own, if there are several.
    pub(super) candidates: Vec<Rc<Push>>,
    pub(super) state: SessionState,
    /// The process of sshd.
    pub(super) process: ProcessId,
}

/// Whether a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It still runs.
    Open,
    /// With the time, if the log has it.
    Ended(Option<u64>),
    /// The log does not tell.
    Unknown,
}

/// A process that wrote a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ProcessId {
    pub(super) pid: u32,
    /// The boot ID. `None` in a file.
    pub(super) boot: Option<String>,
    /// Microseconds from the start of the system to the line. `None` in a file.
    pub(super) monotonic: Option<u64>,
}

/// A record that eic-keys refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
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
    /// Only logins since this time, in microseconds since 1970.
    pub since: u64,
    /// Only logins until this time, in microseconds since 1970.
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
        (self.since..=self.until).contains(&time) && self.user.as_deref().is_none_or(|only| only == user)
    }
}

/// A key that eic-keys provided.
#[derive(Debug)]
struct Provided {
    push: Rc<Push>,
    /// The log does not have the line with its principal.
    unnamed: bool,
    time: Time,
    /// The process of eic-keys.
    pid: u32,
}

/// The key of a map: a hash of texts and numbers with a random seed, so that a lookup copies no text. Nobody can choose two inputs with
/// the same hash. (All other keys in this file are SSH keys.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct MapKey(u64);

/// Makes the [`MapKey`]s of one log, with its seed.
#[derive(Debug, Default)]
struct MapKeys(RandomState);

impl MapKeys {
    /// What wrote a line: the ID of the boot or, in a file, the name of the system.
    fn system(&self, name: &str) -> MapKey {
        self.of(name)
    }

    /// A process. For sshd, this is a connection.
    fn process(system: MapKey, pid: u32) -> MapKey {
        // Different processes of a system have different map keys, because the factor is odd. It also spreads them: the hasher does not.
        MapKey(system.0 ^ u64::from(pid).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A run of eic-keys before the line that names the user, and a fingerprint.
    fn run(&self, process: MapKey, fingerprint: &str) -> MapKey {
        self.of((process, fingerprint))
    }

    /// A login that can follow: the process of sshd, the user and a fingerprint.
    fn login(&self, connection: MapKey, user: &str, fingerprint: &str) -> MapKey {
        self.of((connection, user, fingerprint))
    }

    /// The address and port of a client.
    fn peer(&self, system: MapKey, address: &str, port: u16) -> MapKey {
        self.of((system, address, port))
    }

    fn of(&self, parts: impl Hash) -> MapKey {
        MapKey(self.0.hash_one(parts))
    }
}

/// Finds values by a [`MapKey`], which is a hash already and is not hashed again.
type HashedMap<T> = HashMap<MapKey, T, BuildHasherDefault<MapKeyHasher>>;

#[derive(Debug, Default)]
struct MapKeyHasher(u64);

impl Hasher for MapKeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What eic-keys provided for one login, oldest first.
#[derive(Debug)]
struct Pushes {
    system: MapKey,
    keys: Vec<Provided>,
    /// There were more than [`limits::LOGIN_KEYS`], so that another principal can have pushed the key.
    incomplete: bool,
}

impl Pushes {
    fn new(system: MapKey) -> Self {
        Self { system, keys: Vec::new(), incomplete: false }
    }

    fn add(&mut self, key: Provided) {
        if self.keys.len() < limits::LOGIN_KEYS {
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

    /// Whose login used one of them. `None` without any.
    fn attribute(&self, some_removed: bool) -> Option<Attribution> {
        let last = self.keys.last()?;
        let same_principal = self.keys.iter().all(|key| key.push.principal == last.push.principal);
        let one_principal = same_principal && !self.incomplete && !some_removed;
        let principal = last.push.principal.clone().filter(|_| one_principal);
        // One principal can have pushed the key several times. What the last run provided is what sshd had.
        let mut candidates: Vec<Rc<Push>> = Vec::new();
        for key in self.keys.iter().filter(|key| !one_principal || key.pid == last.pid) {
            if !candidates.contains(&key.push) {
                candidates.push(Rc::clone(&key.push));
            }
        }
        let unnamed = self.keys.iter().any(|key| key.unnamed);
        Some(match candidates.as_slice() {
            [only] if one_principal => {
                Attribution { principal, request: only.request.clone(), candidates: Vec::new(), unnamed }
            }
            _ => Attribution { principal, request: None, candidates, unnamed },
        })
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

/// What tells one login from another. The same login can be in the log twice, for example in a rotated file and in its compressed copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LoginId {
    /// Microseconds since 1970.
    time: u64,
    /// Of the process of sshd.
    pid: u32,
    client: Client<String>,
    fingerprint: String,
    /// The process of sshd.
    connection: MapKey,
    system: MapKey,
}

/// What else is known about it.
#[derive(Debug)]
struct Details {
    /// In the order of the log.
    number: u64,
    attribution: Attribution,
    state: SessionState,
    boot: Option<String>,
    monotonic: Option<u64>,
}

/// Who logged in.
#[derive(Debug)]
struct Attribution {
    principal: Option<String>,
    request: Option<String>,
    /// The pushes that can be its own, if there are several.
    candidates: Vec<Rc<Push>>,
    /// The log does not have the line with the principal of one of them.
    unnamed: bool,
}

/// What was removed from a list: its oldest items.
#[derive(Clone, Copy, Debug, Default)]
struct Removed {
    count: u64,
    /// The time of the newest one.
    newest: Option<u64>,
}

impl Removed {
    fn add(&mut self, time: u64) {
        self.count = self.count.saturating_add(1);
        self.newest = self.newest.max(Some(time));
    }
}

/// After so many more keys, those beyond the grace time are removed.
const SWEEP: usize = 1024;

/// Finds the logins in the lines of a log, which are read in its order.
#[derive(Debug)]
pub struct LoginFinder {
    selection: Selection,
    /// sshd's `LoginGraceTime` in microseconds.
    grace: u64,
    map_keys: MapKeys,
    /// By run: those whose user is not known yet.
    runs: HashedMap<Pushes>,
    /// By login that can follow.
    provided: HashedMap<Pushes>,
    /// The number of the keys in both.
    kept: usize,
    /// The number at which those beyond the grace time are removed.
    sweep_at: usize,
    /// By connection: those whose key was accepted, and that need another method.
    partial: HashedMap<(Client<String>, String)>,
    logins: BTreeMap<Rc<LoginId>, Details>,
    /// The number of the last one.
    accepted: u64,
    removed: Removed,
    /// The number of their candidates.
    candidates: usize,
    /// By connection: the logins without an end.
    open: HashedMap<Rc<LoginId>>,
    /// By client, their connections: another process of the connection logs some ends.
    clients: HashedMap<MapKey>,
    /// By time, and by number in the log.
    refused: BTreeMap<(u64, u64), RefusedRecord>,
    removed_refused: Removed,
    /// Provided keys were removed that a login could use.
    lost: Option<(MapKey, Time)>,
    /// Where the log begins, unless that is the start of the system: a login can use a key that was provided before it.
    begin: Option<(MapKey, Time)>,
    /// The name of the system that wrote the last line, and its map key.
    system: (String, MapKey),
}

/// The result.
#[derive(Debug)]
pub struct Found {
    /// Oldest first.
    pub logins: Vec<Login>,
    /// Oldest first.
    pub refused: Vec<RefusedRecord>,
    /// Logins and records that exceeded a limit.
    pub left_out: Option<LeftOut>,
    /// There were more keys than [`limits::PROVIDED_KEYS`], so that logins can be missing.
    pub lost_keys: bool,
    /// The number of logins for which the log does not have the line that names the principal.
    pub unnamed: usize,
}

/// Logins and records that are not listed, because there are newer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Their number.
    pub count: u64,
    /// The time until which they are, in microseconds since 1970.
    pub until: u64,
    /// A time that has so many logins or records that some of them cannot be listed.
    pub crowded: Option<u64>,
}

impl LoginFinder {
    /// `grace` is in seconds.
    #[must_use]
    pub fn new(selection: Selection, grace: u64) -> Self {
        let map_keys = MapKeys::default();
        let system = (String::new(), map_keys.system(""));
        Self {
            selection,
            grace: grace.saturating_mul(MICROS),
            map_keys,
            runs: HashedMap::default(),
            provided: HashedMap::default(),
            kept: 0,
            sweep_at: SWEEP,
            partial: HashedMap::default(),
            logins: BTreeMap::new(),
            accepted: 0,
            removed: Removed::default(),
            candidates: 0,
            open: HashedMap::default(),
            clients: HashedMap::default(),
            refused: BTreeMap::new(),
            removed_refused: Removed::default(),
            lost: None,
            begin: None,
            system,
        }
    }

    /// The journal has no older entries than this one, and older ones of its boot were removed.
    pub(super) fn begin(&mut self, first: &Moment) {
        let time = Time { real: first.time, monotonic: Some(first.monotonic) };
        self.begin = Some((self.map_keys.system(&first.boot), time));
    }

    /// Takes the next line of the log.
    pub fn take(&mut self, entry: &Entry<'_>) {
        let (Some(event), Some(real)) = (event(entry), entry.time) else { return };
        let time = Time { real, monotonic: entry.monotonic };
        let name = entry.boot.as_deref().or(entry.host.as_deref()).unwrap_or_default();
        if self.system.0 != name {
            self.system = (name.to_owned(), self.map_keys.system(name));
        }
        let system = self.system.1;
        let process = MapKeys::process(system, entry.pid);
        match event {
            Event::Own(OwnLine::Provided(push)) => self.provide(push, time, process, entry.pid),
            Event::Own(OwnLine::ProvidedFor { fingerprint, user, sshd }) => {
                let run = self.map_keys.run(process, fingerprint);
                let login = self.map_keys.login(MapKeys::process(system, sshd), user, fingerprint);
                self.provide_for((run, login), fingerprint, time, entry.pid);
            }
            Event::Own(OwnLine::Refused { user, reason, push }) => self.refuse(user, reason, push, time.real),
            Event::Own(_) => {}
            Event::Accepted { client, fingerprint } => {
                self.accept(process, client.into(), fingerprint.to_owned(), time, entry);
            }
            Event::Partial { client, fingerprint } => {
                self.abandon(process);
                if self.partial.len() < limits::LOGINS {
                    self.partial.insert(process, (client.into(), fingerprint.to_owned()));
                }
            }
            Event::AcceptedOther(client) => {
                let client = Client::from(client);
                match self.partial.remove(&process) {
                    Some((same, fingerprint)) if same == client => {
                        self.accept(process, client, fingerprint, time, entry);
                    }
                    _ => self.abandon(process),
                }
            }
            Event::Closed { user } => self.ended(process, Some(real), |client| client.user == user),
            Event::Disconnected { user, address, port } => {
                if let Some(connection) = self.clients.get(&self.map_keys.peer(system, address, port)) {
                    let is_client = |client: &Client<String>| user.is_none_or(|user| user == client.user);
                    self.ended(*connection, Some(real), is_client);
                }
            }
        }
    }

    fn provide(&mut self, push: Push, time: Time, process: MapKey, pid: u32) {
        self.make_room(time);
        let run = self.map_keys.run(process, &push.fingerprint);
        let key = Provided { push: Rc::new(push), unnamed: false, time, pid };
        self.runs.entry(run).or_insert_with(|| Pushes::new(self.system.1)).add(key);
    }

    /// Takes the line with the user, which follows that of the push.
    fn provide_for(&mut self, (run, login): (MapKey, MapKey), fingerprint: &str, time: Time, pid: u32) {
        let system = self.system.1;
        let run = self.runs.remove(&run).unwrap_or_else(|| {
            // The line before it was lost, or is too long: any principal can have pushed the key.
            self.make_room(time);
            let push = Rc::new(Push { fingerprint: fingerprint.to_owned(), ..Push::default() });
            let key = Provided { push, unnamed: true, time, pid };
            Pushes { keys: vec![key], ..Pushes::new(system) }
        });
        let used = self.provided.entry(login).or_insert_with(|| Pushes::new(system));
        if used.keys.is_empty() {
            *used = run;
            return;
        }
        used.expire(&time, self.grace);
        used.incomplete |= run.incomplete;
        run.keys.into_iter().for_each(|key| used.add(key));
    }

    /// Counts a key that will be kept.
    fn make_room(&mut self, time: Time) {
        if self.kept >= self.sweep_at {
            self.sweep(time);
        }
        self.kept = self.kept.saturating_add(1);
    }

    /// Removes what no login can use any more.
    fn sweep(&mut self, time: Time) {
        let grace = self.grace;
        // Boots follow one another, and monotonic times of different ones cannot be compared. A file can have lines of several systems.
        let current = time.monotonic.map(|_| self.system.1);
        let can_be_used = |_: &MapKey, pushes: &mut Pushes| {
            pushes.expire(&time, grace);
            current.is_none_or(|current| current == pushes.system) && !pushes.keys.is_empty()
        };
        self.runs.retain(can_be_used);
        self.provided.retain(can_be_used);
        self.kept = self.runs.values().chain(self.provided.values()).map(|pushes| pushes.keys.len()).sum();
        if self.kept >= limits::PROVIDED_KEYS {
            self.lost = Some((self.system.1, time));
            self.runs.clear();
            self.provided.clear();
            self.kept = 0;
        }
        self.sweep_at = self.kept.saturating_mul(2).saturating_add(SWEEP);
    }

    fn refuse(&mut self, user: &str, reason: &str, push: Option<Push>, time: u64) {
        if !self.selection.refused || !self.selection.includes(user, time) {
            return;
        }
        let listed = u64::try_from(self.refused.len()).unwrap_or(u64::MAX);
        let number = self.removed_refused.count.saturating_add(listed);
        let refused = RefusedRecord { time, user: user.to_owned(), push, reason: reason.to_owned() };
        self.refused.insert((time, number), refused);
        if self.refused.len() > limits::LOGINS {
            if let Some(((time, _), _)) = self.refused.pop_first() {
                self.removed_refused.add(time);
            }
        }
    }

    fn accept(
        &mut self,
        connection: MapKey,
        client: Client<String>,
        fingerprint: String,
        time: Time,
        entry: &Entry<'_>,
    ) {
        let (pid, system) = (entry.pid, self.system.1);
        let id = LoginId { time: time.real, pid, client, fingerprint, connection, system };
        // Nearly always, it is newer than each other one.
        let is_newest = self.logins.last_key_value().is_none_or(|(last, _)| last.time < id.time);
        let known = if is_newest { None } else { self.logins.get(&id).map(|login| login.state) };
        if known == Some(SessionState::Unknown) {
            return;
        }
        self.abandon(connection);
        if !self.selection.includes(&id.client.user, time.real) {
            return;
        }
        let used = self.map_keys.login(connection, &id.client.user, &id.fingerprint);
        let Some(pushes) = self.provided.get_mut(&used) else { return };
        pushes.expire(&time, self.grace);
        // Another principal's push can be among those that were removed, or that the log no longer has.
        let is_soon_after = |(of, at): (MapKey, Time)| of == system && at.distance(&time) <= self.grace;
        let some_removed = [self.lost, self.begin].into_iter().flatten().any(is_soon_after);
        let Some(attribution) = pushes.attribute(some_removed) else { return };
        self.accepted = self.accepted.saturating_add(1);
        let details = Details {
            number: self.accepted,
            attribution,
            state: SessionState::Unknown,
            boot: entry.boot.as_deref().map(str::to_owned),
            monotonic: entry.monotonic,
        };
        if known.is_none() {
            self.list(Rc::new(id), details);
        }
    }

    fn list(&mut self, id: Rc<LoginId>, login: Details) {
        let peer = self.map_keys.peer(id.system, &id.client.address, id.client.port);
        self.clients.insert(peer, id.connection);
        self.open.insert(id.connection, Rc::clone(&id));
        self.candidates = self.candidates.saturating_add(login.attribution.candidates.len());
        self.logins.insert(id, login);
        while self.logins.len() > limits::LOGINS || self.candidates > limits::CANDIDATES {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((id, login)) = self.logins.pop_first() {
            if self.open.get(&id.connection) == Some(&id) {
                self.close(&id);
            }
            self.candidates = self.candidates.saturating_sub(login.attribution.candidates.len());
            self.removed.add(id.time);
        }
    }

    fn close(&mut self, id: &LoginId) {
        self.open.remove(&id.connection);
        let peer = self.map_keys.peer(id.system, &id.client.address, id.client.port);
        if self.clients.get(&peer) == Some(&id.connection) {
            self.clients.remove(&peer);
        }
    }

    /// Another connection has the number of this process, so that the login before it has ended.
    fn abandon(&mut self, connection: MapKey) {
        self.partial.remove(&connection);
        self.ended(connection, None, |_| true);
    }

    /// A login has ended, at a time that is `None` if it is not known.
    fn ended(
        &mut self,
        connection: MapKey,
        time: Option<u64>,
        is_client: impl FnOnce(&Client<String>) -> bool,
    ) {
        let Some(id) = self.open.get(&connection).filter(|id| is_client(&id.client)).cloned() else { return };
        if let Some(login) = self.logins.get_mut(&id).filter(|login| login.state == SessionState::Unknown) {
            // An end before the login is of a clock that was set back.
            login.state = SessionState::Ended(time.filter(|time| *time >= id.time));
        }
        if time.is_some() {
            // A later process with this number has nothing of this one's.
            self.provided.remove(&self.map_keys.login(connection, &id.client.user, &id.fingerprint));
        }
        self.close(&id);
    }

    /// The logins of the log. `running` tells about the process of a login that has no end in the log.
    pub fn finish(self, running: impl Fn(&Login) -> SessionState) -> Found {
        drop((self.runs, self.provided, self.partial, self.open, self.clients));
        let unnamed = self.logins.values().filter(|login| login.attribution.unnamed).count();
        let newest_login = self.logins.last_key_value().map(|(id, _)| id.time);
        let newest_refused = self.refused.last_key_value().map(|((time, _), _)| *time);
        let left_out = left_out([(self.removed, newest_login), (self.removed_refused, newest_refused)]);
        let mut logins = Vec::from_iter(self.logins);
        logins.sort_unstable_by_key(|(id, login)| (id.time, login.number));
        let logins = logins.into_iter().map(|(id, details)| {
            let LoginId { time, pid, client, fingerprint, .. } = Rc::unwrap_or_clone(id);
            let Details { attribution, state, boot, monotonic, .. } = details;
            let Attribution { principal, request, candidates, .. } = attribution;
            let process = ProcessId { pid, boot, monotonic };
            let login = Login { time, client, fingerprint, principal, request, candidates, state, process };
            let state = if state == SessionState::Unknown { running(&login) } else { state };
            Login { state, ..login }
        });
        let refused = self.refused.into_values().collect();
        Found { logins: logins.collect(), refused, left_out, lost_keys: self.lost.is_some(), unnamed }
    }
}

/// What is left out of lists: what was removed from each, and the time of the newest item in it.
fn left_out(lists: [(Removed, Option<u64>); 2]) -> Option<LeftOut> {
    let mut all = LeftOut { count: 0, until: 0, crowded: None };
    for (removed, newest) in lists {
        let Some(until) = removed.newest else { continue };
        // All that is listed has the time of what is not. With that time as `--until`, the same would be listed again.
        let crowded = newest == Some(until);
        all.until = all.until.max(if crowded { until.saturating_sub(1) } else { until });
        all.crowded = all.crowded.max(crowded.then_some(until));
        all.count = all.count.saturating_add(removed.count);
    }
    (all.count > 0).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::{Found, LeftOut, Login, LoginFinder, Removed, Selection, SessionState, left_out};
    use crate::limits;
    use crate::system_log::Entry;

    const KEY: &str = "SHA256:l7S43MrBPCBjXSsRirNHeJ1ORrzDpsL5ffbwKfpkmdc";
    const OTHER: &str = "SHA256:AAAAAAABPCBjXSsRirNHeJ1ORrzDpsL5ffbwKfpkmdc";

    fn providing(key: &str, request: &str, principal: &str) -> String {
        let words = "Providing ssh key from EC2 Instance Connect with";
        format!("{words} fingerprint: {key}, request-id: {request}, for IAM principal: {principal}")
    }

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
                self = self.line(second, pid, &providing(key, request, principal));
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

        fn entries(&self, boot: Option<&'static str>) -> Vec<Entry<'static>> {
            let entry = |(second, pid, message): &(u64, u32, String)| {
                let ours = message.starts_with("Provid") || message.starts_with("Refused");
                let micros = second.saturating_mul(1_000_000);
                Entry {
                    time: Some(micros),
                    monotonic: boot.map(|_| micros),
                    boot: boot.map(Into::into),
                    program: if ours { "eic-keys" } else { "sshd" }.into(),
                    pid: *pid,
                    message: message.clone().into(),
                    ..Entry::default()
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

    fn found(entries: &[Entry<'_>], selection: Selection) -> Found {
        let mut sessions = LoginFinder::new(selection, 120);
        for entry in entries {
            sessions.take(entry);
        }
        sessions.finish(|_| SessionState::Open)
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
            Some((11_000_000, SessionState::Ended(Some(71_000_000))))
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
                Log::new().line(10, 20, &providing(KEY, "r1", "anna")).accepted(11, 7, "alice", KEY),
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
                ((Some("bert"), Some("r2"), 0), SessionState::Ended(Some(20_000_000))),
                ((Some("anna"), Some("r1"), 0), SessionState::Open),
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
        assert_eq!(again.logins().first().map(|login| login.state), Some(SessionState::Ended(None)));
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
    fn a_line_that_was_lost() {
        let provided = format!("Provided {KEY} for alice to process 7");
        let read = |log: Log| {
            let found = log.accepted(11, 7, "alice", KEY).read(Selection::default());
            let logins: Vec<_> = found.logins.iter().map(names).map(|(arn, ..)| arn.is_some()).collect();
            let candidates: Vec<_> = found.logins.iter().flat_map(|login| &login.candidates).collect();
            (logins, candidates.len(), found.unnamed)
        };
        assert_eq!(read(Log::new().line(10, 20, &provided)), (vec![false], 0, 1));
        // Another principal can have pushed what the second run provided.
        let anna = || Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]);
        assert_eq!(read(anna().line(10, 21, &provided)), (vec![false], 2, 1));
        assert_eq!(read(anna().line(10, 20, &provided)), (vec![false], 2, 1), "in the same run");
        // One that is longer than any of eic-keys is as good as lost.
        let long = "u".repeat(limits::LOG_MESSAGE);
        let cut = Log::new().line(10, 20, &providing(KEY, "r1", &long)).line(10, 20, &provided);
        assert_eq!(read(cut), (vec![false], 0, 1));
        assert_eq!(read(anna()), (vec![true], 0, 0));
    }

    #[test]
    fn a_log_that_has_a_login_twice() {
        let log = || Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]).accepted(11, 7, "alice", KEY);
        let end = |log: Log| log.line(12, 7, "pam_unix(sshd:session): session closed for user alice");
        let ended = SessionState::Ended(Some(12_000_000));
        for (first, second) in [(end(log()), end(log())), (log(), end(log())), (end(log()), log())] {
            let entries = [first.entries(None), second.entries(None)].concat();
            let logins = found(&entries, Selection::default()).logins;
            assert_eq!(logins.iter().map(|login| login.state).collect::<Vec<_>>(), [ended]);
        }
    }

    #[test]
    fn lines_of_several_systems() {
        let on = |host: &'static str, log: Log| {
            let entries = log.entries(None).into_iter();
            entries.map(|entry| Entry { host: Some(host.into()), ..entry }).collect::<Vec<_>>()
        };
        let run = || Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]);
        let login = || Log::new().accepted(11, 7, "alice", KEY);
        let count = |first: Vec<Entry<'_>>, second: Vec<Entry<'_>>| {
            found(&[first, second].concat(), Selection::default()).logins.len()
        };
        assert_eq!(count(on("a", run()), on("a", login())), 1);
        assert_eq!(count(on("a", run()), on("b", login())), 0);
    }

    #[test]
    fn a_clock_that_was_set_back() {
        let log = Log::new().run(10, 20, "alice", KEY, &[("anna", "r1")]).accepted(11, 7, "alice", KEY);
        let log = log.line(5, 7, "pam_unix(sshd:session): session closed for user alice");
        assert_eq!(log.logins().first().map(|login| login.state), Some(SessionState::Ended(None)));
    }

    /// Each page begins where the one before it ends, and the last one has the oldest.
    #[test]
    fn pages() {
        let removed = |count, newest| Removed { count, newest: Some(newest) };
        let none = (Removed::default(), Some(9));
        for (lists, expected) in [
            ([none, none], None),
            ([(removed(3, 5), Some(9)), none], Some((3, 5, None))),
            ([(removed(3, 5), Some(9)), (removed(4, 6), Some(9))], Some((7, 6, None))),
            ([(removed(3, 5), Some(5)), none], Some((3, 4, Some(5)))),
            ([(removed(3, 5), Some(5)), (removed(4, 2), Some(9))], Some((7, 4, Some(5)))),
            ([(removed(3, 0), Some(0)), none], Some((3, 0, Some(0)))),
        ] {
            let found = left_out(lists).map(|all| (all.count, all.until, all.crowded));
            assert_eq!(found, expected);
        }
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
        let login = |boot: &'static str| Log::new().accepted(11, 7, "alice", KEY).entries(Some(boot));
        let count = |entries: Vec<Entry<'_>>| found(&entries, Selection::default()).logins.len();
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
            let [since, until] = [since, until].map(|second: u64| second.saturating_mul(1_000_000));
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
        let left_out = LeftOut { count: 3, until: 10_999_999, crowded: Some(11_000_000) };
        assert_eq!((found.logins.len(), found.left_out), (limits::LOGINS, Some(left_out)));
        assert_eq!(found.logins.last().map(|login| login.state), Some(SessionState::Ended(Some(60_000_000))));
        assert_eq!(found.logins.first().map(|login| login.process.pid), Some(103));
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
        assert_eq!(forged(limits::LOGIN_KEYS.saturating_sub(1)), [(true, true, 0)]);
        assert_eq!(forged(limits::LOGIN_KEYS), [(false, false, limits::LOGIN_KEYS)]);
        assert_eq!(forged(10_000), [(false, false, limits::LOGIN_KEYS)]);
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
        let mut sessions = LoginFinder::new(Selection::default(), 120);
        let flood = |sessions: &mut LoginFinder| {
            let most = u32::try_from(limits::PROVIDED_KEYS).unwrap_or_default();
            for pid in 1000..most.saturating_mul(3) {
                let log = Log::new().run_for(pid, 10, pid, "bob", OTHER, &[("eve", "f")]);
                log.entries(None).iter().for_each(|entry| sessions.take(entry));
            }
        };
        let take = |sessions: &mut LoginFinder, log: Log| {
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
        let found = sessions.finish(|_| SessionState::Open);
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
        assert_eq!(logins(&name(limits::LOGGED_TEXT)), 1);
        assert_eq!(logins(&name(limits::LOG_MESSAGE)), 0);
    }

    #[test]
    fn the_candidates_of_many_logins() {
        let requests: Vec<_> = (0..limits::RECORDS).map(|number| format!("r{number}")).collect();
        let pushes: Vec<_> = requests.iter().map(|request| ("anna", request.as_str())).collect();
        let mut sessions = LoginFinder::new(Selection::default(), 120);
        let most = limits::CANDIDATES.div_ceil(limits::RECORDS);
        for pid in (100..).take(most) {
            let second = u64::from(pid).saturating_mul(1000);
            let log = Log::new()
                .run_for(pid, second, 20, "alice", KEY, &pushes)
                .accepted(second, pid, "alice", KEY);
            log.entries(None).iter().for_each(|entry| sessions.take(entry));
        }
        let found = sessions.finish(|_| SessionState::Open);
        let candidates: usize = found.logins.iter().map(|login| login.candidates.len()).sum();
        assert!(candidates <= limits::CANDIDATES, "{candidates}");
        let left_out = found.left_out.map(|left_out| left_out.count);
        assert_eq!((found.logins.len(), left_out), (most.saturating_sub(1), Some(1)));
    }
}
