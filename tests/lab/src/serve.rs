//! The service for use by hand: everything runs in the disguise but is reached by the machine's own loopback, so that any
//! client on the machine can be configured for it.
use crate::instance::{INSTANCE, Instance, program};
use crate::interrupt;
use crate::service::cloud::{Cloud, ENDPOINT};
use crate::service::door::{self, Door};
use crate::service::{Listeners, Service, policy};
use crate::sshd::{self, Sshd};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Write as _, copy, stdout};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The options.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the files for the clients are written: `environment`, `endpoint-authority.pem`, `known_hosts`, `events.json`.
    pub directory: PathBuf,
    /// A loopback address of the machine.
    pub address: IpAddr,
    /// The APIs are at this port, the CONNECT proxy at the next, the instance's sshd at the one after.
    pub port: u16,
    /// The principals; [`policy::DEFAULT`] if there is no file.
    pub policy: Option<PathBuf>,
}

impl Options {
    /// From a command line: `[--listen ADDRESS] [--port PORT] [--policy FILE] DIRECTORY`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options =
            Self { directory: PathBuf::new(), address: Ipv4Addr::LOCALHOST.into(), port: 4580, policy: None };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
            match *argument {
                "--listen" => options.address = value()?.parse().map_err(|_| "--listen needs an address")?,
                "--port" => {
                    let port: Result<u16, _> = value()?.parse();
                    options.port =
                        port.ok().filter(|p| (1..=65_533).contains(p)).ok_or("--port: 1 to 65533")?;
                }
                "--policy" => options.policy = Some(value()?.into()),
                option if option.starts_with('-') => return Err(format!("there is no option {option}")),
                directory if options.directory.as_os_str().is_empty() => options.directory = directory.into(),
                more => return Err(format!("{more} is one argument too many")),
            }
        }
        if options.directory.as_os_str().is_empty() {
            return Err("say in which directory the files for the clients shall be".to_owned());
        }
        Ok(options)
    }
}

/// Serves until it is interrupted; `begun` is called as soon as there is something to clean up.
///
/// # Errors
/// What is missing or wrong, and what to do.
pub fn run(options: &Options, begun: impl FnOnce(&Instance)) -> Result<bool, String> {
    let binary = program()?;
    sshd::check_tools(&["ip", "ssh", "ssh-keygen", "sshd"])?;
    let mut cloud = Cloud::new();
    if let Some(path) = &options.policy {
        let told = |e: String| format!("{}: {e}", path.display());
        let text = fs::read_to_string(path).map_err(|e| told(e.to_string()))?;
        cloud.principals = policy::read(&text).map_err(told)?;
    }
    let first =
        cloud.principals.first().map(|who| who.access_key.clone()).ok_or("the policy has no principal")?;
    // Outside the disguise, on the machine's loopback. The servers are inside.
    let at = |port| door::listen(SocketAddr::new(options.address, port));
    let listeners = Listeners { api: at(options.port)?, proxy: at(options.port + 1)?, tunnel: at(443).ok() };
    let ssh = at(options.port + 2)?;
    let at_443 = listeners.tunnel.is_some();
    let directory = &options.directory;
    fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let directory = &directory.canonicalize().map_err(|e| format!("{}: {e}", directory.display()))?;
    // Makes it accessible inside the disguise too.
    let handle = File::open(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let files = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));

    let instance = Instance::start_with(&binary);
    begun(&instance);
    if !instance.namespace().has_users() {
        return Err("without root there are no other users to log in as: run this as root".to_owned());
    }
    let _sshd = Sshd::start(&instance);
    let service = Service::start_with(&instance, cloud, listeners);
    let _ssh = Door::open(ssh, |stream, _| forward(stream));

    let here = Here { directory, files: &files, options, service: &service, at_443, access_key: &first };
    here.write_files()?;
    here.tell();
    follow(&instance, &service, &files.join("events.json"))
}

/// Forwards a connection to the instance's sshd.
fn forward(mut visitor: TcpStream) {
    let Ok(mut target) = TcpStream::connect((Ipv4Addr::LOCALHOST, 22)) else { return };
    // A session may be idle for a long time.
    let _ = visitor.set_read_timeout(None);
    let (Ok(mut from_visitor), Ok(mut to_target)) = (visitor.try_clone(), target.try_clone()) else { return };
    let there = std::thread::spawn(move || {
        let _ = copy(&mut from_visitor, &mut to_target);
        let _ = to_target.shutdown(Shutdown::Write);
    });
    let _ = copy(&mut target, &mut visitor);
    let _ = visitor.shutdown(Shutdown::Both);
    let _ = there.join();
}

