//! A source that takes everything and says nothing: its connections stay, and nothing comes.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::pair::{self, SOURCE, TARGET};
use wavemark_tests::proxy::{Proxy, Trouble, Way};
use wavemark_tests::signal::Signal;

use crate::world::{World, until_within};

/// For a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// A task on a table `t`, its source behind a proxy, that takes four seconds of silence.
async fn followed(world: &World, link: &Proxy) -> Uuid {
    let api = &world.installation.api;
    world.source("create table t (id int primary key)").await;
    let mut settings = pair::settings(&world.pair.source, SOURCE, SOURCE);
    settings["port"] = link.port().into();
    settings["silence_limit_seconds"] = json!(4);
    let source = api.create_endpoint("source", "source", &settings, world.pair.source.password()).await.unwrap();
    let settings = pair::settings(&world.pair.target, TARGET, TARGET);
    let target = api.create_endpoint("target", "target", &settings, world.pair.target.password()).await.unwrap();
    let rules = pair::whole_schema("public");
    // Heartbeats would break the silence.
    let settings = json!({"idle_seconds": 60});
    let task = api.create_task("t", "full-load-and-cdc", (source, target), &rules, &settings).await.unwrap();
    api.act(task, "start").await.unwrap();
    world.live(task).await;
    task
}

async fn silences(world: &World, task: Uuid) -> usize {
    let events = world.installation.api.events(task).await.unwrap();
    events.iter().filter(|event| event.code == "source-silent").count()
}

async fn arrives(world: &World, id: u32) {
    world.source(&format!("insert into t values ({id})")).await;
    let sql = format!("select count(*)::text from t where id = {id}");
    until_within(PATIENCE, || async { world.target_value(&sql).await.as_deref() == Some("1") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_takes_everything_and_says_nothing_is_connected_to_anew() {
    let world = World::start().await;
    let link = Proxy::start(world.pair.source.port()).await.unwrap();
    let task = followed(&world, &link).await;
    arrives(&world, 1).await;
    // A source with nothing to say that answers when it is asked is not given up.
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(silences(&world, task).await, 0);

    let client = world.pair.source.connect(SOURCE).await.unwrap();
    let sender = "select pid from pg_stat_replication where application_name like 'wavemark %'";
    let sender: i32 = client.query_one(sender, &[]).await.unwrap().get(0);
    Signal::Stop.send(&[sender.unsigned_abs()]).unwrap();
    until_within(PATIENCE, || async { silences(&world, task).await == 1 }).await;
    Signal::Continue.send(&[sender.unsigned_abs()]).unwrap();
    arrives(&world, 2).await;

    link.strike(Trouble::HalfOpen(Way::Down));
    until_within(PATIENCE, || async { silences(&world, task).await == 2 }).await;
    link.heal();
    arrives(&world, 3).await;
    let task = world.installation.api.task(task).await.unwrap();
    assert_eq!((task.status.as_str(), task.epoch), ("running", 1), "nobody else had to take the task");
}
