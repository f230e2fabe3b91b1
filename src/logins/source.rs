//! Where the lines come from: the journal or, without one, log files.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};

use super::events::{PATTERN, can_matter};
use super::progress::Progress;
use crate::files;
use crate::limits;
use crate::lists;
use crate::process::{PipedProgram, TrustedCommand};
use crate::seconds::digits;
use crate::system_log::file::{self, Clock};
use crate::system_log::{Entry, FILES, journal, scan};
use crate::time_zone::TimeZone;
use crate::tool::stdout_of;

/// A log.
#[derive(Debug)]
pub(super) enum LogSource {
    /// The journal. Its fields tell who wrote a line.
    Journal,
    /// Log files. [`ANYBODY`](crate::system_log::ANYBODY) can have such lines written.
    Files(Files),
}

/// The files of a log.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Oldest first.
    readable: Vec<LogFile>,
    /// Why others are not read.
    missing: Vec<String>,
    /// Files whose time is not known.
    undated: Vec<PathBuf>,
}

/// What to read of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogQuery<'a> {
    /// In seconds since 1970.
    pub(super) since: u64,
    /// The users as which sshd runs eic-keys. `None` if these are all users.
    pub(super) users: Option<&'a [u32]>,
    pub(super) zone: &'a TimeZone,
}

/// A file of a log.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// When it was last changed, in seconds since 1970.
    modified: u64,
    rotation: Rotation,
    size: u64,
    /// The program that decompresses it.
    decompressor: Option<&'static str>,
}

/// Where a file is in the order of its rotation: greater for a newer one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rotation {
    /// `auth.log.1` is newer than `auth.log.2`.
    Number(Reverse<u64>),
    /// `auth.log-20261121`
    Date(String),
    /// `auth.log`
    Current,
}

/// How a compressed file ends, and the program that decompresses it.
const COMPRESSED: [(&str, &str); 4] = [(".gz", "gzip"), (".xz", "xz"), (".bz2", "bzip2"), (".zst", "zstd")];

impl LogSource {
    /// The log of the system below `root`, with the lines since a time. `None` if there is none.
    pub(super) fn find(root: &Path, now: u64, since: u64) -> Option<Self> {
        let any = stdout_of("journalctl", &["--lines", "1", "--no-pager", "--quiet"]);
        if any.is_ok_and(|text| !text.is_empty()) {
            return Some(Self::Journal);
        }
        let mut found = Files::default();
        for file in FILES {
            found.add(&root.join(file), now);
        }
        if found.readable.is_empty() && found.missing.is_empty() {
            return None;
        }
        found.readable.retain(|file| file.modified >= since);
        let excess = found.readable.len().saturating_sub(limits::LOG_FILES);
        found.readable.drain(..excess);
        if excess > 0 {
            found.missing.push(format!("{excess} older log files were not read, only {}", limits::LOG_FILES));
        }
        Some(Self::Files(found))
    }

    /// The oldest entry of a journal by a process of root, as sshd's are. Those of a user can be in a file of their own, which has older ones.
    pub(super) fn begin(&self) -> Option<journal::Moment> {
        let Self::Journal = self else { return None };
        let words = ["--no-pager", "--quiet", "--output=json", "_UID=0"];
        let child = TrustedCommand::new("journalctl").with(words).start(None, Stdio::null());
        let (start, first) = (Instant::now(), RefCell::new(None));
        // No more than the first line is needed.
        let left = || match *first.borrow() {
            Some(_) => Duration::ZERO,
            None => limits::CHECK_TOOL.saturating_sub(start.elapsed()),
        };
        let take = |line: &[u8]| {
            let mut first = first.borrow_mut();
            *first = first.take().or_else(|| Some(journal::moment(line)));
        };
        let _ = PipedProgram::new(child.ok()?)
            .ok()?
            .read(left, |output| scan::lines(output, |_| true, |_| (), take));
        first.into_inner()?
    }

