//! Whether the simulated target is what the simulated source was.

use super::model::{Row, SourceState, place};
use super::target::TargetState;
use crate::target::Stage;

/// Every way in which the target's committed state differs from the source's at the target's own bookmark.
///
/// * A table that is loaded equals the source as of its load or the bookmark, whichever is later.
/// * A parked table equals the source as of where it was parked.
/// * Without a bookmark nothing is said about rows: the load is under way.
#[must_use]
pub fn differences(source: &SourceState, target: &TargetState) -> Vec<String> {
    let Some(bookmark) = target.bookmark() else { return Vec::new() };
    let mut found = Vec::new();
    if !source.history.contains_key(&place(&bookmark.position)) {
        found.push(format!("the bookmark {} is not the end of a transaction", place(&bookmark.position)));
    }
    for (index, rows) in target.tables.iter().enumerate() {
        let Some(mark) = target.marks.get(&index) else { continue };
        let at = match &mark.mark.stage {
            Stage::Parked(problem) if problem.code != "poison" => {
                found.push(format!("t{index} was parked although the source wrote nothing wrong: {problem}"));
                continue;
            }
            Stage::Parked(_) => place(&mark.mark.position),
            Stage::Loaded => place(&mark.mark.position).max(place(&bookmark.position)),
            Stage::Loading => {
                found.push(format!("t{index} is loading although there is a bookmark"));
                continue;
            }
        };
        if mark.parked_in_load {
            continue;
        }
        let expected = source.rows_at(at)[index].clone();
        let mut rows = rows.clone();
        rows.sort_unstable();
        if rows != expected {
            found.push(difference(index, at, &expected, &rows));
        }
    }
    found
}

fn difference(table: usize, at: u64, expected: &[Row], found: &[Row]) -> String {
    let missing = expected.iter().find(|row| !found.contains(row));
    let extra = found.iter().find(|row| !expected.contains(row));
    format!(
        "t{table} is not what the source was at {at}: {} rows instead of {}, missing {missing:?}, extra {extra:?}",
        found.len(),
        expected.len(),
    )
}
