//! Detects whether this machine is an EC2 instance. Reads two files and makes no request.
//!
//! Source: "Detect whether a host is an EC2 instance", Amazon EC2 User Guide.

use std::path::Path;

use crate::ec2::InstanceId;
use crate::{files, limits};

/// The kind of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A Nitro instance. Its firmware contains the instance ID.
    Nitro(InstanceId),
    /// A Xen instance. Only IMDS has its ID.
    Xen,
    NotEc2,
}

/// The files that identify an instance.
pub(crate) const FILES: [&str; 2] = [BOARD_ASSET_TAG, HYPERVISOR_UUID];

const BOARD_ASSET_TAG: &str = "/sys/devices/virtual/dmi/id/board_asset_tag";
const HYPERVISOR_UUID: &str = "/sys/hypervisor/uuid";

impl Host {
    /// Reads the two files below `root` (`/`). A file that cannot be read is ignored.
    #[must_use]
    pub(crate) fn identify(root: &Path) -> Self {
        if let Some(id) = read(&files::below(root, Path::new(BOARD_ASSET_TAG)))
            .and_then(|tag| InstanceId::parse(tag.trim_ascii()))
        {
            return Self::Nitro(id);
        }
        match read(&files::below(root, Path::new(HYPERVISOR_UUID))) {
            Some(uuid) if uuid.get(..3).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"ec2")) => {
                Self::Xen
            }
            _ => Self::NotEc2,
        }
    }

    /// The instance ID, if the firmware contains it.
    pub(crate) fn id(&self) -> Option<&InstanceId> {
        match self {
            Self::Nitro(id) => Some(id),
            Self::Xen | Self::NotEc2 => None,
        }
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    files::read(path, limits::FIRMWARE_FILE).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::{BOARD_ASSET_TAG, HYPERVISOR_UUID, Host};
    use crate::ec2::InstanceId;
    use crate::{files, limits};
    use std::path::{Path, PathBuf};

    fn machine(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("eic-keys-host-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = files::below(&root, Path::new(path));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_two_files_decide() {
        let id = InstanceId::parse(b"i-0123456789abcdef0").unwrap();
        let most = usize::try_from(limits::FIRMWARE_FILE).unwrap();
        let (longest, too_long) =
            [most, most + 1].map(|length| format!("{:<length$}", id.to_string())).into();
        for (name, files, host) in [
            ("nitro", vec![(BOARD_ASSET_TAG, "i-0123456789abcdef0\n")], Host::Nitro(id.clone())),
            ("longest-tag", vec![(BOARD_ASSET_TAG, longest.as_str())], Host::Nitro(id)),
            ("longer-tag", vec![(BOARD_ASSET_TAG, too_long.as_str())], Host::NotEc2),
            ("xen", vec![(HYPERVISOR_UUID, "ec2e1916-9099-7caf-fd21-012345abcdef\n")], Host::Xen),
            ("xen-upper", vec![(HYPERVISOR_UUID, "EC2E1916-9099-7CAF-FD21-012345ABCDEF\n")], Host::Xen),
            ("other-xen", vec![(HYPERVISOR_UUID, "45e12aec-9099-7caf-fd21-012345abcdef\n")], Host::NotEc2),
            ("other-board", vec![(BOARD_ASSET_TAG, "Not Specified\n")], Host::NotEc2),
            ("neither", vec![], Host::NotEc2),
        ] {
            let root = machine(name, &files);
            assert_eq!(Host::identify(&root), host, "{name}");
            let _ = std::fs::remove_dir_all(root);
        }
    }
}
