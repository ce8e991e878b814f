//! Loads: tables, chunks with their marks, keys, foreign keys, counters.

use wavemark_connector::source::{Counter, KeySet};
use wavemark_connector::target::{Loader, Session, Target};
use wavemark_domain::Fault;
use wavemark_domain::task::Preparation;

use super::super::loader::PgLoader;
use super::*;

fn products() -> TablePlan {
    let native = json!({
        "types": [
            {"schema": "shop", "name": "mood", "is": "enum", "labels": ["sad", "it's ok"]},
            {"schema": "shop", "name": "positive", "is": "domain", "declared": "integer", "collation": null,
             "not_null": false, "default": null, "checks": [{"name": "above", "definition": "CHECK (VALUE > 0)"}]},
        ],
        "primary_key": {"name": "products_pkey", "columns": ["id"]},
        "uniques": [{"name": "products_sku", "columns": ["sku"], "deferrable": true, "deferred": true}],
        "indexes": [
            {"name": "products_lower", "unique": false, "columns": [null], "partial": false,
             "definition": "USING btree (lower(sku))"},
            {"name": "products_cheap", "unique": true, "columns": ["price"], "partial": true,
             "definition": "USING btree (price) WHERE ((price)::integer < 5)"},
        ],
        "checks": [{"name": "sku_given", "definition": "CHECK ((sku <> ''::text))"}],
        "sequences": [{"schema": "shop", "name": "products_id_seq", "column": "id", "identity": false, "owned": true,
            "data_type": "integer", "start": 1, "increment": 1, "min": 1, "max": 2_147_483_647, "cache": 1,
            "cycle": false}],
        "comment": "what is for sale",
    });
    let mut plan = plan_with(
        0,
        "products",
        &[("id!", "integer"), ("sku", "text"), ("price", "shop.positive"), ("mood", "shop.mood")],
        native,
    );
    let source = Arc::make_mut(&mut plan.source);
    source.columns[0].native["default"] = json!("nextval('shop.products_id_seq'::regclass)");
    source.columns[3].native["default"] = json!("'sad'::shop.mood");
    source.columns.push(Column {
        name: "twice".to_owned(),
        declared: "integer".to_owned(),
        not_null: false,
        generated: true,
        native: json!({"attnum": 5, "generated": "((price)::integer * 2)", "type": {
            "oid": 23, "schema": "pg_catalog", "name": "int4", "category": "base", "has_binary": true}}),
    });
    plan
}

fn product(id: i32, sku: &'static str, price: i32) -> [V; 4] {
    [V::Int(id), V::Text(sku), V::Int(price), V::Text("it's ok")]
}

fn some(products: &[[V; 4]]) -> Batch {
    let mut batch = Batch::default();
    for product in products {
        insert(&mut batch, 0, product);
    }
    batch
}

async fn open(database: &Database, epoch: i64, plan: &[TablePlan]) -> (PgSession, PgLoader) {
    let (_, mut session, mut loaders) = database.target().open_session(&task(epoch, epoch == 1)).await.unwrap();
    session.attach(plan).await.unwrap();
    (session, loaders.remove(0))
}

