//! Every named crash point ends a worker on real servers, and another worker finishes what it began.
//!
//! Each point has a task of its own. The worker that is armed is alone when the task starts, so that it is the one
//! that gets it. It must die at its point; another worker without the variable then takes the task over, and source
//! and target must be equal while the source went on changing.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use wavemark_connector::crash::POINTS;
use wavemark_tests::pair;
use wavemark_tests::process::Process;

use crate::world::{World, until};

/// From which life of a task a point is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    FirstLoad,
    ResumedLoad,
    Waves,
    Reload,
}

/// What a table that is loaded aside passes, besides its own points.
const AGAIN: [&str; 3] = ["chunk.committed", "forward.before-commit", "table.completed"];

fn life(point: &str) -> Life {
    match point.split('.').next().unwrap() {
        "forward" => Life::ResumedLoad,
        "wave" => Life::Waves,
        "aside" => Life::Reload,
        _ if point == "source.confirmed" => Life::Waves,
        _ => Life::FirstLoad,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_every_point_of_a_first_load_is_survived() {
    survive_all(Life::FirstLoad).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_every_point_of_a_resumed_load_is_survived() {
    survive_all(Life::ResumedLoad).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_every_point_of_a_wave_is_survived() {
    survive_all(Life::Waves).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_every_point_of_a_reload_is_survived() {
    survive_all(Life::Reload).await;
}

async fn survive_all(in_life: Life) {
    let mut world = World::start().await;
    world.installation.workers[0].kill().unwrap();
    let endpoints = world.pair.make_endpoints(&world.installation.api).await.unwrap();
    // A reload passes the points of a load once more.
    let passed = |point: &&&str| life(point) == in_life || in_life == Life::Reload && AGAIN.contains(*point);
    let points: Vec<_> = POINTS.iter().filter(passed).collect();
    assert!(points.len() >= 2, "{in_life:?} has only {points:?}");
    for (number, point) in points.into_iter().enumerate() {
        let task = make_task(&world, &format!("p{number}"), endpoints).await;
        survive(&mut world, &format!("p{number}"), task, point, in_life).await;
    }
}

async fn survive(world: &mut World, schema: &str, task: Uuid, point: &str, in_life: Life) {
    if in_life == Life::ResumedLoad {
        // One chunk is done, the others are not.
        let first = arm(world, "chunk.committed:1");
        world.installation.api.act(task, "start").await.unwrap();
        dies_at(world, first, "chunk.committed", schema).await;
    }
    if in_life == Life::Reload {
        world.installation.workers[0].start().unwrap();
        world.installation.api.act(task, "start").await.unwrap();
        world.live(task).await;
        world.installation.workers[0].kill().unwrap();
    }
    // The third of everything while following is a wave with changes, not the bookmark of the load.
    let count = if in_life == Life::Waves { 3 } else { 1 };
    let armed = arm(world, &format!("{point}:{count}"));
    match in_life {
        Life::ResumedLoad => {}
        Life::Reload => {
            let tables = [(schema, "t"), (schema, "pairs")];
            world.installation.api.ask_of_tables(task, "reload", &tables).await.unwrap();
        }
        _ => world.installation.api.act(task, "start").await.unwrap(),
    }
    dies_at(world, armed, point, schema).await;

    change(world, schema, 1_000).await;
    world.installation.workers[0].start().unwrap();
    world.live(task).await;
    change(world, schema, 1_001).await;
    until(|| async { world.compared(schema).await.is_equal() }).await;
    let rows = format!("select (select count(*) from {schema}.t) || ' ' || (select count(*) from {schema}.pairs)");
    let source = world.pair.source_client().await.unwrap();
    let expected: String = source.query_one(&rows, &[]).await.unwrap().get(0);
    assert_eq!(world.target_value(&rows).await, Some(expected), "{point}");
    retire(world, task).await;
}

/// A task on three tables: one of some chunks, one with a foreign key to it, one without a key.
async fn make_task(world: &World, schema: &str, endpoints: (Uuid, Uuid)) -> Uuid {
    let sql = format!(
        "create schema {schema}; set search_path = {schema};
         create table t (id int primary key, n int not null default 0, pad text);
         create table pairs (id bigserial primary key, t int not null references t, unique (t, id));
         create table keyless (n int); alter table keyless replica identity full;
         insert into t select n, 0, repeat('x', 1000) from generate_series(1, 3000) n;
         insert into pairs (t) select n from generate_series(1, 200) n;
         insert into keyless select n from generate_series(1, 50) n"
    );
    world.source(&sql).await;
    let settings = json!({"chunk_mib": 1, "load_parallelism": 1});
    let (api, rules) = (&world.installation.api, pair::whole_schema(schema));
    api.create_task(schema, "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap()
}

/// One transaction over all tables: rows come, change, change their key, and go.
async fn change(world: &World, schema: &str, number: i32) {
    let sql = format!(
        "begin; set local search_path = {schema};
         update t set n = n + 1 where id % 500 = {number} % 500;
         insert into t values (10000 + {number}, {number}, 'new');
         update t set id = id + 1000000 where id = 3000 - {number} % 1000 and id > 2000;
         insert into pairs (t) values (1 + {number} % 100), (2 + {number} % 100);
         delete from pairs where id = {number} % 200;
         update keyless set n = n + 1000 where n = {number} % 50; commit"
    );
    world.source(&sql).await;
}

/// Starts a worker that dies at the point.
fn arm(world: &mut World, crash: &str) -> usize {
    world.installation.add_worker_with(&[("WAVEMARK_CRASH", crash)]).unwrap()
}

/// Keeps changing the source until the armed worker is dead, and makes sure of what it died.
async fn dies_at(world: &mut World, armed: usize, point: &str, schema: &str) {
    let end = std::time::Instant::now() + Duration::from_secs(40);
    // Apart from the numbers of another worker's time.
    let mut number = 2_000 * i32::try_from(armed).unwrap();
    while world.installation.workers[armed].is_running() {
        assert!(std::time::Instant::now() < end, "the point {point} was not passed in {:?}", Duration::from_secs(40));
        number += 1;
        change(world, schema, number).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(said(&world.installation.workers[armed], point), "the worker died of something else than {point}");
}

fn said(worker: &Process, point: &str) -> bool {
    worker.log_end(5).contains(&format!("crash point {point} reached: aborting"))
}

/// Stops the task and takes its worker away, so that the next armed worker is alone.
async fn retire(world: &mut World, task: Uuid) {
    world.installation.api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    world.installation.workers[0].kill().unwrap();
}
