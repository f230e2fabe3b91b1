//! What no command on the instance can see: told as advice, with the command to run where one may.

use super::board::{Answer, Board};
use super::instance::Place;
use super::{Fix, Request};

/// Advises. What is not known here is in capitals.
pub(super) async fn advise(board: &Board, request: &Request, place: &Place) {
    let id = place.id.get().map_or_else(|| "INSTANCE_ID".to_owned(), ToString::to_string);
    let region = place.region.get().map_or_else(|| "REGION".to_owned(), ToString::to_string);
    let user = request.user.as_ref().map_or_else(|| "USER".into(), |user| user.to_string_lossy());
    let tell = async |id, note: &str, words: &[&str]| {
        board.check(id, (), async |()| Answer::<()>::elsewhere(note, Fix::command(words))).await;
    };
    let prefix_lists = format!(
        "Name=prefix-list-name,Values=com.amazonaws.{region}.ec2-instance-connect,com.amazonaws.{region}.ipv6.ec2-instance-connect"
    );
    tell(
        "outside.network",
        "a security group has to let the client reach port 22: from the console that is EC2 Instance Connect's prefix list, over \
         IPv4 or IPv6; through an endpoint, the endpoint's security group",
        &["aws", "ec2", "describe-managed-prefix-lists", "--region", &region, "--filters", &prefix_lists],
    )
    .await;
    let resource = format!("arn:aws:ec2:{region}:ACCOUNT:instance/{id}");
    let context = format!("ContextKeyName=ec2:osuser,ContextKeyType=string,ContextKeyValues={user}");
    tell(
        "outside.permission",
        "IAM has to allow ec2-instance-connect:SendSSHPublicKey on this instance, for this user where a condition on ec2:osuser \
         says so",
        &[
            "aws", "iam", "simulate-principal-policy", "--policy-source-arn", "ARN", "--action-names",
            "ec2-instance-connect:SendSSHPublicKey", "--resource-arns", &resource, "--context-entries", &context,
        ],
    )
    .await;
    tell(
        "outside.region",
        "the service has to be there in this region: if it is, this pushes a key",
        &[
            "aws",
            "ec2-instance-connect",
            "send-ssh-public-key",
            "--region",
            &region,
            "--instance-id",
            &id,
            "--instance-os-user",
            &user,
            "--ssh-public-key",
            "file://KEY.pub",
        ],
    )
    .await;
}
