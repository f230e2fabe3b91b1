//! The sshd of a rehearsal: the program, the options and the configuration of the running daemon.
//!
//! It serves one connection and listens on no port (`sshd -i`): it is given a connection that is already established.
//! A daemon of OpenSSH before 9.8 runs itself for each connection, a later one runs sshd-session; `sshd -i` does the
//! same, and PAM sees the same service name.

use std::io;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use crate::check::serving_context::{ServingContext, serving_process};
use crate::config_tree::ConfigTree;
use crate::files;
use crate::limits;
use crate::process::TrustedCommand;
use crate::safe_path;
use crate::sshd::command_line::connection_options;
use crate::sshd::config::Config;
use crate::sshd::config_file::Statement;
use crate::sshd::criteria::NamedClients;
use crate::sshd::query::{PATHS, default_main_file};
use crate::sshd::service;
use crate::sshd::service::Listener;
use crate::sshd::version::OpensshVersion;

/// How to run the sshd.
#[derive(Clone, Debug)]
pub(super) struct RehearsalSshd {
    /// The command, without the file of the configuration.
    command: TrustedCommand,
    /// The configuration file of the daemon.
    main: PathBuf,
    version: OpensshVersion,
    /// What differs from a login that the daemon serves.
    pub(super) differences: Vec<String>,
}

impl RehearsalSshd {
    /// The sshd that the daemon would run for a connection.
    ///
    /// # Errors
    /// `NotFound` if there is no sshd; otherwise why root must not run it.
    pub(super) fn find(tree: &ConfigTree, version: OpensshVersion) -> io::Result<Self> {
        let main = default_main_file(tree);
        let options = ["-i", "-e"];
        let installed = || {
            let path = PATHS.map(Path::new).into_iter().find(|path| path.is_file());
            safe_path::program(Path::new("/"), path.ok_or(io::ErrorKind::NotFound)?)
        };
        let Some(Listener { pid: process, line }) = serving_process(tree) else {
            let differences = vec!["no sshd is running: its unit's options were not used".to_owned()];
            let command = TrustedCommand::new(installed()?).with(options);
            return Ok(Self { command, main, version, differences });
        };
        let program = service::program_of(process).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => installed(),
            _ => Err(error),
        })?;
        let line = connection_options(&line);
        let file = line.iter().rev().find_map(|option| option.strip_prefix("-f")).map(PathBuf::from);
        let context = ServingContext::of(process);
        // The first value of an option counts. Its messages are the result of the rehearsal. StrictModes is only about files in the
        // home directory, which are not used. Pushed keys do not depend on it.
        let command = TrustedCommand::new(program)
            .with(options)
            .with(["-oLogLevel=DEBUG1", "-oStrictModes=no"])
            .with(line.into_iter().filter(|option| !option.starts_with("-f")));
        let command = context.command(&command);
        let differences = context.lacking.into_iter().chain(other_domain(process)).collect();
        Ok(Self { command, main: file.unwrap_or(main), version, differences })
    }

    /// Writes the configuration, and returns the command that serves one connection. `needs_more`: whether
    /// `AuthenticationMethods` needs more than a key.
    ///
    /// # Errors
    /// Fails if the daemon's configuration cannot be read.
    pub(super) fn prepare(&self, directory: &Directory, needs_more: bool) -> io::Result<TrustedCommand> {
        let original = files::read(&self.main, limits::SYSTEM_FILE)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.main.display())))?;
        let keys = directory.path("authorized_keys");
        // A second factor cannot be rehearsed. Otherwise this is not set: sshd compares it with the settings for no user when it starts,
        // and PubkeyAuthentication can be yes for this user only.
        let methods = if needs_more { "AuthenticationMethods publickey\n" } else { "" };
        // The key that counts.
        let block = format!(
            "Match all\nAuthorizedKeysFile {}\nAuthorizedKeysCommand none\n\
             {methods}PasswordAuthentication no\nKbdInteractiveAuthentication no\nHostbasedAuthentication no\n",
            keys.display()
        );
        let block_file = directory.write("first_block", block.as_bytes(), 0o600)?;
        let text = with_first_block(&self.version, &original, &block, &block_file);
        let file = directory.write("sshd_config", &text, 0o600)?;
        Ok(self.command.clone().with(["-f".into(), file.into_os_string()]))
    }

    /// The `Match` blocks that depend on the client's address, or on the address and port that it connects to.
    pub(super) fn blocks_by_address(&self, tree: &ConfigTree) -> Vec<String> {
        let Ok(config) = Config::read(tree, &self.main, self.version.clone()) else { return Vec::new() };
        let mut found = Vec::new();
        for file in config.files() {
            for (line, number) in file.lines().zip(1_u32..) {
                let Ok(Some(statement)) = Statement::read(&self.version, line) else { continue };
                let criteria = String::from_utf8_lossy(&statement.value).trim_end().to_owned();
                if statement.keyword == "match" && !NamedClients::of(&criteria).is_empty() {
                    found.push(format!("Match {criteria} ({} line {number})", file.path().display()));
                }
            }
        }
        found
    }
}