#[tokio::test]
async fn a_table_is_made_loaded_and_finished() {
    let database = Database::new().await;
    let plan = [products()];
    let (mut session, mut loader) = open(&database, 1, &plan).await;
    session.begin_table(&plan[0], Preparation::Nothing, &mark(&plan[0], 2)).await.unwrap();
    let copied = loader
        .load(&plan[0], 0, &mut Ready::rows(some(&[product(1, "A", 3), product(2, "B", 4)])), &|_| {})
        .await
        .unwrap();
    assert_eq!(copied.rows, 2);
    loader.load(&plan[0], 1, &mut Ready(Vec::new()), &|_| {}).await.unwrap();
    let stage = "SELECT stage FROM wavemark.tables";
    for _ in 0..2 {
        loader.finish_table(&plan[0]).await.unwrap();
    }
    assert_eq!(database.rows(stage).await, "loading");
    for _ in 0..2 {
        loader.complete_table(&plan[0]).await.unwrap();
    }
    assert_eq!(database.rows(stage).await, "loaded");
    session
        .raise_counters(&plan, &[Counter { table: TableId(0), column: "id".into(), last_value: Some(40) }])
        .await
        .unwrap();
    session
        .raise_counters(&plan, &[Counter { table: TableId(0), column: "id".into(), last_value: Some(30) }])
        .await
        .unwrap();

    database.sql("INSERT INTO shop.products (sku, price) VALUES ('C', 7)").await;
    let rows = "SELECT id AS a, sku AS b, price AS c, mood AS d, twice AS e FROM shop.products ORDER BY id";
    assert_eq!(database.rows(rows).await, "1|A|3|it's ok|6\n2|B|4|it's ok|8\n41|C|7|sad|14");
    let indexes = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'shop.products'::regclass \
        ORDER BY indexrelid";
    assert_eq!(
        database.rows(indexes).await,
        "CREATE UNIQUE INDEX products_pkey ON shop.products USING btree (id)\n\
         CREATE UNIQUE INDEX products_sku ON shop.products USING btree (sku)\n\
         CREATE INDEX products_lower ON shop.products USING btree (lower(sku))\n\
         CREATE UNIQUE INDEX products_cheap ON shop.products USING btree (price) WHERE ((price)::integer < 5)"
    );
    let checks = "SELECT conname AS a, pg_get_constraintdef(oid) AS b FROM pg_constraint \
        WHERE conrelid = 'shop.products'::regclass AND contype IN ('c', 'u') ORDER BY 1";
    assert_eq!(
        database.rows(checks).await,
        "products_sku|UNIQUE (sku) DEFERRABLE INITIALLY DEFERRED\nsku_given|CHECK ((sku <> ''::text))"
    );
    let kept = database.target().open(&task(2, false)).await.unwrap().kept;
    assert_eq!(kept.tables[0].stage, Stage::Loaded);
    let done: Vec<u64> = kept.tables[0].chunks.iter().map(|chunk| chunk.done.unwrap().rows).collect();
    assert_eq!(done, [2, 0]);
}

#[tokio::test]
async fn a_chunk_is_not_loaded_twice() {
    let database = Database::new().await;
    let plan = [products()];
    let (mut session, mut loader) = open(&database, 1, &plan).await;
    session.begin_table(&plan[0], Preparation::Nothing, &mark(&plan[0], 1)).await.unwrap();
    let rows = || Ready::rows(some(&[product(1, "A", 3)]));
    loader.load(&plan[0], 0, &mut rows(), &|_| {}).await.unwrap();
    assert_eq!(loader.load(&plan[0], 0, &mut rows(), &|_| {}).await.unwrap_err().fault, Fault::Internal);
    assert_eq!(database.rows("SELECT count(*) FROM shop.products").await, "1");
}

#[tokio::test]
async fn a_load_that_starts_over_begins_with_an_empty_table() {
    for preparation in [Preparation::Nothing, Preparation::Truncate, Preparation::DropAndCreate] {
        let database = Database::new().await;
        let plan = [products()];
        let (mut session, mut loader) = open(&database, 1, &plan).await;
        session.begin_table(&plan[0], preparation, &mark(&plan[0], 2)).await.unwrap();
        loader.load(&plan[0], 0, &mut Ready::rows(some(&[product(1, "A", 3)])), &|_| {}).await.unwrap();
        session.begin_table(&plan[0], preparation, &mark(&plan[0], 1)).await.unwrap();
        assert_eq!(database.rows("SELECT count(*) FROM shop.products").await, "0", "{preparation:?}");
        let chunks = "SELECT count(*) AS a, count(done_at) AS b FROM wavemark.chunks";
        assert_eq!(database.rows(chunks).await, "1|0", "{preparation:?}");
    }
}

