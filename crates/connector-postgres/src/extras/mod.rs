//! What a table has besides columns and a key, in words that no system owns. What can't be said exactly is left out.

mod defaults;
mod indexes;
mod keys;
mod left;

use wavemark_domain::extras::ColumnExtras;
use wavemark_domain::{Column, Extras, Table};

use crate::native::{ColumnNative, TableNative};
pub(crate) use indexes::parts as index_parts;
pub(crate) use keys::plain as foreign_key;

/// What a table has besides columns and a key.
pub(crate) fn of(table: &Table) -> Extras {
    let native = TableNative::of(table).unwrap_or_default();
    Extras {
        columns: table.columns.iter().map(|one| column(one, &native)).collect(),
        indexes: indexes::of(table, &native),
        foreign_keys: native.foreign_keys.iter().filter_map(|key| keys::of(table, key)).collect(),
        left_out: left::of(table, &native),
        comment: native.comment,
    }
}

fn column(of: &Column, table: &TableNative) -> ColumnExtras {
    let Ok(native) = ColumnNative::of(of) else { return ColumnExtras::default() };
    let counted = is_counted(of, &native, table);
    let default = default(of, &native, table).and_then(|sql| defaults::of(sql, of));
    ColumnExtras { default, counted, comment: native.comment }
}

/// The default of a column, if it has one that is no counter's.
fn default<'a>(of: &Column, native: &'a ColumnNative, table: &TableNative) -> Option<&'a str> {
    native.default.as_deref().filter(|_| !of.generated && !is_counted(of, native, table))
}

/// Whether an identity or a sequence of its own counts up for the column. A sequence that several tables share gives none of
/// them the numbers that another has, which counters of their own would.
fn is_counted(of: &Column, native: &ColumnNative, table: &TableNative) -> bool {
    let takes_next = native
        .default
        .as_deref()
        .is_some_and(|sql| sql.strip_prefix("nextval('").and_then(|rest| rest.strip_suffix("'::regclass)")).is_some());
    let own = |sequence: &&crate::native::Sequence| {
        sequence.column == of.name && sequence.increment > 0 && (sequence.identity || (sequence.owned && takes_next))
    };
    (native.identity.is_some() || takes_next) && table.sequences.iter().any(|sequence| own(&sequence))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};
    use wavemark_domain::TableName;
    use wavemark_domain::catalog::TableKind;
    use wavemark_domain::extras::DefaultValue;

    use super::*;

    /// A column of one of the server's types, with more of its `native` part.
    pub(super) fn column(name: &str, kind: &str, modifier: i32, more: &Value) -> Column {
        let mut native = json!({
            "attnum": 1, "type_modifier": modifier,
            "type": {"oid": 1, "schema": "pg_catalog", "name": kind, "category": "base", "has_binary": true},
        });
        native.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Column { name: name.into(), declared: kind.into(), not_null: false, generated: false, native }
    }

    pub(super) fn table(columns: Vec<Column>, native: Value) -> Table {
        Table {
            name: TableName::new("shop", "orders"),
            kind: TableKind::Table,
            columns,
            key: vec!["id".into()],
            rows_estimated: None,
            bytes_estimated: None,
            native,
        }
    }

    #[test]
    fn what_counts_up_for_one_column_alone_is_a_counter() {
        let sequence = |column: &str, identity: bool, owned: bool, increment: i64| {
            json!({"schema": "shop", "name": "s", "column": column, "identity": identity, "owned": owned,
                "data_type": "bigint", "start": 1, "increment": increment, "min": 1, "max": 100, "cache": 1, "cycle": false})
        };
        let next = json!({"default": "nextval('shop.s'::regclass)"});
        let columns = vec![
            column("id", "int8", -1, &json!({"identity": "always"})),
            column("serial", "int4", -1, &next),
            column("shared", "int4", -1, &next),
            column("down", "int4", -1, &next),
            column("twice", "int4", -1, &json!({"default": "(nextval('shop.s'::regclass) * 2)"})),
            column("plain", "int4", -1, &json!({"default": "7", "comment": "how many"})),
        ];
        let sequences = json!([
            sequence("id", true, true, 1),
            sequence("serial", false, true, 10),
            sequence("shared", false, false, 1),
            sequence("down", false, true, -1),
            sequence("twice", false, true, 1),
        ]);
        let extras = of(&table(columns, json!({"sequences": sequences, "comment": "what was bought"})));
        let counted: Vec<bool> = extras.columns.iter().map(|column| column.counted).collect();
        assert_eq!(counted, [true, true, false, false, false, false]);
        let defaults: Vec<_> = extras.columns.iter().map(|column| column.default.clone()).collect();
        assert_eq!(defaults[..5], [None, None, None, None, None]);
        assert_eq!(defaults[5], Some(DefaultValue::Literal { text: "7".into() }));
        assert_eq!(extras.columns[5].comment.as_deref(), Some("how many"));
        assert_eq!(extras.comment.as_deref(), Some("what was bought"));
    }
}
