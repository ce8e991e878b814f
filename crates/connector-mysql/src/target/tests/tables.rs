//! Tables as real servers make them.

use std::sync::Arc;

use serde_json::Value;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::extras::{Action, ColumnExtras, DefaultValue, ForeignKey, Index, IndexPart};
use wavemark_domain::{Column, ColumnPlan, Extras, Logical, Table, TableId, TableName, TablePlan};

use super::{Database, Shared};
use crate::defaults::Dialect;
use crate::target::create::{self, Server};
use crate::target::declare;
use crate::target::values::TargetColumn;
use crate::wire::Connection;
use crate::{discover, encoding};

const ENDLESS: Logical = Logical::Text { length: None };

/// A table of another system, and the plan for it: names of the target begin with `t_`.
fn plan(id: u32, database: &str, name: &str, columns: &[(&str, Logical)], key: &[&str], extras: &Extras) -> TablePlan {
    let column = |(name, _): &(&str, Logical)| Column {
        name: (*name).to_owned(),
        declared: "other".to_owned(),
        not_null: key.contains(name),
        generated: false,
        native: Value::Null,
    };
    let source = Table {
        name: TableName::new("shop", name),
        kind: TableKind::Table,
        columns: columns.iter().map(column).collect(),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        rows_estimated: None,
        bytes_estimated: None,
        native: Value::Null,
    };
    let logical: Vec<Option<Logical>> = columns.iter().map(|(_, logical)| Some(logical.clone())).collect();
    let declared = declare::table(&source, &logical, extras);
    let planned = |(at, (name, logical)): (usize, &(&str, Logical))| ColumnPlan {
        source: at,
        target_name: format!("t_{name}"),
        encoding: declare::accepts(&source.columns[at], Some(logical)).remove(0),
        unfit: wavemark_domain::UnfitPolicy::default(),
        as_text: None,
    };
    TablePlan {
        id: TableId(id),
        columns: columns.iter().enumerate().map(planned).collect(),
        key: key.iter().map(|name| source.column(name).unwrap()).collect(),
        declared: Some(Arc::new(declared)),
        target: TableName::new(database, format!("t_{name}")),
        source: Arc::new(source),
        rows: None,
        schema_version: 1,
    }
}

/// The plan of a table of this family, as it is at a server.
fn own_plan(source: Table, database: &str) -> TablePlan {
    let planned = |(at, column): (usize, &Column)| {
        let encoding = declare::accepts(column, encoding::logical(column).as_ref()).remove(0);
        (!column.generated).then(|| ColumnPlan {
            source: at,
            target_name: column.name.clone(),
            encoding,
            unfit: wavemark_domain::UnfitPolicy::default(),
            as_text: None,
        })
    };
    TablePlan {
        id: TableId(0),
        columns: source.columns.iter().enumerate().filter_map(planned).collect(),
        key: Vec::new(),
        declared: None,
        target: TableName::new(database, "copy"),
        source: Arc::new(source),
        rows: None,
        schema_version: 1,
    }
}

async fn look(connection: &mut Connection, name: &TableName) -> Table {
    discover::tables(connection, &|one| one == name).await.unwrap().remove(0)
}

/// `name type nullable charset/collation`, of each column.
fn shown<P: Shared>(database: &Database<P>, table: &str) -> Vec<String> {
    database.shown(&format!(
        "SELECT concat_ws(' ', column_name, replace(replace(replace(replace(replace(column_type, 'smallint(6)', 'smallint'), \
         'int(11)', 'int'), 'bigint(20)', 'bigint'), 'int(10) ', 'int '), 'bigint(20) ', 'bigint '), \
         if(is_nullable = 'NO', 'not null', NULL), \
         replace(replace(collation_name, 'utf8mb4_0900_bin', 'BYTES'), 'utf8mb4_nopad_bin', 'BYTES'), \
         nullif(extra, '')) FROM information_schema.columns WHERE table_schema = '{}' AND table_name = '{table}' \
         ORDER BY ordinal_position",
        database.name
    ))
}

