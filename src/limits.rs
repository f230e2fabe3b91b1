//! The time budget of a run, and the limits of a run, `--check` and `--logins`, with their reasons. (`config_tree`, `sshd/`, `process`,
//! `procfs` and `path_walk` have the limits of their own work. How much a message shows, and how exact a rule is, is beside its use.)
//!
//! A run ends in time and uses a few megabytes, whatever the metadata service sends and however slowly. sshd waits for the run, so it
//! must not delay other kinds of login.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

// A run: time.

/// Default of `--timeout`. With [`LOG_WAIT`] and [`READER_WAIT`], which a run can wait after this time, the 5 s of AWS's
/// ec2-instance-connect package.
pub(crate) const RUN_TIME: Duration =
    Duration::from_secs(5).saturating_sub(LOG_WAIT).saturating_sub(READER_WAIT);

/// Range of `--timeout`. The maximum is half of sshd's default `LoginGraceTime` of 120 s.
pub(crate) const RUN_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Time to wait for the system log, for all lines together. After that the run continues without it.
pub(crate) const LOG_WAIT: Duration = Duration::from_millis(100);

/// Time for sshd to read the keys, and to read more of the chained command's output. sshd does nothing else meanwhile.
pub(crate) const READER_WAIT: Duration = Duration::from_millis(400);

/// One request, from connecting to the last byte of its body. A healthy IMDS answers within milliseconds.
pub(crate) const REQUEST_TIME: Duration = Duration::from_secs(1);

/// Time to connect before a new attempt replaces the connection. IMDS is on the same host and accepts within microseconds.
pub(crate) const CONNECT_ATTEMPT: Duration = Duration::from_millis(250);

/// Pause before a retry. IMDS limits requests per second, but a login must not wait longer.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// CPU time of the process, in seconds. A login takes milliseconds (`docs/performance.md`).
pub const CPU_TIME: u64 = 10;

// A run: what it reads and needs.

/// Status line and headers of a reply. Real ones have 300 bytes; 8 KiB is the minimum that hyper accepts.
pub const REPLY_HEAD: usize = 8 * 1024;

/// The session token: 56 characters today.
pub const TOKEN: usize = 1024;

/// One item: an instance ID, a region, a zone, a domain. The longest known zone has 22 characters.
pub const METADATA_ITEM: usize = 256;

/// A key line: the maximum length of `SSHPublicKey` in the API.
pub(crate) const KEY_LINE: usize = 4096;

/// Size of an RSA key in bits. Smaller ones are not secure (NIST SP 800-131A); the maximum is sshd's.
pub(crate) const RSA_BITS: RangeInclusive<u32> = 2048..=16384;

/// The decoded signature of a record: 256 bytes today. ring verifies those of keys up to 8,192 bits (`RSA_PSS_2048_8192_SHA256`).
pub(crate) const SIGNATURE: usize = 8192 / 8;

/// Number of records to examine. A record is valid for 60 s, so one user has seldom more than two.
pub const RECORDS: usize = 64;

/// The active keys of one user. Each record has a key line, and as much again for its signature and metadata lines.
pub const ACTIVE_KEYS: usize = RECORDS * 2 * KEY_LINE;

const _: () = {
    // The metadata lines of a record. An IAM principal has up to about 600 characters.
    let metadata_lines = 2048;
    assert!(SIGNATURE.div_ceil(3) * 4 + metadata_lines <= KEY_LINE, "a signature is base64");
};

/// The longest ARN (IAM API Reference, `arnType`), hence the longest pattern of `--principal`.
pub(crate) const ARN: usize = 2048;

/// Number of `--principal` options. More principals are better named by a pattern.
pub(crate) const PRINCIPALS: usize = 64;

/// Number of certificates in a certificate chain. The longest supported path has the signer and six intermediates.
pub const CERTIFICATES: usize = 16;

/// The certificate chain of the signer, PEM: four certificates and 7 KB today.
pub const CERTIFICATE_CHAIN: usize = CERTIFICATES * 4096;

/// The list of OCSP response names: today one name of 40 characters for each certificate; at most a second one of 64.
pub const OCSP_NAMES: usize = CERTIFICATES * 256;

