//! What happens when the source keeps more log for a task than its settings allow.

use crate::support;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use wavemark_connector::testkit::model::SourceState;
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::target::{SimulatedTarget, TargetState};
use wavemark_connector::testkit::{Chance, Odds, oracle};
use wavemark_domain::Fault;
use wavemark_domain::kept_log::OverBudget;
use wavemark_domain::task::TaskSettings;
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
