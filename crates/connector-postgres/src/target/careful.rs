//! Applying row by row under savepoints, so that the row that can't be applied is found and can be left out.

use tokio_postgres::Client;
use wavemark_connector::target::{Checks, Refused, Segment, Verdict, WaveEnd};
use wavemark_domain::{Batch, Change, ChangeKind, Fault, Problem, TablePlan};

use super::apply::{Params, Single, identity_moves};
use super::conflict;
use super::pipeline::{Param, Task};
use super::table::TargetTable;
use super::wave::Waves;

/// What an exception says about its wave, and how constraints are checked in it.
pub(crate) struct Context<'a> {
    pub(crate) task_name: &'a str,
    pub(crate) wave: i64,
    pub(crate) checks: Checks,
}

/// See [`wavemark_connector::target::Session::apply_carefully`].
pub(crate) async fn apply(
    waves: &mut Waves,
    plan: &[TablePlan],
    context: &Context<'_>,
    segment: &Segment<'_>,
    verdict: &mut (dyn for<'p> FnMut(Refused<'p>) -> Verdict + Send),
) -> Result<(), Problem> {
    waves.learn(segment.changes().map(|(_, change)| change.table)).await?;
    waves.begin().await?;
    if context.checks == Checks::AtOnce {
        waves.check_at_once().await?;
    }
    for (at, change) in segment.changes() {
        waves.execute("SAVEPOINT wavemark_row", Task::wave("set a savepoint")).await?;
        let single = Segment { batch: segment.batch, range: at..at + 1, without: None };
        let altered = waves.altered(&single)?;
        let (batch, change) = match &altered {
            Some((batch, _)) => (batch, &batch.changes()[0]),
            None => (segment.batch, change),
        };
        let mut is_left_out = false;
        let mut outcome = one(waves, batch, change).await;
        let (mut settled, mut is_anew) = (0, false);
        while let Err(mut problem) = outcome {
            if problem.fault != Fault::Data {
                return Err(problem);
            }
            if problem.key_columns.is_empty() {
                problem.key_columns = TablePlan::of(plan, change.table)?.key_names();
            }
            waves.execute("ROLLBACK TO SAVEPOINT wavemark_row", Task::wave("go back to a savepoint")).await?;
            if !std::mem::replace(&mut is_anew, true)
                && problem.code == "divergence"
                && let Some(single) = Single::anew(batch, change, waves.target(change.table)?)?
            {
                outcome = put_anew(waves, batch, change, &single).await;
                continue;
            }
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
        waves.execute("RELEASE SAVEPOINT wavemark_row", Task::wave("release a savepoint")).await?;
    }
    Ok(())
}

/// How often the same row may turn out otherwise than it was looked up, because somebody else writes it meanwhile.
const SETTLED_AGAIN: u32 = 5;

async fn one(waves: &mut Waves, batch: &Batch, change: &Change) -> Result<(), Problem> {
    match change.kind {
        ChangeKind::Truncate => waves.truncate(&[change.table]).await,
        ChangeKind::Barrier => Ok(()),
        _ => {
            waves.single(batch, change, true).await?;
            waves.drain().await
        }
    }
}

/// Takes a row away and puts it there again, unless it has more here than would come again.
async fn put_anew(waves: &mut Waves, batch: &Batch, change: &Change, single: &Single<'_>) -> Result<(), Problem> {
    let target = waves.target(change.table)?;
    if target.has_more {
        let width = target.columns.len();
        let found = batch.old(change, width).or(batch.new_row(change, width)).unwrap_or_default();
        if waves.finds(batch, change.table, &Single::found(found)).await? {
            return Err(identity_moves(waves.target(change.table)?));
        }
    }
    waves.send_single(batch, change.table, single, true).await?;
    waves.drain().await
}

/// Writes the row to the exceptions. The key goes there as text, made by the server; where the server can't read the
/// value (which may be why it failed), as the bytes.
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
    let position =
        batch.transactions().iter().find(|mark| at < mark.changes_end).map(|mark| mark.end.as_bytes().to_vec());
    let mut last = Ok(());
    for readable in [true, false] {
        let (key, params) = key(batch, change, waves.target(change.table)?, readable)?;
        let text = |value: &str| Param(Some(value.as_bytes().to_vec().into()));
        let mut all = vec![
            text(context.task_name),
            Param(Some(context.wave.to_be_bytes().to_vec().into())),
            text(&table.name().to_string()),
            text(&table.target.to_string()),
            text(change.kind.word()),
            Param(position.clone().map(Into::into)),
            text(problem.server_code.as_deref().unwrap_or(&problem.code)),
            text(&problem.text),
        ];
        all.extend(params);
        let sql = format!(
            "INSERT INTO wavemark.exceptions \
             (task, task_name, wave, source_table, target_table, kind, position, code, error, key) \
             VALUES ('{}', $1::text, $2::int8, $3::text, $4::text, $5::text, $6::bytea, $7::text, $8::text, {key})",
            waves.grant.task
        );
        waves.execute("SAVEPOINT wavemark_note", Task::wave("set a savepoint")).await?;
        match insert(&waves.client, &sql, all).await {
            Ok(()) => {
                waves.note_exception();
                return Ok(());
            }
            Err(problem) => last = Err(problem),
        }
        waves.execute("ROLLBACK TO SAVEPOINT wavemark_note", Task::wave("go back to a savepoint")).await?;
    }
    last
}

async fn insert(client: &Client, sql: &str, params: Vec<Param>) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| Task::wave("write to wavemark.exceptions").failed(&error, &[]);
    let statement = client.prepare(sql).await.map_err(failed)?;
    client.execute_raw(&statement, params).await.map(drop).map_err(failed)
}

/// The number of parameters before those of the key.
const BEFORE_KEY: usize = 8;

fn key(batch: &Batch, change: &Change, table: &TargetTable, readable: bool) -> Result<(String, Vec<Param>), Problem> {
    let cells = Single::read(batch, change, table)?.map(|single| single.identity(table)).unwrap_or_default();
    if cells.is_empty() {
        return Ok(("'{}'::jsonb".to_owned(), Vec::new()));
    }
    let mut names = Vec::new();
    let mut values = Vec::new();
    let mut params = Params::default();
    for (n, (at, cell)) in cells.into_iter().enumerate() {
        let column = &table.columns[at];
        names.push(postgres_protocol::escape::escape_literal(&column.plain_name()));
        let place = BEFORE_KEY + n + 1;
        if readable {
            values.push(format!("({})::text", column.exactly(&format!("${place}"))));
            params.push(batch, cell, column)?;
        } else {
            values.push(format!("(${place}::bytea)::text"));
            params.push_raw(batch, cell);
        }
    }
    let sql = format!("pg_catalog.jsonb_object(ARRAY[{}], ARRAY[{}])", names.join(", "), values.join(", "));
    Ok((sql, params.finish()))
}

/// Puts where the wave ends beside the exceptions that it has. Nothing may be outstanding.
pub(crate) async fn name_position(client: &Client, task: uuid::Uuid, end: &WaveEnd<'_>) -> Result<(), Problem> {
    client
        .execute(
            "UPDATE wavemark.exceptions SET wave_position_text = $3 WHERE task = $1 AND wave = $2",
            &[&task, &end.wave.0, &end.position_text],
        )
        .await
        .map(drop)
        .map_err(|error| Task::wave("write to wavemark.exceptions").failed(&error, &[]))
}
