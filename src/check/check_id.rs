//! The checks of `--check`. A report contains all of them, in this order.

use std::fmt;

/// Generates the enum, the list and the texts from one table: `Variant "id": "what the check covers"`.
macro_rules! checks {
    ($($variant:ident $id:literal: $asks:literal,)+) => {
        /// A check.
        #[allow(clippy::doc_markdown, reason = "the texts are printed as they are")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CheckId {
            $(#[doc = $asks] $variant,)+
        }

        impl CheckId {
            /// All checks, in report order.
            pub const ALL: [Self; [$($id),+].len()] = [$(Self::$variant),+];

            /// The name in a report, `group.name`. It does not change between versions.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $id,)+
                }
            }

            /// What the check covers.
            #[must_use]
            pub fn asks(self) -> &'static str {
                match self {
                    $(Self::$variant => $asks,)+
                }
            }
        }
    };
}

checks! {
    InstanceHost "instance.host": "the firmware or the hypervisor says that this is an EC2 instance",
    InstanceId "instance.id": "the metadata service speaks for this very instance",
    InstanceRegion "instance.region": "region and zone are known, and the zone is in the region",
    InstancePartition "instance.partition": "the domain is an AWS partition's",
    MetadataToken "metadata.token": "the metadata service gives a token (IMDSv2), and quickly",
    MetadataCommandUser "metadata.command_user": "the AuthorizedKeysCommandUser gets a token as well",
    MetadataIpv6 "metadata.ipv6": "whether it answers over IPv6 as well",
    MetadataProxy "metadata.proxy": "no proxy variable sends other tools' metadata requests to a proxy",
    ClockOffset "clock.offset": "the clock agrees with the metadata service's: a pushed key lives 60 s",
    SignerStore "signer.store": "the system has a trust store, which only root may change",
    SignerCommandUser "signer.command_user": "the AuthorizedKeysCommandUser can read it as well",
    SignerPath "signer.path": "the signer's certificate has the right name and leads to an anchor of the trust store",
    SignerValidity "signer.validity": "for how many days the certificates on that path are still valid",
    SignerOcsp "signer.ocsp": "each of them has an OCSP response that proves it good",
    KeysPushed "keys.pushed": "what is pushed for the user now",
    KeysRecords "keys.records": "the records are whole, for this instance, not expired, and for the key that is offered",
    KeysSignatures "keys.signatures": "they are signed by the signer: sshd would be given these keys",
    UserName "user.name": "EC2 Instance Connect takes keys for a user of that name",
    UserAccount "user.account": "the user exists",
    UserExpiry "user.expiry": "the account has not expired and, if sshd looks at that itself, is not locked",
    UserNologin "user.nologin": "no /etc/nologin keeps users out",
    UserShell "user.shell": "the login shell is one that can be used",
    UserHome "user.home": "home and .ssh are as StrictModes wants them",
    SshdVersion "sshd.version": "which sshd is installed",
    SshdConfig "sshd.config": "sshd accepts its configuration",
    SshdCommand "sshd.command": "the AuthorizedKeysCommand that counts for the user is ours",
    SshdCommandUser "sshd.command_user": "the AuthorizedKeysCommandUser exists and is not root",
    SshdPrincipals "sshd.principals": "each --principal pattern of that line can match an IAM principal",
    SshdPubkey "sshd.pubkey": "sshd takes public keys",
    SshdMethods "sshd.methods": "a key is enough to log in",
    SshdAccess "sshd.access": "AllowUsers and the like, and PermitRootLogin, let the user in",
    SshdAlgorithms "sshd.algorithms": "sshd takes the types of keys that can be pushed",
    SshdExchanges "sshd.exchanges": "sshd has a key exchange that the console's client knows",
    SshdTries "sshd.tries": "MaxAuthTries leaves room for a client with several keys in its agent",
    SshdPort "sshd.port": "sshd listens on port 22",
    RunningDaemon "running.daemon": "an sshd runs, or is started when somebody connects",
    RunningOverride "running.override": "its command line does not override its configuration",
    RunningCurrent "running.current": "it has read its configuration as it is now",
    InstallPath "install.path": "sshd trusts the program's file and every directory above it",
    InstallPackage "install.package": "the program is as its package brought it",
    InstallAws "install.aws": "AWS's own package and its override of sshd's unit are gone",
    ConfinementLayers "confinement.layers": "eic-keys can confine itself on this kernel",
    ConfinementSelinux "confinement.selinux": "SELinux has a policy for eic-keys, or does not enforce",
    ConfinementDenials "confinement.denials": "the audit log has no denial of eic-keys",
    ConfinementApparmor "confinement.apparmor": "AppArmor does not confine sshd and its children",
    ConfinementUnit "confinement.unit": "sshd's unit lets its children reach the metadata service and make a run's system calls",
    RecentSshd "recent.sshd": "sshd's last complaints about its AuthorizedKeysCommand, explained",
    RecentSyslog "recent.syslog": "what eic-keys last logged about the user",
    OutsideNetwork "outside.network": "security groups and routes let the client reach port 22",
    OutsidePermission "outside.permission": "IAM lets the client push a key for that user",
    OutsideRegion "outside.region": "the service exists in this region",
}

impl CheckId {
    /// The part of the name before the dot.
    #[must_use]
    pub fn group(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
