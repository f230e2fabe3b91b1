//! A fleet's health: the table of `packaging/fleet/table.jq`, the commands of docs/fleet.md, and the monitoring check.
//!
//! `reports` has what `eic-keys --check --json` printed on Debian 11, 12 and 13 when `tests/ansible/run` ran, the second without the right to
//! read the trust store.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};

const HOSTS: [(&str, &str); 3] = [
    ("i-0000000000000000b", "bullseye"),
    ("i-0000000000000000c", "bookworm"),
    ("i-0000000000000000d", "trixie"),
];
const COMMAND: &str = "0123abcd-4567-89ab-cdef-0123456789ab";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn report(release: &str) -> String {
    fs::read_to_string(repository().join(format!("tests/fleet/reports/{release}.json"))).unwrap()
}

/// The row that the table has for a report.
fn row(host: &str, release: &str) -> String {
    let report: Value = serde_json::from_str(&report(release)).unwrap();
    let member = |name: &str| report[name].as_str().unwrap().to_owned();
    [host.to_owned(), member("result"), member("version"), member("summary")].join("\t")
}

/// The three rows, the failed host first.
fn rows() -> String {
    let rows = [HOSTS[1], HOSTS[0], HOSTS[2]].map(|(host, release)| row(host, release));
    assert!(rows[0].contains("\tfailed\t") && rows[1].contains("\tok\t"), "{rows:#?}");
    rows.join("\n") + "\n"
}

/// What a plugin of Systems Manager has printed, as `ListCommandInvocations` returns it.
fn cut_off(report: &str, at: usize) -> String {
    let text: String = report.chars().take(at).collect();
    if text == report { text } else { text + "\n---Output truncated---" }
}

fn invocation(host: &str, status: &str, output: &str) -> Value {
    json!({
        "CommandId": COMMAND, "InstanceId": host, "Comment": "", "DocumentName": "AWS-RunShellScript", "DocumentVersion": "",
        "Status": status, "StatusDetails": status,
        "CommandPlugins": [{
            "Name": "aws:runShellScript", "Status": status, "StatusDetails": status, "ResponseCode": i32::from(status != "Success"),
            "Output": output, "OutputS3BucketName": "", "OutputS3KeyPrefix": "",
        }],
    })
}

/// What `aws ssm list-command-invocations --details` prints.
fn invocations() -> Value {
    let rows = HOSTS.map(|(host, release)| {
        let report = report(release);
        let status = if row(host, release).contains("\tok\t") { "Success" } else { "Failed" };
        let failed = if status == "Failed" {
            "\n----------ERROR-------\nfailed to run commands: exit status 1"
        } else {
            ""
        };
        invocation(host, status, &cut_off(&(report + failed), 2500))
    });
    json!({ "CommandInvocations": rows })
}

/// What `aws ssm get-command-invocation` prints.
fn one_invocation(host: &str, release: &str) -> Value {
    json!({
        "CommandId": COMMAND, "InstanceId": host, "DocumentName": "AWS-RunShellScript", "PluginName": "aws:runShellScript",
        "ResponseCode": 0, "Status": "Success", "StatusDetails": "Success",
        "StandardOutputContent": cut_off(&report(release), 24_000), "StandardErrorContent": "",
    })
}

fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn table(files: &[PathBuf]) -> String {
    let program = repository().join("packaging/fleet/table.jq");
    let jq = Command::new("jq").arg("-rn").arg("-f").arg(program).args(files).output().unwrap();
    assert!(jq.status.success(), "{}", String::from_utf8_lossy(&jq.stderr));
    String::from_utf8(jq.stdout).unwrap()
}

fn table_of(name: &str, documents: &[Value]) -> String {
    let directory = directory(name);
    let files: Vec<_> = (0..documents.len()).map(|at| directory.join(format!("{at}.json"))).collect();
    for (file, document) in files.iter().zip(documents) {
        fs::write(file, document.to_string()).unwrap();
    }
    table(&files)
}

#[test]
fn a_table_of_the_first_2500_characters() {
    let document = invocations();
    for invocation in document["CommandInvocations"].as_array().unwrap() {
        assert!(invocation["CommandPlugins"][0]["Output"].as_str().unwrap().contains("truncated"));
    }
    assert_eq!(table_of("list", &[document]), rows());
}

#[test]
fn a_table_of_several_documents() {
    assert_eq!(table_of("get", &HOSTS.map(|(host, release)| one_invocation(host, release))), rows());
    for (_, release) in HOSTS {
        assert!(report(release).len() < 24_000, "StandardOutputContent has all of it");
    }
}

