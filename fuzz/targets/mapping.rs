//! Table mappings of anybody: refused with a sentence, or applied to any table without a panic and the same each time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use wavemark_domain::Table;
use wavemark_domain::mapping::{Mappings, collisions};

fuzz_target!(|data: &[u8]| {
    // The name of a table, which no system leaves empty, a line end, the document.
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((name, document)) = text.split_once('\n').filter(|(name, _)| !name.is_empty()) else { return };
    let Ok(document) = serde_json::from_str::<Value>(document) else { return };
    match Mappings::parse(&document) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(mappings) => {
            let tables = [table("shop", name), table(name, "orders")];
            let mapped: Vec<_> =
                tables.iter().filter_map(|table| Some((table, mappings.apply(table)?))).collect();
            for (table, mapped) in &mapped {
                assert!(mappings.selects(&table.name) && !mapped.target.table.is_empty());
                assert_eq!(mapped.target, mappings.target(&table.name));
            }
            drop(collisions(mapped.iter().map(|(table, mapped)| (*table, mapped))));
        }
    }
});

fn table(schema: &str, name: &str) -> Table {
    let column = |name: &str| json!({"name": name, "declared": "text", "not_null": false, "generated": false});
    serde_json::from_value(json!({
        "name": {"schema": schema, "table": name}, "kind": "table", "columns": [column("id"), column(name)],
        "key": ["id"], "rows_estimated": null, "bytes_estimated": null,
    }))
    .expect("a table is read as it is written")
}
