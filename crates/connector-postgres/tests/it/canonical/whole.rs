//! Whole runs to a target that takes the source for another system's: what arrives is what the source writes of it.

use tokio_postgres::Client;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::{Ended, Run};

use crate::support::pair::Pair;
use crate::support::run::ended;
use crate::support::types::VALUES;
use crate::values::{change, fill, table};

/// The task at an epoch, as if its source were another system's.
fn run(pair: &Pair, epoch: i64, stop_at: StopAt) -> Run {
    let settings = TaskSettings { stop_at, ..TaskSettings::default() };
    Run { source_engine: "another".to_owned(), ..pair.run(epoch, TaskKind::FullLoadAndCdc, &["%"], settings) }
}

/// A table's rows as the server writes their values.
async fn rows(client: &Client, name: &str) -> Vec<String> {
    let sql = format!("SELECT format('%s %L %s', id, value, pad) FROM {name} ORDER BY id");
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

fn assert_none_parked(run: &Run) {
    for table in run.status.progress().tables {
        assert_eq!(table.problem.map(|problem| problem.text), None, "{}", table.table);
    }
}

async fn assert_equal(pair: &Pair, when: &str) {
    for (at, (kind, _)) in VALUES.iter().enumerate() {
        let name = table(at);
        let (source, mart) = (rows(&pair.source, &name).await, rows(&pair.mart, &name).await);
        assert!(source.len() > 1);
        // Some values are far too long to be shown.
        let differs = source.iter().zip(&mart).find(|(source, mart)| source != mart);
        assert!(differs.is_none() && mart.len() == source.len(), "{kind}, {when}: {} rows, {}", mart.len(), name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_of_every_type_arrives_in_another_system_as_it_is_written() {
    let pair = Pair::start(&[]).await;
    fill(&pair.source).await;
    let load = run(&pair, 1, StopAt::Loaded);
    assert_eq!(ended(&load).await.unwrap(), Ended::Finished);
    assert_none_parked(&load);
    assert_equal(&pair, "loaded").await;
    change(&pair.source).await;
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let follow = run(&pair, 2, StopAt::Position(end));
    assert_eq!(ended(&follow).await.unwrap(), Ended::Finished);
    assert_none_parked(&follow);
    assert_equal(&pair, "followed").await;
}
