//! Each type of these servers: the word that it travels as, and how well that says it. The mapping of types of this source is
//! this table and nothing else; `docs/FIDELITY.md` is generated from it.

use serde_json::json;
use wavemark_connector::fidelity::Grade::{self, Exact, Text, Widened};
use wavemark_connector::fidelity::{Given, Odd};
use wavemark_domain::{Column, Logical};

use crate::defaults::Dialect;
use crate::log;
use crate::native::ColumnNative;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// An example, as the server writes it.
    pub(crate) declared: &'static str,
    word: fn(&ColumnNative) -> Logical,
    grade: Grade,
    has: &'static [Odd],
    remark: &'static str,
}

const fn row(
    declared: &'static str,
    word: fn(&ColumnNative) -> Logical,
    grade: Grade,
    has: &'static [Odd],
    remark: &'static str,
) -> Row {
    Row { declared, word, grade, has, remark }
}

const DAYS: &[Odd] = &[Odd::ZeroDay, Odd::ImpossibleDay];
const TEXTS: &[Odd] = &[Odd::ZeroCharacter];
const FLOATS: &[Odd] = &[Odd::NegativeZero];
const SHAPE: &str = "as bytes: four with the number of the reference system, the lowest first, then the well-known binary, \
    which is what the server itself keeps";

/// Of two rows of one type, the one without a sign is that of its `unsigned`.
#[rustfmt::skip]
pub(crate) const TYPES: &[Row] = &[
    row("tinyint",                |_| Logical::Int16,   Widened, &[],    "also `tinyint(1)`, which holds more than true and false"),
    row("tinyint unsigned",       |_| Logical::Int16,   Widened, &[],    ""),
    row("smallint",               |_| Logical::Int16,   Exact,   &[],    ""),
    row("smallint unsigned",      |_| Logical::Int32,   Widened, &[],    ""),
    row("mediumint",              |_| Logical::Int32,   Widened, &[],    ""),
    row("mediumint unsigned",     |_| Logical::Int32,   Widened, &[],    ""),
    row("int",                    |_| Logical::Int32,   Exact,   &[],    ""),
    row("int unsigned",           |_| Logical::Int64,   Widened, &[],    ""),
    row("bigint",                 |_| Logical::Int64,   Exact,   &[],    ""),
    row("bigint unsigned",        |_| Logical::Uint64,  Exact,   &[],    ""),
    row("year",                   |_| Logical::Int16,   Widened, &[],    "the number, also 0"),
    row("decimal(10,2)",          decimal,              Exact,   &[],    "all 65 digits; `zerofill` is how it is shown, not what it is"),
    row("decimal(10,2) unsigned", decimal,              Widened, &[],    ""),
    row("float",                  |_| Logical::Float32, Exact,   FLOATS, "the bits themselves, in the load and by the log"),
    row("float unsigned",         |_| Logical::Float32, Widened, FLOATS, ""),
    row("double",                 |_| Logical::Float64, Exact,   FLOATS, "the bits themselves"),
    row("double unsigned",        |_| Logical::Float64, Widened, FLOATS, ""),
    row("bit(10)",                bits,                 Exact,   &[],    ""),
    row("char(20)",               text,                 Widened, TEXTS,  "blanks at the end are not part of it, as the server has it"),
    row("varchar(20)",            text,                 Exact,   TEXTS,  ""),
    row("tinytext",               long_text,            Widened, TEXTS,  ""),
    row("text",                   long_text,            Widened, TEXTS,  ""),
    row("mediumtext",             long_text,            Widened, TEXTS,  ""),
    row("longtext",               long_text,            Exact,   TEXTS,  "MariaDB's `json` is one"),
    row("binary(16)",             |_| Logical::Bytes,   Widened, &[],    ""),
    row("varbinary(20)",          |_| Logical::Bytes,   Widened, &[],    ""),
    row("tinyblob",               |_| Logical::Bytes,   Widened, &[],    ""),
    row("blob",                   |_| Logical::Bytes,   Widened, &[],    ""),
    row("mediumblob",             |_| Logical::Bytes,   Widened, &[],    ""),
    row("longblob",               |_| Logical::Bytes,   Exact,   &[],    ""),
    row("date",                   |_| Logical::Date,    Exact,   DAYS,   ""),
    row("time(3)",                time,                 Exact,   &[Odd::LongTime], ""),
    row("datetime(3)",            timestamp,            Exact,   DAYS,   ""),
    row("timestamp(3)",           instant,              Widened, &[Odd::ZeroDay], "in UTC"),
    row("enum('a','b')",          labels,               Exact,   TEXTS,  "the label; the empty text for a value that is none"),
    row("set('a','b')",           set,                  Exact,   TEXTS,  "the labels with commas between, in the type's order"),
    row("json",                   |_| Logical::Json,    Exact,   TEXTS,  "MySQL's"),
    row("uuid",                   |_| Logical::Uuid,    Exact,   &[],    "MariaDB's"),
    row("inet4",                  long_text,            Text,    &[],    "MariaDB's; as the server writes it"),
    row("inet6",                  long_text,            Text,    &[],    "MariaDB's; as the server writes it"),
    row("geometry",               |_| Logical::Bytes,   Text,    &[],    SHAPE),
    row("point",                  |_| Logical::Bytes,   Text,    &[],    SHAPE),
    row("linestring",             |_| Logical::Bytes,   Text,    &[],    SHAPE),
    row("polygon",                |_| Logical::Bytes,   Text,    &[],    SHAPE),
    row("multipoint",             |_| Logical::Bytes,   Text,    &[],    SHAPE),
    row("multilinestring",        |_| Logical::Bytes,   Text,    &[],    SHAPE),
    row("multipolygon",           |_| Logical::Bytes,   Text,    &[],    SHAPE),
    row("geometrycollection",     |_| Logical::Bytes,   Text,    &[],    SHAPE),
    row("geomcollection",         |_| Logical::Bytes,   Text,    &[],    SHAPE),
    row("vector(3)",              |_| Logical::Bytes,   Text,    &[],    "as bytes: four for each number, the lowest first"),
];

