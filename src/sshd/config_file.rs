//! One file of sshd's configuration: its lines, which keep every byte, and their parsed statements.

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
};

use super::lexer::{argv_split, strdelim, strdelim_all, trim_start};
use super::version::OpensshVersion;
use crate::config_tree::Origin;

/// A file as lines, with its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl ConfigFile {
    /// Accepts any bytes.
    #[must_use]
    pub fn new(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), bytes }
    }

    /// The path, as in sshd's configuration.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The lines with their terminators. Concatenated, they are the file.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split_inclusive(|byte| *byte == b'\n')
    }

    /// Each line with its number and its parsed statement.
    pub(super) fn statements<'a>(
        &'a self,
        version: &'a OpensshVersion,
    ) -> impl Iterator<Item = (Origin, Result<Option<Statement>, Malformed>)> + 'a {
        self.lines()
            .zip(1..)
            .map(|(text, line)| (Origin { path: self.path.clone(), line }, Statement::read(version, text)))
    }
}

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The keyword in lower case. sshd ignores its case.
    pub keyword: String,
    /// The text after the keyword, as sshd stores it for commands.
    pub value: Vec<u8>,
    /// Its arguments: the text, split into words.
    pub arguments: Vec<Vec<u8>>,
}

/// A line that sshd rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A keyword without an argument.
    NoArgument,
    /// An unterminated quote.
    UnterminatedQuote,
    /// A zero byte: sshd stops reading the line there and joins it with the next line.
    ZeroByte,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoArgument => "a keyword without a value",
            Self::UnterminatedQuote => "a quote that does not end",
            Self::ZeroByte => "a zero byte",
        })
    }
}

impl Error for Malformed {}

impl Statement {
    /// The criteria of a Match line: its words before a comment.
    pub(super) fn criteria(&self) -> &[Vec<u8>] {
        self.arguments.split(|word| word.starts_with(b"#")).next().unwrap_or_default()
    }

    /// Parses one line, with or without its terminator, as this version of sshd does. `None` for a comment or an
    /// empty line.
    ///
    /// # Errors
    /// A line with a syntax that sshd rejects. The meaning of the keyword is not checked.
    pub fn read(version: &OpensshVersion, line: &[u8]) -> Result<Option<Self>, Malformed> {
        if line.contains(&0) {
            return Err(Malformed::ZeroByte);
        }
        let line = trim_line(version, line);
        let mut rest = Some(line);
        let mut keyword = strdelim(&mut rest);
        if keyword.as_deref() == Some(b"".as_slice()) {
            keyword = strdelim(&mut rest);
        }
        let Some(keyword) = keyword.filter(|word| !word.is_empty() && !word.starts_with(b"#")) else {
            return Ok(None);
        };
        let keyword = String::from_utf8_lossy(&keyword).to_ascii_lowercase();
        let rest = rest.unwrap_or_default();
        let value = trim_start(rest).to_vec();
        let arguments = if version.splits_like_argv() {
            if rest.is_empty() {
                return Err(Malformed::NoArgument);
            }
            let words = argv_split(version, rest, true).map_err(|_| Malformed::UnterminatedQuote)?;
            if keyword == "match" && !version.match_splits_like_argv() {
                until_comment(strdelim_all(rest))
            } else {
                words.into_iter().map(|word| word.text).collect()
            }
        } else {
            strdelim_all(rest)
        };
        Ok(Some(Self { keyword, value, arguments }))
    }

    /// The first argument, for keywords with only one.
    pub(super) fn first_argument(&self) -> &[u8] {
        self.arguments.first().map(Vec::as_slice).unwrap_or_default()
    }
}

/// A line after `load_server_config` and the trimming of `process_server_config_line`.
fn trim_line<'a>(version: &OpensshVersion, line: &'a [u8]) -> &'a [u8] {
    let mut line = line.strip_suffix(b"\n").unwrap_or(line);
    if version.hash_starts_comment_anywhere() {
        line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
    }
    let leading = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
    line = line.get(leading..).unwrap_or_default();
    if !version.trims_trailing_blanks() {
        return line;
    }
    // sshd keeps the first byte, whatever it is.
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n' | 0x0c] = line {
        if rest.is_empty() {
            break;
        }
        line = rest;
    }
    line
}

fn until_comment(words: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    words.into_iter().take_while(|word| !word.starts_with(b"#")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn read(version: &str, line: &str) -> Result<Option<(String, String, Vec<String>)>, Malformed> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let version = OpensshVersion::from_version_text(version).unwrap();
        let statement = Statement::read(&version, line.as_bytes())?;
        Ok(statement.map(|s| (s.keyword, text(s.value), s.arguments.into_iter().map(text).collect())))
    }

    const OLD: &str = "OpenSSH_8.4";
    const NEW: &str = "OpenSSH_10.0";

    #[test]
    fn lines_keep_every_byte() {
        for text in ["", "\n", "a", "a\n", "a\r\n\n b", "\u{0}\n\u{0}x"] {
            let file = ConfigFile::new(Path::new("/x"), text.into());
            assert_eq!(file.lines().collect::<Vec<_>>().concat(), text.as_bytes());
        }
    }

    #[test]
    fn reads_a_keyword_in_each_form() {
        for line in [
            "Port 22",
            "pORT=22",
            "  Port = 22",
            "\tPort\t22 \t\r\n",
            "\"Port\" 22",
            "Port \"22\"",
            "=Port 22",
        ] {
            for version in [OLD, NEW] {
                let (keyword, _, arguments) = read(version, line).unwrap().unwrap();
                assert_eq!(
                    (keyword.as_str(), arguments),
                    ("port", vec!["22".to_owned()]),
                    "{version} {line:?}"
                );
            }
        }
    }

    #[test]
    fn reads_comments_by_version() {
        for line in ["", "\n", "# Port 22", "  #Port", "\"Port 22"] {
            assert_eq!(read(OLD, line), Ok(None), "{line:?}");
            assert_eq!(read(NEW, line), Ok(None), "{line:?}");
        }
        let line = "AuthorizedKeysCommand /x %u # y";
        assert_eq!(read(OLD, line).unwrap().unwrap().1, "/x %u");
        assert_eq!(read(NEW, line).unwrap().unwrap().1, "/x %u # y", "since 8.7, sshd passes this on");
    }

    #[test]
    fn rejects_what_sshd_rejects() {
        assert_eq!(read(NEW, "Port"), Err(Malformed::NoArgument));
        assert_eq!(read(NEW, "Banner 'a"), Err(Malformed::UnterminatedQuote));
        assert_eq!(read(OLD, "Port \0 22"), Err(Malformed::ZeroByte));
    }
}
