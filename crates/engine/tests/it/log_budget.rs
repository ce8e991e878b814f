//! What happens when the source keeps more log for a task than its settings allow.

use crate::support;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use wavemark_connector::testkit::model::SourceState;
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::target::{SimulatedTarget, TargetState};
use wavemark_connector::testkit::{Chance, Odds, oracle};
use wavemark_domain::kept_log::OverBudget;
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{ChangeKind, Fault};
use wavemark_engine::{Failure, Run};

const NOTHING: Odds = Odds { lost_call: 0, lost_answer: 0, poison: 0 };

fn run_on(source: &SimulatedSource, target: &SimulatedTarget, epoch: i64, over: OverBudget) -> Run {
    let settings =
        TaskSettings { load_parallelism: 1, log_budget_mib: 10, log_over_budget: over, ..TaskSettings::default() };
    support::run(source, target, epoch, settings)
}

fn systems(lost_calls_at_the_target: u32) -> (SimulatedSource, SimulatedTarget) {
    let source = SimulatedSource::new(SourceState::new(3, 0, Chance::new(1, NOTHING)), None);
    let odds = Odds { lost_call: lost_calls_at_the_target, ..NOTHING };
    (source, SimulatedTarget::new(TargetState::new(3, Chance::new(2, odds)), None))
}

async fn following(run: &Run) -> tokio::task::JoinHandle<Result<wavemark_engine::Ended, Failure>> {
    let running = run.clone();
    let running = tokio::spawn(async move { running.run().await });
    while run.status.progress().wave.is_none() {
        sleep(Duration::from_millis(1)).await;
    }
    running
}

fn codes(run: &Run) -> Vec<String> {
    let codes = run.status.events().into_iter().map(|event| event.code);
    codes.filter(|code| code.starts_with("log-")).collect()
}

