//! The seccomp filter.
//!
//! seccompiler compares a number with those of the allowed calls, one after another. The kernel evaluates a new filter for every number, so
//! these comparisons took a twentieth of a run. Therefore the calls are divided by number: seccompiler makes a program of each part, and a
//! few jumps lead to the part for a number. The start of these programs, which is always the same, is there once.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use super::calls::Call;

/// Maximum number of calls in a part. Larger parts take longer to evaluate, smaller ones to translate to machine code.
pub(super) const PART: usize = 4;

/// Length of the start of a program: three instructions that end the process if the architecture is another, and one that loads the number.
const START: usize = 4;

// Instructions (linux/bpf_common.h): BPF_JMP | BPF_JGE | BPF_K, BPF_JMP | BPF_JA.
const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP: u16 = 0x05;

/// A filter that allows `calls`. All others fail with EPERM, so that a libc which tries a new call can continue without it.
pub(super) fn program(calls: &[Call], part: usize) -> Result<BpfProgram, BackendError> {
    // If a call is listed twice, the last entry applies.
    let mut rules = BTreeMap::new();
    for call in calls {
        rules.insert(call.number, call.rules()?);
    }
    let (mut start, rest) = divide(rules, part, std::env::consts::ARCH.try_into()?)?;
    start.extend(rest);
    Ok(start)
}

/// Makes a program, and returns its start apart.
fn divide(
    mut rules: BTreeMap<i64, Vec<SeccompRule>>,
    part: usize,
    arch: TargetArch,
) -> Result<(BpfProgram, BpfProgram), BackendError> {
    let middle = rules.keys().nth(rules.len() / 2).and_then(|number| u32::try_from(*number).ok());
    let Some(middle) = middle.filter(|_| rules.len() > part) else {
        let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let mut start: BpfProgram =
            SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()?;
        let rest = start.split_off(START.min(start.len()));
        return Ok((start, rest));
    };
    let (_, high) = divide(rules.split_off(&middle.into()), part, arch)?;
    let (start, low) = divide(rules, part, arch)?;
    let skip_low = u32::try_from(low.len()).map_err(|_| BackendError::FilterTooLarge(low.len()))?;
    // A number less than `middle` skips the jump over `low`.
    let jumps = [(JUMP_IF_AT_LEAST, 1, middle), (JUMP, 0, skip_low)];
    let jumps = jumps.map(|(code, jf, k)| sock_filter { code, jt: 0, jf, k });
    Ok((start, [&jumps, low.as_slice(), &high].concat()))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "tests"
    )]

    use super::*;
    use crate::sandbox::calls::allowed;

    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS

    const OWN: i32 = 4711;
    const CHILD: i32 = 4712;

    /// The filters of all kinds of runs.
    fn runs() -> impl Iterator<Item = Vec<Call>> {
        (0..8).map(|kind| allowed(OWN, (kind & 1 != 0).then_some(CHILD), kind & 2 != 0, kind & 4 != 0))
    }

    /// What a filter sees of a call: number, architecture, address (not used), arguments. Each argument is its lower, then its upper half.
    fn data(number: u32, architecture: u32, arguments: [u64; 6]) -> Vec<u32> {
        let halves =
            |argument: u64| [argument & 0xffff_ffff, argument >> 32].map(|half| half.try_into().unwrap());
        [number, architecture, 0, 0].into_iter().chain(arguments.into_iter().flat_map(halves)).collect()
    }

    /// Evaluates a filter as the kernel does. Returns the action and the number of instructions.
    fn evaluate(program: &[sock_filter], data: &[u32]) -> (u32, usize) {
        let (mut at, mut value, mut steps) = (0, 0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let jump = |condition| usize::from(if condition { jt } else { jf });
            steps += 1;
            at += 1;
            match code {
                LOAD => value = data[usize::try_from(k).unwrap() / 4],
                JUMP => at += usize::try_from(k).unwrap(),
                JUMP_IF_AT_LEAST => at += jump(value >= k),
                0x15 => at += jump(value == k), // BPF_JMP | BPF_JEQ | BPF_K
                0x54 => value &= k,             // BPF_ALU | BPF_AND | BPF_K
                0x06 => return (k, steps),      // BPF_RET | BPF_K
                _ => panic!("{code:#x}"),
            }
        }
    }

    /// The architecture that the filter is for, from its first program.
    fn architecture(program: &[sock_filter]) -> u32 {
        program.windows(2).find(|two| two[0].code == LOAD && two[0].k == 4).unwrap()[1].k
    }

    /// The arguments of each allowed form, and those with one bit changed.
    fn arguments(call: &Call) -> Vec<[u64; 6]> {
        let mut all = vec![[0; 6], [u64::MAX; 6]];
        for form in &call.forms {
            for rest in [0, u64::MAX] {
                let mut arguments = [rest; 6];
                for argument in form {
                    let of_form = &mut arguments[usize::from(argument.index)];
                    *of_form = (*of_form & !argument.mask) | argument.value;
                }
                all.push(arguments);
                for bit in 0..6 * 64 {
                    let mut changed = arguments;
                    changed[bit / 64] ^= 1 << (bit % 64);
                    all.push(changed);
                }
            }
        }
        all
    }

    #[test]
    fn a_divided_filter_decides_as_the_whole_one() {
        const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
        for calls in runs() {
            let whole = program(&calls, usize::MAX).unwrap();
            let native = architecture(&whole);
            for part in [PART, 1] {
                let divided = program(&calls, part).unwrap();
                assert!(divided.len() > whole.len());
                let mut allowed = 0;
                let mut compare = |number, architecture, arguments| {
                    let data = data(number, architecture, arguments);
                    let action = evaluate(&whole, &data).0;
                    assert_eq!(evaluate(&divided, &data).0, action, "{part} {data:x?}");
                    allowed += usize::from(action == ALLOW);
                };
                // Every number of this architecture, those of x32, and some that are none. i386, x86_64, aarch64.
                let edges = [0x7fff_ffff, 0x8000_0000, u32::MAX];
                for number in (0..=1024).chain(0x4000_0000..=0x4000_0400).chain(edges) {
                    for architecture in [native, 0x4000_0003, 0xc000_003e, 0xc000_00b7, 0] {
                        for argument in [0, u64::MAX] {
                            compare(number, architecture, [argument; 6]);
                        }
                    }
                }
                for call in &calls {
                    for arguments in arguments(call) {
                        compare(u32::try_from(call.number).unwrap(), native, arguments);
                    }
                }
                assert!(allowed > 1000, "{allowed}");
            }
        }
    }

    #[test]
    fn a_number_is_decided_after_few_instructions() {
        let steps = |program: &BpfProgram| {
            let architecture = architecture(program);
            (0..512).map(|number| evaluate(program, &data(number, architecture, [0; 6])).1).sum::<usize>()
        };
        for calls in runs() {
            let (whole, divided) = (program(&calls, usize::MAX).unwrap(), program(&calls, PART).unwrap());
            assert!(steps(&divided) * 2 < steps(&whole));
        }
    }
}
