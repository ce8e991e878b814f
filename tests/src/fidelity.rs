//! The generated tables of `docs/FIDELITY.md`: what becomes of each type, direction by direction. The types, their words and
//! how well they are kept stand in the connectors' `types.rs` and `declare/held.rs`; the target's type is what its connector
//! declares for the word.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use wavemark_connector::fidelity::{Fate, Given, Held, Line, fate};
use wavemark_connector::{Connector, EndpointSettings, Source, Target};
use wavemark_connector_mysql::{Mysql, fidelity as mysql};
use wavemark_connector_postgres::{Postgres, fidelity as postgres};
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{Column, Extras, Logical, Table, TableName};

/// Where the tables are.
#[must_use]
pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/FIDELITY.md"))
}

/// The text with each table between its marks written anew.
///
/// # Errors
/// When the marks of a table are not there, or no connector can be made.
pub fn written(text: &str) -> Result<String> {
    let mut text = text.to_owned();
    for (name, table) in tables()? {
        let (begin, end) =
            (format!("<!-- begin {name}: written by make fidelity -->\n"), format!("<!-- end {name} -->"));
        let from = text.find(&begin).with_context(|| format!("there is no {begin}"))? + begin.len();
        let to = text[from..].find(&end).with_context(|| format!("there is no {end}"))? + from;
        text.replace_range(from..to, &table);
    }
    Ok(text)
}

/// Each table by the name in its marks.
fn tables() -> Result<[(&'static str, String); 4]> {
    let (mysql, postgres) = (of(&Mysql)?, of(&Postgres)?);
    Ok([
        ("mysql-to-postgresql", table(&lines((&mysql, mysql::given()), (&postgres, postgres::held))?)),
        ("postgresql-to-mysql", table(&lines((&postgres, postgres::given()), (&mysql, mysql::held))?)),
        ("mysql-to-mariadb", table(&mysql::to_mariadb())),
        ("mariadb-to-mysql", table(&mysql::to_mysql())),
    ])
}

/// Both sides of a system. Nothing is connected to.
struct System {
    engine: &'static str,
    source: std::sync::Arc<dyn Source>,
    target: std::sync::Arc<dyn Target>,
}

fn of(connector: &dyn Connector) -> Result<System> {
    let spec = connector.spec();
    let required = spec.fields.iter().filter(|field| field.required);
    let values: serde_json::Map<_, _> = required.map(|field| (field.name.to_owned(), json!("nowhere"))).collect();
    let endpoint = EndpointSettings { name: "none".into(), values: values.into(), secrets: BTreeMap::new() };
    let refused = |problem| anyhow::anyhow!("{}: {problem}", spec.engine);
    let source = connector.source(&endpoint).map_err(refused)?;
    Ok(System { engine: spec.engine, source, target: connector.target(&endpoint).map_err(refused)? })
}

/// One line for each type of the source.
fn lines((source, given): (&System, Vec<Given>), (target, held): (&System, fn(&Logical) -> Held)) -> Result<Vec<Line>> {
    let line = |given: Given| {
        let travels = source.source.logical(&single(&given.column), &given.column);
        let fate = fate(&given, travels.as_ref().map(held).as_ref());
        let declared = travels.as_ref().map(|word| declared(source.engine, target, &given.column, word)).transpose()?;
        Ok(Line { name: given.name, travels, target: declared, fate })
    };
    given.into_iter().map(line).collect()
}

/// The type that the target declares for a column of another system.
fn declared(engine: &str, target: &System, column: &Column, word: &Logical) -> Result<String> {
    let table = target.target.declare(engine, &single(column), &[Some(word.clone())], &Extras::default());
    let column = table.and_then(|table| table.columns.into_iter().next());
    column.map(|column| column.declared).with_context(|| format!("{} declares nothing for {word}", target.engine))
}

/// A table of that column alone.
fn single(column: &Column) -> Table {
    Table {
        name: TableName::new("schema", "table"),
        kind: TableKind::Table,
        columns: vec![column.clone()],
        key: Vec::new(),
        rows_estimated: None,
        bytes_estimated: None,
        native: json!({}),
    }
}

/// As Markdown. Types one behind the other of which the same becomes share a line.
fn table(lines: &[Line]) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    for line in lines {
        let (name, rest) = (quoted(&line.name), rest(line));
        match rows.last_mut() {
            Some((names, last)) if *last == rest => *names = format!("{names}, {name}"),
            _ => rows.push((name, rest)),
        }
    }
    let head = "| source type | travels as | target type | grade | reason or remark |\n|---|---|---|---|---|\n";
    rows.iter().fold(head.to_owned(), |text, (names, rest)| format!("{text}| {names} | {rest} |\n"))
}

fn rest(Line { travels, target, fate: Fate { grade, remark }, .. }: &Line) -> String {
    let same = if travels.is_some() { "the same" } else { "–" };
    let target = target.as_deref().map_or(same.to_owned(), quoted);
    let travels = travels.as_ref().map_or("–".to_owned(), ToString::to_string);
    format!("{travels} | {target} | {grade} | {remark}").trim_end().to_owned()
}

/// A type as code; words that stand for several as they are.
fn quoted(name: &str) -> String {
    let is_words = ["a ", "an ", "every "].iter().any(|article| name.starts_with(article));
    if is_words { name.to_owned() } else { format!("`{name}`") }
}

/// Whether the document has the tables as the code has them.
///
/// # Errors
/// When it does not, or can't be read.
pub fn check() -> Result<()> {
    let text = std::fs::read_to_string(path()).context("reading docs/FIDELITY.md")?;
    ensure!(written(&text)? == text, "docs/FIDELITY.md is not what the code says; run `make fidelity`");
    Ok(())
}

#[cfg(test)]
mod tests {
    use wavemark_connector::fidelity::Grade;

    use super::*;

    #[test]
    fn the_document_is_what_the_code_says() {
        check().unwrap();
    }

    /// Of a target's type that is a text nothing else may be said, and nothing that travels is refused.
    #[test]
    fn grades_go_with_the_types() {
        let (mysql, postgres) = (of(&Mysql).unwrap(), of(&Postgres).unwrap());
        let there = lines((&mysql, mysql::given()), (&postgres, postgres::held)).unwrap();
        let back = lines((&postgres, postgres::given()), (&mysql, mysql::held)).unwrap();
        for line in there.iter().chain(&back) {
            let is_text = |name: &str| {
                ["text", "char", "name"].iter().any(|part| name.contains(part)) && !name.starts_with("\"char")
            };
            let is_kept_as_text = line.target.as_deref().is_some_and(is_text) && !is_text(&line.name);
            assert_eq!(line.travels.is_none(), line.fate.grade == Grade::Refused, "{line:?}");
            assert!(!is_kept_as_text || line.fate.grade == Grade::Text, "{line:?}");
        }
    }

    #[test]
    fn a_text_without_the_marks_is_refused() {
        let error = written("# Fidelity").unwrap_err().to_string();
        assert!(error.contains("begin mysql-to-postgresql"), "{error}");
    }
}
