//! Random tables under random transactions that also alter them, loaded and followed by runs that die again and again:
//! equal in the end, row by row. What can't be applied as an alteration is loaded again, so that every table must be.
//!
//! `WAVEMARK_WORKLOAD_SEEDS` says how many seeds, `WAVEMARK_WORKLOAD_FIRST` with which to begin. A seed that fails is
//! named; the same seed makes the same tables and statements.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/pair.rs"]
mod pair;
#[path = "support/run.rs"]
mod run;
mod support;
#[path = "support/task.rs"]
mod task;
#[path = "support/types.rs"]
mod types;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio_postgres::Client;
use wavemark_domain::layout::ChangedTablePolicy;
use wavemark_domain::state::TableState;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::{Ended, Failure, Run};

use pair::Pair;
use types::{TYPES, VALUES};

/// Types that can be part of a key.
const KEYS: [&str; 16] = [
    "smallint",
    "numeric",
    "double precision",
    "text",
    "character(5)",
    "bytea",
    "date",
    "timestamptz",
    "interval",
    "boolean",
    "uuid",
    "inet",
    "mood",
    "citext",
    "bit varying",
    "int4range",
];

/// A table and what its columns hold: their names and types in order.
#[derive(Clone)]
struct Table {
    name: String,
    columns: Vec<(String, &'static str)>,
    has_key: bool,
    /// How many columns it ever had.
    ever: usize,
}

/// How long everything may take to be in the target.
const PATIENCE: Duration = Duration::from_mins(2);

fn values_of(kind: &str) -> &'static [&'static str] {
    VALUES.iter().find(|(one, _)| *one == kind).unwrap().1
}

/// A value of a type, as SQL; now and then one that is too large for its row's own place.
fn value(rng: &mut StdRng, kind: &str) -> String {
    if matches!(kind, "text" | "character varying(9)" | "json") && rng.random_ratio(1, 6) {
        let word = rng.random_range(0..1_000);
        return match kind {
            "text" => format!("repeat(md5('{word}'), 200)"),
            "json" => format!("to_json(repeat(md5('{word}'), 200))"),
            _ => format!("'v{word}'"),
        };
    }
    format!("CAST(({}) AS {kind})", values_of(kind).choose(rng).unwrap())
}

/// Either a value or NULL.
fn cell(rng: &mut StdRng, kind: &str) -> String {
    if rng.random_ratio(1, 6) { "NULL".to_owned() } else { value(rng, kind) }
}

impl Table {
    /// Columns `id`, `k` (may be part of the key), `c0`, `c1` and so on.
    fn random(rng: &mut StdRng, at: usize) -> (Self, String) {
        let name = format!("w{at}");
        let mut columns = vec![("id".to_owned(), "integer"), ("k".to_owned(), *KEYS.choose(rng).unwrap())];
        columns.extend((0..rng.random_range(1..7)).map(|at| (format!("c{at}"), VALUES.choose(rng).unwrap().0)));
        let list: Vec<String> = columns[2..].iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        let kind = rng.random_range(0..6);
        let (key, identity) = match kind {
            0 => ("PRIMARY KEY (id)", String::new()),
            1 => ("PRIMARY KEY (k, id)", String::new()),
            2 => ("PRIMARY KEY (id, k)", format!("ALTER TABLE {name} REPLICA IDENTITY FULL")),
            3 => (
                "UNIQUE (id)",
                format!(
                    "CREATE UNIQUE INDEX {name}_identity ON {name} (k, id); \
                     ALTER TABLE {name} REPLICA IDENTITY USING INDEX {name}_identity"
                ),
            ),
            4 => ("PRIMARY KEY (id) INCLUDE (k)", String::new()),
            _ => ("CHECK (id IS NOT NULL)", format!("ALTER TABLE {name} REPLICA IDENTITY FULL")),
        };
        let sql = format!(
            "CREATE TABLE {name} (id integer NOT NULL, k {} NOT NULL, {}, {key}); {identity}",
            columns[1].1,
            list.join(", ")
        );
        let ever = columns.len();
        (Self { name, columns, has_key: kind < 5, ever }, sql)
    }

    fn insert(&self, rng: &mut StdRng, rows: u32) -> String {
        let first = rng.random_range(0..2_000);
        let mut cells = vec![value(rng, self.columns[1].1)];
        cells.extend(self.columns[2..].iter().map(|(_, kind)| cell(rng, kind)));
        let conflict = if self.has_key { " ON CONFLICT DO NOTHING" } else { "" };
        format!(
            "INSERT INTO {} SELECT n, {} FROM generate_series({first}, {first} + {rows} - 1) n{conflict}",
            self.name,
            cells.join(", ")
        )
    }

