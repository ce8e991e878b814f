//! The engine against a simulated source and target: crashes, zombies, lost answers, commits and transactions that
//! outlive their client, huge transactions and such that come in parts, changed and truncated tables, interrupted
//! loads. After every commit of the target an oracle compares it with what the source was.
//!
//! `WAVEMARK_SIM_SEEDS` says how many seeds, `WAVEMARK_SIM_FIRST` with which to begin. A failing seed is printed with
//! the smallest plan that still fails; `WAVEMARK_SIM_FIRST=<seed> WAVEMARK_SIM_SEEDS=1` replays it.

mod coverage;
mod gate;
mod plan;
mod shrink;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::support::{mappings, task};
use plan::{EPOCHS, Plan, Step, TRANSACTIONS};
use shrink::shrink;
use wavemark_connector::testkit::contract::{self, Subject};
use wavemark_connector::testkit::model::SourceState;
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::target::{SimulatedTarget, TargetState};
use wavemark_connector::testkit::{Chance, Odds, Sabotage};
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{Relayout, UnfitPolicy};
use world::{Outcome, carry_out, simulate};

/// Seeds in which every fault must have met tables in every state so many times.
const MANY: u64 = 2_000;
const LEAST: u64 = 100;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_is_lost_doubled_or_torn() {
    let (first, seeds) = (setting("WAVEMARK_SIM_FIRST", 1), setting("WAVEMARK_SIM_SEEDS", MANY));
    let began = Instant::now();
    let total = simulate_all(first, seeds).unwrap_or_else(|failed| panic!("{}", explained(failed)));
    println!("{seeds} seeds in {:.0?}: {total}", began.elapsed());
    if seeds < MANY {
        return;
    }
    let rare = total.counts.rarer_than(LEAST);
    assert!(rare.is_empty(), "too rare, so nothing is shown about it:\n{}", rare.join("\n"));
    assert!(total.added >= LEAST, "only {} tables were added", total.added);
}

