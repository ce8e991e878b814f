//! Applying row by row under savepoints, so that the row that can't be applied is found and can be left out.

use uuid::Uuid;
use wavemark_connector::target::{Refused, Segment, Verdict, WaveEnd};
use wavemark_domain::{Batch, Change, ChangeKind, Fault, Problem, TablePlan};

use super::apply::Single;
use super::conflict;
use super::script::Task;
use super::table::TargetTable;
use super::wave::Waves;
use crate::sql::{bytes, literal};

/// What an exception says about its wave.
pub(crate) struct Context<'a> {
    pub(crate) task_name: &'a str,
    pub(crate) wave: i64,
}

const SAVEPOINT: &str = "SAVEPOINT wavemark_row";
const GO_BACK: &str = "ROLLBACK TO SAVEPOINT wavemark_row";

/// How often the same row may turn out otherwise than it was looked up, because somebody else writes it meanwhile.
const SETTLED_AGAIN: u32 = 5;

/// See [`wavemark_connector::target::Session::apply_carefully`]. The server checks every constraint with the row.
pub(crate) async fn apply(
    waves: &mut Waves,
    plan: &[TablePlan],
    context: &Context<'_>,
    segment: &Segment<'_>,
    verdict: &mut (dyn for<'p> FnMut(Refused<'p>) -> Verdict + Send),
) -> Result<(), Problem> {
    waves.learn(segment.changes().map(|(_, change)| change.table)).await?;
    waves.begin();
    for (at, change) in segment.changes() {
        waves.execute(SAVEPOINT, Task::wave("set a savepoint")).await?;
        let single = Segment { batch: segment.batch, range: at..at + 1, without: None };
        let altered = waves.altered(&single)?;
        let (batch, change) = match &altered {
            Some((batch, _)) => (batch, &batch.changes()[0]),
            None => (segment.batch, change),
        };
        let mut is_left_out = false;
        let mut outcome = one(waves, batch, change).await;
        let mut settled = 0;
        while let Err(mut problem) = outcome {
            if problem.fault != Fault::Data {
                return Err(problem);
            }
            if problem.key_columns.is_empty() {
                problem.key_columns = TablePlan::of(plan, change.table)?.key_names();
            }
            waves.execute(GO_BACK, Task::wave("go back to a savepoint")).await?;
            let conflict =
                if settled < SETTLED_AGAIN { conflict::found(waves, batch, change, &problem).await? } else { None };
            match (verdict(Refused { index: at, problem: &problem, conflict }), conflict) {
                (Verdict::LeaveOut, _) => {
                    note(waves, plan, context, segment.batch, at, &problem).await?;
                    is_left_out = true;
                    break;
                }
                (Verdict::Resolve, Some(conflict)) => {
                    settled += 1;
                    outcome = conflict::settle(waves, batch, change, conflict).await;
                }
                (Verdict::Abort | Verdict::Resolve, _) => return Err(problem),
            }
        }
        if let Some((_, unfit)) = altered.as_ref().filter(|_| !is_left_out) {
            waves.count(unfit);
        }
    }
    Ok(())
}

async fn one(waves: &mut Waves, batch: &Batch, change: &Change) -> Result<(), Problem> {
    match change.kind {
        ChangeKind::Truncate => waves.truncate(&[change.table]).await,
        ChangeKind::Barrier => Ok(()),
        _ => {
            waves.single(batch, change).await?;
            waves.drain().await
        }
    }
}

/// Writes the row to the exceptions, in the wave.
async fn note(
    waves: &mut Waves,
    plan: &[TablePlan],
    context: &Context<'_>,
    batch: &Batch,
    at: usize,
    problem: &Problem,
) -> Result<(), Problem> {
    let change = &batch.changes()[at];
    let table = TablePlan::of(plan, change.table)?;
    let mark = batch.transactions().iter().find(|mark| at < mark.changes_end);
    let sql = format!(
        "INSERT INTO wavemark.exceptions \
         (task, task_name, wave, source_table, target_table, kind, position, code, error, `key`) \
         VALUES ('{}', {}, {}, {}, {}, '{}', {}, {}, {}, {})",
        waves.grant.task,
        literal(context.task_name),
        context.wave,
        literal(&table.name().to_string()),
        literal(&table.target.to_string()),
        change.kind.word(),
        mark.map_or_else(|| "NULL".to_owned(), |mark| bytes(mark.end.as_bytes())),
        literal(problem.server_code.as_deref().unwrap_or(&problem.code)),
        literal(&problem.text),
        key(batch, change, waves.target(change.table)?)?
    );
    waves.execute(&sql, Task::wave("write to wavemark.exceptions")).await?;
    waves.note_exception();
    Ok(())
}

/// The key's columns and their values as text, made by the server; a value that it could not take as the bytes that came.
fn key(batch: &Batch, change: &Change, table: &TargetTable) -> Result<String, Problem> {
    let cells = Single::read(batch, change, table)?.map(|single| single.identity(table)).unwrap_or_default();
    let mut pairs = Vec::new();
    for (at, cell) in cells {
        let mut value = Vec::new();
        if table.literal(batch, cell, at, &mut value).is_err() {
            value = batch.value(cell).map_or_else(|| b"NULL".to_vec(), |raw| bytes(raw).into_bytes());
        }
        let value = String::from_utf8(value).unwrap_or_else(|_| "NULL".to_owned());
        // Bytes have no text of their own.
        let text = if value.starts_with("X'") { format!("HEX({value})") } else { format!("CAST({value} AS CHAR)") };
        pairs.push(format!("{}, {text}", literal(&table.columns[at].name)));
    }
    Ok(format!("JSON_OBJECT({})", pairs.join(", ")))
}

/// Puts where the wave ends beside the exceptions that it has.
pub(crate) fn position(task: Uuid, end: &WaveEnd<'_>) -> String {
    format!(
        "UPDATE wavemark.exceptions SET wave_position_text = {} WHERE task = '{task}' AND wave = {}",
        literal(end.position_text),
        end.wave
    )
}
