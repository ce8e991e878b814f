//! Waves: each apply method leaves the same table, and none is less strict than another.

use wavemark_connector::target::{Segment, Session};
use wavemark_domain::ChangeKind::{Delete, Insert};
use wavemark_domain::{Batch, ChangeKind, Fault, TableId};

use super::super::sets::Method;
use super::super::wave::Waves;
use super::*;

const METHODS: [Option<Method>; 4] = [None, Some(Method::Singles), Some(Method::Arrays), Some(Method::Staged)];

fn items() -> TablePlan {
    plan(0, "items", &[("id!", "integer"), ("code", "integer"), ("note", "text"), ("document", "text")])
}

async fn items_table(database: &Database) {
    database
        .sql(
            "CREATE SCHEMA shop; \
             CREATE TABLE shop.items (id integer PRIMARY KEY, code integer UNIQUE, note text, document text); \
             INSERT INTO shop.items SELECT n, n * 10, 'note ' || n, repeat('x', n) FROM generate_series(1, 6) n",
        )
        .await;
}

fn item(id: i32, code: i32, note: &'static str) -> [V; 4] {
    [V::Int(id), V::Int(code), V::Text(note), V::Unchanged]
}

fn key(id: i32) -> [V; 4] {
    [V::Int(id), V::Null, V::Null, V::Null]
}

/// Insert, update, delete, a row that comes and goes, one that is replaced, one that moves twice, NULL, an
/// unchanged document.
fn ordinary() -> Batch {
    let mut batch = Batch::default();
    insert(&mut batch, 0, &[V::Int(7), V::Int(70), V::Text("new"), V::Text("doc")]);
    update(&mut batch, 0, None, &item(7, 71, "new, changed"));
    insert(&mut batch, 0, &[V::Int(8), V::Int(80), V::Text("gone again"), V::Null]);
    delete(&mut batch, 0, &key(8));
    update(&mut batch, 0, None, &[V::Int(1), V::Null, V::Text("note 1"), V::Unchanged]);
    delete(&mut batch, 0, &key(2));
    insert(&mut batch, 0, &[V::Int(2), V::Int(22), V::Text("replaced"), V::Null]);
    update(&mut batch, 0, Some(&key(3)), &item(33, 30, "moved"));
    update(&mut batch, 0, Some(&key(33)), &item(34, 30, "moved again"));
    delete(&mut batch, 0, &key(4));
    batch.end_transaction(position(1), 0);
    batch
}

const ORDINARY: &str = "1|NULL|note 1|x\n2|22|replaced|NULL\n34|30|moved again|xxx\n5|50|note 5|xxxxx\n\
    6|60|note 6|xxxxxx\n7|71|new, changed|doc";
const ALL: &str = "SELECT id AS a, code AS b, note AS c, document AS d FROM shop.items ORDER BY id::text";

#[tokio::test]
async fn each_method_leaves_the_same_table() {
    for method in METHODS {
        let database = Database::new().await;
        items_table(&database).await;
        let plan = [items()];
        let mut session = session(&database, &plan).await;
        session.waves.force = method;
        wave(&mut session, &plan, &ordinary(), 1).await.unwrap();
        assert_eq!(database.rows(ALL).await, ORDINARY, "{method:?}");
    }
}

#[tokio::test]
async fn staging_is_made_once_and_empty_in_the_next_wave() {
    let database = Database::new().await;
    items_table(&database).await;
    let plan = [items()];
    let mut session = session(&database, &plan).await;
    session.waves.force = Some(Method::Staged);
    for number in 1..4 {
        let mut batch = Batch::default();
        update(&mut batch, 0, None, &item(1, 100 + i32::try_from(number).unwrap(), "again"));
        wave(&mut session, &plan, &batch, number).await.unwrap();
    }
    assert_eq!(database.rows("SELECT code FROM shop.items WHERE id = 1").await, "103");
}

