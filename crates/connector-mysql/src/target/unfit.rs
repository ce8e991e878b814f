//! Values that have no place in their column, as the plan has them altered; and how many there were, in `wavemark.unfit`.

use std::collections::BTreeSet;

use uuid::Uuid;
use wavemark_connector::unfit::{Column, Counted, Fit, Fitting, Tally};
use wavemark_domain::{Table, TableName, TablePlan, UnfitCount, UnfitPolicy};

use super::values::TargetColumn;
use crate::native::TableNative;
use crate::sql::literal;
use crate::wire::{Connection, Row, WireError};

/// A column whose values may be altered.
#[derive(Clone, Debug)]
pub(crate) struct Altered {
    column: TargetColumn,
    way: UnfitPolicy,
}

impl Column for Altered {
    fn way(&self) -> UnfitPolicy {
        self.way
    }

    fn fit(&self, value: &[u8], scratch: &mut Vec<u8>) -> Fit {
        if self.column.has_place_for(value, scratch) {
            return Fit::AsItIs;
        }
        match self.way {
            UnfitPolicy::Null if self.column.nullable() => Fit::Null,
            UnfitPolicy::Clamp => self.column.nearest(value, scratch).map_or(Fit::AsItIs, Fit::Other),
            _ => Fit::AsItIs,
        }
    }
}

/// The columns of a table that is there whose values may be altered: none that its indexes keep apart or foreign keys have.
pub(super) fn fitting(plan: &TablePlan, there: &Table, columns: &[TargetColumn]) -> Fitting<Altered> {
    let native = TableNative::of(there);
    let unique = native.indexes.iter().filter(|index| index.unique).flat_map(|index| &index.parts);
    let pointing = native.foreign_keys.iter().flat_map(|key| &key.columns);
    let kept: BTreeSet<String> = (there.key.iter().chain(unique.map(|part| &part.column)).chain(pointing))
        .map(|name| name.to_lowercase())
        .collect();
    let altered = |(at, column): (usize, &TargetColumn)| {
        let way = plan.columns.get(at)?.unfit;
        let alters = way.alters() && !plan.key.contains(&at) && !kept.contains(&column.name.to_lowercase());
        alters.then(|| (at, Altered { column: column.clone(), way }))
    };
    Fitting { width: columns.len(), columns: columns.iter().enumerate().filter_map(altered).collect() }
}

/// Which rows a count is of. Chunks have each their own, so that those that are copied at once don't wait for each other.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Chunk(u32),
    /// All that came later.
    Rest,
}

/// What adds counts to those that are kept, in the transaction of their rows.
pub(crate) fn add(task: Uuid, part: Part, counted: &[Counted]) -> Option<String> {
    let part = match part {
        Part::Chunk(number) => number.to_string(),
        Part::Rest => "-1".to_owned(),
    };
    let row = |Counted { table, count }: &Counted| {
        format!(
            "('{task}', {}, {}, {}, '{}', {part}, {}, TIMESTAMPADD(MICROSECOND, {}, '1970-01-01 00:00:00.000000'))",
            literal(&table.schema),
            literal(&table.table),
            literal(&count.column),
            count.way.word(),
            count.values,
            count.since
        )
    };
    let rows: Vec<String> = counted.iter().map(row).collect();
    (!rows.is_empty()).then(|| {
        format!(
            "INSERT INTO wavemark.unfit (task, source_schema, source_table, source_column, way, part, `values`, since) \
             VALUES {} ON DUPLICATE KEY UPDATE `values` = `values` + VALUES(`values`)",
            rows.join(", ")
        )
    })
}

/// What is kept of a task.
pub(super) async fn read(connection: &mut Connection, task: Uuid) -> Result<Tally, WireError> {
    let sql = format!(
        "SELECT source_schema, source_table, source_column, way, SUM(`values`), \
         TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00.000000', MIN(since)) FROM wavemark.unfit WHERE task = '{task}' \
         GROUP BY source_schema, source_table, source_column, way"
    );
    let rows = connection.query(&sql).await?;
    let count = |row: &Row| {
        let (way, values, since) = (UnfitPolicy::from_word(&row.text(3)?)?, row.number(4)?, row.number(5)?);
        let table = TableName::new(row.text(0)?, row.text(1)?);
        Some(Counted { table, count: UnfitCount { column: row.text(2)?, way, values, since } })
    };
    let tally = Tally::default();
    tally.add(rows.iter().filter_map(count).collect());
    Ok(tally)
}
