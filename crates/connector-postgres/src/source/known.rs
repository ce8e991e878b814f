//! What is known of followed tables beyond what the log says: the numbers of their columns, and what their rows are stored
//! in. When the layout of one changes this tells whether its rows were rewritten with that.
//!
//! What rows are stored in is only taken as known while the catalog describes the columns as the plan does: a change of
//! layout whose place in the log is not reached yet may have rewritten them.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde_json::Value;
use tokio_postgres::{Client, Row};
use wavemark_domain::catalog::{Column, Table, TableKind};
use wavemark_domain::{Problem, TableId, TableName, TablePlan};

use super::layout::changed;
use super::numbers::Numbered;
use super::relayout::Next;
use crate::error;
use crate::native::{ColumnNative, TableNative};

const STORAGES: &str = "\
    SELECT r.oid, r.relnatts, c.oid, c.relfilenode FROM pg_class r LEFT JOIN LATERAL \
        (SELECT r.oid WHERE r.relkind <> 'p' UNION ALL \
         SELECT p.relid FROM pg_partition_tree(r.oid) p WHERE r.relkind = 'p' AND p.isleaf) AS leaf (oid) ON true \
    LEFT JOIN pg_class c ON c.oid = leaf.oid AND c.relkind = 'r' WHERE r.oid = ANY ($1)";

const COLUMNS: &str = "\
    SELECT attrelid, attname::text, attnum, atttypid, atttypmod FROM pg_attribute \
    WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped AND attgenerated::text = ''";

/// File nodes of what a table's rows are stored in, by OID.
pub(super) type Storage = BTreeMap<u32, u32>;

/// What is known of each followed table.
pub(super) struct Known {
    tables: Vec<KnownTable>,
}

struct KnownTable {
    oid: u32,
    plan: TablePlan,
    /// The columns of the newest Relation message that was not as the plan.
    columns: Option<Vec<Numbered>>,
    /// How many columns it ever had.
    attributes: i16,
    /// None if it is not known as of the plan.
    storage: Option<Storage>,
}

/// Columns as they are now, by their table.
type Columns = HashMap<u32, Vec<Numbered>>;

impl Known {
    /// Takes the first look. Gives the tables with a column that was dropped and added again, too: Relation messages
    /// look the same.
    pub(super) async fn begin(client: &Client, plan: &[TablePlan]) -> Result<(Self, Vec<(TableId, Problem)>), Problem> {
        let followed = plan.iter().filter(|table| table.source.kind != TableKind::View);
        let mut tables = Vec::new();
        for table in followed {
            let oid = super::follow::oid(table)?;
            tables.push(KnownTable { oid, plan: table.clone(), columns: None, attributes: 0, storage: noted(table) });
        }
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let (storages, columns) = (storages(client, &oids).await?, columns(client, &oids).await?);
        let mut doubtful = Vec::new();
        for table in &mut tables {
            let now = columns.get(&table.oid).map_or(&[][..], Vec::as_slice);
            if let Some(how) = table.added_again(now) {
                doubtful.push((table.plan.id, changed(table.plan.name(), &how)));
            }
            if let Some((attributes, storage)) = storages.get(&table.oid) {
                table.attributes = *attributes;
                table.storage = if table.has(now) { Some(storage.clone()) } else { table.storage.take() };
            }
        }
        Ok((Self { tables }, doubtful))
    }

    /// Looks again: tables of which Relation messages won't tell what happened to them, and what.
    pub(super) async fn look(&mut self, client: &Client) -> Result<Vec<(TableId, Problem)>, Problem> {
        let oids: Vec<u32> = self.tables.iter().map(|table| table.oid).collect();
        let storages = storages(client, &oids).await?;
        let news = |table: &&KnownTable| {
            storages.get(&table.oid).is_some_and(|(attributes, storage)| {
                table.attributes != *attributes || table.storage.as_ref() != Some(storage)
            })
        };
        let oids: Vec<u32> = self.tables.iter().filter(news).map(|table| table.oid).collect();
        if oids.is_empty() {
            return Ok(Vec::new());
        }
        let columns = columns(client, &oids).await?;
        let mut found = Vec::new();
        for table in self.tables.iter_mut().filter(|table| oids.contains(&table.oid)) {
            let now = columns.get(&table.oid).map_or(&[][..], Vec::as_slice);
            if let Some(how) = table.added_again(now) {
                found.push((table.plan.id, changed(table.plan.name(), &how)));
            } else if let Some((attributes, storage)) = storages.get(&table.oid).filter(|_| table.has(now)) {
                table.attributes = *attributes;
                table.storage = Some(storage.clone());
            }
        }
        Ok(found)
    }

    /// Forgets a table of which nothing comes any more.
    pub(super) fn end(&mut self, table: TableId) {
        self.tables.retain(|known| known.plan.id != table);
    }

    pub(super) fn oids(&self) -> Vec<u32> {
        self.tables.iter().map(|table| table.oid).collect()
    }

    /// The tables as they are followed.
    pub(super) fn plans(&self) -> impl Iterator<Item = &TablePlan> {
        self.tables.iter().map(|table| &table.plan)
    }

    /// Whether these are other columns than those of the table's newest message, or of its plan if there was none.
    pub(super) fn has_other_columns(&self, oid: u32, now: &[Numbered]) -> bool {
        let known = self.tables.iter().find(|known| known.oid == oid);
        known.is_some_and(|known| match &known.columns {
            Some(columns) => columns != now,
            None => !known.fits(now),
        })
    }

