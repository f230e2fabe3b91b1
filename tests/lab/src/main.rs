//! The laboratory as a program.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to people")]

use eic_lab::{Instance, demo, interrupt, serve};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

const HELP: &str = "\
eic-lab: EC2 Instance Connect on this machine, without AWS

Usage: eic-lab demo
       eic-lab serve [--listen ADDRESS] [--port PORT] [--policy FILE] DIRECTORY

  demo    Dress this machine up as an EC2 instance, push keys, log in with the real ssh, and tell what happened.
          As root through a real sshd; without root as far as eic-keys itself.
          The program is what `make build` made, or the file that EIC_KEYS_BIN names.

  serve   Stand in for AWS: SendSSHPublicKey, the part of the EC2 API that clients ask, and an EC2 Instance Connect
          Endpoint, with an instance behind them. Says how to point each client at it, writes what they need into
          DIRECTORY, and then each call and log line as it comes, up to Ctrl-C. Needs root.
          ADDRESS is one of loopback, 127.0.0.1 unless given, and nothing else; PORT (4580) and the two after it
          are taken; FILE is an IAM policy of the laboratory's own form, see docs/laboratory.md.

Everything happens in namespaces of its own: no file of the machine changes, and nothing listens outside
of them but on loopback.

Exit status: 0 all went as it should, 1 it did not, 2 it could not be tried.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["demo"] => report(|| demo::run(clean_up)),
        ["serve", ref options @ ..] => match serve::Options::parse(options) {
            Ok(options) => report(|| serve::run(&options, clean_up)),
            Err(message) => {
                eprintln!("eic-lab: {message}\n\n{HELP}");
                ExitCode::from(2)
            }
        },
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

fn clean_up(instance: &Instance) {
    interrupt::clean_up(instance.namespace().id().clone());
}

/// Runs one of them. Returns whether all had the expected result, and prints what prevented it from running.
fn report(run: impl FnOnce() -> Result<bool, String>) -> ExitCode {
    // The laboratory panics with a whole sentence about what it cannot set up. Print only that.
    std::panic::set_hook(Box::new(|panic| {
        interrupt::check();
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref().copied()).unwrap_or("something is broken");
        eprintln!("eic-lab: {text}");
    }));
    interrupt::hold();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        eic_lab::namespace::become_root()?;
        run()
    }));
    match ended {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(message)) => {
            eprintln!("eic-lab: {message}");
            ExitCode::from(2)
        }
        Err(_) => ExitCode::from(2),
    }
}
