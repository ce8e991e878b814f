use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Column;
use crate::catalog::TableKind;

fn table(schema: &str, name: &str, columns: &[&str]) -> Table {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        declared: "text".to_owned(),
        not_null: false,
        generated: false,
        native: Value::Null,
    };
    Table {
        name: TableName::new(schema, name),
        kind: TableKind::Table,
        columns: columns.iter().map(column).collect(),
        key: vec![],
        rows_estimated: None,
        bytes_estimated: None,
        native: Value::Null,
    }
}

fn include(id: u32, schema: &str, name: &str) -> Value {
    json!({"rule-type": "selection", "rule-id": id.to_string(), "rule-name": "n", "rule-action": "include",
           "object-locator": {"schema-name": schema, "table-name": name}, "filters": []})
}

fn change(id: u32, target: &str, action: &str, locator: &Value, value: Option<&str>, old: Option<&str>) -> Value {
    json!({"rule-type": "transformation", "rule-id": id.to_string(), "rule-action": action, "rule-target": target,
           "object-locator": locator, "value": value, "old-value": old})
}

fn parse(rules: &[Value]) -> Result<Mappings, MappingError> {
    Mappings::parse(&json!({"rules": rules}))
}

fn refused(rules: &[Value]) -> String {
    parse(rules).unwrap_err().to_string()
}

#[test]
fn excludes_take_away_from_all_includes_whatever_their_order() {
    let exclude = json!({"rule-type": "selection", "rule-id": "1", "rule-action": "exclude",
                         "object-locator": {"schema-name": "shop", "table-name": "tmp[_]%"}});
    let explicit = json!({"rule-type": "selection", "rule-id": "3", "rule-action": "explicit",
                          "object-locator": {"schema-name": "hr", "table-name": "staff"}});
    let mappings = parse(&[exclude, include(2, "shop", "%"), explicit]).unwrap();
    for (schema, name, expected) in [
        ("shop", "orders", true),
        ("shop", "tmp_orders", false),
        ("shop", "tmporders", true),
        ("hr", "staff", true),
        ("hr", "pay", false),
    ] {
        assert_eq!(mappings.apply(&table(schema, name, &[])).is_some(), expected, "{schema}.{name}");
    }
}

#[test]
fn schema_table_and_column_are_transformed_each_on_its_own() {
    let any = json!({"schema-name": "Shop", "table-name": "%"});
    let any_column = json!({"schema-name": "Shop", "table-name": "%", "column-name": "%"});
    let mappings = parse(&[
        include(1, "Shop", "%"),
        change(2, "schema", "rename", &json!({"schema-name": "Shop"}), Some("copy"), None),
        change(3, "table", "convert-lowercase", &any, None, None),
        change(4, "column", "add-prefix", &any_column, Some("c_"), None),
    ])
    .unwrap();
    let mapped = mappings.apply(&table("Shop", "Orders", &["id", "note"])).unwrap();
    assert_eq!(mapped.target, TableName::new("copy", "orders"));
    assert_eq!(mapped.columns, [(0, "c_id".to_owned()), (1, "c_note".to_owned())]);
}

#[test]
fn the_lowest_rule_id_wins_by_number_not_by_text() {
    let all = json!({"schema-name": "s", "table-name": "%"});
    let mappings = parse(&[
        include(1, "s", "%"),
        change(10, "table", "add-prefix", &all, Some("ten_"), None),
        change(9, "table", "add-prefix", &all, Some("nine_"), None),
    ])
    .unwrap();
    assert_eq!(mappings.apply(&table("s", "t", &[])).unwrap().target.table, "nine_t");
}

#[test]
fn include_column_drops_the_rest_of_its_tables_only() {
    let id = json!({"schema-name": "s", "table-name": "a", "column-name": "id"});
    let mappings = parse(&[
        include(1, "s", "%"),
        change(2, "column", "include-column", &id, None, None),
        change(3, "column", "rename", &id, Some("key"), None),
    ])
    .unwrap();
    assert_eq!(mappings.apply(&table("s", "a", &["x", "id"])).unwrap().columns, [(1, "key".to_owned())]);
    assert_eq!(mappings.apply(&table("s", "b", &["x", "id"])).unwrap().columns.len(), 2);
}

