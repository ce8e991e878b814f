//! Foreign keys in the target: made once all tables stand at one position, taken off from tables that are parked.

use crate::support;
use std::time::Duration;

use crate::support::World;
use tokio::time::{sleep, timeout};
use wavemark_connector::testkit::model::SourceState;
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::{Chance, Odds};
use wavemark_domain::ChangeKind::Insert;
use wavemark_domain::state::TableState;
use wavemark_domain::task::DataErrorPolicy;
use wavemark_domain::{Fault, Problem, TableId, TableName, TableOrder, TableWish};
use wavemark_engine::{Ended, Run};

type Answer = Result<Option<Vec<String>>, Problem>;

/// A task that follows, told to park its second table; dropping foreign keys is answered so.
async fn parked(answers: impl IntoIterator<Item = Answer>) -> (World, Run, support::Running) {
    let world = World::new(1, 0);
    let (run, running) = world.following(DataErrorPolicy::ParkTable).await;
    sleep(Duration::from_mins(2)).await;
    assert_eq!(world.target.state().foreign_keys.dropped_from, Vec::<Vec<TableId>>::new(), "nothing is parked yet");
    world.target.state().foreign_keys.answers.extend(answers);
    let table = TableName::new("sim", "t1");
    run.orders.give(vec![TableOrder { number: 1, table, wish: TableWish::Park }]);
    (world, run, running)
}

/// Waits until it was asked so often to drop keys, each time of the parked table.
async fn asked(world: &World, times: usize) {
    let asked = async {
        while world.target.state().foreign_keys.dropped_from.len() < times {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_mins(5), asked).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.target.state().foreign_keys.dropped_from, vec![vec![TableId(1)]; times]);
}

/// The others go on, and the run ends when it is told to.
async fn goes_on(world: &World, run: &Run, running: support::Running) {
    world.source.state().write(&[(0, Insert), (2, Insert)]);
    let end = world.source.state().end;
    world.reaches(end).await;
    let states: Vec<_> = run.status.progress().tables.iter().map(|table| table.state).collect();
    assert_eq!(states, [TableState::Live, TableState::Parked, TableState::Live]);
    run.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    world.assert_exact();
}

fn told(run: &Run, code: &str) -> Vec<String> {
    run.status.events().into_iter().filter(|event| event.code == code).map(|event| event.text).collect()
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_parked_table_are_dropped_by_name_once_nobody_else_uses_it() {
    let named = vec!["a_fk".to_owned(), "b_fk".to_owned()];
    let (world, run, running) = parked([Ok(None), Ok(Some(named))]).await;
    asked(&world, 1).await;
    assert_eq!(told(&run, "foreign-keys-kept").len(), 1);
    // It is tried again half a minute later.
    sleep(Duration::from_secs(15)).await;
    asked(&world, 1).await;
    assert_eq!(told(&run, "foreign-keys-dropped"), Vec::<String>::new());
    sleep(Duration::from_secs(10)).await;
    asked(&world, 2).await;
    let dropped = told(&run, "foreign-keys-dropped");
    assert_eq!(dropped.len(), 1);
    assert!(dropped[0].ends_with(": a_fk, b_fk"), "{dropped:?}");
    sleep(Duration::from_mins(2)).await;
    asked(&world, 2).await;
    goes_on(&world, &run, running).await;
}

#[tokio::test(start_paused = true)]
async fn where_there_are_no_keys_nothing_is_told() {
    let (world, run, running) = parked([]).await;
    asked(&world, 1).await;
    assert_eq!(told(&run, "foreign-keys-dropped"), Vec::<String>::new());
    goes_on(&world, &run, running).await;
}

#[tokio::test(start_paused = true)]
async fn keys_that_may_not_be_dropped_are_told_and_stop_nobody() {
    for fault in [Fault::Settings, Fault::Data] {
        let refusal = Problem::new(fault, "not-owner", "Not the owner of the table.");
        let (world, run, running) = parked([Err(refusal)]).await;
        asked(&world, 1).await;
        let events = run.status.events();
        let refusals = events.iter().filter_map(|event| event.problem.as_ref());
        assert_eq!(refusals.filter(|problem| problem.code == "not-owner").count(), 1, "{fault:?}");
        assert_eq!(run.status.progress().retries, 0, "{fault:?}");
        goes_on(&world, &run, running).await;
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_dropped_by_another_try_if_the_first_lost_its_connection() {
    let lost = Problem::transient("connection-lost", "The connection was lost.");
    let (world, run, running) = parked([Err(lost), Ok(Some(vec!["a_fk".to_owned()]))]).await;
    asked(&world, 2).await;
    assert_eq!(told(&run, "foreign-keys-dropped").len(), 1);
    assert_eq!(run.status.progress().retries, 1);
    goes_on(&world, &run, running).await;
}

#[tokio::test(start_paused = true)]
async fn after_an_interrupted_load_keys_are_made_once_and_when_all_tables_are_live() {
    let calm = Odds { lost_call: 0, lost_answer: 0, poison: 0 };
    for seed in 1..20 {
        let mut world = World::new(seed, 0);
        world.source = SimulatedSource::new(SourceState::new(3, 60, Chance::new(seed, calm)), None);
        let run = world.run(1);
        let first = run.clone();
        let first = tokio::spawn(async move { first.run().await });
        while run.status.progress().rows_loaded == 0 {
            sleep(Duration::from_micros(100)).await;
        }
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        world.target.state().foreign_keys.made_among.clear();
        for _ in 0..20 {
            world.source.state().write(&[(0, Insert), (1, Insert), (2, Insert)]);
        }
        let run = world.run(2);
        let running = run.clone();
        let running = tokio::spawn(async move { running.run().await });
        let live = || {
            let tables = run.status.progress().tables;
            tables.iter().filter(|table| table.state == TableState::Live).count()
        };
        let made = async {
            while world.target.state().foreign_keys.made_among.is_empty() {
                world.source.state().write(&[(1, Insert)]);
                world.source.written.notify_waiters();
                sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(timeout(Duration::from_mins(10), made).await.is_ok(), "seed {seed}: {:?}", run.status.progress());
        assert_eq!(live(), 3, "seed {seed}");
        for _ in 0..5 {
            world.source.state().write(&[(0, Insert)]);
            world.source.written.notify_waiters();
            sleep(Duration::from_secs(1)).await;
        }
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
        let made = world.target.state().foreign_keys.made_among.clone();
        assert_eq!(made, [[TableId(0), TableId(1), TableId(2)]], "seed {seed}");
    }
}