/// `name unique column(prefix), …`, of each index.
fn indexes<P: Shared>(database: &Database<P>, table: &str) -> Vec<String> {
    database.shown(&format!(
        "SELECT concat(index_name, if(non_unique, ' ', ' unique '), group_concat(concat(column_name, \
         ifnull(concat('(', sub_part, ')'), ''), if(collation = 'D', ' desc', '')) ORDER BY seq_in_index)) \
         FROM information_schema.statistics WHERE table_schema = '{}' AND table_name = '{table}' \
         GROUP BY index_name, non_unique ORDER BY index_name",
        database.name
    ))
}

async fn a_table_of_another_system_is_made_with_every_type<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let server = Server::of(&mut connection).await.unwrap();
    let columns = [
        ("id", ENDLESS),
        ("bool", Logical::Boolean),
        ("i2", Logical::Int16),
        ("i4", Logical::Int32),
        ("i8", Logical::Int64),
        ("u8", Logical::Uint64),
        ("dec", Logical::Decimal { precision: None, scale: None }),
        ("dec2", Logical::Decimal { precision: Some(10), scale: Some(2) }),
        ("dec3", Logical::Decimal { precision: Some(100), scale: Some(2) }),
        ("f4", Logical::Float32),
        ("f8", Logical::Float64),
        ("name", Logical::Text { length: Some(16_000) }),
        ("text", ENDLESS),
        ("bytes", Logical::Bytes),
        ("date", Logical::Date),
        ("time", Logical::Time { digits: 6 }),
        ("ts", Logical::Timestamp { digits: 3 }),
        ("tstz", Logical::Instant { digits: 6 }),
        ("uuid", Logical::Uuid),
        ("json", Logical::Json),
        ("enum", Logical::Enum { labels: vec!["a".to_owned()] }),
        ("set", Logical::Set { labels: vec!["a".to_owned()] }),
        ("bits", Logical::Bits { length: 10 }),
        ("many", Logical::Bits { length: 70 }),
    ];
    let plan = plan(0, &database.name, "all", &columns, &["id"], &Extras::default());
    connection.execute(&create::create_table(&plan, &server).unwrap()).await.unwrap();
    let json = match server.dialect {
        Dialect::Mysql => "t_json json",
        Dialect::Mariadb => "t_json longtext utf8mb4_bin",
    };
    assert_eq!(
        shown(&database, "t_all"),
        [
            "t_id varchar(768) not null BYTES",
            "t_bool tinyint(1)",
            "t_i2 smallint",
            "t_i4 int",
            "t_i8 bigint",
            "t_u8 bigint unsigned",
            "t_dec decimal(65,30)",
            "t_dec2 decimal(10,2)",
            "t_dec3 longtext BYTES",
            "t_f4 float",
            "t_f8 double",
            "t_name longtext BYTES",
            "t_text longtext BYTES",
            "t_bytes longblob",
            "t_date date",
            "t_time time(6)",
            "t_ts datetime(3)",
            "t_tstz datetime(6)",
            "t_uuid char(36) ascii_bin",
            json,
            "t_enum varchar(255) BYTES",
            "t_set longtext BYTES",
            "t_bits bit(10)",
            "t_many longblob",
        ]
    );
    let found = look(&mut connection, &plan.target).await;
    for (at, column) in found.columns.iter().enumerate() {
        assert!(TargetColumn::fitting(&plan, at, column, server.dialect).is_some(), "{}", column.declared);
    }
    // Texts are the same only to the last byte.
    database.run("INSERT INTO t_all (t_id) VALUES ('a'), ('A'), ('a '), ('ä'), ('a\\0'), ('ａ')");
    assert_eq!(database.shown("SELECT count(*) FROM t_all WHERE t_id = 'a'"), ["1"]);
}

