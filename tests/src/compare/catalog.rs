//! Whether the target's tables have the source's shape, told from `pg_catalog` on both sides.

use std::collections::BTreeMap;

use anyhow::Result;
use tokio_postgres::Client;

use super::Pair;

/// Lines of `(what, text)` for one table. `$1` is the schema, `$2` the table; `{schema}` in a definition is taken
/// out, so that schemas with other names compare. Sequences of identity and serial columns are compared by
/// whether the next number would collide, not by name.
const FACTS: &str = r"
with t as (
    select c.oid, c.relkind, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2)
select 'column ' || attname,
       format_type(atttypid, atttypmod) || case when attnotnull then ' not null' else '' end
       || case attidentity when 'a' then ' identity always' when 'd' then ' identity by default' else '' end
       || case when attgenerated = 's' then ' generated ' else ' default ' end
       || coalesce(pg_get_expr(adbin, adrelid), 'none')
       || coalesce(' collate ' || (select collname from pg_collation l where l.oid = attcollation and collname <> 'default'), '')
from t join pg_attribute on attrelid = t.oid left join pg_attrdef on adrelid = attrelid and adnum = attnum
where attnum > 0 and not attisdropped
union all
select 'column order', string_agg(attname, ', ' order by attnum) from t join pg_attribute on attrelid = t.oid
where attnum > 0 and not attisdropped
union all
select 'constraint ' || conname, pg_get_constraintdef(o.oid) || case when convalidated then '' else ' not valid' end
from t join pg_constraint o on conrelid = t.oid where contype in ('p', 'u', 'c', 'f', 'x') and conparentid = 0
union all
select 'index ' || i.relname, pg_get_indexdef(indexrelid)
       || case when indisvalid then '' else ' invalid' end
from t join pg_index on indrelid = t.oid join pg_class i on i.oid = indexrelid
union all
select 'value type ' || format_type(y.oid, null),
       case y.typtype
           when 'e' then 'enum ' || (select string_agg(quote_literal(enumlabel), ', ' order by enumsortorder) from pg_enum where enumtypid = y.oid)
           when 'd' then 'domain over ' || format_type(typbasetype, typtypmod) || coalesce((select string_agg(' ' || pg_get_constraintdef(oid), '' order by conname) from pg_constraint where contypid = y.oid), '')
           else 'composite ' || (select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum) from pg_attribute where attrelid = y.typrelid and attnum > 0 and not attisdropped) end
from t join pg_attribute a on a.attrelid = t.oid join pg_type y on y.oid = a.atttypid
where attnum > 0 and not attisdropped and y.typtype in ('e', 'd', 'c')
union all
select 'partitioning', case relkind when 'p' then pg_get_partkeydef(oid) else 'none' end from t
";

const ORDER: &str = "column order";
const PARTITIONING: &str = "partitioning";

/// The next number that a column's sequence would give, per column.
const SEQUENCES: &str = r"
select a.attname::text, quote_ident(n.nspname) || '.' || quote_ident(s.relname)
from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S' join pg_namespace n on n.oid = s.relnamespace
join pg_class c on c.oid = d.refobjid join pg_namespace cn on cn.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum = d.refobjsubid
where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
  and cn.nspname = $1 and c.relname = $2";

/// How the shapes of tables differ, one sentence each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogDifferences {
    /// What must not be.
    pub unexpected: Vec<String>,
    /// What the documents promise: a partitioned table becomes an ordinary one, and generated columns come last.
    pub documented: Vec<String>,
}

/// Compares all but sequences, for which there is [`sequences`].
///
/// # Errors
/// A statement fails.
pub async fn differences(source: &Client, target: &Client, pairs: &[Pair]) -> Result<CatalogDifferences> {
    let mut all = CatalogDifferences::default();
    for pair in pairs {
        let (mut left, right) = (facts(source, &pair.source).await?, facts(target, &pair.target).await?);
        let name = format!("{}.{}", pair.source.0, pair.source.1);
        all.documented.extend(documented(&mut left, &right).into_iter().map(|line| format!("{name} {line}")));
        let found = &mut all.unexpected;
        for (what, text) in &left {
            match right.get(what) {
                None => found.push(format!("{name}: the target has no {what} ({text})")),
                Some(other) if other != text => found.push(format!("{name}: {what} is {text} / {other} in the target")),
                Some(_) => {}
            }
        }
        let extra = right.iter().filter(|(what, _)| !left.contains_key(*what));
        found.extend(extra.map(|(what, text)| format!("{name}: the source has no {what} ({text})")));
    }
    Ok(all)
}

/// Rewrites the source's facts to what the documents say that the target has instead, and tells where it did.
fn documented(source: &mut Facts, target: &Facts) -> Vec<&'static str> {
    let mut lines = Vec::new();
    let becomes_plain = target.get(PARTITIONING).is_some_and(|text| text == "none");
    if becomes_plain && source.get(PARTITIONING).is_some_and(|text| text != "none") {
        source.insert(PARTITIONING.to_owned(), "none".to_owned());
        for (_, text) in source.iter_mut().filter(|(what, _)| what.starts_with("index ")) {
            *text = text.replace(" ON ONLY ", " ON ");
        }
        lines.push("is partitioned in the source, and an ordinary table in the target");
    }
    let last = generated_last(source);
    if source.get(ORDER) != Some(&last) && target.get(ORDER) == Some(&last) {
        source.insert(ORDER.to_owned(), last);
        lines.push("has its generated columns last in the target");
    }
    lines
}

/// The order of columns with the generated ones moved to the end.
fn generated_last(facts: &Facts) -> String {
    let names = facts.get(ORDER).map(String::as_str).unwrap_or_default().split(", ");
    let is_generated =
        |name: &&str| facts.get(&format!("column {name}")).is_some_and(|text| text.contains(" generated "));
    let (generated, others): (Vec<_>, Vec<_>) = names.partition(is_generated);
    [others, generated].concat().join(", ")
}

/// Sequences of the target that would give a number which the source has given already.
///
/// # Errors
/// A statement fails.
pub async fn sequences(source: &Client, target: &Client, pairs: &[Pair]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for pair in pairs {
        let (left, right) = (last_values(source, &pair.source).await?, last_values(target, &pair.target).await?);
        for (column, last) in left {
            let copied = right.get(&column).copied().flatten();
            if last.is_some() && copied < last {
                let name = &pair.source.1;
                found.push(format!("{name}.{column}: the sequence stands at {last:?}, in the target at {copied:?}"));
            }
        }
    }
    Ok(found)
}

/// What there is, and how it is.
type Facts = BTreeMap<String, String>;

async fn facts(client: &Client, (schema, table): &(String, String)) -> Result<Facts> {
    client.batch_execute("set search_path = ''").await?;
    let prefixes = [format!("{schema}."), format!("\"{schema}\".")];
    let rows = client.query(FACTS, &[schema, table]).await?;
    let bare = |text: Option<String>| {
        prefixes.iter().fold(text.unwrap_or_default(), |text, prefix| text.replace(prefix.as_str(), ""))
    };
    Ok(rows.into_iter().map(|row| (bare(row.get(0)), bare(row.get(1)))).collect())
}

async fn last_values(client: &Client, (schema, table): &(String, String)) -> Result<BTreeMap<String, Option<i64>>> {
    let mut values = BTreeMap::new();
    for row in client.query(SEQUENCES, &[schema, table]).await? {
        let sql = format!("select case when is_called then last_value else null end from {}", row.get::<_, &str>(1));
        values.insert(row.get(0), client.query_one(&sql, &[]).await?.get(0));
    }
    Ok(values)
}
