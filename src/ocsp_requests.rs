//! Requests the OCSP responses of a certification path and checks them. A login and `--check` share this.

use crate::imds::Imds;
use crate::run_error::RunError;
use crate::trust::{PathWithRevocation, SignerPath, UnixTime};

/// Requests the OCSP responses of `path` concurrently, and checks them at the time when all have been received. `list` is the list of
/// their names from IMDS, if it has one.
///
/// # Errors
/// Fails if a certificate has no OCSP response in `list`, or a request fails. An OCSP response that is not valid is part of the result.
pub(crate) async fn check_revocation(
    imds: &Imds,
    path: SignerPath,
    list: Option<&[u8]>,
    clock: fn() -> UnixTime,
) -> Result<PathWithRevocation, RunError> {
    let requested = path.with_ocsp_names(list.unwrap_or_default())?.map(|name| {
        let imds = imds.clone();
        let request = tokio::spawn(async move { imds.ocsp_response(&name).await });
        async { Ok::<_, RunError>(request.await.map_err(|error| RunError::Runtime(error.into()))??) }
    });
    Ok(requested.await_each().await?.check_revocation(clock()))
}
