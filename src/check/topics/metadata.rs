//! Checks whether the metadata service is reachable.

use std::time::{Duration, Instant};

use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::request::{CheckTarget, RunOptions, seconds};
use crate::check::runner::{Answer, Finding, Runner};
use crate::ec2::InstanceId;
use crate::error_text::WithCauses;
use crate::host::Host;
use crate::imds::client::ADDRESSES;
use crate::imds::{Imds, ImdsError, ImdsErrorKind};
use crate::limits::{self, Budget};

/// Lists the processes that are connected to the metadata service.
const LIST_CLIENTS: &str = "ss -tnp dst 169.254.169.254";

/// A slower token gives a warning.
const SLOW: Duration = Duration::from_millis(500);

/// The requests of a login that wait for one another: token, active keys, the signer's items, OCSP responses.
const SEQUENCE: u32 = 4;

/// Opens the session that the other checks use.
pub(crate) async fn token(runner: &Runner, options: &RunOptions, host: &Finding<Host>) -> Finding<Imds> {
    runner
        .check(CheckId::MetadataToken, host, async |host| {
            let start = Instant::now();
            // Checks run one after another what a login runs side by side.
            match Imds::open(&options.imds, Budget::start(limits::ALL_CHECKS_TIME)).await {
                Err(error) => match &options.imds_from {
                    Some(from) => other_address(options, from, &error).await,
                    None => Answer::fail(WithCauses(&error).to_string(), fix_for_request(&error, host.id())),
                },
                Ok(imds) => {
                    let took = start.elapsed();
                    let note = format!("{} returned a token within {} ms", imds.address().ip(), took.as_millis());
                    let too_slow = took.saturating_mul(SEQUENCE) > options.timeout;
                    if took < SLOW && !too_slow {
                        return Answer::ok(note, imds);
                    }
                    let longer = if took < SLOW { "remove --timeout from the AuthorizedKeysCommand, or " } else { "" };
                    let fix = Fix::advice(format!(
                        "{longer}find out what else on this instance sends many requests, DNS and NTP included: {LIST_CLIENTS}"
                    ));
                    if too_slow {
                        let limit = seconds(options.timeout);
                        return Answer::fail(format!("{note}: too slow for a login within {limit} s"), fix);
                    }
                    Answer::warn(format!("{note}, which is slow"), fix, imds)
                }
            }
        })
        .await
}

/// The result if nothing answers at an address of `--imds`.
async fn other_address(options: &RunOptions, from: &str, error: &ImdsError) -> Answer<Imds> {
    let address = options.imds.first().map(ToString::to_string).unwrap_or_default();
    let usual = Imds::open(&ADDRESSES, Budget::start(limits::REQUEST_TIME)).await;
    let (note, fix) = match usual {
        Ok(usual) => {
            let usual = usual.address().ip();
            (format!("{usual} answers"), format!("remove --imds {address} ({from})"))
        }
        Err(_) => (
            "the usual addresses do not answer either".to_owned(),
            format!(
                "check --imds {address} ({from}): without it, {} are asked",
                ADDRESSES.map(|address| address.ip().to_string()).join(" and ")
            ),
        ),
    };
    let note = format!("--imds gives {address} ({from}): {}; {note}", WithCauses(error));
    Answer::fail(note, Fix::advice(fix))
}

/// Less important checks, about IPv6 and other programs.
pub(crate) async fn secondary_checks(
    runner: &Runner,
    options: &RunOptions,
    target: &CheckTarget<'_>,
    host: &Finding<Host>,
) {
    let ipv6 = runner.check(CheckId::MetadataIpv6, host, async |_| ipv6(options).await);
    let proxy = runner.check(CheckId::MetadataProxy, (), async |()| proxy(target));
    tokio::join!(ipv6, proxy);
}

