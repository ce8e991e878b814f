//! What happens to followed tables without a word in the log: looked up in the catalog now and then.
//!
//! - A table that was dropped sends nothing any more. What it sent before may still be unread: it ends once the log is read
//!   up to where the catalog was.
//! - One that was taken out of our publication sends nothing any more, either. One that was renamed sends what is no
//!   longer meant, and another under its name nothing. One whose entry in the publication was altered sends other
//!   rows or columns.
//! - A table whose filter looks at columns that its replica identity lost, or that lost all of it, can't be updated by its
//!   users as long as it is published so: it is taken out.
//! - Without its publication, version 18 warns in the stream and sends nothing of its tables; those before end the stream.
//! - Rows of a partition that is detached, dropped or truncated by itself leave the root; those of one that is attached
//!   with rows come to it. Of the root the log says nothing.
//!
//! The first look, when the log is opened, is what later ones are compared with: what happened to partitions while
//! nobody read the log is not seen, nor is a truncation if the partition was counted (analyzed) before the next look.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Client, Error, Row};
use wavemark_domain::catalog::TableKind;
use wavemark_domain::layout::RenamedTablePolicy;
use wavemark_domain::task::{PartitionPolicy, TaskSettings};
use wavemark_domain::{Problem, TableId, TableName, TablePlan};

use super::names::quoted;
use super::shape::{self, Shape};
use super::slot::Published;
use super::unspoken;
use crate::error;
use crate::native::TableNative;
use crate::wire::{Lsn, quote_identifier};

/// After how many heartbeats it is looked.
const BEATS: u32 = 3;

const NAMES: &str = "\
    SELECT c.oid, n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.oid = ANY ($1)";

const LEAVES: &str = "\
    SELECT t.oid, l.oid, l.oid::regclass::text, l.relfilenode, l.reltuples < 0, \
           CASE WHEN l.relkind = 'f' THEN 'a foreign table' WHEN l.relpersistence = 'u' THEN 'unlogged' END \
    FROM pg_class t CROSS JOIN LATERAL pg_partition_tree(t.oid) p JOIN pg_class l ON l.oid = p.relid \
    WHERE t.oid = ANY ($1) AND t.relkind = 'p' AND p.isleaf AND l.relkind IN ('r', 'f')";

/// One number for all tables that there are and what they are named.
const TABLES: &str = "\
    SELECT coalesce(bit_xor(hashtextextended(n.nspname || '.' || c.relname, c.oid::int8)), 0) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition";

/// What a look has found.
pub(super) struct Seen {
    /// The tables to which something happened, and what; they are not looked at again.
    pub(super) ended: Vec<(TableId, String)>,
    /// The tables that are gone, and how far the log must be read to have every change of them.
    pub(super) dropped: Vec<TableId>,
    pub(super) read: Lsn,
    /// Whether there may be tables that were not there before, or others under their names.
    pub(super) tables_came: bool,
}

/// A followed table.
struct Watched {
    table: TableId,
    oid: u32,
    name: TableName,
    /// Its partitions, by OID.
    leaves: BTreeMap<u32, Leaf>,
    /// What the publication has of it; not known before it was looked at while it is there.
    shape: Option<Shape>,
    /// Its plan, if not all of its rows or columns are published.
    limited: Option<TablePlan>,
}

/// A partition that has rows itself.
#[derive(Clone)]
struct Leaf {
    name: String,
    storage: u32,
    /// Whether nothing was counted in it since it was made or emptied.
    uncounted: bool,
    /// What it is, if that leaves its changes out of the log.
    unlogged: Option<String>,
}

