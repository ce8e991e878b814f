//! Random tables under random transactions that also alter them, drop them and make others under their names, loaded and
//! followed by runs that die again and again: equal in the end, row by row; of some tables some rows travel. What can't be
//! applied as an alteration is loaded again, so that every table must be. What is dropped at the source is no longer in the
//! target, or there as it was then.
//!
//! `WAVEMARK_WORKLOAD_SEEDS` says how many seeds, `WAVEMARK_WORKLOAD_FIRST` with which to begin, and
//! `WAVEMARK_WORKLOAD_AT_ONCE` how many run beside each other. A seed that fails is named; the same seed makes the same
//! tables and statements.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio_postgres::Client;
use wavemark_domain::layout::{ChangedTablePolicy, DroppedTablePolicy, RenamedTablePolicy};
use wavemark_domain::state::TableState;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::{Ended, Failure, Run};

use crate::support::pair::{Pair, rows_of};
use crate::support::types::{TYPES, VALUES};

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
    /// What its names begin with.
    stem: String,
    name: String,
    /// How many names it had.
    names: u8,
    /// The lowest and the highest id of the rows that travel, if not all do.
    filter: Option<(i32, i32)>,
    is_gone: bool,
    /// What travelled of it each time it was dropped.
    last: Vec<Vec<String>>,
    /// The same before each alteration that no row has followed, so that the log does not tell of it.
    untold: Vec<Vec<String>>,
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
        let stem = format!("w{at}");
        let name = stem.clone();
        let mut columns = vec![("id".to_owned(), "integer"), ("k".to_owned(), *KEYS.choose(rng).unwrap())];
        columns.extend((0..rng.random_range(1..7)).map(|at| (format!("c{at}"), VALUES.choose(rng).unwrap().0)));
        let others: Vec<String> = columns[2..].iter().map(|(name, kind)| format!("{name} {kind}")).collect();
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
            others.join(", ")
        );
        let ever = columns.len();
        let filter = rng.random_ratio(1, 3).then(|| (rng.random_range(0..900), rng.random_range(1_000..7_000)));
        let (is_gone, last, untold, has_key) = (false, Vec::new(), Vec::new(), kind < 5);
        (Self { stem, name, names: 0, filter, is_gone, last, untold, columns, has_key, ever }, sql)
    }

    /// The rows that travel, at the source.
    fn travelling(&self) -> String {
        let condition = self.filter.map(|(low, high)| format!(" WHERE id BETWEEN {low} AND {high}"));
        format!("(SELECT * FROM {}{})", self.name, condition.unwrap_or_default())
    }

    /// The same in the words of a mapping.
    fn filters(&self) -> Value {
        let filter = |(low, high): (i32, i32)| {
            let between = json!([{"filter-operator": "between", "start-value": low, "end-value": high}]);
            json!([{"filter-type": "source", "column-name": "id", "filter-conditions": between}])
        };
        self.filter.map_or_else(|| json!([]), filter)
    }

    /// Another of its name with the same filter, as SQL.
    fn made_again(&mut self, rng: &mut StdRng) -> String {
        let (next, sql) = Self::random(rng, self.stem[1..].parse().unwrap());
        *self = Self { names: self.names, filter: self.filter, last: std::mem::take(&mut self.last), ..next };
        sql
    }

    /// What it was before something that was taken back; names are not used again.
    fn after(self, taken_back: &Self) -> Self {
        Self { ever: self.ever.max(taken_back.ever), names: self.names.max(taken_back.names), ..self }
    }

    /// Gives the table a name that it never had.
    fn renamed(&mut self) -> String {
        let next = format!("{}{}", self.stem, char::from(b'a' + self.names % 26));
        self.names += 1;
        let from = std::mem::replace(&mut self.name, next.clone());
        format!("ALTER TABLE {from} RENAME TO {next}")
    }

    /// Drops the table, or makes one where there is none; often at once.
    async fn come_or_go(&mut self, client: &Client, rng: &mut StdRng) -> String {
        if self.is_gone {
            return self.made_again(rng);
        }
        self.last.append(&mut self.untold);
        self.last.push(rows_of(client, &self.travelling()).await);
        self.is_gone = true;
        let drop = format!("DROP TABLE {}", self.name);
        if rng.random_ratio(1, 3) { format!("{drop}; {}", self.made_again(rng)) } else { drop }
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

/// What transactions do besides writing rows.
#[derive(Clone, Copy, Default)]
struct Does {
    alters: bool,
    drops: bool,
    renames: bool,
}

/// One transaction of statements, each in a savepoint of its own, some of which are taken back; what it did, and where the
/// log ended then.
async fn transaction(client: &Client, rng: &mut StdRng, tables: &mut Vec<Table>, does: Does) -> String {
    let before = tables.clone();
    let mut told = Vec::new();
    client.batch_execute("BEGIN").await.unwrap();
    for _ in 0..rng.random_range(1..8) {
        let at = rng.random_range(0..tables.len());
        let was = tables[at].clone();
        let comes_or_goes = does.drops && rng.random_ratio(if was.is_gone { 20 } else { 1 }, 80);
        if was.is_gone && !comes_or_goes {
            continue;
        }
        let is_alteration = does.alters && rng.random_ratio(1, 12);
        let is_renaming = does.renames && rng.random_ratio(1, 40);
        let asks = !was.is_gone && (is_alteration || !was.untold.is_empty());
        let rows = if asks { rows_of(client, &was.travelling()).await } else { Vec::new() };
        let statement = match (comes_or_goes, is_renaming, is_alteration) {
            (true, ..) => tables[at].come_or_go(client, rng).await,
            (_, true, _) => tables[at].renamed(),
            (.., true) => {
                tables[at].untold.push(rows.clone());
                tables[at].alteration(rng)
            }
            _ => was.statement(rng, true),
        };
        let writes = !(comes_or_goes || is_renaming || is_alteration);
        let tells = async || rows_of(client, &was.travelling()).await != rows;
        client.batch_execute("SAVEPOINT s").await.unwrap();
        let done = client.batch_execute(&statement).await;
        if let Err(error) = &done {
            let code = error.code().unwrap().code();
            // A key that is there, or one that is too large for an index; a default that is none; a number without its
            // negative; a lock that whoever loads waits for, too.
            assert!(["23505", "54000", "0A000", "22003", "40P01"].contains(&code), "{statement}: {error:?}");
        }
        if asks && writes && done.is_ok() && tells().await {
            tables[at].untold.clear();
        }
        let end = if done.is_err() || rng.random_ratio(1, 8) { "ROLLBACK TO s" } else { "RELEASE s" };
        if end == "ROLLBACK TO s" {
            tables[at] = was.after(&tables[at]);
        }
        client.batch_execute(end).await.unwrap();
        told.push(format!("{statement}; {end}"));
    }
    let end = if rng.random_ratio(1, 10) { "ROLLBACK" } else { "COMMIT" };
    if end == "ROLLBACK" {
        *tables = before.into_iter().zip(tables.iter()).map(|(was, now)| was.after(now)).collect();
    }
    client.batch_execute(end).await.unwrap();
    let at: String = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
    told.push(format!("{end} {at}"));
    told.join("; ")
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

fn start(pair: &Pair, epoch: i64, tables: &[(&str, Value)], policies: &TaskSettings, event_triggers: bool) -> Running {
    let settings = TaskSettings {
        event_triggers,
        changed_tables: ChangedTablePolicy::ReloadTable,
        idle_seconds: 1,
        memory_mib: 8,
        ..policies.clone()
    };
    let run = pair.filtered_run(epoch, TaskKind::FullLoadAndCdc, tables, settings);
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
    let dropped_tables = match seed % 3 {
        0 => DroppedTablePolicy::ParkTable,
        1 => DroppedTablePolicy::Ignore,
        _ => DroppedTablePolicy::Apply,
    };
    let renamed_tables = if seed % 4 < 2 { RenamedTablePolicy::ParkTable } else { RenamedTablePolicy::Apply };
    let policy = TaskSettings { dropped_tables, renamed_tables, ..TaskSettings::default() };
    let does = Does {
        alters: true,
        drops: dropped_tables != DroppedTablePolicy::ParkTable,
        renames: renamed_tables == RenamedTablePolicy::Apply,
    };
    let filters: Vec<(String, Value)> =
        tables.iter().map(|table| (format!("{}%", table.stem), table.filters())).collect();
    let mut mapped: Vec<(&str, Value)> =
        filters.iter().map(|(name, filters)| (name.as_str(), filters.clone())).collect();
    mapped.push(("the_end", json!([])));
    let mut history = Vec::new();
    for _ in 0..20 {
        history.push(transaction(&pair.source, &mut rng, &mut tables, Does::default()).await);
    }
    // Alterations are told never, now and then, from some time on, or always.
    let is_told = |epoch: i64| match seed % 4 {
        0 => false,
        1 => epoch % 2 == 1,
        2 => epoch > 1,
        _ => true,
    };
    let mut running = start(&pair, 1, &mapped, &policy, is_told(1));
    // Only the first grant makes the fence: whoever comes after finds it.
    while running.run.status.progress().tables.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for epoch in 2..5 {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..2_500))).await;
        for _ in 0..20 {
            history.push(transaction(&pair.source, &mut rng, &mut tables, does).await);
        }
        history.extend(running.run.status.events().into_iter().map(|event| format!("-- {}", event.text)));
        drop(running);
        running = start(&pair, epoch, &mapped, &policy, is_told(epoch));
    }
    for _ in 0..20 {
        history.push(transaction(&pair.source, &mut rng, &mut tables, does).await);
    }
    // What a last alteration did arrives with the next row, or without one; here with a key that any index takes.
    for table in tables.iter().filter(|table| seed.is_multiple_of(2) && !table.is_gone) {
        let kind = table.columns[1].1;
        let last =
            format!("INSERT INTO {} (id, k) VALUES (1000000, CAST(({}) AS {kind}))", table.name, values_of(kind)[0]);
        pair.source.batch_execute(&last).await.unwrap();
    }
    pair.source.batch_execute("INSERT INTO the_end VALUES (1)").await.unwrap();
    let (gone, there): (Vec<&Table>, Vec<&Table>) = tables.iter().partition(|table| table.is_gone);
    settled(&pair, &running, (seed, &there)).await;
    become_equal(&pair, &there).await;
    settled(&pair, &running, (seed, &there)).await;
    for table in &there {
        let (source, mart) = (rows_of(&pair.source, &table.travelling()).await, rows_of(&pair.mart, &table.name).await);
        if mart != source {
            history.extend(running.run.status.events().into_iter().map(|event| format!("-- {}", event.text)));
            panic!("{} at the end of seed {seed}: {mart:#?} is not {source:#?}\n{}", table.name, history.join("\n"));
        }
    }
    let mut left: Vec<&str> = there.iter().map(|table| table.name.as_str()).collect();
    left.push("the_end");
    left.sort_unstable();
    let sql = "SELECT source_table FROM wavemark.tables WHERE stage IN ('loaded', 'loading') ORDER BY source_table";
    let marked: Vec<String> = pair.mart.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(marked, left, "marks at the end of seed {seed}");
    for table in gone {
        has_ended(&pair, &running, table, seed).await;
    }
}

