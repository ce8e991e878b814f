//! What is printed, and what all worlds together came to.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use wavemark_tests::faults::{Cycle, Fault, Network, Outcome, TAKEOVER};
use wavemark_tests::proxy::Trouble;

use crate::world::Lived;

/// All worlds together.
#[derive(Default)]
pub(crate) struct Sum {
    survived: Vec<Cycle>,
    outcomes: Vec<Outcome>,
    failed: u32,
}

impl Sum {
    /// Adds a world; what is wrong with it, in words.
    pub(crate) fn add(&mut self, world: u32, lived: Lived) -> Option<String> {
        self.survived.extend(lived.survived);
        let failure = match lived.end {
            Some(Ok(outcome)) => {
                outcome.violations.iter().for_each(|violation| println!("VIOLATION in world {world}: {violation}"));
                let unclean = (!outcome.is_clean())
                    .then(|| format!("{} violations; {}", outcome.violations.len(), outcome.report));
                self.outcomes.push(outcome);
                unclean
            }
            Some(Err(error)) => Some(format!("{error:#}")),
            None => Some("it did not begin".to_owned()),
        };
        self.failed += u32::from(failure.is_some());
        failure
    }

    pub(crate) fn cycles(&self) -> usize {
        self.survived.len()
    }

    /// Whether every world came to its end with nothing lost, doubled, torn or late.
    pub(crate) fn is_clean(&self) -> bool {
        self.failed == 0 && !self.outcomes.is_empty()
    }

    /// Fails with the names of the points that ended fewer workers than they should.
    ///
    /// # Errors
    /// There are such points.
    pub(crate) fn every_point_fired(&self, points: &[&str], times: u32) -> Result<()> {
        let fired = |point: &str| self.outcomes.iter().filter_map(|outcome| outcome.fired.get(point)).sum::<u32>();
        let missing: Vec<_> = points.iter().filter(|point| fired(point) < times).collect();
        ensure!(missing.is_empty(), "crash points that did not fire {times} times: {missing:?}");
        println!("Each of {} crash points ended a worker {times} times.", points.len());
        Ok(())
    }

    pub(crate) fn print(&self) {
        self.print_kinds();
        self.print_takeovers();
        let all = |number: fn(&Outcome) -> u64| self.outcomes.iter().map(number).sum::<u64>();
        println!(
            "\n{} transactions were written; the banks were looked at {} times, {} of them compared with the order of \
             the source's commits; {} tables and {} rows were compared at the end; {} violations.",
            all(|outcome| outcome.transactions),
            all(|outcome| outcome.looks),
            all(|outcome| outcome.ordered),
            all(|outcome| outcome.report.tables as u64),
            all(|outcome| outcome.report.rows),
            all(|outcome| outcome.violations.len() as u64),
        );
    }

    fn print_kinds(&self) {
        let mut kinds: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for cycle in &self.survived {
            let phase = format!("{:?}", cycle.fault.phase()).to_lowercase();
            kinds.entry(format!("{:<28} {phase:<10}", kind(cycle.fault))).or_default().push(cycle.recovered);
        }
        println!("\nfault                        while      cycles  all well after, longest");
        for (kind, times) in kinds {
            println!("{kind} {:>6}  {:.1?}", times.len(), times.iter().max().copied().unwrap_or_default());
        }
    }

    fn print_takeovers(&self) {
        let mut takeovers: Vec<_> = self.survived.iter().filter_map(|cycle| cycle.takeover).collect();
        takeovers.sort();
        if let (Some(median), Some(longest)) = (takeovers.get(takeovers.len() / 2), takeovers.last()) {
            println!(
                "\n{} times another worker went on: after {median:.1?} in the median, {longest:.1?} at most; \
                 {TAKEOVER:?} are allowed.",
                takeovers.len()
            );
        }
    }
}

/// One cycle in a line.
pub(crate) fn line(world: u32, number: usize, cycle: &Cycle) -> String {
    let phase = format!("{:?}", cycle.fault.phase()).to_lowercase();
    let takeover = cycle.takeover.map(|took| format!("another worker went on after {took:.1?}; ")).unwrap_or_default();
    format!(
        "{world}.{number:<4} {:<28} {phase:<10} in flight: {}; {takeover}all well after {:.1?}",
        cycle.fault, cycle.in_flight, cycle.recovered
    )
}

/// The fault without what was drawn of it.
fn kind(fault: Fault) -> String {
    match fault {
        Fault::Network(Network { place, trouble: Trouble::CutAfter(_), .. }) => {
            format!("cut after n bytes {place:?}").to_lowercase()
        }
        other => other.to_string(),
    }
}
