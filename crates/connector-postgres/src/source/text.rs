//! Reading rows for a target of another system: by `COPY … TO STDOUT` in text form, of a chunk or of given keys, each value
//! written anew as it comes.

use std::sync::Arc;

use async_trait::async_trait;
use wavemark_connector::source::{Block, KeySet, RowReader};
use wavemark_domain::{Batch, Cell, ChangeKind, Fault, Problem, TablePlan};

use super::canonical::{Form, TextRow, TextRows, Unreadable};
use super::copy::{BLOCK, failed, too_large};
use super::lent::Lent;
use crate::error;
use crate::wire::{Connection, Piece};

/// Reads the rows that some statements give, one statement after the other.
pub(super) struct TextReader {
    lent: Option<Lent<Connection>>,
    /// `SELECT`s that are not begun yet.
    left: Selects,
    /// What the session is to be set to before another has it.
    reset: Option<&'static str>,
    is_reading: bool,
    most_row: usize,
    taking: Taking,
}

/// Statements as they are needed.
type Selects = Box<dyn Iterator<Item = Result<String, Problem>> + Send>;

/// What is made of the pieces.
struct Taking {
    table: Arc<TablePlan>,
    forms: Vec<Form>,
    rows: TextRows,
    batch: Batch,
    left_out: Option<LeftOut>,
    /// A field's text where it is not written as it is.
    scratch: Vec<u8>,
}

/// Keys whose rows are left out.
struct LeftOut {
    keys: Arc<KeySet>,
    /// The cells of one row's key, one after the other, with their ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    joined: Vec<u8>,
}

impl TextReader {
    pub(super) fn new(
        lent: Lent<Connection>,
        table: &TablePlan,
        selects: impl Iterator<Item = Result<String, Problem>> + Send + 'static,
        without: Option<Arc<KeySet>>,
    ) -> Result<Self, Problem> {
        let taking = Taking {
            forms: forms(table)?,
            table: Arc::new(table.clone()),
            rows: TextRows::default(),
            batch: Batch::default(),
            left_out: without.filter(|keys| !keys.is_empty()).map(LeftOut::of),
            scratch: Vec::new(),
        };
        let most_row = lent.most_row();
        Ok(Self { lent: Some(lent), left: Box::new(selects), reset: None, is_reading: false, most_row, taking })
    }

    /// The same in a session that is to be set by this before another has it.
    pub(super) fn resetting(self, by: &'static str) -> Self {
        Self { reset: Some(by), ..self }
    }

    /// Begins the next statement; false if none is left.
    async fn begin(&mut self) -> Result<bool, Problem> {
        let (Some(lent), Some(select)) = (&mut self.lent, self.left.next()) else { return Ok(false) };
        let copy = lent.session.copy_out(&format!("COPY ({}) TO STDOUT", select?), self.most_row).await;
        copy.map_err(|error| failed(&error, &self.taking.table))?;
        self.is_reading = true;
        Ok(true)
    }

    async fn give_back(&mut self) -> Result<(), Problem> {
        let Some(mut lent) = self.lent.take() else { return Ok(()) };
        if let Some(reset) = self.reset {
            lent.session.query(reset).await.map_err(|error| error::wire(&error, "reset a session"))?;
        }
        lent.give_back();
        Ok(())
    }

