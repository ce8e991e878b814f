//! The rows of one table at two systems, each as the system itself writes it in one agreed form.

use anyhow::Result;

use super::TableDifference;
use crate::system::{Kind, Session};

/// How a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Numbers, decimals, dates, labels: alike in every system.
    Plain,
    /// A text, by its length and the hash of its UTF-8.
    Text,
    /// The same of a text of fixed length, without the blanks at its end, which some systems keep and others don't.
    Fixed,
    /// Bytes, by their number and hash.
    Bytes,
    /// A moment without a zone, with microseconds.
    Moment,
    /// A double of neither many nor few digits, which all systems write alike: as few digits as tell it.
    Double,
}

impl Form {
    fn written(self, kind: Kind, column: &str) -> String {
        match (self, kind) {
            (Self::Plain | Self::Double, Kind::Postgres) => format!("{column}::text"),
            (Self::Plain | Self::Double, _) => format!("cast({column} as char)"),
            (Self::Text, Kind::Postgres) => {
                let bytes = format!("convert_to({column}::text, 'UTF8')");
                format!("length({bytes}) || ':' || encode(sha256({bytes}), 'hex')")
            }
            (Self::Text, _) => {
                let text = format!("convert({column} using utf8mb4)");
                format!("concat(length({text}), ':', sha2({text}, 256))")
            }
            (Self::Fixed, _) => Self::Text.written(kind, &format!("trim(trailing ' ' from {column})")),
            (Self::Bytes, Kind::Postgres) => format!("length({column}) || ':' || encode(sha256({column}), 'hex')"),
            (Self::Bytes, _) => format!("concat(length({column}), ':', sha2({column}, 256))"),
            (Self::Moment, Kind::Postgres) => format!("to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US')"),
            (Self::Moment, _) => format!("date_format({column}, '%Y-%m-%d %H:%i:%s.%f')"),
        }
    }
}

/// The statement that gives each row of a table in one text.
#[must_use]
pub fn select(kind: Kind, table: &str, columns: &[(&str, Form)]) -> String {
    let written = columns.iter().map(|(column, form)| format!("coalesce({}, 'null')", form.written(kind, column)));
    format!("select concat_ws('|', {}) from shop.{table}", written.collect::<Vec<_>>().join(", "))
}

/// Compares what two statements give. A row that is another on both sides counts as one that is missing and one too many.
///
/// # Errors
/// The source's statement fails; at the target that is a difference.
pub async fn compare(
    table: &str,
    source: &mut Session,
    target: &mut Session,
    statements: &[String; 2],
) -> Result<TableDifference> {
    let mut found = TableDifference { table: format!("shop.{table}"), ..TableDifference::default() };
    let mut left = source.rows(&statements[0]).await?;
    let mut right = match target.rows(&statements[1]).await {
        Ok(rows) => rows,
        Err(error) => {
            found.problem = Some(format!("the target can't be read: {error}"));
            return Ok(found);
        }
    };
    (found.source_rows, found.target_rows) = (left.len() as u64, right.len() as u64);
    left.sort_unstable();
    right.sort_unstable();
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => return Ok(found),
            (Some(row), other) if other.is_none_or(|other| *row < *other) => {
                found.missing.note(row);
                left.next();
            }
            (row, Some(other)) if row.is_none_or(|row| *other < *row) => {
                found.extra.note(other);
                right.next();
            }
            _ => {
                left.next();
                right.next();
            }
        }
    }
}
