//! An IMDSv2 client with one method per item. The methods return `None` if IMDS does not have the item (404), or an error if a run cannot
//! do without it.
//!
//! Source: "Use the Instance Metadata Service", Amazon EC2 User Guide.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use pki_types::UnixTime;

use super::http::{self, Connections, HttpError, HttpRequest, Reply};
use crate::ec2::{InstanceId, Region, UserName};
use crate::limits::{self, Budget};

/// The port of IMDS.
pub(crate) const PORT: u16 = http::DEFAULT_PORT;

/// The IPv4 address of IMDS.
pub(crate) const IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The addresses of IMDS: IPv4, and IPv6 on Nitro instances with that endpoint enabled.
pub(crate) const ADDRESSES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(IPV4), PORT),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), PORT),
];

const TOKEN_PATH: &str = "/latest/api/token";
/// All paths except those of OCSP responses end with a slash, as in AWS's own scripts since 2019.
const METADATA: &str = "/latest/meta-data/";
const ID: &str = "instance-id/";
const REGION: &str = "placement/region/";
const ZONE: &str = "placement/availability-zone/";
const DOMAIN: &str = "services/domain/";
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// Why IMDS did not return an item.
#[derive(Debug)]
pub struct ImdsError {
    path: String,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Http(HttpError),
    Status(StatusCode),
    Absent,
    Malformed,
    OutOfTime,
}

impl fmt::Display for ImdsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the metadata service ", self.path)?;
        match &self.cause {
            Cause::Http(error) => error.fmt(f),
            // Only the token request is refused for that reason.
            Cause::Status(status @ StatusCode::FORBIDDEN) if self.path == TOKEN_PATH => {
                write!(f, "answered {status}: it is disabled for this instance")
            }
            Cause::Status(status @ StatusCode::TOO_MANY_REQUESTS) => {
                write!(f, "answered {status}: too many requests from this instance")
            }
            Cause::Status(status) => write!(f, "answered {status}"),
            Cause::Absent => f.write_str("does not have it (404)"),
            Cause::Malformed => f.write_str("sent a malformed reply"),
            Cause::OutOfTime => f.write_str("was not queried: the time limit of this run was reached"),
        }
    }
}

impl std::error::Error for ImdsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Http(error) => error.source(),
            Cause::Status(_) | Cause::Absent | Cause::Malformed | Cause::OutOfTime => None,
        }
    }
}

/// Kinds of errors that have different fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImdsErrorKind {
    /// 403: IMDS is disabled for this instance, or refuses this item.
    Forbidden,
    /// 429: too many requests from this instance.
    Throttled,
    /// No connection: nothing listens there, or a firewall blocks it.
    Unreachable,
    /// A connection but no reply in time: the hop limit of the reply, or dropped packets. Or no request, because the time of the run was over.
    TimedOut,
    /// Anything else.
    Other,
}

impl ImdsError {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ImdsErrorKind {
        match self.cause {
            Cause::Status(StatusCode::FORBIDDEN) => ImdsErrorKind::Forbidden,
            Cause::Status(StatusCode::TOO_MANY_REQUESTS) => ImdsErrorKind::Throttled,
            Cause::Http(HttpError::Connect(_) | HttpError::ConnectTimedOut) => ImdsErrorKind::Unreachable,
            Cause::Http(HttpError::TimedOut) | Cause::OutOfTime => ImdsErrorKind::TimedOut,
            Cause::Http(_) | Cause::Status(_) | Cause::Absent | Cause::Malformed => ImdsErrorKind::Other,
        }
    }
}

/// A session with IMDS.
#[derive(Clone, Debug)]
pub struct Imds {
    address: SocketAddr,
    token: HeaderValue,
    date: Option<HeaderValue>,
    budget: Budget,
    connections: Arc<Connections>,
}

