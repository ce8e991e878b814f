//! Changes as sysbench's write-only load makes them: transactions of an update of an indexed column, an update of another
//! one, and a row that is deleted and inserted again, all by random keys. They are written out from a seed, so that every
//! source gets the same and every copy of it must be equal.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tokio_postgres::Client;

use super::{Instance, System};
use crate::arena::{Arena, succeed};
use crate::load::psql;

/// Database of MySQL, schema of PostgreSQL.
pub(super) const SCHEMA: &str = "bench";
/// The database at PostgreSQL as a source.
pub(super) const FROM: &str = "bench_changes";
const ROWS: u32 = 300_000;
const TRANSACTIONS: u32 = 50_000;
/// In one round, of a row that is deleted and inserted two.
pub(super) const CHANGES: u32 = 4 * TRANSACTIONS;
/// Transactions that go together where a single statement is what is measured, not a commit.
const TOGETHER: u32 = 250;
/// Transactions that a staged wave has.
const STAGED: u32 = 2_500;

const TABLES: &str = "CREATE TABLE sbtest (id int PRIMARY KEY, k int NOT NULL, c char(120) NOT NULL, pad char(60) NOT NULL); \
     CREATE INDEX k_1 ON sbtest (k); CREATE TABLE bench_marker (id int PRIMARY KEY);";

/// What a row says: its texts are these numbers, written again and again.
#[derive(Clone, Copy)]
struct Row {
    k: u32,
    c: u64,
    pad: u64,
}

impl Row {
    fn c(self) -> String {
        format!("{:020}", self.c).repeat(6)
    }

    fn pad(self) -> String {
        format!("{:020}", self.pad).repeat(3)
    }
}

/// All rows as the changes so far left them.
pub(super) struct Rows {
    all: Vec<Row>,
    random: StdRng,
    made: u32,
}

/// The changes of one round in three forms, as files of statements.
pub(super) struct Round {
    folder: TempDir,
    /// The row of `bench_marker` that comes last.
    pub(super) marker: i32,
}

impl Round {
    /// As the source does them.
    fn script(&self) -> std::path::PathBuf {
        self.folder.path().join("changes.sql")
    }

    /// Statement by statement, a thousand in one transaction.
    pub(super) fn singles(&self) -> Result<File> {
        Ok(File::open(self.folder.path().join("singles.sql"))?)
    }

    /// By sets that are netted already.
    pub(super) fn staged(&self) -> Result<File> {
        Ok(File::open(self.folder.path().join("staged.sql"))?)
    }
}

impl Rows {
    /// As the tables are filled.
    pub(super) fn new() -> Self {
        let row = |id: u32| Row { k: id % 1_000, c: id.into(), pad: id.into() };
        Self { all: (1..=ROWS).map(row).collect(), random: StdRng::seed_from_u64(7), made: 0 }
    }

    /// Thinks out another round of changes.
    pub(super) fn next_round(&mut self) -> Result<Round> {
        self.made += 1;
        let round = Round { folder: tempfile::tempdir()?, marker: i32::try_from(self.made)? };
        let file = |name: &str| File::create(round.folder.path().join(name)).map(BufWriter::new);
        let (mut script, mut singles) = (file("changes.sql")?, file("singles.sql")?);
        let mut staged = Staged::begin(round.folder.path())?;
        for number in 0..TRANSACTIONS {
            let (statements, touched) = self.transaction();
            writeln!(script, "BEGIN;\n{statements}COMMIT;")?;
            let begin = if number % TOGETHER == 0 { "BEGIN;\n" } else { "" };
            let commit = if number % TOGETHER == TOGETHER - 1 { "COMMIT;\n" } else { "" };
            write!(singles, "{begin}{statements}{commit}")?;
            staged.touched.extend(touched);
            if number % STAGED == STAGED - 1 {
                staged.write(&self.all)?;
            }
        }
        writeln!(script, "INSERT INTO bench_marker (id) VALUES ({});", round.marker)?;
        script.flush()?;
        singles.flush()?;
        staged.script.flush()?;
        Ok(round)
    }

    /// Statements of one transaction, and the keys that it touches.
    fn transaction(&mut self) -> (String, [u32; 3]) {
        let ids = [(); 3].map(|()| self.random.random_range(1..=ROWS));
        let [indexed, other, anew] = ids;
        self.row(indexed).k += 1;
        self.row(other).c = self.random.random();
        *self.row(anew) =
            Row { k: self.random.random_range(0..1_000), c: self.random.random(), pad: self.random.random() };
        let (c, row) = (self.row(other).c(), *self.row(anew));
        let statements = format!(
            "UPDATE sbtest SET k = k + 1 WHERE id = {indexed};\nUPDATE sbtest SET c = '{c}' WHERE id = {other};\n\
             DELETE FROM sbtest WHERE id = {anew};\n\
             INSERT INTO sbtest (id, k, c, pad) VALUES ({anew}, {}, '{}', '{}');\n",
            row.k,
            row.c(),
            row.pad()
        );
        (statements, ids)
    }

