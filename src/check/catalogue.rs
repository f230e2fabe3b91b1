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
pub const ALL: [Question; 49] = [
    question("instance.host", "the firmware or the hypervisor says that this is an EC2 instance"),
    question("instance.id", "the metadata service speaks for this very instance"),
    question("instance.region", "region and zone are told, and the zone is in the region"),
    question("instance.partition", "the domain is an AWS partition's"),
    question("metadata.token", "the metadata service gives a token (IMDSv2), and soon enough"),
    question("metadata.command_user", "the AuthorizedKeysCommandUser gets a token as well"),
    question("metadata.ipv6", "whether it can be reached over IPv6 as well"),
    question("metadata.proxy", "no proxy variable leads other tools' requests to it astray"),
    question("clock.offset", "the clock agrees with the metadata service's: a pushed key lives 60 s"),
    question("signer.store", "the system has a trust store"),
    question(
        "signer.path",
        "the signer's certificate has the right name and leads to an anchor of the trust store",
    ),
    question("signer.validity", "days that the certificates on that path are still valid"),
    question("signer.staples", "each of them has a staple that proves it good"),
    question("keys.pushed", "what is pushed for the user now"),
    question(
        "keys.records",
        "the records are whole, for this instance, not expired, and for the key that is offered",
    ),
    question("keys.signatures", "they are signed by the signer: sshd would be given these keys"),
    question("user.name", "EC2 Instance Connect takes keys for a user of that name"),
    question("user.account", "the user exists"),
    question("user.expiry", "the account is neither expired nor, where sshd asks that itself, locked"),
    question("user.nologin", "no /etc/nologin keeps users out"),
    question("user.shell", "the login shell is one to work with"),
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
    question("sshd.tries", "a client with some keys in its agent has tries enough"),
    question("sshd.port", "sshd listens on port 22"),
    question("running.daemon", "an sshd runs, or is started when somebody connects"),
    question("running.override", "its command line does not beat its configuration"),
    question("running.current", "it runs with its configuration as it is now"),
    question("install.path", "sshd trusts the program's file and every directory above it"),
    question("install.package", "the program is as its package brought it"),
    question("install.aws", "AWS's own package and its override of sshd's unit are gone"),
    question("confinement.layers", "the kernel takes from eic-keys what it does not need"),
    question("confinement.selinux", "SELinux knows eic-keys, or does not enforce"),
    question("confinement.denials", "no denial of ours is in the audit log"),
    question("confinement.apparmor", "AppArmor does not confine sshd and its children"),
    question("confinement.unit", "sshd's unit does not keep its children from the metadata service"),
    question("recent.sshd", "sshd's last complaints about its command, decoded"),
    question("recent.audit", "what eic-keys logged last of the user"),
    question("outside.network", "security group and route let the client reach port 22"),
    question("outside.permission", "IAM lets the client push a key for that user"),
    question("outside.region", "the service is there in this region"),
];