#[test]
fn a_table_of_files_from_a_bucket() {
    let directory = directory("bucket");
    let files = HOSTS.map(|(host, release)| {
        let file = directory.join(format!("{COMMAND}/{host}/awsrunShellScript/0.awsrunShellScript/stdout"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, report(release)).unwrap();
        file
    });
    assert_eq!(table(&files), rows());
}

#[test]
fn a_table_of_reports_names_the_files() {
    let files = HOSTS.map(|(_, release)| repository().join(format!("tests/fleet/reports/{release}.json")));
    let expected = ["bookworm", "bullseye", "trixie"].map(|release| row(release, release) + "\n");
    assert_eq!(table(&files), expected.concat());
}

#[test]
fn hosts_without_a_report_come_first() {
    let mut undeliverable = invocation("i-00000000000000001", "Undeliverable", "");
    undeliverable["CommandPlugins"] = json!([]);
    let missing = invocation("i-00000000000000002", "Failed", "sh: 1: eic-keys: not found\n");
    let not_run = "{\n  \"schema\": 1,\n  \"version\": \"0.1.0\",\n  \"result\": \"not-run\",\n  \"user\": null,\n  \"summary\": \"a \\\"reason\\\"\",\n  \
                   \"checks\": []\n}\n";
    let not_run = invocation("i-00000000000000003", "Failed", not_run);
    let early = invocation("i-00000000000000004", "Failed", &cut_off(&report("trixie"), 60));
    let document = json!({ "CommandInvocations": [not_run, missing, early, undeliverable] });
    let expected = "i-00000000000000001\tnone\t-\tno report: Undeliverable\n\
                    i-00000000000000002\tnone\t-\tno report: Failed\n\
                    i-00000000000000004\tnone\t-\tno report: Failed\n\
                    i-00000000000000003\tnot-run\t0.1.0\ta \"reason\"\n";
    assert_eq!(table_of("none", &[document]), expected);
}

#[test]
fn the_monitoring_check_maps_the_exit_statuses() {
    let directory = directory("monitoring");
    for (status, mapped) in [(0, 0), (1, 2), (2, 3), (127, 3)] {
        let program = directory.join("eic-keys");
        fs::write(&program, format!("#!/bin/sh\nprintf 'a\\nThe summary of %s.\\n' \"$*\"\nexit {status}\n"))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
        let check = Command::new(repository().join("packaging/fleet/check_eic_keys"))
            .arg("alice")
            .env("PATH", path)
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(mapped), "{status}");
        assert_eq!(String::from_utf8(check.stdout).unwrap(), "The summary of --check alice.\n");
    }
}

/// Answers the calls of AWS CLI, and tells what each asked for.
fn systems_manager() -> (u16, thread::JoinHandle<Vec<(String, Value)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let mut calls = Vec::new();
        for stream in listener.incoming() {
            let Some((operation, request)) = read_call(stream.as_ref().unwrap()) else { return calls };
            let reply = match operation.as_str() {
                "SendCommand" => json!({ "Command": { "CommandId": COMMAND } }),
                "ListCommands" => {
                    let first = !calls.iter().any(|(operation, _)| operation == "ListCommands");
                    json!({ "Commands": [{ "Status": if first { "InProgress" } else { "Success" } }] })
                }
                "ListCommandInvocations" => invocations(),
                "GetCommandInvocation" => one_invocation(HOSTS[2].0, HOSTS[2].1),
                other => panic!("{other}"),
            };
            let reply = reply.to_string();
            write!(
                stream.unwrap(),
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reply}",
                reply.len()
            )
            .unwrap();
            calls.push((operation, request));
        }
        calls
    };
    (port, thread::spawn(serve))
}

/// The operation and its parameters. `None` if the connection was closed without a request: the test has ended.
fn read_call(stream: &TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut operation, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let (name, value) = line.trim_end().split_once(": ").unwrap_or((line.trim_end(), ""));
        match name.to_ascii_lowercase().as_str() {
            "" => break,
            "x-amz-target" => operation = value.strip_prefix("AmazonSSM.").map(str::to_owned),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Some((operation?, serde_json::from_slice(&body).unwrap()))
}

/// The commands of docs/fleet.md that call AWS CLI, run by AWS CLI 2 of `make clients`.
#[test]
fn the_commands_of_the_document_work() {
    let document = fs::read_to_string(repository().join("docs/fleet.md")).unwrap();
    let commands: Vec<&str> = document
        .split("<!-- ssm -->")
        .nth(1)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .collect();
    let directory = directory("aws");
    let client = repository().join("target/clients/bin/aws2");
    assert!(client.exists(), "make clients");
    std::os::unix::fs::symlink(client, directory.join("aws")).unwrap();
    let (port, server) = systems_manager();
    let shell = Command::new("sh")
        .args(["-euc", &commands.join("\n")])
        .current_dir(repository())
        .env("PATH", format!("{}:{}", directory.display(), std::env::var("PATH").unwrap()))
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .envs([
            ("AWS_ACCESS_KEY_ID", "example"),
            ("AWS_SECRET_ACCESS_KEY", "example"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ])
        .envs([("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_PAGER", ""), ("AWS_CONFIG_FILE", "/dev/null")])
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // Ends the server.
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    let calls = server.join().unwrap();
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    let operations: Vec<_> = calls.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(
        operations,
        ["SendCommand", "ListCommands", "ListCommands", "ListCommandInvocations", "GetCommandInvocation"]
    );
    assert_eq!(calls[0].1["MaxErrors"], json!("100%"));
    assert_eq!(calls[0].1["Parameters"]["commands"], json!(["eic-keys --check --json"]));
    // AWS CLI prints only members that it knows, so the documents of this test have their names.
    assert_eq!(String::from_utf8(shell.stdout).unwrap(), rows() + &row(HOSTS[2].0, HOSTS[2].1) + "\n");
}
