//! Remote text for logs and terminals.

use std::fmt;

use crate::limits;

/// Remote text, escaped so that it cannot move the cursor, forge a log line or change the text direction, and cut to
/// [`limits::LOGGED_TEXT`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        'all: for chunk in self.0.utf8_chunks() {
            let valid = chunk.valid().chars().map(|char| {
                if char != '\\' && is_plain(char) {
                    char.to_string()
                } else {
                    char.escape_default().to_string()
                }
            });
            let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
            for piece in valid.chain(invalid) {
                if text.len().saturating_add(piece.len()) > limits::LOGGED_TEXT {
                    break 'all;
                }
                text.push_str(&piece);
            }
        }
        f.write_str(&text)
    }
}

/// A text as [`Escaped`] shows it.
pub(crate) fn harmless(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}

/// Whether a terminal shows a character as it is, and not a control character, a zero-width one or one that changes the direction.
pub(crate) fn is_plain(char: char) -> bool {
    let marks = matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !char.is_control() && !marks
}

#[cfg(test)]
mod tests {
    use super::Escaped;
    use crate::limits;

    #[test]
    fn remote_text_is_harmless() {
        for (text, escaped) in [
            (&b"arn:aws:iam::1:role/a"[..], "arn:aws:iam::1:role/a"),
            ("Zoë".as_bytes(), "Zoë"),
            (b"a\nb\rc\x1b[2Jd\0e\x7f", "a\\nb\\rc\\u{1b}[2Jd\\u{0}e\\u{7f}"),
            (b"back\\slash", "back\\\\slash"),
            (b"not \xff\xfe UTF-8", "not \\xff\\xfe UTF-8"),
            ("\u{85}\u{202e}\u{2028}\u{feff}".as_bytes(), "\\u{85}\\u{202e}\\u{2028}\\u{feff}"),
        ] {
            assert_eq!(Escaped(text).to_string(), escaped);
        }
    }

    #[test]
    fn remote_text_is_cut_between_characters() {
        let text = "é".repeat(2000);
        let escaped = Escaped(text.as_bytes()).to_string();
        assert_eq!(escaped, "é".repeat(limits::LOGGED_TEXT / 2));
        let escaped = Escaped(&[0x1b; 2000]).to_string();
        assert!(escaped.len() <= limits::LOGGED_TEXT && escaped.ends_with("\\u{1b}"), "{escaped}");
    }
}
