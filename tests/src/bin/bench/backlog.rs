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
}

impl Backlog {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tpcb => "tpcb",
            Self::Single => "single",
            Self::Six => "six",
            Self::Thousand => "thousand",
        }
    }

    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Tpcb => "100,000 transactions of three updates and an insert",
            Self::Single => "200,000 transactions of one random update",
            Self::Six => "68,000 transactions of four updates and two inserts",
            Self::Thousand => "400 transactions of 1,000 updates",
        }
    }

    /// Changes in all of it.
    pub(crate) fn changes(self) -> u32 {
        match self {
            Self::Tpcb | Self::Thousand => 400_000,
            Self::Single => 200_000,
            Self::Six => 408_000,
        }
    }

    /// The least ratio of rates to the native subscription.
    pub(crate) fn wanted(self) -> f64 {
        match self {
            Self::Tpcb | Self::Single => 1.0,
            Self::Six | Self::Thousand => 0.7,
        }
    }

    /// The transactions of each of eight clients.
    fn transactions(self) -> u32 {
        match self {
            Self::Tpcb => 12_500,
            Self::Single => 25_000,
            Self::Six => 8_500,
            Self::Thousand => 50,
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
        }
    }

    /// Has the source do it. Its own durability is not what is measured, so it need not wait for the disk.
    pub(crate) fn make(self, source: &Cluster, database: &str, scale: u32) -> Result<()> {
        let mut pgbench = source.program("pgbench");
        pgbench.env("PGOPTIONS", "-c synchronous_commit=off");
        pgbench.args(["-n", "-M", "prepared", "-c", "8", "-j", "2", "-t", &self.transactions().to_string()]);
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
