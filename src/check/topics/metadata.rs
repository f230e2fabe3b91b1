//! Checks whether the metadata service is reachable.

use std::time::{Duration, Instant};

use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::request::{RunOptions, Target};
use crate::check::runner::{Answer, Finding, Runner};
use crate::error_text::WithCauses;
use crate::host::Host;
use crate::imds::client::ADDRESSES;
use crate::imds::{self, Imds, Trouble};
use crate::limits::{self, Budget};

/// Lists the processes that are connected to the metadata service.
const ASKERS: &str = "ss -tnp dst 169.254.169.254";

/// A slower token gives a warning: a login makes four requests in sequence and has 4.5 s.
const SLOW: Duration = Duration::from_millis(500);

/// Opens the session that the other checks use.
pub(crate) async fn token(runner: &Runner, options: &RunOptions, host: &Finding<Host>) -> Finding<Imds> {
    runner
        .check(CheckId::MetadataToken, host, async |host| {
            let start = Instant::now();
            match Imds::open(&options.imds, Budget::start(options.timeout)).await {
                Err(error) => Answer::fail(WithCauses(&error).to_string(), remedy(&error, host)),
                Ok(imds) => {
                    let took = start.elapsed();
                    let note = format!("{} gave a token within {} ms", imds.address().ip(), took.as_millis());
                    if took < SLOW {
                        return Answer::ok(note, imds);
                    }
                    let fix = Fix::advice(format!(
                        "see what else on this instance asks so often, be it DNS or NTP, whose packets count as well: {ASKERS}"
                    ));
                    Answer::warn(format!("{note}, which is slow"), fix, imds)
                }
            }
        })
        .await
}

/// Less important checks, about IPv6 and other programs.
pub(crate) async fn surroundings(
    runner: &Runner,
    options: &RunOptions,
    target: &Target<'_>,
    host: &Finding<Host>,
) {
    let ipv6 = runner.check(CheckId::MetadataIpv6, host, async |_| ipv6(options).await);
    let proxy = runner.check(CheckId::MetadataProxy, (), async |()| proxy(target));
    tokio::join!(ipv6, proxy);
}

/// The result for a failed metadata request.
pub(crate) fn unasked<T>(error: &imds::Error) -> Answer<T> {
    Answer::fail(WithCauses(error).to_string(), remedy(error, &Host::Xen))
}

fn remedy(error: &imds::Error, host: &Host) -> Fix {
    const OPTIONS: &str = "aws ec2 modify-instance-metadata-options --instance-id";
    let id = match host {
        Host::Nitro(id) => id.to_string(),
        Host::Xen | Host::NotEc2 => "INSTANCE_ID".to_owned(),
    };
    match error.trouble() {
        Trouble::SwitchedOff => {
            Fix::advice(format!("switch it on, from where you may: {OPTIONS} {id} --http-endpoint enabled"))
        }
        Trouble::Throttled => Fix::advice(format!(
            "wait a second; if it stays so, see who on this instance asks so often: {ASKERS}"
        )),
        Trouble::Silent => Fix::advice(format!(
            "in a container: {OPTIONS} {id} --http-put-response-hop-limit 2; else see whether a firewall drops \
             the answer: nft list ruleset"
        )),
        Trouble::Unreachable => Fix::advice(
            "see whether a firewall or a route keeps it away: nft list ruleset; ip route get 169.254.169.254",
        ),
        Trouble::Other => {
            Fix::advice("check again; if it stays so, something else may answer for the metadata service")
        }
    }
}

async fn ipv6(options: &RunOptions) -> Answer<()> {
    let Some(address) =
        ADDRESSES.into_iter().find(|address| address.is_ipv6() && options.imds.contains(address))
    else {
        return Answer::skip("--imds names another address");
    };
    let start = Instant::now();
    match Imds::open(&[address], Budget::start(limits::REQUEST)).await {
        Ok(_) => {
            Answer::ok(format!("{} gave a token within {} ms", address.ip(), start.elapsed().as_millis()), ())
        }
        Err(_) => Answer::ok("no answer over IPv6, which an instance with IPv4 does not need", ()),
    }
}

fn proxy(target: &Target<'_>) -> Answer<()> {
    let set = |name: &&str| (target.environment)(name).is_some_and(|value| !value.is_empty());
    let proxies: Vec<_> =
        ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].into_iter().filter(set).collect();
    let except = ["no_proxy", "NO_PROXY"].into_iter().filter_map(|name| (target.environment)(name));
    let excepted = except.into_iter().any(|list| {
        list.to_string_lossy().split(',').any(|entry| ["*", "169.254.169.254"].contains(&entry.trim()))
    });
    match proxies.as_slice() {
        [] => Answer::ok("no proxy variable is set", ()),
        _ if excepted => Answer::ok("the proxy variables leave out 169.254.169.254", ()),
        set => Answer::warn(
            format!(
                "{} is set: eic-keys ignores it, but other tools may ask that proxy for metadata",
                set.join(", ")
            ),
            Fix::advice(
                "leave 169.254.169.254 out: export NO_PROXY=\"${NO_PROXY:+$NO_PROXY,}169.254.169.254\"",
            ),
            (),
        ),
    }
}