/// The instructions that are printed.
struct Here<'a> {
    directory: &'a Path,
    /// The same, as it is written to.
    files: &'a Path,
    options: &'a Options,
    service: &'a Service,
    at_443: bool,
    access_key: &'a str,
}

impl Here<'_> {
    fn ssh_port(&self) -> u16 {
        self.options.port + 2
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn write_files(&self) -> Result<(), String> {
        let write = |name: &str, content: &str| {
            fs::write(self.files.join(name), content).map_err(|e| format!("{}: {e}", self.file(name)))
        };
        let host_key = fs::read_to_string("/etc/ssh/eic_lab_host_key.pub").map_err(|e| e.to_string())?;
        write("known_hosts", &format!("* {host_key}\n"))?;
        write("endpoint-authority.pem", self.service.authority())?;
        write("events.json", "")?;
        let mut text = String::new();
        for (name, value) in self.service.environment(self.access_key) {
            let _ = writeln!(text, "export {name}='{value}'");
        }
        let _ = writeln!(text, "export SSL_CERT_FILE='{}'", self.file("endpoint-authority.pem"));
        write("environment", &text)
    }

    fn tell(&self) {
        let (ip, port) = (self.options.address, self.ssh_port());
        let ssh = format!("ssh -o UserKnownHostsFile={}", self.file("known_hosts"));
        println!(
            "EC2 Instance Connect on this machine, without AWS: instance {INSTANCE}, users alice and bob\n"
        );
        println!("  . {}      # for every client: keys, region, endpoint, trust", self.file("environment"));
        println!("\nA key made by hand (AWS CLI 1 or 2), and 60 seconds to log in with it:\n");
        println!("  ssh-keygen -t ed25519 -N '' -f key");
        println!(
            "  aws ec2-instance-connect send-ssh-public-key --instance-id {INSTANCE} --instance-os-user alice \\"
        );
        println!("      --ssh-public-key file://key.pub");
        println!("  {ssh} -i key -p {port} alice@{ip}");
        println!("\nmssh:\n");
        println!("  mssh -r us-east-1 -z us-east-1a -t {INSTANCE} -p {port} alice@{ip}");
        println!("\nAWS CLI 2, directly:\n");
        println!("  aws ec2-instance-connect ssh --instance-id {INSTANCE} --os-user alice \\");
        println!("      --connection-type direct --instance-ip {ip} --ssh-port {port}");
        println!(
            "\nAWS CLI 2, through an EC2 Instance Connect Endpoint; `timeout`, for it never returns when TLS fails:\n"
        );
        println!("  HTTPS_PROXY={} timeout 60 aws ec2-instance-connect ssh \\", self.service.proxy_url());
        println!("      --instance-id {INSTANCE} --os-user alice --connection-type eice");
        if self.at_443 {
            println!("\nThe same at {ip}:443, without the proxy:\n");
            println!("  timeout 60 aws ec2-instance-connect ssh --instance-id {INSTANCE} --os-user alice \\");
            println!("      --connection-type eice --eice-options endpointId={ENDPOINT},dnsName=localhost");
        } else {
            println!("\n{ip}:443 is taken or forbidden here, so the endpoint is behind the proxy only.");
        }
        println!(
            "\nIt listens on {ip} and in its own namespaces, nowhere else. Calls are written to {};",
            self.file("events.json")
        );
        println!("they and the instance's log follow here, up to Ctrl-C.\n");
        let _ = stdout().flush();
    }
}

/// Prints each call and each log line when it occurs. Does not return.
fn follow(instance: &Instance, service: &Service, file: &Path) -> ! {
    let (mut calls, mut lines) = (0, 0);
    loop {
        interrupt::check();
        let (events, logged) = (service.events(), instance.journal.eic_keys());
        for event in events.iter().skip(calls) {
            println!("{}", told(event));
            let appended = fs::OpenOptions::new().append(true).open(file);
            let _ = appended.and_then(|mut file| writeln!(file, "{event}"));
        }
        for line in logged.iter().skip(lines) {
            println!("log    {}: {}", line.severity_name(), line.message());
        }
        (calls, lines) = (events.len(), logged.len());
        let _ = stdout().flush();
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// An event as one line.
fn told(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parameters = &event["requestParameters"];
    let about: Vec<String> =
        ["instanceId", "osUser", "instanceConnectEndpointId", "privateIpAddress", "remotePort"]
            .iter()
            .filter_map(|name| parameters[name].as_str().map(str::to_owned))
            .collect();
    let error = event["errorCode"].as_str().map_or_else(|| "ok".to_owned(), str::to_owned);
    format!(
        "call   {} {}: {error}, request-id: {}, by {}",
        text(&event["eventName"]),
        about.join(" "),
        text(&event["requestID"]),
        text(&event["userIdentity"]["arn"])
    )
}
