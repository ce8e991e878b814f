//! What a mapping gives: source → target, shown at once while it is typed.

use std::collections::HashSet;

use askama::Template;
use serde_json::Value;
use time::OffsetDateTime;
use wavemark_domain::mapping::{self, Mapped, MappingError, Mappings};
use wavemark_domain::{Table, TableName};

use super::format::{self, UNKNOWN};
use super::when::When;

/// How many tables are shown.
const MOST: usize = 200;

/// The preview alone, for a form that asks again while someone types.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "components/preview.html")]
pub struct PreviewBox {
    /// The preview.
    pub preview: Preview,
}

/// What a mapping gives.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// What is wrong with it.
    pub error: Option<PreviewError>,
    /// How many tables and rows.
    pub summary: String,
    /// Table by table.
    pub rows: Vec<PreviewRow>,
    /// How many are not shown.
    pub more: Option<String>,
}

/// What is wrong with a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewError {
    /// Rule and field.
    pub place: String,
    /// What.
    pub text: String,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewRow {
    /// Its name in the source.
    pub source: String,
    /// Its name in the target.
    pub target: String,
    /// How many of its columns travel.
    pub columns: String,
    /// About how many rows it has.
    pub rows: String,
    /// Columns that are left out or renamed, a missing key.
    pub note: Option<String>,
}

/// Reads the text of a mapping.
///
/// # Errors
/// Where and what is wrong: in the JSON, or with a rule.
pub fn parse(text: &str) -> Result<(Value, Mappings), PreviewError> {
    let json: Value = serde_json::from_str(text).map_err(|error| PreviewError {
        place: format!("Not JSON: line {}, column {}", error.line(), error.column()),
        text: error.to_string(),
    })?;
    let mappings = Mappings::parse(&json).map_err(|error| wrong(&error))?;
    Ok((json, mappings))
}

fn wrong(error: &MappingError) -> PreviewError {
    let rule = error.rule_id.as_ref().map_or_else(String::new, |id| format!("Rule {id}, "));
    PreviewError { place: format!("{rule}{}", error.field), text: format!("{} {}.", error.field, error.text) }
}

