//! The log of calls in CloudTrail's format, so that a login can be followed from the API call to the log line.
use super::call::Call;
use super::clock;
use super::policy::Principal;
use crate::key::Hash;
use crate::now;
use crate::pki::REGION;
use serde_json::{Value, json};
use std::sync::Mutex;

/// A completed call.
pub(crate) struct Done<'a> {
    pub(crate) service: &'a str,
    pub(crate) name: &'a str,
    pub(crate) request: &'a str,
    pub(crate) parameters: Value,
    pub(crate) response: Value,
    pub(crate) read_only: bool,
    /// Code and message.
    pub(crate) error: Option<(&'a str, &'a str)>,
}

/// The events, in order.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    events: Mutex<Vec<Value>>,
}

impl Trail {
    pub(crate) fn add(&self, who: &Principal, call: &Call, done: &Done) {
        let mut event = json!({
            "eventVersion": "1.08",
            "userIdentity": identity(who),
            "eventTime": clock::extended(now()),
            "eventSource": format!("{}.amazonaws.com", done.service),
            "eventName": done.name,
            "awsRegion": REGION,
            "sourceIPAddress": call.from.ip().to_string(),
            "userAgent": call.header("User-Agent").unwrap_or_default(),
            "requestParameters": done.parameters,
            "responseElements": done.response,
            "requestID": done.request,
            "eventID": uuid(),
            "readOnly": done.read_only,
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "recipientAccountId": who.account(),
            "eventCategory": "Management",
        });
        if let Some((code, message)) = done.error {
            event["errorCode"] = code.into();
            event["errorMessage"] = message.into();
        }
        self.events.lock().unwrap().push(event);
    }

    pub(crate) fn all(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }
}

/// The userIdentity element of a user or an assumed role.
fn identity(who: &Principal) -> Value {
    let digest: String =
        Hash::Sha256.of(who.arn.as_bytes()).iter().map(|byte| format!("{byte:02X}")).collect();
    let (account, access_key) = (who.account(), &who.access_key);
    let path: Vec<&str> = who.arn.rsplit(':').next().unwrap_or_default().split('/').collect();
    match path[..] {
        ["assumed-role", role, session] => {
            let principal = format!("AROA{}", &digest[..17]);
            json!({
                "type": "AssumedRole",
                "principalId": format!("{principal}:{session}"),
                "arn": who.arn,
                "accountId": account,
                "accessKeyId": access_key,
                "sessionContext": {
                    "sessionIssuer": {
                        "type": "Role",
                        "principalId": principal,
                        "arn": format!("arn:aws:iam::{account}:role/{role}"),
                        "accountId": account,
                        "userName": role,
                    },
                },
            })
        }
        _ => json!({
            "type": "IAMUser",
            "principalId": format!("AIDA{}", &digest[..17]),
            "arn": who.arn,
            "accountId": account,
            "accessKeyId": access_key,
            "userName": path.last(),
        }),
    }
}

/// A random UUID, version 4.
pub(crate) fn uuid() -> String {
    let mut bytes = [0; 16];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
