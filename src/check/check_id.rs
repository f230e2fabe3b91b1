//! The checks of `--check`. A report contains all of them, in this order.

use std::fmt;
use std::time::Duration;

use crate::limits;

/// What the runner and the summary have to know of a check.
#[derive(Clone, Copy, Debug)]
enum CheckProperty {
    /// A program that it runs, such as sshd, can ask the name service. Not set for a rehearsal, which reports the reason itself.
    NameService,
    /// It runs only on request, with a time limit of its own.
    Rehearsal,
    /// No program on the instance can perform it.
    Elsewhere,
    /// While it fails, no advice to reload sshd is given: the files can refuse logins. A warning alone does not forbid it: the running
    /// sshd can have had that setting before.
    FailureForbidsReload,
    /// Nor while it warns.
    WarningForbidsReload,
}

impl CheckProperty {
    const fn bit(self) -> u8 {
        match self {
            Self::NameService => 1,
            Self::Rehearsal => 2,
            Self::Elsewhere => 4,
            Self::FailureForbidsReload => 8,
            Self::WarningForbidsReload => 16,
        }
    }
}

/// Generates the enum, the list and the texts from one table: `Variant "id" [Property, …]: "what the check covers"`.
macro_rules! checks {
    ($($variant:ident $id:literal $([$($property:ident),+])?: $covers:literal,)+) => {
        /// A check.
        #[allow(clippy::doc_markdown, reason = "the texts are printed as they are")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CheckId {
            $(#[doc = $covers] $variant,)+
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
            pub fn covers(self) -> &'static str {
                match self {
                    $(Self::$variant => $covers,)+
                }
            }

            /// The bits of its properties: a list of them would take a relocation for each check.
            fn properties(self) -> u8 {
                match self {
                    $(Self::$variant => 0 $($(| CheckProperty::$property.bit())+)?,)+
                }
            }
        }
    };
}

