//! Whether the simulated target is what the simulated source was.

use wavemark_domain::kept_log::PARKED_FOR_LOG;

use super::model::{Row, SourceState, place};
use super::target::{Mark, Progress, TargetState};
use crate::source::{DROPPED_IN_LOAD, TABLE_DROPPED};
use crate::target::Stage;

/// Every way in which the target's committed state differs from the source's at the target's own bookmark.
///
/// * A table that is loaded equals the source as of its load or the bookmark, whichever is later.
/// * A parked table equals the source as of where it was parked, and the source gave a reason to park it.
/// * A table that has ended and was kept equals the source as of where it was dropped.
/// * A table that is loaded again: nothing is said about its rows until that is over.
/// * Bookmarks and epochs only go forward; the source has forgotten nothing beyond the bookmark, and nothing that a
///   standby of the target doesn't have.
/// * Without a bookmark nothing is said about rows: the load is under way.
#[must_use]
pub fn differences(source: &SourceState, target: &TargetState) -> Vec<String> {
    let Some(bookmark) = target.bookmark() else { return Vec::new() };
    let bookmark = place(&bookmark.position);
    let mut found = Vec::new();
    if source.is_inside_transaction(bookmark) {
        found.push(format!("the bookmark {bookmark} is not between two transactions"));
    }
    if let Some(slot) = source.slot.filter(|slot| *slot > bookmark) {
        found.push(format!("the source has forgotten up to {slot}, beyond the bookmark {bookmark}"));
    }
    let durable = target.durable().map(place);
    if let (Some(slot), Some(durable)) = (source.slot, durable.filter(|durable| *durable < bookmark))
        && slot > durable
    {
        found.push(format!("the source has forgotten up to {slot}, and the target's standby has {durable}"));
    }
    if let [.., before, last] = &target.progress[..] {
        found.extend(backwards(before, last));
    }
    for (index, rows) in target.tables.iter().enumerate() {
        let Some(mark) = target.marks.get(&index) else {
            let kept = target.ended.get(&index).filter(|dropped| !**dropped).and(source.heaps[index].gone);
            found.extend(kept.and_then(|at| difference(index, at, &source.rows_at(at)[index], rows)));
            continue;
        };
        match exact_as_of(source, index, mark, bookmark) {
            Ok(Some(at)) => found.extend(difference(index, at, &source.rows_at(at)[index], rows)),
            Ok(None) => {}
            Err(why) => found.push(format!("t{index} {why}")),
        }
    }
    found
}

fn backwards(before: &Progress, last: &Progress) -> Option<String> {
    let went = last.bookmark.position < before.bookmark.position || last.epoch < before.epoch;
    went.then(|| format!("progress went from {before:?} to {last:?}"))
}

/// As of where a table must equal the source; none if nothing is said about it.
fn exact_as_of(source: &SourceState, table: usize, mark: &Mark, bookmark: u64) -> Result<Option<u64>, String> {
    let at = place(&mark.mark.position);
    match &mark.mark.stage {
        Stage::Parked(problem) if !is_due(source, table, &problem.code) => {
            Err(format!("was parked although the source wrote nothing wrong: {problem}"))
        }
        Stage::Parked(_) => Ok((!mark.parked_in_load).then_some(at)),
        Stage::Loaded => Ok(Some(at.max(bookmark))),
        Stage::Loading if mark.reloaded || source.heaps[table].gone.is_some() => Ok(None),
        Stage::Loading => Err("is loading although there is a bookmark".to_owned()),
    }
}

/// Whether the source gave a reason to park the table, or a person did.
fn is_due(source: &SourceState, table: usize, code: &str) -> bool {
    let heap = &source.heaps[table];
    match code {
        "poison" => heap.poisoned,
        "table-changed" | "table-does-not-fit" => heap.layout > 0,
        TABLE_DROPPED | DROPPED_IN_LOAD | "table-left-out" => heap.gone.is_some(),
        "parked-by-hand" | PARKED_FOR_LOG => true,
        _ => false,
    }
}

fn difference(table: usize, at: u64, expected: &[Row], found: &[Row]) -> Option<String> {
    let mut sorted = found.to_vec();
    sorted.sort_unstable();
    if sorted == expected {
        return None;
    }
    let missing = expected.iter().find(|row| !found.contains(row));
    let extra = found.iter().find(|row| !expected.contains(row));
    Some(format!(
        "t{table} is not what the source was at {at}: {} rows instead of {}, missing {missing:?}, extra {extra:?}",
        found.len(),
        expected.len(),
    ))
}
