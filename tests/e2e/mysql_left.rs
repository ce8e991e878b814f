//! What tables have besides rows: carried over where the other system can have it, and named with a statement where it can't.
//! Wrapped by `mariadb` and `mysql`.

use serde_json::json;
use wavemark_tests::mysql_family::Server;

use crate::mysql_family::{Dialect, source, target_rows, task};
use crate::mysql_tables::not_carried_over;
use crate::mysql_target as copies;
use crate::world::World;

/// What was told, as `what: statement`, in order.
fn told(left: &[(String, String)]) -> Vec<String> {
    let what = |text: &str| {
        let text = text.strip_prefix("Not carried over of ").unwrap();
        text.strip_suffix(". Make it at the target if it is wanted there.").unwrap().to_owned()
    };
    let mut told: Vec<String> = left.iter().map(|(text, statement)| format!("{}: {statement}", what(text))).collect();
    told.sort();
    told
}

/// Of MySQL and MariaDB at PostgreSQL. The server's words for rules that are not said differ.
const FOR_POSTGRESQL: &str = "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; \
    CREATE TABLE words (word varchar(30) COLLATE utf8mb4_unicode_ci PRIMARY KEY); \
    CREATE TABLE others (id int PRIMARY KEY); \
    CREATE TABLE orders (id int PRIMARY KEY, word varchar(30) COLLATE utf8mb4_unicode_ci, far varchar(700) NOT NULL, \
    spread varchar(700), zero date DEFAULT '0000-00-00', flags bit(5) DEFAULT b'101', raw varbinary(5) DEFAULT X'00ff41', \
    at timestamp NULL DEFAULT '2020-01-01 05:00:00', never timestamp NULL DEFAULT '0000-00-00 00:00:00', \
    hidden int DEFAULT 3 INVISIBLE, UNIQUE KEY far (far), KEY both_of (spread, id), \
    CONSTRAINT of_word FOREIGN KEY (word) REFERENCES words (word) ON UPDATE RESTRICT ON DELETE RESTRICT); \
    INSERT INTO words VALUES ('a'); INSERT INTO orders (id, word, far, zero, never) VALUES (1, 'a', 'b', NULL, NULL);";

const LACKED_BY_POSTGRESQL: [&str; 5] = [
    "shop.orders: foreign key of_word: ALTER TABLE \"shop\".\"orders\" ADD CONSTRAINT \"of_word\" FOREIGN KEY (\"word\") \
     REFERENCES \"shop\".\"words\" (\"word\") ON UPDATE RESTRICT ON DELETE RESTRICT;",
    "shop.orders: index both_of: CREATE INDEX ON \"shop\".\"orders\" (\"spread\", \"id\");",
    "shop.orders: index far: CREATE UNIQUE INDEX ON \"shop\".\"orders\" (\"far\");",
    "shop.orders: the default of column never: ALTER TABLE \"shop\".\"orders\" ALTER COLUMN \"never\" SET DEFAULT '0000-00-00 00:00:00';",
    "shop.orders: the default of column zero: ALTER TABLE \"shop\".\"orders\" ALTER COLUMN \"zero\" SET DEFAULT '0000-00-00';",
];

/// A source whose sessions are five hours east of Greenwich, where its timestamps' defaults were written.
fn eastern<P: Dialect>(sql: &str) -> Server<P> {
    source::<P>(&[], &format!("SET sql_mode = '', time_zone = '+05:00'; {sql}"))
}

/// What PostgreSQL can have of a table comes there, defaults as what they mean in UTC, and the rest is told by name; most of it can
/// be made by hand while the rows allow it. The events of the start say the same.
pub(crate) async fn what_postgresql_lacks_of_a_table_is_told<P: Dialect>() {
    let source = eastern::<P>(FOR_POSTGRESQL);
    let world = World::start().await;
    let task = task(&world, &source, "full-load", &json!({})).await;
    let left = not_carried_over(&world, task).await;
    assert_eq!(told(&left), LACKED_BY_POSTGRESQL);
    world.installation.api.act(task, "start").await.unwrap();
    world.status(task, "stopped").await;
    let events = world.installation.api.events(task).await.unwrap();
    let is_told = |what: &str| events.iter().any(|event| event.code == "not-carried-over" && event.text.contains(what));
    assert!(is_told("index far") && is_told("foreign key of_word"), "{events:?}");
    for (_, statement) in left.iter().filter(|(_, statement)| !statement.contains("0000-00-00")) {
        world.target(statement).await;
    }
    let add = "INSERT INTO shop.orders (id, far) VALUES (2, 'c') \
        RETURNING concat_ws(' ', flags, raw, at AT TIME ZONE 'UTC', hidden, zero, never)";
    assert_eq!(target_rows(&world, add).await, ["00101 \\x00ff41 2020-01-01 00:00:00 3"]);
}

