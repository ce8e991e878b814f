//! Reading both sides, table by table.
//!
//! Equal tables are read once on each side. Where the sums differ, the table is read again in buckets, and once more
//! (or as often as memory asks) to list the rows of the buckets that differ.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wavemark_connector::compare::{Bucket, Side};
use wavemark_connector::source::KeySet;
use wavemark_domain::compare::{CompareState, ComparedState, KEYS_PER_COMPARE, KEYS_PER_TABLE, RepairOrder};
use wavemark_domain::progress::Severity;
use wavemark_domain::{Fault, Problem, TablePlan};

use super::difference::{self, Differences};
use crate::connections::Taken;
use crate::run::Run;

/// Rows of differing buckets that are held at a time, of each side.
const LISTED: u64 = 200_000;
/// Rows that one bucket should have.
const ROWS_PER_BUCKET: u64 = 4_096;
/// The most buckets.
const BUCKETS: u64 = 1 << 18;
/// How often the reader looks whether the comparison is still wanted.
const LOOK: Duration = Duration::from_millis(500);

/// Both sides at one position.
pub(crate) struct Sides {
    pub(crate) source: Box<dyn Side>,
    pub(crate) target: Box<dyn Side>,
    /// The connections that both have.
    pub(crate) _room: Taken,
}

/// Compares all tables of the comparison that aren't left out; its progress lists them.
pub(crate) async fn compare(run: Run, plan: Arc<[TablePlan]>, number: i64, sides: Sides) {
    let began = Instant::now();
    let compares = run.orders.compares.clone();
    let work = all(&run, &plan, number, &sides);
    let taken_back = async {
        while compares.is_wanted(number) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let outcome = tokio::select! {
        () = taken_back => return,
        outcome = work => outcome,
    };
    match outcome {
        Ok(()) => finish(&run, number, began),
        Err(problem) if problem.fault == Fault::Transient => compares.postpone(number, problem),
        Err(problem) => compares.fail(number, problem),
    }
}

fn finish(run: &Run, number: i64, began: Instant) {
    let mut counts = (0, 0, 0);
    run.orders.compares.update(number, |progress| {
        progress.state = CompareState::Done;
        progress.read_ms = u64::try_from(began.elapsed().as_millis()).ok();
        let done = progress.tables.iter().filter(|table| table.state == ComparedState::Done);
        counts.0 = done.clone().count();
        counts.1 = done.clone().filter(|table| table.differences() > 0).count();
        counts.2 = progress.tables.len() - counts.0;
    });
    let (tables, differ, left_out) = counts;
    let text = format!("{tables} tables were compared: {differ} differ, {left_out} were not compared");
    let severity = if differ > 0 { Severity::Warning } else { Severity::Info };
    run.status.event(severity, "compared", text);
}

async fn all(run: &Run, plan: &[TablePlan], number: i64, sides: &Sides) -> Result<(), Problem> {
    let compares = &run.orders.compares;
    let mut waiting = Vec::new();
    compares.update(number, |progress| {
        for (at, table) in progress.tables.iter().enumerate() {
            let planned = plan.iter().find(|planned| *planned.name() == table.table);
            if let Some(planned) = planned.filter(|_| table.state == ComparedState::Waiting) {
                waiting.push((at, planned));
            }
        }
    });
    let mut keys_left = KEYS_PER_COMPARE;
    for (at, table) in waiting {
        compares.update_table(number, at, |table| table.state = ComparedState::Running);
        match one(run, table, (number, at), sides, &mut keys_left).await {
            Ok(()) => compares.update_table(number, at, |table| table.state = ComparedState::Done),
            Err(problem) if problem.fault == Fault::Data || problem.fault == Fault::Settings => {
                compares.update_table(number, at, |table| {
                    table.state = ComparedState::LeftOut;
                    table.reason = Some(problem.to_string());
                });
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(())
}

async fn one(
    run: &Run,
    table: &TablePlan,
    (number, at): (i64, usize),
    sides: &Sides,
    keys_left: &mut usize,
) -> Result<(), Problem> {
    let compares = &run.orders.compares;
    let heard = |side: usize| move |rows: u64| compares.update_table(number, at, |table| table.read[side] += rows);
    let (from_source, from_target) = (heard(0), heard(1));
    let (given, taken) = tokio::try_join!(sides.source.forms(table), sides.target.forms(table))?;
    let Some(form) = given.into_iter().find(|form| taken.contains(form)) else {
        let text = format!("{}: the two systems hash rows in different ways", table.name());
        return Err(Problem::new(Fault::Data, "no-common-hash", text));
    };
    let sums = async |buckets| {
        tokio::try_join!(
            sides.source.fingerprint(table, &form, buckets, &from_source),
            sides.target.fingerprint(table, &form, buckets, &from_target)
        )
    };
    let (source, target) = sums(1).await?;
    let rows = [rows_of(&source), rows_of(&target)];
    compares.update_table(number, at, |table| table.rows = Some(rows));
    if source == target {
        return Ok(());
    }
    let buckets = buckets_for(rows[0].max(rows[1]));
    let (source, target) = sums(buckets).await?;
    for chosen in difference::grouped(&difference::differing(&source, &target), LISTED) {
        let (source, target) = tokio::try_join!(
            sides.source.list(table, &form, buckets, &chosen, &from_source),
            sides.target.list(table, &form, buckets, &chosen, &from_target)
        )?;
        let found = difference::compare(source, target, table.is_keyless());
        compares.update_table(number, at, |table| note(table, found, keys_left));
    }
    Ok(())
}

fn note(table: &mut wavemark_domain::compare::ComparedTable, found: Differences, keys_left: &mut usize) {
    table.missing += found.missing;
    table.extra += found.extra;
    table.different += found.different;
    let room = (KEYS_PER_TABLE - table.keys.len().min(KEYS_PER_TABLE)).min(*keys_left);
    let kept = found.keys.len().min(room);
    *keys_left -= kept;
    table.keys.extend(found.keys.into_iter().take(kept));
}

fn rows_of(buckets: &[Bucket]) -> u64 {
    buckets.iter().map(|bucket| bucket.rows).sum()
}

fn buckets_for(rows: u64) -> u32 {
    let buckets = (rows / ROWS_PER_BUCKET).next_power_of_two().clamp(16, BUCKETS);
    u32::try_from(buckets).unwrap_or(1 << 18)
}

/// The keys of a repair as the connectors take them.
pub(crate) fn keys_of(order: &RepairOrder) -> Result<KeySet, Problem> {
    let mut keys = KeySet::default();
    for key in &order.keys {
        let cells: Option<Vec<Vec<u8>>> = key.cells.iter().map(|cell| difference::from_hex(cell)).collect();
        let cells = cells.ok_or_else(|| Problem::internal("a key to repair can't be read"))?;
        keys.insert(cells.iter().map(Vec::as_slice));
    }
    Ok(keys)
}
