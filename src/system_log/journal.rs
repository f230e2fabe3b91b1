//! Entries of the journal, as `journalctl --output=json` prints them.

use std::path::Path;

use serde_json::Value;

use super::{EIC_KEYS, Entry, SSHD, is_sshd};
use crate::seconds::digits;

/// The option for the fields that [`entry`] reads. systemd has it since version 236.
pub(crate) const FIELDS: &str = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID,_UID,_COMM,_EXE";

/// The arguments of two calls of journalctl: one for the lines of eic-keys as root or as one of `users`, and one for those of root's
/// sshd. Each call selects by one pair of fields, the name and the user, which is fast.
///
/// One call with both pairs (`_UID=… SYSLOG_IDENTIFIER=… + _UID=… SYSLOG_IDENTIFIER=…`) is slow: for each line of one pair, journalctl looks
/// again for the next line of the other one. If there are few of these among many lines that have only the name or only the user, this
/// takes minutes, and any user can write such lines.
pub(crate) fn matches(users: &[u32]) -> [Vec<String>; 2] {
    let users: Vec<_> = users.iter().chain(&[0]).map(|uid| format!("_UID={uid}")).collect();
    [
        [users, vec![name(EIC_KEYS)]].concat(),
        SSHD.iter().copied().map(name).chain(["_UID=0".to_owned()]).collect(),
    ]
}

/// The arguments of one call for the lines with the name of sshd or eic-keys, whoever wrote them; [`is_by`] selects among them. This is for
/// all lines in their order, which two calls do not have. One call by both pairs of fields would be slow, see [`matches`].
pub(crate) fn names() -> impl Iterator<Item = String> {
    SSHD.iter().chain(&[EIC_KEYS]).copied().map(name)
}

/// The argument that selects the lines with the name of a program.
pub(crate) fn name(program: &str) -> String {
    format!("SYSLOG_IDENTIFIER={program}")
}

/// Whether an entry is by root, as the lines of sshd, or by eic-keys as one of `users`; `None` is any user. The sender of a message chooses
/// `SYSLOG_IDENTIFIER`; the kernel sets `_UID`.
///
/// eic-keys often ends before journald reads its `_COMM` and `_EXE`, which are then missing: any process of these users can write such
/// lines. Only eic-keys runs as the user of its package. See [`other_user`].
pub(crate) fn is_by(entry: &Entry<'_>, users: Option<&[u32]>) -> bool {
    let is_users = || users.is_none_or(|users| entry.uid.is_some_and(|uid| users.contains(&uid)));
    entry.uid == Some(0) || entry.program == EIC_KEYS && is_users()
}

/// The user, if an entry is by eic-keys as another one than root and `own`, the user of its package.
pub(crate) fn other_user(entry: &Entry<'_>, own: Option<u32>) -> Option<u32> {
    let uid = entry.uid.unwrap_or(u32::MAX);
    (entry.program == EIC_KEYS && uid != 0 && Some(uid) != own).then_some(uid)
}

/// Reads an entry. `None` for one that is cut, or not by the program whose name it has: a user can start a setuid
/// program by a link with sshd's name, which then is its `_COMM`. Both are missing if the process of sshd ended before
/// journald read them, as it does after a refusal.
#[must_use]
pub fn entry(text: &[u8]) -> Option<Entry<'static>> {
    let entry: Value = serde_json::from_slice(text).ok()?;
    let field = |name: &str| entry.get(name).and_then(Value::as_str);
    let number = |name: &str| field(name)?.parse::<u64>().ok();
    let program = field("SYSLOG_IDENTIFIER")?.to_owned();
    let is_one_of = |field: &str, names: &[&str]| {
        let file = Path::new(field.trim_end_matches(" (deleted)")).file_name();
        names.iter().any(|name| file == Some((*name).as_ref()))
    };
    // sshd can run eic-keys by a link with another name, which then is its _COMM.
    let (names, fields): (&[&str], _) = match program.as_str() {
        EIC_KEYS => (&[EIC_KEYS], &["_EXE"][..]),
        name if is_sshd(name) => (&SSHD, &["_COMM", "_EXE"][..]),
        _ => return None,
    };
    if !fields.iter().filter_map(|name| field(name)).all(|field| is_one_of(field, names)) {
        return None;
    }
    let message = match entry.get("MESSAGE")? {
        Value::String(text) => text.clone(),
        // Text that is not printable UTF-8.
        Value::Array(bytes) => {
            let bytes = bytes.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
            String::from_utf8_lossy(&bytes.collect::<Option<Vec<u8>>>()?).into_owned()
        }
        _ => return None,
    };
    Some(Entry {
        time: Some(number("__REALTIME_TIMESTAMP")?),
        monotonic: number("__MONOTONIC_TIMESTAMP"),
        boot: field("_BOOT_ID").map(|id| id.to_owned().into()),
        host: None,
        uid: field("_UID").and_then(|uid| uid.parse().ok()),
        pid: digits(field("_PID")?)?,
        program: program.into(),
        message: message.into(),
    })
}