#[tokio::test(start_paused = true)]
async fn more_than_the_budget_is_told_once_and_the_task_goes_on() {
    let (source, target) = systems(0);
    let run = run_on(&source, &target, 1, OverBudget::Warn);
    let running = following(&run).await;
    for mib in [6, 7, 9, 11, 400] {
        source.state().kept = Some(mib << 20);
        sleep(Duration::from_secs(12)).await;
    }
    assert_eq!(codes(&run), ["log-near-budget", "log-over-budget"]);
    assert_eq!(run.status.progress().log_problem.unwrap().code, "log-over-budget");
    source.state().kept = Some(0);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(run.status.progress().log_problem, None);
    assert!(!running.is_finished());
    assert!(source.state().slot.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_reached_soon_is_told_long_before_it_is_near() {
    let (source, target) = systems(0);
    let settings = TaskSettings { log_budget_mib: 0, ..TaskSettings::default() };
    let run = support::run(&source, &target, 1, settings);
    let running = following(&run).await;
    // A MiB in five seconds: 10 GiB of room are ten hours, and less than an hour is left from 9,280 MiB on.
    source.state().limit = Some(10 << 30);
    for mib in 0..60 {
        source.state().kept = Some(mib << 20);
        sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(codes(&run), Vec::<String>::new());
    assert!(run.status.progress().log_seconds_left.is_some_and(|left| left > 36_000));
    for mib in 60..180 {
        source.state().kept = Some((mib * 100) << 20);
        sleep(Duration::from_secs(5)).await;
        if run.status.progress().log_problem.is_some() {
            break;
        }
    }
    assert_eq!(codes(&run), ["log-near-limit"]);
    let problem = run.status.progress().log_problem.unwrap();
    assert!(problem.text.contains("at this rate gives up in about"), "{problem}");
    assert!(!running.is_finished());
}

/// Writes into each of the three tables, and waits until the target has all of it or time is over.
async fn write(source: &SimulatedSource, run: &Run) -> bool {
    for table in 0..3 {
        source.state().write(&[(table, ChangeKind::Insert)]);
    }
    source.written.notify_waiters();
    let end = source.state().end.to_string();
    let arrived = async {
        while run.status.progress().bookmark.is_none_or(|bookmark| bookmark.len() < end.len() || bookmark < end) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), arrived).await.is_ok()
}

fn parked(run: &Run) -> Vec<(String, String)> {
    let tables = run.status.progress().tables.into_iter();
    tables.filter_map(|table| Some((table.table.table, table.problem?.code))).collect()
}

#[tokio::test(start_paused = true)]
async fn the_table_that_holds_the_log_up_is_parked_and_the_others_go_on() {
    let (source, target) = systems(0);
    let run = run_on(&source, &target, 1, OverBudget::ParkTables);
    let running = following(&run).await;
    target.state().hold_rows(1, Duration::from_hours(24));
    source.state().kept = Some(10 << 20);
    assert!(!write(&source, &run).await, "others hold its rows");
    assert_eq!(parked(&run), [], "as much as the budget is not too much");
    source.state().kept = Some((10 << 20) + 1);
    sleep(Duration::from_mins(1)).await;
    let expected = [("t1".to_owned(), "parked-for-log".to_owned())];
    assert_eq!(parked(&run), expected);
    // What was parked takes a while to show, and is enough for now.
    assert!(write(&source, &run).await);
    assert_eq!(parked(&run), expected);
    assert_eq!(oracle_says(&source, &target), Vec::<String>::new());
    run.stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_tables_are_parked_if_none_is_known_to_hold_the_log_up_and_the_log_goes() {
    let (source, target) = systems(0);
    let run = run_on(&source, &target, 1, OverBudget::ParkTables);
    let running = following(&run).await;
    source.state().kept = Some(11 << 20);
    sleep(Duration::from_mins(1)).await;
    let codes: Vec<String> = parked(&run).into_iter().map(|(_, code)| code).collect();
    assert_eq!(codes, ["parked-for-log"; 3]);
    // The bookmark goes on without them, and so does what the source keeps.
    assert!(write(&source, &run).await);
    sleep(Duration::from_mins(1)).await;
    let end = source.state().end;
    assert_eq!(source.state().slot, Some(end));
    assert_eq!(oracle_says(&source, &target), Vec::<String>::new());
    run.stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_is_gone_at_the_next_look_parks_nothing() {
    let (source, target) = systems(0);
    let run = run_on(&source, &target, 1, OverBudget::ParkTables);
    let running = following(&run).await;
    for _ in 0..3 {
        source.state().kept = Some(11 << 20);
        // The source is looked at every five seconds.
        sleep(Duration::from_secs(5)).await;
        source.state().kept = Some(9 << 20);
        sleep(Duration::from_secs(12)).await;
        assert_eq!(parked(&run), []);
    }
    run.stop.cancel();
    running.await.unwrap().unwrap();
}

fn oracle_says(source: &SimulatedSource, target: &SimulatedTarget) -> Vec<String> {
    oracle::differences(&source.state(), &target.state())
}

#[tokio::test(start_paused = true)]
async fn the_slot_is_dropped_also_while_the_target_is_away_and_the_position_is_lost_then() {
    let (source, target) = systems(0);
    let run = run_on(&source, &target, 1, OverBudget::DropSlot);
    let running = following(&run).await;
    run.stop.cancel();
    running.await.unwrap().unwrap();

    // Every call of this one is lost: it never gets as far as opening the target.
    let away = SimulatedTarget::new(TargetState::new(3, Chance::new(2, Odds { lost_call: 1_000, ..NOTHING })), None);
    let run = run_on(&source, &away, 2, OverBudget::DropSlot);
    let running = run.clone();
    let running = tokio::spawn(async move { running.run().await });
    source.state().kept = Some(10 << 20);
    sleep(Duration::from_mins(10)).await;
    assert!(!running.is_finished() && source.state().slot.is_some(), "as much as the budget is not too much");
    source.state().kept = Some((10 << 20) + 1);
    let began = Instant::now();
    let Err(Failure::Problem(problem)) = running.await.unwrap() else { panic!("the run ends with a problem") };
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::PositionLost, "log-let-go"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(source.state().slot, None);

    // Nobody goes on with a gap: the target is back, and still the next run only says that the position is lost.
    source.state().write_transaction(2);
    let run = run_on(&source, &target, 3, OverBudget::DropSlot);
    let Err(Failure::Problem(problem)) = run.run().await else { panic!("the run ends with a problem") };
    assert_eq!(problem.fault, Fault::PositionLost);
    assert!(
        oracle::differences(&source.state(), &target.state()).is_empty(),
        "it equals the source as of its bookmark"
    );
}
