//! The system's time zone.

use std::path::Path;

use crate::calendar::DAY;
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

    #[cfg(test)]
    pub(crate) fn utc() -> Self {
        Self(None)
    }

    /// An offset that is always the same, in seconds east of UTC.
    #[cfg(test)]
    pub(crate) fn fixed(offset: i32) -> Self {
        Self(tz::TimeZone::fixed(offset).ok())
    }

    /// Central European Time, with the summer of 2026.
    #[cfg(test)]
    pub(crate) fn berlin() -> Self {
        use tz::timezone::{LocalTimeType, Transition};
        let types = [(3600, false), (7200, true)]
            .map(|(offset, summer)| LocalTimeType::new(offset, summer, None).ok());
        let transitions = [(0, 0), (1_774_746_000, 1), (1_792_890_000, 0), (4_000_000_000, 0)];
        let transitions = transitions.map(|(time, kind)| Transition::new(time, kind)).to_vec();
        Self(tz::TimeZone::new(transitions, types.into_iter().flatten().collect(), Vec::new(), None).ok())
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

    /// The first and the last time at which a local clock shows this: they differ in an hour that it shows twice.
    pub(crate) fn instants(&self, local: u64) -> (u64, u64) {
        let with_offset_at = |time: u64| local.saturating_add_signed(self.offset(time).saturating_neg());
        // The offset of a zone changes at most once in two days.
        let around = [local.saturating_sub(DAY), local.saturating_add(DAY)].map(with_offset_at);
        let shown = || around.into_iter().filter(|time| self.local(*time) == local);
        // The clock skips this local time: return the time before the gap.
        let [skipped, _] = around;
        (shown().min().unwrap_or(skipped), shown().max().unwrap_or(skipped))
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
            assert_eq!((zone.local(time), zone.instants(local)), (local, (time, time)));
        }
        assert_eq!(TimeZone::utc().local(7), 7);
    }

    #[test]
    fn an_hour_that_the_clock_shows_twice_and_one_that_it_skips() {
        let zone = TimeZone::berlin();
        // 2026-10-25, 2026-03-29.
        let (autumn, spring) = (1_792_890_000, 1_774_746_000);
        assert_eq!(zone.instants(autumn + 3600 + 5), (autumn - 3595, autumn + 5));
        assert_eq!(zone.instants(autumn + 7200), (autumn + 3600, autumn + 3600));
        assert_eq!(zone.instants(autumn + 3599), (autumn - 3601, autumn - 3601));
        assert_eq!(zone.instants(spring + 3600), (spring, spring), "skipped");
        assert_eq!(zone.instants(spring + 7200), (spring, spring));
    }
}