/// One OCSP response, base64: 700 bytes if the issuer signed it, 2 to 6 KB with the certificate of a responder.
pub const OCSP_RESPONSE: usize = 32 * 1024;

/// A file that identifies an EC2 instance by an instance ID or a UUID. A longer tag is not an instance ID.
pub(crate) const FIRMWARE_FILE: u64 = 128;

/// One file of the trust store. Debian's bundle has 220 KB; RHEL's, with comments, 500 KB.
pub const TRUST_STORE: u64 = 8 * 1024 * 1024;

/// The text of one certificate in the trust store. Today's have 3 KB.
pub(crate) const TRUST_STORE_CERTIFICATE: u64 = 64 * 1024;

/// Number of files in a trust store directory. Debian's has 290, including links.
pub const TRUST_STORE_FILES: usize = 1024;

/// Remote text in a log line. IAM principals have up to about 600 characters.
pub const LOGGED_TEXT: usize = 1024;

/// Output of the chained command. Enough for tens of thousands of keys.
pub const CHAINED_OUTPUT: usize = 8 * 1024 * 1024;

/// Address space of the process, in bytes. A login uses at most 6 MB (`tests/imds/memory.rs`). A buffer that grows to [`CHAINED_OUTPUT`]
/// needs three times its size, because it doubles: the old and the new one exist at once.
#[expect(clippy::as_conversions, reason = "the value is small")]
pub const ADDRESS_SPACE: u64 = 8 * CHAINED_OUTPUT as u64;

/// Open file descriptors. A login uses fifteen at once.
pub const OPEN_FILES: u64 = 128;

// `--check`: time.

/// Time for one check of `--check`: the time of a login for metadata, and a margin for a busy system.
pub(crate) const CHECK_TIME: Duration = RUN_TIME.saturating_add(Duration::from_millis(500));

/// Time for a program that a check runs: milliseconds, or more if a name service queries a directory.
pub(crate) const CHECK_TOOL: Duration = Duration::from_secs(2);

const _: () = assert!(2 * CHECK_TOOL.as_millis() < CHECK_TIME.as_millis(), "some checks run two programs");

/// Time for the whole of `--check`: the slowest check, after one that runs two programs.
pub(crate) const ALL_CHECKS_TIME: Duration = CHECK_TIME.saturating_add(CHECK_TOOL.saturating_mul(2));

/// Time for the run of the AuthorizedKeysCommand in `--check`: the default limit of a login, and a margin, within [`CHECK_TIME`].
pub(crate) const LOGIN_COMMAND_TIME: Duration = RUN_TIME.saturating_add(Duration::from_millis(300));

const _: () =
    assert!(LOGIN_COMMAND_TIME.as_millis() < CHECK_TIME.as_millis(), "the check reports its own limit");

/// Time that the run of [`LOGIN_COMMAND_TIME`] waits for the pushed keys. Later it starts without one, so that a slow metadata service does not delay the report.
pub(crate) const LOGIN_COMMAND_KEY_WAIT: Duration = Duration::from_secs(3);

const _: () = assert!(
    LOGIN_COMMAND_KEY_WAIT.as_millis() + CHECK_TIME.as_millis() < ALL_CHECKS_TIME.as_millis(),
    "the run has its time"
);

/// Seconds that a key must remain valid for that run.
pub(crate) const LOGIN_COMMAND_KEY_LEFT: u64 = 10;

/// Time for the run of `eic-keys --check` as the AuthorizedKeysCommandUser, and for a second one outside of sshd's mount
/// namespace, if the first fails. After it, the check that runs the AuthorizedKeysCommand has its time.
pub(crate) const COMMAND_USER_TIME: Duration =
    ALL_CHECKS_TIME.saturating_sub(CHECK_TIME).saturating_sub(Duration::from_millis(100));

/// Time for a service to answer on the system bus.
pub(crate) const BUS_ANSWER: Duration = Duration::from_secs(1);

/// Time for the name of a client, which a name server has at once, or not at all.
pub(crate) const CLIENT_NAME: Duration = Duration::from_secs(1);

