//! The key pairs of users, made by the real `ssh-keygen`.
use openssl::base64::{decode_block, encode_block};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::key::{Hash, Key};

/// A key pair.
#[derive(Clone, Debug)]
pub struct UserKey {
    line: String,
    fingerprint: String,
    private: String,
}

impl UserKey {
    /// A fresh Ed25519 key.
    pub fn ed25519() -> Self {
        Self::generate("ed25519", 256)
    }

    /// A fresh key of a type and size that `ssh-keygen -t -b` knows.
    pub fn generate(kind: &str, bits: u32) -> Self {
        // ssh-keygen writes two files; their directory is removed at the end of this function.
        let directory = Scratch::new();
        let file = directory.0.join("key");
        keygen(&[
            "-q",
            "-t",
            kind,
            "-b",
            &bits.to_string(),
            "-N",
            "",
            "-C",
            "",
            "-f",
            file.to_str().unwrap(),
        ]);
        let private = fs::read_to_string(&file).unwrap();
        let line = fs::read_to_string(directory.0.join("key.pub")).unwrap();
        Self::new(&line, private)
    }

    /// An RSA key of 1024, 2048, 3072 or 4096 bits: one of the laboratory's, so that no time is needed to make it.
    pub fn rsa(bits: u32) -> Self {
        let pem = if bits == 2048 { Key::rsa2048(5) } else { Key::rsa(bits) }.to_pem();
        let directory = Scratch::new();
        let file = directory.0.join("key");
        write_private(&file, &pem);
        let line = keygen(&["-y", "-f", file.to_str().unwrap()]);
        Self::new(&line, pem)
    }

    /// Keys of a type, as in a key line: one of each usual size.
    ///
    /// # Panics
    /// If the laboratory has no key of this type.
    pub fn of_type(name: &str) -> Vec<Self> {
        match name {
            "ssh-rsa" => [2048, 3072, 4096].map(Self::rsa).into(),
            "ssh-ed25519" => vec![Self::ed25519()],
            "ecdsa-sha2-nistp256" => vec![Self::generate("ecdsa", 256)],
            "ecdsa-sha2-nistp384" => vec![Self::generate("ecdsa", 384)],
            "ecdsa-sha2-nistp521" => vec![Self::generate("ecdsa", 521)],
            "sk-ssh-ed25519@openssh.com" => vec![Self::sk_ed25519()],
            "sk-ecdsa-sha2-nistp256@openssh.com" => vec![Self::sk_ecdsa()],
            _ => panic!("the laboratory has no key of the type {name}"),
        }
    }

    /// A public key line of a security key (`sk-ssh-ed25519@openssh.com`), which exists without its token.
    pub fn sk_ed25519() -> Self {
        Self::security_key("sk-ssh-ed25519@openssh.com", &[&[0x42; 32]])
    }

    /// A public key line of a security key (`sk-ecdsa-sha2-nistp256@openssh.com`): the curve's base point.
    pub fn sk_ecdsa() -> Self {
        let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
        let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
        let mut context = openssl::bn::BigNumContext::new().unwrap();
        let point = group.generator_opt().unwrap().to_bytes(&group, form, &mut context).unwrap();
        Self::security_key("sk-ecdsa-sha2-nistp256@openssh.com", &[b"nistp256", &point])
    }

    fn security_key(kind: &str, parts: &[&[u8]]) -> Self {
        let parts = [&[kind.as_bytes()], parts, &[b"ssh:"]].concat();
        let blob: Vec<u8> =
            parts.iter().flat_map(|p| [&(p.len() as u32).to_be_bytes(), *p].concat()).collect();
        Self::new(&format!("{kind} {}", encode_block(&blob)), String::new())
    }

    fn new(line: &str, private: String) -> Self {
        let line = line.trim_end().to_owned();
        let blob = decode_block(line.split(' ').nth(1).expect("type and blob")).expect("base64");
        let hash = encode_block(&Hash::Sha256.of(&blob));
        let fingerprint = format!("SHA256:{}", hash.trim_end_matches('='));
        Self { line, fingerprint, private }
    }

    /// The public key: type and base64, no comment, no newline.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The base64 of the public key.
    pub fn blob(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// `SHA256:` and 43 characters, as sshd writes it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The private key as `ssh -i` reads it; empty for a security key.
    pub fn private(&self) -> &str {
        &self.private
    }
}

fn keygen(arguments: &[&str]) -> String {
    let output = Command::new("ssh-keygen")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("cannot run `ssh-keygen`, of the package openssh-client: {e}"));
    assert!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Writes a private key so that `ssh` accepts it.
pub(crate) fn write_private(path: &std::path::Path, key: &str) {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, key.as_bytes()).unwrap();
}

/// A temporary directory.
struct Scratch(PathBuf);

impl Scratch {
    /// Inside the disguise if there is one, so that nothing is left behind.
    fn place() -> PathBuf {
        let own = PathBuf::from("/run/eic-lab");
        if own.is_dir() { own } else { std::env::temp_dir() }
    }

    fn new() -> Self {
        loop {
            let mut random = [0; 8];
            openssl::rand::rand_bytes(&mut random).unwrap();
            let path = Self::place().join(format!("eic-lab-{:016x}", u64::from_be_bytes(random)));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Self(path),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => (),
                Err(e) => panic!("{}: {e}", path.display()),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
