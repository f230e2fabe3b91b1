//! A healthy instance with one pushed key; the rows of a table run in several such instances concurrently.

use eic_lab::{Fault, Hash, IPV4, Instance, On, Outcome, UserKey};
use std::cell::Cell;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The user that the key was pushed for.
pub(crate) const USER: &str = "alice";

/// The end of the path of each request of a login: token, keys, then those about the signer.
pub(crate) const TOKEN: &str = "api/token";
pub(crate) const KEYS: &str = "active-keys/alice";
pub(crate) const ID: &str = "instance-id";
pub(crate) const REGION: &str = "placement/region";
pub(crate) const ZONE: &str = "placement/availability-zone";
pub(crate) const DOMAIN: &str = "services/domain";
pub(crate) const CHAIN: &str = "managed-ssh-keys/signer-cert";
pub(crate) const NAMES: &str = "managed-ssh-keys/signer-ocsp";

/// An instance where a login works.
pub(crate) struct World {
    pub(crate) instance: Instance,
    pub(crate) key: UserKey,
    /// The end of the path of the signer's OCSP response.
    pub(crate) ocsp_response: String,
    /// The connections before the last reset.
    settled: Cell<usize>,
}

impl World {
    pub(crate) fn new() -> Self {
        let (instance, key) = (Instance::start(), UserKey::ed25519());
        instance.push_for_an_hour(USER, &key);
        let ocsp_response = format!("signer-ocsp/{}", instance.pki().signer.fingerprint(Hash::Sha1));
        Self { instance, key, ocsp_response, settled: Cell::new(0) }
    }

    /// The ends of the paths of a login's requests.
    pub(crate) fn paths(&self) -> [&str; 8] {
        [TOKEN, KEYS, ID, REGION, DOMAIN, CHAIN, NAMES, &self.ocsp_response]
    }

    /// What sshd would run for this key.
    pub(crate) fn login(&self) -> Outcome {
        self.instance.run([USER, self.key.fingerprint()])
    }

    /// The same with options before it.
    pub(crate) fn login_with(&self, options: &[&str]) -> Outcome {
        self.instance.run([options, &[USER, self.key.fingerprint()]].concat())
    }

    /// How often a path was requested.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let ends = |asked: &String| asked.trim_end_matches('/').ends_with(path);
        self.instance.imds.paths().iter().filter(|asked| ends(asked)).count()
    }

    /// Makes everything healthy again, and forgets requests and log.
    pub(crate) fn reset(&self) {
        // The faults first, because `settle` sends a request.
        self.instance.imds.clear_faults();
        self.settle();
        self.instance.imds.clear_requests();
        self.instance.journal.clear();
    }

    /// Waits until the service has read the requests of the last run. A run that fails does not wait for its concurrent requests.
    fn settle(&self) {
        let wait = Duration::from_millis(50);
        if let Ok(mut stream) = TcpStream::connect_timeout(&(IPV4, 80).into(), wait) {
            // Connections are taken in their order, so those of the run were taken when this one is answered.
            stream.set_read_timeout(Some(wait)).unwrap();
            let _ = stream
                .write_all(b"GET / HTTP/1.1\r\n\r\n")
                .and_then(|()| stream.read_to_end(&mut Vec::new()));
        }
        let imds = &self.instance.imds;
        let deadline = Instant::now() + wait;
        while imds.connections() - self.settled.get() > imds.requests().len() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        self.settled.set(imds.connections());
    }

    /// The key, and nothing else, with status 0?
    pub(crate) fn expect_key(&self, outcome: &Outcome) -> Tried {
        self.expect_end(outcome, 0)?;
        expect("stdout", &outcome.stdout, &format!("{}\n", self.key.line()))
    }

    /// The run failed with this status: no key, and one warning?
    pub(crate) fn expect_failed(&self, outcome: &Outcome, status: i32) -> Tried {
        self.expect_end(outcome, status)?;
        self.expect_no_key(outcome, &[4])
    }

    /// The record was refused: no key, status 0, and one notice?
    pub(crate) fn expect_refused(&self, outcome: &Outcome) -> Tried {
        self.expect_end(outcome, 0)?;
        self.expect_no_key(outcome, &[5])
    }

    /// There is nothing for this user: no key, status 0, and no log line?
    pub(crate) fn expect_nothing(&self, outcome: &Outcome) -> Tried {
        self.expect_end(outcome, 0)?;
        self.expect_no_key(outcome, &[])
    }

    /// The run ended with this status? One that had to wait too long ended with another.
    fn expect_end(&self, outcome: &Outcome, status: i32) -> Tried {
        expect("status", &outcome.status, &Some(status))
            .map_err(|failure| failure.late_if(self.late(outcome)))
    }

    /// Whether the run printed nothing, and says that it had no more time.
    pub(crate) fn late(&self, outcome: &Outcome) -> bool {
        let reasons =
            ["did not answer in time", "no connection in time", "the time limit of this run was reached"];
        let out_of_time = reasons.iter().any(|reason| self.instance.journal.says(reason));
        (outcome.stdout.as_str(), outcome.status) == ("", Some(2)) && out_of_time
    }

    fn expect_no_key(&self, outcome: &Outcome, severities: &[u8]) -> Tried {
        let logged: Vec<u8> = self.instance.journal.eic_keys().iter().map(|line| line.severity).collect();
        expect("stdout", &outcome.stdout.as_str(), &"")?;
        expect("stderr", &outcome.stderr.as_str(), &"")?;
        expect("severities logged", &logged.as_slice(), &severities)
    }
}

