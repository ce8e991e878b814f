//! Tables of other systems in this system's words.
//!
//! The whole mapping of types stands in [`of`]; how values get into these types is `canonical`'s.

use serde_json::json;
use wavemark_domain::{Column, Logical, Table};

use crate::native::{ColumnNative, Key, Qualified, TableNative, TypeCategory, TypeRef};

/// The longest `character varying`; a longer one is `text`.
const LONGEST: u32 = 10_485_760;

/// How a type of ours is written and found.
struct Own {
    declared: String,
    oid: u32,
    name: &'static str,
}

fn own(declared: impl Into<String>, oid: u32, name: &'static str) -> Own {
    Own { declared: declared.into(), oid, name }
}

/// The type that holds what a column of another system holds, as the server writes it.
fn of(logical: &Logical) -> Own {
    let digits = |name: &str, rest: &str, digits: u8| match digits {
        6.. => format!("{name} {rest}"),
        _ => format!("{name}({digits}) {rest}"),
    };
    match logical {
        Logical::Boolean => own("boolean", 16, "bool"),
        Logical::Int16 => own("smallint", 21, "int2"),
        Logical::Int32 => own("integer", 23, "int4"),
        Logical::Int64 => own("bigint", 20, "int8"),
        Logical::Uint64 => own("numeric(20,0)", 1700, "numeric"),
        Logical::Decimal { precision: Some(precision), scale } => {
            own(format!("numeric({precision},{})", scale.unwrap_or(0)), 1700, "numeric")
        }
        Logical::Decimal { precision: None, .. } => own("numeric", 1700, "numeric"),
        Logical::Float32 => own("real", 700, "float4"),
        Logical::Float64 => own("double precision", 701, "float8"),
        Logical::Text { length: Some(length @ 1..=LONGEST) } => {
            own(format!("character varying({length})"), 1043, "varchar")
        }
        // An enum of the same labels would have to be altered with the source's, at the right place in the log.
        Logical::Text { .. } | Logical::Enum { .. } | Logical::Set { .. } => own("text", 25, "text"),
        Logical::Bytes => own("bytea", 17, "bytea"),
        Logical::Date => own("date", 1082, "date"),
        Logical::Time { digits: of } => own(digits("time", "without time zone", *of), 1083, "time"),
        Logical::Timestamp { digits: of } => own(digits("timestamp", "without time zone", *of), 1114, "timestamp"),
        Logical::Instant { digits: of } => own(digits("timestamp", "with time zone", *of), 1184, "timestamptz"),
        Logical::Uuid => own("uuid", 2950, "uuid"),
        Logical::Json => own("jsonb", 3802, "jsonb"),
        Logical::Bits { length } => own(format!("bit({length})"), 1560, "bit"),
    }
}

/// A table of another system as it is made here.
pub(crate) fn table(source: &Table, logical: &[Option<Logical>]) -> Table {
    let columns: Vec<Column> = source
        .columns
        .iter()
        .zip(logical)
        .enumerate()
        .map(|(at, (one, logical))| column(at, one, logical.as_ref()))
        .collect();
    let key = (!source.key.is_empty()).then(|| Key {
        name: format!("{}_pkey", source.name.table.chars().take(40).collect::<String>()),
        columns: source.key.clone(),
        included: Vec::new(),
        deferrable: false,
        deferred: false,
        nulls_not_distinct: false,
    });
    let native = TableNative { relkind: "r".to_owned(), primary_key: key, ..TableNative::default() };
    Table { columns, native: json!(native), ..source.clone() }
}

fn column(at: usize, source: &Column, logical: Option<&Logical>) -> Column {
    let Some(logical) = logical else {
        return Column { native: serde_json::Value::Null, ..source.clone() };
    };
    let own = of(logical);
    let r#type = TypeRef {
        oid: own.oid,
        name: Qualified { schema: "pg_catalog".to_owned(), name: own.name.to_owned() },
        category: TypeCategory::Base,
        has_binary: true,
        inner: None,
        attributes: Vec::new(),
        numbers: Vec::new(),
        labels: Vec::new(),
    };
    let native = ColumnNative {
        attnum: i16::try_from(at + 1).unwrap_or(i16::MAX),
        r#type,
        type_modifier: -1,
        collation: None,
        identity: None,
        default: None,
        generated: None,
        is_virtual: false,
        comment: None,
    };
    Column { declared: own.declared, native: json!(native), ..source.clone() }
}