/// A table that is gone is no longer the task's: dropped, or there as it was when it was dropped. One that was being loaded,
/// or was to be, is parked where its table stays.
async fn has_ended(pair: &Pair, running: &Running, table: &Table, seed: u64) {
    let sql = "SELECT stage, problem ->> 'text' FROM wavemark.tables WHERE source_table = $1";
    let mark = pair.mart.query_opt(sql, &[&table.name]).await.unwrap();
    let mark = mark.map(|row| (row.get::<_, String>(0), row.get::<_, Option<String>>(1)));
    let sql = format!("SELECT to_regclass('{}') IS NOT NULL", table.name);
    let is_there: bool = pair.mart.query_one(&sql, &[]).await.unwrap().get(0);
    let context = format!("{} at the end of seed {seed}, {mark:?}", table.name);
    match mark.as_ref().map(|(stage, why)| (stage.as_str(), why.as_deref().unwrap_or_default())) {
        None => assert!(!is_there, "{context}"),
        Some(("superseded", _)) => {
            let rows = rows_of(&pair.mart, &table.name).await;
            assert!(table.last.contains(&rows), "{context}: {rows:#?} is none of {:#?}", table.last);
        }
        Some(("parked", why)) => {
            let expected = ["dropped before its load was over", "dropped before it was loaded again"];
            assert!(expected.iter().any(|expected| why.contains(expected)), "{context}");
        }
        Some(_) => {
            let events: Vec<String> = running.run.status.events().into_iter().map(|event| event.text).collect();
            panic!("{context}\n{}", events.join("\n"));
        }
    }
}

