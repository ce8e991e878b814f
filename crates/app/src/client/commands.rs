//! The client's commands.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::api::Api;
use super::compares;
use super::print::{self, Column};
use crate::cli::{EndpointCommand, EventsOptions, Output, TaskCommand, WorkersCommand};

const MANY: usize = 10_000;
const ENDPOINT: &[Column] = &[("NAME", "name"), ("ENGINE", "engine"), ("ROLE", "role"), ("ID", "id")];
const TASK: &[Column] = &[
    ("NAME", "name"),
    ("STATUS", "status"),
    ("KIND", "kind"),
    ("SOURCE", "source/name"),
    ("TARGET", "target/name"),
    ("LAG MS", "progress/lag_ms"),
    ("BOOKMARK", "progress/bookmark"),
    ("PARKED", "tables_parked"),
    ("WORKER", "worker/name"),
    ("ID", "id"),
];
const TABLE: &[Column] = &[
    ("SCHEMA", "source/schema"),
    ("TABLE", "source/table"),
    ("STATE", "state"),
    ("ROWS", "rows_loaded"),
    ("CHUNKS", "chunks"),
    ("DONE", "chunks_done"),
    ("INSERTS", "inserts"),
    ("UPDATES", "updates"),
    ("DELETES", "deletes"),
    ("PROBLEM", "problem/text"),
];
const STEP: &[Column] = &[("STEP", "name"), ("PASSED", "passed"), ("FOUND", "text"), ("MEND", "mend")];
const FINDING: &[Column] = &[("WEIGHT", "weight"), ("CODE", "code"), ("FOUND", "text"), ("MEND", "mend")];
const ADOPTABLE: &[Column] = &[
    ("NAME", "name"),
    ("BOOKMARK", "bookmark"),
    ("EPOCH", "epoch"),
    ("REFUSED", "refused"),
    ("NOTES", "notes"),
    ("TASK", "task"),
];
const DISCOVERED: &[Column] =
    &[("SCHEMA", "name/schema"), ("TABLE", "name/table"), ("KIND", "kind"), ("ROWS ABOUT", "rows_estimated")];
const WORKER: &[Column] = &[
    ("NAME", "name"),
    ("ALIVE", "alive"),
    ("VERSION", "version"),
    ("PLACES", "places"),
    ("TASKS", "tasks"),
    ("SEEN", "seen_at"),
    ("ID", "id"),
];
const EVENT: &[Column] =
    &[("AT", "at"), ("SEVERITY", "severity"), ("CODE", "code"), ("TASK", "task_name"), ("TEXT", "text")];

pub(super) async fn endpoint(api: &mut Api, command: EndpointCommand, output: Output) -> anyhow::Result<()> {
    match command {
        EndpointCommand::List => print::items(&api.list("/endpoints", MANY).await?, ENDPOINT, output),
        EndpointCommand::Show { endpoint } => print::item(&find(api, "/endpoints", &endpoint).await?, ENDPOINT, output),
        EndpointCommand::Create { file } => {
            print::item(&api.post("/endpoints", &read_json(&file)?).await?, ENDPOINT, output)
        }
        EndpointCommand::Delete { endpoint } => {
            let path = path_of(api, "/endpoints", &endpoint).await?;
            api.delete(&path).await.map(drop)
        }
        EndpointCommand::Test { endpoint } => {
            let path = path_of(api, "/endpoints", &endpoint).await?;
            job(api, &format!("{path}/test"), "steps", STEP, output).await
        }
        EndpointCommand::Discover { endpoint } => {
            let path = path_of(api, "/endpoints", &endpoint).await?;
            let done = run_job(api, &format!("{path}/discover")).await?;
            if let Some(text) = done["outcome"]["problem"]["text"].as_str() {
                bail!("{text}");
            }
            print::items(&api.list(&format!("{path}/tables"), MANY).await?, DISCOVERED, output)
        }
    }
}