/// A staging table goes with what is taken back and stays with what is committed, whichever of several it is.
#[tokio::test]
async fn staging_is_known_after_a_fall_back_a_failed_wave_and_a_finished_load() {
    let database = Database::new().await;
    items_table(&database).await;
    database
        .sql("CREATE TABLE shop.log (n integer); INSERT INTO shop.log SELECT n % 7 FROM generate_series(1, 70) n")
        .await;
    let plan = [plan(1, "log", &[("n", "integer")]), items()];
    let mut session = session(&database, &plan).await;
    session.waves.force = Some(Method::Staged);
    let shrink = |batch: &mut Batch| (0..7).for_each(|n| delete(batch, 1, &[V::Int(n)]));
    let swap = |batch: &mut Batch, first: i32, second: i32| {
        update(batch, 0, None, &item(1, 999, "spare"));
        update(batch, 0, None, &item(2, first, "took 1's"));
        update(batch, 0, None, &item(1, second, "took 2's"));
    };
    for (number, (first, second)) in [(1, (10, 20)), (2, (20, 10))] {
        let mut batch = Batch::default();
        shrink(&mut batch);
        swap(&mut batch, first, second);
        wave(&mut session, &plan, &batch, number).await.unwrap();
    }
    let mut missing = Batch::default();
    shrink(&mut missing);
    delete(&mut missing, 1, &[V::Int(8)]);
    assert_eq!(wave(&mut session, &plan, &missing, 3).await.unwrap_err().code, "divergence");
    session.roll_back().await.unwrap();
    for number in [3, 4] {
        let mut batch = Batch::default();
        shrink(&mut batch);
        update(&mut batch, 0, None, &item(3, 300, "again"));
        wave(&mut session, &plan, &batch, number).await.unwrap();
        session.finish_load(&plan).await.unwrap();
    }
    assert_eq!(
        database.rows("SELECT n AS a, count(*) AS b FROM shop.log GROUP BY n ORDER BY n LIMIT 2").await,
        "0|6\n1|6"
    );
    assert_eq!(
        database.rows("SELECT id AS a, code AS b FROM shop.items WHERE id < 4 ORDER BY id").await,
        "1|10\n2|20\n3|300"
    );
    let staging = "SELECT count(*) FROM pg_class WHERE relname LIKE 'wavemark_staging%'";
    assert_eq!(database.rows(staging).await, "0", "what is forgotten is dropped");
}

#[tokio::test]
async fn unique_values_that_swap_fall_back_to_the_sources_order() {
    for method in METHODS {
        let database = Database::new().await;
        items_table(&database).await;
        let plan = [items()];
        let mut session = session(&database, &plan).await;
        session.waves.force = method;
        let mut batch = Batch::default();
        update(&mut batch, 0, None, &item(1, 999, "spare"));
        update(&mut batch, 0, None, &item(2, 10, "took 1's"));
        update(&mut batch, 0, None, &item(1, 20, "took 2's"));
        wave(&mut session, &plan, &batch, 1).await.unwrap();
        let rows = database.rows("SELECT id AS a, code AS b FROM shop.items WHERE id < 3 ORDER BY id").await;
        assert_eq!(rows, "1|20\n2|10", "{method:?}");
    }
}

