//! Comparing source and target, and repairing what differs.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::api::Api;
use super::commands::named;
use super::print::{self, Column};
use crate::cli::Output;

const COMPARE: &[Column] = &[
    ("ID", "id"),
    ("STATE", "state"),
    ("DIFFERENCES", "differences"),
    ("POSITION", "position"),
    ("HELD MS", "held_ms"),
    ("READ MS", "read_ms"),
    ("ASKED", "created_at"),
    ("BY", "created_by"),
    ("PROBLEM", "problem/text"),
];
const TABLE: &[Column] = &[
    ("SCHEMA", "table/schema"),
    ("TABLE", "table/table"),
    ("STATE", "state"),
    ("SOURCE ROWS", "source_rows"),
    ("TARGET ROWS", "target_rows"),
    ("MISSING", "missing"),
    ("EXTRA", "extra"),
    ("DIFFERENT", "different"),
    ("REPAIRED", "repaired"),
    ("REASON", "reason"),
];
const ROW: &[Column] =
    &[("SCHEMA", "schema"), ("TABLE", "table"), ("DIFFERENCE", "difference"), ("COLUMNS", "columns"), ("KEY", "key")];

pub(super) async fn compare(
    api: &mut Api,
    task: &str,
    tables: &[String],
    sessions: u16,
    wait: bool,
    output: Output,
) -> anyhow::Result<()> {
    let mut body = json!({"sessions": sessions});
    if !tables.is_empty() {
        body["tables"] = json!(named(tables)?);
    }
    let made = api.post(&format!("{task}/compares"), &body).await?;
    follow(api, &made, wait, output).await
}

pub(super) async fn repair(
    api: &mut Api,
    compare: &str,
    tables: &[String],
    wait: bool,
    output: Output,
) -> anyhow::Result<()> {
    let body = if tables.is_empty() { json!({}) } else { json!({"tables": named(tables)?}) };
    let made = api.post(&format!("/compares/{compare}/repair"), &body).await?;
    follow(api, &made, wait, output).await
}

pub(super) async fn list(api: &mut Api, task: &str, output: Output) -> anyhow::Result<()> {
    let found = api.get(&format!("{task}/compares")).await?;
    print::items(found.as_array().context("the server's answer is no list")?, COMPARE, output)
}

/// The differing rows by key, a line each.
pub(super) async fn differences(api: &mut Api, compare: &str, output: Output) -> anyhow::Result<()> {
    let found = api.get(&format!("/compares/{compare}")).await?;
    let mut rows = Vec::new();
    for table in found["tables"].as_array().into_iter().flatten() {
        for row in table["keys"].as_array().into_iter().flatten() {
            rows.push(json!({
                "schema": table["table"]["schema"],
                "table": table["table"]["table"],
                "difference": row["difference"],
                "columns": joined(&table["key_columns"]),
                "key": joined(&row["key"]),
            }));
        }
    }
    print::items(&rows, ROW, output)
}

fn joined(texts: &Value) -> String {
    let texts = texts.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.collect::<Vec<_>>().join(", ")
}

/// Prints a comparison at once, or when it is over.
async fn follow(api: &mut Api, made: &Value, wait: bool, output: Output) -> anyhow::Result<()> {
    let id = made["id"].as_str().context("the server's answer has no id")?;
    if !wait {
        return print::item(made, COMPARE, output);
    }
    let done = loop {
        let now = api.get(&format!("/compares/{id}")).await?;
        if !matches!(now["state"].as_str(), Some("waiting" | "running")) {
            break now;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    print::item(&done, COMPARE, output)?;
    if output != Output::Json {
        println!();
        print::items(done["tables"].as_array().map_or(&[][..], Vec::as_slice), TABLE, output)?;
    }
    if done["state"] != "done" {
        bail!("the comparison is {}", done["state"].as_str().unwrap_or("not done"));
    }
    let left_out = done["tables"].as_array().into_iter().flatten().filter(|table| table["state"] != "done").count();
    match (done["differences"].as_u64(), left_out) {
        (Some(0), 0) => Ok(()),
        (Some(0), left_out) => bail!("{left_out} tables were not compared"),
        (differences, _) => bail!("{} rows differ", differences.unwrap_or_default()),
    }
}