/// Compares the catalog with what it was.
pub(super) struct Watch {
    publication: String,
    /// Whether the publication is ours.
    is_ours: bool,
    settings: TaskSettings,
    tables: Vec<Watched>,
    /// As of the look before; none before the second, for the plan is older than the first.
    all_tables: Option<i64>,
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
    ) -> Result<Self, Problem> {
        let watched = |table: &TablePlan| {
            let oid = TableNative::of(&table.source).ok()?.oid;
            let is_limited = table.rows.is_some() || shape::listed(table, settings).is_some();
            let limited = is_limited.then(|| table.clone());
            let name = table.name().clone();
            Some(Watched { table: table.id, oid, name, leaves: BTreeMap::new(), shape: None, limited })
        };
        let followed = plan.iter().filter(|table| table.source.kind != TableKind::View);
        let every = Duration::from_secs(u64::from(settings.idle_seconds) * u64::from(BEATS));
        let mut watch = Self {
            publication: publication.to_owned(),
            is_ours: publication != settings.start_publication,
            settings: settings.clone(),
            tables: followed.filter_map(watched).collect(),
            all_tables: None,
            every,
            due: Instant::now() + every,
        };
        let mut leaves = watch.leaves(client).await?;
        let published = Published::read(client, publication).await?;
        for table in &mut watch.tables {
            table.leaves = leaves.remove(&table.oid).unwrap_or_default();
            table.shape = published.as_ref().map(|published| published.shape(table.oid));
        }
        Ok(watch)
    }

    /// The name of what the tables are published by.
    pub(super) fn publication(&self) -> &str {
        &self.publication
    }

    /// Whether it is time for another look.
    pub(super) fn is_due(&self) -> bool {
        self.due <= Instant::now()
    }

    /// What happened since the look before. None if the publication is gone: then what was read since may lack changes of
    /// every table. Cancelled, it has seen nothing.
    pub(super) async fn look(&mut self, client: &Client) -> Result<Option<Seen>, Problem> {
        self.due = Instant::now() + self.every;
        let Some(published) = Published::read(client, &self.publication).await? else { return Ok(None) };
        let named = self.names(client).await?;
        let dropped: Vec<TableId> =
            self.tables.iter().filter(|table| !named.contains_key(&table.oid)).map(|table| table.table).collect();
        let read = if dropped.is_empty() { Lsn(0) } else { unspoken::end(client).await? };
        let mut leaves = self.leaves(client).await?;
        // One that goes on under another name is described under it once the log is read so far.
        let follows_names = self.settings.renamed_tables == RenamedTablePolicy::Apply;
        let mut found = Vec::new();
        for table in &self.tables {
            let what = match named.get(&table.oid) {
                None => None,
                Some(name) if *name != table.name && !follows_names => Some(format!("it is now named {name}")),
                Some(_) if !published.tables.contains(&table.oid) => {
                    Some("it is not in the task's publication any more".to_owned())
                }
                Some(_) if table.shape.as_ref().is_some_and(|before| *before != published.shape(table.oid)) => {
                    Some("what the task's publication has of it was changed".to_owned())
                }
                Some(_) => {
                    let now = leaves.entry(table.oid).or_default();
                    changes(client, &table.leaves, now, self.settings.partition_removals)
                        .await
                        .map_err(|error| failed(&error))?
                }
            };
            found.extend(what.map(|what| (table.table, what)));
        }
        let all_tables = client.query_one(TABLES, &[]).await.map_err(|error| failed(&error))?.get(0);
        found.extend(self.uncovered(client, &found).await?);
        self.tables
            .retain(|table| !dropped.contains(&table.table) && !found.iter().any(|(ended, _)| *ended == table.table));
        for table in &mut self.tables {
            table.leaves = leaves.remove(&table.oid).unwrap_or_default();
            if let Some(name) = named.get(&table.oid) {
                table.name = name.clone();
            }
        }
        let tables_came = self.all_tables.replace(all_tables) != Some(all_tables);
        Ok(Some(Seen { ended: found, dropped, read, tables_came }))
    }

    /// The tables whose updates the server refuses because of what the publication has of them. They are taken out of ours:
    /// whatever becomes of the copy, the source must be writable.
    async fn uncovered(&self, client: &Client, ended: &[(TableId, String)]) -> Result<Vec<(TableId, String)>, Problem> {
        let mut found: Vec<(TableId, String)> = Vec::new();
        for (table, why) in self.refused(client).await? {
            if ended.iter().chain(&found).any(|(ended, _)| *ended == table) {
                continue;
            }
            let Some(name) = self.tables.iter().find(|watched| watched.table == table).map(|watched| &watched.name)
            else {
                continue;
            };
            let sql =
                format!("ALTER PUBLICATION {} DROP TABLE ONLY {}", quote_identifier(&self.publication), quoted(name));
            if self.is_ours
                && let Err(error) = client.batch_execute(&sql).await
            {
                tracing::warn!(table.name = %name, %error, "a table that can't be updated was not taken out of the publication");
            }
            let what =
                format!("{why}, so that the server refused its updates; it is taken out of the task's publication");
            found.push((table, what));
        }
        Ok(found)
    }

    /// Which they are, and why.
    async fn refused(&self, client: &Client) -> Result<Vec<(TableId, String)>, Problem> {
        let limited = || self.tables.iter().filter_map(|table| table.limited.as_ref());
        let filtered = shape::uncovered(client, limited()).await?;
        let lacks = |column: &str| format!("its replica identity lacks column {column} of its filter");
        let mut refused: Vec<_> = filtered.iter().map(|(table, column)| (table.id, lacks(column))).collect();
        let unlisted = shape::unlisted(client, limited(), &self.settings).await?;
        let lacks = |column: &str| format!("its columns in the publication lack {column} of its replica identity");
        refused.extend(unlisted.iter().map(|(table, column)| (table.id, lacks(column))));
        let oids: Vec<u32> = self.tables.iter().map(|table| table.oid).collect();
        for (oid, why) in shape::frozen(client, &oids).await? {
            refused.extend(self.tables.iter().filter(|table| table.oid == oid).map(|table| (table.table, why.clone())));
        }
        Ok(refused)
    }

    async fn names(&self, client: &Client) -> Result<BTreeMap<u32, TableName>, Problem> {
        let oids: Vec<u32> = self.tables.iter().map(|table| table.oid).collect();
        names(client, &oids).await
    }

    /// The partitions of each table that has some.
    async fn leaves(&self, client: &Client) -> Result<BTreeMap<u32, BTreeMap<u32, Leaf>>, Problem> {
        let oids: Vec<u32> = self.tables.iter().map(|table| table.oid).collect();
        let mut leaves: BTreeMap<u32, BTreeMap<u32, Leaf>> = BTreeMap::new();
        for row in client.query(LEAVES, &[&oids]).await.map_err(|error| failed(&error))? {
            let leaf = Leaf { name: row.get(2), storage: row.get(3), uncounted: row.get(4), unlogged: row.get(5) };
            leaves.entry(row.get(0)).or_default().insert(row.get(1), leaf);
        }
        Ok(leaves)
    }
}

/// What the tables that are there are named.
pub(super) async fn names(client: &Client, oids: &[u32]) -> Result<BTreeMap<u32, TableName>, Problem> {
    let rows = client.query(NAMES, &[&oids]).await.map_err(|error| failed(&error))?;
    let name = |row: &Row| (row.get(0), TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)));
    Ok(rows.iter().map(name).collect())
}

fn failed(error: &Error) -> Problem {
    error::driver(error, "look after the followed tables")
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
        if let Some(what) = &leaf.unlogged {
            return Ok(Some(format!("its partition {} is {what}", leaf.name)));
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