/// Time for sshd's first line, from the start of a connection: milliseconds, or more on a busy system.
pub(crate) const BANNER_TIME: Duration = Duration::from_millis(1500);

/// Time for a connection to sshd, which the kernel accepts.
pub(crate) const BANNER_CONNECTION: Duration = Duration::from_secs(1);

/// Time for an sshd that reads its files again, and so refuses connections, to listen again.
pub(crate) const BANNER_RELOAD: Duration = Duration::from_secs(1);

/// Pause between connections that are refused.
pub(crate) const BANNER_PAUSE: Duration = Duration::from_millis(100);

/// The least time for each step of a connection.
pub(crate) const BANNER_LEAST: Duration = Duration::from_millis(100);

/// Range of `--wait`. Ten minutes are enough to try what pushes a key.
pub(crate) const WAIT_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Pause between the requests of `--wait`. A key can be used for 60 s; IMDS limits requests per second.
pub(crate) const WAIT_PAUSE: Duration = Duration::from_secs(1);

// `--check`: what it reads and shows.

/// A list of revoked keys, in bytes.
pub(crate) const REVOKED_KEYS: u64 = 1024 * 1024;

/// Length of what comes before sshd's first line. OpenSSH's clients read more, but sshd sends nothing.
pub(crate) const BANNER_LENGTH: usize = 4096;

/// Number of detail lines per check: one per examined record, and some more.
pub(crate) const CHECK_DETAILS: usize = RECORDS + 36;

/// Number of lines that `--check` reads of the journal, the newest ones: of sshd, and of eic-keys.
pub(crate) const JOURNAL_LINES: usize = 2000;

/// Number of bytes that `--check` reads from the end of a log: some thousand lines.
pub(crate) const LOG_TAIL: u64 = 512 * 1024;

/// Number of files that are read of a directory with parts of the message of the day (`motd.d`).
pub(crate) const MOTD_FILES: usize = 256;

/// How deep PAM service files that include each other are read.
pub(crate) const PAM_INCLUDES: usize = 8;

/// How much of a command line a report shows, in bytes.
pub(crate) const COMMAND_SHOWN: u64 = 100;

// `--check --rehearse`.

/// Time for a rehearsal, including the end of its processes.
pub(crate) const REHEARSAL_TIME: Duration = Duration::from_secs(15);

/// Time for the logins of a rehearsal. A healthy login takes less than a second, and several on a slow system.
pub(crate) const REHEARSAL_LOGINS: Duration = Duration::from_secs(11);

/// Each output of a rehearsal. A start file can print without end; the rest is discarded.
pub(crate) const REHEARSAL_OUTPUT: usize = 256 * 1024;

/// Time between two examinations of the processes of a rehearsal.
pub(crate) const REHEARSAL_PAUSE: Duration = Duration::from_millis(20);

/// Time for the processes of a rehearsal to end once the connection is closed.
pub(crate) const REHEARSAL_END: Duration = Duration::from_millis(800);

/// Time for the system log to write a message of PAM about a rehearsal.
pub(crate) const PAM_LOG_WAIT: Duration = Duration::from_millis(600);

/// Time without output after which a rehearsal types on its terminal.
pub(crate) const TERMINAL_QUIET: Duration = Duration::from_millis(250);

/// Time after which a rehearsal types although there was no output.
pub(crate) const TERMINAL_START: Duration = Duration::from_secs(2);

/// Time for the answer to a line on a terminal.
pub(crate) const TERMINAL_ANSWER: Duration = Duration::from_secs(1);

/// How often the session must answer an empty line. A start file can print something once by chance.
pub(crate) const TERMINAL_ANSWERS: u32 = 2;

/// How many lines without an answer are typed before the end of the input. A shell can have an empty prompt.
pub(crate) const TERMINAL_TRIES: u32 = 3;

// `--logins`.

/// Number of log files: the current one and the rotated ones.
pub const LOG_FILES: usize = 400;

/// What `--logins` reads of a log at once. Small enough for the cache of a processor.
pub(crate) const LOG_BLOCK: usize = 256 * 1024;