/// What is taken back for one table's unique values is what was sent since the savepoint, once, and nothing before it.
#[tokio::test]
async fn unique_values_that_swap_in_two_of_three_tables_take_nothing_else_along() {
    for method in METHODS {
        let database = Database::new().await;
        items_table(&database).await;
        database
            .sql(
                "CREATE TABLE shop.more (LIKE shop.items INCLUDING ALL); INSERT INTO shop.more TABLE shop.items; \
                 CREATE TABLE shop.log (id integer PRIMARY KEY, word text); CREATE TABLE shop.old (id integer PRIMARY KEY)",
            )
            .await;
        let more = plan(1, "more", &[("id!", "integer"), ("code", "integer"), ("note", "text"), ("document", "text")]);
        let log = plan(2, "log", &[("id!", "integer"), ("word", "text")]);
        let plan = [items(), more, log, plan(3, "old", &[("id!", "integer")])];
        let mut session = session(&database, &plan).await;
        session.waves.force = method;
        let swap = |batch: &mut Batch, table: u32, [a, b]: [i32; 2]| {
            update(batch, table, None, &item(1, 999, "spare"));
            update(batch, table, None, &item(2, a, "took 1's"));
            update(batch, table, None, &item(1, b, "took 2's"));
        };
        for (number, codes) in [(1, [10, 20]), (2, [20, 10])] {
            let mut batch = Batch::default();
            insert(&mut batch, 2, &[V::Int(10 * number), V::Text("before")]);
            insert(&mut batch, 3, &[V::Int(number)]);
            batch.push_change(TableId(3), ChangeKind::Truncate, None, None);
            swap(&mut batch, 0, codes);
            insert(&mut batch, 2, &[V::Int(10 * number + 1), V::Text("between")]);
            swap(&mut batch, 1, codes);
            insert(&mut batch, 3, &[V::Int(number)]);
            wave(&mut session, &plan, &batch, number.into()).await.unwrap();
            for table in ["items", "more"] {
                let query = format!("SELECT id AS a, code AS b FROM shop.{table} WHERE id < 3 ORDER BY id");
                let rows = database.rows(&query).await;
                assert_eq!(rows, format!("1|{}\n2|{}", codes[1], codes[0]), "{table}, {method:?}");
            }
            assert_eq!(database.rows("SELECT id AS a FROM shop.old").await, number.to_string(), "{method:?}");
        }
        let rows = database.rows("SELECT id AS a, word AS b FROM shop.log ORDER BY id").await;
        assert_eq!(rows, "10|before\n11|between\n20|before\n21|between", "{method:?}");
    }
}

#[tokio::test]
async fn keys_that_swap_and_shift_arrive() {
    for method in METHODS {
        let database = Database::new().await;
        items_table(&database).await;
        let plan = [items()];
        let mut session = session(&database, &plan).await;
        session.waves.force = method;
        let mut batch = Batch::default();
        for (from, to, code) in [(1, 99, 10), (2, 1, 20), (99, 2, 10), (6, 7, 60), (5, 6, 50)] {
            update(&mut batch, 0, Some(&key(from)), &item(to, code, "moved"));
        }
        wave(&mut session, &plan, &batch, 1).await.unwrap();
        let rows = database.rows("SELECT id AS a, code AS b, document AS c FROM shop.items ORDER BY id").await;
        assert_eq!(rows, "1|20|xx\n2|10|x\n3|30|xxx\n4|40|xxxx\n6|50|xxxxx\n7|60|xxxxxx", "{method:?}");
    }
}

#[tokio::test]
async fn a_truncate_in_the_middle_empties_what_was_before_it() {
    for method in METHODS {
        let database = Database::new().await;
        items_table(&database).await;
        let plan = [items()];
        let mut session = session(&database, &plan).await;
        session.waves.force = method;
        let mut batch = Batch::default();
        insert(&mut batch, 0, &[V::Int(7), V::Int(70), V::Text("before"), V::Null]);
        batch.push_change(TableId(0), ChangeKind::Truncate, None, None);
        insert(&mut batch, 0, &[V::Int(7), V::Int(70), V::Text("after"), V::Null]);
        wave(&mut session, &plan, &batch, 1).await.unwrap();
        assert_eq!(database.rows("SELECT id AS a, note AS b FROM shop.items").await, "7|after", "{method:?}");
    }
}

#[tokio::test]
async fn a_table_that_foreign_keys_point_at_is_emptied_too() {
    let database = Database::new().await;
    items_table(&database).await;
    database.sql("CREATE TABLE shop.lines (item integer REFERENCES shop.items)").await;
    let plan = [items()];
    let mut session = session(&database, &plan).await;
    let mut batch = Batch::default();
    batch.push_change(TableId(0), ChangeKind::Truncate, None, None);
    wave(&mut session, &plan, &batch, 1).await.unwrap();
    assert_eq!(database.rows("SELECT count(*) FROM shop.items").await, "0");
}

type Edit = fn(&mut Batch);

