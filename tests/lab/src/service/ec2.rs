//! The part of the EC2 API that the clients use: DescribeInstances and DescribeInstanceConnectEndpoints, in the query protocol.
use super::Shared;
use super::call::{Call, form};
use super::cloud::{ACCOUNT, Cloud, ConnectEndpoint, Ec2Instance, State, endpoint_arn};
use super::connect::not_authorized;
use super::event::Done;
use super::policy::Principal;
use super::sigv4::Refusal;
use crate::http::Reply;
use crate::pki::REGION;
use serde_json::Value;
use std::fmt::Write;

/// The API's name in signatures, events and policies.
pub const SERVICE: &str = "ec2";
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// Status, code and message.
type Failure = (u16, &'static str, String);
type Parameters = Vec<(String, String)>;

/// Answers a call of this API.
pub(crate) fn answer(shared: &Shared, call: &Call, request: &str) -> Reply {
    let who = match shared.authenticate(call, SERVICE) {
        Ok(who) => who,
        Err(refusal) => return error(&refused(refusal), request),
    };
    let parameters = form(&call.body);
    let action = value(&parameters, "Action").unwrap_or_default();
    let cloud = shared.cloud.lock().unwrap().clone();
    let described = match action {
        "DescribeInstances" => describe(&who, call, action, || instances(&cloud, &parameters)),
        "DescribeInstanceConnectEndpoints" => describe(&who, call, action, || endpoints(&cloud, &parameters)),
        _ => {
            let message = format!("The action {action} is not valid for this web service.");
            return error(&(400, "InvalidAction", message), request);
        }
    };
    let asked = parameters.iter().filter(|(name, _)| name != "Action" && name != "Version");
    let done = Done {
        service: SERVICE,
        name: action,
        request,
        parameters: asked.map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect(),
        response: Value::Null,
        read_only: true,
        error: described.as_ref().err().map(|(_, code, message)| (*code, message.as_str())),
    };
    shared.trail.add(&who, call, &done);
    match described {
        Ok(content) => {
            let start = format!("<{action}Response xmlns=\"{NAMESPACE}\"><requestId>{request}</requestId>");
            xml(200, &format!("{start}{content}</{action}Response>"))
        }
        Err(failure) => error(&failure, request),
    }
}

fn describe(
    who: &Principal,
    call: &Call,
    action: &str,
    content: impl FnOnce() -> Result<String, Failure>,
) -> Result<String, Failure> {
    let action = format!("{SERVICE}:{action}");
    match who.may(&action, "*", &[("aws:SourceIp", call.from.ip().to_string())]) {
        Ok(()) => content(),
        Err(denied) => Err((
            403,
            "UnauthorizedOperation",
            format!(
                "You are not authorized to perform this operation. {}",
                not_authorized(who, &action, "*", denied)
            ),
        )),
    }
}

fn instances(cloud: &Cloud, parameters: &Parameters) -> Result<String, Failure> {
    let ids = values(parameters, "InstanceId.");
    for id in &ids {
        if !super::pushed::is_instance_id(id) {
            return Err((400, "InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")));
        }
        if cloud.instance(id).is_none() {
            let message = format!("The instance ID '{id}' does not exist");
            return Err((400, "InvalidInstanceID.NotFound", message));
        }
    }
    let filters = filters(parameters)?;
    let mut items = String::new();
    for instance in cloud.instances.iter().filter(|i| ids.is_empty() || ids.contains(&i.id.as_str())) {
        let property = |name: &str| match name {
            "instance-id" => Some(instance.id.as_str()),
            "instance-state-name" => Some(state(instance).1),
            "vpc-id" => Some(instance.vpc.as_str()),
            "subnet-id" => Some(instance.subnet.as_str()),
            _ => None,
        };
        if fits(&filters, property)? {
            items += &instance_item(instance);
        }
    }
    Ok(element("reservationSet", &items))
}

fn state(instance: &Ec2Instance) -> (u32, &'static str) {
    if instance.state == State::Stopped { (80, "stopped") } else { (16, "running") }
}

fn instance_item(instance: &Ec2Instance) -> String {
    let (code, name) = state(instance);
    let state = text("code", &code.to_string()) + &text("name", name);
    let address = instance.public_ip.as_ref().map(|ip| text("ipAddress", ip)).unwrap_or_default();
    let fields = [
        text("instanceId", &instance.id),
        element("instanceState", &state),
        text("privateDnsName", &instance.private_name),
        text("privateIpAddress", &instance.private_ip),
        address,
        text("subnetId", &instance.subnet),
        text("vpcId", &instance.vpc),
        element("placement", &text("availabilityZone", &instance.zone)),
    ];
    let reservation = [
        text("reservationId", &instance.id.replacen("i-", "r-", 1)),
        text("ownerId", ACCOUNT),
        element("instancesSet", &element("item", &fields.concat())),
    ];
    element("item", &reservation.concat())
}

fn endpoints(cloud: &Cloud, parameters: &Parameters) -> Result<String, Failure> {
    let ids = values(parameters, "InstanceConnectEndpointId.");
    if let Some(id) = ids.iter().find(|id| !cloud.endpoints.iter().any(|e| e.id == **id)) {
        let message = format!("The instance connect endpoint ID '{id}' does not exist");
        return Err((400, "InvalidInstanceConnectEndpointId.NotFound", message));
    }
    let filters = filters(parameters)?;
    let mut items = String::new();
    for endpoint in cloud.endpoints.iter().filter(|e| ids.is_empty() || ids.contains(&e.id.as_str())) {
        let property = |name: &str| match name {
            "instance-connect-endpoint-id" => Some(endpoint.id.as_str()),
            "state" => Some("create-complete"),
            "vpc-id" => Some(endpoint.vpc.as_str()),
            "subnet-id" => Some(endpoint.subnet.as_str()),
            _ => None,
        };
        if fits(&filters, property)? {
            items += &endpoint_item(endpoint);
        }
    }
    Ok(element("instanceConnectEndpointSet", &items))
}