impl Imds {
    /// Starts a session with the first of `addresses` that can be reached. The token is valid for the whole run.
    ///
    /// # Errors
    /// Fails if no address can be reached, or if the first that can be reached returns no token.
    pub async fn open(addresses: &[SocketAddr], budget: Budget) -> Result<Self, ImdsError> {
        Self::open_over(Connections::default(), addresses, budget).await
    }

    /// Like [`Self::open`], but uses `connections` first.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(crate) async fn open_over(
        connections: Connections,
        addresses: &[SocketAddr],
        budget: Budget,
    ) -> Result<Self, ImdsError> {
        let connections = Arc::new(connections);
        let failed = |cause| ImdsError { path: TOKEN_PATH.to_owned(), cause };
        let ttl = HeaderValue::from(budget.left().as_secs().saturating_add(1));
        let request = || HttpRequest {
            method: Method::PUT,
            path: TOKEN_PATH,
            header: (TOKEN_TTL, ttl.clone()),
            limit: limits::TOKEN,
        };
        let mut unreachable = None;
        for &address in addresses {
            let cause = match ask(address, &connections, request, budget).await {
                Ok(Reply { status: StatusCode::OK, date, body }) => match token(&body) {
                    Some(token) => return Ok(Self { address, token, date, budget, connections }),
                    None => Cause::Malformed,
                },
                Ok(Reply { status, .. }) => Cause::Status(status),
                Err(cause @ Cause::Http(HttpError::Connect(_) | HttpError::ConnectTimedOut)) => {
                    unreachable.get_or_insert(cause);
                    continue;
                }
                Err(cause) => cause,
            };
            return Err(failed(cause));
        }
        Err(failed(unreachable.unwrap_or(Cause::OutOfTime)))
    }

    /// The address of the service.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The time of the service at the start of the session, to the second; `None` if it sent none.
    #[must_use]
    pub fn date(&self) -> Option<UnixTime> {
        let date = httpdate::parse_http_date(self.date.as_ref()?.to_str().ok()?).ok()?;
        date.duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }

    /// The keys that were pushed for `user` in the last 60 seconds, as text.
    ///
    /// # Errors
    /// Fails if the request fails.
    pub async fn active_keys(&self, user: &UserName) -> Result<Option<Bytes>, ImdsError> {
        self.get(&format!("managed-ssh-keys/active-keys/{user}/"), limits::ACTIVE_KEYS).await
    }

    /// The names for which keys were pushed in the last 60 seconds, as the service lists them. Empty if it does not.
    pub(crate) async fn users_with_keys(&self) -> Vec<UserName> {
        let text = self.get("managed-ssh-keys/active-keys/", limits::METADATA_ITEM).await.ok().flatten();
        let text = text.unwrap_or_default();
        text.split(|byte| *byte == b'\n')
            .filter_map(|line| UserName::parse(line.strip_suffix(b"/").unwrap_or(line).trim_ascii()))
            .collect()
    }

    /// The ID of the instance that IMDS belongs to.
    ///
    /// # Errors
    /// Fails if the request fails or the reply is not an instance ID.
    pub(crate) async fn instance_id(&self) -> Result<InstanceId, ImdsError> {
        self.get_parsed(ID, InstanceId::parse).await?.ok_or_else(|| absent(ID))
    }

    /// The region of the instance. If IMDS does not have it (before 2020-08), the region of its zone.
    ///
    /// # Errors
    /// Fails if the request fails or the reply is not a region.
    pub async fn region(&self) -> Result<Region, ImdsError> {
        match self.get_parsed(REGION, Region::parse).await? {
            Some(region) => Ok(region),
            None => self.get_parsed(ZONE, Region::of_zone).await?.ok_or_else(|| absent(ZONE)),
        }
    }

    /// The name of the instance's zone, unchecked. Remote text.
    ///
    /// # Errors
    /// Fails if the request fails.
    pub async fn zone(&self) -> Result<Option<Bytes>, ImdsError> {
        self.get(ZONE, limits::METADATA_ITEM).await
    }

    /// The domain of the partition, unchecked. Remote text.
    ///
    /// # Errors
    /// Fails if the request fails.
    pub async fn domain(&self) -> Result<Bytes, ImdsError> {
        self.get(DOMAIN, limits::METADATA_ITEM).await?.ok_or_else(|| absent(DOMAIN))
    }

    /// The certificate chain of the signer, PEM.
    ///
    /// # Errors
    /// Fails if the request fails.
    pub(crate) async fn signer_chain(&self) -> Result<Option<Bytes>, ImdsError> {
        self.get("managed-ssh-keys/signer-cert/", limits::CERTIFICATE_CHAIN).await
    }

    /// The names of the OCSP responses, one per line.
    ///
    /// # Errors
    /// Fails if the request fails.
    pub(crate) async fn ocsp_names(&self) -> Result<Option<Bytes>, ImdsError> {
        self.get("managed-ssh-keys/signer-ocsp/", limits::OCSP_NAMES).await
    }

    /// One OCSP response, base64. `name` is the fingerprint of a certificate in hexadecimal.
    ///
    /// # Errors
    /// Fails if the request fails.
    pub async fn ocsp_response(&self, name: &str) -> Result<Option<Bytes>, ImdsError> {
        self.get(&format!("managed-ssh-keys/signer-ocsp/{name}"), limits::OCSP_RESPONSE).await
    }

    async fn get_parsed<T>(
        &self,
        path: &str,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, ImdsError> {
        match self.get(path, limits::METADATA_ITEM).await? {
            None => Ok(None),
            Some(text) => match parse(text.trim_ascii_end()) {
                Some(value) => Ok(Some(value)),
                None => Err(ImdsError { path: path.to_owned(), cause: Cause::Malformed }),
            },
        }
    }

    async fn get(&self, path: &str, limit: usize) -> Result<Option<Bytes>, ImdsError> {
        let full = format!("{METADATA}{path}");
        let request =
            || HttpRequest { method: Method::GET, path: &full, header: (TOKEN, self.token.clone()), limit };
        let cause = match ask(self.address, &self.connections, request, self.budget).await {
            Ok(Reply { status: StatusCode::OK, body, .. }) => return Ok(Some(body)),
            Ok(Reply { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
            Ok(Reply { status, .. }) => Cause::Status(status),
            Err(cause) => cause,
        };
        Err(ImdsError { path: path.to_owned(), cause })
    }
}

/// Checks a session token: it must be one word that a header can contain.
fn token(body: &[u8]) -> Option<HeaderValue> {
    let word = body.trim_ascii_end();
    if word.is_empty() || !word.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let mut token = HeaderValue::from_bytes(word).ok()?;
    token.set_sensitive(true);
    Some(token)
}

fn absent(path: &str) -> ImdsError {
    ImdsError { path: path.to_owned(), cause: Cause::Absent }
}

/// Sends a request, and retries once if IMDS throttles it, has a server error or breaks the connection. Does not retry after a timeout,
/// which already took a second: sshd waits.
async fn ask<'a>(
    address: SocketAddr,
    connections: &Connections,
    request: impl Fn() -> HttpRequest<'a>,
    budget: Budget,
) -> Result<Reply, Cause> {
    let once = async || {
        let time = budget.request();
        if time.is_zero() {
            Err(Cause::OutOfTime)
        } else {
            http::send(address, connections, request(), time).await.map_err(Cause::Http)
        }
    };
    let first = once().await;
    let again = match &first {
        Ok(Reply { status, .. }) => *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
        Err(cause) => matches!(cause, Cause::Http(HttpError::Broken(_))),
    };
    if !again || budget.left() <= limits::RETRY_PAUSE {
        return first;
    }
    tokio::time::sleep(limits::RETRY_PAUSE).await;
    once().await
}
