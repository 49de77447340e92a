//! Points in time for policies and histories, relative to now.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};

/// A daily schedule whose latest time was between two and three hours ago: no test meets the next.
#[must_use]
pub fn daily() -> String {
    format!("0 {} * * *", latest().hour())
}

/// The slot of [`daily`] that holds now.
#[must_use]
pub fn latest() -> Zoned {
    let now = Timestamp::now().to_zoned(TimeZone::UTC) - 2.hours();
    let hour = now.with().minute(0).second(0).subsec_nanosecond(0).build();
    hour.unwrap_or(now)
}

/// The slot of the built-in policy's schedule, `0 3 * * *`, that holds now.
#[must_use]
pub fn built_in() -> Zoned {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let today = now.date().at(3, 0, 0, 0).to_zoned(TimeZone::UTC);
    let today = today.unwrap_or_else(|_| now.clone());
    if today > now { today - 1.day() } else { today }
}

/// The slot so many days before the one that holds now.
#[must_use]
pub fn days_ago(days: i64) -> Zoned {
    latest() - days.days()
}

/// A slot as a snapshot's tag has it.
#[must_use]
pub fn tag(slot: &Zoned) -> String {
    slot.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}
