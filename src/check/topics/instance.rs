//! Identifies the instance, from the firmware and from the metadata service.

use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner};
use crate::ec2::{Domain, InstanceId, Region};
use crate::host::Host;
use crate::imds::Imds;

use super::metadata::unasked;

/// The instance and its location.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) id: Finding<InstanceId>,
    pub(crate) region: Finding<Region>,
    pub(crate) domain: Finding<Domain>,
}

/// Checks the firmware.
pub(crate) async fn host(runner: &Runner, target: &Target<'_>) -> Finding<Host> {
    runner
        .check(CheckId::InstanceHost, (), async |()| match Host::identify(target.root) {
            Host::NotEc2 => Answer::fail(
                "this is not an EC2 instance, by its firmware: nobody is asked for keys",
                Fix::advice("run eic-keys on an EC2 instance; a container on one needs the host's /sys"),
            ),
            Host::Xen => Answer::ok("this is an EC2 instance on Xen", Host::Xen),
            Host::Nitro(id) => Answer::ok(format!("this is {id}, an EC2 instance on Nitro"), Host::Nitro(id)),
        })
        .await
}

/// Queries the metadata service.
pub(crate) async fn place(runner: &Runner, host: &Finding<Host>, session: &Finding<Imds>) -> Place {
    let id = runner
        .check(CheckId::InstanceId, (host, session), async |(host, imds)| same_instance(host, imds).await);
    let region = runner.check(CheckId::InstanceRegion, session, async |imds| region(imds).await);
    let (id, region) = tokio::join!(id, region);
    let domain = runner
        .check(CheckId::InstancePartition, (session, &region), async |(imds, region)| {
            domain(imds, region).await
        })
        .await;
    Place { id, region, domain }
}

async fn same_instance(host: &Host, imds: &Imds) -> Answer<InstanceId> {
    let told = match imds.instance_id().await {
        Ok(told) => told,
        Err(error) => return unasked(&error),
    };
    match host {
        Host::Nitro(id) if *id != told => Answer::fail(
            format!("the firmware says {id}, the metadata service {told}: it is another instance's"),
            Fix::advice(format!(
                "find out who answers at {}: a proxy, a route or an address translation for it",
                imds.address().ip()
            )),
        ),
        Host::Nitro(_) => Answer::ok(format!("firmware and metadata service agree on {told}"), told),
        Host::Xen | Host::NotEc2 => Answer::ok(format!("the metadata service says {told}"), told),
    }
}

async fn region(imds: &Imds) -> Answer<Region> {
    let (region, zone) = match tokio::try_join!(imds.region(), imds.zone()) {
        Ok(told) => told,
        Err(error) => return unasked(&error),
    };
    let Some(zone) = zone else { return Answer::ok(format!("region {region}"), region) };
    let name = String::from_utf8_lossy(&zone).into_owned();
    if Region::of_zone(zone.trim_ascii_end()).as_ref() == Some(&region) {
        Answer::ok(format!("region {region}, zone {name}"), region)
    } else {
        let fix = Fix::advice("find out whether something else answers for the metadata service");
        Answer::warn(format!("region {region}, but zone {name}, which is not in it"), fix, region)
    }
}

async fn domain(imds: &Imds, region: &Region) -> Answer<Domain> {
    let text = match imds.domain().await {
        Ok(text) => text,
        Err(error) => return unasked(&error),
    };
    match Domain::parse(&text) {
        Ok(domain) => Answer::ok(format!("partition {}, domain {domain}", domain.partition(region)), domain),
        Err(error) => Answer::fail(
            error.to_string(),
            Fix::advice(
                "update eic-keys if AWS has a new partition; else something else answers for the metadata service",
            ),
        ),
    }
}
