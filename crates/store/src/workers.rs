//! Workers as the server knows them.

use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::WorkerId;
use wavemark_domain::ids::TokenId;

use crate::Result;

/// What a worker says about itself.
#[derive(Clone, Debug)]
pub struct Introduction<'a> {
    /// A name for people.
    pub name: &'a str,
    /// The program's version.
    pub version: &'a str,
    /// How many tasks it takes at once.
    pub places: i32,
    /// Which connectors it has.
    pub engines: &'a [String],
}

/// One worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its id.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// How many tasks it takes at once.
    pub places: i32,
    /// Which connectors it has.
    pub engines: Vec<String>,
    /// When it introduced itself.
    pub registered_at: OffsetDateTime,
    /// When it was last heard of.
    pub seen_at: OffsetDateTime,
    /// Whether it was heard of within a lease's time.
    pub alive: bool,
    /// Whether it takes nothing new, asked for or by itself.
    pub draining: bool,
    /// CPU in percent of one core.
    pub cpu_percent: Option<f32>,
    /// Resident memory in bytes.
    pub memory_bytes: Option<i64>,
    /// The tasks that it holds a lease on that has not lapsed.
    pub tasks: i64,
}

/// Makes a worker known.
///
/// # Errors
/// The statement failed.
pub async fn register(
    connection: &mut PgConnection,
    id: WorkerId,
    token: TokenId,
    introduction: &Introduction<'_>,
) -> Result<()> {
    sqlx::query!(
        "insert into workers (id, name, version, places, engines, token_id) values ($1, $2, $3, $4, $5, $6)",
        id.0,
        introduction.name,
        introduction.version,
        introduction.places,
        introduction.engines,
        token.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a poll needs to know about its worker.
#[derive(Clone, Debug)]
pub struct Known {
    /// Which connectors it has.
    pub engines: Vec<String>,
    /// Whether it shall take nothing new.
    pub drain: bool,
    /// The number of the last thing that was asked of the tasks that it holds.
    pub last_ask: i64,
}

/// Notes that a worker was heard of. `None` if it isn't known under this token.
///
/// # Errors
/// The statement failed.
pub async fn seen(connection: &mut PgConnection, id: WorkerId, token: TokenId) -> Result<Option<Known>> {
    let row = sqlx::query!(
        r#"update workers w set seen_at = clock_timestamp() where id = $1 and token_id = $2
           returning engines, drain_asked or draining as "drain!",
                (select coalesce(max(t.last_ask), 0) from leases l join tasks t on t.id = l.task_id
                  where l.worker_id = w.id) as "last_ask!""#,
        id.0,
        token.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Known { engines: row.engines, drain: row.drain, last_ask: row.last_ask }))
}

/// The same for a worker whose poll waits at the server, which says nothing new of it: `None` also if no report of it
/// came for four seconds. A frozen worker's poll stays open, and must neither keep it alive nor be given work.
///
/// # Errors
/// The statement failed.
pub async fn still_heard(connection: &mut PgConnection, id: WorkerId, token: TokenId) -> Result<Option<Known>> {
    let row = sqlx::query!(
        r#"select engines, drain_asked or draining as "drain!",
                seen_at > clock_timestamp() - make_interval(secs => 4) as "heard!",
                (select coalesce(max(t.last_ask), 0) from leases l join tasks t on t.id = l.task_id
                  where l.worker_id = w.id) as "last_ask!"
         from workers w where id = $1 and token_id = $2"#,
        id.0,
        token.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.filter(|row| row.heard).map(|row| Known { engines: row.engines, drain: row.drain, last_ask: row.last_ask }))
}

/// Notes what a report says about the worker itself. Gives whether it was asked to drain; `None` if it isn't known.
///
/// # Errors
/// The statement failed.
pub async fn reported(
    connection: &mut PgConnection,
    id: WorkerId,
    token: TokenId,
    draining: bool,
    cpu_percent: Option<f32>,
    memory_bytes: Option<i64>,
) -> Result<Option<bool>> {
    Ok(sqlx::query_scalar!(
        "update workers set seen_at = clock_timestamp(), draining = $3, cpu_percent = $4, memory_bytes = $5
         where id = $1 and token_id = $2 returning drain_asked",
        id.0,
        token.0,
        draining,
        cpu_percent,
        memory_bytes
    )
    .fetch_optional(connection)
    .await?)
}

/// Workers after an id (ids grow with time).
///
/// # Errors
/// The statement failed.
pub async fn list(connection: &mut PgConnection, after: Option<WorkerId>, limit: i64) -> Result<Vec<Worker>> {
    let rows = sqlx::query!(
        r#"select id, name, version, places, engines, registered_at, seen_at,
                  seen_at > clock_timestamp() - make_interval(secs => 10) as "alive!",
                  drain_asked or draining as "draining!", cpu_percent, memory_bytes,
                  (select count(*) from leases l where l.worker_id = w.id and l.expires_at > clock_timestamp()) as "tasks!"
           from workers w where $1::uuid is null or id > $1 order by id limit $2"#,
        after.map(|worker| worker.0),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Worker {
            id: WorkerId(row.id),
            name: row.name,
            version: row.version,
            places: row.places,
            engines: row.engines,
            registered_at: row.registered_at,
            seen_at: row.seen_at,
            alive: row.alive,
            draining: row.draining,
            cpu_percent: row.cpu_percent,
            memory_bytes: row.memory_bytes,
            tasks: row.tasks,
        })
        .collect())
}

/// Asks a worker to take nothing new and give its tasks back. False if it isn't known.
///
/// # Errors
/// The statement failed.
pub async fn drain(connection: &mut PgConnection, id: WorkerId) -> Result<bool> {
    let done = sqlx::query!("update workers set drain_asked = true where id = $1", id.0).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}
