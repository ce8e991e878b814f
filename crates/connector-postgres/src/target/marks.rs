//! What the target keeps for a task besides the rows: bookmarks, marks of tables and chunks.

use tokio_postgres::{Client, GenericClient, Row};
use uuid::Uuid;
use wavemark_connector::source::ChunkRange;
use wavemark_connector::target::{Bookmark, ChunkMark, Kept, Loaded, Stage, TableMark};
use wavemark_domain::adopt::KeptTable;
use wavemark_domain::{Position, Problem, TableName, TablePlan, WaveNumber};

use super::fault::problem;

/// Reads what is kept. Only true after the fence was raised.
pub(crate) async fn read(client: &Client, task: Uuid) -> Result<Kept, Problem> {
    let failed = |error: tokio_postgres::Error| problem(&error, "read the bookmark and the marks in the target");
    Ok(Kept {
        bookmark: bookmark(client, task).await.map_err(failed)?,
        tables: tables(client, task).await.map_err(failed)?,
        written: written(client, task).await.map_err(failed)?,
    })
}

/// Wave and position of the newest bookmark of a task.
pub(crate) const BOOKMARK: &str =
    "SELECT wave, position FROM wavemark.progress WHERE task = $1 ORDER BY wave DESC LIMIT 1";

async fn bookmark(client: &Client, task: Uuid) -> Result<Option<Bookmark>, tokio_postgres::Error> {
    Ok(client
        .query_opt(BOOKMARK, &[&task])
        .await?
        .map(|row| Bookmark { wave: WaveNumber(row.get(0)), position: Position::new(row.get::<_, Vec<u8>>(1)) }))
}

async fn tables(client: &Client, task: Uuid) -> Result<Vec<TableMark>, tokio_postgres::Error> {
    const TABLES: &str = "SELECT source_schema, source_table, position, storage, stage, problem, began \
        FROM wavemark.tables WHERE task = $1 AND stage <> 'superseded' \
        ORDER BY source_schema COLLATE \"C\", source_table COLLATE \"C\"";
    const CHUNKS: &str = "SELECT source_schema, source_table, number, range, rows, bytes \
        FROM wavemark.chunks WHERE task = $1 \
        ORDER BY source_schema COLLATE \"C\", source_table COLLATE \"C\", number";
    let mut tables: Vec<TableMark> = client.query(TABLES, &[&task]).await?.iter().map(table).collect();
    for row in client.query(CHUNKS, &[&task]).await? {
        let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        if let Ok(at) = tables.binary_search_by(|table| table.source.cmp(&name)) {
            tables[at].chunks.push(chunk(&row));
        }
    }
    Ok(tables)
}

async fn written(client: &Client, task: Uuid) -> Result<Vec<KeptTable>, tokio_postgres::Error> {
    // Before its second version the schema did not note the columns, and once not the layout. Whole rows, so that
    // one text does.
    const TABLES: &str = "SELECT t.source_schema, t.source_table, t.target_schema, t.target_table, \
        pg_catalog.to_jsonb(t) -> 'columns', pg_catalog.to_jsonb(t) -> 'layout', \
        pg_catalog.to_jsonb(t) -> 'layout' -> 'rows' FROM wavemark.tables t WHERE t.task = $1 AND t.stage <> 'superseded' \
        ORDER BY t.source_schema COLLATE \"C\", t.source_table COLLATE \"C\"";
    let name = |row: &Row, at: usize| TableName::new(row.get::<_, String>(at), row.get::<_, String>(at + 1));
    let table = |row: &Row| KeptTable {
        source: name(row, 0),
        target: name(row, 2),
        columns: row.get::<_, Option<serde_json::Value>>(4).and_then(|columns| serde_json::from_value(columns).ok()),
        layout: row.get::<_, Option<serde_json::Value>>(5).and_then(|layout| serde_json::from_value(layout).ok()),
        rows: row.get::<_, Option<serde_json::Value>>(6).and_then(|rows| serde_json::from_value(rows).ok()),
    };
    Ok(client.query(TABLES, &[&task]).await?.iter().map(table).collect())
}

fn table(row: &Row) -> TableMark {
    TableMark {
        source: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        began: Position::new(row.get::<_, Vec<u8>>(6)),
        position: Position::new(row.get::<_, Vec<u8>>(2)),
        storage: row.get(3),
        stage: stage(row.get(4), row.get(5)),
        chunks: Vec::new(),
    }
}

fn stage(word: &str, reason: Option<serde_json::Value>) -> Stage {
    match word {
        "loading" => Stage::Loading,
        "loaded" => Stage::Loaded,
        _ => Stage::Parked(Box::new(
            reason
                .and_then(|reason| serde_json::from_value(reason).ok())
                .unwrap_or_else(|| Problem::internal("The reason why this table is parked can't be read.")),
        )),
    }
}

