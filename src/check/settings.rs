//! The settings of sshd, from `sshd -T`.

use std::path::{Path, PathBuf};

use crate::sshd::config_tree::ConfigTree;
use crate::sshd::query::{ADMIN_CONFIG, Dump, main_file};

/// The main file that sshd reads, which can be the vendor's.
pub(crate) fn main(tree: &ConfigTree) -> PathBuf {
    main_file(tree, Path::new(ADMIN_CONFIG))
}

/// The output of `sshd -T`.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) dump: Dump,
    others: Vec<(String, String)>,
}

impl Settings {
    pub(crate) fn new(dump: Dump) -> Self {
        let others = dump.others.iter().map(|line| {
            let line = String::from_utf8_lossy(line);
            let (keyword, value) = line.split_once(' ').unwrap_or((&line, ""));
            (keyword.to_ascii_lowercase(), value.to_owned())
        });
        Self { others: others.collect(), dump }
    }

    /// All values of a keyword, given in lower case.
    pub(crate) fn all<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a str> {
        self.others.iter().filter(move |(name, _)| name == keyword).map(|(_, value)| value.as_str())
    }

    /// The first value of a keyword, given in lower case. Empty if it is not set.
    pub(crate) fn one(&self, keyword: &str) -> &str {
        let value = self.others.iter().find(|(name, _)| name == keyword);
        value.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether a keyword has this value.
    pub(crate) fn is(&self, keyword: &str, value: &str) -> bool {
        self.one(keyword) == value
    }
}
