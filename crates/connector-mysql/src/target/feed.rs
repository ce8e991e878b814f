//! Rows on their way into a table: by LOAD DATA, or by inserts of many rows where the server takes no LOAD DATA from its
//! clients (`local_infile`).

use uuid::Uuid;
use wavemark_domain::{Batch, Cell, Fault, Problem};

use super::fault::{self, problem};
use super::table::TargetTable;
use super::{statements, values};
use crate::wire::{Connection, Done, Load, WireError};

/// How much is written before it is sent.
const PIECE: usize = 256 * 1024;

/// A table's rows under way.
pub(crate) enum Feed<'c> {
    Load { load: Load<'c>, piece: Vec<u8> },
    Inserts { connection: &'c mut Connection, head: String, piece: Vec<u8>, done: Done },
}

impl<'c> Feed<'c> {
    /// Begins to add rows to a table.
    pub(crate) async fn begin(
        connection: &'c mut Connection,
        table: &TargetTable,
        loads: bool,
    ) -> Result<Self, WireError> {
        if loads {
            let sql = values::load_data(&table.name, &table.columns, &format!("wavemark {}", Uuid::new_v4()));
            return Ok(Self::Load { load: connection.begin_load(&sql).await?, piece: Vec::new() });
        }
        let head = statements::insert(table);
        Ok(Self::Inserts { connection, head, piece: Vec::new(), done: Done { affected: 0, warnings: 0 } })
    }

    /// Adds a row; a value that has no place in its column is told, and nothing of the row is sent.
    pub(crate) fn row(&mut self, table: &TargetTable, batch: &Batch, cells: &[Cell]) -> Result<(), Problem> {
        self.whole(|is_load, piece| {
            if is_load {
                fields(table, batch, cells.iter().copied().enumerate(), piece)?;
                piece.push(b'\n');
                return Ok(());
            }
            statements::row(table, batch, cells, piece)
        })
    }

    /// Adds a row of a staging table: its group, the key to find it by, and of the new cells those that are set.
    pub(crate) fn staged(
        &mut self,
        staging: &TargetTable,
        batch: &Batch,
        group: i16,
        key: &[Cell],
        cells: Option<&[Cell]>,
    ) -> Result<(), Problem> {
        let nulls = staging.columns.len() - 1 - key.len();
        let cells = (0..nulls).map(|at| cells.map_or(Cell::NULL, |cells| cells[at]));
        let row = (1..).zip(key.iter().copied().chain(cells));
        self.whole(|is_load, piece| {
            if is_load {
                piece.extend_from_slice(format!("{group}\t").as_bytes());
                fields(staging, batch, row, piece)?;
                piece.push(b'\n');
                return Ok(());
            }
            piece.extend_from_slice(format!("({group}").as_bytes());
            for (at, cell) in row {
                piece.push(b',');
                staging.literal(batch, cell, at, piece)?;
            }
            piece.push(b')');
            Ok(())
        })
    }

    /// Writes a whole row or nothing of it.
    fn whole(&mut self, write: impl FnOnce(bool, &mut Vec<u8>) -> Result<(), Problem>) -> Result<(), Problem> {
        let (is_load, piece, before) = match self {
            Self::Load { piece, .. } => {
                let before = piece.len();
                (true, &mut *piece, before)
            }
            Self::Inserts { head, piece, .. } => {
                let before = piece.len();
                if piece.is_empty() {
                    piece.extend_from_slice(head.as_bytes());
                } else {
                    piece.push(b',');
                }
                (false, &mut *piece, before)
            }
        };
        write(is_load, piece).inspect_err(|_| piece.truncate(before))
    }

    /// Sends what has gathered, if that is much.
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        match self {
            Self::Load { piece, .. } | Self::Inserts { piece, .. } if piece.len() < PIECE => Ok(()),
            _ => self.send().await,
        }
    }

    async fn send(&mut self) -> Result<(), WireError> {
        match self {
            Self::Load { load, piece } => load.send(piece).await?,
            Self::Inserts { piece, .. } if piece.is_empty() => {}
            Self::Inserts { connection, piece, done, .. } => {
                let more = connection.execute_bytes(piece).await?;
                done.affected += more.affected;
                done.warnings = done.warnings.saturating_add(more.warnings);
            }
        }
        let (Self::Load { piece, .. } | Self::Inserts { piece, .. }) = self;
        piece.clear();
        Ok(())
    }

    /// Sends the rest; what the server made of all rows.
    pub(crate) async fn end(mut self) -> Result<Done, WireError> {
        self.send().await?;
        match self {
            Self::Load { load, .. } => load.finish().await,
            Self::Inserts { done, .. } => Ok(done),
        }
    }
}

fn fields(
    table: &TargetTable,
    batch: &Batch,
    cells: impl Iterator<Item = (usize, Cell)>,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    for (n, (at, cell)) in cells.enumerate() {
        if n > 0 {
            out.push(b'\t');
        }
        table.field(batch, cell, at, out)?;
    }
    Ok(())
}

/// Judges how rows went in. LOAD DATA from a client leaves a row out that it can't add, and warns.
pub(crate) async fn judge(connection: &mut Connection, done: Done, rows: u64, doing: &str) -> Result<(), Problem> {
    if done.affected == rows && done.warnings == 0 {
        return Ok(());
    }
    let warnings = connection.query("SHOW WARNINGS LIMIT 1").await.map_err(|cause| problem(&cause, doing))?;
    let said = warnings.first().and_then(|row| Some((row.number::<u16>(1)?, row.text(2)?)));
    match said {
        Some((code, message)) => Err(Problem { fault: Fault::Data, ..fault::refused(code, "01000", &message, doing) }),
        None => {
            let text = format!("Could not {doing}: the server took {} of {rows} rows.", done.affected);
            Err(Problem::new(Fault::Data, "divergence", text))
        }
    }
}
