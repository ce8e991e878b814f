//! Alterations, other names too, of which the log says nothing, because no row was written since: seen in the catalog now and then.
//!
//! The log describes a table before the next row of it. Until that comes the target would lack a column that every row at
//! the source has, or keep values that a rewrite changed. So the catalog's description is taken as if the log had it,
//! once the log is read up to where the catalog was read: what was written with the layout before had to be committed
//! before the alteration was. A table that the log itself describes meanwhile needs no such word.

use hashbrown::HashMap;
use tokio_postgres::{Client, Row};
use wavemark_domain::{Problem, TableName};

use super::known::Known;
use super::message::{self, Heading};
use super::numbers::Numbered;
use crate::error;
use crate::wire::Lsn;

/// Columns as the log describes them and tables' names: one number for all of them.
const SHAPE: &str = "\
    SELECT coalesce(bit_xor(hashtextextended(attname || ' ' || atttypid || ' ' || atttypmod || ' ' || relname || ' ' || \
        relnamespace, attrelid::int8 * 2048 + attnum)), 0) \
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid \
    WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped AND attgenerated::text = ''";

const COLUMNS: &str = "\
    SELECT c.oid, n.nspname::text, c.relname::text, c.relreplident::text, a.attname::text, a.attnum, a.atttypid, \
        a.atttypmod, c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid \
            AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END \
            AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
    LEFT JOIN pg_publication p ON p.pubname = $2 \
    LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid \
    WHERE c.oid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated::text = '' \
        AND coalesce(a.attnum::text = ANY (string_to_array(to_jsonb(r) ->> 'prattrs', ' ')), true) \
    ORDER BY c.oid, a.attnum";

/// Every commit that a catalog read before this shows has its record before this place.
const END: &str = "\
    SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END \
        - '0/0'::pg_lsn)::int8";

/// A table as the log would describe it if a row were written now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unspoken {
    /// Once the log is read up to here, it holds.
    pub(super) from: Lsn,
    pub(super) relation: u32,
    /// A Relation message.
    pub(super) message: Vec<u8>,
}

/// Looks for tables that have other columns than the log has told of.
pub(super) struct Look {
    /// Whether a table that has another name goes on.
    follows_names: bool,
    /// What all columns were when no table had others.
    shape: Option<i64>,
}

/// A table in the catalog.
struct Described {
    name: TableName,
    columns: Vec<Numbered>,
    keys: Vec<bool>,
    /// Schema, name and replica identity.
    heading: [String; 3],
}

impl Look {
    /// Nothing was looked at yet; whether a table that has another name goes on.
    pub(super) fn following_names(follows_names: bool) -> Self {
        Self { follows_names, shape: None }
    }

    pub(super) async fn look(
        &mut self,
        client: &Client,
        publication: &str,
        known: &Known,
    ) -> Result<Vec<Unspoken>, Problem> {
        let failed = |error: tokio_postgres::Error| error::driver(&error, "look after the followed tables");
        let oids = known.oids();
        // Before the columns: what changes between the two is seen the next time.
        let shape: i64 = client.query_one(SHAPE, &[&oids]).await.map_err(failed)?.get(0);
        if self.shape == Some(shape) {
            return Ok(Vec::new());
        }
        let rows = client.query(COLUMNS, &[&oids, &publication]).await.map_err(failed)?;
        let from = end(client).await?;
        let mut described: HashMap<u32, Described> = HashMap::new();
        for row in &rows {
            described.entry(row.get(0)).or_insert_with(|| Described::begin(row)).push(row);
        }
        described.retain(|oid, table| {
            known.has_other_columns(*oid, &table.columns)
                || (self.follows_names && known.has_other_name(*oid, &table.name))
        });
        self.shape = described.is_empty().then_some(shape);
        let unspoken =
            |(relation, table): (u32, Described)| Unspoken { from, relation, message: table.message(relation) };
        Ok(described.into_iter().map(unspoken).collect())
    }
}

/// Once the log is read up to here, all is read that was committed before what the catalog showed until now.
pub(super) async fn end(client: &Client) -> Result<Lsn, Problem> {
    let end = client.query_one(END, &[]).await;
    let end = end.map_err(|error| error::driver(&error, "ask where the source's log ends"))?;
    Ok(Lsn(end.get::<_, i64>(0).cast_unsigned()))
}

impl Described {
    fn begin(row: &Row) -> Self {
        let name = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
        Self { name, columns: Vec::new(), keys: Vec::new(), heading: [row.get(1), row.get(2), row.get(3)] }
    }

    fn push(&mut self, row: &Row) {
        self.columns.push(Numbered { name: row.get(4), number: row.get(5), type_id: row.get(6), modifier: row.get(7) });
        self.keys.push(row.get(8));
    }

    fn message(&self, relation: u32) -> Vec<u8> {
        let [schema, name, identity] = &self.heading;
        let heading = Heading { relation, schema, name, identity };
        message::relation(&heading, self.columns.iter().zip(self.keys.iter().copied()))
    }
}
