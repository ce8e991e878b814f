//! Rows for targets of other systems.

mod changes;
mod keys;
mod values;
mod whole;
mod written_out;

use std::sync::Arc;

use wavemark_connector::source::{Block, BlockFormat, ChangeReader, Replan, RowReader, Source, View};
use wavemark_domain::{Batch, Problem, Table, TableId, TablePlan};

use crate::support::task::{Fixture, PATIENCE, planned};

/// A cell as it travels.
type Value = Option<Vec<u8>>;

/// The plan for a target that takes what the source says of its columns.
fn as_canonical(source: &dyn Source, mut plan: TablePlan) -> TablePlan {
    for column in &mut plan.columns {
        let logical = source.logical(&plan.source, &plan.source.columns[column.source]).unwrap();
        column.encoding = logical.encoding();
        assert!(source.offers(&plan.source, &plan.source.columns[column.source]).contains(&column.encoding));
    }
    assert_eq!(source.block_formats(&plan), [BlockFormat::Rows]);
    plan
}

struct Canonical(Arc<dyn Source>);

impl Replan for Canonical {
    fn plan(&self, id: TableId, table: &Arc<Table>) -> Result<TablePlan, Problem> {
        Ok(as_canonical(&*self.0, planned(id.index(), Table::clone(table))))
    }
}

async fn plan(fixture: &Fixture, names: &[&str]) -> Vec<TablePlan> {
    let plan = fixture.plan(names).await;
    plan.into_iter().map(|table| as_canonical(&*fixture.source, table)).collect()
}

fn cells(batch: &Batch, table: &TablePlan, row: &[wavemark_domain::Cell]) -> Vec<Value> {
    assert_eq!(row.len(), table.columns.len());
    row.iter().map(|cell| batch.value(*cell).map(<[u8]>::to_vec)).collect()
}

/// The rows of a reader.
async fn rows(mut reader: Box<dyn RowReader>, table: &TablePlan) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    while let Some(block) = reader.next().await.unwrap() {
        let Block::Rows(batch) = block else { panic!("rows are all that it gives") };
        for change in batch.changes() {
            assert_eq!(change.table, table.id);
            rows.push(cells(&batch, table, batch.new_row(change, table.columns.len()).unwrap()));
        }
    }
    rows.sort();
    rows
}

async fn load(view: &dyn View, table: &TablePlan) -> Vec<Vec<Value>> {
    view.enter(table).await.unwrap();
    let mut all = Vec::new();
    for range in view.chunks(table, 65_536).await.unwrap() {
        all.extend(rows(view.read(table, &range, BlockFormat::Rows, None).await.unwrap(), table).await);
    }
    all.sort();
    all
}

/// The new rows of so many changes, by table.
async fn followed(reader: &mut dyn ChangeReader, plan: &[TablePlan], count: usize) -> Vec<Vec<Vec<Value>>> {
    let mut found: Vec<Vec<Vec<Value>>> = vec![Vec::new(); plan.len()];
    while found.iter().map(Vec::len).sum::<usize>() < count {
        let read = tokio::time::timeout(PATIENCE, reader.next(1 << 20)).await.expect("nothing came in time").unwrap();
        assert!(read.barriers.is_empty(), "{:?}", read.barriers);
        for change in read.batch.changes() {
            let table = &plan[change.table.index()];
            let row = read.batch.new_row(change, table.columns.len()).unwrap();
            found[change.table.index()].push(cells(&read.batch, table, row));
        }
    }
    for rows in &mut found {
        rows.sort();
    }
    found
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn number(number: i32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}