/// The result for a failed metadata request after the token.
pub(crate) fn failed_request<T>(error: &ImdsError) -> Answer<T> {
    if matches!(error.kind(), ImdsErrorKind::TimedOut) {
        // The token came through, so no firewall and no limit of hops is at fault.
        let fix = Fix::advice(format!(
            "check again; if that does not help, find out what on this instance sends many requests: {LIST_CLIENTS}"
        ));
        return Answer::fail(WithCauses(error).to_string(), fix);
    }
    if matches!(error.kind(), ImdsErrorKind::Forbidden) {
        // It is on: the token came.
        let fix = Fix::advice(
            "the metadata service is on, and refuses this item only: check again; if that does not help, find out whether a proxy or \
             another program answers in its place (ip route get 169.254.169.254; nft list ruleset)",
        );
        return Answer::fail(WithCauses(error).to_string(), fix);
    }
    Answer::fail(WithCauses(error).to_string(), fix_for_request(error, None))
}

fn fix_for_request(error: &ImdsError, id: Option<&InstanceId>) -> Fix {
    const OPTIONS: &str = "aws ec2 modify-instance-metadata-options --instance-id";
    const PERMISSION: &str = "needs ec2:ModifyInstanceMetadataOptions";
    let id = id.map_or_else(|| "INSTANCE_ID".to_owned(), InstanceId::to_string);
    match error.kind() {
        ImdsErrorKind::Forbidden => Fix::advice(format!(
            "turn the metadata service on ({PERMISSION}): {OPTIONS} {id} --http-endpoint enabled"
        )),
        ImdsErrorKind::Throttled => Fix::advice(format!(
            "wait a second; if that does not help, find out what on this instance sends many requests: {LIST_CLIENTS}"
        )),
        ImdsErrorKind::TimedOut => Fix::advice(format!(
            "in a container ({PERMISSION}): {OPTIONS} {id} --http-put-response-hop-limit 2; otherwise find out whether a firewall drops \
             the response (nft list ruleset), or whether something slow answers in its place: curl -m 10 -X PUT -H \
             'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token"
        )),
        ImdsErrorKind::Unreachable => Fix::advice(
            "find out whether a firewall or a route blocks it: nft list ruleset; ip route get 169.254.169.254",
        ),
        ImdsErrorKind::Other => Fix::advice(
            "check again; if that does not help, something else may answer in place of the metadata service",
        ),
    }
}

async fn ipv6(options: &RunOptions) -> Answer<()> {
    let Some(address) =
        ADDRESSES.into_iter().find(|address| address.is_ipv6() && options.imds.contains(address))
    else {
        return Answer::skip("--imds gives another address");
    };
    let start = Instant::now();
    match Imds::open(&[address], Budget::start(limits::REQUEST_TIME)).await {
        Ok(_) => Answer::ok(
            format!("{} returned a token within {} ms", address.ip(), start.elapsed().as_millis()),
            (),
        ),
        Err(_) => Answer::ok("no answer over IPv6; an instance with IPv4 does not need it", ()),
    }
}

fn proxy(target: &CheckTarget<'_>) -> Answer<()> {
    let set = |name: &&str| (target.environment)(name).is_some_and(|value| !value.is_empty());
    let proxies: Vec<_> =
        ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].into_iter().filter(set).collect();
    let except = ["no_proxy", "NO_PROXY"].into_iter().filter_map(|name| (target.environment)(name));
    let excepted = except.into_iter().any(|list| {
        list.to_string_lossy().split(',').any(|entry| ["*", "169.254.169.254"].contains(&entry.trim()))
    });
    match proxies.as_slice() {
        [] => Answer::ok("no proxy variable is set", ()),
        _ if excepted => Answer::ok("the proxy variables exclude 169.254.169.254", ()),
        set => Answer::warn(
            format!(
                "{} is set: eic-keys ignores it, but other tools may send metadata requests to that proxy",
                set.join(", ")
            ),
            Fix::advice(
                "exclude 169.254.169.254: export NO_PROXY=\"${NO_PROXY:+$NO_PROXY,}169.254.169.254\"",
            ),
            (),
        ),
    }
}
