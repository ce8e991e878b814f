//! Types that were altered: the rows that have them change with that, and the log says nothing of it.
//!
//! The server keeps such rows as they are. Of a composite type it reads an attribute that came after them as NULL, and
//! none that has gone; of an enum it shows a label by its present name. An attribute has a number for life and a label an
//! OID: one that was dropped while another like it was added shows in nothing else.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;
use wavemark_domain::{Problem, TableId, TablePlan};

use crate::error;
use crate::native::{ColumnNative, Label, Qualified, TypeCategory, TypeRef};

const PARTS: &str = "\
    SELECT t.oid, ARRAY(SELECT a.attnum FROM pg_attribute a \
               WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum), \
           ARRAY(SELECT e.oid FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.oid), \
           ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.oid) \
    FROM pg_type t WHERE t.oid = ANY ($1)";

/// What a type is made of.
struct Parts {
    attributes: Vec<i16>,
    labels: BTreeMap<u32, String>,
}

/// The tables with a type that is made of other parts by now than in their plan, and what was altered. The name of a type or
/// attribute is none: rows have none of it.
pub(super) async fn altered(
    client: &Client,
    plan: impl Iterator<Item = &TablePlan>,
) -> Result<Vec<(TableId, String)>, Problem> {
    let known: Vec<(TableId, Vec<TypeRef>)> =
        plan.map(|table| (table.id, used(table))).filter(|(_, used)| !used.is_empty()).collect();
    let oids: BTreeSet<u32> = known.iter().flat_map(|(_, used)| used.iter().map(|one| one.oid)).collect();
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let now = read(client, &Vec::from_iter(oids)).await?;
    // One that is gone is told by the column that had it.
    let differs = |one: &TypeRef| now.get(&one.oid).and_then(|now| now.differ(one));
    Ok(known.iter().filter_map(|(table, used)| Some((*table, used.iter().find_map(differs)?))).collect())
}

async fn read(client: &Client, oids: &[u32]) -> Result<BTreeMap<u32, Parts>, Problem> {
    let rows = client.query(PARTS, &[&oids]).await;
    let rows = rows.map_err(|error| error::driver(&error, "look after the followed tables' types"))?;
    let parts = |row: &tokio_postgres::Row| {
        let (oids, labels): (Vec<u32>, Vec<String>) = (row.get(2), row.get(3));
        Parts { attributes: row.get(1), labels: oids.into_iter().zip(labels).collect() }
    };
    Ok(rows.iter().map(|row| (row.get(0), parts(row))).collect())
}

impl Parts {
    /// How they differ from what a plan has, if they do. Labels that came since travel with their rows.
    fn differ(&self, planned: &TypeRef) -> Option<String> {
        let Qualified { schema, name } = &planned.name;
        if planned.category == TypeCategory::Composite {
            let is_it = self.attributes == planned.numbers;
            return (!is_it).then(|| format!("attributes of its type {schema}.{name} were added or dropped"));
        }
        let is_renamed = |label: &&Label| self.labels.get(&label.oid).is_some_and(|now| *now != label.label);
        let label = planned.labels.iter().find(is_renamed)?;
        Some(format!("label {} of its type {schema}.{name} was renamed", label.label))
    }
}

/// The types of the columns that travel, and what those are made of, as far as they can be altered.
fn used(plan: &TablePlan) -> Vec<TypeRef> {
    let mut found = Vec::new();
    for planned in &plan.columns {
        if let Ok(native) = ColumnNative::of(&plan.source.columns[planned.source]) {
            collect(native.r#type, &mut found);
        }
    }
    found
}

fn collect(used: TypeRef, found: &mut Vec<TypeRef>) {
    used.inner.iter().for_each(|inner| collect(inner.as_ref().clone(), found));
    used.attributes.iter().for_each(|attribute| collect(attribute.clone(), found));
    // What a plan from before does not say, nobody knows.
    let is_known = match used.category {
        TypeCategory::Composite => used.numbers.len() == used.attributes.len(),
        TypeCategory::Enum => !used.labels.is_empty(),
        _ => false,
    };
    if is_known {
        found.push(used);
    }
}