/// An entry by whichever program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Microseconds since 1970.
    pub(crate) time: u64,
    /// Microseconds since the system started.
    pub(crate) monotonic: u64,
    pub(crate) boot: String,
}

/// When an entry was written.
pub(crate) fn moment(text: &[u8]) -> Option<Moment> {
    let entry: Value = serde_json::from_slice(text).ok()?;
    let field = |name: &str| entry.get(name).and_then(Value::as_str);
    Some(Moment {
        time: digits(field("__REALTIME_TIMESTAMP")?)?,
        monotonic: digits(field("__MONOTONIC_TIMESTAMP")?)?,
        boot: field("_BOOT_ID")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Entry, entry, other_user};

    #[test]
    fn an_entry_of_the_journal() {
        let entry = |fields: &str| {
            entry(format!(r#"{{"__REALTIME_TIMESTAMP":"1795262400999999","_PID":"7",{fields}}}"#).as_bytes())
        };
        let sshd = |message: &str| {
            let (time, program, message) =
                (Some(1_795_262_400_999_999), "sshd".into(), message.to_owned().into());
            Some(Entry { time, program, pid: 7, message, ..Entry::default() })
        };
        let of = r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":"x""#;
        assert_eq!(entry(of), sshd("x"), "it has ended");
        assert_eq!(entry(&format!(r#"{of},"_COMM":"sshd""#)), sshd("x"));
        assert_eq!(entry(&format!(r#"{of},"_COMM":"logger""#)), None);
        assert_eq!(entry(&format!(r#"{of},"_COMM":"sshd","_EXE":"/usr/bin/su""#)), None);
        assert_eq!(entry(&format!(r#"{of},"_EXE":"/usr/lib/openssh/sshd-session""#)), sshd("x"));
        assert_eq!(entry(&format!(r#"{of},"_EXE":"/usr/sbin/sshd (deleted)""#)), sshd("x"));
        assert_eq!(entry(&format!(r#"{of},"_EXE":"/usr/bin/su""#)), None);
        assert_eq!(entry(r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":[120,255]"#), sshd("x\u{fffd}"));
        let ours = |fields: &str| entry(&format!(r#""SYSLOG_IDENTIFIER":"eic-keys","MESSAGE":"x",{fields}"#));
        assert!(ours(r#""_COMM":"eic_run_author","_EXE":"/usr/bin/eic-keys""#).is_some());
        assert_eq!(ours(r#""_EXE":"/usr/bin/logger""#), None);
        let other =
            |uid: &str| ours(&format!(r#""_UID":"{uid}""#)).and_then(|entry| other_user(&entry, Some(990)));
        assert_eq!(
            [other("0"), other("990"), other("65534"), other("")],
            [None, None, Some(65534), Some(u32::MAX)]
        );
        let timed = entry(&format!(r#"{of},"_BOOT_ID":"b","__MONOTONIC_TIMESTAMP":"5""#));
        assert_eq!(timed.map(|entry| (entry.boot, entry.monotonic)), Some((Some("b".into()), Some(5))));
        for fields in [
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":[120,256]"#,
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":null"#,
            r#""SYSLOG_IDENTIFIER":["sshd","x"],"MESSAGE":"x""#,
            r#""SYSLOG_IDENTIFIER":"su","MESSAGE":"x""#,
            r#""SYSLOG_IDENTIFIER":"sshd""#,
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":"x","_PID":"-7""#,
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":"x","_PID":null"#,
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":"x"#,
        ] {
            assert_eq!(entry(fields), None, "{fields}");
        }
    }
}
