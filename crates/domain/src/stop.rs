//! Where a task ends by itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{OffsetDateTime, PrimitiveDateTime};

/// Where a task ends by itself. Written as one text: `never`, `loaded`, `commit-time:2026-03-08T12:00:00Z` or
/// `position:…` with a position as the source's people write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StopAt {
    /// It goes on.
    #[default]
    Never,
    /// Once its tables are loaded and all of them stand at one position.
    Loaded,
    /// Before the first transaction of the log that the source committed later (microseconds since 1970).
    CommitTime(i64),
    /// Before the first transaction that ends after this position.
    Position(String),
}

/// A text that says no place to stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAStop {
    /// Another beginning.
    #[error("\"{0}\" is not never, loaded, commit-time:… or position:…")]
    Word(String),
    /// A time that can't be read.
    #[error("\"{0}\" is not a time like 2026-03-08T12:00:00Z; one without an offset is UTC")]
    Time(String),
    /// Nothing after `position:`.
    #[error("the position is missing")]
    NoPosition,
}

const TIME: &str = "commit-time:";
const POSITION: &str = "position:";

impl FromStr for StopAt {
    type Err = NotAStop;

    fn from_str(text: &str) -> Result<Self, NotAStop> {
        let text = text.trim();
        if let Some(position) = text.strip_prefix(POSITION).map(str::trim) {
            let is_given = !position.is_empty();
            return is_given.then(|| Self::Position(position.to_owned())).ok_or(NotAStop::NoPosition);
        }
        if let Some(at) = text.strip_prefix(TIME).or_else(|| text.strip_prefix("commit_time:")).map(str::trim) {
            return micros(at).map(Self::CommitTime).ok_or_else(|| NotAStop::Time(at.to_owned()));
        }
        match text {
            "never" | "" => Ok(Self::Never),
            "loaded" => Ok(Self::Loaded),
            other => Err(NotAStop::Word(other.to_owned())),
        }
    }
}

fn micros(text: &str) -> Option<i64> {
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .or_else(|| PrimitiveDateTime::parse(text, &Iso8601::DEFAULT).ok().map(PrimitiveDateTime::assume_utc))?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000).ok()
}

/// A time in microseconds since 1970, as people read it.
#[must_use]
pub fn time_text(micros: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| micros.to_string())
}

impl fmt::Display for StopAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Loaded => f.write_str("loaded"),
            Self::CommitTime(at) => write!(f, "{TIME}{}", time_text(*at)),
            Self::Position(position) => write!(f, "{POSITION}{position}"),
        }
    }
}

impl From<StopAt> for String {
    fn from(stop: StopAt) -> Self {
        stop.to_string()
    }
}

impl TryFrom<String> for StopAt {
    type Error = NotAStop;

    fn try_from(text: String) -> Result<Self, NotAStop> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_reads_back() {
        for text in [
            "never",
            "loaded",
            "commit-time:2026-03-08T12:00:00Z",
            "commit-time:2026-03-08T12:00:00.000001Z",
            "position:3A/91C0F2B8",
        ] {
            assert_eq!(text.parse::<StopAt>().unwrap().to_string(), text);
        }
        assert_eq!("".parse(), Ok(StopAt::Never));
        let json = serde_json::json!("position:1/2");
        let stop: StopAt = serde_json::from_value(json.clone()).unwrap();
        assert_eq!((serde_json::to_value(&stop).unwrap(), stop), (json, StopAt::Position("1/2".to_owned())));
    }

    #[test]
    fn a_time_without_an_offset_is_utc_and_one_with_another_is_turned_into_it() {
        let noon = StopAt::CommitTime(1_772_971_200_000_000);
        for text in ["2026-03-08T12:00:00Z", "2026-03-08T12:00:00", "2026-03-08T14:00:00+02:00"] {
            assert_eq!(format!("commit-time:{text}").parse(), Ok(noon.clone()), "{text}");
        }
        assert_eq!("commit_time:2026-03-08T12:00:00".parse(), Ok(noon.clone()));
        assert_eq!(noon.to_string(), "commit-time:2026-03-08T12:00:00Z");
    }

    #[test]
    fn what_is_no_place_to_stop_is_refused_with_the_form() {
        for (text, said) in [
            ("soon", "\"soon\" is not never, loaded, commit-time:… or position:…"),
            ("commit-time:noon", "\"noon\" is not a time like 2026-03-08T12:00:00Z; one without an offset is UTC"),
            ("commit-time:", "\"\" is not a time like 2026-03-08T12:00:00Z; one without an offset is UTC"),
            ("position: ", "the position is missing"),
        ] {
            assert_eq!(text.parse::<StopAt>().unwrap_err().to_string(), said, "{text}");
        }
    }
}
