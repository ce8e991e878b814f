//! The SQL of single changes, per table. Names are always quoted; values stand in the statements as literals.

use wavemark_domain::{Batch, Cell, Problem};

use super::table::TargetTable;
use crate::sql::quoted;

/// How the target finds a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FoundBy<'a> {
    /// By the key's cells, in the key's order.
    Key(&'a [Cell]),
    /// By the key's cells among all.
    Row(&'a [Cell]),
    /// Of a table without a key: by all cells; so many of those that are the same.
    Whole(&'a [Cell], usize),
}

/// Begins an insert of any number of rows, each written by [`row`].
pub(crate) fn insert(table: &TargetTable) -> String {
    format!("INSERT INTO {} ({}) VALUES ", table.name, table.column_list())
}

/// A row in brackets.
pub(crate) fn row(table: &TargetTable, batch: &Batch, cells: &[Cell], out: &mut Vec<u8>) -> Result<(), Problem> {
    for (at, cell) in cells.iter().enumerate() {
        if cell.is_unchanged() {
            let text = format!("An insert into {} lacks column {}.", table.name, table.columns[at].name);
            return Err(Problem::internal(text));
        }
        out.push(if at == 0 { b'(' } else { b',' });
        table.literal(batch, *cell, at, out)?;
    }
    out.push(b')');
    Ok(())
}

/// Gives the columns of `set` of a row their new values.
pub(crate) fn update(
    table: &TargetTable,
    batch: &Batch,
    (set, new): (&[usize], &[Cell]),
    found_by: FoundBy<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    push(out, &format!("UPDATE {} SET ", table.name));
    for (n, at) in set.iter().enumerate() {
        push(out, if n > 0 { ", " } else { "" });
        push(out, &format!("{} = ", quoted(&table.columns[*at].name)));
        table.literal(batch, new[*at], *at, out)?;
    }
    let kept = kept(table, set).map(|at| quoted(&table.columns[at].name));
    for (n, name) in kept.enumerate() {
        push(out, if n + set.len() > 0 { ", " } else { "" });
        push(out, &format!("{name} = {name}"));
    }
    condition(table, batch, found_by, out)
}

/// The columns that an update sets to what they are: those that the server would set otherwise. With nothing to set it still
/// says whether the row is there.
pub(crate) fn kept(table: &TargetTable, set: &[usize]) -> impl Iterator<Item = usize> {
    let kept: Vec<usize> = table.set_themselves.iter().copied().filter(|at| !set.contains(at)).collect();
    let any = (set.is_empty() && kept.is_empty() && !table.columns.is_empty()).then_some(0);
    kept.into_iter().chain(any)
}

/// Deletes a row.
pub(crate) fn delete(
    table: &TargetTable,
    batch: &Batch,
    found_by: FoundBy<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    push(out, &format!("DELETE FROM {}", table.name));
    condition(table, batch, found_by, out)
}

/// Gives a row for each that is found.
pub(crate) fn find(table: &TargetTable, batch: &Batch, found_by: FoundBy<'_>) -> Result<Vec<u8>, Problem> {
    let mut out = format!("SELECT 1 FROM {}", table.name).into_bytes();
    condition(table, batch, found_by, &mut out)?;
    Ok(out)
}

fn condition(table: &TargetTable, batch: &Batch, found_by: FoundBy<'_>, out: &mut Vec<u8>) -> Result<(), Problem> {
    let (cells, rows): (Vec<(usize, Cell)>, _) = match found_by {
        FoundBy::Key(key) => (table.key.iter().copied().zip(key.iter().copied()).collect(), None),
        FoundBy::Row(cells) => (table.key.iter().map(|at| (*at, cells[*at])).collect(), None),
        FoundBy::Whole(cells, rows) => (cells.iter().copied().enumerate().collect(), Some(rows)),
    };
    for (n, (at, cell)) in cells.into_iter().enumerate() {
        push(out, if n > 0 { " AND " } else { " WHERE " });
        match rows {
            // By the index; a key is never NULL.
            None => {
                push(out, &format!("{} = ", quoted(&table.columns[at].name)));
                table.literal(batch, cell, at, out)?;
            }
            Some(_) => table.same(batch, cell, at, out)?,
        }
    }
    if let Some(rows) = rows {
        push(out, &format!(" LIMIT {rows}"));
    }
    Ok(())
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}
