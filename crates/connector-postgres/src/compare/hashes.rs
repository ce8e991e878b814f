//! The hash of a row in SQL.
//!
//! Every cell is hashed with the hash of the row's key as its seed, and the sum over all rows is compared. With one
//! seed for all rows the sum would not notice two rows that swapped the values of a column: the server combines the
//! hashes of a row's cells by multiplying and adding. A table without a key has no such seed: there the bytes of the
//! whole row are hashed at once.
//!
//! What is hashed of a cell must differ whenever the cell does. The server's own hashes follow each type's equality
//! and fold: 1.0 and 1.00 are equal, −0 and 0 are, blanks at the end of a `char` don't count, and the halves of a
//! `bigint` are folded into one. So only types whose hash is of all their bytes go in as they are, others in the form
//! that they travel in (`…_send`), and everything else as text, under session settings that make text exact.

use wavemark_connector::compare::Form;
use wavemark_domain::{Problem, TablePlan};

use crate::native::{ColumnNative, TypeCategory, TypeRef};
use crate::target::wider::Fit;
use crate::wire::quote_identifier;

/// `hash_record_extended` came with version 14; it hashes text in the server's encoding.
pub(super) const RECORD: &str = "postgresql record";
/// Everywhere; slower.
pub(super) const BYTES: &str = "postgresql bytes";

/// Values whose hashes are compared between two servers before any row is: the order of bytes in memory shows here.
pub(super) const PROBE: &str = "SELECT hash_array_extended(ARRAY[record_send(ROW(1, 'wavemark'::text))], 7)::text, \
    current_setting('server_encoding'), current_setting('server_version_num')::int4";

/// Expressions over the columns of one table.
pub(super) struct Hashes {
    /// Of the whole row.
    pub(super) row: String,
    /// Of what says to which bucket a row belongs.
    pub(super) bucket: String,
    /// The key's columns as the source has them, and their texts.
    pub(super) key: Vec<(String, String)>,
}

impl Hashes {
    /// `name` gives a planned column's name on this side, and `fits` says how the source's values are in it.
    pub(super) fn of(
        plan: &TablePlan,
        form: &Form,
        name: impl Fn(usize) -> String,
        fits: &[Fit],
    ) -> Result<Self, Problem> {
        let mut cells = Vec::with_capacity(plan.columns.len());
        let mut values = Vec::with_capacity(plan.columns.len());
        // A value that the source can't have is NULL here, and makes its row another.
        let mut foreign = Vec::new();
        for (at, column) in plan.columns.iter().enumerate() {
            let planned = &plan.source.columns[column.source];
            let native = ColumnNative::of(planned).map_err(|error| {
                let text = format!("The plan of column {}.{} can't be read: {error}.", plan.name(), planned.name);
                Problem::internal(text)
            })?;
            let own = quote_identifier(&name(at));
            let (value, text) = match fits.get(at).and_then(|fit| fit.back(&own)) {
                Some(back) => {
                    foreign.push(format!("({back}) IS DISTINCT FROM {own}"));
                    (format!("({back})"), format!("coalesce(({back})::text, {own}::text)"))
                }
                None => (own.clone(), format!("{own}::text")),
            };
            cells.push(cell(&value, &native));
            values.push((value, text));
        }
        let key: Vec<(String, String)> = plan.key.iter().map(|at| values[*at].clone()).collect();
        let in_key: Vec<&str> = plan.key.iter().map(|at| cells[*at].as_str()).collect();
        let by_record = form.0.starts_with(RECORD);
        let bytes = |cells: &str, seed: &str| format!("hash_array_extended(ARRAY[record_send(ROW({cells}))], {seed})");
        let marked = |row: String| match foreign.join(" OR ") {
            none if none.is_empty() => row,
            foreign => format!("({row} # CASE WHEN {foreign} THEN {FOREIGN} ELSE 0 END)"),
        };
        if plan.is_keyless() {
            let row = marked(bytes(&cells.join(", "), "0"));
            return Ok(Self { bucket: row.clone(), row, key });
        }
        let bucket = match single_integer(plan) {
            // A key that the source can't have is NULL here, and no row may be passed over.
            Some(hash) if !foreign.is_empty() => format!("coalesce({}, 0)", hash.replace("{}", &key[0].0)),
            Some(hash) => hash.replace("{}", &key[0].0),
            None if by_record => format!("hash_record_extended(ROW({}), 0)", in_key.join(", ")),
            None => bytes(&in_key.join(", "), "0"),
        };
        let row = if by_record {
            format!("hash_record_extended(ROW({}), {bucket})", cells.join(", "))
        } else {
            bytes(&cells.join(", "), &bucket)
        };
        Ok(Self { row: marked(row), bucket, key })
    }
}

