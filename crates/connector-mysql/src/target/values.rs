//! Values of a target column: from the form that `domain::logical` gives them to fields of `LOAD DATA` and to literals.
//!
//! The server must never be the one that finds that a value has no place. In `LOAD DATA LOCAL` it turns errors into warnings,
//! and much it changes without a word: it rounds seconds and decimals, cuts blanks, takes `'2'` for an enum's second label and
//! `'0'` for the year 2000, and MariaDB makes 0 of -0. So each value is looked at here, and is [`Unfit`] or comes back
//! as it was; a warning that the server has nevertheless is a failure.
//!
//! Fields are sent as `CHARACTER SET binary`: bytes go into blobs and bits as they are, and into columns of UTF-8 without a
//! conversion, but with a look whether they are UTF-8 (measured with 400,000 rows: no slower than
//! `CHARACTER SET utf8mb4`, which can't load blobs). Other columns get their value by way of a variable.

mod clamp;
mod decimals;
mod escape;
mod holds;
mod json;
mod moments;
mod spelled;
mod text;
mod told;
mod unfit;
mod write;

use wavemark_domain::{Column, ColumnPlan, TablePlan};

use self::escape::Style;
use self::holds::Holds;
pub(crate) use self::json::is_kept as keeps_json;
pub(crate) use self::spelled::is_spelled;
pub(crate) use self::unfit::Unfit;
use self::write::Form;
use super::create::collations;
use crate::defaults::Dialect;
use crate::native::{ColumnNative, TableNative};
use crate::own::{Own, OwnKind};
use crate::sql::{literal, quoted};

/// The mode of every session that writes. Each word, and each that is missing, matters:
///
/// * `STRICT_ALL_TABLES`: a value that does not fit is an error, in every engine.
/// * `NO_AUTO_VALUE_ON_ZERO`: a 0 in an `AUTO_INCREMENT` column is a 0, not the next number.
/// * `ALLOW_INVALID_DATES`: a source of this family may have `2024-02-31`, written under the same mode.
/// * `NO_ENGINE_SUBSTITUTION`: a table is of the engine that it is to be of, or it is not made.
/// * Without `NO_ZERO_DATE` and `NO_ZERO_IN_DATE`: `0000-00-00` and `2024-00-00` are dates that a source may have.
/// * Without `NO_BACKSLASH_ESCAPES` and `ANSI_QUOTES`: literals are escaped as [`TargetColumn::write_literal`] does.
/// * Without `PAD_CHAR_TO_FULL_LENGTH`: a `char` reads as it was written.
/// * Without `TIME_ROUND_FRACTIONAL` and `TIME_TRUNCATE_FRACTIONAL`: nothing is rounded, so neither says how.
pub(crate) const SQL_MODE: &str = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";

/// A column of a target table, and how the values of a planned column are written for it. Its session has [`SQL_MODE`],
/// `time_zone = '+00:00'` and `SET NAMES utf8mb4`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TargetColumn {
    /// The exact name at the target.
    pub(crate) name: String,
    /// The type as the server writes it.
    pub(crate) declared: String,
    /// What the server says of it; of a text also the character set and how it is compared.
    pub(super) native: ColumnNative,
    /// Whether NULL is a value of it. Elsewhere the server may put the next number or the present moment in its place.
    pub(super) nullable: bool,
    /// What the bytes that come mean.
    pub(super) form: Form,
    /// What may be in it.
    pub(super) holds: Holds,
}

/// How a column's values are compared to the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text, whose collation may take others for the same.
    Text,
    /// MySQL's `json`, which takes `1` and `1.0` for the same.
    Json,
    /// Anything else: `=` is enough.
    Other,
}

impl TargetColumn {
    /// A column for values that come in an encoding; `None` if its type does not hold them.
    #[cfg(test)]
    pub(crate) fn new(
        name: &str,
        column: &Column,
        encoding: &wavemark_domain::Encoding,
        dialect: Dialect,
    ) -> Option<Self> {
        let native = ColumnNative::of(column).ok()?;
        let (form, holds) = (Form::of(encoding)?, Holds::of(&native, dialect)?);
        holds.takes(form).then(|| Self::of(name, column, native, (form, holds)))
    }

    /// A column for the values of a planned one, which may come into a text that says what they are; `None` if its type does not
    /// hold them.
    pub(crate) fn planned(name: &str, column: &Column, planned: &ColumnPlan, dialect: Dialect) -> Option<Self> {
        let native = ColumnNative::of(column).ok()?;
        let (form, holds) = (Form::of(&planned.encoding)?, Holds::of(&native, dialect)?);
        let spells = planned.as_text.is_some() && matches!(holds, Holds::Text(_)) && spelled::has_words(form);
        (spells || holds.takes(form)).then(|| Self::of(name, column, native, (form, holds)))
    }

    fn of(name: &str, column: &Column, native: ColumnNative, (form, holds): (Form, Holds)) -> Self {
        Self {
            name: name.to_owned(),
            declared: column.declared.clone(),
            native,
            nullable: !column.not_null,
            form,
            holds,
        }
    }