async fn staging_takes_the_columns_of_a_table_and_null<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    database.run(
        "CREATE TABLE a (id int AUTO_INCREMENT PRIMARY KEY, name varchar(20) CHARACTER SET latin1 COLLATE latin1_bin \
         NOT NULL, at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), state enum('a','it''s') NOT NULL, doc json, \
         some set('x') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, body longtext, raw varbinary(3) NOT NULL)",
    );
    let found = look(&mut connection, &TableName::new(&database.name, "a")).await;
    let dialect = Dialect::of(&connection.version);
    let of = |column: &Column| {
        let encoding = encoding::logical(column).unwrap().encoding();
        TargetColumn::new(&column.name, column, &encoding, dialect).unwrap().staged(format!("c_{}", column.name))
    };
    let columns: Vec<TargetColumn> =
        std::iter::once(TargetColumn::group()).chain(found.columns.iter().map(of)).collect();
    let name = format!("`{}`.`staging 1`", database.name);
    if dialect == Dialect::Mysql {
        connection.execute("SET SESSION sql_require_primary_key = ON").await.unwrap();
    }
    connection.execute("BEGIN").await.unwrap();
    connection.execute("INSERT INTO a (name, state, raw) VALUES ('b', 'a', '')").await.unwrap();
    connection.execute(&create::staging_table(&name, &columns)).await.unwrap();
    connection.execute(&format!("INSERT INTO {name} (g) VALUES (-1)")).await.unwrap();
    let set = "(g, c_id, c_name, c_state, c_raw) VALUES (1, 1, 'é', 'it''s', X'00')";
    connection.execute(&format!("INSERT INTO {name} {set}")).await.unwrap();
    let update = format!(
        "UPDATE {name} AS s STRAIGHT_JOIN a AS t ON t.id = s.c_id SET t.name = s.c_name, t.state = s.c_state, \
         t.raw = s.c_raw WHERE s.g = 1"
    );
    let done = connection.execute(&update).await.unwrap();
    assert_eq!((done.affected, done.warnings), (1, 0));
    // To make it was no commit, and the next wave empties it.
    assert_eq!(connection.execute(&format!("DELETE FROM {name}")).await.unwrap().affected, 2);
    connection.execute("ROLLBACK").await.unwrap();
    assert_eq!(database.shown("SELECT count(*) FROM a"), ["0"]);
}

fn index(name: &str, unique: bool, columns: &[(&str, bool)]) -> Index {
    let part =
        |(column, descending): &(&str, bool)| IndexPart { column: (*column).to_owned(), descending: *descending };
    Index { name: name.into(), unique, parts: columns.iter().map(part).collect(), most_bytes: None }
}

