//! AWS Signature Version 4, verified: in the Authorization header, or in the query of a presigned URL.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>. The known libraries sign only, so this computes
//! the signature again as a client does, and compares. It is tested with AWS's published example and with the clients.
use super::call::{Call, parameters};
use super::clock;
use super::policy::Principal;
use crate::key::Hash;
use crate::{DAY, MINUTE};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;

/// The maximum difference of clocks in seconds; a presigned URL has its own duration.
pub const SKEW: i64 = 5 * MINUTE;
/// The maximum duration of a presigned URL in seconds.
const MAX_EXPIRES: i64 = 7 * DAY;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Why a request is not authentic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not signed.
    Missing,
    /// A part of the signature is missing or malformed.
    Incomplete(String),
    /// The access key is unknown, or has another session token.
    UnknownKey,
    /// It is signed for another region, service or day.
    Scope(String),
    /// It was signed too long ago, or is not valid yet.
    Time(String),
    /// Another key or another request was signed.
    Mismatch,
}

/// The parts of a request's signature.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The access key.
    pub access_key: String,
    /// The session token.
    pub token: Option<String>,
    /// Day, region and service.
    scope: [String; 3],
    signed_headers: Vec<String>,
    signature: String,
    /// When it was signed, as received and in seconds.
    date: (String, i64),
    /// The duration of a presigned URL, in seconds.
    expires: Option<i64>,
    presigned: bool,
}

impl Claim {
    /// Reads it from the Authorization header, or else from the query.
    ///
    /// # Errors
    /// [`Refusal::Missing`] if both are missing, [`Refusal::Incomplete`] if a part is.
    pub fn of(call: &Call) -> Result<Self, Refusal> {
        let header = |name: &str| call.header(name).map(str::to_owned);
        if let Some(value) = call.header("Authorization") {
            let parts = value.strip_prefix(ALGORITHM).ok_or_else(|| incomplete("its algorithm"))?;
            let part = |name: &str| {
                let mut all = parts.split(',').filter_map(|part| part.trim().split_once('='));
                all.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
            };
            let dated = header("X-Amz-Date");
            Self::read(part, dated, header("X-Amz-Security-Token"), None, false)
        } else if let Some(algorithm) = call.parameter("X-Amz-Algorithm") {
            if algorithm != ALGORITHM {
                return Err(incomplete("its algorithm"));
            }
            let query = |name: &str| call.parameter(&format!("X-Amz-{name}"));
            let expires = query("Expires").map(|seconds| match seconds.parse() {
                Ok(seconds @ 1..=MAX_EXPIRES) => Ok(seconds),
                _ => Err(incomplete("X-Amz-Expires")),
            });
            Self::read(query, query("Date"), query("Security-Token"), expires.transpose()?, true)
        } else {
            Err(Refusal::Missing)
        }
    }

    fn read(
        part: impl Fn(&str) -> Option<String>,
        date: Option<String>,
        token: Option<String>,
        expires: Option<i64>,
        presigned: bool,
    ) -> Result<Self, Refusal> {
        let need = |name: &str| part(name).ok_or_else(|| incomplete(name));
        let credential = need("Credential")?;
        let words: Vec<&str> = credential.split('/').collect();
        let [access_key, day, region, service, "aws4_request"] = words[..] else {
            return Err(incomplete("Credential"));
        };
        let date = date.ok_or_else(|| incomplete("X-Amz-Date"))?;
        let seconds = clock::seconds(&date).ok_or_else(|| incomplete("X-Amz-Date"))?;
        Ok(Self {
            access_key: access_key.to_owned(),
            token,
            scope: [day, region, service].map(str::to_owned),
            signed_headers: need("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: need("Signature")?,
            date: (date, seconds),
            expires,
            presigned,
        })
    }

    /// Checks that the request is signed with this secret, for this region and service, at this time.
    ///
    /// # Errors
    /// What is wrong, scope and time before the signature.
    pub fn verify(
        &self,
        call: &Call,
        secret: &str,
        (region, service): (&str, &str),
        now: i64,
    ) -> Result<(), Refusal> {
        let [day, its_region, its_service] = &self.scope;
        let (date, signed) = &self.date;
        if its_region != region {
            return Err(Refusal::Scope(format!(
                "Credential should be scoped to a valid region, not '{its_region}'."
            )));
        }
        if its_service != service {
            return Err(Refusal::Scope(format!(
                "Credential should be scoped to correct service: '{service}'."
            )));
        }
        if !date.starts_with(day.as_str()) || day.len() != 8 {
            return Err(Refusal::Scope(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
                 '{day}' != '{}', from '{date}'.",
                &date[..8]
            )));
        }
        let (now_text, valid) = (clock::basic(now), self.expires.unwrap_or(SKEW));
        if now > signed + valid {
            return Err(Refusal::Time(format!(
                "Signature expired: {date} is now earlier than {} ({now_text} - {valid} s.)",
                clock::basic(now - valid)
            )));
        }
        if now < signed - SKEW {
            return Err(Refusal::Time(format!(
                "Signature not yet current: {date} is still later than {} ({now_text} + {SKEW} s.)",
                clock::basic(now + SKEW)
            )));
        }
        let unsigned = |(name, _): &&(String, String)| {
            let name = name.to_ascii_lowercase();
            (name == "host" || name.starts_with("x-amz-")) && !self.signed_headers.contains(&name)
        };
        if let Some((name, _)) = call.headers.iter().find(unsigned) {
            return Err(incomplete(&format!("'{name}' in SignedHeaders")));
        }
        let expected = self.expected(call, secret);
        let same = expected.len() == self.signature.len()
            && openssl::memcmp::eq(expected.as_bytes(), self.signature.as_bytes());
        if same { Ok(()) } else { Err(Refusal::Mismatch) }
    }

