//! The one time budget, and every limit of a run and of `--check`, with its reason. (`sshd/` has those of reading and asking sshd.)
//!
//! Whatever the metadata service sends, and however slowly, a run ends in time and in a few megabytes:
//! sshd waits for us, and a login of another kind must not wait long.

use std::time::{Duration, Instant};

/// A whole run, unless `--timeout` says otherwise: the reference's 5 s, less what starting and ending take.
pub const RUN: Duration = Duration::from_millis(4500);

/// What `--timeout` accepts. The upper end is half of sshd's default `LoginGraceTime` of 120 s.
pub const RUN_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// One request, from connecting to the last byte of its body. A healthy IMDS answers within milliseconds.
pub const REQUEST: Duration = Duration::from_secs(1);

/// A connection, before another is begun in its place. IMDS is on the same host: microseconds.
pub const CONNECT: Duration = Duration::from_millis(250);

/// Before a request is tried again. IMDS throttles by the second; a tenth of one is all a login can spare.
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Status line and headers of a reply. A real one has 300 bytes; 8 KiB is the least that hyper takes.
pub const REPLY_HEAD: usize = 8 * 1024;

/// The session token: 56 characters today.
pub const TOKEN: usize = 1024;

/// One fact: an instance id, a region, a zone, a domain. The longest known zone has 22 characters.
pub const FACT: usize = 256;

/// The active keys of one user: [`RECORDS`] of the longest key lines, as many signatures of 700 characters, and
/// metadata lines.
pub const ACTIVE_KEYS: usize = 512 * 1024;

/// The records that are looked at. A person pushes one or two a minute.
pub const RECORDS: usize = 64;

/// A key line: what the API takes as `SSHPublicKey`.
pub const KEY_LINE: usize = 4096;

/// The decoded signature of a record: 256 bytes today; the largest key that is verified has 8,192 bits.
pub const SIGNATURE: usize = 1024;

/// The signer's chain, PEM: four certificates and 7 KB today.
pub const CHAIN: usize = 64 * 1024;

/// The certificates of a delivered chain. The longest path that is followed has six below the anchor.
pub const CERTIFICATES: usize = 16;

/// The list of OCSP response names: a name of at most 64 characters for each certificate.
pub const OCSP_NAMES: usize = 4 * 1024;

/// One OCSP response, base64: 700 bytes when the issuer signed it, 2 to 6 KB with a responder's certificate.
pub const OCSP_RESPONSE: usize = 32 * 1024;

/// A file that tells an EC2 instance: an instance id or a UUID. A tag that is longer is no instance id.
pub const FIRMWARE: u64 = 128;

/// One file of the trust store. Debian's bundle has 220 KB, RHEL's with its comments 500 KB.
pub const TRUST_STORE: u64 = 8 * 1024 * 1024;

/// The files of a trust store that is a directory. Debian's has 290, links included.
pub const TRUST_STORE_FILES: usize = 1024;

/// Remote text in a log line. Principals have up to about 600 characters.
pub const LOGGED: usize = 1024;

/// How long the system's log may make us wait, once. After that the run goes on without it.
pub const LOG_WAIT: Duration = Duration::from_millis(100);

/// How long sshd may take to read on before the keys are given up: it does nothing else meanwhile.
pub const READER_WAIT: Duration = Duration::from_millis(400);

/// What the command behind `--` may print: tens of thousands of keys.
pub const CHAINED_OUTPUT: usize = 8 * 1024 * 1024;

/// Address space of the process, in bytes. A login has 6 MB of it; [`CHAINED_OUTPUT`] while it grows is three times as much as that.
pub const MEMORY: u64 = 64 * 1024 * 1024;

/// Open descriptors. A login has fifteen at once.
pub const DESCRIPTORS: u64 = 128;

/// Processor time of the process, in seconds. A login takes milliseconds, the worst of replies a tenth of a second.
pub const PROCESSOR: u64 = 10;

/// One check of `--check`: a login's whole time for metadata, and some for a busy system.
pub const CHECK: Duration = Duration::from_secs(5);

/// Another program that a check asks: milliseconds, more where a name service asks a directory. Some ask two.
pub const CHECK_TOOL: Duration = Duration::from_secs(2);

/// All of `--check`.
pub const CHECKS: Duration = Duration::from_secs(9);

/// The lines of detail that one check may give: a line for each record that is looked at, and some.
pub const CHECK_DETAILS: usize = 100;

/// What `--check` reads of a log's end: some thousand lines.
pub const LOG_TAIL: u64 = 512 * 1024;

/// The time that a run has left.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    deadline: Instant,
}

impl Budget {
    /// A run that starts now and may take `run`.
    #[must_use]
    pub fn start(run: Duration) -> Self {
        let now = Instant::now();
        Self { deadline: now.checked_add(run).unwrap_or(now) }
    }

    /// What is left of the run; zero when it is over.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What one request may take now: [`REQUEST`], or what is left of the run if that is less.
    #[must_use]
    pub fn request(&self) -> Duration {
        self.left().min(REQUEST)
    }
}