/// A line of a log. rsyslog cuts messages at 8 KiB; an entry of the journal as JSON has other fields, too.
pub(crate) const LOG_LINE: usize = 64 * 1024;

const _: () = assert!(LOG_LINE < LOG_BLOCK, "a line fits into a block");

/// The message of a line of sshd or eic-keys. sshd cuts its messages at 1 KiB. One of eic-keys has two texts of [`LOGGED_TEXT`].
pub(crate) const LOG_MESSAGE: usize = 3 * LOGGED_TEXT;

/// Number of logins that `--logins` lists, and of refused records: the newest ones. They need 50 MB.
pub(crate) const LOGINS: usize = 20_000;

/// Number of pushes of which the log cannot tell which ones the listed logins used. Five for each login; usually there are none.
pub(crate) const CANDIDATES: usize = 5 * LOGINS;

/// The number of keys for one login: two runs. In a log file, more of them were forged.
pub(crate) const LOGIN_KEYS: usize = 2 * RECORDS;

/// Number of keys provided within the grace time of sshd. `--logins` keeps them until a login uses them.
pub(crate) const PROVIDED_KEYS: usize = 50_000;

/// sshd's grace time for `--logins`, if it has no limit.
pub(crate) const UNLIMITED_GRACE: Duration = Duration::from_secs(600);

/// For how long `--logins` waits for the next bytes of a log from journalctl or a decompressor.
pub(crate) const LOG_SILENCE: Duration = Duration::from_secs(300);

/// What journalctl complains about, in bytes: some dozen damaged files.
pub(crate) const JOURNALCTL_ERRORS: u64 = 4096;

/// For how long `--logins` runs before it shows its progress.
pub(crate) const PROGRESS_AFTER: Duration = Duration::from_secs(1);

// Files of the system.

/// A text file of the system, such as `/etc/passwd` with some hundred thousand users.
pub(crate) const SYSTEM_FILE: u64 = 16 * 1024 * 1024;

/// The program file of sshd. Today's have up to 2 MiB.
pub(crate) const PROGRAM_FILE: u64 = 64 * 1024 * 1024;

/// The first bytes of a program: the kernel looks for `#!` and the interpreter in so many (`BINPRM_BUF_SIZE`, with the end of the line).
pub(crate) const PROGRAM_START: u64 = 255;

/// A file of `/proc`, at most. The table of TCP sockets has 150 bytes for each: this is a hundred thousand.
pub(crate) const PROC_FILE: u64 = 16 * 1024 * 1024;

