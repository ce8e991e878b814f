//! Tables of other systems in this system's words.
//!
//! The whole mapping of types stands in [`of`], how well they say it in `held`; how values get into these types is
//! `canonical`'s. `keys` and `defaults` have what else there is.

mod defaults;
mod held;
mod keys;
mod names;

use serde_json::json;
use wavemark_domain::extras::ColumnExtras;
use wavemark_domain::{Column, Extras, Logical, Table};

pub(crate) use self::held::word;
use self::keys::Counter;
use self::names::Chosen;
use super::create::qualified;
use crate::native::{ColumnNative, Qualified, Sequence, TableNative, TypeCategory, TypeRef};

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

/// The type for what a column of another system holds, as the server writes it.
pub(super) fn declared(logical: &Logical) -> String {
    of(logical).declared
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

/// A table of another system as it is made here. What its system computes is no column here, so nothing hangs on it.
pub(crate) fn table(source: &Table, logical: &[Option<Logical>], extras: &Extras) -> Table {
    let mut chosen = Chosen::default();
    let name = source.name.table.as_str();
    let primary_key = (!source.key.is_empty()).then(|| keys::key(chosen.name(name, "", "pkey"), source.key.clone()));
    let is_there = |column: &str| source.column(column).is_some_and(|at| !source.columns[at].generated);
    let (uniques, indexes) = keys::indexes(name, &extras.indexes, is_there, &mut chosen);
    let foreign_keys = keys::foreign_keys(&extras.foreign_keys, is_there, &mut chosen);
    let mut sequences = Vec::new();
    let nothing = ColumnExtras::default();
    let mut columns = Vec::with_capacity(source.columns.len());
    for (at, (one, logical)) in source.columns.iter().zip(logical).enumerate() {
        let Some(logical) = logical else {
            columns.push(Column { native: serde_json::Value::Null, ..one.clone() });
            continue;
        };
        let own = extras.columns.get(at).filter(|_| !one.generated).unwrap_or(&nothing);
        let mut native = native(at, logical, own);
        match keys::counter(logical).filter(|_| own.counted) {
            Some(Counter::Identity(identity)) => native.identity = Some(identity),
            Some(Counter::Sequence) => {
                let sequence = keys::sequence(&source.name.schema, chosen.name(name, &one.name, "seq"), &one.name);
                native.default = Some(next_of(&sequence));
                sequences.push(sequence);
            }
            None => {}
        }
        columns.push(Column { declared: of(logical).declared, native: json!(native), ..one.clone() });
    }
    let native = TableNative {
        relkind: "r".to_owned(),
        primary_key,
        uniques,
        indexes,
        foreign_keys,
        sequences,
        comment: extras.comment.clone(),
        ..TableNative::default()
    };
    Table { columns, native: json!(native), ..source.clone() }
}

fn native(at: usize, logical: &Logical, extras: &ColumnExtras) -> ColumnNative {
    let own = of(logical);
    let r#type = TypeRef {
        oid: own.oid,
        name: Qualified { schema: "pg_catalog".to_owned(), name: own.name.to_owned() },
        category: TypeCategory::Base,
        has_binary: true,
        inner: None,
        modifier: None,
        attributes: Vec::new(),
        numbers: Vec::new(),
        labels: Vec::new(),
    };
    ColumnNative {
        attnum: i16::try_from(at + 1).unwrap_or(i16::MAX),
        r#type,
        type_modifier: -1,
        collation: None,
        identity: None,
        default: extras.default.as_ref().and_then(|default| defaults::of(default, logical)),
        generated: None,
        is_virtual: false,
        comment: extras.comment.clone(),
    }
}

/// The default of a column that a sequence counts for.
fn next_of(sequence: &Sequence) -> String {
    format!("nextval({}::regclass)", postgres_protocol::escape::escape_literal(&qualified(&sequence.name)))
}

#[cfg(test)]
mod tests {
    use wavemark_domain::TableName;
    use wavemark_domain::catalog::TableKind;
    use wavemark_domain::extras::{Action, DefaultValue, ForeignKey, Index, IndexPart};

    use super::*;
    use crate::native::Identity;
    use crate::target::spelled::Spelled;

    fn column(name: &str) -> Column {
        let native = serde_json::Value::Null;
        Column { name: name.into(), declared: String::new(), not_null: false, generated: false, native }
    }

    fn source(columns: &[&str]) -> Table {
        Table {
            name: TableName::new("shop", "orders"),
            kind: TableKind::Table,
            columns: columns.iter().map(|name| column(name)).collect(),
            key: vec![columns[0].to_owned()],
            rows_estimated: None,
            bytes_estimated: None,
            native: serde_json::Value::Null,
        }
    }

    fn index(name: &str, unique: bool, parts: &[(&str, bool)], most_bytes: u32) -> Index {
        let part =
            |(column, descending): &(&str, bool)| IndexPart { column: (*column).to_owned(), descending: *descending };
        Index { name: name.into(), unique, parts: parts.iter().map(part).collect(), most_bytes: Some(most_bytes) }
    }