/// Waits until all tables are equal, or for long: what no row tells of is seen some time after.
async fn become_equal(pair: &Pair, tables: &[&Table]) {
    let all = |rows: &dyn Fn(&Table) -> String| {
        let one = |table: &&Table| {
            format!("(SELECT string_agg(t::text, ';' ORDER BY t::text COLLATE \"C\") FROM {} t)", rows(table))
        };
        format!("SELECT md5(concat_ws('|', {}))", tables.iter().map(one).collect::<Vec<_>>().join(", "))
    };
    let (source, mart) = (all(&Table::travelling), all(&|table| table.name.clone()));
    // Not there, while a table is loaded again.
    let ask =
        async |client: &Client, sql: &str| client.query_one(sql, &[]).await.ok().map(|row| row.get::<_, String>(0));
    for _ in 0..60 {
        if ask(&pair.mart, &mart).await == ask(&pair.source, &source).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until everything is in the target and every table that is there is live, and no other is shown.
async fn settled(pair: &Pair, running: &Running, (seed, there): (u64, &[&Table])) {
    let run = &running.run;
    let sql = "SELECT to_regclass('the_end') IS NOT NULL AND (SELECT count(*) FROM the_end) = 1";
    let is_there = async || pair.mart.query_one(sql, &[]).await.is_ok_and(|row| row.get(0));
    let is_live = || {
        let tables = run.status.progress().tables;
        tables.len() == there.len() + 1 && tables.iter().all(|table| table.state == TableState::Live)
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
    let seeds = first..first + setting("WAVEMARK_WORKLOAD_SEEDS", 3);
    // A seed waits most of its time.
    let carried_out = async |seed| {
        println!("seed {seed}");
        let ended = tokio::spawn(carry_out(seed)).await;
        ended.unwrap_or_else(|error| panic!("seed {seed} fails: {error}"));
    };
    let at_once = usize::try_from(setting("WAVEMARK_WORKLOAD_AT_ONCE", 3)).unwrap();
    stream::iter(seeds).for_each_concurrent(at_once, carried_out).await;
}
