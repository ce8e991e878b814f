//! Statements as text; `target/tests/tables.rs` has servers run them.

use std::sync::Arc;

use serde_json::json;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::extras::DefaultValue;
use wavemark_domain::{Column, ColumnPlan, Encoding, Table, TableId, TableName};

use super::*;
use crate::defaults::Dialect;
use crate::native::ColumnNative;

fn server(dialect: Dialect, version: (u16, u16)) -> Server {
    let collations = ["latin1_bin", "utf8mb4_nopad_bin", "utf8mb4_0900_bin", "utf8mb4_unicode_ci"];
    let collations = collations.map(str::to_owned).into_iter().collect();
    Server { dialect, version, patch: 13, collations, has_explicit_defaults: false }
}

fn column(name: &str, declared: &str, more: ColumnNative) -> Column {
    let data_type = declared.split(['(', ' ']).next().unwrap().to_owned();
    let native = json!(ColumnNative { data_type, ..more });
    Column { name: name.into(), declared: declared.into(), not_null: name != "may", generated: false, native }
}

fn compared(charset: &str, collation: &str) -> ColumnNative {
    let (charset, collation) = (Some(charset.to_owned()), Some(collation.to_owned()));
    ColumnNative { length: Some(20), charset, collation, ..ColumnNative::default() }
}

fn plan(columns: Vec<Column>, key: &[&str]) -> TablePlan {
    let planned = |(source, column): (usize, &Column)| ColumnPlan {
        source,
        target_name: format!("t`{}", column.name),
        encoding: Encoding::named("canonical text"),
        unfit: wavemark_domain::UnfitPolicy::default(),
        as_text: None,
    };
    TablePlan {
        id: TableId(0),
        columns: columns.iter().enumerate().map(planned).collect(),
        source: Arc::new(Table {
            name: TableName::new("shop", "a"),
            kind: TableKind::Table,
            columns,
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            rows_estimated: None,
            bytes_estimated: None,
            native: json!(TableNative { comment: Some("it's".into()), ..TableNative::default() }),
        }),
        declared: None,
        target: TableName::new("mart", "b`c"),
        key: Vec::new(),
        rows: None,
        schema_version: 1,
    }
}

#[test]
fn a_table_is_written_with_its_key_and_nothing_that_acts() {
    let default = Some(DefaultValue::Literal { text: "it's \\".into() });
    let plan = plan(
        vec![
            column("id", "bigint unsigned", ColumnNative { auto_increment: true, ..ColumnNative::default() }),
            column("name", "varchar(20)", ColumnNative { default, ..compared("latin1", "latin1_bin") }),
            column("may", "timestamp", ColumnNative::default()),
            column("at", "timestamp", ColumnNative::default()),
            column("doc", "json", ColumnNative::default()),
        ],
        &["name", "id"],
    );
    // Where a timestamp has no default the server gives it one that acts.
    assert_eq!(
        create_table(&plan, &server(Dialect::Mysql, (5, 7))).unwrap(),
        "CREATE TABLE `mart`.`b``c` (\n    \
         `t``id` bigint unsigned NOT NULL AUTO_INCREMENT,\n    \
         `t``name` varchar(20) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT 'it''s \\\\',\n    \
         `t``may` timestamp NULL,\n    \
         `t``at` timestamp NOT NULL DEFAULT 0,\n    \
         `t``doc` json NOT NULL,\n    \
         PRIMARY KEY (`t``name`, `t``id`),\n    \
         INDEX `wavemark_counter` (`t``id`)\n\
         ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COMMENT='it''s'"
    );
}

#[test]
fn what_a_server_lacks_is_written_as_what_it_has() {
    let plan = plan(
        vec![
            column("id", "varchar(20)", compared("utf8mb4", "utf8mb4_0900_ai_ci")),
            column("u", "uuid", ColumnNative::default()),
            column("ip", "inet4", ColumnNative::default()),
            column("old", "text", compared("utf8mb3", "utf8_unicode_ci")),
        ],
        &["id"],
    );
    let written = |dialect, version| {
        let text = create_table(&plan, &server(dialect, version)).unwrap();
        text.lines().skip(1).take(4).map(|line| line.trim().trim_end_matches(',').to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        written(Dialect::Mariadb, (10, 6)),
        [
            "`t``id` varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL",
            "`t``u` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
            "`t``ip` varchar(15) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
            "`t``old` text CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL",
        ]
    );
    assert_eq!(written(Dialect::Mariadb, (11, 8))[1..3], ["`t``u` uuid NOT NULL", "`t``ip` inet4 NOT NULL"]);
}

#[test]
fn what_a_server_has_nothing_for_is_told_by_name() {
    let plan = plan(vec![column("id", "varchar(20)", compared("utf8mb4", "utf8mb4_0900_ai_ci"))], &["id"]);
    let old = Server { collations: ["utf8mb4_bin".to_owned()].into(), ..server(Dialect::Mysql, (5, 7)) };
    let problem = create_table(&plan, &old).unwrap_err();
    assert_eq!(problem.code, "collation-missing");
    assert_eq!(
        problem.text,
        "Column id of shop.a can't be made at the target: MySQL 5.7 has nothing that compares a key's texts as \
         utf8mb4_0900_ai_ci does."
    );
}
