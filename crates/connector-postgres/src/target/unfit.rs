//! Values that have no place in their column, as the plan has them altered; and how many there were, in `wavemark.unfit`.

use tokio_postgres::GenericClient;
use uuid::Uuid;
use wavemark_connector::unfit::{Column, Counted, Fit, Fitting, Tally};
use wavemark_domain::{ColumnPlan, TableName, TablePlan, UnfitCount, UnfitPolicy};

use super::canonical::Canonical;
use super::clamp;
use super::table::{Rewrite, TargetColumn};

/// A column whose values may be altered.
#[derive(Clone, Debug)]
pub(crate) struct Altered {
    way: UnfitPolicy,
    takes_null: bool,
    content: Content,
}

/// What values are.
#[derive(Clone, Copy, Debug)]
enum Content {
    Rewritten(Canonical),
    /// The server has no zero character in a text.
    Text,
    Other,
}

impl Column for Altered {
    fn way(&self) -> UnfitPolicy {
        self.way
    }

    fn fit(&self, value: &[u8], scratch: &mut Vec<u8>) -> Fit {
        if self.has_place_for(value, scratch) {
            return Fit::AsItIs;
        }
        match self.way {
            UnfitPolicy::Null if self.takes_null => Fit::Null,
            UnfitPolicy::Clamp => self.nearest(value, scratch).map_or(Fit::AsItIs, Fit::Other),
            _ => Fit::AsItIs,
        }
    }
}

impl Altered {
    fn has_place_for(&self, value: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        match self.content {
            Content::Rewritten(Canonical::Json) if has_zero_escape(value) => false,
            Content::Rewritten(canonical) => canonical.write(value, scratch).is_ok(),
            Content::Text => !value.contains(&0),
            Content::Other => true,
        }
    }

    fn nearest(&self, value: &[u8], scratch: &mut Vec<u8>) -> Option<Vec<u8>> {
        let Content::Rewritten(canonical) = self.content else { return None };
        clamp::nearest(canonical, value).filter(|nearest| self.has_place_for(nearest, scratch))
    }
}

/// Whether a JSON text has `\u0000`, which is a zero character in a text.
fn has_zero_escape(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if rest[at + 1..].starts_with(b"u0000") {
            return true;
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

/// A column of the target with what its catalog says of it.
pub(super) struct Found<'a> {
    /// Its place in a row.
    pub(super) at: usize,
    pub(super) planned: &'a ColumnPlan,
    pub(super) column: &'a TargetColumn,
    pub(super) not_null: bool,
}

/// The columns whose values may be altered, of those that nothing keeps apart.
pub(super) fn fitting<'a>(
    plan: &TablePlan,
    kept_apart: &[String],
    columns: impl ExactSizeIterator<Item = Found<'a>>,
) -> Fitting<Altered> {
    let width = columns.len();
    let altered = |Found { at, planned, column, not_null }: Found<'a>| {
        let is_free = !plan.key.contains(&at) && !kept_apart.contains(&planned.target_name);
        let content = match &column.rewrite {
            Some(Rewrite::Canonical(canonical)) => Content::Rewritten(*canonical),
            _ if matches!(planned.encoding.name(), "canonical text" | "canonical enum" | "canonical set") => {
                Content::Text
            }
            _ => Content::Other,
        };
        let altered = Altered { way: planned.unfit, takes_null: !not_null, content };
        (planned.unfit.alters() && is_free).then_some((at, altered))
    };
    Fitting { width, columns: columns.filter_map(altered).collect() }
}

/// The names of a table's columns that unique indexes and exclusion constraints keep apart, or foreign keys have.
pub(super) async fn kept_apart(client: &impl GenericClient, oid: u32) -> Result<Vec<String>, tokio_postgres::Error> {
    const SQL: &str = "SELECT a.attname::text FROM pg_catalog.pg_attribute a \
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND (EXISTS (\
            SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND (i.indisunique OR i.indisexclusion) \
            AND (a.attnum = ANY (i.indkey) OR EXISTS (SELECT FROM pg_catalog.pg_depend d \
                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid \
                AND d.refclassid = d.classid AND d.refobjid = $1 AND d.refobjsubid = a.attnum))) \
        OR EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.contype = 'f' \
            AND (c.conrelid = $1 AND a.attnum = ANY (c.conkey) OR c.confrelid = $1 AND a.attnum = ANY (c.confkey))))";
    Ok(client.query(SQL, &[&oid]).await?.iter().map(|row| row.get(0)).collect())
}

