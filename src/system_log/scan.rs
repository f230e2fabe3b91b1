//! Reads the lines of a large file in large blocks.

use std::io::{self, Read};

use memchr::{memchr, memrchr};

use crate::limits;

/// Calls `take` for the lines that are not empty and that `wanted` selects. Lines that are longer than [`limits::LOG_LINE`] are left out. `progress` has the number of bytes read since its last call.
///
/// # Errors
/// Fails if reading fails. `take` had the lines before that.
pub(crate) fn lines(
    mut input: impl Read,
    wanted: impl Fn(&[u8]) -> bool,
    mut progress: impl FnMut(u64),
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; limits::LOG_BLOCK];
    let mut filled: usize = 0;
    // Within a line that does not fit into the buffer.
    let mut skips = false;
    loop {
        let count = match input.read(buffer.get_mut(filled..).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        progress(u64::try_from(count).unwrap_or(u64::MAX));
        filled = filled.saturating_add(count);
        let block = buffer.get(..filled).unwrap_or_default();
        let end =
            if count == 0 { filled } else { memrchr(b'\n', block).map_or(0, |at| at.saturating_add(1)) };
        let (mut whole, _) = block.split_at_checked(end).unwrap_or_default();
        if skips && (end > 0 || count == 0) {
            let begin = memchr(b'\n', whole).map_or(whole.len(), |at| at.saturating_add(1));
            whole = whole.get(begin..).unwrap_or_default();
            skips = false;
        }
        let mut rest = whole;
        while !rest.is_empty() {
            let (line, after) =
                rest.split_at_checked(memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
            if !line.is_empty() && line.len() <= limits::LOG_LINE && wanted(line) {
                take(line);
            }
            rest = after.get(1..).unwrap_or_default();
        }
        if count == 0 {
            return Ok(());
        }
        if end == 0 && filled == buffer.len() {
            skips = true;
            filled = 0;
        } else {
            buffer.copy_within(end..filled, 0);
            filled = filled.saturating_sub(end);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test may panic")]

    use std::io::Read;

    use super::lines;
    use crate::limits;

    /// Gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            self.0.take(u64::try_from(count).unwrap()).read(buffer).inspect(|count| {
                self.0 = self.0.get(*count..).unwrap_or_default();
            })
        }
    }

    fn read(text: &[u8], words: &[&str], at_once: usize) -> Vec<String> {
        let (mut found, mut read) = (Vec::new(), 0);
        let take = |line: &[u8]| found.push(String::from_utf8_lossy(line).into_owned());
        let wanted = |line: &[u8]| {
            let line = String::from_utf8_lossy(line);
            words.is_empty() || words.iter().any(|word| line.contains(word))
        };
        lines(Drops(text, at_once), wanted, |count| read += count, take).unwrap();
        assert_eq!(read, u64::try_from(text.len()).unwrap());
        found
    }

    #[test]
    fn lines_with_a_word_in_their_order() {
        let text = b"b one\nnothing\na two a b\n\nb b\nlast a";
        for at_once in [1, 3, 7, 1000] {
            assert_eq!(read(text, &["a ", "b "], at_once), ["b one", "a two a b", "b b"], "{at_once}");
            assert_eq!(read(text, &["last"], at_once), ["last a"]);
            assert_eq!(read(text, &[], at_once), ["b one", "nothing", "a two a b", "b b", "last a"]);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out() {
        for length in
            [limits::LOG_LINE + 1, limits::LOG_BLOCK - 1, limits::LOG_BLOCK, 3 * limits::LOG_BLOCK + 5]
        {
            let text = format!("x first\nx{}\nx last\n", "y".repeat(length));
            assert_eq!(read(text.as_bytes(), &["x"], 100_000), ["x first", "x last"], "{length}");
            let text = format!("x first\nx{}", "y".repeat(length));
            assert_eq!(read(text.as_bytes(), &["x"], 100_000), ["x first"], "{length}");
        }
        let longest = "x".repeat(limits::LOG_LINE);
        assert_eq!(read(longest.as_bytes(), &["x"], 100_000), [longest]);
    }
}
