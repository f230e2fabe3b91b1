//! The CloudTrail API: LookupEvents, in AWS JSON 1.1. Its events are those of the laboratory's services.
use super::Shared;
use super::call::Call;
use super::clock;
use super::connect::{error, not_authorized, refused, reply};
use crate::http::Reply;
use serde_json::{Value, json};

/// The API's name in signatures and policies.
const SERVICE: &str = "cloudtrail";
/// The end of the API's names in the header X-Amz-Target; SDKs write it with and without a package.
const TARGET: &str = "CloudTrail_20131101.";
/// AWS's default and maximum number of events in a reply.
const MOST: usize = 50;

/// The operation, if the call is of this API.
fn operation(call: &Call) -> Option<&str> {
    call.header("X-Amz-Target").and_then(|target| Some(target.split_once(TARGET)?.1))
}

/// Whether the call is of this API.
pub(super) fn is_meant(call: &Call) -> bool {
    operation(call).is_some()
}

/// Answers a call of this API. It adds no event of its own.
pub(super) fn answer(shared: &Shared, call: &Call) -> Reply {
    let who = match shared.authenticate(call, SERVICE) {
        Ok(who) => who,
        Err(refusal) => return refused(&refusal),
    };
    let Some("LookupEvents") = operation(call) else {
        return error(400, "UnknownOperationException", "");
    };
    let action = "cloudtrail:LookupEvents";
    if let Err(denied) = who.may(action, "*", &[("aws:SourceIp", call.from.ip().to_string())]) {
        return error(400, "AccessDeniedException", &not_authorized(&who, action, "*", denied));
    }
    let Ok(asked) = serde_json::from_slice(&call.body) else {
        return error(400, "SerializationException", "");
    };
    lookup(shared.trail.all(), &asked)
}

/// The newest event first.
fn lookup(mut events: Vec<Value>, asked: &Value) -> Reply {
    let attributes = asked["LookupAttributes"].as_array().map(Vec::as_slice).unwrap_or_default();
    for attribute in attributes {
        let member = match attribute["AttributeKey"].as_str() {
            Some("EventName") => "eventName",
            Some("EventSource") => "eventSource",
            Some("EventId") => "eventID",
            _ => {
                return error(
                    400,
                    "InvalidLookupAttributesException",
                    "The laboratory has no such attribute.",
                );
            }
        };
        events.retain(|event| event[member] == attribute["AttributeValue"]);
    }
    if let Some(start) = asked["StartTime"].as_f64() {
        events.retain(|event| time(event) >= start);
    }
    if let Some(end) = asked["EndTime"].as_f64() {
        events.retain(|event| time(event) <= end);
    }
    events.reverse();
    let skipped = asked["NextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
    let most = asked["MaxResults"].as_u64().map_or(MOST, |most| most as usize).clamp(1, MOST);
    let page: Vec<Value> = events.iter().skip(skipped).take(most).map(found).collect();
    let mut answer = json!({ "Events": page });
    if events.len() > skipped + most {
        answer["NextToken"] = (skipped + most).to_string().into();
    }
    reply(200, &answer)
}

/// An event as LookupEvents returns it: a few members, and the whole event as text.
fn found(event: &Value) -> Value {
    let identity = &event["userIdentity"];
    let arn = identity["arn"].as_str().unwrap_or_default();
    json!({
        "EventId": event["eventID"],
        "EventName": event["eventName"],
        "ReadOnly": event["readOnly"].to_string(),
        "AccessKeyId": identity["accessKeyId"],
        "EventTime": time(event),
        "EventSource": event["eventSource"],
        "Username": arn.rsplit('/').next(),
        "Resources": [],
        "CloudTrailEvent": event.to_string(),
    })
}

/// Seconds since the epoch, a number with fractions in this API.
fn time(event: &Value) -> f64 {
    let basic = event["eventTime"].as_str().unwrap_or_default().replace(['-', ':'], "");
    clock::seconds(&basic).and_then(|seconds| u32::try_from(seconds).ok()).map_or(0.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(asked: &Value) -> (Vec<String>, Option<String>) {
        let events = (0..120).map(|number| {
            let name = if number % 2 == 0 { "SendSSHPublicKey" } else { "OpenTunnel" };
            json!({ "eventName": name, "eventID": number.to_string(), "eventTime": clock::extended(number) })
        });
        let body: Value = serde_json::from_slice(&lookup(events.collect(), asked).body).unwrap();
        let events = body["Events"].as_array().unwrap();
        let names = events.iter().map(|event| event["EventId"].as_str().unwrap().to_owned()).collect();
        (names, body["NextToken"].as_str().map(str::to_owned))
    }

    #[test]
    fn events_are_found_by_name_and_time_in_pages() {
        let pushes = json!([{ "AttributeKey": "EventName", "AttributeValue": "SendSSHPublicKey" }]);
        let (first, token) = names(&json!({ "LookupAttributes": pushes }));
        assert_eq!((first.len(), first[0].as_str(), first[49].as_str()), (50, "118", "20"));
        let (second, none) = names(&json!({ "LookupAttributes": pushes, "NextToken": token }));
        assert_eq!((second.len(), second[9].as_str(), none), (10, "0", None));
        let (between, _) = names(&json!({ "StartTime": 7, "EndTime": 9.5 }));
        assert_eq!(between, ["9", "8", "7"]);
    }
}