#[tokio::test]
async fn a_reload_removes_the_rows_of_the_load_before_and_of_nobody_else() {
    let database = Database::new().await;
    let plan = [products()];
    let (mut session, mut loader) = open(&database, 1, &plan).await;
    session.begin_table(&plan[0], Preparation::Nothing, &mark(&plan[0], 1)).await.unwrap();
    loader.load(&plan[0], 0, &mut Ready::rows(some(&[product(1, "A", 3)])), &|_| {}).await.unwrap();
    loader.finish_table(&plan[0]).await.unwrap();
    loader.complete_table(&plan[0]).await.unwrap();
    commit(&mut session, 1).await.unwrap();

    let reload = TaskContext { generation: Generation(2), ..task(2, true) };
    let (kept, mut session, mut loaders) = database.target().open_session(&reload).await.unwrap();
    assert_eq!((kept.bookmark, kept.tables.len()), (None, 0));
    session.attach(&plan).await.unwrap();
    session.begin_table(&plan[0], Preparation::Nothing, &mark(&plan[0], 1)).await.unwrap();
    let mut loader = loaders.remove(0);
    loader.load(&plan[0], 0, &mut Ready::rows(some(&[product(2, "B", 4)])), &|_| {}).await.unwrap();
    loader.finish_table(&plan[0]).await.unwrap();
    assert_eq!(database.rows("SELECT id AS a FROM shop.products").await, "2");
    let indexes = "SELECT count(*) AS a FROM pg_index WHERE indrelid = 'shop.products'::regclass";
    assert_eq!(database.rows(indexes).await, "4", "no index is made twice");

    // The same rows are somebody else's to a task under another name for the table.
    let mut elsewhere = products();
    elsewhere.target = wavemark_domain::TableName::new("shop", "others");
    database.sql("CREATE TABLE shop.others AS SELECT id, sku, price, mood, twice FROM shop.products").await;
    let refused = session.begin_table(&elsewhere, Preparation::Nothing, &mark(&elsewhere, 1)).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Data);
    assert_eq!(database.rows("SELECT count(*) AS a FROM shop.others").await, "1");
}

#[tokio::test]
async fn a_table_of_another_shape_is_refused_by_its_columns() {
    let database = Database::new().await;
    database.sql("CREATE SCHEMA shop; CREATE TABLE shop.t (id smallint PRIMARY KEY, extra integer NOT NULL)").await;
    let plan = [plan(0, "t", &[("id!", "integer"), ("n", "integer")])];
    let (mut session, _loader) = open(&database, 1, &plan).await;
    for preparation in [Preparation::Nothing, Preparation::Truncate] {
        let problem = session.begin_table(&plan[0], preparation, &mark(&plan[0], 1)).await.unwrap_err();
        assert_eq!((problem.fault, problem.code.as_str()), (Fault::Data, "table-does-not-fit"));
        assert_eq!(
            problem.text,
            "The target table shop.t does not fit: id is smallint instead of integer; n is missing; \
             extra must not be NULL but gets no value."
        );
    }
    session.begin_table(&plan[0], Preparation::DropAndCreate, &mark(&plan[0], 1)).await.unwrap();
}

#[tokio::test]
async fn rows_of_others_are_not_touched_without_being_told() {
    let database = Database::new().await;
    database
        .sql("CREATE SCHEMA shop; CREATE TABLE shop.t (id integer PRIMARY KEY); INSERT INTO shop.t VALUES (1)")
        .await;
    let plan = [plan(0, "t", &[("id!", "integer")])];
    let (mut session, _loader) = open(&database, 1, &plan).await;
    let problem = session.begin_table(&plan[0], Preparation::Nothing, &mark(&plan[0], 1)).await.unwrap_err();
    assert_eq!(problem.code, "table-not-empty");
    assert_eq!(database.rows("SELECT count(*) FROM shop.t").await, "1");
    session.begin_table(&plan[0], Preparation::Truncate, &mark(&plan[0], 1)).await.unwrap();
    assert_eq!(database.rows("SELECT count(*) FROM shop.t").await, "0");
}