#[tokio::test]
async fn a_change_that_does_not_find_its_row_is_a_divergence_in_every_method() {
    let cases: [(&str, Edit); 3] = [
        ("update", |batch| update(batch, 0, None, &item(77, 770, "nobody"))),
        ("delete", |batch| delete(batch, 0, &key(77))),
        ("insert", |batch| insert(batch, 0, &[V::Int(1), V::Int(770), V::Text("twice"), V::Null])),
    ];
    for method in METHODS {
        for (what, change) in cases {
            let database = Database::new().await;
            items_table(&database).await;
            let before = database.rows(ALL).await;
            let plan = [items()];
            let mut session = session(&database, &plan).await;
            session.waves.force = method;
            let mut batch = Batch::default();
            update(&mut batch, 0, None, &item(5, 51, "good"));
            change(&mut batch);
            let problem = wave(&mut session, &plan, &batch, 1).await.unwrap_err();
            assert_eq!(problem.fault, Fault::Data, "{what} {method:?}: {problem}");
            assert_eq!(problem.table, Some(TableName::new("shop", "items")), "{what} {method:?}");
            assert_eq!(problem.key_columns, ["id"], "{what} {method:?}");
            let expected = if what == "insert" { "duplicate-key" } else { "divergence" };
            assert_eq!(problem.code, expected, "{what} {method:?}: {problem}");
            assert!(!problem.text.contains("77"), "a value in: {problem}");
            session.roll_back().await.unwrap();
            assert_eq!(database.rows(ALL).await, before, "{what} {method:?}");
            // The session goes on.
            wave(&mut session, &plan, &ordinary(), 1).await.unwrap();
            assert_eq!(database.rows(ALL).await, ORDINARY, "{what} {method:?}");
        }
    }
}

#[tokio::test]
async fn bookmark_and_rows_are_one_commit() {
    let database = Database::new().await;
    items_table(&database).await;
    let plan = [items()];
    let mut session = session(&database, &plan).await;
    wave(&mut session, &plan, &ordinary(), 1).await.unwrap();
    let of =
        "SELECT (SELECT xmin::text FROM wavemark.progress) = (SELECT xmin::text FROM shop.items WHERE id = 7) AS same";
    assert_eq!(database.rows(of).await, "true");
    let bookmark = "SELECT wave AS a, encode(position, 'hex') AS b, position_text AS c, epoch AS d, \
        extract(epoch FROM source_committed_at)::bigint AS e FROM wavemark.progress";
    assert_eq!(database.rows(bookmark).await, "1|01|0/1|1|1700000000");
}

#[tokio::test]
async fn a_wave_is_not_committed_twice() {
    let database = Database::new().await;
    items_table(&database).await;
    let plan = [items()];
    let mut session = session(&database, &plan).await;
    wave(&mut session, &plan, &ordinary(), 1).await.unwrap();
    // As if this session did not know of it.
    session.last = 0;
    let mut batch = Batch::default();
    update(&mut batch, 0, None, &item(5, 51, "second"));
    let problem = wave(&mut session, &plan, &batch, 1).await.unwrap_err();
    assert_eq!(problem.code, "duplicate-key");
    assert_eq!(database.rows("SELECT note FROM shop.items WHERE id = 5").await, "note 5");
}

#[tokio::test]
async fn rows_without_a_key_are_changed_one_copy_at_a_time() {
    for method in METHODS {
        let database = Database::new().await;
        database
            .sql(
                "CREATE SCHEMA shop; CREATE TABLE shop.log (n numeric, j json, p point); \
                 INSERT INTO shop.log SELECT n::numeric, '{\"a\": 1}', NULL FROM unnest(ARRAY['1.0', '1.00', '1.0', '2']) n",
            )
            .await;
        let plan = [plan(0, "log", &[("n", "numeric"), ("j", "json"), ("p", "point")])];
        let mut session = session(&database, &plan).await;
        session.waves.force = method;
        // numeric on the wire: digits, weight, sign, scale, digits of base 10000.
        let number = |value: u8, scale: u8| V::Bytes(vec![0, 1, 0, 0, 0, 0, 0, scale, 0, value]);
        let row = |value, scale| [number(value, scale), V::Text("{\"a\": 1}"), V::Null];
        let mut batch = Batch::default();
        delete(&mut batch, 0, &row(1, 2));
        update(&mut batch, 0, Some(&row(1, 1)), &[number(3, 0), V::Unchanged, V::Null]);
        insert(&mut batch, 0, &row(4, 0));
        insert(&mut batch, 0, &row(4, 0));
        wave(&mut session, &plan, &batch, 1).await.unwrap();
        let rows = database.rows("SELECT n::text AS a, j::text AS b FROM shop.log ORDER BY n").await;
        let json = "{\"a\": 1}";
        assert_eq!(rows, format!("1.0|{json}\n2|{json}\n3|{json}\n4|{json}\n4|{json}"), "{method:?}");

        let mut batch = Batch::default();
        delete(&mut batch, 0, &row(1, 2));
        let problem = wave(&mut session, &plan, &batch, 2).await.unwrap_err();
        assert_eq!(problem.code, "divergence", "{method:?}");
    }
}