/// `text` with a `Match` block before all others. A value of a `Match` block overrides the command line, and the
/// first matching block that sets a keyword counts.
fn with_first_block(version: &OpensshVersion, text: &[u8], block: &str, block_file: &Path) -> Vec<u8> {
    if version.match_applies_in_included() {
        // The block ends with its file. The rest is not included, because files can be nested only 16 deep.
        return [format!("Include {}\n", block_file.display()).as_bytes(), text].concat();
    }
    // No block of another file applies in these versions.
    let mut result = Vec::new();
    let mut block = Some(block);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let is_match = matches!(Statement::read(version, line), Ok(Some(one)) if one.keyword == "match");
        if let Some(block) = block.take_if(|_| is_match) {
            result.extend(block.as_bytes());
        }
        result.extend(line);
    }
    if let Some(block) = block {
        result.extend([b"\n", block.as_bytes()].concat());
    }
    result
}

/// Where SELinux enforces: the daemon's context, if a program that root starts gets another one.
fn other_domain(process: u32) -> Option<String> {
    files::read(Path::new("/sys/fs/selinux/enforce"), limits::PROC_FILE)
        .ok()
        .filter(|text| text.starts_with(b"1"))?;
    let context = |process: &str| {
        let path = format!("/proc/{process}/attr/current");
        let text = files::read_text(Path::new(&path), limits::PROC_FILE).ok()?;
        Some(text.trim_end_matches(['\0', '\n']).to_owned())
    };
    let (here, there) = (context("self")?, context(&process.to_string())?);
    (here != there).then(|| format!("SELinux: the rehearsal ran as {here}, sshd runs as {there}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::with_first_block;
    use crate::sshd::version::OpensshVersion;

    fn merged(version: &str, text: &str) -> Option<String> {
        let version = OpensshVersion::from_version_text(version)?;
        String::from_utf8(with_first_block(&version, text.as_bytes(), "Match all\nX y\n", Path::new("/b")))
            .ok()
    }

    #[test]
    fn the_block_is_before_all_others() {
        let text = "Port 22\nmatch User a\nX z";
        let is = |version, expected: &str| assert_eq!(merged(version, text).as_deref(), Some(expected));
        is("OpenSSH_9.2", "Include /b\nPort 22\nmatch User a\nX z");
        is("OpenSSH_8.2p1", "Port 22\nMatch all\nX y\nmatch User a\nX z");
        is("OpenSSH_7.4p1", "Port 22\nMatch all\nX y\nmatch User a\nX z");
        assert_eq!(merged("OpenSSH_7.4p1", "Port 22").as_deref(), Some("Port 22\nMatch all\nX y\n"));
    }
}
