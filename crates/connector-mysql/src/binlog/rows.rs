//! Rows of one table that were written, changed or deleted.

use crate::fields::{Fields, Malformed};
use crate::value::Value;

use super::table_map::{LoggedColumn, table_id};
use super::values;

/// What was done to rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    Write,
    Update,
    Delete,
}

/// The rows of one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) kind: RowKind,
    /// As the table was announced.
    pub(crate) table: u64,
    columns: usize,
    /// Whether no more rows of their statement follow.
    pub(crate) ends_statement: bool,
    /// Which columns the rows have: of an update the old ones, then the new ones.
    present: [&'a [u8]; 2],
    /// Whether before each new row it is said of which JSON values it has only what changed.
    is_in_parts: bool,
    images: Fields<'a>,
}

/// `STMT_END_F`.
const ENDS_STATEMENT: u16 = 1;
/// A column that an image leaves out.
pub(crate) const ABSENT: Option<Value<'static>> = None;

impl<'a> Rows<'a> {
    /// `extended` from version 5.6 on, where something more may stand before the columns.
    pub(crate) fn read(kind: RowKind, extended: bool, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let table = table_id(&mut fields)?;
        let ends_statement = fields.u16()? & ENDS_STATEMENT != 0;
        if extended {
            let length = usize::from(fields.u16()?);
            fields.take(length.checked_sub(2).ok_or(Malformed("rows begin in a way that is not known"))?)?;
        }
        let columns = fields.length()?;
        let width = columns.div_ceil(8);
        let first = fields.take(width)?;
        let second = if kind == RowKind::Update { fields.take(width)? } else { first };
        // There would be no end of them: each takes no bytes.
        if !fields.0.is_empty() && !(0..columns).any(|at| has(first, at)) {
            return Err(Malformed("rows have no columns"));
        }
        Ok(Self { kind, table, columns, ends_statement, present: [first, second], is_in_parts: false, images: fields })
    }

    /// The same of an event whose new rows may have parts of JSON values.
    pub(super) fn in_parts(self) -> Self {
        Self { is_in_parts: true, ..self }
    }

    /// What is left to be read: the images of rows one after the other.
    pub(super) fn images(&self) -> &'a [u8] {
        self.images.0
    }

    /// How many columns the table has.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Reads the next image of a row; of an update the old one comes first, then the new one. `take` gets each column in
    /// turn, with nothing for one that the image leaves out. False at the end.
    pub(crate) fn next<E: From<Malformed>>(
        &mut self,
        is_new: bool,
        columns: &[LoggedColumn],
        mut take: impl FnMut(usize, Option<Value<'a>>) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.images.0.is_empty() {
            return Ok(false);
        }
        let present = self.present[usize::from(is_new)];
        let parts = if self.is_in_parts && is_new { self.parts(columns)? } else { &[] };
        let mut documents = 0;
        let count = (0..self.columns).filter(|at| has(present, *at)).count();
        let nulls = self.images.take(count.div_ceil(8))?;
        let mut seen = 0;
        for (at, column) in columns.iter().enumerate().take(self.columns) {
            let is_part = matches!(column, LoggedColumn::Json(_)) && {
                documents += 1;
                has(parts, documents - 1)
            };
            if !has(present, at) {
                take(at, ABSENT)?;
                continue;
            }
            let is_null = has(nulls, seen);
            seen += 1;
            let value = if is_null {
                Value::Null
            } else if is_part {
                Value::Changes(values::changes(&mut self.images)?)
            } else {
                values::read(*column, &mut self.images)?
            };
            take(at, Some(value))?;
        }
        Ok(true)
    }

    /// A bit for each column of JSON, be it in the row or not: whether it has only what changed.
    fn parts(&mut self, columns: &[LoggedColumn]) -> Result<&'a [u8], Malformed> {
        match self.images.length()? {
            0 => Ok(&[]),
            PARTIAL_JSON => {
                let documents = columns.iter().filter(|column| matches!(column, LoggedColumn::Json(_))).count();
                self.images.take(documents.div_ceil(8))
            }
            _ => Err(Malformed("rows are written in parts in a way that is not known")),
        }
    }
}

/// Bits of `binlog_row_value_options`.
const PARTIAL_JSON: usize = 1;

