//! Every question that `--check` answers. A report has them all, in this order.

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its id, `group.name`, which stays the same from version to version.
    pub id: &'static str,
    /// What is looked at.
    pub asks: &'static str,
}

const fn question(id: &'static str, asks: &'static str) -> Question {
    Question { id, asks }
}

/// All of them.
pub const ALL: [Question; 50] = [
    question("instance.host", "the firmware or the hypervisor says that this is an EC2 instance"),
    question("instance.id", "the metadata service speaks for this very instance"),
    question("instance.region", "region and zone are known, and the zone is in the region"),
    question("instance.partition", "the domain is an AWS partition's"),
    question("metadata.token", "the metadata service gives a token (IMDSv2), and quickly"),
    question("metadata.command_user", "the AuthorizedKeysCommandUser gets a token as well"),
    question("metadata.ipv6", "whether it answers over IPv6 as well"),
    question("metadata.proxy", "no proxy variable sends other tools' metadata requests to a proxy"),
    question("clock.offset", "the clock agrees with the metadata service's: a pushed key lives 60 s"),
    question("signer.store", "the system has a trust store, which only root may change"),
    question("signer.command_user", "the AuthorizedKeysCommandUser can read it as well"),
    question(
        "signer.path",
        "the signer's certificate has the right name and leads to an anchor of the trust store",
    ),
    question("signer.validity", "for how many days the certificates on that path are still valid"),
    question("signer.ocsp", "each of them has an OCSP response that proves it good"),
    question("keys.pushed", "what is pushed for the user now"),
    question(
        "keys.records",
        "the records are whole, for this instance, not expired, and for the key that is offered",
    ),
    question("keys.signatures", "they are signed by the signer: sshd would be given these keys"),
    question("user.name", "EC2 Instance Connect takes keys for a user of that name"),
    question("user.account", "the user exists"),
    question("user.expiry", "the account has not expired and, if sshd looks at that itself, is not locked"),
    question("user.nologin", "no /etc/nologin keeps users out"),
    question("user.shell", "the login shell is one that can be used"),
    question("user.home", "home and .ssh are as StrictModes wants them"),
    question("sshd.version", "which sshd is installed"),
    question("sshd.config", "sshd accepts its configuration"),
    question("sshd.command", "the AuthorizedKeysCommand that counts for the user is ours"),
    question("sshd.command_user", "the AuthorizedKeysCommandUser exists and is not root"),
    question("sshd.pubkey", "sshd takes public keys"),
    question("sshd.methods", "a key is enough to log in"),
    question("sshd.access", "AllowUsers and the like, and PermitRootLogin, let the user in"),
    question("sshd.algorithms", "sshd takes the types of keys that can be pushed"),
    question("sshd.exchanges", "sshd has a key exchange that the console's client knows"),
    question("sshd.tries", "MaxAuthTries leaves room for a client with several keys in its agent"),
    question("sshd.port", "sshd listens on port 22"),
    question("running.daemon", "an sshd runs, or is started when somebody connects"),
    question("running.override", "its command line does not override its configuration"),
    question("running.current", "it has read its configuration as it is now"),
    question("install.path", "sshd trusts the program's file and every directory above it"),
    question("install.package", "the program is as its package brought it"),
    question("install.aws", "AWS's own package and its override of sshd's unit are gone"),
    question("confinement.layers", "eic-keys can confine itself on this kernel"),
    question("confinement.selinux", "SELinux has a policy for eic-keys, or does not enforce"),
    question("confinement.denials", "the audit log has no denial of eic-keys"),
    question("confinement.apparmor", "AppArmor does not confine sshd and its children"),
    question(
        "confinement.unit",
        "sshd's unit lets its children reach the metadata service and make a run's system calls",
    ),
    question("recent.sshd", "sshd's last complaints about its AuthorizedKeysCommand, explained"),
    question("recent.syslog", "what eic-keys last logged about the user"),
    question("outside.network", "security groups and routes let the client reach port 22"),
    question("outside.permission", "IAM lets the client push a key for that user"),
    question("outside.region", "the service exists in this region"),
];