fn chunk(row: &Row) -> ChunkMark {
    let done = row.get::<_, Option<i64>>(4).zip(row.get::<_, Option<i64>>(5));
    ChunkMark {
        number: u32::try_from(row.get::<_, i32>(2)).unwrap_or_default(),
        range: ChunkRange(row.get(3)),
        done: done.map(|(rows, bytes)| Loaded { rows: rows.unsigned_abs(), bytes: bytes.unsigned_abs() }),
    }
}

fn word(stage: &Stage) -> (&'static str, Option<serde_json::Value>) {
    match stage {
        Stage::Loading => ("loading", None),
        Stage::Loaded => ("loaded", None),
        Stage::Parked(problem) => ("parked", serde_json::to_value(problem).ok()),
    }
}

/// The columns that are written: pairs of the name at the source and the name here.
fn columns(table: &TablePlan) -> serde_json::Value {
    serde_json::json!(table.column_names())
}

/// Puts a table's mark with its chunks in place of the one that is there.
pub(crate) async fn put(
    client: &impl GenericClient,
    task: Uuid,
    table: &TablePlan,
    mark: &TableMark,
    made: bool,
) -> Result<(), tokio_postgres::Error> {
    remove(client, task, &mark.source).await?;
    let (stage, reason) = word(&mark.stage);
    client
        .execute(
            "INSERT INTO wavemark.tables (task, source_schema, source_table, target_schema, target_table, stage, \
             position, storage, problem, made, began, columns, layout) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            &[
                &task,
                &mark.source.schema,
                &mark.source.table,
                &table.target.schema,
                &table.target.table,
                &stage,
                &mark.position.as_bytes(),
                &mark.storage,
                &reason,
                &made,
                &mark.began.as_bytes(),
                &columns(table),
                &table.layout_to_note(),
            ],
        )
        .await?;
    let numbers: Vec<i32> = mark.chunks.iter().map(|chunk| chunk.number.cast_signed()).collect();
    let ranges: Vec<&str> = mark.chunks.iter().map(|chunk| chunk.range.0.as_str()).collect();
    let rows: Vec<Option<i64>> =
        mark.chunks.iter().map(|chunk| chunk.done.map(|done| done.rows.cast_signed())).collect();
    let bytes: Vec<Option<i64>> =
        mark.chunks.iter().map(|chunk| chunk.done.map(|done| done.bytes.cast_signed())).collect();
    client
        .execute(
            "INSERT INTO wavemark.chunks (task, source_schema, source_table, number, range, rows, bytes, done_at) \
             SELECT $1, $2, $3, c.number, c.range, c.rows, c.bytes, \
             CASE WHEN c.rows IS NOT NULL THEN pg_catalog.clock_timestamp() END \
             FROM unnest($4::int4[], $5::text[], $6::int8[], $7::int8[]) AS c (number, range, rows, bytes)",
            &[&task, &mark.source.schema, &mark.source.table, &numbers, &ranges, &rows, &bytes],
        )
        .await
        .map(drop)
}

/// What there is of a table's mark.
pub(crate) struct Begun {
    pub(crate) stage: String,
    /// Whether we made the table.
    pub(crate) made: bool,
    /// Whether rows that are there are ours.
    pub(crate) written: bool,
}

/// Whether a task wrote a table: one that was only parked has neither been made by it nor has it chunks.
const WRITTEN: &str = "(t.made OR t.stage = 'superseded' OR EXISTS (SELECT FROM wavemark.chunks c WHERE c.task = t.task \
    AND c.source_schema = t.source_schema AND c.source_table = t.source_table))";

/// The mark of a table under its target's name; `None` without one.
pub(crate) async fn begun(
    client: &impl GenericClient,
    task: Uuid,
    table: &TablePlan,
) -> Result<Option<Begun>, tokio_postgres::Error> {
    let sql = format!(
        "SELECT stage, made, {WRITTEN} FROM wavemark.tables t WHERE task = $1 AND source_schema = $2 \
         AND source_table = $3 AND target_schema = $4 AND target_table = $5"
    );
    let (source, target) = (table.name(), &table.target);
    let row = client.query_opt(&sql, &[&task, &source.schema, &source.table, &target.schema, &target.table]).await?;
    Ok(row.map(|row| Begun { stage: row.get(0), made: row.get(1), written: row.get(2) }))
}

/// The columns of the target that were written under a table's mark.
pub(crate) async fn columns_of(
    client: &impl GenericClient,
    task: Uuid,
    table: &TablePlan,
) -> Result<Vec<String>, tokio_postgres::Error> {
    const SQL: &str = "SELECT ARRAY(SELECT pair ->> 1 FROM pg_catalog.jsonb_array_elements(columns) pair) \
        FROM wavemark.tables WHERE task = $1 AND source_schema = $2 AND source_table = $3 AND target_schema = $4 \
        AND target_table = $5 AND pg_catalog.jsonb_typeof(columns) = 'array'";
    let (source, target) = (table.name(), &table.target);
    let row = client.query_opt(SQL, &[&task, &source.schema, &source.table, &target.schema, &target.table]).await?;
    Ok(row.map(|row| row.get(0)).unwrap_or_default())
}

