//! The system's trust store: what it holds are the only anchors there are.

use std::fs;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::{fmt, iter};

use pki_types::pem::{self, ReadIter};
use pki_types::{CertificateDer, UnixTime};

use super::Certificate;
use crate::{files, limits};

/// Where systems keep their trust store, in the order tried.
pub const LOCATIONS: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu; openSUSE's compatibility link
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL and Fedora, Amazon Linux
    "/etc/pki/tls/certs/ca-bundle.crt",   // the same, its older name
    "/var/lib/ca-certificates/ca-bundle.pem", // SUSE
    "/etc/ssl/ca-bundle.pem",             // SUSE, the older name
    "/etc/ssl/cert.pem",                  // Alpine
    "/etc/ssl/certs",                     // where only the single files are
];

/// A trust store: a bundle of certificates, or a directory of such files.
#[derive(Clone, Debug)]
pub struct TrustStore {
    path: PathBuf,
    files: Vec<PathBuf>,
}

/// Why there is no trust store.
#[derive(Debug)]
pub enum StoreError {
    /// None of [`LOCATIONS`] exists.
    NotFound,
    /// It cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A file of it is larger than [`limits::TRUST_STORE`], or it has more than [`limits::TRUST_STORE_FILES`] of them.
    TooLarge(PathBuf),
    /// It holds no certificate.
    Empty(PathBuf),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("this system has no trust store: install its ca-certificates package, or name one with --trust-store"),
            Self::Unreadable(path, error) => write!(f, "the trust store {} cannot be read: {error}", path.display()),
            Self::TooLarge(path) => write!(f, "the trust store {} is larger than any that is known", path.display()),
            Self::Empty(path) => write!(f, "the trust store {} holds no certificate", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}

impl TrustStore {
    /// The trust store at `path`, or else the system's: the first of [`LOCATIONS`] below `root`.
    ///
    /// # Errors
    /// There is none, or it cannot be listed.
    pub fn find(root: &Path, path: Option<&Path>) -> Result<Self, StoreError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => LOCATIONS
                .iter()
                .map(|location| root.join(location.trim_start_matches('/')))
                .find(|path| path.exists())
                .ok_or(StoreError::NotFound)?,
        };
        let unreadable = |error| StoreError::Unreadable(path.clone(), error);
        let files = if fs::metadata(&path).map_err(unreadable)?.is_dir() {
            let entries = fs::read_dir(&path).map_err(unreadable)?;
            let files: Vec<_> = entries
                .take(limits::TRUST_STORE_FILES.saturating_add(1))
                .flatten()
                .map(|entry| entry.path())
                .collect();
            if files.len() > limits::TRUST_STORE_FILES {
                return Err(StoreError::TooLarge(path));
            }
            files.into_iter().filter(|file| file.is_file()).collect()
        } else {
            vec![path.clone()]
        };
        Ok(Self { path, files })
    }

    /// Where it is: a file or a directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many certificates it holds.
    ///
    /// # Errors
    /// The store cannot be read, or holds no certificate at all.
    pub fn count(&self) -> Result<usize, StoreError> {
        let mut count = 0_usize;
        for file in &self.files {
            count = count.saturating_add(certificates(file)?.count());
        }
        if count == 0 { Err(StoreError::Empty(self.path.clone())) } else { Ok(count) }
    }

    /// The certificates of the store that may be an anchor now and bear one of `names` (DER of the names' contents).
    ///
    /// Only these are kept, and read further: a store holds 150, and a chain ends at one.
    ///
    /// # Errors
    /// The store cannot be read, or holds no certificate at all.
    pub(super) fn anchors(&self, names: &[Vec<u8>], now: UnixTime) -> Result<Vec<Certificate>, StoreError> {
        let mut anchors = Vec::new();
        let mut count = 0_usize;
        for file in &self.files {
            for certificate in certificates(file)? {
                count = count.saturating_add(1);
                let Ok(anchor) = webpki::anchor_from_trusted_cert(&certificate) else { continue };
                if names.iter().any(|name| **name == *anchor.subject) {
                    anchors.extend(
                        Certificate::read(certificate)
                            .filter(|anchor| anchor.valid_at(now) && anchor.is_ca()),
                    );
                }
            }
        }
        if count == 0 { Err(StoreError::Empty(self.path.clone())) } else { Ok(anchors) }
    }
}

/// The certificates of one file. What is between them, or is no certificate, is passed over, as elsewhere in the system.
fn certificates(path: &Path) -> Result<impl Iterator<Item = CertificateDer<'static>>, StoreError> {
    let unreadable = |error| StoreError::Unreadable(path.to_owned(), error);
    let file = files::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.len() > limits::TRUST_STORE {
        return Err(StoreError::TooLarge(path.to_owned()));
    }
    let mut sections = ReadIter::<_, CertificateDer<'static>>::new(BufReader::new(file));
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
