//! Where the lines come from: the journal or, without one, log files.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::lines::{PATTERN, can_matter};
use super::progress::Progress;
use super::scan;
use crate::files;
use crate::limits;
use crate::process;
use crate::system_log::file::{self, Clock};
use crate::system_log::{Entry, FILES, journal};
use crate::time_zone::TimeZone;
use crate::tool::stdout_of;

/// A log.
#[derive(Debug)]
pub(super) enum Source {
    /// The journal. Its fields tell who wrote a line.
    Journal,
    /// Log files, oldest first, and the number of older ones that are not read. [`ANYBODY`](crate::system_log::ANYBODY) can have such lines written.
    Files(Vec<LogFile>, usize),
}

/// What to read of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent<'a> {
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
    size: u64,
    /// The program that decompresses it.
    decompressor: Option<&'static str>,
}

/// How a compressed file ends, and the program that decompresses it.
const COMPRESSED: [(&str, &str); 4] = [(".gz", "gzip"), (".xz", "xz"), (".bz2", "bzip2"), (".zst", "zstd")];

impl Source {
    /// The log of the system below `root`. `None` if there is none.
    pub(super) fn find(root: &Path, since: u64) -> Option<Self> {
        let any = stdout_of("journalctl", &["--lines", "1", "--no-pager", "--quiet"]);
        if any.is_some_and(|text| !text.is_empty()) {
            return Some(Self::Journal);
        }
        let found = FILES.iter().map(|file| log_files(&root.join(file))).find(|files| !files.is_empty());
        found.map(|mut files| {
            files.retain(|file| file.modified >= since);
            let excess = files.len().saturating_sub(limits::LOG_FILES);
            files.drain(..excess);
            Self::Files(files, excess)
        })
    }

    /// Calls `take` for each line that can say something about a login, in the order of the log. Returns what could not be read.
    pub(super) fn read(self, extent: Extent<'_>, mut take: impl FnMut(&Entry)) -> Vec<String> {
        match self {
            Self::Journal => read_journal(extent, &mut take).err().into_iter().collect(),
            Self::Files(files, older) => {
                let total = files.iter().map(|file| file.size).sum();
                let mut progress = Progress::new(total);
                let mut failed = Vec::new();
                if older > 0 {
                    failed.push(format!("{older} older log files were not read, only {}", limits::LOG_FILES));
                }
                for file in files {
                    let path = file.path.display().to_string();
                    if let Err(error) = file.read(extent.zone, &mut progress, &mut take) {
                        failed.push(format!(
                            "/{} could not be read to its end: {error}",
                            path.trim_start_matches('/')
                        ));
                    }
                }
                failed
            }
        }
    }
}

/// The file and its rotated ones, oldest first.
fn log_files(current: &Path) -> Vec<LogFile> {
    let (Some(folder), Some(name)) = (current.parent(), current.file_name().and_then(OsStr::to_str)) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let Some(suffix) = file.to_str().and_then(|file| file.strip_prefix(name)) else { continue };
        let compressed = COMPRESSED.iter().find_map(|(end, tool)| Some((suffix.strip_suffix(end)?, *tool)));
        let (number, decompressor) = compressed.map_or((suffix, None), |(rest, tool)| (rest, Some(tool)));
        let rotated = number.strip_prefix(['.', '-']).is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || b"-._T".contains(&byte))
        });
        if !rotated && !suffix.is_empty() {
            continue;
        }
        let path = entry.path();
        // An open file stays the same if it is renamed meanwhile.
        let Ok(file) = files::open(&path) else { continue };
        let Ok(metadata) = file.metadata() else { continue };
        let modified = u64::try_from(metadata.mtime()).unwrap_or_default();
        files.push(LogFile { path, file, modified, size: metadata.len(), decompressor });
    }
    // Of two files of the same time, the one with the higher number is older.
    files.sort_by(|one, other| {
        let key = |file: &LogFile| (file.modified, file.path.as_os_str().len());
        key(one).0.cmp(&key(other).0).then_with(|| other.path.cmp(&one.path))
    });
    files
}

