//! What other systems' tables become.

use wavemark_domain::TableName;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::extras::{Action, DefaultValue, ForeignKey, Index, IndexPart};

use super::*;

fn source(columns: &[&str], key: &[&str]) -> Table {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        declared: String::new(),
        not_null: key.contains(name),
        generated: false,
        native: serde_json::Value::Null,
    };
    Table {
        name: TableName::new("shop", "orders"),
        kind: TableKind::Table,
        columns: columns.iter().map(column).collect(),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        rows_estimated: None,
        bytes_estimated: None,
        native: serde_json::Value::Null,
    }
}

fn index(name: &str, unique: bool, columns: &[&str]) -> Index {
    let part = |column: &&str| IndexPart { column: (*column).to_owned(), descending: false };
    Index { name: name.into(), unique, parts: columns.iter().map(part).collect(), most_bytes: None }
}

const ENDLESS: Logical = Logical::Text { length: None };

fn text_of(length: u32) -> Logical {
    Logical::Text { length: Some(length) }
}

fn declared(columns: &[(&str, Logical)], key: &[&str], extras: &Extras) -> Vec<String> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let logical: Vec<Option<Logical>> = columns.iter().map(|(_, logical)| Some(logical.clone())).collect();
    table(&source(&names, key), &logical, extras).columns.into_iter().map(|column| column.declared).collect()
}

/// Those that are not in the table always have their place, or none in a text either.
#[test]
fn what_can_be_a_text_stands_in_the_manual() {
    const MANUAL: &str = include_str!("../../../../../docs/FIDELITY.md");
    let section = MANUAL.split("\nInto MySQL and MariaDB:").nth(1).unwrap().split("\nWhat holds").next().unwrap();
    for logical in all() {
        let row = section.lines().find(|line| line.starts_with(&format!("| {logical} |")));
        let is_spelled = row.is_some_and(|row| row.ends_with("| yes |"));
        assert_eq!(crate::target::values::is_spelled(&logical), is_spelled, "{logical}");
    }
}

