//! Rows of the target that somebody else wrote: what the policy for conflicts says, and what is told of it.
//!
//! A conflict is decided about where the failing row was found ([`super::careful`]), in the wave that has it, and told
//! once that wave is committed: one event for each table and wave, for there may be many.

use std::collections::BTreeMap;

use wavemark_connector::target::{Conflict, Refused, Verdict};
use wavemark_domain::batch::Change;
use wavemark_domain::progress::Severity;
use wavemark_domain::task::ConflictPolicy;
use wavemark_domain::{ChangeKind, TableId};

use super::Follower;

/// What became of one conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    /// A row that was there was overwritten.
    Overwritten,
    /// An update's row was inserted.
    Inserted,
    /// A row to be deleted was not there.
    PassedOver,
    /// It was left out and written to the exceptions.
    LeftOut,
}

/// The conflicts of a piece, as far as they are decided about.
pub(super) struct Settled {
    policy: ConflictPolicy,
    pub(super) rows: Vec<Settlement>,
}

/// One of them.
pub(super) struct Settlement {
    index: usize,
    table: TableId,
    became: Became,
}

impl Settled {
    pub(super) fn new(policy: ConflictPolicy) -> Self {
        Self { policy, rows: Vec::new() }
    }

    /// What to do with a row, if that is for this policy to say. A row that is shown again was not settled.
    pub(super) fn verdict(&mut self, refused: &Refused<'_>, change: &Change) -> Option<Verdict> {
        if self.rows.last().is_some_and(|last| last.index == refused.index) {
            self.rows.pop();
        }
        let (became, verdict) = decide(self.policy, refused.conflict?, change.kind)?;
        self.rows.push(Settlement { index: refused.index, table: change.table, became });
        Some(verdict)
    }

    /// The rows that changed nothing in their table.
    pub(super) fn without_effect(&self) -> impl Iterator<Item = usize> {
        let none = |row: &&Settlement| matches!(row.became, Became::PassedOver | Became::LeftOut);
        self.rows.iter().filter(none).map(|row| row.index)
    }
}

fn decide(policy: ConflictPolicy, conflict: Conflict, kind: ChangeKind) -> Option<(Became, Verdict)> {
    match (policy, conflict) {
        (ConflictPolicy::AsDataError, _) => None,
        (ConflictPolicy::Skip, _) => Some((Became::LeftOut, Verdict::LeaveOut)),
        (ConflictPolicy::Overwrite, Conflict::RowExists) => Some((Became::Overwritten, Verdict::Resolve)),
        (ConflictPolicy::Overwrite, _) if kind == ChangeKind::Delete => Some((Became::PassedOver, Verdict::Resolve)),
        (ConflictPolicy::Overwrite, Conflict::RowMissing { whole: true }) => Some((Became::Inserted, Verdict::Resolve)),
        (ConflictPolicy::Overwrite, Conflict::RowMissing { whole: false }) => {
            Some((Became::LeftOut, Verdict::LeaveOut))
        }
    }
}

impl Follower<'_> {
    /// Counts and tells the conflicts of a wave, which is committed now.
    pub(super) fn tell_conflicts(&mut self) {
        let mut tables: BTreeMap<TableId, [u64; 4]> = BTreeMap::new();
        for row in self.conflicts.drain(..) {
            tables.entry(row.table).or_default()[row.became as usize] += 1;
        }
        for (table, counts) in tables {
            self.run.status.update_table(table, |progress| {
                progress.conflicts += counts.iter().sum::<u64>();
                progress.exceptions += counts[Became::LeftOut as usize];
            });
            let plan = &self.plan[table.index()];
            let text = format!("Rows of {} in the target were not as expected: {}", plan.target, words(counts));
            self.run.status.table_event(Severity::Warning, "conflicts", plan, text);
        }
    }
}

fn words(counts: [u64; 4]) -> String {
    let what = [
        "overwritten",
        "inserted by an update that found none",
        "to be deleted and not there",
        "left out and written to wavemark.exceptions",
    ];
    let told = counts.iter().zip(what).filter(|(count, _)| **count > 0);
    told.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_rows_is_told_in_words() {
        assert_eq!(words([2, 0, 1, 0]), "2 overwritten, 1 to be deleted and not there");
        assert_eq!(
            words([0, 1, 0, 3]),
            "1 inserted by an update that found none, 3 left out and written to wavemark.exceptions"
        );
    }
}
