//! What the source did while nobody followed: kinds of work, made by pgbench.

use std::io::Write as _;

use anyhow::Result;
use serde::Serialize;
use wavemark_tests::cluster::Cluster;

use crate::arena::succeed;

/// A kind of backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backlog {
    /// 100,000 transactions of pgbench's own: three updates, of which two hit few rows, and one insert.
    Tpcb,
    /// 200,000 transactions of one update of a random row.
    Single,
    /// 68,000 transactions of four updates, of which two hit few rows, and two inserts.
    Six,
    /// 400 transactions of 1,000 updates of neighbouring rows.
    Thousand,
    /// 200,000 transactions of one insert.
    Insert1,
    /// 400 transactions of 1,000 updates of random rows.
    Random1000,
    /// One transaction of a million inserts.
    Million,
}

impl Backlog {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tpcb => "tpcb",
            Self::Single => "single",
            Self::Six => "six",
            Self::Thousand => "thousand",
            Self::Insert1 => "insert1",
            Self::Random1000 => "random1000",
            Self::Million => "million",
        }
    }

    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Tpcb => "100,000 transactions of three updates and an insert",
            Self::Single => "200,000 transactions of one random update",
            Self::Six => "68,000 transactions of four updates and two inserts",
            Self::Thousand => "400 transactions of 1,000 updates",
            Self::Insert1 => "200,000 transactions of one insert",
            Self::Random1000 => "400 transactions of 1,000 random updates",
            Self::Million => "one transaction of 1,000,000 inserts",
        }
    }

    /// Changes in all of it.
    pub(crate) fn changes(self) -> u32 {
        match self {
            Self::Tpcb | Self::Thousand | Self::Random1000 => 400_000,
            Self::Single | Self::Insert1 => 200_000,
            Self::Six => 408_000,
            Self::Million => 1_000_000,
        }
    }

    /// The least ratio of rates to the native subscription.
    pub(crate) fn wanted(self) -> f64 {
        match self {
            Self::Tpcb => 1.5,
            Self::Single => 1.3,
            Self::Six => 1.1,
            Self::Insert1 | Self::Random1000 | Self::Million => 1.0,
            Self::Thousand => 0.9,
        }
    }

    /// How many clients do it, and how many transactions each.
    fn clients(self) -> (u32, u32) {
        match self {
            Self::Tpcb => (8, 12_500),
            Self::Single | Self::Insert1 => (8, 25_000),
            Self::Six => (8, 8_500),
            Self::Thousand => (8, 50),
            // Two that update many rows in any order would wait for each other in a circle.
            Self::Random1000 => (1, 400),
            Self::Million => (1, 1),
        }
    }

    fn script(self) -> Option<&'static str> {
        match self {
            Self::Tpcb => None,
            Self::Single => Some(
                "\\set aid random(1, 100000 * :scale)\n\\set delta random(-5000, 5000)\n\
                 update pgbench_accounts set abalance = abalance + :delta where aid = :aid;\n",
            ),
            // Accounts from the lower half, then from the upper: so nobody waits for each other in a circle.
            Self::Six => Some(
                "\\set low random(1, 50000 * :scale)\n\\set high random(50000 * :scale + 1, 100000 * :scale)\n\
                 \\set tid random(1, 10 * :scale)\n\\set bid random(1, :scale)\n\\set delta random(-5000, 5000)\n\
                 begin;\n\
                 update pgbench_accounts set abalance = abalance + :delta where aid = :low;\n\
                 update pgbench_accounts set abalance = abalance - :delta where aid = :high;\n\
                 insert into pgbench_history (tid, bid, aid, delta, mtime) values (:tid, :bid, :low, :delta, now());\n\
                 insert into pgbench_history (tid, bid, aid, delta, mtime) values (:tid, :bid, :high, 0 - :delta, now());\n\
                 update pgbench_tellers set tbalance = tbalance + :delta where tid = :tid;\n\
                 update pgbench_branches set bbalance = bbalance + :delta where bid = :bid;\n\
                 commit;\n",
            ),
            Self::Thousand => Some(
                "\\set aid random(1, 100000 * :scale - 1000)\n\
                 update pgbench_accounts set abalance = abalance + 1 where aid between :aid and :aid + 999;\n",
            ),
            Self::Insert1 => Some(
                "\\set number random(1, 1000000)\n\
                 insert into bench_rows (number, word) values (:number, 'a row of its own');\n",
            ),
            // A few more are drawn, for some are drawn twice.
            Self::Random1000 => Some(
                "update pgbench_accounts set abalance = abalance + 1 where aid = any (array(\
                 select distinct 1 + floor(random() * 100000 * :scale)::int from generate_series(1, 1050) limit 1000));\n",
            ),
            Self::Million => Some(
                "insert into bench_rows (number, word) \
                 select n, 'a row of many' from generate_series(1, 1000000) as n;\n",
            ),
        }
    }

    /// Has the source do it. Its own durability is not what is measured, so it need not wait for the disk.
    pub(crate) fn make(self, source: &Cluster, database: &str, scale: u32) -> Result<()> {
        let mut pgbench = source.program("pgbench");
        pgbench.env("PGOPTIONS", "-c synchronous_commit=off");
        let (clients, each) = self.clients();
        let threads = clients.min(2);
        pgbench.args(["-n", "-M", "prepared", "-c", &clients.to_string(), "-j", &threads.to_string()]);
        pgbench.args(["-t", &each.to_string()]);
        let mut file = tempfile::NamedTempFile::new()?;
        match self.script() {
            Some(script) => {
                file.write_all(script.as_bytes())?;
                pgbench.arg("-f").arg(file.path()).args(["-D", &format!("scale={scale}")]);
            }
            None => drop(pgbench.args(["-b", "tpcb-like"])),
        }
        succeed(pgbench.arg(database))
    }
}
