//! A layout that a table has from its load is in the log before the table joins it: nobody is parked for that.

use std::time::Duration;

use crate::support::World;
use tokio::time::{sleep, timeout};
use wavemark_connector::target::Stage;
use wavemark_connector::testkit::model::{SourceState, place};
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::{Chance, Odds};
use wavemark_domain::state::TableState;
use wavemark_domain::{ChangeKind, TableName, TableOrder, TableWish};
use wavemark_engine::{Ended, Run};

const CALM: Odds = Odds { lost_call: 0, lost_answer: 0, poison: 0 };

fn states(run: &Run) -> Vec<TableState> {
    run.status.progress().tables.iter().map(|table| table.state).collect()
}

/// Kills a worker in the middle of the first load; the tables that were not loaded by then.
async fn killed_while_loading(world: &World) -> Vec<usize> {
    let run = world.run(1);
    let running = run.clone();
    let running = tokio::spawn(async move { running.run().await });
    while run.status.progress().rows_loaded == 0 {
        sleep(Duration::from_micros(100)).await;
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let unloaded = |(_, state): &(usize, TableState)| matches!(state, TableState::Waiting | TableState::Loading);
    states(&run).into_iter().enumerate().filter(unloaded).map(|(table, _)| table).collect()
}

#[tokio::test(start_paused = true)]
async fn a_table_whose_layout_changed_before_its_interrupted_load_went_on_joins_the_log() {
    let mut cases = 0;
    for seed in 1..40 {
        let mut world = World::new(seed, 0);
        world.source = SimulatedSource::new(SourceState::new(3, 60, Chance::new(seed, CALM)), None);
        let unloaded = killed_while_loading(&world).await;
        for table in &unloaded {
            world.source.state().write(&[(*table, ChangeKind::Insert)]);
            world.source.state().alter(*table);
            world.source.state().write(&[(*table, ChangeKind::Update), (*table, ChangeKind::Insert)]);
        }
        let run = world.run(2);
        let running = run.clone();
        let running = tokio::spawn(async move { running.run().await });
        let end = world.source.state().end;
        world.reaches(end).await;
        for table in unloaded {
            let progress = run.status.progress().tables[table].clone();
            // The target's table may have been made with the layout of before; that is another reason.
            let why = progress.problem.map(|problem| problem.code);
            assert!(
                why.is_none() || why.as_deref() == Some("table-does-not-fit"),
                "seed {seed}, table {table}: {why:?}"
            );
            cases += usize::from(progress.state != TableState::Parked);
        }
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
        world.assert_exact();
    }
    assert!(cases > 40, "{cases} tables joined the log with their new layout");
}

/// A reload under way: the waves are behind a change of the table's layout when its load, after that change, is over.
async fn reloaded_beyond_a_change_that_the_log_has_yet_to_send(seed: u64, idle_last: bool) {
    let world = World::new(seed, 0);
    let run = world.run(1);
    let running = run.clone();
    let running = tokio::spawn(async move { running.run().await });
    while run.status.progress().wave.is_none() {
        sleep(Duration::from_millis(1)).await;
    }
    let loaded = {
        let mut source = world.source.state();
        source.withheld_after = Some(source.end);
        source.write(&[(0, ChangeKind::Insert), (1, ChangeKind::Insert)]);
        source.alter(0);
        source.write(&[(0, ChangeKind::Insert), (1, ChangeKind::Insert)]);
        if idle_last {
            source.write(&[]);
        }
        source.end
    };
    let table = TableName::new("sim", "t0");
    run.orders.give(vec![TableOrder { number: 1, table, wish: TableWish::Reload }]);
    let is_loaded = || {
        let mark = world.target.state().marks.get(&0).map(|mark| mark.mark.clone());
        mark.is_some_and(|mark| mark.stage == Stage::Loaded && place(&mark.position) == loaded)
    };
    let over = async {
        while !is_loaded() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_mins(10), over).await.unwrap();
    let before = world.target.state().progress.len();
    let end = {
        let mut source = world.source.state();
        source.withheld_after = None;
        source.write(&[(0, ChangeKind::Insert), (1, ChangeKind::Insert)]);
        source.end
    };
    world.reaches(end).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(states(&run), [TableState::Live; 3], "seed {seed}");
    run.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    world.assert_exact();
    let places: Vec<u64> = {
        let target = world.target.state();
        target.progress[before - 1..].iter().map(|progress| place(&progress.bookmark.position)).collect()
    };
    // The table joins exactly where it was loaded, and no wave is spent on going where the bookmark is already.
    assert!(places.contains(&loaded), "seed {seed}: {places:?}, loaded at {loaded}");
    assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: {places:?}");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_was_reloaded_beyond_a_change_of_its_layout_joins_the_log_where_it_was_loaded() {
    for (seed, idle_last) in (1..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        reloaded_beyond_a_change_that_the_log_has_yet_to_send(seed, idle_last).await;
    }
}
