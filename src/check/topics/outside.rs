//! What cannot be checked on the instance: advice, and a command to run elsewhere where possible.

use super::instance::InstanceLocation;
use crate::check::check_id::CheckId;
use crate::check::fix::CommandWord::{Literal, Value};
use crate::check::fix::Fix;
use crate::check::runner::{Answer, Finding, Runner};
use crate::ec2::UserName;

/// Gives the advice. Unknown values are in capitals.
pub(crate) async fn advise(runner: &Runner, location: &InstanceLocation, name: &Finding<UserName>) {
    let id = location.id.get().map_or_else(|| "INSTANCE_ID".to_owned(), ToString::to_string);
    let region = location.region.get().map_or_else(|| "REGION".to_owned(), ToString::to_string);
    let user = name.get().map_or_else(|| "USER".to_owned(), ToString::to_string);
    let partition =
        location.domain.get().zip(location.region.get()).map(|(domain, region)| domain.partition(region));
    let partition = partition.unwrap_or("PARTITION");

    let advise_one = async |id, note: &str, fix| {
        runner.check(id, (), async |()| Answer::<()>::skip_with_fix(note, fix)).await;
    };
    let lists = format!(
        "Name=prefix-list-name,Values=com.amazonaws.{region}.ec2-instance-connect,\
         com.amazonaws.{region}.ipv6.ec2-instance-connect"
    );
    let resource = format!("arn:{partition}:ec2:{region}:ACCOUNT:instance/{id}");
    let context = format!("ContextKeyName=ec2:osuser,ContextKeyType=string,ContextKeyValues={user}");
    advise_one(
        CheckId::OutsideNetwork,
        "security groups have to allow the client on port 22; these prefix lists have the console's addresses",
        Fix::command(
            "aws ec2 describe-managed-prefix-lists --region",
            [Value(&region), Literal("--filters"), Value(&lists)],
        ),
    )
    .await;
    advise_one(
        CheckId::OutsidePermission,
        "IAM has to allow the client to push a key to this instance, and for this user if it has a condition on ec2:osuser",
        Fix::command(
            "aws iam simulate-principal-policy --policy-source-arn CLIENT_ARN --action-names \
             ec2-instance-connect:SendSSHPublicKey --resource-arns",
            [Value(&resource), Literal("--context-entries"), Value(&context)],
        ),
    )
    .await;
    advise_one(
        CheckId::OutsideRegion,
        "EC2 Instance Connect has to exist in this region: this command pushes a key",
        Fix::command(
            "aws ec2-instance-connect send-ssh-public-key --region",
            [
                Value(&region),
                Literal("--instance-id"),
                Value(&id),
                Literal("--instance-os-user"),
                Value(&user),
                Literal("--ssh-public-key"),
                Literal("file://KEY.pub"),
            ],
        ),
    )
    .await;
}
