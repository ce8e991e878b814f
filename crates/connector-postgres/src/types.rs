//! Each type of this server: the word that it travels as to another system, and how well that says it. The mapping of types of
//! this source is this table and nothing else; `docs/FIDELITY.md` is generated from it.

use serde_json::json;
use wavemark_connector::fidelity::Grade::{self, Exact, Refused, Text, Widened};
use wavemark_connector::fidelity::{Given, Odd};
use wavemark_domain::{Column, Logical};

use crate::native::{TypeCategory, TypeRef};

/// The most bytes of a name, and of a label of an enum (`NAMEDATALEN` without the byte that ends it).
const NAME: u32 = 63;
/// Bytes that the server counts with a length: its modifier is so much more.
const HEADER: i32 = 4;
/// Digits of a moment or a time of day where none are declared.
const DIGITS: u8 = 6;

/// Which types a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// One of the server's own, by its name in the catalog.
    Own(&'static str),
    /// All that are made so.
    Made(TypeCategory),
    /// All others.
    Others,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    of: Of,
    /// An example, as the server writes it.
    pub(crate) declared: &'static str,
    /// The example's modifier.
    modifier: i32,
    /// By the modifier.
    word: fn(i32) -> Logical,
    grade: Grade,
    has: &'static [Odd],
    remark: &'static str,
}