fn decimal(native: &ColumnNative) -> Logical {
    Logical::Decimal { precision: native.precision, scale: native.scale }
}

fn bits(native: &ColumnNative) -> Logical {
    Logical::Bits { length: native.precision.unwrap_or(1) }
}

fn text(native: &ColumnNative) -> Logical {
    text_of(native, native.length)
}

fn long_text(native: &ColumnNative) -> Logical {
    text_of(native, None)
}

/// Without a character set it is bytes, whatever it is called. An address has none, and is a text.
fn text_of(native: &ColumnNative, length: Option<u32>) -> Logical {
    let is_address = native.data_type.starts_with("inet");
    if native.charset.is_some() || is_address { Logical::Text { length } } else { Logical::Bytes }
}

fn time(native: &ColumnNative) -> Logical {
    Logical::Time { digits: native.digits }
}

fn timestamp(native: &ColumnNative) -> Logical {
    Logical::Timestamp { digits: native.digits }
}

fn instant(native: &ColumnNative) -> Logical {
    Logical::Instant { digits: native.digits }
}

fn labels(native: &ColumnNative) -> Logical {
    Logical::Enum { labels: native.labels.clone() }
}

fn set(native: &ColumnNative) -> Logical {
    Logical::Set { labels: native.labels.clone() }
}

/// What a column holds; `None` for a type that has no word.
pub(crate) fn logical(native: &ColumnNative) -> Option<Logical> {
    let of_type = |row: &&Row| data_type(row.declared) == native.data_type;
    let rows = || TYPES.iter().filter(of_type);
    let row = rows().find(|row| row.is_unsigned() == native.unsigned).or_else(|| rows().next())?;
    Some((row.word)(native))
}

impl Row {
    fn is_unsigned(&self) -> bool {
        self.declared.ends_with(" unsigned")
    }

    /// Whether servers of a system have a type.
    pub(crate) fn is_of(declared: &str, dialect: Dialect) -> bool {
        match data_type(declared) {
            "json" | "geomcollection" => dialect == Dialect::Mysql,
            "uuid" | "inet4" | "inet6" => dialect == Dialect::Mariadb,
            _ => true,
        }
    }

