//! Tables that get another name, or come into another schema, while a task follows them.

use serde_json::json;
use wavemark_domain::layout::RenamedTablePolicy;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::state::TableState;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::{Ended, Run};

use crate::support::pair::{self, Pair, rows_of};
use crate::support::run::{told, until};

const FILL: &str = "CREATE SCHEMA old; \
                    CREATE TABLE goods (id integer PRIMARY KEY, name text); \
                    INSERT INTO goods SELECT n, 'no ' || n FROM generate_series(1, 50) n; \
                    CREATE TABLE sales (id integer PRIMARY KEY, of integer REFERENCES goods); \
                    INSERT INTO sales SELECT n, n FROM generate_series(1, 50) n; \
                    CREATE TABLE plain (a integer, b text); ALTER TABLE plain REPLICA IDENTITY FULL; \
                    INSERT INTO plain SELECT n, 'p' FROM generate_series(1, 20) n;";

struct Following {
    run: Run,
    handle: tokio::task::JoinHandle<Ended>,
}

impl Following {
    /// Takes all of `public` but what ends with `out`, and all of `old` as schema `kept`.
    fn start(pair: &Pair, epoch: i64) -> Self {
        let settings =
            TaskSettings { renamed_tables: RenamedTablePolicy::Apply, idle_seconds: 1, ..TaskSettings::default() };
        let select = |id: &str, action: &str, schema: &str, table: &str| {
            json!({"rule-type": "selection", "rule-id": id, "rule-name": id, "rule-action": action,
                   "object-locator": {"schema-name": schema, "table-name": table}})
        };
        let rules = json!({"rules": [
            select("1", "include", "public", "%"), select("2", "exclude", "public", "%out"),
            select("3", "include", "old", "%"),
            {"rule-type": "transformation", "rule-id": "4", "rule-name": "4", "rule-action": "rename",
             "rule-target": "schema", "object-locator": {"schema-name": "old"}, "value": "kept"},
        ]});
        let run = pair.run(epoch, TaskKind::FullLoadAndCdc, &["the_end"], settings);
        let run = Run { mappings: Mappings::parse(&rules).unwrap(), ..run };
        let own = run.clone();
        Self { run, handle: tokio::spawn(async move { own.run().await.unwrap() }) }
    }

    async fn kill(self) {
        self.handle.abort();
        assert!(self.handle.await.unwrap_err().is_cancelled());
    }

    async fn stop(self) {
        self.run.stop.cancel();
        assert_eq!(self.handle.await.unwrap(), Ended::Stopped);
    }

    fn shown(&self) -> Vec<(String, TableState)> {
        let tables = self.run.status.progress().tables.into_iter();
        let mut shown: Vec<_> = tables.map(|table| (table.table.to_string(), table.state)).collect();
        shown.sort_by(|a, b| a.0.cmp(&b.0));
        shown
    }

    /// Waits until these tables are shown as live, and no others.
    async fn lives(&self, expected: &[&str]) {
        let live: Vec<_> = expected.iter().map(|name| ((*name).to_owned(), TableState::Live)).collect();
        let waiting = until(async || self.shown() == live);
        tokio::select! {
            () = waiting => {}
            () = tokio::time::sleep(std::time::Duration::from_secs(35)) => {
                let events: Vec<String> = self.run.status.events().into_iter().map(|event| event.text).collect();
                panic!("{:?} is shown, told was: {}", self.shown(), events.join("\n"));
            }
        }
    }
}

async fn followed() -> (Pair, Following) {
    let pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    pair.source.batch_execute(FILL).await.unwrap();
    let following = Following::start(&pair, 1);
    following.lives(&["public.goods", "public.plain", "public.sales", "public.the_end"]).await;
    (pair, following)
}

/// Waits until a table of the target has the rows of one of the source.
async fn becomes(pair: &Pair, source: &str, target: &str) {
    let expected = rows_of(&pair.source, source).await;
    let is_there = format!("SELECT to_regclass('{target}') IS NOT NULL");
    until(async || {
        pair.mart.query_one(&is_there, &[]).await.unwrap().get::<_, bool>(0)
            && rows_of(&pair.mart, target).await == expected
    })
    .await;
}

