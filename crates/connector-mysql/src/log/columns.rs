//! What the cells of a table's columns must look like in the log, and how they are written into a batch.

use wavemark_domain::{Batch, Column, Fault, Logical, Problem, Table, TablePlan};

use crate::binlog::{LoggedColumn, inflate, write_changed_json, write_json};
use crate::charset::{self, Charset, Charsets, unreadable};
use crate::defaults::Dialect;
use crate::fields::Malformed;
use crate::native::{ColumnNative, TableNative};
use crate::value::{Packed, Value};
use crate::{address, encoding};

/// One column of a table in the log.
#[derive(Clone, Debug)]
pub(crate) struct LogColumn {
    name: String,
    native: ColumnNative,
    logical: Option<Logical>,
    not_null: bool,
    dialect: Option<Dialect>,
    charset: Option<Charset>,
    /// The cell of a row that it goes into, if it travels.
    pub(crate) cell: Option<usize>,
}

/// Types that are texts but for the log, which has their bytes.
const ADDRESSES: [&str; 2] = ["inet4", "inet6"];
/// How many bytes a UUID has.
const UUID: usize = 16;

/// Values that are written anew on their way.
#[derive(Default)]
pub(crate) struct Scratch {
    text: String,
    bytes: Vec<u8>,
    inflated: Vec<u8>,
}

/// The most bytes of memory that stay for values that are unpacked.
const KEPT: usize = 1 << 20;
/// What is larger no client can have written: no packet of the protocol takes it.
const LARGEST: u64 = 1 << 30;

/// Why a table can't be followed, if it can't.
pub(crate) fn refuse(table: &Table) -> Option<Problem> {
    let silent = TableNative::of(table).silent_keys;
    if !silent.is_empty() {
        let text = format!(
            "{} can't be followed: what its foreign keys do to its rows by themselves ({}) is not in the server's log, and such \
             rows would stay as they were.",
            table.name,
            silent.join(", ")
        );
        return Some(Problem::new(Fault::Data, "key-acts-unlogged", text).table(&table.name).advice(
            "Make these keys ON DELETE NO ACTION ON UPDATE NO ACTION and have the program delete what depends, or leave the \
             table out, or only load it.",
        ));
    }
    table.columns.iter().filter(|column| !column.generated).find_map(|column| {
        let native = ColumnNative::of(column).ok()?;
        let what = match native.data_type.as_str() {
            // Of tables that were made before the type got its present form.
            "uuid" if column.declared.contains("old") => format!("values of type {}", column.declared),
            _ => {
                let name = charset::of_texts(&native).filter(|name| !charset::is_read(name))?;
                format!("texts of character set {name}")
            }
        };
        let name = &column.name;
        let text =
            format!("{} can't be followed: {what}, as {name} has them, can't be read from the log yet.", table.name);
        let problem = Problem::new(Fault::Data, "column-not-followed", text).table(&table.name);
        Some(problem.advice("Leave it out with a remove-column rule, or only load the table."))
    })
}

impl LogColumn {
    /// The columns of a planned table in the order in which the log has them.
    pub(crate) fn all(plan: &TablePlan, charsets: &Charsets) -> Vec<Self> {
        let cell_of = |at: usize| plan.columns.iter().position(|column| column.source == at);
        let dialect = TableNative::of(&plan.source).dialect;
        let columns = plan.source.columns.iter().enumerate();
        columns.map(|(at, column)| Self { dialect, ..Self::of(column, cell_of(at), charsets) }).collect()
    }

    fn of(column: &Column, cell: Option<usize>, charsets: &Charsets) -> Self {
        let native = ColumnNative::of(column).unwrap_or_default();
        let charset = charset::of_texts(&native).and_then(|name| charsets.named(name));
        Self {
            name: column.name.clone(),
            logical: encoding::logical(column),
            not_null: column.not_null,
            dialect: None,
            native,
            charset,
            cell,
        }
    }

