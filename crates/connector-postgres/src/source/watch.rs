//! What happens to followed tables without a word in the log: looked up in the catalog now and then.
//!
//! - A table that was dropped, or taken out of our publication, sends nothing any more. One that was renamed sends what
//!   is no longer meant, and another under its name nothing.
//! - Without its publication, version 18 goes on and sends nothing; those before end the stream.
//! - Rows of a partition that is detached, dropped or truncated by itself leave the root; those of one that is attached
//!   with rows come to it. Of the root the log says nothing.
//!
//! The first look, when the log is opened, is what later ones are compared with: what happened to partitions while
//! nobody read the log is not seen, nor is a truncation if the partition was counted (analyzed) before the next look.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Client, Error};
use wavemark_domain::catalog::TableKind;
use wavemark_domain::task::{PartitionPolicy, TaskSettings};
use wavemark_domain::{TableId, TableName, TablePlan};

use crate::native::TableNative;

/// After how many heartbeats it is looked.
const BEATS: u32 = 3;

const TABLES: &str = "\
    SELECT t.oid, c.oid IS NOT NULL, EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid \
           WHERE p.pubname = $2 AND r.prrelid = t.oid), coalesce(n.nspname::text, ''), coalesce(c.relname::text, '') \
    FROM unnest($1::oid[]) AS t (oid) LEFT JOIN pg_class c ON c.oid = t.oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace";

const LEAVES: &str = "\
    SELECT t.oid, l.oid, l.oid::regclass::text, l.relfilenode, l.reltuples < 0, l.relpersistence = 'u' \
    FROM pg_class t CROSS JOIN LATERAL pg_partition_tree(t.oid) p JOIN pg_class l ON l.oid = p.relid \
    WHERE t.oid = ANY ($1) AND t.relkind = 'p' AND p.isleaf AND l.relkind = 'r'";

/// A followed table.
struct Watched {
    table: TableId,
    oid: u32,
    name: TableName,
    /// Its partitions, by OID.
    leaves: BTreeMap<u32, Leaf>,
}

/// A partition that has rows itself.
#[derive(Clone)]
struct Leaf {
    name: String,
    storage: u32,
    /// Whether nothing was counted in it since it was made or emptied.
    uncounted: bool,
    unlogged: bool,
}

/// Compares the catalog with what it was.
pub(super) struct Watch {
    publication: String,
    policy: PartitionPolicy,
    tables: Vec<Watched>,
    every: Duration,
    due: Instant,
}

impl Watch {
    /// Takes the first look.
    pub(super) async fn begin(
        client: &Client,
        publication: &str,
        plan: &[TablePlan],
        settings: &TaskSettings,
    ) -> Result<Self, Error> {
        let watched = |table: &TablePlan| {
            let oid = TableNative::of(&table.source).ok()?.oid;
            Some(Watched { table: table.id, oid, name: table.name().clone(), leaves: BTreeMap::new() })
        };
        let followed = plan.iter().filter(|table| table.source.kind != TableKind::View);
        let every = Duration::from_secs(u64::from(settings.idle_seconds) * u64::from(BEATS));
        let mut watch = Self {
            publication: publication.to_owned(),
            policy: settings.partition_removals,
            tables: followed.filter_map(watched).collect(),
            every,
            due: Instant::now() + every,
        };
        let mut leaves = watch.leaves(client).await?;
        for table in &mut watch.tables {
            table.leaves = leaves.remove(&table.oid).unwrap_or_default();
        }
        Ok(watch)
    }

    /// Whether it is time for another look.
    pub(super) fn is_due(&self) -> bool {
        self.due <= Instant::now()
    }

    /// Whether the publication is gone: then what was read since may lack changes of every table.
    pub(super) async fn is_unpublished(&self, client: &Client) -> Result<bool, Error> {
        let sql = "SELECT NOT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)";
        client.query_one(sql, &[&self.publication]).await.map(|row| row.get(0))
    }