/// What the hash of a row with a value that the source can't have differs in from that of the row with NULL there.
const FOREIGN: &str = "6148914691236517205::int8";

/// The cheap way for the most frequent keys. The upper half of a `bigint` is the seed, for the hash folds both into one.
fn single_integer(plan: &TablePlan) -> Option<&'static str> {
    let [at] = plan.key.as_slice() else { return None };
    let native = ColumnNative::of(&plan.source.columns[plan.columns[*at].source]).ok()?;
    match (native.r#type.name.schema.as_str(), native.r#type.name.name.as_str()) {
        ("pg_catalog", "int4") => Some("hashint4extended({}, 0)"),
        ("pg_catalog", "int8") => Some("hashint8extended({}, {} >> 32)"),
        _ => None,
    }
}

fn base(of: &TypeRef) -> &TypeRef {
    match (&of.category, of.inner.as_deref()) {
        (TypeCategory::Domain, Some(inner)) => base(inner),
        _ => of,
    }
}

/// What is hashed of a column.
fn cell(name: &str, native: &ColumnNative) -> String {
    let base = base(&native.r#type);
    let is_domain = native.r#type.category == TypeCategory::Domain;
    let text = || format!("{name}::text COLLATE \"C\"");
    if base.name.schema != "pg_catalog" || base.category != TypeCategory::Base {
        return text();
    }
    let send = |function: &str| format!("{function}({name})");
    match base.name.name.as_str() {
        kind @ ("bool" | "int2" | "int4" | "oid" | "date" | "bytea" | "uuid") if is_domain => format!("{name}::{kind}"),
        "bool" | "int2" | "int4" | "oid" | "date" | "bytea" | "uuid" => name.to_owned(),
        "bpchar" if !is_domain && native.type_modifier >= 0 => format!("{name} COLLATE \"C\""),
        "bpchar" => send("bpcharsend"),
        "int8" => send("int8send"),
        "float4" => send("float4send"),
        "float8" => send("float8send"),
        "numeric" => send("numeric_send"),
        "time" => send("time_send"),
        "timetz" => send("timetz_send"),
        "timestamp" => send("timestamp_send"),
        "timestamptz" => send("timestamptz_send"),
        "interval" => send("interval_send"),
        _ => text(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(name: &str, category: &str, modifier: i32) -> String {
        let native: ColumnNative = serde_json::from_value(json!({
            "attnum": 1, "type_modifier": modifier,
            "type": {"oid": 1, "schema": "pg_catalog", "name": name, "category": category, "has_binary": true},
        }))
        .unwrap();
        cell("\"c\"", &native)
    }

    #[test]
    fn each_type_is_hashed_by_all_that_it_holds() {
        assert_eq!(of("int4", "base", -1), "\"c\"");
        assert_eq!(of("int8", "base", -1), "int8send(\"c\")");
        assert_eq!(of("numeric", "base", -1), "numeric_send(\"c\")");
        assert_eq!(of("bpchar", "base", 88), "\"c\" COLLATE \"C\"");
        assert_eq!(of("bpchar", "base", -1), "bpcharsend(\"c\")");
        assert_eq!(of("varchar", "base", -1), "\"c\"::text COLLATE \"C\"");
        assert_eq!(of("_int4", "array", -1), "\"c\"::text COLLATE \"C\"");
        assert_eq!(of("jsonb", "base", -1), "\"c\"::text COLLATE \"C\"");
    }
}