pub(super) async fn task(api: &mut Api, command: TaskCommand, output: Output) -> anyhow::Result<()> {
    match command {
        TaskCommand::List => print::items(&api.list("/tasks", MANY).await?, TASK, output),
        TaskCommand::Show { task } => print::item(&find(api, "/tasks", &task).await?, TASK, output),
        TaskCommand::Tables { task } => {
            let path = path_of(api, "/tasks", &task).await?;
            print::items(&api.list(&format!("{path}/tables"), MANY).await?, TABLE, output)
        }
        TaskCommand::Create { file } => print::item(&api.post("/tasks", &read_json(&file)?).await?, TASK, output),
        TaskCommand::Assess { task } => {
            let path = path_of(api, "/tasks", &task).await?;
            job(api, &format!("{path}/assess"), "findings", FINDING, output).await
        }
        TaskCommand::Adopt { task, from } => adopt(api, &task, from.as_deref(), output).await,
        TaskCommand::Start { task } => act(api, &task, "start", output).await,
        TaskCommand::Resume { task } => act(api, &task, "resume", output).await,
        TaskCommand::Stop { task } => act(api, &task, "stop", output).await,
        TaskCommand::Drain { task, wait } => drain(api, &task, wait).await,
        TaskCommand::Reload { task } => act(api, &task, "reload", output).await,
        TaskCommand::ReloadTable { task, tables } => ask_of_tables(api, &task, &tables, "reload", output).await,
        TaskCommand::ParkTable { task, tables } => ask_of_tables(api, &task, &tables, "park", output).await,
        TaskCommand::Compare { task, tables, sessions, wait } => {
            let path = path_of(api, "/tasks", &task).await?;
            compares::compare(api, &path, &tables, sessions, wait, output).await
        }
        TaskCommand::Compares { task } => {
            let path = path_of(api, "/tasks", &task).await?;
            compares::list(api, &path, output).await
        }
        TaskCommand::Differences { compare } => compares::differences(api, &compare, output).await,
        TaskCommand::Repair { compare, tables, wait } => compares::repair(api, &compare, &tables, wait, output).await,
        TaskCommand::Delete { task } => {
            let path = path_of(api, "/tasks", &task).await?;
            api.delete(&path).await.map(drop)
        }
    }
}

pub(super) async fn workers(api: &mut Api, command: WorkersCommand, output: Output) -> anyhow::Result<()> {
    match command {
        WorkersCommand::List => print::items(&api.list("/workers", MANY).await?, WORKER, output),
        WorkersCommand::Drain { worker } => api.post(&format!("/workers/{worker}/drain"), &json!({})).await.map(drop),
        WorkersCommand::Token { name } => {
            let made = api.post("/worker-tokens", &json!({"name": name})).await?;
            println!("{}", made["token"].as_str().context("the server's answer has no token")?);
            Ok(())
        }
    }
}

pub(super) async fn events(api: &mut Api, options: &EventsOptions, output: Output) -> anyhow::Result<()> {
    let path = match &options.task {
        Some(task) => format!("{}/events", path_of(api, "/tasks", task).await?),
        None => "/events".to_owned(),
    };
    print::items(&api.list(&path, options.limit as usize).await?, EVENT, output)
}

/// The tables are named as the API shows them: `schema.table`, the schema up to the first dot.
async fn ask_of_tables(api: &mut Api, task: &str, tables: &[String], wish: &str, output: Output) -> anyhow::Result<()> {
    let path = path_of(api, "/tasks", task).await?;
    api.post(&format!("{path}/tables/{wish}"), &json!({"tables": named(tables)?})).await?;
    print::items(&api.list(&format!("{path}/tables"), MANY).await?, TABLE, output)
}

/// Tables as the API takes them.
pub(super) fn named(tables: &[String]) -> anyhow::Result<Vec<Value>> {
    let named = |name: &String| {
        let (schema, table) = name.split_once('.').with_context(|| format!("{name} is not schema.table"))?;
        Ok(json!({"schema": schema, "table": table}))
    };
    tables.iter().map(named).collect()
}

