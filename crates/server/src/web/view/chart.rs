//! Lines over time: the small ones in tables, and the charts as they are before (or without) scripts.

use serde::Serialize;
use time::OffsetDateTime;
use wavemark_store::events::Event;
use wavemark_store::samples::Sample;

use super::{format, when};

/// The last hour's lag as a small line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spark {
    /// Points in a box of 120 × 28; none if there is nothing to show.
    pub points: Option<String>,
    /// Whether it ends much higher than it was.
    pub rises: bool,
    /// The same in words.
    pub label: String,
}

/// A small line from `(minutes ago, milliseconds)`, oldest first.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a line of 28 pixels")]
pub fn spark(lags: &[(i32, i64)]) -> Spark {
    let highest = lags.iter().map(|(_, lag)| *lag).max().unwrap_or(0);
    if lags.len() < 2 {
        return Spark::default();
    }
    // Below a second everything is flat: noise must not look like trouble.
    let top = highest.max(1_000) as f64;
    let points: Vec<_> = lags
        .iter()
        .map(|(ago, lag)| {
            let x = 119.0 - f64::from((*ago).clamp(0, 60)) * 118.0 / 60.0;
            format!("{x:.1},{:.1}", 26.0 - *lag as f64 / top * 24.0)
        })
        .collect();
    let mut sorted: Vec<_> = lags.iter().map(|(_, lag)| *lag).collect();
    sorted.sort_unstable();
    let usual = sorted[sorted.len() / 2];
    let last = lags.last().map_or(0, |(_, lag)| *lag);
    Spark {
        points: Some(points.join(" ")),
        rises: last > 1_000 && last > usual * 2,
        label: format!("Lag of the last hour, at most {}", format::lag(highest.unsigned_abs())),
    }
}

/// A chart: drawn by the server as plain lines, redrawn by the script from the same points.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Its id.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What each line is.
    pub legends: Vec<&'static str>,
    /// Where the points are.
    pub href: String,
    /// Which of the points' columns it shows.
    pub columns: &'static str,
    /// How the script writes its figures: `lag` or `rate`.
    pub unit: &'static str,
    /// Its lines in a box of 600 × 180; none if there are no points.
    pub lines: Vec<Line>,
    /// The highest figure.
    pub highest: String,
    /// From when to when.
    pub from: String,
    /// The same in words.
    pub label: String,
    /// What stands there while there is nothing to show.
    pub nothing: &'static str,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whether it is the second.
    pub second: bool,
    /// Its points; unknown ones are left out.
    pub points: String,
}

