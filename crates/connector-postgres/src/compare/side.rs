//! One side of a comparison.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};
use tokio_util::task::AbortOnDropHandle;
use wavemark_connector::TaskContext;
use wavemark_connector::compare::{Bucket, Form, Listed, Side};
use wavemark_domain::{Problem, TableName, TablePlan};

use super::hashes::{BYTES, Hashes, PROBE, RECORD};
use super::pieces::{self, Piece};
use crate::client::{Ending, Purpose, open};
use crate::encoding::BINARY;
use crate::error;
use crate::settings::Settings;
use crate::target::wider::{self, Fit};

/// Which names a table and its columns have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Source,
    Target,
}

/// Where sessions for a comparison are opened.
#[derive(Clone)]
pub(crate) struct Place {
    settings: Settings,
    task: TaskContext,
}

/// A server that reads for somebody who stands still must not keep a snapshot for ever: the keeper says that it is
/// there as often as this, and is ended by the server when it doesn't.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
/// Nothing else may end a session.
const LIMITS: &str = "\
    SET idle_in_transaction_session_timeout = '120s'; SET enable_sort = off; SET work_mem = '64MB'; \
    SET max_parallel_workers_per_gather = 0; SET jit = off; \
    SET default_transaction_read_only = on";

impl Place {
    pub(crate) fn new(settings: &Settings, task: &TaskContext) -> Self {
        Self { settings: settings.clone(), task: task.clone() }
    }

    /// Opens a session for a part of the task.
    pub(crate) async fn open(&self, part: &str) -> Result<Client, Problem> {
        let lock_timeout = Duration::from_secs(self.task.settings.lock_timeout_seconds.into());
        open(&self.settings, &Purpose { name: &self.task.name, part, lock_timeout, writes: false }).await
    }

    /// Has the server end what that session does when this is dropped.
    pub(crate) fn ending(&self, client: &Client) -> Ending {
        Ending::of(client, &self.settings)
    }

    async fn connect(&self) -> Result<Client, Problem> {
        let client = self.open("compare").await?;
        client.batch_execute(LIMITS).await.map_err(|error| error::driver(&error, "set up a session"))?;
        Ok(client)
    }
}

/// A snapshot that is kept, and the sessions that read in it.
pub(crate) struct PgSide {
    place: Place,
    origin: Origin,
    snapshot: String,
    keeper: Arc<tokio::sync::Mutex<Client>>,
    _alive: AbortOnDropHandle<()>,
    idle: Mutex<Vec<Client>>,
    sessions: usize,
    probe: Probe,
}

struct Probe {
    hash: String,
    encoding: String,
    version: i32,
}

impl PgSide {
    /// Takes the snapshot that another session exported, or a new one.
    pub(crate) async fn open(
        place: Place,
        origin: Origin,
        snapshot: Option<&str>,
        sessions: u16,
    ) -> Result<Self, Problem> {
        let keeper = place.connect().await?;
        begin(&keeper, snapshot).await?;
        let failed = |error: tokio_postgres::Error| error::driver(&error, "export a snapshot");
        let row = keeper.query_one("SELECT pg_export_snapshot()", &[]).await.map_err(failed)?;
        let snapshot: String = row.get(0);
        let row = keeper.query_one(PROBE, &[]).await.map_err(failed)?;
        let probe = Probe { hash: row.get(0), encoding: row.get(1), version: row.get(2) };
        let keeper = Arc::new(tokio::sync::Mutex::new(keeper));
        let alive = AbortOnDropHandle::new(tokio::spawn(live(Arc::clone(&keeper))));
        let sessions = usize::from(sessions).clamp(1, 32);
        Ok(Self { place, origin, snapshot, keeper, _alive: alive, idle: Mutex::default(), sessions, probe })
    }

