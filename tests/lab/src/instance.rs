//! The state that a test starts with, correct in every respect, and the methods to change it.
use crate::cert::Cert;
use crate::imds::{Endpoint, Imds};
use crate::journal::{Journal, Logger};
use crate::key::Hash;
use crate::namespace::Namespace;
use crate::pki::{self, Pki};
use crate::record::RecordSpec;
use crate::run::{Outcome, PROGRAM, Run};
use crate::userkey::UserKey;
use openssl::base64::encode_block;
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The service's address in IPv4.
pub const IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The service's address in IPv6, fd00:ec2::254.
pub const IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// The default instance id.
pub const INSTANCE: &str = "i-0123456789abcdef0";

/// Where the systems keep their trust stores; the default is Debian's.
pub const TRUST_STORES: [(&str, &str); 6] = [
    ("Debian, Ubuntu", "/etc/ssl/certs/ca-certificates.crt"),
    ("RHEL, Amazon Linux", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    ("RHEL, Amazon Linux (compatibility)", "/etc/pki/tls/certs/ca-bundle.crt"),
    ("SUSE (compatibility)", "/etc/ssl/ca-bundle.pem"),
    ("SUSE", "/var/lib/ca-certificates/ca-bundle.pem"),
    ("Alpine", "/etc/ssl/cert.pem"),
];

/// Where systems keep one file for each certificate.
pub const TRUST_STORE_DIRECTORY: &str = "/etc/ssl/certs";

/// The two files that identify an EC2 instance.
const ASSET_TAG: &str = "/sys/devices/virtual/dmi/id/board_asset_tag";
const HYPERVISOR: &str = "/sys/hypervisor/uuid";

/// The kind of machine that the two files describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// A Nitro instance: the asset tag is the instance's id.
    Nitro,
    /// A Xen instance: the hypervisor's id begins with `ec2`.
    Xen,
    /// Not an EC2 instance.
    Other,
}

/// This machine, disguised as an EC2 instance for the calling thread and what it starts.
#[derive(Debug)]
pub struct Instance {
    /// The metadata service.
    pub imds: Imds,
    /// The collected system log.
    pub journal: Journal,
    pki: Arc<Mutex<Pki>>,
    namespace: Namespace,
}

impl Instance {
    /// Starts a Nitro instance in us-east-1 whose metadata service answers in IPv4 and whose trust
    /// store has the laboratory's anchor and the machine's own, with users alice and bob and the program installed.
    ///
    /// # Panics
    /// If the program has not been built, or the right to make namespaces is missing.
    pub fn start() -> Self {
        let program = program().unwrap_or_else(|e| panic!("{e}"));
        Self::start_with(&program)
    }

    /// The same with another program in its place.
    pub fn start_with(program: &Path) -> Self {
        let program = fs::read(program).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let instance = Self::start_without_program();
        instance.install(PROGRAM, &program);
        instance
    }

    /// The same without the program.
    pub fn start_without_program() -> Self {
        let namespace = Namespace::enter();
        let journal = Journal::start(&namespace);
        let instance =
            Self { imds: Imds::new(), journal, pki: Arc::new(Mutex::new(Pki::healthy())), namespace };
        instance.machine(Machine::Nitro);
        instance.imds.set("instance-id", INSTANCE);
        instance.imds.set("placement/region", pki::REGION);
        instance.imds.set("placement/availability-zone", format!("{}a", pki::REGION));
        instance.imds.set("services/domain", pki::DOMAIN);
        instance.adopt(instance.pki());
        instance.endpoint(IPV4.into(), Endpoint::Serving);
        instance
    }

    /// The hierarchy that is served and trusted.
    pub fn pki(&self) -> Pki {
        self.pki.lock().unwrap().clone()
    }

    /// Serves and trusts another hierarchy with its OCSP responses; its signer signs what is pushed from now on.
    pub fn adopt(&self, pki: Pki) {
        self.serve_chain(pki.chain());
        self.serve_ocsp_responses(pki.ocsp_responses(Hash::Sha1));
        self.trust([&pki.root]);
        *self.pki.lock().unwrap() = pki;
    }