#[test]
fn remove_column_leaves_the_index_of_the_others() {
    let secret = json!({"schema-name": "%", "table-name": "%", "column-name": "secret%"});
    let mappings = parse(&[include(1, "s", "%"), change(2, "column", "remove-column", &secret, None, None)]).unwrap();
    let mapped = mappings.apply(&table("s", "t", &["a", "secret_1", "b"])).unwrap();
    assert_eq!(mapped.columns, [(0, "a".to_owned()), (2, "b".to_owned())]);
}

#[test]
fn what_would_be_one_in_the_target_is_found() {
    let a = json!({"schema-name": "s", "table-name": "t[12]"});
    let c = json!({"schema-name": "s", "table-name": "u", "column-name": "%"});
    let mappings = parse(&[
        include(1, "s", "%"),
        change(2, "table", "rename", &a, Some("t"), None),
        change(3, "column", "convert-lowercase", &c, None, None),
    ])
    .unwrap();
    let tables = [table("s", "t1", &["x"]), table("s", "t2", &["x"]), table("s", "u", &["X", "x"])];
    let mapped: Vec<Mapped> = tables.iter().map(|table| mappings.apply(table).unwrap()).collect();
    assert_eq!(
        collisions(tables.iter().zip(&mapped)),
        [
            Collision::Columns {
                table: TableName::new("s", "u"),
                target: "x".to_owned(),
                sources: vec!["X".to_owned(), "x".to_owned()],
            },
            Collision::Tables {
                target: TableName::new("s", "t"),
                sources: vec![TableName::new("s", "t1"), TableName::new("s", "t2")],
            },
        ]
    );
}

#[test]
fn what_is_not_built_is_refused_by_rule_and_field() {
    let with = |key: &str, value: Value| {
        let mut rule = include(7, "s", "%");
        rule[key] = value;
        refused(&[rule])
    };
    assert_eq!(with("load-order", json!(5)), "rule 7: load-order is not supported here");
    assert_eq!(
        with("object-locator", json!({"schema-name": "s", "table-name": "%", "table-type": "view"})),
        "rule 7: object-locator.table-type can only be \"table\" yet"
    );
    assert_eq!(with("rule-type", json!("table-settings")), "rule 7: rule-type \"table-settings\" is not supported yet");
    assert_eq!(with("rule-action", json!("grab")), "rule 7: rule-action \"grab\" is not include, exclude or explicit");
    assert_eq!(with("object-locator", Value::Null), "rule 7: object-locator must be an object");
    let locator = json!({"schema-name": "s", "table-name": "t"});
    for (rule, text) in [
        (change(2, "table", "rename", &locator, None, None), "rule 2: value must be given, as text"),
        (
            change(2, "table", "define-primary-key", &locator, None, None),
            "rule 2: rule-action \"define-primary-key\" is not supported",
        ),
        (
            change(2, "table-tablespace", "rename", &locator, Some("x"), None),
            "rule 2: rule-target \"table-tablespace\" is not schema, table or column",
        ),
        (
            change(2, "table", "remove-column", &locator, None, None),
            "rule 2: rule-action \"remove-column\" needs the rule-target \"column\"",
        ),
        (
            change(2, "column", "rename", &locator, Some("x"), None),
            "rule 2: object-locator.column-name must be given, as text",
        ),
        (change(2, "table", "replace-prefix", &locator, Some("x"), None), "rule 2: old-value must be given, as text"),
        (
            change(2, "table", "convert-lowercase", &locator, Some("x"), None),
            "rule 2: value is not used by this rule-action",
        ),
    ] {
        assert_eq!(refused(&[include(1, "s", "%"), rule]), text);
    }
}

#[test]
fn a_document_of_another_shape_is_refused() {
    assert_eq!(Mappings::parse(&json!([])).unwrap_err().to_string(), "mappings must be an object with a list `rules`");
    assert_eq!(Mappings::parse(&json!({"rules": 1})).unwrap_err().to_string(), "rules must be a list");
    assert_eq!(refused(&[]), "rules must hold at least one selection that includes something");
    assert_eq!(refused(&[include(1, "a", "%"), include(1, "b", "%")]), "rule 1: rule-id is used by another rule too");
    assert_eq!(refused(&[json!({"rule-id": "x"})]), "rules[0].rule-id must consist of digits");
    let error = refused(&[json!({"rule-type": "selection", "rule-id": "1", "rule-action": "explicit",
                                 "object-locator": {"schema-name": "s", "table-name": "my_table"}})]);
    assert!(error.starts_with("rule 1: object-locator.table-name must have no wildcard"), "{error}");
}

