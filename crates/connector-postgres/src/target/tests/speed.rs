//! Changes per second of each method: random updates of a table of 500,000 rows.
//!
//! `cargo test --release -p wavemark-connector-postgres --lib speed -- --ignored --nocapture`

use std::time::{Duration, Instant};

use wavemark_connector::target::{Segment, Session};

use super::super::sets::Method;
use super::*;

const ROWS: i64 = 500_000;

fn accounts() -> TablePlan {
    plan(0, "accounts", &[("aid!", "bigint"), ("bid", "integer"), ("balance", "integer"), ("filler", "text")])
}

fn updates(count: i64, seed: &mut u64) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..count {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = i64::try_from(*seed >> 33).unwrap() % ROWS + 1;
        let filler = V::Text("0123456789012345678901234567890123456789012345678901234567890123");
        update(&mut batch, 0, None, &[V::Long(id), V::Int(1), V::Int(2), filler]);
    }
    batch
}

async fn measure(session: &mut PgSession, plan: &[TablePlan], number: &mut i64, size: i64) -> f64 {
    let mut seed = 42;
    let mut changes = 0;
    let mut spent = Duration::ZERO;
    while spent < Duration::from_secs(2) {
        let batch = updates(size, &mut seed);
        *number += 1;
        let start = Instant::now();
        session.apply(plan, &Segment::whole(&batch)).await.unwrap();
        session
            .commit(&WaveEnd {
                wave: WaveNumber(*number),
                position: &position(1),
                position_text: "0/1",
                committed_at: None,
                parked: &[],
            })
            .await
            .unwrap();
        spent += start.elapsed();
        changes += size;
    }
    f64::from(u32::try_from(changes).unwrap()) / spent.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn speed_of_each_method() {
    let database = Database::new().await;
    database
        .sql(&format!(
            "CREATE SCHEMA shop; \
             CREATE TABLE shop.accounts (aid bigint, bid integer, balance integer, filler text) WITH (fillfactor = 90); \
             INSERT INTO shop.accounts SELECT n, 1, 0, repeat('x', 64) FROM generate_series(1, {ROWS}) n; \
             ALTER TABLE shop.accounts ADD PRIMARY KEY (aid); CHECKPOINT"
        ))
        .await;
    database.sql("VACUUM ANALYZE shop.accounts").await;
    let plan = [accounts()];
    let mut session = session(&database, &plan).await;
    let mut number = 0;
    for (size, methods) in [
        (1, &[Some(Method::Singles)][..]),
        (10, &[Some(Method::Singles), Some(Method::Arrays)]),
        (60, &[Some(Method::Singles), Some(Method::Arrays)]),
        (300, &[Some(Method::Singles), Some(Method::Arrays), Some(Method::Staged)]),
        (1_000, &[Some(Method::Singles), Some(Method::Arrays), Some(Method::Staged)]),
        (3_000, &[Some(Method::Arrays), Some(Method::Staged)]),
        (10_000, &[Some(Method::Staged)]),
        (50_000, &[Some(Method::Staged), None]),
    ] {
        for method in methods {
            session.waves.force = *method;
            let rate = measure(&mut session, &plan, &mut number, size).await;
            println!("{size:>6} changes a wave, {method:?}: {rate:.0} changes/s");
        }
    }
}