/// A file of the time zone database. The largest ones have 3 KB.
pub(crate) const TIME_ZONE: u64 = 64 * 1024;

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

    /// The time limit of a request that starts now: [`REQUEST_TIME`], or the remaining time of the run if that is less.
    #[must_use]
    pub fn request(&self) -> Duration {
        self.left().min(REQUEST_TIME)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

    use std::fs;
    use std::path::Path;

    use super::{ACTIVE_KEYS, CERTIFICATES, LOG_WAIT, READER_WAIT, RECORDS, RSA_BITS, RUN_TIME};
    use crate::ec2::KEY_LIFETIME;

    /// The texts of the source files below `folder`, except this one.
    fn sources(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let texts = entries.map(|path| match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(end) if end == "rs" && !path.ends_with("limits.rs") => {
                vec![fs::read_to_string(path).unwrap()]
            }
            _ => Vec::new(),
        });
        texts.flatten().collect()
    }

    /// How often `text` uses `name`, a whole word, outside comments and tests.
    fn uses(text: &str, name: &str) -> usize {
        let code = text.split("#[cfg(test)]").next().unwrap().lines();
        let code = code.filter(|line| !line.trim_start().starts_with("//"));
        let words =
            code.flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')));
        words.filter(|word| *word == name).count()
    }

    #[test]
    fn each_limit_is_used() {
        let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        let own = include_str!("limits.rs");
        // The tests use these, so the compiler does not report one that only the program no longer uses.
        for line in own.lines().filter_map(|line| line.strip_prefix("pub const ")) {
            let name = line.split(':').next().unwrap();
            let here = uses(own, name);
            let elsewhere: usize = sources.iter().map(|text| uses(text, &format!("limits::{name}"))).sum();
            assert!(here + elsewhere > 0, "nothing uses {name}");
        }
        assert_eq!(
            uses("// LIMIT\npub const LIMIT: usize = LIMIT_OF_ALL;", "LIMIT"),
            0,
            "a name in a comment is no use"
        );
    }

    /// Sizes and numbers without a test of their own.
    const UNTESTED: [&str; 9] = [
        // `files::read` has a test of what is larger.
        "SYSTEM_FILE",
        "PROGRAM_FILE",
        "PROC_FILE",
        "TIME_ZONE",
        // A second more or less.
        "LOGIN_COMMAND_KEY_LEFT",
        // What is read is one buffer longer.
        "BANNER_LENGTH",
        // It changes only how much is shown.
        "COMMAND_SHOWN",
        // tests/check/rehearsal.rs has a shell that answers more, and one that does not.
        "TERMINAL_ANSWERS",
        "TERMINAL_TRIES",
    ];

    #[test]
    fn each_size_and_number_is_in_a_test() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let unit_tests = sources(&root.join("src"))
            .into_iter()
            .filter_map(|text| text.split_once("#[cfg(test)]").map(|(_, tests)| tests.to_owned()));
        let tests: Vec<_> = unit_tests.chain(sources(&root.join("tests"))).collect();
        let word =
            |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned);
        let tested: Vec<_> = tests.iter().flat_map(|text| text.split("limits::").skip(1)).map(word).collect();
        let mut untested = Vec::new();
        for line in include_str!("limits.rs").lines().take_while(|line| *line != "#[cfg(test)]") {
            let constant = line.strip_prefix("pub const ").or_else(|| line.strip_prefix("pub(crate) const "));
            let Some((name, kind)) = constant.and_then(|rest| rest.split_once(": ")) else { continue };
            if !kind.contains("Duration") && !tested.contains(&Some(name.to_owned())) {
                untested.push(name);
            }
        }
        untested.sort_unstable();
        let mut known = UNTESTED;
        known.sort_unstable();
        assert_eq!(untested, known, "a test at the limit and one above it");
    }

    #[test]
    fn the_documents_have_these_numbers() {
        let whole = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let threats = whole(include_str!("../docs/threat-model.md"));
        let seconds = RUN_TIME.as_secs_f64();
        let kib = ACTIVE_KEYS / 1024;
        for words in [
            format!("within its time limit ({seconds} s, `--timeout`), plus at most half a second"),
            format!("A run uses at most {seconds} s, "),
            format!("{RECORDS} records, {CERTIFICATES} certificates, {kib} KiB of keys"),
        ] {
            assert!(threats.contains(&words), "docs/threat-model.md: {words}");
        }
        assert_eq!((LOG_WAIT + READER_WAIT).as_millis(), 500, "half a second");
        let manual = whole(include_str!("../packaging/eic-keys.8.scd"));
        let words = format!("0.1 to 60; the default is {seconds}.");
        assert!(manual.contains(&words), "packaging/eic-keys.8.scd: {words}");
        let (least, most) = RSA_BITS.into_inner();
        for (document, words) in [
            (include_str!("../docs/how-it-works.md"), format!("`ssh-rsa` of {least} to {most} bits")),
            (include_str!("../docs/differences.md"), format!("RSA of {least} to {most} bits")),
        ] {
            assert!(whole(document).contains(&words), "{words}");
        }
    }

    #[test]
    fn the_messages_have_the_life_of_a_key() {
        let seconds = KEY_LIFETIME.as_secs();
        for (source, words) in [
            (include_str!("authorize.rs"), format!("in the last {seconds} seconds\"")),
            (include_str!("check/check_id.rs"), format!("a pushed key is valid for {seconds} s\"")),
            (include_str!("check/report.rs"), format!("a pushed key is valid for {seconds} s: ")),
            (include_str!("check/topics/keys.rs"), format!("log in or check within {seconds} s\"")),
            (include_str!("check/topics/recent.rs"), format!("log in within {seconds} s; ")),
        ] {
            assert!(source.contains(&words), "{words}");
        }
    }
}