async fn indexes_and_keys_come_after_the_rows<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let server = Server::of(&mut connection).await.unwrap();
    let people =
        plan(1, &database.name, "people", &[("code", ENDLESS), ("n", Logical::Int32)], &["code"], &Extras::default());
    let default = |text: &str| ColumnExtras {
        default: Some(DefaultValue::Literal { text: text.to_owned() }),
        ..ColumnExtras::default()
    };
    let extras = Extras {
        left_out: Vec::new(),
        columns: vec![
            ColumnExtras { counted: true, comment: Some("it's a \\ number".into()), ..ColumnExtras::default() },
            default("a\\b'c"),
            ColumnExtras { default: Some(DefaultValue::Now { digits: 0 }), ..ColumnExtras::default() },
            ColumnExtras::default(),
            ColumnExtras::default(),
            default("true"),
            default("1.50"),
        ],
        indexes: vec![
            index("by_name", true, &[("name", false)]),
            index("by_moment", false, &[("at", true), ("name", false)]),
            index("by_body", false, &[("body", false), ("name", false)]),
            index("both", true, &[("body2", false), ("name", false)]),
        ],
        foreign_keys: vec![ForeignKey {
            name: "person".into(),
            columns: vec!["person".into()],
            target: TableName::new("shop", "people"),
            target_columns: vec!["code".into()],
            on_update: Action::NoAction,
            on_delete: Action::SetNull,
            own: false,
        }],
        comment: Some("what was bought".into()),
    };
    let columns = [
        ("id", Logical::Int64),
        ("name", Logical::Text { length: Some(20) }),
        ("at", Logical::Timestamp { digits: 3 }),
        ("body", ENDLESS),
        ("body2", ENDLESS),
        ("flag", Logical::Boolean),
        ("price", Logical::Decimal { precision: Some(10), scale: Some(2) }),
        ("person", ENDLESS),
    ];
    let orders = plan(2, &database.name, "orders", &columns, &["name", "id"], &extras);
    for table in [&people, &orders] {
        connection.execute(&create::create_table(table, &server).unwrap()).await.unwrap();
    }
    // A column counts by an index alone.
    assert_eq!(indexes(&database, "t_orders"), ["PRIMARY unique t_name,t_id", "wavemark_counter t_id"]);
    connection.execute(&create::add_indexes(&orders, &["BY_NAME"], &server).unwrap()).await.unwrap();
    connection
        .execute(&create::add_indexes(&orders, &["by_moment", "by_body", "both"], &server).unwrap())
        .await
        .unwrap();
    assert_eq!(create::add_indexes(&orders, &["by_name", "by_moment", "by_body", "both"], &server), None);
    let order = if server.dialect == Dialect::Mysql || server.version >= (10, 8) { " desc" } else { "" };
    assert_eq!(
        indexes(&database, "t_orders"),
        [
            "both unique t_body2,t_name".to_owned(),
            "by_body t_body(748),t_name".to_owned(),
            format!("by_moment t_at{order},t_name"),
            "by_name unique t_name".to_owned(),
            "PRIMARY unique t_name,t_id".to_owned(),
            "wavemark_counter t_id".to_owned(),
        ]
    );
    let plans = [people, orders];
    assert!(create::foreign_keys(&plans[1], &plans, &|one| one.id == TableId(2), &server).is_empty());
    let keys = create::foreign_keys(&plans[1], &plans, &|_| true, &server);
    assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["orders_person"]);
    connection.execute(&create::add_foreign_key(&plans[1], &plans, &keys[0])).await.unwrap();
    database.run("INSERT INTO t_people VALUES ('x', 1); INSERT INTO t_orders (t_person) VALUES ('x')");
    assert_eq!(
        database.shown("SELECT t_id, t_name, t_at > '2020-01-01', t_flag, t_price, t_person FROM t_orders"),
        ["1\ta\\b'c\t1\t1\t1.50\tx"]
    );
    database.run("DELETE FROM t_people");
    assert_eq!(database.shown("SELECT t_person FROM t_orders"), ["NULL"]);
    let comments = format!(
        "SELECT concat(column_comment, '|', (SELECT table_comment FROM information_schema.tables WHERE table_schema = '{0}' \
         AND table_name = 't_orders')) FROM information_schema.columns WHERE table_schema = '{0}' AND table_name = \
         't_orders' AND column_name = 't_id'",
        database.name
    );
    assert_eq!(database.shown(&comments), ["it's a \\ number|what was bought"]);
}