/// The two charts of a task.
#[must_use]
pub fn of_task(href: &str, samples: &[Sample]) -> Vec<Chart> {
    let points = Points::new(samples, &[]);
    vec![
        chart(
            Chart {
                id: "chart-lag",
                title: "Lag",
                legends: vec!["source commit to target commit"],
                href: href.to_owned(),
                columns: "lag",
                unit: "lag",
                lines: Vec::new(),
                highest: String::new(),
                from: String::new(),
                label: String::new(),
                nothing: "No figures of the last hour yet.",
            },
            &points.at,
            &[&points.lag],
            |highest| format::lag(rounded(highest)),
        ),
        chart(
            Chart {
                id: "chart-rate",
                title: "Throughput",
                legends: vec!["read", "written"],
                href: href.to_owned(),
                columns: "read written",
                unit: "rate",
                lines: Vec::new(),
                highest: String::new(),
                from: String::new(),
                label: String::new(),
                nothing: "No figures of the last hour yet.",
            },
            &points.at,
            &[&points.read, &points.written],
            format::rate,
        ),
    ]
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a figure of a chart's edge")]
fn rounded(figure: f64) -> u64 {
    figure.max(0.0).round() as u64
}

fn chart(mut chart: Chart, at: &[f64], columns: &[&Vec<Option<f64>>], show: impl Fn(f64) -> String) -> Chart {
    let (Some(first), Some(last)) = (at.first(), at.last()) else { return chart };
    let highest =
        columns.iter().flat_map(|column| column.iter().flatten()).fold(0.0_f64, |most, figure| most.max(*figure));
    if at.len() < 2 || columns.iter().all(|column| column.iter().all(Option::is_none)) {
        return chart;
    }
    let top = if highest > 0.0 { highest } else { 1.0 };
    for (number, column) in columns.iter().enumerate() {
        let known = at.iter().zip(column.iter()).filter_map(|(at, figure)| figure.map(|figure| (at, figure)));
        let points: Vec<_> = known
            .map(|(at, figure)| {
                format!("{:.1},{:.1}", (at - first) / (last - first) * 600.0, 178.0 - figure / top * 165.0)
            })
            .collect();
        chart.lines.push(Line { second: number > 0, points: points.join(" ") });
    }
    let moment = |at: f64| {
        OffsetDateTime::from_unix_timestamp(i64::try_from(rounded(at)).unwrap_or(0))
            .map(when::time_of_day)
            .unwrap_or_default()
    };
    chart.highest = show(highest);
    chart.from = format!("{} to {} UTC", moment(*first), moment(*last));
    chart.label = format!("{}, {}: at most {}", chart.title, chart.from, chart.highest);
    chart
}

/// What the script draws: one array per column, `null` where a figure isn't known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Points {
    /// Seconds since 1970.
    pub at: Vec<f64>,
    /// Milliseconds.
    pub lag: Vec<Option<f64>>,
    /// Changes (or, while loading, rows) read per second.
    pub read: Vec<Option<f64>>,
    /// The same written.
    pub written: Vec<Option<f64>>,
    /// What happened: seconds since 1970, and what.
    pub marks: Vec<(f64, String)>,
}

impl Points {
    /// The points of some samples, oldest first, with the events of the same time.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a chart")]
    pub fn new(samples: &[Sample], events: &[Event]) -> Self {
        let seconds = |at: OffsetDateTime| at.unix_timestamp_nanos() as f64 / 1e9;
        let plus = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0.0) + b.unwrap_or(0.0)),
        };
        let loud = events.iter().filter(|event| event.severity != "info");
        Self {
            at: samples.iter().map(|sample| seconds(sample.at)).collect(),
            lag: samples.iter().map(|sample| sample.lag_ms.map(|lag| lag as f64)).collect(),
            read: samples.iter().map(|sample| plus(sample.read_rate, sample.load_rate)).collect(),
            written: samples.iter().map(|sample| plus(sample.write_rate, sample.load_rate)).collect(),
            marks: loud.map(|event| (seconds(event.at), event.code.clone())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_small_line_needs_two_points_and_keeps_noise_flat() {
        assert_eq!(spark(&[(3, 100)]), Spark::default());
        let flat = spark(&[(60, 200), (0, 100)]);
        assert_eq!(flat.points.as_deref(), Some("1.0,21.2 119.0,23.6"));
        assert!(!flat.rises);
    }

    #[test]
    fn a_line_that_ends_far_above_its_median_rises() {
        let rising = spark(&[(4, 300), (3, 300), (2, 300), (1, 2_000), (0, 9_000)]);
        assert!(rising.rises);
        assert_eq!(rising.label, "Lag of the last hour, at most 9\u{202f}s");
    }

    #[test]
    fn what_is_not_known_is_null_in_the_points() {
        let sample = |at, lag_ms, read_rate| Sample {
            at,
            lag_ms,
            behind_bytes: None,
            log_kept_bytes: None,
            read_rate,
            write_rate: None,
            write_byte_rate: None,
            load_rate: None,
        };
        let samples = [
            sample(datetime!(2026-11-21 14:00:00 UTC), None, None),
            sample(datetime!(2026-11-21 14:00:05 UTC), Some(40), Some(12.5)),
        ];
        let json = serde_json::to_string(&Points::new(&samples, &[])).unwrap();
        assert_eq!(
            json,
            r#"{"at":[1795269600.0,1795269605.0],"lag":[null,40.0],"read":[null,12.5],"written":[null,null],"marks":[]}"#
        );
    }
}