    /// The signature that the request should have.
    fn expected(&self, call: &Call, secret: &str) -> String {
        let [day, region, service] = &self.scope;
        let canonical = Hash::Sha256.of(self.canonical(call).as_bytes());
        let text = format!(
            "{ALGORITHM}\n{}\n{day}/{region}/{service}/aws4_request\n{}",
            self.date.0,
            hex(&canonical)
        );
        let key = [region.as_str(), service, "aws4_request"]
            .iter()
            .fold(hmac(format!("AWS4{secret}").as_bytes(), day), |key, word| hmac(&key, word));
        hex(&hmac(&key, &text))
    }

    /// The canonical request.
    fn canonical(&self, call: &Call) -> String {
        let mut query: Vec<String> = parameters(&call.query)
            .iter()
            .filter(|(name, _)| !(self.presigned && name == "X-Amz-Signature"))
            .map(|(name, value)| format!("{}={}", encode(name, ""), encode(value, "")))
            .collect();
        query.sort();
        let headers: String = self
            .signed_headers
            .iter()
            .map(|name| {
                let values = call.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
                let trimmed = values.map(|(_, value)| {
                    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
                });
                format!("{name}:{}\n", trimmed.collect::<Vec<_>>().join(","))
            })
            .collect();
        [
            call.method.clone(),
            encode(&call.path, "/"),
            query.join("&"),
            headers,
            self.signed_headers.join(";"),
            hex(&Hash::Sha256.of(&call.body)),
        ]
        .join("\n")
    }
}

/// Signs a call with all its headers as a client does, in a header, at this time. For tests of calls that are wrong in another way.
pub fn sign(call: &mut Call, who: &Principal, scope: (&str, &str), at: i64) {
    let date = clock::basic(at);
    call.headers.push(("X-Amz-Date".to_owned(), date.clone()));
    call.headers.extend(who.token.iter().map(|token| ("X-Amz-Security-Token".to_owned(), token.clone())));
    let mut names: Vec<String> = call.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort();
    let names = names.join(";");
    let credential = credential(who, scope, &date);
    let mut value = format!("{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature=");
    call.headers.push(("Authorization".to_owned(), value.clone() + "?"));
    let claim = Claim::of(call).expect("all its parts are there");
    value += &claim.expected(call, &who.secret);
    call.headers.last_mut().expect("it was pushed").1 = value;
}

/// Signs a call as a client does, in its query, at this time, with or without a duration in seconds.
pub fn presign(call: &mut Call, who: &Principal, scope: (&str, &str), at: i64, seconds: Option<i64>) {
    let date = clock::basic(at);
    let mut add = |name: &str, value: &str| {
        call.query += &format!("&X-Amz-{name}={}", encode(value, ""));
    };
    add("Algorithm", ALGORITHM);
    add("Credential", &credential(who, scope, &date));
    add("Date", &date);
    if let Some(seconds) = seconds {
        add("Expires", &seconds.to_string());
    }
    add("SignedHeaders", "host");
    if let Some(token) = &who.token {
        add("Security-Token", token);
    }
    let mut signed = call.clone();
    signed.query += "&X-Amz-Signature=?";
    let claim = Claim::of(&signed).expect("all its parts are there");
    call.query += &format!("&X-Amz-Signature={}", claim.expected(call, &who.secret));
}

