//! What the target keeps for a task besides the rows: bookmarks, marks of tables and chunks.

use uuid::Uuid;
use wavemark_connector::source::ChunkRange;
use wavemark_connector::target::{Bookmark, ChunkMark, Kept, Loaded, Stage, TableMark, WaveEnd};
use wavemark_domain::adopt::KeptTable;
use wavemark_domain::{Position, Problem, TableName, TablePlan, WaveNumber};

use super::fault::problem;
use crate::sql::{self, literal};
use crate::wire::{Connection, Row, WireError};

/// Reads what is kept. Only true after the fence was raised.
pub(crate) async fn read(connection: &mut Connection, task: Uuid) -> Result<Kept, Problem> {
    let failed = |cause: WireError| problem(&cause, "read the bookmark and the marks in the target");
    Ok(Kept {
        bookmark: bookmark(connection, task).await.map_err(failed)?,
        tables: tables(connection, task).await.map_err(failed)?,
        written: written(connection, task).await.map_err(failed)?,
    })
}

async fn bookmark(connection: &mut Connection, task: Uuid) -> Result<Option<Bookmark>, WireError> {
    let sql =
        format!("SELECT wave, HEX(position) FROM wavemark.progress WHERE task = '{task}' ORDER BY wave DESC LIMIT 1");
    let rows = connection.query(&sql).await?;
    let read = |row: &Row| Some(Bookmark { wave: WaveNumber(row.number(0)?), position: position(row, 1) });
    Ok(rows.first().and_then(read))
}

async fn tables(connection: &mut Connection, task: Uuid) -> Result<Vec<TableMark>, WireError> {
    let sql = format!(
        "SELECT source_schema, source_table, HEX(position), storage, stage, problem, HEX(began) FROM wavemark.tables \
         WHERE task = '{task}' AND stage NOT IN ('preparing', 'superseded')"
    );
    let mut tables: Vec<TableMark> = connection.query(&sql).await?.iter().map(table).collect();
    tables.sort_by(|a, b| a.source.cmp(&b.source));
    let sql = format!(
        "SELECT source_schema, source_table, number, `range`, `rows`, bytes FROM wavemark.chunks WHERE task = '{task}' \
         ORDER BY number"
    );
    for row in connection.query(&sql).await? {
        if let Ok(at) = tables.binary_search_by(|table| table.source.cmp(&name(&row, 0))) {
            tables[at].chunks.push(chunk(&row));
        }
    }
    Ok(tables)
}

async fn written(connection: &mut Connection, task: Uuid) -> Result<Vec<KeptTable>, WireError> {
    let sql = format!(
        "SELECT source_schema, source_table, target_schema, target_table, columns, layout FROM wavemark.tables \
         WHERE task = '{task}' AND stage NOT IN ('preparing', 'superseded')"
    );
    let json = |row: &Row, at: usize| serde_json::from_str::<serde_json::Value>(&row.text(at)?).ok();
    let read = |row: &Row| {
        let (columns, layout) = (json(row, 4), json(row, 5));
        let rows = layout.as_ref().and_then(|layout| serde_json::from_value(layout.get("rows")?.clone()).ok());
        KeptTable {
            source: name(row, 0),
            target: name(row, 2),
            columns: columns.and_then(|columns| serde_json::from_value(columns).ok()),
            layout: layout.and_then(|layout| serde_json::from_value(layout).ok()),
            rows,
        }
    };
    let mut tables: Vec<KeptTable> = connection.query(&sql).await?.iter().map(read).collect();
    tables.sort_by(|a, b| a.source.cmp(&b.source));
    Ok(tables)
}

fn name(row: &Row, at: usize) -> TableName {
    TableName::new(row.text(at).unwrap_or_default(), row.text(at + 1).unwrap_or_default())
}

/// A position as `HEX()` writes it.
fn position(row: &Row, at: usize) -> Position {
    Position::new(hex::decode(row.text(at).unwrap_or_default()).unwrap_or_default())
}

fn table(row: &Row) -> TableMark {
    TableMark {
        source: name(row, 0),
        began: position(row, 6),
        position: position(row, 2),
        storage: row.text(3).unwrap_or_default(),
        stage: stage(&row.text(4).unwrap_or_default(), row.text(5)),
        chunks: Vec::new(),
    }
}

fn stage(word: &str, reason: Option<String>) -> Stage {
    match word {
        "loading" => Stage::Loading,
        "loaded" => Stage::Loaded,
        _ => Stage::Parked(Box::new(
            reason
                .and_then(|reason| serde_json::from_str(&reason).ok())
                .unwrap_or_else(|| Problem::internal("The reason why this table is parked can't be read.")),
        )),
    }
}

