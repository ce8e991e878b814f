//! Reads a binary log into batches and leaves them, for the benchmark: `capture PORT USER DATABASE` on this machine, without TLS and
//! password. Says `ready` once it has noted the log's end; then, for each line with a number that it is given, reads from there
//! until it has seen so many changes and says how many it saw.

use std::error::Error;
use std::io::BufRead as _;
use std::sync::Arc;

use serde_json::json;
use wavemark_connector::source::Replan;
use wavemark_connector::{Connector as _, EndpointSettings, Source, TaskContext};
use wavemark_connector_mysql::Mysql;
use wavemark_domain::ids::Generation;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{ColumnPlan, Epoch, Fault, Position, Problem, Table, TableId, TablePlan, TaskId};

/// As much as the engine asks for.
const BATCH: usize = 4 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, user, database] = arguments.as_slice() else { return Err("usage: capture PORT USER DATABASE".into()) };
    let endpoint = EndpointSettings {
        name: "bench".to_owned(),
        values: json!({"host": "127.0.0.1", "port": port.parse::<u16>()?, "user": user, "tls_mode": "disable"}),
        secrets: std::collections::BTreeMap::new(),
    };
    let source = Mysql.source(&endpoint)?;
    let tables = source.tables(&|name| name.schema == *database).await?;
    let plan: Vec<_> = tables.into_iter().zip(0..).map(|(table, id)| planned(&*source, table, id)).collect();
    let task = context();
    let from = source.begin_following(&task, &plan).await?;
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        println!("{}", read(&*source, &task, &plan, &from, line?.trim().parse()?).await?);
    }
    Ok(())
}

/// As the engine does it for a target that takes whatever the source gives.
fn planned(source: &dyn Source, table: Table, id: u32) -> TablePlan {
    let encoded = |(at, column)| {
        let encoding = source.offers(&table, column).remove(0);
        ColumnPlan {
            source: at,
            target_name: column.name.clone(),
            encoding,
            unfit: wavemark_domain::UnfitPolicy::default(),
            as_text: None,
        }
    };
    let columns: Vec<_> = table.columns.iter().enumerate().map(encoded).collect();
    let key =
        table.key.iter().filter_map(|name| columns.iter().position(|column| column.target_name == *name)).collect();
    TablePlan {
        id: TableId(id),
        target: table.name.clone(),
        source: Arc::new(table),
        declared: None,
        columns,
        key,
        rows: None,
        schema_version: 1,
    }
}

fn context() -> TaskContext {
    TaskContext {
        task: TaskId::default(),
        name: "capture".to_owned(),
        generation: Generation::default(),
        epoch: Epoch::default(),
        first_grant: true,
        kind: TaskKind::Cdc,
        settings: TaskSettings::default(),
        spill_dir: std::env::temp_dir(),
    }
}

async fn read(
    source: &dyn Source,
    task: &TaskContext,
    plan: &[TablePlan],
    from: &Position,
    wanted: usize,
) -> Result<usize, Problem> {
    let mut reader = source.follow(task, plan, from, Arc::new(Never)).await?;
    let mut seen = 0;
    while seen < wanted {
        seen += reader.next(BATCH).await?.batch.changes().len();
    }
    Ok(seen)
}

/// The benchmark's tables stay as they are.
struct Never;

impl Replan for Never {
    fn plan(&self, _: TableId, table: &Arc<Table>) -> Result<TablePlan, Problem> {
        Err(Problem::new(Fault::Data, "relayout", format!("{} was altered.", table.name)))
    }
}