    /// Whether the table is named otherwise than in its plan.
    pub(super) fn has_other_name(&self, oid: u32, now: &TableName) -> bool {
        self.tables.iter().any(|known| known.oid == oid && known.plan.name() != now)
    }

    /// A table's plan, and the columns of its newest message if they are others.
    pub(super) fn plan(&self, table: TableId) -> Option<(&TablePlan, Option<&[Numbered]>)> {
        let known = self.tables.iter().find(|known| known.plan.id == table)?;
        Some((&known.plan, known.columns.as_deref()))
    }

    /// Whether a table's rows may have been rewritten since they were as planned.
    pub(super) fn is_rewritten(&self, table: TableId, now: &Storage) -> bool {
        let known = self.tables.iter().find(|known| known.plan.id == table);
        let before = known.and_then(|known| known.storage.as_ref());
        before.is_none_or(|before| before.iter().any(|(oid, node)| now.get(oid).is_some_and(|now| now != node)))
    }

    /// What becomes of a table from here on; with what its rows are stored in.
    pub(super) fn take_up(&mut self, table: TableId, next: &Next, storage: &Storage) {
        for known in self.tables.iter_mut().filter(|known| known.plan.id == table) {
            if let Some(relayout) = &next.relayout {
                known.plan = relayout.plan.clone();
            }
            known.columns = Some(next.columns.clone());
            if next.is_newest {
                known.storage = Some(storage.clone());
            }
        }
    }
}

impl KnownTable {
    /// A column that was dropped and added again under its name and with its type.
    fn added_again(&self, now: &[Numbered]) -> Option<String> {
        let again = self.plan.columns.iter().find_map(|column| {
            let column = &self.plan.source.columns[column.source];
            let number = ColumnNative::of(column).map(|native| native.attnum).ok()?;
            let is_gone = !now.iter().any(|one| one.number == number);
            (is_gone && now.iter().any(|one| one.name == column.name)).then_some(&column.name)
        });
        again.map(|name| format!("column {name} was dropped and added again"))
    }

    /// Whether these are the columns of the plan's table.
    fn has(&self, now: &[Numbered]) -> bool {
        let mut planned = self.plan.source.columns.iter().filter(|column| !column.generated);
        planned.clone().count() == now.len() && planned.all(|column| is_among(column, now))
    }

    /// Whether rows with these columns are rows of the plan: those that travel are there, and none is new.
    fn fits(&self, now: &[Numbered]) -> bool {
        let columns = &self.plan.source.columns;
        let is_planned = |one: &Numbered| {
            columns.iter().any(|column| Numbered::of(column).is_ok_and(|planned| planned.number == one.number))
        };
        self.plan.columns.iter().all(|column| is_among(&columns[column.source], now)) && now.iter().all(is_planned)
    }
}

fn is_among(column: &Column, now: &[Numbered]) -> bool {
    Numbered::of(column).is_ok_and(|column| now.contains(&column))
}

/// A table as its rows in the target have it: its columns and what they were stored in are those of then. Where another
/// table has its name by now nothing of that counts.
pub(super) fn as_kept(kept: &Table, storage: &str, now: &Table) -> Table {
    let mut native = now.native.clone();
    let mut is_another = false;
    if let (Value::Object(native), Value::Object(kept)) = (&mut native, &kept.native) {
        let storage = if storage.is_empty() { kept.get("storage").cloned() } else { Some(storage.into()) };
        is_another = kept.get("oid").is_some_and(|oid| native.get("oid") != Some(oid));
        if is_another {
            native.clone_from(kept);
        }
        native.extend(storage.map(|storage| ("storage".to_owned(), storage)));
    }
    let like = if is_another { kept } else { now };
    Table { name: now.name.clone(), columns: kept.columns.clone(), key: kept.key.clone(), native, ..like.clone() }
}

/// What was noted with the rows.
fn noted(table: &TablePlan) -> Option<Storage> {
    let native = TableNative::of(&table.source).ok()?;
    let leaves: Vec<(u32, u32)> = serde_json::from_str(&native.storage).ok()?;
    (!leaves.is_empty()).then(|| leaves.into_iter().collect())
}

/// How many columns each table ever had, and what its rows are stored in: itself or its partitions.
pub(super) async fn storages(client: &Client, oids: &[u32]) -> Result<HashMap<u32, (i16, Storage)>, Problem> {
    let mut found: HashMap<u32, (i16, Storage)> = HashMap::new();
    for row in client.query(STORAGES, &[&oids]).await.map_err(|error| failed(&error))? {
        let (_, storage) = found.entry(row.get(0)).or_insert_with(|| (row.get(1), Storage::new()));
        if let (Some(oid), Some(node)) = (row.get(2), row.get(3)) {
            storage.insert(oid, node);
        }
    }
    Ok(found)
}

async fn columns(client: &Client, oids: &[u32]) -> Result<Columns, Problem> {
    let mut found = Columns::new();
    let column =
        |row: &Row| Numbered { name: row.get(1), number: row.get(2), type_id: row.get(3), modifier: row.get(4) };
    for row in client.query(COLUMNS, &[&oids]).await.map_err(|error| failed(&error))? {
        found.entry(row.get(0)).or_default().push(column(&row));
    }
    Ok(found)
}

fn failed(error: &tokio_postgres::Error) -> Problem {
    error::driver(error, "look after the followed tables")
}