#[tokio::test]
async fn a_view_on_the_table_stands_in_the_way_of_dropping_it() {
    let database = Database::new().await;
    database
        .sql("CREATE SCHEMA shop; CREATE TABLE shop.t (id integer PRIMARY KEY); CREATE VIEW shop.v AS TABLE shop.t")
        .await;
    let plan = [plan(0, "t", &[("id!", "integer")])];
    let (mut session, _loader) = open(&database, 1, &plan).await;
    let problem = session.begin_table(&plan[0], Preparation::DropAndCreate, &mark(&plan[0], 1)).await.unwrap_err();
    assert_eq!((problem.fault, problem.server_code.as_deref()), (Fault::Data, Some("2BP01")));
    assert_eq!(database.rows("SELECT count(*) FROM shop.v").await, "0");
}

fn family() -> [TablePlan; 2] {
    let child = json!({
        "primary_key": {"name": "child_pkey", "columns": ["id"]},
        "foreign_keys": [{"name": "of_parent", "columns": ["parent"], "target": {"schema": "shop", "name": "parent"},
            "target_columns": ["id"], "on_update": "a", "on_delete": "c", "match": "s"}],
    });
    let parent = json!({"primary_key": {"name": "parent_pkey", "columns": ["id"]}});
    let mut plans = [
        plan_with(0, "child", &[("id!", "integer"), ("parent", "integer")], child),
        plan_with(1, "parent", &[("id!", "integer")], parent),
    ];
    // Names may differ at the target.
    plans[1].target = TableName::new("mart", "Par\"ent");
    plans[1].columns[0].target_name = "Key".to_owned();
    plans
}

async fn load(session: &mut PgSession, loader: &mut PgLoader, plan: &TablePlan, preparation: Preparation, rows: Batch) {
    session.begin_table(plan, preparation, &mark(plan, 1)).await.unwrap();
    loader.load(plan, 0, &mut Ready::rows(rows), &|_| {}).await.unwrap();
    loader.finish_table(plan).await.unwrap();
    loader.complete_table(plan).await.unwrap();
}

fn rows(table: u32, rows: &[&[V]]) -> Batch {
    let mut batch = Batch::default();
    for row in rows {
        insert(&mut batch, table, row);
    }
    batch
}

#[tokio::test]
async fn foreign_keys_come_last_and_are_validated() {
    let database = Database::new().await;
    let plan = family();
    let (mut session, mut loader) = open(&database, 1, &plan).await;
    load(&mut session, &mut loader, &plan[0], Preparation::Nothing, rows(0, &[&[V::Int(1), V::Int(5)]])).await;
    load(&mut session, &mut loader, &plan[1], Preparation::Nothing, rows(1, &[&[V::Int(5)]])).await;
    for _ in 0..2 {
        assert_eq!(session.finish_load(&plan).await.unwrap(), []);
    }
    let keys =
        "SELECT pg_get_constraintdef(oid) AS a, convalidated AS b FROM pg_constraint WHERE conname = 'of_parent'";
    assert_eq!(
        database.rows(keys).await,
        "FOREIGN KEY (parent) REFERENCES mart.\"Par\"\"ent\"(\"Key\") ON DELETE CASCADE|true"
    );
}

#[tokio::test]
async fn a_foreign_key_that_does_not_hold_is_returned_with_its_table() {
    let database = Database::new().await;
    let plan = family();
    let (mut session, mut loader) = open(&database, 1, &plan).await;
    load(&mut session, &mut loader, &plan[0], Preparation::Nothing, rows(0, &[&[V::Int(1), V::Int(6)]])).await;
    load(&mut session, &mut loader, &plan[1], Preparation::Nothing, rows(1, &[&[V::Int(5)]])).await;
    let left = session.finish_load(&plan).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].table.as_ref(), left[0].code.as_str()), (Some(plan[0].name()), "foreign-key"));
    assert!(!left[0].text.contains("(6)"), "{}", left[0]);
}

