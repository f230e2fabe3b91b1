//! A unified diff of two versions of a file.

use std::path::Path;

/// Lines of context.
const CONTEXT: usize = 3;

/// The difference in the format of `diff -u`, in one hunk. `None` is a missing file. Empty if the versions are equal.
#[must_use]
pub(super) fn unified(path: &Path, before: Option<&[u8]>, after: Option<&[u8]>) -> String {
    if before == after {
        return String::new();
    }
    let name =
        |bytes: Option<&[u8]>| bytes.map_or_else(|| "/dev/null".to_owned(), |_| path.display().to_string());
    let (old, new) = (lines(before), lines(after));
    let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let removed = old_rest.get(..old_rest.len().saturating_sub(tail)).unwrap_or_default();
    let added = new_rest.get(..new_rest.len().saturating_sub(tail)).unwrap_or_default();
    let start = head.saturating_sub(CONTEXT);
    let leading = old.get(start..head).unwrap_or_default();
    let trailing = old_rest.get(removed.len()..).unwrap_or_default();
    let trailing = trailing.get(..CONTEXT.min(trailing.len())).unwrap_or_default();
    let context = leading.len().saturating_add(trailing.len());
    let range = |changed: usize| {
        let count = changed.saturating_add(context);
        // For an empty side, the number of the line before it.
        let first = if count == 0 { start } else { start.saturating_add(1) };
        format!("{first},{count}")
    };
    let (from, to) = (range(removed.len()), range(added.len()));
    let mut text = format!("--- {}\n+++ {}\n@@ -{from} +{to} @@\n", name(before), name(after));
    for (sign, lines) in [(' ', leading), ('-', removed), ('+', added), (' ', trailing)] {
        for line in lines {
            text.push(sign);
            text.push_str(&String::from_utf8_lossy(line));
            if !line.ends_with(b"\n") {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
    text
}

fn lines(bytes: Option<&[u8]>) -> Vec<&[u8]> {
    bytes.unwrap_or_default().split_inclusive(|byte| *byte == b'\n').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(before: Option<&str>, after: Option<&str>) -> String {
        unified(Path::new("/f"), before.map(str::as_bytes), after.map(str::as_bytes))
    }

    #[test]
    fn as_diff_prints_it() {
        assert_eq!(diff(Some("a\n"), Some("a\n")), "");
        assert_eq!(
            diff(Some("1\n2\n3\n4\n5\n6\n7\n8\n"), Some("1\n2\n3\n4\nx\n5\n6\n7\n8\n")),
            "--- /f\n+++ /f\n@@ -2,6 +2,7 @@\n 2\n 3\n 4\n+x\n 5\n 6\n 7\n"
        );
        assert_eq!(diff(None, Some("a\nb\n")), "--- /dev/null\n+++ /f\n@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(diff(Some("a\n"), None), "--- /f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n");
        assert_eq!(
            diff(Some("a"), Some("x\na")),
            "--- /f\n+++ /f\n@@ -1,1 +1,2 @@\n+x\n a\n\\ No newline at end of file\n"
        );
    }
}
