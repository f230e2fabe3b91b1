//! The service's APIs: a wrong call gets AWS's error and publishes nothing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use eic_lab::client::{DEVELOPER, ELSEWHERE, OPERATOR};
use eic_lab::instance::INSTANCE;
use eic_lab::service::call::{Call, MAX_BODY};
use eic_lab::service::cloud::{FAILING, STOPPED, UNAVAILABLE};
use eic_lab::service::sigv4::{SKEW, sign};
use eic_lab::{DAY, Instance, Service, UserKey, now};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

mod client;
use client::client;

const SCOPE: (&str, &str) = ("us-east-1", "ec2-instance-connect");
const EC2: (&str, &str) = ("us-east-1", "ec2");

fn world(test: impl FnOnce(&Instance, &Service)) {
    let instance = Instance::start_without_program();
    let service = Service::start(&instance);
    test(&instance, &service);
}

/// The body of a correct request.
fn good() -> Value {
    json!({ "InstanceId": INSTANCE, "InstanceOSUser": "alice", "SSHPublicKey": UserKey::rsa(2048).line() })
}

/// A call of `SendSSHPublicKey`, unsigned.
fn call(service: &Service, body: impl Into<Vec<u8>>) -> Call {
    let headers = [
        ("Host", service.address().to_string()),
        ("X-Amz-Target", "AWSEC2InstanceConnectService.SendSSHPublicKey".to_owned()),
        ("Content-Type", "application/x-amz-json-1.1".to_owned()),
    ];
    Call {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        query: String::new(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        body: body.into(),
        from: ([127, 0, 0, 1], 0).into(),
    }
}

fn set(call: &mut Call, name: &str, value: &str) {
    call.headers.retain(|(key, _)| key != name);
    call.headers.push((name.to_owned(), value.to_owned()));
}

/// Sends these bytes, also broken requests, and reads the status and the body of the reply.
fn exchange(service: &Service, bytes: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(service.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let status = reply.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (status, reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Sends a call, and reads the status and the body of the reply.
fn send(service: &Service, call: &Call) -> (u16, String) {
    let method = Method::from_bytes(call.method.as_bytes()).unwrap();
    let request = client().request(method, format!("http://{}{}", service.address(), call.path));
    let request = call.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let reply = request.body(call.body.clone()).send().unwrap();
    (reply.status().as_u16(), reply.text().unwrap())
}

/// Signs as the developer, now, and sends.
fn send_signed(service: &Service, mut call: Call) -> (u16, String) {
    sign(&mut call, &service.principal(DEVELOPER), SCOPE, now());
    send(service, &call)
}

#[track_caller]
fn assert_error((status, body): &(u16, String), expected: (u16, &str, &str), what: &str) {
    let error: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{what}: {e}: {body:?}"));
    let (kind, message) = (error["__type"].as_str().unwrap(), error["message"].as_str().unwrap());
    let name = kind.split_once('#').map(|(_, name)| name);
    assert_eq!((*status, name), (expected.0, Some(expected.1)), "{what}: {body}");
    assert!(message.contains(expected.2), "{what}: {message}");
}

/// Checks that no key was published.
fn assert_nothing(instance: &Instance) {
    assert_eq!(instance.imds.published("alice"), b"");
}

#[test]
fn a_good_call_publishes_the_key() {
    world(|instance, service| {
        let (status, body) = send_signed(service, call(service, good().to_string()));
        let reply: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &reply["Success"]), (200, &true.into()), "{body}");
        let record = String::from_utf8(instance.imds.published("alice")).unwrap();
        let request = reply["RequestId"].as_str().unwrap();
        assert!(record.contains(&format!("#Request={request}\n")), "{record}");
        assert!(record.contains("#Caller=arn:aws:iam::123412341234:user/developer\n"), "{record}");
        assert!(record.contains(&format!("\n{}\n", UserKey::rsa(2048).line())), "{record}");
        let event = &service.events()[0];
        assert_eq!(
            (&event["requestID"], &event["eventSource"]),
            (&request.into(), &"ec2-instance-connect.amazonaws.com".into())
        );
        assert_eq!(event["userIdentity"]["type"], "IAMUser");
        assert_eq!((&event["sourceIPAddress"], &event["errorCode"]), (&"127.0.0.1".into(), &Value::Null));
    });
}

#[test]
fn a_role_is_an_assumed_role_in_the_event() {
    world(|_, service| {
        let mut input = good();
        input["InstanceOSUser"] = "bob".into();
        let mut pushed = call(service, input.to_string());
        sign(&mut pushed, &service.principal(OPERATOR), SCOPE, now());
        assert_eq!(send(service, &pushed).0, 200);
        let identity = &service.events()[0]["userIdentity"];
        assert_eq!(
            (&identity["type"], &identity["arn"]),
            (&"AssumedRole".into(), &"arn:aws:sts::123412341234:assumed-role/operators/bob".into())
        );
        assert_eq!(identity["sessionContext"]["sessionIssuer"]["userName"], "operators");
    });
}

#[test]
fn a_wrong_signature_is_refused() {
    world(|instance, service| {
        let developer = service.principal(DEVELOPER);
        let signed = |scope, at| {
            let mut call = call(service, good().to_string());
            sign(&mut call, &developer, scope, at);
            call
        };
        let changed = |change: &dyn Fn(&mut Call)| {
            let mut call = signed(SCOPE, now());
            change(&mut call);
            call
        };
        let stranger = |change: &dyn Fn(&mut eic_lab::service::policy::Principal), key| {
            let (mut who, mut call) = (service.principal(key), call(service, good().to_string()));
            change(&mut who);
            sign(&mut call, &who, SCOPE, now());
            call
        };
        let (invalid, unknown) = ("InvalidSignatureException", "UnrecognizedClientException");
        let incomplete = "IncompleteSignatureException";
        for (what, call, name, message) in [
            ("unsigned", call(service, good().to_string()), "MissingAuthenticationTokenException", "Missing"),
            ("old", signed(SCOPE, now() - SKEW - 2), invalid, "Signature expired"),
            ("of tomorrow", signed(SCOPE, now() + DAY), invalid, "Signature not yet current"),
            ("elsewhere", signed(("eu-west-1", SCOPE.1), now()), invalid, "valid region, not 'eu-west-1'"),
            ("another service", signed(("us-east-1", "ec2"), now()), invalid, "correct service"),
            ("wrong secret", stranger(&|who| who.secret.push('x'), DEVELOPER), invalid, "does not match"),
            ("unknown key", stranger(&|who| who.access_key.push('X'), DEVELOPER), unknown, "is invalid"),
            ("without its token", stranger(&|who| who.token = None, OPERATOR), unknown, "is invalid"),
            ("wrong token", stranger(&|who| who.token = Some("x".into()), OPERATOR), unknown, "is invalid"),
            ("another body", changed(&|call| call.body.push(b' ')), invalid, "does not match"),
            ("another host", changed(&|call| set(call, "Host", "example.com")), invalid, "does not match"),
            (
                "no date",
                changed(&|call| call.headers.retain(|(name, _)| name != "X-Amz-Date")),
                incomplete,
                "X-Amz-Date",
            ),
            ("a wrong date", changed(&|call| set(call, "X-Amz-Date", "yesterday")), incomplete, "X-Amz-Date"),
            (
                "another algorithm",
                changed(&|call| set(call, "Authorization", "Basic eA==")),
                incomplete,
                "algorithm",
            ),
        ] {
            assert_error(&send(service, &call), (400, name, message), what);
        }
        assert_nothing(instance);
        assert_eq!(service.events(), Vec::<Value>::new());
    });
}

#[test]
fn unknown_calls_are_refused() {
    world(|instance, service| {
        for (what, body) in [
            ("not JSON", "InstanceId=i-0123456789abcdef0"),
            ("cut off", "{\"InstanceId\": \"i-01"),
            ("a list", "[]"),
            ("a number for a text", "{\"InstanceId\": 5}"),
            ("nothing", ""),
        ] {
            assert_error(
                &send_signed(service, call(service, body)),
                (400, "SerializationException", ""),
                what,
            );
        }
        for target in ["AWSEC2InstanceConnectService.SendSerialConsoleSSHPublicKey", "Other.SendSSHPublicKey"]
        {
            let mut call = call(service, good().to_string());
            set(&mut call, "X-Amz-Target", target);
            assert_error(&send_signed(service, call), (400, "UnknownOperationException", ""), target);
        }
        let mut get = call(service, "");
        get.method = "GET".to_owned();
        assert_eq!(send_signed(service, get).0, 404);
        assert_nothing(instance);
    });
}

#[test]
fn broken_requests_are_refused() {
    world(|instance, service| {
        let long = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1);
        let too_large =
            (413, "RequestEntityTooLargeException", "HTTP content length exceeded 1049600 bytes.");
        assert_error(&exchange(service, long.as_bytes()), too_large, "announced");
        let sent = [long.as_bytes(), &vec![b'x'; MAX_BODY + 1]].concat();
        assert_error(&exchange(service, &sent), too_large, "and sent");
        for (what, head) in [
            ("no length", "Content-Length: many"),
            ("a negative one", "Content-Length: -1"),
            ("chunks", "Transfer-Encoding: chunked"),
        ] {
            let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n");
            assert_error(&exchange(service, request.as_bytes()), (400, "SerializationException", ""), what);
        }
        // A missing body, and an endless head: the connection is closed.
        for cut in ["POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123", "POST / HT", "\r\n\r\n"] {
            let mut stream = TcpStream::connect(service.address()).unwrap();
            stream.write_all(cut.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 400"), "{cut:?}: {reply}");
        }
        let mut stream = TcpStream::connect(service.address()).unwrap();
        let endless = [b"POST / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 100_000]].concat();
        // It may be closed before all of it has been sent.
        let ended = stream.write_all(&endless).and_then(|()| stream.read(&mut [0]));
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        assert_nothing(instance);
    });
}

#[test]
fn patterns_and_lengths_of_members_are_checked() {
    world(|instance, service| {
        let long_key = format!("{} {}", UserKey::ed25519().line(), "x".repeat(4096));
        let ecdsa = UserKey::generate("ecdsa", 256);
        let two_lines = format!("{0}\n{0}", UserKey::ed25519().line());
        let pattern = "Member must satisfy regular expression pattern";
        for (member, value, message) in [
            (
                "InstanceId",
                Value::Null,
                "Value null at 'instanceId' failed to satisfy constraint: Member must not be null",
            ),
            ("InstanceId", "i-1".into(), "length greater than or equal to 10"),
            ("InstanceId", "i-0123456789abcdef0123456789abcdef0".into(), "length less than or equal to 32"),
            ("InstanceId", "mi-048afb7f6460a110d".into(), pattern),
            ("InstanceOSUser", "".into(), "2 validation errors detected: "),
            ("InstanceOSUser", "../alice".into(), pattern),
            ("InstanceOSUser", "alice\n".into(), pattern),
            ("InstanceOSUser", "a".repeat(33).into(), "length less than or equal to 32"),
            ("SSHPublicKey", Value::Null, "'sSHPublicKey'"),
            ("SSHPublicKey", "ssh-ed25519 AAAA".into(), "length greater than or equal to 80"),
            ("SSHPublicKey", long_key.into(), "length less than or equal to 4096"),
            ("SSHPublicKey", ecdsa.line().into(), "SSH Public key is invalid"),
            ("SSHPublicKey", UserKey::rsa(3072).line().into(), "RSA - SSH Public key is invalid"),
            ("SSHPublicKey", UserKey::rsa(1024).line().into(), "RSA - SSH Public key is invalid"),
            ("SSHPublicKey", two_lines.into(), "ED25519 - SSH Public key is invalid"),
            ("AvailabilityZone", "us-1a".into(), "length greater than or equal to 6"),
            ("AvailabilityZone", "us_east_1a".into(), pattern),
        ] {
            let mut input = good();
            input[member] = value.clone();
            let answer = send_signed(service, call(service, input.to_string()));
            assert_error(&answer, (400, "InvalidArgsException", message), &format!("{member} {value}"));
        }
        assert_nothing(instance);
        assert!(service.events().iter().all(|event| event["errorCode"] == "InvalidArgsException"));
    });
}

#[test]
fn every_exception_of_the_model_is_returned() {
    world(|instance, service| {
        for (member, value, status, name) in [
            ("InstanceId", "i-0fedcba9876543210", 400, "EC2InstanceNotFoundException"),
            ("AvailabilityZone", "us-east-1b", 400, "EC2InstanceNotFoundException"),
            ("InstanceId", STOPPED, 400, "EC2InstanceStateInvalidException"),
            ("InstanceId", UNAVAILABLE, 400, "EC2InstanceUnavailableException"),
            ("InstanceId", FAILING, 500, "ServiceException"),
        ] {
            let mut input = good();
            input[member] = value.into();
            let answer = send_signed(service, call(service, input.to_string()));
            assert_error(&answer, (status, name, ""), &format!("{member} {value}"));
            assert_eq!(service.events().last().unwrap()["errorCode"], name);
        }
        for who in [ELSEWHERE, OPERATOR] {
            let mut refused = call(service, good().to_string());
            sign(&mut refused, &service.principal(who), SCOPE, now());
            assert_error(&send(service, &refused), (400, "AuthException", "is not authorized"), who);
        }
        assert_nothing(instance);
        service.change(|cloud| cloud.pushes_per_second = 0);
        let answer = send_signed(service, call(service, good().to_string()));
        assert_error(&answer, (400, "ThrottlingException", "Rate exceeded"), "too many");
        assert_nothing(instance);
        service.change(|cloud| cloud.pushes_per_second = 20);
        assert_eq!(send_signed(service, call(service, good().to_string())).0, 200);
    });
}

#[test]
fn the_ec2_api_replies_in_xml() {
    world(|_, service| {
        let describe = |body: &str, scope, at, change: &dyn Fn(&mut Call)| {
            let mut asked = call(service, body);
            asked.headers.retain(|(name, _)| name == "Host");
            set(&mut asked, "Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
            sign(&mut asked, &service.principal(DEVELOPER), scope, at);
            change(&mut asked);
            send(service, &asked)
        };
        let instances = format!("Action=DescribeInstances&Version=2016-11-15&InstanceId.1={INSTANCE}");
        let (status, body) = describe(&instances, EC2, now(), &|_| ());
        assert_eq!(status, 200);
        assert!(body.contains("<privateIpAddress>127.0.0.1</privateIpAddress>"), "{body}");
        let as_it_is: &dyn Fn(&mut Call) = &|_| ();
        let unsigned: &dyn Fn(&mut Call) = &|call| call.headers.retain(|(name, _)| name != "Authorization");
        let forged: &dyn Fn(&mut Call) = &|call| call.body.push(b'0');
        let other = "Action=RunInstances&Version=2016-11-15";
        let unknown = "Action=DescribeInstances&InstanceId.1=i-0fedcba9876543210";
        for (body, scope, at, change, expected) in [
            (instances.as_str(), EC2, now(), unsigned, (403, "MissingAuthenticationToken")),
            (&instances, EC2, now(), forged, (401, "AuthFailure")),
            (&instances, EC2, now() - SKEW - 2, as_it_is, (400, "RequestExpired")),
            (&instances, ("eu-west-1", "ec2"), now(), as_it_is, (400, "AuthFailure")),
            (other, EC2, now(), as_it_is, (400, "InvalidAction")),
            (unknown, EC2, now(), as_it_is, (400, "InvalidInstanceID.NotFound")),
        ] {
            let (status, reply) = describe(body, scope, at, change);
            assert_eq!(status, expected.0, "{reply}");
            assert!(reply.contains(&format!("<Code>{}</Code>", expected.1)), "{reply}");
        }
        let mut denied = call(service, instances);
        denied.headers.retain(|(name, _)| name == "Host");
        set(&mut denied, "Content-Type", "application/x-www-form-urlencoded");
        sign(&mut denied, &service.principal(ELSEWHERE), EC2, now());
        let (status, reply) = send(service, &denied);
        assert!(status == 403 && reply.contains("<Code>UnauthorizedOperation</Code>"), "{reply}");
    });
}
