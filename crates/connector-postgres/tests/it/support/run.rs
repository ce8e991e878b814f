//! Whole runs of a task, by the engine, from database `postgres` to database `mart` of one cluster.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wavemark_connector::{Connector as _, TaskContext};
use wavemark_connector_postgres::Postgres;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Epoch, Problem};
use wavemark_engine::{Ended, Failure, Orders, Run, Share, Status};

use super::pair::{Pair, target_endpoint};
use super::task::endpoint;

/// How long a run may take that ends by itself.
const PATIENCE: Duration = Duration::from_mins(2);

impl Pair {
    /// The task at an epoch, taking these tables of schema `public`.
    pub(crate) fn run(&self, epoch: i64, kind: TaskKind, tables: &[&str], settings: TaskSettings) -> Run {
        let whole: Vec<(&str, Value)> = tables.iter().map(|table| (*table, json!([]))).collect();
        self.filtered_run(epoch, kind, &whole, settings)
    }

    /// The same with filters of each table's rows.
    pub(crate) fn filtered_run(
        &self,
        epoch: i64,
        kind: TaskKind,
        tables: &[(&str, Value)],
        settings: TaskSettings,
    ) -> Run {
        let rule = |(at, (table, filters)): (usize, &(&str, Value))| {
            json!({
                "rule-type": "selection", "rule-id": at.to_string(), "rule-name": table, "rule-action": "include",
                "object-locator": {"schema-name": "public", "table-name": table}, "filters": filters
            })
        };
        let rules: Vec<_> = tables.iter().enumerate().map(rule).collect();
        let task = TaskContext {
            epoch: Epoch(epoch),
            first_grant: epoch == 1,
            kind,
            settings: TaskSettings { load_parallelism: 1, ..settings },
            ..self.fixture.task.clone()
        };
        Run {
            task,
            mappings: Mappings::parse(&json!({"rules": rules})).unwrap(),
            source_engine: "postgresql".to_owned(),
            source: Postgres.source(&endpoint(&self.cluster, "postgres")).unwrap(),
            target: Postgres.target(&target_endpoint(&self.cluster)).unwrap(),
            status: Status::default(),
            orders: Orders::default(),
            paces: Vec::new(),
            connections: Share::default(),
            stop: CancellationToken::new(),
        }
    }

    /// One text of the source.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        self.source.query_one(sql, &[]).await.unwrap().get(0)
    }
}

/// Waits until something holds.
pub(crate) async fn until(holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(40), waiting).await.expect("it holds in the end");
}

/// What a run still waits for after a few attempts.
pub(crate) async fn stuck(run: &Run) -> Problem {
    loop {
        let progress = run.status.progress();
        match progress.waiting_for {
            Some(problem) if progress.retries > 3 => return problem,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Waits until a run has ended by itself.
pub(crate) async fn ended(run: &Run) -> Result<Ended, Failure> {
    tokio::time::timeout(PATIENCE, run.run()).await.expect("the run ends by itself")
}

/// What a run fails with.
pub(crate) async fn refused(run: &Run) -> Problem {
    match ended(run).await {
        Err(Failure::Problem(problem)) => problem,
        other => panic!("the run is refused, not {other:?}"),
    }
}

/// What a run told under a code.
pub(crate) fn told(run: &Run, code: &str) -> Vec<String> {
    let events = run.status.events().into_iter().filter(|event| event.code == code);
    events.map(|event| event.text).collect()
}
