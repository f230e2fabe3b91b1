//! The program: parses the command line, runs the command, and returns its exit status.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use eic_keys::authorize::RunContext;
use eic_keys::check;
use eic_keys::cli::{self, Command, Reporter};
use eic_keys::error_text::WithCauses;
use eic_keys::escape::Escaped;
use eic_keys::exit_status::ExitStatus;
use eic_keys::log_lines::wrong_command_line;
use eic_keys::logins;
use eic_keys::run;
use eic_keys::run_log::RunLog;
use eic_keys::sandbox;
use eic_keys::sshd::{self, EnableOutcome};
use eic_keys::syslog::{Severity, Syslog};
use eic_keys::trust::UnixTime;

fn main() -> ExitCode {
    let root = Path::new("/");
    let printed = |text: &str| match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitStatus::System.code().into(),
        _ => ExitCode::SUCCESS,
    };
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match cli::parse(arguments.clone()) {
        Ok(Command::Help) => printed(&cli::help()),
        Ok(Command::Version) => printed(concat!("eic-keys ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Keys(query)) => {
            let log = RunLog::open(root);
            let context = RunContext { root, clock: UnixTime::now, sandbox: sandbox::enter, log: &log };
            run::run(&query, &context, io::stdout().lock()).into()
        }
        Ok(Command::Enable(options)) => report(&sshd::enable(&options, &mut io::stdout())),
        Ok(Command::Disable(options)) => report(&sshd::disable(&options, &mut io::stdout())),
        Ok(Command::Check(request)) => {
            let environment = |name: &str| std::env::var_os(name);
            let target = check::CheckTarget { root, clock: UnixTime::now, environment };
            check::run(&request, &target, &mut io::stdout()).into()
        }
        Ok(Command::Logins(request)) => {
            let target = logins::LoginsTarget { root, clock: UnixTime::now };
            logins::run(&request, &target, &mut io::stdout()).into()
        }
        Err(error) => {
            if let Some((reporter, json)) = cli::asks_for_report(&arguments) {
                let not_run = match reporter {
                    Reporter::Check => check::not_run,
                    Reporter::Logins => logins::not_run,
                };
                return not_run(&WithCauses(&error), json, &mut io::stdout()).into();
            }
            // sshd discards stderr. An administrator finds an error in the sshd_config line in the log.
            let error = WithCauses(&error).to_string();
            let error = Escaped(error.as_bytes());
            Syslog::open(root).send(Severity::Warning, &wrong_command_line(error));
            let _ = writeln!(io::stderr(), "eic-keys: {error}\nTry 'eic-keys --help'.");
            ExitStatus::Usage.code().into()
        }
    }
}

fn report(outcome: &EnableOutcome) -> ExitCode {
    if let Some(reason) = outcome.reason() {
        let _ = writeln!(io::stderr(), "eic-keys: {reason}");
    }
    outcome.code().into()
}
