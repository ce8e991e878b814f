//! Policies on tables: rows that they hide from the endpoint's role are never passed over in silence.

use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;
use wavemark_domain::check::Weight;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{Preparation, TaskKind, TaskSettings};
use wavemark_domain::{Fault, Problem};
use wavemark_engine::{Ended, Run};

use crate::support::pair::{Pair, rows_of, target_endpoint};
use crate::support::run::{ended, refused};
use crate::support::task;

const GOODS: &str = "CREATE TABLE goods (id integer PRIMARY KEY, owner text, price integer)";
/// Every second row can be seen.
const POLICY: &str = "CREATE POLICY own ON goods USING (id % 2 = 0); ALTER TABLE goods ENABLE ROW LEVEL SECURITY";

async fn pair() -> Pair {
    let pair = Pair::start(&[]).await;
    let plain = "CREATE ROLE plain LOGIN REPLICATION; GRANT CREATE ON DATABASE mart, postgres TO plain";
    pair.source.batch_execute(plain).await.unwrap();
    pair.mart.batch_execute("GRANT ALL ON SCHEMA public TO plain").await.unwrap();
    let rows = "INSERT INTO goods SELECT n, 'owner ' || n, n FROM generate_series(1, 500) n";
    pair.source.batch_execute(&format!("{GOODS}; {rows}; ALTER TABLE goods OWNER TO plain")).await.unwrap();
    pair
}

/// A run whose target is written to by role `plain`.
fn by_plain(pair: &Pair, epoch: i64, stop_at: StopAt) -> Run {
    let settings = TaskSettings { preparation: Preparation::Truncate, stop_at, ..TaskSettings::default() };
    let mut run = pair.run(epoch, TaskKind::FullLoadAndCdc, &["goods"], settings);
    let mut endpoint = target_endpoint(&pair.cluster);
    endpoint.values["user"] = "plain".into();
    run.target = Postgres.target(&endpoint).unwrap();
    run
}

/// The same with a source that is read by role `plain`.
fn from_plain(pair: &Pair, epoch: i64) -> Run {
    let mut run = by_plain(pair, epoch, StopAt::Loaded);
    let endpoint = task::endpoint(&pair.cluster, "plain");
    run.source = Postgres.source(&endpoint).unwrap();
    run
}

fn is_told(problem: &Problem, of: &str) {
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "row-security"), "{problem:?}");
    assert!(problem.text.contains(of), "{problem:?}");
    assert!(problem.advice.as_ref().unwrap().contains("BYPASSRLS"), "{problem:?}");
}

async fn blockers(run: &Run) -> Vec<String> {
    let findings = wavemark_engine::assess(run).await.unwrap();
    let worst = findings.into_iter().filter(|finding| finding.weight == Weight::Blocker);
    worst.map(|finding| finding.code).collect()
}

async fn end_of_log(pair: &Pair) -> StopAt {
    StopAt::Position(pair.ask("SELECT pg_current_wal_insert_lsn()::text").await)
}

#[tokio::test]
async fn a_target_table_whose_policies_bind_the_role_is_refused_before_anything_is_written() {
    let pair = pair().await;
    let theirs = format!("{GOODS}; {POLICY}; INSERT INTO goods VALUES (1, 'theirs', 1)");
    pair.mart.batch_execute(&theirs).await.unwrap();
    for owner in ["GRANT ALL ON goods TO plain", "ALTER TABLE goods OWNER TO plain, FORCE ROW LEVEL SECURITY"] {
        pair.mart.batch_execute(owner).await.unwrap();
        assert_eq!(blockers(&by_plain(&pair, 1, StopAt::Loaded)).await, ["row-security"], "{owner}");
        is_told(&refused(&by_plain(&pair, 1, StopAt::Loaded)).await, "public.goods");
        assert_eq!(rows_of(&pair.mart, "goods").await, ["(1,theirs,1)"], "{owner}");
    }
    // Its owner is not bound, unless that is forced; nor is a role that bypasses policies.
    pair.mart.batch_execute("ALTER TABLE goods NO FORCE ROW LEVEL SECURITY").await.unwrap();
    assert_eq!(blockers(&by_plain(&pair, 2, StopAt::Loaded)).await, [""; 0]);
    assert_eq!(ended(&by_plain(&pair, 2, StopAt::Loaded)).await.unwrap(), Ended::Finished);
    pair.mart
        .batch_execute("ALTER TABLE goods OWNER TO postgres; GRANT ALL ON goods TO plain; ALTER ROLE plain BYPASSRLS")
        .await
        .unwrap();
    pair.source
        .batch_execute("UPDATE goods SET price = price + 1 WHERE id < 200; DELETE FROM goods WHERE id = 301")
        .await
        .unwrap();
    let follow = by_plain(&pair, 3, end_of_log(&pair).await);
    assert_eq!(ended(&follow).await.unwrap(), Ended::Finished);
    assert_eq!(rows_of(&pair.mart, "goods").await, rows_of(&pair.source, "goods").await);
}

