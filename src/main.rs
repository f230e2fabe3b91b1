//! `eic-keys`: argv → command → exit status, nothing else.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use eic_keys::audit::{Audit, Escaped, Severity};
use eic_keys::authorize::{self, System};
use eic_keys::check;
use eic_keys::cli::{self, Command};
use eic_keys::trust::UnixTime;

fn main() -> ExitCode {
    let root = Path::new("/");
    let printed = |text: &str| match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(4),
        _ => ExitCode::SUCCESS,
    };
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match cli::parse(arguments.clone()) {
        Ok(Command::Help) => printed(cli::HELP),
        Ok(Command::Version) => printed(concat!("eic-keys ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Authorize(request)) => {
            let system = System { root, clock: UnixTime::now, audit: &Audit::open(root) };
            authorize::run(&request, &system, io::stdout().lock()).into()
        }
        Ok(Command::Check(request)) => {
            let system =
                check::System { root, clock: UnixTime::now, environment: |name| std::env::var_os(name) };
            reported(check::run(&request, &system), &request)
        }
        Err(error) if cli::asks_for_check(&arguments).0 => {
            not_run(&error.to_string(), cli::asks_for_check(&arguments).1)
        }
        Err(error) => {
            // sshd throws stderr away; the log is where an administrator finds what is wrong with the line in sshd_config.
            let error = error.to_string();
            let error = Escaped(error.as_bytes());
            Audit::open(root).send(Severity::Warning, &format!("Wrong command line: {error}"));
            let _ = writeln!(io::stderr(), "eic-keys: {error}\nTry 'eic-keys --help'.");
            ExitCode::from(1)
        }
    }
}

/// Prints what `--check` found; 2 where that could not be done.
fn reported(report: io::Result<check::Report>, request: &check::Request) -> ExitCode {
    let report = match report {
        Ok(report) => report,
        Err(error) => return not_run(&error.to_string(), request.json),
    };
    let text = if request.json {
        check::json::write(&report)
    } else {
        let colour =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        check::text::write(&report, request.verbose, colour)
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => not_run(&error.to_string(), false),
        _ => ExitCode::from(report.exit_status()),
    }
}

/// `--check` could not run: so in one document as well, where that was asked for.
fn not_run(reason: &str, json: bool) -> ExitCode {
    let reason = Escaped(reason.as_bytes()).to_string();
    if json {
        let _ = io::stdout().write_all(check::json::not_run(&reason).as_bytes());
    } else {
        let _ = writeln!(io::stderr(), "eic-keys: --check could not run: {reason}");
    }
    ExitCode::from(2)
}
