//! What differs between releases of OpenSSH: the rules by which they parse their configuration, and how they keep their host keys.

/// A release of OpenSSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpensshVersion {
    number: (u32, u32),
    release: String,
}

impl OpensshVersion {
    /// Parses the output of `sshd -V`, from stdout and stderr. Versions without `-V` print their version in the usage
    /// text. `None` if the text contains no version.
    #[must_use]
    pub fn from_version_text(text: &str) -> Option<Self> {
        let (_, from_number) = text.split_once("OpenSSH_")?;
        let line = from_number.lines().next()?;
        let (major, rest) = line.split_once('.')?;
        let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let number = (major.parse().ok()?, minor.parse().ok()?);
        let release = line.split(',').next()?.trim_end();
        Some(Self { number, release: format!("OpenSSH_{release}") })
    }

    /// The newest known version, for a configuration whose sshd was removed.
    pub(super) fn newest() -> Self {
        Self { number: (10, 0), release: "OpenSSH_10.0".to_owned() }
    }

    /// The version as sshd prints it: `OpenSSH_9.2p1`.
    #[must_use]
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// Up to 8.6, a `#` anywhere in a line starts a comment.
    pub(super) fn hash_starts_comment_anywhere(&self) -> bool {
        self.number < (8, 7)
    }

    /// 7.4 keeps trailing blanks, which become part of the value of `AuthorizedKeysCommand`.
    pub(super) fn trims_trailing_blanks(&self) -> bool {
        self.number >= (7, 5)
    }

    /// 8.2, the first version with `Include`, replaces a relative argument with `/etc/ssh/` and the keyword, and finds
    /// no file.
    pub(super) fn includes_relative(&self) -> bool {
        self.number != (8, 2)
    }

    /// In 8.2 and 8.3, a `Match` never applies in a file that is included outside a `Match` block.
    pub(crate) fn match_applies_in_included(&self) -> bool {
        self.number >= (8, 4)
    }

    /// From 8.7, arguments are split by `argv_split`; before that, by `strdelim`.
    pub(super) fn splits_like_argv(&self) -> bool {
        self.number >= (8, 7)
    }

    /// `Match` lines use `argv_split` from 9.9.
    pub(super) fn match_splits_like_argv(&self) -> bool {
        self.number >= (9, 9)
    }

    /// `Match invalid-user` exists from 9.9.
    pub(super) fn has_invalid_user(&self) -> bool {
        self.number >= (9, 9)
    }

    /// In 9.9p1, `Match invalid-user` applies in the first pass, without a connection, so its block applies to all
    /// users. Fixed in 9.9p2.
    pub(super) fn invalid_user_applies_in_first_pass(&self) -> bool {
        self.release.split(' ').next() == Some("OpenSSH_9.9p1")
    }

    /// Up to 8.3, sshd checks the value of `Match Address` and `Match LocalAddress` only if there is an address to
    /// compare.
    pub(super) fn checks_addresses_in_first_pass(&self) -> bool {
        self.number >= (8, 4)
    }

    /// From 9.8, the listening sshd passes its host keys to the process of a connection, which read them again before.
    pub(crate) fn keeps_host_keys(&self) -> bool {
        self.number >= (9, 8)
    }

    /// `Match version` exists from 10.0. The value to compare with.
    pub(super) fn match_version(&self) -> Option<&str> {
        (self.number >= (10, 0)).then_some(self.release.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::OpensshVersion;

    #[test]
    fn reads_the_version_that_each_release_prints() {
        let openssh = |text: &str| OpensshVersion::from_version_text(text).unwrap();
        assert_eq!(
            openssh("unknown option -- V\nOpenSSH_8.4p1 Debian-5, OpenSSL 1.1.1w\nusage:").number,
            (8, 4)
        );
        assert_eq!(openssh("OpenSSH_9.2, OpenSSL 3.0.20 7 Apr 2026").number, (9, 2));
        let trixie = openssh("OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.7");
        assert_eq!(trixie.match_version(), Some("OpenSSH_10.0p2 Debian-7"));
        assert_eq!(OpensshVersion::from_version_text("dropbear"), None);
    }
}
