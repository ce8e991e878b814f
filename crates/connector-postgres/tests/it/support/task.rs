//! A task's source on a test cluster, and its rows in a form that tests can compare.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use tempfile::TempDir;
use wavemark_connector::source::{Block, BlockFormat, ChangeReader, KeySet, Replan, RowReader, Source, View};
use wavemark_connector::{Connector, EndpointSettings, TaskContext};
use wavemark_connector_postgres::Postgres;
use wavemark_domain::ids::Generation;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{
    Batch, Cell, Change, ChangeKind, ColumnPlan, Epoch, Position, Problem, Table, TableId, TablePlan, TaskId,
};

use crate::support::Cluster;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A source with the context of one task.
pub(crate) struct Fixture {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) task: TaskContext,
    _spill: TempDir,
}

pub(crate) fn endpoint(cluster: &Cluster, user: &str) -> EndpointSettings {
    EndpointSettings {
        name: "test".to_owned(),
        values: json!({
            "host": "localhost", "port": cluster.port, "database": "postgres", "user": user, "tls_mode": "disable",
        }),
        secrets: BTreeMap::from([("password".to_owned(), SecretString::from(crate::support::PASSWORD))]),
    }
}

/// An ordinary connection as the superuser.
pub(crate) async fn client(cluster: &Cluster) -> tokio_postgres::Client {
    let settings = format!("host=127.0.0.1 port={} user=postgres", cluster.port);
    let (client, driver) = tokio_postgres::connect(&settings, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    client
}

impl Fixture {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let spill = tempfile::tempdir().unwrap();
        let task = TaskContext {
            task: TaskId(uuid::Uuid::from_u128(0x0192_aaaa_bbbb_cccc)),
            name: "shop".to_owned(),
            generation: Generation(1),
            epoch: Epoch(1),
            first_grant: true,
            kind: TaskKind::FullLoadAndCdc,
            settings: TaskSettings::default(),
            spill_dir: spill.path().join("spill"),
        };
        Self { source: Postgres.source(&endpoint(cluster, "postgres")).unwrap(), task, _spill: spill }
    }

    /// A plan of these tables with all of their columns.
    pub(crate) async fn plan(&self, names: &[&str]) -> Vec<TablePlan> {
        let tables = self.source.tables(&|_| true).await.unwrap();
        let find = |name: &&str| tables.iter().find(|table| table.name.table == **name).unwrap().clone();
        names.iter().map(find).enumerate().map(|(at, table)| planned(at, table)).collect()
    }

    pub(crate) async fn begin(&self, plan: &[TablePlan]) -> Box<dyn View> {
        self.source.begin(&self.task, plan).await.unwrap()
    }

    pub(crate) async fn follow(&self, plan: &[TablePlan], from: &Position) -> Box<dyn ChangeReader> {
        self.source.follow(&self.task, plan, from, Arc::new(AllColumns)).await.unwrap()
    }

    /// What opening the log at a position is refused with.
    pub(crate) async fn refused(&self, plan: &[TablePlan], from: &Position) -> Problem {
        match self.source.follow(&self.task, plan, from, Arc::new(AllColumns)).await {
            Ok(_) => panic!("the log should not have opened"),
            Err(problem) => problem,
        }
    }
}

/// Plans a table with all of its columns.
struct AllColumns;

impl Replan for AllColumns {
    fn plan(&self, id: TableId, table: &Arc<Table>) -> Result<TablePlan, Problem> {
        Ok(planned(id.index(), Table::clone(table)))
    }
}

pub(crate) fn planned(at: usize, table: Table) -> TablePlan {
    let travelling: Vec<usize> = (0..table.columns.len()).filter(|at| !table.columns[*at].generated).collect();
    let columns: Vec<ColumnPlan> = travelling
        .iter()
        .map(|source| ColumnPlan {
            source: *source,
            target_name: table.columns[*source].name.clone(),
            encoding: wavemark_connector_postgres::encoding::BINARY,
            unfit: wavemark_domain::UnfitPolicy::default(),
            as_text: None,
        })
        .collect();
    let key =
        table.key.iter().map(|name| columns.iter().position(|column| column.target_name == *name).unwrap()).collect();
    TablePlan {
        id: TableId(u32::try_from(at).unwrap()),
        target: table.name.clone(),
        source: Arc::new(table),
        declared: None,
        columns,
        key,
        rows: None,
        schema_version: 1,
    }
}

/// A cell as text: numbers of 4 and 8 bytes as numbers, other bytes as UTF-8.
fn cell(batch: &Batch, cell: Cell, declared: &str) -> String {
    match batch.value(cell) {
        None if cell.is_null() => "null".to_owned(),
        None => "unchanged".to_owned(),
        Some(value) if declared == "integer" => i32::from_be_bytes(value.try_into().unwrap()).to_string(),
        Some(value) if declared == "bigint" => i64::from_be_bytes(value.try_into().unwrap()).to_string(),
        Some(value) => match std::str::from_utf8(value) {
            Ok(text) if text.len() > 40 => format!("{}…{}", &text[..3], text.len()),
            Ok(text) => text.to_owned(),
            Err(_) => format!("{value:02x?}"),
        },
    }
}

