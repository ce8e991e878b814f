//! Measurements that are no race: named figures side by side, and what some of them must be.

use serde::Serialize;

/// A table of figures.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    /// What stands in each row's columns, with the unit.
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Row>,
    pub(crate) judged: Vec<Judged>,
}

/// One row of it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
}

/// A figure that has a limit.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) what: String,
    pub(crate) is: f64,
    pub(crate) at_most: f64,
}

impl Judged {
    fn reached(&self) -> bool {
        self.is <= self.at_most
    }
}

impl Figures {
    pub(crate) fn print(&self) {
        println!("\n{}: {}", self.name, self.what);
        let heads: Vec<_> = self.columns.iter().map(|head| format!("{head:>13}")).collect();
        println!("  {:<28} {}", "", heads.join(" "));
        for row in &self.rows {
            let values: Vec<_> = row.values.iter().map(|value| format!("{value:>13.3}")).collect();
            println!("  {:<28} {}", row.name, values.join(" "));
        }
        for judged in &self.judged {
            let verdict = if judged.reached() { "reached" } else { "MISSED" };
            println!("  {}: {:.3}; wanted: at most {}, {verdict}", judged.what, judged.is, judged.at_most);
        }
    }
}

/// The value below which this share of the values lies; the values are sorted by this.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a run has thousands of values")]
    let place = (values.len() as f64 * share).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of values")]
    let place = (place as usize).clamp(1, values.len().max(1));
    values.get(place - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let mut values: Vec<f64> = (1..=1_000).rev().map(f64::from).collect();
        assert!((quantile(&mut values, 0.5) - 500.0).abs() < 1e-9);
        assert!((quantile(&mut values, 0.99) - 990.0).abs() < 1e-9);
        assert!((quantile(&mut values, 0.999) - 999.0).abs() < 1e-9);
        assert!((quantile(&mut values, 1.0) - 1_000.0).abs() < 1e-9);
    }

    #[test]
    fn the_quantile_of_one_value_is_that_and_of_none_it_is_unknown() {
        assert!((quantile(&mut [7.0], 0.01) - 7.0).abs() < 1e-9);
        assert!(quantile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn a_figure_at_its_limit_is_good_and_an_unknown_one_is_not() {
        let judged = |is| Judged { what: String::new(), is, at_most: 5.0 };
        assert!(judged(5.0).reached());
        assert!(!judged(5.1).reached());
        assert!(!judged(f64::NAN).reached());
    }
}
