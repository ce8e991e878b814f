//! Which rows of a table travel, as SQL: one condition for the publication, the load, rows fetched by key and comparisons.
//!
//! Both the log and the reads must decide about a row alike, whenever they do. So values are literals of the column's own
//! type, in forms that mean the same in every session and at every moment, and only types and operators of the server
//! itself are used, which is also what publications ask for.

use wavemark_domain::filter::{Condition, RowFilter};
use wavemark_domain::{Column, Fault, Problem, Table, TablePlan};

use super::names::{literal, quoted};
use crate::native::{ColumnNative, TableNative, TypeRef};
use crate::wire::quote_identifier;

/// The condition on the rows of a planned table; `None` if all travel.
pub(crate) fn condition(table: &TablePlan) -> Option<String> {
    let rows = table.rows.as_ref()?;
    let filters = rows.0.iter().map(|filter| {
        let column = table.source.columns.iter().find(|column| column.name == filter.column);
        let comparable = column.and_then(Comparable::of);
        let conditions: Vec<String> = filter.any.iter().map(|one| sql(&filter.column, comparable, one)).collect();
        format!("({})", conditions.join(" OR "))
    });
    Some(filters.collect::<Vec<_>>().join(" AND "))
}

fn sql(column: &str, comparable: Option<Comparable>, condition: &Condition) -> String {
    let name = quote_identifier(column);
    let value = |text: &String| comparable.map_or_else(|| literal(text), |comparable| comparable.literal(text));
    match condition {
        Condition::Equal(to) => format!("{name} = {}", value(to)),
        Condition::NotEqual(to) => format!("{name} <> {}", value(to)),
        Condition::AtLeast(least) => format!("{name} >= {}", value(least)),
        Condition::AtMost(most) => format!("{name} <= {}", value(most)),
        Condition::Between(from, to) => format!("({name} >= {} AND {name} <= {})", value(from), value(to)),
        Condition::NotBetween(from, to) => format!("({name} < {} OR {name} > {})", value(from), value(to)),
        Condition::Null => format!("{name} IS NULL"),
        Condition::NotNull => format!("{name} IS NOT NULL"),
    }
}

/// Why the rows of a table can't be limited so, if they can't.
pub(super) fn refuse(table: &Table, rows: &RowFilter, follows: bool) -> Option<Problem> {
    let refused = |why: String| {
        let text = format!("The rows of {} can't be filtered: {why}.", table.name);
        Problem::new(Fault::Data, "row-filter-refused", text).table(&table.name)
    };
    for filter in &rows.0 {
        // The plan was made of columns that are there.
        let column = table.columns.iter().find(|column| column.name == filter.column)?;
        let name = &column.name;
        if column.generated {
            return Some(refused(format!("column {name} is generated")));
        }
        let Some(comparable) = Comparable::of(column) else {
            let why = format!("column {name} has the type {}, by which rows can't be filtered", column.declared);
            return Some(refused(why).advice(TYPES));
        };
        if has_collation(column) {
            let why =
                format!("column {name} has a collation of its own, which the server doesn't take in a publication");
            return Some(refused(why));
        }
        for value in filter.any.iter().flat_map(Condition::values) {
            if !comparable.reads(value) {
                let why = format!("column {name} is compared with a text that is no {}", comparable.form());
                return Some(refused(why).advice("Write the filter's value in that form."));
            }
        }
    }
    follows.then(|| not_in_identity(table, rows)).flatten().map(|column| uncovered(table, column))
}

const TYPES: &str = "Filter by a column of type boolean, smallint, integer, bigint, numeric, real, double precision, text, \
    varchar, char, uuid, date, time, timestamp or timestamptz.";

/// The first column of a filter that the log's old rows don't have.
fn not_in_identity<'a>(table: &Table, rows: &'a RowFilter) -> Option<&'a str> {
    let native = TableNative::of(table).ok()?;
    if native.replica_identity == "f" {
        return None;
    }
    rows.columns().into_iter().find(|column| !table.key.iter().any(|key| key == column))
}

