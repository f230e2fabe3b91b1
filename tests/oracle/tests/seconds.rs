//! When certificates and OCSP responses begin and cease to be valid, to the second, with a fixed clock.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use eic_lab::{CertSpec, Hash, Key, OcspSpec, now};
use eic_oracle::{Case, ours};

/// A correct case whose signer's OCSP response has these times, in seconds from the time at which it is judged.
fn with_ocsp(this_update: i64, next_update: i64) -> Case {
    let mut case = Case::make(&[]);
    let at = now();
    case.now = u64::try_from(at).unwrap();
    let (signer, intermediate) = (&case.path[2], &case.path[1]);
    let mut ocsp_response = OcspSpec::good(signer, intermediate);
    ocsp_response.answer().this_update = at + this_update;
    ocsp_response.answer().next_update = Some(at + next_update);
    case.ocsp_responses[0] = (signer.fingerprint(Hash::Sha1), ocsp_response.build());
    case
}

#[test]
fn an_ocsp_response_holds_from_this_update_until_next_update() {
    for (this_update, next_update, refusal) in [
        (0, 1, None),
        (-10, 1, None),
        (1, 10, Some("is not valid yet")),
        (-10, 0, Some("is out of date")),
        (-10, -1, Some("is out of date")),
        (0, 0, Some("is out of date")),
    ] {
        let judged = ours::accepts(&with_ocsp(this_update, next_update));
        match refusal {
            None => assert!(judged.is_ok(), "{this_update}, {next_update}: {judged:?}"),
            Some(reason) => assert!(
                judged.as_ref().is_err_and(|why| why.contains(reason)),
                "{this_update}, {next_update}: {judged:?}"
            ),
        }
    }
}

/// RFC 5280 section 4.1.2.5: a certificate is valid from its first second through its last.
#[test]
fn an_anchor_holds_from_its_first_second_through_its_last() {
    for (not_before, not_after, is_anchor) in
        [(0, 10, true), (-10, 0, true), (0, 0, true), (1, 10, false), (-10, -1, false)]
    {
        let mut case = Case::make(&[]);
        let at = now();
        case.now = u64::try_from(at).unwrap();
        let mut root = CertSpec::authority("Laboratory Root CA 1", Key::rsa2048(1));
        (root.not_before, root.not_after) = (at + not_before, at + not_after);
        case.anchors = vec![root.self_signed()];
        let judged = ours::accepts(&case);
        assert_eq!(judged.is_ok(), is_anchor, "{not_before} to {not_after}: {judged:?}");
    }
}
