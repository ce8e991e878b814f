//! Cutting changes at truncates and barriers, which no row may cross.

use wavemark_domain::{Change, ChangeKind, TableId};

/// A piece of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run<T> {
    /// Inserts, updates and deletes.
    Rows(Vec<T>),
    /// These tables are emptied together.
    Truncate(Vec<TableId>),
    /// The layout of this table's rows changes here.
    Barrier(TableId),
}

/// Cuts changes into runs; truncates that follow each other belong together, as one statement made them.
pub fn runs<'a>(changes: impl Iterator<Item = (usize, &'a Change)>) -> Vec<Run<(usize, &'a Change)>> {
    let mut runs = Vec::new();
    let at_hand = changes.size_hint().0;
    for (at, change) in changes {
        match (change.kind, runs.last_mut()) {
            (ChangeKind::Truncate, Some(Run::Truncate(tables))) => tables.push(change.table),
            (ChangeKind::Truncate, _) => runs.push(Run::Truncate(vec![change.table])),
            (ChangeKind::Barrier, _) => runs.push(Run::Barrier(change.table)),
            (_, Some(Run::Rows(rows))) => rows.push((at, change)),
            (_, last) => {
                // There is mostly one run.
                let mut rows = Vec::with_capacity(if last.is_none() { at_hand } else { 1 });
                rows.push((at, change));
                runs.push(Run::Rows(rows));
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use wavemark_domain::Batch;

    use super::*;

    #[test]
    fn rows_do_not_cross_a_truncate() {
        let mut batch = Batch::default();
        for (table, kind) in [
            (0, ChangeKind::Delete),
            (1, ChangeKind::Delete),
            (0, ChangeKind::Truncate),
            (1, ChangeKind::Truncate),
            (0, ChangeKind::Delete),
            (0, ChangeKind::Barrier),
        ] {
            batch.push_change(TableId(table), kind, None, None);
        }
        let shape: Vec<_> = runs(batch.changes().iter().enumerate())
            .into_iter()
            .map(|run| match run {
                Run::Rows(rows) => Run::Rows(rows.into_iter().map(|(at, _)| at).collect()),
                Run::Truncate(tables) => Run::Truncate(tables),
                Run::Barrier(table) => Run::Barrier(table),
            })
            .collect();
        let expected = vec![
            Run::Rows(vec![0, 1]),
            Run::Truncate(vec![TableId(0), TableId(1)]),
            Run::Rows(vec![4]),
            Run::Barrier(TableId(0)),
        ];
        assert_eq!(shape, expected);
    }
}
