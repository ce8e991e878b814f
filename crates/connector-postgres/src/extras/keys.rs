//! Foreign keys that mean the same in another system.

use wavemark_domain::extras::{Action, ForeignKey};
use wavemark_domain::{Column, Logical, Table, TableName};

use crate::logical;
use crate::native::{self, ColumnNative, TypeCategory};

/// The key, if it holds for the rows that are there, at once, and where values are the same to the last byte.
pub(super) fn of(table: &Table, key: &native::ForeignKey) -> Option<ForeignKey> {
    let exact = |name: &String| table.column(name).is_some_and(|at| is_exact(&table.columns[at]));
    plain(key).filter(|key| key.columns.iter().all(exact))
}

/// The key, if it holds for the rows that are there, and at once.
pub(crate) fn plain(key: &native::ForeignKey) -> Option<ForeignKey> {
    if key.r#match != "s" || key.deferrable || !key.validated || key.special {
        return None;
    }
    Some(ForeignKey {
        own: false,
        name: key.name.clone(),
        columns: key.columns.clone(),
        target: TableName::new(&key.target.schema, &key.target.name),
        target_columns: key.target_columns.clone(),
        on_update: action(&key.on_update)?,
        on_delete: action(&key.on_delete)?,
    })
}

/// As `pg_constraint` has it; none for SET DEFAULT.
fn action(letter: &str) -> Option<Action> {
    match letter {
        "a" => Some(Action::NoAction),
        "r" => Some(Action::Restrict),
        "c" => Some(Action::Cascade),
        "n" => Some(Action::SetNull),
        _ => None,
    }
}

/// Whether values of the column are the same only if another system takes them for the same: 1.0 and 1.00 are of a type
/// without a scale, a day and 24 hours, and what a collation of the user's takes for the same.
fn is_exact(column: &Column) -> bool {
    let Ok(native) = ColumnNative::of(column) else { return false };
    if native.collation.is_some_and(|collation| collation.schema != "pg_catalog") {
        return false;
    }
    match logical::of(column) {
        Some(Logical::Text { .. }) => is_plain_text(&native.r#type),
        Some(Logical::Decimal { scale, .. }) => scale.is_some(),
        Some(logical) => !matches!(logical, Logical::Float32 | Logical::Float64 | Logical::Json),
        None => false,
    }
}

/// Texts proper, and types of which two equal values have the same text.
fn is_plain_text(of: &native::TypeRef) -> bool {
    const TEXTS: [&str; 9] = ["text", "varchar", "bpchar", "name", "inet", "cidr", "macaddr", "macaddr8", "pg_lsn"];
    match (of.category, &of.inner) {
        (TypeCategory::Enum, _) => true,
        (TypeCategory::Domain, Some(inner)) => is_plain_text(inner),
        (TypeCategory::Base, _) => of.name.schema == "pg_catalog" && TEXTS.contains(&of.name.name.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{column, table};
    use super::*;

    #[test]
    fn a_foreign_key_is_kept_where_it_means_the_same() {
        let columns = vec![
            column("id", "int4", -1, &json!({})),
            column("amount", "numeric", -1, &json!({})),
            column("span", "interval", -1, &json!({})),
            column("own", "text", -1, &json!({"collation": {"schema": "shop", "name": "loose"}})),
            column("code", "varchar", 9, &json!({"collation": {"schema": "pg_catalog", "name": "C"}})),
        ];
        let table = table(columns, json!({}));
        let key = |name: &str, column: &str, on_delete: &str| {
            json!({"name": name, "columns": [column], "target": {"schema": "people", "name": "customers"},
                   "target_columns": ["id"], "on_update": "r", "on_delete": on_delete, "match": "s"})
        };
        let read = |key: serde_json::Value| of(&table, &serde_json::from_value(key).unwrap());
        let found = read(key("fk", "id", "n")).unwrap();
        assert_eq!((found.on_update, found.on_delete), (Action::Restrict, Action::SetNull));
        assert_eq!(found.target, TableName::new("people", "customers"));
        assert!(read(key("fk", "code", "c")).is_some());
        for column in ["amount", "span", "own", "gone"] {
            assert_eq!(read(key("fk", column, "a")), None, "{column}");
        }
        assert_eq!(read(key("fk", "id", "d")), None);
        for (name, value) in
            [("match", json!("f")), ("deferrable", json!(true)), ("validated", json!(false)), ("special", json!(true))]
        {
            let mut key = key("fk", "id", "a");
            key[name] = value;
            assert_eq!(read(key), None, "{name}");
        }
    }
}