/// Removes a table's mark and those of its chunks.
pub(crate) async fn remove(
    client: &impl GenericClient,
    task: Uuid,
    table: &TableName,
) -> Result<(), tokio_postgres::Error> {
    for kept in ["unfit", "chunks", "tables"] {
        let sql = format!("DELETE FROM wavemark.{kept} WHERE task = $1 AND source_schema = $2 AND source_table = $3");
        client.execute(&sql, &[&task, &table.schema, &table.table]).await?;
    }
    Ok(())
}

/// Sets a chunk done; one that isn't there or is done already is an error, since its rows would be doubled.
pub(crate) async fn chunk_done(
    client: &impl GenericClient,
    task: Uuid,
    table: &TableName,
    number: u32,
    loaded: Loaded,
) -> Result<bool, tokio_postgres::Error> {
    let done = client
        .execute(
            "UPDATE wavemark.chunks SET rows = $5, bytes = $6, done_at = pg_catalog.clock_timestamp() \
             WHERE task = $1 AND source_schema = $2 AND source_table = $3 AND number = $4 AND done_at IS NULL",
            &[
                &task,
                &table.schema,
                &table.table,
                &number.cast_signed(),
                &loaded.rows.cast_signed(),
                &loaded.bytes.cast_signed(),
            ],
        )
        .await?;
    Ok(done == 1)
}

/// Moves a table's mark.
pub(crate) async fn set_position(
    client: &impl GenericClient,
    task: Uuid,
    table: &TableName,
    position: &Position,
    storage: &str,
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "UPDATE wavemark.tables SET position = $4, storage = $5, changed_at = pg_catalog.clock_timestamp() \
             WHERE task = $1 AND source_schema = $2 AND source_table = $3",
            &[&task, &table.schema, &table.table, &position.as_bytes(), &storage],
        )
        .await
        .map(drop)
}

/// Notes the layout that a table's rows have from here on; false without a mark.
pub(crate) async fn note_layout(
    client: &impl GenericClient,
    task: Uuid,
    table: &TablePlan,
) -> Result<bool, tokio_postgres::Error> {
    let (source, layout) = (table.name(), table.layout_to_note());
    let noted = client
        .execute(
            "UPDATE wavemark.tables SET columns = $4, layout = $5, changed_at = pg_catalog.clock_timestamp() \
             WHERE task = $1 AND source_schema = $2 AND source_table = $3",
            &[&task, &source.schema, &source.table, &columns(table), &layout],
        )
        .await?;
    Ok(noted == 1)
}

/// Says how far a table is.
pub(crate) async fn set_stage(
    client: &impl GenericClient,
    task: Uuid,
    table: &TableName,
    stage: &Stage,
) -> Result<(), tokio_postgres::Error> {
    let (stage, reason) = word(stage);
    client
        .execute(
            "UPDATE wavemark.tables SET stage = $4, problem = $5, changed_at = pg_catalog.clock_timestamp() \
             WHERE task = $1 AND source_schema = $2 AND source_table = $3",
            &[&task, &table.schema, &table.table, &stage, &reason],
        )
        .await
        .map(drop)
}

/// Ends a table whose rows stay: they count as those of an earlier load.
pub(crate) async fn set_superseded(
    client: &impl GenericClient,
    task: Uuid,
    table: &TableName,
) -> Result<(), tokio_postgres::Error> {
    let not_ours = format!("DELETE FROM wavemark.tables t WHERE {{}} AND NOT {WRITTEN}");
    let statements = [
        not_ours.as_str(),
        "UPDATE wavemark.tables SET stage = 'superseded', problem = NULL, changed_at = pg_catalog.clock_timestamp() WHERE {}",
        "DELETE FROM wavemark.chunks WHERE {}",
        "DELETE FROM wavemark.unfit WHERE {}",
    ];
    for statement in statements {
        let sql = statement.replace("{}", "task = $1 AND source_schema = $2 AND source_table = $3");
        client.execute(&sql, &[&task, &table.schema, &table.table]).await?;
    }
    Ok(())
}

