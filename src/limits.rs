//! The time budget, and all limits of a run and of `--check`, with their reasons. (`sshd/` has the limits for its own work.)
//!
//! Whatever the metadata service sends, and however slowly, a run ends in time and uses a few megabytes. sshd waits for the run, and
//! it must not delay other kinds of login.

use std::time::{Duration, Instant};

/// Default of `--timeout`, for a whole run: the 5 s of AWS's ec2-instance-connect package, minus the time for start and exit.
pub const RUN: Duration = Duration::from_millis(4500);

/// Range of `--timeout`. The maximum is half of sshd's default `LoginGraceTime` of 120 s.
pub const RUN_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// One request, from connecting to the last byte of its body. A healthy IMDS answers within milliseconds.
pub const REQUEST: Duration = Duration::from_secs(1);

/// Time to connect before a new attempt replaces the connection. IMDS is on the same host and accepts within microseconds.
pub const CONNECT: Duration = Duration::from_millis(250);

/// Pause before a retry. IMDS limits requests per second, but a login can spare only a tenth of a second.
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Status line and headers of a reply. Real ones have 300 bytes; 8 KiB is the minimum that hyper accepts.
pub const REPLY_HEAD: usize = 8 * 1024;

/// The session token: 56 characters today.
pub const TOKEN: usize = 1024;

/// One item: an instance ID, a region, a zone, a domain. The longest known zone has 22 characters.
pub const FACT: usize = 256;

/// The active keys of one user: [`RECORDS`] times the longest key line, a signature of 700 characters and metadata lines.
pub const ACTIVE_KEYS: usize = 512 * 1024;

/// Number of records to examine. A person pushes one or two per minute.
pub const RECORDS: usize = 64;

/// A key line: the maximum length of `SSHPublicKey` in the API.
pub const KEY_LINE: usize = 4096;

/// The decoded signature of a record: 256 bytes today. The largest supported key has 8,192 bits.
pub const SIGNATURE: usize = 1024;

/// The certificate chain of the signer, PEM: four certificates and 7 KB today.
pub const CHAIN: usize = 64 * 1024;

/// Number of certificates in a certificate chain. The longest supported path has six below the anchor.
pub const CERTIFICATES: usize = 16;

/// The list of OCSP response names: one name of at most 64 characters per certificate.
pub const OCSP_NAMES: usize = 4 * 1024;

/// One OCSP response, base64: 700 bytes if the issuer signed it, 2 to 6 KB with the certificate of a responder.
pub const OCSP_RESPONSE: usize = 32 * 1024;

/// A file that identifies an EC2 instance by an instance ID or a UUID. A longer tag is not an instance ID.
pub const FIRMWARE: u64 = 128;

/// One file of the trust store. Debian's bundle has 220 KB; RHEL's, with comments, 500 KB.
pub const TRUST_STORE: u64 = 8 * 1024 * 1024;

/// Number of files in a trust store directory. Debian's has 290, including links.
pub const TRUST_STORE_FILES: usize = 1024;

/// Remote text in a log line. IAM principals have up to about 600 characters.
pub const LOGGED: usize = 1024;

/// Time to wait for the system log, once. After that the run continues without it.
pub const LOG_WAIT: Duration = Duration::from_millis(100);

/// Time to wait for sshd to read the keys before giving up. sshd does nothing else meanwhile.
pub const READER_WAIT: Duration = Duration::from_millis(400);

/// Output of the chained command. Enough for tens of thousands of keys.
pub const CHAINED_OUTPUT: usize = 8 * 1024 * 1024;

/// Address space of the process, in bytes. A login uses 6 MB; a buffer that grows to [`CHAINED_OUTPUT`] needs three times its size.
pub const MEMORY: u64 = 64 * 1024 * 1024;

/// Open file descriptors. A login uses fifteen at once.
pub const DESCRIPTORS: u64 = 128;

/// CPU time of the process, in seconds. A login takes milliseconds; the worst reply takes a tenth of a second.
pub const PROCESSOR: u64 = 10;

/// Time for one check of `--check`: the time of a login for metadata, and a margin for a busy system.
pub const CHECK: Duration = Duration::from_secs(5);

/// Time for a program that a check runs: milliseconds, or more if a name service queries a directory. Some checks run two.
pub const CHECK_TOOL: Duration = Duration::from_secs(2);

/// Time for the whole of `--check`.
pub const CHECKS: Duration = Duration::from_secs(9);

/// Range of `--wait`. Ten minutes are enough to try what pushes a key.
pub const WAIT_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Pause between the requests of `--wait`. A key can be used for 60 s; IMDS limits requests per second.
pub const WAIT_PAUSE: Duration = Duration::from_secs(1);

/// Number of detail lines per check: one per examined record, and some more.
pub const CHECK_DETAILS: usize = 100;

/// Number of bytes that `--check` reads from the end of a log: some thousand lines.
pub const LOG_TAIL: u64 = 512 * 1024;

/// The remaining time of a run.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    deadline: Instant,
}

impl Budget {
    /// Starts the budget of a run that can take `run`.
    #[must_use]
    pub fn start(run: Duration) -> Self {
        let now = Instant::now();
        Self { deadline: now.checked_add(run).unwrap_or(now) }
    }

    /// The remaining time of the run; zero if it is over.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The time limit of a request that starts now: [`REQUEST`], or the remaining time of the run if that is less.
    #[must_use]
    pub fn request(&self) -> Duration {
        self.left().min(REQUEST)
    }
}
