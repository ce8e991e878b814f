//! Tables for people: columns as wide as their widest cell, nothing cut.

use serde_json::Value;

use crate::cli::Output;

/// One column: its heading and the path of its value in an item.
pub(super) type Column = (&'static str, &'static str);

/// Prints items as the user wants them.
pub(super) fn items(items: &[Value], columns: &[Column], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(items)?);
        return Ok(());
    }
    print!("{}", table(items, columns));
    Ok(())
}

/// Prints one item as the user wants it: JSON, or a line a field.
pub(super) fn item(item: &Value, columns: &[Column], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(item)?);
        return Ok(());
    }
    let width = columns.iter().map(|(heading, _)| heading.len()).max().unwrap_or(0);
    for (heading, path) in columns {
        println!("{heading:width$}  {}", cell(item, path));
    }
    Ok(())
}

fn table(items: &[Value], columns: &[Column]) -> String {
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| columns.iter().map(|(_, path)| cell(item, path)).collect()).collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.max().unwrap_or(0).max(columns[at].0.len())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(columns.iter().map(|(heading, _)| *heading).collect());
    for row in &rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// The value at a path such as `source/name`; unknown is `–`.
fn cell(item: &Value, path: &str) -> String {
    let value = path.split('/').fold(item, |value, name| &value[name]);
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let items = [json!({"name": "a", "worker": {"name": "eu-1"}}), json!({"name": "long name", "worker": null})];
        let printed = table(&items, &[("NAME", "name"), ("WORKER", "worker/name")]);
        assert_eq!(printed, "NAME       WORKER\na          eu-1\nlong name  –\n");
    }
}
