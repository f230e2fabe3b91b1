//! The laboratory as a program, for people.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people")]

use eic_lab::{demo, interrupt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

const HELP: &str = "\
eic-lab: EC2 Instance Connect on this machine, without AWS

Usage: eic-lab demo

  demo    Dress this machine up as an EC2 instance, push keys, log in with the real ssh, and tell what happened.
          As root through a real sshd; without root as far as eic-keys itself.
          The program is what `make build` made, or the file that EIC_KEYS_BIN names.

Everything happens in namespaces of its own: no file of the machine changes, and nothing listens outside.

Exit status: 0 all went as it should, 1 it did not, 2 it could not be tried.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["demo"] => show(),
        ["--help" | "-h" | "help"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn show() -> ExitCode {
    // What the laboratory cannot set up it panics about, in whole sentences; they are for people here.
    std::panic::set_hook(Box::new(|panic| {
        interrupt::check();
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref().copied()).unwrap_or("something is broken");
        eprintln!("eic-lab: {text}");
    }));
    interrupt::hold();
    let toured = catch_unwind(AssertUnwindSafe(|| {
        eic_lab::namespace::become_root()?;
        demo::run(|instance| interrupt::clean_up(instance.namespace().id().clone()))
    }));
    match toured {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(message)) => {
            eprintln!("eic-lab: {message}");
            ExitCode::from(2)
        }
        Err(_) => ExitCode::from(2),
    }
}