    /// Runs a statement in the snapshot.
    pub(crate) async fn ask(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Problem> {
        let keeper = self.keeper.lock().await;
        keeper.query(statement, values).await.map_err(|error| error::driver(&error, "read in a snapshot"))
    }

    /// The condition on a piece's rows. A target has only those that travel, whatever is compared with them.
    fn condition(&self, plan: &TablePlan, piece: &Piece) -> String {
        let rows = crate::source::condition(plan).filter(|_| self.origin == Origin::Source);
        rows.map_or_else(|| piece.condition(), |rows| format!("{} AND {rows}", piece.condition()))
    }

    fn table<'a>(&self, plan: &'a TablePlan) -> &'a TableName {
        match self.origin {
            Origin::Source => plan.name(),
            Origin::Target => &plan.target,
        }
    }

    fn column(&self, plan: &TablePlan, at: usize) -> String {
        let column = &plan.columns[at];
        match self.origin {
            Origin::Source => plan.source.columns[column.source].name.clone(),
            Origin::Target => column.target_name.clone(),
        }
    }

    async fn hashes(&self, plan: &TablePlan, form: &Form) -> Result<Hashes, Problem> {
        let (_, fits) = self.relation(plan).await?;
        Hashes::of(plan, form, |at| self.column(plan, at), &fits)
    }

    async fn pieces(&self, plan: &TablePlan) -> Result<Vec<Piece>, Problem> {
        let (oid, _) = self.relation(plan).await?;
        pieces::cut(&*self.keeper.lock().await, self.table(plan), oid).await
    }

    /// The table's number, and how each planned column's values are in it. Only a target's table may be wider.
    async fn relation(&self, plan: &TablePlan) -> Result<(u32, Vec<Fit>), Problem> {
        let expected = self.expected(plan);
        let fit = |at: usize, now: &str| match self.origin {
            Origin::Source => (now == expected[at].1).then(Fit::default),
            Origin::Target => wider::fit(plan, &plan.columns[at], now),
        };
        pieces::relation(&*self.keeper.lock().await, self.table(plan), &expected, fit).await
    }

    fn expected(&self, plan: &TablePlan) -> Vec<(String, String)> {
        let declared = |at: usize| plan.source.columns[plan.columns[at].source].declared.clone();
        (0..plan.columns.len()).map(|at| (self.column(plan, at), declared(at))).collect()
    }

    /// Reads all pieces of a table, several at once; `take` gets the rows of each.
    async fn read(
        &self,
        plan: &TablePlan,
        statement: &(dyn Fn(&Piece) -> String + Sync),
        values: &[&(dyn ToSql + Sync)],
        take: &(dyn Fn(Vec<Row>) -> Result<(), Problem> + Sync),
    ) -> Result<(), Problem> {
        let pieces = Mutex::new(VecDeque::from(self.pieces(plan).await?));
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let reader = async || {
            while let Some(piece) = next() {
                let client = self.client().await?;
                take(self.piece(&client, plan, &piece, &statement(&piece), values).await?)?;
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
            }
            Ok::<_, Problem>(())
        };
        try_join_all((0..self.sessions).map(|_| reader())).await.map(drop)
    }

    async fn client(&self) -> Result<Client, Problem> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle.filter(|client| !client.is_closed()) {
            Some(client) => Ok(client),
            None => self.place.connect().await,
        }
    }

    async fn piece(
        &self,
        client: &Client,
        plan: &TablePlan,
        piece: &Piece,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Problem> {
        // The function says what is true now, the catalog what was in the snapshot.
        const STORAGE: &str = "SELECT pg_relation_filenode(oid) IS NOT DISTINCT FROM relfilenode FROM pg_class \
                               WHERE oid = $1";
        let table = self.table(plan);
        let failed = |error: tokio_postgres::Error| {
            error::driver(&error, &format!("read table {table} to compare it")).table(plan.name())
        };
        begin(client, Some(&self.snapshot)).await?;
        let rows = client.query(statement, values).await.map_err(failed)?;
        let same = client.query_opt(STORAGE, &[&piece.oid]).await.map_err(failed)?;
        if same.is_none_or(|row| row.get::<_, Option<bool>>(0) != Some(true)) {
            let text = format!("Table {table} was truncated or rewritten while it was read.");
            let problem = Problem::new(wavemark_domain::Fault::Data, "table-rewritten", text);
            return Err(problem.table(plan.name()).advice("Compare it again."));
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;
        Ok(rows)
    }
}

/// Begins a transaction, in a snapshot that another session exported if there is one.
async fn begin(client: &Client, snapshot: Option<&str>) -> Result<(), Problem> {
    let mut statement = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned();
    if let Some(snapshot) = snapshot {
        statement = format!("{statement}; SET TRANSACTION SNAPSHOT '{}'", snapshot.replace('\'', "''"));
    }
    client.batch_execute(&statement).await.map_err(|error| {
        let problem = error::driver(&error, "take a snapshot");
        // Whoever exported it is gone: it must be made again.
        if error.as_db_error().is_some() { Problem::transient("snapshot-gone", problem.text) } else { problem }
    })
}

async fn live(keeper: Arc<tokio::sync::Mutex<Client>>) {
    loop {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        if keeper.lock().await.batch_execute("SELECT").await.is_err() {
            return;
        }
    }
}

#[async_trait]
impl Side for PgSide {
    async fn forms(&self, plan: &TablePlan) -> Result<Vec<Form>, Problem> {
        self.relation(plan).await.map_err(|problem| problem.table(plan.name()))?;
        // The hashes are of this system's own forms, which rows of another system's table don't have.
        if plan.columns.iter().any(|column| column.encoding != BINARY) {
            return Ok(Vec::new());
        }
        let Probe { hash, encoding, version } = &self.probe;
        let record = (*version >= 140_000).then(|| Form(format!("{RECORD} {encoding} {hash}")));
        Ok(record.into_iter().chain([Form(format!("{BYTES} {hash}"))]).collect())
    }

    async fn fingerprint(
        &self,
        plan: &TablePlan,
        form: &Form,
        buckets: u32,
        heard: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Bucket>, Problem> {
        let Hashes { row, bucket, .. } = self.hashes(plan, form).await?;
        let statement = |piece: &Piece| {
            let from = format!("FROM ONLY {} WHERE {}", piece.leaf, self.condition(plan, piece));
            if buckets == 1 {
                format!("SELECT 0, count(*), coalesce(sum({row}), 0)::text {from}")
            } else {
                let bucket = format!("({bucket} & {})::int4", buckets - 1);
                format!("SELECT {bucket}, count(*), sum({row})::text {from} GROUP BY 1")
            }
        };
        let sums = Mutex::new(std::collections::BTreeMap::<u32, Bucket>::new());
        let take = |rows: Vec<Row>| {
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            let mut count = 0;
            for row in rows {
                let number = row.get::<_, i32>(0).unsigned_abs();
                let rows = row.get::<_, i64>(1).unsigned_abs();
                let sum: i128 = row.get::<_, &str>(2).parse().map_err(|_| Problem::internal("a sum that is none"))?;
                let bucket = sums.entry(number).or_insert(Bucket { number, rows: 0, sum: 0 });
                bucket.rows += rows;
                bucket.sum += sum;
                count += rows;
            }
            heard(count);
            Ok(())
        };
        self.read(plan, &statement, &[], &take).await?;
        let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(sums.into_values().filter(|bucket| bucket.rows > 0).collect())
    }

    async fn list(
        &self,
        plan: &TablePlan,
        form: &Form,
        buckets: u32,
        chosen: &[u32],
        heard: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Listed>, Problem> {
        let Hashes { row, bucket, key } = self.hashes(plan, form).await?;
        let chosen: Vec<i32> = chosen.iter().map(|number| number.cast_signed()).collect();
        let width = key.len();
        let statement = |piece: &Piece| {
            let condition = self.condition(plan, piece);
            let condition = format!("{condition} AND ({bucket} & {})::int4 = ANY ($1)", buckets - 1);
            if width == 0 {
                return format!("SELECT {row}, count(*) FROM ONLY {} WHERE {condition} GROUP BY 1", piece.leaf);
            }
            let texts: Vec<String> = key.iter().map(|(_, text)| text.clone()).collect();
            let values: Vec<&str> = key.iter().map(|(value, _)| value.as_str()).collect();
            let columns = format!("{}, {}", texts.join(", "), values.join(", "));
            format!("SELECT {row}, 1::int8, {columns} FROM ONLY {} WHERE {condition}", piece.leaf)
        };
        let listed = Mutex::new(Vec::new());
        let take = |rows: Vec<Row>| {
            heard(rows.len() as u64);
            let mut listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
            for row in rows {
                listed.push(Listed {
                    hash: row.get(0),
                    count: row.get::<_, i64>(1).unsigned_abs(),
                    text: (0..width).map(|at| row.get::<_, Option<String>>(2 + at).unwrap_or_default()).collect(),
                    cells: (0..width)
                        .map(|at| {
                            row.get::<_, Option<Raw<'_>>>(2 + width + at).map_or_else(Vec::new, |raw| raw.0.to_vec())
                        })
                        .collect(),
                });
            }
            Ok(())
        };
        self.read(plan, &statement, &[&chosen], &take).await?;
        Ok(listed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A value as the server sent it.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