pub(super) fn all() -> [Logical; 19] {
    [
        Logical::Boolean,
        Logical::Int16,
        Logical::Int32,
        Logical::Int64,
        Logical::Uint64,
        Logical::Decimal { precision: None, scale: None },
        Logical::Float32,
        Logical::Float64,
        text_of(20),
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
fn digits_and_lengths_are_the_sources_where_there_are_as_many() {
    let of = |logical: &Logical| of(logical, Room::Own).declared;
    let decimal = |precision, scale| Logical::Decimal { precision: Some(precision), scale: Some(scale) };
    for (logical, expected) in [
        (decimal(10, 2), "decimal(10,2)"),
        (decimal(65, 30), "decimal(65,30)"),
        (Logical::Decimal { precision: Some(5), scale: None }, "decimal(5,0)"),
        (decimal(66, 2), "longtext"),
        (decimal(40, 31), "longtext"),
        (decimal(2, 5), "longtext"),
        (Logical::Time { digits: 0 }, "time"),
        (Logical::Timestamp { digits: 6 }, "datetime(6)"),
        (Logical::Instant { digits: 9 }, "datetime(6)"),
        (text_of(16_383), "varchar(16383)"),
        (text_of(16_384), "longtext"),
        (text_of(0), "longtext"),
        (Logical::Bits { length: 64 }, "bit(64)"),
        (Logical::Bits { length: 65 }, "longblob"),
        (Logical::Bits { length: 0 }, "longblob"),
    ] {
        assert_eq!(of(&logical), expected, "{logical:?}");
    }
}

#[test]
fn a_text_that_tells_rows_apart_has_a_length_that_its_index_holds() {
    let extras = Extras {
        indexes: vec![index("by_code", true, &["code", "kind"]), index("by_note", false, &["note"])],
        ..Extras::default()
    };
    let columns =
        [("id", ENDLESS), ("code", ENDLESS), ("kind", text_of(20)), ("note", ENDLESS), ("image", Logical::Bytes)];
    let found = declared(&columns, &["id"], &extras);
    assert_eq!(found, ["varchar(768)", "varchar(748)", "varchar(20)", "longtext", "longblob"]);
    let found = declared(&[("a", ENDLESS), ("b", Logical::Bytes), ("c", Logical::Int64)], &["a", "b", "c"], &extras);
    assert_eq!(found, ["varchar(383)", "varbinary(1532)", "bigint"]);
    let key = ForeignKey {
        name: "fk".into(),
        columns: vec!["to".into()],
        target: TableName::new("shop", "others"),
        target_columns: vec!["id".into()],
        on_update: Action::NoAction,
        on_delete: Action::Cascade,
        own: false,
    };
    let extras = Extras { foreign_keys: vec![key], ..Extras::default() };
    assert_eq!(declared(&[("id", Logical::Int32), ("to", ENDLESS)], &["id"], &extras), ["int", "varchar(768)"]);
}

#[test]
fn the_longest_texts_lie_elsewhere_where_a_row_is_too_small() {
    let columns = [("id", Logical::Int32), ("a", text_of(10_000)), ("b", text_of(8_000)), ("c", text_of(2_000))];
    assert_eq!(declared(&columns, &["id"], &Extras::default()), ["int", "longtext", "varchar(8000)", "varchar(2000)"]);
    let many: Vec<(String, Logical)> = (0..300).map(|at| (format!("c{at}"), text_of(255))).collect();
    let many: Vec<(&str, Logical)> = many.iter().map(|(name, logical)| (name.as_str(), logical.clone())).collect();
    let found = declared(&many, &[], &Extras::default());
    // 65,535 bytes without 300 times 38 hold 52 times 1,022.
    assert_eq!(found.iter().filter(|declared| *declared == "varchar(255)").count(), 52);
}

#[test]
fn short_texts_lie_elsewhere_where_half_a_page_is_too_small() {
    let count = |columns: usize, length: u32| {
        let many: Vec<(String, Logical)> = (0..columns).map(|at| (format!("c{at}"), text_of(length))).collect();
        let many: Vec<(&str, Logical)> = many.iter().map(|(name, logical)| (name.as_str(), logical.clone())).collect();
        declared(&many, &[], &Extras::default()).iter().filter(|declared| declared.starts_with("varchar")).count()
    };
    // 97 texts of 82 bytes are 7,954.
    assert_eq!(count(97, 20), 97);
    // 190 of 42 bytes are 7,980: 20 bytes are left, and none takes 40 more.
    assert_eq!(count(190, 20), 0);
    assert_eq!(count(120, 20), 74);
    // Where nothing would be gained nothing is done.
    assert_eq!(count(190, 9), 190);
}

#[test]
fn one_column_counts_the_keys_first() {
    let counted = ColumnExtras { counted: true, ..ColumnExtras::default() };
    let extras = Extras { columns: vec![counted.clone(), counted], ..Extras::default() };
    let counting = |key: &[&str], first: Logical| {
        let mut source = source(&["a", "b"], key);
        source.columns.iter_mut().for_each(|column| column.not_null = true);
        let table = table(&source, &[Some(first), Some(Logical::Int64)], &extras);
        let counts = |column: &Column| ColumnNative::of(column).unwrap().auto_increment;
        table.columns.iter().map(counts).collect::<Vec<_>>()
    };
    assert_eq!(counting(&["a"], Logical::Int32), [true, false]);
    assert_eq!(counting(&["b"], Logical::Int32), [false, true]);
    assert_eq!(counting(&[], Logical::Float64), [false, true]);
}

#[test]
fn what_hangs_on_a_column_that_is_none_here_is_left_out() {
    let mut from = source(&["id", "sum", "place", "doc", "name"], &["id"]);
    from.columns[1].generated = true;
    let logical = [Some(Logical::Int32), Some(Logical::Int32), None, Some(Logical::Json), Some(text_of(5))];
    let all: Vec<String> = (0..17).map(|at| format!("c{at}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let extras = Extras {
        left_out: Vec::new(),
        columns: vec![
            ColumnExtras::default(),
            ColumnExtras::default(),
            ColumnExtras::default(),
            ColumnExtras::default(),
            ColumnExtras {
                default: Some(DefaultValue::Literal { text: "it's".into() }),
                counted: false,
                comment: Some("who".into()),
            },
        ],
        indexes: vec![
            index("a", false, &["sum"]),
            index("b", true, &["id", "place"]),
            index("c", false, &["doc"]),
            index("d", false, &all),
            index("name", true, &["name"]),
        ],
        foreign_keys: ["id", "sum"]
            .map(|column| ForeignKey {
                name: "fk".into(),
                columns: vec![column.into()],
                target: TableName::new("shop", "others"),
                target_columns: vec!["id".into()],
                on_update: Action::Restrict,
                on_delete: Action::SetNull,
                own: false,
            })
            .to_vec(),
        comment: Some("what was bought".into()),
    };
    let made = table(&from, &logical, &extras);
    let native = TableNative::of(&made);
    assert_eq!(native.indexes.iter().map(|index| index.name.as_str()).collect::<Vec<_>>(), ["name"]);
    assert_eq!(native.foreign_keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["orders_fk"]);
    assert_eq!(native.comment.as_deref(), Some("what was bought"));
    assert_eq!(made.columns[2].native, serde_json::Value::Null);
    let name = ColumnNative::of(&made.columns[4]).unwrap();
    assert_eq!(name.default, Some(DefaultValue::Literal { text: "it's".into() }));
    assert_eq!(
        (name.comment.as_deref(), name.charset.as_deref(), name.collation),
        (Some("who"), Some("utf8mb4"), None)
    );
}

#[test]
fn what_travels_is_taken_in_the_form_of_its_type() {
    let column = |data_type: &str| {
        let native = ColumnNative { data_type: data_type.to_owned(), ..ColumnNative::default() };
        Column { native: json!(native), ..source(&["a"], &[]).columns.remove(0) }
    };
    let names = |column: &Column, logical: Option<&Logical>| {
        accepts(column, logical).iter().map(|encoding| encoding.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&column("numeric"), Some(&ENDLESS)), ["canonical text"]);
    assert_eq!(names(&column("bigint"), None), ["canonical int64"]);
    assert_eq!(names(&column("geometry"), None), ["canonical bytes"]);
    assert!(names(&column("oracle_xml"), None).is_empty());
}