    /// Serves other certificates as `signer-cert`.
    pub fn serve_chain<'a>(&self, certs: impl IntoIterator<Item = &'a Cert>) {
        self.imds.set("managed-ssh-keys/signer-cert", pki::bundle(certs).trim_end());
    }

    /// Serves these OCSP responses, names and DER, and no others.
    pub fn serve_ocsp_responses(&self, ocsp_responses: impl IntoIterator<Item = (String, Vec<u8>)>) {
        self.imds.remove("managed-ssh-keys/signer-ocsp");
        for (name, der) in ocsp_responses {
            self.imds.set(&format!("managed-ssh-keys/signer-ocsp/{name}"), encode_block(&der));
        }
    }

    /// Serves another OCSP response for a certificate, beside the others.
    pub fn serve_ocsp_response(&self, cert: &Cert, der: &[u8]) {
        self.imds.set(&ocsp_path(cert), encode_block(der));
    }

    /// Removes a certificate's OCSP response.
    pub fn remove_ocsp_response(&self, cert: &Cert) {
        self.imds.remove(&ocsp_path(cert));
    }

    /// Makes the system's trust store contain these anchors and the machine's own.
    pub fn trust<'a>(&self, anchors: impl IntoIterator<Item = &'a Cert>) {
        let own = machine_anchors();
        self.trust_store(TRUST_STORES[0].1, [own, pki::bundle(anchors).into_bytes()].concat());
    }

    /// Makes this file, one of [`TRUST_STORES`], the only one of them, with this content.
    pub fn trust_store(&self, path: &str, content: impl AsRef<[u8]>) {
        self.remove_bundles();
        if path.starts_with("/var/lib") {
            self.namespace.cover("/var/lib");
        }
        self.namespace.write(path, content);
    }

    /// Removes all trust stores.
    pub fn remove_trust_stores(&self) {
        self.remove_bundles();
        self.namespace.assert_here();
        match fs::remove_dir_all(TRUST_STORE_DIRECTORY) {
            Err(e) if e.kind() != ErrorKind::NotFound => panic!("{TRUST_STORE_DIRECTORY}: {e}"),
            _ => (),
        }
    }

    fn remove_bundles(&self) {
        for (_, path) in TRUST_STORES {
            if Path::new(path).symlink_metadata().is_ok() {
                if path.starts_with("/var/lib") {
                    self.namespace.cover("/var/lib");
                }
                self.namespace.remove(path);
            }
        }
    }

    /// A record for this key, pushed now, as the service would write it. The caller can change and publish it.
    pub fn record(&self, key: &UserKey) -> RecordSpec {
        RecordSpec::new(INSTANCE, key.line())
    }

    /// Signs a record with the signer's key and publishes it for a user.
    pub fn publish(&self, user: &str, record: &RecordSpec) {
        self.publisher().publish(user, record);
    }

    /// Pushes a key for a user, as SendSSHPublicKey does: valid for 60 seconds.
    pub fn push(&self, user: &str, key: &UserKey) {
        self.publish(user, &self.record(key));
    }

    /// Pushes a key for an hour, longer than the longest test takes on a slow machine.
    pub fn push_for_an_hour(&self, user: &str, key: &UserKey) {
        let record = self.record(key).expires_in(3600).signed_by(&self.pki().signer.key);
        self.imds.publish_for(user, record, Duration::from_secs(3600));
    }

    /// Pushes keys like this type, from any thread.
    pub(crate) fn publisher(&self) -> Publisher {
        Publisher { imds: self.imds.clone(), pki: Arc::clone(&self.pki) }
    }

    /// Changes the kind of machine.
    pub fn machine(&self, machine: Machine) {
        self.remove(ASSET_TAG);
        self.remove(HYPERVISOR);
        match machine {
            Machine::Nitro => self.write(ASSET_TAG, format!("{INSTANCE}\n")),
            Machine::Xen => self.write(HYPERVISOR, "ec2e1916-9099-7caf-fd21-012345abcdef\n"),
            Machine::Other => self.write(ASSET_TAG, "Not Specified\n"),
        }
    }

    /// Changes what a client finds at one of the service's addresses, [`IPV4`] or [`IPV6`].
    pub fn endpoint(&self, address: IpAddr, endpoint: Endpoint) {
        assert!(address == IPV4 || address == IPV6, "{address} is no address of the metadata service");
        let (prefix, option) = if address.is_ipv4() { (32, "") } else { (128, " nodad") };
        if endpoint == Endpoint::Absent {
            self.imds.listen(&self.namespace, address, endpoint);
            self.namespace.ip(&format!("address flush to {address}/{prefix}\n"));
        } else {
            self.namespace.ip(&format!("address replace {address}/{prefix} dev lo{option}\n"));
            self.namespace.await_address(address);
            self.imds.listen(&self.namespace, address, endpoint);
        }
    }

    /// Changes what is at /dev/log.
    pub fn logger(&self, logger: Logger) {
        self.journal.set(&self.namespace, logger);
    }

    /// Writes a file of the disguised machine: below /etc, /usr, /run, /sys or /dev.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        self.namespace.write(path, content);
    }

    /// Removes a file of the disguised machine.
    pub fn remove(&self, path: impl AsRef<Path>) {
        self.namespace.remove(path);
    }

    /// Installs a program on the disguised machine, as 0755 of root.
    pub fn install(&self, path: &str, content: &[u8]) {
        self.namespace.write(path, "");
        // A child writes it: a child of another test could inherit a descriptor of ours, and a program
        // that a process has open for writing cannot be run ("Text file busy").
        let mut child = Command::new("/bin/sh")
            .args(["-c", r#"cat >"$0" && chmod 0755 "$0""#, path])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        child.stdin.take().unwrap().write_all(content).unwrap();
        assert!(child.wait().unwrap().success(), "{path} could not be written");
    }

    /// Runs eic-keys as sshd would.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        self.command(arguments).run()
    }

    /// A run of eic-keys, not yet started.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run<'_> {
        Run::new(&self.namespace, arguments)
    }

    /// The disguise, for what this type has no method for.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

