//! The account of the service: its instances, endpoints and principals.
use super::policy::{self, Principal};
use crate::instance::INSTANCE;
use crate::pki::{DOMAIN, REGION};

/// The account's number.
pub const ACCOUNT: &str = "123412341234";
/// An instance that is stopped.
pub const STOPPED: &str = "i-0123456789abcdef1";
/// An instance that does not answer.
pub const UNAVAILABLE: &str = "i-0123456789abcdef2";
/// An instance for which the service itself fails.
pub const FAILING: &str = "i-0123456789abcdef3";
/// The endpoint into the instances' network.
pub const ENDPOINT: &str = "eice-0123456789abcdef0";
/// The maximum number of calls of SendSSHPublicKey per second: AWS's default quota.
pub const PUSHES_PER_SECOND: u32 = 20;

/// The state of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Running and reachable.
    Running,
    /// Stopped: EC2InstanceStateInvalidException.
    Stopped,
    /// Running, but it cannot be reached: EC2InstanceUnavailableException.
    Unavailable,
    /// Running, but the service fails: ServiceException.
    Failing,
}

/// An instance as the EC2 API describes it.
#[derive(Clone, Debug)]
pub struct Ec2Instance {
    /// `i-...`
    pub id: String,
    /// Its state.
    pub state: State,
    /// Its availability zone.
    pub zone: String,
    /// Its address in its network. Its sshd is behind it, and behind `private_name`, which only the endpoint knows.
    pub private_ip: String,
    /// Its name there.
    pub private_name: String,
    /// Its public address, if it has one.
    pub public_ip: Option<String>,
    /// Its network.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
}

/// An EC2 Instance Connect Endpoint.
#[derive(Clone, Debug)]
pub struct ConnectEndpoint {
    /// `eice-...`
    pub id: String,
    /// Its DNS name, for port 443.
    pub dns_name: String,
    /// Its network.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
    /// The maximum number of concurrent connections.
    pub connections: usize,
}

/// The account.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// This machine's instance, and others.
    pub instances: Vec<Ec2Instance>,
    /// The endpoints of their network.
    pub endpoints: Vec<ConnectEndpoint>,
    /// The principals and their policies.
    pub principals: Vec<Principal>,
    /// The maximum number of calls of SendSSHPublicKey per second.
    pub pushes_per_second: u32,
}

impl Cloud {
    /// The laboratory's instance, three that fail, one endpoint, and the principals of [`policy::DEFAULT`].
    pub fn new() -> Self {
        let instance = |id: &str, state, ip: &str| Ec2Instance {
            id: id.to_owned(),
            state,
            zone: format!("{REGION}a"),
            private_ip: ip.to_owned(),
            private_name: format!("ip-{}.ec2.internal", ip.replace('.', "-")),
            public_ip: None,
            vpc: "vpc-0123456789abcdef0".to_owned(),
            subnet: "subnet-0123456789abcdef0".to_owned(),
        };
        Self {
            instances: vec![
                instance(INSTANCE, State::Running, "127.0.0.1"),
                instance(STOPPED, State::Stopped, "10.0.0.11"),
                instance(UNAVAILABLE, State::Unavailable, "10.0.0.12"),
                instance(FAILING, State::Failing, "10.0.0.13"),
            ],
            endpoints: vec![ConnectEndpoint {
                id: ENDPOINT.to_owned(),
                dns_name: format!("{ENDPOINT}.b67b86ba.ec2-instance-connect-endpoint.{REGION}.{DOMAIN}"),
                vpc: "vpc-0123456789abcdef0".to_owned(),
                subnet: "subnet-0123456789abcdef0".to_owned(),
                connections: 20,
            }],
            principals: policy::read(policy::DEFAULT).expect("the default policy is fine"),
            pushes_per_second: PUSHES_PER_SECOND,
        }
    }

    /// The instance of this id.
    pub fn instance(&self, id: &str) -> Option<&Ec2Instance> {
        self.instances.iter().find(|instance| instance.id == id)
    }
}

impl Default for Cloud {
    fn default() -> Self {
        Self::new()
    }
}

/// The resource name of an instance.
pub fn instance_arn(id: &str) -> String {
    format!("arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{id}")
}

/// The resource name of an endpoint.
pub fn endpoint_arn(id: &str) -> String {
    format!("arn:aws:ec2:{REGION}:{ACCOUNT}:instance-connect-endpoint/{id}")
}
