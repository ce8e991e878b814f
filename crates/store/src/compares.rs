//! Comparisons of tasks, until a worker has carried them out, and what they found.
//!
//! Invariant: the keys of differing rows are the only values of rows that the metadata hold. They are what was asked
//! for; they go with the comparison, and only the newest few are kept.

use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;
use wavemark_domain::compare::{CompareOrder, CompareProgress, CompareReport, CompareState, RepairOrder};
use wavemark_domain::{TableName, TaskId};

use crate::{Error, Result};

/// Of each task the newest so many are kept.
const KEPT: i64 = 50;

/// A comparison as kept.
#[derive(Clone, Debug)]
pub struct Compare {
    /// Its id.
    pub id: Uuid,
    /// The task.
    pub task: TaskId,
    /// Which tables were asked for; all without it.
    pub tables: Option<Vec<TableName>>,
    /// The comparison whose differences were to be repaired first.
    pub repairs: Option<Uuid>,
    /// How far it is.
    pub state: CompareState,
    /// What is known.
    pub progress: CompareProgress,
    /// Who asked.
    pub created_by: String,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
    /// When both sides stood at one position.
    pub started_at: Option<OffsetDateTime>,
    /// When it was over.
    pub finished_at: Option<OffsetDateTime>,
}

/// A comparison to be asked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Its id.
    pub id: Uuid,
    /// The task.
    pub task: TaskId,
    /// Which tables; all without it.
    pub tables: Option<&'a [TableName]>,
    /// How many sessions read on each side.
    pub sessions: u16,
    /// Rows to make equal first.
    pub repair: &'a [RepairOrder],
    /// Whose differences those are.
    pub repairs: Option<Uuid>,
    /// Who asks.
    pub by: &'a str,
}

/// Asks for a comparison, and forgets the oldest of the task.
///
/// # Errors
/// A statement failed.
pub async fn create(connection: &mut PgConnection, wanted: &Wanted<'_>) -> Result<()> {
    sqlx::query!(
        "insert into compares (id, task_id, tables, sessions, repair, repairs, created_by)
         values ($1, $2, $3, $4, $5, $6, $7)",
        wanted.id,
        wanted.task.0,
        wanted.tables.map(serde_json::to_value).transpose()?,
        i32::from(wanted.sessions),
        serde_json::to_value(wanted.repair)?,
        wanted.repairs,
        wanted.by
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from compares where task_id = $1 and state not in ('waiting', 'running')
           and number <= (select number from compares where task_id = $1 order by number desc offset $2 limit 1)",
        wanted.task.0,
        KEPT
    )
    .execute(&mut *connection)
    .await?;
    crate::tasks::note_ask(connection, wanted.task).await
}

/// One comparison.
///
/// # Errors
/// The statement failed.
pub async fn get(connection: &mut PgConnection, id: Uuid) -> Result<Option<Compare>> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, task_id, tables as "tables: Json<Vec<TableName>>", repairs, state,
                  progress as "progress: Json<CompareProgress>", created_by, created_at, started_at, finished_at
           from compares where id = $1"#,
        id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Row::read).transpose()
}

/// The comparisons of a task, the newest first.
///
/// # Errors
/// The statement failed.
pub async fn list(connection: &mut PgConnection, task: TaskId) -> Result<Vec<Compare>> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id, task_id, tables as "tables: Json<Vec<TableName>>", repairs, state,
                  progress as "progress: Json<CompareProgress>", created_by, created_at, started_at, finished_at
           from compares where task_id = $1 order by number desc limit $2"#,
        task.0,
        KEPT
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

/// Those that a worker is to carry out, the oldest first.
///
/// # Errors
/// The statement failed.
pub async fn open(connection: &mut PgConnection, task: TaskId) -> Result<Vec<CompareOrder>> {
    let rows = sqlx::query_as!(
        Open,
        r#"select number, tables as "tables: Json<Vec<TableName>>", sessions,
                  repair as "repair: Json<Vec<RepairOrder>>"
           from compares where task_id = $1 and state in ('waiting', 'running') order by number"#,
        task.0
    )
    .fetch_all(connection)
    .await?;
    let order = |row: Open| CompareOrder {
        number: row.number,
        tables: row.tables.map(|tables| tables.0),
        sessions: u16::try_from(row.sessions).unwrap_or(1),
        repair: row.repair.0,
    };
    Ok(rows.into_iter().map(order).collect())
}

struct Open {
    number: i64,
    tables: Option<Json<Vec<TableName>>>,
    sessions: i32,
    repair: Json<Vec<RepairOrder>>,
}

/// Takes in what a worker says. One that is over stays as it is.
///
/// # Errors
/// The statement failed.
pub async fn reported(connection: &mut PgConnection, task: TaskId, report: &CompareReport) -> Result<()> {
    let Some(news) = &report.news else { return Ok(()) };
    sqlx::query!(
        "update compares set state = $3, progress = $4,
                started_at = case when $3 = 'waiting' then null else coalesce(started_at, clock_timestamp()) end,
                finished_at = case when $5 then clock_timestamp() end,
                repair = case when $5 then '[]' else repair end
         where task_id = $1 and number = $2 and state in ('waiting', 'running')",
        task.0,
        report.number,
        news.state.word(),
        serde_json::to_value(news)?,
        news.state.is_over()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes one back that is not over; false if it is.
///
/// # Errors
/// The statement failed.
pub async fn cancel(connection: &mut PgConnection, id: Uuid) -> Result<bool> {
    let done = sqlx::query!(
        "update compares set state = 'cancelled', finished_at = clock_timestamp(), repair = '[]'
         where id = $1 and state in ('waiting', 'running')",
        id
    )
    .execute(&mut *connection)
    .await?;
    crate::announce_change(connection).await?;
    Ok(done.rows_affected() > 0)
}

struct Row {
    id: Uuid,
    task_id: Uuid,
    tables: Option<Json<Vec<TableName>>>,
    repairs: Option<Uuid>,
    state: String,
    progress: Json<CompareProgress>,
    created_by: String,
    created_at: OffsetDateTime,
    started_at: Option<OffsetDateTime>,
    finished_at: Option<OffsetDateTime>,
}

impl Row {
    fn read(self) -> Result<Compare> {
        let state = CompareState::from_word(&self.state);
        Ok(Compare {
            id: self.id,
            task: TaskId(self.task_id),
            tables: self.tables.map(|tables| tables.0),
            repairs: self.repairs,
            state: state.ok_or_else(|| Error::unreadable(format!("the state \"{}\"", self.state)))?,
            progress: self.progress.0,
            created_by: self.created_by,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
        })
    }
}