    /// Calls `take` for each line that can say something about a login, in the order of the log. Returns what could not be read, and adds
    /// to `notes` what else the reader has to know.
    pub(super) fn read(
        self,
        query: LogQuery<'_>,
        notes: &mut Vec<String>,
        mut take: impl FnMut(&Entry<'_>),
    ) -> Vec<String> {
        match self {
            Self::Journal => read_journal(query, &mut take),
            Self::Files(Files { readable: files, mut missing, undated }) => {
                notes.extend(undated.iter().map(|path| {
                    format!(
                        "{} has no modification time: its times without a year are taken as of the last year",
                        name(path)
                    )
                }));
                let total = files.iter().map(|file| file.size).sum();
                let mut progress = Progress::new(Some(total));
                for file in files {
                    let path = name(&file.path);
                    if let Err(error) = file.read(query.zone, &mut progress, &mut take) {
                        missing.push(format!("{path} could not be read to its end: {error}"));
                    }
                }
                missing
            }
        }
    }
}

/// The path of a file for the reader.
fn name(path: &Path) -> String {
    format!("/{}", path.display().to_string().trim_start_matches('/'))
}

impl Files {
    /// Adds a log file and its rotated ones.
    fn add(&mut self, current: &Path, now: u64) {
        let (Some(folder), Some(base)) = (current.parent(), current.file_name().and_then(OsStr::to_str))
        else {
            return;
        };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let Some(suffix) = file.to_str().and_then(|file| file.strip_prefix(base)) else { continue };
            let compressed =
                COMPRESSED.iter().find_map(|(end, tool)| Some((suffix.strip_suffix(end)?, *tool)));
            let (number, decompressor) = compressed.map_or((suffix, None), |(rest, tool)| (rest, Some(tool)));
            let Some(rotation) = Rotation::parse(number, suffix.is_empty()) else { continue };
            let path = entry.path();
            // An open file stays the same if it is renamed meanwhile.
            let opened = files::open(&path).and_then(|file| Ok((file.metadata()?, file)));
            let (metadata, file) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    self.missing.push(format!("{} could not be read: {error}", name(&path)));
                    continue;
                }
            };
            // A file that was restored can have the time 0. It is not known how old it is, so it is read.
            let modified = u64::try_from(metadata.mtime()).ok().filter(|time| *time > 0);
            if modified.is_none() {
                self.undated.push(path.clone());
            }
            let (modified, size) = (modified.unwrap_or(now), metadata.len());
            let file = LogFile { path, file, modified, rotation, size, decompressor };
            lists::insert(&mut self.readable, file, |one, other| {
                (one.modified, &one.rotation).cmp(&(other.modified, &other.rotation))
            });
        }
    }
}

impl Rotation {
    /// Reads what follows the name of the log.
    fn parse(suffix: &str, is_current: bool) -> Option<Self> {
        if is_current {
            return Some(Self::Current);
        }
        let rest = suffix.strip_prefix(['.', '-'])?;
        if let Some(number) = digits(rest).filter(|_| suffix.starts_with('.')) {
            return Some(Self::Number(Reverse(number)));
        }
        let is_date = |byte: u8| byte.is_ascii_digit() || b"-._T".contains(&byte);
        (!rest.is_empty() && rest.bytes().all(is_date)).then(|| Self::Date(rest.to_owned()))
    }
}

