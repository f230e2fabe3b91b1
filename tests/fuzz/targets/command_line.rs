//! Any arguments, separated by NUL as in the kernel: what follows `--` is passed on unchanged, and nothing else is run.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use eic_keys::cli::{Command, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let arguments: Vec<OsString> =
        bytes.split(|byte| *byte == 0).map(|argument| OsString::from_vec(argument.to_vec())).collect();
    let behind =
        arguments.iter().position(|argument| argument == "--").map(|at| arguments[at + 1..].to_vec());
    match parse(arguments.clone()) {
        Ok(Command::Keys(request)) => {
            assert!(arguments.contains(&request.user));
            assert_eq!(request.chained_command, behind);
            assert!((0.1..=60.0).contains(&request.timeout.as_secs_f64()));
        }
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
