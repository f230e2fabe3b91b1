//! The system's time zone.

use std::path::Path;

use crate::files;
use crate::limits;

/// The time zone of the system, from `/etc/localtime`; UTC if it cannot be read, as for libc.
#[derive(Clone, Debug)]
pub struct TimeZone(Option<tz::TimeZone>);

impl TimeZone {
    /// That of the system below `root`.
    #[must_use]
    pub fn system(root: &Path) -> Self {
        let read = || {
            let bytes = files::read(&root.join("etc/localtime"), limits::TIME_ZONE).ok()?;
            tz::TimeZone::from_tz_data(&bytes).ok()
        };
        Self(read())
    }

    /// UTC.
    #[cfg(test)]
    pub(crate) fn utc() -> Self {
        Self(None)
    }

    /// An offset that is always the same, in seconds east of UTC.
    #[cfg(test)]
    pub(crate) fn fixed(offset: i32) -> Self {
        Self(tz::TimeZone::fixed(offset).ok())
    }

    /// Seconds east of UTC, at a time in seconds since 1970.
    pub(crate) fn offset(&self, time: u64) -> i64 {
        let zone = self.0.as_ref().zip(i64::try_from(time).ok());
        let kind = zone.and_then(|(zone, time)| zone.find_local_time_type(time).ok());
        kind.map_or(0, |kind| kind.ut_offset().into())
    }

    /// What a local clock shows, in seconds since 1970-01-01 00:00 of that clock.
    pub(crate) fn local(&self, time: u64) -> u64 {
        time.saturating_add_signed(self.offset(time))
    }

    /// The time at which a local clock shows this. An hour that the clock shows twice is the first or the second one.
    pub(crate) fn instant(&self, local: u64) -> u64 {
        let at = |guess: u64| local.saturating_add_signed(self.offset(guess).saturating_neg());
        at(at(local))
    }
}

#[cfg(test)]
mod tests {
    use super::TimeZone;

    #[test]
    fn a_time_and_what_the_clock_shows() {
        for (offset, time, local) in
            [(0, 86_400, 86_400), (3600, 86_400, 90_000), (-5 * 3600, 86_400, 68_400)]
        {
            let zone = TimeZone::fixed(offset);
            assert_eq!((zone.local(time), zone.instant(local)), (local, time));
        }
        assert_eq!(TimeZone::utc().local(7), 7);
    }
}