/// Between servers of one kind there is all that they can have.
const FOR_ITS_KIND: &str = "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; \
    CREATE TABLE words (word varchar(30) COLLATE utf8mb4_unicode_ci PRIMARY KEY); \
    CREATE TABLE orders (id int PRIMARY KEY, word varchar(30) COLLATE utf8mb4_unicode_ci, raw varbinary(5) DEFAULT X'00ff41', \
    at timestamp NULL DEFAULT '2020-01-01 05:00:00', hidden int NOT NULL DEFAULT 3 INVISIBLE, \
    CONSTRAINT of_word FOREIGN KEY (word) REFERENCES words (word) ON UPDATE RESTRICT ON DELETE RESTRICT); \
    INSERT INTO words VALUES ('a'); INSERT INTO orders (id, word, hidden) VALUES (1, 'A', 4);";
const KEYS: &str = "SELECT constraint_name, table_name, column_name, referenced_table_name, referenced_column_name \
    FROM information_schema.key_column_usage WHERE table_schema = 'shop' ORDER BY 1, 2, 3";
const INVISIBLE: &str = "SELECT table_name, column_name FROM information_schema.columns \
    WHERE table_schema = 'shop' AND extra LIKE '%INVISIBLE%' ORDER BY 1, 2";

pub(crate) async fn keys_of_alike_texts_and_hidden_columns_go_to_one_of_its_kind<P: Dialect>() {
    let (from, to) = (eastern::<P>(FOR_ITS_KIND), copies::target::<P>(&["--local-infile=ON"]));
    let world = World::start().await;
    let kind = if P::LOGS_ACTIONS { "full-load-and-cdc" } else { "full-load" };
    let task = copies::of_its_kind(&world, &from, &to, kind).await;
    assert_eq!(told(&not_carried_over(&world, task).await), Vec::<String>::new());
    copies::becomes_equal(&from, &to, &[KEYS, INVISIBLE]).await;
    assert_eq!(to.rows(INVISIBLE).unwrap(), ["orders\thidden"]);
    if P::LOGS_ACTIONS {
        from.execute("INSERT INTO shop.orders (id, word, hidden) VALUES (2, 'a', 5)").unwrap();
        copies::becomes_equal(&from, &to, &["SELECT id, word, hidden FROM shop.orders ORDER BY id"]).await;
    }
    to.execute("INSERT INTO shop.orders (id) VALUES (7)").unwrap();
    let rows =
        "SET time_zone = '+00:00'; SELECT id, hex(raw), at, hidden FROM shop.orders WHERE id IN (1, 7) ORDER BY id";
    assert_eq!(to.rows(rows).unwrap(), ["1\t00FF41\t2020-01-01 00:00:00\t4", "7\t00FF41\t2020-01-01 00:00:00\t3"]);
}

/// MariaDB tells texts of any length apart by their hashes; MySQL has nothing like it.
const HASHED: &str = "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; \
    CREATE TABLE notes (id int PRIMARY KEY, note text, far varchar(2000), n int, word text DEFAULT 'it''s', \
    UNIQUE KEY note_n (note, n), UNIQUE KEY far (far)); INSERT INTO notes (id, note, n, far) VALUES (1, 'a', 1, 'b');";
const UNIQUES: &str = "SELECT index_name, seq_in_index, column_name FROM information_schema.statistics \
    WHERE table_schema = 'shop' AND non_unique = 0 ORDER BY 1, 2";

pub(crate) async fn a_unique_index_over_long_texts_is_made_or_told<P: Dialect, Q: Dialect>() {
    let (from, to) = (source::<P>(&[], HASHED), copies::target::<Q>(&["--local-infile=ON"]));
    let world = World::start().await;
    let task = copies::of_its_kind(&world, &from, &to, "full-load-and-cdc").await;
    world.live(task).await;
    // The log has the hashes as columns of their own.
    from.execute("USE shop; INSERT INTO notes (id, note, n) VALUES (2, repeat('c', 5000), 2); UPDATE notes SET far = 'd' WHERE id = 1").unwrap();
    let left = told(&not_carried_over(&world, task).await);
    if Q::LOGS_ACTIONS {
        let expected = [
            "shop.notes: index far: ALTER TABLE `shop`.`notes` ADD UNIQUE INDEX `far` (`far`);",
            "shop.notes: index note_n: ALTER TABLE `shop`.`notes` ADD UNIQUE INDEX `note_n` (`note`, `n`);",
        ];
        assert_eq!(left, expected);
        assert_eq!(to.rows(UNIQUES).unwrap(), ["PRIMARY\t1\tid"]);
    } else {
        assert_eq!(left, Vec::<String>::new());
        copies::becomes_equal(&from, &to, &[UNIQUES]).await;
    }
    copies::becomes_equal(&from, &to, &["SELECT id, note, n, far, word FROM shop.notes ORDER BY id"]).await;
    to.execute("INSERT INTO shop.notes (id) VALUES (7)").unwrap();
    assert_eq!(to.rows("SELECT word FROM shop.notes WHERE id = 7").unwrap(), ["it's"]);
}