fn endpoint_item(endpoint: &ConnectEndpoint) -> String {
    let fields = [
        text("ownerId", ACCOUNT),
        text("instanceConnectEndpointId", &endpoint.id),
        text("instanceConnectEndpointArn", &endpoint_arn(&endpoint.id)),
        text("state", "create-complete"),
        text("dnsName", &endpoint.dns_name),
        text("fipsDnsName", &endpoint.dns_name.replacen('.', ".fips.", 1)),
        text("availabilityZone", &format!("{REGION}a")),
        text("vpcId", &endpoint.vpc),
        text("subnetId", &endpoint.subnet),
        text("preserveClientIp", "false"),
    ];
    element("item", &fields.concat())
}

/// A filter's name, and the values of which one must match.
type Filter<'a> = (&'a str, Vec<&'a str>);

fn filters(parameters: &Parameters) -> Result<Vec<Filter<'_>>, Failure> {
    let names = parameters
        .iter()
        .filter_map(|(key, name)| Some((key.strip_prefix("Filter.")?.strip_suffix(".Name")?, name.as_str())));
    let all: Vec<Filter> =
        names.map(|(number, name)| (name, values(parameters, &format!("Filter.{number}.Value.")))).collect();
    match all.iter().find(|(_, values)| values.is_empty()) {
        Some((name, _)) => Err((400, "MissingParameter", format!("The filter '{name}' has no value"))),
        None => Ok(all),
    }
}

fn fits<'a>(filters: &[Filter], property: impl Fn(&str) -> Option<&'a str>) -> Result<bool, Failure> {
    let mut all = true;
    for (name, values) in filters {
        let Some(value) = property(name) else {
            return Err((400, "InvalidParameterValue", format!("The filter '{name}' is invalid")));
        };
        all &= values.contains(&value);
    }
    Ok(all)
}

fn value<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The values of `PREFIX1`, `PREFIX2`, ...
fn values<'a>(parameters: &'a Parameters, prefix: &str) -> Vec<&'a str> {
    let numbered = |key: &str| key.strip_prefix(prefix).is_some_and(|number| number.parse::<u16>().is_ok());
    parameters.iter().filter(|(key, _)| numbered(key)).map(|(_, value)| value.as_str()).collect()
}

fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Missing => {
            (403, "MissingAuthenticationToken", "Request is missing Authentication Token".to_owned())
        }
        Refusal::Incomplete(what) => (400, "IncompleteSignature", what),
        Refusal::Time(what) => (400, "RequestExpired", format!("Request has expired. {what}")),
        Refusal::Scope(what) => (400, "AuthFailure", what),
        Refusal::UnknownKey | Refusal::Mismatch => {
            let message = "AWS was not able to validate the provided access credentials";
            (401, "AuthFailure", message.to_owned())
        }
    }
}

fn error((status, code, message): &Failure, request: &str) -> Reply {
    let what = element("Error", &(text("Code", code) + &text("Message", message)));
    xml(*status, &element("Response", &(element("Errors", &what) + &text("RequestID", request))))
}

fn xml(status: u16, content: &str) -> Reply {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{content}");
    Reply::new(status, body).with("Content-Type", "text/xml;charset=UTF-8")
}

fn element(name: &str, content: &str) -> String {
    format!("<{name}>{content}</{name}>")
}

fn text(name: &str, value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        match c {
            '<' | '>' | '&' | '"' | '\'' => write!(escaped, "&#{};", u32::from(c)).unwrap(),
            _ => escaped.push(c),
        }
    }
    element(name, &escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Parameters {
        form(query.as_bytes())
    }

    #[test]
    fn filters_and_ids_select_instances() {
        let cloud = Cloud::new();
        let count = |query: &str| instances(&cloud, &asked(query)).unwrap().matches("<instanceId>").count();
        assert_eq!(count(""), 4);
        assert_eq!(count("InstanceId.1=i-0123456789abcdef0"), 1);
        assert_eq!(count("InstanceId.1=i-0123456789abcdef0&InstanceId.2=i-0123456789abcdef1"), 2);
        assert_eq!(count("Filter.1.Name=instance-state-name&Filter.1.Value.1=stopped"), 1);
        assert_eq!(count("Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-other"), 0);
        let wrong = |query: &str| instances(&cloud, &asked(query)).unwrap_err().1;
        assert_eq!(wrong("InstanceId.1=i-0999"), "InvalidInstanceID.NotFound");
        assert_eq!(wrong("InstanceId.1=x"), "InvalidInstanceID.Malformed");
        assert_eq!(wrong("Filter.1.Name=colour&Filter.1.Value.1=red"), "InvalidParameterValue");
        assert_eq!(wrong("Filter.1.Name=vpc-id"), "MissingParameter");
    }

    #[test]
    fn markup_in_values_is_escaped() {
        assert_eq!(text("m", "<&>"), "<m>&#60;&#38;&#62;</m>");
    }
}
