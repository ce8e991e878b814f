//! Everything that a test needs: source, target, and a whole installation with workers.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::api::{Table, Task};
use wavemark_tests::cluster::Options;
use wavemark_tests::compare::{self, Report};
use wavemark_tests::installation::Installation;
use wavemark_tests::pair::{self, Pair};
use wavemark_tests::shop::{self, Size};

/// One of each, gone when dropped. A test that fails shows the ends of the logs.
pub(crate) struct World {
    pub(crate) installation: Installation,
    pub(crate) pair: Pair,
}

impl World {
    /// With one worker and empty databases.
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::source(), Options::default()).await
    }

    /// The same with further settings of source and target.
    pub(crate) async fn start_with(source: Options<'_>, target: Options<'_>) -> Self {
        let pair = Pair::start_with(source.set("shared_buffers", "64MB"), target.set("shared_buffers", "64MB"));
        let pair = pair.await.unwrap();
        let mut installation = Installation::start().await.unwrap();
        installation.add_worker().unwrap();
        Self { installation, pair }
    }

    /// With one worker and a small shop in the source.
    pub(crate) async fn with_shop() -> Self {
        let world = Self::start().await;
        shop::fill(&world.pair.source_client().await.unwrap(), Size::SMALL).await.unwrap();
        world
    }

    /// Runs statements on the source, as its owner.
    pub(crate) async fn source(&self, sql: &str) {
        self.pair.source_client().await.unwrap().batch_execute(sql).await.unwrap();
    }

    /// Runs statements on the target, as its owner.
    pub(crate) async fn target(&self, sql: &str) {
        self.pair.target_client().await.unwrap().batch_execute(sql).await.unwrap();
    }

    /// One value of the target, as text.
    pub(crate) async fn target_value(&self, sql: &str) -> Option<String> {
        self.pair.target_client().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Makes the endpoints and a task that takes a whole schema, and starts it.
    pub(crate) async fn replicate(&self, schema: &str, settings: &Value) -> Uuid {
        let task = self.make_task(schema, settings).await;
        self.installation.api.act(task, "start").await.unwrap();
        task
    }

    /// The same without starting it.
    pub(crate) async fn make_task(&self, schema: &str, settings: &Value) -> Uuid {
        let api = &self.installation.api;
        let endpoints = self.pair.make_endpoints(api).await.unwrap();
        let rules = pair::whole_schema(schema);
        api.create_task(&format!("Copy {schema}"), "full-load-and-cdc", endpoints, &rules, settings).await.unwrap()
    }

    /// Waits until the task runs and every table of it is live, with nothing more asked of it.
    pub(crate) async fn live(&self, task: Uuid) {
        let end = std::time::Instant::now() + Duration::from_mins(2);
        loop {
            let tables = self.installation.api.tables(task).await.unwrap_or_default();
            if !tables.is_empty() && tables.iter().all(Table::is_settled) {
                return;
            }
            if std::time::Instant::now() > end {
                let states: Vec<_> = tables.iter().filter(|table| !table.is_settled()).collect();
                let task = self.installation.api.task(task).await.map(|task| task.in_words());
                panic!("not every table is live after two minutes: {task:?} {states:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a task has a status.
    pub(crate) async fn status(&self, task: Uuid, status: &str) -> Task {
        let limit = Duration::from_secs(40);
        let api = &self.installation.api;
        api.wait_task(task, limit, &format!("the status {status}"), |task| task.status == status).await.unwrap()
    }

    /// Waits until the target has everything of the shop, and compares all of it.
    pub(crate) async fn drained_and_compared(&self, task: Uuid) -> Report {
        self.pair.drain(&self.installation.api, task, Duration::from_mins(1)).await.unwrap();
        let mut report = self.compared(shop::SCHEMA).await;
        // Foreign keys come right after the wave that brings the last table up: they may take a moment, rows may not.
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while report.different.is_empty() && !report.is_equal() && std::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(200)).await;
            report = self.compared(shop::SCHEMA).await;
        }
        report
    }

    /// Compares a schema.
    pub(crate) async fn compared(&self, schema: &str) -> Report {
        let source = self.pair.source_client().await.unwrap();
        let target = self.pair.target_client().await.unwrap();
        let pairs = compare::pairs(&source, schema, schema).await.unwrap();
        compare::all(&source, &target, &pairs).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.installation.log_ends(20));
        }
    }
}

/// Settings that cut even a small shop into several chunks.
pub(crate) fn small_chunks() -> Value {
    json!({"chunk_mib": 1, "load_parallelism": 2})
}

/// Waits up to half a minute until something holds.
pub(crate) async fn until<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    until_within(Duration::from_secs(30), holds).await;
}

/// Waits for what takes longer on a machine that has much to do.
pub(crate) async fn until_within<F: Future<Output = bool>>(limit: Duration, holds: impl Fn() -> F) {
    let end = std::time::Instant::now() + limit;
    while !holds().await {
        assert!(std::time::Instant::now() < end, "it does not hold after {limit:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