/// A copy of a table of the same system is declared as its original; what only `SHOW CREATE TABLE` tells is the same, too.
async fn a_table_of_the_same_system_is_made_again<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let server = Server::of(&mut connection).await.unwrap();
    database.run(
        "CREATE TABLE copy (a int unsigned NOT NULL, id bigint NOT NULL AUTO_INCREMENT, name varchar(20) CHARACTER SET \
         latin1 COLLATE latin1_german1_ci NOT NULL DEFAULT 'it''s', code char(3) CHARACTER SET utf8mb4 COLLATE \
         utf8mb4_bin DEFAULT '', price decimal(10,2) DEFAULT -1.50, ratio double DEFAULT NULL, bits bit(3) DEFAULT b'101', \
         raw varbinary(9) DEFAULT 'a', fixed binary(2), state enum('x','it''s') CHARACTER SET utf8mb4 COLLATE \
         utf8mb4_general_ci DEFAULT 'x', some set('p','q') CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, at timestamp(3) \
         NOT NULL DEFAULT CURRENT_TIMESTAMP(3), since datetime DEFAULT '2024-02-29 00:00:00', on_ timestamp NULL, day date \
         DEFAULT '2024-01-01', y year, body mediumtext CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci COMMENT 'it''s', \
         PRIMARY KEY (a, body(10)), KEY counter (id), UNIQUE KEY code_ (code, a)) COMMENT='c'",
    );
    let of = format!("SHOW CREATE TABLE `{}`.copy", database.name);
    let name = TableName::new(&database.name, "copy");
    let original = look(&mut connection, &name).await;
    let declared = connection.query(&of).await.unwrap()[0].text(1).unwrap();
    let plan = own_plan(original, &database.name);
    database.run("DROP TABLE copy");
    connection.execute(&create::create_table(&plan, &server).unwrap()).await.unwrap();
    connection.execute(&create::add_indexes(&plan, &["counter"], &server).unwrap()).await.unwrap();
    let again = connection.query(&of).await.unwrap()[0].text(1).unwrap();
    let lines = |text: &str| -> Vec<String> {
        let body = text.rsplit_once("\n)").unwrap().0.to_owned();
        let mut lines: Vec<String> = body.lines().map(|line| line.trim_end_matches(',').to_owned()).collect();
        lines.sort_unstable();
        lines
    };
    let expected = lines(&declared);
    let written_out =
        |line: &String| line.replace(" CHARACTER SET utf8mb4", "").replace(" COLLATE utf8mb4_general_ci", "");
    assert_eq!(
        lines(&again).iter().map(written_out).collect::<Vec<_>>(),
        expected.iter().map(written_out).collect::<Vec<_>>()
    );
}

/// A column of the other system of the family.
fn foreign(name: &str, declared: &str, native: crate::native::ColumnNative) -> Column {
    let data_type = declared.split('(').next().unwrap().to_owned();
    let native = serde_json::json!(crate::native::ColumnNative { data_type, ..native });
    Column { name: name.into(), declared: declared.into(), not_null: name == "id", generated: false, native }
}