#[tokio::test]
async fn identities_are_written_as_they_came() {
    for method in METHODS {
        let database = Database::new().await;
        database
            .sql(
                "CREATE SCHEMA shop; CREATE TABLE shop.a (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer); \
                 CREATE TABLE shop.b (id integer PRIMARY KEY, s integer GENERATED ALWAYS AS IDENTITY); \
                 INSERT INTO shop.b VALUES (1)",
            )
            .await;
        let plan = [
            plan(0, "a", &[("id!", "integer"), ("n", "integer")]),
            plan(1, "b", &[("id!", "integer"), ("s", "integer")]),
        ];
        let mut session = session(&database, &plan).await;
        session.waves.force = method;
        let mut batch = Batch::default();
        insert(&mut batch, 0, &[V::Int(40), V::Int(1)]);
        update(&mut batch, 0, None, &[V::Int(40), V::Int(2)]);
        delete(&mut batch, 1, &[V::Int(1), V::Null]);
        insert(&mut batch, 1, &[V::Int(1), V::Int(17)]);
        wave(&mut session, &plan, &batch, 1).await.unwrap();
        let rows = "SELECT id AS a, n AS b FROM shop.a UNION ALL SELECT id, s FROM shop.b";
        assert_eq!(database.rows(rows).await, "40|2\n1|17", "{method:?}");
    }
}

/// At the source `UPDATE … SET id = DEFAULT`: here no UPDATE may do that.
#[tokio::test]
async fn an_identity_that_moves_takes_its_row_along() {
    for method in METHODS {
        let database = Database::new().await;
        database
            .sql(
                "CREATE SCHEMA shop; \
                 CREATE TABLE shop.a (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer, t text); \
                 CREATE TABLE shop.b (id integer PRIMARY KEY, s integer GENERATED ALWAYS AS IDENTITY); \
                 CREATE TABLE shop.c (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer, more text); \
                 INSERT INTO shop.a (n, t) VALUES (1, 'large'), (2, 'x'); INSERT INTO shop.b VALUES (1); \
                 INSERT INTO shop.c (n, more) VALUES (1, 'kept')",
            )
            .await;
        let plan = [
            plan(0, "a", &[("id!", "integer"), ("n", "integer"), ("t", "text")]),
            plan(1, "b", &[("id!", "integer"), ("s", "integer")]),
            plan(2, "c", &[("id!", "integer"), ("n", "integer")]),
        ];
        let mut session = session(&database, &plan).await;
        session.waves.force = method;
        let mut batch = Batch::default();
        update(&mut batch, 0, Some(&[V::Int(1), V::Null, V::Null]), &[V::Int(9), V::Int(5), V::Unchanged]);
        update(&mut batch, 0, None, &[V::Int(2), V::Int(6), V::Text("y")]);
        update(&mut batch, 1, None, &[V::Int(1), V::Int(1)]);
        wave(&mut session, &plan, &batch, 1).await.unwrap();
        let rows = "SELECT id AS a, n AS b, t AS c FROM shop.a ORDER BY id";
        assert_eq!(database.rows(rows).await, "2|6|y\n9|5|large", "{method:?}");

        // Where the row can't be made again, or its identity is another one, nothing is passed over in silence.
        let mut moved = Batch::default();
        update(&mut moved, 2, Some(&[V::Int(1), V::Null]), &[V::Int(9), V::Int(5)]);
        let mut other = Batch::default();
        update(&mut other, 1, None, &[V::Int(1), V::Int(44)]);
        for (batch, code) in [(moved, "identity-moves"), (other, "divergence")] {
            let problem = wave(&mut session, &plan, &batch, 2).await.unwrap_err();
            assert_eq!(problem.code, code, "{method:?}: {problem}");
            session.roll_back().await.unwrap();
        }
        assert_eq!(database.rows("SELECT id AS a, n AS b, more AS c FROM shop.c").await, "1|1|kept");
    }
}

