//! Documents of table mappings with bytes changed: refused with a sentence, or applied to any table without a panic.
//! The seeds are those of `make fuzz`, which goes on from here.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};
use wavemark_domain::Table;
use wavemark_domain::mapping::{Mappings, collisions};

const SEEDS: [&str; 2] =
    [include_str!("../../../fuzz/seeds/mapping/select"), include_str!("../../../fuzz/seeds/mapping/change")];

fn document(seed: &str) -> &str {
    seed.split_once('\n').unwrap().1
}

fn table(schema: &str, name: &str) -> Table {
    let column = |name: &str| json!({"name": name, "declared": "text", "not_null": false, "generated": false});
    serde_json::from_value(json!({
        "name": {"schema": schema, "table": name}, "kind": "table", "columns": [column("id"), column(name)],
        "key": ["id"], "rows_estimated": null, "bytes_estimated": null,
    }))
    .unwrap()
}

/// Whether it is a document of mappings that can be accepted.
fn apply(document: &Value, name: &str) -> bool {
    match Mappings::parse(document) {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
        Ok(mappings) => {
            let tables = [table("shop", name), table(name, "orders")];
            let mapped: Vec<_> = tables.iter().filter_map(|table| Some((table, mappings.apply(table)?))).collect();
            for (table, mapped) in &mapped {
                assert!(mappings.selects(&table.name) && !mapped.target.table.is_empty());
                assert_eq!(mapped.target, mappings.target(&table.name));
            }
            drop(collisions(mapped.iter().map(|(table, mapped)| (*table, mapped))));
            true
        }
    }
}

#[test]
fn each_seed_is_accepted() {
    for seed in SEEDS {
        assert!(apply(&serde_json::from_str(document(seed)).unwrap(), "orders"), "{seed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_changed_document_is_refused_or_applied(
        seed in prop::sample::select(SEEDS.to_vec()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, "[\\[\\]%_a-z0-9\\-😀ß]{0,4}"), 1..4),
        name in "\\PC{1,70}",
    ) {
        let mut characters: Vec<char> = document(seed).chars().collect();
        for (place, away, new) in edits {
            let from = place.index(characters.len() + 1);
            let to = characters.len().min(from + away);
            characters.splice(from..to, new.chars());
        }
        if let Ok(document) = serde_json::from_str(&characters.iter().collect::<String>()) {
            apply(&document, &name);
        }
    }
}