    fn update(&self, rng: &mut StdRng) -> String {
        let (name, kind) = self.columns[1..].choose(rng).unwrap().clone();
        let value = if name == "k" { value(rng, kind) } else { cell(rng, kind) };
        let set = match rng.random_range(0..8) {
            0 => "id = id + 5000".to_owned(),
            1 => format!("id = -id, {name} = {value}"),
            _ => format!("{name} = {value}"),
        };
        format!("UPDATE {} SET {set} WHERE {}", self.name, some(rng))
    }

    /// Alters the table, in a way that can be applied or not.
    fn alteration(&mut self, rng: &mut StdRng) -> String {
        let name = self.name.clone();
        let own = (self.columns.len() > 2).then(|| rng.random_range(2..self.columns.len()));
        match (rng.random_range(0..10), own) {
            (0..2, Some(at)) => format!("ALTER TABLE {name} DROP {}", self.columns.remove(at).0),
            (2..4, Some(at)) => {
                self.ever += 1;
                let to = format!("r{}", self.ever);
                let from = std::mem::replace(&mut self.columns[at].0, to.clone());
                format!("ALTER TABLE {name} RENAME {from} TO {to}")
            }
            (4, Some(at)) if self.columns[at].1 == "character varying(9)" => {
                self.columns[at].1 = "text";
                format!("ALTER TABLE {name} ALTER {} TYPE text", self.columns[at].0)
            }
            (5, Some(at)) if self.columns[at].1 == "integer" => {
                self.columns[at].1 = "bigint";
                let column = &self.columns[at].0;
                format!("ALTER TABLE {name} ALTER {column} TYPE bigint USING -{column}")
            }
            (kind, _) => {
                self.ever += 1;
                let (column, of) = (format!("a{}", self.ever), VALUES.choose(rng).unwrap().0);
                let default = if kind < 8 { format!(" DEFAULT {}", value(rng, of)) } else { String::new() };
                self.columns.push((column.clone(), of));
                format!("ALTER TABLE {name} ADD {column} {of}{default}")
            }
        }
    }

    fn statement(&self, rng: &mut StdRng, truncates: bool) -> String {
        match rng.random_range(0..if truncates { 100 } else { 98 }) {
            0..35 => {
                let rows = if rng.random_ratio(1, 12) { rng.random_range(100..600) } else { rng.random_range(1..6) };
                self.insert(rng, rows)
            }
            35..75 => self.update(rng),
            75..98 => format!("DELETE FROM {} WHERE {}", self.name, some(rng)),
            _ => format!("TRUNCATE {}", self.name),
        }
    }
}

/// A condition that some rows meet.
fn some(rng: &mut StdRng) -> String {
    let modulus = *[3, 17, 50, 200].choose(rng).unwrap();
    format!("id % {modulus} = {}", rng.random_range(0..modulus))
}

/// One transaction of statements, each in a savepoint of its own, some of which are taken back.
async fn transaction(client: &Client, rng: &mut StdRng, tables: &mut Vec<Table>, alters: bool) {
    let before = tables.clone();
    client.batch_execute("BEGIN").await.unwrap();
    for _ in 0..rng.random_range(1..8) {
        let at = rng.random_range(0..tables.len());
        let was = tables[at].clone();
        let is_alteration = alters && rng.random_ratio(1, 12);
        let statement = if is_alteration { tables[at].alteration(rng) } else { was.statement(rng, true) };
        client.batch_execute("SAVEPOINT s").await.unwrap();
        let done = client.batch_execute(&statement).await;
        if let Err(error) = &done {
            let code = error.code().unwrap().code();
            // A key that is there, or one that is too large for an index; a default that is none; a number without its
            // negative; a lock that whoever loads waits for, too.
            assert!(["23505", "54000", "0A000", "22003", "40P01"].contains(&code), "{statement}: {error:?}");
        }
        let end = if done.is_err() || rng.random_ratio(1, 8) { "ROLLBACK TO s" } else { "RELEASE s" };
        if end == "ROLLBACK TO s" {
            tables[at] = Table { ever: tables[at].ever, ..was };
        }
        client.batch_execute(end).await.unwrap();
    }
    let end = if rng.random_ratio(1, 10) { "ROLLBACK" } else { "COMMIT" };
    if end == "ROLLBACK" {
        let ever = |(was, now): (Table, &Table)| Table { ever: now.ever, ..was };
        *tables = before.into_iter().zip(tables.iter()).map(ever).collect();
    }
    client.batch_execute(end).await.unwrap();
}