/// All seeds, on every core; the lowest seed that fails, if one does.
fn simulate_all(first: u64, seeds: u64) -> Result<Outcome, u64> {
    let next = AtomicU64::new(first);
    let end = AtomicU64::new(first + seeds);
    let total = Mutex::new(Outcome::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return;
            }
            let outcome = simulate(seed, None);
            if outcome.violations.is_empty() {
                assert_is_rich(seed, &outcome);
                total.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
            } else {
                end.fetch_min(seed, Ordering::Relaxed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let failed = end.into_inner();
    if failed < first + seeds { Err(failed) } else { Ok(total.into_inner().unwrap()) }
}

fn assert_is_rich(seed: u64, outcome: &Outcome) {
    assert!(outcome.transactions >= TRANSACTIONS, "seed {seed}: only {} transactions", outcome.transactions);
    assert!(outcome.epochs >= u64::from(EPOCHS), "seed {seed}: only {} workers", outcome.epochs);
    assert!(outcome.states >= 2, "seed {seed}: tables were never in different states");
}

/// What a failing seed does, made as small as it goes.
fn explained(seed: u64) -> String {
    let replay = format!("seed {seed} fails; WAVEMARK_SIM_FIRST={seed} WAVEMARK_SIM_SEEDS=1 replays it");
    println!("{replay}:\n{}\nIt is made smaller now.", simulate(seed, None).violations.join("\n"));
    let smallest = shrink(&Plan::of(seed), |plan| !carry_out(plan, None).violations.is_empty());
    let violations = carry_out(&smallest, None).violations.join("\n");
    format!("{replay}. The smallest plan that fails: {smallest}{violations}")
}

#[test]
fn a_seed_replays_to_the_same_end() {
    for seed in [3, 14, 159] {
        assert_eq!(simulate(seed, None).to_string(), simulate(seed, None).to_string(), "seed {seed}");
    }
}

#[test]
fn a_failing_seed_is_shrunk_to_the_steps_that_it_needs() {
    let sabotage = Some(Sabotage::AbortedSubtransactionKept);
    let fails = |plan: &Plan| !carry_out(plan, sabotage).violations.is_empty();
    let plan = (1..100).map(Plan::of).find(|plan| fails(plan)).unwrap();
    let smallest = shrink(&plan, fails);
    assert!(fails(&smallest), "what is left must fail:\n{smallest}");
    assert!(smallest.steps.len() <= 12, "{} of {} steps are left:\n{smallest}", smallest.steps.len(), plan.steps.len());
    let is_needed = |step: &Step| matches!(step, Step::Progress { .. });
    assert!(smallest.steps.iter().any(is_needed), "no subtransaction is rolled back without this:\n{smallest}");
}

/// A rule broken on purpose must be noticed within a few thousand seeds.
fn is_caught(sabotage: Sabotage) {
    let caught = (1..=3_000).find(|seed| !simulate(*seed, Some(sabotage)).violations.is_empty());
    println!("{sabotage:?}: seed {caught:?}");
    assert!(caught.is_some(), "{sabotage:?} was not noticed");
}

#[test]
fn the_bookmark_before_its_rows_is_caught() {
    is_caught(Sabotage::BookmarkBeforeRows);
}

#[test]
fn a_missing_epoch_check_is_caught() {
    is_caught(Sabotage::NoEpochCheck);
}

#[test]
fn comparing_the_place_where_a_commit_begins_is_caught() {
    is_caught(Sabotage::CommitPositionCompared);
}

#[test]
fn a_wave_cut_inside_a_transaction_is_caught() {
    is_caught(Sabotage::WaveCutInsideTransaction);
}

#[test]
fn a_confirm_before_the_commit_is_caught() {
    is_caught(Sabotage::ConfirmBeforeCommit);
}

#[test]
fn a_chunk_mark_outside_its_commit_is_caught() {
    is_caught(Sabotage::ChunkMarkOutsideCommit);
}

#[test]
fn opening_under_the_same_epoch_while_a_commit_is_under_way_is_caught() {
    is_caught(Sabotage::CommitUnderWayIgnored);
}

#[test]
fn an_unchanged_cell_written_as_a_value_is_caught() {
    is_caught(Sabotage::UnchangedCellWritten);
}

#[test]
fn an_aborted_subtransaction_that_is_kept_is_caught() {
    is_caught(Sabotage::AbortedSubtransactionKept);
}

#[test]
fn a_parked_table_let_back_in_without_a_reload_is_caught() {
    is_caught(Sabotage::ParkedTableLetBackIn);
}

#[test]
fn chunks_from_two_snapshots_are_caught() {
    is_caught(Sabotage::ChunksFromTwoSnapshots);
}

#[test]
fn a_zombie_with_an_open_transaction_that_is_left_alone_is_caught() {
    is_caught(Sabotage::OpenTransactionLeftAlone);
}

#[test]
fn a_slot_made_anew_by_an_overtaken_worker_is_caught() {
    is_caught(Sabotage::LateBeginAllowed);
}

#[test]
fn rows_of_one_layout_read_with_another_are_caught() {
    is_caught(Sabotage::LayoutIgnored);
}

#[test]
fn a_confirm_of_what_no_standby_has_is_caught() {
    is_caught(Sabotage::ConfirmBeforeDurable);
}

#[test]
fn log_that_is_not_kept_for_a_table_loaded_aside_is_caught() {
    is_caught(Sabotage::AsideNotKept);
}

#[test]
fn a_table_marked_loaded_before_it_has_caught_up_is_caught() {
    is_caught(Sabotage::LoadedBeforeHandOver);
}

#[tokio::test(start_paused = true)]
async fn the_simulated_target_keeps_the_contract_of_targets() {
    for seed in 0..200 {
        let odds = Odds { lost_call: 0, lost_answer: 0, poison: 0 };
        let target = SimulatedTarget::new(TargetState::new(1, Chance::new(seed, odds)), None);
        let source = SimulatedSource::new(SourceState::new(2, 0, Chance::new(seed, odds)), None);
        let catalog = source.state().catalog();
        let mappings = mappings("t0");
        let rules = wavemark_engine::plan::Rules { mappings: &mappings, follows: true, unfit: UnfitPolicy::default() };
        let planned = wavemark_engine::plan::make(catalog, rules, "simulated", &source, &target);
        let task = task(1, TaskSettings::default());
        let plan = planned.tables[0].clone();
        let mut next = plan.clone();
        Arc::make_mut(&mut next.source).columns[0].native = 1.into();
        let next = Relayout { plan: next, steps: Vec::new() };
        // A value means something else to each layout.
        let in_next = |value: i64| value ^ (1 << 48);
        let subject = Subject { target: Arc::new(target.clone()), task, plan, next, in_next };
        let rows = async || {
            let mut rows: Vec<[i64; 3]> = target.state().tables[0]
                .iter()
                .map(|row| [row.id, row.value, row.large].map(u64::cast_signed))
                .collect();
            rows.sort_unstable();
            rows
        };
        contract::check(&subject, rows).await;
    }
}