impl LogFile {
    fn read(
        self,
        zone: &TimeZone,
        progress: &mut Progress,
        take: &mut impl FnMut(&Entry<'_>),
    ) -> io::Result<()> {
        let clock = Clock { last: self.modified, zone };
        let Some(tool) = self.decompressor else {
            return read_log(self.file, clock, |count| progress.add(count), take);
        };
        let child = TrustedCommand::new(tool).with(["-dc"]).start(Some(self.file), Stdio::null())?;
        let status = PipedProgram::new(child)?
            .read(silence, |output| read_log(output, clock, |_| progress.add(0), take))?;
        progress.add(self.size);
        if status { Ok(()) } else { Err(io::Error::other(format!("{tool} -dc failed"))) }
    }
}

/// Calls `take` for each line of a log file that can say something about a login, and `progress` with the number of bytes read.
///
/// # Errors
/// Fails if the text cannot be read to its end.
pub fn read_log(
    text: impl Read,
    clock: Clock<'_>,
    progress: impl FnMut(u64),
    mut take: impl FnMut(&Entry<'_>),
) -> io::Result<()> {
    let mut reader = file::Reader::new(clock);
    scan::lines(text, can_matter, progress, |line: &[u8]| {
        // A file that was truncated while it was open begins with zeros.
        let zeros = line.iter().take_while(|byte| **byte == 0).count();
        let line = line.get(zeros..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Nearly every line is UTF-8, which from_utf8 finds out faster than from_utf8_lossy.
        let text = std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed);
        if let Some(entry) = reader.entry(&text) {
            take(&entry);
        }
    })
}

/// Reads the journal with the options that this journalctl has. Returns what could not be read.
fn read_journal(query: LogQuery<'_>, take: &mut impl FnMut(&Entry<'_>)) -> Vec<String> {
    // systemd has --grep since version 237, if it was built with PCRE2.
    let grep = format!("--grep={PATTERN}");
    let options: [&[&str]; 3] = [&[&grep, journal::FIELDS], &[journal::FIELDS], &[]];
    let since = format!("--since=@{}", query.since);
    let names: Vec<_> = journal::names().collect();
    let mut last = String::new();
    for options in options {
        let mut words = vec!["--no-pager", "--quiet", "--output=json", &since];
        words.extend(options);
        words.extend(names.iter().map(String::as_str));
        let words: Vec<&OsStr> = words.into_iter().map(OsStr::new).collect();
        let any = Cell::new(false);
        let mut progress = Progress::new(None);
        let line = |line: &[u8]| {
            any.set(true);
            if let Some(entry) = journal::entry(line).filter(|entry| journal::is_by(entry, query.users)) {
                take(&entry);
            }
        };
        let errors = memfd_create("journalctl", MemfdFlags::CLOEXEC).map(File::from);
        let stderr = errors.as_ref().ok().and_then(|file| file.try_clone().ok());
        let stderr = stderr.map_or_else(Stdio::null, Stdio::from);
        let read = TrustedCommand::new("journalctl").with(words).start(None, stderr);
        let read = read.and_then(PipedProgram::new).and_then(|child| {
            child.read(silence, |output| scan::lines(output, |_| true, |count| progress.add(count), line))
        });
        match read {
            // With --grep, it fails if no line matches. It succeeds, and says so, if it ignores a file that is damaged.
            Ok(true) => return errors.map_or_else(|_| Vec::new(), complaints),
            Ok(false) => "journalctl failed".clone_into(&mut last),
            Err(error) => last = format!("journalctl could not be read to its end: {error}"),
        }
        if any.get() {
            break;
        }
    }
    vec![last]
}

/// For how long a program can print nothing.
fn silence() -> Duration {
    limits::LOG_SILENCE
}

/// What a program wrote to a file of its own.
fn complaints(mut file: File) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(limits::JOURNALCTL_ERRORS).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    String::from_utf8_lossy(&bytes)
        .lines()
        .map(|line| format!("journalctl: {}", line.trim_end_matches('.')))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::io::Write;

    use super::{File, MemfdFlags, complaints, memfd_create};
    use crate::limits;

    #[test]
    fn the_most_complaints() {
        let most = usize::try_from(limits::JOURNALCTL_ERRORS).unwrap();
        for length in [most, most.saturating_add(1)] {
            let mut file = File::from(memfd_create("complaints", MemfdFlags::CLOEXEC).unwrap());
            file.write_all("x".repeat(length).as_bytes()).unwrap();
            assert_eq!(complaints(file), [format!("journalctl: {}", "x".repeat(most))], "{length}");
        }
    }
}
