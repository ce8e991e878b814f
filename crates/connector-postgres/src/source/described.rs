//! A table whose layout changed, as the catalog describes it now: all at one moment.

use std::collections::BTreeMap;

use tokio_postgres::{Client, IsolationLevel, Row};
use wavemark_domain::Problem;

use super::relayout::{Attribute, Present, Storage};
use crate::{discover, error};

const ATTRIBUTES: &str = "\
    SELECT attnum, attname::text, attisdropped, attgenerated::text <> '', atttypid, atttypmod FROM pg_attribute \
    WHERE attrelid = $1 AND attnum > 0 ORDER BY attnum";

/// What its rows are stored in: the table itself, or its partitions.
const LEAVES: &str = "\
    SELECT c.oid, c.relfilenode FROM pg_class r CROSS JOIN LATERAL \
        (SELECT r.oid WHERE r.relkind <> 'p' UNION ALL \
         SELECT p.relid FROM pg_partition_tree(r.oid) p WHERE r.relkind = 'p' AND p.isleaf) AS leaf (oid) \
    JOIN pg_class c ON c.oid = leaf.oid WHERE r.oid = $1 AND c.relkind = 'r'";

/// What rows have in columns that were added after them. The server keeps it in an array of one element.
const MISSING: &str = "\
    SELECT attname::text, array_to_string(attmissingval, '') FROM pg_attribute \
    WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped AND atthasmissing";

/// The table with this OID, if it is there.
pub(super) async fn present(client: &mut Client, oid: u32) -> Result<Option<Present>, Problem> {
    let failed = |error: tokio_postgres::Error| error::driver(&error, "look up a table that was changed");
    let begin = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = begin.start().await.map_err(failed)?;
    let client = transaction.client();
    let Some(table) = discover::table(client, oid).await? else { return Ok(None) };
    let rows = client.query(ATTRIBUTES, &[&oid]).await.map_err(failed)?;
    let attributes: Vec<Attribute> = rows.iter().map(attribute).collect();
    let leaves = client.query(LEAVES, &[&oid]).await.map_err(failed)?;
    let storage: Storage = leaves.iter().map(|row| (row.get(0), row.get(1))).collect();
    let leaves: Vec<u32> = storage.keys().copied().collect();
    let rows = client.query(MISSING, &[&leaves]).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(Some(Present { table, missing: missing(&rows, &attributes), attributes, storage }))
}

fn attribute(row: &Row) -> Attribute {
    Attribute {
        number: row.get(0),
        name: row.get(1),
        is_dropped: row.get(2),
        is_generated: row.get(3),
        type_id: row.get(4),
        modifier: row.get(5),
    }
}

/// Partitions have numbers of their own for the same columns: the names tell.
fn missing(rows: &[Row], attributes: &[Attribute]) -> BTreeMap<i16, Option<String>> {
    let mut missing: BTreeMap<i16, Option<String>> = BTreeMap::new();
    for row in rows {
        let (name, value): (&str, Option<String>) = (row.get(0), row.get(1));
        let Some(attribute) = attributes.iter().find(|one| !one.is_dropped && one.name == name) else { continue };
        let of_all = missing.entry(attribute.number).or_insert_with(|| value.clone());
        if *of_all != value {
            *of_all = None;
        }
    }
    missing
}