#[tokio::test]
async fn foreign_keys_from_other_tables_are_dropped_for_the_load_and_made_again() {
    for preparation in [Preparation::Truncate, Preparation::DropAndCreate] {
        let database = Database::new().await;
        database
            .sql(
                "CREATE SCHEMA mart; CREATE SCHEMA shop; CREATE TABLE mart.\"Par\"\"ent\" (\"Key\" integer PRIMARY KEY); \
                 CREATE TABLE shop.other (p integer CONSTRAINT mine REFERENCES mart.\"Par\"\"ent\")",
            )
            .await;
        let plan = family();
        let (mut session, mut loader) = open(&database, 1, &plan).await;
        load(&mut session, &mut loader, &plan[1], preparation, rows(1, &[&[V::Int(5)]])).await;
        let keys = "SELECT count(*) AS a, bool_and(convalidated) AS b FROM pg_constraint WHERE conname = 'mine'";
        assert_eq!(database.rows(keys).await, "0|NULL");
        assert_eq!(session.finish_load(&plan).await.unwrap(), []);
        assert_eq!(database.rows(keys).await, "1|true", "{preparation:?}");
        assert_eq!(database.rows("SELECT count(*) FROM wavemark.foreign_keys").await, "0");
    }
}

#[tokio::test]
async fn a_half_loaded_table_is_brought_forward() {
    let database = Database::new().await;
    let plan = [products()];
    let (mut session, mut loader) = open(&database, 1, &plan).await;
    session.begin_table(&plan[0], Preparation::Nothing, &mark(&plan[0], 2)).await.unwrap();
    let first = some(&[product(1, "A", 3), product(2, "B", 4), product(3, "C", 5)]);
    loader.load(&plan[0], 0, &mut Ready::rows(first), &|_| {}).await.unwrap();
    let mut stale = KeySet::default();
    for id in [1_i32, 3, 9] {
        stale.insert([&id.to_be_bytes()[..]]);
    }
    let fresh = some(&[product(1, "A2", 30), product(9, "I", 9)]);
    let added = loader.bring_forward(&plan[0], &stale, &mut Ready::rows(fresh), &position(5), "1").await.unwrap();
    assert_eq!(added, 2);
    assert_eq!(database.rows("SELECT id AS a, sku AS b FROM shop.products ORDER BY id").await, "1|A2\n2|B\n9|I");
    let kept = database.target().open(&task(2, false)).await.unwrap().kept;
    assert_eq!((&kept.tables[0].began, &kept.tables[0].position), (&position(1), &position(5)));
}

