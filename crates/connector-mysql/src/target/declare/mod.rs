//! Tables of other systems in this family's words.
//!
//! The whole mapping of types stands in [`of`], how well they say it in `held`; how values get into these types is `values`'. A
//! text of another system says no collation here: `create` makes of that one that compares byte by byte, which each server
//! calls otherwise. `keys` has what rows are told apart and found by, `rows` how much of its texts a row holds itself.

mod defaults;
mod held;
mod keys;
mod names;
mod rows;

use serde_json::json;
use wavemark_domain::extras::ColumnExtras;
use wavemark_domain::{Column, Encoding, Extras, Logical, Table};

pub(crate) use self::held::word;
use self::keys::Shares;
use crate::encoding;
use crate::native::{ColumnNative, TableNative};

/// The most digits of a decimal, and of those the most behind the point that both systems have.
const DIGITS: u16 = 65;
const SCALE: u16 = 30;
/// The most characters of a label: of MySQL's own; PostgreSQL's are shorter.
const LABEL: u32 = 255;
/// The bytes of a character of `utf8mb4`.
const CHARACTER: u32 = 4;
/// The most characters of `longtext`, and bytes of `longblob`.
const LONG: u32 = u32::MAX;

/// The encodings that are taken for a column, whose table may be another system's.
pub(crate) fn accepts(column: &Column, logical: Option<&Logical>) -> Vec<Encoding> {
    let own = || encoding::logical(column);
    logical.cloned().or_else(own).map(|logical| logical.encoding()).into_iter().collect()
}

/// How much a text or bytes may be in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// So many bytes: rows are told apart by it.
    Share(u32),
    /// What its type says.
    Own,
    /// Nothing: it lies elsewhere.
    Elsewhere,
}

/// A type of ours.
struct Own {
    declared: String,
    native: ColumnNative,
}

fn own(declared: impl Into<String>, native: ColumnNative) -> Own {
    let declared = declared.into();
    let end = declared.find(['(', ' ']).unwrap_or(declared.len());
    Own { native: ColumnNative { data_type: declared[..end].to_owned(), ..native }, declared }
}

/// The type for what a column of another system holds where nothing makes it shorter, as the server writes it.
#[cfg(test)]
pub(crate) fn declared(logical: &Logical) -> String {
    of(logical, Room::Own).declared
}

/// The type that holds what a column of another system holds, as the server writes it.
fn of(logical: &Logical, room: Room) -> Own {
    let plain = ColumnNative::default;
    let moment = |name: &str, digits: u8| match digits.min(6) {
        0 => own(name, plain()),
        digits => own(format!("{name}({digits})"), ColumnNative { digits, ..plain() }),
    };
    match logical {
        Logical::Boolean => own("tinyint(1)", plain()),
        Logical::Int16 => own("smallint", plain()),
        Logical::Int32 => own("int", plain()),
        Logical::Int64 => own("bigint", plain()),
        Logical::Uint64 => own("bigint unsigned", ColumnNative { unsigned: true, ..plain() }),
        Logical::Decimal { precision: None, .. } => decimal(DIGITS, SCALE),
        Logical::Decimal { precision: Some(precision @ 1..=DIGITS), scale }
            if scale.unwrap_or(0) <= SCALE.min(*precision) =>
        {
            decimal(*precision, scale.unwrap_or(0))
        }
        Logical::Float32 => own("float", plain()),
        Logical::Float64 => own("double", plain()),
        Logical::Text { length } => text(*length, room),
        // An enum of the same labels would have to be altered with the source's, at the right place in the log.
        Logical::Enum { .. } => text(Some(LABEL), room),
        // A decimal that gets here has more digits than there are.
        Logical::Set { .. } | Logical::Decimal { .. } => text(None, room),
        Logical::Date => own("date", plain()),
        Logical::Time { digits } => moment("time", *digits),
        Logical::Timestamp { digits } => moment("datetime", *digits),
        // A `timestamp` ends in 2038.
        Logical::Instant { digits } => {
            let Own { declared, native } = moment("datetime", *digits);
            Own { declared, native: ColumnNative { in_utc: true, ..native } }
        }
        // MariaDB's `uuid` is not MySQL's, and which of the two the target is nobody has told.
        Logical::Uuid => {
            let (charset, collation) = (Some("ascii".to_owned()), Some("ascii_bin".to_owned()));
            own("char(36)", ColumnNative { length: Some(36), charset, collation, ..plain() })
        }
        Logical::Json => own("json", plain()),
        Logical::Bits { length: length @ 1..=64 } => {
            own(format!("bit({length})"), ColumnNative { precision: Some(*length), ..plain() })
        }
        Logical::Bytes | Logical::Bits { .. } => bytes(room),
    }
}

fn decimal(precision: u16, scale: u16) -> Own {
    let native = ColumnNative { precision: Some(precision), scale: Some(scale), ..ColumnNative::default() };
    own(format!("decimal({precision},{scale})"), native)
}

/// A text that is compared byte by byte.
fn text(length: Option<u32>, room: Room) -> Own {
    let of = |declared: String, length| {
        let charset = Some("utf8mb4".to_owned());
        own(declared, ColumnNative { length: Some(length), charset, ..ColumnNative::default() })
    };
    match (length.filter(|length| *length > 0), room) {
        (length, Room::Share(share)) => {
            let most = length.unwrap_or(LONG).min(share / CHARACTER);
            of(format!("varchar({most})"), most)
        }
        (Some(length @ ..=rows::LONGEST), Room::Own) => of(format!("varchar({length})"), length),
        _ => of("longtext".to_owned(), LONG),
    }
}

fn bytes(room: Room) -> Own {
    match room {
        Room::Share(most) => {
            own(format!("varbinary({most})"), ColumnNative { length: Some(most), ..ColumnNative::default() })
        }
        _ => own("longblob", ColumnNative { length: Some(LONG), ..ColumnNative::default() }),
    }
}

/// A table of another system as it is made here. What its system computes is no column here, so nothing hangs on it.
pub(crate) fn table(source: &Table, logical: &[Option<Logical>], extras: &Extras) -> Table {
    let native = TableNative {
        indexes: keys::indexes(source, logical, extras),
        foreign_keys: keys::foreign_keys(source, logical, extras),
        comment: extras.comment.clone(),
        ..TableNative::default()
    };
    let shares = Shares::of(source, logical, &native);
    let rooms = rows::rooms(source, logical, &shares);
    let counting = keys::counting(source, logical, extras);
    let nothing = ColumnExtras::default();
    let column = |(at, one): (usize, &Column)| {
        let Some(logical) = logical.get(at).and_then(Option::as_ref) else {
            return Column { native: serde_json::Value::Null, ..one.clone() };
        };
        let extras = extras.columns.get(at).filter(|_| !one.generated).unwrap_or(&nothing);
        let Own { declared, native } = of(logical, rooms[at]);
        let default = extras.default.as_ref().and_then(|default| defaults::of(default, logical, &native));
        let auto_increment = counting == Some(at);
        let native = ColumnNative { default, auto_increment, comment: extras.comment.clone(), ..native };
        Column { declared, native: json!(native), ..one.clone() }
    };
    let columns = source.columns.iter().enumerate().map(column).collect();
    Table { columns, native: json!(native), ..source.clone() }
}

#[cfg(test)]
mod tests;
