//! What is done in one seed: steps made up front, so that a failing seed can be replayed with fewer of them.
//!
//! Any subset of the steps is a plan too: what a step finds nothing to do it to, it leaves.

use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use wavemark_connector::testkit::Odds;

/// Tables of the simulated source: the third has no key, the last one is made later, in some seeds.
pub(crate) const TABLES: usize = 4;
/// Source transactions in each seed, at least.
pub(crate) const TRANSACTIONS: u64 = 200;
/// Workers in each seed, at least, one after the other.
pub(crate) const EPOCHS: u32 = 3;

/// One seed, laid out.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) odds: Odds,
    /// Rows of each table when it begins, at most.
    pub(crate) rows: u64,
    pub(crate) load_parallelism: u16,
    pub(crate) wave_changes: u32,
    /// Whether layouts of tables change.
    pub(crate) alters: bool,
    /// Whether people ask for single tables.
    pub(crate) orders: bool,
    pub(crate) steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next epoch is granted to a new worker; the one before, if it was not ended, goes on and does not know.
    Grant,
    /// The worker dies; with a transaction open at the target, if one is to be had soon.
    Crash { in_transaction: bool },
    /// The worker stands still, as SIGSTOP makes it; in a transaction likewise.
    Freeze { in_transaction: bool },
    /// The worker is asked to stop.
    Stop,
    /// Workers that stand still go on.
    Wake,
    /// The source commits so many transactions.
    Write { seed: u64, transactions: u32, most_changes: u64 },
    /// Transactions in progress at the source take so many steps.
    Progress { seed: u64, steps: u32 },
    /// A table's layout is changed.
    Alter { seed: u64, table: usize },
    /// A table is truncated.
    Truncate { table: usize },
    /// A table gets new storage.
    Rewrite { seed: u64, table: usize },
    /// A person asks to load a table again.
    Reload { table: usize },
    /// A person asks to leave a table behind.
    Park { table: usize },
    /// The last table is made, and matches the task's mapping.
    MakeTable,
    /// The last table is dropped.
    DropTable,
    /// Others hold rows of a target table.
    HoldRows { table: usize, millis: u64 },
    /// Time passes.
    Wait { millis: u64 },
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let odds = Odds {
            lost_call: rng.random_range(0..6),
            lost_answer: rng.random_range(0..10),
            poison: if rng.random_range(0..3) == 0 { 4 } else { 0 },
        };
        let mut plan = Self {
            seed,
            odds,
            rows: 40,
            load_parallelism: rng.random_range(1..4),
            wave_changes: rng.random_range(1..120),
            alters: rng.random_range(0..3) > 0,
            orders: rng.random_range(0..5) < 3,
            steps: Vec::new(),
        };
        for _ in 0..rng.random_range(EPOCHS - 1..6) {
            plan.epoch(&mut rng);
            match rng.random_range(0..10) {
                0 => {}
                1..=3 => plan.steps.push(Step::Freeze { in_transaction: rng.random_bool(0.5) }),
                4 => plan.steps.push(Step::Stop),
                _ => plan.steps.push(Step::Crash { in_transaction: rng.random_bool(0.5) }),
            }
        }
        plan.epoch(&mut rng);
        while plan.transactions() < TRANSACTIONS {
            plan.burst(&mut rng, 8);
        }
        if plan.orders && rng.random_range(0..2) == 0 {
            plan.steps.extend((0..TABLES).map(|table| Step::Reload { table }));
        }
        if seed % 4 == 2 {
            let at = rng.random_range(plan.steps.len() / 3..plan.steps.len());
            plan.steps.insert(at, Step::DropTable);
            plan.steps.insert(rng.random_range(0..at), Step::MakeTable);
        }
        plan
    }

    /// How many transactions its steps commit, those in progress aside.
    pub(crate) fn transactions(&self) -> u64 {
        self.steps
            .iter()
            .map(|step| if let Step::Write { transactions, .. } = step { u64::from(*transactions) } else { 0 })
            .sum()
    }

    fn epoch(&mut self, rng: &mut StdRng) {
        self.steps.push(Step::Grant);
        // Some workers get through the load, some meet trouble in it, some are gone at once.
        match rng.random_range(0..6) {
            0..=1 => self.steps.push(Step::Wait { millis: rng.random_range(0..6_000) }),
            2..=3 => {
                self.steps.push(Step::Wait { millis: rng.random_range(0..60) });
                self.trouble(rng, 11);
            }
            _ => {}
        }
        let bursts = [3, 10, 50][rng.random_range(0..3)];
        for _ in 0..rng.random_range(1..bursts) {
            self.burst(rng, 4);
            self.trouble(rng, 60);
        }
    }

    /// Some writing and some time.
    fn burst(&mut self, rng: &mut StdRng, most: u32) {
        let most_changes = if rng.random_range(0..12) == 0 { 40 } else { 4 };
        self.steps.push(Step::Write { seed: rng.random(), transactions: rng.random_range(1..=most), most_changes });
        if rng.random_range(0..3) == 0 {
            self.steps.push(Step::Progress { seed: rng.random(), steps: rng.random_range(1..6) });
        }
        self.steps.push(Step::Wait { millis: rng.random_range(0..60) });
    }

    /// Once in a while, the rarer the larger `rarity` is, something happens to a table or to time.
    fn trouble(&mut self, rng: &mut StdRng, rarity: u32) {
        let table = rng.random_range(0..TABLES);
        match rng.random_range(0..rarity) {
            0..=1 => self.steps.push(Step::HoldRows { table, millis: rng.random_range(1..8_000) }),
            2 => self.steps.push(Step::Truncate { table }),
            3..=4 => self.steps.push(Step::Rewrite { seed: rng.random(), table }),
            5..=6 if self.alters => self.steps.push(Step::Alter { seed: rng.random(), table }),
            7..=8 if self.orders => self.steps.push(Step::Reload { table }),
            9..=10 if self.orders => self.steps.push(Step::Park { table }),
            11 if self.orders => self.steps.push(Step::MakeTable),
            12 => self.steps.push(Step::Wake),
            13 => self.steps.push(Step::Wait { millis: rng.random_range(0..4_000) }),
            _ => {}
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, odds, rows, load_parallelism, wave_changes, alters, orders: _, steps } = self;
        writeln!(
            f,
            "seed {seed}, {odds:?}, alters {alters}, {rows} rows, {load_parallelism} loaders, waves of {wave_changes}"
        )?;
        steps.iter().try_for_each(|step| writeln!(f, "  {step:?}"))
    }
}
