//! What a table has that another system's can't have as it is.

use wavemark_domain::extras::LeftOut;
use wavemark_domain::{Column, Table};

use super::{default, defaults, indexes, keys};
use crate::native::{ColumnNative, TableNative};
use crate::wire::quote_identifier as quoted;

/// All of it, with the statements that made it.
pub(super) fn of(table: &Table, native: &TableNative) -> Vec<LeftOut> {
    let name = name(table);
    let constraint = |kind: &str, constraint: &str, definition: &str| LeftOut {
        what: format!("{kind} {constraint}"),
        statement: format!("ALTER TABLE {name} ADD CONSTRAINT {} {definition};", quoted(constraint)),
    };
    let mut left: Vec<LeftOut> = table.columns.iter().flat_map(|one| column(table, one, native)).collect();
    left.extend(native.checks.iter().map(|check| constraint("check", &check.name, &check.definition)));
    left.extend(native.exclusions.iter().map(|one| constraint("exclusion", &one.name, &one.definition)));
    let made = indexes::of(table, native);
    let is_made = |index: &&crate::native::Index| made.iter().any(|other| other.name == index.name);
    left.extend(native.indexes.iter().filter(|index| !is_made(index)).map(|index| {
        let unique = if index.unique { "UNIQUE " } else { "" };
        LeftOut {
            what: format!("index {}", index.name),
            statement: format!("CREATE {unique}INDEX {} ON {name} {};", quoted(&index.name), index.definition),
        }
    }));
    let others = native.uniques.iter().filter(|key| key.deferrable || key.nulls_not_distinct);
    left.extend(others.map(|key| {
        let columns: Vec<String> = key.columns.iter().map(|column| quoted(column)).collect();
        let distinct = if key.nulls_not_distinct { "NULLS NOT DISTINCT " } else { "" };
        let deferrable = if key.deferrable { " DEFERRABLE" } else { "" };
        constraint("unique key", &key.name, &format!("UNIQUE {distinct}({}){deferrable}", columns.join(", ")))
    }));
    let foreign = native.foreign_keys.iter().filter(|key| keys::of(table, key).is_none());
    left.extend(foreign.map(|key| {
        let names = |columns: &[String]| columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let target = format!("{}.{}", quoted(&key.target.schema), quoted(&key.target.name));
        let definition =
            format!("FOREIGN KEY ({}) REFERENCES {target} ({})", names(&key.columns), names(&key.target_columns));
        constraint("foreign key", &key.name, &definition)
    }));
    left
}

fn column(table: &Table, column: &Column, native: &TableNative) -> Vec<LeftOut> {
    let Ok(own) = ColumnNative::of(column) else { return Vec::new() };
    let alter = format!("ALTER TABLE {} ", name(table));
    let own_name = quoted(&column.name);
    let mut left = Vec::new();
    if let Some(expression) = &own.generated {
        left.push(LeftOut {
            what: format!("that column {} is computed", column.name),
            statement: format!(
                "{alter}ADD COLUMN {own_name} {} GENERATED ALWAYS AS ({expression}) STORED;",
                column.declared
            ),
        });
    }
    if let Some(sql) = default(column, &own, native).filter(|sql| !is_null(sql) && defaults::of(sql, column).is_none())
    {
        left.push(LeftOut {
            what: format!("the default of column {}", column.name),
            statement: format!("{alter}ALTER COLUMN {own_name} SET DEFAULT {sql};"),
        });
    }
    left
}

fn name(table: &Table) -> String {
    format!("{}.{}", quoted(&table.name.schema), quoted(&table.name.table))
}

fn is_null(sql: &str) -> bool {
    sql.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("null"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{column, table};

    #[test]
    fn what_has_no_word_is_named_with_its_statement() {
        let columns = vec![
            column("id", "int4", -1, &json!({})),
            column("placed", "timestamptz", -1, &json!({"default": "lower(current_user)"})),
            column("sum", "int4", -1, &json!({"generated": "a + b"})),
            column("plain", "int4", -1, &json!({"default": "7"})),
        ];
        let native = json!({
            "checks": [{"name": "positive", "definition": "CHECK ((id > 0))"}],
            "exclusions": [{"name": "apart", "definition": "EXCLUDE USING gist (span WITH &&)"}],
            "indexes": [
                {"name": "by_word", "unique": false, "columns": [null], "partial": false, "definition": "USING btree (lower(word))"},
                {"name": "by_id", "unique": false, "columns": ["id"], "partial": false, "definition": "USING btree (id)"},
            ],
        });
        let left = crate::extras::of(&table(columns, native)).left_out;
        let found: Vec<_> = left.iter().map(|left| (left.what.as_str(), left.statement.as_str())).collect();
        assert_eq!(
            found,
            [
                (
                    "the default of column placed",
                    r#"ALTER TABLE "shop"."orders" ALTER COLUMN "placed" SET DEFAULT lower(current_user);"#
                ),
                (
                    "that column sum is computed",
                    r#"ALTER TABLE "shop"."orders" ADD COLUMN "sum" int4 GENERATED ALWAYS AS (a + b) STORED;"#
                ),
                ("check positive", r#"ALTER TABLE "shop"."orders" ADD CONSTRAINT "positive" CHECK ((id > 0));"#),
                (
                    "exclusion apart",
                    r#"ALTER TABLE "shop"."orders" ADD CONSTRAINT "apart" EXCLUDE USING gist (span WITH &&);"#
                ),
                ("index by_word", r#"CREATE INDEX "by_word" ON "shop"."orders" USING btree (lower(word));"#),
            ]
        );
    }
}
