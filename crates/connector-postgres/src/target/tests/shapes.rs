//! Values whose binary form holds oids: from one database to another where the user's types have other oids.

use futures_util::TryStreamExt;
use wavemark_connector::target::{Loader, Session};
use wavemark_domain::task::Preparation;

use super::super::sets::Method;
use super::*;

const TYPES: &str = "CREATE SCHEMA shop; CREATE TYPE shop.mood AS ENUM ('sad', 'ok'); \
    CREATE DOMAIN shop.small AS integer CHECK (VALUE < 100); \
    CREATE TYPE shop.pair AS (n integer, m shop.mood); \
    CREATE TYPE shop.box AS (p shop.pair, all_moods shop.mood[], d shop.small); \
    CREATE TYPE shop.moods AS RANGE (subtype = shop.mood); ";
const TABLE: &str = "CREATE TABLE shop.t (id integer PRIMARY KEY, m shop.mood, ms shop.mood[], p shop.pair, \
    ps shop.pair[], b shop.box, r shop.moods, rs shop.moods[], ds shop.small[])";

fn planned() -> TablePlan {
    plan(
        0,
        "t",
        &[
            ("id!", "integer"),
            ("m", "shop.mood"),
            ("ms", "shop.mood[]"),
            ("p", "shop.pair"),
            ("ps", "shop.pair[]"),
            ("b", "shop.box"),
            ("r", "shop.moods"),
            ("rs", "shop.moods[]"),
            ("ds", "shop.small[]"),
        ],
    )
}

const ROWS: &str = "INSERT INTO shop.t VALUES \
    (1, 'ok', '{sad,NULL,ok}', '(7,ok)', '{\"(1,sad)\",NULL,\"(,)\"}', '(\"(3,ok)\",\"{ok,sad}\",9)', '[sad,ok]', \
     '{\"[sad,ok]\",empty,\"(,ok)\"}', '{1,99}'), \
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), \
    (3, 'sad', '{}', '(,)', '{}', '(,,)', 'empty', '{}', '{}'), \
    (4, 'ok', '{{sad,ok},{ok,sad}}', '(-1,sad)', '[0:1]={\"(1,ok)\",\"(2,ok)\"}', '(\"(,sad)\",{},)', '[ok,)', \
     '{\"(,)\"}', '{{1},{2}}')";
const ALL: &str = "SELECT t::text FROM shop.t AS t ORDER BY id";

async fn source() -> Database {
    let source = Database::new().await;
    source.sql(&format!("{TYPES}{TABLE}; {ROWS}")).await;
    source
}

async fn copied_out(source: &Database) -> Vec<u8> {
    let stream = source.admin.copy_out("COPY shop.t TO STDOUT (FORMAT binary)").await.unwrap();
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    pieces.concat()
}

/// The same types, made after others so that their oids differ.
async fn target() -> Database {
    let target = Database::new().await;
    target.sql(&format!("CREATE TYPE shift AS ENUM (); CREATE TABLE shifted (); {TYPES}")).await;
    target
}

#[tokio::test]
async fn a_stream_keeps_its_values_in_another_database() {
    let source = source().await;
    let stream = copied_out(&source).await;
    let expected = source.rows(ALL).await;
    assert!(expected.contains("[0:1]="), "{expected}");
    for piece in [1, 7, 1_000_000] {
        let target = target().await;
        let plan = [planned()];
        let (_, mut session, mut loaders) = target.target().open_session(&task(1, true)).await.unwrap();
        session.attach(&plan).await.unwrap();
        session.begin_table(&plan[0], Preparation::Nothing, &mark(&plan[0], 1)).await.unwrap();
        let loaded = loaders[0].load(&plan[0], 0, &mut Ready::stream(stream.clone(), piece), &|_| {}).await.unwrap();
        assert_eq!(loaded.rows, 4);
        assert_eq!(target.rows(ALL).await, expected);
    }
}

/// The rows of a COPY stream as inserts.
fn rows_of(stream: &[u8]) -> Vec<Vec<V>> {
    let mut at = 19;
    let mut rows = Vec::new();
    loop {
        let fields = i16::from_be_bytes(stream[at..at + 2].try_into().unwrap());
        at += 2;
        if fields < 0 {
            return rows;
        }
        rows.push(
            (0..fields)
                .map(|_| {
                    let length = i32::from_be_bytes(stream[at..at + 4].try_into().unwrap());
                    at += 4;
                    let Ok(length) = usize::try_from(length) else { return V::Null };
                    at += length;
                    V::Bytes(stream[at - length..at].to_vec())
                })
                .collect(),
        );
    }
}

#[tokio::test]
async fn waves_keep_their_values_in_another_database() {
    let source = source().await;
    let rows = rows_of(&copied_out(&source).await);
    let expected = source.rows(ALL).await;
    for method in [None, Some(Method::Arrays), Some(Method::Staged)] {
        let target = target().await;
        target.sql(TABLE).await;
        let plan = [planned()];
        let mut session = session(&target, &plan).await;
        session.waves.force = method;
        let mut batch = Batch::default();
        for row in &rows {
            insert(&mut batch, 0, row);
        }
        wave(&mut session, &plan, &batch, 1).await.unwrap();
        assert_eq!(target.rows(ALL).await, expected, "inserted, {method:?}");

        // The rows change places and back, all columns set.
        let mut batch = Batch::default();
        for (id, row) in [(1_i32, &rows[3]), (2, &rows[0]), (3, &rows[1]), (4, &rows[2])] {
            let mut row = row.clone();
            row[0] = V::Int(id);
            update(&mut batch, 0, None, &row);
        }
        wave(&mut session, &plan, &batch, 2).await.unwrap();
        assert_ne!(target.rows(ALL).await, expected, "{method:?}");
        let mut batch = Batch::default();
        for row in &rows {
            update(&mut batch, 0, None, row);
        }
        wave(&mut session, &plan, &batch, 3).await.unwrap();
        assert_eq!(target.rows(ALL).await, expected, "updated, {method:?}");
    }
}

#[tokio::test]
async fn a_key_of_an_extensions_type_is_found_by_the_types_own_equality() {
    let database = Database::new().await;
    database
        .sql(
            "CREATE SCHEMA shop; CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; \
                  CREATE TABLE shop.t (name ext.citext PRIMARY KEY, n integer); INSERT INTO shop.t VALUES ('Ann', 1)",
        )
        .await;
    for (number, method) in [Method::Singles, Method::Arrays, Method::Staged].into_iter().enumerate() {
        let plan = [plan(0, "t", &[("name!", "ext.citext"), ("n", "integer")])];
        let epoch = i64::try_from(number).unwrap() + 1;
        let (_, mut session, _) = database.target().open_session(&task(epoch, epoch == 1)).await.unwrap();
        session.attach(&plan).await.unwrap();
        session.waves.force = Some(method);
        let mut batch = Batch::default();
        update(&mut batch, 0, None, &[V::Text("ANN"), V::Int(2)]);
        wave(&mut session, &plan, &batch, epoch).await.unwrap();
        assert_eq!(database.rows("SELECT name::text AS a, n AS b FROM shop.t").await, "Ann|2", "{method:?}");
    }
}