fn row(batch: &Batch, cells: &[Cell], table: &TablePlan) -> String {
    let declared = |at: usize| table.source.columns[table.columns[at].source].declared.as_str();
    cells.iter().enumerate().map(|(at, one)| cell(batch, *one, declared(at))).collect::<Vec<_>>().join(",")
}

/// A change as `+t 1,one`, `~t 1,two`, `~t (1,null) 2,two`, `-t (1,null)`, `!t` (truncate), `#t` (barrier).
pub(crate) fn shown(batch: &Batch, change: &Change, plan: &[TablePlan]) -> String {
    let table = &plan[change.table.index()];
    let width = table.columns.len();
    let sign = match change.kind {
        ChangeKind::Insert => '+',
        ChangeKind::Update => '~',
        ChangeKind::Delete => '-',
        ChangeKind::Truncate => '!',
        ChangeKind::Barrier => '#',
    };
    let mut text = format!("{sign}{}", table.name().table);
    if let Some(old) = batch.old(change, width) {
        text = format!("{text} ({})", row(batch, old, table));
    }
    if let Some(new) = batch.new_row(change, width) {
        text = format!("{text} {}", row(batch, new, table));
    }
    text
}

/// One transaction that came out of a reader.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) changes: Vec<String>,
    pub(crate) end: Position,
}

/// What a reader gave.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) barriers: Vec<(TableId, Problem)>,
    pub(crate) open_batches: usize,
    pub(crate) progress: Vec<Position>,
    pub(crate) spilled: u64,
    unfinished: Vec<String>,
}

impl Gathered {
    pub(crate) fn changes(&self) -> Vec<&str> {
        self.transactions.iter().flat_map(|one| one.changes.iter().map(String::as_str)).collect()
    }

    /// Reads until `done` says so of what is gathered.
    pub(crate) async fn until(
        mut self,
        reader: &mut Box<dyn ChangeReader>,
        plan: &[TablePlan],
        most: usize,
        done: impl Fn(&Self) -> bool,
    ) -> Self {
        while !done(&self) {
            let read = tokio::time::timeout(PATIENCE, reader.next(most)).await.expect("nothing came in time").unwrap();
            self.spilled = self.spilled.max(reader.in_hand().spilled_bytes);
            self.take(&read.batch, plan);
            assert_eq!(read.open_end.is_some(), read.batch.is_open());
            self.open_batches += usize::from(read.batch.is_open());
            self.barriers.extend(read.barriers);
        }
        self
    }

    fn take(&mut self, batch: &Batch, plan: &[TablePlan]) {
        let mut at = 0;
        for mark in batch.transactions() {
            let changes = batch.changes()[at..mark.changes_end].iter().map(|change| shown(batch, change, plan));
            self.unfinished.extend(changes);
            at = mark.changes_end;
            if self.unfinished.is_empty() {
                self.progress.push(mark.end.clone());
            } else {
                let changes = std::mem::take(&mut self.unfinished);
                self.transactions.push(Transaction { changes, end: mark.end.clone() });
            }
        }
        self.unfinished.extend(batch.changes()[at..].iter().map(|change| shown(batch, change, plan)));
    }
}

/// Reads so many transactions with changes.
pub(crate) async fn transactions(reader: &mut Box<dyn ChangeReader>, plan: &[TablePlan], count: usize) -> Gathered {
    Gathered::default().until(reader, plan, 1 << 20, |found| found.transactions.len() >= count).await
}

/// All rows of a table in a view, chunk by chunk, as [`shown`] has them.
pub(crate) async fn load(view: &dyn View, table: &TablePlan, bytes: u64) -> Vec<String> {
    let entered = view.enter(table).await.unwrap();
    assert!(entered.readable);
    let mut rows = Vec::new();
    for range in view.chunks(table, bytes).await.unwrap() {
        rows.extend(rows_of(view.read(table, &range, BlockFormat::Rows, None).await.unwrap(), table).await);
    }
    rows
}

pub(crate) async fn rows_of(mut reader: Box<dyn RowReader>, table: &TablePlan) -> Vec<String> {
    let plan: Vec<TablePlan> = (0..=table.id.index()).map(|_| table.clone()).collect();
    let mut rows = Vec::new();
    while let Some(block) = reader.next().await.unwrap() {
        let Block::Rows(batch) = block else { panic!("rows were asked for") };
        rows.extend(batch.changes().iter().map(|change| shown(&batch, change, &plan)));
    }
    rows
}

pub(crate) async fn bytes_of(mut reader: Box<dyn RowReader>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(block) = reader.next().await.unwrap() {
        let Block::Stream(piece) = block else { panic!("a stream was asked for") };
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// The keys of tables whose key is one `integer`.
pub(crate) fn integers(keys: &KeySet) -> Vec<i32> {
    let mut found: Vec<i32> = keys.iter().map(|key| i32::from_be_bytes(key[0].try_into().unwrap())).collect();
    found.sort_unstable();
    found
}
