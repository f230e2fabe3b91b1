//! The trust store of the system. Only its certificates can be anchors.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};
use std::{fmt, iter};

use pki_types::pem::{self, ReadIter};
use pki_types::{CertificateDer, UnixTime};

use super::Certificate;
use super::bundle::Search;
use crate::{files, limits};

/// Usual paths of the trust store, in the order to try.
pub const LOCATIONS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu; openSUSE's compatibility link
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL and Fedora, Amazon Linux
    "/etc/pki/tls/certs/ca-bundle.crt",   // the same, older name
    "/var/lib/ca-certificates/ca-bundle.pem", // SUSE
    "/etc/ssl/ca-bundle.pem",             // SUSE, older name
    "/etc/ssl/cert.pem",                  // Alpine
    DIRECTORY,                            // systems with single files only
];

/// The only one that is a directory.
pub const DIRECTORY: &str = "/etc/ssl/certs";

/// A trust store: a bundle of certificates, or a directory of certificate files.
#[derive(Debug)]
pub struct TrustStore {
    path: PathBuf,
    source: AnchorSource,
}

#[derive(Debug)]
enum AnchorSource {
    /// Opened before the sandbox, which then can forbid access to all other files.
    Bundle(File),
    Directory(Vec<PathBuf>),
}

/// Why there is no usable trust store.
#[derive(Debug)]
pub enum StoreError {
    /// None of [`LOCATIONS`] exists.
    NotFound,
    /// It cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A file is larger than [`limits::TRUST_STORE`], or there are more files than [`limits::TRUST_STORE_FILES`].
    TooLarge(PathBuf),
    /// It contains no certificate.
    Empty(PathBuf),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("this system has no trust store: install its ca-certificates package, or name one with --trust-store"),
            Self::Unreadable(path, _) => write!(f, "the trust store {} cannot be read", path.display()),
            Self::TooLarge(path) => write!(
                f,
                "the trust store {} has more than {} MiB or {} files, the limits",
                path.display(),
                limits::TRUST_STORE / (1024 * 1024),
                limits::TRUST_STORE_FILES
            ),
            Self::Empty(path) => write!(f, "the trust store {} contains no certificate", path.display()),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(_, error) => Some(error),
            Self::NotFound | Self::TooLarge(_) | Self::Empty(_) => None,
        }
    }
}

impl TrustStore {
    /// Opens the trust store at `path`, or by default the first of [`LOCATIONS`] that exists below `root`.
    ///
    /// # Errors
    /// Fails if there is none or it cannot be opened or listed.
    pub fn open(root: &Path, path: Option<&Path>) -> Result<Self, StoreError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => LOCATIONS
                .iter()
                .map(|location| files::below(root, Path::new(location)))
                .find(|path| path.exists())
                .ok_or(StoreError::NotFound)?,
        };
        let source = match files::open(&path) {
            Ok(file) => AnchorSource::Bundle(file),
            Err(_) if path.is_dir() => AnchorSource::Directory(list(&path)?),
            Err(error) => return Err(StoreError::Unreadable(path, error)),
        };
        Ok(Self { path, source })
    }

    /// The first of [`LOCATIONS`] that is a link which leads nowhere, before one that exists.
    pub(crate) fn dangling_location(root: &Path) -> Option<StoreError> {
        let mut paths = LOCATIONS.iter().map(|location| files::below(root, Path::new(location)));
        let path = paths.find(|path| path.exists() || path.is_symlink())?;
        let error = fs::metadata(&path).err()?;
        Some(StoreError::Unreadable(path, error))
    }

    /// Whether reading the store opens more files.
    #[must_use]
    pub(crate) fn opens_files(&self) -> bool {
        matches!(self.source, AnchorSource::Directory(_))
    }

    /// The path of the file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files of a trust store directory.
    pub(crate) fn files(&self) -> &[PathBuf] {
        match &self.source {
            AnchorSource::Bundle(_) => &[],
            AnchorSource::Directory(files) => files,
        }
    }

    /// The number of certificates.
    ///
    /// # Errors
    /// Fails if the store cannot be read or contains no certificate.
    pub fn count(&self) -> Result<usize, StoreError> {
        self.each(|_| ())
    }

    /// The certificates that can be an anchor now and have one of `names` as subject (DER of the contents of the name).
    ///
    /// Only these are kept and fully parsed: a store has 150 certificates, and a path needs one.
    ///
    /// # Errors
    /// Fails if the store cannot be read or contains no certificate.
    pub(super) fn anchors(&self, names: &[Vec<u8>], now: UnixTime) -> Result<Vec<Certificate>, StoreError> {
        let mut anchors = Vec::new();
        self.each(|certificate| {
            let Ok(anchor) = webpki::anchor_from_trusted_cert(&certificate) else { return };
            if names.iter().any(|name| **name == *anchor.subject) {
                let anchor = Certificate::read(certificate);
                anchors.extend(anchor.filter(|anchor| anchor.can_be_anchor(now)));
            }
        })?;
        Ok(anchors)
    }

    /// Likely members of [`Self::anchors`], found one by one in a bundle. The result can be incomplete.
    pub(super) fn likely_anchors(
        &self,
        names: &[Vec<u8>],
        now: UnixTime,
    ) -> impl Iterator<Item = Certificate> {
        let bundle = match &self.source {
            AnchorSource::Bundle(file) => rewound(&self.path, file).ok(),
            AnchorSource::Directory(_) => None,
        };
        bundle
            .into_iter()
            .flat_map(|text| Search::new(text, names))
            .filter_map(Certificate::read)
            .filter(move |anchor| anchor.can_be_anchor(now))
    }

    /// Passes each certificate to `look_at`, and returns their number.
    fn each(&self, mut look_at: impl FnMut(CertificateDer<'static>)) -> Result<usize, StoreError> {
        let mut count = 0_usize;
        let mut read = |path: &Path, file: &File| {
            for certificate in certificates(path, file)? {
                count = count.saturating_add(1);
                look_at(certificate);
            }
            Ok(())
        };
        match &self.source {
            AnchorSource::Bundle(file) => read(&self.path, file)?,
            AnchorSource::Directory(paths) => {
                for path in paths {
                    match files::open(path) {
                        Ok(file) => read(path, &file)?,
                        // A file without read permission must not make the other anchors unusable.
                        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                        Err(error) => return Err(StoreError::Unreadable(path.clone(), error)),
                    }
                }
            }
        }
        if count == 0 { Err(StoreError::Empty(self.path.clone())) } else { Ok(count) }
    }
}

