//! Both ends of the connector on one cluster: databases `postgres` and `mart`.

use std::sync::Arc;

use wavemark_connector::source::{BlockFormat, View};
use wavemark_connector::target::{ChunkMark, Opened, Segment, Stage, TableMark, Target, WaveEnd};
use wavemark_connector::{Connector as _, EndpointSettings};
use wavemark_connector_postgres::Postgres;
use wavemark_connector_postgres::encoding::{BINARY, COPY_BINARY};
use wavemark_domain::task::Preparation;
use wavemark_domain::{Fault, Position, TablePlan, WaveNumber};

use super::task::{Fixture, PATIENCE, endpoint};
use crate::support::Cluster;

pub(crate) fn target_endpoint(cluster: &Cluster) -> EndpointSettings {
    let mut endpoint = endpoint(cluster, "postgres");
    endpoint.values["database"] = "mart".into();
    endpoint
}

pub(crate) async fn connect(cluster: &Cluster, database: &str) -> tokio_postgres::Client {
    let settings = format!("host=127.0.0.1 port={} user=postgres dbname={database}", cluster.port);
    let (client, driver) = tokio_postgres::connect(&settings, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    client
}

/// The plan as the engine makes it: what the target accepts and the source offers.
pub(crate) fn check_encodings(fixture: &Fixture, target: &Arc<dyn Target>, plan: &[TablePlan]) {
    for table in plan {
        for column in &table.columns {
            let source = &table.source.columns[column.source];
            let offered = fixture.source.offers(&table.source, source);
            let column = format!("{}.{} {}", table.name(), source.name, source.declared);
            assert_eq!(target.accepts("postgresql", source, None), [BINARY], "{column}");
            assert_eq!(offered.first(), Some(&BINARY), "{column}");
        }
    }
}

pub(crate) async fn load(opened: &mut Opened, view: &dyn View, plan: &[TablePlan]) {
    for table in plan {
        let entered = view.enter(table).await.unwrap();
        let ranges = view.chunks(table, 65_536).await.unwrap();
        let mark = TableMark {
            source: table.name().clone(),
            began: view.position().clone(),
            position: view.position().clone(),
            storage: entered.storage,
            stage: Stage::Loading,
            chunks: (0..)
                .zip(&ranges)
                .map(|(number, range)| ChunkMark { number, range: range.clone(), done: None })
                .collect(),
        };
        opened.session.begin_table(table, Preparation::Nothing, &mark).await.unwrap();
        for (number, range) in (0..).zip(&ranges) {
            let mut reader = view.read(table, range, BlockFormat::Stream(COPY_BINARY), None).await.unwrap();
            opened.loaders[0].load(table, number, &mut *reader, &|_| {}).await.unwrap();
        }
        opened.loaders[0].finish_table(table).await.unwrap();
        opened.loaders[0].complete_table(table).await.unwrap();
    }
    assert_eq!(opened.session.finish_load(plan).await.unwrap(), []);
}

/// Reads the log from a position and applies it, batch by batch, until `is_done` says so of the target.
pub(crate) async fn follow_until(
    fixture: &Fixture,
    opened: &mut Opened,
    (plan, start): (&[TablePlan], &Position),
    is_done: impl AsyncFn() -> bool,
) {
    let mut reader = fixture.follow(plan, start).await;
    let mut plan = plan.to_vec();
    let mut wave = 0;
    let finished = async {
        while !is_done().await {
            let read = match reader.next(1 << 20).await {
                Err(problem) if problem.fault == Fault::Transient && wave == 0 => {
                    reader = fixture.follow(&plan, start).await;
                    continue;
                }
                read => read.unwrap(),
            };
            assert!(read.barriers.is_empty(), "{:?}", read.barriers);
            for next in &read.layouts {
                let before = std::mem::replace(&mut plan[next.plan.id.index()], next.plan.clone());
                opened.session.alter(&plan, &before, next).await.unwrap();
            }
            opened.session.apply(&plan, &Segment::whole(&read.batch)).await.unwrap();
            if let Some(mark) = read.batch.transactions().last().filter(|_| !read.batch.is_open()) {
                wave += 1;
                let end = WaveEnd {
                    wave: WaveNumber(wave),
                    position: &mark.end,
                    position_text: &fixture.source.describe(&mark.end),
                    committed_at: Some(mark.committed_at),
                    parked: &[],
                };
                opened.session.commit(&end).await.unwrap();
            }
        }
    };
    tokio::time::timeout(PATIENCE, finished).await.unwrap();
}

/// A source and a target database whose tables are compared by the servers' own text of them.
pub(crate) struct Pair {
    pub(crate) source: tokio_postgres::Client,
    pub(crate) mart: tokio_postgres::Client,
    pub(crate) fixture: Fixture,
    pub(crate) cluster: Cluster,
}

impl Pair {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        // A role that a test may make, and that may do little.
        let plain = "host all plain localhost trust";
        let cluster = Cluster::prepared(&[&[("fsync", "off")], settings].concat(), plain, |_| {});
        let source = connect(&cluster, "postgres").await;
        source.batch_execute("CREATE DATABASE mart").await.unwrap();
        source.batch_execute("CREATE TABLE public.the_end (n integer PRIMARY KEY)").await.unwrap();
        let mart = connect(&cluster, "mart").await;
        Self { source, mart, fixture: Fixture::new(&cluster), cluster }
    }

    /// Loads these tables, makes the changes one after the other at the source, follows them, and asserts that the
    /// tables are equal after the load and at the end.
    pub(crate) async fn copies(&self, tables: &[&str], changes: &[&str]) {
        self.copies_as(tables, tables, changes).await;
    }

    /// The same for names that have to be quoted in SQL.
    pub(crate) async fn copies_as(&self, names: &[&str], tables: &[&str], changes: &[&str]) {
        self.carries_over(names, tables, changes).await;
        self.assert_equal(tables, "at the end").await;
    }

    /// The same for tables that are not to be equal in the end.
    pub(crate) async fn copies_to_the_end(&self, tables: &[&str], changes: &[&str]) {
        self.carries_over(tables, tables, changes).await;
    }

    async fn carries_over(&self, names: &[&str], tables: &[&str], changes: &[&str]) {
        let target = Postgres.target(&target_endpoint(&self.cluster)).unwrap();
        let plan = self.fixture.plan(&[names, &["the_end"]].concat()).await;
        let mut opened = target.open(&self.fixture.task).await.unwrap();
        opened.session.attach(&plan).await.unwrap();
        let view = self.fixture.begin(&plan).await;
        let start = view.position().clone();
        load(&mut opened, &*view, &plan).await;
        drop(view);
        self.assert_equal(tables, "after the load").await;
        for change in changes {
            self.source.batch_execute(change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
        }
        self.source.batch_execute("INSERT INTO public.the_end VALUES (1)").await.unwrap();
        follow_until(&self.fixture, &mut opened, (&plan, &start), async || {
            self.mart.query_one("SELECT EXISTS (SELECT FROM public.the_end)", &[]).await.unwrap().get(0)
        })
        .await;
    }

    pub(crate) async fn assert_equal(&self, tables: &[&str], when: &str) {
        for table in tables {
            assert_eq!(rows_of(&self.mart, table).await, rows_of(&self.source, table).await, "{table} {when}");
        }
    }
}

/// A table's rows as text, sorted.
pub(crate) async fn rows_of(client: &tokio_postgres::Client, table: &str) -> Vec<String> {
    let sql = format!("SELECT whole::text FROM {table} AS whole ORDER BY whole::text COLLATE \"C\"");
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}
