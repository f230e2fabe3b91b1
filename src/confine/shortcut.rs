//! The beginning of the filter: which system calls are let through whatever their arguments are, and which are refused so.
//!
//! When a filter is installed, the kernel walks through it once for each system call that it knows, to remember which ones
//! it need not ask about. A program that compares one number after another makes that, and its translation to machine code,
//! the longest system call of a run. Here a number is compared with eight others at most, after the last of each group before
//! it. A call that depends on its arguments goes on to what seccompiler made for it, and so does one of another architecture.

use nix::libc::{
    self, BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
};
use seccompiler::{BpfProgram, sock_filter};

/// Numbers that are compared one after another.
const GROUP: usize = 8;

/// Where `struct seccomp_data` has the number of the system call, and the architecture that it is of (seccomp(2)).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// This architecture in `linux/audit.h`; others have no such beginning.
const OURS: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

/// Lets the system calls of `always` through, goes on behind its end with those of `by_arguments`, and ends with `refuse` for
/// all others. `None` where the architecture is not known.
pub(super) fn decide(
    always: impl IntoIterator<Item = libc::c_long>,
    by_arguments: impl IntoIterator<Item = libc::c_long>,
    refuse: u32,
) -> Option<BpfProgram> {
    let through = always.into_iter().map(|number| (number, true));
    let further = by_arguments.into_iter().map(|number| (number, false));
    let mut calls = Vec::new();
    for (number, through) in through.chain(further) {
        calls.push((u32::try_from(number).ok()?, through));
    }
    calls.sort_unstable();
    let mut program = vec![
        instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, ARCHITECTURE),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, OURS?),
        to_end(),
        instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, NUMBER),
    ];
    for group in calls.chunks(GROUP) {
        let (last, _) = group.last()?;
        // To the instruction behind the comparisons, of the three that each group ends with.
        let mut behind = u8::try_from(group.len()).ok()?;
        program.push(instruction(BPF_JMP | BPF_JGT | BPF_K, behind.checked_add(3)?, 0, *last));
        for (number, through) in group {
            let target = if *through { behind } else { behind.checked_add(1)? };
            program.push(instruction(BPF_JMP | BPF_JEQ | BPF_K, target, 0, *number));
            behind = behind.checked_sub(1)?;
        }
        program.push(instruction(BPF_RET | BPF_K, 0, 0, refuse));
        program.push(instruction(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW));
        program.push(to_end());
    }
    program.push(instruction(BPF_RET | BPF_K, 0, 0, refuse));
    let end = to_end();
    let mut left = u32::try_from(program.len()).ok()?;
    for instruction in &mut program {
        left = left.checked_sub(1)?;
        if *instruction == end {
            instruction.k = left;
        }
    }
    Some(program)
}

/// A jump behind the program's end, as far as that then is.
fn to_end() -> sock_filter {
    instruction(BPF_JMP | BPF_JA, 0, 0, u32::MAX)
}

/// The kernel refuses a filter with a code that it does not know.
fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt, jf, k }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

    use super::decide;
    use nix::libc::{
        BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    };
    use seccompiler::sock_filter;

    /// What the program says of a system call; `None` where it goes on behind its end.
    fn run(program: &[sock_filter], architecture: u32, number: u32) -> Option<u32> {
        let (mut at, mut loaded) = (0, 0);
        while at < program.len() {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            let jump = |taken| usize::from(if taken { jt } else { jf });
            at += 1;
            match u32::from(code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    loaded = [number, architecture][usize::try_from(k / 4).unwrap()]
                }
                code if code == BPF_JMP | BPF_JEQ | BPF_K => at += jump(loaded == k),
                code if code == BPF_JMP | BPF_JGT | BPF_K => at += jump(loaded > k),
                code if code == BPF_JMP | BPF_JA => at += usize::try_from(k).unwrap(),
                code if code == BPF_RET | BPF_K => return Some(k),
                code => panic!("{code:x}"),
            }
        }
        assert_eq!(at, program.len(), "a jump too far");
        None
    }

    #[test]
    fn each_number_is_decided_as_told() {
        const REFUSE: u32 = 0x0005_0001;
        let ours = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let some = [0, 1, 2, 3, 7, 8, 9, 60, 61, 62, 63, 64, 65, 66, 231, 318, 332, 1000];
        for count in 0..=some.len() {
            let (always, rest): (Vec<_>, Vec<_>) = some[..count].iter().partition(|number| *number % 3 != 0);
            let program = decide(always.iter().rev().copied(), rest.iter().copied(), REFUSE).unwrap();
            for number in (0..1200).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                let told = match i64::from(number) {
                    number if always.contains(&number) => Some(SECCOMP_RET_ALLOW),
                    number if rest.contains(&number) => None,
                    _ => Some(REFUSE),
                };
                assert_eq!(run(&program, ours, number), told, "{number} of {always:?} and {rest:?}");
                for other in [0, 0x4000_0003, ours ^ 1, u32::MAX] {
                    assert_eq!(run(&program, other, number), None, "{number} of {other:x}");
                }
            }
        }
        assert!(decide([-1], [], REFUSE).is_none(), "no system call has that number");
    }
}