#[tokio::test]
async fn without_the_right_to_switch_them_off_foreign_keys_still_hold() {
    let database = Database::new().await;
    let (plan, mut session) = family(&database, "", false).await;
    session.waves.force = Some(Method::Staged);
    let mut batch = Batch::default();
    insert(&mut batch, 0, &[V::Int(2)]);
    update(&mut batch, 1, None, &[V::Int(1), V::Int(2)]);
    delete(&mut batch, 0, &[V::Int(1)]);
    wave(&mut session, &plan, &batch, 1).await.unwrap();
    assert_eq!(database.rows("SELECT parent FROM shop.child").await, "2");
}

/// A family of two tables, whose key of the child is made with these words; what may be switched off is told.
async fn family(database: &Database, key: &str, switched_off: bool) -> ([TablePlan; 2], PgSession) {
    database
        .sql(&format!(
            "CREATE SCHEMA shop; CREATE TABLE shop.parent (id integer PRIMARY KEY); \
             CREATE TABLE shop.child (id integer PRIMARY KEY, parent integer REFERENCES shop.parent {key}); \
             INSERT INTO shop.parent VALUES (1); INSERT INTO shop.child VALUES (1, 1)"
        ))
        .await;
    let plan =
        [plan(0, "parent", &[("id!", "integer")]), plan(1, "child", &[("id!", "integer"), ("parent", "integer")])];
    let mut session = session(database, &plan).await;
    for table in &plan {
        session.adopt_table(table, &mark(table, 0)).await.unwrap();
    }
    if !switched_off {
        session.waves.client.batch_execute("SET session_replication_role = origin").await.unwrap();
        session.waves.replica = false;
    }
    (plan, session)
}

/// What a key did at the source is in the log: where it can't be switched off it would be done twice.
#[tokio::test]
async fn a_key_that_acts_is_refused_where_it_can_not_be_switched_off() {
    for (key, switched_off) in [("ON DELETE CASCADE", true), ("ON DELETE CASCADE", false), ("DEFERRABLE", false)] {
        let database = Database::new().await;
        let (plan, mut session) = family(&database, key, switched_off).await;
        let mut batch = Batch::default();
        delete(&mut batch, 0, &[V::Int(1)]);
        delete(&mut batch, 1, &[V::Int(1), V::Null]);
        let outcome = wave(&mut session, &plan, &batch, 1).await;
        let refused = (key == "ON DELETE CASCADE" && !switched_off).then_some("target-key-acts");
        assert_eq!(outcome.as_ref().err().map(|problem| &*problem.code), refused, "{key}, {switched_off}");
        let left = if refused.is_some() { "1" } else { "0" };
        assert_eq!(database.rows("SELECT count(*) AS a FROM shop.child").await, left, "{key}, {switched_off}");
    }
}

/// The server refuses to empty a table of which a check is put off.
#[tokio::test]
async fn what_is_put_off_is_checked_before_its_table_is_emptied() {
    let database = Database::new().await;
    let (plan, mut session) = family(&database, "DEFERRABLE", false).await;
    let mut batch = Batch::default();
    insert(&mut batch, 0, &[V::Int(2)]);
    insert(&mut batch, 1, &[V::Int(2), V::Int(2)]);
    batch.push_change(TableId(1), ChangeKind::Truncate, None, None);
    insert(&mut batch, 1, &[V::Int(3), V::Int(2)]);
    wave(&mut session, &plan, &batch, 1).await.unwrap();
    assert_eq!(database.rows("SELECT id AS a FROM shop.child").await, "3");
}