    /// Whether the log's column can be this one.
    pub(crate) fn is(&self, logged: LoggedColumn) -> bool {
        let native = &self.native;
        match (native.data_type.as_str(), logged) {
            ("tinyint", LoggedColumn::Whole(1))
            | ("smallint", LoggedColumn::Whole(2))
            | ("mediumint", LoggedColumn::Whole(3))
            | ("int", LoggedColumn::Whole(4))
            | ("bigint", LoggedColumn::Whole(8))
            | ("float", LoggedColumn::Float)
            | ("double", LoggedColumn::Double)
            | ("year", LoggedColumn::Year)
            | ("date", LoggedColumn::Date)
            | ("enum", LoggedColumn::Enum(_))
            | ("set", LoggedColumn::Set(_))
            | ("json", LoggedColumn::Json(_)) => true,
            ("decimal", LoggedColumn::Decimal { precision, scale }) => {
                native.precision == Some(precision.into()) && native.scale == Some(scale.into())
            }
            ("time", LoggedColumn::Time(digits))
            | ("datetime", LoggedColumn::Datetime(digits))
            | ("timestamp", LoggedColumn::Timestamp(digits)) => native.digits == digits,
            ("bit", LoggedColumn::Bits(bytes)) => {
                native.precision.is_some_and(|bits| bits.div_ceil(8) == u16::from(bytes))
            }
            (name, LoggedColumn::Bytes(_)) => {
                ["char", "varchar", "binary", "varbinary", "uuid", "inet4", "inet6", "vector"].contains(&name)
                    || name.ends_with("text")
                    || name.ends_with("blob")
            }
            (name, LoggedColumn::Deflated(_)) => {
                ["varchar", "varbinary"].contains(&name) || name.ends_with("text") || name.ends_with("blob")
            }
            (name, LoggedColumn::Geometry(_)) => encoding::is_shape(name),
            _ => false,
        }
    }

    /// The value of an inserted row that leaves the column out of the log, if that is known.
    ///
    /// Both servers leave out what a statement says nothing of (`binlog_row_image`), but not what an expression gave it, as which they keep
    /// each default of a text or blob. So such a column has none. Of others the default is known where definitions are followed; else the plan
    /// may be of a later place than the row.
    pub(crate) fn absent(&self, follows_defaults: bool) -> Option<Value<'_>> {
        let unsaid = self.native.unsaid.as_ref().filter(|_| follows_defaults);
        if let Some(value) = unsaid.and_then(|unsaid| unsaid.value(&self.native)) {
            return Some(value).filter(|value| *value != Value::Null || !self.not_null);
        }
        let name = self.native.data_type.as_str();
        let is_long = name.ends_with("text") || name.ends_with("blob");
        let is_alike =
            name == "json" || encoding::is_shape(name) || name == "vector" && self.dialect == Some(Dialect::Mysql);
        match self.not_null {
            false if is_long || is_alike => Some(Value::Null),
            true if is_long => Some(Value::Bytes(b"")),
            _ => None,
        }
    }

    /// Appends a value to the row being written.
    pub(crate) fn push(&self, batch: &mut Batch, value: Value<'_>, scratch: &mut Scratch) -> Result<(), Problem> {
        let Value::Deflated(bytes) = value else { return self.push_plain(batch, value, scratch) };
        let mut inflated = std::mem::take(&mut scratch.inflated);
        let pushed = match inflate(bytes, self.most_bytes(), &mut inflated) {
            Ok(bytes) => self.push_plain(batch, Value::Bytes(bytes), scratch),
            Err(cause) => Err(self.is_not_unpacked(cause)),
        };
        if inflated.capacity() <= KEPT {
            scratch.inflated = inflated;
        }
        pushed
    }

    /// The most bytes that a value can have; a character has four at most.
    fn most_bytes(&self) -> u64 {
        let most = self.native.length.map_or(LARGEST, |length| u64::from(length) * 4);
        most.min(LARGEST)
    }

    fn is_not_unpacked(&self, cause: Malformed) -> Problem {
        let text = format!("Column {} has a compressed value in the log that can't be read: {cause}.", self.name);
        Problem::new(Fault::Data, "value-unreadable", text)
            .advice("Look at the row at the source (CHECK TABLE), then reload the table.")
    }

    fn push_plain(&self, batch: &mut Batch, value: Value<'_>, scratch: &mut Scratch) -> Result<(), Problem> {
        let logical = self.logical.as_ref().ok_or_else(|| Problem::internal("A column travels that has no type."))?;
        let value = match (logical, value) {
            (_, Value::Int(number)) if self.native.unsigned => Value::Uint(self.without_sign(number)),
            (_, Value::Packed(packed)) => decimal(packed, &mut scratch.bytes)?,
            (Logical::Enum { labels }, Value::Ordinal(number)) => label(labels, number)?,
            (Logical::Set { labels }, Value::Members(members)) => members_of(labels, members, &mut scratch.text)?,
            (Logical::Bytes, Value::Bytes(bytes)) if self.native.data_type == "binary" => {
                filled(bytes, self.native.length.unwrap_or_default() as usize, &mut scratch.bytes)
            }
            (Logical::Uuid, Value::Bytes(bytes)) => filled(bytes, UUID, &mut scratch.bytes),
            (Logical::Json, Value::Bytes(bytes)) => {
                scratch.text.clear();
                write_json(bytes, &mut scratch.text).map_err(|_| unreadable(&self.name, &self.native))?;
                Value::Bytes(scratch.text.as_bytes())
            }
            (Logical::Json, Value::Changed(before, changes)) => {
                scratch.text.clear();
                let written = write_changed_json(before, changes, &mut scratch.text);
                written.map_err(|_| unreadable(&self.name, &self.native))?;
                Value::Bytes(scratch.text.as_bytes())
            }
            (_, Value::Changes(_)) => return Err(self.is_in_part()),
            (Logical::Text { .. }, Value::Bytes(bytes)) if ADDRESSES.contains(&self.native.data_type.as_str()) => {
                self.address(bytes, scratch)?
            }
            (Logical::Text { .. }, Value::Bytes(bytes)) => {
                let charset = self.charset.as_ref();
                let charset = charset.ok_or_else(|| Problem::internal("A text has no character set."))?;
                let text = charset.decode(bytes, &mut scratch.text);
                Value::Bytes(text.ok_or_else(|| unreadable(&self.name, &self.native))?)
            }
            (_, value) => value,
        };
        encoding::push(batch, logical, value)
    }

    /// Zeros at its end are not in the log.
    fn address<'a>(&self, bytes: &[u8], scratch: &'a mut Scratch) -> Result<Value<'a>, Problem> {
        let Scratch { text, bytes: whole, .. } = scratch;
        let length = if self.native.data_type == "inet4" { 4 } else { 16 };
        filled(bytes, length, whole);
        text.clear();
        if address::write(whole, text) {
            Ok(Value::Bytes(text.as_bytes()))
        } else {
            Err(unreadable(&self.name, &self.native))
        }
    }

    /// What changed is of no use without what was before.
    fn is_in_part(&self) -> Problem {
        let text = format!(
            "The log has only what changed in column {}, and not what it was before (binlog_row_value_options is PARTIAL_JSON, \
             and binlog_row_image is not FULL).",
            self.name
        );
        Problem::new(Fault::Data, "row-incomplete", text).advice(
            "SET GLOBAL binlog_row_image = FULL, or binlog_row_value_options = '', at the source, let its sessions connect anew, \
             and reload the table.",
        )
    }

    /// The number that the same bits are without a sign.
    fn without_sign(&self, number: i64) -> u64 {
        let bits = match self.native.data_type.as_str() {
            "tinyint" => 8,
            "smallint" => 16,
            "mediumint" => 24,
            "int" => 32,
            _ => 64,
        };
        number.cast_unsigned() & u64::MAX >> (64 - bits)
    }
}

