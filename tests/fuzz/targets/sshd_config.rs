//! Any bytes as sshd's configuration: no byte is lost, and reading ends. The first byte selects sshd's version.
#![no_main]

use std::path::Path;

use eic_keys::sshd::config_file::{ConfigFile, Statement};
use eic_keys::sshd::version::OpensshVersion;
use libfuzzer_sys::fuzz_target;

const VERSIONS: [&str; 5] =
    ["OpenSSH_7.4p1", "OpenSSH_8.0p1", "OpenSSH_8.7p1", "OpenSSH_9.2p1", "OpenSSH_10.0p2"];

fuzz_target!(|bytes: &[u8]| {
    let Some((version, text)) = bytes.split_first() else { return };
    let openssh =
        OpensshVersion::from_version_text(VERSIONS[usize::from(*version) % VERSIONS.len()]).unwrap();
    let file = ConfigFile::new(Path::new("/etc/ssh/sshd_config"), text.to_vec());
    assert_eq!(file.lines().collect::<Vec<_>>().concat(), text);
    for line in file.lines() {
        if let Ok(Some(statement)) = Statement::read(&openssh, line) {
            assert!(!statement.keyword.is_empty());
            assert!(statement.value.len() <= line.len());
            assert!(statement.arguments.iter().all(|argument| argument.len() <= line.len()));
        }
    }
});
