//! Rows as the simulated target reads and applies them: strict.

use wavemark_domain::batch::Change;
use wavemark_domain::{Batch, Cell, ChangeKind, Fault, Problem, TablePlan};

use super::model::{POISON, Row, in_layout, is_poison, layout_of};
use crate::source::{Block, RowReader};
use crate::target::{Checks, Conflict};

/// The cells of a row as numbers: none for those that are null or unchanged.
type Cells = [Option<u64>; 3];

/// One change on the rows of its table.
pub(super) fn apply(
    rows: &mut Vec<Row>,
    plan: &TablePlan,
    (batch, change): (&Batch, &Change),
    checks: Checks,
) -> Result<(), Problem> {
    let keyless = plan.is_keyless();
    let cells = |cells: &[Cell]| numbers(batch, cells, layout_of(plan));
    let old = batch.old(change, 3).map(cells);
    let new = batch.new_row(change, 3).map(cells);
    let missing = || Problem::new(Fault::Data, "row-missing", "simulated: no such row in the target");
    match change.kind {
        ChangeKind::Truncate => rows.clear(),
        ChangeKind::Barrier => return Err(Problem::internal("a barrier was given to the target")),
        ChangeKind::Insert => {
            let row = whole(new)?;
            if !keyless && find(rows, Some(row.id)).is_some() {
                return Err(there());
            }
            refuse_row(plan, row, checks)?;
            rows.push(row);
        }
        ChangeKind::Delete => {
            let old = old.ok_or_else(missing)?;
            let at = if keyless { find_whole(rows, old) } else { find(rows, old[0]) };
            rows.swap_remove(at.ok_or_else(missing)?);
        }
        ChangeKind::Update => {
            let new = new.ok_or_else(missing)?;
            let at = match old {
                Some(old) if keyless => find_whole(rows, old),
                Some(old) => find(rows, old[0]),
                None => find(rows, new[0]),
            };
            let at = at.ok_or_else(missing)?;
            let before = rows[at];
            let row = Row {
                id: new[0].unwrap_or(before.id),
                value: new[1].unwrap_or(before.value),
                large: new[2].unwrap_or(before.large),
            };
            refuse_row(plan, row, checks)?;
            if !keyless && row.id != before.id && find(rows, Some(row.id)).is_some() {
                return Err(there());
            }
            rows[at] = row;
        }
    }
    Ok(())
}

/// Whether a problem of [`apply`] is that the rows are not as the change expects them.
pub(super) fn conflict(plan: &TablePlan, (batch, change): (&Batch, &Change), problem: &Problem) -> Option<Conflict> {
    let new = batch.new_row(change, 3);
    match problem.code.as_str() {
        "row-exists" => Some(Conflict::RowExists),
        "row-missing" => {
            let whole = new.is_some_and(|cells| cells.iter().all(|cell| batch.value(*cell).is_some()));
            Some(Conflict::RowMissing { whole: whole && !plan.is_keyless() })
        }
        _ => None,
    }
}

/// Settles a conflict: the row becomes what the change says.
pub(super) fn resolve(
    rows: &mut Vec<Row>,
    plan: &TablePlan,
    (batch, change): (&Batch, &Change),
    (conflict, checks): (Conflict, Checks),
) -> Result<(), Problem> {
    if change.kind == ChangeKind::Delete {
        return Ok(());
    }
    let new = batch.new_row(change, 3).map(|cells| numbers(batch, cells, layout_of(plan)));
    let id = new.and_then(|new| new[0]);
    if change.kind == ChangeKind::Update && conflict == Conflict::RowExists {
        let before = rows.clone();
        rows.retain(|row| Some(row.id) != id);
        return apply(rows, plan, (batch, change), checks).inspect_err(|_| *rows = before);
    }
    let row = whole(new)?;
    refuse_row(plan, row, checks)?;
    rows.retain(|there| there.id != row.id);
    rows.push(row);
    Ok(())
}

/// All rows of a chunk.
pub(super) async fn read_all(rows: &mut dyn RowReader, plan: &TablePlan) -> Result<Vec<Row>, Problem> {
    let mut all = Vec::new();
    while let Some(block) = rows.next().await? {
        let Block::Rows(batch) = block else { return Err(Problem::internal("a simulated chunk holds rows")) };
        for change in batch.changes() {
            let cells = batch.new_row(change, 3).ok_or_else(|| Problem::internal("a row without cells"))?;
            all.push(whole(Some(numbers(&batch, cells, layout_of(plan))))?);
        }
    }
    refuse_poison(&all, Checks::AtOnce)?;
    Ok(all)
}

fn numbers(batch: &Batch, cells: &[Cell], layout: u64) -> Cells {
    let number = |cell: Cell| batch.value(cell).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("8 bytes")));
    [number(cells[0]), number(cells[1]).map(|value| in_layout(value, layout)), number(cells[2])]
}

fn whole(cells: Option<Cells>) -> Result<Row, Problem> {
    match cells {
        Some([Some(id), Some(value), Some(large)]) => Ok(Row { id, value, large }),
        _ => Err(Problem::internal("an insert without all of its cells")),
    }
}

fn find(rows: &[Row], id: Option<u64>) -> Option<usize> {
    rows.iter().position(|row| Some(row.id) == id)
}

fn find_whole(rows: &[Row], old: Cells) -> Option<usize> {
    rows.iter().position(|row| [Some(row.id), Some(row.value), Some(row.large)] == old)
}

fn there() -> Problem {
    Problem::new(Fault::Data, "row-exists", "simulated: the row is there already")
}

/// Refuses values that the target can't take.
pub(super) fn refuse_poison(rows: &[Row], checks: Checks) -> Result<(), Problem> {
    let is_refused = |row: &Row| row.value == POISON || (checks == Checks::AtOnce && is_poison(row.value));
    if rows.iter().any(is_refused) {
        return Err(Problem::new(Fault::Data, "poison", "simulated: a value that the target can't take"));
    }
    Ok(())
}

/// The same for one row, by the name of its table.
fn refuse_row(plan: &TablePlan, row: Row, checks: Checks) -> Result<(), Problem> {
    refuse_poison(&[row], checks).map_err(|problem| problem.table(plan.name()))
}