fn decimal<'a>(packed: Packed<'_>, out: &'a mut Vec<u8>) -> Result<Value<'a>, Problem> {
    out.clear();
    if packed.write(out) {
        return Ok(Value::Bytes(out));
    }
    Err(Problem::new(Fault::Data, "value-unreadable", "A decimal in the log is none."))
}

/// Bytes of a fixed length: zeros at their end are not in the log.
fn filled<'a>(bytes: &[u8], length: usize, out: &'a mut Vec<u8>) -> Value<'a> {
    out.clear();
    out.extend_from_slice(bytes);
    out.resize(length.max(bytes.len()), 0);
    Value::Bytes(out)
}

fn label(labels: &[String], number: u16) -> Result<Value<'_>, Problem> {
    match number.checked_sub(1) {
        None => Ok(Value::Bytes(b"")),
        Some(at) => labels.get(usize::from(at)).map(|label| Value::Bytes(label.as_bytes())).ok_or_else(unknown_label),
    }
}

fn unknown_label() -> Problem {
    Problem::new(Fault::Data, "label-unknown", "The log has a label that the type does not have now.")
        .advice("The type was altered; reload the table.")
}

fn members_of<'a>(labels: &[String], members: u64, out: &'a mut String) -> Result<Value<'a>, Problem> {
    out.clear();
    for at in (0..64).filter(|at| members & 1 << at != 0) {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(labels.get(at).ok_or_else(unknown_label)?);
    }
    Ok(Value::Bytes(out.as_bytes()))
}