async fn what_the_other_system_of_the_family_has_becomes_the_nearest<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let server = Server::of(&mut connection).await.unwrap();
    let nothing = crate::native::ColumnNative::default;
    let text = |collation: &str| crate::native::ColumnNative {
        length: Some(20),
        charset: Some(collation.split('_').next().unwrap().to_owned()),
        collation: Some(collation.to_owned()),
        ..nothing()
    };
    let varchar = "varchar(20)";
    let columns = vec![
        foreign("id", varchar, text("utf8mb4_0900_ai_ci")),
        foreign("nr", varchar, text("utf8mb4_uca1400_ai_ci")),
        foreign("a", varchar, text("utf8mb4_0900_ai_ci")),
        foreign("b", varchar, text("utf8mb4_sv_0900_as_cs")),
        foreign("c", varchar, text("utf8mb4_uca1400_swedish_nopad_as_ci")),
        foreign("d", varchar, text("latin1_swedish_nopad_ci")),
        foreign("e", varchar, text("gb18030_chinese_ci")),
        foreign("f", varchar, text("utf8mb4_nopad_bin")),
        foreign("uuid", "uuid", nothing()),
        foreign("ip", "inet6", nothing()),
        foreign("doc", "json", nothing()),
        foreign(
            "dec",
            "decimal(40,38)",
            crate::native::ColumnNative { precision: Some(40), scale: Some(38), ..nothing() },
        ),
    ];
    let native = crate::native::TableNative {
        indexes: vec![index("nr", true, &[("nr", false)])],
        ..crate::native::TableNative::default()
    };
    let source = Table {
        name: TableName::new("shop", "copy"),
        kind: TableKind::Table,
        columns,
        key: vec!["id".into()],
        rows_estimated: None,
        bytes_estimated: None,
        native: serde_json::json!(native),
    };
    let plan = own_plan(source, &database.name);
    connection.execute(&create::create_table(&plan, &server).unwrap()).await.unwrap();
    let expected = match server.dialect {
        Dialect::Mysql => [
            "id varchar(20) not null utf8mb4_0900_ai_ci",
            "nr varchar(20) BYTES",
            "a varchar(20) utf8mb4_0900_ai_ci",
            "b varchar(20) utf8mb4_sv_0900_as_cs",
            "c varchar(20) utf8mb4_0900_as_ci",
            "d varchar(20) latin1_swedish_ci",
            "e varchar(20) gb18030_chinese_ci",
            "f varchar(20) BYTES",
            "uuid char(36) ascii_bin",
            "ip varchar(45) ascii_bin",
            "doc json",
            "dec decimal(32,30)",
        ],
        Dialect::Mariadb => [
            "id varchar(20) not null BYTES",
            "nr varchar(20) utf8mb4_uca1400_ai_ci",
            "a varchar(20) utf8mb4_uca1400_nopad_ai_ci",
            "b varchar(20) utf8mb4_uca1400_swedish_nopad_as_cs",
            "c varchar(20) utf8mb4_uca1400_swedish_nopad_as_ci",
            "d varchar(20) latin1_swedish_nopad_ci",
            "e varchar(20) BYTES",
            "f varchar(20) BYTES",
            "uuid uuid",
            "ip inet6",
            "doc longtext utf8mb4_bin",
            "dec decimal(40,38)",
        ],
    };
    assert_eq!(shown(&database, "copy"), expected);
    let found = look(&mut connection, &plan.target).await;
    for (at, column) in found.columns.iter().enumerate() {
        assert!(TargetColumn::fitting(&plan, at, column, server.dialect).is_some(), "{}", column.declared);
    }
}

async fn a_column_that_comes_brings_a_value_for_the_rows_that_are_there<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let server = Server::of(&mut connection).await.unwrap();
    connection.execute(&create::create_database(&database.name)).await.unwrap();
    let cases = [
        ("text", ENDLESS, "it's \\", "it's \\"),
        ("name", Logical::Text { length: Some(9) }, "", ""),
        ("flag", Logical::Boolean, "t", "1"),
        ("price", Logical::Decimal { precision: Some(5), scale: Some(2) }, "-1.50", "-1.50"),
        ("ratio", Logical::Float64, "0.30000000000000004", "0.30000000000000004"),
        ("raw", Logical::Bytes, "\\x4100", "4100"),
        ("day", Logical::Date, "2024-02-29", "2024-02-29"),
        ("at", Logical::Instant { digits: 6 }, "2024-02-29 12:00:00.5+00", "2024-02-29 12:00:00.500000"),
        ("doc", Logical::Json, "{\"a\": 1}", "{\"a\": 1}"),
        ("bits", Logical::Bits { length: 10 }, "1000000001", "513"),
    ];
    database.run("CREATE TABLE t_a (t_id int PRIMARY KEY); INSERT INTO t_a VALUES (1)");
    let mut columns = vec![("id", Logical::Int32)];
    columns.extend(cases.iter().map(|(name, logical, _, _)| (*name, logical.clone())));
    let plan = plan(0, &database.name, "a", &columns, &["id"], &Extras::default());
    for (name, _, value, expected) in cases {
        let name = format!("t_{name}");
        let (first, last) = create::column_with(&plan, &name, value, &server).unwrap();
        connection.execute(&format!("ALTER TABLE t_a ADD COLUMN {first}")).await.unwrap();
        connection.execute(&format!("ALTER TABLE t_a {last}")).await.unwrap();
        let shown = match name.as_str() {
            "t_raw" => "hex(t_raw)",
            "t_bits" => "t_bits + 0",
            other => other,
        };
        assert_eq!(database.shown(&format!("SELECT {shown} FROM t_a")), [expected], "{name}");
    }
    database.run("INSERT INTO t_a (t_id) VALUES (2)");
    assert_eq!(
        database.shown("SELECT coalesce(t_text, t_name, t_flag, t_price, t_ratio, t_raw, t_day, t_at, t_bits) FROM t_a WHERE t_id = 2"),
        ["NULL"]
    );
    let refused = create::column_with(&plan, "t_day", "infinity", &server).unwrap_err();
    assert_eq!(refused.code, "layout-not-followed");
    let definition = create::column(&plan, "t_name", &server).unwrap();
    connection.execute(&format!("ALTER TABLE t_a MODIFY COLUMN {definition}")).await.unwrap();
}