/// What a mapping gives on the tables that were last discovered.
#[must_use]
pub fn preview(text: &str, found: Option<(OffsetDateTime, &[Table])>, now: OffsetDateTime) -> Preview {
    let (_, mappings) = match parse(text) {
        Ok(parsed) => parsed,
        Err(error) => return Preview { error: Some(error), ..Preview::default() },
    };
    let Some((at, tables)) = found else {
        let summary =
            "The mapping reads well. Which tables it takes shows here once the source's tables are discovered.";
        return Preview { summary: summary.to_owned(), ..Preview::default() };
    };
    let mapped: Vec<_> = tables.iter().filter_map(|table| Some((table, mappings.apply(table)?))).collect();
    if let Some(collision) = mapping::collisions(mapped.iter().map(|(table, mapped)| (*table, mapped))).first() {
        let error = PreviewError { place: "Two things would be one".to_owned(), text: collision.to_string() };
        return Preview { error: Some(error), ..Preview::default() };
    }
    let seen = When::new(at, now).relative;
    let summary = summary(&mapped, tables.len(), &seen);
    let rows = mapped.iter().take(MOST).map(|(table, mapped)| row(&mappings, table, mapped)).collect();
    let hidden = mapped.len().saturating_sub(MOST);
    let more = (hidden > 0).then(|| format!("and {} more", format::counted(hidden as u64, "table", "tables")));
    Preview { error: None, summary, rows, more }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn summary(mapped: &[(&Table, Mapped)], all: usize, seen: &str) -> String {
    let taken = format!("{} of {}", format::count(mapped.len() as u64), format::counted(all as u64, "table", "tables"));
    let rows: Option<u64> = mapped.iter().map(|(table, _)| table.rows_estimated).sum();
    let rows = rows.map_or_else(String::new, |rows| format!(", about {} rows", format::brief(rows as f64)));
    format!("{taken}{rows}, as discovered {seen}")
}

fn row(mappings: &Mappings, table: &Table, mapped: &Mapped) -> PreviewRow {
    PreviewRow {
        source: table.name.to_string(),
        target: mapped.target.to_string(),
        columns: if mapped.columns.len() == table.columns.len() {
            format::count(mapped.columns.len() as u64)
        } else {
            format!("{} of {}", mapped.columns.len(), table.columns.len())
        },
        rows: format::or_unknown(table.rows_estimated, format::count),
        note: note(mappings, table, mapped),
    }
}

fn note(mappings: &Mappings, table: &Table, mapped: &Mapped) -> Option<String> {
    let kept: HashSet<_> = mapped.columns.iter().map(|(index, _)| *index).collect();
    let name = |index: usize| table.columns[index].name.as_str();
    let out: Vec<_> = (0..table.columns.len()).filter(|index| !kept.contains(index)).map(name).collect();
    let renamed: Vec<_> = mapped
        .columns
        .iter()
        .filter(|(index, target)| name(*index) != target)
        .map(|(index, target)| format!("{} → {target}", name(*index)))
        .collect();
    let mut notes = Vec::new();
    notes.extend(mapping::rows_in_words(mappings, &table.name));
    if table.key.is_empty() {
        notes.push("no key".to_owned());
    }
    if !out.is_empty() {
        notes.push(format!("without {}", out.join(", ")));
    }
    notes.extend((!renamed.is_empty()).then(|| renamed.join(", ")));
    (!notes.is_empty()).then(|| notes.join(" · "))
}

/// The table names of a progress as a preview, where the source was never discovered.
#[must_use]
pub fn of_names(names: &[(TableName, TableName)]) -> Preview {
    let rows = names.iter().take(MOST).map(|(source, target)| PreviewRow {
        source: source.to_string(),
        target: target.to_string(),
        columns: UNKNOWN.to_owned(),
        rows: UNKNOWN.to_owned(),
        note: None,
    });
    Preview {
        summary: format!("{}, as the worker planned them", format::counted(names.len() as u64, "table", "tables")),
        rows: rows.collect(),
        ..Preview::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_result_names_tables_columns_and_what_is_left_out() {
        let tables = samples::discovered();
        let preview = preview(samples::MAPPING, Some((samples::NOW, &tables)), samples::NOW);
        assert_eq!(preview.summary, "3 of 4 tables, about 39.2\u{202f}M rows, as discovered just now");
        assert_eq!(preview.rows[0].source, "shop.orders");
        assert_eq!(preview.rows[0].target, "sales.orders");
        assert_eq!(preview.rows[0].columns, "3 of 4");
        assert_eq!(preview.rows[0].note.as_deref(), Some("without note"));
        assert_eq!(preview.rows[2].note.as_deref(), Some("no key"));
    }

    #[test]
    fn the_result_says_which_rows_travel() {
        let rule = |id: u32, value: &str| {
            serde_json::json!({"rule-type": "selection", "rule-id": id.to_string(), "rule-action": "include",
                "object-locator": {"schema-name": "shop", "table-name": "orders"},
                "filters": [{"filter-type": "source", "column-name": "id",
                             "filter-conditions": [{"filter-operator": "gte", "value": value}]}]})
        };
        let tables = samples::discovered();
        let note = |rules: Value| {
            let text = serde_json::json!({"rules": rules}).to_string();
            preview(&text, Some((samples::NOW, &tables)), samples::NOW).rows[0].note.clone().unwrap_or_default()
        };
        assert_eq!(note(serde_json::json!([rule(1, "7")])), "rows with id >= '7'");
        let two = note(serde_json::json!([rule(1, "7"), rule(2, "8")]));
        assert_eq!(two, "refused: the rules 1 and 2 select it with different filters");
    }

    #[test]
    fn an_error_names_its_rule_and_field() {
        let text = samples::MAPPING.replace("\"include\"", "\"inclode\"");
        let error = preview(&text, None, samples::NOW).error.unwrap();
        assert_eq!(error.place, "Rule 1, rule-action");
        let error = preview("{\"rules\": [", None, samples::NOW).error.unwrap();
        assert_eq!(error.place, "Not JSON: line 1, column 11");
    }
}