    /// Those that are not in the table always have their place.
    #[test]
    fn what_can_be_a_text_stands_in_the_manual() {
        const MANUAL: &str = include_str!("../../../../../docs/FIDELITY.md");
        let section = MANUAL.split("\nInto PostgreSQL:").nth(1).unwrap().split("\nInto ").next().unwrap();
        for logical in all() {
            let row = section.lines().find(|line| line.starts_with(&format!("| {logical} |")));
            let is_spelled = row.is_some_and(|row| row.ends_with("| yes |"));
            assert_eq!(Spelled::of(&logical).is_some(), is_spelled, "{logical}");
        }
    }

    pub(super) fn all() -> [Logical; 19] {
        [
            Logical::Boolean,
            Logical::Int16,
            Logical::Int32,
            Logical::Int64,
            Logical::Uint64,
            Logical::Decimal { precision: Some(65), scale: Some(30) },
            Logical::Float32,
            Logical::Float64,
            Logical::Text { length: Some(20) },
            Logical::Bytes,
            Logical::Date,
            Logical::Time { digits: 3 },
            Logical::Timestamp { digits: 3 },
            Logical::Instant { digits: 3 },
            Logical::Uuid,
            Logical::Json,
            Logical::Enum { labels: Vec::new() },
            Logical::Set { labels: Vec::new() },
            Logical::Bits { length: 10 },
        ]
    }

    #[test]
    fn indexes_are_made_of_what_there_is_and_fits() {
        let mut table_of = source(&["id", "a", "B", "sum"]);
        table_of.columns[3].generated = true;
        let extras = Extras {
            indexes: vec![
                index("a", true, &[("a", false)], 40),
                index("ab", false, &[("a", false), ("B", true)], 2_560),
                index("back", true, &[("B", true)], 40),
                index("long", true, &[("a", false), ("B", false)], 2_561),
                index("sum", false, &[("sum", false)], 40),
            ],
            ..Extras::default()
        };
        let logical = vec![Some(Logical::Int32); 4];
        let native: TableNative = serde_json::from_value(table(&table_of, &logical, &extras).native).unwrap();
        assert_eq!(native.primary_key.unwrap().name, "orders_pkey");
        let uniques: Vec<_> = native.uniques.iter().map(|key| (key.name.as_str(), key.columns.join(", "))).collect();
        assert_eq!(uniques, [("orders_a_key", "a".to_owned())]);
        let indexes: Vec<_> =
            native.indexes.iter().map(|one| (one.name.as_str(), one.unique, one.definition.as_str())).collect();
        assert_eq!(
            indexes,
            [
                ("orders_ab_idx", false, r#"USING btree ("a", "B" DESC)"#),
                ("orders_back_idx", true, r#"USING btree ("B" DESC)"#)
            ]
        );
    }

    #[test]
    fn a_counter_is_an_identity_where_the_type_can_be_one() {
        let extras =
            Extras { columns: vec![ColumnExtras { counted: true, ..ColumnExtras::default() }], ..Extras::default() };
        let of = |logical| {
            let table = table(&source(&["id"]), &[Some(logical)], &extras);
            let native: TableNative = serde_json::from_value(table.native).unwrap();
            (ColumnNative::of(&table.columns[0]).unwrap(), native.sequences)
        };
        let (column, sequences) = of(Logical::Int64);
        assert_eq!((column.identity, column.default, sequences), (Some(Identity::ByDefault), None, vec![]));
        let (column, sequences) = of(Logical::Uint64);
        assert_eq!(column.identity, None);
        assert_eq!(column.default.unwrap(), r#"nextval('"shop"."orders_id_seq"'::regclass)"#);
        assert_eq!(sequences[0].name, Qualified { schema: "shop".into(), name: "orders_id_seq".into() });
        let (column, sequences) = of(Logical::Text { length: None });
        assert_eq!((column.identity, column.default, sequences), (None, None, vec![]));
    }

    #[test]
    fn foreign_keys_defaults_and_comments_come_along() {
        let key = |column: &str| ForeignKey {
            name: "fk".into(),
            columns: vec![column.to_owned()],
            target: TableName::new("people", "customers"),
            target_columns: vec!["id".into()],
            on_update: Action::Restrict,
            on_delete: Action::SetNull,
            own: column == "alike",
        };
        let extras = Extras {
            columns: vec![
                ColumnExtras::default(),
                ColumnExtras {
                    default: Some(DefaultValue::Literal { text: "7".into() }),
                    comment: Some("who".into()),
                    counted: false,
                },
            ],
            foreign_keys: vec![key("customer"), key("gone"), key("alike")],
            comment: Some("what was bought".into()),
            ..Extras::default()
        };
        let logical = vec![Some(Logical::Int32); 3];
        let table = table(&source(&["id", "customer", "alike"]), &logical, &extras);
        let native: TableNative = serde_json::from_value(table.native.clone()).unwrap();
        let [key] = &native.foreign_keys[..] else { panic!("{:?}", native.foreign_keys) };
        assert_eq!((key.name.as_str(), key.on_update.as_str(), key.on_delete.as_str()), ("fk", "r", "n"));
        assert_eq!(key.target, Qualified { schema: "people".into(), name: "customers".into() });
        assert_eq!(native.comment.as_deref(), Some("what was bought"));
        let column = ColumnNative::of(&table.columns[1]).unwrap();
        assert_eq!((column.default.as_deref(), column.comment.as_deref()), (Some("7"), Some("who")));
    }
}
