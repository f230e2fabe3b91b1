//! The help text.

use crate::arguments::Options;
use crate::imds::client;
use crate::limits;
use crate::seconds::Seconds;

/// The help text before the options.
const HELP_HEAD: &str = "\
eic-keys: prints the SSH keys that were pushed for a user with EC2 Instance Connect, if they can be verified

Usage: eic-keys [OPTIONS] USER [FINGERPRINT] [-- COMMAND ARG...]
       eic-keys --check [USER [FINGERPRINT]] [--rehearse] [--wait SECONDS] [--json] [--verbose] [OPTIONS]
       eic-keys --logins [--user USER] [--since TIME] [--until TIME] [--refused] [--json]
       eic-keys --enable [--dry-run] [--no-chain] [--if-user-missing]
       eic-keys --disable [--dry-run]
       eic-keys --help | --version

sshd runs eic-keys with these lines, which --enable adds and --disable removes:
       AuthorizedKeysCommand /usr/bin/eic-keys %u %f
       AuthorizedKeysCommandUser eic-keys

Arguments:
  USER               whose keys to print (%u)
  FINGERPRINT        print this key only (%f); SHA256:...
  COMMAND ARG...     also run this AuthorizedKeysCommand, and print its keys after the pushed keys

Options:
";

/// The help text after the options of the table.
const HELP_TAIL: &str = "  -h, --help           this text
  -V, --version        the version

Exit status:                                --enable, --disable:               --check:
  0  success, with keys or without          0  done, or nothing to do          0  no check failed
  1  the command line is wrong              1  refused, no change              1  a check failed
  2  metadata service failed or timed out   2  failed, see the message         2  it could not run
  3  the signer is not trusted
  4  no usable trust store, or another problem of this system
If no pushed key is printed and the chained command fails, its status counts: its own, 128 + signal, or 126.
--logins: 0 the whole log was read, 2 it was not.

Decisions are logged (syslog, authpriv). On a terminal they are also printed to standard error.
";

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    [HELP_HEAD, &options(), HELP_TAIL].concat()
}

/// The rows of the options.
fn options() -> String {
    let (least, most) = limits::RUN_RANGE;
    let addresses = client::ADDRESSES.map(|address| address.ip().to_string()).join(", then ");
    let rows: String = Options::ROWS.iter().map(ToString::to_string).collect();
    rows.replace("{least}", &Seconds(least).to_string())
        .replace("{most}", &Seconds(most).to_string())
        .replace("{shortest}", &Seconds(limits::WAIT_RANGE.0).to_string())
        .replace("{longest}", &Seconds(limits::WAIT_RANGE.1).to_string())
        .replace("{default}", &Seconds(limits::RUN_TIME).to_string())
        .replace("{addresses}", &addresses)
}

#[cfg(test)]
mod tests {
    use super::{Options, help};

    #[test]
    fn help_has_a_line_of_at_most_110_columns_for_each_option() {
        let help = help();
        for row in Options::ROWS {
            let line = row.to_string();
            let option = line.split_whitespace().next().unwrap_or_default();
            assert!(help.lines().any(|line| line.trim_start().starts_with(option)), "{option}");
        }
        assert!(help.lines().all(|line| line.len() <= 110 && !line.contains(['{', '}'])), "{help}");
    }
}
