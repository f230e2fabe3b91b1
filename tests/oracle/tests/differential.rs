//! Thousands of cases, three opinions: we accept nothing that OpenSSL or x509-parser refuses, and every refusal of ours that OpenSSL
//! does not share is a rule that docs/differences.md states.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::format_collect,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use eic_oracle::change::CHANGES;
use eic_oracle::{Case, openssl, ours, x509_parser};

/// The number of cases; the environment variable CASES overrides it.
const CASES: u64 = 1500;
/// From this number of cases on, each row of [`STRICTER`] must occur.
const MANY: u64 = 10_000;

/// Where eic-keys is stricter: with this change, for this reason.
const STRICTER: [(&str, &str); 28] = [
    ("CA flag", "is not a certification authority"),
    ("CA flag", "is a certification authority's"),
    ("CA flag", "does not lead"),
    ("path length", "is a certification authority's"),
    ("alternative names", "among its alternative names"),
    ("many intermediates", "longer than an issuer of it allows"),
    ("serial number", "wrong common name"),
    ("serial number", "does not lead"),
    ("signature of a certificate", "an algorithm that is not accepted"),
    ("signature of a certificate", "was not signed by its issuer"),
    ("string type of a name", "wrong common name"),
    ("version", "UnsupportedCertVersion"),
    ("the intermediate is an anchor", "the OCSP response of certificate"),
    ("the signer is an anchor", "does not lead"),
    ("OCSP response: extension", "critical extension that is not known"),
    ("OCSP response: form", "cannot be read"),
    ("OCSP response: next update", "is out of date"),
    ("OCSP response: responder", "not signed by the issuer or a responder"),
    ("OCSP response: several answers", "is out of date"),
    ("OCSP response: several answers", "says that the certificate is revoked"),
    ("OCSP response: signature", "has an invalid signature"),
    ("record: a line", "it has more than one"),
    ("serial number", "was not signed by its issuer"),
    ("version", "was not signed by its issuer"),
    ("the signer is an anchor", "was not signed by its issuer"),
    ("key usage", "what its key usage does not allow"),
    ("same names", "longer than its anchor allows"),
    ("many intermediates", "is too long"),
];

/// Pseudorandom bytes, the same each time (Marsaglia's xorshift64).
fn bytes(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..3 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    // One change in half of the cases, several in the others.
    let length = [2, 2, 2, 4, 4, 6][usize::try_from(number % 6).unwrap()];
    state.to_be_bytes()[..length].to_vec()
}

#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    /// By x509-parser.
    refused_certificates: usize,
    explained: BTreeSet<usize>,
    /// By the difference: how often, and for which bytes.
    unexplained: BTreeMap<String, (usize, Vec<u8>)>,
}

impl Tally {
    fn judge(&mut self, bytes: &[u8]) {
        let case = Case::make(bytes);
        let certificates = x509_parser::accepts(&case);
        self.refused_certificates += usize::from(certificates.is_err());
        let difference = match (ours::accepts(&case), openssl::accepts(&case)) {
            (Ok(ours), Ok(theirs)) if ours == theirs && certificates.is_ok() => return self.accepted += 1,
            (Err(_), Err(_)) => return self.refused += 1,
            (Ok(ours), theirs) => {
                format!("ACCEPTED {ours:?}, by OpenSSL {theirs:?}, by x509-parser {certificates:?}")
            }
            (Err(reason), Ok(_)) => {
                let explains = |row: &(&str, &str)| case.changes.contains(&row.0) && reason.contains(row.1);
                if let Some(row) = STRICTER.iter().position(explains) {
                    self.explained.insert(row);
                    return;
                }
                reason
            }
        };
        let words = format!("{:?}: {difference}", case.changes);
        self.unexplained.entry(words).or_insert((0, bytes.to_vec())).0 += 1;
    }
}

#[test]
fn openssl_agrees() {
    let cases = std::env::var("CASES").map_or(CASES, |number| number.parse().unwrap());
    let workers = u64::try_from(thread::available_parallelism().map_or(1, usize::from)).unwrap();
    let judge = |worker| {
        let mut tally = Tally::default();
        (worker..cases).step_by(usize::try_from(workers).unwrap()).for_each(|n| tally.judge(&bytes(n)));
        tally
    };
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || judge(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let unexplained: String = tallies
        .iter()
        .flat_map(|tally| &tally.unexplained)
        .map(|(difference, (count, bytes))| format!("{difference}: {count}, as with {bytes:?}\n"))
        .collect();
    assert!(unexplained.is_empty(), "{unexplained}");
    let sum = |part: fn(&Tally) -> usize| tallies.iter().map(part).sum::<usize>();
    let (accepted, refused) = (sum(|tally| tally.accepted), sum(|tally| tally.refused));
    assert!(
        accepted.min(refused) > usize::try_from(cases / 5).unwrap(),
        "{accepted} {refused}: too much alike"
    );
    let refused_certificates = sum(|tally| tally.refused_certificates);
    assert!(refused_certificates > usize::try_from(cases / 8).unwrap(), "{refused_certificates}: too few");
    let explained: BTreeSet<_> = tallies.iter().flat_map(|tally| &tally.explained).collect();
    let unused: Vec<_> =
        (0..STRICTER.len()).filter(|row| !explained.contains(row)).map(|row| STRICTER[row]).collect();
    assert!(cases < MANY || unused.is_empty(), "no difference any more: {unused:?}");
}

#[test]
fn a_case_without_changes_is_accepted() {
    let case = Case::make(&[]);
    assert_eq!(ours::accepts(&case), Ok(vec![eic_oracle::case::KEY.to_owned()]));
    assert_eq!(openssl::accepts(&case), ours::accepts(&case));
    assert_eq!(x509_parser::accepts(&case), Ok(()));
}

/// The changes that x509-parser's opinion has to see, and for which reason.
const SEEN_BY_X509_PARSER: [(&str, &str); 18] = [
    ("not before", "not valid now"),
    ("not after", "not valid now"),
    ("CA flag", "the signer is a certification authority"),
    ("CA flag", "the issuer has no CA flag"),
    ("many intermediates", "no issuer"),
    ("path length", "the signer is a certification authority"),
    ("one more intermediate", "too long for its issuer"),
    ("key usage", "not for digital signatures"),
    ("key usage", "the issuer is not for certificates"),
    ("extended key usage", "not for TLS servers"),
    ("unknown extension", "an unknown critical extension"),
    ("name constraints", "a constrained name"),
    ("RSA key", "the size of its RSA key"),
    ("version", "not version 3"),
    ("issuer's name", "no issuer"),
    ("two common names", "no certificate of the signer's name"),
    ("a damaged certificate", "the signature of a certificate"),
    ("no anchor", "no issuer"),
];

#[test]
fn x509_parser_refuses_for_each_reason() {
    for (name, reason) in SEEN_BY_X509_PARSER {
        let number = CHANGES.iter().position(|(known, _)| *known == name).unwrap();
        let refused = (0..=u8::MAX).any(|how| {
            let case = Case::make(&[u8::try_from(number).unwrap(), how]);
            x509_parser::accepts(&case).is_err_and(|refusal| refusal == reason)
        });
        assert!(refused, "{name}: {reason}");
    }
}
