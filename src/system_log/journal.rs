//! Entries of the journal, as `journalctl --output=json` prints them.

use std::path::Path;

use serde_json::Value;

use super::{EIC_KEYS, Entry, SSHD, is_sshd};

/// The option for the fields that [`entry`] reads. systemd has it since version 236.
pub(crate) const FIELDS: &str = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID,_COMM,_EXE";

/// The arguments that select the lines of root's sshd, and of eic-keys as root or as `users`. The sender of a message
/// chooses `SYSLOG_IDENTIFIER`; the kernel sets `_UID`.
pub(crate) fn matches(users: &[u32]) -> Vec<String> {
    let mut words = vec!["_UID=0".to_owned()];
    words.extend(SSHD.iter().map(|name| format!("SYSLOG_IDENTIFIER={name}")));
    words.push("+".to_owned());
    // eic-keys often ends before journald reads its _COMM and _EXE, which are then missing. No other process runs as
    // its user.
    words.push("_UID=0".to_owned());
    words.extend(users.iter().map(|uid| format!("_UID={uid}")));
    words.push(format!("SYSLOG_IDENTIFIER={EIC_KEYS}"));
    words
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
    let is_sshds = |file: &str| {
        let file = Path::new(file.trim_end_matches(" (deleted)")).file_name();
        SSHD.iter().any(|name| file == Some((*name).as_ref()))
    };
    let by_sshd = || is_sshd(&program) && ["_COMM", "_EXE"].into_iter().filter_map(field).all(is_sshds);
    if program != EIC_KEYS && !by_sshd() {
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
        pid: field("_PID").unwrap_or_default().to_owned(),
        program,
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::{Entry, entry};

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