/// Which rows a count is of. Chunks have each their own, so that those that are copied at once don't wait for each other.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Chunk(u32),
    /// All that came later.
    Rest,
}

/// Adds counts to those that are kept, in the transaction of their rows.
pub(crate) async fn add(
    client: &impl GenericClient,
    task: Uuid,
    part: Part,
    counted: &[Counted],
) -> Result<(), tokio_postgres::Error> {
    const SQL: &str = "INSERT INTO wavemark.unfit AS u \
        (task, source_schema, source_table, source_column, way, part, \"values\", since) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, \
            '1970-01-01 00:00:00+00'::timestamptz + $8::bigint * '1 microsecond'::interval) \
        ON CONFLICT (task, source_schema, source_table, source_column, way, part) \
        DO UPDATE SET \"values\" = u.\"values\" + excluded.\"values\"";
    let part = match part {
        Part::Chunk(number) => i32::try_from(number).unwrap_or(i32::MAX),
        Part::Rest => -1,
    };
    for Counted { table, count } in counted {
        let values = i64::try_from(count.values).unwrap_or(i64::MAX);
        let way = count.way.word();
        client
            .execute(SQL, &[&task, &table.schema, &table.table, &count.column, &way, &part, &values, &count.since])
            .await?;
    }
    Ok(())
}

/// What is kept of a task.
pub(super) async fn read(client: &impl GenericClient, task: Uuid) -> Result<Tally, tokio_postgres::Error> {
    const SQL: &str = "SELECT source_schema, source_table, source_column, way, sum(\"values\")::bigint, \
        pg_catalog.round(extract(epoch FROM min(since))::numeric * 1000000)::bigint FROM wavemark.unfit WHERE task = $1 \
        GROUP BY source_schema, source_table, source_column, way";
    let count = |row: &tokio_postgres::Row| {
        let way = UnfitPolicy::from_word(row.get(3))?;
        let values = u64::try_from(row.get::<_, i64>(4)).unwrap_or_default();
        let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        Some(Counted { table, count: UnfitCount { column: row.get(2), way, values, since: row.get(5) } })
    };
    let tally = Tally::default();
    tally.add(client.query(SQL, &[&task]).await?.iter().filter_map(count).collect());
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_character_in_json_is_an_escape_and_no_text_of_one() {
        for json in [r#""\u0000""#, r#"{"a": "b\\\u0000"}"#, r#"["\n\u0000"]"#] {
            assert!(has_zero_escape(json.as_bytes()), "{json}");
        }
        for json in [r#""\\u0000""#, r#""u0000""#, r#""\u0001""#, r#""\"#, ""] {
            assert!(!has_zero_escape(json.as_bytes()), "{json}");
        }
    }

    #[test]
    fn a_value_without_a_place_is_altered_as_asked() {
        let date = |way, takes_null| Altered { way, takes_null, content: Content::Rewritten(Canonical::Date) };
        let (zero, day) = ([0; 6], [0, 0, 7, 0xE8, 2, 29]);
        let mut scratch = Vec::new();
        assert_eq!(date(UnfitPolicy::Null, true).fit(&zero, &mut scratch), Fit::Null);
        assert_eq!(date(UnfitPolicy::Null, false).fit(&zero, &mut scratch), Fit::AsItIs);
        assert_eq!(date(UnfitPolicy::Clamp, false).fit(&zero, &mut scratch), Fit::Other(vec![0, 0, 0, 0, 1, 1]));
        assert_eq!(date(UnfitPolicy::Clamp, false).fit(&day, &mut scratch), Fit::AsItIs);
        let text = |way| Altered { way, takes_null: true, content: Content::Text };
        assert_eq!(text(UnfitPolicy::Null).fit(b"a\0b", &mut scratch), Fit::Null);
        assert_eq!(text(UnfitPolicy::Clamp).fit(b"a\0b", &mut scratch), Fit::AsItIs);
    }
}