    /// The tables to which something happened, and what; they are not looked at again.
    pub(super) async fn look(&mut self, client: &Client) -> Result<Vec<(TableId, String)>, Error> {
        self.due = Instant::now() + self.every;
        let oids: Vec<u32> = self.tables.iter().map(|table| table.oid).collect();
        let mut found = Vec::new();
        for row in client.query(TABLES, &[&oids, &self.publication]).await? {
            let (oid, is_there, is_published): (u32, bool, bool) = (row.get(0), row.get(1), row.get(2));
            let name = TableName::new(row.get::<_, String>(3), row.get::<_, String>(4));
            let what = match (is_there, is_published) {
                (false, _) => "it was dropped".to_owned(),
                _ if !self.tables.iter().any(|table| table.oid == oid && table.name == name) => {
                    format!("it is now named {name}")
                }
                (true, false) => "it is not in the task's publication any more".to_owned(),
                (true, true) => continue,
            };
            found.extend(self.remove(oid).map(|table| (table, what)));
        }
        let mut leaves = self.leaves(client).await?;
        let mut changed = Vec::new();
        for table in &mut self.tables {
            let now = leaves.remove(&table.oid).unwrap_or_default();
            let before = std::mem::replace(&mut table.leaves, now);
            if let Some(what) = changes(client, &before, &table.leaves, self.policy).await? {
                changed.push((table.oid, what));
            }
        }
        for (oid, what) in changed {
            found.extend(self.remove(oid).map(|table| (table, what)));
        }
        Ok(found)
    }

    fn remove(&mut self, oid: u32) -> Option<TableId> {
        let at = self.tables.iter().position(|table| table.oid == oid)?;
        Some(self.tables.remove(at).table)
    }

    /// The partitions of each table that has some.
    async fn leaves(&self, client: &Client) -> Result<BTreeMap<u32, BTreeMap<u32, Leaf>>, Error> {
        let oids: Vec<u32> = self.tables.iter().map(|table| table.oid).collect();
        let mut leaves: BTreeMap<u32, BTreeMap<u32, Leaf>> = BTreeMap::new();
        for row in client.query(LEAVES, &[&oids]).await? {
            let leaf = Leaf { name: row.get(2), storage: row.get(3), uncounted: row.get(4), unlogged: row.get(5) };
            leaves.entry(row.get(0)).or_default().insert(row.get(1), leaf);
        }
        Ok(leaves)
    }
}

/// What came to a table or left it with its partitions.
async fn changes(
    client: &Client,
    before: &BTreeMap<u32, Leaf>,
    now: &BTreeMap<u32, Leaf>,
    policy: PartitionPolicy,
) -> Result<Option<String>, Error> {
    for (oid, leaf) in before.iter().filter(|_| policy == PartitionPolicy::ParkTable) {
        match now.get(oid) {
            None => return Ok(Some(format!("its partition {} was detached or dropped with its rows", leaf.name))),
            // One that was only rewritten is counted by that.
            Some(now) if now.storage != leaf.storage && now.uncounted => {
                return Ok(Some(format!("its partition {} was truncated by itself", now.name)));
            }
            Some(_) => {}
        }
    }
    for (oid, leaf) in now.iter().filter(|(oid, _)| !before.contains_key(oid)) {
        if leaf.unlogged {
            return Ok(Some(format!("its partition {} is unlogged", leaf.name)));
        }
        if brought_rows(client, *oid, leaf).await? {
            return Ok(Some(format!("its partition {} was attached with rows that it had before", leaf.name)));
        }
    }
    Ok(None)
}

/// Whether a partition has rows from before it was attached: those that the log did not give to its root.
async fn brought_rows(client: &Client, oid: u32, leaf: &Leaf) -> Result<bool, Error> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM ONLY {} AS r, pg_inherits i WHERE i.inhrelid = {oid} AND (age(r.xmin) > age(i.xmin) \
         OR (r.xmin = i.xmin AND r.cmin::text::int8 < i.cmin::text::int8)))",
        leaf.name
    );
    match client.query_one(&sql, &[]).await {
        Ok(row) => Ok(row.get(0)),
        // It may be gone again, or not be ours to read: others made it.
        Err(error) if error.as_db_error().is_some() => {
            tracing::warn!(partition = %leaf.name, %error, "whether the partition had rows when it was attached is not known");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
