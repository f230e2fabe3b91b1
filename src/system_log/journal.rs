//! Entries of the journal, as `journalctl --output=json` prints them.

use std::path::Path;

use serde_json::Value;

use super::{EIC_KEYS, Entry, SSHD, is_sshd};

/// The option for the fields that [`entry`] reads. systemd has it since version 236.
pub(crate) const FIELDS: &str = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID,_UID,_COMM,_EXE";

/// The arguments that select the lines of root's sshd, and of eic-keys as root or as `users`; as any user if it is `None`. The sender of a
/// message chooses `SYSLOG_IDENTIFIER`; the kernel sets `_UID`.
///
/// eic-keys often ends before journald reads its `_COMM` and `_EXE`, which are then missing: any process of these users can write such
/// lines. Only eic-keys runs as the user of its package. See [`other_user`].
pub(crate) fn matches(users: Option<&[u32]>) -> Vec<String> {
    let mut words = vec!["_UID=0".to_owned()];
    words.extend(SSHD.iter().map(|name| format!("SYSLOG_IDENTIFIER={name}")));
    words.push("+".to_owned());
    if let Some(users) = users {
        words.push("_UID=0".to_owned());
        words.extend(users.iter().map(|uid| format!("_UID={uid}")));
    }
    words.push(format!("SYSLOG_IDENTIFIER={EIC_KEYS}"));
    words
}

/// The user, if an entry is by eic-keys as another one than root and `own`, the user of its package.
pub(crate) fn other_user(entry: &Entry, own: Option<u32>) -> Option<u32> {
    let uid = entry.uid.unwrap_or(u32::MAX);
    (entry.program == EIC_KEYS && uid != 0 && Some(uid) != own).then_some(uid)
}

/// Reads an entry. `None` for one that is cut, or not by the program whose name it has: a user can start a setuid
/// program by a link with sshd's name, which then is its `_COMM`. Both are missing if the process of sshd ended before
/// journald read them, as it does after a refusal.
#[must_use]
pub fn entry(text: &[u8]) -> Option<Entry> {
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
        boot: field("_BOOT_ID").map(str::to_owned),
        uid: field("_UID").and_then(|uid| uid.parse().ok()),
        pid: field("_PID").unwrap_or_default().to_owned(),
        program,
        message,
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
            let (time, program, pid) = (Some(1_795_262_400_999_999), "sshd".to_owned(), "7".to_owned());
            Some(Entry { time, program, pid, message: message.to_owned(), ..Entry::default() })
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
        assert_eq!(timed.map(|entry| (entry.boot, entry.monotonic)), Some((Some("b".to_owned()), Some(5))));
        for fields in [
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":[120,256]"#,
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":null"#,
            r#""SYSLOG_IDENTIFIER":["sshd","x"],"MESSAGE":"x""#,
            r#""SYSLOG_IDENTIFIER":"su","MESSAGE":"x""#,
            r#""SYSLOG_IDENTIFIER":"sshd""#,
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":"x"#,
        ] {
            assert_eq!(entry(fields), None, "{fields}");
        }
    }
}
