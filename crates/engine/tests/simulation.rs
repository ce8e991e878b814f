//! The engine against a simulated source and target: crashes, zombies, lost answers, huge transactions, interrupted
//! loads. After every commit of the target an oracle compares it with what the source was.
//!
//! `WAVEMARK_SIM_SEEDS` says how many seeds (default 2,000), `WAVEMARK_SIM_FIRST` with which to begin. A failing seed is
//! printed; `WAVEMARK_SIM_FIRST=<seed> WAVEMARK_SIM_SEEDS=1` replays it.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod simulation {
    pub(crate) mod epochs;
    pub(crate) mod gate;
}

use simulation::epochs::{Outcome, simulate};
use wavemark_connector::testkit::Sabotage;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_is_lost_doubled_or_torn() {
    let first = setting("WAVEMARK_SIM_FIRST", 1);
    let seeds = setting("WAVEMARK_SIM_SEEDS", 2_000);
    let mut total = Outcome::default();
    for seed in first..first + seeds {
        let outcome = simulate(seed, None);
        assert!(
            outcome.violations.is_empty(),
            "seed {seed} (replay with WAVEMARK_SIM_FIRST={seed} WAVEMARK_SIM_SEEDS=1):\n{}",
            outcome.violations.join("\n")
        );
        total.add(&outcome);
    }
    println!("{seeds} seeds: {total}");
    assert!(seeds < 500 || total.every_fault_occurred(), "some fault never happened: {total}");
}

#[test]
fn a_seed_replays_to_the_same_end() {
    for seed in [3, 14, 159] {
        assert_eq!(simulate(seed, None).to_string(), simulate(seed, None).to_string(), "seed {seed}");
    }
}

/// A rule broken on purpose must be noticed within a few thousand seeds.
fn is_caught(sabotage: Sabotage) {
    let caught = (1..=3_000).find(|seed| !simulate(*seed, Some(sabotage)).violations.is_empty());
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
fn a_wave_cut_inside_a_transaction_is_caught() {
    is_caught(Sabotage::WaveCutInsideTransaction);
}

#[test]
fn a_confirm_before_the_commit_is_caught() {
    is_caught(Sabotage::ConfirmBeforeCommit);
}

#[test]
fn comparing_the_place_where_a_commit_begins_is_caught() {
    is_caught(Sabotage::CommitPositionCompared);
}

#[test]
fn a_chunk_mark_outside_its_commit_is_caught() {
    is_caught(Sabotage::ChunkMarkOutsideCommit);
}

#[test]
fn opening_while_a_commit_is_under_way_is_caught() {
    is_caught(Sabotage::CommitUnderWayIgnored);
}

#[test]
fn an_unchanged_cell_written_as_a_value_is_caught() {
    is_caught(Sabotage::UnchangedCellWritten);
}

#[test]
fn chunks_from_two_snapshots_are_caught() {
    is_caught(Sabotage::ChunksFromTwoSnapshots);
}

#[test]
fn a_slot_made_anew_by_an_overtaken_worker_is_caught() {
    is_caught(Sabotage::LateBeginAllowed);
}