/// A run that goes on beside, and is killed when it is dropped.
struct Running {
    run: Run,
    handle: tokio::task::JoinHandle<Result<Ended, Failure>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

fn start(pair: &Pair, epoch: i64, names: &[&str], event_triggers: bool) -> Running {
    let settings = TaskSettings {
        event_triggers,
        changed_tables: ChangedTablePolicy::ReloadTable,
        idle_seconds: 1,
        memory_mib: 8,
        ..TaskSettings::default()
    };
    let run = pair.run(epoch, TaskKind::FullLoadAndCdc, &[names, &["the_end"]].concat(), settings);
    let own = run.clone();
    Running { run, handle: tokio::spawn(async move { own.run().await }) }
}

async fn carry_out(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    pair.source.batch_execute(TYPES).await.unwrap();
    pair.mart.batch_execute(TYPES).await.unwrap();
    let mut tables = Vec::new();
    for at in 0..6 {
        let (table, sql) = Table::random(&mut rng, at);
        pair.source.batch_execute(&sql).await.unwrap_or_else(|error| panic!("seed {seed}: {sql}: {error:?}"));
        tables.push(table);
    }
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..20 {
        transaction(&pair.source, &mut rng, &mut tables, false).await;
    }
    // Alterations are told never, now and then, from some time on, or always.
    let is_told = |epoch: i64| match seed % 4 {
        0 => false,
        1 => epoch % 2 == 1,
        2 => epoch > 1,
        _ => true,
    };
    let mut running = start(&pair, 1, &names, is_told(1));
    // Only the first grant makes the fence: whoever comes after finds it.
    while running.run.status.progress().tables.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for epoch in 2..5 {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..2_500))).await;
        for _ in 0..20 {
            transaction(&pair.source, &mut rng, &mut tables, true).await;
        }
        drop(running);
        running = start(&pair, epoch, &names, is_told(epoch));
    }
    for _ in 0..20 {
        transaction(&pair.source, &mut rng, &mut tables, true).await;
    }
    // What a last alteration did arrives with the next row, or without one; here with a key that any index takes.
    for table in tables.iter().filter(|_| seed.is_multiple_of(2)) {
        let kind = table.columns[1].1;
        let last =
            format!("INSERT INTO {} (id, k) VALUES (1000000, CAST(({}) AS {kind}))", table.name, values_of(kind)[0]);
        pair.source.batch_execute(&last).await.unwrap();
    }
    pair.source.batch_execute("INSERT INTO the_end VALUES (1)").await.unwrap();
    settled(&pair, &running, seed).await;
    become_equal(&pair, &names).await;
    settled(&pair, &running, seed).await;
    pair.assert_equal(&names, &format!("at the end of seed {seed}")).await;
}

/// Waits until all tables are equal, or for long: what no row tells of is seen some time after.
async fn become_equal(pair: &Pair, names: &[&str]) {
    let list: Vec<String> = names
        .iter()
        .map(|name| format!("(SELECT string_agg(t::text, ';' ORDER BY t::text COLLATE \"C\") FROM {name} t)"))
        .collect();
    let sql = format!("SELECT md5(concat_ws('|', {}))", list.join(", "));
    // Not there, while a table is loaded again.
    let all = async |client: &Client| client.query_one(&sql, &[]).await.ok().map(|row| row.get::<_, String>(0));
    for _ in 0..60 {
        if all(&pair.mart).await == all(&pair.source).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until everything is in the target and every table is live.
async fn settled(pair: &Pair, running: &Running, seed: u64) {
    let run = &running.run;
    let sql = "SELECT to_regclass('the_end') IS NOT NULL AND (SELECT count(*) FROM the_end) = 1";
    let is_there = async || pair.mart.query_one(sql, &[]).await.is_ok_and(|row| row.get(0));
    let is_live = || {
        let tables = run.status.progress().tables;
        tables.len() == 7 && tables.iter().all(|table| table.state == TableState::Live)
    };
    let settled = async {
        while !is_there().await || !is_live() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What is loaded again was parked first: it is seen twice as it is to be.
        tokio::time::sleep(Duration::from_secs(5)).await;
        while !is_live() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, settled).await.is_err() {
        let progress = run.status.progress();
        let states: Vec<_> =
            progress.tables.into_iter().map(|table| (table.table, table.state, table.problem)).collect();
        let events: Vec<String> = run.status.events().into_iter().map(|event| event.text).collect();
        let over = running.handle.is_finished();
        panic!("seed {seed} is not settled, ended {over}: {:?} {states:?}\n{}", progress.phase, events.join("\n"));
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_tables_under_random_transactions_are_equal_in_the_end() {
    let first = setting("WAVEMARK_WORKLOAD_FIRST", 1);
    for seed in first..first + setting("WAVEMARK_WORKLOAD_SEEDS", 3) {
        println!("seed {seed}");
        carry_out(seed).await;
    }
}