checks! {
    InstanceHost "instance.host": "the firmware or the hypervisor says that this is an EC2 instance",
    InstanceId "instance.id": "the metadata service and the firmware name the same instance",
    InstanceRegion "instance.region": "region and zone are known, and the zone is in the region",
    InstancePartition "instance.partition": "the domain is that of a known AWS partition",
    MetadataToken "metadata.token": "the metadata service returns a token (IMDSv2), and fast enough",
    MetadataCommandUser "metadata.command_user" [NameService]: "the metadata service also returns a token to the AuthorizedKeysCommandUser",
    MetadataIpv6 "metadata.ipv6": "whether the metadata service also answers over IPv6",
    MetadataProxy "metadata.proxy": "no proxy variable sends other tools' metadata requests to a proxy",
    ClockOffset "clock.offset": "the clock agrees with the metadata service's: a pushed key is valid for 60 s",
    SignerStore "signer.store": "the system has a trust store that only root can change",
    SignerCommandUser "signer.command_user" [NameService]: "the AuthorizedKeysCommandUser can read the trust store",
    SignerPath "signer.path": "the signer's certificate has the right name and a certification path to a trust anchor",
    SignerValidity "signer.validity": "how many days the certificates on the signer's path remain valid",
    SignerOcsp "signer.ocsp": "each certificate below the trust anchor has a current OCSP response with the status good",
    KeysPushed "keys.pushed": "whether a key is pushed for the user now",
    KeysRecords "keys.records": "the records are complete, for this instance, not expired, and for the offered key",
    KeysSignatures "keys.signatures": "the records are signed by the signer: sshd would get these keys",
    KeysAccepted "keys.accepted": "sshd does not refuse the pushed keys by type, size or RevokedKeys",
    UserName "user.name": "EC2 Instance Connect accepts the user name",
    UserAccount "user.account" [NameService]: "the user exists",
    UserExpiry "user.expiry" [NameService]: "the account has not expired and, without PAM, is not locked",
    UserPassword "user.password" [NameService]: "PAM does not refuse the user because of an expired or missing password entry",
    UserNologin "user.nologin" [NameService]: "no nologin file refuses users",
    UserPam "user.pam" [NameService]: "no file of PAM's modules refuses the user: access.conf, time.conf, limits.conf, /etc/shells, sssd.conf and the like",
    UserShell "user.shell" [NameService]: "the login shell exists and allows logins",
    UserHome "user.home" [NameService]: "the home directory exists, and what StrictModes refuses",
    SshdVersion "sshd.version": "which sshd is installed",
    SshdConfig "sshd.config" [NameService, WarningForbidsReload]: "sshd accepts its configuration",
    SshdCommand "sshd.command" [NameService, FailureForbidsReload]: "the AuthorizedKeysCommand for the user runs eic-keys",
    SshdCommandUser "sshd.command_user" [NameService, FailureForbidsReload]: "the AuthorizedKeysCommandUser exists and is not root",
    SshdPrincipals "sshd.principals" [NameService]: "each --principal pattern of the AuthorizedKeysCommand can match an IAM principal",
    SshdPubkey "sshd.pubkey" [NameService, WarningForbidsReload]: "sshd accepts public keys",
    SshdMethods "sshd.methods" [NameService, WarningForbidsReload]: "a key is enough to log in",
    SshdAccess "sshd.access" [NameService, WarningForbidsReload]: "AllowUsers, DenyUsers, AllowGroups, DenyGroups and PermitRootLogin allow the user",
    SshdAlgorithms "sshd.algorithms" [NameService, WarningForbidsReload]: "sshd accepts the types of keys that can be pushed",
    SshdExchanges "sshd.exchanges" [NameService, FailureForbidsReload]: "sshd and its clients have a key exchange, a host key algorithm, a cipher and a MAC in common",
    SshdTries "sshd.tries" [NameService, FailureForbidsReload]: "MaxAuthTries allows a client with several keys in its agent",
    SshdRevoked "sshd.revoked" [NameService, WarningForbidsReload]: "RevokedKeys and RequiredRSASize do not refuse pushed keys",
    SshdSession "sshd.session" [NameService, WarningForbidsReload]: "ForceCommand, ChrootDirectory, MaxSessions and PermitTTY allow a session",
    SshdLimits "sshd.limits" [NameService, FailureForbidsReload]: "LoginGraceTime, MaxStartups and RefuseConnection allow time and connections",
    SshdMatch "sshd.match" [NameService, WarningForbidsReload]: "whether a Match block refuses the user's keys for some clients",
    SshdPam "sshd.pam" [NameService]: "PAM's files for sshd are valid, and the modules that they need can be loaded",
    SshdPort "sshd.port" [NameService]: "sshd listens on port 22, on an address that clients can reach",
    RunningDaemon "running.daemon" [NameService]: "sshd runs, or is started when a client connects",
    RunningOverride "running.override" [NameService]: "the command line of sshd does not override its configuration files",
    RunningCurrent "running.current" [NameService]: "sshd has read its current configuration",
    NetworkFirewall "network.firewall" [NameService]: "this system's firewall does not drop connections to sshd",
    NetworkFail2ban "network.fail2ban" [NameService]: "fail2ban and sshguard block no client of sshd",
    NetworkWrappers "network.wrappers" [NameService]: "/etc/hosts.allow and hosts.deny do not refuse connections to sshd",
    NetworkBanner "network.banner" [NameService]: "sshd answers a connection of this system to its port",
    InstallPath "install.path" [NameService]: "sshd trusts the program's file and every directory above it",
    InstallPackage "install.package" [NameService]: "the program is unchanged since its package was installed",
    InstallAws "install.aws" [NameService]: "AWS's own package and its override of sshd's unit are not installed",
    ConfinementLayers "confinement.layers": "which layers of the sandbox this kernel supports",
    ConfinementSelinux "confinement.selinux" [NameService]: "SELinux has a policy for eic-keys, or does not enforce",
    ConfinementDenials "confinement.denials": "the audit log has no denial of eic-keys",
    ConfinementApparmor "confinement.apparmor": "AppArmor does not confine sshd and its children",
    ConfinementUnit "confinement.unit" [NameService]: "sshd's unit allows the metadata service and the system calls of a run",
    LoginCommand "login.command" [NameService]: "the AuthorizedKeysCommand for the user, run as sshd runs it, succeeds",
    LoginRehearsal "login.rehearsal" [Rehearsal]: "with --rehearse: a login as the user succeeds",
    LoginTerminal "login.terminal" [Rehearsal]: "with --rehearse: the user's shell answers on a terminal",
    RecentSshd "recent.sshd" [NameService]: "errors of sshd about its AuthorizedKeysCommand",
    RecentLogin "recent.login" [NameService]: "what sshd and PAM logged about the user's logins in the last hour",
    RecentSyslog "recent.syslog" [NameService]: "what eic-keys last logged about the user",
    OutsideNetwork "outside.network" [Elsewhere]: "security groups and routes allow the client to reach port 22",
    OutsidePermission "outside.permission" [Elsewhere]: "IAM allows the client to push a key for that user",
    OutsideRegion "outside.region" [Elsewhere]: "the service exists in this region",
}

impl CheckId {
    fn has(self, property: CheckProperty) -> bool {
        self.properties() & property.bit() != 0
    }

    /// Whether a program that the check runs can ask the name service.
    pub(crate) fn asks_name_service(self) -> bool {
        self.has(CheckProperty::NameService)
    }

    /// Whether a program on the instance can perform the check.
    pub(crate) fn is_local(self) -> bool {
        !self.has(CheckProperty::Elsewhere)
    }

    /// Whether a failure of the check says that sshd may refuse logins after a reload.
    pub(crate) fn failure_forbids_reload(self) -> bool {
        self.has(CheckProperty::FailureForbidsReload) || self.warning_forbids_reload()
    }

    /// Whether a warning of the check says so, too.
    pub(crate) fn warning_forbids_reload(self) -> bool {
        self.has(CheckProperty::WarningForbidsReload)
    }

    /// The time limit of the check.
    pub(crate) fn limit(self) -> Duration {
        if self.has(CheckProperty::Rehearsal) { limits::REHEARSAL_TIME } else { limits::CHECK_TIME }
    }

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
