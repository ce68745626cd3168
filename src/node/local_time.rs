//! Times as log and status file write them.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The zone of the system, read once: a process that has changed its root directory would not find
/// it again.
pub fn system_zone() -> TimeZone {
    static ZONE: LazyLock<TimeZone> = LazyLock::new(TimeZone::system);
    ZONE.clone()
}

/// `2026-11-22 02:14:15` in `zone`; a time that no calendar has is written as its seconds.
pub fn local_time(unix: u64, zone: &TimeZone) -> String {
    written("%Y-%m-%d %H:%M:%S", unix, zone)
}

/// `Nov 22 02:14:15`, as messages to the system log have it.
pub fn system_log_time(unix: u64, zone: &TimeZone) -> String {
    written("%b %e %H:%M:%S", unix, zone)
}

fn written(form: &str, unix: u64, zone: &TimeZone) -> String {
    i64::try_from(unix)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(
            || unix.to_string(),
            |moment| moment.to_zoned(zone.clone()).strftime(form).to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::Offset;

    #[test]
    fn a_time_is_written_in_its_zone() {
        assert_eq!(
            local_time(1_795_309_235, &TimeZone::UTC),
            "2026-11-22 01:00:35"
        );
        let east = TimeZone::fixed(Offset::constant(2));
        assert_eq!(local_time(1_795_309_235, &east), "2026-11-22 03:00:35");
        let early = 1_793_505_600;
        assert_eq!(system_log_time(early, &TimeZone::UTC), "Nov  1 04:00:00");
        assert_eq!(local_time(u64::MAX, &TimeZone::UTC), "18446744073709551615");
    }
}