/// The files of a trust store directory.
fn list(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(path).map_err(|error| StoreError::Unreadable(path.to_owned(), error))?;
    let files: Vec<_> = entries
        .take(limits::TRUST_STORE_FILES.saturating_add(1))
        .flatten()
        .map(|entry| entry.path())
        .collect();
    if files.len() > limits::TRUST_STORE_FILES {
        return Err(StoreError::TooLarge(path.to_owned()));
    }
    Ok(files
        .into_iter()
        .filter(|file| file.file_name().is_some_and(is_certificate) && file.is_file())
        .collect())
}

/// Whether the name of a file in a directory marks it as trusted: `*.pem`, `*.crt`, or `HASH.N` (8 hexadecimal digits, a dot, digits), the
/// form that OpenSSL looks up. Files set aside, such as `root.pem.disabled`, do not match.
fn is_certificate(name: &OsStr) -> bool {
    let Some((stem, ending)) = name.to_str().and_then(|name| name.rsplit_once('.')) else { return false };
    let hash = stem.len() == 8 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = !ending.is_empty() && ending.bytes().all(|byte| byte.is_ascii_digit());
    // As in a shell, `*.pem` does not match hidden files.
    let named = matches!(ending, "pem" | "crt") && !stem.is_empty() && !stem.starts_with('.');
    named || (hash && number)
}

/// The certificates of one file. Other text and invalid certificates are skipped, as other programs do.
fn certificates<'a>(
    path: &Path,
    file: &'a File,
) -> Result<impl Iterator<Item = CertificateDer<'static>> + use<'a>, StoreError> {
    let mut sections = ReadIter::<_, CertificateDer<'static>>::new(BufReader::new(rewound(path, file)?));
    let mut failed = false;
    Ok(iter::from_fn(move || {
        while !failed {
            match sections.next()? {
                Ok(certificate) => return Some(certificate),
                Err(error) => failed = matches!(error, pem::Error::Io(_)),
            }
        }
        None
    }))
}

/// Rewinds a file that is not too large.
fn rewound<'a>(path: &Path, mut file: &'a File) -> Result<&'a File, StoreError> {
    let unreadable = |error| StoreError::Unreadable(path.to_owned(), error);
    if file.metadata().map_err(unreadable)?.len() > limits::TRUST_STORE {
        return Err(StoreError::TooLarge(path.to_owned()));
    }
    file.rewind().map_err(unreadable)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::path::Path;

    use super::{TrustStore, is_certificate};

    #[test]
    fn names_of_certificates() {
        for (name, taken) in [
            ("root.pem", true),
            ("Root CA 1.crt", true),
            ("ca.bundle.pem", true),
            ("0a1b2c3d.0", true),
            ("0A1B2C3D.10", true),
            ("old-root.pem.disabled", false),
            ("root.pem~", false),
            ("root.PEM", false),
            ("root.cer", false),
            ("root.0", false),
            ("0a1b2c3d", false),
            ("0a1b2c3d.", false),
            ("0a1b2c3d.r0", false),
            ("0a1b2c3d.0.bak", false),
            ("0a1b2c3.0", false),
            ("0a1b2c3d4.0", false),
            ("0a1b2c3g.0", false),
            (".pem", false),
            (".root.pem", false),
            ("pem", false),
            ("", false),
        ] {
            assert_eq!(is_certificate(name.as_ref()), taken, "{name}");
        }
    }

    #[test]
    fn only_a_directory_opens_files_later() {
        let open = |path: &str| TrustStore::open(Path::new("/"), Some(Path::new(path))).unwrap();
        assert!(
            !open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/signer-chain-us-east-1.pem"))
                .opens_files()
        );
        assert!(open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).opens_files());
    }
}