fn chunk(row: &Row) -> ChunkMark {
    let done = row.number(4).zip(row.number(5));
    ChunkMark {
        number: row.number(2).unwrap_or_default(),
        range: ChunkRange(row.text(3).unwrap_or_default()),
        done: done.map(|(rows, bytes)| Loaded { rows, bytes }),
    }
}

fn word(stage: &Stage) -> (&'static str, String) {
    match stage {
        Stage::Loading => ("loading", "NULL".to_owned()),
        Stage::Loaded => ("loaded", "NULL".to_owned()),
        Stage::Parked(problem) => ("parked", json(problem)),
    }
}

fn json(value: impl serde::Serialize) -> String {
    literal(&serde_json::json!(value).to_string())
}

fn bytes(position: &Position) -> String {
    sql::bytes(position.as_bytes())
}

/// The condition that finds a table's mark.
fn of(task: Uuid, table: &TableName) -> String {
    format!(
        "task = '{task}' AND source_schema = {} AND source_table = {}",
        literal(&table.schema),
        literal(&table.table)
    )
}

/// Puts a table's mark with its chunks in place of the one that is there. One that is not `ready` is no mark yet: the
/// table's load begins anew.
pub(crate) async fn put(
    connection: &mut Connection,
    task: Uuid,
    table: &TablePlan,
    mark: &TableMark,
    (made, ready): (bool, bool),
) -> Result<(), WireError> {
    remove(connection, task, &mark.source).await?;
    let (stage, reason) = word(&mark.stage);
    let sql = format!(
        "INSERT INTO wavemark.tables (task, source_schema, source_table, target_schema, target_table, stage, position, \
         storage, problem, made, began, columns, layout) \
         VALUES ('{task}', {}, {}, {}, {}, '{}', {}, {}, {reason}, {made}, {}, {}, {})",
        literal(&mark.source.schema),
        literal(&mark.source.table),
        literal(&table.target.schema),
        literal(&table.target.table),
        if ready { stage } else { "preparing" },
        bytes(&mark.position),
        literal(&mark.storage),
        bytes(&mark.began),
        json(table.column_names()),
        json(table.layout_to_note()),
    );
    connection.query(&sql).await?;
    for chunks in mark.chunks.chunks(1_000) {
        connection.query(&insert_chunks(task, &mark.source, chunks)).await?;
    }
    Ok(())
}

fn insert_chunks(task: Uuid, table: &TableName, chunks: &[ChunkMark]) -> String {
    const INTO: &str = "INSERT INTO wavemark.chunks (task, source_schema, source_table, number, `range`, `rows`, bytes, done_at) VALUES ";
    let (schema, name) = (literal(&table.schema), literal(&table.table));
    let row = |chunk: &ChunkMark| {
        let done = chunk.done.map_or_else(
            || "NULL, NULL, NULL".to_owned(),
            |done| format!("{}, {}, CURRENT_TIMESTAMP(6)", done.rows, done.bytes),
        );
        format!("('{task}', {schema}, {name}, {}, {}, {done})", chunk.number, literal(&chunk.range.0))
    };
    let rows: Vec<String> = chunks.iter().map(row).collect();
    format!("{INTO}{}", rows.join(", "))
}

/// Lets a table that was prepared be loaded.
pub(crate) async fn make_ready(connection: &mut Connection, task: Uuid, table: &TableName) -> Result<(), WireError> {
    let sql = format!("UPDATE wavemark.tables SET stage = 'loading' WHERE {} AND stage = 'preparing'", of(task, table));
    connection.query(&sql).await.map(drop)
}

/// What there is of a table's mark: the word of its stage, whether we made the table, and whether rows there are ours.
pub(crate) struct Begun {
    pub(crate) stage: String,
    pub(crate) made: bool,
    pub(crate) written: bool,
}

/// Whether a task wrote a table: one that was only parked has neither been made by it nor has it chunks.
fn is_written(table: &str) -> String {
    format!(
        "({table}.made OR {table}.stage = 'superseded' OR EXISTS (SELECT 1 FROM wavemark.chunks c WHERE c.task = {table}.task \
         AND c.source_schema = {table}.source_schema AND c.source_table = {table}.source_table))"
    )
}

