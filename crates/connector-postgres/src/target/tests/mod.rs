//! The target on a real PostgreSQL: one cluster for all tests of this program, one database for each.

mod careful;
mod fence;
mod keyless;
mod load;
mod marks;
mod shapes;
mod speed;
mod waves;

#[path = "../../../tests/it/support/cluster.rs"]
mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;
use wavemark_connector::TaskContext;
use wavemark_connector::source::{Block, ChunkRange, RowReader};
use wavemark_connector::target::{ChunkMark, Segment, Session, Stage, TableMark, WaveEnd};
use wavemark_domain::catalog::{Column, Table, TableKind};
use wavemark_domain::ids::Generation;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{
    Batch, Cell, ChangeKind, ColumnPlan, Epoch, Position, Problem, TableId, TableName, TablePlan, TaskId, UnfitPolicy,
    WaveNumber,
};

use super::PostgresTarget;
use super::session::PgSession;
use crate::encoding::BINARY;
use crate::settings::Settings;
use crate::tls::TlsSettings;
use support::Cluster;

static CLUSTER: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database of its own on the shared cluster, which stops when the last test lets go of it.
pub(super) struct Database {
    cluster: Arc<Cluster>,
    name: String,
    pub(super) admin: Client,
}

impl Database {
    pub(super) async fn new() -> Self {
        let cluster = {
            let mut shared = CLUSTER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let settings = [("fsync", "off"), ("max_connections", "200"), ("max_prepared_transactions", "0")];
                let cluster = Arc::new(Cluster::start(&settings));
                *shared = Arc::downgrade(&cluster);
                cluster
            })
        };
        let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        admin(&cluster, "postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let admin = admin(&cluster, &name).await;
        Self { cluster, name, admin }
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            confirm_after: crate::settings::ConfirmAfter::LocalFlush,
            silence_limit: Duration::from_mins(1),
            endpoint: "test".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.cluster.port,
            database: self.name.clone(),
            user: "postgres".to_owned(),
            password: None,
            tls: TlsSettings::default(),
            connect_timeout: Duration::from_secs(10),
        }
    }

    pub(super) fn target(&self) -> PostgresTarget {
        PostgresTarget::new(self.settings())
    }

    pub(super) async fn sql(&self, sql: &str) {
        self.admin.batch_execute(sql).await.unwrap();
    }

    /// The rows of a query, each as its columns' texts joined by `|`, joined by newlines.
    pub(super) async fn rows(&self, query: &str) -> String {
        let sql = format!(
            "SELECT coalesce(string_agg(line, E'\\n'), '') FROM \
             (SELECT (SELECT string_agg(coalesce(value, 'NULL'), '|') FROM jsonb_each_text(to_jsonb(q))) AS line \
              FROM ({query}) AS q) AS lines"
        );
        self.admin.query_one(&sql, &[]).await.unwrap().get(0)
    }
}

