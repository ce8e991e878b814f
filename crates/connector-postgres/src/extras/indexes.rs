//! Indexes in which rows lie by the values of whole columns, as the columns compare by themselves.

use wavemark_domain::extras::{Index, IndexPart};
use wavemark_domain::{Column, Logical, Table};

use crate::logical;
use crate::native::{self, Key, TableNative};

/// The bytes of a value that is no text.
const NUMBER: u32 = 40;
/// Bytes of a character.
const CHARACTER: u32 = 4;

/// A table's indexes besides its key's: keys that hold at once, unique ones and others.
pub(super) fn of(table: &Table, native: &TableNative) -> Vec<Index> {
    let keys =
        native.primary_key.iter().chain(&native.uniques).filter(|key| !key.deferrable && !key.nulls_not_distinct);
    let keys = keys.map(|key| (key.name.as_str(), true, of_key(key)));
    let others = native.indexes.iter().filter(|index| !index.partial);
    let others = others.filter_map(|index| Some((index.name.as_str(), index.unique, parts(index)?)));
    let made = keys.chain(others).map(|(name, unique, parts)| {
        let most_bytes = most(table, &parts);
        Index { name: name.to_owned(), unique, parts, most_bytes }
    });
    made.filter(|index| !is_key(table, index)).collect()
}

fn of_key(key: &Key) -> Vec<IndexPart> {
    key.columns.iter().map(|column| IndexPart { column: column.clone(), descending: false }).collect()
}

/// Whether it says no more than the table's key.
fn is_key(table: &Table, index: &Index) -> bool {
    index.unique && index.parts.iter().map(|part| &part.column).eq(&table.key)
}

/// The columns of a plain index. One with an operator class or a collation of its own compares in another way, and one
/// that is no B-tree not at all.
pub(crate) fn parts(index: &native::Index) -> Option<Vec<IndexPart>> {
    let mut rest = index.definition.strip_prefix("USING btree (")?;
    let mut parts = Vec::with_capacity(index.columns.len());
    for column in &index.columns {
        let column = column.as_ref()?;
        rest = behind_name(rest)?;
        let end = rest.find([',', ')'])?;
        let descending = match &rest[..end] {
            "" | " NULLS FIRST" => false,
            " DESC" | " DESC NULLS LAST" => true,
            _ => return None,
        };
        parts.push(IndexPart { column: column.clone(), descending });
        rest = rest[end + 1..].trim_start();
    }
    let is_plain = !(index.unique && rest.contains("NULLS NOT DISTINCT"));
    is_plain.then_some(parts)
}

/// What is behind a name as the server writes it.
fn behind_name(text: &str) -> Option<&str> {
    let Some(mut rest) = text.strip_prefix('"') else {
        return text.find([' ', ',', ')']).map(|end| &text[end..]);
    };
    loop {
        let (_, after) = rest.split_once('"')?;
        let Some(more) = after.strip_prefix('"') else { return Some(after) };
        rest = more;
    }
}

fn most(table: &Table, parts: &[IndexPart]) -> Option<u32> {
    let bytes = |part: &IndexPart| table.column(&part.column).and_then(|at| of_column(&table.columns[at]));
    parts.iter().map(bytes).try_fold(0_u32, |sum, bytes| Some(sum.saturating_add(bytes?)))
}

/// The most bytes of a column's values, with texts in UTF-8.
fn of_column(column: &Column) -> Option<u32> {
    match logical::of(column)? {
        Logical::Text { length } => length.map(|length| length.saturating_mul(CHARACTER)),
        // With a sign and a point.
        Logical::Decimal { precision, .. } => {
            precision.map(|precision| u32::from(precision).saturating_add(2).max(NUMBER))
        }
        Logical::Bits { length } => Some(u32::from(length.div_ceil(8)).max(NUMBER)),
        Logical::Bytes | Logical::Json => None,
        _ => Some(NUMBER),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{column, table};
    use super::*;

    fn index(name: &str, columns: &[Option<&str>], definition: &str) -> Value {
        let (unique, partial) = (name.starts_with('u'), definition.contains(" WHERE "));
        json!({"name": name, "unique": unique, "columns": columns, "partial": partial, "definition": definition})
    }

    fn found(native: Value) -> Vec<(String, bool, String, Option<u32>)> {
        let columns = vec![
            column("id", "int4", -1, &json!({})),
            column("code", "varchar", 24, &json!({})),
            column("odd, \"name", "int4", -1, &json!({})),
            column("note", "text", -1, &json!({})),
        ];
        let table = table(columns, native);
        let part = |part: &IndexPart| format!("{}{}", part.column, if part.descending { " desc" } else { "" });
        let shown = |one: Index| {
            let parts: Vec<String> = one.parts.iter().map(part).collect();
            (one.name, one.unique, parts.join(" + "), one.most_bytes)
        };
        of(&table, &TableNative::of(&table).unwrap()).into_iter().map(shown).collect()
    }

    #[test]
    fn an_index_is_whole_or_left_out() {
        let odd = "odd, \"name";
        let indexes = json!([
            index("plain", &[Some("code"), Some(odd)], "USING btree (code, \"odd, \"\"name\" DESC)"),
            index("u_more", &[Some("code")], "USING btree (code) INCLUDE (note) WITH (fillfactor='70')"),
            index("nulls", &[Some("note")], "USING btree (note NULLS FIRST)"),
            index("u_nulls", &[Some("code")], "USING btree (code) NULLS NOT DISTINCT"),
            index("like", &[Some("note")], "USING btree (note text_pattern_ops)"),
            index("collated", &[Some("note")], "USING btree (note COLLATE \"C\")"),
            index("expression", &[None], "USING btree (lower((code)::text))"),
            index("partial", &[Some("code")], "USING btree (code) WHERE (id > 5)"),
            index("hash", &[Some("code")], "USING hash (code)"),
            index("gin", &[Some("note")], "USING gin (note)"),
        ]);
        let expected = [
            ("plain".to_owned(), false, format!("code + {odd} desc"), Some(120)),
            ("u_more".to_owned(), true, "code".to_owned(), Some(80)),
            ("nulls".to_owned(), false, "note".to_owned(), None),
        ];
        assert_eq!(found(json!({"indexes": indexes})), expected);
    }

    #[test]
    fn keys_that_hold_at_once_are_unique_indexes() {
        let key = |name: &str, columns: &[&str], deferrable: bool, not_distinct: bool| json!({"name": name, "columns": columns, "deferrable": deferrable, "nulls_not_distinct": not_distinct});
        let uniques = json!([
            key("code", &["code"], false, false),
            key("later", &["code"], true, false),
            key("nulls", &["code"], false, true),
            key("same", &["id"], false, false),
        ]);
        let native = json!({"primary_key": key("pkey", &["id"], false, false), "uniques": uniques});
        assert_eq!(found(native), [("code".to_owned(), true, "code".to_owned(), Some(80))]);
        // Where another index names the rows, the primary key is one of the others.
        let native = json!({"primary_key": key("pkey", &["code"], false, false)});
        assert_eq!(found(native), [("pkey".to_owned(), true, "code".to_owned(), Some(80))]);
    }
}