proptest! {
    #[test]
    fn no_document_makes_parsing_panic(text in ".{0,40}", id in 0_u32..20) {
        let locator = json!({"schema-name": text, "table-name": text});
        let _ = parse(&[include(id, &text, &text), change(id + 1, "table", "rename", &locator, Some(&text), None)]);
    }

    #[test]
    fn a_name_with_its_wildcards_in_brackets_matches_itself_and_nothing_else(
        name in "[a-z%_\\[\\]]{1,12}", other in "[a-z%_\\[\\]]{1,12}",
    ) {
        let escaped: String = name.chars().map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("[{c}]") }).collect();
        let pattern = Pattern::parse(&escaped).unwrap();
        prop_assert!(pattern.is_exact());
        prop_assert!(pattern.matches(&name));
        prop_assert_eq!(pattern.matches(&other), name == other);
    }

    #[test]
    fn removing_what_was_added_gives_the_name_back(name in "[a-zA-Z_]{1,20}", affix in "[a-z_]{1,5}") {
        let there = Rename::AddPrefix(affix.clone()).apply(&name);
        prop_assert_eq!(Rename::RemovePrefix(affix.clone()).apply(&there), name.clone());
        let there = Rename::AddSuffix(affix.clone()).apply(&name);
        prop_assert_eq!(Rename::RemoveSuffix(affix).apply(&there), name);
    }

    #[test]
    fn the_order_of_rules_in_the_document_does_not_matter(seed in proptest::sample::subsequence(vec![0, 1, 2, 3, 4], 5).prop_shuffle()) {
        let all = json!({"schema-name": "s", "table-name": "%"});
        let rules = [
            include(1, "s", "%"),
            change(2, "table", "add-prefix", &all, Some("a_"), None),
            change(3, "table", "add-suffix", &all, Some("_b"), None),
            change(4, "schema", "convert-uppercase", &json!({"schema-name": "s"}), None, None),
            change(5, "schema", "rename", &json!({"schema-name": "s"}), Some("z"), None),
        ];
        let shuffled: Vec<Value> = seed.iter().map(|at| rules[*at].clone()).collect();
        let mapped = parse(&shuffled).unwrap().apply(&table("s", "t", &[])).unwrap();
        prop_assert_eq!(mapped.target, TableName::new("S", "a_t"));
    }
}

#[test]
fn what_is_done_about_unfit_values_is_said_column_by_column() {
    let at = |column: &str| json!({"schema-name": "shop", "table-name": "%", "column-name": column});
    let mappings = parse(&[
        include(1, "shop", "%"),
        change(2, "column", "unfit-values", &at("born"), Some("null"), None),
        change(3, "column", "unfit-values", &at("%"), Some("clamp"), None),
        change(4, "column", "remove-column", &at("born"), None, None),
    ])
    .unwrap();
    let orders = table("shop", "orders", &["born", "paid"]);
    assert_eq!(mappings.unfit(&orders.name, "born"), Some(UnfitPolicy::Null));
    assert_eq!(mappings.unfit(&orders.name, "paid"), Some(UnfitPolicy::Clamp));
    assert_eq!(mappings.unfit(&TableName::new("hr", "orders"), "paid"), None);
    // It is no rule about whether or under which name a column travels.
    assert_eq!(mappings.apply(&orders).unwrap().columns, [(1, "paid".to_owned())]);
}

#[test]
fn a_rule_about_unfit_values_says_what_it_lacks() {
    let rule = |target: &str, value: Option<&str>, old: Option<&str>| {
        let at = json!({"schema-name": "shop", "table-name": "%", "column-name": "born"});
        refused(&[include(1, "shop", "%"), change(2, target, "unfit-values", &at, value, old)])
    };
    assert_eq!(rule("column", None, None), "rule 2: value must be given, as text");
    assert_eq!(rule("column", Some("nil"), None), "rule 2: value must be as-data-error, null, clamp or text");
    assert_eq!(rule("column", Some("null"), Some("x")), "rule 2: old-value is not used by this rule-action");
}