/// Signs records with the current signer's key, and publishes them.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    imds: Imds,
    pki: Arc<Mutex<Pki>>,
}

impl Publisher {
    pub(crate) fn publish(&self, user: &str, record: &RecordSpec) {
        let signer = self.pki.lock().unwrap().signer.key.clone();
        self.imds.publish(user, record.signed_by(&signer));
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.imds.close();
    }
}

/// Where the metadata service has a certificate's OCSP response, by its SHA-1 name.
pub fn ocsp_path(cert: &Cert) -> String {
    format!("managed-ssh-keys/signer-ocsp/{}", cert.fingerprint(Hash::Sha1))
}

/// The anchors of the machine that the laboratory runs on, read once, before any disguise.
fn machine_anchors() -> Vec<u8> {
    static ANCHORS: Mutex<Option<Vec<u8>>> = Mutex::new(None);
    let read = || TRUST_STORES.iter().find_map(|(_, path)| fs::read(path).ok()).unwrap_or_default();
    ANCHORS.lock().unwrap().get_or_insert_with(read).clone()
}

/// The built program: `EIC_KEYS_BIN`, or else the last result of `make build`.
///
/// # Errors
/// If there is none; the text states what to do.
pub fn program() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("EIC_KEYS_BIN") {
        return Ok(path.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let built = |libc| {
        let path = target.join(format!("{}-unknown-linux-{libc}/release/eic-keys", std::env::consts::ARCH));
        Some((path.metadata().ok()?.modified().ok()?, path))
    };
    ["musl", "gnu"].into_iter().filter_map(built).max().map(|(_, path)| path).ok_or_else(|| {
        format!("there is no eic-keys below {}: run `make build`, or set EIC_KEYS_BIN", target.display())
    })
}