/// Fails unless the target can take over.
async fn drain(api: &mut Api, task: &str, wait: u32) -> anyhow::Result<()> {
    let path = path_of(api, "/tasks", task).await?;
    let number = api.post(&format!("{path}/drain"), &json!({})).await?["number"].as_i64();
    for _ in 0..=wait {
        let drained = &api.get(&path).await?["progress"]["drained"];
        if drained["number"].as_i64() >= number {
            let position = drained["position"].as_str().unwrap_or_default();
            if drained["safe_to_switch"] == true {
                println!("Safe to switch: the target has everything up to {position}, and its counters are raised.");
                return Ok(());
            }
            let behind = drained["tables_behind"].as_u64().unwrap_or_default();
            bail!(
                "Not safe to switch: the target has everything up to {position}, but {}.",
                if behind > 0 { format!("{behind} tables are parked") } else { "changes have come since".to_owned() }
            );
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bail!("After {wait} s the target does not have everything yet; see `wavemark task show {task}`.")
}

/// Shows what the target holds, and goes on as one of it if one is named.
async fn adopt(api: &mut Api, task: &str, from: Option<&str>, output: Output) -> anyhow::Result<()> {
    let path = path_of(api, "/tasks", task).await?;
    let done = run_job(api, &format!("{path}/adoptable")).await?;
    let Some(found) = done["outcome"]["found"].as_array() else {
        bail!("{}", done["outcome"]["problem"]["text"].as_str().unwrap_or("the job found nothing"));
    };
    let Some(from) = from else { return print::items(found, ADOPTABLE, output) };
    let adopted = api.post(&format!("{path}/adopt"), &json!({"job": done["id"], "task": from})).await?;
    let id = adopted["id"].as_str().context("the server's answer has no id")?;
    print::item(&api.get(&format!("/tasks/{id}")).await?, TASK, output)
}

async fn act(api: &mut Api, task: &str, action: &str, output: Output) -> anyhow::Result<()> {
    let path = path_of(api, "/tasks", task).await?;
    api.post(&format!("{path}/{action}"), &json!({})).await?;
    print::item(&api.get(&path).await?, TASK, output)
}

async fn run_job(api: &mut Api, path: &str) -> anyhow::Result<Value> {
    let started = api.post(path, &json!({})).await?;
    api.wait_for_job(&started).await
}

/// Starts a job, waits for it, and prints what it found.
async fn job(api: &mut Api, path: &str, list: &str, columns: &[Column], output: Output) -> anyhow::Result<()> {
    let done = run_job(api, path).await?;
    let outcome = if done["outcome"].is_object() { &done["outcome"] } else { &done };
    let Some(found) = outcome[list].as_array() else {
        match outcome["problem"]["text"].as_str().or(done["problem"]["text"].as_str()) {
            Some(text) => bail!("{text}"),
            None => bail!("the job gave no {list}: {done}"),
        }
    };
    print::items(found, columns, output)?;
    if found.iter().any(|item| item["passed"] == json!(false) || item["weight"] == json!("blocker")) {
        bail!("not everything is as it must be");
    }
    Ok(())
}

/// An item by its id or its name.
async fn find(api: &mut Api, list: &str, wanted: &str) -> anyhow::Result<Value> {
    if uuid::Uuid::parse_str(wanted).is_ok() {
        return api.get(&format!("{list}/{wanted}")).await;
    }
    let items = api.list(list, MANY).await?;
    let id = items.iter().find(|item| item["name"] == json!(wanted)).and_then(|item| item["id"].as_str());
    match id {
        Some(id) => api.get(&format!("{list}/{id}")).await,
        None => bail!("there is no {} named {wanted}", list.trim_start_matches('/').trim_end_matches('s')),
    }
}

async fn path_of(api: &mut Api, list: &str, wanted: &str) -> anyhow::Result<String> {
    let item = find(api, list, wanted).await?;
    Ok(format!("{list}/{}", item["id"].as_str().context("the server's answer has no id")?))
}

fn read_json(file: &Path) -> anyhow::Result<Value> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?
    };
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}