const fn row(
    (of, declared, modifier): (Of, &'static str, i32),
    word: fn(i32) -> Logical,
    grade: Grade,
    has: &'static [Odd],
    remark: &'static str,
) -> Row {
    Row { of, declared, modifier, word, grade, has, remark }
}

const fn plain(name: &'static str, declared: &'static str) -> (Of, &'static str, i32) {
    (Of::Own(name), declared, -1)
}

const fn with(name: &'static str, declared: &'static str, modifier: i32) -> (Of, &'static str, i32) {
    (Of::Own(name), declared, modifier)
}

const fn made(category: TypeCategory, declared: &'static str) -> (Of, &'static str, i32) {
    (Of::Made(category), declared, -1)
}

/// The modifier of a `numeric`.
const fn digits_of(precision: i32, scale: i32) -> i32 {
    (precision << 16 | scale & 0x7FF) + HEADER
}

const DAYS: &[Odd] = &[Odd::InfiniteDay, Odd::FarYear];
const FLOATS: &[Odd] = &[Odd::NotANumber, Odd::InfiniteNumber, Odd::NegativeZero];
const NUMERICS: &[Odd] = &[Odd::NotANumber, Odd::InfiniteNumber, Odd::ManyDigits];
const DOCUMENTS: &[Odd] = &[Odd::WideNumber, Odd::DeepJson];
const FLOAT: &str = "the bits themselves; every `NaN` is the same one";
const WRITTEN: &str = "as the server writes it";

/// Rows of one type differ in their examples alone.
#[rustfmt::skip]
pub(crate) const TYPES: &[Row] = &[
    row(plain("bool", "boolean"),                |_| Logical::Boolean, Exact,   &[],       ""),
    row(plain("int2", "smallint"),               |_| Logical::Int16,   Exact,   &[],       ""),
    row(plain("int4", "integer"),                |_| Logical::Int32,   Exact,   &[],       ""),
    row(plain("int8", "bigint"),                 |_| Logical::Int64,   Exact,   &[],       ""),
    row(plain("oid", "oid"),                     |_| Logical::Int64,   Widened, &[],       ""),
    row(with("numeric", "numeric(12,4)", digits_of(12, 4)), decimal,   Exact,   &[Odd::NotANumber], ""),
    row(with("numeric", "numeric(70,4)", digits_of(70, 4)), decimal,   Exact,   &[Odd::NotANumber], ""),
    row(with("numeric", "numeric(3,-2)", digits_of(3, -2)), decimal,   Widened, &[Odd::NotANumber], "with as many digits as it can have"),
    row(plain("numeric", "numeric"),             decimal,              Exact,   NUMERICS,  "any number of digits"),
    row(plain("float4", "real"),                 |_| Logical::Float32, Exact,   FLOATS,    FLOAT),
    row(plain("float8", "double precision"),     |_| Logical::Float64, Exact,   FLOATS,    FLOAT),
    row(plain("text", "text"),                   unlimited,            Exact,   &[],       ""),
    row(with("varchar", "character varying(20)", 24), sized,           Exact,   &[],       ""),
    row(plain("varchar", "character varying"),   sized,                Exact,   &[],       ""),
    row(with("bpchar", "character(5)", 9),       sized,                Widened, &[],       "with its blanks at the end, as the server gives it"),
    row(plain("name", "name"),                   |_| up_to(NAME),      Widened, &[],       "63 bytes at most"),
    row(plain("bytea", "bytea"),                 |_| Logical::Bytes,   Exact,   &[],       ""),
    row(plain("date", "date"),                   |_| Logical::Date,    Exact,   DAYS,      ""),
    row(with("time", "time(3) without time zone", 3), time,            Exact,   &[],       "also `24:00:00`"),
    row(with("timestamp", "timestamp(3) without time zone", 3), timestamp, Exact, DAYS,    ""),
    row(with("timestamptz", "timestamp(3) with time zone", 3), instant, Exact,  DAYS,      ""),
    row(plain("uuid", "uuid"),                   |_| Logical::Uuid,    Exact,   &[],       ""),
    row(plain("jsonb", "jsonb"),                 |_| Logical::Json,    Exact,   DOCUMENTS, "as the server writes it, numbers with all of their digits"),
    row(with("bit", "bit(10)", 10),              bits,                 Exact,   &[],       ""),
    row(with("bit", "bit(100)", 100),            bits,                 Exact,   &[],       ""),
    row(with("bit", "bit(70000)", 70_000),       bits,                 Text,    &[],       "its digits, from 65,536 bits on"),
    row(plain("varbit", "bit varying"),          unlimited,            Text,    &[],       "its digits"),
    row(plain("json", "json"),                   unlimited,            Text,    &[],       "to the last blank, with keys that come twice"),
    row(plain("xml", "xml"),                     unlimited,            Text,    &[],       WRITTEN),
    row(plain("interval", "interval"),           unlimited,            Text,    &[],       WRITTEN),
    row(plain("timetz", "time with time zone"),  unlimited,            Text,    &[],       WRITTEN),
    row(plain("money", "money"),                 unlimited,            Text,    &[],       "as `lc_monetary` of the database or the role has it"),
    row(plain("inet", "inet"),                   |_| up_to(49),        Text,    &[],       "as the server writes it, in as many characters as it can have"),
    row(plain("cidr", "cidr"),                   |_| up_to(49),        Text,    &[],       "as the server writes it, in as many characters as it can have"),
    row(plain("macaddr", "macaddr"),             |_| up_to(17),        Text,    &[],       "as the server writes it, in as many characters as it can have"),
    row(plain("macaddr8", "macaddr8"),           |_| up_to(23),        Text,    &[],       "as the server writes it, in as many characters as it can have"),
    row(plain("pg_lsn", "pg_lsn"),               |_| up_to(17),        Text,    &[],       "as the server writes it, in as many characters as it can have"),
    row(plain("char", "\"char\""),               unlimited,            Text,    &[],       WRITTEN),
    row(plain("refcursor", "refcursor"),         unlimited,            Text,    &[],       WRITTEN),
    row(plain("xid", "xid"),                     unlimited,            Text,    &[],       WRITTEN),
    row(plain("xid8", "xid8"),                   unlimited,            Text,    &[],       WRITTEN),
    row(plain("cid", "cid"),                     unlimited,            Text,    &[],       WRITTEN),
    row(plain("tid", "tid"),                     unlimited,            Text,    &[],       WRITTEN),
    row(plain("pg_snapshot", "pg_snapshot"),     unlimited,            Text,    &[],       WRITTEN),
    row(plain("txid_snapshot", "txid_snapshot"), unlimited,            Text,    &[],       WRITTEN),
    row(plain("int2vector", "int2vector"),       unlimited,            Text,    &[],       WRITTEN),
    row(plain("oidvector", "oidvector"),         unlimited,            Text,    &[],       WRITTEN),
    row(plain("point", "point"),                 unlimited,            Text,    &[],       WRITTEN),
    row(plain("line", "line"),                   unlimited,            Text,    &[],       WRITTEN),
    row(plain("lseg", "lseg"),                   unlimited,            Text,    &[],       WRITTEN),
    row(plain("box", "box"),                     unlimited,            Text,    &[],       WRITTEN),
    row(plain("path", "path"),                   unlimited,            Text,    &[],       WRITTEN),
    row(plain("polygon", "polygon"),             unlimited,            Text,    &[],       WRITTEN),
    row(plain("circle", "circle"),               unlimited,            Text,    &[],       WRITTEN),
    row(plain("tsvector", "tsvector"),           unlimited,            Text,    &[],       WRITTEN),
    row(plain("tsquery", "tsquery"),             unlimited,            Text,    &[],       WRITTEN),
    row(plain("jsonpath", "jsonpath"),           unlimited,            Text,    &[],       WRITTEN),
    row(made(TypeCategory::Array, "integer[]"),  unlimited,            Text,    &[],       WRITTEN),
    row(made(TypeCategory::Range, "int4range"),  unlimited,            Text,    &[],       WRITTEN),
    row(made(TypeCategory::Multirange, "int4multirange"), unlimited,   Text,    &[],       WRITTEN),
    row(made(TypeCategory::Composite, "a composite type"), unlimited,  Text,    &[],       WRITTEN),
    // Between two systems the label is a text: labels that are added come with the rows that have them, of which nothing
    // but the row tells, so that a column with only those of then would have no place for it. (One that is renamed ends
    // its tables, see `source/made_of.rs`.)
    row(made(TypeCategory::Enum, "an enum"),     |_| up_to(NAME),      Text,    &[],       "the label: one that is added comes with the rows that have it, one that is renamed ends its tables"),
    row((Of::Others, "every other type, as `citext`, `hstore` and `ltree`", -1), unlimited, Text, &[], WRITTEN),
];

/// What has no word, for its text says something else whenever other objects get other names: types of the server by the
/// beginning of their name, with an example.
pub(crate) const NAMES_OBJECTS: &[(&str, &str)] = &[("reg", "regclass"), ("aclitem", "aclitem")];

fn unlimited(_: i32) -> Logical {
    Logical::Text { length: None }
}

/// Texts that are never longer.
fn up_to(length: u32) -> Logical {
    Logical::Text { length: Some(length) }
}

fn sized(modifier: i32) -> Logical {
    Logical::Text { length: u32::try_from(modifier - HEADER).ok() }
}

fn digits(modifier: i32) -> u8 {
    u8::try_from(modifier).unwrap_or(DIGITS)
}

fn time(modifier: i32) -> Logical {
    Logical::Time { digits: digits(modifier) }
}

fn timestamp(modifier: i32) -> Logical {
    Logical::Timestamp { digits: digits(modifier) }
}

fn instant(modifier: i32) -> Logical {
    Logical::Instant { digits: digits(modifier) }
}

fn bits(modifier: i32) -> Logical {
    u16::try_from(modifier).map_or(Logical::Text { length: None }, |length| Logical::Bits { length })
}

/// The modifier has the precision in its upper half, and in eleven bits the scale, which can be below 0 or above the
/// precision: then there are more digits than the precision says.
fn decimal(modifier: i32) -> Logical {
    if modifier < HEADER {
        return Logical::Decimal { precision: None, scale: None };
    }
    let (precision, scale) = ((modifier - HEADER) >> 16, ((modifier - HEADER) & 0x7FF ^ 0x400) - 0x400);
    let scale_shown = scale.max(0);
    let digits = if scale < 0 { precision - scale } else { precision.max(scale) };
    let number = |value: i32| u16::try_from(value).ok();
    Logical::Decimal { precision: number(digits), scale: number(scale_shown) }
}

/// What a type that is no domain holds.
pub(crate) fn word(of: &TypeRef, modifier: i32) -> Logical {
    let row = TYPES.iter().find(|row| row.of.is(of)).or_else(|| TYPES.iter().find(|row| row.of == Of::Others));
    row.map_or(Logical::Text { length: None }, |row| (row.word)(modifier))
}

impl Of {
    fn is(self, found: &TypeRef) -> bool {
        match self {
            Self::Own(name) => {
                found.category == TypeCategory::Base && found.name.schema == "pg_catalog" && found.name.name == name
            }
            Self::Made(category) => found.category == category,
            Self::Others => false,
        }
    }

    /// A type that it is of, as the catalog's JSON tells it.
    fn example(self) -> serde_json::Value {
        let (schema, name, category) = match self {
            Self::Own(name) => ("pg_catalog", name, TypeCategory::Base),
            Self::Made(category) => ("public", "made", category),
            Self::Others => ("public", "other", TypeCategory::Base),
        };
        json!({"oid": 0, "schema": schema, "name": name, "category": category, "has_binary": true})
    }
}

fn column(of: Of, declared: &str, modifier: i32) -> Column {
    let native = json!({"attnum": 1, "type": of.example(), "type_modifier": modifier});
    Column { name: "c".to_owned(), declared: declared.to_owned(), not_null: false, generated: false, native }
}

/// The table for docs, with what is refused behind it.
pub(crate) fn given() -> Vec<Given> {
    let of = |row: &Row| Given {
        name: row.declared.to_owned(),
        column: column(row.of, row.declared, row.modifier),
        grade: row.grade,
        has: row.has,
        remark: row.remark,
    };
    let refused = |(_, declared): &(&str, &'static str)| Given {
        name: (*declared).to_owned(),
        column: column(Of::Own(declared), declared, -1),
        grade: Refused,
        has: &[],
        remark: "its text has names of objects or roles, which can be renamed: leave it out with a `remove-column` rule",
    };
    TYPES.iter().map(of).chain(NAMES_OBJECTS.iter().map(refused)).collect()
}
