//! What a publication has of each table: its rows and columns. Compared with what the plan says, for what somebody else made
//! of it would be missed in silence; and with the replica identity, for the server refuses updates of a table whose
//! filter looks at other columns.

use hashbrown::HashMap;
use serde_json::Value;
use tokio_postgres::Client;
use wavemark_domain::layout::ColumnPolicy;
use wavemark_domain::task::{PublishedColumns, TaskSettings};
use wavemark_domain::{Column, Fault, Problem, TableName, TablePlan};

use super::names::quoted;
use super::rows;
use crate::error;
use crate::native::{ColumnNative, TableNative};

/// The version from which publications have row filters and column lists.
pub(crate) const LEAST_VERSION: i32 = 150_000;

const SHAPES: &str = "\
    SELECT r.prrelid, r.oid, pg_get_expr(r.prqual, r.prrelid), r.prattrs::int2[] \
    FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid JOIN pg_class c ON c.oid = r.prrelid \
    WHERE p.pubname = $1 AND NOT EXISTS ( \
        SELECT FROM pg_publication_namespace n WHERE n.pnpubid = p.oid AND n.pnnspid = c.relnamespace)";

/// Which columns of which tables (or of their partitions) are not in the replica identity.
const UNCOVERED: &str = "\
    SELECT n.root, n.name FROM unnest($1::oid[], $2::text[]) AS n (root, name) \
    CROSS JOIN LATERAL (SELECT n.root UNION SELECT relid FROM pg_partition_tree(n.root)) AS t (oid) \
    JOIN pg_class c ON c.oid = t.oid AND c.relkind = 'r' AND c.relreplident <> 'f' \
    JOIN pg_attribute there ON there.attrelid = c.oid AND there.attname = n.name AND NOT there.attisdropped \
    WHERE NOT EXISTS ( \
        SELECT FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, at) \
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.at <= i.indnkeyatts \
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate AND a.attname = n.name \
          AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)";

/// Columns of replica identities, of tables or of their partitions, that are not in the tables' lists; a whole row is none.
const UNLISTED: &str = "\
    WITH listed AS (SELECT * FROM unnest($1::oid[], $2::text[]) AS n (root, name)) \
    SELECT r.root, coalesce(a.attname::text, 'of the whole row') FROM (SELECT DISTINCT root FROM listed) AS r \
    CROSS JOIN LATERAL (SELECT r.root UNION SELECT relid FROM pg_partition_tree(r.root)) AS t (oid) \
    JOIN pg_class c ON c.oid = t.oid AND c.relkind = 'r' \
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND c.relreplident <> 'f' \
        AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END \
    LEFT JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, at) ON k.at <= i.indnkeyatts \
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number \
    WHERE c.relreplident = 'f' OR (a.attname IS NOT NULL \
        AND NOT EXISTS (SELECT FROM listed l WHERE l.root = r.root AND l.name = a.attname))";

/// The columns of a table that are listed where it is published; `None` where it is published with all. With replica
/// identity full the server would refuse the updates of a table with a list.
pub(super) fn listed<'a>(table: &'a TablePlan, settings: &TaskSettings) -> Option<Vec<&'a Column>> {
    let may = settings.published_columns == PublishedColumns::Mapped && settings.added_columns == ColumnPolicy::Ignore;
    let native = TableNative::of(&table.source).ok()?;
    let plain = table.source.columns.iter().filter(|column| !column.generated).count();
    (may && native.replica_identity != "f" && table.columns.len() < plain)
        .then(|| table.columns.iter().map(|column| &table.source.columns[column.source]).collect())
}

/// Tables that have, or of which a partition has, no replica identity, or (from version 18 on) whole old rows in the log and
/// generated columns.
const UPDATES_REFUSED: &str = "\
    WITH t AS (SELECT n.root, c.oid, c.relreplident AS named_by FROM unnest($1::oid[]) AS n (root) \
        CROSS JOIN LATERAL (SELECT n.root UNION SELECT relid FROM pg_partition_tree(n.root)) AS tree (oid) \
        JOIN pg_class c ON c.oid = tree.oid AND c.relkind = 'r') \
    SELECT t.root, 'its replica identity is full and it has generated columns' FROM t \
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attgenerated::text <> '' AND NOT a.attisdropped \
    WHERE t.named_by = 'f' AND current_setting('server_version_num')::int4 >= 180000 \
    UNION \
    SELECT t.root, CASE t.oid WHEN t.root THEN 'it has no replica identity any more' \
        ELSE format('its partition %s has no replica identity', t.oid::regclass) END \
    FROM t WHERE t.named_by <> 'f' AND NOT EXISTS ( \
        SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisvalid AND i.indimmediate \
          AND CASE t.named_by WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END)";