#[tokio::test]
async fn thousands_of_changes_go_by_the_methods_that_the_sizes_choose() {
    let database = Database::new().await;
    database
        .sql(
            "CREATE SCHEMA shop; CREATE TABLE shop.big (id bigint PRIMARY KEY, n integer, tags integer[]); \
             INSERT INTO shop.big SELECT n, 0, '{}' FROM generate_series(1, 6000) n",
        )
        .await;
    let plan = [plan(0, "big", &[("id!", "bigint"), ("n", "integer"), ("tags", "integer[]")])];
    let mut session = session(&database, &plan).await;
    let empty = || V::Bytes(vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23]);
    let mut batch = Batch::default();
    // Updates staged, deletes by arrays, inserts by COPY, and updates without the array column by arrays.
    (1..=3_000).for_each(|id| update(&mut batch, 0, None, &[V::Long(id), V::Int(1), empty()]));
    (3_001..=3_500).for_each(|id| delete(&mut batch, 0, &[V::Long(id), V::Null, V::Null]));
    (3_501..=4_000).for_each(|id| update(&mut batch, 0, None, &[V::Long(id), V::Int(2), V::Unchanged]));
    (6_001..=9_000).for_each(|id| insert(&mut batch, 0, &[V::Long(id), V::Int(3), empty()]));
    wave(&mut session, &plan, &batch, 1).await.unwrap();
    let counts = "SELECT n AS a, count(*) AS b, sum(id) AS c FROM shop.big GROUP BY n ORDER BY n";
    assert_eq!(database.rows(counts).await, "0|2000|10001000\n1|3000|4501500\n2|500|1875250\n3|3000|22501500");
}

#[tokio::test]
async fn what_is_left_out_of_a_segment_is_not_applied() {
    let database = Database::new().await;
    items_table(&database).await;
    let plan = [items()];
    let mut session = session(&database, &plan).await;
    let mut batch = Batch::default();
    update(&mut batch, 0, None, &item(1, 11, "in"));
    update(&mut batch, 0, None, &item(2, 21, "out"));
    let segment = Segment { batch: &batch, range: 0..2, without: Some(&[false, true]) };
    session.apply(&plan, &segment).await.unwrap();
    commit(&mut session, 1).await.unwrap();
    let rows = database.rows("SELECT id AS a, note AS b FROM shop.items WHERE id < 3 ORDER BY id").await;
    assert_eq!(rows, "1|in\n2|note 2");
}

#[tokio::test]
async fn old_bookmarks_are_removed_and_the_newest_stays() {
    let database = Database::new().await;
    items_table(&database).await;
    let plan = [items()];
    let mut session = session(&database, &plan).await;
    for number in 1..=502 {
        session
            .commit(&WaveEnd {
                wave: WaveNumber(number),
                position: &position(1),
                position_text: "0/1",
                committed_at: None,
                parked: &[],
            })
            .await
            .unwrap();
    }
    let kept = "SELECT min(wave) AS a, max(wave) AS b FROM wavemark.progress";
    assert_eq!(database.rows(kept).await, "490|502");
}

