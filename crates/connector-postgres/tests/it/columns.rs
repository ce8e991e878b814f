//! Tables of which only the mapped columns are published, where the settings say so.

use std::time::Duration;

use serde_json::{Value, json};
use wavemark_domain::layout::ColumnPolicy;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::progress::Phase;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{PublishedColumns, TaskKind, TaskSettings};
use wavemark_domain::{TableName, TableOrder, TableWish};
use wavemark_engine::{Ended, Run};

use crate::support::pair::{Pair, rows_of};
use crate::support::run;
use crate::support::run::ended;

/// All tables of schema `public`, without their columns `doc`.
fn run(pair: &Pair, epoch: i64, settings: TaskSettings) -> Run {
    let selection = json!({"rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
        "object-locator": {"schema-name": "public", "table-name": "%"}});
    let removal = json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "doc", "rule-action": "remove-column",
        "rule-target": "column", "object-locator": {"schema-name": "public", "table-name": "%", "column-name": "doc"}});
    let rules: Vec<Value> = vec![selection, removal];
    let mappings = Mappings::parse(&json!({"rules": rules})).unwrap();
    Run { mappings, ..pair.run(epoch, TaskKind::FullLoadAndCdc, &["%"], settings) }
}

fn mapped() -> TaskSettings {
    let (published_columns, added_columns) = (PublishedColumns::Mapped, ColumnPolicy::Ignore);
    TaskSettings { published_columns, added_columns, idle_seconds: 1, ..TaskSettings::default() }
}

fn loaded() -> TaskSettings {
    TaskSettings { stop_at: StopAt::Loaded, ..mapped() }
}

async fn follow(pair: &Pair, epoch: i64, settings: TaskSettings) -> Run {
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let run = run(pair, epoch, TaskSettings { stop_at: StopAt::Position(end), ..settings });
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    run
}

fn state(run: &Run, table: &str) -> (TableState, String) {
    let tables = run.status.progress().tables;
    let table = tables.into_iter().find(|one| one.table.table == table).unwrap();
    (table.state, table.problem.map(|problem| problem.text).unwrap_or_default())
}

/// The columns that each table is published with.
async fn published(pair: &Pair) -> String {
    pair.ask(
        "SELECT string_agg(tablename || ' ' || array_to_string(attnames, ','), '; ' ORDER BY tablename) \
         FROM pg_publication_tables",
    )
    .await
}

const SCHEMA: &str = "\
    CREATE TABLE wide (id int PRIMARY KEY, doc bytea, n int); ALTER TABLE wide ALTER doc SET STORAGE EXTERNAL; \
    INSERT INTO wide SELECT i, decode(repeat('ab', 5000), 'hex'), i FROM generate_series(1, 20) i; \
    CREATE TABLE whole (id int PRIMARY KEY, doc bytea, n int); ALTER TABLE whole REPLICA IDENTITY FULL; \
    INSERT INTO whole VALUES (1, 'x', 1); \
    CREATE TABLE parts (id int PRIMARY KEY, n int, doc text) PARTITION BY RANGE (id); \
    CREATE TABLE parts_1 (doc text, n int, id int NOT NULL); \
    ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (0) TO (1000); \
    INSERT INTO parts VALUES (1, 1, 'one'), (2, 2, 'two'); \
    CREATE TABLE narrow (id int PRIMARY KEY, n int); INSERT INTO narrow VALUES (1, 1)";

const TABLES: [&str; 4] = ["wide", "whole", "parts", "narrow"];

async fn assert_equal(pair: &Pair, when: &str) {
    for table in TABLES {
        let source = rows_of(&pair.source, &format!("(SELECT id, n FROM {table})")).await;
        let mart = rows_of(&pair.mart, &format!("(SELECT id, n FROM {table})")).await;
        assert_eq!(mart, source, "{table} {when}");
    }
}

async fn refused(pair: &Pair, sql: &str) -> String {
    let error = pair.source.batch_execute(sql).await.unwrap_err();
    error.as_db_error().unwrap().message().to_owned()
}