/// The name of another task that writes the same target table.
pub(crate) async fn written_by_another(
    client: &impl GenericClient,
    task: Uuid,
    table: &TablePlan,
) -> Result<Option<String>, tokio_postgres::Error> {
    const SQL: &str = "SELECT f.name FROM wavemark.tables t JOIN wavemark.fence f ON f.task = t.task \
        WHERE t.target_schema = $1 AND t.target_table = $2 AND t.task <> $3 AND NOT f.tombstone LIMIT 1";
    let row = client.query_opt(SQL, &[&table.target.schema, &table.target.table, &task]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// Moves what is kept of a table, and of foreign keys that it has or that point at it, to its next names. What an earlier
/// load left under them is not ours any more.
pub(crate) async fn rename(
    client: &impl GenericClient,
    task: Uuid,
    before: &TablePlan,
    next: &TablePlan,
) -> Result<(), tokio_postgres::Error> {
    const EARLIER: &str = "DELETE FROM wavemark.tables WHERE task = $1 AND source_schema = $2 AND source_table = $3 \
        AND stage = 'superseded'";
    const TABLES: &str = "UPDATE wavemark.tables SET source_schema = $4, source_table = $5, target_schema = $6, \
        target_table = $7 WHERE task = $1 AND source_schema = $2 AND source_table = $3";
    const CHUNKS: &str = "UPDATE wavemark.chunks SET source_schema = $4, source_table = $5 \
        WHERE task = $1 AND source_schema = $2 AND source_table = $3";
    const NO_UNFIT: &str = "DELETE FROM wavemark.unfit WHERE task = $1 AND source_schema = $2 AND source_table = $3";
    const UNFIT: &str = "UPDATE wavemark.unfit SET source_schema = $4, source_table = $5 \
        WHERE task = $1 AND source_schema = $2 AND source_table = $3";
    const KEYS: &str = "UPDATE wavemark.foreign_keys SET \
        on_schema = CASE WHEN (on_schema, on_table) = ($2, $3) THEN $4 ELSE on_schema END, \
        on_table = CASE WHEN (on_schema, on_table) = ($2, $3) THEN $5 ELSE on_table END, \
        definition = pg_catalog.replace(definition, pg_catalog.format(' REFERENCES %I.%I(', $2::text, $3::text), \
            pg_catalog.format(' REFERENCES %I.%I(', $4::text, $5::text)) WHERE task = $1";
    let (from, to) = (before.name(), next.name());
    client.execute(EARLIER, &[&task, &to.schema, &to.table]).await?;
    let target = &next.target;
    let names: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&task, &from.schema, &from.table, &to.schema, &to.table, &target.schema, &target.table];
    client.execute(TABLES, &names).await?;
    client.execute(CHUNKS, &names[..5]).await?;
    client.execute(NO_UNFIT, &[&task, &to.schema, &to.table]).await?;
    client.execute(UNFIT, &names[..5]).await?;
    let (was, is) = (&before.target, &next.target);
    client.execute(KEYS, &[&task, &was.schema, &was.table, &is.schema, &is.table]).await.map(drop)
}

/// Parks a table at a position.
pub(crate) async fn park(
    client: &impl GenericClient,
    task: Uuid,
    table: &TablePlan,
    position: &Position,
    reason: &Problem,
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "INSERT INTO wavemark.tables (task, source_schema, source_table, target_schema, target_table, stage, \
             position, storage, problem, made, began) VALUES ($1, $2, $3, $4, $5, 'parked', $6, '', $7, false, $6) \
             ON CONFLICT (task, source_schema, source_table) DO UPDATE SET stage = 'parked', \
             position = excluded.position, problem = excluded.problem, changed_at = pg_catalog.clock_timestamp()",
            &[
                &task,
                &table.source.name.schema,
                &table.source.name.table,
                &table.target.schema,
                &table.target.table,
                &position.as_bytes(),
                &serde_json::json!(reason),
            ],
        )
        .await
        .map(drop)
}

/// Ends a generation: its bookmark goes. Which tables hold its rows is kept, so that a reload may remove them, and
/// nobody else's; so are the foreign keys that it has to make again.
pub(crate) async fn supersede(client: &impl GenericClient, task: Uuid) -> Result<(), tokio_postgres::Error> {
    const OURS: &str = "UPDATE wavemark.tables SET stage = 'superseded', problem = NULL WHERE task = $1";
    let not_ours = format!("DELETE FROM wavemark.tables t WHERE task = $1 AND NOT {WRITTEN}");
    for statement in [&not_ours, OURS] {
        client.execute(statement, &[&task]).await?;
    }
    for kept in ["unfit", "chunks", "progress"] {
        client.execute(&format!("DELETE FROM wavemark.{kept} WHERE task = $1"), &[&task]).await?;
    }
    Ok(())
}

/// Forgets everything about a task but its fence and its exceptions.
pub(crate) async fn forget(client: &impl GenericClient, task: Uuid) -> Result<(), tokio_postgres::Error> {
    for kept in ["progress", "unfit", "chunks", "tables", "foreign_keys"] {
        client.execute(&format!("DELETE FROM wavemark.{kept} WHERE task = $1"), &[&task]).await?;
    }
    Ok(())
}