/// The server would refuse its users' own updates and deletes of a table whose filter looks at such a column.
pub(crate) fn uncovered(table: &Table, column: &str) -> Problem {
    let text = format!(
        "The rows of {} can't be filtered by {column} while it is followed: that column is not part of the replica identity, \
         so that the server would refuse every update and delete of the table.",
        table.name
    );
    Problem::new(Fault::Data, "row-filter-identity", text).table(&table.name).advice(format!(
        "ALTER TABLE {} REPLICA IDENTITY FULL; or choose a unique index that has the column, too: … REPLICA IDENTITY USING \
         INDEX …;",
        quoted(&table.name)
    ))
}

fn has_collation(column: &Column) -> bool {
    ColumnNative::of(column).ok().and_then(|native| native.collation).is_some_and(|name| name.schema != "pg_catalog")
}

/// A type by which rows are filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparable {
    Boolean,
    Whole(&'static str),
    Decimal,
    Float(&'static str),
    Text(&'static str),
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
}

impl Comparable {
    fn of(column: &Column) -> Option<Self> {
        let TypeRef { name, .. } = ColumnNative::of(column).ok()?.r#type;
        if name.schema != "pg_catalog" {
            return None;
        }
        Some(match name.name.as_str() {
            "bool" => Self::Boolean,
            "int2" => Self::Whole("int2"),
            "int4" => Self::Whole("int4"),
            "int8" => Self::Whole("int8"),
            "numeric" => Self::Decimal,
            "float4" => Self::Float("float4"),
            "float8" => Self::Float("float8"),
            // Without the column's length, which would cut the value.
            "text" | "varchar" => Self::Text("text"),
            "bpchar" => Self::Text("bpchar"),
            "uuid" => Self::Uuid,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::Timestamptz,
            _ => return None,
        })
    }

    fn literal(self, text: &str) -> String {
        format!("{}::pg_catalog.{}", literal(text), self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "bool",
            Self::Whole(name) | Self::Float(name) | Self::Text(name) => name,
            Self::Decimal => "numeric",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
        }
    }

    /// What a value must be, for people.
    fn form(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Whole(_) => "whole number in the column's range",
            Self::Decimal => "decimal number like -12.50",
            Self::Float(_) => "number like 1.5 or -2e10 in the column's range",
            Self::Text(_) => "text",
            Self::Uuid => "UUID like 123e4567-e89b-12d3-a456-426614174000",
            Self::Date => "date like 2026-03-08",
            Self::Time => "time like 23:59:59",
            Self::Timestamp => "date or date and time like 2026-03-08 12:00:00",
            Self::Timestamptz => {
                "date or date and time like 2026-03-08 12:00:00, perhaps with an offset like +02:00 (else UTC)"
            }
        }
    }

    /// Whether the server reads the text as one of the type, and always as the same.
    fn reads(self, text: &str) -> bool {
        match self {
            Self::Boolean => matches!(text, "true" | "false" | "t" | "f" | "0" | "1"),
            Self::Whole("int2") => is_whole(text) && text.parse::<i16>().is_ok(),
            Self::Whole("int4") => is_whole(text) && text.parse::<i32>().is_ok(),
            Self::Whole(_) => is_whole(text) && text.parse::<i64>().is_ok(),
            Self::Decimal => is_decimal(text),
            Self::Float("float4") => {
                is_float(text) && text.parse::<f32>().is_ok_and(|value| fits(value.is_finite(), value == 0.0, text))
            }
            Self::Float(_) => {
                is_float(text) && text.parse::<f64>().is_ok_and(|value| fits(value.is_finite(), value == 0.0, text))
            }
            Self::Text(_) => true,
            Self::Uuid => is_uuid(text),
            Self::Date => is_date(text),
            Self::Time => is_time(text),
            Self::Timestamp => is_timestamp(text),
            Self::Timestamptz => is_timestamp(without_offset(text)),
        }
    }
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Digits with at most one point; the server has 131,072 before it and 16,383 after it, and texts are far shorter.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    [whole, part].iter().all(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    is_decimal(mantissa) && is_whole(exponent.strip_prefix('+').unwrap_or(exponent))
}

/// The server refuses what overflows, and what is not zero and becomes it.
fn fits(is_finite: bool, is_zero: bool, text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    is_finite && (!is_zero || mantissa.bytes().all(|byte| !(b'1'..=b'9').contains(&byte)))
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// So many digits as a number.
fn number(text: &str, digits: usize) -> Option<u32> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    year > 0 && (1..=days).contains(&day)
}

fn is_time(text: &str) -> bool {
    let (time, part) = text.split_once('.').unwrap_or((text, "0"));
    let parts: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = parts[..] else { return false };
    let in_range = |text: &str, most: u32| number(text, 2).is_some_and(|number| number <= most);
    let is_part = (1..=6).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    in_range(hour, 23) && in_range(minute, 59) && in_range(second, 59) && is_part
}

fn is_timestamp(text: &str) -> bool {
    match text.split_once([' ', 'T']) {
        Some((date, time)) => is_date(date) && is_time(time),
        None => is_date(text),
    }
}

/// A time without its offset of at most 15 hours; the text itself if it has none.
fn without_offset(text: &str) -> &str {
    let Some(at) = text.find([' ', 'T']) else { return text };
    if let Some(utc) = text.strip_suffix('Z') {
        return utc;
    }
    let Some(sign) = text[at..].rfind(['+', '-']).map(|sign| at + sign) else { return text };
    let offset = &text[sign + 1..];
    let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "00"));
    let fits =
        number(hours, 2).is_some_and(|hours| hours < 15) && number(minutes, 2).is_some_and(|minutes| minutes < 60);
    if fits { &text[..sign] } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_columns_type_or_refused() {
        let read = |comparable: Comparable, good: &[&str], bad: &[&str]| {
            for text in good {
                assert!(comparable.reads(text), "{comparable:?} {text:?}");
            }
            for text in bad {
                assert!(!comparable.reads(text), "{comparable:?} {text:?}");
            }
        };
        read(Comparable::Boolean, &["true", "f", "1"], &["yes ", "", "TRUE'"]);
        read(Comparable::Whole("int2"), &["-32768", "0", "007"], &["32768", "1.0", "", "-", "+1", "1e3", "0x10", " 1"]);
        read(Comparable::Whole("int4"), &["2147483647"], &["2147483648"]);
        read(Comparable::Whole("int8"), &["-9223372036854775808"], &["9223372036854775808", "1_000"]);
        read(Comparable::Decimal, &["-12.50", "0", "99999999999999999999.9"], &["1e5", ".5", "5.", "NaN", "1,5"]);
        read(Comparable::Float("float4"), &["1.5", "-2e10", "0.0", "1E-5"], &["1e39", "1e-60", "NaN", "Infinity"]);
        read(Comparable::Float("float8"), &["1e39", "0e0"], &["1e400", "1e-400", "e5"]);
        read(Comparable::Text("text"), &["", "it's", "now"], &[]);
        read(Comparable::Uuid, &["123e4567-e89b-12d3-a456-426614174000"], &["123e4567e89b12d3a456426614174000", ""]);
        read(
            Comparable::Date,
            &["2024-02-29", "0001-01-01"],
            &["2023-02-29", "today", "now", "2024-1-1", "01-02-2024", "0000-01-01", "2024-13-01"],
        );
        read(
            Comparable::Time,
            &["23:59:59", "00:00:00.123456"],
            &["24:00:00", "allballs", "23:59", "00:00:00.1234567"],
        );
        read(
            Comparable::Timestamp,
            &["2026-03-08", "2026-03-08 12:00:00", "2026-03-08T12:00:00.5"],
            &["tomorrow", "2026-03-08 12:00:00Z", "infinity", "2026-03-08 12:00"],
        );
        read(
            Comparable::Timestamptz,
            &[
                "2026-03-08",
                "2026-03-08 12:00:00",
                "2026-03-08T12:00:00Z",
                "2026-03-08 12:00:00+02",
                "2026-03-08 12:00:00.5-09:30",
            ],
            &["now", "2026-03-08 12:00:00 Europe/Berlin", "2026-03-08+02", "2026-03-08 12:00:00+19:00"],
        );
    }
}
