//! A table cut into ranges of `ctid`, each of which is read in a transaction of its own.

use tokio_postgres::Client;
use wavemark_domain::{Fault, Problem, TableName};

use crate::error;
use crate::wire::quote_identifier;

/// Bytes of a piece. Small, so that sessions that read at different speeds end together.
const PIECE: u64 = 16 << 20;

/// A range of blocks of one table with storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) oid: u32,
    /// Quoted and qualified.
    pub(super) leaf: String,
    from: u64,
    to: Option<u64>,
}

impl Piece {
    /// The condition that holds for its rows.
    pub(super) fn condition(&self) -> String {
        let to = self.to.map_or_else(String::new, |to| format!(" AND ctid < '({to},0)'::tid"));
        format!("ctid >= '({},0)'::tid{to}", self.from)
    }
}

const RELATION: &str = "\
    SELECT c.oid, a.attname::text, format_type(a.atttypid, a.atttypmod) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    WHERE n.nspname = $1 AND c.relname = $2";

const LEAVES: &str = "\
    WITH RECURSIVE tree(oid) AS ( \
        SELECT $1::oid UNION ALL \
        SELECT i.inhrelid FROM tree JOIN pg_class p ON p.oid = tree.oid AND p.relkind = 'p' \
        JOIN pg_inherits i ON i.inhparent = tree.oid \
          AND NOT coalesce((to_jsonb(i) ->> 'inhdetachpending')::bool, false)) \
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, \
        coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::int8, \
        current_setting('block_size')::int8 \
    FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind <> 'p' ORDER BY c.oid";

/// The table's number, and what is made of each of the columns that are expected, by their names and types at the source;
/// `fit` is given the number of one of them and the type that it has here.
pub(super) async fn relation<F>(
    client: &Client,
    table: &TableName,
    expected: &[(String, String)],
    fit: impl Fn(usize, &str) -> Option<F>,
) -> Result<(u32, Vec<F>), Problem> {
    let rows = client
        .query(RELATION, &[&table.schema, &table.table])
        .await
        .map_err(|error| error::driver(&error, &format!("look at table {table}")).table(table))?;
    let unfit = |what: String| {
        let text = format!("Table {table} does not have the layout that the task's plan was made for: {what}.");
        Problem::new(Fault::Data, "table-changed", text).table(table)
    };
    let oid = rows.first().map(|row| row.get::<_, u32>(0)).ok_or_else(|| unfit("it is not there".to_owned()))?;
    let mut fits = Vec::with_capacity(expected.len());
    for (at, (name, declared)) in expected.iter().enumerate() {
        let found = rows.iter().find(|row| row.get::<_, Option<&str>>(1) == Some(name.as_str()));
        match found.and_then(|row| row.get::<_, Option<&str>>(2)) {
            Some(now) => match fit(at, now) {
                Some(fit) => fits.push(fit),
                None => return Err(unfit(format!("its column {name} is {now} instead of {declared}"))),
            },
            None => return Err(unfit(format!("it has no column {name}"))),
        }
    }
    Ok((oid, fits))
}

/// Cuts a table and its partitions.
pub(super) async fn cut(client: &Client, table: &TableName, oid: u32) -> Result<Vec<Piece>, Problem> {
    let rows = client
        .query(LEAVES, &[&oid])
        .await
        .map_err(|error| error::driver(&error, &format!("look at table {table}")).table(table))?;
    let mut pieces = Vec::new();
    for row in rows {
        let (oid, schema, name, kind): (u32, &str, &str, &str) = (row.get(0), row.get(1), row.get(2), row.get(3));
        if kind != "r" {
            let text = format!("{schema}.{name}, of table {table}, has no storage of its own that could be read.");
            return Err(Problem::new(Fault::Data, "foreign-partition", text).table(table));
        }
        let leaf = format!("{}.{}", quote_identifier(schema), quote_identifier(name));
        let (blocks, size): (i64, i64) = (row.get(4), row.get(5));
        let step = PIECE / size.unsigned_abs().max(1);
        pieces.extend(split(blocks.unsigned_abs(), step).map(|(from, to)| Piece { oid, leaf: leaf.clone(), from, to }));
    }
    Ok(pieces)
}

/// Ranges that meet; the last is open.
fn split(blocks: u64, step: u64) -> impl Iterator<Item = (u64, Option<u64>)> {
    let step = step.max(1);
    let count = blocks.div_ceil(step).max(1);
    (0..count).map(move |at| (at * step, (at + 1 < count).then_some((at + 1) * step)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_and_the_last_is_open() {
        assert_eq!(split(5, 2).collect::<Vec<_>>(), [(0, Some(2)), (2, Some(4)), (4, None)]);
        assert_eq!(split(4, 2).collect::<Vec<_>>(), [(0, Some(2)), (2, None)]);
        assert_eq!(split(0, 2).collect::<Vec<_>>(), [(0, None)]);
    }
}
