//! Random tables under random transactions, loaded while they change and followed after: equal in the end, row by row.
//!
//! `WAVEMARK_WORKLOAD_SEEDS` says how many seeds, `WAVEMARK_WORKLOAD_FIRST` with which to begin. A seed that fails is
//! named; the same seed makes the same tables and statements.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/pair.rs"]
mod pair;
mod support;
#[path = "support/task.rs"]
mod task;
#[path = "support/types.rs"]
mod types;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio_postgres::Client;
use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;

use pair::{Pair, follow_until, load, target_endpoint};
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

/// A table and what its columns hold.
struct Table {
    name: String,
    columns: Vec<&'static str>,
    has_key: bool,
}

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
        let mut columns = vec!["integer", *KEYS.choose(rng).unwrap()];
        columns.extend((0..rng.random_range(1..7)).map(|_| VALUES.choose(rng).unwrap().0));
        let list: Vec<String> = columns[2..].iter().enumerate().map(|(at, kind)| format!("c{at} {kind}")).collect();
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
            columns[1],
            list.join(", ")
        );
        (Self { name, columns, has_key: kind < 5 }, sql)
    }

    fn insert(&self, rng: &mut StdRng, rows: u32) -> String {
        let first = rng.random_range(0..2_000);
        let cells: Vec<String> = self.columns[2..].iter().map(|kind| cell(rng, kind)).collect();
        let conflict = if self.has_key { " ON CONFLICT DO NOTHING" } else { "" };
        format!(
            "INSERT INTO {} SELECT n, {}, {} FROM generate_series({first}, {first} + {rows} - 1) n{conflict}",
            self.name,
            value(rng, self.columns[1]),
            cells.join(", ")
        )
    }

    fn update(&self, rng: &mut StdRng) -> String {
        let column = rng.random_range(2..self.columns.len());
        let set = match rng.random_range(0..8) {
            0 => "id = id + 5000".to_owned(),
            1 => format!("k = {}", value(rng, self.columns[1])),
            2 => format!("id = -id, c0 = {}", cell(rng, self.columns[2])),
            _ => format!("c{} = {}", column - 2, cell(rng, self.columns[column])),
        };
        format!("UPDATE {} SET {set} WHERE {}", self.name, some(rng))
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
async fn transaction(client: &Client, rng: &mut StdRng, tables: &[Table], truncates: bool) {
    client.batch_execute("BEGIN").await.unwrap();
    for _ in 0..rng.random_range(1..8) {
        let statement = tables.choose(rng).unwrap().statement(rng, truncates);
        client.batch_execute("SAVEPOINT s").await.unwrap();
        let done = client.batch_execute(&statement).await;
        if let Err(error) = &done {
            let code = error.code().unwrap().code();
            // A key that is there, or one that is too large for an index.
            assert!(["23505", "54000"].contains(&code), "{statement}: {error:?}");
        }
        let end = if done.is_err() || rng.random_ratio(1, 8) { "ROLLBACK TO s" } else { "RELEASE s" };
        client.batch_execute(end).await.unwrap();
    }
    let end = if rng.random_ratio(1, 10) { "ROLLBACK" } else { "COMMIT" };
    client.batch_execute(end).await.unwrap();
}

async fn transactions(client: &Client, rng: &mut StdRng, tables: &[Table], (count, truncates): (usize, bool)) {
    for _ in 0..count {
        transaction(client, rng, tables, truncates).await;
    }
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
    transactions(&pair.source, &mut rng, &tables, (20, true)).await;

    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let target = Postgres.target(&target_endpoint(&pair.cluster)).unwrap();
    let plan = pair.fixture.plan(&[&names[..], &["the_end"]].concat()).await;
    let mut opened = target.open(&pair.fixture.task).await.unwrap();
    opened.session.attach(&plan).await.unwrap();
    let view = pair.fixture.begin(&plan).await;
    let start = view.position().clone();
    // What becomes of a table that is truncated while it is loaded is the engine's to say.
    tokio::join!(transactions(&pair.source, &mut rng, &tables, (20, false)), async {
        load(&mut opened, &*view, &plan).await;
        drop(view);
    });
    transactions(&pair.source, &mut rng, &tables, (40, true)).await;
    pair.source.batch_execute("INSERT INTO the_end VALUES (1)").await.unwrap();
    follow_until(&pair.fixture, &mut opened, (&plan, &start), async || {
        pair.mart.query_one("SELECT EXISTS (SELECT FROM the_end)", &[]).await.unwrap().get(0)
    })
    .await;
    pair.assert_equal(&names, &format!("at the end of seed {seed}")).await;
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_tables_under_random_transactions_are_equal_in_the_end() {
    let first = setting("WAVEMARK_WORKLOAD_FIRST", 1);
    for seed in first..first + setting("WAVEMARK_WORKLOAD_SEEDS", 4) {
        println!("seed {seed}");
        carry_out(seed).await;
    }
}
