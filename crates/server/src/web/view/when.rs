//! A moment: relative for the eye, exact in the tooltip.

use std::fmt;

use askama::filters::HtmlSafe;
use time::OffsetDateTime;
use time::macros::format_description;

use super::format;

/// A moment as pages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// `6 min ago`.
    pub relative: String,
    /// `2026-11-21 14:26:03 UTC`.
    pub exact: String,
    /// For programs.
    pub iso: String,
}

impl When {
    /// A moment seen from another.
    #[must_use]
    pub fn new(at: OffsetDateTime, now: OffsetDateTime) -> Self {
        let at = at.to_offset(time::UtcOffset::UTC);
        let seconds = (now - at).whole_seconds();
        let length = format::duration(seconds.unsigned_abs());
        let relative = match seconds {
            -1..=1 => "just now".to_owned(),
            2.. => format!("{length} ago"),
            _ => format!("in {length}"),
        };
        Self { relative, exact: exact(at), iso: iso(at) }
    }

    /// The same moment, shown as how long it lasts by now: `12 d 4 h`.
    #[must_use]
    pub fn lasting(at: OffsetDateTime, now: OffsetDateTime) -> Self {
        let relative = format::duration((now - at).whole_seconds().max(0).unsigned_abs());
        Self { relative, ..Self::new(at, now) }
    }
}

/// A moment counted in microseconds since 1970.
#[must_use]
pub fn from_micros(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()
}

/// `14:26:03`.
#[must_use]
pub fn time_of_day(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC).format(format_description!("[hour]:[minute]:[second]")).unwrap_or_default()
}

fn exact(at: OffsetDateTime) -> String {
    at.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC")).unwrap_or_default()
}

fn iso(at: OffsetDateTime) -> String {
    at.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
        .unwrap_or_default()
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"<time datetime="{}" title="{}">{}</time>"#, self.iso, self.exact, self.relative)
    }
}

/// Only digits, letters, dashes and spaces are in it.
impl HtmlSafe for When {}

impl askama::FastWritable for When {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(write!(dest, "{self}")?)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_moment_is_relative_with_the_exact_time_beside_it() {
        let when = When::new(datetime!(2026-11-21 14:26:03 UTC), datetime!(2026-11-21 14:32:07 UTC));
        assert_eq!(
            when.to_string(),
            "<time datetime=\"2026-11-21T14:26:03.000Z\" title=\"2026-11-21 14:26:03 UTC\">6\u{202f}min ago</time>"
        );
    }

    #[test]
    fn the_future_and_the_present_read_well() {
        let now = datetime!(2026-11-21 14:32:07 UTC);
        assert_eq!(When::new(now, now).relative, "just now");
        assert_eq!(When::new(datetime!(2026-11-21 14:32:17 UTC), now).relative, "in 10\u{202f}s");
        assert_eq!(When::lasting(datetime!(2026-11-09 10:32:07 UTC), now).relative, "12\u{202f}d 4\u{202f}h");
    }
}
