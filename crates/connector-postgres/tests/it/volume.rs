//! Much of everything: columns, transactions, changes in one of them.

use crate::support::pair::Pair;

/// As many as a table can have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_1600_columns_are_loaded_and_followed() {
    let pair = Pair::start(&[]).await;
    let columns = |kind: &str| (1..1_600).map(|at| format!("c{at} {kind}")).collect::<Vec<_>>().join(", ");
    let cells = (1..1_600).map(|at| format!("n + {at}")).collect::<Vec<_>>().join(", ");
    for (name, kind) in [("wide", "smallint"), ("keyless", "smallint")] {
        let key = if name == "wide" { " PRIMARY KEY" } else { "" };
        let sql = format!(
            "CREATE TABLE {name} (id integer{key}, {}); INSERT INTO {name} SELECT n, {cells} FROM generate_series(1, 60) n",
            columns(kind)
        );
        pair.source.batch_execute(&sql).await.unwrap();
    }
    pair.source.batch_execute("ALTER TABLE keyless REPLICA IDENTITY FULL").await.unwrap();
    let all = (1..1_600).map(|at| format!("c{at} = -c{at}")).collect::<Vec<_>>().join(", ");
    let changes = [
        format!("UPDATE wide SET {all} WHERE id <= 20; UPDATE keyless SET {all} WHERE id <= 20"),
        "UPDATE wide SET c1599 = 5, c7 = NULL WHERE id > 20; UPDATE keyless SET c1599 = 5, c7 = NULL WHERE id > 20".to_owned(),
        "UPDATE wide SET id = id + 1000 WHERE id BETWEEN 10 AND 15; DELETE FROM wide WHERE id = 30; DELETE FROM keyless WHERE id = 30".to_owned(),
        format!("INSERT INTO wide SELECT n, {cells} FROM generate_series(2001, 2300) n; INSERT INTO keyless SELECT n, {cells} FROM generate_series(2001, 2300) n"),
    ];
    pair.copies(&["wide", "keyless"], &changes.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// The server passes over what is not for us; it must hear of us meanwhile, and we of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_transactions_of_other_tables_are_passed_over() {
    let pair = Pair::start(&[("wal_sender_timeout", "3s"), ("synchronous_commit", "off")]).await;
    pair.source
        .batch_execute("CREATE TABLE other (n integer); CREATE TABLE ours (n integer PRIMARY KEY, v integer); INSERT INTO ours VALUES (1, 0)")
        .await
        .unwrap();
    let others = "DO $$ BEGIN FOR n IN 1 .. 100000 LOOP INSERT INTO other VALUES (n); COMMIT; END LOOP; END $$";
    pair.copies(
        &["ours"],
        &["UPDATE ours SET v = 1", others, "UPDATE ours SET v = v + 1", "INSERT INTO ours VALUES (2, 2)"],
    )
    .await;
}

/// Each a transaction of its own, and some with nothing of ours but a savepoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_small_transactions_are_followed_one_after_the_other() {
    let pair = Pair::start(&[("synchronous_commit", "off")]).await;
    pair.source.batch_execute("CREATE TABLE ours (n integer PRIMARY KEY, v integer)").await.unwrap();
    let each = "DO $$ BEGIN FOR i IN 1 .. 30000 LOOP \
                INSERT INTO ours VALUES (i % 700, i) ON CONFLICT (n) DO UPDATE SET v = excluded.v; \
                IF i % 5 = 0 THEN DELETE FROM ours WHERE n = (i * 7) % 700; END IF; COMMIT; END LOOP; END $$";
    pair.copies(&["ours"], &[each]).await;
}
