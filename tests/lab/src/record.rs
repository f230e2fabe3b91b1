//! Records: the signed blocks of active-keys, and every way to make them wrong.
use crate::key::{Hash, Key, Scheme};
use crate::{cert, now};
use openssl::base64::encode_block;

/// How the service signs: RSA-PSS, SHA-256, a salt of 32 bytes.
pub const SCHEME: Scheme = Scheme::RsaPss(Hash::Sha256, 32);

/// The content of a record.
#[derive(Clone, Debug)]
pub struct RecordSpec {
    /// The signed lines in order, without their LF: metadata first, the key line last.
    pub lines: Vec<Vec<u8>>,
    /// How it is signed.
    pub scheme: Scheme,
    /// Characters in a line of the signature; `None`: all on one line.
    pub wrap: Option<usize>,
    /// The end of the record after the signature's last line; the service writes LF.
    pub end: Vec<u8>,
}

impl RecordSpec {
    /// A key pushed now for 60 seconds, with every line that the service writes.
    pub fn new(instance: &str, key_line: &str) -> Self {
        let lines = [
            format!("#Timestamp={}", now() + 60),
            format!("#Instance={instance}"),
            "#Caller=arn:aws:iam::123412341234:role/myrole".to_owned(),
            "#Request=1234abcd-1234-abcd-1234-1234abcd1234".to_owned(),
            key_line.to_owned(),
        ];
        Self { lines: lines.map(Vec::from).into(), scheme: SCHEME, wrap: None, end: b"\n".to_vec() }
    }

    /// Replaces the value of a metadata line, or adds the line before the key.
    pub fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let line = [b"#", name.as_bytes(), b"=", value.as_ref()].concat();
        match self.position(name) {
            Some(at) => self.lines[at] = line,
            None => self.lines.insert(self.lines.len() - 1, line),
        }
        self
    }

    /// Removes a metadata line.
    pub fn without(mut self, name: &str) -> Self {
        let at = self.position(name).expect("a line of that name");
        self.lines.remove(at);
        self
    }

    /// Adds any line before the key line.
    pub fn with_line(mut self, line: impl AsRef<[u8]>) -> Self {
        self.lines.insert(self.lines.len() - 1, line.as_ref().to_vec());
        self
    }

    /// Replaces the key line.
    pub fn key_line(mut self, line: impl AsRef<[u8]>) -> Self {
        *self.lines.last_mut().unwrap() = line.as_ref().to_vec();
        self
    }

    /// Valid for this number of seconds from now; if negative, it has expired.
    pub fn expires_in(self, seconds: i64) -> Self {
        self.set("Timestamp", (now() + seconds).to_string())
    }

    /// The signed bytes: every line, each ended by LF.
    pub fn signed_bytes(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
    }

    /// The record, signed.
    pub fn signed_by(&self, key: &Key) -> Vec<u8> {
        self.with_signature(&self.scheme.sign(key, &self.signed_bytes()))
    }

    /// The record with these bytes as signature.
    pub fn with_signature(&self, signature: &[u8]) -> Vec<u8> {
        let text = match self.wrap {
            None => encode_block(signature),
            Some(width) => cert::wrapped(signature, width).trim_end().to_owned(),
        };
        [self.signed_bytes(), text.into_bytes(), self.end.clone()].concat()
    }

    fn position(&self, name: &str) -> Option<usize> {
        let start = format!("#{name}=");
        self.lines.iter().position(|line| line.starts_with(start.as_bytes()))
    }
}