/// What a publication has of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// The number of its entry: another once it was taken out and put in again. None if it is there with a whole schema
    /// or with all tables.
    entry: Option<u32>,
    /// The condition on its rows, as the server writes it.
    rows: Option<String>,
    /// The numbers of its columns, where they are listed.
    columns: Option<Vec<i16>>,
}

/// By the tables' OIDs. Those that are published whole may be missing.
pub(super) type Shapes = HashMap<u32, Shape>;

/// Reads what a publication has of its tables.
pub(super) async fn read(client: &Client, publication: &str) -> Result<Shapes, Problem> {
    let failed =
        |error: tokio_postgres::Error| error::driver(&error, &format!("look up the publication {publication}"));
    if version(client).await? < LEAST_VERSION {
        return Ok(Shapes::new());
    }
    let rows = client.query(SHAPES, &[&publication]).await.map_err(failed)?;
    let shape = |row: &tokio_postgres::Row| Shape { entry: row.get(1), rows: row.get(2), columns: row.get(3) };
    Ok(rows.iter().map(|row| (row.get(0), shape(row))).collect())
}

impl Shape {
    /// What of it is not as the plan says.
    pub(super) async fn differs(
        &self,
        client: &Client,
        table: &TablePlan,
        settings: &TaskSettings,
    ) -> Result<Option<&'static str>, Problem> {
        if let Some(columns) = &self.columns {
            // More than travel do no harm, but one that is added would be missed unless that is wanted.
            let number = |column: &&Column| ColumnNative::of(column).map(|native| native.attnum).unwrap_or_default();
            let fits = listed(table, settings)
                .is_some_and(|listed| listed.iter().map(number).all(|number| columns.contains(&number)));
            if !fits {
                return Ok(Some("its publication has not all of its columns"));
            }
        }
        match (rows::condition(table), &self.rows) {
            (None, None) => Ok(None),
            (None, Some(_)) => Ok(Some("its publication has not all of its rows")),
            (Some(_), None) => Ok(Some("its publication has all of its rows, and not those of the task's filter")),
            (Some(ours), Some(theirs)) => {
                let same = is_same(client, table, &ours, theirs).await?;
                Ok((!same).then_some("its publication has other rows than those of the task's filter"))
            }
        }
    }
}

impl Shape {
    /// Whether all columns come although those that travel could be listed.
    pub(super) fn is_wider(&self, table: &TablePlan, settings: &TaskSettings) -> bool {
        self.columns.is_none() && listed(table, settings).is_some()
    }
}

/// Whether two conditions are one to the server: it writes both in one form. Nothing is executed. A table or column that is
/// named otherwise by now, or gone, makes them differ: the mapping means what was there.
async fn is_same(client: &Client, table: &TablePlan, ours: &str, theirs: &str) -> Result<bool, Problem> {
    let sql = format!(
        "EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT ({ours}), ({theirs}) FROM ONLY {}",
        quoted(table.name())
    );
    let plan: Value = match client.query_one(&sql, &[]).await {
        Ok(row) => row.get(0),
        Err(error) => {
            let doing = format!("compare the row filter of table {}", table.name());
            let problem = error::driver(&error, &doing).table(table.name());
            return if problem.fault == Fault::Data { Ok(false) } else { Err(problem) };
        }
    };
    let output = plan[0]["Plan"]["Output"].as_array();
    Ok(output.is_some_and(|output| matches!(&output[..], [ours, theirs] if ours == theirs)))
}

