//! Many people who ask for many things at once.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use uuid::Uuid;
use wavemark_tests::api::{Api, Refusal, Table};
use wavemark_tests::pair::SOURCE;
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::world::{World, small_chunks, until_within};

/// For a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// Whether the server did it, or refused it in words; anything else is a fault.
fn is_answered(asked: &str, outcome: Result<()>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(error) => {
            let refusal = error.downcast_ref::<Refusal>().unwrap_or_else(|| panic!("{asked}: {error:#}"));
            assert!(matches!(refusal.status, 404 | 409 | 412 | 422), "{asked}: {refusal}");
            assert!(!refusal.code.is_empty() && !refusal.detail.is_empty(), "{asked}: {refusal:?}");
            false
        }
    }
}

/// Asks one thing of a task.
async fn ask(api: &Api, task: Uuid, random: &mut StdRng) -> bool {
    let tables = [("shop", *["stock", "orders", "payments", "customers"].choose(random).unwrap())];
    let asked = *["start", "stop", "resume", "reload", "drain", "reload table", "park table"].choose(random).unwrap();
    let outcome = match asked {
        "drain" => api.drain(task).await.map(drop),
        "reload table" => api.ask_of_tables(task, "reload", &tables).await,
        "park table" => api.ask_of_tables(task, "park", &tables).await,
        action => api.act(task, action).await,
    };
    is_answered(asked, outcome)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_requests_ends_in_a_defined_state_and_equal() {
    let mut world = World::with_shop().await;
    world.installation.add_worker().unwrap();
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(Pace { sessions: 2, per_second: 30.0, seed: 27 });
    let task = world.replicate("shop", &small_chunks()).await;
    let api = &world.installation.api;
    let client = async |seed: u64| {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut done, mut asked) = (0, 0);
        let end = Instant::now() + Duration::from_secs(12);
        while Instant::now() < end {
            done += u32::from(ask(api, task, &mut random).await);
            asked += 1;
            tokio::time::sleep(Duration::from_millis(random.random_range(20..600))).await;
        }
        (done, asked)
    };
    let all = tokio::join!(client(1), client(2), client(3), client(4));
    let (done, asked) = [all.0, all.1, all.2, all.3].iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("{done} of {asked} requests were granted");
    assert!(done > 20 && done < asked, "both were tried: {done} of {asked}");

    // Whatever was asked last, a person can bring the task back to where it should be.
    let words = ["running", "degraded", "stopped", "failed"];
    let limit = Duration::from_secs(40);
    let rests =
        api.wait_task(task, limit, "a state to rest in", |task| words.contains(&task.status.as_str())).await.unwrap();
    println!("it came to rest {}", rests.status);
    if !matches!(rests.status.as_str(), "running" | "degraded") {
        until_within(PATIENCE, || async {
            api.act(task, "resume").await.is_ok() || api.act(task, "start").await.is_ok()
        })
        .await;
    }
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let tables = api.tables(task).await.unwrap();
        if !tables.is_empty() && tables.iter().all(Table::is_settled) {
            break;
        }
        assert!(Instant::now() < end, "{:?}", tables.iter().filter(|table| !table.is_settled()).collect::<Vec<_>>());
        let parked: Vec<_> = tables.iter().filter(|table| table.state == "parked").collect();
        let names: Vec<_> = parked.iter().map(|table| (&*table.source.schema, &*table.source.table)).collect();
        if !names.is_empty() {
            is_answered("reload what is parked", api.ask_of_tables(task, "reload", &names).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_many_delete_while_others_start_it_is_gone_with_everything_of_it_or_whole() {
    let world = World::start().await;
    world.source("create table t (id int primary key); insert into t values (1)").await;
    let api = &world.installation.api;
    let task = world.replicate("public", &json!({})).await;
    let gone = async || {
        let answer = api.task(task).await;
        answer.err().and_then(|error| error.downcast::<Refusal>().ok()).is_some_and(|refusal| refusal.status == 404)
    };
    let client = async |seed: u64| {
        let mut random = StdRng::seed_from_u64(seed);
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end && !gone().await {
            match random.random_range(0..10) {
                0..3 => is_answered("delete", api.delete_task(task).await),
                3..6 => is_answered("stop", api.act(task, "stop").await),
                _ => is_answered(
                    "start",
                    api.act(task, ["start", "resume", "reload"].choose(&mut random).unwrap()).await,
                ),
            };
            tokio::time::sleep(Duration::from_millis(random.random_range(20..300))).await;
        }
    };
    tokio::join!(client(1), client(2), client(3));
    if !gone().await {
        until_within(PATIENCE, || async {
            let _ = is_answered("stop", api.act(task, "stop").await);
            let _ = is_answered("delete", api.delete_task(task).await);
            gone().await
        })
        .await;
    }
    let left = "select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication)";
    let client = world.pair.source.connect(SOURCE).await.unwrap();
    until_within(PATIENCE, || async { client.query_one(left, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) == 0) })
        .await;
    // A task that was deleted before any worker had it never came to its target.
    if world.target_value("select to_regclass('wavemark.fence')::text").await.is_none() {
        return;
    }
    let left = "select (select count(*) from wavemark.progress) || ' ' || (select count(*) from wavemark.fence where not tombstone)";
    assert_eq!(world.target_value(left).await.as_deref(), Some("0 0"));
}