fn credential(who: &Principal, (region, service): (&str, &str), date: &str) -> String {
    format!("{}/{}/{region}/{service}/aws4_request", who.access_key, &date[..8])
}

fn incomplete(what: &str) -> Refusal {
    Refusal::Incomplete(format!("Authorization header or query requires {what} to be there, and valid."))
}

/// Percent-encodes all except RFC 3986's unreserved characters and `besides`.
fn encode(text: &str, besides: &str) -> String {
    text.bytes()
        .map(|byte| match char::from(byte) {
            c if c.is_ascii_alphanumeric() || "-._~".contains(c) || besides.contains(c) => c.to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = PKey::hmac(key).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    signer.sign_oneshot_to_vec(text.as_bytes()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of AWS's documentation.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const SCOPE: (&str, &str) = ("us-east-1", "iam");

    /// The example of the documentation ("Examples of the complete Signature Version 4 signing process").
    fn example() -> (Call, i64) {
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        let headers = [
            ("Host", "iam.amazonaws.com"),
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("X-Amz-Date", "20150830T123600Z"),
            ("Authorization", authorization),
        ];
        let call = Call {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: "Action=ListUsers&Version=2010-05-08".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            body: Vec::new(),
            from: ([127, 0, 0, 1], 40_000).into(),
        };
        (call, 1_440_938_160)
    }

    fn judge(call: &Call, scope: (&str, &str), now: i64) -> Result<(), Refusal> {
        Claim::of(call)?.verify(call, SECRET, scope, now)
    }

    #[test]
    fn the_documented_example_verifies() {
        let (call, now) = example();
        assert_eq!(judge(&call, SCOPE, now), Ok(()));
        assert_eq!(judge(&call, SCOPE, now + SKEW), Ok(()));
        assert_eq!(judge(&call, SCOPE, now - SKEW), Ok(()));
    }

    #[test]
    fn any_change_of_signed_data_is_refused() {
        let changes: [fn(&mut Call); 6] = [
            |call| call.method = "POST".to_owned(),
            |call| call.path = "/x".to_owned(),
            |call| call.query.push('0'),
            |call| call.body = b"{}".to_vec(),
            |call| call.headers[0].1.push('x'),
            |call| call.headers[3].1 = call.headers[3].1.replace("5d672d79", "5d672d78"),
        ];
        for (number, change) in changes.iter().enumerate() {
            let (mut call, now) = example();
            change(&mut call);
            assert_eq!(judge(&call, SCOPE, now), Err(Refusal::Mismatch), "change {number}");
        }
        let (call, now) = example();
        let other = Claim::of(&call).unwrap().verify(&call, "another secret", SCOPE, now);
        assert_eq!(other, Err(Refusal::Mismatch));
    }

    #[test]
    fn wrong_times_and_scopes_are_refused() {
        let (call, now) = example();
        for late in [now + SKEW + 1, now - SKEW - 1] {
            assert!(matches!(judge(&call, SCOPE, late), Err(Refusal::Time(_))), "{late}");
        }
        for scope in [("eu-west-1", "iam"), ("us-east-1", "ec2")] {
            assert!(matches!(judge(&call, scope, now), Err(Refusal::Scope(_))), "{scope:?}");
        }
        let (mut call, now) = example();
        call.headers[3].1 = call.headers[3].1.replace("20150830/", "20150829/");
        assert!(matches!(judge(&call, SCOPE, now), Err(Refusal::Scope(_))));
    }

    #[test]
    fn a_missing_part_is_named() {
        let (mut call, now) = example();
        call.headers.pop();
        assert_eq!(judge(&call, SCOPE, now), Err(Refusal::Missing));
        for part in ["Credential=", "SignedHeaders=", "Signature=", "/aws4_request", "AWS4-HMAC-SHA256"] {
            let (mut call, now) = example();
            call.headers[3].1 = call.headers[3].1.replace(part, "other");
            assert!(matches!(judge(&call, SCOPE, now), Err(Refusal::Incomplete(_))), "{part}");
        }
        let (mut call, now) = example();
        call.headers.push(("X-Amz-Security-Token".to_owned(), "unsigned".to_owned()));
        assert!(matches!(judge(&call, SCOPE, now), Err(Refusal::Incomplete(_))));
    }
}