impl LogFile {
    fn read(self, zone: &TimeZone, progress: &mut Progress, take: &mut impl FnMut(&Entry)) -> io::Result<()> {
        let clock = Clock { last: self.modified, zone };
        let Some(tool) = self.decompressor else {
            return read_text(self.file, clock, |count| progress.add(count), take);
        };
        let words: [OsString; 1] = [tool.into()];
        let child = process::start(&words, &["-dc".as_ref()], Some(self.file))?;
        let status =
            Running::new(child)?.read(|output| read_text(output, clock, |_| progress.add(0), take))?;
        progress.add(self.size);
        if status { Ok(()) } else { Err(io::Error::other(format!("{tool} -dc failed"))) }
    }
}

/// Calls `take` for each line of a log file that can say something about a login, and `progress` with the number of bytes read.
///
/// # Errors
/// Fails if the text cannot be read to its end.
pub fn read_text(
    text: impl Read,
    clock: Clock<'_>,
    progress: impl FnMut(u64),
    mut take: impl FnMut(&Entry),
) -> io::Result<()> {
    let mut reader = file::Reader::new(clock);
    scan::lines(text, can_matter, progress, |line: &[u8]| {
        // A file that was truncated while it was open begins with zeros.
        let zeros = line.iter().take_while(|byte| **byte == 0).count();
        let text = String::from_utf8_lossy(line.get(zeros..).unwrap_or_default());
        if let Some(entry) = reader.entry(&text) {
            take(&entry);
        }
    })
}

/// Reads the journal with the options that this journalctl has.
fn read_journal(extent: Extent<'_>, take: &mut impl FnMut(&Entry)) -> Result<(), String> {
    // systemd has --grep since version 237, if it was built with PCRE2.
    let grep = format!("--grep={PATTERN}");
    let options: [&[&str]; 3] = [&[&grep, journal::FIELDS], &[journal::FIELDS], &[]];
    let since = format!("--since=@{}", extent.since);
    let matches = journal::matches(extent.users);
    let mut last = String::new();
    for options in options {
        let mut words = vec!["--no-pager", "--quiet", "--output=json", &since];
        words.extend(options);
        words.extend(matches.iter().map(String::as_str));
        let words: Vec<&OsStr> = words.into_iter().map(OsStr::new).collect();
        let any = Cell::new(false);
        let mut progress = Progress::new(0);
        let line = |line: &[u8]| {
            any.set(true);
            if let Some(entry) = journal::entry(line) {
                take(&entry);
            }
        };
        let read = process::start(&["journalctl".into()], &words, None).and_then(Running::new);
        let read = read.and_then(|child| {
            child.read(|output| scan::lines(output, |_| true, |count| progress.add(count), line))
        });
        match read {
            // With --grep, it fails if no line matches.
            Ok(true) => return Ok(()),
            Ok(false) => "journalctl failed".clone_into(&mut last),
            Err(error) => last = format!("journalctl could not be read to its end: {error}"),
        }
        if any.get() {
            break;
        }
    }
    Err(last)
}

/// A program whose output is read while it runs.
#[derive(Debug)]
struct Running {
    child: Child,
    output: ChildStdout,
}

impl Running {
    fn new(mut child: Child) -> io::Result<Self> {
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, output })
    }

    /// Reads the output. Returns whether the program succeeded.
    fn read(self, read: impl FnOnce(Patient) -> io::Result<()>) -> io::Result<bool> {
        let Self { mut child, output } = self;
        let result = read(Patient(output));
        if result.is_err() {
            let _ = child.kill();
        }
        let status = child.wait()?;
        result.map(|()| status.success())
    }
}

/// A pipe that fails if nothing comes for [`limits::LOG_SILENCE`].
struct Patient(ChildStdout);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = Timespec::try_from(limits::LOG_SILENCE).ok();
        let mut pipe = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        if poll(&mut pipe, limit.as_ref())? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.0.read(buffer)
    }
}