/// So many texts go on a page whatever they hold; of more columns each row is looked at.
async fn a_wide_table_is_made_and_holds_its_rows<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let server = Server::of(&mut connection).await.unwrap();
    for (id, logical) in [
        Logical::Text { length: Some(20) },
        Logical::Text { length: Some(255) },
        ENDLESS,
        Logical::Enum { labels: Vec::new() },
        Logical::Bytes,
    ]
    .into_iter()
    .enumerate()
    {
        let names: Vec<String> = (0..185).map(|at| format!("c{at}")).collect();
        let mut columns = vec![("id", Logical::Int32)];
        columns.extend(names.iter().map(|name| (name.as_str(), logical.clone())));
        let name = format!("wide{id}");
        let plan = plan(0, &database.name, &name, &columns, &["id"], &Extras::default());
        connection.execute(&create::create_table(&plan, &server).unwrap()).await.unwrap();
        let values = vec!["'abcdefghijabcdefghij'"; 185].join(", ");
        database.run(&format!("INSERT INTO t_{name} VALUES (1, {values})"));
    }
    let names: Vec<String> = (0..900).map(|at| format!("c{at}")).collect();
    let columns: Vec<(&str, Logical)> = names.iter().map(|name| (name.as_str(), ENDLESS)).collect();
    let plan = plan(0, &database.name, "wider", &columns, &[], &Extras::default());
    connection.execute(&create::create_table(&plan, &server).unwrap()).await.unwrap();
    let insert = |text: &str| format!("INSERT INTO t_wider VALUES ({})", vec![text; 900].join(", "));
    connection.execute(&insert("'ab'")).await.unwrap();
    let refused = connection.execute(&insert("'abcdefghijabcdefghij'")).await.err().unwrap();
    assert_eq!(refused.code(), Some(1118));
}

/// What no server could be asked is told by name.
async fn names_and_keys_that_can_not_be_are_told<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let server = Server::of(&mut connection).await.unwrap();
    let long = "x".repeat(65);
    let of = |name: &str| {
        let plan =
            plan(0, &database.name, "a", &[("id", Logical::Int32), (name, ENDLESS)], &["id"], &Extras::default());
        create::create_table(&plan, &server).map_err(|problem| problem.code)
    };
    assert_eq!(of(&long), Err("name-not-possible".to_owned()));
    assert_eq!(of("ends "), Err("name-not-possible".to_owned()));
    assert_eq!(of("\u{1F600}"), Err("name-not-possible".to_owned()));
    connection.execute(&of("it's `odd` \\ ü").unwrap()).await.unwrap();
    assert_eq!(shown(&database, "t_a")[1], "t_it's `odd` \\ ü longtext BYTES");
}

super::on_both!(
    a_column_that_comes_brings_a_value_for_the_rows_that_are_there,
    a_wide_table_is_made_and_holds_its_rows,
    names_and_keys_that_can_not_be_are_told,
    a_table_of_another_system_is_made_with_every_type,
    staging_takes_the_columns_of_a_table_and_null,
    indexes_and_keys_come_after_the_rows,
    a_table_of_the_same_system_is_made_again,
    what_the_other_system_of_the_family_has_becomes_the_nearest,
);
