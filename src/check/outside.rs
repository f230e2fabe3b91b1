//! What no command on the instance can see: told as advice, with the command to run where one may.

use super::Fix;
use super::board::{Answer, Board, Step};
use super::instance::Place;
use crate::imds::facts::UserName;

/// Advises. What is not known here is in capitals.
pub(super) async fn advise(board: &Board, place: &Place, name: &Step<UserName>) {
    let id = place.id.get().map_or_else(|| "INSTANCE_ID".to_owned(), ToString::to_string);
    let region = place.region.get().map_or_else(|| "REGION".to_owned(), ToString::to_string);
    let user = name.get().map_or_else(|| "USER".to_owned(), ToString::to_string);
    let partition =
        place.domain.get().zip(place.region.get()).map(|(domain, region)| domain.partition(region));
    let partition = partition.unwrap_or("PARTITION");

    // Checked types and capitals: no blank is in any of them.
    let tell = async |id, note: &str, command: String| {
        let fix = Fix::command(command.split(' '));
        board.check(id, (), async |()| Answer::<()>::elsewhere(note, fix)).await;
    };
    tell(
        "outside.network",
        "security groups have to let the client reach port 22; the console comes from these prefix lists",
        format!(
            "aws ec2 describe-managed-prefix-lists --region {region} --filters Name=prefix-list-name,\
             Values=com.amazonaws.{region}.ec2-instance-connect,com.amazonaws.{region}.ipv6.ec2-instance-connect"
        ),
    )
    .await;
    tell(
        "outside.permission",
        "IAM has to let the client push a key here, for this user where a condition on ec2:osuser says so",
        format!(
            "aws iam simulate-principal-policy --policy-source-arn CLIENT_ARN \
             --action-names ec2-instance-connect:SendSSHPublicKey \
             --resource-arns arn:{partition}:ec2:{region}:ACCOUNT:instance/{id} \
             --context-entries ContextKeyName=ec2:osuser,ContextKeyType=string,ContextKeyValues={user}"
        ),
    )
    .await;
    tell(
        "outside.region",
        "EC2 Instance Connect has to be there in this region: then this pushes a key",
        format!(
            "aws ec2-instance-connect send-ssh-public-key --region {region} --instance-id {id} \
             --instance-os-user {user} --ssh-public-key file://KEY.pub"
        ),
    )
    .await;
}
