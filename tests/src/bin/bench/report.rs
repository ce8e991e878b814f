//! What comes out: a table on the screen for each measurement, and all figures as JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use crate::arena::Arena;
use crate::figures::Figures;
use crate::usage::{Usage, load_average};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    Rows,
    Changes,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Changes => "changes",
        }
    }
}

/// One of those who are compared.
#[derive(Debug, Serialize)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) runs: Vec<Usage>,
}

impl Contestant {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, runs: Vec::new() }
    }

    fn median_of(&self, of: fn(&Usage) -> f64) -> f64 {
        median(self.runs.iter().map(of).collect())
    }
}

/// A ratio that is shown, of the first contestant to another, and what it must be.
#[derive(Debug, Serialize)]
pub(crate) struct Wanted {
    pub(crate) against: usize,
    pub(crate) at_most_time: Option<f64>,
    pub(crate) at_least_rate: Option<f64>,
}

/// One measurement; the first contestant is Wavemark.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) count: u32,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) worker_peak_bytes: u64,
    /// The task's own account of where its time went, per run.
    pub(crate) stages: Vec<Value>,
}

/// Ratios of rates within rounds; above 1, Wavemark is the faster one.
#[derive(Debug, PartialEq, Serialize)]
struct Ratio {
    against: &'static str,
    median: f64,
    least: f64,
    most: f64,
}

impl Section {
    fn ratio(&self, against: usize) -> Ratio {
        let (ours, other) = (&self.contestants[0], &self.contestants[against]);
        let rounds: Vec<f64> = ours.runs.iter().zip(&other.runs).map(|(a, b)| b.seconds / a.seconds).collect();
        Ratio {
            against: other.name,
            least: rounds.iter().copied().fold(f64::INFINITY, f64::min),
            most: rounds.iter().copied().fold(0.0, f64::max),
            median: median(rounds),
        }
    }

    fn print(&self) {
        let per = self.unit.word();
        println!("\n{}: {}, medians of {} rounds", self.name, self.what, self.contestants[0].runs.len());
        println!(
            "  {:<20} {:>8} {:>11} {:>24} {:>24} {:>24} {:>8}",
            "",
            "seconds",
            format!("{per}/s"),
            "source CPU (each)",
            "target CPU (each)",
            "between CPU (each)",
            "foreign"
        );
        for contestant in &self.contestants {
            let seconds = contestant.median_of(|usage| usage.seconds);
            let cpu = |of: fn(&Usage) -> f64| {
                let spent = contestant.median_of(of);
                format!("{spent:.2} s ({:.2} µs)", spent * 1e6 / f64::from(self.count))
            };
            println!(
                "  {:<20} {:>8.2} {:>11.0} {:>24} {:>24} {:>24} {:>7.0}%",
                contestant.name,
                seconds,
                f64::from(self.count) / seconds,
                cpu(|usage| usage.source_cpu),
                cpu(|usage| usage.target_cpu),
                cpu(|usage| usage.client_cpu),
                100.0 * contestant.median_of(|usage| usage.foreign)
            );
        }
        for wanted in &self.wanted {
            self.print_ratio(wanted);
        }
        #[expect(clippy::cast_precision_loss, reason = "a few hundred MiB, shown without a fraction")]
        let peak = self.worker_peak_bytes as f64 / f64::from(1 << 20);
        println!("  worker's peak memory {peak:.0} MiB (wanted: at most 256)");
        for stage in &self.stages {
            println!("  stages {stage}");
        }
    }

    fn print_ratio(&self, wanted: &Wanted) {
        let Ratio { against, median, least, most } = self.ratio(wanted.against);
        let verdict = |good: bool| if good { "reached" } else { "MISSED" };
        let (time, rate) = (1.0 / median, median);
        let judged = match (wanted.at_most_time, wanted.at_least_rate) {
            (Some(limit), _) => format!("; wanted: at most {limit} of its time, {}", verdict(time <= limit)),
            (_, Some(limit)) => format!("; wanted: at least {limit} of its rate, {}", verdict(rate >= limit)),
            (None, None) => String::new(),
        };
        println!("  against {against}: {rate:.2} of its rate ({least:.2} to {most:.2}), {time:.2} of its time{judged}");
    }
}

/// All of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    cores: usize,
    postgresql: String,
    load_average_before: f64,
    sections: Vec<Value>,
}

impl Report {
    pub(crate) async fn begin(arena: &Arena) -> Result<Self> {
        let version = arena.source.connect("postgres").await?.query_one("show server_version", &[]).await?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let report =
            Self { cores, postgresql: version.get(0), load_average_before: load_average()?, sections: Vec::new() };
        println!(
            "PostgreSQL {}, {cores} cores, load average {:.1} before the start.",
            report.postgresql, report.load_average_before
        );
        Ok(report)
    }

    /// Shows a measurement and keeps it.
    pub(crate) fn add(&mut self, section: &Section) {
        section.print();
        let ratios: Vec<Ratio> = section.wanted.iter().map(|wanted| section.ratio(wanted.against)).collect();
        let mut value = serde_json::json!(section);
        value["rate_ratios"] = serde_json::json!(ratios);
        self.sections.push(value);
    }

    /// The same for figures that are no race.
    pub(crate) fn add_figures(&mut self, figures: &Figures) {
        figures.print();
        self.sections.push(serde_json::json!(figures));
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(seconds: f64) -> Usage {
        Usage { seconds, source_cpu: 0.0, target_cpu: 0.0, client_cpu: 0.0, foreign: 0.0 }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_and_not_a_ratio_of_medians() {
        let ours = Contestant { name: "wavemark", runs: [1.0, 2.0, 4.0].map(usage).into() };
        let other = Contestant { name: "other", runs: [3.0, 2.0, 2.0].map(usage).into() };
        let section = Section {
            name: "load",
            what: String::new(),
            unit: Unit::Rows,
            count: 1,
            contestants: vec![ours, other],
            wanted: Vec::new(),
            worker_peak_bytes: 0,
            stages: Vec::new(),
        };
        assert_eq!(section.ratio(1), Ratio { against: "other", median: 1.0, least: 0.5, most: 3.0 });
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_ones() {
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
    }
}