/// The result of a row.
pub(crate) type Tried = Result<(), Failure>;

/// What is wrong with a row.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    /// It took too long, and everything else is right: the machine may be busy.
    late: bool,
}

impl Failure {
    /// As too late, if it is that.
    pub(crate) fn late_if(self, late: bool) -> Self {
        Self { late, ..self }
    }

    /// For this part of a row.
    pub(crate) fn of(self, part: &str) -> Self {
        Self { what: format!("{part}: {}", self.what), ..self }
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Self { what, late: false }
    }
}

/// Is it what it should be?
pub(crate) fn expect<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Tried {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}").into()) }
}

/// No run may take longer, in seconds, whatever happens.
pub(crate) const MOST: f64 = 5.0;

/// Did it take a time within these bounds, in seconds? The last that is asked of a row: what is too late is tried again.
pub(crate) fn expect_time(outcome: &Outcome, least: f64, most: f64) -> Tried {
    let wall = outcome.wall.as_secs_f64();
    if (least..=most).contains(&wall) {
        Ok(())
    } else {
        let failure = Failure::from(format!("took {wall:.2} s, not {least} to {most} s"));
        Err(failure.late_if(wall > most))
    }
}

/// Tries every row in so many worlds side by side (those that wait cost no processor), each row in a world that was reset.
///
/// On a busy machine everything takes longer, so a row that is late, and right in all else, is tried again, twice, and says so.
/// Nothing else is tried again: least of all a wrong key.
/// Fails with the names of all rows that do not hold.
pub(crate) fn each<T: Sync>(
    worlds: usize,
    rows: &[T],
    name: impl Fn(&T) -> String + Sync,
    check: impl Fn(&World, &T) -> Tried + Sync,
) {
    assert!(!rows.is_empty());
    let worlds = worlds.min(rows.len());
    let (next, ready) = (AtomicUsize::new(0), Barrier::new(worlds));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..worlds {
            scope.spawn(|| {
                let world = World::new();
                // Making worlds is work, which would disturb the clock of the first rows.
                ready.wait();
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::SeqCst)) {
                    for tries in (0..3).rev() {
                        world.reset();
                        let Err(failure) = check(&world, row) else { break };
                        let said: Vec<_> = world.instance.journal.eic_keys();
                        let why = format!("{}: {}; logged: {said:?}", name(row), failure.what);
                        if !failure.late || tries == 0 {
                            failures.lock().unwrap().push(why);
                            break;
                        }
                        eprintln!("tried again: {why}");
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n"));
}

/// How often a row is tried that comes out so, and whether its test fails.
fn tried(check: impl Fn(&World) -> Tried + Sync) -> (usize, bool) {
    let count = AtomicUsize::new(0);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        each(
            1,
            &[()],
            |()| "a row".to_owned(),
            |world, ()| {
                count.fetch_add(1, Ordering::SeqCst);
                check(world)
            },
        );
    }));
    (count.into_inner(), failed.is_err())
}

/// An outcome of a login, changed.
fn outcome(world: &World, change: impl Fn(&mut Outcome)) -> Outcome {
    let mut outcome = world.login();
    change(&mut outcome);
    outcome
}

#[test]
fn only_what_is_late_is_tried_again() {
    assert_eq!(tried(|world| world.expect_key(&world.login())), (1, false), "all is well");
    let wrong = |world: &World| outcome(world, |outcome| outcome.stdout = "ssh-ed25519 AAAA\n".to_owned());
    assert_eq!(tried(|world| world.expect_key(&wrong(world))), (1, true), "a wrong key");
    assert_eq!(tried(|world| world.expect_nothing(&wrong(world))), (1, true), "a key where there is none");
    assert_eq!(
        tried(|world| world.expect_failed(&world.login(), 2)),
        (1, true),
        "a key where it has to fail"
    );
    let hangs = |path| {
        move |world: &World| {
            world.instance.imds.fault(On::path(path), Fault::Hang);
            world.login()
        }
    };
    assert_eq!(
        tried(|world| world.expect_key(&hangs(KEYS)(world))),
        (3, true),
        "no key, as there was no time"
    );
    let late_and_wrong = |world: &World| Outcome { stdout: "x".to_owned(), ..hangs(KEYS)(world) };
    assert_eq!(tried(|world| world.expect_key(&late_and_wrong(world))), (1, true), "a wrong key, late");
    assert_eq!(tried(|world| expect_time(&world.login(), 0.0, 0.0)), (3, true), "too late");
    assert_eq!(tried(|world| expect_time(&world.login(), 9.0, 10.0)), (1, true), "too soon");
}