    /// The column of a table that is there, for the values of the plan's column `at`; `None` if it does not hold them.
    pub(crate) fn fitting(plan: &TablePlan, at: usize, found: &Column, dialect: Dialect) -> Option<Self> {
        let planned = plan.columns.get(at)?;
        Self::planned(&found.name, found, planned, dialect).filter(|_| !found.generated)
    }

    /// A number of two bytes that a staging table has of its own.
    pub(crate) fn group() -> Self {
        let native = ColumnNative { data_type: "smallint".to_owned(), ..ColumnNative::default() };
        let holds = Holds::Whole { least: i16::MIN.into(), most: 32_767 };
        let declared = "smallint".to_owned();
        Self { name: "g".to_owned(), declared, native, nullable: false, form: Form::Int16, holds }
    }

    /// The same column in a staging table, where NULL stands for what is not set.
    pub(crate) fn staged(&self, name: String) -> Self {
        Self { name, nullable: true, ..self.clone() }
    }

    /// Whether NULL is a value of it.
    pub(crate) fn nullable(&self) -> bool {
        self.nullable
    }

    /// How its values are compared to the last byte.
    pub(crate) fn kind(&self) -> Kind {
        match self.holds {
            Holds::Text { .. } | Holds::Label { .. } | Holds::Labels { .. } => Kind::Text,
            Holds::Json => Kind::Json,
            _ => Kind::Other,
        }
    }

    /// Whether it tells values apart that its source tells apart.
    pub(crate) fn tells_apart(&self, source: &Column) -> bool {
        let is_text = matches!(self.form, Form::Text | Form::Enum | Form::Set) && matches!(self.holds, Holds::Text(_));
        !is_text || collations::tells_apart(&ColumnNative::of(source).unwrap_or_default(), &self.native)
    }

    /// How it compares texts.
    pub(crate) fn collation(&self) -> Option<&str> {
        self.native.collation.as_deref()
    }

    /// Whether the server sets it at each update that does not.
    pub(crate) fn sets_itself(&self, there: &TableNative) -> bool {
        let sets = |own: &Own| own.kind == OwnKind::OnUpdate && own.name.eq_ignore_ascii_case(&self.name);
        there.own.iter().any(sets)
    }

    /// Writes a value as a field of [`load_data`]'s text, or nothing.
    pub(crate) fn write_field(&self, value: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Unfit> {
        self.write(value, b"\\N", Style::Field, out)
    }

    /// Writes a value as a literal, for lists of values and for conditions, or nothing.
    pub(crate) fn write_literal(&self, value: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Unfit> {
        self.write(value, b"NULL", Style::Literal, out)
    }

    /// Writes a value that its source writes so as a literal.
    pub(super) fn literal_of(&self, text: &str) -> Result<Vec<u8>, Unfit> {
        let mut out = Vec::new();
        // The column is a text of just that.
        if matches!(self.holds, Holds::Text(_)) && spelled::has_words(self.form) {
            Style::Literal.text(text.as_bytes(), &mut out);
            return Ok(out);
        }
        let value = told::value(self.form, text).ok_or(Unfit::Misshapen)?;
        self.write_literal(Some(&value), &mut out).map(|()| out)
    }

    /// Whether it holds a value. `scratch` is memory to write in.
    pub(crate) fn has_place_for(&self, value: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        self.write_field(Some(value), scratch).is_ok()
    }

    /// The nearest value that it holds, in the form of its values; `None` if nothing is near.
    pub(crate) fn nearest(&self, value: &[u8], scratch: &mut Vec<u8>) -> Option<Vec<u8>> {
        clamp::nearest(self.form, &self.holds, value).filter(|nearest| self.has_place_for(nearest, scratch))
    }

    fn write(&self, value: Option<&[u8]>, null: &[u8], style: Style, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let before = out.len();
        match value {
            Some(value) => {
                write::value(self.form, &self.holds, value, style, out).inspect_err(|_| out.truncate(before))
            }
            None if self.nullable => {
                out.extend_from_slice(null);
                Ok(())
            }
            None => Err(Unfit::Null),
        }
    }
}

/// Whether a decimal has no more digits before the point and behind it.
pub(super) fn fits_decimal(text: &str, whole: u16, scale: u16) -> bool {
    decimals::write(text.as_bytes(), whole.into(), scale.into(), false, &mut Vec::new()).is_ok()
}

/// The statement that loads rows of [`TargetColumn::write_field`]'s fields with tabs between and a line feed behind each. The
/// server asks for `token`. `table_sql` is quoted.
pub(crate) fn load_data(table_sql: &str, columns: &[TargetColumn], token: &str) -> String {
    let (mut into, mut set) = (Vec::with_capacity(columns.len()), Vec::new());
    for (at, column) in columns.iter().enumerate() {
        let name = quoted(&column.name);
        if column.holds.is_converted() {
            into.push(format!("@v{at}"));
            set.push(format!("{name} = CONVERT(@v{at} USING utf8mb4)"));
        } else {
            into.push(name);
        }
    }
    let set = if set.is_empty() { String::new() } else { format!(" SET {}", set.join(", ")) };
    format!(
        "LOAD DATA LOCAL INFILE {} INTO TABLE {table_sql} CHARACTER SET binary \
         FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({}){set}",
        literal(token),
        into.join(", ")
    )
}
