//! Rows that leave columns out, as sessions log them whose `binlog_row_image` is not `FULL`.

use serde_json::json;

use super::*;
use crate::log::assembler::tests::examples::{column, int};

/// `t (id int PRIMARY KEY, n int, b blob NULL, c text NOT NULL)`.
fn wide_plan() -> TablePlan {
    let blob = wavemark_domain::Column { not_null: false, ..column("b", json!({"data_type": "blob"})) };
    let text = column("c", json!({"data_type": "text", "charset": "utf8mb4"}));
    examples::plan(vec![int("id"), int("n"), blob, text], &["id"])
}

fn assembler_of(dialect: Dialect) -> Assembler {
    let mut rules = rules(TaskSettings::default());
    rules.server.dialect = dialect;
    Assembler::new(&[wide_plan()], Start::at(place(100)), rules)
}

fn announced_wide() -> Vec<u8> {
    let columns = [4, 3, 3, 252, 252, 2, 2, 2, 0];
    within(TABLE_MAP, &[&[7, 0, 0, 0, 0, 0, 1, 0, 4][..], b"shop\0\x01t\0", &columns].concat())
}

/// Rows of these columns, by a bit for each, with whole numbers and texts of one character in their order.
fn rows(kind: u8, present: &[u8], values: &[u8]) -> Vec<u8> {
    let mut body = [&[7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 4][..], present].concat();
    let mut values = values.iter();
    for image in present {
        body.push(0);
        for at in (0..4).filter(|at| image & 1 << at != 0) {
            let value = *values.next().unwrap();
            body.extend(if at < 2 { vec![value, 0, 0, 0] } else { vec![1, 0, value] });
        }
    }
    within(kind, &body)
}

fn annotated(text: &str) -> Vec<u8> {
    within(160, text.as_bytes())
}

/// Each cell of the changes' new rows: its last byte, `-` for NULL, `=` where it is as it was.
fn cells(assembler: &mut Assembler, events: &[Vec<u8>]) -> String {
    for (at, event) in (2..).zip(events) {
        assembler.event(&up_to(at * 100, event.clone())).unwrap();
    }
    let taken = assembler.take();
    if let Some((_, problem)) = taken.barriers.first() {
        return problem.code.clone();
    }
    let batch = &taken.batch;
    let cell = |cell: &wavemark_domain::Cell| match batch.value(*cell) {
        Some(bytes) => bytes.last().map_or("''".to_owned(), u8::to_string),
        None if *cell == wavemark_domain::Cell::UNCHANGED => "=".to_owned(),
        None => "-".to_owned(),
    };
    let row = |change| batch.new_row(change, 4).unwrap().iter().map(cell).collect::<Vec<_>>().join(" ");
    batch.changes().iter().map(row).collect::<Vec<_>>().join(", ")
}

const UPDATE: u8 = 31;

#[test]
fn of_an_insert_only_columns_without_a_default_may_be_left_out() {
    for dialect in [Dialect::Mysql, Dialect::Mariadb] {
        let of = |present: u8, values: &[u8]| {
            let events = [statement("BEGIN"), announced_wide(), rows(WRITE_ROWS, &[present], values), xid()];
            cells(&mut assembler_of(dialect), &events)
        };
        assert_eq!(of(0b1111, &[1, 2, 3, 4]), "1 2 3 4");
        assert_eq!(of(0b0011, &[1, 2]), "1 2 - ''");
        assert_eq!(of(0b1101, &[1, 3, 4]), "row-incomplete");
    }
}

/// `n int DEFAULT 77`, and one that may not be NULL whatever is said of it.
#[test]
fn of_an_insert_a_column_that_is_left_out_has_its_default_if_that_is_known() {
    let of = |n: wavemark_domain::Column| {
        let mut plan = wide_plan();
        let mut source = (*plan.source).clone();
        source.columns[1] = n;
        plan.source = source.into();
        let events = [statement("BEGIN"), announced_wide(), rows(WRITE_ROWS, &[0b1101], &[1, 3, 4]), xid()];
        let mut assembler = Assembler::new(&[plan], Start::at(place(100)), rules(TaskSettings::default()));
        cells(&mut assembler, &events)
    };
    let n = |unsaid| column("n", json!({"data_type": "int", "unsaid": unsaid}));
    assert_eq!(of(n(json!({"text": "77"}))), "1 77 3 4");
    assert_eq!(of(wavemark_domain::Column { not_null: false, ..n(json!("null")) }), "1 - 3 4");
    assert_eq!(of(n(json!("null"))), "row-incomplete");
}