#[tokio::test]
async fn rows_of_a_wider_table_are_brought_forward_and_replaced_by_the_sources_keys() {
    let database = Database::new().await;
    database
        .sql(
            "CREATE SCHEMA shop; \
             CREATE TABLE shop.t (note text, id bigint GENERATED ALWAYS AS IDENTITY, code text, PRIMARY KEY (code, id))",
        )
        .await;
    let plan = [plan(0, "t", &[("id!", "integer"), ("code!", "character(4)"), ("note", "character varying(9)")])];
    let row = |id: i32, note: &'static str| [V::Int(id), V::Text("a   "), V::Text(note)];
    let some = |rows: &[[V; 3]]| {
        let mut batch = Batch::default();
        for row in rows {
            insert(&mut batch, 0, row);
        }
        batch
    };
    let keys = |ids: &[i32]| {
        let mut keys = KeySet::default();
        for id in ids {
            keys.insert([&id.to_be_bytes()[..], b"a   "]);
        }
        keys
    };
    let (mut session, mut loader) = open(&database, 1, &plan).await;
    session.begin_table(&plan[0], Preparation::Nothing, &mark(&plan[0], 1)).await.unwrap();
    let first = some(&[row(1, "one"), row(2, "two"), row(3, "three")]);
    loader.load(&plan[0], 0, &mut Ready::rows(first), &|_| {}).await.unwrap();
    let fresh = some(&[row(1, "uno"), row(9, "nine")]);
    loader.bring_forward(&plan[0], &keys(&[1, 3, 8]), &mut Ready::rows(fresh), &position(5), "1").await.unwrap();
    loader.finish_table(&plan[0]).await.unwrap();
    loader.complete_table(&plan[0]).await.unwrap();
    let all = "SELECT id AS a, code AS b, note AS c FROM shop.t ORDER BY id";
    assert_eq!(database.rows(all).await, "1|a|uno\n2|a|two\n9|a|nine");
    let repaired = session.replace_rows(&plan[0], &keys(&[2, 7]), &mut Ready::rows(some(&[row(7, "seven")]))).await;
    assert_eq!(repaired.unwrap(), 1);
    // An identity that no UPDATE may set moves.
    let mut batch = Batch::default();
    let old = [V::Int(9), V::Text("a   "), V::Null];
    update(&mut batch, 0, Some(&old), &[V::Int(10), V::Text("a   "), V::Unchanged]);
    update(&mut batch, 0, None, &row(1, "un"));
    batch.end_transaction(position(1), 0);
    wave(&mut session, &plan, &batch, 1).await.unwrap();
    assert_eq!(database.rows(all).await, "1|a|un\n7|a|seven\n10|a|nine");
}

#[tokio::test]
async fn an_existing_table_needs_a_key_that_refuses_copies() {
    let database = Database::new().await;
    database.sql("CREATE SCHEMA shop; CREATE TABLE shop.t (id integer)").await;
    let plan = [plan(0, "t", &[("id!", "integer")])];
    let (mut session, _loader) = open(&database, 1, &plan).await;
    let problem = session.adopt_table(&plan[0], &mark(&plan[0], 0)).await.unwrap_err();
    assert_eq!(problem.code, "table-without-key");
    assert_eq!(problem.advice.as_deref(), Some(r#"ALTER TABLE "shop"."t" ADD PRIMARY KEY ("id")"#));
    database.sql("ALTER TABLE shop.t ADD PRIMARY KEY (id)").await;
    session.adopt_table(&plan[0], &mark(&plan[0], 0)).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_cut_short_is_not_taken_for_whole() {
    let database = Database::new().await;
    let plan = [plan(0, "t", &[("id!", "integer")])];
    let (mut session, mut loader) = open(&database, 1, &plan).await;
    session.begin_table(&plan[0], Preparation::Nothing, &mark(&plan[0], 1)).await.unwrap();
    let mut stream = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    stream.extend([0, 1, 0, 0, 0, 4, 0, 0, 0, 7]);
    let problem = loader.load(&plan[0], 0, &mut Ready::stream(stream.clone(), 5), &|_| {}).await.unwrap_err();
    assert_eq!(problem.fault, Fault::Transient);
    stream.extend([0xff, 0xff]);
    assert_eq!(loader.load(&plan[0], 0, &mut Ready::stream(stream, 5), &|_| {}).await.unwrap().rows, 1);
}

#[tokio::test]
async fn assess_names_what_stands_in_the_way() {
    let database = Database::new().await;
    database
        .sql(
            "CREATE SCHEMA shop; CREATE TABLE shop.a (id integer PRIMARY KEY); INSERT INTO shop.a VALUES (1); \
             CREATE TABLE shop.b (id smallint); CREATE TABLE shop.c (id bigint)",
        )
        .await;
    let plan = ["a", "b", "a", "c"];
    let plan: Vec<TablePlan> = (0..).zip(plan).map(|(id, name)| super::plan(id, name, &[("id!", "integer")])).collect();
    let findings = database.target().assess(&task(1, true), &plan).await.unwrap();
    let codes: Vec<&str> = findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(
        codes,
        [
            "target-collision",
            "table-not-empty",
            "table-does-not-fit",
            "table-not-empty",
            "target-wider",
            "table-without-key"
        ]
    );
}