    /// Takes in what is at hand until it makes a block; gives that, or none if more must come or the statement is over.
    fn take_in(&mut self) -> Result<Option<Block>, Problem> {
        let (Some(lent), taking) = (&mut self.lent, &mut self.taking) else { return Ok(None) };
        while self.is_reading {
            match lent.session.piece(usize::MAX).map_err(|error| failed(&error, &taking.table))? {
                Piece::Data(piece) => taking.take_in(piece)?,
                Piece::Large(piece) => taking.take_in(&piece)?,
                Piece::TooLarge(size) => return Err(too_large(&taking.table, size, self.most_row)),
                Piece::Nothing => return Ok(None),
                Piece::End => {
                    taking.end()?;
                    self.is_reading = false;
                }
            }
            if taking.batch.bytes() >= BLOCK {
                return Ok(taking.block());
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl RowReader for TextReader {
    async fn next(&mut self) -> Result<Option<Block>, Problem> {
        loop {
            if let Some(block) = self.take_in()? {
                return Ok(Some(block));
            }
            if self.is_reading {
                let Some(lent) = &mut self.lent else { return Ok(None) };
                lent.session.fill().await.map_err(|error| failed(&error, &self.taking.table))?;
            } else if !self.begin().await? {
                self.give_back().await?;
                return Ok(self.taking.block());
            }
        }
    }
}

/// The forms of a table's columns in a row's order.
pub(super) fn forms(table: &TablePlan) -> Result<Vec<Form>, Problem> {
    let form = |column: &wavemark_domain::ColumnPlan| {
        Form::of(&column.encoding).ok_or_else(|| {
            let name = &table.source.columns[column.source].name;
            let text =
                format!("Column {name} of {} was to be given as {}, which it can't.", table.name(), column.encoding);
            Problem::internal(text).table(table.name())
        })
    };
    table.columns.iter().map(form).collect()
}

/// The problem of a value that can't be written in its form.
fn unreadable(table: &TablePlan, cell: usize, why: Unreadable) -> Problem {
    let column = table.columns.get(cell).map_or("?", |column| table.source.columns[column.source].name.as_str());
    why.problem(table.name(), column)
}

impl Taking {
    fn take_in(&mut self, piece: &[u8]) -> Result<(), Problem> {
        let Self { table, forms, rows, batch, left_out, scratch } = self;
        rows.push(piece);
        while let Some(row) = rows.next() {
            if let Some(left_out) = left_out
                && left_out.has(row, table, forms, scratch)?
            {
                continue;
            }
            insert(batch, table, forms, row, scratch)?;
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Problem> {
        if self.rows.is_empty() {
            return Ok(());
        }
        Err(Problem::internal("A COPY ended in the middle of a row.").table(self.table.name()))
    }

    fn block(&mut self) -> Option<Block> {
        (!self.batch.is_empty()).then(|| Block::Rows(std::mem::take(&mut self.batch)))
    }
}

impl LeftOut {
    fn of(keys: Arc<KeySet>) -> Self {
        Self { keys, cells: Vec::new(), ends: Vec::new(), joined: Vec::new() }
    }

    /// Whether the row's key is among them.
    fn has(
        &mut self,
        row: TextRow<'_>,
        table: &TablePlan,
        forms: &[Form],
        scratch: &mut Vec<u8>,
    ) -> Result<bool, Problem> {
        let Self { keys, cells, ends, joined } = self;
        cells.clear();
        ends.clear();
        for column in &table.key {
            if let Some(field) = row.fields().nth(*column).flatten() {
                let written = forms[*column].write(field.value(scratch), cells);
                written.map_err(|why| unreadable(table, *column, why))?;
            }
            ends.push(cells.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        Ok(keys.contains(starts.zip(ends.iter()).map(|(start, end)| &cells[start..*end]), joined))
    }
}

fn insert(
    batch: &mut Batch,
    table: &TablePlan,
    forms: &[Form],
    row: TextRow<'_>,
    scratch: &mut Vec<u8>,
) -> Result<(), Problem> {
    // No value becomes more than fourteen bytes that is not longer as a text.
    if !batch.fits(row.len() + 14 * forms.len()) {
        return Err(Problem::internal(format!("A row of table {} is too large.", table.name())).table(table.name()));
    }
    let start = batch.begin_row();
    let mut fields = row.fields();
    for (cell, form) in forms.iter().enumerate() {
        match fields.next() {
            Some(Some(field)) => {
                let value = field.value(scratch);
                batch.push_written(|out| form.write(value, out)).map_err(|why| unreadable(table, cell, why))?;
            }
            Some(None) => batch.push_marker(Cell::NULL),
            None => return Err(other_width(table)),
        }
    }
    // A row of no columns is an empty line, which reads as one field.
    if !forms.is_empty() && fields.next().is_some() {
        return Err(other_width(table));
    }
    batch.push_change(table.id, ChangeKind::Insert, None, Some(start));
    Ok(())
}

fn other_width(table: &TablePlan) -> Problem {
    let text = format!("A row of {} came with another number of columns than was asked for.", table.name());
    Problem::new(Fault::Transient, "row-width", text).table(table.name())
}