fn updated(dialect: Dialect, text: Option<&str>, present: [u8; 2], values: &[u8]) -> String {
    let mut events = vec![statement("BEGIN")];
    events.extend(text.map(annotated));
    events.extend([announced_wide(), rows(UPDATE, &present, values), xid()]);
    cells(&mut assembler_of(dialect), &events)
}

#[test]
fn of_an_update_of_mysql_columns_may_be_left_out() {
    assert_eq!(updated(Dialect::Mysql, None, [0b0001, 0b0010], &[1, 9]), "1 9 = =");
    assert_eq!(updated(Dialect::Mysql, None, [0b0001, 0b0011], &[1, 5, 9]), "5 9 = =");
}

/// Of a table without a key the old row is there whole.
#[test]
fn a_table_without_a_key_has_what_is_left_out_from_the_row_before() {
    let keyless = TablePlan { key: Vec::new(), ..wide_plan() };
    let of = |present: [u8; 2], values: &[u8]| {
        let events = [statement("BEGIN"), announced_wide(), rows(UPDATE, &present, values), xid()];
        cells(
            &mut Assembler::new(std::slice::from_ref(&keyless), Start::at(place(100)), rules(TaskSettings::default())),
            &events,
        )
    };
    assert_eq!(of([0b1111, 0b0010], &[1, 2, 3, 4, 9]), "1 9 3 4");
    assert_eq!(of([0b0111, 0b0010], &[1, 2, 3, 9]), "row-incomplete");
}

/// As MariaDB 10.11 logs a `REPLACE`, and an `UPDATE` of the same columns.
#[test]
fn of_an_update_of_mariadb_they_may_where_the_statement_is_none_that_replaces() {
    let of = |text, present, values: &[u8]| updated(Dialect::Mariadb, text, present, values);
    for (present, values, row) in
        [([0b0001, 0b0011], vec![1, 1, 9], "1 9 = ="), ([0b0001, 0b0010], vec![1, 9], "1 9 = =")]
    {
        assert_eq!(of(Some("UPDATE t SET id = 1, n = 9"), present, &values), row);
        assert_eq!(
            of(Some("insert into `t` (id, n) values (1, 9) on duplicate key update n = 9"), present, &values),
            row
        );
        for text in
            [None, Some("REPLACE INTO t (id, n) VALUES (1, 9)"), Some("UPDATE x SET a = 1"), Some("DELETE FROM x")]
        {
            assert_eq!(of(text, present, &values), "row-incomplete", "{text:?}");
        }
    }
    assert_eq!(of(None, [0b1111, 0b1111], &[1, 2, 3, 4, 1, 9, 9, 9]), "1 9 9 9");
}

#[test]
fn a_statement_is_that_of_its_rows_alone() {
    let one =
        |text: &str, values: &[u8]| vec![annotated(text), announced_wide(), rows(UPDATE, &[0b0001, 0b0010], values)];
    let of = |second: Vec<Vec<u8>>| {
        let events = [vec![statement("BEGIN")], one("UPDATE t SET n = 9", &[1, 9]), second, vec![xid()]];
        cells(&mut assembler_of(Dialect::Mariadb), &events.concat())
    };
    assert_eq!(of(one("UPDATE t SET n = 8", &[2, 8])), "1 9 = =, 2 8 = =");
    assert_eq!(of(one("UPDATE t SET n = 8", &[2, 8])[1..].to_vec()), "row-incomplete");
    let branch = |text: &str| {
        let [first, .., end, last] = &prepared(A, 0..1, 0)[..] else { unreachable!() };
        let rows = one(text, &[1, 9]);
        cells(
            &mut assembler_of(Dialect::Mariadb),
            &[&[first.clone()][..], &rows, &[end.clone(), last.clone(), commit(A)]].concat(),
        )
    };
    assert_eq!(branch("UPDATE t SET n = 9"), "1 9 = =");
    assert_eq!(branch("REPLACE t SET n = 9"), "row-incomplete");
}
