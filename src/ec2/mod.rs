//! What EC2 Instance Connect prescribes: how long a key is valid, and checked types for the items that are sent to and received from IMDS.
//!
//! `user_name`: the names of users. `instance_id`, `region`, `partition`: what the instance is, and where.

mod instance_id;
mod partition;
mod region;
mod user_name;

use std::time::Duration;

pub use instance_id::InstanceId;
pub use partition::{Domain, UnknownDomain};
pub use region::Region;
pub use user_name::UserName;

/// How long a pushed key is valid.
pub(crate) const KEY_LIFETIME: Duration = Duration::from_secs(60);
