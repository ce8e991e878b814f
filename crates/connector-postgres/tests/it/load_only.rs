//! What leaves nothing in the log can be loaded: views, materialized views, unlogged tables and foreign tables go into
//! ordinary tables, row by row.

use wavemark_domain::Fault;
use wavemark_domain::state::TableState;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::{Ended, Failure};

use crate::support::pair::{Pair, rows_of};
use crate::support::run::{ended, refused, told};

/// Values that a text form or a wrong type would change; more rows than one chunk has.
const SOURCE: &str = "\
    CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); \
    CREATE TABLE goods (id integer PRIMARY KEY, name varchar(40) NOT NULL, price numeric(12,2), mood mood, at timestamptz); \
    INSERT INTO goods SELECT n, 'good ' || n, CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN 'NaN' ELSE n / 3.0 END, \
        CASE n % 2 WHEN 0 THEN 'it''s ok' END::mood, CASE n % 7 WHEN 0 THEN 'infinity' ELSE '2024-02-29Z' END::timestamptz \
        FROM generate_series(1, 3000) n; \
    CREATE VIEW seen AS SELECT g.id, g.name, g.price * 2 AS doubled, g.mood, g.at, ARRAY[g.id, NULL] AS list, \
        ROW_NUMBER() OVER (ORDER BY g.id DESC) AS place FROM goods g WHERE g.id % 3 <> 0; \
    CREATE MATERIALIZED VIEW kept AS SELECT mood, count(*) AS many, max(at) AS last, sum(price) FILTER (WHERE price < 'NaN') \
        AS sum, jsonb_object_agg(id, name) AS doc FROM goods GROUP BY mood, id % 300; \
    CREATE UNIQUE INDEX ON kept (many, sum, doc); \
    UPDATE goods SET name = 'changed since' WHERE id <= 300; \
    CREATE UNLOGGED TABLE scratch (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, blob bytea, note text); \
    INSERT INTO scratch (blob, note) SELECT decode(repeat(md5(n::text), 10), 'hex'), CASE n % 9 WHEN 0 THEN NULL ELSE 'n' || n \
        END FROM generate_series(1, 20000) n; \
    DELETE FROM scratch WHERE id % 10 = 3";

/// What a program beside the server wrote.
const FILE: &str =
    "1,plain,2024-02-29\n2,\"with, comma\",infinity\n3,\"with \"\"quotes\"\"\",\n,,0044-03-15 BC\n3,twice,\n3,twice,\n";

const TABLES: [&str; 4] = ["seen", "kept", "scratch", "outside"];

async fn pair() -> Pair {
    let pair = Pair::start(&[]).await;
    let file = pair.cluster.write("outside.csv", FILE);
    pair.source.batch_execute(SOURCE).await.unwrap();
    let foreign = format!(
        "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; \
         CREATE FOREIGN TABLE outside (n integer, word text, at date) SERVER files \
         OPTIONS (filename '{}', format 'csv')",
        file.display()
    );
    pair.source.batch_execute(&foreign).await.unwrap();
    pair
}

fn settings() -> TaskSettings {
    TaskSettings { chunk_mib: 1, ..TaskSettings::default() }
}

#[tokio::test]
async fn views_unlogged_tables_and_foreign_tables_are_loaded_into_ordinary_tables() {
    let pair = pair().await;
    let run = pair.run(1, TaskKind::FullLoad, &TABLES, settings());
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    for table in run.status.progress().tables {
        assert_eq!(table.state, TableState::Done, "{}: {:?}", table.table, table.problem);
    }
    // What the materialized view has is what it was made of, not what its query would give now.
    pair.assert_equal(&TABLES, "after the load").await;
    let counts = "SELECT concat_ws(' ', (SELECT count(*) FROM seen), (SELECT count(*) FROM kept), \
        (SELECT count(*) FROM scratch), (SELECT count(*) FROM outside))";
    assert_eq!(pair.mart.query_one(counts, &[]).await.unwrap().get::<_, String>(0), "2000 300 18000 6");
    assert_eq!(told(&run, "table-parked"), Vec::<String>::new());
    let made = "SELECT string_agg(concat(relname, ' ', relkind, relpersistence), ', ' ORDER BY relname) FROM pg_class \
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'f')";
    let made: String = pair.mart.query_one(made, &[]).await.unwrap().get(0);
    assert_eq!(made, "kept rp, outside rp, scratch rp, seen rp");
    let key =
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'scratch'::regclass AND contype = 'p'";
    assert_eq!(pair.mart.query_one(key, &[]).await.unwrap().get::<_, String>(0), "PRIMARY KEY (id)");
    // A task that doesn't follow keeps no log for it.
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots) || ' ' || (SELECT count(*) FROM pg_publication)";
    assert_eq!(pair.ask(left).await, "0 0");
}

#[tokio::test]
async fn a_view_that_fails_at_one_of_its_rows_is_parked_and_the_rest_is_loaded() {
    let pair = pair().await;
    pair.source.batch_execute("CREATE VIEW broken AS SELECT id, 1 / (id - 2500) AS n FROM goods").await.unwrap();
    let tables = [&TABLES[..], &["broken"]].concat();
    let run = pair.run(1, TaskKind::FullLoad, &tables, settings());
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    for table in run.status.progress().tables {
        let is_broken = table.table.table == "broken";
        let expected = if is_broken { TableState::Parked } else { TableState::Done };
        assert_eq!(table.state, expected, "{}: {:?}", table.table, table.problem);
        let code = table.problem.and_then(|problem| problem.server_code);
        assert_eq!(code.as_deref(), is_broken.then_some("22012"), "division by zero, as the server calls it");
    }
    pair.assert_equal(&TABLES, "after the load").await;
    assert_eq!(rows_of(&pair.mart, "broken").await, [""; 0], "nothing of a half");
}

#[tokio::test]
async fn a_materialized_view_that_was_never_filled_is_told_by_its_name() {
    let pair = pair().await;
    pair.source.batch_execute("CREATE MATERIALIZED VIEW empty AS SELECT id FROM goods WITH NO DATA").await.unwrap();
    let problem = refused(&pair.run(1, TaskKind::FullLoad, &["seen", "empty"], settings())).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "statement-refused"), "{problem}");
    assert!(problem.text.contains("public.empty") && problem.text.contains("has not been populated"), "{problem}");
    // Nothing has to be done over once it is.
    pair.source.batch_execute("REFRESH MATERIALIZED VIEW empty").await.unwrap();
    let run = pair.run(2, TaskKind::FullLoad, &["seen", "empty"], settings());
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    pair.assert_equal(&["seen", "empty"], "after the load").await;
}

#[tokio::test]
async fn a_foreign_table_whose_file_is_gone_is_not_taken_for_a_lost_position() {
    let pair = pair().await;
    pair.source
        .batch_execute(
            "CREATE FOREIGN TABLE nowhere (n integer) SERVER files OPTIONS (filename '/nowhere/at/all', format 'csv')",
        )
        .await
        .unwrap();
    let run = pair.run(1, TaskKind::FullLoad, &["seen", "nowhere"], settings());
    let problem = match ended(&run).await {
        Err(Failure::Problem(problem)) => problem,
        // It may as well be parked alone.
        _ => run.status.progress().tables.into_iter().find_map(|table| table.problem).unwrap(),
    };
    assert_ne!((problem.fault, problem.code.as_str()), (Fault::PositionLost, "log-removed"), "{problem}");
    assert!(problem.text.contains("public.nowhere") && problem.text.contains("/nowhere/at/all"), "{problem}");
}
