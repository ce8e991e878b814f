//! What happened to tables in which state: counted, so that a run shows that it tried everything.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use wavemark_connector::target::Stage;
use wavemark_connector::testkit::target::TargetState;
use wavemark_connector::testkit::{Mishap, Witness};
use wavemark_domain::state::TableState;
use wavemark_engine::Status;

use super::plan::TABLES;

/// What goes wrong: with a worker, or with a system that it works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The worker dies.
    Crash,
    /// Another worker is granted the task while it works.
    Overtaken,
    /// It stands still, and another worker is granted the task.
    Frozen,
    /// It stands still with a transaction open in the target.
    FrozenInTransaction,
    /// It is asked to stop.
    Stop,
    /// It is asked to load a table again.
    Reload,
    /// It is asked to leave a table behind.
    Park,
    /// See [`Mishap`].
    Mishap(Mishap),
}

const FAULTS: [Fault; 21] = [
    Fault::Crash,
    Fault::Overtaken,
    Fault::Frozen,
    Fault::FrozenInTransaction,
    Fault::Stop,
    Fault::Reload,
    Fault::Park,
    Fault::Mishap(Mishap::LostCall),
    Fault::Mishap(Mishap::LostAnswer),
    Fault::Mishap(Mishap::CommitLeftUnderWay),
    Fault::Mishap(Mishap::TransactionLeftOpen),
    Fault::Mishap(Mishap::RowsHeld),
    Fault::Mishap(Mishap::Resend),
    Fault::Mishap(Mishap::LayoutChange),
    Fault::Mishap(Mishap::LayoutTakenUp),
    Fault::Mishap(Mishap::Truncate),
    Fault::Mishap(Mishap::Rewrite),
    Fault::Mishap(Mishap::AbortedSubtransaction),
    Fault::Mishap(Mishap::TransactionInParts),
    Fault::Mishap(Mishap::Poison),
    Fault::Mishap(Mishap::StandbyBehind),
];

const STATES: [TableState; 5] =
    [TableState::Waiting, TableState::Loading, TableState::CatchingUp, TableState::Live, TableState::Parked];

/// Whether a fault can meet a table in this state at all.
fn is_possible(fault: Fault, state: TableState) -> bool {
    match fault {
        // The log is read once the first load is over; what the target has comes first of all, when no table is shown
        // as live yet.
        Fault::Mishap(Mishap::TransactionInParts | Mishap::StandbyBehind) => state != TableState::Waiting,
        Fault::Mishap(Mishap::Resend) => !matches!(state, TableState::Waiting | TableState::Live),
        Fault::Mishap(Mishap::LayoutTakenUp) => matches!(state, TableState::CatchingUp | TableState::Live),
        _ => true,
    }
}

/// How often each fault met a table in each state.
#[derive(Clone, Default)]
pub(crate) struct Counts(BTreeMap<(Fault, u8), u64>);

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (pair, count) in &other.0 {
            *self.0.entry(*pair).or_default() += count;
        }
    }

    fn of(&self, fault: Fault, state: TableState) -> u64 {
        self.0.get(&(fault, state as u8)).copied().unwrap_or_default()
    }

    /// Pairs that are possible and occurred less often than so.
    pub(crate) fn rarer_than(&self, least: u64) -> Vec<String> {
        let pairs = FAULTS.into_iter().flat_map(|fault| STATES.map(|state| (fault, state)));
        pairs
            .filter(|(fault, state)| is_possible(*fault, *state) && self.of(*fault, *state) < least)
            .map(|(fault, state)| format!("{fault:?} of a table {state:?}: {}", self.of(fault, state)))
            .collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<32}", "")?;
        STATES.iter().try_for_each(|state| write!(f, "{:>12}", state.word()))?;
        for fault in FAULTS {
            let name = match fault {
                Fault::Mishap(mishap) => format!("{mishap:?}"),
                other => format!("{other:?}"),
            };
            write!(f, "\n{name:<32}")?;
            for state in STATES {
                let count = if is_possible(fault, state) { self.of(fault, state).to_string() } else { "-".to_owned() };
                write!(f, "{count:>12}")?;
            }
        }
        Ok(())
    }
}

/// Counts what happens in one seed.
#[derive(Clone, Default)]
pub(crate) struct Coverage(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    counts: Counts,
    /// What the newest worker says of itself.
    status: Option<Status>,
    /// What the target says of each table, for as long as the worker does not.
    marked: Option<[TableState; TABLES]>,
    most_states: usize,
    /// Whether the last table is there.
    last_made: bool,
}

impl Coverage {
    /// Hears of what goes wrong in the simulated systems.
    pub(crate) fn witness(&self) -> Witness {
        let coverage = self.clone();
        Arc::new(move |mishap, table| coverage.note(Fault::Mishap(mishap), table))
    }

    /// A new worker tells of itself.
    pub(crate) fn follow(&self, status: Status) {
        self.0.lock().unwrap().status = Some(status);
    }

    /// The last table was made.
    pub(crate) fn table_made(&self) {
        self.0.lock().unwrap().last_made = true;
    }

    /// The target has committed something.
    pub(crate) fn committed(&self, target: &TargetState) {
        let mut seen = self.0.lock().unwrap();
        let states: [TableState; TABLES] =
            std::array::from_fn(|table| match target.marks.get(&table).map(|mark| &mark.mark.stage) {
                None => TableState::Waiting,
                Some(Stage::Loading) => TableState::Loading,
                Some(Stage::Loaded) => TableState::CatchingUp,
                Some(Stage::Parked(_)) => TableState::Parked,
            });
        let mut distinct = states[..TABLES - 1].iter().map(|state| *state as u8).collect::<Vec<_>>();
        distinct.sort_unstable();
        distinct.dedup();
        seen.most_states = seen.most_states.max(distinct.len());
        seen.marked = Some(states);
    }

    /// Something went wrong: for one table, or for all of them.
    pub(crate) fn note(&self, fault: Fault, table: Option<usize>) {
        let mut seen = self.0.lock().unwrap();
        let states = seen.states();
        let there = if seen.last_made { TABLES } else { TABLES - 1 };
        for (index, state) in states.into_iter().enumerate().take(there) {
            if table.is_none_or(|table| table == index) {
                *seen.counts.0.entry((fault, state as u8)).or_default() += 1;
            }
        }
    }

    /// What was counted, and the most states that tables were in at one time.
    pub(crate) fn take(&self) -> (Counts, usize) {
        let seen = self.0.lock().unwrap();
        (seen.counts.clone(), seen.most_states)
    }
}

impl Seen {
    fn states(&self) -> [TableState; TABLES] {
        let told = self.status.as_ref().map(|status| status.progress().tables).unwrap_or_default();
        if !told.is_empty() {
            return std::array::from_fn(|table| told.get(table).map_or(TableState::Waiting, |told| told.state));
        }
        self.marked.unwrap_or([TableState::Waiting; TABLES])
    }
}