async fn admin(cluster: &Cluster, database: &str) -> Client {
    let config = format!("host=127.0.0.1 port={} user=postgres dbname={database}", cluster.port);
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(super) fn task(epoch: i64, first_grant: bool) -> TaskContext {
    TaskContext {
        task: TaskId(Uuid::from_u128(7)),
        name: "orders to mart".to_owned(),
        generation: Generation(1),
        epoch: Epoch(epoch),
        first_grant,
        kind: TaskKind::FullLoadAndCdc,
        settings: TaskSettings { load_parallelism: 1, lock_timeout_seconds: 2, ..TaskSettings::default() },
        spill_dir: std::env::temp_dir(),
    }
}

/// An open session with these tables attached; they are there already.
pub(super) async fn session(database: &Database, plan: &[TablePlan]) -> PgSession {
    let (_, mut session, _) = database.target().open_session(&task(1, true)).await.unwrap();
    session.attach(plan).await.unwrap();
    session
}

/// The plan of a table in schema `shop` whose columns keep their names. A key column is marked by `!`.
pub(super) fn plan(id: u32, table: &str, columns: &[(&str, &str)]) -> TablePlan {
    plan_with(id, table, columns, json!({}))
}

pub(super) fn plan_with(id: u32, table: &str, columns: &[(&str, &str)], native: serde_json::Value) -> TablePlan {
    let name = TableName::new("shop", table);
    let plain = |name: &str| name.trim_end_matches('!').to_owned();
    let key: Vec<usize> = (0..columns.len()).filter(|at| columns[*at].0.ends_with('!')).collect();
    let source = Table {
        name: name.clone(),
        kind: TableKind::Table,
        columns: columns
            .iter()
            .enumerate()
            .map(|(at, (name, declared))| Column {
                name: plain(name),
                declared: (*declared).to_owned(),
                not_null: name.ends_with('!'),
                generated: false,
                native: json!({"attnum": at + 1, "type": {
                    "oid": 0, "schema": "pg_catalog", "name": declared, "category": "base", "has_binary": true}}),
            })
            .collect(),
        key: key.iter().map(|at| plain(columns[*at].0)).collect(),
        rows_estimated: None,
        bytes_estimated: None,
        native,
    };
    TablePlan {
        id: TableId(id),
        source: Arc::new(source),
        declared: None,
        target: name,
        columns: columns
            .iter()
            .enumerate()
            .map(|(at, (name, _))| ColumnPlan {
                source: at,
                target_name: plain(name),
                encoding: BINARY,
                unfit: UnfitPolicy::default(),
                as_text: None,
            })
            .collect(),
        key,
        rows: None,
        schema_version: 1,
    }
}

/// A cell as a test writes it.
#[derive(Clone, Debug)]
pub(super) enum V {
    Null,
    Unchanged,
    Int(i32),
    Long(i64),
    Text(&'static str),
    Bytes(Vec<u8>),
}

pub(super) fn push_row(batch: &mut Batch, cells: &[V]) -> wavemark_domain::batch::RowStart {
    let row = batch.begin_row();
    for cell in cells {
        match cell {
            V::Null => batch.push_marker(Cell::NULL),
            V::Unchanged => batch.push_marker(Cell::UNCHANGED),
            V::Int(value) => batch.push_value(&value.to_be_bytes()),
            V::Long(value) => batch.push_value(&value.to_be_bytes()),
            V::Text(value) => batch.push_value(value.as_bytes()),
            V::Bytes(value) => batch.push_value(value),
        }
    }
    row
}

pub(super) fn insert(batch: &mut Batch, table: u32, new: &[V]) {
    let new = push_row(batch, new);
    batch.push_change(TableId(table), ChangeKind::Insert, None, Some(new));
}

pub(super) fn update(batch: &mut Batch, table: u32, old: Option<&[V]>, new: &[V]) {
    let old = old.map(|old| push_row(batch, old));
    let new = push_row(batch, new);
    batch.push_change(TableId(table), ChangeKind::Update, old, Some(new));
}

pub(super) fn delete(batch: &mut Batch, table: u32, old: &[V]) {
    let old = push_row(batch, old);
    batch.push_change(TableId(table), ChangeKind::Delete, Some(old), None);
}

pub(super) fn position(n: u8) -> Position {
    Position::new(vec![n])
}

/// Commits what is open as a wave.
pub(super) async fn commit(session: &mut PgSession, wave: i64) -> Result<(), Problem> {
    let end = position(u8::try_from(wave).unwrap());
    session
        .commit(&WaveEnd {
            wave: WaveNumber(wave),
            position: &end,
            position_text: "0/1",
            committed_at: Some(1_700_000_000_000_000),
            parked: &[],
        })
        .await
}

/// Applies a batch as one wave.
pub(super) async fn wave(session: &mut PgSession, plan: &[TablePlan], batch: &Batch, wave: i64) -> Result<(), Problem> {
    session.apply(plan, &Segment::whole(batch)).await?;
    commit(session, wave).await
}

pub(super) fn mark(table: &TablePlan, chunks: u32) -> TableMark {
    TableMark {
        source: table.name().clone(),
        began: position(1),
        position: position(1),
        storage: "1".to_owned(),
        stage: Stage::Loading,
        chunks: (0..chunks)
            .map(|number| ChunkMark { number, range: ChunkRange(format!("part {number}")), done: None })
            .collect(),
    }
}

/// Gives blocks that are there.
pub(super) struct Ready(pub(super) Vec<Block>);

impl Ready {
    pub(super) fn stream(bytes: Vec<u8>, piece: usize) -> Self {
        let bytes = Bytes::from(bytes);
        let mut pieces: Vec<Block> = (0..bytes.len())
            .step_by(piece)
            .map(|at| Block::Stream(bytes.slice(at..bytes.len().min(at + piece))))
            .collect();
        pieces.reverse();
        Self(pieces)
    }

    pub(super) fn rows(batch: Batch) -> Self {
        Self(vec![Block::Rows(batch)])
    }
}

#[async_trait]
impl RowReader for Ready {
    async fn next(&mut self) -> Result<Option<Block>, Problem> {
        Ok(self.0.pop())
    }
}
