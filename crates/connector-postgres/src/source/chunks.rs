//! Cutting tables into chunks: ranges of `ctid`, the physical place of a row, on each table with storage.
//!
//! In one snapshot each visible row version has one place, so ranges that meet without a gap hold each row once. The
//! last range of each leaf is open-ended. A view, whose rows have no place, is one chunk.
//!
//! Chunks are large, and a table of less than two has no range: the server reads a range through all of its buffers, which
//! pushes out what its users need, and a whole table through a few of them (`make bench ARGS="--only load"` shows it).

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use wavemark_connector::source::ChunkRange;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{Problem, TablePlan};

use super::names::quoted;
use super::rows;
use super::storage::Leaf;
use crate::error;
use crate::wire::quote_identifier;

/// What a [`ChunkRange`] holds: blocks `from` up to and without `to` of a leaf; no leaf for a whole view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    leaf: Option<u32>,
    #[serde(default)]
    from: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    to: Option<u32>,
}

/// Blocks, block size, and bytes with what is stored out of line.
const SIZES: &str = "\
    SELECT o, pg_relation_size(o) / current_setting('block_size')::int8, pg_table_size(o) \
    FROM unnest($1::oid[]) o";

/// Cuts the leaves into chunks of about `bytes` each, out-of-line values counted.
pub(super) async fn cut(
    control: &Client,
    table: &TablePlan,
    leaves: &[Leaf],
    bytes: u64,
) -> Result<Vec<ChunkRange>, Problem> {
    if table.source.kind == TableKind::View {
        return Ok(vec![written(&Range { leaf: None, from: 0, to: None })?]);
    }
    let oids: Vec<u32> = leaves.iter().map(|leaf| leaf.oid).collect();
    let rows = control.query(SIZES, &[&oids]).await.map_err(|error| {
        error::driver(&error, &format!("read the size of table {}", table.name())).table(table.name())
    })?;
    let mut ranges = Vec::new();
    for row in rows {
        let blocks = row.get::<_, Option<i64>>(1).unwrap_or(0);
        let size = row.get::<_, Option<i64>>(2).unwrap_or(0);
        ranges.extend(split(row.get(0), blocks.unsigned_abs(), size.unsigned_abs(), bytes));
    }
    ranges.iter().map(written).collect()
}

fn split(leaf: u32, blocks: u64, size: u64, bytes: u64) -> Vec<Range> {
    let chunks = (size / bytes.max(1)).clamp(1, blocks.max(1));
    let step = u32::try_from(blocks.div_ceil(chunks).max(1)).unwrap_or(u32::MAX);
    let starts: Vec<u32> = (0..u32::try_from(blocks.max(1)).unwrap_or(u32::MAX)).step_by(step as usize).collect();
    let ends = starts.iter().skip(1).map(|start| Some(*start)).chain([None]);
    starts.iter().zip(ends).map(|(from, to)| Range { leaf: Some(leaf), from: *from, to }).collect()
}

fn written(range: &Range) -> Result<ChunkRange, Problem> {
    serde_json::to_string(range)
        .map(ChunkRange)
        .map_err(|error| Problem::internal(format!("A chunk's range: {error}.")))
}

/// The rows of a chunk as a SELECT, its columns in the plan's order.
pub(super) fn select(table: &TablePlan, leaves: &[Leaf], range: &ChunkRange) -> Result<String, Problem> {
    let unfit = || {
        let text = format!("Chunk {} does not belong to table {} as it is now.", range.0, table.name());
        Problem::internal(text).table(table.name())
    };
    let range: Range = serde_json::from_str(&range.0).map_err(|_| unfit())?;
    let columns = columns(table);
    let Some(oid) = range.leaf else {
        let filter = rows::condition(table).map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        return Ok(format!("SELECT {columns} FROM {}{filter}", quoted(table.name())));
    };
    let leaf = leaves.iter().find(|leaf| leaf.oid == oid).ok_or_else(unfit)?;
    let start = (range.from > 0).then(|| format!("ctid >= '({},0)'::tid", range.from));
    let end = range.to.map(|to| format!("ctid < '({to},0)'::tid"));
    let bounds: Vec<_> = start.into_iter().chain(end).chain(rows::condition(table)).collect();
    let condition = if bounds.is_empty() { String::new() } else { format!(" WHERE {}", bounds.join(" AND ")) };
    Ok(format!("SELECT {columns} FROM ONLY {}{condition}", leaf.name))
}

/// The columns that travel, quoted, in the plan's order.
pub(super) fn columns(table: &TablePlan) -> String {
    let names: Vec<_> =
        table.columns.iter().map(|column| quote_identifier(&table.source.columns[column.source].name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(blocks: u64, size: u64, bytes: u64) -> Vec<(u32, Option<u32>)> {
        split(7, blocks, size, bytes).into_iter().map(|range| (range.from, range.to)).collect()
    }

    #[test]
    fn ranges_meet_and_the_last_is_open() {
        assert_eq!(bounds(10, 81_920, 40_000), [(0, Some(5)), (5, None)]);
        assert_eq!(bounds(10, 81_920, 27_000), [(0, Some(4)), (4, Some(8)), (8, None)]);
    }

    #[test]
    fn an_empty_table_is_one_chunk() {
        assert_eq!(bounds(0, 0, 1000), [(0, None)]);
    }

    #[test]
    fn out_of_line_values_make_chunks_smaller_in_blocks_but_never_below_one() {
        assert_eq!(bounds(4, 40_000_000, 10_000_000), [(0, Some(1)), (1, Some(2)), (2, Some(3)), (3, None)]);
        assert_eq!(bounds(2, 40_000_000, 1_000).len(), 2);
    }
}