/// A trigger that swallows rows, where triggers fire, or one that always does: the wave must not be committed without
/// them.
#[tokio::test]
async fn an_insert_that_a_trigger_swallows_is_a_divergence() {
    for (count, always) in [1, 90, 400].into_iter().flat_map(|count| [(count, false), (count, true)]) {
        let database = Database::new().await;
        items_table(&database).await;
        database
            .sql(
                "CREATE FUNCTION shop.swallow() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN IF NEW.id = 50 THEN RETURN NULL; END IF; RETURN NEW; END $$; \
                 CREATE TRIGGER swallow BEFORE INSERT ON shop.items FOR EACH ROW EXECUTE FUNCTION shop.swallow()",
            )
            .await;
        if always {
            database.sql("ALTER TABLE shop.items ENABLE ALWAYS TRIGGER swallow").await;
        }
        let plan = [items()];
        let mut session = session(&database, &plan).await;
        if !always {
            session.waves.client.batch_execute("SET session_replication_role = origin").await.unwrap();
            session.waves.replica = false;
        }
        let mut batch = Batch::default();
        for id in 50..50 + count {
            insert(&mut batch, 0, &[V::Int(id), V::Null, V::Text("n"), V::Null]);
        }
        let problem = wave(&mut session, &plan, &batch, 1).await.unwrap_err();
        assert_eq!(problem.code, "divergence", "{count}, {always}: {problem}");
        session.roll_back().await.unwrap();
        assert_eq!(database.rows("SELECT count(*) FROM shop.items").await, "6", "{count}, {always}");
    }
}

#[tokio::test]
async fn long_runs_go_by_sets_and_so_do_few_that_would_each_scan_a_table() {
    let database = Database::new().await;
    database
        .sql(
            "CREATE SCHEMA shop; CREATE TABLE shop.keyed (id integer PRIMARY KEY); CREATE TABLE shop.keyless (id integer); \
             CREATE TABLE shop.child (id integer PRIMARY KEY REFERENCES shop.keyed (id))",
        )
        .await;
    let id = [("id!", "integer")];
    let plan = [plan(0, "keyed", &id), plan(1, "keyless", &[("id", "integer")]), plan(2, "child", &id)];
    let mut session = session(&database, &plan).await;
    let waves = &mut session.waves;
    waves.learn(plan.iter().map(|table| table.id)).await.unwrap();
    let run = |table: u32, kind: ChangeKind, count: usize| {
        let mut batch = Batch::default();
        for _ in 0..count {
            match kind {
                Insert => insert(&mut batch, table, &[V::Int(1)]),
                _ => delete(&mut batch, table, &[V::Int(1)]),
            }
        }
        batch
    };
    let by_sets = |waves: &Waves, batch: &Batch| {
        let changes: Vec<_> = batch.changes().iter().enumerate().collect();
        waves.goes_by_sets(batch, &changes)
    };
    let cases = [
        (0, Delete, 100, false),
        (0, Delete, 101, true),
        (0, Insert, 100, false),
        (0, Insert, 101, true),
        (1, Delete, 5, false),
        (1, Delete, 6, true),
        (1, Insert, 50, false),
        (2, Delete, 101, true),
    ];
    for (table, kind, count, expected) in cases {
        assert_eq!(by_sets(waves, &run(table, kind, count)), expected, "{count} × {kind:?} of table {table}");
    }
    waves.replica = false;
    // With foreign keys that hold, the source's order is the only one that is allowed.
    assert!(!by_sets(waves, &run(2, Delete, 101)) && !by_sets(waves, &run(2, Insert, 500)));
    assert!(by_sets(waves, &run(1, Delete, 6)));
    waves.force = Some(Method::Staged);
    assert!(by_sets(waves, &run(1, Insert, 1)) && !by_sets(waves, &run(2, Insert, 1)));
    waves.force = Some(Method::Singles);
    assert!(!by_sets(waves, &run(1, Delete, 101)));
}

#[tokio::test]
async fn statements_are_prepared_once() {
    let database = Database::new().await;
    items_table(&database).await;
    let plan = [items()];
    let mut session = session(&database, &plan).await;
    let mut counts = Vec::new();
    for number in 1..=3_u8 {
        let mut batch = Batch::default();
        update(&mut batch, 0, None, &item(1, 10 + i32::from(number), "again"));
        update(&mut batch, 0, None, &item(2, 20 + i32::from(number), "again"));
        wave(&mut session, &plan, &batch, i64::from(number)).await.unwrap();
        let count = session.waves.client.query_one("SELECT count(*) FROM pg_prepared_statements", &[]).await.unwrap();
        counts.push(count.get::<_, i64>(0));
    }
    // One of them is the question itself, kept by the driver no longer than it is asked.
    assert_eq!(counts[1], counts[2], "{counts:?}");
}