    /// A column of a type.
    pub(crate) fn example(declared: &str) -> Column {
        let native = log::type_of(declared).unwrap_or_default();
        let has_texts = native.data_type.ends_with("char")
            || native.data_type.ends_with("text")
            || matches!(native.data_type.as_str(), "enum" | "set");
        let charset = has_texts.then(|| "utf8mb4".to_owned());
        column(declared, &ColumnNative { charset, ..native })
    }
}

/// As `information_schema.columns` has it.
fn data_type(declared: &str) -> &str {
    declared.split(['(', ' ']).next().unwrap_or(declared)
}

fn column(declared: &str, native: &ColumnNative) -> Column {
    let native = json!(native);
    Column { name: "c".to_owned(), declared: declared.to_owned(), not_null: false, generated: false, native }
}

/// The table for docs, with what is refused behind it.
pub(crate) fn given() -> Vec<Given> {
    let of = |row: &Row| Given {
        name: row.declared.to_owned(),
        column: Row::example(row.declared),
        grade: row.grade,
        has: row.has,
        remark: row.remark,
    };
    let others = Given {
        name: "every other type".to_owned(),
        column: column("", &ColumnNative::default()),
        grade: Grade::Refused,
        has: &[],
        remark: "nobody here knows its values: leave it out with a `remove-column` rule",
    };
    TYPES.iter().map(of).chain([others]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_is_a_type_as_the_server_writes_it() {
        for row in TYPES {
            let native = ColumnNative::of(&Row::example(row.declared)).unwrap();
            assert_eq!(native.data_type, data_type(row.declared), "{}", row.declared);
            assert_eq!(native.unsigned, row.is_unsigned(), "{}", row.declared);
        }
    }

    /// What a type's own word is declared as here is that type, and of a type that is kept as bytes or text it is none.
    #[test]
    fn what_is_exact_comes_back_as_the_same_type() {
        for row in TYPES {
            let logical = (row.word)(&ColumnNative::of(&Row::example(row.declared)).unwrap());
            let back = crate::target::declared(&logical);
            // Which of the two systems it is nobody has told when a table is declared, and labels may come.
            let has_no_type = matches!(data_type(row.declared), "uuid" | "enum" | "set");
            assert_eq!(back == row.declared, row.grade == Exact && !has_no_type, "{}: {back}", row.declared);
        }
    }

    #[test]
    fn each_number_goes_where_all_of_its_values_fit() {
        let of = |name: &str, unsigned| {
            logical(&ColumnNative { data_type: name.to_owned(), unsigned, ..ColumnNative::default() })
        };
        for (name, signed, unsigned) in [
            ("tinyint", Logical::Int16, Logical::Int16),
            ("smallint", Logical::Int16, Logical::Int32),
            ("mediumint", Logical::Int32, Logical::Int32),
            ("int", Logical::Int32, Logical::Int64),
            ("bigint", Logical::Int64, Logical::Uint64),
            ("year", Logical::Int16, Logical::Int16),
            ("float", Logical::Float32, Logical::Float32),
        ] {
            assert_eq!(of(name, false), Some(signed), "{name}");
            assert_eq!(of(name, true), Some(unsigned), "{name}");
        }
        assert_eq!(of("geometry", false), Some(Logical::Bytes));
        assert_eq!(of("xmltype", false), None);
    }

    #[test]
    fn a_text_without_a_character_set_is_bytes() {
        let varchar = ColumnNative { data_type: "varchar".into(), length: Some(7), ..ColumnNative::default() };
        assert_eq!(logical(&varchar), Some(Logical::Bytes));
        let utf8 = ColumnNative { charset: Some("utf8mb4".into()), ..varchar };
        assert_eq!(logical(&utf8), Some(Logical::Text { length: Some(7) }));
        let address = ColumnNative { data_type: "inet6".into(), ..ColumnNative::default() };
        assert_eq!(logical(&address), Some(Logical::Text { length: None }));
    }
}
