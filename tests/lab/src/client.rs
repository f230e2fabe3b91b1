//! AWS's own clients on the disguised machine, from target/clients, where `tests/clients/prepare` installs them.
use crate::instance::Instance;
use crate::run::Run;
use crate::service::Service;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The access key that the clients use by default: the developer's.
pub const DEVELOPER: &str = "AKIAIOSFODNN7EXAMPLE";
/// The temporary access key of the operator, who may log in as bob.
pub const OPERATOR: &str = "ASIAIOSFODNN7EXAMPLE";
/// The access key of a principal with all rights, but only from another address.
pub const ELSEWHERE: &str = "AKIAI44QH8DHBEXAMPLE";

/// Where ssh, which some of the clients start, looks for the user's configuration.
const HOME: &str = "/run/home/root";
const AUTHORITY: &str = "/run/eic-lab/endpoint-authority.pem";
/// The time limit of a client; AWS CLI 2 waits without limit for an endpoint that it cannot reach.
const LIMIT: Duration = Duration::from_secs(60);

/// The environment of a person who uses the clients.
#[derive(Debug)]
pub struct Desk<'a> {
    instance: &'a Instance,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Desk<'a> {
    /// The developer's. An sshd must have been started: its host key is trusted.
    pub fn new(instance: &'a Instance, service: &Service) -> Self {
        Self::of(instance, service, DEVELOPER)
    }

    /// That of a principal with another access key.
    pub fn of(instance: &'a Instance, service: &Service, access_key: &str) -> Self {
        // ssh takes the home directory from the user database, not from the environment.
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let others = passwd.lines().filter(|line| !line.starts_with("root:"));
        let lines = [format!("root:x:0:0::{HOME}:/bin/sh")].into_iter().chain(others.map(str::to_owned));
        instance.write("/etc/passwd", lines.map(|line| line + "\n").collect::<String>());
        let host_key = fs::read_to_string("/etc/ssh/eic_lab_host_key.pub").expect("sshd has been started");
        instance.write(format!("{HOME}/.ssh/known_hosts"), format!("* {host_key}\n"));
        let config = "BatchMode yes\nStrictHostKeyChecking yes\nIdentitiesOnly yes\nIdentityAgent none\n";
        instance.write(format!("{HOME}/.ssh/config"), config);
        instance.write(AUTHORITY, service.authority());
        // The endpoint's name resolves to loopback.
        let names = service.endpoint_names().join(" ");
        instance.write("/etc/hosts", format!("127.0.0.1 localhost {names}\n::1 localhost\n"));
        let own = [("HOME", HOME.to_owned()), ("SSL_CERT_FILE", AUTHORITY.to_owned())];
        let once = ("AWS_MAX_ATTEMPTS", "1".to_owned());
        let environment = service.environment(access_key).into_iter().chain(own).chain([once]).collect();
        Self { instance, environment }
    }

    /// The environment that the clients run in, besides PATH.
    pub fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    /// One of the clients: `aws1`, `aws2`, `mssh`, `python`; or a program of the machine.
    pub fn client<A: AsRef<std::ffi::OsStr>>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Run<'a> {
        let run = self.instance.command(arguments).program(path(name)).as_root().limit(LIMIT);
        self.environment.iter().fold(run, |run, (name, value)| run.env(name, value))
    }

    /// The same, with the arguments as one line.
    pub fn says(&self, line: &str) -> Run<'a> {
        let mut words = line.split_whitespace();
        self.client(words.next().expect("a client"), words)
    }
}

/// The path of a client; a program of the machine keeps its name.
///
/// # Panics
/// If a client has not been prepared.
pub fn path(name: &str) -> PathBuf {
    if !["aws1", "aws2", "mssh", "python"].contains(&name) {
        return name.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let path = target.join("clients/bin").join(name);
    assert!(path.exists(), "there is no {}: run `make clients`", path.display());
    path
}
