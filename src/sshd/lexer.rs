//! Splits configuration lines into words as sshd does. OpenSSH changed the rules twice, so the result depends on the
//! version.
//!
//! Sources: `misc.c` (`strdelim`, `argv_split`) and `servconf.c` (`process_server_config_line_depth`,
//! `match_cfg_line`) of OpenSSH 7.4, 8.0, 8.2, 8.4, 8.7, 9.2, 9.9 and 10.0.

use std::borrow::Cow;

use super::version::OpensshVersion;

/// OpenSSH's `WHITESPACE`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

pub(super) fn trim_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    text.get(blanks..).unwrap_or_default()
}

/// OpenSSH's `strdelim`: removes the next word from `rest`. Blanks and one `=` are separators. A double quote starts
/// a quoted part, which ends the word. Returns `None` at the end and for an unterminated quote. `rest` is `None` if
/// nothing can follow.
pub(super) fn strdelim<'a>(rest: &mut Option<&'a [u8]>) -> Option<Cow<'a, [u8]>> {
    let text = (*rest)?;
    let Some(at) = text.iter().position(|byte| is_blank(*byte) || matches!(byte, b'"' | b'=')) else {
        *rest = None;
        return Some(Cow::Borrowed(text));
    };
    let (word, tail) = text.split_at_checked(at)?;
    let (separator, tail) = tail.split_first()?;
    if *separator == b'"' {
        let Some(end) = tail.iter().position(|byte| *byte == b'"') else {
            *rest = None;
            return None;
        };
        let (quoted, after) = tail.split_at_checked(end)?;
        *rest = Some(trim_start(after.get(1..).unwrap_or_default()));
        return Some(if word.is_empty() {
            Cow::Borrowed(quoted)
        } else {
            Cow::Owned([word, quoted].concat())
        });
    }
    let mut tail = trim_start(tail);
    if let (true, [b'=', after @ ..]) = (*separator != b'=', tail) {
        tail = trim_start(after);
    }
    *rest = Some(tail);
    Some(Cow::Borrowed(word))
}

/// The words that `strdelim` returns, up to the first empty one, where sshd stops.
pub(super) fn strdelim_all(text: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = Some(text);
    let mut words = Vec::new();
    while let Some(word) = strdelim(&mut rest).filter(|word| !word.is_empty()) {
        words.push(word.into_owned());
    }
    words
}

/// A word of a command line, and the offset of its end in the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: Vec<u8>,
    pub(super) end: usize,
}

/// An unterminated quote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnterminatedQuote;

/// OpenSSH's `argv_split`, which also splits the value of `AuthorizedKeysCommand` when sshd runs it. With
/// `to_comment`, stops at a `#` that begins a word. Up to 8.6, a quote was special only at the start of a word and
/// ended the word, and `\ ` was not an escape.
pub(super) fn argv_split(
    version: &OpensshVersion,
    text: &[u8],
    to_comment: bool,
) -> Result<Vec<Word>, UnterminatedQuote> {
    let anywhere = version.splits_like_argv();
    let byte = |at: usize| text.get(at).copied();
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = byte(at) {
        if matches!(first, b' ' | b'\t') {
            at = at.saturating_add(1);
            continue;
        }
        if to_comment && first == b'#' {
            break;
        }
        let mut word = Vec::new();
        let mut quote = None;
        if !anywhere && matches!(first, b'\'' | b'"') {
            quote = Some(first);
            at = at.saturating_add(1);
        }
        while let Some(here) = byte(at) {
            let next = at.saturating_add(1);
            match here {
                b'\\' => {
                    let escapes = match byte(next) {
                        Some(b'\'' | b'"' | b'\\') => true,
                        Some(b' ') => anywhere && quote.is_none(),
                        _ => false,
                    };
                    if escapes {
                        at = next;
                    }
                    word.extend(byte(at));
                }
                b' ' | b'\t' if quote.is_none() => break,
                b'\'' | b'"' if anywhere && quote.is_none() => quote = Some(here),
                _ if quote == Some(here) => {
                    quote = None;
                    if !anywhere {
                        at = at.saturating_add(1);
                        break;
                    }
                }
                _ => word.push(here),
            }
            at = at.saturating_add(1);
        }
        if quote.is_some() {
            return Err(UnterminatedQuote);
        }
        words.push(Word { text: word, end: at });
    }
    Ok(words)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn openssh(text: &str) -> OpensshVersion {
        OpensshVersion::from_version_text(text).unwrap()
    }

    fn words(version: &str, text: &str) -> Result<Vec<String>, UnterminatedQuote> {
        let words = argv_split(&openssh(version), text.as_bytes(), true)?;
        Ok(words.into_iter().map(|word| String::from_utf8(word.text).unwrap()).collect())
    }

    #[test]
    fn strdelim_splits_at_blanks_quotes_and_one_equals_sign() {
        let split = |text: &str| {
            strdelim_all(text.as_bytes())
                .into_iter()
                .map(|w| String::from_utf8(w).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(split("a b\tc"), ["a", "b", "c"]);
        assert_eq!(split("a = b"), ["a", "b"]);
        assert_eq!(split("a=b"), ["a", "b"]);
        assert_eq!(split("a == b"), ["a"], "the second sign is an empty word");
        assert_eq!(split("\"a b\" c"), ["a b", "c"]);
        assert_eq!(split("x\"a b\"c"), ["xa b", "c"]);
        assert!(split("\"a b").is_empty());
    }

    #[test]
    fn argv_split_reads_quotes_by_version() {
        assert_eq!(
            words("OpenSSH_9.2", r#"/x "a b" 'c "d' e\ f g\"h # no"#).unwrap(),
            ["/x", "a b", "c \"d", "e f", "g\"h"]
        );
        assert_eq!(words("OpenSSH_9.2", r#"a"b c"d"#).unwrap(), ["ab cd"]);
        assert_eq!(words("OpenSSH_8.4", r#"/x "a b"c e\ f"#).unwrap(), ["/x", "a b", "c", "e\\", "f"]);
        assert_eq!(words("OpenSSH_8.4", r#"a"b c"#).unwrap(), ["a\"b", "c"]);
        assert_eq!(words("OpenSSH_9.2", "'a"), Err(UnterminatedQuote));
        assert_eq!(words("OpenSSH_8.4", "\"a"), Err(UnterminatedQuote));
        assert_eq!(words("OpenSSH_9.2", "a#b #c").unwrap(), ["a#b"]);
    }
}
