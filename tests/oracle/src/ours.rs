//! The verdict of eic-keys: a run from the chain to the keys, without network and output.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eic_keys::ec2::{Domain, Region};
use eic_keys::error_text::WithCauses;
use eic_keys::keys::record;
use eic_keys::trust::{Signer, SignerName, TrustStore, UnixTime, find_path};
use openssl::base64::encode_block;

use crate::case::Case;

/// The keys that eic-keys would print.
///
/// # Errors
/// Why it would print none.
pub fn accepts(case: &Case) -> Result<Vec<String>, String> {
    let signer = signer(case)?;
    let mut lines = Vec::new();
    for record in record::records(&case.record) {
        let record = record.map_err(|error| WithCauses(&error).to_string())?;
        let verified =
            record.verify(&signer).map_err(|_| "the record's signature does not hold".to_owned())?;
        lines.push(verified.line().to_owned());
    }
    Ok(lines)
}

fn signer(case: &Case) -> Result<Signer, String> {
    let region = Region::parse(eic_lab::pki::REGION.as_bytes()).unwrap();
    let name = SignerName::new(&region, Domain::parse(eic_lab::pki::DOMAIN.as_bytes()).unwrap());
    let now = UnixTime::since_unix_epoch(Duration::from_secs(case.now));
    let file = Temporary::holding(&case.anchors_pem());
    let store =
        TrustStore::open(Path::new("/"), Some(&file.0)).map_err(|error| WithCauses(&error).to_string())?;
    let chain = case.chain_pem();
    let path = find_path(Some(chain.as_bytes()), &name, &store, now)
        .map_err(|error| WithCauses(&error).to_string())?;
    let list: String = case.ocsp_responses.iter().map(|(name, _)| format!("{name}\n")).collect();
    let named = path.with_ocsp_names(list.as_bytes()).map_err(|error| WithCauses(&error).to_string())?;
    let ocsp_response = |name: String| {
        let found = case.ocsp_responses.iter().find(|(known, _)| *known == name);
        found.map(|(_, der)| encode_block(der).into_bytes())
    };
    named.map(ocsp_response).check_revocation(now).signer().map_err(|error| WithCauses(&error).to_string())
}

/// A temporary file.
struct Temporary(PathBuf);

impl Temporary {
    fn holding(text: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("eic-oracle-{}-{number}", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
