//! The EC2 Instance Connect API: SendSSHPublicKey, in AWS JSON 1.1.
use super::Shared;
use super::call::Call;
use super::cloud::{State, instance_arn};
use super::event::Done;
use super::policy::{Denied, Principal};
use super::pushed::check_key;
use super::sigv4::Refusal;
use crate::http::Reply;
use crate::record::RecordSpec;
use serde_json::{Value, json};

/// The API's name in signatures, events and policies.
pub const SERVICE: &str = "ec2-instance-connect";
const TARGET: &str = "AWSEC2InstanceConnectService.";

/// The exceptions of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exception {
    Auth,
    InvalidArgs,
    Throttling,
    InstanceNotFound,
    InstanceStateInvalid,
    InstanceUnavailable,
    Service,
}

impl Exception {
    fn name(self) -> &'static str {
        match self {
            Self::Auth => "AuthException",
            Self::InvalidArgs => "InvalidArgsException",
            Self::Throttling => "ThrottlingException",
            Self::InstanceNotFound => "EC2InstanceNotFoundException",
            Self::InstanceStateInvalid => "EC2InstanceStateInvalidException",
            Self::InstanceUnavailable => "EC2InstanceUnavailableException",
            Self::Service => "ServiceException",
        }
    }
}

/// An exception with its message.
type Failure = (Exception, String);

/// Answers a call of this API.
pub(crate) fn answer(shared: &Shared, call: &Call, request: &str) -> Reply {
    let who = match shared.authenticate(call, SERVICE) {
        Ok(who) => who,
        Err(refusal) => return refused(&refusal),
    };
    let operation = call.header("X-Amz-Target").and_then(|target| target.strip_prefix(TARGET));
    let Some("SendSSHPublicKey") = operation else {
        return error(400, "com.amazon.coral.service#UnknownOperationException", "");
    };
    let Some(input) = Input::read(&call.body) else {
        return error(400, "com.amazon.coral.service#SerializationException", "");
    };
    let pushed = push(shared, &who, call, &input, request);
    let failure = pushed.as_ref().err().map(|(exception, message)| (exception.name(), message.as_str()));
    let done = Done {
        service: SERVICE,
        name: "SendSSHPublicKey",
        request,
        parameters: json!({
            "instanceId": input.instance,
            "osUser": input.user,
            "SSHKey": { "publicKey": input.key },
            "availabilityZone": input.zone,
        }),
        response: Value::Null,
        read_only: false,
        error: failure,
    };
    shared.trail.add(&who, call, &done);
    match failure {
        None => reply(200, &json!({ "RequestId": request, "Success": true })),
        Some((name, message)) => {
            let status = if name == Exception::Service.name() { 500 } else { 400 };
            error(status, &format!("com.amazon.aws.sshaccessproxyservice#{name}"), message)
        }
    }
}

/// The error for a body that cannot be read.
pub(crate) fn unreadable(status: u16, message: &str) -> Reply {
    let name = if status == 413 { "RequestEntityTooLargeException" } else { "SerializationException" };
    error(status, &format!("com.amazon.coral.service#{name}"), message)
}

pub(super) fn refused(refusal: &Refusal) -> Reply {
    let (name, message) = match refusal {
        Refusal::Missing => ("MissingAuthenticationToken", "Missing Authentication Token"),
        Refusal::Incomplete(what) => ("IncompleteSignature", what.as_str()),
        Refusal::UnknownKey => {
            ("UnrecognizedClient", "The security token included in the request is invalid.")
        }
        Refusal::Scope(what) | Refusal::Time(what) => ("InvalidSignature", what.as_str()),
        Refusal::Mismatch => (
            "InvalidSignature",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.",
        ),
    };
    error(400, &format!("com.amazon.coral.service#{name}Exception"), message)
}

pub(super) fn error(status: u16, kind: &str, message: &str) -> Reply {
    reply(status, &json!({ "__type": kind, "message": message }))
}

pub(super) fn reply(status: u16, body: &Value) -> Reply {
    Reply::new(status, body.to_string()).with("Content-Type", "application/x-amz-json-1.1")
}

/// A request's members.
struct Input {
    instance: Option<String>,
    user: Option<String>,
    key: Option<String>,
    zone: Option<String>,
}

impl Input {
    /// `None` if the body is not a JSON object, or a member not a string.
    fn read(body: &[u8]) -> Option<Self> {
        let fields: Value = serde_json::from_slice(body).ok()?;
        let fields = fields.as_object()?;
        let text = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => value.as_str().map(|text| Some(text.to_owned())),
        };
        Some(Self {
            instance: text("InstanceId")?,
            user: text("InstanceOSUser")?,
            key: text("SSHPublicKey")?,
            zone: text("AvailabilityZone")?,
        })
    }

    /// The constraints of the model that it does not satisfy, in AWS's words.
    fn errors(&self) -> Vec<String> {
        let members = [
            Constraint::new("instanceId", self.instance.as_ref(), (10, 32), true)
                .pattern("^i-[a-f0-9]+$", super::pushed::is_instance_id),
            Constraint::new("instanceOSUser", self.user.as_ref(), (1, 32), true)
                .pattern(super::pushed::USER_PATTERN, super::pushed::is_user),
            Constraint::new("sSHPublicKey", self.key.as_ref(), (80, 4096), true),
            Constraint::new("availabilityZone", self.zone.as_ref(), (6, 32), false)
                .pattern(r"^(\w+-){2,3}\d+\w+$", super::pushed::is_zone),
        ];
        members.iter().flat_map(Constraint::errors).collect()
    }
}

