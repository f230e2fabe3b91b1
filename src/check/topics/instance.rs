//! Identifies the instance, from the firmware and from the metadata service.

use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner};
use crate::ec2::{Domain, InstanceId, Region};
use crate::host::Host;
use crate::imds::Imds;

use super::metadata::failed_request;

/// The instance and its location.
#[derive(Debug)]
pub(crate) struct InstanceLocation {
    pub(crate) id: Finding<InstanceId>,
    pub(crate) region: Finding<Region>,
    pub(crate) domain: Finding<Domain>,
}

/// Checks the firmware.
pub(crate) async fn host(runner: &Runner, target: &CheckTarget<'_>) -> Finding<Host> {
    runner
        .check_in_thread(CheckId::InstanceHost, (), |()| {
            let root = target.root.to_owned();
            move || identified(Host::identify(&root))
        })
        .await
}

fn identified(host: Host) -> Answer<Host> {
    match host {
        Host::NotEc2 => Answer::fail(
            "neither board_asset_tag nor hypervisor/uuid in /sys identifies an EC2 instance: eic-keys requests no keys",
            Fix::advice(
                "run eic-keys on an EC2 instance; a container on an instance needs the /sys of the host",
            ),
        ),
        Host::Xen => Answer::ok("this is an EC2 instance on Xen", Host::Xen),
        Host::Nitro(id) => Answer::ok(format!("this is {id}, an EC2 instance on Nitro"), Host::Nitro(id)),
    }
}

/// Queries the metadata service.
pub(crate) async fn location(
    runner: &Runner,
    host: &Finding<Host>,
    imds: &Finding<Imds>,
) -> InstanceLocation {
    let id =
        runner.check(CheckId::InstanceId, (host, imds), async |(host, imds)| same_instance(host, imds).await);
    let region = runner.check(CheckId::InstanceRegion, imds, async |imds| region(imds).await);
    let (id, region) = tokio::join!(id, region);
    let domain = runner
        .check(CheckId::InstancePartition, (imds, &region), async |(imds, region)| domain(imds, region).await)
        .await;
    InstanceLocation { id, region, domain }
}

async fn same_instance(host: &Host, imds: &Imds) -> Answer<InstanceId> {
    let answer = match imds.instance_id().await {
        Ok(answer) => answer,
        Err(error) => return failed_request(&error),
    };
    match host {
        Host::Nitro(id) if *id != answer => Answer::fail(
            format!("the instance id in the firmware is {id}, but the metadata service says {answer}"),
            Fix::advice(format!(
                "find out what answers at {}: a proxy, a route or an address translation can send requests elsewhere",
                imds.address().ip()
            )),
        ),
        Host::Nitro(_) => Answer::ok(format!("firmware and metadata service agree on {answer}"), answer),
        Host::Xen | Host::NotEc2 => Answer::ok(format!("the metadata service says {answer}"), answer),
    }
}

async fn region(imds: &Imds) -> Answer<Region> {
    let (region, zone) = match tokio::try_join!(imds.region(), imds.zone()) {
        Ok(answer) => answer,
        Err(error) => return failed_request(&error),
    };
    let Some(zone) = zone else { return Answer::ok(format!("region {region}"), region) };
    let name = String::from_utf8_lossy(&zone).into_owned();
    if Region::of_zone(zone.trim_ascii_end()).as_ref() == Some(&region) {
        Answer::ok(format!("region {region}, zone {name}"), region)
    } else {
        let fix = Fix::advice("find out whether something else answers in place of the metadata service");
        Answer::warn(format!("region {region}, but zone {name}, which is not in it"), fix, region)
    }
}

async fn domain(imds: &Imds, region: &Region) -> Answer<Domain> {
    let text = match imds.domain().await {
        Ok(text) => text,
        Err(error) => return failed_request(&error),
    };
    match Domain::parse(&text) {
        Ok(domain) => Answer::ok(format!("partition {}, domain {domain}", domain.partition(region)), domain),
        Err(error) => Answer::fail(
            error.to_string(),
            Fix::advice(
                "update eic-keys if AWS has a new partition; otherwise something else answers in place of the metadata service",
            ),
        ),
    }
}