/// The mark of a table under its target's name; `None` without one.
pub(crate) async fn begun(
    connection: &mut Connection,
    task: Uuid,
    table: &TablePlan,
) -> Result<Option<Begun>, WireError> {
    let sql = format!(
        "SELECT stage, made, {} FROM wavemark.tables t WHERE {} AND target_schema = {} AND target_table = {}",
        is_written("t"),
        of(task, table.name()),
        literal(&table.target.schema),
        literal(&table.target.table)
    );
    let rows = connection.query(&sql).await?;
    let is = |row: &Row, at| row.number::<i32>(at) == Some(1);
    let begun = |row: &Row| Begun { stage: row.text(0).unwrap_or_default(), made: is(row, 1), written: is(row, 2) };
    Ok(rows.first().map(begun))
}

/// A table whose rows are all there.
pub(crate) struct Complete<'a> {
    pub(crate) plan: &'a TablePlan,
    /// Whether we made it.
    pub(crate) made: bool,
}

/// Those of the plan that are loaded.
pub(crate) async fn complete<'a>(
    connection: &mut Connection,
    task: Uuid,
    plan: &'a [TablePlan],
) -> Result<Vec<Complete<'a>>, WireError> {
    let mut complete = Vec::new();
    for table in plan {
        let begun = begun(connection, task, table).await?.filter(|begun| begun.stage == "loaded");
        complete.extend(begun.map(|begun| Complete { plan: table, made: begun.made }));
    }
    Ok(complete)
}

/// Removes a table's mark and those of its chunks.
pub(crate) async fn remove(connection: &mut Connection, task: Uuid, table: &TableName) -> Result<(), WireError> {
    for kept in ["unfit", "chunks", "tables"] {
        connection.query(&format!("DELETE FROM wavemark.{kept} WHERE {}", of(task, table))).await?;
    }
    Ok(())
}

/// Sets a chunk done; one that isn't there or is done already is an error, since its rows would be doubled.
pub(crate) async fn chunk_done(
    connection: &mut Connection,
    task: Uuid,
    table: &TableName,
    number: u32,
    loaded: Loaded,
) -> Result<bool, WireError> {
    let sql = format!(
        "UPDATE wavemark.chunks SET `rows` = {}, bytes = {}, done_at = CURRENT_TIMESTAMP(6) \
         WHERE {} AND number = {number} AND done_at IS NULL",
        loaded.rows,
        loaded.bytes,
        of(task, table)
    );
    Ok(connection.execute(&sql).await?.affected == 1)
}

/// Moves a table's mark.
pub(crate) async fn set_position(
    connection: &mut Connection,
    task: Uuid,
    table: &TableName,
    position: &Position,
    storage: &str,
) -> Result<(), WireError> {
    let sql = format!(
        "UPDATE wavemark.tables SET position = {}, storage = {} WHERE {}",
        bytes(position),
        literal(storage),
        of(task, table)
    );
    connection.query(&sql).await.map(drop)
}

/// Sets how far a table is.
pub(crate) async fn set_stage(
    connection: &mut Connection,
    task: Uuid,
    table: &TableName,
    stage: &Stage,
) -> Result<(), WireError> {
    let (stage, reason) = word(stage);
    let sql = format!("UPDATE wavemark.tables SET stage = '{stage}', problem = {reason} WHERE {}", of(task, table));
    connection.query(&sql).await.map(drop)
}

/// Leaves a table's rows to a later load of its name.
pub(crate) fn superseded(task: Uuid, table: &TableName) -> Vec<String> {
    vec![
        format!("DELETE FROM wavemark.tables WHERE {} AND NOT {}", of(task, table), is_written("wavemark.tables")),
        format!("DELETE FROM wavemark.unfit WHERE {}", of(task, table)),
        format!("DELETE FROM wavemark.chunks WHERE {}", of(task, table)),
        format!("UPDATE wavemark.tables SET stage = 'superseded', problem = NULL WHERE {}", of(task, table)),
    ]
}

/// What forgets a table.
pub(crate) fn forgotten(task: Uuid, table: &TableName) -> Vec<String> {
    let all = ["unfit", "chunks", "tables"];
    all.iter().map(|kept| format!("DELETE FROM wavemark.{kept} WHERE {}", of(task, table))).collect()
}

/// The name of another task that writes a table, if there is one.
pub(crate) async fn written_by_another(
    connection: &mut Connection,
    task: Uuid,
    table: &TablePlan,
) -> Result<Option<String>, WireError> {
    let sql = format!(
        "SELECT f.name FROM wavemark.tables t JOIN wavemark.fence f ON f.task = t.task WHERE t.target_schema = {} \
         AND t.target_table = {} AND t.task <> '{task}' AND NOT f.tombstone LIMIT 1",
        literal(&table.target.schema),
        literal(&table.target.table)
    );
    Ok(connection.query(&sql).await?.first().and_then(|row| row.text(0)))
}

