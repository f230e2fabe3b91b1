//! Thousands of cases, two opinions.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;

use eic_oracle::{Case, openssl, ours};

/// Numbers that look random and are the same each time (Marsaglia's xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn probe() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut table: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let (mut both, mut neither, mut ours_only, mut theirs_only) = (0, 0, 0, 0);
    let count: usize = std::env::var("CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    for _ in 0..count {
        let length = [2, 2, 2, 4, 4, 6][usize::try_from(numbers.next() % 6).unwrap()];
        let bytes: Vec<u8> = numbers.next().to_le_bytes().into_iter().take(length).collect();
        let case = Case::make(&bytes);
        match (ours::accepts(&case), openssl::accepts(&case)) {
            (Ok(a), Ok(b)) => {
                assert_eq!(a, b);
                both += 1
            }
            (Err(_), Err(_)) => neither += 1,
            (Ok(_), Err(why)) => {
                ours_only += 1;
                let e = table.entry(format!("OURS ONLY {:?}: {why}", case.changes)).or_default();
                e.0 += 1;
                e.1 = format!("{bytes:?}");
            }
            (Err(why), Ok(_)) => {
                theirs_only += 1;
                let e = table
                    .entry(format!(
                        "theirs only {:?}: {why}",
                        if case.changes.len() == 1 { case.changes.clone() } else { vec!["several"] }
                    ))
                    .or_default();
                e.0 += 1;
                e.1 = format!("{bytes:?}");
            }
        }
    }
    println!("both {both} neither {neither} ours {ours_only} theirs {theirs_only}");
    for (k, v) in table {
        println!("{k} x{} {}", v.0, v.1);
    }
}
