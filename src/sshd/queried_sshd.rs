//! The current settings of the installed sshd, with a host key or a directory that it lacks until its first start.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::{
    criteria::ConnectionSpec,
    enable_error::EnableRefusal,
    host_key::{self, HostKey},
    options::EnableOptions,
    query::{Dump, QueryError, Sshd, admin_config},
    replace::FileError,
    service::SshdService,
};
use crate::account::is_root;
use crate::config_tree::ConfigTree;
use crate::error_text::WithCauses;
use crate::process::TrustedCommand;

/// An sshd that was queried.
pub(super) struct QueriedSshd {
    pub(super) sshd: Sshd,
    /// Its current settings. `None` in a dry run in which it could not be queried.
    pub(super) dump: Option<Dump>,
    /// What the user has to know about the query.
    pub(super) notes: Vec<String>,
    /// Must exist while sshd is queried again.
    _host_key: Option<HostKey>,
}

impl QueriedSshd {
    /// Queries sshd. In a dry run, nothing is created for it.
    pub(super) fn query(
        sshd: Sshd,
        options: &EnableOptions,
        tree: &ConfigTree,
        service: &SshdService<'_>,
    ) -> Result<Self, EnableRefusal> {
        let main = options.main.as_path();
        let mut notes = Vec::new();
        let (sshd, settings, added) = match query_settings(&sshd, main) {
            Err(error) if error.lacks_host_keys() && !options.dry_run => {
                if service.is_running(main) {
                    return Err(EnableRefusal::LostHostKeys(error));
                }
                let (sshd, key) = host_key::add(&sshd, find_keygen(options, tree), main, tree)
                    .map_err(EnableRefusal::HostKey)?;
                let settings = query_settings(&sshd, main);
                (sshd, settings, Some((key, error)))
            }
            settings => (sshd, settings, None),
        };
        let settings = match settings {
            Err(error) if error.lacks_directory() && !options.dry_run => {
                notes.push(create_privsep_directory(tree)?);
                query_settings(&sshd, main)
            }
            settings => settings,
        };
        let dump = match settings {
            Ok(dump) => dump,
            Err(error) if options.dry_run && is_not_from_config(&error) => {
                notes.push(format!("Note: {}. The following is from its files alone.", WithCauses(&error)));
                return Ok(Self { sshd, dump: None, notes, _host_key: None });
            }
            Err(error) => return Err(EnableRefusal::NotAccepted(error)),
        };
        check_vendor_file(&sshd, main)?;
        let host_key = match added {
            Some((key, error)) => {
                notes.push(check_own_keys(&key, &dump, tree, error)?);
                Some(key)
            }
            None => None,
        };
        Ok(Self { sshd, dump: Some(dump), notes, _host_key: host_key })
    }
}

/// The effective values, after checking that sshd accepts its current configuration.
fn query_settings(sshd: &Sshd, main: &Path) -> Result<Dump, QueryError> {
    sshd.accepts(main)?;
    sshd.dump(main, &ConnectionSpec::probe())
}

/// Whether sshd cannot be queried for a reason outside its configuration. Without root, it cannot read its host keys.
fn is_not_from_config(error: &QueryError) -> bool {
    !is_root() || error.lacks_directory() || error.lacks_host_keys()
}

/// Refuses if sshd has keys of its own that it cannot use: it would not start with them. Otherwise, describes what the temporary key
/// was for. `error` is sshd's message without that key.
fn check_own_keys(
    key: &HostKey,
    dump: &Dump,
    tree: &ConfigTree,
    error: QueryError,
) -> Result<String, EnableRefusal> {
    match key.unusable_key(dump, tree) {
        Some(path) => Err(EnableRefusal::UnusableHostKey(path, error)),
        None => Ok("Note: sshd has no host keys yet; its configuration was checked with a temporary key. sshd starts when its own keys \
             exist: cloud-init or the image's own tool generates them at the first boot."
            .into()),
    }
}

/// Checks that sshd reads the main file of its distribution if there is no other. Only SUSE's does: another sshd would be queried about
/// a file that it does not read.
fn check_vendor_file(sshd: &Sshd, main: &Path) -> Result<(), EnableRefusal> {
    if admin_config(main) == main {
        return Ok(());
    }
    sshd.accepts_default().map_err(|error| EnableRefusal::VendorFileNotRead(main.to_owned(), error))
}

/// The command that runs ssh-keygen. `None` if it is not installed.
fn find_keygen(options: &EnableOptions, tree: &ConfigTree) -> Option<TrustedCommand> {
    if !options.keygen.is_empty() {
        return Some(TrustedCommand::of_options(&options.keygen));
    }
    let path = KEYGENS.into_iter().find(|path| tree.locate(Path::new(path)).is_file())?;
    Some(TrustedCommand::new(path))
}

/// The paths of ssh-keygen in distributions and in builds from source.
const KEYGENS: [&str; 2] = ["/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen"];

/// Debian's privilege separation directory. In other distributions a package contains it.
const PRIVSEP: &str = "/run/sshd";

/// Creates it as systemd does for `RuntimeDirectory=sshd`. With socket activation, the unit creates it for each connection, and it is
/// missing after a boot. It is not removed afterwards, because an sshd that is starting could need it.
fn create_privsep_directory(tree: &ConfigTree) -> Result<String, EnableRefusal> {
    let path = tree.locate(Path::new(PRIVSEP));
    fs::create_dir(&path)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .map_err(|error| EnableRefusal::Directory(FileError::new(Path::new(PRIVSEP), error)))?;
    Ok(format!("Note: {PRIVSEP} was created; sshd does not check its configuration without it."))
}