#[tokio::test]
async fn mapped_columns_alone_are_published_and_followed() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute("DROP TABLE the_end").await.unwrap();
    pair.source.batch_execute(SCHEMA).await.unwrap();
    assert_eq!(ended(&run(&pair, 1, loaded())).await.unwrap(), Ended::Finished);
    assert_eq!(published(&pair).await, "narrow id,n; parts id,n; whole id,doc,n; wide id,n");
    assert_equal(&pair, "after the load").await;
    for change in [
        "UPDATE wide SET n = -n, doc = 'short' WHERE id < 5; UPDATE wide SET id = id + 100 WHERE id > 15",
        "DELETE FROM wide WHERE id = 10; INSERT INTO wide VALUES (500, 'x', 500)",
        // Of these nothing travels that changes.
        "UPDATE wide SET doc = doc || 'more' WHERE id IN (11, 500); UPDATE whole SET doc = NULL; UPDATE parts SET doc = ''",
        "UPDATE parts SET n = 10 WHERE id = 1; DELETE FROM parts WHERE id = 2; INSERT INTO parts VALUES (3, 3, 'three')",
        "UPDATE whole SET n = 2; UPDATE narrow SET n = 2",
        // What is not listed may go and come.
        "ALTER TABLE wide DROP doc, ADD later text; INSERT INTO wide VALUES (501, 501, 'later')",
        "ALTER TABLE parts ADD later text; UPDATE parts SET later = 'x', n = 11",
    ] {
        pair.source.batch_execute(change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
    }
    let run = follow(&pair, 2, mapped()).await;
    assert_equal(&pair, "after the changes").await;
    for table in TABLES {
        assert_eq!(state(&run, table).1, "", "{table}");
    }
    // The price, as the docs tell it.
    let text = refused(&pair, "ALTER TABLE wide DROP n").await;
    assert!(text.starts_with("cannot drop column n of table wide because other objects depend on it"), "{text}");
    assert!(refused(&pair, "ALTER TABLE wide ALTER n TYPE bigint").await.starts_with("cannot alter type of a column"));
    pair.source
        .batch_execute("ALTER TABLE parts RENAME n TO m; UPDATE parts SET m = 12; UPDATE narrow SET n = 3")
        .await
        .unwrap();
    let run = follow(&pair, 3, mapped()).await;
    assert_eq!(state(&run, "parts").0, TableState::Parked);
    assert_eq!(rows_of(&pair.mart, "narrow").await, ["(1,3)"]);
}

#[tokio::test]
async fn a_table_whose_identity_its_list_lacks_is_taken_out_or_refused() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SCHEMA).await.unwrap();
    pair.source.batch_execute("ALTER TABLE parts_1 REPLICA IDENTITY FULL").await.unwrap();
    let problem = run::refused(&run(&pair, 1, loaded())).await;
    assert_eq!(problem.code, "column-list-identity", "{problem:?}");
    assert_eq!(pair.ask("SELECT count(*)::text FROM pg_publication").await, "0");
    pair.source.batch_execute("ALTER TABLE parts_1 REPLICA IDENTITY DEFAULT; UPDATE parts SET n = 5").await.unwrap();
    assert_eq!(ended(&run(&pair, 1, loaded())).await.unwrap(), Ended::Finished);
    let following = run(&pair, 2, mapped());
    let noticed = async {
        while following.status.progress().phase != Phase::Following {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        pair.source.batch_execute("ALTER TABLE wide REPLICA IDENTITY FULL").await.unwrap();
        assert_eq!(refused(&pair, "UPDATE wide SET n = 1").await, "cannot update table \"wide\"");
        while pair.source.batch_execute("UPDATE wide SET n = 1").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while state(&following, "wide").0 != TableState::Parked {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        following.stop.cancel();
    };
    let (stopped, ()) = tokio::join!(ended(&following), noticed);
    assert_eq!(stopped.unwrap(), Ended::Stopped);
    let why = state(&following, "wide").1;
    assert!(why.contains("its columns in the publication lack of the whole row of its replica identity"), "{why}");
}

#[tokio::test]
async fn a_setting_that_is_changed_counts_from_a_reload_on_and_nothing_is_missed() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SCHEMA).await.unwrap();
    let all = || TaskSettings { idle_seconds: 1, ..TaskSettings::default() };
    let first = TaskSettings { stop_at: StopAt::Loaded, ..all() };
    assert_eq!(ended(&run(&pair, 1, first)).await.unwrap(), Ended::Finished);
    let whole = "narrow id,n; parts id,n,doc; the_end n; whole id,doc,n; wide id,doc,n";
    assert_eq!(published(&pair).await, whole);
    // All columns come and do no harm.
    pair.source.batch_execute("UPDATE wide SET n = 7 WHERE id = 7").await.unwrap();
    let listed = follow(&pair, 2, mapped()).await;
    assert_eq!((published(&pair).await.as_str(), state(&listed, "wide").1), (whole, String::new()));
    assert_equal(&pair, "with all columns").await;
    let reload = run(&pair, 3, mapped());
    let table = TableName::new("public", "wide");
    reload.orders.give(vec![TableOrder { number: 1, table, wish: TableWish::Reload }]);
    let reloaded = async {
        while !reload.orders.done().contains(&1) || state(&reload, "wide").0 != TableState::Live {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        reload.stop.cancel();
    };
    let (stopped, ()) = tokio::join!(ended(&reload), reloaded);
    assert_eq!(stopped.unwrap(), Ended::Stopped);
    assert_eq!(published(&pair).await, "narrow id,n; parts id,n,doc; the_end n; whole id,doc,n; wide id,n");
    pair.source.batch_execute("UPDATE wide SET n = 8 WHERE id = 8").await.unwrap();
    follow(&pair, 4, mapped()).await;
    assert_equal(&pair, "with listed columns").await;
    // Back: a column that is added would be missed by the list that is there.
    pair.source.batch_execute("UPDATE narrow SET n = 9").await.unwrap();
    let back = follow(&pair, 5, all()).await;
    let (state_now, why) = state(&back, "wide");
    assert_eq!(state_now, TableState::Parked);
    assert!(why.contains("its publication has not all of its columns"), "{why}");
}