/// A regular expression, and a function that matches it.
type Pattern<'a> = (&'a str, fn(&str) -> bool);

/// The model's constraints of a member.
struct Constraint<'a> {
    name: &'a str,
    value: Option<&'a str>,
    length: (usize, usize),
    required: bool,
    pattern: Option<Pattern<'a>>,
}

impl<'a> Constraint<'a> {
    fn new(name: &'a str, value: Option<&'a String>, length: (usize, usize), required: bool) -> Self {
        Self { name, value: value.map(String::as_str), length, required, pattern: None }
    }

    fn pattern(self, text: &'a str, fits: fn(&str) -> bool) -> Self {
        Self { pattern: Some((text, fits)), ..self }
    }

    fn errors(&self) -> Vec<String> {
        let says = |what: &str| match self.value {
            Some(value) => {
                format!("Value '{value}' at '{}' failed to satisfy constraint: Member must {what}", self.name)
            }
            None => format!("Value null at '{}' failed to satisfy constraint: Member must {what}", self.name),
        };
        let Some(value) = self.value else {
            return if self.required { vec![says("not be null")] } else { Vec::new() };
        };
        let ((least, most), length) = (self.length, value.chars().count());
        let mut errors = Vec::new();
        if length < least {
            errors.push(says(&format!("have length greater than or equal to {least}")));
        }
        if length > most {
            errors.push(says(&format!("have length less than or equal to {most}")));
        }
        if let Some((text, _)) = self.pattern.filter(|(_, fits)| !fits(value)) {
            errors.push(says(&format!("satisfy regular expression pattern: {text}")));
        }
        errors
    }
}

/// Publishes the key, for 60 seconds.
fn push(shared: &Shared, who: &Principal, call: &Call, input: &Input, request: &str) -> Result<(), Failure> {
    let fail = |exception, message: &str| Err((exception, message.to_owned()));
    let errors = input.errors();
    let (Some(id), Some(user), Some(key), []) = (&input.instance, &input.user, &input.key, &errors[..])
    else {
        let (count, s) = (errors.len(), if errors.len() == 1 { "" } else { "s" });
        return fail(
            Exception::InvalidArgs,
            &format!("{count} validation error{s} detected: {}", errors.join("; ")),
        );
    };
    // Some clients add a newline.
    let key = key.trim_end();
    if let Err(kind) = check_key(key) {
        let message = "Invalid input parameter received for Illegal argument exception";
        return fail(Exception::InvalidArgs, &format!("{message}: {kind}SSH Public key is invalid"));
    }
    let context = [("ec2:osuser", user.clone()), ("aws:SourceIp", call.from.ip().to_string())];
    let action = "ec2-instance-connect:SendSSHPublicKey";
    if let Err(denied) = who.may(action, &instance_arn(id), &context) {
        return Err((Exception::Auth, not_authorized(who, action, &instance_arn(id), denied)));
    }
    if !shared.may_push() {
        return fail(Exception::Throttling, "Rate exceeded");
    }
    let found = shared.cloud.lock().unwrap().instance(id).cloned();
    let in_zone = |zone: &String| input.zone.as_ref().is_none_or(|asked| asked == zone);
    let Some(instance) = found.filter(|instance| in_zone(&instance.zone)) else {
        return fail(Exception::InstanceNotFound, "The specified instance was not found.");
    };
    match instance.state {
        State::Running => {
            let record = RecordSpec::new(id, key).set("Caller", &who.arn).set("Request", request);
            shared.publisher.publish(user, &record);
            Ok(())
        }
        State::Stopped => fail(
            Exception::InstanceStateInvalid,
            "Unable to connect because the instance is not in a valid state. Connecting to a stopped or terminated \
             instance is not supported. If the instance is stopped, start your instance, and try to connect again.",
        ),
        State::Unavailable => fail(
            Exception::InstanceUnavailable,
            "The instance is currently unavailable. Wait a few minutes and try again.",
        ),
        State::Failing => fail(
            Exception::Service,
            "The service encountered an error. Follow the instructions in the error message and try again.",
        ),
    }
}

/// IAM's message for a denial.
pub(crate) fn not_authorized(who: &Principal, action: &str, resource: &str, denied: Denied) -> String {
    let because = match denied {
        Denied::Implicitly => format!("because no identity-based policy allows the {action} action"),
        Denied::Explicitly => "with an explicit deny in an identity-based policy".to_owned(),
    };
    format!("User: {} is not authorized to perform: {action} on resource: {resource} {because}", who.arn)
}