fn has(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte & 1 << (at % 8) != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [LoggedColumn; 3] = [LoggedColumn::Whole(4), LoggedColumn::Bytes(1), LoggedColumn::Whole(1)];

    fn image(rows: &mut Rows<'_>, is_new: bool) -> Option<Vec<String>> {
        let mut cells = Vec::new();
        let there = rows.next::<Malformed>(is_new, &COLUMNS, |_, value| {
            cells.push(value.map_or_else(|| "absent".to_owned(), |value| format!("{value:?}")));
            Ok(())
        });
        there.unwrap().then_some(cells)
    }

    #[test]
    fn inserted_rows_come_one_after_the_other() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0b111];
        body.extend([0b010, 1, 0, 0, 0, 0xFF]);
        body.extend([0b000, 2, 0, 0, 0, 2, b'o', b'k', 5]);
        let mut rows = Rows::read(RowKind::Write, true, &body).unwrap();
        assert_eq!((rows.table, rows.columns()), (7, 3));
        assert_eq!(image(&mut rows, true).unwrap(), ["Int(1)", "Null", "Int(-1)"]);
        assert_eq!(image(&mut rows, true).unwrap(), ["Int(2)", "Bytes([111, 107])", "Int(5)"]);
        assert_eq!(image(&mut rows, true), None);
    }

    #[test]
    fn an_update_may_leave_columns_out_of_each_image() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 3, 0b001, 0b100];
        body.extend([0, 1, 0, 0, 0]);
        body.extend([1]);
        let mut rows = Rows::read(RowKind::Update, false, &body).unwrap();
        assert_eq!(image(&mut rows, false).unwrap(), ["Int(1)", "absent", "absent"]);
        assert_eq!(image(&mut rows, true).unwrap(), ["absent", "absent", "Null"]);
        assert_eq!(image(&mut rows, false), None);
    }

    #[test]
    fn rows_without_columns_are_refused() {
        for kind in [RowKind::Write, RowKind::Update, RowKind::Delete] {
            let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 3, 0, 0];
            body.truncate(if kind == RowKind::Update { 11 } else { 10 });
            assert!(Rows::read(kind, false, &body).is_ok());
            body.push(1);
            assert!(Rows::read(kind, false, &body).is_err());
        }
    }

    /// Of two columns of JSON the second has only what changed; its bit is the second also where the first is left out.
    #[test]
    fn a_new_row_may_have_what_changed_in_json() {
        let columns = [LoggedColumn::Whole(1), LoggedColumn::Json(4), LoggedColumn::Json(4)];
        let read = |present: u8, new: &[u8]| -> Result<Vec<String>, Malformed> {
            let head = [7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0b001, present];
            let body = [&head[..], &[0, 5], new].concat();
            let mut rows = Rows::read(RowKind::Update, true, &body)?.in_parts();
            let mut cells = Vec::new();
            assert!(rows.next::<Malformed>(false, &columns, |_, _| Ok(()))?);
            while rows.next::<Malformed>(true, &columns, |_, value| {
                cells.push(value.map_or_else(|| "absent".to_owned(), |value| format!("{value:?}")));
                Ok(())
            })? {}
            Ok(cells)
        };
        let part = [3, 0, 0, 0, 2, 1, b'$'];
        let expected = vec!["Int(5)".to_owned(), "absent".to_owned(), "Changes([2, 1, 36])".to_owned()];
        assert_eq!(read(0b101, &[&[1, 0b10, 0, 5][..], &part].concat()), Ok(expected));
        let whole = [1, 0, 0, 0, 4];
        let expected = ["Int(5)", "Null", "Bytes([4])"].map(str::to_owned).to_vec();
        assert_eq!(read(0b111, &[&[0, 0b010, 5][..], &whole].concat()), Ok(expected));
        assert!(read(0b111, &[2, 0, 0, 5]).is_err(), "in another way");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>, update: bool, extended: bool, in_parts: bool) {
            let kind = if update { RowKind::Update } else { RowKind::Delete };
            if let Ok(rows) = Rows::read(kind, extended, &body) {
                let mut rows = if in_parts { rows.in_parts() } else { rows };
                let columns = [COLUMNS[0], LoggedColumn::Json(4), COLUMNS[2]];
                while let Ok(true) = rows.next::<Malformed>(in_parts, &columns, |_, _| Ok(())) {}
            }
        }
    }
}
