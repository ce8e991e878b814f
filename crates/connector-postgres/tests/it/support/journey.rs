//! A task's way from its load on, change by change, each by a run of its own that follows to the end of the log.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::{Ended, Failure, Run};

use super::pair::{Pair, rows_of, target_endpoint};
use super::run::{ended, stuck};

/// A superuser, and a role that owns its tables and may do nothing else.
pub(crate) const ROLES: [&str; 2] = ["postgres", "plain"];

/// A table of the task.
struct Taken {
    name: &'static str,
    filters: Value,
    /// What holds for the rows that travel.
    condition: &'static str,
}

pub(crate) struct Journey {
    pub(crate) pair: Pair,
    role: &'static str,
    tables: Vec<Taken>,
    settings: TaskSettings,
    /// A column that no table sends.
    removed: Option<&'static str>,
    theirs: &'static str,
    epoch: i64,
}

impl Journey {
    /// A source with this schema, from where `role` is to write these tables.
    pub(crate) async fn of(role: &'static str, schema: &str, tables: &[&'static str]) -> Self {
        let pair = Pair::start(&[]).await;
        let made = "CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE mart TO plain";
        pair.source.batch_execute(made).await.unwrap();
        pair.source.batch_execute(schema).await.unwrap();
        pair.mart.batch_execute("GRANT ALL ON SCHEMA public TO plain").await.unwrap();
        let whole = |name: &&'static str| Taken { name, filters: json!([]), condition: "true" };
        Self {
            pair,
            role,
            tables: tables.iter().map(whole).collect(),
            settings: TaskSettings::default(),
            removed: None,
            theirs: "",
            epoch: 0,
        }
    }

    /// Has the rows alone travel whose `column` has this value; `condition` says the same in SQL.
    pub(crate) fn filtered(mut self, table: &str, (column, value): (&str, &str), condition: &'static str) -> Self {
        let filter = json!([{"filter-type": "source", "column-name": column,
            "filter-conditions": [{"filter-operator": "eq", "value": value}]}]);
        for taken in self.tables.iter_mut().filter(|taken| taken.name == table) {
            (taken.filters, taken.condition) = (filter.clone(), condition);
        }
        self
    }

    /// Leaves this column out of all tables.
    pub(crate) fn without(self, column: &'static str) -> Self {
        Self { removed: Some(column), ..self }
    }

    /// Leaves a column that only the target has out of what is compared.
    pub(crate) fn ignoring(self, column: &'static str) -> Self {
        Self { theirs: column, ..self }
    }

    pub(crate) fn with(self, settings: TaskSettings) -> Self {
        Self { settings, ..self }
    }

    /// The next run, as far as `stop_at`.
    fn next(&mut self, stop_at: StopAt) -> Run {
        self.epoch += 1;
        let tables: Vec<(&str, Value)> = self.tables.iter().map(|taken| (taken.name, taken.filters.clone())).collect();
        let settings = TaskSettings { stop_at, ..self.settings.clone() };
        let mut run = self.pair.filtered_run(self.epoch, TaskKind::FullLoadAndCdc, &tables, settings);
        if let Some(column) = self.removed {
            run.mappings = self.mappings(column);
        }
        let mut endpoint = target_endpoint(&self.pair.cluster);
        endpoint.values["user"] = self.role.into();
        run.target = Postgres.target(&endpoint).unwrap();
        run
    }

    fn mappings(&self, removed: &str) -> Mappings {
        let mut rules: Vec<Value> = vec![json!({"rule-type": "transformation", "rule-id": "1", "rule-name": "removal",
            "rule-action": "remove-column", "rule-target": "column",
            "object-locator": {"schema-name": "public", "table-name": "%", "column-name": removed}})];
        rules.extend(self.tables.iter().zip(2..).map(|(taken, number)| {
            json!({"rule-type": "selection", "rule-id": number.to_string(), "rule-name": taken.name, "rule-action": "include",
                "object-locator": {"schema-name": "public", "table-name": taken.name}, "filters": taken.filters})
        }));
        Mappings::parse(&json!({"rules": rules})).unwrap()
    }

    pub(crate) async fn load(&mut self) -> Run {
        let run = self.next(StopAt::Loaded);
        assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
        run
    }

    /// The next run, and how it ends; it must not try the same again and again.
    pub(crate) async fn follow(&mut self, change: &str) -> (Run, Result<Ended, Failure>) {
        self.change(change).await;
        let end = self.pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
        let run = self.next(StopAt::Position(end));
        let outcome = tokio::select! {
            outcome = ended(&run) => outcome,
            problem = stuck(&run) => panic!("{}: {change}: it is tried again and again: {problem}", self.role),
        };
        (run, outcome)
    }

    /// A run that goes on until it is stopped or killed.
    pub(crate) fn begin(&mut self) -> (Run, JoinHandle<Result<Ended, Failure>>) {
        let run = self.next(StopAt::Never);
        let own = run.clone();
        (run, tokio::spawn(async move { own.run().await }))
    }

    pub(crate) async fn change(&self, change: &str) {
        self.pair.source.batch_execute(change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
    }

    /// Follows what is there, and ends the run wherever it is after this time.
    pub(crate) async fn is_killed_after(&mut self, time: Duration) {
        let run = self.next(StopAt::Never);
        drop(tokio::time::timeout(time, run.run()).await);
    }

    /// Loads, follows these changes one by one, and expects after each that all tables are live and have the source's
    /// rows.
    pub(crate) async fn arrives(&mut self, changes: &[&str]) {
        self.load().await;
        self.assert_equal("the load").await;
        for change in changes {
            let (run, outcome) = self.follow(change).await;
            assert_eq!(outcome.unwrap(), Ended::Finished, "{}: {change}", self.role);
            for table in run.status.progress().tables {
                let why = table.problem.map(|problem| problem.to_string()).unwrap_or_default();
                assert_eq!(table.state, TableState::Live, "{}: {change}: {}: {why}", self.role, table.table);
            }
            self.assert_equal(change).await;
        }
    }

    pub(crate) async fn assert_equal(&self, after: &str) {
        let differs = self.difference().await;
        assert!(differs.is_none(), "{}: after {after}: {}", self.role, differs.unwrap_or_default());
    }

    /// The first table that differs, and how.
    pub(crate) async fn difference(&self) -> Option<String> {
        for taken in &self.tables {
            // By names, for a column that comes later has another place.
            let cells = format!("to_jsonb(whole) - '{}' - '{}'", self.removed.unwrap_or_default(), self.theirs);
            let travels = format!("(SELECT {cells} FROM {} AS whole WHERE {})", taken.name, taken.condition);
            let arrived = format!("(SELECT {cells} FROM {} AS whole)", taken.name);
            let (there, here) = (rows_of(&self.pair.mart, &arrived).await, rows_of(&self.pair.source, &travels).await);
            let lacks = |rows: &[String], others: &[String]| -> Vec<String> {
                let others: BTreeSet<&String> = others.iter().collect();
                rows.iter().filter(|row| !others.contains(row)).take(3).map(|row| short(row)).collect()
            };
            let (missing, extra) = (lacks(&here, &there), lacks(&there, &here));
            if there != here {
                return Some(format!("{}: -{missing:?} +{extra:?}", taken.name));
            }
        }
        None
    }
}

/// A row whose letters that repeat are left out.
fn short(row: &str) -> String {
    let mut letters: Vec<char> = row.replace('\\', "").replace("\"\"", "").chars().collect();
    letters.dedup();
    letters.into_iter().collect()
}

/// What became of a table, and why.
pub(crate) fn shown(run: &Run, name: &str) -> (TableState, String) {
    let table = run.status.progress().tables.into_iter().find(|table| table.table.table == name).unwrap();
    (table.state, table.problem.map(|problem| problem.text).unwrap_or_default())
}

/// Whether a table is known to be in this state by now.
pub(crate) fn is(run: &Run, name: &str, state: TableState) -> bool {
    run.status.progress().tables.iter().any(|table| table.table.table == name && table.state == state)
}
