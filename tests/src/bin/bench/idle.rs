//! What a task costs that has nothing to do: CPU of the worker and the server with such a task, less what both use
//! without any.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use uuid::Uuid;
use wavemark_tests::api::Task;

use crate::arena::{Arena, LIMIT};
use crate::figures::{Figures, Judged, Row};
use crate::usage::{Exact, cluster};

/// In percent of a core, for each task.
const MOST: f64 = 0.05;
/// After a start or an end, until all is quiet.
const SETTLE: Duration = Duration::from_secs(10);

/// CPU in percent of a core over a while.
#[derive(Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) worker: f64,
    pub(crate) server: f64,
    pub(crate) metadata: f64,
    pub(crate) source: f64,
    pub(crate) target: f64,
}

pub(crate) async fn measure(arena: &Arena, seconds: u32, count: u32) -> Result<Figures> {
    println!("\nIdle: {seconds} s without a task, then {seconds} s with {count} that have nothing to do …");
    let length = Duration::from_secs(u64::from(seconds));
    tokio::time::sleep(SETTLE).await;
    let without = watch(arena, length).await?;
    let mut tasks = Vec::new();
    for number in 0..count {
        tasks.push(begin(arena, number).await?);
    }
    tokio::time::sleep(SETTLE).await;
    let with = watch(arena, length).await?;
    for (task, number) in tasks.into_iter().zip(0..) {
        end(arena, task, number).await?;
    }
    let each = |of: fn(&Spent) -> f64| (of(&with) - of(&without)) / f64::from(count);
    let (worker, server) = (each(|spent| spent.worker), each(|spent| spent.server));
    let others = [each(|spent| spent.metadata), each(|spent| spent.source), each(|spent| spent.target)];
    let row = |name: &str, spent: Spent| Row {
        name: name.to_owned(),
        values: vec![spent.worker, spent.server, spent.metadata, spent.source, spent.target],
    };
    let difference = Spent { worker, server, metadata: others[0], source: others[1], target: others[2] };
    Ok(Figures {
        name: "idle",
        what: format!("CPU in % of a core over {seconds} s"),
        columns: &["worker", "server", "its database", "source", "target"],
        rows: vec![
            row("without a task", without),
            row(&format!("with {count} idle"), with),
            row("difference for each", difference),
        ],
        judged: vec![Judged {
            what: "worker and server for an idle task, % of a core".to_owned(),
            is: worker + server,
            at_most: MOST,
        }],
    })
}

fn names(number: u32) -> (String, String) {
    (format!("bench_idle_{number}"), format!("bench_idled_{number}"))
}

/// A task on a small table that has been copied and is followed.
async fn begin(arena: &Arena, number: u32) -> Result<Uuid> {
    let (from, to) = names(number);
    arena.fresh_database(&arena.source, &from).await?;
    arena.fresh_database(&arena.target, &to).await?;
    let rows = "insert into quiet select number, 'row ' || number from generate_series(1, 100) as number";
    arena.source.execute(&from, &["create table quiet (id int primary key, word text)", rows]).await?;
    let task = arena.make_task(&format!("idle {number}"), &from, &to, "quiet").await?;
    let api = &arena.installation.api;
    api.act(task, "start").await?;
    let live = |task: &Task| task.progress.as_ref().is_some_and(|progress| progress.phase == "following");
    let task = api.wait_task(task, LIMIT, "an idle task to follow", live).await?;
    ensure!(task.tables_parked == 0, "the load failed: {}", task.in_words());
    Ok(task.id)
}

async fn end(arena: &Arena, task: Uuid, number: u32) -> Result<()> {
    arena.stop_task(task).await?;
    arena.delete_task(task).await?;
    let (from, to) = names(number);
    arena.source.execute("postgres", &[&format!("drop database {from} with (force)")]).await?;
    arena.target.execute("postgres", &[&format!("drop database {to} with (force)")]).await
}

pub(crate) async fn watch(arena: &Arena, length: Duration) -> Result<Spent> {
    let mut worker = Exact::of(arena.worker()?)?;
    let mut server = Exact::of(arena.installation.server.pid().context("the server runs")?)?;
    let roots = [arena.installation.metadata.postmaster()?, arena.source.postmaster()?, arena.target.postmaster()?];
    let clusters = || roots.iter().map(|root| cluster(*root)).collect::<Result<Vec<Duration>>>();
    let before = clusters()?;
    let begun = std::time::Instant::now();
    while begun.elapsed() < length {
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.look()?;
        server.look()?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let after = clusters()?;
    let percent = |spent: Duration| 100.0 * spent.as_secs_f64() / seconds;
    let of = |at: usize| percent(after[at].saturating_sub(before[at]));
    Ok(Spent {
        worker: percent(worker.spent()),
        server: percent(server.spent()),
        metadata: of(0),
        source: of(1),
        target: of(2),
    })
}