/// Parks a table at a position.
pub(crate) fn park(task: Uuid, table: &TablePlan, position: &Position, reason: &Problem) -> String {
    let (source, target) = (table.name(), &table.target);
    let (at, reason) = (bytes(position), json(reason));
    format!(
        "INSERT INTO wavemark.tables (task, source_schema, source_table, target_schema, target_table, stage, position, \
         storage, problem, made, began, columns, layout) \
         VALUES ('{task}', {}, {}, {}, {}, 'parked', {at}, '', {reason}, false, {at}, {}, {}) \
         ON DUPLICATE KEY UPDATE stage = 'parked', position = {at}, problem = {reason}",
        literal(&source.schema),
        literal(&source.table),
        literal(&target.schema),
        literal(&target.table),
        json(table.column_names()),
        json(table.layout_to_note()),
    )
}

/// Notes the layout that a table's rows have from here on, and the names under which it goes.
pub(crate) fn relayout(task: Uuid, before: &TablePlan, next: &TablePlan) -> Vec<String> {
    let (from, to) = (before.name(), next.name());
    let names = format!("source_schema = {}, source_table = {}", literal(&to.schema), literal(&to.table));
    let mut statements = Vec::new();
    if from != to {
        // What an earlier load left under the new name is not ours any more.
        statements.push(format!("DELETE FROM wavemark.tables WHERE {} AND stage = 'superseded'", of(task, to)));
        statements.push(format!("UPDATE wavemark.chunks SET {names} WHERE {}", of(task, from)));
        statements.push(format!("DELETE FROM wavemark.unfit WHERE {}", of(task, to)));
        statements.push(format!("UPDATE wavemark.unfit SET {names} WHERE {}", of(task, from)));
    }
    statements.push(format!(
        "UPDATE wavemark.tables SET {names}, target_schema = {}, target_table = {}, columns = {}, layout = {} WHERE {}",
        literal(&next.target.schema),
        literal(&next.target.table),
        json(next.column_names()),
        json(next.layout_to_note()),
        of(task, from)
    ));
    statements
}

/// The bookmark of a wave.
pub(crate) fn insert_bookmark(task: Uuid, epoch: i64, end: &WaveEnd<'_>) -> String {
    let committed_at = end.committed_at.map_or_else(
        || "NULL".to_owned(),
        |micros| format!("TIMESTAMPADD(MICROSECOND, {micros}, '1970-01-01 00:00:00.000000')"),
    );
    format!(
        "INSERT INTO wavemark.progress (task, wave, position, position_text, source_committed_at, epoch) \
         VALUES ('{task}', {}, {}, {}, {committed_at}, {epoch})",
        end.wave,
        bytes(end.position),
        literal(end.position_text)
    )
}

/// Removes old bookmarks but for a few.
pub(crate) fn sweep(task: Uuid, before: i64) -> String {
    format!("DELETE FROM wavemark.progress WHERE task = '{task}' AND wave < {before}")
}

/// Ends a generation: its bookmark goes. Which tables hold its rows is kept, so that a reload may remove them, and
/// nobody else's.
pub(crate) async fn supersede(connection: &mut Connection, task: Uuid) -> Result<(), WireError> {
    // Of a table that was only parked nothing was written.
    let not_ours =
        format!("DELETE FROM wavemark.tables WHERE task = '{task}' AND NOT {}", is_written("wavemark.tables"));
    let ours = format!("UPDATE wavemark.tables SET stage = 'superseded', problem = NULL WHERE task = '{task}'");
    let unfit = format!("DELETE FROM wavemark.unfit WHERE task = '{task}'");
    let chunks = format!("DELETE FROM wavemark.chunks WHERE task = '{task}'");
    let progress = format!("DELETE FROM wavemark.progress WHERE task = '{task}'");
    for statement in [not_ours, ours, unfit, chunks, progress] {
        connection.query(&statement).await?;
    }
    Ok(())
}

/// Forgets everything about a task but its fence and its exceptions.
pub(crate) async fn forget(connection: &mut Connection, task: Uuid) -> Result<(), WireError> {
    for kept in ["progress", "unfit", "chunks", "tables"] {
        connection.query(&format!("DELETE FROM wavemark.{kept} WHERE task = '{task}'")).await?;
    }
    Ok(())
}