async fn is_missing(pair: &Pair, target: &str) -> bool {
    pair.mart.query_one(&format!("SELECT to_regclass('{target}') IS NULL"), &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_followed_on_under_its_next_names() {
    let (pair, following) = followed().await;
    let number = "SELECT 'goods'::regclass::oid::bigint";
    let before: i64 = pair.mart.query_one(number, &[]).await.unwrap().get(0);
    for (step, source, target) in [
        ("ALTER TABLE goods RENAME TO wares", "wares", "wares"),
        ("UPDATE wares SET name = 'a' WHERE id < 9", "wares", "wares"),
        // With rows before and after it, and a column between.
        (
            "BEGIN; UPDATE wares SET name = 'b' WHERE id = 20; ALTER TABLE wares RENAME TO things; \
             INSERT INTO things VALUES (60, 'c'); ALTER TABLE things ADD extra integer DEFAULT 4; \
             UPDATE things SET extra = 5 WHERE id = 60; COMMIT",
            "things",
            "things",
        ),
        ("ALTER TABLE things SET SCHEMA old", "old.things", "kept.things"),
        ("DELETE FROM sales WHERE id = 3; DELETE FROM old.things WHERE id = 3", "old.things", "kept.things"),
        (
            "ALTER TABLE old.things RENAME TO goods; UPDATE old.goods SET name = 'd' WHERE id = 1",
            "old.goods",
            "kept.goods",
        ),
        ("ALTER TABLE old.goods SET SCHEMA public; INSERT INTO goods VALUES (70, 'e')", "goods", "goods"),
        ("ALTER TABLE plain RENAME TO \"Pl ain\"; DELETE FROM \"Pl ain\" WHERE a = 4", "\"Pl ain\"", "\"Pl ain\""),
    ] {
        pair.source.batch_execute(step).await.unwrap_or_else(|error| panic!("{step}: {error:?}"));
        becomes(&pair, source, target).await;
    }
    following.lives(&["public.Pl ain", "public.goods", "public.sales", "public.the_end"]).await;
    // It is the same table all the way, and other tables' keys point at it.
    assert_eq!(pair.mart.query_one(number, &[]).await.unwrap().get::<_, i64>(0), before);
    let keys = "SELECT string_agg(conrelid::regclass || ' ' || confrelid::regclass, ',') FROM pg_constraint \
                WHERE contype = 'f'";
    assert_eq!(pair.mart.query_one(keys, &[]).await.unwrap().get::<_, String>(0), "sales goods");
    assert!(is_missing(&pair, "kept.goods").await && is_missing(&pair, "wares").await);
    assert_eq!(told(&following.run, "table-parked"), Vec::<String>::new());
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_renamed_while_nobody_followed_is_found_by_its_number() {
    let (pair, following) = followed().await;
    following.kill().await;
    for step in [
        "UPDATE goods SET name = 'before' WHERE id % 2 = 0",
        "ALTER TABLE goods RENAME TO wares",
        "UPDATE wares SET name = 'between' WHERE id % 3 = 0",
        "ALTER TABLE wares RENAME TO things",
        // Another of its name is another table.
        "CREATE TABLE goods (id integer PRIMARY KEY, other date)",
        "INSERT INTO goods VALUES (1, '2026-01-01')",
        "DELETE FROM sales WHERE id = 5",
        "DELETE FROM things WHERE id = 5",
        // A large one is applied while it is read.
        "INSERT INTO plain SELECT n, repeat('x', 500) FROM generate_series(100, 30000) n",
    ] {
        pair.source.batch_execute(step).await.unwrap();
    }
    let mut following = Following::start(&pair, 2);
    for epoch in 3..6_i64 {
        tokio::time::sleep(std::time::Duration::from_millis(400 * (epoch.unsigned_abs() - 2))).await;
        following.kill().await;
        following = Following::start(&pair, epoch);
    }
    following.lives(&["public.goods", "public.plain", "public.sales", "public.the_end", "public.things"]).await;
    for table in ["things", "goods", "sales", "plain"] {
        becomes(&pair, table, table).await;
    }
    assert_eq!(told(&following.run, "table-parked"), Vec::<String>::new());
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_next_name_is_taken_or_not_chosen_is_told_so() {
    let (pair, following) = followed().await;
    pair.mart.batch_execute("CREATE TABLE wares (somebody text)").await.unwrap();
    pair.source.batch_execute("ALTER TABLE goods RENAME TO wares; ALTER TABLE plain RENAME TO plainout").await.unwrap();
    pair.source
        .batch_execute("UPDATE wares SET name = 'after'; DELETE FROM plainout; INSERT INTO sales VALUES (77)")
        .await
        .unwrap();
    until(async || !told(&following.run, "table-parked").is_empty() && !told(&following.run, "table-ended").is_empty())
        .await;
    let (parked, ended) = (told(&following.run, "table-parked"), told(&following.run, "table-ended"));
    assert!(parked.iter().all(|text| text.contains("rename table public.goods to public.wares")), "{parked:?}");
    assert!(ended.len() == 1 && ended[0].contains("now named public.plainout"), "{ended:?}");
    becomes(&pair, "sales", "sales").await;
    let rows = "SELECT (SELECT count(*) FROM goods WHERE name LIKE 'no %') || ' ' || (SELECT count(*) FROM plain)";
    assert_eq!(pair.mart.query_one(rows, &[]).await.unwrap().get::<_, String>(0), "50 20");
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_change_places_are_never_mixed_up() {
    let (pair, following) = followed().await;
    pair.source
        .batch_execute(
            "CREATE TABLE goods_new (id integer PRIMARY KEY, name text); \
             INSERT INTO goods_new SELECT id, 'new ' || id FROM goods",
        )
        .await
        .unwrap();
    following.lives(&["public.goods", "public.goods_new", "public.plain", "public.sales", "public.the_end"]).await;
    // As tools do it that change a table beside it.
    pair.source
        .batch_execute(
            "ALTER TABLE sales DROP CONSTRAINT sales_of_fkey; \
             BEGIN; ALTER TABLE goods RENAME TO goods_del; ALTER TABLE goods_new RENAME TO goods; COMMIT; \
             UPDATE goods SET name = 'after' WHERE id = 1; UPDATE goods_del SET name = 'old' WHERE id = 2; \
             BEGIN; ALTER TABLE sales RENAME TO between; ALTER TABLE plain RENAME TO sales; \
             ALTER TABLE between RENAME TO plain; COMMIT; \
             INSERT INTO sales VALUES (1000, 'plain'); INSERT INTO plain VALUES (1000, 1); INSERT INTO the_end VALUES (1)",
        )
        .await
        .unwrap();
    becomes(&pair, "the_end", "the_end").await;
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    // What is live is equal; what is not proved is parked, with the rows that it had.
    for shown in following.run.status.progress().tables {
        match shown.state {
            TableState::Live => becomes(&pair, &shown.table.to_string(), &shown.target.to_string()).await,
            state => assert_eq!(state, TableState::Parked, "{}", shown.table),
        }
    }
    following.stop().await;
}

/// What comes while it is loaded is its own, and not of what the target has under the former name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_renamed_when_its_load_broke_off_is_loaded_anew_and_misses_nothing() {
    let (pair, following) = followed().await;
    following.kill().await;
    // As a worker leaves it that dies while it loads the table again.
    pair.mart.batch_execute("UPDATE wavemark.tables SET stage = 'loading' WHERE source_table = 'sales'").await.unwrap();
    pair.source.batch_execute("ALTER TABLE sales RENAME TO sold").await.unwrap();
    let client = pair::connect(&pair.cluster, "postgres").await;
    let writing = tokio::spawn(async move {
        for n in 100.. {
            client.execute("INSERT INTO sold VALUES ($1, 1)", &[&n]).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    });
    let following = Following::start(&pair, 2);
    following.lives(&["public.goods", "public.plain", "public.sold", "public.the_end"]).await;
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    becomes(&pair, "sold", "sold").await;
    let sql = "SELECT problem ->> 'text' FROM wavemark.tables WHERE source_table = 'sales'";
    let why: String = pair.mart.query_one(sql, &[]).await.unwrap().get(0);
    assert!(why.starts_with("public.sales is now named public.sold"), "{why}");
    following.stop().await;
}