#[tokio::test]
async fn policies_that_come_while_a_task_runs_stop_it_and_no_change_is_passed_over() {
    let pair = pair().await;
    assert_eq!(ended(&by_plain(&pair, 1, StopAt::Loaded)).await.unwrap(), Ended::Finished);
    for (epoch, change) in [
        // Rows that the policy hides: by themselves, and among many.
        (10, "UPDATE goods SET price = -1 WHERE id = 3"),
        (20, "DELETE FROM goods WHERE id = 5"),
        (30, "UPDATE goods SET price = price + 1 WHERE id BETWEEN 7 AND 300"),
        (40, "INSERT INTO goods SELECT n, 'new', n FROM generate_series(1001, 1400) n"),
    ] {
        let run = by_plain(&pair, epoch, StopAt::Never);
        let running = tokio::spawn({
            let run = run.clone();
            async move { run.run().await }
        });
        // It has followed something by now, with statements that are prepared.
        pair.source.batch_execute("UPDATE goods SET price = price + 1 WHERE id IN (2, 400)").await.unwrap();
        let expected = rows_of(&pair.source, "goods").await;
        while rows_of(&pair.mart, "goods").await != expected {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        pair.mart.batch_execute(&format!("{POLICY}; ALTER TABLE goods FORCE ROW LEVEL SECURITY")).await.unwrap();
        pair.source.batch_execute(change).await.unwrap();
        let stopped = tokio::time::timeout(task::PATIENCE, running).await.expect(change).unwrap();
        let Err(wavemark_engine::Failure::Problem(problem)) = stopped else { panic!("{change}: {stopped:?}") };
        is_told(&problem, "goods");
        assert_eq!(rows_of(&pair.mart, "goods").await, expected, "{change}");
        // And it does not begin again as long as they are there.
        is_told(&refused(&by_plain(&pair, epoch + 1, StopAt::Never)).await, "goods");
        pair.mart
            .batch_execute(
                "DROP POLICY own ON goods; ALTER TABLE goods DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
            )
            .await
            .unwrap();
        let mended = by_plain(&pair, epoch + 2, end_of_log(&pair).await);
        assert_eq!(ended(&mended).await.unwrap(), Ended::Finished);
        assert_eq!(rows_of(&pair.mart, "goods").await, rows_of(&pair.source, "goods").await, "{change}");
    }
}

#[tokio::test]
async fn a_source_whose_policies_bind_the_role_is_an_error_and_never_a_part_of_its_rows() {
    let pair = pair().await;
    pair.source.batch_execute("ALTER TABLE the_end OWNER TO plain").await.unwrap();
    pair.source.batch_execute(&format!("{POLICY}; ALTER TABLE goods FORCE ROW LEVEL SECURITY")).await.unwrap();
    assert_eq!(blockers(&from_plain(&pair, 1)).await, ["row-security"]);
    is_told(&refused(&from_plain(&pair, 1)).await, "goods");
    let done = "SELECT EXISTS (SELECT FROM wavemark.chunks WHERE done_at IS NOT NULL)";
    assert!(!pair.mart.query_one(done, &[]).await.unwrap().get::<_, bool>(0));
    // The log itself knows no policies: an owner that sees all rows loads and follows all of them.
    pair.source.batch_execute("ALTER TABLE goods NO FORCE ROW LEVEL SECURITY").await.unwrap();
    assert_eq!(ended(&from_plain(&pair, 2)).await.unwrap(), Ended::Finished);
    assert_eq!(rows_of(&pair.mart, "goods").await, rows_of(&pair.source, "goods").await);
}

#[tokio::test]
async fn a_policy_of_a_partition_counts_too() {
    let pair = pair().await;
    pair.source
        .batch_execute(
            "DROP TABLE goods; \
             CREATE TABLE goods (id integer PRIMARY KEY, owner text, price integer) PARTITION BY RANGE (id); \
             CREATE TABLE first_goods PARTITION OF goods FOR VALUES FROM (0) TO (1000); INSERT INTO goods VALUES (1, 'a', 1), (2, 'b', 2); \
             ALTER TABLE goods OWNER TO plain; ALTER TABLE first_goods OWNER TO plain; \
             CREATE POLICY own ON first_goods USING (id % 2 = 0); \
             ALTER TABLE first_goods ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        )
        .await
        .unwrap();
    assert_eq!(blockers(&from_plain(&pair, 1)).await, ["row-security"]);
    is_told(&refused(&from_plain(&pair, 1)).await, "goods");
}