/// The tables of whose filter a column is not in the replica identity, or in that of a partition, and that column.
pub(crate) async fn uncovered<'a>(
    client: &Client,
    plan: impl IntoIterator<Item = &'a TablePlan>,
) -> Result<Vec<(&'a TablePlan, String)>, Problem> {
    let (mut tables, mut oids, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for table in plan {
        let Some(filter) = &table.rows else { continue };
        let oid = super::follow::oid(table)?;
        for column in filter.columns() {
            oids.push(oid);
            names.push(column);
        }
        tables.push((oid, table));
    }
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let found = client
        .query(UNCOVERED, &[&oids, &names])
        .await
        .map_err(|error| error::driver(&error, "look up replica identities"))?;
    let column = |oid: u32| found.iter().find(|row| row.get::<_, u32>(0) == oid).map(|row| row.get(1));
    Ok(tables.into_iter().filter_map(|(oid, table)| Some((table, column(oid)?))).collect())
}

/// The tables whose list lacks a column of the replica identity, or of that of a partition, and that column.
pub(super) async fn unlisted<'a>(
    client: &Client,
    plan: impl IntoIterator<Item = &'a TablePlan>,
    settings: &TaskSettings,
) -> Result<Vec<(&'a TablePlan, String)>, Problem> {
    let (mut tables, mut oids, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for table in plan {
        let Some(listed) = listed(table, settings) else { continue };
        oids.extend(listed.iter().map(|_| oid(table)));
        names.extend(listed.iter().map(|column| column.name.as_str()));
        tables.push(table);
    }
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let found = client
        .query(UNLISTED, &[&oids, &names])
        .await
        .map_err(|error| error::driver(&error, "look up replica identities"))?;
    let column = |table: &TablePlan| found.iter().find(|row| row.get::<_, u32>(0) == oid(table)).map(|row| row.get(1));
    Ok(tables.into_iter().filter_map(|table| Some((table, column(table)?))).collect())
}

/// Those of these tables, by their OIDs, whose updates the server refuses as long as they are published, and why.
pub(super) async fn frozen(client: &Client, oids: &[u32]) -> Result<Vec<(u32, String)>, Problem> {
    let rows = client.query(UPDATES_REFUSED, &[&oids]).await;
    let rows = rows.map_err(|error| error::driver(&error, "look up replica identities"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The problem of a table with whole old rows and generated columns.
pub(super) fn updates_refused(table: &TableName) -> Problem {
    let text = format!(
        "{table} can't be followed: its replica identity is full and it has generated columns, so that from version 18 on the \
         server would refuse every update and delete of it."
    );
    Problem::new(Fault::Data, "table-refused", text).table(table).advice(format!(
        "Let it be named by its key: ALTER TABLE {} REPLICA IDENTITY DEFAULT (or USING INDEX …), or load it with a full-load \
         task.",
        quoted(table)
    ))
}

/// Refuses what would make the server refuse the updates of a table, and what it can't filter.
pub(super) async fn check(client: &Client, plan: &[TablePlan], settings: &TaskSettings) -> Result<(), Problem> {
    let filtered = plan.iter().find(|table| table.rows.is_some());
    let is_listed = plan.iter().any(|table| listed(table, settings).is_some());
    if filtered.is_none() && !is_listed {
        return Ok(());
    }
    let version = version(client).await?;
    if version < LEAST_VERSION {
        return Err(filtered.map_or_else(|| too_old_to_list(version), |table| too_old(table, version)));
    }
    if let Some((table, column)) = unlisted(client, plan, settings).await?.first() {
        return Err(not_listed(table, column));
    }
    match uncovered(client, plan).await?.first() {
        Some((table, column)) => Err(Problem { fault: Fault::Settings, ..rows::uncovered(&table.source, column) }),
        None => Ok(()),
    }
}

/// The problem of a server that has no row filters.
pub(crate) fn too_old(table: &TablePlan, version: i32) -> Problem {
    let text = format!(
        "The rows of {} can't be filtered while it is followed: the source has version {}, and its log is filtered from \
         version 15 on.",
        table.name(),
        version / 10_000
    );
    Problem::new(Fault::Settings, "row-filter-version", text)
        .advice("Take the filter out of the mapping, or load the table with a full-load task.")
        .table(table.name())
}

fn too_old_to_list(version: i32) -> Problem {
    let text = format!(
        "The source has version {}: it sends mapped columns alone (published_columns) from version 15 on.",
        version / 10_000
    );
    Problem::new(Fault::Settings, "column-list-version", text).advice("Set published_columns to all.")
}

fn not_listed(table: &TablePlan, column: &str) -> Problem {
    let text = format!(
        "The columns of {} can't be listed in the publication: column {column} of its replica identity, or of that of a \
         partition, is not among them, so that the server would refuse every update and delete of the table.",
        table.name()
    );
    Problem::new(Fault::Settings, "column-list-identity", text)
        .advice("Set published_columns to all, or give all partitions the table's own key as identity.")
        .table(table.name())
}

async fn version(client: &Client) -> Result<i32, Problem> {
    let row = client.query_one("SELECT current_setting('server_version_num')::int4", &[]).await;
    row.map(|row| row.get(0)).map_err(|error| error::driver(&error, "ask for the source's version"))
}

/// The OID of a planned table; 0 if it can't be read, which no table has.
pub(super) fn oid(table: &TablePlan) -> u32 {
    TableNative::of(&table.source).map_or(0, |native| native.oid)
}
