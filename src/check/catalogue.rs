//! Every question that `--check` answers. A report has them all, in this order.

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its id, `group.name`, which stays the same from version to version.
    pub id: &'static str,
    /// What is looked at.
    pub asks: &'static str,
}

impl Question {
    /// The part of the id before the dot.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.id.split('.').next().unwrap_or_default()
    }
}

const fn question(id: &'static str, asks: &'static str) -> Question {
    Question { id, asks }
}

/// All of them.
pub const ALL: [Question; 19] = [
    question("instance.host", "the firmware or the hypervisor says that this is an EC2 instance"),
    question("instance.id", "the metadata service speaks for this very instance"),
    question("instance.region", "region and zone are told, and the zone is in the region"),
    question("instance.partition", "the domain is an AWS partition's"),
    question("metadata.token", "the metadata service gives a token (IMDSv2), and soon enough"),
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
    question("keys.name", "EC2 Instance Connect takes keys for a user of that name"),
    question("keys.pushed", "what is pushed for the user now"),
    question(
        "keys.records",
        "the records are whole, for this instance, not expired, and for the key that is offered",
    ),
    question("keys.signatures", "they are signed by the signer: sshd would be given these keys"),
    question("outside.network", "security group and route let the client reach port 22"),
    question("outside.permission", "IAM lets the client push a key for that user"),
    question("outside.region", "the service is there in this region"),
];