    fn row(&mut self, id: u32) -> &mut Row {
        &mut self.all[id as usize - 1]
    }
}

/// Sets of rows as a careful person would have the server take them: netted, loaded beside, then upserted.
struct Staged<'a> {
    folder: &'a Path,
    script: BufWriter<File>,
    waves: u32,
    touched: std::collections::BTreeSet<u32>,
}

impl<'a> Staged<'a> {
    fn begin(folder: &'a Path) -> Result<Self> {
        let mut script = BufWriter::new(File::create(folder.join("staged.sql"))?);
        writeln!(script, "CREATE TEMPORARY TABLE staged (id int, k int, c char(120), pad char(60));")?;
        Ok(Self { folder, script, waves: 0, touched: std::collections::BTreeSet::new() })
    }

    fn write(&mut self, rows: &[Row]) -> Result<()> {
        self.waves += 1;
        let path = self.folder.join(format!("wave-{}.tsv", self.waves));
        let mut file = BufWriter::new(File::create(&path)?);
        for id in std::mem::take(&mut self.touched) {
            let row = rows[id as usize - 1];
            writeln!(file, "{id}\t{}\t{}\t{}", row.k, row.c(), row.pad())?;
        }
        file.flush()?;
        writeln!(
            self.script,
            "BEGIN;\nLOAD DATA LOCAL INFILE '{}' INTO TABLE staged;\nINSERT INTO sbtest SELECT * FROM staged ON DUPLICATE KEY UPDATE \
             k = VALUES(k), c = VALUES(c), pad = VALUES(pad);\nCOMMIT;\nTRUNCATE TABLE staged;",
            path.display()
        )?;
        Ok(())
    }
}

/// Makes and fills the tables at PostgreSQL.
pub(super) async fn fill_postgres(arena: &Arena) -> Result<()> {
    arena.fresh_database(&arena.source, FROM).await?;
    let rows = format!(
        "insert into {SCHEMA}.sbtest select n, n % 1000, repeat(lpad(n::text, 20, '0'), 6), repeat(lpad(n::text, 20, '0'), 3) \
         from generate_series(1, {ROWS}) as n"
    );
    let tables = format!("set search_path = {SCHEMA}; {TABLES}");
    arena.source.execute(FROM, &[&format!("create schema {SCHEMA}"), &tables, &rows]).await
}

/// The same in a database of MySQL or MariaDB.
pub(super) fn fill_mysql<P: System>(server: &Instance<P>, database: &str) -> Result<()> {
    let digits = (0..10).map(|n| format!("SELECT {n} AS n")).collect::<Vec<_>>().join(" UNION ALL ");
    let tables: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| format!("({digits}) AS {name}")).into();
    server.execute(&format!(
        "CREATE DATABASE {database} CHARACTER SET utf8mb4; USE {database}; {TABLES} \
         INSERT INTO sbtest SELECT n, n % 1000, repeat(lpad(n, 20, '0'), 6), repeat(lpad(n, 20, '0'), 3) FROM \
         (SELECT 1 + f.n * 100000 + e.n * 10000 + d.n * 1000 + c.n * 100 + b.n * 10 + a.n AS n FROM {}) AS numbers \
         WHERE n <= {ROWS} ORDER BY n;",
        tables.join(" JOIN ")
    ))
}

/// Has PostgreSQL do them. A source's own durability is not what is measured, so it need not wait for the disk.
pub(super) fn at_postgres(arena: &Arena, round: &Round) -> Result<()> {
    let mut psql = psql(&arena.source, FROM, &format!("set search_path = {SCHEMA}"));
    psql.env("PGOPTIONS", "-c synchronous_commit=off").arg("-f").arg(round.script());
    succeed(&mut psql)
}

/// The same at MySQL or MariaDB.
pub(super) fn at_mysql<P: System>(source: &Instance<P>, round: &Round) -> Result<()> {
    source.be_durable(false)?;
    succeed(source.client().arg(SCHEMA).stdin(File::open(round.script())?))?;
    source.be_durable(true)
}

/// The same for equal rows in each system.
pub(super) async fn digest_of_postgres(client: &Client) -> Result<String> {
    let sql = "select count(*) || ' ' || sum(('x' || left(encode(sha256(convert_to(concat_ws('|', id, k, c, pad), 'UTF8')), 'hex'), \
        8))::bit(32)::bigint) from bench.sbtest";
    Ok(client.query_one(sql, &[]).await?.get(0))
}

/// See [`digest_of_postgres`].
pub(super) fn digest_of_mysql<P: System>(server: &Instance<P>, database: &str) -> Result<String> {
    server.value(&format!(
        "SELECT concat(count(*), ' ', sum(CAST(conv(left(sha2(concat_ws('|', id, k, c, pad), 256), 8), 16, 10) AS unsigned))) \
         FROM {database}.sbtest"
    ))
}
