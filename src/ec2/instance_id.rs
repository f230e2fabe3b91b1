//! The ID of an instance.

use std::fmt;

/// An instance ID: `i-` and 8 to 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceId(String);

impl InstanceId {
    /// `None` if the text is not an instance ID.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.strip_prefix(b"i-")?;
        let hex = digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !hex || !(8..=32).contains(&digits.len()) {
            return None;
        }
        Some(Self(String::from_utf8(text.to_vec()).ok()?))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::InstanceId;

    #[test]
    fn instance_ids() {
        for id in ["i-01234567", "i-0123456789abcdef0", "i-0123456789abcdef0123456789abcdef"] {
            assert!(InstanceId::parse(id.as_bytes()).is_some(), "{id}");
        }
        for id in [
            "",
            "i-",
            "i-0123456",
            "i-0123456789abcdef0123456789abcdef0",
            "i-0123456G",
            "I-01234567",
            "i-0123456A",
            "i-01234567\n",
        ] {
            assert!(InstanceId::parse(id.as_bytes()).is_none(), "{id:?}");
        }
    }
}