/// Of PostgreSQL at MySQL and MariaDB.
const FOR_THE_FAMILY: &str = "create schema shop; create table shop.others (id bigint primary key, code text unique); \
    create table shop.orders (id int primary key, at timestamptz default now(), fixed timestamptz(3) default '2020-01-01 02:00:00+02', \
    word text default 'it''s', doc jsonb default '{\"a\": 1}', exact jsonb default '{\"a\": 1.000000000000000000001}', \
    u uuid default '00000000-0000-0000-0000-00000000000a', raw bytea default '\\x00ff', flags bit(3) default B'101', \
    wide bit(70) default repeat('1', 70)::bit(70), back date default '0044-03-15 BC', other int references shop.others (id), \
    code text references shop.others (code)); \
    create index by_doc on shop.orders (doc); create index by_doc_id on shop.orders (id, doc); \
    insert into shop.others values (1, 'a'); insert into shop.orders (id, exact, back, other, code) values (1, null, null, 1, 'a')";

const LACKED_BY_THE_FAMILY: [&str; 5] = [
    "shop.orders: foreign key orders_other_fkey: ALTER TABLE `shop`.`orders` ADD CONSTRAINT `orders_other_fkey` FOREIGN KEY (`other`) \
     REFERENCES `shop`.`others` (`id`) ON UPDATE NO ACTION ON DELETE NO ACTION;",
    "shop.orders: index by_doc: ALTER TABLE `shop`.`orders` ADD INDEX `by_doc` (`doc`);",
    "shop.orders: index by_doc_id: ALTER TABLE `shop`.`orders` ADD INDEX `by_doc_id` (`id`, `doc`);",
    "shop.orders: the default of column back: ALTER TABLE `shop`.`orders` ALTER COLUMN `back` SET DEFAULT ('0044-03-15 BC');",
    "shop.orders: the default of column wide: ALTER TABLE \"shop\".\"orders\" ALTER COLUMN \"wide\" SET DEFAULT \
     (repeat('1'::text, 70))::bit(70);",
];
const INEXACT: &str = "shop.orders: the default of column exact: ALTER TABLE `shop`.`orders` ALTER COLUMN `exact` SET DEFAULT \
    ('{\"a\": 1.000000000000000000001}');";

pub(crate) async fn what_the_family_lacks_of_postgresqls_tables_is_told<P: Dialect>() {
    let to = copies::target::<P>(&["--local-infile=ON"]);
    let world = World::start().await;
    world.source(FOR_THE_FAMILY).await;
    let task = copies::from_postgresql(&world, &to, &json!({})).await;
    world.live(task).await;
    let mut expected: Vec<&str> = LACKED_BY_THE_FAMILY.to_vec();
    // MariaDB keeps the text of a document.
    expected.extend(P::LOGS_ACTIONS.then_some(INEXACT));
    expected.sort_unstable();
    assert_eq!(told(&not_carried_over(&world, task).await), expected);
    // Whoever takes the copy over may live anywhere.
    to.execute("SET time_zone = '-07:00'; INSERT INTO shop.orders (id) VALUES (2)").unwrap();
    let row = "SELECT abs(timestampdiff(SECOND, at, utc_timestamp())) < 60, fixed, word, json_extract(doc, '$.a'), u, hex(raw), \
        flags + 0, other, code FROM shop.orders WHERE id = 2";
    assert_eq!(
        to.rows(row).unwrap(),
        ["1\t2020-01-01 00:00:00.000\tit's\t1\t00000000-0000-0000-0000-00000000000a\t00FF\t5\tNULL\tNULL"]
    );
    let keys =
        "SELECT constraint_name FROM information_schema.referential_constraints WHERE constraint_schema = 'shop'";
    assert_eq!(to.rows(keys).unwrap(), ["orders_code_fkey"]);
}
